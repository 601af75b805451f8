/**
 * Serves the page that verifies in a browser, on loopback only. It has the page's own files in memory and nothing else: no path of a
 * request ever reaches the file system.
 */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { fileURLToPath } from "node:url";
import { messageOf, OperationError } from "../errors.ts";

/** The built page, seen from dist/cli/web/. */
const builtFolder = fileURLToPath(new URL("../../web/verify-page/", import.meta.url));
const address = "127.0.0.1";
/** Names that lead here from this machine: a page of another name that points here is refused (DNS rebinding). */
const ownNames: readonly string[] = [address, "localhost", "[::1]"];

const contentTypes = {
  "index.html": "text/html; charset=utf-8",
  "style.css": "text/css; charset=utf-8",
  "page.js": "text/javascript; charset=utf-8",
  "worker.js": "text/javascript; charset=utf-8",
  "hash-worker.js": "text/javascript; charset=utf-8",
} as const;

/** Of these only scripts from here, WebAssembly, and workers are more than nothing. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "worker-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const commonHeaders = {
  "Content-Security-Policy": contentSecurityPolicy,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  // Both together keep the page in a process of its own, apart from other sites'.
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
};

/** A server that is listening. */
export interface PageServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves the page on a port of loopback, 0 for any free one. Throws OperationError if the page is not built or the port is in use. */
export async function servePage(port: number, folder: string = builtFolder): Promise<PageServer> {
  const files = await readPage(folder);
  const server = createServer({ maxHeaderSize: 16384 }, (request, response) => {
    send(replyTo(files, request), request.method, response);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(new OperationError("failed", `Cannot listen on ${address}:${port}: ${messageOf(error)}`));
    });
    server.listen(port, address, resolve);
  });
  return {
    url: `http://${address}:${(server.address() as AddressInfo).port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface PageFile {
  readonly type: string;
  readonly body: Buffer;
}

async function readPage(folder: string): Promise<ReadonlyMap<string, PageFile>> {
  const files = new Map<string, PageFile>();
  for (const [name, type] of Object.entries(contentTypes)) {
    try {
      files.set(`/${name}`, { type, body: await readFile(`${folder}/${name}`) });
    } catch (error) {
      throw new OperationError("failed", `Cannot serve the page: build it first: ${messageOf(error)}`);
    }
  }
  return files.set("/", files.get("/index.html") as PageFile);
}

/** What a request gets. */
interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
  readonly headers?: Record<string, string>;
}

function replyTo(files: ReadonlyMap<string, PageFile>, request: IncomingMessage): Reply {
  const refusal = (status: number, text: string, headers: Record<string, string> = {}): Reply => {
    return { status, type: "text/plain; charset=utf-8", body: `${text}\n`, headers };
  };
  const { method, url = "", headers } = request;
  if (!isOwnHost(headers.host)) return refusal(421, "This server answers to names of this machine only");
  if (method !== "GET" && method !== "HEAD") return refusal(405, "Only GET and HEAD", { Allow: "GET, HEAD" });
  const file = files.get(url);
  return file ? { status: 200, ...file } : refusal(404, "There is no such file");
}

function send(reply: Reply, method: string | undefined, response: ServerResponse): void {
  const { status, type, body, headers } = reply;
  const length = Buffer.byteLength(body);
  response.writeHead(status, {
    ...commonHeaders,
    "Content-Type": type,
    "Content-Length": length,
    ...headers,
  });
  response.end(method === "HEAD" ? undefined : body);
}

/** Whether a Host header names this machine's loopback, whatever the port: forwarded ports differ. */
function isOwnHost(host: string | undefined): boolean {
  if (host === undefined) return false;
  const name = host.replace(/:\d{1,5}$/, "").toLowerCase();
  return ownNames.includes(name) || (isIP(name) === 4 && name.startsWith("127."));
}
