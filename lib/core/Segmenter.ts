/**
 * Reasoning → segments of at most η tokens, cut at the best boundary (InftyThink, arXiv 2503.06692, section 3.1).
 *
 * Units, large to small: step, paragraph, fence or display formula, line, sentence, word, code point. A unit of at most
 * η tokens is never cut; a larger one is opened into units of the next kind; the pieces are packed in order, each segment
 * taking as many as fit. Segments are slices: joined, they are the reasoning.
 *
 * @module
 */
import * as Boundary from "./Boundary.ts"

/** A slice of reasoning of at most η tokens. */
export interface Segment {
  /** The text, to the character. */
  readonly text: string
  /** The tokens of the text. */
  readonly tokens: number
  /** The rank of the boundary where the segment ends. */
  readonly rank: Boundary.Rank
}

/** How to segment. */
export interface Options {
  /** η: the most tokens in a segment; an integer of at least 4. */
  readonly eta: number
  /** The tokens of a text: the same number for the same text. */
  readonly count: (text: string) => number
  /**
   * Whether counts add up at line ends and before blanks, as with cl100k, o200k and Qwen; `false` by default. Where they
   * do, one pass counts everything once; elsewhere what was summed is counted again as a whole, so that the bound holds
   * for any `count`.
   */
  readonly additive?: boolean
}

/** How to segment a text that is there as a whole. */
export interface TextOptions extends Options {
  /**
   * `greedy`, the default, fills one segment after the other; `even` packs the same pieces to the smallest capacity that
   * needs no more segments, so that the last one is no remnant.
   */
  readonly packing?: "greedy" | "even"
}

/** An incremental segmenter: where its input is cut changes nothing. */
export interface Segmenter {
  /** Reads more text, and returns the segments that are complete. */
  readonly feed: (chunk: string) => Array<Segment>
  /** Ends the text, and returns the segments that are left. */
  readonly end: () => Array<Segment>
}

/** Cuts a text into segments of at most `eta` tokens; an empty text has none. Throws a RangeError for a bad `eta`. */
export const segment = (text: string, { packing = "greedy", ...options }: TextOptions): Array<Segment> => {
  const counter = makeCounter(options)
  const opener = makeOpener(counter)
  const pieces = [...opener.feed(text), ...opener.end()]
  const pack = (capacity: number): Array<Segment> => {
    // To cut segments out of the text is cheaper than to join what they are made of.
    let from = 0
    const take = (filled: ReadonlyArray<Piece>): string => text.slice(from, from += lengthOf(filled))
    const packer = makePacker(counter, capacity, take)
    return [...packer.add(pieces), ...packer.end()]
  }
  const greedy = pack(counter.eta)
  if (packing === "greedy") return greedy
  const capacity = evenCapacity(pieces, greedy.length, counter.eta)
  const even = capacity < counter.eta ? pack(capacity) : greedy
  // Capacities are compared by sums; where those are estimates, the segments may turn out to be more.
  return even.length === greedy.length ? even : greedy
}

/** Makes a segmenter for one text that arrives in chunks. Throws a RangeError for a bad `eta`. */
export const make = (options: Options): Segmenter => {
  const counter = makeCounter(options)
  const opener = makeOpener(counter)
  const packer = makePacker(counter, counter.eta, (filled) => textOf(filled.flatMap(({ leaves }) => leaves)))
  return {
    feed: (chunk) => packer.add(opener.feed(chunk)),
    end: () => [...packer.add(opener.end()), ...packer.end()]
  }
}

/**
 * Takes the end of a text, as much of it as has at most `eta` tokens: from the beginning of a word on, or, where the last
 * word is too long, of a character.
 */
