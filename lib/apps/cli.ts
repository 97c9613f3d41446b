/**
 * The commands of `inftythink`.
 *
 * @module
 */
import * as Cause from "effect/Cause"
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import process from "node:process"
import * as Extractive from "../adapters/Extractive.ts"
import * as GptTokenizer from "../adapters/GptTokenizer.ts"
import * as HuggingFaceTokenizer from "../adapters/HuggingFaceTokenizer.ts"
import * as Jsonl from "../adapters/Jsonl.ts"
import * as OpenAi from "../adapters/OpenAi.ts"
import * as Boundary from "../core/Boundary.ts"
import * as Dialect from "../core/Dialect.ts"
import * as Segmenter from "../core/Segmenter.ts"
import * as Reconstruction from "../Reconstruction.ts"
import * as Summarizer from "../Summarizer.ts"
import { Tokenizer, type TokenizerError } from "../Tokenizer.ts"
import * as Progress from "./Progress.ts"
import * as Tally from "./Tally.ts"

/** Runs a command line; what goes wrong is said on standard error, and fails. */
export const run = (args: ReadonlyArray<string>): Effect.Effect<void, unknown, Command.Environment> =>
  Effect.catch(
    Command.runWith(inftythink, { version: VERSION })(args),
    (error): Effect.Effect<never, unknown> =>
      CliError.isCliError(error)
        ? Effect.fail(error)
        : Effect.andThen(Console.error(`inftythink: ${error.message}`), Effect.fail({ [Runtime.errorReported]: false }))
  )

const integer = (name: string, least: number, description: string): Flag.Flag<number> =>
  Flag.Int(name).pipe(
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThanOrEqualTo(least))),
    Flag.withDescription(description)
  )

const finite = (name: string, maximum: number, description: string): Flag.Flag<Option.Option<number>> =>
  Flag.Finite(name).pipe(
    Flag.withSchema(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum }))),
    Flag.withDescription(description),
    Flag.optional
  )

const text = (name: string, metavar: string, description: string): Flag.Flag<Option.Option<string>> =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional)

const cutting = {
  eta: integer("eta", 4, "the most tokens of reasoning in an iteration (default 4096)").pipe(Flag.withDefault(4096)),
  tokenizer: text(
    "tokenizer",
    "NAME|FILE",
    "the tokenizer of the model to be trained: o200k_base (default), cl100k_base, or a tokenizer.json file"
  ),
  packing: Flag.Literals("packing", ["greedy", "even"]).pipe(
    Flag.withDescription("fill one segment after the other (default), or all alike"),
    Flag.withDefault("greedy")
  )
}

const reconstruct = Command.make(
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
    ...cutting,
    gamma: integer("gamma", 1, "the most tokens in a summary (default 1024)").pipe(Flag.withDefault(1024)),
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
    tries: integer("tries", 1, "how often a summary is sampled before its sample is rejected (default 10)").pipe(
      Flag.withDefault(10)
    ),
    question: text("question", "COLUMN", "the column of the question, where it is not found by itself"),
    reasoning: text("reasoning", "COLUMN", "the column of the reasoning"),
    conclusion: text("conclusion", "COLUMN", "the column of the conclusion"),
    baseUrl: text(
      "base-url",
      "URL",
      "an OpenAI-compatible server that writes the summaries; without one, sentences are " +
        "picked from the reasoning, which is for trying out and not for training data"
    ),
    model: text("model", "NAME", "the model that writes the summaries"),
    apiKeyEnv: text("api-key-env", "NAME", "the environment variable that holds the server's key"),
    api: Flag.Literals("api", ["chat", "completions"]).pipe(
      Flag.withDescription("the server's interface (default chat)"),
      Flag.withDefault("chat")
    ),
    temperature: finite("temperature", 2, "how the model samples (default 0.5)"),
    topP: finite("top-p", 1, "how the model samples (default 0.95)"),
    summaryTokens: integer(
      "summary-tokens",
      1,
      "the most tokens the server may write for a summary (default 2 × gamma); more for a model that reasons first"
    ).pipe(Flag.optional),
    concurrency: integer("concurrency", 1, "the most samples worked on at once (default 8)").pipe(Flag.withDefault(8)),
    window: integer(
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
      return yield* usageError(
        `Cannot use --window ${window}: it must be at least --concurrency, which is ${concurrency}`
      )
    }
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
            ? usageError(`${error.message}; --overwrite replaces it`)
            : error
        ),
        Effect.onError((cause) =>
          tally.samples === 0 && !Cause.hasInterrupts(cause) ? Effect.void : Console.error(
            `${Cause.hasInterrupts(cause) ? "Interrupted" : "Stopped"}. Written to ${out}: ${Tally.line(tally)}`
          )
        )
      )
      yield* Console.log(Tally.table(tally, [
        ["read from", input],
        ["written to", out],
        ["eta, gamma", `${eta}, ${gamma}`],
        ["tokenizer", tokenizer.name],
        ["dialect, packing", `${dialect.name}, ${packing}`],
        ["summaries", `${summaries}, by ${writer.name}`]
      ]))
      if (options.show && tally.first !== undefined) yield* Console.log(`\n${Tally.show(tally.first)}`)
    }).pipe(Effect.provide(writer.layer), Effect.provide(tokenizerOf(options.tokenizer)))
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

