/**
 * JSON Lines files: samples are read from them, rows and rejections are written to them. What begins with `[` is read as
 * one JSON array, element by element.
 *
 * @module
 */
import type * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Rejection from "../core/Rejection.ts"
import type { Sample } from "../core/Sample.ts"
import * as Machine from "../Machine.ts"
import * as Record from "./Record.ts"
import * as Sink from "./Sink.ts"
import * as Storage from "./Storage.ts"

/** How to read a file. */
export interface ReadOptions extends Omit<Record.Options, "place">, Storage.StreamOptions {
  /** The most bytes before a newline, or in an element of an array; a longer one is rejected and not kept in memory; 100 MB by default. */
  readonly maxLineBytes?: number
}

/**
 * Reads the samples of a file, one a line; a line that holds none gives a rejection with its number.
 *
 * The file may be compressed with gzip or zstd, and be `-` for standard input, or an address. No more is held in memory than what was read at once and the longest line. Blank lines are skipped. Throws a
 * RangeError where `maxLineBytes` is no length of a line.
 */
export const read = (
  path: string,
  { onRead, ...options }: ReadOptions = {}
): Stream.Stream<Result.Result<Sample, Rejection.Rejection>, Storage.StorageError, FileSystem.FileSystem> =>
  readLines(path, { ...options, ...onRead && { onRead } }).pipe(
    Stream.map((line) => parse(line, path, options)),
    Stream.flattenIterable
  )

/** Reads the lines of a file, or the elements of its array, as `read` does. */
export const readLines = (
  path: string,
  { maxLineBytes = MOST, onRead }: Pick<ReadOptions, "maxLineBytes" | "onRead"> = {}
): Stream.Stream<Line, Storage.StorageError, FileSystem.FileSystem> => {
  checkLength(maxLineBytes)
  return Machine.stream(() => makeRecords(maxLineBytes))(Storage.stream(path, { ...onRead && { onRead } }))
}

/** Writes rows and rejections as lines of JSON, and says what was written. */
export const write = (path: string, options?: Sink.Options): Sink.Write => Sink.write(path, Sink.lines, options)

/**
 * Writes rows to `x.jsonl` and rejections to `x.rejects.jsonl`, one a line, in order and as they come, and gives them on
 * when they are written.
 *
 * What ends in `.gz` or `.zst` is compressed; `-` is standard output. Both files are written as `<name>.partial`, and
 * renamed when the stream has ended; where it fails, is interrupted or is left early, the partial files hold whole
 * lines, and what stood at the names is untouched.
 */
export const tee = (path: string, options?: Sink.Options): Sink.Tee => Sink.tee(path, Sink.lines, options)

/** A line of a file, or an element of an array. */
export interface Line {
  /** Its number, from 1; of an element, the number of the line it begins in. */
  readonly number: number
  /** Of an element, its place in the array, from 1: several may begin in one line. */
  readonly element?: number
  /** The number of bytes before its newline, or of its own. */
  readonly length: number
  /** Its bytes without line break and byte order mark; left out where they are too many. */
  readonly bytes?: Uint8Array
}

