/**
 * Progress on standard error: one live line on a terminal, and plain lines now and then elsewhere.
 *
 * What is shown is a pure function of a snapshot.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import process from "node:process"
import type { Spent } from "../Budget.ts"
import type { ServerStatus } from "../Load.ts"
import * as Price from "../core/Price.ts"
import * as Numbers from "./Numbers.ts"

/** How far a command is; what is left out is not known, or not what the command does. */
export interface Snapshot {
  /** The time since the start, in milliseconds. */
  readonly elapsed: number
  /** Samples that are done, rejected ones included. */
  readonly samples: number
  /** Rows that were made. */
  readonly rows?: number | undefined
  /** Samples that were rejected, by reason. */
  readonly rejected: ReadonlyMap<string, number>
  /** Bytes of the input that are done, or about so many. */
  readonly bytesDone?: number | undefined
  /** Bytes of the input in all. */
  readonly bytesTotal?: number | undefined
  /** What was spent on models, in earlier runs of the same journal, too. */
  readonly spent?: Spent | undefined
  /** The servers that are asked. */
  readonly servers?: ReadonlyArray<Pick<ServerStatus, "failures" | "pause">> | undefined
  /** How far it was when it began to ask models: what came before was answered by a journal, and says nothing of speed. */
  readonly since?: Since | undefined
}

/** How far a command was at some time. */
export interface Since extends Pick<Snapshot, "elapsed" | "samples"> {
  readonly bytesDone: number
  readonly outputTokens: number
}

/** Follows a command as long as the scope is open: as a line for a person, or as JSON lines for machines. */
export const follow = (snapshot: () => Snapshot, as: "text" | "json"): Effect.Effect<void, never, Scope.Scope> =>
  as === "json" ? log(() => json(snapshot())) : show((columns) => render(snapshot(), columns))

/** Shows a line as long as the scope is open, on a terminal in place; the last thing it shows is the line at the end. */
export const show = (line: (columns: number) => string): Effect.Effect<void, never, Scope.Scope> =>
  process.stderr.isTTY !== true ? log(() => line(Infinity)) : Effect.gen(function* () {
    // A terminal that does not know its width has 80 columns; the last one is left free, so that nothing wraps.
    const write = Effect.sync(() => process.stderr.write(`\r\x1b[2K${line((process.stderr.columns || 80) - 1)}`))
    yield* Effect.addFinalizer(() => Effect.andThen(write, Effect.sync(() => process.stderr.write("\n"))))
    yield* repeat(write, "100 millis")
  })

/** Writes a line every ten seconds as long as the scope is open, and the line at the end. */
export const log = (line: () => string): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const write = Effect.sync(() => process.stderr.write(`${line()}\n`))
    yield* Effect.addFinalizer(() => write)
    yield* repeat(write, "10 seconds")
  })

const repeat = (write: Effect.Effect<unknown>, every: "100 millis" | "10 seconds") =>
  write.pipe(Effect.delay(every), Effect.repeat(Schedule.forever), Effect.forkScoped)

/**
 * Renders a snapshot as one line of at most so many columns: with a bar where there is a width, and with as much else as
 * fits, what matters most first; without a width, with everything but the bar.
 */
export const render = (snapshot: Snapshot, columns: number = Infinity): string => {
  const { samples, rows, rejected, spent } = snapshot
  const { share, rate, tokenRate, left, projectedCost } = forecast(snapshot)
  const total = sum(rejected)
  const { failures, pause } = troubleOf(snapshot)
  const isLive = Number.isFinite(columns)
  const parts: ReadonlyArray<Part> = [
    part(1, isLive && share !== undefined && bar(share, BAR)),
    part(2, share !== undefined && `${Math.floor(100 * share)}%`),
    part(0, `${Numbers.whole(samples)} samples`),
    part(7, rows !== undefined && `${Numbers.whole(rows)} instances`),
    part(4, total > 0 && `${Numbers.whole(total)} rejected`),
    part(10, total > 0 && [...rejected].map(([reason, count]) => `${reason} ${Numbers.whole(count)}`).join(", ")),
    part(
      8,
      rate !== undefined && (rate >= 1 ? `${Numbers.brief(rate)} samples/s` : `${Numbers.brief(rate * 3600)} samples/h`)
    ),
    part(9, tokenRate !== undefined && `${Numbers.brief(tokenRate)} tokens/s`),
    part(4, pause > 0 && `servers left alone for ${duration(pause)}`),
    part(9, failures > 0 && `${Numbers.whole(failures)} tries failed`),
    part(5, spent !== undefined && costOf(spent)),
    part(6, projectedCost !== undefined && `about ${Price.render(projectedCost)} in all`),
    part(3, left !== undefined && `${duration(left)} left`)
  ].flat()

  // The bar keeps its place among the parts, and takes what the others leave.
  const kept = fitting(parts, columns)
  const room = columns - lengthOf(kept)
  return kept.map(({ rank, text }) => rank === 1 ? bar(share!, BAR + Math.min(room, 3 * BAR)) : text).join(SEPARATOR)
}

