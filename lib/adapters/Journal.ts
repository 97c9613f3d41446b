/**
 * A journal of answers: what a model was paid for once is never asked again.
 *
 * Each request is known by its content: the model, the messages, the sampling, and the how-manieth sample of it this is.
 * Its answer is appended to a file of JSON lines, once, as soon as it is there. A run that was killed anywhere goes on by
 * running again: what was answered comes from the file, and only what was under way is asked anew. Nothing else counts:
 * not the order of the requests, and no option that does not change them.
 *
 * ```text
 *   {"_tag":"Answer","key":"…","at":1700000000000,"took":812,"text":"* …","finish":{"reason":"stop",…},"usage":{…}}
 * ```
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { estimateUsage } from "../Budget.ts"
import * as Machine from "../Machine.ts"
import {
  complete,
  type Completion,
  type Finish,
  ModelError,
  type Part,
  type Request,
  TextModel,
  type Usage
} from "../TextModel.ts"
import * as Jsonl from "./Jsonl.ts"
import * as Lock from "./Lock.ts"
import * as Storage from "./Storage.ts"

/** A journal that is open. */
export interface Journal {
  /** What the journal holds; it grows with the run. */
  readonly digest: Digest
  /**
   * Gives a model whose answers are kept: one that is known comes from the journal, and requests that are alike and under
   * way at once are asked once.
   *
   * An answer comes whole. A request goes on where its reader leaves it, because it is paid for. Where an answer cannot
   * be written down, the model fails as `stopped`.
   */
  readonly record: (model: TextModel, options?: RecordOptions) => TextModel
  /** Writes down how far the run is. */
  readonly note: (note: Note) => Effect.Effect<void, JournalError>
  /** Waits until no request is under way. */
  readonly drain: Effect.Effect<void>
}

/** How requests are known. */
export interface RecordOptions {
  /** What answers depend on beside the model's name and the request, as the API that is asked; nothing by default. */
  readonly variant?: string
}

/** How a run began: its command and its input. */
export interface Begin {
  readonly _tag: "Begin"
  /** When, in milliseconds since 1970. */
  readonly at: number
  /** The arguments of the command. */
  readonly args: ReadonlyArray<string>
  /** The folder it runs in. */
  readonly folder: string
  /** The file with the rows. */
  readonly out: string
  /** The bytes of all input; null where they are not known. */
  readonly bytes: number | null
  /** The model that is asked. */
  readonly model: string
  /** The price of a million tokens in USD; null where it is not known. */
  readonly price: { readonly input: number; readonly output: number; readonly cachedInput?: number } | null
}

/** How far a run is. */
export interface Progress {
  readonly _tag: "Progress"
  readonly at: number
  readonly samples: number
  readonly rows: number
  /** The samples rejected, for each reason. */
  readonly rejected: Readonly<Record<string, number>>
  /** About how many bytes of the input are done. */
  readonly bytes: number
  /** The tries that failed at all servers, those that were made again included; left out where that is not known. */
  readonly tries?: number
  /** How long all servers are left alone from then on, in milliseconds; left out where they are not. */
  readonly pause?: number
}

/** How a run ended. */
export interface End {
  readonly _tag: "End"
  readonly at: number
  /** `done`: the output is whole; `stopped`: an error ended the run; `interrupted`: a person did. */
  readonly how: "done" | "stopped" | "interrupted"
  /** The error. */
  readonly message?: string
}

/** What is written down of a run, beside its answers and failures. */
export type Note = Begin | Progress | End

/** A request that failed, and has no answer since. */
export interface Failure {
  readonly _tag: "Failure"
  /** What the request is known by. */
  readonly key: string
  readonly at: number
  readonly reason: string
  readonly message: string
}

interface Answer {
  readonly _tag: "Answer"
  readonly key: string
  readonly at: number
  /** How long it took, in milliseconds. */
  readonly took: number
  readonly text: string
  /** Reasoning that the server keeps beside the text. */
  readonly reasoning?: string
  readonly finish: Finish["reason"]
  /** The server's figures, or an estimate. */
  readonly usage: Usage
  readonly estimated?: true
}

type Entry = Answer | Failure | Note

/** What a journal holds. */
export interface Digest {
  /** The number of answers. */
  answers: number
  /** The tokens of all answers, estimates included. */
  usage: Usage
  /** How many of the answers have no figures but estimates. */
  estimated: number
  /** The requests that failed and have no answer, by key. */
  readonly failures: Map<string, Failure>
  /** The lines that are no entry. */
  damaged: number
  /** The last run: how it began, how far it is, and how it ended, if it did. */
  begin: Begin | undefined
  progress: Progress | undefined
  end: End | undefined
  /** The answers of the last run, and when the last of them came. */
  recent: { answers: number; usage: Usage; at: number }
}

