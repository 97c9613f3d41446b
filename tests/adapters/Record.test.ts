import * as Result from "effect/Result"
import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Record from "../../lib/adapters/Record.ts"
import * as Rejection from "../../lib/core/Rejection.ts"
import type { Question, Sample } from "../../lib/core/Sample.ts"
import { law, sentence } from "../support/text.ts"

interface Parts {
  readonly question: string
  readonly reasoning: string
  readonly conclusion: string
  readonly reference: string
}

/** How a dataset publishes the same texts. */
interface Shape {
  readonly record: (parts: Parts) => object
  /** The readers that read it as well as detection does. */
  readonly readers: ReadonlyArray<Record.ReaderName>
  /** Whether it has no right answer, or has the conclusion for one. */
  readonly reference?: "none" | "conclusion"
}

const shapes: { readonly [name: string]: Shape } = {
  "OpenR1-Math-220k": {
    readers: ["openr1"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      problem: question,
      solution: "A person's.",
      answer: reference,
      problem_type: "Algebra",
      question_type: "math-word-problem",
      source: "olympiads",
      uuid: "7",
      is_reasoning_complete: [false, true],
      generations: ["<think>Too long", `<think>${reasoning}</think>${conclusion}`],
      correctness_math_verify: [false, true],
      correctness_llama: null,
      finish_reasons: null,
      correctness_count: 1n,
      messages: [
        { content: `With a prefix: ${question}`, role: "user" },
        { content: "<think>Another.</think>One", role: "assistant" }
      ]
    })
  },
  "OpenR1 without generations": {
    readers: ["messages"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      problem: "The same, with a prefix.",
      solution: "A person's.",
      answer: reference,
      messages: [
        { content: question, role: "user" },
        { content: `<think>${reasoning}</think>${conclusion}`, role: "assistant" }
      ]
    })
  },
  "OpenThoughts-114k": {
    readers: ["openthoughts", "conversations"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      system: "",
      conversations: [
        { from: "user", value: question },
        {
          from: "assistant",
          value: `<|begin_of_thought|>${reasoning}<|end_of_thought|>` +
            `<|begin_of_solution|>${conclusion}<|end_of_solution|>`
        }
      ]
    })
  },
  "Bespoke-Stratos-17k": {
    readers: ["bespoke-stratos", "conversations"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      system: null,
      conversations: [
        { from: "user", value: question },
        {
          from: "assistant",
          value: `<|begin_of_thought|>${reasoning}<|end_of_thought|>` +
            `<|begin_of_solution|>${conclusion}<|end_of_solution|>`
        }
      ]
    })
  },
  "OpenThoughts-114k's metadata": {
    readers: ["openthoughts-metadata", "columns"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      problem: question,
      deepseek_reasoning: reasoning,
      deepseek_solution: conclusion,
      ground_truth_solution: reference,
      domain: "math",
      source: "numina_math",
      test_cases: null,
      starter_code: null
    })
  },
  "OpenThoughts2-1M": {
    readers: ["openthoughts", "conversations"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      conversations: [
        { from: "user", value: question },
        { from: "assistant", value: `<think>${reasoning}</think>${conclusion}` }
      ],
      question: "The same.",
      source: "somewhere",
      id: 7n
    })
  },
  "OpenThoughts2-1M in a mix": {
    readers: ["openthoughts", "conversations"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      _domain: "math",
      system: null,
      problem: "The same.",
      reasoning: "The same.",
      deepseek_solution: "The same.",
      question: "The same.",
      source: "somewhere",
      id: 7n,
      extracted_instruction: null,
      conversations: [
        { from: "user", value: question },
        { from: "assistant", value: `<think>${reasoning}</think>${conclusion}` }
      ]
    })
  },
  "OpenThoughts3-1.2M": {
    readers: ["openthoughts", "conversations"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      difficulty: 7n,
      source: "somewhere",
      domain: "math",
      conversations: [
        { from: "human", value: question },
        { from: "gpt", value: `<think>${reasoning}</think>${conclusion}` }
      ]
    })
  },
  "s1K-1.1": {
    readers: ["s1k", "columns"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      solution: reference,
      question,
      cot_type: "math",
      source_type: "somewhere",
      metadata: "{}",
      gemini_thinking_trajectory: "Gemini's.",
      gemini_attempt: "Gemini's.",
      deepseek_thinking_trajectory: reasoning,
      deepseek_attempt: conclusion,
      gemini_grade: "No",
      gemini_grade_reason: "It is wrong.",
      deepseek_grade: "Yes",
      deepseek_grade_reason: "It is right."
    })
  },
  "s1K-1.1, whose columns are lists": {
    readers: ["s1k", "columns"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      solution: reference,
      question,
      gemini_thinking_trajectory: ["Gemini's."],
      gemini_attempt: "Gemini's.",
      deepseek_thinking_trajectory: [reasoning],
      deepseek_attempt: [conclusion]
    })
  },
  "s1K, whose trajectories are a list": {
    readers: ["s1k", "columns"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      solution: reference,
      question,
      cot_type: "math",
      cot: null,
      thinking_trajectories: [reasoning],
      attempt: conclusion
    })
  },
  LIMO: {
    readers: ["limo"],
    reference: "conclusion",
    record: ({ question, reasoning, conclusion }) => ({ question, solution: reasoning, answer: conclusion })
  },
  "AM-DeepSeek-R1-Distilled": {
    readers: ["am-deepseek-r1", "messages"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      messages: [
        {
          role: "user",
          content: question,
          info: { source: "x", reference_answer: reference, test_case: null, think_content: null, answer_content: null }
        },
        {
          role: "assistant",
          content: `<think>${reasoning}</think><answer>${conclusion}</answer>`,
          info: {
            source: null,
            reference_answer: null,
            test_case: null,
            think_content: reasoning,
            answer_content: conclusion
          }
        }
      ]
    })
  },
  "AM-DeepSeek-R1-Distilled without content": {
    readers: ["am-deepseek-r1", "messages"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      messages: [
        { role: "user", content: question, info: null },
        { role: "assistant", content: null, info: { think_content: reasoning, answer_content: conclusion } }
      ]
    })
  },
  "Mixture-of-Thoughts": {
    readers: ["mixture-of-thoughts", "messages"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      messages: [
        { content: question, role: "user" },
        { content: `<think>${reasoning}</think>${conclusion}`, role: "assistant" }
      ],
      num_tokens: 512n,
      source: "somewhere"
    })
  },
  "reasoning beside a message": {
    readers: ["messages"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      messages: [
        { role: "system", content: " " },
        { role: "user", content: question },
        { role: "assistant", reasoning_content: reasoning, content: conclusion }
      ]
    })
  },
  "Llama-Nemotron-Post-Training": {
    readers: ["nemotron", "columns"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      input: [{ role: "user", content: question }],
      output: `<think>${reasoning}</think>${conclusion}`,
      category: "math",
      license: "cc-by-4.0",
      reasoning: "on",
      generator: "DeepSeek-R1",
      used_in_training: "Nano",
      version: "v1.1",
      system_prompt: ""
    })
  },
  "Llama-Nemotron-Post-Training with a text for input": {
    readers: ["nemotron", "columns"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      input: question,
      output: `<think>${reasoning}</think>${conclusion}`,
      reasoning: "on",
      system_prompt: null
    })
  },
  "Nemotron-Post-Training-v1": {
    readers: ["nemotron", "messages"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      uuid: "7",
      license: "CC BY 4.0",
      generator: "DeepSeek-R1",
      version: "v1",
      category: "math",
      reasoning: "on",
      messages: [
        { role: "user", content: question, tool_calls: [] },
        { role: "assistant", content: `<think>${reasoning}</think>${conclusion}`, tool_calls: [] }
      ],
      metadata: "{}"
    })
  },
  "Chinese-DeepSeek-R1-Distill": {
    readers: ["chinese-r1", "columns"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      input: question,
      reasoning_content: reasoning,
      content: conclusion,
      repo_name: "somewhere",
      score: 9n
    })
  },
  "Chinese-DeepSeek-R1-Distill for training": {
    readers: ["columns"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      instruction: question,
      input: "",
      output: `<think>${reasoning}</think>${conclusion}`
    })
  },
  "Ultra-Innerthought": {
    readers: ["conversations"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      id: 7n,
      conversations: [{ user: question, inner_thought: reasoning, assistant: conclusion }],
      data_source: "somewhere"
    })
  },
  "thought process": {
    readers: ["columns"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      id: 7,
      question,
      thought_process: reasoning,
      answer: conclusion
    })
  },
  "thinking and output": {
    readers: ["columns"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      problem: question,
      thinking: reasoning,
      output: conclusion,
      reference_answer: reference,
      answer: "42"
    })
  },
  "thinking left in the output": {
    readers: ["columns"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      problem: question,
      thinking: null,
      output: `<think>${reasoning}</think>${conclusion}`
    })
  },
  "reasoning in its wrapping": {
    readers: ["columns"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      question,
      reasoning: `\n<think>${reasoning}</think>\n`,
      solution: conclusion,
      answer: reference
    })
  },
  "Marco-o1": {
    readers: ["columns"],
    reference: "none",
    record: ({ question, reasoning, conclusion }) => ({
      instruction: question,
      response: `<Thought>${reasoning}</Thought><Output>${conclusion}</Output>`
    })
  },
  "a tag that the prompt held": {
    readers: ["columns"],
    record: ({ question, reasoning, conclusion, reference }) => ({
      problem: question,
      answer: reference,
      full_response: `${reasoning}</think>${conclusion}`
    })
  }
}

