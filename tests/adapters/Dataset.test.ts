import * as arrow from "apache-arrow"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { test } from "node:test"
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib"
import * as Dataset from "../../lib/adapters/Dataset.ts"
import * as Jsonl from "../../lib/adapters/Jsonl.ts"
import * as Parquet from "../../lib/adapters/Parquet.ts"
import * as Rejection from "../../lib/core/Rejection.ts"
import { run, runProgram, serveFiles, testIn } from "../support/files.ts"

const record = (id: string) => ({ id, question: "Is it?", reasoning: "Hm.", output: "Yes." })

const line = (id: string): string => `${JSON.stringify(record(id))}\n`

const arrowOf = (id: string): Uint8Array =>
  arrow.tableToIPC(arrow.tableFromArrays(Object.fromEntries(Object.entries(record(id)).map(([k, v]) => [k, [v]]))))

const parquetOf = async (id: string): Promise<Uint8Array> => {
  const encoder = await Effect.runPromise(Parquet.encoder("x"))
  return Buffer.concat([...encoder.feed(record(id)), ...encoder.end()])
}

/** Makes files, with the folders they are in; each holds one sample, whose id is the file's name. */
const makeFiles = async (folder: string, names: ReadonlyArray<string>): Promise<void> => {
  for (const name of names) {
    const path = join(folder, name)
    mkdirSync(dirname(path), { recursive: true })
    const bytes = name.endsWith(".gz")
      ? gzipSync(line(name))
      : name.endsWith(".zst")
      ? zstdCompressSync(line(name))
      : name.endsWith(".parquet")
      ? await parquetOf(name)
      : name.endsWith(".arrow")
      ? arrowOf(name)
      : line(name)
    writeFileSync(path, bytes)
  }
}

/** The ids of the samples, with the folder taken away. */
const idsIn = async (inputs: string | ReadonlyArray<string>, options?: Dataset.ReadOptions) =>
  (await run(Stream.runCollect(Dataset.read(inputs, options)))).map((result) =>
    Result.isSuccess(result) ? result.success.id : result.failure.reason
  )

const errorOf = (inputs: string | ReadonlyArray<string>) => run(Effect.flip(Dataset.files(inputs)))

const every = ["a.jsonl", "b.ndjson", "c.json", "d.jsonl.gz", "e.jsonl.zst", "f.parquet", "g.arrow"]

testIn("read: every format, by the endings of the names, in the order of the inputs", async (folder) => {
  await makeFiles(folder, every)
  const inputs = every.map((name) => join(folder, name)).reverse()
  assert.deepEqual(await idsIn(inputs), [...every].reverse())
  for (const input of inputs) assert.equal((await idsIn(input)).length, 1)
})

