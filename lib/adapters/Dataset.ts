/**
 * Data sets, whatever they are kept in: files, folders, patterns and addresses are read, and a file is written.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import type * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Rejection from "../core/Rejection.ts"
import type { Sample } from "../core/Sample.ts"
import * as Arrow from "./Arrow.ts"
import * as Jsonl from "./Jsonl.ts"
import * as Parquet from "./Parquet.ts"
import * as Sink from "./Sink.ts"
import * as Storage from "./Storage.ts"

export { StorageError } from "./Storage.ts"

/** What a file is written in. */
export type Format = "jsonl" | "parquet" | "arrow"

/** Which files are read. */
export interface FilesOptions {
  /** What every file is written in; its ending says so by default, and standard input is `jsonl`. */
  readonly format?: Format
}

/** How to read files; `root` is by default what their paths have in common, so that made ids tell them apart. */
export interface ReadOptions extends FilesOptions, Jsonl.ReadOptions {}

/** Reads the samples of files, one file after the other, in the order of `files`. */
export const read = (
  inputs: string | ReadonlyArray<string>,
  { format, ...options }: ReadOptions = {}
): Stream.Stream<Result.Result<Sample, Rejection.Rejection>, Storage.StorageError, FileSystem.FileSystem> =>
  Stream.unwrap(Effect.map(find(inputs, { ...format && { format } }), (files) => {
    const root = rootOf(files)
    return Stream.fromIterable(files).pipe(
      Stream.flatMap(({ name, format }) => readers[format](name, { root, ...options }))
    )
  }))

/** A file of a data set. */
export interface File {
  /** Its path or its address; `-` is standard input. */
  readonly name: string
  /** What it is written in. */
  readonly format: Format
  /** Its size, compressed where it is; undefined where that is not known before its end. */
  readonly bytes: number | undefined
}

/**
 * Finds the files of inputs, each once, in the order of the inputs.
 *
 * An input is a file, an http or https address, `-` for standard input, a folder, of which all data files are taken,
 * or a pattern with `*`, `**`, `?`, `[…]` or `{…,…}`; files of a folder and of a pattern come sorted by their paths.
 * Hidden files, the descriptions and caches that `save_to_disk` leaves beside data, and rejections are no data files.
 */
export const files = (
  inputs: string | ReadonlyArray<string>,
  options: FilesOptions = {}
): Effect.Effect<ReadonlyArray<File>, Storage.StorageError, FileSystem.FileSystem> =>
  Effect.flatMap(
    find(inputs, options),
    Effect.forEach((file) => Effect.map(Storage.size(file.name), (bytes) => ({ ...file, bytes })))
  )

/** The start that the paths of files have in common, folder by folder; of one file, its folder. */
export const rootOf = (files: ReadonlyArray<Pick<File, "name">>): string => {
  const paths = files.map(({ name }) => Storage.nameOf(name)).filter((name) => name !== Storage.STANDARD)
  const [first = "", ...others] = paths
  let length = first.length
  for (const path of others) while (!path.startsWith(first.slice(0, length))) length--
  return first.slice(0, length).replace(/[^/\\]*$/, "")
}

/** How to write a file. */
export interface WriteOptions extends Omit<Parquet.WriteOptions, "compression"> {
  /** What the file is written in; its ending says so by default, and standard output is `jsonl`. */
  readonly format?: "jsonl" | "parquet"
}

/**
 * Writes rows to a file, by its ending JSON Lines, compressed with `.gz` or `.zst`, or Parquet, and rejections to
 * another, and says what was written; `-` is standard output.
 *
 * Both are complete where they stand: see `Jsonl.tee`. Throws a RangeError for a bad option.
 */
export const write = (path: string, options: WriteOptions = {}): Sink.Write =>
  Sink.write(path, encoder(path, options), options)

/** Writes as `write` does, and gives rows and rejections on when they are taken. */
export const tee = (path: string, options: WriteOptions = {}): Sink.Tee =>
  Sink.tee(path, encoder(path, options), options)

/** The file that rejections go to, where no other is named. */
export const rejectsFileOf: (path: string) => string = Sink.rejectsFileOf

const readers: {
  readonly [format in Format]: (
    name: string,
    options: Jsonl.ReadOptions
  ) => Stream.Stream<Result.Result<Sample, Rejection.Rejection>, Storage.StorageError, FileSystem.FileSystem>
} = {
  jsonl: Jsonl.read,
  parquet: (name, { maxLineBytes: _, ...options }) => Parquet.read(name, options),
  arrow: (name, { maxLineBytes: _, ...options }) => Arrow.read(name, options)
}

/** Endings of the names of files, and what is written in them. */
const ENDINGS: { readonly [ending: string]: Format } = {
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".json": "jsonl",
  ".parquet": "parquet",
  ".arrow": "arrow",
  ".feather": "arrow"
}

