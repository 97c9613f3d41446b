import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import { rank } from "../lib/core/Boundary.ts"
import * as Dialect from "../lib/core/Dialect.ts"
import type * as Iteration from "../lib/core/Iteration.ts"
import type { Question } from "../lib/core/Sample.ts"
import * as Sections from "../lib/core/Sections.ts"
import * as Reasoner from "../lib/Reasoner.ts"
import * as Reconstruction from "../lib/Reconstruction.ts"
import * as State from "../lib/State.ts"
import type { Summarizer } from "../lib/Summarizer.ts"
import * as TextModel from "../lib/TextModel.ts"
import type { Tokenizer } from "../lib/Tokenizer.ts"
import { cutOff, modelError, scripted, summarizerOf, wordTokenizer } from "./support/model.ts"
import { everyCodeUnit, reasoning } from "./support/text.ts"

const count = (text: string): number => text.match(/\S+/g)?.length ?? 0

const tokenizer: Tokenizer = { name: "words", count, additive: true }

type Events = ReadonlyArray<Reasoner.Event>
type Model = Layer.Layer<TextModel.TextModel>
type Ended = Extract<Reasoner.Event, { readonly _tag: "IterationEnded" }>

/** The events of a trajectory, and the error that ended it, if one did. */
const observed = async (
  events: Stream.Stream<Reasoner.Event, Reasoner.ReasonerError, TextModel.TextModel>,
  model: Model
): Promise<{ readonly events: Events; readonly error?: Reasoner.ReasonerError }> => {
  const seen: Array<Reasoner.Event> = []
  const ran = await Effect.runPromise(
    Stream.runForEach(events, (event) => Effect.sync(() => seen.push(event))).pipe(
      Effect.provide(model),
      Effect.result
    )
  )
  return { events: seen, ...Result.isFailure(ran) && { error: ran.failure } }
}

const eventsOf = async (from: Question | State.State, model: Model, options?: Reasoner.Options): Promise<Events> => {
  const { events, error } = await observed(Reasoner.reason(from, options), model)
  if (error !== undefined) throw error
  return events
}

const solved = (from: Question | State.State, model: Model, options?: Reasoner.Options): Promise<Reasoner.Solution> =>
  Effect.runPromise(Effect.provide(Reasoner.solve(from, options), model))

const iterationsOf = (events: Events): Array<Ended> => events.filter((event) => event._tag === "IterationEnded")

const outcomeOf = (events: Events): State.Outcome | undefined => {
  const last = events.at(-1)
  return last?._tag === "TrajectoryEnded" ? last.outcome : undefined
}

const tagsOf = (events: Events): Array<string> => events.map(({ _tag }) => _tag)

const repairsOf = (events: Events): Array<string> =>
  events.flatMap((event) => event._tag === "Repair" ? [`${event.fault.kind}: ${event.repair}`] : [])

/** The deltas of a section, joined. */
const textOf = (events: Events, section: string): string =>
  events.map((event) => event._tag === "Delta" && event.section === section ? event.text : "").join("")

const thinking = (reasoning: string, rest: string): string => `<think>\n${reasoning}\n</think>${rest}`

const summed = (summary: string, reasoning = "So."): string =>
  thinking(reasoning, `\n<summary>\n${summary}\n</summary>`)

const finish = (reason: TextModel.Finish["reason"], usage?: TextModel.Usage): TextModel.Finish => ({
  _tag: "Finish",
  reason,
  ...usage !== undefined && { usage }
})

const say = (text: string): TextModel.Part => ({ _tag: "Text", text })

const v1 = { dialect: Dialect.v1, stagnation: "off" } satisfies Reasoner.Options

/** A summarizer that remembers what it was asked. */
const summarizerWith = (
  write: (index: number) => string | TextModel.ModelError
): { readonly summarizer: Summarizer; readonly sources: Array<Parameters<Summarizer["write"]>[0]> } => {
  const sources: Array<Parameters<Summarizer["write"]>[0]> = []
  return {
    sources,
    summarizer: {
      name: "test",
      write: (source) =>
        Effect.suspend(() => {
          const written = write(sources.push(source) - 1)
          return typeof written === "string" ? Effect.succeed({ text: written, finished: true }) : Effect.fail(written)
        })
    }
  }
}

// Laws

const lawOf = <A>(name: string, arbitrary: fc.Arbitrary<A>, check: (value: A) => Promise<void>, numRuns = 60): void => {
  test(name, () => fc.assert(fc.asyncProperty(arbitrary, check), { numRuns }))
}

/** How a server sends what a model writes. */
type Sending = "content" | "beside"

/** A target in parts as a server sends them: all as content, or its reasoning beside that. */
const sent = (
  { output }: Iteration.Iteration,
  dialect: Dialect.Dialect,
  sending: Sending,
  divide: (text: string) => ReadonlyArray<string>
): ReadonlyArray<TextModel.Part> => {
  const target = Dialect.target(dialect, output)
  if (sending === "content") return [...divide(target).map(say), finish("stop")]
  const { close } = dialect.sections.find(({ name }) => name === "reasoning")!
  const rest = target.slice(target.indexOf(close) + close.length)
  return [
    ...divide(output.reasoning).map((text) => ({ _tag: "Reasoning" as const, text })),
    ...divide(rest).map(say),
    finish("stop")
  ]
}

/** Indices at which any text is cut. */
const divisions: fc.Arbitrary<(text: string) => ReadonlyArray<string>> = fc.oneof(
  fc.constant(everyCodeUnit),
  fc.constant((text: string) => [text]),
  fc.integer({ min: 1, max: 40 }).map((size) => (text: string) =>
    Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size))
  )
)

const reconstructed = (text: string, eta: number): Promise<Reconstruction.Reconstruction> =>
  Effect.runPromise(
    Reconstruction.trajectory({ eta, gamma: 1_000_000, tags: "replace" })({
      id: "a",
      question: "What of it?",
      reasoning: text,
      conclusion: "\n\nSo it is."
    }).pipe(
      Effect.map(Result.getOrThrow),
      Effect.provide([
        summarizerOf(({ history, segments }) => `after ${history ?? "nothing"}: ${segments[0]}`),
        wordTokenizer
      ])
    )
  )

lawOf(
  "replay: a reasoner fed a reconstruction's targets retraces its trajectory",
  fc.record({
    text: reasoning,
    eta: fc.integer({ min: 4, max: 60 }),
    dialect: fc.constantFrom(Dialect.v1, Dialect.plus, Dialect.chat),
    sending: fc.constantFrom<Sending>("content", "beside"),
    divide: divisions
  }),
  async ({ text, eta, dialect, sending, divide }) => {
    const { iterations, question } = await reconstructed(text, eta)
    const { layer, requests } = scripted(...iterations.map((iteration) => sent(iteration, dialect, sending, divide)))
    const events = await eventsOf(question, layer, {
      dialect,
      eta: 1_000_000,
      gamma: 1_000_000,
      stagnation: "off",
      limits: { iterations: Infinity }
    })
    assert.deepEqual(
      iterationsOf(events).map(({ index, output }) => ({ index, output })),
      iterations.map(({ index, output }) => ({ index, output }))
    )
    assert.deepEqual(
      requests.map(({ prompt }) => prompt),
      iterations.map((iteration) => Dialect.instance(dialect, iteration).prompt)
    )
    const last = iterations.at(-1)!.output.ending
    assert.deepEqual(outcomeOf(events), { _tag: "Concluded", conclusion: last.text })
    const joined = iterations.map(({ output }) => output.reasoning).join("")
    assert.equal(textOf(events, "reasoning"), joined)
  },
  150
)

/** What a request may hold beside what the dialect and the summarizer say. */
interface Bound {
  readonly eta: number
  readonly gamma: number
}

/** What a model does at one request. */
type Deed = "summary" | "conclusion" | "long" | "cut in reasoning" | "cut in summary" | "broken" | "empty" | "tangled"

const deeds: fc.Arbitrary<ReadonlyArray<Deed>> = fc.array(
  fc.constantFrom<Deed>(
    ...[
      "summary",
      "summary",
      "summary",
      "long",
      "cut in reasoning",
      "cut in summary",
      "broken",
      "empty",
      "tangled"
    ] as const
  ),
  { minLength: 1, maxLength: 12 }
)

/** Words of a request that no other has, so that what a prompt holds of them can be counted. */
const own = (request: number, length: number, kind: "r" | "s" = "r"): string =>
  Array.from({ length: Math.max(0, length) }, (_, i) => `${kind}${request}w${i}`).join(" ")

