/**
 * Makes a fresh clone ready to run: npm packages, compiled code, QEMU. It does only what is missing, says what it
 * does on stderr, and prints nothing when nothing is to be done.
 *
 *   node .ci/setup.mjs [--tests] [--all-qemu] [--no-qemu]
 *
 *   --tests     also the programs and runtimes that only tests need, and where it can be had a second QEMU for them
 *   --all-qemu  the second QEMU, whose lack is an error then
 *   --no-qemu   leave programs of the operating system alone
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build, buildIsCurrent } from "./build.mjs";
import { dependenciesInstalled, installDependencies } from "./dependencies.mjs";
import { Failure, runScript, say } from "./failure.mjs";
import { withLock } from "./lock.mjs";
import { installPrograms, missingPrograms, qemu, testPrograms } from "./programs.mjs";
import { outputFolder } from "./project.mjs";
import { backportedQemuReady, tryToUnpackBackportedQemu, unpackBackportedQemu } from "./qemu-backports.mjs";
import { installRuntimes, runtimesInstalled } from "./runtimes.mjs";

const MINIMUM_NODE = 20;
const options = {
  tests: { type: "boolean" },
  "all-qemu": { type: "boolean" },
  "no-qemu": { type: "boolean" },
};
const LOCK = join(outputFolder, ".setup-lock");

await runScript("setup", async () => {
  const { values } = parseArgs({ options });
  if (Number.parseInt(process.versions.node, 10) < MINIMUM_NODE) {
    throw new Failure(`Use Node ${MINIMUM_NODE} or newer: this is ${process.version}`);
  }
  const programs = values["no-qemu"] ? [] : values.tests ? [qemu, ...testPrograms] : [qemu];
  const steps = [
    {
      needed: () => missingPrograms(programs).length > 0,
      run: () => installPrograms(missingPrograms(programs)),
    },
    { needed: () => !dependenciesInstalled(), run: installDependencies },
    { needed: () => values.tests === true && !runtimesInstalled(), run: installRuntimes },
    { needed: () => !buildIsCurrent(), run: build },
    { needed: () => values["all-qemu"] === true && !backportedQemuReady(), run: unpackBackportedQemu },
    {
      needed: () => values.tests === true && !values["no-qemu"] && !backportedQemuReady(),
      run: tryToUnpackBackportedQemu,
    },
  ];
  if (!steps.some((step) => step.needed())) return;
  const onWait = (owner) => say("setup", `waiting for process ${owner} to finish its set-up (lock: ${LOCK})`);
  await withLock(LOCK, onWait, () => {
    // Asked again under the lock: another set-up may just have done it.
    for (const step of steps) if (step.needed()) step.run();
  });
});
