/** The WASM core of a leg: one for each, so that its memory goes when the leg ends. */

/** Memory that a leg's core has from the start; its windows take about half of it. */
export const legCoreBytes = 32 << 20;
