/**
 * Reasoning in bounded iterations, live: a question becomes a stream of events, until the model concludes.
 *
 * ```text
 *   State ─ prompt ─▶ model ─ sections ─▶ output ─┬─ summary ────▶ State, and on
 *                       ▲                         ├─ conclusion ─▶ Concluded
 *                       └──── repair ◀── fault ───┘
 * ```
 *
 * @module
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Attempt from "./core/Attempt.ts"
import * as Boundary from "./core/Boundary.ts"
import * as Cutter from "./core/Cutter.ts"
import * as Dialect from "./core/Dialect.ts"
import * as Iteration from "./core/Iteration.ts"
import * as Meter from "./core/Meter.ts"
import type { Question } from "./core/Sample.ts"
import * as Segmenter from "./core/Segmenter.ts"
import * as Stagnation from "./core/Stagnation.ts"
import * as Summary from "./core/Summary.ts"
import { type Carry, type Guide, isState, type Limit, type Outcome, type State } from "./State.ts"
import * as Summarizer from "./Summarizer.ts"
import * as TextModel from "./TextModel.ts"
import { estimate, type Tokenizer } from "./Tokenizer.ts"

/** How to reason. */
export interface CommonOptions {
  /** η: the most tokens the model writes in an iteration; 8192 by default. */
  readonly eta?: number
  /** γ: the most tokens in a summary; 1024 by default. */
  readonly gamma?: number
  /** How the model is driven; `chat` by default, and `guided` where a guide is given. */
  readonly dialect?: Dialect.Dialect
  /** The section that the server's template opens for the model, so that its tag does not come; none by default. */
  readonly inside?: "reasoning"
  /** How the model samples. */
  readonly sampling?: TextModel.Sampling
  /** What a trajectory may spend. */
  readonly limits?: Limits
  /** What is done when a limit is reached: nothing, the default, or one more request for a conclusion. */
  readonly conclude?: "leave" | "force"
  /** What is tried, one after the other, when an iteration fails; `continue`, `summarize`, `sample` by default. */
  readonly repairs?: ReadonlyArray<Repair>
  /** When iterations count as getting nowhere; `off` lets them. */
  readonly stagnation?: Stagnation.Rule | "off"
  /** Who writes summaries that the model does not write by itself; the model, by default. */
  readonly summarizer?: Summarizer.Summarizer
  /** How often such a summary is sampled before it is given up; 3 by default. */
  readonly tries?: number
  /**
   * What is done about tags of the dialect and special tokens of chat templates in the question, which could otherwise
   * change the structure of a prompt: `replace`, the default, writes `‹` for `<` where the model reads them; `reject`
   * throws a RangeError; `keep` trusts the question, for servers that read messages as text alone. In what is carried on
   * and in what else a model reads of its own, they are always replaced.
   */
  readonly tags?: Dialect.TagPolicy | "keep"
}

/** How to reason; what is counted in tokens while the model writes takes a tokenizer. */
export type Options =
  & CommonOptions
  & (
    | {
      readonly tokenizer?: undefined
      readonly guide?: undefined
      readonly carry?: Exclude<Carry, { readonly _tag: "tail" }>
    }
    | {
      /** Counts what the server's figures cannot tell in time. */
      readonly tokenizer: Tokenizer
      /** Cuts the reasoning of a model that knows nothing of iterations; none by default. */
      readonly guide?: Partial<Guide>
      /** What an iteration starts from; `replace` by default. */
      readonly carry?: Carry
    }
  )

/**
 * What a trajectory may spend; what is left out has no limit, but for iterations. A forced conclusion comes on top, with
 * at most η tokens.
 */
export interface Limits {
  /** φ: the most iterations; 10 by default. */
  readonly iterations?: number
  /** The most tokens written, summaries included; what is left of them is the most that a request asks for. */
  readonly tokens?: number
  /** The most time, in milliseconds. */
  readonly time?: number
  /** The most money, and what a million tokens cost that are read and written. */
  readonly cost?: { readonly most: number; readonly input: number; readonly output: number }
}

/**
 * What is done about an iteration that failed: `continue` has the model go on where it was cut off, once what it wrote is
 * at most η tokens, with what is left of them and at least γ; `summarize` has a summary made of what it reasoned;
 * `sample` asks anew; `keep` leaves things as they were before it, and goes on. Behind all but `continue`, the summary and
 * the conclusion that were shown of it do not count.
 */
export type Repair = "continue" | "summarize" | "sample" | "keep"

