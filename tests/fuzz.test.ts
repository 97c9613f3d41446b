/**
 * Garbage, arbitrary and structured, for everything that reads what others wrote.
 *
 * ```sh
 * node --test tests/fuzz.test.ts
 * INFTYTHINK_FUZZ=125000 node --test tests/fuzz.test.ts                      # 1.1 million, in about five minutes
 * INFTYTHINK_FUZZ=125000 INFTYTHINK_SEED=42 node --test tests/fuzz.test.ts   # the same ones again
 * ```
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import process from "node:process"
import { test } from "node:test"
import * as Jsonl from "../lib/adapters/Jsonl.ts"
import * as OpenAi from "../lib/adapters/OpenAi.ts"
import * as Record from "../lib/adapters/Record.ts"
import * as ServerSentEvents from "../lib/adapters/ServerSentEvents.ts"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Rejection from "../lib/core/Rejection.ts"
import type { Sample } from "../lib/core/Sample.ts"
import * as Sections from "../lib/core/Sections.ts"
import * as Segmenter from "../lib/core/Segmenter.ts"
import * as State from "../lib/State.ts"
import type { Part } from "../lib/TextModel.ts"
import { characters, erratic, o200k, quarters, subadditive, superadditive, words } from "./support/counts.ts"
import { delta, events, streamed } from "./support/fetch.ts"
import { record } from "./support/figures.ts"
import { feed, merge } from "./support/sections.ts"
import { cutAt } from "./support/text.ts"

/** How many cases each subject takes. */
const cases = Number(process.env["INFTYTHINK_FUZZ"] ?? 1000)

const seed = Number(process.env["INFTYTHINK_SEED"] ?? Math.floor(Math.random() * 2 ** 31))
console.log(`fuzzing: ${cases} cases for each subject; INFTYTHINK_SEED=${seed} takes the same ones again`)

/** Declares that the predicate holds for all garbage; that nothing is left behind in a prototype is part of it. */
const fuzz = <A>(
  subject: string,
  claim: string,
  garbage: fc.Arbitrary<A>,
  predicate: (garbage: A) => void | Promise<void>
): void => {
  test(`${subject}: ${claim}`, async () => {
    await fc.assert(fc.asyncProperty(garbage, async (one) => await predicate(one)), { numRuns: cases, seed })
    for (const prototype of [Object.prototype, Array.prototype, String.prototype]) {
      assert.deepEqual(Object.keys(prototype), [])
    }
    record("fuzzing", { subject, cases, seed: `${seed}` })
  })
}

// ---- garbage

/** A change of a text: what is done, where, to how much of it, and with which piece. */
type Edit = readonly [kind: number, at: number, length: number, piece: number]

const edit: fc.Arbitrary<Edit> = fc.tuple(fc.nat(8), fc.nat(0xffff), fc.nat(0xff), fc.nat(0xffff))

/** Cuts, repeats, swaps, flips and inserts. */
const change = (text: string, [kind, place, length, piece]: Edit, pieces: ReadonlyArray<string>): string => {
  const at = place % (text.length + 1)
  const to = Math.min(at + length, text.length)
  const middle = (at + to) >> 1
  const part = pieces[piece % pieces.length]!
  const [before, changed, after] = [text.slice(0, at), text.slice(at, to), text.slice(to)]
  switch (kind) {
    case 0:
      return before
    case 1:
      return after
    case 2:
      return before + after
    case 3:
      return before + changed + changed + after
    case 4:
      return before + text.slice(middle, to) + text.slice(at, middle) + after
    case 5:
      return at === text.length
        ? text
        : before + String.fromCharCode(text.charCodeAt(at) ^ 1 << length % 16) + text.slice(at + 1)
    case 6:
      return before + part.repeat(length % 40) + text.slice(at)
    case 7:
      return before + part + after
    default:
      return before + part + text.slice(at)
  }
}

/** Any code units; fast-check's own strings of them take a second to make. */
const anyText: fc.Arbitrary<string> = fc.array(fc.nat(0xffff), { maxLength: 40 })
  .map((codes) => String.fromCharCode(...codes))

