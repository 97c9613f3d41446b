/**
 * One record of a published dataset, read as a sample.
 *
 * A caller may name the columns. What is not named is detected, by the first of these readers that finds reasoning:
 *
 * 1. `generations`, a list of answers (OpenR1): the first that `is_reasoning_complete` calls complete, or else the first;
 * 2. `conversation`: the last answer in `messages` or `conversations`, its reasoning in tags or beside it (OpenThoughts,
 *    Mixture-of-Thoughts, AM-DeepSeek-R1, Nemotron);
 * 3. `separate`: reasoning and conclusion in columns of their own (s1K, OpenThoughts' metadata, Chinese-R1);
 * 4. `whole`: an answer with tags in one column (Llama-Nemotron, Marco-o1).
 *
 * A text that begins with the opening tag of reasoning is a whole answer wherever it stands, or, where nothing follows
 * the closing tag, reasoning in its wrapping. The question is a text where it is one message of the user's, and else the
 * messages before the answer.
 *
 * @module
 */
import * as Result from "effect/Result"
import * as Rejection from "../core/Rejection.ts"
import * as Sample from "../core/Sample.ts"

/** What to read where; dotted paths such as `info.think_content` and `generations.0` lead into a column. */
export interface Options {
  /** The column of the question, a text or a list of messages; detected when left out. */
  readonly question?: string
  /** The column of the reasoning; detected when left out. */
  readonly reasoning?: string
  /** The column of the conclusion, or, where it is the reasoning's too, of the whole answer; detected when left out. */
  readonly conclusion?: string
  /** Where the record came from; `id` names a record that has no id of its own. */
  readonly place?: Rejection.Place
}

/** Reads the samples of a record, or says what it lacks. */
export const read = (
  record: unknown,
  options: Options = {}
): ReadonlyArray<Result.Result<Sample.Sample, Rejection.Rejection>> => {
  const sample = readOne(record, options)
  return [Rejection.isRejection(sample) ? Result.fail(sample) : Result.succeed(sample)]
}

/** The columns, of those that records have, that \`read\` looks at: what is not among them need not be read at all. */
export const columns = (available: ReadonlyArray<string>, _options: Options = {}): ReadonlyArray<string> => available

const readOne = (record: unknown, options: Options): Sample.Sample | Rejection.Rejection => {
  const { place = {} } = options
  if (!isObject(record) || Array.isArray(record)) {
    return Rejection.make("unknown-shape", `The record is no object: ${show(record)}`, place)
  }
  const id = idOf(record)
  const found = find(record, options)
  if (Rejection.isRejection(found)) return { ...found, ...place, ...(id !== undefined && { id }) }
  const { file, line } = place
  return {
    id: id ?? place.id ?? makeId(found, place),
    ...found,
    ...(file !== undefined && line !== undefined && { origin: { file, line } })
  }
}

/** Columns whose number or text names a record. */
const IDS = ["id", "uuid", "question_id", "_id", "unique_id", "item_id", "problem_id", "problem_idx"]

/** Columns that hold a question, best first. `instruction` may have an `input`, as in Alpaca. */
const QUESTIONS = ["question", "problem", "instruction", "input", "query", "prompt"]

/** Columns that hold the system's message. */
const SYSTEMS = ["system", "system_prompt"]

/** Columns that hold a conversation, and so a question. */
const CONVERSATIONS = ["messages", "conversations", "conversation"]

/**
 * Columns that hold a conclusion, best first: what a model wrote comes before `solution`, which is often a person's, and
 * `answer`, which is often no more than a number.
 */
const CONCLUSIONS = [
  ...["conclusion", "response", "output", "completion", "content", "answer_text", "answer_content"],
  ...["deepseek_solution", "deepseek_attempt", "attempt", "solution", "answer"]
]

/** Columns that hold a whole answer, best first. */
const ANSWERS = ["full_response", "generation", ...CONCLUSIONS]

/** Columns that hold reasoning, best first, and those in which its conclusion may be. A column that is there decides. */
const REASONINGS: ReadonlyMap<string, ReadonlyArray<string>> = new Map([
  ["deepseek_thinking_trajectory", ["deepseek_attempt"]],
  ["gemini_thinking_trajectory", ["gemini_attempt"]],
  ["thinking_trajectories", ["attempt"]],
  ["deepseek_reasoning", ["deepseek_solution"]],
  ["reasoning_trace", CONCLUSIONS],
  ["reasoning_content", CONCLUSIONS],
  ["think_content", CONCLUSIONS],
  ["reasoning", CONCLUSIONS],
  ["thinking", CONCLUSIONS],
  ["thought_process", CONCLUSIONS],
  ["inner_thought", CONCLUSIONS],
  ["thought", CONCLUSIONS],
  ["thoughts", CONCLUSIONS],
  ["cot", CONCLUSIONS]
])

