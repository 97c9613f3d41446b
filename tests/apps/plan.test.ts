import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import { countTokens as countCl100k } from "gpt-tokenizer/encoding/cl100k_base"
import assert from "node:assert/strict"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import * as Plan from "../../lib/apps/plan.ts"
import * as Dialect from "../../lib/core/Dialect.ts"
import * as Rejection from "../../lib/core/Rejection.ts"
import type { Sample } from "../../lib/core/Sample.ts"
import * as Reconstruction from "../../lib/Reconstruction.ts"
import * as Summarizer from "../../lib/Summarizer.ts"
import * as TextModel from "../../lib/TextModel.ts"
import { Tokenizer } from "../../lib/Tokenizer.ts"
import { run } from "../support/command.ts"
import { type Counting, marked, o200k, oneOf, quarters, words } from "../support/counts.ts"
import { law, reasoning } from "../support/text.ts"

type Read = Result.Result<Sample, Rejection.Rejection>

const question = fc.oneof(
  fc.constantFrom("What is 6 × 7?", "Prove it.\n\nAll of it.", "What of </think>?"),
  fc.constant([{ role: "system", content: "Be brief." }, { role: "user", content: "What is 6 × 7?" }] as const)
)

const sample: fc.Arbitrary<Read> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record({
      id: fc.constant("s"),
      question,
      reasoning: fc.tuple(reasoning, fc.constantFrom("", "", "", "<|im_end|>")).map((texts) => texts.join("")),
      conclusion: fc.constantFrom("\n\n42.", "It is 42.", " ", "42 <summary>")
    }).map((sample) => Result.succeed<Sample>(sample))
  },
  { weight: 1, arbitrary: fc.constant(Result.fail(Rejection.make("invalid-json", "The line is no JSON"))) }
)

const settings = fc.record({
  eta: fc.integer({ min: 8, max: 200 }),
  gamma: fc.integer({ min: 8, max: 300 }),
  packing: fc.constantFrom("greedy", "even"),
  tags: fc.constantFrom("reject", "replace"),
  dialect: fc.constantFrom(...Object.values(Dialect.dialects)),
  counting: oneOf(o200k, words, quarters, marked)
})

/** What a reconstruction asks for and makes, with a model that writes summaries of the length that the plan says. */
const reconstruct = (
  samples: ReadonlyArray<Read>,
  summaries: "recurrent" | "cumulative",
  summaryLength: number,
  { counting, ...options }: Omit<Reconstruction.Options, "summaries"> & { readonly counting: Counting }
) =>
  Effect.gen(function* () {
    const { count } = counting
    const asked: Array<TextModel.Request> = []
    const model = TextModel.layerScripted((request) => {
      asked.push(request)
      return Plan.summaryOf(summaryLength, count)
    })
    const rows = yield* Stream.fromIterable(samples).pipe(
      Reconstruction.reconstruct({ ...options, summaries, concurrency: 1 }),
      Stream.runCollect,
      Effect.provide(Layer.provideMerge(Summarizer.layer(), model)),
      Effect.provideService(Tokenizer, counting)
    )
    const made = rows.filter(Result.isSuccess).map(({ success }) => success)
    const rejected = new Map<string, number>()
    for (const { failure: { reason } } of rows.filter(Result.isFailure)) {
      rejected.set(reason, (rejected.get(reason) ?? 0) + 1)
    }
    const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((sum, number) => sum + number, 0)
    return {
      rejected,
      segments: made.length,
      requests: asked.length,
      inputTokens: sum(asked.flatMap(({ messages }) => messages.map(({ content }) => count(content)))),
      outputTokens: sum(asked.map(() => count(Plan.summaryOf(summaryLength, count)))),
      promptTokens: sum(made.map(({ tokens }) => tokens.prompt)),
      targetTokens: sum(made.map(({ tokens }) => tokens.target))
    }
  })

