import fc from "fast-check"
import { countTokens as countCl100k } from "gpt-tokenizer/encoding/cl100k_base"
import assert from "node:assert/strict"
import { test } from "node:test"
import { load } from "../../lib/adapters/GptTokenizer.ts"
import * as Boundary from "../../lib/core/Boundary.ts"
import { o200k } from "../support/counts.ts"
import { cutAt, cuts, everyCodeUnit, law, reasoning, sentence } from "../support/text.ts"

type RankName = keyof typeof Boundary.rank

const scan = (chunks: ReadonlyArray<string>): Array<Boundary.Unit> => {
  const scanner = Boundary.makeScanner()
  return [...chunks.flatMap((chunk) => scanner.feed(chunk)), ...scanner.end()]
}

const textsOf = (units: ReadonlyArray<Boundary.Unit>): Array<string> => units.map(({ text }) => text)
const join = (units: ReadonlyArray<Boundary.Unit>): string => textsOf(units).join("")

/** The stretches between the boundaries across which counts add up. */
const addends = (units: ReadonlyArray<Boundary.Unit>): Array<string> => {
  const found = [""]
  for (const { text, adds } of units) {
    found.push(found.pop()! + text)
    if (adds) found.push("")
  }
  return found
}

// Laws

law("losslessness: joined, the lines of a text are the text", reasoning, (text) => {
  assert.equal(join(scan([text])), text)
})

law("losslessness: joined, the sentences, words and pieces of a line are the line", reasoning, (text) => {
  for (const line of [text, ...textsOf(scan([text]))]) {
    assert.equal(join(Boundary.sentences(line)), line)
    assert.equal(join(Boundary.words(line)), line)
    assert.equal(join(Boundary.pieces(line, 3)), line)
  }
})

law("chunking: where a text is cut changes nothing", reasoning.chain(cuts), (chunks) => {
  assert.deepEqual(scan(chunks), scan([chunks.join("")]))
}, 500)

law("newlines: they belong to the unit before them, blanks to the one behind", reasoning, (text) => {
  const lines = textsOf(scan([text]))
  for (const line of lines.slice(0, -1)) assert.match(line, /[\r\n]$/)
  for (const line of lines.slice(1)) assert.match(line, /^[^\S\r\n]*\S/)
})

law("step: the end of a text is one, and every blank line outside a fence ends a paragraph", reasoning, (text) => {
  const lines = scan([text])
  for (const { text, rank } of lines.slice(0, -1)) {
    const blankLine = /\S\s*\n\s*\n\s*$/.test(text)
    assert.equal(rank >= Boundary.rank.paragraph || rank === Boundary.rank.passage, blankLine, JSON.stringify(text))
  }
  if (text !== "") assert.equal(lines.at(-1)!.rank, Boundary.rank.step)
})

law(
  "adds: counts of o200k and cl100k add up across the boundaries that say so",
  fc.oneof(reasoning, sentence),
  (text) => {
    const disallowedSpecial = new Set<string>()
    const cl100k = (part: string) => countCl100k(part, { disallowedSpecial })
    for (const units of [scan([text]), Boundary.sentences(text), Boundary.words(text)]) {
      for (const count of [o200k.count, cl100k]) {
        assert.equal(addends(units).reduce((sum, part) => sum + count(part), 0), count(text))
      }
    }
  }
)

test("adds: counts of o200k add up where a line ends with any sign and the next begins with a slash", async () => {
  // The reference loses bytes of the byte order mark.
  const { count } = await load("o200k_base")
  for (const end of [".", "a", "1", "\u00a0", "\ufeff", "\u0085", "\u200b", "$", "思", "\u0301", "😀"]) {
    const units = scan([`word${end}\n/x\nso`.repeat(40)])
    assert.equal(
      addends(units).reduce((sum, part) => sum + count(part), 0),
      count(textsOf(units).join("")),
      end
    )
  }
})

law("stability: a sentence is one sentence, and a word one word", reasoning, (text) => {
  for (const { text: line } of scan([text])) {
    for (const { text: sentence } of Boundary.sentences(line)) {
      assert.deepEqual(textsOf(Boundary.sentences(sentence)), [sentence])
      for (const { text: word } of Boundary.words(sentence)) {
        assert.deepEqual(textsOf(Boundary.sentences(word)), [word])
        assert.deepEqual(textsOf(Boundary.words(word)), [word])
      }
    }
  }
})

