/**
 * Options that commands share, and what they stand for.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import process from "node:process"
import * as Dataset from "../adapters/Dataset.ts"
import * as GptTokenizer from "../adapters/GptTokenizer.ts"
import * as HuggingFaceTokenizer from "../adapters/HuggingFaceTokenizer.ts"
import * as OpenAi from "../adapters/OpenAi.ts"
import * as Record from "../adapters/Record.ts"
import * as Segments from "../adapters/Segments.ts"
import * as Undici from "../adapters/Undici.ts"
import type * as Price from "../core/Price.ts"
import type * as Load from "../Load.ts"
import { TextModel } from "../TextModel.ts"
import { type Tokenizer, TokenizerError } from "../Tokenizer.ts"

/** An integer of at least so much. */
export const integer = (name: string, least: number, description: string): Flag.Flag<number> =>
  Flag.Int(name).pipe(
    Flag.filter((value) => value >= least, () => `an integer of at least ${least}`),
    Flag.withDescription(description)
  )

/** A number from 0 to a maximum. */
export const finite = (name: string, maximum: number, description: string): Flag.Flag<Option.Option<number>> =>
  Flag.Finite(name).pipe(
    Flag.filter((value) => value >= 0 && value <= maximum, () => `a number from 0 to ${maximum}`),
    Flag.withDescription(description),
    Flag.optional
  )

/** A text that may be left out. */
export const text = (name: string, metavar: string, description: string): Flag.Flag<Option.Option<string>> =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional)

/** η, for what is cut into segments. */
export const eta: Flag.Flag<number> = integer(
  "eta",
  4,
  "the most tokens of reasoning in an iteration (default 4096)"
).pipe(Flag.withDefault(4096))

/** How segments are packed. */
export const packing: Flag.Flag<"greedy" | "even"> = Flag.Literals("packing", ["greedy", "even"]).pipe(
  Flag.withDescription("fill one segment after the other (default), or all alike"),
  Flag.withDefault("greedy")
)

/** γ, for summaries. */
export const gamma: Flag.Flag<number> = integer("gamma", 1, "the most tokens in a summary (default 1024)").pipe(
  Flag.withDefault(1024)
)

/** How instances are written. */
export const dialect: Flag.Flag<"v1" | "plus" | "chat"> = Flag.Literals("dialect", ["v1", "plus", "chat"]).pipe(
  Flag.withDescription("how instances are written: as InftyThink does (default), as InftyThink+, or as chat"),
  Flag.withDefault("v1")
)

/** What to do about tags. */
export const tags: Flag.Flag<"reject" | "replace"> = Flag.Literals("tags", ["reject", "replace"]).pipe(
  Flag.withDescription(
    "what to do about tags and special tokens in a text: reject its sample (default), or write ‹ for <"
  ),
  Flag.withDefault("reject")
)

/** The tokenizer by name or file. */
export const tokenizer: Flag.Flag<Option.Option<string>> = text(
  "tokenizer",
  "NAME|FILE",
  "the tokenizer that counts: o200k_base (default), cl100k_base, or a tokenizer.json file or its folder"
)

/** Provides a tokenizer by name or file. */
export const tokenizerOf = (
  choice: Option.Option<string>
): Layer.Layer<Tokenizer, TokenizerError, FileSystem.FileSystem> => {
  const name = Option.getOrElse(choice, () => "o200k_base")
  const encoding = GptTokenizer.encodings.find((encoding) => encoding === name)
  if (encoding !== undefined) return GptTokenizer.layerEncoding(encoding)
  return Layer.catch(HuggingFaceTokenizer.layer(name), ({ reason, message, cause }) => {
    const choices = `--tokenizer takes ${GptTokenizer.encodings.join(", ")} or a tokenizer.json file or its folder`
    return Layer.unwrap(Effect.fail(new TokenizerError({ reason, message: `${message}; ${choices}`, cause })))
  })
}

/** Which records are read, and how. */
export interface Reading {
  readonly inputs: ReadonlyArray<string>
  readonly inputFormat: Option.Option<Dataset.Format>
  readonly reader: Option.Option<Record.ReaderName>
  readonly generations: "first" | "correct" | "all"
  readonly question: Option.Option<string>
  readonly reasoning: Option.Option<string>
  readonly conclusion: Option.Option<string>
}

/** The inputs: files, folders, patterns, addresses, or standard input. */
export const inputs: Argument.Argument<ReadonlyArray<string>> = Argument.String("input").pipe(
  Argument.withDescription(
    "long reasonings in JSON Lines (.gz, .zst too), Parquet or Arrow: files, folders, patterns, http addresses, or -"
  ),
  Argument.variadic({ min: 1 })
)

