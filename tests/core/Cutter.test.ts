import fc from "fast-check"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Boundary from "../../lib/core/Boundary.ts"
import * as Cutter from "../../lib/core/Cutter.ts"
import { type Counting, o200k, oneOf, words } from "../support/counts.ts"
import { blankSentence, cuts, everyCodeUnit, law, long, reasoning } from "../support/text.ts"

const { rank } = Boundary

/** What a cutter made of a text. */
interface Cutting {
  readonly kept: string
  /** What was kept, as it came. */
  readonly texts: ReadonlyArray<string>
  readonly rank: Boundary.Rank | undefined
  readonly dropped: string
  /** What was not fed any more. */
  readonly unread: string
  /** The characters that were counted. */
  readonly counted: number
}

type Options = Pick<Cutter.Options, "eta" | "from" | "late"> & { readonly counting: Counting }

const cutting = (chunks: ReadonlyArray<string>, { counting, ...options }: Options): Cutting => {
  let counted = 0
  const cutter = Cutter.make({
    ...options,
    count: (text) => {
      counted += text.length
      return counting.count(text)
    }
  })
  const texts: Array<string> = []
  const made = (cut: Cutter.Cut | undefined, unread: string): Cutting => ({
    kept: texts.join(""),
    texts,
    rank: cut?.rank,
    dropped: cut?.dropped ?? "",
    unread,
    counted
  })
  for (const [i, chunk] of chunks.entries()) {
    const { text, cut } = cutter.feed(chunk)
    texts.push(text)
    if (cut !== undefined) return made(cut, chunks.slice(i + 1).join(""))
  }
  const { text, cut } = cutter.end()
  texts.push(text)
  return made(cut, "")
}

const etas = fc.oneof(fc.integer({ min: 4, max: 12 }), fc.integer({ min: 4, max: 200 }))

const shares = fc
  .tuple(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 100 }))
  .map(([a, b]) => ({ from: Math.min(a, b) / 100, late: Math.max(a, b) / 100 }))

const options: fc.Arbitrary<Options> = fc
  .tuple(etas, oneOf(o200k, words), fc.option(shares, { nil: {} }))
  .map(([eta, counting, shares]) => ({ eta, counting, ...shares }))

/** What stands between lines: more blanks and newlines than words, too. */
const between = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom("\n", "\n", "\r\n", "\n\n") },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 800 }).map((length) => "\n".repeat(length)) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 100 }).map((length) => `${"\u3000\t\u2003".repeat(length)}\n`) }
)

/**
 * Lines that end with punctuation, formulas and fences before lines that begin with slashes, which o200k takes into one
 * piece with what comes before.
 */
const slashed = fc.array(
  fc.tuple(
    fc.constantFrom("", "/", "/", "//", "/*", "/**/*", "/=", "/ "),
    fc.constantFrom("", "A b", "A is the set", "usr/bin/env is there", "思。", "x = y"),
    fc.constantFrom("", ".", ";", "{", " $", " };", "*/", "$$\nx = y\n$$", "\\[ a = b \\]", "```js\nf(x)\n```", "。"),
    between
  ),
  { minLength: 1, maxLength: 60 }
).map((lines) => lines.flat().join(""))

const cases = fc.record({
  text: fc.oneof({ weight: 3, arbitrary: reasoning }, { weight: 2, arbitrary: slashed }),
  options
})

const cutCases = cases.chain(({ text, options }) => cuts(text).map((chunks) => ({ text, options, chunks })))

// Laws

law("chunking: where the input is cut changes neither what is kept nor what is dropped", cutCases, (sample) => {
  const whole = cutting([sample.text], sample.options)
  const { kept, rank, dropped, unread } = cutting(sample.chunks, sample.options)
  assert.deepEqual({ kept, rank, dropped: dropped + unread }, {
    kept: whole.kept,
    rank: whole.rank,
    dropped: whole.dropped
  })
}, 600)

law("prefix: what is kept, what is dropped and what was not read are the reasoning", cutCases, (sample) => {
  const { kept, dropped, unread, rank } = cutting(sample.chunks, sample.options)
  assert.equal(kept + dropped + unread, sample.text)
  if (rank === undefined) assert.equal(kept, sample.text)
}, 400)

