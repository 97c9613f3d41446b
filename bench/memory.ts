/**
 * The most memory that `inftythink reconstruct` takes for a large input.
 *
 * ```sh
 * npm run bench -- memory              # 10 GB with lines up to 1 MB: an hour or two
 * npm run bench -- memory 0.5          # 0.5 GB
 * ```
 *
 * It generates its input, runs the command with summaries from a server in another process that answers at once, and
 * prints the largest resident set (`VmHWM`), which must not depend on the size of the input.
 *
 * @module
 */
import { spawn } from "node:child_process"
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { lineOf, makeRandom } from "../tests/support/traces.ts"
import { serve } from "../tests/support/server.ts"

const [gigabytes = "10", maxLine = "1000000"] = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), "inftythink-bench-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))

/** Writes lines of very different lengths, as datasets have them: most are short, and some are as long as may be. */
const generate = async (file: string): Promise<void> => {
  const random = makeRandom(1)
  const out = createWriteStream(file)
  let written = 0
  for (let id = 0; written < Number(gigabytes) * 1e9; id++) {
    const length = 2000 * (Number(maxLine) * 0.9 / 2000) ** (random() ** 3)
    const line = `${lineOf(random, id, length)}\n`
    written += line.length
    if (!out.write(line)) await new Promise<void>((resolve) => out.once("drain", resolve))
  }
  await new Promise<void>((resolve) => out.end(resolve))
}

const input = join(folder, "in.jsonl")
await generate(input)
await using server = await serve(() => "* A step was taken, and its result is kept.", { remembered: 0 })
const main = fileURLToPath(new URL("../lib/apps/main.ts", import.meta.url))
const began = Date.now()
const child = spawn(process.execPath, [
  ...[main, "reconstruct", input, "--out", join(folder, "out.jsonl"), "--eta", "4096"],
  ...["--base-url", server.baseUrl, "--model", "gpt-5-nano"]
], { stdio: ["ignore", "inherit", "inherit"] })

let peak = 0
const watch = setInterval(() => {
  try {
    peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1] ?? 0))
  } catch {
    // It has just ended.
  }
}, 100)
const code = await new Promise((resolve) => child.on("close", resolve))
clearInterval(watch)

const seconds = (Date.now() - began) / 1000
const megabytes = statSync(input).size / 1e6
console.log(
  `memory: ${Math.round(peak / 1024)} MB at most for ${Math.round(megabytes)} MB with lines up to ` +
    `${Number(maxLine) / 1e6} MB, at ${(megabytes / seconds).toFixed(1)} MB/s (node ${process.versions.node})`
)
process.exitCode = code === 0 ? 0 : 1
