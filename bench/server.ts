/**
 * From a server's bytes to parts: server-sent events, JSON, and what is in it, beside the client of OpenAI.
 *
 * ```sh
 * npm run bench -- server             # 20,000 events, 7 rounds
 * npm run bench -- server 2000 3
 * ```
 *
 * On Node 24.21, 2 cores: 3.2 to 3.4 × as fast as openai 7.55.0 at one event a read, 6.7 to 8 × at 1460 bytes and at
 * 16 KiB. On recorded answers, half of which have less than twenty events, 2.2 to 2.5 × at one event a read, where the
 * request itself takes as long as what comes of it, and 3.3 to 5 × else. An event of 8 MB takes as long for each MB as one
 * of 1 MB.
 *
 * It reads answers that it writes itself and, where `INFTYTHINK_STREAMS` names their folder, recorded ones, as often as
 * it takes to have as many events. Times are microseconds for each event: a read of the network has one event, 1460
 * bytes, or 16 KiB. `JSON alone` parses the data of all events, and is what no reader can be faster than.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import * as OpenAi from "../lib/adapters/OpenAi.ts"
import * as ServerSentEvents from "../lib/adapters/ServerSentEvents.ts"
import { delta, events } from "../tests/support/fetch.ts"
import { makeRandom, reasoningOf } from "../tests/support/traces.ts"
import { type Contestant, figure, measure, table, target, title } from "./measure.ts"
import { type EventSource, load, named, type OpenAi as Client } from "./peers.ts"

const [count = "20000", rounds = "7"] = process.argv.slice(2)
const options = { rounds: Number(rounds) }
const utf8 = new TextEncoder()
let sum = 0

const parts = (body: () => ReadableStream<Uint8Array>): Promise<void> =>
  OpenAi.make({
    baseUrl: "http://localhost/v1",
    model: "recorded",
    finish: "optional",
    retries: 0,
    fetch: () =>
      Promise.resolve(
        new Response(body(), {
          headers: { "content-type": "text/event-stream" }
        })
      )
  }).generate({ messages: [] }).pipe(
    Stream.runForEachArray((parts) =>
      Effect.sync(() => {
        sum += parts.length
      })
    ),
    Effect.runPromise
  )

const read = async (
  { OpenAI }: Client,
  body: () => ReadableStream<Uint8Array>
): Promise<void> => {
  const client = new OpenAI({
    apiKey: "none",
    baseURL: "http://localhost/v1",
    fetch: () =>
      Promise.resolve(
        new Response(body(), {
          headers: { "content-type": "text/event-stream" }
        })
      )
  })
  for await (
    const _ of await client.chat.completions.create({
      model: "recorded",
      messages: [],
      stream: true
    })
  ) sum++
}

const streamOf = (chunks: ReadonlyArray<Uint8Array>) => (): ReadableStream<Uint8Array> => {
  let index = 0
  return new ReadableStream({
    pull: (controller) => index < chunks.length ? controller.enqueue(chunks[index++]!) : controller.close()
  })
}

const cut = (bytes: Uint8Array, size: number): ReadonlyArray<Uint8Array> =>
  Array.from(
    { length: Math.ceil(bytes.length / size) },
    (_, index) => bytes.slice(index * size, (index + 1) * size)
  )

/** A body with one event for each read. */
const eventsOf = (text: string): ReadonlyArray<string> => text.match(/[^]+?(?:\r?\n\r?\n|$)/g) ?? []

const makeBody = (events_: number): string => {
  const texts = reasoningOf(makeRandom(1), events_ * 5).match(/[^]{1,5}/g)!
    .slice(0, events_ - 3)
  const chunk = (data: unknown): unknown => ({
    ...{
      id: "chatcmpl-0123456789abcdef",
      object: "chat.completion.chunk",
      created: 1700000000,
      model: "recorded"
    },
    ...{ system_fingerprint: "fp_0123456789" },
    ...data as object
  })
  return events(
    ...texts.map((content) => chunk(delta({ role: "assistant", content }))),
    chunk(delta({}, "stop")),
    chunk({
      choices: [],
      usage: { prompt_tokens: 100, completion_tokens: texts.length }
    }),
    "[DONE]"
  )
}

title(`server: ${count} events, µs for each, by what comes with a read`)
const client = await load<Client>("openai")
const source = await load<EventSource>("eventsource-parser")
const names = {
  json: "JSON alone",
  sse: "ServerSentEvents, without JSON",
  source: `${named("eventsource-parser")}, without JSON`,
  ours: "OpenAi",
  client: named("openai")
}

