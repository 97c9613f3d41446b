/**
 * Why a record or a sample yields no rows.
 *
 * @module
 */

/** What was wrong, one word for each kind; `detail` tells a person. */
export type Reason =
  // the file
  | "invalid-utf8"
  | "invalid-json"
  | "line-too-long"
  // the record
  | "unknown-shape"
  | "no-question"
  | "no-reasoning"
  | "unclosed-reasoning"
  | "no-conclusion"
  | "no-correct-answer"
  // the text
  | "tag-in-source"
  | "template-refused"
  // the summaries
  | "request-refused"
  | "request-failed"
  | "summary-unfinished"
  | "summary-empty"
  | "summary-too-long"
  | "summary-with-tag"
  | "summary-with-conclusion"
  // the training format
  | "no-reference"

/** A record or a sample that yields no rows, and why. */
export interface Rejection {
  readonly _tag: "Rejection"
  /** The kind of fault, for counting. */
  readonly reason: Reason
  /** One sentence for a person, with the value that is at fault. */
  readonly detail: string
  /** The sample's id, where the record has one. */
  readonly id?: string
  /** The file the record came from. */
  readonly file?: string
  /** Its line, from 1. */
  readonly line?: number
}

/** Where a rejected record came from. */
export interface Place {
  readonly id?: string
  readonly file?: string
  readonly line?: number
}

/** Makes a rejection. */
export const make = (reason: Reason, detail: string, place: Place = {}): Rejection => ({
  _tag: "Rejection",
  reason,
  detail,
  ...place
})

/** Tells a rejection from any other value. */
export const isRejection = (value: unknown): value is Rejection =>
  typeof value === "object" && value !== null && "_tag" in value && value._tag === "Rejection"

/** Quotes a text for a message, at most `length` code units of it. */
export const quote = (text: string, length = 80): string =>
  JSON.stringify(text.length <= length ? text : `${text.slice(0, length)}…`)
