/**
 * The section parser beside other parsers, and its cost as text gets longer.
 *
 * ```sh
 * npm run bench -- parser             # 2 MB of tagged text, 5 rounds
 * npm run bench -- parser 0.5 3
 * ```
 *
 * Times are nanoseconds for each chunk. `concatenate` joins the deltas, which whoever reads them does anyway; `AI SDK` is
 * the loop of its extractReasoning middleware, run as it stands but without the web stream around it.
 *
 * On Node 24.21, 2 cores: 1.3 to 1.5 × concatenating at 4 characters; at 1024, 9 × the AI SDK 7.0.173 with newlines and
 * 12 × without; no more than 1.5 × the time for each character at ten times the text, whatever it is.
 *
 * @module
 */
import process from "node:process"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Sections from "../lib/core/Sections.ts"
import { makeRandom, reasoningOf } from "../tests/support/traces.ts"
import { type Contestant, figure, measure, table, target, title } from "./measure.ts"
import { type Ai, type HtmlParser, load, named, type Saxes } from "./peers.ts"

const [megabytes = "2", rounds = "5"] = process.argv.slice(2)
const size = Number(megabytes) * 1e6

const think: Sections.Section = {
  name: "reasoning",
  open: "<think>",
  close: "</think>",
  newlines: []
}
const plain: Sections.Grammar = { sections: [think] }
const spaced: Sections.Grammar = {
  sections: [{ ...think, newlines: ["after open", "before close"] }]
}

/** Tagged and plain text by turns; one word in forty has an angle bracket. */
const makeText = (length: number): string => {
  const random = makeRandom(1)
  const odd = ["a < b", "<b>bold</b>", "x <= y", "<t", "</div>", "$i<n$"]
  const parts: Array<string> = []
  for (let written = 0, turn = 0; written < length; turn++) {
    const text = reasoningOf(random, 4000)
      .replace(
        / /g,
        () => random() < 0.025 ? ` ${odd[Math.floor(random() * odd.length)]} ` : " "
      )
    parts.push(turn % 2 === 0 ? `<think>\n${text}\n</think>` : text)
    written += text.length
  }
  return parts.join("")
}

/** Cuts a text; the chunks are flat strings, as those of a network are. */
const cut = (text: string, length: number): ReadonlyArray<string> =>
  JSON.parse(
    JSON.stringify(
      Array.from({ length: Math.ceil(text.length / length) }, (_, index) =>
        text.slice(index * length, (index + 1) * length))
    )
  )

/** What the contestants leave behind, so that nothing they do is in vain. */
let sum = 0

const concatenate = (chunks: ReadonlyArray<string>): void => {
  let text = ""
  for (const chunk of chunks) {
    text += chunk
    if (text.length < 100_000) continue
    sum += text.charCodeAt(50_000)
    text = ""
  }
  sum += text.length
}

const ours = (
  grammar: Sections.Grammar,
  chunks: ReadonlyArray<string>
): void => {
  const parser = Sections.makeParser(grammar)
  const read = (event: Sections.Event): void => {
    if (event._tag === "Delta") sum += event.text.length
  }
  for (const chunk of chunks) {
    for (const event of parser.feed(chunk)) read(event)
  }
  for (const event of parser.end()) read(event)
}

interface Transformer {
  readonly transform: (
    chunk: unknown,
    controller: {
      readonly enqueue: (part: { readonly delta?: string }) => void
    }
  ) => void
}

/** Takes the loop out of the middleware: it is made for a web stream, and here none is made. */
const extractReasoning = async (ai: Ai): Promise<Transformer> => {
  const global = globalThis.TransformStream
  let taken: Transformer | undefined
  class Taker {
    constructor(transformer: Transformer) {
      taken = transformer
    }
  }
  try {
    Object.assign(globalThis, { TransformStream: Taker })
    const stream = { pipeThrough: () => undefined }
    await ai.extractReasoningMiddleware({ tagName: "think" }).wrapStream({
      doStream: () => Promise.resolve({ stream })
    })
  } finally {
    Object.assign(globalThis, { TransformStream: global })
  }
  return taken!
}

const aiSdk = async (ai: Ai, chunks: ReadonlyArray<string>): Promise<void> => {
  const { transform } = await extractReasoning(ai)
  const controller = {
    enqueue: (part: { readonly delta?: string }): void => {
      sum += part.delta?.length ?? 0
    }
  }
  for (const delta of chunks) {
    transform({ type: "text-delta", id: "0", delta }, controller)
  }
  transform({ type: "text-end", id: "0" }, controller)
}

