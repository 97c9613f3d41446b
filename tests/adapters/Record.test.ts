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
}

/** How datasets publish the same three texts. */
const shapes: { readonly [name: string]: (parts: Parts) => object } = {
  OpenR1: ({ question, reasoning, conclusion }) => ({
    problem: question,
    solution: "A person's.",
    answer: "42",
    uuid: "7",
    is_reasoning_complete: [false, true],
    generations: ["<think>Too long", `<think>${reasoning}</think>${conclusion}`],
    finish_reasons: null,
    messages: [{ content: question, role: "user" }, { content: "<think>Another.</think>One", role: "assistant" }]
  }),
  "OpenR1 without generations": ({ question, reasoning, conclusion }) => ({
    problem: "The same, with a prefix.",
    solution: "A person's.",
    answer: "42",
    messages: [
      { content: question, role: "user" },
      { content: `<think>${reasoning}</think>${conclusion}`, role: "assistant" }
    ]
  }),
  OpenThoughts: ({ question, reasoning, conclusion }) => ({
    system: "",
    conversations: [
      { from: "user", value: question },
      {
        from: "assistant",
        value: `<|begin_of_thought|>${reasoning}<|end_of_thought|>` +
          `<|begin_of_solution|>${conclusion}<|end_of_solution|>`
      }
    ]
  }),
  "OpenThoughts' metadata": ({ question, reasoning, conclusion }) => ({
    problem: question,
    deepseek_reasoning: reasoning,
    deepseek_solution: conclusion,
    ground_truth_solution: "A person's.",
    domain: "math",
    test_cases: null
  }),
  "OpenThoughts3": ({ question, reasoning, conclusion }) => ({
    difficulty: 7,
    source: "somewhere",
    conversations: [
      { from: "human", value: question },
      { from: "gpt", value: `<think>${reasoning}</think>${conclusion}` }
    ]
  }),
  "s1K-1.1": ({ question, reasoning, conclusion }) => ({
    solution: "A person's.",
    question,
    cot_type: "math",
    gemini_thinking_trajectory: "Gemini's.",
    gemini_attempt: "Gemini's.",
    deepseek_thinking_trajectory: reasoning,
    deepseek_attempt: conclusion
  }),
  "s1K, whose columns are lists": ({ question, reasoning, conclusion }) => ({
    solution: "A person's.",
    question,
    thinking_trajectories: [reasoning, "Another."],
    attempt: conclusion
  }),
  "AM-DeepSeek-R1": ({ question, reasoning, conclusion }) => ({
    messages: [
      { role: "user", content: question, info: { source: "x", think_content: null, answer_content: null } },
      {
        role: "assistant",
        content: `<think>${reasoning}</think><answer>${conclusion}</answer>`,
        info: { source: null, think_content: reasoning, answer_content: conclusion }
      }
    ]
  }),
  "AM-DeepSeek-R1 without content": ({ question, reasoning, conclusion }) => ({
    messages: [
      { role: "user", content: question },
      { role: "assistant", info: { think_content: reasoning, answer_content: conclusion } }
    ]
  }),
  "reasoning beside a message": ({ question, reasoning, conclusion }) => ({
    messages: [
      { role: "system", content: " " },
      { role: "user", content: question },
      { role: "assistant", reasoning_content: reasoning, content: conclusion }
    ]
  }),
  "Llama-Nemotron": ({ question, reasoning, conclusion }) => ({
    input: [{ role: "user", content: question }],
    output: `<think>${reasoning}</think>${conclusion}`,
    reasoning: "on",
    system_prompt: ""
  }),
  "Chinese-R1": ({ question, reasoning, conclusion }) => ({
    input: question,
    reasoning_content: reasoning,
    content: conclusion,
    score: 9
  }),
  "Chinese-R1 for training": ({ question, reasoning, conclusion }) => ({
    instruction: question,
    input: "",
    output: `<think>${reasoning}</think>${conclusion}`
  }),
  Innerthought: ({ question, reasoning, conclusion }) => ({
    conversations: [{ user: question, inner_thought: reasoning, assistant: conclusion }]
  }),
  "thought process": ({ question, reasoning, conclusion }) => ({
    question,
    thought_process: reasoning,
    answer: conclusion
  }),
  "thinking and output": ({ question, reasoning, conclusion }) => ({
    problem: question,
    thinking: reasoning,
    output: conclusion
  }),
  "thinking left in the output": ({ question, reasoning, conclusion }) => ({
    problem: question,
    thinking: null,
    output: `<think>${reasoning}</think>${conclusion}`
  }),
  "reasoning in its wrapping": ({ question, reasoning, conclusion }) => ({
    question,
    reasoning: `\n<think>${reasoning}</think>\n`,
    solution: conclusion,
    answer: "42"
  }),
  "Marco-o1": ({ question, reasoning, conclusion }) => ({
    instruction: question,
    response: `<Thought>${reasoning}</Thought><Output>${conclusion}</Output>`
  }),
  "a tag that the prompt held": ({ question, reasoning, conclusion }) => ({
    problem: question,
    answer: "42",
    full_response: `${reasoning}</think>${conclusion}`
  })
}

