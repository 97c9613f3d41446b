/**
 * Grammars and texts woven from their tags, and a slow, plain parser to compare with.
 *
 * @module
 */
import fc from "fast-check"
import { chat, plus, v1 } from "../../lib/core/Dialect.ts"
import * as Sections from "../../lib/core/Sections.ts"
import { sentence } from "./text.ts"

/** Input of a parser: content, or text beside it for the section of that name. */
export type Piece = string | { readonly beside: string; readonly text: string }

/** A parser's settings. */
export interface Settings {
  readonly grammar: Sections.Grammar
  readonly options: Sections.Options
}

/** The events of each piece, and last those of the end. */
export const feed = ({ grammar, options }: Settings, pieces: ReadonlyArray<Piece>): Array<Array<Sections.Event>> => {
  const parser = Sections.makeParser(grammar, options)
  const events = pieces.map((piece) =>
    typeof piece === "string" ? parser.feed(piece) : parser.feedSection(piece.beside, piece.text)
  )
  return [...events, parser.end()]
}

/** Joins the deltas that nothing stands between: what is left must not depend on where the input is cut. */
export const merge = (events: ReadonlyArray<Sections.Event>): Array<Sections.Event> => {
  const merged: Array<Sections.Event> = []
  for (const event of events) {
    const last = merged.at(-1)
    if (event._tag === "Delta" && last?._tag === "Delta" && event.section === last.section) {
      merged[merged.length - 1] = { ...event, text: last.text + event.text }
    } else merged.push(event)
  }
  return merged
}

/** Spells events as tokens: one for each code unit, tag and end. */
export const tokens = (events: ReadonlyArray<Sections.Event>): Array<string> =>
  events.flatMap((event) => {
    if (event._tag === "Delta") return event.text.split("").map((unit) => `${event.section}:${unit}`)
    if (event._tag === "Start") return [`<${event.section}`]
    return [event._tag === "Retag" ? `~${event.section}` : `>${event.section} ${event.closed}`]
  })

/** All ways to write a tag: with the newline that belongs before it, and without. */
export const forms = (section: Sections.Section, kind: "open" | "close"): Array<string> => {
  const tag = section[kind]
  return section.newlines.includes(`before ${kind}`) ? [`\r\n${tag}`, `\n${tag}`, tag] : [tag]
}

const longestAt = <A>(text: string, at: number, candidates: ReadonlyArray<readonly [string, A]>) =>
  candidates
    .filter(([form]) => text.startsWith(form, at))
    .reduce<readonly [string, A] | undefined>(
      (best, next) => best === undefined || next[0].length > best[0].length ? next : best,
      undefined
    )

const newlineAt = (text: string, at: number): number =>
  text.startsWith("\r\n", at) ? 2 : text.startsWith("\n", at) ? 1 : 0

/** Parses whole pieces one code unit after the other, as the semantics read; neighbours are of different kinds. */
export const reference = (
  { grammar: { sections }, options }: Settings,
  pieces: ReadonlyArray<Piece>
): Array<string> => {
  const { inside, orphans = "text" } = options
  const read: Array<string> = []
  let open: Sections.Section | undefined
  let beside = false
  let after: string | undefined = "start"
  let untouched = true
  const named = (name: string) => sections.find((section) => section.name === name)!
  const enter = (section: Sections.Section): void => {
    read.push(`<${section.name}`)
    open = section
    untouched = false
  }
  const leave = (closed: boolean): void => {
    read.push(`>${open!.name} ${closed}`)
    after = open!.name
    open = undefined
    beside = false
  }
  if (inside !== undefined) enter(named(inside))
  let fresh = inside !== undefined

  const readBeside = (name: string, text: string): void => {
    if (open?.name !== name) {
      if (open !== undefined) leave(beside)
      enter(named(name))
      beside = true
    } else if (fresh) beside = true
    read.push(...text.split("").map((unit) => `${name}:${unit}`))
  }

  const readContent = (text: string): void => {
    if (beside) leave(true)
    let at = fresh && text.startsWith(open!.open) ? open!.open.length : 0
    if (fresh && open!.newlines.includes("after open")) at += newlineAt(text, at)
    while (at < text.length) {
      const tags = open === undefined ? [...openings(), ...orphaned()] : spelled(open, "close")
      const met = longestAt(text, at, tags)
      at += met === undefined ? 1 : met[0].length
      if (met === undefined) {
        const unit = text[at - 1]!
        read.push(`${open?.name ?? "conclusion"}:${unit}`)
        if (open === undefined && /\S/.test(unit)) after = undefined
      } else if (open !== undefined) leave(true)
      else if (met[1].kind === "open") {
        enter(met[1].section)
        if (met[1].section.newlines.includes("after open")) at += newlineAt(text, at)
      } else if (orphans === "retag") {
        read.push(`~${met[1].section.name}`)
        untouched = false
        after = met[1].section.name
      }
    }
  }

  const spelled = (section: Sections.Section, kind: "open" | "close") =>
    forms(section, kind).map((form) => [form, { section, kind }] as const)
  const openings = () =>
    sections
      .filter((section) => section.after === undefined || after !== undefined && section.after.includes(after))
      .flatMap((section) => spelled(section, "open"))
  const orphaned = () =>
    sections
      .filter((section) =>
        orphans === "drop" ||
        orphans === "retag" && untouched && (section.after === undefined || section.after.includes("start"))
      )
      .flatMap((section) => spelled(section, "close"))

  for (const piece of pieces) {
    if (typeof piece === "string") readContent(piece)
    else readBeside(piece.beside, piece.text)
    fresh = false
  }
  if (open !== undefined) leave(false)
  return read
}