const text = fc.tuple(
  fc.constantFrom("", "\n", " "),
  fc.array(sentence, { minLength: 1, maxLength: 4 }),
  fc.constantFrom("", "\n")
)
  .map(([before, sentences, after]) => before + sentences.join("\n\n") + after)
  .filter((text) => /\S/.test(text))

const parts = fc.record({ question: text, reasoning: text, conclusion: text, reference: text }, {
  noNullPrototype: true
})

const shape = fc.constantFrom(...Object.keys(shapes))

law(
  "shapes: a record gives back its texts, to the character where they are well-formed, detected or by the name of its reader",
  fc.tuple(shape, parts),
  ([name, parts]) => {
    const { record, readers, reference } = shapes[name]!
    const { reference: right, ...expected } = {
      question: parts.question.toWellFormed(),
      reasoning: parts.reasoning.toWellFormed(),
      conclusion: parts.conclusion.toWellFormed(),
      reference: parts.reference.toWellFormed()
    }
    for (const reader of [undefined, ...readers]) {
      const { id: _, ...sample } = readSample(record(parts), reader === undefined ? {} : { reader })
      // Only its own reader knows that s1K's `solution` is no model's.
      const isKnown = reference === undefined && !(name.startsWith("s1K") && reader === "columns")
      const known = reference === "conclusion" ? expected.conclusion : isKnown ? right : undefined
      assert.deepEqual(sample, { ...expected, ...(known !== undefined && { reference: known }) }, reader)
    }
  },
  1000
)

const names = [
  ...["id", "question", "problem", "instruction", "input", "system", "messages", "conversations", "generations"],
  ...["is_reasoning_complete", "reasoning", "thinking", "reasoning_content", "content", "output", "response", "answer"],
  ...["solution", "deepseek_thinking_trajectory", "deepseek_attempt", "ground_truth", "info.think_content"],
  ...[
    "correct",
    "is_correct",
    "role",
    "from",
    "value",
    "info",
    "think_content",
    "user",
    "assistant",
    "_tag",
    "__proto__",
    "0",
    "",
    "other"
  ]
]

const { value: anything } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom<unknown>("", " ", "user", "gpt", "system", "Hm.", "<think>a</think>b", "<think>a", "a</think>"),
    fc.constantFrom<unknown>(null, true, false, 0, 7n, 1.5, "Rejection", "\ud83d", "off", "length"),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...names), tie("value"), { maxKeys: 6 })
  )
}))

const which = fc.constantFrom<Record.Generations>("first", "correct", "all")

const options: fc.Arbitrary<Record.Options> = fc.record({
  reader: fc.constantFrom(...Record.readers),
  generations: which,
  question: fc.constantFrom(...names),
  reasoning: fc.constantFrom(...names),
  conclusion: fc.constantFrom(...names),
  reference: fc.constantFrom(...names)
}, { requiredKeys: [] })

law(
  "totality: any value gives whole samples with ids of their own, or rejections that say where and why",
  fc.tuple(anything, options),
  ([record, options]) => {
    const place = { file: "x.jsonl", line: 3 }
    const results = Record.read(record, { ...options, place }).map(Result.merge)
    assert.ok(results.length > 0 && (results.length === 1 || options.generations === "all"))
    for (const read of results) {
      assert.ok(read.id?.isWellFormed() ?? true)
      if (Rejection.isRejection(read)) {
        assert.deepEqual([read.file, read.line], [place.file, place.line])
        assert.ok(/\S/.test(read.detail) && read.detail.length < 1000)
        continue
      }
      assert.deepEqual(read.origin, place)
      const { question, reference = "none" } = read
      const last = typeof question === "string" ? { role: "user", content: question } : question.at(-1)
      assert.equal(last?.role, "user")
      for (const part of [read.id, last.content, read.conclusion, reference]) assert.match(part, /\S/)
      const messages = typeof question === "string" ? [] : question.map(({ content }) => content)
      for (const part of [last.content, read.reasoning, read.conclusion, reference, ...messages]) {
        assert.ok(part.isWellFormed())
      }
    }
    const samples = results.filter((read) => !Rejection.isRejection(read))
    assert.equal(new Set(samples.map(({ id }) => id)).size, samples.length)
  },
  2000
)

// ---- columns

const thought = "<think>Hm.</think>Yes."

