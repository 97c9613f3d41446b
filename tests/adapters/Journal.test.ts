import { layer as services } from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { test } from "node:test"
import * as Journal from "../../lib/adapters/Journal.ts"
import * as TextModel from "../../lib/TextModel.ts"
import { modelError } from "../support/model.ts"

const requestOf = (content: string, more: Partial<TextModel.Request> = {}): TextModel.Request => ({
  messages: [{ role: "user", content }],
  ...more
})

/** A model that answers as a function of the request, and remembers what it was asked. */
const makeModel = (
  answer: (content: string, index: number) => string | TextModel.ModelError | Effect.Effect<string>,
  name = "m"
): { readonly model: TextModel.TextModel; readonly asked: Array<string> } => {
  const asked: Array<string> = []
  return {
    asked,
    model: {
      name,
      generate: ({ messages, attempt }) =>
        Stream.unwrap(Effect.gen(function* () {
          const content = messages[0]!.content + (attempt === undefined ? "" : `#${attempt}`)
          const said = answer(content, asked.push(content) - 1)
          if (said instanceof TextModel.ModelError) return Stream.fail(said)
          const text = typeof said === "string" ? said : yield* said
          return Stream.make<Array<TextModel.Part>>({ _tag: "Text", text }, { _tag: "Finish", reason: "stop" })
        }))
    }
  }
}

const makeFile = (): string => join(mkdtempSync(join(tmpdir(), "inftythink-")), "journal.jsonl")

const using = <A, E>(
  file: string,
  use: (journal: Journal.Journal) => Effect.Effect<A, E, FileSystem.FileSystem>
): Promise<A> =>
  Journal.open(file).pipe(Effect.flatMap(use), Effect.scoped, Effect.provide(services), Effect.runPromise)

