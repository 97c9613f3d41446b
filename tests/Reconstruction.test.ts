import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Rejection from "../lib/core/Rejection.ts"
import type { Sample } from "../lib/core/Sample.ts"
import * as Segmenter from "../lib/core/Segmenter.ts"
import type { Source } from "../lib/core/Summary.ts"
import * as Reconstruction from "../lib/Reconstruction.ts"
import type * as Summarizer from "../lib/Summarizer.ts"
import type { ModelError } from "../lib/TextModel.ts"
import type { Tokenizer } from "../lib/Tokenizer.ts"
import { modelError, summarizerOf, wordTokenizer } from "./support/model.ts"
import { law, reasoning } from "./support/text.ts"

type Rows = ReadonlyArray<Result.Result<Reconstruction.Row, Rejection.Rejection>>

const sampleOf = (id: string, reasoning: string): Sample => ({
  id,
  question: `What of ${id}?`,
  reasoning,
  conclusion: `\n\nThe conclusion of ${id}.`,
  origin: { file: "samples.jsonl", line: 7 }
})

/** A sample of several steps, each of four words. */
const steps = (id: string, count: number): Sample =>
  sampleOf(id, Array.from({ length: count }, (_, i) => `Step ${i} of ${id}.`).join("\n\n"))

const summarizer = summarizerOf(({ history, segments }) => `after ${history ?? "nothing"}: ${segments.join("|")}`)

const runWith =
  (layer: Layer.Layer<Summarizer.Summarizer>) =>
  <A, E>(effect: Effect.Effect<A, E, Tokenizer | Summarizer.Summarizer>): Promise<A> =>
    Effect.runPromise(Effect.provide(effect, [layer, wordTokenizer]))

const reconstructed = (
  options: Reconstruction.StreamOptions,
  samples: ReadonlyArray<Sample>,
  layer: Layer.Layer<Summarizer.Summarizer> = summarizer
): Promise<Rows> =>
  Stream.fromIterable(samples.map((sample) => Result.succeed(sample))).pipe(
    Reconstruction.reconstruct(options),
    Stream.runCollect,
    runWith(layer)
  )

const trajectory = async (
  options: Reconstruction.Options,
  sample: Sample,
  layer: Layer.Layer<Summarizer.Summarizer> = summarizer
): Promise<Reconstruction.Reconstruction> => {
  const made = await runWith(layer)(Reconstruction.trajectory(options)(sample))
  if (Result.isFailure(made)) throw new Error(made.failure.detail)
  return made.success
}

const rejection = async (
  options: Reconstruction.Options,
  sample: Sample,
  layer: Layer.Layer<Summarizer.Summarizer> = summarizer
): Promise<Rejection.Rejection> => {
  const made = await runWith(layer)(Reconstruction.trajectory(options)(sample))
  if (Result.isSuccess(made)) throw new Error("not rejected")
  return made.failure
}

const successes = (rows: Rows): ReadonlyArray<Reconstruction.Row> =>
  rows.filter(Result.isSuccess).map((row) => row.success)

const large = { gamma: 1_000_000 }

const lawOfTrajectories = (
  name: string,
  check: (trajectory: Reconstruction.Reconstruction, sample: Sample, eta: number) => void
): void => {
  test(name, () =>
    fc.assert(
      fc.asyncProperty(reasoning, fc.integer({ min: 4, max: 60 }), async (text, eta) => {
        const sample = sampleOf("x", text)
        check(await trajectory({ eta, ...large }, sample), sample, eta)
      }),
      { numRuns: 100 }
    ))
}

lawOfTrajectories("chain: the history of an iteration is the summary of its predecessor", ({ iterations }) => {
  assert.equal(iterations[0]!.history, undefined)
  for (let i = 1; i < iterations.length; i++) {
    assert.deepEqual(iterations[i - 1]!.output.ending, { _tag: "Summary", text: iterations[i]!.history })
  }
})

lawOfTrajectories(
  "ending: only the last iteration concludes, with the sample's conclusion",
  ({ iterations }, sample) => {
    iterations.slice(0, -1).forEach(({ output }) => assert.equal(output.ending._tag, "Summary"))
    assert.deepEqual(iterations.at(-1)!.output.ending, { _tag: "Conclusion", text: sample.conclusion })
  }
)

