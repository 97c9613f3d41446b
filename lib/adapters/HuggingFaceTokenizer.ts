/**
 * Tokenizers of open models: a `tokenizer.json` file.
 *
 * Those that split text as Qwen 2 and 3, Llama 3 or gpt-oss do are counted here; all others by the optional package
 * `@huggingface/tokenizers`. The counts are the same, and the former many times faster.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as BytePairs from "../core/BytePairs.ts"
import * as ByteTable from "../core/ByteTable.ts"
import type * as Pretoken from "../core/Pretoken.ts"
import { Tokenizer, TokenizerError } from "../Tokenizer.ts"

/**
 * Provides the tokenizer in a file, or in the `tokenizer.json` of a folder; rows of training data call it by the path of
 * this file, or by `name`.
 */
export const layer = (
  path: string,
  { name }: { readonly name?: string } = {}
): Layer.Layer<Tokenizer, TokenizerError, FileSystem.FileSystem> =>
  Layer.effect(
    Tokenizer,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const info = yield* Effect.option(files.stat(path))
      const isFolder = info._tag === "Some" && info.value.type === "Directory"
      const file = isFolder ? path.replace(/[/\\]*$/, "/tokenizer.json") : path
      const text = yield* Effect.mapError(
        files.readFileString(file),
        (cause) =>
          new TokenizerError({
            reason: "not-found",
            message: `Cannot load ${file}: ${cause.reason._tag === "NotFound" ? "it does not exist" : cause.message}`,
            cause
          })
      )
      return yield* parse(text, name ?? file)
    })
  )

/** Reads the text of a `tokenizer.json`. */
export const parse = (text: string, name: string): Effect.Effect<Tokenizer, TokenizerError> => {
  const invalid = (cause: unknown): TokenizerError =>
    new TokenizerError({
      reason: "invalid",
      message: `Cannot load ${name}: it is no tokenizer.json: ${cause instanceof Error ? cause.message : cause}`,
      cause
    })
  return Effect.gen(function* () {
    const json = yield* Effect.try({
      // SAFETY: the fields that are read here are checked where they are, and the package checks what it is given.
      try: () => {
        const { added_tokens, ...rest } = JSON.parse(text) as TokenizerJson
        // Without its special tokens, their strings are text; other added tokens are what the model reads.
        return { ...rest, added_tokens: added_tokens?.filter(({ special }) => !special) ?? [] }
      },
      catch: invalid
    })
    const additive = isAdditive(json)
    const known = yield* Effect.try({ try: () => countOf(json), catch: invalid })
    if (known !== undefined) return { name, count: known, additive }
    const { Tokenizer: Implementation } = yield* Effect.tryPromise({
      try: () => import("@huggingface/tokenizers"),
      catch: (cause) =>
        new TokenizerError({
          reason: "missing",
          message: `Cannot load ${name}: the package @huggingface/tokenizers is not installed`,
          cause
        })
    })
    const implementation = yield* Effect.try({ try: () => new Implementation(json, {}), catch: invalid })
    const plain = { add_special_tokens: false }
    return { name, count: (counted) => implementation.tokenize(counted, plain).length, additive } satisfies Tokenizer
  })
}

interface TokenizerJson {
  readonly added_tokens?: ReadonlyArray<AddedToken>
  readonly normalizer?: { readonly type: string } | null
  readonly pre_tokenizer?: PreTokenizer | null
  readonly model?: Model
}

interface AddedToken {
  readonly special: boolean
  readonly content: string
  readonly lstrip?: boolean
  readonly rstrip?: boolean
  readonly normalized?: boolean
}

interface PreTokenizer {
  readonly type: string
  readonly pretokenizers?: ReadonlyArray<PreTokenizer>
  readonly pattern?: { readonly Regex?: string }
  readonly behavior?: string
  readonly invert?: boolean
  readonly add_prefix_space?: boolean
  readonly use_regex?: boolean
}

interface Model {
  readonly type?: string
  readonly vocab?: Readonly<Record<string, number>>
  readonly merges?: ReadonlyArray<string | readonly [string, string]>
  readonly ignore_merges?: boolean
  readonly byte_fallback?: boolean
  readonly end_of_word_suffix?: string | null
  readonly continuing_subword_suffix?: string | null
}

/** How text is split by a regular expression and then into bytes, if that is all that is done to it. */
const splitOf = ({ normalizer, pre_tokenizer, model }: TokenizerJson): PreTokenizer | undefined => {
  const stages = pre_tokenizer?.pretokenizers ?? (pre_tokenizer ? [pre_tokenizer] : [])
  const [split, bytes, ...others] = stages
  return model?.type === "BPE" && (normalizer == null || normalizer.type === "NFC") &&
      split?.type === "Split" && split.behavior === "Isolated" && bytes?.type === "ByteLevel" && others.length === 0
    ? split
    : undefined
}

/**
 * Whether counts add up at line ends and before blanks: text is split as cl100k, o200k, Llama 3 and Qwen split it, a
 * run of newlines ending a piece and a blank beginning one; nothing but NFC normalizes it; and no added token spans it.
 */
