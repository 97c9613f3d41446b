import { layer as services } from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import fc from "fast-check"
import assert from "node:assert/strict"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import * as ChatTemplate from "../../lib/adapters/ChatTemplate.ts"
import * as Dialect from "../../lib/core/Dialect.ts"
import type { Message } from "../../lib/core/Sample.ts"
import type * as Format from "../../lib/Format.ts"
import { threeRows, type Written, written } from "../support/rows.ts"
import * as templates from "../support/templates.ts"
import { law } from "../support/text.ts"

const { v1, plus, chat } = Dialect

const parse = (text: string, options: ChatTemplate.Options = {}): Promise<ChatTemplate.ChatTemplate> =>
  Effect.runPromise(ChatTemplate.parse(text, "x.jinja", options))

const verbatim = await parse(templates.verbatim)
const beside = await parse(templates.beside)

/** A template that renders as it is, but writes a certain text otherwise. */
const rewriting = (text: string, other: string): ChatTemplate.ChatTemplate => ({
  ...verbatim,
  render: (turns) => verbatim.render(turns).split(text).join(other)
})

const kinds = (findings: ReadonlyArray<ChatTemplate.Finding>): Array<ChatTemplate.Kind> =>
  findings.map(({ kind }) => kind)

/** What is found but that the history is learned, which no template can change. */
const found = (template: ChatTemplate.ChatTemplate, { dialect, row }: Written): Array<ChatTemplate.Kind> =>
  kinds(ChatTemplate.check(template, dialect)(row)).filter((kind) => kind !== "history-learned")

/** The parts of the assistant's turn, and what is found where one is not there. */
const partsOf = ({ dialect, row }: Written): ReadonlyArray<readonly [ChatTemplate.Kind, string]> => {
  const end = row.target.indexOf(dialect.sections[0]!.close) + dialect.sections[0]!.close.length
  const ending = row.target.slice(end)
  const parts: ReadonlyArray<readonly [ChatTemplate.Kind, string]> = [
    ["history-lost", row.prefix],
    ["think-stripped", row.target.slice(0, end)],
    [ending.trimStart().startsWith("<summary>") ? "summary-lost" : "conclusion-lost", ending]
  ]
  return parts.filter(([, text]) => text !== "")
}

const anyRow = written(v1, plus, chat)

law(
  "verbatim: a template that renders turns as they are has no findings but that the history is learned where it is",
  anyRow,
  ({ dialect, row }) => {
    for (const format of ["messages", "swift", "alpaca", "sharegpt"] as const) {
      assert.deepEqual(
        kinds(ChatTemplate.check(verbatim, dialect, format)(row)),
        row.prefix === "" ? [] : ["history-learned"]
      )
    }
  },
  100
)

law(
  "beside: a template that puts the reasoning back as it was has no findings",
  written(chat, { ...plus, place: "user" }),
  ({ dialect, row }) => {
    assert.deepEqual(ChatTemplate.check(beside, dialect, "reasoning-content")(row), [])
  },
  100
)

law(
  "deletion: whichever part is not rendered is reported, and nothing else",
  anyRow.chain((written) => fc.tuple(fc.constant(written), fc.nat())),
  ([{ dialect, row }, pick]) => {
    const parts = partsOf({ dialect, row })
    const [kind, text] = parts[pick % parts.length]!
    const turn = row.prefix + row.target
    const left = parts.filter((part) => part[1] !== text).map((part) => part[1]).join("")
    const expected = row.prefix === "" || kind === "history-lost" ? [kind] : [kind, "history-learned"]
    assert.deepEqual(kinds(ChatTemplate.check(rewriting(turn, left), dialect)(row)), expected)
  }
)

law(
  "order: parts that are all there in another order are reordered, and nothing else",
  anyRow.chain((written) => fc.tuple(fc.constant(written), fc.shuffledSubarray([0, 1, 2], { minLength: 3 }))),
  ([{ dialect, row }, order]) => {
    const parts = partsOf({ dialect, row }).map(([, text]) => text)
    const moved = order.flatMap((i) => parts[i] ?? [])
    const isMoved = moved.some((text, i) => text !== parts[i])
    assert.deepEqual(
      found(rewriting(parts.join(""), moved.join("")), { dialect, row }),
      isMoved ? ["reordered"] : []
    )
  }
)

