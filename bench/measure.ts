/**
 * Measures contestants beside one another, and prints what came of it.
 *
 * They take turns, so that a machine that is slow for a while is slow for all; a ratio is the median of the ratios of
 * the rounds.
 *
 * @module
 */
import process from "node:process"

/** Something to measure. */
export interface Contestant {
  readonly name: string
  /** Does the work once. */
  readonly run: () => unknown
}

/** What measuring gave. */
export interface Figures {
  /** The median time of a contestant, in milliseconds. */
  readonly time: (name: string) => number
  /** How many times as long as another one a contestant took. */
  readonly ratio: (name: string, base: string) => number
}

/** How to measure. */
export interface Options {
  /** How often each does its work; 7 by default. */
  readonly rounds?: number
  /** How often each does its work before that, unmeasured; 2 by default. */
  readonly warmups?: number
}

/** Measures contestants by turns. */
export const measure = async (
  contestants: ReadonlyArray<Contestant>,
  { rounds = 7, warmups = 2 }: Options = {}
): Promise<Figures> => {
  const times = new Map<string, Array<number>>(
    contestants.map(({ name }) => [name, []])
  )
  for (let round = -warmups; round < rounds; round++) {
    for (const { name, run } of contestants) {
      const began = performance.now()
      await run()
      if (round >= 0) times.get(name)!.push(performance.now() - began)
    }
  }
  const of = (name: string): ReadonlyArray<number> => times.get(name) ?? []
  return {
    time: (name) => median(of(name)),
    ratio: (name, base) => median(of(name).map((time, round) => time / of(base)[round]!))
  }
}

/** The median of numbers; not a number where there are none. */
export const median = (numbers: ReadonlyArray<number>): number => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle) - 1]!) / 2
}

/** Writes a number with three figures. */
export const figure = (value: number): string =>
  !Number.isFinite(value) ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)

/** Prints a heading, with the version of what runs it. */
export const title = (text: string): void => {
  const { bun, deno, node } = process.versions
  console.log(
    `\n${text} (${bun ? `bun ${bun}` : deno ? `deno ${deno}` : `node ${node}`})`
  )
}

/** Prints rows of cells, the first column to the left and the others to the right. */
export const table = (
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string | number>>
): void => {
  const cells = [
    head,
    ...rows.map((row) => row.map((cell) => typeof cell === "number" ? figure(cell) : cell))
  ]
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  for (const row of cells) {
    const line = row.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))
    console.log(`  ${line.join("  ")}`)
  }
}

/** Prints whether a figure is where it should be. */
export const target = (
  claim: string,
  value: number,
  bound: "at most" | "at least",
  limit: number
): void => {
  const isMet = bound === "at most" ? value <= limit : value >= limit
  console.log(
    `  ${isMet ? "met   " : "MISSED"}  ${claim}: ${figure(value)} ×, ${bound} ${limit} ×`
  )
}
