/**
 * Reasoning generated from its structure: words, sentences, paragraphs and the joints between them.
 *
 * @module
 */
import fc from "fast-check"
import { test } from "node:test"

/** Declares the law `name: claim` as a test: `predicate` holds for all that `arbitrary` generates. */
export const law = <A>(
  name: string,
  arbitrary: fc.Arbitrary<A>,
  predicate: (value: A) => void,
  numRuns: number = 200
): void => {
  test(name, () => fc.assert(fc.property(arbitrary, predicate), { numRuns }))
}

/** An arbitrary of texts made of one to `maxLength` parts. */
const joined = (part: fc.Arbitrary<string>, maxLength: number, separator = ""): fc.Arbitrary<string> =>
  fc.array(part, { minLength: 1, maxLength }).map((parts) => parts.join(separator))

const either = (...texts: ReadonlyArray<string>): fc.Arbitrary<string> => fc.constantFrom(...texts)

/** What stands in sentences of any script. */
const inline: fc.Arbitrary<string> = fc.oneof(
  either(
    "$x^2$",
    "$a. B$",
    "\\(n \\ge 1\\)",
    "\\[a=b\\]",
    "$5",
    "`x.y? z`",
    "``a`b``",
    "**So.**",
    "*",
    "$",
    "`",
    "/etc/a"
  ),
  either("3.14", "1,024", "e.g.", "i.e.", "Dr.", "Fig.", "1.", "x.y", "https://a.b/c?d=e.", "...", "…", "—", "(1)"),
  either("😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "𝒙", "é", "\u0301", "\u00a0", "\u3000", "\u0085", "\ufeff", "\u2028")
)

/** A part repeated until the text has about so many code units. */
const repeated = (part: fc.Arbitrary<string>, min: number, max: number, separator = ""): fc.Arbitrary<string> =>
  fc
    .tuple(part, fc.integer({ min, max }))
    .map(([text, length]) => Array<string>(Math.ceil(length / (text.length + 1))).fill(text).join(separator))

/** Words that are longer than a segment may be. */
const longWord: fc.Arbitrary<string> = repeated(either("a", "xy", "0123456789", "思", "ab思😀", "=", "😀", "/"), 1, 400)

/** Half a surrogate pair, as it is left behind by a server that cuts between code units. */
const loneSurrogate: fc.Arbitrary<string> = either("\ud83d", "\ude00", "\ude00\ud83d")

const word = (...words: ReadonlyArray<string>): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 12, arbitrary: either(...words) },
    { weight: 3, arbitrary: inline },
    { weight: 1, arbitrary: longWord },
    { weight: 1, arbitrary: loneSurrogate }
  )

/** A sentence of `words`, closed by one of `stops`. */
const sentenceOf = (words: fc.Arbitrary<string>, blank: string, stops: ReadonlyArray<string>): fc.Arbitrary<string> =>
  fc.tuple(joined(words, 10, blank), either(...stops)).map(([text, stop]) => text + stop)

const LATIN_STOPS = [".", ".", ".", "!", "?", "?!", ".)", ':"', ":", ",", "…"]

const english = sentenceOf(
  word("So", "the", "sum", "of", "n", "is", "Wait,", "therefore", "Hmm", "let", "even;", "A", "counterexample"),
  " ",
  LATIN_STOPS
)
const german = sentenceOf(
  word("Also", "die", "Größe", "ist", "z.", "B.", "„größer“", "als", "Überlegung"),
  " ",
  LATIN_STOPS
)
const russian = sentenceOf(word("Итак,", "сумма", "чисел", "равна", "пусть", "т.", "е.", "Тогда"), " ", LATIN_STOPS)
const chinese = sentenceOf(
  word("首先", "我们", "证明", "因为", "，", "所以", "、", "这个数", "是偶数", "（如下）"),
  "",
  ["。", "！", "？", "：", "；", "。”"]
)
const japanese = sentenceOf(
  word("まず", "偶数", "と", "します", "、", "「はい」", "しかし", "です", "ル"),
  "",
  ["。", "！", "？", "」", "。」"]
)

/** A sentence in one of several scripts. */
export const sentence: fc.Arbitrary<string> = fc.oneof(english, german, russian, chinese, japanese)

/** A sentence in a script that puts blanks between words, where the counts of tokenizers add up. */
export const blankSentence: fc.Arbitrary<string> = fc.oneof(
  sentenceOf(either("So", "the", "sum", "of", "$x^2$", "is", "3.14", "(e.g.", "even)", "😀", "Größe"), " ", [".", "!"]),
  sentenceOf(either("Итак,", "сумма", "чисел", "равна", "`a.b`", "Тогда"), " ", [".", "?"])
)

/** A sentence in Chinese or Japanese of words that any tokenizer keeps short. */
export const chineseSentence: fc.Arbitrary<string> = sentenceOf(
  either("首先", "我们", "证明", "因为", "，", "、", "这个数", "（如下）", "偶数", "です", "$x^2$", "𝒙"),
  "",
  ["。", "！", "？"]
)

