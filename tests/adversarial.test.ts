/**
 * Texts that were made to be hard, read by everything that reads text: work is counted, and no time.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { test } from "node:test"
import process from "node:process"
import * as GptTokenizer from "../lib/adapters/GptTokenizer.ts"
import * as Jsonl from "../lib/adapters/Jsonl.ts"
import * as Record from "../lib/adapters/Record.ts"
import * as Rejection from "../lib/core/Rejection.ts"
import * as Segmenter from "../lib/core/Segmenter.ts"
import * as State from "../lib/State.ts"
import { inputs, readers } from "./support/adversarial.ts"
import { record } from "./support/figures.ts"

/** In UTF-16 code units. What is counted is the same in every runtime, so that one of them counts it at length. */
const LENGTH = process.versions["bun"] ?? process.versions["deno"] ? 20_000 : 100_000

/** What it costs to read a text, in code units. */
interface Work {
  /** What string functions and regular expressions go over. */
  readonly scanned: number
  /** What is given to `count`. */
  readonly counted: number
}

/**
 * Runs a reader while every string function that it calls is watched; a token is four code units.
 *
 * To read a string that was joined copies all of it first, whatever the function then goes over. So a string is counted as
 * a whole where it is read for the first time, unless it is a part of one that was read. That is how a string is seen that
 * grows with each chunk and is read each time, though only its end is looked at.
 */
const work = (run: (count: (text: string) => number) => unknown): Work => {
  const { slice, indexOf, includes, trim, trimStart, trimEnd, charCodeAt } = String.prototype
  const { exec, test } = RegExp.prototype
  let scanned = 0
  let counted = 0
  // What was read last and is in one piece, by its length: a string that has grown is found to be another one at once.
  // Short ones are left out, which are copied in no time, and all are forgotten before they take too much memory.
  const read = new Map<number, string>()
  let remembered = 0
  const part = (text: string): string => {
    if (text.length < 64) return text
    remembered += text.length
    if (remembered > 100_000_000) {
      read.clear()
      remembered = 0
    }
    read.set(text.length, text)
    return text
  }
  const copy = (text: string): void => {
    if (text.length < 64) return
    // A string that is only like the one that was read takes its place: it is found again at once, and not compared.
    if (read.get(text.length) === text) read.set(text.length, text)
    else scanned += part(text).length
  }
  const spend = (text: string, from: number, to: number | undefined): void => {
    copy(text)
    scanned += 1 + Math.max(0, (to ?? text.length) - from)
  }
  const replaced = {
    slice(this: string, ...range: ReadonlyArray<number>): string {
      const sliced = slice.call(this, ...range)
      copy(this)
      scanned += sliced.length + 1
      return part(sliced)
    },
    indexOf(this: string, part: string, from = 0): number {
      const at = indexOf.call(this, part, from)
      spend(this, from, at < 0 ? undefined : at)
      return at
    },
    includes(this: string, part: string, from = 0): boolean {
      const at = indexOf.call(this, part, from)
      spend(this, from, at < 0 ? undefined : at)
      return at >= 0
    },
    trim(this: string): string {
      copy(this)
      scanned += this.length
      return part(trim.call(this))
    },
    trimStart(this: string): string {
      const trimmed = trimStart.call(this)
      copy(this)
      scanned += 1 + this.length - trimmed.length
      return part(trimmed)
    },
    trimEnd(this: string): string {
      const trimmed = trimEnd.call(this)
      copy(this)
      scanned += 1 + this.length - trimmed.length
      return part(trimmed)
    },
    charCodeAt(this: string, at: number): number {
      copy(this)
      scanned++
      return charCodeAt.call(this, at)
    }
  }
  Object.assign(String.prototype, replaced)
  RegExp.prototype.exec = function (text) {
    const from = this.global || this.sticky ? this.lastIndex : 0
    const match = exec.call(this, text)
    // A sticky expression that finds nothing looks no further than it must.
    spend(text, from, match === null ? this.sticky ? from : undefined : match.index + match[0].length)
    return match
  }
  RegExp.prototype.test = function (text) {
    return this.exec(text) !== null
  }
  try {
    run((text) => {
      counted += text.length
      return Math.ceil(text.length / 4)
    })
  } finally {
    Object.assign(String.prototype, { slice, indexOf, includes, trim, trimStart, trimEnd, charCodeAt })
    Object.assign(RegExp.prototype, { exec, test })
  }
  return { scanned, counted }
}

