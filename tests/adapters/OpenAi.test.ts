import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import * as http from "node:http"
import { test } from "node:test"
import { inspect } from "node:util"
import * as OpenAi from "../../lib/adapters/OpenAi.ts"
import { complete, type Finish, ModelError, type Request, type TextModel, type Usage } from "../../lib/TextModel.ts"
import { cut, delta, events, type Fake, makeFetch, type Sent, streamed } from "../support/fetch.ts"
import { listenOn } from "../support/loopback.ts"

// ---- running a request

const baseUrl = "http://localhost:8000/v1"
const question: Request = { messages: [{ role: "user", content: "What is 6 × 7?" }] }

type Options = Partial<OpenAi.Options>

/** What a request gave: its deltas, joined where they are of one kind, and how it ended. */
interface Given {
  readonly deltas: ReadonlyArray<readonly [tag: "Text" | "Reasoning", text: string]>
  readonly finish?: Finish
  readonly error?: ModelError
}

/** How long a refusal's body is waited for: no wait between tries is just as long. */
const REFUSAL_PATIENCE = 5000

/** A clock that sleeps through every wait at once, and keeps them. */
const makeClock = (): Clock.Clock & { readonly waits: Array<number> } => {
  let now = Date.UTC(2026, 0, 1)
  const waits: Array<number> = []
  const sleep = (milliseconds: number) =>
    // The bodies of refusals come in no time.
    milliseconds === REFUSAL_PATIENCE ? Effect.never : Effect.sync(() => {
      waits.push(milliseconds)
      now += milliseconds
    })
  return { waits, ...clockOf(() => now, sleep) }
}

const clockOf = (now: () => number, sleep: (milliseconds: number) => Effect.Effect<void>): Clock.Clock => {
  const nanos = (): bigint => BigInt(Math.round(now())) * 1_000_000n
  return {
    currentTimeMillisUnsafe: now,
    currentTimeMillis: Effect.sync(now),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) => sleep(Duration.toMillis(duration))
  }
}

const run = (fake: Fake, options: Options = {}, request = question, clock = makeClock()): Promise<Given> => {
  // On a clock that sleeps through every wait, any silence would be too long.
  const patient = { idleBytes: Infinity, idleTokens: Infinity }
  return collect(OpenAi.make({ baseUrl, model: "m", fetch: fake.fetch, ...patient, ...options }), request, clock)
}

const collect = async (model: TextModel, request: Request, clock: Clock.Clock): Promise<Given> => {
  const deltas: Array<["Text" | "Reasoning", string]> = []
  let finish: Finish | undefined
  const exit = await Effect.runPromise(
    model.generate(request).pipe(
      Stream.runForEach((part) =>
        Effect.sync(() => {
          assert.equal(finish, undefined, "nothing comes behind the end")
          if (part._tag === "Finish") return finish = part
          assert.notEqual(part.text, "", "no delta is empty")
          const last = deltas.at(-1)
          if (last?.[0] === part._tag) last[1] += part.text
          else deltas.push([part._tag, part.text])
        })
      ),
      Effect.exit,
      Effect.provideService(Clock.Clock, clock)
    )
  )
  if (Exit.isSuccess(exit)) return { deltas, ...(finish === undefined ? {} : { finish }) }
  assert.equal(finish, undefined, "what failed has not finished")
  const error = Cause.squash(exit.cause)
  assert(error instanceof ModelError, inspect(error))
  return { deltas, error }
}

const answer = (text: string): Fake => makeFetch(() => streamed([text]))

/** Runs an answer whole, cut in two at every byte, and byte by byte; all must give the same. */
const runCut = async (text: string, options: Options = {}): Promise<Given> => {
  const bytes = new TextEncoder().encode(text)
  const whole = await run(answer(text), { retries: 0, ...options })
  for (let place = 0; place <= bytes.length; place++) {
    const chunks = place === bytes.length ? cut(bytes, () => 1) : [bytes.subarray(0, place), bytes.subarray(place)]
    const given = await run(makeFetch(() => streamed(chunks)), { retries: 0, ...options })
    assert.deepEqual(plain(given), plain(whole), `cut at ${place}`)
  }
  return whole
}

/** What of it can be compared. */
const plain = ({ deltas, finish, error }: Given): unknown => [deltas, finish, error?.reason, error?.message]

const stop: Finish = { _tag: "Finish", reason: "stop" }
const cannot = (state: string): string => `Cannot complete a request to m at ${baseUrl}: ${state}`
const fine = events(delta({ content: "42" }, "stop"), "[DONE]")

const example = (name: string, text: string, expected: Given, options: Options = {}): void => {
  test(`reads ${name}`, async () => {
    assert.deepEqual(await runCut(text, options), expected)
  })
}

const failure = (name: string, text: string, deltas: Given["deltas"], reason: string, state: RegExp): void => {
  test(`fails on ${name}`, async () => {
    const { error, ...given } = await runCut(text)
    assert.deepEqual(given, { deltas })
    assert.equal(error?.reason, reason)
    assert.match(error.message, /^Cannot complete a request to m at http:\/\/localhost:8000\/v1: /)
    assert.match(error.message, state)
  })
}

// ---- what servers really send

/** Recording, characters of reasoning and of text, how it ended; counted by a program of its own. */
const recordings: ReadonlyArray<readonly [file: string, reasoning: number, text: number, end: string, usage?: Usage]> =
  [
    ["01-deepseek-reasoner.sse", 882, 41, "stop", usage(6, 212, 198, 0)],
    ["02-groq-r1-think-in-content.sse", 0, 4045, "stop", usage(21, 988)],
    ["03-groq-reasoning-field.sse", 3794, 2954, "stop", usage(573, 1509)],
    ["04-groq-midstream-error-event.sse", 412, 0, "refused"],
    ["05-hf-together-r1-think-in-content.sse", 0, 4004, "stop", usage(10, 955, undefined, 0)],
    ["06-mistral-magistral-array-content.sse", 421, 607, "stop", usage(10, 232)],
    ["07-openrouter-error-in-stream.sse", 42, 0, "length", usage(43, 10, 11, 0)],
    ["08-openrouter-reasoning-details.sse", 51, 9, "stop", usage(43, 36, 13, 0)],
    ["09-openrouter-with-reasoning.sse", 0, 446, "stop", usage(9, 104, 0, 0)],
    ["10-zai-glm-thinking.sse", 2173, 1, "stop", usage(13, 564, 561, 0)],
    ["11-snowflake-thinking-no-finish.sse", 13, 93, "interrupted"],
    ["12-openai-chat-usage-chunk.sse", 0, 32, "stop", usage(78, 9, 0, 0)],
    ["13-crusoe-vllm-like.sse", 0, 13, "stop", usage(46, 14, undefined, 0)],
    ["14-hf-novita-short.sse", 0, 5, "stop", usage(40, 2)],
    ["18-llamabox-midstream-error-field.sse", 7964, 1033, "interrupted"],
    ["20-perplexity-crlf-no-done.sse", 0, 5, "stop", usage(8, 5)]
  ]

