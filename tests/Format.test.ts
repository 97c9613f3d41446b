import * as Result from "effect/Result"
import assert from "node:assert/strict"
import { test } from "node:test"
import * as Dialect from "../lib/core/Dialect.ts"
import * as Sections from "../lib/core/Sections.ts"
import * as Format from "../lib/Format.ts"
import type { Row } from "../lib/Reconstruction.ts"
import { threeRows, written } from "./support/rows.ts"
import { law } from "./support/text.ts"

const { v1, plus, chat } = Dialect

/** InftyThink+'s dialect with the history in the user's turn. */
const asked: Dialect.Dialect = { ...plus, name: "asked", place: "user" }

const write = (name: Format.Name, dialect: Dialect.Dialect, row: Row) => {
  const [result, ...others] = Format.make(name, { dialect })(row)
  assert.equal(others.length, 0)
  return result
}

/** The columns of a row that can be written. */
// deno-lint-ignore no-explicit-any
const columns = (name: Format.Name, dialect: Dialect.Dialect, row: Row): any => {
  const result = write(name, dialect, row)
  assert.ok(result !== undefined && Result.isSuccess(result), `${name} writes no row`)
  return result.success
}

const flat = { "prompt-completion": ["prompt", "completion"], "input-target": ["input", "target"] } as const

law(
  "flat: what is read is the prompt with the history, and what is learned is the target",
  written(v1, plus, chat),
  ({ dialect, row }) => {
    for (const [name, [read, learned]] of Object.entries(flat)) {
      const made = columns(name as Format.Name, dialect, row)
      assert.deepEqual([made[read], made[learned]], [row.prompt, row.target])
    }
    assert.equal(columns("rows", dialect, row), row)
  },
  50
)

law(
  "conversations: what stands before the last turn is the prompt, and that turn is the history and the target",
  written(v1, plus, chat),
  ({ dialect, row }) => {
    const { messages } = columns("messages", dialect, row)
    assert.deepEqual(messages.slice(0, -1), row.messages)
    assert.deepEqual(messages.at(-1), { role: "assistant", content: row.prefix + row.target })
    const swift = columns("swift", dialect, row).messages
    assert.deepEqual(swift.map(({ role, content }: { role: string; content: string }) => ({ role, content })), messages)
    const { conversations, system } = columns("sharegpt", dialect, row)
    const roles: Readonly<Record<string, string>> = { human: "user", gpt: "assistant" }
    assert.deepEqual([
      ...system === "" ? [] : [{ role: "system", content: system }],
      ...conversations.map(({ from, value }: { from: string; value: string }) => ({
        role: roles[from],
        content: value
      }))
    ], messages)
    const alpaca = columns("alpaca", dialect, row)
    assert.equal(alpaca.input, "")
    assert.equal(alpaca.system, system)
    assert.deepEqual(
      [...alpaca.history.flat(), alpaca.instruction, alpaca.output],
      conversations.map(({ value }: { value: string }) => value)
    )
  },
  100
)

law(
  "reasoning apart: put back between its tags before the content, it is the target",
  written(chat, asked),
  ({ dialect, row }) => {
    const { messages } = columns("reasoning-content", dialect, row)
    const { role, reasoning_content, content } = messages.at(-1)
    assert.equal(role, "assistant")
    assert.equal(Sections.render(dialect.sections[0]!, reasoning_content) + content, row.target)
    assert.deepEqual(Sections.parse(dialect, row.target)[0]!.text, reasoning_content)
    assert.deepEqual(messages.slice(0, -1), row.messages)
  },
  100
)

law(
  "provenance: rows that are trained on say where they come from, and hold no column that ms-swift takes for another",
  written(v1, plus),
  ({ dialect, row }) => {
    const expected: Partial<Record<Format.Name, ReadonlyArray<string>>> = {
      "prompt-completion": ["prompt", "completion"],
      "input-target": ["input", "target"],
      messages: ["messages"],
      swift: ["messages"],
      alpaca: ["instruction", "input", "output", "system", "history"],
      sharegpt: ["conversations", "system"]
    }
    for (const [name, own] of Object.entries(expected)) {
      const made = columns(name as Format.Name, dialect, row)
      assert.deepEqual(Object.keys(made), [...own, "sample", "index", "count"])
      assert.deepEqual([made.sample, made.index, made.count], [row.sample, row.index, row.count])
    }
  },
  20
)

