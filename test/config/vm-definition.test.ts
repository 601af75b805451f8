import { resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import {
  type DiskBus,
  diskBuses,
  formatDefinition,
  parseDefinition,
} from "../../cli/config/vm-definition.ts";
import { endsAs } from "../store/operation-errors.ts";

const least = "name: web1\nmemory: 64MiB\nmachine: pc-i440fx-7.2\n";

t.test("what is left out has a default", async (t) => {
  t.strictSame(parseDefinition(least, "web1.yaml"), {
    name: "web1",
    memoryBytes: 2 ** 26,
    machine: "pc-i440fx-7.2",
    cpu: "qemu64",
    accel: ["kvm", "tcg"],
    args: [],
    tracking: "scan",
    disks: [],
  });
  const { disks } = parseDefinition(`${least}disks: [{id: root}]\n`, "web1.yaml");
  t.strictSame(disks, [
    {
      id: "root",
      file: null,
      sizeBytes: null,
      format: null,
      bus: "virtio-blk",
      cache: "writeback",
      granularityBytes: 65536,
    },
  ]);
});

t.test("what the store keeps reads back the same", async () => {
  const text = fc.string({ maxLength: 30 });
  const disk = fc.record(
    {
      id: fc.stringMatching(/^[a-z][a-z0-9-]{0,14}$/),
      file: fc.option(fc.string({ minLength: 1, maxLength: 30 }).map((name) => resolve("/images", name))),
      sizeBytes: fc.option(fc.integer({ min: 1, max: 2 ** 35 }).map((sectors) => sectors * 512)),
      format: fc.option(fc.constantFrom<"raw" | "qcow2">("raw", "qcow2")),
      bus: fc.constantFrom<DiskBus>(...diskBuses),
      cache: fc.constantFrom<"writeback" | "none">("writeback", "none"),
      granularityBytes: fc.integer({ min: 12, max: 26 }).map((bits) => 2 ** bits),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(
      fc.record(
        {
          name: fc.constantFrom("web1", "a", "db-2"),
          memoryBytes: fc.integer({ min: 128, max: 2 ** 20 }).map((units) => units * 8192),
          machine: fc.constantFrom("pc-i440fx-7.2", "pc-q35-10.0"),
          cpu: fc.constantFrom("qemu64", "Skylake-Client", "x86-64-v2"),
          accel: fc.constantFrom<("kvm" | "tcg")[]>(["kvm"], ["tcg"], ["kvm", "tcg"]),
          args: fc.array(text, { maxLength: 5 }),
          tracking: fc.constantFrom<"scan" | "standing">("scan", "standing"),
          disks: fc.uniqueArray(disk, { maxLength: 32, selector: ({ id }) => id }),
        },
        { noNullPrototype: true },
      ),
      (definition) => isDeepStrictEqual(parseDefinition(formatDefinition(definition), "vm.yaml"), definition),
    ),
  );
});

t.test("memory is a multiple of 8 KiB between 1 MiB and 2 TiB", async (t) => {
  for (const memory of ["1MiB", "2TiB", "65528KiB", "1048576"]) {
    t.doesNotThrow(() => parseDefinition(least.replace("64MiB", memory), "web1.yaml"), memory);
  }
  for (const memory of ["1016KiB", "3TiB", "65532KiB", "0", "-8192", "1000001"]) {
    t.throws(
      () => parseDefinition(least.replace("64MiB", memory), "web1.yaml"),
      { ...endsAs("usage"), message: /^Cannot use web1\.yaml:2: memory: / },
      memory,
    );
  }
  t.throws(() => parseDefinition(least.replace("64MiB", "64MB"), "web1.yaml"), /write a number with KiB/);
});

t.test("disks are read with all their fields, files relative to the definition's folder", async (t) => {
  const text = `${least}disks:
  - {id: root, file: images/web1.qcow2, size: 4GiB, granularity: 4KiB}
  - {id: log-1, file: ../log.img, format: raw, size: 512, bus: virtio-scsi, cache: none, granularity: 64MiB}
  - {id: data, file: /srv/data.img}
`;
  const { disks } = parseDefinition(text, "/etc/vms/web1.yaml");
  t.match(disks, [
    { id: "root", file: "/etc/vms/images/web1.qcow2", sizeBytes: 2 ** 32, granularityBytes: 4096 },
    {
      id: "log-1",
      file: "/etc/log.img",
      format: "raw",
      sizeBytes: 512,
      bus: "virtio-scsi",
      cache: "none",
      granularityBytes: 2 ** 26,
    },
    { id: "data", file: "/srv/data.img", sizeBytes: null, format: null },
  ]);
  const [here] = parseDefinition(`${least}disks: [{id: a, file: a.img}]\n`, "web1.yaml").disks;
  t.equal(here.file, resolve("a.img"), "a path without a folder is one in the current folder");
  const kept = formatDefinition(parseDefinition(text, "/etc/vms/web1.yaml"));
  t.strictSame(
    parseDefinition(kept, "/store/web1/vm.yaml").disks,
    disks,
    "the store's copy names the same files",
  );
});

t.test("wrong disks are named with their line", async (t) => {
  const wrong: [string, RegExp][] = [
    ["{file: a.img}", /web1\.yaml:6: disks\.1\.id: /],
    ["{id: Root}", /web1\.yaml:6: disks\.1\.id: ids of disks have 1 to 15 characters: lower-case/],
    ["{id: ../x}", /web1\.yaml:6: disks\.1\.id: ids of disks have/],
    [`{id: ${"x".repeat(16)}}`, /web1\.yaml:6: disks\.1\.id: ids of disks have/],
    ["{id: first}", /web1\.yaml:6: disks\.1\.id: the id first occurs twice/],
    ['{id: b, file: ""}', /web1\.yaml:6: disks\.1\.file: /],
    ["{id: b, size: 0}", /web1\.yaml:6: disks\.1\.size: a disk's size must be a multiple of 512 bytes/],
    ["{id: b, size: 513}", /web1\.yaml:6: disks\.1\.size: a disk's size must be a multiple of 512 bytes/],
    ["{id: b, size: 17TiB}", /web1\.yaml:6: disks\.1\.size: /],
    ["{id: b, size: 4GB}", /web1\.yaml:6: disks\.1\.size: .*write a number with KiB/],
    ["{id: b, format: vmdk}", /web1\.yaml:6: disks\.1\.format: /],
    ["{id: b, bus: ide}", /web1\.yaml:6: disks\.1\.bus: /],
    ["{id: b, cache: unsafe}", /web1\.yaml:6: disks\.1\.cache: /],
    ["{id: b, granularity: 2KiB}", /web1\.yaml:6: disks\.1\.granularity: granularity must be a power of two/],
    [
      "{id: b, granularity: 96KiB}",
      /web1\.yaml:6: disks\.1\.granularity: granularity must be a power of two/,
    ],
    [
      "{id: b, granularity: 128MiB}",
      /web1\.yaml:6: disks\.1\.granularity: granularity must be a power of two/,
    ],
    ["{id: b, readonly: true}", /web1\.yaml:6: .*"readonly"/],
    ["b.img", /web1\.yaml:6: disks\.1: /],
  ];
  for (const [disk, message] of wrong) {
    const text = `${least}disks:\n  - {id: first}\n  - ${disk}\n`;
    t.throws(() => parseDefinition(text, "web1.yaml"), { ...endsAs("usage"), message }, disk);
  }
  const many = Array.from({ length: 33 }, (_, i) => `{id: d${i}}`).join(", ");
  t.throws(() => parseDefinition(`${least}disks: [${many}]\n`, "web1.yaml"), /web1\.yaml:4: disks: /);
});

t.test("wrong and unknown fields are named with their line", async (t) => {
  const wrong: [string, RegExp][] = [
    ["disk: web1.qcow2", /web1\.yaml:4: .*"disk"/],
    ["cpu: qemu64,+vmx", /web1\.yaml:4: cpu: write a CPU model such as qemu64/],
    ["accel: [hvf]", /web1\.yaml:4: accel\.0: /],
    ["accel: []", /web1\.yaml:4: accel: /],
    ["args: -nographic", /web1\.yaml:4: args: /],
    ["args: [1]", /web1\.yaml:4: args\.0: /],
  ];
  for (const [line, message] of wrong) {
    t.throws(() => parseDefinition(`${least}${line}\n`, "web1.yaml"), { ...endsAs("usage"), message }, line);
  }
  t.throws(() => parseDefinition(least.replace("web1", "../web1"), "x.yaml"), /x\.yaml:1: name: names have/);
  t.throws(
    () => parseDefinition(least.replace("pc-i440fx-7.2", '"pc,accel=tcg"'), "x.yaml"),
    /x\.yaml:3: machine: write a machine type such as pc-q35-7\.2/,
  );
});
