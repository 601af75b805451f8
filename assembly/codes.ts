/**
 * Results of kernels that read bytes from outside: a length of 0 or more, or one of these.
 * They are exported as WASM globals, so that a test can hold src/core/codes.ts against them.
 */

/** The input ends inside an item. */
export const CODE_TRUNCATED: i32 = -1;

/** An item would write past the end of the output. */
export const CODE_OVERRUN: i32 = -2;

/** A back reference is zero or points before the window. */
export const CODE_BAD_OFFSET: i32 = -3;

/** The input ended before the output was full. */
export const CODE_SHORT_OUTPUT: i32 = -4;

/** A mask that must have a bit set has none. */
export const CODE_ZERO_MASK: i32 = -5;
