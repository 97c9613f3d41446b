/**
 * Dialects: how a model reads and writes an iteration, as plain values.
 *
 * `v1` is what the public InftyThink scripts train on, `plus` what InftyThink+ does (arXiv 2602.06960, appendix), and
 * `chat` our own wording for models that were trained on neither.
 *
 * ```text
 *         prompt: template(messages) + prefix                    target
 *   User: 6 × 7?  Assistant:  <history>s</history>  │  <think>⏎r⏎</think>⏎<summary>⏎s⏎</summary>
 * ```
 *
 * @module
 */
import type { Iteration, Output } from "./Iteration.ts"
import type { Message, Question } from "./Sample.ts"
import * as Sections from "./Sections.ts"

/** Flattens a conversation to the text that a model continues, with the assistant's turn open at its end. */
export type Template = (messages: ReadonlyArray<Message>) => string

/** How a model reads and writes an iteration. */
export interface Dialect extends Sections.Grammar {
  /** What rows of training data call it. */
  readonly name: string
  /** How `reasoning` and `summary` are tagged in what the model writes; what stands behind them is the conclusion. */
  readonly sections: ReadonlyArray<Sections.Section>
  /** How the history is tagged in what the model reads. */
  readonly history: Sections.Section
  /** Whose turn the history stands in: it begins the assistant's, or ends the user's. */
  readonly place: "assistant" | "user"
  /** What the model is told, for models that do not know the tags. */
  readonly instructions?: string
  /** The model's own template, for the flat prompt. */
  readonly template: Template
}

/** What a model reads. */
export interface Prompt {
  /** The flat text: `template(messages) + prefix`. */
  readonly prompt: string
  readonly messages: ReadonlyArray<Message>
  /** What the assistant's turn begins with: the history, or nothing. */
  readonly prefix: string
}

/** An iteration rendered for training: what the model reads and, as `target`, what it learns to write. */
export interface Instance extends Prompt {
  readonly target: string
}

const think: Sections.Section = {
  name: "reasoning",
  open: "<think>",
  close: "</think>",
  newlines: ["after open", "before close"],
  after: ["start"]
}

const summary: Sections.Section = {
  name: "summary",
  open: "<summary>",
  close: "</summary>",
  newlines: [],
  after: ["reasoning"]
}

const history: Sections.Section = { name: "history", open: "<history>", close: "</history>", newlines: [] }

/** The template of the public InftyThink scripts: `User:`, the question, `Assistant:`, with nothing between. */
export const plainTemplate: Template = (messages) =>
  messages.map(({ role, content }) => `${role[0]!.toUpperCase()}${role.slice(1)}:${content}`).join("") + "Assistant:"

/** ChatML without a system turn of its own, as Qwen and many others read it. */
export const chatMl: Template = (messages) =>
  messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join("") +
  "<|im_start|>assistant\n"

/** The dialect of the public InftyThink scripts (github.com/ZJU-REAL/InftyThink). */
export const v1: Dialect = {
  name: "v1",
  sections: [think, { ...summary, newlines: ["before open", "after open", "before close"] }],
  history,
  place: "assistant",
  template: plainTemplate
}

/** The dialect of InftyThink+ (arXiv 2602.06960, appendix); `template` is that of the model to be trained. */
export const plus: Dialect = {
  name: "plus",
  sections: [think, summary],
  history: { ...history, newlines: ["after open", "before close"] },
  place: "assistant",
  template: chatMl
}

/** Our own dialect for models that were not trained on tags: it tells them, and the history stands in the user's turn. */
export const chat: Dialect = {
  name: "chat",
  sections: [think, {
    ...summary,
    newlines: ["before open", "after open", "before close"],
    after: ["start", "reasoning"]
  }],
  history: { ...history, newlines: ["after open", "before close"] },
  place: "user",
  instructions: [
    "You work on a question in rounds, and remember nothing from one round to the next but what you hand on.",
    "If the question comes with a <history>, it is what you handed on: trust it, and go on from where it ends.",
    "",
    "In each round, reason first, between <think> and </think>, for a few thousand words at most. Then do one of two things:",
    "- If you have found the answer, write it, in full and for the reader, directly behind </think>.",
    "- If you have not, write <summary>, then all that the next round needs, then </summary>, and nothing more: what is " +
    "known so far in the order it was found, earlier rounds included, which ways were tried and failed, and what to do next."
  ].join("\n"),
  template: chatMl
}