/** Columns with what some reader looks for. */
const telling = {
  ...{ id: 7n, uuid: "u", level: 5, system: "Be brief.", system_prompt: "Be long." },
  ...{
    question: "Is it?",
    problem: "Which?",
    input: "What?",
    instruction: "Do.",
    prompt: [{ role: "user", content: "?" }]
  },
  messages: [{ role: "user", content: "Who?" }, { role: "assistant", content: thought }],
  conversations: [{ from: "human", value: "When?" }, { from: "gpt", value: "Now." }],
  generations: [thought, null, "<think>Oh.</think>No.", "<think>Mm.</think>So."],
  ...{ is_reasoning_complete: [false, true, null], finish_reasons: ["stop", null, "length"] },
  ...{ correctness_math_verify: [true, null, false, false], correctness_llama: [null, null, null, true] },
  ...{ is_correct: [false, null, false, true], correct: false, cot: ["One.", "Two."] },
  ...{ gemini_thinking_trajectory: "G.", gemini_attempt: ["G!"], gemini_grade: "Yes", deepseek_grade: "No" },
  ...{ reasoning: "off", thinking: "Mm.", deepseek_reasoning: "D.", deepseek_solution: "D!", reasoning_content: "C." },
  ...{ content: "C!", output: thought, response: "So.", solution: "A person's.", answer: 42, ground_truth: "43" },
  ...{ info: { think_content: "I.", list: ["I!"] }, "info.list": "Dot." }
}

/** Records of all shapes, some columns of which are missing, null, or another's; and options to read them with. */
const damaged = shape.chain((name) =>
  fc.tuple(
    parts.map((parts) => Object.entries(shapes[name]!.record(parts))),
    fc.oneof(fc.constant([]), fc.subarray(Object.entries(telling), { maxLength: 8 })),
    fc.constantFrom([], [["level", 5]], Object.entries(telling)),
    fc.func(fc.constantFrom("keep", "keep", "keep", "keep", "keep", "drop", "null")),
    fc.record({
      reader: fc.constantFrom(...shapes[name]!.readers, ...Record.readers),
      generations: which,
      question: fc.constantFrom("problem", "info.list", "prompt"),
      reasoning: fc.constantFrom("thinking", "generations.0", "info.think_content"),
      conclusion: fc.constantFrom("response", "generations.0", "info.list.0"),
      reference: fc.constantFrom("solution", "ground_truth")
    }),
    fc.subarray(["reader", "generations", "question", "reasoning", "conclusion", "reference"], { maxLength: 3 })
  ).map(([own, some, all, fate, options, given]) => {
    const entries = [...own, ...some, ...all]
      .filter(([name]) => fate(name) !== "drop")
      .map(([name, value]): [string, unknown] => [name, fate(name) === "null" ? null : value])
    const chosen: Record.Options = Object.fromEntries(Object.entries(options).filter(([name]) => given.includes(name)))
    return [Object.fromEntries(entries), chosen] as const
  })
)

/** What must be equal: samples whole, and rejections but for the columns that their details list. */
const comparable = (record: object, options: Record.Options): ReadonlyArray<unknown> =>
  Record.read(record, options).map((result) =>
    Result.isSuccess(result) ? result.success : { ...result.failure, detail: "" }
  )

const project = (record: object, columns: ReadonlyArray<string>): object =>
  Object.fromEntries(Object.entries(record).filter(([name]) => columns.includes(name)))

law(
  "columns: a record without what they leave out is read as the whole record",
  fc.oneof(
    { weight: 4, arbitrary: damaged },
    { weight: 1, arbitrary: fc.tuple(fc.dictionary(fc.constantFrom(...names), anything), options) }
  ),
  ([record, options]) => {
    const available = Object.keys(record)
    const columns = Record.columns(available, options)
    assert.deepEqual(columns, available.filter((name) => columns.includes(name)))
    assert.deepEqual(comparable(project(record, columns), options), comparable(record, options))
  },
  5000
)

law(
  "null: a column that is null is none, but for the columns by which OpenR1 and LIMO are told",
  fc.tuple(
    shape,
    parts,
    fc.subarray(["id", "question", "system", "conversation", "thinking", "output", "cot", "response", "reference"]),
    options
  ),
  ([name, parts, absent, options]) => {
    if (name === "LIMO") return
    const record = shapes[name]!.record(parts)
    const nulls = Object.fromEntries(absent.map((name) => [name, null]))
    assert.deepEqual(comparable({ ...nulls, ...record }, options), comparable(record, options))
  },
  1000
)

test("of a published dataset, the columns that nothing is read from are left out", () => {
  const texts = { question: "Q", reasoning: "R", conclusion: "C", reference: "A" }
  const needs = (shape: string, options?: Record.Options): string =>
    Record.columns(Object.keys(shapes[shape]!.record(texts)), options).join(" ")
  const openr1 = "problem answer uuid is_reasoning_complete generations finish_reasons"
  const checked = "problem answer uuid is_reasoning_complete generations correctness_math_verify correctness_llama " +
    "finish_reasons"
  for (const reader of [{}, { reader: "openr1" }] as const) {
    assert.equal(needs("OpenR1-Math-220k", reader), openr1)
    assert.equal(needs("OpenR1-Math-220k", { ...reader, generations: "all" }), openr1)
    assert.equal(needs("OpenR1-Math-220k", { ...reader, generations: "correct" }), checked)
  }
  assert.equal(needs("OpenR1-Math-220k", { reader: "messages" }), "answer uuid messages")
  assert.equal(
    needs("OpenR1-Math-220k", { question: "problem", reasoning: "generations.0", conclusion: "generations.0" }),
    "problem answer uuid generations"
  )
  assert.equal(needs("OpenThoughts-114k"), "system conversations")
  assert.equal(
    needs("OpenThoughts-114k's metadata"),
    "problem deepseek_reasoning deepseek_solution ground_truth_solution"
  )
  assert.equal(needs("OpenThoughts2-1M"), "conversations question id")
  assert.equal(needs("OpenThoughts2-1M", { reader: "openthoughts" }), "conversations id")
  assert.equal(needs("OpenThoughts2-1M in a mix", { reader: "openthoughts" }), "system id conversations")
  assert.equal(needs("OpenThoughts3-1.2M"), "conversations")
  const s1k =
    "solution question gemini_thinking_trajectory gemini_attempt deepseek_thinking_trajectory deepseek_attempt"
  assert.equal(needs("s1K-1.1"), s1k)
  assert.equal(needs("s1K-1.1", { generations: "correct" }), `${s1k} gemini_grade deepseek_grade`)
  assert.equal(needs("LIMO"), "question solution answer")
  assert.equal(needs("AM-DeepSeek-R1-Distilled"), "messages")
  assert.equal(needs("Mixture-of-Thoughts"), "messages")
  assert.equal(needs("Llama-Nemotron-Post-Training"), "input output reasoning system_prompt")
  assert.equal(needs("Nemotron-Post-Training-v1"), "uuid reasoning messages")
  assert.equal(needs("Nemotron-Post-Training-v1", { reader: "messages" }), "uuid messages")
  assert.equal(needs("Chinese-DeepSeek-R1-Distill"), "input reasoning_content content")
})

test("columns of no known name are left out, but where others would look like LIMO without them", () => {
  assert.deepEqual(Record.columns(["a", "b"]), [])
  assert.deepEqual(Record.columns(["a", "b.c", "b"], { reasoning: "b.c", conclusion: "a.x" }), ["a", "b.c"])
  assert.deepEqual(Record.columns(["id", "question", "solution", "answer"]), ["id", "question", "solution", "answer"])
  const human = ["question", "solution", "answer", "level"]
  assert.deepEqual(Record.columns(human), human)
  assert.deepEqual(Record.columns(human, { reader: "limo" }), ["question", "solution", "answer"])
})

// ---- questions

test("a conversation's question is every message before its last answer", () => {
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Is it?" },
    { role: "assistant", content: "<think>Early.</think>No." },
    { role: "user", content: "Really?" }
  ]
  assert.deepEqual(questionOf({ messages: [...messages, { role: "assistant", content: thought }] }), messages)
})

