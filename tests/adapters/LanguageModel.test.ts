import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as AiError from "effect/ai/AiError"
import * as Ai from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as LanguageModel from "../../lib/adapters/LanguageModel.ts"
import type * as Reasoner from "../../lib/Reasoner.ts"
import * as TextModel from "../../lib/TextModel.ts"
import { cutOff, modelError, scripted } from "../support/model.ts"

// ---- a provider as a TextModel

type Sent = ReadonlyArray<Response.StreamPartEncoded | AiError.AiError>

/** A provider that answers requests in turn, the last answer again and again, and remembers what it was asked. */
const provider = (...answers: ReadonlyArray<Sent>) => {
  const prompts: Array<ReadonlyArray<readonly [role: string, text: string]>> = []
  const layer = Layer.effect(
    Ai.LanguageModel,
    Ai.make({
      streamText: ({ prompt }) => {
        prompts.push(prompt.content.map(({ role, content }) => [role, textOf(content)]))
        return Stream.fromIterable(answers[Math.min(prompts.length, answers.length) - 1] ?? []).pipe(
          Stream.mapEffect((part) => AiError.isAiError(part) ? Effect.fail(part) : Effect.succeed(part))
        )
      },
      generateText: () => Effect.die("a TextModel streams")
    })
  )
  return { layer, prompts }
}

const textOf = (content: string | ReadonlyArray<Prompt.Part>): string =>
  typeof content === "string" ? content : content.map((part) => part.type === "text" ? part.text : "?").join("")

const text = (delta: string): Response.StreamPartEncoded => ({ type: "text-delta", id: "1", delta })
const reasoning = (delta: string): Response.StreamPartEncoded => ({ type: "reasoning-delta", id: "2", delta })
const finish = (
  reason: Response.FinishReason,
  usage: Response.FinishPartEncoded["usage"] = { inputTokens: {}, outputTokens: {} }
): Response.StreamPartEncoded => ({ type: "finish", reason, usage })

const question: TextModel.Request = { messages: [{ role: "user", content: "What is 6 × 7?" }] }

/** What a TextModel over a provider that sends this gives: its parts, and the error that is the end of them. */
const generate = async (
  sent: Sent,
  request = question,
  options: LanguageModel.TextModelOptions = {}
): Promise<ReadonlyArray<TextModel.Part | TextModel.ModelError>> => {
  const given: Array<TextModel.Part | TextModel.ModelError> = []
  const run = Effect.gen(function* () {
    const model = yield* TextModel.TextModel
    yield* Stream.runForEach(model.generate(request), (part) => Effect.sync(() => given.push(part))).pipe(
      Effect.catch((error) => Effect.sync(() => given.push(error)))
    )
  })
  const layer = Layer.provide(LanguageModel.layerTextModel(options), provider(sent).layer)
  await Effect.runPromise(Effect.provide(run, layer))
  return given
}

/** The error that is all there is. */
const failure = async (...sent: Sent): Promise<TextModel.ModelError> => {
  const [error, ...more] = await generate(sent)
  assert(error instanceof TextModel.ModelError)
  assert.deepEqual(more, [])
  return error
}

const aiError = (reason: AiError.AiErrorReason): AiError.AiError =>
  AiError.make({ module: "Fake", method: "streamText", reason })

test("a provider's text, reasoning, reason for the end and usage are a TextModel's", async () => {
  const usage = { inputTokens: { total: 10, cacheRead: 4 }, outputTokens: { total: 5, reasoning: 3 } }
  const sent: Sent = [
    { type: "response-metadata", id: "1" },
    { type: "reasoning-start", id: "2" },
    reasoning("6 "),
    reasoning(""),
    reasoning("× 7"),
    { type: "reasoning-end", id: "2" },
    { type: "text-start", id: "1" },
    text("42"),
    { type: "text-end", id: "1" },
    finish("stop", usage)
  ]
  assert.deepEqual(await generate(sent), [
    { _tag: "Reasoning", text: "6 " },
    { _tag: "Reasoning", text: "× 7" },
    { _tag: "Text", text: "42" },
    {
      _tag: "Finish",
      reason: "stop",
      usage: { inputTokens: 10, outputTokens: 5, reasoningTokens: 3, cachedTokens: 4 }
    }
  ])
})

