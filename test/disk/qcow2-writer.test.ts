import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ImageChain, openImage } from "../../src/disk/index.ts";
import { clusterBytes, Qcow2Writer } from "../../src/disk/qcow2-writer.ts";
import { MemorySource } from "./memory-source.ts";
import { missingPrograms, qemuImg } from "./qemu-images.ts";

const GiB = 2 ** 30;

/** A file in memory, as long as what was written. */
class MemoryFile {
  bytes = new Uint8Array(0);

  write(bytes: Uint8Array, at: number): void {
    if (at + bytes.length > this.bytes.length) {
      const longer = new Uint8Array(at + bytes.length);
      longer.set(this.bytes);
      this.bytes = longer;
    }
    this.bytes.set(bytes, at);
  }
}

const filled = (value: number) => new Uint8Array(clusterBytes).fill(value);

function build(diskBytes: number, clusters: readonly number[]): Uint8Array {
  const file = new MemoryFile();
  const writer = new Qcow2Writer(file, diskBytes);
  for (const [i, cluster] of clusters.entries()) writer.cluster(cluster, filled(i + 1));
  t.equal(writer.finish(), file.bytes.length);
  return file.bytes;
}

/** In several L2 tables, at both ends, and with neighbours. */
const shapes: readonly [diskBytes: number, clusters: readonly number[]][] = [
  [512, []],
  [512, [0]],
  [3 * clusterBytes + 512, [1, 3]],
  [GiB + 4096, [0, 1, 5, 8191, 8192, 16383, 16384]],
  [16 * 2 ** 40, [0, 2 ** 28 - 1]],
];

t.test("the reader finds what was written, and zeroes elsewhere", (t) => {
  for (const [diskBytes, clusters] of shapes) {
    const image = openImage(new MemorySource(build(diskBytes, clusters)), "qcow2");
    t.equal(image.lengthBytes, diskBytes);
    t.equal(image.backing, null);
    const chain = new ImageChain([image], diskBytes);
    const memory = new Uint8Array(4096);
    for (const [i, cluster] of clusters.entries()) {
      chain.readBlocks(memory, 0, cluster * 16, 1);
      t.equal(memory[0], i + 1, `cluster ${cluster} of ${diskBytes}`);
    }
    const blocks = [...chain.dataRuns()].reduce((sum, { count }) => sum + count, 0);
    t.ok(blocks <= clusters.length * 16, "nothing else has data");
  }
  t.end();
});

t.test("QEMU finds no fault with it", { skip: missingPrograms }, (t) => {
  const folder = t.testdir();
  for (const [i, [diskBytes, clusters]] of shapes.entries()) {
    const path = join(folder, `${i}.qcow2`);
    writeFileSync(path, build(diskBytes, clusters));
    const { status, stdout, stderr } = spawnSync("qemu-img", ["check", path], { encoding: "utf8" });
    t.equal(status, 0, `${stdout}${stderr}`);
    t.match(JSON.parse(qemuImg("info", "--output=json", path)), {
      "virtual-size": diskBytes,
      format: "qcow2",
    });
  }
  t.end();
});

t.test("clusters that cannot be written are refused", (t) => {
  const writer = new Qcow2Writer(new MemoryFile(), 2 * clusterBytes);
  writer.cluster(1, filled(1));
  for (const index of [0, 1, 2, 1.5, -1])
    t.throws(() => writer.cluster(index, filled(1)), RangeError, `${index}`);
  t.throws(
    () => new Qcow2Writer(new MemoryFile(), 2 * clusterBytes).cluster(0, new Uint8Array(3)),
    RangeError,
  );
  for (const bytes of [0, -512, 2 ** 53, 1.5])
    t.throws(() => new Qcow2Writer(new MemoryFile(), bytes), RangeError);
  t.end();
});
