import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import * as Lock from "../../lib/adapters/Lock.ts"

test("of many in one process, one takes the lock, however slow the disk is", async () => {
  const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
  let delay = 0
  // Each operation takes a few turns longer than the one before it, so that all are under way at once.
  const slow = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.andThen(Effect.promise(() => new Promise((resolve) => setTimeout(resolve, delay++ % 7))), effect)
  const files = Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (files): FileSystem.FileSystem => ({
      ...files,
      remove: (...args) => slow(files.remove(...args)),
      link: (...args) => slow(files.link(...args))
    }))
  ).pipe(Layer.provide(NodeServices.layer))
  try {
    const file = join(folder, "x")
    for (let round = 0; round < 5; round++) {
      const taken = await Effect.forEach(Array.from({ length: 8 }), () => Effect.result(Lock.take(file)), {
        concurrency: 8
      }).pipe(Effect.scoped, Effect.provide(files), Effect.runPromise)
      assert.equal(taken.filter(Result.isSuccess).length, 1)
      assert.deepEqual(readdirSync(folder), [])
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})