/** What happens. */
export type Event =
  /** An iteration begins. The tokens of its prompt are an estimate: the server's figure comes with its end. */
  | {
    readonly _tag: "IterationStarted"
    readonly index: number
    readonly history: string | null
    readonly promptTokens: number
  }
  /** More text of a section: `reasoning`, `summary` or `conclusion`. A summary that was asked for comes whole, and checked. */
  | { readonly _tag: "Delta"; readonly index: number; readonly section: string; readonly text: string }
  /** All text of this iteration so far was the section's: its opening tag was missing. */
  | { readonly _tag: "Retag"; readonly index: number; readonly section: string }
  /** The reasoning was cut; what had come behind is dropped. */
  | { readonly _tag: "Cut"; readonly index: number; readonly rank: number; readonly dropped: string }
  /** An attempt failed. With `sample` and `keep`, the deltas of the iteration so far are void. */
  | { readonly _tag: "Repair"; readonly index: number; readonly repair: Repair; readonly fault: Fault }
  /** An iteration ended; there is no output where it was given up. */
  | {
    readonly _tag: "IterationEnded"
    readonly index: number
    readonly output: Iteration.Output | null
    readonly repairs: ReadonlyArray<Repair>
    readonly meter: Meter.Meter
    /** Whether tokens in the meter are an estimate, because the server sent no figures. */
    readonly estimated: boolean
    readonly state: State
  }
  /** The trajectory ended. */
  | { readonly _tag: "TrajectoryEnded"; readonly outcome: Outcome; readonly state: State }

/** Why an attempt gave no output. */
export interface Fault {
  readonly kind: Dialect.Fault | "interrupted"
  /** One sentence for a person. */
  readonly detail: string
}

/** What reasoning came to. */
export interface Solution {
  readonly outcome: Outcome
  /** The conclusion, if there is one, without white space around it; the outcome has it as it was written. */
  readonly conclusion: string | null
  readonly state: State
}

interface Fields {
  /** A sentence that reads "Cannot reason: …". */
  readonly message: string
  /** The last good state, from which reasoning can go on. */
  readonly state: State
  readonly cause: TextModel.ModelError
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "ReasonerError" } = Data
  .TaggedError("ReasonerError")

/** The server keeps failing. */
export class ReasonerError extends Base {}

/**
 * Reasons about a question, or goes on from a saved state, to the end. Throws a RangeError for a bad option.
 *
 * Dialect, eta, gamma, carry and guide are those of the state, where they are left out; other options are not saved. A
 * state that is asked to go on does so, whatever it came to, unless it concluded: one that was exhausted only where the
 * limits now allow it, and one that made no progress as if it had.
 */
export const reason = (
  from: Question | State,
  options: Options = {}
): Stream.Stream<Event, ReasonerError, TextModel.TextModel> => {
  const go = (state: State): Stream.Stream<Event, ReasonerError, TextModel.TextModel> => {
    let next = state
    return step(state, options).pipe(
      Stream.map((event) => {
        if ("state" in event) next = event.state
        return event
      }),
      Stream.concat(Stream.suspend(() => next.outcome === null ? go(next) : Stream.empty))
    )
  }
  return go(isState(from) ? from : begin(from, options))
}

/** Reasons to the end, and gives the outcome. Throws a RangeError for a bad option. */
export const solve = (
  from: Question | State,
  options: Options = {}
): Effect.Effect<Solution, ReasonerError, TextModel.TextModel> => {
  const first = isState(from) ? from : begin(from, options)
  return Stream.runFold(reason(first, options), () => first, (state, event) => "state" in event ? event.state : state)
    .pipe(Effect.map((state) => {
      const outcome = state.outcome!
      return { outcome, conclusion: "conclusion" in outcome ? outcome.conclusion?.trim() ?? null : null, state }
    }))
}

/** Makes the state before the first iteration. Throws a RangeError for a bad option or question. */
export const begin = (question: Question, options: Options = {}): State => {
  const settings = settle(options)
  const { eta, gamma, dialect, carry, guide } = settings
  requireQuestion(question, settings)
  return {
    version: 1,
    question,
    index: 0,
    summaries: [],
    tail: "",
    meter: Meter.empty,
    vanilla: Meter.empty,
    elapsed: 0,
    stagnation: Stagnation.none,
    settings: { dialect: dialect.name, eta, gamma, carry, guide },
    outcome: null
  }
}

/**
 * Runs one iteration. Its last event holds the state after it; where the trajectory is over, or a limit is reached, that
 * is the only one. Throws a RangeError for a bad option, and where the dialect is not the state's.
 */
export const step = (
  state: State,
  options: Options = {}
): Stream.Stream<Event, ReasonerError, TextModel.TextModel> => {
  const settings = settle(options, state.settings)
  requireQuestion(state.question, settings)
  return Stream.unwrap(Effect.gen(function* () {
    const model = yield* TextModel.TextModel
    return turn(state, settings, model, yield* Clock.currentTimeMillis)
  }))
}

