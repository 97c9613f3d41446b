/**
 * Both ways between this library and `effect/ai`: any of its providers as a TextModel, and a reasoner as one of its
 * language models.
 *
 * @module
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as AiError from "effect/ai/AiError"
import * as Ai from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import type { Message } from "../core/Sample.ts"
import * as Reasoner from "../Reasoner.ts"
import type { Outcome } from "../State.ts"
import { type Finish, ModelError, type Part, TextModel, unfinished, type Usage } from "../TextModel.ts"

// ---- a provider as a TextModel

/** How a language model is driven. */
export interface TextModelOptions {
  /** The model's name; by default the one that comes with the provider, or else `language-model`. */
  readonly name?: string
  /**
   * Sends a request's prefix as a last message of the assistant, for providers and models that continue one. Without it
   * such a request fails as `refused`, because the others would silently begin anew.
   */
  readonly prefill?: "assistant"
}

/**
 * Provides a TextModel made of a language model.
 *
 * `effect/ai` has no word for a request's `prompt`, `maxTokens` and `sampling`, which are left out: set them where the
 * provider is configured. Nothing is tried again here.
 */
export const layerTextModel = (
  { name, prefill }: TextModelOptions = {}
): Layer.Layer<TextModel, never, Ai.LanguageModel> =>
  Layer.effect(
    TextModel,
    Effect.gen(function* () {
      const model = yield* Ai.LanguageModel
      const known = Option.getOrElse(yield* Effect.serviceOption(Model.ModelName), () => "language-model")
      return makeTextModel(model, name ?? known, prefill)
    })
  )

const makeTextModel = (model: Ai.LanguageModel, name: string, prefill: TextModelOptions["prefill"]): TextModel => ({
  name,
  generate: ({ messages, prefix = "" }) =>
    Stream.suspend(() => {
      if (prefix !== "" && prefill === undefined) {
        return Stream.fail(
          new ModelError({
            reason: "refused",
            message: `Cannot continue a prefix: no \`prefill\` is set for ${name}`
          })
        )
      }
      let isBegun = false
      let finish: Finish | undefined

      const read = (part: Response.StreamPart<Record<never, never>>): Effect.Effect<Array<Part>, ModelError> => {
        if (part.type === "error") return Effect.fail(toModelError(name, part.error, isBegun))
        if (part.type === "finish") finish = readFinish(part)
        if ((part.type !== "text-delta" && part.type !== "reasoning-delta") || part.delta === "") {
          return Effect.succeed([])
        }
        isBegun = true
        return Effect.succeed([{ _tag: part.type === "text-delta" ? "Text" : "Reasoning", text: part.delta }])
      }

      return model.streamText({
        prompt: prefix === "" ? messages : [...messages, { role: "assistant", content: prefix }]
      }).pipe(
        Stream.mapError((error) => toModelError(name, error, isBegun)),
        Stream.mapEffect(read),
        Stream.flattenIterable,
        // An error behind the reason for the end undoes nothing.
        Stream.catch((error) => {
          if (finish === undefined) return Stream.fail(error)
          finish = { ...finish, error: error.message }
          return Stream.empty
        }),
        Stream.concat(
          Stream.suspend(() => finish === undefined ? Stream.fail(unfinished({ name })) : Stream.make(finish))
        )
      )
    })
})

const readFinish = ({ reason, usage }: Response.FinishPart): Finish => {
  const read = readUsage(usage)
  return { _tag: "Finish", reason: FINISH_REASONS.get(reason) ?? "other", ...read !== undefined && { usage: read } }
}

const FINISH_REASONS: ReadonlyMap<Response.FinishReason, Finish["reason"]> = new Map([
  ["stop", "stop"],
  ["length", "length"],
  ["content-filter", "filter"]
])

const readUsage = ({ inputTokens, outputTokens }: Response.Usage): Usage | undefined => {
  const [input, output] = [inputTokens.total, outputTokens.total].map(countOf)
  if (input === undefined || output === undefined) return undefined
  const [reasoning, cached] = [outputTokens.reasoning, inputTokens.cacheRead].map(countOf)
  return {
    inputTokens: input,
    outputTokens: output,
    ...reasoning !== undefined && { reasoningTokens: reasoning },
    ...cached !== undefined && { cachedTokens: cached }
  }
}

