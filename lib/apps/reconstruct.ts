/**
 * `inftythink reconstruct`: long reasonings become training data.
 *
 * @module
 */
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { resolve } from "node:path"
import process from "node:process"
import * as ChatTemplate from "../adapters/ChatTemplate.ts"
import * as Dataset from "../adapters/Dataset.ts"
import type * as Journal from "../adapters/Journal.ts"
import type { WorkerError } from "../adapters/Segments.ts"
import * as Storage from "../adapters/Storage.ts"
import type * as Budget from "../Budget.ts"
import * as Dialect from "../core/Dialect.ts"
import * as Price from "../core/Price.ts"
import type * as Rejection from "../core/Rejection.ts"
import * as Summary from "../core/Summary.ts"
import * as Format from "../Format.ts"
import * as Reconstruction from "../Reconstruction.ts"
import type { ModelError } from "../TextModel.ts"
import { Tokenizer, type TokenizerError } from "../Tokenizer.ts"
import { Arguments, withoutQueries } from "./Arguments.ts"
import * as Card from "./Card.ts"
import * as Findings from "./Findings.ts"
import * as Flags from "./Flags.ts"
import * as Manifest from "./Manifest.ts"
import * as Numbers from "./Numbers.ts"
import * as Progress from "./Progress.ts"
import * as Tally from "./Tally.ts"
import { version } from "./Version.ts"
import * as Writer from "./Writer.ts"

/** What stops a run, or is to be said at its end. */
export type Failure =
  | Flags.UsageError
  | Storage.StorageError
  | Journal.JournalError
  | ChatTemplate.TemplateError
  | ModelError
  | TokenizerError
  | WorkerError
  | Incomplete

