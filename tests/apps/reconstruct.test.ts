import { layer as services } from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib"
import * as Journal from "../../lib/adapters/Journal.ts"
import { run, start } from "../support/command.ts"
import { serveFiles } from "../support/files.ts"
import { type Asked, serve } from "../support/server.ts"

const makeFolder = (): string => mkdtempSync(join(tmpdir(), "inftythink-"))

const readLines = (file: string): ReadonlyArray<Record<string, unknown>> =>
  readFileSync(file, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line))

const readJson = (file: string): Record<string, unknown> => JSON.parse(readFileSync(file, "utf8"))

/** Renders samples of so many steps, of four tokens each, as lines of JSON. */
const linesOf = (counts: ReadonlyArray<number>, name = "s"): string =>
  counts.map((count, i) =>
    `${
      JSON.stringify({
        id: `${name}${i}`,
        question: `What of ${name}${i}?`,
        reasoning: Array.from({ length: count }, () => "Take one step.").join("\n\n"),
        conclusion: "Done.",
        answer: "42"
      })
    }\n`
  ).join("")

/** The question of a request for a summary, and how many messages it has. */
const questionOf = ({ body }: Asked): string => body.messages[0]!.content

const asking = (baseUrl: string, ...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...["--eta", "4", "--base-url", baseUrl, "--model", "gpt-x", ...more]
]

// ---- files

test("reconstruct: folders, patterns and several files, compressed or not, in order, and Parquet out and in again", async () => {
  const folder = makeFolder()
  mkdirSync(join(folder, "data"))
  writeFileSync(join(folder, "data", "1.jsonl"), linesOf([2, 1], "a"))
  writeFileSync(join(folder, "data", "2.jsonl.gz"), gzipSync(linesOf([1], "b")))
  writeFileSync(join(folder, "3.jsonl.zst"), zstdCompressSync(linesOf([3], "c")))
  const plain = await run(folder, ["reconstruct", "data", "*.zst", "--out", "rows.jsonl", "--eta", "4"])
  assert.equal(plain.code, 0, plain.stderr)
  const rows = readLines(join(folder, "rows.jsonl"))
  assert.deepEqual(rows.map(({ sample }) => sample), ["a0", "a0", "a1", "b0", "c0", "c0", "c0"])

  const zipped = await run(folder, ["reconstruct", "data", "*.zst", "--out", "rows.jsonl.gz", "--eta", "4"])
  assert.equal(zipped.code, 0, zipped.stderr)
  assert.equal(
    gunzipSync(readFileSync(join(folder, "rows.jsonl.gz"))).toString(),
    readFileSync(join(folder, "rows.jsonl"), "utf8")
  )

  const messages = ["--format", "messages", "--dialect", "chat"]
  const packed = await run(folder, ["reconstruct", "data", "*.zst", "--out", "m.parquet", "--eta", "4", ...messages])
  assert.equal(packed.code, 0, packed.stderr)
  const again = await run(folder, [
    "reconstruct",
    "m.parquet",
    "--out",
    "again.jsonl",
    "--tags",
    "replace",
    "--eta",
    "4096"
  ])
  assert.equal(again.code, 0, again.stderr)
  // What ends in a summary has no conclusion, and is rejected when it is read as a sample.
  assert.match(again.stdout, /^samples in +7$/m)
})

test("reconstruct: standard input to standard output, with rejections and the table on standard error", async () => {
  const folder = makeFolder()
  const { child, done } = start(
    folder,
    ["reconstruct", "-", "--out", "-", "--eta", "4"],
    {},
    linesOf([2]) + "no json\n"
  )
  assert.ok(child.pid !== undefined)
  const { code, stdout, stderr } = await done
  assert.equal(code, 0, stderr)
  assert.deepEqual(stdout.split("\n").slice(0, -1).map((line) => JSON.parse(line).sample), ["s0", "s0"])
  assert.match(stderr, /"reason":"invalid-json"/)
  assert.match(stderr, /^samples in +2$/m)
})

// ---- formats