function usage(inputTokens: number, outputTokens: number, reasoningTokens?: number, cachedTokens?: number): Usage {
  return {
    inputTokens,
    outputTokens,
    ...(reasoningTokens === undefined ? {} : { reasoningTokens }),
    ...(cachedTokens === undefined ? {} : { cachedTokens })
  }
}

const folder = process.env["INFTYTHINK_STREAMS"] ?? ""
const skip = existsSync(folder) ? false : "INFTYTHINK_STREAMS names no folder of recorded streams"

/** Numbers that look random and are the same in every run. */
const makeRandom = (seed: number) => (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return seed / 2 ** 32
}

for (const [file, reasoning, text, end, usage] of recordings) {
  test(`reads the recording ${file}`, { skip }, async () => {
    const recorded = readFileSync(`${folder}/${file}`, "utf8").replaceAll("\r\n", "\n")
    const whole = await run(answer(recorded), { retries: 0 })
    const sizeOf = (tag: string) => whole.deltas.reduce((size, [is, text]) => is === tag ? size + text.length : size, 0)
    assert.deepEqual([sizeOf("Reasoning"), sizeOf("Text")], [reasoning, text])
    assert.equal(whole.finish?.reason ?? whole.error?.reason, end)
    assert.deepEqual(whole.finish?.usage, usage)
    for (const end of ["\n", "\r\n"]) {
      const bytes = new TextEncoder().encode(recorded.replaceAll("\n", end))
      const random = makeRandom(1)
      const ways: Array<Iterable<Uint8Array>> = [
        cut(bytes, () => 7),
        cut(bytes, () => 1 + Math.floor(random() * 3000))
      ]
      // Slow, so that the large ones are cut into bytes only where that also parts CR from LF.
      if (bytes.length < 100_000 || end === "\r\n") ways.push(cut(bytes, () => 1))
      const places = bytes.length < 4500 ? bytes.length : 0
      for (let place = 0; place < places; place++) ways.push([bytes.subarray(0, place), bytes.subarray(place)])
      for (const [index, chunks] of ways.entries()) {
        const given = await run(makeFetch(() => streamed(chunks)), { retries: 0 })
        assert.deepEqual(plain(given), plain(whole), `cut in way ${index}`)
      }
    }
  })
}

test("names every recording", { skip }, () => {
  const files = readdirSync(folder).filter((file) => file.endsWith(".sse"))
  assert.deepEqual(files.sort(), recordings.map(([file]) => file))
})