test("figures that count nothing are no figures", async () => {
  const usageOf = async (usage: Response.FinishPartEncoded["usage"]) => {
    const [part] = await generate([finish("stop", usage)])
    assert(part?._tag === "Finish")
    return part.usage
  }
  assert.equal(await usageOf({ inputTokens: { total: -1 }, outputTokens: { total: 5 } }), undefined)
  assert.equal(await usageOf({ inputTokens: { total: 10 }, outputTokens: { total: -1 } }), undefined)
  assert.deepEqual(
    await usageOf({ inputTokens: { total: 10, cacheRead: -1 }, outputTokens: { total: 5, reasoning: -1 } }),
    { inputTokens: 10, outputTokens: 5 }
  )
})

test("reasons for the end are mapped", async () => {
  const reasons = {
    stop: ["stop"],
    length: ["length"],
    filter: ["content-filter"],
    other: ["tool-calls", "error", "pause", "other", "unknown"]
  } as const
  for (const [expected, said] of Object.entries(reasons)) {
    for (const reason of said) {
      assert.deepEqual(await generate([finish(reason)]), [{ _tag: "Finish", reason: expected }])
    }
  }
})

test("an answer without a reason for its end fails", async () => {
  for (const sent of [[], [text("42")]]) {
    const error = (await generate(sent)).at(-1)
    assert(error instanceof TextModel.ModelError)
    assert.equal(error.reason, "interrupted")
    assert.equal(
      error.message,
      "Cannot complete a request to language-model: the answer ended without a finish reason"
    )
  }
})

test("a provider's errors are mapped", async () => {
  const response = { response: { status: 404, headers: {} } }
  const network = new AiError.NetworkError({ reason: "TransportError", method: "POST", url: "http://localhost" })
  const invalid = new AiError.InvalidOutputError({ description: "cut" })
  const reasons: ReadonlyArray<readonly [AiError.AiErrorReason, first: string, later?: string]> = [
    [new AiError.RateLimitError({}), "rate-limited"],
    [new AiError.AuthenticationError({ kind: "InvalidKey" }), "unauthorized"],
    [new AiError.QuotaExhaustedError({}), "unauthorized"],
    [new AiError.InvalidRequestError({}), "refused"],
    [new AiError.ContentPolicyError({ description: "no" }), "refused"],
    [new AiError.InternalProviderError({ description: "no" }), "failed"],
    [new AiError.UnknownError({ http: response }), "not-found"],
    [new AiError.UnknownError({}), "failed"],
    [network, "unreachable", "interrupted"],
    [invalid, "failed", "interrupted"],
    [new AiError.InvalidResponseError({ description: "cut" }), "failed", "interrupted"]
  ]
  for (const [reason, first, later = first] of reasons) {
    assert.equal((await failure(aiError(reason))).reason, first, reason._tag)
    const [part, error] = await generate([text("4"), aiError(reason)])
    assert.deepEqual(part, { _tag: "Text", text: "4" })
    assert(error instanceof TextModel.ModelError)
    assert.equal(error.reason, later, reason._tag)
  }
  const limited = aiError(
    new AiError.RateLimitError({
      retryAfter: Duration.seconds(60),
      http: { response: { status: 429, headers: {} } }
    })
  )
  const error = await failure(limited)
  assert.deepEqual([error.status, error.retryAfter, error.cause], [429, 60_000, limited])
  assert.match(error.message, /^Cannot complete a request to language-model: Fake\.streamText: Rate limit exceeded/)
})

