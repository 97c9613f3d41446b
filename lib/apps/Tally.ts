/**
 * What a reconstruction has come to: counts for the progress line and the table at the end.
 *
 * @module
 */
import * as Result from "effect/Result"
import type * as Rejection from "../core/Rejection.ts"
import type { Row } from "../Reconstruction.ts"
import * as Numbers from "./Numbers.ts"
import * as Terminal from "./Terminal.ts"

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
  /** Rows of the training format that were written. */
  written: number
  /** Rows that the training format cannot hold. */
  readonly unwritten: Map<Rejection.Reason, number>
  first: Row | undefined
  /** The columns of what was written. */
  columns: ReadonlyArray<string>
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
  written: 0,
  unwritten: new Map(),
  first: undefined,
  columns: []
})

/** Counts one more result. */
export const add = (tally: Tally, result: Result.Result<Row, Rejection.Rejection>): void => {
  if (Result.isFailure(result)) {
    const { reason } = result.failure
    tally.samples++
    count(tally.rejected, reason)
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

/** Counts what a row became in its training format. */
export const write = (tally: Tally, result: Result.Result<object, Rejection.Rejection>): void => {
  if (Result.isFailure(result)) return count(tally.unwritten, result.failure.reason)
  if (tally.written++ === 0) tally.columns = Object.keys(result.success)
}

/** How many samples were rejected. */
export const rejected = (tally: Tally): number => tally.samples - tally.trajectories

/** The counts by what they count. */
export const counts = (tally: Tally): Readonly<Record<string, number>> => ({
  samples: tally.samples,
  "samples reconstructed": tally.trajectories,
  "samples in several iterations": tally.iterated,
  "samples rejected": rejected(tally),
  iterations: tally.rows,
  "rows written": tally.written,
  "tokens of prompts": tally.promptTokens,
  "tokens of targets": tally.targetTokens,
  "tokens of the largest segment": tally.largest,
  "tags made harmless": tally.replaced
})

/** Renders the counts in one line. */
export const line = (tally: Tally): string =>
  `${Numbers.whole(tally.samples)} samples, ${Numbers.whole(tally.rows)} instances, ${
    Numbers.whole(rejected(tally))
  } rejected`

/** Renders the counts as a table, under rows that say how they came about, and above what else is to be said. */
export const table = (
  tally: Tally,
  setting: ReadonlyArray<readonly [string, string]>,
  more: ReadonlyArray<readonly [string, string]> = []
): string => {
  const entries: Array<readonly [string, string]> = [
    ...setting,
    ["samples in", Numbers.whole(tally.samples)],
    [
      "samples reconstructed",
      `${Numbers.whole(tally.trajectories)}, ${Numbers.whole(tally.iterated)} of them in several iterations`
    ],
    ["segments = instances out", Numbers.whole(tally.rows)],
    ...tally.written === tally.rows ? [] : [["rows written", Numbers.whole(tally.written)] as const],
    ...[...tally.unwritten].map(([reason, count]) => [`  not for ${reason}`, Numbers.whole(count)] as const),
    ["tokens, prompts + targets", `${Numbers.whole(tally.promptTokens)} + ${Numbers.whole(tally.targetTokens)}`],
    ["largest segment", `${Numbers.whole(tally.largest)} tokens`],
    ...tally.replaced > 0 ? [["tags made harmless", Numbers.whole(tally.replaced)] as const] : [],
    ["samples rejected", Numbers.whole(rejected(tally))],
    ...[...tally.rejected].map(([reason, count]) => [`  ${reason}`, Numbers.whole(count)] as const),
    ...more
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
  ].map(Terminal.printable).join("\n")

const count = (counts: Map<Rejection.Reason, number>, reason: Rejection.Reason): void => {
  counts.set(reason, (counts.get(reason) ?? 0) + 1)
}