test("reconstruct: a training format has its columns, and the manifest and the card say what was made", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([2, 1]))
  const { code, stderr } = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "train.jsonl", "--eta", "4", "--format", "prompt-completion"]
  ])
  assert.equal(code, 0, stderr)
  const rows = readLines(join(folder, "train.jsonl"))
  assert.deepEqual(Object.keys(rows[0]!).slice(0, 2), ["prompt", "completion"])
  const { inputs, output, options, counts, rejected, rejects } = readJson(join(folder, "train.manifest.json"))
  const bytes = readFileSync(join(folder, "train.jsonl"))
  const { sha256, ...written } = output as Record<string, unknown>
  assert.deepEqual(written, { name: "train.jsonl", bytes: bytes.length, format: "prompt-completion", rows: 3 })
  const digest = await crypto.subtle.digest("SHA-256", bytes)
  assert.equal(sha256, [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join(""))
  assert.deepEqual((inputs as Array<Record<string, unknown>>).map(({ name }) => name), ["in.jsonl"])
  const { eta, tokenizer, "summaries by": by } = options as Record<string, unknown>
  assert.deepEqual([eta, tokenizer, by], [4, "o200k_base", "extractive"])
  assert.equal((counts as Record<string, unknown>).samples, 2)
  assert.deepEqual([rejected, rejects], [{}, null])
  const card = readFileSync(join(folder, "train.card.md"), "utf8")
  for (const line of [/^ {4}num_examples: 3$/m, /^- n<1K$/m, /^\| samples \| 2 \|$/m, /`prompt`, `completion`/]) {
    assert.match(card, line)
  }
})

test("reconstruct: LLaMA-Factory's dataset_info.json is kept and added to", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([2]))
  writeFileSync(join(folder, "dataset_info.json"), '{"other":{"file_name":"other.json"}}')
  const { code, stderr } = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "train.jsonl", "--eta", "4", "--format", "sharegpt", "--dialect", "chat"]
  ])
  assert.equal(code, 0, stderr)
  const info = readJson(join(folder, "dataset_info.json"))
  assert.deepEqual(Object.keys(info), ["other", "train"])
  assert.equal((info.train as Record<string, unknown>).file_name, "train.jsonl")
})

test("reconstruct: rows for reinforcement learning, one a sample, and a rejection without a reference", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([2, 1]) + linesOf([1], "x").replace(',"answer":"42"', ""))
  const { code, stdout, stderr } = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "rl.jsonl", "--eta", "4", "--format", "verl-rl"]
  ])
  assert.equal(code, 0, stderr)
  assert.deepEqual(readLines(join(folder, "rl.jsonl")).map(({ reward_model }) => reward_model), [
    ...Array(2).fill({ style: "rule", ground_truth: "42" })
  ])
  assert.deepEqual(readLines(join(folder, "rl.rejects.jsonl")).map(({ reason, id }) => [reason, id]), [[
    "no-reference",
    "x0"
  ]])
  assert.match(stdout, /^rows written +2$/m)
})

test("reconstruct: a chat template renders prompts, and what it would do to rows is reported", async () => {
  const folder = makeFolder()
  const strips = "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}{% endfor %}" +
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
  writeFileSync(join(folder, "strips.jinja"), strips)
  writeFileSync(join(folder, "in.jsonl"), linesOf([2]))
  const { code, stdout, stderr } = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "train.jsonl", "--eta", "4", "--dialect", "chat", "--format", "messages"],
    ...["--chat-template", "strips.jinja"]
  ])
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^ +think-stripped +2; the first: /m)
  const findings = readLines(join(folder, "train.findings.jsonl"))
  assert.ok(findings.some(({ kind, sample, index }) => kind === "think-stripped" && sample === "s0" && index === 1))
  assert.equal((readJson(join(folder, "train.manifest.json")).findings as Record<string, unknown>)["think-stripped"], 2)
})

// ---- going on

