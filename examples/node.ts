/**
 * Reasoning in bounded iterations on Node, for any client of the OpenAI API on this machine, which may see what the
 * model's server says when it fails.
 *
 * ```sh
 * npm install inftythink effect
 * MODEL_URL=http://localhost:8000/v1 MODEL=Qwen3-4B-Instruct PORT=3000 node node.ts
 * ```
 */
import * as OpenAi from "inftythink/openai"
import { fetch } from "inftythink/undici"
import * as Web from "inftythink/web"
import { createServer, type IncomingMessage } from "node:http"
import process from "node:process"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import type { ReadableStream as NodeStream } from "node:stream/web"

const { MODEL_URL: baseUrl = "http://localhost:8000/v1", MODEL: model = "Qwen3-4B-Instruct", PORT } = process.env
// Node's own `fetch` gives up after five minutes, which a model may take to read.
const answer = Web.handler(OpenAi.layer({ baseUrl, model, fetch }), { errors: "show" })

/** A request of Node's server as the web has it. */
const requestOf = (incoming: IncomingMessage, signal: AbortSignal): Request => {
  const { method = "GET", url = "/" } = incoming
  const headers = Object.entries(incoming.headers).map(([name, value]): [string, string] => [name, String(value)])
  // SAFETY: Node has two types for one class.
  const stream = () => Readable.toWeb(incoming) as ReadableStream
  const body = method === "GET" || method === "HEAD" ? {} : { body: stream(), duplex: "half" as const }
  return new Request(`http://localhost${url}`, { method, headers, signal, ...body })
}

const server = createServer(async (incoming, outgoing) => {
  const left = new AbortController()
  outgoing.on("close", () => left.abort())
  try {
    const { status, headers, body } = await answer(requestOf(incoming, left.signal))
    outgoing.writeHead(status, Object.fromEntries(headers))
    // SAFETY: Node has two types for one class.
    await pipeline(body === null ? [] : Readable.fromWeb(body as NodeStream), outgoing)
  } catch (error) {
    if (!left.signal.aborted) console.error(error)
    if (!outgoing.headersSent) outgoing.writeHead(500)
    outgoing.end()
  }
})
server.listen(Number(PORT ?? 3000), "127.0.0.1", () => console.log("Listening at", server.address()))
