import { basename } from "node:path";
import t from "tap";
import { createImage, missingPrograms, qemuIo } from "../disk/qemu-images.ts";
import { block, DiskStore, flip, placeInImage } from "./disk-store.ts";
import { blockOf, type DiskContent, type LegDisk } from "./leg-disks.ts";

const tebibyte = 2 ** 40;

/** A disk whose newest image QEMU writes: what differs from the content before. */
function byQemu(
  lengthBytes: number,
  content: DiskContent,
  changed: readonly number[],
  format: "qcow2" | "raw" = "qcow2",
): LegDisk {
  return {
    content,
    make: (path, backing) => {
      const below = backing === null ? undefined : { file: basename(backing), format: "qcow2" as const };
      createImage(path, format, lengthBytes, "", below);
      const commands = changed.map((number) => {
        const value = content.get(number)?.[0];
        const range = `${number * block} ${block}`;
        return value === undefined ? `write -q -z ${range}` : `write -q -P ${value} ${range}`;
      });
      qemuIo(path, format, commands);
    },
  };
}

t.test(
  "a disk of 1 TiB with little in it: only that little is read",
  { skip: missingPrograms },
  async (t) => {
    const store = await DiskStore.createEmpty(t.testdir(), [{ name: "disk0", lengthBytes: tebibyte }]);
    const blocks = tebibyte / block;
    const places = [0, 5_000_000, 5_000_001, 2 ** 27, blocks - 1];
    const first = new Map(places.map((number, i) => [number, blockOf(i + 1)]));
    await store.add([byQemu(tebibyte, first, places)]);
    const second = new Map([...first, [77_000_000, blockOf(50)]]);
    second.delete(2 ** 27);
    await store.add([byQemu(tebibyte, second, [77_000_000, 2 ** 27])]);
    const { findings, notes, diskBytes } = await store.verify();
    t.strictSame(findings, []);
    t.strictSame(notes, []);
    // QEMU writes clusters of 64 KiB; the second image is compared only where it, or its digests, differ.
    t.ok(diskBytes <= (places.length + 2) * 65536, `${diskBytes} bytes read`);
    t.strictSame(await store.restorable(), [true, true]);

    const path = store.image(2, "qcow2");
    const { data } = placeInImage(path, 77_000_000);
    flip(path, data + 9);
    t.match((await store.verify()).findings, [
      { path, disk: "disk0", block: 77_000_000, blocks: 1, offset: data },
    ]);
    t.strictSame(await store.restorable(), [true, false]);
  },
);

t.test(
  "images as QEMU writes them: discards, zero writes, ends within a cluster",
  { skip: missingPrograms },
  async (t) => {
    const lengthBytes = 5 * 65536 + 7 * 512;
    const store = await DiskStore.createEmpty(t.testdir(), [{ name: "disk0", lengthBytes }]);
    const numbers = Array.from({ length: 60 }, (_, i) => i);
    const first = new Map(numbers.map((number) => [number, blockOf(number + 1)]));
    await store.add([byQemu(lengthBytes, first, numbers)]);
    const second = new Map(first);
    for (let number = 16; number < 32; number++) second.delete(number);
    second.set(3, blockOf(200));
    await store.add([byQemu(lengthBytes, second, [3, ...numbers.slice(16, 32)])]);
    const { findings } = await store.verify();
    t.strictSame(findings, []);
    t.strictSame(await store.restorable(), [true, true]);
  },
);