law(
  "pieces: they have at most the length, or are a surrogate pair, and none is cut inside a pair",
  fc.record({ text: reasoning, length: fc.integer({ min: 1, max: 9 }) }),
  ({ text, length }) => {
    const units = Boundary.pieces(text, length)
    for (const { text: piece } of units) assert.ok(piece.length <= length || [...piece].length === 1)
    // Cut inside a pair, its halves would be two code points.
    assert.equal(units.reduce((sum, { text: piece }) => sum + [...piece].length, 0), [...text].length)
  }
)

// Lines

/** The lines of the text that `lines` are, also where it is cut at every position. */
const scans = (name: string, lines: ReadonlyArray<readonly [text: string, rank: RankName]>): void => {
  test(name, () => {
    const text = lines.map(([line]) => line).join("")
    const expected = lines.map(([text, rank]) => ({ text, rank: Boundary.rank[rank] }))
    const scanned = (chunks: ReadonlyArray<string>) => scan(chunks).map(({ text, rank }) => ({ text, rank }))
    assert.deepEqual(scanned([text]), expected)
    assert.deepEqual(scanned(everyCodeUnit(text)), expected)
    for (let at = 1; at < text.length; at++) assert.deepEqual(scanned(cutAt(text, [at])), expected, `cut at ${at}`)
  })
}

scans("lines: an empty text has none", [])
scans("lines: newlines alone are one", [["\n\r\n\n", "step"]])
scans("lines: newlines at the start are one of their own", [["\n\n", "line"], ["So.", "step"]])
scans("lines: a carriage return belongs to its newline", [["a\r\n", "line"], ["b\r\n\r\n", "step"], ["C", "step"]])
scans("lines: one with blanks alone is empty", [["a\n \t\n\n", "step"], ["  B", "step"]])
scans("steps: empty paragraphs belong to the one before", [["A.\n\n\n\n\n", "step"], ["So B.\n\n\n", "step"]])
scans("steps: a paragraph that begins with a capital letter is one", [["A.\n\n", "step"], ["Now B.", "step"]])
scans("steps: in scripts without case a blank line ends one", [["首先。\n\n", "step"], ["然后。", "step"]])
scans("steps: Russian has case", [["Да.\n\n", "paragraph"], ["нет.\n\n", "step"], ["Да.", "step"]])

for (
  const [sign, start] of [
    ["a lower-case letter", "so n"],
    ["a closing bracket", ") and"],
    ["a closing CJK bracket", "」と"],
    ["a dash", "- one"],
    ["a bullet", "• one"],
    ["a number", "12. one"],
    ["a number in brackets", "(3) one"],
    ["a letter", "B) one"],
    ["a Roman number", "iv. one"],
    ["a CJK number", "3、一"],
    ["a display formula", "\\[x\\]"],
    ["dollar signs", "$$x$$"],
    ["an environment", "\\begin{align}x\\end{align}"],
    ["a fence", "```\nx\n```"]
  ] as const
) {
  test(`continuation: a paragraph continues that begins with ${sign}`, () => {
    assert.equal(scan([`We see.\n\n${start}`])[0]!.rank, Boundary.rank.paragraph)
    assert.equal(scan(everyCodeUnit(`We see.\n\n  ${start}`))[0]!.rank, Boundary.rank.paragraph)
  })
}

for (const mark of [":", ",", "：", "，"]) {
  scans(`continuation: a paragraph that ends in ${mark} is continued`, [
    [`We see${mark} \n\n`, "paragraph"],
    ["A", "step"]
  ])
}

for (const start of ["A lemma", "**Step 2**", "2024 was", "-1 is", "3.14 is", "$x$ is", "(We", "Proof."]) {
  scans(`continuation: a paragraph continues none that begins with ${start}`, [["We see.\n\n", "step"], [
    start,
    "step"
  ]])
}

