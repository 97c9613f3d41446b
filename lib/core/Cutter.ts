/**
 * Ends live reasoning near η tokens, at the best boundary that comes: the segmenter's cuts, made while a model writes.
 *
 * ```text
 *   0 ──────────── 0.8 η ─────────── 0.95 η ────────── η
 *     goes on      │ a step or        │ a line or      │ where it stands,
 *                  │ paragraph ends   │ sentence ends  │ behind a word
 * ```
 *
 * Every text is counted once: a line as a whole where it is far from η, and word by word where it is near. Where the
 * counts of words do not add up, as in Chinese, such a line takes a token more for each, and is counted again once it
 * comes near to η, and at its end.
 *
 * @module
 */
import * as Boundary from "./Boundary.ts"

/** How to cut. */
export interface Options {
  /** η: the most tokens that are kept; an integer of at least 4. */
  readonly eta: number
  /** The tokens of a text: at most three for a UTF-16 code unit, as byte-level vocabularies have. */
  readonly count: (text: string) => number
  /** From what share of η on the end of a step or paragraph is taken; 0.8 by default. */
  readonly from?: number
  /** From what share of η on the end of any line or sentence is taken; 0.95 by default. */
  readonly late?: number
}

/** More text that is kept, and the cut behind it, if one was made. */
export interface Kept {
  readonly text: string
  readonly cut?: Cut
}

/** Where reasoning was cut. */
export interface Cut {
  /** The rank of the boundary at the cut. */
  readonly rank: Boundary.Rank
  /** What had come behind it. */
  readonly dropped: string
}

/** An incremental cutter: where its input is cut changes nothing. Nothing is to be fed to it behind a cut. */
export interface Cutter {
  /**
   * Reads more reasoning. It holds back what may yet be cut off: blanks at the end, what follows a newline, and, where η
   * is near, the word that is being written.
   */
  readonly feed: (chunk: string) => Kept
  /** Ends the reasoning by itself: what was held back is kept, up to the cut that may still be in it. */
  readonly end: () => Kept
}