/**
 * Opens a journal, or begins one, for as long as the scope is open.
 *
 * A last line that was torn is cut off. It fails where another run has the journal open: that is told by a file beside
 * it, which names the process; what a process that is gone has left is taken over.
 */
export const open = (path: string): Effect.Effect<Journal, JournalError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const scope = yield* Effect.scope
    const attempt = attemptOn(path)
    yield* Effect.mapError(
      Lock.take(path),
      (error) =>
        error._tag === "Taken" ? errorOf("locked", path, "open", error.message) : failureOf(path, "open", error)
    )
    const file = yield* attempt("open", files.open(path, { flag: "a+" }))
    // Where each line starts, and at last where the file ends; and in which line the answer to a request is.
    const starts = [0]
    const lines = new Map<string, number>()
    const digest = makeDigest()
    const enter = (entry: Entry | undefined, bytes: number): void => {
      if (entry?._tag === "Answer") lines.set(entry.key, starts.length - 1)
      starts.push(starts.at(-1)! + bytes)
      add(digest, entry)
    }
    const size = yield* scan(path, enter)
    yield* attempt("repair", files.truncate(path, size))

    const alone = Semaphore.makeUnsafe(1)
    // Behind an entry that was written in part nothing can be written, and nothing is asked that cannot be written down.
    let broken: JournalError | undefined
    const append = (entry: Entry): Effect.Effect<void, JournalError> =>
      Effect.suspend(() => {
        if (broken !== undefined) return Effect.fail(broken)
        const bytes = encoder.encode(`${JSON.stringify(entry)}\n`)
        return attempt("write", file.writeAll(bytes)).pipe(
          Effect.tapError((error) =>
            Effect.sync(() => {
              broken = error
            })
          ),
          Effect.andThen(Effect.sync(() => enter(entry, bytes.length)))
        )
      }).pipe(alone.withPermit, Effect.uninterruptible)

    const recall = (key: string, line: number): Effect.Effect<Completion, JournalError> =>
      Effect.gen(function* () {
        const from = starts[line]!
        const length = starts[line + 1]! - from
        const bytes = yield* attempt("read", file.readAlloc(length, { position: BigInt(from) }))
        const entry = parse(Option.getOrElse(bytes, () => new Uint8Array()))
        if (entry?._tag !== "Answer" || entry.key !== key) {
          return yield* errorOf("changed", path, "read", "it was changed by someone else")
        }
        const { text, reasoning = "", usage, estimated } = entry
        const figures = estimated === undefined ? { usage } : {}
        return { text, reasoning, finish: { _tag: "Finish", reason: entry.finish, ...figures } }
      })

    const ask = (
      model: TextModel,
      request: Request,
      key: string
    ): Effect.Effect<Completion, ModelError | JournalError> =>
      Effect.gen(function* () {
        const began = yield* Clock.currentTimeMillis
        const answer = yield* complete(request).pipe(
          Effect.provideService(TextModel, model),
          Effect.tapError(({ reason, message }) =>
            reason === "stopped" ?
              Effect.void :
              Effect.flatMap(Clock.currentTimeMillis, (at) => append({ _tag: "Failure", key, at, reason, message }))
          )
        )
        const { text, reasoning, finish } = answer
        const at = yield* Clock.currentTimeMillis
        yield* append({
          _tag: "Answer",
          key,
          at,
          took: at - began,
          text,
          ...reasoning !== "" && { reasoning },
          finish: finish.reason,
          ...finish.usage === undefined
            ? { usage: estimateUsage(request, reasoning + text), estimated: true as const }
            : { usage: finish.usage }
        })
        return answer
      })

    const underWay = new Map<string, Fiber.Fiber<Completion, ModelError | JournalError>>()
    const once = (
      model: TextModel,
      request: Request,
      variant: string | undefined
    ): Effect.Effect<Completion, ModelError | JournalError> =>
      Effect.suspend(() => {
        const key = keyOf(model, request, variant)
        const line = lines.get(key)
        if (line !== undefined) return recall(key, line)
        const running = underWay.get(key)
        if (running !== undefined) return Fiber.join(running)
        if (broken !== undefined) return Effect.fail(broken)
        return ask(model, request, key).pipe(
          Effect.ensuring(Effect.sync(() => underWay.delete(key))),
          Effect.forkIn(scope),
          Effect.tap((fiber) =>
            Effect.sync(() => {
              if (fiber.pollUnsafe() === undefined) underWay.set(key, fiber)
            })
          ),
          Effect.uninterruptible,
          Effect.flatMap(Fiber.join)
        )
      })

    return {
      digest,
      record: (model, { variant } = {}) => ({
        name: model.name,
        generate: (request) =>
          Stream.unwrap(Effect.map(once(model, request, variant), partsOf)).pipe(
            Stream.mapError((error) =>
              error._tag === "ModelError" ? error : new ModelError({ reason: "stopped", message: error.message })
            )
          )
      }),
      note: append,
      drain: Effect.suspend(() => Effect.forEach([...underWay.values()], Fiber.await, { discard: true }))
    }
  })