/** Refusal, status, what kind of error it is, and what its message says. */
const refusals: ReadonlyArray<readonly [file: string, status: number, reason: string, message: RegExp]> = [
  [
    "auth-deepseek.json",
    401,
    "unauthorized",
    /: HTTP 401: Authentication Fails, Your api key: \*\*\*\*-key is invalid$/
  ],
  ["auth-mistral.json", 401, "unauthorized", /: HTTP 401: Invalid API Key$/],
  ["auth-openrouter.json", 401, "unauthorized", /: HTTP 401: Missing Authentication header$/],
  ["azure-429.json", 429, "rate-limited", /: HTTP 429: Your requests to .* have exceeded rate limit\.$/],
  ["ctxlen-deepseek.txt", 400, "refused", /: HTTP 400: This model's maximum context length is 1048565 tokens\..*\.$/],
  ["ctxlen-ollama_cloud.json", 400, "refused", /: HTTP 400: prompt too long; .*\)$/],
  ["ctxlen-openai.json", 400, "refused", /: HTTP 400: Your input exceeds the context window .* try again\.$/],
  ["ctxlen-openrouter.json", 400, "refused", /: HTTP 400: This endpoint's maximum context length .*\.$/],
  ["ctxlen-perplexity.json", 400, "refused", /: HTTP 400: The total length of all messages is too long\.$/],
  ["openrouter-errors.json", 429, "rate-limited", /: Provider returned error: google\/.* is temporarily rate-limited/]
]

for (const [file, status, reason, message] of refusals) {
  test(`reads the refusal ${file}`, { skip }, async () => {
    const body = readFileSync(`${folder}/errors/${file}`, "utf8")
    const { error } = await run(makeFetch(() => new Response(body, { status })), { retries: 0 })
    assert.deepEqual([error?.reason, error?.status], [reason, status])
    assert.match(error?.message ?? "", message)
  })
}

test("names every refusal", { skip }, () => {
  assert.deepEqual(readdirSync(`${folder}/errors`).sort(), refusals.map(([file]) => file))
})

// ---- answers

example(
  "content",
  events(
    delta({ role: "assistant", content: "" }),
    delta({ content: "4" }),
    delta({ content: "2 😀" }),
    delta({}, "stop"),
    "[DONE]"
  ),
  { deltas: [["Text", "42 😀"]], finish: stop }
)
example("an answer without [DONE]", events(delta({ content: "42" }, "stop")), {
  deltas: [["Text", "42"]],
  finish: stop
})
example("a last event without its blank line", events(delta({ content: "42" }, "stop")).trimEnd(), {
  deltas: [["Text", "42"]],
  finish: stop
})
example("CRLF and comments", `: ping\r\n\r\n${fine.replaceAll("\n", "\r\n")}`, {
  deltas: [["Text", "42"]],
  finish: stop
})
example("`retry` as no event", `retry: 3000\n\n${fine}`, { deltas: [["Text", "42"]], finish: stop })
example(
  "reasoning_content",
  events(
    delta({ reasoning_content: "6 × 7", content: null }),
    delta({ reasoning_content: null, content: "42" }, "stop")
  ),
  { deltas: [["Reasoning", "6 × 7"], ["Text", "42"]], finish: stop }
)
example("reasoning", events(delta({ reasoning: "6 × 7", content: "" }), delta({ content: "42" }, "stop")), {
  deltas: [["Reasoning", "6 × 7"], ["Text", "42"]],
  finish: stop
})
example(
  "reasoning that is there twice, once",
  events(
    delta(
      { reasoning: "a", reasoning_content: "a", reasoning_details: [{ type: "reasoning.text", text: "a" }] },
      "stop"
    )
  ),
  { deltas: [["Reasoning", "a"]], finish: stop }
)
example(
  "reasoning beside its details, once",
  events(delta({ reasoning: "a", reasoning_details: [{ type: "reasoning.text", text: "a" }] }, "stop")),
  { deltas: [["Reasoning", "a"]], finish: stop }
)
example(
  "reasoning_details that stand alone",
  events(
    delta({
      reasoning: null,
      reasoning_details: [{ type: "reasoning.text", text: "a" }, { type: "reasoning.summary", summary: "b" }, {
        type: "reasoning.encrypted",
        data: "c"
      }]
    }, "stop")
  ),
  { deltas: [["Reasoning", "ab"]], finish: stop }
)
example(
  "content arrays",
  events(
    delta({ content: [{ type: "thinking", thinking: [{ type: "text", text: "a" }] }, { type: "text", text: "b" }] }),
    delta({ content: "c" }, "stop")
  ),
  { deltas: [["Reasoning", "a"], ["Text", "bc"]], finish: stop }
)
example(
  "raw completions",
  events(
    { choices: [{ text: "4", finish_reason: null }] },
    { choices: [{ text: "2", finish_reason: "stop" }] },
    "[DONE]"
  ),
  { deltas: [["Text", "42"]], finish: stop },
  { api: "completions" }
)
example(
  "a delta beside its text, once",
  events({ choices: [{ text: "42", delta: { content: "42" }, finish_reason: "stop" }] }),
  { deltas: [["Text", "42"]], finish: stop }
)
example("an answer without content", events(delta({}, "stop"), "[DONE]"), { deltas: [], finish: stop })
example(
  "chunks without choices",
  events({ choices: [] }, delta({ content: "42" }, "stop"), {
    choices: [],
    usage: { prompt_tokens: 1, completion_tokens: 2 }
  }, "[DONE]"),
  { deltas: [["Text", "42"]], finish: { ...stop, usage: usage(1, 2) } }
)
example(
  "an error behind the end beside it",
  events(
    delta({ content: "4" }, "length"),
    { choices: [], error: { code: 400, message: "Token limit reached" } },
    "[DONE]"
  ),
  { deltas: [["Text", "4"]], finish: { _tag: "Finish", reason: "length", error: cannot("Token limit reached") } }
)
example(
  "the first of the errors behind the end, and the usage behind them",
  `${events(delta({ content: "42" }, "stop"), { error: "one" })}error: two\n\n${
    events({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } })
  }`,
  { deltas: [["Text", "42"]], finish: { ...stop, usage: usage(1, 2), error: cannot("one") } }
)
example("rubbish behind the end beside it", `${events(delta({ content: "42" }, "stop"))}data: }\n\n`, {
  deltas: [["Text", "42"]],
  finish: { ...stop, error: cannot('an event is not JSON: "}"') }
})
example(
  "an answer that was not streamed",
  `\n\n${
    JSON.stringify(
      {
        choices: [{ message: { role: "assistant", reasoning_content: "6 × 7", content: "42" }, finish_reason: "stop" }],
        usage: { prompt_tokens: 1, completion_tokens: 2 }
      },
      null,
      1
    )
  }\n`,
  { deltas: [["Reasoning", "6 × 7"], ["Text", "42"]], finish: { ...stop, usage: usage(1, 2) } }
)
example("a missing finish reason as `stop` where it is optional", events(delta({ content: "42" }), "[DONE]"), {
  deltas: [["Text", "42"]],
  finish: stop
}, { finish: "optional" })

failure(
  "an answer without a finish reason",
  events(delta({ content: "42" }), "[DONE]"),
  [["Text", "42"]],
  "interrupted",
  /: the answer ended without a finish reason$/
)
failure("an empty answer", "", [], "interrupted", /: the answer ended without a finish reason$/)
failure(
  "a torn event",
  `${events(delta({ content: "4" }))}data: {"choices":[{"del`,
  [["Text", "4"]],
  "interrupted",
  /: the answer ended without a finish reason$/
)
failure(
  "an error in data",
  events(delta({ content: "4" }), { error: { message: "out of memory", type: "server_error" } }, "[DONE]"),
  [["Text", "4"]],
  "interrupted",
  /: out of memory$/
)
failure(
  "an error of a choice",
  events({ choices: [{ error: { code: 429, message: "slow down" }, finish_reason: "error" }] }),
  [],
  "rate-limited",
  /: slow down$/
)
failure(
  "an event named error",
  `event: error\n${events({ error: { message: "bad tool", status_code: 400 } })}`,
  [],
  "refused",
  /: bad tool$/
)
failure(
  "an event named error with plain text",
  `event: error\n${events("no slot left")}`,
  [],
  "failed",
  /: no slot left$/
)
failure(
  "a field named error",
  `${events(delta({ content: "4" }))}error: {"code":500,"message":"failed to decode"}\n\n${events("[DONE]")}`,
  [["Text", "4"]],
  "interrupted",
  /: failed to decode$/
)
failure(
  "an event that is not JSON",
  `${events(delta({ content: "4" }))}data: oops\n\n${fine}`,
  [["Text", "4"]],
  "interrupted",
  /: an event is not JSON: "oops"$/
)
failure("an error that was not streamed", '{"error":{"message":"model crashed"}}', [], "failed", /: model crashed$/)

test("an empty answer fails where a finish reason is optional, too", async () => {
  for (const text of ["", events(delta({ content: "" }), "[DONE]"), events(delta({ content: "4" }))]) {
    assert.equal((await run(answer(text), { finish: "optional", retries: 0 })).error?.reason, "interrupted")
  }
})

test("finish reasons are mapped", async () => {
  const reasons = {
    stop: ["stop", "eos", "eos_token", "stop_sequence", "end_turn"],
    length: ["length", "model_length", "max_tokens"],
    filter: ["content_filter"],
    other: ["abort", "error", "insufficient_system_resource", "tool_calls", "constructor"]
  }
  for (const [expected, said] of Object.entries(reasons)) {
    for (const reason of said) {
      assert.equal((await run(answer(events(delta({ content: "4" }, reason))))).finish?.reason, expected, reason)
    }
  }
})

test("usage is found wherever servers put it", async () => {
  const counts = { prompt_tokens: 10, completion_tokens: 5 }
  const found: ReadonlyArray<readonly [sent: Readonly<Record<string, unknown>>, expected: Usage | undefined]> = [
    [{ usage: counts }, usage(10, 5)],
    [{ x_groq: { usage: counts } }, usage(10, 5)],
    [{ usage: null }, undefined],
    [{ usage: { completion_tokens: 5 } }, undefined],
    [{ usage: { ...counts, prompt_tokens_details: null, completion_tokens_details: null } }, usage(10, 5)],
    [{ usage: { ...counts, prompt_tokens_details: { cached_tokens: 4 } } }, usage(10, 5, undefined, 4)],
    [{ usage: { ...counts, prompt_cache_hit_tokens: 4 } }, usage(10, 5, undefined, 4)],
    [{ usage: { ...counts, cached_tokens: 4 } }, usage(10, 5, undefined, 4)],
    [{ usage: { ...counts, reasoning_tokens: 3 } }, usage(10, 5, 3)],
    [{ usage: { ...counts, completion_tokens_details: { reasoning_tokens: 3 } } }, usage(10, 5, 3)],
    [{ usage: counts, timings: { cache_n: 4, prompt_n: 6, predicted_n: 5 } }, usage(10, 5, undefined, 4)],
    [{ timings: { cache_n: 4, prompt_n: 6, predicted_n: 5 } }, usage(10, 5, undefined, 4)]
  ]
  for (const [sent, expected] of found) {
    const chunk = { choices: [{ delta: { content: "4" }, finish_reason: "stop" }], ...sent }
    const { finish } = await run(answer(events({ choices: [], usage: null }, chunk, { choices: [], usage: null })))
    assert.deepEqual(finish?.usage, expected, JSON.stringify(sent))
  }
  const everywhere = [1, 2, 3].map((tokens) => ({
    ...Object(delta({ content: "4" })),
    usage: { ...counts, completion_tokens: tokens }
  }))
  const { finish } = await run(answer(events(...everywhere, delta({}, "stop"))))
  assert.deepEqual(finish?.usage, usage(10, 3), "the last one counts")
})

test("a connection that breaks fails, and behind the finish reason is reported beside it", async () => {
  const broken = (text: string) => makeFetch(() => streamed([text], { end: new Error("terminated") }))
  const { deltas, error } = await run(broken(events(delta({ content: "4" }))))
  assert.deepEqual(deltas, [["Text", "4"]])
  assert.equal(error?.reason, "interrupted")
  assert.match(error.message, /: the answer broke off: terminated$/)
  assert.deepEqual(await run(broken(events(delta({ content: "42" }, "stop")))), {
    deltas: [["Text", "42"]],
    finish: { ...stop, error: cannot("the answer broke off: terminated") }
  })
})

test("an event larger than the bound fails, and so does an answer", async () => {
  const options = { maxEventSize: 100, retries: 0 }
  const large = delta({ content: "4".repeat(100) }, "stop")
  const event = await run(answer(events(delta({ content: "4" }), large)), options)
  assert.deepEqual(event.deltas, [["Text", "4"]])
  assert.match(event.error?.message ?? "", /: an event is larger than 100 characters$/)
  const whole = await run(answer(JSON.stringify(large)), options)
  assert.match(whole.error?.message ?? "", /: the answer is larger than 100 characters$/)
})

test("an answer whose JSON is nested as deep as may be, or has as many parts, is read or fails", async () => {
  const deep = "[".repeat(100_000) + "]".repeat(100_000)
  const shapes = [
    `{"choices":[{"delta":{"content":${deep}},"finish_reason":"stop"}]}`,
    `{"choices":[{"delta":{"reasoning_details":${deep}},"finish_reason":"stop"}]}`
  ]
  for (const json of shapes) assert.deepEqual(await run(answer(`data: ${json}\n\n`)), { deltas: [], finish: stop })
  const { error } = await run(answer(`data: {"error":${deep}}\n\n`), { retries: 0 })
  assert.equal(error?.reason, "failed")
  const many = await run(answer(events(delta({ content: Array(300_000).fill("a") }, "stop"))))
  assert.deepEqual(many, { deltas: [["Text", "a".repeat(300_000)]], finish: stop })
})

test("a field that is empty, and one that is not like those before, change the kind of their own event alone", async () => {
  const beside = (content: string, reasoning: string) => delta({ content, reasoning_content: reasoning })
  const answers: ReadonlyArray<readonly [ReadonlyArray<unknown>, Given["deltas"]]> = [
    [[delta({ content: "A" }), beside("", "t"), delta({ content: "B" })], [["Text", "A"], ["Reasoning", "t"], [
      "Text",
      "B"
    ]]],
    [
      ["a", "b"].map((reasoning) => delta({ reasoning_content: reasoning })).concat(
        beside("Hi", ""),
        delta({ reasoning_content: "c" })
      ),
      [["Reasoning", "ab"], ["Text", "Hi"], ["Reasoning", "c"]]
    ],
    [
      ["a", ""].map((first) => delta({ reasoning_content: first, reasoning: "b" })),
      [["Reasoning", "ab"]]
    ]
  ]
  for (const [sent, deltas] of answers) {
    const given = await run(answer(events(...sent, delta({}, "stop"))))
    assert.deepEqual(given, { deltas, finish: stop })
  }
})

test("an answer larger than the bound finishes as one that was cut, and no more of it is read", async () => {
  const fake = makeFetch(() => streamed(Array(1000).fill(events(delta({ content: "again " })))))
  const { deltas, finish } = await run(fake, { maxAnswerSize: 60 })
  assert.deepEqual(deltas, [["Text", "again ".repeat(11)]])
  assert.equal(finish?.reason, "length")
  assert.match(finish.error ?? "", /: the answer is larger than 60 characters$/)
})

test("figures that count nothing are no figures", async () => {
  for (const bad of [-1, 12.5, 1e300, "3"]) {
    for (const usage of [{ prompt_tokens: bad, completion_tokens: 1 }, { prompt_tokens: 1, completion_tokens: bad }]) {
      const { finish } = await run(answer(events(Object.assign({ usage }, delta({ content: "4" }, "stop")))))
      assert.deepEqual(finish, stop)
    }
  }
})

test("a web page is not found to be a model", async () => {
  const fake = makeFetch(() => new Response("<html>", { headers: { "content-type": "text/html" } }))
  const { error } = await run(fake)
  assert.equal(error?.reason, "not-found")
  assert.match(error.message, /: the answer is text\/html$/)
  assert.equal(fake.sent.length, 1)
})

test("`complete` gives an answer as a whole", async () => {
  const { fetch } = answer(events(delta({ reasoning: "6 × 7" }), delta({ content: "42" }, "stop")))
  const model = OpenAi.layer({ baseUrl, model: "m", fetch })
  const completion = await Effect.runPromise(complete(question).pipe(Effect.provide(model)))
  assert.deepEqual(completion, { text: "42", reasoning: "6 × 7", finish: stop })
})

// ---- requests

const request: Request = {
  messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "What is 6 × 7?" }],
  maxTokens: 100,
  sampling: { temperature: 0.6, topP: 0.95, seed: 1 }
}