/** All options, with their defaults. */
interface Settings extends CommonOptions {
  readonly eta: number
  readonly gamma: number
  readonly dialect: Dialect.Dialect
  readonly carry: Carry
  readonly limits: Limits & { readonly iterations: number }
  readonly repairs: ReadonlyArray<Repair>
  readonly tries: number
  readonly count: (text: string) => number
  /** Whether `count` is exact. */
  readonly exact: boolean
  readonly guide: Guide | null
  /** How reasoning is cut, if it is. */
  readonly cuts: Cutter.Options | undefined
}

const settle = (options: Options, saved?: State["settings"]): Settings => {
  const { tokenizer, limits = {}, repairs = ["continue", "summarize", "sample"], stagnation, tries = 3 } = options
  const guide = options.guide === undefined ? saved?.guide ?? null : { from: 0.8, late: 0.95, ...options.guide }
  const dialect = options.dialect ??
    (saved === undefined ? guide === null ? Dialect.chat : Dialect.guided : known(saved.dialect))
  if (saved !== undefined && dialect.name !== saved.dialect) {
    throw new RangeError(`Cannot go on in dialect ${dialect.name}: the state is of dialect ${saved.dialect}`)
  }
  const { eta = saved?.eta ?? 8192, gamma = saved?.gamma ?? 1024 } = options
  const carry = options.carry ?? saved?.carry ?? { _tag: "replace" }
  requireInteger("eta", eta, 4)
  requireInteger("gamma", gamma, 4)
  requireInteger("tries", tries, 1)
  if (carry._tag === "tail") requireInteger("the tail", carry.tokens, 1)
  if (tokenizer === undefined && carry._tag === "tail") {
    throw new RangeError("Cannot reason: a tail is carried on, and takes a tokenizer")
  }
  if (tokenizer === undefined && guide !== null) {
    throw new RangeError("Cannot reason: reasoning is cut, and that takes a tokenizer")
  }
  const { cost, ...amounts } = limits
  for (const [name, value] of Object.entries({ ...amounts, ...cost })) {
    if (!(value >= 0)) throw new RangeError(`Cannot reason: the limit ${name} is ${value}, and must be at least 0`)
  }
  for (const repair of repairs) {
    if (!REPAIRS.includes(repair)) {
      throw new RangeError(
        `Cannot reason: there is no repair ${JSON.stringify(repair)}; there are ${REPAIRS.join(", ")}`
      )
    }
  }
  if (stagnation !== undefined && stagnation !== "off") {
    requireInteger("the count of the rule against stagnation", stagnation.count ?? 1, 1)
    for (const name of ["repeats", "wanders"] as const) {
      const share = stagnation[name] ?? 0
      if (!(share >= 0)) {
        throw new RangeError(
          `Cannot reason: ${name} of the rule against stagnation is ${share}, and must be at least 0`
        )
      }
    }
  }
  const count = tokenizer?.count ?? estimate
  const cuts = guide === null ? undefined : { ...guide, eta, count }
  if (cuts !== undefined) Cutter.make(cuts)
  return {
    ...options,
    eta,
    gamma,
    dialect,
    carry,
    limits: { iterations: 10, ...limits },
    repairs,
    tries,
    count,
    exact: tokenizer !== undefined,
    guide,
    cuts
  }
}

const REPAIRS: ReadonlyArray<Repair> = ["continue", "summarize", "sample", "keep"]

const requireQuestion = (question: Question, { dialect, tags }: Settings): void => {
  if (typeof question !== "string" && question.at(-1)?.role !== "user") {
    throw new RangeError("Cannot reason: the last message of the question must be the user's")
  }
  if (tags !== "reject") return
  for (const { content } of Dialect.conversation(question)) {
    const { tag } = Dialect.screen(dialect, content, tags)
    if (tag !== undefined) throw new RangeError(`Cannot reason: the question holds ${tag}`)
  }
}

const requireInteger = (name: string, value: number, least: number): void => {
  if (!Number.isInteger(value) || value < least) {
    throw new RangeError(`Cannot reason: ${name} is ${value}, and must be an integer of at least ${least}`)
  }
}

const known = (name: string): Dialect.Dialect => {
  const found = [...Object.values(Dialect.dialects), Dialect.guided].find((dialect) => dialect.name === name)
  if (found === undefined) throw new RangeError(`Cannot go on in dialect ${name}: give it as an option`)
  return found
}

/** Whether a trajectory was exhausted, and a conclusion was forced. */
const hasConclusion = (outcome: Outcome | null): outcome is Outcome & { readonly conclusion: string } =>
  outcome?._tag === "Exhausted" && outcome.conclusion !== null

