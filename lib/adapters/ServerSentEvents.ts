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
  let data: Array<string> = []
  let dataSize = 0
  let isOverfull = false
  let events: Array<ServerEvent> = []

  const overflow = (): void => {
    isOverfull = true
    pieces = []
    data = []
    events.push({ name: "error", data: `an event is larger than ${maxEventSize} characters` })
  }

  const readField = (field: string, value: string): void => {
    if (field === "data") {
      dataSize += value.length + 1
      if (dataSize > maxEventSize + 1) return overflow()
      data.push(value)
    } else if (field === "event") name = value
    else if (field === "error") events.push({ name: "error", data: value })
  }

  const dispatch = (): void => {
    // An event with empty data is none: a server that writes blank lines to keep the connection open says nothing.
    if (dataSize > 1) events.push({ name: name || "message", data: data.join("\n") })
    name = ""
    data = []
    dataSize = 0
  }

  const readLine = (end: string): void => {
    if (pieceSize + end.length > maxEventSize) return overflow()
    let line = end
    if (pieces.length > 0) {
      pieces.push(end)
      line = pieces.join("")
      pieces = []
      pieceSize = 0
    }
    if (line === "") return dispatch()
    const colon = line.indexOf(":")
    if (colon === -1) return readField(line, "")
    readField(line.slice(0, colon), line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1))
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
        readLine(chunk.slice(start, end))
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
      if (!isOverfull && pieceSize > 0) readLine("")
      if (!isOverfull) dispatch()
      return takeEvents()
    }
  }
}
