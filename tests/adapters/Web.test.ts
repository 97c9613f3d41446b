import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
// @ts-types="../support/ai.d.ts"
import { generateText, streamText } from "ai"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import assert from "node:assert/strict"
import { test } from "node:test"
import OpenAI from "openai"
import * as OpenAi from "../../lib/adapters/OpenAi.ts"
import * as Web from "../../lib/adapters/Web.ts"
import * as Reasoner from "../../lib/Reasoner.ts"
import * as State from "../../lib/State.ts"
import * as TextModel from "../../lib/TextModel.ts"
import { delta, events, streamed } from "../support/fetch.ts"
import { cutOff, scripted } from "../support/model.ts"
import { listen, parseEvents } from "../support/web.ts"

// ---- asking

type Fetch = (request: Request) => Promise<Response>

/** Sends a body as JSON. */
const post = (
  fetch: Fetch,
  body: unknown,
  { path = "/v1/chat/completions", headers = {}, signal }: {
    readonly path?: string
    readonly headers?: Readonly<Record<string, string>>
    readonly signal?: AbortSignal
  } = {}
): Promise<Response> =>
  fetch(
    new Request(`http://localhost${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...signal && { signal }
    })
  )

const question = { model: "any", messages: [{ role: "user", content: "What is 6 × 7?" }] }

/** A model that needs two iterations, and says what they cost. */
const patient: ReadonlyArray<TextModel.Reply> = [
  [
    { _tag: "Text", text: "<think>6 × 7 is " },
    { _tag: "Text", text: "6 × 5 + 6 × 2.</think><summary>* 30 + 12</summary>" },
    { _tag: "Finish", reason: "stop", usage: { inputTokens: 100, outputTokens: 40 } }
  ],
  [
    { _tag: "Text", text: "<think>30 + 12 is 42.</think>The answer " },
    { _tag: "Text", text: "is 42." },
    { _tag: "Finish", reason: "stop", usage: { inputTokens: 110, outputTokens: 20 } }
  ]
]
const reasoning = "6 × 7 is 6 × 5 + 6 × 2.\n\n30 + 12 is 42."
const usage = {
  prompt_tokens: 210,
  completion_tokens: 60,
  total_tokens: 270,
  // "The answer is 42." counts as five tokens.
  completion_tokens_details: { reasoning_tokens: 55 }
}

/** A model that writes a little, and then nothing; it tells when it was left. */
const endless = (...texts: ReadonlyArray<string>) => {
  let leave = () => {}
  const left = new Promise<void>((resolve) => leave = resolve)
  const parts = Stream.fromIterable(texts.map((text) => ({ _tag: "Text", text }) as const)).pipe(Stream.rechunk(1))
  const generate = () => Stream.concat(parts, Stream.never).pipe(Stream.ensuring(Effect.sync(() => leave())))
  return { layer: Layer.succeed(TextModel.TextModel, { name: "endless", generate }), left }
}

const modelError = (reason: TextModel.ModelError["reason"], retryAfter?: number): TextModel.ModelError =>
  new TextModel.ModelError({
    reason,
    message: `Cannot complete a request: ${reason}`,
    ...retryAfter !== undefined && { retryAfter }
  })

interface Chunk {
  readonly choices: ReadonlyArray<{
    readonly delta: { readonly role?: string; readonly content?: string; readonly reasoning_content?: string }
    readonly finish_reason: string | null
  }>
  readonly usage?: unknown
  readonly error?: { readonly message: string; readonly code: string }
}

/** What a streamed chat comes to. */
const readChunks = async (response: Response) => {
  assert.equal(response.status, 200)
  const data = parseEvents(await response.text()).map(({ data }) => data)
  const chunks: ReadonlyArray<Chunk> = data.filter((data) => data !== "[DONE]").map((data) => JSON.parse(data))
  const deltas = chunks.flatMap(({ choices = [] }) => choices).map(({ delta }) => delta)
  return {
    chunks,
    content: deltas.map(({ content }) => content).join(""),
    reasoning: deltas.map(({ reasoning_content }) => reasoning_content).join(""),
    finishes: chunks.flatMap(({ choices = [] }) => choices).flatMap(({ finish_reason }) => finish_reason ?? []),
    error: chunks.at(-1)?.error,
    isDone: data.at(-1) === "[DONE]"
  }
}

/** The status of a refusal, and its error. */
const readError = async (response: Response) => {
  const { error } = await response.json()
  assert.deepEqual(Object.keys(error), ["message", "type", "param", "code"])
  assert.match(error.message, /^Cannot \w+/)
  return { status: response.status, ...error }
}

// ---- the protocol

test("chat: a whole answer has the reasoning, the conclusion and what they cost", async () => {
  const response = await post(Web.handler(scripted(...patient).layer), question)
  assert.equal(response.status, 200)
  const { id, created, ...rest } = await response.json()
  assert.match(id, /^chatcmpl-./)
  assert.ok(Number.isInteger(created))
  assert.deepEqual(rest, {
    object: "chat.completion",
    model: "scripted",
    choices: [{
      index: 0,
      message: { role: "assistant", content: "The answer is 42.", reasoning_content: reasoning, refusal: null },
      logprobs: null,
      finish_reason: "stop"
    }],
    usage
  })
})

test("chat: a streamed answer begins with the role, and ends with the reason, the usage and [DONE]", async () => {
  const body = { ...question, stream: true, stream_options: { include_usage: true } }
  const response = await post(Web.handler(scripted(...patient).layer), body)
  assert.equal(response.headers.get("content-type"), "text/event-stream")
  assert.match(response.headers.get("cache-control")!, /\bno-transform\b/)
  const { chunks, isDone, ...read } = await readChunks(response)
  assert.deepEqual(read, { content: "The answer is 42.", reasoning, finishes: ["stop"], error: undefined })
  assert.deepEqual(chunks[0]!.choices, [
    { index: 0, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null }
  ])
  assert.deepEqual(chunks.at(-2)!.choices, [{ index: 0, delta: {}, logprobs: null, finish_reason: "stop" }])
  assert.deepEqual([chunks.at(-1)!.choices, chunks.at(-1)!.usage], [[], usage])
  assert.ok(chunks.slice(0, -1).every(({ usage }) => usage === null))
  assert.ok(isDone)
})

test("chat: without include_usage, no chunk has any", async () => {
  const { chunks } = await readChunks(await post(Web.handler(scripted("42").layer), { ...question, stream: true }))
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !("usage" in chunk)))
})

test("chat: the messages are the question, and sampling is passed on", async () => {
  const { layer, requests } = scripted(...patient)
  const body = {
    messages: [
      { role: "developer", content: "Be brief." },
      { role: "user", content: "Hello" },
      { role: "assistant", content: "Hi." },
      { role: "user", content: [{ type: "text", text: "What is " }, { type: "text", text: "6 × 7?" }] }
    ],
    temperature: 0.5,
    top_p: null,
    seed: 7,
    user: "ada"
  }
  await post(Web.handler(layer, { sampling: { temperature: 1, topP: 0.9 } }), body)
  assert.equal(requests.length, 2)
  for (const { messages, sampling } of requests) {
    assert.deepEqual(messages.map(({ role }) => role), ["system", "user", "assistant", "user"])
    assert.ok(messages[0]!.content.startsWith("Be brief.\n\n"))
    assert.deepEqual(messages.slice(1, 3).map(({ content }) => content), ["Hello", "Hi."])
    assert.ok(messages[3]!.content.startsWith("What is 6 × 7?"))
    assert.deepEqual(sampling, { temperature: 0.5, topP: 0.9, seed: 7, user: "ada" })
  }
  assert.match(requests[1]!.messages[3]!.content, /\* 30 \+ 12/)
})

test("chat: max_completion_tokens, or max_tokens, limits all iterations together", async () => {
  for (const field of ["max_completion_tokens", "max_tokens"]) {
    const { layer, requests } = scripted([
      { _tag: "Text", text: "<think>a</think><summary>b</summary>" },
      { _tag: "Finish", reason: "stop", usage: { inputTokens: 5000, outputTokens: 2000 } }
    ])
    const response = await post(Web.handler(layer), { ...question, [field]: 3000 })
    const { choices: [choice] } = await response.json()
    assert.deepEqual([choice.finish_reason, choice.message.content], ["length", ""])
    assert.deepEqual(requests.map(({ maxTokens }) => maxTokens), [3000, 1000])
  }
  const { layer, requests } = scripted("42")
  await post(Web.handler(layer, { limits: { tokens: 500 } }), { ...question, max_tokens: 3000 })
  assert.equal(requests[0]!.maxTokens, 500)
})

test("chat: content never holds what was given up", async () => {
  const replies = [cutOff("<think>a</think>The wrong answ"), "<think>b</think>The right one."]
  const layer = () => scripted(...replies).layer
  const options: Web.Options = { repairs: ["sample"] }
  const { content, reasoning, finishes } = await readChunks(
    await post(Web.handler(layer(), options), { ...question, stream: true })
  )
  assert.deepEqual([content, reasoning, finishes], ["The right one.", "a\n\nb", ["stop"]])
  const { choices: [{ message }] } = await (await post(Web.handler(layer(), options), question)).json()
  assert.deepEqual([message.content, message.reasoning_content], ["The right one.", "a\n\nb"])
})

test("chat: a conclusion that goes on where it was cut off is whole", async () => {
  const layer = scripted(cutOff("<think>a</think>The ans"), "wer").layer
  const { content, reasoning } = await readChunks(await post(Web.handler(layer), { ...question, stream: true }))
  assert.deepEqual([content, reasoning], ["The answer", "a"])
})

test("chat: text is reasoning where only its closing tag comes", async () => {
  const layer = scripted([
    { _tag: "Text", text: "6 × 7 " },
    { _tag: "Text", text: "is 42.</think>" },
    { _tag: "Text", text: "42" },
    { _tag: "Finish", reason: "stop" }
  ]).layer
  const { content, reasoning } = await readChunks(await post(Web.handler(layer), { ...question, stream: true }))
  assert.deepEqual([content, reasoning], ["42", "6 × 7 is 42."])
})

test("chat: no reasoning is null", async () => {
  const { choices: [{ message }] } = await (await post(Web.handler(scripted("42").layer), question)).json()
  assert.deepEqual([message.content, message.reasoning_content], ["42", null])
})

test("chat: deltas are sent at once, and what is held back sends comments", async () => {
  const { layer, left } = endless("<think>6 × 7", " is 42.</think>", "The answer ")
  const response = await post(Web.handler(layer), { ...question, stream: true })
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  const next = async (): Promise<string> => (await reader.read()).value ?? ""
  const [role, first] = parseEvents(await next()).map(({ data }) => JSON.parse(data).choices[0].delta)
  assert.deepEqual([role.role, first.reasoning_content], ["assistant", "6 × 7"])
  assert.match(await next(), /"reasoning_content":" is 42\."/)
  assert.equal(await next(), ":\n\n")
  await reader.cancel()
  await left
})

test("chat: what a trajectory comes to is the finish reason, or an error", async () => {
  const summary = "<think>a</think><summary>b</summary>"
  const cases: ReadonlyArray<readonly [Web.Options, TextModel.Reply, string]> = [
    [{ limits: { iterations: 1 } }, summary, "length"],
    [{ repairs: [] }, cutOff("<think>a</think>4"), "length"],
    [{}, summary, "NoProgress"],
    [{ repairs: [] }, "<think>a", "Malformed"],
    [{ repairs: [] }, "", "Empty"]
  ]
  for (const [options, reply, expected] of cases) {
    const whole = await post(Web.handler(scripted(reply).layer, options), question)
    const streamed = await post(Web.handler(scripted(reply).layer, options), { ...question, stream: true })
    if (expected === "length") {
      const { choices: [{ message, finish_reason }] } = await whole.json()
      assert.deepEqual([message.content, finish_reason], ["", expected])
      const { content, finishes, isDone } = await readChunks(streamed)
      assert.deepEqual([content, finishes, isDone], ["", [expected], true])
      continue
    }
    assert.equal(whole.headers.get("x-should-retry"), "false")
    const { status, type, code } = await readError(whole)
    assert.deepEqual([status, type, code], [422, "server_error", expected])
    if (expected === "Empty") {
      assert.equal((await readError(streamed)).code, expected)
      continue
    }
    const { error, finishes, isDone, content } = await readChunks(streamed)
    assert.deepEqual([error?.code, finishes, isDone, content], [expected, [], false, ""])
  }
})

test("chat: a forced conclusion is content, and finishes with length", async () => {
  const layer = scripted("<think>a</think><summary>b</summary>", "Perhaps 42.").layer
  const options: Web.Options = { limits: { iterations: 1 }, conclude: "force" }
  const { choices: [{ message, finish_reason }] } = await (await post(Web.handler(layer, options), question)).json()
  assert.deepEqual([message.content, finish_reason], ["Perhaps 42.", "length"])
})

test("chat: an error of the model's server is a status, or the last event", async () => {
  const cases: ReadonlyArray<readonly [TextModel.ModelError["reason"], own: number, passedOn: number]> = [
    ["refused", 400, 400],
    ["rate-limited", 429, 429],
    ["unauthorized", 502, 401],
    ["not-found", 502, 404],
    ["unreachable", 502, 502],
    ["failed", 502, 502],
    ["interrupted", 502, 502]
  ]
  for (const [reason, own, passedOn] of cases) {
    const { layer } = scripted([modelError(reason, 1500)])
    const options: Web.Options = { repairs: [], errors: "show" }
    for (const stream of [false, true]) {
      const response = await post(Web.handler(layer, options), { ...question, stream })
      assert.equal(response.headers.get("retry-after"), "2")
      const { status, code, message } = await readError(response)
      assert.deepEqual([status, code, message], [own, reason, `Cannot reason: Cannot complete a request: ${reason}`])
      assert.equal((await post(Web.handler(() => layer, options), { ...question, stream })).status, passedOn)
    }
    const { layer: late } = scripted([{ _tag: "Text", text: "<think>a" }, modelError(reason)])
    const { error, reasoning, finishes, isDone } = await readChunks(
      await post(Web.handler(late, options), { ...question, stream: true })
    )
    assert.deepEqual([error?.code, reasoning, finishes, isDone], [reason, "a", [], false])
  }
})

// ---- what is refused

test("chat: what is not supported is refused by name, and what asks for nothing is not", async () => {
  const { layer, requests } = scripted("42")
  const fetch = Web.handler(layer)
  const refused: ReadonlyArray<readonly [field: string, value: unknown, ...allowed: ReadonlyArray<unknown>]> = [
    ["n", 2, 1],
    ["tools", [{ type: "function", function: { name: "f" } }], []],
    ["tool_choice", "required", "none", "auto"],
    ["functions", [{ name: "f" }], []],
    ["stop", "\n", []],
    ["response_format", { type: "json_object" }, { type: "text" }],
    ["logprobs", true, false],
    ["top_logprobs", 2, 0],
    ["audio", { voice: "alloy" }],
    ["modalities", ["text", "audio"], ["text"]],
    ["logit_bias", { 50256: -100 }, {}],
    ["presence_penalty", 0.5, 0],
    ["frequency_penalty", 0.5, 0],
    ["stream_options.include_obfuscation", true, false]
  ]
  const withField = (field: string, value: unknown): unknown => {
    const [name, inner] = field.split(".")
    return { ...question, [name!]: inner === undefined ? value : { [inner]: value } }
  }
  for (const [field, value, ...allowed] of refused) {
    const { status, type, param, message } = await readError(await post(fetch, withField(field, value)))
    assert.deepEqual([status, type, param], [400, "invalid_request_error", field])
    assert.ok(message.includes(field))
    for (const value of [null, ...allowed]) {
      assert.equal((await post(fetch, withField(field, value))).status, 200, field)
    }
  }
  const asked = requests.length
  assert.equal((await post(fetch, { ...question, store: true, reasoning_effort: "high", metadata: {} })).status, 200)
  assert.equal(requests.length, asked + 1)
})

test("chat: a field of the wrong kind is refused by its path", async () => {
  const { layer, requests } = scripted("42")
  const message = (content: unknown, role = "user"): unknown => ({
    messages: [...question.messages, { role, content }]
  })
  const cases: ReadonlyArray<readonly [body: unknown, param: string | null]> = [
    [{}, "messages"],
    [{ messages: [] }, "messages"],
    [{ messages: "Hello" }, "messages"],
    [message([{ type: "image_url", image_url: { url: "data:," } }]), "messages[1].content[0].type"],
    [message(null), "messages[1].content"],
    [message("42", "tool"), "messages[1].role"],
    [message("42", "assistant"), "messages"],
    [message("42", "developer"), "messages"],
    [
      { messages: [{ role: "assistant", content: "", tool_calls: [{}] }, ...question.messages] },
      "messages[0].tool_calls"
    ],
    [{ ...question, temperature: "hot" }, "temperature"],
    [{ ...question, seed: 1.5 }, "seed"],
    [{ ...question, max_completion_tokens: 0 }, "max_completion_tokens"],
    [{ ...question, stream: "yes" }, "stream"],
    [[], null],
    ["{", null]
  ]
  for (const [body, expected] of cases) {
    const { status, param } = await readError(await post(Web.handler(layer), body))
    assert.deepEqual([status, param], [400, expected], JSON.stringify(body))
  }
  assert.equal(requests.length, 0)
})

test("handler: addresses, methods, types and sizes that it does not take", async () => {
  const fetch = Web.handler(scripted("42").layer, { maxBodySize: 1000 })
  const send = (path: string, init: RequestInit) => fetch(new Request(`http://localhost${path}`, init))
  assert.equal((await readError(await send("/v1/embeddings", { method: "POST" }))).status, 404)
  const get = await send("/v1/chat/completions", { method: "GET" })
  assert.deepEqual([(await readError(get)).status, get.headers.get("allow")], [405, "POST"])
  const list = await send("/v1/models", { method: "POST", body: "{}" })
  assert.deepEqual([(await readError(list)).status, list.headers.get("allow")], [405, "GET"])
  assert.equal((await readError(await send("/v1/chat/completions", { method: "OPTIONS" }))).status, 405)
  const text = await send("/v1/chat/completions", { method: "POST", body: JSON.stringify(question) })
  assert.equal((await readError(text)).status, 415)
  assert.equal((await post(fetch, question, { path: "/any/prefix/v1/chat/completions" })).status, 200)

  const long = { ...question, metadata: { note: "x".repeat(1000) } }
  assert.equal((await readError(await post(fetch, long))).status, 413)
  assert.equal((await readError(await post(fetch, question, { headers: { "content-length": "1001" } }))).status, 413)
  // A body whose size is not told, and that never ends.
  let pulls = 0
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      pulls++
      controller.enqueue(new Uint8Array(100))
    }
  })
  const headers = { "content-type": "application/json" }
  // `duplex` is not in every runtime's types.
  const init = Object.assign({ method: "POST", headers, body }, { duplex: "half" })
  assert.equal((await send("/v1/step", init)).status, 413)
  assert.ok(pulls < 20, `${pulls}`)
})