/** A model that does what it is told, never writes more than it may, and, asked for a summary, writes one. */
const doing = (deeds: ReadonlyArray<Deed>, { eta, gamma }: Bound) => {
  const requests: Array<TextModel.Request> = []
  const layer = TextModel.layerScripted((request, index) => {
    requests.push(request)
    const most = request.maxTokens!
    const deed = index < deeds.length ? deeds[index]! : "conclusion"
    const write = (text: string, reason: TextModel.Finish["reason"]): TextModel.Reply => {
      const words = text.split(/(?<=\s)(?=\S)/)
      const parts = words.slice(0, most).map(say)
      return [...parts, finish(words.length > most ? "length" : reason)]
    }
    if (request.messages.at(-1)!.content.includes("Write this summary") || request.messages.length > 3) {
      return write(own(index, gamma - 1, "s"), "stop")
    }
    const continued = /[rs]\d+w\d/.test(request.prefix?.replace(/<history>.*<\/history>/s, "") ?? "")
    const opened = continued ? "" : "<think>\n"
    switch (deed) {
      case "summary":
        return write(
          `${opened}${own(index, eta - gamma - 6)}\n</think>\n<summary>\n${own(index, gamma - 1, "s")}\n</summary>`,
          "stop"
        )
      case "long":
        return write(
          `${opened}${own(index, 4)}\n</think>\n<summary>\n${own(index, 2 * gamma, "s")}\n</summary>`,
          "stop"
        )
      case "cut in reasoning":
        return write(`${opened}${own(index, 2 * eta)}`, "stop")
      case "cut in summary":
        return write(`${opened}${own(index, eta - 6)}\n</think>\n<summary>\n${own(index, 2 * eta, "s")}`, "stop")
      case "broken":
        return [say(`${opened}${own(index, Math.min(most, eta / 2))}`), modelError("interrupted")]
      case "empty":
        return write("", "stop")
      case "tangled":
        return write(`<summary>${opened}${own(index, 8, "s")}</summary>`, "stop")
      case "conclusion":
        return write(`${opened}${own(index, 4)}\n</think>\nDone.`, "stop")
    }
  })
  return { layer, requests }
}

const repairs: fc.Arbitrary<ReadonlyArray<Reasoner.Repair>> = fc.array(
  fc.constantFrom<Reasoner.Repair>("continue", "summarize", "sample", "keep"),
  { maxLength: 5 }
)

const carries = fc.constantFrom<State.Carry>(
  { _tag: "replace" },
  { _tag: "accumulate" },
  { _tag: "tail", tokens: 5, summary: false },
  { _tag: "tail", tokens: 5, summary: true }
)

const driven = fc.record({
  deeds,
  repairs,
  carry: carries,
  guided: fc.boolean(),
  dialect: fc.constantFrom(Dialect.v1, Dialect.plus, Dialect.chat)
})

const bound: Bound = { eta: 40, gamma: 12 }

const optionsOf = ({ repairs, carry, guided, dialect }: typeof driven extends fc.Arbitrary<infer A> ? A : never) => ({
  ...bound,
  repairs,
  carry,
  tokenizer,
  tries: 1,
  stagnation: "off" as const,
  limits: { iterations: 6 },
  ...guided ? { guide: {}, dialect: Dialect.guided } : { dialect }
})

lawOf(
  "boundedness: a prompt holds the question, what is carried, at most eta tokens of its round, and the dialect's words",
  driven,
  async (sample) => {
    const { layer, requests } = doing(sample.deeds, bound)
    const { events } = await observed(Reasoner.reason("What of it?", optionsOf(sample)), layer)
    const ended = iterationsOf(events).length
    const { carry } = sample
    const carried = carry._tag === "replace"
      ? bound.gamma
      : carry._tag === "accumulate"
      ? ended * bound.gamma
      : carry.tokens + (carry.summary ? bound.gamma : 0)
    for (const request of requests) {
      const text = request.messages.map(({ content }) => content).join("\n") + (request.prefix ?? "")
      const words = text.match(/[rs]\d+w\d+/g)?.length ?? 0
      // A summary of reasoning that took more than eta tokens is made in parts, each from the summary before.
      const most = bound.eta + Math.max(carried, carry._tag === "accumulate" ? bound.gamma : 0, bound.gamma)
      assert.ok(words <= most, `${words} of ${most}: ${text}`)
      const reasoned = text.match(/\br\d+w\d+/g)?.length ?? 0
      const tail = carry._tag === "tail" ? carry.tokens : 0
      assert.ok(reasoned <= bound.eta + tail, `${reasoned} of ${bound.eta}: ${text}`)
      assert.ok(request.maxTokens! <= Math.max(bound.eta, 2 * bound.gamma))
    }
  },
  300
)

lawOf(
  "laziness: an iteration is not requested before the one before it was read to its end",
  driven,
  async (sample) => {
    const log: Array<string> = []
    const { layer } = doing(sample.deeds, bound)
    const noted = Effect.map(TextModel.TextModel, (model): TextModel.TextModel => ({
      name: model.name,
      generate: (request) =>
        Stream.suspend(() => {
          log.push("request")
          return model.generate(request)
        })
    }))
    const run = Effect.gen(function* () {
      const model = yield* noted
      const events = Reasoner.reason("What of it?", optionsOf(sample))
      yield* Stream.runForEach(events, (event) => Effect.sync(() => log.push(event._tag))).pipe(
        Effect.provideService(TextModel.TextModel, model),
        Effect.ignore
      )
    })
    await Effect.runPromise(Effect.provide(run, layer))
    // Between the end of an iteration and the start of the next one, nothing is requested.
    let within = false
    for (const entry of log) {
      if (entry === "IterationStarted") within = true
      if (entry === "request") assert.ok(within, log.join(" "))
      if (entry === "IterationEnded") within = false
    }
  }
)

test("laziness: nothing is requested when nothing is read, nor before the first event was taken", async () => {
  const { layer, requests } = scripted(summed("s"))
  await Effect.runPromise(Effect.provide(Stream.runDrain(Stream.take(Reasoner.reason("q", v1), 0)), layer))
  assert.equal(requests.length, 0)
  await Effect.runPromise(Effect.provide(Stream.runDrain(Stream.take(Reasoner.reason("q", v1), 1)), layer))
  assert.equal(requests.length, 0)
})

/** A model that counts the requests that are open. */
const counting = (layer: Model) => {
  const counts = { opened: 0, closed: 0, most: 0 }
  const model = Effect.map(TextModel.TextModel, (model): TextModel.TextModel => ({
    name: model.name,
    generate: (request) =>
      Stream.scoped(
        Stream.unwrap(Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => {
              counts.opened++
              counts.most = Math.max(counts.most, counts.opened - counts.closed)
            }),
            () => Effect.sync(() => counts.closed++)
          ),
          () => model.generate(request)
        ))
      )
  }))
  return { counts, layer: Layer.provide(Layer.effect(TextModel.TextModel, model), layer) }
}

lawOf(
  "interruption: leaving the loop at any event closes the model's stream",
  fc.tuple(driven, fc.nat(200)),
  async ([sample, at]) => {
    const { counts, layer } = counting(doing(sample.deeds, bound).layer)
    let seen = 0
    const events = Stream.toAsyncIterable(Stream.provide(Reasoner.reason("What of it?", optionsOf(sample)), layer))
    try {
      for await (const _ of events) if (seen++ === at) break
    } catch (error) {
      assert.ok(error instanceof Reasoner.ReasonerError)
    }
    assert.equal(counts.opened, counts.closed)
    assert.ok(counts.most <= 1, "no two requests are open at once")
  },
  150
)

lawOf(
  "continuation: going on from a saved state after any iteration yields the same events and totals",
  fc.tuple(driven, fc.nat(6), fc.boolean()),
  async ([sample, at, sendsUsage]) => {
    const { layer } = doing(sample.deeds, bound)
    const options = { ...optionsOf(sample), stagnation: { count: 4 } }
    const model = sendsUsage ? withUsage(layer) : layer
    const run = Effect.gen(function* () {
      const whole: Array<Reasoner.Event> = []
      yield* Effect.ignore(
        Stream.runForEach(Reasoner.reason("What of it?", options), (event) => Effect.sync(() => whole.push(event)))
      )
      return whole
    })
    const whole = await Effect.runPromise(Effect.provide(run, model))
    const pieces: Array<Reasoner.Event> = []
    const again = Effect.gen(function* () {
      let state = Reasoner.begin("What of it?", options)
      for (let i = 0; i < 20 && state.outcome === null; i++) {
        // Some iterations run one by one, and the rest at once.
        const events = i < at ? Reasoner.step(state, options) : Reasoner.reason(state, options)
        yield* Stream.runForEach(events, (event) =>
          Effect.sync(() => {
            pieces.push(event)
            if ("state" in event) state = event.state
          }))
        state = Result.getOrThrow(State.parse(State.render(state)))
      }
    })
    await Effect.runPromise(
      Effect.provide(
        Effect.ignore(again),
        sendsUsage ? withUsage(doing(sample.deeds, bound).layer) : doing(sample.deeds, bound).layer
      )
    )
    assert.deepEqual(timeless(pieces), timeless(whole))
  },
  150
)

