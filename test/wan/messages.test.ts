import fc from "fast-check";
import t from "tap";
import { decodeMessage, encodeMessage, type Message, maxMessageLength } from "../../cli/wan/messages.ts";
import { FormatError } from "../../src/errors.ts";

const hex = "ab".repeat(32);
const id = { generation: 3, root: hex };
const vm = {
  name: "web1",
  machine: "pc-i440fx-7.2",
  cpu: "qemu64",
  accelerator: "tcg",
  memoryBytes: 1 << 30,
  disks: [{ name: "disk0", lengthBytes: 2 ** 32 + 512, bus: "virtio-blk" }],
};
const leg = "0b8f2b3e-7c0c-4f5a-9f61-0a4f3f9f8a11";

/** One good message of each type. */
const messages: Record<string, Record<string, unknown>> = {
  challenge: { type: "challenge", protocol: 1, nonce: hex },
  hello: { type: "hello", protocol: 1, site: "a", nonce: hex, mac: hex },
  welcome: { type: "welcome", site: "b", mac: hex },
  prepare: {
    type: "prepare",
    purpose: "handover",
    leg,
    vm,
    ramBlock: "pc.ram",
    epoch: 5,
    key: hex,
    linkTimeoutMs: 600_000,
    streams: 4,
  },
  offer: { type: "offer", have: [id] },
  begin: {
    type: "begin",
    generation: 4,
    base: id,
    machine: "pc",
    regions: [{ name: "pc.ram", kind: "ram", lengthBytes: 4096 }],
  },
  ack: { type: "ack", sequence: 7 },
  finish: { type: "finish", root: hex, sequence: 9, ageMs: 0 },
  prepared: { type: "prepared", root: hex },
  commit: { type: "commit", epoch: 6 },
  running: { type: "running", epoch: 6 },
  keep: { type: "keep" },
  kept: { type: "kept", generation: 4 },
  holder: { type: "holder", site: "c", id, deviceDigest: null, frames: 0 },
  noted: { type: "noted" },
  settle: { type: "settle", vm: "web1", epoch: 6 },
  settled: { type: "settled", vm: "web1", epoch: 6, outcome: "owned", newest: 6 },
  resume: { type: "resume", leg, vm: "web1", messages: 1 },
  resumed: { type: "resumed", leg, messages: 2, sequence: 17 },
  join: { type: "join", leg, vm: "web1", stream: 3 },
  joined: { type: "joined", leg, stream: 3 },
  arrived: { type: "arrived", frames: 1 },
  claims: { type: "claims", claims: [{ vm: "web1", state: "owned", epoch: 5, leg }] },
  claimed: { type: "claimed", claims: [] },
  abort: { type: "abort", reason: "failed", message: "because" },
};
const decode = (value: unknown) => decodeMessage(JSON.stringify(value));

t.test("a leg may not wait for its link for ever, and claims have a limit", async (t) => {
  const { prepare, claims } = messages;
  for (const linkTimeoutMs of [0, -1, 1.5, 24 * 3600 * 1000 + 1, undefined]) {
    t.throws(() => decode({ ...prepare, linkTimeoutMs }), FormatError, `${linkTimeoutMs}`);
  }
  const [claim] = claims["claims"] as object[];
  t.throws(() => decode({ ...claims, claims: new Array(513).fill(claim) }), FormatError);
  t.throws(() => decode({ ...claims, claims: [{ ...claim, path: "/etc" }] }), FormatError);
});

t.test("a leg has 1 to 16 connections", async (t) => {
  const { prepare, join, joined } = messages;
  for (const streams of [0, 17, 1.5, -1, undefined, "4"]) {
    t.throws(() => decode({ ...prepare, streams }), FormatError, `${streams}`);
  }
  for (const streams of [1, 16]) t.match(decode({ ...prepare, streams }), { streams });
  for (const stream of [0, 16, -1, 1.5, undefined]) {
    t.throws(() => decode({ ...join, stream }), FormatError, `${stream}`);
    t.throws(() => decode({ ...joined, stream }), FormatError, `${stream}`);
  }
});

t.test("every message comes back as it was sent", async (t) => {
  for (const message of Object.values(messages)) {
    t.strictSame(decodeMessage(encodeMessage(message as Message)), message, String(message["type"]));
  }
});

t.test("a field that is unknown, missing or of another type is refused in every message", async (t) => {
  for (const [type, message] of Object.entries(messages)) {
    t.throws(() => decode({ ...message, extra: 1 }), FormatError, `${type} with more`);
    for (const field of Object.keys(message)) {
      const { [field]: _gone, ...rest } = message;
      t.throws(() => decode(rest), FormatError, `${type} without ${field}`);
      t.throws(
        () => decode({ ...message, [field]: { odd: true } }),
        FormatError,
        `${type} with an odd ${field}`,
      );
    }
  }
});

