/** Bytes at a server that answers range requests (RFC 9110, section 14), read part by part. */

import type { RandomAccess } from "./random-access.ts";

/** Options of `accessUrl`. */
export interface UrlOptions {
  /** What makes the requests, with whatever headers the server wants; without it, the global `fetch`. */
  readonly fetch?: (url: string, init: { readonly headers: Record<string, string> }) => Promise<Response>;
}

/**
 * Source over a file at a server. Each reading is one request; none is repeated. Throws Error if the server does not answer
 * range requests, or if it answers a later one with another file or not with what was asked for.
 *
 * @example
 * const input = await accessUrl("https://store.example/web1/generations/3/ram.img");
 */
export async function accessUrl(url: string, options: UrlOptions = {}): Promise<RandomAccess> {
  const request = options.fetch ?? ((to, init) => fetch(to, init));
  const get = async (from: number, length: number): Promise<Response> => {
    // A coded body would not be the bytes of the range.
    const headers = { range: `bytes=${from}-${from + length - 1}`, "accept-encoding": "identity" };
    return await request(url, { headers });
  };
  const first = await get(0, 1);
  await first.body?.cancel();
  const isEmpty = first.status === 416 && first.headers.get("content-range") === "bytes */0";
  if (isEmpty) return { sizeBytes: 0, read: () => 0 };
  const { sizeBytes } = rangeOf(url, first, 0);
  const tag = first.headers.get("etag");
  return {
    sizeBytes,
    read: async (target, at) => {
      const length = Math.min(target.length, sizeBytes - at);
      if (length <= 0) return 0;
      const response = await get(at, length);
      try {
        const found = rangeOf(url, response, at);
        if (found.sizeBytes !== sizeBytes || response.headers.get("etag") !== tag) {
          throw new Error(`Cannot read ${url}: it was changed meanwhile`);
        }
        return await take(response, target.subarray(0, length));
      } finally {
        if (!response.bodyUsed) await response.body?.cancel();
      }
    },
  };
}

/** What a partial answer says of itself. */
function rangeOf(url: string, response: Response, from: number): { sizeBytes: number } {
  if (response.status !== 206) {
    const cause =
      response.status === 200
        ? "the server does not answer range requests"
        : `the server answers ${response.status}`;
    throw new Error(`Cannot read ${url}: ${cause}`);
  }
  const range = response.headers.get("content-range") ?? "";
  const [, start, size] = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(range) ?? [];
  if (start === undefined || size === undefined || Number(start) !== from) {
    throw new Error(
      `Cannot read ${url}: asked for byte ${from}, the server answers ${JSON.stringify(range)}`,
    );
  }
  return { sizeBytes: Number(size) };
}

/** Copies a body, never more than there is room for. Returns the number of bytes. */
async function take(response: Response, target: Uint8Array): Promise<number> {
  const reader = response.body?.getReader();
  if (reader === undefined) return 0;
  let filled = 0;
  while (filled < target.length) {
    const { done, value } = await reader.read();
    if (done) return filled;
    const part = value.subarray(0, target.length - filled);
    target.set(part, filled);
    filled += part.length;
  }
  await reader.cancel();
  return filled;
}
