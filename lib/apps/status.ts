/**
 * `inftythink status`: how far the run of a journal is, from another terminal or afterwards.
 *
 * @module
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Journal from "../adapters/Journal.ts"
import * as Price from "../core/Price.ts"
import * as Progress from "./Progress.ts"
import * as Numbers from "./Numbers.ts"

/** The command. */
export const status: Command.Command<
  "status",
  never,
  unknown,
  Journal.JournalError,
  FileSystem.FileSystem
> = Command.make(
  "status",
  {
    journal: Argument.String("journal").pipe(Argument.withDescription("the journal of a run of reconstruct")),
    json: Flag.Boolean("json").pipe(Flag.withDescription("print one JSON object"), Flag.withDefault(false))
  },
  Effect.fnUntraced(function* ({ journal, json }) {
    const report = reportOf(
      yield* Journal.inspect(journal),
      yield* Journal.isOpen(journal),
      yield* Clock.currentTimeMillis
    )
    yield* Console.log(json ? JSON.stringify(report) : render(report))
  })
).pipe(
  Command.withDescription("Show how far the run of a journal is: progress, rate, price, failures"),
  Command.withExamples([{ command: "inftythink status instances.journal.jsonl", description: "of a run, or after it" }])
)

/** What is told of a journal; null is not known. */
interface Report {
  /** `running`, `killed`, or how the run ended. */
  readonly state: string
  /** The error that ended it. */
  readonly message: string | null
  readonly command: string | null
  /** The share of the input that is done, from 0 to 1. */
  readonly share: number | null
  readonly samples: number
  readonly rows: number
  readonly rejected: Readonly<Record<string, number>>
  readonly answers: number
  readonly estimated: number
  readonly damaged: number
  /** The requests that failed and have no answer yet, for each reason. */
  readonly failures: Readonly<Record<string, number>>
  /** What one of the failures says. */
  readonly failure: string | null
  /** The tries of the last run that failed, those that were made again included. */
  readonly tries: number | null
  /** How long all servers are left alone from now, in seconds. */
  readonly pause: number
  readonly inputTokens: number
  readonly outputTokens: number
  /** US dollars. */
  readonly cost: number | null
  /** How long the last run has taken, in seconds, and the answers and tokens written in a second of it. */
  readonly seconds: number | null
  readonly answersPerSecond: number | null
  readonly tokensPerSecond: number | null
}

const reportOf = (digest: Journal.Digest, isOpen: boolean, now: number): Report => {
  const { begin, progress, end, recent, usage, failures } = digest
  const until = isOpen ? now : Math.max(recent.at, progress?.at ?? 0, end?.at ?? 0)
  const seconds = begin === undefined ? null : (until - begin.at) / 1000
  const perSecond = (count: number): number | null => seconds === null || seconds <= 0 ? null : count / seconds
  return {
    state: isOpen ? "running" : end?.how ?? (begin === undefined ? "never run" : "killed"),
    message: end?.message ?? null,
    command: begin === undefined ? null : ["inftythink", ...begin.args.map(quoted)].join(" "),
    share: begin?.bytes ? Math.min(1, (progress?.bytes ?? 0) / begin.bytes) : null,
    samples: progress?.samples ?? 0,
    rows: progress?.rows ?? 0,
    rejected: progress?.rejected ?? {},
    answers: digest.answers,
    estimated: digest.estimated,
    damaged: digest.damaged,
    failures: countsOf([...failures.values()].map(({ reason }) => reason)),
    failure: [...failures.values()].at(-1)?.message ?? null,
    tries: progress?.tries ?? null,
    pause: isOpen ? Math.max(0, (progress?.at ?? 0) + (progress?.pause ?? 0) - now) / 1000 : 0,
    inputTokens: usage.inputTokens,
    outputTokens: usage.outputTokens,
    cost: begin?.price ? Price.cost(begin.price, usage) : null,
    seconds,
    answersPerSecond: perSecond(recent.answers),
    tokensPerSecond: perSecond(recent.usage.outputTokens)
  }
}

const render = (report: Report): string => {
  const { state, message, command, share, samples, rows, rejected, failures, failure, tries, pause, seconds } = report
  const failed = sum(failures)
  const lines: ReadonlyArray<readonly [string, string]> = [
    ["state", message === null ? state : `${state}: ${message}`],
    ...command === null ? [] : [["command", command] as const],
    ...seconds === null ? [] : [["time", Progress.duration(seconds * 1000)] as const],
    ...share === null ? [] : [["input done", `${Math.floor(share * 100)} %`] as const],
    ["samples", Numbers.whole(samples)],
    ["instances", Numbers.whole(rows)],
    ["samples rejected", Numbers.whole(sum(rejected))],
    ...Object.entries(rejected).map(([reason, count]) => [`  ${reason}`, Numbers.whole(count)] as const),
    ["requests answered", Numbers.whole(report.answers)],
    ["requests failed", failed === 0 ? "0" : `${Numbers.whole(failed)}, and asked again by the next run`],
    ...Object.entries(failures).map(([reason, count]) => [`  ${reason}`, Numbers.whole(count)] as const),
    ...failure === null ? [] : [["  the last of them", failure] as const],
    ...tries === null ? [] : [["tries that failed", Numbers.whole(tries)] as const],
    ...pause === 0 ? [] : [["servers left alone for", Progress.duration(pause * 1000)] as const],
    ["tokens, read + written", `${Numbers.whole(report.inputTokens)} + ${Numbers.whole(report.outputTokens)}`],
    ...report.estimated === 0 ? [] : [["  estimated in", `${Numbers.whole(report.estimated)} answers`] as const],
    ["cost", Price.render(report.cost ?? undefined)],
    ...report.answersPerSecond === null
      ? []
      : [["answers per minute", Numbers.brief(report.answersPerSecond * 60)] as const],
    ...report.tokensPerSecond === null ? [] : [["tokens per second", Numbers.brief(report.tokensPerSecond)] as const],
    ...report.damaged === 0 ? [] : [["lines that are damaged", Numbers.whole(report.damaged)] as const]
  ]
  const width = Math.max(...lines.map(([name]) => name.length))
  return lines.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n")
}

/** An argument as a shell reads it. */
const quoted = (argument: string): string =>
  /^[\w@%+=:,./#-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`

const countsOf = (names: ReadonlyArray<string>): Readonly<Record<string, number>> => {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0)