lawOfTrajectories(
  "losslessness: joined, the reasonings are the reasoning but for newlines",
  ({ iterations }, sample) => {
    const joined = iterations.map(({ output }) => output.reasoning).join("")
    // A segment of white space alone makes no iteration.
    const withoutSpace = (text: string): string => text.replace(/\s/g, "")
    assert.equal(withoutSpace(joined), withoutSpace(sample.reasoning))
  }
)

lawOfTrajectories("bound: no reasoning exceeds eta", ({ iterations }, _, eta) => {
  for (const { output } of iterations) assert.ok((output.reasoning.match(/\S+/g)?.length ?? 0) <= eta)
})

test("sight: the summarizer sees the segment and the summary before, and nothing later", async () => {
  const sources: Array<Source> = []
  const layer = summarizerOf((source) => {
    sources.push(source)
    return `s${sources.length}`
  })
  await trajectory({ eta: 4 }, steps("a", 4), layer)
  assert.deepEqual(sources.map(({ history, segments }) => ({ history, segments })), [
    { history: undefined, segments: ["Step 0 of a."] },
    { history: "s1", segments: ["Step 1 of a."] },
    { history: "s2", segments: ["Step 2 of a."] }
  ])
})

test("sight: cumulative summaries are made of all segments so far, and of no history", async () => {
  const sources: Array<Source> = []
  const layer = summarizerOf((source) => {
    sources.push(source)
    return `s${sources.length}`
  })
  const { iterations } = await trajectory({ eta: 4, summaries: "cumulative" }, steps("a", 3), layer)
  assert.deepEqual(sources.map(({ history, segments }) => ({ history, segments })), [
    { history: undefined, segments: ["Step 0 of a."] },
    { history: undefined, segments: ["Step 0 of a.", "Step 1 of a."] }
  ])
  assert.deepEqual(iterations.map(({ history }) => history), [undefined, "s1", "s2"])
})

test("trajectory: what fits in one iteration takes no summary", async () => {
  const made = await trajectory({ eta: 100 }, steps("a", 4), summarizerOf(() => assert.fail("no summary is needed")))
  assert.equal(made.iterations.length, 1)
  assert.equal(made.model, null)
})

test("rows: an instance with all that says how it was made", async () => {
  const sample: Sample = { ...steps("a", 2), reference: "a is so" }
  const [first, second] = successes(await reconstructed({ eta: 4, gamma: 64 }, [sample]))
  const shared = {
    sample: "a",
    count: 2,
    question: [{ role: "user", content: "What of a?" }],
    messages: [{ role: "user", content: "What of a?" }],
    dialect: "v1",
    eta: 4,
    gamma: 64,
    tokenizer: "words",
    model: "test",
    summaries: "recurrent-1",
    replaced: 0,
    reference: "a is so"
  }
  assert.deepEqual(first, {
    ...shared,
    index: 1,
    prompt: "User:What of a?Assistant:",
    target: "<think>\nStep 0 of a.\n</think>\n<summary>\nafter nothing: Step 0 of a.\n</summary>",
    prefix: "",
    history: null,
    tokens: { prompt: 3, target: 14, reasoning: 4 }
  })
  assert.deepEqual(second, {
    ...shared,
    index: 2,
    prompt: "User:What of a?Assistant:<history>after nothing: Step 0 of a.</history>",
    target: "<think>\nStep 1 of a.\n</think>\n\nThe conclusion of a.",
    prefix: "<history>after nothing: Step 0 of a.</history>",
    history: "after nothing: Step 0 of a.",
    tokens: { prompt: 8, target: 10, reasoning: 4 }
  })
})

test("rows: the dialect and the packing are those of the options", async () => {
  const [row] = successes(await reconstructed({ eta: 12, dialect: Dialect.plus, packing: "even" }, [steps("a", 4)]))
  assert.equal(row!.prompt, "<|im_start|>user\nWhat of a?<|im_end|>\n<|im_start|>assistant\n")
  assert.equal(row!.dialect, "plus")
  assert.equal(row!.tokens.reasoning, 8)
  assert.equal(row!.reference, null)
})