/** What a model writes in an attempt, over one or more requests, and how the last one ended. */
interface Draft {
  readonly attempt: Attempt.Attempt
  /** The tokens written. */
  tokens: number
  finish: TextModel.Finish | undefined
  error: TextModel.ModelError | undefined
  /** The limit that was reached while it was written. */
  limit: Limit | undefined
}

/** A request with what a ledger needs. */
type Request = TextModel.Request & Required<Pick<TextModel.Request, "prompt" | "maxTokens">>

/** The stream of one turn: the model's attempts, what is done about their faults, and the state that comes of it. */
const turn = (
  before: State,
  settings: Settings,
  model: TextModel.TextModel,
  began: number
): Stream.Stream<Event, ReasonerError> => {
  const { dialect, eta, gamma, carry, limits, repairs, count, guide, cuts } = settings
  const state = before.outcome?._tag === "NoProgress" ? { ...before, stagnation: Stagnation.none } : before
  const index = state.index + 1
  const question = harmlessly(state.question, settings)
  const history = carriedOn(state, settings)
  const start = { question, ...history !== undefined && { history } }
  const prompt = Dialect.prompt(dialect, start)
  const ledger = makeLedger(state.meter, settings)
  const repaired: Array<Repair> = []

  const elapsed: Effect.Effect<number> = Effect.map(
    Clock.currentTimeMillis,
    (now) => state.elapsed + Math.max(0, now - began)
  )

  /** Completes when the time of the trajectory is over. */
  const timeOver: Effect.Effect<void> = limits.time === undefined
    ? Effect.never
    : Effect.flatMap(elapsed, (now) => Effect.sleep(Math.max(0, limits.time! - now)))

  const drafted = (options: Omit<Attempt.Options, "dialect"> = {}): Draft => ({
    attempt: Attempt.make({ dialect, ...options }),
    tokens: 0,
    finish: undefined,
    error: undefined,
    limit: undefined
  })
  const { inside } = settings
  const begun = (): Draft =>
    drafted({ ...inside !== undefined && { inside }, ...cuts !== undefined && { guide: cuts } })

  const shown = (events: ReadonlyArray<Attempt.Shown>): Array<Event> => events.map((event) => ({ ...event, index }))

  // ---- the model writes

  /** Has the model write an attempt, or go on with it where `fault` is why it stopped. */
  const write = (
    draft: Draft,
    ladder: ReadonlyArray<Repair>,
    fault?: Fault
  ): Stream.Stream<Event, ReasonerError> => {
    const asked = fault === undefined ? prompt : resume(prompt, draft.attempt.content(), settings)
    const most = fault === undefined ? eta : Math.max(gamma, eta - draft.tokens)
    const room = ledger.room(asked.prompt)
    if (room.tokens < 1) return exhausted(room.limit)
    return Stream.concat(
      run(draft, requestOf(asked, Math.min(most, room.tokens)), inTime(draft)),
      Stream.suspend(() => {
        if (draft.finish?.reason === "length" && room.tokens < most) draft.limit ??= room.limit
        return conclude(draft, ladder, fault)
      })
    )
  }

  const requestOf = ({ prompt, messages, prefix }: Dialect.Prompt, maxTokens: number): Request => ({
    messages,
    prompt,
    ...prefix !== "" && { prefix },
    maxTokens,
    ...settings.sampling !== undefined && { sampling: anew(settings.sampling, repaired) }
  })

  /** Runs a request, and gives its events as they come; behind them, the draft holds how it ended. */
  const run = (
    draft: Draft,
    request: Request,
    inTime: <A, E>(parts: Stream.Stream<A, E>) => Stream.Stream<A, E>
  ): Stream.Stream<Event> => {
    const { attempt } = draft
    const written: Array<string> = []
    draft.finish = draft.error = undefined

    /** Reads what came at once, as one text where it is of one kind: all of it is kept, shown as dropped, or shown. */
    const read = (parts: ReadonlyArray<TextModel.Part>): Array<Event> => {
      const events: Array<Event> = []
      for (let i = 0; i < parts.length;) {
        const part = parts[i++]!
        if (part._tag === "Finish") {
          draft.finish = part
          continue
        }
        let { text } = part
        for (let next = parts[i]; next?._tag === part._tag; next = parts[++i]) text += next.text
        written.push(text)
        for (const event of part._tag === "Text" ? attempt.feed(text) : attempt.feedReasoning(text)) {
          events.push({ ...event, index })
        }
      }
      return events
    }

    const events = Stream.transformPull(inTime(model.generate(request)), (pull) => {
      // Made once for all arrays: a stage and an effect for each of them take longer than all else.
      const step: Pull.Pull<Arr.NonEmptyReadonlyArray<Event>, TextModel.ModelError> = Effect.flatMap(pull, (parts) => {
        const events = read(parts)
        return Arr.isReadonlyArrayNonEmpty(events) ? Effect.succeed(events) : untilCut
      })
      const untilCut = Effect.suspend(() => attempt.cut() === undefined ? step : Cause.done())
      return Effect.succeed(untilCut)
    })
    return events.pipe(
      Stream.catch((error) => {
        draft.error = error
        return Stream.empty
      }),
      Stream.concat(Stream.suspend((): Stream.Stream<Event> => {
        const wasRead = draft.finish !== undefined || draft.error === undefined || written.length > 0
        if (wasRead) draft.tokens += ledger.book(request, written.join(""), draft.finish?.usage)
        const cut = attempt.cut()
        return cut === undefined ? Stream.empty : Stream.make({ _tag: "Cut", index, ...cut })
      }))
    )
  }

  /** Ends a stream when the time of the trajectory is over. */
  const inTime = (draft: Draft) => <A, E>(parts: Stream.Stream<A, E>): Stream.Stream<A, E> =>
    limits.time === undefined ? parts : Stream.interruptWhen(
      parts,
      Effect.map(timeOver, () => {
        draft.limit = "time"
      })
    )

  // ---- what comes of it

  const conclude = (
    draft: Draft,
    ladder: ReadonlyArray<Repair>,
    before?: Fault
  ): Stream.Stream<Event, ReasonerError> => {
    const { attempt, error, finish, limit } = draft
    if (attempt.cut() !== undefined) return handOn(draft, ladder)
    if (limit !== undefined) return exhausted(limit)
    if (error !== undefined && error.reason !== "interrupted") {
      // A server may know no prefix: that says nothing of other requests.
      return before !== undefined && error.reason === "refused" ? repair(before, draft, ladder) : failed(error)
    }
    if (finish === undefined) return repair(faultOf("interrupted", draft), draft, ladder)
    if (finish.reason === "length") {
      if (cuts === undefined || !attempt.isReasoning()) return repair(faultOf("truncated", draft), draft, ladder)
      const events = shown(attempt.end())
      const cut = attempt.cut() ?? { rank: Boundary.rank.inside, dropped: "" }
      return Stream.concat(
        Stream.fromIterable<Event>([...events, { _tag: "Cut", index, ...cut }]),
        Stream.suspend(() => handOn(draft, ladder))
      )
    }
    return Stream.concat(
      Stream.fromIterable(shown(attempt.end())),
      Stream.suspend(() => {
        const output = attempt.read(finish.reason)
        if (typeof output === "string") return repair(faultOf(output, draft), draft, ladder)
        const tokens = output.ending._tag === "Summary" ? count(output.ending.text) : 0
        if (tokens <= gamma) return ended(output)
        const detail = `The summary has ${tokens} tokens, and gamma is ${gamma}`
        return repair({ kind: "malformed", detail }, draft, ladder)
      })
    )
  }

  /** Has a summary made of reasoning that has none of its own, or carries its end on. */
  const handOn = (draft: Draft, ladder: ReadonlyArray<Repair>): Stream.Stream<Event, ReasonerError> => {
    const reasoning = draft.attempt.reasoning()
    if (carry._tag === "tail" && !carry.summary) return ended({ reasoning, ending: { _tag: "Summary", text: "" } })
    const room = ledger.room("")
    if (room.tokens < 1) return exhausted(room.limit)
    return Stream.unwrap(
      summarize(reasoning, draft).pipe(
        Effect.raceFirst(Effect.as(timeOver, undefined)),
        Effect.match({
          onFailure: failed,
          onSuccess: (summary) => {
            if (summary === undefined) return exhausted("time")
            if (Result.isFailure(summary)) {
              const fault: Fault = { kind: "malformed", detail: summary.failure.detail }
              // It was sampled often enough.
              return repair(fault, draft, ladder.filter((repair) => repair !== "summarize"))
            }
            const text = summary.success
            return Stream.concat(
              Stream.make<[Event]>({ _tag: "Delta", index, section: "summary", text }),
              ended({ reasoning, ending: { _tag: "Summary", text } })
            )
          }
        })
      )
    )
  }

  /** Has a summary made of reasoning: in one go, or, where it is longer than η, in as many as it takes. */
  const summarize = Effect.fnUntraced(
    function* (reasoning: string, { tokens }: Draft) {
      const clean = harmless(reasoning, dialect)
      const segments = tokens <= eta ? [clean] : Iteration.reasonings(Segmenter.segment(clean, { eta, count }))
      const last = carry._tag === "accumulate" ? undefined : state.summaries.at(-1)
      let history = last === undefined ? undefined : harmless(last, dialect)
      for (const segment of segments) {
        const summary = yield* Summarizer.summarize({
          question,
          ...history !== undefined && { history },
          segments: [segment],
          gamma,
          dialect,
          tags: "replace",
          count
        }, settings.tries)
        if (Result.isFailure(summary)) return Result.fail(summary.failure)
        history = summary.success.text
      }
      return Result.succeed(history!)
    },
    Effect.provideService(
      Summarizer.Summarizer,
      booked(settings.summarizer ?? summarizerOf(model, settings, ledger), ledger)
    )
  )

  /** Tries the next repair that applies, and gives up where there is none. */
  const repair = (
    fault: Fault,
    draft: Draft,
    ladder: ReadonlyArray<Repair>
  ): Stream.Stream<Event, ReasonerError> => {
    const at = ladder.findIndex((repair) => applies(repair, fault, draft, eta))
    const next = ladder[at]
    const rest = ladder.slice(at + 1)
    if (next !== "continue") {
      const events = shown(draft.attempt.end())
      if (events.length > 0) {
        return Stream.concat(Stream.fromIterable(events), Stream.suspend(() => repair(fault, draft, ladder)))
      }
    }
    if (next === undefined) {
      return fault.kind === "interrupted" ? failed(draft.error ?? TextModel.unfinished(model)) : over(outcomeOf(fault))
    }
    repaired.push(next)
    return Stream.concat(
      Stream.make<[Event]>({ _tag: "Repair", index, repair: next, fault }),
      Stream.suspend(() => {
        switch (next) {
          case "continue":
            return write(draft, rest, fault)
          case "summarize":
            return handOn(draft, rest)
          case "sample":
            return write(begun(), rest)
          case "keep":
            return ended(null)
        }
      })
    )
  }

  // ---- the end

  /** Ends the iteration with an output, or without one. */
  const ended = (output: Iteration.Output | null): Stream.Stream<Event> =>
    Stream.unwrap(Effect.map(elapsed, (elapsed) => {
      const next = output === null ? state : handedOn(state, output, settings)
      const stagnation = progress(state, next, output, settings)
      const verdict = settings.stagnation === "off" ? undefined : Stagnation.judge(stagnation, settings.stagnation)
      const after: State = {
        ...next,
        index,
        meter: ledger.total(),
        vanilla: output === null ? state.vanilla : vanillaOf(state, output, settings, ledger),
        elapsed,
        stagnation,
        settings: { dialect: dialect.name, eta, gamma, carry, guide },
        outcome: output?.ending._tag === "Conclusion"
          ? { _tag: "Concluded", conclusion: output.ending.text }
          : verdict === undefined
          ? null
          : { _tag: "NoProgress", verdict }
      }
      const iteration: Event = {
        _tag: "IterationEnded",
        index,
        output,
        repairs: repaired,
        meter: ledger.spent(),
        estimated: ledger.isEstimated(),
        state: after
      }
      return after.outcome === null
        ? Stream.make(iteration)
        : Stream.make(iteration, { _tag: "TrajectoryEnded", outcome: after.outcome, state: after })
    }))

  /** Ends the trajectory with the state before this iteration. */
  const over = (outcome: Outcome): Stream.Stream<Event> =>
    Stream.fromEffect(Effect.map(elapsed, (elapsed): Event => ({
      _tag: "TrajectoryEnded",
      outcome,
      state: { ...state, meter: ledger.total(), elapsed, outcome }
    })))

  const failed = (cause: TextModel.ModelError): Stream.Stream<never, ReasonerError> =>
    Stream.unwrap(Effect.map(elapsed, (elapsed) => {
      const last = { ...state, meter: ledger.total(), elapsed }
      return Stream.fail(new ReasonerError({ message: `Cannot reason: ${cause.message}`, state: last, cause }))
    }))

  /** Ends the trajectory at a limit; where a conclusion is to be forced, the model is asked for it once. */
  const exhausted = (limit: Limit): Stream.Stream<Event, ReasonerError> => {
    if (settings.conclude !== "force") return over({ _tag: "Exhausted", limit, conclusion: null })
    const asked = Dialect.conclude(dialect, start)
    // Where the prompt closes the reasoning, no template opens it.
    const draft = drafted({ ...inside !== undefined && dialect.place === "user" && { inside } })
    return Stream.concat(
      run(draft, requestOf(asked, eta), (parts) => parts),
      Stream.suspend(() => {
        const { attempt, error, finish } = draft
        if (error !== undefined && error.reason !== "refused") return failed(error)
        const events = shown(attempt.end())
        const output = finish === undefined ? undefined : attempt.read(finish.reason)
        const conclusion = typeof output === "object" && output.ending._tag === "Conclusion" ? output.ending.text : null
        return Stream.concat(Stream.fromIterable(events), over({ _tag: "Exhausted", limit, conclusion }))
      })
    )
  }

  return Stream.unwrap(Effect.map(elapsed, (elapsed): Stream.Stream<Event, ReasonerError> => {
    const { outcome } = state
    const room = ledger.room(prompt.prompt)
    const limit = state.index >= limits.iterations
      ? "iterations"
      : room.tokens < 1
      ? room.limit
      : limits.time !== undefined && elapsed >= limits.time
      ? "time"
      : undefined
    if (outcome?._tag === "Concluded" || limit !== undefined && hasConclusion(outcome)) {
      return Stream.make({ _tag: "TrajectoryEnded", outcome, state })
    }
    if (limit !== undefined) return exhausted(limit)
    return Stream.concat(
      Stream.make<[Event]>({
        _tag: "IterationStarted",
        index,
        history: history ?? null,
        promptTokens: count(prompt.prompt)
      }),
      Stream.suspend(() => write(begun(), repairs))
    )
  }))
}