testIn("read: a folder gives its data files, and those in its folders, sorted, and nothing else", async (folder) => {
  const data = ["README.parquet", "a.jsonl", "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
  const saved = ["train/data-00000-of-00002.arrow", "train/data-00001-of-00002.arrow"]
  const others = [
    ...[".cache/x.jsonl", ".hidden.jsonl", "README.md", "a.rejects.jsonl", "a.jsonl.partial", "data/.x.parquet"],
    ...["dataset_dict.json", "train/dataset_info.json", "train/state.json", "train/cache-1f2e.arrow", "LICENSE"]
  ]
  await makeFiles(folder, [...data, ...saved, ...others])
  for (const input of [folder, `${folder}/`]) assert.deepEqual(await idsIn(input), [...data, ...saved])
  assert.deepEqual(await idsIn(join(folder, "train")), saved)
  // What is named is read, whatever it is.
  assert.deepEqual(await idsIn(join(folder, "a.rejects.jsonl")), ["a.rejects.jsonl"])
})

testIn(
  "read: a pattern gives the data files that match, sorted; a file that is named like one is itself",
  async (folder) => {
    await makeFiles(folder, ["a.jsonl", "b.jsonl.gz", "c.txt", "d/e.parquet", "d/f/g.jsonl", "x[1].jsonl", "x1.jsonl"])
    mkdirSync(join(folder, "z.jsonl"))
    const patterns: Readonly<Record<string, ReadonlyArray<string>>> = {
      "*": ["a.jsonl", "b.jsonl.gz", "x1.jsonl", "x[1].jsonl"],
      "?.jsonl": ["a.jsonl"],
      "**/*.{parquet,jsonl}": ["a.jsonl", "d/e.parquet", "d/f/g.jsonl", "x1.jsonl", "x[1].jsonl"],
      "{b,a}.*": ["a.jsonl", "b.jsonl.gz"],
      "x[1].jsonl": ["x[1].jsonl"],
      "x[0-9].jsonl": ["x1.jsonl"]
    }
    for (const [pattern, names] of Object.entries(patterns)) {
      assert.deepEqual(await idsIn(join(folder, pattern)), names, pattern)
    }
  }
)

testIn("files: each file comes once, with its format and its bytes", async (folder) => {
  await makeFiles(folder, ["a.jsonl", "d/b.parquet"])
  const [a, b] = [join(folder, "a.jsonl"), join(folder, "d/b.parquet")]
  const found = await run(Dataset.files([b, "-", folder, join(folder, "**/*.parquet")]))
  assert.deepEqual(found, [
    { name: b, format: "parquet", bytes: readFileSync(b).length },
    { name: "-", format: "jsonl", bytes: undefined },
    { name: a, format: "jsonl", bytes: readFileSync(a).length }
  ])
})

testIn("files: what is not there, and what is in no known format, is named", async (folder) => {
  await makeFiles(folder, ["a.txt", "noending", "d/c.txt"])
  const cases: ReadonlyArray<readonly [string, string, RegExp]> = [
    ["none.jsonl", "not-found", /: it does not exist$/],
    ["*.jsonl", "not-found", /: no data files match$/],
    ["none/**", "not-found", /: no data files match$/],
    ["d", "not-found", /: the folder holds no data files$/],
    ["a.txt", "unknown-format", /: its format is unknown; the endings known are \.jsonl, .*\.parquet.*\.gz or \.zst$/],
    ["noending", "unknown-format", /: its format is unknown/]
  ]
  for (const [name, reason, message] of cases) {
    const error = await errorOf([join(folder, name)])
    assert.deepEqual([error._tag, error.reason, error.file], ["StorageError", reason, join(folder, name)])
    assert.match(error.message, message)
    assert.ok(error.message.startsWith(`Cannot read ${join(folder, name)}: `))
  }
})

testIn("format: it may be named where no ending tells it", async (folder) => {
  await makeFiles(folder, ["a.parquet", "b.txt", "c/d"])
  assert.deepEqual(await idsIn([join(folder, "b.txt"), join(folder, "c")], { format: "jsonl" }), ["b.txt", "c/d"])
  writeFileSync(join(folder, "x"), readFileSync(join(folder, "a.parquet")))
  assert.deepEqual(await idsIn(join(folder, "x"), { format: "parquet" }), ["a.parquet"])
})

test("read: addresses, by the endings of their paths", async () => {
  const names = ["/a.jsonl.gz", "/b.parquet", "/c.arrow"]
  const bodies = [gzipSync(line("a")), await parquetOf("b"), arrowOf("c")]
  await using server = await serveFiles(Object.fromEntries(names.map((name, i) => [name, bodies[i]!])))
  const inputs = names.map((name) => `${server.url}${name}?download=true`)
  assert.deepEqual(await idsIn(inputs), ["a", "b", "c"])
  assert.deepEqual((await run(Dataset.files(inputs))).map(({ bytes }) => bytes), bodies.map(({ length }) => length))
  assert.equal((await errorOf(`${server.url}/a.jsonl.gz/page`)).reason, "unknown-format")
})

testIn("ids that are made tell files apart, and hold no folder that all are in, and no query", async (folder) => {
  const nameless = '{"question":"Is it?","reasoning":"Hm.","conclusion":"Yes."}\n'
  for (const name of ["math/train.jsonl", "code/train.jsonl"]) {
    mkdirSync(join(folder, dirname(name)), { recursive: true })
    writeFileSync(join(folder, name), nameless)
  }
  assert.deepEqual(await idsIn(folder), ["code/train.jsonl:1", "math/train.jsonl:1"])
  assert.deepEqual(await idsIn(join(folder, "*", "train.jsonl")), ["code/train.jsonl:1", "math/train.jsonl:1"])
  assert.deepEqual(await idsIn(join(folder, "math", "train.jsonl")), ["train.jsonl:1"])
  await using server = await serveFiles({ "/a/x.jsonl": Buffer.from(nameless), "/b/x.jsonl": Buffer.from(nameless) })
  const addresses = ["a", "b"].map((name) => `${server.url}/${name}/x.jsonl?signature=a/b`)
  assert.deepEqual(await idsIn(addresses), ["a/x.jsonl:1", "b/x.jsonl:1"])
  assert.deepEqual(await idsIn(addresses[0]!), ["x.jsonl:1"])
  writeFileSync(join(folder, "array.json"), `[${nameless.trim()}, {"a": 1}, ${nameless.trim()}]`)
  const read = await run(Stream.runCollect(Dataset.read(join(folder, "array.json"))))
  assert.deepEqual(
    read.map((result) => Result.isSuccess(result) ? result.success.id : result.failure.id),
    ["array.json#1", "array.json#2", "array.json#3"]
  )
})

test("names: no place and no error shows the query of an address", async () => {
  const bodies = { "/a.jsonl": Buffer.from("{}"), "/a.parquet": await parquetOf("a"), "/a.arrow": arrowOf("a") }
  await using server = await serveFiles(bodies)
  const shown: Array<unknown> = []
  const note = async (address: string) => {
    shown.push(await run(Effect.result(Stream.runCollect(Dataset.read(address)))))
    const files = await run(Effect.result(Dataset.files(address)))
    if (Result.isFailure(files)) shown.push(files)
  }
  for (const path of [...Object.keys(bodies), "/none.jsonl", "/none.parquet", "/none.arrow", "/none"]) {
    await note(`${server.url}${path}?token=SECRET`)
  }
  await using breaking = await serveFiles({ "/a.jsonl": Buffer.from("{}\n".repeat(1e5)) }, "breaks")
  await note(`${breaking.url}/a.jsonl?token=SECRET`)
  assert.ok(shown.length > 8)
  for (const one of shown) assert.doesNotMatch(JSON.stringify(one), /SECRET/)
})

test("root: what paths have in common, folder by folder", () => {
  const rootOf = (...names: ReadonlyArray<string>) => Dataset.rootOf(names.map((name) => ({ name })))
  assert.equal(rootOf(), "")
  assert.equal(rootOf("-"), "")
  assert.equal(rootOf("a.jsonl"), "")
  assert.equal(rootOf("x/y/a.jsonl"), "x/y/")
  assert.equal(rootOf("x/ya/1.jsonl", "x/yb/1.jsonl", "-"), "x/")
  assert.equal(rootOf("/x/1.jsonl", "/y/1.jsonl"), "/")
  assert.equal(rootOf("x/1.jsonl", "y/1.jsonl"), "")
  assert.equal(rootOf("C:\\x\\1.jsonl", "C:\\y\\1.jsonl"), "C:\\")
  assert.equal(rootOf("https://h/x/1.jsonl?a=/1", "https://h/x/2.jsonl"), "https://h/x/")
})

testIn("progress: the bytes that are read add up to those of the files", async (folder) => {
  await makeFiles(folder, every)
  let read = 0
  await idsIn(folder, { onRead: (bytes) => read += bytes })
  const files = await run(Dataset.files(folder))
  assert.equal(read, files.reduce((sum, { bytes }) => sum + bytes!, 0))
})

// ---- writing

const rejection = Rejection.make("no-reasoning", "It is bad.", { file: "in.jsonl", line: 3 })

const results = Stream.make(Result.succeed(record("a")), Result.fail(rejection), Result.succeed(record("b")))

testIn("round trip: rows and rejections are read again, in every format that is written", async (folder) => {
  for (const name of ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.parquet", "e.ndjson", "f.json", "g.ndjson.gz"]) {
    const path = join(folder, name)
    const report = await run(results.pipe(Dataset.write(path)))
    assert.deepEqual(await idsIn(path), ["a", "b"], name)
    assert.deepEqual(report, {
      ...{ file: path, written: 2, rejected: { "no-reasoning": 1 } },
      rejectsFile: join(folder, `${name[0]}.rejects.jsonl`)
    })
    assert.deepEqual(JSON.parse(readFileSync(report.rejectsFile, "utf8")), rejection)
    assert.equal(report.rejectsFile, Dataset.rejectsFileOf(path))
  }
  assert.equal(gunzipSync(readFileSync(join(folder, "b.jsonl.gz"))).toString(), line("a") + line("b"))
})

testIn("tee: what is given on is what was given, when it is taken", async (folder) => {
  for (const name of ["x.jsonl.zst", "x.parquet"]) {
    const path = join(folder, name)
    const given = await run(Stream.runCollect(results.pipe(Dataset.tee(path, { existing: "replace" }))))
    assert.deepEqual(given, await run(Stream.runCollect(results)))
    assert.deepEqual(await idsIn(path), ["a", "b"])
  }
})

testIn(
  "write: a stream that fails leaves what was there, and the rows before it where they can be read",
  async (folder) => {
    const failing = Stream.concat(results, Stream.fail("the server is gone" as const))
    for (const name of ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst", "x.parquet"]) {
      const path = join(folder, name)
      writeFileSync(path, "old")
      assert.equal(
        await run(Effect.flip(failing.pipe(Dataset.write(path, { existing: "replace" })))),
        "the server is gone"
      )
      assert.equal(readFileSync(path, "utf8"), "old")
      const format = name.endsWith("parquet") ? "parquet" as const : "jsonl" as const
      assert.deepEqual(await idsIn(`${path}.partial`, { format }), ["a", "b"])
    }
  }
)

testIn(
  "write: the format may be named; one that cannot be written is an error before the stream runs",
  async (folder) => {
    await run(results.pipe(Dataset.write(join(folder, "x.bin"), { format: "parquet" })))
    assert.deepEqual(await idsIn(join(folder, "x.bin"), { format: "parquet" }), ["a", "b"])
    for (const name of ["x.txt", "x.arrow", "x"]) {
      const error = await run(Effect.flip(Dataset.write(join(folder, name))(Stream.die("the stream ran"))))
      assert.equal(error.reason, "unknown-format")
      assert.match(
        error.message,
        /^Cannot write .*: its format is unknown; the endings known are \.jsonl, .*\.parquet$/
      )
    }
    const address = await run(Effect.flip(Dataset.write("http://127.0.0.1/x.jsonl")(Stream.die("the stream ran"))))
    assert.equal(address.reason, "unwritable")
    assert.deepEqual(readdirSync(folder).sort(), ["x.bin", "x.bin.rejects.jsonl"])
    assert.throws(() => Dataset.tee("x.parquet", { groupRows: 0 }), RangeError)
  }
)

testIn("agreement: a file is read as its own module reads it", async (folder) => {
  await makeFiles(folder, ["a.jsonl", "b.parquet"])
  const read = await run(Stream.runCollect(Dataset.read(folder)))
  assert.deepEqual(read, [
    ...await run(Stream.runCollect(Jsonl.read(join(folder, "a.jsonl")))),
    ...await run(Stream.runCollect(Parquet.read(join(folder, "b.parquet"))))
  ])
})

testIn(
  "standard streams: rows go from the one to the other, and rejections to standard error or where it is said",
  async (folder) => {
    const program = (options: string): string => `Dataset.read("-").pipe(Dataset.write("-", ${options}))`
    const input = gzipSync(`${line("a")}{}\n${line("b")}`)
    const plain = await runProgram(folder, "Dataset", program("{}"), input)
    assert.equal(plain.code, 0, plain.stderr)
    assert.deepEqual(plain.stdout.trimEnd().split("\n").map((row) => JSON.parse(row).id), ["a", "b"])
    assert.equal(JSON.parse(plain.stderr).line, 2)
    assert.deepEqual(readdirSync(folder), [])
    const named = await runProgram(folder, "Dataset", program('{ rejects: "bad.jsonl" }'), input)
    assert.deepEqual([named.stdout, named.stderr], [plain.stdout, ""])
    assert.deepEqual(readdirSync(folder), ["bad.jsonl"])
    assert.equal(JSON.parse(readFileSync(join(folder, "bad.jsonl"), "utf8")).line, 2)
  }
)
