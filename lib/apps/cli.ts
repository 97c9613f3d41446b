/**
 * The command line of `inftythink`.
 *
 * @module
 */
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import { reason } from "./reason.ts"
import { reconstruct } from "./reconstruct.ts"
import { segment } from "./segment.ts"

/** Runs a command line; what goes wrong is said on standard error, and fails. */
export const run = (args: ReadonlyArray<string>): Effect.Effect<void, unknown, Command.Environment> =>
  Effect.catch(
    Command.runWith(inftythink, { version: VERSION })(args),
    (error): Effect.Effect<never, unknown> =>
      CliError.isCliError(error) ? Effect.fail(error) : Effect.andThen(
        Console.error(`inftythink: ${error.message}`),
        Effect.fail({ [Runtime.errorReported]: false, [Runtime.errorExitCode]: error._tag === "NotConcluded" ? 2 : 1 })
      )
  )

const inftythink = Command.make("inftythink").pipe(
  Command.withDescription("Reasoning without a context limit: training data and live reasoning in bounded iterations"),
  Command.withSubcommands([reconstruct, reason, segment])
)

const VERSION = "0.1.0"
