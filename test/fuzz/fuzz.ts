/**
 * Fuzzes every decoder that sees bytes from outside.
 *
 *     npm run fuzz -- [--minutes N] [--target NAME]… [--seed S] [--json] [--save] [--out DIR]
 *     npm run fuzz -- --replay FILE --target NAME
 *
 * Targets take turns until the time is over. Exit code 1 if an input failed: it is written to a file, with the command
 * that runs it again. `--save` adds what behaved in a new way to the corpus in the repository.
 */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import Table from "cli-table3";
import { readCommandLine, refuse } from "../command-line.ts";
import { projectRoot } from "../project/project-files.ts";
import { Campaign } from "./campaign.ts";
import { readCorpus, saveInputs, writeReproducer } from "./corpus.ts";
import type { EngineCounts } from "./engine.ts";
import type { Outcome } from "./oracle.ts";
import { targetLoaders } from "./targets.ts";

/** Turns that each target gets. */
const turns = 2;

const { values: options } = readCommandLine({
  options: {
    minutes: { type: "string", default: "1" },
    target: { type: "string", multiple: true },
    seed: { type: "string" },
    json: { type: "boolean", default: false },
    save: { type: "boolean", default: false },
    out: { type: "string", default: join(projectRoot, "dist", "fuzz-failures") },
    replay: { type: "string" },
  },
});

const names = options.target ?? Object.keys(targetLoaders);
for (const name of names) {
  if (!Object.hasOwn(targetLoaders, name)) {
    refuse(
      `Cannot fuzz ${name}: there is no such target; there are ${Object.keys(targetLoaders).join(", ")}`,
    );
  }
}
const minutes = Number(options.minutes);
if (!(minutes > 0)) refuse(`Cannot fuzz for ${options.minutes} minutes: write a number above 0`);

if (options.replay !== undefined) await replay(options.replay);
else await fuzz(options.seed ?? randomBytes(4).toString("hex"));

async function replay(path: string): Promise<void> {
  if (options.target?.length !== 1) refuse(`Cannot replay ${path}: name one target`);
  const campaign = new Campaign();
  const { verdict, signature, problem } = await campaign.replay(names[0], new Uint8Array(readFileSync(path)));
  await campaign.close();
  console.log(
    options.json ? JSON.stringify({ verdict, signature, problem }) : `${verdict}: ${problem || signature}`,
  );
  if (verdict === "failed") process.exitCode = 1;
}

async function fuzz(seed: string): Promise<void> {
  say(`seed ${seed}; ${names.length} targets, ${minutes} min`);
  const failures: { target: string; path: string }[] = [];
  const campaign = new Campaign({
    onFailed: (target, input, outcome) => {
      const path = writeReproducer(resolve(options.out), target, input);
      failures.push({ target, path });
      tellFailure(target, path, outcome);
    },
  });
  const counts = new Map<string, EngineCounts>();
  const spentMs = new Map<string, number>();
  const sliceMs = (minutes * 60_000) / (turns * names.length);
  for (let turn = 0; turn < turns; turn++) {
    for (const target of names) {
      const begun = performance.now();
      const job = { target, seed, inputs: Number.MAX_SAFE_INTEGER, milliseconds: sliceMs };
      const count = await campaign.fuzz(job);
      counts.set(target, count);
      spentMs.set(target, (spentMs.get(target) ?? 0) + performance.now() - begun);
      const done = Math.round(
        ((turn * names.length + names.indexOf(target) + 1) * 100) / (turns * names.length),
      );
      say(
        `${done} %  ${target}: ${count.inputs} inputs, ${count.corpus} in the corpus, ${count.failures} failures`,
      );
    }
  }
  const saved = options.save
    ? names.reduce((sum, name) => sum + saveInputs(name, campaign.keptOf(name)), 0)
    : 0;
  await campaign.close();
  report(counts, spentMs);
  const inputs = [...counts.values()].reduce((sum, count) => sum + count.inputs, 0);
  if (options.json) {
    console.log(
      JSON.stringify({
        event: "done",
        seed,
        targets: names.length,
        inputs,
        failures: failures.length,
        saved,
      }),
    );
  }
  if (failures.length > 0) process.exitCode = 1;
}

function report(counts: ReadonlyMap<string, EngineCounts>, spentMs: ReadonlyMap<string, number>): void {
  const rows = [...counts].map(([target, count]) => ({
    event: "target",
    target,
    ...count,
    saved: readCorpus(target).size,
    inputsPerSecond: Math.round((count.inputs * 1000) / (spentMs.get(target) ?? 1)),
  }));
  if (options.json) {
    for (const row of rows) console.log(JSON.stringify(row));
    return;
  }
  const head = ["target", "inputs", "a second", "accepted", "refused", "corpus", "new", "failures"];
  const table = new Table({
    head,
    colAligns: ["left", ...head.slice(1).map(() => "right" as const)],
    style: { head: [], border: [] },
  });
  for (const row of rows) {
    const { target, inputs, inputsPerSecond, accepted, refused, corpus, behaviours, failures } = row;
    table.push([target, inputs, inputsPerSecond, accepted, refused, corpus, behaviours, failures]);
  }
  console.log(table.toString());
}

function tellFailure(target: string, path: string, { problem, signature }: Outcome): void {
  const again = `npm run fuzz -- --replay ${path} --target ${target}`;
  if (options.json)
    console.log(JSON.stringify({ event: "failure", target, path, signature, problem, replay: again }));
  else console.log(`FAILED ${target}: ${problem}\n  ${again}`);
}

function say(text: string): void {
  console.error(`fuzz: ${text}`);
}
