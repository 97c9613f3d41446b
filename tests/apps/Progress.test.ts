import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import fc from "fast-check"
import assert from "node:assert/strict"
import process from "node:process"
import { test } from "node:test"
import * as Progress from "../../lib/apps/Progress.ts"
import { law } from "../support/text.ts"

const hour = 3_600_000

const snapshot: Progress.Snapshot = {
  elapsed: hour,
  samples: 1234,
  rows: 5678,
  rejected: new Map([["tag-in-source", 10], ["no-conclusion", 2]]),
  bytesDone: 430,
  bytesTotal: 1000,
  spent: {
    requests: 4444,
    inputTokens: 9_000_000,
    cachedTokens: 0,
    outputTokens: 3_600_000,
    cost: 4.3,
    estimated: false
  }
}

const early: Progress.Snapshot = { elapsed: 400, samples: 0, rejected: new Map() }

const counts = fc.nat({ max: 1e7 })
const snapshots: fc.Arbitrary<Progress.Snapshot> = fc.record({
  elapsed: fc.nat({ max: 1e9 }),
  samples: counts,
  rows: fc.option(counts, { nil: undefined }),
  rejected: fc.array(fc.tuple(fc.constantFrom("tag-in-source", "no-conclusion", "summary-too-long"), counts))
    .map((entries) => new Map(entries)),
  bytesDone: fc.option(fc.nat({ max: 1e12 }), { nil: undefined }),
  bytesTotal: fc.option(fc.nat({ max: 1e12 }), { nil: undefined }),
  spent: fc.option(
    fc.record({
      requests: counts,
      inputTokens: counts,
      cachedTokens: counts,
      outputTokens: counts,
      cost: fc.double({ min: 0, max: 1e5, noNaN: true }),
      estimated: fc.boolean()
    }),
    { nil: undefined }
  )
})

law(
  "render: a line is no wider than it may be, and always says how many samples are done",
  fc.tuple(snapshots, fc.integer({ min: 20, max: 300 })),
  ([snapshot, columns]) => {
    const line = Progress.render(snapshot, columns)
    assert.ok(line.length <= columns, `${line.length} of ${columns}: ${line}`)
    assert.ok(line.includes(`${snapshot.samples.toLocaleString("en-US")} samples`))
  }
)

law(
  "render: what a line says, a wider one says too, and in the same order",
  fc.tuple(snapshots, fc.integer({ min: 20, max: 300 }), fc.nat({ max: 100 })),
  ([snapshot, columns, more]) => {
    const parts = (columns: number): ReadonlyArray<string> =>
      Progress.render(snapshot, columns).split(" · ").filter((part) => !/[█░]/.test(part))
    const narrow = parts(columns)
    assert.deepEqual(parts(columns + more).filter((part) => narrow.includes(part)), narrow)
  }
)

law("render, json: no number that is not one", snapshots, (snapshot) => {
  assert.doesNotMatch(Progress.render(snapshot, 200) + Progress.json(snapshot), /NaN|Infinity|undefined/)
})

test("render: with room, everything", () => {
  assert.equal(
    Progress.render(snapshot, 200),
    "█████████░░░░░░░░░░░░ · 43% · 1,234 samples · 5,678 instances · 12 rejected · " +
      "tag-in-source 10, no-conclusion 2 · 1,234 samples/h · 1,000 tokens/s · 4.30 USD · about 10.00 USD in all · " +
      "1 h 20 min left"
  )
})

test("render: in less room, what matters most", () => {
  assert.deepEqual([120, 80, 50, 30].map((columns) => Progress.render(snapshot, columns)), [
    "█████░░░░░░░ · 43% · 1,234 samples · 5,678 instances · 12 rejected · 4.30 USD · about 10.00 USD in all · " +
    "1 h 20 min left",
    "██████░░░░░░░░░ · 43% · 1,234 samples · 12 rejected · 4.30 USD · 1 h 20 min left",
    "████░░░░░░ · 43% · 1,234 samples · 1 h 20 min left",
    "██████░░░░░░░░ · 1,234 samples"
  ])
})

test("render: without a width, no bar", () => {
  assert.equal(
    Progress.render({ ...snapshot, bytesDone: undefined, spent: undefined }),
    "1,234 samples · 5,678 instances · 12 rejected · tag-in-source 10, no-conclusion 2 · 1,234 samples/h"
  )
})

test("render: says nothing of speed, time and cost before there is something to say", () => {
  assert.equal(Progress.render(early), "0 samples")
  assert.equal(
    Progress.render({ ...snapshot, elapsed: 9_999, rejected: new Map() }),
    [
      "43% · 1,234 samples · 5,678 instances · 4.30 USD"
    ].join()
  )
  assert.equal(
    Progress.render({ ...snapshot, samples: 0, rows: 0, rejected: new Map() }),
    "43% · 0 samples · 0 instances · 4.30 USD"
  )
})

test("render: nothing has no share", () => {
  assert.equal(Progress.render({ ...early, bytesDone: 0, bytesTotal: 0 }), "0 samples")
})

test("render: all is read long before all is done, and then nothing is said of what is left", () => {
  const line = Progress.render({ ...snapshot, bytesDone: 1000 })
  assert.match(line, /^100% /)
  assert.doesNotMatch(line, /left|in all/)
})

