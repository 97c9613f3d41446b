/**
 * `inftythink plan`: what a reconstruction would take, before anything is spent on it.
 *
 * @module
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Dataset from "../adapters/Dataset.ts"
import * as Dialect from "../core/Dialect.ts"
import * as Iteration from "../core/Iteration.ts"
import * as Meter from "../core/Meter.ts"
import * as Price from "../core/Price.ts"
import * as Rejection from "../core/Rejection.ts"
import type { Sample } from "../core/Sample.ts"
import * as Summary from "../core/Summary.ts"
import * as Reconstruction from "../Reconstruction.ts"
import { Tokenizer, type TokenizerError } from "../Tokenizer.ts"
import * as Flags from "./Flags.ts"
import * as Progress from "./Progress.ts"
import * as Numbers from "./Numbers.ts"

/** A number above 0 that may be left out. */
const positive = (name: string, description: string): Flag.Flag<Option.Option<number>> =>
  Flag.Finite(name).pipe(
    Flag.withSchema(Schema.Finite.check(Schema.isGreaterThan(0))),
    Flag.withDescription(description),
    Flag.optional
  )

/** The command. */
export const plan: Command.Command<
  "plan",
  never,
  unknown,
  Flags.UsageError | Dataset.StorageError | TokenizerError,
  FileSystem.FileSystem
