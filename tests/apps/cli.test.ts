import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { run, start } from "../support/command.ts"
import { serve } from "../support/server.ts"

const samples = fileURLToPath(new URL("../../samples/traces.jsonl", import.meta.url))
const version: string = JSON.parse(
  readFileSync(fileURLToPath(new URL("../../package.json", import.meta.url)), "utf8")
).version

const makeFolder = (): string => mkdtempSync(join(tmpdir(), "inftythink-"))

const readLines = (file: string): ReadonlyArray<Record<string, unknown>> =>
  readFileSync(file, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line))

/** Writes samples of so many steps, of four tokens each. */
const writeSamples = (folder: string, counts: ReadonlyArray<number>): void => {
  const lines = counts.map((count, i) =>
    JSON.stringify({
      id: `s${i}`,
      question: `What of ${i}?`,
      reasoning: Array.from({ length: count }, () => "Take one step.").join("\n\n"),
      conclusion: "Done."
    })
  )
  writeFileSync(join(folder, "in.jsonl"), lines.join("\n"))
}

test("reconstruct: without a server, prints a table and the first instance, and writes rows and rejections", async () => {
  const folder = makeFolder()
  const { code, stdout, stderr } = await run(folder, [
    ...["reconstruct", samples, "--out", "rows.jsonl", "--eta", "512", "--gamma", "256", "--show"]
  ])
  assert.equal(code, 0)
  const rows = readLines(join(folder, "rows.jsonl"))
  const rejections = readLines(join(folder, "rows.rejects.jsonl"))
  assert.equal(rejections.length, 2)
  assert.deepEqual(rejections.map(({ file, line }) => [file, line]), [[samples, 13], [samples, 14]])
  for (
    const line of [
      /^tokenizer +o200k_base$/m,
      /^samples in +14$/m,
      /^samples reconstructed +12, 10 of them in several iterations$/m,
      new RegExp(`^segments = instances out +${rows.length}$`, "m"),
      /^largest segment +5\d\d tokens$/m,
      /^samples rejected +2$/m,
      /^rejections to +rows\.rejects\.jsonl$/m,
      /^ +unclosed-reasoning +1$/m,
      /^ +no-conclusion +1$/m,
      /instance 1 of \d+, of gcd-441/
    ]
  ) assert.match(stdout, line)
  assert.ok(stdout.includes(String(rows[0]!.prompt)) && stdout.includes(String(rows[0]!.target)))
  assert.match(stderr, /for trying out, not for training data/)
  assert.match(stderr, new RegExp(`^100% · 14 samples · ${rows.length} instances · 2 rejected · `, "m"))
})

test("reconstruct: summaries come from the server, asked with the key, and the rows name its model", async () => {
  const folder = makeFolder()
  await using server = await serve((_, index) => `* summary ${index}`)
  writeSamples(folder, [3, 1, 2])
  const { code, stdout, stderr } = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "out.jsonl", "--eta", "4", "--gamma", "20", "--concurrency", "1"],
    ...["--base-url", server.baseUrl, "--model", "Qwen3-4B-Instruct", "--api-key-env", "SECRET"]
  ], { SECRET: "sk-secret" })
  assert.equal(code, 0, stderr)
  assert.deepEqual(server.asked.map(({ url, authorization, body }) => [url, authorization, body.model]), [
    ...Array(3).fill(["/v1/chat/completions", "Bearer sk-secret", "Qwen3-4B-Instruct"])
  ])
  assert.deepEqual(
    readLines(join(folder, "out.jsonl")).map(({ sample, history, model }) => [sample, history, model]),
    [
      ["s0", null, "Qwen3-4B-Instruct"],
      ["s0", "* summary 0", "Qwen3-4B-Instruct"],
      ["s0", "* summary 1", "Qwen3-4B-Instruct"],
      ["s1", null, null],
      ["s2", null, "Qwen3-4B-Instruct"],
      ["s2", "* summary 2", "Qwen3-4B-Instruct"]
    ]
  )
  assert.match(stderr, /counted with o200k_base, and Qwen3-4B-Instruct is not OpenAI's/)
  assert.equal(existsSync(join(folder, "out.rejects.jsonl")), false)
  assert.ok(!(stdout + stderr).includes("sk-secret"))
})

