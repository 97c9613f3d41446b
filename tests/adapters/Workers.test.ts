import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import * as Workers from "../../lib/adapters/Workers.ts"
import { testIn } from "../support/files.ts"

/** Writes a module that answers with a function of the task and of the data. */
const entryOf = (folder: string, body: string): URL => {
  const file = join(folder, "entry.mjs")
  const lib = new URL("../../lib/adapters/Workers.ts", import.meta.url)
  writeFileSync(file, `import { answer } from ${JSON.stringify(lib.href)}\nanswer(async (data) => ${body})\n`)
  return pathToFileURL(file)
}

type Runs = Workers.Workers<number, string>["run"]

/** Uses two threads. */
const using = <A, E>(entry: URL, use: (run: Runs) => Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Effect.scoped(
    Effect.flatMap(Workers.make<number, string>({ entry, count: 2, data: "x" }), ({ run }) => use(run))
  ))

testIn("run: every task has its own reply, whichever thread gives it, and threads share them", async (folder) => {
  const entry = entryOf(
    folder,
    `{ const { threadId } = await import("node:worker_threads"); return (task) => data + task + " " + threadId }`
  )
  const tasks = Array.from({ length: 20 }, (_, i) => i)
  const replies = await using(
    entry,
    (run) => Effect.forEach(tasks, (task) => run(task, []), { concurrency: "unbounded" })
  )
  assert.deepEqual(replies.map((reply) => reply.split(" ")[0]), tasks.map((task) => `x${task}`))
  assert.equal(new Set(replies.map((reply) => reply.split(" ")[1])).size, 2)
})

testIn("run: bytes that are transferred are moved", async (folder) => {
  const entry = entryOf(folder, "(bytes) => String(bytes.byteLength)")
  const bytes = new ArrayBuffer(7)
  const reply = await Effect.runPromise(Effect.scoped(
    Effect.flatMap(
      Workers.make<ArrayBuffer, string>({ entry, count: 1, data: "" }),
      ({ run }) => run(bytes, [bytes])
    )
  ))
  assert.deepEqual([reply, bytes.byteLength], ["7", 0])
})

for (
  const [name, body, reason, message] of [
    ["a task that throws", `(task) => { if (task === 3) throw new Error("three"); return "" }`, "failed", "three"],
    ["a thread that cannot be made ready", `{ throw new Error("no data") }`, "failed", "no data"],
    [
      "a thread that ends",
      `{ const { exit } = await import("node:process"); return (task) => task === 3 ? exit(5) : "" }`,
      "ended",
      "it ended with code 5"
    ]
  ] as const
) {
  testIn(`run: ${name} fails what is asked, then and later`, async (folder) => {
    const errors = await using(entryOf(folder, body), (run) =>
      Effect.gen(function* () {
        const tasks = [1, 2, 3, 4, 5, 6]
        const first = yield* Effect.flip(Effect.forEach(tasks, (task) => run(task, []), { concurrency: 6 }))
        // So many that each thread would have some.
        const later = Effect.forEach([7, 8, 9, 10, 11, 12], (task) => Effect.flip(run(task, [])), { concurrency: 6 })
        return [first, ...yield* later]
      }))
    for (const error of errors) {
      assert.deepEqual([error._tag, error.reason], ["WorkerError", reason])
      assert.equal(error.message, `Cannot work in a thread: ${message}`)
    }
  })
}
