/**
 * What models, servers and data sets wrote, on a terminal.
 *
 * @module
 */

/**
 * Makes a text that changes nothing but what a terminal shows: what would move the cursor, set the title or fill the
 * clipboard is shown as a sign of its own.
 */
export const printable = (text: string): string =>
  // deno-lint-ignore no-control-regex
  text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)/g, (control) => {
    const code = control.charCodeAt(0)
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : "\ufffd"
  })
