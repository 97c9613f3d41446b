/**
 * An attempt at an iteration: what a model writes is read as it comes, and shown, cut and judged.
 *
 * ```text
 *   content ──▶ sections ─┬─ reasoning ──▶ cutter ─┬─▶ shown ──▶ output, or what is wrong with it
 *   beside it ──▲         └─ summary, conclusion ──┘
 * ```
 *
 * An attempt that was cut off can be fed what the model writes when it goes on, as if it had never stopped.
 *
 * @module
 */
import * as Cutter from "./Cutter.ts"
import * as Dialect from "./Dialect.ts"
import type { Output } from "./Iteration.ts"
import * as Sections from "./Sections.ts"

/** How to read. */
export interface Options {
  readonly dialect: Dialect.Dialect
  /** The section in which the output begins, because the prompt opened it; none by default. */
  readonly inside?: string
  /** Cuts the reasoning; it goes on as long as it will by default. */
  readonly guide?: Cutter.Options
}

/** What is shown while a model writes. */
export type Shown = Extract<Sections.Event, { readonly _tag: "Delta" | "Retag" }>

/** An attempt that is being written. */
export interface Attempt {
  /** Reads more content. */
  readonly feed: (chunk: string) => Array<Shown>
  /** Reads reasoning that came beside the content. */
  readonly feedReasoning: (chunk: string) => Array<Shown>
  /** Ends the attempt: what was withheld is shown. Again, it does nothing. */
  readonly end: () => Array<Shown>
  /** Reads what was written, when it has ended, as an output, or says what is wrong with it. */
  readonly read: (finish: Parameters<typeof Dialect.read>[2]) => Output | Dialect.Fault
  /** The reasoning that was shown. */
  readonly reasoning: () => string
  /** The content so far. */
  readonly content: () => string
  /** Whether all was content, so that it can be given back to the model to go on from. */
  readonly isContent: () => boolean
  /** Whether reasoning is being written. */
  readonly isReasoning: () => boolean
  /** The cut that ended the reasoning, with all that had come behind it. */
  readonly cut: () => Cutter.Cut | undefined
}

/** Makes an attempt. Throws a RangeError where the dialect lacks the section it begins in, and for a bad guide. */
export const make = ({ dialect, inside, guide }: Options): Attempt => {
  const parser = Sections.makeParser(dialect, { orphans: "retag", ...inside !== undefined && { inside } })
  const events: Array<Sections.Event> = []
  const content: Array<string> = []
  let isContent = true
  let ended = false
  let open: string | undefined = inside
  let cutter = guide === undefined ? undefined : Cutter.make(guide)
  let cut: Cutter.Cut | undefined
  const dropped: Array<string> = []
  // What was kept of the section of reasoning that is open, and the tokens of those before it.
  let written: Array<string> = []
  let before = 0

  const reasoning = (): string => {
    const end: Array<Sections.Event> = open === undefined ? [] : [{ _tag: "End", section: open, closed: false }]
    return Sections.fold([...events, ...end])
      .filter(({ section }) => section === "reasoning").map(({ text }) => text).join("")
  }

  const show = (event: Sections.Event): Array<Shown> => {
    events.push(event)
    if (event._tag === "Start") open = event.section
    if (event._tag === "End") open = undefined
    return event._tag === "Delta" || event._tag === "Retag" ? [event] : []
  }

  const keepAll = (read: ReadonlyArray<Sections.Event>): Array<Shown> => {
    // Most are one delta.
    if (read.length === 1) return keep(read[0]!)
    const shown: Array<Shown> = []
    for (const event of read) for (const one of keep(event)) shown.push(one)
    return shown
  }

  const keep = (event: Sections.Event): Array<Shown> => {
    if (cut !== undefined) {
      if (event._tag === "Delta") dropped.push(event.text)
      return []
    }
    if (cutter === undefined || event.section !== "reasoning" || event._tag === "Retag") return show(event)
    if (event._tag === "Start") {
      // Reasoning may go on behind other text: what there was counts.
      before += guide!.count(written.join(""))
      written = []
      if (events.length > 0) cutter = Cutter.make({ ...guide!, eta: Math.max(4, guide!.eta - before) })
      return show(event)
    }
    const kept = event._tag === "Delta" ? cutter.feed(event.text) : cutter.end()
    written.push(kept.text)
    const shown = kept.text === "" ? [] : show({ _tag: "Delta", section: "reasoning", text: kept.text })
    cut = kept.cut
    if (cut !== undefined) show({ _tag: "End", section: "reasoning", closed: true })
    else if (event._tag === "End") show(event)
    return shown
  }

  return {
    feed: (chunk) => {
      content.push(chunk)
      return keepAll(parser.feed(chunk))
    },
    feedReasoning: (chunk) => {
      isContent &&= chunk === ""
      return keepAll(parser.feedSection("reasoning", chunk))
    },
    end: () => {
      if (ended) return []
      ended = true
      return keepAll(parser.end())
    },
    read: (finish) => Dialect.read(dialect, Sections.fold(events), finish),
    reasoning,
    content: () => content.join(""),
    isContent: () => isContent,
    isReasoning: () => open === "reasoning",
    cut: () => cut === undefined ? undefined : { ...cut, dropped: cut.dropped + dropped.join("") }
  }
}