/** Texts that were valid before they were changed, and now and then any text at all. */
const garbled = (texts: ReadonlyArray<string>, pieces: ReadonlyArray<string>): fc.Arbitrary<string> =>
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.tuple(fc.nat(texts.length - 1), fc.array(edit, { maxLength: 5 })).map(([text, edits]) =>
        edits.reduce((text, edit) => change(text, edit, pieces), texts[text]!)
      )
    },
    { weight: 2, arbitrary: fc.array(fc.constantFrom(...pieces), { maxLength: 30 }).map((parts) => parts.join("")) },
    { weight: 1, arbitrary: anyText }
  )

/** Where input is cut; `each` is for a cut at every place. */
const places: fc.Arbitrary<ReadonlyArray<number> | "each"> = fc.oneof(
  { weight: 19, arbitrary: fc.array(fc.nat(0xffff), { maxLength: 6 }) },
  { weight: 1, arbitrary: fc.constant("each" as const) }
)

const indicesOf = (length: number, places: ReadonlyArray<number> | "each"): ReadonlyArray<number> =>
  places === "each" ? Array.from({ length }, (_, i) => i) : places.map((place) => place % (length + 1))

const cut = (text: string, places: ReadonlyArray<number> | "each"): ReadonlyArray<string> =>
  cutAt(text, indicesOf(text.length, places))

/** Bytes of a text, of which some are flipped: what comes out may be no UTF-8. */
const garbledBytes = (text: fc.Arbitrary<string>): fc.Arbitrary<Uint8Array> =>
  fc.tuple(text, fc.array(fc.tuple(fc.nat(0xffff), fc.nat(0xff)), { maxLength: 3 })).map(([text, flips]) => {
    const bytes = new TextEncoder().encode(text)
    for (const [at, bits] of flips) if (bytes.length > 0) bytes[at % bytes.length]! ^= bits
    return bytes
  })

const cutBytes = (bytes: Uint8Array, places: ReadonlyArray<number> | "each"): ReadonlyArray<Uint8Array> => {
  const sorted = [0, ...indicesOf(bytes.length, places), bytes.length].sort((a, b) => a - b)
  return sorted.slice(1).map((index, i) => bytes.subarray(sorted[i], index))
}

/** The paths of all values in a value. */
const pathsOf = (value: unknown, path: ReadonlyArray<string> = []): ReadonlyArray<ReadonlyArray<string>> => [
  path,
  ...typeof value !== "object" || value === null
    ? []
    : Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key]))
]

/** A copy of a value with another one at a path, which may be new. */
const put = (value: unknown, [key, ...rest]: ReadonlyArray<string>, odd: unknown): unknown => {
  if (key === undefined) return odd
  const copy: object = Array.isArray(value) ? [...value] : Object.assign({}, value)
  Object.defineProperty(copy, key, {
    ...{ enumerable: true, configurable: true, writable: true },
    value: put(Reflect.get(copy, key), rest, odd)
  })
  return copy
}

/** What is put behind a path: nothing, mostly. */
const more = fc.constantFrom<ReadonlyArray<string>>([], [], [], ["__proto__"], ["constructor"], ["0"], ["_tag"])

const BLANKS = [" ", "\n", "\r\n", "\r", "\t", "\n\n", "\u00a0", "\u3000", "\u0085", "\ufeff", "\u2028"]
const CHARACTERS = ["a", "1", "思", "。", "😀", "\ud83d", "\ude00", "\0", "\u0301", "\uffff", "<", ">", "/", "\\", '"']

// ---- sections

const grammars: ReadonlyArray<Dialect.Dialect> = [Dialect.v1, Dialect.plus, Dialect.chat, Dialect.guided]
const openGrammars: ReadonlyArray<Sections.Grammar> = grammars.map(({ sections }) => ({
  sections: sections.map(({ after: _, ...section }) => section)
}))

