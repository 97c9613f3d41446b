import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

const sources: ReadonlyArray<string> = readdirSync(join(root, "lib"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => `lib/${file.replaceAll("\\", "/")}`)
  .concat("mod.ts")

/** The rings from the inside out; a file may import from its own and from those before. */
const rings = ["lib/core", "lib", "lib/adapters", "lib/apps"]

const ringOf = (file: string): number => file === "mod.ts" ? rings.indexOf("lib") : rings.indexOf(dirname(file))

const read = (file: string): string => readFileSync(join(root, file), "utf8")

/** What a file imports, types and lazy imports included. */
const importsOf = (file: string): ReadonlyArray<string> =>
  [...read(file).matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|^import\s+)"([^"]+)"/gm)].map((match) => match[1]!)

const isRelative = (specifier: string): boolean => specifier.startsWith(".")

test("rings: every source stands in one", () => {
  assert.ok(sources.length > 10)
  for (const file of sources) assert.notEqual(ringOf(file), -1, file)
})

test("rings: imports point only inwards", () => {
  for (const file of sources) {
    for (const specifier of importsOf(file).filter(isRelative)) {
      const target = normalize(join(dirname(file), specifier)).replaceAll("\\", "/")
      assert.ok(sources.includes(target), `${file} imports ${specifier}, which is no source`)
      assert.ok(ringOf(target) <= ringOf(file), `${file} imports ${target}, which lies further out`)
    }
  }
})

test("rings: the core imports nothing but itself, and only adapters and apps import more than effect", () => {
  for (const file of sources) {
    const packages = importsOf(file).filter((specifier) => !isRelative(specifier))
    const allowed = ringOf(file) === 0 ? /^$/ : ringOf(file) === 1 ? /^effect\/\w+$/ : /./
    for (const specifier of packages) assert.match(specifier, allowed, `${file} imports ${specifier}`)
  }
})

test("rings: effect is imported by subpath, and not by its barrel", () => {
  for (const file of sources) assert.ok(!importsOf(file).includes("effect"), file)
})

test("rings: outside adapters and apps, every symbol of effect is a stable one", () => {
  let symbols = 0
  for (const file of sources.filter((file) => ringOf(file) === 1)) {
    for (const [, name, module] of read(file).matchAll(/^import (?:type )?\* as (\w+) from "effect\/(\w+)"/gm)) {
      const implementation = readFileSync(join(root, `node_modules/effect/src/${module}.ts`), "utf8")
      for (const [, symbol] of read(file).matchAll(new RegExp(`\\b${name}\\.(\\w+)`, "g"))) {
        symbols++
        assert.equal(stabilityOf(implementation, symbol!), "stable", `${file} uses ${name}.${symbol}`)
      }
    }
  }
  assert.ok(symbols > 20)
})

/** What the documentation of an exported symbol says of its stability. */
const stabilityOf = (implementation: string, symbol: string): string | undefined => {
  const at = implementation.search(
    new RegExp(
      `^(?:export (?:declare )?(?:const|class|interface|type|function)|  \\w+ as|export \\{) ${symbol}\\b`,
      "m"
    )
  )
  return at < 0 ? undefined : [...implementation.slice(0, at).matchAll(/@stability (\w+)/g)].at(-1)?.[1]
}
