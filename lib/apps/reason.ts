/**
 * `inftythink reason`: a question is reasoned about in bounded iterations.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import process from "node:process"
import * as Storage from "../adapters/Storage.ts"
import * as Dialect from "../core/Dialect.ts"
import * as Meter from "../core/Meter.ts"
import * as Reasoner from "../Reasoner.ts"
import * as State from "../State.ts"
import * as Summarizer from "../Summarizer.ts"
import { TextModel } from "../TextModel.ts"
import { Tokenizer, type TokenizerError } from "../Tokenizer.ts"
import * as Flags from "./Flags.ts"
import * as Footer from "./Footer.ts"
import * as Numbers from "./Numbers.ts"
import * as Terminal from "./Terminal.ts"

/**
 * The command. It exits with 0 where the model concluded, with 2 where it did not or was forced to, and with 1 where
 * something failed.
 */
export const reason: Command.Command<
  "reason",
  never,
  unknown,
  Flags.UsageError | Storage.StorageError | Reasoner.ReasonerError | TokenizerError | NotConcluded,
  FileSystem.FileSystem
> = Command.make(
  "reason",
  {
    question: Argument.String("question").pipe(
      Argument.withDescription("what is asked; left out to go on from --state"),
      Argument.optional
    ),
    ...Flags.server("it does the reasoning"),
    prefill: Flag.optional(Flag.Literals("prefill", ["continue_final_message", "prefix"])).pipe(
      Flag.withDescription(
        "how the server's chat continues the assistant's turn: vLLM's and SGLang's way, or DeepSeek's"
      )
    ),
    dialect: Flag.optional(Flag.Literals("dialect", ["chat", "guided", "v1", "plus"])).pipe(
      Flag.withDescription(
        "how the model is driven: told of iterations (chat, the default), cut and summarized (guided), or trained (v1, plus)"
      )
    ),
    inside: Flag.Boolean("think-open").pipe(
      Flag.withDescription("the server's template opens the think block, so that its tag does not come"),
      Flag.withDefault(false)
    ),
    eta: Flag.optional(Flags.integer("eta", 4, "the most tokens the model writes in an iteration (default 8192)")),
    gamma: Flag.optional(Flags.integer("gamma", 4, "the most tokens in a summary (default 1024)")),
    carry: Flag.optional(Flag.Literals("carry", ["replace", "accumulate", "tail", "summary-and-tail"])).pipe(
      Flag.withDescription(
        "what an iteration starts from: the last summary (default), all, the end of the reasoning, or both"
      )
    ),
    tail: Flag.optional(
      Flags.integer("tail", 4, "with --carry tail or summary-and-tail: how many tokens of the end (default 1024)")
    ),
    tokenizer: Flags.tokenizer,
    summaryModel: Flags.text("summary-model", "NAME", "another model of the server, for summaries that are asked for"),
    maxIterations: Flags.integer("max-iterations", 1, "the most iterations (default 10)").pipe(Flag.withDefault(10)),
    maxTokens: Flag.optional(Flags.integer("max-tokens", 1, "the most tokens written, summaries included")),
    maxSeconds: Flag.optional(Flags.integer("max-seconds", 1, "the most time, in seconds")),
    maxCost: Flags.finite("max-cost", 1e9, "the most money, in US dollars, at --price-input and --price-output"),
    priceInput: Flags.priced.priceInput,
    priceOutput: Flags.priced.priceOutput,
    force: Flag.Boolean("force").pipe(
      Flag.withDescription("when a limit is reached, ask once more, for a conclusion; the exit code is 2 nonetheless"),
      Flag.withDefault(false)
    ),
    temperature: Flags.finite("temperature", 2, "how the model samples (default: the server's)"),
    topP: Flags.finite("top-p", 1, "how the model samples (default: the server's)"),
    seed: Flag.optional(Flags.integer("seed", 0, "how the model samples")),
    state: Flags.text("state", "FILE", "where the state is saved after each iteration, and read to go on"),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("write events as JSON lines, and no text"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* (flags) {
    const model = yield* Flags.modelOf(flags, Option.isSome(flags.prefill) ? { prefill: flags.prefill.value } : {})
    if (model === undefined) return yield* Flags.usageError("Cannot reason without --base-url and --model")
    const from = yield* startOf(flags)
    const options = yield* optionsOf(flags, from)
    const first = yield* Flags.checked(() => typeof from === "string" ? Reasoner.begin(from, options) : from)
    const events = yield* Flags.checked(() => Reasoner.reason(first, options))
    const { dialect, eta } = first.settings
    const isTrained = dialect === "v1" || dialect === "plus"
    if (isTrained && flags.api === "chat" && Option.isNone(flags.prefill)) {
      return yield* Flags.usageError(`Cannot reason in dialect ${dialect} without --api completions or --prefill`)
    }
    // What could not be saved is known before anything is spent.
    yield* save(flags.state, first)
    const display = flags.json ? json : makeDisplay(first, options.eta ?? eta, flags.maxIterations)
    const last = yield* Footer.show(display.line).pipe(
      Effect.andThen(
        events.pipe(
          Stream.tap((event) => "state" in event ? save(flags.state, event.state) : Effect.void),
          Stream.tap((event) => Effect.sync(() => display.show(event))),
          Stream.runLast
        )
      ),
      Effect.tapError((error) =>
        error._tag !== "ReasonerError" ? Effect.void : Effect.andThen(
          save(flags.state, error.state),
          Effect.sync(() => display.fail(error))
        )
      ),
      Effect.scoped,
      Effect.provide(model.layer)
    )
    if (Option.isNone(last) || last.value._tag !== "TrajectoryEnded") return
    const { outcome } = last.value
    if (outcome._tag === "Concluded") return
    const isForced = outcome._tag === "Exhausted" && outcome.conclusion !== null
    return yield* new NotConcluded({
      message: `${isForced ? "Concluded by force" : "Cannot conclude"}: ${messageOf(outcome)}`
    })
  })
).pipe(
  Command.withDescription("Reason about a question in bounded iterations"),
  Command.withExamples([
    {
      command: 'inftythink reason "What is 6 × 7?" --base-url http://localhost:8000/v1 --model Qwen3-4B-Instruct',
      description: "with a model that is told how to reason in iterations"
    },
    {
      command:
        'inftythink reason "…" --dialect guided --eta 4096 --base-url http://localhost:8000/v1 --model Qwen3-32B',
      description: "with any reasoning model as it is"
    },
    {
      command: "inftythink reason --state proof.json --base-url http://localhost:8000/v1 --model Qwen3-4B-Instruct",
      description: "going on where it was stopped"
    }
  ])
)

/** What the options of the command are, as far as it reads them here. */
interface Chosen extends Flags.Server {
  readonly question: Option.Option<string>
  readonly dialect: Option.Option<"chat" | "guided" | "v1" | "plus">
  readonly inside: boolean
  readonly eta: Option.Option<number>
  readonly gamma: Option.Option<number>
  readonly carry: Option.Option<"replace" | "accumulate" | "tail" | "summary-and-tail">
  readonly tail: Option.Option<number>
  readonly tokenizer: Option.Option<string>
  readonly summaryModel: Option.Option<string>
  readonly maxIterations: number
  readonly maxTokens: Option.Option<number>
  readonly maxSeconds: Option.Option<number>
  readonly maxCost: Option.Option<number>
  readonly priceInput: Option.Option<number>
  readonly priceOutput: Option.Option<number>
  readonly force: boolean
  readonly temperature: Option.Option<number>
  readonly topP: Option.Option<number>
  readonly seed: Option.Option<number>
  readonly state: Option.Option<string>
}

/** What reasoning starts from: the question, or the state that was saved. */
const startOf = (
  { question, state }: Chosen
): Effect.Effect<string | State.State, Flags.UsageError | Storage.StorageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const attempt = <A>(name: string, effect: Effect.Effect<A, PlatformError.PlatformError>) =>
      Effect.mapError(effect, (cause) => Storage.errorOf("read", name, cause))
    if (Option.isNone(state) || !(yield* attempt(state.value, files.exists(state.value)))) {
      return Option.isSome(question) && question.value.trim() !== ""
        ? question.value
        : yield* Flags.usageError("Cannot reason: there is no question, and no saved state to go on from")
    }
    const text = yield* attempt(state.value, files.readFileString(state.value))
    const read = State.parse(text)
    if (Result.isFailure(read)) return yield* Flags.usageError(`${read.failure.message} (${state.value})`)
    if (Option.isSome(question) && question.value !== read.success.question) {
      return yield* Flags.usageError(`Cannot use --state ${state.value}: it is about another question`)
    }
    return read.success
  })

