/**
 * A dataset card: the README that the pages of a dataset hub show.
 *
 * @module
 */
import type { Manifest } from "./Manifest.ts"
import * as Numbers from "./Numbers.ts"

/**
 * Renders the card of a dataset, from the manifest of the run that made it and the columns of its rows: the front matter
 * that hubs read, and what a reader wants to know. The licence is left to whoever publishes it, because it follows from
 * that of the input.
 */
export const render = (
  { inftythink, inputs, output, options, counts, rejected }: Manifest,
  columns: ReadonlyArray<string>
): string => {
  const file = output.name.split(/[/\\]/).at(-1)!
  const title = file.replace(/\..*$/, "")
  return `---
pretty_name: ${JSON.stringify(title)}
task_categories:
- text-generation
tags:
- reasoning
- inftythink
size_categories:
- ${sizeOf(output.rows)}
configs:
- config_name: default
  data_files:
  - split: train
    path: ${JSON.stringify(file)}
dataset_info:
  splits:
  - name: train
    num_examples: ${output.rows}
  download_size: ${output.bytes ?? 0}
---

# ${title}

Long reasonings, split into short iterations that hand a summary on: training data for models that reason without a
context limit (InftyThink, [arXiv 2503.06692](https://arxiv.org/abs/2503.06692)). One row is one iteration. Made with
inftythink ${inftythink}.

## Counts

${table(["what", "number"], Object.entries(counts).map(([name, count]) => [name, Numbers.whole(count)]))}
${
    Object.keys(rejected).length === 0 ? "" : `
Samples that were rejected, for each reason:

${table(["reason", "samples"], Object.entries(rejected).map(([reason, count]) => [reason, Numbers.whole(count)]))}
`
  }
## Columns

${columns.length === 0 ? "There are no rows." : columns.map((column) => `\`${column}\``).join(", ")}

## How it was made

${table(["option", "value"], Object.entries(options).map(([name, value]) => [name, String(value ?? "none")]))}

## Sources

${
    table(
      ["file", "bytes", "SHA-256"],
      inputs.map(({ name, bytes, sha256 }) => [
        `\`${name}\``,
        bytes === null ? "unknown" : Numbers.whole(bytes),
        sha256 === null ? "unknown" : `\`${sha256}\``
      ])
    )
  }
`
}

/** The category of a dataset's size, as hubs name them. */
const sizeOf = (rows: number): string => {
  const at = SIZES.findIndex(([least]) => rows < least)
  if (at < 0) return "n>1T"
  return at === 0 ? "n<1K" : `${SIZES[at - 1]![1]}<n<${SIZES[at]![1]}`
}

const SIZES: ReadonlyArray<readonly [least: number, name: string]> = [
  [1e3, "1K"],
  [1e4, "10K"],
  [1e5, "100K"],
  [1e6, "1M"],
  [1e7, "10M"],
  [1e8, "100M"],
  [1e9, "1B"],
  [1e10, "10B"],
  [1e11, "100B"],
  [1e12, "1T"]
]

const table = (heads: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [heads, heads.map(() => "---"), ...rows]
    .map((row) => `| ${row.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`)
    .join("\n")
