/**
 * Reasoning without a context limit: the core and the services, one namespace per module, in reading order.
 *
 * @module
 */
export * as Boundary from "./lib/core/Boundary.ts"
export * as Segmenter from "./lib/core/Segmenter.ts"
