import { build } from "esbuild"
import assert from "node:assert/strict"
import { execFileSync, spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { delta, events, streamed } from "./support/fetch.ts"
import type { Loopback } from "./support/loopback.ts"
import { listen, parseEvents } from "./support/web.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const examples = join(root, "examples")

const runtime = "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node"
/** What the worker signs states with. */
const SECRET = "0123456789abcdef0123456789abcdef"

const onNode = { skip: runtime === "node" ? false : "it runs once, on Node" }

/**
 * A model server that concludes in its second answer. Asked to stop short, it does, and says no more; asked to go on and
 * on, it does: then `left` resolves when the request is aborted.
 */
const serveModel = async (): Promise<
  Loopback & { readonly authorizations: Set<string | null>; left: Promise<void> }
> => {
  const authorizations = new Set<string | null>()
  let leave = () => {}
  const left = new Promise<void>((resolve) => leave = resolve)
  const server = await listen(async (request) => {
    authorizations.add(request.headers.get("authorization"))
    const body = await request.text()
    const chunk = events(delta({ content: "<think>6 × 7" }))
    if (body.includes("Stop short")) return streamed([chunk], { end: "hang", onCancel: () => leave() })
    if (body.includes("Go on")) return streamed(repeat(chunk), { onCancel: () => leave() })
    const text = body.includes("* 30 + 12")
      ? "<think>30 + 12 is 42.</think>The answer is 42."
      : "<think>6 × 7 is 6 × 5 + 6 × 2.</think><summary>* 30 + 12</summary>"
    return streamed([events(delta({ content: text }), delta({}, "stop"), "[DONE]")])
  })
  return { ...server, authorizations, left, [Symbol.asyncDispose]: server[Symbol.asyncDispose] }
}

function* repeat<A>(value: A): Generator<A> {
  while (true) yield value
}

type Fetch = (path: string, init: RequestInit & { readonly method: string }) => Promise<Response>

const post = (fetch: Fetch, path: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
  fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer secret" },
    body: JSON.stringify(body),
    ...signal && { signal }
  })

const question = { model: "m", messages: [{ role: "user", content: "What is 6 × 7?" }] }

/** Tries what a client does, which at last leaves an answer. */
const tryOut = async (fetch: Fetch, content: "Stop short" | "Go on", left: Promise<void>): Promise<void> => {
  const whole = await (await post(fetch, "/v1/chat/completions", question)).json()
  assert.equal(whole.choices[0].message.content, "The answer is 42.")
  assert.equal(whole.choices[0].message.reasoning_content, "6 × 7 is 6 × 5 + 6 × 2.\n\n30 + 12 is 42.")

  const streamed = await post(fetch, "/v1/chat/completions", { ...question, stream: true })
  assert.equal(streamed.headers.get("content-type"), "text/event-stream")
  const data = parseEvents(await streamed.text()).map(({ data }) => data)
  assert.equal(data.at(-1), "[DONE]")
  assert.ok(data.some((data) => data.includes("The answer is 42.")))

  const sent = parseEvents(await (await post(fetch, "/events", { question: "What is 6 × 7?" })).text())
  assert.equal(sent.at(-1)!.name, "TrajectoryEnded")

  const first = await (await post(fetch, "/step", { question: "What is 6 × 7?" })).json()
  assert.equal(first.outcome, null)
  const second = await (await post(fetch, "/step", first)).json()
  assert.deepEqual(second.outcome, { _tag: "Concluded", conclusion: "The answer is 42." })

  const models = await (await fetch("/v1/models", { method: "GET", headers: { authorization: "Bearer secret" } }))
    .json()
  assert.deepEqual(models.data.map(({ id }: { readonly id: string }) => id), ["m"])

  const refused = await post(fetch, "/v1/chat/completions", { ...question, n: 2 })
  assert.deepEqual([refused.status, (await refused.json()).error.param], [400, "n"])

  const controller = new AbortController()
  const endless = { messages: [{ role: "user", content }], stream: true }
  const reader = (await post(fetch, "/v1/chat/completions", endless, controller.signal)).body!.getReader()
  assert.match(new TextDecoder().decode((await reader.read()).value), /"role":"assistant"/)
  controller.abort()
  await assert.rejects(async () => {
    while (!(await reader.read()).done);
  })
  await left
}

