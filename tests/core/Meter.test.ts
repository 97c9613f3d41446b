import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Meter from "../../lib/core/Meter.ts"
import { law } from "../support/text.ts"

const tokens = fc.integer({ min: 0, max: 200_000 })
const request = fc.tuple(tokens, tokens).map(([input, output]) => Meter.request(input, output))
const meter = fc.array(request, { maxLength: 5 }).map((requests) => requests.reduce(Meter.add, Meter.empty))

// Laws

law(
  "area: it is the sum of the context's length at every token written",
  fc.tuple(fc.nat(3000), fc.nat(3000)),
  ([p, g]) => {
    let area = 0
    for (let written = 1; written <= g; written++) area += p + written
    assert.equal(Meter.request(p, g).area, area)
  }
)

law("sum: meters are added in any order, and nothing is added by none", fc.tuple(meter, meter, meter), ([a, b, c]) => {
  assert.deepEqual(Meter.add(a, b), Meter.add(b, a))
  assert.deepEqual(Meter.add(Meter.add(a, b), c), Meter.add(a, Meter.add(b, c)))
  assert.deepEqual(Meter.add(a, Meter.empty), a)
})

law("peak: it is that of the longest request", fc.array(request, { minLength: 1, maxLength: 8 }), (requests) => {
  const all = requests.reduce(Meter.add, Meter.empty)
  assert.equal(all.peak, Math.max(...requests.map(({ peak }) => peak)))
  assert.equal(all.requests, requests.length)
})

law(
  "iterations: to begin anew from a short summary takes less area, where the question is no longer than the reasoning",
  fc.tuple(fc.integer({ min: 16, max: 5000 }), fc.integer({ min: 2, max: 10 }), fc.nat(16)),
  ([length, count, question]) => {
    const summary = Math.floor(length / 8)
    const { live, vanilla } = compared({ question, length, summary, conclusion: 0, count })
    assert.ok(live.area < vanilla.area)
    assert.ok(live.peak <= vanilla.peak)
    assert.ok(live.outputTokens >= vanilla.outputTokens)
  }
)

// Examples

interface Shape {
  readonly question: number
  /** The tokens of reasoning in an iteration. */
  readonly length: number
  readonly summary: number
  readonly conclusion: number
  readonly count: number
}

/** What `count` iterations take, and the same reasoning in one go. */
const compared = ({ question, length, summary, conclusion, count }: Shape) => ({
  live: Array.from({ length: count }, (_, i) =>
    Meter.request(
      i === 0 ? question : question + summary,
      i === count - 1 ? length + conclusion : length + summary
    )).reduce(Meter.add, Meter.empty),
  vanilla: Meter.request(question, count * length + conclusion)
})

const paper: Shape = { question: 200, length: 4096, summary: 500, conclusion: 500, count: 3 }

test("request: three iterations take less than half of the area of one long reasoning, and 7.8 % more output", () => {
  const { live, vanilla } = compared(paper)
  assert.equal((live.area / vanilla.area).toFixed(3), "0.463")
  assert.equal(live.peak, 5296)
  assert.equal(vanilla.peak, 12_988)
  assert.equal((100 * (live.outputTokens / vanilla.outputTokens - 1)).toFixed(1), "7.8")
})

test("request: five iterations take less than a third", () => {
  const { live, vanilla } = compared({ ...paper, count: 5 })
  assert.equal((live.area / vanilla.area).toFixed(3), "0.297")
})

test("request: one iteration takes what one long reasoning takes", () => {
  const { live, vanilla } = compared({ ...paper, count: 1 })
  assert.deepEqual(live, vanilla)
})

test("efficiency: one iteration keeps the reward, the more the less, and all keep some", () => {
  assert.equal(Meter.efficiency(1, 1, 10), 1)
  assert.equal(Meter.efficiency(2, 6, 10), 1.5)
  assert.ok(Math.abs(Meter.efficiency(1, 10, 10) - 0.19) < 1e-12)
  assert.equal(Meter.efficiency(0, 3, 10), 0)
})
