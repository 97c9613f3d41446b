/**
 * Arrow IPC files, as `datasets.save_to_disk` and Feather write them: samples are read from them.
 *
 * The package apache-arrow does it, and is installed by those who need it.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { RecordBatch } from "apache-arrow"
import type * as Rejection from "../core/Rejection.ts"
import type { Sample } from "../core/Sample.ts"
import * as Machine from "../Machine.ts"
import * as Record from "./Record.ts"
import * as Storage from "./Storage.ts"

/** How to read a file. */
export interface ReadOptions extends Omit<Record.Options, "place">, Storage.StreamOptions {}

/**
 * Reads the samples of a file, in the stream or the file format, one record batch at a time; a row that holds none
 * gives a rejection, whose line is the row's number, from 1.
 *
 * The file may be compressed, be `-` for standard input, or an address. Of columns in which no sample can be, the bytes
 * are read, and no values made.
 */
export const read = (
  path: string,
  { onRead, ...options }: ReadOptions = {}
): Stream.Stream<Result.Result<Sample, Rejection.Rejection>, Storage.StorageError, FileSystem.FileSystem> =>
  Stream.unwrap(Effect.gen(function* () {
    const file = Storage.nameOf(path)
    const arrow = yield* Effect.tryPromise({
      try: () => import("apache-arrow"),
      catch: (cause) =>
        new Storage.StorageError({
          reason: "missing",
          file,
          message: `Cannot read ${file}: the package apache-arrow is not installed`,
          cause
        })
    })
    const attempt = <A>(run: () => Promise<A> | A, at = "") =>
      Effect.tryPromise({
        try: async () => await run(),
        catch: (cause) => Storage.errorOf("read", path, cause, at)
      })
    const bytes = Storage.stream(path, { ...onRead && { onRead } }).pipe(
      Machine.stream(makeBody)
    )
    const context = yield* Effect.context<FileSystem.FileSystem>()
    const reader = yield* Effect.acquireRelease(
      attempt(() => arrow.RecordBatchReader.from(Stream.toAsyncIterableWith(bytes, context))),
      (reader) => Effect.promise(async () => await reader.cancel())
    )
    yield* attempt(() => reader.open())
    if (reader.schema === undefined) return yield* attempt(() => Promise.reject(new Error("it is no Arrow file")))
    const columns = [...Record.columns(reader.schema.names.map(String), options)]

    const readBatch = Effect.fnUntraced(function* ({ row, index }: Position) {
      const step = yield* attempt(() => reader.next(), `record batch ${index + 1}: `)
      if (step.done) return undefined
      const batch: RecordBatch = step.value
      const records = yield* attempt(() => batch.select(columns).toArray().map(plain), `record batch ${index + 1}: `)
      const results = records.flatMap((record, i) =>
        Record.read(record, { ...options, place: { file, line: row + i + 1 } })
      )
      return [results, { row: row + batch.numRows, index: index + 1 }] as const
    })
    return Stream.unfold({ row: 0, index: 0 }, readBatch).pipe(Stream.flattenIterable)
  }))

/** How far a file is read: rows and record batches. */
interface Position {
  readonly row: number
  readonly index: number
}

/**
 * Makes a machine that takes away what the file format has before the stream in it, behind which is but an index: both
 * formats are read in one pass, without holding more than a batch.
 */
const makeBody = (): Machine.Machine<Uint8Array, Uint8Array> => {
  let head: Uint8Array | undefined = new Uint8Array(0)
  const start = (): ReadonlyArray<Uint8Array> => {
    const all = head!
    head = undefined
    return [MAGIC.every((byte, i) => all[i] === byte) ? all.subarray(MAGIC.length) : all]
  }
  return {
    feed: (chunk) => {
      if (head === undefined) return [chunk]
      head = Storage.concat([head, chunk])
      return head.length < MAGIC.length ? [] : start()
    },
    end: () => head === undefined ? [] : start()
  }
}

/** `ARROW1`, filled up to 8 bytes. */
const MAGIC = [0x41, 0x52, 0x52, 0x4f, 0x57, 0x31, 0, 0]

/** Turns rows and vectors into objects and arrays. */
const plain = (value: unknown): unknown => {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value
  if (value instanceof Date) return value.toISOString()
  // Vectors of numbers give typed arrays, others an array, when they are iterated.
  if (Symbol.iterator in value && "length" in value) return Array.from(value as Iterable<unknown>, plain)
  const fields = "toJSON" in value && typeof value.toJSON === "function" ? value.toJSON() : value
  return Object.fromEntries(Object.entries(fields as object).map(([name, inner]) => [name, plain(inner)]))
}
