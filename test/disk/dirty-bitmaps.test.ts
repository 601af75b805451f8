import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { BlockHost } from "../../cli/disk/block-host.ts";
import {
  type BitmapInfo,
  bitmapsOf,
  blockNodes,
  distrust,
  RoundBitmaps,
  removeRoundBitmaps,
  sinceBitmapName,
} from "../../cli/disk/dirty-bitmaps.ts";
import { bitmapContext, DiskExports } from "../../cli/leg/disk-exports.ts";
import { extents } from "../../cli/nbd/extents.ts";
import { QEMU_BINARY, temporaryFolder } from "../qemu/qemu-fixture.ts";

const since = sinceBitmapName("disk0-0000000a");
const KIB = 1024;
const size = (8 << 20) + 512;

/** A QEMU with disks that are open for writing. */
class Rig {
  readonly folder: string;
  host: BlockHost;

  private constructor(folder: string, host: BlockHost) {
    this.folder = folder;
    this.host = host;
  }

  static async start(t: Test, disks: readonly string[], granularityBytes = 65536): Promise<Rig> {
    const folder = await temporaryFolder(t);
    const rig = new Rig(folder, await BlockHost.start(QEMU_BINARY, folder));
    t.teardown(() => rig.host.kill());
    for (const node of disks) {
      const bitmap = { name: since, granularityBytes };
      await rig.host.create({ path: rig.pathOf(node), lengthBytes: size, backing: null, bitmap });
    }
    await rig.open(disks);
    return rig;
  }

  get qmp() {
    return this.host.qmp;
  }

  pathOf(node: string): string {
    return join(this.folder, `${node}.qcow2`);
  }

  async open(disks: readonly string[]): Promise<void> {
    for (const node of disks) {
      const file = { driver: "file", filename: this.pathOf(node) };
      await this.host.open([{ driver: "qcow2", "node-name": node, file }]);
    }
  }

  /** Another QEMU with the same disks, after the first one was ended in order or not. */
  async restart(how: "close" | "kill", disks: readonly string[]): Promise<void> {
    await this.host[how]();
    this.host = await BlockHost.start(QEMU_BINARY, this.folder);
    await this.open(disks);
  }

  async write(node: string, at: number, length: number, options = "-P 7"): Promise<void> {
    const said = await this.qmp.execute<string>("human-monitor-command", {
      "command-line": `qemu-io ${node} "write -q ${options} ${at} ${length}"`,
    });
    if (said !== "") throw new Error(said);
  }

  async bitmaps(node: string): Promise<readonly BitmapInfo[]> {
    return bitmapsOf(await blockNodes(this.qmp), node);
  }

  async names(node: string): Promise<string[]> {
    return (await this.bitmaps(node)).map(({ name }) => name).sort();
  }

  async bitmap(node: string, name: string): Promise<BitmapInfo> {
    const found = (await this.bitmaps(node)).find((bitmap) => bitmap.name === name);
    if (found === undefined) throw new Error(`no bitmap ${name}`);
    return found;
  }

  /** Ranges that a bitmap has marked, in KiB, as an NBD client is told. */
  async marked(node: string, bitmap: string | null): Promise<string[]> {
    const exports = new DiskExports(this.qmp, join(mkdtempSync(join(this.folder, "x")), "n"));
    await exports.start();
    const client = await exports.add({ node, bitmap, allocationDepth: false });
    const ranges: string[] = [];
    for await (const { offset, lengthBytes, flags } of extents(client, bitmapContext(String(bitmap)))) {
      if (flags & 1) ranges.push(`${offset / KIB}+${lengthBytes / KIB}`);
    }
    await exports.stop();
    return ranges;
  }
}

async function rounds(rig: Rig, disks: readonly string[], granularityBytes = 65536): Promise<RoundBitmaps> {
  const starts = await Promise.all(
    disks.map(async (node) => ({ node, since: await rig.bitmap(node, since), granularityBytes })),
  );
  return new RoundBitmaps(rig.qmp, starts);
}