export const last = (text: string, { eta, count }: Pick<Options, "eta" | "count">): string => {
  /** From the first of the starts, which ascend, that leaves no more than fits; nothing where none does. */
  const from = (starts: ReadonlyArray<number>): string => {
    let low = 0
    let high = starts.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (count(text.slice(starts[middle])) <= eta) high = middle
      else low = middle + 1
    }
    return text.slice(starts[low] ?? text.length)
  }
  const indices = (pattern: RegExp): Array<number> => Array.from(text.matchAll(pattern), ({ index }) => index)
  return from([0, ...indices(/(?<=\s)\S/g)]) || from(indices(/./gsu))
}

/** A stretch that was counted as it is. */
interface Leaf extends Boundary.Unit {
  readonly tokens: number
}

/** A stretch that no segment cuts: a unit that fits in one, while the unit around it does not. */
interface Piece extends Omit<Leaf, "text"> {
  readonly leaves: ReadonlyArray<Leaf>
  /** Across how many boundaries `tokens` was summed where counts may not add up; at zero, it is exact. */
  readonly slack: number
}

/** Makes the machine that finds the pieces: it reads steps as they end, and opens what does not fit. */
const makeOpener = (counter: Counter): { feed: (chunk: string) => Array<Piece>; end: () => Array<Piece> } => {
  const scanner = Boundary.makeScanner()
  let step: Array<Leaf> = []
  const read = (lines: ReadonlyArray<Boundary.Unit>): Array<Piece> => {
    const found: Array<Piece> = []
    for (const line of lines) {
      pushLeaves(step, counter, line)
      if (line.rank < Boundary.rank.step) continue
      for (const piece of settle(counter, step)) found.push(piece)
      step = []
    }
    return found
  }
  return { feed: (chunk) => read(scanner.feed(chunk)), end: () => read(scanner.end()) }
}

/** A unit as one piece where it fits, and otherwise as the pieces into which it is opened. */
const settle = (counter: Counter, leaves: ReadonlyArray<Leaf>): Array<Piece> => {
  let piece = pieceOf(leaves)
  // A sum may be too high or too low: where that decides, the unit is counted as a whole.
  if (piece.slack > 0 && Math.abs(piece.tokens - counter.eta) <= counter.gain * piece.slack) {
    piece = { ...piece, tokens: counter.count(textOf(leaves)), slack: 0 }
  }
  return piece.tokens <= counter.eta ? [piece] : opened(counter, leaves)
}

/** The pieces of a unit that does not fit, cut at the best of the boundaries inside it. */
const opened = (counter: Counter, leaves: ReadonlyArray<Leaf>): Array<Piece> => {
  if (leaves.length === 1) {
    const unit = leaves[0]!
    const finer = finerThan(unit)
    const parts = finer.length > 1 ? finer : within(unit, Boundary.pieces(unit.text, Math.ceil(unit.text.length / 2)))
    return parts.length > 1 ? settle(counter, parts.map(counter.leaf)) : [pieceOf(leaves)]
  }
  let best: Boundary.Rank = Boundary.rank.inside
  for (let i = 0; i < leaves.length - 1; i++) if (leaves[i]!.rank > best) best = leaves[i]!.rank
  const units: Array<ReadonlyArray<Leaf>> = []
  for (let from = 0, i = 0; i < leaves.length; i++) {
    if (i < leaves.length - 1 && leaves[i]!.rank < best) continue
    units.push(leaves.slice(from, i + 1))
    from = i + 1
  }
  return units.flatMap((unit) => settle(counter, unit))
}

