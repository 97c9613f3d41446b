/**
 * The saved state of a trajectory: one small JSON value from which reasoning goes on, anywhere.
 *
 * A state that others keep can be signed: then it stays readable, and is taken back only as it was given.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
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

/** A state with the proof that it was given out as it is. */
export interface Signed extends State {
  /** When it was signed, in milliseconds since 1970, a full stop, and an HMAC-SHA-256 of both, in hexadecimal digits. */
  readonly signature: string
}

/** How states are signed. */
export interface SignOptions {
  /** What signs them: at least 32 bytes, from a random source, for who has a state can try secrets on it. */
  readonly secret: Redacted.Redacted<string>
}

/** How signed states are taken back. */
export interface VerifyOptions extends SignOptions {
  /** How old a signature may be, in milliseconds; as old as it is, by default. */
  readonly maxAge?: number
}

interface Fields {
  /** `invalid`: it is no state; `unsigned`: its signature is missing or wrong; `expired`: its signature is too old. */
  readonly reason: "invalid" | "unsigned" | "expired"
  /** A sentence that reads "Cannot read a state: …". */
  readonly message: string
  readonly cause?: unknown
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "StateError" } = Data
  .TaggedError("StateError")

/** A value is no saved state, or none to be taken. */
export class StateError extends Base {}

/** Tells a state from a question. */
export const isState = (from: Question | State): from is State => typeof from === "object" && "version" in from

/** Reads a state from its JSON, as text or as a value. */
export const parse = (json: unknown): Result.Result<State, StateError> => {
  const decoded = typeof json === "string" ? decodeText(json) : decodeValue(json)
  return Result.mapError(
    decoded,
    (cause) => new StateError({ reason: "invalid", message: `Cannot read a state: ${cause.message}`, cause })
  )
}

/** Renders a state as JSON. */
export const render = (state: State): string => JSON.stringify(state)

/**
 * Signs a state. It can be read back by `parse` as well, which leaves the signature out. Dies with a RangeError where the
 * secret is too short.
 */
export const sign = (state: State, { secret }: SignOptions): Effect.Effect<Signed> =>
  Effect.gen(function* () {
    const at = String(yield* Clock.currentTimeMillis)
    const key = yield* importKey(secret)
    const mac = yield* Effect.promise(() => crypto.subtle.sign("HMAC", key, signedBytes(at, state)))
    return { ...state, signature: `${at}.${hexOf(new Uint8Array(mac))}` }
  })

/**
 * Reads a state that was signed, from its JSON, as text or as a value. What is compared is what was read, so that the
 * order of fields and white space do not matter, and a field that no state has adds nothing.
 *
 * An old state of the same trajectory is still a state: whoever keeps them can go back. Dies with a RangeError where the
 * secret is too short, and for a bad `maxAge`.
 */
export const verify = (
  json: unknown,
  { secret, maxAge = Infinity }: VerifyOptions
): Effect.Effect<State, StateError> =>
  Effect.gen(function* () {
    if (!(maxAge >= 0)) throw new RangeError(`Cannot verify a state: maxAge is ${maxAge}, and must be at least 0`)
    const state = yield* Effect.fromResult(parse(json))
    const { signature } = Result.getOrElse(
      typeof json === "string" ? readSignature(json) : readSignatureValue(json),
      () => ({ signature: "" })
    )
    const [, at = "", digits = ""] = /^(\d{1,16})\.([\da-f]{64})$/.exec(signature) ?? []
    const key = yield* importKey(secret)
    // The platform compares in constant time.
    const isSame = yield* Effect.promise(() =>
      crypto.subtle.verify("HMAC", key, bytesOf(digits), signedBytes(at, state))
    )
    if (!isSame) return yield* refuse("unsigned", "its signature is missing or wrong")
    const age = (yield* Clock.currentTimeMillis) - Number(at)
    return age > maxAge ? yield* refuse("expired", `it was signed ${age} ms ago, and maxAge is ${maxAge}`) : state
  })

const refuse = (reason: StateError["reason"], detail: string): StateError =>
  new StateError({ reason, message: `Cannot read a state: ${detail}` })

const utf8 = new TextEncoder()

const importKey = (secret: Redacted.Redacted<string>): Effect.Effect<CryptoKey> =>
  Effect.suspend(() => {
    const bytes = utf8.encode(Redacted.value(secret))
    if (bytes.length < 32) throw new RangeError("Cannot sign a state: the secret has less than 32 bytes")
    return Effect.promise(() =>
      crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"])
    )
  })

/** What is signed; its first words keep the signature from meaning anything where the same secret signs other things. */
const signedBytes = (at: string, state: State): Uint8Array<ArrayBuffer> =>
  utf8.encode(`inftythink state ${at} ${JSON.stringify(encode(state))}`)

const hexOf = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")

const bytesOf = (digits: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16))

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const Amount = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

const meter = Schema.Struct({
  requests: Count,
  inputTokens: Count,
  outputTokens: Count,
  area: Amount,
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
  elapsed: Amount,
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

/** A state whose fields stand in one order, which is the schema's. */
const encode = Schema.encodeSync(schema)

const SignatureOnly = Schema.Struct({ signature: Schema.String })
const readSignatureValue = Schema.decodeUnknownResult(SignatureOnly)
const readSignature = Schema.decodeUnknownResult(Schema.fromJsonString(SignatureOnly))
