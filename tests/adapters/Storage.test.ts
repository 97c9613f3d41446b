import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib"
import * as Storage from "../../lib/adapters/Storage.ts"
import { cutBytes, run, runProgram, serveFiles, testIn } from "../support/files.ts"
import { law } from "../support/text.ts"

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)

const textOf = (chunks: ReadonlyArray<Uint8Array>): string => Buffer.concat(chunks).toString()

/** Reads chunks of bytes as a file. */
const readChunks = (
  chunks: ReadonlyArray<Uint8Array>,
  options?: Storage.StreamOptions
): Effect.Effect<ReadonlyArray<Uint8Array>, Storage.StorageError> =>
  Stream.runCollect(Storage.stream("x", options)).pipe(
    Effect.provide(FileSystem.layerNoop({ stream: () => Stream.fromIterable(chunks).pipe(Stream.rechunk(2)) }))
  )

const readAll = (name: string, options?: Storage.StreamOptions): Promise<string> =>
  run(Effect.map(Stream.runCollect(Storage.stream(name, options)), textOf))

const readError = (name: string): Promise<Storage.StorageError> =>
  run(Effect.flip(Stream.runDrain(Storage.stream(name))))

// ---- compression

/** Texts of no bytes, of few, of many that compress well, and of many that do not. */
const text = fc.oneof(
  fc.constantFrom("", "a", "line\n", "思".repeat(5000)),
  fc.nat().map((seed) => {
    let text = ""
    for (let state = seed; text.length < 3000; state = (Math.imul(state, 1103515245) + 12345) >>> 0) {
      text += String.fromCharCode(33 + (state >>> 20) % 90)
    }
    return text
  })
)

/** A frame of zstd that holds no data, as pzstd writes them. */
const skippable = (length: number): Uint8Array =>
  Uint8Array.from([0x5c, 0x2a, 0x4d, 0x18, length, 0, 0, 0, ...Array(length).fill(0x28)])

const CHECKSUM = { params: { 201: 1 } }

/** A frame of zstd made by hand: a raw block, and one of a repeated byte, with or without each part of its header. */
const handmade: fc.Arbitrary<readonly [text: string, bytes: Uint8Array]> = fc
  .tuple(fc.boolean(), fc.nat(3), fc.constantFrom("", "abc"), fc.integer({ min: 1, max: 40 }))
  .map(([isSingle, kind, raw, repeated]) => {
    const size = raw.length + repeated
    const contentSize = [isSingle ? [size] : [], [0, 0], [size, 0, 0, 0], [size, 0, 0, 0, 0, 0, 0, 0]][kind]!
    // A size of two bytes counts from 256.
    const known = kind === 1 ? [] : contentSize
    const descriptor = (isSingle && kind !== 1 ? 0x20 : 0) | (kind === 1 ? 0 : kind << 6)
    const window = (descriptor & 0x20) !== 0 ? [] : [0]
    const block = (isLast: boolean, type: number, length: number): ReadonlyArray<number> => {
      const header = (length << 3) | (type << 1) | (isLast ? 1 : 0)
      return [header & 255, (header >> 8) & 255, header >> 16]
    }
    const content = (descriptor & 0x20) === 0 && kind === 0 ? [] : known
    return [
      raw + "z".repeat(repeated),
      Uint8Array.from([
        ...[0x28, 0xb5, 0x2f, 0xfd, descriptor, ...window, ...content],
        ...[...block(false, 0, raw.length), ...bytesOf(raw), ...block(true, 1, repeated), 0x7a]
      ])
    ]
  })

/** A file: what is in it, and its bytes, plain or compressed, whole or in several members or frames. */
const file: fc.Arbitrary<readonly [text: string, bytes: Uint8Array]> = fc.oneof(
  text.map((text) => [text, bytesOf(text)] as const),
  fc.array(text, { minLength: 1, maxLength: 3 }).map((texts) =>
    [texts.join(""), Buffer.concat(texts.map((text) => gzipSync(text)))] as const
  ),
  fc.array(
    fc.oneof(
      text.map((text) => [text, zstdCompressSync(text)] as const),
      text.map((text) => [text, zstdCompressSync(text, CHECKSUM)] as const),
      handmade,
      fc.constantFrom(0, 5).map((length) => ["", skippable(length)] as const)
    ),
    { minLength: 1, maxLength: 4 }
  ).map((frames) => [frames.map(([text]) => text).join(""), Buffer.concat(frames.map(([, bytes]) => bytes))] as const)
)