/** Keys under which a message holds its reasoning. */
const REASONINGS_OF_MESSAGES = ["reasoning_content", "reasoning", "thinking", "inner_thought", "info.think_content"]

/** Keys under which a message holds its conclusion. */
const CONCLUSIONS_OF_MESSAGES = ["content", "value", "assistant", "info.answer_content"]

/** What datasets call the three roles. */
const ROLES: ReadonlyMap<unknown, Sample.Message["role"]> = new Map([
  ["system", "system"],
  ["developer", "system"],
  ["user", "user"],
  ["human", "user"],
  ["assistant", "assistant"],
  ["gpt", "assistant"]
])

type Part = "question" | "reasoning" | "conclusion"

interface Found {
  readonly answer: Sample.Answer
  /** The question that belongs to the answer; left out where a column has it. */
  readonly question?: Sample.Question | Rejection.Rejection
}

/** A way to publish answers: finds one, or says why it is broken, or is silent, because the record is not of this kind. */
type Reader = (record: object) => Found | Rejection.Rejection | undefined

const generations: Reader = (record) => {
  const answers = at(record, "generations")
  if (!Array.isArray(answers)) return undefined
  const complete = at(record, "is_reasoning_complete")
  const index = Array.isArray(complete) ? Math.max(0, complete.indexOf(true)) : 0
  const answer = textOf(answers[index])
  return answer === undefined ? undefined : split(answer, `generations.${index}`)
}

const conversation: Reader = (record) => {
  const column = CONVERSATIONS.find((name) => isTurns(at(record, name)))
  if (column === undefined) return undefined
  const turns = readTurns(record, column)
  if (turns === undefined || Rejection.isRejection(turns)) return turns
  const { before, answer } = turns
  if (answer === undefined) return undefined
  const beside = firstOf(answer.source, REASONINGS_OF_MESSAGES)
  const found = beside === undefined
    ? split(answer.message.content, column)
    : pair(answer.source, beside, CONCLUSIONS_OF_MESSAGES)
  return Rejection.isRejection(found) ? found : { ...found, question: ask(record, before) }
}

const separate: Reader = (record) => {
  const name = reasoningOf(record)
  if (name !== undefined) return pair(record, name, conclusionsOf(name))
  const names = [...REASONINGS.keys()]
  return presentOf(record, names) === undefined ? undefined : lacks("reasoning", record, names)
}

const whole: Reader = (record) => {
  for (const name of ANSWERS) {
    const answer = textOf(at(record, name))
    const found = answer === undefined ? undefined : split(answer, name)
    if (found !== undefined && !lacksReasoning(found)) return found
  }
  return undefined
}

const READERS: ReadonlyArray<Reader> = [generations, conversation, separate, whole]

const detect: Reader = (record) => {
  let first: Rejection.Rejection | undefined
  for (const reader of READERS) {
    const found = reader(record)
    if (found !== undefined && !lacksReasoning(found)) return found
    first ??= found
  }
  return first
}

/** Reads the answer where the caller names a column of it. */
const named = (record: object, { reasoning, conclusion }: Options): Found | Rejection.Rejection => {
  if (conclusion !== undefined && firstOf(record, [conclusion]) === undefined) {
    return lacks("conclusion", record, [conclusion])
  }
  if (reasoning !== undefined && firstOf(record, [reasoning]) === undefined) {
    return lacks("reasoning", record, [reasoning])
  }
  const name = reasoning ?? reasoningOf(record)
  return name === undefined || name === conclusion
    ? split(textOf(at(record, conclusion!))!, conclusion!)
    : pair(record, name, conclusion === undefined ? conclusionsOf(name) : [conclusion])
}