/** Events without the time that they took. */
const timeless = (events: Events): unknown =>
  events.map((event) => "state" in event ? { ...event, state: { ...event.state, elapsed: 0 } } : event)

/** A model whose server sends its figures. */
const withUsage = (layer: Model): Model =>
  Layer.provide(
    Layer.effect(
      TextModel.TextModel,
      Effect.map(TextModel.TextModel, (model): TextModel.TextModel => ({
        name: model.name,
        generate: (request) => {
          let written = 0
          return Stream.map(model.generate(request), (part) => {
            if (part._tag !== "Finish") written += part.text.length
            return part._tag !== "Finish" ? part : {
              ...part,
              usage: { inputTokens: request.prompt?.length ?? 7, outputTokens: Math.min(written, request.maxTokens!) }
            }
          })
        }
      }))
    ),
    layer
  )

// Outcomes

test("Concluded: one iteration is enough", async () => {
  const { layer, requests } = scripted(thinking("6 × 7 is 42.", "\nIt is 42."))
  const solution = await solved("What is 6 × 7?", layer, v1)
  assert.deepEqual(solution.outcome, { _tag: "Concluded", conclusion: "\nIt is 42." })
  assert.equal(solution.conclusion, "It is 42.")
  assert.equal(solution.state.index, 1)
  assert.deepEqual(requests, [{
    messages: [{ role: "user", content: "What is 6 × 7?" }],
    prompt: "User:What is 6 × 7?Assistant:",
    maxTokens: 8192
  }])
})

test("Concluded: the events of two iterations", async () => {
  const { layer } = scripted(summed("s1", "One."), thinking("Two.", "Done."))
  const events = await eventsOf("q", layer, v1)
  assert.deepEqual(tagsOf(events), [
    ...["IterationStarted", "Delta", "Delta", "IterationEnded"],
    ...["IterationStarted", "Delta", "Delta", "IterationEnded", "TrajectoryEnded"]
  ])
  const [first, second] = events.filter((event) => event._tag === "IterationStarted")
  assert.deepEqual([first!.index, first!.history, second!.index, second!.history], [1, null, 2, "s1"])
  assert.deepEqual(iterationsOf(events).map(({ output }) => output), [
    { reasoning: "One.", ending: { _tag: "Summary", text: "s1" } },
    { reasoning: "Two.", ending: { _tag: "Conclusion", text: "Done." } }
  ])
})

test("Concluded: the conclusion may mention tags, and the question's own stay where they are trusted", async () => {
  const question = "What do <history>x</history> and <summary> do in <think>?"
  const { layer, requests } = scripted(thinking("So.", "A <summary> is in </details>, not in <think>."))
  const { conclusion, state } = await solved(question, layer, { ...v1, tags: "keep" })
  assert.equal(conclusion, "A <summary> is in </details>, not in <think>.")
  assert.equal(requests[0]!.prompt, `User:${question}Assistant:`)
  assert.equal((await solved(question, layer, v1)).state.question, state.question)
  assert.equal(requests[1]!.prompt, `User:${question.replaceAll("<", "‹")}Assistant:`)
})

test("Concluded: a list of messages is carried unchanged into every iteration", async () => {
  const question = [
    { role: "system" as const, content: "Be brief." },
    { role: "user" as const, content: "6 × 7?" },
    { role: "assistant" as const, content: "42." },
    { role: "user" as const, content: "Why?" }
  ]
  for (const dialect of [Dialect.v1, Dialect.plus]) {
    const output: Iteration.Output = { reasoning: "So.", ending: { _tag: "Summary", text: "s1" } }
    const { layer, requests } = scripted(Dialect.target(dialect, output), thinking("So.", "Because."))
    await solved(question, layer, { dialect })
    assert.deepEqual(requests.map(({ messages }) => messages), [question, question])
    assert.deepEqual(requests.map(({ prefix }) => prefix), [undefined, Sections.render(dialect.history, "s1")])
  }
  const { layer, requests } = scripted(summed("s1"), thinking("So.", "Because."))
  await solved(question, layer, {})
  assert.deepEqual(requests[1]!.messages.slice(1, 3), question.slice(1, 3))
  assert.equal(requests[1]!.messages[3]!.content, "Why?\n\n<history>\ns1\n</history>")
  assert.match(requests[1]!.messages[0]!.content, /^Be brief\.\n\nYou work on a question in rounds/)
})

test("Concluded: a summary that only the end of the output closed is one", async () => {
  const { layer } = scripted("<think>\nSo.\n</think>\n<summary>\ns1\n", thinking("So.", "Done."))
  const events = await eventsOf("q", layer, v1)
  assert.deepEqual(iterationsOf(events)[0]!.output!.ending, { _tag: "Summary", text: "s1\n" })
  assert.equal(outcomeOf(events)!._tag, "Concluded")
})

test("Exhausted: by iterations, and what was left of the state goes on with more", async () => {
  const { layer, requests } = scripted(summed("s1"), summed("s2"), thinking("So.", "Done."))
  const limits = { iterations: 2 }
  const run = Effect.gen(function* () {
    const { outcome, state, conclusion } = yield* Reasoner.solve("q", { ...v1, limits })
    assert.deepEqual(outcome, { _tag: "Exhausted", limit: "iterations", conclusion: null })
    assert.equal(conclusion, null)
    assert.deepEqual(state.summaries, ["s2"])
    assert.equal(requests.length, 2)
    const same = yield* Reasoner.solve(state, { ...v1, limits })
    assert.deepEqual([same.outcome, same.state.meter], [outcome, state.meter])
    return yield* Reasoner.solve(state, { ...v1, limits: { iterations: 3 } })
  })
  const { outcome } = await Effect.runPromise(Effect.provide(run, layer))
  assert.deepEqual(outcome, { _tag: "Concluded", conclusion: "Done." })
  assert.equal(requests[2]!.prefix, "<history>s2</history>")
})

test("Exhausted: by tokens, of which a request asks for what is left", async () => {
  const { layer, requests } = scripted(
    [say(summed("s1")), finish("stop", { inputTokens: 100, outputTokens: 60 })],
    [say("<think>\nSo"), finish("length", { inputTokens: 100, outputTokens: 40 })]
  )
  const { outcome, state } = await solved("q", layer, { ...v1, repairs: [], limits: { tokens: 100 } })
  assert.deepEqual(requests.map(({ maxTokens }) => maxTokens), [100, 40])
  assert.deepEqual(outcome, { _tag: "Exhausted", limit: "tokens", conclusion: null })
  assert.equal(state.index, 1)
  assert.deepEqual(state.summaries, ["s1"])
  assert.deepEqual([state.meter.inputTokens, state.meter.outputTokens], [200, 100])
})

test("limits: no part of a token is asked for", async () => {
  const { layer, requests } = scripted(thinking("So.", "Done."))
  await solved("q", layer, { ...v1, limits: { tokens: 100.5 } })
  assert.deepEqual(requests.map(({ maxTokens }) => maxTokens), [100])
})

test("Exhausted: no token is left to begin with", async () => {
  const { layer, requests } = scripted(summed("s1"))
  const { outcome } = await solved("q", layer, { ...v1, limits: { tokens: 0 } })
  assert.deepEqual(outcome, { _tag: "Exhausted", limit: "tokens", conclusion: null })
  assert.equal(requests.length, 0)
})

test("Exhausted: tokens are also those of repairs and summaries", async () => {
  const { layer, requests } = scripted(
    [say("So"), finish("stop", { inputTokens: 1, outputTokens: 60 })],
    [say("<summary>"), finish("stop", { inputTokens: 1, outputTokens: 40 })]
  )
  const { outcome, state } = await solved("q", layer, {
    dialect: Dialect.v1,
    repairs: ["sample", "sample", "sample"],
    limits: { tokens: 90 },
    inside: "reasoning"
  })
  assert.deepEqual(requests.map(({ maxTokens }) => maxTokens), [90, 30])
  assert.deepEqual(outcome, { _tag: "Exhausted", limit: "tokens", conclusion: null })
  assert.equal(state.meter.outputTokens, 100)
})

