import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Sections from "../lib/core/Sections.ts"
import * as Segmenter from "../lib/core/Segmenter.ts"
import * as Machine from "../lib/Machine.ts"
import { words } from "./support/counts.ts"
import { cuts, reasoning } from "./support/text.ts"

const makeSegmenter = (): Segmenter.Segmenter => Segmenter.make({ eta: 20, ...words })

const streamed = (chunks: ReadonlyArray<string>): ReadableStream<string> =>
  new ReadableStream({
    start: (controller) => {
      for (const chunk of chunks) controller.enqueue(chunk)
      controller.close()
    }
  })

test("agreement: a machine does the same on a stream, an iterable and a web stream, as on whole text", () =>
  fc.assert(
    fc.asyncProperty(
      reasoning.chain((text) => fc.tuple(fc.constant(text), cuts(text), fc.integer({ min: 1, max: 4 }))),
      async ([text, chunks, size]) => {
        const whole = Segmenter.segment(text, { eta: 20, ...words })
        for (const stage of [Machine.stream(makeSegmenter), Machine.textStream(makeSegmenter)]) {
          const onStream = Stream.fromIterable(chunks).pipe(
            Stream.rechunk(size),
            stage,
            Stream.runCollect,
            Effect.runPromise
          )
          assert.deepEqual(await onStream, whole)
        }
        assert.deepEqual([...Machine.iterate(makeSegmenter, chunks)], whole)
        const onWebStream = []
        const reader = streamed(chunks).pipeThrough(Machine.transformStream(makeSegmenter)).getReader()
        for (let read = await reader.read(); !read.done; read = await reader.read()) onWebStream.push(read.value)
        assert.deepEqual(onWebStream, whole)
      }
    ),
    { numRuns: 100 }
  ))

test("stream: a parser delivers what it has when the stream fails, and does not end", async () => {
  const seen: Array<Sections.Event> = []
  const exit = await Stream.make("<think>\nLet me", " see").pipe(
    Stream.concat(Stream.fail("broken")),
    Machine.stream(() => Sections.makeParser(Dialect.v1)),
    Stream.runForEach((event) => Effect.sync(() => seen.push(event))),
    Effect.runPromiseExit
  )
  assert.deepEqual(exit, Exit.fail("broken"))
  assert.deepEqual(seen, [
    { _tag: "Start", section: "reasoning" },
    { _tag: "Delta", section: "reasoning", text: "Let me" },
    { _tag: "Delta", section: "reasoning", text: " see" }
  ])
})

test("textStream: what comes at once is one delta, and what comes later another", async () => {
  const events = Stream.make("<thi", "nk>\nLet", " me").pipe(
    Stream.concat(Stream.make(" s", "ee")),
    Machine.textStream(() => Sections.makeParser(Dialect.v1)),
    Stream.runCollect,
    Effect.runPromise
  )
  assert.deepEqual(await events, [
    { _tag: "Start", section: "reasoning" },
    { _tag: "Delta", section: "reasoning", text: "Let me" },
    { _tag: "Delta", section: "reasoning", text: " see" },
    { _tag: "End", section: "reasoning", closed: false }
  ])
})

test("stream: each run has a machine of its own", async () => {
  const segments = Stream.make("one two", " three").pipe(Machine.stream(makeSegmenter))
  const first = await Effect.runPromise(Stream.runCollect(segments))
  assert.deepEqual(await Effect.runPromise(Stream.runCollect(segments)), first)
})

test("stream: no more is read than what was asked for", async () => {
  let read = 0
  const events = await Stream.range(1, 100).pipe(
    Stream.rechunk(1),
    Stream.map((i) => {
      read++
      return `word${i} `
    }),
    Machine.stream(() => Sections.makeParser(Dialect.v1)),
    Stream.take(2),
    Stream.runCollect,
    Effect.runPromise
  )
  assert.equal(events.length, 2)
  assert.equal(read, 2)
})

test("stream: a machine ends once", async () => {
  const ended = Stream.make(1, 2).pipe(
    Machine.stream(() => ({ feed: () => [], end: () => ["the end"] })),
    Stream.take(3),
    Stream.runCollect,
    Effect.runPromise
  )
  assert.deepEqual(await ended, ["the end"])
})
