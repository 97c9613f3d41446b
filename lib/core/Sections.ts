/**
 * Incremental parser of tagged output: `<think>…</think><summary>…</summary>` and the like.
 *
 * Delimiters are literal and case-sensitive; the leftmost, then the longest, wins. In plain text only opening tags are
 * recognised, and inside a section only its own closing tag. Nothing is decoded, trimmed or added: deltas and tags
 * together are the text, but for the newlines that belong to a tag.
 *
 * ```text
 *   <think>⏎First, 6 × 7⏎</think>⏎<summary>⏎…
 *   ^ Start              ^ End    ^ Start      the ⏎ beside a tag belong to it
 * ```
 *
 * @module
 */

/** A kind of section and how it is tagged. */
export interface Section {
  /** What the section is called in events. */
  readonly name: string
  /** The opening tag. */
  readonly open: string
  /** The closing tag. */
  readonly close: string
  /** Where a newline belongs to a tag: `render` writes it, and the parser drops one, present or not. */
  readonly newlines: ReadonlyArray<"before open" | "after open" | "before close">
  /**
   * After what the section may open, white space aside: the names of sections, and `start` for the beginning of the
   * output. Anywhere in plain text when left out.
   */
  readonly after?: ReadonlyArray<string>
}

/** What a parser has to know of a dialect. */
export interface Grammar {
  /** The sections that may occur. */
  readonly sections: ReadonlyArray<Section>
}

/** Something that was read. Plain text, which no section holds, is text of the `conclusion`. */
export type Event =
  /** A section opened: the chunk completed its opening tag. */
  | { readonly _tag: "Start"; readonly section: string }
  /** More text of a section. */
  | { readonly _tag: "Delta"; readonly section: string; readonly text: string }
  /** A section ended: by its closing tag, by what came after text beside the content, or, not `closed`, with the input. */
  | { readonly _tag: "End"; readonly section: string; readonly closed: boolean }
  /** A closing tag came without its opening tag: all plain text so far was the section's. */
  | { readonly _tag: "Retag"; readonly section: string }

/** How to parse. */
export interface Options {
  /** The section in which the output begins, because the prompt opened it. One repeated opening tag is swallowed. */
  readonly inside?: string
  /**
   * What a closing tag in plain text is: `text`, the default; nothing, with `drop`; or, with `retag`, the sign that all
   * text so far was its section, where that may open at the start and none has opened.
   */
  readonly orphans?: "text" | "drop" | "retag"
}

/** An incremental parser: where its input is cut changes nothing but how deltas are divided. */
export interface Parser {
  /** Reads more text. */
  readonly feed: (chunk: string) => Array<Event>
  /**
   * Reads text that the server sent beside the content, as text of the section of this name, which content then ends.
   * Throws a RangeError where the grammar has no such section.
   */
  readonly feedSection: (section: string, chunk: string) => Array<Event>
  /** Ends the input: what was withheld is text, and an open section ends unclosed. */
  readonly end: () => Array<Event>
}

/** A stretch of parsed output. */
export interface Block {
  /** The section's name; `conclusion` for plain text. */
  readonly section: string
  readonly text: string
  /** Whether its closing tag was there; plain text is always closed. */
  readonly closed: boolean
}

/** What plain text is called in events. */
export const plain = "conclusion"

/** Reads a whole output: the sections and the plain text between them, in order. */
export const parse = (grammar: Grammar, text: string, options?: Options): Array<Block> => {
  const parser = makeParser(grammar, options)
  return fold([...parser.feed(text), ...parser.end()])
}

/** Folds the events of one output into its sections and the plain text between them. */
export const fold = (events: Iterable<Event>): Array<Block> => {
  const blocks: Array<Block> = []
  let open: string | undefined
  let texts: Array<string> = []
  const close = (section: string, closed: boolean): void => {
    blocks.push({ section, text: texts.join(""), closed })
    texts = []
  }
  for (const event of events) {
    if (event._tag === "Delta") texts.push(event.text)
    else if (event._tag === "Start") {
      if (texts.length > 0) close(plain, true)
      open = event.section
    } else {
      close(event.section, event._tag === "Retag" || event.closed)
      open = undefined
    }
  }
  if (open === undefined && texts.length > 0) close(plain, true)
  return blocks
}

/** Writes a section with its tags and their newlines; `parse` reads it back. */
export const render = ({ open, close, newlines }: Section, text: string): string => {
  const newline = (place: Section["newlines"][number]): string => newlines.includes(place) ? "\n" : ""
  return newline("before open") + open + newline("after open") + text + newline("before close") + close
}