/** Makes a cutter of one reasoning. Throws a RangeError for a bad option. */
export const make = ({ eta, count, from = 0.8, late = 0.95 }: Options): Cutter => {
  if (!Number.isInteger(eta) || eta < 4) {
    throw new RangeError(`Cannot cut: eta is ${eta}, and must be an integer of at least 4`)
  }
  if (!(0 < from && from <= late && late <= 1)) {
    throw new RangeError(`Cannot cut: from is ${from} and late is ${late}, and must be in order between 0 and 1`)
  }
  // A piece of this length fits in any eta, so that the first one is always kept.
  const longest = Math.min(LONGEST_PIECE, Math.floor(eta / MOST_TOKENS))
  const scanner = Boundary.makeScanner()
  // The line being written and what came behind its newline, and how much of it was given on.
  let line = ""
  let given = 0
  // Where its content ends so far, without the half of a surrogate pair that came last; whether its newline is there; and
  // up to where it was walked. Kept, because to look at all of the line for each chunk would make many blanks quadratic.
  let end = 0
  let half = ""
  let isOver = false
  let walkedTo = 0
  // The tokens of the lines before, and those of all that was counted, which ends at `counted` in the line; then what the
  // boundary there is like.
  let before = 0
  let tokens = 0
  let counted = 0
  let rank: Boundary.Rank = Boundary.rank.line
  let adds = true
  // Whether the line is counted by its words, and whether these counts add up.
  let walked = false
  let exact = true
  // Whether the line was counted as a whole meanwhile, where it seemed to come near to its end.
  let recounted = false

  /** Whether a piece that is being written may turn out not to fit. */
  const isNear = (): boolean => tokens + MOST_TOKENS * longest > eta

  /** Follows the content of the line through more of it, which begins at an index. */
  const follow = (at: number, text: string): void => {
    if (isOver) return
    const newline = text.indexOf("\n")
    isOver = newline >= 0
    half = isOver || (text.charCodeAt(text.length - 1) & 0xfc00) !== 0xd800 ? "" : text.at(-1)!
    const content = text.slice(0, isOver ? newline : text.length - half.length).trimEnd()
    if (content !== "") end = at + content.length
  }

  const cutAt = (at: number, rank: Boundary.Rank): Kept => {
    const end = Math.max(at, given)
    return { text: line.slice(given, end), cut: { rank, dropped: line.slice(end) } }
  }

  /**
   * Counts the words of the line up to `end`, and cuts behind the first that ends a sentence, or before the one that does
   * not fit. The last word is left out, because it may go on, unless the newlines behind it are there.
   */
  const walk = (end: number, newlines?: string): Kept | undefined => {
    // Most lines are far from eta: they need not be looked into.
    walked ||= tokens + MOST_TOKENS * (end + longest) >= late * eta
    if (!walked) return undefined
    const units = Boundary.words(line.slice(counted, end)).flatMap((word) => piecesOf(word, longest))
    const last = units.pop()
    for (const unit of units) {
      const cut = step(unit) ?? endSentence(unit, end)
      if (cut !== undefined) return cut
    }
    return newlines === undefined ? undefined : step({ text: "", rank, adds: true, ...last }, newlines)
  }

  /** Counts a unit, and cuts before it if it does not fit. */
  const step = (unit: Boundary.Unit, newlines = ""): Kept | undefined => {
    const more = count(unit.text + newlines) + (adds ? 0 : 1)
    if (!exact && !recounted && tokens + more >= late * eta) {
      recounted = true
      tokens = before + count(line.slice(0, counted))
    }
    const next = tokens + more
    if (next > eta) return cutAt(counted, rank)
    exact &&= adds
    tokens = next
    counted += unit.text.length
    rank = unit.rank
    adds = unit.adds
    return undefined
  }

  const endSentence = ({ text, rank }: Boundary.Unit, end: number): Kept | undefined =>
    tokens >= late * eta && rank === Boundary.rank.word && STOP.test(text) && endsSentence(line.slice(0, end), counted)
      ? cutAt(counted, Boundary.rank.sentence)
      : undefined

  /** Reads complete lines, up to the one that is a good end; the end of the text is none. */
  const take = (lines: ReadonlyArray<Boundary.Unit>, final: Boundary.Unit | undefined): Kept => {
    let text = ""
    for (const unit of lines) {
      const end = unit.text.trimEnd().length
      const cut = walk(end, unit.text.slice(end))
      if (cut !== undefined) return { ...cut, text: text + cut.text }
      if (!walked || !exact) tokens = before + count(unit.text)
      text += line.slice(given, unit.text.length)
      line = line.slice(unit.text.length)
      before = tokens
      given = counted = 0
      adds = exact = true
      walked = recounted = false
      rank = unit.rank
      const least = rank >= Boundary.rank.paragraph ? from : late
      if (unit !== final && tokens >= least * eta) return { text, cut: { rank, dropped: line } }
    }
    return { text }
  }

  return {
    feed: (chunk) => {
      follow(line.length - half.length, half + chunk)
      line += chunk
      const lines = scanner.feed(chunk)
      const { text, cut } = take(lines, undefined)
      if (cut !== undefined) return { text, cut }
      if (lines.length > 0) {
        end = walkedTo = 0
        isOver = false
        follow(0, line)
      }
      const inside = end > walkedTo ? walk(end) : undefined
      if (inside !== undefined) return { ...inside, text: text + inside.text }
      walkedTo = end
      const known = Math.max(given, isNear() ? counted : end)
      const more = known > given ? line.slice(given, known) : ""
      given = known
      return { text: text + more }
    },
    end: () => {
      const lines = scanner.end()
      return take(lines, lines.at(-1))
    }
  }
}

/** The most tokens of a code unit. */
const MOST_TOKENS = 3

/** The longest piece of a word, in code units, that is kept or dropped as a whole. */
const LONGEST_PIECE = 32

/** A word in pieces, of which the last one ends as the word does. */
const piecesOf = (word: Boundary.Unit, length: number): Array<Boundary.Unit> => {
  const pieces = Boundary.pieces(word.text, length)
  const last = pieces.pop()
  return last === undefined ? [] : [...pieces, { ...word, text: last.text }]
}

/** Whether a sentence ends at `at`: what came before decides, and one character behind. */
const endsSentence = (line: string, at: number): boolean => {
  NEXT.lastIndex = at
  NEXT.test(line)
  const before = line.slice(Math.max(0, at - CONTEXT), NEXT.lastIndex)
  const last = Boundary.sentences(before).at(-1)!
  return last.text.length === NEXT.lastIndex - at && last.text !== before
}

const STOP = /[.!?…。！？｡．]["'”’“‘«)\]}»*_」』）】》〉］]*$/
const NEXT = /\s*\S/uy
/** How far back a formula may begin, in code units, and a little more. */
const CONTEXT = 1024
