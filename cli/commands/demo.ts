/** `bfmig demo`: two sites and a VM on this machine over an emulated WAN: there, back, and what it cost. */

import { resolve } from "node:path";
import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { formatRate, formatSize, formatTime, parseRate, parseSize, parseTime } from "../config/units.ts";
import { type DemoEvents, type DemoLeg, runBaseline, runLegs } from "../demo/demo.ts";
import type { DemoDiskOptions } from "../demo/demo-disk.ts";
import { safeMemoryBytes, Testbed } from "../demo/testbed.ts";
import { OperationError } from "../errors.ts";
import { lostWriteRisk, probeQemu } from "../qemu/probe.ts";
import { interruptSignal } from "./interrupt.ts";
import { LegProgressBar } from "./leg-progress-bar.ts";
import {
  jsonOption,
  positive,
  print,
  printJson,
  printTable,
  progressOption,
  runCommand,
  warn,
} from "./output.ts";

const qemuBinary = "qemu-system-x86_64";
const defaultMemoryBytes = 512 * 2 ** 20;
const firstFilledByte = 2 ** 20;
const dirtyPagesPerSecond = 1000;
const mebibyte = 2 ** 20;
const smallestDiskBytes = 2 * mebibyte;
const largestDiskFillBytes = 256 * mebibyte;

/** The command. */
export function demoCommand(): Command {
  return new Command("demo")
    .description("show on this machine what moving there and back costs, beside plain QEMU")
    .option(
      "--memory <size>",
      "memory of the guest; half of it is filled (default: 512MiB)",
      positive(parseSize),
    )
    .option("--working-set <size>", "memory that the guest keeps changing", positive(parseSize), 16 * 2 ** 20)
    .option(
      "--disk <size>",
      "give the guest a disk of that size, a sparse raw file: half of it is filled (256MiB at most) with content that " +
        "compresses about two to one; 1 % of that is rewritten between legs, some more during them; after each leg " +
        "all blocks at the destination are compared with what was written (default: no disk)",
      positive(parseSize),
    )
    .option("--link-rate <rate>", "rate of the emulated WAN, each way", positive(parseRate), 100e6)
    .option("--rtt <time>", "round trip time of the emulated WAN", positive(parseTime), 40)
    .option("--legs <n>", "legs to run", legsOf, 3)
    .option("--downtime-limit <time>", "how long the guest may stand still", positive(parseTime), 300)
    .option("--keep <dir>", "leave both sites' stores in this folder")
    .addOption(jsonOption)
    .addOption(progressOption)
    .action((options) =>
      runCommand(options, async () => {
        const signal = interruptSignal();
        const memoryBytes = await chooseMemory(options.memory);
        const testbed = await Testbed.create({
          memoryBytes,
          fillBytes: fillBytesFor(memoryBytes, options.workingSet),
          workingSetBytes: options.workingSet,
          dirtyPagesPerSecond,
          rateBitsPerSecond: options.linkRate,
          rttMs: options.rtt,
          keepFolder: options.keep === undefined ? null : resolve(options.keep),
          disk: options.disk === undefined ? null : diskOf(options.disk),
        });
        const legs: DemoLeg[] = [];
        const bar = new LegProgressBar(options.progress && !options.json);
        const events = eventsFor(legs, bar, options.json ?? false);
        try {
          if (!options.json) {
            const disk = options.disk === undefined ? "" : ` and a disk of ${formatSize(options.disk)}`;
            print(
              `a guest with ${formatSize(memoryBytes)}${disk}, a WAN of ${formatRate(options.linkRate)} and ${formatTime(options.rtt)} round trip`,
            );
          }
          events.leg(await runBaseline(testbed, options.downtimeLimit, events, signal));
          await runLegs(testbed, options.legs, options.downtimeLimit, events, signal);
        } catch (error) {
          if (signal.aborted)
            throw new OperationError("aborted", "Interrupted; everything that the demo started is gone");
          throw error;
        } finally {
          bar.end();
          await testbed.close();
        }
        if (options.json) return;
        report(legs, options.disk !== undefined);
        if (options.keep) print(`\nstores: ${options.keep}; check them with: bfmig verify ${options.keep}`);
      }),
    ) as unknown as Command;
}

