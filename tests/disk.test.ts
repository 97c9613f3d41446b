import { layer as services } from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { after, test } from "node:test"
import { fileURLToPath } from "node:url"
import * as Journal from "../lib/adapters/Journal.ts"
import * as Lock from "../lib/adapters/Lock.ts"
import * as cli from "../lib/apps/cli.ts"
import { run, start } from "./support/command.ts"
import { record } from "./support/figures.ts"
import { type Asked, serve } from "./support/server.ts"
import { byteLetters, bytePairs } from "./support/tokenizers.ts"

// ---- a disk that fails

/** What an operation does to the disk: it may need room, it may change what is there. */
type Kind = "reads" | "changes" | "writes"

/** What is wrong with a disk, from its so-manieth operation on. */
interface Fault {
  readonly code: string
  /** Tells whether an operation fails: the first one is numbered 1. */
  readonly fails: (at: number, kind: Kind, k: number) => boolean
  /** What is done to the folder of the output behind its back, before operation k. */
  readonly does?: (out: string) => void
  /** What is said of it. */
  readonly says: RegExp
  /** The runs that meet it. */
  readonly on: ReadonlyArray<keyof typeof scenes>
}

const loses = (name: string, says: RegExp, on: Fault["on"]): Fault => ({
  code: "",
  fails: () => false,
  does: (out) => rmSync(join(out, name), { recursive: true, force: true }),
  says,
  on
})

const faults: Readonly<Record<string, Fault>> = {
  "fails once": {
    code: "EIO: i/o error",
    fails: (at, _, k) => at === k,
    // What a tokenizer's error says is its own.
    says: /EIO|Cannot load/,
    on: ["begun anew", "that overwrites"]
  },
  "is full": {
    code: "ENOSPC: no space left on device",
    fails: (at, kind, k) => at >= k && kind === "writes",
    says: /the disk is full \(ENOSPC\); make room, and run it again/,
    on: ["that overwrites"]
  },
  "is read-only": {
    code: "EROFS: read-only file system",
    fails: (at, kind, k) => at >= k && kind !== "reads",
    says: /the disk is read-only \(EROFS\); choose another folder/,
    on: ["begun anew"]
  },
  "loses the folder": loses("", /it does not exist|its folder does not exist|or its folder, was removed/, [
    "begun anew"
  ]),
  "loses the journal": loses("x.journal.jsonl", /it does not exist/, ["that overwrites"]),
  "loses what is being written": loses(
    "x.jsonl.partial",
    /x\.jsonl\.partial, or its folder, was removed while it was written/,
    ["begun anew"]
  )
}

