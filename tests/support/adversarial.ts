/**
 * Texts that are hard on parsers, and everything that reads text.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import * as Extractive from "../../lib/adapters/Extractive.ts"
import * as Jsonl from "../../lib/adapters/Jsonl.ts"
import * as Record from "../../lib/adapters/Record.ts"
import * as ServerSentEvents from "../../lib/adapters/ServerSentEvents.ts"
import * as Cutter from "../../lib/core/Cutter.ts"
import * as Dialect from "../../lib/core/Dialect.ts"
import * as Sections from "../../lib/core/Sections.ts"
import * as Segmenter from "../../lib/core/Segmenter.ts"
import * as Summary from "../../lib/core/Summary.ts"
import * as State from "../../lib/State.ts"

/** A text of so many UTF-16 code units. */
export type Make = (length: number) => string

const repeated = (part: string): Make => (length) => part.repeat(Math.ceil(length / part.length)).slice(0, length)

/** JSON that is nested as deep as its length allows. */
const nested = (open: string, close: string): Make => (length) => {
  const depth = Math.floor((length - 1) / (open.length + close.length))
  return `${open.repeat(depth)}1${close.repeat(depth)}`
}

/** The texts by name: most are one part again and again. */
export const inputs: Readonly<Record<string, Make>> = {
  ...Object.fromEntries(
    [
      // What tags, fences, formulas and special tokens begin with, and whole ones.
      ...["<", "</think", "<think>", "</think>", "<think></think>", "<|", "`", "```\n", "$", "\\[", "\\boxed{"],
      // What words, sentences and lines are made of.
      ...[" ", "\t", "\n", "\r", "\r\n", " \n", "a", "a ", ".", "a. ", "!)", "- a\n", "1", "\u0301"],
      ...["思", "。", "思。", "\ud83d", "\ude00", "😀", "\u3000", "\ufeff"],
      // What JSON and events are made of.
      ...['"', "\\", '{"a":', ",", "data: a\n", "data: a\n\n", "data:", ":\n", "[]\n"]
    ].map((part) => [part, repeated(part)])
  ),
  "nested arrays": nested("[", "]"),
  "nested objects": nested('{"a":', "}"),
  "nested prototypes": nested('{"__proto__":', "}")
}

/** The tokens of a text. */
export type Count = (text: string) => number

/** Reads a text to its end. */
export type Read = (text: string, count: Count) => unknown

/** Cuts a text into chunks of so many code units. */
const cut = (text: string, size: number): ReadonlyArray<string> =>
  Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size))

const parse = (grammar: Sections.Grammar, options: Sections.Options) => (chunks: ReadonlyArray<string>): void => {
  const parser = Sections.makeParser(grammar, options)
  for (const chunk of chunks) parser.feed(chunk)
  parser.end()
}

/** The dialects allow tags in few places, and this grammar everywhere. */
const anywhere: Sections.Grammar = { sections: Dialect.v1.sections.map(({ after: _, ...section }) => section) }

const parseAll = (chunks: ReadonlyArray<string>): void => {
  parse(Dialect.chat, { orphans: "retag" })(chunks)
  parse(anywhere, { orphans: "drop", inside: "reasoning" })(chunks)
}

const readEvents = (chunks: ReadonlyArray<string>): void => {
  const parser = ServerSentEvents.make({ maxEventSize: 10 ** 9 })
  for (const chunk of chunks) parser.feed(chunk)
  parser.end()
}

const segment = (chunks: ReadonlyArray<string>, options: Segmenter.Options): void => {
  const segmenter = Segmenter.make(options)
  for (const chunk of chunks) segmenter.feed(chunk)
  segmenter.end()
}

/** Cuts reasoning again and again, where it has many times eta tokens. */
const cutAll = (chunks: ReadonlyArray<string>, options: Cutter.Options): void => {
  let cutter = Cutter.make(options)
  for (const chunk of chunks) {
    const { cut } = cutter.feed(chunk)
    if (cut !== undefined) cutter = Cutter.make(options)
  }
  cutter.end()
}

