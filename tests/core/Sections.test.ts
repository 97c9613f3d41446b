import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import { chat, plus, v1 } from "../../lib/core/Dialect.ts"
import * as Sections from "../../lib/core/Sections.ts"
import {
  feed,
  forms,
  merge,
  type Piece,
  reference,
  type Settings,
  settings,
  tokens,
  woven
} from "../support/sections.ts"
import { cutAt, cuts, everyCodeUnit, law } from "../support/text.ts"

const whole = (settings: Settings, pieces: ReadonlyArray<Piece>): Array<Sections.Event> => feed(settings, pieces).flat()

const text: fc.Arbitrary<{ readonly settings: Settings; readonly text: string }> = settings.chain((settings) =>
  woven(settings.grammar).map((text) => ({ settings, text }))
)

/** A text and where it is cut into chunks. */
const chunked = text.chain(({ settings, text }) => cuts(text).map((chunks) => ({ settings, text, chunks })))

/** Content and text beside it by turns; each piece is cut into chunks. */
const turns = settings.chain((settings) => {
  const beside = fc.constantFrom(undefined, ...settings.grammar.sections.map(({ name }) => name))
  const turn = fc.tuple(beside, woven(settings.grammar, 5)).chain(([name, text]) =>
    cuts(text).map((chunks) => ({ name, text, chunks }))
  )
  return fc.array(turn, { maxLength: 5 }).map((turns) => ({ settings, turns }))
})

const piece = (name: string | undefined, text: string): Piece => name === undefined ? text : { beside: name, text }

// Laws

law(
  "chunking: where the text is cut changes nothing",
  chunked,
  ({ settings, text, chunks }) => {
    assert.deepEqual(merge(whole(settings, chunks)), merge(whole(settings, [text])))
  },
  3000
)

law(
  "reference: a slow parser of whole texts reads the same",
  text,
  ({ settings, text }) => assert.deepEqual(tokens(whole(settings, [text])), reference(settings, [text])),
  5000
)

law(
  "beside: content and text beside it read, however they are cut, as the slow parser reads them whole",
  turns,
  ({ settings, turns }) => {
    const chunks = turns.flatMap(({ name, chunks }) => chunks.map((chunk) => piece(name, chunk)))
    const pieces: Array<Piece> = []
    for (const { name, text } of turns.filter(({ text }) => text !== "")) {
      const last = pieces.at(-1)
      if (name === undefined && typeof last === "string") pieces[pieces.length - 1] = last + text
      else pieces.push(piece(name, text))
    }
    assert.deepEqual(tokens(whole(settings, chunks)), reference(settings, pieces))
  },
  5000
)

// One that begins with nothing that is in a tag but at its start, as all dialects have; with others, a text that lacks
// the closing tag may still have one together with the tag behind it.
const bracketed: Sections.Grammar = {
  sections: [
    { name: "reasoning", open: "[r]", close: "[/r]", newlines: ["before close"], after: ["start"] },
    { name: "summary", open: "[s]\n", close: "\n[/s]", newlines: ["before open", "after open"], after: ["reasoning"] }
  ]
}

const output = fc.constantFrom<Sections.Grammar>(v1, plus, chat, bracketed).chain((grammar) => {
  const [reasoning, summary] = grammar.sections as [Sections.Section, Sections.Section]
  const body = ({ close, newlines }: Sections.Section): fc.Arbitrary<string> =>
    woven(grammar).map((text) => {
      while (text.includes(close)) text = text.replaceAll(close, "")
      // A carriage return there would become half of the newline.
      return newlines.includes("before close") || close.startsWith("\n") ? text.replace(/\r+$/, "") : text
    })
  const conclusion = woven(grammar).map((text) =>
    grammar.sections.some(({ open }) => text.trimStart().startsWith(open.trim())) ? `.${text}` : text
  )
  return fc.record({
    grammar: fc.constant(grammar),
    reasoning: body(reasoning),
    ending: fc.oneof(body(summary).map((text) => ({ summary: text })), conclusion.map((text) => ({ conclusion: text })))
  })
})

