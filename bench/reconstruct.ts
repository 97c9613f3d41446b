/**
 * How fast samples become rows where the model answers at once, beside the work that cannot be left out.
 *
 * ```sh
 * npm run bench -- reconstruct        # 20 MB of traces, 5 rounds
 * npm run bench -- reconstruct 5 2
 * ```
 *
 * All rates are megabytes of input in a second, in one process, and on one core where nothing else is said. `JSON` parses
 * each line and renders it again; `tokens` counts its reasoning once; `alone` does what cannot be left out in a plain loop:
 * parse, segment, render, stringify; `pipeline` is `Jsonl.read`, `Reconstruction.reconstruct` and `Jsonl.write`, which
 * screens and counts as well. With workers, `Segments.read` takes the place of the first two, on so many cores more, and
 * reads eight times as much, so that their start counts little.
 *
 * On Node 24.21, 2 cores of which one was busy at times: the pipeline at 0.6 to 0.7 of `alone`, with one worker at 1.1.
 *
 * @module
 */
import { layer as services } from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { load } from "../lib/adapters/GptTokenizer.ts"
import * as Jsonl from "../lib/adapters/Jsonl.ts"
import * as Record from "../lib/adapters/Record.ts"
import * as Segments from "../lib/adapters/Segments.ts"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Iteration from "../lib/core/Iteration.ts"
import * as Segmenter from "../lib/core/Segmenter.ts"
import * as Reconstruction from "../lib/Reconstruction.ts"
import { Summarizer } from "../lib/Summarizer.ts"
import { Tokenizer } from "../lib/Tokenizer.ts"
import { lineOf, makeRandom } from "../tests/support/traces.ts"
import { figure, measure, table, target, title } from "./measure.ts"

const [megabytes = "20", rounds = "5"] = process.argv.slice(2)
const eta = 4096
const folder = mkdtempSync(join(tmpdir(), "inftythink-bench-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))

const random = makeRandom(1)
const lines: Array<string> = []
for (let written = 0; written < Number(megabytes) * 1e6;) {
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

const json = (): void => {
  for (const line of lines) JSON.stringify(JSON.parse(line))
}

const tokens = (): void => {
  for (const line of lines) count(JSON.parse(line).reasoning)
}

const alone = (): void => {
  const output: Array<string> = []
  for (const line of lines) {
    const [read] = Record.read(JSON.parse(line))
    if (read === undefined || Result.isFailure(read)) throw new Error("a trace is no sample")
    const reasonings = Iteration.reasonings(Segmenter.segment(read.success.reasoning, { eta, count, additive }))
    const summaries = reasonings.slice(1).map(() => summary)
    for (const iteration of Iteration.recombine(read.success, reasonings, summaries).iterations) {
      const { prompt, target, messages, prefix } = Dialect.instance(Dialect.v1, iteration)
      const { question, history } = iteration
      output.push(JSON.stringify({ prompt, target, messages, prefix, question, history }))
    }
  }
  writeFileSync(join(folder, "alone.jsonl"), output.join("\n"))
}

const atOnce = Layer.succeed(Summarizer, {
  name: "at once",
  write: () => Effect.succeed({ text: summary, finished: true })
})
const layers = Effect.provide([atOnce, Layer.succeed(Tokenizer, tokenizer), services])
const write = Jsonl.write(join(folder, "out.jsonl"), { existing: "replace" })
const pipeline = (): Promise<unknown> =>
  Jsonl.read(file).pipe(Reconstruction.reconstruct({ eta }), write, layers, Effect.runPromise)

const copies = Array.from({ length: 8 }, (_, i) => join(folder, `in${i}.jsonl`))
for (const copy of copies) copyFileSync(file, copy)
const parallel = (workers: number) => (): Promise<unknown> =>
  Segments.read(copies, { eta, workers }).pipe(
    Reconstruction.reconstructSegmented({ eta }),
    write,
    layers,
    Effect.runPromise
  )

title(`reconstruct: ${figure(bytes / 1e6)} MB, eta ${eta}, o200k_base`)
const contestants = [
  { name: "JSON", run: json, times: 1 },
  { name: "tokens", run: tokens, times: 1 },
  { name: "alone", run: alone, times: 1 },
  { name: "pipeline", run: pipeline, times: 1 },
  ...[1, 2].map((count) => ({
    name: `pipeline, ${count} worker${count === 1 ? "" : "s"}`,
    run: parallel(count),
    times: copies.length
  }))
]
const { time, ratio } = await measure(contestants, { rounds: Number(rounds), warmups: 1 })
table(
  ["", "MB/s", "× alone"],
  contestants.map(({ name, times }) => [name, times * bytes / 1e3 / time(name), times * ratio("alone", name)])
)
target("the pipeline, the speed of its work alone", ratio("alone", "pipeline"), "at least", 0.6)
