/**
 * Many uses of the library at once, on servers that fail now and then, for clients that leave when they like: nothing
 * gets lost, comes twice or is wrong, and nothing is left over.
 *
 * `INFTYTHINK_SOAK=3600 node --test tests/soak.test.ts` keeps at it for an hour, and not for the few turns that a test
 * takes. Which request meets which fault, and who leaves when, depends on nothing but its id: the same turns are the same
 * everywhere.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import process from "node:process"
import { after, test } from "node:test"
import { inspect } from "node:util"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as OpenAi from "../lib/adapters/OpenAi.ts"
import * as Web from "../lib/adapters/Web.ts"
import * as Dialect from "../lib/core/Dialect.ts"
import type { Output } from "../lib/core/Iteration.ts"
import * as Load from "../lib/Load.ts"
import * as Reasoner from "../lib/Reasoner.ts"
import * as Reconstruction from "../lib/Reconstruction.ts"
import * as Summarizer from "../lib/Summarizer.ts"
import { ModelError, type Part, TextModel } from "../lib/TextModel.ts"
import { type Limited, LIMITS, makeClock, now } from "./support/clock.ts"
import { type Answer, type Asked, type Body, type Fault, faults, serve, type Silence } from "./support/faults.ts"
import { record } from "./support/figures.ts"
import { wordTokenizer } from "./support/model.ts"
import { makeRandom } from "./support/traces.ts"
import { listen, parseEvents } from "./support/web.ts"

const isBun = "Bun" in globalThis
const isNode = !isBun && !("Deno" in globalThis)

/** For how long, in milliseconds; no longer than the turns take by default. */
const time = Number(process.env["INFTYTHINK_SOAK"] ?? 0) * 1000
/** The fewest turns. The first is not measured, because programs take more memory until they are warm. */
const TURNS = isNode ? 9 : 5
/** How many uses there are in a turn, and how many of them at once. */
const USES = isNode ? 70 : 49
const AT_ONCE = 64
/** The share of answers that are faulty, of those that are only unusual, and of uses that are left. */
const FAULTY = 0.05
const UNUSUAL = 0.05
const LEFT = 0.2
/**
 * How much more memory may be in use behind the last quarter than behind the first, in bytes. Code that is compiled later
 * takes up to a quarter of that; to hold on to a hundred characters, or to a signal, of every request takes more after
 * few turns.
 */
const SLACK = 2 * 2 ** 20

// ---- chance

/** A number from 0 to below 1 that depends on nothing but a text. */
const draw = (text: string): number => {
  let hash = 7
  for (const character of text) hash = Math.imul(hash, 31) + character.codePointAt(0)! | 0
  return makeRandom(hash)()
}

const pick = <A>(items: ReadonlyArray<A>, chance: number): A => items[Math.floor(chance * items.length)]!

/** Those that pass when a request is sent again, and those that are none to whoever asks. */
const recoverable = Object.values(faults).filter(({ brings, isRefused }) =>
  !isRefused && (brings._tag === "Nothing" || brings._tag === "Part" || brings._tag === "Blank")
)
const unusual = Object.values(faults).filter((fault) => fault.brings._tag === "Whole" && fault !== faults["answers"])

/** What the server does with a request that is the how-manieth of its id. */
const faultOf = (id: string, index: number): Fault => {
  const chance = draw(`${id} is asked ${index}`)
  if (chance < FAULTY) return pick(recoverable, draw(`${id} fails ${index}`))
  return chance < FAULTY + UNUSUAL ? pick(unusual, draw(`${id} differs ${index}`)) : faults["answers"]!
}

/** Behind how many events, chunks and requests a use is left, if it is: rather few, since chunks may come as one. */
const leaves = (id: string, most: number): number | undefined =>
  draw(`${id} leaves`) < LEFT ? 1 + Math.floor(draw(`${id} leaves at`) ** 2 * most) : undefined

// ---- what is right

const questionOf = (id: string): string => `What comes of ${id}?`
/** What a request says of its question. */
const textOf = ({ prompt, messages }: Body): string => prompt ?? JSON.stringify(messages)
const idOf = (text: string): string => /comes of (\w+)\?/.exec(text)![1]!