law(
  "round trip: parsing a rendered output yields it",
  output,
  ({ grammar, reasoning, ending }) => {
    const [first, second] = grammar.sections as [Sections.Section, Sections.Section]
    const blocks: Array<Sections.Block> = [{ section: "reasoning", text: reasoning, closed: true }]
    let rendered = Sections.render(first, reasoning)
    if ("summary" in ending) {
      rendered += Sections.render(second, ending.summary)
      blocks.push({ section: "summary", text: ending.summary, closed: true })
    } else if (ending.conclusion !== "") {
      rendered += ending.conclusion
      blocks.push({ section: "conclusion", text: ending.conclusion, closed: true })
    }
    assert.deepEqual(Sections.parse(grammar, rendered), blocks)
  },
  2000
)

/** Where in the text a reader of the events may be: deltas and tags to the letter, newlines and dropped tags left open. */
const positions = (
  { grammar: { sections }, options }: Settings,
  text: string,
  events: ReadonlyArray<Sections.Event>
) => {
  const over = (ats: Iterable<number>, written: ReadonlyArray<string>): Set<number> =>
    new Set([...ats].flatMap((at) => written.filter((one) => text.startsWith(one, at)).map((one) => at + one.length)))
  const section = (name: string) => sections.find((section) => section.name === name)!
  const maybe = (isThere: boolean, ...written: ReadonlyArray<string>) => isThere ? ["", ...written] : [""]
  const newlines = ({ newlines }: Sections.Section) => maybe(newlines.includes("after open"), "\n", "\r\n")
  const dropped = sections.flatMap((section) => forms(section, "close"))
  const withoutDropped = (ats: Set<number>): Set<number> => {
    for (let size = -1; size !== ats.size && options.orphans === "drop";) {
      size = ats.size
      ats = new Set([...ats, ...over(ats, dropped)])
    }
    return ats
  }
  let ats = new Set([0])
  events.forEach((event, i) => {
    if (event._tag === "Delta") {
      for (const unit of everyCodeUnit(event.text)) {
        ats = over(event.section === "conclusion" ? withoutDropped(ats) : ats, [unit])
      }
    } else if (event._tag === "Retag") ats = over(ats, forms(section(event.section), "close"))
    else if (event._tag === "End") ats = event.closed ? over(ats, forms(section(event.section), "close")) : ats
    else {
      const opened = section(event.section)
      const isPrompt = i === 0 && options.inside === event.section
      const tags = isPrompt ? ["", opened.open] : forms(opened, "open")
      ats = over(over(isPrompt ? ats : withoutDropped(ats), tags), newlines(opened))
    }
  })
  return withoutDropped(ats)
}

law(
  "conservation: deltas and tags together are the text, but for newlines of the dialect, a swallowed tag and drop",
  chunked,
  ({ settings, text, chunks }) => {
    assert.ok(positions(settings, text, merge(whole(settings, chunks))).has(text.length))
  },
  3000
)

const isHigh = (unit: string | undefined): boolean => unit !== undefined && /[\ud800-\udbff]/.test(unit)

/** What is certain after a text: all that its continuations agree on. */
const certain = (settings: Settings, text: string): Array<string> => {
  const { sections } = settings.grammar
  const tags = sections.flatMap((section) => [...forms(section, "open"), ...forms(section, "close"), "\r\n"])
  const rests = new Set(["", "z", "\ude00", ...tags.flatMap((tag) => everyCodeUnit(tag).map((_, at) => tag.slice(at)))])
  return [...rests].map((rest) => reference(settings, [text + rest])).reduce((agreed, read) => {
    const differs = agreed.findIndex((token, i) => token !== read[i])
    return differs === -1 ? agreed : agreed.slice(0, differs)
  })
}

law(
  "promptness: what no continuation can change is delivered, but for an unpaired high surrogate, and nothing else is",
  chunked,
  ({ settings, chunks }) => {
    const parser = Sections.makeParser(settings.grammar, settings.options)
    const at = Math.floor(chunks.length / 2)
    const delivered = tokens(["", ...chunks.slice(0, at)].flatMap((chunk) => parser.feed(chunk)))
    const text = chunks.slice(0, at).join("")
    const sure = certain(settings, text)
    const all = reference(settings, [text]).filter((token) => !/^>.*false$/.test(token))
    const endsInHalf = isHigh(text.at(-1)) && sure.length === all.length
    assert.deepEqual(delivered, endsInHalf ? sure.slice(0, -1) : sure)
  },
  1000
)

