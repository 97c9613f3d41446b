import assert from "node:assert/strict"
import { test } from "node:test"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import fc from "fast-check"
import * as Load from "../lib/Load.ts"
import type { Message } from "../lib/core/Sample.ts"
import * as TextModel from "../lib/TextModel.ts"

// ---- servers that follow a script on virtual time

/** What a server does with a request, after a time in milliseconds. */
interface Reaction {
  readonly after: number
  readonly fault?: Fault
}

type Fault =
  | { readonly reason: TextModel.ModelError["reason"]; readonly status?: number; readonly retryAfter?: number }
  /** The answer breaks off, or ends without a finish reason, behind its first part. */
  | "broken"
  | "unfinished"
  /** The model is faulty itself. */
  | "defect"

interface Call {
  readonly content: string
  readonly at: number
  /** How many requests were in flight when it began, itself included. */
  readonly inFlight: number
}

interface Fake {
  readonly model: TextModel.TextModel
  readonly calls: Array<Call>
  readonly inFlight: () => number
}

type Script = (call: Call, index: number) => Reaction

const fakeServer = (script: Script, name = "m", usage?: TextModel.Usage): Fake => {
  const calls: Array<Call> = []
  let inFlight = 0
  const generate = (request: TextModel.Request): Stream.Stream<TextModel.Part, TextModel.ModelError> =>
    Stream.unwrap(Effect.gen(function* () {
      yield* Effect.acquireRelease(Effect.sync(() => inFlight++), () => Effect.sync(() => inFlight--))
      const call = { content: contentOf(request), at: yield* Clock.currentTimeMillis, inFlight }
      const { after, fault } = script(call, calls.push(call) - 1)
      const texts = [`answer to `, call.content].map((text): TextModel.Part => ({ _tag: "Text", text }))
      const finish: TextModel.Part = { _tag: "Finish", reason: "stop", ...usage !== undefined && { usage } }
      const rest: Stream.Stream<TextModel.Part, TextModel.ModelError> = fault === undefined
        ? Stream.fromIterable([texts[1]!, finish])
        : fault === "unfinished"
        ? Stream.empty
        : fault === "defect"
        ? Stream.die(new Error("a defect"))
        : Stream.fail(errorOf(fault === "broken" ? { reason: "interrupted" } : fault))
      const start = typeof fault === "object" ? Stream.empty : Stream.succeed(texts[0]!)
      return start.pipe(Stream.concat(Stream.fromEffectDrain(Effect.sleep(after))), Stream.concat(rest))
    }))
  return { model: { name, generate }, calls, inFlight: () => inFlight }
}

const errorOf = (fault: Exclude<Fault, string>): TextModel.ModelError =>
  new TextModel.ModelError({ ...fault, message: `Cannot complete a request: ${fault.reason}` })

const contentOf = ({ messages }: TextModel.Request): string => messages.map(({ content }) => content).join("|")

const request = (content: string, more: Partial<TextModel.Request> = {}): TextModel.Request => ({
  messages: [{ role: "user", content }],
  ...more
})

const ok = (after = 1000): Reaction => ({ after })
const down: Reaction = { after: 10, fault: { reason: "unreachable" } }

// ---- programs on virtual time

const run = <A>(program: Effect.Effect<A>): Promise<A> => Effect.runPromise(Effect.provide(program, TestClock.layer()))

type Given = Exit.Exit<ReadonlyArray<TextModel.Part>, TextModel.ModelError>

const send = (model: TextModel.TextModel, request: TextModel.Request) =>
  Effect.forkChild(Stream.runCollect(model.generate(request)))

/** Sends requests at once and gives what comes of them within a time; all of them must come to an end. */
const sendAll = Effect.fnUntraced(function* (
  model: TextModel.TextModel,
  requests: ReadonlyArray<TextModel.Request>,
  within: "1 hour" | "1 day" | "10 seconds" = "1 day"
) {
  const fibers = yield* Effect.forEach(requests, (request) => send(model, request))
  yield* TestClock.adjust(within)
  return fibers.map(ended)
})