scans("fences: a blank line inside ends no paragraph", [
  ["So\n", "block"],
  ["```py\n", "line"],
  ["x = 1\n\n", "passage"],
  ["Y = 2\n", "line"],
  ["```\n", "block"],
  ["Then\n\n", "step"],
  ["Now", "step"]
])
scans("fences: an unclosed one ends with the text", [
  ["~~~\n", "line"],
  ["A.\n\n", "passage"],
  ["```\n\n", "passage"],
  ["B.\n", "step"]
])
scans("fences: only as many marks of the same kind close one", [
  ["````\n", "line"],
  ["```\n\n", "passage"],
  ["~~~~\n\n", "passage"],
  ["`````\n\n", "step"],
  ["A", "step"]
])
scans("fences: marks with text behind them close none", [["```\n", "line"], ["``` x\n\n", "passage"], ["A", "step"]])
scans("fences: marks that a line closes open none", [["```a``` b\n\n", "step"], ["A", "step"]])
scans("formulas: their edges are better places than the lines inside", [
  ["So\n", "block"],
  ["\\[\n", "line"],
  ["a = b\n", "line"],
  ["\\]\n", "block"],
  ["Then\n", "block"],
  ["$$ x $$\n", "block"],
  ["then\n", "block"],
  ["\\begin{align}\n", "line"],
  ["\\end{align}\n", "block"],
  ["we", "step"]
])
scans("formulas: a fence inside opens none", [["$$\n", "line"], ["```\n", "line"], ["$$\n\n", "step"], ["A", "step"]])
scans("formulas: a blank line ends one that was never closed", [
  ["\\[ x\n", "line"],
  ["y\n\n", "step"],
  ["A\n", "block"],
  ["$$ z $$", "step"]
])
scans("lists: items are lines", [["We see:\n", "line"], ["- one\n", "line"], ["- two\n\n", "paragraph"], [
  "* three",
  "step"
]])
scans("surrogates: halves of pairs are text", [["\ud83d\n\n", "step"], ["\ude00\ud83d\n", "line"], ["\ude00", "step"]])

test("adds: counts do not add up before a slash, which o200k takes with the newline", () => {
  assert.deepEqual(scan([".\n// a\nb\n// c"]).map(({ adds }) => adds), [false, true, true, true])
  assert.notEqual(o200k.count(".\n// a"), o200k.count(".\n") + o200k.count("// a"))
})

test("adds: counts do not add up beside what is white space in some tokenizers only", () => {
  for (const space of ["\u0085", "\ufeff"]) {
    assert.deepEqual(Boundary.words(`a${space} b c`).map(({ adds }) => adds).slice(-2), [true, true])
    assert.equal(Boundary.words(`a${space} b`)[0]!.adds, false)
  }
})

// Sentences and words

const cutsInto = (name: string, cut: (text: string) => Array<Boundary.Unit>, parts: ReadonlyArray<string>): void => {
  test(name, () => assert.deepEqual(textsOf(cut(parts.join(""))), parts))
}

for (
  const [name, sentences] of [
    ["they end at full stops before blanks, which belong to the next", ["Let n be.", " Then!?"]],
    ["they end at marks of any kind", ["Why?!", " Because…", " So!", " A"]],
    ["quotes and brackets close them", ['He says "yes."', " (It is.)", " **So.**", " A"]],
    ["Chinese ones need no blank", ["首先。", "然后！", "真的？”", "对"]],
    ["Japanese ones need none either", ["はい。」", "いいえ。", "ル"]],
    ["Russian ones end as English ones do", ["Это так.", " Итак, да?", " Да."]],
    ["German ones too", ["Sei n groß.", " „Gut.“", " Also"]],
    ["a decimal ends none", ["It is 3.14 or 1.", " So 2.5."]],
    ["a digit behind the blank ends none", ["See no. 3 there.", " It"]],
    ["a lower-case letter behind the blank ends none", ["It is approx. two… or so.", " A"]],
    ["an abbreviation ends none", ["See e.g. Euler, i.e. Dr. Euler, cf. Fig. A.", " Then"]],
    ["a list number ends none", ["1. Let n be.", " (2. We see.)", " A"]],
    ["formulas are not looked into", ["So $A. B$ and \\(C. D\\) and \\[E. F\\] hold.", " A"]],
    ["code is not looked into", ["Call `A. B` or ``A` B. C``.", " Then"]],
    ["a lone dollar sign hides nothing", ["It costs $5.", " That is $6.", " A"]],
    ["newlines belong to the one before", ["A b.\n\n"]]
  ] as const
) {
  cutsInto(`sentences: ${name}`, Boundary.sentences, sentences)
}

test("sentences: a formula that is not closed nearby hides nothing", () => {
  const far = `\\(${"a".repeat(600)}`
  assert.deepEqual(textsOf(Boundary.sentences(`${far} B. C \\) D`)), [`${far} B.`, " C \\) D"])
})

cutsInto("words: blanks belong to the one behind", Boundary.words, ["Let", " n", "  be", "\tso. \n"])
cutsInto(
  "words: CJK punctuation ends one",
  Boundary.words,
  ["首先，", "我们", " 看：", "「甲」", "乙。\n"]
)
cutsInto("words: blanks alone are one", Boundary.words, [" \t "])
cutsInto("pieces: a pair is never cut", (text) => Boundary.pieces(text, 1), ["a", "😀", "\ud83d", "b", "\ude00"])
cutsInto("pieces: they have the length, or one less before a pair", (text) => Boundary.pieces(text, 3), [
  "ab",
  "😀c",
  "d"
])
