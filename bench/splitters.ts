/**
 * The segmenter beside other splitters: speed, and what the segments are worth.
 *
 * ```sh
 * npm run bench -- splitters          # 8 traces of about 10,000 tokens, 3 rounds
 * npm run bench -- splitters 2 1
 * ```
 *
 * On Node 24.21 with the peers of `bench/package.json`: the segmenter alone loses nothing, exceeds eta nowhere, cuts behind
 * paragraphs only, outside of formulas and fences, and takes a stream. Speeds depend on the load
 * of the machine more than those of other benchmarks; compare passes of one run.
 *
 * All count tokens with the same function, so that times tell the splitters apart and not their tokenizers; `passes` is
 * the time of one count of the whole text. `over` are segments of more than eta tokens, and `lossless` the texts that the
 * segments make up when they are joined, both with `odd` texts beside the traces: one long paragraph, a word of 16 KB,
 * Chinese, CRLF, emoji. Cuts fall behind a paragraph, a line, a sentence, or in the midst of one; `inside` are those in a
 * formula or a fence.
 *
 * @module
 */
import { decodeGenerator, encode } from "gpt-tokenizer/encoding/o200k_base"
import process from "node:process"
import { load as loadTokenizer } from "../lib/adapters/GptTokenizer.ts"
import * as Segmenter from "../lib/core/Segmenter.ts"
import { makeRandom, reasoningOf } from "../tests/support/traces.ts"
import { figure, measure, table, title } from "./measure.ts"
import { type Chonkie, type LangChain, type LlamaIndex, type LlmSplitter, load, named } from "./peers.ts"

const [traces = "8", rounds = "3"] = process.argv.slice(2)
const eta = 4096
const { count, additive } = await loadTokenizer("o200k_base")
const random = makeRandom(1)

const fence =
  "```ts\nconst sum = (n: number): number => {\n  let total = 0\n\n  for (let i = 1; i <= n; i++) total += i\n\n" +
  "  return total\n}\n```"
const display = "\\[\n  \\sum_{i=1}^{n} i^2\n  = \\frac{n(n + 1)(2n + 1)}{6}. \\text{ So the sum is known.}\n\\]"

/** A trace with fences and formulas of several lines. */
const makeTrace = (length: number): string =>
  Array.from(
    { length: Math.ceil(length / 3000) },
    (_, index) => `${reasoningOf(random, 3000)}\n\n${index % 2 === 0 ? fence : display}`
  ).join("\n\n")

const prose = reasoningOf(random, 60_000)
const texts = Array.from({ length: Number(traces) }, () => makeTrace(40_000))
const odd: ReadonlyArray<string> = [
  prose.replace(/\n+/g, " "),
  `${prose.slice(0, 5000)} ${"abcdefgh".repeat(2000)} ${prose.slice(0, 5000)}`,
  "我们先考虑这个问题。设n为偶数，则n可以写成2k。因此n的平方是4的倍数。".repeat(
    400
  ),
  prose.replace(/\n/g, "\r\n"),
  "So 👩‍👩‍👧 goes to 🇫🇷 and 🎉. ".repeat(1500)
]

type Split = (
  text: string
) => ReadonlyArray<string> | Promise<ReadonlyArray<string>>

/** Packs pieces in order until the next one would be too much. */
const pack = (pieces: Iterable<string>): Array<string> => {
  const segments: Array<string> = []
  let segment = ""
  let tokens = 0
  for (const piece of pieces) {
    const more = count(piece)
    if (tokens + more > eta && segment !== "") {
      segments.push(segment)
      segment = ""
      tokens = 0
    }
    segment += piece
    tokens += more
  }
  return segment === "" ? segments : [...segments, segment]
}

const sentences = new Intl.Segmenter("en", { granularity: "sentence" })

const bySentences: Split = (text) =>
  pack(function* () {
    for (const { segment } of sentences.segment(text)) yield segment
  }())

/** The rule of the public InftyThink scripts: a segment ends with the step that takes it over eta. */
const byPublicRule: Split = (text) => {
  const steps: Array<string> = []
  for (const paragraph of text.split("\n\n")) {
    if (steps.length > 0 && !/^[A-Z]/.test(paragraph)) {
      steps.push(`${steps.pop()}\n\n${paragraph}`)
    } else steps.push(paragraph)
  }
  const segments: Array<string> = []
  let segment: Array<string> = []
  let tokens = 0
  for (const step of steps) {
    segment.push(step)
    tokens += count(step)
    if (tokens <= eta) continue
    segments.push(segment.join("\n\n"))
    segment = []
    tokens = 0
  }
  return segment.length === 0 ? segments : [...segments, segment.join("\n\n")]
}

const streamed: Split = (text) => {
  const segmenter = Segmenter.make({ eta, count, additive })
  const segments: Array<string> = []
  for (let at = 0; at < text.length; at += 16) {
    for (const { text: segment } of segmenter.feed(text.slice(at, at + 16))) {
      segments.push(segment)
    }
  }
  for (const { text: segment } of segmenter.end()) segments.push(segment)
  return segments
}

title(`splitters: ${texts.length} traces of about 10,000 tokens, eta ${eta}`)
const langchain = await load<LangChain>("@langchain/textsplitters")
const llamaindex = await load<LlamaIndex>("@llamaindex/core/node-parser")
const chonkie = await load<Chonkie>("@chonkiejs/core")
const llm = await load<LlmSplitter>("llm-splitter")

const splitters: Array<
  readonly [name: string, split: Split, streams: "yes" | "no"]
