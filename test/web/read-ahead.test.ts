import t from "tap";
import { ReadAhead, sliceBytes } from "../../cli/web/verify-page/read-ahead.ts";

/** A file that counts what is read of it. Its byte at `i` follows from `i`. */
function countedBlob(sizeBytes: number, reads: number[]) {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) bytes[i] = (i * 7) ^ (i >> 9);
  class Counted extends Blob {
    override slice(from?: number, to?: number): Blob {
      const part = super.slice(from, to);
      reads.push(part.size);
      return part;
    }
  }
  return { blob: new Counted([bytes]), bytes };
}

t.test("what is read in order comes in large slices, each read once, and is right", async (t) => {
  const reads: number[] = [];
  const { blob, bytes } = countedBlob(2 * sliceBytes + 12_345, reads);
  const access = new ReadAhead().access(blob);
  const target = new Uint8Array(1_000_000);
  for (let at = 0; at < bytes.length; at += target.length) {
    const got = await access.read(target, at);
    t.equal(got, Math.min(target.length, bytes.length - at));
    t.ok(Buffer.from(target.subarray(0, got)).equals(bytes.subarray(at, at + got)), `from ${at}`);
  }
  t.strictSame(reads, [sliceBytes, sliceBytes, 12_345]);
  t.equal(await access.read(target, bytes.length), 0, "nothing is left at the end");
});

t.test("what is read here and there is read as it is asked for", async (t) => {
  const reads: number[] = [];
  const { blob, bytes } = countedBlob(1_000_000, reads);
  const access = new ReadAhead().access(blob);
  const target = new Uint8Array(4096);
  for (const at of [500_000, 4096, 900_000]) {
    t.equal(await access.read(target, at), 4096);
    t.ok(Buffer.from(target).equals(bytes.subarray(at, at + 4096)));
  }
  t.strictSame(reads, [4096, 4096, 4096]);
});

t.test("a file that cannot be read any more is told to who reads it, and to nobody else", async (t) => {
  const { blob } = countedBlob(3 * sliceBytes, []);
  const broken = Object.assign(blob, {
    slice: (from: number) =>
      from === 0
        ? Blob.prototype.slice.call(blob, 0, sliceBytes)
        : { arrayBuffer: () => Promise.reject(new Error("gone")) },
  });
  const access = new ReadAhead().access(broken as unknown as Blob);
  const target = new Uint8Array(1 << 20);
  t.equal(await access.read(target, 0), target.length, "the slice that was read ahead failed silently");
  for (let at = target.length; at < sliceBytes; at += target.length) await access.read(target, at);
  await t.rejects(async () => await access.read(target, sliceBytes), /gone/);
});