const some = <A>(...values: ReadonlyArray<A>): fc.Arbitrary<A> => fc.constantFrom(...values)

// Tags that begin with each other, repeat themselves, share letters, hold newlines, blanks, signs of regular expressions
// and characters of two code units.
const oddTag: fc.Arbitrary<string> = some(
  ...["<a", "<ab", "<ab>", "<abc", "</a", "</ab", "aa", "aab", "aba", "b", "$$", "$", "[x]", ".*", "(", "a|b", "\\n"],
  ...["=\n=", "=\r\n=", "a\n", "- -", "😀", "😀a", "◁x▷", "<|x|>", "<|", "a b"]
)

const names = ["reasoning", "summary", "answer"]

const oddSection = (name: string): fc.Arbitrary<Sections.Section> =>
  fc.record({
    name: fc.constant(name),
    open: oddTag,
    close: oddTag,
    newlines: fc.subarray<Sections.Section["newlines"][number]>(["before open", "after open", "before close"]),
    after: fc.option(fc.subarray(["start", ...names]), { nil: undefined })
  }).map(({ after, ...section }) => ({ ...section, ...after !== undefined && { after } }))

const oddGrammar: fc.Arbitrary<Sections.Grammar> = fc
  .integer({ min: 1, max: 3 })
  .chain((count) => fc.tuple(...names.slice(0, count).map(oddSection)))
  .map((sections) => ({ sections }))

/** A dialect's grammar, or one that no model was ever trained on. */
export const grammar: fc.Arbitrary<Sections.Grammar> = fc.oneof(
  { weight: 2, arbitrary: some<Sections.Grammar>(v1, plus, chat) },
  { weight: 3, arbitrary: oddGrammar }
)

const options = ({ sections }: Sections.Grammar): fc.Arbitrary<Sections.Options> =>
  fc.record({
    inside: some(undefined, undefined, ...sections.map(({ name }) => name)),
    orphans: some("text" as const, "drop" as const, "retag" as const)
  }).map(({ inside, orphans }) => ({ orphans, ...inside !== undefined && { inside } }))

/** A grammar and how to parse with it. */
export const settings: fc.Arbitrary<Settings> = grammar.chain((grammar) =>
  options(grammar).map((options) => ({ grammar, options }))
)

/** Text woven from tags, parts of tags, newlines, blanks, halves of characters and ordinary text. */
export const woven = ({ sections }: Sections.Grammar, maxLength = 12): fc.Arbitrary<string> => {
  const tag = some(...sections.flatMap(({ open, close }) => [open, close]))
  const newline = some("\n", "\n", "\r\n", "\r")
  const part = fc.oneof(
    { weight: 4, arbitrary: tag },
    { weight: 2, arbitrary: fc.tuple(newline, tag).map((parts) => parts.join("")) },
    { weight: 2, arbitrary: fc.tuple(tag, newline).map((parts) => parts.join("")) },
    { weight: 3, arbitrary: fc.tuple(tag, fc.nat(12)).map(([tag, length]) => tag.slice(0, length)) },
    { weight: 1, arbitrary: fc.tuple(tag, fc.nat(12)).map(([tag, length]) => tag.slice(length)) },
    { weight: 3, arbitrary: newline },
    { weight: 2, arbitrary: some(" ", "a", "b", "<", "x", ".", "&lt;", "\u00a0") },
    { weight: 1, arbitrary: some("😀", "\ud83d", "\ude00") },
    { weight: 1, arbitrary: sentence.map((text) => text.slice(0, 40)) }
  )
  return fc.array(part, { maxLength }).map((parts) => parts.join(""))
}
