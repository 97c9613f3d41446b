import { layer as services } from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import * as HuggingFaceTokenizer from "../../lib/adapters/HuggingFaceTokenizer.ts"
import { Tokenizer } from "../../lib/Tokenizer.ts"

/** How Qwen splits text. */
const PATTERN = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" +
  "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The characters by which byte-level vocabularies write the bytes 0 to 255. */
const letters: ReadonlyArray<string> = Array.from({ length: 256 }, (_, byte) => {
  const isPrintable = (code: number): boolean => code > 32 && code < 127 || code > 160 && code !== 173
  const others = Array.from({ length: byte }, (_, i) => i).filter((i) => !isPrintable(i)).length
  return String.fromCodePoint(isPrintable(byte) ? byte : 256 + others)
})

const token = (content: string, id: number, special: boolean) => ({
  content,
  id,
  special,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false
})

/** A byte-level tokenizer that knows the bytes and `th`, `the`, and ` the`. */
const tokenizerJson = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: [token("<|im_end|>", 300, true), token("<think>", 301, false)],
  normalizer: { type: "NFC" },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: PATTERN }, behavior: "Isolated", invert: false },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false }
    ]
  },
  post_processor: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
  decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
  model: {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: "",
    end_of_word_suffix: "",
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries([...letters, "th", "the", "Ġthe"].map((letter, i) => [letter, i])),
    merges: ["t h", "th e", "Ġ the"]
  }
}

const parse = (json: unknown): Promise<Tokenizer> =>
  Effect.runPromise(HuggingFaceTokenizer.parse(JSON.stringify(json), "test"))

const failure = (effect: Effect.Effect<unknown, { readonly reason: string; readonly message: string }>) =>
  Effect.runPromise(Effect.flip(effect))

test("count: by the file's vocabulary and merges", async () => {
  const { count } = await parse(tokenizerJson)
  assert.equal(count(""), 0)
  assert.equal(count("the the"), 2)
  assert.equal(count("then"), 2)
  assert.equal(count("思"), 3)
  assert.equal(count("\ud83d"), 3)
})

test("count: strings of special tokens are text, and added tokens that are not special are one token", async () => {
  const { count } = await parse(tokenizerJson)
  assert.equal(count("<|im_end|>"), "<|im_end|>".length)
  assert.equal(count("a<think>b"), 3)
})

test("additive: where text is split as Qwen does, and nothing else joins or changes it", async () => {
  const { pre_tokenizer } = tokenizerJson
  const [split, bytes] = pre_tokenizer.pretokenizers
  const isAdditive = async (changes: Readonly<Record<string, unknown>>): Promise<boolean> =>
    (await parse({ ...tokenizerJson, ...changes })).additive
  assert.equal(await isAdditive({}), true)
  assert.equal(await isAdditive({ normalizer: null }), true)
  assert.equal(await isAdditive({ normalizer: { type: "Lowercase" } }), false)
  assert.equal(await isAdditive({ pre_tokenizer: bytes }), false)
  const gpt2 = { ...split, pattern: { Regex: "'s| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+" } }
  assert.equal(await isAdditive({ pre_tokenizer: { ...pre_tokenizer, pretokenizers: [gpt2, bytes] } }), false)
  const digits = { type: "Digits", individual_digits: true }
  for (const pretokenizers of [[split, digits, bytes], [split, bytes, digits]]) {
    assert.equal(await isAdditive({ pre_tokenizer: { ...pre_tokenizer, pretokenizers } }), false)
  }
  assert.equal(await isAdditive({ added_tokens: [token("a b", 302, false)] }), false)
})

test("layer: a file is named by its path, or as one likes", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "inftythink-")), "tokenizer.json")
  writeFileSync(file, JSON.stringify(tokenizerJson))
  const named = (name?: string): Promise<string> =>
    Tokenizer.pipe(
      Effect.map((tokenizer) => tokenizer.name),
      Effect.provide(HuggingFaceTokenizer.layer(file, name === undefined ? {} : { name })),
      Effect.provide(services),
      Effect.runPromise
    )
  assert.equal(await named(), file)
  assert.equal(await named("Qwen3"), "Qwen3")
})

test("errors: a file that is missing, is no JSON or is no tokenizer is named", async () => {
  const missing = await failure(
    Tokenizer.pipe(Effect.provide(HuggingFaceTokenizer.layer("/no/such.json")), Effect.provide(services))
  )
  assert.deepEqual([missing.reason, missing.message], ["not-found", "Cannot load /no/such.json: it does not exist"])
  for (const text of ["{", "[]", "null", "{}", '{"model":{"type":"BPE"}}']) {
    const { reason, message } = await failure(HuggingFaceTokenizer.parse(text, "x.json"))
    assert.equal(reason, "invalid")
    assert.match(message, /^Cannot load x\.json: it is no tokenizer\.json: /)
  }
})