law(
  "bound: never holds more than the longest delimiter with its newline, plus one code unit",
  chunked,
  ({ settings, chunks }) => {
    const { sections } = settings.grammar
    const longest = Math.max(...sections.flatMap(({ open, close }) => [open.length + 2, close.length + 2]))
    chunks.forEach((_, i) => {
      const held = feed(settings, chunks.slice(0, i + 1)).at(-1)!
      const size = held.reduce((size, event) => size + (event._tag === "Delta" ? event.text.length : 0), 0)
      assert.ok(size <= longest + 1, `holds ${size}`)
    })
  },
  500
)

law(
  "wholeness: no delta that another follows ends in half a character, wherever the text is cut",
  fc.tuple(fc.constantFrom(v1, plus, chat), fc.array(fc.constantFrom("😀", "𝒙", "<", "\n", "a", "</think>"))).chain(
    ([grammar, parts]) => cuts(parts.join("")).map((chunks) => ({ grammar, chunks }))
  ),
  ({ grammar, chunks }) => {
    for (const pieces of [chunks, chunks.map((text) => ({ beside: "reasoning", text }))]) {
      for (const event of whole({ grammar, options: {} }, pieces)) {
        assert.ok(event._tag !== "Delta" || event.text.isWellFormed(), JSON.stringify(event))
      }
    }
  },
  500
)

/** The code units that string functions and regular expressions go over while `run` runs. */
const work = (run: () => void): number => {
  const { slice, trim } = String.prototype
  const { exec } = RegExp.prototype
  let units = 0
  String.prototype.slice = function (...range) {
    const sliced = slice.apply(this, range)
    units += sliced.length
    return sliced
  }
  String.prototype.trim = function () {
    units += this.length
    return trim.apply(this)
  }
  RegExp.prototype.exec = function (text) {
    const from = this.lastIndex
    const match = exec.call(this, text)
    units += (match === null ? text.length : match.index + match[0].length) - from
    return match
  }
  try {
    run()
  } finally {
    Object.assign(String.prototype, { slice, trim })
    RegExp.prototype.exec = exec
  }
  return units
}

test("cost: the work is linear in the text, whatever the cuts", () => {
  const patterns = ["a", " ", "\n", "<", "</think", "\r\n</think>", "<think>\n", "<summary>s</summary>", "<b>b</b>"]
  const open = { sections: [...v1.sections, { name: "b", open: "<b>", close: "</b>", newlines: [] }] }
  for (const grammar of [v1, chat, open]) {
    for (const pattern of patterns) {
      for (const start of ["", "<think>", "<think>r</think>"]) {
        const text = (length: number) => start + pattern.repeat(length / pattern.length)
        const spent = (length: number, size: number): number => {
          const chunks = cutAt(text(length), Array.from({ length: length / size }, (_, i) => i * size))
          return work(() => void whole({ grammar, options: { orphans: "drop" } }, chunks))
        }
        for (const size of [1, 97, 12_000]) {
          const ratio = spent(12_000, size) / spent(3_000, size)
          assert.ok(ratio < 5, `${JSON.stringify(start + pattern)} in chunks of ${size}: ${ratio} × for 4 × the text`)
        }
      }
    }
  }
})

// Examples

const start = (section: string): Sections.Event => ({ _tag: "Start", section })
const delta = (section: string, text: string): Sections.Event => ({ _tag: "Delta", section, text })
const end = (section: string, closed = true): Sections.Event => ({ _tag: "End", section, closed })
const retag = (section: string): Sections.Event => ({ _tag: "Retag", section })
const beside = (text: string): Piece => ({ beside: "reasoning", text })

const cutPiece = (piece: Piece, indices: ReadonlyArray<number>): ReadonlyArray<Piece> =>
  typeof piece === "string"
    ? cutAt(piece, indices)
    : cutAt(piece.text, indices).map((text) => ({ beside: piece.beside, text }))

