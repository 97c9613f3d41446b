import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as BytePairs from "../../lib/core/BytePairs.ts"
import * as ByteTable from "../../lib/core/ByteTable.ts"
import { law } from "../support/text.ts"

interface Merges {
  /** Tokens of letters, the first of which is merged first. */
  readonly tokens: ReadonlyArray<string>
}

/** Tokens made as vocabularies are trained: each of two that are there already. */
const merges: fc.Arbitrary<Merges> = fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 30 }).map((pairs) => {
  const known = ["a", "b", "c"]
  for (const [left, right] of pairs) known.push(known[left % known.length]! + known[right % known.length]!)
  return { tokens: [...new Set(known.filter(({ length }) => length < 40))].slice(3) }
})

const letters = fc.string({ unit: fc.constantFrom("a", "a", "b", "c"), maxLength: 400 })

const encodingOf = ({ tokens }: Merges, { split, whole }: { split: boolean; whole: boolean }): BytePairs.Encoding => {
  const ranks = ByteTable.make({ entries: 2000, bytes: 100_000 })
  const bytes = new Uint8Array(100)
  tokens.forEach((token, rank) => {
    new TextEncoder().encodeInto(token, bytes)
    const view = new DataView(bytes.buffer)
    // Every way to split a token is a merge; the most even one comes last.
    if (split) {
      for (let left = 1; left < token.length; left++) ranks.set(view, 0, token.length, left, 40 * rank + left)
    } else ranks.set(view, 0, token.length, 0, rank)
  })
  return { pattern: { family: "cl100k", digits: 3 }, ranks, split, whole }
}

/** Merges the leftmost pair of the lowest rank, again and again. */
const merged = (text: string, rankOf: (left: string, right: string) => number): number => {
  const parts = [...text]
  for (;;) {
    let best = -1
    let lowest = Infinity
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = rankOf(parts[i]!, parts[i + 1]!)
      if (rank >= 0 && rank < lowest) [best, lowest] = [i, rank]
    }
    if (best < 0) return parts.length
    parts.splice(best, 2, parts[best]! + parts[best + 1]!)
  }
}

law("count: that of merging the lowest rank first, the leftmost where there are several", fc.tuple(merges, letters), ([
  known,
  text
]) => {
  const { tokens } = known
  const count = BytePairs.makeCount(encodingOf(known, { split: false, whole: false }))
  const expected = merged(text, (left, right) => tokens.indexOf(left + right))
  assert.deepEqual([count(text), count(text)], [expected, expected])
  const bySplit = BytePairs.makeCount(encodingOf(known, { split: true, whole: false }))
  const rankOf = (left: string, right: string): number => {
    const rank = tokens.indexOf(left + right)
    return rank < 0 ? -1 : 40 * rank + left.length
  }
  assert.equal(bySplit(text), merged(text, rankOf))
})

law(
  "count: texts counted before change nothing",
  fc.tuple(merges, fc.array(letters, { maxLength: 5 })),
  ([known, texts]) => {
    const encoding = encodingOf(known, { split: false, whole: false })
    const count = BytePairs.makeCount(encoding)
    const counts = texts.map(count)
    assert.deepEqual(texts.map(count), counts)
    assert.deepEqual(texts.map((text) => BytePairs.makeCount(encoding)(text)), counts)
  },
  50
)

test("whole: a pre-token that is a token is one, even where no merges make it", () => {
  const known = { tokens: ["abc"] }
  assert.equal(BytePairs.makeCount(encodingOf(known, { split: false, whole: true }))("abc abc"), 5)
  assert.equal(BytePairs.makeCount(encodingOf(known, { split: false, whole: false }))("abc abc"), 7)
})

test("composed: text is composed first", () => {
  const encoding = encodingOf({ tokens: [] }, { split: false, whole: false })
  assert.equal(BytePairs.makeCount(encoding)("e\u0301"), 3)
  assert.equal(BytePairs.makeCount({ ...encoding, composed: true })("e\u0301"), 2)
})

test("memory: more different pre-tokens than are remembered are counted as any others", () => {
  const known = { tokens: ["ab", "abab"] }
  const count = BytePairs.makeCount(encodingOf(known, { split: false, whole: false }))
  for (const padding of [0, 20]) {
    for (let i = 0; i < 280_000; i++) {
      // The same ones again, half of which were forgotten.
      const text = "c".repeat(padding) +
        (i % 140_000).toString(3).padStart(12, "0").replace(/\d/g, (digit) => "abc"[Number(digit)]!)
      if (count(text) !== text.replace(/abab|ab/g, "-").length) assert.fail(text)
    }
  }
})

test("size: a million letters without an end are one pre-token, and are merged all the same", () => {
  const count = BytePairs.makeCount(encodingOf({ tokens: ["aa", "aaaa", "bc"] }, { split: false, whole: true }))
  assert.equal(count("a".repeat(1_000_001)), 250_001)
  assert.equal(count("abc".repeat(300_000)), 600_000)
})
