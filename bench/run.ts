/**
 * Runs the benchmarks, each in a process of its own: all of them, or the one that is named.
 *
 * The peers that stand beside the library are packages of this folder alone, and are installed here at the first run;
 * where they cannot be, they are left out.
 *
 * ```sh
 * npm run bench                        # one page; the last, memory, writes 25 GB
 * npm run bench -- memory 0.5          # one subject, with its arguments
 * npm run bench -- --short             # all, on little input: to see that they work
 * ```
 *
 * @module
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"

/** The subjects, and what they take for a short run. */
const subjects: Readonly<Record<string, ReadonlyArray<string>>> = {
  parser: ["0.1", "1"],
  adversarial: ["200000", "30", "Sections"],
  streams: ["5000", "1"],
  server: ["1000", "1"],
  splitters: ["1", "1"],
  live: ["100", "1", "20"],
  growth: ["32768"],
  reconstruct: ["2", "1"],
  segmenter: ["0.2"],
  memory: ["0.01", "100000"]
}

const [first, ...rest] = process.argv.slice(2)
const isShort = first === "--short"
const runs = first === undefined || isShort
  ? Object.entries(subjects).map(([name, short]) => [name, isShort ? short : []] as const)
  : [[first, rest] as const]

const folder = fileURLToPath(new URL(".", import.meta.url))
if (!existsSync(join(folder, "node_modules"))) {
  console.log("installing the peers …")
  const { status } = spawnSync("npm", ["install", "--silent"], {
    cwd: folder,
    stdio: "inherit"
  })
  if (status !== 0) {
    console.log("the peers cannot be installed, and are left out")
  }
}

for (const [name, args] of runs) {
  if (!Object.hasOwn(subjects, name)) {
    console.error(
      `Cannot run the benchmark ${name}: there are ${Object.keys(subjects).join(", ")}`
    )
    process.exit(1)
  }
  const { status } = spawnSync(process.execPath, [
    join(folder, `${name}.ts`),
    ...args
  ], { stdio: "inherit" })
  if (status !== 0) process.exit(1)
}
