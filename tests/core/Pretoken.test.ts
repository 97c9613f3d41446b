import assert from "node:assert/strict"
import { test } from "node:test"
import * as Pretoken from "../../lib/core/Pretoken.ts"
import { law } from "../support/text.ts"
import { anyText, cases, patterns } from "../support/unicode.ts"

const split = (pattern: Pretoken.Pattern): (text: string) => Array<string> => {
  const scan = Pretoken.makeScan(pattern)
  return (text) => {
    const bytes = new Uint8Array([...new TextEncoder().encode(text), Pretoken.END])
    const found: Array<string> = []
    for (let from = 0, to = 0; from < bytes.length - 1; from = to) {
      to = scan(bytes, from)
      assert.ok(to > from && to < bytes.length, `from ${from} to ${to}`)
      found.push(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(from, to)))
    }
    return found
  }
}

const scanned = {
  cl100k: split({ family: "cl100k", digits: 3 }),
  qwen: split({ family: "cl100k", digits: 1 }),
  o200k: split({ family: "o200k", digits: 3 })
}

for (const name of ["cl100k", "qwen", "o200k"] as const) {
  law(`${name}: pre-tokens are those of the regular expression`, anyText, (text) => {
    assert.deepEqual(scanned[name](text), text.toWellFormed().match(patterns[name]) ?? [])
  }, cases)
}

test("a code point is of the kind that the regular expressions say", () => {
  // Between two letters, two blanks and two dots, each kind of character is split in another way.
  for (let code = 0x80; code < 0x30000; code += code < 0x3200 ? 1 : 31) {
    if (code >= 0xd800 && code < 0xe000) continue
    const text = `a${String.fromCodePoint(code)}B  ${String.fromCodePoint(code)}.`
    for (const name of ["cl100k", "o200k"] as const) {
      const expected = text.match(patterns[name])!
      const found = scanned[name](text)
      if (found.join("|") !== expected.join("|")) assert.deepEqual(found, expected, `U+${code.toString(16)}`)
    }
  }
})

test("o200k: a word changes from upper to lower case once, and takes marks, contractions and slashes", () => {
  assert.deepEqual(scanned.o200k("camelCase HTMLParser"), ["camel", "Case", " HTMLParser"])
  assert.deepEqual(scanned.o200k("中AB c'LL we're"), ["中", "AB", " c'LL", " we're"])
  assert.deepEqual(scanned.o200k("\u0301AB e\u0301"), ["\u0301", "AB", " e\u0301"])
  assert.deepEqual(scanned.o200k("./\n/x"), ["./\n/", "x"])
})

test("cl100k: contractions stand alone, and digits are split by threes, or one by one", () => {
  assert.deepEqual(scanned.cl100k("we're 'sure 1234"), ["we", "'re", " '", "sure", " ", "123", "4"])
  assert.deepEqual(scanned.qwen("12\n\n  x"), ["1", "2", "\n\n", " ", " x"])
})