const ended = (fiber: Fiber.Fiber<ReadonlyArray<TextModel.Part>, TextModel.ModelError>): Given => {
  const exit = fiber.pollUnsafe()
  assert(exit !== undefined, "a request never came to an end")
  return exit
}

const numbered = (count: number): ReadonlyArray<TextModel.Request> =>
  Array.from({ length: count }, (_, index) => request(`${index}`))

const textOf = (exit: Given): string | undefined =>
  Exit.isSuccess(exit) ? exit.value.map((part) => part._tag === "Finish" ? "." : part.text).join("") : undefined

const errorIn = (exit: Given): TextModel.ModelError | undefined => Option.getOrUndefined(Exit.findErrorOption(exit))

const reasonsOf = (exits: ReadonlyArray<Given>): ReadonlyArray<string | undefined> =>
  exits.map((exit) => Exit.isSuccess(exit) ? "answered" : errorIn(exit)?.reason)

const allAnswered = (exits: ReadonlyArray<Given>): void => {
  for (const reason of reasonsOf(exits)) assert.equal(reason, "answered")
}

const assertIdle = Effect.fnUntraced(function* (load: Load.Load, fakes: ReadonlyArray<Fake>) {
  const { servers, waiting } = yield* load.status
  assert.deepEqual([waiting, ...servers.map(({ inFlight }) => inFlight)], [0, ...servers.map(() => 0)])
  for (const fake of fakes) assert.equal(fake.inFlight(), 0)
})

// ---- laws

const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.constantFrom<Fault>("broken", "unfinished", "defect"),
  fc.constantFrom<Fault>(
    { reason: "unreachable" },
    { reason: "failed", status: 500 },
    { reason: "failed", status: 529 },
    { reason: "rate-limited", status: 429 },
    { reason: "rate-limited", status: 429, retryAfter: 3000 },
    { reason: "failed", status: 503, retryAfter: 60_000 },
    { reason: "refused", status: 400 },
    { reason: "stopped" }
  )
)

const reaction: fc.Arbitrary<Reaction> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ after: fc.nat({ max: 5000 }) }) },
  { weight: 2, arbitrary: fc.record({ after: fc.nat({ max: 2000 }), fault }) }
)

const scene = fc.record({
  servers: fc.array(
    fc.record({ reactions: fc.array(reaction, { minLength: 1, maxLength: 6 }), weight: fc.constantFrom(0.5, 1, 3) }),
    { minLength: 1, maxLength: 3 }
  ),
  requests: fc.array(
    fc.record({
      wait: fc.constantFrom(0, 0, 0, 10, 1500),
      leaves: fc.option(fc.nat({ max: 20_000 }), { freq: 2 })
    }),
    { minLength: 1, maxLength: 25 }
  ),
  options: fc.record({
    start: fc.constantFrom(1, 2, 8),
    concurrency: fc.constantFrom(1, 3, 64),
    retries: fc.constantFrom(0, 1, 5),
    requestsPerMinute: fc.constantFrom(Infinity, 10, 100)
  })
})