/** The command. */
export const reconstruct: Command.Command<"reconstruct", never, unknown, Failure, FileSystem.FileSystem> = Command.make(
  "reconstruct",
  {
    inputs: Flags.inputs,
    ...Flags.reading,
    out: Flag.String("out").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription(
        "where instances go: .jsonl, .jsonl.gz, .jsonl.zst or .parquet, with rejections, journal, manifest and dataset " +
          "card beside it; or - for standard output, with rejections on standard error and no other file"
      )
    ),
    overwrite: Flag.Boolean("overwrite").pipe(
      Flag.withDescription("replace FILE where it exists"),
      Flag.withDefault(false)
    ),
    rejects: Flags.text("rejects", "FILE", "where rejections go (default beside FILE, with .rejects.jsonl)"),
    journal: Flags.text(
      "journal",
      "FILE",
      "where the model's answers are kept, so that a run that was ended goes on (default beside --out, with " +
        ".journal.jsonl; with --out - they are not kept unless it is named)"
    ),
    format: Flag.Literals("format", Format.names).pipe(
      Flag.withDescription("the training format (default rows: prompt, target, and all that is known of them)"),
      Flag.withDefault("rows" as const)
    ),
    chatTemplate: Flags.text(
      "chat-template",
      "FILE",
      "the trained model's tokenizer_config.json or .jinja: prompts are rendered by it, and each row is checked against it"
    ),
    eta: Flags.eta,
    tokenizer: Flags.tokenizer,
    packing: Flags.packing,
    gamma: Flags.gamma,
    dialect: Flags.dialect,
    summaries: Flag.Literals("summaries", ["recurrent", "cumulative"]).pipe(
      Flag.withDescription("made of the summary before and one segment (default), or of all segments so far"),
      Flag.withDefault("recurrent")
    ),
    tags: Flags.tags,
    tries: Flags.integer("tries", 1, "how often a summary is sampled before its sample is rejected (default 10)").pipe(
      Flag.withDefault(10)
    ),
    ...Flags.servers(
      "without one, sentences are picked from the reasoning, which is for trying out and not for training data"
    ),
    temperature: Flags.finite("temperature", 2, "how the model samples (default 0.5)"),
    topP: Flags.finite("top-p", 1, "how the model samples (default 0.95)"),
    summaryTokens: Flags.integer(
      "summary-tokens",
      1,
      "the most tokens the server may write for a summary (default 2 × gamma); more for a model that reasons first"
    ).pipe(Flag.optional),
    concurrency: Flags.integer(
      "concurrency",
      1,
      "the most samples worked on at once, and requests at a server, which begin with 8 and follow what it bears " +
        "(default 32)"
    ).pipe(Flag.withDefault(32)),
    window: Flags.integer(
      "window",
      1,
      "the most samples held, those done before a slow one included (default 8 × concurrency)"
    )
      .pipe(Flag.optional),
    workers: Flags.integer(
      "workers",
      0,
      "threads that read and segment JSON Lines (default: the cores but one, 3 at most, once 16 MB were read)"
    ).pipe(Flag.optional),
    retries: Flags.integer(
      "retries",
      0,
      "how often a request that failed is sent again, after growing waits, before its sample is put off (default 5)"
    ).pipe(Flag.withDefault(5)),
    requestsPerMinute: Flags.integer("requests-per-minute", 1, "the most requests in a minute, to all servers").pipe(
      Flag.optional
    ),
    tokensPerMinute: Flags.integer("tokens-per-minute", 1, "the most tokens in a minute, read and written").pipe(
      Flag.optional
    ),
    ...Flags.priced,
    maxCost: Flags.maxCost,
    maxTokens: Flags.maxTokens,
    show: Flag.Boolean("show").pipe(
      Flag.withDescription("print the first instance"),
      Flag.withDefault(false)
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("print the manifest, and progress as JSON lines on standard error"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(
    function* (options) {
      const { out, eta, gamma, packing, summaries, tags, tries, concurrency, overwrite } = options
      const window = Option.getOrElse(options.window, () => 8 * concurrency)
      if (window < concurrency) {
        return yield* Flags.usageError(
          `Cannot use --window ${window}: it must be at least --concurrency, which is ${concurrency}`
        )
      }
      const paths = pathsOf(options)
      const files = yield* inputsOf(options, paths)
      yield* requireServer(options)
      const template = Option.isSome(options.chatTemplate)
        ? yield* ChatTemplate.load(options.chatTemplate.value)
        : undefined
      const dialect = {
        ...Dialect.dialects[options.dialect],
        ...template !== undefined && { template: template.template }
      }
      const render = yield* Flags.checked(() => Format.make(options.format, { dialect }))
      const check = template && (yield* Flags.checked(() => ChatTemplate.check(template, dialect, options.format)))
      const writer = yield* Writer.make(options, paths.journal)
      const { budget, journal, load } = writer
      if (!overwrite && !isOwn(paths, journal)) yield* requireNew(paths)
      const tokenizer = yield* Tokenizer
      if (Option.isNone(options.tokenizer) && Option.isSome(options.model) && !OPENAI.test(options.model.value)) {
        yield* Console.error(
          `Note: eta and gamma are counted with ${tokenizer.name}, and ${options.model.value} is not OpenAI's. ` +
            "If the model to be trained is not either, give its tokenizer.json as --tokenizer."
        )
      }

      const tally = Tally.make()
      const findings = Findings.make(paths.findings)
      const finish = (
        result: Result.Result<Reconstruction.Row, Rejection.Rejection>
      ): ReadonlyArray<Result.Result<object, Rejection.Rejection>> => {
        Tally.add(tally, result)
        if (Result.isFailure(result)) return [result]
        if (check !== undefined) findings.add(result.success, check(result.success))
        const rendered = render(result.success)
        for (const one of rendered) Tally.write(tally, one)
        return rendered
      }

      const began = yield* Clock.currentTimeMillis
      let bytesRead = 0
      let samplesRead = 0
      const bytesTotal = Flags.bytesOf(files)
      const spentBefore = budget?.spent()
      let since: Progress.Since | undefined
      const snapshot = (): Progress.Snapshot => {
        const elapsed = Date.now() - began
        const { samples, rows, rejected } = tally
        const spent = budget?.spent()
        // Reading is ahead of the work: of what was read, the part that is done counts.
        const bytesDone = samplesRead === 0 ? 0 : bytesRead * samples / samplesRead
        if (spent !== undefined && spent.requests > spentBefore!.requests) {
          since ??= { elapsed, samples, bytesDone, outputTokens: spent.outputTokens }
        }
        const servers = load && Effect.runSync(load.status).servers
        return { elapsed, samples, rows, rejected, bytesDone, bytesTotal, spent, since, servers }
      }
      const read = { ...options, inputs: files.map(({ name }) => name) }
      const run = Flags.readSegments(read, {
        ...{ eta, packing, tags, dialect: options.dialect },
        ...Option.isSome(options.workers) && { workers: options.workers.value },
        onRead: (bytes) => bytesRead += bytes
      }).pipe(
        Stream.mapArray((samples) => {
          samplesRead += samples.length
          return samples
        }),
        Reconstruction.reconstructSegmented({
          ...{ eta, gamma, dialect, packing, summaries, tags, tries, concurrency, window },
          failures: "reject"
        }),
        Stream.map(finish),
        Stream.flattenIterable,
        Dataset.tee(out, { existing: "replace", rejects: paths.rejects }),
        Stream.runDrain,
        Effect.provide(writer.layer)
      )
      const follow = Effect.andThen(Progress.follow(snapshot, options.json ? "json" : "text"), run).pipe(
        Effect.scoped,
        // What is under way is paid for, so that it is waited for, but not where a person does not want to wait.
        Effect.tapError(() => journal?.drain ?? Effect.void),
        Effect.onError((cause) => {
          const written = tally.samples === 0 || Storage.isStandard(out)
            ? ""
            : ` Written to ${Storage.partialOf(out)}: ${Tally.line(tally)}.`
          const kept = journal === undefined || journal.digest.answers === 0
            ? ""
            : ` ${Numbers.whole(journal.digest.answers)} answers are kept in ${paths.journal}: ${
              goesOn(budget?.reached())
            } goes on.`
          const how = Cause.hasInterrupts(cause) ? "Interrupted" : "Stopped"
          return written + kept === "" && how === "Stopped" ? Effect.void : Console.error(`${how}.${written}${kept}`)
        })
      )
      // What is told of the output is a part of the run: where it was killed before that, the next one does it again.
      const complete = Effect.gen(function* () {
        yield* findings.write
        yield* writeDatasetInfo(options.format, out)
        const manifest: Manifest.Manifest = {
          inftythink: version,
          finished: new Date(yield* Clock.currentTimeMillis).toISOString(),
          inputs: yield* Effect.forEach(files, ({ name }) => Manifest.describe(name)),
          output: { ...yield* Manifest.describe(out), format: options.format, rows: tally.written },
          rejects: Tally.rejected(tally) + tally.unwritten.size === 0 ? null : yield* Manifest.describe(paths.rejects),
          options: {
            eta,
            gamma,
            tokenizer: tokenizer.name,
            dialect: dialect.name,
            "chat template": template?.name ?? null,
            packing,
            summaries,
            "summary prompt": Summary.version,
            "summaries by": writer.name,
            temperature: budget === undefined ? null : Writer.temperatureOf(options),
            "top-p": budget === undefined ? null : Writer.topPOf(options),
            tags,
            tries,
            generations: options.generations,
            reader: optional(options.reader),
            question: optional(options.question),
            reasoning: optional(options.reasoning),
            conclusion: optional(options.conclusion),
            api: budget === undefined ? null : options.api,
            "summary tokens": optional(options.summaryTokens)
          },
          counts: Tally.counts(tally),
          rejected: Object.fromEntries([...tally.rejected, ...tally.unwritten]),
          findings: findings.counts(),
          spent: budget === undefined ? null : { cost: null, ...budget.spent() }
        }
        if (!Storage.isStandard(out)) {
          yield* Storage.write(paths.manifest, Manifest.render(manifest))
          yield* Storage.write(paths.card, Card.render(manifest, tally.columns))
        }
        return manifest
      })
      const manifest = yield* Effect.andThen(follow, complete).pipe(
        journal === undefined ? identity : noted(journal, {
          args: withoutQueries(yield* Arguments),
          out: resolve(out),
          bytes: bytesTotal ?? null,
          model: writer.name,
          price: writer.price ?? null
        }, () => {
          const { bytesDone = 0, servers } = snapshot()
          const { failures, pause } = Progress.troubleOf({ servers })
          return { ...tally, bytes: Math.round(bytesDone), tries: failures, pause }
        })
      )

      const say = Storage.isStandard(out) ? Console.error : Console.log
      yield* say(
        options.json ? Manifest.render(manifest).trimEnd() : Tally.table(tally, [
          ["read from", files.map(({ name }) => Storage.nameOf(name)).join(", ")],
          ["written to", out],
          ...manifest.rejects === null ? [] : [["rejections to", paths.rejects] as const],
          ["eta, gamma", `${eta}, ${gamma}`],
          ["tokenizer", tokenizer.name],
          ["dialect, packing", `${dialect.name}, ${packing}`],
          ["summaries", `${summaries}, by ${writer.name}`]
        ], [...findings.lines(), ...budget === undefined ? [] : spentLines(spentBefore!, budget.spent()), [
          "time",
          Progress.duration(Date.now() - began)
        ]])
      )
      if (options.show && tally.first !== undefined) yield* say(`\n${Tally.show(tally.first)}`)
      const failed = (tally.rejected.get("request-failed") ?? 0) + (tally.rejected.get("request-refused") ?? 0)
      if (failed > 0) {
        const again = journal === undefined ? "" : `; inftythink retry ${paths.journal} asks again`
        return yield* new Incomplete({
          message: `Cannot reconstruct ${failed} samples: the server failed or refused them${again}`
        })
      }
    },
    Effect.scoped,
    (effect, { tokenizer }) => Effect.provide(effect, Flags.tokenizerOf(tokenizer))
  )
).pipe(
  Command.withDescription("Turn long reasonings into InftyThink training data"),
  Command.withExamples([
    {
      command:
        "inftythink reconstruct traces.jsonl --out instances.jsonl --base-url http://localhost:8000/v1 --model Qwen3-4B-Instruct",
      description: "with summaries from an OpenAI-compatible server"
    },
    {
      command: "inftythink reconstruct 'data/*.parquet' --out train.parquet --format verl --chat-template Qwen3/",
      description: "from Parquet to Parquet, in a training format, checked against the model's template"
    },
    {
      command: "inftythink reconstruct traces.jsonl --out instances.jsonl --show",
      description: "to see what it does, without a server"
    }
  ])
)

/** The files of a run beside its output. */
interface Paths {
  readonly out: string
  readonly rejects: string
  /** Left out where answers are not kept. */
  readonly journal: string | undefined
  readonly manifest: string
  readonly card: string
  readonly findings: string
}

const pathsOf = (
  { out, rejects, journal }: {
    readonly out: string
    readonly rejects: Option.Option<string>
    readonly journal: Option.Option<string>
  }
): Paths => {
  const beside = (ending: string): string => `${stemOf(out)}.${ending}`
  return {
    out,
    rejects: Option.getOrElse(rejects, () => Dataset.rejectsFileOf(out)),
    journal: Option.getOrElse(journal, () => Storage.isStandard(out) ? undefined : beside("journal.jsonl")),
    manifest: beside("manifest.json"),
    card: beside("card.md"),
    findings: beside("findings.jsonl")
  }
}

/** The path of an output without its ending. */
const stemOf = (out: string): string => Dataset.rejectsFileOf(out).replace(/\.rejects\.jsonl$/, "")

/** The files that are read: of what folders and patterns find, not those that the run itself writes. */
const inputsOf = (
  options: Flags.Reading,
  paths: Paths
): Effect.Effect<ReadonlyArray<Dataset.File>, Flags.UsageError | Storage.StorageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const realPath = (file: string): Effect.Effect<string, Storage.StorageError> =>
      Effect.catch(
        files.realPath(file),
        (cause) =>
          cause.reason._tag === "NotFound"
            ? Effect.succeed(resolve(file))
            : Effect.fail(Storage.errorOf("read", file, cause))
      )
    const written = new Map<string, string>()
    for (const file of Object.values(paths)) {
      if (file === undefined || Storage.isStandard(file)) continue
      const real = yield* realPath(file)
      if (written.has(real)) {
        return yield* Flags.usageError(`Cannot write ${file}: two outputs would be one file`)
      }
      written.set(real, file)
    }
    const found = yield* Flags.filesOf(options)
    const own = yield* Effect.filter(found, ({ name }) => Effect.map(realPath(name), (real) => written.has(real)))
    const named = own.find(({ name }) => options.inputs.includes(name))
    if (named !== undefined) return yield* Flags.usageError(`Cannot write ${named.name}: it is what is read`)
    return found.filter((file) => !own.includes(file))
  })