test("an error among the parts fails, and behind the reason for the end is reported beside it", async () => {
  const error: Response.StreamPartEncoded = { type: "error", error: { code: 500 } }
  const message = 'Cannot complete a request to language-model: {"code":500}'
  const failed = await failure(error)
  assert.deepEqual([failed.reason, failed.message], ["failed", message])
  for (const late of [error, aiError(new AiError.UnknownError({ description: "no" }))]) {
    const [part, ...more] = await generate([finish("length"), late])
    assert.deepEqual(more, [])
    assert(part !== undefined && part._tag === "Finish" && part.reason === "length")
    assert.match(part.error ?? "", late === error ? /\{"code":500\}$/ : /: Fake\.streamText: no$/)
  }
})

test("a prefix is a last message of the assistant where that is asked for, and else refused", async () => {
  const { layer, prompts } = provider([finish("stop")])
  const run = (options: LanguageModel.TextModelOptions, request: TextModel.Request) =>
    TextModel.complete(request).pipe(
      Effect.provide(Layer.provide(LanguageModel.layerTextModel(options), layer)),
      Effect.flip,
      Effect.exit,
      Effect.runPromise
    )
  const messages = [{ role: "system", content: "Be brief." }, ...question.messages] as const
  const prefixed = { messages, prefix: "<history>" }
  const refused = await run({ name: "m" }, prefixed)
  assert(Exit.isSuccess(refused))
  assert.equal(refused.value.reason, "refused")
  assert.equal(refused.value.message, "Cannot continue a prefix: no `prefill` is set for m")
  assert.deepEqual(prompts, [])
  await run({ prefill: "assistant" }, prefixed)
  await run({ prefill: "assistant" }, { messages, prefix: "" })
  const asked = [["system", "Be brief."], ["user", "What is 6 × 7?"]]
  assert.deepEqual(prompts, [[...asked, ["assistant", "<history>"]], asked])
})

test("a model has the provider's name, or another", async () => {
  const nameOf = (options: LanguageModel.TextModelOptions, layer: Layer.Layer<Ai.LanguageModel>) =>
    Effect.runPromise(Effect.provide(
      Effect.map(TextModel.TextModel, ({ name }) => name),
      Layer.provide(LanguageModel.layerTextModel(options), layer)
    ))
  const { layer } = provider([])
  assert.equal(await nameOf({}, layer), "language-model")
  assert.equal(await nameOf({}, Model.make("fake", "fake-1", layer)), "fake-1")
  assert.equal(await nameOf({ name: "mine" }, Model.make("fake", "fake-1", layer)), "mine")
})

test("leaving the stream interrupts the provider's", async () => {
  let isClosed = false
  const layer = Layer.effect(
    Ai.LanguageModel,
    Ai.make({
      streamText: () =>
        Stream.concat(Stream.make(text("4")), Stream.never).pipe(
          Stream.ensuring(Effect.sync(() => {
            isClosed = true
          }))
        ),
      generateText: () => Effect.die("a TextModel streams")
    })
  )
  const run = Effect.gen(function* () {
    const model = yield* TextModel.TextModel
    return yield* model.generate(question).pipe(Stream.take(1), Stream.runCollect)
  })
  const parts = await Effect.runPromise(Effect.provide(run, Layer.provide(LanguageModel.layerTextModel(), layer)))
  assert.deepEqual([parts, isClosed], [[{ _tag: "Text", text: "4" }], true])
})

// ---- a reasoner as a language model

const first = "<think>\n6 × 7 is\n</think>\n<summary>\n6 × 7 is asked.\n</summary>"
const second = "<think>\n42, surely.\n</think>It is 42."

