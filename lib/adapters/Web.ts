/**
 * A Reasoner as a web handler: a client of the OpenAI API reasons in bounded iterations by changing its base URL.
 *
 * ```text
 *   POST …/chat/completions   the OpenAI protocol, streamed or whole; the list of messages is the question
 *   GET  …/models             the model's name
 *   POST …/events             { question } or { state }: the Reasoner's events, as they happen
 *   POST …/step               { question } or { state }: one iteration; the answer is the body of the next request
 * ```
 *
 * Reasoning is `reasoning_content`, as it is written; where an attempt is given up, what it reasoned stays. Summaries are
 * left out, and iterations are a blank line apart. The conclusion is `content`, and comes as a whole: what a model writes
 * may still turn out to be something else. Meanwhile, comments keep the connection open.
 *
 * Beside a question or a state, `events` and `step` take `model`, `eta`, `gamma`, `sampling` and `limits`. Without a
 * `secret`, a state is what the client says it is: what it says was spent cannot be relied on, so that limits hold for one
 * request. How reasoning is driven, carried on and cut is up to the handler, whatever a state says.
 *
 * It needs nothing but web standards. What the model's server says when it fails is logged, and clients are told no more
 * than the kind of its failure: neither its words and its address, nor a key.
 *
 * @module
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Stream from "effect/Stream"
import type { Message, Question } from "../core/Sample.ts"
import * as Reasoner from "../Reasoner.ts"
import * as State from "../State.ts"
import type * as Summarizer from "../Summarizer.ts"
import * as TextModel from "../TextModel.ts"
import { estimate } from "../Tokenizer.ts"

/** How to reason, and for whom. What a client asks for counts up to the limits, eta and gamma that are set here. */
export type Options = Reasoner.Options & {
  /** The key that clients must send as a bearer token; without it, anyone may ask. */
  readonly key?: Redacted.Redacted<string>
  /** The origins whose pages may ask, with their scheme, or all; none by default. */
  readonly cors?: "*" | ReadonlyArray<string>
  /** The largest body of a request, and so of a state, in bytes; 10 Mi by default. */
  readonly maxBodySize?: number
  /** The most requests that are answered at once; who comes then is told to come again (503). No limit by default. */
  readonly maxRequests?: number
  /**
   * The most time from the arrival of a request to the end of its answer, in milliseconds: what is not done by then is
   * ended (408, 504, or a last event). No limit by default. `limits.time` is when reasoning ends by itself.
   */
  readonly maxTime?: number
  /**
   * Signs the states that are given out, of which others are refused then (403): at least 32 bytes, from a random source.
   * Without it, any state is taken that is one.
   */
  readonly secret?: Redacted.Redacted<string>
  /** How old a signed state may be, in milliseconds; as old as it is, by default. */
  readonly maxStateAge?: number
  /** Whether clients see what the model's server says when it fails, its address included; `hide` by default. */
  readonly errors?: "hide" | "show"
}

/** Who asks. */
export interface Client {
  readonly request: Request
  /** The key it sent as a bearer token; empty where it sent none. */
  readonly key: Redacted.Redacted<string>
  /** The model it asks for, where it asks for one. */
  readonly model?: string
}

/**
 * Makes a handler of web requests. A layer is built once, and shared by all requests; a function gives each client a
 * model of its own, for instance with the client's key. Throws a RangeError for a bad option.
 */
