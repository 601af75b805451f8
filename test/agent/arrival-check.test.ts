import fc from "fast-check";
import t from "tap";
import {
  type ArrivalHost,
  type ArrivingDefinition,
  checkArrival,
  checkArrivingDefinition,
} from "../../cli/agent/arrival-check.ts";
import { ManagedVm } from "../../cli/agent/managed-vm.ts";
import { acceptField } from "../../cli/config/confinement.ts";
import { OperationError } from "../../cli/errors.ts";
import { firstMemory, ModelStore } from "../store/model-store.ts";
import { configIn, shortFolder } from "./agent-fixture.ts";

const GIB = 2 ** 30;
const defaults = acceptField.parse(undefined);
const host: ArrivalHost = {
  machines: ["pc-i440fx-7.2", "pc-q35-7.2", "microvm", "pc-q35-9.9"],
  cpuModels: ["qemu64", "Skylake-Client", "host", "max", "base"],
  memoryBytes: 8 * GIB,
  freeBytes: 100 * GIB,
  newBytes: 20 * GIB,
};
const modest: ArrivingDefinition = {
  name: "web1",
  machine: "pc-q35-7.2",
  cpu: "qemu64",
  memoryBytes: 4 * GIB,
  accelerator: "kvm",
  disks: [{ name: "root", lengthBytes: 16 * GIB, bus: "virtio-blk" }],
};

const check = (changes: Partial<ArrivingDefinition>, accept = {}, here: Partial<ArrivalHost> = {}) =>
  checkArrivingDefinition({ ...defaults, ...accept }, { ...modest, ...changes }, { ...host, ...here });
const refused = (message: RegExp) => ({ name: "OperationError", reason: "refused", message });

t.test("a modest VM may come, and what the configuration adds", async () => {
  check({});
  check({ machine: "microvm" }, { machines: ["micro*"] });
  check({ cpu: "qemu64,+aes,+avx" }, { cpus: ["qemu*", "+a*"] });
  check({ memoryBytes: 16 * GIB }, { maxMemory: 16 * GIB });
  check({ disks: [] }, { maxDisks: 0, buses: [] });
  check({}, { overcommit: true }, { newBytes: 200 * GIB });
  check({}, {}, { newBytes: host.freeBytes });
});

