/**
 * `inftythink retry`: what failed in a run is asked again, and nothing else; where it was not done, it goes on.
 *
 * @module
 */
import * as Argument from "effect/cli/Argument"
import type * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import process from "node:process"
import * as Journal from "../adapters/Journal.ts"
import { Arguments, incomplete } from "./Arguments.ts"
import * as Flags from "./Flags.ts"
import { type Failure, reconstruct } from "./reconstruct.ts"
import { version } from "./Version.ts"

/** The command. */
export const retry: Command.Command<
  "retry",
  never,
  unknown,
  CliError.CliError | Failure,
  FileSystem.FileSystem | Command.Environment
> = Command.make(
  "retry",
  {
    journal: Argument.String("journal").pipe(Argument.withDescription("the journal of a run of reconstruct")),
    maxCost: Flags.maxCost,
    maxTokens: Flags.maxTokens
  },
  Effect.fnUntraced(function* ({ journal, maxCost, maxTokens }) {
    const { begin } = yield* Journal.inspect(journal)
    if (begin === undefined) return yield* Flags.usageError(`Cannot retry ${journal}: no run has used it yet`)
    if (begin.folder !== process.cwd()) {
      return yield* Flags.usageError(`Cannot retry ${journal} here: its run was in ${begin.folder}`)
    }
    const withheld = incomplete(begin.args)
    if (withheld !== undefined) {
      return yield* Flags.usageError(
        `Cannot retry ${journal}: it keeps no query of ${withheld}; run reconstruct itself again, with --overwrite`
      )
    }
    // Options of the program may stand before the command.
    const own = begin.args.slice(begin.args.indexOf("reconstruct"))
    // A run that came to its end has written what is to be replaced; any other goes on.
    const again = own.includes("--overwrite") ? own : [...own, "--overwrite"]
    const args = withLimit(withLimit(again, "--max-cost", maxCost), "--max-tokens", maxTokens)
    yield* Effect.provideService(Command.runWith(reconstruct, { version })(args.slice(1)), Arguments, args)
  })
).pipe(
  Command.withDescription("Ask again what failed in a run, or go on where it was stopped, and write its output anew")
)

/** Puts a limit, where one is given, behind the command, and takes the one away that was there. */
const withLimit = (
  args: ReadonlyArray<string>,
  flag: string,
  limit: Option.Option<number>
): ReadonlyArray<string> => {
  if (Option.isNone(limit)) return args
  const [command = "", ...rest] = args.filter((arg, i) =>
    arg !== flag && args[i - 1] !== flag && !arg.startsWith(`${flag}=`)
  )
  return [command, flag, String(limit.value), ...rest]
}
