/**
 * Where byte-level tokenizers split text before they merge bytes: pre-tokens, found without regular expressions.
 *
 * Two families of patterns are known. `cl100k` is that of GPT-4, Llama 3 and Qwen:
 *
 * ```text
 * (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * ```
 *
 * `o200k` is that of GPT-4o: a word changes at most once, from upper to lower case, marks are letters, a contraction
 * belongs to the word before it, and slashes may follow punctuation.
 *
 * @module
 */

/** A family of patterns. */
export type Family = "cl100k" | "o200k"

/** How text is split. */
export interface Pattern {
  readonly family: Family
  /** The most digits in a pre-token: 3, or 1 with Qwen. */
  readonly digits: number
}

/** The byte that ends a text: none that UTF-8 has. */
export const END = 0xff

/** Finds the end of the pre-token that begins at `at`; `bytes` is UTF-8 and closed by `END`. */
export type Scan = (bytes: Uint8Array, at: number) => number

/** Makes the scan of a pattern. */
export const makeScan = ({ family, digits }: Pattern): Scan => {
  const isCased = family === "o200k"
  // By code point, 0 where it was not asked for yet: what is never touched takes no memory.
  const kinds = new Uint8Array(0x110000)
  for (let code = 0; code < 0x80; code++) kinds[code] = kindOf(code, isCased)
  const ascii = new Uint8Array(0x100)
  ascii.set(kinds.subarray(0, 0x80))

  /** The kind of the character at an index. */
  const kindAt = (bytes: Uint8Array, at: number): number => {
    const byte = bytes[at]!
    if (byte < 0x80) return kinds[byte]!
    if (byte === END) return 0
    const code = codeAt(bytes, at)
    return kinds[code] || (kinds[code] = kindOf(code, isCased))
  }

  /** The end of the word that may begin at `at`, behind the character before it of the kind `prefix`; or else `at`. */
  const wordEnd = (bytes: Uint8Array, at: number, prefix: number): number => {
    let end = at
    let kind = kindAt(bytes, end)
    if ((kind & CASES) === 0) return at
    // Upper case comes first. Letters without case are of both, so that the first part may end behind the last of them.
    let caseless = at
    for (; (kind & UPPER) !== 0; kind = kindAt(bytes, end)) {
      end += widthAt(bytes, end)
      if ((kind & LOWER) !== 0) caseless = end
    }
    if ((kind & LOWER) === 0) return caseless > at || (prefix & MARK) !== 0 ? caseless : end
    for (; (kind & LOWER) !== 0; kind = kindAt(bytes, end)) end += widthAt(bytes, end)
    return end
  }

  /** The end of the newlines behind punctuation, with slashes among them where they belong to it too. */
  const newlinesEnd = (bytes: Uint8Array, at: number): number => {
    let end = at
    while (bytes[end] === LINE_FEED || bytes[end] === RETURN || isCased && bytes[end] === SLASH) end++
    return end
  }

  /** The end of white space: behind its last newline, or before its last blank where something follows. */
  const spaceEnd = (bytes: Uint8Array, at: number): number => {
    let end = at
    let last = at
    let newline = at
    for (let kind = kindAt(bytes, at); (kind & (BLANK | NEWLINE)) !== 0; kind = kindAt(bytes, end)) {
      last = end
      end += widthAt(bytes, end)
      if ((kind & NEWLINE) !== 0) newline = end
    }
    if (newline > at) return newline
    return bytes[end] === END || last === at ? end : last
  }

  /** The end of a pre-token of any kind. */
  const anyEnd = (bytes: Uint8Array, at: number): number => {
    const first = kindAt(bytes, at)
    if (!isCased && bytes[at] === APOSTROPHE) {
      const end = contractionEnd(bytes, at)
      if (end > at) return end
    }
    // One character other than a letter, a digit or a newline may stand before a word.
    const behind = (first & CASES) !== 0 && (first & MARK) === 0 || (first & (NUMBER | NEWLINE)) !== 0
      ? at
      : at + widthAt(bytes, at)
    let end = wordEnd(bytes, behind, first)
    if (end > behind || (first & MARK) !== 0) return isCased ? contractionEnd(bytes, end) : end
    if ((first & NUMBER) !== 0) {
      for (let i = 0; i < digits && (kindAt(bytes, end) & NUMBER) !== 0; i++) end += widthAt(bytes, end)
      return end
    }
    if ((first & OTHER) !== 0 || bytes[at] === SPACE && (kindAt(bytes, behind) & OTHER) !== 0) {
      end = behind
      while ((kindAt(bytes, end) & (OTHER | MARK)) !== 0) end += widthAt(bytes, end)
      return newlinesEnd(bytes, end)
    }
    return spaceEnd(bytes, at)
  }

  // Most pre-tokens are ASCII: to look at them first halves the time of all counting.
  return (bytes, at) => {
    const byte = bytes[at]!
    const first = ascii[byte]!
    let end = (first & (BLANK | OTHER)) === 0 ? at : at + 1
    const kind = ascii[bytes[end]!]!
    if ((kind & CASES) !== 0) {
      while ((ascii[bytes[end]!]! & UPPER) !== 0) end++
      while ((ascii[bytes[end]!]! & LOWER) !== 0) end++
      const next = bytes[end]!
      if ((next < 0x80 || next === END) && next !== APOSTROPHE && byte !== APOSTROPHE) return end
    } else if (first === OTHER || byte === SPACE && kind === OTHER) {
      while (ascii[bytes[end]!]! === OTHER) end++
      const next = bytes[end]!
      if (next < 0x80 || next === END) {
        return isCased || next === LINE_FEED || next === RETURN ? newlinesEnd(bytes, end) : end
      }
    } else if (first === NUMBER) {
      do {
        end++
      } while (end - at < digits && ascii[bytes[end]!]! === NUMBER)
      const next = bytes[end]!
      if (next < 0x80 || next === END || end - at === digits) return end
    }
    return anyEnd(bytes, at)
  }
}