export const handler = (
  model: Layer.Layer<TextModel.TextModel> | ((client: Client) => Layer.Layer<TextModel.TextModel>),
  options: Options = {}
): (request: Request) => Promise<Response> => {
  const { key, cors, maxBodySize = 10 * 2 ** 20, maxRequests = Infinity, maxTime = Infinity, ...others } = options
  const { secret, maxStateAge = Infinity, errors = "hide", ...reasoning } = others
  const own = Reasoner.begin("", reasoning).settings
  requireSecret("key", key, 1)
  requireSecret("secret", secret, 32)
  for (const [name, limit] of Object.entries({ maxBodySize, maxRequests, maxTime, maxStateAge })) {
    if (!(limit > 0)) throw new RangeError(`Cannot make a handler: ${name} is ${limit}`)
  }
  const { eta, gamma } = own
  const modelOf = typeof model === "function" ? model : share(model)
  const { summarizer } = reasoning
  const settings: Settings = {
    options: {
      ...reasoning,
      ...summarizer !== undefined && errors === "hide" && { summarizer: hidingSummarizer(summarizer) },
      eta,
      gamma
    },
    own,
    secret,
    maxStateAge,
    passesOn: typeof model === "function" && key === undefined,
    modelOf: errors === "show" ? modelOf : (client) => Layer.provideMerge(hiding, modelOf(client))
  }
  let answering = 0

  const answer = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url)
    const route = ROUTES.find(({ path }) => pathname.endsWith(path))
    if (route === undefined) {
      throw new Refusal({ status: 404, message: `Cannot answer: there is nothing at ${JSON.stringify(pathname)}` })
    }
    if (request.method !== route.method) {
      const message = `Cannot answer: ${pathname} takes ${route.method}, not ${request.method}`
      throw new Refusal({ status: 405, message, headers: { allow: route.method } })
    }
    const sent = keyOf(request)
    if (key !== undefined && !await isSame(sent, key)) {
      const message = "Cannot answer: the key is missing or wrong"
      throw new Refusal({ status: 401, message, code: "invalid_api_key", headers: { "www-authenticate": "Bearer" } })
    }
    // Who does not know the key takes no one's place.
    if (answering >= maxRequests) {
      const message = `Cannot answer: ${answering} requests are being answered, and no more may be at once`
      throw new Refusal({ status: 503, message, code: "busy", headers: { "retry-after": "1" } })
    }
    answering++
    const visit = makeVisit(request, maxTime, () => answering--)
    try {
      const body = route.method === "GET" ? {} : await readJson(request, maxBodySize, visit)
      return await route.answer({ request, key: sent }, body, settings, visit)
    } catch (error) {
      visit.end()
      throw error instanceof Refusal ? error : visit.over ?? error
    }
  }

  return async (request) => {
    const origin = cors === "*" ? "*" : cors?.find((origin) => origin === request.headers.get("origin"))
    const response = origin !== undefined && request.method === "OPTIONS"
      ? new Response(null, { status: 204, headers: preflight(request) })
      : await answer(request).catch((error: unknown) => {
        if (error instanceof Refusal) return renderRefusal(error)
        if (request.signal.aborted) return new Response(null, { status: 499 }) // nobody is there to read it
        return renderRefusal(broken(error))
      })
    if (cors !== undefined && cors !== "*") response.headers.append("vary", "origin")
    if (origin !== undefined) {
      response.headers.set("access-control-allow-origin", origin)
      response.headers.set("access-control-expose-headers", "retry-after")
    }
    return response
  }
}

const requireSecret = (name: string, secret: Redacted.Redacted<string> | undefined, least: number): void => {
  if (secret === undefined) return
  // A secret that was forgotten may be anything but a text, whatever its type says.
  const value: unknown = Redacted.value(secret)
  if (typeof value !== "string" || value === "") throw new RangeError(`Cannot make a handler: the ${name} is empty`)
  if (utf8.encode(value).length < least) {
    throw new RangeError(`Cannot make a handler: the ${name} has less than ${least} bytes`)
  }
}

/** What the routes share. */
interface Settings {
  readonly options: Reasoner.Options & { readonly eta: number; readonly gamma: number }
  /** What the handler's own states are bound to. */
  readonly own: State.Settings
  readonly secret: Redacted.Redacted<string> | undefined
  readonly maxStateAge: number
  /** Whether the key that the model's server sees may be the client's. */
  readonly passesOn: boolean
  readonly modelOf: (client: Client) => Layer.Layer<TextModel.TextModel>
}

interface Route {
  readonly method: "GET" | "POST"
  /** How the path of its address ends. */
  readonly path: string
  readonly answer: (client: Client, body: unknown, settings: Settings, visit: Visit) => Promise<Response>
}

// ---- how long a request lasts

/** A request, from its arrival to the end of its answer. */
interface Visit {
  /** Aborts when the client leaves before it has an answer, and when the time is over. */
  readonly signal: AbortSignal
  /** Why nothing more is answered, once the time is over. */
  readonly over: Refusal | undefined
  /** Says that the client has its answer, of which all may still be to come: that it leaves is told otherwise now. */
  readonly begin: () => void
  /** Ends it: another request may be answered. Again, it does nothing. */
  readonly end: () => void
}

