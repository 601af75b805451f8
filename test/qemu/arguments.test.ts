import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import {
  checkCpuModel,
  checkExtraArguments,
  checkMachineType,
  escapeCommas,
  findImagePunchers,
  type QemuSpec,
  qemuArguments,
} from "../../cli/qemu/arguments.ts";
import { probeQemu } from "../../cli/qemu/probe.ts";
import { launchQemu } from "../../cli/qemu/process.ts";
import { saveGuestMemory } from "../../cli/qemu/ram.ts";
import { MEMORY_BYTES, QEMU_BINARY, temporaryFolder, testArguments } from "./qemu-fixture.ts";

const SPEC: QemuSpec = {
  name: "web1",
  machine: "pc-i440fx-7.2",
  cpu: "qemu64",
  accel: ["kvm", "tcg"],
  memoryBytes: 64 * 1024 * 1024,
  memory: { kind: "ram" },
  qmpPath: "/run/q",
  incoming: false,
  paused: false,
  extra: [],
};

const usage = (message: RegExp) => ({ name: "OperationError", reason: "usage", message });

t.test("a definition becomes a command line", async (t) => {
  t.equal(
    qemuArguments(SPEC).join(" "),
    "-no-user-config -name web1 -machine pc-i440fx-7.2,memory-backend=pc.ram -accel kvm -accel tcg -cpu qemu64 " +
      "-m 65536K -object memory-backend-ram,id=pc.ram,size=67108864 -qmp unix:/run/q,server=on,wait=off -display none",
  );
  t.match(
    qemuArguments({ ...SPEC, incoming: true, paused: true, extra: ["-nographic"] }).join(" "),
    /-incoming defer -S -nographic$/,
  );
});

t.test("a retained image is mapped privately, protected where QEMU can, commas doubled", async (t) => {
  const memory = { kind: "image", path: "/store/a,b/ram", rom: false } as const;
  const plain = "memory-backend-file,id=ram0,size=67108864,share=off,mem-path=/store/a,,b/ram";
  t.ok(qemuArguments({ ...SPEC, ramBlockId: "ram0", memory }).includes(plain));
  const protectedOne = qemuArguments({ ...SPEC, ramBlockId: "ram0", memory: { ...memory, rom: true } });
  t.ok(protectedOne.includes(`${plain},readonly=on,rom=off`));
  t.equal(escapeCommas("a,,b"), "a,,,,b");
});

t.test("every option that brings a display replaces ours", async (t) => {
  for (const option of ["-display", "--display", "-nographic", "-vnc", "-spice", "-curses"]) {
    t.notMatch(qemuArguments({ ...SPEC, extra: [option] }).join(" "), /-display none/);
  }
});

t.test("only machine types with a version are taken", async (t) => {
  for (const machine of ["pc-i440fx-7.2", "pc-q35-10.0", "pc-q35-rhel9.4.0", "pc-i440fx-2.11"])
    checkMachineType(machine);
  for (const machine of [
    "pc",
    "q35",
    "pc-i440fx",
    "pc-q35-",
    "microvm",
    "none",
    "",
    "pc-q35-7.2,accel=kvm",
    "virt",
  ]) {
    t.throws(() => checkMachineType(machine), usage(/it must name a version/), machine);
  }
});

t.test("only named CPU models are taken", async (t) => {
  for (const cpu of ["qemu64", "Skylake-Client-v4", "qemu64,+ssse3", "EPYC-Rome"]) checkCpuModel(cpu);
  for (const cpu of ["host", "max", "host,-vmx", "max,+x", "", "help", "a b"]) {
    t.throws(() => checkCpuModel(cpu), usage(/both sites need the same one/), cpu);
  }
});

t.test("arguments that contradict ours are refused, with one dash or two", async (t) => {
  checkExtraArguments(["-device", "virtio-rng-pci", "-kernel", "/boot/vmlinuz", "-append", "console=ttyS0"]);
  for (const argument of [
    "-m",
    "--m",
    "-machine",
    "-M",
    "-S",
    "-incoming",
    "-daemonize",
    "-cpu",
    "-accel",
    "-pidfile",
    "-runas",
    "-sandbox",
  ]) {
    t.throws(() => qemuArguments({ ...SPEC, extra: [argument, "x"] }), usage(/^Cannot pass /), argument);
  }
  t.throws(
    () => qemuArguments({ ...SPEC, extra: ["--sandbox", "on"] }),
    usage(/use qemu\.sandbox of the site/),
  );
  t.throws(() => qemuArguments({ ...SPEC, extra: ["-runas", "vm"] }), usage(/use qemu\.user of the site/));
});

t.test("a size that QEMU would round and an id that it would refuse are refused", async (t) => {
  for (const memoryBytes of [0, -8192, 4096, 8192.5, Number.NaN, 2 ** 60]) {
    t.throws(() => qemuArguments({ ...SPEC, memoryBytes }), usage(/multiple of 8 KiB/));
  }
  for (const ramBlockId of ["", "0", "a,share=on", "a b", `a${"b".repeat(64)}`]) {
    t.throws(() => qemuArguments({ ...SPEC, ramBlockId }), usage(/^Cannot name the RAM block/));
  }
});

t.test("devices that punch holes into a mapped image are found", async (t) => {
  for (const [args, found] of [
    [["-device", "virtio-rng-pci", "-nographic"], []],
    [["-device", "virtio-balloon-pci,id=b,free-page-reporting=on"], ["virtio-balloon-pci"]],
    [
      ["--device", "id=b,driver=virtio-balloon-pci-non-transitional"],
      ["virtio-balloon-pci-non-transitional"],
    ],
    [["-device", '{"id": "b", "driver" : "virtio-balloon"}'], ["virtio-balloon"]],
    [["-device", "{}"], []],
    [["-device", "{"], []],
    [
      ["-device", "virtio-mem-pci,memdev=m", "-device", "virtio-balloon"],
      ["virtio-mem-pci", "virtio-balloon"],
    ],
    [["-device"], []],
    [["-balloon", "virtio"], ["-balloon virtio"]],
    [["-balloon", "none"], []],
    [["-readconfig", "f"], ["-readconfig f"]],
  ] as const) {
    t.same(findImagePunchers(args), found);
  }
});

t.test(
  "QEMU takes the command line, from an image at an awkward path too, and leaves the image alone",
  async (t) => {
    const folder = await temporaryFolder(t);
    const runDir = join(folder, "run,x");
    const path = join(folder, "ram,image=1");
    const image = Buffer.alloc(MEMORY_BYTES, 0x5a);
    await writeFile(path, image);
    const { memoryBackendRom } = await probeQemu(QEMU_BINARY);
    const memory = { kind: "image", path, rom: memoryBackendRom } as const;
    const qemu = await launchQemu(QEMU_BINARY, testArguments(runDir, { name: "a,b", memory }), {
      runDir,
      name: "a,b",
    });
    t.teardown(() => qemu.kill());
    t.same(await qemu.qmp.execute("query-name"), { name: "a,b" });
    t.match(await qemu.qmp.execute("query-memdev"), [{ id: "pc.ram", size: MEMORY_BYTES, share: false }]);
    await saveGuestMemory(qemu.qmp, join(folder, "saved"), MEMORY_BYTES);
    const saved = await readFile(join(folder, "saved"));
    t.ok(
      saved.subarray(32 * 1024 * 1024, 33 * 1024 * 1024).every((byte) => byte === 0x5a),
      "the image is its RAM",
    );
    t.notOk(saved.equals(image), "the firmware wrote into its RAM");
    t.ok((await readFile(path)).equals(image), "and not into the image");
  },
);