/** Ways to cut a file into chunks. */
const places = fc.array(fc.nat(400), { maxLength: 6 })

test("compression: what is in a file is read, wherever its bytes are cut", async () => {
  const property = fc.asyncProperty(file, places, async ([text, bytes], places) => {
    assert.equal(textOf(await Effect.runPromise(readChunks([bytes]))), text)
    assert.equal(textOf(await Effect.runPromise(readChunks(cutBytes(bytes, places)))), text)
    const small = bytes.subarray(0, 400)
    if (small.length < bytes.length) return
    assert.equal(textOf(await Effect.runPromise(readChunks(cutBytes(small, [...small.keys()])))), text)
  })
  await fc.assert(property, { numRuns: 150 })
})

const piecesOf = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<Storage.Piece> => {
  const machine = Storage.makePieces()
  return [...chunks.flatMap((chunk) => machine.feed(chunk)), ...machine.end()]
}

/** The bytes between the ends of frames, and the ends. */
const outline = (pieces: ReadonlyArray<Storage.Piece>): ReadonlyArray<string> => {
  const frames: Array<string> = [""]
  for (const { compression, bytes, end } of pieces) {
    if (bytes.length > 0) frames.push(frames.pop()! + Buffer.from(bytes).toString("latin1"))
    if (end !== undefined) frames.push(`${compression} ${end}`, "")
  }
  return frames
}

law("pieces: where the bytes are cut changes no byte and no end", fc.tuple(file, places), ([[, bytes], places]) => {
  const whole = outline(piecesOf([bytes]))
  assert.deepEqual(outline(piecesOf(cutBytes(bytes, places))), whole)
  assert.deepEqual(outline(piecesOf(cutBytes(bytes, [...bytes.keys()]))), whole)
})

law("bound: a piece of zstd holds no more than one block, and of gzip 4096 bytes", fc.nat(5), (size) => {
  const zeros = Buffer.alloc(size * 1_000_000)
  const zstd = piecesOf([zstdCompressSync(zeros)])
  // A block is 128 KB at most.
  assert.ok(zstd.length >= zeros.length / 131_072)
  for (const { bytes } of piecesOf([gzipSync(zeros)])) assert.ok(bytes.length <= 4096)
}, 6)

test("compression: a file that breaks off is an error, wherever it does", async () => {
  const frame = zstdCompressSync("thought ".repeat(100), CHECKSUM)
  const files = [
    [gzipSync("thought ".repeat(100)), []],
    [Buffer.concat([gzipSync("a"), gzipSync("b")]), [gzipSync("a").length]],
    [Buffer.concat([frame, skippable(9), frame]), [frame.length, frame.length + 17]]
  ] as const
  for (const [bytes, ends] of files) {
    // The first three bytes do not yet tell zstd from text.
    for (let length = 4; length < bytes.length; length++) {
      const exit = await Effect.runPromise(Effect.result(readChunks([bytes.subarray(0, length)])))
      assert.equal(exit._tag, (ends as ReadonlyArray<number>).includes(length) ? "Success" : "Failure", `${length}`)
      if (exit._tag === "Failure") assert.equal(exit.failure.reason, "unreadable")
    }
  }
})

test("compression: bytes that are damaged, and what stands behind a frame, are errors", async () => {
  const frame = zstdCompressSync("thought ".repeat(100), CHECKSUM)
  const damaged = Uint8Array.from(frame)
  damaged[damaged.length - 1]! ^= 1
  for (
    const bytes of [damaged, Buffer.concat([frame, bytesOf("garbage")]), Buffer.concat([gzipSync("a"), bytesOf("gar")])]
  ) {
    const error = await Effect.runPromise(Effect.flip(readChunks([bytes])))
    assert.equal(error.reason, "unreadable")
    assert.match(error.message, /^Cannot read x: .+/)
  }
})