const makeVisit = ({ signal }: Request, maxTime: number, onEnd: () => void): Visit => {
  const controller = new AbortController()
  const leave = (): void => controller.abort()
  const begin = (): void => signal.removeEventListener("abort", leave)
  let over: Refusal | undefined
  let ended = false
  const timer = maxTime > LONGEST ? undefined : setTimeout(() => {
    const message = `Cannot answer: it takes longer than ${maxTime} ms`
    // A client that asks again by itself would wait as long.
    over = new Refusal({ status: 504, message, code: "timeout", headers: { "x-should-retry": "false" } })
    controller.abort()
  }, maxTime)
  if (signal.aborted) leave()
  else signal.addEventListener("abort", leave)
  return {
    signal: controller.signal,
    get over() {
      return over
    },
    begin,
    end: () => {
      if (ended) return
      ended = true
      clearTimeout(timer)
      begin()
      onEnd()
    }
  }
}

/** The longest time that a timer can wait, in milliseconds: 25 days, which is as good as forever. */
const LONGEST = 2 ** 31 - 1

// ---- what the model's server says

/** Says no more of an error than its kind. */
const hide = ({ reason, status, retryAfter }: TextModel.ModelError): TextModel.ModelError =>
  new TextModel.ModelError({
    reason,
    message: `Cannot complete a request: ${KINDS[reason]}`,
    ...status !== undefined && { status },
    ...retryAfter !== undefined && { retryAfter }
  })

const KINDS: Readonly<Record<TextModel.ModelError["reason"], string>> = {
  unreachable: "the model's server cannot be reached",
  unauthorized: "the model's server does not take the key",
  "not-found": "the model's server does not have the model",
  refused: "the model's server refuses the request",
  "rate-limited": "the model's server has too many requests",
  failed: "the model's server failed",
  interrupted: "the answer of the model's server broke off",
  stopped: "no more requests are sent to the model's server"
}

const log = ({ message }: TextModel.ModelError): Effect.Effect<void> => Effect.logError(message)

/** A model whose errors are logged, and hidden from all that reads them. */
const hiding: Layer.Layer<TextModel.TextModel, never, TextModel.TextModel> = Layer.effect(
  TextModel.TextModel,
  Effect.map(TextModel.TextModel, ({ name, generate }) => ({
    name,
    generate: (request) => generate(request).pipe(Stream.tapError(log), Stream.mapError(hide))
  }))
)

const hidingSummarizer = ({ name, write }: Summarizer.Summarizer): Summarizer.Summarizer => ({
  name,
  write: (source, attempt) => write(source, attempt).pipe(Effect.tapError(log), Effect.mapError(hide))
})

/** Builds a layer once. */
const share = (layer: Layer.Layer<TextModel.TextModel>): () => Layer.Layer<TextModel.TextModel> => {
  const built = Layer.effectContext(ManagedRuntime.make(layer).contextEffect)
  return () => built
}

// ---- chat completions

const completeChat: Route["answer"] = async (client, body, settings, visit) => {
  const asked = read(Chat, body)
  const tokens = least(asked.max_completion_tokens, asked.max_tokens)
  const options = {
    ...narrow(settings.options, {
      sampling: { temperature: asked.temperature, topP: asked.top_p, seed: asked.seed, user: asked.user },
      limits: { tokens }
    }),
    // A conclusion that is forced comes on top of what the client allows.
    ...tokens !== undefined && { conclude: "leave" as const }
  }
  const pieces = piecesOf(attempt("messages", () => Reasoner.reason(asked.messages.map(messageOf), options)), settings)
  const layer = settings.modelOf({ ...client, ...present({ model: asked.model }) })
  const head = { id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000) }
  if (asked.stream) {
    const withUsage = asked.stream_options?.include_usage === true
    const texts = Stream.unwrap(Effect.map(TextModel.TextModel, ({ name }) => {
      return Stream.map(pieces, makeRender({ ...head, model: name }, withUsage))
    }))
    return await open(visit, Stream.provide(texts, layer), (refusal) => event(bodyOf(refusal)))
  }
  const whole = Effect.gen(function* () {
    const { name } = yield* TextModel.TextModel
    return renderWhole({ ...head, model: name }, yield* Stream.runCollect(pieces))
  })
  return await close(visit, Effect.provide(whole, layer))
}

/** What an answer begins with, and each chunk of it. */
interface Head {
  readonly id: string
  /** The time, in seconds. */
  readonly created: number
  readonly model: string
}

const renderWhole = (head: Head, pieces: ReadonlyArray<Piece>): unknown => {
  const reasoning = pieces.map((piece) => piece._tag === "Reasoning" ? piece.text : "").join("")
  const { content, finishReason, usage } = pieces.findLast((piece) => piece._tag === "End")!
  const message = { role: "assistant", content, reasoning_content: reasoning || null, refusal: null }
  const choices = [{ index: 0, message, logprobs: null, finish_reason: finishReason }]
  return { ...head, object: "chat.completion", choices, usage }
}

