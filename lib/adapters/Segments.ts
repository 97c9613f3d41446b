/**
 * Data sets, read and segmented on several cores.
 *
 * Threads are given the bytes of whole lines, about a megabyte at once, and give segments back: this thread reads,
 * decompresses and finds the lines, and has its time for summaries and rows. What is no JSON Lines is read and
 * segmented here, and so is standard input, whose lines may be waited for one by one.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import { identity } from "effect/Function"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { availableParallelism } from "node:os"
import * as Dialect from "../core/Dialect.ts"
import type * as Recount from "../core/Recount.ts"
import * as Rejection from "../core/Rejection.ts"
import type { Sample } from "../core/Sample.ts"
import * as Machine from "../Machine.ts"
import * as Reconstruction from "../Reconstruction.ts"
import { Tokenizer } from "../Tokenizer.ts"
import * as Dataset from "./Dataset.ts"
import * as Jsonl from "./Jsonl.ts"
import * as Storage from "./Storage.ts"
import * as Workers from "./Workers.ts"

export { WorkerError } from "./Workers.ts"

/** How to read and to segment. */
export interface Options extends Dataset.ReadOptions, Pick<Reconstruction.Options, "eta" | "packing" | "tags"> {
  /** The name of the dialect whose tags are screened for; `v1` by default. */
  readonly dialect?: keyof typeof Dialect.dialects
  /**
   * The number of threads beside this one; with 0, all is done here. Left out, it is the number of cores but one, and at
   * most 3, which is what this thread can use; they are started when 16 MB were read, and no lines wait for that.
   */
  readonly workers?: number
  /** What threads count with: an encoding, or the path of a tokenizer.json; the name of the Tokenizer by default. */
  readonly tokenizer?: string
}

/**
 * Reads samples as `Dataset.read` does, in the same order, and segments them as `Reconstruction.segment` does.
 *
 * Throws a RangeError for a bad option.
 */
export const read = (
  inputs: string | ReadonlyArray<string>,
  { format, onRead, workers, tokenizer: named, ...given }: Options
): Stream.Stream<
  Result.Result<Reconstruction.Segmented, Rejection.Rejection>,
  Storage.StorageError | Workers.WorkerError,
  FileSystem.FileSystem | Tokenizer
> => {
  const count = workers ?? Math.min(MOST_WORKERS, availableParallelism() - 1)
  if (!Number.isInteger(count) || count < 0) {
    throw new RangeError(`Cannot segment: workers is ${workers}, and must be an integer of at least 0`)
  }
  const segment = makeSegmenter(given)
  return Stream.unwrap(Effect.gen(function* () {
    const tokenizer = yield* Tokenizer
    const files = yield* Dataset.files(inputs, { ...format && { format } })
    const options = { root: Dataset.rootOf(files), ...given }
    const data: Work = { tokenizer: named ?? tokenizer.name, options }
    const threads = yield* Workers.make<Batch, ReadonlyArray<Read>>({ entry: ENTRY, count, data })

    let bytesHere = 0
    const isHere = (): boolean => {
      if (count === 0) return true
      if (workers !== undefined) return false
      if (bytesHere >= WORTH) threads.start()
      return !threads.areReady()
    }
    /** Puts lines together for a thread; what is done here goes line by line. */
    const makeTasks = (file: string): Machine.Machine<Result.Result<Jsonl.Line, Storage.StorageError>, Task> => {
      let lines: Array<Jsonl.Line> = []
      let bytes = 0
      const flush = (): ReadonlyArray<Task> => {
        if (lines.length === 0) return []
        const batch = pack(file, lines)
        lines = []
        bytes = 0
        return [Result.succeed(threads.run(batch, [batch.bytes.buffer]))]
      }
      return {
        feed: (read) => {
          // What was read before the file failed comes before that.
          if (Result.isFailure(read)) return [...flush(), Result.fail(read.failure)]
          const line = read.success
          if (Storage.isStandard(file) || lines.length === 0 && isHere()) {
            bytesHere += line.length
            return [Result.succeed(Effect.sync(() => segment(Jsonl.parse(line, file, options), tokenizer)))]
          }
          lines.push(line)
          bytes += line.bytes?.length ?? 0
          return bytes < BATCH ? [] : flush()
        },
        end: flush
      }
    }

    const tasksOf = (
      { name, format }: Dataset.File
    ): Stream.Stream<Task, Storage.StorageError, FileSystem.FileSystem> =>
      format === "jsonl"
        ? Jsonl.readLines(name, { ...options, ...onRead && { onRead } }).pipe(
          Stream.map(Result.succeed),
          Stream.catch((error) => Stream.succeed(Result.fail(error))),
          Machine.stream(() => makeTasks(name))
        )
        : Dataset.read(name, { ...options, format, ...onRead && { onRead } }).pipe(
          Stream.map((read) => Result.succeed(Effect.sync(() => segment([read], tokenizer))))
        )

    return Stream.fromIterable(files).pipe(
      Stream.flatMap(tasksOf),
      Stream.mapEffect(Effect.fromResult),
      Stream.mapEffect(identity, { concurrency: Math.max(1, IN_FLIGHT * count) }),
      Stream.flattenIterable,
      Stream.map((read) => Rejection.isRejection(read) ? Result.fail(read) : Result.succeed(read))
    )
  }))
}

