/**
 * Bytes by name: files, addresses, the standard streams.
 *
 * A name is a path, an http or https address, `-` for standard input or output, or `/dev/stderr`. What is compressed
 * is known by its first bytes when it is read, and by its ending when it is written.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Transform } from "node:stream"
import * as Machine from "../Machine.ts"
import * as Retry from "../Retry.ts"
import * as Lock from "./Lock.ts"

interface Fields {
  /**
   * `not-found`: the file, or the folder to write it to, is not there; `exists`: the file to write is;
   * `locked`: another run is writing it; `unknown-format`: its name does not say what is in it; `missing`: a package that reads it is not installed;
   * `unreadable` and `unwritable`: anything else.
   */
  readonly reason: "not-found" | "exists" | "locked" | "unknown-format" | "missing" | "unreadable" | "unwritable"
  /** The name of the file, or the pattern that names none. */
  readonly file: string
  /** A sentence that reads "Cannot …: …". */
  readonly message: string
  /** What lies behind; left out where the file is an address. */
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "StorageError" } = Data
  .TaggedError("StorageError")

/** A file could not be read or written. */
export class StorageError extends Base {}

/** How to read bytes. */
export interface StreamOptions {
  /** Called with the number of bytes of the file, compressed ones where it is, whenever so many more are read. */
  readonly onRead?: (bytes: number) => void
}

/** Reads a file from its first byte to its last, decompressed; no more of it is held than was asked for. */
export const stream = (
  name: string,
  { onRead = () => {} }: StreamOptions = {}
): Stream.Stream<Uint8Array, StorageError, FileSystem.FileSystem> => {
  const raw = name === STANDARD ?
    input() :
    isAddress(name)
    ? download(name)
    : Stream.unwrap(Effect.map(FileSystem.FileSystem, (files) => files.stream(name))).pipe(
      Stream.mapError((cause) => errorOf("read", name, cause))
    )
  return raw.pipe(
    Stream.tap((chunk) => Effect.sync(() => onRead(chunk.length))),
    Machine.stream(makePieces),
    decompress(name)
  )
}

/** A file whose bytes can be read in any order. */
export interface Source {
  readonly byteLength: number
  /** Reads the bytes from `start` to before `end`; fails with a StorageError. */
  readonly slice: (start: number, end?: number) => Promise<ArrayBuffer>
}

/** Opens a file whose bytes are read in any order, as they are; an address must serve ranges. */
export const source = (name: string): Effect.Effect<Source, StorageError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    if (name === STANDARD) return yield* fail("unreadable", name, "its bytes come in one order")
    const bytes = yield* isAddress(name) ? openAddress(name) : openFile(name)
    const context = yield* Effect.context<never>()
    const closed = new AbortController()
    yield* Effect.addFinalizer(() => Effect.sync(() => closed.abort()))
    return {
      byteLength: bytes.byteLength,
      slice: (start: number, end = bytes.byteLength) =>
        Effect.runPromiseWith(context)(bytes.read(start, end), { signal: closed.signal })
    }
  })

/** Finds out how many bytes a file has, compressed ones where it is; undefined where that is not known before its end. */
export const size = (name: string): Effect.Effect<number | undefined, StorageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    if (name === STANDARD) return undefined
    if (isAddress(name)) {
      const { response, total } = yield* ask(name)
      yield* discard(response)
      return total
    }
    const files = yield* FileSystem.FileSystem
    const info = yield* Effect.mapError(files.stat(name), (cause) => errorOf("read", name, cause))
    return info.type === "File" ? Number(info.size) : undefined
  })

/** What is being written: nothing stands at its name before `commit`. */
export interface Target {
  /** Writes bytes, compressed where the name ends in `.gz` or `.zst`. */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, StorageError>
  /** Ends the file, and puts it at its name. */
  readonly commit: Effect.Effect<void, StorageError>
}

/**
 * Opens a file to write, as `<name>.partial`, which takes the place of `<name>` when it is committed; a leftover one is
 * replaced. Where the scope closes before that, the partial file is ended and stays.
 */
