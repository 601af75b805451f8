/**
 * The offline verifier over whole generations: a chain of two, whose files are changed. It must not throw, whatever the
 * files are, must not call anything intact that was not made with the key, and both ways of applying must agree.
 *
 *     input    flags (1 byte), then changes: file (1), what (1), number (be32), length of bytes (be32), bytes
 *     flags    1: digests in manifests are made to fit what was changed; 2: quick; 4: cross-check
 */

import { concatBytes, toHex } from "../../../src/bytes.ts";
import { type Core, loadCore } from "../../../src/core.ts";
import * as api from "../../../src/index.ts";
import { accessBytes, verifyGenerations } from "../../../src/index.ts";
import { makeSmallChain, type SmallChain } from "../../portable/small-generation.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateFrames } from "../mutate-frames.ts";
import { mutateValue } from "../mutate-text.ts";
import type { Random } from "../random.ts";
import { demand, type Target, textOf, utf8 } from "../target.ts";

const fileNames = ["manifest.json", "ram.img", "digests", "device", "delta"] as const;
const flag = { fits: 1, quick: 2, crossCheck: 4 } as const;
const change = { content: 0, patch: 1, length: 2, absent: 3, as: 4 } as const;
const headerBytes = 10;
const maxChanges = 16;
/** More than any real file of the chain, so that lengths can be too long. */
const maxFileBytes = 1 << 18;

type Change = { file: number; what: number; number: number; bytes: Uint8Array };
type Files = Map<string, Uint8Array<ArrayBuffer>>;

/** `verifyGenerations`. */
export async function generations(): Promise<Target> {
  const core = await loadCore({ initialBytes: 48 << 20 });
  const chain = await makeSmallChain(api);
  const roots = chain.generations.map(({ root }) => root);
  const small = chain.generations.flatMap(({ files }, generation) =>
    ["manifest.json", "device", "delta"]
      .filter((name) => files.has(name))
      .map((name) => ({
        file: generation * fileNames.length + fileNames.indexOf(name as (typeof fileNames)[number]),
        what: change.content,
        number: 0,
        bytes: files.get(name) as Uint8Array,
      })),
  );
  return {
    name: "generations",
    core,
    seeds: [
      encode(0, []),
      encode(flag.quick, []),
      encode(flag.fits | flag.crossCheck, []),
      ...small.map((one) => encode(flag.fits | flag.crossCheck, [one])),
    ],
    mutate: (input, other, random) => mutate(core, chain, input, other, random),
    run: async (input) => {
      const { flags, changes } = decode(input);
      const inputs = changed(core, chain, changes, (flags & flag.fits) !== 0).map((files, i) => ({
        name: String(i + 1),
        files: new Map([...files].map(([name, bytes]) => [name, accessBytes(bytes)])),
      }));
      const quick = (flags & flag.quick) !== 0;
      const crossCheck = (flags & flag.crossCheck) !== 0;
      const report = await verifyGenerations(core, inputs, { key: chain.key, quick, crossCheck });
      for (const { problem } of report.findings) {
        demand(!problem.startsWith("cross-check"), `both ways do not agree: ${problem}`);
      }
      const verdicts = report.generations.map(({ root, intact, restorable }) => {
        demand(quick || !restorable || roots.includes(root ?? ""), `root ${root} was made without the key`);
        return `${intact} ${restorable}`;
      });
      const isGood = report.generations.every(({ intact }) => intact);
      demand(report.findings.length > 0 || isGood, "something is not intact, and no finding says why");
      const shapes = report.findings.map(({ problem }) =>
        problem.replace(/"[^"]*"|[0-9a-f]{16,}|\d+/g, "0").slice(0, 60),
      );
      return `${verdicts.join(", ")}: ${[...new Set(shapes)].slice(0, 4).join("; ")}`;
    },
  };
}

/** The files of both generations after the changes. */
function changed(core: Core, chain: SmallChain, changes: readonly Change[], fits: boolean): Files[] {
  const all: Files[] = chain.generations.map(({ files }) => new Map(files));
  for (const { file, what, number, bytes } of changes) {
    const files = all[Math.floor(file / fileNames.length) % all.length];
    const name = fileNames[file % fileNames.length];
    const old = files.get(name) ?? new Uint8Array(0);
    if (what === change.content) files.set(name, Uint8Array.from(bytes));
    else if (what === change.absent) files.delete(name);
    else if (what === change.as) {
      const source = chain.generations[number % 2].files.get(fileNames[(number >> 1) % fileNames.length]);
      if (source) files.set(name, source);
    } else {
      const length = what === change.length ? Math.min(number, maxFileBytes) : old.length;
      const next = new Uint8Array(length);
      next.set(old.subarray(0, length));
      if (what === change.patch && number < length) next.set(bytes.subarray(0, length - number), number);
      files.set(name, next);
    }
  }
  if (fits) for (const files of all) fitManifest(core, files);
  return all;
}

