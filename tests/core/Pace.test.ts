import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import * as Pace from "../../lib/core/Pace.ts"
import { law } from "../support/text.ts"

const options: Pace.Options = { start: 8, most: 64, failures: 2, patience: 60_000, longest: 600_000 }

/** What happens to a server: time passes, a request begins, or one that is in flight ends. */
type Happening =
  | { readonly _tag: "Pass"; readonly time: number }
  | { readonly _tag: "Begin" }
  | { readonly _tag: "Succeed"; readonly which: number }
  | { readonly _tag: "Leave"; readonly which: number }
  | { readonly _tag: "Fail"; readonly which: number; readonly pause: number; readonly culprit: number }

const happening: fc.Arbitrary<Happening> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ _tag: fc.constant("Pass"), time: fc.constantFrom(1, 5000, 31_000, 50_000, 90_000) })
  },
  { weight: 6, arbitrary: fc.record({ _tag: fc.constant("Begin") }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Succeed"), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Leave"), which: fc.nat() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      _tag: fc.constant("Fail"),
      which: fc.nat(),
      pause: fc.constantFrom(0, 0, 0, 0, 2000, 50_000, 700_000),
      culprit: fc.nat({ max: 3 })
    })
  }
)

/** Lets things happen to a server that is sent requests only while it is free, and looks at it before each of them. */
const play = (
  options: Pace.Options,
  happenings: ReadonlyArray<Happening>,
  look: (pace: Pace.Pace, now: number, happening: Happening, step: () => void) => void
): void => {
  const pace = Pace.make(options)
  const inFlight: Array<number> = []
  const end = (which: number): number | undefined => inFlight.splice(which % Math.max(1, inFlight.length), 1)[0]
  let now = 1_000_000
  for (const happening of happenings) {
    look(pace, now, happening, () => {
      if (happening._tag === "Pass") now += happening.time
      else if (happening._tag === "Begin") {
        if (pace.isFree(now)) inFlight.push(pace.begin())
      } else {
        const number = end(happening.which)
        if (number === undefined) return
        if (happening._tag === "Succeed") pace.succeed()
        else if (happening._tag === "Leave") pace.leave()
        else pace.fail({ number, now, pause: happening.pause, culprit: happening.culprit })
      }
    })
    assert.equal(pace.snapshot().inFlight, inFlight.length)
  }
}

const sizes = fc.record({ start: fc.integer({ min: 1, max: 12 }), most: fc.integer({ min: 1, max: 20 }) })
const happenings = fc.array(happening, { maxLength: 120 })

law(
  "Pace: the limit is between one and the most, and no request begins beyond it or in a pause",
  fc.tuple(
    sizes,
    happenings
  ),
  ([sizes, happenings]) => {
    play({ ...options, ...sizes }, happenings, (pace, now, happening, step) => {
      const before = pace.snapshot()
      step()
      const after = pace.snapshot()
      assert.ok(after.limit >= 1 && after.limit <= sizes.most, `limit ${after.limit}`)
      if (happening._tag !== "Begin" || after.inFlight === before.inFlight) return
      assert.ok(after.inFlight <= after.limit && now >= after.until)
    })
  }
)

law("Pace: an answer never shrinks the limit, and a failure never lets it grow", happenings, (happenings) => {
  play(options, happenings, (pace, _now, happening, step) => {
    const before = pace.snapshot().limit
    step()
    const after = pace.snapshot().limit
    if (happening._tag === "Fail") assert.ok(after <= before)
    else if (happening._tag === "Succeed") assert.ok(after >= before && after <= before + 1)
    else assert.equal(after, before)
  })
})

