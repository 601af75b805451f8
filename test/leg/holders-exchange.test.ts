import { readdirSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { receiveHolders, sendHolders } from "../../cli/leg/holders-exchange.ts";
import { readDigests, type StoredGeneration } from "../../cli/store/generation-reader.ts";
import { Holders } from "../../cli/store/holders.ts";
import { prune } from "../../cli/store/retention.ts";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { fromHex } from "../../src/bytes.ts";
import { encodeDigestFrames } from "../../src/delta/digest-frames.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { ModelStore } from "../store/model-store.ts";
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

const receive = (model: ModelStore, connection: PeerConnection, current: StoredGeneration) =>
  receiveHolders(model.core, connection, model.store, "b", model.key, current);

t.test("digests of what a third site holds arrive as they are, and who holds what is noted", async (t) => {
  const { atA, atB, chainA, chainB, a, b } = await twoSites(t, 3);
  const [, second, , newest] = chainA;
  await new Holders(atA.store.path).record("c", idOf(second));
  await new Holders(atA.store.path).record("b", idOf(chainA[2]));
  await Promise.all([sendHolders(atA.core, a, atA.store, "a", newest), receive(atB, b, chainB[3])]);

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
  await Promise.all([sendHolders(atA.core, a, atA.store, "a", full), receive(atB, b, fullAtB)]);
  const kept = await new Holders(atB.store.path).readDigests(atB.core, idOf(chainB[0]));
  t.strictSame(kept?.digests, await readDigests(chainB[0]));
});

t.test("what a third site holds is told although its digests are not known", async (t) => {
  const { atA, atB, chainA, chainB, a, b } = await twoSites(t, 0);
  const foreign: GenerationId = { generation: 7, root: "7".repeat(64) };
  await new Holders(atA.store.path).record("c", foreign);
  await Promise.all([sendHolders(atA.core, a, atA.store, "a", chainA[0]), receive(atB, b, chainB[0])]);
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
  const sent = t.rejects(sendHolders(atA.core, a, atA.store, "a", chainA[0]), endsAs("failed"));
  await b.next(10_000);
  b.close();
  await sent;
  t.equal((await new Holders(atA.store.path).list()).size, 0);
});