test("reconstruct: no warning where the tokenizer was chosen or the model is OpenAI's", async () => {
  const folder = makeFolder()
  writeSamples(folder, [1])
  for (const options of [["--model", "gpt-5-nano"], ["--model", "Qwen3", "--tokenizer", "cl100k_base"]]) {
    const { code, stderr } = await run(folder, [
      ...["reconstruct", "in.jsonl", "--out", "out.jsonl", "--overwrite", "--base-url", "http://127.0.0.1:1/v1"],
      ...options
    ])
    assert.equal(code, 0, stderr)
    assert.doesNotMatch(stderr, /OpenAI's/)
  }
})

test("reconstruct: Ctrl-C ends cleanly, and says what was written", async () => {
  const folder = makeFolder()
  let interrupt = (): void => {}
  const waits = new Promise<void>((resolve) => interrupt = resolve)
  await using server = await serve(async (_, index) => {
    if (index < 2) return "* s"
    interrupt()
    return await new Promise<string>(() => {})
  })
  writeSamples(folder, [2, 2, 2, 2])
  const { child, done } = start(folder, [
    ...["reconstruct", "in.jsonl", "--out", "out.jsonl", "--eta", "4", "--concurrency", "1", "--window", "1"],
    ...["--base-url", server.baseUrl, "--model", "m"]
  ])
  await waits
  child.kill("SIGINT")
  const { code, stderr } = await done
  assert.equal(code, 130)
  assert.match(
    stderr,
    /^Interrupted\. Written to out\.jsonl\.partial: 2 samples, 4 instances, 0 rejected\..* the same command goes on/m
  )
  assert.deepEqual(readLines(join(folder, "out.jsonl.partial")).map(({ sample }) => sample), ["s0", "s0", "s1", "s1"])
  assert.equal(existsSync(join(folder, "out.jsonl")), false)
})

test("reconstruct: a server that fails ends it, and what was written before is said", async () => {
  const folder = makeFolder()
  writeSamples(folder, [2, 2, 2])
  await using server = await serve((_, index) => index < 2 ? "* s" : 401)
  const { code, stderr } = await run(folder, [
    ...["reconstruct", "in.jsonl", "--out", "out.jsonl", "--eta", "4", "--concurrency", "1", "--window", "1"],
    ...["--base-url", server.baseUrl, "--model", "m"]
  ])
  assert.equal(code, 1)
  assert.match(
    stderr,
    /^Stopped\. Written to out\.jsonl\.partial: 2 samples, 4 instances, 0 rejected\..* the same command goes on/m
  )
  assert.match(stderr, /^inftythink: Cannot complete a request to m at http.*401/m)
  assert.equal(readLines(join(folder, "out.jsonl.partial")).length, 4)
})

const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, message: RegExp]> = [
  [["--eta", "3"], /^inftythink: Invalid value for flag --eta: "3"\. Expected: an integer of at least 4$/m],
  [["--eta", "many"], /--eta: "many"/],
  [["--gamma", "0"], /--gamma: "0"/],
  [["--dialect", "v3"], /--dialect: "v3"/],
  [["--temperature", "9"], /--temperature: "9"\. Expected: a number from 0 to 2$/m],
  [["--concurency", "2"], /--concurency[^]*--concurrency[^]*^inftythink reconstruct --help shows all/m],
  [
    ["--max-cost", "1", "--base-url", "http://localhost/v1", "--model", "m"],
    /without --price-input and --price-output/
  ],
  [["--format", "reasoning-content"], /in dialect v1: .*; the dialect chat can$/m],
  [["--window", "2"], /--window 2: it must be at least --concurrency, which is 32/],
  [["--tokenizer", "no.json"], /no\.json: it does not exist; --tokenizer takes o200k_base/],
  [["--model", "m"], /--model without --base-url/],
  [["--base-url", "http://localhost/v1"], /--base-url without --model/],
  [["--api-key-env", "KEY"], /--api-key-env without --base-url/],
  [["--base-url", "http://u:p@localhost/v1", "--model", "m"], /baseUrl has a name or a password in it/],
  [["--base-url", "localhost", "--model", "m"], /--base-url localhost: it is no http address/],
  [["--base-url", "http://localhost/v1", "--model", "m", "--api-key-env", "NO_SUCH"], /NO_SUCH: there is no such/]
]

