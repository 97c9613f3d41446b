/**
 * What a parser costs on a stream, beside the same stream without one, and what the ways out of Effect cost.
 *
 * ```sh
 * npm run bench -- streams            # 100,000 deltas of 4 characters, 9 rounds
 * npm run bench -- streams 20000 3
 * ```
 *
 * On Node 24.21, 2 cores, a parser makes the stream 2.1 to 3.1 × as long at one delta an array, 4 to 6 × at sixteen
 * (where the stream alone takes less for a delta than to join it to another), 1.5 × in a loop of `for await`, less than 1 ×
 * there at sixteen, because it joins them, and 1.1 × in a TransformStream. `Stream.map`, which stands in the parser's place
 * in one row, makes it 1.8 to 2.5 × as long at one delta an array.
 *
 * Times are nanoseconds for each delta. `parser alone` is a plain loop, and what no stream can be faster than.
 *
 * @module
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import process from "node:process"
import * as Facade from "../lib/adapters/Promise.ts"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Sections from "../lib/core/Sections.ts"
import * as Machine from "../lib/Machine.ts"
import * as Reasoner from "../lib/Reasoner.ts"
import { type Part, TextModel } from "../lib/TextModel.ts"
import { makeRandom, reasoningOf } from "../tests/support/traces.ts"
import { type Contestant, figure, measure, table, target, title } from "./measure.ts"

const [count = "100000", rounds = "9"] = process.argv.slice(2)
const options = { rounds: Number(rounds) }
const text = `<think>\n${reasoningOf(makeRandom(1), 4 * Number(count))}\n</think>\n\n42`
const chunks: ReadonlyArray<string> = JSON.parse(
  JSON.stringify(text.match(/[^]{1,4}/g))
)
const makeParser = (): Sections.Parser => Sections.makeParser(Dialect.v1)

/** A stream of arrays of so many items, which are there at once. */
const streamOf = <A>(
  items: ReadonlyArray<A>,
  size: number
): Stream.Stream<A> => {
  const arrays = Array.from(
    { length: Math.ceil(items.length / size) },
    (_, index) => {
      const [first, ...rest] = items.slice(index * size, (index + 1) * size)
      return [first!, ...rest] as const
    }
  )
  return Stream.suspend(() => {
    let index = 0
    const pull = Effect.suspend(() => index < arrays.length ? Effect.succeed(arrays[index++]!) : Cause.done())
    return Stream.fromPull(Effect.succeed(pull))
  })
}

const drain = <A, E>(stream: Stream.Stream<A, E>) => (): Promise<void> => Effect.runPromise(Stream.runDrain(stream))

let sum = 0
const read = async (items: AsyncIterable<unknown>): Promise<void> => {
  for await (const _ of items) sum++
}

const webStreamOf = (items: ReadonlyArray<string>): ReadableStream<string> => {
  let index = 0
  return new ReadableStream({
    pull: (controller) => index < items.length ? controller.enqueue(items[index++]!) : controller.close()
  })
}

const readWeb = async (stream: ReadableStream<unknown>): Promise<void> => {
  const reader = stream.getReader()
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    sum++
  }
}

const alone: Contestant = {
  name: "parser alone",
  run: () => {
    const parser = makeParser()
    for (const chunk of chunks) sum += parser.feed(chunk).length
    sum += parser.end().length
  }
}

/** Measures pairs, without a parser and with one, and prints them. */
const pairs = async (
  contestants: ReadonlyArray<
    readonly [name: string, without: () => unknown, parsed: () => unknown]
  >
): Promise<(name: string) => number> => {
  const { time, ratio } = await measure([
    alone,
    ...contestants.flatMap(([name, without, parsed]) => [
      { name, run: without },
      { name: `${name}, parsed`, run: parsed }
    ])
  ], options)
  const each = (name: string): number => time(name) * 1e6 / chunks.length
  table(["", "without", "parsed", "ratio"], [
    [alone.name, "", each(alone.name), ""],
    ...contestants.map(([name]) => [
      name,
      each(name),
      each(`${name}, parsed`),
      ratio(`${name}, parsed`, name)
    ])
  ])
  return (name) => ratio(`${name}, parsed`, name)
}

title(`streams: ${chunks.length} deltas of 4 characters, ns for each`)
const parsed = <E>(
  stream: Stream.Stream<string, E>
): Stream.Stream<Sections.Event, E> => Machine.textStream(makeParser)(stream)
const one = streamOf(chunks, 1)
const sixteen = streamOf(chunks, 16)
const ratio = await pairs([
  ["Effect, 1 an array", drain(one), drain(parsed(one))],
  ["the same, and a map", drain(one), drain(Stream.map(one, (text) => text))],
  ["Effect, 16 an array", drain(sixteen), drain(parsed(sixteen))],
  [
    "for await, 1 an array",
    () => read(Stream.toAsyncIterable(one)),
    () => read(Stream.toAsyncIterable(parsed(one)))
  ],
  [
    "for await, 16 an array",
    () => read(Stream.toAsyncIterable(sixteen)),
    () => read(Stream.toAsyncIterable(parsed(sixteen)))
  ],
  [
    "TransformStream",
    () => readWeb(webStreamOf(chunks).pipeThrough(new TransformStream())),
    () =>
      readWeb(
        webStreamOf(chunks).pipeThrough(Machine.transformStream(makeParser))
      )
  ]
])
target(
  "one delta an array, the time without a parser",
  ratio("Effect, 1 an array"),
  "at most",
  2.5
)
target(
  "sixteen deltas an array, the time without a parser",
  ratio("Effect, 16 an array"),
  "at most",
  2.5
)

// ---- a whole turn of reasoning

const parts: ReadonlyArray<Part> = [
  ...chunks.map((text): Part => ({ _tag: "Text", text })),
  {
    _tag: "Finish",
    reason: "stop",
    usage: { inputTokens: 100, outputTokens: chunks.length }
  }
]
const modelOf = (size: number): TextModel => ({
  name: "scripted",
  generate: () => streamOf(parts, size)
})
const reasoned = (
  size: number
): Stream.Stream<Reasoner.Event, Reasoner.ReasonerError> =>
  Stream.provideService(
    Reasoner.reason("What is 6 × 7?", { dialect: Dialect.v1 }),
    TextModel,
    modelOf(size)
  )
const facade = (size: number) => (): Promise<void> =>
  read(
    Facade.reason("What is 6 × 7?", {
      dialect: Dialect.v1,
      model: modelOf(size)
    })
  )

console.log(
  "\n  a turn of reasoning, ns for each delta, and how many times as long as the model's stream"
)
const turns = await measure([
  { name: "1", run: drain(streamOf(parts, 1)) },
  { name: "16", run: drain(streamOf(parts, 16)) },
  { name: "Reasoner 1", run: drain(reasoned(1)) },
  { name: "Reasoner 16", run: drain(reasoned(16)) },
  { name: "Promise 1", run: facade(1) },
  { name: "Promise 16", run: facade(16) }
], options)
const row = (name: string, key: string): ReadonlyArray<string> => [
  name,
  ...["1", "16"].flatMap((size) => {
    const of = `${key}${size}`
    return [
      figure(turns.time(of) * 1e6 / chunks.length),
      `${figure(turns.ratio(of, size))} ×`
    ]
  })
]
table(["", "1 an array", "", "16 an array", ""], [
  row("the model's stream", ""),
  row("Reasoner.reason", "Reasoner "),
  row("Promise.reason", "Promise ")
])
if (sum < 0) console.log(sum)