test("Exhausted: by cost, of which a request asks for what it still buys", async () => {
  const usage = { inputTokens: 1000, outputTokens: 500 }
  const { layer, requests } = scripted([say(summed("s1")), finish("stop", usage)])
  // A million tokens read cost 1, and written 10: each iteration costs 0.006.
  const { outcome, state } = await solved("q", layer, {
    ...v1,
    tokenizer,
    limits: { cost: { most: 0.02, input: 1, output: 10 } }
  })
  assert.deepEqual(outcome, { _tag: "Exhausted", limit: "cost", conclusion: null })
  assert.equal(state.index, 4)
  const prompts = requests.map(({ prompt }) => count(prompt!))
  assert.deepEqual(
    requests.map(({ maxTokens }) => maxTokens),
    prompts.map((prompt, i) => Math.floor((20_000 - i * 6000 - prompt) / 10))
  )
})

/** A model whose parts come a second apart. */
const slow = (...parts: ReadonlyArray<TextModel.Part>): { readonly layer: Model; readonly log: Array<string> } => {
  const log: Array<string> = []
  const generate = (request: TextModel.Request) =>
    Stream.fromIterable(parts).pipe(
      Stream.mapEffect((part) => Effect.delay(Effect.succeed(part), "1 second")),
      Stream.onStart(Effect.sync(() => log.push(`request ${request.maxTokens}`))),
      Stream.ensuring(Effect.sync(() => log.push("closed")))
    )
  return { layer: Layer.succeed(TextModel.TextModel, { name: "slow", generate }), log }
}

/** Runs a program for some seconds of a clock that stands still otherwise. */
const inSeconds = <A, E>(program: Effect.Effect<A, E>, seconds: number): Promise<A> =>
  Effect.runPromise(Effect.provide(
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(program)
      for (let i = 0; i < seconds; i++) yield* TestClock.adjust("1 second")
      return yield* Fiber.join(fiber)
    }),
    TestClock.layer()
  ))

test("Exhausted: by time, in the middle of a request, which is closed", async () => {
  const { layer, log } = slow(say("<think>\nOne"), say(" two"), say(" three"), say(" four"), finish("stop"))
  const events: Array<Reasoner.Event> = []
  const run = Stream.runForEach(
    Reasoner.reason("q", { ...v1, limits: { time: 2500 } }),
    (event) => Effect.sync(() => events.push(event))
  )
  await inSeconds(Effect.provide(run, layer), 10)
  assert.deepEqual(log, ["request 8192", "closed"])
  assert.equal(textOf(events, "reasoning"), "One two")
  assert.deepEqual(outcomeOf(events), { _tag: "Exhausted", limit: "time", conclusion: null })
  const last = events.at(-1)!
  assert.ok(last._tag === "TrajectoryEnded" && last.state.index === 0)
  assert.equal(last.state.elapsed, 2500)
  assert.ok(last.state.meter.outputTokens > 0)
})

test("Exhausted: by time over several iterations, and across a saved state", async () => {
  const { layer, log } = slow(say(summed("s1")), finish("stop"))
  const run = Effect.gen(function* () {
    const options = { ...v1, limits: { time: 5000 } }
    const { outcome, state } = yield* Reasoner.solve("q", options)
    const saved = Result.getOrThrow(State.parse(State.render(state)))
    const later = yield* Reasoner.solve({ ...saved, outcome: null }, { ...v1, limits: { time: 6500 } })
    return [outcome, state.index, later.outcome, later.state.index, later.state.elapsed]
  })
  const exhausted = { _tag: "Exhausted", limit: "time", conclusion: null }
  assert.deepEqual(await inSeconds(Effect.provide(run, layer), 20), [exhausted, 2, exhausted, 2, 6500])
  assert.equal(log.filter((entry) => entry === "closed").length, 4)
})

test("Exhausted: by time, while a summary is written", async () => {
  const { layer } = scripted(cutOff("<think>\nOne two three."))
  const summarizer: Summarizer = { name: "slow", write: () => Effect.never }
  const run = Reasoner.solve("q", { ...v1, summarizer, repairs: ["summarize"], limits: { time: 1500 } })
  const { outcome } = await inSeconds(Effect.provide(run, layer), 3)
  assert.deepEqual(outcome, { _tag: "Exhausted", limit: "time", conclusion: null })
})

test("Malformed, Truncated, Empty: the last good state is kept, and what was spent is counted", async () => {
  const cases: ReadonlyArray<readonly [TextModel.Reply, State.Outcome["_tag"]]> = [
    ["<summary>\nno reasoning\n</summary>", "Malformed"],
    [thinking("So.", ""), "Malformed"],
    ["<think>\nSo.", "Malformed"],
    [`${summed("s2")} and more`, "Malformed"],
    [`I begin at once. <summary>\ns2\n</summary>`, "Malformed"],
    [[say("<think>\nSo."), finish("filter")], "Malformed"],
    [[say(thinking("So.", "Done.")), finish("other")], "Malformed"],
    [cutOff(thinking("So.", "Almost do")), "Truncated"],
    [cutOff(summed("s2")), "Truncated"],
    ["", "Empty"],
    ["\n\n", "Empty"],
    ["<think>\n</think>\n", "Empty"]
  ]
  for (const [reply, tag] of cases) {
    const { layer, requests } = scripted(summed("s1"), reply)
    const { outcome, state, conclusion } = await solved("q", layer, { ...v1, repairs: [] })
    assert.equal(outcome._tag, tag, JSON.stringify(reply))
    assert.equal(conclusion, null)
    assert.deepEqual([state.index, state.summaries, requests.length], [1, ["s1"], 2])
    assert.equal(state.meter.requests, 2)
  }
})

test("whatever a state came to, it goes on when it is asked to, unless it concluded", async () => {
  const same = Array.from({ length: 4 }, () => summed("a b"))
  const cases: ReadonlyArray<readonly [ReadonlyArray<TextModel.Reply>, State.Outcome["_tag"], Reasoner.Options?]> = [
    [[summed("s1"), "<think>\nSo."], "Malformed"],
    [[summed("s1"), cutOff("<think>\nSo.")], "Truncated"],
    [[summed("s1"), ""], "Empty"],
    [same, "NoProgress"],
    [[summed("s1")], "Exhausted", { limits: { iterations: 1 } }],
    [[summed("s1"), "It is 42."], "Exhausted", { limits: { iterations: 1 }, conclude: "force" }]
  ]
  for (const [replies, tag, more] of cases) {
    const first = scripted(...replies)
    const { outcome, state } = await solved("q", first.layer, { ...v1, repairs: [], stagnation: {}, ...more })
    assert.equal(outcome._tag, tag)
    // The rule against stagnation begins anew: twice the same is not too often.
    const second = scripted(summed("a b"), summed("a b"), thinking("So.", "Done."))
    const on = await solved(state, second.layer, { ...v1, repairs: [], stagnation: {} })
    assert.deepEqual([on.outcome, on.state.index], [{ _tag: "Concluded", conclusion: "Done." }, state.index + 3], tag)
    assert.equal(on.state.meter.requests, first.requests.length + 3)
    assert.deepEqual((await solved(on.state, scripted().layer, v1)).state, on.state)
  }
})

test("Malformed: the detail says why", async () => {
  const detail = async (reply: TextModel.Reply, options: Reasoner.Options = {}): Promise<string> => {
    const { outcome } = await solved("q", scripted(reply).layer, { ...v1, repairs: [], ...options })
    return outcome._tag === "Malformed" ? outcome.detail : outcome._tag
  }
  assert.equal(await detail(thinking("So.", "")), "The output is neither a summary nor a conclusion")
  assert.equal(await detail([say("So"), finish("filter")]), "The model stopped for another reason: filter")
  assert.equal(
    await detail(summed("a b c d e f"), { gamma: 5, tokenizer }),
    "The summary has 6 tokens, and gamma is 5"
  )
})

test("NoProgress: repeats, wanders and empty iterations", async () => {
  const verdict = async (replies: ReadonlyArray<TextModel.Reply>, options: Reasoner.Options = {}) => {
    const { outcome, state } = await solved("q", scripted(...replies).layer, { dialect: Dialect.v1, ...options })
    return [outcome._tag === "NoProgress" ? outcome.verdict : outcome._tag, state.index]
  }
  assert.deepEqual(await verdict([summed("a b")]), ["repeats", 4])
  const wandering = ["a b c", "d e f", "g h i", "j k l", "m n o"].map((summary) => summed(summary))
  assert.deepEqual(await verdict(wandering), ["wanders", 4])
  assert.deepEqual(await verdict([""], { repairs: ["keep"] }), ["empty", 3])
  assert.deepEqual(await verdict([""], { repairs: ["keep"], stagnation: { count: 1 } }), ["empty", 1])
  assert.deepEqual(await verdict([summed("a b")], { stagnation: "off" }), ["Exhausted", 10])
})

