import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as State from "../lib/State.ts"
import { law, sentence } from "./support/text.ts"

const count = fc.nat(1_000_000)

const meter = fc.record({ requests: count, inputTokens: count, outputTokens: count, area: count, peak: count })

const carry: fc.Arbitrary<State.Carry> = fc.oneof(
  fc.constantFrom<State.Carry>({ _tag: "replace" }, { _tag: "accumulate" }),
  fc.record({ _tag: fc.constant("tail" as const), tokens: count, summary: fc.boolean() })
)

const outcome: fc.Arbitrary<State.Outcome | null> = fc.oneof(
  fc.constant(null),
  sentence.map((conclusion) => ({ _tag: "Concluded" as const, conclusion })),
  fc.record({
    _tag: fc.constant("Exhausted" as const),
    limit: fc.constantFrom<State.Limit>("iterations", "tokens", "time", "cost"),
    conclusion: fc.option(sentence)
  }),
  sentence.map((detail) => ({ _tag: "Malformed" as const, detail })),
  fc.constantFrom<State.Outcome>({ _tag: "Truncated" }, { _tag: "Empty" }),
  fc.record({
    _tag: fc.constant("NoProgress" as const),
    verdict: fc.constantFrom("empty" as const, "repeats" as const, "wanders" as const)
  })
)

const message = fc.record({
  role: fc.constantFrom("system" as const, "user" as const, "assistant" as const),
  content: sentence
})

const states: fc.Arbitrary<State.State> = fc.record({
  version: fc.constant(1 as const),
  question: fc.oneof(sentence, fc.array(message, { minLength: 1, maxLength: 3 })),
  index: count,
  summaries: fc.array(sentence, { maxLength: 3 }),
  tail: sentence,
  meter,
  vanilla: meter,
  elapsed: count,
  stagnation: fc.record({ empty: count, repeated: count, wandered: count }),
  settings: fc.record({
    dialect: fc.constantFrom("v1", "plus", "chat"),
    eta: count,
    gamma: count,
    carry,
    guide: fc.constantFrom(null, { from: 0.5, late: 0.9 })
  }),
  outcome
}).map((state) => structuredClone(state))

const parsed = (json: unknown): State.State => Result.getOrThrow(State.parse(json))

const refused = (json: unknown): State.StateError => {
  const state = State.parse(json)
  if (Result.isSuccess(state)) throw new Error(`not refused: ${JSON.stringify(json)}`)
  assert.equal(state.failure._tag, "StateError")
  assert.match(state.failure.message, /^Cannot read a state: /)
  return state.failure
}

/** The paths of all fields of a value, lists aside. */
const pathsOf = (value: unknown, path: ReadonlyArray<string> = []): Array<ReadonlyArray<string>> =>
  typeof value !== "object" || value === null || Array.isArray(value) ? [path] : [
    ...path.length === 0 ? [] : [path],
    ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key]))
  ]

/** A copy with another value at a path; `undefined` leaves the field out. */
const put = (value: unknown, [key, ...rest]: ReadonlyArray<string>, changed: unknown): unknown => {
  if (key === undefined) return changed
  // SAFETY: paths are those of `pathsOf`, which lead through objects.
  const fields = value as Readonly<Record<string, unknown>>
  return { ...fields, [key]: put(fields[key], rest, changed) }
}

// Laws

law("round trip: parsing a rendered state yields it", states, (state) => {
  assert.deepEqual(parsed(State.render(state)), state)
  assert.deepEqual(parsed(JSON.parse(State.render(state))), state)
})

law("completeness: a state without one of its fields is refused, and the field is named", states, (state) => {
  for (const path of pathsOf(state)) {
    const { message } = refused(JSON.stringify(put(state, path, undefined)))
    if (path.at(-1) !== "_tag") assert.ok(message.includes(`"${path.at(-1)}"`), `${path.join(".")}: ${message}`)
  }
}, 30)

law("types: a state with another type in one of its fields is refused, and the field is named", states, (state) => {
  for (const path of pathsOf(state)) {
    const { message } = refused(JSON.stringify(put(state, path, { other: true })))
    if (path.at(-1) !== "_tag") assert.ok(message.includes(`"${path.at(-1)}"`), `${path.join(".")}: ${message}`)
  }
}, 30)

const secret = Redacted.make("0123456789abcdef0123456789abcdef")

const sign = (state: State.State, options: State.SignOptions = { secret }): Promise<State.Signed> =>
  Effect.runPromise(State.sign(state, options))

const verified = (json: unknown, options: State.VerifyOptions = { secret }): Promise<State.State> =>
  Effect.runPromise(State.verify(json, options))

/** Why a state is refused. */
const reasonOf = (json: unknown, options: State.VerifyOptions = { secret }): Promise<State.StateError["reason"]> =>
  Effect.runPromise(Effect.map(Effect.flip(State.verify(json, options)), ({ reason }) => reason))

/** The same value with the fields of every object the other way round. */
const turned = (value: unknown): unknown =>
  typeof value !== "object" || value === null
    ? value
    : Array.isArray(value)
    ? value.map(turned)
    : Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, turned(inner)]).reverse())