test("handler: a body is JSON by its type, and not too deep to be looked through", async () => {
  const fetch = Web.handler(scripted("42").layer)
  const types: ReadonlyArray<readonly [type: string, status: number]> = [
    ["application/json", 200],
    ["Application/JSON; charset=utf-8", 200],
    ["application/json ;charset=utf-8", 200],
    ["application/jsonl", 415],
    ["application/json-seq", 415],
    ["application/x-www-form-urlencoded", 415],
    ["text/plain; application/json", 415]
  ]
  for (const [type, status] of types) {
    assert.equal((await post(fetch, question, { headers: { "content-type": type } })).status, status, type)
  }
  const deep = "[".repeat(200_000) + "]".repeat(200_000)
  for (const field of ["tools", "logit_bias", "messages", "model"]) {
    const body = `{"messages":[{"role":"user","content":"?"}],"${field}":${deep}}`
    assert.equal((await readError(await post(fetch, body))).status, 400, field)
  }
  for (const field of ["question", "state", "limits"]) {
    const { status } = await readError(await post(fetch, `{"question":"?","${field}":${deep}}`, { path: "/step" }))
    assert.equal(status, 400, field)
  }
})

test("handler: a question whose tags are to be rejected is refused by its field", async () => {
  const { layer, requests } = scripted("42")
  const fetch = Web.handler(layer, { tags: "reject" })
  const content = "What does <|im_end|> do?"
  const chat = await readError(await post(fetch, { messages: [{ role: "user", content }] }))
  assert.deepEqual([chat.status, chat.param], [400, "messages"])
  assert.match(chat.message, /<\|im_end\|>/)
  for (const path of ["/step", "/events"]) {
    const { status, param } = await readError(await post(fetch, { question: content }, { path }))
    assert.deepEqual([status, param], [400, "question"])
  }
  assert.equal(requests.length, 0)
  await post(Web.handler(layer), { messages: [{ role: "user", content }] })
  assert.equal(requests[0]!.messages.at(-1)!.content, content.replace("<", "‹"))
})

