/**
 * Parquet files: samples are read from them a row group at a time, and rows are written to them.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { FileMetaData, SchemaElement } from "hyparquet"
import type { Sample } from "../core/Sample.ts"
import * as Rejection from "../core/Rejection.ts"
import * as Record from "./Record.ts"
import * as Sink from "./Sink.ts"
import * as Storage from "./Storage.ts"

/** How to read a file. */
export interface ReadOptions extends Omit<Record.Options, "place">, Storage.StreamOptions {}

/**
 * Reads the samples of a file; a row that holds none gives a rejection, whose line is the row's number, from 1.
 *
 * Only the columns in which samples may be are read, one row group of them at a time. The file may be an address whose
 * server serves ranges.
 */
export const read = (
  path: string,
  { onRead = () => {}, ...options }: ReadOptions = {}
): Stream.Stream<Result.Result<Sample, Rejection.Rejection>, Storage.StorageError, FileSystem.FileSystem> =>
  Stream.unwrap(Effect.gen(function* () {
    const { parquetMetadataAsync, parquetReadObjects, parquetSchema } = yield* Effect.promise(() => import("hyparquet"))
    const { compressors } = yield* Effect.promise(() => import("hyparquet-compressors"))
    const attempt = <A>(run: () => Promise<A>, at = "") =>
      Effect.tryPromise({ try: run, catch: (cause) => Storage.errorOf("read", path, cause, at) })

    const file = yield* Storage.source(path)
    if (file.byteLength < SMALLEST) {
      return yield* Storage.errorOf("read", path, new Error(`it has ${file.byteLength} bytes, too few for Parquet`))
    }
    const metadata = yield* attempt(() => parquetMetadataAsync(file))
    const available = parquetSchema(metadata).children.map(({ element }) => element.name)
    const columns = [...Record.columns(available, options)]

    const readGroup = Effect.fnUntraced(function* ({ index, start, end, bytes }: Group) {
      const records = yield* attempt(
        () =>
          parquetReadObjects({
            ...{ file, metadata, columns, compressors, parsers: { stringFromBytes } },
            ...{ rowStart: start, rowEnd: end }
          }),
        `row group ${index + 1} of ${metadata.row_groups.length}: `
      )
      onRead(bytes)
      return records.flatMap((record, i) =>
        Record.read(plain(record), { ...options, place: { file: Storage.nameOf(path), line: start + i + 1 } })
      )
    })
    return Stream.fromIterable(groupsOf(metadata, file.byteLength)).pipe(
      Stream.mapEffect(readGroup),
      Stream.flattenIterable
    )
  }))

/** What a column holds, or a part of one; any of it may be null. */
export type Type =
  | "string"
  | "boolean"
  /** A whole number of at most 2^53 - 1, either way. */
  | "integer"
  | "number"
  /** Anything, written as the text of its JSON. */
  | "json"
  | { readonly list: Type }
  | { readonly struct: Schema }

/** The columns of a file, or the fields of a struct. */
export interface Schema {
  readonly [name: string]: Type
}

/** How to write a file. */
export interface WriteOptions extends Sink.Options {
  /**
   * The columns; inferred from the rows of the first group by default: a column that is null in all of them is one of
   * strings, and one whose values have no type in common is one of `json`.
   */
  readonly schema?: Schema
  /** The most rows in a group; 10 000 by default. */
  readonly groupRows?: number
  /** About the most bytes of text in a group, of which one is held in memory; 64 MB by default. */
  readonly groupBytes?: number
  /** How pages are compressed; `snappy` by default. */
  readonly compression?: "none" | "snappy" | "gzip" | "zstd"
}

/**
 * Writes rows to `x.parquet` and rejections to `x.rejects.jsonl`, and says what was written.
 *
 * What a row lacks is null. Half a surrogate pair becomes U+FFFD, because the format has none. A row that does not fit
 * the columns is an error that names both. Throws a RangeError for a bad option.
 */
export const write = (path: string, options: WriteOptions = {}): Sink.Write =>
  Sink.write(path, encoder(path, options), options)

/** Writes as `write` does, and gives the rows and rejections on when they are taken. */
export const tee = (path: string, options: WriteOptions = {}): Sink.Tee =>
  Sink.tee(path, encoder(path, options), options)