async function chooseMemory(asked: number | undefined): Promise<number> {
  if (asked === undefined) return await safeMemoryBytes(defaultMemoryBytes, qemuBinary);
  if (asked < 16 * 2 ** 20 || asked % 8192 !== 0) {
    throw new OperationError(
      "usage",
      `Cannot use a memory of ${asked} bytes: it must be a multiple of 8 KiB, at least 16 MiB`,
    );
  }
  const { version } = await probeQemu(qemuBinary);
  const risk = lostWriteRisk({ version, accel: "tcg", memoryBytes: asked });
  if (risk) warn(risk);
  return asked;
}

/** Half of the memory, in whole pages. */
function fillBytesFor(memoryBytes: number, workingSetBytes: number): number {
  const fill = Math.min(Math.ceil(memoryBytes / 2 / 2 ** 20) * 2 ** 20, memoryBytes - 2 * firstFilledByte);
  const whole = Math.floor(fill / 4096) * 4096;
  if (workingSetBytes > whole) {
    throw new OperationError(
      "usage",
      `Cannot use a working set of ${workingSetBytes} bytes: the guest fills only ${whole}`,
    );
  }
  return whole;
}

/** A disk of a size, half of it filled, in whole MiB and not too much. */
function diskOf(sizeBytes: number): DemoDiskOptions {
  if (sizeBytes < smallestDiskBytes || sizeBytes % 4096 !== 0) {
    throw new OperationError(
      "usage",
      `Cannot use a disk of ${sizeBytes} bytes: it must be a multiple of 4 KiB, at least 2 MiB`,
    );
  }
  const filledBytes = Math.min(Math.floor(sizeBytes / 2 / mebibyte) * mebibyte, largestDiskFillBytes);
  return { sizeBytes, filledBytes, content: "mixed" };
}

function eventsFor(legs: DemoLeg[], bar: LegProgressBar, json: boolean): DemoEvents {
  return {
    step: (text) => {
      bar.end();
      if (!json) print(`- ${text}`);
    },
    legProgress: (line) => bar.show(line),
    precopyProgress: (progress) => bar.showPrecopy(progress),
    leg: (leg) => {
      bar.end();
      legs.push(leg);
      if (json) printJson(leg);
    },
  };
}

function report(legs: readonly DemoLeg[], withDisk: boolean): void {
  const [baseline] = legs;
  const saving = (value: number, base: number) =>
    `${(100 * (1 - value / base)).toFixed(value < base * 0.1 ? 2 : 1)} %`;
  const rows = legs.map((leg) => {
    const isBaseline = leg === baseline;
    return [
      leg.method === "bfmig" ? `bfmig ${leg.leg} leg` : "QEMU pre-copy",
      `${leg.from} to ${leg.to}`,
      formatTime(leg.totalMs),
      formatTime(leg.downtimeMs),
      formatSize(leg.wireBytes),
      ...(withDisk ? [formatSize(leg.diskWireBytes)] : []),
      isBaseline ? "" : saving(leg.totalMs, baseline.totalMs),
      isBaseline ? "" : saving(leg.wireBytes, baseline.wireBytes),
    ];
  });
  print("");
  const ofDisk = withDisk ? ["OF THE DISK"] : [];
  printTable(
    ["METHOD", "LEG", "TIME", "DOWNTIME", "ON THE WIRE", ...ofDisk, "TIME SAVED", "BYTES SAVED"],
    rows,
  );
  if (withDisk)
    print("\nafter each leg, all blocks of the disk at the destination were what had been written");
}

function legsOf(text: string): number {
  const legs = Number(text);
  if (!/^\d+$/.test(text) || legs < 1 || legs > 1000)
    throw new InvalidArgumentError("a whole number from 1 to 1000 is needed");
  return legs;
}