const optionsOf = (flags: Chosen, from: string | State.State): Effect.Effect<
  Reasoner.Options,
  Flags.UsageError | TokenizerError,
  FileSystem.FileSystem
> =>
  Effect.gen(function* () {
    const { temperature, topP, seed, maxTokens, maxSeconds, maxCost, priceInput, priceOutput } = flags
    const isGuided = Option.contains(flags.dialect, "guided")
    const saved = typeof from === "string" ? undefined : from.settings
    const counts = isGuided || saved?.carry._tag === "tail" || saved !== undefined && saved.guide !== null
    const name = Option.getOrUndefined(flags.carry)
    const hasTail = name === "tail" || name === "summary-and-tail"
    const price = yield* Flags.priceOf({ priceInput, priceCached: Option.none(), priceOutput })
    yield* Flags.requirePrice(maxCost, price)
    if (Option.isSome(flags.tail) && !hasTail) {
      return yield* Flags.usageError(
        `Cannot use --tail ${flags.tail.value} without --carry tail or --carry summary-and-tail`
      )
    }
    const common: Reasoner.CommonOptions = {
      ...Option.isSome(flags.eta) && { eta: flags.eta.value },
      ...Option.isSome(flags.gamma) && { gamma: flags.gamma.value },
      ...Option.isSome(flags.dialect) &&
        { dialect: { ...Dialect.dialects, guided: Dialect.guided }[flags.dialect.value] },
      ...flags.inside && { inside: "reasoning" },
      ...flags.force && { conclude: "force" },
      sampling: {
        ...Option.isSome(temperature) && { temperature: temperature.value },
        ...Option.isSome(topP) && { topP: topP.value },
        ...Option.isSome(seed) && { seed: seed.value }
      },
      limits: {
        iterations: flags.maxIterations,
        ...Option.isSome(maxTokens) && { tokens: maxTokens.value },
        ...Option.isSome(maxSeconds) && { time: 1000 * maxSeconds.value },
        ...Option.isSome(maxCost) && price !== undefined && { cost: { most: maxCost.value, ...price } }
      },
      ...Option.isSome(flags.summaryModel) && { summarizer: yield* summarizerOf(flags) }
    }
    if (!counts && !hasTail && Option.isNone(flags.tokenizer)) {
      return { ...common, ...name !== undefined && { carry: { _tag: name } } }
    }
    const tokenizer = yield* Effect.provide(Tokenizer, Flags.tokenizerOf(flags.tokenizer))
    return {
      ...common,
      tokenizer,
      ...isGuided && { guide: {} },
      ...name !== undefined && {
        carry: hasTail
          ? { _tag: "tail", tokens: Option.getOrElse(flags.tail, () => 1024), summary: name === "summary-and-tail" }
          : { _tag: name }
      }
    }
  })