/** What a reasoner streams, with parts of one kind and id joined, and what it gives as a whole. */
const reason = async (
  replies: ReadonlyArray<TextModel.Reply>,
  options: Reasoner.Options = {},
  prompt: Prompt.RawInput = "What is 6 × 7?"
) => {
  const streaming = scripted(...replies)
  const whole = scripted(...replies)
  const streamed = await Ai.streamText({ prompt }).pipe(
    Stream.runCollect,
    Effect.provide(Layer.provide(LanguageModel.layer(options), streaming.layer)),
    Effect.runPromise
  )
  const generated = await Ai.generateText({ prompt }).pipe(
    Effect.provide(Layer.provide(LanguageModel.layer(options), whole.layer)),
    Effect.runPromise
  )
  assert.deepEqual(whole.requests, streaming.requests)
  const joined: Array<[kind: string, id: string, text: string]> = []
  let open: [type: string, id: string] | undefined
  for (const part of streamed) {
    if (part.type === "reasoning-start" || part.type === "text-start") {
      assert.equal(open, undefined)
      open = [part.type.replace("-start", ""), part.id]
      joined.push([...open, ""])
    } else if (part.type === "reasoning-delta" || part.type === "text-delta") {
      assert.deepEqual(open, [part.type.replace("-delta", ""), part.id])
      assert.notEqual(part.delta, "")
      joined.at(-1)![2] += part.delta
    } else if (part.type === "reasoning-end" || part.type === "text-end") {
      assert.deepEqual(open, [part.type.replace("-end", ""), part.id])
      open = undefined
    } else assert.equal(part.type, "finish")
  }
  const finish = streamed.at(-1)
  assert(finish?.type === "finish")
  const ids = joined.map(([, id]) => id)
  assert.equal(new Set(ids).size, ids.length)
  const shown = joined.map(([kind, , text]) => [kind, text])
  assert.deepEqual(
    generated.content.slice(0, -1).map((part) => [part.type, "text" in part ? part.text : undefined]),
    shown
  )
  assert.deepEqual(generated.content.at(-1), finish)
  return { shown, finish, streamed, requests: streaming.requests }
}

test("a reasoner's iterations are reasoning parts, and its conclusion is the text", async () => {
  const usage = { inputTokens: 10, outputTokens: 5 }
  const reply = (text: string): TextModel.Reply => [
    ...[...text].map((text) => ({ _tag: "Text", text }) as const),
    { _tag: "Finish", reason: "stop", usage }
  ]
  const { shown, finish } = await reason([reply(first), reply(second)])
  assert.deepEqual(shown, [["reasoning", "6 × 7 is"], ["reasoning", "42, surely."], ["text", "It is 42."]])
  assert.equal(finish.reason, "stop")
  assert.deepEqual([finish.usage.inputTokens.total, finish.usage.outputTokens.total], [20, 10])
  assert.deepEqual(finish.metadata, { inftythink: { outcome: { _tag: "Concluded", conclusion: "It is 42." } } })
})

test("a conversation is a question, unchanged", async () => {
  const { requests } = await reason([second], {}, [
    { role: "system", content: "Be brief." },
    { role: "user", content: [{ type: "text", text: "What is " }, { type: "text", text: "6 × 7?" }] },
    { role: "assistant", content: [{ type: "reasoning", text: "hm" }, { type: "text", text: "42." }] },
    { role: "user", content: "Really?" }
  ])
  const [system, ...messages] = requests[0]!.messages
  assert.match(system?.content ?? "", /^Be brief\.\n\n/)
  assert.deepEqual(messages, [
    { role: "user", content: "What is 6 × 7?" },
    { role: "assistant", content: "42." },
    { role: "user", content: "Really?" }
  ])
})

test("a conclusion that a repair voids is never given", async () => {
  const { shown } = await reason([cutOff("<think>\nhm\n</think>It is 4"), second], { repairs: ["sample"] })
  assert.deepEqual(shown, [["reasoning", "hm"], ["reasoning", "42, surely."], ["text", "It is 42."]])
  const orphan = "42, surely.</think>It is 42."
  const retagged = await reason([cutOff("<think>\nhm\n</think>It is 4"), orphan], { repairs: ["sample"] })
  assert.deepEqual(retagged.shown, shown)
})

