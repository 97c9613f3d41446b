/**
 * `inftythink reconstruct`: long reasonings become training data.
 *
 * @module
 */
import * as Cause from "effect/Cause"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Extractive from "../adapters/Extractive.ts"
import * as Jsonl from "../adapters/Jsonl.ts"
import * as Dialect from "../core/Dialect.ts"
import * as Reconstruction from "../Reconstruction.ts"
import * as Summarizer from "../Summarizer.ts"
import type { ModelError } from "../TextModel.ts"
import { Tokenizer, type TokenizerError } from "../Tokenizer.ts"
import * as Flags from "./Flags.ts"
import * as Progress from "./Progress.ts"
import * as Tally from "./Tally.ts"

/** The command. */
export const reconstruct: Command.Command<
  "reconstruct",
  never,
  unknown,
  Flags.UsageError | Jsonl.JsonlError | ModelError | TokenizerError,
  FileSystem.FileSystem
> = Command.make(
  "reconstruct",
  {
    input: Argument.String("input").pipe(Argument.withDescription("a JSONL file of long reasonings")),
    out: Flag.String("out").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription(
        "where instances go, one JSON line each; rejections go beside it, with .rejects before .jsonl"
      )
    ),
    overwrite: Flag.Boolean("overwrite").pipe(
      Flag.withDescription("replace FILE where it exists"),
      Flag.withDefault(false)
    ),
    eta: Flags.eta,
    tokenizer: Flags.tokenizer,
    packing: Flags.packing,
    gamma: Flags.integer("gamma", 1, "the most tokens in a summary (default 1024)").pipe(Flag.withDefault(1024)),
    dialect: Flag.Literals("dialect", ["v1", "plus", "chat"]).pipe(
      Flag.withDescription("how instances are written: as InftyThink does (default), as InftyThink+, or as chat"),
      Flag.withDefault("v1")
    ),
    summaries: Flag.Literals("summaries", ["recurrent", "cumulative"]).pipe(
      Flag.withDescription("made of the summary before and one segment (default), or of all segments so far"),
      Flag.withDefault("recurrent")
    ),
    tags: Flag.Literals("tags", ["reject", "replace"]).pipe(
      Flag.withDescription(
        "what to do about tags and special tokens in a text: reject its sample (default), or write ‹ for <"
      ),
      Flag.withDefault("reject")
    ),
    tries: Flags.integer("tries", 1, "how often a summary is sampled before its sample is rejected (default 10)").pipe(
      Flag.withDefault(10)
    ),
    question: Flags.text("question", "COLUMN", "the column of the question, where it is not found by itself"),
    reasoning: Flags.text("reasoning", "COLUMN", "the column of the reasoning"),
    conclusion: Flags.text("conclusion", "COLUMN", "the column of the conclusion"),
    ...Flags.server(
      "without one, sentences are picked from the reasoning, which is for trying out and not for training data"
    ),
    temperature: Flags.finite("temperature", 2, "how the model samples (default 0.5)"),
    topP: Flags.finite("top-p", 1, "how the model samples (default 0.95)"),
    summaryTokens: Flags.integer(
      "summary-tokens",
      1,
      "the most tokens the server may write for a summary (default 2 × gamma); more for a model that reasons first"
    ).pipe(Flag.optional),
    concurrency: Flags.integer("concurrency", 1, "the most samples worked on at once (default 8)").pipe(
      Flag.withDefault(8)
    ),
    window: Flags.integer(
      "window",
      1,
      "the most samples held, those done before a slow one included (default 8 × concurrency)"
    )
      .pipe(Flag.optional),
    show: Flag.Boolean("show").pipe(
      Flag.withDescription("print the first instance"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* (options) {
    const { input, out, eta, gamma, packing, summaries, tags, tries, concurrency } = options
    const dialect = Dialect.dialects[options.dialect]
    const tally = Tally.make()
    const window = Option.getOrElse(options.window, () => 8 * concurrency)
    if (window < concurrency) {
      return yield* Flags.usageError(
        `Cannot use --window ${window}: it must be at least --concurrency, which is ${concurrency}`
      )
    }
    yield* requireOther(input, out)
    const writer = yield* writerOf(options)
    const columns = Object.fromEntries(
      (["question", "reasoning", "conclusion"] as const).flatMap((part) =>
        Option.isSome(options[part]) ? [[part, options[part].value]] : []
      )
    )
    yield* Effect.gen(function* () {
      const tokenizer = yield* Tokenizer
      if (Option.isNone(options.tokenizer) && Option.isSome(options.model) && !OPENAI.test(options.model.value)) {
        yield* Console.error(
          `Note: eta and gamma are counted with ${tokenizer.name}, and ${options.model.value} is not OpenAI's. ` +
            "If the model to be trained is not either, give its tokenizer.json as --tokenizer."
        )
      }
      yield* Progress.show(() => Tally.line(tally)).pipe(
        Effect.andThen(
          Jsonl.read(input, columns).pipe(
            Reconstruction.reconstruct({ eta, gamma, dialect, packing, summaries, tags, tries, concurrency, window }),
            Jsonl.tee(out, { existing: options.overwrite ? "replace" : "fail" }),
            Stream.runForEach((result) => Effect.sync(() => Tally.add(tally, result)))
          )
        ),
        Effect.scoped,
        Effect.mapError((error) =>
          error._tag === "JsonlError" && error.reason === "exists"
            ? Flags.usageError(`${error.message}; --overwrite replaces it`)
            : error
        ),
        Effect.onError((cause) =>
          tally.samples === 0 && !Cause.hasInterrupts(cause) ? Effect.void : Console.error(
            `${Cause.hasInterrupts(cause) ? "Interrupted" : "Stopped"}. Written to ${out}: ${Tally.line(tally)}` +
              (Tally.rejected(tally) > 0 ? ` (to ${Jsonl.rejectsFileOf(out)})` : "")
          )
        )
      )
      yield* Console.log(Tally.table(tally, [
        ["read from", input],
        ["written to", out],
        ...Tally.rejected(tally) > 0 ? [["rejections to", Jsonl.rejectsFileOf(out)] as const] : [],
        ["eta, gamma", `${eta}, ${gamma}`],
        ["tokenizer", tokenizer.name],
        ["dialect, packing", `${dialect.name}, ${packing}`],
        ["summaries", `${summaries}, by ${writer.name}`]
      ]))
      if (options.show && tally.first !== undefined) yield* Console.log(`\n${Tally.show(tally.first)}`)
    }).pipe(Effect.provide(writer.layer), Effect.provide(Flags.tokenizerOf(options.tokenizer)))
  })
).pipe(
  Command.withDescription("Turn long reasonings into InftyThink training data"),
  Command.withExamples([
    {
      command:
        "inftythink reconstruct traces.jsonl --out instances.jsonl --base-url http://localhost:8000/v1 --model Qwen3-4B-Instruct",
      description: "with summaries from an OpenAI-compatible server"
    },
    {
      command: "inftythink reconstruct traces.jsonl --out instances.jsonl --show",
      description: "to see what it does, without a server"
    }
  ])
)

/** Refuses to write over the file that is read. */
const requireOther = (input: string, out: string): Effect.Effect<void, Flags.UsageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const realPath = (file: string): Effect.Effect<string | undefined> =>
      Effect.orElseSucceed(files.realPath(file), () => undefined)
    const read = yield* realPath(input)
    for (const file of [out, Jsonl.rejectsFileOf(out)]) {
      if (read !== undefined && (yield* realPath(file)) === read) {
        return yield* Flags.usageError(`Cannot write ${file}: it is what is read`)
      }
    }
  })

