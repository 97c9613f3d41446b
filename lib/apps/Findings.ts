/**
 * What a model's chat template would make of rows that was not meant, counted and written down.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as ChatTemplate from "../adapters/ChatTemplate.ts"
import * as Storage from "../adapters/Storage.ts"
import type { Row } from "../Reconstruction.ts"
import * as Numbers from "./Numbers.ts"

/** The findings so far. */
export interface Findings {
  readonly add: (row: Row, findings: ReadonlyArray<ChatTemplate.Finding>) => void
  /** The number of rows with each kind of finding. */
  readonly counts: () => Readonly<Record<string, number>>
  /** Renders the counts, and the first finding of each kind, for a person. */
  readonly lines: () => ReadonlyArray<readonly [name: string, value: string]>
  /** Writes the findings to the file, one a line, or takes an old file away where there are none. */
  readonly write: Effect.Effect<void, Storage.StorageError, FileSystem.FileSystem>
}

/** The most findings that are written: they are alike, and a template at fault has one in every row. */
const MOST = 10_000

/** Makes an empty list of findings, which go to a file. */
export const make = (file: string): Findings => {
  const counts = new Map<ChatTemplate.Kind, number>()
  const firsts = new Map<ChatTemplate.Kind, string>()
  const written: Array<string> = []
  return {
    add: ({ sample, index }, findings) => {
      for (const { kind, detail, excerpt } of findings) {
        counts.set(kind, (counts.get(kind) ?? 0) + 1)
        if (!firsts.has(kind)) firsts.set(kind, `${detail} (${sample}, iteration ${index})`)
        if (written.length < MOST) written.push(JSON.stringify({ sample, index, kind, detail, excerpt }))
      }
    },
    counts: () => Object.fromEntries(counts),
    lines: () =>
      counts.size === 0 ? [] : [
        ["findings of the chat template", `in ${file}`],
        ...[...counts].map(([kind, count]) =>
          [`  ${kind}`, `${Numbers.whole(count)}; the first: ${firsts.get(kind)!}`] as const
        )
      ],
    write: Effect.gen(function* () {
      if (written.length > 0) return yield* Storage.write(file, `${written.join("\n")}\n`)
      const files = yield* FileSystem.FileSystem
      yield* Effect.mapError(
        files.remove(file, { force: true }),
        (cause) => Storage.errorOf("write", file, cause)
      )
    })
  }
}
