import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { stringify } from "yaml";
import { guestName } from "../../cli/demo/testbed.ts";
import { testMachine } from "../qemu/test-qemu.ts";
import { endsAs } from "../store/operation-errors.ts";
import { checkAftermath } from "./aftermath.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";

/** Ways in which a retained generation can go bad, each in the folder of one generation. */
const damages: readonly { readonly name: string; readonly harm: (folder: string) => Promise<void> }[] = [
  { name: "a bit of the image is flipped", harm: (folder) => flipBit(join(folder, "ram.img"), 0.3) },
  { name: "the image is cut short", harm: (folder) => cut(join(folder, "ram.img")) },
  { name: "the image is gone", harm: (folder) => rm(join(folder, "ram.img")) },
  { name: "a bit of the digests is flipped", harm: (folder) => flipBit(join(folder, "digests"), 0.5) },
  { name: "the digests are gone", harm: (folder) => rm(join(folder, "digests")) },
  { name: "a digit of the manifest is changed", harm: (folder) => changeRoot(join(folder, "manifest.json")) },
  { name: "the manifest is gone", harm: (folder) => rm(join(folder, "manifest.json")) },
];

/** Small file systems can be mounted by root alone. */
const needsRoot = process.getuid?.() === 0 ? {} : { skip: "only root can mount a small file system" };

for (const where of ["destination", "source"] as const) {
  t.test(`a damaged generation at the ${where} never leads to wrong memory`, async (t) => {
    for (const { name, harm } of damages) {
      await t.test(name, async (t) => {
        const rig = await Rig.boot(t);
        await rig.migrate("a", "b");
        await rig.untilAlive("b");
        await rig.idle("a");
        await harm(join(rig.site(where === "source" ? "b" : "a").storePath, guestName, "generations", "1"));
        await rig.change("b", "rewrite", 2048, 100);
        // The leg may work as a first leg, or be refused once or twice while the damage is found out.
        let arrived = false;
        for (let attempt = 0; attempt < 3 && !arrived; attempt++) {
          try {
            const { source, destination } = await rig.comparedLeg("b", "a");
            t.equal(differences(source, destination), "", "no page differs between the sites");
            t.strictSame(rig.model.check(destination), [], "it is what the guest should have made");
            arrived = true;
          } catch (error) {
            t.comment(error instanceof Error ? error.message : error);
            t.ok(await rig.runsAt("b"), "the VM runs at the source");
            await Promise.all([rig.idle("a"), rig.idle("b")]);
          }
        }
        t.ok(arrived, "in the end a leg works");
        await rig.untilAlive(arrived ? "a" : "b");
        t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
      });
    }
  });
}

for (const where of ["destination", "source"] as const) {
  t.test(`a full disk at the ${where} ends the leg and is named`, needsRoot, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "bfmig-full-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const full = join(folder, where === "source" ? "a" : "b");
    await mkdir(full);
    mount(["-t", "tmpfs", "-o", "size=16m,mode=700", "none", full]);
    t.teardown(() => execFileSync("umount", ["--lazy", full]));
    const rig = await Rig.boot(t, { keepFolder: folder, accept: { overcommit: true } });
    const counter = await rig.counter("a");
    const { error } = await rig.begin("a", "b");
    t.equal(error?.reason, "aborted");
    t.match(error?.message, /disk is full/);
    t.ok(await rig.runsAt("a"), "the VM runs at the source");
    await Promise.all([rig.idle("a"), rig.idle("b")]);
    t.strictSame(
      await rig.generationFolders(where === "source" ? "a" : "b"),
      [],
      "what was written is removed",
    );
    mount(["-o", "remount,size=512m", full]);
    await checkAftermath(t, rig, "a", counter);
  });
}

t.test("what cannot be done is refused with the reason", async (t) => {
  const rig = await Rig.start(t);
  const site = rig.site("a");
  const body = { vm: guestName, to: "b", downtimeLimitMs: 300, timeoutMs: null, bitsPerSecond: null };
  await t.rejects(site.ask("migrate", body), /does not own|does not run/, "a VM that was never started");
  await site.ask("start", { vm: guestName });
  await rig.onConsole("a", (guest) => guest.ready());
  await t.rejects(site.ask("migrate", { ...body, vm: "nobody" }), /Cannot find VM "nobody"/);
  await t.rejects(site.ask("migrate", { ...body, to: "nowhere" }), /Cannot find peer "nowhere"/);
  await t.rejects(site.ask("migrate", { ...body, to: "a" }), endsAs("usage"));
  await t.rejects(site.ask("start", { vm: guestName }), /runs already/);
  t.ok(await rig.runsAt("a"), "the VM runs on");
  const balloon = {
    name: "balloon",
    memory: 65528 * 1024,
    machine: testMachine,
    args: ["-device", "virtio-balloon-pci"],
  };
  const { version } = await site.ask("define", { text: stringify(balloon), path: "balloon.yaml" }).then(
    () => ({ version: "mapped read-only" }),
    (error) => ({ version: error.reason as string }),
  );
  t.match(
    version,
    /refused|mapped read-only/,
    "a device that would damage retained images is refused where it could",
  );
});

function mount(args: string[]): void {
  execFileSync("mount", args, { stdio: "pipe" });
}

async function flipBit(path: string, where: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[Math.floor(bytes.length * where)]! ^= 0x10;
  await replace(path, bytes);
}

async function cut(path: string): Promise<void> {
  const bytes = await readFile(path);
  await replace(path, bytes.subarray(0, bytes.length / 2));
}

async function changeRoot(path: string): Promise<void> {
  const text = await readFile(path, "utf8");
  const change = (start: string, digit: string) => `${start}${digit === "0" ? "1" : "0"}`;
  await replace(
    path,
    text.replace(/("root":\s*")(.)/, (_all, start, digit) => change(start, digit)),
  );
}

/** Puts another file in a file's place: a running QEMU goes on with the one that it has mapped. */
async function replace(path: string, content: Uint8Array | string): Promise<void> {
  await writeFile(`${path}.new`, content, { mode: 0o600 });
  await rename(`${path}.new`, path);
}
