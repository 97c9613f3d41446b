import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Boundary from "../../lib/core/Boundary.ts"
import * as Segmenter from "../../lib/core/Segmenter.ts"
import {
  additive,
  adversarial,
  characters,
  type Counting,
  estimated,
  o200k,
  oneOf,
  superadditive,
  words
} from "../support/counts.ts"
import {
  blankReasoning,
  blankSentence,
  chineseSentence,
  cutAt,
  cuts,
  everyCodeUnit,
  law,
  long,
  reasoning,
  sentence
} from "../support/text.ts"

const { rank } = Boundary

type Packing = NonNullable<Segmenter.TextOptions["packing"]>

/** How to segment a text in a test. */
interface Case {
  readonly eta: number
  readonly counting: Counting
  readonly packing?: Packing
}

const segment = (text: string, { eta, counting, packing = "greedy" }: Case): Array<Segmenter.Segment> =>
  Segmenter.segment(text, { eta, count: counting.count, additive: counting.additive, packing })

const feed = (chunks: ReadonlyArray<string>, { eta, counting }: Case): Array<Segmenter.Segment> => {
  const segmenter = Segmenter.make({ eta, count: counting.count, additive: counting.additive })
  return [...chunks.flatMap((chunk) => segmenter.feed(chunk)), ...segmenter.end()]
}

const textsOf = (segments: ReadonlyArray<Segmenter.Segment>): Array<string> => segments.map(({ text }) => text)

const etas = fc.oneof(fc.integer({ min: 4, max: 12 }), fc.integer({ min: 4, max: 200 }))
const packings = fc.constantFrom<Packing>("greedy", "even")

const cases = (...countings: ReadonlyArray<Counting>) =>
  fc.record({ text: reasoning, eta: etas, counting: oneOf(...countings), packing: packings })

/** The rank of every boundary in a text, by its index. */
const boundariesOf = (text: string): ReadonlyMap<number, Boundary.Rank> => {
  const ranks = new Map<number, Boundary.Rank>()
  const scanner = Boundary.makeScanner()
  let at = 0
  for (const line of [...scanner.feed(text), ...scanner.end()]) {
    for (const sentence of Boundary.sentences(line.text)) {
      for (const word of Boundary.words(sentence.text)) ranks.set(at += word.text.length, rank.word)
      ranks.set(at, rank.sentence)
    }
    ranks.set(at, line.rank)
  }
  return ranks
}

/** The boundaries at the ends of segments, the end of the text aside. */
const endsOf = (segments: ReadonlyArray<Segmenter.Segment>): Array<number> => {
  let at = 0
  return segments.slice(0, -1).map(({ text }) => at += text.length)
}

/** Whether counts add up where two texts meet: behind newlines, and between a word and a blank. */
const meet = (left: string, right: string): boolean =>
  /\n$/.test(left) && /^[^\s/]/.test(right) || /\S$/.test(left) && /^[ \t]/.test(right)

// Laws

law(
  "losslessness: joined, the segments are the reasoning, and none is empty",
  cases(...additive, ...estimated, ...adversarial),
  ({ text, ...options }) => {
    const texts = textsOf(segment(text, options))
    assert.equal(texts.join(""), text)
    assert.ok(!texts.includes(""))
  },
  400
)

law(
  "bound: a segment has at most eta tokens, or is a single code point, for any count",
  cases(...additive, ...estimated, ...adversarial),
  ({ text, ...options }) => {
    for (const { text: slice, tokens } of segment(text, options)) {
      assert.equal(tokens, options.counting.count(slice))
      assert.ok(tokens <= options.eta || [...slice].length === 1, `${tokens} tokens: ${JSON.stringify(slice)}`)
    }
  },
  600
)

law(
  "maximality: no two neighbours cut between words fit in one, for counts that add up",
  cases(...additive),
  (sample) => {
    const segments = segment(sample.text, sample)
    segments.slice(1).forEach((right, i) => {
      const left = segments[i]!
      const next = segments[i + 2]
      // A slice that ends inside a word may be what was left of a larger one that did not fit.
      if (left.rank === rank.inside || right.rank === rank.inside) return
      if (!meet(left.text, right.text) || next !== undefined && !meet(right.text, next.text)) return
      assert.ok(sample.counting.count(left.text + right.text) > sample.eta, JSON.stringify([left, right]))
    })
  },
  400
)

