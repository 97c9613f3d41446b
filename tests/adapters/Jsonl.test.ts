import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import * as Jsonl from "../../lib/adapters/Jsonl.ts"
import { StorageError } from "../../lib/adapters/Storage.ts"
import * as Rejection from "../../lib/core/Rejection.ts"
import type { Sample } from "../../lib/core/Sample.ts"
import { law, sentence } from "../support/text.ts"

type Read = Result.Result<Sample, Rejection.Rejection>

const run = <A, E>(effect: Effect.Effect<A, E, FileSystem.FileSystem>): Promise<A> =>
  Effect.runPromise(Effect.provide(effect, NodeServices.layer))

/** A test with a folder of its own. */
const testIn = (name: string, body: (folder: string) => Promise<void>): void => {
  test(name, async () => {
    const folder = mkdtempSync(join(tmpdir(), "jsonl-"))
    await body(folder).finally(() => rmSync(folder, { recursive: true }))
  })
}

const readAll = (path: string, options?: Jsonl.ReadOptions): Promise<ReadonlyArray<Read>> =>
  run(Stream.runCollect(Jsonl.read(path, options)))

/** Reads chunks of bytes as the file `x.jsonl`. */
const readChunks = (chunks: ReadonlyArray<Uint8Array>, options?: Jsonl.ReadOptions): ReadonlyArray<Read> =>
  Effect.runSync(
    Stream.runCollect(Jsonl.read("x.jsonl", options)).pipe(
      Effect.provide(FileSystem.layerNoop({ stream: () => Stream.fromIterable(chunks).pipe(Stream.rechunk(2)) }))
    )
  )

const readText = (text: string, options?: Jsonl.ReadOptions): ReadonlyArray<Read> =>
  readChunks([bytesOf(text)], options)

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)

/** The reason and the line of each rejection, and the id of each sample. */
const outline = (read: ReadonlyArray<Read>): ReadonlyArray<string> =>
  read.map((result) =>
    Result.isSuccess(result)
      ? result.success.id
      : `${result.failure.reason} ${result.failure.file}:${result.failure.line}`
  )

const record = (id: number | string): string =>
  JSON.stringify({ id, question: "Is it?", reasoning: "Hm.", output: "Yes." })

// ---- lines

/** Bytes of lines: what ends them, what they begin with, and what is no text, in every order. */
const bytes: fc.Arbitrary<Uint8Array> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom([0x0a], [0x0d], [0x0d, 0x0a], [0xef, 0xbb, 0xbf], [0xef], [0xbb, 0xbf]) },
    { weight: 2, arbitrary: fc.constantFrom([0x20], [0x09], [0xff], [0xe6, 0x80, 0x9d], [0x80], [0xc2, 0x85], [0x00]) },
    {
      weight: 2,
      arbitrary: fc.constantFrom("{", "5", "null", '"a"', record("é"), record("思").slice(0, -1)).map((text) => [
        ...bytesOf(text)
      ])
    }
  ),
  { maxLength: 24 }
).map((parts) => Uint8Array.from(parts.flat()))

const cutAt = (bytes: Uint8Array, places: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const sorted = [0, ...places.map((place) => Math.min(place, bytes.length)), bytes.length].sort((a, b) => a - b)
  return sorted.slice(1).map((place, i) => bytes.subarray(sorted[i], place))
}

const linesOf = (chunks: ReadonlyArray<Uint8Array>, maxLineBytes: number): ReadonlyArray<Jsonl.Line> => {
  const lines = Jsonl.makeLines(maxLineBytes)
  return [...chunks.flatMap((chunk) => lines.feed(chunk)), ...lines.end()].map((line) =>
    line.bytes === undefined ? line : { ...line, bytes: Uint8Array.from(line.bytes) }
  )
}

const limit = fc.constantFrom(1, 3, 6, 1000)