/** Makes what renders the pieces of one answer, in order, as they come. */
const makeRender = (head: Head, withUsage: boolean): (piece: Piece) => string => {
  const chunk = (choices: ReadonlyArray<unknown>, usage: Usage | null): string =>
    event({ ...head, object: "chat.completion.chunk", choices, ...withUsage && { usage } })
  const delta = (delta: Readonly<Record<string, string>>, finish_reason: string | null = null): string =>
    chunk([{ index: 0, delta, logprobs: null, finish_reason }], null)
  let start = delta({ role: "assistant", content: "" })
  const render = (piece: Piece): string => {
    switch (piece._tag) {
      case "Quiet":
        return ":\n\n"
      case "Reasoning":
        return delta({ reasoning_content: piece.text })
      case "End": {
        const content = piece.content === "" ? "" : delta({ content: piece.content })
        const usage = withUsage ? chunk([], piece.usage) : ""
        return `${content}${delta({}, piece.finishReason)}${usage}data: [DONE]\n\n`
      }
    }
  }
  return (piece) => {
    const text = start + render(piece)
    start = ""
    return text
  }
}

/** What becomes of the Reasoner's events in a chat. */
type Piece =
  /** Something was written that is not shown, or not yet. */
  | { readonly _tag: "Quiet" }
  | { readonly _tag: "Reasoning"; readonly text: string }
  | {
    readonly _tag: "End"
    readonly content: string
    readonly finishReason: "stop" | "length"
    readonly usage: Usage
  }

/** The tokens of all requests that a chat took. */
interface Usage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
  /** All that was written but the conclusion, which only the tokenizer counts; without one, it is an estimate. */
  readonly completion_tokens_details: { readonly reasoning_tokens: number }
}

const piecesOf = <R>(
  events: Stream.Stream<Reasoner.Event, Reasoner.ReasonerError, R>,
  settings: Settings
): Stream.Stream<Piece, Refusal, R> => {
  // Text that is the conclusion, unless the tag that closes reasoning is still to come.
  let plain = ""
  let hasReasoned = false
  let isApart = false

  const show = (text: string): Array<Piece> => {
    if (text === "") return []
    const gap = hasReasoned && isApart ? "\n\n" : ""
    hasReasoned = true
    isApart = false
    return [{ _tag: "Reasoning", text: gap + text }]
  }

  const readEvent = (event: Reasoner.Event): Array<Piece> | Refusal => {
    switch (event._tag) {
      case "IterationStarted":
      case "IterationEnded":
        plain = ""
        isApart = true
        return []
      case "Delta":
        if (event.section === "reasoning") return show(event.text)
        if (event.section === "conclusion") plain += event.text
        return [{ _tag: "Quiet" }]
      case "Retag": {
        const text = plain
        plain = ""
        return event.section === "reasoning" ? show(text) : []
      }
      case "Repair":
        if (event.repair === "continue") return []
        plain = ""
        isApart = true
        return []
      case "TrajectoryEnded":
        return endOf(event, settings.options)
      default:
        return []
    }
  }

  return events.pipe(
    Stream.mapError((error) => refusalOf(error, settings)),
    Stream.map(readEvent),
    Stream.mapEffect((found) => found instanceof Refusal ? Effect.fail(found) : Effect.succeed(found)),
    Stream.flattenIterable
  )
}

const endOf = (
  { outcome, state }: Extract<Reasoner.Event, { readonly _tag: "TrajectoryEnded" }>,
  { tokenizer }: Reasoner.Options
): Array<Piece> | Refusal => {
  switch (outcome._tag) {
    case "Concluded":
    case "Exhausted":
    case "Truncated": {
      const content = "conclusion" in outcome ? outcome.conclusion ?? "" : ""
      const concluded = (tokenizer?.count ?? estimate)(content)
      const { inputTokens, outputTokens } = state.meter
      const usage = {
        prompt_tokens: inputTokens,
        completion_tokens: outputTokens,
        total_tokens: inputTokens + outputTokens,
        completion_tokens_details: { reasoning_tokens: Math.max(0, outputTokens - concluded) }
      }
      return [{ _tag: "End", content, finishReason: outcome._tag === "Concluded" ? "stop" : "length", usage }]
    }
    default:
      return new Refusal({
        status: 422,
        message: `Cannot conclude: ${REASONS[outcome._tag]}`,
        code: outcome._tag,
        // A client that asks again by itself would wait as long, for the same end.
        headers: { "x-should-retry": "false" }
      })
  }
}