const lengthOf = (piece: Piece): number => typeof piece === "string" ? piece.length : piece.text.length

/** Declares an example, which also runs cut at every position, with empty chunks there, and in code units. */
const example = (
  name: string,
  { grammar = v1, pieces, expected, ...options }: Sections.Options & {
    readonly grammar?: Sections.Grammar
    readonly pieces: ReadonlyArray<Piece>
    readonly expected: ReadonlyArray<Sections.Event>
  }
): void => {
  const settings = { grammar, options }
  test(name, () => {
    pieces.forEach((piece, i) => {
      for (let at = 0; at <= lengthOf(piece); at++) {
        const cut = pieces.toSpliced(i, 1, ...cutPiece(piece, [at, at]))
        assert.deepEqual(merge(whole(settings, cut)), expected, `piece ${i} cut at ${at}`)
      }
    })
    const units = pieces.flatMap((piece) => cutPiece(piece, Array.from({ length: lengthOf(piece) }, (_, at) => at)))
    assert.deepEqual(merge(whole(settings, units)), expected, "in code units")
  })
}

const free = (name: string, open: string, close: string): Sections.Section => ({ name, open, close, newlines: [] })

example("tags: literal and case-sensitive", {
  pieces: ["<Think>a</Think>"],
  expected: [delta("conclusion", "<Think>a</Think>")]
})

example("tags: no sign has a meaning of its own", {
  grammar: { sections: [free("a", ".*", "(x|y)+")] },
  pieces: ["x.*xy(x|y)+"],
  expected: [delta("conclusion", "x"), start("a"), delta("a", "xy"), end("a")]
})

example("tags: the leftmost wins, though a longer one begins later", {
  grammar: { sections: [free("short", "ab", "."), free("long", "bcde", ".")] },
  pieces: ["abcde."],
  expected: [start("short"), delta("short", "cde"), end("short")]
})

example("tags: the longest wins where several begin", {
  grammar: { sections: [free("short", "<a", "."), free("long", "<ab", ".")] },
  pieces: ["<ab.<ac."],
  expected: [start("long"), end("long"), start("short"), delta("short", "c"), end("short")]
})

example("tags: one that may still become a longer one, begun earlier, waits", {
  grammar: { sections: [free("short", "bc", "."), free("long", "abcd", ".")] },
  pieces: ["abcd.abce."],
  expected: [start("long"), end("long"), delta("conclusion", "a"), start("short"), delta("short", "e"), end("short")]
})

example("tags: the first declared wins where two are the same", {
  grammar: { sections: [free("one", "$", "."), free("two", "$", "!")] },
  pieces: ["$x!.$"],
  expected: [start("one"), delta("one", "x!"), end("one"), start("one"), end("one", false)]
})

example("tags: closing may be spelled like opening", {
  grammar: { sections: [free("formula", "$$", "$$")] },
  pieces: ["a$$b$$c"],
  expected: [
    delta("conclusion", "a"),
    start("formula"),
    delta("formula", "b"),
    end("formula"),
    delta("conclusion", "c")
  ]
})

example("plain text: a closing tag is text", {
  grammar: { sections: [free("a", "<a>", "</a>")] },
  pieces: ["x</a>y"],
  expected: [delta("conclusion", "x</a>y")]
})

example("section: all but its own closing tag is text", {
  pieces: ["<think>\na<think></summary><summary>b</summary>\n</think>"],
  expected: [start("reasoning"), delta("reasoning", "a<think></summary><summary>b</summary>"), end("reasoning")]
})

example("section: the first closing tag wins", {
  pieces: ["<think>a</think>b</think>c"],
  expected: [start("reasoning"), delta("reasoning", "a"), end("reasoning"), delta("conclusion", "b</think>c")]
})

example("section: an empty one starts and ends", {
  pieces: ["<think></think>"],
  expected: [start("reasoning"), end("reasoning")]
})

example("section: an empty one of two newlines starts and ends", {
  pieces: ["<think>\n\n</think>c"],
  expected: [start("reasoning"), end("reasoning"), delta("conclusion", "c")]
})

