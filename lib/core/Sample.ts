/**
 * Question, reasoning, conclusion: the record of one long reasoning, and how to take an R1-style answer apart.
 *
 * @module
 */
import * as Rejection from "./Rejection.ts"
import * as Sections from "./Sections.ts"

/** A message of a conversation. */
export interface Message {
  readonly role: "system" | "user" | "assistant"
  readonly content: string
}

/** What is asked: a text, or a conversation that ends with the user. */
export type Question = string | ReadonlyArray<Message>

/** One source record: (q, r, c) of InftyThink, section 3.1. */
export interface Sample {
  /** What names the sample in rows and rejections. */
  readonly id: string
  readonly question: Question
  /** The text between the think tags, to the character. */
  readonly reasoning: string
  /** The text behind the reasoning, to the character. */
  readonly conclusion: string
  /** The right answer where the dataset has one, as reinforcement learning checks it. */
  readonly reference?: string
  /** The file and line, from 1, of the record. */
  readonly origin?: { readonly file: string; readonly line: number }
}

/** The two halves of an answer. */
export interface Answer {
  readonly reasoning: string
  readonly conclusion: string
}

/**
 * Takes an R1-style answer apart: the reasoning between its tags, and the conclusion behind them.
 *
 * The opening tag may be missing, because the prompt held it, or be repeated; the first closing tag ends the reasoning; a conclusion
 * may have tags of its own (`<answer>`, `<Output>`, `<|begin_of_solution|>`). What has no closing tag is rejected,
 * and so is other text before the opening tag.
 */
export const split = (answer: string, place?: Rejection.Place): Answer | Rejection.Rejection => {
  const tagged = isTagged(answer)
  const text = tagged ? answer.trimStart() : answer
  const [first, ...rest] = Sections.parse(markup, text, { orphans: "retag" })
  const isFound = first?.section === "reasoning"
  const opening = tagged ? undefined : openings.find((open) => (isFound ? first.text : answer).includes(open))
  if (opening !== undefined) {
    return Rejection.make("no-reasoning", `Other text stands before ${opening}: ${Rejection.quote(answer)}`, place)
  }
  if (!isFound) {
    return Rejection.make("no-reasoning", `The answer has no think tags: ${Rejection.quote(answer)}`, place)
  }
  if (!first.closed) {
    return Rejection.make("unclosed-reasoning", `The reasoning is not closed: ${Rejection.quote(answer)}`, place)
  }
  // A template may have opened the reasoning that the model opened once more.
  const start = first.text.trimStart()
  const repeated = openings.find((open) => start.startsWith(open))
  const reasoning = repeated === undefined ? first.text : start.slice(repeated.length)
  return { reasoning, conclusion: rest.map(({ text }) => text).join("") }
}

/** Tells whether a text begins, white space aside, with the opening tag of reasoning. */
export const isTagged = (text: string): boolean => {
  const start = text.trimStart()
  return openings.some((open) => start.startsWith(open))
}

/** Tells whether a text has a tag of reasoning, wherever it stands. */
export const hasTags = (text: string): boolean =>
  markup.sections.some(({ name, open, close }) =>
    name === "reasoning" && [open, close].some((tag) => text.includes(tag))
  )

const reasoning = (open: string, close: string): Sections.Section => ({
  name: "reasoning",
  open,
  close,
  newlines: [],
  after: ["start"]
})

const conclusion = (open: string, close: string): Sections.Section => ({
  name: "answer",
  open,
  close,
  newlines: [],
  after: ["reasoning"]
})

/** How published answers tag reasoning and conclusion. */
const markup: Sections.Grammar = {
  sections: [
    reasoning("<think>", "</think>"),
    reasoning("<|begin_of_thought|>", "<|end_of_thought|>"),
    reasoning("<Thought>", "</Thought>"),
    reasoning("◁think▷", "◁/think▷"),
    reasoning("<seed:think>", "</seed:think>"),
    conclusion("<answer>", "</answer>"),
    conclusion("<|begin_of_solution|>", "<|end_of_solution|>"),
    conclusion("<Output>", "</Output>")
  ]
}

/** The tags that open reasoning. */
const openings: ReadonlyArray<string> = markup.sections.filter(({ name }) => name === "reasoning").map(({ open }) =>
  open
)
