/**
 * Models, summarizers and tokenizers that tests provide.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Source } from "../../lib/core/Summary.ts"
import * as Summarizer from "../../lib/Summarizer.ts"
import * as TextModel from "../../lib/TextModel.ts"
import { Tokenizer } from "../../lib/Tokenizer.ts"

/** Counts words: runs of anything but white space. */
export const wordTokenizer: Layer.Layer<Tokenizer> = Layer.succeed(Tokenizer, {
  name: "words",
  count: (text) => text.match(/\S+/g)?.length ?? 0,
  additive: true
})

/** A summarizer that is a function of its source. */
export const summarizerOf = (
  write: (source: Source) => string | Effect.Effect<string, TextModel.ModelError>
): Layer.Layer<Summarizer.Summarizer> =>
  Layer.succeed(Summarizer.Summarizer, {
    name: "test",
    write: (source) => {
      const written = write(source)
      return Effect.map(
        typeof written === "string" ? Effect.succeed(written) : written,
        (text) => ({ text, finished: true })
      )
    }
  })

/** A model that answers requests in turn, the last answer again and again, and remembers what it was asked. */
export const scripted = (
  ...replies: ReadonlyArray<TextModel.Reply>
): { readonly layer: Layer.Layer<TextModel.TextModel>; readonly requests: Array<TextModel.Request> } => {
  const requests: Array<TextModel.Request> = []
  const layer = TextModel.layerScripted((request, index) => {
    requests.push(request)
    return replies[Math.min(index, replies.length - 1)]!
  })
  return { layer, requests }
}

/** A text that was cut off. */
export const cutOff = (text: string): TextModel.Reply => [
  { _tag: "Text", text },
  { _tag: "Finish", reason: "length" }
]

/** An error of the server. */
export const modelError = (reason: TextModel.ModelError["reason"]): TextModel.ModelError =>
  new TextModel.ModelError({ reason, message: `Cannot complete a request: ${reason}` })
