/**
 * Counts the tokens of byte-pair encodings exactly: pre-tokens are scanned, and the count of each is remembered.
 *
 * @module
 */
import * as ByteTable from "./ByteTable.ts"
import * as Pretoken from "./Pretoken.ts"

/** An encoding whose tokens include every byte. */
export interface Encoding {
  /** How text is split before bytes are merged. */
  readonly pattern: Pretoken.Pattern
  /**
   * The ranks of merges, lowest first: by the merged bytes, and, where `split` is set, with the length of the left part
   * for a tag.
   */
  readonly ranks: ByteTable.ByteTable
  /** Whether merges are told apart by where the parts meet, and not by the merged bytes alone. */
  readonly split: boolean
  /** Whether a pre-token in `ranks` with the tag 0 is one token, whatever the merges make of it. */
  readonly whole: boolean
  /** Whether text is composed (NFC) before it is split; `false` by default. */
  readonly composed?: boolean
}

/**
 * Makes the count of an encoding.
 *
 * It remembers up to 65,536 pre-tokens of at most 12 bytes and as many of at most 256 bytes, in 7 MB, and starts afresh
 * when either is full. Longer ones are merged each time, in O(n log n).
 */
export const makeCount = (
  { pattern, ranks, split, whole, composed = false }: Encoding
): (text: string) => number => {
  const scan = Pretoken.makeScan(pattern)
  const encoder = new TextEncoder()
  const buffer = new Uint8Array(3 * LONG + SLACK)
  const bufferView = new DataView(buffer.buffer)
  const scratch = makeScratch(LONGEST)
  // Four numbers for a short pre-token: its bytes, and its length with the count, 0 where the slot is free.
  const slots = new Int32Array(8 * ENTRIES)
  const lastSlot = slots.length - 4
  let used = 0
  const memo = ByteTable.make({ entries: ENTRIES, bytes: 48 * ENTRIES })

  const merge = (view: DataView, from: number, to: number): number => {
    if (whole && to - from <= ByteTable.LONGEST_KEY && ranks.find(view, from, to, 0) >= 0) return 1
    const room = to - from <= LONGEST ? scratch : makeScratch(to - from)
    return mergeAll(room, view, from, to, ranks, split)
  }

  const countLong = (view: DataView, from: number, to: number): number => {
    if (to - from > LONGEST) return merge(view, from, to)
    const known = memo.find(view, from, to, 0)
    if (known >= 0) return known
    const tokens = merge(view, from, to)
    if (!memo.set(view, from, to, 0, tokens)) {
      memo.clear()
      memo.set(view, from, to, 0, tokens)
    }
    return tokens
  }

  const countShort = (view: DataView, from: number, to: number): number => {
    const length = to - from
    const first = view.getInt32(from, true) & FIRST[length]!
    const second = view.getInt32(from + 4, true) & SECOND[length]!
    const third = view.getInt32(from + 8, true) & THIRD[length]!
    const hash = Math.imul(Math.imul(first, 0x9e3779b1) ^ second, 0x85ebca6b) ^ Math.imul(third, 0xc2b2ae35)
    for (let slot = (hash ^ hash >>> 15) & lastSlot;; slot = slot + 4 & lastSlot) {
      const known = slots[slot + 3]!
      if (known === 0) {
        const tokens = merge(view, from, to)
        if (used++ === ENTRIES) {
          slots.fill(0)
          used = 1
        }
        slots[slot] = first
        slots[slot + 1] = second
        slots[slot + 2] = third
        slots[slot + 3] = length << 8 | tokens
        return tokens
      }
      const isSame = slots[slot] === first && slots[slot + 1] === second && slots[slot + 2] === third
      if (isSame && known >> 8 === length) return known & 0xff
    }
  }

  const count = (text: string): number => {
    const bytes = text.length <= LONG ? buffer : new Uint8Array(3 * text.length + SLACK)
    const view = bytes === buffer ? bufferView : new DataView(bytes.buffer)
    const end = encoder.encodeInto(text, bytes).written
    // ASCII is composed as it is.
    if (composed && end > text.length) {
      const other = text.normalize("NFC")
      if (other !== text) return count(other)
    }
    bytes[end] = Pretoken.END
    let tokens = 0
    for (let from = 0, to = 0; from < end; from = to) {
      to = scan(bytes, from)
      // Every byte is a token.
      tokens += to - from === 1 ? 1 : to - from <= SHORT ? countShort(view, from, to) : countLong(view, from, to)
    }
    return tokens
  }
  return count
}