/** A summarizer on another model of the same server. */
const summarizerOf = (flags: Chosen): Effect.Effect<Summarizer.Summarizer, Flags.UsageError> =>
  Effect.gen(function* () {
    const model = yield* Flags.modelOf({ ...flags, model: flags.summaryModel })
    if (model === undefined) return yield* Flags.usageError("Cannot use --summary-model without --base-url")
    return Summarizer.make(yield* Effect.provide(TextModel, model.layer))
  })

/** Saves a state, so that a crash leaves either the old one or the new one. */
const save = (
  file: Option.Option<string>,
  state: State.State
): Effect.Effect<void, Storage.StorageError, FileSystem.FileSystem> =>
  Option.isNone(file) ? Effect.void : Storage.write(file.value, State.render(state))

/** How events are shown. */
interface Display {
  readonly show: (event: Reasoner.Event) => void
  /** Shows the error that ended it. */
  readonly fail: (error: Reasoner.ReasonerError) => void
  /** The live line. */
  readonly line: () => string
}

const json: Display = {
  show: (event) => process.stdout.write(`${JSON.stringify(event)}\n`),
  fail: ({ _tag, message, state }) => process.stdout.write(`${JSON.stringify({ _tag, message, state })}\n`),
  line: () => ""
}

/**
 * Shows reasoning and summaries on standard error, dimmed on a terminal, and the conclusion on standard output: as it
 * comes on a terminal, and elsewhere when it is certain.
 */