/** The trajectory of a question. */
const outputsOf = (id: string): ReadonlyArray<Output> => {
  const count = 2 + Math.floor(draw(`${id} takes`) * 3)
  return Array.from({ length: count }, (_, i) => {
    const steps = 1 + Math.floor(draw(`${id} takes ${i}`) * 12)
    return {
      reasoning: Array.from({ length: steps }, (_, k) => `Step ${k} of ${i} of ${id} – 已知 😀 – is taken.`).join(
        "\n\n"
      ),
      ending: i === count - 1
        ? { _tag: "Conclusion", text: `That is ${id} 😀, after ${i}.` }
        : { _tag: "Summary", text: `* known of ${id}, up to part ${i}: 已知 😀 \uFFFD` }
    }
  })
}

/** The output that goes on from a text: the one behind the last summary that it holds. */
const nextOutput = (outputs: ReadonlyArray<Output>, text: string): Output =>
  outputs[outputs.findLastIndex(({ ending }) => ending._tag === "Summary" && text.includes(ending.text)) + 1]!

/** What a model answers that is whole: a summary, an iteration, or the rest of one. */
const answerOf = ({ prompt, messages = [] }: Body): Answer => {
  if (prompt !== undefined) {
    const [, history = "", written = ""] = /Assistant:(?:<history>([^]*?)<\/history>)?([^]*)$/.exec(prompt)!
    const target = Dialect.target(Dialect.v1, nextOutput(outputsOf(idOf(prompt)), history))
    assert(target.startsWith(written), `the prompt ends with ${JSON.stringify(written)}`)
    return { text: target.slice(written.length) }
  }
  const last = messages.at(-1)!.content
  if (last.startsWith("Your reasoning was interrupted")) {
    // It depends on every character of what was asked.
    return { text: `* known so far – 已知 😀 \uFFFD –: no. ${draw(JSON.stringify(messages))}` }
  }
  return { text: Dialect.target(Dialect.chat, nextOutput(outputsOf(idOf(last)), last)) }
}

// ---- what is held

const held = { fibers: 0, requests: 0, uses: 0 }
const totals = { uses: 0, load: 0, requests: 0, bytes: 0, faults: 0, survived: 0, left: 0, failed: 0 }
/** What went wrong, a few of them. */
const problems: Array<string> = []
/** Why uses failed, some of them. */
const failures: Array<string> = []
const strays: Array<unknown> = []
process.on("unhandledRejection", (error) => strays.push(error))

const fibers: Metric.FiberRuntimeMetricsService = {
  recordFiberStart: () => void held.fibers++,
  recordFiberEnd: () => void held.fibers--
}

const limited = new Set<Limited>()
const ended = new WeakSet<Asked>()

/** Ends the limit of a request that gets nothing. */
const onSilence = (asked: Asked, { _tag }: Silence): void => {
  const id = idOf(textOf(asked.body))
  const over = [...limited].filter((one) => one.key === id && one.limit === _tag)
  // Once for each request: one that was left, and does not know it yet, says nothing of the next try.
  if (over.length === 0 || ended.has(asked)) return
  ended.add(asked)
  for (const { end } of over) end()
}

/** Puts each request of a model on a clock, and counts its fibers. */
const watched = ({ name, generate }: TextModel): TextModel => ({
  name,
  generate: (request) =>
    generate(request).pipe(
      Stream.provideService(Clock.Clock, makeClock(idOf(textOf(request)), limited)),
      Stream.provideService(Metric.FiberRuntimeMetrics, fibers)
    )
})

/** A model whose requests are counted until they are let go. */
const connect = (baseUrl: string, options: Pick<OpenAi.Options, "api" | "retries"> = {}): TextModel =>
  watched(OpenAi.make({
    baseUrl,
    model: "m",
    idleBytes: LIMITS.Silence,
    idleTokens: LIMITS.Comments,
    maxEventSize: 2 ** 20,
    fetch: (url, init) => {
      totals.requests++
      held.requests++
      init.signal!.addEventListener("abort", () => held.requests--, { once: true })
      return fetch(url, init)
    },
    ...options
  }))

// ---- a use: it comes to its end, fails, or is left, and throws where it does none of it rightly

type End = "whole" | "failed" | "left"

/** Notes why one failed, as it may. */
const fail = ({ id }: Site, why: string): End => {
  if (failures.length < 10) failures.push(`${id}: ${why}`)
  return "failed"
}