test("plan: what it says is what a reconstruction asks for and makes", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(sample, { maxLength: 3 }),
      settings,
      fc.integer({ min: 2, max: 8 }),
      async (samples, settings, summaryLength) => {
        const { eta, counting, ...options } = settings
        const etas = [eta, 3 * eta]
        const planner = Plan.make({ ...options, etas, summaryLength, tokenizer: counting })
        for (const sample of samples) planner.add(sample)
        const plan = planner.plan()
        assert.equal(plan.samples, samples.length)
        assert.deepEqual(plan.estimates.map(({ eta }) => eta), etas)
        for (const { eta, segments, requests, inputTokens, outputTokens, iterations } of plan.estimates) {
          for (const summaries of ["recurrent", "cumulative"] as const) {
            assert.deepEqual(
              {
                rejected: plan.rejected,
                segments,
                requests,
                inputTokens: inputTokens[summaries],
                outputTokens,
                promptTokens: iterations.inputTokens,
                targetTokens: iterations.outputTokens
              },
              await Effect.runPromise(reconstruct(samples, summaries, summaryLength, { ...settings, eta }))
            )
          }
        }
      }
    ),
    { numRuns: 50 }
  ))

const cl100k: Counting = {
  name: "cl100k",
  count: (text) => countCl100k(text, { disallowedSpecial: new Set<string>() }),
  additive: true
}

law("byLines: counts as the whole does", fc.tuple(reasoning, oneOf(o200k, cl100k, words)), ([text, { count }]) => {
  assert.equal(Plan.byLines(count)(text), count(text))
})

law("byLines: each line is counted once", fc.array(reasoning, { maxLength: 4 }), (texts) => {
  const counted: Array<string> = []
  const count = Plan.byLines((line) => counted.push(line))
  for (const text of [...texts, ...texts]) count(text)
  assert.equal(new Set(counted).size, counted.length)
})

law(
  "summaryOf: has as many tokens as it should",
  fc.tuple(fc.integer({ min: 2, max: 3000 }), oneOf(o200k, words, marked)),
  ([tokens, { count }]) => assert.equal(count(Plan.summaryOf(tokens, count)), tokens)
)

/** Steps of four words each. */
const stepsOf = (count: number): Read =>
  Result.succeed({
    id: "s",
    question: "What?",
    reasoning: Array.from({ length: count }, () => "Take one more step.").join("\n\n"),
    conclusion: "Done."
  })

test("render: a table with a column for each eta, and what is assumed", () => {
  const planner = Plan.make({ etas: [4, 8], gamma: 20, tokenizer: words })
  for (const steps of [4, 1]) planner.add(stepsOf(steps))
  planner.add(Result.fail(Rejection.make("invalid-json", "")))
  const assumed = { price: { input: 2, output: 100 }, tokensPerSecond: 0.5, requestsPerMinute: 1000 }
  const [four, eight] = planner.plan().estimates
  assert.deepEqual([four!.requests, eight!.requests], [3, 1])
  assert.equal(
    Plan.render(planner.plan(), assumed, "words").replace(/^(tokens read|context|price).*\n( {2}in one go.*\n)?/gm, ""),
    `samples in            3
samples rejected      1
  invalid-json        1
tokenizer         words
gamma                20

eta                               4           8
segments = instances              5           3
requests for summaries            3           1
tokens written                   30          10
time                          1 min        20 s
tokens of prompts                32          12
tokens to train on               66          38
peak context                     28          23
  in one go                      19          19

Each summary is taken to have 10 tokens and to pass its check at once; --summary-length takes another length.
Tokens read are those of the messages: what the server's template puts around them comes on top.`
  )
})

test("render, toJson: what is not given is unknown, and not 0", () => {
  const planner = Plan.make({ etas: [4], tokenizer: words })
  planner.add(stepsOf(3))
  const table = Plan.render(planner.plan(), {}, "words")
  for (const name of ["price, recurrent", "price, cumulative", "time"]) {
    assert.match(table, new RegExp(`^${name} +unknown$`, "m"))
  }
  const [estimate] = JSON.parse(JSON.stringify(Plan.toJson(planner.plan(), {}))).estimates
  assert.deepEqual([estimate.price, estimate.hours], [{ recurrent: null, cumulative: null }, null])
})

