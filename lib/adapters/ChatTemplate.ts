/**
 * Chat templates of open models: they render prompts, and a check tells what they make of training data.
 *
 * A model's own template often rewrites an assistant's turn: it takes the reasoning away, or the history before it, or
 * changes white space. Whoever exports conversations trains on what is left. `check` renders a row as its trainer does
 * and compares the assistant's turn with what is meant.
 *
 * @module
 */
import type { Template as Jinja } from "@huggingface/jinja"
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { Dialect, Template } from "../core/Dialect.ts"
import * as Rejection from "../core/Rejection.ts"
import * as Sections from "../core/Sections.ts"
import * as Format from "../Format.ts"
import type { Row } from "../Reconstruction.ts"

/** A chat template, ready to render. */
export interface ChatTemplate {
  /** What errors call it. */
  readonly name: string
  /**
   * Renders the prompt of a dialect, as in `{ ...Dialect.plus, template }`: a tag that opens the reasoning is taken off
   * its end, because the target begins with it, and the history stands before it. Throws a TemplateError.
   */
  readonly template: Template
  /** Renders a prompt with all that the template puts at its end. Throws a TemplateError. */
  readonly prompt: Template
  /** Renders a whole conversation, as trainers do. Throws a TemplateError. */
  readonly render: (turns: ReadonlyArray<Format.Turn>) => string
}

/** How to render. */
export interface Options {
  /** Which of several templates of a `tokenizer_config.json` to take; `default` by default. */
  readonly use?: string
  /** The tag that a template may open reasoning with at the end of a prompt; `<think>` by default. */
  readonly opener?: string
  /**
   * What the template reads beside messages and special tokens, such as `enable_thinking`. One that writes the date
   * writes today's, but where it takes it from a variable, as `date_string`.
   */
  readonly variables?: Readonly<Record<string, unknown>>
}

interface Fields {
  /**
   * `not-found`: there is no such file, or it cannot be read; `missing`: the file has no such template; `invalid`: what
   * it has is none; `refused`: the template does not render these messages.
   */
  readonly reason: "not-found" | "missing" | "invalid" | "refused"
  /** A sentence that reads "Cannot load …: …" or "Cannot render …: …". */
  readonly message: string
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "TemplateError" } = Data
  .TaggedError("TemplateError")

/** A chat template cannot be loaded, or does not render a conversation. */
export class TemplateError extends Base {}

/**
 * Loads the template of a model: from a `tokenizer_config.json`, from a `.jinja` file, whose special tokens are those of
 * the `tokenizer_config.json` beside it, or from a folder of such files, where `chat_template.jinja` goes first.
 */
export const load = (
  path: string,
  options: Options = {}
): Effect.Effect<ChatTemplate, TemplateError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const read = (file: string): Effect.Effect<string, TemplateError> =>
      Effect.mapError(files.readFileString(file), (cause) =>
        new TemplateError({
          reason: "not-found",
          message: `Cannot load ${file}: ${cause.reason._tag === "NotFound" ? "it does not exist" : cause.message}`,
          cause
        }))
    const exists = (file: string): Effect.Effect<boolean> => Effect.orElseSucceed(files.exists(file), () => false)

    const info = yield* Effect.option(files.stat(path))
    const isFolder = info._tag === "Some" && info.value.type === "Directory"
    const folder = isFolder ? path.replace(/[/\\]*$/, "/") : path.replace(/[^/\\]*$/, "")
    const jinja = `${folder}chat_template.jinja`
    const config = path.endsWith(".json") ? path : `${folder}tokenizer_config.json`
    const hasJinja = yield* exists(jinja)

    const isConfig = path.endsWith(".json") || isFolder && !hasJinja
    const tokens = isConfig || (yield* exists(config)) ? yield* parseConfig(yield* read(config), config) : {}
    const completed = withTokens(tokens, options)
    if (isConfig && (tokens.chat_template != null || !hasJinja)) {
      return yield* parse(yield* choose(tokens, config, options), config, completed)
    }
    const file = isFolder || isConfig ? jinja : path
    return yield* parse(yield* read(file), file, completed)
  })

