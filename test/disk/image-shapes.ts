/** Random shapes of images for property tests. */

import fc from "fast-check";
import type { RangeKind } from "../../src/disk/disk-image.ts";
import { type ClusterShape, type ImageShape, SECTOR } from "./qcow2-builder.ts";

/** Cluster sizes, and how many clusters a disk has at most: enough for several L2 tables, or for seconds of tests. */
const layouts = [
  { clusterBits: 9, extended: false, clusters: 260 },
  { clusterBits: 12, extended: false, clusters: 60 },
  { clusterBits: 14, extended: true, clusters: 20 },
  { clusterBits: 16, extended: false, clusters: 8 },
];

/** Runs of equal clusters, as disks have them. */
function clusterRuns(shapes: fc.Arbitrary<ClusterShape>, most: number): fc.Arbitrary<ClusterShape[]> {
  return fc
    .array(fc.tuple(shapes, fc.integer({ min: 1, max: Math.ceil(most / 4) })), {
      minLength: 1,
      maxLength: 12,
    })
    .map((runs) =>
      runs.flatMap(([shape, count]) => new Array<ClusterShape>(count).fill(shape)).slice(0, most),
    );
}

function clusterShapes(version: 2 | 3, extended: boolean): fc.Arbitrary<ClusterShape> {
  const plain = (...kinds: Exclude<ClusterShape["kind"], "sub">[]) =>
    fc.constantFrom(...kinds.map((kind): ClusterShape => ({ kind })));
  if (version === 2) return plain("absent", "data", "compressed");
  const common = plain("absent", "data", "compressed", "zero", "zero-allocated");
  if (!extended) return common;
  const kinds = fc.constantFrom<RangeKind>("absent", "zero", "data");
  const sub = fc.array(kinds, { minLength: 32, maxLength: 32 });
  return fc.oneof(
    common,
    sub.map((sub): ClusterShape => ({ kind: "sub", sub })),
  );
}

/** Valid images. Their last cluster may be a part, and the disk's end no multiple of anything. */
export const imageShapes: fc.Arbitrary<ImageShape> = fc
  .record({
    layout: fc.constantFrom(...layouts),
    oldVersion: fc.boolean(),
    cut: fc.nat(),
    seed: fc.nat(1 << 20),
    descending: fc.boolean(),
  })
  .chain(({ layout, oldVersion, cut, seed, descending }) => {
    const version = oldVersion && !layout.extended ? 2 : 3;
    const { clusterBits, extended } = layout;
    return clusterRuns(clusterShapes(version, extended), layout.clusters).map((clusters) => ({
      version,
      clusterBits,
      extended,
      clusters,
      seed,
      descending,
      diskBytes: clusters.length * 2 ** clusterBits - (cut % 2 ** clusterBits),
    }));
  });

/** The kind at a byte of the disk. */
export function kindAt(kinds: readonly RangeKind[], at: number): RangeKind {
  return kinds[Math.floor(at / SECTOR)];
}