law(
  "chunking: where the bytes are cut changes nothing",
  fc.tuple(bytes, limit, fc.array(fc.nat(200), { maxLength: 5 })),
  ([bytes, limit, places]) => {
    const whole = linesOf([bytes], limit)
    for (let place = 0; place <= bytes.length; place++) assert.deepEqual(linesOf(cutAt(bytes, [place]), limit), whole)
    assert.deepEqual(linesOf(cutAt(bytes, places), limit), whole)
    assert.deepEqual(linesOf(cutAt(bytes, [...bytes.keys()]), limit), whole)
  }
)

law("chunking: where the file is cut changes no sample and no rejection", fc.tuple(bytes, limit), ([bytes, limit]) => {
  const whole = readChunks([bytes], { maxLineBytes: limit })
  assert.deepEqual(readChunks(cutAt(bytes, [...bytes.keys()]), { maxLineBytes: limit }), whole)
})

law("losslessness: the lines, joined with newlines, are the bytes", bytes, (bytes) => {
  // In Latin-1 a code unit is a byte.
  const text = String.fromCharCode(...bytes)
  const expected = text.split("\n").map((line) => line.replace(/\r$/, ""))
  expected[0] = expected[0]!.replace(/^\xef\xbb\xbf/, "")
  if (text === "" || text.endsWith("\n")) expected.pop()
  const lines = linesOf([bytes], 1000)
  assert.deepEqual(lines.map(({ bytes }) => String.fromCharCode(...bytes!)), expected)
  assert.deepEqual(lines.map(({ number }) => number), expected.map((_, i) => i + 1))
})

law("bound: just the lines with more bytes than the limit have none", fc.tuple(bytes, limit), ([bytes, limit]) => {
  const all = linesOf([bytes], 1000)
  assert.deepEqual(
    linesOf([bytes], limit),
    all.map((line) => line.length <= limit ? line : { number: line.number, length: line.length })
  )
})

law("nothing lost: every line that is not blank gives a sample or a rejection, in order", bytes, (bytes) => {
  const numbers = linesOf([bytes], 1000).filter(({ bytes }) =>
    bytes!.some((byte) => ![0x20, 0x09, 0x0d].includes(byte))
  )
    .map(({ number }) => number)
  const read = readChunks([bytes])
  assert.deepEqual(read.map((one) => Result.isSuccess(one) ? one.success.origin?.line : one.failure.line), numbers)
})

test("cost: a long line is copied once, and one that is too long not at all", () => {
  const prototype = Uint8Array.prototype
  const set = prototype.set
  let copied = 0
  prototype.set = function (source, offset) {
    copied += source.length
    return set.call(this, source, offset)
  }
  try {
    const chunks = Array.from({ length: 1000 }, () => new Uint8Array(100).fill(0x61))
    for (const [limit, cost] of [[100_000, 100_000], [99_999, 0]] as const) {
      copied = 0
      const lines = Jsonl.makeLines(limit)
      for (const chunk of chunks) lines.feed(chunk)
      assert.equal(lines.end()[0]?.length, 100_000)
      assert.equal(copied, cost)
    }
  } finally {
    prototype.set = set
  }
})

test("makeLines and read: a limit that is no length is refused where it is given", () => {
  for (const limit of [0, -1, 1.5, NaN, Infinity, 2 ** 29]) {
    assert.throws(() => Jsonl.makeLines(limit), RangeError)
    assert.throws(() => Jsonl.read("x.jsonl", { maxLineBytes: limit }), /maxLineBytes is .*, not a whole number/)
  }
})

// ---- elements

const elementsOf = (chunks: ReadonlyArray<Uint8Array>, maxLineBytes = 1000): ReadonlyArray<Jsonl.Line> => {
  const elements = Jsonl.makeElements(maxLineBytes)
  return [...chunks.flatMap((chunk) => elements.feed(chunk)), ...elements.end()]
}

