/**
 * What reasoning live adds to a bare loop over `fetch`, and what a thousand reasoners at once take.
 *
 * ```sh
 * npm run bench -- live               # answers of 2,000 deltas, 9 rounds, 1,000 reasoners
 * npm run bench -- live 200 3 100
 * ```
 *
 * On Node 24.21, 2 cores, `Promise.reason` added 0.9 ms to the first delta and 3 µs to each, OpenAi alone 0.5 ms and
 * 0.4 µs. A thousand reasoners took 55 KB each, of which 4 are the scripted answer's, and 33 µs for each event, OpenAi alone
 * 16, where bare loops took 4: no function takes more than a twentieth of it, the garbage collector a seventh, and the rest
 * goes to caches, since what one reasoner holds is gone from them when it has its turn again.
 *
 * The server is a loopback one in another process. The bare loop decodes, splits at blank lines and parses JSON, and
 * knows no failure. The reasoners at once read from a scripted `fetch`, which stops in the midst of all answers while
 * memory is measured, garbage collected; bare loops over the same answers stand beside them.
 *
 * @module
 */
import * as Stream from "effect/Stream"
import { fork } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as OpenAi from "../lib/adapters/OpenAi.ts"
import * as Facade from "../lib/adapters/Promise.ts"
import * as Dialect from "../lib/core/Dialect.ts"
import { delta, events } from "../tests/support/fetch.ts"
import { makeRandom, reasoningOf } from "../tests/support/traces.ts"
import { figure, measure, median, table, title } from "./measure.ts"

const [deltas = "2000", rounds = "9", reasoners = "1000"] = process.argv.slice(
  2
)

/** The events of an answer, one for each delta of 4 characters. */
const makeAnswer = (deltas: number): ReadonlyArray<string> => [
  ...`<think>\n${reasoningOf(makeRandom(1), 4 * deltas)}\n</think>\n\n42`.match(
    /[^]{1,4}/g
  )!
    .map((content) => events(delta({ content }))),
  events(delta({}, "stop"), "[DONE]")
]
const answer = makeAnswer(Number(deltas))
/** For the time to the first delta, and for many at once. */
const short = makeAnswer(200)

/** Serves the answer, each event with a write of its own. */
const serve = (): void => {
  const server = createServer(async (request, response) => {
    for await (const _ of request) { /* it is read to its end */ }
    response.writeHead(200, { "content-type": "text/event-stream" })
    const written = request.url?.startsWith("/short/") ? short : answer
    for (const event of written) {
      if (!response.write(event)) await once(response, "drain")
    }
    response.end()
  })
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    process.send?.(
      typeof address === "object" && address !== null ? address.port : 0
    )
  })
  process.on("disconnect", () => process.exit())
}

type Fetch = (url: string, init: RequestInit) => Promise<Response>

/** The bare loop: gives the text of each event. */
async function* bare(url: string, fetch: Fetch): AsyncGenerator<string> {
  const response = await fetch(`${url}/chat/completions`, {
    method: "POST",
    body: JSON.stringify({ stream: true })
  })
  const utf8 = new TextDecoder()
  let rest = ""
  for await (const bytes of response.body!) {
    const blocks = (rest + utf8.decode(bytes, { stream: true })).split("\n\n")
    rest = blocks.pop()!
    for (const block of blocks) {
      const data = block.slice("data: ".length)
      if (data !== "[DONE]") {
        yield JSON.parse(data).choices[0].delta.content ?? ""
      }
    }
  }
}

const parts = (baseUrl: string, fetch?: Fetch): AsyncIterable<unknown> =>
  Stream.toAsyncIterable(
    OpenAi.make({ baseUrl, model: "m", ...fetch !== undefined && { fetch } })
      .generate({ messages: [{ role: "user", content: "6 × 7?" }] })
  )

const reason = (baseUrl: string, fetch?: Fetch): AsyncIterable<unknown> =>
  Facade.reason("6 × 7?", {
    dialect: Dialect.v1,
    eta: 100_000,
    model: {
      baseUrl,
      model: "m",
      api: "completions",
      ...fetch !== undefined && { fetch }
    }
  })

let sum = 0
const drain = async (items: AsyncIterable<unknown>): Promise<void> => {
  for await (const _ of items) sum++
}