/** Makes the machine that packs pieces in order into segments of at most `capacity` tokens; `take` makes their text. */
const makePacker = (
  counter: Counter,
  capacity: number,
  take: (filled: ReadonlyArray<Piece>) => string
): { add: (pieces: ReadonlyArray<Piece>) => Array<Segment>; end: () => Array<Segment> } => {
  let filled: Array<Piece> = []
  // The run is what came since the last boundary across which counts add up. What is before it is exact; its own tokens
  // are a sum, which is an estimate while there is slack.
  let before = 0
  let run: Array<Leaf> = []
  let tokens = 0
  let slack = 0
  // By how much sums were too high so far, and across how many boundaries: later estimates learn from it.
  let excess = 0
  let verified = 0
  let closed = false

  const continuesRun = (): boolean => filled.length > 0 && !filled.at(-1)!.adds

  const slackWith = (piece: Piece): number => slack + piece.slack + (continuesRun() ? slackAt(filled.at(-1)!) : 0)

  const fits = (piece: Piece): boolean => {
    // A little less than was learned: to close a segment early costs less than to count again what it takes back.
    const learned = verified === 0 ? 0 : 0.9 * slackWith(piece) * excess / verified
    return before + tokens + piece.tokens - learned <= capacity
  }

  const verify = (): void => {
    if (slack === 0) return
    const exact = counter.count(textOf(run))
    excess += tokens - exact
    verified += slack
    tokens = exact
    slack = 0
  }

  const push = (piece: Piece): void => {
    if (!continuesRun()) {
      verify()
      before += tokens
      tokens = 0
      run = []
    }
    slack = slackWith(piece)
    for (const leaf of piece.leaves) run.push(leaf)
    tokens += piece.tokens
    filled.push(piece)
    // An early first look is cheaper than a first segment that is counted twice.
    if (verified === 0 && tokens > capacity / 8) verify()
  }

  const refill = (pieces: ReadonlyArray<Piece>): void => {
    filled = []
    before = tokens = slack = 0
    pieces.forEach(push)
  }

  /** Takes back what a segment has too much, for counts that grow when texts are joined. */
  const takeBack = (): Array<Piece> => {
    let back: Array<Piece> = []
    // A piece alone is cut only where no segment could hold it, even if the capacity is smaller.
    for (verify(); before + tokens > (filled.length === 1 ? counter.eta : capacity); verify()) {
      const parts = filled.length === 1 ? opened(counter, filled[0]!.leaves) : filled
      if (parts.length === 1) break
      let keep = parts.length
      for (let over = before + tokens - capacity; over > 0 && keep > 1;) over -= parts[--keep]!.tokens
      back = [...parts.slice(keep), ...back]
      refill(parts.slice(0, keep))
    }
    return back
  }

  const close = (segments: Array<Segment>): Array<Piece> => {
    const back = takeBack()
    segments.push({ text: take(filled), tokens: before + tokens, rank: filled.at(-1)!.rank })
    refill([])
    closed = true
    return back
  }

  /** Adds a piece that fits by its sum, or, where the sum may be too high, by the count. */
  const join = (piece: Piece): boolean => {
    if (filled.length === 0 || fits(piece)) {
      push(piece)
      return true
    }
    verify()
    // To look twice at every run would cost too much. The first segment must take all that fits: it may be a segment
    // that is segmented again.
    if (closed && continuesRun()) return false
    if (before + tokens + piece.tokens - counter.gain * slackWith(piece) > capacity) return false
    const undo = { before, run: [...run], tokens }
    push(piece)
    verify()
    if (before + tokens <= capacity) return true
    filled.pop()
    ;({ before, run, tokens } = undo)
    return false
  }

  const add = (pieces: ReadonlyArray<Piece>): Array<Segment> => {
    const segments: Array<Segment> = []
    for (const piece of pieces) {
      if (join(piece)) continue
      for (let waiting = [...close(segments), piece]; waiting.length > 0;) {
        if (join(waiting[0]!)) waiting.shift()
        else waiting = [...close(segments), ...waiting]
      }
    }
    return segments
  }

  return {
    add,
    end: () => {
      const segments: Array<Segment> = []
      while (filled.length > 0) for (const segment of add(close(segments))) segments.push(segment)
      return segments
    }
  }
}