/** JSON with what a cutter could take for structure in its strings. */
const json: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(1, null, true, "", "a", "[", "]", "{,}", '"', "\\", '\\"', "思\n,", '",'),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("a", "]", '"', ","), tie("value"), { maxKeys: 3, noNullPrototype: true })
  )
})).value

const layout = fc.record({
  values: fc.array(json, { maxLength: 5 }),
  indent: fc.constantFrom(undefined, 2, "\t"),
  newline: fc.constantFrom("\n", "\r\n")
})

law("elements: they are the array's, with the lines they begin in, wherever it is cut", layout, (layout) => {
  const { values, indent, newline } = layout
  const text = `${JSON.stringify(values, null, indent)}\n`.replaceAll("\n", newline)
  const bytes = bytesOf(text)
  const whole = elementsOf([bytes])
  assert.deepEqual(whole.map(({ bytes }) => JSON.parse(new TextDecoder().decode(bytes))), values)
  const lines = values.map((_, i) => {
    const before = JSON.stringify(values.slice(0, i + 1), null, indent).split("\n").length
    const own = JSON.stringify(values[i], null, indent).split("\n").length
    return indent === undefined ? 1 : before - own
  })
  assert.deepEqual(whole.map(({ number }) => number), lines)
  assert.deepEqual(whole.map(({ element }) => element), values.map((_, i) => i + 1))
  for (let place = 0; place <= bytes.length; place++) {
    assert.deepEqual(elementsOf(cutAt(bytes, [place])), whole)
    assert.deepEqual(elementsOf([bytes.subarray(0, place), new Uint8Array(0), bytes.subarray(place)]), whole)
  }
  assert.deepEqual(
    elementsOf(cutAt(bytes, [...bytes.keys()]), 3),
    whole.map(({ bytes, ...element }) => element.length <= 3 ? { ...element, bytes } : element)
  )
}, 100)

test("read: an array gives its elements, and a rejection where it breaks off or goes on", () => {
  const array = (...records: ReadonlyArray<string>) => `[\n${records.join(",\n")}\n]\n`
  assert.deepEqual(outline(readText(`\ufeff${array(record(1), "7", record(2))}`)), [
    "1",
    "unknown-shape x.jsonl:3",
    "2"
  ])
  assert.deepEqual(outline(readText("[]")), [])
  assert.deepEqual(outline(readText(array(record(1), '{"id"'))), [
    "1",
    "invalid-json x.jsonl:3",
    "invalid-json x.jsonl:5"
  ])
  assert.deepEqual(outline(readText(array(record(1), record(2)).slice(0, -3))), ["1", "2", "invalid-json x.jsonl:3"])
  assert.deepEqual(outline(readText(`[${record(1)}`)), ["1", "invalid-json x.jsonl:1"])
  assert.deepEqual(outline(readText(`[${record(1)},`)), ["1", "invalid-json x.jsonl:1"])
  assert.deepEqual(outline(readText(`${array(record(1))}oops`)), ["1", "invalid-json x.jsonl:4"])
  assert.deepEqual(outline(readText(array(record("x".repeat(99)), record(2)), { maxLineBytes: 90 })), [
    "line-too-long x.jsonl:2",
    "2"
  ])
})

// ---- read

testIn("read: a file gives its samples with their places", async (folder) => {
  const file = join(folder, "x.jsonl")
  writeFileSync(file, `\ufeff${record("a")}\r\n\n \t\n${record("b")}`)
  const sample = { question: "Is it?", reasoning: "Hm.", conclusion: "Yes." }
  assert.deepEqual(await readAll(file), [
    Result.succeed({ id: "a", ...sample, origin: { file, line: 1 } }),
    Result.succeed({ id: "b", ...sample, origin: { file, line: 4 } })
  ])
})

