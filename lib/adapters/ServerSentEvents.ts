/**
 * Server-sent events, as model servers write them: a push parser of `text/event-stream`.
 *
 * It follows the WHATWG algorithm, and differs where servers do: the field `error`, with which llama.cpp reports a
 * failure, is an event of its own, and the last event counts without the blank line after it. Effect's own parser drops
 * both. `id` and `retry` mean nothing here, since an answer can't be taken up again.
 *
 * @module
 */

/** An event of a server. */
export interface ServerEvent {
  /** What kind of event it is: `message` where the server does not say. */
  readonly name: string
  /** Its data, lines joined by `\n`. */
  readonly data: string
}

/** How to parse events. */
export interface Options {
  /**
   * The largest line and the most data of one event, in UTF-16 code units. What is larger is given as an event `error`
   * that says so, and what follows it is ignored.
   */
  readonly maxEventSize: number
}

/** An incremental parser: where its input is cut changes nothing. */
export interface Parser {
  /** Reads more text, and returns the events that are complete. */
  readonly feed: (chunk: string) => Array<ServerEvent>
  /** Ends the text, and returns the event that is left. */
  readonly end: () => Array<ServerEvent>
}

/** Makes a parser of one stream of events. */
export const make = ({ maxEventSize }: Options): Parser => {
  // The line being read, in the pieces it came in: joined once, or a long line cut into bytes would be quadratic.
  let pieces: Array<string> = []
  let pieceSize = 0
  // Whether a CR ended the last line, so that a LF that comes next belongs to it, also across chunks.
  let afterReturn = false
  let name = ""
  let data = ""
  // With the newline behind each line.
  let dataSize = 0
  let isOverfull = false
  let events: Array<ServerEvent> = []

  const overflow = (): void => {
    isOverfull = true
    pieces = []
    data = ""
    events.push({ name: "error", data: `an event is larger than ${maxEventSize} characters` })
  }

  const readField = (field: string, value: string): void => {
    if (field === "data") {
      data = dataSize === 0 ? value : `${data}\n${value}`
      dataSize += value.length + 1
      if (dataSize > maxEventSize + 1) return overflow()
    } else if (field === "event") name = value
    else if (field === "error") events.push({ name: "error", data: value })
  }

  const dispatch = (): void => {
    // An event with empty data is none: a server that writes blank lines to keep the connection open says nothing.
    if (dataSize > 1) events.push({ name: name || "message", data })
    name = ""
    data = ""
    dataSize = 0
  }

  /** Reads the line that ends with these characters of a text; its fields are cut out of it, and it is not. */
  const readLine = (text: string, from: number, to: number): void => {
    if (pieceSize + to - from > maxEventSize) return overflow()
    if (pieces.length > 0) {
      pieces.push(text.slice(from, to))
      const line = pieces.join("")
      pieces = []
      pieceSize = 0
      return readLine(line, 0, line.length)
    }
    if (from === to) return dispatch()
    if (text.startsWith("data:", from)) return readField("data", valueAt(text, from + 5, to))
    const line = text.slice(from, to)
    const colon = line.indexOf(":")
    if (colon === -1) return readField(line, "")
    readField(line.slice(0, colon), valueAt(line, colon + 1, line.length))
  }

  const takeEvents = (): Array<ServerEvent> => {
    const taken = events
    events = []
    return taken
  }

  return {
    feed: (chunk) => {
      if (chunk === "") return []
      // A LF belongs to the CR before it, also across chunks.
      let start = afterReturn && chunk.startsWith("\n") ? 1 : 0
      afterReturn = chunk.endsWith("\r")
      // Each is looked for anew only behind itself, or a chunk of many lines of the one kind would be quadratic.
      let feed = chunk.indexOf("\n", start)
      let carriage = chunk.indexOf("\r", start)
      while (!isOverfull && (feed !== -1 || carriage !== -1)) {
        const isFeed = carriage === -1 || feed !== -1 && feed < carriage
        const end = isFeed ? feed : carriage
        readLine(chunk, start, end)
        start = !isFeed && feed === end + 1 ? end + 2 : end + 1
        if (feed !== -1 && feed < start) feed = chunk.indexOf("\n", start)
        if (carriage !== -1 && carriage < start) carriage = chunk.indexOf("\r", start)
      }
      if (start < chunk.length && !isOverfull) {
        pieces.push(chunk.slice(start))
        pieceSize += chunk.length - start
        if (pieceSize > maxEventSize) overflow()
      }
      return takeEvents()
    },
    end: () => {
      if (!isOverfull && pieceSize > 0) readLine("", 0, 0)
      if (!isOverfull) dispatch()
      return takeEvents()
    }
  }
}

/** The value of a field that begins at an index, behind a blank. */
const valueAt = (text: string, from: number, to: number): string => text.slice(text[from] === " " ? from + 1 : from, to)
