import assert from "node:assert/strict"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { run, start } from "../support/command.ts"
import { testIn } from "../support/files.ts"
import { lineOf, makeRandom } from "../support/traces.ts"

const random = makeRandom(1)
const lines = (count: number): string =>
  Array.from({ length: count }, (_, id) => `${lineOf(random, id, 20_000)}\n`).join("")

/** Samples, and much that is none. */
const text = [
  lines(8),
  "{}\n\n{\n",
  '{"question":"Q","reasoning":"a</think>b","conclusion":"Yes."}\n',
  lines(6),
  '{"question":"Q","reasoning":"Hm.","conclusion":" "}\n'
].join("")

testIn("workers: rows, rejections and counts are those of one thread, byte for byte", async (folder) => {
  mkdirSync(join(folder, "data"))
  writeFileSync(join(folder, "data", "1.jsonl"), text)
  writeFileSync(join(folder, "data", "2.jsonl.gz"), gzipSync(lines(4)))
  writeFileSync(join(folder, "data", "3.json"), `[${lines(3).trimEnd().split("\n").join(",\n")},{"bad":1}]`)
  writeFileSync(join(folder, "t.jinja"), "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
  const options = ["--eta", "512", "--tags", "replace", "--generations", "all", "--dialect", "plus"]
  const outputs = []
  for (const workers of ["0", "2"]) {
    const out = `${workers}.jsonl`
    const args = ["reconstruct", "data", "--out", out, ...options, "--chat-template", "t.jinja", "--workers", workers]
    const { code, stderr } = await run(folder, args)
    assert.equal(code, 0, stderr)
    const manifest = JSON.parse(readFileSync(join(folder, `${workers}.manifest.json`), "utf8"))
    outputs.push({
      rows: readFileSync(join(folder, out), "utf8"),
      rejects: readFileSync(join(folder, `${workers}.rejects.jsonl`), "utf8"),
      counts: manifest.counts,
      rejected: manifest.rejected
    })
  }
  const [one, several] = outputs
  assert.ok(one!.rows.length > 2e5 && one!.rejects.split("\n").length > 3)
  assert.deepEqual(several, one)
})

testIn("workers: standard input, and a tokenizer that a thread is to count with too", async (folder) => {
  const args = ["reconstruct", "-", "--out", "-", "--eta", "512", "--tokenizer", "cl100k_base"]
  const one = await start(folder, [...args, "--workers", "0"], {}, text).done
  const several = await start(folder, [...args, "--workers", "1"], {}, text).done
  writeFileSync(join(folder, "in.jsonl"), text)
  const file = await run(folder, [args[0]!, "in.jsonl", ...args.slice(2), "--workers", "1"])
  assert.deepEqual([one.code, several.code, file.code], [0, 0, 0], file.stderr)
  assert.ok(one.stdout.length > 2e5 && one.stdout.includes("cl100k_base"))
  assert.ok(several.stdout === one.stdout)
  assert.ok(file.stdout === one.stdout)
})

testIn("workers: an input that breaks off stops the run, as without them", async (folder) => {
  const bytes = gzipSync(text)
  writeFileSync(join(folder, "in.jsonl.gz"), bytes.subarray(0, bytes.length - 1000))
  for (const workers of ["0", "1"]) {
    const out = `${workers}.jsonl`
    const { code, stderr } = await run(folder, ["reconstruct", "in.jsonl.gz", "--out", out, "--workers", workers])
    assert.equal(code, 1)
    assert.match(stderr, /Cannot read in\.jsonl\.gz: /)
    assert.ok(readFileSync(join(folder, `${out}.partial`)).length > 0)
  }
})
