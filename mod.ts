/**
 * Reasoning without a context limit: the core and the services, one namespace per module, in reading order.
 *
 * @module
 */
export * as Sample from "./lib/core/Sample.ts"
export * as Rejection from "./lib/core/Rejection.ts"
export * as Iteration from "./lib/core/Iteration.ts"
export * as Boundary from "./lib/core/Boundary.ts"
export * as Segmenter from "./lib/core/Segmenter.ts"
export * as Sections from "./lib/core/Sections.ts"
export * as Dialect from "./lib/core/Dialect.ts"
export * as Summary from "./lib/core/Summary.ts"
export * as Cutter from "./lib/core/Cutter.ts"
export * as Attempt from "./lib/core/Attempt.ts"
export * as Stagnation from "./lib/core/Stagnation.ts"
export * as Meter from "./lib/core/Meter.ts"
export * as Pace from "./lib/core/Pace.ts"
export * as Rate from "./lib/core/Rate.ts"
export * as Machine from "./lib/Machine.ts"
export * as Tokenizer from "./lib/Tokenizer.ts"
export * as TextModel from "./lib/TextModel.ts"
export * as Retry from "./lib/Retry.ts"
export * as Load from "./lib/Load.ts"
export * as Summarizer from "./lib/Summarizer.ts"
export * as Reconstruction from "./lib/Reconstruction.ts"
export * as State from "./lib/State.ts"
export * as Reasoner from "./lib/Reasoner.ts"
