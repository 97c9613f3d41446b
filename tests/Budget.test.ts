import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Budget from "../lib/Budget.ts"
import * as TextModel from "../lib/TextModel.ts"
import { estimate } from "../lib/Tokenizer.ts"
import { modelError } from "./support/model.ts"

const request: TextModel.Request = { messages: [{ role: "user", content: "What is 6 × 7?" }], prefix: "So" }
const read = estimate("What is 6 × 7?So")

const replyOf = (usage: TextModel.Usage): TextModel.Reply => [
  { _tag: "Text", text: "42" },
  { _tag: "Finish", reason: "stop", usage }
]

/** A model with a budget, and how many requests came through to the model itself. */
const limited = (budget: Budget.Budget, reply: (index: number) => TextModel.Reply) =>
  Effect.gen(function* () {
    let sent = 0
    const layer = TextModel.layerScripted((_, index) => {
      sent++
      return reply(index)
    })
    const model = budget.limit(yield* Effect.provide(TextModel.TextModel, layer))
    const ask = TextModel.complete(request).pipe(Effect.provideService(TextModel.TextModel, model), Effect.result)
    return { model, ask, sent: () => sent }
  })

const usages = fc.record({ inputTokens: fc.nat({ max: 3 }), outputTokens: fc.nat({ max: 3 }) })
const replies = fc.array(usages, { minLength: 1, maxLength: 30 })
const limits = fc.integer({ min: 1, max: 60 })

test("limit: requests pass until the tokens are spent, and none does after that", () =>
  fc.assert(
    fc.asyncProperty(replies, limits, async (replies, maxTokens) => {
      const budget = Budget.make({ maxTokens })
      const { ask, sent } = await Effect.runPromise(limited(budget, (index) => replyOf(replies[index]!)))
      let tokens = 0
      let passed = 0
      for (const { inputTokens, outputTokens } of replies) {
        const answer = await Effect.runPromise(ask)
        assert.equal(Result.isSuccess(answer), tokens < maxTokens)
        if (tokens >= maxTokens) continue
        tokens += inputTokens + outputTokens
        passed++
      }
      assert.equal(sent(), passed)
      assert.equal(budget.reached(), tokens < maxTokens ? undefined : "maxTokens")
      const { requests, inputTokens, outputTokens, estimated } = budget.spent()
      assert.deepEqual([requests, inputTokens + outputTokens, estimated], [passed, tokens, false])
    })
  ))

test("limit: a run that is taken up again stops where one that never stopped does", () =>
  fc.assert(
    fc.asyncProperty(replies, limits, fc.nat({ max: 30 }), async (replies, maxTokens, at) => {
      const run = (from: number, to: number, spent?: Budget.Spent) =>
        Effect.runPromise(Effect.gen(function* () {
          const budget = Budget.make({ maxTokens, ...spent !== undefined && { spent } })
          const { ask } = yield* limited(budget, (index) => replyOf(replies[from + index]!))
          for (let i = from; i < to; i++) yield* ask
          return budget.spent()
        }))
      const middle = Math.min(at, replies.length)
      assert.deepEqual(await run(middle, replies.length, await run(0, middle)), await run(0, replies.length))
    })
  ))

test("limit: once the money is spent, a request fails as stopped, and says how much it was", () =>
  Effect.runPromise(Effect.gen(function* () {
    const budget = Budget.make({ maxCost: 12, price: { input: 1, cachedInput: 0.5, output: 4 } })
    const usage = { inputTokens: 6_000_000, cachedTokens: 4_000_000, outputTokens: 2_085_000 }
    const { ask, model } = yield* limited(budget, () => replyOf(usage))
    assert.equal(model.name, "scripted")
    assert.ok(Result.isSuccess(yield* ask))
    const { cost, ...tokens } = budget.spent()
    assert.ok(Math.abs(cost! - 12.34) < 1e-9)
    assert.deepEqual(tokens, { requests: 1, ...usage, estimated: false })
    const refused = yield* Effect.flip(Effect.fromResult(yield* ask))
    assert.equal(refused.reason, "stopped")
    assert.equal(refused.message, "Cannot go on: 12.34 USD of at most 12.00 USD are spent")
  })))

test("limit: models share it", () =>
  Effect.runPromise(Effect.gen(function* () {
    const budget = Budget.make({ maxTokens: 1000 })
    const one = yield* limited(budget, () => replyOf({ inputTokens: 999, outputTokens: 1 }))
    const other = yield* limited(budget, () => replyOf({ inputTokens: 1, outputTokens: 1 }))
    yield* one.ask
    const refused = yield* Effect.flip(Effect.fromResult(yield* other.ask))
    assert.equal(refused.message, "Cannot go on: 1,000 of at most 1,000 tokens are spent")
    assert.equal(other.sent(), 0)
  })))

