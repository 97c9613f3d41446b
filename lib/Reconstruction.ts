/**
 * Reconstruction: a sample of long reasoning becomes the trajectory that would have led to it, and its rows of training
 * data (InftyThink, arXiv 2503.06692, section 3.1).
 *
 * ```text
 *   Sample ─ segment ─▶ reasonings ─ summarize ─▶ summaries ─ recombine ─▶ Trajectory ─ render ─▶ Rows
 * ```
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Dialect from "./core/Dialect.ts"
import * as Iteration from "./core/Iteration.ts"
import * as Recount from "./core/Recount.ts"
import * as Rejection from "./core/Rejection.ts"
import type { Message, Question, Sample } from "./core/Sample.ts"
import * as Segmenter from "./core/Segmenter.ts"
import * as Summary from "./core/Summary.ts"
import * as Retry from "./Retry.ts"
import * as Summarizer from "./Summarizer.ts"
import type { ModelError } from "./TextModel.ts"
import { Tokenizer } from "./Tokenizer.ts"

/** How to reconstruct. */
export interface Options {
  /** η: the most tokens of reasoning in an iteration; an integer of at least 4. */
  readonly eta: number
  /** γ: the most tokens in a summary; 1024 by default. */
  readonly gamma?: number
  /** How rows are written; `v1` by default. */
  readonly dialect?: Dialect.Dialect
  /**
   * What a summary is made of: `recurrent`, the default and InftyThink+'s, of the summary before and one segment, which
   * is all that the model will have; `cumulative`, InftyThink's, of all segments so far.
   */
  readonly summaries?: "recurrent" | "cumulative"
  /** How segments are filled; `greedy` by default. */
  readonly packing?: "greedy" | "even"
  /** What to do about tags and special tokens in the sample and in summaries; `reject` by default. */
  readonly tags?: Dialect.TagPolicy
  /** How often a summary is sampled before its sample is rejected; 10 by default. */
  readonly tries?: number
}

/** How to reconstruct many samples at once. */
export interface StreamOptions extends Options {
  /** The most samples that are worked on at once; 8 by default. */
  readonly concurrency?: number
  /**
   * The most samples that are held: those worked on and those done that wait for a slow one before them, because rows
   * come in the order of the input; 8 × concurrency by default.
   */
  readonly window?: number
  /**
   * The most text that is held, in UTF-16 code units of reasoning; 32 Mi by default. A sample that alone has more is held
   * alone.
   */
  readonly held?: number
  /**
   * What a server's failure does that concerns one request: `stop`, the default, fails the stream; `reject` rejects the
   * sample, as `request-failed`. What concerns them all fails the stream always.
   */
  readonly failures?: "stop" | "reject"
}

/** The trajectory of a sample, and what it took. */
export interface Reconstruction extends Iteration.Trajectory {
  /** The tokens of the reasoning of each iteration. */
  readonly tokens: ReadonlyArray<number>
  /** How many tags in the sample and its summaries were made harmless. */
  readonly replaced: number
  /** Who wrote the summaries; null where none was needed. */
  readonly model: string | null
  /** The sample's right answer; null where its dataset has none. */
  readonly reference: string | null
}

/** A row of training data: an instance, where it comes from, and how it was made. */
export interface Row {
  /** The id of the sample. */
  readonly sample: string
  /** The iteration's place in its trajectory, from 1. */
  readonly index: number
  /** How many iterations the trajectory has. */
  readonly count: number
  /** The flat text that the model reads: its template with the question, and the history. Loss is on `target` alone. */
  readonly prompt: string
  /** What the model learns to write. */
  readonly target: string
  /** The prompt as a conversation; `prefix` begins the assistant's turn. */
  readonly messages: ReadonlyArray<Message>
  readonly prefix: string
  /** The question as a conversation, so that the column has one type. */
  readonly question: ReadonlyArray<Message>
  /** The summary the iteration starts from; null in the first. */
  readonly history: string | null
  /**
   * The tokens of the prompt, of the target, and of the reasoning in it, which is a segment without the newlines at its
   * ends: very rarely, that has a token more than the segment, and than η.
   */
  readonly tokens: { readonly prompt: number; readonly target: number; readonly reasoning: number }
  readonly dialect: string
  readonly eta: number
  readonly gamma: number
  /** The tokenizer that counted. */
  readonly tokenizer: string
  /** Who wrote the summaries; null where none was needed. */
  readonly model: string | null
  /** How summaries were asked for: `recurrent` or `cumulative`, and the version of the wording. */
  readonly summaries: string
  /** How many tags in the sample and its summaries were made harmless. */
  readonly replaced: number
  /** The right answer, as the dataset has it; null where it has none. */
  readonly reference: string | null
}

