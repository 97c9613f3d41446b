import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { createServer } from "node:http"
import { test } from "node:test"
import {
  type Options,
  parseState,
  reason,
  type Server,
  signState,
  solve,
  step,
  verifyState
} from "../../lib/adapters/Promise.ts"
import { type Event, ReasonerError } from "../../lib/Reasoner.ts"
import { type State, StateError } from "../../lib/State.ts"
import * as TextModel from "../../lib/TextModel.ts"
import { delta, events } from "../support/fetch.ts"
import { listenOn } from "../support/loopback.ts"
import { scripted } from "../support/model.ts"
import { serve } from "../support/server.ts"

const question = "What is 6 × 7?"
const first = "<think>\n6 × 7 is\n</think>\n<summary>\n6 × 7 is asked.\n</summary>"
const second = "<think>\n42, surely.\n</think>It is 42."

/** What happens, without deltas. */
const outline = async (happened: AsyncIterable<Event>): Promise<{ readonly tags: string; readonly state: State }> => {
  const tags: Array<string> = []
  let state: State | undefined
  for await (const event of happened) {
    if (event._tag !== "Delta") tags.push(event._tag)
    if ("state" in event) state = event.state
  }
  assert(state !== undefined)
  return { tags: tags.join(" "), state }
}

const server = (baseUrl: string, more: Partial<Server> = {}): Server => ({ baseUrl, model: "m", retries: 0, ...more })

test("solve gives the outcome, from a server", async () => {
  await using loopback = await serve((_, index) => index === 0 ? first : second)
  const model = server(loopback.baseUrl, { apiKey: "sk-1", headers: { "x-mine": "1" }, body: { top_k: 1 } })
  const { outcome, conclusion, state } = await solve(question, { model, eta: 512 })
  assert.deepEqual(outcome, { _tag: "Concluded", conclusion: "It is 42." })
  assert.equal(conclusion, "It is 42.")
  assert.deepEqual([state.index, state.settings.eta], [2, 512])
  assert.deepEqual(loopback.asked.map(({ url, authorization }) => [url, authorization]), [
    ["/v1/chat/completions", "Bearer sk-1"],
    ["/v1/chat/completions", "Bearer sk-1"]
  ])
  assert.deepEqual(Object(loopback.asked[0]?.body)["top_k"], 1)
  assert.match(JSON.stringify(loopback.asked[1]?.body), /6 × 7 is asked\./)
})

test("reason gives what happens, from a server", async () => {
  await using loopback = await serve((_, index) => index === 0 ? first : second)
  const happened = reason(question, { model: server(loopback.baseUrl) })
  const texts: Record<string, string> = {}
  const tags: Array<string> = []
  for await (const event of happened) {
    if (event._tag === "Delta") texts[event.section] = (texts[event.section] ?? "") + event.text
    else tags.push(event._tag)
  }
  assert.deepEqual(tags, [
    "IterationStarted",
    "IterationEnded",
    "IterationStarted",
    "IterationEnded",
    "TrajectoryEnded"
  ])
  assert.deepEqual(texts, { reasoning: "6 × 7 is42, surely.", summary: "6 × 7 is asked.", conclusion: "It is 42." })
})

/** A TextModel that follows a script. */
const modelOf = (...replies: ReadonlyArray<TextModel.Reply>) => {
  const { layer, requests } = scripted(...replies)
  const model = Effect.runSync(Effect.provide(TextModel.TextModel, layer))
  return { model, requests }
}

test("step runs one iteration, and each way goes on from its saved state", async () => {
  const { model, requests } = modelOf(first, second)
  const { tags, state } = await outline(step(question, { model }))
  assert.equal(tags, "IterationStarted IterationEnded")
  assert.equal(requests.length, 1)
  for (const saved of [JSON.stringify(state), JSON.parse(JSON.stringify(state))]) {
    const parsed = parseState(saved)
    assert.deepEqual(parsed, state)
    assert.equal(
      (await outline(step(parsed, { model }))).tags,
      "IterationStarted IterationEnded TrajectoryEnded"
    )
    assert.equal(
      (await outline(reason(parsed, { model }))).tags,
      "IterationStarted IterationEnded TrajectoryEnded"
    )
    assert.equal((await solve(parsed, { model })).conclusion, "It is 42.")
  }
  assert.throws(() => parseState("{}"), StateError)
})

test("a state that was signed reads back as it was given, and no other does", async () => {
  const { model } = modelOf(first, second)
  const { state } = await outline(step(question, { model }))
  const secret = "0123456789abcdef0123456789abcdef"
  const signed = await signState(state, { secret })
  assert.deepEqual(await verifyState(JSON.stringify(signed), { secret }), state)
  assert.deepEqual(await verifyState(signed, { secret, maxAge: 60_000 }), state)
  const reasonOf = (json: unknown, options: Parameters<typeof verifyState>[1]): Promise<unknown> =>
    verifyState(json, options).then(() => "read", (error) => error instanceof StateError ? error.reason : error)
  assert.equal(await reasonOf(state, { secret }), "unsigned")
  assert.equal(await reasonOf({ ...signed, index: 7 }, { secret }), "unsigned")
  assert.equal(await reasonOf(signed, { secret: secret.toUpperCase() }), "unsigned")
  assert.equal(await reasonOf("{}", { secret }), "invalid")
  await assert.rejects(signState(state, { secret: "short" }), RangeError)
  await assert.rejects(verifyState(signed, { secret: "short" }), RangeError)
  await assert.rejects(verifyState(signed, { secret, maxAge: NaN }), RangeError)
})

