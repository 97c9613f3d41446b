/**
 * Rows of training data, generated from iterations in every dialect.
 *
 * @module
 */
import fc from "fast-check"
import * as Dialect from "../../lib/core/Dialect.ts"
import type { Iteration } from "../../lib/core/Iteration.ts"
import type { Message, Question } from "../../lib/core/Sample.ts"
import type { Row } from "../../lib/Reconstruction.ts"
import { reasoning, sentence } from "./text.ts"

/** A row, and the dialect it is written in. */
export interface Written {
  readonly dialect: Dialect.Dialect
  readonly row: Row
}

/** The row of an iteration, of a trajectory of three. */
export const rowOf = (dialect: Dialect.Dialect, iteration: Iteration): Row => ({
  sample: "a",
  index: iteration.index,
  count: 3,
  ...Dialect.instance(dialect, iteration),
  question: Dialect.conversation(iteration.question),
  history: iteration.history ?? null,
  tokens: { prompt: 1, target: 2, reasoning: 1 },
  dialect: dialect.name,
  eta: 4096,
  gamma: 1024,
  tokenizer: "words",
  model: "test",
  summaries: "recurrent-1",
  replaced: 0,
  reference: "42"
})

/** The three rows of one sample: they begin, go on and conclude. */
export const threeRows = (dialect: Dialect.Dialect, question: Question = "What is 6 × 7?"): ReadonlyArray<Row> => [
  rowOf(dialect, { question, index: 1, output: { reasoning: "Add.", ending: { _tag: "Summary", text: "* sums" } } }),
  rowOf(dialect, {
    question,
    history: "* sums",
    index: 2,
    output: { reasoning: "6 sevens.\n\nSo 42.", ending: { _tag: "Summary", text: "* 42" } }
  }),
  rowOf(dialect, {
    question,
    history: "* 42",
    index: 3,
    output: { reasoning: "Check.", ending: { _tag: "Conclusion", text: "\n\nIt is 42." } }
  })
]

/** Conversations that end with the user, most of them with turns that alternate. */
export const question: fc.Arbitrary<Question> = fc.oneof(
  { weight: 2, arbitrary: sentence },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.option(sentence), fc.array(fc.tuple(sentence, sentence), { maxLength: 2 }), sentence).map(
      ([system, rounds, last]): ReadonlyArray<Message> => [
        ...system === null ? [] : [{ role: "system", content: system } as const],
        ...rounds.flatMap(([asked, answered]) => [
          { role: "user", content: asked } as const,
          { role: "assistant", content: answered } as const
        ]),
        { role: "user", content: last }
      ]
    )
  }
)

/** Rows without tags in their text, as they are after screening. */
export const written = (...dialects: ReadonlyArray<Dialect.Dialect>): fc.Arbitrary<Written> =>
  fc.record({
    dialect: fc.constantFrom(...dialects),
    question,
    history: fc.option(reasoning),
    reasoning,
    concludes: fc.boolean(),
    ending: fc.tuple(fc.constantFrom("", "\n\n", "\n"), sentence, reasoning).map((parts) => parts.join(""))
  }).map(({ dialect, question, history, reasoning, concludes, ending }): Written => {
    const clean = (text: string): string => Dialect.screen(dialect, text, "replace").text.replace(/[\r\n]+$/, "")
    return {
      dialect,
      row: rowOf(dialect, {
        question,
        ...history !== null && { history: clean(history) },
        index: history === null ? 1 : 2,
        output: {
          reasoning: clean(reasoning),
          ending: { _tag: concludes ? "Conclusion" : "Summary", text: clean(ending) }
        }
      })
    }
  })