test("reconstruct: a run that was stopped goes on, asks nothing twice, and writes what one run writes", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([4, 3, 4, 2]))
  const answered: Array<string> = []
  let isDown = true
  await using server = await serve((asked) => {
    if (isDown && answered.length >= 4) return 401
    answered.push(JSON.stringify(asked.body.messages))
    return `* summary of ${questionOf(asked)} and ${asked.body.messages.length}`
  })
  const command = ["reconstruct", "in.jsonl", "--out", "out.jsonl", ...asking(server.baseUrl)]
  const first = await run(folder, [...command, "--concurrency", "2"])
  assert.equal(first.code, 1)
  assert.equal(existsSync(join(folder, "out.jsonl")), false)

  const stopped = await run(folder, ["status", "out.journal.jsonl"])
  assert.match(stopped.stdout, /^state +stopped: Cannot .*401/m)
  assert.match(stopped.stdout, /^requests answered +4$/m)

  isDown = false
  // Another concurrency, and another format, change nothing in what was answered.
  const second = await run(folder, [...command, "--concurrency", "3"])
  assert.equal(second.code, 0, second.stderr)
  assert.equal(new Set(answered).size, answered.length)
  assert.equal(answered.length, 3 + 2 + 3 + 1)

  const whole = await run(folder, ["reconstruct", "in.jsonl", "--out", "whole.jsonl", ...asking(server.baseUrl)])
  assert.equal(whole.code, 0, whole.stderr)
  assert.equal(readFileSync(join(folder, "out.jsonl"), "utf8"), readFileSync(join(folder, "whole.jsonl"), "utf8"))

  const before = answered.length
  const other = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "messages.parquet", "--journal", "out.journal.jsonl"],
    ...["--format", "messages", "--dialect", "chat", ...asking(server.baseUrl)]
  ])
  assert.equal(other.code, 0, other.stderr)
  assert.equal(answered.length, before)

  const done = JSON.parse((await run(folder, ["status", "out.journal.jsonl", "--json"])).stdout)
  assert.deepEqual([done.state, done.answers, done.samples, done.rows], ["done", 9, 4, 13])
})

test("retry: asks again what failed, and nothing else, and only where the run came to its end", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([2, 3, 2]))
  let isBad = true
  const asked: Array<string> = []
  await using server = await serve((one) => {
    asked.push(questionOf(one))
    return isBad && questionOf(one) === "What of s1?" ? 500 : "* s"
  })
  const early = await run(folder, ["retry", "out.journal.jsonl"])
  assert.match(early.stderr, /Cannot read the journal out\.journal\.jsonl: it does not exist/)
  const first = await run(folder, [
    "reconstruct",
    "in.jsonl",
    "--out",
    "out.jsonl",
    ...asking(server.baseUrl, "--retries", "0")
  ])
  assert.equal(first.code, 2, first.stderr)
  assert.match(
    first.stderr,
    /Cannot reconstruct 1 samples: the server failed or refused them; inftythink retry out\.journal\.jsonl/
  )
  assert.deepEqual(readLines(join(folder, "out.jsonl")).map(({ sample }) => sample), ["s0", "s0", "s2", "s2"])
  assert.deepEqual(readLines(join(folder, "out.rejects.jsonl")).map(({ id, reason }) => [id, reason]), [[
    "s1",
    "request-failed"
  ]])
  const failed = await run(folder, ["status", "out.journal.jsonl"])
  assert.match(failed.stdout, /^state +done$/m)
  assert.match(failed.stdout, /^requests failed +1, /m)
  assert.match(failed.stdout, /^tries that failed +1$/m)

  // What is there is not written over, and the run stays one that came to its end.
  const refused = await run(folder, ["reconstruct", "in.jsonl", "--out", "out.jsonl", ...asking(server.baseUrl)])
  assert.match(refused.stderr, /Cannot write out\.jsonl: it exists; --overwrite replaces it/)

  isBad = false
  const before = asked.length
  const again = await run(folder, ["retry", "out.journal.jsonl"])
  assert.equal(again.code, 0, again.stderr)
  assert.deepEqual(asked.slice(before), ["What of s1?", "What of s1?"])
  assert.deepEqual(readLines(join(folder, "out.jsonl")).map(({ sample }) => sample), [
    ...["s0", "s0", "s1", "s1", "s1", "s2", "s2"]
  ])
  assert.equal(existsSync(join(folder, "out.rejects.jsonl")), false)
})

test("reconstruct: where every request is refused, it stops instead of rejecting every sample", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf(Array(200).fill(2)))
  await using server = await serve(() => 400)
  const { code, stderr } = await run(folder, [
    "reconstruct",
    "in.jsonl",
    "--out",
    "out.jsonl",
    ...asking(server.baseUrl)
  ])
  assert.equal(code, 1)
  assert.match(
    stderr,
    /^inftythink: Cannot go on: the first \d+ requests to gpt-x were all refused, the last with: .*400/m
  )
  assert.equal(existsSync(join(folder, "out.jsonl")), false)
})