/** Names of OpenAI's models, for which its encodings are right. */
const OPENAI = /^(?:openai\/)?(?:gpt-|chatgpt-|o\d|text-)/

/** Who writes the summaries, and the layer that provides it. */
interface Writer {
  readonly name: string
  readonly layer: Layer.Layer<Summarizer.Summarizer, never, Tokenizer>
}

const writerOf = (
  { temperature, topP, summaryTokens, ...server }: Flags.Server & {
    readonly temperature: Option.Option<number>
    readonly topP: Option.Option<number>
    readonly summaryTokens: Option.Option<number>
  }
): Effect.Effect<Writer, Flags.UsageError> =>
  Effect.gen(function* () {
    const model = yield* Flags.modelOf(server)
    if (model === undefined) {
      yield* Console.error(
        "Note: without --base-url and --model, summaries are sentences picked from the reasoning. " +
          "That is for trying out, not for training data."
      )
      return { name: "extractive", layer: Extractive.layer }
    }
    const summarizer = Summarizer.layer({
      sampling: {
        temperature: Option.getOrElse(temperature, () => 0.5),
        topP: Option.getOrElse(topP, () => 0.95)
      },
      ...Option.isSome(summaryTokens) && { maxTokens: () => summaryTokens.value }
    })
    return { name: model.name, layer: Layer.provide(summarizer, model.layer) }
  })
