import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as GptTokenizer from "../../lib/adapters/GptTokenizer.ts"
import { Tokenizer } from "../../lib/Tokenizer.ts"
import { law, reasoning } from "../support/text.ts"

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

law("count: every text has one, and a positive one if it is not empty", reasoning, (text) => {
  for (const { count } of [o200k, cl100k]) assert.equal(count(text) > 0, text !== "")
})
