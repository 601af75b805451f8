import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { NbdClient } from "../../cli/nbd/client.ts";
import { extents, type PlacedExtent } from "../../cli/nbd/extents.ts";
import { bytesEqual } from "../../src/bytes.ts";
import type { Teardown } from "../qemu/qemu-fixture.ts";
import { isInstalled, output, QemuServer } from "./qemu-server.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const TIB = 1024 * 1024 * MIB;
const HOLE_AND_ZERO = 3;

const oracle = (await isInstalled("nbdcopy"))
  ? {}
  : { skip: "nbdinfo and nbdcopy (libnbd) are not installed" };

function pattern(lengthBytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 31 + (i >>> 12) * 7 + seed) & 0xff);
}

async function connected(
  test: Teardown,
  server: QemuServer,
  exportName: string,
  contexts: readonly string[] = [],
): Promise<NbdClient> {
  const client = await NbdClient.connect({ socketPath: server.socketPath, exportName, contexts });
  test.teardown(() => client.destroy());
  return client;
}

/** The whole export, read with several requests under way. */
async function readAll(client: NbdClient, pieceBytes: number): Promise<Uint8Array> {
  const all = new Uint8Array(client.sizeBytes).fill(0xaa);
  let next = 0;
  const worker = async () => {
    while (next < all.length) {
      const at = next;
      const length = Math.min(pieceBytes, all.length - at);
      next += length;
      await client.read(at, length, {
        data: (offset, bytes) => all.set(bytes, at + offset),
        hole: (offset, lengthBytes) => all.fill(0, at + offset, at + offset + lengthBytes),
      });
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  return all;
}

async function collect(client: NbdClient, context: string): Promise<PlacedExtent[]> {
  const all: PlacedExtent[] = [];
  for await (const extent of extents(client, context)) all.push(extent);
  return all;
}

const uri = (server: QemuServer, exportName: string) =>
  `nbd+unix:///${exportName}?socket=${server.socketPath}`;

/** The extents that libnbd sees, with equal neighbours as one. */
async function oracleExtents(
  server: QemuServer,
  exportName: string,
  context: string,
): Promise<PlacedExtent[]> {
  const text = await output("nbdinfo", `--map=${context}`, "--json", uri(server, exportName));
  const merged: PlacedExtent[] = [];
  for (const { offset, length, type } of JSON.parse(text) as {
    offset: number;
    length: number;
    type: number;
  }[]) {
    const last = merged.at(-1);
    if (last?.flags === type) merged[merged.length - 1] = { ...last, lengthBytes: last.lengthBytes + length };
    else merged.push({ offset, lengthBytes: length, flags: type });
  }
  return merged;
}

for (const driver of ["raw", "qcow2"] as const) {
  t.test(`what is written to a ${driver} disk is read again, and is on the disk`, async (t) => {
    const server = await QemuServer.start(t);
    const path = await server.addDisk("disk0", driver, 64 * MIB);
    await server.addExport("disk0", { writable: true });
    const client = await connected(t, server, "disk0");
    t.equal(client.sizeBytes, 64 * MIB);
    t.equal(client.isReadOnly, false);
    t.equal(client.maxRequestBytes, 32 * MIB);
    const expected = new Uint8Array(64 * MIB);
    const write = (offset: number, bytes: Uint8Array) => {
      expected.set(bytes, offset);
      return client.write(offset, bytes);
    };
    await Promise.all([
      write(0, pattern(4096, 1)),
      write(3 * MIB + 512, pattern(512, 2)),
      write(8 * MIB, pattern(32 * MIB, 3)),
      write(64 * MIB - 4096, pattern(4096, 4)),
    ]);
    await client.writeZeroes(10 * MIB, 5 * MIB);
    expected.fill(0, 10 * MIB, 15 * MIB);
    await client.writeZeroes(20 * MIB, 4096, { mayPunch: false });
    expected.fill(0, 20 * MIB, 20 * MIB + 4096);
    await client.flush();
    for (const pieceBytes of [64 * KIB, 3 * MIB + 512, 32 * MIB]) {
      t.ok(bytesEqual(await readAll(client, pieceBytes), expected), `in pieces of ${pieceBytes} bytes`);
    }
    if (driver === "raw") t.ok(bytesEqual(await readFile(path), expected), "the file");
    await client.disconnect();
    t.equal(await client.closed, null);
  });
}

t.test("a dirty bitmap tells where writes were, on a disk of 1 TiB too", async (t) => {
  const server = await QemuServer.start(t);
  await server.addDisk("disk0", "qcow2", TIB);
  const { qmp } = server.qemu;
  await qmp.execute("block-dirty-bitmap-add", { node: "disk0", name: "g1", granularity: 64 * KIB });
  await server.addExport("disk0", { writable: true });
  const writer = await connected(t, server, "disk0");
  const places = [0, 5 * MIB + 4096, 700_000 * MIB - 4096, TIB - 4096];
  await Promise.all(
    places.map((offset) => writer.write(offset, pattern(8192, 5).subarray(0, Math.min(8192, TIB - offset)))),
  );
  await writer.disconnect();
  await qmp.execute("block-dirty-bitmap-disable", { node: "disk0", name: "g1" });
  await server.addExport("disk0", { bitmaps: ["g1"], exportName: "dirty" });
  const context = "qemu:dirty-bitmap:g1";
  const client = await connected(t, server, "dirty", [context, "qemu:dirty-bitmap:none"]);
  t.strictSame(client.contexts, [context], "only contexts that there are");
  t.equal(client.isReadOnly, true);
  const dirty = (await collect(client, context)).filter(({ flags }) => flags !== 0);
  t.strictSame(
    dirty.map(({ offset, lengthBytes, flags }) => [offset, lengthBytes, flags]),
    [
      [0, 64 * KIB, 1],
      [5 * MIB, 64 * KIB, 1],
      [700_000 * MIB - 64 * KIB, 128 * KIB, 1],
      [TIB - 64 * KIB, 64 * KIB, 1],
    ],
  );
});

t.test("what the server refuses is told, and the connection stays", async (t) => {
  const server = await QemuServer.start(t);
  await server.addDisk("disk0", "raw", MIB);
  await server.addExport("disk0");
  const client = await connected(t, server, "disk0");
  await t.rejects(client.write(4096, new Uint8Array(65536)), {
    name: "OperationError",
    message: /^Cannot write 65536 bytes at 4096 of export disk0: the server says E\w+: Export is read-only$/,
  });
  t.ok(bytesEqual(await readAll(client, MIB), new Uint8Array(MIB)));
  await t.rejects(NbdClient.connect({ socketPath: server.socketPath, exportName: "disk9" }), {
    name: "OperationError",
    message: "Cannot open export disk9: the server says UNKNOWN: export 'disk9' not present",
  });
});

t.test("a QEMU that dies in mid-request ends the request", async (t) => {
  const server = await QemuServer.start(t);
  await server.addDisk("disk0", "raw", MIB);
  await server.addExport("disk0");
  const client = await connected(t, server, "disk0");
  // Stopped, it cannot answer before it dies.
  process.kill(server.qemu.pid, "SIGSTOP");
  const rejected = t.rejects(readAll(client, MIB), {
    name: "OperationError",
    message: /^Lost export disk0: /,
  });
  await server.qemu.kill();
  await rejected;
  t.match(await client.closed, { name: "OperationError" });
});

t.test("extents and copies are those of libnbd", oracle, async (t) => {
  const server = await QemuServer.start(t);
  // More than one query asks for.
  const size = 1025 * MIB + 64 * KIB;
  await server.addDisk("base", "qcow2", size);
  await server.addExport("base", { writable: true, exportName: "fill" });
  const filler = await connected(t, server, "fill");
  await filler.write(0, pattern(MIB, 1));
  await filler.write(1024 * MIB - 64 * KIB, pattern(256 * KIB, 2));
  await filler.disconnect();
  const { qmp } = server.qemu;
  const deleted = qmp.waitForEvent("BLOCK_EXPORT_DELETED", { timeoutMs: 10_000 });
  await qmp.execute("block-export-del", { id: "fill", mode: "hard" });
  await deleted;
  await server.addDisk("disk0", "qcow2", size, { backing: "base" });
  await qmp.execute("block-dirty-bitmap-add", { node: "disk0", name: "g1", granularity: 64 * KIB });
  await server.addExport("disk0", { writable: true, exportName: "write" });
  const writer = await connected(t, server, "write");
  // Every other cluster, so that there are many extents.
  for (let i = 0; i < 400; i++) await writer.write((2000 + 2 * i) * 64 * KIB, pattern(4096, i));
  await writer.writeZeroes(1024 * MIB, 128 * KIB);
  await writer.flush();
  await writer.disconnect();
  await qmp.execute("block-dirty-bitmap-disable", { node: "disk0", name: "g1" });
  await server.addExport("disk0", { bitmaps: ["g1"] });

  const contexts = ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:g1"];
  const client = await connected(t, server, "disk0", contexts);
  t.strictSame([...client.contexts].sort(), contexts);
  for (const context of contexts) {
    const ours = (await collect(client, context)).map(ordered);
    const theirs = (await oracleExtents(server, "disk0", context)).map(ordered);
    t.ok(ours.length > 5, `${context} has ${ours.length} extents`);
    t.strictSame(ours, theirs, context);
  }
  const depths = new Set((await collect(client, "qemu:allocation-depth")).map(({ flags }) => flags));
  t.strictSame([...depths].sort(), [0, 1, 2], "unallocated, in the disk, in its base");

  const theirCopy = join(server.folder, "theirs");
  await output("nbdcopy", uri(server, "disk0"), theirCopy);
  const copy = await open(theirCopy);
  try {
    for await (const { offset, lengthBytes, flags } of extents(client, "base:allocation")) {
      const step = 16 * MIB;
      for (let at = offset; at < offset + lengthBytes; at += step) {
        const length = Math.min(step, offset + lengthBytes - at);
        const theirs = new Uint8Array(length);
        await copy.read(theirs, 0, length, at);
        const ours = new Uint8Array(length);
        if (flags !== HOLE_AND_ZERO) {
          await client.read(at, length, { data: (from, bytes) => ours.set(bytes, from), hole: () => {} });
        }
        if (!Buffer.from(ours.buffer).equals(theirs)) t.fail(`${length} bytes at ${at} differ`);
      }
    }
  } finally {
    await copy.close();
  }
});

function ordered({ offset, lengthBytes, flags }: PlacedExtent): number[] {
  return [offset, lengthBytes, flags];
}