/** Reads the text of a chat template, which errors call by `name`. */
export const parse = (
  text: string,
  name: string,
  { opener = "<think>", variables = {} }: Omit<Options, "use"> = {}
): Effect.Effect<ChatTemplate, TemplateError> =>
  Effect.gen(function* () {
    const { Template: Implementation } = yield* Effect.promise(() => import("@huggingface/jinja"))
    const jinja: Jinja = yield* Effect.try({
      try: () => new Implementation(text),
      catch: (cause) =>
        // A TypeError is the parser's own, at an end that it does not expect, and tells nothing.
        new TemplateError({
          reason: "invalid",
          message: `Cannot load ${name}: it is no Jinja template${
            cause instanceof TypeError ? "" : `: ${reasonOf(cause)}`
          }`,
          cause
        })
    })
    const given = { tools: null, documents: null, ...variables }
    const render = (
      own: { readonly messages: ReadonlyArray<Format.Turn>; readonly add_generation_prompt: boolean }
    ) => {
      try {
        return jinja.render({ ...given, ...own })
      } catch (cause) {
        throw new TemplateError({ reason: "refused", message: `Cannot render ${name}: ${reasonOf(cause)}`, cause })
      }
    }
    const prompt: Template = (messages) => render({ messages, add_generation_prompt: true })
    return {
      name,
      prompt,
      template: (messages) => withoutOpener(prompt(messages), opener),
      render: (messages) => render({ messages, add_generation_prompt: false })
    }
  })

/** What is wrong with a rendering; `detail` tells a person. */
export type Kind =
  /** The template does not render the conversation. */
  | "render-failed"
  /** A message that is read is not there. */
  | "question-lost"
  | "history-lost"
  /** The reasoning or its tags are not there. */
  | "think-stripped"
  | "summary-lost"
  | "conclusion-lost"
  /** A part of one of these is not there. */
  | "text-lost"
  /** There is text that nobody wrote. */
  | "text-added"
  | "empty-think-added"
  /** Reasoning is opened twice, or before the history. */
  | "opener-doubled"
  | "reordered"
  | "whitespace-rewritten"
  /** The trainer learns the history. */
  | "history-learned"
  /** The flat prompt is not the template's. */
  | "prompt-differs"

/** Something that a template or a trainer makes of a row that was not meant. */
export interface Finding {
  readonly kind: Kind
  /** One sentence for a person. */
  readonly detail: string
  /** The text it is about. */
  readonly excerpt: string
}

/**
 * Makes the function that tells what becomes of a row that is trained on in a format, through the model's template.
 *
 * `messages`, `reasoning-content`, `swift`, `alpaca` and `sharegpt` are rendered as conversations, although ms-swift and
 * LLaMA-Factory have templates of their own, which only resemble the model's; of `verl`, the prompt is; the flat formats
 * are compared with what the template makes of their prompt; of `verl-rl` there is only the prompt. Throws a RangeError
 * where the dialect has no such format.
 */
export const check = (
  template: ChatTemplate,
  dialect: Dialect,
  format: Format.Name = "messages"
): (row: Row) => ReadonlyArray<Finding> => {
  // Refuses what cannot be written.
  Format.make(format, { dialect })
  const checkRow = checks[format]
  return (row) => {
    try {
      return checkRow(template, dialect, row)
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error
      return [finding("render-failed", error.message, row.messages.map(({ content }) => content).join("\n"))]
    }
  }
}

type Check = (template: ChatTemplate, dialect: Dialect, row: Row) => ReadonlyArray<Finding>

const checkInline: Check = (template, dialect, row) =>
  checkTurns(template, dialect, row, (part) => Format.conversation({ ...row, ...part }))

const checkSplit: Check = (template, dialect, row) =>
  checkTurns(template, dialect, row, (part) => Format.splitConversation(dialect, { ...row, ...part }))

