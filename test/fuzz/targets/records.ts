/** JSON from peers and from the store: messages, ownership, images, holders, and small records. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { VmKeys } from "../../../cli/agent/vm-keys.ts";
import { ImageStore } from "../../../cli/disk/image-store.ts";
import { inspectImageRecord } from "../../../cli/inspect/image-record.ts";
import { decodeRecord } from "../../../cli/qemu/process-record.ts";
import { readFenceMarker } from "../../../cli/store/fence-marker.ts";
import { Holders } from "../../../cli/store/holders.ts";
import { FileOwnershipRegister } from "../../../cli/store/ownership.ts";
import { isValidName } from "../../../cli/store/vm-name.ts";
import { decodeMessage, encodeMessage } from "../../../cli/wan/messages.ts";
import { parseFingerprint } from "../../../cli/wan/tls-fingerprint.ts";
import { concatBytes } from "../../../src/bytes.ts";
import { loadCore } from "../../../src/core.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateJson } from "../mutate-text.ts";
import { isDocumented } from "../oracle.ts";
import { bucket, demand, type Target, textOf, utf8 } from "../target.ts";
import { exampleMessages, root } from "./message-seeds.ts";
import { workFolder } from "./work-folder.ts";

const json = (value: unknown) => utf8(JSON.stringify(value));

/** Messages of peers; encoded again they say the same. */
export function messages(): Target {
  return {
    name: "messages",
    seeds: exampleMessages.map(json),
    mutate: mutateJson,
    run: (input) => {
      const message = decodeMessage(textOf(input));
      demand(isDeepStrictEqual(decodeMessage(encodeMessage(message)), message), "it changes in a round trip");
      return message.type;
    },
  };
}

/** The record of who may run a VM. What is read is written and read again. */
export function ownership(): Target {
  const folder = workFolder();
  const register = new FileOwnershipRegister(folder);
  mkdirSync(join(folder, "web1"));
  const record = {
    format: 1,
    vm: "web1",
    state: "owned",
    epoch: 3,
    generation: 2,
    peer: "b",
    refusedEpoch: 0,
  };
  return {
    name: "ownership",
    seeds: [
      record,
      { ...record, state: "released" },
      { ...record, state: "away" },
      { ...record, state: "none", peer: "" },
    ].map(json),
    mutate: mutateJson,
    run: async (input) => {
      writeFileSync(join(folder, "web1", "ownership"), input);
      const read = await register.read("web1");
      demand(
        read.vm === "web1" && Number.isSafeInteger(read.epoch) && read.epoch >= 0,
        "another VM, or no epoch",
      );
      writeFileSync(join(folder, "web1", "ownership"), JSON.stringify(read));
      demand(isDeepStrictEqual(await register.read("web1"), read), "it changes in a round trip");
      return read.state;
    },
  };
}

/** Input: a descriptor of an image, a line break, and disks.json. */
export function imageRecords(): Target {
  const folder = workFolder();
  const images = new ImageStore(folder);
  mkdirSync(images.path);
  const id = "disk0-0123abcd";
  const descriptor = {
    format: 1,
    id,
    disk: "disk0",
    lengthBytes: 1 << 20,
    imageFormat: "qcow2",
    file: `${id}.qcow2`,
    backing: null,
    digests: `${id}.digests`,
  };
  const current = { format: 1, images: { disk0: id }, aside: [] };
  const lines = (a: unknown, b: unknown) => utf8(`${JSON.stringify(a)}\n${JSON.stringify(b)}`);
  const cut = (input: Uint8Array) => {
    const at = input.indexOf(0x0a);
    return at < 0 ? [input, new Uint8Array(0)] : [input.slice(0, at), input.slice(at + 1)];
  };
  return {
    name: "image-records",
    seeds: [
      lines(descriptor, current),
      lines(
        { ...descriptor, imageFormat: "raw", file: "/var/lib/disk.raw", digests: null },
        { ...current, aside: [id] },
      ),
      lines({ ...descriptor, backing: id }, { ...current, images: {} }),
    ],
    mutate: (input, other, random) => {
      const parts = cut(input);
      const at = random.below(2);
      parts[at] = mutateJson(parts[at], cut(other)[at], random);
      return concatBytes([parts[0], utf8("\n"), parts[1]]);
    },
    run: async (input) => {
      const [one, two] = cut(input);
      writeFileSync(join(images.path, `${id}.json`), one);
      writeFileSync(join(folder, "disks.json"), two);
      const seen: string[] = [];
      // Each is read for itself: that one is refused does not hide the others.
      const attempt = async (what: string, read: () => Promise<string>) => {
        try {
          seen.push(`${what} ${await read()}`);
        } catch (error) {
          if (!isDocumented(error)) throw error;
          seen.push(`${what} refused`);
        }
      };
      await attempt("descriptor", async () => {
        const found = await images.read(id);
        demand(found.id === id && !found.file.includes(".."), "a descriptor leads out of its folder");
        await images.write(found);
        demand(isDeepStrictEqual(await images.read(id), found), "the descriptor changes in a round trip");
        return `${found.imageFormat} ${found.backing === null}`;
      });
      await attempt("list", async () => String((await images.list()).size));
      await attempt("chain", async () => String((await images.chain(id)).length));
      await attempt("current", async () => {
        const found = await images.current();
        await images.setCurrent(found);
        demand(isDeepStrictEqual(await images.current(), found), "what is current changes in a round trip");
        return bucket(Object.keys(found.images).length).toString();
      });
      await attempt(
        "inspect",
        async () => (await inspectImageRecord(join(images.path, `${id}.json`)))?.kind ?? "none",
      );
      await attempt(
        "inspect",
        async () => (await inspectImageRecord(join(folder, "disks.json")))?.kind ?? "none",
      );
      return seen.join(", ");
    },
  };
}

