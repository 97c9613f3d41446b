import * as arrow from "apache-arrow"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { gzipSync, zstdCompressSync } from "node:zlib"
import * as Arrow from "../../lib/adapters/Arrow.ts"
import type * as Rejection from "../../lib/core/Rejection.ts"
import type { Sample } from "../../lib/core/Sample.ts"
import { cutBytes, run, testIn } from "../support/files.ts"
import { sentence } from "../support/text.ts"

type Read = Result.Result<Sample, Rejection.Rejection>

const readAll = (path: string, options?: Arrow.ReadOptions): Promise<ReadonlyArray<Read>> =>
  run(Stream.runCollect(Arrow.read(path, options)))

/** Reads chunks of bytes as a file. */
const readChunks = (chunks: ReadonlyArray<Uint8Array>): Promise<ReadonlyArray<Read>> =>
  Stream.runCollect(Arrow.read("x.arrow")).pipe(
    Effect.provide(FileSystem.layerNoop({ stream: () => Stream.fromIterable(chunks).pipe(Stream.rechunk(2)) })),
    Effect.runPromise
  )

const outline = (read: ReadonlyArray<Read>): ReadonlyArray<string> =>
  read.map((result) => Result.isSuccess(result) ? result.success.id : `${result.failure.reason} ${result.failure.line}`)

const text = new arrow.Utf8()
const struct = (fields: Readonly<Record<string, arrow.DataType>>) =>
  new arrow.Struct(Object.entries(fields).map(([name, type]) => arrow.Field.new(name, type, true)))
const list = (type: arrow.DataType) => new arrow.List(arrow.Field.new("item", type, true))

/** Renders columns as a file in the stream or the file format, a record batch for each array of rows. */
const fileOf = (
  types: Readonly<Record<string, arrow.DataType>>,
  batches: ReadonlyArray<ReadonlyArray<Readonly<Record<string, unknown>>>>,
  format: "stream" | "file" = "stream"
): Uint8Array => {
  const schema = new arrow.Schema(Object.entries(types).map(([name, type]) => arrow.Field.new(name, type, true)))
  const parts = batches.map((rows) => {
    const children = Object.entries(types).map(([name, type]) =>
      arrow.vectorFromArray(rows.map((row) => row[name] ?? null), type).data[0]!
    )
    const data = arrow.makeData({ type: new arrow.Struct(schema.fields), length: rows.length, nullCount: 0, children })
    return new arrow.RecordBatch(schema, data)
  })
  const writer = new arrow.RecordBatchStreamWriter()
  writer.reset(undefined, schema)
  for (const part of parts) writer.write(part)
  writer.finish()
  const stream = writer.toUint8Array(true)
  if (format === "stream") return stream
  // The file format is the stream between two words, with an index behind it, as Arrow's own libraries write it.
  return Buffer.concat([Buffer.from("ARROW1\0\0"), stream, Buffer.alloc(100, 7), Buffer.from("ARROW1")])
}

const types = { id: text, question: text, reasoning: text, output: text, embedding: list(new arrow.Float64()) }

const rowOf = (reasoning: string, id: number | string) => ({
  ...{ id: `${id}`, question: "Is it?", reasoning, output: "Yes." },
  embedding: [0.5]
})

// The package takes a byte order mark at the start of a text for none of it.
const reasoning = sentence.map((text) => text.toWellFormed().replace(/^\ufeff+/, "")).filter((text) => /\S/.test(text))

const batches = fc.array(fc.array(reasoning, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 })

