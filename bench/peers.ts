/**
 * What the benchmarks use of other packages, which `bench/package.json` and the project's own name.
 *
 * They are loaded by names that no type checker follows, so that the project checks where they are not installed.
 *
 * @module
 */
import { readFileSync } from "node:fs"
import { findPackageJSON } from "node:module"

/** Loads a package, as what is used of it; undefined where it is not installed. */
export const load = async <A>(name: string): Promise<A | undefined> => {
  try {
    return await import(name)
  } catch (error) {
    console.log(
      `  (without ${name}: ${error instanceof Error ? error.message.split("\n", 1)[0] : error})`
    )
    return undefined
  }
}

/** A package's name with its version. */
export const named = (name: string): string => {
  const file = findPackageJSON(name, import.meta.url)
  return file === undefined ? name : `${name} ${JSON.parse(readFileSync(file, "utf8")).version}`
}

/** The package `ai`: its middleware that takes reasoning out of a text. */
export interface Ai {
  readonly extractReasoningMiddleware: (
    options: { readonly tagName: string; readonly separator?: string }
  ) => { readonly wrapStream: (options: unknown) => Promise<unknown> }
}

/** The package `htmlparser2`. */
export interface HtmlParser {
  readonly Parser: new (listener: {
    readonly onopentag: () => void
    readonly ontext: (text: string) => void
    readonly onclosetag: () => void
  }) => { readonly write: (text: string) => void; readonly end: () => void }
}

/** The package `saxes`. */
export interface Saxes {
  readonly SaxesParser: new (options: { readonly fragment: boolean }) => {
    readonly on: (
      name: "opentag" | "text" | "closetag" | "error",
      listener: (event: unknown) => void
    ) => void
    readonly write: (text: string) => unknown
    readonly close: () => unknown
  }
}

/** The package `eventsource-parser`. */
export interface EventSource {
  readonly createParser: (
    options: { readonly onEvent: (event: { readonly data: string }) => void }
  ) => {
    readonly feed: (chunk: string) => void
  }
}

/** The package `openai`. */
export interface OpenAi {
  readonly OpenAI: new (
    options: {
      readonly apiKey: string
      readonly baseURL: string
      readonly fetch: unknown
    }
  ) => {
    readonly chat: {
      readonly completions: {
        readonly create: (body: unknown) => Promise<AsyncIterable<unknown>>
      }
    }
  }
}

/** The package `@langchain/textsplitters`. */
export interface LangChain {
  readonly RecursiveCharacterTextSplitter: new (options: {
    readonly chunkSize: number
    readonly chunkOverlap: number
    readonly lengthFunction: (text: string) => number
  }) => { readonly splitText: (text: string) => Promise<Array<string>> }
}

/** The package `@llamaindex/core`. */
export interface LlamaIndex {
  readonly SentenceSplitter: new (
    options: LlamaIndexOptions
  ) => { readonly splitText: (text: string) => Array<string> }
  readonly TokenTextSplitter: new (
    options: LlamaIndexOptions
  ) => { readonly splitText: (text: string) => Array<string> }
}

interface LlamaIndexOptions {
  readonly chunkSize: number
  readonly chunkOverlap: number
  readonly tokenizer: {
    readonly encode: (text: string) => unknown
    readonly decode: (tokens: Uint32Array) => string
  }
}

/** The package `@chonkiejs/core`. */
export interface Chonkie {
  readonly RecursiveChunker: ChonkieMaker
  readonly SentenceChunker: ChonkieMaker
}

interface ChonkieMaker {
  readonly create: (options: unknown) => Promise<{
    readonly chunk: (text: string) => Promise<Array<{ readonly text: string }>>
  }>
}

/** The package `llm-splitter`. */
export interface LlmSplitter {
  readonly split: (text: string, options: {
    readonly chunkSize: number
    readonly chunkStrategy: "paragraph"
    readonly splitter: (text: string) => Array<string>
  }) => Array<{ readonly text: string }>
}