testIn("read: a file that is much larger than what is read at once", async (folder) => {
  const file = join(folder, "x.jsonl")
  const long = JSON.stringify({ id: "long", question: "?", reasoning: "思考。".repeat(100_000), output: "Yes." })
  const lines = Array.from({ length: 5000 }, (_, i) => i === 2500 ? long : record(i))
  writeFileSync(file, lines.join("\n"))
  const read = await readAll(file)
  assert.deepEqual(outline(read), lines.map((_, i) => i === 2500 ? "long" : `${i}`))
  assert.equal(Result.isSuccess(read[2500]!) && read[2500].success.reasoning, "思考。".repeat(100_000))
})

testIn("read: an empty file gives nothing", async (folder) => {
  const file = join(folder, "x.jsonl")
  for (const text of ["", "\ufeff", "\n", "\r\n \n"]) {
    writeFileSync(file, text)
    assert.deepEqual(await readAll(file), [])
  }
})

test("read: the names of columns are handed on", () => {
  const line = JSON.stringify({ ask: "Is it?", trace: "Hm.", final: "Yes." })
  const read = readText(line, { question: "ask", reasoning: "trace", conclusion: "final" })
  assert.deepEqual(outline(read), ["x.jsonl:1"])
})

test("read: a bad line is rejected with its file and number, and reading goes on", () => {
  const long = record("x".repeat(1000))
  const invalid = Uint8Array.from([...bytesOf('{"id":"'), 0xff, ...bytesOf('"}\n')])
  const chunks = [
    ...[`${record(1)}\n`, "{oops}\n", `${record(3)}\n`, `${long}\n`, `${record(5)}\n`].map(bytesOf),
    invalid,
    ...[`${record(7)}\n`, '{"question":"Is it?"}\n', `${record(9)}\n`, "[]\n", `\ufeff${record(11)}\n`].map(bytesOf),
    bytesOf('{"id":12')
  ]
  const read = readChunks(chunks, { maxLineBytes: 1000 })
  assert.deepEqual(outline(read), [
    "1",
    "invalid-json x.jsonl:2",
    "3",
    "line-too-long x.jsonl:4",
    "5",
    "invalid-utf8 x.jsonl:6",
    "7",
    "no-reasoning x.jsonl:8",
    "9",
    "unknown-shape x.jsonl:10",
    "invalid-json x.jsonl:11",
    "invalid-json x.jsonl:12"
  ])
  const details = read.filter(Result.isFailure).map(({ failure }) => failure.detail)
  assert.match(details[0]!, /^The line is not JSON: .+/)
  assert.equal(details[1], `The line has ${long.length} bytes, more than 1000`)
  assert.equal(details[2], "The line is not UTF-8")
})

test("read: UTF-8 that is cut off, overlong, or half a surrogate pair is invalid", () => {
  for (const bad of [[0xe6, 0x80], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]]) {
    const line = Uint8Array.from([0x22, ...bad, 0x22])
    assert.deepEqual(outline(readChunks([line])), ["invalid-utf8 x.jsonl:1"])
  }
})

testIn("read: a file that is missing or no file is an error", async (folder) => {
  const file = join(folder, "none.jsonl")
  const missing = await run(Effect.flip(Stream.runCollect(Jsonl.read(file))))
  assert.ok(missing instanceof StorageError)
  assert.deepEqual([missing._tag, missing.reason, missing.file], ["StorageError", "not-found", file])
  assert.equal(missing.message, `Cannot read ${file}: it does not exist`)
  const directory = await run(Effect.flip(Stream.runCollect(Jsonl.read(folder))))
  assert.equal(directory.reason, "unreadable")
  assert.match(directory.message, /^Cannot read .*: .+/)
})

test("read: what was read before the file broke off is delivered, and a line that was cut is not", async () => {
  const cause = new Error("the disk is gone")
  const failure = PlatformError.systemError({ _tag: "Unknown", module: "FileSystem", method: "read", cause })
  const broken = Stream.concat(Stream.make(bytesOf(`${record(1)}\n${record(2)}`)), Stream.fail(failure))
  const seen: Array<Read> = []
  const error = await Jsonl.read("x.jsonl").pipe(
    Stream.runForEach((result) => Effect.sync(() => seen.push(result))),
    Effect.flip,
    Effect.provide(FileSystem.layerNoop({ stream: () => broken })),
    Effect.runPromise
  )
  assert.deepEqual(outline(seen), ["1"])
  assert.deepEqual([error.reason, error.message], ["unreadable", "Cannot read x.jsonl: the disk is gone"])
})

