/**
 * Training formats: rows of training data in the columns that a trainer reads.
 *
 * | format              | read by                                       | learned                                           |
 * | ------------------- | --------------------------------------------- | ------------------------------------------------- |
 * | `rows`              | programs of one's own; all columns            | `target`                                          |
 * | `prompt-completion` | TRL                                           | `completion`                                      |
 * | `input-target`      | the public InftyThink scripts                 | `target`                                          |
 * | `messages`          | TRL, axolotl, open-instruct, verl (multiturn) | the assistant's turns                             |
 * | `reasoning-content` | the same, through templates that know the key | the assistant's turns                             |
 * | `swift`             | ms-swift                                      | the last turn                                     |
 * | `alpaca`            | LLaMA-Factory                                 | `output`, and `history` but with `mask_history`   |
 * | `sharegpt`          | LLaMA-Factory                                 | `gpt`, and earlier ones but with `mask_history`   |
 * | `verl`              | verl, supervised                              | `response`                                        |
 * | `verl-rl`           | verl, reinforcement; one row for each sample  | what is rewarded                                  |
 *
 * One iteration is one row of one turn; a trajectory is never a conversation, because templates drop the reasoning of
 * earlier turns. The history is read and not to be learned. Where it begins the assistant's turn, as in `v1` and `plus`,
 * only the flat formats `rows`, `prompt-completion` and `input-target` mask it: no other trainer is documented to mask
 * the beginning of a turn and to render it joined to the rest (ms-swift joins neighbouring turns, but gives them the
 * `loss` of the first; axolotl's `train_detail` needs its own configuration). In the user's turn, as in `chat`, nobody
 * learns it.
 *
 * All but `rows` and `verl-rl` keep the columns `sample`, `index` and `count` to find the row by; no trainer here reads
 * or minds them. `ChatTemplate.check` tells what a model's template makes of a format.
 *
 * @module
 */
import * as Result from "effect/Result"
import type { Dialect } from "./core/Dialect.ts"
import * as Rejection from "./core/Rejection.ts"
import type { Message } from "./core/Sample.ts"
import * as Sections from "./core/Sections.ts"
import type { Row } from "./Reconstruction.ts"

/** What a training format is called. */
export type Name =
  | "rows"
  | "prompt-completion"
  | "input-target"
  | "messages"
  | "reasoning-content"
  | "swift"
  | "alpaca"
  | "sharegpt"
  | "verl"
  | "verl-rl"

/** How to write rows. */
export interface Options {
  /** The dialect the rows are written in. */
  readonly dialect: Dialect
  /** `verl-rl`: by which verl picks the reward function; `inftythink` by default, for which one brings one's own. */
  readonly dataSource?: string
  /** `verl-rl`: what is asked for; `math` by default. */
  readonly ability?: string
  /** `verl-rl`: which part of the data this is; `train` by default. */
  readonly split?: string
}

/** Writes a row in a training format: as one row, as none, or as the reason why it cannot be written. */
export type Format = (row: Row) => ReadonlyArray<Result.Result<object, Rejection.Rejection>>

/** A message of a training conversation, whose reasoning may stand apart. */
export interface Turn extends Message {
  readonly reasoning_content?: string
}

/**
 * Makes the function that writes rows in a training format.
 *
 * Throws a RangeError where the format cannot hold what the dialect writes: `reasoning-content` has no place for a
 * history before the reasoning, and `verl` none for instructions.
 */
export const make = (
  name: Name,
  { dialect, dataSource = "inftythink", ability = "math", split = "train" }: Options
): Format => formats[name]({ dialect, dataSource, ability, split })

/** Builds the conversation of a row, with the history and the reasoning inside the assistant's turn. */
export const conversation = ({ messages, prefix, target }: Row): ReadonlyArray<Turn> => [
  ...messages,
  { role: "assistant", content: prefix + target }
]

/**
 * Builds the conversation of a row with the reasoning beside the assistant's turn, as `reasoning_content`.
 *
 * Throws a RangeError where the row has a history in the assistant's turn, or was written in another dialect.
 */
export const splitConversation = (dialect: Dialect, { messages, prefix, target, sample }: Row): ReadonlyArray<Turn> => {
  const section = dialect.sections.find(({ name }) => name === "reasoning")
  const [first] = Sections.parse(dialect, target)
  const written = section === undefined || first === undefined ? "" : Sections.render(section, first.text)
  if (prefix !== "" || first?.section !== "reasoning" || !target.startsWith(written)) {
    const begins = Rejection.quote(prefix + target, 40)
    throw new RangeError(`Cannot split the reasoning off ${sample}: the assistant's turn begins with ${begins}`)
  }
  const content = target.slice(written.length)
  return [...messages, { role: "assistant", reasoning_content: first.text, content }]
}

/**
 * Builds what LLaMA-Factory's `dataset_info.json` must say of a file, as an object of one entry, which is called as the
 * file is without its ending.
 */
