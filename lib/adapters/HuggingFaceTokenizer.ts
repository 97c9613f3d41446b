/**
 * Tokenizers of open models: a `tokenizer.json` file, read by the optional package `@huggingface/tokenizers`.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import { Tokenizer, TokenizerError } from "../Tokenizer.ts"

/** Provides the tokenizer in a file; rows of training data call it by this path, or by `name`. */
export const layer = (
  path: string,
  { name = path }: { readonly name?: string } = {}
): Layer.Layer<Tokenizer, TokenizerError, FileSystem.FileSystem> =>
  Layer.effect(
    Tokenizer,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const text = yield* Effect.mapError(
        files.readFileString(path),
        (cause) =>
          new TokenizerError({
            reason: "not-found",
            message: `Cannot load ${path}: ${cause.reason._tag === "NotFound" ? "it does not exist" : cause.message}`,
            cause
          })
      )
      return yield* parse(text, name)
    })
  )

/** Reads the text of a `tokenizer.json`. */
export const parse = (text: string, name: string): Effect.Effect<Tokenizer, TokenizerError> =>
  Effect.gen(function* () {
    const { Tokenizer: Implementation } = yield* Effect.tryPromise({
      try: () => import("@huggingface/tokenizers"),
      catch: (cause) =>
        new TokenizerError({
          reason: "missing",
          message: `Cannot load ${name}: the package @huggingface/tokenizers is not installed`,
          cause
        })
    })
    return yield* Effect.try({
      try: () => {
        // SAFETY: the package checks what it is given, and the fields that are read here are checked where they are.
        const json = JSON.parse(text) as TokenizerJson
        // Without its special tokens, their strings are text; other added tokens are what the model reads.
        const added_tokens = json.added_tokens?.filter(({ special }) => !special) ?? []
        const implementation = new Implementation({ ...json, added_tokens }, {})
        const plain = { add_special_tokens: false }
        return {
          name,
          count: (counted) => implementation.tokenize(counted, plain).length,
          additive: isAdditive(json)
        } satisfies Tokenizer
      },
      catch: (cause) =>
        new TokenizerError({
          reason: "invalid",
          message: `Cannot load ${name}: it is no tokenizer.json: ${cause instanceof Error ? cause.message : cause}`,
          cause
        })
    })
  })

interface TokenizerJson {
  readonly added_tokens?: ReadonlyArray<{ readonly special: boolean; readonly content: string }>
  readonly normalizer?: { readonly type: string } | null
  readonly pre_tokenizer?: PreTokenizer | null
  readonly model?: { readonly type?: string }
}

interface PreTokenizer {
  readonly type: string
  readonly pretokenizers?: ReadonlyArray<PreTokenizer>
  readonly pattern?: { readonly Regex?: string }
  readonly behavior?: string
}

/**
 * Whether counts add up at line ends and before blanks: text is split as cl100k, o200k, Llama 3 and Qwen split it, a
 * run of newlines ending a piece and a blank beginning one; nothing but NFC normalizes it; and no added token spans it.
 */
const isAdditive = ({ added_tokens = [], normalizer, pre_tokenizer, model }: TokenizerJson): boolean => {
  const stages = pre_tokenizer?.pretokenizers ?? (pre_tokenizer ? [pre_tokenizer] : [])
  const [split, bytes, ...others] = stages
  return model?.type === "BPE" && (normalizer == null || normalizer.type === "NFC") &&
    split?.type === "Split" && split.behavior === "Isolated" &&
    split.pattern?.Regex?.endsWith(String.raw`|\s*[\r\n]+|\s+(?!\S)|\s+`) === true &&
    bytes?.type === "ByteLevel" && others.length === 0 &&
    added_tokens.every(({ special, content }) => special || !/\s/.test(content))
}
