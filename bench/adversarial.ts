/**
 * How time grows with the length of texts that were made to be hard, for everything that reads text.
 *
 * ```sh
 * npm run bench -- adversarial                               # from 10⁵ to 10⁷ characters
 * npm run bench -- adversarial 200000                        # to 200,000
 * npm run bench -- adversarial 10000000 60000 Segmenter      # however long it takes; what has this in its name
 * ```
 *
 * Texts are doubled until one takes longer than the patience, 100 ms by default, but twice at least: `longest` is how far
 * the slowest text came. Time is the processor's, so that a busy machine changes little. `worst` is the most by which it
 * grows for a doubling, over all of them from the first length that takes 10 ms; where that is more than it should, the
 * best of three counts for the first and the last. `slowest` is the most for one character.
 *
 * @module
 */
import process from "node:process"
import { load } from "../lib/adapters/GptTokenizer.ts"
import { inputs, type Read, readers } from "../tests/support/adversarial.ts"
import { record } from "../tests/support/figures.ts"
import { figure, table, target, title } from "./measure.ts"

const [most = "10000000", patience = "100", only = ""] = process.argv.slice(2)

/** The shortest text, in UTF-16 code units. */
const SHORTEST = 100_000

/** What is shorter, in milliseconds, is more noise than work. */
const LEAST = 10

/** What grows more for a doubling is measured again. */
const SUSPECT = 2.2

const { count } = await load("o200k_base")

/** The processor's time to read a text, in milliseconds; it is made anew each time, because one that was read is flat. */
const time = (read: Read, text: string): number => {
  const began = process.cpuUsage()
  read(text, count)
  const { user, system } = process.cpuUsage(began)
  return (user + system) / 1000
}

title(`adversarial: ${Object.keys(inputs).length} texts of ${SHORTEST} to ${most} characters`)
const rows: Array<ReadonlyArray<string | number>> = []
let worstOfAll = 0
for (const [name, read] of Object.entries(readers).filter(([name]) => name.includes(only))) {
  let worst: readonly [growth: number, text: string] = [0, "–"]
  let slowest: readonly [rate: number, text: string] = [0, "–"]
  let longest = Infinity
  for (const [input, make] of Object.entries(inputs)) {
    let length = SHORTEST
    let took = time(read, make(length))
    // From here on, time says something.
    let first = { length, took }
    while (2 * length <= Number(most) && (took <= Number(patience) || length < 4 * first.length)) {
      length *= 2
      took = time(read, make(length))
      if (first.took < LEAST) first = { length, took }
    }
    const growth = (): number => (took / first.took) ** (1 / Math.log2(length / first.length))
    for (let tries = 1; tries < 3 && length > first.length && growth() > SUSPECT; tries++) {
      first.took = Math.min(first.took, time(read, make(first.length)))
      took = Math.min(took, time(read, make(length)))
    }
    if (length > first.length && growth() > worst[0]) worst = [growth(), JSON.stringify(input)]
    longest = Math.min(longest, length)
    if (1e6 * took / length > slowest[0]) slowest = [1e6 * took / length, JSON.stringify(input)]
  }
  worstOfAll = Math.max(worstOfAll, worst[0])
  rows.push([name, String(longest), ...worst, ...slowest])
}
table(["", "longest", "worst, ×", "text", "slowest, ns", "text"], rows)
target("the growth of time for each doubling", worstOfAll, "at most", 2.6)
record("hostile texts, timed", {
  characters: `${SHORTEST} to ${most}`,
  "growth of time for a doubling": `${figure(worstOfAll)} × at most`
})
