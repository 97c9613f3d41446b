/**
 * Ways to count tokens: those that add up, those that nearly do, and those that no tokenizer would dare.
 *
 * @module
 */
import fc from "fast-check"
import { countTokens } from "gpt-tokenizer/encoding/o200k_base"

/** A `count` and whether it adds up at line ends and before blanks. */
export interface Counting {
  readonly name: string
  readonly count: (text: string) => number
  readonly additive: boolean
}

const NO_SPECIAL_TOKENS = { disallowedSpecial: new Set<string>() }

/** Tokens of o200k, the encoding of GPT-4o. */
export const o200k: Counting = {
  name: "o200k",
  count: (text) => countTokens(text, NO_SPECIAL_TOKENS),
  additive: true
}

/** UTF-16 code units. */
export const characters: Counting = { name: "characters", count: (text) => text.length, additive: true }

/** Words between white space; they add up, but for words of CJK punctuation. */
export const words: Counting = {
  name: "words",
  count: (text) => text.match(/\S+/g)?.length ?? 0,
  additive: true
}

/** The usual estimate: every text rounds up, so sums are too high. */
export const quarters: Counting = { name: "quarters", count: (text) => Math.ceil(text.length / 4), additive: false }

/** A tokenizer that begins every text, the empty one too, with a token of its own. */
export const marked: Counting = { name: "marked", count: (text) => 1 + o200k.count(text), additive: false }

/** A tokenizer of which the caller does not say that it adds up. */
export const undeclared: Counting = { ...o200k, name: "undeclared", additive: false }

/** What a sum falls short of: joining texts adds tokens. */
export const superadditive: Counting = {
  name: "superadditive",
  count: (text) => Math.ceil(text.length ** 1.5 / 4),
  additive: false
}

/** What a sum exceeds by far: joining texts removes tokens. */
export const subadditive: Counting = { name: "subadditive", count: (text) => new Set(text).size, additive: false }

/** A number that says nothing about any other text. */
export const erratic: Counting = {
  name: "erratic",
  count: (text) => {
    let hash = text.length
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
    return (hash >>> 8) % 97
  },
  additive: false
}

export const additive: ReadonlyArray<Counting> = [o200k, characters, words]
export const estimated: ReadonlyArray<Counting> = [undeclared, quarters, marked]
export const adversarial: ReadonlyArray<Counting> = [superadditive, subadditive, erratic]

/** One of `countings`; a failure names it. */
export const oneOf = (...countings: ReadonlyArray<Counting>): fc.Arbitrary<Counting> => fc.constantFrom(...countings)