// ---- write

const rejection = (line: number): Rejection.Rejection =>
  Rejection.make(line % 2 === 0 ? "no-reasoning" : "invalid-json", "It is bad.", { file: "in.jsonl", line })

const linesIn = (file: string): ReadonlyArray<unknown> => {
  const text = readFileSync(file, "utf8")
  if (text === "") return []
  assert.ok(text.endsWith("\n"), "the last line is whole")
  return text.slice(0, -1).split("\n").map((line) => JSON.parse(line))
}

const text = fc.oneof(
  { weight: 4, arbitrary: fc.array(sentence, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("\n\n")) },
  { weight: 1, arbitrary: fc.constantFrom("\ud83d", "a\ude00b", "\u2028", "\u0000", "\ufeff x", '"\\', "\r\n.") }
)

/** Half a surrogate pair is written as it is, and read as U+FFFD. */
const part = text.map((text) => text.toWellFormed()).filter((text) => /\S/.test(text))

const sample: fc.Arbitrary<Omit<Sample, "origin">> = fc.record({
  id: fc.uuid(),
  question: fc.oneof(
    part,
    part.map((content) => [{ role: "system", content: "Be brief." }, { role: "user", content }] as const)
  ),
  reasoning: part,
  conclusion: part
}, { noNullPrototype: true })

const results: fc.Arbitrary<ReadonlyArray<Result.Result<Omit<Sample, "origin">, Rejection.Rejection>>> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: sample.map((sample) => Result.succeed(sample)) },
    { weight: 1, arbitrary: fc.nat(9).map((line) => Result.fail(rejection(line))) }
  ),
  { maxLength: 12 }
)

testIn("round trip: what is written is read again, rows and rejections in order", async (folder) => {
  const file = join(folder, "x.jsonl")
  const property = fc.asyncProperty(results, fc.integer({ min: 1, max: 5 }), async (results, size) => {
    const rows = Stream.fromIterable(results).pipe(Stream.rechunk(size))
    const report = await run(Jsonl.write(file, { existing: "replace" })(rows))
    const [samples, rejections] = [results.filter(Result.isSuccess), results.filter(Result.isFailure)]
    assert.deepEqual(
      await readAll(file),
      samples.map(({ success }, i) => Result.succeed({ ...success, origin: { file, line: i + 1 } }))
    )
    assert.equal(existsSync(report.rejectsFile), rejections.length > 0)
    if (rejections.length > 0) {
      assert.deepEqual(linesIn(report.rejectsFile), rejections.map(({ failure }) => failure))
    }
    assert.equal(report.written, samples.length)
    assert.equal(Object.values(report.rejected).reduce((sum, n) => sum + n, 0), rejections.length)
  })
  await fc.assert(property, { numRuns: 60 })
})

testIn("write: the report names the files and counts the reasons", async (folder) => {
  const file = join(folder, "x.jsonl")
  const rows = Stream.make(Result.succeed({ a: 1 }), ...[1, 2, 3].map((line) => Result.fail(rejection(line))))
  assert.deepEqual(await run(rows.pipe(Jsonl.write(file))), {
    file,
    written: 1,
    rejectsFile: join(folder, "x.rejects.jsonl"),
    rejected: { "invalid-json": 2, "no-reasoning": 1 }
  })
  assert.equal(readFileSync(file, "utf8"), '{"a":1}\n')
  assert.deepEqual(linesIn(join(folder, "x.rejects.jsonl")), [1, 2, 3].map(rejection))
})

