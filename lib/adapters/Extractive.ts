/**
 * Summaries without a model: the sentences that share most words with the rest, in their order.
 *
 * It is for trying things out and for tests, not for training data: it understands nothing.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Boundary from "../core/Boundary.ts"
import type * as Summary from "../core/Summary.ts"
import { Summarizer } from "../Summarizer.ts"
import { Tokenizer } from "../Tokenizer.ts"

/** Provides a summarizer that picks sentences, until half of gamma is filled. */
export const layer: Layer.Layer<Summarizer, never, Tokenizer> = Layer.effect(
  Summarizer,
  Effect.map(Tokenizer, ({ count }): Summarizer => ({
    name: "extractive",
    write: (source) => Effect.sync(() => ({ text: extract(source, count), finished: true }))
  }))
)

/** Picks sentences of the history and the segments that have, each counted alone, at most half of gamma tokens. */
export const extract = (
  { history = "", segments, gamma }: Summary.Source,
  count: (text: string) => number
): string => {
  const items = sentencesOf([history, ...segments].join("\n\n")).map((sentence) => `* ${sentence}`)
  const wordsOf = items.map((item) => [...words.segment(item)].filter((word) => word.isWordLike).map(normalize))
  const frequency = new Map<string, number>()
  for (const word of wordsOf.flat()) frequency.set(word, (frequency.get(word) ?? 0) + 1)
  // The mean is taken over a few words more than there are, so that a fragment does not win by one frequent word.
  const scores = wordsOf.map((own) =>
    own.reduce((sum, word) => sum + Math.log(frequency.get(word)!), 0) / (own.length + 4)
  )
  const best = items.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b)

  const picked = new Set<number>()
  let room = gamma / 2
  for (const i of best) {
    const tokens = count(`${items[i]!}\n`)
    if (tokens > room) continue
    room -= tokens
    picked.add(i)
  }
  if (picked.size === 0) return shorten(items[best[0] ?? 0] ?? "", gamma, count)
  return items.filter((_, i) => picked.has(i)).join("\n")
}

/** The sentences of a text, each once, without list marks; boxed answers are left out, as a summary gives none. */
const sentencesOf = (text: string): Array<string> => {
  const scanner = Boundary.makeScanner()
  const lines = [...scanner.feed(text), ...scanner.end()]
  const found = lines.flatMap((line) => Boundary.sentences(line.text))
    .map((sentence) => sentence.text.trim().replace(LIST_MARK, "").replace(/\s+/g, " "))
    .filter((sentence) => /[\p{L}\p{N}]/u.test(sentence) && !sentence.includes("\\boxed"))
  return [...new Set(found)]
}

/** As many words of a sentence as fit. */
const shorten = (sentence: string, gamma: number, count: (text: string) => number): string => {
  let kept = ""
  for (const { segment } of words.segment(sentence)) {
    if (count(kept + segment) > gamma) break
    kept += segment
  }
  return kept
}

const LIST_MARK = /^(?:[-+*•]|\(?\d{1,3}[.)])\s+/
const words = new Intl.Segmenter(undefined, { granularity: "word" })
const normalize = ({ segment }: Intl.SegmentData): string => segment.toLowerCase()
