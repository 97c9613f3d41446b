/**
 * Progress on standard error: one live line on a terminal, and plain lines now and then elsewhere.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import process from "node:process"

/** Shows a line as long as the scope is open; the last thing it shows is the line at the end. */
export const show = (line: () => string): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const live = process.stderr.isTTY === true
    const write = Effect.sync(() => process.stderr.write(live ? `\r\x1b[2K${line()}` : `${line()}\n`))
    yield* Effect.addFinalizer(() => Effect.andThen(write, Effect.sync(() => live && process.stderr.write("\n"))))
    yield* write.pipe(
      Effect.delay(live ? "100 millis" : "10 seconds"),
      Effect.repeat(Schedule.forever),
      Effect.forkScoped
    )
  })