/** What a use has to work with. */
interface Site {
  readonly id: string
  readonly chat: TextModel
  readonly completions: TextModel
  readonly load: TextModel
  /** The address of the web handler. */
  readonly front: string
  /** Aborts when it is to be left. */
  readonly signal: AbortSignal
  /** Says that something happened, behind which it may be left. */
  readonly tick: () => void
}

/** Fails where what came is not the beginning of what is right. */
const requirePrefix = (came: ReadonlyArray<unknown>, right: ReadonlyArray<unknown>): void =>
  assert.deepEqual(came, right.slice(0, came.length))

const runUntilLeft = <A, E>(effect: Effect.Effect<A, E>, { signal }: Site): Promise<Exit.Exit<A, E>> =>
  Effect.runPromiseExit(Effect.provideService(effect, Metric.FiberRuntimeMetrics, fibers), { signal })

/** Reasons with a model that follows instructions, or with one that was trained. */
const reason = (manner: "chat" | "completions") => async (site: Site): Promise<End> => {
  const events: Array<Reasoner.Event> = []
  const outputs = outputsOf(site.id)
  const exit = await runUntilLeft(
    Reasoner.reason(questionOf(site.id), {
      dialect: manner === "chat" ? Dialect.chat : Dialect.v1,
      repairs: ["continue", "sample"],
      stagnation: "off"
    }).pipe(
      Stream.runForEach((event) =>
        Effect.sync(() => {
          events.push(event)
          site.tick()
        })
      ),
      Effect.provideService(TextModel, site[manner])
    ),
    site
  )
  const ended = events.filter((event) => event._tag === "IterationEnded")
  // Where an iteration is given up, its outcome ends the trajectory.
  const came = ended.flatMap(({ output }) => output ?? [])
  requirePrefix(came, outputs)
  for (const { index, output } of ended) {
    if (output !== null) assert.deepEqual(shownOf(events, index), textsOf(output), "what is shown is what came of it")
  }
  const last = events.at(-1)
  if (Exit.isSuccess(exit)) {
    assert(last?._tag === "TrajectoryEnded")
    if (last.outcome._tag !== "Concluded") return fail(site, last.outcome._tag)
    assert.equal(came.length, outputs.length)
    assert.equal(last.outcome.conclusion, outputs.at(-1)!.ending.text)
    return "whole"
  }
  if (Cause.hasInterruptsOnly(exit.cause)) return "left"
  const error = Cause.squash(exit.cause)
  assert(error instanceof Reasoner.ReasonerError, inspect(error))
  assert.equal(error.state.index, came.length)
  return fail(site, error.message)
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

const textsOf = ({ reasoning, ending }: Output): Record<string, string> => ({
  reasoning,
  [ending._tag.toLowerCase()]: ending.text
})

/** Asks the web handler. */
const ask = async (site: Site): Promise<End> => {
  const { id, front, signal, tick } = site
  let text = ""
  let status = 200
  try {
    const response = await fetch(`${front}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ stream: true, messages: [{ role: "user", content: questionOf(id) }] }),
      signal
    })
    status = response.status
    const decoder = new TextDecoder()
    for await (const chunk of response.body!) {
      text += decoder.decode(chunk, { stream: true })
      tick()
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  if (status !== 200) {
    assert.equal(typeof JSON.parse(text).error.code, "string", text)
    return fail(site, text)
  }
  const data = parseEvents(text.slice(0, text.lastIndexOf("\n\n") + 2)).map(({ data }) => data)
  const chunks = data.filter((data) => data !== "[DONE]").map((data): Chunk => JSON.parse(data))
  const choices = chunks.flatMap(({ choices = [] }) => choices)
  const outputs = outputsOf(id)
  const conclusions = choices.flatMap(({ delta }) => delta.content || [])
  requirePrefix(conclusions, [outputs.at(-1)!.ending.text])
  const reasoned = choices.map(({ delta }) => delta.reasoning_content ?? "").join("")
  assert(!reasoned.includes("known of"), `a summary is shown: ${reasoned}`)
  if (data.at(-1) === "[DONE]") {
    assert.equal(conclusions.length, 1)
    let at = 0
    for (const { reasoning } of outputs) {
      const found = reasoned.indexOf(reasoning, at)
      assert(found !== -1, `${reasoning} is not in ${reasoned.slice(at)}`)
      at = found + reasoning.length
    }
    return "whole"
  }
  if (chunks.some(({ error }) => error !== undefined)) return fail(site, data.at(-1)!)
  assert(signal.aborted, `the answer breaks off: ${text.slice(-200)}`)
  return "left"
}

/** A chunk of the handler's answer. */
interface Chunk {
  readonly choices?: ReadonlyArray<
    { readonly delta: { readonly content?: string; readonly reasoning_content?: string } }
  >
  readonly error?: unknown
}

/** Reconstructs a few samples over two servers. */
const reconstruct = async (site: Site): Promise<End> => {
  const rows: Array<unknown> = []
  const rowsOf = (model: TextModel, onRow: (row: unknown) => void) =>
    Stream.fromIterable(samplesOf(site.id)).pipe(
      Stream.map(Result.succeed),
      Reconstruction.reconstruct({ eta: 60, gamma: 100, concurrency: 3 }),
      Stream.runForEach((row) => Effect.sync(() => onRow(row))),
      Effect.provide([Layer.succeed(Summarizer.Summarizer, Summarizer.make(model)), wordTokenizer])
    )
  const right: Array<unknown> = []
  await Effect.runPromise(rowsOf(faultless, (row) => right.push(row)))
  assert(right.length >= SAMPLES, "each sample has rows")
  const exit = await runUntilLeft(
    rowsOf(site.load, (row) => {
      rows.push(row)
      site.tick()
    }),
    site
  )
  requirePrefix(rows, right)
  if (Exit.isSuccess(exit)) {
    assert.equal(rows.length, right.length)
    return "whole"
  }
  if (Cause.hasInterruptsOnly(exit.cause)) return "left"
  const error = Cause.squash(exit.cause)
  assert(error instanceof ModelError, inspect(error))
  return fail(site, error.message)
}

const SAMPLES = 4
const samplesOf = (id: string) =>
  Array.from({ length: SAMPLES }, (_, i) => ({
    id: `${id}s${i}`,
    question: questionOf(`${id}s${i}`),
    reasoning: outputsOf(`${id}s${i}`).map(({ reasoning }) => reasoning).join("\n\n"),
    conclusion: `That is ${id}s${i}.`
  }))

/** A model that answers without a server. */
const faultless: TextModel = {
  name: "m",
  generate: ({ messages }) =>
    Stream.fromIterable<Part>([{ _tag: "Text", text: answerOf({ messages }).text }, { _tag: "Finish", reason: "stop" }])
}

const uses = [reason("chat"), reason("completions"), ask, reason("chat"), ask, reason("completions"), reconstruct]

// ---- a turn: many uses at once, behind which nothing may be left

const playTurn = async (turn: number): Promise<void> => {
  /** Of each id, how many requests came, and how many met a fault. */
  const asked = new Map<string, { requests: number; faults: number }>()
  const ticks = new Map<string, () => void>()
  const script = (request: Asked) => {
    const id = idOf(textOf(request.body))
    const so = asked.get(id) ?? { requests: 0, faults: 0 }
    const fault = faultOf(id, so.requests)
    asked.set(id, { requests: so.requests + 1, faults: so.faults + (fault.brings._tag === "Whole" ? 0 : 1) })
    ticks.get(ownerOf(id))?.()
    return fault.script({ asked: request, answer: answerOf(request.body) })
  }
  await using one = await serve(script, { now, onSilence })
  await using two = await serve(script, { now, onSilence })
  const shared = {
    chat: connect(one.baseUrl),
    completions: connect(two.baseUrl, { api: "completions" }),
    load: watched(Load.make([one, two].map(({ baseUrl }) => ({ model: connect(baseUrl, { retries: 0 }) }))))
  }
  await using front = await listen(
    Web.handler(Layer.succeed(TextModel, shared.chat), {
      repairs: ["continue", "sample"],
      stagnation: "off",
      errors: "show"
    })
  )

  const use = async (index: number): Promise<void> => {
    const id = `t${turn}u${index}`
    const controller = new AbortController()
    const leavesAt = leaves(id, 30)
    let happened = 0
    const tick = (): void => {
      if (++happened === leavesAt) controller.abort()
    }
    ticks.set(id, tick)
    totals.uses++
    totals.load = Math.max(totals.load, ++held.uses)
    try {
      const end = await uses[index % uses.length]!({ id, ...shared, front: front.url, signal: controller.signal, tick })
      if (end === "left") assert(controller.signal.aborted, "it ends as if it had been left")
      if (end !== "whole") totals[end]++
      else for (const [of, { faults }] of asked) if (ownerOf(of) === id) totals.survived += faults
    } catch (error) {
      if (problems.length < 10) problems.push(`${id}: ${error instanceof Error ? error.message : inspect(error)}`)
    }
    held.uses--
  }
  const next = Array(USES).keys()
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (const index of next) await use(index)
  }))

  await Promise.all([one.closed(), two.closed()])
  await settle()
  for (const { faults } of asked.values()) totals.faults += faults
  totals.bytes += one.written() + two.written()
}

/** Whose request it is: a sample's is that of its stream. */
const ownerOf = (id: string): string => id.replace(/s\d+$/, "")

/** Waits until nothing is held; fails where something still is after 10 s. */
const settle = async (): Promise<void> => {
  for (let waits = 0; held.fibers !== 0 || held.requests !== 0 || limited.size !== 0; waits++) {
    if (waits === 1000) throw new Error(`${inspect(held)} and ${limited.size} timers are left`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Measures the memory in use, in bytes, once what is not is collected; nothing where a runtime cannot be told to. */
const measure = async (): Promise<number | undefined> => {
  if (!isNode && !isBun) return undefined
  // What is finalized is let go at the next collection.
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    collect()
  }
  return process.memoryUsage().heapUsed
}

const collect: () => void = (() => {
  // SAFETY: the runtimes have what is asked of them here.
  if (isBun) return () => void (globalThis as unknown as { Bun: { gc: (force: true) => void } }).Bun.gc(true)
  if (!isNode) return () => {}
  // Code that was compiled stays, so that it does not come and go in the figures.
  setFlagsFromString("--expose-gc")
  setFlagsFromString("--no-flush-bytecode")
  return runInNewContext("gc") as () => void
})()

const soak = async (): Promise<ReadonlyArray<number>> => {
  const heaps: Array<number> = []
  const start = Date.now()
  for (let turn = 0; turn < TURNS || Date.now() - start < time; turn++) {
    await playTurn(turn)
    const heap = await measure()
    if (turn > 0 && heap !== undefined) heaps.push(heap)
  }
  return heaps
}

const soaked = soak()
// Each test says so by itself.
soaked.catch(() => {})

test("soak: what is not left comes to the right end, or fails with an error, and nothing is wrong, lost or twice", async () => {
  await soaked
  assert.deepEqual(problems, [])
  const { uses, left, failed, faults, survived } = totals
  // That much has to be so for all of it to mean something.
  assert(failed < uses / 50, `${failed} of ${uses} failed: ${failures.join("\n")}`)
  assert(left > uses / 40, `${left} of ${uses} were left`)
  assert(survived > faults / 2, `${survived} of ${faults} faults were survived`)
})

test("soak: no request, connection or fiber is left behind a turn, and no rejection unhandled", async () => {
  await soaked
  assert.deepEqual(held, { fibers: 0, requests: 0, uses: 0 })
  assert.deepEqual(strays, [])
})

test("soak: memory stays flat", { skip: !isNode && !isBun }, async () => {
  const heaps = await soaked
  const { first, last } = quartersOf(heaps)
  assert(last <= first + SLACK, `${first} bytes became ${last}: ${heaps.join()}`)
})

/** The memory behind the first quarter, and the least in the last, because what else is at work comes and goes. */
const quartersOf = (heaps: ReadonlyArray<number>): { readonly first: number; readonly last: number } => {
  const quarter = Math.floor(heaps.length / 4)
  return { first: heaps[quarter - 1]!, last: Math.min(...heaps.slice(-quarter)) }
}

/** The figures of it all. */
const figuresOf = (heaps: ReadonlyArray<number>): Record<string, number> => {
  const { uses, load, faults, survived, left, failed, requests, bytes } = totals
  const { first, last } = quartersOf(heaps)
  const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20 * 10) / 10
  return {
    "uses": uses,
    "at once": load,
    "requests": requests,
    "MiB read": mebibytes(bytes),
    "faults": faults,
    "survived": survived,
    "left": left,
    "failed": failed,
    ...heaps.length > 0 && {
      "MiB in use behind the first quarter": mebibytes(first),
      "MiB in use behind the last": mebibytes(last)
    }
  }
}

after(async () => {
  const figures = figuresOf(await soaked)
  record("soak", figures)
  if (time > 0) console.log(Object.entries(figures).map(([name, figure]) => `${name}: ${figure}`).join("\n"))
})
