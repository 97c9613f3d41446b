/**
 * How fast text is segmented with exact counts, beside one pass of the reference that only counts it.
 *
 * ```sh
 * npm run bench -- segmenter                                  # 6 MB of generated traces
 * INFTYTHINK_CORPUS=folder npm run bench -- segmenter 20      # 20 MB of the traces in a folder of .jsonl files
 * bun bench/segmenter.ts 6                                    # in another runtime, as with deno run -A
 * ```
 *
 * Each kind of text has a process of its own, in which both take turns; figures are medians of rounds. `count` and
 * `segment` are how many times faster than the reference counts: `gpt-tokenizer`, and `@huggingface/tokenizers` for
 * `tokenizer.json`. Text that was not seen before is new to both. Then come single pre-tokens of a million characters,
 * and how many times longer they take than a fourth of them: 4 where time is proportional to length.
 *
 * @module
 */
import { Tokenizer as HuggingFace } from "@huggingface/tokenizers"
import * as Effect from "effect/Effect"
import cl100kRanks from "gpt-tokenizer/bpeRanks/cl100k_base"
import * as cl100k from "gpt-tokenizer/encoding/cl100k_base"
import * as o200k from "gpt-tokenizer/encoding/o200k_base"
import { Buffer } from "node:buffer"
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { load } from "../lib/adapters/GptTokenizer.ts"
import { parse } from "../lib/adapters/HuggingFaceTokenizer.ts"
import * as Segmenter from "../lib/core/Segmenter.ts"
import { bytePairsOf } from "../tests/support/tokenizers.ts"
import { makeRandom, reasoningOf } from "../tests/support/traces.ts"

type Count = (text: string) => number

const ROUNDS = 9
const eta = 4096
const megabytes = Number(process.argv[2] ?? 6)
const kind = process.argv[3]

const random = makeRandom(1)
const HAN = /\p{Script=Han}/gu

/** The long strings in the files of a folder. */
const stringsIn = (folder: string): Array<string> => {
  const found: Array<string> = []
  const collect = (value: unknown): void => {
    if (typeof value === "string") value.length > 500 && found.push(value)
    else if (typeof value === "object" && value !== null) {
      Object.values(value).forEach(collect)
    }
  }
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".jsonl"))) {
    for (const line of readFileSync(join(folder, file), "utf8").split("\n")) {
      if (line !== "") collect(JSON.parse(line))
    }
  }
  return found
}

const HAN_WORDS =
  "首先 我们 证明 因为 所以 这个 数字 偶数 如果 那么 方程 可以 得到 问题 需要 考虑 另一 情况 三角形 角度 等于 大于 不是 结果 检查 也许 但是 同时 然后 最后"
    .split(" ")

/** Sentences in Chinese, about one in two of whose words is new. */
const chineseOf = (length: number): string => {
  let text = ""
  while (text.length < length) {
    for (let words = 2 + random() * 6; words > 0; words--) {
      text += random() < 0.5 ? HAN_WORDS[Math.floor(random() * HAN_WORDS.length)]! : String.fromCharCode(
        0x4e00 + random() * 3000,
        0x4e00 + random() * 3000
      )
    }
    text += random() < 0.2 ? "。\n\n" : random() < 0.5 ? "。" : "，"
  }
  return text
}

/** Texts of about so many code units, each a flat string of its own, again and again until there is enough. */
const joined = (texts: ReadonlyArray<string>, size: number, total: number): Array<string> => {
  const documents: Array<string> = []
  for (let written = 0, i = 0; written < total;) {
    const parts: Array<string> = []
    for (let length = 0; length < size; i++) {
      parts.push(texts[i % texts.length]!)
      length += texts[i % texts.length]!.length + 2
    }
    const bytes = Buffer.from(parts.join("\n\n"))
    written += bytes.length
    documents.push(bytes.toString())
  }
  return documents
}

const folder = process.env["INFTYTHINK_CORPUS"]
const isChinese = (text: string): boolean => (text.match(HAN)?.length ?? 0) > text.length / 3

const traces = (): Array<string> => {
  const texts = folder === undefined
    ? Array.from({ length: 100 }, () => reasoningOf(random, 2000 + random() * 20_000))
    : stringsIn(folder).filter((text) => !isChinese(text))
  return joined(texts, 40_000, megabytes * 1e6)
}

const chinese = (total: number): Array<string> => {
  const texts = folder === undefined ? [] : stringsIn(folder).filter(isChinese)
  return texts.length > 0 ? joined(texts, 15_000, total) : joined([chineseOf(total / 3)], 5000, total)
}

const ascii = (text: string): string => Buffer.from(text.replace(/[^\0-\x7f]/g, "?"), "latin1").toString("latin1")

const NO_SPECIAL_TOKENS = { disallowedSpecial: new Set<string>() }

const gpt = async (encoding: "o200k_base" | "cl100k_base"): Promise<readonly [Count, Count]> => {
  const { countTokens } = encoding === "o200k_base" ? o200k : cl100k
  return [(await load(encoding)).count, (text) => countTokens(text, NO_SPECIAL_TOKENS)]
}

