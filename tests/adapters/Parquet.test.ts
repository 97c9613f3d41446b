import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet"
import { compressors } from "hyparquet-compressors"
import { ByteWriter, parquetWrite } from "hyparquet-writer"
import assert from "node:assert/strict"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { brotliCompressSync, gzipSync, zstdCompressSync } from "node:zlib"
import * as Parquet from "../../lib/adapters/Parquet.ts"
import * as Rejection from "../../lib/core/Rejection.ts"
import type { Sample } from "../../lib/core/Sample.ts"
import { run, serveFiles, testIn } from "../support/files.ts"
import { sentence } from "../support/text.ts"

type Read = Result.Result<Sample, Rejection.Rejection>

const readAll = (path: string, options?: Parquet.ReadOptions): Promise<ReadonlyArray<Read>> =>
  run(Stream.runCollect(Parquet.read(path, options)))

const writeAll = (path: string, rows: ReadonlyArray<unknown>, options?: Parquet.WriteOptions) =>
  run(
    Stream.fromIterable(rows).pipe(
      Stream.map((row) => Result.succeed(row)),
      Stream.rechunk(5),
      Parquet.write(path, { existing: "replace", ...options })
    )
  )

/** What hyparquet alone reads, with whole numbers as numbers. */
const rowsIn = async (path: string): Promise<ReadonlyArray<unknown>> => {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true })
  const rows = await parquetReadObjects({
    ...{ file: await asyncBufferFromFile(path), compressors },
    parsers: { stringFromBytes: (bytes: Uint8Array | undefined) => bytes && utf8.decode(bytes) }
  })
  return JSON.parse(JSON.stringify(rows, (_, value) => typeof value === "bigint" ? Number(value) : value ?? null))
}

const groupsIn = async (path: string): Promise<ReadonlyArray<number>> =>
  (await parquetMetadataAsync(await asyncBufferFromFile(path))).row_groups.map(({ num_rows }) => Number(num_rows))

/** A record that is a sample. */
const record = (id: number | string, reasoning = "Hm.") => ({
  id: `${id}`,
  question: "Is it?",
  reasoning,
  output: "Yes."
})

const outline = (read: ReadonlyArray<Read>): ReadonlyArray<string> =>
  read.map((result) => Result.isSuccess(result) ? result.success.id : `${result.failure.reason} ${result.failure.line}`)

// ---- round trips

const text = fc.oneof(sentence, fc.constantFrom("", "\ufeff x", "\u0000", "\r\n", "思😀", "\u2028")).map((text) =>
  text.toWellFormed()
)

const integer = fc.oneof(fc.nat(9), fc.constantFrom(Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER))

/** Types, and values of each, any of them null. */
const typed: fc.Arbitrary<readonly [Parquet.Type, fc.Arbitrary<unknown>]> = fc.letrec<{
  typed: readonly [Parquet.Type, fc.Arbitrary<unknown>]
}>((tie) => ({
  typed: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(
      ["string", fc.option(text)] as const,
      ["boolean", fc.option(fc.boolean())] as const,
      ["integer", fc.option(integer)] as const,
      ["number", fc.option(fc.constantFrom(0.5, -1.25, 1e300, 3))] as const
    ),
    tie("typed").map(([type, value]) => [{ list: type }, fc.option(fc.array(value, { maxLength: 3 }))] as const),
    fc.dictionary(fc.constantFrom("a", "b", "c.d"), tie("typed"), { minKeys: 1, noNullPrototype: true }).map((fields) =>
      [
        { struct: Object.fromEntries(Object.entries(fields).map(([name, [type]]) => [name, type])) },
        fc.option(fc.record(Object.fromEntries(Object.entries(fields).map(([name, [, value]]) => [name, value])), {
          noNullPrototype: true
        }))
      ] as const
    )
  )
})).typed

