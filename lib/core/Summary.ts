/**
 * Summaries: what a model is asked for after a segment, and whether what it wrote will do.
 *
 * The requirements are those of InftyThink (arXiv 2503.06692, section 3.1) and InftyThink+ (arXiv 2602.06960, appendix);
 * the wording is our own.
 *
 * @module
 */
import * as Dialect from "./Dialect.ts"
import * as Rejection from "./Rejection.ts"
import type { Message, Question } from "./Sample.ts"

/** What a summary is made of. */
export interface Source {
  readonly question: Question
  /** The summary before; recurrent summaries after the first are made of it and one segment. */
  readonly history?: string
  /** The segments to be summarized: one, or, for cumulative summaries, all so far. */
  readonly segments: ReadonlyArray<string>
  /** γ: the most tokens in the summary. */
  readonly gamma: number
}

/** The version of the wording, which rows of training data record. */
export const version = "1"

/**
 * Builds the conversation that asks for a summary.
 *
 * Without a history, the model sees its reasoning as its own unfinished answer; with one, it sees the history as its
 * answer, is told to go on, and then sees the reasoning. It never sees what comes later, nor the conclusion.
 */
export const request = ({ question, history, segments, gamma }: Source): ReadonlyArray<Message> => {
  const asked = Dialect.conversation(question)
  const reasoned: Message = { role: "assistant", content: segments.join("\n\n") }
  if (history === undefined) return [...asked, reasoned, { role: "user", content: first(gamma) }]
  return [
    ...asked,
    { role: "assistant", content: history },
    { role: "user", content: CONTINUE },
    reasoned,
    { role: "user", content: later(gamma) }
  ]
}

const CONTINUE = "That is where your reasoning stands. Go on from there."

const first = (gamma: number): string =>
  [
    "Your reasoning was interrupted, and it may be incomplete. Soon you will go on with it, but all you will remember " +
    "is the question and a summary that you write now.",
    "",
    "Write this summary of your reasoning so far:",
    ...requirements("the order in which you found them", gamma)
  ].join("\n")

const later = (gamma: number): string =>
  [
    "Your reasoning was interrupted again, and it may be incomplete. Soon you will go on with it, but all you will " +
    "remember is the question and a summary that you write now; the summary you started from will be gone.",
    "",
    "Bring that summary up to date with the reasoning since:",
    ...requirements("the order in which you found them, from the very beginning: first those of the old summary", gamma)
  ].join("\n")

const requirements = (order: string, gamma: number): ReadonlyArray<string> => [
  `* List the key steps and the intermediate conclusions in ${order}.`,
  "* Keep what helps to answer the question, ways that were tried and failed included.",
  `* Be as concise as you can without leaving out a step that matters, and stay below ${gamma} tokens.`,
  "* Add nothing that was not in the reasoning: do not go on with it, and do not correct it.",
  "* Give no final answer, and no remarks before or after the summary.",
  "* Write in the language of the reasoning, as a list whose items begin with `*`."
]

/** A summary that was written, before it is checked. */
export interface Candidate {
  readonly text: string
  /** Whether its writer was done with it, and not cut off. */
  readonly finished: boolean
}

/** What a summary is checked against. */
export interface Standard extends Source {
  readonly dialect: Dialect.Dialect
  /** What to do about tags in the summary. */
  readonly tags: Dialect.TagPolicy
  readonly count: (text: string) => number
  /** The conclusion that the summary must not give away, where it is known. */
  readonly conclusion?: string
}

/** A summary that passed. */
export interface Checked {
  readonly _tag: "Checked"
  readonly text: string
  readonly tokens: number
  /** How many tags in it were made harmless. */
  readonly replaced: number
}

/**
 * Checks a summary: it is finished, not empty, at most γ tokens, holds no tag, and gives no conclusion away.
 *
 * The conclusion is given away where the summary boxes the same answer, or has a line of the conclusion, or a long part
 * of its text, that is in nothing it was made of.
 */
export const check = (candidate: Candidate, standard: Standard): Checked | Rejection.Rejection => {
  const { dialect, tags, count, gamma, conclusion = "" } = standard
  const { text, tag, replaced } = Dialect.screen(dialect, candidate.text, tags)
  const quoted = Rejection.quote(text)
  if (!candidate.finished) return Rejection.make("summary-unfinished", `The summary was cut off: ${quoted}`)
  if (text.trim() === "") return Rejection.make("summary-empty", "The summary is empty")
  if (tag !== undefined) return Rejection.make("summary-with-tag", `The summary holds ${tag}: ${quoted}`)
  const leak = leaked(text, conclusion, standard)
  if (leak !== undefined) {
    return Rejection.make("summary-with-conclusion", `The summary gives the conclusion away: ${Rejection.quote(leak)}`)
  }
  const tokens = count(text)
  if (tokens > gamma) {
    return Rejection.make("summary-too-long", `The summary has ${tokens} tokens, and gamma is ${gamma}: ${quoted}`)
  }
  return { _tag: "Checked", text, tokens, replaced }
}

/** What a summary has of a conclusion that it cannot have from its sources. */
const leaked = (text: string, conclusion: string, { question, history = "", segments }: Source): string | undefined => {
  const answers = new Set(boxed(conclusion).map(plain))
  const box = boxed(text).find((answer) => answers.has(plain(answer)))
  if (box !== undefined) return `\\boxed{${box}}`
  const known = (line: string): boolean =>
    history.includes(line) || segments.some((segment) => segment.includes(line)) ||
    Dialect.conversation(question).some(({ content }) => content.includes(line))
  const lines = text.split("\n").map((line) => line.trim().replace(LIST_MARK, ""))
  const holds = (line: string): boolean =>
    line.length >= TELLING ? text.includes(line) : line.length >= TELLING_LINE && lines.includes(line)
  return conclusion.split("\n").map((line) => line.trim()).find((line) => holds(line) && !known(line))
}

/** The shortest line, in UTF-16 code units, that one text does not hold of another by chance. */
const TELLING = 40

/** The shortest line that two texts do not both have by chance. */
const TELLING_LINE = 12

const LIST_MARK = /^[-+*•]\s+/

/** A boxed answer without what only shapes it. */
const plain = (answer: string): string => answer.replace(/\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}|\s+/g, "$1")

/** What every `\boxed{…}` in a text holds, but for empty ones, and for those within too many others. */
const boxed = (text: string): Array<string> => {
  const contents: Array<string> = []
  // The braces that are open: the index behind one that a box begins with, and how many boxes it is in.
  const open: Array<{ readonly box?: number; readonly depth: number }> = []
  const boxes = new Set(Array.from(text.matchAll(/\\f?box(?:ed)?\s*\{/g), ({ index, 0: box }) => index + box.length))
  for (let at = 0; at < text.length && boxes.size > 0; at++) {
    if (text[at] === "\\") at++
    else if (text[at] === "{") {
      const depth = open.at(-1)?.depth ?? 0
      open.push(boxes.has(at + 1) ? { box: at + 1, depth: depth + 1 } : { depth })
    } else if (text[at] === "}") {
      const { box, depth = 0 } = open.pop() ?? {}
      if (box !== undefined && depth <= DEEPEST) contents.push(text.slice(box, at).trim())
    }
  }
  return contents.filter((content) => content !== "")
}

/** A box within so many boxes is read: each has the text of all within it, so that no limit would be quadratic. */
const DEEPEST = 8
