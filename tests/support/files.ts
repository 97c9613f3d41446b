/**
 * Folders, programs and servers for tests of files.
 *
 * @module
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { listenOn, type Loopback } from "./loopback.ts"

/** Runs a program on the files of the runtime. */
export const run = <A, E>(effect: Effect.Effect<A, E, FileSystem.FileSystem>): Promise<A> =>
  Effect.runPromise(Effect.provide(effect, NodeServices.layer))

/** Declares a test with a folder of its own. */
export const testIn = (name: string, body: (folder: string) => Promise<void>): void => {
  test(name, async () => {
    const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
    await body(folder).finally(() => rmSync(folder, { recursive: true }))
  })
}

/**
 * Runs the effect `program` of a source in a process of its own, in a folder, with bytes as its standard input.
 *
 * The source has Effect, Stream and Result, and the module of an adapter under its name.
 */
export const runProgram = async (
  folder: string,
  adapter: string,
  program: string,
  input: Uint8Array = new Uint8Array(0)
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> => {
  // Inside the project, so that it finds its packages.
  const home = mkdtempSync(join(tests, ".program-"))
  const file = join(home, "program.ts")
  const lib = new URL(`../../lib/adapters/${adapter}.ts`, import.meta.url)
  writeFileSync(
    file,
    `import * as NodeServices from "@effect/platform-node/NodeServices"
    import * as Effect from "effect/Effect"
    import * as Result from "effect/Result"
    import * as Stream from "effect/Stream"
    import * as ${adapter} from ${JSON.stringify(lib.href)}
    await Effect.runPromise(Effect.provide(${program}, NodeServices.layer))`
  )
  const args = "Deno" in globalThis ? ["run", "--allow-all", "--no-check", file] : [file]
  const child = spawn(process.execPath, args, { cwd: folder, env: { ...process.env, NO_COLOR: "1" } })
  let stdout = ""
  let stderr = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => stdout += text)
  child.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text)
  child.stdin.end(input)
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve))
  rmSync(home, { recursive: true })
  return { code, stdout, stderr }
}

const tests = fileURLToPath(new URL("..", import.meta.url))

/** Cuts bytes at the given places. */
export const cutBytes = (bytes: Uint8Array, places: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const sorted = [0, ...places.map((place) => Math.min(place, bytes.length)), bytes.length].sort((a, b) => a - b)
  return sorted.slice(1).map((place, i) => bytes.subarray(sorted[i], place))
}

/** A server of files that listens. */
export interface FileServer extends Loopback {
  /** What was asked for: the path and the range, if any. */
  readonly asked: ReadonlyArray<string>
}

/** How a server gives files: parts of them, no parts, or their first half before it hangs up. */
export type Manner = "ranges" | "whole" | "breaks" | "busy"

/** Starts a server of files by their paths. */
export const serveFiles = async (
  files: Readonly<Record<string, Uint8Array>>,
  manner: Manner = "ranges"
): Promise<FileServer> => {
  const asked: Array<string> = []
  const server = createServer((request, response) => {
    const { range } = request.headers
    asked.push(range === undefined ? request.url! : `${request.url} ${range}`)
    const bytes = files[request.url!.replace(/\?.*/, "")]
    if (bytes === undefined) return response.writeHead(404).end()
    if (manner === "busy" && asked.length <= 2) return response.writeHead(503).end()
    const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? []
    if ((manner === "ranges" || manner === "busy") && start !== undefined) {
      const part = bytes.subarray(Number(start), Number(end) + 1)
      response.writeHead(206, {
        "content-range": `bytes ${start}-${end}/${bytes.length}`,
        "content-length": String(part.length)
      })
      return response.end(part)
    }
    response.writeHead(200, { "content-length": String(bytes.length) })
    if (manner !== "breaks") return response.end(bytes)
    response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy())
  })
  return { ...await listenOn(server), asked }
}
