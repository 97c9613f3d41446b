import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as ServerSentEvents from "../../lib/adapters/ServerSentEvents.ts"
import { law } from "../support/text.ts"

const parse = (chunks: ReadonlyArray<string>, maxEventSize = 1000): Array<ServerSentEvents.ServerEvent> => {
  const parser = ServerSentEvents.make({ maxEventSize })
  return [...chunks.flatMap((chunk) => parser.feed(chunk)), ...parser.end()]
}

const message = (data: string): ServerSentEvents.ServerEvent => ({ name: "message", data })
const error = (data: string): ServerSentEvents.ServerEvent => ({ name: "error", data })

// Lines of few kinds, so that endings, blank lines and fields meet in every way; some are larger than the bound of 12.
const stream = fc.array(
  fc.tuple(
    fc.constantFrom(
      "",
      "",
      "data: a",
      "data:b",
      "data",
      "event: error",
      "event: x",
      "error: c",
      ": ping",
      "retry: 3",
      "é"
    ),
    fc.constantFrom("\n", "\n", "\r\n", "\r", "0123456789")
  ).map((pair) => pair.join("")),
  { maxLength: 12 }
).map((lines) => lines.join(""))

law(
  "chunking: where the text is cut changes nothing",
  fc.tuple(stream, fc.array(fc.nat(40), { maxLength: 6 }), fc.constantFrom(12, 1000)),
  ([text, cuts, maxEventSize]) => {
    const places = [0, ...cuts.sort((left, right) => left - right), text.length]
    const chunks = places.map((place, index) => text.slice(place, Math.max(place, places[index + 1] ?? text.length)))
    assert.deepEqual(parse(chunks, maxEventSize), parse([text], maxEventSize))
  },
  1000
)

const example = (
  name: string,
  text: string,
  expected: ReadonlyArray<ServerSentEvents.ServerEvent>,
  maxEventSize?: number
): void => {
  test(name, () => {
    for (let place = 0; place <= text.length; place++) {
      assert.deepEqual(parse([text.slice(0, place), text.slice(place)], maxEventSize), expected, `cut at ${place}`)
    }
    assert.deepEqual(parse([...text], maxEventSize), expected, "character by character")
  })
}

example("LF ends lines", "data: a\n\ndata: b\n\n", [message("a"), message("b")])
example("CRLF ends lines", "data: a\r\n\r\ndata: b\r\n\r\n", [message("a"), message("b")])
example("CRLF ends one line", "event: error\r\ndata: a\r\ndata: b\r\n\r\n", [error("a\nb")])
example("CR ends lines", "data: a\r\rdata: b\r\r", [message("a"), message("b")])
example("endings may be mixed", "data: a\r\n\ndata: b\n\r\ndata: c\r\n\r", [message("a"), message("b"), message("c")])
example("one blank behind the colon is no data", "data:a\n\ndata:  b\n\n", [message("a"), message(" b")])
example("lines of data are joined", "data: a\ndata: b\n\n", [message("a\nb")])
example("comments are no events", ": ping\n\n: ping - 2026\ndata: a\n\n", [message("a")])
example("an event has a name", "event: error\ndata: a\n\ndata: b\n\n", [error("a"), message("b")])
example("a name goes with its event", "event: error\n\ndata: b\n\n", [message("b")])
example("id and retry mean nothing", "id: 1\nretry: 3000\ndata: a\n\nretry: 3\n\n", [message("a")])
example("the field error is an event", 'data: a\n\nerror: {"b":1}\n\n', [message("a"), error('{"b":1}')])
example("the last event needs no blank line", "data: a\n\ndata: b\n", [message("a"), message("b")])
example("the last line needs no end", "data: a\n\nerror: b", [message("a"), error("b")])
example("an event without data is none", "data:\n\ndata\n\n\n\n", [])

const tooLarge = error("an event is larger than 10 characters")
example("a line of the size of the bound passes", "data: 0123\n\ndata: a\n\n", [message("0123"), message("a")], 10)
example("a larger line is an error", "data: a\n\ndata: 01234\n\ndata: b\n\n", [message("a"), tooLarge], 10)
example("so is a larger comment", ": 0123456789\n\ndata: a\n\n", [tooLarge], 10)
example("data of the size of the bound passes", "data:01234\ndata:0123\n\n", [message("01234\n0123")], 10)
example("larger data is an error", "data:01234\ndata:01234\n\ndata: a\n\n", [tooLarge], 10)

test("a line that never ends is an error as soon as it is too large", () => {
  const parser = ServerSentEvents.make({ maxEventSize: 10 })
  assert.deepEqual(parser.feed("data: 0123"), [])
  assert.deepEqual(parser.feed("4"), [tooLarge])
  assert.deepEqual([...parser.feed("5\n\ndata: a\n\n"), ...parser.end()], [])
})
