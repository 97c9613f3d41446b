/**
 * Numbers for people.
 *
 * @module
 */

/** Renders a number without its fraction, with its thousands set apart. */
export const whole = (value: number): string => Math.round(value).toLocaleString("en-US")

/** Renders a number with the digits that matter while it changes. */
export const brief = (value: number): string =>
  value.toLocaleString("en-US", { maximumFractionDigits: value < 10 ? 1 : 0 })
