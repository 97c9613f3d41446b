/**
 * How cost grows with the length of reasoning, in one go and in iterations.
 *
 * ```sh
 * npm run bench -- growth             # up to 512 Ki tokens of reasoning
 * npm run bench -- growth 65536
 * npm run bench -- growth 524288 growth.svg
 * ```
 *
 * All three ways to measure agree. At 512 Ki tokens, iterations take 1.3 % of the context area, are billed 1.3 × as much, and
 * their longest context is 5,369 tokens instead of 525,020.
 *
 * Scripted runs of the reasoner, with 4096 tokens of reasoning to an iteration and summaries of 500. The model adds up
 * the context's length at each token that it writes; this and what it is billed for must be what the closed form gives:
 * Σ g·p + g(g + 1)/2 over all requests, with g tokens written behind a prompt of p. A token is a character here, so that
 * tags and tokens add up.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { writeFileSync } from "node:fs"
import process from "node:process"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Meter from "../lib/core/Meter.ts"
import * as Reasoner from "../lib/Reasoner.ts"
import { type Part, TextModel } from "../lib/TextModel.ts"
import { figure, table, title } from "./measure.ts"

const [longest = "524288", file] = process.argv.slice(2)
const [eta, gamma, conclusion] = [4096, 500, 500]
const question = "q".repeat(200)

/** A run, as the reasoner's meter has it and as the model saw it. */
interface Run {
  readonly meter: Meter.Meter
  readonly seen: Meter.Meter
}

/** Runs the reasoner on so many tokens of reasoning, of which each iteration has `most`. */
const run = async (length: number, most: number): Promise<Run> => {
  let left = length
  let seen = Meter.empty
  const generate: TextModel["generate"] = ({ prompt = "" }) =>
    Stream.suspend(() => {
      const written = Math.min(most, left)
      left -= written
      const reasoning = "r".repeat(written)
      const text = left === 0
        ? Dialect.target(Dialect.v1, {
          reasoning,
          ending: { _tag: "Conclusion", text: "c".repeat(conclusion) }
        })
        : Dialect.target(Dialect.v1, {
          reasoning,
          ending: { _tag: "Summary", text: "s".repeat(gamma) }
        })
      let area = 0
      for (let token = 1; token <= text.length; token++) {
        area += prompt.length + token
      }
      const peak = prompt.length + text.length
      seen = Meter.add(seen, {
        requests: 1,
        inputTokens: prompt.length,
        outputTokens: text.length,
        area,
        peak
      })
      const usage = { inputTokens: prompt.length, outputTokens: text.length }
      return Stream.make<[Part, Part]>({ _tag: "Text", text }, {
        _tag: "Finish",
        reason: "stop",
        usage
      })
    })
  const { state, outcome } = await Reasoner.solve(question, {
    dialect: Dialect.v1,
    eta: length + 10 * gamma,
    gamma,
    stagnation: "off",
    limits: { iterations: Infinity },
    tokenizer: {
      name: "characters",
      count: (text) => text.length,
      additive: true
    }
  }).pipe(
    Effect.provide(Layer.succeed(TextModel, { name: "scripted", generate })),
    Effect.runPromise
  )
  if (outcome._tag !== "Concluded") {
    throw new Error(`the run ended as ${outcome._tag}`)
  }
  return { meter: state.meter, seen }
}

/** The same in closed form: what the dialect adds is all that is not in the formula. */
const closed = (length: number, most: number): Meter.Meter => {
  const prompt = (history?: string): number =>
    Dialect.prompt(Dialect.v1, {
      question,
      ...history !== undefined && { history }
    }).prompt.length
  const tags = (text: string, ending: "Summary" | "Conclusion"): number =>
    Dialect.target(Dialect.v1, {
      reasoning: "r",
      ending: { _tag: ending, text }
    }).length - 1 - text.length
  const iterations = Math.ceil(length / most)
  let meter = Meter.empty
  for (let index = 1; index <= iterations; index++) {
    const read = prompt(index === 1 ? undefined : "s".repeat(gamma))
    const written = index === iterations
      ? length - (iterations - 1) * most + conclusion + tags("c", "Conclusion")
      : most + gamma + tags("s", "Summary")
    meter = Meter.add(meter, Meter.request(read, written))
  }
  return meter
}

