/**
 * Runs the command `inftythink` on the runtime that runs the tests.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"

/** What a command did. */
export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A command that runs. */
export interface Running {
  readonly child: ChildProcess
  readonly done: Promise<Ran>
}

const main = fileURLToPath(new URL("../../lib/apps/main.ts", import.meta.url))

/** Starts the command in a folder, with a text on its standard input, or none. */
export const start = (
  folder: string,
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string>> = {},
  input?: string
): Running => {
  const before = "Deno" in globalThis ? ["run", "--allow-all", "--no-check"] : []
  const child = spawn(process.execPath, [...before, main, ...args], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"]
  })
  child.stdin?.end(input)
  let stdout = ""
  let stderr = ""
  child.stdout?.setEncoding("utf8").on("data", (text: string) => stdout += text)
  child.stderr?.setEncoding("utf8").on("data", (text: string) => stderr += text)
  const done = new Promise<Ran>((resolve, reject) => {
    child.on("error", reject)
    // Deno's node:child_process takes an exit with 130 for the signal.
    child.on("close", (code, signal) => resolve({ code: signal === "SIGINT" ? 130 : code, stdout, stderr }))
  })
  return { child, done }
}

/** Runs the command in a folder to its end. */
export const run = (
  folder: string,
  args: ReadonlyArray<string>,
  env?: Readonly<Record<string, string>>
): Promise<Ran> => start(folder, args, env).done
