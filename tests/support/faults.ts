/**
 * A loopback server that plays scripts of bytes, pauses and faults, and a table of what servers do wrong.
 *
 * It speaks HTTP by hand over a socket, because a library for servers would not let it fail so thoroughly. Every answer
 * has a connection of its own, so that one that stays open is seen.
 *
 * @module
 */
import { createServer, type Socket } from "node:net"
import { constants, gzipSync } from "node:zlib"
import { listenOn } from "./loopback.ts"

// ---- the server

/** What a server does on a connection; behind the last act it closes it. */
export type Act =
  | string
  | Uint8Array
  /** Nothing comes for so many milliseconds. */
  | { readonly _tag: "Pause"; readonly milliseconds: number }
  /** The connection is reset. */
  | { readonly _tag: "Reset" }
  /** Nothing comes any more, or nothing but comments, until the client leaves. */
  | Silence

/** How a server says nothing. */
export interface Silence {
  readonly _tag: "Silence" | "Comments"
}

/** A request as the server saw it. */
export interface Asked {
  readonly path: string
  /** The key it was sent, without `Bearer`. */
  readonly key: string
  readonly body: Body
  /** When it came, in milliseconds. */
  readonly at: number
}

/** Of a request's body, what answers depend on. */
export interface Body {
  readonly messages?: ReadonlyArray<{ readonly role: string; readonly content: string }>
  readonly prompt?: string
}

/** A server that listens. */
export interface FaultServer extends AsyncDisposable {
  readonly baseUrl: string
  readonly asked: ReadonlyArray<Asked>
  /** The bytes that were written so far. */
  readonly written: () => number
  /** Waits until no connection is open on which anything was asked; fails where one stays open for 10 s. */
  readonly closed: () => Promise<void>
}

/** What a server tells the time by, and whom it tells of its silence. */
export interface Options {
  readonly now?: () => number
  /** Called again and again while a request gets nothing, from when its client has surely read what came before. */
  readonly onSilence?: (asked: Asked, silence: Silence) => void
}

/** Starts a server that plays a script for each request, numbered from 0. */
export const serve = async (
  script: (asked: Asked, index: number) => Iterable<Act>,
  { now = Date.now, onSilence = () => {} }: Options = {}
): Promise<FaultServer> => {
  const asked: Array<Asked> = []
  const sockets = new Set<Socket>()
  // Node's `fetch` opens connections that it may need, and closes them 4 s later.
  const busy = new Set<Socket>()
  let written = 0
  let whenClosed = () => {}

  const play = async (socket: Socket, request: Asked, acts: Iterable<Act>): Promise<void> => {
    for (const act of acts) {
      if (socket.destroyed) return
      if (typeof act === "string" || act instanceof Uint8Array) await write(socket, act)
      else if (act._tag === "Pause") await sleep(act.milliseconds)
      else if (act._tag === "Reset") {
        // What the client has not read by then, it never does.
        for (let turn = 0; turn < SURELY; turn++) await sleep(5)
        return void socket.resetAndDestroy()
      } else {
        for (let turn = 0; !socket.destroyed; turn++) {
          if (act._tag === "Comments") await write(socket, "8\r\n: ping\n\n\r\n")
          await sleep(5)
          if (turn > SURELY) onSilence(request, act)
        }
      }
    }
    socket.end()
  }

  const write = async (socket: Socket, act: string | Uint8Array): Promise<void> => {
    const bytes = typeof act === "string" ? utf8.encode(act) : act
    written += bytes.length
    await new Promise((resolve) => {
      socket.write(bytes, resolve)
      socket.once("close", resolve)
    })
  }

  const server = createServer({ noDelay: true }, (socket) => {
    socket.setMaxListeners(0)
    sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => {
      sockets.delete(socket)
      busy.delete(socket)
      if (busy.size === 0) whenClosed()
    })
    let text = ""
    let isAsked = false
    socket.setEncoding("latin1").on("data", (chunk) => {
      text += chunk
      const request = isAsked ? undefined : parse(text, now())
      if (request === undefined) return
      isAsked = true
      busy.add(socket)
      asked.push(request)
      play(socket, request, script(request, asked.length - 1)).catch((error) => socket.destroy(error))
    })
  })
  const loopback = await listenOn(server)

  return {
    baseUrl: `${loopback.url}/v1`,
    asked,
    written: () => written,
    closed: () =>
      new Promise((resolve, reject) => {
        const deadline = setTimeout(() => reject(new Error(`${busy.size} connections stay open`)), 10_000)
        whenClosed = () => {
          clearTimeout(deadline)
          resolve()
        }
        if (busy.size === 0) whenClosed()
      }),
    [Symbol.asyncDispose]: () => {
      for (const socket of sockets) socket.destroy()
      return loopback[Symbol.asyncDispose]()
    }
  }
}