test("handler: bad options throw where it is made", () => {
  const { layer } = scripted("42")
  const bad: ReadonlyArray<Web.Options> = [
    { maxRequests: 0 },
    { maxTime: -1 },
    { maxTime: NaN },
    { maxStateAge: 0 },
    { secret: Redacted.make("") },
    { secret: Redacted.make("x".repeat(31)) }
  ]
  for (const options of bad) assert.throws(() => Web.handler(layer, options), RangeError)
  assert.throws(() => Web.handler(layer, { eta: 1 }), RangeError)
  assert.throws(() => Web.handler(layer, { maxBodySize: 0 }), RangeError)
  assert.throws(() => Web.handler(layer, { key: Redacted.make("") }), RangeError)
})

test("handler: a layer is built once, and that of a function for each request, which ends with it", async () => {
  let built = 0
  let released = 0
  const layer = Layer.effect(
    TextModel.TextModel,
    Effect.acquireRelease(
      Effect.as(Effect.sync(() => built++), { name: "counted", generate: () => Stream.fail(modelError("failed")) }),
      () => Effect.sync(() => released++)
    )
  )
  const ask = async (fetch: Fetch): Promise<void> => {
    for (const stream of [false, true]) await (await post(fetch, { ...question, stream })).text()
    for (const path of ["/step", "/events"]) await (await post(fetch, { question: "?" }, { path })).text()
    await (await fetch(new Request("http://localhost/models"))).text()
  }
  await ask(Web.handler(layer))
  assert.deepEqual([built, released], [1, 0])
  await ask(Web.handler(() => layer))
  assert.deepEqual([built, released], [6, 5])
})