/** Refuses options that say how a server is asked where there is none. */
const requireServer = (
  { baseUrls, journal, temperature, topP, summaryTokens, requestsPerMinute, tokensPerMinute, maxCost, maxTokens }:
    & Writer.Options
    & { readonly journal: Option.Option<string> }
): Effect.Effect<void, Flags.UsageError> => {
  const given = Object.entries<Option.Option<unknown>>({
    "max-cost": maxCost,
    "max-tokens": maxTokens,
    "requests-per-minute": requestsPerMinute,
    "tokens-per-minute": tokensPerMinute,
    "summary-tokens": summaryTokens,
    "top-p": topP,
    temperature,
    journal
  }).find(([, value]) => Option.isSome(value))
  return baseUrls.length > 0 || given === undefined
    ? Effect.void
    : Effect.fail(Flags.usageError(`Cannot use --${given[0]} without --base-url: there is no server to ask`))
}

const optional = <A>(option: Option.Option<A>): A | null => Option.getOrNull(option)

/** Whether what is at the output was written by a run of the same journal that was killed before it was done. */
const isOwn = ({ out }: Paths, journal: Journal.Journal | undefined): boolean => {
  const { begin, end } = journal?.digest ?? {}
  return begin?.out === resolve(out) && end?.how !== "done"
}