test("options reach the reasoner, and a summarizer may be another model", async () => {
  const writer = modelOf("6 × 7 is asked.")
  const { model, requests } = modelOf(
    [{ _tag: "Reasoning", text: "So, 6 × 7.\n\nThat is\n\n" }, { _tag: "Reasoning", text: "more than this." }],
    second
  )
  const tokenizer = { name: "words", count: (text: string) => text.match(/\S+/g)?.length ?? 0, additive: true }
  const options: Options = {
    model,
    summarizer: writer.model,
    eta: 4,
    gamma: 16,
    tokenizer,
    guide: {},
    limits: { iterations: 1 }
  }
  const { outcome, state } = await solve(question, options)
  assert.deepEqual(outcome, { _tag: "Exhausted", limit: "iterations", conclusion: null })
  assert.deepEqual(state.summaries, ["6 × 7 is asked."])
  assert.deepEqual([requests.length, writer.requests.length], [1, 1])
})

test("a bad option throws a RangeError", async () => {
  const { model } = modelOf(second)
  assert.throws(() => reason(question, { model, eta: 1 }), RangeError)
  assert.throws(() => step(question, { model, eta: 1 }), RangeError)
  await assert.rejects(solve(question, { model, eta: 1 }), RangeError)
  assert.throws(() => reason(question, { model: server("localhost") }), RangeError)
})

test("a server that keeps failing is a ReasonerError, with the last good state", async () => {
  await using loopback = await serve((_, index) => index === 0 ? first : 401)
  const model = server(loopback.baseUrl, { apiKey: "sk-secret" })
  const check = (index: number) => (error: unknown) => {
    assert(error instanceof ReasonerError)
    assert(error.cause instanceof TextModel.ModelError)
    assert.deepEqual([error._tag, error.cause.reason, error.state.index], ["ReasonerError", "unauthorized", index])
    return true
  }
  await assert.rejects(solve(question, { model }), check(1))
  await assert.rejects(outline(reason(question, { model })), check(0))
  await assert.rejects(outline(step(question, { model })), check(0))
})

/** A server that begins an answer and never ends it. */
const hang = async () => {
  const asked = Promise.withResolvers<void>()
  const closed = Promise.withResolvers<void>()
  const server = createServer((request, response) => {
    request.resume()
    response.on("close", closed.resolve)
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.write(events(delta({ content: "<think>\n6 × 7 is more" })))
    asked.resolve()
  })
  const loopback = await listenOn(server)
  return {
    model: { baseUrl: `${loopback.url}/v1`, model: "m" },
    asked: asked.promise,
    closed: closed.promise,
    [Symbol.asyncDispose]: () => loopback[Symbol.asyncDispose]()
  }
}

test("abort rejects with the signal's reason, and closes the connection", async () => {
  const reasons = [new Error("enough"), "enough", undefined]
  for (const why of reasons) {
    await using server = await hang()
    const controller = new AbortController()
    const solved = solve(question, { model: server.model, signal: controller.signal })
    await server.asked
    controller.abort(why)
    await assert.rejects(solved, (error) => error === controller.signal.reason)
    await server.closed
  }
  for (const run of [reason, step]) {
    await using server = await hang()
    const controller = new AbortController()
    const why = new Error("enough")
    const happened = outline(run(question, { model: server.model, signal: controller.signal }))
    await server.asked
    controller.abort(why)
    await assert.rejects(happened, (error) => error === why)
    await server.closed
  }
})

test("abort closes the connection while the loop is busy, and the loop ends with the signal's reason", async () => {
  await using server = await hang()
  const controller = new AbortController()
  const why = new Error("enough")
  const seen: Array<string> = []
  const loop = async () => {
    for await (const event of reason(question, { model: server.model, signal: controller.signal })) {
      seen.push(event._tag)
      if (event._tag !== "Delta") continue
      controller.abort(why)
      await server.closed
    }
  }
  await assert.rejects(loop, (error) => error === why)
  assert.deepEqual(seen, ["IterationStarted", "Delta"])
})

test("a signal that was aborted before sends nothing", async () => {
  const { model, requests } = modelOf(second)
  const why = new Error("enough")
  const signal = AbortSignal.abort(why)
  // Which would ask at once, before anything else happens.
  const options: Options = { model, signal, limits: { iterations: 0 }, conclude: "force" }
  await assert.rejects(solve(question, options), (error) => error === why)
  await assert.rejects(outline(reason(question, options)), (error) => error === why)
  await assert.rejects(outline(step(question, options)), (error) => error === why)
  assert.deepEqual(requests, [])
})

test("leaving the loop closes the connection, and forgets the signal", async () => {
  await using server = await hang()
  const { signal } = new AbortController()
  let listeners = 0
  const { addEventListener, removeEventListener } = signal
  signal.addEventListener = (...parameters: Parameters<typeof addEventListener>) => {
    listeners++
    addEventListener.apply(signal, parameters)
  }
  signal.removeEventListener = (...parameters: Parameters<typeof removeEventListener>) => {
    listeners--
    removeEventListener.apply(signal, parameters)
  }
  for await (const event of reason(question, { model: server.model, signal })) {
    if (event._tag === "Delta") break
  }
  await server.closed
  assert.equal(listeners, 0)
})

test("an iteration is not asked for before the one before it was read", async () => {
  const { model, requests } = modelOf(first, second)
  for await (const event of reason(question, { model })) {
    if (event._tag === "IterationEnded" && event.index === 1) assert.equal(requests.length, 1)
  }
  assert.equal(requests.length, 2)
})
