/**
 * Which errors of a server may pass, and how long a request waits before it is tried again.
 *
 * @module
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { ModelError } from "./TextModel.ts"

/** Tells whether an error may pass when the same request is tried again. */
export const mayPass = ({ reason }: ModelError): boolean => PASSING.has(reason)

const PASSING: ReadonlySet<ModelError["reason"]> = new Set(["unreachable", "rate-limited", "failed", "interrupted"])

/** Draws how long to wait before the `n`th try after the first: 0.5 s, 1 s, 2 s … up to 30 s, each ± 20 %. */
export const backoff = (n: number): Effect.Effect<Duration.Duration> =>
  Effect.map(Random.nextBetween(0.8, 1.2), (factor) => Duration.millis(factor * Math.min(500 * 2 ** (n - 1), 30_000)))

/** Says that a server asks to wait longer than `most` milliseconds; undefined where it does not. */
export const tooLong = ({ retryAfter = 0 }: ModelError, most: number): string | undefined =>
  retryAfter <= most
    ? undefined
    : `it asks to wait ${Duration.format(Duration.millis(retryAfter))}, longer than maxRetryAfter`

/** Reads the option `maxRetryAfter` as milliseconds, 10 minutes by default. Throws a RangeError for a bad one. */
export const parseMaxRetryAfter = (input: Duration.Input = "10 minutes"): number =>
  Duration.toMillis(parseDuration("maxRetryAfter", input))

/** Reads an option that is a duration longer than 0. Throws a RangeError for any other. */
export const parseDuration = (name: string, input: Duration.Input): Duration.Duration => {
  const duration = Option.getOrUndefined(Duration.fromInput(input))
  if (duration !== undefined && Duration.toMillis(duration) > 0) return duration
  throw new RangeError(`Cannot make a model: ${name} is ${String(input)}, not a duration longer than 0`)
}

/** Refuses an option that is no integer of at least so much. Throws a RangeError. */
export const requireInteger = (name: string, value: number, least: number): void => {
  if (Number.isInteger(value) && value >= least) return
  throw new RangeError(`Cannot make a model: ${name} is ${value}, not an integer of at least ${least}`)
}