/** The most threads that are started where no number is named. */
const MOST_WORKERS = 3

/** From so many bytes on, threads are worth their start, which takes each as long as to segment as many. */
const WORTH = 16_000_000

/** The bytes of lines that a thread is given at once, at least. */
const BATCH = 1_000_000

/** How many batches a thread has at once: one to work on, and one to go on with. */
const IN_FLIGHT = 2

/** Beside this module, as it is or as it was built. */
const ENTRY = new URL(`./SegmentsWorker${import.meta.url.slice(-".ts".length)}`, import.meta.url)

/** What is done with some of the input, once it is its turn, or why there is no more. */
type Task = Result.Result<Effect.Effect<ReadonlyArray<Read>, Workers.WorkerError>, Storage.StorageError>

type Read = Reconstruction.Segmented | Rejection.Rejection

/** What a thread is told when it starts. */
export interface Work {
  readonly tokenizer: string
  readonly options: Pick<Options, "eta" | "packing" | "tags" | "dialect"> & Omit<Jsonl.ReadOptions, "onRead">
}

/** Lines of a file, as a thread is given them. */
export interface Batch {
  readonly file: string
  readonly lines: ReadonlyArray<Omit<Jsonl.Line, "bytes">>
  /** Where each line ends in the bytes, and the next begins; undefined where it is too long, and has none. */
  readonly ends: ReadonlyArray<number | undefined>
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** Puts lines of a file together. */
export const pack = (file: string, lines: ReadonlyArray<Jsonl.Line>): Batch => {
  let end = 0
  const ends = lines.map(({ bytes }) => bytes && (end += bytes.length))
  const all = new Uint8Array(end)
  lines.forEach(({ bytes }, i) => bytes && all.set(bytes, ends[i]! - bytes.length))
  return {
    file,
    lines: lines.map(({ bytes: _, ...line }) => line),
    ends,
    bytes: all
  }
}

/** Makes the function that reads and segments a batch. */
export const makeReader = (
  options: Work["options"],
  tokenizer: Recount.Options
): (batch: Batch) => ReadonlyArray<Read> => {
  const segment = makeSegmenter(options)
  return ({ file, lines, ends, bytes }) => {
    let start = 0
    return lines.flatMap((line, i) => {
      const end = ends[i]
      if (end === undefined) return segment(Jsonl.parse(line, file, options), tokenizer)
      const part = bytes.subarray(start, end)
      start = end
      return segment(Jsonl.parse({ ...line, bytes: part }, file, options), tokenizer)
    })
  }
}

const makeSegmenter = (
  { dialect = "v1", ...options }: Work["options"]
): (samples: ReadonlyArray<Result.Result<Sample, Rejection.Rejection>>, tokenizer: Recount.Options) => ReadonlyArray<
  Read
> => {
  const segment = Reconstruction.segment({ ...options, dialect: Dialect.dialects[dialect] })
  return (samples, tokenizer) =>
    samples.map((read) => {
      if (Result.isFailure(read)) return read.failure
      const segmented = segment(read.success, tokenizer)
      if (Rejection.isRejection(segmented)) return segmented
      // The segments have it, and are what is copied.
      const { reasoning: _, ...sample } = segmented.sample
      return { ...segmented, sample }
    })
}
