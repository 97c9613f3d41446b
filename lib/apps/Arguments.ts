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

/** The arguments as they are written down: an address is without its query, which may hold a key. */
export const withoutQueries = (args: ReadonlyArray<string>): ReadonlyArray<string> =>
  args.map((arg) => arg.replace(QUERY, `$1?${WITHHELD}`))

/** The argument of which something was not written down, if there is one: it cannot be run again. */
export const incomplete = (args: ReadonlyArray<string>): string | undefined =>
  args.find((arg) => arg.includes(`?${WITHHELD}`))

const WITHHELD = "…"

/** The query of an address that is an argument, or the value of an option; a share of the load may be behind it. */
const QUERY = /^((?:--[a-z-]+=)?https?:\/\/[^?#]*)\?[^#]*/i