/** A schema, and rows that fit it. */
const table: fc.Arbitrary<readonly [Parquet.Schema, ReadonlyArray<object>]> = fc
  .dictionary(fc.constantFrom("x", "y", "a.b"), typed, { minKeys: 1, noNullPrototype: true })
  .chain((columns) => {
    const schema = Object.fromEntries(Object.entries(columns).map(([name, [type]]) => [name, type]))
    const row = fc.record(Object.fromEntries(Object.entries(columns).map(([name, [, value]]) => [name, value])), {
      noNullPrototype: true
    })
    return fc.tuple(fc.constant(schema), fc.array(row, { maxLength: 8 }))
  })

testIn("round trip: rows that fit a schema are read again, whatever the groups and the compression", async (folder) => {
  const path = join(folder, "x.parquet")
  const compression = fc.constantFrom("none", "snappy", "gzip", "zstd")
  const property = fc.asyncProperty(
    ...[table, fc.integer({ min: 1, max: 4 }), compression] as const,
    async ([schema, rows], groupRows, compression) => {
      await writeAll(path, rows, { schema, groupRows, compression })
      assert.deepEqual(await rowsIn(path), rows)
      const groups = await groupsIn(path)
      assert.deepEqual(groups.reduce((sum, rows) => sum + rows, 0), rows.length)
      assert.ok(groups.every((rows) => rows <= groupRows))
    }
  )
  await fc.assert(property, { numRuns: 120 })
})

/** What a training row may be, with columns that are null in all rows and lists that are empty. */
const row = fc.record({
  sample: text,
  index: fc.nat(9),
  messages: fc.array(fc.record({ role: text, content: text }, { noNullPrototype: true }), {
    minLength: 1,
    maxLength: 2
  }),
  history: fc.option(text),
  tokens: fc.record({ prompt: fc.nat(), share: fc.constantFrom(0.5, 0.25) }, { noNullPrototype: true }),
  flags: fc.array(fc.boolean(), { maxLength: 2 })
}, { noNullPrototype: true })

testIn("round trip: rows are read again where the columns are inferred from them", async (folder) => {
  const path = join(folder, "x.parquet")
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 6 }), async (rows) => {
      await writeAll(path, rows)
      assert.deepEqual(await rowsIn(path), rows)
    }),
    { numRuns: 60 }
  )
})

testIn("round trip: samples that are written are read, with their rows", async (folder) => {
  const path = join(folder, "x.parquet")
  const property = fc.asyncProperty(
    ...[
      fc.array(text.filter((text) => /\S/.test(text)), { minLength: 1, maxLength: 7 }),
      fc.integer({ min: 1, max: 3 })
    ] as const,
    async (texts, groupRows) => {
      await writeAll(path, texts.map((text, i) => record(i, text)), { groupRows })
      assert.deepEqual(
        (await readAll(path)).map((result) => Result.isSuccess(result) && result.success),
        texts.map((reasoning, i) => ({
          ...{ id: `${i}`, question: "Is it?", reasoning, conclusion: "Yes." },
          origin: { file: path, line: i + 1 }
        }))
      )
    }
  )
  await fc.assert(property, { numRuns: 40 })
})

// ---- reading

const CODECS = {
  UNCOMPRESSED: (bytes: Uint8Array) => bytes,
  GZIP: (bytes: Uint8Array) => gzipSync(bytes),
  ZSTD: (bytes: Uint8Array) => zstdCompressSync(bytes),
  BROTLI: (bytes: Uint8Array) => brotliCompressSync(bytes)
}

const fileOf = (
  columns: Readonly<Record<string, ReadonlyArray<unknown>>>,
  options: Partial<Parameters<typeof parquetWrite>[0]> = {}
): Uint8Array => {
  const writer = new ByteWriter()
  const columnData = Object.entries(columns).map(([name, data]) => ({ name, data: [...data] }))
  parquetWrite({ writer, columnData, ...options })
  return writer.getBytes()
}