const find = (
  record: object,
  options: Options
): Pick<Sample.Sample, "question" | "reasoning" | "conclusion"> | Rejection.Rejection => {
  const isNamed = options.reasoning !== undefined || options.conclusion !== undefined
  const found = (isNamed ? named(record, options) : detect(record)) ?? Rejection.make(
    "no-reasoning",
    `No column holds reasoning, and no answer has think tags: ${columnsOf(record)}`
  )
  const question = options.question !== undefined
    ? questionAt(record, options.question) ?? lacks("question", record, [options.question])
    : (Rejection.isRejection(found) ? undefined : found.question) ?? questionOf(record)
  if (options.question !== undefined && Rejection.isRejection(question)) return question
  if (Rejection.isRejection(found)) {
    const isUnknown = !isNamed && lacksReasoning(found) && Rejection.isRejection(question)
    return isUnknown ? Rejection.make("unknown-shape", `The record is of no known shape: ${columnsOf(record)}`) : found
  }
  if (Rejection.isRejection(question)) return question
  if (isBlank(found.answer.conclusion)) return Rejection.make("no-conclusion", "Nothing follows the reasoning")
  return { question, ...found.answer }
}

/** Pairs the reasoning of one column with the conclusion of another, unless one of them is the whole answer. */
const pair = (
  record: object,
  reasoningColumn: string,
  conclusionColumns: ReadonlyArray<string>
): Found | Rejection.Rejection => {
  const conclusionColumn = presentOf(record, conclusionColumns)
  const conclusion = conclusionColumn === undefined ? undefined : textOf(at(record, conclusionColumn))
  if (conclusion !== undefined && Sample.isTagged(conclusion)) return split(conclusion, conclusionColumn!)
  let reasoning = textOf(at(record, reasoningColumn))!
  if (Sample.isTagged(reasoning)) {
    const found = split(reasoning, reasoningColumn)
    if (Rejection.isRejection(found) || !isBlank(found.answer.conclusion)) return found
    reasoning = found.answer.reasoning
  }
  return conclusion === undefined
    ? lacks("conclusion", record, conclusionColumns)
    : { answer: { reasoning, conclusion } }
}

/** Takes the whole answer of a column apart. */
const split = (text: string, column: string): Found | Rejection.Rejection => {
  const answer = Sample.split(text)
  return Rejection.isRejection(answer)
    ? { ...answer, detail: `${answer.detail} (column ${JSON.stringify(column)})` }
    : { answer }
}

const questionOf = (record: object): Sample.Question | Rejection.Rejection => {
  const instruction = textOf(at(record, "instruction"))
  const input = textOf(at(record, "input"))
  for (const name of [...QUESTIONS, ...CONVERSATIONS]) {
    const question = name === "instruction" && instruction !== undefined && input !== undefined
      ? ask(record, [{ role: "user", content: `${instruction}\n${input}` }])
      : questionAt(record, name)
    if (question !== undefined) return question
  }
  return lacks("question", record, QUESTIONS)
}

/** The question in a column: a text, or the messages before the last answer; undefined where there is neither. */
const questionAt = (record: object, column: string): Sample.Question | Rejection.Rejection | undefined => {
  const turns = readTurns(record, column)
  if (turns !== undefined) return Rejection.isRejection(turns) ? turns : ask(record, turns.before)
  const content = textOf(at(record, column))
  return content === undefined ? undefined : ask(record, [{ role: "user", content }])
}

/** Makes a question of the messages before an answer and of the record's system message. */
const ask = (record: object, messages: ReadonlyArray<Sample.Message>): Sample.Question | Rejection.Rejection => {
  const asked = messages.filter(({ role, content }) => role !== "system" || !isBlank(content))
  const system = firstOf(record, SYSTEMS)
  if (system !== undefined && !asked.some(({ role }) => role === "system")) {
    asked.unshift({ role: "system", content: textOf(at(record, system))! })
  }
  const last = asked.at(-1)
  if (last?.role !== "user" || isBlank(last.content)) {
    return Rejection.make("no-question", "The message before the answer is no question of the user's")
  }
  return asked.length === 1 ? last.content : asked
}

interface Turn {
  readonly message: Sample.Message
  /** The object that the message was read from. */
  readonly source: object
}

interface Turns {
  /** The messages before the last answer, or all where there is none. */
  readonly before: ReadonlyArray<Sample.Message>
  /** The last answer. */
  readonly answer: Turn | undefined
}