> = Command.make(
  "plan",
  {
    inputs: Flags.inputs,
    ...Flags.reading,
    etas: Flag.String("eta").pipe(
      Flag.withMetavar("TOKENS,…"),
      Flag.withDescription("values of eta to compare (default 2048,4096,6144)"),
      Flag.withDefault("2048,4096,6144")
    ),
    tokenizer: Flags.tokenizer,
    packing: Flags.packing,
    gamma: Flags.gamma,
    summaryLength: Flags.integer("summary-length", 1, "the tokens that a summary is taken to have (default gamma / 2)")
      .pipe(Flag.optional),
    dialect: Flags.dialect,
    tags: Flags.tags,
    ...Flags.priced,
    tokensPerSecond: positive("tokens-per-second", "how fast summaries are written, over all requests at once"),
    requestsPerMinute: positive("requests-per-minute", "how many requests are answered"),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("print one JSON object, and progress as JSON lines on standard error"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* (options) {
    const { gamma, packing, tags, json } = options
    const dialect = Dialect.dialects[options.dialect]
    const bad = options.etas.split(",").find((eta) => !/^\s*\d+\s*$/.test(eta))
    if (bad !== undefined) {
      return yield* Flags.usageError(`Cannot use --eta ${options.etas}: ${JSON.stringify(bad)} is no integer`)
    }
    const price = yield* Flags.priceOf(options)
    yield* Effect.gen(function* () {
      const tokenizer = yield* Tokenizer
      const planner = yield* Flags.checked(() =>
        make({
          etas: options.etas.split(",").map(Number),
          gamma,
          ...Option.isSome(options.summaryLength) && { summaryLength: options.summaryLength.value },
          dialect,
          packing,
          tags,
          tokenizer
        })
      )
      const bytesTotal = Flags.bytesOf(yield* Flags.filesOf(options))
      const began = Date.now()
      let bytesRead = 0
      const snapshot = (): Progress.Snapshot => {
        const { samples, rejected } = planner.plan()
        return { elapsed: Date.now() - began, samples, rejected, bytesDone: bytesRead, bytesTotal }
      }
      const samples = Flags.read(options, (bytes) => bytesRead += bytes)
      yield* Progress.follow(snapshot, json ? "json" : "text").pipe(
        Effect.andThen(Stream.runForEach(samples, (sample) => Effect.sync(() => planner.add(sample)))),
        Effect.scoped
      )
      const assumed: Assumed = {
        ...price !== undefined && { price },
        ...Option.isSome(options.tokensPerSecond) && { tokensPerSecond: options.tokensPerSecond.value },
        ...Option.isSome(options.requestsPerMinute) && { requestsPerMinute: options.requestsPerMinute.value }
      }
      yield* Console.log(
        json ? JSON.stringify(toJson(planner.plan(), assumed)) : render(planner.plan(), assumed, tokenizer.name)
      )
    }).pipe(Effect.provide(Flags.tokenizerOf(options.tokenizer)))
  })
).pipe(
  Command.withDescription("Tell what a reconstruction would take: reads and segments, and asks no model"),
  Command.withExamples([
    {
      command: "inftythink plan traces.jsonl --eta 2048,4096 --price-input 0.4 --price-output 1.6",
      description: "to compare two values of eta, with a price for a million tokens"
    }
  ])
)

/** What to plan. */
export interface Options extends Pick<Reconstruction.Options, "dialect" | "packing" | "tags"> {
  /** The values of η to compare: different integers of at least 4. */
  readonly etas: ReadonlyArray<number>
  /** γ: the most tokens in a summary; 1024 by default. */
  readonly gamma?: number
  /** The tokens that each summary is taken to have, from 1 to γ; half of γ by default. */
  readonly summaryLength?: number
  readonly tokenizer: Pick<Tokenizer, "count" | "additive">
}

/** What a reconstruction would take for each η. */
export interface Plan {
  /** Samples that were read, rejected ones included. */
  readonly samples: number
  readonly rejected: ReadonlyMap<Rejection.Reason, number>
  readonly gamma: number
  /** The tokens that each summary is taken to have: the plan's one assumption. */
  readonly summaryLength: number
  readonly estimates: ReadonlyArray<Estimate>
}

/** What a reconstruction would take for one η, where each summary passes its check at once. */
export interface Estimate {
  readonly eta: number
  /** Segments, each of which becomes an instance. */
  readonly segments: number
  /** Requests for a summary. */
  readonly requests: number
  /** The tokens of their messages, for both ways to ask, without what a server's template puts around them. */
  readonly inputTokens: { readonly recurrent: number; readonly cumulative: number }
  /** The tokens of the summaries. */
  readonly outputTokens: number
  /** What the trained model reads and writes in its iterations: `outputTokens` is what is trained on. */
  readonly iterations: Meter.Meter
  /** What it would read and write in one go. */
  readonly vanilla: Meter.Meter
}

/** Adds up what samples would take. */
export interface Planner {
  readonly add: (sample: Result.Result<Sample, Rejection.Rejection>) => void
  readonly plan: () => Plan
}

/** Makes a planner of no samples. Throws a RangeError for a bad option. */
export const make = (
  { etas, gamma = 1024, summaryLength = Math.ceil(gamma / 2), dialect = Dialect.v1, tokenizer, ...options }: Options
): Planner => {
  const repeated = etas.find((eta, i) => etas.indexOf(eta) < i)
  if (etas.length === 0 || repeated !== undefined) {
    throw new RangeError(`Cannot plan: eta is ${repeated === undefined ? "missing" : `${repeated} more than once`}`)
  }
  if (!Number.isInteger(summaryLength) || summaryLength < 1 || summaryLength > gamma) {
    throw new RangeError(
      `Cannot plan: the length of a summary is ${summaryLength}, and must be an integer from 1 to gamma, ${gamma}`
    )
  }
  const summary = summaryOf(summaryLength, tokenizer.count)
  const cuts = etas.map((eta) => ({ eta, segment: Reconstruction.segment({ eta, dialect, ...options }) }))
  const rejected = new Map<Rejection.Reason, number>()
  let samples = 0
  let estimates: ReadonlyArray<Estimate> = etas.map(none)

  const meterOf = (sample: Sample, reasonings: ReadonlyArray<string>, count: (text: string) => number) =>
    Iteration.recombine(sample, reasonings, Array<string>(reasonings.length - 1).fill(summary)).iterations
      .map((iteration) => Dialect.instance(dialect, iteration))
      .map(({ prompt, target }) => Meter.request(count(prompt), count(target)))
      .reduce(Meter.add)

  const estimate = (
    before: Estimate,
    { sample, reasonings }: Reconstruction.Segmented & { readonly sample: Sample },
    count: (text: string) => number
  ): Estimate => {
    const { question, reasoning } = sample
    let { recurrent, cumulative } = before.inputTokens
    const read = (source: Omit<Summary.Source, "question" | "gamma">): number =>
      Summary.request({ question, gamma, ...source }).reduce((sum, { content }) => sum + count(content), 0)
    for (let i = 0; i < reasonings.length - 1; i++) {
      recurrent += read({ ...i > 0 && { history: summary }, segments: [reasonings[i]!] })
      cumulative += read({ segments: reasonings.slice(0, i + 1) })
    }
    const requests = reasonings.length - 1
    return {
      eta: before.eta,
      segments: before.segments + reasonings.length,
      requests: before.requests + requests,
      inputTokens: { recurrent, cumulative },
      outputTokens: before.outputTokens + requests * count(summary),
      iterations: Meter.add(before.iterations, meterOf(sample, reasonings, count)),
      vanilla: Meter.add(before.vanilla, meterOf(sample, Iteration.reasonings([{ text: reasoning }]), count))
    }
  }

  const reject = (reason: Rejection.Reason): void => void rejected.set(reason, (rejected.get(reason) ?? 0) + 1)

  return {
    add: (sample) => {
      samples++
      if (Result.isFailure(sample)) return reject(sample.failure.reason)
      const count = tokenizer.additive ? byLines(tokenizer.count) : tokenizer.count
      const segmented = cuts.map(({ segment }) => segment(sample.success, { ...tokenizer, count }))
      const rejection = segmented.find(Rejection.isRejection)
      if (rejection !== undefined) return reject(rejection.reason)
      estimates = segmented.flatMap((segmented, i) =>
        Rejection.isRejection(segmented) ? [] : [estimate(estimates[i]!, segmented, count)]
      )
    },
    plan: () => ({ samples, rejected, gamma, summaryLength: tokenizer.count(summary), estimates })
  }
}

const none = (eta: number): Estimate => ({
  eta,
  segments: 0,
  requests: 0,
  inputTokens: { recurrent: 0, cumulative: 0 },
  outputTokens: 0,
  iterations: Meter.empty,
  vanilla: Meter.empty
})

/** A text that stands for a summary of so many tokens: words of one token each, a few fewer where the tokenizer adds its own. */
export const summaryOf = (tokens: number, count: (text: string) => number): string => {
  const text = (words: number): string => Array<string>(Math.max(1, words)).fill("so").join(" ")
  return text(2 * tokens - count(text(tokens)))
}

/**
 * Counts a text by its lines, each line once: several values of η, and requests that repeat each other, count the same
 * lines again and again. For counts that add up at line ends, though not before blanks that newlines run into, nor
 * before the slash that o200k takes with them.
 */
export const byLines = (count: (text: string) => number): (text: string) => number => {
  const known = new Map<string, number>()
  return (text) => {
    let sum = 0
    for (const line of text.split(/(?<=\n)(?=[^\s/])/)) {
      let tokens = known.get(line)
      if (tokens === undefined) known.set(line, tokens = count(line))
      sum += tokens
    }
    return sum
  }
}

/** What tokens cost, and how fast they come. */
export interface Assumed {
  readonly price?: Price.Price
  /** Tokens written in a second, over all requests at once. */
  readonly tokensPerSecond?: number
  readonly requestsPerMinute?: number
}

/** Renders a plan as a table with a column for each η. */
export const render = (plan: Plan, assumed: Assumed, tokenizer: string): string => {
  const { samples, rejected, gamma, summaryLength, estimates } = plan
  const out = [...rejected.values()].reduce((sum, count) => sum + count, 0)
  const head: ReadonlyArray<Line> = [
    ["samples in", Numbers.whole(samples)],
    ["samples rejected", Numbers.whole(out)],
    ...[...rejected].map(([reason, count]): Line => [`  ${reason}`, Numbers.whole(count)]),
    ["tokenizer", tokenizer],
    ["gamma", Numbers.whole(gamma)]
  ]
  const each = (name: string, cell: (estimate: Estimate) => string): Line => [name, ...estimates.map(cell)]
  const body: ReadonlyArray<Line> = [
    each("eta", ({ eta }) => Numbers.whole(eta)),
    each("segments = instances", ({ segments }) => Numbers.whole(segments)),
    each("requests for summaries", ({ requests }) => Numbers.whole(requests)),
    each("tokens read, recurrent", ({ inputTokens }) => Numbers.whole(inputTokens.recurrent)),
    each("tokens read, cumulative", ({ inputTokens }) => Numbers.whole(inputTokens.cumulative)),
    each("tokens written", ({ outputTokens }) => Numbers.whole(outputTokens)),
    each("price, recurrent", (estimate) => Price.render(priceOf(estimate, "recurrent", assumed))),
    each("price, cumulative", (estimate) => Price.render(priceOf(estimate, "cumulative", assumed))),
    each("time", (estimate) => {
      const hours = hoursOf(estimate, assumed)
      return hours === undefined ? "unknown" : Progress.duration(hours * 3_600_000)
    }),
    each("tokens of prompts", ({ iterations }) => Numbers.whole(iterations.inputTokens)),
    each("tokens to train on", ({ iterations }) => Numbers.whole(iterations.outputTokens)),
    each("context area", ({ iterations }) => iterations.area.toExponential(2)),
    each("  in one go", ({ vanilla }) => vanilla.area.toExponential(2)),
    each("peak context", ({ iterations }) => Numbers.whole(iterations.peak)),
    each("  in one go", ({ vanilla }) => Numbers.whole(vanilla.peak))
  ]
  return [
    align(head),
    "",
    align(body),
    "",
    `Each summary is taken to have ${
      Numbers.whole(summaryLength)
    } tokens and to pass its check at once; --summary-length takes ` +
    "another length.",
    "Tokens read are those of the messages: what the server's template puts around them comes on top."
  ].join("\n")
}

/** Makes the JSON object of a plan; what is not known is null. */
export const toJson = ({ rejected, estimates, ...plan }: Plan, assumed: Assumed): object => ({
  ...plan,
  rejected: Object.fromEntries(rejected),
  estimates: estimates.map((estimate) => ({
    ...estimate,
    price: {
      recurrent: priceOf(estimate, "recurrent", assumed) ?? null,
      cumulative: priceOf(estimate, "cumulative", assumed) ?? null
    },
    hours: hoursOf(estimate, assumed) ?? null
  }))
})

const priceOf = (
  { inputTokens, outputTokens }: Estimate,
  summaries: "recurrent" | "cumulative",
  { price }: Assumed
): number | undefined =>
  price === undefined ? undefined : Price.cost(price, { inputTokens: inputTokens[summaries], outputTokens })

/** The hours it takes; the slower of two rates decides. */
const hoursOf = (
  { requests, outputTokens }: Estimate,
  { tokensPerSecond = Infinity, requestsPerMinute = Infinity }: Assumed
): number | undefined =>
  tokensPerSecond === Infinity && requestsPerMinute === Infinity
    ? undefined
    : Math.max(outputTokens / tokensPerSecond / 3600, requests / requestsPerMinute / 60)

/** A row of a table: its name, and its cells. */
type Line = readonly [name: string, ...cells: ReadonlyArray<string>]

const align = (lines: ReadonlyArray<Line>): string => {
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)))
  return lines.map((line) =>
    line.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : `  ${cell.padStart(widths[i]!)}`).join("")
  ).join("\n")
}
