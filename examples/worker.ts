/**
 * Reasoning in bounded iterations on Cloudflare Workers, for any client of the OpenAI API that knows the key.
 *
 * ```sh
 * npm install inftythink effect wrangler
 * npx wrangler secret put KEY && npx wrangler secret put MODEL_KEY
 * openssl rand -hex 32 | npx wrangler secret put SECRET
 * npx wrangler deploy worker.ts --name inftythink --compatibility-date 2026-07-01 \
 *   --compatibility-flags enable_request_signal --var MODEL_URL:https://example.com/v1 --var MODEL:Qwen3-4B-Instruct
 * ```
 *
 * The flag has a client that leaves end the reasoning, even where the answer is not streamed. A worker has little time:
 * a client that asks `/step` gets one iteration for each request, and a state that is signed by the secret.
 */
import * as Redacted from "effect/Redacted"
import * as OpenAi from "inftythink/openai"
import * as Web from "inftythink/web"

/** The worker's variables and secrets. */
interface Environment {
  readonly MODEL_URL: string
  readonly MODEL: string
  readonly MODEL_KEY: string
  readonly KEY: string
  readonly SECRET: string
}

export default {
  fetch: (request: Request, { MODEL_URL, MODEL, MODEL_KEY, KEY, SECRET }: Environment): Promise<Response> => {
    const model = OpenAi.layer({ baseUrl: MODEL_URL, model: MODEL, apiKey: Redacted.make(MODEL_KEY) })
    return Web.handler(model, {
      key: Redacted.make(KEY),
      cors: "*",
      secret: Redacted.make(SECRET),
      maxStateAge: 24 * 60 * 60 * 1000
    })(request)
  }
}
