import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { Worker } from "node:worker_threads"
import { gzipSync, zstdCompressSync } from "node:zlib"
import * as Dataset from "../../lib/adapters/Dataset.ts"
import * as GptTokenizer from "../../lib/adapters/GptTokenizer.ts"
import * as Jsonl from "../../lib/adapters/Jsonl.ts"
import * as Parquet from "../../lib/adapters/Parquet.ts"
import * as Segments from "../../lib/adapters/Segments.ts"
import * as Rejection from "../../lib/core/Rejection.ts"
import * as Reconstruction from "../../lib/Reconstruction.ts"
import { Tokenizer } from "../../lib/Tokenizer.ts"
import { run, runProgram, testIn } from "../support/files.ts"
import { summarizerOf } from "../support/model.ts"
import { reasoning } from "../support/text.ts"
import { lineOf, makeRandom } from "../support/traces.ts"

const tokenizer = await GptTokenizer.load("o200k_base")
const layer = Layer.succeed(Tokenizer, tokenizer)

type Read = Result.Result<Reconstruction.Segmented, Rejection.Rejection>

/** What is read until the end or until it fails, and how that was. */
const readAll = async (inputs: string | ReadonlyArray<string>, options: Segments.Options) => {
  const seen: Array<Read> = []
  const exit = await Segments.read(inputs, options).pipe(
    Stream.runForEach((read) => Effect.sync(() => seen.push(read))),
    Effect.provide(layer),
    Effect.exit,
    run
  )
  return { seen, exit: Exit.isSuccess(exit) ? "done" : exit.cause.reasons.map(String) }
}

/** The same by what it is said to do: samples are read, and each is segmented. */
const expected = async (inputs: string | ReadonlyArray<string>, options: Segments.Options) => {
  const { eta, packing, tags, dialect: _, workers: __, ...reading } = options
  const segment = Reconstruction.segment({ eta, ...packing && { packing }, ...tags && { tags } })
  const seen: Array<Read> = []
  const exit = await Dataset.read(inputs, reading).pipe(
    Stream.runForEach((read) =>
      Effect.sync(() => {
        if (Result.isFailure(read)) return seen.push(Result.fail(read.failure))
        const segmented = segment(read.success, tokenizer)
        if (Rejection.isRejection(segmented)) return seen.push(Result.fail(segmented))
        const { reasoning: _, ...sample } = segmented.sample
        return seen.push(Result.succeed({ ...segmented, sample }))
      })
    ),
    Effect.exit,
    run
  )
  return { seen, exit: Exit.isSuccess(exit) ? "done" : exit.cause.reasons.map(String) }
}

// ---- laws

/** A line, good or bad, as data sets have them. */
const line: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ question: fc.string(), reasoning, conclusion: fc.constant("So it is.") })
      .map((record) => JSON.stringify(record))
  },
  fc.constantFrom(
    ...["", "  \t", "{", "3", "\ufeff{}", '{"question":"a"}'],
    '{"question":"<think>","reasoning":"Hm.","conclusion":"Yes."}',
    `{"question":"${"long ".repeat(200)}","reasoning":"Hm.","conclusion":"Yes."}`,
    '{"question":"Q","reasoning":"a</think>b","conclusion":"Yes.","id":7,"answer":"42"}',
    '{"question":"Q","reasoning":"","conclusion":" "}'
  )
)

/** Lines, or an array of them, compressed or not. */
interface File {
  readonly lines: ReadonlyArray<string>
  readonly as: "lines" | "array"
  readonly newline: string
  readonly last: string
  readonly ending: keyof typeof compressions
}

const compressions = {
  ".jsonl": (text: string) => Buffer.from(text),
  ".jsonl.gz": (text: string) => gzipSync(text),
  ".jsonl.zst": (text: string) => zstdCompressSync(text)
}

const file: fc.Arbitrary<File> = fc.record({
  lines: fc.array(line, { maxLength: 12 }),
  as: fc.constantFrom("lines" as const, "array" as const),
  newline: fc.constantFrom("\n", "\r\n"),
  last: fc.constantFrom("", "\n"),
  ending: fc.constantFrom(".jsonl" as const, ".jsonl.gz" as const, ".jsonl.zst" as const)
})

const write = (folder: string, files: ReadonlyArray<File>): ReadonlyArray<string> =>
  files.map(({ lines, as, newline, last, ending }, i) => {
    const name = join(folder, `${i}${ending}`)
    const text = as === "lines" ? lines.join(newline) + last : `[${lines.join(`,${newline}`)}]${last}`
    writeFileSync(name, compressions[ending](text))
    return name
  })