const REASONS = {
  Malformed: "what the model wrote is neither a summary nor a conclusion",
  Empty: "the model wrote nothing",
  NoProgress: "the model's iterations got nowhere"
}

// ---- models, events, step

const listModels: Route["answer"] = async (client, _, { modelOf }, visit) => {
  const list = Effect.map(TextModel.TextModel, ({ name }) => ({
    object: "list",
    data: [{ id: name, object: "model", created: 0, owned_by: "inftythink" }]
  }))
  return await close(visit, Effect.provide(list, modelOf(client)))
}

const streamEvents: Route["answer"] = async (client, body, settings, visit) => {
  const { field, from, options, model } = await readTask(body, settings)
  let held = ""
  const texts = attempt(field, () => Reasoner.reason(from, options)).pipe(
    Stream.catch((error) => Stream.fromEffect(failWithState(error, settings))),
    Stream.mapEffect((event) => sealed(event, settings)),
    Stream.map((found) => {
      held += event(found, found._tag)
      // Nothing is shown before the model begins to write: what fails until then is a status.
      if (found._tag === "IterationStarted") return ""
      const text = held
      held = ""
      return text
    }),
    Stream.filter((text) => text !== ""),
    Stream.provide(settings.modelOf({ ...client, ...model }))
  )
  return await open(visit, texts, (refusal) => held + event(bodyOf(refusal), "error"))
}

const runStep: Route["answer"] = async (client, body, settings, visit) => {
  const { field, from, options, model } = await readTask(body, settings)
  const state = attempt(field, () => {
    return State.isState(from) ? from : Reasoner.begin(from, options)
  })
  const step = attempt(field, () => Reasoner.step(state, options)).pipe(
    Stream.catch((error) => Stream.fromEffect(failWithState(error, settings))),
    Stream.runFold((): Step => ({ output: null, repairs: [], state }), (step, event) => {
      if (event._tag === "IterationEnded") return { output: event.output, repairs: event.repairs, state: event.state }
      return event._tag === "TrajectoryEnded" ? { ...step, state: event.state } : step
    }),
    Effect.flatMap((step) => {
      const { outcome } = step.state
      return Effect.map(seal(step.state, settings), (state) => ({ ...step, state, outcome }))
    }),
    Effect.provide(settings.modelOf({ ...client, ...model }))
  )
  return await close(visit, step)
}

/** Gives a state out. */
const seal = (state: State.State, { secret }: Settings): Effect.Effect<State.State> =>
  secret === undefined ? Effect.succeed(state) : State.sign(state, { secret })

const sealed = (event: Reasoner.Event, settings: Settings): Effect.Effect<Reasoner.Event> =>
  "state" in event ? Effect.map(seal(event.state, settings), (state) => ({ ...event, state })) : Effect.succeed(event)

const failWithState = (error: Reasoner.ReasonerError, settings: Settings): Effect.Effect<never, Refusal> =>
  Effect.flatMap(seal(error.state, settings), (state) => Effect.fail(refusalOf(error, settings, state)))

/** What came of one iteration. */
interface Step extends Pick<Extract<Reasoner.Event, { readonly _tag: "IterationEnded" }>, "output" | "repairs"> {
  readonly state: State.State
}

const ROUTES: ReadonlyArray<Route> = [
  { method: "POST", path: "/chat/completions", answer: completeChat },
  { method: "GET", path: "/models", answer: listModels },
  { method: "POST", path: "/events", answer: streamEvents },
  { method: "POST", path: "/step", answer: runStep }
]

// ---- what is asked

/** A field that may be left out, or null, which is the same. */
const optional = <S extends Schema.Top>(schema: S) => Schema.optional(Schema.NullOr(schema))

/** A field that is not supported, but for values that ask for nothing. */
const only = (...values: ReadonlyArray<unknown>) => {
  const rendered = values.map((value) => JSON.stringify(value))
  const message = rendered.length === 0 ? "not supported" : `not supported, except as ${rendered.join(" or ")}`
  const allows = (value: unknown): boolean => {
    try {
      return value === null || rendered.includes(JSON.stringify(value))
    } catch {
      return false // it is nested too deep
    }
  }
  return Schema.optionalKey(Schema.Unknown.check(Schema.makeFilter((value) => allows(value) || message)))
}