const TAGS = ["<think>", "</think>", "<summary>", "</summary>", "<history>", "<think", "</", "k>", "<thin", "summary>"]

const outputs = [Dialect.v1, Dialect.plus].flatMap((dialect) => [
  Dialect.target(dialect, {
    reasoning: "So 6 × 7 < 43.\n\nIt is 42.",
    ending: { _tag: "Summary", text: "* 42\n* it" }
  }),
  Dialect.target(dialect, { reasoning: "", ending: { _tag: "Conclusion", text: "\n\nIt is 42 思." } })
])

const settings = fc.record({
  grammar: fc.constantFrom<Sections.Grammar>(...grammars, ...openGrammars),
  orphans: fc.constantFrom("text" as const, "drop" as const, "retag" as const),
  inside: fc.constantFrom(undefined, undefined, "reasoning")
})

/** Walks over a text by the events that were read in it, and gives what none accounts for; undefined where they differ. */
const unread = (
  text: string,
  { sections }: Sections.Grammar,
  found: ReadonlyArray<Sections.Event>
): string | undefined => {
  let rest = text
  const pass = (part: string): boolean => {
    const has = rest.startsWith(part)
    if (has) rest = rest.slice(part.length)
    return has
  }
  const passNewline = (): boolean => pass("\r\n") || pass("\n")
  for (const event of found) {
    if (event._tag === "Delta") {
      if (!pass(event.text)) return undefined
      continue
    }
    if (event._tag === "End" && !event.closed) continue
    const section = sections.find(({ name }) => name === event.section)!
    const kind = event._tag === "Start" ? "open" : "close"
    if (section.newlines.includes(`before ${kind}`)) passNewline()
    if (!pass(section[kind])) return undefined
    if (kind === "open" && section.newlines.includes("after open")) passNewline()
  }
  return rest
}

fuzz(
  "section parser",
  "any text is read whole, the same wherever it is cut, and makes an output or a fault",
  fc.tuple(settings, garbled(outputs, [...TAGS, ...BLANKS, ...CHARACTERS]), places),
  ([{ grammar, orphans, inside }, text, places]) => {
    const options = { orphans, ...inside !== undefined && { inside } }
    const whole = feed({ grammar, options }, [text]).flat()
    const parts = feed({ grammar, options }, cut(text, places)).flat()
    assert.deepEqual(merge(parts), merge(whole))
    // What else is dropped leaves no event behind.
    if (orphans !== "drop" && inside === undefined) assert.equal(unread(text, grammar, parts), "")
    const blocks = Sections.fold(parts)
    for (const finish of ["stop", "length", "filter", "other"] as const) {
      const read = Dialect.read({ ...Dialect.v1, ...grammar }, blocks, finish)
      assert.ok(typeof read !== "string" || ["truncated", "malformed", "empty"].includes(read))
    }
  }
)

fuzz(
  "section parser, beside",
  "text that comes beside the content is read whole, the same wherever either is cut",
  fc.tuple(
    settings,
    fc.array(fc.tuple(fc.constantFrom("content", "reasoning"), garbled(outputs, [...TAGS, ...BLANKS]), places), {
      maxLength: 4
    })
  ),
  ([{ grammar, orphans, inside }, pieces]) => {
    const options = { orphans, ...inside !== undefined && { inside } }
    const piece = (kind: string, text: string) => kind === "content" ? text : { beside: kind, text }
    const whole = feed({ grammar, options }, pieces.map(([kind, text]) => piece(kind, text))).flat()
    const parts = feed(
      { grammar, options },
      pieces.flatMap(([kind, text, places]) => cut(text, places).map((text) => piece(kind, text)))
    ).flat()
    assert.deepEqual(merge(parts), merge(whole))
    let open: string | undefined
    for (const event of parts) {
      if (event._tag === "Start") assert.equal(open, undefined)
      else if (event._tag !== "Retag") assert.equal(event.section, open ?? "conclusion")
      if (event._tag === "Start") open = event.section
      if (event._tag === "End") open = undefined
    }
    assert.equal(open, undefined)
  }
)

