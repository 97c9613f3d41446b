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
 * comes near to η, and at its end. Where those of lines do not, before a slash behind punctuation, two more are taken.
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
  // Where it may go on: then the word that is being written is held back. A surrogate pair is never cut, and a boundary
  // across which counts do not add up takes a token more.
  const most = MOST_TOKENS * Math.max(longest, 2) + 1
  const scanner = Boundary.makeScanner()
  // What was not given on yet, and where in it the line begins that is being written: below zero, where some was given.
  let held = ""
  let begin = 0
  // What of the line was counted by words, and its length; then the rest of the line and what came behind its newline. To
  // read a string that has grown copies it, so that neither `held` nor `rest` is read for each chunk but where it is short:
  // `held` once all but a word is given on, and `rest` once all but a word is counted.
  let passed: Array<string> = []
  let counted = 0
  let rest = ""
  // Where its content ends so far, without the half of a surrogate pair that came last; whether its newline is there; and
  // up to where it was walked. Kept, because to look at all of the line for each chunk would make many blanks quadratic.
  let end = 0
  let half = ""
  let isOver = false
  let walkedTo = 0
  // The tokens of the lines before, and those of all that was counted; then what the boundary there is like.
  let before = 0
  let tokens = 0
  let rank: Boundary.Rank = Boundary.rank.line
  let adds = true
  // Whether the line is counted by its words, and whether these counts add up.
  let walked = false
  let exact = true
  // Whether the line was counted as a whole meanwhile, where it seemed to come near to its end.
  let recounted = false

  /** Whether the line is counted by its words, of which so many code units are there: most are far from eta. */
  const isWalked = (length: number): boolean => walked ||= tokens + MOST_TOKENS * (length + longest) >= late * eta

  /** Follows the content of the line through more of it, which begins at an index. */
  const follow = (at: number, text: string): void => {
    if (isOver) return
    const newline = text.indexOf("\n")
    isOver = newline >= 0
    half = isOver || (text.charCodeAt(text.length - 1) & 0xfc00) !== 0xd800 ? "" : text.at(-1)!
    const content = text.slice(0, isOver ? newline : text.length - half.length).trimEnd()
    if (content !== "") end = at + content.length
  }

  const cutAt = ({ at, rank }: Place): Kept => {
    const to = Math.max(0, begin + at)
    return { text: held.slice(0, to), cut: { rank, dropped: held.slice(to) } }
  }

  /**
   * Counts words of the line from `counted` on, and finds the first that ends a sentence or the one that does not fit.
   * The last word is left out, because it may go on, unless the newlines behind it are there.
   */
  const walk = (text: string, newlines?: string): Place | undefined => {
    const units = Boundary.words(text).flatMap((word) => piecesOf(word, longest))
    const last = units.pop()
    const from = counted
    for (const unit of units) {
      const place = step(unit) ?? endSentence(unit, text, counted - from)
      if (place !== undefined) return place
    }
    if (newlines === undefined) return undefined
    const unit = { text: "", rank, adds: true, ...last }
    const place = step(unit, newlines)
    // Where only the newlines do not fit, the word is kept: it may have been given on.
    return place === undefined || newlines === "" ? place : step(unit) ?? { at: counted, rank }
  }

  /** Counts a unit, or finds that it does not fit. */
  const step = (unit: Boundary.Unit, newlines = ""): Place | undefined => {
    const more = count(unit.text + newlines) + (adds ? 0 : 1)
    if (!exact && !recounted && tokens + more >= late * eta) {
      recounted = true
      tokens = before + count(passed.join(""))
    }
    const next = tokens + more
    if (next > eta) return { at: counted, rank }
    exact &&= adds
    tokens = next
    passed.push(unit.text)
    counted += unit.text.length
    rank = unit.rank
    adds = unit.adds
    return undefined
  }

  const endSentence = ({ text: word, rank }: Boundary.Unit, text: string, at: number): Place | undefined =>
    tokens >= late * eta && rank === Boundary.rank.word && STOP.test(word) && endsSentence(contextOf(passed), text, at)
      ? { at: counted, rank: Boundary.rank.sentence }
      : undefined

  /** Reads complete lines, up to the one that is a good end; the end of the text is none. */
  const take = (lines: ReadonlyArray<Boundary.Unit>, final?: Boundary.Unit): Place | undefined => {
    for (const unit of lines) {
      const end = unit.text.trimEnd().length
      const place = isWalked(unit.text.length) ? walk(unit.text.slice(counted, end), unit.text.slice(end)) : undefined
      if (place !== undefined) return place
      if (!walked || !exact) tokens = before + count(unit.text)
      tokens += unit.adds ? 0 : MOST_BETWEEN
      before = tokens
      begin += unit.text.length
      passed = []
      counted = 0
      adds = exact = true
      walked = recounted = false
      rank = unit.rank
      const least = rank >= Boundary.rank.paragraph ? from : late
      if (unit !== final && tokens >= least * eta) return { at: 0, rank }
    }
    return undefined
  }

  return {
    feed: (chunk) => {
      follow(counted + rest.length - half.length, half + chunk)
      held += chunk
      rest += chunk
      const lines = scanner.feed(chunk)
      const place = take(lines)
      if (place !== undefined) return cutAt(place)
      if (lines.length > 0) {
        rest = held.slice(begin)
        end = walkedTo = 0
        isOver = false
        follow(0, rest)
      }
      if (end > walkedTo && isWalked(end)) {
        const from = counted
        const inside = walk(rest.slice(0, end - from))
        if (inside !== undefined) return cutAt(inside)
        rest = rest.slice(counted - from)
      }
      walkedTo = end
      const known = begin + (tokens + most > eta ? counted : end)
      if (known <= 0) return { text: "" }
      const text = held.slice(0, known)
      held = held.slice(known)
      begin -= known
      return { text }
    },
    end: () => {
      const lines = scanner.end()
      const place = take(lines, lines.at(-1))
      return place === undefined ? { text: held } : cutAt(place)
    }
  }
}

/** A place for a cut: an index of the line, and the rank of the boundary there. */
interface Place {
  readonly at: number
  readonly rank: Boundary.Rank
}

/** The most tokens of a code unit. */
const MOST_TOKENS = 3

/** The most tokens that joining two lines adds, where the counts of lines do not add up. */
const MOST_BETWEEN = 2

/** The longest piece of a word, in code units, that is kept or dropped as a whole. */
const LONGEST_PIECE = 32

/** A word in pieces, of which the last one ends as the word does. */
const piecesOf = (word: Boundary.Unit, length: number): Array<Boundary.Unit> => {
  const pieces = Boundary.pieces(word.text, length)
  const last = pieces.pop()
  return last === undefined ? [] : [...pieces, { ...word, text: last.text }]
}

/** The end of a line that is in parts, as far back as a sentence is looked for. */
const contextOf = (parts: ReadonlyArray<string>): string => parts.slice(-CONTEXT).join("").slice(-CONTEXT)

/** Whether a sentence ends at `at` in `text`: what came before decides, and one character behind. */
const endsSentence = (before: string, text: string, at: number): boolean => {
  NEXT.lastIndex = at
  NEXT.test(text)
  const next = text.slice(at, NEXT.lastIndex)
  return Boundary.sentences(before + next).at(-1)!.text === next
}

const STOP = /[.!?…。！？｡．]["'”’“‘«)\]}»*_」』）】》〉］]*$/
const NEXT = /\s*\S/uy
/** How far back a formula may begin, in code units, and a little more. */
const CONTEXT = 1024
