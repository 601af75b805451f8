import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { importCommand } from "../../cli/commands/import.ts";
import { FileOwnershipRegister } from "../../cli/store/ownership.ts";
import { lockStore } from "../../cli/store/store-lock.ts";
import { VmStore } from "../../cli/store/vm-store.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { loadCore } from "../../src/core.ts";
import { runInTest } from "../verify/command-output.ts";
import { page, type StreamShape, savedStream, shape } from "./saved-streams.ts";

const definition = `name: web1
memory: 1MiB
machine: pc-i440fx-7.2
accel: [tcg]
`;

/** A folder with a definition, an empty store's place, and a way to import a stream into it. */
function site(t: Test) {
  const folder = t.testdir({ "web1.yaml": definition });
  const store = join(folder, "store");
  const run = async (changes: Partial<StreamShape>, ...args: string[]) => {
    const file = join(folder, "saved");
    writeFileSync(file, savedStream({ ...shape, ...changes }));
    return await runInTest(t, importCommand(), "--store", store, "--vm", "web1", ...args, file);
  };
  const define = ["--definition", join(folder, "web1.yaml")];
  return { folder, store, run, define };
}

t.test("a stream becomes a complete generation that verifies, and the next one the next", async (t) => {
  const { store, run, define } = site(t);
  const done = await run({}, "--json", ...define);
  t.equal(done.code, 0, done.diagnostics);
  t.match(JSON.parse(done.lines[0]), {
    event: "done",
    vm: "web1",
    generation: 1,
    machine: "pc-i440fx-7.2",
    accelerator: "tcg",
    regions: [{ name: "pc.ram" }, { name: "rom" }],
  });
  t.equal(readFileSync(join(store, "web1", "vm.yaml"), "utf8").includes("name: web1"), true);
  t.match(await run({}), { code: 0, lines: [/^imported generation 2 of web1/] });
  const report = await verifyPaths([store]);
  t.strictSame(report.findings, []);
  t.strictSame(
    report.vms[0].generations.map(({ generation, restorable }) => [generation, restorable]),
    [
      [1, true],
      [2, true],
    ],
  );
  t.notOk(existsSync(join(store, "web1", "ownership")), "nobody's ownership was made");
  const image = readFileSync(join(store, "web1", "generations", "1", "ram.img"));
  t.equal(image.length, shape.ramBytes + page);
  t.equal(image[3 * page], 33, "a page that was sent twice has its last content");
  t.equal(image[4 * page], 0, "and one that became zero is zero");
  t.equal(image[shape.ramBytes], 77, "main memory comes first, whatever the stream's order");
});

t.test("ownership stays as it is, and numbers go on from it", async (t) => {
  const { store, run, define } = site(t);
  await run({}, ...define);
  const register = new FileOwnershipRegister(store);
  const record = {
    ...(await register.read("web1")),
    state: "away",
    epoch: 7,
    generation: 9,
    peer: "b",
  } as const;
  await register.write(record);
  t.match((await run({})).lines[0], /^imported generation 10 /);
  t.strictSame(await register.read("web1"), record);
  const { generations } = await new VmStore(await loadCore(), store, "web1").list();
  t.strictSame(
    generations.map(({ manifest }) => [manifest.generation, manifest.epoch, manifest.from]),
    [
      [1, 1, "import"],
      [10, 7, "import"],
    ],
  );
});

