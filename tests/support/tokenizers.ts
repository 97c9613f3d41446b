/**
 * Files of tokenizers as models publish them.
 *
 * @module
 */

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const uncased = (digits: string): string =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${SPACES}`

/** How Qwen 2 and 3 split text. */
export const QWEN: string = uncased("\\p{N}")
/** How Llama 3 splits text. */
export const LLAMA3: string = uncased("\\p{N}{1,3}")
/** How gpt-oss splits text. */
export const O200K: string = [
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+${CONTRACTIONS}?`,
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*${CONTRACTIONS}?`,
  `\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${SPACES}`
].join("|")

/** The characters by which byte-level vocabularies write the bytes 0 to 255. */
export const byteLetters: ReadonlyArray<string> = Array.from({ length: 256 }, (_, byte) => {
  const isPrintable = (code: number): boolean => code > 32 && code < 127 || code > 160 && code !== 173
  const others = Array.from({ length: byte }, (_, i) => i).filter((i) => !isPrintable(i)).length
  return String.fromCodePoint(isPrintable(byte) ? byte : 256 + others)
})

/** An entry for a token that is added to a vocabulary. */
export const addedToken = (content: string, id: number, special: boolean): AddedToken => ({
  content,
  id,
  special,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false
})

/** A byte-level tokenizer of a vocabulary and its merges that splits and composes text as Qwen does. */
export const bytePairs = (tokens: ReadonlyArray<string>, merges: ReadonlyArray<string>): BytePairsJson => {
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false }
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [addedToken("<|im_end|>", tokens.length, true), addedToken("<think>", tokens.length + 1, false)],
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [{ type: "Split", pattern: { Regex: QWEN }, behavior: "Isolated", invert: false }, bytes]
    },
    post_processor: bytes,
    decoder: bytes,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: "",
      end_of_word_suffix: "",
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, i) => [token, i])),
      merges
    }
  }
}

/** The same of the tokens of an encoding in the order of their ranks: all ways to make each of two others are merges. */
export const bytePairsOf = (ranks: ReadonlyArray<string | ReadonlyArray<number>>): BytePairsJson => {
  const encoder = new TextEncoder()
  const tokens = ranks.map((token) =>
    Array.from(typeof token === "string" ? encoder.encode(token) : token, (byte) => byteLetters[byte]!).join("")
  )
  const vocabulary = new Set(tokens)
  const merges = tokens.flatMap((token) =>
    Array.from({ length: token.length - 1 }, (_, i) => [token.slice(0, i + 1), token.slice(i + 1)] as const)
      .filter((pair) => pair.every((part) => vocabulary.has(part)))
      .map((pair) => pair.join(" "))
  )
  return bytePairs(tokens, merges)
}

interface AddedToken {
  readonly content: string
  readonly id: number
  readonly special: boolean
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
}

interface BytePairsJson {
  readonly added_tokens: ReadonlyArray<AddedToken>
  readonly normalizer: { readonly type: string } | null
  readonly pre_tokenizer: { readonly type: string; readonly pretokenizers: ReadonlyArray<object> }
  readonly model: Readonly<Record<string, unknown>>
  readonly [field: string]: unknown
}
