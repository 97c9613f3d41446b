import * as NodeServices from "@effect/platform-node/NodeServices"
import * as AiError from "effect/ai/AiError"
import * as Ai from "effect/ai/LanguageModel"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { after, test } from "node:test"
import { inspect } from "node:util"
import * as Journal from "../lib/adapters/Journal.ts"
import * as LanguageModel from "../lib/adapters/LanguageModel.ts"
import * as OpenAi from "../lib/adapters/OpenAi.ts"
import * as Promises from "../lib/adapters/Promise.ts"
import * as Web from "../lib/adapters/Web.ts"
import * as Dialect from "../lib/core/Dialect.ts"
import type { Output } from "../lib/core/Iteration.ts"
import * as Load from "../lib/Load.ts"
import * as Reasoner from "../lib/Reasoner.ts"
import * as Reconstruction from "../lib/Reconstruction.ts"
import * as Summarizer from "../lib/Summarizer.ts"
import { complete, type Part, type Request, TextModel } from "../lib/TextModel.ts"
import { Tokenizer } from "../lib/Tokenizer.ts"
import { type Limited, LIMITS, makeClock, now } from "./support/clock.ts"
import { run } from "./support/command.ts"
import { type Answer, type Asked, type Body, type Brings, type Fault, faults, serve } from "./support/faults.ts"
import { record } from "./support/figures.ts"
import { closed, listenOn } from "./support/loopback.ts"
import { wordTokenizer } from "./support/model.ts"
import { listen, parseEvents } from "./support/web.ts"

// ---- a cell: one fault, of some requests of one pipeline

/** The requests that meet the fault. */
const strikes = { first: (i: number) => i === 0, second: (i: number) => i === 1, always: () => true }
type Strike = keyof typeof strikes

/** How often a request is sent again. */
const RETRIES = 2
const TRIES = RETRIES + 1

/** What a pipeline has to work with. */
interface Cell {
  /** Makes the model, on a clock that runs fast. */
  readonly model: (options: Pick<OpenAi.Options, "api" | "apiKey"> & { readonly load?: true }) => TextModel
  /** The same on a server that is well again, and how many requests it gets. */
  readonly mended: { readonly model: TextModel; readonly sent: () => number }
  /** All that was shown, to be searched for the key. */
  readonly said: Array<string>
  /** The requests that met the fault, as the server saw them. */
  readonly struck: ReadonlyArray<Asked>
}

/** What is right: how many requests are sent, at least and at most, and what comes of them. */
interface Expected<A> {
  readonly requests: number | readonly [least: number, most: number]
  readonly came: A
}

/** A use of the library. */
interface Pipeline<A> {
  readonly name: string
  /** The model: what it answers, as far as it answers. */
  readonly answer: (body: Body) => Answer
  readonly run: (cell: Cell) => Promise<A>
  readonly expect: (brings: Brings, strike: Strike, cell: Cell) => Expected<A>
}

/** A key with characters that JSON escapes. */
const key = 'sk-7Yq/Zm9v+bGV3ZQ"Rk1p\\Tt5xUw=='
const apiKey = Redacted.make(key)

/** What a request is known by, to the model and to the server. */
const contentOf = ({ messages, prompt }: Body): string => prompt ?? JSON.stringify(messages)

/** Puts each request of a model on a clock. */
const onClock = (
  { name, generate }: TextModel,
  api: "chat" | "completions",
  limited: Set<Limited>
): TextModel => ({
  name,
  generate: (request) => {
    const { messages, prompt } = request
    const content = contentOf(api === "completions" && prompt !== undefined ? { prompt } : { messages })
    return Stream.provideService(generate(request), Clock.Clock, makeClock(content, limited))
  }
})

const stray: Array<unknown> = []
process.on("unhandledRejection", (error) => stray.push(error))

// The handler logs what it does not show to a client.
const logged: Array<string> = []
const printing = { ...console }
const log = (...texts: ReadonlyArray<unknown>): void => void logged.push(...texts.map((text) => inspect(text)))
Object.assign(console, { log, error: log, warn: log, info: log, debug: log })