test("names: each is a format", () => {
  assert.deepEqual([...Format.names].sort(), [
    "alpaca",
    "input-target",
    "messages",
    "prompt-completion",
    "reasoning-content",
    "rows",
    "sharegpt",
    "swift",
    "verl",
    "verl-rl"
  ])
})

const conversation: ReadonlyArray<{ readonly role: "system" | "user" | "assistant"; readonly content: string }> = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "6 + 7?" },
  { role: "assistant", content: "13" },
  { role: "user", content: "6 × 7?" }
]

test("alpaca: earlier turns are its history, and the summary stays in the output", () => {
  assert.deepEqual(columns("alpaca", v1, threeRows(v1, conversation)[2]!), {
    instruction: "6 × 7?",
    input: "",
    output: "<history>* 42</history><think>\nCheck.\n</think>\n\nIt is 42.",
    system: "Be brief.",
    history: [["6 + 7?", "13"]],
    sample: "a",
    index: 3,
    count: 3
  })
})

test("sharegpt: human and gpt take turns", () => {
  assert.deepEqual(columns("sharegpt", plus, threeRows(plus, conversation)[0]!), {
    conversations: [
      { from: "human", value: "6 + 7?" },
      { from: "gpt", value: "13" },
      { from: "human", value: "6 × 7?" },
      { from: "gpt", value: "<think>\nAdd.\n</think><summary>* sums</summary>" }
    ],
    system: "Be brief.",
    sample: "a",
    index: 1,
    count: 3
  })
})

test("swift: turns of the assistant that the question brings along are not learned", () => {
  const { messages } = columns("swift", v1, threeRows(v1, conversation)[0]!)
  assert.deepEqual(messages, [
    { role: "system", content: "Be brief." },
    { role: "user", content: "6 + 7?" },
    { role: "assistant", content: "13", loss: false },
    { role: "user", content: "6 × 7?" },
    { role: "assistant", content: "<think>\nAdd.\n</think>\n<summary>\n* sums\n</summary>", loss: true }
  ])
})

test("reasoning-content: summary and conclusion are the content, to the character", () => {
  const last = (row: Row) => columns("reasoning-content", chat, row).messages.at(-1)
  assert.deepEqual(threeRows(chat).map(last), [
    { role: "assistant", reasoning_content: "Add.", content: "\n<summary>\n* sums\n</summary>" },
    { role: "assistant", reasoning_content: "6 sevens.\n\nSo 42.", content: "\n<summary>\n* 42\n</summary>" },
    { role: "assistant", reasoning_content: "Check.", content: "\n\nIt is 42." }
  ])
})

test("verl: the prompt is what the user says, because verl puts it through the template itself", () => {
  assert.deepEqual(columns("verl", plus, threeRows(plus)[2]!), {
    prompt: "What is 6 × 7?",
    response: "<history>\n* 42\n</history><think>\nCheck.\n</think>\n\nIt is 42.",
    sample: "a",
    index: 3,
    count: 3
  })
  const { prompt, response } = columns("verl", asked, threeRows(asked)[2]!)
  assert.equal(prompt, "What is 6 × 7?\n\n<history>\n* 42\n</history>")
  assert.equal(response, "<think>\nCheck.\n</think>\n\nIt is 42.")
})

test("verl-rl: a sample is one row, with its reference to be rewarded", () => {
  const format = Format.make("verl-rl", { dialect: plus, dataSource: "d", ability: "algebra", split: "test" })
  assert.deepEqual(threeRows(plus).flatMap(format), [
    Result.succeed({
      data_source: "d",
      prompt: [{ role: "user", content: "What is 6 × 7?" }],
      ability: "algebra",
      reward_model: { style: "rule", ground_truth: "42" },
      extra_info: { split: "test", index: "a", count: 3, dialect: "plus" }
    })
  ])
  const { data_source, ability, extra_info } = columns("verl-rl", v1, threeRows(v1)[0]!)
  assert.deepEqual([data_source, ability, extra_info.split], ["inftythink", "math", "train"])
})

