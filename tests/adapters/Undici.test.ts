import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { createServer, type RequestListener } from "node:http"
import { createRequire } from "node:module"
import process from "node:process"
import { test } from "node:test"
import { promisify } from "node:util"
import * as OpenAi from "../../lib/adapters/OpenAi.ts"
import * as Undici from "../../lib/adapters/Undici.ts"
import type { Request } from "../../lib/TextModel.ts"
import { delta, events } from "../support/fetch.ts"
import { listenOn } from "../support/loopback.ts"

const isNode = !("Deno" in globalThis) && !("Bun" in globalThis)
const skip = isNode ? false : "undici's fetch is for Node"

const question: Request = { messages: [{ role: "user", content: "What is 6 × 7?" }] }

/** Serves on a port of its own while a function runs. */
const serve = async (listener: RequestListener, use: (baseUrl: string) => Promise<void>): Promise<void> => {
  await using loopback = await listenOn(createServer(listener))
  await use(loopback.url)
}

const module = new URL("../../lib/adapters/Undici.ts", import.meta.url).href

/** Runs a program in a process of its own, and gives what it prints. */
const evaluate = async (program: string): Promise<string> =>
  (await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program])).stdout

test("neither the module nor its fetch touches what Node's own fetch sends with", { skip }, async () => {
  await serve((_, response) => response.end("42"), async (url) => {
    const program = `
      const key = Symbol.for("undici.globalDispatcher.1")
      const url = ${JSON.stringify(url)}
      const states = [globalThis[key]]
      const Undici = await import(${JSON.stringify(module)})
      states.push(globalThis[key])
      await Undici.fetch(url, {})
      states.push(globalThis[key])
      // Now Node's own sets it up.
      const answer = await (await fetch(url)).text()
      const own = globalThis[key]
      await Undici.fetch(url, {})
      console.log(states.every((state) => state === undefined), answer, own !== undefined, globalThis[key] === own)`
    assert.equal(await evaluate(program), "true 42 true true\n")
  })
})

test("what someone set for Node's own fetch to send with stays set, and is not asked", { skip }, async () => {
  await serve((_, response) => response.end("42"), async (url) => {
    const program = `
      const [one, two] = [1, 2].map((version) => Symbol.for("undici.globalDispatcher." + version))
      const proxy = { dispatch: () => { throw new Error("the proxy was asked") } }
      Object.defineProperty(globalThis, one, { value: proxy, writable: true })
      const Undici = await import(${JSON.stringify(module)})
      const ask = async () => (await Undici.fetch(${JSON.stringify(url)}, {})).text()
      await ask()
      const isKept = globalThis[one] === proxy
      globalThis[two] = proxy
      console.log(await ask(), isKept)`
    assert.equal(await evaluate(program), "42 true\n")
  })
})

test("an answer may be silent for longer than Node's own fetch waits", { skip }, async () => {
  // The clock of undici's timers, which moves on when it is told to.
  const { tick }: { readonly tick: (milliseconds: number) => void } = createRequire(import.meta.url)(
    "undici/lib/util/timers.js"
  )
  const wait = () => {
    for (let hour = 0; hour < 3; hour++) tick(3_600_000)
  }
  const asked = Promise.withResolvers<void>()
  const goOn = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const
  await serve(async (_, response) => {
    asked.resolve()
    await goOn[0].promise
    response.write("4")
    await goOn[1].promise
    response.end("2")
  }, async (url) => {
    const answer = Undici.fetch(url, {})
    await asked.promise
    wait()
    goOn[0].resolve()
    const reader = (await answer).body!.getReader()
    assert.equal(new TextDecoder().decode((await reader.read()).value), "4")
    const rest = reader.read()
    wait()
    goOn[1].resolve()
    assert.equal(new TextDecoder().decode((await rest).value), "2")
  })
})

test("a model streams through it", { skip }, async () => {
  const answer = events(delta({ content: "4" }), delta({ content: "2" }), delta({}, "stop"), "[DONE]")
  let asked: unknown
  await serve(async (request, response) => {
    let body = ""
    for await (const chunk of request.setEncoding("utf8")) body += chunk
    asked = [request.headers["content-type"], JSON.parse(body).messages]
    response.writeHead(200, { "content-type": "text/event-stream" })
    for (const byte of answer) response.write(byte)
    response.end()
  }, async (url) => {
    const model = OpenAi.make({ baseUrl: `${url}/v1`, model: "m", fetch: Undici.fetch })
    const parts = await Effect.runPromise(Stream.runCollect(model.generate(question)))
    assert.deepEqual(parts, [
      { _tag: "Text", text: "4" },
      { _tag: "Text", text: "2" },
      { _tag: "Finish", reason: "stop" }
    ])
    assert.deepEqual(asked, ["application/json", question.messages])
  })
})

test("leaving the stream closes its connection", { skip }, async () => {
  const closed = Promise.withResolvers<void>()
  await serve((request, response) => {
    request.resume()
    response.on("close", closed.resolve)
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.write(events(delta({ content: "4" })))
  }, async (url) => {
    const model = OpenAi.make({ baseUrl: `${url}/v1`, model: "m", fetch: Undici.fetch })
    await Effect.runPromise(model.generate(question).pipe(Stream.take(1), Stream.runDrain))
    await closed.promise
  })
})

test("a signal aborts a request that waits for its answer", { skip }, async () => {
  const closed = Promise.withResolvers<void>()
  const controller = new AbortController()
  await serve((request, response) => {
    request.resume()
    response.on("close", closed.resolve)
    controller.abort()
  }, async (url) => {
    await assert.rejects(Undici.fetch(url, { method: "POST", body: "", signal: controller.signal }), {
      name: "AbortError"
    })
    await closed.promise
  })
})