/** Reads what a journal holds, of a run that is under way, too. */
export const inspect = (path: string): Effect.Effect<Digest, JournalError, FileSystem.FileSystem> =>
  Effect.suspend(() => {
    const digest = makeDigest()
    return Effect.as(scan(path, (entry) => add(digest, entry)), digest)
  })

/** Tells whether a run has a journal open. */
export const isOpen = (path: string): Effect.Effect<boolean, never, FileSystem.FileSystem> => Lock.isTaken(path)

interface Fields {
  /**
   * `not-found`: the file, or the folder to write it to, is not there; `locked`: another run has it open; `foreign`: it
   * is no journal; `changed`: it is not what it was when it was opened; `unreadable` and `unwritable`: anything else.
   */
  readonly reason: "not-found" | "locked" | "foreign" | "changed" | "unreadable" | "unwritable"
  /** The file. */
  readonly file: string
  /** A sentence that reads "Cannot …: …". */
  readonly message: string
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "JournalError" } = Data
  .TaggedError("JournalError")

/** A journal could not be read or written. */
export class JournalError extends Base {}

// ---- requests

/** What a request is known by: everything that the answer depends on. */
const keyOf = (
  { name }: TextModel,
  { messages, prefix, prompt, maxTokens, sampling = {}, attempt = 0 }: Request,
  variant: string | undefined
): string => {
  const { temperature, topP, seed } = sampling
  const said = messages.map(({ role, content }) => [role, content])
  const asked = [name, said, prefix, prompt, maxTokens, temperature, topP, seed, attempt]
  const content = JSON.stringify(variant === undefined ? asked : [...asked, variant])
  return createHash("sha256").update(content).digest("base64url").slice(0, KEY_LENGTH)
}

/** 144 bits, so that two requests of a run are never taken for one. */
const KEY_LENGTH = 24

const partsOf = ({ text, reasoning, finish }: Completion): Stream.Stream<Part> =>
  Stream.fromIterable([
    ...reasoning === "" ? [] : [{ _tag: "Reasoning", text: reasoning } as const],
    ...text === "" ? [] : [{ _tag: "Text", text } as const],
    finish
  ])

// ---- the file

const encoder = new TextEncoder()
const decoder = new TextDecoder()

const Moment = Schema.Finite
const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Price = Schema.Finite

const entries: Schema.Codec<Entry> = Schema.Union([
  Schema.TaggedStruct("Answer", {
    key: Schema.String,
    at: Moment,
    took: Schema.Finite,
    text: Schema.String,
    reasoning: Schema.optionalKey(Schema.String),
    finish: Schema.Literals(["stop", "length", "filter", "other"]),
    usage: Schema.Struct({
      inputTokens: Schema.Finite,
      outputTokens: Schema.Finite,
      reasoningTokens: Schema.optionalKey(Schema.Finite),
      cachedTokens: Schema.optionalKey(Schema.Finite)
    }),
    estimated: Schema.optionalKey(Schema.Literal(true))
  }),
  Schema.TaggedStruct("Failure", { key: Schema.String, at: Moment, reason: Schema.String, message: Schema.String }),
  Schema.TaggedStruct("Begin", {
    at: Moment,
    args: Schema.Array(Schema.String),
    folder: Schema.String,
    out: Schema.String,
    bytes: Schema.NullOr(Count),
    model: Schema.String,
    price: Schema.NullOr(Schema.Struct({ input: Price, output: Price, cachedInput: Schema.optionalKey(Price) }))
  }),
  Schema.TaggedStruct("Progress", {
    at: Moment,
    samples: Count,
    rows: Count,
    rejected: Schema.Record(Schema.String, Count),
    bytes: Count,
    tries: Schema.optionalKey(Count),
    pause: Schema.optionalKey(Schema.Finite)
  }),
  Schema.TaggedStruct("End", {
    at: Moment,
    how: Schema.Literals(["done", "stopped", "interrupted"]),
    message: Schema.optionalKey(Schema.String)
  })
])
const isEntry = Schema.is(entries)

