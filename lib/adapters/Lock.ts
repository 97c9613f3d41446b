/**
 * A lock that a crash does not leave behind: a file that names the process that holds it.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { hostname } from "node:os"
import { basename, dirname, join, resolve } from "node:path"
import process from "node:process"

interface Fields {
  /** Who holds it, and what to do about it. */
  readonly message: string
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "Taken" } = Data
  .TaggedError("Taken")

/** A lock is held by someone else. */
export class Taken extends Base {}

/**
 * Takes the lock of a file, `<file>.lock`, for as long as the scope is open; one whose process is gone is taken over.
 *
 * A process of another host may be running for all that is known, and keeps its lock. One in another container that has
 * the name of this host is taken for one that is gone.
 */
export const take = (
  file: string
): Effect.Effect<void, Taken | PlatformError.PlatformError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const path = yield* pathOf(file)
    const own = path.replace(/lock$/, `${process.pid}-${++taken}.lock`)
    const text = JSON.stringify({ process: process.pid, host: hostname() })
    const remove = (name: string) => Effect.ignore(files.remove(name, { force: true }))
    // A file that is written first and linked then is never seen empty; where there are no links, it may be for a moment.
    const create = files.writeFileString(own, text).pipe(
      Effect.andThen(files.link(own, path)),
      Effect.catch((cause) =>
        cause.reason._tag === "AlreadyExists" ? Effect.fail(cause) : files.writeFileString(path, text, { flag: "wx" })
      ),
      Effect.as(true),
      Effect.catch((cause) => cause.reason._tag === "AlreadyExists" ? Effect.succeed(false) : Effect.fail(cause)),
      Effect.ensuring(remove(own))
    )
    const acquire = Effect.gen(function* () {
      if (yield* create) return
      const holder = yield* holderOf(path, path)
      if (holder !== undefined) {
        const message =
          `process ${holder.process} on ${holder.host} has it open; if there is no such run, remove ${path}`
        return yield* new Taken({ message })
      }
      // Someone else may have taken it over just now: what is moved away is looked at again.
      const isMoved = yield* files.rename(path, own).pipe(
        Effect.as(true),
        Effect.catch((cause) => cause.reason._tag === "NotFound" ? Effect.succeed(false) : Effect.fail(cause))
      )
      const isStale = isMoved && (yield* holderOf(path, own)) === undefined
      if (isStale) yield* remove(own)
      else if (isMoved) yield* files.rename(own, path)
      if (!isStale || !(yield* create)) return yield* new Taken({ message: "another run has just opened it" })
    })
    // Between its file and its entry here, a lock would be taken for one that an earlier process of this number had.
    const acquireAlone = Effect.suspend(() => {
      if (beingTaken.has(path)) return Effect.fail(new Taken({ message: "another run is just opening it" }))
      beingTaken.add(path)
      return acquire.pipe(
        Effect.andThen(Effect.sync(() => held.add(path))),
        Effect.ensuring(Effect.sync(() => beingTaken.delete(path)))
      )
    })
    yield* Effect.acquireRelease(
      acquireAlone,
      () => Effect.andThen(Effect.sync(() => held.delete(path)), remove(path))
    )
  })

/** Tells whether the lock of a file is held; one that cannot be read is. */
export const isTaken = (file: string): Effect.Effect<boolean, never, FileSystem.FileSystem> =>
  pathOf(file).pipe(
    Effect.flatMap((path) => holderOf(path, path)),
    Effect.map((holder) => holder !== undefined),
    Effect.orElseSucceed(() => true)
  )

/** How many locks this process has tried to take. */
let taken = 0

/** The locks that this process holds. */
const held = new Set<string>()

/** The locks that this process is about to hold, or to find taken. */
const beingTaken = new Set<string>()

/** Where the lock of a file is: one place, whatever links lead to the file. */
const pathOf = (file: string): Effect.Effect<string, PlatformError.PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const whole = resolve(file)
    const real = files.realPath(whole).pipe(
      // A file that is not there yet is in a folder that may be linked to; where that is not there, nothing is.
      Effect.catch((cause) =>
        cause.reason._tag === "NotFound"
          ? Effect.map(files.realPath(dirname(whole)), (folder) => join(folder, basename(whole)))
          : Effect.fail(cause)
      ),
      Effect.catch((cause) => cause.reason._tag === "NotFound" ? Effect.succeed(whole) : Effect.fail(cause))
    )
    return `${yield* real}.lock`
  })

interface Holder {
  readonly process: number
  readonly host: string
}

const decode = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Struct({ process: Schema.Int, host: Schema.String }))
)

/** Who holds a lock that is in a file; nobody where its process is gone, or was killed while it wrote the lock. */
const holderOf = (
  path: string,
  file: string
): Effect.Effect<Holder | undefined, PlatformError.PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const text = yield* files.readFileString(file).pipe(
      Effect.catch((cause) => cause.reason._tag === "NotFound" ? Effect.succeed("") : Effect.fail(cause))
    )
    const holder = Option.getOrUndefined(decode(text))
    return holder !== undefined && (held.has(path) || isAlive(holder)) ? holder : undefined
  })

const isAlive = (holder: Holder): boolean => {
  if (holder.host !== hostname()) return true
  // Its own number is one that an earlier process had: containers begin to count anew.
  if (holder.process === process.pid) return false
  try {
    return process.kill(holder.process, 0)
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}