/** What the report adds up. */
const report = new Map<string, { cells: number; survived: number; requests: number }>()
/** How many requests were sent again, and how many texts were searched for the key. */
let repeated = 0
let searched = 0

const play = async <A>(fault: Fault, strike: Strike, pipeline: Pipeline<A>): Promise<void> => {
  const isStruck = strikes[strike]
  const healthy = faults.answers!.script
  const sceneOf = (asked: Asked) => ({ asked, answer: pipeline.answer(asked.body) })
  const limited = new Set<Limited>()
  const ended = new Set<Asked>()
  await using server = await serve(
    (asked, index) => (isStruck(index) && !fault.isRefused ? fault.script : healthy)(sceneOf(asked)),
    {
      now,
      onSilence: (asked, { _tag }) => {
        const content = contentOf(asked.body)
        for (const one of limited) {
          // Once for each request: one that was left, and does not know it yet, says nothing of the next try.
          if (one.key !== content || one.limit !== _tag || ended.has(asked)) continue
          ended.add(asked)
          one.end()
        }
      }
    }
  )
  await using mended = await serve((asked) => healthy(sceneOf(asked)))
  let sent = 0
  const model: Cell["model"] = ({ load, ...options }) => {
    const made = OpenAi.make({
      baseUrl: server.baseUrl,
      model: "m",
      retries: load ? 0 : RETRIES,
      apiKey,
      idleBytes: LIMITS.Silence,
      idleTokens: LIMITS.Comments,
      // Enough for what is not far too large.
      maxEventSize: 2 ** 20,
      fetch: (url, init) => {
        const isRefused = fault.isRefused && isStruck(sent)
        sent++
        return fetch(isRefused ? url.replace(server.baseUrl, `${closed}/v1`) : url, init)
      },
      ...options
    })
    const api = options.api ?? "chat"
    const one = onClock(made, api, limited)
    return load ? onClock(Load.make([{ model: one }], { retries: RETRIES, patience: Infinity }), api, limited) : one
  }
  const cell: Cell = {
    model,
    mended: {
      model: OpenAi.make({ baseUrl: mended.baseUrl, model: "m", apiKey }),
      sent: () => mended.asked.length
    },
    said: [],
    get struck() {
      return server.asked.filter((_, i) => isStruck(i))
    }
  }
  const came = await pipeline.run(cell)
  await server.closed()
  await mended.closed()

  const expected = pipeline.expect(fault.brings, strike, cell)
  assert.deepEqual(came, expected.came)
  const [least, most] = typeof expected.requests === "number"
    ? [expected.requests, expected.requests]
    : expected.requests
  const hops = !fault.isRedirect ? 0 : strike === "always" ? most : 1
  assert(least + hops <= sent && sent <= most + hops, `${sent} requests were sent, and not ${least} to ${most}`)
  if (!fault.isRefused) assert.equal(server.asked.length, sent, "no request is sent behind the model's back")
  const wait = fault.brings._tag === "Nothing" ? fault.brings.wait : undefined
  if (wait !== undefined && strike !== "second") {
    const [first, ...later] = server.asked
    const again = later.find(({ body }) => JSON.stringify(body) === JSON.stringify(first!.body))!
    assert(again.at - first!.at >= wait, `the server was left alone for ${again.at - first!.at} of ${wait} ms`)
  }
  if (fault.isHuge) assert(server.written() < sent * 2 ** 24, `${server.written()} bytes were written`)
  requireSecret(cell.said)
  if (!fault.isRedirect) {
    repeated += server.asked.length - new Set(server.asked.map(({ body }) => JSON.stringify(body))).size
  }
  const sum = report.get(pipeline.name) ?? { cells: 0, survived: 0, requests: 0 }
  report.set(pipeline.name, {
    cells: sum.cells + 1,
    survived: sum.survived + (isDeepEqual(came, pipeline.expect({ _tag: "Whole" }, strike, cell).came) ? 1 : 0),
    requests: sum.requests + sent
  })
}

