/**
 * Runs every test on Node, Deno and Bun, and adds up what passed and what failed.
 *
 * A runtime that does not say how many passed counts as one failure.
 *
 * @module
 */
import { spawn } from "node:child_process"
import process from "node:process"

interface Runtime {
  readonly name: string
  readonly command: ReadonlyArray<string>
  /** Find the counts in what the runtime prints last. */
  readonly passed: RegExp
  readonly failed: RegExp
}

const runtimes: ReadonlyArray<Runtime> = [
  {
    name: "Node",
    command: ["node", "--test", "--test-concurrency=2", "tests/**/*.test.ts"],
    passed: /^ℹ pass (\d+)/m,
    failed: /^ℹ fail (\d+)/m
  },
  {
    name: "Deno",
    command: ["deno", "test", "--allow-all", "--no-check", "tests/"],
    passed: /(\d+) passed/,
    failed: /(\d+) failed/
  },
  {
    name: "Bun",
    command: ["bun", "test", "--timeout", "300000", "./tests"],
    passed: /(\d+) pass$/m,
    failed: /(\d+) fail$/m
  }
]

const run = (
  { command: [file, ...args] }: Runtime
): Promise<{ readonly output: string; readonly code: number | null }> =>
  new Promise((resolve) => {
    const child = spawn(file!, args, { env: { ...process.env, NO_COLOR: "1" }, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text
        process.stdout.write(text)
      })
    }
    child.on("error", (error) => resolve({ output: String(error), code: 1 }))
    child.on("close", (code) => resolve({ output, code }))
  })

const last = (pattern: RegExp, output: string): number | undefined => {
  const match = [...output.matchAll(new RegExp(pattern, "gm"))].at(-1)
  return match === undefined ? undefined : Number(match[1])
}

let passed = 0
let failed = 0
const lines: Array<string> = []
for (const runtime of runtimes) {
  console.log(`\n──── ${runtime.name} ────`)
  const { output, code } = await run(runtime)
  const counts = { passed: last(runtime.passed, output) ?? 0, failed: last(runtime.failed, output) ?? 0 }
  if (counts.failed === 0 && (code !== 0 || counts.passed === 0)) counts.failed = 1
  passed += counts.passed
  failed += counts.failed
  lines.push(`${runtime.name}: ${counts.passed} passed, ${counts.failed} failed`)
}
console.log(`\n${lines.join("\n")}\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
