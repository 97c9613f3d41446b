/**
 * Threads that answer tasks: both of their ends.
 *
 * ```text
 *   make(entry) ─ start ─▶ thread: answer(make) ─ ready ─▶
 *   run(task) ──── task ─▶ reply or failure ─────────────▶
 * ```
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { parentPort, Worker, workerData } from "node:worker_threads"

interface Fields {
  /** `failed`: a thread could not be made ready, or a task threw; `ended`: a thread died, for want of memory perhaps. */
  readonly reason: "failed" | "ended"
  /** A sentence that reads "Cannot work in a thread: …". */
  readonly message: string
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "WorkerError" } = Data
  .TaggedError("WorkerError")

/** A thread gave no reply. */
export class WorkerError extends Base {}

/** Threads that answer the same tasks. */
export interface Workers<Task, Reply> {
  /** Starts the threads, where they are not yet. */
  readonly start: () => void
  /** Whether all threads are started, and could answer at once. */
  readonly areReady: () => boolean
  /** Has a task answered by the thread with the fewest; what is in `transfer` moves there, and is empty here. */
  readonly run: (task: Task, transfer: ReadonlyArray<ArrayBuffer>) => Effect.Effect<Reply, WorkerError>
}

/** What threads are made of. */
export interface Options {
  /** The module that calls `answer`. */
  readonly entry: URL
  /** The number of threads. */
  readonly count: number
  /** What `answer` makes its function of; it is copied to each thread. */
  readonly data: unknown
}

/** Makes threads, which end with the scope; one that dies fails what is asked of any, then and later. */
export const make = <Task, Reply>(
  { entry, count, data }: Options
): Effect.Effect<Workers<Task, Reply>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const threads: Array<Thread> = []
    const waiting = new Map<number, (reply: Effect.Effect<Reply, WorkerError>) => void>()
    let asked = 0
    let ready = 0
    let error: WorkerError | undefined

    const fail = (reason: WorkerError["reason"], cause: unknown): void => {
      const message = `Cannot work in a thread: ${cause instanceof Error ? cause.message : String(cause)}`
      error ??= new WorkerError({ reason, message, cause })
      // Who is told may ask again at once.
      const told = [...waiting.values()]
      waiting.clear()
      for (const resume of told) resume(Effect.fail(error))
    }

    const start = (): void => {
      while (threads.length < count && error === undefined) {
        let worker: Worker
        try {
          worker = new Worker(entry, { workerData: data })
        } catch (cause) {
          return fail("failed", cause)
        }
        const thread: Thread = { worker, tasks: 0 }
        threads.push(thread)
        thread.worker.on("message", (answer: Answer<Reply>) => {
          if (answer._tag === "Ready") return void ready++
          if (answer._tag === "Failed") return fail("failed", answer.message)
          thread.tasks--
          waiting.get(answer.id)?.(Effect.succeed(answer.reply))
          waiting.delete(answer.id)
        })
        thread.worker.on("error", (cause) => fail("ended", cause))
        thread.worker.on("messageerror", (cause) => fail("failed", cause))
        thread.worker.on("exit", (code) => fail("ended", `it ended with code ${code}`))
      }
    }

    yield* Effect.addFinalizer(() =>
      Effect.promise(async () => {
        for (const { worker } of threads) {
          worker.removeAllListeners("exit")
          await worker.terminate()
        }
      })
    )

    return {
      start,
      areReady: () => ready === count,
      run: (task: Task, transfer: ReadonlyArray<ArrayBuffer>) =>
        Effect.callback<Reply, WorkerError>((resume) => {
          start()
          if (error !== undefined) return resume(Effect.fail(error))
          const thread = threads.reduce((least, other) => other.tasks < least.tasks ? other : least)
          const id = asked++
          thread.tasks++
          waiting.set(id, resume)
          thread.worker.postMessage({ id, task } satisfies Asked<Task>, [...transfer])
          return Effect.sync(() => void waiting.delete(id))
        })
    }
  })

/** Answers tasks in a thread that `make` started: to be called once, by its module, before anything is awaited. */
export const answer = <Data, Task, Reply>(prepare: (data: Data) => Promise<(task: Task) => Reply>): void => {
  const port = parentPort
  if (port === null) throw new TypeError("Cannot answer: this is no thread that was started for it")
  const post = (answer: Answer<Reply>): void => port.postMessage(answer)
  const failed = (cause: unknown): void =>
    post({ _tag: "Failed", message: cause instanceof Error ? cause.message : String(cause) })
  // SAFETY: who names the module gives what it takes.
  const prepared = prepare(workerData as Data)
  prepared.then(() => post({ _tag: "Ready" }), failed)
  port.on("message", ({ id, task }: Asked<Task>) => {
    prepared.then((reply) => post({ _tag: "Reply", id, reply: reply(task) })).catch(failed)
  })
}

interface Thread {
  readonly worker: Worker
  /** How many tasks it has. */
  tasks: number
}

interface Asked<Task> {
  readonly id: number
  readonly task: Task
}

type Answer<Reply> =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Reply"; readonly id: number; readonly reply: Reply }
  | { readonly _tag: "Failed"; readonly message: string }