/** Wraps a file system: its operations are counted, and some of them fail. */
const failing = (
  real: FileSystem.FileSystem,
  isFailing: (kind: Kind) => boolean,
  code: string
): FileSystem.FileSystem => {
  const error = (method: string, path: string): PlatformError.PlatformError =>
    PlatformError.systemError({
      _tag: "Unknown",
      module: "FileSystem",
      method,
      pathOrDescriptor: path,
      cause: Object.assign(new Error(`${code}, ${method}`), { code: code.replace(/:.*/, "") })
    })
  /** Fails in place of an operation, behind what is done of it all the same. */
  const may = <A, R>(
    kind: Kind,
    method: string,
    path: string,
    operation: Effect.Effect<A, PlatformError.PlatformError, R>,
    part: Effect.Effect<unknown, PlatformError.PlatformError> = Effect.void
  ): Effect.Effect<A, PlatformError.PlatformError, R> =>
    Effect.suspend(() =>
      isFailing(kind) ? Effect.andThen(Effect.ignore(part), Effect.fail(error(method, path))) : operation
    )
  const half = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, bytes.length >> 1)
  const wrap = (path: string, file: FileSystem.File): FileSystem.File => ({
    ...file,
    stat: may("reads", "stat", path, file.stat),
    sync: may("writes", "sync", path, file.sync),
    read: (buffer, options) => may("reads", "read", path, file.read(buffer, options)),
    readAlloc: (size, options) => may("reads", "read", path, file.readAlloc(size, options)),
    // What a full disk takes of a write is there.
    writeAll: (bytes) => may("writes", "write", path, file.writeAll(bytes), file.writeAll(half(bytes)))
  })
  return FileSystem.make({
    ...real,
    access: (path, options) => may(options?.writable ? "changes" : "reads", "access", path, real.access(path, options)),
    open: (path, options) =>
      Effect.map(
        may(/^r?$/.test(options?.flag ?? "") ? "reads" : "writes", "open", path, real.open(path, options)),
        (file) => wrap(path, file)
      ),
    readDirectory: (path, options) => may("reads", "scandir", path, real.readDirectory(path, options)),
    readFile: (path) => may("reads", "open", path, real.readFile(path)),
    link: (from, to) => may("writes", "link", from, real.link(from, to)),
    realPath: (path) => may("reads", "realpath", path, real.realPath(path)),
    remove: (path, options) => may("changes", "unlink", path, real.remove(path, options)),
    rename: (from, to) => may("changes", "rename", from, real.rename(from, to)),
    stat: (path) => may("reads", "stat", path, real.stat(path)),
    truncate: (path, length) => may("changes", "ftruncate", path, real.truncate(path, length)),
    // Two operations, because a file that is opened is there, and empty.
    writeFile: (path, bytes, options) =>
      Effect.andThen(
        may("writes", "open", path, real.writeFile(path, new Uint8Array(), options)),
        may("writes", "write", path, real.writeFile(path, bytes), real.writeFile(path, half(bytes)))
      )
  })
}

// ---- a run

/** What a run said, and whether it ended well. */
interface Ran {
  readonly isDone: boolean
  readonly stderr: string
  /** The operations there were. */
  readonly operations: number
}

/** Runs the command in this process, on a disk that fails. */
const runOn = async (args: ReadonlyArray<string>, fault?: Fault, k = 0, out = ""): Promise<Ran> => {
  const said: Array<string> = []
  let operations = 0
  const isFailing = (kind: Kind): boolean => {
    operations++
    if (operations === k) fault?.does?.(out)
    return fault?.fails(operations, kind, k) ?? false
  }
  const { stderr } = process
  const write = stderr.write
  stderr.write = () => true
  const exit = await Effect.gen(function* () {
    const real = yield* FileSystem.FileSystem
    const disk = failing(real, isFailing, fault?.code ?? "")
    return yield* Effect.exit(Effect.provideService(cli.run(args), FileSystem.FileSystem, disk))
  }).pipe(
    Effect.provideService(Console.Console, {
      ...console,
      log: () => {},
      error: (...texts: ReadonlyArray<unknown>) => void said.push(texts.join(" "))
    }),
    Effect.provide(services),
    Effect.runPromise
  ).finally(() => stderr.write = write)
  return { isDone: Exit.isSuccess(exit), stderr: said.join("\n"), operations }
}

/** A summary that depends on what is asked and on nothing else. */
const summaryOf = ({ body }: Asked): string => {
  const said = body.messages.map(({ content }) => content).join("\n")
  let sum = 0
  for (let i = 0; i < said.length; i++) sum = (sum * 31 + said.charCodeAt(i)) >>> 0
  return `* So far, ${said.length} characters were read, and their sum is ${sum}. 思考 😀`
}

const lines = [3, 1, 2].map((steps, i) =>
  JSON.stringify({
    id: `s${i}`,
    question: `What of ${i}?`,
    reasoning: Array.from({ length: steps }, (_, step) => `Take step ${step} of ${i} here.`).join("\n\n"),
    conclusion: `Done with ${i}.`
  })
)
/** The requests it takes: the last segment of a sample needs no summary. */
const SUMMARIES = 3

const home = mkdtempSync(join(tmpdir(), "inftythink-"))
writeFileSync(join(home, "in.jsonl"), [...lines, "no json\n"].join("\n"))
// One token for each byte, because a large vocabulary takes longer to read than all else.
writeFileSync(join(home, "bytes.json"), JSON.stringify(bytePairs(byteLetters, [])))

