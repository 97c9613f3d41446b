/**
 * Runs a push machine, such as a segmenter or a parser, on a stream, an iterable, or a web stream.
 *
 * @module
 */
import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"

/** Reads input as it arrives, and gives what is complete. */
export interface Machine<In, Out> {
  /** Reads more input. */
  readonly feed: (input: In) => ReadonlyArray<Out>
  /** Ends the input, and gives what is left. */
  readonly end: () => ReadonlyArray<Out>
}

/**
 * Runs a machine on a stream: one array of output for each array of input that gives any.
 *
 * A stream that fails does not end the machine, so what is incomplete is never taken for the last of it.
 */
export const stream =
  <In, Out>(make: () => Machine<In, Out>) => <E, R>(self: Stream.Stream<In, E, R>): Stream.Stream<Out, E, R> =>
    Stream.transformPull(self, (pull) =>
      Effect.sync(() => {
        const machine = make()
        let ended = false
        return Effect.gen(function* () {
          for (;;) {
            if (ended) return yield* Cause.done()
            const inputs = yield* Pull.catchDone(pull, () => Effect.succeed(undefined))
            ended = inputs === undefined
            const outputs = inputs === undefined ? machine.end() : inputs.flatMap((input) => machine.feed(input))
            if (Array.isReadonlyArrayNonEmpty(outputs)) return outputs
          }
        })
      }))

/** Runs a machine on an iterable. */
export function* iterate<In, Out>(make: () => Machine<In, Out>, inputs: Iterable<In>): Generator<Out, void, void> {
  const machine = make()
  for (const input of inputs) yield* machine.feed(input)
  yield* machine.end()
}

/** Runs a machine in a web stream, for `pipeThrough`. */
export const transformStream = <In, Out>(make: () => Machine<In, Out>): TransformStream<In, Out> => {
  const machine = make()
  return new TransformStream({
    transform: (input, controller) => machine.feed(input).forEach((output) => controller.enqueue(output)),
    flush: (controller) => machine.end().forEach((output) => controller.enqueue(output))
  })
}