test("examples: every program has the right types", onNode, () => {
  execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", examples], { stdio: "inherit" })
})

test("examples: Deno, Bun and esbuild find the same sources for the package, and package.json exports them", () => {
  const readJson = (file: string) => JSON.parse(readFileSync(join(root, file), "utf8"))
  const { imports } = readJson("examples/deno.json")
  const { paths } = readJson("examples/tsconfig.json").compilerOptions
  assert.deepEqual(
    Object.fromEntries(Object.entries<string>(imports).map(([name, file]) => [name, [file]])),
    paths
  )
  const { exports } = readJson("deno.json")
  for (const [name, file] of Object.entries<string>(imports)) {
    assert.equal(file, exports[name.replace("inftythink", ".")].replace("./", "../"))
  }
})

/** Bundles a program with the package's sources. */
const bundle = async (file: string, platform: "node" | "browser"): Promise<string> => {
  const { outputFiles } = await build({
    entryPoints: [join(examples, file)],
    bundle: true,
    write: false,
    format: "esm",
    platform,
    // What is no part of the package is there anyway.
    external: platform === "node" ? ["undici"] : []
  })
  return outputFiles[0]!.text
}

/** How each program is started, from its folder. */
const commands: Readonly<Record<typeof runtime, ReadonlyArray<string>>> = {
  deno: ["serve", "--allow-all", "--no-check", "--port", "0", "deno.ts"],
  bun: ["bun.ts"],
  node: ["--input-type=module"]
}

test("examples: the program of this runtime answers clients", async () => {
  await using upstream = await serveModel()
  const child = spawn(process.execPath, commands[runtime], {
    cwd: examples,
    env: { ...process.env, NO_COLOR: "1", MODEL_URL: `${upstream.url}/v1`, MODEL: "m", KEY: "secret", PORT: "0" },
    stdio: "pipe"
  })
  const closed = new Promise((resolve) => child.on("close", resolve))
  // Node knows neither import maps nor paths.
  child.stdin.end(runtime === "node" ? await bundle("node.ts", "node") : "")
  try {
    const port = await new Promise<string>((resolve, reject) => {
      let output = ""
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding("utf8").on("data", (text: string) => {
          output += text
          const found = /(?:localhost:|0\.0\.0\.0:|port: )(\d+)/.exec(output)?.[1]
          if (found !== undefined) resolve(found)
        })
      }
      child.on("error", reject)
      child.on("close", () => reject(Error(output)))
    })
    await tryOut((path, init) => fetch(`http://127.0.0.1:${port}${path}`, init), "Stop short", upstream.left)
  } finally {
    child.kill("SIGKILL")
    await closed
  }
})

test("examples: the worker answers clients in workerd", onNode, async () => {
  // Not even loaded elsewhere.
  const { Miniflare } = await import("miniflare")
  await using upstream = await serveModel()
  const worker = new Miniflare({
    modules: true,
    script: await bundle("worker.ts", "browser"),
    compatibilityDate: "2026-07-01",
    compatibilityFlags: ["enable_request_signal"],
    bindings: { MODEL_URL: `${upstream.url}/v1`, MODEL: "m", MODEL_KEY: "upstream", KEY: "secret", SECRET }
  })
  try {
    const address = await worker.ready
    // In workerd, a client that has left is noticed when something is written.
    await tryOut((path, init) => fetch(new URL(path, address), init), "Go on", upstream.left)
    assert.deepEqual([...upstream.authorizations], ["Bearer upstream"])
    const wrong = await fetch(new URL("/v1/models", address), { headers: { authorization: "Bearer wrong" } })
    assert.equal(wrong.status, 401)
    await wrong.body!.cancel()
  } finally {
    await worker.dispose()
  }
})