/** Reads the samples of a line of a file, or says what it lacks; none where it is blank. */
export const parse = (
  { number, element, bytes, length }: Line,
  path: string,
  { maxLineBytes = MOST, ...columns }: Omit<ReadOptions, "onRead"> = {}
): ReadonlyArray<Result.Result<Sample, Rejection.Rejection>> => {
  const file = Storage.nameOf(path)
  const id = element === undefined ? {} : { id: `${Record.labelOf(file, columns.root)}#${element}` }
  const place = { file, line: number, ...id }
  const reject = (reason: Rejection.Reason, detail: string) => [Result.fail(Rejection.make(reason, detail, place))]
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
  return Record.read(record, { ...columns, place })
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
      : { number, length, bytes: trim(Storage.concat(parts), number === 1) }
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

/**
 * Makes a cutter of bytes into the elements of a JSON array; of one with more than `maxLineBytes` none is kept.
 *
 * What is no array, because it lacks its end or there is more behind it, gives a line that is no JSON. Throws a
 * RangeError where `maxLineBytes` is no length of a line.
 */
export const makeElements = (maxLineBytes: number): Lines => {
  checkLength(maxLineBytes)
  let line = 1
  /** How many brackets are open: in the array one, behind it none. */
  let depth = 0
  let inString = false
  let isEscaped = false
  let count = 0
  /** The element so far; `number` is undefined before its first byte. */
  let number: number | undefined
  let parts: Array<Uint8Array> = []
  let length = 0

  const add = (part: Uint8Array): void => {
    if (number === undefined) return
    length += part.length
    if (length <= maxLineBytes) parts.push(part)
    else parts = []
  }

  const take = (): ReadonlyArray<Line> => {
    if (number === undefined) return []
    const element = { number, element: ++count, length, ...length <= maxLineBytes && { bytes: Storage.concat(parts) } }
    number = undefined
    parts = []
    length = 0
    return [element]
  }

  return {
    feed: (chunk) => {
      const elements: Array<Line> = []
      let from = 0
      for (let at = 0; at < chunk.length; at++) {
        const byte = chunk[at]!
        if (byte === NEWLINE) line++
        if (inString) {
          if (isEscaped) isEscaped = false
          else if (byte === BACKSLASH) isEscaped = true
          else if (byte === QUOTE) inString = false
          continue
        }
        if (isBlank(byte)) continue
        const isEnd = depth === 1 && (byte === COMMA || byte === CLOSING_BRACKET)
        if (isEnd) {
          add(chunk.subarray(from, at))
          elements.push(...take())
        } else if (number === undefined && (depth > 0 || byte !== OPENING_BRACKET)) {
          number = line
          from = at
        }
        if (byte === QUOTE) inString = true
        else if (byte === OPENING_BRACKET || byte === OPENING_BRACE) depth++
        else if (byte === CLOSING_BRACKET || byte === CLOSING_BRACE) depth--
      }
      add(chunk.subarray(from))
      return elements
    },
    // An array that is not closed gives its bracket, which is no JSON.
    end: () => [...take(), ...depth > 0 ? [{ number: line, length: 1, bytes: UNCLOSED }] : []]
  }
}

/** Makes a cutter into elements where the first byte is a bracket, and else into lines. */
const makeRecords = (maxLineBytes: number): Lines => {
  let machine: Lines | undefined
  let head: Uint8Array = new Uint8Array(0)
  const start = (): Array<Line> => {
    const isArray = withoutMark(head)[0] === OPENING_BRACKET
    machine = isArray ? makeElements(maxLineBytes) : makeLines(maxLineBytes)
    return machine.feed(isArray ? withoutMark(head) : head)
  }
  return {
    feed: (chunk) => {
      if (machine !== undefined) return machine.feed(chunk)
      head = Storage.concat([head, chunk])
      return head.length <= BYTE_ORDER_MARK.length ? [] : start()
    },
    end: () => machine === undefined ? [...start(), ...machine!.end()] : machine.end()
  }
}

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d
const QUOTE = 0x22
const COMMA = 0x2c
const OPENING_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSING_BRACKET = 0x5d
const OPENING_BRACE = 0x7b
const CLOSING_BRACE = 0x7d
const UNCLOSED: Uint8Array = Uint8Array.of(OPENING_BRACKET)
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]

const isBlank = (byte: number): boolean =>
  byte === 0x20 || byte === 0x09 || byte === NEWLINE || byte === CARRIAGE_RETURN

/** Takes the rest of the line break, and from the first line the byte order mark, away. */
const trim = (bytes: Uint8Array, isFirst: boolean): Uint8Array =>
  (isFirst ? withoutMark(bytes) : bytes).subarray(0, bytes.at(-1) === CARRIAGE_RETURN ? -1 : undefined)

const withoutMark = (bytes: Uint8Array): Uint8Array =>
  BYTE_ORDER_MARK.every((byte, i) => bytes[i] === byte) ? bytes.subarray(BYTE_ORDER_MARK.length) : bytes

/** The most bytes of a line where nothing else is said. */
const MOST = 100_000_000

// The longest string of V8 has 2^29 - 24 code units.
const checkLength = (maxLineBytes: number): void => {
  if (!Number.isInteger(maxLineBytes) || maxLineBytes < 1 || maxLineBytes > 2 ** 29 - 24) {
    throw new RangeError(`Cannot read lines: maxLineBytes is ${maxLineBytes}, not a whole number from 1 to 536870888`)
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const messageOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)