const segment = Command.make(
  "segment",
  {
    file: Argument.String("file").pipe(Argument.withDescription("a text file")),
    ...cutting
  },
  Effect.fnUntraced(function* ({ file, eta, tokenizer, packing }) {
    const files = yield* FileSystem.FileSystem
    const reasoning = yield* Effect.mapError(
      files.readFileString(file),
      (error) =>
        usageError(`Cannot read ${file}: ${error.reason._tag === "NotFound" ? "it does not exist" : error.message}`)
    )
    const { count, additive, name } = yield* Effect.provide(Tokenizer, tokenizerOf(tokenizer))
    const segments = Segmenter.segment(reasoning, { eta, count, additive, packing })
    for (const [i, { text, tokens, rank }] of segments.entries()) {
      const end = i === segments.length - 1 ? "ends with the text" : `cut at a ${nameOf(rank)}`
      yield* Console.log(`──── segment ${i + 1} of ${segments.length} · ${tokens} tokens (${name}) · ${end} ────`)
      yield* Console.log(text.trimEnd())
    }
  })
).pipe(Command.withDescription("Show how a text is cut into segments"))

const inftythink = Command.make("inftythink").pipe(
  Command.withDescription("Reasoning without a context limit: build training data for bounded iterations"),
  Command.withSubcommands([reconstruct, segment])
)

const VERSION = "0.1.0"

/** Names of OpenAI's models, for which its encodings are right. */
const OPENAI = /^(?:openai\/)?(?:gpt-|chatgpt-|o\d|text-)/

const tokenizerOf = (
  choice: Option.Option<string>
): Layer.Layer<Tokenizer, TokenizerError, FileSystem.FileSystem> => {
  const name = Option.getOrElse(choice, () => "o200k_base")
  const encoding = GptTokenizer.encodings.find((encoding) => encoding === name)
  return encoding === undefined ? HuggingFaceTokenizer.layer(name) : GptTokenizer.layerEncoding(encoding)
}

interface ServerOptions {
  readonly baseUrl: Option.Option<string>
  readonly model: Option.Option<string>
  readonly apiKeyEnv: Option.Option<string>
  readonly api: "chat" | "completions"
  readonly temperature: Option.Option<number>
  readonly topP: Option.Option<number>
  readonly summaryTokens: Option.Option<number>
}

/** Who writes the summaries, and the layer that provides it. */
interface Writer {
  readonly name: string
  readonly layer: Layer.Layer<Summarizer.Summarizer, never, Tokenizer>
}

const writerOf = (options: ServerOptions): Effect.Effect<Writer, UsageError> =>
  Effect.gen(function* () {
    const { api, baseUrl, model, apiKeyEnv, temperature, topP, summaryTokens } = options
    if (Option.isNone(baseUrl) || Option.isNone(model)) {
      const given = Object.entries({ "base-url": baseUrl, model, "api-key-env": apiKeyEnv })
        .find(([, value]) => Option.isSome(value))
      if (given !== undefined) {
        const missing = Option.isNone(baseUrl) ? "base-url" : "model"
        return yield* usageError(`Cannot use --${given[0]} without --${missing}: summaries need a server and a model`)
      }
      yield* Console.error(
        "Note: without --base-url and --model, summaries are sentences picked from the reasoning. " +
          "That is for trying out, not for training data."
      )
      return { name: "extractive", layer: Extractive.layer }
    }
    if (!URL.canParse(baseUrl.value)) return yield* usageError(`Cannot use --base-url ${baseUrl.value}: it is no URL`)
    const key = Option.map(apiKeyEnv, (name) => process.env[name])
    if (Option.isSome(key) && !key.value) {
      return yield* usageError(`Cannot use --api-key-env ${Option.getOrThrow(apiKeyEnv)}: there is no such variable`)
    }
    const server = OpenAi.layer({
      baseUrl: baseUrl.value,
      model: model.value,
      api,
      ...Option.isSome(key) && { apiKey: Redacted.make(key.value!) }
    })
    const summarizer = Summarizer.layer({
      sampling: {
        temperature: Option.getOrElse(temperature, () => 0.5),
        topP: Option.getOrElse(topP, () => 0.95)
      },
      ...Option.isSome(summaryTokens) && { maxTokens: () => summaryTokens.value }
    })
    return { name: model.value, layer: Layer.provide(summarizer, server) }
  })

const nameOf = (wanted: Boundary.Rank): string => Object.entries(Boundary.rank).find(([, rank]) => rank === wanted)![0]

interface Fields {
  readonly message: string
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "UsageError" } = Data
  .TaggedError("UsageError")

/** Options do not go together, or one has a value that cannot be used. */
class UsageError extends Base {}

const usageError = (message: string): UsageError => new UsageError({ message })