/** Encodes rows, each an object, as a file. */
export const encoder = (
  file: string,
  { schema: given, groupRows = 10_000, groupBytes = 64_000_000, compression = "snappy" }: WriteOptions = {}
): Effect.Effect<Sink.Encoder, Storage.StorageError> => {
  for (const [name, value] of Object.entries({ groupRows, groupBytes })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`Cannot write Parquet: ${name} is ${value}, not a whole number from 1`)
    }
  }
  if (given !== undefined) requireSchema(given)
  const open = async (): Promise<Sink.Encoder> => {
    const { ByteWriter, ParquetWriter } = await import("hyparquet-writer")
    const { gzipSync, zstdCompressSync } = await import("node:zlib")
    const writer = new ByteWriter()
    let schema = given
    let parquet: InstanceType<typeof ParquetWriter> | undefined
    let rows: Array<object> = []
    let bytes = 0
    let written = 0

    const flush = (): ReadonlyArray<Uint8Array> => {
      if (schema === undefined) {
        schema = inferAll(rows)
        rows = rows.map((row, i) => fitRow(row, schema!, i + 1))
      }
      parquet ??= new ParquetWriter({
        writer,
        schema: elementsOf(schema),
        codec: compression === "none" ? "UNCOMPRESSED" : CODECS[compression],
        compressors: { GZIP: (bytes) => gzipSync(bytes), ZSTD: (bytes) => zstdCompressSync(bytes) },
        createdBy: "inftythink"
      })
      if (rows.length > 0) {
        const columnData = Object.keys(schema).map((name) => ({
          name,
          data: rows.map((row) => Reflect.get(row, name))
        }))
        parquet.write({ columnData, rowGroupSize: rows.length })
      }
      written += rows.length
      rows = []
      bytes = 0
      return take()
    }

    const take = (): ReadonlyArray<Uint8Array> => {
      const taken = writer.getBytes().slice()
      writer.index = 0
      return [taken]
    }

    return {
      feed: (value) => {
        const number = written + rows.length + 1
        if (!isObject(value)) throw new TypeError(`row ${number} is no object: ${show(value)}`)
        // A row that does not fit is known at once, where the columns are.
        rows.push(schema === undefined ? value : fitRow(value, schema, number))
        bytes += weigh(value)
        return rows.length >= groupRows || bytes >= groupBytes ? flush() : []
      },
      end: () => {
        const last = flush()
        parquet!.finish()
        return [...last, ...take()]
      }
    }
  }
  return Effect.tryPromise({ try: open, catch: (cause) => Storage.errorOf("write", file, cause) })
}

/** Infers the columns of rows. */
export const inferAll = (rows: ReadonlyArray<object>): Schema => {
  const type = rows.map(infer).reduce(unite, undefined)
  return typeof type === "object" && "struct" in type ? settleFields(type.struct) : {}
}

const CODECS = { snappy: "SNAPPY", gzip: "GZIP", zstd: "ZSTD" } as const

/** Rows of a file that are stored together, and its share of the bytes. */
interface Group {
  readonly index: number
  readonly start: number
  readonly end: number
  readonly bytes: number
}

/** The bytes of a Parquet file's beginning and end, without which it is none. */
const SMALLEST = 12

const groupsOf = ({ row_groups: groups }: FileMetaData, byteLength: number): ReadonlyArray<Group> => {
  let row = 0
  // Columns that are not read, and the footer, are passed all the same: the shares add up to the file.
  const share = (index: number): number => Math.round(byteLength * index / groups.length)
  return groups.map(({ num_rows }, index) => {
    const start = row
    row += Number(num_rows)
    return { index, start, end: row, bytes: share(index + 1) - share(index) }
  })
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Text to the character; what is no UTF-8 stays bytes, so that no damaged text is taken for a sample. */
const stringFromBytes = (bytes: Uint8Array | undefined): unknown => {
  if (bytes === undefined || bytes === null) return bytes
  try {
    return utf8.decode(bytes)
  } catch {
    return bytes
  }
}

/** Turns what is no JSON into it: dates, integers that a number holds, and what is missing. */
const plain = (value: unknown): unknown => {
  if (typeof value === "bigint") return isSafe(value) ? Number(value) : value
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (ArrayBuffer.isView(value) && !(value instanceof Uint8Array)) return Array.from(value as Float64Array, plain)
  if (value instanceof Uint8Array || !isObject(value)) return value ?? null
  if (Array.isArray(value)) return value.map(plain)
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
}

const isSafe = (value: bigint): boolean => value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER

/** A type as far as values have shown it; undefined where all were null. */
type Inferred = "string" | "boolean" | "integer" | "number" | "json" | undefined | {
  readonly list: Inferred
} | { readonly struct: { readonly [name: string]: Inferred } }

const infer = (value: unknown): Inferred => {
  if (value === null || value === undefined) return undefined
  if (typeof value === "string" || typeof value === "boolean") return typeof value as "string" | "boolean"
  if (typeof value === "number") return Number.isSafeInteger(value) && !Object.is(value, -0) ? "integer" : "number"
  if (Array.isArray(value)) return { list: value.map(infer).reduce(unite, undefined) }
  if (!isObject(value)) throw new TypeError(`${String(value)} is not JSON`)
  // There are no structs without fields.
  if (Object.keys(value).length === 0) return "json"
  return { struct: Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, infer(inner)])) }
}