test("reconstruct: a run in a folder of data reads nothing of what it writes, and goes on there", async () => {
  const folder = makeFolder()
  mkdirSync(join(folder, "data"))
  writeFileSync(join(folder, "data", "1.jsonl"), linesOf([3, 2]))
  await using server = await serve((_, index) => index === 1 ? 401 : `* s${index}`)
  const command = ["reconstruct", "data", "--out", "data/out.jsonl", ...asking(server.baseUrl, "--concurrency", "1")]
  assert.equal((await run(folder, command)).code, 1)
  const again = await run(folder, command)
  assert.equal(again.code, 0, again.stderr)
  assert.match(again.stdout, /^samples in +2$/m)
  assert.match(again.stdout, /^read from +data\/1\.jsonl$/m)
  assert.match(again.stdout, /^requests +2; in all runs of the journal: 3$/m)
})

test("reconstruct: outputs that would be one file, and options without a server, are refused before anything is written", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([1]))
  await using server = await serve(() => "* s")
  for (
    const [options, message] of [
      [asking(server.baseUrl, "--journal", "out.jsonl"), /Cannot write out\.jsonl: two outputs would be one file/],
      [asking(server.baseUrl, "--rejects", "./out.jsonl"), /Cannot write .*: two outputs would be one file/],
      [["--max-tokens", "5"], /Cannot use --max-tokens without --base-url/],
      [["--journal", "x"], /Cannot use --journal without --base-url/]
    ] as const
  ) {
    const { code, stderr } = await run(folder, ["reconstruct", "in.jsonl", "--out", "out.jsonl", ...options])
    assert.equal(code, 1)
    assert.match(stderr, message)
  }
  assert.deepEqual(readdirSync(folder), ["in.jsonl"])
})

test("reconstruct: a run that was killed behind its output's rename is taken up by the same command", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([3, 2]))
  await using server = await serve((_, index) => `* s${index}`)
  const command = ["reconstruct", "in.jsonl", "--out", "out.jsonl", ...asking(server.baseUrl)]
  assert.equal((await run(folder, command)).code, 0)
  const rows = readFileSync(join(folder, "out.jsonl"), "utf8")
  const journal = join(folder, "out.journal.jsonl")
  // What is noted at the end is not there yet.
  const notes = readFileSync(journal, "utf8").split("\n")
  writeFileSync(journal, `${notes.filter((line) => line !== "" && !line.startsWith('{"_tag":"End"')).join("\n")}\n`)
  rmSync(join(folder, "out.manifest.json"))
  const again = await run(folder, command)
  assert.equal(again.code, 0, again.stderr)
  assert.equal(server.asked.length, 3)
  assert.equal(readFileSync(join(folder, "out.jsonl"), "utf8"), rows)
  assert.equal(existsSync(join(folder, "out.manifest.json")), true)
})

test("reconstruct: a limit on tokens stops, what was spent counts in the next run, and a higher limit goes on", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([4, 4]))
  await using server = await serve((_, index) => `* s${index}`)
  const command = ["reconstruct", "in.jsonl", "--out", "out.jsonl", ...asking(server.baseUrl, "--concurrency", "1")]
  const first = await run(folder, [...command, "--max-tokens", "1"])
  assert.equal(first.code, 1)
  assert.match(first.stderr, /^inftythink: Cannot go on: about [\d,]+ of at most 1 tokens are spent$/m)
  assert.match(
    first.stderr,
    /^Stopped\..* 1 answers are kept in out\.journal\.jsonl: a higher --max-tokens goes on\.$/m
  )
  assert.equal(server.asked.length, 1)
  const second = await run(folder, [...command, "--max-tokens", "1"])
  assert.equal(second.code, 1)
  assert.equal(server.asked.length, 1)
  const cost = await run(folder, [...command, "--max-cost", "1"])
  assert.match(cost.stderr, /^inftythink: Cannot use --max-cost 1 without --price-input and --price-output$/m)
  const last = await run(folder, [...command, "--max-tokens", "1000000"])
  assert.equal(last.code, 0, last.stderr)
  assert.equal(server.asked.length, 6)
})