test("reconstruct: a wrong option gets a message that names it and the value, and nothing is written", async () => {
  const folder = makeFolder()
  writeSamples(folder, [1])
  for (const [args, message] of wrong) {
    const { code, stdout, stderr } = await run(folder, ["reconstruct", "in.jsonl", "--out", "out.jsonl", ...args])
    assert.equal(code, 1, args.join(" "))
    assert.match(stderr, message)
    assert.equal(stdout, "")
    assert.equal(existsSync(join(folder, "out.jsonl")), false)
  }
})

test("reconstruct: a file that is there is not overwritten by itself, and one that is not there is named", async () => {
  const folder = makeFolder()
  writeSamples(folder, [1])
  writeFileSync(join(folder, "out.jsonl"), "precious\n")
  const existing = await run(folder, ["reconstruct", "in.jsonl", "--out", "out.jsonl"])
  assert.equal(existing.code, 1)
  assert.match(existing.stderr, /Cannot write out\.jsonl: it exists[^]*--overwrite/)
  assert.equal(readFileSync(join(folder, "out.jsonl"), "utf8"), "precious\n")
  const missing = await run(folder, ["reconstruct", "no.jsonl", "--out", "new.jsonl"])
  assert.equal(missing.code, 1)
  assert.match(missing.stderr, /Cannot read no\.jsonl: it does not exist/)
})

test("reconstruct: what is read is not written over, by rows or by rejections", async () => {
  const folder = makeFolder()
  writeSamples(folder, [1])
  const samples = readFileSync(join(folder, "in.jsonl"), "utf8")
  writeFileSync(join(folder, "x.rejects.jsonl"), samples)
  for (const [input, out] of [["in.jsonl", "./in.jsonl"], ["x.rejects.jsonl", "x.jsonl"]] as const) {
    const { code, stderr } = await run(folder, ["reconstruct", input, "--out", out, "--overwrite"])
    assert.equal(code, 1)
    assert.match(stderr, /Cannot write .*: it is what is read/)
    assert.equal(readFileSync(join(folder, input), "utf8"), samples)
  }
})

test("segment: shows each segment, its tokens, and where it is cut", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "text.txt"), "Take one step.\n\nTake two steps.\nThen rest. Then go on at last.\n\nEnd.")
  const { code, stdout } = await run(folder, ["segment", "text.txt", "--eta", "8"])
  assert.equal(code, 0)
  assert.equal(
    stdout,
    [
      "──── segment 1 of 3 · 8 tokens (o200k_base) · cut at a line ────",
      "Take one step.",
      "",
      "Take two steps.",
      "──── segment 2 of 3 · 3 tokens (o200k_base) · cut at a sentence ────",
      "Then rest.",
      "──── segment 3 of 3 · 8 tokens (o200k_base) · ends with the text ────",
      " Then go on at last.",
      "",
      "End.",
      ""
    ].join("\n")
  )
})

test("segment: - is standard input", async () => {
  const { code, stdout, stderr } = await start(makeFolder(), ["segment", "-", "--eta", "4"], {}, "One. Two.").done
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^──── segment 1 of 1 · 4 tokens \(o200k_base\) · ends with the text ────\nOne\. Two\.$/m)
})

test("segment: a file that is not there is named", async () => {
  const { code, stderr } = await run(makeFolder(), ["segment", "no.txt"])
  assert.equal(code, 1)
  assert.match(stderr, /^inftythink: Cannot read no\.txt: it does not exist$/m)
})

const summarized = "<think>\nFirst, some thought.\n</think>\n<summary>\n* a start was made\n</summary>"
const concluded = "<think>\nNow it is clear.\n</think>\n\nThe answer is 42."