test("Load: every request gets one whole answer or one error, whatever happens, and no slot is lost", () =>
  fc.assert(
    fc.asyncProperty(scene, ({ servers, requests, options }) =>
      run(Effect.gen(function* () {
        const fakes = servers.map(({ reactions }) => fakeServer((_, index) => reactions[index % reactions.length]!))
        const load = Load.make(fakes.map(({ model }, i) => ({ model, weight: servers[i]!.weight })), options)
        const fibers = []
        for (const [index, { wait, leaves }] of requests.entries()) {
          yield* TestClock.adjust(wait)
          const fiber = yield* send(load, request(`${index}`))
          fibers.push({ fiber, leaves })
          if (leaves !== null) yield* Effect.forkChild(Effect.andThen(Effect.sleep(leaves), Fiber.interrupt(fiber)))
        }
        yield* TestClock.adjust("1 day")
        for (const [index, { fiber, leaves }] of fibers.entries()) {
          const exit = ended(fiber)
          const error = errorIn(exit)
          const isDefect = Exit.isFailure(exit) && Option.isNone(Exit.findErrorOption(exit))
          if (Exit.isSuccess(exit)) assert.equal(textOf(exit), `answer to ${index}.`)
          else assert(error !== undefined || isDefect || leaves !== null)
        }
        for (const [i, fake] of fakes.entries()) {
          const most = Math.max(1, Math.floor(options.concurrency * servers[i]!.weight))
          for (const { inFlight } of fake.calls) assert(inFlight <= most, `${inFlight} of ${most} in flight`)
        }
        yield* assertIdle(load, fakes)
      }))),
    { numRuns: 150 }
  ))

test("Load: a request is tried again as long as its faults may pass, and no other", () =>
  fc.assert(
    fc.asyncProperty(fault, fc.nat({ max: 6 }), fc.nat({ max: 4 }), (fault, faults, retries) =>
      run(Effect.gen(function* () {
        const fake = fakeServer((_, index) =>
          index < faults ? { after: 5, fault } : ok()
        )
        // Other failures in a row are not what this is about.
        const load = Load.make([{ model: fake.model }], { retries, patience: "1 day" })
        const [exit] = yield* sendAll(load, [request("q")])
        const passes = typeof fault === "string"
          ? fault !== "defect"
          : fault.reason !== "refused" && fault.reason !== "stopped"
        const tries = passes ? Math.min(faults, retries) + 1 : 1
        assert.equal(fake.calls.length, tries)
        assert.equal(Exit.isSuccess(exit!), tries > faults)
      }))),
    { numRuns: 100 }
  ))

test("Load: no more requests and tokens than the rates go out in any minute", () =>
  fc.assert(
    fc.asyncProperty(
      fc.record({
        requestsPerMinute: fc.integer({ min: 1, max: 30 }),
        tokensPerMinute: fc.integer({ min: 100, max: 5000 }),
        sizes: fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 60 }),
        servers: fc.integer({ min: 1, max: 3 }),
        after: fc.nat({ max: 20_000 })
      }),
      ({ requestsPerMinute, tokensPerMinute, sizes, servers, after }) =>
        run(Effect.gen(function* () {
          const sent: Array<{ readonly at: number; readonly tokens: number }> = []
          // The server's figures are those that were expected: one token for four bytes, and nothing written.
          const model: TextModel.TextModel = {
            name: "m",
            generate: (request) =>
              Stream.unwrap(Effect.gen(function* () {
                const tokens = contentOf(request).length / 4
                sent.push({ at: yield* Clock.currentTimeMillis, tokens })
                yield* Effect.sleep(after)
                const usage = { inputTokens: tokens, outputTokens: 0 }
                return Stream.succeed({ _tag: "Finish", reason: "stop", usage } as const)
              }))
          }
          const options = { requestsPerMinute, tokensPerMinute, start: 64 }
          const load = Load.make(Array.from({ length: servers }, () => ({ model })), options)
          allAnswered(yield* sendAll(load, sizes.map((size) => request("abcd".repeat(size)))))
          for (const { at: end } of sent) {
            const minute = sent.filter(({ at }) => at > end - 60_000 && at <= end)
            const tokens = minute.reduce((sum, { tokens }) => sum + tokens, 0)
            assert(minute.length <= requestsPerMinute, `${minute.length} of ${requestsPerMinute} requests`)
            assert(tokens <= tokensPerMinute || minute.length === 1, `${tokens} of ${tokensPerMinute} tokens`)
          }
        }))
    ),
    { numRuns: 60 }
  ))

