/**
 * JSON texts that are the same but for one string, as most events of a streamed answer are.
 *
 * ```text
 *   {"id":"a1","choices":[{"index":0,"delta":{"content":" even"},"finish_reason":null}]}
 *   {"id":"a1","choices":[{"index":0,"delta":{"content":" odd"},"finish_reason":null}]}
 *   └───────────────────── head ──────────────────────┘     └────────── tail ──────────┘
 * ```
 *
 * What stands around the string is parsed once. JSON does not look into strings, so that another string there, if no
 * character of it is escaped, changes nothing else: to compare head and tail takes a small part of the time of parsing.
 *
 * @module
 */

/** The frame of the JSON texts that come one after the other. */
export interface Frame {
  /** The string of a text that is in the frame; undefined where it is not, is empty, or has to be parsed. */
  readonly find: (text: string) => string | undefined
  /**
   * Takes the frame from a text in which `read` finds a string, and says whether it is another one now: what `read` finds
   * must depend on the text's JSON alone, and on no other text.
   */
  readonly learn: (text: string, read: (text: string) => string | undefined) => boolean
}

/** Makes a frame, which is learned from one text after the other until one is like the one before. */
export const make = (): Frame => {
  let head = ""
  let tail = ""
  let misses = 0
  return {
    find: (text) => {
      if (head === "") return undefined
      const end = text.length - tail.length
      // `startsWith` and `endsWith` take several times as long.
      if (end < head.length || text.slice(end) !== tail || text.slice(0, head.length) !== head) {
        misses++
        head = ""
        return undefined
      }
      const found = text.slice(head.length, end)
      // Where a server leaves a field empty, it may say the same in another.
      if (found === "" || !isPlain(found)) return undefined
      misses = 0
      return found
    },
    learn: (text, read) => {
      if (head !== "" || misses >= MAX_MISSES) return false
      const value = read(text)
      if (value === undefined || value === "" || value === PROBE || !isPlain(value)) return false
      let at = text.indexOf(`"${value}"`)
      for (let places = 0; at >= 0 && places < MAX_PLACES; places++, at = text.indexOf(`"${value}"`, at + 1)) {
        const before = text.slice(0, at + 1)
        const behind = text.slice(at + 1 + value.length)
        // The same word may be a key, or another string.
        if (read(before + PROBE + behind) !== PROBE) continue
        head = before
        tail = behind
        return true
      }
      misses++
      return false
    }
  }
}

/** How often in a row a frame is learned that the next text does not have: then the texts are of another kind. */
const MAX_MISSES = 8

/** In how many places of a text its string is looked for: each is parsed. */
const MAX_PLACES = 4

/** A string that is no JSON without its quotes. */
const PROBE = "probe of inftythink"

/** Whether a string stands in JSON as it is. */
const isPlain = (text: string): boolean => {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code < 0x20 || code === 0x22 || code === 0x5c) return false
  }
  return true
}