const atLeast = (least: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(least))

const Messages = Schema.Array(Schema.Struct({
  role: Schema.Literals(["system", "developer", "user", "assistant"]),
  content: Schema.Union([
    Schema.String,
    Schema.Array(Schema.Struct({ type: Schema.Literal("text"), text: Schema.String }))
  ]),
  tool_calls: only([]),
  function_call: only()
})).check(Schema.makeFilter((messages) => messages.at(-1)?.role === "user" || "the last one must be the user's"))

const Chat = Schema.Struct({
  messages: Messages,
  model: optional(Schema.String),
  stream: optional(Schema.Boolean),
  stream_options: optional(
    Schema.Struct({ include_usage: optional(Schema.Boolean), include_obfuscation: only(false) })
  ),
  max_completion_tokens: optional(atLeast(1)),
  max_tokens: optional(atLeast(1)),
  temperature: optional(Schema.Finite),
  top_p: optional(Schema.Finite),
  seed: optional(Schema.Int),
  user: optional(Schema.String),
  n: only(1),
  stop: only([]),
  tools: only([]),
  tool_choice: only("none", "auto"),
  functions: only([]),
  function_call: only("none", "auto"),
  response_format: only({ type: "text" }),
  modalities: only(["text"]),
  audio: only(),
  prediction: only(),
  web_search_options: only(),
  logprobs: only(false),
  top_logprobs: only(0),
  logit_bias: only({}),
  presence_penalty: only(0),
  frequency_penalty: only(0)
})

/** What `events` and `step` take: a question or a state, and a part of the Reasoner's options. */
const Task = Schema.Struct({
  question: optional(Schema.Union([Schema.String, Messages])),
  state: optional(Schema.Unknown),
  model: optional(Schema.String),
  eta: optional(atLeast(4)),
  gamma: optional(atLeast(4)),
  sampling: optional(Schema.Struct({
    temperature: optional(Schema.Finite),
    topP: optional(Schema.Finite),
    seed: optional(Schema.Int),
    user: optional(Schema.String)
  })),
  limits: optional(Schema.Struct({
    iterations: optional(atLeast(1)),
    tokens: optional(atLeast(1)),
    time: optional(atLeast(1))
  }))
})

/** What a client asks of the Reasoner. */
type Asked = Pick<typeof Task.Type, "eta" | "gamma" | "sampling" | "limits">

/** Puts what a client asks for in the place of the handler's options, as far as it is no more than they allow. */
const narrow = (options: Settings["options"], { eta, gamma, sampling, limits }: Asked): Settings["options"] => {
  const { iterations = 10, tokens, time } = options.limits ?? {}
  return {
    ...options,
    eta: least(options.eta, eta)!,
    gamma: least(options.gamma, gamma)!,
    sampling: { ...options.sampling, ...present(sampling ?? {}) },
    limits: {
      ...options.limits,
      ...present({
        iterations: least(iterations, limits?.iterations),
        tokens: least(tokens, limits?.tokens),
        time: least(time, limits?.time)
      })
    }
  }
}

/** The least of the numbers that are there. */
const least = (...numbers: ReadonlyArray<number | null | undefined>): number | undefined => {
  const there = numbers.filter((number) => typeof number === "number")
  return there.length === 0 ? undefined : Math.min(...there)
}

/** The fields that are there. */
const present = <A extends object>(fields: A): { readonly [K in keyof A]?: NonNullable<A[K]> } =>
  // SAFETY: the fields that are left are those of the same name, and none of them is null or undefined.
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as {
    readonly [K in keyof A]?: NonNullable<A[K]>
  }

/** What `events` and `step` start from. */
interface Start {
  /** What holds it. */
  readonly field: "question" | "state"
  readonly from: Question | State.State
  readonly options: Settings["options"]
  readonly model: Pick<Client, "model">
}

const readTask = async (body: unknown, settings: Settings): Promise<Start> => {
  const { question, state, model, ...asked } = read(Task, body)
  const options = narrow(settings.options, asked)
  const started = { model: present({ model }), options }
  if (state == null) {
    if (question == null) throw unreadable("question", "Missing key")
    return { ...started, field: "question", from: typeof question === "string" ? question : question.map(messageOf) }
  }
  const from = await readState(state, settings)
  // A state comes from the client, and is bound by the handler's options as well.
  const { eta, gamma } = from.settings
  return {
    ...started,
    field: "state",
    from: { ...from, settings: { ...settings.own, dialect: from.settings.dialect } },
    options: { ...options, eta: Math.min(options.eta, eta), gamma: Math.min(options.gamma, gamma) }
  }
}