test("round trip: what is written is read, in both formats, compressed or not, wherever it is cut", async () => {
  const compress = fc.constantFrom((bytes: Uint8Array) => bytes, gzipSync, zstdCompressSync)
  const property = fc.asyncProperty(
    ...[batches, fc.constantFrom("stream", "file"), compress, fc.array(fc.nat(5000), { maxLength: 5 })] as const,
    async (texts, format, compress, places) => {
      let id = 0
      const rows = texts.map((texts) => texts.map((text) => rowOf(text, id++)))
      const bytes = compress(fileOf(types, rows, format))
      const expected = rows.flat().map(({ id, question, reasoning, output }, i) =>
        Result.succeed({ id, question, reasoning, conclusion: output, origin: { file: "x.arrow", line: i + 1 } })
      )
      assert.deepEqual(await readChunks([bytes]), expected)
      assert.deepEqual(await readChunks(cutBytes(bytes, [1, 7, 9, ...places])), expected)
    }
  )
  await fc.assert(property, { numRuns: 40 })
})

testIn("read: messages, numbers and nulls", async (folder) => {
  const path = join(folder, "x.arrow")
  const rows = [1n, 2n ** 40n, null].map((id, i) => ({
    id,
    messages: i === 2 ? null : [
      { role: "user", content: "Is it?", info: null },
      { role: "assistant", content: "Yes.", info: { think_content: `Hm ${i}.` } }
    ]
  }))
  const message = struct({ role: text, content: text, info: struct({ think_content: text }) })
  writeFileSync(path, fileOf({ id: new arrow.Int64(), messages: list(message) }, [rows]))
  const read = await readAll(path)
  assert.deepEqual(outline(read.slice(0, 2)), ["1", "1099511627776"])
  assert.equal(Result.isSuccess(read[1]!) && read[1].success.reasoning, "Hm 1.")
  assert.equal(Result.isFailure(read[2]!) && read[2].failure.line, 3)
})

testIn("read: a file of no rows, and of an empty batch between others", async (folder) => {
  const path = join(folder, "x.arrow")
  writeFileSync(path, fileOf(types, []))
  assert.deepEqual(await readAll(path), [])
  writeFileSync(path, fileOf(types, [[rowOf("a", 1)], [], [rowOf("", 2)]]))
  assert.deepEqual(outline(await readAll(path)), ["1", "no-reasoning 2"])
})

testIn("projection: no values are made of columns in which no sample can be", async (folder) => {
  const path = join(folder, "x.arrow")
  const rows = Array.from({ length: 20 }, (_, i) => rowOf("a", i))
  writeFileSync(path, fileOf(types, [rows]))
  const { prototype } = arrow.Vector
  const made: Array<string> = []
  const { toArray } = arrow.RecordBatch.prototype
  arrow.RecordBatch.prototype.toArray = function () {
    made.push(...this.schema.names.map(String))
    return toArray.call(this)
  }
  try {
    await readAll(path, { question: "question", reasoning: "reasoning", conclusion: "output" })
  } finally {
    arrow.RecordBatch.prototype.toArray = toArray
  }
  assert.ok(prototype !== undefined && made.includes("reasoning"))
  assert.ok(!made.includes("embedding"), made.join())
})

test("laziness: one who stops early does not read the file", async () => {
  const rows = Array.from(
    { length: 50 },
    (_, i) => Array.from({ length: 20 }, (_, j) => rowOf("a".repeat(100), i * 20 + j))
  )
  const bytes = fileOf(types, rows)
  let read = 0
  const chunks = cutBytes(bytes, Array.from({ length: 200 }, (_, i) => Math.round(bytes.length * i / 200)))
  const files = FileSystem.layerNoop({
    stream: () =>
      Stream.fromIterable(chunks).pipe(
        Stream.rechunk(1),
        Stream.tap((chunk) => Effect.sync(() => read += chunk.length))
      )
  })
  const some = await Arrow.read("x.arrow").pipe(
    ...[Stream.take(3), Stream.runCollect, Effect.provide(files)] as const,
    Effect.runPromise
  )
  assert.deepEqual(outline(some), ["0", "1", "2"])
  assert.ok(read < bytes.length / 10, `${read} of ${bytes.length} bytes were read`)
})

