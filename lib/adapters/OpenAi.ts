/**
 * A TextModel on any server that speaks the OpenAI API: chat completions, or raw completions.
 *
 * It always streams, over plain `fetch`, and reads what servers really send: reasoning in any of its places, usage in any
 * chunk, errors in the middle of an answer. It gives up on a server that falls silent, and Node's own `fetch` does so
 * after 300 s already: bring one that does not, as `Undici.fetch`, where prompts take long to read. Leaving the stream
 * aborts the request.
 *
 * @module
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Pull from "effect/Pull"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Dialect from "../core/Dialect.ts"
import * as Frame from "../core/Frame.ts"
import * as Retry from "../Retry.ts"
import { type Finish, ModelError, type Part, type Request, TextModel, type Usage } from "../TextModel.ts"
import * as ServerSentEvents from "./ServerSentEvents.ts"

/** Where a model is, and how to ask it. */
export interface Options {
  /**
   * The address up to and including the version, as in `http://localhost:8000/v1`; a query is kept, and no message shows
   * it. Redirects to another origin are not followed, because they would be given the key.
   */
  readonly baseUrl: string
  /** The model's name, as the server knows it. */
  readonly model: string
  /** Sent as a bearer token; no message shows it. */
  readonly apiKey?: Redacted.Redacted<string>
  /** More headers; they win over the adapter's own, and no message shows a redacted one. */
  readonly headers?: Readonly<Record<string, string | Redacted.Redacted<string>>>
  /**
   * `chat`, the default, sends messages and prefix to `/chat/completions`; `completions` sends one flat text to
   * `/completions`: the request's `prompt`, or else `template(messages)` and the prefix.
   */
  readonly api?: "chat" | "completions"
  /** Renders messages as the flat text of `completions`, up to where the assistant begins to write; ChatML by default. */
  readonly template?: Dialect.Template
  /**
   * How the server is told to continue a request's prefix in a chat: `continue_final_message` (vLLM, SGLang) or `prefix`
   * (DeepSeek, at its address `/beta`). Without it such a request fails as `refused`, because a server that knows
   * neither would silently begin anew.
   */
  readonly prefill?: "continue_final_message" | "prefix"
  /** More fields for the request's JSON; they win over the adapter's own. */
  readonly body?: Readonly<Record<string, unknown>>
  /** The field that carries the request's `maxTokens`; `max_tokens` by default. */
  readonly maxTokensField?: "max_tokens" | "max_completion_tokens"
  /**
   * Whether an answer must say why it ended: `required`, the default. With `optional`, for servers that never say, an
   * answer of at least one part that ends with `[DONE]` counts as `stop`, and a model that was cut goes unnoticed.
   */
  readonly finish?: "required" | "optional"
  /**
   * How often a request is sent again, 5 by default: after waits of 0.5 s, 1 s, 2 s … up to 30 s, each ± 20 %, on top of
   * what the server asks to wait. Only what may pass is tried again, and only while nothing of the answer was given.
   */
  readonly retries?: number
  /**
   * The longest wait that a server may ask for before a request is sent again, 10 minutes by default; where it asks for
   * more, the request fails at once.
   */
  readonly maxRetryAfter?: Duration.Input
  /**
   * How long nothing at all may come, in milliseconds or as a Duration; 10 minutes by default, `Infinity` for no limit.
   * Comments that keep the connection open count as something.
   */
  readonly idleBytes?: Duration.Input
  /**
   * How long no text and no reasoning may come, whatever keeps the connection open; 30 minutes by default, `Infinity` for
   * no limit. Silence fails as `unreachable` before the first part, and as `interrupted` behind it.
   */
  readonly idleTokens?: Duration.Input
  /**
   * The largest event of an answer, or the largest answer of a server that does not stream, in UTF-16 code units;
   * 10 Mi by default.
   */
  readonly maxEventSize?: number
  /**
   * The most text and reasoning of an answer, in UTF-16 code units; 16 Mi by default. What is behind it is not read, and
   * the answer finishes with `length`: a server need not heed `maxTokens`, and a model may repeat itself for ever.
   */
  readonly maxAnswerSize?: number
  /** What sends requests; the global `fetch` by default, looked up at each request. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>
}

/** Provides a model. Throws a RangeError for a bad option. */
export const layer = (options: Options): Layer.Layer<TextModel> => Layer.succeed(TextModel, make(options))

/** Makes a model. Throws a RangeError for a bad option. */
export const make = (options: Options): TextModel => {
  const { model, api = "chat", prefill, finish = "required", retries = 5 } = options
  const { maxEventSize = 10 * 2 ** 20, maxAnswerSize = 16 * 2 ** 20 } = options
  Retry.requireInteger("retries", retries, 0)
  Retry.requireInteger("maxEventSize", maxEventSize, 1)
  Retry.requireInteger("maxAnswerSize", maxAnswerSize, 1)
  const maxRetryAfter = Retry.parseMaxRetryAfter(options.maxRetryAfter)
  const idleBytes = Retry.parseDuration("idleBytes", options.idleBytes ?? "10 minutes")
  const idleTokens = Retry.parseDuration("idleTokens", options.idleTokens ?? "30 minutes")
  const base = parseBase(options.baseUrl)
  const url = `${base.address}${api === "chat" ? "/chat/completions" : "/completions"}${base.query}`
  const headers = makeHeaders(options)
  const redact = makeRedact(options, base.query)

  // No error carries a cause: what lies behind may hold the request's headers. Its message says what is known.
  const fail: Fail = (reason, state, more = {}) => {
    // Cut before, because a server may send megabytes, and behind, because a secret must not be cut.
    const known = redact(state.slice(0, 4 * MAX_STATE_SIZE)).slice(0, MAX_STATE_SIZE)
    const message = `Cannot complete a request to ${model} at ${base.address}: ${known}`
    return new ModelError({ reason, message, ...more })
  }

  /** Sends a request, and gives the first parts of its answer, and what gives the others. */
  const attempt = (body: string): Effect.Effect<Begun, ModelError, Scope.Scope> =>
    Effect.gen(function* () {
      const reader = makeReader(makeParser(maxEventSize), finish, fail)
      const silence = yield* watch(
        { idleBytes, idleTokens },
        (limit, what) =>
          fail(reader.isBegun() ? "interrupted" : "unreachable", `${what} came for ${Duration.format(limit)}`)
      )
      const controller = yield* Effect.acquireRelease(
        Effect.sync(() => new AbortController()),
        (controller) => Effect.sync(() => controller.abort(LEFT))
      )
      // Taken out of the options first: some runtimes refuse a `fetch` that is called as a method.
      const fetch = options.fetch ?? globalThis.fetch
      const response = yield* silence.wait(
        () => send(fetch, url, { method: "POST", headers, body, signal: controller.signal }),
        (cause) => fail("unreachable", describe(cause))
      )
      if (!response.ok) return yield* readRefusal(response, silence, fail)
      // A web page is no model's answer, and asking again would not make it one.
      const type = response.headers.get("content-type") ?? ""
      if (type.startsWith("text/html")) return yield* fail("not-found", `the answer is ${type}`)
      const parts = yield* readParts(response, reader, silence, maxAnswerSize, fail)
      const first = yield* Pull.catchDone(parts, () => Effect.die("an answer ends with a part, or an error"))
      return { first, parts }
    })

  return {
    name: model,
    generate: (request) =>
      Stream.suspend(() => {
        if (api === "chat" && request.prefix && prefill === undefined) {
          const message = `Cannot continue a prefix: no \`prefill\` is set for ${model} at ${base.address}`
          return Stream.fail(new ModelError({ reason: "refused", message }))
        }
        const body = JSON.stringify(renderBody(request, options))
        // To retry the stream would be several stages more for all that comes behind the first parts.
        const begun = inFork(attempt(body)).pipe(
          Effect.retry(BACKOFF.pipe(
            Schedule.upTo({ times: retries }),
            Schedule.while(({ input }) => Retry.mayPass(input) && Retry.tooLong(input, maxRetryAfter) === undefined)
          )),
          Effect.mapError((error) => {
            const asked = Retry.tooLong(error, maxRetryAfter)
            return asked === undefined ? error : change(error, { message: `${error.message} (${asked})` })
          })
        )
        return Stream.unwrap(Effect.map(begun, ({ first, parts }) => {
          let isFirst = true
          return Stream.fromPull(Effect.succeed(Effect.suspend((): Parts => {
            if (!isFirst) return parts
            isFirst = false
            return Effect.succeed(first)
          })))
        }))
      })
  }
}

/** Gives an effect a scope within its own, which is closed at once where the effect fails. */
const inFork = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(yield* Effect.scope)
    return yield* Effect.onError(Scope.provide(effect, scope), (cause) => Scope.close(scope, Exit.failCause(cause)))
  })