// ---- repairs

const applies = (repair: Repair, { kind }: Fault, { attempt, tokens }: Draft, eta: number): boolean => {
  switch (repair) {
    case "continue": {
      const isCut = kind === "truncated" || kind === "interrupted"
      return isCut && attempt.isContent() && attempt.content().trim() !== "" && tokens <= eta
    }
    case "summarize":
      return attempt.reasoning().trim() !== ""
    default:
      return true
  }
}

/** The prompt with what the model wrote so far behind it. */
const resume = (
  { messages, prompt, prefix }: Dialect.Prompt,
  text: string,
  { dialect, inside }: Settings
): Dialect.Prompt => {
  // The tags of its sections are the model's to write, and no others.
  const written = harmless(text, { sections: [], history: dialect.history })
  // A template that opens the reasoning does so for a new message, and not for one that goes on.
  const open = dialect.sections.find(({ name }) => name === inside)?.open
  const opened = open !== undefined && prefix === "" && !written.startsWith(open) ? `${open}\n` : ""
  return { messages, prompt: prompt + written, prefix: prefix + opened + written }
}

/** With a seed, a model that is asked again must be asked with another one, so as not to write the same again. */
const anew = (sampling: TextModel.Sampling, repaired: ReadonlyArray<Repair>): TextModel.Sampling => ({
  ...sampling,
  ...sampling.seed !== undefined &&
    { seed: sampling.seed + repaired.filter((repair) => repair === "sample").length }
})

