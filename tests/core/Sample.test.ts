import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import type * as Rejection from "../../lib/core/Rejection.ts"
import * as Sample from "../../lib/core/Sample.ts"
import { law, reasoning } from "../support/text.ts"

const thoughts = [
  ["<think>", "</think>"],
  ["<|begin_of_thought|>", "<|end_of_thought|>"],
  ["<Thought>", "</Thought>"],
  ["◁think▷", "◁/think▷"],
  ["<seed:think>", "</seed:think>"]
] as const

const conclusions = [
  ["", ""],
  ["<answer>", "</answer>"],
  ["<|begin_of_solution|>", "<|end_of_solution|>"],
  ["<Output>", "</Output>"]
] as const

const pad = fc.constantFrom("", "\n", "\n\n", "\r\n", " ")

law(
  "split: reasoning and conclusion are kept to the character, in every markup, with or without an opening tag",
  fc.record({
    think: fc.constantFrom(...thoughts),
    answer: fc.constantFrom(...conclusions),
    isOpen: fc.boolean(),
    pads: fc.tuple(pad, pad, pad),
    r: reasoning,
    c: reasoning
  }),
  ({ think, answer, isOpen, pads: [before, between, after], r, c }) => {
    const text = `${isOpen ? before + think[0] : ""}${r}${think[1]}${between}${answer[0]}${c}${answer[1]}${after}`
    assert.deepEqual(Sample.split(text), { reasoning: r, conclusion: between + c + after })
  }
)

const splits = (name: string, answer: string, reasoning: string, conclusion: string): void => {
  test(name, () => assert.deepEqual(Sample.split(answer), { reasoning, conclusion }))
}

splits("split: newlines beside the tags are kept", "<think>\nr\n</think>\n\nc\n", "\nr\n", "\n\nc\n")
splits("split: carriage returns are kept", "<think>\r\nr\r\n</think>\r\nc\r\n", "\r\nr\r\n", "\r\nc\r\n")
splits("split: the opening tag may be missing", "\nr\n</think>\n\nc", "\nr\n", "\n\nc")
splits("split: white space may stand before the opening tag", " \n<think>r</think>c", "r", "c")
splits("split: the first of several closing tags ends the reasoning", "<think>a</think>b</think>c", "a", "b</think>c")
splits(
  "split: so it does without an opening tag",
  "a</think>b</think><think>c</think>",
  "a",
  "b</think><think>c</think>"
)
splits(
  "split: the reasoning may hold opening tags",
  "<think>a<think><answer>b</answer></think>c",
  "a<think><answer>b</answer>",
  "c"
)
splits("split: only the closing tag of the same markup ends it", "<think>a</Thought>b</think>c", "a</Thought>b", "c")
splits("split: reasoning may be empty", "<think></think>c", "", "c")
splits("split: reasoning without an opening tag may be empty", "</think>c", "", "c")
splits("split: the conclusion may be missing", "<think>r</think>", "r", "")
splits("split: tags of the conclusion are taken out", "<think>r</think>\n<answer>\nc\n</answer>\n", "r", "\n\nc\n\n")
splits("split: an open tag of the conclusion is taken out too", "<think>r</think><answer>c", "r", "c")
splits(
  "split: tags behind other text belong to the conclusion",
  "<think>r</think>c <answer>d</answer>",
  "r",
  "c <answer>d</answer>"
)

const rejects = (name: string, answer: string, reason: Rejection.Reason, detail: string): void => {
  test(name, () => assert.deepEqual(Sample.split(answer), { _tag: "Rejection", reason, detail }))
}

rejects("split: an answer without tags has no reasoning", "c", "no-reasoning", 'The answer has no think tags: "c"')
rejects("split: nor has an empty one", "", "no-reasoning", 'The answer has no think tags: ""')
rejects("split: nor has white space", " \n", "no-reasoning", 'The answer has no think tags: " \\n"')
rejects(
  "split: tags of a conclusion alone are no reasoning",
  "<answer>c</answer>",
  "no-reasoning",
  'The answer has no think tags: "<answer>c</answer>"'
)
rejects(
  "split: an opening tag behind other text opens nothing",
  "c <think>r",
  "no-reasoning",
  'Other text stands before <think>: "c <think>r"'
)
rejects(
  "split: reasoning that is not closed is rejected",
  "<think>r</thin",
  "unclosed-reasoning",
  'The reasoning is not closed: "<think>r</thin"'
)

test("split: the rejection says where the answer came from", () => {
  const place = { id: "a", file: "a.jsonl", line: 3 }
  for (const answer of ["c", "<think>"]) {
    const { id, file, line } = Sample.split(answer, place) as Rejection.Rejection
    assert.deepEqual({ id, file, line }, place)
  }
})

test("isTagged: tells whether reasoning opens a text, white space aside", () => {
  for (const [open] of thoughts) assert.ok(Sample.isTagged(` \n${open}r`), open)
  for (const text of ["", "r</think>", "c<think>", "<answer>c</answer>", "<THINK>"]) {
    assert.ok(!Sample.isTagged(text), text)
  }
})

test("hasTags: tells whether a tag of reasoning stands anywhere in a text", () => {
  for (const [open, close] of thoughts) assert.ok(Sample.hasTags(`c${open}`) && Sample.hasTags(`r${close}c`), open)
  for (const text of ["", "<answer>c</answer>", "<THINK>"]) assert.ok(!Sample.hasTags(text), text)
})

splits("split: an opening tag that is repeated at once is dropped", "<think>\n<think>\nr\n</think>c", "\nr\n", "c")

test("split: other text before the opening tag is rejected", () => {
  const rejection = Sample.split("Sure. <think>r</think>c")
  assert.ok("reason" in rejection)
  assert.equal(rejection.reason, "no-reasoning")
  assert.match(rejection.detail, /^Other text stands before <think>: /)
})