law("bound: at most eta tokens are kept", cutCases, ({ chunks, options }) => {
  const { kept } = cutting(chunks, options)
  const tokens = options.counting.count(kept)
  assert.ok(tokens <= options.eta, `${tokens} of ${options.eta} tokens: ${JSON.stringify(kept)}`)
}, 600)

law(
  "bound: slashes that begin a line are counted with the punctuation before them",
  fc.record({ text: slashed, eta: fc.integer({ min: 4, max: 60 }) }),
  ({ text, eta }) => {
    // With these shares, eta is filled.
    const { kept } = cutting([text], { eta, counting: o200k, from: 1, late: 1 })
    assert.ok(o200k.count(kept) <= eta, `${o200k.count(kept)} of ${eta} tokens: ${JSON.stringify(kept)}`)
  },
  2000
)

/** What may be held back: blanks, what follows a newline, half a character, and, near eta, the word being written. */
const mayWait = (held: string, near: boolean): boolean =>
  (near ? /^\s*\S{0,33}(?:\s*[\ud800-\udbff]?$|[^\S\n]*[\n\r])/ : /^\s*(?:$|[\ud800-\udbff]$)|^[^\S\n]*[\n\r]/).test(
    held
  )

/** Words between blanks, of at most 32 code units: their counts add up. */
const blankCases = fc.record({ text: long(blankSentence, "\n\n", 600), eta: fc.integer({ min: 4, max: 300 }) })

const waits = (
  chunks: ReadonlyArray<string>,
  { counting, ...options }: Options,
  isNear: (fed: string) => boolean
): void => {
  const cutter = Cutter.make({ ...options, count: counting.count })
  let fed = ""
  let kept = ""
  for (const chunk of chunks) {
    const { text, cut } = cutter.feed(chunk)
    if (cut !== undefined) return
    fed += chunk
    kept += text
    assert.ok(mayWait(fed.slice(kept.length), isNear(fed)), JSON.stringify([kept, fed]))
  }
}

law(
  "promptness: only blanks, what follows a newline and, near eta, the word being written wait",
  blankCases,
  (sample) =>
    waits(
      everyCodeUnit(sample.text),
      { eta: sample.eta, counting: o200k },
      (fed) => o200k.count(fed) + 3 * 32 >= 0.95 * sample.eta
    ),
  100
)

law(
  "promptness: far from eta, no word waits in any script",
  cutCases,
  ({ chunks, options: { counting, eta } }) =>
    waits(chunks, { counting, eta: eta + 2000 }, (fed) => 3 * (fed.length + 32) >= 0.95 * (eta + 2000)),
  400
)

const additiveCases = fc.record({ eta: etas, shares: fc.option(shares, { nil: {} }) }).chain(({ eta, shares }) =>
  fc.oneof(
    reasoning.map((text) => ({ text, options: { eta, ...shares, counting: words } })),
    long(blankSentence, "\n\n", 600).map((text) => ({ text, options: { eta, ...shares, counting: o200k } }))
  )
)

law("earliest: no end of a line, paragraph or step that was good enough is passed over", additiveCases, (sample) => {
  const { eta, counting, from = 0.8, late = 0.95 } = sample.options
  const { kept } = cutting(everyCodeUnit(sample.text), sample.options)
  const scanner = Boundary.makeScanner()
  let at = 0
  for (const unit of [...scanner.feed(sample.text), ...scanner.end()]) {
    at += unit.text.length
    if (at >= kept.length) break
    const least = unit.rank >= rank.paragraph ? from : late
    assert.ok(counting.count(sample.text.slice(0, at)) < least * eta, JSON.stringify(sample.text.slice(0, at)))
  }
}, 400)

law("earliest: no sentence that ends late is passed over", blankCases, ({ text, eta }) => {
  const { kept } = cutting(everyCodeUnit(text), { eta, counting: o200k })
  const passed = kept.slice(0, -1).matchAll(/(?<!e\.)[a-zü)][.!](?= [A-Z])/g)
  for (const { index } of passed) assert.ok(o200k.count(kept.slice(0, index + 2)) < 0.95 * eta, JSON.stringify(kept))
})