test("verl-rl: a sample without a reference is rejected, once", () => {
  const format = Format.make("verl-rl", { dialect: plus })
  assert.deepEqual(threeRows(plus).flatMap((row) => format({ ...row, reference: null })), [
    Result.fail({
      _tag: "Rejection",
      reason: "no-reference",
      detail: "The sample has no reference to reward",
      id: "a"
    })
  ])
})

test("datasetInfo: what LLaMA-Factory is told of a file", () => {
  assert.deepEqual(Format.datasetInfo("alpaca", "data/infty.think.jsonl"), {
    infty: {
      file_name: "data/infty.think.jsonl",
      formatting: "alpaca",
      columns: { prompt: "instruction", query: "input", response: "output", system: "system", history: "history" }
    }
  })
  assert.deepEqual(Format.datasetInfo("sharegpt", "rows.jsonl"), {
    rows: {
      file_name: "rows.jsonl",
      formatting: "sharegpt",
      columns: { messages: "conversations", system: "system" },
      tags: { role_tag: "from", content_tag: "value", user_tag: "human", assistant_tag: "gpt" }
    }
  })
})

test("datasetInfo: it names the columns that the format writes", () => {
  for (const name of ["alpaca", "sharegpt"] as const) {
    const made = columns(name, v1, threeRows(v1)[0]!)
    const [entry] = Object.values(Format.datasetInfo(name, "x.jsonl"))
    assert.ok(entry !== undefined && "columns" in entry && typeof entry.columns === "object")
    for (const column of Object.values(entry.columns!)) assert.ok(column in made, column)
  }
})

// Faults

test("rejections: a question whose turns do not fit is named", () => {
  const user = { role: "user", content: "q" } as const
  const twice = threeRows(v1, [user, user])[0]!
  for (const name of ["alpaca", "sharegpt", "verl"] as const) {
    assert.deepEqual(
      write(name, v1, twice),
      Result.fail({
        _tag: "Rejection",
        reason: "unknown-shape",
        detail: `The format ${name} has no place for user, user`,
        id: "a"
      })
    )
  }
  const odd: ReadonlyArray<Row["messages"]> = [
    [{ role: "assistant", content: "a" }, user],
    [user, { role: "system", content: "s" }],
    [user, { role: "assistant", content: "a" }],
    [{ role: "system", content: "s" }]
  ]
  for (const question of odd) {
    for (const name of ["alpaca", "sharegpt", "verl"] as const) {
      const made = write(name, v1, threeRows(v1, question)[0]!)
      assert.ok(made !== undefined && Result.isFailure(made), `${name}: ${JSON.stringify(question)}`)
    }
  }
})

test("errors: a format that cannot hold the dialect is refused where it is made", () => {
  for (const dialect of [v1, plus]) {
    assert.throws(() => Format.make("reasoning-content", { dialect }), {
      name: "RangeError",
      message: `Cannot write reasoning-content in dialect ${dialect.name}: its history begins the assistant's turn, ` +
        "and reasoning_content leaves no room before the reasoning; the dialect chat can"
    })
  }
  assert.throws(() => Format.make("verl", { dialect: chat }), {
    name: "RangeError",
    message: "Cannot write verl in dialect chat: its instructions are a system turn, and verl puts the prompt into a " +
      "user's turn"
  })
})

test("errors: reasoning cannot be split off a row that has a history before it, or is in another dialect", () => {
  assert.throws(() => Format.splitConversation(plus, threeRows(plus)[1]!), {
    name: "RangeError",
    message: "Cannot split the reasoning off a: the assistant's turn begins with " +
      '"<history>\\n* sums\\n</history><think>\\n6 sev…"'
  })
  const other = { ...asked, sections: [{ ...asked.sections[0]!, open: "[r]" }] }
  assert.throws(() => Format.splitConversation(other, threeRows(asked)[0]!), /begins with "<think>/)
})