test("reason: reasoning and summaries go to standard error, labelled, the conclusion to standard output", async () => {
  await using server = await serve((_, index) => index === 0 ? summarized : concluded)
  const { code, stdout, stderr } = await run(makeFolder(), [
    ...["reason", "What is 6 × 7?", "--base-url", server.baseUrl, "--model", "m", "--api-key-env", "SECRET"]
  ], { SECRET: "sk-secret" })
  assert.equal(code, 0, stderr)
  assert.equal(stdout, "The answer is 42.\n")
  for (
    const shown of [
      "──── iteration 1 · reasoning ────\nFirst, some thought.\n──── iteration 1 · summary ────\n* a start was made\n",
      "──── iteration 2 · reasoning ────\nNow it is clear.\n"
    ]
  ) assert.ok(stderr.includes(shown), shown)
  assert.match(stderr, /2 iterations +in one go, about\ntokens read +\d+ +\d+\ntokens written/)
  assert.ok(!stderr.includes("sk-secret"))
  assert.equal(server.asked[0]!.authorization, "Bearer sk-secret")
  assert.match(
    server.asked[1]!.body.messages.at(-1)!.content,
    /^What is 6 × 7\?\n\n<history>\n\* a start was made\n<\/history>$/
  )
})

test("reason: --json writes the events, a line each", async () => {
  await using server = await serve((_, index) => index === 0 ? summarized : concluded)
  const { code, stdout } = await run(makeFolder(), [
    ...["reason", "What is 6 × 7?", "--base-url", server.baseUrl, "--model", "m", "--json"]
  ])
  assert.equal(code, 0)
  const events = stdout.trimEnd().split("\n").map((line) => JSON.parse(line))
  assert.deepEqual(events.map(({ _tag }) => _tag).filter((tag) => tag !== "Delta"), [
    ...["IterationStarted", "IterationEnded", "IterationStarted", "IterationEnded", "TrajectoryEnded"]
  ])
  assert.equal(events.at(-1).outcome.conclusion, "\n\nThe answer is 42.")
})

test("reason: what did not conclude exits with 2, and --state goes on from there", async () => {
  const folder = makeFolder()
  await using server = await serve((_, index) => index === 0 ? summarized : concluded)
  const server_ = ["--base-url", server.baseUrl, "--model", "m", "--state", "state.json"]
  const first = await run(folder, ["reason", "What is 6 × 7?", ...server_, "--max-iterations", "1"])
  assert.equal(first.code, 2)
  assert.match(first.stderr, /^inftythink: Cannot conclude: the limit on iterations was reached$/m)
  const state = JSON.parse(readFileSync(join(folder, "state.json"), "utf8"))
  assert.deepEqual([state.index, state.summaries], [1, ["* a start was made"]])
  const other = await run(folder, ["reason", "What is 6 × 8?", ...server_])
  assert.equal(other.code, 1)
  assert.match(other.stderr, /Cannot use --state state\.json: it is about another question/)
  const second = await run(folder, ["reason", ...server_])
  assert.equal(second.code, 0, second.stderr)
  assert.equal(second.stdout, "The answer is 42.\n")
  const third = await run(folder, ["reason", ...server_])
  assert.deepEqual([third.code, third.stdout], [0, "The answer is 42.\n"])
  assert.equal(server.asked.length, 2)
})

test("reason: --force prints a conclusion, says that it was forced, and exits with 2", async () => {
  await using server = await serve((_, index) => index === 0 ? summarized : concluded)
  const { code, stdout, stderr } = await run(makeFolder(), [
    ...["reason", "q", "--base-url", server.baseUrl, "--model", "m", "--max-iterations", "1", "--force"]
  ])
  assert.deepEqual([code, stdout], [2, "The answer is 42.\n"])
  assert.match(stderr, /^inftythink: Concluded by force: the limit on iterations was reached$/m)
  assert.doesNotMatch(stderr, /Cannot/)
})