const isDeepEqual = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other)

/** Fails where a text shows the key, or a piece of it that could be told from chance. */
const requireSecret = (texts: ReadonlyArray<string>): void => {
  searched += texts.length
  const forms = [key, JSON.stringify(key).slice(1, -1), encodeURIComponent(key)]
  const pieces = forms.flatMap((form) => Array.from({ length: form.length - 9 }, (_, i) => form.slice(i, i + 10)))
  const all = texts.join("\n")
  const at = Math.max(...pieces.map((piece) => all.indexOf(piece)))
  assert.equal(at, -1, `the key is shown: ${all.slice(Math.max(0, at - 500), at + 100)}`)
}

/** All that anything shows of a value: to a person, in a log, in a file. */
const showings = (value: unknown): Array<string> => {
  const said = [JSON.stringify(value) ?? "", String(value)]
  if (!(value instanceof Error)) return said
  const inspected = inspect(value, { depth: Infinity, showHidden: true })
  return [...said, inspected, value.message, value.stack ?? "", Cause.pretty(Cause.fail(value))]
}

// ---- reconstruction

const stepsOf = (name: string, count: number): string =>
  Array.from({ length: count }, (_, i) => `Step ${i} of ${name} is taken here.`).join("\n\n")

/** The first takes no summary, and the others two each. */
const samples = ["a", "b", "c", "d"].map((id, i) => ({
  id,
  question: `What of ${id}?`,
  reasoning: stepsOf(id, i === 0 ? 1 : 3),
  conclusion: `That is ${id}.`
}))

/** A summary that no other request gets; not all of its characters are ASCII, and one is none. */
const summaryOf = ({ messages = [] }: Body): string => {
  let hash = 7
  for (const { content } of messages) {
    for (const character of content) hash = (Math.imul(hash, 31) + character.codePointAt(0)!) >>> 0
  }
  return `* Known so far – 已知 😀 \uFFFD –: no. ${hash}`
}

const isAskedForSummary = ({ messages }: Body): boolean =>
  messages?.at(-1)?.content.startsWith("Your reasoning was interrupted") === true

/** The rows of each sample, or why it has none, in order; and how the stream failed, if it did. */
interface Rows {
  readonly rows: ReadonlyArray<readonly [id: string, rows: ReadonlyArray<unknown> | string]>
  readonly failure?: string
}

const reconstruct = (
  model: TextModel,
  { failures = "stop", concurrency = 1 }: Pick<Reconstruction.StreamOptions, "concurrency" | "failures">,
  said: Array<string> = []
): Effect.Effect<Rows> =>
  Effect.gen(function* () {
    const rows: Array<[string, Array<unknown> | string]> = []
    const exit = yield* Stream.fromIterable(samples).pipe(
      Stream.map(Result.succeed),
      Reconstruction.reconstruct({ eta: 8, gamma: 100, tries: 2, failures, concurrency }),
      Stream.runForEach((made) =>
        Effect.sync(() => {
          said.push(...showings(made))
          const id = Result.isSuccess(made) ? made.success.sample : made.failure.id!
          const last = rows.at(-1)
          if (Result.isFailure(made)) rows.push([id, made.failure.reason])
          else if (last?.[0] === id && typeof last[1] !== "string") last[1].push(made.success)
          else rows.push([id, [made.success]])
        })
      ),
      Effect.exit
    )
    if (Exit.isSuccess(exit)) return { rows }
    const error = Cause.squash(exit.cause)
    said.push(...showings(error), ...showings(exit.cause))
    assert(typeof error === "object" && error !== null && "reason" in error, inspect(error))
    // Which of the requests that are under way fails first is chance: the one that was denied, or one that is stopped.
    const isDenied = error.reason === "unauthorized" || error.reason === "not-found"
    return { rows, failure: isDenied && concurrency > 1 ? "stopped" : String(error.reason) }
  }).pipe(
    Effect.provide([Layer.succeed(Summarizer.Summarizer, Summarizer.make(model)), wordTokenizer])
  )

