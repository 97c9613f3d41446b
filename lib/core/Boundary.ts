/**
 * Where a text may be cut: steps, paragraphs, fences and display formulas, lines, sentences, words.
 *
 * The scanner reads text as it arrives and yields its lines, each with the rank of the boundary at its end; sentences
 * and words are looked for only in lines that are too long to be kept. This is the one place that knows what a step or a
 * sentence is: the segmenter and the guided reasoner compare ranks.
 *
 * ```text
 *   First, let n be even.⏎So n = 2k. Then n² = 4k².⏎⏎Now the odd case.
 *                        ^ line    ^ sentence       ^ step
 * ```
 *
 * @module
 */

/**
 * How good a place for a cut is: the rank of the largest unit that ends there.
 *
 * `passage` is a blank line within a fence; `block` the edge of a fence or a display formula; `paragraph` a blank line
 * before a paragraph that continues the one before; `step` any other blank line, and the end of the text.
 */
export type Rank = (typeof rank)[keyof typeof rank]

/** The ranks by name, from the last resort to the best place for a cut. */
export const rank = {
  inside: 0,
  word: 1,
  sentence: 2,
  line: 3,
  passage: 4,
  block: 5,
  paragraph: 6,
  step: 7
} as const

/** A stretch of text up to a boundary. */
export interface Unit {
  /** The text, with the newlines that follow it; blanks belong to the unit on their right. */
  readonly text: string
  /** The rank of the boundary at its end. */
  readonly rank: Rank
  /**
   * Whether token counts add up across the boundary at its end, where the tokenizer splits text as cl100k, o200k and
   * Qwen do.
   */
  readonly adds: boolean
}

/** An incremental scanner: joined, its units are what it was fed, and where that was cut changes nothing. */
export interface Scanner {
  /** Reads more text, and returns the lines that are complete. */
  readonly feed: (chunk: string) => Array<Unit>
  /** Ends the text, and returns the lines that are left. */
  readonly end: () => Array<Unit>
}

/** Makes a scanner that reads one text and yields its lines. */
export const makeScanner = (): Scanner => {
  // The line being read and what came behind it. Chunks wait in `arrived` until they are an eighth of it, because
  // reading `text` flattens it: one flattening per chunk would make a long line quadratic.
  let text = ""
  let arrived: Array<string> = []
  let arrivedLength = 0
  // No line ends before this index of `text`.
  let searched = 0
  // What closes the fence or the display formula that is open at the start of `text`.
  let fence: string | undefined
  let formula: string | undefined

  /** Follows a line into or out of a block; true where a block ends with it. */
  const closesBlock = (line: string): boolean => {
    if (fence !== undefined) {
      const marks = FENCE_CLOSE.exec(line)?.[1]
      if (marks === undefined || !marks.startsWith(fence)) return false
      fence = undefined
      return true
    }
    let from = 0
    if (formula === undefined) {
      const opening = mayOpen(line, 0) ? BLOCK_OPEN.exec(line) : null
      if (opening === null) return false
      const mark = opening[1]!
      if (FENCE.test(mark)) {
        fence = mark
        return false
      }
      formula = FORMULA_CLOSE[mark]!
      from = opening[0].length
    }
    if (!line.includes(formula, from)) return false
    formula = undefined
    return true
  }

  /**
   * The rank of the boundary at the end of `line`, whose content ends at `newline` and may have blank lines behind it; the
   * text goes on at `next`, behind newlines and blanks.
   */
  const rankOf = (line: string, newline: number, isBlankBehind: boolean, next: number): Rank => {
    const last = lastOf(line, newline)
    if (last === "") return rank.line
    const closes = closesBlock(line)
    if (fence !== undefined) return isBlankBehind ? rank.passage : rank.line
    if (isBlankBehind) {
      // TeX allows no blank line in a formula: one that was never closed ends here.
      formula = undefined
      return EXPECTS_MORE.includes(last) || continues(text, next) ? rank.paragraph : rank.step
    }
    if (formula !== undefined) return rank.line
    BLOCK_START.lastIndex = next
    return closes || mayOpen(text, next) && BLOCK_START.test(text) ? rank.block : rank.line
  }

  const scan = (final: boolean): Array<Unit> => {
    text = text === "" && arrived.length === 1 ? arrived[0]! : text + arrived.join("")
    arrived = []
    arrivedLength = 0
    const units: Array<Unit> = []
    let from = 0
    for (;;) {
      const newline = text.indexOf("\n", searched)
      if (newline < 0) {
        searched = text.length
        break
      }
      let end = newline + 1
      let next = end
      let isBlankBehind = false
      for (let space; next < text.length && (space = spaceAt(text, next)) !== NONE; next++) {
        if (space !== NEWLINE) continue
        end = next + 1
        if (text.charCodeAt(next) === LINE_FEED) isBlankBehind = true
      }
      searched = newline
      if (next === text.length) break
      if (!final && next + AHEAD > text.length && text.indexOf("\n", next) < 0) break
      const line = text.slice(from, end)
      const adds = text.charCodeAt(end) !== SLASH || !SWALLOWS_SLASHES.test(line)
      units.push({ text: line, rank: rankOf(line, newline - from, isBlankBehind, next), adds })
      from = searched = end
    }
    if (final && from < text.length) {
      units.push({ text: text.slice(from), rank: rank.step, adds: true })
      from = text.length
    }
    text = text.slice(from)
    searched -= from
    return units
  }

  return {
    feed: (chunk) => {
      arrived.push(chunk)
      arrivedLength += chunk.length
      return arrivedLength > text.length / 8 ? scan(false) : []
    },
    end: () => scan(true)
  }
}