t.test("what does not fit the VM, or is not whole, is refused and leaves nothing", async (t) => {
  const refusals: [string, Partial<StreamShape>, RegExp][] = [
    [
      "another machine",
      { machine: "pc-q35-7.2" },
      /the stream is of a pc-q35-7.2, the definition says pc-i440fx-7.2/,
    ],
    [
      "another size",
      { ramBytes: 2 << 20 },
      /the definition says 1048576 bytes of memory.*pc.ram \(2097152\)/,
    ],
    [
      "pages on another channel",
      { missing: [5, 6] },
      /2 of 256 pages of pc.ram are not in it, the first is page 5/,
    ],
    [
      "more memory than it has room for",
      { romBytes: 2 ** 40 },
      /says that it has 268435712 pages, and is too short/,
    ],
    ["a stream that ends early", { cut: 100 }, /Cannot decode the QEMU stream: it ends/],
    ["xbzrle", { flag: 0x040 }, /xbzrle records are not supported/],
    ["compressed pages", { flag: 0x100 }, /compress records are not supported/],
    ["multifd", { flag: 0x200 }, /multifd records are not supported/],
    ["post-copy", { command: 3 }, /command POSTCOPY_ADVISE is not supported/],
    [
      "a device of KVM and one whose name is no text",
      { devices: [{ toString: 1 }, "kvmclock"] },
      /that kvm ran/,
    ],
    ["a device of KVM", { devices: ["kvmclock"] }, /of a VM that kvm ran, the definition allows tcg/],
  ];
  for (const [name, changes, message] of refusals) {
    await t.test(name, async (t) => {
      const { store, run, define } = site(t);
      const { code, diagnostics } = await run(changes, ...define);
      t.equal(code, 1);
      t.match(diagnostics, message);
      t.notOk(existsSync(join(store, "web1")), "the VM was not defined");
      t.strictSame(readdirSync(`${store}.keys`), [], "and has no key");
      await run({}, ...define);
      await run(changes);
      t.strictSame(readdirSync(join(store, "web1", "generations")), ["1"], "nothing is left over");
    });
  }
});

t.test("the definition is that of the VM, and as 'bfmig define' takes it", async (t) => {
  const { folder, store, run, define } = site(t);
  const other = join(folder, "other.yaml");
  const tries: [string, RegExp, number][] = [
    [definition.replace("web1", "web2"), /other.yaml defines web2/, 2],
    [definition.replace("pc-i440fx-7.2", "pc"), /Cannot use the machine type/, 2],
    [definition.replace("1MiB", "1000"), /memory must be a multiple/, 2],
    [
      `${definition}disks: [{id: disk0, file: x.img}]\n`,
      /it has disks \(disk0\), and a migration stream has none/,
      6,
    ],
    [definition.replace("[tcg]", "[kvm, tcg]"), /say --accel kvm or --accel tcg/, 2],
  ];
  for (const [text, message, code] of tries) {
    writeFileSync(other, text);
    const result = await run({}, "--definition", other);
    t.match(result.diagnostics, message);
    t.equal(result.code, code, `${message}`);
  }
  writeFileSync(other, definition.replace("[tcg]", "[kvm, tcg]"));
  t.match(await run({}, "--definition", other, "--accel", "tcg"), { code: 0 });
  t.match(await run({}, ...define), { code: 2, diagnostics: /it is defined already, and differently/ });
  t.match(await run({ devices: ["kvmclock"] }), { code: 0 }, "this device tells that KVM ran it");
  t.match(await run({ devices: ["kvmclock"] }, "--accel", "tcg"), {
    code: 1,
    diagnostics: /kvm ran, not tcg/,
  });
  t.equal((await verifyPaths([store])).findings.length, 0);
});

t.test("wrong use", async (t) => {
  const { folder, store, run, define } = site(t);
  t.match(await run({}), { code: 2, diagnostics: /web1: it is not defined in .*--definition FILE/ });
  t.notOk(existsSync(store), "no store is made of a path that is not one");
  const args = ["--store", store, "--vm", "web1", ...define];
  t.match(await runInTest(t, importCommand(), ...args, join(folder, "none")), { code: 2 });
  t.match(await runInTest(t, importCommand(), ...args, folder), {
    code: 2,
    diagnostics: /not a regular file/,
  });
  const badName = await runInTest(
    t,
    importCommand(),
    "--store",
    store,
    "--vm",
    "../x",
    join(folder, "saved"),
  );
  t.match(badName, { code: 2, diagnostics: /names have/ });
  await mkdir(store);
  const lock = await lockStore(store);
  t.match(await run({}, ...define), { code: 1, diagnostics: /another agent has it; stop that one first/ });
  lock.release();
  t.match(await run({}, ...define), { code: 0 });
});
