/**
 * Rows and rejections, written side by side: what stands at a name is complete.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Rejection from "../core/Rejection.ts"
import type * as Machine from "../Machine.ts"
import * as Storage from "./Storage.ts"

/** How to write a file. */
export interface Options {
  /** Whether a file that is there already, rows or rejections, is an error, the default, or is replaced. */
  readonly existing?: "fail" | "replace"
  /** The file for rejections; `rejectsFileOf` the file for rows by default. */
  readonly rejects?: string
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

/** Turns rows into the bytes of a file; throws where a row does not go into one. */
export type Encoder = Machine.Machine<unknown, Uint8Array>

/** A stage of a stream that writes what passes through. */
export type Tee = <Row, E, R>(
  rows: Stream.Stream<Result.Result<Row, Rejection.Rejection>, E, R>
) => Stream.Stream<Result.Result<Row, Rejection.Rejection>, E | Storage.StorageError, R | FileSystem.FileSystem>

/** The end of a stream that writes what comes. */
export type Write = <Row, E, R>(
  rows: Stream.Stream<Result.Result<Row, Rejection.Rejection>, E, R>
) => Effect.Effect<Report, E | Storage.StorageError, R | FileSystem.FileSystem>

/**
 * Writes rows to a file, and rejections to another, one JSON line each, and gives them on when they are written.
 *
 * Both are written as `<name>.partial`, and renamed when the stream has ended; where it fails, is interrupted or is left
 * early, the partial files hold what was given until then, and what stood at the names is untouched.
 */
export const tee = (
  path: string,
  encoder: Effect.Effect<Encoder, Storage.StorageError>,
  { existing = "fail", rejects: rejectsFile = rejectsFileOf(path) }: Options = {}
): Tee => {
  if (rejectsFile === path) throw new RangeError(`Cannot write ${path}: it is the file for rejections too`)
  return (rows) =>
    Stream.unwrap(Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const scope = yield* Effect.scope
      const isBeside = !Storage.isStandard(rejectsFile)
      // Rows cost calls to a model: what would stop them from being written is found out before the first one.
      for (const name of [path, rejectsFile]) yield* requireWritable(name, existing)
      const rowEncoder = yield* encoder
      const rejectEncoder = yield* lines

      const open = (name: string, encoder: Encoder) =>
        create(name, encoder).pipe(Scope.provide(scope), Effect.provideService(FileSystem.FileSystem, files))
      const remove = (name: string) =>
        Effect.mapError(files.remove(name, { force: true }), (cause) => Storage.errorOf("write", name, cause))

      let main: File | undefined
      let rejects: File | undefined
      // The files are opened with the first array: what an earlier run left stays if the stream fails before it.
      const openMain = Effect.gen(function* () {
        const file = yield* open(path, rowEncoder)
        if (isBeside) yield* remove(Storage.partialOf(rejectsFile))
        return file
      })

      const append = <Row>(results: ReadonlyArray<Result.Result<Row, Rejection.Rejection>>) =>
        Effect.gen(function* () {
          const values = results.filter(Result.isSuccess).map(({ success }) => success)
          const rejections = results.filter(Result.isFailure).map(({ failure }) => failure)
          main ??= yield* openMain
          if (rejections.length > 0) {
            rejects ??= yield* open(rejectsFile, rejectEncoder)
            yield* rejects.write(rejections)
          }
          yield* main.write(values)
        })

      const commit = Effect.gen(function* () {
        main ??= yield* openMain
        // The rows last: where they stand, all does.
        if (rejects !== undefined) yield* rejects.commit
        else if (existing === "replace" && isBeside) yield* remove(rejectsFile)
        yield* main.commit
      })

      return rows.pipe(
        // A write that is under way is finished before the files are closed.
        Stream.mapArrayEffect((results) => Effect.as(Effect.uninterruptible(append(results)), results)),
        Stream.onEnd(Effect.uninterruptible(commit))
      )
    }))
}