const commandTo = (baseUrl: string, out: string, ...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...["reconstruct", join(home, "in.jsonl"), "--out", join(out, "x.jsonl"), "--eta", "36", "--concurrency", "1"],
  ...["--tokenizer", join(home, "bytes.json"), "--base-url", baseUrl, "--model", "m", ...more]
]

/** What stands in a folder when a run is done: of each file its text. */
const filesIn = (folder: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    (existsSync(folder) ? readdirSync(folder) : []).sort().map((
      name
    ) => [name, readFileSync(join(folder, name), "utf8")])
  )

/** What a run is to make, but for the journal and the time; a lock that could not be removed is nobody's. */
const madeIn = (folder: string): Readonly<Record<string, string>> => {
  const files = Object.fromEntries(Object.entries(filesIn(folder)).filter(([name]) => !/journal|lock$/.test(name)))
  const manifest = files["x.manifest.json"]?.replace(/"finished": .*/, "").replaceAll(folder, "")
  return { ...files, "x.manifest.json": manifest ?? "" }
}

const old = { "x.jsonl": "old rows\n", "x.rejects.jsonl": "old rejections\n", "dataset_info.json": '{ "mine": {} }' }

/** What stood before, and the options of the command. */
interface Scene {
  readonly before: Readonly<Record<string, string>>
  readonly more: ReadonlyArray<string>
}

const scenes = {
  "begun anew": { before: {}, more: [] },
  "that overwrites": { before: old, more: ["--overwrite", "--format", "sharegpt", "--dialect", "chat"] }
}

/** All operations on one runtime; some on the others show that nothing of it depends on the runtime. */
const EVERY = "Deno" in globalThis || "Bun" in globalThis ? 7 : 1

const putIn = (out: string, files: Readonly<Record<string, string>>): void => {
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(out, name), text)
}

const server = await serve(summaryOf)
after(async () => {
  await server[Symbol.asyncDispose]()
  rmSync(home, { recursive: true })
})

const inspect = (journal: string): Promise<{ readonly answers: number; readonly damaged: number }> =>
  Journal.inspect(journal).pipe(
    Effect.map(({ answers, damaged }) => ({ answers, damaged })),
    Effect.orElseSucceed(() => ({ answers: 0, damaged: 0 })),
    Effect.provide(services),
    Effect.runPromise
  )

for (const [name, fault] of Object.entries(faults)) {
  for (const title of fault.on) {
    const { before, more }: Scene = scenes[title]
    test(`disk: a run ${title} on a disk that ${name}, at any operation, loses nothing and goes on`, async () => {
      const out = join(home, "out")
      const command = commandTo(server.baseUrl, out, ...more)
      putIn(out, before)
      const whole = await runOn(command)
      assert.equal(whole.isDone, true, whole.stderr)
      const expected = madeIn(out)
      const figures = { operations: 0, stopped: 0, "asked again": 0 }
      for (let k = 1; k <= whole.operations; k += EVERY) {
        putIn(out, before)
        const ran = await runOn(command, fault, k, out)
        figures.operations++
        const where = `operation ${k}, ${ran.stderr}`
        const isLost = !existsSync(out)
        const found = filesIn(out)
        // What stands at a name is what stood there, or whole; a stale list of rejections may be gone.
        for (const file of isLost ? [] : Object.keys({ ...before, ...found })) {
          if (/journal|partial$|lock$|manifest/.test(file)) continue
          assert.ok([before[file], expected[file]].includes(found[file]), `${where}: ${file} is ${found[file]}`)
        }
        if (ran.isDone) {
          if (!isLost) assert.deepEqual(madeIn(out), expected, where)
          continue
        }
        figures.stopped++
        assert.match(ran.stderr, new RegExp(`^inftythink: Cannot [a-z ]+ ${home}/[^]*: .`, "m"), where)

        assert.match(ran.stderr, fault.says, where)

        if (isLost) putIn(out, before)
        const { answers } = await inspect(join(out, "x.journal.jsonl"))
        const asked = server.asked.length
        const again = await runOn(command)
        assert.equal(again.isDone, true, `${where}: again, ${again.stderr}`)
        assert.deepEqual(madeIn(out), expected, where)
        figures["asked again"] += server.asked.length - asked
        assert.equal(server.asked.length - asked, SUMMARIES - answers, `${where}: ${answers} answers are known`)
        // What was torn is gone, and nothing was written behind it.
        assert.deepEqual(await inspect(join(out, "x.journal.jsonl")), { answers: SUMMARIES, damaged: 0 }, where)
      }
      assert.ok(figures.stopped > 0 || EVERY > 1)
      record("disk", { run: title, disk: name, ...figures })
    })
  }
}