const isAdditive = (json: TokenizerJson): boolean =>
  splitOf(json)?.pattern?.Regex?.endsWith(SPACES) === true &&
  json.added_tokens?.every(({ content }) => !/\s/.test(content)) === true

/** Makes the count of a tokenizer of a known family, if it is of one. */
const countOf = (json: TokenizerJson): Tokenizer["count"] | undefined => {
  const { added_tokens = [], normalizer, pre_tokenizer, model } = json
  const split = splitOf(json)
  const bytes = pre_tokenizer?.pretokenizers?.[1]
  const pattern = PATTERNS[split?.pattern?.Regex ?? ""]
  if (
    pattern === undefined || split?.invert === true || bytes?.use_regex !== false || bytes.add_prefix_space === true ||
    model?.byte_fallback || model?.end_of_word_suffix || model?.continuing_subword_suffix ||
    added_tokens.some(({ lstrip, rstrip, normalized = true, content }) =>
      lstrip || rstrip || content === "" || normalized && normalizer != null
    )
  ) return undefined
  const ranks = ranksOf(model ?? {})
  if (ranks === undefined) return undefined
  const whole = model?.ignore_merges === true
  const count = BytePairs.makeCount({ pattern, ranks, split: true, whole, composed: normalizer != null })
  return added_tokens.length === 0 ? count : withTokens(count, added_tokens.map(({ content }) => content))
}

/** Counts added tokens as one, the longest first, and what is between them by itself. */
const withTokens = (count: Tokenizer["count"], contents: ReadonlyArray<string>): Tokenizer["count"] => {
  const longestFirst = contents.toSorted((a, b) => b.length - a.length)
  const patterns = longestFirst.map((content) => content.replace(/[^\w\s]/g, "\\$&"))
  const added = new RegExp(patterns.join("|"), "g")
  return (text) => {
    let tokens = 0
    let from = 0
    for (let found = added.exec(text); found !== null; found = added.exec(text)) {
      tokens += count(text.slice(from, found.index)) + 1
      from = added.lastIndex
    }
    return tokens + count(from === 0 ? text : text.slice(from))
  }
}

/** The ranks of a byte-level vocabulary, unless it lacks a byte or the result of a merge. */
const ranksOf = ({ vocab = {}, merges = [], ignore_merges }: Model): ByteTable.ByteTable | undefined => {
  const byteOf = new Map(LETTERS.map((letter, byte) => [letter, byte]))
  const pairs = merges.map((merge) => typeof merge === "string" ? merge.split(" ", 2) : merge)
  const keys = [...pairs.map((pair) => pair.join("")), ...ignore_merges === true ? Object.keys(vocab) : []]
  if (![...LETTERS, ...keys].every((key) => key.length <= LONGEST_TOKEN && Object.hasOwn(vocab, key))) return undefined
  const size = keys.reduce((sum, key) => sum + key.length + 3, 0)
  const ranks = ByteTable.make({ entries: keys.length, bytes: size })
  const bytes = new Uint8Array(LONGEST_TOKEN + 3)
  const view = new DataView(bytes.buffer)
  keys.forEach((key, i) => {
    for (let at = 0; at < key.length; at++) {
      const byte = byteOf.get(key[at]!)
      // What has other characters than letters of bytes is never made of text.
      if (byte === undefined) return
      bytes[at] = byte
    }
    ranks.set(view, 0, key.length, pairs[i]?.[0]?.length ?? 0, i)
  })
  return ranks
}

/** A vocabulary with longer tokens, in bytes, is left to the package. */
const LONGEST_TOKEN = 4096

/** The characters by which byte-level vocabularies write the bytes 0 to 255: themselves, or the next from U+0100 on. */
const LETTERS: ReadonlyArray<string> = Array.from({ length: 256 }, (_, byte) => {
  if (byte > 32 && byte < 127 || byte > 160 && byte !== 173) return String.fromCharCode(byte)
  return String.fromCharCode(byte <= 32 ? 256 + byte : byte <= 160 ? 256 + 33 + byte - 127 : 256 + 67)
})

const SPACES = String.raw`|\s*[\r\n]+|\s+(?!\S)|\s+`

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

const uncased = (digits: string): string =>
  String
    .raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*${SPACES}`

const O200K_REST = String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*` + SPACES

const cased = (upper: string, lower: string): string =>
  String
    .raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]${upper}[\p{Ll}\p{Lm}\p{Lo}\p{M}]${lower}${CONTRACTIONS}?|`

/** The patterns that are known: Qwen's, Llama 3's, and gpt-oss's. */
const PATTERNS: Readonly<Record<string, Pretoken.Pattern>> = {
  [uncased(String.raw`\p{N}`)]: { family: "cl100k", digits: 1 },
  [uncased(String.raw`\p{N}{1,3}`)]: { family: "cl100k", digits: 3 },
  [cased("*", "+") + cased("+", "*") + O200K_REST]: { family: "o200k", digits: 3 }
}
