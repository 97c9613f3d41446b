/**
 * The tokenizer of the model that is trained or driven: eta and gamma are counted with it.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"

/** Counts tokens. */
export interface Tokenizer {
  /** What rows of training data call it. */
  readonly name: string
  /** The tokens of a text: pure, total, and special-token strings in it are counted as text. */
  readonly count: (text: string) => number
  /** Whether counts add up at line ends and before blanks, so that the segmenter counts everything once. */
  readonly additive: boolean
}

/** The service of a tokenizer. */
export const Tokenizer: Context.Service<Tokenizer, Tokenizer> = Context.Service<Tokenizer>("inftythink/Tokenizer")

/** Estimates the tokens of a text where no tokenizer is at hand: a token is about four bytes. */
export const estimate = (text: string): number => Math.ceil(new TextEncoder().encode(text).length / 4)

interface Fields {
  /** `not-found`: there is no such file; `invalid`: it is no tokenizer; `missing`: the package that reads it is. */
  readonly reason: "not-found" | "invalid" | "missing"
  /** A sentence that reads "Cannot load …: …". */
  readonly message: string
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "TokenizerError" } = Data
  .TaggedError("TokenizerError")

/** A tokenizer cannot be loaded. */
export class TokenizerError extends Base {}