example("text: nothing is decoded, trimmed or added", {
  pieces: ["<think> &lt;/think&gt;\t</think> \u00a0c&amp; "],
  expected: [
    start("reasoning"),
    delta("reasoning", " &lt;/think&gt;\t"),
    end("reasoning"),
    delta("conclusion", " \u00a0c&amp; ")
  ]
})

example("text: halves of characters stay as they are", {
  pieces: ["<think>😀\ud83d</think>\ude00\ud83d"],
  expected: [start("reasoning"), delta("reasoning", "😀\ud83d"), end("reasoning"), delta("conclusion", "\ude00\ud83d")]
})

test("events: start and end come with the chunk that completes the tag", () => {
  const chunks = ["<thin", "k>", "\n", "a", "\n</think", ">", "\n", "<summary", ">", "\ns</summary>"]
  assert.deepEqual(feed({ grammar: v1, options: {} }, chunks), [
    [],
    [start("reasoning")],
    [],
    [delta("reasoning", "a")],
    [],
    [end("reasoning")],
    [],
    [],
    [start("summary")],
    [delta("summary", "s"), end("summary")],
    []
  ])
})

test("events: text that is no tag after all comes with the chunk that shows it", () => {
  assert.deepEqual(feed({ grammar: v1, options: {} }, ["<thin", "g>", "<think>", "a", "<think>"]), [
    [],
    [delta("conclusion", "<thing>")],
    [delta("conclusion", "<think>")],
    [delta("conclusion", "a")],
    [delta("conclusion", "<think>")],
    []
  ])
})

test("events: half a character waits for the other half", () => {
  assert.deepEqual(feed({ grammar: v1, options: { inside: "reasoning" } }, ["", "a\ud83d", "\ude00", "\ud83d"]), [
    [start("reasoning")],
    [delta("reasoning", "a")],
    [delta("reasoning", "😀")],
    [],
    [delta("reasoning", "\ud83d"), end("reasoning", false)]
  ])
})

example("end: what was withheld is delivered, and an open section is unclosed", {
  pieces: ["<think>a\n</think"],
  expected: [start("reasoning"), delta("reasoning", "a\n</think"), end("reasoning", false)]
})

example("end: the beginning of a tag in plain text is text", {
  pieces: ["<thin"],
  expected: [delta("conclusion", "<thin")]
})

example("end: half a newline behind a tag is text", {
  pieces: ["<think>\r"],
  expected: [start("reasoning"), delta("reasoning", "\r"), end("reasoning", false)]
})

example("end: a tag that could have become a longer one is a tag", {
  grammar: { sections: [free("short", "<a", "."), free("long", "<ab", ".")] },
  pieces: ["x<a"],
  expected: [delta("conclusion", "x"), start("short"), end("short", false)]
})

example("end: no input has no events", { pieces: [""], expected: [] })

example("place: white space may stand before the reasoning and between it and the summary", {
  pieces: [" \n<think>r</think> \n\n\t<summary>s</summary>"],
  expected: [
    delta("conclusion", " \n"),
    start("reasoning"),
    delta("reasoning", "r"),
    end("reasoning"),
    delta("conclusion", " \n\n\t"),
    start("summary"),
    delta("summary", "s"),
    end("summary")
  ]
})

example("place: once other text has begun, all is conclusion, to the character", {
  pieces: ["<think>r</think>\nc\n<summary>\ns\n</summary><think>\n"],
  expected: [
    start("reasoning"),
    delta("reasoning", "r"),
    end("reasoning"),
    delta("conclusion", "\nc\n<summary>\ns\n</summary><think>\n")
  ]
})

example("place: no reasoning opens behind other text", {
  pieces: ["a<think>r</think>"],
  expected: [delta("conclusion", "a<think>r</think>")]
})

example("place: the beginning of a tag is other text too", {
  pieces: ["<<think>r</think>"],
  expected: [delta("conclusion", "<<think>r</think>")]
})

example("place: no summary opens at the start", {
  pieces: ["\n<summary>s</summary>"],
  expected: [delta("conclusion", "\n<summary>s</summary>")]
})