const huggingFace = async (): Promise<readonly [Count, Count]> => {
  const json = bytePairsOf(cl100kRanks)
  const reference = new HuggingFace({ ...json, added_tokens: json.added_tokens.filter(({ special }) => !special) }, {})
  const { count } = await Effect.runPromise(parse(JSON.stringify(json), "tokenizer.json"))
  return [count, (text) => reference.tokenize(text, { add_special_tokens: false }).length]
}

const kinds: Readonly<Record<string, () => Promise<void>>> = {
  "o200k": async () => compare(await gpt("o200k_base"), traces()),
  "cl100k": async () => compare(await gpt("cl100k_base"), traces()),
  "o200k, one-byte": async () => compare(await gpt("o200k_base"), traces().map(ascii)),
  "o200k, Chinese": async () => compare(await gpt("o200k_base"), chinese(Math.min(megabytes, 1) * 1e6)),
  "o200k, Chinese, unseen": async () => {
    const documents = chinese(Math.min(megabytes, 0.8) * 1e6)
    compare(await gpt("o200k_base"), documents, documents.length)
  },
  "tokenizer.json": async () => compare(await huggingFace(), traces().slice(0, Math.ceil(megabytes * 3))),
  "a million of": async () => {
    const [count] = await gpt("o200k_base")
    const of: Readonly<Record<string, string>> = { a: "a", blanks: " ", 思: "思", "=": "=", "\\ud83d": "\ud83d" }
    const length = Math.min(megabytes, 1) * 1e6
    for (const [name, character] of Object.entries(of)) {
      const [short, long] = [length / 4, length].map((size) => {
        const text = character.repeat(size)
        return median(Array.from({ length: 3 }, () => time(() => count(text))))
      })
      console.log(`  ${name.padEnd(24)}${long!.toFixed(0).padStart(6)} ms${(long! / short!).toFixed(1).padStart(9)} ×`)
    }
  }
}

/** Prints how much faster than the reference texts are counted and segmented; new ones in each round, where asked for. */
function compare(
  [count, reference]: readonly [Count, Count],
  documents: ReadonlyArray<string>,
  unseen: number = 0
): void {
  const segment = (text: string): unknown => Segmenter.segment(text, { eta, count, additive: true })
  const rounds: Array<readonly [number, number, number]> = []
  for (let round = 0; round < ROUNDS; round++) {
    const [from, to] = [round, round + 1].map((share) => Math.floor(share * unseen / ROUNDS))
    const texts = unseen === 0 ? documents : documents.slice(from, to)
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
    // What was seen is segmented until it is compiled: where the reference is slow, the input is small.
    for (let i = 0; unseen === 0 && round === 0 && i < 10; i++) texts.forEach(segment)
    const referring = time(() => texts.forEach((text) => reference(text)))
    const segmenting = time(() => texts.forEach(segment))
    const counting = time(() => texts.forEach((text) => count(text)))
    const isMeasured = bytes > 0 && (round > 1 || unseen > 0)
    if (isMeasured) rounds.push([bytes / 1e3 / referring, referring / counting, referring / segmenting])
  }
  const [rate, counting, segmenting] = [0, 1, 2].map((i) => median(rounds.map((round) => round[i]!)).toFixed(1))
  // Text is counted here after it was segmented, and by then no longer new.
  const columns = [`${rate} MB/s`, unseen === 0 ? `${counting} ×` : "", `${segmenting} ×`]
  console.log(`  ${kind!.padEnd(24)}${columns.map((column) => column.padStart(12)).join("")}`)
}

function time(run: () => unknown): number {
  const began = performance.now()
  run()
  return performance.now() - began
}

function median(values: ReadonlyArray<number>): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN
}

if (kind === undefined) {
  const { bun, deno, node } = process.versions
  const runtime = bun ? `bun ${bun}` : deno ? `deno ${deno}` : `node ${node}`
  const source = folder === undefined ? "generated traces" : "real traces"
  const versions = ["gpt-tokenizer", "@huggingface/tokenizers"].map((name) => {
    const manifest = new URL(`../node_modules/${name}/package.json`, import.meta.url)
    return `${name} ${JSON.parse(readFileSync(manifest, "utf8")).version}`
  })
  console.log(`segmenter: ${megabytes} MB of ${source}, eta ${eta} (${[runtime, ...versions].join(", ")})`)
  console.log(`  ${"".padEnd(24)}${["reference", "count", "segment"].map((name) => name.padStart(12)).join("")}`)
  const script = fileURLToPath(import.meta.url)
  for (const name of Object.keys(kinds)) {
    const args = [...(deno ? ["run", "-A", "--no-check"] : []), script, String(megabytes), name]
    const { status } = spawnSync(process.execPath, args, { stdio: "inherit" })
    if (status !== 0) process.exit(1)
  }
} else await kinds[kind]!()