/** Makes a parser for one output. Throws a RangeError where `inside` names no section, and where a tag is empty. */
export const makeParser = ({ sections }: Grammar, { inside, orphans = "text" }: Options = {}): Parser => {
  const openings = sections.map((section) => makeDelimiter(section, "open"))
  const closings = sections.map((section) => makeDelimiter(section, "close"))
  const searchers = new Map<Section | string | undefined, Searcher>()
  const noSearcher = makeSearcher([])

  let events: Array<Event> = []
  // What may still become a delimiter, or else one high surrogate.
  let withheld = ""
  // What finds the delimiters that are recognised, where nothing but they changes anything.
  let searcher: Searcher | undefined
  let section: Section | undefined
  // Whether the open section comes beside the content: no tag ends it, but content does.
  let beside = false
  // What the plain text stands after, while it is white space only; undefined once other text has begun.
  let place: string | undefined = "start"
  let opened = false
  // What is dropped if it comes next: an opening tag that repeats the prompt's, and the newline behind an opening tag.
  let repeats = false
  let newline = false

  const sectionOf = (name: string): Section => {
    const found = sections.find((section) => section.name === name)
    if (found !== undefined) return found
    const names = sections.map((section) => section.name).join(", ")
    throw new RangeError(`Cannot parse inside ${JSON.stringify(name)}: the sections are ${names}`)
  }

  const delta = (text: string): void => {
    if (text !== "") events.push({ _tag: "Delta", section: section?.name ?? plain, text })
  }

  const begin = (): void => {
    // Fewer orphans are recognised from now on.
    if (!opened) searchers.clear()
    opened = true
  }

  const start = (next: Section): void => {
    section = next
    begin()
    newline = next.newlines.includes("after open")
    events.push({ _tag: "Start", section: next.name })
  }

  const stop = (name: string, closed: boolean): void => {
    events.push({ _tag: "End", section: name, closed })
    section = undefined
    beside = repeats = newline = false
    place = name
  }

  const meet = ({ kind, section: met }: Delimiter): void => {
    if (kind === "open") start(met)
    else if (section !== undefined) stop(met.name, true)
    else if (orphans === "retag") {
      events.push({ _tag: "Retag", section: met.name })
      begin()
      place = met.name
    }
  }

  /** The delimiters that are recognised now. */
  const recognised = (): Searcher => {
    if (beside) return noSearcher
    const key = section ?? place
    let searcher = searchers.get(key)
    if (searcher === undefined) {
      const opens = openings.filter(({ section: { after } }) =>
        after === undefined || place !== undefined && after.includes(place)
      )
      const closes = closings.filter(({ section: { after } }) =>
        orphans === "drop" || orphans === "retag" && !opened && (after === undefined || after.includes("start"))
      )
      const own = closings.filter((closing) => closing.section === section)
      searcher = makeSearcher(section === undefined ? [...opens, ...closes] : own)
      searchers.set(key, searcher)
    }
    return searcher
  }

  const read = (chunk: string, final: boolean): void => {
    const text = withheld + chunk
    let from = 0
    for (;;) {
      if (repeats) {
        const { open } = section!
        if (!final && isPartOf(open, text, from)) break
        if (text.startsWith(open, from)) from += open.length
        repeats = false
      }
      if (newline) {
        if (!final && isPartOf("\r\n", text, from)) break
        newline = false
        if (text.startsWith("\r\n", from)) from += 2
        else if (text.startsWith("\n", from)) from += 1
      }
      const { search, hold: holdFrom } = recognised()
      const found = search(text, from)
      const hold = final ? text.length : holdFrom(text, from)
      const to = Math.min(found?.at ?? hold, hold)
      const before = text.slice(from, to)
      if (section === undefined && place !== undefined && before.trim() !== "") {
        // Other text has begun: fewer tags are recognised, perhaps not the one found.
        place = undefined
        continue
      }
      delta(before)
      from = to
      if (found === undefined || hold <= found.at) break
      from += found.form.length
      meet(found.delimiter)
    }
    withheld = text.slice(from)
    const isSettled = section === undefined ? place === undefined : !newline && !repeats
    searcher = isSettled ? recognised() : undefined
  }

  /** Reads a chunk of one section alone, as most are: no delimiter is found in it. */
  const readOne = (chunk: string): Array<Event> | undefined => {
    if (searcher === undefined) return undefined
    const text = withheld === "" ? chunk : withheld + chunk
    const clear = searcher.clear(text)
    if (clear < 0) return undefined
    const name = section === undefined ? plain : section.name
    if (clear === text.length) {
      withheld = ""
      return [{ _tag: "Delta", section: name, text }]
    }
    withheld = text.slice(clear)
    return clear === 0 ? [] : [{ _tag: "Delta", section: name, text: text.slice(0, clear) }]
  }

  const take = (): Array<Event> => {
    const taken = events
    events = []
    return taken
  }

  if (inside !== undefined) {
    start(sectionOf(inside))
    repeats = true
  }

  return {
    feed: (chunk) => {
      if (chunk === "") return take()
      const one = beside ? undefined : readOne(chunk)
      if (one !== undefined) return one
      if (beside) {
        read("", true)
        stop(section!.name, true)
      }
      read(chunk, false)
      return take()
    },
    feedSection: (name, chunk) => {
      if (chunk === "") return take()
      const one = beside && section?.name === name ? readOne(chunk) : undefined
      if (one !== undefined) return one
      const next = sectionOf(name)
      if (!beside || section?.name !== name) {
        const fresh = repeats && withheld === ""
        read("", true)
        if (section?.name === name) beside = fresh
        else {
          if (section !== undefined) stop(section.name, beside)
          start(next)
          newline = false
          beside = true
        }
      }
      if (beside) read(chunk, false)
      else delta(chunk)
      return take()
    },
    end: () => {
      read("", true)
      if (section !== undefined) stop(section.name, false)
      return take()
    }
  }
}

