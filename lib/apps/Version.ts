/**
 * The version of this library.
 *
 * @module
 */

/** The version, which is that of both manifests. */
export const version = "0.1.0"