testIn("progress: the bytes that are read are those of the file up to its index", async (folder) => {
  const path = join(folder, "x.arrow")
  const bytes = fileOf(types, [[rowOf("a", 1)]])
  writeFileSync(path, bytes)
  let read = 0
  await readAll(path, { onRead: (bytes) => read += bytes })
  assert.equal(read, bytes.length)
})

// ---- faults

testIn("read: a file that breaks off, and one that is none, are errors", async (folder) => {
  const path = join(folder, "x.arrow")
  const bytes = fileOf(types, [[rowOf("a", 1)], [rowOf("b", 2)]])
  const first = fileOf(types, [[rowOf("a", 1)]])
  writeFileSync(path, bytes.subarray(0, first.length + 100))
  const seen: Array<Read> = []
  const error = await run(
    Effect.flip(Stream.runForEach(Arrow.read(path), (result) => Effect.sync(() => seen.push(result))))
  )
  assert.deepEqual([error.reason, error.file], ["unreadable", path])
  assert.ok(error.message.startsWith(`Cannot read ${path}: record batch 2: `), error.message)
  assert.deepEqual(outline(seen), ["1"])
  for (const bytes of [new Uint8Array(0), new TextEncoder().encode('{"question": "Is it?"}\n'.repeat(20))]) {
    writeFileSync(path, bytes)
    assert.equal((await run(Effect.flip(Stream.runDrain(Arrow.read(path))))).reason, "unreadable")
  }
  const missing = await run(Effect.flip(Stream.runDrain(Arrow.read(join(folder, "none.arrow")))))
  assert.equal(missing.reason, "not-found")
})

test("read: a disk that fails is an error, and not the end of the file", async () => {
  const bytes = fileOf(types, [[rowOf("a", 1)], [rowOf("b", 2)]])
  const cause = new Error("the disk is gone")
  const failure = PlatformError.systemError({ _tag: "Unknown", module: "FileSystem", method: "read", cause })
  for (const place of [0, 20, bytes.length >> 1, bytes.length - 8]) {
    const broken = Stream.concat(
      Stream.fromIterable(place === 0 ? [] : [bytes.subarray(0, place)]),
      Stream.fail(failure)
    )
    const error = await Stream.runDrain(Arrow.read("x.arrow")).pipe(
      ...[Effect.flip, Effect.provide(FileSystem.layerNoop({ stream: () => broken }))] as const,
      Effect.runPromise
    )
    assert.deepEqual([error.reason, error.message], ["unreadable", "Cannot read x.arrow: the disk is gone"])
  }
})

testIn("read: without the package apache-arrow, an error says what is missing", async (folder) => {
  const root = fileURLToPath(new URL("../../", import.meta.url))
  cpSync(join(root, "lib"), join(folder, "lib"), { recursive: true })
  mkdirSync(join(folder, "node_modules"))
  for (const name of ["effect", "@effect"]) {
    symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name))
  }
  writeFileSync(
    join(folder, "package.json"),
    '{ "type": "module", "dependencies": { "effect": "*", "@effect/platform-node": "*" } }'
  )
  writeFileSync(
    join(folder, "program.ts"),
    `
    import * as NodeServices from "@effect/platform-node/NodeServices"
    import * as Effect from "effect/Effect"
    import * as Stream from "effect/Stream"
    import * as Arrow from "./lib/adapters/Arrow.ts"
    const read = Effect.flip(Stream.runDrain(Arrow.read("x.arrow")))
    const { reason, message } = await Effect.runPromise(Effect.provide(read, NodeServices.layer))
    console.log(reason + " " + message)
    `
  )
  const args = "Deno" in globalThis ? ["run", "--allow-all", "--no-check", "program.ts"] : ["program.ts"]
  const { stdout: output } = await promisify(execFile)(process.execPath, args, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, BUN_CONFIG_INSTALL: "disable" }
  })
  assert.equal(output, "missing Cannot read x.arrow: the package apache-arrow is not installed\n")
})