law(
  "cost: the characters that are counted are at most three times the text, and once where counts add up",
  cutCases,
  (sample) => {
    const { counted, unread } = cutting(sample.chunks, sample.options)
    assert.ok(counted <= 3 * (sample.text.length - unread.length), `${counted} of ${sample.text.length}`)
  },
  400
)

law(
  "cost: where words stand between blanks, every character is counted once",
  fc.tuple(long(blankSentence, "\n\n", 6000), fc.integer({ min: 100, max: 2000 })),
  ([text, eta]) => {
    // Pieces of a long word are counted apart, so that the counts of a text with such words need not add up.
    const { counted, unread } = cutting(everyCodeUnit(text), { eta, counting: o200k })
    assert.ok(counted <= text.length - unread.length, `${counted} of ${text.length - unread.length}`)
  },
  50
)

// Examples

/** A text of `count` words, each of one token. */
const wordsOf = (count: number, word = "so"): string => Array.from({ length: count }, () => word).join(" ")

const example = (text: string, eta = 100): Cutting => {
  const whole = cutting([text], { eta, counting: words })
  const { kept, rank, dropped, unread } = cutting(everyCodeUnit(text), { eta, counting: words })
  assert.deepEqual([kept, rank, dropped + unread], [whole.kept, whole.rank, whole.dropped])
  return whole
}

test("make: where counts of words do not add up, eta is still nearly filled", () => {
  const text = "因为这个数是偶数，所以它可以被二整除。".repeat(40)
  for (const eta of [100, 400, 1600]) {
    const { kept } = cutting(everyCodeUnit(text.repeat(4)), { eta, counting: o200k })
    assert.ok(o200k.count(kept) >= 0.9 * eta, `${o200k.count(kept)} of ${eta}`)
  }
})

test("make: from 0.8 eta, the first step ends the reasoning", () => {
  const text = `${wordsOf(79)}.\n\n${wordsOf(3)}.\n\nThen it goes on, and on.`
  assert.deepEqual(example(text).kept, `${wordsOf(79)}.\n\n${wordsOf(3)}.\n\n`)
  assert.equal(example(text).rank, rank.step)
  assert.equal(example(text).dropped, "Then it goes on, and on.")
})

test("make: from 0.8 eta, a paragraph that goes on in the next one will do", () => {
  const { kept, rank: found } = example(`${wordsOf(85)}:\n\n- and a list of many more words.`)
  assert.equal(kept, `${wordsOf(85)}:\n\n`)
  assert.equal(found, rank.paragraph)
})

test("make: below 0.95 eta, neither a line nor a sentence ends the reasoning", () => {
  const text = `${wordsOf(84)}. Then so.\nThen so.\n${wordsOf(4)}\n${wordsOf(20)}`
  const { kept, rank: found } = example(text)
  assert.equal(kept, `${wordsOf(84)}. Then so.\nThen so.\n${wordsOf(4)}\n${wordsOf(8)}`)
  assert.equal(found, rank.word)
})

test("make: from 0.95 eta, a line ends it", () => {
  const { kept, rank: found } = example(`${wordsOf(96)}\nThen it goes on, and on.`)
  assert.equal(kept, `${wordsOf(96)}\n`)
  assert.equal(found, rank.line)
})

test("make: from 0.95 eta, a sentence ends it, even in a line that would fit", () => {
  const { kept, rank: found } = example(`${wordsOf(96)}. So it is.\nThen it goes on, and on.`)
  assert.equal(kept, `${wordsOf(96)}.`)
  assert.equal(found, rank.sentence)
})

test("make: an abbreviation or a list number ends no sentence", () => {
  const { kept, rank: found } = example(`${wordsOf(95)} cf. Fig. 3 and so on for ever. Then`)
  assert.equal(kept, `${wordsOf(95)} cf. Fig. 3 and so`)
  assert.equal(found, rank.word)
})

test("make: at eta, it is cut where it stands, behind a word", () => {
  const { kept, rank: found, dropped } = example(wordsOf(120, "counterexample"))
  assert.equal(kept, wordsOf(100, "counterexample"))
  assert.equal(found, rank.word)
  assert.equal(dropped, ` ${wordsOf(20, "counterexample")}`)
})

