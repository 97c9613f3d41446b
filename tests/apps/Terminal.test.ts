import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Terminal from "../../lib/apps/Terminal.ts"
import { law } from "../support/text.ts"

law(
  "printable: no control character is left but newlines and tabs, and nothing else is changed",
  fc.string(),
  (text) => {
    const hostile = `${text}\x1b]0;title\x07\r\n\tso\rso\x7f\x9b2J`
    const shown = Terminal.printable(hostile)
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(shown.replaceAll("\r\n", ""), /[\0-\x08\x0b-\x1f\x7f-\x9f]/)
    assert.equal(shown.length, hostile.length)
    // deno-lint-ignore no-control-regex
    const rest = (of: string): string => of.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u2400-\u241f\ufffd]/g, "")
    assert.equal(rest(shown), rest(hostile))
  }
)

test("printable: an escape is seen, and does nothing", () => {
  assert.equal(Terminal.printable("a\x1b[31mb\n\tc"), "a␛[31mb\n\tc")
})