// ---- segmenter

const traces = [
  "First, let n be even: n = 2k.\n\nThen $n^2 = 4k^2$ (e.g. 16). So:\n\n- 4 divides n²\n- done\n\n\\[ x = 1 \\]\n\nWait, 3.14?",
  "首先，我们证明。因为 n 是偶数！所以？\n\n```ts\nconst a = 1\n\nconst b = 2\n```\n\n1. Ja.\n2. „Nein.“\n",
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0123456789012345678901234567890123456789 😀😀😀😀😀😀"
]

const MARKS = [
  "```",
  "~~~\n",
  "$$",
  "$",
  "`",
  "\\[",
  "\\]",
  "\\begin{",
  "\\end{",
  ". ",
  "! ",
  "e.g.",
  "- ",
  "1. ",
  ":\n\n"
]

/** Whether a text is one character, which may have more tokens than eta. */
const isCharacter = (text: string): boolean => [...text].length === 1

fuzz(
  "segmenter",
  "segments of any text have at most eta tokens, and are the text, wherever it is cut",
  fc.record({
    text: garbled(traces, [...MARKS, ...BLANKS, ...CHARACTERS]),
    eta: fc.integer({ min: 4, max: 40 }),
    counting: fc.constantFrom(characters, words, quarters, o200k, superadditive, subadditive, erratic),
    places
  }),
  ({ text, eta, counting: { count, additive }, places }) => {
    const segmenter = Segmenter.make({ eta, count, additive })
    const parts = [...cut(text, places).flatMap((chunk) => segmenter.feed(chunk)), ...segmenter.end()]
    assert.deepEqual(parts, Segmenter.segment(text, { eta, count, additive }))
    for (const segments of [parts, Segmenter.segment(text, { eta, count, additive, packing: "even" })]) {
      assert.equal(segments.map(({ text }) => text).join(""), text)
      for (const { text, tokens } of segments) {
        assert.equal(tokens, count(text))
        assert.ok(tokens <= eta || isCharacter(text), JSON.stringify(text))
      }
    }
  }
)

// ---- records

const ANSWER = "<think>\nSo 6 × 7.\n</think>\n\nIt is 42."

const records: ReadonlyArray<unknown> = [
  { id: 1, question: "6 × 7?", reasoning: "So.", output: "42" },
  { uuid: "a", problem: "6 × 7?", generations: [ANSWER, "<think>So"], is_reasoning_complete: [true, false] },
  { question: "6 × 7?", deepseek_thinking_trajectory: "So.", deepseek_attempt: "42", deepseek_grade: "Yes" },
  { question: "6 × 7?", solution: "So.", answer: 42 },
  { messages: [{ role: "user", content: "6 × 7?" }, { role: "assistant", content: ANSWER }] },
  { messages: [{ role: "user", content: "6?" }, { role: "assistant", content: "42", reasoning_content: "So." }] },
  { system: "Be.", conversations: [{ from: "human", value: "6?" }, { from: "gpt", value: ANSWER }] },
  { conversations: [{ user: "6?", assistant: "42", info: { think_content: "So.", reference_answer: "42" } }] },
  { instruction: "Add.", input: "6 and 7", full_response: "<Thought>So.</Thought>\n<Output>13</Output>" }
]

const JSON_PIECES = [
  ...['"', "\\", "{", "}", "[", "]", ",", ":", "null", "true", "1e999", "-0", '""', '"<think>', '</think>"', "\\u0000"],
  ...['"__proto__":{"polluted":1},', '"constructor":{"prototype":{"polluted":1}},', '"toString":null,', '"length":9,'],
  ...[
    '{"__proto__":[]}',
    '"role":"__proto__",',
    '"id":{},',
    "[[[[[[[[",
    "]]]]]]]]",
    '{"a":'.repeat(50),
    "\\ud83d",
    "9".repeat(99)
  ]
]