test("limit: what is under way comes to its end", () =>
  Effect.runPromise(Effect.gen(function* () {
    const gate = yield* Deferred.make<void>()
    const budget = Budget.make({ maxTokens: 10 })
    const model = budget.limit({
      name: "slow",
      generate: () =>
        Stream.fromEffect(Deferred.await(gate)).pipe(
          Stream.map((): TextModel.Part => ({
            _tag: "Finish",
            reason: "stop",
            usage: { inputTokens: 10, outputTokens: 0 }
          }))
        )
    })
    const ask = Effect.provideService(TextModel.complete(request), TextModel.TextModel, model)
    const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(ask, { startImmediately: true }))
    yield* Deferred.succeed(gate, undefined)
    const exits = yield* Effect.forEach(fibers, Fiber.await)
    assert.ok(exits.every(Exit.isSuccess))
    assert.equal(budget.spent().inputTokens, 30)
    assert.equal((yield* Effect.flip(ask)).reason, "stopped")
  })))

test("spent: where a server sends no figures, tokens are estimated, and are said to be", () =>
  Effect.runPromise(Effect.gen(function* () {
    const budget = Budget.make({ maxTokens: 9 })
    const { ask } = yield* limited(
      budget,
      (index) => index === 0 ? "It is 42." : replyOf({ inputTokens: 1, outputTokens: 0 })
    )
    assert.ok(Result.isSuccess(yield* ask))
    assert.deepEqual(budget.spent(), {
      requests: 1,
      inputTokens: read,
      cachedTokens: 0,
      outputTokens: estimate("It is 42."),
      estimated: true
    })
    assert.ok(Result.isSuccess(yield* ask))
    assert.match((yield* Effect.flip(Effect.fromResult(yield* ask))).message, /^Cannot go on: about 9 of at most 9 /)
  })))

test("spent: a flat prompt is what is read", () => {
  const budget = Budget.make()
  const layer = TextModel.layerScripted(() => "")
  Effect.runSync(Effect.gen(function* () {
    const model = budget.limit(yield* Effect.provide(TextModel.TextModel, layer))
    yield* Stream.runDrain(model.generate({ ...request, prompt: "x".repeat(400) }))
  }))
  assert.equal(budget.spent().inputTokens, 100)
})

test("spent: an answer that broke off costs what came of it, and a request that was refused costs nothing", () =>
  Effect.runPromise(Effect.gen(function* () {
    const budget = Budget.make()
    const { ask } = yield* limited(
      budget,
      (index) =>
        index === 0 ? [modelError("rate-limited")] : [{ _tag: "Text", text: "It is" }, modelError("interrupted")]
    )
    assert.ok(Result.isFailure(yield* ask))
    assert.equal(budget.spent().requests, 0)
    assert.ok(Result.isFailure(yield* ask))
    const { requests, inputTokens, outputTokens, estimated } = budget.spent()
    assert.deepEqual([requests, inputTokens, outputTokens, estimated], [1, read, estimate("It is"), true])
  })))

test("spent: a request that is left before its answer was sent, and is read", () =>
  Effect.runPromise(Effect.gen(function* () {
    const budget = Budget.make()
    const model = budget.limit({ name: "silent", generate: () => Stream.never })
    const fiber = yield* Effect.forkChild(Stream.runDrain(model.generate(request)), { startImmediately: true })
    yield* Fiber.interrupt(fiber)
    const { requests, inputTokens, outputTokens } = budget.spent()
    assert.deepEqual([requests, inputTokens, outputTokens], [1, read, 0])
  })))

test("make: a bad limit or price is refused, and so is a limit on a cost that is not known", () => {
  const price = { input: 1, output: 1 }
  for (
    const [options, message] of [
      [{ maxTokens: 0 }, /maxTokens is 0/],
      [{ maxTokens: 1.5 }, /maxTokens is 1\.5/],
      [{ maxCost: 0, price }, /maxCost is 0/],
      [{ maxCost: Infinity, price }, /maxCost is Infinity/],
      [{ maxCost: 1 }, /^Cannot hold a budget: maxCost is 1, and no price is known$/],
      [{ price: { input: -1, output: 1 } }, /the price of input is -1/],
      [{ price: { input: 1, cachedInput: NaN, output: 1 } }, /the price of cachedInput is NaN/]
    ] as const
  ) {
    assert.throws(
      () => Budget.make(options),
      (error: Error) => error instanceof RangeError && message.test(error.message)
    )
  }
})
