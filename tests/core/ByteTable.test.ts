import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as ByteTable from "../../lib/core/ByteTable.ts"
import { law } from "../support/text.ts"

let others = 0

/** A key among other bytes, which are others each time. */
const viewOf = (key: ReadonlyArray<number>): DataView => {
  others = (others + 1) % 256
  return new DataView(new Uint8Array([others, ...key, others, others, others]).buffer)
}

const find = (table: ByteTable.ByteTable, key: ReadonlyArray<number>, tag = 0): number =>
  table.find(viewOf(key), 1, 1 + key.length, tag)

const set = (table: ByteTable.ByteTable, key: ReadonlyArray<number>, value: number, tag = 0): boolean =>
  table.set(viewOf(key), 1, 1 + key.length, tag, value)

/** Keys that differ in little: in length, in zeros at their end, in one byte. */
const key = fc.array(fc.constantFrom(0, 1, 255), { minLength: 1, maxLength: 9 })

law(
  "find: what was set last for the same bytes and tag",
  fc.array(fc.tuple(key, fc.nat({ max: 2 }), fc.nat()), { maxLength: 60 }),
  (entries) => {
    const table = ByteTable.make({ entries: 60, bytes: 720 })
    const model = new Map<string, number>()
    for (const [bytes, tag, value] of entries) {
      const name = `${tag}:${bytes}`
      assert.equal(find(table, bytes, tag), model.get(name) ?? -1)
      assert.equal(set(table, bytes, value, tag), true)
      model.set(name, value)
    }
    for (const [bytes, tag] of entries) assert.equal(find(table, bytes, tag), model.get(`${tag}:${bytes}`))
  }
)

test("set: a full table takes nothing new, but for what it has", () => {
  const byEntries = ByteTable.make({ entries: 2, bytes: 100 })
  assert.deepEqual([set(byEntries, [1], 1), set(byEntries, [2], 2), set(byEntries, [3], 3)], [true, true, false])
  assert.deepEqual([set(byEntries, [2], 5), find(byEntries, [2]), find(byEntries, [3])], [true, 5, -1])
  const byBytes = ByteTable.make({ entries: 9, bytes: 8 })
  assert.deepEqual([set(byBytes, [1, 2, 3, 4, 5], 1), set(byBytes, [6], 2)], [true, false])
})

test("make: a table of no entries takes and finds nothing", () => {
  const table = ByteTable.make({ entries: 0, bytes: 0 })
  assert.deepEqual([find(table, [1]), set(table, [1], 1), find(table, [1])], [-1, false, -1])
})

test("clear: a table is as it was made", () => {
  const table = ByteTable.make({ entries: 1, bytes: 4 })
  set(table, [1], 1)
  table.clear()
  assert.equal(find(table, [1]), -1)
  assert.deepEqual([set(table, [2], 2), find(table, [2]), find(table, [1])], [true, 2, -1])
})
