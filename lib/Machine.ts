/**
 * Runs a push machine, such as a segmenter or a parser, on a stream, an iterable, or a web stream.
 *
 * @module
 */
import * as Arr from "effect/Array"
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
    onArrays(self, make, ({ feed }) => (inputs) => inputs.length === 1 ? feed(inputs[0]) : feedAll(feed, inputs))

/**
 * Runs a machine that reads text on a stream, as `stream` does, but what comes in one array is read as one text: for
 * machines to which it is the same where text is cut, as it is to all of this library.
 */
export const textStream =
  <Out>(make: () => Machine<string, Out>) => <E, R>(self: Stream.Stream<string, E, R>): Stream.Stream<Out, E, R> =>
    onArrays(self, make, ({ feed }) => (texts) => {
      let text = ""
      for (const part of texts) text += part
      return feed(text)
    })

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

/** Runs a machine on a stream, array by array. */
const onArrays = <In, Out, E, R>(
  self: Stream.Stream<In, E, R>,
  make: () => Machine<In, Out>,
  reader: (machine: Machine<In, Out>) => (inputs: Arr.NonEmptyReadonlyArray<In>) => ReadonlyArray<Out>
): Stream.Stream<Out, E, R> =>
  Stream.transformPull(self, (pull) =>
    Effect.sync(() => {
      const machine = make()
      const read = reader(machine)
      let ended = false
      // Made once for all arrays: an effect for each of them costs as much again as the machine.
      const step: Pull.Pull<Arr.NonEmptyReadonlyArray<Out>, E, void, R> = Effect.matchCauseEffect(pull, {
        onSuccess: (inputs) => {
          const outputs = read(inputs)
          return Arr.isReadonlyArrayNonEmpty(outputs) ? Effect.succeed(outputs) : step
        },
        onFailure: (cause) => {
          if (!Pull.isDoneCause(cause)) return Effect.failCause(cause)
          ended = true
          const outputs = machine.end()
          return Arr.isReadonlyArrayNonEmpty(outputs) ? Effect.succeed(outputs) : Cause.done()
        }
      })
      return Effect.suspend(() => ended ? Cause.done() : step)
    }))

/** Feeds a machine input by input; in a loop, since `flatMap` takes longer than most machines. */
const feedAll = <In, Out>(feed: Machine<In, Out>["feed"], inputs: ReadonlyArray<In>): ReadonlyArray<Out> => {
  const outputs: Array<Out> = []
  for (const input of inputs) for (const output of feed(input)) outputs.push(output)
  return outputs
}
