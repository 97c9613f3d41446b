import { layer as services } from "@effect/platform-node/NodeServices"
import { Tokenizer as Reference } from "@huggingface/tokenizers"
import * as Effect from "effect/Effect"
import cl100k from "gpt-tokenizer/bpeRanks/cl100k_base"
import fc from "fast-check"
import assert from "node:assert/strict"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import * as HuggingFaceTokenizer from "../../lib/adapters/HuggingFaceTokenizer.ts"
import { Tokenizer } from "../../lib/Tokenizer.ts"
import { law } from "../support/text.ts"
import { addedToken as token, byteLetters, bytePairs, bytePairsOf, LLAMA3, O200K } from "../support/tokenizers.ts"
import { anyText, cases } from "../support/unicode.ts"

/** A byte-level tokenizer that knows the bytes and `th`, `the`, and ` the`. */
const tokenizerJson = bytePairs([...byteLetters, "th", "the", "Ġthe"], ["t h", "th e", "Ġ the"])

/** Has the vocabulary of cl100k, and splits text as Qwen does. */
const large = bytePairsOf(cl100k)

const parse = (json: unknown): Promise<Tokenizer> =>
  Effect.runPromise(HuggingFaceTokenizer.parse(JSON.stringify(json), "test"))

const failure = (effect: Effect.Effect<unknown, { readonly reason: string; readonly message: string }>) =>
  Effect.runPromise(Effect.flip(effect))

/** Counts by the package; special tokens are text. */
const reference = (json: typeof tokenizerJson): (text: string) => number => {
  const added_tokens = json.added_tokens.filter(({ special }) => !special)
  const implementation = new Reference({ ...json, added_tokens }, {})
  return (text) => implementation.tokenize(text, { add_special_tokens: false }).length
}

const withPattern = (Regex: string): typeof tokenizerJson => {
  const [split = {}, bytes = {}] = large.pre_tokenizer.pretokenizers
  return { ...large, pre_tokenizer: { type: "Sequence", pretokenizers: [{ ...split, pattern: { Regex } }, bytes] } }
}

const known: Readonly<Record<string, typeof tokenizerJson>> = {
  "Qwen": large,
  "Llama 3": { ...withPattern(LLAMA3), normalizer: null, model: { ...large.model, ignore_merges: true } },
  "gpt-oss": { ...withPattern(O200K), normalizer: null }
}

/** Text among which added tokens stand, whole or in part. */
const marked = fc.array(
  fc.oneof(anyText, fc.constantFrom("<think>", "</think>", "<|im_end|>", "<thin", "k>", "<think>\u0338")),
  {
    maxLength: 4
  }
).map((parts) => parts.join(""))

for (const [name, json] of Object.entries(known)) {
  const { count } = await parse(json)
  const expected = reference(json)
  law(`count: that of the package, where text is split as ${name} does`, marked, (text) => {
    assert.equal(count(text), expected(text))
  }, cases)
}

/** Tokenizers that are left to the package. */
const unknown = await Promise.all([
  { ...tokenizerJson, pre_tokenizer: { ...tokenizerJson.pre_tokenizer.pretokenizers[1]!, add_prefix_space: true } },
  { ...tokenizerJson, normalizer: { type: "Lowercase" } },
  { ...bytePairs([...byteLetters.filter((letter) => letter !== "k"), "th"], ["t h"]) },
  { ...bytePairs(byteLetters, ["t h"]) },
  { ...tokenizerJson, added_tokens: [{ ...token("<think>", 301, false), lstrip: true, rstrip: true }] },
  { ...tokenizerJson, added_tokens: [{ ...token("<think>", 301, false), normalized: true }] }
].map(async (json) => [(await parse(json)).count, reference(json as typeof tokenizerJson)] as const))

law("count: that of the package, where the split or the vocabulary is of no known kind", marked, (text) => {
  unknown.forEach(([count, expected]) => assert.equal(count(text), expected(text)))
})

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

test("count: the longest of the added tokens that begin at a place", async () => {
  const added_tokens = ["<th", "<think>", "<t"].map((content, i) => token(content, 300 + i, false))
  const json = { ...tokenizerJson, added_tokens }
  const { count } = await parse(json)
  for (const text of ["<think>", "<th<think><t", "a<thi<tn"]) assert.equal(count(text), reference(json)(text), text)
})

test("count: a token that no merges make is one where merges are ignored", async () => {
  const json = bytePairs([...byteLetters, "th", "thx"], ["t h"])
  const ignoring = { ...json, model: { ...json.model, ignore_merges: true } }
  for (const [expected, file] of [[2, json], [1, ignoring]] as const) {
    assert.deepEqual([(await parse(file)).count("thx"), reference(file)("thx")], [expected, expected])
  }
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

test("layer: a file is named by its path, or as one likes, and a folder stands for its tokenizer.json", async () => {
  const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
  const file = join(folder, "tokenizer.json")
  const loading = (path: string, name?: string) =>
    Tokenizer.pipe(
      Effect.map((tokenizer) => tokenizer.name),
      Effect.provide(HuggingFaceTokenizer.layer(path, name === undefined ? {} : { name })),
      Effect.provide(services)
    )
  const { message } = await failure(loading(folder))
  assert.equal(message, `Cannot load ${folder}/tokenizer.json: it does not exist`)
  writeFileSync(file, JSON.stringify(tokenizerJson))
  const named = (path: string, name?: string): Promise<string> => Effect.runPromise(loading(path, name))
  assert.equal(await named(file), file)
  assert.equal(await named(file, "Qwen3"), "Qwen3")
  // What threads read is the file.
  for (const path of [folder, `${folder}/`]) assert.equal(await named(path), `${folder}/tokenizer.json`)
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