const change = (
  { reason, message, status, retryAfter }: ModelError,
  changes: { readonly reason?: ModelError["reason"]; readonly message?: string }
): ModelError =>
  new ModelError({
    reason,
    message,
    ...status !== undefined && { status },
    ...retryAfter !== undefined && { retryAfter },
    ...changes
  })

/** Makes the error of a request, from its kind and what is the case. */
type Fail = (
  reason: ModelError["reason"],
  state: string,
  more?: { readonly status?: number; readonly retryAfter?: number }
) => ModelError

/** Why a request is aborted behind its end, or before it: made once, since an error takes as long as a short answer. */
const LEFT = new DOMException("The answer is not wanted any more", "AbortError")

/** The most of a state that a message shows, in UTF-16 code units. */
const MAX_STATE_SIZE = 1000

/** The most of a refusal's body that is read, in UTF-16 code units. */
const MAX_REFUSAL_SIZE = 64 * 2 ** 10

/** How long a refusal's body is waited for. */
const REFUSAL_PATIENCE = Duration.seconds(5)

// What the server asks to wait is added, not compared: many requests that were told the same then spread out.
const BACKOFF = Schedule.forever.pipe(
  Schedule.setInputType<ModelError>(),
  Schedule.modifyDelay(({ input, attempt }) =>
    Effect.map(Retry.backoff(attempt), (wait) => Duration.sum(wait, Duration.millis(input.retryAfter ?? 0)))
  )
)