> = [
  [
    "Segmenter",
    (text) => Segmenter.segment(text, { eta, count, additive }).map(({ text }) => text),
    "yes"
  ],
  ["Segmenter, fed 16 characters at a time", streamed, "yes"],
  ["Intl.Segmenter, packed", bySentences, "no"],
  ["the public scripts' rule", byPublicRule, "no"]
]
if (langchain !== undefined) {
  const splitter = new langchain.RecursiveCharacterTextSplitter({
    chunkSize: eta,
    chunkOverlap: 0,
    lengthFunction: count
  })
  splitters.push([
    `${named("@langchain/textsplitters")}, recursive`,
    (text) => splitter.splitText(text),
    "no"
  ])
}
if (llamaindex !== undefined) {
  const options = {
    chunkSize: eta,
    chunkOverlap: 0,
    tokenizer: {
      encode: (text: string) => ({ length: count(text) }),
      decode: () => ""
    }
  }
  for (const name of ["SentenceSplitter", "TokenTextSplitter"] as const) {
    const splitter = new llamaindex[name](options)
    splitters.push([
      `${named("@llamaindex/core")}, ${name}`,
      (text) => splitter.splitText(text),
      "no"
    ])
  }
}
if (chonkie !== undefined) {
  const tokenizer = {
    countTokens: count,
    encode,
    decode: (tokens: ReadonlyArray<number>) => [...decodeGenerator(tokens)].join("")
  }
  for (const name of ["RecursiveChunker", "SentenceChunker"] as const) {
    const chunker = await chonkie[name].create({
      chunkSize: eta,
      chunkOverlap: 0,
      tokenizer
    })
    const split: Split = async (text) => (await chunker.chunk(text)).map(({ text }) => text)
    splitters.push([`${named("@chonkiejs/core")}, ${name}`, split, "no"])
  }
}
if (llm !== undefined) {
  const options = {
    chunkSize: eta,
    chunkStrategy: "paragraph",
    splitter: (text: string) => [...decodeGenerator(encode(text))]
  } as const
  splitters.push([
    `${named("llm-splitter")}, paragraph`,
    (text) => llm.split(text, options).map(({ text }) => text),
    "no"
  ])
}

/** The stretches of a text that no cut should fall into. */
const blocksOf = (text: string): ReadonlyArray<readonly [number, number]> =>
  [...text.matchAll(/```[^]*?```|\\\[[^]*?\\\]|\$[^$\n]+\$/g)].map((
    { 0: block, index }
  ) => [index, index + block.length])

/** Where a text was cut: the beginnings of all segments but the first; undefined where they are not in the text. */
const cutsOf = (
  text: string,
  segments: ReadonlyArray<string>
): ReadonlyArray<number> | undefined => {
  const starts: Array<number> = []
  let from = 0
  for (const segment of segments) {
    const at = text.indexOf(segment, from)
    if (at === -1) return undefined
    starts.push(at)
    from = at + segment.length
  }
  return starts.slice(1)
}

const kinds = ["paragraph", "line", "sentence", "midst"] as const

const kindOf = (text: string, at: number): (typeof kinds)[number] => {
  const before = text.slice(Math.max(0, at - 50), at)
  const blanks = /\s*$/.exec(before)![0] +
    /^\s*/.exec(text.slice(at, at + 50))![0]
  if (/\n\s*\n/.test(blanks)) return "paragraph"
  if (blanks.includes("\n")) return "line"
  return /[.!?。！？…]["')\]*]*$/.test(before.trimEnd()) ? "sentence" : "midst"
}

/** What the segments of a splitter are worth, over all texts. */
const judge = async (split: Split): Promise<ReadonlyArray<string>> => {
  const cuts = { paragraph: 0, line: 0, sentence: 0, midst: 0 }
  let [over, oddOver, lossless, oddLossless, inside, all] = [0, 0, 0, 0, 0, 0]
  let strays = false
  for (const text of [...texts, ...odd]) {
    const isOdd = odd.includes(text)
    let segments: ReadonlyArray<string>
    try {
      segments = await split(text)
    } catch {
      // It breaks on such a text: nothing of it is kept.
      segments = []
    }
    const tooLong = segments.filter((segment) => count(segment) > eta).length
    const isWhole = segments.join("") === text
    if (isOdd) {
      oddOver += tooLong
      oddLossless += Number(isWhole)
      continue
    }
    all += segments.length
    over += tooLong
    lossless += Number(isWhole)
    const found = cutsOf(text, segments)
    strays ||= found === undefined
    const blocks = blocksOf(text)
    for (const at of found ?? []) {
      cuts[kindOf(text, at)]++
      inside += Number(blocks.some(([start, end]) => start < at && at < end))
    }
  }
  return [
    `${over}/${all} ${oddOver} odd`,
    `${lossless}/${texts.length} ${oddLossless}/${odd.length} odd`,
    ...kinds.map((kind) => strays ? "?" : String(cuts[kind])),
    strays ? "?" : String(inside)
  ]
}

const megabytes = texts.reduce((sum, text) => sum + new TextEncoder().encode(text).length, 0) /
  1e6
const base = "count"
const { time, ratio } = await measure([
  { name: base, run: () => texts.map(count) },
  ...splitters.map(([name, split]) => ({
    name,
    run: async () => {
      for (const text of texts) await split(text)
    }
  }))
], { rounds: Number(rounds), warmups: 1 })

const rows: Array<ReadonlyArray<string>> = []
for (const [name, split, streams] of splitters) {
  const speed = [
    figure(megabytes / time(name) * 1e3),
    figure(ratio(name, base))
  ]
  rows.push([name, ...speed, ...await judge(split), streams])
}
table(
  ["", "MB/s", "passes", "over", "lossless", ...kinds, "inside", "streams"],
  rows
)