// Laws

for (const [name, read] of Object.entries(readers)) {
  test(`cost: ${name} is linear in the text, whatever it is`, () => {
    for (const [input, make] of Object.entries(inputs)) {
      const [once, twice] = [LENGTH, 2 * LENGTH].map((length) => {
        const text = make(length)
        return work((count) => read(text, count))
      }) as [Work, Work]
      const ratio = twice.scanned / Math.max(once.scanned, LENGTH)
      assert.ok(ratio < 2.6, `${JSON.stringify(input)}: ${ratio} × the work for 2 × the text`)
      const more = (twice.counted - once.counted) / LENGTH
      assert.ok(more < 4.1, `${JSON.stringify(input)}: ${more} code units are counted for each one more`)
    }
    record("hostile texts", { readers: 1, "readings of twice the text": Object.keys(inputs).length })
  })
}

test("bound: segments of every text have at most eta tokens, and are the text", async () => {
  const { count } = await GptTokenizer.load("o200k_base")
  for (const [input, make] of Object.entries(inputs)) {
    const text = make(LENGTH / 4)
    const segments = Segmenter.segment(text, { eta: 256, count, additive: true })
    assert.ok(segments.map(({ text }) => text).join("") === text, JSON.stringify(input))
    assert.ok(segments.every(({ tokens }) => tokens <= 256), JSON.stringify(input))
  }
})

// Depth

/** Values that are nested too deep for whatever calls itself for each level. */
const deep = (depth: number): ReadonlyArray<string> =>
  [["[", "]"], ['{"a":', "}"], ['{"__proto__":', "}"], ['[{"content":', "}]"]].map(([open, close]) =>
    `${open!.repeat(depth)}1${close!.repeat(depth)}`
  )

const COLUMNS = ["id", "question", "reasoning", "output", "messages", "generations", "solution", "answer", "system"]

test("depth: a record with a deep value gives a rejection or a sample, and the next one is read", () => {
  const good = { id: "good", question: "q", reasoning: "r", output: "o" }
  for (const json of [...deep(100_000), deep(1_000_000)[0]!]) {
    const value: unknown = JSON.parse(json)
    const turns = [{ role: "user", content: "q" }, { role: "assistant", content: value }]
    const records: ReadonlyArray<unknown> = [
      value,
      { messages: [{ role: value, content: "a" }] },
      { messages: turns },
      ...COLUMNS.map((column) => ({ ...good, [column]: value }))
    ]
    for (const record of records) {
      for (const read of Record.read(record, { generations: "all" }).map(Result.merge)) {
        assert.ok(!Rejection.isRejection(read) || read.detail.length < 1000)
      }
    }
    const lines = [json, JSON.stringify(good), `{"reasoning":${json}}`, JSON.stringify(good)]
    const outcomes = readLines(`\n${lines.join("\n")}`).map((read) => Result.isSuccess(read))
    assert.deepEqual(outcomes, [false, true, false, true])
  }
})

test("depth: a state with a deep value is refused", () => {
  for (const json of [...deep(100_000), deep(1_000_000)[0]!]) {
    for (const text of [json, `{"version":1,"question":${json}}`]) {
      for (const state of [State.parse(text), State.parse(JSON.parse(text))]) {
        assert.ok(Result.isFailure(state) && state.failure._tag === "StateError")
        assert.ok(state.failure.message.length < 1000)
      }
    }
  }
})

test("length: what a message shows of a text is short, however long that is", () => {
  for (const make of Object.values(inputs)) {
    const text = make(LENGTH / 10)
    const records: ReadonlyArray<unknown> = [text, [text], { [text]: text }, { question: [text], reasoning: { text } }]
    const read = [...records.flatMap((record) => Record.read(record)), ...readLines(text)].map(Result.merge)
    assert.ok(read.every((one) => Rejection.isRejection(one) && one.detail.length < 1000))
    const state = State.parse(text)
    assert.ok(Result.isFailure(state) && state.failure.message.length < 1000)
  }
})

const readLines = (text: string): ReadonlyArray<Result.Result<unknown, Rejection.Rejection>> =>
  Stream.runCollect(Jsonl.read("x.jsonl")).pipe(
    Effect.provide(FileSystem.layerNoop({ stream: () => Stream.make(new TextEncoder().encode(text)) })),
    Effect.runSync
  )
