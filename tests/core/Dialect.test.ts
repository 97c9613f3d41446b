import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Dialect from "../../lib/core/Dialect.ts"
import type { Ending, Iteration, Output } from "../../lib/core/Iteration.ts"
import type { Message } from "../../lib/core/Sample.ts"
import * as Sections from "../../lib/core/Sections.ts"
import { law, reasoning } from "../support/text.ts"

const summary = (text: string): Ending => ({ _tag: "Summary", text })
const conclusion = (text: string): Ending => ({ _tag: "Conclusion", text })

const first: Iteration = { question: "q", index: 1, output: { reasoning: "r1", ending: summary("s1") } }
const middle: Iteration = { question: "q", history: "s1", index: 2, output: { reasoning: "r2", ending: summary("s2") } }
const final: Iteration = {
  question: "q",
  history: "s2",
  index: 3,
  output: { reasoning: "r3", ending: conclusion("c") }
}

const user: Message = { role: "user", content: "q" }
const system: Message = { role: "system", content: "Be brief." }

// The strings of the public scripts and of the appendix of InftyThink+, byte for byte

test("v1: the first iteration", () => {
  assert.deepEqual(Dialect.instance(Dialect.v1, first), {
    prompt: "User:qAssistant:",
    messages: [user],
    prefix: "",
    target: "<think>\nr1\n</think>\n<summary>\ns1\n</summary>"
  })
})

test("v1: an iteration between", () => {
  assert.deepEqual(Dialect.instance(Dialect.v1, middle), {
    prompt: "User:qAssistant:<history>s1</history>",
    messages: [user],
    prefix: "<history>s1</history>",
    target: "<think>\nr2\n</think>\n<summary>\ns2\n</summary>"
  })
})

test("v1: the last iteration", () => {
  assert.deepEqual(Dialect.instance(Dialect.v1, final), {
    prompt: "User:qAssistant:<history>s2</history>",
    messages: [user],
    prefix: "<history>s2</history>",
    target: "<think>\nr3\n</think>c"
  })
})

test("plus: the first iteration", () => {
  assert.deepEqual(Dialect.instance(Dialect.plus, first), {
    prompt: "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
    messages: [user],
    prefix: "",
    target: "<think>\nr1\n</think><summary>s1</summary>"
  })
})

test("plus: an iteration between", () => {
  assert.deepEqual(Dialect.instance(Dialect.plus, middle), {
    prompt: "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<history>\ns1\n</history>",
    messages: [user],
    prefix: "<history>\ns1\n</history>",
    target: "<think>\nr2\n</think><summary>s2</summary>"
  })
})

test("plus: the last iteration", () => {
  assert.deepEqual(Dialect.instance(Dialect.plus, final), {
    prompt: "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<history>\ns2\n</history>",
    messages: [user],
    prefix: "<history>\ns2\n</history>",
    target: "<think>\nr3\n</think>c"
  })
})

const instructions = Dialect.chat.instructions!

test("chat: the history ends the user's turn, and the system's tells the tags", () => {
  const told: Message = { role: "system", content: instructions }
  const asked = `<|im_start|>system\n${instructions}<|im_end|>\n<|im_start|>user\n`
  assert.deepEqual(Dialect.instance(Dialect.chat, first), {
    prompt: `${asked}q<|im_end|>\n<|im_start|>assistant\n`,
    messages: [told, user],
    prefix: "",
    target: "<think>\nr1\n</think>\n<summary>\ns1\n</summary>"
  })
  assert.deepEqual(Dialect.instance(Dialect.chat, middle), {
    prompt: `${asked}q\n\n<history>\ns1\n</history><|im_end|>\n<|im_start|>assistant\n`,
    messages: [told, { role: "user", content: "q\n\n<history>\ns1\n</history>" }],
    prefix: "",
    target: "<think>\nr2\n</think>\n<summary>\ns2\n</summary>"
  })
  assert.equal(Dialect.target(Dialect.chat, final.output), "<think>\nr3\n</think>c")
})

test("chat: the instructions name every tag", () => {
  for (const tag of ["<think>", "</think>", "<summary>", "</summary>", "<history>"]) {
    assert.ok(instructions.includes(tag), tag)
  }
})