law(
  "preference: no cut inside a unit that, newlines included, fits in a segment",
  cases(...additive, ...estimated, superadditive),
  ({ text, ...options }) => {
    const boundaries = [...boundariesOf(text)]
    const seen = new Set<string>()
    for (const at of endsOf(segment(text, options))) {
      const own = boundaries.find(([index]) => index === at)?.[1] ?? rank.inside
      const larger = boundaries.filter(([, rank]) => rank > own).map(([index]) => index)
      const start = larger.findLast((index) => index <= at) ?? 0
      const unit = text.slice(start, larger.find((index) => index > at))
      if (own === rank.step || seen.has(`${start} ${unit.length}`)) continue
      seen.add(`${start} ${unit.length}`)
      assert.ok(options.counting.count(unit) > options.eta, `cut at ${at} inside ${JSON.stringify(unit)}`)
    }
  },
  300
)

law("rank: a segment's rank is that of the boundary where it ends", cases(...additive, ...estimated), (sample) => {
  const segments = segment(sample.text, sample)
  const boundaries = boundariesOf(sample.text)
  assert.deepEqual(
    segments.slice(0, -1).map(({ rank }) => rank),
    endsOf(segments).map((at) => boundaries.get(at) ?? rank.inside)
  )
  if (segments.length > 0) assert.equal(segments.at(-1)!.rank, rank.step)
})

law("idempotence: segmenting a segment yields it", cases(...additive, ...estimated), ({ text, ...options }) => {
  for (const { text: slice, tokens } of segment(text, options)) {
    assert.deepEqual(segment(slice, options), [{ text: slice, tokens, rank: rank.step }])
  }
}, 400)

law(
  "chunking: where the input is cut changes nothing, for any count",
  fc.record({
    chunks: reasoning.chain(cuts),
    eta: etas,
    counting: oneOf(...additive, ...estimated, ...adversarial)
  }),
  ({ chunks, ...options }) => {
    assert.deepEqual(feed(chunks, options), segment(chunks.join(""), options))
  },
  400
)

/** The pieces of a text that no segment cuts, for counts that add up: opened unit by unit, after the definition. */
const piecesOf = (text: string, { eta, counting }: Case): ReadonlyArray<string> => {
  const boundaries = [...boundariesOf(text)]
  const open = (from: number, to: number, kind: number): Array<string> => {
    const unit = text.slice(from, to)
    if (kind === rank.inside || kind < rank.step && counting.count(unit) <= eta) return [unit]
    const ends = boundaries.filter(([at, rank]) => rank >= kind && at > from && at <= to).map(([at]) => at)
    return ends.flatMap((end, i) => open(ends[i - 1] ?? from, end, kind - 1))
  }
  return open(0, text.length, rank.step)
}

/** Pieces packed in order, each segment taking as many as fit. */
const pack = (pieces: ReadonlyArray<string>, capacity: number, { counting }: Case): Array<string> => {
  const segments: Array<string> = []
  for (const piece of pieces) {
    const joined = (segments.at(-1) ?? "") + piece
    if (segments.length === 0 || counting.count(joined) > capacity) segments.push(piece)
    else segments.splice(-1, 1, joined)
  }
  return segments
}

/** Cases in which counts add up wherever a text is cut. */
const addingUp = fc.record({
  text: blankReasoning,
  eta: fc.integer({ min: 16, max: 200 }),
  counting: oneOf(characters, words, o200k)
})

law("packing: each segment takes as many pieces as fit, for counts that add up", addingUp, ({ text, ...options }) => {
  assert.deepEqual(textsOf(segment(text, options)), pack(piecesOf(text, options), options.eta, options))
})

law(
  "even packing: as many segments as with greedy packing, for any count",
  cases(...additive, ...estimated, ...adversarial),
  ({ text, ...options }) => {
    const even = segment(text, { ...options, packing: "even" })
    assert.equal(even.length, segment(text, { ...options, packing: "greedy" }).length)
  },
  400
)

test("even packing: a count of parts of a token comes to an end", () => {
  const text = "\n\nHowever it ends. And so on it goes\n"
  const segments = Segmenter.segment(text, { eta: 26, count: (text) => text.length / 3.7, packing: "even" })
  assert.equal(textsOf(segments).join(""), text)
})

law("even packing: no smaller capacity would do, for counts that add up", addingUp, ({ text, ...options }) => {
  const pieces = piecesOf(text, options)
  const segments = segment(text, { ...options, packing: "even" })
  const capacity = Math.max(...segments.map(({ tokens }) => tokens))
  assert.deepEqual(textsOf(segments), pack(pieces, capacity, options))
  const fits = pieces.every((piece) => options.counting.count(piece) < capacity)
  if (fits) assert.ok(pack(pieces, capacity - 1, options).length > segments.length)
})

law(
  "last: it is the longest end that begins with a word, or else a character, for counts that grow with the text",
  fc.record({ text: reasoning, eta: etas, counting: oneOf(characters, words, superadditive) }),
  ({ text, eta, counting }) => {
    const end = Segmenter.last(text, { eta, count: counting.count })
    const ends = (parts: ReadonlyArray<string>): Array<string> => parts.map((_, i) => parts.slice(i).join(""))
    const fits = [text, ...ends(text.split(/(?<=\s)(?=\S)/)), ...ends([...text]), ""]
      .filter((end) => counting.count(end) <= eta)
    assert.equal(end, fits[0])
  }
)