/** Texts that differ from a text in one place, or at one of its ends. */
const edited = (text: string): fc.Arbitrary<string> => {
  const place = fc.oneof(fc.nat(text.length), fc.constantFrom(0, text.length))
  return fc.tuple(place, fc.option(place), fc.constantFrom("", "x", "\n", " ", "<think>", "</think>", "思"))
    .map(([a, b, put]) => text.slice(0, Math.min(a, b ?? a)) + put + text.slice(Math.max(a, b ?? a)))
}

law(
  "silence: nothing is found if and only if the turn is rendered to the character",
  anyRow.chain((written) => fc.tuple(fc.constant(written), edited(written.row.prefix + written.row.target))),
  ([{ dialect, row }, other]) => {
    const turn = row.prefix + row.target
    assert.equal(found(rewriting(turn, other), { dialect, row }).length === 0, other === turn)
  },
  500
)

law(
  "white space: where it alone differs, that is what is found",
  anyRow.chain((written) => fc.tuple(fc.constant(written), fc.constantFrom("\n", "\n\n\n", " ", "\r\n"))),
  ([{ dialect, row }, blank]) => {
    const turn = row.prefix + row.target
    const other = turn.replace(/\n+/g, blank)
    assert.deepEqual(found(rewriting(turn, other), { dialect, row }), other === turn ? [] : ["whitespace-rewritten"])
  }
)

law(
  "reading: a question or a history that is not rendered in the user's turn is reported",
  written(chat),
  ({ dialect, row }) => {
    const last = row.messages.at(-1)!.content
    const asked = row.question.at(-1)!.content
    // What occurs in another message too is not seen to be missing from one.
    const squash = (text: string): string => text.replace(/\s/g, "")
    fc.pre(row.messages.slice(0, -1).every(({ content }) => !squash(content).includes(squash(asked))))
    const without = (content: string) => {
      const render: typeof verbatim.render = (turns) =>
        verbatim.render(turns.map((turn, i) => i === row.messages.length - 1 ? { ...turn, content } : turn))
      return found({ ...verbatim, render }, { dialect, row })
    }
    assert.deepEqual(without(last.slice(asked.length)), ["question-lost"])
    assert.deepEqual(without(asked), row.history === null ? [] : ["history-lost"])
  },
  100
)

law(
  "flat: prompts that the template itself made have no findings, whatever it puts at their end",
  fc.tuple(anyRow, fc.constantFrom(templates.verbatim, templates.qwen3, templates.qwen36, templates.opening)),
  ([{ dialect, row }, text]) => {
    const template = parsed.get(text)!
    const own = { ...dialect, template: template.template }
    const prompt = own.template(row.messages) + row.prefix
    for (const format of ["rows", "prompt-completion", "input-target"] as const) {
      assert.deepEqual(ChatTemplate.check(template, own, format)({ ...row, prompt }), [])
    }
    const asked = row.messages.at(-1)!.content
    const behind = prompt.slice(prompt.lastIndexOf(asked) + asked.length) + row.target
    assert.equal(behind.split("<think>").length, 2)
  },
  100
)

const parsed: ReadonlyMap<string, ChatTemplate.ChatTemplate> = new Map(
  await Promise.all(
    [templates.verbatim, templates.qwen3, templates.qwen36, templates.opening].map(async (text) =>
      [text, await parse(text)] as const
    )
  )
)

// What templates are known to do

const tokens = { variables: { bos_token: "<s>", eos_token: "</s>" } }

/** What is found in rows that begin, go on and conclude. */
const report = async (
  text: string,
  dialect: Dialect.Dialect,
  format: Format.Name = "messages",
  options: ChatTemplate.Options = tokens
): Promise<ReadonlyArray<string>> => {
  const template = await parse(text, options)
  const own = { ...dialect, template: template.template }
  return threeRows(own).map((row) => kinds(ChatTemplate.check(template, own, format)(row)).join(" "))
}

test("Qwen2.5: turns are rendered as they are, reasoning beside them is not, and a default system turn is not flat", async () => {
  assert.deepEqual(await report(templates.qwen25, v1), ["", "history-learned", "history-learned"])
  assert.deepEqual(await report(templates.qwen25, chat), ["", "", ""])
  assert.deepEqual(await report(templates.qwen25, chat, "reasoning-content"), Array(3).fill("think-stripped"))
  const template = await parse(templates.qwen25)
  const [finding] = ChatTemplate.check(template, plus, "prompt-completion")(threeRows(plus)[0]!)
  assert.deepEqual(finding, {
    kind: "prompt-differs",
    detail: "The flat prompt is not what the template makes of the question",
    excerpt: '"<|im_start|>user\\nWhat is 6 × 7?<|im_end|>\\n<|im_start|>assistant\\n"'
  })
})

