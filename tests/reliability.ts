/**
 * One table of what the tests that mean harm went through: faults, hostile texts, full disks, hours of load.
 *
 * ```sh
 * npm run reliability                  # about an hour and a half
 * npm run reliability -- --short       # minutes: the same tests as in `npm test`
 * ```
 *
 * Each figure is what a test recorded in this run. Where one fails, its output is shown, and the exit code is 1.
 *
 * @module
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import type { Figures } from "./support/figures.ts"

/** A program that records figures. */
interface Source {
  readonly file: string
  /** The environment in which it takes long. */
  readonly long?: Readonly<Record<string, string>>
  /** The arguments with which it does not. */
  readonly short?: ReadonlyArray<string>
}

const sources: ReadonlyArray<Source> = [
  { file: "tests/faults.test.ts" },
  { file: "tests/injection.test.ts" },
  { file: "tests/fuzz.test.ts", long: { INFTYTHINK_FUZZ: "125000" } },
  { file: "tests/adversarial.test.ts" },
  { file: "tests/disk.test.ts" },
  { file: "tests/soak.test.ts", long: { INFTYTHINK_SOAK: "3600" } },
  { file: "bench/adversarial.ts", short: ["200000"] }
]

/** A row of the table. */
interface Row {
  readonly what: string
  readonly figure: string
  readonly from: string
}

const isShort = process.argv.includes("--short")
const root = fileURLToPath(new URL("..", import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))

/** Runs a program, and gives what it recorded, and how many of its tests passed. */
const run = ({ file, long = {}, short = [] }: Source, index: number): ReadonlyArray<Row> => {
  const isTest = file.endsWith(".test.ts")
  const more = isShort ? {} : long
  const args = [...isTest ? ["--test"] : [], file, ...isShort ? short : []]
  const from = [...Object.entries(more).map(([name, value]) => `${name}=${value}`), "node", ...args].join(" ")
  if (!existsSync(join(root, file))) {
    console.error(`${from}: skipped, there is no such file`)
    return []
  }
  const recorded = join(folder, `${index}.jsonl`)
  const began = Date.now()
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 2 ** 30,
    env: { ...process.env, ...more, INFTYTHINK_FIGURES: recorded }
  })
  const seconds = Math.round((Date.now() - began) / 1000)
  if (status !== 0) {
    process.exitCode = 1
    console.error(`${stdout}${stderr}`)
  }
  console.error(`${from}: ${status === 0 ? "passed" : "FAILED"}, ${seconds} s`)
  const lines = existsSync(recorded) ? readFileSync(recorded, "utf8").trimEnd().split("\n") : []
  const rows = add(lines.map((line): Figures => JSON.parse(line)))
  const passed = /^ℹ pass (\d+)/m.exec(stdout)?.[1]
  const tests = isTest && passed !== undefined ? [{ what: "tests that passed", figure: passed }] : []
  return [...rows, ...tests].map((row) => ({ ...row, from }))
}

/** Adds up what was recorded of each subject: numbers are added, and different texts counted. */
const add = (records: ReadonlyArray<Figures>): ReadonlyArray<Omit<Row, "from">> => {
  const cells = new Map<string, Array<number | string>>()
  for (const { subject, figures } of records) {
    for (const [name, figure] of Object.entries(figures)) {
      const what = `${subject}: ${name}`
      cells.set(what, [...cells.get(what) ?? [], figure])
    }
  }
  return [...cells].map(([what, figures]) => {
    const [first] = figures
    if (typeof first === "number") {
      const sum = figures.reduce<number>((sum, figure) => sum + Number(figure), 0)
      return { what, figure: sum.toLocaleString("en", { maximumFractionDigits: 1 }) }
    }
    const different = new Set(figures)
    return { what, figure: different.size === 1 ? `${first}` : `${different.size} different` }
  })
}

const rows = sources.flatMap(run)
const header: Row = { what: "what", figure: "figure", from: "from" }
const widthOf = (name: keyof Row): number => Math.max(...[header, ...rows].map((row) => row[name].length))
const lineOf = ({ what, figure, from }: Row): string =>
  `| ${what.padEnd(widthOf("what"))} | ${figure.padStart(widthOf("figure"))} | ${from.padEnd(widthOf("from"))} |`
const rule = `| ${"-".repeat(widthOf("what"))} | ${"-".repeat(widthOf("figure") - 1)}: | ${
  "-".repeat(widthOf("from"))
} |`
console.log([lineOf(header), rule, ...rows.map(lineOf)].join("\n"))