/** The dialects by name. */
export const dialects: Readonly<Record<"v1" | "plus" | "chat", Dialect>> = { v1, plus, chat }

/** A question as a conversation. */
export const conversation = (question: Question): ReadonlyArray<Message> =>
  typeof question === "string" ? [{ role: "user", content: question }] : question

/** Renders what the model reads at the start of an iteration. */
export const prompt = (
  dialect: Dialect,
  { question, history }: Pick<Iteration, "question" | "history">
): Prompt => {
  const carried = history === undefined ? "" : Sections.render(dialect.history, history)
  const asked = dialect.instructions === undefined
    ? conversation(question)
    : instruct(conversation(question), dialect.instructions)
  const inUserTurn = dialect.place === "user" && carried !== ""
  const messages = inUserTurn ? appendToLast(asked, `\n\n${carried}`) : asked
  const prefix = inUserTurn ? "" : carried
  return { prompt: dialect.template(messages) + prefix, messages, prefix }
}

/** Renders what the model writes in an iteration: `v1` and `plus` byte for byte as their models were trained. */
export const target = (dialect: Dialect, { reasoning, ending }: Output): string => {
  const written = Sections.render(sectionOf(dialect, "reasoning"), reasoning)
  return written +
    (ending._tag === "Conclusion" ? ending.text : Sections.render(sectionOf(dialect, "summary"), ending.text))
}

/** Renders an iteration for training. */
export const instance = (dialect: Dialect, iteration: Iteration): Instance => ({
  ...prompt(dialect, iteration),
  target: target(dialect, iteration.output)
})

/** What to do about tags and special tokens in a text that should hold none. */
export type TagPolicy = "reject" | "replace"

/** A text that was searched for tags. */
export interface Screened {
  readonly text: string
  /** How many tags were made harmless. */
  readonly replaced: number
  /** The first tag that is left, if any. */
  readonly tag?: string
}

/**
 * Searches a text for tags of the dialect and for special tokens of chat templates.
 *
 * With `replace`, their `<` becomes `‹` in every occurrence; a tag of a custom dialect that has none is left.
 */
export const screen = (dialect: Dialect, text: string, policy: TagPolicy): Screened => {
  const pattern = tagPattern(dialect)
  let replaced = 0
  const screened = policy === "reject" ? text : text.replace(pattern, (tag) => {
    if (!tag.includes("<")) return tag
    replaced++
    return tag.replace("<", "‹")
  })
  const tag = screened.match(pattern)?.[0]
  return { text: screened, replaced, ...tag !== undefined && { tag } }
}

/** The special tokens of widespread chat templates, of which all begin with `<`. */
const SPECIAL = "<\\|[^|<>\\s]{1,64}\\|>|<｜[^｜<>\\s]{1,64}｜>|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>"

const tagPattern = ({ sections, history }: Dialect): RegExp => {
  const tags = [...sections, history].flatMap(({ open, close }) => [open, close])
  return new RegExp([...tags.map((tag) => tag.replace(/[^\w\s]/g, "\\$&")), SPECIAL].join("|"), "g")
}

const sectionOf = ({ name, sections }: Dialect, wanted: string): Sections.Section => {
  const found = sections.find((section) => section.name === wanted)
  if (found === undefined) throw new RangeError(`Cannot render in dialect ${name}: it has no section "${wanted}"`)
  return found
}

/** Puts instructions into the system message, behind what the question has there. */
const instruct = (messages: ReadonlyArray<Message>, instructions: string): ReadonlyArray<Message> => {
  const [first, ...rest] = messages
  return first?.role === "system"
    ? [{ role: "system", content: `${first.content}\n\n${instructions}` }, ...rest]
    : [{ role: "system", content: instructions }, ...messages]
}

const appendToLast = (messages: ReadonlyArray<Message>, text: string): ReadonlyArray<Message> => {
  const last = messages.at(-1)!
  return [...messages.slice(0, -1), { ...last, content: last.content + text }]
}