const checkFlat: Check = ({ template }, dialect, { prompt, prefix, messages }) => {
  const bare = prompt.slice(0, prompt.length - prefix.length)
  const own = template(messages)
  return [
    ...checkPrompt(dialect, bare),
    ...bare === own ? [] : [
      finding("prompt-differs", "The flat prompt is not what the template makes of the question", ...apart(bare, own))
    ]
  ]
}

const checkVerl: Check = ({ prompt }, dialect, row) => {
  const rendered = prompt(row.messages)
  return [...checkRead(dialect, row, rendered), ...checkPrompt(dialect, rendered), ...checkLearned(row)]
}

const checks: Readonly<Record<Format.Name, Check>> = {
  "rows": checkFlat,
  "prompt-completion": checkFlat,
  "input-target": checkFlat,
  "messages": checkInline,
  "reasoning-content": checkSplit,
  "swift": checkInline,
  "alpaca": checkInline,
  "sharegpt": checkInline,
  "verl": checkVerl,
  "verl-rl": ({ prompt }, dialect, row) => checkRead(dialect, row, prompt(row.messages))
}

/** Compares the assistant's turn of a rendered conversation with what is meant. */
const checkTurns = (
  template: ChatTemplate,
  dialect: Dialect,
  row: Row,
  turnsOf: (part: Pick<Row, "prefix" | "target">) => ReadonlyArray<Format.Turn>
): ReadonlyArray<Finding> => {
  const rendered = template.render(turnsOf(row))
  const { from, to } = findTurn(template, dialect, row, rendered, turnsOf)
  const head = rendered.slice(0, from)
  const turn = rendered.slice(from, to)
  const base = template.template(row.messages)
  return [
    ...checkRead(dialect, row, head),
    ...checkPrompt(dialect, head.slice(shared(base, head))),
    ...compare(dialect, row, turn),
    ...squash(turn).includes(squash(row.prefix)) ? checkLearned(row) : []
  ]
}

/** Marks that no text has, in whose place the template renders what it is given. */
const MARK = { reasoning: "\u{e000}reasoning\u{e000}", conclusion: "\u{e000}conclusion\u{e000}" }

/** Finds where the assistant's turn begins and ends in a rendering, by what stands around a turn of marks. */
const findTurn = (
  template: ChatTemplate,
  dialect: Dialect,
  row: Row,
  rendered: string,
  turnsOf: (part: Pick<Row, "prefix" | "target">) => ReadonlyArray<Format.Turn>
): { readonly from: number; readonly to: number } => {
  const section = reasoningOf(dialect)
  const target = Sections.render(section, MARK.reasoning) + MARK.conclusion
  const marked = template.render(turnsOf({ prefix: "", target }))
  const first = marked.indexOf("\u{e000}")
  const opened = marked.slice(0, Math.max(first, 0)).trimEnd().length - section.open.length
  // A template that took the reasoning away has no tag, or one that closes it, in front of the conclusion.
  const start = marked.startsWith(MARK.reasoning, first) && marked.startsWith(section.open, opened) ? opened : first
  const head = marked.slice(0, Math.max(start, 0))
  const end = marked.lastIndexOf(MARK.conclusion)
  const tail = end < 0 ? "" : marked.slice(end + MARK.conclusion.length)
  const from = rendered.startsWith(head) ? head.length : shared(template.template(row.messages), rendered)
  return { from, to: Math.max(from, rendered.endsWith(tail) ? rendered.length - tail.length : rendered.length) }
}

/** A part of what the assistant's turn should be. */
interface Part {
  readonly kind: Kind
  readonly name: string
  readonly text: string
}

