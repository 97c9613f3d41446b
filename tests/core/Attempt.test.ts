import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Attempt from "../../lib/core/Attempt.ts"
import * as Dialect from "../../lib/core/Dialect.ts"
import type { Output } from "../../lib/core/Iteration.ts"
import * as Sections from "../../lib/core/Sections.ts"
import { words } from "../support/counts.ts"
import { cuts, everyCodeUnit, law, reasoning, sentence } from "../support/text.ts"

const dialects = fc.constantFrom(Dialect.v1, Dialect.plus, Dialect.chat)

const outputs: fc.Arbitrary<Output> = fc.record({
  // A newline at the end of reasoning would be taken for that of the tag.
  reasoning: reasoning.map((text) => text.replace(/^[\r\n]+|[\r\n]+$/g, "")),
  ending: fc.record({ _tag: fc.constantFrom("Summary" as const, "Conclusion" as const), text: sentence })
})

/** What was shown, section by section. */
const shownAs = (shown: ReadonlyArray<Attempt.Shown>): ReadonlyMap<string, string> => {
  const texts = new Map<string, string>()
  for (const event of shown) {
    if (event._tag === "Delta") texts.set(event.section, (texts.get(event.section) ?? "") + event.text)
  }
  return texts
}

// Laws

law(
  "chunking: an output is read and shown as it was written, wherever it is cut",
  fc.tuple(dialects, outputs).chain(([dialect, output]) =>
    cuts(Dialect.target(dialect, output)).map((chunks) => ({ dialect, output, chunks }))
  ),
  ({ dialect, output, chunks }) => {
    const attempt = Attempt.make({ dialect })
    const shown = shownAs([...chunks.flatMap(attempt.feed), ...attempt.end()])
    const read = attempt.read("stop")
    assert.deepEqual(structuredClone(read), structuredClone(output))
    assert.equal(shown.get("reasoning") ?? "", output.reasoning)
    assert.equal(shown.get(output.ending._tag === "Summary" ? "summary" : Sections.plain), output.ending.text)
    assert.equal(attempt.content(), Dialect.target(dialect, output))
  }
)

law(
  "agreement: what is shown is what the reasoning is, at any time and where it is cut",
  fc.tuple(outputs, fc.integer({ min: 4, max: 60 })).chain(([output, eta]) =>
    cuts(Dialect.target(Dialect.chat, output)).map((chunks) => ({ output, eta, chunks }))
  ),
  ({ output, eta, chunks }) => {
    const attempt = Attempt.make({ dialect: Dialect.guided, guide: { eta, count: words.count } })
    let shown = ""
    for (const chunk of chunks) {
      shown += shownAs(attempt.feed(chunk)).get("reasoning") ?? ""
      assert.equal(attempt.reasoning(), shown)
    }
    shown += shownAs(attempt.end()).get("reasoning") ?? ""
    assert.equal(attempt.reasoning(), shown)
    assert.ok(words.count(shown) <= eta)
    const cut = attempt.cut()
    if (cut === undefined) assert.equal(shown, output.reasoning)
    else assert.ok(`${shown}${cut.dropped}`.startsWith(output.reasoning))
  }
)

// Examples

test("end: an attempt that ended twice shows nothing twice", () => {
  const attempt = Attempt.make({ dialect: Dialect.v1 })
  assert.deepEqual(attempt.feed("<think>\nSo </th"), [{ _tag: "Delta", section: "reasoning", text: "So " }])
  assert.ok(attempt.isReasoning())
  assert.deepEqual(attempt.end(), [{ _tag: "Delta", section: "reasoning", text: "</th" }])
  assert.deepEqual(attempt.end(), [])
  assert.equal(attempt.reasoning(), "So </th")
})

test("feedReasoning: what comes beside the content cannot be given back", () => {
  const attempt = Attempt.make({ dialect: Dialect.v1 })
  attempt.feedReasoning("")
  attempt.feed("")
  assert.ok(attempt.isContent())
  attempt.feedReasoning("So.")
  assert.ok(!attempt.isContent())
  attempt.feed("Done.")
  attempt.end()
  assert.deepEqual(attempt.read("stop"), { reasoning: "So.", ending: { _tag: "Conclusion", text: "Done." } })
})

test("cut: reasoning that comes in parts is cut as a whole", () => {
  const attempt = Attempt.make({ dialect: Dialect.guided, guide: { eta: 200, count: words.count } })
  everyCodeUnit("so ".repeat(90)).forEach(attempt.feedReasoning)
  attempt.feed("Let me see.")
  everyCodeUnit("so ".repeat(120)).forEach(attempt.feedReasoning)
  assert.equal(words.count(attempt.reasoning()), 200)
  assert.equal(words.count(attempt.cut()!.dropped), 10)
})

test("cut: reasoning that begins again and again is counted once", () => {
  let counted = 0
  const count = (text: string): number => {
    counted += text.length
    return Math.ceil(text.length / 4)
  }
  const attempt = Attempt.make({ dialect: Dialect.guided, guide: { eta: 100_000, count } })
  let length = 0
  for (let i = 0; i < 1000; i++) {
    const text = "So it is. "
    length += text.length
    attempt.feedReasoning(text)
    attempt.feed("\n")
  }
  attempt.end()
  assert.equal(attempt.cut(), undefined)
  assert.ok(counted <= 3 * length, `${counted} of ${length} code units`)
})

test("inside: the section that the prompt opened", () => {
  const attempt = Attempt.make({ dialect: Dialect.v1, inside: "reasoning" })
  assert.ok(attempt.isReasoning())
  attempt.feed("So.\n</think>Done.")
  attempt.end()
  assert.deepEqual(attempt.read("stop"), { reasoning: "So.", ending: { _tag: "Conclusion", text: "Done." } })
})
