import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { run, start } from "../support/command.ts"
import { type Answer, type Asked, serve } from "../support/server.ts"
import { lineOf, makeRandom } from "../support/traces.ts"

const isNode = !("Deno" in globalThis) && !("Bun" in globalThis)

/** Fifty on one runtime; the others show that nothing of it depends on the runtime. */
const KILLS = isNode ? 50 : 15

const CONCURRENCY = 4

/** A summary that depends on what is asked and on nothing else, and a fault now and then. */
const answerTo = ({ body }: Asked): string => {
  const said = body.messages.map(({ content }) => content).join("\n")
  let sum = 0
  for (let i = 0; i < said.length; i++) sum = (sum * 31 + said.charCodeAt(i)) >>> 0
  return `* So far, ${said.length} characters were read, and their sum is ${sum}.\n* 思考 😀`
}

test(`reconstruct: killed ${KILLS} times at random points, with faults, it writes what one run writes`, async () => {
  const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
  const random = makeRandom(7)
  const pick = (least: number, most: number): number => least + Math.floor(random() * (most - least + 1))

  const lines = Array.from({ length: 40 }, (_, i) => lineOf(random, i, pick(500, 4000)))
  lines.splice(11, 0, "no json", '{"question":"Is it?","reasoning":"Hm.","conclusion":""}')
  writeFileSync(join(folder, "in.jsonl"), lines.join("\n"))
  const commandTo = (baseUrl: string): ReadonlyArray<string> => [
    ...["reconstruct", "in.jsonl", "--out", "out.jsonl", "--eta", "128", "--concurrency", String(CONCURRENCY)],
    ...["--base-url", baseUrl, "--model", "gpt-x"]
  ]

  const outputs = ["out.jsonl", "out.rejects.jsonl"]
  const read = (): ReadonlyArray<string> => outputs.map((file) => readFileSync(join(folder, file), "utf8"))
  const clear = (): void => {
    for (const file of [...outputs, "out.journal.jsonl"]) rmSync(join(folder, file), { force: true })
  }
  await using steady = await serve(answerTo, { remembered: 0 })
  const whole = await run(folder, commandTo(steady.baseUrl))
  assert.equal(whole.code, 0, whole.stderr)
  const expected = read()
  clear()

  // Each process is killed when the server is asked for the so-manieth time, before or after it is answered.
  let left = Infinity
  let kill = (): void => {}
  let answered = 0
  const distinct = new Set<string>()
  await using faulty = await serve(async (asked): Promise<Answer> => {
    if (--left === 0) setTimeout(kill, pick(0, 15))
    await new Promise((resolve) => setTimeout(resolve, pick(0, 10)))
    const fault = pick(0, 39)
    if (fault === 0) return 503
    if (fault === 1) return 429
    if (fault === 2) return { breaksOffBehind: "* So far" }
    answered++
    distinct.add(JSON.stringify(asked.body.messages))
    return answerTo(asked)
  }, { remembered: 0 })

  let kills = 0
  let done = 0
  let torn = 0
  for (;;) {
    const { child, done: ended } = start(folder, commandTo(faulty.baseUrl))
    left = kills < KILLS ? pick(1, 25) : Infinity
    kill = () => child.kill("SIGKILL")
    const { code, stderr } = await ended
    if (code === null || code === 137) {
      kills++
      if (existsSync(join(folder, "out.jsonl"))) assert.deepEqual(read(), expected, "what stands at its name is whole")
      // A machine may tear what a process wrote last, too.
      const journal = join(folder, "out.journal.jsonl")
      const bytes = existsSync(journal) ? readFileSync(journal) : new Uint8Array()
      if (bytes.length > 0 && pick(0, 1) === 0) {
        torn++
        writeFileSync(journal, bytes.subarray(0, bytes.length - pick(1, Math.min(60, bytes.length))))
      }
      continue
    }
    assert.equal(code, 0, stderr)
    assert.deepEqual(read(), expected)
    done++
    if (kills >= KILLS) break
    clear()
  }
  assert.ok(torn > 0)
  // What was answered is asked again only where it was under way when the process was killed, or was torn.
  const most = distinct.size * done + kills * CONCURRENCY + 2 * torn
  assert.ok(answered <= most, `${answered} requests were answered, and ${most} are allowed`)
})