/** Takes apart what the assistant's turn should be, in order. */
const partsOf = (dialect: Dialect, { prefix, target }: Row): ReadonlyArray<Part> => {
  const section = reasoningOf(dialect)
  const [first] = Sections.parse(dialect, target)
  const reasoning = first?.section === section.name ? Sections.render(section, first.text) : ""
  const at = target.startsWith(reasoning) ? reasoning.length : 0
  const ending = target.slice(at)
  const summary = dialect.sections.find(({ name }) => name === "summary")
  const isSummary = summary !== undefined && ending.trimStart().startsWith(summary.open)
  const parts: ReadonlyArray<Part> = [
    { kind: "history-lost", name: "history", text: prefix },
    { kind: "think-stripped", name: "reasoning", text: target.slice(0, at) },
    isSummary
      ? { kind: "summary-lost", name: "summary", text: ending }
      : { kind: "conclusion-lost", name: "conclusion", text: ending }
  ]
  return parts.filter(({ text }) => text.trim() !== "")
}

/** Compares a turn with what is meant, white space aside where it is not the only difference. */
const compare = (dialect: Dialect, row: Row, turn: string): ReadonlyArray<Finding> => {
  const meant = row.prefix + row.target
  if (turn === meant) return []
  if (squash(turn) === squash(meant)) {
    return [finding("whitespace-rewritten", "The template changes white space", ...apart(turn, meant))]
  }
  const parts = partsOf(dialect, row)
  // What was found is blotted out, so that it is not found twice. The conclusion comes last, because a short one may
  // occur in the others, which have tags.
  let rest = squash(turn)
  const places = new Map<Part, number>()
  for (const part of parts) {
    const text = squash(part.text)
    const at = rest.indexOf(text)
    if (at < 0) continue
    places.set(part, at)
    rest = rest.slice(0, at) + BLOT + rest.slice(at + text.length)
  }
  let pieces = rest.split(BLOT).filter((piece) => piece !== "")
  const findings: Array<Finding> = []
  for (const part of parts.filter((part) => !places.has(part))) {
    const left = pieces.filter((piece) => squash(part.text).includes(piece))
    pieces = pieces.filter((piece) => !left.includes(piece))
    findings.push(
      left.length === 0
        ? finding(part.kind, `The ${part.name} with its tags is not in what the template renders`, part.text)
        : finding("text-lost", `A part of the ${part.name} is not in what the template renders`, part.text)
    )
  }
  const found = parts.flatMap((part) => places.get(part) ?? [])
  if (found.some((at, i) => i > 0 && at < found[i - 1]!)) {
    findings.push(finding("reordered", `The template changes the order of ${list(parts)}`, turn))
  }
  const { open, close } = reasoningOf(dialect)
  for (const piece of pieces) {
    findings.push(
      piece === open + close
        ? finding("empty-think-added", "The template adds empty reasoning", piece)
        : piece === open
        ? finding("opener-doubled", `The template writes ${open} once more`, piece)
        : finding("text-added", "The template adds text to the assistant's turn", piece)
    )
  }
  return findings
}

/** Whether all that is read stands in the text before the assistant's turn. */
const checkRead = (dialect: Dialect, { messages, history }: Row, head: string): ReadonlyArray<Finding> => {
  const text = squash(head)
  const carried = dialect.place === "user" && history !== null ? Sections.render(dialect.history, history) : ""
  return messages.flatMap(({ role, content }) => {
    if (role === "assistant" || text.includes(squash(content))) return []
    const ends = carried !== "" && role === "user" && content.endsWith(carried)
    const asked = ends ? content.slice(0, content.length - carried.length) : content
    const hasCarried = !ends || text.includes(squash(carried))
    // With the history there, it is the question that is not, although so short a one may occur elsewhere.
    const hasAsked = !hasCarried && text.includes(squash(asked))
    return [
      ...hasAsked
        ? []
        : [finding("question-lost", `A message of the ${role} is not in what the template renders`, asked)],
      ...hasCarried ? [] : [finding("history-lost", "The history is not in what the template renders", carried)]
    ]
  })
}

/** Whether a text in front of the assistant's turn opens reasoning, or has some that is empty, at its end. */
const checkPrompt = (dialect: Dialect, head: string): ReadonlyArray<Finding> => {
  const text = head.trimEnd()
  // Templates have tags of their own, whatever those of the dialect are.
  const tags = [reasoningOf(dialect), { open: "<think>", close: "</think>" }]
  const opened = tags.find(({ open }) => text.endsWith(open))
  if (opened !== undefined) {
    const detail = `The prompt ends with ${opened.open}, and the target opens reasoning again`
    return [finding("opener-doubled", detail, text.slice(-80))]
  }
  return tags.some(({ open, close }) => squash(text).endsWith(squash(open + close)))
    ? [finding("empty-think-added", "Empty reasoning stands before the target", text.slice(-80))]
    : []
}