example("place: no second reasoning opens, nor a second summary", {
  pieces: ["<think></think><think></think><summary></summary>"],
  expected: [start("reasoning"), end("reasoning"), delta("conclusion", "<think></think><summary></summary>")]
})

example("place: behind a summary all is conclusion", {
  pieces: ["<think></think><summary></summary>\n<summary></summary>"],
  expected: [
    start("reasoning"),
    end("reasoning"),
    start("summary"),
    end("summary"),
    delta("conclusion", "\n<summary></summary>")
  ]
})

example("place: the chat dialect takes a summary without reasoning", {
  grammar: chat,
  pieces: ["<summary>s</summary>"],
  expected: [start("summary"), delta("summary", "s"), end("summary")]
})

example("place: a section that may stand anywhere is not other text", {
  grammar: { sections: [...v1.sections, free("note", "<note>", "</note>")] },
  pieces: ["<note></note><think></think><note></note> <summary></summary>c<note></note>"],
  expected: [
    start("note"),
    end("note"),
    delta("conclusion", "<think></think>"),
    start("note"),
    end("note"),
    delta("conclusion", " <summary></summary>c"),
    start("note"),
    end("note")
  ]
})

example("place: a tag may begin with white space", {
  grammar: { sections: [{ ...free("a", "\n# A\n", "\n#"), after: ["start"] }] },
  pieces: [" \n# A\nx\n#"],
  expected: [delta("conclusion", " "), start("a"), delta("a", "x"), end("a")]
})

example("newlines: v1 has them behind and before think, and on three sides of summary", {
  pieces: ["<think>\nr\n</think>\n<summary>\ns\n</summary>\n"],
  expected: [
    start("reasoning"),
    delta("reasoning", "r"),
    end("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary"),
    delta("conclusion", "\n")
  ]
})

example("newlines: plus has none at summary", {
  grammar: plus,
  pieces: ["<think>\nr\n</think><summary>\ns\n</summary>"],
  expected: [
    start("reasoning"),
    delta("reasoning", "r"),
    end("reasoning"),
    start("summary"),
    delta("summary", "\ns\n"),
    end("summary")
  ]
})

example("newlines: they may be missing", {
  pieces: ["<think>r</think><summary>s</summary>"],
  expected: [
    start("reasoning"),
    delta("reasoning", "r"),
    end("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary")
  ]
})

example("newlines: with a carriage return they are one", {
  pieces: ["<think>\r\nr\r\n</think>\r\n<summary>\r\ns\r\n</summary>\r\n"],
  expected: [
    start("reasoning"),
    delta("reasoning", "r"),
    end("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary"),
    delta("conclusion", "\r\n")
  ]
})

example("newlines: only one is dropped", {
  pieces: ["<think>\n\n r\n\n</think>\n\n<summary>\n\ns\r\n\r\n</summary>"],
  expected: [
    start("reasoning"),
    delta("reasoning", "\n r\n"),
    end("reasoning"),
    delta("conclusion", "\n"),
    start("summary"),
    delta("summary", "\ns\r\n"),
    end("summary")
  ]
})

example("newlines: a carriage return alone is text", {
  pieces: ["<think>\rr\r</think>\r"],
  expected: [start("reasoning"), delta("reasoning", "\rr\r"), end("reasoning"), delta("conclusion", "\r")]
})

example("newlines: none is dropped behind a closing tag", {
  pieces: ["<think>r</think>\n\nc"],
  expected: [start("reasoning"), delta("reasoning", "r"), end("reasoning"), delta("conclusion", "\n\nc")]
})

test("newlines: the one behind an opening tag does not delay the start, the one before a tag waits for it", () => {
  assert.deepEqual(feed({ grammar: v1, options: {} }, ["<think>", "\n", "a\n", "b\n", "</think>"]), [
    [start("reasoning")],
    [],
    [delta("reasoning", "a")],
    [delta("reasoning", "\nb")],
    [end("reasoning")],
    []
  ])
})

example("inside: the output begins in the section", {
  inside: "reasoning",
  pieces: ["a</think>c"],
  expected: [start("reasoning"), delta("reasoning", "a"), end("reasoning"), delta("conclusion", "c")]
})