const JSON_VALUES = [
  ...[
    "null",
    "true",
    "0",
    "-0",
    "1e999",
    "9".repeat(400),
    '""',
    '" "',
    '"\\ud83d"',
    '"<think>a</think>b"',
    '"<think>"'
  ],
  ...["[]", "{}", "[[]]", "[null]", '["a"]', '{"role":"user","content":{}}', '{"polluted":1}', '[{"polluted":1}]'],
  ...['{"__proto__":{"polluted":1}}', '{"prototype":{"polluted":1}}', '{"value":"a","from":"gpt"}'],
  ...["[".repeat(500) + "]".repeat(500), JSON.stringify("a".repeat(1000))]
]

const recordPaths = records.flatMap((record) => pathsOf(record).map((path) => [record, path] as const))

/** Records in which something stands at the place of another value, or beside it. */
const oddRecord: fc.Arbitrary<Uint8Array> = fc.tuple(
  fc.nat(recordPaths.length - 1),
  more,
  fc.constantFrom(...JSON_VALUES)
).map(([at, more, json]) => {
  const [record, path] = recordPaths[at]!
  return new TextEncoder().encode(JSON.stringify(put(record, [...path, ...more], "ODD")).replace('"ODD"', json))
})

const line: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 1, arbitrary: oddRecord },
  {
    weight: 2,
    arbitrary: garbledBytes(
      garbled(records.map((record) => JSON.stringify(record)), [...JSON_PIECES, ...BLANKS, ...CHARACTERS])
    ).map((bytes) => bytes.map((byte) => byte === 0x0a ? 0x20 : byte))
  }
)

/** What a file gives that has these bytes and is read in these chunks. */
const readChunks = (
  chunks: ReadonlyArray<Uint8Array>,
  options?: Jsonl.ReadOptions
): ReadonlyArray<Sample | Rejection.Rejection> =>
  Stream.runCollect(Jsonl.read("x.jsonl", options)).pipe(
    Effect.provide(FileSystem.layerNoop({ stream: () => Stream.fromIterable(chunks) })),
    Effect.map((read) => read.map(Result.merge)),
    Effect.runSync
  )

const joinBytes = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length + 1, 0)).fill(0x0a)
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length + 1
  }
  return joined
}

const isBlank = (line: Uint8Array): boolean => line.every((byte) => [0x20, 0x09, 0x0d].includes(byte))

const isSampleOrRejection = (one: Sample | Rejection.Rejection): boolean =>
  Rejection.isRejection(one)
    ? one.file === "x.jsonl" && one.line !== undefined && one.detail !== ""
    : typeof one.id === "string" && typeof one.reasoning === "string" && /\S/.test(one.conclusion) &&
      (typeof one.question === "string" || one.question.every(({ content }) => typeof content === "string"))

fuzz(
  "lines of records",
  "each line gives one sample or rejection with its place, and has nothing of another",
  fc.tuple(fc.array(line, { minLength: 1, maxLength: 3 }), places, fc.constantFrom(...Record.readers, undefined)),
  ([lines, places, reader]) => {
    const options = reader === undefined ? {} : { reader }
    // Behind a first line that is blank, no bracket makes the file an array.
    const read = readChunks(cutBytes(joinBytes([new Uint8Array(0), ...lines]), places), options)
    const alone = lines.map((line, i) =>
      readChunks([joinBytes([...Array<Uint8Array>(i + 1).fill(new Uint8Array(0)), line])], options)
    )
    assert.deepEqual(alone.map(({ length }) => length), lines.map((line) => isBlank(line) ? 0 : 1))
    assert.deepEqual(read, alone.flat())
    assert.ok(read.every(isSampleOrRejection))
  }
)

