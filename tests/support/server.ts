/**
 * A loopback server that speaks the OpenAI chat API.
 *
 * @module
 */
import { createServer, type IncomingMessage } from "node:http"
import { delta, events } from "./fetch.ts"
import { listenOn } from "./loopback.ts"

/** A request as the server saw it. */
export interface Asked {
  readonly url: string
  readonly authorization: string | undefined
  readonly body: { readonly model: string; readonly messages: ReadonlyArray<{ readonly content: string }> }
}

/** A server that listens. */
export interface Server extends AsyncDisposable {
  readonly baseUrl: string
  readonly asked: ReadonlyArray<Asked>
}

/**
 * What a server does with a request: answers with a text, refuses with a status, hangs up behind some of a text, or ends
 * behind it and gives no reason.
 */
export type Answer = string | number | { readonly breaksOffBehind: string } | { readonly endsBehind: string }

/** Starts a server that answers each request as `answer` says, and remembers the last requests, all by default. */
export const serve = async (
  answer: (asked: Asked, index: number) => Answer | Promise<Answer>,
  { remembered = Infinity }: { readonly remembered?: number } = {}
): Promise<Server> => {
  const asked: Array<Asked> = []
  let count = 0
  const server = createServer(async (request, response) => {
    const one = {
      url: request.url!,
      authorization: request.headers.authorization,
      body: JSON.parse(await bodyOf(request))
    }
    asked.push(one)
    if (asked.length > remembered) asked.shift()
    const said = await answer(one, count++)
    if (typeof said === "number") return response.writeHead(said).end()
    response.writeHead(200, { "content-type": "text/event-stream" })
    if (typeof said === "string") return response.end(events(delta({ content: said }), delta({}, "stop"), "[DONE]"))
    if ("endsBehind" in said) return response.end(events(delta({ content: said.endsBehind })))
    response.write(events(delta({ content: said.breaksOffBehind })), () => response.destroy())
  })
  const loopback = await listenOn(server)
  return {
    baseUrl: `${loopback.url}/v1`,
    asked,
    [Symbol.asyncDispose]: () => loopback[Symbol.asyncDispose]()
  }
}

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  let body = ""
  for await (const chunk of request.setEncoding("utf8")) body += chunk
  return body
}
