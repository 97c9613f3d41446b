/**
 * One record of a published dataset, read as samples.
 *
 * A reader knows the columns of a kind of dataset; which reader it takes is detected, or named:
 *
 * - `openr1`: OpenR1-Math-220k, whose `generations` are several answers to one `problem`;
 * - `s1k`: s1K and s1K-1.1, the trajectories and attempts of DeepSeek, then of Gemini;
 * - `limo`: LIMO and LIMO-v2, whose `solution` is the reasoning, and whose `answer` is the conclusion;
 * - `nemotron`: Llama-Nemotron-Post-Training v1 and v1.1 (`input`, `output`), Nemotron-Post-Training-v1 (`messages`);
 *   where reasoning is off, there is none;
 * - `openthoughts-metadata`: OpenThoughts-114k's metadata (`deepseek_reasoning`, `deepseek_solution`);
 * - `chinese-r1`: Chinese-DeepSeek-R1-Distill (`input`, `reasoning_content`, `content`);
 * - `messages`: Mixture-of-Thoughts, AM-DeepSeek-R1-Distilled, and others with the last answer in `messages`, its
 *   reasoning in tags or beside it;
 * - `conversations`: OpenThoughts-114k, OpenThoughts2, OpenThoughts3, Bespoke-Stratos, Ultra-Innerthought, and others
 *   with the last answer in `conversations`;
 * - `columns`: others with reasoning and conclusion in columns of their own (`thought_process` and `answer`), or a
 *   whole answer with tags in one (Marco-o1).
 *
 * `mixture-of-thoughts` and `am-deepseek-r1` are other names of `messages`; `openthoughts` and `bespoke-stratos` are
 * other names of `conversations`.
 *
 * OpenR1 and LIMO are detected by the names of their columns, where no other could hold an answer (OpenR1) or there is
 * no other (LIMO; an id does not count). Everything else is detected by what the columns hold; the first of these with
 * reasoning is read: `generations`, a conversation, s1K's columns, `columns`. A column that is null is none.
 *
 * A text that begins with the opening tag of reasoning is a whole answer wherever it stands, or, where nothing follows
 * the closing tag, reasoning in its wrapping. The question is a text where it is one message of the user's, and else the
 * messages before the answer.
 *
 * A list of one text is that text, as early revisions of s1K have it; a column that holds several texts is rejected where
 * one is wanted, and not read in part. A conclusion may be a number. Half a surrogate pair, which no UTF-8 file can hold,
 * is read as U+FFFD.
 *
 * @module
 */
import * as Result from "effect/Result"
import * as Rejection from "../core/Rejection.ts"
import * as Sample from "../core/Sample.ts"

/** What reads a kind of dataset: the list above says which. */
export type ReaderName =
  | "openr1"
  | "openthoughts"
  | "openthoughts-metadata"
  | "bespoke-stratos"
  | "s1k"
  | "limo"
  | "am-deepseek-r1"
  | "mixture-of-thoughts"
  | "nemotron"
  | "chinese-r1"
  | "messages"
  | "conversations"
  | "columns"

/** What to read where; dotted paths such as `info.think_content` and `generations.0` lead into a column. */
export interface Options {
  /** What reads the answer, `columns` where `reasoning` or `conclusion` is named; detected when left out. */
  readonly reader?: ReaderName
  /**
   * Which of several answers to a question are read; datasets with one answer are read the same whatever is said, unless
   * `correct` is, and the record calls it wrong.
   *
   * `first`, the default: the first that is not known to be incomplete, or else the first. `correct`: of those, the
   * first that `correctness_math_verify` calls correct, or else `correctness_llama` (which judges what the other could
   * not make out), `is_correct` or `correct`, or s1K's grade "Yes"; where there is none, a rejection, and so is an answer
   * beside which one of these columns is false, and none is true. `all`: each, with an id that ends in `/` and its
   * number from 1; an incomplete one gives a rejection.
   */
  readonly generations?: Generations
  /** The column of the question, a text or a list of messages; detected when left out. */
  readonly question?: string
  /** The column of the reasoning; detected when left out. */
  readonly reasoning?: string
  /** The column of the conclusion, or, where it is the reasoning's too, of the whole answer; detected when left out. */
  readonly conclusion?: string
  /** The column of the right answer, a text or a number, which a record may lack; detected when left out. */
  readonly reference?: string
  /** Where the record came from; `id` names a record that has no id of its own. */
  readonly place?: Rejection.Place
  /** The start of the file's path that is left out of ids made of it and of the line; all but its last part by default. */
  readonly root?: string
}

