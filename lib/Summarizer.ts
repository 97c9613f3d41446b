/**
 * Who writes summaries: a model, another model, or no model at all.
 *
 * @module
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Rejection from "./core/Rejection.ts"
import * as Sample from "./core/Sample.ts"
import * as Summary from "./core/Summary.ts"
import * as TextModel from "./TextModel.ts"

/** Writes summaries. */
export interface Summarizer {
  /** What rows of training data call it: the model's name. */
  readonly name: string
  /** Writes one summary, which is not checked yet: the `attempt`th sample of it, from 0. */
  readonly write: (source: Summary.Source, attempt: number) => Effect.Effect<Written, TextModel.ModelError>
}

/** A summary that was written, and what it cost. */
export interface Written extends Summary.Candidate {
  /** The server's figures, where it sent any. */
  readonly usage?: TextModel.Usage
}

/** The service of who writes summaries. */
export const Summarizer: Context.Service<Summarizer, Summarizer> = Context.Service<Summarizer>("inftythink/Summarizer")

/** How a model writes summaries. */
export interface Options {
  /** Temperature 0.5 and top-p 0.95 by default, as in InftyThink+. */
  readonly sampling?: TextModel.Sampling
  /**
   * The most tokens the server may write for a summary of at most gamma; twice gamma by default, because the server's
   * tokens need not be those that gamma counts. A model that reasons before it summarizes needs more.
   */
  readonly maxTokens?: (gamma: number) => number
}

/** Makes a summarizer of a model; reasoning that the model writes before the summary is left out. */
export const make = (
  model: TextModel.TextModel,
  { sampling = { temperature: 0.5, topP: 0.95 }, maxTokens = (gamma) => 2 * gamma }: Options = {}
): Summarizer => ({
  name: model.name,
  write: (source, attempt) =>
    TextModel.complete({
      messages: Summary.request(source),
      maxTokens: maxTokens(source.gamma),
      sampling,
      attempt
    }).pipe(
      Effect.provideService(TextModel.TextModel, model),
      Effect.map(({ text, finish }) => {
        const answer = Sample.split(text)
        const isTagged = !Rejection.isRejection(answer)
        const isOpen = !isTagged && answer.reason === "unclosed-reasoning"
        return {
          text: (isTagged ? answer.conclusion : text).trim(),
          finished: finish.reason === "stop" && !isOpen,
          ...finish.usage !== undefined && { usage: finish.usage }
        }
      })
    )
})

/** Provides a summarizer made of the TextModel. */
export const layer = (options?: Options): Layer.Layer<Summarizer, never, TextModel.TextModel> =>
  Layer.effect(Summarizer, Effect.map(TextModel.TextModel, (model) => make(model, options)))

/**
 * Writes a summary that passes its check, and samples again, `tries` times in all, as long as it does not.
 *
 * The last fault is the rejection. A request that the server refuses is one too; any other error of the server fails,
 * except that an answer that broke off is sampled again.
 */
export const summarize = (
  standard: Summary.Standard,
  tries = 10
): Effect.Effect<Result.Result<Summary.Checked, Rejection.Rejection>, TextModel.ModelError, Summarizer> =>
  Effect.gen(function* () {
    const summarizer = yield* Summarizer
    // An answer that broke off is a try, but no sample: the next one is still the same request.
    for (let left = tries, attempt = 0;;) {
      left--
      const written = yield* Effect.result(summarizer.write(standard, attempt))
      if (Result.isFailure(written)) {
        const error = written.failure
        if (error.reason === "refused") return Result.fail(Rejection.make("request-refused", error.message))
        if (error.reason === "interrupted" && left > 0) continue
        return yield* error
      }
      const checked = Summary.check(written.success, standard)
      if (checked._tag === "Checked") return Result.succeed(checked)
      if (!(left > 0)) return Result.fail(checked)
      attempt++
    }
  })