test("Load: requests begin in the order they came", () =>
  fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.nat({ max: 3000 }), { minLength: 1 }),
      (slots, times) =>
        run(Effect.gen(function* () {
          const fake = fakeServer(({ content }) => ok(times[Number(content)]))
          const load = Load.make([{ model: fake.model }], { concurrency: slots, requestsPerMinute: 20 })
          allAnswered(yield* sendAll(load, numbered(times.length)))
          assert.deepEqual(fake.calls.map(({ content }) => Number(content)), times.map((_, index) => index))
        }))
    ),
    { numRuns: 50 }
  ))

test("Load: under load, servers are sent requests by their weights", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(0.5, 1, 2, 3), { minLength: 2, maxLength: 3 }),
      (weights) =>
        run(Effect.gen(function* () {
          const fakes = weights.map(() => fakeServer(() => ok()))
          const load = Load.make(fakes.map(({ model }, i) => ({ model, weight: weights[i]! })), { concurrency: 12 })
          allAnswered(yield* sendAll(load, numbered(400)))
          const total = weights.reduce((sum, weight) => sum + weight, 0)
          for (const [i, { calls }] of fakes.entries()) {
            const share = weights[i]! / total
            assert(Math.abs(calls.length / 400 - share) < 0.1 * share + 0.02, `${calls.length} of 400 for ${share}`)
          }
        }))
    ),
    { numRuns: 20 }
  ))

test("Load: a server that is down stops the run within two minutes, however many requests there are", () =>
  fc.assert(
    fc.asyncProperty(
      fc.record({
        count: fc.integer({ min: 8, max: 200 }),
        servers: fc.integer({ min: 1, max: 3 }),
        before: fc.nat({ max: 300 }),
        fault: fc.constantFrom<Fault>(
          "broken",
          { reason: "unreachable" },
          { reason: "failed", status: 500 },
          { reason: "failed", status: 502 },
          { reason: "rate-limited", status: 429 }
        )
      }),
      ({ count, servers, before, fault }) =>
        run(Effect.gen(function* () {
          let isUp = true
          const fakes = Array.from({ length: servers }, () => fakeServer(() => isUp ? ok() : { after: 10, fault }))
          const load = Load.make(fakes.map(({ model }) => ({ model })))
          allAnswered(yield* sendAll(load, numbered(before), "1 hour"))
          isUp = false
          const seen = fakes.map(({ calls }) => calls.length)
          const exits: Array<Given> = []
          const fibers = yield* Effect.forEach(numbered(count), (request) => send(load, request))
          yield* TestClock.adjust("2 minutes")
          for (const fiber of fibers) exits.push(ended(fiber))
          assert.deepEqual(new Set(reasonsOf(exits)), new Set(["stopped"]))
          const tries = fakes.reduce((sum, { calls }, i) => sum + calls.length - seen[i]!, 0)
          const state = new RegExp(`^Cannot go on: the last ${tries} requests to m all failed, the last with: Cannot`)
          for (const exit of exits) assert.match(errorIn(exit)!.message, state)
          // From now on nothing is asked, not even when the server is up again.
          isUp = true
          const [late] = yield* sendAll(load, [request("late")], "10 seconds")
          assert.equal(errorIn(late!)?.reason, "stopped")
          assert.equal(fakes.reduce((sum, { calls }, i) => sum + calls.length - seen[i]!, 0), tries)
          yield* assertIdle(load, fakes)
        }))
    ),
    { numRuns: 30 }
  ))

test("Load: requests that always fail do not stop a run in which others are answered", () =>
  fc.assert(
    fc.asyncProperty(
      fc.constantFrom<Fault>({ reason: "failed", status: 500 }, "broken", "unfinished"),
      fc.integer({ min: 2, max: 12 }),
      fc.integer({ min: 10, max: 60_000 }),
      (fault, every, after) =>
        run(Effect.gen(function* () {
          const isBad = (content: string): boolean => Number(content) % every === 0
          const fake = fakeServer(({ content }) => isBad(content) ? { after: 10, fault } : ok(after))
          const load = Load.make([{ model: fake.model }])
          const exits = yield* sendAll(load, numbered(100))
          for (const [index, exit] of exits.entries()) {
            if (isBad(`${index}`)) assert.equal(errorIn(exit)?.reason, "failed")
            else assert.equal(textOf(exit), `answer to ${index}.`)
          }
        }))
    ),
    { numRuns: 30 }
  ))