/** Asks requests, and gives the answers, or the reasons why there are none. */
const ask = (
  model: TextModel.TextModel,
  requests: ReadonlyArray<TextModel.Request>,
  concurrency = 1
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.forEach(requests, (request) =>
    TextModel.complete(request).pipe(
      Effect.provideService(TextModel.TextModel, model),
      Effect.map(({ text }) => text),
      Effect.catch(({ reason }) => Effect.succeed(reason))
    ), { concurrency })

const inspect = (file: string): Promise<Journal.Digest> =>
  Journal.inspect(file).pipe(Effect.provide(services), Effect.runPromise)

// ---- laws

const contents = fc.array(fc.constantFrom("a", "b", "c", "d\n", "é😀", "\u2028"), { minLength: 1, maxLength: 12 })

test("once: whatever is asked, at once or later, every request is asked once, and has one answer ever after", () =>
  fc.assert(
    fc.asyncProperty(contents, contents, fc.integer({ min: 1, max: 12 }), async (first, second, concurrency) => {
      const file = makeFile()
      const { model, asked } = makeModel((content, index) => Effect.as(Effect.sleep(1), `${content} ${index}`))
      const told = new Map<string, string>()
      for (const round of [first, second, first]) {
        const answers = await using(
          file,
          ({ record }) => ask(record(model), round.map((content) => requestOf(content)), concurrency)
        )
        for (const [i, content] of round.entries()) {
          assert.equal(answers[i], told.get(content) ?? answers[i])
          told.set(content, answers[i]!)
        }
      }
      assert.deepEqual(asked.toSorted(), [...told.keys()].sort())
      const { answers, damaged } = await inspect(file)
      assert.deepEqual([answers, damaged], [told.size, 0])
    }),
    { numRuns: 30 }
  ))

test("resumption: wherever the file was torn, what stands before is kept, and the rest is asked again", async () => {
  const whole = makeFile()
  const requests = ["a", "é😀", "c"].map((content) => requestOf(content))
  const { model } = makeModel((content) => `${content}\n!`)
  const answers = await using(whole, ({ record }) => ask(record(model), requests))
  const bytes = readFileSync(whole)
  const ends = [...bytes.entries()].filter(([, byte]) => byte === 10).map(([at]) => at + 1)
  assert.equal(ends.length, 3)
  for (let length = 0; length <= bytes.length; length++) {
    const file = makeFile()
    writeFileSync(file, bytes.subarray(0, length))
    const again = makeModel((content) => `${content}\n!`)
    assert.deepEqual(await using(file, ({ record }) => ask(record(again.model), requests)), answers)
    assert.equal(again.asked.length, 3 - ends.filter((end) => end <= length).length, `torn at ${length}`)
    assert.deepEqual([(await inspect(file)).answers, (await inspect(file)).damaged], [3, 0])
  }
})

test("content: what changes the answer changes the request, and what does not does not", async () => {
  const file = makeFile()
  const { model, asked } = makeModel((_, index) => String(index))
  const base = requestOf("a", { maxTokens: 8, sampling: { temperature: 0.5, topP: 0.9, seed: 1 } })
  const alike: ReadonlyArray<TextModel.Request> = [
    base,
    { ...base, attempt: 0 },
    { ...base, sampling: { ...base.sampling, user: "x" } }
  ]
  const others: ReadonlyArray<TextModel.Request> = [
    { ...base, attempt: 1 },
    { ...base, maxTokens: 9 },
    { ...base, prefix: "x" },
    { ...base, prompt: "x" },
    { ...base, sampling: { temperature: 0.6, topP: 0.9, seed: 1 } },
    { ...base, sampling: { temperature: 0.5, topP: 0.8, seed: 1 } },
    { ...base, sampling: { temperature: 0.5, topP: 0.9, seed: 2 } },
    { ...base, messages: [{ role: "system", content: "a" }] },
    { ...base, messages: [...base.messages, ...base.messages] }
  ]
  await using(file, ({ record }) =>
    Effect.gen(function* () {
      assert.deepEqual(yield* ask(record(model), alike), ["0", "0", "0"])
      assert.deepEqual(yield* ask(record(model), others), others.map((_, i) => String(i + 1)))
      const other = makeModel(() => "other", "n")
      assert.deepEqual(yield* ask(record(other.model), [base]), ["other"])
    }))
  assert.equal(asked.length, 1 + others.length)
})

// ---- answers

test("an answer comes back whole: text, reasoning, finish reason, figures", async () => {
  const file = makeFile()
  const parts: ReadonlyArray<TextModel.Part> = [
    { _tag: "Reasoning", text: "Hm" },
    { _tag: "Reasoning", text: "." },
    { _tag: "Text", text: "* a" },
    { _tag: "Text", text: "" },
    {
      _tag: "Finish",
      reason: "length",
      usage: { inputTokens: 7, outputTokens: 3, cachedTokens: 2, reasoningTokens: 1 }
    }
  ]
  const model: TextModel.TextModel = { name: "m", generate: () => Stream.fromIterable(parts) }
  const expected: TextModel.Completion = { text: "* a", reasoning: "Hm.", finish: parts[4] as TextModel.Finish }
  for (let round = 0; round < 2; round++) {
    const answer = await using(
      file,
      ({ record }) => Effect.provideService(TextModel.complete(requestOf("a")), TextModel.TextModel, record(model))
    )
    assert.deepEqual(answer, expected)
  }
  const { usage, estimated } = await inspect(file)
  assert.deepEqual(usage, { inputTokens: 7, outputTokens: 3, cachedTokens: 2, reasoningTokens: 1 })
  assert.equal(estimated, 0)
})

test("an answer without figures is counted by an estimate, and comes back without figures", async () => {
  const file = makeFile()
  const { model } = makeModel(() => "12345678")
  for (let round = 0; round < 2; round++) {
    const { finish } = await using(
      file,
      ({ record }) => Effect.provideService(TextModel.complete(requestOf("1234")), TextModel.TextModel, record(model))
    )
    assert.equal(finish.usage, undefined)
  }
  const { usage, estimated } = await inspect(file)
  assert.deepEqual([usage.inputTokens, usage.outputTokens, estimated], [1, 2, 1])
})

test("a failure is no answer: it is written down, asked again, and gone when it has an answer", async () => {
  const file = makeFile()
  const { model, asked } = makeModel((content, index) => index === 0 ? modelError("failed") : content)
  assert.deepEqual(await using(file, ({ record }) => ask(record(model), [requestOf("a")])), ["failed"])
  const { answers, failures } = await inspect(file)
  assert.equal(answers, 0)
  assert.deepEqual([...failures.values()].map(({ reason, message }) => [reason, message]), [
    ["failed", modelError("failed").message]
  ])
  assert.deepEqual(await using(file, ({ record }) => ask(record(model), [requestOf("a")])), ["a"])
  assert.equal((await inspect(file)).failures.size, 0)
  assert.equal(asked.length, 2)
})

test("what was not sent is no failure", async () => {
  const file = makeFile()
  const { model } = makeModel(() => modelError("stopped"))
  assert.deepEqual(await using(file, ({ record }) => ask(record(model), [requestOf("a")])), ["stopped"])
  assert.equal((await inspect(file)).failures.size, 0)
})

test("a request goes on where its reader leaves it, and is waited for", async () => {
  const file = makeFile()
  let answer = (): void => {}
  const answered = new Promise<void>((resolve) => answer = resolve)
  const { model, asked } = makeModel(() => Effect.as(Effect.promise(() => answered), "late"))
  await using(file, ({ record, drain }) =>
    Effect.gen(function* () {
      const left = yield* Effect.forkChild(ask(record(model), [requestOf("a")]))
      while (asked.length === 0) yield* Effect.yieldNow
      yield* Fiber.interrupt(left)
      answer()
      yield* drain
    }))
  assert.equal((await inspect(file)).answers, 1)
})

test("a line that is no entry is left alone and counted", async () => {
  const file = makeFile()
  const { model, asked } = makeModel((content) => content)
  await using(file, ({ record }) => ask(record(model), [requestOf("a")]))
  appendFileSync(file, 'no json\n{"_tag":"Answer","key":1}\n\xff\n')
  await using(file, ({ record }) => ask(record(model), [requestOf("b"), requestOf("a")]))
  assert.deepEqual(asked, ["a", "b"])
  const { answers, damaged } = await inspect(file)
  assert.deepEqual([answers, damaged], [2, 3])
})

test("notes say of the last run how it began, how far it is and how it ended", async () => {
  const file = makeFile()
  const begin: Journal.Begin = {
    _tag: "Begin",
    at: 1,
    args: ["a"],
    folder: "/",
    out: "x",
    bytes: null,
    model: "m",
    price: null
  }
  const progress: Journal.Progress = { _tag: "Progress", at: 2, samples: 3, rows: 4, rejected: { x: 1 }, bytes: 5 }
  const end: Journal.End = { _tag: "End", at: 3, how: "stopped", message: "no" }
  const { model } = makeModel((content) => content)
  await using(file, ({ record, note }) =>
    Effect.gen(function* () {
      for (const entry of [begin, progress, end]) yield* note(entry)
      yield* ask(record(model), [requestOf("a")])
    }))
  const digest = await inspect(file)
  assert.deepEqual([digest.begin, digest.progress, digest.end, digest.recent.answers], [begin, progress, end, 1])
  // What an older version wrote says nothing of failures.
  const troubled: Journal.Progress = { ...progress, tries: 7, pause: 6012.5 }
  await using(file, ({ note }) => note(troubled))
  const told = await inspect(file)
  assert.deepEqual([told.progress, told.damaged], [troubled, 0])
  await using(file, ({ note }) => note({ ...begin, at: 9 }))
  const later = await inspect(file)
  assert.deepEqual([later.begin?.at, later.progress, later.end, later.answers, later.recent.answers], [
    ...[9, undefined, undefined, 1, 0]
  ])
})

// ---- faults

const failureOf = (file: string): Promise<Journal.JournalError> =>
  Journal.open(file).pipe(
    Effect.scoped,
    Effect.result,
    Effect.provide(services),
    Effect.runPromise
  ).then((result) => Result.isFailure(result) ? result.failure : assert.fail("the journal was opened"))

test("two runs cannot have a journal open at once, and the second says who has it", async () => {
  const file = makeFile()
  const second = await using(file, () => Effect.promise(() => failureOf(file)))
  assert.equal(second.reason, "locked")
  assert.ok(second.message.includes(String(process.pid)) && second.message.includes(`${file}.lock`), second.message)
  assert.equal(existsSync(`${file}.lock`), false)
  await using(file, () => Effect.void)
})

test("two runs cannot have a journal open by two names", async () => {
  const file = makeFile()
  const link = makeFile()
  writeFileSync(file, "")
  symlinkSync(file, link)
  assert.equal((await using(file, () => Effect.promise(() => failureOf(link)))).reason, "locked")
  assert.equal((await using(link, () => Effect.promise(() => failureOf(file)))).reason, "locked")
})

const stale: ReadonlyArray<readonly [name: string, text: string, taken: boolean]> = [
  ["of a process that is gone", JSON.stringify({ process: 2 ** 22 - 1, host: hostname() }), true],
  ["of a process that had our number", JSON.stringify({ process: process.pid, host: hostname() }), true],
  ["that was torn", '{"process":', true],
  ["that is empty", "", true],
  ["of another host", JSON.stringify({ process: 1, host: "elsewhere" }), false]
]

for (const [name, text, taken] of stale) {
  test(`a lock ${name} is ${taken ? "taken over" : "respected"}`, async () => {
    const file = makeFile()
    writeFileSync(`${file}.lock`, text)
    if (taken) return await using(file, () => Effect.void)
    assert.equal((await failureOf(file)).reason, "locked")
    assert.equal(readFileSync(`${file}.lock`, "utf8"), text)
  })
}

test("a journal in no folder, and one that is none, are errors that name it", async () => {
  const missing = join(makeFile(), "x", "journal.jsonl")
  const { reason, message } = await failureOf(missing)
  assert.deepEqual([reason, message.includes(missing)], ["not-found", true])
  const gone = makeFile()
  const inspected = await Journal.inspect(gone).pipe(Effect.flip, Effect.provide(services), Effect.runPromise)
  assert.deepEqual([inspected.reason, inspected.message], [
    "not-found",
    `Cannot read the journal ${gone}: it does not exist`
  ])
})

for (const text of ['{"question":1}\n', "some text", '{"question":"torn']) {
  test(`a file that is no journal is left alone: ${JSON.stringify(text)}`, async () => {
    const file = makeFile()
    writeFileSync(file, text)
    const { reason, message } = await failureOf(file)
    assert.deepEqual([reason, message.includes("is no journal")], ["foreign", true])
    assert.equal(readFileSync(file, "utf8"), text)
  })
}

test("an answer that was changed under way is an error and no answer", async () => {
  const file = makeFile()
  const { model } = makeModel((content) => content)
  const reason = await using(file, ({ record }) =>
    Effect.gen(function* () {
      yield* ask(record(model), [requestOf("a")])
      writeFileSync(file, "x")
      return (yield* ask(record(model), [requestOf("a")]))[0]
    }))
  assert.equal(reason, "stopped")
  rmSync(file)
})