export const create = (name: string): Effect.Effect<Target, StorageError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const attempt = <A, R>(effect: Effect.Effect<A, PlatformError.PlatformError, R>) =>
      Effect.mapError(effect, (cause) => errorOf("write", name, cause))
    // Of its own, so that the file is closed before it is renamed.
    const scope = yield* Scope.fork(yield* Effect.scope)
    const standard = isStandard(name)
    if (!standard) {
      yield* Effect.mapError(
        Scope.provide(Lock.take(partialOf(name)), scope),
        (error) =>
          error._tag === "Taken"
            ? new StorageError({ reason: "locked", file: name, message: `Cannot write ${name}: ${error.message}` })
            : errorOf("write", name, error)
      )
    }
    const { append, sync } = standard ? { append: yield* output(name), sync: Effect.void } : yield* attempt(
      files.open(partialOf(name), { flag: "w" }).pipe(
        Scope.provide(scope),
        Effect.map((file) => ({
          append: (bytes: Uint8Array) => attempt(file.writeAll(bytes)),
          // Some disks only say now that they are full, and a machine that stops loses what they have not taken.
          sync: attempt(file.sync)
        }))
      )
    )
    const coder = yield* Scope.provide(coderOf("write", name, compressionOf(name)), scope)
    const put = (parts: ReadonlyArray<Uint8Array>) => parts.length === 0 ? Effect.void : append(concat(parts))
    let ended = false
    const end = Effect.suspend(() => {
      if (ended) return Effect.void
      ended = true
      return Effect.flatMap(coder.end, put)
    })
    yield* Scope.addFinalizer(scope, Effect.ignore(end))
    return {
      write: (bytes: Uint8Array) => Effect.flatMap(coder.feed(bytes), put),
      commit: Effect.gen(function* () {
        yield* end
        yield* sync
        yield* Scope.close(scope, Exit.void)
        if (standard) return
        yield* Effect.mapError(
          files.rename(partialOf(name), name),
          (cause) =>
            cause.reason._tag === "NotFound"
              ? new StorageError({
                reason: "not-found",
                file: name,
                message: `Cannot write ${name}: ${partialOf(name)}, or its folder, was removed while it was written`,
                cause
              })
              : errorOf("write", name, cause)
        )
      })
    }
  })

/** Writes a text to a file, which holds all of it, or what it held before. */
export const write = (name: string, text: string): Effect.Effect<void, StorageError, FileSystem.FileSystem> =>
  Effect.scoped(Effect.gen(function* () {
    const target = yield* create(name)
    yield* target.write(new TextEncoder().encode(text))
    yield* target.commit
  }))

/** The name a file has while it is written. */
export const partialOf = (name: string): string => `${name}.partial`

/** Standard input where it is read, standard output where it is written. */
export const STANDARD = "-"

/** Standard error, where it is written. */
export const STANDARD_ERROR = "/dev/stderr"

/** Tells the standard streams from files. */
export const isStandard = (name: string): boolean => name === STANDARD || name === STANDARD_ERROR

/** Tells an address from a path. */
export const isAddress = (name: string): boolean => /^https?:\/\//i.test(name)