/** The characters given to `count` for each one of the text; none where a word had to be cut. */
const costOf = (chunks: ReadonlyArray<string>, { counting, eta, packing }: Case): number => {
  let given = 0
  const count = (text: string): number => {
    given += text.length
    return counting.count(text)
  }
  const counted = { eta, counting: { ...counting, count } }
  const text = chunks.join("")
  const segments = packing === undefined ? feed(chunks, counted) : segment(text, { ...counted, packing })
  return segments.some((segment) => segment.rank === rank.inside) ? 0 : given / text.length
}

const wideEtas = fc.integer({ min: 256, max: 512 })

law(
  "cost: count is given 1.1 times the text at most, for counts that add up",
  fc.record({
    text: fc.oneof(long(blankReasoning, "\n\n", 12_000), long(blankSentence, " ", 12_000)),
    eta: wideEtas,
    counting: oneOf(o200k, words, characters),
    packing: packings
  }),
  ({ text, ...options }) => assert.ok(costOf([text], options) <= 1.1),
  60
)

// The first segment is looked at until it is full; in texts of many segments that hardly counts.
law(
  "cost: count is given 2.5 times the text at most, for other counts of tokenizers; 3.5 times for even packing",
  fc.oneof(
    fc.record({
      text: fc.oneof(long(blankReasoning, "\n\n", 30_000), long(blankSentence, " ", 30_000)),
      eta: wideEtas,
      counting: oneOf(...estimated),
      packing: packings
    }),
    fc.record({
      text: long(chineseSentence, "", 30_000),
      eta: wideEtas,
      counting: oneOf(o200k, characters, ...estimated),
      packing: packings
    })
  ),
  ({ text, ...options }) => assert.ok(costOf([text], options) <= (options.packing === "even" ? 3.5 : 2.5)),
  60
)

law(
  "cost: how the input is cut changes nothing",
  fc.record({
    chunks: long(fc.oneof(sentence, reasoning), "\n\n", 1500).chain(cuts),
    eta: wideEtas,
    counting: oneOf(...additive, ...estimated)
  }),
  ({ chunks, ...options }) => {
    assert.equal(costOf(chunks, options), costOf([chunks.join("")], { ...options, packing: "greedy" }))
  },
  60
)

// Examples

/** The segments of the text that `slices` are, also where it is cut at every position. */
const segments = (name: string, options: Case, slices: ReadonlyArray<string>): void => {
  test(name, () => {
    const text = slices.join("")
    assert.deepEqual(textsOf(segment(text, options)), slices)
    if (options.packing === "even") return
    assert.deepEqual(textsOf(feed(everyCodeUnit(text), options)), slices)
    for (let at = 1; at < text.length; at++) assert.deepEqual(textsOf(feed(cutAt(text, [at]), options)), slices)
  })
}