test("prompt: a conversation keeps its messages, and the history belongs to its end", () => {
  const question: ReadonlyArray<Message> = [
    system,
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
    { role: "user", content: "d" }
  ]
  assert.deepEqual(Dialect.prompt(Dialect.v1, { question, history: "s" }), {
    prompt: "System:Be brief.User:aAssistant:bUser:dAssistant:<history>s</history>",
    messages: question,
    prefix: "<history>s</history>"
  })
  assert.deepEqual(Dialect.prompt(Dialect.plus, { question }), {
    prompt:
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n" +
      "<|im_start|>user\nd<|im_end|>\n<|im_start|>assistant\n",
    messages: question,
    prefix: ""
  })
  assert.deepEqual(Dialect.prompt(Dialect.chat, { question, history: "s" }).messages, [
    { role: "system", content: `Be brief.\n\n${instructions}` },
    ...question.slice(1, 3),
    { role: "user", content: "d\n\n<history>\ns\n</history>" }
  ])
  assert.deepEqual(question[0], system)
})

test("prompt: an empty history is a history all the same", () => {
  assert.equal(Dialect.prompt(Dialect.v1, { question: "q", history: "" }).prefix, "<history></history>")
})

test("dialects: each stands under its name, which rows record", () => {
  assert.deepEqual(Object.keys(Dialect.dialects), ["v1", "plus", "chat"])
  for (const [name, dialect] of Object.entries(Dialect.dialects)) assert.equal(dialect.name, name)
})

const custom: Dialect.Dialect = {
  name: "custom",
  sections: [
    { name: "reasoning", open: "[thought]", close: "[done]", newlines: [], after: ["start"] },
    { name: "summary", open: "[note]", close: "[end]", newlines: ["before open"], after: ["reasoning"] }
  ],
  history: { name: "history", open: "[before]", close: "[now]", newlines: ["after open"] },
  place: "user",
  template: (messages) => messages.map(({ content }) => `${content}|`).join("")
}

test("custom: a dialect is a plain value", () => {
  assert.deepEqual(Dialect.instance(custom, middle), {
    prompt: "q\n\n[before]\ns1[now]|",
    messages: [{ role: "user", content: "q\n\n[before]\ns1[now]" }],
    prefix: "",
    target: "[thought]r2[done]\n[note]s2[end]"
  })
  assert.deepEqual(Dialect.prompt({ ...Dialect.plus, template: custom.template }, middle), {
    prompt: "q|<history>\ns1\n</history>",
    messages: [user],
    prefix: "<history>\ns1\n</history>"
  })
})

test("custom: a dialect that lacks a section renders no output", () => {
  const { target } = Dialect
  const bare = { ...custom, sections: custom.sections.slice(0, 1) }
  assert.equal(target(bare, final.output), "[thought]r3[done]c")
  assert.throws(() => target(bare, middle.output), {
    name: "RangeError",
    message: 'Cannot render in dialect custom: it has no section "summary"'
  })
})

// Tags in the text

const dialects = Object.values(Dialect.dialects)

const tags = ["<think>", "</think>", "<summary>", "</summary>", "<history>", "</history>"]