/**
 * Cuts a line into its sentences; joined, they are the line.
 *
 * Sentences end at `.`, `!`, `?` and `…` before a blank, unless a lower-case letter or a digit follows or an
 * abbreviation came before, and at CJK stops. Formulas (`$…$`, `\(…\)`, `\[…\]`) and code spans are not looked into.
 */
export const sentences = (line: string): Array<Unit> => {
  const units: Array<Unit> = []
  let from = 0
  const cut = (at: number): void => {
    units.push({ text: line.slice(from, at), rank: rank.sentence, adds: isBlank(line, at) })
    from = at
  }
  STOP.lastIndex = 0
  for (let stop = STOP.exec(line); stop !== null; stop = STOP.exec(line)) {
    const mark = stop[0]
    if (MASKS.has(mark) || mark[0] === "`") {
      STOP.lastIndex = behindMask(line, stop.index, mark)
      continue
    }
    CLOSERS.lastIndex = STOP.lastIndex
    CLOSERS.test(line)
    const end = Math.max(STOP.lastIndex, CLOSERS.lastIndex)
    let next = end
    while (next < line.length && spaceAt(line, next) !== NONE) next++
    if (next === line.length) break
    if (CJK_STOP.test(mark) || isBlank(line, end) && endsSentence(line, from, stop.index, mark, next)) cut(end)
  }
  units.push({ text: line.slice(from), rank: rank.sentence, adds: true })
  return units
}

/** Cuts a sentence into its words, each with the blanks before it; CJK punctuation ends a word too. */
export const words = (sentence: string): Array<Unit> => {
  const units: Array<Unit> = []
  const end = sentence.trimEnd().length
  let from = 0
  WORD.lastIndex = 0
  while (WORD.test(sentence)) {
    const at = WORD.lastIndex
    if (at >= end) break
    units.push({ text: sentence.slice(from, at), rank: rank.word, adds: isBlank(sentence, at) })
    from = at
  }
  units.push({ text: sentence.slice(from), rank: rank.word, adds: true })
  return units
}

/** Cuts a word into pieces of at most `length` UTF-16 code units, but never inside a surrogate pair. */
export const pieces = (word: string, length: number): Array<Unit> => {
  const units: Array<Unit> = []
  for (let from = 0; from < word.length;) {
    let at = Math.min(from + length, word.length)
    if (at < word.length && isLowSurrogate(word, at) && isHighSurrogate(word, at - 1)) at += at - 1 > from ? -1 : 1
    units.push({ text: word.slice(from, at), rank: rank.inside, adds: false })
    from = at
  }
  return units
}

/**
 * Whether token counts add up across an index that is inside a text, whatever the text is, where the tokenizer splits it
 * as cl100k, o200k and Qwen do: before the first blank behind a word, and where a line begins that is not indented.
 */
export const addsAt = (text: string, at: number): boolean =>
  isBlank(text, at) ||
  text.charCodeAt(at - 1) === LINE_FEED && spaceAt(text, at) === NONE && text.charCodeAt(at) !== SLASH

const LINE_FEED = 0x0a
const SLASH = 0x2f

/** The text that must be there behind a newline to know what begins: the longest sign of CONTINUATION. */
const AHEAD = 8