const faultOf = (kind: Fault["kind"], { error, finish }: Draft): Fault => {
  switch (kind) {
    case "truncated":
      return { kind, detail: "The output was cut off: it has as many tokens as it may" }
    case "malformed":
      return finish?.reason === "stop"
        ? { kind, detail: "The output is neither a summary nor a conclusion" }
        : { kind, detail: `The model stopped for another reason: ${finish?.reason}` }
    case "empty":
      return { kind, detail: "The output is empty" }
    case "interrupted":
      return { kind, detail: error?.message ?? "The output ended without a finish reason" }
  }
}

const outcomeOf = ({ kind, detail }: Fault): Outcome => {
  switch (kind) {
    case "empty":
      return { _tag: "Empty" }
    case "malformed":
      return { _tag: "Malformed", detail }
    default:
      return { _tag: "Truncated" }
  }
}

// ---- what is carried on

/** A text whose tags and special tokens are read as text. */
const harmless = (text: string, dialect: Pick<Dialect.Dialect, "sections" | "history">): string =>
  Dialect.screen(dialect, text, "replace").text

/** The question as the model reads it. */
const harmlessly = (question: Question, { dialect, tags }: Settings): Question => {
  if (tags === "keep") return question
  if (typeof question === "string") return harmless(question, dialect)
  return question.map(({ role, content }) => ({ role, content: harmless(content, dialect) }))
}