test("toJson: the price is that of the tokens, and the slower rate makes the hours", () => {
  const planner = Plan.make({ etas: [4], gamma: 20, tokenizer: words })
  planner.add(stepsOf(7))
  const [{ inputTokens, outputTokens }] = planner.plan().estimates as [Plan.Estimate]
  const hours = (rates: Plan.Assumed): number => {
    // SAFETY: an object that was made of a plan has its estimates.
    const { estimates } = Plan.toJson(planner.plan(), rates) as { estimates: [{ hours: number; price: object }] }
    return estimates[0].hours
  }
  assert.equal(outputTokens, 60)
  assert.equal(hours({ tokensPerSecond: 1 }), 60 / 3600)
  assert.equal(hours({ requestsPerMinute: 2 }), 3 / 60)
  assert.equal(hours({ requestsPerMinute: 2, tokensPerSecond: 1 }), 3 / 60)
  const json = JSON.stringify(Plan.toJson(planner.plan(), { price: { input: 1e6, output: 0 } }))
  assert.ok(json.includes(`"price":{"recurrent":${inputTokens.recurrent},"cumulative":${inputTokens.cumulative}}`))
})

test("make: a bad option is refused", () => {
  for (
    const [options, message] of [
      [{ etas: [] }, /eta is missing/],
      [{ etas: [8, 16, 8] }, /eta is 8 more than once/],
      [{ etas: [3] }, /eta is 3/],
      [{ etas: [8], gamma: 10, summaryLength: 11 }, /is 11, and must be an integer from 1 to gamma, 10/],
      [{ etas: [8], summaryLength: 0 }, /is 0/]
    ] as const
  ) {
    assert.throws(
      () => Plan.make({ ...options, tokenizer: words }),
      (error: Error) => error instanceof RangeError && message.test(error.message)
    )
  }
})

const samples = fileURLToPath(new URL("../../samples/traces.jsonl", import.meta.url))
const makeFolder = (): string => mkdtempSync(join(tmpdir(), "inftythink-"))

test("command: reads several files, prints JSON, and says how far it is as JSON", async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, "more.jsonl"), "no JSON\n")
  const { code, stdout, stderr } = await run(folder, [
    ...["plan", samples, "more.jsonl", "--eta", "512,1024", "--gamma", "256", "--summary-length", "100", "--json"],
    ...["--price-input", "0.4", "--price-output", "1.6"]
  ])
  assert.equal(code, 0, stderr)
  const plan = JSON.parse(stdout)
  assert.deepEqual([plan.samples, plan.summaryLength, plan.gamma], [15, 100, 256])
  assert.deepEqual(plan.rejected, { "unclosed-reasoning": 1, "no-conclusion": 1, "invalid-json": 1 })
  assert.deepEqual(plan.estimates.map((estimate: Plan.Estimate) => estimate.eta), [512, 1024])
  for (const { segments, requests, outputTokens, inputTokens, price, hours } of plan.estimates) {
    assert.equal(segments - requests, 12)
    assert.equal(outputTokens, 100 * requests)
    assert.ok(Math.abs(price.recurrent - (0.4 * inputTokens.recurrent + 1.6 * outputTokens) / 1e6) < 1e-12)
    assert.equal(hours, null)
  }
  assert.equal(JSON.parse(stderr.trim().split("\n").at(-1)!).samples, 15)
})

test("command: prints a table", async () => {
  const { code, stdout, stderr } = await run(makeFolder(), ["plan", samples, "--requests-per-minute", "10"])
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^eta +2,048 +4,096 +6,144$/m)
  assert.match(stdout, /^price, recurrent( +unknown){3}$/m)
  assert.match(stderr, /^100% · 14 samples · 2 rejected · /m)
})

test("command: options that cannot be used are named", async () => {
  for (
    const [options, message] of [
      [["--eta", "512,many"], 'inftythink: Cannot use --eta 512,many: "many" is no integer\n'],
      [["--price-output", "1"], "inftythink: Cannot use --price-output without --price-input: both make a price\n"],
      [
        ["--gamma", "10", "--summary-length", "11"],
        "inftythink: Cannot plan: the length of a summary is 11, and must be an integer from 1 to gamma, 10\n"
      ]
    ] as const
  ) {
    const { code, stdout, stderr } = await run(makeFolder(), ["plan", samples, ...options])
    assert.deepEqual([code, stdout, stderr], [1, "", message])
  }
  const { code, stderr } = await run(makeFolder(), ["plan", samples, "none.jsonl"])
  assert.equal(code, 1)
  assert.match(stderr, /inftythink: Cannot read none\.jsonl: /)
})
