/**
 * A `fetch` for Node that waits as long as it takes: Node's own gives up after 300 s without headers, or without a byte.
 *
 * It is for Node only; other runtimes have no such limit, or one of their own.
 *
 * @module
 */

/**
 * Sends a request as the global `fetch` does, without its time limits, as an option of `OpenAi.layer` and the like.
 *
 * It has connections of its own, loads undici when it is first called, and leaves Node's own `fetch` as it is.
 */
export const fetch: Fetch = async (url, init) => await (await (loading ??= load()))(url, init)

type Fetch = (url: string, init: RequestInit) => Promise<Response>

let loading: Promise<Fetch> | undefined

const load = async (): Promise<Fetch> => {
  const before: unknown = Reflect.get(globalThis, DISPATCHER)
  const undici = await import("undici")
  // Being imported, undici 8 puts itself under Node's own `fetch`, in the place of any proxy that was set there.
  if (Reflect.get(globalThis, DISPATCHER) instanceof undici.Dispatcher1Wrapper) {
    Reflect.set(globalThis, DISPATCHER, before)
  }
  const dispatcher = new undici.Agent({ headersTimeout: 0, bodyTimeout: 0 })
  // SAFETY: it is the platform's `fetch`, which takes a dispatcher, too, and has types of its own.
  const send = undici.fetch as unknown as (
    url: string,
    init: RequestInit & { dispatcher: unknown }
  ) => Promise<Response>
  return (url, init) => send(url, { ...init, dispatcher })
}

/** Where Node's own `fetch` finds what sends its requests. */
const DISPATCHER = Symbol.for("undici.globalDispatcher.1")