test("retry: takes other limits than those of the run, and goes on with them", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([4, 4]))
  await using server = await serve((_, index) => `* s${index}`)
  const price = ["--price-input", "1000", "--price-output", "1000"]
  const first = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "out.jsonl", "--max-tokens", "1", "--max-cost=1000000", ...price],
    ...asking(server.baseUrl, "--concurrency", "1")
  ])
  assert.equal(first.code, 1)
  const retry = (...limits: ReadonlyArray<string>) => run(folder, ["retry", "out.journal.jsonl", ...limits])
  assert.match((await retry()).stderr, /a higher --max-tokens goes on/)
  assert.match((await retry("--max-tokens", "2")).stderr, /of at most 2 tokens are spent/)
  assert.match((await retry("--max-tokens", "1000000", "--max-cost", "0.001")).stderr, /a higher --max-cost goes on/)
  assert.equal(server.asked.length, 1)
  const last = await retry("--max-cost", "1000000")
  assert.equal(last.code, 0, last.stderr)
  assert.equal(server.asked.length, 6)
})

test("reconstruct: the table says what this run spent, and beside it what all runs of the journal did", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([4]))
  await using server = await serve((_, index) => `* s${index}`)
  const command = ["reconstruct", "in.jsonl", "--out", "out.jsonl", "--overwrite", ...asking(server.baseUrl)]
  const first = await run(folder, command)
  assert.match(first.stdout, /^requests +3$/m)
  const second = await run(folder, [...command.filter((arg) => !/^(?:--eta|4)$/.test(arg)), "--eta", "8"])
  assert.equal(second.code, 0, second.stderr)
  assert.equal(server.asked.length, 4)
  assert.match(second.stdout, /^requests +1; in all runs of the journal: 4$/m)
  assert.match(second.stdout, /^tokens read \+ written, about +\d+ \+ \d+; in all runs of the journal: \d+ \+ \d+$/m)
  assert.match(second.stdout, /^cost +unknown$/m)
  assert.equal((readJson(join(folder, "out.manifest.json")).spent as Record<string, unknown>).requests, 4)
})

test("reconstruct: a try that broke off is counted, too", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([2]))
  await using server = await serve((_, index) => index < 2 ? { endsBehind: "word ".repeat(400) } : "* s")
  const ran = await run(folder, ["reconstruct", "in.jsonl", "--out", "out.jsonl", ...asking(server.baseUrl)])
  assert.equal(ran.code, 0, ran.stderr)
  assert.equal(server.asked.length, 3)
  const { spent } = readJson(join(folder, "out.manifest.json"))
  const { requests, outputTokens } = spent as Record<string, number>
  assert.equal(requests, 3)
  assert.ok(outputTokens! > 1000, `${outputTokens} tokens`)
})

test("reconstruct: another API is another request", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([2]))
  await using server = await serve(() => "* s")
  const command = ["reconstruct", "in.jsonl", "--out", "out.jsonl", "--overwrite", ...asking(server.baseUrl)]
  for (const [api, asked] of [["chat", 1], ["chat", 1], ["completions", 2], ["completions", 2], ["chat", 2]] as const) {
    await run(folder, [...command, "--api", api])
    assert.equal(server.asked.length, asked, api)
  }
  assert.deepEqual(server.asked.map(({ url }) => url), ["/v1/chat/completions", "/v1/completions"])
})

test("reconstruct: no file shows the query of an address, and retry does not go without", async () => {
  const folder = makeFolder()
  await using files = await serveFiles({ "/d.jsonl": Buffer.from(`${linesOf([2])}{}\n`) })
  await using server = await serve(() => "* s")
  const [input, baseUrl] = [`${files.url}/d.jsonl?token=SECRET`, `${server.baseUrl}?key=SECRET`]
  const plain = ["--log-level", "info", "reconstruct", `${files.url}/d.jsonl`, ...asking(server.baseUrl)]
  assert.equal((await run(folder, [...plain, "--out", "plain.jsonl"])).code, 0)
  const again = await run(folder, ["retry", "plain.journal.jsonl"])
  assert.equal(again.code, 0, again.stderr)
  const commands = [
    ["reconstruct", input, ...asking(server.baseUrl)],
    ["reconstruct", `${files.url}/d.jsonl`, ...asking(baseUrl)],
    ["reconstruct", `${files.url}/d.jsonl`, "--eta", "4", `--base-url=${baseUrl}#2`, "--model", "gpt-x"]
  ]
  for (const [i, command] of commands.entries()) {
    const ran = await run(folder, [...command, "--out", `${i}.jsonl`])
    assert.equal(ran.code, 0, ran.stderr)
    assert.doesNotMatch(ran.stdout, /SECRET/)
    const retry = await run(folder, ["retry", `${i}.journal.jsonl`])
    assert.equal(retry.code, 1)
    assert.match(retry.stderr, /it keeps no query of .*http:\/\/127\.0\.0\.1:\d+\/.*; run reconstruct itself again/)
  }
  const written = readdirSync(folder)
  assert.ok(written.length >= 20, written.join(", "))
  for (const file of written) assert.doesNotMatch(readFileSync(join(folder, file), "utf8"), /SECRET/, file)
})