test("render: a price that is not known is called so, and an estimate is, too", () => {
  const { cost: _, ...spent } = snapshot.spent!
  assert.match(Progress.render({ ...snapshot, spent }), / · price unknown · 1 h 20 min left$/)
  assert.match(
    Progress.render({ ...snapshot, spent: { ...snapshot.spent!, estimated: true } }),
    / · about 4\.30 USD · /
  )
})

test("render: slow is told by the hour, and fast by the second", () => {
  const { rejected } = early
  assert.equal(Progress.render({ elapsed: hour, samples: 12, rejected }), "12 samples · 12 samples/h")
  assert.equal(Progress.render({ elapsed: 10_000, samples: 25, rejected }), "25 samples · 2.5 samples/s")
})

test("json: one object, in which what is not known is null", () => {
  assert.deepEqual(JSON.parse(Progress.json(snapshot)), {
    seconds: 3600,
    samples: 1234,
    rows: 5678,
    rejected: { "tag-in-source": 10, "no-conclusion": 2 },
    bytesDone: 430,
    bytesTotal: 1000,
    secondsLeft: 4772,
    requests: 4444,
    inputTokens: 9_000_000,
    cachedTokens: 0,
    outputTokens: 3_600_000,
    estimated: false,
    cost: 4.3,
    projectedCost: 10,
    failures: null
  })
  const { seconds, samples, rejected, ...unknown } = JSON.parse(Progress.json(early))
  assert.deepEqual([seconds, samples, rejected], [0.4, 0, {}])
  assert.deepEqual(new Set(Object.values(unknown)), new Set([null]))
  assert.doesNotMatch(Progress.json(snapshot), /\n/)
})

test("duration: in one or two units", () => {
  const seconds = [0, 59, 60, 59.6 * 60, 3600, 7 * 3600 + 5 * 60, 50 * 3600]
  assert.deepEqual(seconds.map((seconds) => Progress.duration(seconds * 1000)), [
    ...["0 s", "59 s", "1 min", "1 h 0 min", "1 h 0 min", "7 h 5 min", "2 d 2 h"]
  ])
})

/** What is written to standard error, of which it is said whether it is a terminal. */
const writtenBy = async (isTerminal: boolean, effect: Effect.Effect<void>): Promise<ReadonlyArray<string>> => {
  const { stderr } = process
  const before = [stderr.isTTY, stderr.columns, stderr.write] as const
  const written: Array<string> = []
  Object.assign(stderr, { isTTY: isTerminal, columns: 60, write: (text: string) => written.push(text) > 0 })
  try {
    await Effect.runPromise(Effect.provide(effect, TestClock.layer()))
  } finally {
    Object.assign(stderr, { isTTY: before[0], columns: before[1], write: before[2] })
  }
  return written
}

test("show: on a terminal, one line is written over again in its width, and stays at the end", async () => {
  let count = 0
  const shown = Effect.scoped(Effect.gen(function* () {
    yield* Progress.show((columns) => `${++count} in ${columns}`)
    for (let i = 0; i < 2; i++) yield* TestClock.adjust("100 millis")
  }))
  assert.deepEqual(await writtenBy(true, shown), [
    "\r\x1b[2K1 in 59",
    "\r\x1b[2K2 in 59",
    "\r\x1b[2K3 in 59",
    "\n"
  ])
})

test("show: elsewhere, a line of any width is written every ten seconds and at the end", async () => {
  let count = 0
  const shown = Effect.scoped(Effect.gen(function* () {
    yield* Progress.show((columns) => `${++count} in ${columns}`)
    yield* TestClock.adjust("25 seconds")
  }))
  assert.deepEqual(await writtenBy(false, shown), ["1 in Infinity\n", "2 in Infinity\n", "3 in Infinity\n"])
})

test("log: lines come on a terminal, too", async () => {
  const shown = Effect.scoped(Effect.andThen(Progress.log(() => "{}"), TestClock.adjust("10 seconds")))
  assert.deepEqual(await writtenBy(true, shown), ["{}\n", "{}\n"])
})

test("json: a run that goes on is as fast as it is since it asks, whatever came from the journal before", () => {
  const since = { elapsed: hour / 2, samples: 1000, bytesDone: 400, outputTokens: 3_000_000 }
  const { secondsLeft, projectedCost } = JSON.parse(Progress.json({ ...snapshot, since }))
  // 30 bytes in half an hour, and 570 left.
  assert.equal(secondsLeft, 1800 * 570 / 30)
  assert.equal(projectedCost, 10)
  const line = Progress.render({ ...snapshot, since })
  assert.ok(line.includes(" · 468 samples/h · 333 tokens/s · "), line)
  assert.ok(!Progress.render({ ...snapshot, since: { ...since, samples: snapshot.samples } }).includes(" left"))
})

test("render: tries that failed are told, and how long all servers are left alone", () => {
  const servers = [{ failures: 3, pause: 4000 }, { failures: 5, pause: 9000 }]
  assert.match(Progress.render({ ...snapshot, servers }), / · servers left alone for 4 s · 8 tries failed · /)
  assert.equal(JSON.parse(Progress.json({ ...snapshot, servers })).failures, 8)
  assert.doesNotMatch(Progress.render({ ...snapshot, servers: [{ failures: 0, pause: 0 }] }), /alone|tries/)
})