test("Qwen3: a history before the reasoning is lost, and white space behind it is rewritten", async () => {
  assert.deepEqual(await report(templates.qwen3, v1), ["whitespace-rewritten", "history-lost", "history-lost"])
  assert.deepEqual(await report(templates.qwen3, plus), ["whitespace-rewritten", "history-lost", "history-lost"])
  for (const format of ["messages", "reasoning-content"] as const) {
    assert.deepEqual(await report(templates.qwen3, chat, format), ["whitespace-rewritten", "whitespace-rewritten", ""])
  }
  assert.deepEqual(await report(templates.qwen3, plus, "prompt-completion"), ["", "", ""])
})

test("Qwen3: text between two closing tags is lost", async () => {
  const template = await parse(templates.qwen3)
  const [row] = threeRows(chat)
  const target = "<think>\nAdd.\n</think>\n<summary>\na</think>b\n</summary>"
  const [finding, ...others] = ChatTemplate.check(template, chat)({ ...row!, target })
  assert.deepEqual(others, [])
  assert.deepEqual(finding, {
    kind: "text-lost",
    detail: "A part of the summary is not in what the template renders",
    excerpt: '"\\n<summary>\\na</think>b\\n</summary>"'
  })
})

test("Qwen3: a prompt without thinking has empty reasoning before the target", async () => {
  for (const format of ["rows", "verl"] as const) {
    assert.deepEqual(
      (await report(templates.qwen3, plus, format, { variables: { enable_thinking: false } }))[0],
      "empty-think-added"
    )
  }
})