test("progress: the bytes that are read add up to the file's", async () => {
  const bytes = gzipSync("思考".repeat(1000))
  let read = 0
  await Effect.runPromise(readChunks(cutBytes(bytes, [3, 10, 11]), { onRead: (bytes) => read += bytes }))
  assert.equal(read, bytes.length)
})

test("laziness: no more is read than is asked for", async () => {
  let read = 0
  const chunk = gzipSync("line\n".repeat(100))
  const files = FileSystem.layerNoop({
    stream: () =>
      Stream.range(1, 1000).pipe(
        Stream.rechunk(1),
        Stream.map(() => {
          read++
          return chunk
        })
      )
  })
  await Storage.stream("x").pipe(Stream.take(3), Stream.runDrain, Effect.provide(files), Effect.runPromise)
  assert.ok(read <= 4, `${read} chunks were read`)
})

// ---- writing

const write = (name: string, ...texts: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const target = yield* Storage.create(name)
    for (const text of texts) yield* target.write(bytesOf(text))
    return target
  })

testIn("create: a name says how its file is compressed, and others can read it", async (folder) => {
  const decoders = { "x.jsonl": (bytes: Buffer) => bytes, "x.gz": gunzipSync, "x.zst": zstdDecompressSync }
  for (const [name, decode] of Object.entries(decoders)) {
    const path = join(folder, name)
    await run(Effect.scoped(Effect.flatMap(write(path, "a\n", "思\n".repeat(100_000), ""), ({ commit }) => commit)))
    assert.equal(decode(readFileSync(path)).toString(), `a\n${"思\n".repeat(100_000)}`)
    assert.equal(await readAll(path), `a\n${"思\n".repeat(100_000)}`)
  }
  assert.deepEqual(readdirSync(folder).sort(), ["x.gz", "x.jsonl", "x.zst"])
})

testIn("create: what is not committed is ended as a partial file, and the name keeps its own", async (folder) => {
  for (const name of ["x.jsonl", "x.gz", "x.zst"]) {
    const path = join(folder, name)
    writeFileSync(path, "old")
    await run(Effect.scoped(write(path, "a\n", "b\n")))
    assert.equal(readFileSync(path, "utf8"), "old")
    assert.equal(await readAll(`${path}.partial`), "a\nb\n")
    await run(Effect.scoped(write(path, "c\n")))
    assert.equal(await readAll(`${path}.partial`), "c\n")
  }
})

// ---- any order

const sliced = (name: string, ...ranges: ReadonlyArray<readonly [start: number, end?: number]>) =>
  Effect.scoped(Effect.gen(function* () {
    const { byteLength, slice } = yield* Storage.source(name)
    const parts = yield* Effect.promise(() => Promise.all(ranges.map((range) => slice(...range))))
    return [byteLength, ...parts.map((part) => Buffer.from(part).toString())]
  }))

testIn("source: bytes of a file in any order", async (folder) => {
  const path = join(folder, "x")
  writeFileSync(path, "0123456789")
  assert.deepEqual(await run(sliced(path, [7, 9], [0, 3], [4], [5, 5])), [10, "78", "012", "456789", ""])
  const short = await run(
    Effect.scoped(Effect.gen(function* () {
      const { slice } = yield* Storage.source(path)
      return yield* Effect.flip(
        Effect.tryPromise({ try: () => slice(8, 12), catch: (cause) => cause })
      )
    }))
  )
  assert.ok(short instanceof Storage.StorageError)
  assert.equal(short.message, `Cannot read ${path}: it ends before byte 12`)
  const missing = await run(Effect.flip(sliced(join(folder, "none"))))
  assert.equal(missing.reason, "not-found")
})

test("source: bytes of an address in any order, by ranges", async () => {
  await using server = await serveFiles({ "/x": bytesOf("0123456789") })
  assert.deepEqual(await run(sliced(`${server.url}/x?v=1`, [7, 9], [0, 3], [5, 5])), [10, "78", "012", ""])
  assert.deepEqual([...server.asked].sort(), ["/x?v=1 bytes=0-0", "/x?v=1 bytes=0-2", "/x?v=1 bytes=7-8"])
})

