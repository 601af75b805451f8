/** Gives the verifier's API the generations of a store in every form that it reads. */

import { readdirSync, readFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import type { GenerationInput } from "../../src/verify/generation-files.ts";
import {
  accessBlob,
  accessBytes,
  accessFileHandle,
  type RandomAccess,
} from "../../src/verify/random-access.ts";
import { accessUrl } from "../../src/verify/url-access.ts";

/** Makes a source of a file. */
export type Wrap = (bytes: Uint8Array<ArrayBuffer>, path: string) => RandomAccess | Promise<RandomAccess>;

/** Changes a file, named as `2/delta`, or leaves it out. */
export type Change = (name: string, bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> | null;

/** The generations as inputs named by their numbers. */
export async function inputsOf(
  chain: readonly StoredGeneration[],
  wrap: Wrap = accessBytes,
  change: Change = (_, bytes) => bytes,
): Promise<GenerationInput[]> {
  const inputs: GenerationInput[] = [];
  for (const { directory, manifest } of chain) {
    const name = String(manifest.generation);
    const files = new Map<string, RandomAccess>();
    for (const file of readdirSync(directory)) {
      const path = join(directory, file);
      const bytes = change(`${name}/${file}`, new Uint8Array(readFileSync(path)));
      if (bytes !== null) files.set(file, await wrap(bytes, path));
    }
    inputs.push({ name, files });
  }
  return inputs;
}

/** Flips a bit of one file. */
export function flipped(name: string, at: number): Change {
  return (file, bytes) => {
    if (file === name) bytes[at] ^= 0x10;
    return bytes;
  };
}

/** All ways to give the verifier the same bytes; those behind files and servers read what is in the store. */
export class Sources {
  readonly wraps: Readonly<Record<string, Wrap>>;
  /** Requests that the server answered. */
  requests = 0;
  private readonly handles: FileHandle[] = [];
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
    const { port } = server.address() as AddressInfo;
    this.wraps = {
      bytes: accessBytes,
      blob: (bytes) => accessBlob(new Blob([bytes])),
      "file handle": async (_, path) => {
        const handle = await open(path);
        this.handles.push(handle);
        return accessFileHandle(handle, (await handle.stat()).size);
      },
      url: (_, path) => accessUrl(`http://127.0.0.1:${port}${path}`),
    };
  }

  /** Serves the files below `root` with ranges. Close it. */
  static async open(root: string): Promise<Sources> {
    const server = createServer((request, response) => {
      sources.requests++;
      const path = request.url ?? "";
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      if (!path.startsWith(root) || from === undefined) {
        response.writeHead(404).end();
        return;
      }
      const bytes = readFileSync(path);
      const part = bytes.subarray(Number(from), Number(to) + 1);
      const range = `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`;
      response.writeHead(206, { "content-range": range, "content-length": part.length }).end(part);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const sources = new Sources(server);
    return sources;
  }

  async close(): Promise<void> {
    for (const handle of this.handles) await handle.close();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
