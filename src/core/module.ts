/** The compiled WASM module, decoded from its generated constant on first use and kept. */
import { coreWasmBase64 } from "../../wasm-build/core.generated.ts";

let compiled: Promise<WebAssembly.Module> | undefined;

/** The bytes of core.wasm. */
export function coreWasmBytes(): Uint8Array<ArrayBuffer> {
  const binary = atob(coreWasmBase64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** The module, compiled once. */
export function coreModule(): Promise<WebAssembly.Module> {
  compiled ??= WebAssembly.compile(coreWasmBytes());
  return compiled;
}