test("tags: a sample that holds one is rejected, and the place is said", async () => {
  for (const part of ["question", "reasoning", "conclusion"] as const) {
    for (const tag of ["<think>", "</history>", "<|endoftext|>", "<｜User｜>"]) {
      assert.deepEqual(await rejection({ eta: 8 }, { ...steps("a", 1), [part]: `a ${tag} b` }), {
        _tag: "Rejection",
        reason: "tag-in-source",
        detail: `The ${part} holds ${tag}`,
        id: "a",
        file: "samples.jsonl",
        line: 7
      })
    }
  }
})

test("tags: with replace they are made harmless before the text is cut, and the rows say how many", async () => {
  const tagged: Sample = { ...steps("a", 2), question: "What is <think>?", conclusion: "It is </think>." }
  const layer = summarizerOf(({ question }) => `asked ${question} <summary>`)
  const rows = successes(await reconstructed({ eta: 4, tags: "replace" }, [tagged], layer))
  assert.equal(rows[0]!.prompt, "User:What is ‹think>?Assistant:")
  assert.equal(rows[1]!.history, "asked What is ‹think>? ‹summary>")
  assert.equal(rows[1]!.target, "<think>\nStep 1 of a.\n</think>It is ‹/think>.")
  assert.deepEqual(rows.map(({ replaced }) => replaced), [3, 3])
})

test("rejections: an empty conclusion, and a summary that never passes, with the sample's place", async () => {
  const empty = await rejection({ eta: 4 }, { ...steps("a", 1), conclusion: " \n" })
  assert.deepEqual([empty.reason, empty.id, empty.file, empty.line], ["no-conclusion", "a", "samples.jsonl", 7])
  let written = 0
  const layer = summarizerOf(() => {
    written++
    return "one two three"
  })
  const long = await rejection({ eta: 4, gamma: 2, tries: 5 }, steps("a", 3), layer)
  assert.deepEqual([long.reason, long.id, long.file, long.line], ["summary-too-long", "a", "samples.jsonl", 7])
  assert.equal(written, 5)
})

test("rejections: a question that the model's template refuses is rejected before a summary is asked for", async () => {
  const template: Dialect.Template = (messages) => {
    if (messages.some(({ role }) => role === "system")) throw new Error("Cannot render: no system, please")
    return Dialect.chatMl(messages)
  }
  const asked: Array<Source> = []
  const layer = summarizerOf((source) => {
    asked.push(source)
    return "s"
  })
  const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "What of a?" }] as const
  const dialect = { ...Dialect.plus, template }
  const refused = await rejection({ eta: 4, dialect }, { ...steps("a", 2), question: messages }, layer)
  assert.deepEqual([refused.reason, refused.detail, refused.line], [
    "template-refused",
    "Cannot render: no system, please",
    7
  ])
  assert.equal(asked.length, 0)
  assert.equal((await trajectory({ eta: 4, dialect }, steps("a", 2), layer)).iterations.length, 2)
})

test("rejections: one bad sample stops nothing, yields no row, and keeps its place", async () => {
  const layer = summarizerOf(({ question }) => question === "What of b?" ? "" : "s")
  const rows = await reconstructed({ eta: 4 }, [steps("a", 2), steps("b", 3), steps("c", 2)], layer)
  assert.deepEqual(
    rows.map((row) => Result.isSuccess(row) ? `${row.success.sample}${row.success.index}` : row.failure.id),
    ["a1", "a2", "b", "c1", "c2"]
  )
})

test("rejections: what was rejected before passes through, in its place", async () => {
  const bad = Rejection.make("invalid-json", "It is no JSON", { file: "samples.jsonl", line: 2 })
  const rows = await Stream.make(Result.succeed(steps("a", 1)), Result.fail(bad), Result.succeed(steps("c", 1))).pipe(
    Reconstruction.reconstruct({ eta: 8 }),
    Stream.runCollect,
    runWith(summarizer)
  )
  assert.equal(rows.length, 3)
  assert.deepEqual(rows[1], Result.fail(bad))
})

test("errors: a server that fails fails the stream, behind the rows that were done", async () => {
  const layer = summarizerOf(({ question }) => question === "What of b?" ? Effect.fail(modelError("failed")) : "s")
  const seen: Array<string> = []
  const exit = await Stream.fromIterable([steps("a", 2), steps("b", 2)].map((sample) => Result.succeed(sample))).pipe(
    Reconstruction.reconstruct({ eta: 4, concurrency: 1, window: 1 }),
    Stream.runForEach((row) => Effect.sync(() => seen.push(Result.isSuccess(row) ? row.success.sample : "rejected"))),
    Effect.exit,
    runWith(layer)
  )
  assert.deepEqual(exit, Exit.fail(modelError("failed")))
  assert.deepEqual(seen, ["a", "a"])
})