fuzz(
  "elements of records",
  "an array that is none gives samples and rejections with a place, the same wherever it is cut",
  fc.tuple(fc.array(line, { maxLength: 4 }), fc.constantFrom(",", ",\n", "\n", "", "]"), places),
  ([lines, joint, places]) => {
    const utf8 = new TextEncoder()
    const parts = lines.flatMap((line) => [line, utf8.encode(joint)])
    const bytes = joinBytes([utf8.encode("["), ...parts.slice(0, -1), utf8.encode("]")])
    const whole = readChunks([bytes])
    assert.deepEqual(readChunks(cutBytes(bytes, places)), whole)
    assert.ok(whole.every(isSampleOrRejection))
    const numbers = whole.map((one) => (Rejection.isRejection(one) ? one.line : one.origin?.line) ?? 0)
    assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b))
  }
)

// ---- server-sent events

const finished = {
  choices: [{ index: 0, delta: {}, finish_reason: "stop" }],
  usage: { prompt_tokens: 1, completion_tokens: 2 }
}

const answers = [
  events(
    delta({ role: "assistant", content: "" }),
    delta({ reasoning_content: "So 6 × 7" }),
    delta({ content: "思 42" }),
    finished,
    "[DONE]"
  ),
  events(delta({ content: "a" }), delta({ content: "b" }, "length")).replaceAll("\n", "\r\n"),
  `: ping\n\nevent: message\ndata: {"choices":[{"text":"a",\ndata: "finish_reason":"stop"}]}\n\ndata: [DONE]\n`,
  `data: {"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"text":"a"}]},"b"]}}]}\r\r`,
  `data: {"error":{"message":"overloaded","code":429}}\n\nerror: {"code":500,"message":"x"}\n\n`,
  JSON.stringify({ choices: [{ message: { reasoning: "a", content: "b" }, finish_reason: "stop" }] })
]

const EVENT_PIECES = [
  "data:",
  "data: ",
  "data",
  "event: error\n",
  "error:",
  "id: 1\n",
  ":",
  "\n\n",
  "[DONE]",
  "\n",
  "\r",
  "\r\n"
]

const stream = garbledBytes(garbled(answers, [...EVENT_PIECES, ...JSON_PIECES, ...CHARACTERS]))

/** Reads events as the format says it, line by line. */
const eventsOf = (text: string): ReadonlyArray<ServerSentEvents.ServerEvent> => {
  const found: Array<ServerSentEvents.ServerEvent> = []
  let name = ""
  let data: Array<string> = []
  // The last line counts without its end, and the last event without the blank line behind it.
  for (const line of [...text.split(/\r\n|\n|\r/), ""]) {
    const [, field, value = ""] = /^([^:]*)(?:: ?([^]*))?$/.exec(line)!
    if (line === "") {
      if (data.join("\n") !== "") found.push({ name: name || "message", data: data.join("\n") })
      name = ""
      data = []
    } else if (field === "data") data.push(value)
    else if (field === "event") name = value
    else if (field === "error") found.push({ name: "error", data: value })
  }
  return found
}

fuzz(
  "server-sent events",
  "events of any bytes are those that the format says, wherever the bytes are cut",
  fc.tuple(stream, places),
  ([bytes, places]) => {
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true })
    const parser = ServerSentEvents.make({ maxEventSize: 1_000_000 })
    const parts = cutBytes(bytes, places).flatMap((chunk) => parser.feed(utf8.decode(chunk, { stream: true })))
    const read = [...parts, ...parser.feed(utf8.decode()), ...parser.end()]
    assert.deepEqual(read, eventsOf(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)))
  }
)

/** The parts of an answer, of which texts of one kind are joined, and the error that ended it. */
const complete = async (chunks: ReadonlyArray<Uint8Array>): Promise<ReadonlyArray<Part | string>> => {
  const given: Array<Part | string> = []
  const model = OpenAi.make({
    ...{ baseUrl: "http://localhost/v1", model: "m", retries: 0, idleBytes: Infinity, idleTokens: Infinity },
    fetch: () => Promise.resolve(streamed(chunks))
  })
  await Stream.runForEach(model.generate({ messages: [] }), (part) =>
    Effect.sync(() => {
      const last = given.at(-1)
      if (part._tag !== "Finish" && typeof last === "object" && last._tag === part._tag) {
        given[given.length - 1] = { ...part, text: last.text + part.text }
      } else given.push(part)
    })).pipe(
      Effect.catchTag("ModelError", ({ reason, message }) => Effect.sync(() => given.push(`${reason} ${message}`))),
      Effect.runPromise
    )
  return given
}

