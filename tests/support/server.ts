/**
 * A loopback server that speaks the OpenAI chat API.
 *
 * @module
 */
import { createServer, type IncomingMessage } from "node:http"
import { delta, events } from "./fetch.ts"

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

/** Starts a server that answers each request with the text, or refuses it with the status, that `answer` gives. */
export const serve = async (
  answer: (asked: Asked, index: number) => string | number | Promise<string | number>
): Promise<Server> => {
  const asked: Array<Asked> = []
  const server = createServer(async (request, response) => {
    const one = {
      url: request.url!,
      authorization: request.headers.authorization,
      body: JSON.parse(await bodyOf(request))
    }
    asked.push(one)
    const text = await answer(one, asked.length - 1)
    if (typeof text === "number") return response.writeHead(text).end()
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.end(events(delta({ content: text }), delta({}, "stop"), "[DONE]"))
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("the server has no port")
  return {
    baseUrl: `http://127.0.0.1:${address.port}/v1`,
    asked,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
  }
}

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  let body = ""
  for await (const chunk of request.setEncoding("utf8")) body += chunk
  return body
}