t.test(
  "every round sees exactly what was written since the one before, and the first what was before it",
  async (t) => {
    const rig = await Rig.start(t, ["disk"]);
    await rig.write("disk", 0, 4 * KIB);
    await rig.write("disk", 1000 * KIB, 64 * KIB);
    const bitmaps = await rounds(rig, ["disk"]);
    await bitmaps.begin();
    t.equal(await bitmaps.dirtyBytes(), 0);
    await rig.write("disk", 2048 * KIB, 512);
    t.strictSame(await rig.marked("disk", bitmaps.readable("disk")), ["0+64", "960+128"]);
    t.equal(await bitmaps.dirtyBytes(), 64 * KIB);

    await bitmaps.rotate(false);
    t.equal(await bitmaps.dirtyBytes(), 0);
    await rig.write("disk", 0, 512, "-z");
    await rig.write("disk", 8 << 20, 512);
    t.strictSame(await rig.marked("disk", bitmaps.readable("disk")), ["2048+64"]);
    t.equal(
      await bitmaps.dirtyBytes(),
      2 * 65536,
      "zeroes count, and the short end of the disk as a whole granule",
    );

    await bitmaps.rotate(false);
    t.strictSame(await rig.marked("disk", bitmaps.readable("disk")), ["0+64", "8192+0.5"]);
    await rig.write("disk", 4096 * KIB, 512);
    await bitmaps.rotate(true);
    await rig.write("disk", 6144 * KIB, 512);
    t.strictSame(
      await rig.marked("disk", bitmaps.readable("disk")),
      ["4096+64"],
      "the last round records no more",
    );
    t.equal(await bitmaps.dirtyBytes(), 0);
    t.strictSame(await rig.names("disk"), ["bfmig-round-3", since], "older rounds are gone");

    await bitmaps.remove();
    t.strictSame(await rig.names("disk"), [since]);
    t.equal((await rig.bitmap("disk", since)).count, 7 * 65536, "that since the generation has all of them");
  },
);

t.test("without a bitmap since the generation the first round has none, the others do", async (t) => {
  const rig = await Rig.start(t, ["disk"]);
  const bitmaps = new RoundBitmaps(rig.qmp, [{ node: "disk", since: null, granularityBytes: 4096 }]);
  await bitmaps.begin();
  t.equal(bitmaps.readable("disk"), null);
  await rig.write("disk", 100 * KIB, 4 * KIB);
  await bitmaps.rotate(false);
  t.strictSame(await rig.marked("disk", bitmaps.readable("disk")), ["100+4"]);
  t.strictSame(await rig.names("disk"), ["bfmig-round-1", "bfmig-round-2", since]);
  await bitmaps.rotate(true);
  t.strictSame(await rig.marked("disk", bitmaps.readable("disk")), []);
  await bitmaps.remove();
});

t.test("a leg that is given up leaves what was recorded since the generation", async (t) => {
  const rig = await Rig.start(t, ["disk"]);
  await rig.write("disk", 0, 512);
  for (const turns of [0, 1, 2]) {
    const bitmaps = await rounds(rig, ["disk"]);
    await bitmaps.begin();
    for (let i = 0; i < turns; i++) await bitmaps.rotate(i === 1);
    await rig.write("disk", (1 + turns) * 1024 * KIB, 512);
    await bitmaps.remove();
    t.strictSame(await rig.names("disk"), [since]);
    const found = await rig.bitmap("disk", since);
    t.equal(found.count, (turns + 2) * 65536, `after ${turns} rotations`);
    t.equal(distrust(found), null);
  }
});

t.test("bitmaps that a leg was cut off with are removed, others stay", async (t) => {
  const rig = await Rig.start(t, ["disk"]);
  await rig.qmp.execute("block-dirty-bitmap-add", { node: "disk", name: "backup" });
  const dead = await rounds(rig, ["disk"]);
  await dead.begin();
  await dead.rotate(false);
  t.strictSame(await rig.names("disk"), ["backup", "bfmig-round-1", "bfmig-round-2", since]);
  await rig.write("disk", 0, 512);
  const next = await rounds(rig, ["disk"]);
  await next.begin();
  t.strictSame(await rig.names("disk"), ["backup", "bfmig-round-1", since, "bfmig-start"]);
  t.strictSame(await rig.marked("disk", next.readable("disk")), ["0+64"]);
  t.equal(await next.dirtyBytes(), 0);
  await removeRoundBitmaps(rig.qmp, ["disk", "gone"]);
  t.strictSame(await rig.names("disk"), ["backup", since]);
});

