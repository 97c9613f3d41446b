import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Extractive from "../../lib/adapters/Extractive.ts"
import { o200k } from "../support/counts.ts"
import { law, reasoning } from "../support/text.ts"

const source = (segment: string, gamma: number, history?: string) => ({
  question: "?",
  segments: [segment],
  gamma,
  ...history !== undefined && { history }
})

law(
  "extract: at most gamma tokens, and something where there is a sentence that fits",
  fc.tuple(reasoning, fc.integer({ min: 16, max: 400 })),
  ([text, gamma]) => {
    const summary = Extractive.extract(source(text, gamma), o200k.count)
    assert.ok(o200k.count(summary) <= gamma)
    if (/[A-Z][a-z]+ [a-z]+/.test(text)) assert.notEqual(summary, "")
  }
)

law("extract: the same source gives the same summary", reasoning, (text) => {
  assert.equal(
    Extractive.extract(source(text, 100), o200k.count),
    Extractive.extract(source(text, 100), o200k.count)
  )
})

test("extract: sentences that share words with the rest, in their order, each once", () => {
  const text = "The sum of the even numbers is even. Bananas are yellow!\n\n" +
    "So the sum of the odd numbers is the rest. The sum of the even numbers is even.\n\nHmm."
  assert.equal(
    Extractive.extract(source(text, 48), o200k.count),
    "* The sum of the even numbers is even.\n* So the sum of the odd numbers is the rest."
  )
})

test("extract: what the history says is carried on, without list marks of its own", () => {
  const summary = Extractive.extract(source("Then n is 4.", 100, "* The number n is even.\n* m is odd."), o200k.count)
  assert.equal(summary, "* The number n is even.\n* m is odd.\n* Then n is 4.")
})

test("extract: a boxed answer is not a summary's", () => {
  assert.equal(Extractive.extract(source("Let n be 4. So \\boxed{4}.", 100), o200k.count), "* Let n be 4.")
})

test("extract: a sentence that is longer than gamma is cut behind a word", () => {
  const summary = Extractive.extract(source("one two three four five six seven eight nine ten", 6), o200k.count)
  assert.equal(summary, "* one two three four five")
})
