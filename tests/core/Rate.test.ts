import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import * as Rate from "../../lib/core/Rate.ts"
import { law } from "../support/text.ts"

const MINUTE = 60_000

/** What is spent, after what wait, and what it turns out to have been. */
const spends = fc.array(
  fc.record({
    wait: fc.oneof(fc.constant(0), fc.nat({ max: 90_000 })),
    amount: fc.integer({ min: 1, max: 150 }),
    actual: fc.option(fc.integer({ min: 0, max: 150 }))
  }),
  { maxLength: 60 }
)

law(
  "Rate: what is spent when there is room never exceeds the limit in any minute",
  fc.tuple(spends, fc.integer({ min: 1, max: 200 })),
  ([spends, most]) => {
    const rate = Rate.make(most)
    const spent: Array<{ readonly at: number; readonly amount: number }> = []
    let now = 0
    for (const { wait, amount } of spends) {
      now = rate.freeAt(now + wait, amount)
      assert.equal(rate.freeAt(now, amount), now)
      rate.spend(now, amount)
      spent.push({ at: now, amount })
    }
    for (const { at: end } of spent) {
      const inside = spent.filter(({ at }) => at > end - MINUTE && at <= end)
      const sum = inside.reduce((sum, { amount }) => sum + amount, 0)
      assert.ok(sum <= most || inside.length === 1, `${sum} of at most ${most} up to ${end}`)
    }
  }
)

law(
  "Rate: no wait is longer than it must be",
  fc.tuple(spends, fc.integer({ min: 1, max: 200 })),
  ([spends, most]) => {
    const rate = Rate.make(most)
    let now = 0
    for (const { wait, amount } of spends) {
      const free = rate.freeAt(now += wait, amount)
      if (free > now) {
        const before = free - 1
        assert.ok(rate.freeAt(before, amount) > before)
      }
      now = rate.freeAt(free, amount)
      rate.spend(now, amount)
    }
  }
)

law("Rate: what is spent is the sum of the last minute, as corrected", spends, (spends) => {
  const rate = Rate.make()
  const spent: Array<{ readonly at: number; amount: number }> = []
  const corrections: Array<() => void> = []
  let now = 0
  for (const { wait, amount, actual } of spends) {
    now += wait
    const entry = { at: now, amount }
    spent.push(entry)
    const correct = rate.spend(now, amount)
    // A correction comes behind the next spend, or much later.
    corrections.push(() => {
      if (actual === null) return
      correct(actual)
      entry.amount = actual
    })
    if (corrections.length > 2) corrections.shift()!()
    const expected = spent.filter(({ at }) => at > now - MINUTE).reduce((sum, { amount }) => sum + amount, 0)
    assert.equal(rate.spent(now), expected)
  }
})

test("Rate: an amount that is more than a minute's goes alone", () => {
  const rate = Rate.make(10)
  rate.spend(0, 3)
  assert.equal(rate.freeAt(5, 11), 60_000)
  rate.spend(60_000, 11)
  assert.equal(rate.freeAt(60_001, 1), 120_000)
})

test("Rate: a bad limit is refused", () => {
  for (const most of [0, -1, NaN]) {
    assert.throws(() => Rate.make(most), { name: "RangeError", message: /^Cannot keep a rate: its limit is / })
  }
})