/** What a file is called where it is named: an address without its query, which may hold a key or a signature. */
export const nameOf = (file: string): string => isAddress(file) ? file.replace(/[?#].*/s, "") : file

/** Says what went wrong with a file; a StorageError stays as it is. */
export const errorOf = (action: "read" | "write", path: string, cause: unknown, at = ""): StorageError => {
  if (cause instanceof StorageError) return cause
  const file = nameOf(path)
  // What lies behind an error of `fetch` may hold the whole address.
  const behind = isAddress(path) ? {} : { cause }
  const error = (reason: StorageError["reason"], state: string): StorageError =>
    new StorageError({ reason, file, message: `Cannot ${action} ${file}: ${at}${state}`, ...behind })
  const platform = isPlatformError(cause) ? cause.reason : undefined
  switch (platform?._tag) {
    case "NotFound":
      return error("not-found", action === "read" ? "it does not exist" : "its folder does not exist")
    case "AlreadyExists":
      return error("exists", "it exists")
    default:
      return error(action === "read" ? "unreadable" : "unwritable", describe(cause))
  }
}

/** Says what lies behind an error of a file, and what to do about it where that is known. */
export const describe = (cause: unknown): string => {
  const behind = isPlatformError(cause) ? cause.reason.cause ?? cause.reason : cause
  const code = behind instanceof Error && "code" in behind ? String(behind.code) : ""
  const state = STATES.get(code)
  return state === undefined ? messageOf(behind) : `${state[0]} (${code})${state[1]}`
}

/** What the errors of disks mean, and what to do about them. */
const STATES: ReadonlyMap<string, readonly [state: string, advice: string]> = new Map([
  ["ENOSPC", ["the disk is full", "; make room, and run it again"]],
  ["EDQUOT", ["the quota of the disk is used up", "; make room, and run it again"]],
  ["EFBIG", ["the file is larger than its disk or `ulimit -f` allows", "; raise the limit, and run it again"]],
  ["EMFILE", ["too many files are open", "; raise `ulimit -n`, and run it again"]],
  ["EROFS", ["the disk is read-only", "; choose another folder"]],
  ["EACCES", ["permission is denied", ""]],
  ["EPERM", ["permission is denied", ""]]
])

/** Joins bytes. */
export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  if (parts.length === 1) return parts[0]!
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** How bytes are compressed. */
export type Compression = "none" | "gzip" | "zstd"

/** A part of a compressed file that can be decompressed at once: it grows to no more than a few megabytes. */
export interface Piece {
  readonly compression: Compression
  readonly bytes: Uint8Array
  /** The file or, in zstd, its frame ends here: whole, or before its end; or something else follows. */
  readonly end?: "whole" | "cut" | "other"
}

/**
 * Makes a cutter of a file into pieces; where the bytes are cut into chunks changes no byte and no end.
 *
 * Frames of zstd are told apart here because decompressors do not agree about them: some stop after the first, and
 * some take a file that breaks off for one that is complete.
 */
export const makePieces = (): Machine.Machine<Uint8Array, Piece> => {
  let head: Uint8Array = new Uint8Array(0)
  let machine: Machine.Machine<Uint8Array, Piece> | undefined
  return {
    feed: (chunk) => {
      if (machine !== undefined) return machine.feed(chunk)
      head = concat([head, chunk])
      if (head.length < 4) return []
      machine = piecesOf(head)
      return machine.feed(head)
    },
    end: () => {
      if (machine !== undefined) return machine.end()
      machine = piecesOf(head)
      return [...head.length === 0 ? [] : machine.feed(head), ...machine.end()]
    }
  }
}

const piecesOf = (head: Uint8Array): Machine.Machine<Uint8Array, Piece> => {
  if (head[0] === 0x1f && head[1] === 0x8b) return makeGzipPieces()
  if (head.length >= 4 && isFrame(magicOf(head))) return makeZstdPieces()
  return { feed: (bytes) => [{ compression: "none", bytes }], end: () => [] }
}

/** Deflate grows a byte to 1032 at most. */
const MOST_DEFLATED = 4096

const makeGzipPieces = (): Machine.Machine<Uint8Array, Piece> => ({
  feed: (bytes) =>
    Array.from({ length: Math.ceil(bytes.length / MOST_DEFLATED) }, (_, i) => ({
      compression: "gzip",
      bytes: bytes.subarray(i * MOST_DEFLATED, (i + 1) * MOST_DEFLATED)
    })),
  // Its decompressor knows where it breaks off.
  end: () => [{ compression: "gzip", bytes: new Uint8Array(0), end: "whole" }]
})

const ZSTD = 0xfd2fb528
const magicOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
/** Frames of data, and those to be skipped, as pzstd and seekable files have them. */
const isFrame = (magic: number): boolean => magic === ZSTD || magic >>> 4 === 0x184d2a5

/**
 * Reads the headers of frames and blocks (RFC 8878, section 3.1) to know where they end; a block is 128 KB at most,
 * decompressed.
 */
const makeZstdPieces = (): Machine.Machine<Uint8Array, Piece> => {
  /** What is read next: so many bytes, of which `header` alone are kept, until they are complete, to be understood. */
  let header: Array<number> = []
  let step: "magic" | "descriptor" | "frame" | "block" | "body" | "last" | "skipped-size" | "skipped" = "magic"
  let left = 4
  let hasChecksum = false

  const enter = (next: typeof step, length: number): void => {
    step = next
    left = length
    header = []
  }

  const number = (): number => header.reduce((sum, byte, i) => sum + byte * 2 ** (8 * i), 0)

  /** Goes on from what is complete; tells whether a frame ends here. */
  const advance = (): Piece["end"] => {
    switch (step) {
      case "magic": {
        const magic = number()
        if (!isFrame(magic)) return "other"
        if (magic === ZSTD) enter("descriptor", 1)
        else enter("skipped-size", 4)
        return undefined
      }
      case "skipped-size": {
        const length = number()
        if (length > 0) {
          enter("skipped", length)
          return undefined
        }
        enter("magic", 4)
        return "whole"
      }
      case "descriptor": {
        const descriptor = header[0]!
        const isSingle = (descriptor & 0x20) !== 0
        hasChecksum = (descriptor & 0x04) !== 0
        const contentSize = [isSingle ? 1 : 0, 2, 4, 8][descriptor >>> 6]!
        const length = (isSingle ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]! + contentSize
        enter("frame", length)
        return length === 0 ? advance() : undefined
      }
      case "frame":
        enter("block", 3)
        return undefined
      case "block": {
        const block = number()
        const isRunLength = ((block >>> 1) & 3) === 1
        const length = (isRunLength ? 1 : block >>> 3) + ((block & 1) === 1 && hasChecksum ? 4 : 0)
        enter((block & 1) === 1 ? "last" : "body", length)
        return length === 0 ? advance() : undefined
      }
      case "body":
        enter("block", 3)
        return undefined
      case "last":
      case "skipped":
        enter("magic", 4)
        return "whole"
    }
  }

  const isHeader = (): boolean => step !== "body" && step !== "last" && step !== "skipped" && step !== "frame"

  return {
    feed: (bytes) => {
      const pieces: Array<Piece> = []
      let from = 0
      for (let at = 0; at < bytes.length;) {
        const length = Math.min(left, bytes.length - at)
        if (isHeader()) header.push(...bytes.subarray(at, at + length))
        at += length
        left -= length
        if (left > 0) break
        const wasBody = step === "body"
        const end = advance()
        if (end === "other") return [...pieces, { compression: "zstd", bytes: new Uint8Array(0), end }]
        if (end === undefined && !wasBody) continue
        pieces.push({ compression: "zstd", bytes: bytes.subarray(from, at), ...end && { end } })
        from = at
      }
      if (from < bytes.length) pieces.push({ compression: "zstd", bytes: bytes.subarray(from) })
      return pieces
    },
    end: () => step === "magic" && left === 4 ? [] : [{ compression: "zstd", bytes: new Uint8Array(0), end: "cut" }]
  }
}

/** Decompresses pieces, each before the next one is asked for. */
const decompress = (name: string) =>
<R>(
  pieces: Stream.Stream<Piece, StorageError, R>
): Stream.Stream<Uint8Array, StorageError, R> =>
  Stream.unwrap(Effect.map(Effect.scope, (scope) => {
    let coder: Coder | undefined
    const read = Effect.fnUntraced(function* ({ compression, bytes, end }: Piece) {
      if (compression === "none") return [bytes]
      if (end === "cut") return yield* fail("unreadable", name, "its compressed data breaks off")
      if (end === "other") return yield* fail("unreadable", name, "something else stands behind its compressed data")
      coder ??= yield* Scope.provide(coderOf("read", name, compression), scope)
      const parts = yield* coder.feed(bytes)
      if (end === undefined) return parts
      const { end: rest } = coder
      coder = undefined
      return [...parts, ...yield* rest]
    })
    return pieces.pipe(Stream.mapEffect(read), Stream.flattenIterable, Stream.filter(({ length }) => length > 0))
  }))

/** A compressor or a decompressor. */
interface Coder {
  readonly feed: (bytes: Uint8Array) => Effect.Effect<ReadonlyArray<Uint8Array>, StorageError>
  readonly end: Effect.Effect<ReadonlyArray<Uint8Array>, StorageError>
}

const coderOf = (
  action: "read" | "write",
  name: string,
  compression: Compression
): Effect.Effect<Coder, StorageError, Scope.Scope> =>
  Effect.gen(function* () {
    if (compression === "none") return { feed: (bytes: Uint8Array) => Effect.succeed([bytes]), end: Effect.succeed([]) }
    const zlib = yield* Effect.promise(() => import("node:zlib"))
    const createChecked = () => zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } })
    const transform: Transform = {
      read: { gzip: zlib.createGunzip, zstd: zlib.createZstdDecompress },
      write: { gzip: zlib.createGzip, zstd: createChecked }
    }[action][compression]()
    let parts: Array<Uint8Array> = []
    let failure: unknown
    transform.on("data", (part: Uint8Array) => parts.push(part))
    transform.on("error", (cause: unknown) => failure = cause)
    yield* Effect.addFinalizer(() => Effect.sync(() => transform.destroy()))

    const step = (run: (done: (cause?: unknown) => void) => void) =>
      Effect.callback<ReadonlyArray<Uint8Array>, StorageError>((resume) => {
        const settle = (cause: unknown): void => {
          transform.off("error", settle)
          if (cause !== undefined && cause !== null) return resume(Effect.fail(errorOf(action, name, cause)))
          const done = parts
          parts = []
          resume(Effect.succeed(done))
        }
        if (failure !== undefined) return settle(failure)
        transform.once("error", settle)
        run(settle)
      })

    return {
      feed: (bytes: Uint8Array) =>
        bytes.length === 0 ? Effect.succeed([]) : step((done) => void transform.write(bytes, done)),
      end: step((done) => {
        transform.once("end", () => done())
        transform.end()
      })
    }
  })

