/**
 * How many requests a server is sent at once, and from when on: what its answers teach.
 *
 * ```text
 *   an answer         the limit grows, while all of it is in use: by one, up to half of where trouble began last;
 *                     beyond that, by one for as many answers as the limit
 *   a failure         the limit is halved, once for each burst: not by requests sent before the last halving
 *   failures alone    from the third halving on, the server is left out for 1 s, 2 s, 4 s … up to 30 s, and is then
 *                     sent one request on trial; it was away and not too busy, so that the limit grows back fast
 * ```
 *
 * @module
 */

/** How a server is paced. */
export interface Options {
  /** The limit to begin with. */
  readonly start: number
  /** The highest limit. */
  readonly most: number
  /** How many failures in a row it takes at least to be down. */
  readonly failures: number
  /** How long nothing but failures must come, in milliseconds, to be down. */
  readonly patience: number
  /** The longest it may ask to be left alone without being down, in milliseconds. */
  readonly longest: number
}

/** A request that failed. */
export interface Failure {
  /** Its number, as `begin` gave it. */
  readonly number: number
  /** When, in milliseconds. */
  readonly now: number
  /** How long the server asks to be left alone, in milliseconds. */
  readonly pause: number
  /** What may be to blame: failures of one culprit in a row count once. */
  readonly culprit: unknown
}

/** What is known of a server. */
export interface Snapshot {
  /** How many requests it may be sent at once. */
  readonly limit: number
  /** How many requests it is at. */
  readonly inFlight: number
  /** How many requests failed since it answered last. */
  readonly row: number
  /** Until when it is left alone, in milliseconds; may be past. */
  readonly until: number
}

/** The pace of one server. */
export interface Pace {
  /** Tells whether it may be sent a request now. */
  readonly isFree: (now: number) => boolean
  /** Tells whether the next request is a trial: nothing has come but failures. */
  readonly isOnTrial: () => boolean
  /**
   * Tells whether it is down: it asks to be left alone too long, or nothing is in flight and failures alone came, for as
   * long and as often as it takes.
   */
  readonly isDown: (now: number) => boolean
  /** Begins a request, and numbers it. */
  readonly begin: () => number
  /** Ends a request that was answered. */
  readonly succeed: () => void
  /** Ends a request that failed. */
  readonly fail: (failure: Failure) => void
  /** Ends a request of which nothing can be learnt. */
  readonly leave: () => void
  /** Takes a snapshot. */
  readonly snapshot: () => Snapshot
}

/** From how many halvings on, without an answer between them, a server is left out. */
const LEFT_OUT = 3

/** Makes the pace of a server that nothing is known of. */
export const make = ({ start, most, failures, patience, longest }: Options): Pace => {
  const highest = Math.max(1, most)
  let limit = Math.min(highest, Math.max(1, start))
  // Up to here the limit grows fast.
  let proven = highest
  let earlier = highest
  let inFlight = 0
  let begun = 0
  // The first number whose failure halves the limit again.
  let next = 0
  // Until when it asks to be left alone, and until when it is left out.
  let asked = 0
  let out = 0
  // What came since the last answer: halvings, failures, their culprits, and when it began.
  let halvings = 0
  let row = 0
  let since = 0
  const culprits = new Set<unknown>()

  return {
    isFree: (now) => inFlight < Math.floor(limit) && now >= Math.max(asked, out),
    isOnTrial: () => halvings >= LEFT_OUT,
    isDown: (now) => asked - now > longest || (inFlight === 0 && culprits.size >= failures && now - since >= patience),
    begin: () => {
      inFlight++
      return begun++
    },
    succeed: () => {
      // A limit that is not used up was not put to the test.
      if (inFlight >= Math.floor(limit)) limit = Math.min(highest, limit + (limit < proven ? 1 : 1 / limit))
      inFlight--
      halvings = 0
      row = 0
      culprits.clear()
    },
    fail: ({ number, now, pause, culprit }) => {
      inFlight--
      if (row++ === 0) since = now
      if (culprits.size < failures) culprits.add(culprit)
      // The time that the server asked for is not held against it.
      since += Math.max(0, now + pause - Math.max(asked, now))
      asked = Math.max(asked, now + pause)
      if (number < next) return
      next = begun
      if (halvings === 0) {
        earlier = Math.max(proven, limit)
        proven = limit / 2
      }
      limit = Math.max(1, limit / 2)
      if (++halvings < LEFT_OUT) return
      limit = 1
      proven = earlier
      out = now + Math.min(1000 * 2 ** (halvings - LEFT_OUT), 30_000)
    },
    leave: () => {
      inFlight--
    },
    snapshot: () => ({ limit: Math.floor(limit), inFlight, row, until: Math.max(asked, out) })
  }
}
