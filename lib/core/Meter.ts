/**
 * What reasoning costs: tokens billed, context area and peak context, live and as one long reasoning would.
 *
 * The context area is the sum, over all tokens written, of the context's length at each; attention and memory follow it,
 * while an API bills tokens. The two are told apart, because iterations lower the one and raise the other.
 *
 * @module
 */

/** The tokens of one or more requests. */
export interface Meter {
  /** How many requests there were. */
  readonly requests: number
  /** Tokens read, as they are billed: each request reads its prompt anew. */
  readonly inputTokens: number
  /** Tokens written, those that were thrown away included. */
  readonly outputTokens: number
  /** Σ of the context's length over all tokens written. */
  readonly area: number
  /** The longest context there was: prompt and output of one request. */
  readonly peak: number
}

/** The meter of no request. */
export const empty: Meter = { requests: 0, inputTokens: 0, outputTokens: 0, area: 0, peak: 0 }

/** Measures one request: g tokens written behind a prompt of p have an area of g·p + g(g + 1)/2. */
export const request = (inputTokens: number, outputTokens: number): Meter => ({
  requests: 1,
  inputTokens,
  outputTokens,
  area: outputTokens * inputTokens + outputTokens * (outputTokens + 1) / 2,
  peak: inputTokens + outputTokens
})

/** Adds what other requests took. */
export const add = (one: Meter, other: Meter): Meter => ({
  requests: one.requests + other.requests,
  inputTokens: one.inputTokens + other.inputTokens,
  outputTokens: one.outputTokens + other.outputTokens,
  area: one.area + other.area,
  peak: Math.max(one.peak, other.peak)
})

/**
 * The efficiency reward of InftyThink+ (arXiv 2602.06960): a task's reward, less the more of the iterations it took,
 * `reward · (1 − ((n − 1)/φ)²)`; the iterations of a trajectory share it.
 */
export const efficiency = (reward: number, iterations: number, maxIterations: number): number =>
  reward * (1 - ((iterations - 1) / maxIterations) ** 2)