/**
 * Makes the stage that turns samples into rows, in the order of the input.
 *
 * A sample that cannot be reconstructed becomes a rejection; what is rejected already passes through. The stream fails
 * where the server does. Throws a RangeError for a bad option.
 */
export const reconstruct = (options: StreamOptions): Stage<Sample> =>
  stage(options, ({ reasoning }) => reasoning.length, segment(options))

/**
 * Makes the stage that does the rest of `reconstruct` to samples that were segmented elsewhere, with the same options.
 *
 * Throws a RangeError for a bad option.
 */
export const reconstructSegmented = (options: StreamOptions): Stage<Segmented> => {
  requireInteger("eta", options.eta, 4)
  return stage(
    options,
    ({ reasonings }) => reasonings.reduce((sum, { length }) => sum + length, 0),
    (segmented) => segmented
  )
}

/** A stage that turns samples into rows, in the order of the input; what is rejected already passes through. */
export type Stage<Input> = <E, R>(
  inputs: Stream.Stream<Result.Result<Input, Rejection.Rejection>, E, R>
) => Stream.Stream<
  Result.Result<Row, Rejection.Rejection>,
  E | ModelError,
  R | Tokenizer | Summarizer.Summarizer
>

const stage = <Input>(
  options: StreamOptions,
  lengthOf: (input: Input) => number,
  segmentOf: (input: Input, tokenizer: Recount.Options) => Segmented | Rejection.Rejection
): Stage<Input> => {
  const { concurrency = 8, window = 8 * concurrency, held = 32 * 2 ** 20, failures = "stop" } = options
  requireInteger("concurrency", concurrency, 1)
  requireInteger("window", window, concurrency)
  requireInteger("held", held, 1)
  const make = summarize(options)
  const render = rows(options)
  return (inputs) =>
    Stream.suspend(() => {
      const atWork = Semaphore.makeUnsafe(concurrency)
      const room = Semaphore.makeUnsafe(held)
      const work = Effect.fnUntraced(function* (input: Input) {
        const segmented = segmentOf(input, yield* Tokenizer)
        if (Rejection.isRejection(segmented)) return [Result.fail(segmented)]
        const made = yield* (failures === "stop" ? make(segmented) : rejecting(make(segmented), segmented))
        return Result.isFailure(made) ? [Result.fail(made.failure)] : (yield* render(made.success)).map(Result.succeed)
      }, atWork.withPermit)
      return inputs.pipe(
        // Room is taken in the order of the input, so that the sample that others wait for has it.
        Stream.mapEffect((read) => {
          const size = Result.isFailure(read) ? 0 : Math.min(held, lengthOf(read.success))
          return Effect.as(room.take(size), { read, size })
        }),
        Stream.mapEffect(
          ({ read, size }): Effect.Effect<Done, ModelError, Tokenizer | Summarizer.Summarizer> =>
            Result.isFailure(read)
              ? Effect.succeed({ size, rows: [Result.fail(read.failure)] })
              : Effect.map(work(read.success), (rows) => ({ size, rows })),
          { concurrency: window }
        ),
        Stream.mapEffect(({ size, rows }) => Effect.as(room.release(size), rows)),
        Stream.flattenIterable
      )
    })
}