test("a conclusion that turns out to be reasoning is", async () => {
  const { shown } = await reason(["42, surely.\n</think>It is 42."])
  assert.deepEqual(shown.map(([kind]) => kind), ["reasoning", "text"])
  assert.match(shown[0]?.[1] ?? "", /^42, surely\.\n?$/)
  assert.equal(shown[1]?.[1], "It is 42.")
  const empty = await reason(["</think>It is 42."])
  assert.deepEqual(empty.shown, [["text", "It is 42."]])
})

test("what is continued is one part", async () => {
  const { shown } = await reason([cutOff("<think>\nhm\n</think>It is 4"), "2, surely."], { repairs: ["continue"] })
  assert.deepEqual(shown, [["reasoning", "hm"], ["text", "It is 42, surely."]])
  const reasoned = await reason([cutOff("<think>\nhm, 42"), ", surely.\n</think>It is 42."], { repairs: ["continue"] })
  assert.deepEqual(reasoned.shown, [["reasoning", "hm, 42, surely."], ["text", "It is 42."]])
})

test("outcomes are mapped to reasons for the end", async () => {
  const exhausted = await reason([first], { limits: { iterations: 1 } })
  assert.deepEqual([exhausted.shown.length, exhausted.finish.reason], [1, "length"])
  assert.deepEqual(exhausted.finish.metadata, {
    inftythink: { outcome: { _tag: "Exhausted", limit: "iterations", conclusion: null } }
  })
  const forced = await reason([first, "It is 42."], { limits: { iterations: 1 }, conclude: "force" })
  assert.deepEqual([forced.shown.at(-1), forced.finish.reason], [["text", "It is 42."], "length"])
  const truncated = await reason([cutOff("<think>\nhm")], { repairs: [] })
  assert.deepEqual([truncated.shown, truncated.finish.reason], [[["reasoning", "hm"]], "length"])
  const malformed = await reason(["<think>\nhm"], { repairs: [] })
  assert.deepEqual([malformed.shown, malformed.finish.reason], [[["reasoning", "hm"]], "error"])
})

/** The error with which a request of a reasoner fails, streamed and not. */
const refused = async (
  layer: Layer.Layer<Ai.LanguageModel>,
  request: () => ReadonlyArray<Effect.Effect<unknown, unknown, Ai.LanguageModel>>
): Promise<ReadonlyArray<AiError.AiError>> => {
  const errors: Array<AiError.AiError> = []
  for (const effect of request()) {
    const error = await Effect.runPromise(Effect.flip(Effect.provide(effect, layer)))
    assert(AiError.isAiError(error))
    errors.push(error)
  }
  return errors
}

test("what a reasoner does not do is refused, and nothing is sent", async () => {
  const { layer, requests } = scripted(second)
  const reasoner = Layer.provide(LanguageModel.layer(), layer)
  const Clock = Tool.make("Clock", { success: Schema.String })
  const toolkit = Toolkit.make(Clock)
  const tools = Layer.merge(reasoner, toolkit.toLayer({ Clock: () => Effect.succeed("noon") }))
  const refusal = async (
    state: RegExp,
    ...effects: ReadonlyArray<Effect.Effect<unknown, unknown, Ai.LanguageModel>>
  ) => {
    for (const error of await refused(reasoner, () => effects)) {
      assert.equal(error.reason._tag, "InvalidRequestError")
      assert.match(error.message, state)
    }
  }
  const both = (prompt: Prompt.RawInput) => [
    Ai.generateText({ prompt }),
    Stream.runDrain(Ai.streamText({ prompt }))
  ]
  await refusal(
    /^Reasoner\.generateText: Invalid request\. Cannot reason: it calls no tools$/,
    Effect.provide(Ai.generateText({ prompt: "?", toolkit }), tools)
  )
  await refusal(
    /^Reasoner\.streamText: Invalid request\. Cannot reason: it calls no tools$/,
    Effect.provide(Stream.runDrain(Ai.streamText({ prompt: "?", toolkit })), tools)
  )
  await refusal(
    /: Invalid request\. Cannot reason: it writes no structured output$/,
    Ai.generateObject({ prompt: "?", schema: Schema.Struct({ n: Schema.Int }) })
  )
  const image = { type: "file", mediaType: "image/png", data: new Uint8Array(1) } as const
  await refusal(/Cannot reason: it reads nothing but text$/, ...both([{ role: "user", content: [image] }]))
  await refusal(
    /Cannot reason: a prompt ends with a message of the user$/,
    ...both([{ role: "user", content: "?" }, { role: "assistant", content: "42" }]),
    ...both([])
  )
  assert.deepEqual(requests, [])
})