test("NoProgress: summaries of single iterations need not keep the one before, and a tail may repeat", async () => {
  const wandering = ["a b c", "d e f", "g h i", "j k l", "m n o", "p q r"].map((summary) => summed(summary, summary))
  const run = async (carry: State.Carry, replies: ReadonlyArray<TextModel.Reply>): Promise<State.Outcome> =>
    (await solved("q", scripted(...replies).layer, {
      dialect: Dialect.v1,
      tokenizer,
      carry,
      limits: { iterations: 5 }
    }))
      .outcome
  const exhausted = { _tag: "Exhausted", limit: "iterations", conclusion: null }
  assert.deepEqual(await run({ _tag: "accumulate" }, wandering), exhausted)
  assert.deepEqual(await run({ _tag: "tail", tokens: 9, summary: false }, wandering), exhausted)
  assert.deepEqual(
    await run({ _tag: "tail", tokens: 9, summary: false }, [summed("s", "the same again")]),
    { _tag: "NoProgress", verdict: "repeats" }
  )
  assert.deepEqual(await run({ _tag: "accumulate" }, [summed("the same")]), { _tag: "NoProgress", verdict: "repeats" })
})

// Repairs

test("continue: a model goes on where it was cut off, and its output is one", async () => {
  const { layer, requests } = scripted(
    cutOff("<think>\nOne two </th"),
    "ink>\n<summary>\ns1\n</summary>",
    thinking("So.", "Done.")
  )
  const events = await eventsOf("q", layer, { ...v1, tokenizer, eta: 20, gamma: 8 })
  assert.deepEqual(repairsOf(events), ["truncated: continue"])
  assert.equal(requests[1]!.prompt, "User:qAssistant:<think>\nOne two </th")
  assert.equal(requests[1]!.prefix, "<think>\nOne two </th")
  assert.equal(requests[1]!.maxTokens, 16, "what is left of eta, and at least gamma")
  const [first] = iterationsOf(events)
  assert.deepEqual(first!.output, { reasoning: "One two ", ending: { _tag: "Summary", text: "s1" } })
  assert.deepEqual(first!.repairs, ["continue"])
  assert.equal(textOf(events.slice(0, events.indexOf(first!)), "reasoning"), "One two ", "nothing is shown twice")
})

test("continue: at eta, gamma tokens are left to end it", async () => {
  const { layer, requests } = scripted(
    cutOff("<think>\na b c d\n</think>\n<summary>\ns"),
    "1\n</summary>",
    thinking("So.", "Done.")
  )
  await eventsOf("q", layer, { ...v1, tokenizer, eta: 8, gamma: 6 })
  assert.deepEqual(requests.map(({ maxTokens }) => maxTokens), [8, 6, 8])
})

test("continue: an interrupted stream goes on, with or without an error", async () => {
  for (const broken of [[say("<think>\nOne")], [say("<think>\nOne"), modelError("interrupted")]]) {
    const { layer } = scripted(broken, " two.\n</think>\nDone.")
    const events = await eventsOf("q", layer, v1)
    assert.deepEqual(repairsOf(events), ["interrupted: continue"])
    assert.equal(iterationsOf(events)[0]!.output!.reasoning, "One two.")
    assert.equal(textOf(events, "reasoning"), "One two.")
  }
})

test("continue: a model whose template opens the reasoning gets its tag back with a prefix, and not with a prompt", async () => {
  const { layer, requests } = scripted(cutOff("One"), " two.\n</think>\nDone.")
  const events = await eventsOf("q", layer, { ...v1, inside: "reasoning" })
  assert.equal(requests[1]!.prefix, "<think>\nOne")
  assert.equal(requests[1]!.prompt, "User:qAssistant:One")
  assert.equal(iterationsOf(events)[0]!.output!.reasoning, "One two.")
})

test("continue: a server that refuses a prefix makes way for the next repair", async () => {
  const { layer, requests } = scripted(
    cutOff("<think>\nOne two"),
    [modelError("refused")],
    "* one, two",
    thinking("So.", "Done.")
  )
  const events = await eventsOf("q", layer, v1)
  assert.deepEqual(repairsOf(events), ["truncated: continue", "truncated: summarize"])
  assert.deepEqual(iterationsOf(events)[0]!.output, {
    reasoning: "One two",
    ending: { _tag: "Summary", text: "* one, two" }
  })
  assert.equal(requests[3]!.prefix, "<history>* one, two</history>")
  assert.equal(iterationsOf(events)[0]!.meter.requests, 2, "a request that was refused cost nothing")
})

test("continue: reasoning beside the content cannot be given back, so it is summarized", async () => {
  const { layer } = scripted(
    [{ _tag: "Reasoning", text: "One two" }, finish("length")],
    "* one, two",
    thinking("So.", "Done.")
  )
  assert.deepEqual(repairsOf(await eventsOf("q", layer, v1)), ["truncated: summarize"])
})

test("summarize: reasoning longer than eta is summarized in parts", async () => {
  const { layer } = scripted(cutOff("<think>\na b c d e f g h i j k l"), thinking("So.", "Done."))
  const { summarizer, sources } = summarizerWith((index) => `* s${index}`)
  const events = await eventsOf("q", layer, { ...v1, tokenizer, eta: 5, repairs: ["summarize"], summarizer })
  assert.deepEqual(sources.map(({ history, segments }) => [history, ...segments]), [
    [undefined, "a b c d e"],
    ["* s0", " f g h i j"],
    ["* s1", " k l"]
  ])
  assert.deepEqual(iterationsOf(events)[0]!.output!.ending, { _tag: "Summary", text: "* s2" })
})

test("summarize: the summary before is brought up to date, unless all are carried", async () => {
  for (const [carry, history] of [["replace", "s1"], ["accumulate", undefined]] as const) {
    const { layer } = scripted(summed("s1"), cutOff("<think>\nTwo"), thinking("So.", "Done."))
    const { summarizer, sources } = summarizerWith(() => "s2")
    const { state } = await solved("q", layer, { ...v1, repairs: ["summarize"], summarizer, carry: { _tag: carry } })
    assert.deepEqual(sources.map((source) => [source.history, source.segments]), [[history, ["Two"]]])
    assert.deepEqual(state.summaries, carry === "replace" ? ["s2"] : ["s1", "s2"])
  }
})

test("summarize: a summary that fails its check leaves the good state alone", async () => {
  for (const bad of ["", "a b c d e f g h"]) {
    const { layer } = scripted(summed("s1"), cutOff("<think>\nTwo"))
    const { summarizer, sources } = summarizerWith(() => bad)
    const { outcome, state } = await solved("q", layer, {
      ...v1,
      tokenizer,
      gamma: 6,
      repairs: ["summarize"],
      summarizer,
      tries: 2
    })
    assert.equal(outcome._tag, "Malformed")
    assert.equal(sources.length, 2)
    assert.deepEqual([state.summaries, state.index], [["s1"], 1])
  }
})

test("summarize: an over-long summary of the model's own is made anew of its reasoning", async () => {
  const { layer } = scripted(summed("a b c d e f g", "Reasoned."), thinking("So.", "Done."))
  const { summarizer, sources } = summarizerWith(() => "short")
  const events = await eventsOf("q", layer, { ...v1, tokenizer, gamma: 5, summarizer })
  assert.deepEqual(repairsOf(events), ["malformed: summarize"])
  assert.deepEqual(sources.map(({ segments }) => segments), [["Reasoned."]])
  assert.deepEqual(iterationsOf(events)[0]!.output!.ending, { _tag: "Summary", text: "short" })
})

test("sample: the model is asked the same again, with another seed", async () => {
  const { layer, requests } = scripted("", "", thinking("So.", "Done."))
  const events = await eventsOf("q", layer, { ...v1, repairs: ["sample", "sample"], sampling: { seed: 7, topP: 0.9 } })
  assert.deepEqual(repairsOf(events), ["empty: sample", "empty: sample"])
  assert.deepEqual(requests.map(({ sampling }) => sampling), [7, 8, 9].map((seed) => ({ seed, topP: 0.9 })))
  assert.equal(new Set(requests.map(({ prompt }) => prompt)).size, 1)
  assert.deepEqual(outcomeOf(events), { _tag: "Concluded", conclusion: "Done." })
})