test("models: the model's name", async () => {
  const response = await Web.handler(scripted("42").layer)(new Request("http://localhost/v1/models"))
  assert.deepEqual(await response.json(), {
    object: "list",
    data: [{ id: "scripted", object: "model", created: 0, owned_by: "inftythink" }]
  })
})

// ---- keys and origins

test("key: only those who know it may ask, and no answer shows it", async () => {
  const { layer, requests } = scripted("42")
  const fetch = Web.handler(layer, { key: Redacted.make("secret") })
  const wrong = ["", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "Bearer Secret", "Basic secret", "secret"]
  for (const authorization of wrong) {
    const response = await post(fetch, question, { headers: { authorization } })
    const { status, code, message } = await readError(response)
    assert.deepEqual([status, code], [401, "invalid_api_key"])
    assert.doesNotMatch(message, /secre/i)
  }
  // Keys are compared by their hashes, of which some begin or end alike.
  for (let i = 0; i < 1000; i++) {
    const headers = { authorization: `Bearer ${i}` }
    assert.equal((await fetch(new Request("http://localhost/v1/models", { headers }))).status, 401)
  }
  assert.equal((await post(fetch, question)).status, 401)
  assert.equal((await fetch(new Request("http://localhost/v1/models"))).status, 401)
  assert.equal(requests.length, 0)
  assert.equal((await post(fetch, question, { headers: { authorization: "Bearer secret" } })).status, 200)
})

test("key: the client's key and model reach the model's server, and no error shows the key, even where it is shown", async () => {
  const authorizations: Array<string | null> = []
  const clients: Array<Web.Client> = []
  await using upstream = await listen((request) => {
    authorizations.push(request.headers.get("authorization"))
    return new Response(`bad key: ${request.headers.get("authorization")}`, { status: 401 })
  })
  const fetch = Web.handler((client) => {
    clients.push(client)
    return OpenAi.layer({ baseUrl: `${upstream.url}/v1`, model: client.model ?? "none", apiKey: client.key })
  }, { errors: "show" })
  const response = await post(fetch, question, { headers: { authorization: "Bearer mine" } })
  const { status, message } = await readError(response)
  assert.equal(status, 401)
  assert.match(message, /bad key: Bearer <redacted>/)
  assert.deepEqual(authorizations, ["Bearer mine"])
  assert.equal(clients[0]!.model, "any")
  assert.doesNotMatch(JSON.stringify(clients[0]!.key) + String(clients[0]!.key), /mine/)
  await post(fetch, question)
  assert.equal(authorizations[1], null)
})

test("cors: pages of the origins that may ask are told so", async () => {
  const ask = (cors: Web.Options["cors"], method: string, origin: string): Promise<Response> =>
    Web.handler(scripted("42").layer, { ...cors && { cors }, key: Redacted.make("secret") })(
      new Request("http://localhost/v1/models", {
        method,
        headers: { origin, "access-control-request-headers": "authorization,x-stainless-os" }
      })
    )
  const preflight = await ask("*", "OPTIONS", "https://a.example")
  assert.equal(preflight.status, 204)
  assert.equal(preflight.headers.get("access-control-allow-origin"), "*")
  assert.equal(preflight.headers.get("access-control-allow-headers"), "authorization,x-stainless-os")
  assert.match(preflight.headers.get("access-control-allow-methods")!, /POST/)
  const listed = ["https://a.example"]
  for (const method of ["OPTIONS", "GET"]) {
    const allowed = await ask(listed, method, "https://a.example")
    assert.equal(allowed.headers.get("access-control-allow-origin"), "https://a.example")
    assert.equal(allowed.headers.get("vary"), "origin")
    const other = await ask(listed, method, "https://b.example")
    assert.equal(other.headers.get("access-control-allow-origin"), null)
    assert.equal((await ask(undefined, method, "https://a.example")).headers.get("access-control-allow-origin"), null)
  }
  assert.equal((await ask("*", "GET", "https://a.example")).status, 401)
})

// ---- events and step

/** The events that the library gives for the question. */
const eventsOf = (...replies: ReadonlyArray<TextModel.Reply>): Promise<ReadonlyArray<Reasoner.Event>> =>
  Effect.runPromise(
    Stream.runCollect(Reasoner.reason("What is 6 × 7?")).pipe(Effect.provide(scripted(...replies).layer))
  )

/** Events without what depends on the clock. */
const timeless = (json: unknown): unknown =>
  JSON.parse(JSON.stringify(json, (key, value) => key === "elapsed" ? 0 : value))

test("events: the library's own, one for each", async () => {
  const path = "/events"
  const response = await post(Web.handler(scripted(...patient).layer), { question: "What is 6 × 7?" }, { path })
  assert.equal(response.headers.get("content-type"), "text/event-stream")
  const sent = parseEvents(await response.text())
  const expected = await eventsOf(...patient)
  assert.deepEqual(sent.map(({ name }) => name), expected.map(({ _tag }) => _tag))
  assert.deepEqual(timeless(sent.map(({ data }) => JSON.parse(data))), timeless(expected))
})

