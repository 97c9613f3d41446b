/**
 * The saved state of a trajectory: one small JSON value from which reasoning goes on, anywhere.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Meter from "./core/Meter.ts"
import type { Question } from "./core/Sample.ts"
import type * as Stagnation from "./core/Stagnation.ts"

/** Everything that the next iteration depends on. */
export interface State {
  /** The version of this shape. */
  readonly version: 1
  readonly question: Question
  /** How many iterations there were. */
  readonly index: number
  /** What is carried on: the last summary, or all of them. */
  readonly summaries: ReadonlyArray<string>
  /** The end of the last reasoning, where it is carried on. */
  readonly tail: string
  /** What was spent so far. */
  readonly meter: Meter.Meter
  /** About what the same reasoning and conclusion take in one go, without summaries and histories. */
  readonly vanilla: Meter.Meter
  /** The time spent so far, in milliseconds. */
  readonly elapsed: number
  /** What the rule against stagnation remembers. */
  readonly stagnation: Stagnation.Memory
  /** The settings of the last iteration, which those of the next are where no option says otherwise. */
  readonly settings: Settings
  /** How the trajectory ended; null while it goes on. */
  readonly outcome: Outcome | null
}

/** The settings that a trajectory keeps. */
export interface Settings {
  /** The name of the dialect, which must not change on the way. */
  readonly dialect: string
  readonly eta: number
  readonly gamma: number
  readonly carry: Carry
  /** From what shares of eta on reasoning is cut; null where it is not. */
  readonly guide: Guide | null
}

/** Where reasoning is cut: from these shares of η on. */
export interface Guide {
  /** The end of a step or paragraph; 0.8 by default. */
  readonly from: number
  /** The end of any line or sentence; 0.95 by default. */
  readonly late: number
}

/**
 * What an iteration starts from, beside the question: `replace`, the last summary (InftyThink); `accumulate`, all of them
 * (Accordion-Thinking); `tail`, the last tokens of the reasoning (Delethink), with the last summary where `summary` is so.
 */
export type Carry =
  | { readonly _tag: "replace" }
  | { readonly _tag: "accumulate" }
  | { readonly _tag: "tail"; readonly tokens: number; readonly summary: boolean }

/** How a trajectory ended. */
export type Outcome =
  /** The model concluded. */
  | { readonly _tag: "Concluded"; readonly conclusion: string }
  /** A limit was reached; the conclusion is there if it was forced. */
  | { readonly _tag: "Exhausted"; readonly limit: Limit; readonly conclusion: string | null }
  /** What the model wrote is no output of its dialect, and could not be repaired. */
  | { readonly _tag: "Malformed"; readonly detail: string }
  /** What the model wrote was cut off, and could not be repaired. */
  | { readonly _tag: "Truncated" }
  /** The model wrote nothing. */
  | { readonly _tag: "Empty" }
  /** Iterations got nowhere. */
  | { readonly _tag: "NoProgress"; readonly verdict: Stagnation.Verdict }

/** What a trajectory may run out of. */
export type Limit = "iterations" | "tokens" | "time" | "cost"

interface Fields {
  /** A sentence that reads "Cannot read a state: …". */
  readonly message: string
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "StateError" } = Data
  .TaggedError("StateError")

/** A value is no saved state. */
export class StateError extends Base {}

/** Reads a state from its JSON, as text or as a value. */
export const parse = (json: unknown): Result.Result<State, StateError> => {
  const decoded = typeof json === "string" ? decodeText(json) : decodeValue(json)
  return Result.mapError(
    decoded,
    (cause) => new StateError({ message: `Cannot read a state: ${cause.message}`, cause })
  )
}

/** Renders a state as JSON. */
export const render = (state: State): string => JSON.stringify(state)

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const meter = Schema.Struct({
  requests: Count,
  inputTokens: Count,
  outputTokens: Count,
  area: Schema.Finite,
  peak: Count
})

const schema = Schema.Struct({
  version: Schema.Literal(1),
  question: Schema.Union([
    Schema.String,
    Schema.Array(Schema.Struct({ role: Schema.Literals(["system", "user", "assistant"]), content: Schema.String }))
  ]),
  index: Count,
  summaries: Schema.Array(Schema.String),
  tail: Schema.String,
  meter,
  vanilla: meter,
  elapsed: Schema.Finite,
  stagnation: Schema.Struct({ empty: Count, repeated: Count, wandered: Count }),
  settings: Schema.Struct({
    dialect: Schema.String,
    eta: Count,
    gamma: Count,
    carry: Schema.Union([
      Schema.Struct({ _tag: Schema.Literal("replace") }),
      Schema.Struct({ _tag: Schema.Literal("accumulate") }),
      Schema.Struct({ _tag: Schema.Literal("tail"), tokens: Count, summary: Schema.Boolean })
    ]),
    guide: Schema.NullOr(Schema.Struct({ from: Schema.Finite, late: Schema.Finite }))
  }),
  outcome: Schema.NullOr(Schema.Union([
    Schema.Struct({ _tag: Schema.Literal("Concluded"), conclusion: Schema.String }),
    Schema.Struct({
      _tag: Schema.Literal("Exhausted"),
      limit: Schema.Literals(["iterations", "tokens", "time", "cost"]),
      conclusion: Schema.NullOr(Schema.String)
    }),
    Schema.Struct({ _tag: Schema.Literal("Malformed"), detail: Schema.String }),
    Schema.Struct({ _tag: Schema.Literal("Truncated") }),
    Schema.Struct({ _tag: Schema.Literal("Empty") }),
    Schema.Struct({
      _tag: Schema.Literal("NoProgress"),
      verdict: Schema.Literals(["empty", "repeats", "wanders"])
    })
  ]))
})

const decodeValue = Schema.decodeUnknownResult(schema)
const decodeText = Schema.decodeUnknownResult(Schema.fromJsonString(schema))
