/** The verifier over bytes in memory and over Blobs: intact generations, and damage of every kind. */
import { type Api, must, mustEqual, type PortableCheck } from "./check.ts";
import { makeSmallChain, type SmallChain } from "./small-generation.ts";

type Access = ReturnType<Api["accessBytes"]>;
type Wrap = (bytes: Uint8Array<ArrayBuffer>) => Access;

/** Verifies the chain; `change` may replace the bytes of a file ("2/delta"), or remove it by undefined. */
async function verdictOf(
  api: Api,
  chain: SmallChain,
  wrap: Wrap = api.accessBytes,
  change: (path: string, bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> | undefined = (
    _,
    bytes,
  ) => bytes,
) {
  const inputs = chain.generations.map(({ name, files }) => {
    const accesses = new Map<string, Access>();
    for (const [file, bytes] of files) {
      const changed = change(`${name}/${file}`, bytes);
      if (changed !== undefined) accesses.set(file, wrap(changed));
    }
    return { name, files: accesses };
  });
  return api.verifyGenerations(await api.loadCore(), inputs, { key: chain.key });
}

/** Changes one file only. */
function only(path: string, edit: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> | undefined) {
  return (at: string, bytes: Uint8Array<ArrayBuffer>) => (at === path ? edit(bytes) : bytes);
}

export const verifyChecks: readonly PortableCheck[] = [
  {
    name: "intact generations are found intact, as bytes and as Blobs",
    run: async (api) => {
      const chain = await makeSmallChain(api);
      const blobs: Wrap = (bytes) => api.accessBlob(new Blob([bytes]));
      for (const wrap of [api.accessBytes as Wrap, blobs]) {
        const { generations, findings } = await verdictOf(api, chain, wrap);
        mustEqual(findings, [], "findings");
        mustEqual(
          generations.map(({ root, intact, restorable }) => [root, intact, restorable]),
          chain.generations.map(({ root }) => [root, true, true]),
          "verdicts",
        );
        mustEqual(generations[0]!.dirty, null, "dirty bitmap of the complete generation");
        mustEqual([...generations[1]!.dirty!], [0x24, 0x08, 0, 0x02], "dirty bitmap");
      }
    },
  },
  {
    name: "a flipped bit in any file is found",
    run: async (api) => {
      const chain = await makeSmallChain(api);
      for (const { name, files } of chain.generations) {
        for (const file of files.keys()) {
          const flip = only(`${name}/${file}`, (bytes) => {
            const damaged = bytes.slice();
            // The first page of an overlay has no record, and so no meaning.
            damaged[name === "2" && file === "ram.img" ? 2 * 4096 : damaged.length >> 1]! ^= 0x10;
            return damaged;
          });
          const { findings, generations } = await verdictOf(api, chain, api.accessBytes, flip);
          must(findings.length > 0, `a bit of ${name}/${file} is found`);
          must(!generations[Number(name) - 1]!.intact, `${name} is not intact for a bit of ${file}`);
        }
      }
    },
  },
  {
    name: "a file that was cut off or is missing is found",
    run: async (api) => {
      const chain = await makeSmallChain(api);
      for (const file of ["delta", "device", "digests", "ram.img"]) {
        for (const edit of [(bytes: Uint8Array<ArrayBuffer>) => bytes.slice(0, -1), () => undefined]) {
          const change = only(`2/${file}`, edit);
          const { findings } = await verdictOf(api, chain, api.accessBytes, change);
          must(findings.length > 0, `2/${file}`);
        }
      }
    },
  },
  {
    name: "another key is found",
    run: async (api) => {
      const chain = await makeSmallChain(api);
      const { findings } = await verdictOf(api, { ...chain, key: new Uint8Array(32) });
      must(findings.length > 0, "findings");
    },
  },
];