segments("empty: no reasoning has no segments", { eta: 4, counting: characters }, [])
segments("empty: white space alone is a segment", { eta: 9, counting: characters }, ["\n\n \n"])
segments("steps: as many as fit stand together", { eta: 12, counting: characters }, [
  "A b.\n\nC d.\n\n",
  "E f.\n\nG h."
])
segments("steps: a paragraph that continues one stays with it", { eta: 7, counting: words }, [
  "Let n be even.\n\n",
  "We see that\n\nso it is.\n\n",
  "Now the odd case."
])
segments("steps: those too large are cut at paragraphs", { eta: 5, counting: words }, [
  "Let n be:\n\n",
  "- an even one.\n\n",
  "- an odd\none.\n\n",
  "So we are done."
])
segments("paragraphs: empty ones belong to the one before", { eta: 10, counting: characters }, [
  "A b.\n\n\n\n\n",
  "C d.\n\n"
])
segments("paragraphs: a carriage return stays with its newline", { eta: 8, counting: characters }, [
  "A b.\r\n\r\n",
  "C d.\r\n",
  "e f."
])
segments("sentences: Chinese ones", { eta: 10, counting: characters }, [
  "首先，我们看。",
  "这是偶数！",
  "所以，结论成立。\n\n",
  "好。"
])
segments("sentences: Japanese ones", { eta: 10, counting: characters }, [
  "「はい。」",
  "まず、偶数とします。",
  "しかし？です。"
])
segments("sentences: abbreviations and decimals end none", { eta: 7, counting: words }, [
  "It is approx. 3.14, cf. Fig. 2.",
  " See Dr. Euler, e.g. here. So.",
  " It is."
])
segments("words: CJK punctuation is the next best place", { eta: 6, counting: characters }, [
  "我们，因为、",
  "所以偶数，",
  "是。"
])
segments("inside: a long word is the last resort", { eta: 4, counting: characters }, ["aaaa", "aaa"])
segments("formulas: an inline one is cut last of all", { eta: 5, counting: words }, [
  "We have $a. B. C$",
  " and also $d$ here.",
  " So it is."
])
segments("formulas: a display formula stays whole", { eta: 8, counting: words }, [
  "We know that this is so:\n",
  "\\[\na = b\nc = d\n\\]\n",
  "Then it is done, and so on.\n\n",
  "Now the end."
])
segments("fences: one that fits stays whole, blank lines and all", { eta: 7, counting: words }, [
  "Some code for that:\n",
  "```py\nx = 1\n\nY\n```\n",
  "Then it is so."
])
segments("fences: one that does not fit is cut at its blank lines", { eta: 6, counting: words }, [
  "```\nx = 1\n\n",
  "Y = 2\nZ\n```\n\n",
  "Then it is so."
])
segments("fences: an unclosed one ends with the text", { eta: 5, counting: words }, [
  "So.\n~~~\nx = 1\n\n",
  "A = 2\n\nB\n"
])
segments("lists: items stay whole", { eta: 6, counting: words }, [
  "We see:\n- one two\n",
  "- three four\n- five.\n\n",
  "So we are done here."
])
segments("surrogates: pairs stay whole and lone halves are kept", { eta: 4, counting: characters }, [
  "😀😀",
  "😀\ude00",
  "\ud83dx"
])
segments("even packing: the last segment is no remnant", { eta: 9, counting: words, packing: "even" }, [
  "A b c.\n\nD e f.\n\n",
  "G h i.\n\nJ k l."
])

segments(
  "even packing: a unit that fits in a segment stays whole, where counts grow with the text",
  {
    eta: 30,
    counting: {
      name: "words that cost more together",
      count: (text) => words.count(text) + (/A[^]*B/.test(text) ? 3 : 0) + (/A[^]*C/.test(text) ? 3 : 0),
      additive: false
    },
    packing: "even"
  },
  [`A${" a".repeat(9)}\nB${" b".repeat(9)}.\n\n`, "C c c c c."]
)

test("estimates: by how much sums are too high is learned, so that segments are full", () => {
  const counting = {
    ...words,
    name: "words and a mark",
    count: (text: string) => 1 + words.count(text),
    additive: false
  }
  const found = segment("So it is a line.\n".repeat(400), { eta: 100, counting })
  for (const { tokens } of found.slice(0, -1)) assert.ok(tokens > 90)
})

test("tokens: each segment has its count and the rank of its end", () => {
  assert.deepEqual(segment("So.\nA b. C d.\n\nE.", { eta: 4, counting: words }), [
    { text: "So.\n", tokens: 1, rank: rank.line },
    { text: "A b. C d.\n\n", tokens: 4, rank: rank.step },
    { text: "E.", tokens: 1, rank: rank.step }
  ])
})

test("size: one paragraph of 20,000 tokens is cut at its sentences", () => {
  const paragraph = Array.from({ length: 2000 }, (_, i) => `So the sum of ${i} odd numbers is a square.`).join(" ")
  const options = { eta: 1024, counting: o200k }
  assert.ok(o200k.count(paragraph) > 20_000)
  const found = segment(paragraph, options)
  assert.equal(textsOf(found).join(""), paragraph)
  for (const { tokens, rank: end } of found.slice(0, -1)) {
    assert.ok(tokens > 1000 && tokens <= 1024)
    assert.equal(end, rank.sentence)
  }
  assert.deepEqual(feed(everyCodeUnit(paragraph), options), found)
})

test("promptness: a segment is there once the next one has begun to be too much", () => {
  const segmenter = Segmenter.make({ eta: 4, count: words.count, additive: true })
  assert.deepEqual(segmenter.feed("A b c d.\n\nE f"), [])
  assert.deepEqual(textsOf(segmenter.feed(" g h.\n\nI am next")), ["A b c d.\n\n"])
  assert.deepEqual(textsOf(segmenter.end()), ["E f g h.\n\n", "I am next"])
})

// Faults

test("eta: it must be an integer of at least 4", () => {
  for (const eta of [3, 0, -1, 4.5, NaN, Infinity]) {
    const options = { eta, count: characters.count }
    const message = `Cannot segment: eta is ${eta}, and must be an integer of at least 4`
    assert.throws(() => Segmenter.make(options), { name: "RangeError", message })
    assert.throws(() => Segmenter.segment("", options), { name: "RangeError", message })
  }
})