test("order: rows come in the order of the samples, whichever is done first", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat({ max: 5 }), { maxLength: 12 }),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 0, max: 5 }),
      async (delays, concurrency, more) => {
        const layer = summarizerOf(({ question }) =>
          Effect.as(yields(delays[Number(/\d+/.exec(String(question))![0])]!), "s")
        )
        const samples = delays.map((_, i) => steps(String(i), 2))
        const rows = await reconstructed({ eta: 4, concurrency, window: concurrency + more }, samples, layer)
        assert.deepEqual(
          successes(rows).map(({ sample, index }) => [sample, index]),
          samples.flatMap(({ id }) => [[id, 1], [id, 2]])
        )
      }
    ),
    { numRuns: 50 }
  ))

test("window: behind a slow sample, work goes on until the window is full, and then reading waits", async () => {
  let read = 0
  let atWork = 0
  let mostAtWork = 0
  const done: Array<string> = []
  const written: Array<string> = []
  const program = Effect.gen(function* () {
    const release = yield* Deferred.make<void>()
    const layer = summarizerOf(({ question }) =>
      Effect.gen(function* () {
        mostAtWork = Math.max(mostAtWork, ++atWork)
        if (question === "What of 0?") yield* Deferred.await(release)
        else yield* yields(3)
        atWork--
        done.push(String(question))
        return "s"
      })
    )
    const samples = Stream.range(0, 99).pipe(
      Stream.rechunk(1),
      Stream.map((i) => {
        read++
        return Result.succeed(steps(String(i), 2))
      })
    )
    const running = yield* samples.pipe(
      Reconstruction.reconstruct({ eta: 4, concurrency: 3, window: 10 }),
      Stream.runForEach((row) => Effect.sync(() => written.push(Result.isSuccess(row) ? row.success.sample : ""))),
      Effect.provide([layer, wordTokenizer]),
      Effect.forkChild
    )
    yield* yields(2000)
    assert.deepEqual(written, [])
    assert.equal(done.length, 9)
    // One more may have been read, and waits for room.
    assert.ok(read <= 11, `${read} samples were read`)
    yield* Deferred.succeed(release, undefined)
    yield* Fiber.join(running)
  })
  await Effect.runPromise(program)
  assert.equal(mostAtWork, 3)
  assert.deepEqual(written, Array.from({ length: 100 }, (_, i) => [String(i), String(i)]).flat())
})

/** A sample as `reconstruct` segments it, with eta 4. */
const segmented = (sample: Sample): Result.Result<Reconstruction.Segmented, Rejection.Rejection> => {
  const made = Reconstruction.segment({ eta: 4 })(sample, words)
  return Rejection.isRejection(made) ? Result.fail(made) : Result.succeed(made)
}

const lengthOf = (segmented: Result.Result<Reconstruction.Segmented, Rejection.Rejection>): number =>
  Result.isFailure(segmented) ? 0 : segmented.success.reasonings.join("").length

const words = { count: (part: string): number => part.match(/\S+/g)?.length ?? 0, additive: true }

test("held: no more text is held than there is room for, but for a sample that alone has more", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 8 }), fc.nat({ max: 5 })), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 300 }),
      fc.constantFrom("samples", "segmented"),
      async (shapes, held, input) => {
        const sizes = new Map<string, number>()
        let most = 0
        const samples = shapes.map(([count], i) => steps(String(i), count))
        const layer = summarizerOf(({ question }) =>
          Effect.gen(function* () {
            const id = String(question)
            const sample = samples.find(({ question }) => question === id)!
            // The newlines between segments are not held where these come without their sample.
            sizes.set(id, input === "samples" ? sample.reasoning.length : lengthOf(segmented(sample)))
            const sum = [...sizes.values()].reduce((sum, size) => sum + size, 0)
            if (sizes.size > 1) most = Math.max(most, sum)
            yield* yields(shapes[Number(/\d+/.exec(id)![0])]![1])
            return "s"
          })
        )
        const written: Array<string> = []
        const options = { eta: 4, concurrency: 5, window: 20, held }
        const rows = input === "samples"
          ? Reconstruction.reconstruct(options)(Stream.fromIterable(samples.map(Result.succeed)))
          : Reconstruction.reconstructSegmented(options)(Stream.fromIterable(samples.map(segmented)))
        await rows.pipe(
          Stream.runForEach((row) =>
            Effect.sync(() => {
              const { sample } = successes([row])[0]!
              sizes.delete(`What of ${sample}?`)
              if (written.at(-1) !== sample) written.push(sample)
            })
          ),
          runWith(layer)
        )
        assert.deepEqual(written, samples.map(({ id }) => id))
        assert.ok(most <= held, `${most} of ${held} were held`)
      }
    ),
    { numRuns: 50 }
  ))