const readLines = (text: string): unknown => {
  const bytes = new TextEncoder().encode(text)
  const chunks = Array.from(
    { length: Math.ceil(bytes.length / CHUNK) },
    (_, i) => bytes.subarray(i * CHUNK, (i + 1) * CHUNK)
  )
  return Stream.runCollect(Jsonl.read("x.jsonl")).pipe(
    Effect.provide(FileSystem.layerNoop({ stream: () => Stream.fromIterable(chunks) })),
    Effect.runSync
  )
}

/** The bytes of a file that are read at once. */
const CHUNK = 65_536

const readRecord = (record: unknown): unknown =>
  (["first", "correct", "all"] as const).map((generations) =>
    Record.read(record, { generations, place: { file: "x.jsonl", line: 1 } })
  )

/** A state with a text in all places. */
const stateOf = (text: string): unknown => ({
  version: 1,
  question: [{ role: "user", content: text }],
  index: 1,
  summaries: [text],
  tail: text,
  meter: METER,
  vanilla: METER,
  elapsed: 1,
  stagnation: { empty: 0, repeated: 0, wandered: 0 },
  settings: { dialect: "v1", eta: 4096, gamma: 1024, carry: { _tag: "replace" }, guide: null },
  outcome: { _tag: "Concluded", conclusion: text }
})

const METER = { requests: 1, inputTokens: 1, outputTokens: 1, area: 1, peak: 1 }

const GAMMA = 1024

/** All that reads text, by name; eta is smaller than most texts. */
export const readers: Readonly<globalThis.Record<string, Read>> = {
  "Sections, whole": (text) => parseAll([text]),
  "Sections, by 4": (text) => parseAll(cut(text, 4)),
  "Sections, by 1": (text) => parseAll(cut(text, 1)),
  "Dialect.screen": (text) => Dialect.screen(Dialect.v1, text, "replace"),
  "Segmenter, whole": (text, count) => Segmenter.segment(text, { eta: 4096, count, additive: true, packing: "even" }),
  "Segmenter, by 4": (text, count) => segment(cut(text, 4), { eta: 4096, count, additive: true }),
  "Segmenter, sums": (text, count) => Segmenter.segment(text, { eta: 256, count }),
  "Segmenter.last": (text, count) => Segmenter.last(text, { eta: 256, count }),
  "Cutter, whole": (text, count) => cutAll([text], { eta: 512, count }),
  "Cutter, by 4": (text, count) => cutAll(cut(text, 4), { eta: 512, count }),
  // Most texts are one line: far from eta, and one of which the last two thirds are counted by words.
  "Cutter, by 4, far from eta": (text, count) => cutAll(cut(text, 4), { eta: 4_000_000, count }),
  "Cutter, by 4, up to eta": (text, count) => cutAll(cut(text, 4), { eta: text.length, count }),
  "Extractive": (text, count) => Extractive.extract({ question: "", segments: [text], gamma: GAMMA }, count),
  "Summary.check": (text, count) =>
    Summary.check({ text, finished: true }, {
      ...{ dialect: Dialect.v1, tags: "replace", count, gamma: GAMMA, question: text, segments: [text] },
      conclusion: text
    }),
  "ServerSentEvents, whole": (text) => readEvents([`data: ${text}`]),
  "ServerSentEvents, by 1": (text) => readEvents(cut(text, 1)),
  "Jsonl, as it is": readLines,
  "Jsonl, in records": (text) => {
    const columns = { question: text, reasoning: text, output: text }
    return readLines([columns, { ...columns, output: `<think>${text}` }].map((line) => JSON.stringify(line)).join("\n"))
  },
  "Record": (text) => {
    readRecord({ question: text, generations: [text, `<think>${text}</think>${text}`, `${text}</think>${text}`] })
    readRecord({ messages: [{ role: text, content: text }, { role: "assistant", content: text }] })
    readRecord({ question: 1, reasoning: [text], output: { [text]: text } })
  },
  "State": (text) => [State.parse(text), State.parse(stateOf(text)), State.parse({ version: text, [text]: text })]
}