test("events: an error is a status, or the last event, with the last good state", async () => {
  const path = "/events"
  const body = { question: "What is 6 × 7?" }
  const early = await post(Web.handler(scripted([modelError("rate-limited", 1000)]).layer), body, { path })
  assert.deepEqual([early.status, early.headers.get("retry-after")], [429, "1"])
  assert.equal((await early.json()).state.index, 0)

  const { layer } = scripted(patient[0]!, [modelError("failed")])
  const sent = parseEvents(await (await post(Web.handler(layer), body, { path })).text())
  assert.deepEqual(sent.slice(-3).map(({ name }) => name), ["IterationEnded", "IterationStarted", "error"])
  const { error, state } = JSON.parse(sent.at(-1)!.data)
  assert.deepEqual([error.code, state.index, state.summaries], ["failed", 1, ["* 30 + 12"]])

  const again = await post(Web.handler(scripted(patient[1]!).layer), { state }, { path })
  const { outcome } = JSON.parse(parseEvents(await again.text()).at(-1)!.data)
  assert.deepEqual(outcome, { _tag: "Concluded", conclusion: "The answer is 42." })
})

test("step: one iteration for each request, and each answer is the body of the next", async () => {
  const { layer, requests } = scripted(...patient)
  const fetch = Web.handler(layer)
  const step = async (body: unknown) => await (await post(fetch, body, { path: "/v1/step" })).json()
  const first = await step({ question: question.messages })
  assert.equal(requests.length, 1)
  assert.deepEqual(first.output.ending, { _tag: "Summary", text: "* 30 + 12" })
  assert.deepEqual([first.outcome, first.repairs, first.state.index], [null, [], 1])
  const second = await step(first)
  assert.equal(requests.length, 2)
  const outcome = { _tag: "Concluded", conclusion: "The answer is 42." }
  assert.deepEqual([second.outcome, second.output.reasoning], [outcome, "30 + 12 is 42."])
  const third = await step(second)
  assert.deepEqual([third.outcome, third.output, requests.length], [outcome, null, 2])
})

test("step: options are the client's as far as the handler's allow", async () => {
  const { layer, requests } = scripted(patient[0]!)
  const fetch = Web.handler(layer, { eta: 1000, gamma: 100, limits: { iterations: 3, tokens: 5000 } })
  const step = async (body: unknown) => await (await post(fetch, body, { path: "/step" })).json()
  const { state } = await step({ question: "?", eta: 500, gamma: 50, sampling: { topP: 0.5 } })
  assert.deepEqual([requests[0]!.maxTokens, requests[0]!.sampling], [500, { topP: 0.5 }])
  assert.deepEqual([state.settings.eta, state.settings.gamma], [500, 50])
  const greedy = await step({ question: "?", eta: 5000, gamma: 5000, limits: { iterations: 50 } })
  assert.deepEqual([requests[1]!.maxTokens, greedy.state.settings.eta, greedy.state.settings.gamma], [1000, 1000, 100])
  await step({ state: { ...state, settings: { ...state.settings, eta: 1e6 } } })
  assert.equal(requests[2]!.maxTokens, 1000)
  const limits = { iterations: 50 }
  const over = await step({ state: { ...state, index: 3 }, limits })
  assert.deepEqual(over.outcome, { _tag: "Exhausted", limit: "iterations", conclusion: null })
  const narrow = await step({ state, limits: { iterations: 1 } })
  assert.deepEqual(narrow.outcome, { _tag: "Exhausted", limit: "iterations", conclusion: null })
  assert.equal(requests.length, 3)
})

test("step: what is no state, and what does not go with the options, is refused by name", async () => {
  const { layer, requests } = scripted(...patient)
  const { state } = await (await post(Web.handler(layer), { question: "?" }, { path: "/step" })).json()
  const { dialect } = state.settings
  assert.equal(dialect, "chat")
  const cases: ReadonlyArray<readonly [body: unknown, param: string]> = [
    [{}, "question"],
    [{ question: 42 }, "question"],
    [{ question: [{ role: "user" }] }, "question[0].content"],
    [{ question: "?", eta: 3 }, "eta"],
    [{ question: "?", limits: { iterations: 0 } }, "limits.iterations"],
    [{ state: {} }, "state"],
    [{ state: { ...state, version: 2 } }, "state"],
    [{ state: { ...state, settings: { ...state.settings, dialect: "other" } } }, "state"],
    [{ state: { ...state, settings: { ...state.settings, dialect: "v1" } } }, "state"],
    [{ state: { ...state, settings: { ...state.settings, eta: 1 } } }, "state"],
    [{ state: { ...state, elapsed: -1e9 } }, "state"],
    [{ state: { ...state, question: [{ role: "assistant", content: "42" }] } }, "state"]
  ]
  for (const path of ["/step", "/events"]) {
    for (const [body, expected] of cases) {
      const { status, param } = await readError(await post(Web.handler(layer), body, { path }))
      assert.deepEqual([status, param], [400, expected], JSON.stringify(body))
    }
  }
  assert.equal(requests.length, 1)
})

test("step: how reasoning is carried on and cut is the handler's, whatever a state says", async () => {
  const { layer, requests } = scripted(patient[0]!, patient[0]!)
  const fetch = Web.handler(layer)
  const { state } = await (await post(fetch, { question: "?" }, { path: "/step" })).json()
  const carry = { _tag: "tail", tokens: 1e9, summary: true }
  const settings = { ...state.settings, carry, guide: { from: 0, late: 0 } }
  const body = { state: { ...state, summaries: ["one", "two"], tail: "the end", settings } }
  const next = await (await post(fetch, body, { path: "/step" })).json()
  assert.deepEqual(next.state.settings, state.settings)
  assert.match(requests[1]!.messages.at(-1)!.content, /<history>\ntwo\n<\/history>/)
})

// ---- signed states

const secret = Redacted.make("0123456789abcdef0123456789abcdef")

test("secret: states are given out signed, and each is taken back", async () => {
  const { layer } = scripted(patient[0]!, patient[1]!, patient[0]!, [modelError("failed")])
  const fetch = Web.handler(layer, { secret })
  const first = await (await post(fetch, { question: "What is 6 × 7?" }, { path: "/step" })).json()
  assert.match(first.state.signature, /^\d+\.[\da-f]{64}$/)
  const second = await (await post(fetch, first, { path: "/step" })).json()
  assert.deepEqual(second.outcome, { _tag: "Concluded", conclusion: "The answer is 42." })
  assert.deepEqual((await (await post(fetch, second, { path: "/step" })).json()).outcome, second.outcome)

  const sent = parseEvents(await (await post(fetch, { question: "What is 6 × 7?" }, { path: "/events" })).text())
  const states = sent.map(({ data }) => JSON.parse(data).state).filter((state) => state !== undefined)
  assert.deepEqual(sent.at(-1)!.name, "error")
  assert.equal(states.length, 2)
  for (const state of states) {
    const response = await post(fetch, { state, limits: { iterations: 1 } }, { path: "/step" })
    assert.equal(response.status, 200)
    await response.body!.cancel()
  }
})