test("failures: with reject, what fails for one request rejects its sample, and what concerns them all fails", async () => {
  const failing = (reason: ModelError["reason"]) =>
    summarizerOf(({ question }) => question === "What of b?" ? Effect.fail(modelError(reason)) : "s")
  const samples = [steps("a", 2), steps("b", 3), steps("c", 1)]
  const options = { eta: 4, failures: "reject" } as const
  for (const reason of ["unreachable", "rate-limited", "failed", "interrupted"] as const) {
    const rows = await reconstructed({ ...options, tries: 1 }, samples, failing(reason))
    assert.deepEqual(successes(rows).map(({ sample }) => sample), ["a", "a", "c"])
    const { message: detail } = modelError(reason)
    assert.deepEqual(rows[2], Result.fail(Rejection.make("request-failed", detail, { id: "b", ...samples[1]!.origin })))
  }
  for (const reason of ["stopped", "unauthorized", "not-found"] as const) {
    await assert.rejects(reconstructed(options, samples, failing(reason)), { reason })
  }
})

test("options: a bad one is a RangeError that names it and the value, before anything runs", () => {
  for (
    const [options, message] of [
      [{ eta: 3 }, /eta is 3/],
      [{ eta: 4.5 }, /eta is 4\.5/],
      [{ eta: 8, gamma: 0 }, /gamma is 0/],
      [{ eta: 8, tries: 0 }, /tries is 0/],
      [{ eta: 8, concurrency: 0 }, /concurrency is 0/],
      [{ eta: 8, held: 0 }, /held is 0/],
      [{ eta: 8, concurrency: 4, window: 3 }, /window is 3, and must be an integer of at least 4/]
    ] as const
  ) {
    assert.throws(() => Reconstruction.reconstruct(options), { name: "RangeError", message })
    assert.throws(() => Reconstruction.reconstructSegmented(options), { name: "RangeError", message })
  }
})

test("reconstructSegmented: the rows of samples that were segmented elsewhere are those of reconstruct", async () => {
  const samples = [steps("a", 3), sampleOf("b", "<think>"), steps("c", 1), { ...steps("d", 9), reference: "42" }]
  const template = (messages: ReadonlyArray<{ readonly content: string }>): string => {
    if (messages[0]!.content === "What of c?") throw new Error("Not c")
    return "T:"
  }
  const options = { eta: 4, dialect: { ...Dialect.v1, template } }
  const rows = await Stream.fromIterable(samples.map(segmented)).pipe(
    Reconstruction.reconstructSegmented(options),
    Stream.runCollect,
    runWith(summarizer)
  )
  assert.deepEqual(rows, await reconstructed(options, samples))
  assert.deepEqual(rows.filter(Result.isFailure).map(({ failure }) => failure.reason), [
    "tag-in-source",
    "template-refused"
  ])
  assert.equal(successes(rows).length, 12)
})

law(
  "stages: segments, reasonings and rows are those of the stages used alone",
  reasoning,
  (text) => {
    const count = (part: string): number => part.match(/\S+/g)?.length ?? 0
    const segments = Segmenter.segment(text, { eta: 20, count, additive: true })
    const made = Effect.runSync(
      Effect.provide(Reconstruction.trajectory({ eta: 20, ...large })(sampleOf("x", text)), [summarizer, wordTokenizer])
    )
    const spoken = segments.filter((segment) => segment.text.trim() !== "")
    assert.equal(Result.isSuccess(made) && made.success.iterations.length, Math.max(1, spoken.length))
  }
)

const yields = (times: number): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let i = 0; i < times; i++) yield* Effect.yieldNow
  })
