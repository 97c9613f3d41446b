/**
 * Options that commands share, and what they stand for.
 *
 * @module
 */
import type * as Cause from "effect/Cause"
import * as Flag from "effect/cli/Flag"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import process from "node:process"
import * as GptTokenizer from "../adapters/GptTokenizer.ts"
import * as HuggingFaceTokenizer from "../adapters/HuggingFaceTokenizer.ts"
import * as OpenAi from "../adapters/OpenAi.ts"
import * as Undici from "../adapters/Undici.ts"
import type { TextModel } from "../TextModel.ts"
import { type Tokenizer, TokenizerError } from "../Tokenizer.ts"

/** An integer of at least so much. */
export const integer = (name: string, least: number, description: string): Flag.Flag<number> =>
  Flag.Int(name).pipe(
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThanOrEqualTo(least))),
    Flag.withDescription(description)
  )

/** A number from 0 to a maximum. */
export const finite = (name: string, maximum: number, description: string): Flag.Flag<Option.Option<number>> =>
  Flag.Finite(name).pipe(
    Flag.withSchema(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum }))),
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

/** The tokenizer by name or file. */
export const tokenizer: Flag.Flag<Option.Option<string>> = text(
  "tokenizer",
  "NAME|FILE",
  "the tokenizer that counts: o200k_base (default), cl100k_base, or a tokenizer.json file"
)

/** Provides a tokenizer by name or file. */
export const tokenizerOf = (
  choice: Option.Option<string>
): Layer.Layer<Tokenizer, TokenizerError, FileSystem.FileSystem> => {
  const name = Option.getOrElse(choice, () => "o200k_base")
  const encoding = GptTokenizer.encodings.find((encoding) => encoding === name)
  if (encoding !== undefined) return GptTokenizer.layerEncoding(encoding)
  return Layer.catch(HuggingFaceTokenizer.layer(name), ({ reason, message, cause }) => {
    const choices = `--tokenizer takes ${GptTokenizer.encodings.join(", ")} or a tokenizer.json file`
    return Layer.unwrap(Effect.fail(new TokenizerError({ reason, message: `${message}; ${choices}`, cause })))
  })
}

/** Other runtimes do not give up on a server after five minutes. */
const isNode = !("Deno" in globalThis) && !("Bun" in globalThis)

/** How a server is reached. */
export interface Server {
  readonly baseUrl: Option.Option<string>
  readonly model: Option.Option<string>
  readonly apiKeyEnv: Option.Option<string>
  readonly api: "chat" | "completions"
}

/** The options of a server whose model does something. */
export const server = (does: string): { readonly [name in keyof Server]: Flag.Flag<Server[name]> } => ({
  baseUrl: text("base-url", "URL", `an OpenAI-compatible server, as in http://localhost:8000/v1; ${does}`),
  model: text("model", "NAME", "the server's model"),
  apiKeyEnv: text("api-key-env", "NAME", "the environment variable that holds the server's key"),
  api: Flag.Literals("api", ["chat", "completions"]).pipe(
    Flag.withDescription("the server's interface (default chat)"),
    Flag.withDefault("chat")
  )
})

/** Provides the model of a server, or nothing where none is given; fails where only part of it is. */
export const modelOf = (
  { baseUrl, model, apiKeyEnv, api }: Server,
  more: Partial<OpenAi.Options> = {}
): Effect.Effect<{ readonly name: string; readonly layer: Layer.Layer<TextModel> } | undefined, UsageError> =>
  Effect.gen(function* () {
    if (Option.isNone(baseUrl) || Option.isNone(model)) {
      const given = Object.entries({ "base-url": baseUrl, model, "api-key-env": apiKeyEnv })
        .find(([, value]) => Option.isSome(value))
      if (given === undefined) return undefined
      const missing = Option.isNone(baseUrl) ? "base-url" : "model"
      return yield* usageError(`Cannot use --${given[0]} without --${missing}: a server and a model go together`)
    }
    if (!/^https?:/.test(baseUrl.value) || !URL.canParse(baseUrl.value)) {
      return yield* usageError(`Cannot use --base-url ${baseUrl.value}: it is no http address`)
    }
    const key = Option.map(apiKeyEnv, (name) => process.env[name] ?? "")
    if (Option.isSome(key) && key.value === "") {
      return yield* usageError(
        `Cannot use --api-key-env ${Option.getOrThrow(apiKeyEnv)}: there is no such variable, or it is empty`
      )
    }
    const layer = yield* checked(() =>
      OpenAi.layer({
        baseUrl: baseUrl.value,
        model: model.value,
        api,
        ...Option.isSome(key) && { apiKey: Redacted.make(key.value) },
        ...isNode && { fetch: Undici.fetch },
        ...more
      })
    )
    return { name: model.value, layer }
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