/** The options of how records are read. */
export const reading: { readonly [name in Exclude<keyof Reading, "inputs">]: Flag.Flag<Reading[name]> } = {
  inputFormat: Flag.Literals("input-format", ["jsonl", "parquet", "arrow"]).pipe(
    Flag.withDescription("what the input is written in, where its ending does not say so"),
    Flag.optional
  ),
  reader: Flag.Literals("reader", Record.readers).pipe(
    Flag.withDescription("the shape of the records, where it is not found by itself"),
    Flag.optional
  ),
  generations: Flag.Literals("generations", ["first", "correct", "all"]).pipe(
    Flag.withDescription(
      "of several answers in a record: the first whole one (default), the first correct one, or all"
    ),
    Flag.withDefault("first")
  ),
  question: text(
    "question",
    "COLUMN",
    "the column of the question, where it is not found by itself, or a path into one, as in meta.question"
  ),
  reasoning: text("reasoning", "COLUMN", "the column of the reasoning, or a path into one"),
  conclusion: text("conclusion", "COLUMN", "the column of the conclusion, or a path into one")
}

/** Reads the samples of the input; `onRead` is told how many bytes of it were read. */
export const read = (reading: Reading, onRead: (bytes: number) => void): ReturnType<typeof Dataset.read> =>
  Dataset.read(reading.inputs, { ...readOptionsOf(reading), onRead })

/** Reads the samples of the input and segments them, as `Segments.read` does. */
export const readSegments = (
  reading: Reading,
  options: Pick<Segments.Options, "eta" | "packing" | "tags" | "dialect" | "workers" | "onRead">
): ReturnType<typeof Segments.read> => Segments.read(reading.inputs, { ...readOptionsOf(reading), ...options })

const readOptionsOf = (
  { inputFormat, reader, generations, question, reasoning, conclusion }: Reading
): Dataset.ReadOptions => ({
  generations,
  ...Option.isSome(inputFormat) && { format: inputFormat.value },
  ...Option.isSome(reader) && { reader: reader.value },
  ...Option.isSome(question) && { question: question.value },
  ...Option.isSome(reasoning) && { reasoning: reasoning.value },
  ...Option.isSome(conclusion) && { conclusion: conclusion.value }
})

/** The files that the input is. */
export const filesOf = ({ inputs, inputFormat }: Reading): ReturnType<typeof Dataset.files> =>
  Dataset.files(inputs, Option.isSome(inputFormat) ? { format: inputFormat.value } : {})

/** The bytes of files, where they are known of all. */
export const bytesOf = (files: ReadonlyArray<Dataset.File>): number | undefined => {
  let sum = 0
  for (const { bytes } of files) {
    if (bytes === undefined) return undefined
    sum += bytes
  }
  return sum
}

/** What a million tokens cost, in US dollars. */
export interface Priced {
  readonly priceInput: Option.Option<number>
  readonly priceCached: Option.Option<number>
  readonly priceOutput: Option.Option<number>
}

/** The options of a price. */
export const priced: { readonly [name in keyof Priced]: Flag.Flag<Priced[name]> } = {
  priceInput: finite("price-input", 1e6, "what a million tokens read cost, in US dollars"),
  priceCached: finite(
    "price-cached",
    1e6,
    "what they cost where the server had them cached (default as --price-input)"
  ),
  priceOutput: finite("price-output", 1e6, "what a million tokens written cost, in US dollars")
}

/** The price that is given, if one is. */
export const priceOf = (
  { priceInput, priceCached, priceOutput }: Priced
): Effect.Effect<Price.Price | undefined, UsageError> => {
  if (Option.isSome(priceInput) && Option.isSome(priceOutput)) {
    const price = { input: priceInput.value, output: priceOutput.value }
    return Effect.succeed({ ...price, ...Option.isSome(priceCached) && { cachedInput: priceCached.value } })
  }
  const given = Object.entries({ input: priceInput, cached: priceCached, output: priceOutput })
    .find(([, value]) => Option.isSome(value))
  const missing = Option.isSome(priceInput) ? "output" : "input"
  return given === undefined
    ? Effect.succeed(undefined)
    : Effect.fail(usageError(`Cannot use --price-${given[0]} without --price-${missing}: both make a price`))
}

/** Refuses a limit on a cost where there is no price. */
export const requirePrice = (
  maxCost: Option.Option<number>,
  price: Price.Price | undefined
): Effect.Effect<void, UsageError> =>
  price !== undefined || Option.isNone(maxCost)
    ? Effect.void
    : Effect.fail(usageError(`Cannot use --max-cost ${maxCost.value} without --price-input and --price-output`))

/** The most money that is spent. */
export const maxCost: Flag.Flag<Option.Option<number>> = finite(
  "max-cost",
  1e9,
  "stop when so many US dollars are spent at --price-input and --price-output, earlier runs of the journal included"
)

/** The most tokens that are read and written. */
export const maxTokens: Flag.Flag<Option.Option<number>> = integer(
  "max-tokens",
  1,
  "stop when so many tokens are read and written, earlier runs of the journal included"
).pipe(Flag.optional)

/** Other runtimes do not give up on a server after five minutes. */
const isNode = !("Deno" in globalThis) && !("Bun" in globalThis)

