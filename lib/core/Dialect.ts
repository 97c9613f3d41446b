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

/**
 * The template of the public InftyThink scripts: `User:`, the question, `Assistant:`, with nothing between. Its turns are
 * plain words, which a text may hold as well: no `screen` tells them apart, as it does tags and special tokens.
 */
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

/**
 * The dialect of any reasoning model as it is: it is told what a history is, and nothing of summaries, which are asked for
 * when its reasoning was cut.
 */
export const guided: Dialect = {
  name: "guided",
  sections: [think],
  history: chat.history,
  place: "user",
  instructions:
    "If the question comes with a <history>, it is a summary of your own reasoning about it so far, which was " +
    "interrupted: trust it, do not start over, and go on from where it ends. Do not mention it in your answer.",
  template: chatMl
}

/** The dialects that have summaries of their own, by name. */
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
  return dialect.place === "user" && carried !== ""
    ? flatten(dialect, appendToLast(asked, carried), "")
    : flatten(dialect, asked, carried)
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

/**
 * Renders what a model reads that is to conclude at once, from its last summary: its reasoning is closed already, or,
 * where it takes instructions, it is told so.
 */
export const conclude = (dialect: Dialect, start: Pick<Iteration, "question" | "history">): Prompt => {
  const { messages, prefix } = prompt(dialect, start)
  return dialect.place === "assistant"
    ? flatten(dialect, messages, prefix + Sections.render(sectionOf(dialect, "reasoning"), ""))
    : flatten(dialect, appendToLast(messages, CONCLUDE), "")
}

const CONCLUDE = "There is no time left to reason. Write your answer now, from what is known so far."

/** Why what a model wrote is no output: it was cut off, is not in the dialect, or is nothing. */
export type Fault = "truncated" | "malformed" | "empty"

/**
 * Reads what a model wrote as an output, or says what is wrong with it. `finish` is why the model stopped: what was cut
 * off is never an output, and a summary without its closing tag is one only if the model stopped by itself. A conclusion
 * may mention tags, but one that begins or ends with a tag is a section in the wrong place.
 */
export const read = (
  dialect: Dialect,
  blocks: ReadonlyArray<Sections.Block>,
  finish: "stop" | "length" | "filter" | "other"
): Output | Fault => {
  if (finish === "length") return "truncated"
  const textOf = (section: string): string =>
    blocks.filter((block) => block.section === section).map(({ text }) => text).join("")
  const reasoning = textOf("reasoning")
  const conclusion = textOf(Sections.plain)
  const summary = blocks.find(({ section }) => section === "summary")
  if (blocks.every(({ text }) => text.trim() === "")) return "empty"
  const open = blocks.some(({ section, closed }) => section === "reasoning" && !closed)
  const misplaced = dialect.sections.some(({ open, close }) =>
    conclusion.trimStart().startsWith(open) || conclusion.trimEnd().endsWith(close)
  )
  if (finish !== "stop" || open || misplaced) return "malformed"
  if (summary === undefined) {
    return conclusion.trim() === "" ? "malformed" : { reasoning, ending: { _tag: "Conclusion", text: conclusion } }
  }
  if (summary.text.trim() === "" || conclusion.trim() !== "") return "malformed"
  return { reasoning, ending: { _tag: "Summary", text: summary.text } }
}

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
 * Searches a text for tags of the dialect and for special tokens of chat templates: what lets a text act as more than
 * what it is, in a prompt or in a row.
 *
 * With `replace`, their `<` becomes `‹` in every occurrence, or else their `[` becomes `⁅`, or else a word joiner
 * (U+2060) comes behind their first character; a tag of one character is left. Words are not touched: instructions stay
 * what they are, text in their place.
 */
export const screen = (
  dialect: Pick<Dialect, "sections" | "history">,
  text: string,
  policy: TagPolicy
): Screened => {
  const pattern = tagPattern(dialect)
  let screened = text
  let replaced = 0
  let tag = screened.match(pattern)?.[0]
  // What was replaced may have held another tag, or shared a character with one, so that one look is not enough.
  for (let before = -1; policy === "replace" && tag !== undefined && before !== replaced;) {
    before = replaced
    screened = screened.replace(pattern, (tag) => {
      const safe = harmless(tag)
      if (safe !== tag) replaced++
      return safe
    })
    tag = screened.match(pattern)?.[0]
  }
  return { text: screened, replaced, ...tag !== undefined && { tag } }
}

const harmless = (tag: string): string => {
  if (tag.includes("<")) return tag.replace("<", "‹")
  if (tag.includes("[")) return tag.replace("[", "⁅")
  return tag.replace(/(?<=^[^\u2060])(?!\u2060|$)/u, "\u2060")
}

/** The special tokens of widespread chat templates. */
const SPECIAL = [
  // ChatML, Llama 3, Phi, GLM, harmony; DeepSeek.
  "<\\|[^|<>\\s]{1,64}\\|>",
  "<｜[^｜<>\\s]{1,64}｜>",
  // SentencePiece, Llama 2, Gemma, Gemma 4, GLM, Seed.
  "</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn|sop|eop)>|<</?SYS>>",
  "<\\|(?:turn|channel|tool|tool_call|tool_response)>|<(?:turn|channel|tool|tool_call|tool_response)\\|>",
  "<seed:[a-z_]{1,32}>",
  // Cohere, T5 and NeMo, pictures of Gemma, Idefics, code models.
  "<(?:BOS|EOS)_TOKEN>|<extra_id_\\d{1,3}>|<SPECIAL_\\d{1,4}>",
  "<(?:start|end)_of_(?:image|utterance)>|<fim_(?:prefix|middle|suffix|pad)>",
  // Mistral, GLM, EXAONE.
  "\\[/?(?:INST|SYSTEM_PROMPT|THINK|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT|gMASK|sMASK)\\]",
  "\\[\\|(?:system|user|assistant|tool|endofturn)\\|\\]"
].join("|")

/** The patterns of dialects that were screened for: to make one takes as long as to search a short text. */
const tagPatterns = new WeakMap<object, RegExp>()

const tagPattern = (dialect: Pick<Dialect, "sections" | "history">): RegExp => {
  let pattern = tagPatterns.get(dialect)
  if (pattern === undefined) {
    const tags = [...dialect.sections, dialect.history].flatMap(({ open, close }) => [open, close])
    pattern = new RegExp([...tags.map((tag) => tag.replace(/[^\w\s]/g, "\\$&")), SPECIAL].join("|"), "g")
    tagPatterns.set(dialect, pattern)
  }
  return pattern
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

/** Puts a paragraph behind the last message. */
const appendToLast = (messages: ReadonlyArray<Message>, text: string): ReadonlyArray<Message> => {
  const last = messages.at(-1)!
  return [...messages.slice(0, -1), { ...last, content: `${last.content}\n\n${text}` }]
}

const flatten = (dialect: Dialect, messages: ReadonlyArray<Message>, prefix: string): Prompt => ({
  prompt: dialect.template(messages) + prefix,
  messages,
  prefix
})