/** Renders what a run spent, and beside it what all runs of its journal did where that is more. */
const spentLines = (
  before: Budget.Spent,
  all: Budget.Spent
): ReadonlyArray<readonly [string, string]> => {
  const own = less(all, before)
  const line = (name: string, render: (spent: Budget.Spent) => string): readonly [string, string] => [
    name,
    render(own) === render(all) ? render(all) : `${render(own)}; in all runs of the journal: ${render(all)}`
  ]
  return [
    line("requests", ({ requests }) => Numbers.whole(requests)),
    line(
      `tokens read + written${all.estimated ? ", about" : ""}`,
      ({ inputTokens, outputTokens }) => `${Numbers.whole(inputTokens)} + ${Numbers.whole(outputTokens)}`
    ),
    line("cost", ({ cost }) => Price.render(cost))
  ]
}

const less = (all: Budget.Spent, before: Budget.Spent): Budget.Spent => ({
  requests: all.requests - before.requests,
  inputTokens: all.inputTokens - before.inputTokens,
  cachedTokens: all.cachedTokens - before.cachedTokens,
  outputTokens: all.outputTokens - before.outputTokens,
  ...all.cost !== undefined && { cost: all.cost - before.cost! },
  estimated: all.estimated
})

/** What goes on where a run was stopped. */
const goesOn = (limit: Budget.Limit | undefined): string => {
  switch (limit) {
    case "maxCost":
      return "a higher --max-cost"
    case "maxTokens":
      return "a higher --max-tokens"
    default:
      return "the same command"
  }
}