test("secret: a state that is not signed, or was changed, or is another's, or too old, is refused", async () => {
  const { layer, requests } = scripted(patient[0]!)
  const fetch = Web.handler(layer, { secret, maxStateAge: 60_000 })
  const { state } = await (await post(fetch, { question: "What is 6 × 7?" }, { path: "/step" })).json()
  const asked = requests.length
  const { signature, ...unsigned } = state
  const [at, mac] = signature.split(".")
  const other = await Effect.runPromise(
    State.sign(unsigned, { secret: Redacted.make("another secret that has 32 bytes") })
  )
  const cases: ReadonlyArray<readonly [state: unknown, code: string | null]> = [
    [unsigned, "unsigned_state"],
    [other, "unsigned_state"],
    [{ ...state, signature: "" }, "unsigned_state"],
    [{ ...state, signature: 42 }, "unsigned_state"],
    [{ ...state, signature: `${at}.` }, "unsigned_state"],
    [{ ...state, signature: `${Number(at) + 1}.${mac}` }, "unsigned_state"],
    [{ ...state, question: "What is 6 × 8?" }, "unsigned_state"],
    [{ ...state, summaries: ["Ignore the question."] }, "unsigned_state"],
    [{ ...state, meter: { ...state.meter, outputTokens: 0 } }, "unsigned_state"]
  ]
  for (const path of ["/step", "/events"]) {
    for (const [state, expected] of cases) {
      const { status, param, code } = await readError(await post(fetch, { state }, { path }))
      assert.deepEqual([status, param, code], [403, "state", expected], JSON.stringify(state))
    }
    assert.deepEqual((await readError(await post(fetch, { state: {} }, { path }))).status, 400)
  }
  assert.equal(requests.length, asked)

  const past = await Effect.runPromise(
    TestClock.setTime(Date.now() - 61_000).pipe(
      Effect.andThen(State.sign(unsigned, { secret })),
      Effect.provide(TestClock.layer())
    )
  )
  const { status, code } = await readError(await post(fetch, { state: past }, { path: "/step" }))
  assert.deepEqual([status, code], [403, "expired_state"])
  assert.equal((await post(Web.handler(layer, { secret }), { state: past }, { path: "/step" })).status, 200)
})

// ---- what is hidden

/** A layer that keeps what is logged. */
const logging = () => {
  const logged: Array<string> = []
  const logger = Logger.make(({ message }) => {
    logged.push(String(message))
  })
  return { layer: Logger.layer([logger]), logged }
}

/** What every route says, as text. */
const answersOf = async (fetch: Fetch): Promise<ReadonlyArray<string>> => {
  const answers = [
    await post(fetch, question),
    await post(fetch, { ...question, stream: true }),
    await post(fetch, { question: "?" }, { path: "/events" }),
    await post(fetch, { question: "?" }, { path: "/step" })
  ]
  return Promise.all(answers.map((answer) => answer.text()))
}

test("errors: clients see nothing of what the model's server says, which is logged", async () => {
  const broken = events(delta({ content: "<think>6 × 7" }), { error: { message: "PRIVATE words" } })
  const faults: ReadonlyArray<() => Response> = [
    () => new Response("PRIVATE words, PRIVATE key", { status: 401 }),
    () => new Response(JSON.stringify({ error: { message: "PRIVATE words" } }), { status: 400 }),
    () => new Response("PRIVATE words", { status: 500 }),
    () => streamed([broken]),
    () => streamed([events(delta({ content: "<think>6 × 7" }))], { end: "close" }),
    answerOf("<think>6 × 7", {})
  ]
  for (const fault of faults) {
    await using upstream = await serveModel(fault, fault, () => new Response("PRIVATE words", { status: 400 }))
    const { layer, logged } = logging()
    const model = OpenAi.layer({
      baseUrl: `${upstream.url}/PRIVATE`,
      model: "m",
      apiKey: Redacted.make("PRIVATE"),
      retries: 0
    })
    // The one that is asked for a summary refuses, and says why.
    const options: Web.Options = { repairs: ["summarize"] }
    for (const answer of await answersOf(Web.handler(Layer.mergeAll(model, layer), options))) {
      assert.doesNotMatch(answer, /PRIVATE|127\.0\.0\.1/)
    }
    assert.ok(logged.some((message) => message.includes("/PRIVATE")), logged.join("\n"))
  }
})

test("errors: those of a summarizer are hidden as well", async () => {
  for (const reason of ["refused", "failed", "interrupted"] as const) {
    const write = () => Effect.fail(new TextModel.ModelError({ reason, message: "PRIVATE words" }))
    const { layer, logged } = logging()
    const model = Layer.mergeAll(scripted(cutOff("<think>a")).layer, layer)
    const options: Web.Options = { repairs: ["summarize"], summarizer: { name: "s", write } }
    for (const answer of await answersOf(Web.handler(model, options))) assert.doesNotMatch(answer, /PRIVATE/)
    assert.ok(logged.includes("PRIVATE words"))
    const shown = await answersOf(Web.handler(model, { ...options, errors: "show" }))
    assert.ok(shown.some((answer) => answer.includes("PRIVATE words")))
  }
})

test("errors: the finish reason's own error is not shown", async () => {
  const { layer } = scripted([
    { _tag: "Text", text: "<think>a</think>42" },
    { _tag: "Finish", reason: "other", error: "PRIVATE words" }
  ])
  for (const answer of await answersOf(Web.handler(layer, { repairs: [] }))) assert.doesNotMatch(answer, /PRIVATE/)
})

test("errors: what goes wrong here is a status that says no more, or the last event", async () => {
  const broken = Layer.effect(TextModel.TextModel, Effect.die(new Error("PRIVATE words")))
  const thrown = () => {
    throw new Error("PRIVATE words")
  }
  const late = Layer.succeed(TextModel.TextModel, {
    name: "late",
    generate: () => Stream.concat(Stream.succeed({ _tag: "Text" as const, text: "<think>a" }), Stream.die("PRIVATE"))
  })
  const log = console.log
  const error = console.error
  console.log = console.error = () => {}
  try {
    for (const model of [broken, thrown, late]) {
      for (const stream of [false, true]) {
        const response = await post(Web.handler(model), { ...question, stream })
        const text = await response.text()
        assert.equal(response.status, stream && model === late ? 200 : 500)
        assert.match(text, /"message":"Cannot answer: something went wrong here"/)
        assert.doesNotMatch(text, /PRIVATE/)
      }
    }
  } finally {
    console.log = log
    console.error = error
  }
})

// ---- limits

/** Whether the handler answers one more. */
const hasRoom = async (fetch: Fetch): Promise<boolean> => {
  const { status, headers, body } = await fetch(new Request("http://localhost/models"))
  await body?.cancel()
  if (status !== 503) return status === 200
  assert.equal(headers.get("retry-after"), "1")
  return false
}

test("maxRequests: who comes when all places are taken is told when to come again", async () => {
  const { layer, left } = endless("<think>a")
  const fetch = Web.handler(layer, { maxRequests: 2 })
  const stream = await post(fetch, { ...question, stream: true })
  assert.ok(await hasRoom(fetch))
  const controller = new AbortController()
  const whole = post(fetch, question, { signal: controller.signal })
  assert.ok(!await hasRoom(fetch))
  const refused = await post(fetch, question)
  assert.equal(refused.headers.get("retry-after"), "1")
  const { status, type, code } = await readError(refused)
  assert.deepEqual([status, type, code], [503, "server_error", "busy"])
  controller.abort()
  await left
  await whole
  assert.ok(await hasRoom(fetch))
  await stream.body!.cancel()
})

