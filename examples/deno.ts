/**
 * Reasoning in bounded iterations on Deno and Deno Deploy, for any client of the OpenAI API. Each client brings a key of
 * its own, which is passed on to the model's server.
 *
 * ```sh
 * deno add npm:inftythink npm:effect
 * MODEL_URL=http://localhost:8000/v1 MODEL=Qwen3-4B-Instruct deno serve --allow-env --allow-net deno.ts
 * ```
 *
 * On Deno Deploy, this is the entry point, and the variables are the app's.
 */
import * as OpenAi from "inftythink/openai"
import * as Web from "inftythink/web"
import process from "node:process"

const { MODEL_URL: baseUrl = "http://localhost:8000/v1", MODEL: model = "Qwen3-4B-Instruct" } = process.env

export default { fetch: Web.handler(({ key }) => OpenAi.layer({ baseUrl, model, apiKey: key })) }