test("source: a server that gives no parts, and standard input, are errors", async () => {
  await using server = await serveFiles({ "/x": bytesOf("0123456789") }, "whole")
  const error = await run(Effect.flip(sliced(`${server.url}/x`)))
  assert.equal(error.message, `Cannot read ${server.url}/x: its server gives no part of a file; download it first`)
  assert.equal((await run(Effect.flip(sliced("-")))).reason, "unreadable")
})

// ---- addresses

test("stream: an address is read, compressed or not", async () => {
  const text = "思考\n".repeat(50_000)
  await using server = await serveFiles({ "/a.jsonl": bytesOf(text), "/a.jsonl.zst": zstdCompressSync(text) })
  assert.equal(await readAll(`${server.url}/a.jsonl`), text)
  assert.equal(await readAll(`${server.url}/a.jsonl.zst?download=true`), text)
})

test("stream: an address that is not there, breaks off, or does not answer is an error", async () => {
  await using server = await serveFiles({ "/a": bytesOf("x".repeat(100_000)) }, "breaks")
  const missing = await readError(`${server.url}/none`)
  assert.deepEqual([missing.reason, missing.message], [
    "not-found",
    `Cannot read ${server.url}/none: its server answered with 404`
  ])
  assert.equal((await readError(`${server.url}/a`)).reason, "unreadable")
  assert.equal((await readError("http://127.0.0.1:1/a")).reason, "unreadable")
})

test("size: of an address, whether its server gives parts or not; of standard input it is not known", async () => {
  for (const manner of ["ranges", "whole"] as const) {
    await using server = await serveFiles({ "/x": bytesOf("0123456789") }, manner)
    assert.equal(await run(Storage.size(`${server.url}/x`)), 10)
  }
  assert.equal(await run(Storage.size("-")), undefined)
})

testIn("size: of a file its bytes, compressed where it is", async (folder) => {
  writeFileSync(join(folder, "x.gz"), gzipSync("a".repeat(1000)))
  assert.equal(await run(Storage.size(join(folder, "x.gz"))), gzipSync("a".repeat(1000)).length)
  mkdirSync(join(folder, "y"))
  assert.equal(await run(Storage.size(join(folder, "y"))), undefined)
  assert.equal((await run(Effect.flip(Storage.size(join(folder, "none"))))).reason, "not-found")
  assert.equal(existsSync(join(folder, "none")), false)
})

test("addresses: a server that is busy is asked again, and one that has no such file is not", async () => {
  await using server = await serveFiles({ "/x": bytesOf("some text") }, "busy")
  assert.equal(await readAll(`${server.url}/x`), "some text")
  assert.equal(server.asked.length, 3)
  assert.equal((await readError(`${server.url}/y`)).reason, "not-found")
  assert.equal(server.asked.length, 4)
})

testIn("create: two at once are not mixed, and what a process that is gone has left is taken over", async (folder) => {
  const file = join(folder, "x.jsonl")
  const second = await run(Effect.scoped(Effect.gen(function* () {
    const target = yield* Storage.create(file)
    yield* target.write(bytesOf("first"))
    const error = yield* Effect.flip(Effect.scoped(Storage.create(file)))
    yield* target.commit
    return error
  })))
  assert.deepEqual([second.reason, second.message.includes("has it open")], ["locked", true])
  assert.equal(readFileSync(file, "utf8"), "first")
  writeFileSync(`${file}.partial.lock`, JSON.stringify({ process: 2 ** 22 - 1, host: hostname() }))
  await run(Effect.scoped(Effect.flatMap(Storage.create(file), ({ commit }) => commit)))
  assert.deepEqual(readdirSync(folder), ["x.jsonl"])
})

// ---- standard streams

testIn("standard streams: what comes in goes out, decompressed", async (folder) => {
  const text = "思考\n".repeat(100_000)
  const program = `Effect.scoped(Effect.gen(function* () {
    const target = yield* Storage.create("-")
    const error = yield* Storage.create("/dev/stderr")
    yield* Stream.runForEach(Storage.stream("-"), target.write)
    yield* error.write(new TextEncoder().encode("done"))
    yield* target.commit
    yield* error.commit
  }))`
  assert.deepEqual(await runProgram(folder, "Storage", program, zstdCompressSync(text)), {
    code: 0,
    stdout: text,
    stderr: "done"
  })
  assert.deepEqual(readdirSync(folder), [])
})