/** How a server is reached. */
export interface Server {
  readonly baseUrl: Option.Option<string>
  readonly model: Option.Option<string>
  readonly apiKeyEnv: Option.Option<string>
  readonly api: "chat" | "completions"
}

/** How several servers of one model are reached. */
export interface Servers extends Omit<Server, "baseUrl"> {
  readonly baseUrls: ReadonlyArray<string>
}

/** The options of a server whose model does something, but for its address. */
const serving: { readonly [name in Exclude<keyof Server, "baseUrl">]: Flag.Flag<Server[name]> } = {
  model: text("model", "NAME", "the server's model"),
  apiKeyEnv: text("api-key-env", "NAME", "the environment variable that holds the server's key"),
  api: Flag.Literals("api", ["chat", "completions"]).pipe(
    Flag.withDescription("the server's interface (default chat)"),
    Flag.withDefault("chat")
  )
}

/** The options of a server whose model does something. */
export const server = (does: string): { readonly [name in keyof Server]: Flag.Flag<Server[name]> } => ({
  baseUrl: text("base-url", "URL", `an OpenAI-compatible server, as in http://localhost:8000/v1; ${does}`),
  ...serving
})

/** The options of servers whose model does something. */
export const servers = (does: string): { readonly [name in keyof Servers]: Flag.Flag<Servers[name]> } => ({
  baseUrls: Flag.String("base-url").pipe(
    Flag.withMetavar("URL"),
    Flag.withDescription(
      "an OpenAI-compatible server, as in http://localhost:8000/v1; may be given several times, and URL#3 takes three " +
        `times its share; ${does}`
    ),
    Flag.atLeast(0)
  ),
  ...serving
})

/** Provides the model of a server, or nothing where none is given; fails where only part of it is. */
export const modelOf = (
  { baseUrl, ...server }: Server,
  more: Partial<OpenAi.Options> = {}
): Effect.Effect<{ readonly name: string; readonly layer: Layer.Layer<TextModel> } | undefined, UsageError> =>
  Effect.map(
    modelsOf({ baseUrls: Option.toArray(baseUrl), ...server }, more),
    ([first]) => first && { name: first.model.name, layer: Layer.succeed(TextModel, first.model) }
  )

/** Makes the models of servers, none where none is given; fails where only part of one is. */
export const modelsOf = (
  { baseUrls, model, apiKeyEnv, api }: Servers,
  more: Partial<OpenAi.Options> = {}
): Effect.Effect<ReadonlyArray<Load.Server>, UsageError> =>
  Effect.gen(function* () {
    if (baseUrls.length === 0 || Option.isNone(model)) {
      const given = Object.entries({ "base-url": Option.fromNullishOr(baseUrls[0]), model, "api-key-env": apiKeyEnv })
        .find(([, value]) => Option.isSome(value))
      if (given === undefined) return []
      const missing = baseUrls.length === 0 ? "base-url" : "model"
      return yield* usageError(`Cannot use --${given[0]} without --${missing}: a server and a model go together`)
    }
    const key = Option.map(apiKeyEnv, (name) => process.env[name] ?? "")
    if (Option.isSome(key) && key.value === "") {
      return yield* usageError(
        `Cannot use --api-key-env ${Option.getOrThrow(apiKeyEnv)}: there is no such variable, or it is empty`
      )
    }
    return yield* Effect.forEach(baseUrls, (given) =>
      Effect.gen(function* () {
        const [, baseUrl = given, weight = "1"] = /^(.*)#(.*)$/.exec(given) ?? []
        if (!/^https?:/.test(baseUrl) || !URL.canParse(baseUrl)) {
          return yield* usageError(`Cannot use --base-url ${given}: it is no http address`)
        }
        if (!(Number(weight) > 0)) {
          return yield* usageError(
            `Cannot use --base-url ${given}: the share ${JSON.stringify(weight)} is no number above 0`
          )
        }
        const made = yield* checked(() =>
          OpenAi.make({
            baseUrl,
            model: model.value,
            api,
            ...Option.isSome(key) && { apiKey: Redacted.make(key.value) },
            ...isNode && { fetch: Undici.fetch },
            ...more
          })
        )
        return { model: made, weight: Number(weight) }
      }))
  })

interface Fields {
  readonly message: string
}

const Base: new (fields: Fields) => Cause.YieldableError & Readonly<Fields> & { readonly _tag: "UsageError" } = Data
  .TaggedError("UsageError")

/** Options do not go together, or one has a value that cannot be used. */
export class UsageError extends Base {}

/** Calls what throws a RangeError for a bad option. */
export const checked = <A>(make: () => A): Effect.Effect<A, UsageError> =>
  Effect.try({ try: make, catch: (error) => error }).pipe(
    Effect.catch((error) => error instanceof RangeError ? Effect.fail(usageError(error.message)) : Effect.die(error))
  )

/** Makes the error of an option from its message. */
export const usageError = (message: string): UsageError => new UsageError({ message })