/** A figure, which is an integer, unless it is below zero and so counts nothing. */
const countOf = (value: number | undefined): number | undefined => value !== undefined && value >= 0 ? value : undefined

const toModelError = (name: string, error: unknown, isBegun: boolean): ModelError => {
  const reason = AiError.isAiError(error) ? error.reason : undefined
  const status = reason !== undefined && "http" in reason ? reason.http?.response?.status : undefined
  const retryAfter = AiError.isAiError(error) ? error.retryAfter : undefined
  const state = error instanceof Error ? error.message : typeof error === "string" ? error : JSON.stringify(error)
  return new ModelError({
    reason: reasonOf(reason?._tag, status, isBegun),
    message: `Cannot complete a request to ${name}: ${state}`,
    cause: error,
    ...status !== undefined && { status },
    ...retryAfter !== undefined && { retryAfter: Duration.toMillis(retryAfter) }
  })
}

const reasonOf = (
  tag: AiError.AiErrorReason["_tag"] | undefined,
  status: number | undefined,
  isBegun: boolean
): ModelError["reason"] => {
  if (status === 404) return "not-found"
  switch (tag) {
    case "RateLimitError":
      return "rate-limited"
    case "AuthenticationError":
    case "QuotaExhaustedError": // as with a bad key, no request passes
      return "unauthorized"
    case "ContentPolicyError":
    case "InvalidRequestError":
    case "InvalidUserInputError":
      return "refused"
    case "NetworkError":
      return isBegun ? "interrupted" : "unreachable"
    case "InvalidOutputError":
    case "InvalidResponseError": // which is how providers read an answer that broke off
      return isBegun ? "interrupted" : "failed"
    default:
      return "failed"
  }
}

// ---- a reasoner as a language model

/**
 * Provides a language model that is a reasoner over a TextModel. Throws a RangeError for a bad option.
 *
 * Each iteration's reasoning is a reasoning part, also where a repair voids it; the conclusion is the text, given as a
 * whole when it is certain. Concluded finishes with `stop`, Exhausted and Truncated with `length`, other outcomes with
 * `error`; the outcome itself is in the metadata of the finish, as `inftythink.outcome`. Tools, files and structured
 * output are refused.
 */
export const layer = (options: Reasoner.Options = {}): Layer.Layer<Ai.LanguageModel, never, TextModel> => {
  // Here, because a request is too late for it to throw.
  Reasoner.begin("", options)
  return Layer.effect(
    Ai.LanguageModel,
    Effect.gen(function* () {
      const model = yield* TextModel
      const run = (asked: Ai.ProviderOptions, method: string): Stream.Stream<Shown, AiError.AiError> =>
        Stream.suspend(() => {
          const question = readQuestion(asked)
          if (typeof question === "string") return Stream.fail(refusal(method, question))
          const show = makeShow()
          return Reasoner.reason(question, options).pipe(
            Stream.provideService(TextModel, model),
            Stream.map(show),
            Stream.flattenIterable,
            Stream.mapError((error) => toAiError(method, error))
          )
        })
      return yield* Ai.make({
        streamText: (asked) => run(asked, "streamText"),
        generateText: (asked) => Effect.map(Stream.runCollect(run(asked, "generateText")), collect)
      })
    })
  )
}

/** Reads a prompt as a question, or says why it is none. */
const readQuestion = ({ prompt, tools, responseFormat }: Ai.ProviderOptions): ReadonlyArray<Message> | string => {
  if (tools.length > 0) return "it calls no tools"
  if (responseFormat.type !== "text") return "it writes no structured output"
  const messages: Array<Message> = []
  for (const message of prompt.content) {
    const content = message.role === "system" ? message.content : readContent(message.content)
    if (message.role === "tool" || content === undefined) return "it reads nothing but text"
    messages.push({ role: message.role, content })
  }
  return messages.at(-1)?.role === "user" ? messages : "a prompt ends with a message of the user"
}

/** The text of a message, without its reasoning; undefined where there is more than text. */
const readContent = (parts: ReadonlyArray<Prompt.Part>): string | undefined => {
  const rest = parts.filter(({ type }) => type !== "reasoning")
  const texts = rest.flatMap((part) => part.type === "text" ? [part.text] : [])
  return texts.length === rest.length ? texts.join("") : undefined
}