test("keep: the iteration is given up, and the next starts from the state before", async () => {
  const { layer, requests } = scripted(summed("s1"), "", thinking("So.", "Done."))
  const events = await eventsOf("q", layer, { ...v1, repairs: ["keep"] })
  const [, second, third] = iterationsOf(events)
  assert.deepEqual([second!.output, second!.repairs, second!.state.summaries], [null, ["keep"], ["s1"]])
  assert.deepEqual([third!.index, third!.repairs], [3, []])
  assert.equal(requests[2]!.prefix, "<history>s1</history>")
})

test("ladder: each repair is tried once, in order, and those that do not apply are passed over", async () => {
  const { layer } = scripted(
    cutOff("<think>\nOne"),
    cutOff(" two"),
    "",
    "<think>\n",
    summed("s1"),
    thinking("So.", "Done.")
  )
  const { summarizer } = summarizerWith(() => "")
  const events = await eventsOf("q", layer, {
    ...v1,
    summarizer,
    tries: 1,
    repairs: ["continue", "summarize", "continue", "sample", "sample", "summarize", "sample"]
  })
  assert.deepEqual(repairsOf(events), [
    "truncated: continue",
    "truncated: summarize",
    "malformed: sample",
    "empty: sample",
    "empty: sample"
  ])
  assert.equal(outcomeOf(events)!._tag, "Concluded")
})

test("ladder: the default tries to go on, to summarize and to sample", async () => {
  const { layer } = scripted(
    cutOff("<think>\nOne"),
    cutOff(" two"),
    cutOff("* one"),
    cutOff("* one"),
    cutOff("* one"),
    ""
  )
  const events = await eventsOf("q", layer, v1)
  assert.deepEqual(repairsOf(events), ["truncated: continue", "truncated: summarize", "malformed: sample"])
  assert.deepEqual(outcomeOf(events), { _tag: "Empty" })
})

// Forced conclusions

test("conclude: in the assistant's place, the reasoning is closed for the model", async () => {
  const { layer, requests } = scripted(summed("s1"), "\nIt is 42.")
  const events = await eventsOf("q", layer, {
    ...v1,
    limits: { iterations: 1 },
    conclude: "force",
    inside: "reasoning"
  })
  assert.deepEqual(outcomeOf(events), { _tag: "Exhausted", limit: "iterations", conclusion: "\nIt is 42." })
  assert.equal(requests[1]!.prefix, "<history>s1</history><think>\n\n</think>")
  assert.equal(textOf(events, "conclusion"), "\nIt is 42.")
})

test("conclude: in the user's place, the model is told to", async () => {
  const { layer, requests } = scripted(summed("s1"), thinking("So.", "It is 42."))
  const { outcome, conclusion, state } = await solved("q", layer, { limits: { iterations: 1 }, conclude: "force" })
  assert.deepEqual(outcome, { _tag: "Exhausted", limit: "iterations", conclusion: "It is 42." })
  assert.equal(conclusion, "It is 42.")
  assert.equal(requests[1]!.prefix, undefined)
  const last = requests[1]!.messages.at(-1)!.content
  assert.match(last, /^q\n\n<history>\ns1\n<\/history>\n\nThere is no time left/)
  assert.deepEqual([state.index, state.meter.requests], [1, 2])
})

test("conclude: what is cut off, tangled or refused is no conclusion", async () => {
  for (const reply of [cutOff("It is"), "<summary>s2</summary>", "", [modelError("refused")], [say("It is 42.")]]) {
    const { layer } = scripted(summed("s1"), reply)
    const { outcome, state } = await solved("q", layer, { ...v1, limits: { iterations: 1 }, conclude: "force" })
    assert.deepEqual(outcome, { _tag: "Exhausted", limit: "iterations", conclusion: null })
    assert.deepEqual(state.summaries, ["s1"])
  }
})

test("conclude: it comes on top of any limit, and once", async () => {
  const usage = { inputTokens: 10, outputTokens: 50 }
  for (const limits of [{ tokens: 50 }, { cost: { most: 0.001, input: 1, output: 20 } }]) {
    const { layer, requests } = scripted([say(summed("s1")), finish("stop", usage)], "It is 42.")
    const { outcome, state } = await solved("q", layer, { ...v1, limits, conclude: "force" })
    assert.deepEqual(outcome, { _tag: "Exhausted", limit: Object.keys(limits)[0], conclusion: "It is 42." })
    assert.deepEqual([requests.length, requests[1]!.maxTokens, state.meter.requests], [2, 8192, 2])
  }
})

test("conclude: after the time is over, too", async () => {
  const { layer } = slow(say("It is 42."), finish("stop"))
  const run = Reasoner.solve("q", { ...v1, limits: { time: 1500 }, conclude: "force" })
  const { outcome } = await inSeconds(Effect.provide(run, layer), 10)
  assert.deepEqual(outcome, { _tag: "Exhausted", limit: "time", conclusion: "It is 42." })
})

test("conclude: a state that was exhausted before is concluded when it is asked for", async () => {
  const { layer } = scripted(summed("s1"), "It is 42.")
  const run = Effect.gen(function* () {
    const limits = { iterations: 1 }
    const { state } = yield* Reasoner.solve("q", { ...v1, limits })
    const forced = yield* Reasoner.solve(state, { ...v1, limits, conclude: "force" })
    const again = yield* Reasoner.solve(forced.state, { ...v1, limits, conclude: "force" })
    assert.deepEqual([again.outcome, again.state.meter], [forced.outcome, forced.state.meter])
    return forced.conclusion
  })
  assert.equal(await Effect.runPromise(Effect.provide(run, layer)), "It is 42.")
})

// Carry

const carried = async (carry: State.Carry): Promise<ReadonlyArray<string | null>> => {
  const { layer } = scripted(summed("s1", "a b c d e f"), summed("s2", "g h i j k l"), thinking("So.", "Done."))
  const events = await eventsOf("q", layer, { ...v1, tokenizer, carry })
  return events.flatMap((event) => event._tag === "IterationStarted" ? [event.history] : [])
}

test("carry: the last summary, all of them, the last tokens, or both", async () => {
  assert.deepEqual(await carried({ _tag: "replace" }), [null, "s1", "s2"])
  assert.deepEqual(await carried({ _tag: "accumulate" }), [null, "s1", "s1\n\ns2"])
  assert.deepEqual(await carried({ _tag: "tail", tokens: 3, summary: false }), [null, "d e f", "j k l"])
  assert.deepEqual(await carried({ _tag: "tail", tokens: 3, summary: true }), [null, "s1\n\nd e f", "s2\n\nj k l"])
})

test("carry: it may change on the way", async () => {
  const { layer, requests } = scripted(summed("s1"), summed("s2"), thinking("So.", "Done."))
  const limits = { iterations: 2 }
  const run = Effect.gen(function* () {
    const { state } = yield* Reasoner.solve("q", { ...v1, limits, carry: { _tag: "accumulate" } })
    return yield* Reasoner.solve(state, { ...v1, carry: { _tag: "replace" } })
  })
  await Effect.runPromise(Effect.provide(run, layer))
  assert.equal(requests[2]!.prefix, "<history>s2</history>")
})

test("carry: a tail needs no summary", async () => {
  const { layer, requests } = scripted(cutOff("<think>\na b c d e f"), thinking("So.", "Done."))
  const carry: State.Carry = { _tag: "tail", tokens: 2, summary: false }
  const events = await eventsOf("q", layer, { ...v1, tokenizer, carry, repairs: ["summarize"] })
  assert.equal(requests.length, 2)
  assert.equal(requests[1]!.prefix, "<history>e f</history>")
  assert.deepEqual(iterationsOf(events)[0]!.output, { reasoning: "a b c d e f", ending: { _tag: "Summary", text: "" } })
})

test("carry: tags in what is carried on are harmless, and the output is as it was written", async () => {
  const { layer, requests } = scripted(summed("a </history> b <|im_end|>"), thinking("So.", "Done."))
  const events = await eventsOf("q", layer, v1)
  assert.equal(requests[1]!.prefix, "<history>a ‹/history> b ‹|im_end|></history>")
  assert.deepEqual(iterationsOf(events)[0]!.output!.ending, { _tag: "Summary", text: "a </history> b <|im_end|>" })
})

// Guided

const paragraphs = (count: number, words: number): string =>
  Array.from({ length: count }, (_, i) => `Step ${i} has ${"so ".repeat(words - 4)}it.`).join("\n\n")

const guided = (options: Partial<Reasoner.CommonOptions> = {}): Reasoner.Options => ({
  eta: 100,
  gamma: 20,
  tokenizer,
  guide: {},
  ...options
})

