import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Dialect from "../../lib/core/Dialect.ts"
import type { Rejection } from "../../lib/core/Rejection.ts"
import type { Message } from "../../lib/core/Sample.ts"
import * as Summary from "../../lib/core/Summary.ts"
import { words } from "../support/counts.ts"
import { law } from "../support/text.ts"

const roles = (messages: ReadonlyArray<Message>) => messages.map(({ role }) => role)

test("request: the first summary is of the unfinished answer", () => {
  const request = Summary.request({ question: "q", segments: ["r1"], gamma: 100 })
  assert.deepEqual(roles(request), ["user", "assistant", "user"])
  assert.deepEqual(request.slice(0, 2), [{ role: "user", content: "q" }, { role: "assistant", content: "r1" }])
})

test("request: a later summary is of the history and the reasoning since", () => {
  const request = Summary.request({ question: "q", history: "s1", segments: ["r2"], gamma: 100 })
  assert.deepEqual(roles(request), ["user", "assistant", "user", "assistant", "user"])
  assert.deepEqual([0, 1, 3].map((at) => request[at]!.content), ["q", "s1", "r2"])
})

test("request: a cumulative summary is of all segments so far, as one answer", () => {
  const request = Summary.request({ question: "q", segments: ["r1", "r2", "r3"], gamma: 100 })
  assert.deepEqual(roles(request), ["user", "assistant", "user"])
  assert.equal(request[1]!.content, "r1\n\nr2\n\nr3")
})

test("request: an empty history is a history all the same", () => {
  assert.equal(Summary.request({ question: "q", history: "", segments: ["r2"], gamma: 100 }).length, 5)
})

test("request: a conversation comes first, as it is", () => {
  const question: ReadonlyArray<Message> = [
    { role: "system", content: "a" },
    { role: "user", content: "b" },
    { role: "assistant", content: "c" },
    { role: "user", content: "d" }
  ]
  for (const history of [undefined, "s1"]) {
    const request = Summary.request({ question, ...history !== undefined && { history }, segments: ["r"], gamma: 9 })
    assert.deepEqual(request.slice(0, 4), question)
    assert.equal(request.length, history === undefined ? 6 : 8)
  }
})

/** What is asked for in the last turn. */
const asked = (history?: string): string =>
  Summary.request({ question: "q", ...history !== undefined && { history }, segments: ["r"], gamma: 345 }).at(-1)!
    .content

test("request: it states every requirement of the papers, and gamma", () => {
  const requirements = [
    /may be incomplete/,
    /key steps and the intermediate conclusions in the order/,
    /helps to answer the question/,
    /as concise as you can without leaving out a step/,
    /below 345 tokens/,
    /nothing that was not in the reasoning/,
    /no final answer, and no remarks/,
    /list whose items begin with `\*`/
  ]
  for (const text of [asked(), asked("s1")]) {
    for (const requirement of requirements) assert.match(text, requirement)
  }
  assert.match(asked("s1"), /from the very beginning/)
  assert.doesNotMatch(asked(), /old summary|from the very beginning/)
})

law(
  "request: it holds the question, the history and its segments whole, and nothing of what comes later",
  fc.record({ count: fc.integer({ min: 1, max: 6 }), at: fc.nat(5), isRecurrent: fc.boolean() }),
  ({ count, at, isRecurrent }) => {
    const last = at % count
    const numbers = Array.from({ length: count }, (_, i) => i)
    const segments = numbers.map((i) => `(reasoning ${i})`)
    const history = isRecurrent && last > 0 ? `(summary ${last - 1})` : undefined
    const used = isRecurrent ? [segments[last]!] : segments.slice(0, last + 1)
    const source = { question: "(question)", segments: used, gamma: 10, ...history !== undefined && { history } }
    const standard = {
      ...source,
      conclusion: "(conclusion)",
      dialect: Dialect.v1,
      tags: "reject",
      count: words.count
    } as const
    for (const request of [Summary.request(source), Summary.request(standard)]) {
      const found = request.map(({ content }) => content).join("\n").match(/\([a-z]+( \d)?\)/g)
      assert.deepEqual(found, ["(question)", ...history === undefined ? [] : [history], ...used])
    }
  }
)

const standard: Summary.Standard = {
  question: "q",
  segments: ["r"],
  gamma: 5,
  dialect: Dialect.v1,
  tags: "reject",
  count: words.count
}

const check = (
  text: string,
  changed: Partial<Summary.Standard & Summary.Candidate> = {}
): Summary.Checked | Rejection => {
  const { finished = true, ...rest } = changed
  return Summary.check({ text, finished }, { ...standard, ...rest })
}

const reason = (checked: Summary.Checked | Rejection): string =>
  checked._tag === "Rejection" ? checked.reason : checked._tag

test("check: a summary that will do is kept to the character, with its tokens", () => {
  assert.deepEqual(check("\n* a b\n* c "), { _tag: "Checked", text: "\n* a b\n* c ", tokens: 5, replaced: 0 })
})

test("check: exactly gamma tokens will do, one more will not", () => {
  assert.equal(reason(check("1 2 3 4 5")), "Checked")
  assert.deepEqual(check("1 2 3 4 5 6"), {
    _tag: "Rejection",
    reason: "summary-too-long",
    detail: 'The summary has 6 tokens, and gamma is 5: "1 2 3 4 5 6"'
  })
})

test("check: the tokens are those of the text as it is kept", () => {
  const count = (text: string): number => text.includes("<") ? 6 : 5
  assert.equal(reason(check("<s>", { tags: "replace", count })), "Checked")
})

