/**
 * A budget: what models cost is counted, and once a limit is reached they are asked no more.
 *
 * @module
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as Price from "./core/Price.ts"
import * as TextModel from "./TextModel.ts"
import { estimate } from "./Tokenizer.ts"

/** What may be spent, and what was before. */
export interface Options {
  /** The most tokens, read and written together; an integer of at least 1; no limit by default. */
  readonly maxTokens?: number
  /** The most money, in US dollars, for which there must be a price; no limit by default. */
  readonly maxCost?: number
  /** What the models cost; unknown by default. */
  readonly price?: Price.Price
  /** What a run that is taken up again has spent already; nothing by default. */
  readonly spent?: Omit<Spent, "cost">
}

/** What was spent. */
export interface Spent extends Price.Usage {
  /** The requests that a server answered, as a whole or in part. */
  readonly requests: number
  readonly cachedTokens: number
  /** What the tokens cost in US dollars; left out where the price is unknown. */
  readonly cost?: number
  /** Whether some of the tokens are an estimate, because a server sent no figures or an answer broke off. */
  readonly estimated: boolean
}

/** A limit of a budget, by the name of its option. */
export type Limit = "maxTokens" | "maxCost"

/** A budget of one or more models. */
export interface Budget {
  /**
   * Makes a model of the same name whose requests count, and fail with reason `stopped` once a limit is reached. What is
   * under way then comes to its end, so that a little more is spent than the limit says.
   */
  readonly limit: (model: TextModel.TextModel) => TextModel.TextModel
  /** Tells what was spent so far. */
  readonly spent: () => Spent
  /** Tells which limit is reached; undefined as long as none is. */
  readonly reached: () => Limit | undefined
}

/**
 * Makes a budget.
 *
 * Where a server sends no figures, and where an answer broke off, tokens are estimated; a request that failed before
 * anything came costs nothing. Throws a RangeError for a bad limit or price, and for a limit on a cost of which no price
 * is known, which could not be held.
 */
export const make = ({ maxTokens, maxCost, price, spent: before }: Options = {}): Budget => {
  if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && maxTokens >= 1)) {
    throw new RangeError(`Cannot hold a budget: maxTokens is ${maxTokens}, and must be an integer of at least 1`)
  }
  if (maxCost !== undefined && !(Number.isFinite(maxCost) && maxCost > 0)) {
    throw new RangeError(`Cannot hold a budget: maxCost is ${maxCost}, and must be a number above 0`)
  }
  if (maxCost !== undefined && price === undefined) {
    throw new RangeError(`Cannot hold a budget: maxCost is ${maxCost}, and no price is known`)
  }
  for (const [name, value] of Object.entries(price ?? {})) {
    if (Number.isFinite(value) && value >= 0) continue
    throw new RangeError(`Cannot hold a budget: the price of ${name} is ${value}, and must be a number of at least 0`)
  }

  let { requests, inputTokens, cachedTokens, outputTokens, estimated } = before ?? nothing

  const spent = (): Spent => {
    const tokens = { inputTokens, cachedTokens, outputTokens }
    return { requests, ...tokens, ...price !== undefined && { cost: Price.cost(price, tokens) }, estimated }
  }

  const reached = (): Limit | undefined => {
    const { cost = 0 } = spent()
    if (maxCost !== undefined && cost >= maxCost) return "maxCost"
    return maxTokens !== undefined && inputTokens + outputTokens >= maxTokens ? "maxTokens" : undefined
  }

  /** A limit that is reached, as a sentence's end. */
  const stateOf = (limit: Limit): string => {
    const figures = limit === "maxCost"
      ? `${Price.render(spent().cost)} of at most ${Price.render(maxCost)}`
      : `${number(inputTokens + outputTokens)} of at most ${number(maxTokens!)} tokens`
    return `${estimated ? "about " : ""}${figures} are spent`
  }

  const book = (request: TextModel.Request, written: string, usage: TextModel.Usage | undefined): void => {
    const figures = usage ?? estimateUsage(request, written)
    requests++
    inputTokens += figures.inputTokens
    cachedTokens += figures.cachedTokens ?? 0
    outputTokens += figures.outputTokens
    estimated ||= usage === undefined
  }

  const limit = ({ name, generate }: TextModel.TextModel): TextModel.TextModel => ({
    name,
    generate: (request) =>
      Stream.suspend(() => {
        const limit = reached()
        if (limit !== undefined) {
          const message = `Cannot go on: ${stateOf(limit)}`
          return Stream.fail(new TextModel.ModelError({ reason: "stopped", message }))
        }
        const written: Array<string> = []
        let hasBegun = false
        let usage: TextModel.Usage | undefined
        return generate(request).pipe(
          Stream.tap((part) =>
            Effect.sync(() => {
              hasBegun = true
              if (part._tag === "Finish") usage = part.usage
              else written.push(part.text)
            })
          ),
          Stream.onExit((exit) =>
            Effect.sync(() => {
              // A server that is left while it reads the prompt has most likely read it.
              const wasSent = hasBegun || Exit.isSuccess(exit) || Cause.hasInterrupts(exit.cause)
              if (wasSent) book(request, written.join(""), usage)
            })
          )
        )
      })
  })

  return { limit, spent, reached }
}

const nothing: Omit<Spent, "cost"> = {
  requests: 0,
  inputTokens: 0,
  cachedTokens: 0,
  outputTokens: 0,
  estimated: false
}

/** Estimates the tokens of a request, and of what was written, where a server sends no figures. */
export const estimateUsage = (
  { prompt, messages, prefix = "" }: TextModel.Request,
  written: string
): TextModel.Usage => ({
  inputTokens: estimate(prompt ?? messages.map(({ content }) => content).join("\n") + prefix),
  outputTokens: estimate(written)
})

const number = (value: number): string => value.toLocaleString("en-US")
