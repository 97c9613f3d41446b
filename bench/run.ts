/**
 * Runs the benchmarks, each in a process of its own: all of them, or those that are named.
 *
 * ```sh
 * npm run bench                        # one page
 * npm run bench -- memory 0.5          # one subject, with its arguments
 * npm run bench -- --short             # all, on little input: to see that they work
 * ```
 *
 * @module
 */
import { spawnSync } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"

/** The subjects, and what they take for a short run. */
const subjects: Readonly<Record<string, ReadonlyArray<string>>> = {
  reconstruct: ["2"],
  memory: ["0.01", "100000"]
}

const [first, ...rest] = process.argv.slice(2)
const isShort = first === "--short"
const runs = first === undefined || isShort
  ? Object.entries(subjects).map(([name, short]) => [name, isShort ? short : []] as const)
  : [[first, rest] as const]

for (const [name, args] of runs) {
  if (!Object.hasOwn(subjects, name)) {
    console.error(`Cannot run the benchmark ${name}: there are ${Object.keys(subjects).join(", ")}`)
    process.exit(1)
  }
  const file = fileURLToPath(new URL(`${name}.ts`, import.meta.url))
  const { status } = spawnSync(process.execPath, [file, ...args], { stdio: "inherit" })
  if (status !== 0) process.exit(1)
}