// ---- examples

test("Load: the limit follows what a server bears, down and up", () =>
  run(Effect.gen(function* () {
    let bears = 20
    const limited: Fault = { reason: "rate-limited", status: 429 }
    const fake = fakeServer(({ inFlight }) => inFlight > bears ? { after: 10, fault: limited } : ok())
    const load = Load.make([{ model: fake.model }], { retries: 1000 })
    const limitOf = Effect.map(load.status, ({ servers }) => servers[0]!.limit)
    assert.equal(yield* limitOf, 8)
    const fibers = yield* Effect.forEach(numbered(8000), (request) => send(load, request))
    const limits: Array<number> = []
    for (const capacity of [20, 4, 40]) {
      bears = capacity
      yield* TestClock.adjust("2 minutes")
      limits.push(yield* limitOf)
    }
    const [first, second, third] = limits
    assert(first! >= 10 && first! <= 21, `${first}`)
    assert(second! >= 2 && second! <= 5, `${second}`)
    assert(third! >= 20 && third! <= 41, `${third}`)
    const { servers, waiting, tokensPerSecond } = yield* load.status
    assert.equal(waiting + servers[0]!.inFlight, fibers.filter((fiber) => fiber.pollUnsafe() === undefined).length)
    assert(servers[0]!.failures > 0 && servers[0]!.failures < fake.calls.length / 10, `${servers[0]!.failures}`)
    // An answer is some four tokens long, and up to 40 come in a second.
    assert(tokensPerSecond > 60 && tokensPerSecond < 200, `${tokensPerSecond}`)
    yield* Effect.forEach(fibers, Fiber.interrupt)
    yield* assertIdle(load, [fake])
  })))

test("Load: what one request is asked to wait, all wait at that server, and none at another", () =>
  run(Effect.gen(function* () {
    const limited: Fault = { reason: "rate-limited", status: 429, retryAfter: 90_000 }
    const busy = fakeServer((_, index) => index === 0 ? { after: 10, fault: limited } : ok())
    const other = fakeServer(() => ok())
    const load = Load.make([{ model: busy.model }, { model: other.model }], { concurrency: 2 })
    const start = yield* sendAll(load, numbered(4), "10 seconds")
    allAnswered(start)
    assert.deepEqual((yield* load.status).servers.map(({ pause }) => pause), [80_010, 0])
    allAnswered(yield* sendAll(load, numbered(400), "1 hour"))
    const [, , ...later] = busy.calls
    assert(later.every(({ at }) => at >= 90_010), "a request went to the server in its pause")
    assert(later.length > 0)
  })))

test("Load: a server that asks to wait too long stops the run, unless there is another", () =>
  run(Effect.gen(function* () {
    const limited: Reaction = { after: 10, fault: { reason: "rate-limited", status: 429, retryAfter: 3_600_000 } }
    const busy = () => fakeServer(() => limited)
    const alone = Load.make([{ model: busy().model }])
    const exits = yield* sendAll(alone, numbered(20), "10 seconds")
    assert.deepEqual(new Set(reasonsOf(exits)), new Set(["stopped"]))
    const { message, retryAfter } = errorIn(exits[0]!)!
    assert.match(
      message,
      /^Cannot go on: the last request to m failed with: .* \(it asks to wait 1h, longer than maxRetryAfter\)$/
    )
    assert.equal(retryAfter, 3_600_000)
    const patient = Load.make([{ model: fakeServer((_, index) => index === 0 ? limited : ok()).model }], {
      maxRetryAfter: "2 hours"
    })
    allAnswered(yield* sendAll(patient, numbered(2), "1 day"))
    const [one, other] = [busy(), fakeServer(() => ok())]
    const both = Load.make([{ model: one.model }, { model: other.model }])
    allAnswered(yield* sendAll(both, numbered(50), "10 seconds"))
  })))

