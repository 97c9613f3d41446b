/**
 * A loopback server made of a web handler.
 *
 * @module
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { listenOn, type Loopback } from "./loopback.ts"

/** Starts a server; a client that leaves aborts the request's signal, and cancels the answer's body. */
export const listen = (answer: (request: Request) => Response | Promise<Response>): Promise<Loopback> => {
  const server = createServer((incoming, outgoing) =>
    respond(answer, incoming, outgoing).catch((error: unknown) => outgoing.destroy(Error(String(error))))
  )
  return listenOn(server)
}

const respond = async (
  answer: (request: Request) => Response | Promise<Response>,
  incoming: IncomingMessage,
  outgoing: ServerResponse
): Promise<void> => {
  const left = new AbortController()
  outgoing.on("close", () => left.abort())
  let text = ""
  for await (const chunk of incoming.setEncoding("utf8")) text += chunk
  const { method = "GET", url } = incoming
  const headers = Object.entries(incoming.headers).map(([name, value]): [string, string] => [name, String(value)])
  const body = method === "GET" ? {} : { body: text }
  const response = await answer(
    new Request(`http://localhost${url}`, { method, headers, signal: left.signal, ...body })
  )
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  outgoing.flushHeaders()
  const reader = response.body?.getReader()
  outgoing.on("close", () => reader?.cancel().catch(() => {}))
  for (let read = await reader?.read(); read?.value !== undefined; read = await reader?.read()) {
    const { value } = read
    await new Promise((resolve) => outgoing.write(value, resolve))
  }
  outgoing.end()
}

/** The parts of an answer that is server-sent events: each one's name, and its data as text. */
export const parseEvents = (text: string): Array<{ readonly name?: string; readonly data: string }> =>
  text.split("\n\n").flatMap((block) => {
    const name = /^event: (.*)$/m.exec(block)?.[1]
    const data = /^data: (.*)$/m.exec(block)?.[1]
    return data === undefined ? [] : [{ ...name !== undefined && { name }, data }]
  })