const parse = (bytes: Uint8Array): Entry | undefined => {
  try {
    const entry: unknown = JSON.parse(decoder.decode(bytes))
    return isEntry(entry) ? entry : undefined
  } catch {
    return undefined
  }
}

/** Reads the whole lines of a journal with their bytes, and gives the sum of these; a line that is no entry is undefined. */
const scan = (
  path: string,
  each: (entry: Entry | undefined, bytes: number) => void
): Effect.Effect<number, JournalError, FileSystem.FileSystem> => {
  let size = 0
  let head = new Uint8Array()
  return Stream.unwrap(Effect.map(FileSystem.FileSystem, (files) => files.stream(path))).pipe(
    Stream.mapError((cause) => failureOf(path, "read", cause)),
    Stream.tap((chunk) =>
      Effect.sync(() => {
        if (head.length < BEGINNING.length) head = new Uint8Array([...head, ...chunk.subarray(0, BEGINNING.length)])
      })
    ),
    // What stands behind the last newline is torn: it is never ended, and so never given.
    Machine.stream(() => ({ ...Jsonl.makeLines(MAX_LINE_BYTES), end: () => [] })),
    Stream.runForEach(({ bytes, length }) =>
      Effect.sync(() => {
        each(bytes === undefined ? undefined : parse(bytes), length + 1)
        size += length + 1
      })
    ),
    Effect.flatMap(() =>
      // A file that is something else is better left alone than repaired.
      BEGINNING.startsWith(decoder.decode(head.subarray(0, BEGINNING.length)))
        ? Effect.succeed(size)
        : Effect.fail(errorOf("foreign", path, "open", `it is no journal: it does not begin with ${BEGINNING}`))
    )
  )
}

/** What every entry begins with. */
const BEGINNING = '{"_tag":"'

/** The longest line: far more than any answer. */
const MAX_LINE_BYTES = 2 ** 28

const makeDigest = (): Digest => ({
  answers: 0,
  usage: { inputTokens: 0, outputTokens: 0 },
  estimated: 0,
  failures: new Map(),
  damaged: 0,
  begin: undefined,
  progress: undefined,
  end: undefined,
  recent: { answers: 0, usage: { inputTokens: 0, outputTokens: 0 }, at: 0 }
})

const add = (digest: Digest, entry: Entry | undefined): void => {
  switch (entry?._tag) {
    case undefined:
      digest.damaged++
      return
    case "Answer":
      digest.answers++
      digest.usage = sum(digest.usage, entry.usage)
      digest.recent.answers++
      digest.recent.usage = sum(digest.recent.usage, entry.usage)
      digest.recent.at = entry.at
      if (entry.estimated) digest.estimated++
      digest.failures.delete(entry.key)
      return
    case "Failure":
      digest.failures.set(entry.key, entry)
      return
    case "Begin":
      digest.begin = entry
      digest.progress = undefined
      digest.end = undefined
      digest.recent = { answers: 0, usage: { inputTokens: 0, outputTokens: 0 }, at: entry.at }
      return
    case "Progress":
      digest.progress = entry
      return
    case "End":
      digest.end = entry
  }
}

const sum = (one: Usage, other: Usage): Usage => ({
  inputTokens: one.inputTokens + other.inputTokens,
  outputTokens: one.outputTokens + other.outputTokens,
  reasoningTokens: (one.reasoningTokens ?? 0) + (other.reasoningTokens ?? 0),
  cachedTokens: (one.cachedTokens ?? 0) + (other.cachedTokens ?? 0)
})

// ---- errors

type Action = "open" | "repair" | "read" | "write"

const attemptOn =
  (path: string) =>
  <A, R>(action: Action, effect: Effect.Effect<A, PlatformError.PlatformError, R>): Effect.Effect<A, JournalError, R> =>
    Effect.mapError(effect, (cause) => failureOf(path, action, cause))

const failureOf = (path: string, action: Action, cause: PlatformError.PlatformError): JournalError => {
  const { reason } = cause
  return reason._tag === "NotFound"
    ? errorOf("not-found", path, action, action === "open" ? "its folder does not exist" : "it does not exist", cause)
    : errorOf(action === "read" ? "unreadable" : "unwritable", path, action, Storage.describe(cause), cause)
}

const errorOf = (
  reason: JournalError["reason"],
  file: string,
  action: Action,
  state: string,
  cause?: unknown
): JournalError => new JournalError({ reason, file, message: `Cannot ${action} the journal ${file}: ${state}`, cause })