test("check: one that was cut off will not do", () => {
  assert.deepEqual(check("a", { finished: false }), {
    _tag: "Rejection",
    reason: "summary-unfinished",
    detail: 'The summary was cut off: "a"'
  })
})

test("check: one of white space alone will not do", () => {
  for (const text of ["", " \n\u3000"]) {
    assert.deepEqual(check(text), { _tag: "Rejection", reason: "summary-empty", detail: "The summary is empty" })
  }
})

test("check: with reject, one with a tag or a special token will not do", () => {
  assert.deepEqual(check("a </think> b"), {
    _tag: "Rejection",
    reason: "summary-with-tag",
    detail: 'The summary holds </think>: "a </think> b"'
  })
  assert.equal(reason(check("a<|im_end|>")), "summary-with-tag")
})

test("check: with replace, its tags are made harmless and counted", () => {
  assert.deepEqual(check("<think> a</think>", { tags: "replace" }), {
    _tag: "Checked",
    text: "‹think> a‹/think>",
    tokens: 2,
    replaced: 2
  })
})

test("check: with replace, a tag that cannot be replaced is one too many", () => {
  const dialect = { ...Dialect.v1, sections: [{ name: "reasoning", open: "§", close: "¶", newlines: [] }] }
  assert.equal(reason(check("a¶", { dialect, tags: "replace" })), "summary-with-tag")
})

const boxes: ReadonlyArray<readonly [summary: string, conclusion: string, isLeak: boolean]> = [
  ["So \\boxed{42}.", "The answer is $\\boxed{42}$.", true],
  ["\\boxed{\\frac{1}{2}}", "\\boxed{\\frac{1}{2}}", true],
  ["\\boxed{\\frac{1}{2}}", "\\boxed{\\frac{1}{3}}", false],
  ["\\boxed {42}", "\\boxed{ 42 }", true],
  ["\\boxed{1} \\boxed{2}", "\\boxed{3} \\boxed{2}", true],
  ["\\boxed{41}", "\\boxed{42}", false],
  ["42", "\\boxed{42}", false],
  ["\\boxed{42}", "42", false],
  ["\\boxed{}", "\\boxed{}", false],
  ["\\boxed{\\{1}", "\\boxed{\\{1}", true],
  ["\\boxed{\\{1\\}}", "\\boxed{\\{2\\}}", false],
  ["\\boxed{1", "\\boxed{1", false],
  ["\\boxed{a\\boxed{1}", "\\boxed{1}", true],
  ["\\boxed{\\text{A}}", "\\boxed{A}", true],
  ["\\fbox{42}", "\\boxed{4 2}", true]
]

test("check: one that boxes the answer of the conclusion gives it away", () => {
  for (const [text, conclusion, isLeak] of boxes) {
    assert.equal(reason(check(text, { conclusion })), isLeak ? "summary-with-conclusion" : "Checked", text)
  }
  assert.deepEqual(check("So \\boxed{\\sqrt{2}}", { conclusion: "\\boxed{\\sqrt{2}}" }), {
    _tag: "Rejection",
    reason: "summary-with-conclusion",
    detail: 'The summary gives the conclusion away: "\\\\boxed{\\\\sqrt{2}}"'
  })
})

const telling = "Thus the sum of the numbers is 5050, done"

test("check: a long line of the conclusion gives it away, unless its sources have it", () => {
  const line = telling.slice(0, 40)
  const conclusion = `Hence\r\n  ${line}  \r\nq. e. d.`
  const leaks = (changed: Partial<Summary.Standard>, text = `* ${line}.`): boolean =>
    reason(check(text, { gamma: 50, conclusion, ...changed })) === "summary-with-conclusion"
  assert.ok(leaks({}))
  assert.ok(leaks({ segments: ["r1", "r2"], history: "s1" }))
  assert.ok(!leaks({ segments: ["r1", `so: ${line}`] }))
  assert.ok(!leaks({ history: `* ${line}` }))
  assert.ok(!leaks({ question: `Show: ${line}!` }))
  assert.ok(!leaks({ question: [{ role: "system", content: "a" }, { role: "user", content: line }] }))
  assert.ok(!leaks({ conclusion: "" }))
  assert.ok(!leaks({}, `* ${line.slice(1)}.`))
  assert.ok(!leaks({ conclusion: line.slice(0, 39) }))
})

test("check: without a conclusion nothing is given away", () => {
  assert.equal(reason(check("\\boxed{42}")), "Checked")
})

test("check: the first fault is the reason", () => {
  const all = `\\boxed{42} <think> ${"a ".repeat(9)}`
  const conclusion = "\\boxed{42}"
  assert.equal(reason(check(all, { conclusion, finished: false })), "summary-unfinished")
  assert.equal(reason(check(all, { conclusion })), "summary-with-tag")
  assert.equal(reason(check(all, { conclusion, tags: "replace" })), "summary-with-conclusion")
  assert.equal(reason(check(all, { tags: "replace" })), "summary-too-long")
})

test("check: a short line of the conclusion is given away as a line, and not as a part of one", () => {
  const leaks = (summary: string): boolean => {
    const checked = check(summary, { conclusion: "Well.\n\nThe answer is 77." })
    return checked._tag === "Rejection" && checked.reason === "summary-with-conclusion"
  }
  assert.equal(leaks("* n is prime\n* The answer is 77."), true)
  assert.equal(leaks("* It was tried whether The answer is 77. holds"), false)
  assert.equal(leaks("* Well."), false)
})
