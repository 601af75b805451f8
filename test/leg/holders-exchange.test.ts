import { readdirSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { receiveHolders, sendHolders } from "../../cli/leg/holders-exchange.ts";
import { readDigests, type StoredGeneration } from "../../cli/store/generation-reader.ts";
import { Holders } from "../../cli/store/holders.ts";
import { prune } from "../../cli/store/retention.ts";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { fromHex } from "../../src/bytes.ts";
import { encodeBlockDigestFrames, encodeDigestFrames } from "../../src/delta/digest-frames.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { addImage, addOverlay, blockDigest, diskOf, type ModelImage } from "../store/model-disks.ts";
import { firstMemory, ModelStore, nextMemory, noiseFrom, page } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";
import { connectionPair } from "../wan/connection-pair.ts";

const idOf = ({ manifest }: StoredGeneration): GenerationId => ({
  generation: manifest.generation,
  root: manifest.root,
});

/** Sites a and b with the same chain, as after legs between them, and a connection. */
async function twoSites(t: Test, deltas: number) {
  const folder = t.testdir();
  const [atA, atB] = await Promise.all(["a", "b"].map((site) => ModelStore.create(join(folder, site))));
  const chainA = await atA.addChain(deltas);
  const chainB = await atB.addChain(deltas);
  t.strictSame(chainA.map(idOf), chainB.map(idOf), "both built the same");
  return { atA, atB, chainA, chainB, ...(await connectionPair(t)) };
}

function contextOf(
  model: ModelStore,
  ownSite: string,
  connection: PeerConnection,
  current: StoredGeneration,
) {
  const { core, key, store } = model;
  return { core, connection, store, ownSite, key, current };
}

const send = (model: ModelStore, connection: PeerConnection, current: StoredGeneration) =>
  sendHolders(contextOf(model, "a", connection, current));
const receive = (model: ModelStore, connection: PeerConnection, current: StoredGeneration) =>
  receiveHolders(contextOf(model, "b", connection, current));

t.test("digests of what a third site holds arrive as they are, and who holds what is noted", async (t) => {
  const { atA, atB, chainA, chainB, a, b } = await twoSites(t, 3);
  const [, second, , newest] = chainA;
  await new Holders(atA.store.path).record("c", idOf(second));
  await new Holders(atA.store.path).record("b", idOf(chainA[2]));
  await Promise.all([send(atA, a, newest), receive(atB, b, chainB[3])]);

  const known = new Holders(atB.store.path);
  t.strictSame(Object.fromEntries(await known.list()), { a: idOf(newest), c: idOf(second) });
  const kept = await known.readDigests(atB.core, idOf(second));
  t.strictSame(kept?.digests, await readDigests(second));
  t.strictSame(kept?.deviceDigest, fromHex(second.manifest.deviceDigest));
  t.equal(await known.readDigests(atB.core, idOf(newest)), null, "what is here itself is not kept twice");
  const atSource = await new Holders(atA.store.path).list();
  t.strictSame(atSource.get("b"), idOf(newest), "the source notes what the new site holds");
});

t.test("digests are passed on by a site that has pruned their content", async (t) => {
  const { atA, atB, chainB, a, b } = await twoSites(t, 1);
  const full = await atA.add(atA.memories.get(2) as Uint8Array, null, "device 1");
  await new Holders(atA.store.path).record("c", idOf(chainB[0]));
  t.strictSame((await prune(atA.core, atA.key, atA.store, 1)).sort(), [1, 2]);
  const fullAtB = await atB.add(atB.memories.get(2) as Uint8Array, null, "device 1");
  t.strictSame(idOf(full), idOf(fullAtB));
  await Promise.all([send(atA, a, full), receive(atB, b, fullAtB)]);
  const kept = await new Holders(atB.store.path).readDigests(atB.core, idOf(chainB[0]));
  t.strictSame(kept?.digests, await readDigests(chainB[0]));
});

t.test("what a third site holds is told although its digests are not known", async (t) => {
  const { atA, atB, chainA, chainB, a, b } = await twoSites(t, 0);
  const foreign: GenerationId = { generation: 7, root: "7".repeat(64) };
  await new Holders(atA.store.path).record("c", foreign);
  await Promise.all([send(atA, a, chainA[0]), receive(atB, b, chainB[0])]);
  const known = new Holders(atB.store.path);
  t.strictSame((await known.list()).get("c"), foreign);
  t.equal(await known.readDigests(atB.core, foreign), null);
});

t.test("what is told of the receiving site itself is not noted", async (t) => {
  const { atB, chainB, a, b } = await twoSites(t, 0);
  const received = receive(atB, b, chainB[0]);
  a.send({ type: "holder", site: "b", id: idOf(chainB[0]), deviceDigest: null, frames: 0 });
  a.send({ type: "noted" });
  await received;
  t.strictSame(await a.expect("noted", 10_000), { type: "noted" });
  t.equal((await new Holders(atB.store.path).list()).size, 0);
});

t.test(
  "digests that do not have the root they are said to have are refused, and leave nothing",
  async (t) => {
    const { atB, chainB, a, b } = await twoSites(t, 1);
    const [first, second] = chainB;
    const digests = await readDigests(first);
    digests[20] ^= 1;
    const frames = encodeDigestFrames(atB.core, await readDigests(second), digests);
    const received = t.rejects(receive(atB, b, second), {
      ...endsAs("failed"),
      message: /Cannot go on with a: digests of generation 1 do not have its root/,
    });
    const { deviceDigest } = first.manifest;
    a.send({ type: "holder", site: "c", id: idOf(first), deviceDigest, frames: frames.length });
    for (const frame of frames) a.sendFrame(frame);
    await received;
    t.throws(() => readdirSync(join(atB.store.path, "holders")), { code: "ENOENT" });
  },
);

t.test("a root that fits, but not to this device state, is refused", async (t) => {
  const { atB, chainB, a, b } = await twoSites(t, 1);
  const [first, second] = chainB;
  const frames = encodeDigestFrames(atB.core, await readDigests(second), await readDigests(first));
  const received = t.rejects(receive(atB, b, second), { message: /do not have its root/ });
  const { deviceDigest } = second.manifest;
  a.send({ type: "holder", site: "c", id: idOf(first), deviceDigest, frames: frames.length });
  for (const frame of frames) a.sendFrame(frame);
  await received;
});

t.test("whatever else comes instead is refused, and noted is not said", async (t) => {
  const { atB, chainB } = await twoSites(t, 1);
  const [first, second] = chainB;
  const { deviceDigest } = first.manifest;
  const holder = { type: "holder", site: "c", id: idOf(first), deviceDigest, frames: 1 } as const;
  const wrong: [string, (a: PeerConnection) => void, RegExp | { name: string }][] = [
    ["another message", (a) => a.send({ type: "ack", sequence: 1 }), /neither 'holder' nor 'noted'/],
    ["a frame nobody announced", (a) => a.sendFrame(Uint8Array.of(1)), /neither 'holder' nor 'noted'/],
    [
      "a message instead of the frame",
      (a) => {
        a.send(holder);
        a.send({ type: "noted" });
      },
      /a frame of digests is missing/,
    ],
    [
      "a frame that is damaged",
      (a) => {
        a.send(holder);
        a.sendFrame(new Uint8Array(100));
      },
      { name: "FormatError" },
    ],
    ["the end of the connection", (a) => a.close(), /Lost the connection/],
  ];
  for (const [what, act, error] of wrong) {
    const { a, b } = await connectionPair(t);
    const received = t.rejects(receive(atB, b, second), error, what);
    act(a);
    await received;
    t.equal((await new Holders(atB.store.path).list()).size, 0, what);
  }
});

t.test("a source that is not answered notes nothing of the new site", async (t) => {
  const { atA, chainA, a, b } = await twoSites(t, 0);
  const sent = t.rejects(send(atA, a, chainA[0]), endsAs("failed"));
  await b.next(10_000);
  b.close();
  await sent;
  t.equal((await new Holders(atA.store.path).list()).size, 0);
});

const diskBlocks = 21;
const diskBytes = 20 * page + 512;

/** A site with generations that have a disk each over the one before, as after legs, and a small disk that stays. */
class DiskSite {
  readonly model: ModelStore;
  readonly generations: StoredGeneration[] = [];
  /** The large disk of each generation. */
  readonly disks: ModelImage[] = [];
  private small: ModelImage | null = null;

  constructor(model: ModelStore) {
    this.model = model;
  }

  async add(): Promise<void> {
    const { model, generations, disks } = this;
    const number = generations.length;
    const { memories } = model;
    const memory = number === 0 ? firstMemory(model.memoryBytes) : nextMemory(memories.get(number)!, number);
    const below = disks.at(-1);
    const own = new Map<number, "data" | "zero">([
      [(number * 3) % diskBlocks, "data"],
      [20, "data"],
      [(number * 5 + 1) % diskBlocks, "zero"],
    ]);
    const disk = below
      ? await addOverlay(model, below, own, number)
      : await addImage(model, "root", new Uint8Array(diskBytes).map(noiseFrom(7)));
    this.small ??= await addImage(model, "small", new Uint8Array(512).fill(9));
    disks.push(disk);
    const named = [await diskOf(model, this.small), await diskOf(model, disk)];
    generations.push(await model.add(memory, generations.at(-1) ?? null, `device ${number}`, named));
  }
}

/** Sites a and b with the same generations, each in images of its own, and a connection. */
async function sitesWithDisks(t: Test, generations: number) {
  const folder = t.testdir();
  const sites = await Promise.all(
    ["a", "b"].map(async (site) => new DiskSite(await ModelStore.create(join(folder, site)))),
  );
  for (const site of sites) for (let i = 0; i < generations; i++) await site.add();
  const [atA, atB] = sites;
  t.strictSame(atA.generations.map(idOf), atB.generations.map(idOf), "both built the same");
  return { atA, atB, ...(await connectionPair(t)) };
}

/** Compares the digests of a disk that a site keeps of a generation with its content. */
async function checkKept(t: Test, site: DiskSite, id: GenerationId, disk: string, content: Uint8Array) {
  const { model } = site;
  const blocks = Math.ceil(content.length / page);
  const holders = new Holders(model.store.path);
  const kept = await holders.openDiskDigests(model.core, model.key, id, disk, blocks);
  if (kept === null) {
    t.fail(`no digests of ${disk}`);
    return;
  }
  const wrong = Array.from({ length: blocks }, (_, block) => block).filter(
    (block) => !kept.digests.equals(block, blockDigest(model, content, block), 0),
  );
  kept.close();
  t.strictSame(wrong, [], `blocks of ${disk}`);
}

const holdersIn = ({ model }: DiskSite) => readdirSync(join(model.store.path, "holders")).sort();

t.test("digests of disks that a third site holds travel too, and are kept as they are", async (t) => {
  const { atA, atB, a, b } = await sitesWithDisks(t, 4);
  const second = idOf(atA.generations[1]);
  await new Holders(atA.model.store.path).record("c", second);
  await Promise.all([send(atA.model, a, atA.generations[3]), receive(atB.model, b, atB.generations[3])]);
  const known = new Holders(atB.model.store.path);
  t.strictSame((await known.list()).get("c"), second);
  t.strictSame(
    (await known.readDigests(atB.model.core, second))?.digests,
    await readDigests(atA.generations[1]),
  );
  await checkKept(t, atB, second, "root", atA.disks[1].content);
  await checkKept(t, atB, second, "small", new Uint8Array(512).fill(9));
  t.strictSame(holdersIn(atB), [
    `${second.root}.digests`,
    `${second.root}.root.digests`,
    `${second.root}.small.digests`,
    "a.json",
    "c.json",
  ]);
});

t.test("digests of a generation with other disks than the new one are not sent", async (t) => {
  const { atA, atB, a, b } = await sitesWithDisks(t, 3);
  const first = idOf(atA.generations[0]);
  const holders = new Holders(atA.model.store.path);
  await holders.record("c", first);
  // A complete generation, so that nothing stands on the older ones.
  for (const { model, disks } of [atA, atB]) {
    const named = [await diskOf(model, await addImage(model, "root", disks[0].content.slice()))];
    await model.add(model.memories.get(2)!, null, "device", named);
  }
  const { core, key, store } = atA.model;
  t.strictSame((await prune(core, key, store, 1)).sort(), [1, 2, 3]);
  const [newest] = (await store.list()).generations;
  const atOther = (await atB.model.store.list()).generations[3];
  await Promise.all([send(atA.model, a, newest), receive(atB.model, b, atOther)]);
  const known = new Holders(atB.model.store.path);
  t.strictSame((await known.list()).get("c"), first);
  t.equal(await known.readDigests(atB.model.core, first), null, "they would not have the root");
});

t.test("digests of disks are passed on by a site that has pruned their content", async (t) => {
  const { atA, atB, a, b } = await sitesWithDisks(t, 2);
  const first = idOf(atA.generations[0]);
  const { core, key, store } = atA.model;
  const holders = new Holders(store.path);
  await holders.record("c", first);
  for (const { model, generations } of [atA, atB]) {
    const disks = await Promise.all(
      generations[1].manifest.disks.map(async ({ image }) =>
        diskOf(model, { image: await model.store.images.read(image), content: new Uint8Array(0) }),
      ),
    );
    await model.add(model.memories.get(2)!, null, "device", disks);
  }
  t.strictSame((await prune(core, key, store, 1)).sort(), [1, 2]);
  const [newest] = (await store.list()).generations;
  const atOther = (await atB.model.store.list()).generations[2];
  await Promise.all([send(atA.model, a, newest), receive(atB.model, b, atOther)]);
  await checkKept(t, atB, first, "root", atA.disks[0].content);
});

t.test("without the digests of its disks a generation is only named, not told", async (t) => {
  const { atA, atB, a, b } = await sitesWithDisks(t, 2);
  const foreign: GenerationId = { generation: 9, root: "9".repeat(64) };
  const { core, store } = atA.model;
  const holders = new Holders(store.path);
  // Digests of memory that fit, as they are kept where the VM's key was not at hand.
  const digests = (await readDigests(atA.generations[0])).slice();
  await holders.keepDigests(core, foreign, { digests, deviceDigest: new Uint8Array(32) });
  await holders.record("c", foreign);
  await Promise.all([send(atA.model, a, atA.generations[1]), receive(atB.model, b, atB.generations[1])]);
  const known = new Holders(atB.model.store.path);
  t.strictSame((await known.list()).get("c"), foreign);
  t.strictSame(holdersIn(atB), ["a.json", "c.json"]);
});

/** What a source sends of a generation: frames over the current one, those of the large disk as a test wants them. */
async function framesOf(site: DiskSite, of: number, content: Uint8Array, region: number) {
  const { model, generations, disks } = site;
  const current = generations.length - 1;
  const ram = encodeDigestFrames(
    model.core,
    await readDigests(generations[current]),
    await readDigests(generations[of]),
  );
  const differing = Array.from({ length: diskBlocks }, (_, block) => block).filter(
    (block) =>
      !Buffer.from(blockDigest(model, content, block)).equals(
        blockDigest(model, disks[current].content, block),
      ),
  );
  const runs = differing.map((block) => ({ block, count: 1 }));
  const put = (block: number, target: Uint8Array, at: number) =>
    target.set(blockDigest(model, content, block), at);
  const ofDisk = encodeBlockDigestFrames(model.core, region, ram.length + 1, diskBlocks, runs, put);
  return [...ram, ...ofDisk];
}

t.test("digests of a disk that do not have the root are refused, and leave nothing", async (t) => {
  const { atA, atB, a, b } = await sitesWithDisks(t, 2);
  const [first] = atA.generations;
  const content = atA.disks[0].content.slice();
  content[5 * page] ^= 1;
  // Regions of frames: two of RAM, then the disks small and root.
  const frames = await framesOf(atA, 0, content, 3);
  const received = t.rejects(receive(atB.model, b, atB.generations[1]), {
    ...endsAs("failed"),
    message: /digests of generation 1 do not have its root/,
  });
  const { deviceDigest } = first.manifest;
  a.send({ type: "holder", site: "c", id: idOf(first), deviceDigest, frames: frames.length });
  for (const frame of frames) a.sendFrame(frame);
  await received;
  t.strictSame(holdersIn(atB), []);
});

t.test("digests of a region that is no disk, or does not exist, are refused", async (t) => {
  const { atA, atB } = await sitesWithDisks(t, 2);
  const [first] = atA.generations;
  const { deviceDigest } = first.manifest;
  for (const region of [1, 4, 0xffff]) {
    const { a, b } = await connectionPair(t);
    const frames = await framesOf(atA, 0, atA.disks[0].content, region);
    const received = t.rejects(
      receive(atB.model, b, atB.generations[1]),
      { ...endsAs("failed"), message: new RegExp(`digests of region ${region} came`) },
      `region ${region}`,
    );
    a.send({ type: "holder", site: "c", id: idOf(first), deviceDigest, frames: frames.length });
    for (const frame of frames) a.sendFrame(frame);
    await received;
  }
  const { a, b } = await connectionPair(t);
  const frames = await framesOf(atA, 0, atA.disks[0].content, 2);
  const received = t.rejects(
    receive(atB.model, b, atB.generations[1]),
    { name: "FormatError" },
    "a smaller disk",
  );
  a.send({ type: "holder", site: "c", id: idOf(first), deviceDigest, frames: frames.length });
  for (const frame of frames) a.sendFrame(frame);
  await received;
});