const unite = (one: Inferred, other: Inferred): Inferred => {
  if (one === undefined || one === other) return other
  if (other === undefined) return one
  if (typeof one === "string" || typeof other === "string") {
    const isNumber = [one, other].every((type) => type === "integer" || type === "number")
    return isNumber ? "number" : "json"
  }
  if ("list" in one && "list" in other) return { list: unite(one.list, other.list) }
  if (!("struct" in one && "struct" in other)) return "json"
  const names = [...new Set([...Object.keys(one.struct), ...Object.keys(other.struct)])]
  return {
    struct: Object.fromEntries(names.map((name) => [name, unite(fieldOf(one, name), fieldOf(other, name))]))
  }
}

const fieldOf = ({ struct }: { readonly struct: { readonly [name: string]: Inferred } }, name: string): Inferred =>
  Object.hasOwn(struct, name) ? struct[name] : undefined

const settle = (type: Inferred): Type =>
  type === undefined
    ? "string"
    : typeof type === "string"
    ? type
    : "list" in type
    ? { list: settle(type.list) }
    : { struct: settleFields(type.struct) }

const settleFields = (fields: { readonly [name: string]: Inferred }): Schema =>
  Object.fromEntries(Object.entries(fields).map(([name, type]) => [name, settle(type)]))

const fitRow = (row: object, schema: Schema, number: number): object =>
  fitFields(row, schema, (path, found, wanted) => {
    throw new TypeError(`row ${number} does not fit: the column ${JSON.stringify(path)} holds ${found}, not ${wanted}`)
  }, "")

type Misfit = (path: string, found: string, wanted: string) => never

const fitFields = (value: object, schema: Schema, misfit: Misfit, path: string): object => {
  for (const [name, inner] of Object.entries(value)) {
    if (!Object.hasOwn(schema, name) && inner !== undefined && inner !== null) {
      misfit(path + name, show(inner), "null, as it is none of the columns")
    }
  }
  return Object.fromEntries(
    Object.entries(schema).map(([name, type]) => [
      name,
      fit(Object.hasOwn(value, name) ? Reflect.get(value, name) : null, type, misfit, path + name)
    ])
  )
}

/** The value as it is written, which has the type. */
const fit = (value: unknown, type: Type, misfit: Misfit, path: string): unknown => {
  if (value === null || value === undefined) return null
  if (type === "json") return JSON.stringify(value) ?? misfit(path, String(value), "JSON")
  if (type === "integer") {
    return Number.isSafeInteger(value) ? BigInt(value as number) : misfit(path, show(value), "a whole number")
  }
  if (type === "string") return typeof value === "string" ? value : misfit(path, show(value), "a text")
  if (type === "number") return typeof value === "number" ? value : misfit(path, show(value), "a number")
  if (type === "boolean") return typeof value === "boolean" ? value : misfit(path, show(value), "true or false")
  if ("list" in type) {
    return Array.isArray(value)
      ? value.map((inner, i) => fit(inner, type.list, misfit, `${path}.${i}`))
      : misfit(path, show(value), "a list")
  }
  return isObject(value) && !Array.isArray(value)
    ? fitFields(value, type.struct, misfit, `${path}.`)
    : misfit(path, show(value), "a struct")
}

const requireSchema = (schema: Schema): void => {
  const names = Object.entries(schema)
  if (names.length === 0) throw new RangeError("Cannot write Parquet: a schema or a struct has no fields")
  for (const [, type] of names) requireType(type)
}

const requireType = (type: Type): void => {
  if (typeof type === "string") return
  if ("list" in type) requireType(type.list)
  else requireSchema(type.struct)
}

const elementsOf = (schema: Schema): Array<SchemaElement> => [
  { name: "root", num_children: Object.keys(schema).length },
  ...Object.entries(schema).flatMap(([name, type]) => elementOf(name, type))
]

const elementOf = (name: string, type: Type): Array<SchemaElement> => {
  const element = { name, repetition_type: "OPTIONAL" } as const
  if (typeof type === "object") {
    return "list" in type
      ? [
        { ...element, converted_type: "LIST", num_children: 1 },
        { name: "list", repetition_type: "REPEATED", num_children: 1 },
        ...elementOf("element", type.list)
      ]
      : [
        { ...element, num_children: Object.keys(type.struct).length },
        ...Object.entries(type.struct).flatMap(([name, inner]) => elementOf(name, inner))
      ]
  }
  switch (type) {
    case "boolean":
      return [{ ...element, type: "BOOLEAN" }]
    case "integer":
      return [{ ...element, type: "INT64" }]
    case "number":
      return [{ ...element, type: "DOUBLE" }]
    default:
      return [{ ...element, type: "BYTE_ARRAY", converted_type: "UTF8" }]
  }
}

/** About the bytes of a value. */
const weigh = (value: unknown): number => {
  if (typeof value === "string") return value.length
  if (!isObject(value)) return 8
  return Object.values(value).reduce((sum: number, inner) => sum + weigh(inner), 8)
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

const show = (value: unknown): string =>
  Rejection.quote(typeof value === "string" ? value : JSON.stringify(value) ?? String(value))
