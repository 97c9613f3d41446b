/**
 * The memory that reconstructing a large data set takes, tenth by tenth: it must not grow with the input.
 *
 * ```sh
 * npm run bench -- memory                           # 10 GB with lines up to 1 MB: ten minutes, 25 GB of disk
 * npm run bench -- memory 0.3 1000000 command       # 0.3 GB through `inftythink reconstruct`
 * ```
 *
 * `pipeline` reads, segments in a worker, has a model in the same process answer at once, and writes rows; `command` is
 * `inftythink reconstruct` with its journal and a server in another process that answers at once. Memory is the resident
 * set; of the first tenth, it is what programs take until they are warm.
 *
 * On Node 24.21, 2 cores, both with other work at times: 10 GB at 22.7 MB/s, 823 MB at most and no tenth below 771 MB.
 *
 * @module
 */
import { layer as services } from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { spawn } from "node:child_process"
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import * as Dataset from "../lib/adapters/Dataset.ts"
import * as GptTokenizer from "../lib/adapters/GptTokenizer.ts"
import * as Segments from "../lib/adapters/Segments.ts"
import * as Reconstruction from "../lib/Reconstruction.ts"
import { Summarizer } from "../lib/Summarizer.ts"
import { serve } from "../tests/support/server.ts"
import { lineOf, makeRandom } from "../tests/support/traces.ts"
import { figure, table, target, title } from "./measure.ts"

const [gigabytes = "10", maxLine = "1000000", via = "pipeline"] = process.argv.slice(2)
const eta = 4096
const summary = "* A step was taken, and its result is kept."
const folder = mkdtempSync(join(tmpdir(), "inftythink-bench-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))
const input = join(folder, "in.jsonl")
const output = join(folder, "out.jsonl")

/** Writes lines of very different lengths, as data sets have them: most are short, and some are as long as may be. */
const generate = (): void => {
  const random = makeRandom(1)
  // To write the same block again is faster than to make up another; it is longer than what any buffer holds.
  const size = Math.min(Number(gigabytes) * 1e9, BLOCK)
  let block = ""
  for (let id = 0; block.length < size; id++) {
    const length = 2000 * (Number(maxLine) * 0.9 / 2000) ** (random() ** 3)
    block += `${lineOf(random, id, length)}\n`
  }
  const bytes = new TextEncoder().encode(block)
  const file = openSync(input, "w")
  for (let written = 0; written < Number(gigabytes) * 1e9; written += bytes.length) writeSync(file, bytes)
  closeSync(file)
}

const BLOCK = 5e7

const pipeline = (): Promise<unknown> =>
  Segments.read(input, { eta, workers: 1 }).pipe(
    Reconstruction.reconstructSegmented({ eta }),
    Dataset.write(output),
    Effect.provide([
      Layer.succeed(Summarizer, {
        name: "at once",
        write: () => Effect.succeed({ text: summary, finished: true })
      }),
      GptTokenizer.layer,
      services
    ]),
    Effect.runPromise
  )

const command = async (): Promise<void> => {
  await using server = await serve(() => summary, { remembered: 0 })
  const main = fileURLToPath(new URL("../lib/apps/main.ts", import.meta.url))
  const child = spawn(process.execPath, [
    ...[main, "reconstruct", input, "--out", output, "--eta", String(eta)],
    ...["--base-url", server.baseUrl, "--model", "gpt-5-nano"]
  ], { stdio: ["ignore", "inherit", "inherit"] })
  pid = child.pid
  const code = await new Promise((resolve) => child.on("close", resolve))
  if (code !== 0) throw new Error(`the command exits with ${code}`)
}

/** The process whose memory is taken. */
let pid: number | undefined = process.pid
const samples: Array<number> = []
const sample = (): void => {
  try {
    samples.push(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1024 / 1e6)
  } catch {
    // It has just ended.
  }
}

generate()
const megabytes = statSync(input).size / 1e6
title(`memory: ${via}, ${figure(megabytes)} MB with lines up to ${Number(maxLine) / 1e6} MB`)
const began = Date.now()
const watch = setInterval(sample, 50)
await (via === "command" ? command() : pipeline())
clearInterval(watch)
const seconds = (Date.now() - began) / 1000

const most = (from: number, to: number): number =>
  samples.slice(Math.floor(samples.length * from), Math.ceil(samples.length * to))
    .reduce((most, megabytes) => Math.max(most, megabytes), 0)
const tenths = Array.from({ length: 10 }, (_, i) => most(i / 10, (i + 1) / 10))
table(["of the time", "MB at most"], tenths.map((megabytes, i) => [`${10 * i} to ${10 * (i + 1)} %`, megabytes]))
console.log(`  ${figure(most(0, 1))} MB at most, at ${figure(megabytes / seconds)} MB/s`)
target("the second half, the memory of the first", most(0.5, 1) / most(0, 0.5), "at most", 1.1)
