/**
 * Who writes the summaries of a reconstruction: servers under control, whose answers a journal keeps, or nobody.
 *
 * ```text
 *   Summarizer ─▶ Journal ─▶ Load ─▶ Budget ─▶ OpenAi, OpenAi, …
 * ```
 *
 * @module
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Extractive from "../adapters/Extractive.ts"
import * as Journal from "../adapters/Journal.ts"
import * as Budget from "../Budget.ts"
import type * as Price from "../core/Price.ts"
import * as Load from "../Load.ts"
import * as Summarizer from "../Summarizer.ts"
import type { Tokenizer } from "../Tokenizer.ts"
import * as Flags from "./Flags.ts"

/** Who writes the summaries. */
export interface Writer {
  /** What rows call it. */
  readonly name: string
  readonly layer: Layer.Layer<Summarizer.Summarizer, never, Tokenizer>
  /** What is spent; left out where nobody is paid. */
  readonly budget?: Budget.Budget
  /** What sends the requests; left out where there are none. */
  readonly load?: Load.Load
  /** What keeps the answers; left out where there are none to keep. */
  readonly journal?: Journal.Journal
}

/** The options of who writes. */
export interface Options extends Flags.Servers, Flags.Priced {
  readonly temperature: Option.Option<number>
  readonly topP: Option.Option<number>
  readonly summaryTokens: Option.Option<number>
  readonly concurrency: number
  readonly retries: number
  readonly requestsPerMinute: Option.Option<number>
  readonly tokensPerMinute: Option.Option<number>
  readonly maxCost: Option.Option<number>
  readonly maxTokens: Option.Option<number>
}

/** Makes a writer, whose answers are kept in the journal at `path`, for as long as the scope is open. */
export const make = (
  options: Options,
  path: string | undefined
): Effect.Effect<
  Writer & { readonly price?: Price.Price },
  Flags.UsageError | Journal.JournalError,
  FileSystem.FileSystem | Scope.Scope
> =>
  Effect.gen(function* () {
    // The load tries again, and sees each failure.
    const servers = yield* Flags.modelsOf(options, { retries: 0 })
    const price = yield* Flags.priceOf(options)
    if (servers.length === 0) {
      yield* Console.error(
        "Note: without --base-url and --model, summaries are sentences picked from the reasoning. " +
          "That is for trying out, not for training data."
      )
      return { name: "extractive", layer: Extractive.layer }
    }
    const limits = {
      ...Option.isSome(options.maxCost) && { maxCost: options.maxCost.value },
      ...Option.isSome(options.maxTokens) && { maxTokens: options.maxTokens.value },
      ...price !== undefined && { price }
    }
    const rates = {
      concurrency: options.concurrency,
      retries: options.retries,
      ...Option.isSome(options.requestsPerMinute) && { requestsPerMinute: options.requestsPerMinute.value },
      ...Option.isSome(options.tokensPerMinute) && { tokensPerMinute: options.tokensPerMinute.value }
    }
    // What cannot be held is said before a journal is begun.
    yield* Flags.requirePrice(options.maxCost, price)
    yield* Flags.checked(() => Budget.make(limits))
    yield* Flags.checked(() => Load.make(servers, rates))
    if (path === undefined) {
      yield* Console.error(
        "Note: answers are not kept, and the next run asks for them again: --journal FILE keeps them."
      )
    }
    const journal = path === undefined ? undefined : yield* Journal.open(path)
    const budget = Budget.make({ ...limits, ...journal !== undefined && { spent: spentBefore(journal.digest) } })
    // A try that broke off is paid for as well.
    const load = Load.make(servers.map((server) => ({ ...server, model: budget.limit(server.model) })), rates)
    const asked = options.api === "completions" ? { variant: options.api } : {}
    const summarizer = Summarizer.make(journal === undefined ? load : journal.record(load, asked), {
      sampling: {
        temperature: temperatureOf(options),
        topP: topPOf(options)
      },
      ...Option.isSome(options.summaryTokens) && { maxTokens: () => Option.getOrThrow(options.summaryTokens) }
    })
    return {
      name: load.name,
      layer: Layer.succeed(Summarizer.Summarizer, summarizer),
      budget,
      load,
      ...journal !== undefined && { journal },
      ...price !== undefined && { price }
    }
  })

/** How the model samples: the papers' temperature, where no other is given. */
export const temperatureOf = ({ temperature }: Pick<Options, "temperature">): number =>
  Option.getOrElse(temperature, () => 0.5)

/** How the model samples: the papers' top-p, where no other is given. */
export const topPOf = ({ topP }: Pick<Options, "topP">): number => Option.getOrElse(topP, () => 0.95)

const spentBefore = ({ answers, usage, estimated }: Journal.Digest): Omit<Budget.Spent, "cost"> => ({
  requests: answers,
  inputTokens: usage.inputTokens,
  cachedTokens: usage.cachedTokens ?? 0,
  outputTokens: usage.outputTokens,
  estimated: estimated > 0
})
