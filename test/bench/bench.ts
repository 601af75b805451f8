/**
 * Benchmarks of whole legs with real QEMUs over an emulated link, all figures of a comparison from one run:
 *
 *     npm run bench [-- [--json] [legs] [disks]]
 *
 * Without a name both parts run.
 */

import { parseArgs } from "node:util";
import { benchDisks, describeDisks } from "./disk-bench.ts";
import { benchLegs, describeLegs } from "./legs-bench.ts";

const { values, positionals } = parseArgs({ options: { json: { type: "boolean" } }, allowPositionals: true });
const parts = positionals.length > 0 ? positionals : ["legs", "disks"];
const unknown = parts.find((part) => part !== "legs" && part !== "disks");
if (unknown !== undefined) throw new RangeError(`Cannot run ${unknown}: there are legs and disks`);

const legs = parts.includes("legs") ? await benchLegs() : null;
if (legs && !values.json) console.log(describeLegs(legs));
const disks = parts.includes("disks") ? await benchDisks() : null;
if (disks && !values.json) console.log(describeDisks(disks));
if (values.json) console.log(JSON.stringify({ event: "done", ...legs, ...(disks && { disks }) }));