test("an earlier answer makes the question a list, and what follows the last answer is left out", () => {
  const conversations = [
    { from: "human", value: "One?" },
    { from: "gpt", value: "Yes." },
    { from: "human", value: "Two?" },
    { from: "gpt", value: thought },
    { from: "human", value: "Thanks." }
  ]
  assert.deepEqual(questionOf({ conversations }), [
    { role: "user", content: "One?" },
    { role: "assistant", content: "Yes." },
    { role: "user", content: "Two?" }
  ])
})

test("a column of the system's comes first, unless the conversation has its own or it is empty", () => {
  const user = { role: "user", content: "Is it?" }
  const answer = { role: "assistant", content: thought }
  const own = { role: "system", content: "Own." }
  const system = { role: "system", content: "Be brief." }
  assert.deepEqual(questionOf({ system: "Be brief.", messages: [user, answer] }), [system, user])
  assert.deepEqual(questionOf({ system: "Be brief.", messages: [own, user, answer] }), [own, user])
  assert.deepEqual(questionOf({ system: "", messages: [user, answer] }), "Is it?")
  assert.deepEqual(questionOf({ system_prompt: "Be brief.", question: "Is it?", response: thought }), [system, user])
})

test("keys of a turn that are null are none", () => {
  const none = { role: null, content: null, from: null, value: null, user: null, inner_thought: null, assistant: null }
  const record = {
    conversations: [
      { ...none, user: "Is it?" },
      { ...none, role: "assistant", content: "No." },
      { ...none, from: "human", value: "Really?" },
      { ...none, inner_thought: "Hm.", assistant: "Yes." }
    ]
  }
  const { question, reasoning, conclusion } = readSample(record)
  assert.deepEqual(question, [
    { role: "user", content: "Is it?" },
    { role: "assistant", content: "No." },
    { role: "user", content: "Really?" }
  ])
  assert.deepEqual([reasoning, conclusion], ["Hm.", "Yes."])
})

test("an instruction and its input are one question", () => {
  assert.equal(questionOf({ instruction: "Translate.", input: "Ja.", output: thought }), "Translate.\nJa.")
  assert.equal(questionOf({ instruction: "", input: "Ja.", output: thought }), "Ja.")
  const record = { instruction: "Translate.", input: "Ja.", output: thought }
  assert.equal(readSample(record, { question: "input" }).question, "Ja.")
})

test("a question of the record's own comes before that of a conversation without an answer", () => {
  const messages = [{ role: "user", content: "With a prefix: is it?" }]
  assert.equal(questionOf({ problem: "Is it?", messages, response: thought }), "Is it?")
  assert.equal(questionOf({ messages, response: thought }), "With a prefix: is it?")
})

// ---- answers

test("empty reasoning between tags is reasoning", () => {
  const { reasoning, conclusion } = readSample({ question: "Is it?", response: "<think></think>\n\nYes." })
  assert.deepEqual([reasoning, conclusion], ["", "\n\nYes."])
  assert.equal(readSample({ question: "Is it?", reasoning: "<think></think>", output: "Yes." }).reasoning, "")
})

test("white space may stand before the opening tag", () => {
  assert.equal(readSample({ question: "Is it?", response: `\n ${thought}` }).reasoning, "Hm.")
})

test("the first generation is read where none is said to be complete", () => {
  const generations = [thought, "<think>Oh.</think>No."]
  for (const is_reasoning_complete of [undefined, null, [], [false, false], [true, true]]) {
    assert.equal(readSample({ problem: "Is it?", generations, is_reasoning_complete }).conclusion, "Yes.")
  }
})

test("the messages are read where no generation is there", () => {
  const messages = [{ role: "user", content: "Is it?" }, { role: "assistant", content: thought }]
  for (const generations of [null, [], [null]]) {
    assert.equal(readSample({ problem: "Is it?", generations, messages }).conclusion, "Yes.")
  }
})

test("a whole answer in one column is not paired with another column", () => {
  assert.equal(readSample({ question: "Is it?", reasoning: thought, answer: "42" }).conclusion, "Yes.")
  assert.equal(readSample({ question: "Is it?", reasoning: "Brief.", output: thought }).reasoning, "Hm.")
})

test("a conclusion may be a finite number", () => {
  const conclusion = (columns: object, options?: Record.Options): string =>
    readSample({ question: "Is it?", reasoning: "Hm.", ...columns }, options).conclusion
  assert.equal(conclusion({ conclusion: 42 }), "42")
  assert.equal(conclusion({ answer: 0n }), "0")
  assert.equal(conclusion({ output: "So.", final: -0.5 }, { conclusion: "final" }), "-0.5")
  assert.equal(conclusion({ reasoning_content: "Hm.", content: 7 }, { reader: "chinese-r1" }), "7")
  assert.equal(readSample({ question: "Is it?", reasoning: "Hm.", answer: 42 }).reference, undefined)
  for (const conclusion of [NaN, Infinity]) {
    rejects({ question: "Is it?", reasoning: "Hm.", conclusion }, "no-conclusion", /"conclusion" holds no conclusion/)
  }
})

test("half a surrogate pair is read as U+FFFD", () => {
  const half = "\ud83d"
  const record = { id: half, system: half, question: half, response: `<think>${half}</think>${half}`, answer: half }
  const messages = [{ role: "user", content: half }, { role: "assistant", content: `<think>a</think>${half}😀` }]
  assert.deepEqual(readSample(record), {
    id: "\ufffd",
    question: [{ role: "system", content: "\ufffd" }, { role: "user", content: "\ufffd" }],
    reasoning: "\ufffd",
    conclusion: "\ufffd",
    reference: "\ufffd"
  })
  const { question, conclusion } = readSample({ messages })
  assert.deepEqual([question, conclusion], ["\ufffd", "\ufffd😀"])
})

test("reasoning that is only switched on or off is none", () => {
  assert.equal(readSample({ input: "Is it?", reasoning: "on", output: thought }).reasoning, "Hm.")
  rejects(
    { input: "Is it?", reasoning: "off", output: "Yes." },
    "no-reasoning",
    /"reasoning" holds no reasoning: "off"/
  )
})

test("no reasoning is read where it is switched off, whatever tags there are", () => {
  const output = "<think>\n</think>\nYes."
  const messages = [{ role: "user", content: "Is it?" }, { role: "assistant", content: output }]
  for (const reader of [{}, { reader: "nemotron" }] as const) {
    rejects({ input: "Is it?", reasoning: "off", output }, "no-reasoning", /"reasoning" .*: "off"/, reader)
    rejects({ uuid: "7", reasoning: "off", messages }, "no-reasoning", /"reasoning" .*: "off"/, reader)
  }
})

test("an input of several messages is the question whole", () => {
  const input = [
    { role: "user", content: "One?" },
    { role: "assistant", content: "Yes." },
    { role: "user", content: "Two?" }
  ]
  const record = { input, output: thought, reasoning: "on", system_prompt: "Be brief." }
  assert.deepEqual(questionOf(record), [{ role: "system", content: "Be brief." }, ...input])
  assert.deepEqual(readSample(record, { reader: "nemotron" }), readSample(record))
})