const APOSTROPHE = 0x27
const LINE_FEED = 0x0a
const RETURN = 0x0d
const SLASH = 0x2f
const SPACE = 0x20

/** Kinds of characters. Letters without case and marks are of both cases; the end of the text is of no kind. */
const UPPER = 1
const LOWER = 2
const CASES = UPPER | LOWER
const MARK = 4
const NUMBER = 8
const BLANK = 16
const NEWLINE = 32
const OTHER = 64

/** Finds the kind of a code point by the engine's own tables. */
const kindOf = (code: number, isCased: boolean): number => {
  const character = String.fromCodePoint(code)
  const is = (pattern: RegExp): boolean => pattern.test(character)
  if (is(/[\r\n]/)) return NEWLINE
  if (is(/\p{White_Space}/u)) return BLANK
  if (is(/\p{N}/u)) return NUMBER
  if (!isCased) return is(/\p{L}/u) ? CASES : OTHER
  if (is(/[\p{Lu}\p{Lt}]/u)) return UPPER
  if (is(/\p{Ll}/u)) return LOWER
  if (is(/\p{M}/u)) return CASES | MARK
  return is(/\p{L}/u) ? CASES : OTHER
}

/** The bytes of the character at an index. */
const widthAt = (bytes: Uint8Array, at: number): number => {
  const byte = bytes[at]!
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
}

/** The code point of a character that is not ASCII. */
const codeAt = (bytes: Uint8Array, at: number): number => {
  const byte = bytes[at]!
  const second = bytes[at + 1]! & 0x3f
  if (byte < 0xe0) return (byte & 0x1f) << 6 | second
  const third = bytes[at + 2]! & 0x3f
  if (byte < 0xf0) return (byte & 0x0f) << 12 | second << 6 | third
  return (byte & 0x07) << 18 | second << 12 | third << 6 | bytes[at + 3]! & 0x3f
}

/** The end of a contraction such as `'s` or `'ll` in either case, or `at` where none stands there. */
const contractionEnd = (bytes: Uint8Array, at: number): number => {
  if (bytes[at] !== APOSTROPHE) return at
  const first = bytes[at + 1]! | 0x20
  if (first === 0x73 || first === 0x74 || first === 0x6d || first === 0x64) return at + 2
  const second = first === 0x6c || first === 0x72 || first === 0x76 ? bytes[at + 2]! | 0x20 : 0
  return second === (first === 0x6c ? 0x6c : 0x65) ? at + 3 : at
}