for (const blocking of ["x.jsonl", "x.rejects.jsonl"] as const) {
  test(`disk: a run that may not overwrite leaves ${blocking} alone, whichever operation fails`, async () => {
    const out = join(home, "out")
    const asked = server.asked.length
    putIn(out, { [blocking]: old[blocking] })
    const refused = await runOn(commandTo(server.baseUrl, out))
    assert.match(refused.stderr, /: it exists; --overwrite replaces it$/m)
    for (let k = 1; k <= refused.operations; k++) {
      putIn(out, { [blocking]: old[blocking] })
      const ran = await runOn(commandTo(server.baseUrl, out), faults["fails once"], k)
      assert.equal(ran.isDone, false, `operation ${k}`)
      assert.equal(filesIn(out)[blocking], old[blocking], `operation ${k}`)
    }
    assert.equal(server.asked.length, asked)
  })
}

// ---- a real disk

const isLinux = process.platform === "linux"

const main = fileURLToPath(new URL("../lib/apps/main.ts", import.meta.url))

/** Runs the command under a shell's limits; on Deno and Bun, too, a file that is too large is an error and no signal. */
const runLimited = async (folder: string, limit: string, args: ReadonlyArray<string>, stdout: "pipe" | number) => {
  const before = "Deno" in globalThis ? ["run", "--allow-all", "--no-check"] : []
  const script = `trap '' XFSZ; ${limit}; exec "$@"`
  const child = spawn("bash", ["-c", script, "bash", process.execPath, ...before, main, ...args], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: "1" },
    stdio: ["ignore", stdout, "pipe"]
  })
  let stderr = ""
  child.stderr?.setEncoding("utf8").on("data", (text: string) => stderr += text)
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve))
  return { code, stderr }
}

test("disk: a file that may grow no further stops a run, which goes on where there is room", {
  skip: isLinux ? false : "it is about Linux"
}, async () => {
  const out = join(home, "out")
  putIn(out, {})
  // The journal takes less than 2 KiB, and the rows take more.
  const limited = await runLimited(home, "ulimit -f 2", commandTo(server.baseUrl, out), "pipe")
  assert.equal(limited.code, 1, limited.stderr)
  assert.match(limited.stderr, new RegExp(`^inftythink: Cannot write ${out}/x.jsonl: .*(EFBIG|File too large)`, "m"))
  const { answers } = await inspect(join(out, "x.journal.jsonl"))
  assert.ok(answers > 0)
  assert.ok(
    limited.stderr.includes(` ${answers} answers are kept in ${out}/x.journal.jsonl: the same command goes on.`)
  )
  const asked = server.asked.length
  const { code, stderr } = await run(home, commandTo(server.baseUrl, out))
  assert.equal(code, 0, stderr)
  assert.equal(server.asked.length - asked, SUMMARIES - answers)
})

test("disk: standard output on a full disk is an error that says so", {
  skip: existsSync("/dev/full") ? false : "there is no /dev/full"
}, async () => {
  const full = openSync("/dev/full", "w")
  const { code, stderr } = await runLimited(home, ":", ["reconstruct", "in.jsonl", "--out", "-", "--eta", "36"], full)
  closeSync(full)
  assert.equal(code, 1, stderr)
  assert.match(stderr, /^inftythink: Cannot write -: .*(ENOSPC|No space left)/m)
})

// ---- two runs