// ---- silence

/** Waits for a server, and gives it up where it is silent for too long; the time its reader takes does not count. */
interface Silence {
  /** Waits for what a promise gives, or for the end of the patience. */
  readonly wait: <A>(
    promise: () => Promise<A>,
    onError: (cause: unknown) => ModelError
  ) => Effect.Effect<A, ModelError>
  /** Text is waited for from here on. */
  readonly expectText: () => void
  /** Text came, and none is waited for. */
  readonly textCame: () => void
}

/** Watches over a request: with one timer for each limit, since one for each wait would take longer than all else. */
const watch = (
  { idleBytes, idleTokens }: { readonly idleBytes: Duration.Duration; readonly idleTokens: Duration.Duration },
  silent: (limit: Duration.Duration, what: string) => ModelError
): Effect.Effect<Silence, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    let error: ModelError | undefined
    let giveUp: ((error: ModelError) => void) | undefined
    // Since when something is waited for.
    let bytes: number | undefined
    let text: number | undefined = clock.currentTimeMillisUnsafe()

    const watchOver = (limit: Duration.Duration, what: string, since: () => number | undefined) =>
      Effect.gen(function* () {
        for (;;) {
          const now = clock.currentTimeMillisUnsafe()
          const left = Duration.toMillis(limit) - (now - (since() ?? now))
          if (left > 0) yield* Effect.sleep(left)
          else {
            error ??= silent(limit, what)
            return giveUp?.(error)
          }
        }
      }).pipe(Effect.forkScoped, Effect.when(Effect.succeed(Duration.isFinite(limit))))

    yield* watchOver(idleBytes, "nothing", () => bytes)
    yield* watchOver(idleTokens, "no text", () => text)
    return {
      wait: <A>(promise: () => Promise<A>, onError: (cause: unknown) => ModelError) =>
        Effect.callback<A, ModelError>((resume) => {
          if (error !== undefined) return resume(Effect.fail(error))
          bytes = clock.currentTimeMillisUnsafe()
          giveUp = (error) => resume(Effect.fail(error))
          // What comes of it later is nobody's, once it was given up.
          promise().then((value) => {
            bytes = undefined
            resume(Effect.succeed(value))
          }, (cause) => resume(Effect.fail(onError(cause))))
        }),
      expectText: () => {
        text ??= clock.currentTimeMillisUnsafe()
      },
      textCame: () => {
        text = undefined
      }
    }
  })

