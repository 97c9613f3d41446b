/**
 * A live line at the bottom of a terminal, while text scrolls above it.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import process from "node:process"

/**
 * Shows a line at the bottom as long as the scope is open: the terminal scrolls in the rows above it. Does nothing where
 * standard error is no terminal.
 */
export const show = (line: () => string): Effect.Effect<void, never, Scope.Scope> =>
  process.stderr.isTTY !== true || !(process.stderr.rows > 2) ? Effect.void : Effect.gen(function* () {
    const { stderr } = process
    const write = (text: string): Effect.Effect<void> => Effect.sync(() => stderr.write(text))
    let rows = 0
    const draw = Effect.suspend(() => {
      // A terminal that was resized has to be told anew which rows scroll; that moves the cursor, which is put back.
      const region = rows === stderr.rows ? "" : `\x1b[1;${stderr.rows - 1}r`
      rows = stderr.rows
      return write(`\x1b7${region}\x1b[${rows};1H\x1b[2K${line().slice(0, stderr.columns - 1)}\x1b8`)
    })
    // One line is scrolled in, so that the last row is free.
    yield* write("\n\x1b[1A")
    yield* Effect.addFinalizer(() => Effect.suspend(() => write(`\x1b7\x1b[r\x1b[${rows};1H\x1b[2K\x1b8`)))
    yield* draw.pipe(Effect.repeat(Schedule.spaced("100 millis")), Effect.forkScoped)
  })