/** What other sites hold: a record is left out if it is damaged, digests are null. Input: record, line break, digests. */
export async function holders(): Promise<Target> {
  const core = await loadCore();
  const folder = workFolder();
  mkdirSync(join(folder, "holders"));
  const known = new Holders(folder);
  const id = { generation: 3, root };
  const content = new Uint8Array(16 * 4 + 32).map((_, i) => i);
  const checked = (bytes: Uint8Array) => concatBytes([bytes, core.blake3(bytes)]);
  return {
    name: "holders",
    core,
    seeds: [concatBytes([json(id), utf8("\n"), checked(content)])],
    mutate: (input, other, random) => {
      const at = Math.max(0, input.indexOf(0x0a));
      const record = random.oneIn(2) ? mutateJson(input.slice(0, at), other, random) : input.slice(0, at);
      const body = mutateBytes(input.slice(at + 1, -32), other, random).slice(0, 4096);
      return concatBytes([record, utf8("\n"), random.oneIn(8) ? body : checked(body)]);
    },
    run: async (input) => {
      const at = Math.max(0, input.indexOf(0x0a));
      writeFileSync(join(folder, "holders", "b.json"), input.slice(0, at));
      writeFileSync(join(folder, "holders", `${root}.digests`), input.slice(at + 1));
      const sites = await known.list();
      for (const [site, { generation }] of sites) {
        demand(
          isValidName(site) && Number.isSafeInteger(generation) && generation > 0,
          "it is no site or no generation",
        );
      }
      const digests = await known.readDigests(core, id);
      demand(
        digests === null || digests.deviceDigest.length === 32,
        "the device state's digest has another length",
      );
      return `${sites.size} ${digests === null ? "none" : bucket(digests.digests.length)}`;
    },
  };
}

/** The record of a QEMU process, a VM's key, a note of a fencing, and a fingerprint, from the same bytes. */
export function smallRecords(): Target {
  const folder = workFolder();
  const keys = new VmKeys(folder);
  const record = { pid: 1234, startTime: "5678", binary: "qemu-system-x86_64", args: ["-S"], name: "web1" };
  const marker = {
    format: 1,
    epoch: 3,
    by: { site: "b", epoch: 5 },
    generation: 2,
    branch: "3-b",
    startedAt: "2024-01-01T00:00:00.000Z",
  };
  const orNull = async <T>(reading: Promise<T | null>): Promise<T | null> => {
    try {
      return await reading;
    } catch (error) {
      if (!isDocumented(error)) throw error;
      return null;
    }
  };
  return {
    name: "small-records",
    seeds: [json(record), json(marker), utf8(`${root}\n`), utf8(`SHA256:${root}`)],
    mutate: mutateJson,
    run: async (input) => {
      const decoded = decodeRecord(textOf(input));
      demand(
        decoded === null || (Number.isSafeInteger(decoded.pid) && decoded.pid > 1),
        "a signal could go to anybody",
      );
      if (decoded !== null)
        demand(isDeepStrictEqual(decodeRecord(JSON.stringify(decoded)), decoded), "round trip");
      writeFileSync(join(folder, "web1.key"), input);
      const key = await orNull(keys.read("web1"));
      demand(key === null || key.length === 32, "a key has another length");
      writeFileSync(join(folder, "fenced.json"), input);
      const fenced = await orNull(readFenceMarker(folder));
      demand(
        fenced === null || (isValidName(fenced.by.site) && !fenced.branch.includes("/")),
        "a name is a path",
      );
      const fingerprint = parseFingerprint(textOf(input));
      return `${decoded !== null} ${key !== null} ${fenced !== null} ${fingerprint !== null}`;
    },
  };
}
