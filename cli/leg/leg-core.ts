/** The WASM core of a leg: one for each, so that its memory goes when the leg ends. */

import { type Core, loadCore } from "../../src/core.ts";
import { loadZstd } from "../zstd.ts";

/** Memory that a leg's core has from the start; its windows take about half of it. */
export const legCoreBytes = 32 << 20;

/** A core for one leg, with the zstd that there is here. */
export async function loadLegCore(initialBytes = legCoreBytes): Promise<Core> {
  return await loadCore({ initialBytes, zstd: await loadZstd() });
}
