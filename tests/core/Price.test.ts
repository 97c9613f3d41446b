import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Price from "../../lib/core/Price.ts"
import { law } from "../support/text.ts"

const tokens = fc.nat({ max: 1e9 })
const dollars = fc.double({ min: 0, max: 1000, noNaN: true })
const prices = fc.record({ input: dollars, cachedInput: dollars, output: dollars })
const usages = fc.tuple(tokens, tokens, fc.nat({ max: 100 })).map(([inputTokens, outputTokens, share]) => ({
  inputTokens,
  outputTokens,
  cachedTokens: Math.floor(inputTokens * share / 100)
}))

const near = (one: number, other: number): void =>
  assert.ok(Math.abs(one - other) <= 1e-9 * Math.max(1, one, other), `${one} is not ${other}`)

law("cost: what requests cost adds up", fc.tuple(prices, usages, usages), ([price, one, other]) => {
  near(
    Price.cost(price, {
      inputTokens: one.inputTokens + other.inputTokens,
      cachedTokens: one.cachedTokens + other.cachedTokens,
      outputTokens: one.outputTokens + other.outputTokens
    }),
    Price.cost(price, one) + Price.cost(price, other)
  )
})

law("cost: where cached tokens have no price of their own, they cost what others do", fc.tuple(prices, usages), (
  [{ input, output }, usage]
) => {
  near(Price.cost({ input, output }, usage), Price.cost({ input, output }, { ...usage, cachedTokens: 0 }))
})

test("cost: a price is that of a million tokens", () => {
  const price = { input: 2, cachedInput: 0.5, output: 8 }
  near(Price.cost(price, { inputTokens: 3_000_000, outputTokens: 500_000 }), 10)
  near(Price.cost(price, { inputTokens: 3_000_000, cachedTokens: 1_000_000, outputTokens: 0 }), 4.5)
})

test("cost: a server that says more is cached than was read makes nothing cheaper than all of it", () => {
  near(Price.cost({ input: 2, cachedInput: 1, output: 0 }, { inputTokens: 1e6, cachedTokens: 5e6, outputTokens: 0 }), 1)
})

test("render: cents, two digits below one cent, and what is not known is no number", () => {
  assert.deepEqual([0, 0.00123, 0.0099999, 0.01, 12.345, 1234.5, undefined].map(Price.render), [
    ...["0.00 USD", "0.0012 USD", "0.01 USD", "0.01 USD", "12.35 USD", "1,234.50 USD", "unknown"]
  ])
})