test("reason: a guided model is cut, and what was kept is summarized", async () => {
  const long = Array.from({ length: 40 }, (_, i) => `Let me look at case ${i} of all.`).join("\n\n")
  await using server = await serve((_, index) =>
    [`<think>\n${long}`, "* many cases were looked at", "<think>\nDone.\n</think>\n\n42"][index]!
  )
  const { code, stdout, stderr } = await run(makeFolder(), [
    ...["reason", "How many?", "--dialect", "guided", "--eta", "100", "--base-url", server.baseUrl, "--model", "m"]
  ])
  assert.equal(code, 0, stderr)
  assert.equal(stdout, "42\n")
  assert.match(stderr, /iteration 1 · cut, \d+ characters dropped/)
  assert.match(server.asked[1]!.body.messages.at(-1)!.content, /summary of your reasoning/)
  assert.ok(!JSON.stringify(server.asked[1]!.body).includes("case 39"))
  assert.ok(server.asked[2]!.body.messages.at(-1)!.content.includes("* many cases were looked at"))
})

test("reason: a guided and a tail state go on as they were begun", async () => {
  const long = Array.from({ length: 40 }, (_, i) => `Let me look at case ${i} of all.`).join("\n\n")
  const replies = [`<think>\n${long}`, "* many cases", `<think>\n${long}`, "* more cases", "<think>\nDone.\n</think>42"]
  await using server = await serve((_, index) => replies[index % replies.length]!)
  for (
    const options of [["--dialect", "guided", "--eta", "100"], [
      "--dialect",
      "guided",
      "--eta",
      "100",
      "--carry",
      "summary-and-tail"
    ]]
  ) {
    const folder = makeFolder()
    const last = ["--base-url", server.baseUrl, "--model", "m", "--state", "state.json"]
    const first = await run(folder, ["reason", "How many?", ...options, ...last, "--max-iterations", "1"])
    assert.equal(first.code, 2, first.stderr)
    const { code, stderr } = await run(folder, ["reason", ...last])
    assert.equal(code, 0, stderr)
    assert.match(stderr, /iteration 2 · cut/)
  }
})

test("reason: with --json, an error is a line too, and holds the last good state", async () => {
  const folder = makeFolder()
  await using server = await serve((_, index) => index === 0 ? summarized : 401)
  const { code, stdout } = await run(folder, [
    ...["reason", "q", "--base-url", server.baseUrl, "--model", "m", "--json", "--state", "state.json"]
  ])
  assert.equal(code, 1)
  const { _tag, state } = JSON.parse(stdout.trimEnd().split("\n").at(-1)!)
  assert.deepEqual([_tag, state.index], ["ReasonerError", 1])
  assert.deepEqual(JSON.parse(readFileSync(join(folder, "state.json"), "utf8")), state)
})

test("reason: a server that fails exits with 1, and options that do not go together are named", async () => {
  const folder = makeFolder()
  await using server = await serve(() => 401)
  const base = ["reason", "q", "--base-url", server.baseUrl, "--model", "m"]
  for (
    const [args, message] of [
      [base, /Cannot reason: Cannot complete a request to m at .*401/],
      [["reason", "q"], /Cannot reason without --base-url and --model/],
      [["reason", ...base.slice(2)], /there is no question, and no saved state/],
      [[...base, "--max-cost", "1"], /Cannot use --max-cost 1 without --price-input and --price-output/],
      [[...base, "--price-output", "1"], /Cannot use --price-output without --price-input/],
      [[...base, "--tail", "100"], /Cannot use --tail 100 without --carry tail or --carry summary-and-tail/],
      [[...base, "--carry", "all"], /--carry: "all"/],
      [[...base, "--dialect", "v1"], /Cannot reason in dialect v1 without --api completions or --prefill/],
      [[...base, "--state", "no/such/folder.json"], /Cannot write no\/such\/folder\.json/]
    ] satisfies ReadonlyArray<readonly [ReadonlyArray<string>, RegExp]>
  ) {
    const { code, stderr } = await run(folder, args)
    assert.equal(code, 1)
    assert.match(stderr, message)
  }
})

test("inftythink: --version is the package's, and --help names every command and option", async () => {
  const folder = makeFolder()
  const { stdout } = await run(folder, ["--version"])
  assert.match(stdout, new RegExp(`v?${version.replaceAll(".", "\\.")}\\s*$`))
  const help = await run(folder, ["--help"])
  assert.match(help.stdout, /reconstruct[^]*reason[^]*segment/)
})
