/**
 * Iterations: the one shape of a turn of live reasoning and of a row of training data, (q, s₍ᵢ₋₁₎) → (rᵢ, sᵢ | c).
 *
 * @module
 */
import type { Question, Sample } from "./Sample.ts"

/** What an iteration that goes on hands to the next one. */
export interface Summary {
  readonly _tag: "Summary"
  readonly text: string
}

/** What the last iteration ends with: the text behind the reasoning, to the character. */
export interface Conclusion {
  readonly _tag: "Conclusion"
  readonly text: string
}

/** How an iteration ended. */
export type Ending = Summary | Conclusion

/** What a model writes in one iteration: oᵢ of InftyThink, section 3.1. */
export interface Output {
  readonly reasoning: string
  readonly ending: Ending
}

/** One bounded turn: it starts from the question and at most one history. */
export interface Iteration {
  readonly question: Question
  /** The summary that the iteration starts from; the first has none. */
  readonly history?: string
  /** Its place in the trajectory, from 1. */
  readonly index: number
  readonly output: Output
}

/** A question's iterations in order: each starts from the summary of the one before, and only the last concludes. */
export interface Trajectory {
  /** The id of the sample or the question. */
  readonly id: string
  readonly question: Question
  readonly iterations: ReadonlyArray<Iteration>
}

/**
 * Turns segments into the reasonings of iterations: without the newlines at their ends, and none for white space alone.
 *
 * Empty reasoning makes one iteration with empty reasoning.
 */
export const reasonings = (segments: Iterable<{ readonly text: string }>): Array<string> => {
  const kept: Array<string> = []
  for (const { text } of segments) {
    if (text.trim() !== "") kept.push(withoutNewlines(text))
  }
  return kept.length === 0 ? [""] : kept
}

/**
 * Makes the trajectory of a sample from its reasonings and the summaries between them: one fewer, as the last iteration
 * has the conclusion. Throws a RangeError where the numbers do not match.
 */
export const recombine = (
  { id, question, conclusion }: Pick<Sample, "id" | "question" | "conclusion">,
  reasonings: ReadonlyArray<string>,
  summaries: ReadonlyArray<string>
): Trajectory => {
  if (summaries.length !== reasonings.length - 1) {
    const lengths = `${reasonings.length} reasonings and ${summaries.length} summaries`
    throw new RangeError(`Cannot recombine ${JSON.stringify(id)}: ${lengths}, and there must be one summary fewer`)
  }
  const iterations = reasonings.map((reasoning, i): Iteration => {
    const ending: Ending = i < summaries.length
      ? { _tag: "Summary", text: summaries[i]! }
      : { _tag: "Conclusion", text: conclusion }
    return { question, ...i > 0 && { history: summaries[i - 1]! }, index: i + 1, output: { reasoning, ending } }
  })
  return { id, question, iterations }
}

/** A text without the newlines at its two ends. */
const withoutNewlines = (text: string): string => {
  let from = 0
  let to = text.length
  while (isNewline(text, from)) from++
  while (to > from && isNewline(text, to - 1)) to--
  return text.slice(from, to)
}

const isNewline = (text: string, at: number): boolean => text[at] === "\n" || text[at] === "\r"
