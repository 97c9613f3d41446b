/**
 * What tests use of the package `ai`, for Deno: its type checker breaks on the package's own types.
 *
 * @module
 */
interface Usage {
  readonly inputTokens: number | undefined
  readonly outputTokens: number | undefined
  readonly totalTokens: number | undefined
}

interface Options {
  readonly model: unknown
  readonly prompt: string
  readonly abortSignal?: AbortSignal
  readonly onError?: () => void
}

export declare const generateText: (options: Options) => Promise<{
  readonly text: string
  readonly reasoningText: string | undefined
  readonly finishReason: string
  readonly usage: Usage
}>

export declare const streamText: (options: Options) => {
  readonly text: PromiseLike<string>
  readonly reasoningText: PromiseLike<string | undefined>
  readonly finishReason: PromiseLike<string>
  readonly usage: PromiseLike<Usage>
  readonly fullStream: AsyncIterable<{ readonly type: string }>
}
