/** The delta format: what the encoder writes, the decoder reads, and nothing else is accepted. */
import { must, mustEqual, mustHaveBytes, mustThrow, type PortableCheck } from "./check.ts";
import { makeSmallChain } from "./small-generation.ts";

const PAGE_BYTES = 4096;
/** The frame "A whole page and a delta in zstd" of test/vectors/frames.md, and BLAKE3 of what its two pages become. */
const ZSTD_FRAME =
  "42464631020300000f0000005c0100005c010000d810000002000000000000000a72bd039eef4e89e19e96312308cdc728" +
  "b52ffd60d80f950a00869f49229025493aff9fbfbbbb1748341bb4bdbf45c06e9234b0bb3b3fba6eb7a64754d4df024900" +
  "3c003c00d5bb6ae43b86e59f48949aa195845df1eb19fa4bd3995e0f4de13d5b958fa6ca36615c84e4523ec52d85c8d901" +
  "03075a0605040e10243018040008300cc38061180a0cc350300cc310c45da32faceda6731db57bf4107a21464ee4bb4595" +
  "6c84a341c7b1f2475661d0ac82c57263a7701ba3826e7b53e5a588113762ee44a9d83ec8d3cf48d6a33ef4d945d68f28af" +
  "b340740acd94958e1dd494aa267e3177894d9f08cb38db957d8c22a1af99e867ca93aea29a4e7e60876a658ce51015788f" +
  "0d85e6dcc45a5f8bd8dd431edb0595b81b62938c54992df3f6514166bec23133cb62d1e735194591f7c5ce5f0e3278049b" +
  "b48a7e139a34522ee1f4e8010e00f5051e1464e21940ffb8c7ee90092bbfb94768585f7f8cd1b067b9955456a898f3e662" +
  "9f0cdc01";
const ZSTD_PAGES = "cc0fde38d3934cec9c760387f9502c3321e37bda124cc8ef63eee8980134fb41";

export const deltaChecks: readonly PortableCheck[] = [
  {
    name: "the frames of a first leg give the memory back",
    run: async (api) => {
      const [first] = (await makeSmallChain(api)).generations;
      mustHaveBytes(first!.files.get("ram.img")!, first!.memory, "memory");
    },
  },
  {
    name: "a delta has a record for each changed page, and gives its content back",
    run: async (api) => {
      const [first, second] = (await makeSmallChain(api)).generations;
      const core = await api.loadCore();
      const frames = [...api.framesOf(second!.files.get("delta")!)];
      const { dirty, records } = api.decodeDeltaTrailer(core, frames.at(-1)!.frame);
      const expected = { same: 0, zero: 1, moved: 1, delta: 1, lz4: 0, raw: 1 };
      mustEqual(records, expected, "records: a page of zeroes, a copied one, a changed word, noise");
      const memory = first!.memory.slice();
      const overlay = second!.files.get("ram.img")!;
      for (let page = 0; page < memory.length / PAGE_BYTES; page++) {
        if ((dirty[page >> 3]! & (1 << (page & 7))) === 0) continue;
        memory.set(overlay.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES), page * PAGE_BYTES);
      }
      mustHaveBytes(memory, second!.memory, "memory");
    },
  },
  {
    name: "a flipped bit in a frame is found",
    run: async (api) => {
      const core = await api.loadCore();
      const delta = (await makeSmallChain(api)).generations[1]!.files.get("delta")!;
      const frame = [...api.framesOf(delta)][1]!.frame;
      for (let bit = 0; bit < frame.length * 8; bit += 101) {
        const damaged = frame.slice();
        damaged[bit >> 3]! ^= 1 << (bit & 7);
        mustThrow(() => api.checkFrame(core, damaged), "FormatError", `bit ${bit}`);
      }
    },
  },
  {
    name: "a frame in zstd is decompressed without a zstd of the platform",
    run: async (api) => {
      const core = await api.loadCore();
      const decoder = new api.PageDecoder(core, [{ firstPage: 0, pages: 64 }], {
        readBasePage: (page, target) => void core.bytes().fill(page, target, target + PAGE_BYTES),
      });
      const frame = api.fromHex(ZSTD_FRAME);
      const { contents, count } = decoder.decode(frame);
      const pages = core.bytes().slice(contents, contents + count * PAGE_BYTES);
      mustEqual(api.toHex(core.blake3(pages)), ZSTD_PAGES, "both pages");
      frame[60]! ^= 1;
      mustThrow(() => decoder.decode(frame), "FormatError", "a flipped bit");
    },
  },
  {
    name: "a manifest comes back, and a changed one is refused",
    run: async (api) => {
      const core = await api.loadCore();
      const [, second] = (await makeSmallChain(api)).generations;
      const bytes = second!.files.get("manifest.json")!;
      const manifest = api.decodeManifest(core, bytes);
      mustEqual([manifest.generation, manifest.root], [2, second!.root], "the generation");
      const changed = bytes.slice();
      changed[changed.indexOf(0x77)]! ^= 1;
      const error = mustThrow(() => api.decodeManifest(core, changed), "FormatError", "another letter");
      must(error instanceof api.FormatError, "the class of the error is exported");
    },
  },
];