/** Writes as `tee` does, and says what was written. */
export const write =
  (path: string, encoder: Effect.Effect<Encoder, Storage.StorageError>, options: Options = {}): Write => (rows) =>
    Effect.suspend(() => {
      const rejected: { [reason in Rejection.Reason]?: number } = {}
      let written = 0
      return tee(path, encoder, options)(rows).pipe(
        Stream.runForEach((result) =>
          Effect.sync(() => {
            if (Result.isSuccess(result)) written++
            else rejected[result.failure.reason] = (rejected[result.failure.reason] ?? 0) + 1
          })
        ),
        Effect.map(() => ({ file: path, written, rejectsFile: options.rejects ?? rejectsFileOf(path), rejected }))
      )
    })

/** The file beside a file of rows that its rejections go to; standard error where the rows go to standard output. */
export const rejectsFileOf = (path: string): string =>
  Storage.isStandard(path)
    ? Storage.STANDARD_ERROR
    : `${path.replace(/\.(gz|zst)$/, "").replace(/\.(jsonl|ndjson|json|parquet)$/, "")}.rejects.jsonl`

/** Encodes values as lines of JSON. */
export const lines: Effect.Effect<Encoder> = Effect.succeed({
  feed: (value) => {
    const json = JSON.stringify(value)
    if (json === undefined) throw new TypeError(`${String(value)} is not JSON`)
    return [utf8.encode(`${json}\n`)]
  },
  end: () => []
})

const utf8 = new TextEncoder()

/** A file that values are written to. */
interface File {
  readonly write: (values: ReadonlyArray<unknown>) => Effect.Effect<void, Storage.StorageError>
  readonly commit: Effect.Effect<void, Storage.StorageError>
}

/** Opens a file; where its scope closes before it is committed, the partial file is ended with what was written. */
const create = (
  name: string,
  encoder: Encoder
): Effect.Effect<File, Storage.StorageError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const target = yield* Storage.create(name)
    const put = (encode: (parts: Array<Uint8Array>) => void) =>
      Effect.gen(function* () {
        const parts: Array<Uint8Array> = []
        const encoded = yield* Effect.result(
          Effect.try({ try: () => encode(parts), catch: (cause) => Storage.errorOf("write", name, cause) })
        )
        // What came before a row that does not go in is written.
        if (parts.length > 0) yield* target.write(Storage.concat(parts))
        yield* Effect.fromResult(encoded)
      })
    let ended = false
    const end = Effect.suspend(() => {
      if (ended) return Effect.void
      ended = true
      return put((parts) => void parts.push(...encoder.end()))
    })
    yield* Effect.addFinalizer(() => Effect.ignore(end))
    return {
      write: (values: ReadonlyArray<unknown>) =>
        put((parts) => values.forEach((value) => parts.push(...encoder.feed(value)))),
      commit: Effect.andThen(end, target.commit)
    }
  })

/** Fails where a file must not or cannot be written. */
const requireWritable = (
  name: string,
  existing: "fail" | "replace"
): Effect.Effect<void, Storage.StorageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    if (Storage.isStandard(name)) return
    const fail = (reason: Storage.StorageError["reason"], state: string) =>
      Effect.fail(new Storage.StorageError({ reason, file: name, message: `Cannot write ${name}: ${state}` }))
    if (Storage.isAddress(name)) return yield* fail("unwritable", "it is an address")
    const files = yield* FileSystem.FileSystem
    const attempt = <A>(effect: Effect.Effect<A, PlatformError.PlatformError>) =>
      Effect.mapError(effect, (cause) => Storage.errorOf("write", name, cause))
    if (yield* attempt(files.exists(name))) {
      if (existing === "fail") return yield* fail("exists", "it exists")
      const { type } = yield* attempt(files.stat(name))
      if (type === "Directory") return yield* fail("unwritable", "it is a folder")
    }
    const folder = name.slice(0, name.lastIndexOf("/") + 1)
    yield* attempt(files.access(folder === "" ? "." : folder, { writable: true }))
  })
