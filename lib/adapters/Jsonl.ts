/**
 * JSON Lines files: samples are read from them, rows and rejections are written to them.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Rejection from "../core/Rejection.ts"
import type { Sample } from "../core/Sample.ts"
import * as Machine from "../Machine.ts"
import * as Record from "./Record.ts"

/** How to read a file. */
export interface ReadOptions extends Omit<Record.Options, "place"> {
  /** The most bytes before a newline; a longer line is rejected and not kept in memory; 100 MB by default. */
  readonly maxLineBytes?: number
}

/**
 * Reads the samples of a file, one a line; a line that holds none gives a rejection with its number.
 *
 * No more is held in memory than what was read at once and the longest line. Blank lines are skipped. Throws a
 * RangeError where `maxLineBytes` is no length of a line.
 */
export const read = (
  path: string,
  { maxLineBytes = 100_000_000, ...columns }: ReadOptions = {}
): Stream.Stream<Result.Result<Sample, Rejection.Rejection>, JsonlError, FileSystem.FileSystem> => {
  checkLength(maxLineBytes)
  return Stream.unwrap(Effect.map(FileSystem.FileSystem, (files) => files.stream(path))).pipe(
    Stream.mapError((cause) => errorOf("read", path, cause)),
    Machine.stream(() => makeLines(maxLineBytes)),
    Stream.map((line) => readLine(line, maxLineBytes, { ...columns, place: { file: path, line: line.number } })),
    Stream.flattenIterable
  )
}

/** How to write a file. */
export interface WriteOptions {
  /** Whether a file that is there already, rows or rejections, is an error, the default, or is replaced. */
  readonly existing?: "fail" | "replace"
}

/** What was written. */
export interface Report {
  /** The file with the rows. */
  readonly file: string
  /** The number of rows. */
  readonly written: number
  /** The file with the rejections, which is there only if there were any. */
  readonly rejectsFile: string
  /** The number of rejections for each reason. */
  readonly rejected: { readonly [reason in Rejection.Reason]?: number }
}

/** Writes as `tee` does, and says what was written. */
export const write = (path: string, options?: WriteOptions) =>
<Row, E, R>(
  rows: Stream.Stream<Result.Result<Row, Rejection.Rejection>, E, R>
): Effect.Effect<Report, E | JsonlError, R | FileSystem.FileSystem> =>
  Effect.suspend(() => {
    const rejected: { [reason in Rejection.Reason]?: number } = {}
    let written = 0
    const count = (result: Result.Result<Row, Rejection.Rejection>): void => {
      if (Result.isSuccess(result)) written++
      else rejected[result.failure.reason] = (rejected[result.failure.reason] ?? 0) + 1
    }
    return tee(path, options)(rows).pipe(
      Stream.runForEach((result) => Effect.sync(() => count(result))),
      Effect.map(() => ({ file: path, written, rejectsFile: rejectsFileOf(path), rejected }))
    )
  })

/**
 * Writes rows to `x.jsonl` and rejections to `x.rejects.jsonl`, one a line, in order and as they come, and gives them on
 * when they are written.
 *
 * Each array of the stream is written whole, so that interruption leaves only whole lines. The files are opened with
 * the first array: what is to be replaced stays if the stream fails before it.
 */
export const tee = (path: string, { existing = "fail" }: WriteOptions = {}) =>
<Row, E, R>(
  rows: Stream.Stream<Result.Result<Row, Rejection.Rejection>, E, R>
): Stream.Stream<Result.Result<Row, Rejection.Rejection>, E | JsonlError, R | FileSystem.FileSystem> =>
  Stream.unwrap(Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const scope = yield* Effect.scope
    const rejectsFile = rejectsFileOf(path)

    const attempt = <A, R>(effect: Effect.Effect<A, PlatformError.PlatformError, R>, file = path) =>
      Effect.mapError(effect, (cause) => errorOf("write", file, cause))

    const open = (file: string) =>
      attempt(files.open(file, { flag: existing === "fail" ? "wx" : "w" }), file).pipe(Scope.provide(scope))

    const openRows = Effect.gen(function* () {
      if (existing === "replace") yield* attempt(files.remove(rejectsFile, { force: true }), rejectsFile)
      return yield* open(path)
    })

    // Rows cost calls to a model: what would stop them from being written is found out before the first one.
    for (const file of existing === "fail" ? [path, rejectsFile] : []) {
      if (yield* attempt(files.exists(file), file)) {
        return yield* new JsonlError({ reason: "exists", file, message: `Cannot write ${file}: it exists` })
      }
    }
    const folder = path.slice(0, path.lastIndexOf("/") + 1)
    yield* attempt(files.access(folder === "" ? "." : folder))

    let main: FileSystem.File | undefined
    let rejects: FileSystem.File | undefined
    const append = (results: ReadonlyArray<Result.Result<Row, Rejection.Rejection>>) =>
      Effect.gen(function* () {
        const values = results.filter(Result.isSuccess).map(({ success }) => success)
        const rejections = results.filter(Result.isFailure).map(({ failure }) => failure)
        main ??= yield* openRows
        yield* attempt(main.writeAll(yield* render(path, values)))
        if (rejections.length === 0) return
        rejects ??= yield* open(rejectsFile)
        yield* attempt(rejects.writeAll(yield* render(rejectsFile, rejections)), rejectsFile)
      })

    return rows.pipe(
      // A write that is under way is finished before the files are closed.
      Stream.mapArrayEffect((results) => Effect.as(Effect.uninterruptible(append(results)), results)),
      Stream.onEnd(Effect.suspend(() => main === undefined ? openRows : Effect.void))
    )
  }))

