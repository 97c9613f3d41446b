/**
 * Texts that are hard to split into tokens, and regular expressions that split them.
 *
 * @module
 */
import fc from "fast-check"
import process from "node:process"
import { reasoning } from "./text.ts"

/** How many cases a comparison with another library takes: `INFTYTHINK_CASES`, or a fraction of what was run once. */
export const cases: number = Number(process.env["INFTYTHINK_CASES"] ?? 2000)

/** What patterns tell apart: cases, marks, digits, blanks, newlines, contractions, halves of surrogate pairs. */
const part: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    "a",
    "the",
    "B",
    "AB",
    "ǅ",
    "ʰ",
    "中",
    "中文",
    "أ",
    "ก",
    "é",
    "ß",
    "Ж",
    "ж",
    "ſ",
    "𝒙",
    "한",
    "\u0301"
  ),
  fc.constantFrom(" ", "  ", "\t", "\u00a0", "\u3000", "\u2028", "\u0085", "\n", "\r\n", "\n\n", "\r", "\0"),
  fc.constantFrom(
    "'s",
    "'T",
    "'ll",
    "'LL",
    "'rE",
    "'vE",
    "'l",
    "'ſ",
    "'",
    "/",
    ".",
    "(",
    "```",
    "\\[",
    "<|endoftext|>",
    "—"
  ),
  fc.constantFrom(
    "1",
    "23",
    "4567",
    "①",
    "Ⅷ",
    "٣",
    "½",
    "😀",
    "👩‍👩‍👧‍👦",
    "\ud83d",
    "\ude00",
    "\u200b",
    "\u0958",
    "ᄒ",
    "ᅡ",
    "ᆫ"
  )
)

/** Any text: of parts that patterns tell apart, of any code units, and reasoning. */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: fc.array(part, { maxLength: 16 }).map((parts) => parts.join("")) },
  { weight: 2, arbitrary: fc.string({ unit: "binary", maxLength: 40 }) },
  { weight: 1, arbitrary: fc.string({ maxLength: 60 }) },
  { weight: 1, arbitrary: reasoning }
)

/** How cl100k, Qwen and o200k split text, as regular expressions. */
export const patterns: Readonly<Record<"cl100k" | "qwen" | "o200k", RegExp>> = {
  cl100k: uncased(String.raw`\p{N}{1,3}`),
  qwen: uncased(String.raw`\p{N}`),
  o200k: new RegExp(
    String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:${contractions()})?|` +
      String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:${contractions()})?|` +
      String.raw`\p{N}{1,3}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n/]*|${spaces()}`,
    "gu"
  )
}

function uncased(digits: string): RegExp {
  return new RegExp(
    String.raw`${contractions()}|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|${spaces()}`,
    "gu"
  )
}

function contractions(): string {
  return "'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]"
}

function spaces(): string {
  return String.raw`\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+`
}