interface Delimiter {
  readonly section: Section
  readonly kind: "open" | "close"
  /** The tag, and the tag with the newline before it, if one belongs to it. */
  readonly forms: ReadonlyArray<string>
}

const makeDelimiter = (section: Section, kind: "open" | "close"): Delimiter => {
  const tag = section[kind]
  if (tag === "") throw new RangeError(`Cannot parse ${JSON.stringify(section.name)}: its ${kind} tag is empty`)
  const forms = section.newlines.includes(`before ${kind}`) ? [`\r\n${tag}`, `\n${tag}`, tag] : [tag]
  return { section, kind, forms }
}

interface Searcher {
  /** Finds the leftmost, then longest, delimiter at or behind `from`. */
  readonly search: (text: string, from: number) => Found | undefined
  /** The index from which the text may still become a delimiter, or is half a character; its length if neither. */
  readonly hold: (text: string, from: number) => number
  /** What `hold` says of a text that holds no delimiter; -1 where it may hold one. It costs far less than a search. */
  readonly clear: (text: string) => number
}

interface Found {
  readonly at: number
  readonly form: string
  readonly delimiter: Delimiter
}

const makeSearcher = (delimiters: ReadonlyArray<Delimiter>): Searcher => {
  const owners = new Map<string, Delimiter>()
  for (const delimiter of delimiters.toReversed()) for (const form of delimiter.forms) owners.set(form, delimiter)
  const forms = [...owners.keys()].sort((a, b) => b.length - a.length)
  const pattern = new RegExp(forms.map((form) => form.replace(/[^\w\s]/g, "\\$&")).join("|"), "g")
  const shortest = forms.at(-1)?.length ?? Infinity
  const tags = delimiters.map(({ section, kind }) => section[kind])
  // What may still become a delimiter, the longest first, by the last seven bits of the character it ends with.
  const beginnings = Array<ReadonlyArray<string>>(128).fill([])
  // By the same character, which ones may stand before it, a bit for the last five bits of each: most texts end here.
  const befores = new Int32Array(128)
  for (let length = 1; length < (forms[0]?.length ?? 0); length++) {
    for (const form of forms) {
      if (length >= form.length) continue
      const last = form.charCodeAt(length - 1) & 127
      beginnings[last] = [form.slice(0, length), ...beginnings[last]!]
      befores[last]! |= length === 1 ? -1 : 1 << (form.charCodeAt(length - 2) & 31)
    }
  }
  const hold = (text: string, from: number): number => {
    const { length } = text
    if (length === from) return length
    const last = text.charCodeAt(length - 1)
    if ((befores[last & 127]! >>> (text.charCodeAt(length - 2) & 31) & 1) === 1) {
      for (const beginning of beginnings[last & 127]!) {
        const at = length - beginning.length
        if (at >= from && isAt(beginning, text, at)) return at
      }
    }
    return isHalf(last) ? length - 1 : length
  }
  return {
    search: (text, from) => {
      if (forms.length === 0) return undefined
      pattern.lastIndex = from
      const match = pattern.exec(text)
      return match === null ? undefined : { at: match.index, form: match[0], delimiter: owners.get(match[0])! }
    },
    hold,
    clear: (text) => {
      if (text.length >= shortest) { for (const tag of tags) if (text.includes(tag)) return -1 }
      return hold(text, 0)
    }
  }
}

/** Whether a part of a text is what stands there; from its end, where most differ. */
const isAt = (part: string, text: string, at: number): boolean => {
  // Without a slice, which is what most of the time would go into.
  for (let index = part.length - 1; index >= 0; index--) {
    if (text.charCodeAt(at + index) !== part.charCodeAt(index)) return false
  }
  return true
}

/** Whether a UTF-16 code unit is the first half of a pair. */
const isHalf = (code: number): boolean => (code & 0xfc00) === 0xd800

/** Whether the text from `at` on, which may be empty, is the beginning of `form` but not all of it. */
const isPartOf = (form: string, text: string, at: number): boolean =>
  text.length - at < form.length && form.startsWith(text.slice(at))
