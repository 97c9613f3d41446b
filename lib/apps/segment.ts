/**
 * `inftythink segment`: how a text is cut.
 *
 * @module
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import process from "node:process"
import * as Storage from "../adapters/Storage.ts"
import * as Boundary from "../core/Boundary.ts"
import * as Segmenter from "../core/Segmenter.ts"
import { Tokenizer, type TokenizerError } from "../Tokenizer.ts"
import * as Flags from "./Flags.ts"
import * as Terminal from "./Terminal.ts"

/** The command. */
export const segment: Command.Command<
  "segment",
  never,
  unknown,
  Flags.UsageError | Storage.StorageError | TokenizerError,
  FileSystem.FileSystem
> = Command.make(
  "segment",
  {
    file: Argument.String("file").pipe(Argument.withDescription("a text file, or - for standard input")),
    eta: Flags.eta,
    tokenizer: Flags.tokenizer,
    packing: Flags.packing
  },
  Effect.fnUntraced(function* ({ file, eta, tokenizer, packing }) {
    const bytes = yield* Stream.runCollect(Storage.stream(file))
    const reasoning = yield* Effect.try({
      try: () => new TextDecoder("utf-8", { fatal: true }).decode(Storage.concat(bytes)),
      catch: () => Flags.usageError(`Cannot read ${file}: it is not UTF-8`)
    })
    const { count, additive, name } = yield* Effect.provide(Tokenizer, Flags.tokenizerOf(tokenizer))
    const segments = Segmenter.segment(reasoning, { eta, count, additive, packing })
    if (segments.length === 0) yield* Console.log("The text is empty: it has no segments.")
    for (const [i, { text, tokens, rank }] of segments.entries()) {
      const end = i === segments.length - 1 ? "ends with the text" : `cut at a ${nameOf(rank)}`
      yield* Console.log(`──── segment ${i + 1} of ${segments.length} · ${tokens} tokens (${name}) · ${end} ────`)
      const shown = text.trimEnd()
      yield* Console.log(process.stdout.isTTY ? Terminal.printable(shown) : shown)
    }
  })
).pipe(Command.withDescription("Show how a text is cut into segments"))

const nameOf = (wanted: Boundary.Rank): string => Object.entries(Boundary.rank).find(([, rank]) => rank === wanted)![0]