test("make: a word that is too long is cut inside, never inside a character", () => {
  const text = "😀".repeat(200)
  const { kept, rank: found } = cutting(everyCodeUnit(text), { eta: 20, counting: o200k })
  assert.ok(kept.length > 0 && o200k.count(kept) <= 20)
  assert.equal(kept, "😀".repeat(kept.length / 2))
  assert.equal(found, rank.inside)
})

test("make: Chinese is cut at its sentences", () => {
  const sentence = "首先我们证明这个数是偶数。"
  const text = sentence.repeat(60)
  const { kept, rank: found } = cutting(everyCodeUnit(text), { eta: 200, counting: o200k })
  assert.equal(kept, sentence.repeat(kept.length / sentence.length))
  assert.equal(found, rank.sentence)
  assert.ok(o200k.count(kept) > 160)
})

test("make: shares of one cut at eta alone", () => {
  const text = `${wordsOf(97)}. So.\n\nSo. ${wordsOf(9)}`
  const { kept } = cutting([text], { eta: 100, counting: words, from: 1, late: 1 })
  assert.equal(kept, `${wordsOf(97)}. So.\n\nSo. so`)
})

test("make: a slash behind punctuation on the line before belongs to it, and eta is not passed", () => {
  for (const text of ["$$\nx\n$$\n/A b c d", "x = 1;\n// so\n// on", "x $\n/**/*", ".\n/\n/\n//\n/ so"]) {
    for (let eta = 4; eta < 16; eta++) {
      const whole = cutting([text], { eta, counting: o200k })
      const { kept, dropped, unread } = cutting(everyCodeUnit(text), { eta, counting: o200k })
      assert.deepEqual([kept, dropped + unread], [whole.kept, whole.dropped])
      assert.ok(o200k.count(kept) <= eta, JSON.stringify([kept, eta]))
    }
  }
})

test("make: blanks and newlines that do not fit are cut off behind the word", () => {
  for (const blanks of ["\u3000\t\u2003".repeat(400), `\u3000${"\n".repeat(9000)}`]) {
    const text = `So it is${blanks}\nand on.`
    for (const chunks of [[text], everyCodeUnit(text)]) {
      const { kept, rank: found } = cutting(chunks, { eta: 200, counting: o200k })
      assert.equal(kept, "So it is")
      assert.equal(found, rank.word)
    }
  }
})

test("make: where eta is tiny, what may not fit with the blanks behind it waits", () => {
  for (
    const text of [
      "\r\n//\u3000\r\nHowever, it ends!",
      "a\u{12000}b",
      "//\u{12000}\n/",
      "\u{12000}\u{12000}",
      "/\u0301/"
    ]
  ) {
    for (let eta = 4; eta < 12; eta++) {
      const whole = cutting([text], { eta, counting: o200k })
      const { kept, rank, dropped, unread } = cutting(everyCodeUnit(text), { eta, counting: o200k })
      assert.deepEqual([kept, rank, dropped + unread], [whole.kept, whole.rank, whole.dropped])
      assert.ok(o200k.count(kept) <= eta, JSON.stringify([kept, eta]))
    }
  }
})

test("end: reasoning that ends by itself is kept, whatever it has come to", () => {
  for (
    const text of ["", "\n", "So.", `${wordsOf(85)}.\n\n`, `${wordsOf(96)}. `, wordsOf(100), `${wordsOf(100)}\n\n\n`]
  ) {
    assert.equal(example(text).kept, text)
    assert.equal(example(text).rank, undefined)
  }
})

test("end: a boundary before the last words still cuts them off", () => {
  const { kept, dropped } = example(`${wordsOf(85)}.\n\nSo so.`)
  assert.equal(kept, `${wordsOf(85)}.\n\n`)
  assert.equal(dropped, "So so.")
})

// Faults

test("make: a bad option is a RangeError", () => {
  const make = (options: Partial<Cutter.Options>) => () => Cutter.make({ eta: 100, count: words.count, ...options })
  for (const eta of [3, 4.5, NaN, Infinity]) assert.throws(make({ eta }), /^RangeError: Cannot cut: eta is /)
  for (const shares of [{ from: 0 }, { from: 0.9, late: 0.8 }, { late: 1.1 }, { from: NaN }]) {
    assert.throws(make(shares), /^RangeError: Cannot cut: from is .* and late is .* between 0 and 1/)
  }
})