testIn("agreement: threads give what is segmented here, in the same order", async (folder) => {
  const options = fc.record({
    eta: fc.integer({ min: 4, max: 60 }),
    packing: fc.constantFrom("greedy" as const, "even" as const),
    tags: fc.constantFrom("reject" as const, "replace" as const),
    dialect: fc.constantFrom("v1" as const, "plus" as const, "chat" as const),
    generations: fc.constantFrom("first" as const, "all" as const),
    maxLineBytes: fc.constantFrom(600, 100_000, 100_000, 100_000)
  })
  let segmented = 0
  let rejected = 0
  await fc.assert(
    fc.asyncProperty(fc.array(file, { minLength: 10, maxLength: 30 }), options, async (files, options) => {
      const names = write(folder, files)
      const read = await readAll(names, { ...options, workers: 2 })
      assert.deepEqual(read, await expected(names, options))
      assert.deepEqual(await readAll(names, { ...options, workers: 0 }), read)
      segmented += read.seen.filter(Result.isSuccess).length
      rejected += read.seen.filter(Result.isFailure).length
    }),
    // Each case starts threads: to shrink one takes minutes.
    { numRuns: 4, endOnFailure: true }
  )
  assert.ok(segmented > 0 && rejected > 0, `${segmented} segmented, ${rejected} rejected`)
})

test("chunking: a thread reads the same from a batch, wherever lines are put together", () => {
  const reader = Segments.makeReader({ eta: 20, maxLineBytes: 600 }, tokenizer)
  fc.assert(
    fc.property(fc.array(line, { maxLength: 20 }), fc.array(fc.nat(20)), (lines, cuts) => {
      const cutter = Jsonl.makeLines(600)
      const all = [...cutter.feed(Buffer.from(lines.join("\n"))), ...cutter.end()]
      const places = [0, ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b), all.length]
      const parts = places.slice(1).map((place, i) => all.slice(places[i], place))
      assert.deepEqual(
        parts.flatMap((part) => reader(Segments.pack("x.jsonl", part))),
        reader(Segments.pack("x.jsonl", all))
      )
    }),
    { numRuns: 100 }
  )
})

// ---- examples

const traces = (count: number): string => {
  const random = makeRandom(count)
  return Array.from({ length: count }, (_, id) => `${lineOf(random, id, 40_000)}\n`).join("")
}

testIn("read: a file of several batches gives the rows of one thread, byte for byte", async (folder) => {
  const input = join(folder, "in.jsonl.gz")
  // Every seventh line is no sample.
  const text = traces(80).replace(/^(?:.*\n){6}/gm, (lines) => `${lines}{}\n`)
  assert.ok(text.length > 3e6)
  writeFileSync(input, gzipSync(text))
  const summaries = summarizerOf(({ history, segments }) => `${history?.length ?? 0} ${segments.join("").length}`)
  const layers = Layer.merge(summaries, layer)
  await Dataset.read(input).pipe(
    Reconstruction.reconstruct({ eta: 512 }),
    Dataset.write(join(folder, "one.jsonl")),
    Effect.provide(layers),
    run
  )
  for (const workers of [0, 1, 2]) {
    const out = join(folder, `${workers}.jsonl`)
    const report = await Segments.read(input, { eta: 512, workers }).pipe(
      Reconstruction.reconstructSegmented({ eta: 512 }),
      Dataset.write(out),
      Effect.provide(layers),
      run
    )
    assert.deepEqual(Object.values(report.rejected), [13])
    for (const ending of [".jsonl", ".rejects.jsonl"]) {
      const [written, one] = [out, join(folder, "one.jsonl")].map((name) =>
        readFileSync(name.replace(".jsonl", ending))
      )
      assert.ok(written!.equals(one!), `${workers} workers, ${ending}`)
    }
  }
})

testIn("read: other formats stand in their place between the lines of threads", async (folder) => {
  const names = ["a.jsonl", "b.parquet", "c.jsonl"].map((name) => join(folder, name))
  const record = (id: string) => ({ id, question: "Is it?", reasoning: "Hm.", output: "Yes." })
  writeFileSync(names[0]!, `${JSON.stringify(record("a"))}\n`)
  const encoder = await Effect.runPromise(Parquet.encoder("x"))
  writeFileSync(names[1]!, Buffer.concat([...encoder.feed(record("b")), ...encoder.end()]))
  writeFileSync(names[2]!, `${JSON.stringify(record("c"))}\n`)
  const { seen } = await readAll(names, { eta: 64, workers: 1 })
  assert.deepEqual(seen.map((read) => Result.isSuccess(read) ? read.success.sample.id : read.failure), ["a", "b", "c"])
})