test("LIMO is told by having no other columns", () => {
  const record = { question: "Is it?", solution: "Hm.", answer: 42 }
  const { reasoning, conclusion, reference } = readSample({ ...record, id: 7 })
  assert.deepEqual([reasoning, conclusion, reference], ["Hm.", "42", "42"])
  rejects({ ...record, level: 5 }, "no-reasoning", /"level"$/)
  assert.equal(readSample({ ...record, level: 5 }, { reader: "limo" }).reasoning, "Hm.")
  assert.deepEqual(readSample({ ...record, solution: thought }).conclusion, "Yes.")
  assert.deepEqual(readSample({ ...record, answer: "Mm.</think>No." }).reasoning, "Mm.")
  rejects({ ...record, answer: null }, "no-conclusion", /"answer" holds no conclusion: null/)
  rejects({ ...record, solution: " " }, "no-reasoning", /"solution" holds no reasoning: " "/)
  assert.equal(readSample({ ...record, solution: "Hm. <think>Mm.</think>" }).conclusion, "42")
  rejects({ ...record, question: "" }, "no-question", /"question" holds no question: ""/)
})

test("a named reader reads nothing else, and one that is not there is a bad option", () => {
  const messages = [{ role: "user", content: "Which?" }, { role: "assistant", content: "<think>Oh.</think>No." }]
  const record = { problem: "Is it?", generations: [thought], thinking: "Mm.", output: "So.", messages }
  assert.equal(readSample(record).reasoning, "Hm.")
  assert.equal(readSample(record, { reader: "messages" }).question, "Which?")
  assert.equal(readSample(record, { reader: "columns" }).reasoning, "Mm.")
  for (const reader of ["s1k", "limo", "conversations", "chinese-r1", "openthoughts-metadata", "nemotron"] as const) {
    rejects({ ...record, messages: null, output: null }, "no-reasoning", /"messages"$/, { reader })
  }
  rejects({ ...record, generations: null }, "no-reasoning", /the columns are "problem"/, { reader: "openr1" })
  // SAFETY: what a caller without types may give.
  const options = { reader: "constructor" } as unknown as Record.Options
  assert.throws(() => Record.read({}, options), { name: "RangeError", message: /no reader "constructor"/ })
  assert.throws(() => Record.columns([], options), RangeError)
})

test("a column of reasoning or conclusion that is named comes before a named reader", () => {
  const record = { problem: "Is it?", generations: [thought], mine: "Mm.", output: "So." }
  assert.equal(readSample(record, { reader: "openr1", reasoning: "mine" }).reasoning, "Mm.")
  assert.equal(readSample({ ...record, asked: "Was it?" }, { reader: "openr1", question: "asked" }).question, "Was it?")
})

test("where another column may hold an answer, OpenR1 is read by what its columns hold", () => {
  const record = { problem: "Is it?", generations: null, is_reasoning_complete: null, messages: null }
  rejects({ ...record, solution: thought }, "no-reasoning", /the columns are "problem"/)
  assert.equal(readSample({ ...record, response: thought }).reasoning, "Hm.")
})

// ---- several generations

/** A record of OpenR1's whose lists are of any lengths. */
const several = fc.record({
  closed: fc.array(fc.constantFrom(true, false, null), { minLength: 1, maxLength: 5 }),
  complete: fc.option(fc.array(fc.constantFrom(true, false, null), { maxLength: 6 })),
  finished: fc.option(fc.array(fc.constantFrom("stop", "length", null), { maxLength: 6 })),
  verified: fc.option(fc.array(fc.constantFrom(true, false, null), { maxLength: 6 })),
  judged: fc.option(fc.array(fc.constantFrom(true, false, null), { maxLength: 6 })),
  said: fc.option(fc.array(fc.constantFrom(true, false, null), { maxLength: 6 }))
}, { noNullPrototype: true })

law(
  "generations: all are each, in order; the first and the correct one are of them, by what the dataset says",
  several,
  ({ closed, complete, finished, verified, judged, said }) => {
    const record = {
      uuid: "u",
      problem: "Is it?",
      generations: closed.map((closed, i) => closed === null ? null : `<think>${i}${closed ? "</think>" : ""}Yes.`),
      is_reasoning_complete: complete,
      finish_reasons: finished,
      correctness_math_verify: verified,
      correctness_llama: judged,
      is_correct: said
    }
    const numbers = [...closed.keys()].filter((i) => closed[i] !== null)
    const isWhole = (i: number) => complete?.[i] !== false && finished?.[i] !== "length"
    const verdict = (i: number) =>
      complete?.[i] === false || (isWhole(i) && !closed[i])
        ? "unclosed-reasoning"
        : isWhole(i)
        ? `${i}`
        : "no-conclusion"
    const read = (generations: Record.Generations) =>
      Record.read(record, { generations }).map((result) =>
        Result.isSuccess(result)
          ? { id: result.success.id, verdict: result.success.reasoning }
          : { id: result.failure.id, verdict: result.failure.reason }
      )
    if (numbers.length === 0) {
      for (const which of ["first", "correct", "all"] as const) {
        assert.deepEqual(read(which), [{ id: "u", verdict: "no-reasoning" }])
      }
      return
    }
    assert.deepEqual(read("all"), numbers.map((i) => ({ id: `u/${i + 1}`, verdict: verdict(i) })))
    const first = numbers.find(isWhole) ?? numbers[0]!
    assert.deepEqual(read("first"), [{ id: "u", verdict: closed[first] ? `${first}` : "unclosed-reasoning" }])
    const whole = numbers.filter(isWhole)
    const correct = whole.find((i) => verified?.[i] === true) ?? whole.find((i) => judged?.[i] === true) ??
      whole.find((i) => said?.[i] === true)
    assert.deepEqual(read("correct"), [{
      id: "u",
      verdict: correct === undefined ? "no-correct-answer" : verdict(correct)
    }])
  },
  1000
)

const generations = [thought, "<think>Oh.</think>No.", "<think>Mm.</think>So."]

test("the first complete generation is read, or else the first", () => {
  const conclusion = (columns: object): string => readSample({ problem: "Is it?", generations, ...columns }).conclusion
  assert.equal(conclusion({ is_reasoning_complete: [false, true, true] }), "No.")
  assert.equal(conclusion({ is_reasoning_complete: [false], finish_reasons: ["stop", "length", "stop"] }), "So.")
  assert.equal(conclusion({ is_reasoning_complete: [false, false, false] }), "Yes.")
})

test("the correct generation is what either check calls correct, the one that verifies first", () => {
  const conclusion = (columns: object): string =>
    readSample({ problem: "Is it?", generations, is_reasoning_complete: [true, true, true], ...columns }, {
      generations: "correct"
    }).conclusion
  assert.equal(conclusion({ correctness_math_verify: [false, false, true], correctness_llama: [true] }), "So.")
  assert.equal(conclusion({ correctness_math_verify: [false, false], correctness_llama: [false, true] }), "No.")
  assert.equal(conclusion({ correctness_math_verify: null, correctness_llama: [null, null, true] }), "So.")
  for (const reader of [{}, { reader: "openr1" }] as const) {
    for (const checks of [null, [], [false, false, false], [null]]) {
      const record = { problem: "Is it?", generations, correctness_math_verify: checks, correctness_llama: null }
      rejects(record, "no-correct-answer", /None of 3 answers/, { ...reader, generations: "correct" })
    }
  }
})

