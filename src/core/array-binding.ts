/**
 * Makes as-bind 0.8.2 work with asc 0.28. Its own array conversion relies on the class ids and type information of asc
 * 0.19, returns views that the next call overwrites, and leaves arguments pinned when a call throws.
 */
import { type BoundModule, converters, instantiate } from "../../wasm-build/as-bind.generated.ts";

/** Header of an AssemblyScript typed array (std/assembly/arraybuffer.ts, ArrayBufferView). */
const VIEW_BUFFER = 0;
const VIEW_DATA_START = 4;
const VIEW_BYTE_LENGTH = 8;
const VIEW_BYTES = 12;
/** Class id of ArrayBuffer in asc 0.28. */
const ARRAY_BUFFER_ID = 1;
const LITTLE_ENDIAN = true;

type Runtime = {
  memory: WebAssembly.Memory;
  __new(bytes: number, classId: number): number;
  __pin(pointer: number): number;
  __unpin(pointer: number): void;
  __collect(): void;
};

/** Arguments of the current call that as-bind pins, and unpins only if the call returns. */
let pinnedArguments: number[] = [];

converters.set("~lib/typedarray/Uint8Array", {
  jsToAsc: (bound: BoundModule, value: Uint8Array, typeName: string): number => {
    const runtime = runtimeOf(bound);
    const buffer = runtime.__pin(runtime.__new(value.length, ARRAY_BUFFER_ID) >>> 0) >>> 0;
    let view: number;
    try {
      view = runtime.__new(VIEW_BYTES, bound.getTypeId(typeName)) >>> 0;
    } finally {
      runtime.__unpin(buffer);
    }
    new Uint8Array(runtime.memory.buffer).set(value, buffer);
    const header = new DataView(runtime.memory.buffer, view, VIEW_BYTES);
    header.setUint32(VIEW_BUFFER, buffer, LITTLE_ENDIAN);
    header.setUint32(VIEW_DATA_START, buffer, LITTLE_ENDIAN);
    header.setUint32(VIEW_BYTE_LENGTH, value.length, LITTLE_ENDIAN);
    pinnedArguments.push(view);
    return view;
  },
  ascToJs: (bound: BoundModule, pointer: number): Uint8Array => {
    const { buffer } = runtimeOf(bound).memory;
    const header = new DataView(buffer, pointer >>> 0, VIEW_BYTES);
    const start = header.getUint32(VIEW_DATA_START, LITTLE_ENDIAN);
    return new Uint8Array(buffer).slice(start, start + header.getUint32(VIEW_BYTE_LENGTH, LITTLE_ENDIAN));
  },
});

/** Instantiates a module with an as-bind section; its functions take and return byte arrays. */
export async function bindArrays<Functions>(wasm: BufferSource | WebAssembly.Module): Promise<Functions> {
  const bound = await instantiate(wasm, {});
  const { __unpin, __collect } = runtimeOf(bound);
  const functions: Record<string, unknown> = {};
  for (const [name, value] of Object.entries<unknown>(bound.exports)) {
    if (typeof value !== "function") continue;
    functions[name] = (...callArguments: unknown[]): unknown => {
      pinnedArguments = [];
      try {
        return value(...callArguments);
      } catch (error) {
        for (const pointer of pinnedArguments) __unpin(pointer);
        throw error;
      } finally {
        // The result is copied by now, so nothing of this call is needed any more.
        __collect();
      }
    };
  }
  return functions as Functions;
}

function runtimeOf(bound: BoundModule): Runtime {
  return bound.loadedModule.exports as unknown as Runtime;
}