t.test("a peer cannot name paths, arguments or executables", async (t) => {
  const { prepare } = messages;
  for (const more of [
    { args: ["-device", "x"] },
    { path: "/etc" },
    { accel: ["tcg"] },
    { qemu: "/bin/sh" },
  ]) {
    t.throws(() => decode({ ...prepare, vm: { ...vm, ...more } }), FormatError, Object.keys(more)[0]);
  }
  for (const more of [
    { file: "/etc/passwd" },
    { format: "raw" },
    { cache: "none" },
    { image: "disk0-00000000" },
  ]) {
    const disks = [{ ...vm.disks[0], ...more }];
    t.throws(() => decode({ ...prepare, vm: { ...vm, disks } }), FormatError, Object.keys(more)[0]);
  }
  for (const name of ["", "..", "a/b", "Disk0", "0disk", "disk_0", "x".repeat(16), "a\0b"]) {
    const disks = [{ ...vm.disks[0], name }];
    t.throws(() => decode({ ...prepare, vm: { ...vm, disks } }), FormatError, JSON.stringify(name));
  }
  for (const name of ["..", "a/b", "", "A", ".x", "x".repeat(64), "a\0b"]) {
    t.throws(() => decode({ ...prepare, vm: { ...vm, name } }), FormatError, JSON.stringify(name));
    t.throws(() => decode({ ...messages["settle"], vm: name }), FormatError);
    t.throws(() => decode({ ...messages["holder"], site: name }), FormatError);
  }
  for (const text of ["pc,accel=tcg", "pc -kernel x", "", "pc\n", "p/c", "x".repeat(65)]) {
    t.throws(() => decode({ ...prepare, vm: { ...vm, machine: text } }), FormatError, text);
    t.throws(() => decode({ ...prepare, vm: { ...vm, cpu: text } }), FormatError, text);
  }
});

t.test("numbers stay within what they can mean", async (t) => {
  const bad = [-1, 0, 1.5, 2 ** 53, Number.MAX_VALUE, "1", null];
  for (const value of bad) {
    t.throws(() => decode({ ...messages["commit"], epoch: value }), FormatError, String(value));
    t.throws(() => decode({ ...messages["begin"], generation: value }), FormatError);
    t.throws(() => decode({ ...messages["finish"], sequence: value }), FormatError);
  }
  t.throws(() => decode({ ...messages["holder"], frames: (1 << 16) + 1 }), FormatError);
  for (const lengthBytes of [...bad, 2 ** 44 + 512]) {
    const disks = [{ ...vm.disks[0], lengthBytes }];
    t.throws(
      () => decode({ ...messages["prepare"], vm: { ...vm, disks } }),
      FormatError,
      String(lengthBytes),
    );
  }
});

t.test("lists have limits", async (t) => {
  const regions = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ name: `r${i}`, kind: "ram", lengthBytes: 4096 }));
  t.throws(() => decode({ ...messages["begin"], regions: [] }), FormatError);
  t.throws(() => decode({ ...messages["begin"], regions: regions(65) }), FormatError);
  const disks = Array.from({ length: 33 }, (_, i) => ({ ...vm.disks[0], name: `disk${i}` }));
  t.throws(() => decode({ ...messages["prepare"], vm: { ...vm, disks } }), FormatError);
  t.throws(() => decode({ ...messages["offer"], have: new Array(1025).fill(id) }), FormatError);
  t.throws(() => decode({ ...messages["abort"], message: "x".repeat(5000) }), FormatError);
});

t.test("text that is no message is refused with its reason", async (t) => {
  for (const text of ["", "{", "null", "7", "[]", "{}", '{"type":"unheard"}', '{"type":7}']) {
    t.throws(() => decodeMessage(text), FormatError, text);
  }
  t.throws(() => decodeMessage(" ".repeat(maxMessageLength + 1)), { code: "bad-length" });
  t.throws(() => decode({ ...messages["ack"], sequence: "x" }), /sequence/);
});

t.test("whatever comes is a message or a FormatError", async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.json(),
        fc.string(),
        fc.constantFrom(...Object.values(messages)).map((m) => JSON.stringify(m).slice(1)),
      ),
      (text) => {
        try {
          decodeMessage(text);
          return true;
        } catch (error) {
          return error instanceof FormatError;
        }
      },
    ),
  );
});