/** A reasoning model's answer, its reasoning beside the content, in parts of some code units. */
const reasoned = (reasoning: string, conclusion: string, size = 7): TextModel.Reply => [
  ...Array.from({ length: Math.ceil(reasoning.length / size) }, (_, i): TextModel.Part => ({
    _tag: "Reasoning",
    text: reasoning.slice(i * size, (i + 1) * size)
  })),
  say(conclusion),
  finish("stop")
]

test("guided: reasoning is cut at a step, summarized as far as it was kept, and gone on with", async () => {
  const text = paragraphs(12, 10)
  const { layer, requests } = scripted(reasoned(text, "never read"), "* eight steps", reasoned("So.", "Done."))
  const { counts, layer: counted } = counting(layer)
  const events = await eventsOf("What of it?", counted, guided())
  const kept = `${paragraphs(8, 10)}\n\n`
  const cut = events.find((event) => event._tag === "Cut")!
  assert.equal(cut.rank, rank.step)
  assert.ok(cut.dropped.length > 0 && cut.dropped.length < 40)
  assert.equal(kept + cut.dropped, text.slice(0, kept.length + cut.dropped.length))
  const [first] = iterationsOf(events)
  assert.deepEqual(first!.output, { reasoning: kept, ending: { _tag: "Summary", text: "* eight steps" } })
  assert.deepEqual(first!.repairs, [])
  assert.equal(textOf(events.slice(0, events.indexOf(first!)), "reasoning"), kept)
  assert.equal(textOf(events.slice(0, events.indexOf(first!)), "summary"), "* eight steps")
  // The first request asks for at most eta tokens; the second one sees what was kept.
  assert.equal(requests[0]!.maxTokens, 100)
  assert.equal(requests[1]!.messages[1]!.content, kept)
  assert.match(requests[2]!.messages.at(-1)!.content, /<history>\n\* eight steps\n<\/history>$/)
  assert.deepEqual(outcomeOf(events), { _tag: "Concluded", conclusion: "Done." })
  assert.deepEqual(counts, { opened: 3, closed: 3, most: 1 })
  // What was dropped was written, and is counted.
  const summary = count("* eight steps")
  assert.equal(first!.meter.outputTokens, count(kept + cut.dropped) + summary)
  assert.equal(first!.estimated, true)
})

test("guided: the model's stream is closed before the summary is asked for", async () => {
  const log: Array<string> = []
  const generate = (request: TextModel.Request): Stream.Stream<TextModel.Part> => {
    const name = request.messages.at(-1)!.content.includes("Write this summary") ? "summary" : "reasoning"
    const parts: ReadonlyArray<TextModel.Part> = name === "summary"
      ? [say("* s"), finish("stop")]
      : [...everyCodeUnit(thinking(paragraphs(12, 10), "Done.")).map(say), finish("stop")]
    return Stream.fromIterable(parts).pipe(
      Stream.onStart(Effect.sync(() => log.push(`${name} opened`))),
      Stream.ensuring(Effect.sync(() => log.push(`${name} closed`)))
    )
  }
  const layer = Layer.succeed(TextModel.TextModel, { name: "log", generate })
  const state = Reasoner.begin("q", guided())
  await observed(Reasoner.step(state, guided()), layer)
  assert.deepEqual(log, ["reasoning opened", "reasoning closed", "summary opened", "summary closed"])
})

test("guided: all that came at once behind the cut is dropped, shown and counted", async () => {
  const text = paragraphs(12, 10)
  const parts: ReadonlyArray<TextModel.Part> = [
    say("<think>\n"),
    ...text.split(/(?<=\n\n)/).map(say),
    say("\n</think>"),
    say("Done."),
    finish("stop", { inputTokens: 30, outputTokens: 160 })
  ]
  const generate = (request: TextModel.Request): Stream.Stream<TextModel.Part> =>
    request.messages.length > 2 ? Stream.make(say("* s"), finish("stop")) : Stream.fromArray(parts)
  const layer = Layer.succeed(TextModel.TextModel, { name: "chunks", generate })
  const { events } = await observed(Reasoner.step(Reasoner.begin("q", guided()), guided()), layer)
  const kept = `${paragraphs(8, 10)}\n\n`
  const cut = events.find((event) => event._tag === "Cut")!
  assert.equal(textOf(events, "reasoning"), kept)
  assert.equal(kept + cut.dropped, `${text}Done.`)
  const [first] = iterationsOf(events)
  assert.equal(first!.output!.reasoning, kept)
  assert.equal(first!.meter.outputTokens, 160 + 2, "the server's figure came with what was dropped")
})

test("guided: from 0.95 eta a sentence ends it, and at eta it ends where it stands", async () => {
  const cutOf = async (text: string) => {
    const { layer } = scripted([say(thinking(text, "Done.")), finish("stop")], "* s")
    const { events } = await observed(Reasoner.step(Reasoner.begin("q", guided()), guided()), layer)
    const [first] = iterationsOf(events)
    const cut = events.find((event) => event._tag === "Cut")
    return [count(first!.output!.reasoning), cut?.rank]
  }
  assert.deepEqual(await cutOf(`${"so ".repeat(96)}it. ${"So ".repeat(40)}`), [97, rank.sentence])
  assert.deepEqual(await cutOf("so ".repeat(140)), [100, rank.word])
  assert.deepEqual(await cutOf(`${"so ".repeat(60)}it.\n\n${"So ".repeat(10)}`), [71, undefined])
})

test("guided: reasoning that ends by itself concludes, beside the content or in it", async () => {
  const text = paragraphs(5, 10)
  for (const reply of [reasoned(text, "Done."), thinking(text, "Done.")]) {
    const events = await eventsOf("q", scripted(reply).layer, guided())
    assert.deepEqual(outcomeOf(events), { _tag: "Concluded", conclusion: "Done." })
    assert.ok(!tagsOf(events).includes("Cut"))
    assert.equal(iterationsOf(events)[0]!.output!.reasoning, text)
  }
})

test("guided: a server that counts more tokens and stops first has cut the reasoning where it stands", async () => {
  const { layer } = scripted(cutOff(`<think>\n${paragraphs(4, 10)}\n\nStep`), "* four steps", thinking("So.", "Done."))
  const events = await eventsOf("q", layer, guided())
  assert.deepEqual(repairsOf(events), [])
  assert.equal(iterationsOf(events)[0]!.output!.reasoning, `${paragraphs(4, 10)}\n\nStep`)
  const cut = events.find((event) => event._tag === "Cut")!
  assert.deepEqual([cut.rank, cut.dropped], [rank.inside, ""])
})

test("guided: a conclusion that is cut off is gone on with", async () => {
  const { layer, requests } = scripted(cutOff(thinking("So.", "It is")), " 42.")
  const events = await eventsOf("q", layer, guided())
  assert.deepEqual(repairsOf(events), ["truncated: continue"])
  assert.equal(requests[1]!.prefix, thinking("So.", "It is"))
  assert.deepEqual(outcomeOf(events), { _tag: "Concluded", conclusion: "It is 42." })
})

test("guided: a summary that fails is not tried a second time as a repair", async () => {
  const { layer } = scripted(reasoned(paragraphs(12, 10), ""), reasoned("So.", "Done."))
  const { summarizer, sources } = summarizerWith(() => "")
  const events = await eventsOf("q", layer, guided({ summarizer, tries: 2 }))
  assert.equal(sources.length, 2)
  assert.deepEqual(repairsOf(events), ["malformed: sample"])
})

test("guided: the model may reason before it summarizes", async () => {
  const { layer, requests } = scripted(reasoned(paragraphs(12, 10), ""), thinking("Let me see.", "* s"), "Done.")
  const events = await eventsOf("q", layer, guided())
  assert.equal(requests[1]!.maxTokens, 100)
  assert.deepEqual(iterationsOf(events)[0]!.output!.ending, { _tag: "Summary", text: "* s" })
})

// What is spent

test("meter: the server's figures, for each iteration and in all", async () => {
  const { layer } = scripted(
    [say(summed("s1")), finish("stop", { inputTokens: 200, outputTokens: 4596 })],
    [say(summed("s2")), finish("stop", { inputTokens: 700, outputTokens: 4596 })],
    [say(thinking("So.", "Done.")), finish("stop", { inputTokens: 700, outputTokens: 4596 })]
  )
  const events = await eventsOf("q", layer, v1)
  assert.deepEqual(iterationsOf(events).map(({ meter, estimated }) => [meter.peak, estimated]), [
    [4796, false],
    [5296, false],
    [5296, false]
  ])
  const { meter } = iterationsOf(events).at(-1)!.state
  assert.deepEqual(meter, {
    requests: 3,
    inputTokens: 1600,
    outputTokens: 13_788,
    area: 4596 * 1600 + 3 * 4596 * 4597 / 2,
    peak: 5296
  })
})