test("Load: a bad key, address or model stops the run at once", async () => {
  for (const reason of ["unauthorized", "not-found"] as const) {
    await run(Effect.gen(function* () {
      const fake = fakeServer(() => ({ after: 10, fault: { reason } }))
      const load = Load.make([{ model: fake.model }], { start: 1 })
      const exits = yield* sendAll(load, numbered(3), "10 seconds")
      assert.deepEqual(reasonsOf(exits), [reason, "stopped", "stopped"])
      assert.equal(errorIn(exits[1]!)!.message, `Cannot go on: Cannot complete a request: ${reason}`)
      assert.equal(fake.calls.length, 1)
    }))
  }
})

test("Load: servers that refuse all they are sent stop the run, and once one was answered they do not", async () => {
  const refusing = (from: number) =>
    Effect.gen(function* () {
      const fake = fakeServer((_, index) => index < from ? ok(10) : { after: 10, fault: { reason: "refused" } })
      const load = Load.make([{ model: fake.model }], { start: 1, concurrency: 1, refused: 3 })
      const exits = yield* sendAll(load, numbered(5))
      return { reasons: reasonsOf(exits), last: errorIn(exits[4]!)!.message }
    })
  const all = await run(refusing(0))
  assert.deepEqual(all.reasons, ["refused", "refused", "refused", "stopped", "stopped"])
  assert.match(all.last, /^Cannot go on: the first 3 requests to m were all refused, the last with: /)
  assert.deepEqual((await run(refusing(1))).reasons, ["answered", "refused", "refused", "refused", "refused"])
})

test("Load: when the run stops, what waits to be tried again fails at once", () =>
  run(Effect.gen(function* () {
    const script: Script = ({ content }) => content === "0" ? down : { after: 100, fault: { reason: "unauthorized" } }
    const load = Load.make([{ model: fakeServer(script).model }], { start: 2 })
    const fibers = yield* Effect.forEach(numbered(2), (request) => send(load, request))
    yield* TestClock.adjust(99)
    assert.deepEqual(fibers.map((fiber) => fiber.pollUnsafe()), [undefined, undefined])
    yield* TestClock.adjust(1)
    assert.deepEqual(reasonsOf(fibers.map(ended)), ["stopped", "unauthorized"])
  })))

test("Load: one request that always fails is no server that is down", () =>
  run(Effect.gen(function* () {
    const alone = { retries: 20, patience: "10 seconds" } as const
    const fake = fakeServer(() => ({ after: 10, fault: { reason: "failed", status: 500 } }))
    const load = Load.make([{ model: fake.model }], alone)
    assert.deepEqual(reasonsOf(yield* sendAll(load, [request("bad")])), ["failed"])
    assert.equal(fake.calls.length, 21)
    // What no request can be to blame for is another thing.
    const away = Load.make([{ model: fakeServer(() => down).model }], alone)
    assert.deepEqual(reasonsOf(yield* sendAll(away, [request("good")])), ["stopped"])
  })))

test("Load: what is in flight when the run stops is answered", () =>
  run(Effect.gen(function* () {
    const fault: Fault = { reason: "unauthorized" }
    const fake = fakeServer(({ content }) => content === "1" ? { after: 10, fault } : ok())
    const load = Load.make([{ model: fake.model }], { start: 2 })
    assert.deepEqual(reasonsOf(yield* sendAll(load, numbered(3))), ["answered", "unauthorized", "stopped"])
  })))