/** What a sample came to, and the room that it took. */
interface Done {
  readonly size: number
  readonly rows: ReadonlyArray<Result.Result<Row, Rejection.Rejection>>
}

const rejecting = <A, R>(
  effect: Effect.Effect<Result.Result<A, Rejection.Rejection>, ModelError, R>,
  { sample }: Segmented
): Effect.Effect<Result.Result<A, Rejection.Rejection>, ModelError, R> =>
  Effect.catch(
    effect,
    (error) =>
      Retry.mayPass(error)
        ? Effect.succeed(Result.fail(Rejection.make("request-failed", error.message, placeOf(sample))))
        : Effect.fail(error)
  )

/**
 * Makes the function that turns a sample into its trajectory, or into the reason why it has none.
 *
 * It fails only where the server does. Throws a RangeError for a bad option.
 */
export const trajectory = (options: Options): (
  sample: Sample
) => Effect.Effect<
  Result.Result<Reconstruction, Rejection.Rejection>,
  ModelError,
  Tokenizer | Summarizer.Summarizer
> => {
  const cut = segment(options)
  const make = summarize(options)
  return (sample) =>
    Effect.flatMap(Tokenizer, (tokenizer) => {
      const segmented = cut(sample, tokenizer)
      return Rejection.isRejection(segmented) ? Effect.succeed(Result.fail(segmented)) : make(segmented)
    })
}

/** Makes the function that asks for the summaries between segments, and puts a trajectory together. */
const summarize = (
  { gamma = 1024, dialect = Dialect.v1, summaries = "recurrent", tags = "reject", tries = 10 }: Options
): (
  segmented: Segmented
) => Effect.Effect<
  Result.Result<Reconstruction, Rejection.Rejection>,
  ModelError,
  Tokenizer | Summarizer.Summarizer
> => {
  requireInteger("gamma", gamma, 1)
  requireInteger("tries", tries, 1)
  return Effect.fnUntraced(function* ({ sample, reasonings, tokens, replaced: before }: Segmented) {
    const { count } = yield* Tokenizer
    const { question, conclusion } = sample
    // A model's own template may refuse a conversation, which is better known before a summary is paid for.
    const refused = refusal(dialect, sample)
    if (refused !== undefined) return Result.fail(refused)
    let replaced = before
    const written: Array<string> = []
    for (let i = 0; i < reasonings.length - 1; i++) {
      const history = summaries === "recurrent" ? written.at(-1) : undefined
      const summary = yield* Summarizer.summarize({
        question,
        ...history !== undefined && { history },
        segments: summaries === "recurrent" ? [reasonings[i]!] : reasonings.slice(0, i + 1),
        gamma,
        dialect,
        tags,
        count,
        conclusion
      }, tries)
      if (Result.isFailure(summary)) return Result.fail({ ...summary.failure, ...placeOf(sample) })
      written.push(summary.success.text)
      replaced += summary.success.replaced
    }
    const model = written.length === 0 ? null : (yield* Summarizer.Summarizer).name
    const reference = sample.reference ?? null
    const made = Iteration.recombine(sample, reasonings, written)
    return Result.succeed({ ...made, tokens, replaced, model, reference })
  })
}

/** A sample that was screened, and its reasoning in segments. */
export interface Segmented {
  /** The sample without tags, and without what its segments hold. */
  readonly sample: Omit<Sample, "reasoning">
  /** The reasonings of its iterations: one request for a summary follows each but the last. */
  readonly reasonings: ReadonlyArray<string>
  /** The tokens of each reasoning. */
  readonly tokens: ReadonlyArray<number>
  /** How many tags in the sample were made harmless. */
  readonly replaced: number
}

/**
 * Makes the function that screens a sample and cuts its reasoning: all that needs no summarizer and no template.
 *
 * Throws a RangeError for a bad eta.
 */