/** Another value of the same kind. */
const other = (value: unknown): unknown =>
  typeof value === "number" ? value + 1 : typeof value === "string" ? `${value} ` : !value

test("signature: a signed state is read back as it was, however its fields stand", () =>
  fc.assert(
    fc.asyncProperty(states, async (state) => {
      // SAFETY: only the order of its fields is another.
      const signed = await sign(turned(state) as State.State)
      for (const json of [signed, turned(signed), JSON.stringify(signed, null, 2), { ...signed, extra: 1 }]) {
        assert.deepEqual(await verified(json), state)
      }
      assert.deepEqual(parsed(signed), state)
    }),
    { numRuns: 30 }
  ))

test("signature: a state that was changed in any of its fields is refused", () =>
  fc.assert(
    fc.asyncProperty(states, async (state) => {
      const signed: unknown = await sign(state)
      for (const path of pathsOf(state)) {
        // SAFETY: paths are those of `pathsOf`, which lead through objects.
        const value = path.reduce<unknown>((inner, key) => (inner as Readonly<Record<string, unknown>>)[key], signed)
        const changed = put(signed, path, Array.isArray(value) ? value.slice(1) : other(value))
        // Some fields have but one value, and some lists are empty.
        if (Result.isFailure(State.parse(changed)) || JSON.stringify(changed) === JSON.stringify(signed)) continue
        assert.equal(await reasonOf(changed), "unsigned", path.join("."))
      }
    }),
    { numRuns: 20 }
  ))

// Examples

const [example] = fc.sample(states, { numRuns: 1, seed: 1 })

test("parse: fields that no version knows are left out", () => {
  assert.deepEqual(parsed({ ...example, extra: 1 }), example)
})

// Faults

test("parse: a state of another version is refused", () => {
  for (const version of [0, 2, "1"]) {
    assert.match(refused({ ...example, version }).message, /"version"/)
  }
})

test("parse: counts are whole and not negative", () => {
  assert.match(refused({ ...example, index: -1 }).message, /"index"/)
  assert.match(refused({ ...example, index: 1.5 }).message, /"index"/)
  assert.match(refused(State.render({ ...example!, elapsed: Infinity })).message, /"elapsed"/)
})

test("parse: what is no object, or no JSON, is refused", () => {
  for (const json of ["", "{", "null", "[]", "1", null, undefined, 1, []]) refused(json)
})

test("verify: what has no signature of this secret is refused", async () => {
  const { signature, ...state } = await sign(example!)
  const [at, mac] = signature.split(".")
  const wrong = [
    ...[undefined, null, 42, "", ".", mac, `${at}.`, `.${mac}`, `${at}.${mac} `, `${at}.${mac}00`, `-${at}.${mac}`],
    ...[`${Number(at) + 1}.${mac}`, `0${at}.${mac}`, `${at}.${mac!.toUpperCase()}`, `${at}.${"0".repeat(64)}`],
    (await sign(example!, { secret: Redacted.make("fedcba9876543210fedcba9876543210") })).signature
  ]
  // Digits alone have no upper case.
  for (const signature of wrong.filter((wrong) => wrong !== `${at}.${mac}`)) {
    assert.equal(await reasonOf({ ...state, signature }), "unsigned", String(signature))
  }
  assert.equal(await reasonOf(state), "unsigned")
  assert.equal(await reasonOf(State.render(state)), "unsigned")
  for (const json of [{ signature }, "{", null, { ...state, signature, index: -1 }]) {
    assert.equal(await reasonOf(json), "invalid")
  }
})

test("verify: a signature holds for as long as maxAge", () =>
  Effect.gen(function* () {
    const signed = yield* State.sign(example!, { secret })
    yield* TestClock.adjust(1000)
    assert.deepEqual(yield* State.verify(signed, { secret, maxAge: 1000 }), example)
    yield* TestClock.adjust(1)
    const { reason, message } = yield* Effect.flip(State.verify(signed, { secret, maxAge: 1000 }))
    assert.deepEqual([reason, message], [
      "expired",
      "Cannot read a state: it was signed 1001 ms ago, and maxAge is 1000"
    ])
    assert.deepEqual(yield* State.verify(signed, { secret }), example)
    for (const maxAge of [NaN, -1]) {
      const defect = yield* Effect.catchDefect(State.verify(signed, { secret, maxAge }), Effect.succeed)
      assert.match(String(defect), /^RangeError: Cannot verify a state: maxAge is (?:NaN|-1)/)
    }
  }).pipe(Effect.provide(TestClock.layer()), Effect.runPromise))

test("sign: a secret that can be guessed is a mistake", async () => {
  const short = Redacted.make("0123456789abcdef0123456789abcde")
  await assert.rejects(sign(example!, { secret: short }), RangeError)
  await assert.rejects(verified({ ...example, signature: "" }, { secret: short }), RangeError)
})

test("parse: what was spent is not negative", () => {
  assert.match(refused({ ...example, elapsed: -1 }).message, /"elapsed"/)
  assert.match(refused({ ...example, meter: { ...example!.meter, area: -1 } }).message, /"area"/)
})
