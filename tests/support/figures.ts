/**
 * The figures of a test run, for the table of `npm run reliability`.
 *
 * @module
 */
import { appendFileSync } from "node:fs"
import process from "node:process"

/** What a test found, by name. */
export interface Figures {
  /** What was tested: a row of the table, or several with the same subject. */
  readonly subject: string
  /** Numbers are added up with those of the same name; what must not be is a text. */
  readonly figures: Readonly<Record<string, number | string>>
}

/** Adds figures, one JSON a line, to the file that `INFTYTHINK_FIGURES` names; does nothing where it names none. */
export const record = (subject: string, figures: Figures["figures"]): void => {
  const file = process.env["INFTYTHINK_FIGURES"]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ subject, figures })}\n`)
}