const send = async (options: Options, given: Request = request): Promise<Sent> => {
  const fake = answer(fine)
  assert.deepEqual(await run(fake, options, given), { deltas: [["Text", "42"]], finish: stop })
  const [sent] = fake.sent
  assert(sent !== undefined)
  return sent
}

const streaming = { stream: true, stream_options: { include_usage: true } }
const sampling = { temperature: 0.6, top_p: 0.95, seed: 1 }

test("a chat sends messages", async () => {
  const { url, headers, body } = await send({ apiKey: Redacted.make("sk-1") })
  assert.equal(url, "http://localhost:8000/v1/chat/completions")
  assert.equal(headers.get("authorization"), "Bearer sk-1")
  assert.equal(headers.get("content-type"), "application/json")
  assert.deepEqual(body, { model: "m", messages: request.messages, ...streaming, max_tokens: 100, ...sampling })
})

test("what a request leaves out is not sent", async () => {
  const { headers, body } = await send({ apiKey: Redacted.make("") }, question)
  assert.equal(headers.get("authorization"), null)
  assert.deepEqual(body, { model: "m", messages: question.messages, ...streaming })
})

test("a completion sends the prompt, or the messages and the prefix as a template renders them", async () => {
  const prompted = await send({ api: "completions" }, { ...request, prompt: "6 × 7 =", prefix: "<history>" })
  assert.equal(prompted.url, "http://localhost:8000/v1/completions")
  assert.deepEqual(prompted.body, { model: "m", prompt: "6 × 7 =", ...streaming, max_tokens: 100, ...sampling })
  const chatml = await send({ api: "completions" }, { ...request, prefix: "<history>" })
  assert.equal(
    Object(chatml.body).prompt,
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 6 × 7?<|im_end|>\n<|im_start|>assistant\n<history>"
  )
  const template: OpenAi.Options["template"] = (messages) => messages.map(({ content }) => content).join("|")
  assert.equal(Object((await send({ api: "completions", template })).body).prompt, "Be brief.|What is 6 × 7?")
})