const samples = (count: number) => ({
  id: Array.from({ length: count }, (_, i) => `s${i}`),
  question: Array.from({ length: count }, () => "Is it?"),
  reasoning: Array.from({ length: count }, (_, i) => `Hm ${i}. `.repeat(50)),
  output: Array.from({ length: count }, () => "Yes.")
})

testIn("read: files of every compression", async (folder) => {
  const path = join(folder, "x.parquet")
  for (const codec of ["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "BROTLI"] as const) {
    writeFileSync(path, fileOf(samples(30), { codec, compressors: CODECS, rowGroupSize: 7 }))
    assert.deepEqual(outline(await readAll(path)), samples(30).id, codec)
  }
})

testIn("read: a row that holds no sample is rejected with its number, and reading goes on", async (folder) => {
  const path = join(folder, "x.parquet")
  const columns = { ...samples(6), reasoning: ["a", "", null, "b", "c", ""] }
  writeFileSync(path, fileOf(columns, { rowGroupSize: 4 }))
  assert.deepEqual(outline(await readAll(path)), [
    "s0",
    "no-reasoning 2",
    "no-reasoning 3",
    "s3",
    "s4",
    "no-reasoning 6"
  ])
  writeFileSync(path, fileOf({ other: ["a", "b"] }))
  assert.deepEqual((await readAll(path)).map((one) => Result.isFailure(one) && one.failure.line), [1, 2])
})

testIn("read: messages, numbers that name records, and text that has no annotation", async (folder) => {
  const path = join(folder, "x.parquet")
  const messages = (i: number) => [
    { role: "user", content: "Is it?" },
    { role: "assistant", content: `<think>Hm ${i}.</think>Yes.` }
  ]
  await writeAll(path, [1, 2 ** 40].map((id) => ({ id, messages: messages(id) })))
  assert.deepEqual(outline(await readAll(path)), ["1", "1099511627776"])
  const texts = ["a", "b"].map((text) => new TextEncoder().encode(text))
  const plain = { ...samples(2), reasoning: texts }
  writeFileSync(path, fileOf(plain))
  assert.deepEqual(outline(await readAll(path)), ["s0", "s1"])
})

testIn("read: text that is not UTF-8 is no text", async (folder) => {
  const path = join(folder, "x.parquet")
  writeFileSync(path, fileOf({ ...samples(2), reasoning: [Uint8Array.of(0xff, 0xfe), new TextEncoder().encode("思")] }))
  assert.deepEqual(outline(await readAll(path)), ["no-reasoning 1", "s1"])
})

test("projection: only columns in which samples may be are read, one group of them at a time", async () => {
  const noise = (seed: number) =>
    Array.from({ length: 400 }, (_, i) => Math.imul(i + 1, 2654435761 * seed) >>> 0).join("")
  const count = 40
  const columns = { ...samples(count), embedding: Array.from({ length: count }, (_, i) => noise(i + 1)) }
  const file = fileOf(columns, { rowGroupSize: 10, codec: "UNCOMPRESSED" })
  await using server = await serveFiles({ "/x.parquet": file })
  const options = { question: "question", reasoning: "reasoning", conclusion: "output" }
  const stream = Parquet.read(`${server.url}/x.parquet`, options)
  assert.deepEqual(outline(await run(Stream.runCollect(stream))), columns.id)
  const { row_groups: groups } = await parquetMetadataAsync(file.slice().buffer)
  const ranges = server.asked.slice(2).map((asked) => /bytes=(\d+)-(\d+)/.exec(asked)!.slice(1).map(Number))
  const within = (name: string) =>
    groups.flatMap(({ columns }) => columns).filter(({ meta_data }) => meta_data!.path_in_schema[0] === name)
      .map(({ meta_data }) => {
        const start = Number(meta_data!.dictionary_page_offset ?? meta_data!.data_page_offset)
        return [start, start + Number(meta_data!.total_compressed_size) - 1] as const
      })
  assert.ok(ranges.length >= groups.length)
  for (const [start, end] of within("embedding")) {
    assert.ok(ranges.every(([from, to]) => to! < start || from! > end), `${start} to ${end} was read`)
  }
  for (const [start, end] of within("reasoning")) {
    assert.equal(ranges.filter(([from, to]) => from! <= start && to! >= end).length, 1)
  }
  // One who stops in the first group has asked for no other.
  const before = server.asked.length
  await run(Stream.runDrain(Stream.take(stream, 3)))
  const second = Math.min(...groups[1]!.columns.map(({ meta_data }) => Number(meta_data!.data_page_offset)))
  const asked = server.asked.slice(before + 2).map((asked) => Number(/bytes=(\d+)/.exec(asked)![1]))
  assert.ok(asked.length > 0 && asked.every((start) => start < second))
})

testIn("progress: the shares of the groups add up to the file", async (folder) => {
  const path = join(folder, "x.parquet")
  const file = fileOf(samples(31), { rowGroupSize: 7 })
  writeFileSync(path, file)
  const read: Array<number> = []
  await readAll(path, { onRead: (bytes) => read.push(bytes) })
  assert.equal(read.length, 5)
  assert.equal(read.reduce((sum, bytes) => sum + bytes, 0), file.length)
})

testIn("read: a file that is damaged is an error that names it and its row group", async (folder) => {
  const path = join(folder, "x.parquet")
  const file = fileOf(samples(30), { rowGroupSize: 10, codec: "GZIP", compressors: CODECS })
  const { row_groups: groups } = await parquetMetadataAsync(file.slice().buffer)
  const at = Number(groups[1]!.columns[2]!.meta_data!.data_page_offset)
  const broken = file.slice()
  broken.fill(0xff, at, at + 40)
  writeFileSync(path, broken)
  const seen: Array<Read> = []
  const error = await run(
    Effect.flip(Stream.runForEach(Parquet.read(path), (result) => Effect.sync(() => seen.push(result))))
  )
  assert.equal(error.reason, "unreadable")
  assert.ok(error.message.startsWith(`Cannot read ${path}: row group 2 of 3: `), error.message)
  assert.equal(seen.length, 10)
  for (const bytes of [new Uint8Array(0), file.subarray(0, 100), new TextEncoder().encode("no Parquet at all")]) {
    writeFileSync(path, bytes)
    const error = await run(Effect.flip(Stream.runDrain(Parquet.read(path))))
    assert.deepEqual([error.reason, error.file], ["unreadable", path])
    if (bytes.length === 0) assert.match(error.message, /: it has 0 bytes, too few for Parquet$/)
  }
  const missing = await run(Effect.flip(Stream.runDrain(Parquet.read(join(folder, "none.parquet")))))
  assert.equal(missing.reason, "not-found")
})

// ---- writing

testIn("write: no rows make a file of none, with the columns that are known", async (folder) => {
  const path = join(folder, "x.parquet")
  await writeAll(path, [])
  assert.deepEqual(await rowsIn(path), [])
  await writeAll(path, [], { schema: { a: "string", b: { list: { struct: { c: "integer" } } } } })
  assert.deepEqual(await rowsIn(path), [])
  assert.deepEqual(outline(await readAll(path)), [])
})

testIn("write: what has no type in common is JSON, and what is null in the first group holds text", async (folder) => {
  const path = join(folder, "x.parquet")
  const rows = [
    { a: 1, b: "x", c: null, d: {}, e: 1, f: [] },
    { a: "1", b: ["x"], d: { y: 1 }, e: 0.5, f: null },
    { a: null, b: { z: true }, c: null, d: null, e: null, f: ["t"] }
  ]
  await writeAll(path, [...rows, { c: "late" }], { groupRows: 3 })
  assert.deepEqual(await rowsIn(path), [
    { a: "1", b: '"x"', c: null, d: "{}", e: 1, f: [] },
    { a: '"1"', b: '["x"]', c: null, d: '{"y":1}', e: 0.5, f: null },
    { a: null, b: '{"z":true}', c: null, d: null, e: null, f: ["t"] },
    { a: null, b: null, c: "late", d: null, e: null, f: null }
  ])
})

const misfits: ReadonlyArray<readonly [row: unknown, message: RegExp]> = [
  [{ a: "x" }, /row 4 does not fit: the column "a" holds "x", not a whole number/],
  [{ a: 0.5 }, /the column "a" holds "0\.5", not a whole number/],
  [{ b: 1 }, /the column "b" holds "1", not a text/],
  [{ c: ["x"] }, /the column "c" holds ".*", not a struct/],
  [{ c: { d: [1, "x"] } }, /the column "c\.d\.1" holds "x", not a whole number/],
  [{ c: { d: 1 } }, /the column "c\.d" holds "1", not a list/],
  [{ e: 1 }, /the column "e" holds "1", not null, as it is none of the columns/],
  [{ c: { e: 1 } }, /the column "c\.e" holds "1", not null/],
  [7, /row 4 is no object: "7"/]
]

testIn(
  "write: a row that does not fit is an error that names it, and those before it are in the partial file",
  async (folder) => {
    const path = join(folder, "x.parquet")
    const rows = [1, 2, 3].map((a) => ({ a, b: "x", c: { d: [a] } }))
    for (const [row, message] of misfits) {
      const error = await writeAll(path, [...rows, row], { groupRows: 2 }).then(() => undefined, (error) => error)
      assert.deepEqual([error?._tag, error.reason], ["StorageError", "unwritable"])
      assert.match(error.message, message)
      assert.deepEqual(await rowsIn(`${path}.partial`), rows)
    }
    assert.deepEqual(readdirSync(folder), ["x.parquet.partial"])
  }
)

testIn("write: half a surrogate pair becomes the sign for what is no character", async (folder) => {
  const path = join(folder, "x.parquet")
  await writeAll(path, [{ a: "x\ud83d", b: ["\ude00"] }])
  assert.deepEqual(await rowsIn(path), [{ a: "x\ufffd", b: ["\ufffd"] }])
})

testIn("write: groups are bounded by their rows and by their bytes", async (folder) => {
  const path = join(folder, "x.parquet")
  const rows = Array.from({ length: 25 }, (_, i) => ({ text: `${i % 10}`.repeat(1000) }))
  await writeAll(path, rows, { groupRows: 10 })
  assert.deepEqual(await groupsIn(path), [10, 10, 5])
  await writeAll(path, rows, { groupBytes: 3500 })
  assert.deepEqual(await groupsIn(path), [4, 4, 4, 4, 4, 4, 1])
  assert.deepEqual(await rowsIn(path), rows)
})

testIn("write: rejections go beside the rows, as lines", async (folder) => {
  const path = join(folder, "x.parquet")
  const rejection = Rejection.make("no-reasoning", "It is bad.", { file: "in", line: 3 })
  const report = await run(
    Stream.make(Result.succeed({ a: 1 }), Result.fail(rejection)).pipe(Parquet.write(path))
  )
  assert.deepEqual(report, {
    ...{ file: path, written: 1, rejectsFile: join(folder, "x.rejects.jsonl") },
    rejected: { "no-reasoning": 1 }
  })
  assert.deepEqual(JSON.parse(readFileSync(report.rejectsFile, "utf8")), rejection)
})

test("write: bad options are refused where they are given", () => {
  for (const value of [0, -1, 1.5, NaN]) {
    assert.throws(() => Parquet.write("x.parquet", { groupRows: value }), RangeError)
    assert.throws(() => Parquet.tee("x.parquet", { groupBytes: value }), RangeError)
  }
  for (const schema of [{}, { a: { struct: {} } }, { a: { list: { struct: {} } } }]) {
    assert.throws(() => Parquet.write("x.parquet", { schema }), /has no fields/)
  }
})
