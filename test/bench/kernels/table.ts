/** What people read: the machine, and a line for each kernel. */
import { cpus, loadavg } from "node:os";
import { mebibytes, percent } from "../measure.ts";
import type { Inputs } from "./inputs.ts";
import { pageBytes } from "./inputs.ts";
import type { Outcome } from "./match.ts";
import type { Compiled } from "./native-twins.ts";
import { builds } from "./native-twins.ts";

const nameWidth = 30;
const width = 14;

/** Lines that say where and on what the figures were taken. */
export function describeMachine(inputs: Inputs, compiled: Compiled, rounds: number): string[] {
  const pages = inputs.bytes / pageBytes;
  const changed = percent(inputs.changed.length / pages);
  const packed = (inputs.bytes / inputs.blocks.bytes).toFixed(2);
  const { versions } = compiled;
  return [
    `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, node ${process.version}, load ${loadavg()[0]!.toFixed(1)}`,
    ...(versions.length > 0
      ? [
          `C: ${versions.join(", ")}; ${builds.map(({ name, flags }) => `${name} ${flags.join(" ")}`).join(", ")}`,
        ]
      : []),
    `memory of ${inputs.programs.join(" and ")}: ${mebibytes(inputs.bytes)}, ${changed} of the pages changed, LZ4 packs 64 KiB blocks ${packed} to 1`,
    `best of ${rounds} rounds, contenders by turns`,
  ];
}

/** Titles of the columns. */
export const headLine: string = [
  "GB/s".padEnd(nameWidth),
  ...["ours", "C", "C tuned", "best peer"].map((title) => title.padStart(width)),
].join("");

/** A kernel's figures, each contender's with our share of it. */
export function tableLine(outcome: Outcome): string {
  const cell = (speed: number | null, ratio: number | null) =>
    (speed === null || ratio === null ? "-" : `${figure(speed)} (${ratio.toFixed(2)})`).padStart(width);
  const { name, gbps, native, ratioNative, tuned, ratioTuned, peer, peerGbps, ratioPeer } = outcome;
  return [
    name.padEnd(nameWidth),
    figure(gbps).padStart(width),
    cell(native, ratioNative),
    cell(tuned, ratioTuned),
    cell(peerGbps, ratioPeer),
    peer === null ? "" : `  ${peer}`,
  ]
    .join("")
    .trimEnd();
}

function figure(speed: number): string {
  return speed >= 10 ? speed.toFixed(1) : speed.toFixed(2);
}
