/** The compiled WASM module: decoded from its generated constant on first use and kept, or given by the embedder. */
import { coreWasmBase64 } from "../../wasm-build/core.generated.ts";

/**
 * Where the core's module comes from, if not from the package's own constant: a compiled module (made once and
 * passed to workers), the bytes of `core.wasm`, or the response of a server to a request for it.
 */
export type CoreSource = WebAssembly.Module | BufferSource | Response;

/** Some of what the module must export; as-bind checks the array functions by its own section. */
const REQUIRED_EXPORTS = ["memory", "allocate", "release", "pageDigests", "deltaEncode", "lz4Compress"];

let compiled: Promise<WebAssembly.Module> | undefined;

/** The bytes of `core.wasm`, decoded anew by each call. */
export function coreWasmBytes(): Uint8Array<ArrayBuffer> {
  const binary = atob(coreWasmBase64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * Compiles the core. Without a source it is the package's own, compiled once and then shared. The module can be
 * sent to workers with `postMessage`, which saves each of them the compilation.
 *
 * Throws TypeError if the source is not a core, and what the platform throws for bytes that are not WASM.
 *
 * @example
 * const module = await compileCore(fetch(new URL("core.wasm", import.meta.url)));
 * const core = await loadCore({ wasm: module });
 */
export async function compileCore(
  source?: CoreSource | PromiseLike<CoreSource>,
): Promise<WebAssembly.Module> {
  if (source === undefined) {
    compiled ??= WebAssembly.compile(coreWasmBytes());
    return compiled;
  }
  const module = await compileSource(await source);
  const exported = new Set(WebAssembly.Module.exports(module).map(({ name }) => name));
  const missing = REQUIRED_EXPORTS.filter((name) => !exported.has(name));
  if (missing.length > 0) {
    throw new TypeError(`Cannot use this module as the core: it does not export ${missing.join(", ")}`);
  }
  return module;
}

async function compileSource(source: CoreSource): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (!(source instanceof Response)) return WebAssembly.compile(source);
  if (!source.ok) {
    throw new TypeError(`Cannot load the core from ${source.url}: the server answered ${source.status}`);
  }
  return WebAssembly.compileStreaming(source);
}
