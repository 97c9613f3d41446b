/**
 * What a model costs, where its price is known.
 *
 * Prices are given, and never looked up by a model's name: the tables that packages carry are wrong or out of date for
 * most models, and a wrong price before spending is worse than none.
 *
 * @module
 */

/** The price of a model, in US dollars for a million tokens. */
export interface Price {
  /** Tokens read. */
  readonly input: number
  /** Tokens read that the server had cached; those of `input` by default. */
  readonly cachedInput?: number
  /** Tokens written. */
  readonly output: number
}

/** Tokens that are paid for. */
export interface Usage {
  /** The tokens read. */
  readonly inputTokens: number
  /** Of the tokens read, those the server had cached; none by default. */
  readonly cachedTokens?: number
  /** The tokens written. */
  readonly outputTokens: number
}

/** Tells what tokens cost, in US dollars. */
export const cost = (
  { input, cachedInput = input, output }: Price,
  { inputTokens, cachedTokens = 0, outputTokens }: Usage
): number => {
  const cached = Math.min(cachedTokens, inputTokens)
  return ((inputTokens - cached) * input + cached * cachedInput + outputTokens * output) / 1e6
}

/** Renders US dollars for a person: cents, or, below one cent, two digits; what is not known is `unknown`, and never 0. */
export const render = (dollars: number | undefined): string => {
  if (dollars === undefined) return "unknown"
  const digits = dollars > 0 && dollars < 0.01
    ? { maximumSignificantDigits: 2 }
    : { minimumFractionDigits: 2, maximumFractionDigits: 2 }
  return `${dollars.toLocaleString("en-US", digits)} USD`
}