test("all generations have ids of their own, with the record's or without", () => {
  const record = { problem: "Is it?", answer: 42n, generations, is_reasoning_complete: [true, false] }
  const ids = (record: object, place?: Rejection.Place) =>
    Record.read(record, { generations: "all", place: place ?? {} }).map((result) => Result.merge(result).id)
  assert.deepEqual(ids({ ...record, uuid: 7n }), ["7/1", "7/2", "7/3"])
  assert.deepEqual(ids(record, { file: "a/x.jsonl", line: 3 }), ["x.jsonl:3/1", undefined, "x.jsonl:3/3"])
  assert.deepEqual(ids(record, { id: "mine" }), ["mine/1", "mine/2", "mine/3"])
  const [first, , third] = Record.read(record, { generations: "all" })
  for (const [sample, id] of [[first, /^record-[0-9a-f]{8}\/1$/], [third, /\/3$/]] as const) {
    const { id: own, reference } = readResult(sample!)
    assert.match(own, id)
    assert.equal(reference, "42")
  }
})

test("s1K-1.1 has two answers, and grades of both", () => {
  const record = {
    question: "Is it?",
    solution: 42,
    gemini_thinking_trajectory: ["G."],
    gemini_attempt: "No.",
    deepseek_thinking_trajectory: "D.",
    deepseek_attempt: ["Yes."],
    gemini_grade: "Yes",
    deepseek_grade: "No"
  }
  const read = (generations: Record.Generations, columns: object = {}) =>
    Record.read({ id: 7, ...record, ...columns }, { generations }).map((result) => {
      const read = Result.merge(result)
      return Rejection.isRejection(read) ? read.reason : `${read.id} ${read.reasoning} ${read.reference}`
    })
  assert.deepEqual(read("first"), ["7 D. 42"])
  assert.deepEqual(read("first", { deepseek_thinking_trajectory: null }), ["7 G. 42"])
  assert.deepEqual(read("correct"), ["7 G. 42"])
  assert.deepEqual(read("correct", { deepseek_grade: "Yes" }), ["7 D. 42"])
  assert.deepEqual(read("correct", { gemini_grade: null }), ["no-correct-answer"])
  assert.deepEqual(read("all"), ["7/1 D. 42", "7/2 G. 42"])
})

test("one answer that its record calls wrong is no correct one, and is read where any or all are wanted", () => {
  const messages = [{ role: "user", content: "Is it?" }, { role: "assistant", content: thought }]
  const records: ReadonlyArray<readonly [object, Record.Options?]> = [
    [{ question: "Is it?", response: thought }],
    [{ question: "Is it?", reasoning: "Hm.", conclusion: "Yes." }],
    [{ question: "Is it?", mine: "Hm.", output: "Yes." }, { reasoning: "mine" }],
    [{ question: "Is it?", solution: "Hm.", answer: "Yes." }, { reader: "limo" }],
    [{ input: "Is it?", output: thought }, { reader: "nemotron" }],
    [{ messages }],
    [{ problem: "Is it?", generations: [thought] }],
    [{ question: "Is it?", deepseek_thinking_trajectory: "Hm.", deepseek_attempt: "Yes." }]
  ]
  for (const [record, options] of records) {
    for (const verdict of ["is_correct", "correct", "correctness_math_verify", "correctness_llama"]) {
      const read = (said: unknown, generations: Record.Generations) => {
        const columns = { id: 7, ...record, [verdict]: said }
        const looked = Record.columns(Object.keys(columns), { ...options, generations })
        const read = readOne(columns, { ...options, generations })
        assert.deepEqual(readOne(project(columns, looked), { ...options, generations }), read)
        return read
      }
      const isRight = (said: unknown): boolean => !Rejection.isRejection(read(said, "correct"))
      assert.ok(isRight(true), JSON.stringify([record, verdict]))
      const wrong = read(false, "correct")
      assert.ok(Rejection.isRejection(wrong), JSON.stringify([record, verdict]))
      assert.equal(wrong.reason, "no-correct-answer")
      const isOfSeveral = "generations" in record || "deepseek_attempt" in record
      assert.match(wrong.detail, isOfSeveral ? /None of 1 answers/ : new RegExp(`The column "${verdict}" is false`))
      for (const generations of ["first", "all"] as const) {
        assert.ok(!Rejection.isRejection(read(false, generations)))
      }
      // What says nothing is no verdict.
      for (const said of [null, "false", 0, [false]]) assert.equal(isRight(said), !isOfSeveral)
    }
  }
})

test("an answer is correct where any verdict says so", () => {
  const record = { question: "Is it?", response: thought, correctness_math_verify: false, correct: true }
  assert.equal(readSample(record, { generations: "correct" }).conclusion, "Yes.")
  rejects({ ...record, correct: null }, "no-correct-answer", /"correctness_math_verify" is false/, {
    generations: "correct"
  })
})

test("a verdict beside several answers is a list, and one for the record says nothing of which is correct", () => {
  const record = { problem: "Is it?", generations, is_reasoning_complete: [true, true, true] }
  for (const verdict of ["is_correct", "correct"]) {
    assert.equal(readSample({ ...record, [verdict]: [false, true] }, { generations: "correct" }).conclusion, "No.")
    rejects({ ...record, [verdict]: true }, "no-correct-answer", /None of 3 answers/, { generations: "correct" })
  }
  rejects(
    { problem: "Is it?", generations: [thought], is_reasoning_complete: [false], is_correct: true },
    "no-correct-answer",
    /None of 1 answers/,
    { generations: "correct" }
  )
})

test("what has one answer and no verdict is read the same, whichever generations are asked for", () => {
  const record = { id: 7, question: "Is it?", response: thought }
  for (const generations of ["first", "correct", "all"] as const) {
    assert.deepEqual(readSample(record, { generations }), readSample(record))
  }
})

// ---- references

test("the right answer is a text or a number, of the column that is named, or else of the first that has one", () => {
  const record = {
    question: "Is it?",
    response: thought,
    answer: 42n,
    ground_truth: null,
    mine: "43",
    list: [{ x: 0.5 }]
  }
  assert.equal(readSample(record).reference, "42")
  assert.equal(readSample({ ...record, ground_truth: "44" }).reference, "44")
  assert.equal(readSample(record, { reference: "mine" }).reference, "43")
  assert.equal(readSample(record, { reference: "list.0.x" }).reference, "0.5")
  for (const reference of ["ground_truth", "nope"]) {
    assert.equal(readSample(record, { reference }).reference, undefined)
  }
})

test("the conclusion's column is not the right answer's too", () => {
  const record = { question: "Is it?", thinking: "Hm.", answer: "Yes." }
  assert.equal(readSample(record).reference, undefined)
  assert.equal(readSample({ ...record, output: "So." }).reference, "Yes.")
  assert.equal(readSample({ ...record, output: "So." }, { conclusion: "answer" }).reference, undefined)
  assert.equal(readSample(record, { reference: "answer" }).reference, "Yes.")
})

// ---- named columns

const unknown = {
  ask: "Is it?",
  trace: "Hm.",
  final: "Yes.",
  nested: { list: ["<think>Oh.</think>No.", thought] },
  "a.b": "Dot."
}