/** What an iteration starts from, beside the question; a state may come from anywhere, and so may what it carries. */
const carriedOn = ({ summaries, tail }: State, { carry, dialect }: Settings): string | undefined => {
  const parts = carry._tag === "accumulate" ? [...summaries] : summaries.slice(-1)
  if (carry._tag === "tail" && tail !== "") parts.push(tail)
  return parts.length === 0 ? undefined : harmless(parts.join("\n\n"), dialect)
}

/** The state with what an output adds to what is carried on; there, tags are harmless. */
const handedOn = (
  state: State,
  { reasoning, ending }: Iteration.Output,
  { dialect, carry, count }: Settings
): State => {
  if (ending._tag === "Conclusion") return state
  const clean = (text: string): string => harmless(text, dialect)
  const isSummary = ending.text !== "" && (carry._tag !== "tail" || carry.summary)
  const before = carry._tag === "accumulate" ? state.summaries : []
  return {
    ...state,
    summaries: isSummary ? [...before, clean(ending.text)] : before,
    tail: carry._tag === "tail" ? clean(Segmenter.last(reasoning, { eta: carry.tokens, count })) : ""
  }
}

/** What the rule against stagnation remembers behind an iteration: how what is carried on has changed. */
const progress = (
  { stagnation, summaries, tail }: State,
  next: State,
  output: Iteration.Output | null,
  { stagnation: rule, carry }: Settings
): Stagnation.Memory => {
  if (output?.ending._tag === "Conclusion") return stagnation
  const isTail = carry._tag === "tail" && !carry.summary
  const history = isTail ? tail : summaries.at(-1)
  const summary = output === null ? "" : isTail ? next.tail : next.summaries.at(-1) ?? ""
  return Stagnation.observe(
    stagnation,
    { ...summary.trim() !== "" && { summary }, ...history !== undefined && history !== "" && { history } },
    // Only a summary of everything has to keep what the one before had.
    { ...rule === "off" ? {} : rule, ...(isTail || carry._tag === "accumulate") && { wanders: 0 } }
  )
}

