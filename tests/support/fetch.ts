/**
 * A `fetch` that follows a script, and the bodies it answers with.
 *
 * @module
 */

/** A request as it was sent. */
export interface Sent {
  readonly url: string
  readonly headers: Headers
  /** The body, read as JSON. */
  readonly body: unknown
  readonly signal: AbortSignal
}

/** A `fetch` and what was sent through it. */
export interface Fake {
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>
  readonly sent: ReadonlyArray<Sent>
}

/** Makes a `fetch` that answers the request of each number, from 0; what `answer` throws, it fails with. */
export const makeFetch = (answer: (index: number, sent: Sent) => Response | Promise<Response>): Fake => {
  const sent: Array<Sent> = []
  return {
    sent,
    fetch: async (url, init) => {
      const one = {
        url,
        headers: new Headers(init.headers),
        body: JSON.parse(String(init.body)),
        signal: init.signal ?? new AbortController().signal
      }
      sent.push(one)
      return await answer(sent.length - 1, one)
    }
  }
}

/** Renders events as a server would send them; a string is sent as it is. */
export const events = (...data: ReadonlyArray<unknown>): string =>
  data.map((data) => `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`).join("")

/** A chunk of a chat's stream: a delta, and the reason for the end. */
export const delta = (delta: Readonly<Record<string, unknown>>, finish_reason: string | null = null): unknown => ({
  choices: [{ index: 0, delta, finish_reason }]
})

/** Answers with chunks, one at a time as they are asked for; `end` says what comes behind the last one. */
export const streamed = (
  chunks: Iterable<Uint8Array | string>,
  { end = "close", onCancel = () => {}, ...init }: ResponseInit & {
    readonly end?: "close" | "hang" | Error
    readonly onCancel?: () => void
  } = {}
): Response => {
  const iterator = chunks[Symbol.iterator]()
  const utf8 = new TextEncoder()
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      const { done, value } = iterator.next()
      if (!done) controller.enqueue(typeof value === "string" ? utf8.encode(value) : value)
      else if (end === "close") controller.close()
      else if (end instanceof Error) controller.error(end)
      else return new Promise(() => {})
    },
    cancel: onCancel
  })
  return new Response(body, { headers: { "content-type": "text/event-stream" }, ...init })
}

/** Cuts bytes into chunks of the sizes that `size` gives. */
export function* cut(bytes: Uint8Array, size: () => number): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length;) {
    const end = start + size()
    yield bytes.subarray(start, end)
    start = end
  }
}