/** Refuses to write over what is there: before anything is noted, so that a run that is done stays done. */
const requireNew = (
  { out, rejects }: Paths
): Effect.Effect<void, Flags.UsageError | Storage.StorageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    for (const file of [out, rejects].filter((file) => !Storage.isStandard(file))) {
      if (yield* Effect.mapError(files.exists(file), (cause) => Storage.errorOf("write", file, cause))) {
        return yield* Flags.usageError(`Cannot write ${file}: it exists; --overwrite replaces it`)
      }
    }
  })

/** Notes in a journal how a run begins, every ten seconds how far it is, and how it ends. */
const noted = <A, E extends { readonly message: string }, R>(
  { note }: Journal.Journal,
  begin: Omit<Journal.Begin, "_tag" | "at" | "folder">,
  now: () =>
    & Pick<Tally.Tally, "samples" | "rows" | "rejected">
    & Required<Pick<Journal.Progress, "bytes" | "tries" | "pause">>
) =>
(run: Effect.Effect<A, E, R>): Effect.Effect<A, E | Journal.JournalError, R> => {
  const progress = Effect.flatMap(Clock.currentTimeMillis, (at) => {
    const { samples, rows, rejected, bytes, tries, pause } = now()
    const done = { samples, rows, rejected: Object.fromEntries(rejected), bytes }
    return note({ _tag: "Progress", at, ...done, tries, ...pause > 0 && { pause } })
  })
  const end = (exit: Exit.Exit<A, E>): Effect.Effect<void> =>
    Effect.gen(function* () {
      yield* progress
      const failure = Exit.isSuccess(exit) ? Option.none() : Cause.findErrorOption(exit.cause)
      yield* note({
        _tag: "End",
        at: yield* Clock.currentTimeMillis,
        how: Exit.isSuccess(exit) ? "done" : Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "stopped",
        ...Option.isSome(failure) && { message: failure.value.message }
      })
    }).pipe(Effect.ignore)
  return Effect.gen(function* () {
    yield* note({ _tag: "Begin", at: yield* Clock.currentTimeMillis, folder: process.cwd(), ...begin })
    yield* progress.pipe(Effect.delay("10 seconds"), Effect.repeat(Schedule.forever), Effect.forkScoped)
    return yield* run.pipe(Effect.onExit(end))
  }).pipe(Effect.scoped)
}

