#!/usr/bin/env node
/**
 * The command `inftythink`, on Node, Deno and Bun.
 *
 * @module
 */
import process from "node:process"
import { setFlagsFromString } from "node:v8"

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major < 22 || major === 22 && minor < 19) {
  process.stderr.write(`Cannot run inftythink: it needs Node 22.19 or later, and this is ${process.versions.node}\n`)
  process.exit(1)
}

// V8 takes the memory there is: with this it collects garbage more often, for a tenth of the time and half of the peak.
if (!("Deno" in globalThis) && !("Bun" in globalThis)) {
  setFlagsFromString("--heap-growing-percent=20")
  setFlagsFromString("--semi-space-growth-factor=1")
}

// Imported only now, because older versions of Node cannot even read them.
const { run } = await import("./cli.ts")
const { layer } = await import("@effect/platform-node/NodeServices")
const { runMain } = await import("@effect/platform-node/NodeRuntime")
const Effect = await import("effect/Effect")

// A reader that has seen enough, as in `inftythink … | head`, is no error; a full disk is.
process.stdout.on("error", (error: { readonly code?: string; readonly message: string }) => {
  if (error.code === "EPIPE") process.exit(0)
  process.stderr.write(`inftythink: Cannot write to standard output: ${error.message}\n`)
  process.exitCode = 1
})

runMain(Effect.provide(run(process.argv.slice(2)), layer))
