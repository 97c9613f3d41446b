/**
 * A model that writes text: a request gives a stream of parts, and the last part says why it finished.
 *
 * The service is narrow on purpose, so that any server and any library is one small adapter away.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Message } from "./core/Sample.ts"

/** A model that writes text. */
export interface TextModel {
  /** The model's name, as rows of training data record it. */
  readonly name: string
  /** Runs a request. The stream ends with one `Finish`; a stream that cannot fails, and says why. */
  readonly generate: (request: Request) => Stream.Stream<Part, ModelError>
}

/** The service of a model that writes text. */
export const TextModel: Context.Service<TextModel, TextModel> = Context.Service<TextModel>("inftythink/TextModel")

/** What a model is asked. */
export interface Request {
  /** The conversation so far. */
  readonly messages: ReadonlyArray<Message>
  /** Text that the assistant's message begins with, and that the model continues. */
  readonly prefix?: string
  /** The whole request as one flat text, for models that are driven by raw completions. */
  readonly prompt?: string
  /** The most tokens the model may write. */
  readonly maxTokens?: number
  /** How the model samples. */
  readonly sampling?: Sampling
  /** The how-manieth sample of this request this is, from 0; no server is told. */
  readonly attempt?: number
}

/** How a model samples; what is left out is the server's default. */
export interface Sampling {
  readonly temperature?: number
  readonly topP?: number
  readonly seed?: number
  /** Who asks: the end user's name at the server, which tells abuse from use. */
  readonly user?: string
}

/** A part of what a model writes. */
export type Part =
  /** More text. */
  | { readonly _tag: "Text"; readonly text: string }
  /** More reasoning that the server keeps beside the text. */
  | { readonly _tag: "Reasoning"; readonly text: string }
  /** The end. */
  | Finish

/** Why a model stopped, and what it cost. */
export interface Finish {
  readonly _tag: "Finish"
  /** `stop`: it was done; `length`: it was cut; `filter`: a filter stopped it; `other`: anything else. */
  readonly reason: "stop" | "length" | "filter" | "other"
  /** The server's figures, where it sent any. */
  readonly usage?: Usage
  /** What went wrong behind the reason, which it does not undo: an error of the server, or a connection that broke. */
  readonly error?: string
}

/** The tokens of a request, as the server counts them. */
export interface Usage {
  /** The tokens read. */
  readonly inputTokens: number
  /** The tokens written, reasoning included. */
  readonly outputTokens: number
  /** Of the tokens written, the reasoning. */
  readonly reasoningTokens?: number
  /** Of the tokens read, those the server had cached. */
  readonly cachedTokens?: number
}

interface Fields {
  /**
   * `unreachable`: no answer came; `unauthorized`: the key is bad; `not-found`: the address or the model is;
   * `refused`: this very request is bad, another may pass; `rate-limited`: too many requests; `failed`: the server had
   * a fault; `interrupted`: the answer broke off after it had begun; `stopped`: no more requests are sent,
   * because a limit was reached or the server is down.
   */
  readonly reason:
    | "unreachable"
    | "unauthorized"
    | "not-found"
    | "refused"
    | "rate-limited"
    | "failed"
    | "interrupted"
    | "stopped"
  /** A sentence that reads "Cannot …: …". */
  readonly message: string
  /** The HTTP status, where there was one. */
  readonly status?: number
  /** How long the server asks to wait, in milliseconds. */
  readonly retryAfter?: number
  /** What lies behind. */
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "ModelError" } = Data
  .TaggedError("ModelError")

/** A server did not do what it was asked. */
export class ModelError extends Base {}

/** What a request gave, as a whole. */
export interface Completion {
  readonly text: string
  readonly reasoning: string
  readonly finish: Finish
}

/** Runs a request to its end. */
export const complete = (request: Request): Effect.Effect<Completion, ModelError, TextModel> =>
  Effect.gen(function* () {
    const model = yield* TextModel
    const texts: Array<string> = []
    const reasonings: Array<string> = []
    let finish: Finish | undefined
    yield* Stream.runForEach(model.generate(request), (part) =>
      Effect.sync(() => {
        if (part._tag === "Finish") finish = part
        else (part._tag === "Text" ? texts : reasonings).push(part.text)
      }))
    if (finish === undefined) return yield* unfinished(model)
    return { text: texts.join(""), reasoning: reasonings.join(""), finish }
  })

/** Makes the error of an answer that ended without a finish reason. */
export const unfinished = ({ name }: Pick<TextModel, "name">): ModelError =>
  new ModelError({
    reason: "interrupted",
    message: `Cannot complete a request to ${name}: the answer ended without a finish reason`
  })

/** What a scripted model answers: a text that finishes with `stop`, or parts, of which an error breaks off. */
export type Reply = string | ReadonlyArray<Part | ModelError>

/**
 * Provides a model that follows a script, for tests: a function from the request and its number, from 0.
 *
 * An answer whose parts have no `Finish` ends without one.
 */
export const layerScripted = (
  script: (request: Request, index: number) => Reply,
  name = "scripted"
): Layer.Layer<TextModel> =>
  Layer.sync(TextModel, () => {
    let index = 0
    return {
      name,
      generate: (request) =>
        Stream.suspend(() => {
          const reply = script(request, index++)
          const parts = typeof reply === "string"
            ? [{ _tag: "Text", text: reply } as const, { _tag: "Finish", reason: "stop" } as const]
            : reply
          return Stream.fromIterable(parts).pipe(
            Stream.mapEffect((part) => part instanceof ModelError ? Effect.fail(part) : Effect.succeed(part))
          )
        })
    }
  })