// ---- what is spent

/** What a turn spends, and what is left of the limits. */
interface Ledger {
  /** Books a request, and gives the tokens that were written. */
  readonly book: (
    request: { readonly prompt: string; readonly maxTokens: number },
    written: string,
    usage: TextModel.Usage | undefined
  ) => number
  /** What this turn spent. */
  readonly spent: () => Meter.Meter
  /** What the trajectory spent. */
  readonly total: () => Meter.Meter
  /** Whether the server left figures out. */
  readonly isEstimated: () => boolean
  /** How many tokens the server counts for each that is counted here. */
  readonly scale: () => number
  /** How many tokens the limits leave to write behind a prompt, and the limit that leaves the fewest. */
  readonly room: (prompt: string) => { readonly tokens: number; readonly limit: Limit }
}

const makeLedger = (before: Meter.Meter, { limits, count, exact }: Settings): Ledger => {
  let spent = Meter.empty
  let counted = 0
  let isEstimated = false
  const total = (): Meter.Meter => Meter.add(before, spent)

  /** The most tokens that what is left of the money buys. */
  const affordable = (prompt: string): number => {
    if (limits.cost === undefined) return Infinity
    const { most, input, output } = limits.cost
    const { inputTokens, outputTokens } = total()
    const left = most * 1e6 - (inputTokens + count(prompt)) * input - outputTokens * output
    return left <= 0 ? 0 : Math.floor(left / output)
  }

  return {
    book: ({ prompt, maxTokens }, written, usage) => {
      // Where nobody counts, the server is taken to keep to what it was asked for.
      const own = exact ? count(written) : Math.min(count(written), maxTokens)
      const tokens = usage?.outputTokens ?? own
      spent = Meter.add(spent, Meter.request(usage?.inputTokens ?? count(prompt), tokens))
      counted += own
      isEstimated ||= usage === undefined
      return tokens
    },
    spent: () => spent,
    total,
    isEstimated: () => isEstimated,
    scale: () => counted === 0 ? 1 : spent.outputTokens / counted,
    room: (prompt) => {
      const tokens = limits.tokens === undefined ? Infinity : Math.floor(limits.tokens) - total().outputTokens
      const bought = affordable(prompt)
      return bought < tokens ? { tokens: bought, limit: "cost" } : { tokens, limit: "tokens" }
    }
  }
}

/** About what the trajectory takes in one go: the reasoning and the conclusion alone, behind the question. */
const vanillaOf = (
  { question, vanilla }: State,
  { reasoning, ending }: Iteration.Output,
  { dialect, count }: Settings,
  { scale }: Ledger
): Meter.Meter => {
  const written = count(reasoning) + (ending._tag === "Conclusion" ? count(ending.text) : 0)
  const asked = count(Dialect.prompt(dialect, { question }).prompt)
  return Meter.request(asked, vanilla.outputTokens + Math.round(written * scale()))
}

/** The model itself; where it is guided, it may have to reason before it summarizes. */
const summarizerOf = (
  model: TextModel.TextModel,
  { eta, cuts }: Settings,
  { room }: Ledger
): Summarizer.Summarizer =>
  Summarizer.make(model, {
    maxTokens: (gamma) =>
      Math.max(1, Math.min(cuts === undefined ? 2 * gamma : Math.max(2 * gamma, eta), room("").tokens))
  })

/** A summarizer whose requests are booked. */
const booked = ({ name, write }: Summarizer.Summarizer, { book }: Ledger): Summarizer.Summarizer => ({
  name,
  write: (source, attempt) =>
    Effect.map(write(source, attempt), (written) => {
      const prompt = Summary.request(source).map(({ content }) => content).join("\n")
      book({ prompt, maxTokens: Infinity }, written.text, written.usage)
      return written
    })
})
