import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import { formatDefinition, parseDefinition } from "../../cli/config/vm-definition.ts";
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
  });
});

t.test("what the store keeps reads back the same", async () => {
  const text = fc.string({ maxLength: 30 });
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

t.test("a VM with disks is refused and told what is possible", async (t) => {
  const disks = "disks:\n  - {id: disk0, file: web1.qcow2, size: 4GiB}\n";
  t.throws(() => parseDefinition(least + disks, "web1.yaml"), {
    ...endsAs("usage"),
    message: /^Cannot use web1\.yaml:4: disks: disks are not moved yet; .* names them in args/,
  });
  t.doesNotThrow(() => parseDefinition(`${least}disks: []\n`, "web1.yaml"));
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
