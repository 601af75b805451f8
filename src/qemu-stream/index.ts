/** QEMU's migration stream: decode, encode, and encode again exactly what was decoded. */

export * from "./decoder.ts";
export * from "./encoder.ts";
export * from "./reencoder.ts";
export * from "./vocabulary.ts";
