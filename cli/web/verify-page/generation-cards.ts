/** What was found of each generation: verdict, root, heat maps. */

import { make } from "./element.ts";
import { heatMapFigure } from "./heat-map.ts";
import type { ChainOutcome, GenerationOutcome, LooseOutcome, Outcome } from "./messages.ts";

/** Cards for all that was verified, in its order. */
export function outcomeCards({ chains, looseFiles, quick }: Outcome): HTMLElement[] {
  const named = chains.length > 1;
  return [
    ...chains.flatMap((chain) => chainCards(chain, { named, quick })),
    ...(looseFiles.length > 0 ? [looseCard(looseFiles)] : []),
  ];
}

const unknownKey =
  "Whether the key is this VM's could not be told, as no generation here has a whole device file. With another VM's key every " +
  "page looks wrong.";

function chainCards(
  chain: ChainOutcome,
  how: { readonly named: boolean; readonly quick: boolean },
): HTMLElement[] {
  const heading = how.named ? [make("h3", { class: "chain", text: chain.name || "Without a folder" })] : [];
  const cards = chain.generations.map((one) => generationCard(one, how.quick));
  if (chain.keyFits === true) return [...heading, ...cards];
  if (chain.keyFits === null) return [...heading, make("p", { class: "aside", text: unknownKey }), ...cards];
  const text =
    "This is not the key of this VM: the device state is whole, but has another digest under this key. " +
    "Nothing else was checked.";
  return [
    ...heading,
    make("article", { class: "card bad" }, make("h3", { text: "Wrong key" }), make("p", { text })),
  ];
}

function generationCard(one: GenerationOutcome, quick: boolean): HTMLElement {
  const title = one.generation === null ? one.name || "Generation" : `Generation ${one.generation}`;
  const haveDisks = one.disks.length > 0;
  const badges = make(
    "p",
    { class: "badges" },
    badge(one.intact, quick ? "structure intact" : haveDisks ? "RAM consistent" : "intact", "damaged"),
    ...(haveDisks
      ? [make("span", { class: "badge open", text: "? disks not checked" })]
      : quick
        ? []
        : one.seed
          ? [make("span", { class: "badge open", text: "seed" })]
          : [badge(one.restorable, "restorable", "not restorable")]),
  );
  const head = make("header", {}, make("h3", { text: title }), badges);
  const facts = make(
    "dl",
    {},
    ...fact("Folder", one.name === "" ? "dropped without one" : one.name),
    ...fact("Root", one.root ?? "unknown: the manifest cannot be read"),
  );
  return make(
    "article",
    { class: one.intact ? "card" : "card bad" },
    head,
    facts,
    ...(haveDisks ? [disksAside(one.disks)] : []),
    ...(one.seed ? [make("p", { class: "aside", text: seedAside })] : []),
    ...(one.intact && !one.restorable && !one.seed && !haveDisks && !quick
      ? [make("p", { class: "aside", text: damagedBase })]
      : []),
    ...one.heat.filter(({ pages }) => pages > 0).map(heatMapFigure),
  );
}

const seedAside = "A seed: other generations are built on it, and no VM is restarted from it.";
const damagedBase =
  "Its own files are intact, but a generation under it is damaged, so that it cannot be restored.";

/** What a generation's disks leave open: its root covers them too. */
function disksAside(disks: readonly string[]): HTMLElement {
  return make(
    "p",
    { class: "aside" },
    make("strong", {
      text: `Not checked: ${disks.length === 1 ? "disk" : "disks"} ${disks.join(", ")}, and the root. `,
    }),
    "This page does not read disk images, and the root covers them. Whether this generation can be restored is therefore " +
      "open. To check all of it, run ",
    make("code", { text: "bfmig verify" }),
    " on its store.",
  );
}

function looseCard(files: readonly LooseOutcome[]): HTMLElement {
  const text =
    "Without their generation only the structure and the checksums of these files can be checked: not that they " +
    "belong to this VM, nor that its pages are right.";
  const list = files.map(({ path, isWhole }) =>
    make("li", {}, badge(isWhole, "whole", "damaged"), " ", make("code", { text: path })),
  );
  return make(
    "article",
    { class: files.every(({ isWhole }) => isWhole) ? "card" : "card bad" },
    make("h3", { text: "Files by themselves" }),
    make("p", { text }),
    make("ul", { class: "plain" }, ...list),
  );
}

function badge(isGood: boolean, good: string, bad: string): HTMLElement {
  return make("span", {
    class: isGood ? "badge good" : "badge bad",
    text: `${isGood ? "✓" : "✕"} ${isGood ? good : bad}`,
  });
}

function fact(name: string, value: string): HTMLElement[] {
  return [make("dt", { text: name }), make("dd", {}, make("code", { text: value }))];
}