const encoder = (
  path: string,
  { format, ...options }: WriteOptions
): Effect.Effect<Sink.Encoder, Storage.StorageError> => {
  switch (format ?? (path === Storage.STANDARD ? "jsonl" : formatOf(path))) {
    case "jsonl":
      return Sink.lines
    case "parquet":
      return Parquet.encoder(path, options)
    default:
      return Effect.fail(unknownFormat("write", path, ".jsonl, .ndjson, .json, with or without .gz or .zst, .parquet"))
  }
}

type Found = Omit<File, "bytes">

const find = (
  inputs: string | ReadonlyArray<string>,
  { format }: FilesOptions
): Effect.Effect<ReadonlyArray<Found>, Storage.StorageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const found = yield* Effect.forEach(
      typeof inputs === "string" ? [inputs] : inputs,
      (input) => findOne(input, format)
    )
    return [...new Map(found.flat().map((file) => [file.name, file])).values()]
  })

const findOne = (
  input: string,
  format: Format | undefined
): Effect.Effect<ReadonlyArray<Found>, Storage.StorageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    if (input === Storage.STANDARD) return [{ name: input, format: format ?? "jsonl" as const }]
    const named = format ?? formatOf(Storage.isAddress(input) ? new URL(input).pathname : input)
    const one = Effect.suspend(() =>
      named === undefined
        ? Effect.fail(unknownFormat("read", input, `${Object.keys(ENDINGS).join(", ")}, with or without .gz or .zst`))
        : Effect.succeed([{ name: input, format: named }])
    )
    if (Storage.isAddress(input)) return yield* one
    const files = yield* FileSystem.FileSystem
    const attempt = <A>(effect: Effect.Effect<A, PlatformError.PlatformError>) =>
      Effect.mapError(effect, (cause) => Storage.errorOf("read", input, cause))
    const notFound = (state: string) =>
      Effect.fail(
        new Storage.StorageError({ reason: "not-found", file: input, message: `Cannot read ${input}: ${state}` })
      )

    const choose = (names: ReadonlyArray<string>): ReadonlyArray<Found> =>
      names.flatMap((name) => {
        const chosen = format ?? formatOf(name)
        return chosen === undefined || NO_DATA.test(name) ? [] : [{ name, format: chosen }]
      })

    if (yield* attempt(files.exists(input))) {
      const { type } = yield* attempt(files.stat(input))
      if (type !== "Directory") return yield* one
      const folder = input.replace(/\/+$/, "")
      const data = choose(yield* attempt(inFolder(files, folder === "" ? "/" : folder)))
      return data.length > 0 ? data : yield* notFound("the folder holds no data files")
    }
    if (!/[*?[{]/.test(input)) return yield* notFound("it does not exist")
    const matches = yield* attempt(files.glob(input))
    const isFile = (name: string) => Effect.map(attempt(files.stat(name)), ({ type }) => type !== "Directory")
    const data = yield* Effect.filter(choose(matches.sort()), ({ name }) => isFile(name))
    return data.length > 0 ? data : yield* notFound("no data files match")
  })

/** The paths of the files in a folder, and in those in it, hidden ones left out, sorted. */
const inFolder = (
  files: FileSystem.FileSystem,
  folder: string
): Effect.Effect<ReadonlyArray<string>, PlatformError.PlatformError> =>
  Effect.gen(function* () {
    const names = (yield* files.readDirectory(folder)).filter((name) => !name.startsWith(".")).sort()
    const paths = yield* Effect.forEach(names, (name) =>
      Effect.gen(function* () {
        const path = folder.endsWith("/") ? folder + name : `${folder}/${name}`
        const { type } = yield* files.stat(path)
        return type === "Directory" ? yield* inFolder(files, path) : type === "File" ? [path] : []
      }))
    return paths.flat()
  })

/** Files beside data: what describes it, what `datasets` keeps of computations, and what a run leaves beside its rows. */
const NO_DATA = new RegExp([
  String.raw`(?:^|/)(?:dataset_infos?\.json|dataset_dict\.json|state\.json|cache-[^/]*\.arrow)$`,
  String.raw`\.(?:(?:rejects|journal|findings)\.jsonl|manifest\.json|card\.md|partial|lock)$`
].join("|"))

const formatOf = (name: string): Format | undefined => {
  const ending = /\.[^./\\]*$/.exec(name.replace(/\.(?:gz|zst)$/, ""))?.[0].toLowerCase()
  return ending === undefined ? undefined : ENDINGS[ending]
}

const unknownFormat = (action: "read" | "write", path: string, endings: string): Storage.StorageError => {
  const file = Storage.nameOf(path)
  const message = `Cannot ${action} ${file}: its format is unknown; the endings known are ${endings}`
  return new Storage.StorageError({ reason: "unknown-format", file, message })
}