test("a prefix is sent as the server wants it", async () => {
  const prefixed = { ...question, prefix: "<history>" }
  const last = { role: "assistant", content: "<history>" }
  const vllm = await send({ prefill: "continue_final_message" }, prefixed)
  assert.deepEqual(vllm.body, {
    model: "m",
    messages: [...question.messages, last],
    continue_final_message: true,
    add_generation_prompt: false,
    ...streaming
  })
  const deepseek = await send({ prefill: "prefix" }, prefixed)
  assert.deepEqual(deepseek.body, {
    model: "m",
    messages: [...question.messages, { ...last, prefix: true }],
    ...streaming
  })
  const none = await send({ prefill: "continue_final_message" }, { ...question, prefix: "" })
  assert.deepEqual(none.body, { model: "m", messages: question.messages, ...streaming })
})

test("a prefix that the server can't continue is refused, and nothing is sent", async () => {
  const fake = answer(fine)
  const { error } = await run(fake, {}, { ...question, prefix: "<history>" })
  assert.equal(error?.reason, "refused")
  assert.match(error.message, /^Cannot continue a prefix: no `prefill` is set for m at http:\/\/localhost:8000\/v1$/)
  assert.equal(fake.sent.length, 0)
})

test("the global fetch is looked up at each request", async () => {
  const { fetch } = globalThis
  const model = OpenAi.make({ baseUrl, model: "m" })
  const fake = answer(fine)
  try {
    globalThis.fetch = Object.assign((url: string, init: RequestInit) => fake.fetch(url, init), fetch)
    await Effect.runPromise(Stream.runDrain(model.generate(question)))
  } finally {
    globalThis.fetch = fetch
  }
  assert.equal(fake.sent.length, 1)
})

test("options win over what the adapter sends", async () => {
  const { url, headers, body } = await send({
    baseUrl: "https://example.com/openai//?api-version=1",
    apiKey: Redacted.make("sk-1"),
    headers: {
      "Content-Type": "application/json; charset=utf-8",
      "Authorization": "Basic x",
      "api-key": Redacted.make("k")
    },
    maxTokensField: "max_completion_tokens",
    body: { temperature: 1, stop: ["</summary>"] }
  })
  assert.equal(url, "https://example.com/openai/chat/completions?api-version=1")
  assert.equal(headers.get("content-type"), "application/json; charset=utf-8")
  assert.equal(headers.get("authorization"), "Basic x")
  assert.equal(headers.get("api-key"), "k")
  assert.deepEqual(body, {
    model: "m",
    messages: request.messages,
    ...streaming,
    max_completion_tokens: 100,
    ...sampling,
    temperature: 1,
    stop: ["</summary>"]
  })
})

test("bad options throw", () => {
  const throws = (options: Options, message: RegExp) =>
    assert.throws(() => OpenAi.layer({ baseUrl, model: "m", ...options }), (error) => {
      assert(error instanceof RangeError)
      assert.match(error.message, message)
      assert.doesNotMatch(inspect(error), /secret/)
      return true
    })
  throws(
    { baseUrl: "localhost:8000/v1" },
    /^Cannot make a model: baseUrl is "localhost:8000\/v1", not an http address$/
  )
  throws({ baseUrl: "https://me:secret@example.com" }, /^Cannot make a model: baseUrl has a name or a password in it/)
  throws({ retries: -1 }, /^Cannot make a model: retries is -1, not an integer of at least 0$/)
  throws({ idleBytes: 0 }, /^Cannot make a model: idleBytes is 0, not a duration longer than 0$/)
  throws({ idleTokens: NaN }, /^Cannot make a model: idleTokens is NaN, not a duration longer than 0$/)
  throws({ maxRetryAfter: -1 }, /^Cannot make a model: maxRetryAfter is -1, not a duration longer than 0$/)
  throws({ maxEventSize: 0.5 }, /^Cannot make a model: maxEventSize is 0\.5, not an integer of at least 1$/)
  throws({ apiKey: Redacted.make("sk\nsecret") }, /^Cannot make a model: the header "authorization" has a character/)
  throws(
    { headers: { "x-key": Redacted.make("„secret“") } },
    /^Cannot make a model: the header "x-key" has a character/
  )
})

// ---- refusals and retries

test("statuses are mapped", async () => {
  const reasons = {
    "unauthorized": [401, 402, 403],
    "not-found": [404],
    "refused": [400, 413, 422],
    "rate-limited": [429],
    "failed": [405, 408, 409, 500, 502, 503, 529]
  }
  for (const [reason, statuses] of Object.entries(reasons)) {
    for (const status of statuses) {
      const { error } = await run(makeFetch(() => new Response(null, { status })), { retries: 0 })
      assert.deepEqual([error?.reason, error?.status], [reason, status])
      assert.equal(error?.message, `Cannot complete a request to m at ${baseUrl}: HTTP ${status}`)
    }
  }
})

test("a refusal's message is found in any shape", async () => {
  const shapes: ReadonlyArray<readonly [body: string, said: string]> = [
    ['{"error":{"message":"no"}}', "no"],
    ['[{"error":{"message":"no"}}]', "no"],
    ['{"error":"no"}', "no"],
    ['{"detail":"no"}', "no"],
    ['{"message":"no"}', "no"],
    ['{"error_type":"x","error_message":"no"}', "no"],
    ['{"error":{"message":"no","metadata":{"raw":"because"}}}', "no: because"],
    ['{"detail":[{"msg":"no"}]}', '{"detail":[{"msg":"no"}]}'],
    [" upstream error\n", "upstream error"]
  ]
  for (const [body, said] of shapes) {
    const { error } = await run(makeFetch(() => new Response(body, { status: 400 })))
    assert.equal(error?.message, `Cannot complete a request to m at ${baseUrl}: HTTP 400: ${said}`)
  }
})

test("a refusal's body is read no further than it is of use", async () => {
  let sent = 0
  function* endless() {
    for (;;) {
      sent++
      yield "no ".repeat(10000)
    }
  }
  let isCancelled = false
  const onCancel = () => {
    isCancelled = true
  }
  const { error } = await run(makeFetch(() => streamed(endless(), { status: 400, onCancel })))
  assert.equal(error?.reason, "refused")
  assert(error.message.length < 1100)
  assert(sent <= 5, `${sent} chunks of 30 kB were read`)
  assert(isCancelled)
  const broken = await run(makeFetch(() => streamed(["no"], { status: 400, end: new Error("terminated") })))
  assert.match(broken.error?.message ?? "", /: HTTP 400: no$/)
})

test("a refusal whose body never ends is waited for for five seconds, and told with what came of it", async () => {
  function* said(reach: () => void) {
    yield "no"
    // What is read is with its reader in the next turn.
    setTimeout(reach)
  }
  for (const idleBytes of [Infinity, 600_000]) {
    let reach = (): void => {}
    const reached = new Promise<void>((resolve) => reach = resolve)
    let isCancelled = false
    const onCancel = () => {
      isCancelled = true
    }
    const sleep = (wait: number) => wait === REFUSAL_PATIENCE ? Effect.promise(() => reached) : Effect.never
    const clock = { waits: [], ...clockOf(() => 0, sleep) }
    const endless = makeFetch(() => streamed(said(reach), { status: 400, end: "hang", onCancel }))
    const { error } = await run(endless, { idleBytes }, question, clock)
    assert.equal(error?.reason, "refused")
    assert.match(error.message, /: HTTP 400: no$/)
    assert(endless.sent[0]?.signal.aborted || isCancelled)
  }
})