/** A line of sentences, with or without blanks between them. */
const line = (part: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(joined(part, 4, " "), either("", "", "", " ", "  ")).map(([text, blanks]) => text + blanks)

const newline: fc.Arbitrary<string> = either("\n", "\n", "\n", "\r\n", "\n  ")

const lines = (part: fc.Arbitrary<string>, maxLength: number): fc.Arbitrary<string> =>
  joined(fc.tuple(part, newline).map((parts) => parts.join("")), maxLength).map((text) => text.trimEnd())

const prose = (part: fc.Arbitrary<string>): fc.Arbitrary<string> => lines(line(part), 3)

const list: fc.Arbitrary<string> = lines(
  fc.tuple(either("- ", "* ", "1. ", "(a) ", "ii) ", "•\t", "3、"), sentence).map((parts) => parts.join("")),
  4
)

/** A display formula, rarely left open. */
const formula: fc.Arbitrary<string> = fc
  .tuple(
    either("\\[", "$$", "\\begin{align}"),
    either("a = b", "\na &= b \\\\\n c &= d.\n", "\n", " E = mc^2. So ", "\n\n"),
    either("\\]", "$$", "\\end{align}", "$$.", "")
  )
  .map((parts) => parts.join(""))

/** A fence, sometimes left open, sometimes with blank lines or other marks within. */
const fence: fc.Arbitrary<string> = fc
  .tuple(
    either("```", "~~~", "````", "```py", "  ```"),
    lines(either("x = 1", "", "\n", "def f(x): return x. Then", "  # 计算。对", "```", "~~~", "$$"), 5),
    either("```", "~~~", "````", "``` ", "")
  )
  .map((parts) => parts.join("\n"))

/** One line of many sentences. */
const hugeParagraph: fc.Arbitrary<string> = repeated(joined(sentence, 3, " "), 500, 2000, " ")

/** A paragraph: prose, a list, a fence, a formula, nothing, or more than any segment holds. */
export const paragraph: fc.Arbitrary<string> = fc.oneof(
  { weight: 10, arbitrary: prose(sentence) },
  { weight: 3, arbitrary: list },
  { weight: 3, arbitrary: fence },
  { weight: 2, arbitrary: formula },
  { weight: 1, arbitrary: either("", " ", "---", "So,", "Therefore:") },
  { weight: 1, arbitrary: hugeParagraph }
)

/** What stands between paragraphs. */
export const joint: fc.Arbitrary<string> = fc.oneof(
  { weight: 8, arbitrary: either("\n\n", "\n\n", "\n\n", "\n") },
  {
    weight: 3,
    arbitrary: either("\r\n\r\n", "\r\n", "\n\r\n", "\r\r", "\n\n\n\n\n\n", "\n \n", "\n\t\n\n", "\n\n  ", "\n\n/")
  }
)

/** Paragraphs and the joints between them. */
const passage = (part: fc.Arbitrary<string>, between: fc.Arbitrary<string>, maxLength: number): fc.Arbitrary<string> =>
  joined(fc.tuple(part, between).map((parts) => parts.join("")), maxLength)

/** Reasoning with everything that models write, in all scripts; sometimes empty. */
export const reasoning: fc.Arbitrary<string> = fc.oneof(
  { weight: 1, arbitrary: either("", "\n", "\n\n", " ", "\r\n\r\n") },
  { weight: 12, arbitrary: passage(paragraph, joint, 8) },
  { weight: 4, arbitrary: fc.tuple(joint, passage(paragraph, joint, 4), sentence).map((parts) => parts.join("")) }
)

/** Reasoning of words between blanks alone: counts of tokenizers add up wherever it may be cut. */
export const blankReasoning: fc.Arbitrary<string> = passage(
  prose(blankSentence),
  either("\n\n", "\n\n", "\n", "\r\n\r\n", "\n\n\n"),
  12
)

/**
 * Reasoning of `length` code units or a little more: parts in an order that never repeats, so that no segment is like
 * the one before.
 */
export const long = (part: fc.Arbitrary<string>, separator: string, length: number): fc.Arbitrary<string> =>
  fc.tuple(fc.array(part, { minLength: 20, maxLength: 40 }), fc.nat()).map(([parts, seed]) => {
    let text = ""
    for (let state = seed; text.length < length;) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      text += parts[(state >>> 8) % parts.length]! + separator
    }
    return text
  })

/** Ways to cut a text into chunks, empty ones and every code unit among them. */
export const cuts = (text: string): fc.Arbitrary<ReadonlyArray<string>> =>
  fc.oneof(
    { weight: 1, arbitrary: fc.constant(everyCodeUnit(text)) },
    { weight: 4, arbitrary: fc.array(fc.nat({ max: text.length }), { maxLength: 12 }).map((at) => cutAt(text, at)) }
  )

/** Cuts a text at the given indices. */
export const cutAt = (text: string, indices: ReadonlyArray<number>): ReadonlyArray<string> => {
  const sorted = [0, ...indices, text.length].sort((a, b) => a - b)
  return sorted.slice(1).map((index, i) => text.slice(sorted[i]!, index))
}

/** Cuts a text into its code units, surrogate pairs too. */
export const everyCodeUnit = (text: string): ReadonlyArray<string> => text.split("")
