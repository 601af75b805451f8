/** Commands about VMs at the local agent: define, start, stop, attach, list, show. */

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Command } from "@commander-js/extra-typings";
import type { TrackingReport } from "../agent/tracking-report.ts";
import { formatSize, formatTime, parseTime } from "../config/units.ts";
import { ask } from "../control-client.ts";
import { messageOf, OperationError } from "../errors.ts";
import {
  controlOption,
  jsonOption,
  positive,
  print,
  printJson,
  printTable,
  runCommand,
  warn,
} from "./output.ts";
import { describeTracking } from "./tracking-line.ts";

/** A VM as `list` and `show` describe it. */
interface VmLine {
  readonly vm: string;
  readonly ownership: string;
  readonly epoch: number;
  readonly peer: string | null;
  readonly running: boolean;
  readonly memoryBytes: number;
  readonly machine: string;
  /** The newest that can be restarted, and a seed that is newer. */
  readonly newestGeneration: number | null;
  readonly newestSeed: number | null;
  readonly branches: readonly string[];
  /** Another site has taken it over, and what is here is not put aside completely. */
  readonly fencing: boolean;
  readonly activity: { readonly what: string; readonly state: string } | null;
  readonly disks: readonly DiskLine[];
}

/** A disk as the agent describes it. */
interface DiskLine {
  readonly id: string;
  readonly bus: string;
  readonly sizeBytes: number | null;
  readonly file: string | null;
  readonly images: number;
}

/** The commands. */
export function vmCommands(): Command[] {
  return [define(), start(), stop(), attach(), list(), show()];
}

function define(): Command {
  return new Command("define")
    .description("define a VM from a YAML file, or change a definition")
    .argument("<file>", "the definition")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((file, options) =>
      runCommand(options, async () => {
        const text = await readFile(file, "utf8").catch((error) => {
          throw new OperationError("usage", `Cannot read ${file}: ${messageOf(error)}`);
        });
        const done = await ask(options.control, "define", { text, path: resolve(file) });
        if (options.json) printJson(done);
        else print(`defined ${done["vm"]}`);
      }),
    ) as unknown as Command;
}

function start(): Command {
  return new Command("start")
    .description("start a VM with empty memory")
    .argument("<vm>", "its name")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const done = await ask(options.control, "start", { vm });
        if (typeof done["warning"] === "string") warn(done["warning"]);
        if (options.json) printJson(done);
        else print(`started ${vm}`);
      }),
    ) as unknown as Command;
}

function stop(): Command {
  return new Command("stop")
    .description("shut a VM down; its memory is not kept")
    .argument("<vm>", "its name")
    .option("--force", "end QEMU at once, without asking the guest")
    .option("--timeout <time>", "how long the guest may take", positive(parseTime), 60_000)
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const done = await ask(options.control, "stop", {
          vm,
          force: options.force ?? false,
          timeoutMs: options.timeout,
        });
        if (options.json) printJson(done);
        else print(`stopped ${vm}`);
      }),
    ) as unknown as Command;
}

function attach(): Command {
  return new Command("attach")
    .description("take over a defined VM whose QEMU somebody else started")
    .argument("<vm>", "its name")
    .requiredOption("--qmp <socket>", "a QMP socket of that QEMU that nobody else uses")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const done = await ask(options.control, "attach", { vm, qmpPath: resolve(options.qmp) });
        if (typeof done["warning"] === "string") warn(done["warning"]);
        if (options.json) printJson(done);
        else print(`attached ${vm}`);
      }),
    ) as unknown as Command;
}

function list(): Command {
  return new Command("list")
    .description("list the VMs that the agent knows")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((options) =>
      runCommand(options, async () => {
        const done = await ask(options.control, "list", {});
        if (options.json) return printJson(done);
        const rows = (done["vms"] as VmLine[]).map((vm) => [
          vm.vm,
          stateOf(vm),
          formatSize(vm.memoryBytes),
          vm.machine,
          newestOf(vm),
        ]);
        printTable(["VM", "STATE", "MEMORY", "MACHINE", "GENERATION"], rows);
      }),
    ) as unknown as Command;
}

function show(): Command {
  return new Command("show")
    .description("show everything about a VM")
    .argument("<vm>", "its name")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((name, options) =>
      runCommand(options, async () => {
        const done = await ask(options.control, "show", { vm: name });
        if (options.json) return printJson(done);
        const vm = done as unknown as VmLine;
        const definition = done["definition"] as { cpu: string; accel: string[]; args: string[] };
        const holders = Object.entries(done["holders"] as Record<string, HeldLine>);
        printTable(
          ["FIELD", "VALUE"],
          [
            ["name", vm.vm],
            ["state", stateOf(vm)],
            ["ownership", `${vm.ownership}, epoch ${vm.epoch}`],
            ["machine", `${vm.machine}, cpu ${definition.cpu}, accel ${definition.accel.join(":")}`],
            ["memory", formatSize(vm.memoryBytes)],
            ...vm.disks.map((disk) => [`disk ${disk.id}`, describeDisk(disk)]),
            ["args", definition.args.join(" ") || "-"],
            ["tracking", describeTracking(done["tracking"] as TrackingReport)],
            ["newest generation", newestOf(vm)],
            ["branches", vm.branches.length > 0 ? `${vm.branches.join(", ")}: see 'bfmig doctor'` : "-"],
            ["held elsewhere", holders.map(describeHeld).join(", ") || "-"],
            ["under way", vm.activity ? `${vm.activity.what} ${vm.activity.state}` : "-"],
          ],
        );
      }),
    ) as unknown as Command;
}

interface HeldLine {
  readonly generation: number;
  /** True if it cannot be restarted; the lag is that of what can. */
  readonly seed: boolean;
  readonly lagMs: number | null;
}

/** What another site holds, and how old that is. */
function describeHeld([site, { generation, seed, lagMs }]: [string, HeldLine]): string {
  if (seed) {
    const restartable = lagMs === null ? "nothing" : `a state ${formatTime(lagMs)} old`;
    return `${site}: seed ${generation}, and can restart ${restartable}`;
  }
  return `${site}: ${generation}${lagMs === null ? "" : `, ${formatTime(lagMs)} old`}`;
}

function newestOf({ newestGeneration, newestSeed }: VmLine): string {
  const seed = newestSeed === null ? "" : `, seed ${newestSeed}`;
  return `${newestGeneration ?? "-"}${seed}`;
}

function describeDisk({ bus, sizeBytes, file, images }: DiskLine): string {
  const size = sizeBytes === null ? "" : `${formatSize(sizeBytes)}, `;
  if (file === null) return `${size}${bus}, no image here`;
  return `${size}${bus}, ${file}${images > 1 ? ` and ${images - 1} images under it` : ""}`;
}

function stateOf(vm: VmLine): string {
  if (vm.activity) return `${vm.activity.what} (${vm.activity.state})`;
  if (vm.fencing) return `fenced by ${vm.peer}`;
  if (vm.ownership === "released") return `in doubt with ${vm.peer}`;
  if (vm.running) return "running";
  return vm.ownership === "away" ? `at ${vm.peer}` : "stopped";
}