/** The time to the first delta, in milliseconds; the rest of the answer is read, too. */
const toFirst = async (
  items: AsyncIterable<unknown>,
  isFirst: (item: unknown) => boolean
): Promise<number> => {
  const began = performance.now()
  let time: number | undefined
  for await (const item of items) {
    if (isFirst(item)) time ??= performance.now() - began
  }
  return time ?? NaN
}

const isDelta = (item: unknown): boolean =>
  typeof item === "object" && item !== null && "_tag" in item &&
  item._tag === "Delta"

const latency = async (): Promise<void> => {
  const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2), {
    env: { ...process.env, SERVE: "1" }
  })
  const [port] = await once(child, "message")
  const ways = [
    ["bare fetch", (url: string) => bare(url, fetch), () => true],
    ["OpenAi", (url: string) => parts(url), () => true],
    ["Promise.reason", (url: string) => reason(url), isDelta]
  ] as const
  const long = `http://127.0.0.1:${port}/v1`
  const whole = await measure(
    ways.map(([name, make]) => ({ name, run: () => drain(make(long)) })),
    {
      rounds: Number(rounds)
    }
  )
  const begun = new Map<string, Array<number>>(
    ways.map(([name]) => [name, []])
  )
  for (let round = -10; round < 10 * Number(rounds); round++) {
    for (const [name, make, isFirst] of ways) {
      const time = await toFirst(
        make(`http://127.0.0.1:${port}/short/v1`),
        isFirst
      )
      if (round >= 0) begun.get(name)!.push(time)
    }
  }
  const firstOf = (name: string): number => median(begun.get(name)!)
  child.disconnect()
  title(`live: an answer of ${answer.length} events from a loopback server`)
  const each = (name: string): number => whole.time(name) * 1e3 / answer.length
  table(
    ["", "first delta, ms", "added", "each delta, µs", "added"],
    ways.map(([name]) => [
      name,
      firstOf(name),
      figure(firstOf(name) - firstOf("bare fetch")),
      each(name),
      figure(each(name) - each("bare fetch"))
    ])
  )
}

// ---- many at once

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

const utf8 = new TextEncoder()
const chunks = short.map((event) => utf8.encode(event))

/** Runs many at once, which all stop in the midst of their answers, and measures them there. */
const many = async (
  run: (fetch: Fetch) => AsyncIterable<unknown>
): Promise<{ readonly kilobytes: number; readonly time: number }> => {
  const half = Math.floor(chunks.length / 2)
  const count = Number(reasoners)
  const gate = Promise.withResolvers<void>()
  const here = Promise.withResolvers<void>()
  let waiting = 0
  const fetch: Fetch = () => {
    let index = 0
    const body = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        if (index === half) {
          if (++waiting === count) here.resolve()
          await gate.promise
        }
        if (index < chunks.length) controller.enqueue(chunks[index++]!)
        else controller.close()
      }
    }, { highWaterMark: 0 })
    return Promise.resolve(
      new Response(body, { headers: { "content-type": "text/event-stream" } })
    )
  }
  collect()
  const before = process.memoryUsage().heapUsed
  const began = performance.now()
  const all = Promise.all(
    Array.from({ length: count }, () => drain(run(fetch)))
  )
  await here.promise
  const reached = performance.now()
  collect()
  const kilobytes = (process.memoryUsage().heapUsed - before) / count / 1024
  const went = performance.now()
  gate.resolve()
  await all
  return { kilobytes, time: reached - began + performance.now() - went }
}

const crowd = async (): Promise<void> => {
  const ways = [
    ["bare fetch", (fetch: Fetch) => bare("http://localhost/v1", fetch)],
    ["OpenAi", (fetch: Fetch) => parts("http://localhost/v1", fetch)],
    ["Promise.reason", (fetch: Fetch) => reason("http://localhost/v1", fetch)]
  ] as const
  console.log(
    `\n  ${reasoners} at once, stopped behind ${Math.floor(chunks.length / 2)} events`
  )
  const rows: Array<ReadonlyArray<string | number>> = []
  for (const [name, run] of ways) {
    const measured = [await many(run), await many(run), await many(run)]
    const time = median(measured.map(({ time }) => time))
    rows.push([
      name,
      median(measured.map(({ kilobytes }) => kilobytes)),
      time / 1e3,
      time * 1e3 / Number(reasoners) / chunks.length
    ])
  }
  table(["", "KB each", "s for all", "µs for each event"], rows)
}

if (process.env["SERVE"] === "1") serve()
else {
  await latency()
  await crowd()
  if (sum < 0) console.log(sum)
}