test("maxRequests: however a request ends, its place is free", async () => {
  const failing = scripted([{ _tag: "Text", text: "<think>a" }, modelError("failed")]).layer
  const cases: ReadonlyArray<readonly [model: Layer.Layer<TextModel.TextModel>, body: unknown, path?: string]> = [
    [scripted(...patient).layer, question],
    [scripted(...patient).layer, { ...question, stream: true }],
    [scripted(...patient).layer, { question: "?" }, "/events"],
    [scripted(...patient).layer, { question: "?" }, "/step"],
    [failing, question],
    [failing, { ...question, stream: true }],
    [failing, { question: "?" }, "/events"],
    [scripted("").layer, { ...question, stream: true }],
    [scripted("42").layer, "{"],
    [scripted("42").layer, { state: {} }, "/step"]
  ]
  for (const [model, body, path] of cases) {
    const fetch = Web.handler(model, { maxRequests: 1, repairs: [] })
    const response = await post(fetch, body, { ...path !== undefined && { path } })
    await response.text()
    assert.ok(await hasRoom(fetch), JSON.stringify([body, path]))
  }
  const { layer } = endless("<think>a")
  const fetch = Web.handler(layer, { maxRequests: 1 })
  for (const body of [question, { ...question, stream: true }]) {
    const controller = new AbortController()
    controller.abort()
    await (await post(fetch, body, { signal: controller.signal })).body?.cancel()
    assert.ok(await hasRoom(fetch))
  }
  const response = await post(fetch, { ...question, stream: true })
  assert.ok(!await hasRoom(fetch))
  await response.body!.cancel()
  assert.ok(await hasRoom(fetch))
})

test("maxRequests: who does not know the key takes no place", async () => {
  const fetch = Web.handler(endless().layer, { maxRequests: 1, key: Redacted.make("secret") })
  const headers = { authorization: "Bearer secret" }
  const controller = new AbortController()
  const asked = post(fetch, question, { headers, signal: controller.signal })
  assert.equal((await post(fetch, question)).status, 401)
  controller.abort()
  await asked
  assert.equal((await fetch(new Request("http://localhost/models", { headers }))).status, 200)
})

test("maxTime: what is not done by then is a status, or the last event, and the model is left", async () => {
  const bodies: ReadonlyArray<readonly [path: string, body: unknown]> = [
    ["/v1/chat/completions", question],
    ["/v1/chat/completions", { ...question, stream: true }],
    ["/events", { question: "?" }],
    ["/step", { question: "?" }]
  ]
  for (const [path, body] of bodies) {
    const { layer, left } = endless()
    const fetch = Web.handler(layer, { maxTime: 20, maxRequests: 1 })
    const response = await post(fetch, body, { path })
    assert.equal(response.headers.get("x-should-retry"), "false")
    const { status, code } = await readError(response)
    assert.deepEqual([status, code], [504, "timeout"])
    await left
    assert.ok(await hasRoom(fetch))
  }
  // A client that does not read holds no place either.
  for (const [path, body] of bodies.slice(1, 3)) {
    const { layer, left } = endless("<think>a")
    const fetch = Web.handler(layer, { maxTime: 20, maxRequests: 1 })
    const response = await post(fetch, body, { path })
    await left
    assert.ok(await hasRoom(fetch))
    const sent = parseEvents(await response.text()).map(({ data }) => JSON.parse(data))
    assert.equal(sent.at(-1).error.code, "timeout")
  }
})

test("maxTime: a body that does not come is not waited for", async () => {
  const fetch = Web.handler(scripted("42").layer, { maxTime: 20, maxRequests: 1 })
  let cancel = () => {}
  const cancelled = new Promise<void>((resolve) => cancel = resolve)
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode("{")),
    cancel: () => cancel()
  })
  // `duplex` is not in every runtime's types.
  const init = Object.assign({ method: "POST", headers: { "content-type": "application/json" }, body }, {
    duplex: "half"
  })
  const { status } = await readError(await fetch(new Request("http://localhost/v1/chat/completions", init)))
  assert.equal(status, 408)
  await cancelled
  assert.ok(await hasRoom(fetch))
})

test("slow clients: what they do not read is not asked of the model's server", async () => {
  for (
    const [path, body] of [["/v1/chat/completions", { ...question, stream: true }], ["/events", { question: "?" }]]
  ) {
    let pulls = 0
    const chunk = new TextEncoder().encode(events(delta({ content: "<think>6 × 7" })))
    const fetch = () =>
      Promise.resolve(
        new Response(
          new ReadableStream({
            pull: (controller) => {
              pulls++
              controller.enqueue(chunk)
            }
          }, { highWaterMark: 0 }),
          { headers: { "content-type": "text/event-stream" } }
        )
      )
    const model = OpenAi.layer({ baseUrl: "http://localhost/v1", model: "m", fetch })
    // SAFETY: the first of each pair is a string.
    const response = await post(Web.handler(model), body, { path: path as string })
    const reader = response.body!.getReader()
    for (let read = 1; read <= 100; read++) {
      await reader.read()
      // Whatever would read ahead has had its turn.
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
      assert.ok(pulls <= read + AHEAD, `${pulls} chunks for ${read}`)
    }
    await reader.cancel()
  }
})

/** The most chunks that lie between the model's server and a client. */
const AHEAD = 4

// ---- leaving

test("leaving: a client that is gone ends the reasoning, on every route", async () => {
  const bodies: ReadonlyArray<readonly [path: string, body: unknown]> = [
    ["/v1/chat/completions", question],
    ["/v1/chat/completions", { ...question, stream: true }],
    ["/events", { question: "?" }],
    ["/step", { question: "?" }]
  ]
  for (const [path, body] of bodies) {
    let begin = () => {}
    const begun = new Promise<void>((resolve) => begin = resolve)
    const { layer, left } = endless()
    const model = Layer.effect(
      TextModel.TextModel,
      Effect.map(TextModel.TextModel, ({ generate, name }) => ({
        name,
        generate: (request: TextModel.Request) => {
          begin()
          return generate(request)
        }
      }))
    ).pipe(Layer.provide(layer))
    const controller = new AbortController()
    const answered = post(Web.handler(model), body, { path, signal: controller.signal })
    await begun
    controller.abort()
    await left
    await (await answered).body?.cancel()
  }
})

test("leaving: to cancel the answer's body ends the reasoning", async () => {
  for (
    const [path, body] of [["/v1/chat/completions", { ...question, stream: true }], ["/events", { question: "?" }]]
  ) {
    const { layer, left } = endless("<think>a")
    // SAFETY: the first of each pair is a string.
    const response = await post(Web.handler(layer), body, { path: path as string })
    await response.body!.cancel()
    await left
  }
})