testIn("write: endings are left out of the name of the file for rejections", async (folder) => {
  const names = ["a.jsonl", "b.jsonl.gz", "c.ndjson.zst", "d.json", "e.txt", "f.jsonl.d/x"]
  mkdirSync(join(folder, "f.jsonl.d"))
  const files: Array<string> = []
  for (const name of names) {
    const report = await run(Stream.make(Result.fail(rejection(1))).pipe(Jsonl.write(join(folder, name))))
    assert.deepEqual(linesIn(report.rejectsFile), [rejection(1)])
    files.push(report.rejectsFile.slice(folder.length + 1))
  }
  assert.deepEqual(files, ["a", "b", "c", "d", "e.txt", "f.jsonl.d/x"].map((name) => `${name}.rejects.jsonl`))
})

testIn("write: rejections go to the file that is named for them", async (folder) => {
  const file = join(folder, "x.jsonl")
  const rejects = join(folder, "bad.jsonl.gz")
  const report = await run(Stream.make(Result.fail(rejection(1))).pipe(Jsonl.write(file, { rejects })))
  assert.equal(report.rejectsFile, rejects)
  assert.deepEqual(readdirSync(folder).sort(), ["bad.jsonl.gz", "x.jsonl"])
  assert.throws(() => Jsonl.tee(file, { rejects: file }), RangeError)
})

testIn("write: no rows make an empty file", async (folder) => {
  await run(Stream.empty.pipe(Jsonl.write(join(folder, "x.jsonl"))))
  assert.deepEqual(readdirSync(folder), ["x.jsonl"])
})

testIn("write: a file that exists, rows or rejections, is an error before the stream runs", async (folder) => {
  const [file, rejects] = [join(folder, "x.jsonl"), join(folder, "x.rejects.jsonl")]
  for (const existing of [file, rejects]) {
    writeFileSync(existing, "old\n")
    const error = await run(Effect.flip(Jsonl.write(file)(Stream.die("the stream ran"))))
    assert.deepEqual([error.reason, error.file, error.message], [
      "exists",
      existing,
      `Cannot write ${existing}: it exists`
    ])
    assert.deepEqual(readdirSync(folder), [existing.slice(folder.length + 1)])
    assert.equal(readFileSync(existing, "utf8"), "old\n")
    rmSync(existing)
  }
})

testIn("write: replacing removes the rejections of an earlier run", async (folder) => {
  const file = join(folder, "x.jsonl")
  const write = (...results: ReadonlyArray<Result.Result<unknown, Rejection.Rejection>>) =>
    run(Stream.fromIterable(results).pipe(Jsonl.write(file, { existing: "replace" })))
  await write(Result.succeed("a long row"), Result.succeed(2), Result.fail(rejection(1)), Result.fail(rejection(2)))
  await write(Result.succeed(3), Result.fail(rejection(3)))
  assert.deepEqual(linesIn(file), [3])
  assert.deepEqual(linesIn(join(folder, "x.rejects.jsonl")), [rejection(3)])
  await write(Result.succeed(4))
  assert.deepEqual(linesIn(file), [4])
  assert.deepEqual(readdirSync(folder), ["x.jsonl"])
})

testIn("write: a stream that fails before its first row leaves what was to be replaced", async (folder) => {
  const file = join(folder, "x.jsonl")
  writeFileSync(file, "old\n")
  writeFileSync(join(folder, "x.rejects.jsonl"), "old\n")
  const input = Jsonl.read(join(folder, "none.jsonl"))
  const error = await run(Effect.flip(input.pipe(Jsonl.write(file, { existing: "replace" }))))
  assert.equal(error.reason, "not-found")
  assert.equal(readFileSync(file, "utf8"), "old\n")
  assert.equal(readFileSync(join(folder, "x.rejects.jsonl"), "utf8"), "old\n")
})

