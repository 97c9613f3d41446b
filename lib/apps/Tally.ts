/**
 * What a reconstruction has come to: counts for the progress line and the table at the end.
 *
 * @module
 */
import * as Result from "effect/Result"
import type * as Rejection from "../core/Rejection.ts"
import type { Row } from "../Reconstruction.ts"

/** The counts so far. */
export interface Tally {
  /** Samples that were read, rejected ones included. */
  samples: number
  /** Samples that became rows. */
  trajectories: number
  rows: number
  /** Samples that have more than one iteration. */
  iterated: number
  /** The tokens of all prompts and targets. */
  promptTokens: number
  targetTokens: number
  /** The most tokens of reasoning in a row. */
  largest: number
  /** Tags that were made harmless. */
  replaced: number
  readonly rejected: Map<Rejection.Reason, number>
  first: Row | undefined
}

/** Makes an empty tally. */
export const make = (): Tally => ({
  samples: 0,
  trajectories: 0,
  rows: 0,
  iterated: 0,
  promptTokens: 0,
  targetTokens: 0,
  largest: 0,
  replaced: 0,
  rejected: new Map(),
  first: undefined
})

/** Counts one more result. */
export const add = (tally: Tally, result: Result.Result<Row, Rejection.Rejection>): void => {
  if (Result.isFailure(result)) {
    const { reason } = result.failure
    tally.samples++
    tally.rejected.set(reason, rejectedFor(tally, reason) + 1)
    return
  }
  const row = result.success
  tally.first ??= row
  tally.rows++
  tally.promptTokens += row.tokens.prompt
  tally.targetTokens += row.tokens.target
  tally.largest = Math.max(tally.largest, row.tokens.reasoning)
  if (row.index < row.count) return
  tally.samples++
  tally.trajectories++
  tally.replaced += row.replaced
  if (row.count > 1) tally.iterated++
}

/** How many samples were rejected. */
export const rejected = (tally: Tally): number => tally.samples - tally.trajectories

/** Renders the counts in one line. */
export const line = (tally: Tally): string =>
  `${number(tally.samples)} samples, ${number(tally.rows)} instances, ${number(rejected(tally))} rejected`

/** Renders the counts as a table, under rows that say how they came about. */
export const table = (tally: Tally, setting: ReadonlyArray<readonly [string, string]>): string => {
  const entries: Array<readonly [string, string]> = [
    ...setting,
    ["samples in", number(tally.samples)],
    ["samples reconstructed", `${number(tally.trajectories)}, ${number(tally.iterated)} of them in several iterations`],
    ["segments = instances out", number(tally.rows)],
    ["tokens, prompts + targets", `${number(tally.promptTokens)} + ${number(tally.targetTokens)}`],
    ["largest segment", `${number(tally.largest)} tokens`],
    ...tally.replaced > 0 ? [["tags made harmless", number(tally.replaced)] as const] : [],
    ["samples rejected", number(rejected(tally))],
    ...[...tally.rejected].map(([reason, count]) => [`  ${reason}`, number(count)] as const)
  ]
  const width = Math.max(...entries.map(([name]) => name.length))
  return entries.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n")
}

/** Renders a row for reading: what the model reads, and what it learns to write. */
export const show = ({ sample, index, count, prompt, target, tokens }: Row): string =>
  [
    `──── instance ${index} of ${count}, of ${sample}: the model reads ${tokens.prompt} tokens ────`,
    prompt,
    `──── and learns to write ${tokens.target} ────`,
    target
  ].join("\n")

const rejectedFor = (tally: Tally, reason: Rejection.Reason): number => tally.rejected.get(reason) ?? 0
const number = (value: number): string => value.toLocaleString("en-US")