const compressionOf = (name: string): Compression =>
  name.endsWith(".gz") ? "gzip" : name.endsWith(".zst") ? "zstd" : "none"

const fail = (reason: StorageError["reason"], path: string, state: string): Effect.Effect<never, StorageError> => {
  const file = nameOf(path)
  return Effect.fail(new StorageError({ reason, file, message: `Cannot read ${file}: ${state}` }))
}

/** Bytes that can be read in any order. */
interface Bytes {
  readonly byteLength: number
  readonly read: (start: number, end: number) => Effect.Effect<ArrayBuffer, StorageError>
}

const openFile = (name: string): Effect.Effect<Bytes, StorageError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const file = yield* files.open(name)
    const info = yield* file.stat
    const read = Effect.fnUntraced(function* (start: number, end: number) {
      const bytes = new Uint8Array(end - start)
      for (let at = 0; at < bytes.length;) {
        const count = yield* file.read(bytes.subarray(at), { position: BigInt(start + at) })
        if (count === 0) return yield* fail("unreadable", name, `it ends before byte ${end}`)
        at += count
      }
      return bytes.buffer
    })
    return {
      byteLength: Number(info.size),
      read: (start: number, end: number) => Effect.mapError(read(start, end), (cause) => errorOf("read", name, cause))
    }
  }).pipe(Effect.mapError((cause) => errorOf("read", name, cause)))

