/**
 * Chat templates written for the tests: each does to an assistant's turn what those of a family of models are known to do.
 *
 * @module
 */

/** Where the last message of a user stands. */
const LAST_USER = "{%- set last = namespace(user=-1) -%}" +
  "{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set last.user = loop.index0 -%}{%- endif -%}{%- endfor -%}"

/** Takes the reasoning out of a turn: what stands beside it, or else what stands before the first closing tag. */
const SPLIT = "{%- set said = m.content -%}{%- set thought = '' -%}" +
  "{%- if m.reasoning_content is string -%}{%- set thought = m.reasoning_content -%}" +
  "{%- elif '</think>' in said -%}" +
  "{%- set thought = said.split('</think>')[0].split('<think>')[-1] -%}" +
  "{%- set said = said.split('</think>')[-1] -%}" +
  "{%- endif -%}"

const CHATML_TURN = "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}"

/** A template that renders every message as it is. */
export const verbatim: string = `{%- for m in messages -%}${CHATML_TURN}{%- endfor -%}` +
  "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"

/** A template that renders every message as it is, and reasoning beside it as InftyThink tags it. */
export const beside: string = "{%- for m in messages -%}{%- if m.reasoning_content is string -%}" +
  "{{- '<|im_start|>assistant\\n<think>\\n' + m.reasoning_content + '\\n</think>' + m.content + '<|im_end|>\\n' -}}" +
  `{%- else -%}${CHATML_TURN}{%- endif -%}{%- endfor -%}` +
  "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"

/** As Qwen2.5: as it is, with a system turn where there is none. */
export const qwen25: string =
  "{%- if messages[0].role != 'system' -%}{{- '<|im_start|>system\\nYou help.<|im_end|>\\n' -}}" +
  `{%- endif -%}${verbatim}`

const qwen = (kept: string, generation: string): string =>
  `${LAST_USER}{%- for m in messages -%}{%- if m.role == 'assistant' -%}${SPLIT}{{- '<|im_start|>assistant\\n' -}}` +
  `{%- if ${kept} -%}{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' -}}{%- endif -%}` +
  `{{- said.lstrip('\\n') + '<|im_end|>\\n' -}}{%- else -%}${CHATML_TURN}{%- endif -%}{%- endfor -%}` +
  `{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}${generation}{%- endif -%}`

const EMPTY_THINK = "{{- '<think>\\n\\n</think>\\n\\n' -}}"

/** As Qwen3: reasoning is taken apart and written anew in the last turn, and stripped from earlier ones. */
export const qwen3: string = qwen(
  "loop.index0 > last.user",
  `{%- if enable_thinking is defined and enable_thinking is false -%}${EMPTY_THINK}{%- endif -%}`
)

/** As Qwen3.6: the same, and the prompt opens the reasoning. */
export const qwen36: string = qwen(
  "loop.index0 > last.user",
  `{%- if enable_thinking is defined and enable_thinking is false -%}${EMPTY_THINK}` +
    "{%- else -%}{{- '<think>\\n' -}}{%- endif -%}"
)

/** As TRL's training template for Qwen3: the same, but reasoning is kept in every turn. */
export const qwen3Training: string = qwen("true", "")

/** As DeepSeek V3 and R1: reasoning is stripped from every turn, and the prompt opens it. */
export const deepSeek: string = "{{- bos_token -}}{%- for m in messages -%}" +
  "{%- if m.role == 'assistant' -%}{{- '<｜Assistant｜>' + m.content.split('</think>')[-1] + eos_token -}}" +
  "{%- elif m.role == 'user' -%}{{- '<｜User｜>' + m.content -}}{%- else -%}{{- m.content -}}{%- endif -%}" +
  "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<｜Assistant｜><think>\\n' -}}{%- endif -%}"

/** As GLM-4.5: reasoning is written anew without line breaks at its ends, and the prompt opens no turn. */
export const glm: string = `${LAST_USER}[gMASK]<sop>{%- for m in messages -%}{{- '<|' + m.role + '|>\\n' -}}` +
  `{%- if m.role == 'assistant' -%}${SPLIT}` +
  "{%- if loop.index0 > last.user -%}{{- '<think>' + thought.strip() + '</think>\\n' -}}" +
  "{%- else -%}{{- '<think></think>\\n' -}}{%- endif -%}" +
  "{{- said.strip() -}}{%- else -%}{{- m.content -}}{%- endif -%}{%- endfor -%}"

/** One that opens the reasoning of every turn, even where the turn does. */
export const opening: string = "{%- for m in messages -%}{{- '<|' + m.role + '|>' -}}" +
  "{%- if m.role == 'assistant' -%}{{- '<think>\\n' -}}{%- endif -%}{{- m.content -}}{%- endfor -%}" +
  "{%- if add_generation_prompt -%}{{- '<|assistant|><think>\\n' -}}{%- endif -%}"

/** One that refuses system messages. */
export const withoutSystem: string = "{%- for m in messages -%}{%- if m.role == 'system' -%}" +
  `{{- raise_exception('There is no system role') -}}{%- endif -%}${CHATML_TURN}{%- endfor -%}`

/** One that writes the date. */
export const dated: string = "{{- strftime_now('%d %b %Y') -}}"
