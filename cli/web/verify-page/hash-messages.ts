/** What the hash pool and its workers say to each other. */

import type { FormatErrorCode } from "../../../src/errors.ts";

/** To the worker. The module comes first, and once. */
export type HashMessage =
  | { readonly type: "module"; readonly module: WebAssembly.Module }
  | HashRequest
  /** Nothing more will be asked for now: what was read may go. */
  | { readonly type: "rest" };

/** A range that the worker is asked for. */
export interface HashRequest {
  readonly type: "hash";
  /** Comes back with the answer. */
  readonly id: number;
  /** The same number for the same file: blobs that were posted cannot be compared. */
  readonly file: number;
  readonly blob: Blob;
  readonly key: Uint8Array;
  readonly firstPage: number;
  readonly count: number;
}

/** Why a range has no digests, in a form that can be posted. */
export interface HashFailure {
  readonly kind: "format" | "source" | "broken";
  readonly message: string;
  /** Of a FormatError. */
  readonly code?: FormatErrorCode;
}

/** The worker's answer: 16 bytes a page, or why not. */
export type HashAnswer =
  | { readonly id: number; readonly digests: Uint8Array<ArrayBuffer> }
  | { readonly id: number; readonly failure: HashFailure };
