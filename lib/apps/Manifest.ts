/**
 * What a run of `reconstruct` made, out of what, and how: a small file beside its output.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import * as Storage from "../adapters/Storage.ts"

/** What a run made. */
export interface Manifest {
  /** The version of this library. */
  readonly inftythink: string
  /** When the output was whole, in ISO 8601. */
  readonly finished: string
  readonly inputs: ReadonlyArray<File>
  /** The file with the rows; its training format, and how many it has. */
  readonly output: File & { readonly format: string; readonly rows: number }
  /** The file with the rejections; null where there were none. */
  readonly rejects: File | null
  /** All options that the rows depend on. */
  readonly options: Readonly<Record<string, string | number | null>>
  /** The counts of the run, by what they count. */
  readonly counts: Readonly<Record<string, number>>
  /** The samples rejected, for each reason. */
  readonly rejected: Readonly<Record<string, number>>
  /** What the trained model's chat template would make of rows that was not meant: rows for each kind. */
  readonly findings: Readonly<Record<string, number>>
  /**
   * What the model was paid for, in all runs of the same journal, those for other rows than these included; null where
   * there was no model.
   */
  readonly spent: Readonly<Record<string, number | boolean | null>> | null
}

/** A file, as it was at the end of the run. */
export interface File {
  readonly name: string
  /** Its length; null where it is not known. */
  readonly bytes: number | null
  /** The SHA-256 of its bytes, in hexadecimal; null where it is no file of this machine. */
  readonly sha256: string | null
}

/** Renders a manifest as JSON. */
export const render = (manifest: Manifest): string => `${JSON.stringify(manifest, null, 2)}\n`

/** Describes a file: its length, and the hash of its bytes; of what is no file here, no more than the name. */
export const describe = (name: string): Effect.Effect<File, Storage.StorageError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    if (Storage.isStandard(name) || Storage.isAddress(name)) {
      return { name: Storage.nameOf(name), bytes: null, sha256: null }
    }
    const hash = createHash("sha256")
    let bytes = 0
    yield* Stream.runForEach(files.stream(name), (chunk) =>
      Effect.sync(() => {
        hash.update(chunk)
        bytes += chunk.length
      })).pipe(Effect.mapError((cause) => Storage.errorOf("read", name, cause)))
    return { name, bytes, sha256: hash.digest("hex") }
  })