law(
  "Pace: a server is down exactly where it has nothing in flight, and has only failed for as long and often as it takes",
  happenings,
  (happenings) => {
    let row: Array<{ readonly at: number; readonly culprit: number }> = []
    // When the pauses that it asked for began and ended.
    let pauses: Array<readonly [number, number]> = []
    let away = 0
    play(options, happenings, (pace, now, happening, step) => {
      const before = pace.snapshot()
      step()
      const isOver = pace.snapshot().inFlight < before.inFlight
      if (isOver && happening._tag === "Succeed") {
        row = []
        pauses = []
      }
      if (isOver && happening._tag === "Fail") {
        row.push({ at: now, culprit: happening.culprit })
        const end = now + happening.pause
        const begin = Math.max(now, away)
        if (end > begin) pauses.push([begin, end])
        away = Math.max(away, end)
      }
      const culprits = new Set(row.map(({ culprit }) => culprit)).size
      const asked = pauses.reduce((sum, [begin, end]) => sum + end - begin, 0)
      const lasted = row.length === 0 ? 0 : now - row[0]!.at - asked
      const isDown = pace.snapshot().inFlight === 0 && culprits >= options.failures && lasted >= options.patience
      assert.equal(pace.isDown(now), isDown || away - now > options.longest)
      assert.equal(pace.snapshot().row, row.length)
    })
  },
  1000
)

/** Begins as many requests as may be, and gives their numbers. */
const fill = (pace: Pace.Pace, now: number): ReadonlyArray<number> => {
  const begun: Array<number> = []
  while (pace.isFree(now)) begun.push(pace.begin())
  return begun
}

const failAll = (pace: Pace.Pace, numbers: ReadonlyArray<number>, now: number): void => {
  for (const number of numbers) pace.fail({ number, now, pause: 0, culprit: number })
}

test("Pace: a burst of failures halves the limit once, and those that began before it do not halve it again", () => {
  const pace = Pace.make(options)
  const [first, ...rest] = fill(pace, 0)
  failAll(pace, [first!], 0)
  assert.equal(pace.snapshot().limit, 4)
  failAll(pace, rest, 10)
  assert.deepEqual(pace.snapshot(), { limit: 4, inFlight: 0, row: 8, until: 10 })
  failAll(pace, fill(pace, 20), 20)
  assert.equal(pace.snapshot().limit, 2)
})

test("Pace: the limit doubles each time until trouble, and then grows by one", () => {
  const pace = Pace.make(options)
  const limits: Array<number> = []
  const answerAll = (): void => {
    const begun = fill(pace, 0)
    // Others begin as these end, so that the limit stays in use.
    for (const _ of begun) {
      pace.succeed()
      fill(pace, 0)
    }
    while (pace.snapshot().inFlight > 0) pace.leave()
    limits.push(pace.snapshot().limit)
  }
  for (let i = 0; i < 2; i++) answerAll()
  failAll(pace, fill(pace, 0).slice(0, 1), 0)
  while (pace.snapshot().inFlight > 0) pace.leave()
  for (let i = 0; i < 3; i++) answerAll()
  assert.deepEqual(limits, [16, 32, 16, 17, 18])
})

test("Pace: a limit that is not used up does not grow", () => {
  const pace = Pace.make(options)
  for (let i = 0; i < 50; i++) {
    pace.begin()
    pace.succeed()
  }
  assert.equal(pace.snapshot().limit, 8)
})

test("Pace: a server that only fails is left out for a growing while and sent one request on trial", () => {
  const pace = Pace.make(options)
  let now = 0
  for (let i = 0; i < 2; i++) failAll(pace, fill(pace, now), now)
  assert.ok(!pace.isOnTrial() && pace.isFree(now))
  const waits: Array<number> = []
  for (let i = 0; i < 8; i++) {
    failAll(pace, fill(pace, now), now)
    assert.ok(pace.isOnTrial() && !pace.isFree(now))
    waits.push(pace.snapshot().until - now)
    now = pace.snapshot().until
    assert.ok(!pace.isFree(now - 1) && pace.isFree(now))
    assert.equal(pace.snapshot().limit, 1)
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  // It was away, and not too busy: a few answers later it takes as much as ever.
  let answers = 0
  for (; pace.snapshot().limit < 64; answers++) {
    fill(pace, now)
    pace.succeed()
  }
  assert.equal(answers, 63)
  assert.ok(!pace.isOnTrial())
})

test("Pace: the longest pause that was asked for holds", () => {
  const pace = Pace.make(options)
  const [one, other] = fill(pace, 0)
  pace.fail({ number: one!, now: 0, pause: 20_000, culprit: 1 })
  pace.fail({ number: other!, now: 1000, pause: 2000, culprit: 2 })
  assert.equal(pace.snapshot().until, 20_000)
  assert.ok(!pace.isFree(19_999) && !pace.isDown(19_999))
})