testIn(
  "write: a stream that fails leaves what was there, the rows before it in a partial file, and its error",
  async (folder) => {
    const file = join(folder, "x.jsonl")
    writeFileSync(file, "old\n")
    const rows = Stream.concat(
      Stream.make(Result.succeed(1), Result.fail(rejection(1)), Result.succeed(2)),
      Stream.fail("the server is gone" as const)
    )
    const failed = rows.pipe(Jsonl.write(file, { existing: "replace" }))
    assert.equal(await run(Effect.flip(failed)), "the server is gone")
    assert.equal(readFileSync(file, "utf8"), "old\n")
    assert.deepEqual(readdirSync(folder).sort(), ["x.jsonl", "x.jsonl.partial", "x.rejects.jsonl.partial"])
    assert.deepEqual(linesIn(`${file}.partial`), [1, 2])
    assert.deepEqual(linesIn(join(folder, "x.rejects.jsonl.partial")), [rejection(1)])
    // The next run replaces what is left over.
    await run(Stream.make(Result.succeed(3)).pipe(Jsonl.write(file, { existing: "replace" })))
    assert.deepEqual(linesIn(file), [3])
    assert.deepEqual(readdirSync(folder), ["x.jsonl"])
  }
)

testIn("tee: a stream that is left early is not complete", async (folder) => {
  const file = join(folder, "x.jsonl")
  const rows = Stream.range(1, 9).pipe(Stream.rechunk(2), Stream.map((n) => Result.succeed(n)), Jsonl.tee(file))
  await run(Stream.runDrain(Stream.take(rows, 3)))
  assert.deepEqual(readdirSync(folder), ["x.jsonl.partial"])
  assert.deepEqual(linesIn(`${file}.partial`), [1, 2, 3, 4])
})

testIn("write: a folder that is missing, or a folder in its place, is an error", async (folder) => {
  const file = join(folder, "none", "x.jsonl")
  const missing = await run(Effect.flip(Jsonl.write(file)(Stream.die("the stream ran"))))
  assert.equal(missing.reason, "not-found")
  assert.equal(missing.message, `Cannot write ${file}: its folder does not exist`)
  mkdirSync(join(folder, "x.jsonl"))
  const rows = Stream.make(Result.succeed(1))
  const blocked = await run(Effect.flip(rows.pipe(Jsonl.write(join(folder, "x.jsonl"), { existing: "replace" }))))
  assert.equal(blocked.reason, "unwritable")
  assert.match(blocked.message, /^Cannot write .*x\.jsonl: .+/)
})

testIn("write: a row that is not JSON is an error", async (folder) => {
  for (const [i, row] of [undefined, 5n].entries()) {
    const file = join(folder, `${i}.jsonl`)
    const error = await run(Effect.flip(Stream.make(Result.succeed(row)).pipe(Jsonl.write(file))))
    assert.ok(error instanceof StorageError)
    assert.equal(error.reason, "unwritable")
    assert.ok(error.message.startsWith(`Cannot write ${file}: `))
  }
})

// ---- interruption

/** Logs what is done with files; each write waits, when half of it is done, for `go`. */
const slowFiles = (log: Array<string>, started: Deferred.Deferred<void>, go: Deferred.Deferred<void>) =>
  Effect.map(FileSystem.FileSystem, (files): FileSystem.FileSystem => ({
    ...files,
    open: (path, options) =>
      Effect.acquireRelease(files.open(path, options), () => Effect.sync(() => log.push("close"))).pipe(
        Effect.map((file) => {
          const writeAll = (bytes: Uint8Array) =>
            Effect.gen(function* () {
              const half = bytes.length >> 1
              yield* file.writeAll(bytes.subarray(0, half))
              yield* Deferred.succeed(started, undefined)
              yield* Deferred.await(go)
              yield* file.writeAll(bytes.subarray(half))
              log.push("written")
            })
          return new Proxy(file, { get: (_, key) => key === "writeAll" ? writeAll : Reflect.get(file, key) })
        })
      )
  }))

