import * as Effect from "effect/Effect"
import { countTokens as countCl100k } from "gpt-tokenizer/encoding/cl100k_base"
import { countTokens as countO200k } from "gpt-tokenizer/encoding/o200k_base"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as GptTokenizer from "../../lib/adapters/GptTokenizer.ts"
import { Tokenizer } from "../../lib/Tokenizer.ts"
import { law, reasoning } from "../support/text.ts"
import { anyText, cases } from "../support/unicode.ts"

const o200k = await GptTokenizer.load("o200k_base")
const cl100k = await GptTokenizer.load("cl100k_base")

test("layer: o200k_base by default, cl100k_base on demand", async () => {
  const nameOf = (layer: typeof GptTokenizer.layer): Promise<string> =>
    Effect.runPromise(Effect.provide(Effect.map(Tokenizer, ({ name }) => name), layer))
  assert.equal(await nameOf(GptTokenizer.layer), "o200k_base")
  assert.equal(await nameOf(GptTokenizer.layerEncoding("cl100k_base")), "cl100k_base")
})

test("count: known texts in both encodings", () => {
  assert.deepEqual([o200k.count(""), o200k.count("hello world"), o200k.count("思考，然后回答。")], [0, 2, 5])
  assert.deepEqual([cl100k.count(""), cl100k.count("hello world"), cl100k.count("思考，然后回答。")], [0, 2, 9])
})

test("count: strings of special tokens are counted as text", () => {
  for (const { count } of [o200k, cl100k]) {
    for (const special of ["<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|endofprompt|>"]) {
      assert.ok(count(special) > 2, special)
      assert.ok(count(`a ${special} b`) > count("a b") + 2, special)
    }
  }
})

const NO_SPECIAL_TOKENS = { disallowedSpecial: new Set<string>() }

law("count: that of gpt-tokenizer, for all it reads rightly", anyText, (text) => {
  // U+FEFF and U+0085 are white space to one of JavaScript and the encodings, but not to the other.
  const plain = text.replace(/[\ufeff\u0085]/g, "")
  assert.equal(o200k.count(plain), countO200k(plain, NO_SPECIAL_TOKENS))
  assert.equal(cl100k.count(plain), countCl100k(plain, NO_SPECIAL_TOKENS))
}, cases)

test("count: a byte order mark and a next-line character, as tiktoken counts them", () => {
  const texts = ["\ufeff# Title", "a\ufeffb", " \ufeff x", "\ufeff \ufeff\n", "1 \u0085 ", "(\u3000\u0085.'s "]
  assert.deepEqual(texts.map(o200k.count), [2, 3, 2, 3, 4, 7])
})

test("size: a pre-token of a million letters is counted", () => {
  assert.equal(o200k.count("a".repeat(1_000_000)), 125_000)
  assert.equal(cl100k.count(" ".repeat(1_000_000)), 7813)
})

law("count: every text has one, and a positive one if it is not empty", reasoning, (text) => {
  for (const { count } of [o200k, cl100k]) assert.equal(count(text) > 0, text !== "")
})
