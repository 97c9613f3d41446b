/**
 * Reasoning in bounded iterations on Bun, for any client of the OpenAI API that knows the key.
 *
 * ```sh
 * bun add inftythink effect
 * MODEL_URL=http://localhost:8000/v1 MODEL=Qwen3-4B-Instruct KEY=secret PORT=3000 bun bun.ts
 * ```
 */
import * as Redacted from "effect/Redacted"
import * as OpenAi from "inftythink/openai"
import * as Web from "inftythink/web"
import process from "node:process"

const { MODEL_URL: baseUrl = "http://localhost:8000/v1", MODEL: model = "Qwen3-4B-Instruct", KEY, PORT } = process.env

export default {
  port: Number(PORT ?? 3000),
  // A model may read for minutes before it writes; Bun would hang up after ten seconds.
  idleTimeout: 0,
  fetch: Web.handler(OpenAi.layer({ baseUrl, model }), {
    key: Redacted.make(KEY ?? ""),
    maxRequests: 64,
    maxTime: 60 * 60 * 1000
  })
}