/** Renders a snapshot as one JSON object for machines; what is not known is null. */
export const json = (snapshot: Snapshot): string => {
  const { elapsed, samples, rows, rejected, bytesDone, bytesTotal, spent, servers } = snapshot
  const { left, projectedCost } = forecast(snapshot)
  return JSON.stringify({
    seconds: elapsed / 1000,
    samples,
    rows: rows ?? null,
    rejected: Object.fromEntries(rejected),
    bytesDone: bytesDone ?? null,
    bytesTotal: bytesTotal ?? null,
    secondsLeft: left === undefined ? null : Math.round(left / 1000),
    requests: spent?.requests ?? null,
    inputTokens: spent?.inputTokens ?? null,
    cachedTokens: spent?.cachedTokens ?? null,
    outputTokens: spent?.outputTokens ?? null,
    estimated: spent?.estimated ?? null,
    cost: spent?.cost ?? null,
    projectedCost: projectedCost ?? null,
    failures: servers === undefined ? null : troubleOf(snapshot).failures
  })
}

/** Renders a time in milliseconds for a person, in one or two units. */
export const duration = (milliseconds: number): string => {
  const seconds = Math.round(milliseconds / 1000)
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return `${hours} h ${minutes % 60} min`
  const all = Math.round(minutes / 60)
  return `${Math.floor(all / 24)} d ${all % 24} h`
}

/** What a snapshot tells of the speed and of what is to come; nothing where it is too early to say. */
interface Forecast {
  /** The part of the input that was read, from 0 to 1. */
  readonly share?: number
  /** Samples in a second. */
  readonly rate?: number
  /** Tokens written in a second. */
  readonly tokenRate?: number
  /** The time left, in milliseconds. */
  readonly left?: number
  /** The cost in all, in US dollars. */
  readonly projectedCost?: number
}

const forecast = ({ elapsed, samples, bytesDone, bytesTotal, spent, since = START }: Snapshot): Forecast => {
  const total = Number(bytesTotal) > 0 ? bytesTotal! : undefined
  const share = bytesDone === undefined || total === undefined ? undefined : Math.min(1, bytesDone / total)
  const time = elapsed - since.elapsed
  const isSettled = samples > since.samples && time >= SETTLED
  const isTelling = isSettled && share !== undefined && bytesDone! > since.bytesDone && share < 1
  return {
    ...share !== undefined && { share },
    ...isSettled && { rate: (samples - since.samples) / time * 1000 },
    ...isSettled && spent !== undefined && { tokenRate: (spent.outputTokens - since.outputTokens) / time * 1000 },
    ...isTelling && { left: time * (total! - bytesDone!) / (bytesDone! - since.bytesDone) },
    ...isTelling && spent?.cost !== undefined && { projectedCost: spent.cost / share }
  }
}

const START: Since = { elapsed: 0, samples: 0, bytesDone: 0, outputTokens: 0 }

/** How long a command runs before its speed says something, in milliseconds. */
const SETTLED = 10_000

/** Tells the tries that failed, and how long all servers are left alone from now, in milliseconds. */
export const troubleOf = (
  { servers = [] }: Pick<Snapshot, "servers">
): { readonly failures: number; readonly pause: number } => ({
  failures: servers.reduce((sum, { failures }) => sum + failures, 0),
  pause: servers.length === 0 ? 0 : Math.min(...servers.map(({ pause }) => pause))
})

/** Something a line may say; of a higher rank is what is left out first. */
interface Part {
  readonly rank: number
  readonly text: string
}

const part = (rank: number, text: string | false): ReadonlyArray<Part> => text === false ? [] : [{ rank, text }]

/** The parts that fit, in their order: the one of rank 0 in any case, and then by rank as long as there is room. */
const fitting = (parts: ReadonlyArray<Part>, columns: number): ReadonlyArray<Part> => {
  const byRank = [...parts].sort((a, b) => a.rank - b.rank)
  const fit = byRank.findIndex((_, i) => i > 0 && lengthOf(byRank.slice(0, i + 1)) > columns)
  const kept = new Set(fit < 0 ? byRank : byRank.slice(0, fit))
  return parts.filter((part) => kept.has(part))
}

const lengthOf = (parts: ReadonlyArray<Part>): number => parts.map(({ text }) => text).join(SEPARATOR).length

const SEPARATOR = " · "

/** The fewest columns of the bar. */
const BAR = 10

const bar = (share: number, columns: number): string => {
  const full = Math.floor(share * columns)
  return "█".repeat(full) + "░".repeat(columns - full)
}

const costOf = ({ cost, estimated }: Spent): string =>
  cost === undefined ? "price unknown" : `${estimated ? "about " : ""}${Price.render(cost)}`

const sum = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((all, count) => all + count, 0)
