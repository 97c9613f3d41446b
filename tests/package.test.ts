import assert from "node:assert/strict"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { test } from "node:test"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const readJson = (file: string) => JSON.parse(readFileSync(join(root, file), "utf8"))

const npm = readJson("package.json")
const deno = readJson("deno.json")

/** Adapters that others are made of; they have no export of their own. */
const internal = ["Lock.ts", "SegmentsWorker.ts", "ServerSentEvents.ts", "Sink.ts", "Storage.ts", "Workers.ts"]

test("package: both manifests have the same version, licence and exports", () => {
  assert.equal(deno.version, npm.version)
  assert.equal(deno.license, npm.license)
  const { "./package.json": _, ...exports } = npm.exports
  const expected = Object.fromEntries(
    Object.entries<string>(deno.exports).map(([name, file]) => {
      const built = file.replace("./", "./dist/").replace(/\.ts$/, "")
      return [name, { types: `${built}.d.ts`, default: `${built}.js` }]
    })
  )
  assert.deepEqual(exports, expected)
})

test("package: every adapter has an export of its own", () => {
  const adapters = readdirSync(join(root, "lib/adapters")).filter((file) => !internal.includes(file))
  assert.deepEqual(
    Object.values<string>(deno.exports).filter((file) => file.startsWith("./lib/adapters/")).sort(),
    adapters.map((file) => `./lib/adapters/${file}`).sort()
  )
})

test("package: Deno imports the versions that npm installs", () => {
  const versions: Readonly<Record<string, string>> = {
    ...npm.devDependencies,
    ...npm.dependencies,
    ...npm.peerDependencies
  }
  for (const [name, specifier] of Object.entries<string>(deno.imports)) {
    assert.equal(specifier, `npm:${name}@${versions[name]}`)
  }
})

test("package: of what is installed only the runtimes that npm brings run scripts, and nothing that a user installs", () => {
  const installed: ReadonlyArray<[path: string, entry: { readonly hasInstallScript?: true; readonly dev?: true }]> =
    Object.entries(readJson("package-lock.json").packages)
  const scripted = installed.filter(([, { hasInstallScript }]) => hasInstallScript)
  assert.ok(scripted.every(([, { dev }]) => dev))
  const names = scripted.map(([path]) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length))
  assert.deepEqual(Object.keys(npm.allowScripts).sort(), names.sort())
  // Without theirs there is no binary; the others only save a start of Node.
  assert.deepEqual(names.filter((name) => npm.allowScripts[name] === true), ["bun", "node"])
})

const isNode = !("Deno" in globalThis) && !("Bun" in globalThis)

test("package: the tarball installs into an empty project and runs there on Node, Deno and Bun", {
  skip: isNode ? false : "npm installs it once, on Node"
}, () => {
  const folder = mkdtempSync(join(tmpdir(), "inftythink-"))
  const run = (file: string, ...args: ReadonlyArray<string>): string =>
    execFileSync(file, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
  const [{ filename }] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: root, encoding: "utf8" })
      .replace(/^[^[]*/, "")
  )
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }))
  run(
    "npm",
    "install",
    "--no-audit",
    "--no-fund",
    "--prefer-offline",
    `./${filename}`,
    `effect@${npm.devDependencies.effect}`,
    `@huggingface/tokenizers@${npm.peerDependencies["@huggingface/tokenizers"]}`
  )

  const modules = Object.keys(deno.exports).map((name) => name.replace(".", "inftythink"))
  const program = `
    ${modules.map((name) => `await import(${JSON.stringify(name)})`).join("\n")}
    import { Dialect, Sections, Segmenter } from "inftythink"
    import { load } from "inftythink/gpt-tokenizer"
    const { count } = await load("o200k_base")
    const segments = Segmenter.segment("One step.\\n\\nTwo steps.\\n\\nThree.", { eta: 6, count, additive: true })
    console.log(segments.map(({ text }) => text.trim()).join("|"))
    console.log(Sections.parse(Dialect.v1, "<think>\\na\\n</think>b").map(({ text }) => text).join("|"))
  `
  writeFileSync(join(folder, "program.mjs"), program)
  const sample = { question: "Is it?", reasoning: "One step.\n\nTwo steps.", conclusion: "Yes." }
  writeFileSync(join(folder, "samples.jsonl"), JSON.stringify(sample))
  writeFileSync(join(folder, "text.txt"), "One step.\n\nTwo steps.\n\nThree.")
  const bin = (name: string): string => join(root, "node_modules/.bin", name)
  const command = join(folder, "node_modules/inftythink/dist/lib/apps/main.js")
  for (const runtime of [[bin("node")], [bin("deno"), "run", "--allow-all"], [bin("bun")]]) {
    const [file, ...args] = runtime
    assert.equal(run(file!, ...args, "program.mjs"), "One step.\n\nTwo steps.|Three.\na|b\n")
    assert.match(run(file!, ...args, command, "segment", "text.txt", "--eta", "6"), /segment 2 of 2 · 2 tokens/)
    const threads = ["samples.jsonl", "--out", "-", "--eta", "6", "--workers", "1"]
    assert.match(run(file!, ...args, command, "reconstruct", ...threads), /"target":"<think>.*Two steps\..*Yes\."/)
    assert.match(run(file!, ...args, command, "--version"), new RegExp(npm.version.replaceAll(".", "\\.")))
  }
  assert.match(run("npx", "inftythink", "--version"), new RegExp(npm.version.replaceAll(".", "\\.")))
  assert.ok(!readdirSync(folder, { recursive: true, encoding: "utf8" }).some((file) => /inftythink\/tests/.test(file)))
})

test("package: a version of Node that is too old is told so", { skip: isNode ? false : "it is about Node" }, () => {
  const older = 'Object.defineProperty(process, "versions", { value: { ...process.versions, node: "22.18.0" } })'
  const { status, stderr } = spawnSync(
    process.execPath,
    ["--import", `data:text/javascript,${older}`, join(root, "lib/apps/main.ts"), "--version"],
    { encoding: "utf8" }
  )
  const [least] = /\d+\.\d+/.exec(npm.engines.node)!
  assert.equal(status, 1)
  assert.equal(stderr, `Cannot run inftythink: it needs Node ${least} or later, and this is 22.18.0\n`)
})
