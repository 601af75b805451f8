/**
 * Benchmarks of whole legs with real QEMUs over an emulated link, all figures of a comparison from one run:
 *
 *     npm run bench [-- [--json] [--quick] [--out DIR] [--fresh] [--content mixed|dense] [--sizes 512,1024,2048]
 *                       [--links 50/200,100/40,1000/10] [--methods NAMES] [matrix] [linux] [legs] [disks]]
 *
 * Without a name all parts run; with --quick, which is for the first two, these. Their results are kept in DIR, a file
 * for each, and not measured again; legs and disks are measured each time. The exit code is 1 if a run failed, whatever
 * the targets say.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseDefinition } from "../../cli/config/vm-definition.ts";
import { readCommandLine, refuse } from "../command-line.ts";
import { QEMU_BINARY } from "../qemu/qemu-fixture.ts";
import { benchDisks, describeDisks } from "./disk-bench.ts";
import { benchLegs, describeLegs } from "./legs-bench.ts";
import { matrixReport, runMatrix } from "./matrix-bench.ts";
import {
  linkName,
  links,
  type OwnMode,
  ownModes,
  type Plan,
  qemuVariants,
  sizesMiB,
} from "./matrix-cells.ts";
import { contentText, matrixText, targetTable } from "./matrix-table.ts";
import type { CellResult } from "./measured.ts";
import { ResultStore } from "./result-store.ts";

const partNames = ["matrix", "linux", "legs", "disks"] as const;
const contents = ["mixed", "dense"] as const;

const { values, positionals } = readCommandLine({
  options: {
    json: { type: "boolean" },
    quick: { type: "boolean" },
    out: { type: "string", default: "dist/bench" },
    fresh: { type: "boolean" },
    content: { type: "string", default: "mixed" },
    sizes: { type: "string" },
    links: { type: "string" },
    methods: { type: "string" },
  },
  allowPositionals: true,
});
for (const name of positionals) oneOf("part", name, partNames);
const forCells = ["quick", "fresh", "sizes", "links", "methods"] as const;
const parts = positionals.length > 0 ? positionals : values.quick ? ["matrix", "linux"] : partNames;
for (const option of forCells) {
  if (values[option] === undefined || parts.includes("matrix") || parts.includes("linux")) continue;
  refuse(`Cannot run ${parts.join(" and ")} with --${option}: it is for matrix and linux`);
}
const plan: Plan = {
  content: oneOf("content", values.content, contents),
  modes: knownModes(),
  quick: values.quick === true,
  sizes: listOf("size", values.sizes, sizesMiB.map(String))?.map(Number) ?? null,
  links: listOf("link", values.links, links.map(linkName)),
  methods: listOf("method", values.methods, [...qemuVariants, ...ownModes]),
};
const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => stopping.abort(new Error(`Stopped by ${signal}; what was measured is kept`)));
}

mkdirSync(values.out, { recursive: true });
const store = ResultStore.open<CellResult>(join(values.out, "cells"), { fresh: values.fresh === true });
const matrix = parts.includes("matrix") ? await measured("matrix", plan) : null;
const linux = parts.includes("linux") ? await measured("linux", { ...plan, content: "linux" }) : null;
const legs = parts.includes("legs") ? await benchLegs() : null;
if (legs && !values.json) console.log(describeLegs(legs));
const disks = parts.includes("disks") ? await benchDisks() : null;
if (disks && !values.json) console.log(describeDisks(disks));
const all = {
  event: "done",
  ...legs,
  ...(disks && { disks }),
  ...(matrix && { matrix }),
  ...(linux && { linux }),
};
if (values.json) console.log(JSON.stringify(all));
const failures = [...(matrix?.failures ?? []), ...(linux?.failures ?? [])];
for (const { cell, reason } of failures) process.stderr.write(`Cannot measure ${cell}: ${reason}\n`);
if (failures.length > 0) process.exitCode = 1;

/** Runs a part that is kept in the folder, prints it, and writes its report there. */
async function measured(part: string, plan: Plan) {
  const tell = (text: string) => process.stderr.write(`- ${part}: ${text}\n`);
  const context = { store, qemuBinary: QEMU_BINARY, tell, signal: stopping.signal };
  const outcome = await runMatrix(plan, context).catch((error) => {
    if (!stopping.signal.aborted) throw error;
    process.stderr.write(`${stopping.signal.reason.message}\n`);
    return process.exit(130);
  });
  const report = await matrixReport(plan, outcome);
  writeFileSync(join(values.out, `${part}.json`), `${JSON.stringify(report, undefined, 2)}\n`);
  const text = [contentText(report), matrixText(outcome.results), targetTable(report.targets)].join("\n\n");
  writeFileSync(join(values.out, `${part}.txt`), `${text}\n`);
  if (!values.json) console.log(`${text}\n`);
  return report;
}

/** Modes that a definition of a VM can choose in this build. */
function knownModes(): OwnMode[] {
  const definition = "name: a\nmemory: 64MiB\nmachine: pc-i440fx-7.2\ncpu: qemu64\n";
  return ownModes.filter((mode) => {
    if (mode === "scan") return true;
    try {
      parseDefinition(`${definition}tracking: ${mode}\n`, "a definition");
      return true;
    } catch {
      return false;
    }
  });
}

function listOf(what: string, text: string | undefined, known: readonly string[]): string[] | null {
  if (text === undefined) return null;
  return text.split(",").map((one) => oneOf(what, one, known));
}

function oneOf<Name extends string>(what: string, name: string, known: readonly Name[]): Name {
  if ((known as readonly string[]).includes(name)) return name as Name;
  return refuse(`Cannot run ${name}: as a ${what} there are ${known.join(", ")}`);
}
