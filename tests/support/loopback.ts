/**
 * Addresses on this machine.
 *
 * @module
 */
import { Server as HttpServer } from "node:http"
import type { Server } from "node:net"

/** An address on which a server listens. */
export interface Loopback extends AsyncDisposable {
  /** Up to and including the port. */
  readonly url: string
}

/** Has a server listen on a port of its own, until it is disposed, with its connections if it speaks HTTP. */
export const listenOn = async (server: Server): Promise<Loopback> => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("the server has no port")
  return {
    url: `http://127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        if (server instanceof HttpServer) server.closeAllConnections()
      })
  }
}

/** An address on which nothing listens: no service has this port, and no server is given one below 1024. */
export const closed = "http://127.0.0.1:4"