testIn("read: where no number is named, it goes over to threads within a file once they are ready", async (folder) => {
  const input = join(folder, "in.jsonl")
  // What is too long to be read still counts, and costs nothing.
  const options = { eta: 512, maxLineBytes: 100_000 }
  writeFileSync(input, `${`"${"x".repeat(4_000_000)}"\n`.repeat(5)}${traces(80)}`)
  const all = await expected(input, options)
  assert.equal(all.seen.length, 85)
  assert.deepEqual(await readAll(input, options), all)
  // Threads that cannot be made ready are not waited for.
  assert.deepEqual(await readAll(input, { ...options, tokenizer: join(folder, "none.json") }), all)
})

/** The number of the next thread: they are numbered in the order of their start. */
const nextThread = async (): Promise<number> => {
  const worker = new Worker("", { eval: true })
  const { threadId } = worker
  await worker.terminate()
  return threadId
}

testIn("read: where no number is named, a small file starts no thread, and where one is, it does", async (folder) => {
  const input = join(folder, "in.jsonl")
  writeFileSync(input, traces(5))
  for (const [workers, started] of [[undefined, 0], [0, 0], [2, 2]] as const) {
    const before = await nextThread()
    await readAll(input, { eta: 512, ...workers !== undefined && { workers } })
    assert.equal(await nextThread() - before - 1, started, `${workers}`)
  }
})

testIn("read: a thread makes the ids that tell files and elements of an array apart", async (folder) => {
  const nameless = '{"question":"Is it?","reasoning":"Hm.","conclusion":"Yes."}'
  for (const name of ["a", "b"]) {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, "x.jsonl"), `${nameless}\n`)
    writeFileSync(join(folder, name, "y.json"), `[${nameless}, ${nameless}]`)
  }
  const { seen } = await readAll(folder, { eta: 64, workers: 1 })
  const ids = ["a/x.jsonl:1", "a/y.json#1", "a/y.json#2", "b/x.jsonl:1", "b/y.json#1", "b/y.json#2"]
  assert.deepEqual(seen.map((read) => Result.isSuccess(read) ? read.success.sample.id : read.failure), ids)
})

testIn(
  "read: it is told of all bytes of the file",
  async (folder) => {
    const input = join(folder, "in.jsonl")
    writeFileSync(input, traces(5))
    let bytes = 0
    await readAll(input, { eta: 512, workers: 1, onRead: (more) => bytes += more })
    assert.equal(bytes, readFileSync(input).length)
  }
)

testIn("read: leaving early, and coming to the end, ends the threads", async (folder) => {
  writeFileSync(join(folder, "in.jsonl"), traces(60))
  const program = (more: string) => `
    Segments.read("in.jsonl", { eta: 512, workers: 1 }).pipe(${more}
      Stream.runCount,
      Effect.map((count) => console.log(count)),
      Effect.provideService((await import("${new URL("../../lib/Tokenizer.ts", import.meta.url)}")).Tokenizer, {
        name: "cl100k_base", count: (text) => text.length, additive: true
      })
    )`
  for (const [more, count] of [["Stream.take(3),", 3], ["", 60]] as const) {
    const { code, stdout, stderr } = await runProgram(folder, "Segments", program(more))
    assert.deepEqual([code, stdout.trim()], [0, String(count)], stderr)
  }
})

// ---- faults

testIn("faults: what was read before a file broke off comes before its error", async (folder) => {
  const input = join(folder, "in.jsonl.gz")
  const whole = gzipSync(traces(70))
  writeFileSync(input, whole.subarray(0, whole.length - 100_000))
  const read = await readAll(input, { eta: 512, workers: 2 })
  assert.deepEqual(read, await expected(input, { eta: 512 }))
  assert.ok(read.seen.length > 40)
  assert.match(String(read.exit), /StorageError/)
})

testIn("faults: a tokenizer that a thread cannot load is an error, and nothing hangs", async (folder) => {
  const input = join(folder, "in.jsonl")
  writeFileSync(input, traces(3))
  const none = join(folder, "none.json")
  const error = await Segments.read(input, { eta: 512, workers: 2, tokenizer: none }).pipe(
    Stream.runDrain,
    Effect.flip,
    Effect.provide(layer),
    run
  )
  assert.deepEqual([error._tag, error.reason], ["WorkerError", "failed"])
  assert.match(error.message, /^Cannot work in a thread: .*none\.json/)
})

test("options: a bad one is a RangeError before anything is read", () => {
  assert.throws(() => Segments.read("x", { eta: 3 }), /RangeError: Cannot reconstruct: eta is 3/)
  for (const workers of [-1, 1.5, NaN]) {
    assert.throws(
      () => Segments.read("x", { eta: 4, workers }),
      RangeError(
        `Cannot segment: workers is ${workers}, and must be an integer of at least 0`
      )
    )
  }
})