export const segment = (
  { eta, dialect = Dialect.v1, packing = "greedy", tags = "reject" }: Pick<
    Options,
    "eta" | "dialect" | "packing" | "tags"
  >
): (
  sample: Sample,
  tokenizer: Recount.Options
) => Segmented & { readonly sample: Sample } | Rejection.Rejection => {
  requireInteger("eta", eta, 4)
  return (sample, { count, additive }) => {
    const screened = screen(sample, dialect, tags)
    if (Rejection.isRejection(screened)) return screened
    const { replaced, ...clean } = screened
    const segments = Segmenter.segment(clean.reasoning, { eta, count, additive, packing })
      .filter(({ text }) => text.trim() !== "")
    const reasonings = Iteration.reasonings(segments)
    const tokens = reasonings.map((text, i) => {
      const segment = segments[i]
      return segment === undefined
        ? count(text)
        : Recount.recount(text, segment, -segment.text.indexOf(text), { count, additive })
    })
    return { sample: clean, reasonings, tokens, replaced }
  }
}

/** Makes the function that renders a reconstruction as rows of training data, one for each iteration. */
export const rows = (
  { eta, gamma = 1024, dialect = Dialect.v1, summaries = "recurrent" }: Options
): (reconstruction: Reconstruction) => Effect.Effect<ReadonlyArray<Row>, never, Tokenizer> =>
({ id, question, iterations, tokens, replaced, model, reference }) =>
  Effect.map(Tokenizer, ({ name, count, additive }) =>
    iterations.map((iteration, i): Row => {
      const { prompt, target, messages, prefix } = Dialect.instance(dialect, iteration)
      const reasoning = { text: iteration.output.reasoning, tokens: tokens[i]! }
      const inTarget = Recount.recount(target, reasoning, target.indexOf(reasoning.text), { count, additive })
      return {
        sample: id,
        index: iteration.index,
        count: iterations.length,
        prompt,
        target,
        messages,
        prefix,
        question: Dialect.conversation(question),
        history: iteration.history ?? null,
        tokens: { prompt: count(prompt), target: inTarget, reasoning: reasoning.tokens },
        dialect: dialect.name,
        eta,
        gamma,
        tokenizer: name,
        model,
        summaries: `${summaries}-${Summary.version}`,
        replaced,
        reference
      }
    }))

/** A sample without tags, or the rejection of a sample that has them or lacks a part. */
const screen = (
  sample: Sample,
  dialect: Dialect.Dialect,
  tags: Dialect.TagPolicy
): Sample & { readonly replaced: number } | Rejection.Rejection => {
  if (sample.conclusion.trim() === "") {
    return Rejection.make("no-conclusion", "The conclusion is empty", placeOf(sample))
  }
  const found: Array<string> = []
  let replaced = 0
  const clean = (part: string, text: string): string => {
    const screened = Dialect.screen(dialect, text, tags)
    if (screened.tag !== undefined) found.push(`The ${part} holds ${screened.tag}`)
    replaced += screened.replaced
    return screened.text
  }
  const question: Question = typeof sample.question === "string"
    ? clean("question", sample.question)
    : sample.question.map(({ role, content }) => ({ role, content: clean("question", content) }))
  const reasoning = clean("reasoning", sample.reasoning)
  const conclusion = clean("conclusion", sample.conclusion)
  if (found.length > 0) return Rejection.make("tag-in-source", found.join("; "), placeOf(sample))
  return { ...sample, question, reasoning, conclusion, replaced }
}

/** Why the template of a dialect does not render a question, if it does not. */
const refusal = (dialect: Dialect.Dialect, sample: Omit<Sample, "reasoning">): Rejection.Rejection | undefined => {
  try {
    Dialect.prompt(dialect, { question: sample.question })
    return undefined
  } catch (error) {
    return Rejection.make("template-refused", error instanceof Error ? error.message : String(error), placeOf(sample))
  }
}

const placeOf = ({ id, origin }: Pick<Sample, "id" | "origin">): Rejection.Place => ({ id, ...origin })

const requireInteger = (name: string, value: number, least: number): void => {
  if (!Number.isInteger(value) || value < least) {
    throw new RangeError(`Cannot reconstruct: ${name} is ${value}, and must be an integer of at least ${least}`)
  }
}