example("inside: a summary may follow", {
  inside: "reasoning",
  pieces: ["a\n</think>\n<summary>\ns"],
  expected: [
    start("reasoning"),
    delta("reasoning", "a"),
    end("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary", false)
  ]
})

example("inside: the newline behind the prompt's tag is dropped", {
  inside: "reasoning",
  pieces: ["\na"],
  expected: [start("reasoning"), delta("reasoning", "a"), end("reasoning", false)]
})

example("inside: one repeated opening tag is swallowed, with its newline", {
  inside: "reasoning",
  pieces: ["<think>\na<think></think>"],
  expected: [start("reasoning"), delta("reasoning", "a<think>"), end("reasoning")]
})

example("inside: a second repeated opening tag is text", {
  inside: "reasoning",
  pieces: ["<think><think>a"],
  expected: [start("reasoning"), delta("reasoning", "<think>a"), end("reasoning", false)]
})

example("inside: a tag that only begins like the opening one is text", {
  inside: "reasoning",
  pieces: ["<thing>"],
  expected: [start("reasoning"), delta("reasoning", "<thing>"), end("reasoning", false)]
})

example("inside: a closing tag at once ends the section", {
  inside: "reasoning",
  pieces: ["</think>"],
  expected: [start("reasoning"), end("reasoning")]
})

example("inside: no input leaves it unclosed", {
  inside: "reasoning",
  pieces: [""],
  expected: [start("reasoning"), end("reasoning", false)]
})

test("inside: a section that the grammar does not have is an error", () => {
  assert.throws(() => Sections.makeParser(v1, { inside: "reason" }), {
    name: "RangeError",
    message: 'Cannot parse inside "reason": the sections are reasoning, summary'
  })
})

test("grammar: an empty tag is an error", () => {
  assert.throws(() => Sections.makeParser({ sections: [free("a", "<a>", "")] }), RangeError)
  assert.throws(() => Sections.makeParser({ sections: [free("a", "", "</a>")] }), RangeError)
})

example("grammar: without sections all is conclusion", {
  grammar: { sections: [] },
  orphans: "retag",
  pieces: ["<think>\na</think>😀"],
  expected: [delta("conclusion", "<think>\na</think>😀")]
})

example("orphans: by default they are text", {
  pieces: ["a\n</think>c"],
  expected: [delta("conclusion", "a\n</think>c")]
})

example("orphans: drop takes them out, with their newline", {
  orphans: "drop",
  pieces: ["a\n</think>c</summary>\n</think>"],
  expected: [delta("conclusion", "ac")]
})

example("orphans: dropped, they are not other text", {
  orphans: "drop",
  pieces: ["</think>\n<think>r</think></think>\n<summary>s</summary>"],
  expected: [
    delta("conclusion", "\n"),
    start("reasoning"),
    delta("reasoning", "r"),
    end("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary")
  ]
})

example("orphans: retag says that all so far was the section's", {
  orphans: "retag",
  pieces: ["\na\n</think>\n<summary>\ns\n</summary>"],
  expected: [
    delta("conclusion", "\na"),
    retag("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary")
  ]
})

example("orphans: retag of nothing is empty reasoning", {
  orphans: "retag",
  pieces: ["</think>c"],
  expected: [retag("reasoning"), delta("conclusion", "c")]
})

example("orphans: retag happens once", {
  orphans: "retag",
  pieces: ["a</think>b</think>"],
  expected: [delta("conclusion", "a"), retag("reasoning"), delta("conclusion", "b</think>")]
})

example("orphans: no retag once a section has opened", {
  orphans: "retag",
  pieces: ["<think>r</think>b</think>"],
  expected: [start("reasoning"), delta("reasoning", "r"), end("reasoning"), delta("conclusion", "b</think>")]
})

example("orphans: no retag of a section that may not open at the start", {
  orphans: "retag",
  pieces: ["a</summary>b</think>"],
  expected: [delta("conclusion", "a</summary>b"), retag("reasoning")]
})

example("beside: it is the same section, and content ends it", {
  pieces: [beside("a</think>\n"), "\n<summary>\ns\n</summary>"],
  expected: [
    start("reasoning"),
    delta("reasoning", "a</think>\n"),
    end("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary")
  ]
})

