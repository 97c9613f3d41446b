import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Summary from "../lib/core/Summary.ts"
import * as Summarizer from "../lib/Summarizer.ts"
import type { Reply } from "../lib/TextModel.ts"
import { cutOff, modelError, scripted } from "./support/model.ts"

const standard: Summary.Standard = {
  question: "What is 6 × 7?",
  segments: ["6 × 7 is 42."],
  gamma: 4,
  dialect: Dialect.v1,
  tags: "reject",
  count: (text) => text.split(" ").length,
  conclusion: "The answer is \\boxed{42}."
}

const summarize = async (replies: ReadonlyArray<Reply>, tries?: number, changed: Partial<Summary.Standard> = {}) => {
  const { layer, requests } = scripted(...replies)
  const exit = await Effect.runPromiseExit(
    Summarizer.summarize({ ...standard, ...changed }, tries).pipe(
      Effect.provide(Summarizer.layer()),
      Effect.provide(layer)
    )
  )
  return { exit, requests }
}

const reasonOf = (exit: Exit.Exit<Result.Result<Summary.Checked, { readonly reason: string }>, unknown>): string =>
  Exit.isSuccess(exit) && Result.isFailure(exit.value) ? exit.value.failure.reason : "no rejection"

test("summarize: tries that are no number are not endless", async () => {
  const { exit, requests } = await summarize(["", "* six times seven"], NaN)
  assert.deepEqual([reasonOf(exit), requests.length], ["summary-empty", 1])
})

test("summarize: a summary that passes is taken, trimmed, with its tokens", async () => {
  const { exit, requests } = await summarize([" * six times seven\n"])
  assert.deepEqual(
    exit,
    Exit.succeed(Result.succeed({ _tag: "Checked", text: "* six times seven", tokens: 4, replaced: 0 }))
  )
  assert.equal(requests.length, 1)
})

test("summarize: the model is asked with the request of the core, room for twice gamma, and the papers' sampling", async () => {
  const { requests } = await summarize(["* ok"])
  assert.deepEqual(requests, [
    { messages: Summary.request(standard), maxTokens: 8, sampling: { temperature: 0.5, topP: 0.95 }, attempt: 0 }
  ])
})

test("summarize: requests say how-manieth sample they are, and what broke off is none", async () => {
  const { requests } = await summarize(["", [modelError("interrupted")], "", "* ok"])
  assert.deepEqual(requests.map(({ attempt }) => attempt), [0, 1, 1, 2])
})

const faults: ReadonlyArray<readonly [name: string, reason: string, reply: Reply]> = [
  ["cut off", "summary-unfinished", cutOff("* half a")],
  ["cut off in its reasoning", "summary-unfinished", "<think>\nLet me see."],
  ["stopped by a filter", "summary-unfinished", [{ _tag: "Text", text: "* x" }, { _tag: "Finish", reason: "filter" }]],
  ["empty", "summary-empty", " \n"],
  ["only reasoning", "summary-empty", [{ _tag: "Reasoning", text: "Let me see." }, { _tag: "Finish", reason: "stop" }]],
  ["over gamma", "summary-too-long", "* one two three four"],
  ["with a tag of the dialect", "summary-with-tag", "* a <summary> tag"],
  ["with a special token", "summary-with-tag", "* an <|im_end|> token"],
  ["with the boxed answer", "summary-with-conclusion", "* thus \\boxed{42}"]
]

for (const [name, reason, reply] of faults) {
  test(`summarize: a summary ${name} is sampled again`, async () => {
    const { exit, requests } = await summarize([reply, reply, "* good"])
    assert.deepEqual(exit, Exit.succeed(Result.succeed({ _tag: "Checked", text: "* good", tokens: 2, replaced: 0 })))
    assert.equal(requests.length, 3)
  })

  test(`summarize: a summary ${name} ten times over rejects the sample`, async () => {
    const { exit, requests } = await summarize([reply])
    assert.equal(reasonOf(exit), reason)
    assert.equal(requests.length, 10)
  })
}

test("summarize: a summary at gamma passes, at the last try too", async () => {
  const { exit, requests } = await summarize(["", "", "* one two three"], 3)
  assert.deepEqual(
    exit,
    Exit.succeed(Result.succeed({ _tag: "Checked", text: "* one two three", tokens: 4, replaced: 0 }))
  )
  assert.equal(requests.length, 3)
})

test("summarize: reasoning before the summary is left out, tagged, half tagged or beside it", async () => {
  for (
    const reply of [
      "<think>\nLet me see.\n</think>\n\n* ok",
      "Let me see.\n</think>\n\n* ok",
      [{ _tag: "Reasoning", text: "Let me see." }, { _tag: "Text", text: "* ok" }, { _tag: "Finish", reason: "stop" }]
    ] satisfies ReadonlyArray<Reply>
  ) {
    const { exit } = await summarize([reply])
    assert.deepEqual(exit, Exit.succeed(Result.succeed({ _tag: "Checked", text: "* ok", tokens: 2, replaced: 0 })))
  }
})

test("summarize: with replace, tags are made harmless and counted", async () => {
  const { exit } = await summarize(["* <think> <|x|>"], 1, { tags: "replace" })
  assert.deepEqual(
    exit,
    Exit.succeed(Result.succeed({ _tag: "Checked", text: "* ‹think> ‹|x|>", tokens: 3, replaced: 2 }))
  )
})

test("summarize: a request that the server refuses rejects the sample", async () => {
  const { exit, requests } = await summarize([[modelError("refused")]])
  assert.equal(reasonOf(exit), "request-refused")
  assert.equal(requests.length, 1)
})

test("summarize: an answer that broke off is sampled again, and fails when it always does", async () => {
  const once = await summarize([[{ _tag: "Text", text: "* ha" }, modelError("interrupted")], "* ok"])
  assert.equal(Exit.isSuccess(once.exit), true)
  assert.equal(once.requests.length, 2)
  const always = await summarize([[{ _tag: "Text", text: "* no finish reason" }]], 3)
  assert.equal(Exit.isFailure(always.exit), true)
  assert.equal(always.requests.length, 3)
})

test("summarize: a server that fails fails", async () => {
  for (const reason of ["unreachable", "unauthorized", "not-found", "rate-limited", "failed"] as const) {
    const { exit, requests } = await summarize([[modelError(reason)]])
    assert.deepEqual(exit, Exit.fail(modelError(reason)))
    assert.equal(requests.length, 1)
  }
})