const specials = [
  ...["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|begin_of_thought|>", "<|a|>"],
  ...["<｜begin▁of▁sentence｜>", "<｜User｜>", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>"],
  ...["<start_of_turn>", "<end_of_turn>"]
]

const harmless = [
  ...[
    "<b>",
    "a < b > c",
    "<thinking>",
    "<Think>",
    "< think>",
    "|im_start|",
    "<|a b|>",
    "<||>",
    `<|${"a".repeat(65)}|>`
  ],
  ...["‹think>", "&lt;think&gt;", "<", "<|", "|>", "s>", ""]
]

test("screen: every tag of the dialect and every special token is found", () => {
  for (const dialect of dialects) {
    for (const tag of [...tags, ...specials]) {
      const text = `a${tag}b\n${tag}`
      assert.deepEqual(Dialect.screen(dialect, text, "reject"), { text, replaced: 0, tag }, tag)
      const safe = tag.replace("<", "‹")
      assert.deepEqual(Dialect.screen(dialect, text, "replace"), { text: `a${safe}b\n${safe}`, replaced: 2 }, tag)
    }
  }
})

test("screen: nothing else is", () => {
  for (const text of harmless) {
    for (const policy of ["reject", "replace"] as const) {
      assert.deepEqual(Dialect.screen(Dialect.v1, text, policy), { text, replaced: 0 }, text)
    }
  }
})

test("screen: the first tag is named", () => {
  assert.equal(Dialect.screen(Dialect.v1, "a</s>b<think>", "reject").tag, "</s>")
})

test("screen: a tag without `<` is made harmless by another sign, and one that cannot be is named", () => {
  assert.deepEqual(Dialect.screen(custom, "a[done]<s>b", "replace"), { text: "a⁅done]‹s>b", replaced: 2 })
  assert.deepEqual(Dialect.screen(custom, "a.<think>", "reject"), { text: "a.<think>", replaced: 0 })
  const withTags = (open: string, close: string) => ({ ...custom, sections: [{ ...custom.sections[0]!, open, close }] })
  assert.deepEqual(Dialect.screen(withTags("### Thought", "💭💭"), "### Thought\n💭💭💭", "replace"), {
    text: "#\u2060## Thought\n💭\u2060💭\u2060💭",
    replaced: 3
  })
  for (const tag of ["#", "a\u2060", "\u2060a"]) {
    assert.deepEqual(Dialect.screen(withTags(tag, "[done]"), `${tag}[done]`, "replace"), {
      text: `${tag}⁅done]`,
      replaced: 1,
      tag
    })
  }
})

const riddled = fc
  .array(fc.oneof(fc.constantFrom(...tags, ...specials), fc.constantFrom(...harmless, "\n", "\ud83d"), reasoning), {
    maxLength: 10
  })
  .map((parts) => parts.join(""))

law(
  "screen: a text with its tags replaced has none left, and is otherwise the same",
  fc.tuple(fc.constantFrom(...dialects), riddled),
  ([dialect, text]) => {
    const screened = Dialect.screen(dialect, text, "replace")
    assert.deepEqual(Object.keys(screened), ["text", "replaced"])
    for (const tag of [...tags, ...specials]) assert.ok(!screened.text.includes(tag), tag)
    assert.equal(screened.text.replaceAll("‹", "<"), text.replaceAll("‹", "<"))
    assert.equal(screened.text.split("‹").length - text.split("‹").length, screened.replaced)
    assert.deepEqual(Dialect.screen(dialect, screened.text, "replace"), { text: screened.text, replaced: 0 })
  }
)

law(
  "screen: whatever the tags are, none is left where all can be replaced",
  fc.tuple(
    fc.array(fc.string({ unit: fc.constantFrom("a", "b", "#", "[", "<", "‹"), minLength: 2, maxLength: 4 }), {
      minLength: 8,
      maxLength: 8
    }),
    fc.array(fc.constantFrom("a", "b", "#", "[", "<", "‹"), { maxLength: 40 }).map((units) => units.join(""))
  ),
  ([[a, b, c, d, e, f, g, h], text]) => {
    const section = { ...custom.sections[0]!, newlines: [] }
    const sections = ([[a, b], [c, d], [e, f]] as const).map(([open, close]) => ({
      ...section,
      open: open!,
      close: close!
    }))
    const screened = Dialect.screen({ sections, history: { ...custom.history, open: g!, close: h! } }, text, "replace")
    assert.deepEqual(Object.keys(screened), ["text", "replaced"])
    for (const tag of [a, b, c, d, e, f, g, h]) assert.ok(!screened.text.includes(tag!), tag)
  }
)

const output = fc
  .tuple(fc.constantFrom(...dialects), riddled, riddled, fc.constantFrom(summary, conclusion))
  .map(([dialect, reasoning, text, ending]) => {
    const body = (text: string): string => Dialect.screen(dialect, text, "replace").text
    // A carriage return before a closing tag would become half of the newline there.
    return {
      dialect,
      output: {
        reasoning: body(reasoning).replace(/\r+$/, ""),
        ending: ending === summary ? summary(body(text).replace(/\r+$/, "")) : conclusion(body(text))
      }
    }
  })

/** What a model wrote, read by its sections alone. */
const read = (dialect: Dialect.Dialect, target: string): Output => {
  const blocks = Sections.parse(dialect, target)
  const text = (section: string) => blocks.filter((block) => block.section === section).map(({ text }) => text).join("")
  const ending = blocks.some(({ section }) => section === "summary")
    ? summary(text("summary"))
    : conclusion(text("conclusion"))
  return { reasoning: text("reasoning"), ending }
}

law("round trip: parsing a target yields the output, once it was screened", output, ({ dialect, output }) => {
  assert.deepEqual(read(dialect, Dialect.target(dialect, output)), output)
})

law(
  "prompt: it is the template of the messages and the prefix, and holds the question and the history",
  fc.record({ dialect: fc.constantFrom(...dialects, custom), question: reasoning, history: fc.option(reasoning) }),
  ({ dialect, question, history }) => {
    const { prompt, messages, prefix } = Dialect.prompt(dialect, { question, ...history !== null && { history } })
    assert.equal(prompt, dialect.template(messages) + prefix)
    assert.ok(prompt.includes(question))
    assert.equal(prompt.includes(dialect.history.close), history !== null)
    const rendered = Sections.render(dialect.history, history ?? "")
    assert.equal(
      (dialect.place === "assistant" ? prefix : messages.at(-1)!.content).endsWith(rendered),
      history !== null
    )
  }
)