/** The smallest capacity at which the pieces, by their sums, need at most `most` segments; `eta` where none is smaller. */
const evenCapacity = (pieces: ReadonlyArray<Piece>, most: number, eta: number): number => {
  const segmentsAt = (capacity: number): number => {
    let segments = 0
    let room = 0
    for (const { tokens } of pieces) {
      if (tokens > room || segments === 0) {
        segments++
        room = capacity
      }
      room -= tokens
    }
    return segments
  }
  let low = Math.ceil(pieces.reduce((largest, { tokens }) => Math.max(largest, tokens), 1))
  let high = eta
  while (low < high) {
    const middle = (low + high) >> 1
    if (segmentsAt(middle) <= most) high = middle
    else low = middle + 1
  }
  return Math.min(low, eta)
}

interface Counter {
  readonly eta: number
  readonly count: (text: string) => number
  readonly leaf: (unit: Boundary.Unit) => Leaf
  /** The longest unit in code units that is counted before it is opened. */
  readonly limit: number
  /** The most tokens by which a sum and the count may differ for every boundary across which counts may not add up. */
  readonly gain: number
}

const makeCounter = ({ eta, count, additive = false }: Options): Counter => {
  if (!Number.isInteger(eta) || eta < 4) {
    throw new RangeError(`Cannot segment: eta is ${eta}, and must be an integer of at least 4`)
  }
  return {
    eta,
    count,
    leaf: (unit) => ({
      text: unit.text,
      rank: unit.rank,
      adds: additive && unit.adds,
      tokens: count(unit.text)
    }),
    // Byte-level vocabularies have at most three tokens for a code unit: what is within the limit always fits, and so is
    // counted once. Where sums are estimates, longer leaves make them better.
    limit: additive ? Math.ceil(eta / 3) : eta,
    gain: 1 + count("")
  }
}

/** Counts a unit as a whole, or in parts where it is so long that it may have to be opened, and adds the leaves. */
const pushLeaves = (leaves: Array<Leaf>, counter: Counter, unit: Boundary.Unit): void => {
  if (unit.text.length <= counter.limit) {
    leaves.push(counter.leaf(unit))
    return
  }
  const finer = finerThan(unit)
  if (finer.length > 1) {
    for (const part of finer) pushLeaves(leaves, counter, part)
  } else if (unit.text.length > LONGEST_WORD) {
    const parts = Boundary.pieces(unit.text, Math.ceil(counter.limit / 32))
    for (const part of within(unit, parts)) leaves.push(counter.leaf(part))
  } else leaves.push(counter.leaf(unit))
}

/** Longer words, in code units, are counted in pieces: tokenizers take quadratic time for a single word. */
const LONGEST_WORD = 256

/** A unit's sentences, or else its words, or else itself. */
const finerThan = (unit: Boundary.Unit): Array<Boundary.Unit> => {
  const sentences = Boundary.sentences(unit.text)
  return within(unit, sentences.length > 1 ? sentences : Boundary.words(unit.text))
}

/** The parts of a unit, of which the last one ends where the unit does. */
const within = (unit: Boundary.Unit, parts: Array<Boundary.Unit>): Array<Boundary.Unit> => {
  parts.push({ ...parts.pop()!, rank: unit.rank, adds: unit.adds })
  return parts
}

/** How many joints a boundary counts for: within a word, counts may differ by more than at any other. */
const slackAt = ({ adds, rank }: Omit<Boundary.Unit, "text">): number =>
  adds ? 0 : rank === Boundary.rank.inside ? 3 : 1

const pieceOf = (leaves: ReadonlyArray<Leaf>): Piece => {
  const { rank, adds } = leaves.at(-1)!
  let tokens = 0
  let slack = 0
  leaves.forEach((leaf, i) => {
    tokens += leaf.tokens
    if (i > 0) slack += slackAt(leaves[i - 1]!)
  })
  return { tokens, slack, rank, adds, leaves }
}

/** The code units of pieces. */
const lengthOf = (pieces: ReadonlyArray<Piece>): number => {
  let length = 0
  for (const { leaves } of pieces) for (const { text } of leaves) length += text.length
  return length
}

/** The text of leaves: joined only where it is needed, because most pieces are never counted again. */
const textOf = (leaves: ReadonlyArray<Leaf>): string => leaves.map(({ text }) => text).join("")