test("Load: while one server is down, others answer all, and it is tried ever more rarely until it is up", () =>
  run(Effect.gen(function* () {
    let isUp = false
    const sick = fakeServer(() => isUp ? ok() : down)
    const well = fakeServer(() => ok())
    const load = Load.make([{ model: sick.model }, { model: well.model }], { concurrency: 8, retries: 2 })
    const first = yield* Effect.forEach(numbered(2000), (request) => send(load, request))
    yield* TestClock.adjust("100 seconds")
    assert(sick.calls.length < 30, `${sick.calls.length} requests went to a server that is down`)
    const tries = sick.calls.slice(-4).map(({ at }) => at)
    const gaps = tries.slice(1).map((at, i) => at - tries[i]!)
    assert(gaps.every((gap, i) => gap > 1000 && gap <= 32_000 && (i === 0 || gap >= gaps[i - 1]!)), `${gaps}`)
    isUp = true
    yield* TestClock.adjust("1 hour")
    allAnswered(first.map(ended))
    assert(sick.calls.length > 50, `${sick.calls.length} requests went to a server that is up again`)
  })))

test("Load: a server that is up again is found to be, though another has room for all", () =>
  run(Effect.gen(function* () {
    let isUp = true
    const fakes = Array.from({ length: 2 }, () => fakeServer(() => ok()))
    const find = Load.make(fakes.map(({ model }) => ({ model })))
    allAnswered(yield* sendAll(find, [request("q")]))
    // This question prefers one of two servers; it is the other that is down.
    const isWell = fakes.map(({ calls }) => calls.length === 1)
    const servers = isWell.map((isWell) => fakeServer(() => isWell || isUp ? ok() : down))
    const sick = servers[isWell.indexOf(false)]!
    const load = Load.make(servers.map(({ model }) => ({ model })))
    isUp = false
    allAnswered(yield* sendAll(load, [...numbered(100), ...numbered(100)]))
    const tried = sick.calls.length
    assert(tried > 3)
    isUp = true
    allAnswered(yield* sendAll(load, [request("q")]))
    allAnswered(yield* sendAll(load, [request("q")]))
    assert.equal(sick.calls.length, tried + 1)
  })))

test("Load: a request that failed at a server that is down waits for one that is well", () =>
  run(Effect.gen(function* () {
    const sick = fakeServer(() => down)
    const well = fakeServer(() => ok(300_000))
    const load = Load.make([{ model: sick.model }, { model: well.model }], { concurrency: 1, retries: 2 })
    allAnswered(yield* sendAll(load, numbered(3)))
  })))

test("Load: requests of one question go to one server where it has room, and others spread", () =>
  run(Effect.gen(function* () {
    const fakes = Array.from({ length: 4 }, () => fakeServer(() => ok(10)))
    const load = Load.make(fakes.map(({ model }) => ({ model })))
    const system: Message = { role: "system", content: "Think." }
    for (let question = 0; question < 40; question++) {
      const asked: Message = { role: "user", content: `What is ${question} × 7?` }
      const before = fakes.map(({ calls }) => calls.length)
      for (let i = 0; i < 3; i++) {
        const reasoned: Message = { role: "assistant", content: "So".repeat(i) }
        allAnswered(yield* sendAll(load, [{ messages: [system, asked, reasoned] }], "10 seconds"))
      }
      assert.deepEqual(fakes.map(({ calls }, i) => calls.length - before[i]!).sort(), [0, 0, 0, 3])
    }
    for (const { calls } of fakes) assert(calls.length >= 12 && calls.length <= 60, `${calls.length}`)
    // One question alone, asked more often than its server has room for, goes to the others too.
    allAnswered(yield* sendAll(load, Array.from({ length: 32 }, () => request("same"))))
    const asked = (text: string) => fakes.map(({ calls }) => calls.filter(({ content }) => content === text).length)
    assert.deepEqual(asked("same"), [8, 8, 8, 8])
    // The one that is least full is next, so that no server has to wait for another's requests.
    allAnswered(yield* sendAll(load, Array.from({ length: 15 }, () => request("again"))))
    assert.deepEqual(asked("again").sort(), [2, 2, 2, 9])
  })))