/** After so many turns of 5 ms, a client in this process has read what was written, however slow this machine is. */
const SURELY = 20

/** Reads a request when all of it is there; its text has a character for each byte. */
const parse = (text: string, at: number): Asked | undefined => {
  const end = text.indexOf("\r\n\r\n")
  if (end === -1) return undefined
  const head = text.slice(0, end)
  const body = text.slice(end + 4)
  if (body.length < Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0)) return undefined
  return {
    path: head.split(" ")[1]!,
    key: /^authorization: *Bearer (.*)$/im.exec(head)?.[1]?.trim() ?? "",
    body: JSON.parse(new TextDecoder().decode(latin1(body))),
    at
  }
}

const sleep = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))

const utf8 = new TextEncoder()

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

// ---- answers

/** What a model answers: reasoning beside the text, if any, and the text. */
export interface Answer {
  readonly reasoning?: string
  readonly text: string
}

/** What a fault is made of: the request, and the answer that it should have had. */
export interface Scene {
  readonly asked: Asked
  readonly answer: Answer
}

/** The events of a whole answer, but for `[DONE]`; those that carry text come first, then the end, then the usage. */
const eventsOf = ({ asked, answer }: Scene): { readonly deltas: Array<string>; readonly ends: Array<string> } => {
  const isChat = asked.path.endsWith("/chat/completions")
  const choice = (delta: Readonly<Record<string, unknown>>, finish_reason: string | null = null): string =>
    JSON.stringify({ choices: [{ index: 0, ...isChat ? { delta } : delta, finish_reason }] })
  const field = isChat ? "content" : "text"
  return {
    deltas: [
      ...pieces(answer.reasoning ?? "").map((text) => choice({ reasoning_content: text })),
      ...pieces(answer.text).map((text) => choice({ [field]: text }))
    ],
    ends: [
      choice({ [field]: "" }, "stop"),
      JSON.stringify({ choices: [], usage: { prompt_tokens: 100, completion_tokens: 20 } })
    ]
  }
}

/** A text in pieces of some characters each. */
const pieces = (text: string): ReadonlyArray<string> => text.match(/[^]{1,9}/gu) ?? []

const sse = (events: ReadonlyArray<string>): string => events.map((event) => `data: ${event}\n\n`).join("")

const done = "data: [DONE]\n\n"

/** All of an answer, as most servers send it. */
const wholeOf = (scene: Scene): string => {
  const { deltas, ends } = eventsOf(scene)
  return sse([...deltas, ...ends]) + done
}

/** The first third of an answer. */
const partOf = (scene: Scene): string => {
  const { deltas } = eventsOf(scene)
  return sse(deltas.slice(0, Math.ceil(deltas.length / 3)))
}

