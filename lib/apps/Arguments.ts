/**
 * The arguments of the command line, as a run writes them down to be run again.
 *
 * @module
 */
import * as Context from "effect/Context"

/** The arguments, the name of the command left out. */
export const Arguments: Context.Reference<ReadonlyArray<string>> = Context.Reference<ReadonlyArray<string>>(
  "inftythink/Arguments",
  {
    defaultValue: () => []
  }
)
