/**
 * How fast samples become rows where the model answers at once, beside the work that cannot be left out.
 *
 * ```sh
 * npm run bench -- reconstruct        # 40 MB of traces
 * npm run bench -- reconstruct 5      # 5 MB
 * ```
 *
 * All rates are megabytes of input in a second, on one core, in one process. `JSON` parses each line and renders it
 * again; `tokens` counts its reasoning once; `alone` does what a reconstruction is made of in a plain loop: parse, read,
 * segment, render, count, stringify; `pipeline` is `Jsonl.read`, `Reconstruction.reconstruct` and `Jsonl.write`.
 *
 * @module
 */
import { layer as services } from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { load } from "../lib/adapters/GptTokenizer.ts"
import * as Jsonl from "../lib/adapters/Jsonl.ts"
import * as Record from "../lib/adapters/Record.ts"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Iteration from "../lib/core/Iteration.ts"
import * as Segmenter from "../lib/core/Segmenter.ts"
import * as Reconstruction from "../lib/Reconstruction.ts"
import { Summarizer } from "../lib/Summarizer.ts"
import { Tokenizer } from "../lib/Tokenizer.ts"
import { lineOf, makeRandom } from "../tests/support/traces.ts"

const megabytes = Number(process.argv[2] ?? 40)
const eta = 4096
const folder = mkdtempSync(join(tmpdir(), "inftythink-bench-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))

const random = makeRandom(1)
const lines: Array<string> = []
for (let written = 0; written < megabytes * 1e6;) {
  const line = lineOf(random, lines.length, 2000 + random() * 60_000)
  lines.push(line)
  written += line.length + 1
}
const file = join(folder, "in.jsonl")
writeFileSync(file, `${lines.join("\n")}\n`)
const bytes = readFileSync(file).length

const tokenizer = await load("o200k_base")
const { count, additive } = tokenizer
const summary = "* A step was taken, and its result is kept."

const rateOf = async (run: () => unknown): Promise<number> => {
  const began = performance.now()
  await run()
  return bytes / 1e3 / (performance.now() - began)
}

const json = await rateOf(() => {
  for (const line of lines) JSON.stringify(JSON.parse(line))
})

const tokens = await rateOf(() => {
  for (const line of lines) count(JSON.parse(line).reasoning)
})

const alone = await rateOf(() => {
  const output: Array<string> = []
  for (const line of lines) {
    const [read] = Record.read(JSON.parse(line))
    if (read === undefined || Result.isFailure(read)) throw new Error("a trace is no sample")
    const reasonings = Iteration.reasonings(Segmenter.segment(read.success.reasoning, { eta, count, additive }))
    const summaries = reasonings.slice(1).map(() => summary)
    for (const iteration of Iteration.recombine(read.success, reasonings, summaries).iterations) {
      const { prompt, target, messages, prefix } = Dialect.instance(Dialect.v1, iteration)
      const { reasoning } = iteration.output
      const counted = { prompt: count(prompt), target: count(target), reasoning: count(reasoning) }
      output.push(JSON.stringify({ prompt, target, messages, prefix, history: iteration.history, tokens: counted }))
    }
  }
  writeFileSync(join(folder, "alone.jsonl"), output.join("\n"))
})

const atOnce = Layer.succeed(Summarizer, {
  name: "at once",
  write: () => Effect.succeed({ text: summary, finished: true })
})
const pipeline = await rateOf(() =>
  Jsonl.read(file).pipe(
    Reconstruction.reconstruct({ eta }),
    Jsonl.write(join(folder, "out.jsonl")),
    Effect.provide([atOnce, Layer.succeed(Tokenizer, tokenizer), services]),
    Effect.runPromise
  )
)

const line = (name: string, rate: number): string =>
  `  ${name.padEnd(10)}${rate.toFixed(1).padStart(8)} MB/s${(rate / alone).toFixed(2).padStart(9)} × alone`
console.log([
  `reconstruct: ${(bytes / 1e6).toFixed(0)} MB, eta ${eta}, o200k_base (node ${process.versions.node})`,
  line("JSON", json),
  line("tokens", tokens),
  line("alone", alone),
  line("pipeline", pipeline)
].join("\n"))