test("reconstruct: where answers of a server are not kept, it is said before the first is asked", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([2]))
  await using server = await serve(() => 401)
  const note = /^Note: answers are not kept, .*: --journal FILE keeps them\.$/m
  const command = ["reconstruct", "in.jsonl", "--out", "-", ...asking(server.baseUrl)]
  assert.match((await run(folder, command)).stderr, note)
  assert.doesNotMatch((await run(folder, [...command, "--journal", "x.jsonl"])).stderr, note)
})

test("status: of a run that is under way, says which tries failed, and how long servers are left alone", async () => {
  const folder = makeFolder()
  const file = join(folder, "x.journal.jsonl")
  const shown = (note: Partial<Journal.Progress>) =>
    Effect.gen(function* () {
      const journal = yield* Journal.open(file)
      const progress = { _tag: "Progress", at: Date.now(), samples: 1, rows: 2, rejected: {}, bytes: 3 } as const
      yield* journal.note({ ...progress, ...note })
      const { stdout } = yield* Effect.promise(() => run(folder, ["status", "x.journal.jsonl"]))
      const { tries, pause } = JSON.parse(
        (yield* Effect.promise(() => run(folder, ["status", "x.journal.jsonl", "--json"]))).stdout
      )
      return { stdout, tries, pause }
    }).pipe(Effect.scoped, Effect.provide(services), Effect.runPromise)
  const troubled = await shown({ tries: 1400, pause: 7_200_000 })
  assert.match(troubled.stdout, /^state +running$/m)
  assert.match(troubled.stdout, /^tries that failed +1,400$/m)
  assert.match(troubled.stdout, /^servers left alone for +(?:1 h 59|2 h 0) min$/m)
  assert.equal(troubled.tries, 1400)
  assert.ok(troubled.pause > 3600 && troubled.pause <= 7200)
  // Afterwards nobody is left alone.
  const { stdout } = await run(folder, ["status", "x.journal.jsonl"])
  assert.match(stdout, /^tries that failed +1,400$/m)
  assert.doesNotMatch(stdout, /left alone/)
  const older = await shown({})
  assert.doesNotMatch(older.stdout, /tries|left alone/)
  assert.deepEqual([older.tries, older.pause], [null, 0])
})

test("reconstruct: two servers share the work, and one that is down is left out", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf(Array(30).fill(2)))
  await using one = await serve(() => "* s")
  await using two = await serve(() => 503)
  const { code, stderr } = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "out.jsonl", "--base-url", two.baseUrl, ...asking(`${one.baseUrl}#2`)]
  ])
  assert.equal(code, 0, stderr)
  assert.equal(readLines(join(folder, "out.jsonl")).length, 60)
  assert.ok(two.asked.length > 0)
  assert.equal(one.asked.length, 30)
})

test("reconstruct: --json writes the manifest on standard output, and progress on standard error", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "in.jsonl"), linesOf([2]))
  const { code, stdout, stderr } = await run(folder, [
    "reconstruct",
    "in.jsonl",
    "--out",
    "out.jsonl",
    "--eta",
    "4",
    "--json"
  ])
  assert.equal(code, 0, stderr)
  assert.deepEqual(JSON.parse(stdout), readJson(join(folder, "out.manifest.json")))
  const progress = stderr.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
  assert.deepEqual([progress.at(-1).samples, progress.at(-1).rows], [1, 2])
})
