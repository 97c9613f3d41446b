/**
 * Whether iterations still get anywhere: empty ones, summaries that repeat, and summaries that wander.
 *
 * A trajectory wanders when summary after summary keeps little of the one before: each may look new, but nothing
 * accumulates. Comparing texts for equality misses it.
 *
 * The measure is the share of the distinct words of one summary that the next one has too. The defaults were set on the
 * extractive summaries, of 128 to 512 tokens, of 187 long traces in English and Chinese: of the chains in which each
 * summary is made of the one before and a new segment, or of half or a quarter of the one before and a new segment, none
 * has three summaries in a row that keep less than 0.25; of chains of summaries of different questions, 66 % do at 128
 * tokens, 53 % at 256, and none at 512, where common words alone make up 0.25. It errs on the side of going on: to go on
 * for nothing costs iterations, which have a limit, and to stop too early costs the conclusion.
 *
 * @module
 */

/** When iterations count as getting nowhere. */
export interface Rule {
  /** A summary repeats the one before where each keeps at least this share of the other's words; 0.95 by default. */
  readonly repeats?: number
  /** A summary wanders where it keeps less than this share of the words of the one before; 0.25 by default. */
  readonly wanders?: number
  /** How many such iterations in a row are too many; 3 by default. */
  readonly count?: number
}

/** How many iterations in a row, up to the last, got nowhere. */
export interface Memory {
  readonly empty: number
  readonly repeated: number
  readonly wandered: number
}

/** Why a trajectory gets nowhere. */
export type Verdict = "empty" | "repeats" | "wanders"

/** The memory of no iteration. */
export const none: Memory = { empty: 0, repeated: 0, wandered: 0 }

/** What an iteration led to: its summary, if it has one, and the summary it started from. */
export interface Observed {
  readonly summary?: string
  readonly history?: string
}

/** Remembers one more iteration. */
export const observe = (
  memory: Memory,
  { summary, history }: Observed,
  { repeats = 0.95, wanders = 0.25 }: Rule = {}
): Memory => {
  if (summary === undefined) return { ...memory, empty: memory.empty + 1 }
  if (history === undefined) return none
  const kept = keeps(history, summary)
  return {
    empty: 0,
    repeated: kept >= repeats && keeps(summary, history) >= repeats ? memory.repeated + 1 : 0,
    wandered: kept < wanders ? memory.wandered + 1 : 0
  }
}

/** Judges what is remembered. */
export const judge = ({ empty, repeated, wandered }: Memory, { count = 3 }: Rule = {}): Verdict | undefined =>
  empty >= count ? "empty" : repeated >= count ? "repeats" : wandered >= count ? "wanders" : undefined

/** The share of the distinct words of a text that another one has too, from 0 to 1. */
export const keeps = (before: string, after: string): number => {
  const words = wordsOf(before)
  const others = wordsOf(after)
  return words.size === 0 ? 1 : [...words].filter((word) => others.has(word)).length / words.size
}

const wordsOf = (text: string): ReadonlySet<string> => new Set(text.toLowerCase().match(WORD))

/** In scripts without blanks between words, each character is a word. */
const WORD =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]|(?:(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}])[\p{L}\p{N}\p{M}])+/gu