test("a request that a moderator refuses is refused, and an account that may not ask is unauthorized", async () => {
  const said: Readonly<Record<string, "refused" | "unauthorized">> = {
    'Your chosen model requires moderation and your input was flagged for "violence".': "refused",
    "The prompt was flagged.": "refused",
    "Blocked by the content policy": "refused",
    "content_filter": "refused",
    "Your account was flagged for abuse": "unauthorized",
    "Your organization must be verified to use the model": "unauthorized",
    "You have no access to this model": "unauthorized"
  }
  for (const [message, reason] of Object.entries(said)) {
    const body = { error: { code: 403, message, metadata: { reasons: ["violence"], flagged_input: "…" } } }
    const refused = await run(makeFetch(() => new Response(JSON.stringify(body), { status: 403 })))
    assert.deepEqual([refused.error?.reason, refused.error?.status], [reason, 403])
    assert.equal((await run(makeFetch(() => streamed([events(body)])))).error?.reason, reason)
  }
})

test("redirects are followed to the same origin, with the same request where they ask for it, and no further", async () => {
  const redirect = (status: number, location: string) => new Response("moved", { status, headers: { location } })
  const options = { apiKey: Redacted.make("sk-1"), headers: { "x-key": Redacted.make("sk-2") } }
  for (const status of [307, 308]) {
    const { sent, fetch } = makeFetch((index) => index === 0 ? redirect(status, "/v2/chat?a=1") : streamed([fine]))
    assert.deepEqual(await run({ sent, fetch }, options), { deltas: [["Text", "42"]], finish: stop })
    assert.deepEqual(sent.map(({ url }) => url), [`${baseUrl}/chat/completions`, "http://localhost:8000/v2/chat?a=1"])
    assert.deepEqual(sent[1]?.body, sent[0]?.body)
    assert.deepEqual([...sent[1]?.headers ?? []], [...sent[0]?.headers ?? []])
  }
  for (const status of [301, 302, 303]) {
    const methods: Array<string | undefined> = []
    const fetch = (_: string, { method, body, redirect: mode }: RequestInit) => {
      assert.equal(mode, "manual")
      assert.equal(body === null, method === "GET")
      return Promise.resolve(methods.push(method) === 1 ? redirect(status, `${baseUrl}/later`) : streamed([fine]))
    }
    assert.deepEqual(await run({ sent: [], fetch }, options), { deltas: [["Text", "42"]], finish: stop })
    assert.deepEqual(methods, ["POST", "GET"])
  }
  for (const to of ["https://localhost:8000/v1", "http://localhost:8001/v1", "//elsewhere.net/v1?key=sk-1"]) {
    const fake = makeFetch(() => redirect(307, to))
    const { error } = await run(fake, options)
    const shown = new URL(to, baseUrl)
    const said = `HTTP 307: it redirects to ${shown.origin}${shown.pathname}; set baseUrl to where the server is`
    assert.deepEqual([error?.reason, fake.sent.length], ["not-found", 1])
    // A response that a test makes has no address, which one that is relative is read against.
    if (!to.startsWith("//")) assert.equal(error?.message, `Cannot complete a request to m at ${baseUrl}: ${said}`)
  }
  const around = makeFetch(() => redirect(307, "/v1/chat/completions"))
  assert.equal((await run(around, options)).error?.reason, "not-found")
  assert.equal(around.sent.length, 21)
})

/** Runs a request that is refused as `response` says, and then answered. */
const retry = async (response: () => Response, options: Options = {}): Promise<ReadonlyArray<number>> => {
  const clock = makeClock()
  const fake = makeFetch((index) => index === 0 ? response() : streamed([fine]))
  assert.deepEqual(await run(fake, options, question, clock), { deltas: [["Text", "42"]], finish: stop })
  assert.equal(fake.sent.length, 2)
  assert.deepEqual(fake.sent[1]?.body, fake.sent[0]?.body)
  return clock.waits
}

test("what may pass is sent again", async () => {
  const refused = (status: number) => () => new Response(null, { status })
  const unreachable = () => {
    throw new TypeError("fetch failed")
  }
  const transient = [refused(429), refused(408), refused(500), refused(503), unreachable]
  const answers = ["", events("[DONE]"), events({ error: { code: 429, message: "slow down" } })].map((text) => () =>
    streamed([text])
  )
  const broken = () => streamed([": ping\n\n"], { end: new Error("terminated") })
  for (const response of [...transient, ...answers, broken]) {
    const [wait, ...more] = await retry(response)
    assert(wait !== undefined && wait >= 400 && wait <= 600, `waited ${wait} ms`)
    assert.deepEqual(more, [])
  }
})

test("what can't pass is sent once", async () => {
  const statuses = [400, 401, 402, 403, 404, 413, 422]
  const refused = statuses.map((status) => () => new Response(null, { status }))
  const answers = [
    events(delta({ content: "4" })),
    events(delta({ reasoning: "4" }), { error: "no" }),
    events({ error: { code: 400 } })
  ]
  for (const response of [...refused, ...answers.map((text) => () => streamed([text]))]) {
    const fake = makeFetch(response)
    const clock = makeClock()
    assert((await run(fake, {}, question, clock)).error !== undefined)
    assert.equal(fake.sent.length, 1)
    assert.deepEqual(clock.waits, [])
  }
})