test("named columns are read, by paths too, and what is not named is detected", () => {
  const parts = (record: object, options: Record.Options): ReadonlyArray<Question> => {
    const { question, reasoning, conclusion } = readSample(record, options)
    return [question, reasoning, conclusion]
  }
  const all = { question: "ask", reasoning: "trace", conclusion: "final" }
  assert.deepEqual(parts(unknown, all), ["Is it?", "Hm.", "Yes."])
  assert.deepEqual(parts(unknown, { ...all, reasoning: "a.b" }), ["Is it?", "Dot.", "Yes."])
  assert.deepEqual(parts(unknown, { question: "ask", conclusion: "nested.list.1" }), ["Is it?", "Hm.", "Yes."])
  assert.deepEqual(parts(unknown, { question: "ask", reasoning: "nested.list.0" }), ["Is it?", "Oh.", "No."])
  assert.deepEqual(parts({ ...unknown, output: "So." }, { question: "ask", reasoning: "trace" }), [
    "Is it?",
    "Hm.",
    "So."
  ])
  assert.deepEqual(parts({ ...unknown, thinking: "Mm." }, { question: "ask", conclusion: "final" }), [
    "Is it?",
    "Mm.",
    "Yes."
  ])
  const odd = { question: "Is it?", constructor: "Hm.", output: "Yes." }
  assert.deepEqual(parts(odd, { reasoning: "constructor" }), ["Is it?", "Hm.", "Yes."])
  const headless = { ask: "Is it?", all: "Hm.</think>Yes." }
  assert.deepEqual(parts(headless, { question: "ask", reasoning: "all", conclusion: "all" }), ["Is it?", "Hm.", "Yes."])
  assert.deepEqual(parts({ question: "No.", ask: "Is it?", response: thought }, { question: "ask" })[0], "Is it?")
})

test("a named column comes before what would be detected", () => {
  const record = { question: "Is it?", reasoning: "A.", output: "B.", mine: "C.", messages: [{ role: "tool" }] }
  const { reasoning, conclusion } = readSample(record, { reasoning: "mine" })
  assert.deepEqual([reasoning, conclusion], ["C.", "B."])
})

test("a named column that is missing or holds no text is named", () => {
  const columns = /the columns are "ask", "trace", "final", "nested", "a.b"/
  const all = { question: "ask", reasoning: "trace", conclusion: "final" }
  for (
    const [part, reason] of [["question", "no-question"], ["reasoning", "no-reasoning"], [
      "conclusion",
      "no-conclusion"
    ]] as const
  ) {
    rejects(unknown, reason, /The column "nope" is missing/, { ...all, [part]: "nope" })
    rejects(unknown, reason, columns, { ...all, [part]: "nope" })
    rejects({ ...unknown, bad: true }, reason, new RegExp(`The column "bad" holds no ${part}: true$`), {
      ...all,
      [part]: "bad"
    })
  }
  rejects(unknown, "no-question", /The column "nope" is missing/, { question: "nope" })
  rejects(unknown, "no-reasoning", /"nested.list.2" is missing/, { ...all, reasoning: "nested.list.2" })
  rejects(unknown, "no-reasoning", /"constructor" is missing/, { ...all, reasoning: "constructor" })
})

// ---- ids

test("an id is a text or a number of the record, or else its place, or else made of its text", () => {
  const record = { question: "Is it?", response: thought }
  const place = { file: "data/x.jsonl", line: 3 }
  assert.equal(readSample({ ...record, uuid: "u" }, { place }).id, "u")
  assert.equal(readSample({ ...record, uuid: "u", id: 7 }, { place }).id, "7")
  assert.equal(readSample({ ...record, id: 0 }, { place }).id, "0")
  assert.equal(readSample({ ...record, id: 7n }, { place }).id, "7")
  assert.equal(readSample({ ...record, id: " ", _id: null, item_id: "i" }, { place }).id, "i")
  assert.equal(readSample(record, { place }).id, "x.jsonl:3")
  assert.deepEqual(readSample(record, { place }).origin, place)
  assert.equal(readSample(record, { place: { ...place, id: "mine" } }).id, "mine")
  const { id, origin } = readSample(record)
  assert.match(id, /^record-[0-9a-f]{8}$/)
  assert.equal(origin, undefined)
  assert.equal(readSample({ ...record, other: 1 }).id, id)
  assert.notEqual(readSample({ ...record, response: "<think>Hm.</think>No." }).id, id)
})

test("a rejection has the record's id only where the record has one", () => {
  const place = { file: "x.jsonl", line: 3 }
  const detail = 'The column "thinking" holds no reasoning: null'
  const rejection = { _tag: "Rejection", reason: "no-reasoning", detail, ...place }
  assert.deepEqual(readOne({ question: "Is it?", thinking: null, output: "Yes." }, { place }), rejection)
  assert.deepEqual(readOne({ id: 7, question: "Is it?", thinking: null, output: "Yes." }, { place }), {
    ...rejection,
    id: "7"
  })
})

// ---- faults

test("what is no object, or has no column that is known, is of unknown shape", () => {
  for (const record of [null, 5, "text", [thought], undefined]) rejects(record, "unknown-shape", /is no object/)
  rejects({}, "unknown-shape", /it has no columns/)
  rejects({ foo: 1, bar: "x" }, "unknown-shape", /the columns are "foo", "bar"$/)
  const wide = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`column ${i}`, i]))
  rejects(wide, "unknown-shape", /"column 29", …$/)
})

test("a record of known columns that hold nothing says what is wrong with the first at fault", () => {
  for (const [value, shown] of [[null, "null"], [5, "5"], ["", '""'], [{ text: "Q" }, '\\{"text":"Q"\\}']] as const) {
    const record = { question: value, reasoning: value, conclusion: value }
    rejects(record, "no-question", new RegExp(`^The column "question" holds no question: ${shown}$`))
    rejects({ ...record, question: "Is it?" }, "no-reasoning", /^The column "reasoning" holds no reasoning: /)
  }
  rejects({ thinking: null, answer: 5 }, "no-question", /^No column holds a question: .* "thinking", "answer"$/)
  rejects({ messages: [] }, "no-question", /^The column "messages" holds no question: \[\]$/)
  // A column that is null is none where another is at fault.
  rejects({ question: null, problem: 5 }, "no-question", /^The column "problem" holds no question: 5$/)
  rejects({ question: null, problem: null }, "no-question", /^The column "question" holds no question: null$/)
})

