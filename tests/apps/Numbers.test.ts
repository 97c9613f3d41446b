import assert from "node:assert/strict"
import { test } from "node:test"
import * as Numbers from "../../lib/apps/Numbers.ts"

test("whole: a fraction is rounded, and thousands are set apart", () => {
  assert.deepEqual([0, 0.4, 1234.56, 1_000_000].map(Numbers.whole), ["0", "0", "1,235", "1,000,000"])
})

test("brief: only small numbers have a digit behind the point", () => {
  assert.deepEqual([0.04, 1.25, 9.96, 10.4, 1234.5].map(Numbers.brief), ["0", "1.3", "10", "10", "1,235"])
})