/** Reads the conversation in a column; undefined where there is none. */
const readTurns = (record: object, column: string): Turns | Rejection.Rejection | undefined => {
  const sources = at(record, column)
  if (!isTurns(sources)) return undefined
  const turns: Array<Turn> = []
  for (const [index, source] of sources.entries()) {
    // A turn may be a message, or an object with the user's and the assistant's at once.
    const both = ["user", "assistant"].filter((key) => at(source, key) !== undefined)
    const messages = both.length > 0
      ? both.map((key) => [key, at(source, key)])
      : [[at(source, "role") ?? at(source, "from"), at(source, "content") ?? at(source, "value") ?? ""]]
    for (const [name, content] of messages) {
      const role = ROLES.get(name)
      const place = JSON.stringify(`${column}.${index}`)
      if (role === undefined) return Rejection.make("unknown-shape", `The role of ${place} is unknown: ${show(name)}`)
      if (typeof content !== "string") {
        return Rejection.make("unknown-shape", `The content of ${place} is no text: ${show(content)}`)
      }
      turns.push({ message: { role, content }, source })
    }
  }
  const last = turns.findLastIndex(({ message }) => message.role === "assistant")
  return { before: turns.slice(0, last < 0 ? undefined : last).map(({ message }) => message), answer: turns[last] }
}

const isTurns = (value: unknown): value is ReadonlyArray<object> =>
  Array.isArray(value) && value.length > 0 && value.every(isObject)

const lacks = (part: Part, record: object, names: ReadonlyArray<string>): Rejection.Rejection => {
  const present = presentOf(record, names)
  const missing = names.length === 1 ? `The column ${JSON.stringify(names[0])} is missing` : `No column holds a ${part}`
  return Rejection.make(
    `no-${part}`,
    present === undefined
      ? `${missing}: ${columnsOf(record)}`
      : `The column ${JSON.stringify(present)} holds no ${part}: ${show(at(record, present))}`
  )
}

const lacksReasoning = (
  found: Found | Rejection.Rejection
): found is Rejection.Rejection & { readonly reason: "no-reasoning" } =>
  Rejection.isRejection(found) && found.reason === "no-reasoning"

const idOf = (record: object): string | undefined =>
  IDS.map((name) => at(record, name)).filter((id) => ["string", "number", "bigint"].includes(typeof id)).map(String)
    .find((id) => !isBlank(id))

const makeId = ({ reasoning, conclusion }: Sample.Answer, { file, line }: Rejection.Place): string =>
  file === undefined || line === undefined
    ? `record-${hash(`${reasoning}\n${conclusion}`)}`
    : `${file.split(/[/\\]/).at(-1)}:${line}`

/** FNV-1a over UTF-16 code units. */
const hash = (text: string): string => {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, "0")
}

/** The value of a column, or behind a dotted path; undefined where there is none. */
const at = (record: object, path: string): unknown => {
  if (Object.hasOwn(record, path)) return Reflect.get(record, path)
  let value: unknown = record
  for (const key of path.split(".")) {
    value = isObject(value) && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined
  }
  return value
}

/** The column with the reasoning, which is none where it says no more than whether the model reasons: Llama-Nemotron. */
const reasoningOf = (record: object): string | undefined =>
  [...REASONINGS.keys()].find((name) => !["on", "off", undefined].includes(textOf(at(record, name))))

const conclusionsOf = (reasoning: string): ReadonlyArray<string> => REASONINGS.get(reasoning) ?? CONCLUSIONS

/** The first of the columns that is there. */
const presentOf = (record: object, names: ReadonlyArray<string>): string | undefined =>
  names.find((name) => at(record, name) !== undefined)

/** The first of the columns that holds text. */
const firstOf = (record: object, names: ReadonlyArray<string>): string | undefined =>
  names.find((name) => textOf(at(record, name)) !== undefined)

/** The text of a value, or of the first in a list, as early revisions of s1K have it; undefined where it is blank. */
const textOf = (value: unknown): string | undefined => {
  const text: unknown = Array.isArray(value) ? value[0] : value
  return typeof text === "string" && !isBlank(text) ? text : undefined
}

const isBlank = (text: string): boolean => !/\S/.test(text)

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

const columnsOf = (record: object): string => {
  const names = Object.keys(record)
  const shown = names.slice(0, 30).map((name) => JSON.stringify(name)).join(", ")
  return names.length === 0 ? "it has no columns" : `the columns are ${shown}${names.length > 30 ? ", …" : ""}`
}

const show = (value: unknown): string => {
  const json = JSON.stringify(value, (_, inner) => typeof inner === "bigint" ? Number(inner) : inner) ?? String(value)
  return json.length <= 80 ? json : `${json.slice(0, 80)}…`
}