const readState = async (json: unknown, { own, secret, maxStateAge }: Settings): Promise<State.State> => {
  const verified = secret === undefined
    ? State.parse(json)
    : await Effect.runPromise(Effect.result(State.verify(json, { secret, maxAge: maxStateAge })))
  if (Result.isFailure(verified)) {
    const { reason, message } = verified.failure
    throw reason === "invalid"
      ? unreadable("state", message)
      : new Refusal({ status: 403, message, param: "state", code: `${reason}_state` })
  }
  const { dialect } = verified.success.settings
  if (dialect === own.dialect) return verified.success
  throw unreadable("state", `it is of dialect ${JSON.stringify(dialect)}, and not of ${JSON.stringify(own.dialect)}`)
}

/** Starts from what a field holds, which may not go with the options. */
const attempt = <A>(field: string, start: () => A): A => {
  try {
    return start()
  } catch (error) {
    throw error instanceof RangeError ? unreadable(field, error.message) : error
  }
}

const messageOf = ({ role, content }: (typeof Messages.Type)[number]): Message => ({
  role: role === "developer" ? "system" : role,
  content: typeof content === "string" ? content : content.map(({ text }) => text).join("")
})

/** Reads a body by its schema. */
const read = <A>(schema: Schema.Codec<A, unknown>, body: unknown): A => {
  const found = Schema.decodeUnknownResult(schema)(body)
  if (Result.isSuccess(found)) return found.success
  const { path = [], message } = formatIssue(found.failure.issue).issues[0]!
  const param = path.map((key) => typeof key === "number" ? `[${key}]` : `.${String(key)}`).join("").slice(1)
  throw unreadable(param, message)
}

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

/** Reads the body of a request as JSON. */
const readJson = async (
  { headers, body }: Request,
  maxBodySize: number,
  { signal }: Visit
): Promise<unknown> => {
  const type = headers.get("content-type") ?? ""
  if (!/^application\/json\s*(?:;|$)/i.test(type)) {
    const message = `Cannot read the request: its content-type is ${JSON.stringify(type)}, not application/json`
    throw new Refusal({ status: 415, message })
  }
  const decoder = new TextDecoder()
  let size = Number(headers.get("content-length"))
  let text = ""
  const check = (): void => {
    if (size <= maxBodySize) return
    throw new Refusal({ status: 413, message: `Cannot read the request: it is larger than ${maxBodySize} bytes` })
  }
  check()
  size = 0
  const reader = body?.getReader()
  const leave = (): void => {
    reader?.cancel().catch(() => {})
  }
  if (signal.aborted) leave()
  signal.addEventListener("abort", leave)
  try {
    for (let read = await reader?.read(); read?.value !== undefined; read = await reader?.read()) {
      size += read.value.length
      check()
      text += decoder.decode(read.value, { stream: true })
    }
  } finally {
    signal.removeEventListener("abort", leave)
    leave()
  }
  if (signal.aborted) {
    throw new Refusal({ status: 408, message: "Cannot read the request: its body does not come" })
  }
  try {
    return JSON.parse(text + decoder.decode())
  } catch {
    throw new Refusal({ status: 400, message: "Cannot read the request: its body is not JSON" })
  }
}

/** The key in a request; a header that holds none is as good as no header. */
const keyOf = ({ headers }: Request): Redacted.Redacted<string> =>
  Redacted.make(/^Bearer +(\S+)$/i.exec(headers.get("authorization") ?? "")?.[1] ?? "")

/** Compares keys in a time that tells nothing of where they differ, or of how long they are. */
const isSame = async (...keys: ReadonlyArray<Redacted.Redacted<string>>): Promise<boolean> => {
  const [one, other] = await Promise.all(
    keys.map(async (key) => new Uint8Array(await crypto.subtle.digest("SHA-256", utf8.encode(Redacted.value(key)))))
  )
  return one!.reduce((difference, byte, i) => difference | byte ^ other![i]!, 0) === 0
}

/** What a browser is told that asks before it asks. */
const preflight = ({ headers }: Request): Record<string, string> => ({
  "access-control-allow-methods": "GET, POST",
  "access-control-allow-headers": headers.get("access-control-request-headers") ?? "authorization, content-type",
  "access-control-max-age": "86400"
})

// ---- what is answered

const utf8 = new TextEncoder()