const isSame = (one: Meter.Meter, other: Meter.Meter): boolean =>
  one.requests === other.requests && one.inputTokens === other.inputTokens &&
  one.outputTokens === other.outputTokens && one.area === other.area &&
  one.peak === other.peak

const billed = ({ inputTokens, outputTokens }: Meter.Meter): number => inputTokens + outputTokens

/** Draws curves over the length of reasoning, both axes logarithmic, as SVG. */
const draw = (
  curves: Readonly<
    Record<string, ReadonlyArray<readonly [length: number, area: number]>>
  >
): string => {
  const points = Object.values(curves).flat()
  const range = (
    values: ReadonlyArray<number>
  ): readonly [number, number] => [Math.min(...values), Math.max(...values)]
  const [left, right] = range(points.map(([length]) => Math.log(length)))
  const [low, high] = range(points.map(([, area]) => Math.log(area)))
  const x = (length: number): string => (60 + 500 * (Math.log(length) - left) / (right - left)).toFixed(1)
  const y = (area: number): string => (340 - 300 * (Math.log(area) - low) / (high - low)).toFixed(1)
  const colours = ["#888", "#06c"]
  const lines = Object.entries(curves).map(([name, curve], index) => {
    const [lastX, lastY] = curve.at(-1)!
    return [
      `<polyline fill="none" stroke="${colours[index]}" stroke-width="2" points="${
        curve.map(([length, area]) => `${x(length)},${y(area)}`).join(" ")
      }"/>`,
      `<text x="${Number(x(lastX)) + 6}" y="${y(lastY)}" fill="${colours[index]}">${name}</text>`
    ].join("\n")
  })
  const ticks = [...new Set(points.map(([length]) => length))].map((length) =>
    `<text x="${x(length)}" y="360" text-anchor="middle">${length / 1024}k</text>`
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 390" font-family="sans-serif" font-size="12">`,
    `<text x="60" y="24">context area over tokens of reasoning, both logarithmic</text>`,
    ...lines,
    ...ticks,
    "</svg>\n"
  ].join("\n")
}

title(
  "growth: cost of reasoning in one go (vanilla) and in iterations, in tokens"
)
const rows: Array<ReadonlyArray<string | number>> = []
const areas: Array<
  readonly [length: number, vanilla: number, iterative: number]
> = []
let isEqual = true
for (let length = eta; length <= Number(longest); length *= 2) {
  const vanilla = await run(length, length)
  const iterative = await run(length, eta)
  for (
    const [{ meter, seen }, form] of [[vanilla, closed(length, length)], [
      iterative,
      closed(length, eta)
    ]] as const
  ) {
    isEqual &&= isSame(meter, seen) && isSame(meter, form)
  }
  const [one, many] = [vanilla.meter, iterative.meter]
  areas.push([length, one.area, many.area])
  rows.push([
    String(length),
    String(many.requests),
    ...[one.area / 1e6, many.area / 1e6, many.area / one.area],
    ...[String(billed(one)), String(billed(many)), billed(many) / billed(one)],
    String(one.peak),
    String(many.peak)
  ])
}
table(
  [
    "reasoning",
    "requests",
    "area, 10⁶",
    "iterative",
    "ratio",
    "billed",
    "iterative",
    "ratio",
    "peak",
    "iterative"
  ],
  rows
)
console.log(
  `  ${isEqual ? "met   " : "MISSED"}  the reasoner's meter, what the model saw and the closed form are equal`
)
if (!isEqual) process.exitCode = 1

const most = Math.log2(areas.at(-1)![1] / areas[0]![2])
const bar = (area: number): string => "█".repeat(1 + Math.round(40 * Math.log2(area / areas[0]![2]) / most))
console.log(
  "\n  context area, logarithmic: each step to the right is as many times the one before"
)
for (const [length, vanilla, iterative] of areas) {
  console.log(
    `  ${String(length).padStart(8)} vanilla   ${bar(vanilla)} ${figure(vanilla / 1e6)}`
  )
  console.log(
    `  ${" ".repeat(8)} iterative ${bar(iterative)} ${figure(iterative / 1e6)}`
  )
}
if (file !== undefined) {
  writeFileSync(
    file,
    draw({
      vanilla: areas.map(([length, vanilla]) => [length, vanilla]),
      iterative: areas.map(([length, , iterative]) => [length, iterative])
    })
  )
  console.log(`  drawn to ${file}`)
}