test("meter: in one go, there are no summaries, no histories and nothing that was thrown away", async () => {
  const { layer } = scripted("", summed("s1 s1 s1", "a b c d e"), thinking("f g h", "i j"))
  const { state } = await solved("q", layer, { ...v1, tokenizer })
  assert.equal(state.vanilla.inputTokens, count("User:qAssistant:"))
  assert.equal(state.vanilla.outputTokens, 5 + 3 + 2)
  // A server that counts twice as many tokens has them count twice.
  const twice = [summed("s1 s1 s1", "a b c d e"), thinking("f g h", "i j")].map((text): TextModel.Reply => [
    say(text),
    finish("stop", { inputTokens: 1, outputTokens: 2 * count(text) })
  ])
  const scaled = await solved("q", scripted(...twice).layer, { ...v1, tokenizer })
  assert.equal(scaled.state.vanilla.outputTokens, 20)
})

test("meter: without a server's figures, tokens are an estimate, and within what was asked for", async () => {
  const { layer } = scripted(cutOff(`<think>\n${"long ".repeat(100)}`), cutOff("x".repeat(1000)))
  const { state } = await solved("q", layer, { ...v1, eta: 50, gamma: 10, repairs: ["continue"] })
  assert.deepEqual([state.meter.requests, state.meter.outputTokens], [2, 60])
})

test("started: the tokens of the prompt", async () => {
  const [started] = await eventsOf("What of it?", scripted(thinking("So.", "Done.")).layer, { ...v1, tokenizer })
  assert.deepEqual(started, {
    _tag: "IterationStarted",
    index: 1,
    history: null,
    promptTokens: count("User:What of it?Assistant:")
  })
})

// Steps

test("step: it runs exactly one iteration", async () => {
  const { layer, requests } = scripted(summed("s1"), thinking("So.", "Done."))
  const run = Effect.gen(function* () {
    const collect = (state: State.State) => Stream.runCollect(Reasoner.step(state, v1))
    const first = yield* collect(Reasoner.begin("q", v1))
    assert.deepEqual([tagsOf(first).at(-1), requests.length], ["IterationEnded", 1])
    const second = yield* collect(iterationsOf(first)[0]!.state)
    assert.deepEqual(tagsOf(second).slice(-2), ["IterationEnded", "TrajectoryEnded"])
    const { state } = iterationsOf(second)[0]!
    const third = yield* collect(state)
    assert.deepEqual(third, [{ _tag: "TrajectoryEnded", outcome: state.outcome, state }])
    assert.equal(requests.length, 2)
  })
  await Effect.runPromise(Effect.provide(run, layer))
})

test("step: options that are given hold, and the state remembers them", async () => {
  const { layer, requests } = scripted(summed("s1"), thinking("So.", "Done."))
  const run = Effect.gen(function* () {
    const state = Reasoner.begin("q", { ...v1, eta: 1000, gamma: 100 })
    const [first] = iterationsOf(yield* Stream.runCollect(Reasoner.step(state)))
    const [second] = iterationsOf(
      yield* Stream.runCollect(Reasoner.step(first!.state, { eta: 500, carry: { _tag: "accumulate" } }))
    )
    return second!.state.settings
  })
  const settings = await Effect.runPromise(Effect.provide(run, layer))
  assert.deepEqual(requests.map(({ maxTokens }) => maxTokens), [1000, 500])
  assert.deepEqual(settings, { dialect: "v1", eta: 500, gamma: 100, carry: { _tag: "accumulate" }, guide: null })
})

test("retag: reasoning whose opening tag was missing is reasoning", async () => {
  const events = await eventsOf("q", scripted("So.\n</think>Done.").layer, v1)
  assert.ok(tagsOf(events).includes("Retag"))
  assert.deepEqual(iterationsOf(events)[0]!.output, { reasoning: "So.", ending: { _tag: "Conclusion", text: "Done." } })
})

// Faults

test("errors: a server that fails is an error, with the last good state to go on from", async () => {
  for (const reason of ["failed", "unreachable", "rate-limited", "unauthorized", "refused"] as const) {
    const { layer, requests } = scripted(
      [say(summed("s1")), finish("stop", { inputTokens: 10, outputTokens: 20 })],
      [say("<think>\nTwo"), modelError(reason)],
      thinking("So.", "Done.")
    )
    const run = Effect.gen(function* () {
      const error = yield* Effect.flip(Reasoner.solve("q", v1))
      assert.ok(error instanceof Reasoner.ReasonerError)
      assert.equal(error.message, `Cannot reason: Cannot complete a request: ${reason}`)
      assert.equal(error.cause.reason, reason)
      assert.deepEqual([error.state.index, error.state.summaries, error.state.outcome], [1, ["s1"], null])
      assert.ok(error.state.meter.outputTokens > 20, "what came before the error is counted")
      return yield* Reasoner.solve(Result.getOrThrow(State.parse(State.render(error.state))), v1)
    })
    const { outcome, state } = await Effect.runPromise(Effect.provide(run, layer))
    assert.deepEqual([outcome._tag, state.index], ["Concluded", 2])
    assert.equal(requests[2]!.prefix, "<history>s1</history>")
  }
})

test("errors: an answer that keeps breaking off is one, once the repairs are used up", async () => {
  for (const broken of [[say("<think>\nOne")], [modelError("interrupted")]]) {
    const { layer } = scripted(summed("s1"), broken)
    const { events, error } = await observed(Reasoner.reason("q", { ...v1, repairs: ["sample"] }), layer)
    assert.deepEqual(repairsOf(events), ["interrupted: sample"])
    assert.equal(error!.cause.reason, "interrupted")
    assert.deepEqual(error!.state.summaries, ["s1"])
  }
})

test("errors: one of the summarizer's, too", async () => {
  const { layer } = scripted(summed("s1"), cutOff("<think>\nTwo"))
  const { summarizer } = summarizerWith(() => modelError("failed"))
  const { error } = await observed(Reasoner.reason("q", { ...v1, summarizer, repairs: ["summarize"] }), layer)
  assert.deepEqual([error!.cause.reason, error!.state.index, error!.state.summaries], ["failed", 1, ["s1"]])
})

test("step: a guide that the state remembers takes a tokenizer, and cuts again", async () => {
  const state = { ...Reasoner.begin("Q?", { tokenizer, guide: {}, eta: 10 }) }
  assert.deepEqual(state.settings.guide, { from: 0.8, late: 0.95 })
  assert.throws(() => Reasoner.step(state), { name: "RangeError", message: /takes a tokenizer/ })
  const { layer } = scripted(
    "<think>\nOne two three.\n\nFour five six seven eight.\n\nNine ten eleven twelve.\n\nMore.",
    "* so far"
  )
  const events = await Effect.runPromise(Effect.provide(Stream.runCollect(Reasoner.step(state, { tokenizer })), layer))
  assert.equal(events.filter(({ _tag }) => _tag === "Cut").length, 1)
})

test("errors: a bad option or question is a RangeError, before anything is asked", () => {
  const state = Reasoner.begin("q", v1)
  const tail: State.Carry = { _tag: "tail", tokens: 4, summary: false }
  const throws = (message: RegExp, ...from: Parameters<typeof Reasoner.reason>): void => {
    assert.throws(() => Reasoner.reason(...from), message)
    assert.throws(() => Reasoner.solve(...from), message)
  }
  for (const eta of [3, 4.5, NaN]) throws(/^RangeError: Cannot reason: eta is /, "q", { eta })
  throws(/^RangeError: Cannot reason: gamma is 0, and must be an integer of at least 4/, "q", { gamma: 0 })
  throws(/^RangeError: Cannot reason: tries is 0/, "q", { tries: 0 })
  throws(/^RangeError: Cannot cut: from is 0.9 and late is 0.8/, "q", { tokenizer, guide: { from: 0.9, late: 0.8 } })
  throws(/^RangeError: Cannot reason: the tail is 0/, "q", { tokenizer, carry: { ...tail, tokens: 0 } })
  throws(/a tail is carried on, and takes a tokenizer/, { ...state, settings: { ...state.settings, carry: tail } }, {})
  throws(/^RangeError: Cannot go on in dialect plus: the state is of dialect v1/, state, { dialect: Dialect.plus })
  throws(/^RangeError: Cannot go on in dialect mine/, { ...state, settings: { ...state.settings, dialect: "mine" } })
  throws(/wanders of the rule against stagnation is NaN/, "q", { stagnation: { wanders: NaN } })
  throws(/the last message of the question must be the user's/, [])
  throws(/the last message of the question must be the user's/, [{ role: "assistant", content: "So" }])
})