/** The file beside a file of rows that its rejections go to. */
export const rejectsFileOf = (path: string): string => `${path.replace(/\.jsonl$/, "")}.rejects.jsonl`

interface Fields {
  /**
   * `not-found`: the file, or the folder to write it to, is not there; `exists`: the file to write is; `unreadable` and
   * `unwritable`: anything else.
   */
  readonly reason: "not-found" | "exists" | "unreadable" | "unwritable"
  /** The file. */
  readonly file: string
  /** A sentence that reads "Cannot …: …". */
  readonly message: string
  /** What lies behind. */
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "JsonlError" } = Data
  .TaggedError("JsonlError")

/** A file could not be read or written. */
export class JsonlError extends Base {}

/** A line of a file. */
export interface Line {
  /** Its number, from 1. */
  readonly number: number
  /** The number of bytes before its newline. */
  readonly length: number
  /** Its bytes without line break and byte order mark; left out where they are too many. */
  readonly bytes?: Uint8Array
}

/** A cutter of bytes into lines; where the bytes are cut into chunks changes nothing. */
export interface Lines {
  /** Reads more bytes, which must not change afterwards, and gives the lines that end in them. */
  readonly feed: (chunk: Uint8Array) => Array<Line>
  /** Ends the input, and gives the last line if it has no newline. */
  readonly end: () => Array<Line>
}

/**
 * Makes a cutter of bytes into lines, which end with `\n` or `\r\n`; of one with more than `maxLineBytes` none is kept.
 *
 * Throws a RangeError where `maxLineBytes` is no length of a line.
 */
export const makeLines = (maxLineBytes: number): Lines => {
  checkLength(maxLineBytes)
  let number = 0
  // The line so far, in the pieces that it came in: joined once, so that a long line costs no more than its length.
  let parts: Array<Uint8Array> = []
  let length = 0

  const add = (part: Uint8Array): void => {
    length += part.length
    if (length <= maxLineBytes) parts.push(part)
    else parts = []
  }

  const take = (): Line => {
    number += 1
    const line = length > maxLineBytes
      ? { number, length }
      : { number, length, bytes: trim(concat(parts), number === 1) }
    parts = []
    length = 0
    return line
  }

  return {
    feed: (chunk) => {
      const lines: Array<Line> = []
      let from = 0
      for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
        add(chunk.subarray(from, at))
        lines.push(take())
        from = at + 1
      }
      if (from < chunk.length) add(chunk.subarray(from))
      return lines
    },
    end: () => length === 0 ? [] : [take()]
  }
}

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]

/** Takes the rest of the line break, and from the first line the byte order mark, away. */
const trim = (bytes: Uint8Array, isFirst: boolean): Uint8Array => {
  const from = isFirst && BYTE_ORDER_MARK.every((byte, i) => bytes[i] === byte) ? BYTE_ORDER_MARK.length : 0
  return bytes.subarray(from, bytes.at(-1) === CARRIAGE_RETURN ? -1 : undefined)
}

const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  if (parts.length === 1) return parts[0]!
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

// The longest string of V8 has 2^29 - 24 code units.
const checkLength = (maxLineBytes: number): void => {
  if (!Number.isInteger(maxLineBytes) || maxLineBytes < 1 || maxLineBytes > 2 ** 29 - 24) {
    throw new RangeError(`Cannot read lines: maxLineBytes is ${maxLineBytes}, not a whole number from 1 to 536870888`)
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

/** Reads one line: a sample or a rejection, or nothing where it is blank. */
const readLine = (
  { bytes, length }: Line,
  maxLineBytes: number,
  options: Record.Options & { readonly place: Rejection.Place }
): ReadonlyArray<Result.Result<Sample, Rejection.Rejection>> => {
  const reject = (
    reason: Rejection.Reason,
    detail: string
  ) => [Result.fail(Rejection.make(reason, detail, options.place))]
  if (bytes === undefined) return reject("line-too-long", `The line has ${length} bytes, more than ${maxLineBytes}`)
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    return reject("invalid-utf8", "The line is not UTF-8")
  }
  if (/^[ \t\r]*$/.test(text)) return []
  let record: unknown
  try {
    record = JSON.parse(text)
  } catch (cause) {
    return reject("invalid-json", `The line is not JSON: ${messageOf(cause)}`)
  }
  return Record.read(record, options)
}

/** Renders values as lines of JSON. */
const render = (file: string, values: ReadonlyArray<unknown>): Effect.Effect<Uint8Array, JsonlError> =>
  Effect.try({
    try: () =>
      concat(values.map((value) => {
        const json = JSON.stringify(value)
        if (json === undefined) throw new TypeError(`${String(value)} is not JSON`)
        return encoder.encode(`${json}\n`)
      })),
    catch: (cause) =>
      new JsonlError({ reason: "unwritable", file, message: `Cannot write ${file}: ${messageOf(cause)}`, cause })
  })

const errorOf = (action: "read" | "write", file: string, cause: PlatformError.PlatformError): JsonlError => {
  const error = (reason: JsonlError["reason"], state: string): JsonlError =>
    new JsonlError({ reason, file, message: `Cannot ${action} ${file}: ${state}`, cause })
  switch (cause.reason._tag) {
    case "NotFound":
      return error("not-found", action === "read" ? "it does not exist" : "its folder does not exist")
    case "AlreadyExists":
      return error("exists", "it exists")
    default:
      return error(action === "read" ? "unreadable" : "unwritable", messageOf(cause.reason.cause ?? cause.reason))
  }
}

const messageOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)
