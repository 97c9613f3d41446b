/**
 * At most so much in any minute.
 *
 * @module
 */

/** What was spent in the last minute, and what may be spent now. Times are in milliseconds, and never go back. */
export interface Rate {
  /** From when on there is room for an amount: `now`, or later. One that is more than a minute's fills it alone. */
  readonly freeAt: (now: number, amount: number) => number
  /** Spends an amount, and gives what corrects it once it is better known. */
  readonly spend: (now: number, amount: number) => (amount: number) => void
  /** What was spent in the last minute. */
  readonly spent: (now: number) => number
}

const MINUTE = 60_000

/** Makes a rate of at most `most` in any minute, without a limit by default. Throws a RangeError for a bad limit. */
export const make = (most: number = Infinity): Rate => {
  if (!(most > 0)) throw new RangeError(`Cannot keep a rate: its limit is ${most}, and must be more than 0`)
  const entries: Array<{ readonly at: number; amount: number }> = []
  let total = 0

  const forget = (now: number): void => {
    const recent = entries.findIndex(({ at }) => at > now - MINUTE)
    for (const entry of entries.splice(0, recent < 0 ? entries.length : recent)) total -= entry.amount
  }

  return {
    freeAt: (now, amount) => {
      forget(now)
      let at = now
      let left = total
      for (const entry of entries) {
        if (left + amount <= most) break
        left -= entry.amount
        at = entry.at + MINUTE
      }
      return at
    },
    spend: (now, amount) => {
      forget(now)
      const entry = { at: now, amount }
      entries.push(entry)
      total += amount
      return (amount) => {
        // What was forgotten is in the total no more; `total` is summed of entries alone.
        if (entries.includes(entry)) total += amount - entry.amount
        entry.amount = amount
      }
    },
    spent: (now) => {
      forget(now)
      return total
    }
  }
}