t.test("all disks begin and rotate at one instant, or none does", async (t) => {
  const rig = await Rig.start(t, ["one", "two"]);
  await rig.write("two", 0, 512);
  const bitmaps = await rounds(rig, ["one", "two"]);
  await bitmaps.begin();
  await rig.write("one", 64 * KIB, 512);
  await rig.write("two", 128 * KIB, 128 * KIB);
  t.equal(await bitmaps.dirtyBytes(), 3 * 65536, "of all disks together");
  t.strictSame(await rig.marked("one", bitmaps.readable("one")), []);
  t.strictSame(await rig.marked("two", bitmaps.readable("two")), ["0+64"]);
  await bitmaps.rotate(true);
  t.strictSame(await rig.marked("one", bitmaps.readable("one")), ["64+64"]);
  t.strictSame(await rig.marked("two", bitmaps.readable("two")), ["128+128"]);
  await bitmaps.remove();
  const halved = new RoundBitmaps(rig.qmp, [
    { node: "one", since: await rig.bitmap("one", since), granularityBytes: 65536 },
    { node: "gone", since: null, granularityBytes: 65536 },
  ]);
  await t.rejects(halved.begin());
  for (const node of ["one", "two"]) t.strictSame(await rig.names(node), [since]);
});

t.test("the copy that a leg begins with has the granularity of what it is a copy of", async (t) => {
  const rig = await Rig.start(t, ["disk"], 4096);
  await rig.write("disk", 20 * KIB, 512);
  const bitmaps = await rounds(rig, ["disk"], 1 << 20);
  await bitmaps.begin();
  t.strictSame(await rig.marked("disk", bitmaps.readable("disk")), ["20+4"]);
  await rig.write("disk", 20 * KIB, 512);
  await bitmaps.rotate(true);
  t.strictSame(await rig.marked("disk", bitmaps.readable("disk")), ["0+1024"]);
  await bitmaps.remove();
});

t.test("what QEMU stores in order is trusted by the next one, and rounds are not stored", async (t) => {
  const rig = await Rig.start(t, ["disk"]);
  await rig.write("disk", 0, 512);
  const bitmaps = await rounds(rig, ["disk"]);
  await bitmaps.begin();
  await rig.write("disk", 1024 * KIB, 512);
  await rig.restart("close", ["disk"]);
  t.strictSame(await rig.names("disk"), [since]);
  const found = await rig.bitmap("disk", since);
  t.match(found, { count: 2 * 65536, persistent: true, recording: true, granularity: 65536 });
  t.equal(distrust(found), null);
});

t.test("a bitmap that may lack something is not trusted, and the reason is told", async (t) => {
  const rig = await Rig.start(t, ["disk"]);
  const name = { node: "disk", name: since };
  t.equal(distrust(await rig.bitmap("disk", since)), null, "a new one is");
  await rig.qmp.execute("block-dirty-bitmap-disable", name);
  t.match(distrust(await rig.bitmap("disk", since)), /it was switched off/);
  await rig.qmp.execute("block-dirty-bitmap-enable", name);
  await rig.write("disk", 0, 512);
  await rig.restart("kill", ["disk"]);
  const found = await rig.bitmap("disk", since);
  t.equal(found.inconsistent, true);
  t.match(distrust(found), /QEMU did not end in order and the bitmap is inconsistent/);
  await rig.qmp.execute("block-dirty-bitmap-remove", name);
  const none = (await rig.bitmaps("disk")).find((bitmap) => bitmap.name === since);
  t.match(distrust(none), /it is not there/);
});

t.test("of nodes that are not there no bitmap is known", async (t) => {
  const rig = await Rig.start(t, ["disk"]);
  t.strictSame(await rig.bitmaps("gone"), []);
  t.equal((await blockNodes(rig.qmp)).get("disk")?.image["virtual-size"], size);
});