const openAddress = (name: string): Effect.Effect<Bytes, StorageError> =>
  Effect.gen(function* () {
    const { response, total } = yield* ask(name)
    yield* discard(response)
    if (response.status !== 206 || total === undefined) {
      return yield* fail("unreadable", name, "its server gives no part of a file; download it first")
    }
    const read = Effect.fnUntraced(function* (start: number, end: number) {
      const response = yield* request(name, `bytes=${start}-${end - 1}`)
      const bytes = yield* Effect.tryPromise({
        try: () => response.arrayBuffer(),
        catch: (cause) => errorOf("read", name, cause)
      })
      if (response.status !== 206 || bytes.byteLength !== end - start) {
        return yield* fail("unreadable", name, `its server gave ${bytes.byteLength} bytes for ${end - start}`)
      }
      return bytes
    })
    return {
      byteLength: total,
      read: (start: number, end: number) => start === end ? Effect.succeed(new ArrayBuffer(0)) : read(start, end)
    }
  })

/** Asks for the first byte: addresses that are signed for reading refuse to be asked for no more than their size. */
const ask = (
  name: string
): Effect.Effect<{ readonly response: Response; readonly total: number | undefined }, StorageError> =>
  Effect.map(request(name, "bytes=0-0"), (response) => {
    const total = response.status === 206
      ? /\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]
      : response.headers.get("content-length") ?? undefined
    return { response, total: total === undefined ? undefined : Number(total) }
  })