const makeDisplay = (first: State.State, eta: number, maxIterations: number): Display => {
  const { stdout, stderr } = process
  const isLive = stdout.isTTY === true
  const began = Date.now() - first.elapsed
  const dim = (text: string): string => stderr.isTTY === true ? `\x1b[2m${Terminal.printable(text)}\x1b[22m` : text
  let section = ""
  let state = first
  let index = first.index
  let promptTokens = 0
  let written = 0
  let isShown = false

  const label = (text: string): void => {
    stderr.write(dim(`${section === "" ? "" : "\n"}──── ${text} ────\n`))
    section = text
  }

  /** Ends a line that is open, so that what follows stands on its own. */
  const close = (): void => {
    if (section !== "") stderr.write("\n")
    section = ""
  }

  const show = (event: Reasoner.Event): void => {
    if ("state" in event) state = event.state
    switch (event._tag) {
      case "IterationStarted":
        index = event.index
        promptTokens = event.promptTokens
        written = 0
        return
      case "Delta": {
        const name = event.index === index
          ? `iteration ${index} · ${event.section}`
          : `asked to conclude · ${event.section}`
        if (section !== name) label(name)
        written += tokensOf(event.text)
        if (event.section !== "conclusion") stderr.write(dim(event.text))
        else if (isLive) stdout.write(Terminal.printable(event.text))
        return
      }
      case "Cut":
        return label(`iteration ${index} · cut, ${event.dropped.length} characters dropped`)
      case "Retag":
        return label(`iteration ${index} · that was ${event.section}`)
      case "Repair":
        return label(`iteration ${index} · repair: ${event.repair} · ${event.fault.detail}`)
      case "IterationEnded":
        isShown = isLive && event.output?.ending._tag === "Conclusion"
        return
      case "TrajectoryEnded": {
        const { outcome } = event
        const conclusion = "conclusion" in outcome ? outcome.conclusion : null
        // A forced conclusion came as it was written, too.
        const isForced = outcome._tag === "Exhausted" && section.startsWith("asked to conclude")
        if (conclusion !== null) {
          const text = isShown || isLive && isForced ? "" : conclusion.trim()
          stdout.write(`${isLive ? Terminal.printable(text) : text}\n`)
        }
        close()
        stderr.write(dim(`${table(state, maxIterations)}\n`))
      }
    }
  }

  const line = (): string =>
    [
      `iteration ${index}`,
      `${Numbers.whole(promptTokens + written)} of ${Numbers.whole(promptTokens + eta)} tokens in context`,
      `${Numbers.whole(state.meter.inputTokens + state.meter.outputTokens + promptTokens + written)} in all`,
      `${Math.round((Date.now() - began) / 1000)} s`
    ].join(" · ")

  return { show, line, fail: close }
}

/** What was spent, beside what the same reasoning takes in one go. */
const table = ({ meter, vanilla, index, elapsed }: State.State, maxIterations: number): string => {
  const rows: ReadonlyArray<readonly [string, string, string]> = [
    ["", index === 1 ? "1 iteration" : `${index} iterations`, "in one go, about"],
    ["tokens read", Numbers.whole(meter.inputTokens), Numbers.whole(vanilla.inputTokens)],
    ["tokens written", Numbers.whole(meter.outputTokens), Numbers.whole(vanilla.outputTokens)],
    ["peak context", Numbers.whole(meter.peak), Numbers.whole(vanilla.peak)],
    ["context area", Numbers.whole(meter.area), Numbers.whole(vanilla.area)],
    ["seconds", Numbers.whole(elapsed / 1000), ""],
    ["efficiency", Meter.efficiency(1, Math.max(1, index), maxIterations).toFixed(2), ""]
  ]
  return rows.map((row) => row.map((cell, i) => i === 0 ? cell.padEnd(16) : cell.padStart(20)).join("").trimEnd()).join(
    "\n"
  )
}

/** About how many tokens a text has: what is shown while a model writes, before the server says. */
const tokensOf = (text: string): number => Math.round(text.length / 4)

const messageOf = (outcome: State.Outcome): string => {
  switch (outcome._tag) {
    case "Exhausted":
      return `the limit on ${outcome.limit} was reached`
    case "Malformed":
      return outcome.detail
    case "Truncated":
      return "the model was cut off"
    case "Empty":
      return "the model wrote nothing"
    case "NoProgress":
      return `the iterations got nowhere (${outcome.verdict})`
    default:
      return outcome._tag
  }
}

interface Fields {
  readonly message: string
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "NotConcluded" } = Data
  .TaggedError("NotConcluded")

/** The model did not conclude. */
export class NotConcluded extends Base {}
