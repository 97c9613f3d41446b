import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Frame from "../../lib/core/Frame.ts"
import { law } from "../support/text.ts"

type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json }

/** What an event says: one string of a few, a few shapes around it, and the same words as keys and in other places. */
const word = fc.constantFrom("a", "text", "stop", "", '"', "\\", "a\nb", "é", "𝒙", "\ud83d", "{", "}", ",", '":"')
const shape: fc.Arbitrary<(text: string) => Json> = fc.record({
  before: fc.oneof(word, fc.constant(null)),
  behind: fc.oneof(word, fc.constant(null)),
  twice: fc.boolean()
}).map(({ before, behind, twice }) => (text) => ({
  stop: before,
  a: [before],
  text,
  ...twice && { again: text },
  more: { text: behind, a: behind }
}))

const read = (json: string): string | undefined => {
  try {
    return JSON.parse(json).text
  } catch {
    return undefined
  }
}

law(
  "find: it gives nothing, or the string that parsing gives",
  fc.array(shape, { minLength: 1, maxLength: 3 }).chain((shapes) =>
    fc.array(fc.tuple(fc.constantFrom(...shapes), word), { maxLength: 20 })
  ),
  (events) => {
    const frame = Frame.make()
    for (const [make, text] of events) {
      const json = JSON.stringify(make(text))
      const found = frame.find(json)
      if (found === undefined) frame.learn(json, read)
      else assert.equal(found, text)
    }
  },
  2000
)

law(
  "find: a string that needs no escape is found behind one in the same frame",
  fc.tuple(fc.lorem(), fc.lorem()),
  ([first, second]) => {
    const frame = Frame.make()
    const make = (text: string): string => JSON.stringify({ first, text: `${text}.`, more: [first] })
    frame.learn(make(first), read)
    assert.equal(frame.find(make(second)), `${second}.`)
    assert.equal(frame.find(make("")), ".")
  }
)

test("learn: a text of which the string says too little, or that is never like the one before, is left", () => {
  const frame = Frame.make()
  let reads = 0
  for (let id = 0; id < 100; id++) {
    const json = JSON.stringify({ id, text: "so" })
    assert.equal(frame.find(json), undefined)
    frame.learn(json, (json) => {
      reads++
      return read(json)
    })
  }
  assert.ok(reads < 20, `${reads} texts were read`)
})

test("learn: where the string is part of a key or of another string, neither is taken for it", () => {
  const frame = Frame.make()
  frame.learn(`{"text":"text","more":"\\"text\\""}`, read)
  assert.equal(frame.find(`{"text":"word","more":"\\"text\\""}`), "word")
  assert.equal(frame.find(`{"text":"text","more":"\\"word\\""}`), undefined)
})

test("find: a text too short for the frame is not in it", () => {
  const frame = Frame.make()
  frame.learn(`{"text":"so"}`, read)
  assert.equal(frame.find(`{"text":"}`), undefined)
})
