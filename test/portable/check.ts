/** What portable checks are made of: nothing but the language, so that they run in Node, Deno and browsers. */

/** The package, as `import * as api from "bfmig"` gives it. */
export type Api = typeof import("../../src/index.ts");

/** One check: it throws if something is not as it must be. The name is a sentence. */
export type PortableCheck = { readonly name: string; readonly run: (api: Api) => void | Promise<void> };

/** Throws unless `condition` holds. */
export function must(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** Throws unless both values print as the same JSON. */
export function mustEqual(actual: unknown, expected: unknown, what: string): void {
  const [found, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (found !== wanted) throw new Error(`${what}: ${found} in place of ${wanted}`);
}

/** Throws unless both arrays have the same bytes. */
export function mustHaveBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  mustEqual(actual.length, expected.length, `${what}, length`);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  if (at >= 0) throw new Error(`${what}: byte ${at} is ${actual[at]} in place of ${expected[at]}`);
}

/** Throws unless `action` throws an error of this class name; returns the error. */
export function mustThrow(action: () => unknown, name: string, what: string): Error {
  try {
    action();
  } catch (error) {
    if (error instanceof Error && error.name === name) return error;
    throw new Error(`${what}: ${error} in place of ${name}`);
  }
  throw new Error(`${what}: nothing was thrown in place of ${name}`);
}

/** Pseudo-random bytes, the same in every run; with few `values` they compress. */
export function noise(length: number, seed: number, values = 256): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = (state >>> 16) % values;
  }
  return bytes;
}