/** Asks for a file or a range of it; a server that is busy or away is asked again, a few times. */
const request = (name: string, range?: string): Effect.Effect<Response, StorageError> =>
  Effect.gen(function* () {
    for (let tries = 1;; tries++) {
      const asked = yield* Effect.result(requestOnce(name, range))
      if (Result.isSuccess(asked)) return asked.success
      const { reason, message } = asked.failure
      if (tries >= TRIES || reason !== "unreadable" || / (?:4(?!08|29)\d\d)$/.test(message)) return yield* asked.failure
      yield* Effect.flatMap(Retry.backoff(tries), Effect.sleep)
    }
  })

/** How often a file is asked for. */
const TRIES = 4

const requestOnce = (name: string, range?: string): Effect.Effect<Response, StorageError> =>
  Effect.tryPromise({
    // Ranges are of the bytes that are sent: what is compressed on the way has none.
    try: (signal) => fetch(name, { signal, ...range && { headers: { range, "accept-encoding": "identity" } } }),
    catch: (cause) => errorOf("read", name, reasonOf(cause))
  }).pipe(
    Effect.flatMap((response) => {
      if (response.ok) return Effect.succeed(response)
      const state = `its server answered with ${response.status}`
      return Effect.andThen(
        discard(response),
        response.status === 404 || response.status === 410
          ? fail("not-found", name, state)
          : fail("unreadable", name, state)
      )
    })
  )

const discard = (response: Response): Effect.Effect<void> =>
  Effect.promise(async () => {
    await response.body?.cancel().catch(() => {})
  })

const download = (name: string): Stream.Stream<Uint8Array, StorageError> =>
  Stream.unwrap(
    Effect.map(request(name), ({ body }) =>
      body === null ? Stream.empty : Stream.fromReadableStream({
        evaluate: () => body,
        onError: (cause) => errorOf("read", name, cause)
      }))
  )

const input = (): Stream.Stream<Uint8Array, StorageError> =>
  Stream.unwrap(Effect.map(
    Effect.promise(() => import("node:process")),
    ({ default: { stdin } }) => Stream.fromAsyncIterable(stdin, (cause) => errorOf("read", STANDARD, cause))
  ))

const output = (name: string): Effect.Effect<(bytes: Uint8Array) => Effect.Effect<void, StorageError>> =>
  Effect.map(Effect.promise(() => import("node:process")), ({ default: { stdout, stderr } }) => {
    const stream = name === STANDARD ? stdout : stderr
    return (bytes) =>
      Effect.callback((resume) => {
        // A reader that went away is told as an event, which without a listener ends the process.
        const settle = (cause?: unknown): void => {
          stream.off("error", settle)
          resume(cause === undefined || cause === null ? Effect.void : Effect.fail(errorOf("write", name, cause)))
        }
        stream.on("error", settle)
        try {
          stream.write(bytes, settle)
        } catch (cause) {
          // Deno throws.
          settle(cause)
        }
      })
  })

const isPlatformError = (cause: unknown): cause is PlatformError.PlatformError =>
  typeof cause === "object" && cause !== null && "_tag" in cause && cause._tag === "PlatformError"

/** What lies behind "fetch failed". */
const reasonOf = (cause: unknown): unknown =>
  cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause

const messageOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)