/** Which of several answers to a question are read. */
export type Generations = "first" | "correct" | "all"

/** Reads the samples of a record, or says what it lacks; throws a RangeError where there is no reader of the name. */
export const read = (
  record: unknown,
  options: Options = {}
): ReadonlyArray<Result.Result<Sample.Sample, Rejection.Rejection>> => {
  const { generations = "first", place = {} } = options
  if (!isObject(record) || Array.isArray(record)) {
    return [Result.fail(Rejection.make("unknown-shape", `The record is no object: ${show(record)}`, place))]
  }
  const reader = readerOf(Object.keys(record), options)
  const found = reader.find(record, generations)
  return (found.length > 0 ? found : [{ answer: lacks("reasoning", record, []) }]).map((found) =>
    finish(record, reader, found, options)
  )
}

/**
 * Names the columns, of those a file has, that `read` looks at with the same options: the others need not be read.
 */
export const columns = (available: ReadonlyArray<string>, options: Options = {}): ReadonlyArray<string> => {
  const { generations = "first", question, reasoning, conclusion, reference } = options
  const reader = readerOf(available, options)
  const paths = [question, reasoning, conclusion, reference].filter((path) => path !== undefined)
  const looked = new Set([
    ...IDS,
    ...SYSTEMS,
    ...(generations === "correct" ? VERDICTS : []),
    ...reader.columns(generations),
    ...(question === undefined ? reader.questions : []),
    ...(reference === undefined ? REFERENCES : []),
    ...paths.map((path) => available.includes(path) ? path : path.split(".")[0]!)
  ])
  const wanted = available.filter((name) => looked.has(name))
  // OpenR1 and LIMO are told by columns that are not there: what is left must not look like them.
  return reader === detected && readerOf(wanted, options) !== detected ? available : wanted
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

/** Columns that hold the right answer, best first, unless the conclusion was read from them. */
const REFERENCES = [
  "reference",
  "reference_answer",
  "ground_truth_solution",
  "ground_truth",
  "expected_answer",
  "answer"
]

/** Columns that say whether an answer is correct, the one that counts most first: a list for several, a boolean for one. */
const VERDICTS = ["correctness_math_verify", "correctness_llama", "is_correct", "correct"]

/** The answers that s1K may have, best first. */
const TRAJECTORIES = [
  { reasoning: "deepseek_thinking_trajectory", conclusion: "deepseek_attempt", grade: "deepseek_grade" },
  { reasoning: "gemini_thinking_trajectory", conclusion: "gemini_attempt", grade: "gemini_grade" },
  { reasoning: "thinking_trajectories", conclusion: "attempt" }
]

/** Columns that hold reasoning, best first, and those in which its conclusion may be. A column that is there decides. */
const REASONINGS: ReadonlyMap<string, ReadonlyArray<string>> = new Map<string, ReadonlyArray<string>>([
  ...TRAJECTORIES.map(({ reasoning, conclusion }) => [reasoning, [conclusion]] as const),
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

/** The columns by which OpenR1 is told. */
const OPENR1 = ["problem", "generations", "is_reasoning_complete"]

/** The columns of LIMO. */
const LIMO = ["question", "solution", "answer"]

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

/** An answer that was found, or what is wrong with it. */
interface Found {
  readonly answer: Sample.Answer | Rejection.Rejection
  /** The column of the conclusion, where it is one of its own. */
  readonly column?: string
  /** The question that belongs to the answer; left out where a column has it. */
  readonly question?: Sample.Question | Rejection.Rejection
  /** The right answer, where the reader knows it. */
  readonly reference?: string | undefined
  /** Its number, from 1, where all answers of the record are read. */
  readonly number?: number
}

/** What knows the columns of a kind of dataset. */
interface Reader {
  /** The columns that `find` looks at. */
  readonly columns: (generations: Generations) => ReadonlyArray<string>
  /** The columns that may hold the question, best first, where it does not belong to the answer. */
  readonly questions: ReadonlyArray<string>
  /** Finds the answers; none where the record is not of this kind, or has no reasoning. */
  readonly find: (record: object, generations: Generations) => ReadonlyArray<Found>
}

/** One of several answers. */
interface Generation {
  readonly number: number
  readonly read: () => Found
  /** Why it is not whole, by what the dataset says. */
  readonly incomplete?: Rejection.Rejection | undefined
  /** What checks say of it, the one that counts most first. */
  readonly checks: ReadonlyArray<boolean>
}

/** Chooses among several answers. */
const choose = (
  record: object,
  candidates: ReadonlyArray<Generation>,
  generations: Generations
): ReadonlyArray<Found> => {
  if (generations === "all") {
    return candidates.map(({ number, read, incomplete }) => ({
      ...(incomplete === undefined ? read() : { answer: incomplete }),
      number
    }))
  }
  const complete = candidates.filter(({ incomplete }) => incomplete === undefined)
  const [first] = [...complete, ...candidates]
  if (first === undefined) return []
  if (generations === "first") return [first.read()]
  for (const check of first.checks.keys()) {
    const correct = complete.find(({ checks }) => checks[check])
    if (correct !== undefined) return [correct.read()]
  }
  // What a record says of its answer, it says of the only one.
  if (candidates.length === 1 && complete.length === 1 && verdictOf(record) === true) return [first.read()]
  const detail = `None of ${candidates.length} answers is complete and said to be correct`
  return [{ answer: Rejection.make("no-correct-answer", detail) }]
}

const openr1: Reader = {
  columns: () => [...OPENR1, "finish_reasons"],
  questions: QUESTIONS,
  find: (record, generations) => {
    // The lists need not be as long as that of the answers.
    const say = (column: string, index: number): unknown => listOf(record, column)[index]
    const incomplete = (index: number): Rejection.Rejection | undefined => {
      if (say("is_reasoning_complete", index) === false) {
        return Rejection.make("unclosed-reasoning", `The column "is_reasoning_complete.${index}" is false`)
      }
      return say("finish_reasons", index) === "length"
        ? Rejection.make("no-conclusion", `The answer is cut short: the column "finish_reasons.${index}" is "length"`)
        : undefined
    }
    const candidates = listOf(record, "generations").flatMap((value, index): ReadonlyArray<Generation> =>
      !holdsText(value) ? [] : [{
        number: index + 1,
        read: () => splitAt(record, `generations.${index}`),
        incomplete: incomplete(index),
        checks: VERDICTS.map((check) => say(check, index) === true)
      }]
    )
    return choose(record, candidates, generations)
  }
}

const s1k: Reader = {
  columns: (generations) => [
    ...TRAJECTORIES.flatMap(({ reasoning, conclusion, grade }) => [
      ...[reasoning, conclusion],
      ...(generations === "correct" && grade !== undefined ? [grade] : [])
    ]),
    "solution"
  ],
  questions: QUESTIONS,
  find: (record, generations) => {
    const candidates = TRAJECTORIES.filter(({ reasoning }) => holdsText(at(record, reasoning)))
    const reference = wordOf(at(record, "solution"))
    return choose(
      record,
      candidates.map(({ reasoning, conclusion, grade }, index) => ({
        number: index + 1,
        read: () => ({ ...pair(record, reasoning, [conclusion]), reference }),
        checks: [grade !== undefined && textOf(at(record, grade)) === "Yes"]
      })),
      generations
    )
  }
}

const limo: Reader = {
  columns: () => LIMO,
  questions: ["question"],
  find: (record) => {
    const tagged = whole(record, ["solution", "answer"]).filter(({ answer }) => !lacksReasoning(answer))
    if (tagged.length > 0) return tagged
    const reasoning = textOf(at(record, "solution"))
    if (reasoning === undefined) return [{ answer: lacks("reasoning", record, ["solution"]) }]
    const conclusion = wordOf(at(record, "answer"))
    return [{ answer: conclusion === undefined ? lacks("conclusion", record, ["answer"]) : { reasoning, conclusion } }]
  }
}

const nemotron: Reader = {
  columns: () => ["messages", "output", "reasoning"],
  questions: QUESTIONS,
  find: (record) => {
    if (isOff(record)) return [{ answer: lacks("reasoning", record, ["reasoning"]) }]
    const found = converse(record, ["messages"])
    return found.length > 0 ? found : whole(record, ["output"])
  }
}

const conversation = (names: ReadonlyArray<string>): Reader => ({
  columns: () => names,
  questions: [],
  find: (record) => converse(record, names)
})

const pairing = (reasoning: string, conclusion: string): Reader => ({
  columns: () => [reasoning, conclusion],
  questions: QUESTIONS,
  find: (record) => [pair(record, reasoning, [conclusion])]
})

const inColumns: Reader = {
  columns: () => [...REASONINGS.keys(), ...[...REASONINGS.values()].flat(), ...ANSWERS],
  questions: [...QUESTIONS, ...CONVERSATIONS],
  find: (record) => {
    const name = reasoningOf(record)
    if (name !== undefined) return [pair(record, name, conclusionsOf(name))]
    const found = whole(record, ANSWERS)
    return found.length > 0 ? found : [{ answer: lacks("reasoning", record, [...REASONINGS.keys()]) }]
  }
}

/** Reads the answer where the caller names a column of it. */
const named = ({ reasoning, conclusion }: Options): Reader => ({
  columns: () => [
    ...(reasoning === undefined ? REASONINGS.keys() : []),
    ...(conclusion === undefined ? conclusionsOf(reasoning!) : [])
  ],
  questions: [...QUESTIONS, ...CONVERSATIONS],
  find: (record) => {
    if (conclusion !== undefined && wordOf(at(record, conclusion)) === undefined) {
      return [{ answer: lacks("conclusion", record, [conclusion]) }]
    }
    if (reasoning !== undefined && textOf(at(record, reasoning)) === undefined) {
      return [{ answer: lacks("reasoning", record, [reasoning]) }]
    }
    const name = reasoning ?? reasoningOf(record)
    return [
      name === undefined || name === conclusion
        ? split(wordOf(at(record, conclusion!))!, conclusion!)
        : pair(record, name, conclusion === undefined ? conclusionsOf(name) : [conclusion])
    ]
  }
})

/** The readers that are tried, first to last, by what the columns hold. */
const DETECTED: ReadonlyArray<Reader> = [openr1, conversation(CONVERSATIONS), s1k, inColumns]

const detected: Reader = {
  columns: (generations) => DETECTED.flatMap(({ columns }) => columns(generations)),
  questions: [...QUESTIONS, ...CONVERSATIONS],
  find: (record, generations) => {
    if (isOff(record)) return [{ answer: lacks("reasoning", record, ["reasoning"]) }]
    let first: ReadonlyArray<Found> = []
    for (const reader of DETECTED) {
      const found = reader.find(record, generations)
      if (found.some(({ answer }) => !lacksReasoning(answer))) return found
      if (first.length === 0) first = found
    }
    return first
  }
}

const messages = conversation(["messages"])
const conversations = conversation(["conversations"])

const READERS: { readonly [name in ReaderName]: Reader } = {
  openr1,
  openthoughts: conversations,
  "openthoughts-metadata": pairing("deepseek_reasoning", "deepseek_solution"),
  "bespoke-stratos": conversations,
  s1k,
  limo,
  "am-deepseek-r1": messages,
  "mixture-of-thoughts": messages,
  nemotron,
  "chinese-r1": pairing("reasoning_content", "content"),
  messages,
  conversations,
  columns: inColumns
}

/** The names of all readers. */
// SAFETY: the object has these keys and no others.
export const readers: ReadonlyArray<ReaderName> = Object.keys(READERS) as ReadonlyArray<ReaderName>

/** The reader that the caller named, or that the names of the columns call for. */
const readerOf = (names: ReadonlyArray<string>, options: Options): Reader => {
  const { reader, reasoning, conclusion } = options
  if (reasoning !== undefined || conclusion !== undefined) return named(options)
  if (reader === undefined) return isOpenR1(names) ? openr1 : isLimo(names) ? limo : detected
  if (!Object.hasOwn(READERS, reader)) throw new RangeError(`Cannot read: there is no reader ${JSON.stringify(reader)}`)
  return READERS[reader]
}

/** The columns of OpenR1 among those that tell. */
const OF_OPENR1 = [...openr1.columns("correct"), "solution", "answer", "messages"]

/** Columns of which any may hold a question or an answer. */
const TELLING: ReadonlySet<string> = new Set([...detected.columns("correct"), ...detected.questions])

const isOpenR1 = (names: ReadonlyArray<string>): boolean =>
  OPENR1.every((name) => names.includes(name)) &&
  names.every((name) => OF_OPENR1.includes(name) || !TELLING.has(name))

const isLimo = (names: ReadonlyArray<string>): boolean =>
  LIMO.every((name) => names.includes(name)) && names.every((name) => LIMO.includes(name) || IDS.includes(name))

/** Makes a sample of an answer, or says why there is none. */
const finish = (
  record: object,
  reader: Reader,
  { answer, column, question: own, reference: known, number }: Found,
  { generations, question, reference, place = {}, root }: Options
): Result.Result<Sample.Sample, Rejection.Rejection> => {
  const name = idOf(record)
  const suffix = number === undefined ? "" : `/${number}`
  const reject = (rejection: Rejection.Rejection): Result.Result<never, Rejection.Rejection> => {
    const id = name ?? place.id
    return Result.fail({ ...rejection, ...place, ...(id !== undefined && { id: `${id}${suffix}` }) })
  }
  const asked = question !== undefined
    ? questionAt(record, question) ?? lacks("question", record, [question])
    : own ?? questionOf(record, reader.questions)
  if (question !== undefined && Rejection.isRejection(asked)) return reject(asked)
  if (Rejection.isRejection(answer)) {
    if (reader !== detected || !lacksReasoning(answer) || !Rejection.isRejection(asked)) return reject(answer)
    const isKnown = [...reader.questions, ...reader.columns("first")].some((name) => at(record, name) !== undefined)
    return reject(
      isKnown ? asked : Rejection.make("unknown-shape", `The record is of no known shape: ${columnsOf(record)}`)
    )
  }
  if (Rejection.isRejection(asked)) return reject(asked)
  if (isBlank(answer.conclusion)) return reject(Rejection.make("no-conclusion", "Nothing follows the reasoning"))
  if (generations === "correct" && verdictOf(record) === false) {
    const wrong = VERDICTS.find((name) => at(record, name) === false)
    return reject(Rejection.make("no-correct-answer", `The column ${JSON.stringify(wrong)} is false`))
  }
  const { file, line } = place
  const right = reference !== undefined
    ? wordOf(at(record, reference))
    : known ?? REFERENCES.filter((name) => name !== column).map((name) => wordOf(at(record, name))).find(isText)
  return Result.succeed({
    id: `${name ?? place.id ?? makeId(answer, place, root)}${suffix}`,
    question: asked,
    reasoning: answer.reasoning,
    conclusion: answer.conclusion,
    ...(right !== undefined && { reference: right }),
    ...(file !== undefined && line !== undefined && { origin: { file, line } })
  })
}

/** Finds the last answer of a conversation in the first of the columns that holds one. */
const converse = (record: object, names: ReadonlyArray<string>): ReadonlyArray<Found> => {
  const column = names.find((name) => isTurns(at(record, name)))
  const turns = column === undefined ? undefined : readTurns(record, column)
  if (turns === undefined) return []
  if (Rejection.isRejection(turns)) return [{ answer: turns }]
  const last = turns.findLastIndex(({ message }) => message.role === "assistant")
  const turn = turns[last]
  if (turn === undefined) return []
  const beside = firstOf(turn.source, REASONINGS_OF_MESSAGES)
  const { answer } = beside === undefined
    ? split(turn.message.content, column!)
    : pair(turn.source, beside, CONCLUSIONS_OF_MESSAGES)
  const before = turns.slice(0, last)
  const reference = [turn, ...before.toReversed()].map(({ source }) => wordOf(at(source, "info.reference_answer")))
    .find(isText)
  return [{ answer, question: ask(record, before.map(({ message }) => message)), reference }]
}

/** Finds a whole answer in the first of the columns that holds one, or else says what is wrong with the first that tries. */
const whole = (record: object, names: ReadonlyArray<string>): ReadonlyArray<Found> => {
  let fault: ReadonlyArray<Found> = []
  for (const name of names) {
    const found = splitAt(record, name)
    if (!lacksReasoning(found.answer)) return [found]
    const texts = [at(record, name)].flat().filter((text) => typeof text === "string")
    if (fault.length === 0 && texts.some(Sample.hasTags)) fault = [found]
  }
  return fault
}

/** Pairs the reasoning of one column with the conclusion of another, unless one of them is the whole answer. */
const pair = (record: object, reasoningColumn: string, conclusionColumns: ReadonlyArray<string>): Found => {
  const column = presentOf(record, conclusionColumns)
  const conclusion = column === undefined ? undefined : wordOf(at(record, column))
  if (conclusion !== undefined && Sample.isTagged(conclusion)) return split(conclusion, column!)
  let reasoning = textOf(at(record, reasoningColumn))
  if (reasoning === undefined) return { answer: lacks("reasoning", record, [reasoningColumn]) }
  if (Sample.isTagged(reasoning)) {
    const found = split(reasoning, reasoningColumn)
    if (Rejection.isRejection(found.answer) || !isBlank(found.answer.conclusion)) return found
    reasoning = found.answer.reasoning
  }
  return conclusion === undefined
    ? { answer: lacks("conclusion", record, conclusionColumns) }
    : { answer: { reasoning, conclusion }, column: column! }
}

/** Takes the whole answer in a column apart. */
const splitAt = (record: object, column: string): Found => {
  const text = textOf(at(record, column))
  return text === undefined ? { answer: lacks("reasoning", record, [column]) } : split(text, column)
}

/** Takes the whole answer of a column apart. */
const split = (text: string, column: string): Found => {
  const answer = Sample.split(text)
  return {
    answer: Rejection.isRejection(answer)
      ? { ...answer, detail: `${answer.detail} (column ${JSON.stringify(column)})` }
      : answer,
    column
  }
}

const questionOf = (record: object, names: ReadonlyArray<string>): Sample.Question | Rejection.Rejection => {
  const instruction = textOf(at(record, "instruction"))
  const input = at(record, "input")
  for (const name of names) {
    if (name === "instruction" && instruction !== undefined && holdsText(input)) {
      const content = textOf(input)
      return content === undefined
        ? lacks("question", record, ["input"])
        : ask(record, [{ role: "user", content: `${instruction}\n${content}` }])
    }
    const question = questionAt(record, name)
    if (question !== undefined) return question
  }
  return lacks("question", record, names)
}

/** The question in a column: a text, or the messages up to the user's last; undefined where there is neither. */
const questionAt = (record: object, column: string): Sample.Question | Rejection.Rejection | undefined => {
  const turns = readTurns(record, column)
  if (Rejection.isRejection(turns)) return turns
  const messages = turns?.map(({ message }) => message)
  if (messages !== undefined) {
    return ask(record, messages.slice(0, messages.findLastIndex(({ role }) => role === "user") + 1))
  }
  const value = at(record, column)
  if (isSeveral(value)) return lacks("question", record, [column])
  const content = textOf(value)
  return content === undefined ? undefined : ask(record, [{ role: "user", content }])
}

/** Makes a question of the messages before an answer and of the record's system message. */
const ask = (record: object, messages: ReadonlyArray<Sample.Message>): Sample.Question | Rejection.Rejection => {
  const asked = messages.filter(({ role, content }) => role !== "system" || !isBlank(content))
  const system = firstOf(record, SYSTEMS)
  if (system !== undefined && !asked.some(({ role }) => role === "system")) {
    const content = textOf(at(record, system))
    if (content === undefined) return lacks("question", record, [system])
    asked.unshift({ role: "system", content })
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

/** Reads the conversation in a column; undefined where there is none. */
const readTurns = (record: object, column: string): ReadonlyArray<Turn> | Rejection.Rejection | undefined => {
  const sources = at(record, column)
  if (!isTurns(sources)) return undefined
  const turns: Array<Turn> = []
  for (const [index, source] of sources.entries()) {
    // A turn may be a message, or an object with the user's and the assistant's at once.
    const both = ["user", "assistant"].filter((key) => isThere(at(source, key)))
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
      turns.push({ message: { role, content: content.toWellFormed() }, source })
    }
  }
  return turns
}

const isTurns = (value: unknown): value is ReadonlyArray<object> =>
  Array.isArray(value) && value.length > 0 && value.every(isObject)

/** Says what is wrong with the first of the columns that is there, or that there is none. */
const lacks = (part: Part, record: object, names: ReadonlyArray<string>): Rejection.Rejection => {
  const present = presentOf(record, names) ?? names.find((name) => at(record, name) !== undefined)
  const reason = `no-${part}` as const
  if (present === undefined) {
    const missing = names.length === 1
      ? `The column ${JSON.stringify(names[0])} is missing`
      : part === "reasoning"
      ? "No column holds reasoning, and no answer has think tags"
      : `No column holds a ${part}`
    return Rejection.make(reason, `${missing}: ${columnsOf(record)}`)
  }
  const value = at(record, present)
  const held = isSeveral(value) ? `${value.length} texts, not one` : `no ${part}: ${show(value)}`
  return Rejection.make(reason, `The column ${JSON.stringify(present)} holds ${held}`)
}

const lacksReasoning = (answer: Found["answer"]): boolean =>
  Rejection.isRejection(answer) && answer.reason === "no-reasoning"

/** What a record says of its answer: correct where any column does; undefined where none says anything. */
const verdictOf = (record: object): boolean | undefined => {
  const said = VERDICTS.map((name) => at(record, name)).filter((verdict) => typeof verdict === "boolean")
  return said.length === 0 ? undefined : said.includes(true)
}

/** Tells whether a record says that its model did not reason, whatever empty tags the answer has. */
const isOff = (record: object): boolean => textOf(at(record, "reasoning")) === "off"

const idOf = (record: object): string | undefined =>
  IDS.map((name) => at(record, name)).filter((id) => ["string", "number", "bigint"].includes(typeof id))
    .map((id) => String(id).toWellFormed()).find((id) => !isBlank(id))

const makeId = (
  { reasoning, conclusion }: Sample.Answer,
  { file, line }: Rejection.Place,
  root: string | undefined
): string =>
  file === undefined || line === undefined
    ? `record-${hash(`${reasoning}\n${conclusion}`)}`
    : `${labelOf(file, root)}:${line}`

/** What a file is called in ids that are made. */
export const labelOf = (file: string, root?: string): string =>
  root !== undefined && file.startsWith(root) ? file.slice(root.length) : file.split(/[/\\]/).at(-1)!

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
  [...REASONINGS.keys()].find((name) => {
    const value = at(record, name)
    return isSeveral(value) || !["on", "off", undefined].includes(textOf(value))
  })

const conclusionsOf = (reasoning: string): ReadonlyArray<string> => REASONINGS.get(reasoning) ?? CONCLUSIONS

/** The first of the columns that is there; one that is null is not. */
const presentOf = (record: object, names: ReadonlyArray<string>): string | undefined =>
  names.find((name) => isThere(at(record, name)))

/** The first of the columns that holds text, be it several. */
const firstOf = (record: object, names: ReadonlyArray<string>): string | undefined =>
  names.find((name) => holdsText(at(record, name)))

/** The text of a value, or of a list of one; undefined where it is blank. */
const textOf = (value: unknown): string | undefined => {
  const text: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value
  return typeof text === "string" && !isBlank(text) ? text.toWellFormed() : undefined
}

/** The text of a value that may be a number. */
const wordOf = (value: unknown): string | undefined =>
  Number.isFinite(value) || typeof value === "bigint" ? String(value) : textOf(value)

/** Tells whether a value is several texts, none of which can be chosen. */
const isSeveral = (value: unknown): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.length > 1 && value.every((text) => typeof text === "string")

const holdsText = (value: unknown): boolean => textOf(value) !== undefined || isSeveral(value)

const listOf = (record: object, column: string): ReadonlyArray<unknown> => {
  const list = at(record, column)
  return Array.isArray(list) ? list : []
}

const isThere = (value: unknown): boolean => value !== undefined && value !== null

const isText = (text: string | undefined): text is string => text !== undefined

const isBlank = (text: string): boolean => !/\S/.test(text)

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

const columnsOf = (record: object): string => {
  const names = Object.keys(record)
  const shown = names.slice(0, 30).map((name) => Rejection.quote(name)).join(", ")
  return names.length === 0 ? "it has no columns" : `the columns are ${shown}${names.length > 30 ? ", …" : ""}`
}

const show = (value: unknown): string => {
  const json = JSON.stringify(startOf(value, SHOWN)) ?? String(value)
  return json.length <= SHOWN ? json : `${json.slice(0, SHOWN)}…`
}

/** The most of a value's JSON that a message shows, in UTF-16 code units. */
const SHOWN = 80

/** As much of a value as its first `room` code units of JSON show: what is nested too deep can be read, but not written. */
const startOf = (value: unknown, room: number): unknown => {
  if (typeof value === "bigint") return Number(value)
  if (typeof value === "string") return value.slice(0, room + 1)
  if (!isObject(value) || value instanceof Date) return value
  if (room === 0) return null
  const start = (inner: unknown): unknown => startOf(inner, room - 1)
  return Array.isArray(value)
    ? value.slice(0, room).map(start)
    : Object.fromEntries(Object.entries(value).slice(0, room).map(([key, inner]) => [key, start(inner)]))
}