test("disk: of two runs on one journal the second is refused, and one goes on where the first was killed", async () => {
  const out = join(home, "out")
  putIn(out, {})
  let reach = (): void => {}
  const reached = new Promise<void>((resolve) => reach = resolve)
  await using stuck = await serve(async (asked, index) => {
    if (index < SUMMARIES - 1) return summaryOf(asked)
    reach()
    return await new Promise<never>(() => {})
  })
  const first = start(home, commandTo(stuck.baseUrl, out))
  await reached
  const second = await run(home, commandTo(server.baseUrl, out))
  assert.equal(second.code, 1)
  const holder =
    `process ${first.child.pid} on .* has it open; if there is no such run, remove ${out}/x.journal.jsonl.lock`
  assert.match(
    second.stderr,
    new RegExp(`^inftythink: Cannot open the journal ${out}/x.journal.jsonl: ${holder}$`, "m")
  )
  first.child.kill("SIGKILL")
  await first.done
  const asked = server.asked.length
  const third = await run(home, commandTo(server.baseUrl, out))
  assert.equal(third.code, 0, third.stderr)
  assert.equal(server.asked.length, asked + 1)
  assert.deepEqual(readdirSync(out).filter((file) => /lock|partial/.test(file)), [])
})

/** The lock of a process that runs, and is not this one. */
const theirs = JSON.stringify({ process: process.ppid, host: hostname() })
/** The lock of a process that is gone. */
const stale = JSON.stringify({ process: 2 ** 22 - 1, host: hostname() })

for (const [title, before] of [["free", undefined], ["left behind", stale], ["torn", '{"process":']] as const) {
  test(`disk: of two that take a lock that is ${title} one gets it, wherever the other comes between`, async () => {
    const file = join(home, "x")
    const lock = `${file}.lock`
    const winners = new Set<string>()
    for (let k = 0, operations = 0; k <= operations; k++) {
      if (before === undefined) rmSync(lock, { force: true })
      else writeFileSync(lock, before)
      let at = 0
      let areThey = false
      const come = (): boolean => {
        // They take over what is torn, too.
        if (++at === k && (!existsSync(lock) || [before, ""].includes(readFileSync(lock, "utf8")))) {
          writeFileSync(lock, theirs)
          areThey = true
        }
        return false
      }
      const came = await Effect.gen(function* () {
        const real = yield* FileSystem.FileSystem
        const taken = yield* Lock.take(file).pipe(
          Effect.provideService(FileSystem.FileSystem, failing(real, come, "")),
          Effect.result
        )
        return { taken, text: readFileSync(lock, "utf8") }
      }).pipe(Effect.scoped, Effect.provide(services), Effect.runPromise)
      operations = Math.max(operations, at)
      winners.add(areThey ? "they" : "we")
      assert.equal(Result.isFailure(came.taken), areThey, `operation ${k}`)
      if (Result.isFailure(came.taken)) assert.equal(came.taken.failure._tag, "Taken")
      assert.equal(came.text === theirs, areThey, `operation ${k}`)
      assert.deepEqual(readdirSync(home).filter((name) => name.startsWith("x")), areThey ? ["x.lock"] : [])
    }
    assert.deepEqual([...winners].sort(), ["they", "we"])
  })
}

test("disk: a lock that another process holds is not taken, whichever operation fails", async () => {
  const file = join(home, "x")
  // None at first, but all that read.
  for (let k = 0; k <= 10; k++) {
    writeFileSync(`${file}.lock`, theirs)
    let at = 0
    const taken = await Effect.gen(function* () {
      const real = yield* FileSystem.FileSystem
      const disk = failing(real, (kind) => ++at === k || k === 0 && kind === "reads", "EIO: i/o error")
      return yield* Effect.result(Effect.provideService(Lock.take(file), FileSystem.FileSystem, disk))
    }).pipe(Effect.scoped, Effect.provide(services), Effect.runPromise)
    assert.ok(Result.isFailure(taken), `operation ${k}`)
    assert.equal(readFileSync(`${file}.lock`, "utf8"), theirs, `operation ${k}`)
  }
})