type Shown =
  | Response.ReasoningStartPartEncoded
  | Response.ReasoningDeltaPartEncoded
  | Response.ReasoningEndPartEncoded
  | Response.TextStartPartEncoded
  | Response.TextDeltaPartEncoded
  | Response.TextEndPartEncoded
  | Response.FinishPartEncoded

/** Makes what turns a trajectory's events into parts. */
const makeShow = (): (event: Reasoner.Event) => Array<Shown> => {
  let parts = 0
  let open: string | undefined
  // What may be a conclusion: a repair voids it, and a closing tag makes it reasoning.
  let held = ""

  const reason = (delta: string): Array<Shown> => {
    if (delta === "") return []
    if (open !== undefined) return [{ type: "reasoning-delta", id: open, delta }]
    open = `reasoning-${++parts}`
    return [{ type: "reasoning-start", id: open }, { type: "reasoning-delta", id: open, delta }]
  }

  const close = (): Array<Shown> => {
    const id = open
    open = undefined
    held = ""
    return id === undefined ? [] : [{ type: "reasoning-end", id }]
  }

  return (event) => {
    switch (event._tag) {
      case "Delta":
        if (event.section === "reasoning") return reason(event.text)
        if (event.section === "conclusion") held += event.text
        return []
      case "Retag":
        return event.section === "reasoning" ? reason(held) : []
      case "Repair":
        return event.repair === "continue" ? [] : close()
      case "IterationEnded":
        return close()
      case "TrajectoryEnded":
        return [...close(), ...conclude(event.outcome), finish(event)]
      default:
        return []
    }
  }
}

const conclude = (outcome: Outcome): Array<Shown> => {
  const delta = "conclusion" in outcome ? outcome.conclusion ?? "" : ""
  const id = "conclusion"
  return delta === "" ? [] : [{ type: "text-start", id }, { type: "text-delta", id, delta }, { type: "text-end", id }]
}

const finish = (
  { outcome, state: { meter } }: Reasoner.Event & { readonly _tag: "TrajectoryEnded" }
): Response.FinishPartEncoded => ({
  type: "finish",
  reason: finishReasonOf(outcome),
  usage: { inputTokens: { total: meter.inputTokens }, outputTokens: { total: meter.outputTokens } },
  metadata: { inftythink: { outcome } }
})

const finishReasonOf = ({ _tag }: Outcome): Response.FinishReason => {
  switch (_tag) {
    case "Concluded":
      return "stop"
    case "Exhausted":
    case "Truncated":
      return "length"
    default:
      return "error"
  }
}

/** Joins the deltas of what was streamed. */
const collect = (shown: ReadonlyArray<Shown>): Array<Response.PartEncoded> => {
  const parts: Array<Response.PartEncoded> = []
  let texts: Array<string> = []
  for (const part of shown) {
    if (part.type === "finish") parts.push(part)
    else if ("delta" in part) texts.push(part.delta)
    else if (part.type === "reasoning-end" || part.type === "text-end") {
      parts.push({ type: part.type === "text-end" ? "text" : "reasoning", text: texts.join("") })
      texts = []
    }
  }
  return parts
}

const refusal = (method: string, state: string): AiError.AiError =>
  AiError.make({
    module: "Reasoner",
    method,
    reason: new AiError.InvalidRequestError({ description: `Cannot reason: ${state}` })
  })

const toAiError = (method: string, { message, cause }: Reasoner.ReasonerError): AiError.AiError =>
  AiError.make({ module: "Reasoner", method, reason: toAiReason(message, cause) })

const toAiReason = (description: string, { reason, retryAfter }: ModelError): AiError.AiErrorReason => {
  switch (reason) {
    case "rate-limited":
      return new AiError.RateLimitError(retryAfter === undefined ? {} : { retryAfter: Duration.millis(retryAfter) })
    case "unauthorized":
      return new AiError.AuthenticationError({ kind: "Unknown", description })
    case "refused":
    case "not-found":
      return new AiError.InvalidRequestError({ description })
    default:
      return new AiError.InternalProviderError({ description })
  }
}
