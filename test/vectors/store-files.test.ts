/** The vectors of `store-files.md`: what the store reads from these files, and that it writes the same bytes. */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { ImageStore } from "../../cli/disk/image-store.ts";
import { Branches } from "../../cli/store/branches.ts";
import { readFenceMarker, writeFenceMarker } from "../../cli/store/fence-marker.ts";
import { Holders } from "../../cli/store/holders.ts";
import { FileOwnershipRegister } from "../../cli/store/ownership.ts";
import { toHex } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import { decodeManifest, encodeManifest } from "../../src/generation/manifest.ts";
import { vectorsIn } from "./notation.ts";

const core = await loadCore();
const root = "0f1e2d3c4b5a69788796a5b4c3d2e1f000112233445566778899aabbccddeeff";

/** How a file is read and written in the store at `store`, whose VM is web1. */
interface Form {
  /** Its path in the store. */
  readonly path: string;
  /** Reads the file in `from` and writes what it says to the same place in `to`; returns what it says. */
  readonly copy: (from: string, to: string) => Promise<object | null>;
}

const vmIn = (store: string) => join(store, "web1");

/** A manifest is a function of bytes: there is no path that it must have. */
function manifestAt(generation: number): Form {
  const path = `web1/generations/${generation}/manifest.json`;
  return {
    path,
    copy: async (from, to) => {
      const manifest = decodeManifest(core, readFileSync(join(from, path)));
      writeFileSync(join(to, path), encodeManifest(core, manifest));
      return manifest.format === 1 ? { ...manifest, disks: undefined } : manifest;
    },
  };
}

const forms: Readonly<Record<string, Form>> = {
  "A manifest of format 1": manifestAt(1),
  "A manifest of format 2, on a base": manifestAt(2),
  "The descriptor of an image": {
    path: "web1/images/disk0-00000002.json",
    copy: async (from, to) => {
      const descriptor = await new ImageStore(vmIn(from)).read("disk0-00000002");
      await new ImageStore(vmIn(to)).write(descriptor);
      return descriptor;
    },
  },
  "disks.json": {
    path: "web1/disks.json",
    copy: async (from, to) => {
      const current = await new ImageStore(vmIn(from)).current();
      await new ImageStore(vmIn(to)).setCurrent(current);
      return current;
    },
  },
  Ownership: {
    path: "web1/ownership",
    copy: async (from, to) => {
      const record = await new FileOwnershipRegister(from).read("web1");
      await new FileOwnershipRegister(to).write(record);
      return record;
    },
  },
  "A branch": {
    path: "web1/branches/3-b.json",
    copy: async (from, to) => {
      const found = await new Branches(core, vmIn(from), "web1").find("3-b");
      if (found === null) return null;
      await new Branches(core, vmIn(to), "web1").put(found.record);
      return found.record;
    },
  },
  "fenced.json": {
    path: "web1/fenced.json",
    copy: async (from, to) => {
      const marker = await readFenceMarker(vmIn(from));
      if (marker !== null) await writeFenceMarker(vmIn(to), marker);
      return marker;
    },
  },
  "What a site holds": {
    path: "web1/holders/c.json",
    copy: async (from, to) => {
      const held = (await new Holders(vmIn(from)).list()).get("c") ?? null;
      if (held !== null) await new Holders(vmIn(to)).record("c", held);
      return held;
    },
  },
  "Digests of a generation that another site holds": {
    path: `web1/holders/${root}.digests`,
    copy: async (from, to) => {
      const id = { generation: 1, root };
      const found = await new Holders(vmIn(from)).readDigests(core, id);
      if (found === null) return null;
      await new Holders(vmIn(to)).keepDigests(core, id, found);
      const pages = Array.from({ length: found.digests.length / 16 }, (_, i) =>
        toHex(found.digests.subarray(i * 16, i * 16 + 16)),
      );
      return { page: pages, deviceDigest: toHex(found.deviceDigest) };
    },
  },
};

const vectors = vectorsIn("store-files.md");

t.strictSame(
  vectors.map(({ name }) => name),
  Object.keys(forms),
  "every section has its form",
);

for (const { name, bytes, values } of vectors) {
  t.test(`${name}: it says what the document says, and is written as it stands there`, async (t) => {
    const [from, to] = [t.testdir({ from: {}, to: {} })].flatMap((folder) => [
      `${folder}/from`,
      `${folder}/to`,
    ]);
    const { path, copy } = forms[name];
    for (const store of [from, to]) mkdirSync(dirname(join(store, path)), { recursive: true });
    writeFileSync(join(from, path), bytes);
    t.strictSame(linesOf(await copy(from, to)), values);
    t.strictSame(new Uint8Array(readFileSync(join(to, path))), bytes, "the same bytes");
  });
}

/** One line for each value: its path, then the value. */
function linesOf(value: unknown, path = ""): string[] {
  if (value === undefined) return [];
  const isNode = typeof value === "object" && value !== null && Object.keys(value).length > 0;
  if (!isNode) return [`${path} ${typeof value === "string" ? value : JSON.stringify(value)}`];
  return Object.entries(value).flatMap(([name, below]) =>
    linesOf(below, path === "" ? name : `${path}.${name}`),
  );
}