test("Load: the tokens of a request are expected by its text and what answers were like, and corrected", () =>
  run(Effect.gen(function* () {
    const usage = { inputTokens: 100, outputTokens: 50 }
    const fake = fakeServer(() => ok(10), "m", usage)
    const load = Load.make([{ model: fake.model }], { tokensPerMinute: 1000 })
    // 25 read and 900 written are expected, and 150 come: the next are expected to write 50.
    const first = yield* sendAll(load, [request("abcd".repeat(25), { maxTokens: 900 })], "10 seconds")
    allAnswered(first)
    const exits = yield* sendAll(load, Array.from({ length: 12 }, () => request("abcd".repeat(25), { maxTokens: 900 })))
    allAnswered(exits)
    // 150 + 11 × 75 are at most 1000; once their 150 each are known, the last waits.
    const minute = fake.calls.filter(({ at }) => at < 60_000).length
    assert(minute >= 6 && minute <= 12, `${minute} requests in the first minute`)
    assert(fake.calls.at(-1)!.at >= 60_000)
  })))

test("Load: when the first in the queue leaves, the next one goes on in its place", () =>
  run(Effect.gen(function* () {
    const fake = fakeServer(() => ok())
    const load = Load.make([{ model: fake.model }], { requestsPerMinute: 1 })
    const fibers = yield* Effect.forEach(numbered(3), (request) => send(load, request))
    yield* TestClock.adjust("30 seconds")
    assert.equal((yield* load.status).waiting, 2)
    yield* Fiber.interrupt(fibers[1]!)
    yield* TestClock.adjust("40 seconds")
    assert.deepEqual(fake.calls.map(({ content, at }) => [content, at]), [["0", 0], ["2", 60_000]])
  })))

test("Load: it has the name of its models", () => {
  const named = (...names: ReadonlyArray<string>): string =>
    Load.make(names.map((name) => ({ model: fakeServer(() => ok(), name).model }))).name
  assert.equal(named("a", "a"), "a")
  assert.equal(named("a", "b", "a"), "a, b")
})

test("Load: as a layer it is a TextModel", () =>
  run(Effect.gen(function* () {
    const layer = Load.layer([{ model: fakeServer(() => ok(0)).model }])
    const { text } = yield* Effect.orDie(Effect.provide(TextModel.complete(request("q")), layer))
    assert.equal(text, "answer to q")
  })))

test("Load: a bad option is refused", () => {
  const { model } = fakeServer(() => ok())
  const throws = (options: Load.Options, message: RegExp, servers: ReadonlyArray<Load.Server> = [{ model }]): void =>
    assert.throws(() => Load.make(servers, options), { name: "RangeError", message })
  throws({}, /^Cannot make a model: the number of servers is 0, not an integer of at least 1$/, [])
  throws({}, /^Cannot make a model: weight is 0/, [{ model, weight: 0 }])
  throws({ start: 0 }, /^Cannot make a model: start is 0, not an integer of at least 1$/)
  throws({ concurrency: 0.5 }, /^Cannot make a model: concurrency is 0.5, not an integer of at least 1$/)
  throws({ retries: -1 }, /^Cannot make a model: retries is -1, not an integer of at least 0$/)
  throws({ failures: 0 }, /^Cannot make a model: failures is 0, not an integer of at least 1$/)
  throws({ refused: 0 }, /^Cannot make a model: refused is 0, not an integer of at least 1$/)
  throws({ patience: 0 }, /^Cannot make a model: patience is 0, not a duration longer than 0$/)
  throws({ maxRetryAfter: -1 }, /^Cannot make a model: maxRetryAfter is -1, not a duration longer than 0$/)
  throws({ requestsPerMinute: 0 }, /^Cannot keep a rate: its limit is 0, and must be more than 0$/)
  throws({ tokensPerMinute: NaN }, /^Cannot keep a rate: its limit is NaN, and must be more than 0$/)
})
