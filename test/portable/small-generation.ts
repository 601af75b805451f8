/**
 * Makes the files of two small generations with the package's own encoders: a complete one, and one that stands on it
 * by a delta. Whoever writes such files for their own purposes finds here all that belongs to them.
 */
import { type Api, noise } from "./check.ts";

type Core = Awaited<ReturnType<Api["loadCore"]>>;
type Digests = InstanceType<Api["PageDigests"]>;

const PAGE_BYTES = 4096;
const REGIONS = [
  { name: "pc.ram", kind: "ram", lengthBytes: 24 * PAGE_BYTES },
  { name: "vga.vram", kind: "ram", lengthBytes: 3 * PAGE_BYTES },
] as const;

/** One generation: its files by name, and the memory that they must give. */
export type SmallGeneration = {
  readonly name: string;
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  readonly memory: Uint8Array;
  readonly root: string;
};

/** Two generations of a VM, and the key of their digests. */
export type SmallChain = { readonly key: Uint8Array; readonly generations: readonly SmallGeneration[] };

/** Makes both generations, with a core of their own if none is given. They are the same in every run. */
export async function makeSmallChain(api: Api, given?: Core): Promise<SmallChain> {
  const core = given ?? (await api.loadCore());
  const key = new Uint8Array(32).map((_, i) => 7 * i + 1);
  const memory = noise(27 * PAGE_BYTES, 5, 3);
  memory.fill(0, 10 * PAGE_BYTES, 14 * PAGE_BYTES);
  const first = makeGeneration(api, core, key, { memory, generation: 1, base: null });

  const next = memory.slice();
  next[2 * PAGE_BYTES + 800]! ^= 0x5a;
  next.set(noise(PAGE_BYTES, 77), 11 * PAGE_BYTES);
  next.fill(0, 5 * PAGE_BYTES, 6 * PAGE_BYTES);
  next.copyWithin(25 * PAGE_BYTES, 0, PAGE_BYTES);
  const second = makeGeneration(api, core, key, { memory: next, generation: 2, base: first });
  return { key, generations: [first, second] };
}

type Wanted = { memory: Uint8Array; generation: number; base: SmallGeneration | null };

function makeGeneration(api: Api, core: Core, key: Uint8Array, wanted: Wanted): SmallGeneration {
  const { memory, generation, base } = wanted;
  const geometry = api.placeRegions(REGIONS);
  const known = base?.files.get("digests");
  const digests = new api.PageDigests(core, key, geometry, known?.slice());
  const sequence = new api.FrameSequence(2);
  const frames = encodePages(api, core, { memory, base, digests, known }, sequence);
  const { image, dirty, records } = decodePages(api, core, frames, base);

  const state = new TextEncoder().encode(`device state of generation ${generation}`);
  const device = joined(api.encodeDeviceFrames(core, state, sequence.next));
  const deviceDigest = core.blake3(state, key);
  const root = api.toHex(digests.root(deviceDigest));
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  files.set("ram.img", image);
  files.set("digests", Uint8Array.from(digests.digests));
  files.set("device", device);
  const id = base && { generation: generation - 1, root: base.root };
  if (id !== null) {
    const { totalPages } = geometry;
    const header = api.encodeDeltaHeader(core, { vm: "web1", generation, base: id, totalPages }, 1);
    const trailer = { frames: frames.length + 2, records, dirty };
    files.set("delta", joined([header, ...frames, api.encodeDeltaTrailer(core, trailer, sequence.next)]));
  }
  const manifest = api.encodeManifest(core, {
    format: 1,
    vm: "web1",
    generation,
    root,
    epoch: generation,
    from: "a",
    to: "b",
    createdAt: "2024-01-01T00:00:00.000Z",
    machine: "pc-i440fx-7.2",
    accelerator: "tcg",
    base: id,
    regions: REGIONS,
    disks: [],
    deviceBytes: state.length,
    deviceDigest: api.toHex(deviceDigest),
    records,
    files: Object.fromEntries(
      [...files].map(([name, bytes]) => {
        const isCovered = name === "ram.img" || name === "digests";
        const digest = isCovered ? {} : { digest: api.toHex(core.blake3(bytes)) };
        return [name, { bytes: bytes.length, ...digest }];
      }),
    ),
  });
  files.set("manifest.json", Uint8Array.from(manifest));
  digests.release();
  return { name: String(generation), files, memory, root };
}

/** Frames for the pages of `memory` that differ from the base; `digests` become those of `memory`. */
function encodePages(
  api: Api,
  core: Core,
  content: { memory: Uint8Array; base: SmallGeneration | null; digests: Digests; known?: Uint8Array },
  sequence: InstanceType<Api["FrameSequence"]>,
): Uint8Array[] {
  const { memory, base, digests, known } = content;
  const [incoming, basePage] = [api.openWindow(core, PAGE_BYTES), api.openWindow(core, PAGE_BYTES)];
  const reader = {
    basePage(page: number) {
      basePage.bytes().set(base!.memory.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES));
      return basePage.pointer;
    },
  };
  const frames: Uint8Array[] = [];
  const encoder = new api.ChangeEncoder(
    core,
    digests,
    known === undefined ? { mode: "nothing" } : { mode: "content", reader, digests: known },
    (frame) => frames.push(frame),
    sequence,
  );
  for (const { index, firstPage, pages } of digests.geometry.regions) {
    for (let page = 0; page < pages; page++) {
      const at = (firstPage + page) * PAGE_BYTES;
      const content = memory.subarray(at, at + PAGE_BYTES);
      incoming.bytes().set(content);
      if (content.every((byte) => byte === 0)) encoder.zeroPage(index, page);
      else encoder.page(index, page, incoming.pointer);
    }
  }
  encoder.flush();
  encoder.release();
  incoming.release();
  basePage.release();
  return frames;
}

/** What a receiver makes of the frames: pages with a record, the dirty bitmap, and the number of records by kind. */
function decodePages(api: Api, core: Core, frames: readonly Uint8Array[], base: SmallGeneration | null) {
  const { regions, totalPages } = api.placeRegions(REGIONS);
  const image = new Uint8Array(totalPages * PAGE_BYTES);
  const dirty = new Uint8Array(Math.ceil(totalPages / 8));
  const records = api.noRecords();
  const decoder = new api.PageDecoder(core, regions, {
    readBasePage(page, target) {
      const content = base?.memory.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      core.bytes().set(content ?? new Uint8Array(PAGE_BYTES), target);
    },
  });
  for (const frame of frames) {
    const { region, count, pages, kinds, contents } = decoder.decode(frame);
    for (let i = 0; i < count; i++) {
      const page = regions[region]!.firstPage + pages[i]!;
      const from = contents + i * PAGE_BYTES;
      image.set(core.bytes().subarray(from, from + PAGE_BYTES), page * PAGE_BYTES);
      dirty[page >> 3]! |= 1 << (page & 7);
      records[api.recordKindNames[kinds[i]! - 1]!]++;
    }
  }
  decoder.release();
  return { image, dirty, records };
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