testIn("interruption: a write that is under way is finished, and then the file is closed", async (folder) => {
  const file = join(folder, "x.jsonl")
  const log: Array<string> = []
  await run(Effect.gen(function* () {
    const started = yield* Deferred.make<void>()
    const go = yield* Deferred.make<void>()
    const files = yield* slowFiles(log, started, go)
    const rows = Stream.concat(Stream.make(Result.succeed(1), Result.succeed(2)), Stream.never)
    const writing = yield* rows.pipe(
      Jsonl.write(file),
      Effect.provideService(FileSystem.FileSystem, files),
      Effect.forkChild
    )
    yield* Effect.raceFirst(Deferred.await(started), Fiber.join(writing))
    const stopping = yield* Effect.forkChild(Fiber.interrupt(writing), { startImmediately: true })
    yield* Deferred.succeed(go, undefined)
    yield* Fiber.join(stopping)
  }))
  assert.deepEqual(log, ["written", "close"])
  assert.deepEqual(linesIn(`${file}.partial`), [1, 2])
})

testIn(
  "interruption: what the stream has given is in the partial files, whichever row it comes after",
  async (folder) => {
    for (const given of [0, 1, 2, 5]) {
      const file = join(folder, `${given}.jsonl`)
      await run(Effect.gen(function* () {
        const waiting = yield* Deferred.make<void>()
        const rows = Stream.range(1, 5).pipe(
          Stream.rechunk(1),
          Stream.map((n) => n === 3 ? Result.fail(rejection(n)) : Result.succeed(n)),
          Stream.take(given),
          Stream.concat(Stream.fromEffectDrain(Effect.andThen(Deferred.succeed(waiting, undefined), Effect.never)))
        )
        const writing = yield* Effect.forkChild(rows.pipe(Jsonl.write(file)))
        yield* Effect.raceFirst(Deferred.await(waiting), Fiber.join(writing))
        yield* Fiber.interrupt(writing)
      }))
      const written = [1, 2, 4, 5].filter((n) => n <= given)
      assert.equal(existsSync(file), false)
      assert.deepEqual(existsSync(`${file}.partial`) ? linesIn(`${file}.partial`) : [], written)
      assert.equal(existsSync(join(folder, `${given}.rejects.jsonl.partial`)), given >= 3)
    }
  }
)

// ---- real records

/** The samples in each file; what the rest of its lines lack was looked up: they were cut off, or hold no reasoning. */
const corpus: { readonly [file: string]: number } = {
  "misguided_attention_qwq32b.jsonl": 142,
  "misguided_attention_r1_0528.jsonl": 156,
  "misguided_attention_deephermes3.jsonl": 144,
  "misguided_attention_nemotron49b.jsonl": 141,
  "misguided_attention_r1_implant.jsonl": 39,
  "math500_deepseek_reasoner_api.jsonl": 20,
  "math500_r1_distill_qwen7b.jsonl": 19,
  "marco_o1_cot_demo.jsonl": 125,
  "grpo_codeswitch_zh_en.jsonl": 19,
  "deepseek_math_v2_proofs.jsonl": 0,
  "ruozhiba_zh_answers.jsonl": 0
}

test("real records: every line gives a sample or a rejection", async (t) => {
  const folder = process.env["INFTYTHINK_CORPUS"]
  if (folder === undefined) return t.skip("INFTYTHINK_CORPUS names no folder")
  for (const name of readdirSync(folder).filter((name) => name.endsWith(".jsonl"))) {
    const file = join(folder, name)
    const read = await readAll(file)
    assert.equal(read.length, readFileSync(file, "utf8").split("\n").filter((line) => line.trim() !== "").length, name)
    const samples = read.filter(Result.isSuccess).map(({ success }) => success)
    assert.ok(samples.length >= (corpus[name] ?? 0), `${name} gives ${samples.length} samples`)
    for (const { question, conclusion } of samples) assert.ok(question.length > 0 && /\S/.test(conclusion))
  }
})