/** Makes lengths and digests of files in the manifest those of the files, and its own digest right. */
function fitManifest(core: Core, files: Files): void {
  const manifest = manifestOf(files.get("manifest.json"));
  if (manifest === null) return;
  const told = manifest["files"] as Record<string, { bytes?: unknown; digest?: unknown } | null> | undefined;
  for (const [name, bytes] of files) {
    const one = typeof told === "object" && told !== null ? told[name] : undefined;
    if (typeof one !== "object" || one === null) continue;
    one.bytes = bytes.length;
    if (one.digest !== undefined) one.digest = toHex(core.blake3(bytes));
  }
  files.set("manifest.json", sealed(core, manifest));
}

function manifestOf(bytes: Uint8Array | undefined): Record<string, unknown> | null {
  try {
    const { manifest } = JSON.parse(textOf(bytes ?? new Uint8Array(0)));
    return typeof manifest === "object" ? manifest : null;
  } catch {
    return null;
  }
}

function sealed(core: Core, manifest: unknown): Uint8Array<ArrayBuffer> {
  const text = JSON.stringify(manifest);
  return Uint8Array.from(utf8(`{"manifest":${text},"digest":"${toHex(core.blake3(utf8(text)))}"}\n`));
}

function mutate(
  core: Core,
  chain: SmallChain,
  input: Uint8Array,
  other: Uint8Array,
  random: Random,
): Uint8Array {
  if (random.oneIn(20)) return mutateBytes(input, other, random, { bigEndian: true });
  const { flags, changes } = decode(input);
  const next = changes.map((one) => ({ ...one }));
  if (next.length > 0 && random.oneIn(6)) next.splice(random.below(next.length), 1);
  for (let left = random.few(3); left > 0; left--) {
    const known = next.length > 0 && random.oneIn(2) ? random.below(next.length) : -1;
    const file = known >= 0 ? next[known].file : random.below(2 * fileNames.length);
    const made = newChange(core, chain, file, known >= 0 ? next[known] : null, random);
    if (known >= 0) next[known] = made;
    else next.push(made);
  }
  return encode(random.oneIn(4) ? random.below(8) : flags, next.slice(-maxChanges));
}

function newChange(
  core: Core,
  chain: SmallChain,
  file: number,
  before: Change | null,
  random: Random,
): Change {
  const files = chain.generations[Math.floor(file / fileNames.length) % 2].files;
  const name = fileNames[file % fileNames.length];
  const old = files.get(name) ?? new Uint8Array(0);
  const plain = { file, number: 0, bytes: new Uint8Array(0) };
  switch (random.below(8)) {
    case 0:
      return {
        ...plain,
        what: change.length,
        number: random.pick([0, old.length - 1, old.length + 1, 4096, old.length * 2]) >>> 0,
      };
    case 1:
      return { ...plain, what: random.oneIn(2) ? change.absent : change.as, number: random.below(10) };
  }
  const content = before?.what === change.content ? before.bytes : old;
  if (name === "manifest.json") {
    const manifest = manifestOf(content) ?? {};
    return { ...plain, what: change.content, bytes: sealed(core, mutateValue(manifest, manifest, random)) };
  }
  if (name === "device" || name === "delta") {
    return {
      ...plain,
      what: change.content,
      bytes: mutateFrames(core, content, old, random).slice(0, 1 << 15),
    };
  }
  const number = random.below(old.length);
  return { ...plain, what: change.patch, number, bytes: random.bytes(random.few(32)) };
}

function encode(flags: number, changes: readonly Change[]): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(flags)];
  for (const { file, what, number, bytes } of changes) {
    const header = new Uint8Array(headerBytes);
    const view = new DataView(header.buffer);
    header.set([file, what]);
    view.setUint32(2, number);
    view.setUint32(6, bytes.length);
    parts.push(header, Uint8Array.from(bytes));
  }
  return concatBytes(parts);
}

/** Reads what is there; a change whose bytes are cut off has those that there are. */
function decode(input: Uint8Array): { flags: number; changes: Change[] } {
  const changes: Change[] = [];
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  for (let at = 1; at + headerBytes <= input.length && changes.length < maxChanges; ) {
    const from = at + headerBytes;
    const bytes = input.slice(from, from + view.getUint32(at + 6));
    changes.push({ file: input[at], what: input[at + 1], number: view.getUint32(at + 2), bytes });
    at = from + bytes.length;
  }
  return { flags: input[0] ?? 0, changes };
}
