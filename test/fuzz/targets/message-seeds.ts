/** A message of each type between agents. Types that the protocol does not have (any more) are refused, which is fine. */

/** 32 bytes in hexadecimal. */
export const root = "ab".repeat(32);
const id = { generation: 3, root };
const vm = {
  name: "web1",
  machine: "pc-i440fx-7.2",
  cpu: "qemu64",
  accelerator: "tcg",
  memoryBytes: 1 << 30,
  disks: [{ name: "disk0", lengthBytes: 2 ** 32 + 512, bus: "virtio-blk" }],
};
const leg = "0b8f2b3e-7c0c-4f5a-9f61-0a4f3f9f8a11";
const claims = [
  { vm: "web1", state: "owned", epoch: 6, leg: null },
  { vm: "web2", state: "away", epoch: 2, leg },
];
const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: 4096 }];

export const exampleMessages: readonly object[] = [
  { type: "challenge", protocol: 5, nonce: root },
  { type: "hello", protocol: 5, site: "a", nonce: root, mac: root },
  { type: "welcome", site: "b", mac: root },
  {
    type: "prepare",
    purpose: "handover",
    leg,
    vm,
    ramBlock: "pc.ram",
    epoch: 5,
    key: root,
    linkTimeoutMs: 600_000,
    streams: 4,
  },
  { type: "offer", have: [id, { ...id, generation: 2 }] },
  { type: "begin", generation: 4, base: id, machine: "pc", regions },
  { type: "begin", generation: 1, base: null, machine: "pc", regions },
  { type: "ack", sequence: 7 },
  { type: "finish", root, sequence: 9, ageMs: 0 },
  { type: "prepared", root },
  { type: "commit", epoch: 6 },
  { type: "running", epoch: 6 },
  { type: "keep" },
  { type: "kept", generation: 4 },
  { type: "holder", site: "c", id, deviceDigest: null, frames: 0 },
  { type: "holder", site: "c", id, deviceDigest: root, frames: 3 },
  { type: "noted" },
  { type: "resume", leg, vm: "web1", messages: 3 },
  { type: "resumed", leg, messages: 2, sequence: 17 },
  { type: "join", leg, vm: "web1", stream: 3 },
  { type: "joined", leg, stream: 3 },
  { type: "arrived", frames: 9 },
  { type: "claims", claims },
  { type: "claimed", claims: [] },
  { type: "settle", vm: "web1", epoch: 6 },
  { type: "settled", vm: "web1", epoch: 6, outcome: "owned", newest: 6 },
  { type: "abort", reason: "failed", message: "because" },
];