/** The longest text in code units that is encoded into the buffer that is kept. */
const LONG = 65_536
/** The bytes behind a text: its end, and what is read with its last byte. */
const SLACK = 12
/** The longest pre-token in bytes that is compared by three numbers. */
const SHORT = 12
/** How many pre-tokens of either kind are remembered. */
const ENTRIES = 65_536
/** The longest pre-token in bytes whose count is remembered. */
const LONGEST = 256

/** By the length of a pre-token, which bits of four bytes read `skipped` bytes behind its beginning are its own. */
const masks = (skipped: number): Int32Array =>
  Int32Array.from({ length: SHORT + 1 }, (_, length) => {
    const own = Math.min(Math.max(length - skipped, 0), 4)
    return own === 4 ? -1 : (1 << 8 * own) - 1
  })
const FIRST: Int32Array = masks(0)
const SECOND: Int32Array = masks(4)
const THIRD: Int32Array = masks(8)

/** What a merge works on: parts of a pre-token as a linked list, and a heap of what may be merged. */
interface Scratch {
  readonly next: Int32Array
  readonly previous: Int32Array
  readonly rank: Int32Array
  readonly heap: Float64Array
}

const makeScratch = (length: number): Scratch => ({
  next: new Int32Array(length + 1),
  previous: new Int32Array(length + 1),
  rank: new Int32Array(length + 1),
  heap: new Float64Array(2 * length)
})

/** Merges the two neighbours of the lowest rank, the leftmost first, until none has one; returns how many are left. */
const mergeAll = (
  { next, previous, rank, heap }: Scratch,
  view: DataView,
  from: number,
  to: number,
  ranks: ByteTable.ByteTable,
  split: boolean
): number => {
  const length = to - from
  let tokens = length
  let size = 0

  /** Finds the rank of the part at `at` with its neighbour, and puts it on the heap. */
  const offer = (at: number): void => {
    const middle = next[at]!
    rank[at] = -1
    if (middle >= length) return
    const end = next[middle]!
    const found = end - at <= ByteTable.LONGEST_KEY
      ? ranks.find(view, from + at, from + end, split ? middle - at : 0)
      : -1
    if (found < 0) return
    rank[at] = found
    const entry = found * POSITIONS + at
    let i = size++
    for (let parent; i > 0 && heap[parent = i - 1 >> 1]! > entry; i = parent) heap[i] = heap[parent]!
    heap[i] = entry
  }

  const take = (): number => {
    const top = heap[0]!
    const last = heap[--size]!
    let i = 0
    for (let child; (child = 2 * i + 1) < size; i = child) {
      if (child + 1 < size && heap[child + 1]! < heap[child]!) child++
      if (heap[child]! >= last) break
      heap[i] = heap[child]!
    }
    heap[i] = last
    return top
  }

  for (let at = 0; at <= length; at++) {
    next[at] = at + 1
    previous[at] = at - 1
  }
  for (let at = 0; at < length; at++) offer(at)
  while (size > 0) {
    const entry = take()
    const lowest = Math.floor(entry / POSITIONS)
    const at = entry - lowest * POSITIONS
    // A part that was merged since has another rank or none.
    if (rank[at] !== lowest) continue
    const merged = next[at]!
    const after = next[merged]!
    rank[merged] = -1
    next[at] = after
    if (after <= length) previous[after] = at
    tokens--
    offer(at)
    if (previous[at]! >= 0) offer(previous[at]!)
  }
  return tokens
}

/** More than any position: a rank and a position are one number on the heap. */
const POSITIONS = 2 ** 32
