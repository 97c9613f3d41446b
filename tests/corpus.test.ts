/** Real traces, where the environment variable INFTYTHINK_CORPUS names a folder of JSONL files. */
import { layer as services } from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { test } from "node:test"
import * as Extractive from "../lib/adapters/Extractive.ts"
import * as GptTokenizer from "../lib/adapters/GptTokenizer.ts"
import * as Jsonl from "../lib/adapters/Jsonl.ts"
import * as Reconstruction from "../lib/Reconstruction.ts"

const folder = process.env.INFTYTHINK_CORPUS
const skip = folder === undefined ? "INFTYTHINK_CORPUS names no folder" : false
const files = folder === undefined ? [] : readdirSync(folder).filter((file) => file.endsWith(".jsonl"))

/** The columns of texts that are published without tags or names for their parts. */
const columns: Readonly<Record<string, Jsonl.ReadOptions>> = {
  "deepseek_math_v2_proofs.jsonl": { reasoning: "model_prediction.proof", conclusion: "question" },
  "ruozhiba_zh_answers.jsonl": { reasoning: "kimi_full_answer", conclusion: "stepfun_full_answer" }
}

/** A text without the newlines at which it may be cut, and with every `<` that may have been replaced. */
const comparable = (text: string): string => text.replace(/[\r\n]/g, "").replaceAll("<", "‹")

const countTokens = (await GptTokenizer.load("o200k_base")).count

for (const eta of [512, 2048, 4096]) {
  test(`corpus: every real trace at eta ${eta}: none over eta, nothing lost`, { skip }, async () => {
    for (const file of files) {
      const read = await Jsonl.read(join(folder!, file), columns[file]).pipe(
        Stream.runCollect,
        Effect.provide(services),
        Effect.runPromise
      )
      const results = await Stream.fromIterable(read).pipe(
        Reconstruction.reconstruct({ eta, gamma: 512, tags: "replace" }),
        Stream.runCollect,
        Effect.provide(Extractive.layer),
        Effect.provide(GptTokenizer.layer),
        Effect.runPromise
      )
      // What comes of each sample, in their order: one rejection, or rows up to the last.
      const next = results[Symbol.iterator]()
      for (const sample of read) {
        const made = [next.next().value!]
        for (let row = made[0]!; Result.isSuccess(row) && row.success.index < row.success.count; made.push(row)) {
          row = next.next().value!
        }
        if (Result.isFailure(sample)) {
          assert.deepEqual(made, [sample])
          continue
        }
        const { id, reasoning } = sample.success
        const rows = made.filter(Result.isSuccess).map(({ success }) => success)
        assert.equal(rows.length, made.length, `${file}: ${id} is rejected`)
        const reasonings = rows.map(({ target }) => target.slice("<think>\n".length, target.indexOf("\n</think>")))
        for (const text of reasonings) assert.ok(countTokens(text) <= eta, `${file}: ${id} exceeds eta`)
        assert.ok(comparable(reasonings.join("")) === comparable(reasoning), `${file}: ${id} lost text`)
      }
      assert.equal(next.next().done, true)
      assert.ok(read.some(Result.isSuccess), `${file}: no sample`)
    }
  })
}