t.test("a refusal names the field, the value and what is allowed", async (t) => {
  const cases: [RegExp, Parameters<typeof check>][] = [
    [
      /Cannot take web1: its machine is "microvm"; this site allows pc-i440fx-\*, pc-q35-\*$/,
      [{ machine: "microvm" }],
    ],
    [/its machine is "pc-q35-8\.0"; this site has a QEMU without that type/, [{ machine: "pc-q35-8.0" }]],
    [/its machine is "pc-q35-7\.2"; this site allows none/, [{}, { machines: [] }]],
    [
      /its cpu is "Skylake-Client"; this site allows qemu\*/,
      [{ cpu: "Skylake-Client" }, { cpus: ["qemu*", "+aes"] }],
    ],
    [/its cpu is "EPYC"; this site has a QEMU without that model/, [{ cpu: "EPYC" }]],
    [/its cpu is "host"/, [{ cpu: "host" }]],
    [/its cpu is "max"/, [{ cpu: "max" }]],
    [/its cpu flag is "\+aes"; this site allows none/, [{ cpu: "qemu64,+aes" }]],
    [/its cpu flag is "pmu=on"; this site allows \+\*/, [{ cpu: "qemu64,pmu=on" }, { cpus: ["*", "+*"] }]],
    [/its memory is 8589934593; this site has 8\.0 GiB/, [{ memoryBytes: 8 * GIB + 1 }]],
    [/its memory is 4294967296; this site allows at most 1\.0 GiB/, [{}, { maxMemory: GIB }]],
    [/its accelerator is "kvm"; this site allows tcg/, [{}, { accelerators: ["tcg"] }]],
    [/its number of disks is 1; this site allows at most 0/, [{}, { maxDisks: 0 }]],
    [/its disk root's bus is "virtio-blk"; this site allows virtio-scsi/, [{}, { buses: ["virtio-scsi"] }]],
    [/its disk root's size is 17179869184; this site allows at most 1\.0 GiB/, [{}, { maxDiskSize: GIB }]],
    [/can take 200 GiB .*and the store has 100 GiB .* free.*overcommit/, [{}, {}, { newBytes: 200 * GIB }]],
  ];
  for (const [message, given] of cases) t.throws(() => check(...given), refused(message), String(message));
});

t.test("whatever a peer sends, what is let in keeps every rule", async (t) => {
  const word = fc.constantFrom(
    "pc-q35-7.2",
    "pc-q35-9.9",
    "microvm",
    "qemu64",
    "Skylake-Client",
    "host",
    "pc",
    "",
  );
  const anything = fc.record({
    name: fc.constant("web1"),
    machine: fc.oneof(word, fc.string({ maxLength: 64 })),
    cpu: fc.oneof(
      word,
      fc.string({ maxLength: 64 }),
      fc.constantFrom("qemu64,+aes", "qemu64,host", "qemu64,"),
    ),
    memoryBytes: fc.oneof(
      fc.integer({ min: 1, max: 2 ** 31 - 1 }),
      fc.maxSafeInteger().filter((n) => n > 0),
    ),
    accelerator: fc.constantFrom("kvm" as const, "tcg" as const),
    disks: fc.array(
      fc.record({
        name: fc.constant("root"),
        lengthBytes: fc.integer({ min: 1, max: 2 ** 44 }),
        bus: fc.constantFrom("virtio-blk" as const, "virtio-scsi" as const),
      }),
      { maxLength: 4 },
    ),
  });
  const rules = fc.record({
    machines: fc.subarray(["pc-q35-*", "micro*", "*"]),
    cpus: fc.subarray(["qemu64", "*", "+aes"]),
    maxMemory: fc.option(fc.integer({ min: 1, max: 2 ** 40 })),
    maxDisks: fc.integer({ min: 0, max: 4 }),
    maxDiskSize: fc.integer({ min: 1, max: 2 ** 44 }),
    buses: fc.subarray(["virtio-blk" as const, "virtio-scsi" as const]),
    accelerators: fc.subarray(["kvm" as const, "tcg" as const]),
    overcommit: fc.boolean(),
  });
  let taken = 0;
  fc.assert(
    fc.property(anything, rules, (definition, accept) => {
      try {
        checkArrivingDefinition(accept, definition, host);
      } catch (error) {
        return error instanceof OperationError && error.reason === "refused" && error.message.length < 400;
      }
      taken++;
      const [model = "", ...flags] = definition.cpu.split(",");
      return (
        host.machines.includes(definition.machine) &&
        !["host", "max", "base"].includes(model) &&
        host.cpuModels.includes(model) &&
        flags.every((flag) => flag === "+aes" && accept.cpus.includes("+aes")) &&
        definition.memoryBytes <= (accept.maxMemory ?? host.memoryBytes) &&
        accept.accelerators.includes(definition.accelerator) &&
        definition.disks.length <= accept.maxDisks &&
        definition.disks.every(
          ({ bus, lengthBytes }) => accept.buses.includes(bus) && lengthBytes <= accept.maxDiskSize,
        )
      );
    }),
    { numRuns: 3000, seed: 4 },
  );
  t.ok(taken > 0, "some were let in");
});

t.test("what is asked of the machine: its QEMU, and the space for what is not here yet", async (t) => {
  const folder = await shortFolder(t);
  const config = await configIn(folder);
  const model = await ModelStore.create(folder);
  const small: ArrivingDefinition = { ...modest, machine: "pc-i440fx-7.2", memoryBytes: 1 << 20, disks: [] };
  await checkArrival(config, null, small);
  await t.rejects(
    checkArrival(config, null, { ...small, machine: "pc-q35-99.9" }),
    refused(/has a QEMU without/),
  );
  const huge = { ...small, disks: [{ name: "root", lengthBytes: 2 ** 44, bus: "virtio-blk" as const }] };
  await t.rejects(checkArrival(config, null, huge), refused(/the store has .* free/));
  await checkArrival({ ...config, accept: { ...config.accept, overcommit: true } }, null, huge);

  const vm = new ManagedVm(model.core, config.store, config.run, {
    ...{ name: "web1", memoryBytes: small.memoryBytes, machine: small.machine, cpu: "qemu64" },
    ...{ accel: ["tcg"], args: [], tracking: "scan", disks: [] },
  });
  await t.rejects(checkArrival(config, vm, huge), refused(/the store has .* free/), "no generation is here");
  const image = "root-00000001";
  await model.add(firstMemory(model.memoryBytes), null, "device", [
    { name: "root", lengthBytes: 2 ** 44, image, top: new Uint8Array(16) } as never,
  ]);
  await checkArrival(config, vm, huge);
  t.pass("of a disk that a generation here has, only changes come");
});
