/** qcow2 images over a raw one, walked and read. An input without the magic of qcow2 is read as raw. */

import { nodeDecompressors } from "../../../cli/disk/file-source.ts";
import { bytesEqual } from "../../../src/bytes.ts";
import type { ByteSource } from "../../../src/disk/byte-source.ts";
import { ImageChain } from "../../../src/disk/image-chain.ts";
import { openImage, probeFormat } from "../../../src/disk/open-image.ts";
import { noise } from "../../core/placing.ts";
import { MemorySource } from "../../disk/memory-source.ts";
import { buildQcow2, type ClusterShape } from "../../disk/qcow2-builder.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { bucket, demand, type Target, utf8 } from "../target.ts";

const blockBytes = 4096;
/** Reads of a source after which a reader counts as hanging. */
const readsMax = 100_000;
const runsMax = 200;

class BoundedSource extends MemorySource {
  override read(...args: Parameters<ByteSource["read"]>): number {
    demand(this.reads < readsMax, `the reader does not end: ${readsMax} reads`);
    return super.read(...args);
  }
}

/** The reader of images; one block at a time gives what many at once give. */
export function diskImage(): Target {
  const clusters = (kinds: readonly Exclude<ClusterShape["kind"], "sub">[], count: number) =>
    Array.from({ length: count }, (_, i): ClusterShape => ({ kind: kinds[i % kinds.length] }));
  const all = ["data", "zero", "compressed", "absent", "zero-allocated"] as const;
  const sub = Array.from({ length: 32 }, (_, i) => (["data", "zero", "absent"] as const)[i % 3]);
  const seeds = [
    {
      version: 3,
      clusterBits: 9,
      extended: false,
      diskBytes: 20 * 512 - 7,
      clusters: clusters(all, 20),
      backing: { file: "base.raw", format: "raw" },
    },
    {
      version: 2,
      clusterBits: 9,
      extended: false,
      diskBytes: 9 * 512,
      clusters: clusters(["data", "compressed", "absent"], 9),
      backing: { file: "base" },
    },
    {
      version: 3,
      clusterBits: 12,
      extended: false,
      diskBytes: 5 * 4096,
      clusters: clusters(all, 5),
      strangeExtensions: [5],
    },
    {
      version: 3,
      clusterBits: 14,
      extended: true,
      diskBytes: 2 << 14,
      clusters: [{ kind: "sub", sub }, { kind: "compressed" }],
    },
  ] as const;
  return {
    name: "disk-image",
    seeds: [...seeds.map((shape, i) => buildQcow2({ ...shape, seed: 11 + i }).bytes), noise(5000, 3)],
    mutate: (input, other, random) =>
      mutateBytes(input, other, random, {
        bigEndian: true,
        // Header, L1 and the first L2 table of the smallest clusters.
        hotBytes: random.oneIn(2) ? 128 : 3 * 512,
        tokens: [
          utf8("QFI\u00fb"),
          Uint8Array.of(0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 5),
          utf8("qcow2"),
          utf8("raw"),
        ],
      }),
    run: (input) => {
      const source = new BoundedSource(input);
      const format = probeFormat(source);
      const image = openImage(source, format, nodeDecompressors);
      const base = openImage(new MemorySource(noise(9000, 1)), "raw");
      const chain = new ImageChain([image, base], image.lengthBytes);
      let runs = 0;
      let next = 0;
      for (const { block, count } of chain.dataRuns()) {
        demand(
          block >= next && count > 0 && block + count <= chain.blocks,
          "runs are not in order within the disk",
        );
        next = block + count;
        const blocks = Math.min(count, 8);
        const memory = new Uint8Array(blocks * blockBytes);
        chain.readBlocks(memory, 0, block, blocks);
        const one = new Uint8Array(blockBytes);
        chain.readBlocks(one, 0, block + blocks - 1, 1);
        demand(
          bytesEqual(one, memory.subarray((blocks - 1) * blockBytes)),
          "one block alone reads otherwise",
        );
        chain.isKnownZero(block, count);
        // A disk of terabytes that says to be full of data is not damaged, but takes long to read.
        if (++runs === runsMax) break;
      }
      chain.close();
      return `${format} ${bucket(runs)} ${image.backing?.format ?? ""}`;
    },
  };
}
