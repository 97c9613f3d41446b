import assert from "node:assert/strict"
import { test } from "node:test"
import * as Rejection from "../../lib/core/Rejection.ts"

test("make: a rejection has a reason, a detail and, where it is known, a place", () => {
  assert.deepEqual(Rejection.make("invalid-json", "It is not JSON"), {
    _tag: "Rejection",
    reason: "invalid-json",
    detail: "It is not JSON"
  })
  assert.deepEqual(Rejection.make("invalid-json", "It is not JSON", { file: "a.jsonl", line: 2 }), {
    _tag: "Rejection",
    reason: "invalid-json",
    detail: "It is not JSON",
    file: "a.jsonl",
    line: 2
  })
})

test("isRejection: tells a rejection from any other value", () => {
  assert.ok(Rejection.isRejection(Rejection.make("no-question", "")))
  for (const value of [null, undefined, "Rejection", {}, { _tag: "Checked" }]) assert.ok(!Rejection.isRejection(value))
})

test("quote: a text of at most the length is whole, a longer one is cut", () => {
  assert.equal(Rejection.quote('a\n"b"', 5), '"a\\n\\"b\\""')
  assert.equal(Rejection.quote("abcdef", 5), '"abcde…"')
  assert.equal(Rejection.quote("a".repeat(80)), `"${"a".repeat(80)}"`)
  assert.equal(Rejection.quote("a".repeat(81)), `"${"a".repeat(80)}…"`)
})
