import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Stagnation from "../../lib/core/Stagnation.ts"
import { law, sentence } from "../support/text.ts"

/** The verdict on summaries in a row, each of which starts from the one before; `null` is an iteration without one. */
const judged = (
  summaries: ReadonlyArray<string | null>,
  rule: Stagnation.Rule = {}
): Array<Stagnation.Verdict | undefined> => {
  let memory = Stagnation.none
  let history: string | undefined
  return summaries.map((summary) => {
    memory = Stagnation.observe(
      memory,
      { ...summary !== null && { summary }, ...history !== undefined && { history } },
      rule
    )
    history = summary ?? history
    return Stagnation.judge(memory, rule)
  })
}

const none = undefined

// Laws

law("keeps: a text keeps all of its own words, and a share of any other's", fc.tuple(sentence, sentence), ([a, b]) => {
  assert.equal(Stagnation.keeps(a, a), 1)
  assert.equal(Stagnation.keeps(a, `${b} ${a}`), 1)
  const share = Stagnation.keeps(a, b)
  assert.ok(share >= 0 && share <= 1)
})

law(
  "accumulation: summaries that keep all that the one before had are never judged",
  fc.array(sentence),
  (sentences) => {
    const summaries = sentences.map((_, i) =>
      sentences.slice(0, i + 1).flatMap((sentence, k) => [sentence, ...numbers(k)]).join(" ")
    )
    assert.ok(judged(summaries).every((verdict) => verdict === none))
  }
)

law(
  "streak: a summary that is neither the same nor another begins all counts anew",
  fc.tuple(fc.array(fc.constantFrom("same", "other", "empty"), { maxLength: 8 }), fc.integer({ min: 1, max: 4 })),
  ([kinds, count]) => {
    let memory = Stagnation.none
    const observed = { same: { summary: "a b", history: "a b" }, other: { summary: "c", history: "a b" }, empty: {} }
    for (const kind of kinds) memory = Stagnation.observe(memory, observed[kind as keyof typeof observed], { count })
    assert.deepEqual(Stagnation.observe(memory, { summary: "a c", history: "a b" }), Stagnation.none)
  }
)

/** Words that no other summary has. */
const numbers = (i: number): Array<string> => Array.from({ length: 20 }, (_, k) => `n${i}x${k}`)

// Examples

test("judge: three iterations in a row without a summary", () => {
  assert.deepEqual(judged(["a b c", null, null, null]), [none, none, none, "empty"])
  assert.deepEqual(judged(["a b", null, null, "a c", null, null]), [none, none, none, none, none, none])
})

test("judge: three repetitions in a row, in whatever order of words", () => {
  assert.deepEqual(judged(["a b c", "A b, c!", "c b a", "a b c"]), [none, none, none, "repeats"])
  assert.deepEqual(judged(["a b", "a b", "a c", "a c", "a c", "a c"]), [none, none, none, none, none, "repeats"])
})

test("judge: a summary that is the one before and more is no repetition", () => {
  assert.deepEqual(judged(["a", "a b", "a b c", "a b c d", "a b c d e"]), [none, none, none, none, none])
})

test("judge: three summaries in a row that keep little of the one before", () => {
  assert.deepEqual(judged(["a b c d e", "f g h i e", "j k l m e", "n o p q e"]), [none, none, none, "wanders"])
  assert.deepEqual(judged(["a b c", "d e f", "g h i", "g h i j", "k l m"]), [none, none, none, none, none])
})

test("judge: an iteration without a summary interrupts neither repetition nor wandering", () => {
  assert.deepEqual(judged(["a b", "a b", null, "a b", "a b"]).at(-1), "repeats")
  assert.deepEqual(judged(["a", "b", null, "c", "d"]).at(-1), "wanders")
})

test("judge: thresholds and count are options", () => {
  assert.deepEqual(judged(["a b c d", "a b c e"], { repeats: 0.75, count: 1 }), [none, "repeats"])
  assert.deepEqual(judged(["a b c d", "a b e f"], { wanders: 0.6, count: 1 }), [none, "wanders"])
  assert.deepEqual(judged(["a", "b", "c", "d", "e"], { wanders: 0 }).at(-1), none)
  assert.deepEqual(judged([null], { count: 1 }), ["empty"])
})

test("keeps: words are those of any script, without regard to case and signs", () => {
  assert.equal(Stagnation.keeps("Die Größe von x² ist 3,5.", "größe 3 von 5"), 4 / 7)
  assert.equal(Stagnation.keeps("因为n是偶数", "n 是奇数"), 3 / 6)
  assert.equal(Stagnation.keeps("ก ข", "ขค"), 1 / 2)
})

test("keeps: a text without words is kept by any other", () => {
  assert.equal(Stagnation.keeps("…", "a"), 1)
  assert.equal(Stagnation.keeps("a", ""), 0)
})
