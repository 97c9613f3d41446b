/**
 * Reasoning without Effect: promises, async iterables and abort signals.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Question } from "../core/Sample.ts"
import * as Reasoner from "../Reasoner.ts"
import * as State from "../State.ts"
import * as Summarizer from "../Summarizer.ts"
import { TextModel } from "../TextModel.ts"
import * as OpenAi from "./OpenAi.ts"

/** Where a model is, and how to ask it: the options of the OpenAI adapter, with plain strings and milliseconds. */
export interface Server
  extends Omit<OpenAi.Options, "apiKey" | "headers" | "maxRetryAfter" | "idleBytes" | "idleTokens"> {
  /** Sent as a bearer token; no message shows it. */
  readonly apiKey?: string
  /** More headers; they win over the adapter's own, and a message may show one that the server repeats. */
  readonly headers?: Readonly<Record<string, string>>
  /** The longest wait that a server may ask for before a request is sent again, in milliseconds; 10 minutes by default. */
  readonly maxRetryAfter?: number
  /** How long nothing at all may come, in milliseconds; 10 minutes by default. */
  readonly idleBytes?: number
  /** How long no text and no reasoning may come, in milliseconds; 30 minutes by default. */
  readonly idleTokens?: number
}

/** A model: a server's, or any TextModel. */
export type Model = Server | TextModel

/** How to reason: the options of the Reasoner, and what they are about. */
export type Options = Without<Reasoner.Options, "summarizer"> & {
  /** What reasons. */
  readonly model: Model
  /** Who writes summaries that the model does not write by itself; the model, by default. */
  readonly summarizer?: Model
  /** Ends the reasoning, closes its connections, and rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

/** Leaves keys out of each member of a union. */
type Without<A, Key extends PropertyKey> = A extends unknown ? Omit<A, Key> : never

/**
 * Reasons about a question, or goes on from a saved state, to the end, and gives the outcome.
 *
 * Rejects with a ReasonerError, which holds the last good state, where the server keeps failing, and with a RangeError
 * for a bad option.
 */
export const solve = async (from: Question | State.State, options: Options): Promise<Reasoner.Solution> => {
  const { signal } = options
  const { model, settings } = settle(options)
  signal?.throwIfAborted()
  try {
    const solved = Effect.provideService(Reasoner.solve(from, settings), TextModel, model)
    return await Effect.runPromise(solved, signal === undefined ? {} : { signal })
  } catch (error) {
    // An interruption says nothing of why.
    signal?.throwIfAborted()
    throw error
  }
}

/**
 * Reasons about a question, or goes on from a saved state, and gives what happens, once. Leaving the loop closes the
 * connection.
 *
 * Throws a RangeError for a bad option; the loop throws a ReasonerError, which holds the last good state, where the
 * server keeps failing.
 */
export const reason = (from: Question | State.State, options: Options): AsyncIterable<Reasoner.Event> => {
  const { model, settings } = settle(options)
  return iterate(Stream.provideService(Reasoner.reason(from, settings), TextModel, model), options.signal)
}

/**
 * Runs one iteration, the first for a question, and gives what happens, as `reason` does: the last event holds the state
 * after it, from which the next step starts.
 */
export const step = (from: Question | State.State, options: Options): AsyncIterable<Reasoner.Event> => {
  const { model, settings } = settle(options)
  const state = State.isState(from) ? from : Reasoner.begin(from, settings)
  return iterate(Stream.provideService(Reasoner.step(state, settings), TextModel, model), options.signal)
}

/** Reads a saved state from its JSON, as text or as a value. Throws a StateError. */
export const parseState = (json: unknown): State.State => Result.getOrThrow(State.parse(json))

/** How states are signed: the options of `State.verify`, with a plain string. */
export interface StateOptions extends Omit<State.VerifyOptions, "secret"> {
  /** What signs states: at least 32 bytes, from a random source, for who has a state can try secrets on it. */
  readonly secret: string
}

/** Signs a state that others keep. Rejects with a RangeError where the secret is too short. */
export const signState = (state: State.State, { secret }: Pick<StateOptions, "secret">): Promise<State.Signed> =>
  Effect.runPromise(State.sign(state, { secret: Redacted.make(secret) }))

/**
 * Reads a state that was signed, from its JSON, as text or as a value. Rejects with a StateError where it is none, was
 * changed or is too old, and with a RangeError where the secret is too short.
 */
export const verifyState = (json: unknown, { secret, ...options }: StateOptions): Promise<State.State> =>
  Effect.runPromise(State.verify(json, { ...options, secret: Redacted.make(secret) }))

const settle = (
  { model, summarizer, signal: _, ...rest }: Options
): { readonly model: TextModel; readonly settings: Reasoner.Options } => ({
  model: makeModel(model),
  settings: {
    ...rest,
    ...summarizer !== undefined && { summarizer: Summarizer.make(makeModel(summarizer)) }
  }
})

const makeModel = (model: Model): TextModel => {
  if ("generate" in model) return model
  const { apiKey, ...rest } = model
  return OpenAi.make({ ...rest, ...apiKey !== undefined && { apiKey: Redacted.make(apiKey) } })
}

/** Gives what a stream holds, and closes it when its reader leaves or its signal aborts. */
async function* iterate<A, E>(stream: Stream.Stream<A, E>, signal: AbortSignal | undefined): AsyncGenerator<A> {
  signal?.throwIfAborted()
  const iterator = Stream.toAsyncIterable(stream)[Symbol.asyncIterator]()
  const close = () => iterator.return?.()
  // It closes at once, even while its reader is busy elsewhere.
  signal?.addEventListener("abort", close)
  try {
    for (;;) {
      const next = await iterator.next()
      signal?.throwIfAborted()
      if (next.done) return
      yield next.value
    }
  } finally {
    signal?.removeEventListener("abort", close)
    await close()
  }
}