const compare = async (
  label: string,
  bodies: ReadonlyArray<string>
): Promise<void> => {
  const each = bodies.map((body) => eventsOf(body))
  const times = Math.max(1, Math.round(Number(count) / each.flat().length))
  const total = each.flat().length * times
  const columns: Array<ReadonlyArray<string>> = []
  const ratios: Array<number> = []
  const data = each.flat().flatMap((event) => /^data: ?(\{.*\})$/m.exec(event)?.[1] ?? [])
  for (const size of ["event", 1460, 16384] as const) {
    const reads = each.map((events) =>
      size === "event" ? events.map((event) => utf8.encode(event)) : cut(utf8.encode(events.join("")), size)
    )
    const texts = reads.map((chunks) => {
      const decoder = new TextDecoder()
      return chunks.map((bytes) => decoder.decode(bytes, { stream: true }))
    })
    const streams = reads.map(streamOf)
    const repeated = (name: string, run: () => unknown): Contestant => ({
      name,
      run: async () => {
        for (let time = 0; time < times; time++) await run()
      }
    })
    const inTurn = (run: (body: () => ReadableStream<Uint8Array>) => Promise<void>) => async (): Promise<void> => {
      for (const stream of streams) await run(stream)
    }
    const { time, ratio } = await measure([
      repeated(names.json, () => {
        for (const json of data) if (JSON.parse(json) !== null) sum++
      }),
      repeated(names.sse, () => {
        for (const chunks of texts) {
          const parser = ServerSentEvents.make({ maxEventSize: 2 ** 24 })
          for (const chunk of chunks) sum += parser.feed(chunk).length
        }
      }),
      ...source === undefined ? [] : [repeated(names.source, () => {
        for (const chunks of texts) {
          const parser = source.createParser({ onEvent: () => sum++ })
          for (const chunk of chunks) parser.feed(chunk)
        }
      })],
      repeated(names.ours, inTurn(parts)),
      ...client === undefined ? [] : [repeated(names.client, inTurn((body) => read(client, body)))]
    ], options)
    columns.push(
      Object.values(names).map((name) => figure(time(name) * 1e3 / total))
    )
    ratios.push(ratio(names.client, names.ours))
  }
  console.log(`\n  ${label}`)
  const head = ["", "1 event", "1460 B", "16 KiB"]
  table(
    head,
    Object.values(names).map((name, row) => [
      name,
      ...columns.map((of) => of[row]!)
    ])
  )
  if (client === undefined) return
  head.slice(1).forEach((size, index) =>
    target(
      `${size}, the speed of ${names.client}`,
      ratios[index]!,
      "at least",
      3
    )
  )
}

await compare("an answer of our own", [makeBody(Number(count))])

const folder = process.env["INFTYTHINK_STREAMS"]
if (folder === undefined) {
  console.log(
    "\n  recorded answers: skipped, since INFTYTHINK_STREAMS names no folder"
  )
} else {
  // Those that report an error are no race: the client of OpenAI stops there.
  const bodies = readdirSync(folder).filter((file) => file.endsWith(".sse"))
    .map((file) => readFileSync(join(folder, file), "utf8")).filter((body) =>
      !/"error"|^error|^event: error/m.test(body)
    )
  await compare(`${bodies.length} recorded answers`, bodies)
}

// ---- one large event

const sizes = options.rounds < 5 ? [0.5, 1, 2] : [1, 2, 4, 8]
console.log("\n  one event of so many MB, in reads of 1460 bytes, ms")
const large = sizes.map((megabytes) => {
  const text = reasoningOf(makeRandom(3), megabytes * 1e6).slice(
    0,
    megabytes * 1e6
  )
  return streamOf(
    cut(
      utf8.encode(
        events(delta({ content: text }), delta({}, "stop"), "[DONE]")
      ),
      1460
    )
  )
})
const best = async (run: () => Promise<void>): Promise<number> => {
  const times: Array<number> = []
  for (let time = 0; time < 3; time++) {
    const began = performance.now()
    await run()
    times.push(performance.now() - began)
  }
  return Math.min(...times)
}
const grown: Array<number> = []
for (const body of large) grown.push(await best(() => parts(body)))
const peers: Array<number> = []
if (client !== undefined) {
  for (const body of large) peers.push(await best(() => read(client, body)))
}
table(["", ...sizes.map(String)], [
  [names.ours, ...grown],
  ...peers.length === 0 ? [] : [[names.client, ...peers]]
])
target("twice the event, time", grown.at(-1)! / grown.at(-2)!, "at most", 2.6)
if (sum < 0) console.log(sum)