// ---- the request

const parseBase = (baseUrl: string): { readonly address: string; readonly query: string } => {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new RangeError(`Cannot make a model: baseUrl is ${JSON.stringify(baseUrl)}, not an http address`)
  }
  if (url.username !== "" || url.password !== "") {
    throw new RangeError("Cannot make a model: baseUrl has a name or a password in it; use apiKey or headers")
  }
  return { address: url.origin + url.pathname.replace(/\/+$/, ""), query: url.search }
}

const makeHeaders = ({ apiKey, headers = {} }: Options): Headers => {
  const made = new Headers({ "accept": "text/event-stream, application/json", "content-type": "application/json" })
  const key = apiKey === undefined ? "" : Redacted.value(apiKey)
  const all = { ...(key === "" ? {} : { authorization: `Bearer ${key}` }), ...headers }
  for (const [name, value] of Object.entries(all)) {
    try {
      made.set(name, typeof value === "string" ? value : Redacted.value(value))
    } catch {
      // The platform's own error shows the value.
      throw new RangeError(`Cannot make a model: the header ${JSON.stringify(name)} has a character no header may have`)
    }
  }
  return made
}

/** Makes what keeps secrets out of messages: a server may repeat a key, and so may an error of `fetch`. */
const makeRedact = ({ apiKey, headers = {} }: Options, query: string): (text: string) => string => {
  const secrets = [apiKey ?? "", ...Object.values(headers)]
    .map((value) => typeof value === "string" ? "" : Redacted.value(value).trim())
    .concat(query)
    // A server that complains of a key does not repeat the word before it.
    .flatMap((secret) => [secret, secret.replace(/^(?:Bearer|Basic) +/i, "")])
    .filter((secret) => secret !== "")
  return (text) => secrets.reduce(hide, text)
}

