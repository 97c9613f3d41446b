/**
 * The thread of `Segments`.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import { readFile } from "node:fs/promises"
import type { Tokenizer } from "../Tokenizer.ts"
import * as GptTokenizer from "./GptTokenizer.ts"
import * as HuggingFaceTokenizer from "./HuggingFaceTokenizer.ts"
import * as Segments from "./Segments.ts"
import * as Workers from "./Workers.ts"

const load = async (name: string): Promise<Tokenizer> => {
  const encoding = GptTokenizer.encodings.find((encoding) => encoding === name)
  return encoding === undefined
    ? Effect.runPromise(HuggingFaceTokenizer.parse(await readFile(name, "utf8"), name))
    : GptTokenizer.load(encoding)
}

Workers.answer(async ({ tokenizer, options }: Segments.Work) => Segments.makeReader(options, await load(tokenizer)))