const text = fc.tuple(
  fc.constantFrom("", "\n", " "),
  fc.array(sentence, { minLength: 1, maxLength: 4 }),
  fc.constantFrom("", "\n")
)
  .map(([before, sentences, after]) => before + sentences.join("\n\n") + after)
  .filter((text) => /\S/.test(text))

law(
  "shapes: a record gives back its question, reasoning and conclusion, to the character",
  fc.tuple(
    fc.constantFrom(...Object.keys(shapes)),
    fc.record({ question: text, reasoning: text, conclusion: text }, { noNullPrototype: true })
  ),
  ([name, parts]) => {
    const { id: _, ...sample } = readSample(shapes[name]!(parts))
    assert.deepEqual(sample, parts)
  },
  1000
)

const columns = [
  ...["id", "question", "problem", "instruction", "input", "system", "messages", "conversations", "generations"],
  ...["is_reasoning_complete", "reasoning", "thinking", "reasoning_content", "content", "output", "response", "answer"],
  ...["role", "from", "value", "info", "think_content", "user", "assistant", "_tag", "__proto__", "0", ""]
]

const { value: anything } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom<unknown>("", " ", "user", "gpt", "system", "Hm.", "<think>a</think>b", "<think>a", "a</think>"),
    fc.constantFrom<unknown>(null, true, 0, 7n, 1.5, "Rejection", "\ud83d"),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...columns), tie("value"), { maxKeys: 6 })
  )
}))

law(
  "totality: any value gives a whole sample, or a rejection that says where and why",
  fc.tuple(
    anything,
    fc.dictionary(fc.constantFrom("question", "reasoning", "conclusion"), fc.constantFrom(...columns))
  ),
  ([record, named]) => {
    const place = { file: "x.jsonl", line: 3 }
    const read = readOne(record, { ...named, place })
    if (Rejection.isRejection(read)) {
      assert.deepEqual([read.file, read.line], [place.file, place.line])
      assert.ok(/\S/.test(read.detail) && read.detail.length < 1000)
      return
    }
    assert.deepEqual(read.origin, place)
    const { question } = read
    const last = typeof question === "string" ? { role: "user", content: question } : question.at(-1)
    assert.equal(last?.role, "user")
    for (const part of [read.id, last.content, read.conclusion]) assert.match(part, /\S/)
  },
  2000
)

// ---- questions

const thought = "<think>Hm.</think>Yes."

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

test("reasoning that is only switched on or off is none", () => {
  assert.equal(readSample({ input: "Is it?", reasoning: "on", output: thought }).reasoning, "Hm.")
  rejects(
    { input: "Is it?", reasoning: "off", output: "Yes." },
    "no-reasoning",
    /"reasoning" holds no reasoning: "off"/
  )
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
    rejects({ ...unknown, bad: 5 }, reason, new RegExp(`The column "bad" holds no ${part}: 5$`), {
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
  rejects({ question: "Is it?", solution: "Yes.", answer: "1" }, "no-reasoning", /"question", "solution", "answer"$/)
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

const readSample = (record: unknown, options?: Record.Options): Sample => {
  const read = readOne(record, options)
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