interface Head {
  /** The status, and what stands behind it. */
  readonly status?: string
  readonly type?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Answers with a body, each act of it in a chunk of its own. */
function* respond(
  body: Iterable<Act>,
  { status = "200 OK", type = "text/event-stream", headers = {} }: Head = {}
): Generator<Act> {
  yield [
    `HTTP/1.1 ${status}`,
    ...type === "" ? [] : [`content-type: ${type}`],
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    "connection: close",
    "transfer-encoding: chunked",
    "\r\n"
  ].join("\r\n")
  for (const act of body) {
    const bytes = typeof act === "string" ? utf8.encode(act) : act
    if (!(bytes instanceof Uint8Array)) yield bytes
    else if (bytes.length > 0) yield concat(utf8.encode(`${bytes.length.toString(16)}\r\n`), bytes, utf8.encode("\r\n"))
  }
  yield "0\r\n\r\n"
}

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(parts.reduce((size, { length }) => size + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

const pause = (milliseconds: number): Act => ({ _tag: "Pause", milliseconds })
const reset: Act = { _tag: "Reset" }
const silence: Act = { _tag: "Silence" }
const comments: Act = { _tag: "Comments" }

// ---- the table

/** What comes of one request that meets a fault. */
export type Brings =
  /** The answer, whole: the fault is none to whoever asked. */
  | { readonly _tag: "Whole" }
  /** Nothing of the answer, and an error that may pass; `wait` is what the server asks for, in milliseconds. */
  | {
    readonly _tag: "Nothing"
    readonly reason: "unreachable" | "rate-limited" | "failed" | "interrupted"
    readonly wait?: number
  }
  /** Some of the answer, and no end. */
  | { readonly _tag: "Part" }
  /** This very request is bad. */
  | { readonly _tag: "Refusal" }
  /** No request will do. */
  | { readonly _tag: "Denial"; readonly reason: "unauthorized" | "not-found" | "rate-limited" }
  /** An end, and no text. */
  | { readonly _tag: "Blank" }

/** Something that a server does wrong, or that is only unusual. */
export interface Fault {
  readonly brings: Brings
  readonly script: (scene: Scene) => Iterable<Act>
  /** Whether an event of it is far too large. */
  readonly isHuge?: true
  /** Whether the request does not even come to the server. */
  readonly isRefused?: true
  /** Whether the request is sent once more for it, to where it leads. */
  readonly isRedirect?: true
}

type Script = Fault["script"]

const whole = (script: Script): Fault => ({ brings: { _tag: "Whole" }, script })
const wholeBody = (body: Script, head?: Head): Fault => whole((scene) => respond(body(scene), head))
const nothing = (
  reason: Extract<Brings, { readonly _tag: "Nothing" }>["reason"],
  script: Script,
  wait?: number
): Fault => ({ brings: { _tag: "Nothing", reason, ...wait !== undefined && { wait } }, script })
const part = (behind: Script): Fault => ({
  brings: { _tag: "Part" },
  script: (scene) =>
    respond((function* () {
      yield partOf(scene)
      yield* behind(scene)
    })())
})

/** An error's JSON, of a server that repeats the key. */
const errorOf = (scene: Scene, code = 500): string =>
  JSON.stringify({ error: { message: `Not with ${scene.asked.key}, please`, type: "error", code } })

const pageOf = ({ asked }: Scene): string =>
  `<html><title>Sorry</title><body>Not with <b>${asked.key}</b></body></html>`

/** Refuses with a status; the key is repeated wherever a server can. */
const refusing = (
  status: string,
  brings: Brings,
  { body = errorOf, type = "application/json", headers = {} }: {
    readonly body?: (scene: Scene) => string
    readonly type?: string
    readonly headers?: Readonly<Record<string, string>>
  } = {}
): Fault => ({
  brings,
  script: (scene) =>
    respond([body(scene)], {
      status: `${status} for ${scene.asked.key}`,
      type,
      headers: { "x-key": scene.asked.key, "www-authenticate": `Bearer realm=${scene.asked.key}`, ...headers }
    })
})

/** Sends on to another place, which is given the key if it is in a header or if the server repeats it. */
const redirecting = (location: string): Script => (scene) =>
  respond([pageOf(scene)], {
    status: "307 Temporary Redirect",
    type: "text/html",
    headers: { location: `${location}?key=${encodeURIComponent(scene.asked.key)}` }
  })

/** Compresses a text, and leaves out what tells that it is all of it. */
const cutGzip = (text: string): Uint8Array => gzipSync(text, { finishFlush: constants.Z_SYNC_FLUSH })

const compressed: Head = { headers: { "content-encoding": "gzip" } }

const failed: Brings = { _tag: "Nothing", reason: "failed" }
const limited = (wait?: number): Brings => ({
  _tag: "Nothing",
  reason: "rate-limited",
  ...wait !== undefined && { wait }
})
const refusal: Brings = { _tag: "Refusal" }
const html = { body: pageOf, type: "text/html; charset=utf-8" }

/** The size of an event that is far too large. */
const HUGE = 64 * 2 ** 20

function* huge(): Generator<Act> {
  const mebibyte = new Uint8Array(2 ** 20).fill(120)
  yield `data: {"choices":[{"delta":{"content":"`
  for (let size = 0; size < HUGE; size += mebibyte.length) yield mebibyte
  yield `"}}]}\n\n`
}

/** Cuts bytes one by one, so that each is written, and most likely read, by itself. */
const oneByOne = (text: string): Iterable<Act> => Array.from(utf8.encode(text), (byte) => Uint8Array.of(byte))

/** Every U+FFFD as a byte that is no UTF-8: what decodes to it again. */
const asInvalid = (text: string): Uint8Array =>
  concat(...text.split("\uFFFD").flatMap((text, i) => [Uint8Array.from(i === 0 ? [] : [0xff]), utf8.encode(text)]))

const json = (scene: Scene): string => {
  const { reasoning, text } = scene.answer
  const isChat = scene.asked.path.endsWith("/chat/completions")
  const message = { content: text, ...reasoning !== undefined && { reasoning_content: reasoning } }
  const choice = { ...isChat ? { message } : { text }, finish_reason: "stop" }
  return JSON.stringify({ choices: [choice], usage: { prompt_tokens: 100, completion_tokens: 20 } }, undefined, 1)
}

/** Makes a date that is so many milliseconds from a moment, as headers have it. */
const dateIn = (milliseconds: number, { asked }: Scene): string => new Date(asked.at + milliseconds).toUTCString()

/** All faults, by what a server does. */
export const faults: Readonly<Record<string, Fault>> = {
  // What is unusual, and no fault to whoever asks.
  "answers": wholeBody((scene) => [wholeOf(scene)]),
  "writes byte by byte": wholeBody((scene) => oneByOne(wholeOf(scene))),
  "drips": wholeBody((scene) => {
    const bytes = utf8.encode(wholeOf(scene))
    const size = Math.ceil(bytes.length / 16)
    return Array.from({ length: 16 }, (_, i) => [bytes.slice(i * size, (i + 1) * size), pause(5)]).flat()
  }),
  "ends lines with CR LF": wholeBody((scene) => [wholeOf(scene).replaceAll("\n", "\r\n")]),
  "ends lines with CR": wholeBody((scene) => [wholeOf(scene).replaceAll("\n", "\r")]),
  "ends lines with CR LF, cut between the two": wholeBody((scene) =>
    wholeOf(scene).split("\n").join("\r\0\n").split("\0")
  ),
  "leaves out the last blank line": wholeBody((scene) => [wholeOf(scene).trimEnd()]),
  "writes comments between events": wholeBody((scene) => [
    wholeOf(scene).replaceAll("data:", `: still at it with ${scene.asked.key}\n\ndata:`)
  ]),
  "writes other fields": wholeBody((scene) => [wholeOf(scene).replaceAll("data:", "retry: 10\nid: 7\nvoid\ndata:")]),
  "writes empty deltas": wholeBody((scene) => [
    wholeOf(scene).replaceAll("data: {", `data: {"choices":[]}\n\ndata: {"choices":[{"delta":{}}]}\n\ndata: {`)
  ]),
  "leaves out [DONE]": wholeBody((scene) => [wholeOf(scene).replace(done, "")]),
  "finishes twice": wholeBody((scene) => {
    const { deltas, ends } = eventsOf(scene)
    return [sse([...deltas, ends[0]!, ...ends]) + done]
  }),
  "errs behind the finish reason": wholeBody((scene) => {
    const { deltas, ends } = eventsOf(scene)
    return [sse([...deltas, ...ends, errorOf(scene)]) + done]
  }),
  "resets behind the finish reason": wholeBody((scene) => [wholeOf(scene), reset]),
  "falls silent behind the finish reason": wholeBody((scene) => [wholeOf(scene).replace(done, ""), silence]),
  "sends the reasoning twice, in two fields": wholeBody((scene) => [
    wholeOf(scene).replaceAll(/"reasoning_content":("[^"]*")/g, '"reasoning_content":$1,"reasoning":$1')
  ]),
  "compresses": wholeBody((scene) => [gzipSync(wholeOf(scene))], compressed),
  "redirects to itself": {
    ...whole((scene) =>
      scene.asked.path.includes("/again/")
        ? respond([wholeOf(scene)])
        : redirecting(scene.asked.path.replace("/v1/", "/v1/again/"))(scene)
    ),
    isRedirect: true
  },
  "calls it plain text": wholeBody((scene) => [wholeOf(scene)], { type: "text/plain" }),
  "calls it bytes": wholeBody((scene) => [wholeOf(scene)], { type: "application/octet-stream" }),
  "does not say what it is": wholeBody((scene) => [wholeOf(scene)], { type: "" }),
  "does not stream": wholeBody((scene) => [json(scene)], { type: "application/json" }),
  "does not stream, behind blank lines, and says it does": wholeBody((scene) => ["\n\n", " \n", json(scene)]),
  "writes bytes that are no UTF-8": wholeBody((scene) => [asInvalid(wholeOf(scene))]),

  // Nothing of an answer, which may pass.
  "is not there": { ...nothing("unreachable", () => []), isRefused: true },
  "closes without a word": nothing("unreachable", () => []),
  "resets before the headers": nothing("unreachable", () => [reset]),
  "resets inside the headers": nothing("unreachable", () => ["HTTP/1.1 200 OK\r\ncontent-ty", reset]),
  "speaks no HTTP": nothing("unreachable", () => ["+OK ready\r\n\r\n"]),
  "is silent": nothing("unreachable", () => [silence]),
  "is silent behind the headers": nothing("unreachable", () => respond([": hello\n\n", silence])),
  "writes nothing but comments": nothing("unreachable", () => respond([comments])),
  "answers with nothing": nothing("interrupted", () => respond([])),
  "answers with [DONE] alone": nothing("interrupted", () => respond([done])),
  "resets behind the headers": nothing("interrupted", () => respond([": hello\n\n", reset])),
  "errs in an event": nothing("failed", (scene) => respond([sse([errorOf(scene)])])),
  "errs in an event of that name": nothing("failed", (scene) => respond([`event: error\n${sse([errorOf(scene)])}`])),
  "errs in a field of that name": nothing("failed", (scene) => respond([`error: ${errorOf(scene)}\n\n`])),
  "errs in an event, for too many requests": nothing("rate-limited", (scene) => respond([sse([errorOf(scene, 429)])])),
  "tears its JSON": nothing("failed", (scene) => respond([sse([errorOf(scene).slice(0, -8)]), done])),
  "writes an event of 64 MiB": { ...nothing("failed", () => respond(huge())), isHuge: true },
  "fails with 500": refusing("500 Error", failed),
  "fails with 500, and a body that never ends": {
    brings: failed,
    script: (scene) => respond([pageOf(scene), silence], { status: "500 Error", type: "text/html" })
  },
  "fails with 500, and a body that breaks off": {
    brings: failed,
    script: (scene) =>
      respond([errorOf(scene).replace(/(?<=Not with .{20}).*$/, ""), reset], {
        status: "500 Error",
        type: "application/json"
      })
  },
  "fails with 408": refusing("408 Timeout", failed, { body: () => "" }),
  "fails with 409": refusing("409 Conflict", failed),
  "fails with 502, and a web page": refusing("502 Bad Gateway", failed, html),
  "fails with 503": refusing("503 Unavailable", failed, { body: ({ asked }) => asked.key, type: "" }),
  "fails with 503, until a date": {
    brings: { ...failed, wait: 59_000 },
    script: (scene) =>
      respond([pageOf(scene)], {
        status: "503 Unavailable",
        type: "text/html",
        headers: { "retry-after": dateIn(60_000, scene) }
      })
  },
  "fails with 529": refusing("529 Overloaded", failed),
  "fails with 529, for seconds": refusing("529 Overloaded", { ...failed, wait: 30_000 }, {
    headers: { "retry-after": "30" }
  }),
  "is asked too much": refusing("429 Too Many Requests", limited()),
  "is asked too much, for seconds": refusing("429 Too Many Requests", limited(30_000), {
    ...html,
    headers: { "retry-after": "30" }
  }),
  "is asked too much, for milliseconds": refusing("429 Too Many Requests", limited(20_000), {
    headers: { "retry-after-ms": "20000", "retry-after": "1" }
  }),
  "is asked too much, and does not say how long": refusing("429 Too Many Requests", limited(), {
    headers: { "retry-after": "soon" }
  }),

  // Some of an answer.
  "resets in the middle": part(() => [reset]),
  "resets inside an event": part((scene) => [eventsOf(scene).deltas[0]!.slice(0, 20), reset]),
  "closes in the middle": part(() => []),
  "closes inside an event": part((scene) => [`data: ${eventsOf(scene).deltas[0]!.slice(0, 20)}`]),
  "says [DONE] in the middle": part(() => [done]),
  "falls silent in the middle": part(() => [silence]),
  "writes nothing but comments from the middle on": part(() => [comments]),
  "errs in the middle": part((scene) => [sse([errorOf(scene)]) + done]),
  "errs in the middle, in a field of that name": part((scene) => [`error: ${errorOf(scene)}\n\n`]),
  "compresses, and breaks off in the middle": {
    brings: { _tag: "Part" },
    script: (scene) => respond([cutGzip(partOf(scene)), reset], compressed)
  },
  "compresses, and writes something else in the middle": {
    brings: { _tag: "Part" },
    script: (scene) => respond([cutGzip(partOf(scene)), pause(100), new Uint8Array(1000).fill(255)], compressed)
  },
  "tears its JSON in the middle": part((scene) => [sse([errorOf(scene).slice(0, -8)]) + done]),
  "writes an event of 64 MiB in the middle": { ...part(huge), isHuge: true },

  // Refusals.
  "refuses with 400": refusing("400 Bad Request", refusal),
  "refuses with 400, and calls its JSON bytes": refusing("400 Bad Request", refusal, {
    type: "application/octet-stream"
  }),
  "refuses with 413, and a web page": refusing("413 Too Large", refusal, html),
  "refuses with 422": refusing("422 Unprocessable", refusal, { body: (scene) => `[${errorOf(scene, 422)}]` }),
  "does not know the key": refusing("401 Unauthorized", { _tag: "Denial", reason: "unauthorized" }),
  "has no credit left": refusing("402 Payment Required", { _tag: "Denial", reason: "unauthorized" }),
  "forbids it": refusing("403 Forbidden", { _tag: "Denial", reason: "unauthorized" }, html),
  "forbids what a moderator flags": refusing("403 Forbidden", refusal, {
    body: (scene) => errorOf(scene, 403).replace("Not with", "The input was flagged. Not with")
  }),
  "redirects to another server": {
    brings: { _tag: "Denial", reason: "not-found" },
    script: redirecting("http://127.0.0.1:9/v1/chat/completions")
  },
  "does not know the address": refusing("404 Not Found", { _tag: "Denial", reason: "not-found" }, html),
  "shows a web page": refusing("200 OK", { _tag: "Denial", reason: "not-found" }, html),
  "is asked too much, for a day": refusing("429 Too Many Requests", { _tag: "Denial", reason: "rate-limited" }, {
    headers: { "retry-after": "86400" }
  }),

  // An answer that says nothing.
  "finishes without a word": {
    brings: { _tag: "Blank" },
    script: (scene) => respond([sse(eventsOf(scene).ends) + done])
  }
}