/** Renders a server-sent event. */
const event = (data: unknown, name?: string): string =>
  `${name === undefined ? "" : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`

/** Answers with a whole. */
const close = async (visit: Visit, whole: Effect.Effect<unknown, Refusal>): Promise<Response> => {
  const answer = await Effect.runPromise(whole, { signal: visit.signal })
  visit.end()
  return Response.json(answer)
}

/**
 * Answers with texts as they come, each when the client asks for it. What fails before the first is the status; what
 * fails later is the last text. A client that leaves ends the stream, and so the request to the model's server.
 */
const open = async (
  visit: Visit,
  texts: Stream.Stream<string, Refusal>,
  renderLast: (refusal: Refusal) => string
): Promise<Response> => {
  const iterator = Stream.toAsyncIterable(texts)[Symbol.asyncIterator]()
  const leave = async (): Promise<void> => {
    visit.end()
    await iterator.return!()
  }
  visit.signal.addEventListener("abort", leave)
  if (visit.signal.aborted) await leave()
  let first: IteratorResult<string> | undefined = await iterator.next()
  if (visit.over !== undefined) throw visit.over
  // From here on, leaving cancels the body; Deno's signal aborts even when all went well.
  visit.begin()
  let isCancelled = false
  const last = (controller: ReadableStreamDefaultController<Uint8Array>, refusal: Refusal | undefined): void => {
    visit.end()
    if (isCancelled) return
    if (refusal !== undefined) controller.enqueue(utf8.encode(renderLast(refusal)))
    controller.close()
  }
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    try {
      const { done, value } = first ?? await iterator.next()
      first = undefined
      if (done) last(controller, visit.over)
      else controller.enqueue(utf8.encode(value))
    } catch (error) {
      last(controller, visit.over ?? (error instanceof Refusal ? error : broken(error)))
    }
  }
  const cancel = (): Promise<void> => {
    isCancelled = true
    return leave()
  }
  return new Response(new ReadableStream({ pull, cancel }, { highWaterMark: 0 }), {
    headers: {
      "content-type": "text/event-stream",
      // Whatever lies between must neither compress nor collect: both hold events back.
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no"
    }
  })
}

/** Why a request is not answered, or its answer breaks off. */
class Refusal extends Data.TaggedError("Refusal")<{
  readonly status: number
  /** A sentence that reads "Cannot …: …". */
  readonly message: string
  /** The field of the request that is to blame. */
  readonly param?: string
  readonly code?: string
  readonly headers?: Readonly<Record<string, string>>
  /** The last good state, where it can be gone on from. */
  readonly state?: State.State
}> {}

/** Refuses where something is wrong here: the client is told no more, and it is logged. */
const broken = (error: unknown): Refusal => {
  Effect.runFork(Effect.logError("Cannot answer", error))
  return new Refusal({ status: 500, message: "Cannot answer: something went wrong here" })
}

const unreadable = (param: string, detail: string): Refusal =>
  new Refusal({ status: 400, message: `Cannot read the request: ${param === "" ? "" : `${param}: `}${detail}`, param })

/** What a failure of the model's server means to the client. */
const refusalOf = (
  { message, cause: { reason, retryAfter } }: Reasoner.ReasonerError,
  { passesOn }: Settings,
  state?: State.State
): Refusal =>
  new Refusal({
    status: STATUSES[reason] ?? (passesOn ? CLIENT_STATUSES[reason] : undefined) ?? 502,
    message,
    code: reason,
    ...retryAfter !== undefined && { headers: { "retry-after": `${Math.ceil(retryAfter / 1000)}` } },
    ...state !== undefined && { state }
  })

type Statuses = Readonly<Partial<Record<TextModel.ModelError["reason"], number>>>
const STATUSES: Statuses = { refused: 400, "rate-limited": 429 }
/** Otherwise, what the handler's own key may not do is no fault of the client's. */
const CLIENT_STATUSES: Statuses = { unauthorized: 401, "not-found": 404 }

/** An error as the OpenAI API renders it. */
const bodyOf = ({ status, message, param, code, state }: Refusal): unknown => {
  const type = status === 429
    ? "rate_limit_error"
    : status < 500 && status !== 422
    ? "invalid_request_error"
    : "server_error"
  return { error: { message, type, param: param || null, code: code ?? null }, ...state !== undefined && { state } }
}

const renderRefusal = (refusal: Refusal): Response =>
  Response.json(bodyOf(refusal), { status: refusal.status, headers: refusal.headers ?? {} })