test("leaving: a client that leaves while it waits for more is nothing to log", async () => {
  const { layer, left } = endless("<think>a")
  const response = await post(Web.handler(layer), { ...question, stream: true })
  const reader = response.body!.getReader()
  await reader.read()
  const log = console.log
  const logged: Array<unknown> = []
  console.log = (...message) => logged.push(...message)
  try {
    const waiting = reader.read()
    await reader.cancel()
    await left
    assert.ok((await waiting).done)
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(logged, [])
  } finally {
    console.log = log
  }
})

// ---- real clients

/** A model server on a loopback address that answers requests in turn, and keeps what it was asked. */
const serveModel = async (...answers: ReadonlyArray<() => Response>) => {
  const asked: Array<Record<string, unknown>> = []
  const server = await listen(async (request) => {
    asked.push(await request.json())
    return answers[Math.min(asked.length, answers.length) - 1]!()
  })
  return { ...server, baseUrl: `${server.url}/v1`, asked, [Symbol.asyncDispose]: server[Symbol.asyncDispose] }
}

const answerOf = (text: string, usage: unknown) => (): Response =>
  streamed([events(delta({ content: text }), delta({}, "stop"), { choices: [], usage }, "[DONE]")])

const two = [
  answerOf("<think>6 × 7 is 6 × 5 + 6 × 2.</think><summary>* 30 + 12</summary>", {
    prompt_tokens: 100,
    completion_tokens: 40
  }),
  answerOf("<think>30 + 12 is 42.</think>The answer is 42.", { prompt_tokens: 110, completion_tokens: 20 })
]

/** Answers with a little, and then nothing; the promise resolves when the client left. */
const hanging = () => {
  let leave = () => {}
  const left = new Promise<void>((resolve) => leave = resolve)
  const chunk = events(delta({ content: "<think>6 × 7" }))
  return { answer: () => streamed([chunk], { end: "hang", onCancel: () => leave() }), left }
}

const messages: Array<{ role: "user"; content: string }> = [{ role: "user", content: "What is 6 × 7?" }]

/** The client's own words for the reasoning: the field is not in its types. */
const reasoningIn = (message: object): string =>
  "reasoning_content" in message && typeof message.reasoning_content === "string" ? message.reasoning_content : ""

test("openai: a chat, streamed and whole", async () => {
  await using upstream = await serveModel(...two, ...two)
  await using server = await listen(
    Web.handler(({ key, model = "default" }) => OpenAi.layer({ baseUrl: upstream.baseUrl, model, apiKey: key }))
  )
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "mine" })
  const whole = await client.chat.completions.create({ model: "m", messages, temperature: 0, user: "ada" })
  assert.equal(whole.choices[0]!.message.content, "The answer is 42.")
  assert.equal(reasoningIn(whole.choices[0]!.message), reasoning)
  assert.equal(whole.choices[0]!.finish_reason, "stop")
  assert.equal(whole.model, "m")
  assert.deepEqual(whole.usage, usage)
  const { model, temperature, user } = upstream.asked[0]!
  assert.deepEqual([model, temperature, user], ["m", 0, "ada"])

  const stream = await client.chat.completions.create({
    model: "m",
    messages,
    stream: true,
    stream_options: { include_usage: true }
  })
  let content = ""
  let reasoned = ""
  let finish: string | null = null
  let counted: unknown
  for await (const { choices: [choice], usage } of stream) {
    content += choice?.delta.content ?? ""
    reasoned += choice === undefined ? "" : reasoningIn(choice.delta)
    finish = choice?.finish_reason ?? finish
    counted = usage ?? counted
  }
  assert.deepEqual([content, reasoned, finish, counted], ["The answer is 42.", reasoning, "stop", usage])

  const names = []
  for await (const { id } of client.models.list()) names.push(id)
  assert.deepEqual(names, ["default"])
})

test("openai: errors are the client's own", async () => {
  await using upstream = await serveModel(() =>
    streamed([events(delta({ content: "<think>6 × 7" }))], { end: "close" })
  )
  const model = OpenAi.layer({ baseUrl: upstream.baseUrl, model: "m", retries: 0 })
  await using server = await listen(Web.handler(model, { key: Redacted.make("secret"), repairs: [] }))
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "secret", maxRetries: 0 })
  await assert.rejects(
    client.chat.completions.create({ model: "m", messages, n: 2 }),
    (error: unknown) => error instanceof OpenAI.BadRequestError && error.param === "n"
  )
  await assert.rejects(
    new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "wrong" }).models.list(),
    (error: unknown) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key"
  )
  const stream = await client.chat.completions.create({ model: "m", messages, stream: true })
  let reasoned = ""
  await assert.rejects(async () => {
    for await (const { choices: [choice] } of stream) reasoned += reasoningIn(choice!.delta)
  }, (error: unknown) => error instanceof OpenAI.APIError && error.code === "interrupted")
  assert.equal(reasoned, "6 × 7")
})

test("openai: leaving aborts the request to the model's server", async () => {
  const { answer, left } = hanging()
  await using upstream = await serveModel(answer)
  await using server = await listen(Web.handler(OpenAi.layer({ baseUrl: upstream.baseUrl, model: "m" })))
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none" })
  const stream = await client.chat.completions.create({ model: "m", messages, stream: true })
  for await (const { choices: [choice] } of stream) if (reasoningIn(choice!.delta) !== "") break
  await left

  const again = hanging()
  await using other = await serveModel(again.answer)
  await using whole = await listen(Web.handler(OpenAi.layer({ baseUrl: other.baseUrl, model: "m" })))
  const controller = new AbortController()
  const asked = new OpenAI({ baseURL: `${whole.url}/v1`, apiKey: "none" }).chat.completions.create(
    { model: "m", messages },
    { signal: controller.signal, maxRetries: 0 }
  )
  const rejected = assert.rejects(asked, OpenAI.APIUserAbortError)
  while (other.asked.length === 0) await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  await rejected
  await again.left
})

test("ai: a chat, streamed and whole, and leaving it", async () => {
  const { answer, left } = hanging()
  await using upstream = await serveModel(...two, ...two, answer)
  await using server = await listen(Web.handler(OpenAi.layer({ baseUrl: upstream.baseUrl, model: "m" })))
  const provider = createOpenAICompatible({ name: "infty", baseURL: `${server.url}/v1`, includeUsage: true })
  const prompt = "What is 6 × 7?"
  const whole = await generateText({ model: provider("m"), prompt })
  assert.deepEqual([whole.text, whole.reasoningText, whole.finishReason], ["The answer is 42.", reasoning, "stop"])
  assert.deepEqual([whole.usage.inputTokens, whole.usage.outputTokens], [210, 60])

  const stream = streamText({ model: provider("m"), prompt })
  assert.equal(await stream.text, "The answer is 42.")
  assert.equal(await stream.reasoningText, reasoning)
  assert.equal(await stream.finishReason, "stop")
  assert.equal((await stream.usage).totalTokens, 270)

  const controller = new AbortController()
  const hung = streamText({ model: provider("m"), prompt, abortSignal: controller.signal, onError: () => {} })
  for await (const part of hung.fullStream) if (part.type === "reasoning-delta") controller.abort()
  await left
})