export const datasetInfo = (name: "alpaca" | "sharegpt", fileName: string): Readonly<Record<string, object>> => ({
  [fileName.replace(/^.*[/\\]/, "").replace(/\..*$/, "")]: { file_name: fileName, ...layouts[name] }
})

const layouts = {
  alpaca: {
    formatting: "alpaca",
    columns: { prompt: "instruction", query: "input", response: "output", system: "system", history: "history" }
  },
  sharegpt: {
    formatting: "sharegpt",
    columns: { messages: "conversations", system: "system" },
    tags: { role_tag: "from", content_tag: "value", user_tag: "human", assistant_tag: "gpt" }
  }
} as const

const formats: Readonly<Record<Name, (options: Required<Options>) => Format>> = {
  "rows": () => (row) => [Result.succeed(row)],
  "prompt-completion": () => (row) => one(row, { prompt: row.prompt, completion: row.target }),
  "input-target": () => (row) => one(row, { input: row.prompt, target: row.target }),
  "messages": () => (row) => one(row, { messages: conversation(row) }),
  "reasoning-content": ({ dialect }) => {
    if (dialect.place === "assistant") {
      const reason = "its history begins the assistant's turn, and reasoning_content leaves no room before the " +
        "reasoning; the dialect chat can"
      throw new RangeError(`Cannot write reasoning-content in dialect ${dialect.name}: ${reason}`)
    }
    return (row) => one(row, { messages: splitConversation(dialect, row) })
  },
  "swift": () => (row) => {
    const turns = conversation(row)
    // ms-swift learns every turn of the assistant, those that the question brings along too.
    const messages = turns.map((turn, i) =>
      turn.role === "assistant" ? { ...turn, loss: i === turns.length - 1 } : turn
    )
    return one(row, { messages })
  },
  "alpaca": () => (row) => {
    const asked = rounds(row.messages)
    if (asked === undefined) return [unfit("alpaca", row)]
    const { system, earlier, last } = asked
    return one(row, { instruction: last, input: "", output: row.prefix + row.target, system, history: earlier })
  },
  "sharegpt": () => (row) => {
    const asked = rounds(row.messages)
    if (asked === undefined) return [unfit("sharegpt", row)]
    const conversations = conversation(row).filter(({ role }) => role !== "system").map(({ role, content }) => ({
      from: role === "user" ? "human" : "gpt",
      value: content
    }))
    return one(row, { conversations, system: asked.system })
  },
  "verl": ({ dialect }) => {
    if (dialect.instructions !== undefined) {
      const reason = "its instructions are a system turn, and verl puts the prompt into a user's turn"
      throw new RangeError(`Cannot write verl in dialect ${dialect.name}: ${reason}`)
    }
    // verl puts the prompt through the model's template itself, so that a flat one would be templated twice.
    return (row) => {
      const [asked, ...others] = row.messages
      if (asked?.role !== "user" || others.length > 0) return [unfit("verl", row)]
      return one(row, { prompt: asked.content, response: row.prefix + row.target })
    }
  },
  "verl-rl": ({ dataSource, ability, split }) => (row) => {
    if (row.index > 1) return []
    if (row.reference === null) {
      return [Result.fail(Rejection.make("no-reference", "The sample has no reference to reward", { id: row.sample }))]
    }
    return [Result.succeed({
      data_source: dataSource,
      prompt: row.messages,
      ability,
      reward_model: { style: "rule", ground_truth: row.reference },
      extra_info: { split, index: row.sample, count: row.count, dialect: row.dialect }
    })]
  }
}

/** The names of the formats. */
// SAFETY: the keys of a record of all names are the names.
export const names: ReadonlyArray<Name> = Object.keys(formats) as ReadonlyArray<Name>

const one = ({ sample, index, count }: Row, columns: object): ReadonlyArray<Result.Result<object>> => [
  Result.succeed({ ...columns, sample, index, count })
]

const unfit = (name: Name, { sample, messages }: Row): Result.Result<never, Rejection.Rejection> => {
  const roles = messages.map(({ role }) => role).join(", ")
  return Result.fail(Rejection.make("unknown-shape", `The format ${name} has no place for ${roles}`, { id: sample }))
}

interface Rounds {
  readonly system: string
  /** Earlier questions and their answers. */
  readonly earlier: ReadonlyArray<readonly [string, string]>
  readonly last: string
}

/** Takes a conversation apart in which user and assistant take turns, behind at most one system message. */
const rounds = (messages: ReadonlyArray<Message>): Rounds | undefined => {
  const system = messages[0]?.role === "system" ? messages[0].content : ""
  const turns = messages[0]?.role === "system" ? messages.slice(1) : messages
  const alternate = turns.every(({ role }, i) => role === (i % 2 === 0 ? "user" : "assistant"))
  if (!alternate || turns.length % 2 === 0) return undefined
  const earlier: Array<readonly [string, string]> = []
  for (let i = 0; i + 1 < turns.length; i += 2) earlier.push([turns[i]!.content, turns[i + 1]!.content])
  return { system, earlier, last: turns.at(-1)!.content }
}
