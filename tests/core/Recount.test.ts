import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import { load } from "../../lib/adapters/GptTokenizer.ts"
import * as Recount from "../../lib/core/Recount.ts"
import { law, reasoning } from "../support/text.ts"
import { anyText, cases } from "../support/unicode.ts"

const tokenizers = [await load("o200k_base"), await load("cl100k_base")]

/** A text, and one that has it, without the white space at its ends, between two others. */
const embedded = fc.record({
  text: fc.oneof(anyText, reasoning),
  head: fc.oneof(anyText, fc.constant("<think>\n")),
  tail: fc.oneof(anyText, fc.constant("\n</think>\n"))
})

for (const tokenizer of tokenizers) {
  law(`recount: it is the count, in ${tokenizer.name}`, embedded, ({ text, head, tail }) => {
    const known = { text, tokens: tokenizer.count(text) }
    const inner = text.trim()
    const shift = head.length - text.indexOf(inner)
    const whole = head + inner + tail
    assert.equal(Recount.recount(whole, known, shift, tokenizer), tokenizer.count(whole))
  }, cases)
}

test("recount: only what lies around the known text is counted", () => {
  let counted = 0
  const count = (text: string): number => {
    counted += text.length
    return text.length
  }
  const text = "A word, and a line.\n".repeat(500)
  const known = { text, tokens: text.length }
  assert.equal(Recount.recount(`<think>\n${text}</think>`, known, 8, { count, additive: true }), text.length + 16)
  assert.ok(counted < 100, `${counted} characters were counted`)
})

test("recount: counts that do not add up are counted as they are", () => {
  const count = (text: string): number => text === "" ? 1 : text.length + 2
  const known = { text: "a b c d e", tokens: 11 }
  assert.equal(Recount.recount("[a b c d e]", known, 1, { count, additive: false }), 13)
})
