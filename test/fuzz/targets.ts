/** Every decoder that sees bytes from outside, by name. Modules are loaded when they are needed. */

import type { TargetLoaders } from "./worker.ts";

const frames = () => import("./targets/frames.ts");
const core = () => import("./targets/core.ts");
const records = () => import("./targets/records.ts");
const config = () => import("./targets/config.ts");
const nbd = () => import("./targets/nbd.ts");
const qmp = () => import("./targets/qmp.ts");
const control = () => import("./targets/control.ts");
const files = () => import("./targets/files.ts");

/** In the order in which they are fuzzed. */
export const targetLoaders: TargetLoaders = {
  /** src/qemu-stream: QEMU's migration stream. */
  "qemu-stream": async () => (await import("./targets/qemu-stream.ts")).qemuStream(),
  /** src/delta/frame: header, checksum, columns. */
  frames: async () => (await frames()).anyFrames(),
  /** src/delta/page-decoder: pages of RAM and blocks of disks. */
  pages: async () => (await import("./targets/pages.ts")).pages(),
  "device-frames": async () => (await frames()).deviceFrames(),
  "digest-frames": async () => (await frames()).digestFrames(),
  /** src/delta/header-frame: the first and the last frame of a delta. */
  "delta-ends": async () => (await frames()).deltaEnds(),
  manifest: async () => (await files()).manifest(),
  /** src/disk: qcow2 over raw. */
  "disk-image": async () => (await import("./targets/disk-image.ts")).diskImage(),
  /** cli/wan: what peers say. */
  messages: async () => (await records()).messages(),
  ownership: async () => (await records()).ownership(),
  "image-records": async () => (await records()).imageRecords(),
  holders: async () => (await records()).holders(),
  "small-records": async () => (await records()).smallRecords(),
  "block-digests": async () => (await files()).blockDigests(),
  "vm-definition": async () => (await config()).vmDefinition(),
  "site-config": async () => (await config()).siteConfig(),
  "control-requests": async () => (await control()).controlRequests(),
  /** cli/agent/control-server: HTTP over its socket. */
  "control-server": async () => (await control()).controlServer(),
  "nbd-handshake": async () => (await nbd()).handshake(),
  "nbd-replies": async () => (await nbd()).replies(),
  /** cli/nbd/client against a hostile server on a socket. */
  "nbd-client": async () => (await import("./targets/nbd-client.ts")).nbdClient(),
  "qmp-lines": async () => (await qmp()).lines(),
  /** cli/qemu/qmp-client against a hostile QEMU on a socket. */
  "qmp-client": async () => (await qmp()).client(),
  lz4: async () => (await core()).lz4(),
  "lz4-linked": async () => (await core()).lz4Linked(),
  /** src/zstd: frames, against libzstd. */
  zstd: async () => (await import("./targets/zstd.ts")).zstd(),
  "page-delta": async () => (await core()).pageDelta(),
  /** cli/inspect: device state by QEMU's own description of it. */
  "device-fields": async () => (await import("./targets/saved-streams.ts")).deviceFields(),
  /** cli/import: a stream that QEMU saved. */
  "import-stream": async () => (await import("./targets/saved-streams.ts")).importedStream(),
  /** src/verify: whole generations, in memory. */
  generations: async () => (await import("./targets/generations.ts")).generations(),
  /** cli/verify and cli/inspect on files by themselves. */
  "verify-file": async () => (await files()).verifyFile(),
  "inspect-file": async () => (await files()).inspectLooseFile(),
};
