/**
 * OpenAI's encodings, by the package `gpt-tokenizer`: each vocabulary is loaded when its layer is first built.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Tokenizer } from "../Tokenizer.ts"

/** An encoding of OpenAI's. */
export type Encoding = "o200k_base" | "cl100k_base"

/** The encodings by name. */
export const encodings: ReadonlyArray<Encoding> = ["o200k_base", "cl100k_base"]

/** Loads an encoding. */
export const load = async (encoding: Encoding): Promise<Tokenizer> => {
  const { countTokens } = encoding === "o200k_base"
    ? await import("gpt-tokenizer/encoding/o200k_base")
    : await import("gpt-tokenizer/encoding/cl100k_base")
  // With an empty set, strings such as <|endoftext|> are text; by default they throw.
  const options = { disallowedSpecial: new Set<string>() }
  return { name: encoding, count: (text) => countTokens(text, options), additive: true }
}

/** Provides the tokenizer of an encoding. */
export const layerEncoding = (encoding: Encoding): Layer.Layer<Tokenizer> =>
  Layer.effect(Tokenizer, Effect.promise(() => load(encoding)))

/** Provides o200k_base, the encoding of GPT-4o and later. */
export const layer: Layer.Layer<Tokenizer> = layerEncoding("o200k_base")