test("Qwen3: reasoning in other tags gets an empty one in front", async () => {
  const template = await parse(templates.qwen3)
  const [think, summary] = plus.sections
  const dialect = { ...plus, sections: [{ ...think!, open: "<r>", close: "</r>" }, summary!] }
  const findings = ChatTemplate.check(template, dialect)(threeRows(dialect)[0]!)
  assert.deepEqual(kinds(findings), ["empty-think-added"])
  assert.match(findings[0]!.excerpt, /<think>\\n\\n<\/think>"$/)
})

test("Qwen3.6: as Qwen3, and the prompt opens the reasoning that the target opens", async () => {
  assert.deepEqual(await report(templates.qwen36, plus), ["whitespace-rewritten", "history-lost", "history-lost"])
  assert.deepEqual(await report(templates.qwen36, plus, "prompt-completion"), ["", "", ""])
  assert.deepEqual(await report(templates.qwen36, plus, "verl"), [
    "opener-doubled",
    "opener-doubled history-learned",
    "opener-doubled history-learned"
  ])
})

test("TRL's template for Qwen3: the last turn is as Qwen3's", async () => {
  assert.deepEqual(await report(templates.qwen3Training, plus), [
    "whitespace-rewritten",
    "history-lost",
    "history-lost"
  ])
  assert.deepEqual(await report(templates.qwen3Training, chat, "reasoning-content"), [
    "whitespace-rewritten",
    "whitespace-rewritten",
    ""
  ])
})

test("DeepSeek: reasoning is stripped even from the last turn", async () => {
  assert.deepEqual(await report(templates.deepSeek, plus), [
    "think-stripped",
    "history-lost think-stripped",
    "history-lost think-stripped"
  ])
  assert.deepEqual(await report(templates.deepSeek, chat, "reasoning-content"), Array(3).fill("think-stripped"))
  assert.deepEqual(await report(templates.deepSeek, plus, "rows"), ["", "", ""])
  assert.equal((await report(templates.deepSeek, plus, "verl"))[0], "opener-doubled")
})

test("GLM-4.5: white space is rewritten, and a history before the reasoning is lost", async () => {
  assert.deepEqual(await report(templates.glm, v1), ["whitespace-rewritten", "history-lost", "history-lost"])
  assert.deepEqual(
    await report(templates.glm, chat, "reasoning-content"),
    Array(3).fill("whitespace-rewritten")
  )
})

test("a template that opens the reasoning of every turn doubles it", async () => {
  assert.deepEqual(await report(templates.opening, plus), [
    "opener-doubled",
    "opener-doubled history-learned",
    "opener-doubled history-learned"
  ])
})

test("a template that writes reasoning anew and does not take it out doubles it in the turn", () => {
  const [row] = threeRows(v1)
  const turn = row!.prefix + row!.target
  for (
    const [put, kind] of [
      ["<think>", "opener-doubled"],
      ["<think>\n\n</think>\n\n", "empty-think-added"],
      ["Sure!", "text-added"]
    ] as const
  ) {
    assert.deepEqual(found(rewriting(turn, put + turn), { dialect: v1, row: row! }), [kind])
  }
})

test("findings: a sentence, and where it is", async () => {
  const template = await parse(templates.qwen3)
  assert.deepEqual(ChatTemplate.check(template, plus)(threeRows(plus)[0]!), [{
    kind: "whitespace-rewritten",
    detail: "The template changes white space",
    excerpt: '"think>\\nAdd.\\n</think>\\n\\n<summary>* sums</summary>"'
  }])
  assert.deepEqual(ChatTemplate.check(template, plus)(threeRows(plus)[1]!), [{
    kind: "history-lost",
    detail: "The history with its tags is not in what the template renders",
    excerpt: '"<history>\\n* sums\\n</history>"'
  }])
})

test("verl-rl: of it there is only the prompt", () => {
  assert.deepEqual(kinds(ChatTemplate.check(verbatim, v1, "verl-rl")(threeRows(v1)[0]!)), [])
  const silent = { ...verbatim, prompt: () => "" }
  assert.deepEqual(kinds(ChatTemplate.check(silent, v1, "verl-rl")(threeRows(v1)[0]!)), ["question-lost"])
})

test("refusals: a template that does not render a conversation is a finding, or an error that names it", async () => {
  const template = await parse(templates.withoutSystem)
  const detail = "Cannot render x.jinja: There is no system role"
  for (const format of ["messages", "reasoning-content", "rows", "verl-rl"] as const) {
    const [finding, ...others] = ChatTemplate.check(template, chat, format)(threeRows(chat)[0]!)
    assert.deepEqual(others, [])
    assert.deepEqual([finding!.kind, finding!.detail], ["render-failed", detail])
  }
  assert.throws(() => Dialect.prompt({ ...chat, template: template.template }, { question: "q" }), {
    _tag: "TemplateError",
    reason: "refused",
    message: detail
  })
})

test("check: a format that the dialect cannot have is refused", () => {
  assert.throws(() => ChatTemplate.check(verbatim, plus, "reasoning-content"), RangeError)
  assert.throws(() => ChatTemplate.check(verbatim, { ...plus, sections: [] })(threeRows(plus)[0]!), {
    name: "RangeError",
    message: 'Cannot check rows in dialect plus: it has no section "reasoning"'
  })
})

// Prompts

const user: Message = { role: "user", content: "q" }

test("template: the tag that opens reasoning is taken off the prompt, with what is behind it, and no other", async () => {
  const made = async (text: string, options?: ChatTemplate.Options) => {
    const { prompt, template } = await parse(text, options)
    return [prompt([user]), template([user])]
  }
  const asked = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
  assert.deepEqual(await made(templates.verbatim), [asked, asked])
  assert.deepEqual(await made(templates.qwen36), [`${asked}<think>\n`, asked])
  const empty = `${asked}<think>\n\n</think>\n\n`
  assert.deepEqual(await made(templates.qwen36, { variables: { enable_thinking: false } }), [empty, empty])
  assert.deepEqual(await made("a [r] ", { opener: "[r]" }), ["a [r] ", "a "])
})

test("template: in a dialect it makes flat prompts with one opening tag, behind the history", async () => {
  const { template } = await parse(templates.deepSeek, tokens)
  const { prompt, target } = threeRows({ ...plus, template })[1]!
  assert.equal(
    prompt + target,
    "<s><｜User｜>What is 6 × 7?<｜Assistant｜><history>\n* sums\n</history>" +
      "<think>\n6 sevens.\n\nSo 42.\n</think><summary>* 42</summary>"
  )
})

test("variables: they are what the template reads, and it may read the date", async () => {
  const { prompt } = await parse("{{ mood }}{{ tools is none }}{{ add_generation_prompt }}", {
    variables: { mood: "calm " }
  })
  assert.equal(prompt([user]), "calm truetrue")
  assert.match((await parse(templates.dated)).render([user]), /^\d\d \w{3} \d{4}$/)
})

// Files

const SHOW = "{{ bos_token }}|{{ eos_token }}|{{ messages[0].content }}"

/** Loads from a folder of these files. */
const load = (
  files: Readonly<Record<string, unknown>>,
  path: string,
  options: ChatTemplate.Options = {}
): Promise<ChatTemplate.ChatTemplate> => Effect.runPromise(loading(files, path, options))

const loading = (files: Readonly<Record<string, unknown>>, path: string, options: ChatTemplate.Options = {}) => {
  const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof content === "string" ? content : JSON.stringify(content))
  }
  return Effect.provide(ChatTemplate.load(join(folder, path), options), services)
}