/** Hides a secret in a text, escaped as in JSON or not, and the first part of one where the text breaks off inside it. */
const hide = (text: string, secret: string): string => {
  const hidden = text.replace(escapedPattern(secret), "<redacted>")
  if (secret.length <= TELLING) return hidden
  const at = [...hidden.matchAll(escapedPattern(secret.slice(0, TELLING)))].at(-1)?.index
  if (at === undefined) return hidden
  const rest = hidden.slice(at).replaceAll("\\", "").replace(/"$/, "")
  return secret.replaceAll("\\", "").startsWith(rest) ? `${hidden.slice(0, at)}<redacted>` : hidden
}

/** The fewest characters that a text does not have of a secret by chance. */
const TELLING = 8

/** Matches a text, escaped or not. A run of backslashes is entered at its beginning alone, or many would be quadratic. */
const escapedPattern = (text: string): RegExp =>
  new RegExp((/^[^\w\s]/.test(text) ? "(?<!\\\\)" : "") + text.replace(/[^\w\s]/g, "\\\\*\\$&"), "g")

const renderBody = (request: Request, options: Options): Record<string, unknown> => {
  const { model, api = "chat", maxTokensField = "max_tokens", body = {} } = options
  const { temperature, topP, seed, user } = request.sampling ?? {}
  // `JSON.stringify` leaves out what is undefined.
  return {
    model,
    ...(api === "chat" ? renderChat(request, options) : { prompt: renderPrompt(request, options) }),
    stream: true,
    stream_options: { include_usage: true },
    [maxTokensField]: request.maxTokens,
    temperature,
    top_p: topP,
    seed,
    user,
    ...body
  }
}

const renderChat = ({ messages, prefix }: Request, { prefill }: Options): Record<string, unknown> => {
  const sent = messages.map(({ role, content }) => ({ role, content }))
  if (!prefix) return { messages: sent }
  const last = { role: "assistant", content: prefix }
  return prefill === "prefix"
    ? { messages: [...sent, { ...last, prefix: true }] }
    : { messages: [...sent, last], continue_final_message: true, add_generation_prompt: false }
}

const renderPrompt = ({ messages, prefix = "", prompt }: Request, { template = Dialect.chatMl }: Options): string =>
  prompt ?? template(messages) + prefix

/**
 * Sends a request, and follows redirects to the same server: `fetch` by itself would carry every header but
 * `authorization` to another one.
 */
const send = async (
  fetch: (url: string, init: RequestInit) => Promise<Response>,
  url: string,
  init: RequestInit
): Promise<Response> => {
  for (let to = url, following = init, hops = 0;; hops++) {
    const response = await fetch(to, { ...following, redirect: "manual" })
    const next = locationOf(response, to)
    if (next === undefined || next.origin !== new URL(url).origin || hops === MAX_REDIRECTS) return response
    await response.body?.cancel()
    // Only these two ask for the same request again; behind the others its answer is to be fetched.
    if (response.status !== 307 && response.status !== 308) following = { ...init, method: "GET", body: null }
    to = next.href
  }
}

const MAX_REDIRECTS = 20

/** Where a response redirects to, if it does; only where its own address is known, that may be relative. */
const locationOf = ({ status, headers }: Response, from: string): URL | undefined => {
  const location = REDIRECTS.has(status) ? headers.get("location") : null
  const base = from === "" ? undefined : from
  return location !== null && URL.canParse(location, base) ? new URL(location, base) : undefined
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

// ---- what is no answer

const readRefusal = (response: Response, { wait }: Silence, fail: Fail): Effect.Effect<never, ModelError> =>
  Effect.gen(function* () {
    const { status } = response
    const start: Start = { text: "" }
    // The status alone says most: a body that breaks off or never ends is as good as what came of it.
    yield* wait(() => readStart(response, start), (cause) => fail("failed", describe(cause))).pipe(
      Effect.timeoutOption(REFUSAL_PATIENCE),
      Effect.ignore
    )
    const body = start.text.trim()
    const json = parseJson(body)
    const to = locationOf(response, response.url)
    const detail = to !== undefined
      ? `it redirects to ${to.origin}${to.pathname}; set baseUrl to where the server is`
      : json === undefined
      ? body
      : messageOf(json)
    const retryAfter = readRetryAfter(response.headers, yield* Clock.currentTimeMillis)
    return yield* fail(reasonOf(status, detail), detail === "" ? `HTTP ${status}` : `HTTP ${status}: ${detail}`, {
      status,
      ...(retryAfter === undefined ? {} : { retryAfter })
    })
  })

/** The start of a body, as far as it was read. */
interface Start {
  text: string
}

const readStart = async (response: Response, start: Start): Promise<void> => {
  const utf8 = new TextDecoder()
  for await (const bytes of response.body ?? []) {
    start.text += utf8.decode(bytes, { stream: true })
    if (start.text.length >= MAX_REFUSAL_SIZE) break
  }
}

/** What the server asks to wait, in milliseconds: Azure sends both headers, and one of them is 0. */
const readRetryAfter = (headers: Headers, now: number): number | undefined => {
  const after = headers.get("retry-after") ?? ""
  const waits = [
    parseFloat(headers.get("retry-after-ms") ?? ""),
    /^[\d.]+$/.test(after) ? parseFloat(after) * 1000 : Date.parse(after) - now
  ].filter((wait) => wait >= 0 && wait < Infinity)
  return waits.length === 0 ? undefined : Math.max(...waits)
}

const reasonOf = (status: number | undefined, detail: string): ModelError["reason"] => {
  switch (status) {
    case 400:
    case 413:
    case 422:
      return "refused"
    case 401:
    case 402: // no credit left: as with a bad key, no request passes
      return "unauthorized"
    case 403: // OpenRouter refuses a single request so, where a moderator does not like what is in it
      return MODERATED.test(detail) ? "refused" : "unauthorized"
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
    case 404:
      return "not-found"
    case 429:
      return "rate-limited"
    default:
      return "failed"
  }
}

/** What a moderator says of a request; that an account was flagged is something else. */
const MODERATED =
  /\brequires moderation\b|\b(?:input|prompt|content|request|messages?) (?:was|were|is|has been) flagged|\bcontent[ _-]?(?:filter|policy)/i

/** The message in an error's JSON, of the shapes that servers are known to send; else all of it. */
const messageOf = (json: unknown): string => {
  const whole = Array.isArray(json) ? at(json, 0) : json
  const error = at(whole, "error") ?? whole
  if (typeof error === "string") return error
  const message = [at(error, "message"), at(error, "detail"), at(error, "error_message")].map(textOf).find(Boolean)
  if (message === undefined) return renderJson(json)
  // OpenRouter's own words are "Provider returned error"; the provider's are in here.
  const raw = textOf(at(error, "metadata", "raw"))
  return raw === "" ? message : `${message}: ${raw}`
}

/** The status that an error in an answer names. */
const statusOf = (error: unknown): number | undefined =>
  [at(error, "code"), at(error, "status_code"), at(error, "status")].map(numberOf).find((status) =>
    status !== undefined
  )

/** What an error and the errors behind it say: `fetch failed` alone helps nobody. */
const describe = (cause: unknown): string => {
  const said: Array<string> = []
  for (let error = cause; error !== undefined && error !== null && said.length < 4; error = at(error, "cause")) {
    said.push(textOf(at(error, "message")) || textOf(at(error, "code")) || String(error))
  }
  return said.join(": ")
}

// ---- the answer

/** Gives the next parts of an answer. */
type Parts = Pull.Pull<Arr.NonEmptyReadonlyArray<Part>, ModelError>

/** An answer of which the first parts are there. */
interface Begun {
  readonly first: Arr.NonEmptyReadonlyArray<Part>
  readonly parts: Parts
}

/** Reads an answer: an array of parts for each read that has any. Leaving the stream closes the connection. */
const readParts = (
  { body }: Response,
  reader: Reader,
  { wait, expectText, textCame }: Silence,
  maxAnswerSize: number,
  fail: Fail
): Effect.Effect<Parts, never, Scope.Scope> =>
  Effect.gen(function* () {
    const bytes = (body ?? new Blob().stream()).getReader()
    yield* Effect.addFinalizer(() => Effect.promise(() => bytes.cancel().catch(() => {})))
    let over: Pull.Pull<never, ModelError> | undefined
    let size = 0
    let isBegun = false

    const give = (found: ReadonlyArray<Part | ModelError>): Parts => {
      const parts: Array<Part> = []
      for (const one of found) {
        if (one._tag === "ModelError") {
          // What may pass at another try, and broke off an answer that had begun, is one thing to whoever reads it.
          const isBroken = (isBegun || parts.length > 0) && Retry.mayPass(one)
          over = Effect.fail(isBroken ? change(one, { reason: "interrupted" }) : one)
          break
        }
        parts.push(one)
        if (one._tag === "Finish" || (size += one.text.length) <= maxAnswerSize) continue
        const { message } = fail("failed", `the answer is larger than ${maxAnswerSize} characters`)
        parts.push({ _tag: "Finish", reason: "length", error: message })
        over = Cause.done()
        break
      }
      if (!Arr.isReadonlyArrayNonEmpty(parts)) return over ?? step
      textCame()
      isBegun = true
      return Effect.succeed(parts)
    }
    const end = (): Parts => {
      over = Cause.done()
      return give(reader.end())
    }
    const step: Parts = Effect.matchEffect(
      wait(() => bytes.read(), (cause) => fail("interrupted", `the answer broke off: ${describe(cause)}`)),
      {
        onSuccess: ({ done, value }) => done ? end() : give(reader.feed(value)),
        onFailure: (error) => {
          reader.breakOff(error)
          return end()
        }
      }
    )
    return Effect.suspend(() => {
      if (over !== undefined) return over
      expectText()
      return step
    })
  })

/** Whether the answer is JSON as a whole or a stream of events: servers mislabel both, so its first character decides. */
const makeParser = (maxEventSize: number): ServerSentEvents.Parser => {
  let parser: ServerSentEvents.Parser | undefined
  return {
    feed: (chunk) => {
      if (parser !== undefined) return parser.feed(chunk)
      // Blanks come first where DeepSeek keeps a connection open, and mean nothing in either.
      const start = chunk.trimStart()
      if (start === "") return []
      parser = start.startsWith("{") ? makeWhole(maxEventSize) : ServerSentEvents.make({ maxEventSize })
      return parser.feed(start)
    },
    end: () => parser?.end() ?? []
  }
}

/** Makes a parser that takes all text for the data of one event. */
const makeWhole = (maxEventSize: number): ServerSentEvents.Parser => {
  const chunks: Array<string> = []
  let size = 0
  return {
    feed: (chunk) => {
      size += chunk.length
      if (size > maxEventSize) return [{ name: "error", data: `the answer is larger than ${maxEventSize} characters` }]
      chunks.push(chunk)
      return []
    },
    end: () => [{ name: "message", data: chunks.join("") }]
  }
}

/** Reads an answer's bytes: its parts, and the error that is the end of it. */
interface Reader {
  readonly feed: (bytes: Uint8Array) => Array<Part | ModelError>
  /** Ends the answer early, because of an error. */
  readonly breakOff: (error: ModelError) => void
  readonly end: () => Array<Part | ModelError>
  /** Whether there was any text. */
  readonly isBegun: () => boolean
}

const makeReader = (parser: ServerSentEvents.Parser, finish: "required" | "optional", fail: Fail): Reader => {
  const utf8 = new TextDecoder()
  let reason: Finish["reason"] | undefined
  let usage: unknown
  let timings: unknown
  let isBegun = false
  let isDone = false
  // The error that ended the answer, or that came behind the reason for its end and undoes nothing.
  let late: ModelError | undefined
  const frame = Frame.make()
  let framed: "Text" | "Reasoning" = "Text"

  const readEvent = ({ name, data }: ServerSentEvents.ServerEvent): Array<Part | ModelError> => {
    const text = name === "message" ? frame.find(data) : undefined
    if (text !== undefined) return [{ _tag: framed, text }]
    if (data.trim() === "[DONE]") {
      isDone = true
      return []
    }
    const json = parseJson(data)
    const choice = at(json, "choices", 0)
    const error = name === "error"
      ? json ?? data
      : json === undefined
      ? `an event is not JSON: ${JSON.stringify(data)}`
      : at(json, "error") ?? at(choice, "error")
    if (error !== undefined && error !== null) {
      const said = messageOf(error)
      const failure = fail(reasonOf(statusOf(at(error, "error") ?? error), said), said)
      if (reason === undefined) return [failure]
      // OpenRouter repeats `length` as an error.
      late ??= failure
    }
    usage = at(json, "usage") ?? at(json, "x_groq", "usage") ?? usage
    timings = at(json, "timings") ?? timings
    const said = textOf(at(choice, "finish_reason"))
    if (said !== "") reason = FINISH_REASONS.get(said) ?? "other"
    // Only one of them counts, because Together sends the same text as `text` and in `delta`.
    const parts = readChoice(choice)
    isBegun ||= parts.length > 0
    const [first] = parts
    if (name === "message" && parts.length === 1 && first !== undefined && first._tag !== "Finish") {
      if (frame.learn(data, textAlone)) framed = first._tag
    }
    return parts
  }

  // `[DONE]` proves nothing, unless it is all that a server ever says.
  const finalReason = (): Finish["reason"] | undefined =>
    reason ?? (finish === "optional" && isDone && isBegun ? "stop" : undefined)

  return {
    feed: (bytes) => {
      const found: Array<Part | ModelError> = []
      for (const event of parser.feed(utf8.decode(bytes, { stream: true }))) {
        for (const part of readEvent(event)) found.push(part)
      }
      return found
    },
    breakOff: (error) => {
      late ??= error
    },
    end: () => {
      // What a broken connection tore is no fault of its own.
      const rest = [...parser.feed(utf8.decode()), ...parser.end()].filter((event) => !isTorn(event)).flatMap(readEvent)
      const reason = finalReason()
      if (reason === undefined) {
        return [...rest, late ?? fail("interrupted", "the answer ended without a finish reason")]
      }
      const read = readUsage(usage, timings)
      return [...rest, {
        _tag: "Finish",
        reason,
        ...(read === undefined ? {} : { usage: read }),
        ...(late === undefined ? {} : { error: late.message })
      }]
    },
    isBegun: () => isBegun
  }
}

/** The text of an event's JSON that says nothing else; undefined where it says more. */
const textAlone = (data: string): string | undefined => {
  const json = parseJson(data)
  const choice = at(json, "choices", 0)
  const said = [at(json, "error"), at(choice, "error"), at(json, "usage"), at(json, "timings"), at(json, "x_groq")]
  if (said.some((value) => value !== undefined && value !== null) || at(choice, "finish_reason")) return undefined
  const [part, ...more] = readChoice(choice)
  return part === undefined || part._tag === "Finish" || more.length > 0 ? undefined : part.text
}

const FINISH_REASONS: ReadonlyMap<string, Finish["reason"]> = new Map([
  ["stop", "stop"],
  ["eos", "stop"],
  ["eos_token", "stop"],
  ["stop_sequence", "stop"],
  ["end_turn", "stop"],
  ["length", "length"],
  ["model_length", "length"],
  ["max_tokens", "length"],
  ["content_filter", "filter"]
])

/** Whether an event at the end of an answer is not all there. */
const isTorn = ({ name, data }: ServerSentEvents.ServerEvent): boolean =>
  name !== "error" && data.trim() !== "[DONE]" && parseJson(data) === undefined

/** Reads the parts of a choice: of its delta, of its whole message, or of a completion's text. */
const readChoice = (choice: unknown): Array<Part> => {
  const delta = at(choice, "delta") ?? at(choice, "message") ?? choice
  // Servers repeat the same reasoning in other fields, so that only the first of them counts.
  const reasoning = textOf(at(delta, "reasoning_content")) || textOf(at(delta, "reasoning")) ||
    flatten(at(delta, "reasoning_details"))
  const content = at(delta, "content") ?? at(delta, "text")
  const parts: Array<Part> = []
  const add = (_tag: "Text" | "Reasoning", text: string): void => {
    if (text !== "") parts.push({ _tag, text })
  }
  add("Reasoning", reasoning)
  for (const item of Array.isArray(content) ? content : [content]) {
    if (at(item, "type") === "thinking") add("Reasoning", flatten(at(item, "thinking")))
    else add("Text", flatten(item))
  }
  return parts
}

/** The text in a string, in an object's `text` or `summary`, or in an array of these. No server nests arrays deeper. */
const flatten = (value: unknown): string => {
  const items: ReadonlyArray<unknown> = Array.isArray(value) ? value.flat(2) : [value]
  return items.map((item) => textOf(item) || textOf(at(item, "text")) || textOf(at(item, "summary"))).join("")
}

/** Reads the server's figures; llama.cpp's `timings` count the cached tokens apart. */
const readUsage = (usage: unknown, timings: unknown): Usage | undefined => {
  const cachedTokens = firstCount(
    at(usage, "prompt_tokens_details", "cached_tokens"),
    at(usage, "prompt_cache_hit_tokens"),
    at(usage, "cached_tokens"),
    at(timings, "cache_n")
  )
  const promptTokens = firstCount(at(timings, "prompt_n"))
  const inputTokens = firstCount(at(usage, "prompt_tokens")) ??
    (promptTokens === undefined ? undefined : promptTokens + (cachedTokens ?? 0))
  const outputTokens = firstCount(at(usage, "completion_tokens"), at(timings, "predicted_n"))
  if (inputTokens === undefined || outputTokens === undefined) return undefined
  const reasoningTokens = firstCount(
    at(usage, "completion_tokens_details", "reasoning_tokens"),
    at(usage, "reasoning_tokens")
  )
  return {
    inputTokens,
    outputTokens,
    ...(reasoningTokens === undefined ? {} : { reasoningTokens }),
    ...(cachedTokens === undefined ? {} : { cachedTokens })
  }
}

// ---- JSON of which nothing is known

/** Renders JSON that a server sent; what is nested too deep to be rendered is no message to anyone. */
const renderJson = (json: unknown): string => {
  try {
    return JSON.stringify(json)
  } catch {
    return "JSON that is nested too deep to be shown"
  }
}

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The value of a key, or of a key of that, or undefined. Two keys and no list of them, which would take longer. */
const at = (value: unknown, key: string | number, inner?: string | number): unknown => {
  if (typeof value !== "object" || value === null) return undefined
  // SAFETY: any key may be read from an object, and what comes out is unknown again.
  const found = (value as Readonly<Record<string | number, unknown>>)[key]
  return inner === undefined ? found : at(found, inner)
}

const textOf = (value: unknown): string => typeof value === "string" ? value : ""

const numberOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined

/** The first of some values that may count something: what is negative, broken or beyond all counting is no figure. */
const firstCount = (...values: ReadonlyArray<unknown>): number | undefined =>
  values.map(numberOf).find((value) => Number.isSafeInteger(value) && value! >= 0)