const htmlparser2 = (
  { Parser }: HtmlParser,
  chunks: ReadonlyArray<string>
): void => {
  const count = (): void => {
    sum++
  }
  const parser = new Parser({
    onopentag: count,
    ontext: count,
    onclosetag: count
  })
  for (const chunk of chunks) parser.write(chunk)
  parser.end()
}

const saxes = ({ SaxesParser }: Saxes, chunks: ReadonlyArray<string>): void => {
  const parser = new SaxesParser({ fragment: true })
  for (const name of ["opentag", "text", "closetag", "error"] as const) {
    parser.on(name, () => {
      sum++
    })
  }
  for (const chunk of chunks) parser.write(chunk)
  parser.close()
}

// ---- beside peers

title(
  `parser: ${figure(size / 1e6)} MB in chunks of so many characters, ns for each chunk`
)
const ai = await load<Ai>("ai")
const html = await load<HtmlParser>("htmlparser2")
const sax = await load<Saxes>("saxes")

const names = {
  concatenate: "concatenate",
  spaced: "Sections, with newlines",
  plain: "Sections, without",
  ai: named("ai"),
  html: named("htmlparser2"),
  sax: named("saxes")
}
const text = makeText(size)
const claims: Array<() => void> = []
const columns: Array<ReadonlyArray<string>> = []
const lengths = [1, 4, 16, 64, 1024]
for (const length of lengths) {
  const chunks = cut(text, length)
  const contestants: Array<Contestant> = [
    { name: names.concatenate, run: () => concatenate(chunks) },
    { name: names.spaced, run: () => ours(spaced, chunks) },
    { name: names.plain, run: () => ours(plain, chunks) },
    ...ai === undefined ? [] : [{ name: names.ai, run: () => aiSdk(ai, chunks) }],
    ...html === undefined ? [] : [{ name: names.html, run: () => htmlparser2(html, chunks) }],
    ...sax === undefined ? [] : [{ name: names.sax, run: () => saxes(sax, chunks) }]
  ]
  const { time, ratio } = await measure(contestants, {
    rounds: Number(rounds)
  })
  columns.push(
    Object.values(names).map((name) => figure(time(name) * 1e6 / chunks.length))
  )
  if (length === 4) {
    const value = ratio(names.spaced, names.concatenate)
    claims.push(() =>
      target(
        "4 characters, with newlines, the time of concatenating",
        value,
        "at most",
        1.5
      )
    )
  }
  if (length === 1024 && ai !== undefined) {
    const values = [
      ratio(names.ai, names.spaced),
      ratio(names.ai, names.plain)
    ] as const
    claims.push(() =>
      target(
        "1024 characters, with newlines, the speed of the AI SDK",
        values[0],
        "at least",
        3
      )
    )
    claims.push(() =>
      target(
        "1024 characters, without, the speed of the AI SDK",
        values[1],
        "at least",
        10
      )
    )
  }
}
table(
  ["", ...lengths.map(String)],
  Object.values(names).map((name, row) => [
    name,
    ...columns.map((of) => of[row]!)
  ])
)
for (const claim of claims) claim()

// ---- as text gets longer

const repeat = (text: string) => (length: number): string =>
  text.repeat(Math.ceil(length / text.length)).slice(0, length)
const inputs: Readonly<Record<string, (length: number) => string>> = {
  prose: (length) => `<think>${reasoningOf(makeRandom(2), length)}`.slice(0, length),
  "<": repeat("<"),
  "<think": repeat("<think"),
  "</think": (length) => `<think>${repeat("</think")(length - 7)}`,
  newlines: (length) => `<think>${repeat("\n")(length - 7)}`,
  spaces: repeat(" "),
  backticks: repeat("`"),
  "sections": repeat("<think></think>")
}
const growing = size < 1e6 ? [1e4, 1e5, 1e6] : [1e5, 1e6, 1e7]
console.log(
  `\n  ns for each character, ${growing.join(", ")} of them, in chunks of 4 and, behind the bar, at once`
)
let most = 0
const rows = Object.entries(inputs).map(([name, make]) => {
  const grown = [4, Infinity].map((length) =>
    growing.map((size) => {
      const chunks = length === 4 ? cut(make(size), 4) : [make(size)]
      const times = Array.from({ length: 3 }, () => {
        const began = performance.now()
        ours({
          ...Dialect.chat,
          sections: [...spaced.sections, Dialect.chat.sections[1]!]
        }, chunks)
        return performance.now() - began
      })
      return Math.min(...times) * 1e6 / size
    })
  )
  for (const of of grown) most = Math.max(most, of[2]! / of[1]!)
  return [name, ...grown[0]!, "|", ...grown[1]!]
})
table(["", ...growing.map(String), "|", ...growing.map(String)], rows)
target("ten times the text, time for each character", most, "at most", 2)
if (sum < 0) console.log(sum)