const checkLearned = ({ prefix }: Row): ReadonlyArray<Finding> =>
  prefix === ""
    ? []
    : [finding("history-learned", "The history begins the assistant's turn, all of which the trainer learns", prefix)]

const BLOT = "\0"

const reasoningOf = ({ name, sections }: Dialect): Sections.Section => {
  const found = sections.find((section) => section.name === "reasoning")
  if (found === undefined) throw new RangeError(`Cannot check rows in dialect ${name}: it has no section "reasoning"`)
  return found
}

/** Makes a finding of an excerpt, from a little before `at` on. */
const finding = (kind: Kind, detail: string, text: string, at: number = 0): Finding => ({
  kind,
  detail,
  excerpt: Rejection.quote(text.slice(Math.max(0, at - 20)), 120)
})

/** A text, and where it begins to differ from another. */
const apart = (text: string, other: string): [text: string, at: number] => [text, shared(text, other)]

/** How long the beginning is that two texts share. */
const shared = (a: string, b: string): number => {
  let at = 0
  while (at < a.length && at < b.length && a[at] === b[at]) at++
  return at
}

const squash = (text: string): string => text.replace(/\s/g, "")

const list = (parts: ReadonlyArray<Part>): string => parts.map(({ name }) => name).join(", ")

const withoutOpener = (prompt: string, opener: string): string => {
  const text = prompt.trimEnd()
  return text.endsWith(opener) ? text.slice(0, text.length - opener.length) : prompt
}

/** What is read of a `tokenizer_config.json`. */
interface Config {
  readonly chat_template?: unknown
  readonly [token: string]: unknown
}

const parseConfig = (text: string, name: string): Effect.Effect<Config, TemplateError> =>
  Effect.try({
    try: () => {
      const config: unknown = JSON.parse(text)
      if (typeof config !== "object" || config === null) throw new Error("it is no object")
      // SAFETY: it is an object, and the type says nothing of its values.
      return config as Config
    },
    catch: (cause) =>
      new TemplateError({ reason: "invalid", message: `Cannot load ${name}: ${reasonOf(cause)}`, cause })
  })

/** Picks a template of a configuration, which has one, or a list of named ones. */
const choose = (
  { chat_template: found }: Config,
  name: string,
  { use = "default" }: Options
): Effect.Effect<string, TemplateError> => {
  if (typeof found === "string") return Effect.succeed(found)
  const entries: ReadonlyArray<unknown> = Array.isArray(found) ? found : []
  const named = new Map(
    entries.flatMap((entry) =>
      typeof entry === "object" && entry !== null && "name" in entry && "template" in entry
        ? [[entry.name, entry.template] as const]
        : []
    )
  )
  const chosen = named.get(use)
  if (typeof chosen === "string") return Effect.succeed(chosen)
  const state = named.size === 0
    ? "it has no chat_template"
    : `it has no template ${JSON.stringify(use)}, only ${
      [...named.keys()].map((key) => JSON.stringify(key)).join(", ")
    }`
  return Effect.fail(new TemplateError({ reason: "missing", message: `Cannot load ${name}: ${state}` }))
}

/** Gives the template the special tokens of a configuration, which are strings or objects with `content`. */
const withTokens = (config: Config, options: Options): Options => {
  const tokens = ["bos_token", "eos_token", "unk_token", "pad_token"].flatMap((name) => {
    const token = config[name]
    const text = typeof token === "object" && token !== null && "content" in token ? token.content : token
    return typeof text === "string" ? [[name, text] as const] : []
  })
  return { ...options, variables: { ...Object.fromEntries(tokens), ...options.variables } }
}

const reasonOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)