test("a server that keeps failing is an error of the language model", async () => {
  const reasons = {
    "rate-limited": "RateLimitError",
    "unauthorized": "AuthenticationError",
    "refused": "InvalidRequestError",
    "not-found": "InvalidRequestError",
    "unreachable": "InternalProviderError",
    "failed": "InternalProviderError",
    "interrupted": "InternalProviderError"
  } as const
  for (const [reason, tag] of Object.entries(reasons)) {
    // SAFETY: the keys are those above.
    const { layer } = scripted([modelError(reason as TextModel.ModelError["reason"])])
    const errors = await refused(Layer.provide(LanguageModel.layer({ repairs: [] }), layer), () => [
      Ai.generateText({ prompt: "?" }),
      Stream.runDrain(Ai.streamText({ prompt: "?" }))
    ])
    assert.deepEqual(errors.map((error) => [error.module, error.method, error.reason._tag]), [
      ["Reasoner", "generateText", tag],
      ["Reasoner", "streamText", tag]
    ])
  }
  const limited = new TextModel.ModelError({ reason: "rate-limited", message: "slow down", retryAfter: 1500 })
  const [error] = await refused(
    Layer.provide(LanguageModel.layer(), scripted([limited]).layer),
    () => [Ai.generateText({ prompt: "?" })]
  )
  assert.deepEqual(error?.retryAfter, Duration.millis(1500))
})

test("a bad option throws where the layer is made", () => {
  assert.throws(() => LanguageModel.layer({ eta: 1 }), RangeError)
})

// ---- both

test("round trip: a reasoner over a provider is a provider that keeps what it was told", async () => {
  const answer = (...texts: ReadonlyArray<string>): Sent => [
    ...texts.map(text),
    finish("stop", { inputTokens: { total: 10 }, outputTokens: { total: 5 } })
  ]
  const inner = provider(answer(...first), [reasoning("42, surely."), ...answer("It is 42.")])
  const layer = LanguageModel.layer().pipe(
    Layer.provide(LanguageModel.layerTextModel()),
    Layer.provide(inner.layer)
  )
  const response = await Effect.runPromise(Effect.provide(Ai.generateText({ prompt: "What is 6 × 7?" }), layer))
  assert.equal(response.text, "It is 42.")
  assert.equal(response.reasoningText, "6 × 7 is42, surely.")
  assert.equal(response.finishReason, "stop")
  assert.deepEqual([response.usage.inputTokens.total, response.usage.outputTokens.total], [20, 10])
  assert.equal(inner.prompts.length, 2)
  assert.match(JSON.stringify(inner.prompts[1]), /<history>\\n6 × 7 is asked\.\\n<\/history>/)
})

test("round trip: a provider over a reasoner is a TextModel that concludes", async () => {
  const layer = LanguageModel.layerTextModel().pipe(
    Layer.provide(LanguageModel.layer()),
    Layer.provide(scripted(first, second).layer)
  )
  const completion = await Effect.runPromise(Effect.provide(TextModel.complete(question), layer))
  assert.equal(completion.text, "It is 42.")
  assert.equal(completion.reasoning, "6 × 7 is42, surely.")
  assert.equal(completion.finish.reason, "stop")
})