test("several texts where one is wanted are rejected, and not read in part", () => {
  const steps = ["First.", "Second.", "Third."]
  const record = { question: "Is it?", reasoning: "Hm.", conclusion: "Yes." }
  for (const part of ["question", "reasoning", "conclusion"] as const) {
    const detail = new RegExp(`^The column "${part}" holds 3 texts, not one$`)
    rejects({ ...record, [part]: steps }, `no-${part}`, detail)
    rejects({ ...record, [part]: steps }, `no-${part}`, detail, { reader: "columns" })
    const named = new RegExp('^The column "steps" holds 3 texts, not one$')
    rejects({ ...record, steps }, `no-${part}`, named, { [part]: "steps" })
    assert.deepEqual(readSample({ ...record, [part]: [record[part]] }), readSample(record))
    assert.deepEqual(
      readSample({ ...record, steps: [record[part]] }, { [part]: "steps" }),
      readSample(record, { [part]: part })
    )
  }
  const messages = [{ role: "user", content: "Is it?" }, { role: "assistant", content: "Yes.", reasoning: steps }]
  const two = { question: "Is it?", deepseek_attempt: "Yes.", gemini_thinking_trajectory: "G.", gemini_attempt: "No." }
  const cases: ReadonlyArray<readonly [object, Rejection.Reason, string, Record.Options?]> = [
    [{ question: "Is it?", thought: steps, thoughts: "Hm.", output: "Yes." }, "no-reasoning", "thought"],
    [{ question: steps, problem: "Is it?", response: thought }, "no-question", "question"],
    [{ instruction: "Do.", input: steps, output: thought }, "no-question", "input"],
    [{ instruction: steps, input: "Do.", output: thought }, "no-question", "instruction"],
    [{ system: steps, question: "Is it?", response: thought }, "no-question", "system"],
    [{ messages }, "no-reasoning", "reasoning"],
    [{ question: "Is it?", thinking_trajectories: steps, attempt: "Yes." }, "no-reasoning", "thinking_trajectories"],
    [{ ...two, deepseek_thinking_trajectory: steps }, "no-reasoning", "deepseek_thinking_trajectory"],
    [{ ...two, deepseek_thinking_trajectory: steps }, "no-reasoning", "deepseek_thinking_trajectory", {
      reader: "s1k"
    }],
    [{ problem: "Is it?", generations: [steps] }, "no-reasoning", "generations.0"],
    [{ input: "Is it?", reasoning_content: steps, content: "Yes." }, "no-reasoning", "reasoning_content", {
      reader: "chinese-r1"
    }],
    [{ question: "Is it?", solution: steps, answer: 42 }, "no-reasoning", "solution"],
    [{ question: "Is it?", response: [thought, thought, "No."] }, "no-reasoning", "response"],
    [{ question: "Is it?", thinking: null, response: ["Hm.</think>", "", ""] }, "no-reasoning", "response"]
  ]
  for (const [record, reason, column, options] of cases) {
    rejects(record, reason, new RegExp(`^The column "${column}" holds 3 texts, not one$`), options)
  }
  assert.equal(readSample({ question: "Is it?", reasoning: steps, output: thought }).reasoning, "Hm.")
  assert.equal(readSample({ ...record, answer: ["1", "2"] }).reference, undefined)
})

test("text before the opening tag of the only answer is named", () => {
  const detail = /^Other text stands before <think>: "Sure\. <think>a.*" \(column "(response|messages)"\)$/
  for (const response of ["Sure. <think>a</think>c", "Sure. <think>a"]) {
    const record = { question: "Is it?", response }
    rejects(record, "no-reasoning", detail)
    rejects({ ...record, thinking: null, answer: "c" }, "no-reasoning", detail)
    rejects(
      { messages: [{ role: "user", content: "?" }, { role: "assistant", content: response }] },
      "no-reasoning",
      detail
    )
    rejects({ ...record, solution: "Well. <think>b</think>c" }, "no-reasoning", detail)
    assert.equal(readSample({ ...record, generation: "a</think>b" }).conclusion, "b")
    assert.equal(readSample({ ...record, output: thought }).conclusion, "Yes.")
  }
})

test("a conversation with an unknown role, or content that is no text, is of unknown shape", () => {
  const messages = [{ role: "user", content: "Is it?" }, { role: "tool", content: "5" }]
  rejects({ messages }, "unknown-shape", /The role of "messages.1" is unknown: "tool"/)
  rejects(
    { messages: [{ role: "user", content: [{ type: "text" }] }] },
    "unknown-shape",
    /"messages.0" is no text: \[\{/
  )
})

test("a record without a question says so", () => {
  rejects({ thinking: "Hm.", output: "Yes." }, "no-question", /No column holds a question: the columns are "thinking"/)
  rejects({ question: 5, thinking: "Hm.", output: "Yes." }, "no-question", /"question" holds no question: 5$/)
  rejects({ messages: [{ role: "assistant", content: thought }] }, "no-question", /The message before the answer/)
  rejects(
    { messages: [{ role: "system", content: "Be brief." }, { role: "assistant", content: thought }] },
    "no-question",
    /The message before the answer/
  )
})

test("a record without reasoning says so", () => {
  rejects({ question: "Is it?" }, "no-reasoning", /the columns are "question"$/)
  rejects({ problem: "Is it?", solution: "Yes.", answer: "1" }, "no-reasoning", /"problem", "solution", "answer"$/)
  rejects(
    { question: "Is it?", thinking: " \n", output: "Yes." },
    "no-reasoning",
    /"thinking" holds no reasoning: " \\n"/
  )
  rejects({ question: "Is it?", thinking: [1, 2], output: "Yes." }, "no-reasoning", /"thinking" holds no .*: \[1,2\]/)
  const messages = [{ role: "user", content: "Is it?" }, { role: "assistant", content: "Yes." }]
  rejects(
    { problem: "Is it?", solution: "Yes.", messages },
    "no-reasoning",
    /no think tags: "Yes\." \(column "messages"\)/
  )
})

test("reasoning that is not closed is none", () => {
  rejects({ problem: "Is it?", thinking: null, output: "<think>Hm" }, "unclosed-reasoning", /\(column "output"\)/)
  rejects({ problem: "Is it?", generations: ["<think>Hm"] }, "unclosed-reasoning", /\(column "generations.0"\)/)
  rejects({ problem: "Is it?", thinking: "<think>Hm", output: "Yes." }, "unclosed-reasoning", /\(column "thinking"\)/)
})

test("a record without a conclusion says so, and does not take the reference for it", () => {
  rejects({ question: "Is it?", thinking: "Hm.", output: "" }, "no-conclusion", /"output" holds no conclusion: ""/)
  rejects({ question: "Is it?", thinking: "Hm.", output: "", answer: "42" }, "no-conclusion", /"output"/)
  rejects({ question: "Is it?", thinking: "Hm." }, "no-conclusion", /No column holds a conclusion/)
  rejects({ question: "Is it?", response: "<think>Hm.</think>\n " }, "no-conclusion", /Nothing follows/)
  const trajectory = { question: "Is it?", solution: "A person's.", deepseek_thinking_trajectory: "Hm." }
  rejects(trajectory, "no-conclusion", /"deepseek_attempt" is missing/)
})

// ---- support

const readOne = (record: unknown, options?: Record.Options): Sample | Rejection.Rejection => {
  const read = Record.read(record, options)
  assert.equal(read.length, 1)
  return Result.merge(read[0]!)
}

const readSample = (record: unknown, options?: Record.Options): Sample => readResult(Record.read(record, options)[0]!)

const readResult = (result: Result.Result<Sample, Rejection.Rejection>): Sample => {
  const read = Result.merge(result)
  if (Rejection.isRejection(read)) assert.fail(`${read.reason}: ${read.detail}`)
  return read
}

const questionOf = (record: unknown): Question => readSample(record).question

const rejects = (record: unknown, reason: Rejection.Reason, detail: RegExp, options?: Record.Options): void => {
  const read = readOne(record, options)
  assert.ok(Rejection.isRejection(read), `a sample was read: ${JSON.stringify(read)}`)
  assert.equal(read.reason, reason, read.detail)
  assert.match(read.detail, detail)
}