example("beside: no newline is dropped from it", {
  pieces: [beside("\n"), beside("a\n"), "c"],
  expected: [start("reasoning"), delta("reasoning", "\na\n"), end("reasoning"), delta("conclusion", "c")]
})

example("beside: empty chunks of either kind change nothing", {
  pieces: [beside(""), "", beside("a"), "", beside("b"), beside(""), "c", beside("")],
  expected: [start("reasoning"), delta("reasoning", "ab"), end("reasoning"), delta("conclusion", "c")]
})

example("beside: without content it ends unclosed", {
  pieces: [beside("a")],
  expected: [start("reasoning"), delta("reasoning", "a"), end("reasoning", false)]
})

example("beside: content that a server repeats the closing tag in may drop it", {
  orphans: "drop",
  pieces: [beside("a"), "\n</think>\n<summary>s"],
  expected: [
    start("reasoning"),
    delta("reasoning", "a"),
    end("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary", false)
  ]
})

example("beside: it goes on with the section that the prompt opened, which content ends", {
  inside: "reasoning",
  pieces: [beside("\n<think>a"), "c</think>"],
  expected: [start("reasoning"), delta("reasoning", "\n<think>a"), end("reasoning"), delta("conclusion", "c</think>")]
})

example("beside: it goes on with the section that content opened, which the tag ends", {
  pieces: ["<think>\na", beside("</think>b"), "c</think>d"],
  expected: [start("reasoning"), delta("reasoning", "a</think>bc"), end("reasoning"), delta("conclusion", "d")]
})

example("beside: what content withheld comes first", {
  pieces: ["<think>a</th", beside("b"), "ink>"],
  expected: [start("reasoning"), delta("reasoning", "a</thbink>"), end("reasoning", false)]
})

example("beside: it ends another section unclosed, and other text", {
  pieces: ["c<think", beside("a"), "d<think>"],
  expected: [
    delta("conclusion", "c<think"),
    start("reasoning"),
    delta("reasoning", "a"),
    end("reasoning"),
    delta("conclusion", "d<think>")
  ]
})

example("beside: a section that content left open ends unclosed", {
  pieces: ["<think></think><summary>s", beside("a"), "c"],
  expected: [
    start("reasoning"),
    end("reasoning"),
    start("summary"),
    delta("summary", "s"),
    end("summary", false),
    start("reasoning"),
    delta("reasoning", "a"),
    end("reasoning"),
    delta("conclusion", "c")
  ]
})

example("beside: halves of characters stay as they are", {
  pieces: [beside("😀\ud83d"), "\ude00"],
  expected: [start("reasoning"), delta("reasoning", "😀\ud83d"), end("reasoning"), delta("conclusion", "\ude00")]
})

test("beside: a section that the grammar does not have is an error", () => {
  const parser = Sections.makeParser(v1)
  assert.throws(() => parser.feedSection("thoughts", "a"), RangeError)
  assert.deepEqual(parser.end(), [])
})

test("parse: the blocks of an output, in order", () => {
  assert.deepEqual(Sections.parse(chat, " \n<think>\nr\n</think>\n<summary>\ns"), [
    { section: "conclusion", text: " \n", closed: true },
    { section: "reasoning", text: "r", closed: true },
    { section: "summary", text: "s", closed: false }
  ])
  assert.deepEqual(Sections.parse(v1, "<think></think>c"), [
    { section: "reasoning", text: "", closed: true },
    { section: "conclusion", text: "c", closed: true }
  ])
  assert.deepEqual(Sections.parse(v1, "r</think>c", { orphans: "retag" }), [
    { section: "reasoning", text: "r", closed: true },
    { section: "conclusion", text: "c", closed: true }
  ])
  assert.deepEqual(Sections.parse(v1, ""), [])
})

test("fold: deltas of one section are one block", () => {
  assert.deepEqual(Sections.fold([delta("conclusion", "a"), delta("conclusion", "b"), start("x"), end("x", false)]), [
    { section: "conclusion", text: "ab", closed: true },
    { section: "x", text: "", closed: false }
  ])
})