const special = { bos_token: "<s>", eos_token: { content: "</s>", lstrip: false }, pad_token: null }

test("load: from a configuration, with its special tokens, which are strings or objects", async () => {
  const config = { "tokenizer_config.json": { ...special, chat_template: SHOW } }
  for (const path of ["tokenizer_config.json", "", "."]) {
    const { name, render } = await load(config, path)
    assert.equal(render([user]), "<s>|</s>|q")
    assert.match(name, /tokenizer_config\.json$/)
  }
  const { render } = await load(config, "", { variables: { bos_token: "B" } })
  assert.equal(render([user]), "B|</s>|q")
})

test("load: from a configuration of named templates", async () => {
  const named = [{ name: "default", template: "plain" }, { name: "rag", template: "with documents" }]
  const config = { "tokenizer_config.json": { chat_template: named } }
  assert.equal((await load(config, "")).render([user]), "plain")
  assert.equal((await load(config, "", { use: "rag" })).render([user]), "with documents")
})

test("load: a file of its own has the tokens of the configuration beside it, and goes first in a folder", async () => {
  const files = { "chat_template.jinja": SHOW, "tokenizer_config.json": { ...special, chat_template: "old" } }
  assert.equal((await load(files, "chat_template.jinja")).render([user]), "<s>|</s>|q")
  assert.equal((await load(files, "")).render([user]), "<s>|</s>|q")
  assert.equal((await load(files, "tokenizer_config.json")).render([user]), "old")
  assert.equal(
    (await load({ ...files, "tokenizer_config.json": special }, "tokenizer_config.json")).render([user]),
    "<s>|</s>|q"
  )
  assert.equal((await load({ "x.jinja": SHOW }, "x.jinja")).render([user]), "||q")
  assert.equal((await load({ "chat_template.jinja": SHOW }, "")).render([user]), "||q")
})

test("load: what is missing or is no template is named", async () => {
  const failure = async (files: Readonly<Record<string, unknown>>, path: string, options?: ChatTemplate.Options) => {
    const { reason, message } = await Effect.runPromise(Effect.flip(loading(files, path, options)))
    return [reason, message.replace(/load .*[/\\]/, "load ")]
  }
  const config = "tokenizer_config.json"
  assert.deepEqual(await failure({}, "x.jinja"), ["not-found", "Cannot load x.jinja: it does not exist"])
  assert.deepEqual(await failure({}, ""), ["not-found", `Cannot load ${config}: it does not exist`])
  assert.deepEqual(await failure({ [config]: special }, ""), [
    "missing",
    `Cannot load ${config}: it has no chat_template`
  ])
  assert.deepEqual(await failure({ [config]: { chat_template: [{ name: "a", template: "b" }] } }, ""), [
    "missing",
    `Cannot load ${config}: it has no template "default", only "a"`
  ])
  assert.deepEqual(await failure({ [config]: "[" }, "").then(([reason]) => reason), "invalid")
  assert.deepEqual(await failure({ [config]: "null" }, ""), ["invalid", `Cannot load ${config}: it is no object`])
  const no = "Cannot load x.jinja: it is no Jinja template"
  for (
    const [text, more] of [["{% if %}", ": Unexpected token: CloseStatement"], ["{{ foo(", ""], ["{% if a %}", ""]]
  ) {
    assert.deepEqual(await failure({ "x.jinja": text }, "x.jinja"), ["invalid", no + more])
  }
})
