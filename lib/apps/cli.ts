/**
 * The command line of `inftythink`.
 *
 * @module
 */
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import { Arguments } from "./Arguments.ts"
import { plan } from "./plan.ts"
import { reason } from "./reason.ts"
import { reconstruct } from "./reconstruct.ts"
import { retry } from "./retry.ts"
import { segment } from "./segment.ts"
import { status } from "./status.ts"
import { version } from "./Version.ts"

/** Runs a command line; what goes wrong is said on standard error, and fails. */
export const run = (args: ReadonlyArray<string>): Effect.Effect<void, unknown, Command.Environment> =>
  Effect.catch(
    Command.runWith(inftythink, { version })(args).pipe(
      Effect.provideService(Arguments, args),
      Effect.provideService(CliOutput.Presenter, presenter)
    ),
    (error): Effect.Effect<never, unknown> =>
      CliError.isCliError(error) ? Effect.fail(error) : Effect.andThen(
        Console.error(`inftythink: ${error.message}`),
        Effect.fail({ [Runtime.errorReported]: false, [Runtime.errorExitCode]: INCOMPLETE.has(error._tag) ? 2 : 1 })
      )
  )

/** Says what is wrong with a command line on standard error: standard output may be a file of rows. */
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag !== "InvalidInvocation" ? CliOutput.defaultPresenter.present(event) : Console.error(
      [
        ...event.errors.map(({ message }) => `inftythink: ${message}`),
        `${event.commandPath.join(" ")} --help shows all arguments and options`
      ].join("\n")
    )
}

/** What is no failure, and no success either. */
const INCOMPLETE: ReadonlySet<string> = new Set(["NotConcluded", "Incomplete"])

const inftythink = Command.make("inftythink").pipe(
  Command.withDescription("Reasoning without a context limit: training data and live reasoning in bounded iterations"),
  Command.withSubcommands([plan, reconstruct, status, retry, reason, segment])
)
