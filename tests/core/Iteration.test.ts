import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Iteration from "../../lib/core/Iteration.ts"
import { law, reasoning, sentence } from "../support/text.ts"

const segments = fc.array(fc.oneof(reasoning, fc.constantFrom("", " ", "\n", " \r\n\t\n", "\u3000", "\n a\n\r\n")))

law(
  "reasonings: segments that are not white space alone, in order, but for the newlines at their ends",
  segments,
  (texts) => {
    const reasonings = Iteration.reasonings(texts.map((text) => ({ text })))
    const kept = texts.filter((text) => /\S/.test(text))
    assert.deepEqual(reasonings, kept.length === 0 ? [""] : kept.map((text) => text.replace(/^[\r\n]+|[\r\n]+$/g, "")))
  }
)

const reasoningsOf = (...texts: ReadonlyArray<string>) => Iteration.reasonings(texts.map((text) => ({ text })))

test("reasonings: only newlines are taken off, and only at the ends", () => {
  assert.deepEqual(reasoningsOf("\r\n\n a\n\nb \n\r\n", "\tc"), [" a\n\nb ", "\tc"])
  assert.deepEqual(reasoningsOf("\n \n a\n \n"), [" \n a\n "])
})

test("reasonings: a segment of white space alone has none", () => {
  assert.deepEqual(reasoningsOf("a", " \n\u3000", "b"), ["a", "b"])
})

test("reasonings: empty reasoning is one of nothing", () => {
  assert.deepEqual(reasoningsOf(), [""])
  assert.deepEqual(reasoningsOf(" ", "\n"), [""])
})

const parts = fc.record({
  id: fc.constantFrom("a", "b/1"),
  question: fc.oneof(sentence, sentence.map((content) => [{ role: "user" as const, content }])),
  conclusion: sentence,
  reasonings: fc.array(fc.oneof(sentence, fc.constant("")), { minLength: 1, maxLength: 6 }),
  summaries: fc.array(sentence, { minLength: 5, maxLength: 5 })
}).map(({ summaries, ...parts }) => ({ ...parts, summaries: summaries.slice(0, parts.reasonings.length - 1) }))

law("chain: an iteration's history is its predecessor's summary", parts, (parts) => {
  const { iterations } = Iteration.recombine(parts, parts.reasonings, parts.summaries)
  assert.ok(!("history" in iterations[0]!))
  for (const [i, { history }] of iterations.slice(1).entries()) {
    assert.deepEqual(iterations[i]!.output.ending, { _tag: "Summary", text: history })
    assert.equal(history, parts.summaries[i])
  }
})

law("ending: only the last iteration concludes, with the sample's conclusion", parts, (parts) => {
  const endings = Iteration.recombine(parts, parts.reasonings, parts.summaries).iterations.map(({ output }) =>
    output.ending
  )
  assert.deepEqual(endings.pop(), { _tag: "Conclusion", text: parts.conclusion })
  assert.deepEqual(endings, parts.summaries.map((text) => ({ _tag: "Summary", text })))
})

law("recombine: the reasonings come in order, counted from 1, with the question unchanged", parts, (parts) => {
  const trajectory = Iteration.recombine(parts, parts.reasonings, parts.summaries)
  assert.deepEqual(trajectory.iterations.map(({ output }) => output.reasoning), parts.reasonings)
  assert.deepEqual(trajectory.iterations.map(({ index }) => index), parts.reasonings.map((_, i) => i + 1))
  assert.equal(trajectory.id, parts.id)
  for (const { question } of [trajectory, ...trajectory.iterations]) assert.equal(question, parts.question)
})

test("recombine: a trajectory of two iterations", () => {
  const sample = { id: "a", question: "q", conclusion: "c", reasoning: "r1r2" }
  assert.deepEqual(Iteration.recombine(sample, ["r1", "r2"], ["s1"]), {
    id: "a",
    question: "q",
    iterations: [
      { question: "q", index: 1, output: { reasoning: "r1", ending: { _tag: "Summary", text: "s1" } } },
      { question: "q", history: "s1", index: 2, output: { reasoning: "r2", ending: { _tag: "Conclusion", text: "c" } } }
    ]
  })
})

test("recombine: an empty summary is a history all the same", () => {
  const { iterations } = Iteration.recombine({ id: "a", question: "q", conclusion: "c" }, ["r1", "r2"], [""])
  assert.equal(iterations[1]!.history, "")
})

test("recombine: another number of summaries than one fewer is an error", () => {
  const sample = { id: "a", question: "q", conclusion: "c" }
  const wrong: ReadonlyArray<readonly [number, number]> = [[0, 0], [1, 1], [2, 0], [2, 2], [3, 1]]
  for (const [reasonings, summaries] of wrong) {
    const recombine = () => Iteration.recombine(sample, Array(reasonings).fill("r"), Array(summaries).fill("s"))
    assert.throws(recombine, {
      name: "RangeError",
      message:
        `Cannot recombine "a": ${reasonings} reasonings and ${summaries} summaries, and there must be one summary fewer`
    })
  }
})