const FENCE = /^(?:`{3,}|~{3,})$/
const FENCE_CLOSE = /^[^\S\n]*(`{3,}|~{3,})\s*$/
const BLOCK_OPEN = /^\s*(`{3,}(?=[^`\n]*(?:\n|$))|~{3,}|\\\[|\$\$|\\begin\{)/
const BLOCK_START = /`{3}|~{3}|\\\[|\$\$|\\begin\{/y
const FORMULA_CLOSE: Readonly<Record<string, string>> = { "\\[": "\\]", "$$": "$$", "\\begin{": "\\end{" }

/** What a paragraph begins with that continues the one before: lower case, a closing bracket, a list item, a block. */
const CONTINUATION =
  /\p{Ll}|\p{Pe}|[-+*•‣◦·–]\s|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)]\s|\d{1,3}[、．]|`{3}|~{3}|\\\[|\$\$|\\begin\{/uy
/** What a paragraph ends with that the next one continues. */
const EXPECTS_MORE = ":,：，"

/**
 * In o200k, punctuation takes the newlines and slashes behind it into one piece: a cut among them does not add up. The
 * byte order mark is punctuation there.
 */
const SWALLOWS_SLASHES = /(?:[^\s\p{L}\p{N}]|\ufeff)[\r\n]+$/u

const STOP = /[.!?…]+|[。！？｡．]+|`+|\$\$|\$|\\\(|\\\[/g
const CJK_STOP = /[。！？｡．]/
const CLOSERS = /["'”’“‘«)\]}»*_」』）】》〉］]*/y
const WORD = /\s*[^\s，、；：。！？｡．」』）】》〉]*[，、；：。！？｡．」』）】》〉]*/g
const MASKS: ReadonlyMap<string, string> = new Map([["$", "$"], ["$$", "$$"], ["\\(", "\\)"], ["\\[", "\\]"]])
/** The longest formula or code span within a line, in code units: a lone `$` must not hide the rest of the line. */
const MASK_REACH = 512
const ABBREVIATION =
  /(?:^|[^\p{L}.])(?:e\.g|i\.e|cf|vs|viz|resp|approx|Dr|Mrs?|Ms|Prof|St|Figs?|Eqs?|Thm|Lem|Prop|Cor|Defs?|Sec|Ch|Ref|Ex|al)$/u
const NUMBERING = /^\s*[*_]*\(?(?:\d{1,3}|[ivx]{1,4})$/

/** Whether a fence or a display formula may begin at an index, or behind blanks there: most lines need no second look. */
const mayOpen = (text: string, at: number): boolean => {
  const code = text.charCodeAt(at)
  return !(code > 0x20 && code < 0x80) || code === 0x60 || code === 0x7e || code === 0x5c || code === 0x24
}

/** Whether a paragraph that begins at an index continues the one before. Most begin with a capitalized word. */
const continues = (text: string, at: number): boolean => {
  if (isAsciiLetter(text, at, 0x41) && isAsciiLetter(text, at + 1, 0x61)) return false
  CONTINUATION.lastIndex = at
  return CONTINUATION.test(text)
}

/** Whether one of the 26 letters from `first` on stands at an index. */
const isAsciiLetter = (text: string, at: number, first: number): boolean => {
  const letter = text.charCodeAt(at) - first
  return letter >= 0 && letter < 26
}

/** The last character of a line up to `end` that is no white space, or nothing. */
const lastOf = (line: string, end: number): string => {
  const code = line.charCodeAt(end - 1)
  return code > 0x20 && code < 0x80 ? line[end - 1]! : line.slice(0, end).trimEnd().at(-1) ?? ""
}

/** Whether the mark at `at` ends the sentence that began at `from`, when the line goes on at `next`. */
const endsSentence = (line: string, from: number, at: number, mark: string, next: number): boolean => {
  LOWER_OR_DIGIT.lastIndex = next
  if (LOWER_OR_DIGIT.test(line)) return false
  const before = line.slice(Math.max(from, at - WINDOW), at)
  return mark !== "." || !ABBREVIATION.test(before) && !(at - from < WINDOW && NUMBERING.test(before))
}

const LOWER_OR_DIGIT = /[\p{Ll}\p{Nd}]/uy
/** The code units before a full stop that tell an abbreviation or a list number. */
const WINDOW = 12

/** The index behind the formula or code span that `mark` opens at `at`, or behind the mark where nothing closes it. */
const behindMask = (line: string, at: number, mark: string): number => {
  const inside = at + mark.length
  const closer = MASKS.get(mark) ?? mark
  const close = line.slice(inside, inside + MASK_REACH).indexOf(closer)
  if (close < 0) return inside
  // A dollar sign before a blank opens no formula, and one behind a blank closes none: "$5 or $6".
  const dollars = mark === "$" && (spaceAt(line, inside) !== NONE || spaceAt(line, inside + close - 1) !== NONE)
  return dollars ? inside : inside + close + closer.length
}

const NONE = 0
const NEWLINE = 1
const BLANK = 2
const UNCLEAR = 3

/** What white space is at an index. U+0085 and U+FEFF are so in some tokenizers only: no cut there adds up. */
const spaceAt = (text: string, at: number): typeof NONE | typeof NEWLINE | typeof BLANK | typeof UNCLEAR => {
  const code = text.charCodeAt(at)
  if (code > 0x20 && code < 0x85) return NONE
  if (code === 0x20 || code === 0x09) return BLANK
  if (code === 0x0a || code === 0x0d) return NEWLINE
  if (code === 0x85 || code === 0xfeff) return UNCLEAR
  if (code < 0x20) return code === 0x0b || code === 0x0c ? BLANK : NONE
  return code === 0xa0 || code === 0x1680 || code >= 0x2000 && code <= 0x200a || code === 0x2028 || code === 0x2029 ||
      code === 0x202f || code === 0x205f || code === 0x3000
    ? BLANK
    : NONE
}

/** Whether a blank stands at `at` and none before it: there, counts add up. */
const isBlank = (text: string, at: number): boolean => spaceAt(text, at) === BLANK && spaceAt(text, at - 1) === NONE

const isHighSurrogate = (text: string, at: number): boolean => (text.charCodeAt(at) & 0xfc00) === 0xd800
const isLowSurrogate = (text: string, at: number): boolean => (text.charCodeAt(at) & 0xfc00) === 0xdc00