test("waits double up to a cap, and end", async () => {
  const fake = makeFetch(() => new Response(null, { status: 503 }))
  const clock = makeClock()
  assert.equal((await run(fake, { retries: 9 }, question, clock)).error?.status, 503)
  assert.equal(fake.sent.length, 10)
  const expected = [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
  assert.equal(clock.waits.length, expected.length)
  for (const [index, wait] of clock.waits.entries()) {
    const middle = expected[index] ?? NaN
    assert(wait >= middle * 0.8 && wait <= middle * 1.2, `waited ${wait} ms, not ${middle} ± 20 %`)
  }
  const once = makeFetch(() => new Response(null, { status: 503 }))
  await run(once, { retries: 0 })
  assert.equal(once.sent.length, 1)
  const usual = makeFetch(() => new Response(null, { status: 503 }))
  await run(usual)
  assert.equal(usual.sent.length, 6)
})

test("many that wait do not all wait the same", async () => {
  const waits = new Set<number>()
  for (let count = 0; count < 10; count++) {
    for (const wait of await retry(() => new Response(null, { status: 503 }))) waits.add(wait)
  }
  assert(waits.size > 1)
})

test("what the server asks to wait is waited", async () => {
  const asked: ReadonlyArray<readonly [headers: Record<string, string>, milliseconds: number]> = [
    [{ "retry-after": "60" }, 60000],
    [{ "retry-after": "1.5" }, 1500],
    [{ "retry-after-ms": "2500" }, 2500],
    [{ "retry-after": "1", "retry-after-ms": "0" }, 1000],
    [{ "retry-after": "Thu, 01 Jan 2026 00:02:00 GMT" }, 120000],
    [{ "retry-after": "Thu, 01 Jan 2025 00:00:00 GMT" }, 0],
    [{ "retry-after": "soon" }, 0]
  ]
  for (const [headers, milliseconds] of asked) {
    const [wait] = await retry(() => new Response(null, { status: 429, headers }))
    const more = (wait ?? NaN) - milliseconds
    assert(more >= 400 && more <= 600, `waited ${wait} ms for ${JSON.stringify(headers)}`)
  }
  const refused = makeFetch(() => new Response(null, { status: 429, headers: { "retry-after": "60" } }))
  assert.equal((await run(refused, { retries: 0 })).error?.retryAfter, 60000)
})

test("what asks to wait too long fails at once", async () => {
  const refused = (seconds: number) => () =>
    new Response(null, { status: 429, headers: { "retry-after": String(seconds) } })
  const once = async (response: () => Response, options: Options = {}) => {
    const fake = makeFetch(response)
    const clock = makeClock()
    const { error } = await run(fake, options, question, clock)
    assert.equal(error?.reason, "rate-limited")
    assert.match(error.message, /\(it asks to wait .*, longer than maxRetryAfter\)$/)
    assert.deepEqual([fake.sent.length, clock.waits], [1, []])
    return error.retryAfter
  }
  assert.equal(await once(refused(601)), 601_000)
  assert.equal(await once(refused(2), { maxRetryAfter: 1999 }), 2000)
  assert.equal(await once(refused(3601), { maxRetryAfter: Duration.hours(1) }), 3_601_000)
  const [wait] = await retry(refused(600))
  assert((wait ?? 0) > 600_000)
  await retry(refused(86400), { maxRetryAfter: Infinity })
})

test("an unreachable server's error says why", async () => {
  const cause = Object.assign(new AggregateError([]), { code: "ECONNREFUSED" })
  const { error } = await run(makeFetch(() => {
    throw new TypeError("fetch failed", { cause })
  }))
  assert.equal(error?.reason, "unreachable")
  assert.match(error.message, /: fetch failed: ECONNREFUSED$/)
})

test("no error shows the address's query", async () => {
  const fake = makeFetch((_, { url }) => {
    throw new TypeError(`error sending request for url (${url})`)
  })
  const { error } = await run(fake, { baseUrl: `${baseUrl}?key=secret`, retries: 0 })
  assert.equal(
    error?.message,
    `Cannot complete a request to m at ${baseUrl}: error sending request for url (${baseUrl}/chat/completions<redacted>)`
  )
})

test("no error shows a key", async () => {
  const apiKey = Redacted.make("sk-secret-1 ")
  const headers = { "api-key": Redacted.make("secret-2") }
  const leak = 'a bad key: sk-secret-1, header "Bearer sk-secret-1", api-key secret-2'
  const answers: ReadonlyArray<() => Response> = [
    () => Response.json({ error: { message: leak } }, { status: 401 }),
    () => new Response(leak, { status: 500 }),
    () => streamed([events({ error: { message: leak } })]),
    () => streamed([events(leak)]),
    () => streamed([], { end: new Error(leak) }),
    () => {
      throw new TypeError("fetch failed", { cause: Object.assign(new Error(leak), { headers: { leak } }) })
    }
  ]
  for (const response of answers) {
    const { error } = await run(makeFetch(response), { apiKey, headers, retries: 1 })
    assert(error !== undefined)
    const shown = [
      inspect(error, { depth: 9, showHidden: true }),
      JSON.stringify(error),
      Cause.pretty(Cause.fail(error))
    ]
    assert.doesNotMatch(shown.join("\n"), /secret/)
    assert.match(error.message, /<redacted>/)
  }
  assert.doesNotMatch(inspect(OpenAi.make({ baseUrl, model: "m", apiKey, headers }), { depth: 9 }), /secret/)
})

test("no error shows a key that is escaped, cut off, or without the word before it", async () => {
  const key = 'sk-"Zm9v/bGV3\\ZQ=='
  const page = JSON.stringify({ error: `a bad key: ${key}` }).replaceAll("/", "\\/")
  const answers: ReadonlyArray<readonly [response: () => Response, state: string]> = [
    [() => new Response(page.slice(0, -1), { status: 500 }), 'HTTP 500: {"error":"a bad key: <redacted>"'],
    [() => new Response(page.slice(0, -8), { status: 500 }), 'HTTP 500: {"error":"a bad key: <redacted>'],
    [() => streamed([events(page.slice(0, -1))]), JSON.stringify('{"error":"a bad key: <redacted>"').slice(1, -1)],
    [() => streamed([`data: ${page.slice(0, -8)}\n\ndata: [DONE]\n\n`]), "a bad key: <redacted>"],
    [() => new Response(`sk-"Zm9v/other`, { status: 500 }), 'HTTP 500: sk-"Zm9v/other']
  ]
  for (const [response, state] of answers) {
    for (
      const secret of [{ apiKey: Redacted.make(key) }, { headers: { authorization: Redacted.make(`Bearer ${key}`) } }]
    ) {
      const { error } = await run(makeFetch(response), { ...secret, retries: 0 })
      assert(error !== undefined && error.message.includes(state), error?.message)
      assert.doesNotMatch(error.message, /bGV3/)
    }
  }
})

// ---- silence

/**
 * What a server does, each after a time, in minutes, from its being waited for: it answers, then writes, and with null it
 * closes the connection. Behind that it is silent.
 */
type Script = ReadonlyArray<readonly [after: number, written: string | null]>

const answered = [0, ""] as const
const ping = [9, ": ping\n\n"] as const
const text = [9, events(delta({ content: "4" }))] as const
const finish = [9, events(delta({}, "stop"))] as const
const silent = [Infinity, ""] as const
const closing = [0, null] as const

/**
 * Runs a request against a server that follows a script, on one clock for both: it moves on to the next that is due
 * whenever all of them wait. What it gives has the minute in which the last connection was closed.
 */
const runScript = async (script: Script, options: Options = {}) => {
  let now = 0
  const timers = new Map<() => void, number>()
  // The server, and those that watch over bytes and tokens.
  const size = 1 + [options.idleBytes, options.idleTokens].filter((idle) => idle !== Infinity).length
  const wake = (after: number, resume: () => void): void => {
    timers.set(resume, now + after)
    assert(timers.size <= size)
    if (timers.size < size) return
    const [next, time] = [...timers].reduce((one, other) => other[1] < one[1] ? other : one)
    timers.delete(next)
    now = time
    next()
  }
  const clock = clockOf(
    () => now,
    (milliseconds) =>
      milliseconds < 1000 ? Effect.void : Effect.callback<void>((resume) => {
        const go = () => resume(Effect.void)
        wake(milliseconds, go)
        return Effect.sync(() => timers.delete(go))
      })
  )

  let step = 0
  let closed: number | undefined
  const fake = makeFetch(async (_, { signal }) => {
    const wait = (): Promise<string | null> =>
      new Promise((resolve) => {
        const [after, written] = script[step++] ?? silent
        const go = () => resolve(written)
        signal.addEventListener("abort", () => timers.delete(go))
        wake(after * 60_000, go)
      })
    signal.addEventListener("abort", () => {
      closed = now / 60_000
    })
    await wait()
    const body = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        const written = await wait()
        if (written === null) controller.close()
        else controller.enqueue(new TextEncoder().encode(written))
      }
    }, { highWaterMark: 0 })
    return new Response(body, { headers: { "content-type": "text/event-stream" } })
  })
  const model = OpenAi.make({ baseUrl, model: "m", fetch: fake.fetch, retries: 0, ...options })
  const { deltas, finish, error } = await collect(model, question, clock)
  return [deltas.map(([, text]) => text).join(""), finish ?? [error?.reason, error?.message], closed, fake.sent.length]
}

