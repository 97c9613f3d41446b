/**
 * A clock for clients of a fault server: it runs fast, and limits to silence end on it when the server says so.
 *
 * @module
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Silence } from "./faults.ts"

/** A second on the clock takes 5 ms, so that what waits does not take long. */
const SPEED = 200
const began = Date.now()

/** The time on the clock, in milliseconds. */
export const now = (): number => began + (Date.now() - began) * SPEED

/**
 * The limits to silence, in milliseconds: they are over when a server is silent, and at no other time, however slow this
 * machine is. They are far from each other and from all else, because what is left of one is shorter.
 */
export const LIMITS = { Silence: 1e10, Comments: 1e14 }
const limitOf = (milliseconds: number): Silence["_tag"] | undefined =>
  milliseconds > 1e12 ? "Comments" : milliseconds > 1e9 ? "Silence" : undefined

/** A request whose limit to silence is running. */
export interface Limited {
  /** What the request is known by. */
  readonly key: string
  readonly limit: Silence["_tag"]
  readonly end: () => void
}

/** Makes the clock of one request: a limit that is over has passed on it; `limited` has those that are running. */
export const makeClock = (key: string, limited: Set<Limited>): Clock.Clock => {
  let passed = 0
  const millis = (): number => now() + passed
  const nanos = (): bigint => BigInt(millis()) * 1_000_000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.callback<void>((resume) => {
        const milliseconds = Duration.toMillis(duration)
        const limit = limitOf(milliseconds)
        if (limit === undefined) {
          const timer = setTimeout(() => resume(Effect.void), Math.ceil(milliseconds / SPEED))
          return Effect.sync(() => clearTimeout(timer))
        }
        const end = (): void => {
          limited.delete(one)
          passed += Math.ceil(milliseconds)
          resume(Effect.void)
        }
        const one = { key, limit, end }
        limited.add(one)
        return Effect.sync(() => limited.delete(one))
      })
  }
}
