/**
 * Long reasonings from a seed, for tests and benchmarks: the same seed gives the same text everywhere.
 *
 * @module
 */

/** A source of numbers from 0 to below 1 that depends on nothing but its seed (mulberry32). */
export const makeRandom = (seed: number): () => number => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Writes reasoning of at least so many UTF-16 code units: sentences, formulas and lists in paragraphs. */
export const reasoningOf = (random: () => number, length: number): string => {
  const pick = <A>(items: ReadonlyArray<A>): A => items[Math.floor(random() * items.length)]!
  const parts: Array<string> = []
  for (let written = 0; written < length;) {
    const sentences = Array.from({ length: 1 + Math.floor(random() * 6) }, () => {
      const words = Array.from({ length: 3 + Math.floor(random() * 14) }, () => pick(WORDS))
      return `${words.join(" ")}${pick([".", ".", ".", ",", ":", "?", "!"])}`
    })
    const number = Math.floor(random() * 1000)
    const paragraph = pick([
      () => sentences.join(" "),
      () => `${sentences[0]} $x_{${number}} = ${number * 7} + y^2$. ${sentences.slice(1).join(" ")}`,
      () => sentences.map((sentence) => `- ${sentence}`).join("\n"),
      () => `\\[ \\sum_{i=1}^{${number}} i = ${number * (number + 1) / 2} \\]`,
      () => `Wait, ${sentences.join(" ")}`
    ])()
    parts.push(paragraph)
    written += paragraph.length + 2
  }
  return parts.join("\n\n")
}

/** Renders a record as a line of JSON: its question, reasoning and conclusion, with a number for its id. */
export const lineOf = (random: () => number, id: number, length: number): string =>
  JSON.stringify({
    id: `trace-${id}`,
    question: `Question ${id}: ${reasoningOf(random, 80)}`,
    reasoning: reasoningOf(random, length),
    conclusion: `\n\nThe answer is \\boxed{${Math.floor(random() * 1e6)}}.`
  })

const WORDS = [
  ...["the", "so", "we", "have", "that", "is", "of", "to", "and", "if", "then", "let", "since", "because", "which"],
  ...["number", "sum", "prime", "equation", "value", "case", "even", "odd", "divides", "product", "triangle", "angle"],
  ...["check", "suppose", "therefore", "maybe", "again", "another", "approach", "modulo", "remainder", "bound", "I"],
  ...["f(x)", "n+1", "2k", "(a, b)", "x²", "√2", "≤", "3.14", "1,024", "hmm", "should", "verify", "first", "second"]
]