const noBytes = cannot("nothing came for 10m")
const noTokens = cannot("no text came for 30m")

test("a server from which nothing comes is given up, and its connection closed", async () => {
  assert.deepEqual(await runScript([]), ["", ["unreachable", noBytes], 10, 1])
  assert.deepEqual(await runScript([[9, ""]]), ["", ["unreachable", noBytes], 19, 1])
  assert.deepEqual(await runScript([answered, ping]), ["", ["unreachable", noBytes], 19, 1])
  assert.deepEqual(await runScript([answered, text]), ["4", ["interrupted", noBytes], 19, 1])
  assert.deepEqual(await runScript([answered, text, ping]), ["4", ["interrupted", noBytes], 28, 1])
})

test("a server from which only comments come is given up, and its connection closed", async () => {
  const pings = [ping, ping, ping, ping, ping]
  const empty = [9, events(delta({ content: "" }))] as const
  assert.deepEqual(await runScript([answered, ...pings]), ["", ["unreachable", noTokens], 30, 1])
  assert.deepEqual(await runScript([[9, ""], ping, ping, ping]), ["", ["unreachable", noTokens], 30, 1])
  assert.deepEqual(await runScript([answered, empty, empty, empty, empty]), ["", ["unreachable", noTokens], 30, 1])
  assert.deepEqual(await runScript([answered, text, ...pings]), ["4", ["interrupted", noTokens], 39, 1])
})

test("a slow server is not given up, and neither is one without limits", async () => {
  const slow = [answered, text, ping, ping, text, text, text, finish, closing]
  assert.deepEqual(await runScript(slow), ["4444", stop, 63, 1])
  const slower: Script = [[100, ""], [100, text[1]], [100, finish[1]], closing]
  assert.deepEqual(await runScript(slower, { idleBytes: Infinity, idleTokens: "101 minutes" }), [
    "",
    ["unreachable", cannot("no text came for 1h 41m")],
    101,
    1
  ])
  assert.deepEqual(await runScript(slower, { idleBytes: Infinity, idleTokens: Infinity }), ["4", stop, 300, 1])
  assert.deepEqual(await runScript(slower, { idleBytes: 99 * 60_000, idleTokens: Infinity }), [
    "",
    ["unreachable", cannot("nothing came for 1h 39m")],
    99,
    1
  ])
})

test("the time that the reader of an answer takes does not count", async () => {
  let now = 0
  const timers = new Map<() => void, number>()
  const clock = clockOf(() => now, (milliseconds) =>
    Effect.callback((resume) => {
      const wake = () => resume(Effect.void)
      timers.set(wake, now + milliseconds)
      return Effect.sync(() => timers.delete(wake))
    }))
  const busy = async (): Promise<void> => {
    now += 60 * 60_000
    for (const [wake, at] of [...timers]) {
      if (at > now) continue
      timers.delete(wake)
      wake()
    }
    await new Promise((resolve) => setTimeout(resolve))
  }
  const chunks = [events(delta({ content: "4" })), events(delta({ content: "2" })), events(delta({}, "stop"))]
  const model = OpenAi.make({ baseUrl, model: "m", fetch: makeFetch(() => streamed(chunks)).fetch })
  const read = await model.generate(question).pipe(
    Stream.tap(() => Effect.promise(busy)),
    Stream.runCollect,
    Effect.provideService(Clock.Clock, clock),
    Effect.runPromise
  )
  assert.deepEqual(read.map(({ _tag }) => _tag), ["Text", "Text", "Finish"])
})

test("silence behind the finish reason does not undo it", async () => {
  const pings = [ping, ping, ping, ping]
  assert.deepEqual(await runScript([answered, text, finish]), ["4", { ...stop, error: noBytes }, 28, 1])
  assert.deepEqual(await runScript([answered, text, finish, ...pings]), ["4", { ...stop, error: noTokens }, 39, 1])
})

test("a request is sent again behind silence, unless something of its answer was given", async () => {
  const again = [silent, answered, text, finish, closing]
  assert.deepEqual(await runScript(again, { retries: 1 }), ["4", stop, 28, 2])
  assert.deepEqual(await runScript([answered, ...again], { retries: 1 }), ["4", stop, 28, 2])
  assert.deepEqual(await runScript([answered, text, ...again], { retries: 1 }), ["4", ["interrupted", noBytes], 19, 1])
})

// ---- interruption

test("leaving the stream aborts the request and cancels its body", async () => {
  let isCancelled = false
  const onCancel = () => {
    isCancelled = true
  }
  const fake = makeFetch(() => streamed([events(delta({ content: "4" }))], { end: "hang", onCancel }))
  const model = OpenAi.make({ baseUrl, model: "m", fetch: fake.fetch })
  const parts = await Effect.runPromise(model.generate(question).pipe(Stream.take(1), Stream.runCollect))
  assert.deepEqual(parts, [{ _tag: "Text", text: "4" }])
  assert(isCancelled)
  assert.equal(fake.sent[0]?.signal.aborted, true)
})

test("interruption aborts a request that waits for its answer", async () => {
  const sent = Promise.withResolvers<AbortSignal>()
  const fetch = (_: string, { signal }: RequestInit) => {
    if (signal) sent.resolve(signal)
    return new Promise<Response>(() => {})
  }
  const fiber = Effect.runFork(OpenAi.make({ baseUrl, model: "m", fetch }).generate(question).pipe(Stream.runDrain))
  const signal = await sent.promise
  assert.equal(signal.aborted, false)
  await Effect.runPromise(Fiber.interrupt(fiber))
  assert.equal(signal.aborted, true)
})

test("nothing of an answer is read ahead of its reader", async () => {
  let sent = 0
  function* chunks() {
    for (;;) {
      sent++
      yield events(delta({ content: "4" }))
    }
  }
  const model = OpenAi.make({ baseUrl, model: "m", fetch: makeFetch(() => streamed(chunks())).fetch })
  await Effect.runPromise(model.generate(question).pipe(Stream.take(10), Stream.runDrain))
  assert(sent <= 12, `${sent} chunks were read for 10 parts`)
})

test("a loopback server sees the request, and the connection closed on interruption", async () => {
  const closed = Promise.withResolvers<void>()
  const server = http.createServer((request, response) => {
    request.resume()
    if (request.url === "/fine/chat/completions") return response.end(fine)
    response.on("close", closed.resolve)
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.write(events(delta({ content: "4" })))
  })
  await using loopback = await listenOn(server)
  const at = (path: string) => OpenAi.make({ baseUrl: `${loopback.url}/${path}`, model: "m" })
  const parts = await Effect.runPromise(at("fine").generate(question).pipe(Stream.runCollect))
  assert.deepEqual(parts, [{ _tag: "Text", text: "42" }, stop])
  await Effect.runPromise(at("hang").generate(question).pipe(Stream.take(1), Stream.runDrain))
  await closed.promise
})