fuzz(
  "answers of servers",
  "any answer gives parts and one end, a finish or an error, the same wherever the bytes are cut",
  fc.tuple(stream, places),
  async ([bytes, places]) => {
    const whole = await complete([bytes])
    assert.deepEqual(await complete(cutBytes(bytes, places)), whole)
    const ends = whole.map((part) => typeof part === "string" || part._tag === "Finish")
    assert.deepEqual(ends, whole.map((_, i) => i === whole.length - 1))
    const [last] = whole.slice(-1)
    assert.match(
      typeof last === "string" ? last : last?._tag === "Finish" ? last.reason : "",
      /^(?:(?:stop|length|filter|other)$|\S+ Cannot complete a request to m at )/
    )
  }
)

// ---- states

const meter = { requests: 2, inputTokens: 10, outputTokens: 20, area: 30.5, peak: 12 }

const state: State.State = {
  version: 1,
  question: "6 × 7?",
  index: 2,
  summaries: ["* 42"],
  tail: "",
  meter,
  vanilla: meter,
  elapsed: 12.5,
  stagnation: { empty: 0, repeated: 1, wandered: 0 },
  settings: { dialect: "v1", eta: 4096, gamma: 1024, carry: { _tag: "replace" }, guide: null },
  outcome: null
}

const states: ReadonlyArray<State.State> = [
  state,
  {
    ...state,
    question: [{ role: "system", content: "Be." }, { role: "user", content: "6?" }],
    settings: {
      ...state.settings,
      carry: { _tag: "tail", tokens: 9, summary: true },
      guide: { from: 0.8, late: 0.95 }
    },
    outcome: { _tag: "Exhausted", limit: "tokens", conclusion: null }
  },
  { ...state, outcome: { _tag: "NoProgress", verdict: "wanders" } }
]

const statePaths = states.flatMap((state) => pathsOf(state).map((path) => [state, path] as const))

const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    ...[null, undefined, true, "", "1", -1, 0.5, -0, NaN, Infinity, 2 ** 53, 1e308, 7n, Symbol("a"), () => 1, [], {}],
    ...[[null], [[]], { _tag: "tail" }, { _tag: "__proto__" }, { role: "user" }, JSON.parse('{"__proto__":{"a":1}}')],
    ...[new Date(0), new Map(), Object.create(null), new Proxy({}, {}), JSON.parse("[".repeat(500) + "]".repeat(500))]
  ),
  fc.integer(),
  anyText
)

/** Checks that a value is a state that reads back, or is refused. */
const decode = (json: unknown): void => {
  const read = State.parse(json)
  if (Result.isFailure(read)) {
    assert.equal(read.failure._tag, "StateError")
    assert.equal(read.failure.reason, "invalid")
    assert.match(read.failure.message, /^Cannot read a state: /)
    return
  }
  assert.deepEqual(Object.keys(read.success).sort(), Object.keys(state).sort())
  assert.deepEqual(Result.getOrThrow(State.parse(State.render(read.success))), toJson(read.success))
}

/** What is left of a value in JSON: `-0` is 0. */
const toJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

fuzz(
  "saved states",
  "any text is a state that reads back, or a StateError",
  garbled(states.map(State.render), [
    ...JSON_PIECES,
    ...CHARACTERS,
    '"version":1,',
    '"_tag":"tail",',
    "1",
    "-1",
    "0.5"
  ]),
  decode
)

fuzz(
  "saved states, as values",
  "any value is a state that reads back, or a StateError",
  fc.tuple(
    fc.nat(statePaths.length - 1),
    more,
    oddValue
  ),
  ([at, more, odd]) => {
    const [state, path] = statePaths[at]!
    decode(put(state, [...path, ...more], odd))
  }
)