/** Adds a dataset to the `dataset_info.json` that LLaMA-Factory reads beside it. */
const writeDatasetInfo = (
  format: Format.Name,
  out: string
): Effect.Effect<void, Storage.StorageError | Flags.UsageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    if (format !== "alpaca" && format !== "sharegpt" || Storage.isStandard(out)) return
    const files = yield* FileSystem.FileSystem
    const folder = out.slice(0, out.lastIndexOf("/") + 1)
    const path = `${folder}dataset_info.json`
    const attempt = <A>(effect: Effect.Effect<A, PlatformError.PlatformError>) =>
      Effect.mapError(effect, (cause) => Storage.errorOf("read", path, cause))
    // A file that cannot be read holds other datasets for all that is known.
    const known = (yield* attempt(files.exists(path))) ? yield* attempt(files.readFileString(path)) : "{}"
    const info = yield* Effect.mapError(
      Schema.decodeUnknownEffect(DatasetInfo)(known),
      () => Flags.usageError(`Cannot write ${path}: what is there is no JSON object`)
    )
    const made = { ...info, ...Format.datasetInfo(format, out.slice(folder.length)) }
    yield* Storage.write(path, `${JSON.stringify(made, null, 2)}\n`)
  })

const DatasetInfo = Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown))

/** Names of OpenAI's models, for which its encodings are right. */
const OPENAI = /^(?:openai\/)?(?:gpt-|chatgpt-|o\d|text-)/

interface Fields {
  readonly message: string
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "Incomplete" } = Data
  .TaggedError("Incomplete")

/** A run came to its end, and some of its samples have no rows because the server failed. */
export class Incomplete extends Base {}
