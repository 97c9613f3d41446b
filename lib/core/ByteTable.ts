/**
 * A table from byte strings to numbers that makes no strings: it is looked up at every pre-token.
 *
 * @module
 */

/** The longest key in bytes, and the largest tag. */
export const LONGEST_KEY = 0x7fff

/** A table of limited size. */
export interface ByteTable {
  /** Finds what was set for the bytes from `from` to `to` and the tag, or -1. At least three bytes must follow `to`. */
  readonly find: (bytes: DataView, from: number, to: number, tag: number) => number
  /** Sets a value of at least 0; false where the table is full. */
  readonly set: (bytes: DataView, from: number, to: number, tag: number, value: number) => boolean
  /** Forgets everything. */
  readonly clear: () => void
}

/** How much a table holds. */
export interface Options {
  /** The most entries. */
  readonly entries: number
  /** The most bytes of all keys, each rounded up to a multiple of four. */
  readonly bytes: number
}

/** Makes a table: open addressing, with keys compared four bytes at a time. */
export const make = ({ entries, bytes }: Options): ByteTable => {
  // A third of the slots stays free, and one at least.
  const mask = 2 ** Math.ceil(Math.log2(entries * 1.5 + 1)) - 1
  // Four numbers for a slot: the hash, the length with the tag (0 where it is free), where the key is, the value.
  const slots = new Int32Array(4 * (mask + 1))
  const keys = new Int32Array(Math.ceil(bytes / 4))
  let used = 0
  let filled = 0

  const isAt = (view: DataView, from: number, to: number, key: number): boolean => {
    let at = from
    let word = key
    for (; at + 4 <= to; at += 4) if (view.getInt32(at, true) !== keys[word++]) return false
    return at === to || lastWord(view, at, to) === keys[word]
  }

  /** The slot of a key, or the free one where it belongs. */
  const slotOf = (view: DataView, from: number, to: number, size: number, hash: number): number => {
    for (let slot = 4 * (hash & mask);; slot = slot + 4 & 4 * mask) {
      if (slots[slot + 1] === 0) return slot
      if (slots[slot] === hash && slots[slot + 1] === size && isAt(view, from, to, slots[slot + 2]!)) return slot
    }
  }

  return {
    find: (view, from, to, tag) => {
      const size = to - from | tag << 16
      const slot = slotOf(view, from, to, size, hashOf(view, from, to, size))
      return slots[slot + 1] === 0 ? -1 : slots[slot + 3]!
    },
    set: (view, from, to, tag, value) => {
      const size = to - from | tag << 16
      const hash = hashOf(view, from, to, size)
      const slot = slotOf(view, from, to, size, hash)
      if (slots[slot + 1] === 0) {
        const words = to - from + 3 >> 2
        if (used === entries || filled + words > keys.length) return false
        slots[slot] = hash
        slots[slot + 1] = size
        slots[slot + 2] = filled
        used++
        for (let at = from; at < to; at += 4) {
          keys[filled++] = at + 4 <= to ? view.getInt32(at, true) : lastWord(view, at, to)
        }
      }
      slots[slot + 3] = value
      return true
    },
    clear: () => {
      slots.fill(0)
      used = filled = 0
    }
  }
}

/** The last one to three bytes of a key. */
const lastWord = (view: DataView, at: number, to: number): number => view.getInt32(at, true) & (1 << 8 * (to - at)) - 1

const hashOf = (view: DataView, from: number, to: number, size: number): number => {
  let hash = size
  let at = from
  for (; at + 4 <= to; at += 4) {
    hash = Math.imul(hash ^ view.getInt32(at, true), 0x9e3779b1)
    hash ^= hash >>> 15
  }
  if (at < to) {
    hash = Math.imul(hash ^ lastWord(view, at, to), 0x9e3779b1)
    hash ^= hash >>> 15
  }
  return hash
}
