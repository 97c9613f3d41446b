/**
 * Counts the tokens of a text of which a part was counted before: only what lies around that part is counted anew.
 *
 * ```text
 *   counted:          ⏎⏎First, n is even, so n² is too.⏎⏎
 *   now:      <think>⏎First, n is even, so n² is too.⏎</think>⏎…
 *                           └────── known ─────┘
 * ```
 *
 * @module
 */
import * as Boundary from "./Boundary.ts"

/** A text and its tokens. */
export interface Counted {
  readonly text: string
  readonly tokens: number
}

/** What counts, and whether its counts add up at line ends and before blanks, as with cl100k, o200k and Qwen. */
export interface Options {
  readonly count: (text: string) => number
  readonly additive: boolean
}

/**
 * Counts a text that holds another one, or what is left of it without white space at its ends: what stands at `at` in
 * the counted text stands at `at + shift` here. The same number as `count(text)`.
 */
export const recount = (text: string, known: Counted, shift: number, { count, additive }: Options): number => {
  let from = known.text.length - known.text.trimStart().length + 1
  let to = known.text.trimEnd().length - 1
  while (from < to && !Boundary.addsAt(known.text, from)) from++
  while (from < to && !Boundary.addsAt(known.text, to)) to--
  if (!additive || from >= to) return count(text)
  const around = (whole: string, shift: number): number =>
    count(whole.slice(0, from + shift)) + count(whole.slice(to + shift))
  return known.tokens - around(known.text, 0) + around(text, shift)
}
