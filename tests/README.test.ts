import assert from "node:assert/strict"
import { execFileSync, spawn } from "node:child_process"
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { after, test } from "node:test"
import { fileURLToPath } from "node:url"
import { serve } from "./support/server.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const read = (file: string): string => readFileSync(join(root, file), "utf8")
const readme = read("README.md")
const exports: Readonly<Record<string, string>> = JSON.parse(read("deno.json")).exports

/** The programs of the README, with the package's own sources for the package. */
const programs = [...readme.matchAll(/^```ts\n([^]*?)^```$/gm)].map((match) =>
  match[1]!.replace(
    /"inftythink(\/[\w-]+)?"/g,
    (_, path = "") => JSON.stringify(exports[`.${path}`]!.replace("./", "../../"))
  )
)

// Inside the project, so that they find its packages.
const folder = mkdtempSync(join(root, "tests/.readme-"))
after(() => rmSync(folder, { recursive: true }))

/** Runs a program in a folder that holds `traces.jsonl`. */
const run = (
  program: string
): Promise<{ readonly cwd: string; readonly code: number | null; readonly output: string }> => {
  const file = join(folder, "program.ts")
  writeFileSync(file, program)
  const cwd = mkdtempSync(join(tmpdir(), "inftythink-"))
  copyFileSync(join(root, "samples/traces.jsonl"), join(cwd, "traces.jsonl"))
  const args = "Deno" in globalThis ? ["run", "--allow-all", "--no-check", file] : [file]
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, env: { ...process.env, NO_COLOR: "1" } })
    let output = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => output += text)
    child.stderr.setEncoding("utf8").on("data", (text: string) => output += text)
    child.on("error", reject)
    child.on("close", (code) => resolve({ cwd, code, output }))
  })
}

const programWith = (words: string): string => programs.find((program) => program.includes(words))!

test("README: its commands are scripts, and its options are the command's", () => {
  const { scripts } = JSON.parse(read("package.json"))
  for (const [, script] of readme.matchAll(/npm (?:run )?(demo|test)\b/g)) assert.ok(script! in scripts)
  const cli = readdirSync(join(root, "lib/apps")).map((file) => read(`lib/apps/${file}`)).join()
  for (const [, option] of readme.matchAll(/--([a-z-]+)\b/g)) {
    if (option === "help") continue
    assert.ok(cli.includes(`"${option}"`), `--${option}`)
  }
})

test("README: the files it names are there", () => {
  for (const [, file] of readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) assert.ok(existsSync(join(root, file!)), file)
})

test("README: every program has the right types", { skip: "Deno" in globalThis || "Bun" in globalThis }, () => {
  programs.forEach((program, i) => writeFileSync(join(folder, `program${i}.ts`), program))
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({
      extends: "../../tsconfig.json",
      compilerOptions: { declaration: false, isolatedDeclarations: false },
      include: ["program*.ts"]
    })
  )
  execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", folder], { stdio: "inherit" })
})

test("README: the first program prints two segments", async () => {
  const { code, output } = await run(programs[0]!)
  assert.equal(code, 0, output)
  assert.equal(
    output,
    "16 Let n be even. Then n² is even.\n\nNow let n be odd. Then n² is odd.\n\n\n7 So n² has the parity of n.\n"
  )
})

test("README: reconstruct writes rows, with a server for summaries", async () => {
  await using server = await serve(() => "* so far")
  const { cwd, code, output } = await run(
    programWith("Jsonl.write").replace("http://localhost:8000/v1", server.baseUrl).replace("eta: 4096", "eta: 512")
  )
  assert.equal(code, 0, output)
  const rows = readFileSync(join(cwd, "instances.jsonl"), "utf8").trimEnd().split("\n")
  assert.match(output, new RegExp(`written: ${rows.length}\\b`))
  assert.equal(server.asked.length, rows.length - 12)
})

test("README: a pipeline of one's own renders the iterations of longer samples", async () => {
  const { code, output } = await run(programWith("Dialect.instance"))
  assert.equal(code, 0, output)
  assert.equal(output.trimEnd().split("\n").length, 45)
})

test("README: reason prints what the model writes, as it comes", async () => {
  const replies = [
    "<think>\nOnce more.\n</think>\n<summary>\n* It is 6 × 7.\n</summary>",
    "<think>\n42.\n</think>\n\nIt is 42."
  ]
  await using server = await serve((_, index) => replies[index]!)
  const { code, output } = await run(
    programWith("Reasoner.reason").replace("http://localhost:8000/v1", server.baseUrl)
  )
  assert.equal(code, 0, output)
  assert.equal(output, "Once more.* It is 6 × 7.42.\n\nIt is 42.")
})

test("README: solve gives the outcome, without Effect", async () => {
  await using server = await serve(() => "<think>\n42.\n</think>It is 42.")
  const { code, output } = await run(
    programWith("await solve").replace("http://localhost:8000/v1", server.baseUrl)
  )
  assert.equal(code, 0, output)
  assert.equal(output, "Concluded It is 42.\n")
})

test("README: a guided model is cut, and concludes", async () => {
  const long = "Let me look at that once more.\n\n".repeat(1000)
  const replies = [`<think>\n${long}`, "* once more", "<think>\n42.\n</think>It is 42."]
  await using server = await serve((_, index) => replies[index]!)
  const { code, output } = await run(programWith("guide: {}").replace("http://localhost:8000/v1", server.baseUrl))
  assert.equal(code, 0, output)
  assert.match(output, /It is 42\.[^]*requests: 3/)
})

test("README: the web handler answers as the OpenAI API does", async () => {
  await using server = await serve(() => "<think>\n42.\n</think>It is 42.")
  writeFileSync(
    join(folder, "handler.ts"),
    programWith("Web.handler").replace("http://localhost:8000/v1", server.baseUrl)
  )
  const { code, output } = await run(`
    import handler from "./handler.ts"
    const body = JSON.stringify({ model: "any", messages: [{ role: "user", content: "What is 6 × 7?" }] })
    const headers = { "content-type": "application/json" }
    const request = new Request("http://localhost/v1/chat/completions", { method: "POST", headers, body })
    const { choices: [{ message }] } = await (await handler.fetch(request)).json()
    console.log(message.reasoning_content, "/", message.content)
  `)
  assert.equal(code, 0, output)
  assert.equal(output, "42. / It is 42.\n")
})

test("README: the parser shows its events", async () => {
  const { code, output } = await run(programWith("makeParser"))
  assert.equal(code, 0, output)
  assert.deepEqual([...output.matchAll(/_tag: "(\w+)"|_tag: '(\w+)'/g)].map((match) => match[1] ?? match[2]), [
    ...["Start", "Delta", "Delta", "End", "Delta"]
  ])
})

test("README: a segmenter runs on a stream", async () => {
  const { code, output } = await run(programWith("Machine.textStream"))
  assert.equal(code, 0, output)
  assert.equal([...output.matchAll(/tokens/g)].length, 2)
})