/** A model that answers without a server. */
const inProcess = (answer: (body: Body) => Answer): TextModel => ({
  name: "m",
  generate: ({ messages, prompt }: Request) => {
    const { reasoning = "", text } = answer({ messages, ...prompt !== undefined && { prompt } })
    return Stream.fromIterable<Part>([
      ...reasoning === "" ? [] : [{ _tag: "Reasoning", text: reasoning } as const],
      { _tag: "Text", text },
      { _tag: "Finish", reason: "stop" }
    ])
  }
})

const summarize = (body: Body): Answer => ({ text: summaryOf(body) })
const { rows: wholeRows } = await Effect.runPromise(reconstruct(inProcess(summarize), {}))
assert.deepEqual(wholeRows.map(([id, rows]) => [id, rows.length]), [["a", 1], ["b", 3], ["c", 3], ["d", 3]])
/** How many requests it takes. */
const SUMMARIES = 6

const reconstructing = (failures: "stop" | "reject", concurrency: number): Pipeline<Rows> => ({
  name: `reconstruct, failures: ${failures}`,
  answer: summarize,
  run: async ({ model, mended, said }) => {
    const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
    const path = join(folder, "journal")
    try {
      const journaled = (model: TextModel) =>
        Effect.scoped(Effect.gen(function* () {
          const journal = yield* Journal.open(path)
          const answers = journal.digest.answers
          const came = yield* reconstruct(journal.record(model), { failures, concurrency }, said)
          yield* journal.drain
          return { came, answers }
        })).pipe(Effect.provide(NodeServices.layer), Effect.runPromise)
      const { came } = await journaled(model({ load: true }))
      // Once the server is well again, only what has no answer is asked for, and all is as if nothing had been.
      const again = await journaled(mended.model)
      const isBlank = came.rows.some(([, rows]) => rows === "summary-empty")
      assert.deepEqual(again.came, isBlank ? came : { rows: wholeRows })
      const blank = readFileSync(path, "utf8").match(/"text":""/g)?.length ?? 0
      if (!isBlank) assert.equal(mended.sent(), SUMMARIES + blank - again.answers)
      said.push(readFileSync(path, "utf8"))
      return came
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
  expect: (brings, strike, { struck }) => {
    const all = { rows: wholeRows }
    const rejected = (reason: string, ...ids: ReadonlyArray<string>): Rows => ({
      rows: wholeRows.map(([id, rows]) => [id, ids.includes(id) ? reason : rows])
    })
    const failed = (failure: string): Rows => ({ rows: wholeRows.slice(0, 1), failure })
    const before = strike === "second" ? 1 : 0
    switch (brings._tag) {
      case "Whole":
        return { requests: SUMMARIES, came: all }
      case "Nothing":
      case "Part": {
        if (strike !== "always") return { requests: SUMMARIES + 1, came: all }
        if (failures === "reject") return { requests: 3 * TRIES, came: rejected("request-failed", "b", "c", "d") }
        const reason = brings._tag === "Part" || brings.reason === "interrupted" ? "failed" : brings.reason
        return { requests: TRIES, came: failed(reason) }
      }
      case "Blank":
        return strike === "always"
          ? { requests: 3 * 2, came: rejected("summary-empty", "b", "c", "d") }
          : { requests: SUMMARIES + 1, came: all }
      case "Refusal": {
        if (strike === "always") return { requests: 3, came: rejected("request-refused", "b", "c", "d") }
        // What was refused had an answer before, or it leaves out the one behind it.
        const { messages } = struck[0]!.body
        const id = /of (\w)/.exec(messages![0]!.content)![1]!
        return { requests: messages!.length > 3 ? SUMMARIES : SUMMARIES - 1, came: rejected("request-refused", id) }
      }
      case "Denial":
        return {
          requests: [before + 1, before + concurrency],
          came: failed(concurrency > 1 || brings.reason === "rate-limited" ? "stopped" : brings.reason)
        }
    }
  }
})

// ---- reasoning

const question = "What is 6 × 7?"
const outputs: ReadonlyArray<Output> = [
  { reasoning: "6 × 7 – 已知 – is 6 × 5 + 6 × 2.", ending: { _tag: "Summary", text: "* sum: 30 + 12 \uFFFD" } },
  { reasoning: "30 and 12, one by one 😀.", ending: { _tag: "Summary", text: "* only to be added: 42" } },
  { reasoning: "So that is it.", ending: { _tag: "Conclusion", text: "The answer is 42 😀." } }
]

/** The place in the trajectory that a prompt stands at. */
const placeOf = (text: string): number =>
  outputs.findLastIndex(({ ending }) => ending._tag === "Summary" && text.includes(ending.text)) + 1

const trained = ({ prompt = "" }: Body): Answer => {
  const [, history, written] = /Assistant:(?:<history>([^]*?)<\/history>)?([^]*)$/.exec(prompt)!
  const target = Dialect.target(Dialect.v1, outputs[placeOf(history ?? "")]!)
  if (!target.startsWith(written!)) throw new Error(`the prompt ends with ${JSON.stringify(written)}`)
  return { text: target.slice(written!.length) }
}

const prompted = ({ messages = [] }: Body): Answer => ({
  text: Dialect.target(Dialect.chat, outputs[placeOf(messages.at(-1)!.content)]!)
})

const guided = (body: Body): Answer => {
  if (isAskedForSummary(body)) return { text: "* sum: 30 + 12 \uFFFD" }
  const isLater = body.messages?.at(-1)?.content.includes("<history>")
  return isLater
    ? { reasoning: "So that is it.", text: "The answer is 42 😀." }
    : { reasoning: stepsOf("the sum", 9), text: "Never came here." }
}

/** What a trajectory came to: the outputs of its iterations, and its outcome, or why it failed. */
interface Reasoned {
  readonly outputs: ReadonlyArray<Output | null>
  readonly end: string
}

const reason = (model: TextModel, options: Reasoner.Options, said: Array<string> = []): Promise<Reasoned> =>
  readEvents(
    Reasoner.reason(question, { ...options, ...repairing }).pipe(
      Stream.provideService(TextModel, model)
    ),
    said
  )

const repairing = { repairs: ["continue", "sample"], stagnation: "off" } as const

const readEvents = async (happened: Stream.Stream<Reasoner.Event, unknown>, said: Array<string>): Promise<Reasoned> => {
  const events: Array<Reasoner.Event> = []
  const exit = await happened.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.exit,
    Effect.runPromise
  )
  said.push(...events.flatMap(showings))
  const ended = events.filter((event) => event._tag === "IterationEnded")
  for (const { index, output } of ended) {
    assert.deepEqual(shownOf(events, index), textsOf(output), "what is shown is what came of it")
  }
  const came = { outputs: ended.map(({ output }) => output) }
  const last = events.at(-1)
  if (Exit.isSuccess(exit)) {
    assert(last?._tag === "TrajectoryEnded")
    return { ...came, end: last.outcome._tag }
  }
  const error = Cause.squash(exit.cause)
  said.push(...showings(error), ...showings(exit.cause))
  assert(error instanceof Reasoner.ReasonerError, inspect(error))
  // The state that can be gone on from is the last good one.
  const { index, summaries } = error.state
  const summary = ended.at(-1)?.output?.ending.text
  assert.deepEqual([index, summaries], [ended.length, summary === undefined ? [] : [summary]])
  return { ...came, end: error.cause.reason }
}

/** What an iteration showed that is not void: of each section, the text. */
const shownOf = (events: ReadonlyArray<Reasoner.Event>, index: number): Record<string, string> => {
  let shown: Record<string, string> = {}
  for (const event of events) {
    if (!("index" in event) || event.index !== index) continue
    if (event._tag === "Repair" && event.repair === "sample") shown = {}
    if (event._tag === "Delta") shown[event.section] = (shown[event.section] ?? "") + event.text
  }
  return shown
}

const textsOf = (output: Output | null): Record<string, string> =>
  output === null ? {} : { reasoning: output.reasoning, [output.ending._tag.toLowerCase()]: output.ending.text }

const tokenizer = await Effect.runPromise(Effect.provide(Tokenizer, wordTokenizer))
const guidedOptions: Reasoner.Options = { eta: 40, gamma: 100, tokenizer, guide: {} }
const guidedOutputs = (await reason(inProcess(guided), guidedOptions)).outputs
assert.deepEqual(guidedOutputs.map((output) => output?.ending.text), ["* sum: 30 + 12 \uFFFD", "The answer is 42 😀."])

/** What is right of a trajectory of three requests, of which the second asks for a summary where it is guided. */
const expectReasoned = (
  manner: "trained" | "prompted" | "guided",
  brings: Brings,
  strike: Strike
): Expected<Reasoned> => {
  const healthy = manner === "guided" ? guidedOutputs : outputs
  const all = (requests: number) => ({ requests, came: { outputs: healthy, end: "Concluded" } })
  const failed = (requests: number, end: string) => {
    const done = strike === "second" && manner !== "guided" ? 1 : 0
    return { requests, came: { outputs: healthy.slice(0, done), end } }
  }
  const before = strike === "second" ? 1 : 0
  switch (brings._tag) {
    case "Whole":
      return all(3)
    case "Nothing":
      if (strike !== "always") return all(4)
      // What broke off, though before it had begun, is worth another sample.
      return failed(brings.reason === "interrupted" ? 2 * TRIES : TRIES, brings.reason)
    case "Part":
      // Only raw completions can be gone on with.
      return strike === "always" ? failed(manner === "trained" ? 3 : 2, "interrupted") : all(4)
    case "Blank":
      return strike === "always" ? failed(2, "Empty") : all(4)
    case "Refusal":
      // A summary that is refused is no summary, and its iteration is sampled anew.
      return manner === "guided" && strike === "second" ? all(5) : failed(before + 1, "refused")
    case "Denial":
      return failed(before + 1, brings.reason)
  }
}

const reasoning = (
  manner: "trained" | "prompted" | "guided",
  answer: (body: Body) => Answer,
  options: Reasoner.Options,
  api: "chat" | "completions"
): Pipeline<Reasoned> => ({
  name: `reason, ${manner}`,
  answer,
  run: ({ model, said }) => reason(model({ api }), options, said),
  expect: (brings, strike) => expectReasoned(manner, brings, strike)
})

const promising: Pipeline<Reasoned> = {
  ...reasoning("prompted", prompted, {}, "chat"),
  name: "promises",
  run: ({ model, said }) =>
    readEvents(
      Stream.fromAsyncIterable(Promises.reason(question, { model: model({}), ...repairing }), (error) => error),
      said
    )
}

// ---- a language model

/** What a language model made of a reasoner wrote, or why it failed. */
interface Written {
  readonly text: string
  readonly end: string
}

const writing: Pipeline<Written> = {
  name: "language model",
  answer: prompted,
  run: async ({ model, said }) => {
    const layer = Layer.provide(LanguageModel.layer(repairing), Layer.sync(TextModel, () => model({})))
    const exit = await Ai.generateText({ prompt: question }).pipe(
      Effect.provide(layer),
      Effect.exit,
      Effect.runPromise
    )
    if (Exit.isSuccess(exit)) {
      said.push(...showings(exit.value))
      return { text: exit.value.text, end: exit.value.finishReason }
    }
    const error = Cause.squash(exit.cause)
    said.push(...showings(error), ...showings(exit.cause))
    assert(AiError.isAiError(error), inspect(error))
    return { text: "", end: error.reason._tag }
  },
  expect: (brings, strike) => {
    const { requests, came } = expectReasoned("prompted", brings, strike)
    const text = came.end === "Concluded" ? "The answer is 42 😀." : ""
    return { requests, came: { text, end: ENDS[came.end] ?? "InternalProviderError" } }
  }
}

/** What ends are called in `effect/ai`. */
const ENDS: Readonly<Record<string, string>> = {
  "Concluded": "stop",
  "Empty": "error",
  "unauthorized": "AuthenticationError",
  "refused": "InvalidRequestError",
  "not-found": "InvalidRequestError",
  "rate-limited": "RateLimitError"
}

// ---- the web handler

/** What a client of the handler got. */
interface Got {
  /** The conclusion, in as many parts as it came in. */
  readonly content: ReadonlyArray<string>
  readonly finish: ReadonlyArray<string>
  /** The code of the error. */
  readonly error: string | null
}

const webbing: Pipeline<Got> = {
  name: "web handler",
  answer: prompted,
  run: async ({ model, said }) => {
    const handler = Web.handler(
      ({ key }) => Layer.sync(TextModel, () => model({ apiKey: key })),
      { repairs: ["continue", "sample"], stagnation: "off" }
    )
    await using front = await listen(handler)
    const response = await fetch(`${front.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", "authorization": `Bearer ${key}` },
      body: JSON.stringify({ stream: true, messages: [{ role: "user", content: question }] })
    })
    const text = await response.text()
    said.push(text, JSON.stringify([...response.headers]))
    const isStream = response.headers.get("content-type") === "text/event-stream"
    const data = isStream ? parseEvents(text).map(({ data }) => data) : [text]
    const isDone = data.at(-1) === "[DONE]"
    const chunks = data.filter((data) => data !== "[DONE]").map((data): Chunk => JSON.parse(data))
    const choices = chunks.flatMap(({ choices = [] }) => choices)
    const finish = choices.flatMap(({ finish_reason }) => finish_reason ?? [])
    const error = chunks.find(({ error }) => error !== undefined)?.error?.code ?? null
    assert.equal(isDone, finish.length > 0, "what is done has finished")
    if (!isStream) assert(response.status >= 400 && error !== null, `${response.status}: ${text}`)
    const reasoned = choices.map(({ delta }) => delta.reasoning_content ?? "").join("")
    for (const { reasoning } of error === null ? outputs : []) assert(reasoned.includes(reasoning), reasoned)
    return { content: choices.flatMap(({ delta }) => delta.content || []), finish, error }
  },
  expect: (brings, strike) => {
    const { requests, came } = expectReasoned("prompted", brings, strike)
    return {
      requests,
      came: came.end === "Concluded"
        ? { content: ["The answer is 42 😀."], finish: ["stop"], error: null }
        : { content: [], finish: [], error: came.end }
    }
  }
}

/** A chunk of the handler's answer. */
interface Chunk {
  readonly choices?: ReadonlyArray<{
    readonly delta: { readonly content?: string; readonly reasoning_content?: string }
    readonly finish_reason: string | null
  }>
  readonly error?: { readonly code: string }
}

// ---- the matrix

const pipelines = [
  reconstructing("stop", 1),
  reconstructing("reject", 3),
  reasoning("trained", trained, { dialect: Dialect.v1 }, "completions"),
  reasoning("prompted", prompted, {}, "chat"),
  reasoning("guided", guided, guidedOptions, "chat"),
  promising,
  writing,
  webbing
]

/** Plays all cells of a fault, and tells what went wrong in them. */
const playAll = async (fault: Fault): Promise<string> => {
  const cells = Object.keys(strikes).flatMap((strike) =>
    pipelines.map(async (pipeline) => {
      // SAFETY: these are the keys of `strikes`.
      await play<unknown>(fault, strike as Strike, pipeline).catch((error) => {
        throw new Error(`${pipeline.name}, ${strike}: ${error.message}`)
      })
    })
  )
  const failures = (await Promise.allSettled(cells)).filter((cell) => cell.status === "rejected")
  return failures.map(({ reason }) => reason.message).join("\n\n")
}

// A few are played at once, because most of the time they wait.
const turns = Semaphore.makeUnsafe(4)
const played = Object.entries(faults).map(([name, fault]) => {
  return [name, Effect.runPromise(turns.withPermit(Effect.promise(() => playAll(fault))))] as const
})

for (const [name, failures] of played) {
  test(`a server that ${name}`, async () => assert.equal(await failures, ""))
}

for (const name of ["fails with 502, and a web page", "tears its JSON in the middle", "does not know the key"]) {
  test(`no output, journal or manifest shows the key of a server that ${name}`, async () => {
    const fault = faults[name]!
    await using server = await serve((asked, index) =>
      (index === 0 ? fault : faults.answers!).script({ asked, answer: summarize(asked.body) })
    )
    const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
    try {
      writeFileSync(join(folder, "in.jsonl"), samples.map((sample) => `${JSON.stringify(sample)}\n`).join(""))
      const asking = ["--eta", "8", "--base-url", server.baseUrl, "--model", "m", "--api-key-env", "FAULT_KEY"]
      const ran = await run(folder, ["reconstruct", "in.jsonl", "--out", "rows.jsonl", ...asking], { FAULT_KEY: key })
      const isDenied = fault.brings._tag === "Denial"
      assert.equal(ran.code, isDenied ? 1 : 0, ran.stderr)
      const files = readdirSync(folder)
      assert.equal(files.some((file) => file.endsWith("manifest.json")), !isDenied, files.join())
      assert(files.includes("rows.journal.jsonl"), files.join())
      assert(server.asked.every((asked) => asked.key === key), "the key is sent")
      requireSecret([ran.stdout, ran.stderr, ...files.map((file) => readFileSync(join(folder, file), "utf8"))])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
}

test("a server that keeps connections open, and closes each at the next request, answers every request once", async () => {
  const sockets = new WeakSet<Socket>()
  let cut = 0
  const server = createServer((request, response) => {
    if (sockets.has(request.socket)) {
      cut++
      return void request.socket.resetAndDestroy()
    }
    sockets.add(request.socket)
    const text = 'data: {"choices":[{"delta":{"content":"42"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    request.resume().on("end", () => response.writeHead(200, { "content-type": "text/event-stream" }).end(text))
  })
  await using loopback = await listenOn(server)
  const baseUrl = `${loopback.url}/v1`
  const model = onClock(OpenAi.make({ baseUrl, model: "m", retries: RETRIES }), "chat", new Set())
  for (let i = 0; i < 6; i++) {
    const { text } = await complete({ messages: [{ role: "user", content: question }] }).pipe(
      Effect.provideService(TextModel, model),
      Effect.runPromise
    )
    assert.equal(text, "42")
  }
  assert(cut > 0, "a connection was closed at a request")
})

test("no rejection is left unhandled, and no log shows the key", () => {
  assert.deepEqual(stray, [])
  requireSecret(logged)
})

after(() => {
  Object.assign(console, printing)
  const sum = (of: "cells" | "survived" | "requests"): number =>
    [...report.values()].reduce((sum, cells) => sum + cells[of], 0)
  record("faults", {
    "faults": Object.keys(faults).length,
    "pipelines": pipelines.length,
    "cells: a fault, a pipeline, which of its requests": sum("cells"),
    "cells that came to the right end": sum("survived"),
    "cells that ended with the right error or rejection": sum("cells") - sum("survived"),
    "requests": sum("requests"),
    "requests that were sent again": repeated,
    "texts searched for the key": searched
  })
  if (process.env["INFTYTHINK_REPORT"] === undefined) return
  const line = (name: string, ...columns: ReadonlyArray<string | number>): string =>
    name.padEnd(30) + columns.map((column) => String(column).padStart(10)).join("")
  const lines = [...report].map(([name, { cells, survived, requests }]) => line(name, cells, survived, requests))
  console.log(`\n${[line("pipeline", "cells", "survived", "requests"), ...lines].join("\n")}`)
})
