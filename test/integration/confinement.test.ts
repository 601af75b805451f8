/** Agents that run as root, and QEMUs that do not: an unprivileged user, a filter of system calls, only the files they need. */

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  type Stats,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { blockHostFolder } from "../../cli/disk/block-host.ts";
import { findRecord } from "../../cli/qemu/process-record.ts";
import { testMachine } from "../qemu/test-qemu.ts";
import { DiskRig } from "./disk-rig.ts";
import { handoverToReleased } from "./handover.ts";
import { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const user = "nobody";
const sites = ["a", "b"] as const;
const needsRoot = process.getuid?.() === 0 ? {} : { skip: "only root can become another user" };

t.test(
  "a VM with a disk goes there and back, and is recovered, while its QEMU can do little",
  needsRoot,
  async (t) => {
    const disks = await bootConfined(t);
    const { rig } = disks;
    await disks.fill("a", "disk0", 0, 4 * MIB);
    for (const [from, to] of [
      ["a", "b"],
      ["b", "a"],
      ["a", "b"],
    ] as const) {
      await t.test(`a leg from ${from} to ${to}`, async (t) => {
        await disks.fill(from, "disk0", 8 * MIB, 256 * 1024);
        let host: Promise<ReturnType<typeof statusOf>> | null = null;
        const onLine = (line: { readonly [name: string]: unknown }) => {
          if (line["state"] === "rounds") host ??= hostStatus(disks, to);
        };
        const leg = await disks.comparedLeg(from, to, { onLine });
        t.ok(leg.source.equals(leg.destination), "guest memory is the same at both sites");
        t.strictSame(leg.different, [], "and so are the disks");
        await rig.untilAlive(to);
        t.match(await host, confined, "the QEMU that wrote the images");
        t.match(statusOf((await rig.qemuPid(to)) as number), confined, "the VM's own");
        findSecrets(t, disks, `after the leg to ${to}`);
      });
    }
    t.equal((await rig.migrate("b", "a")).leg, "return");
    await rig.untilAlive("a");

    await t.test("the newest generation is recovered after QEMU was killed", async (t) => {
      await rig.killQemu("a");
      const done = await rig.site("a").ask("recover", { vm: guestName, generation: null, force: false });
      t.equal(done["generation"], 4);
      await rig.untilAlive("a");
      t.match(statusOf((await rig.qemuPid("a")) as number), confined);
      await disks.fill("a", "disk0", 20 * MIB, 64 * 1024);
    });

    await t.test("an agent that starts again finds its VM, and a leg follows", async (t) => {
      await rig.site("a").stop();
      await rig.testbed.restartSite("a");
      await rig.untilAlive("a");
      t.equal((await rig.migrate("a", "b")).leg, "return");
      await rig.untilAlive("b");
    });

    await t.test("QEMU's user has images of RAM and disks, and nothing else", async (t) => {
      for (const site of sites) {
        await rig.idle(site);
        const { storePath } = rig.site(site);
        for (const [path, status] of tree(storePath)) {
          const mode = status.mode & 0o777;
          if (status.isDirectory()) {
            t.ok(status.uid === 0 && (mode === 0o700 || mode === 0o711), `${path} ${mode.toString(8)}`);
            continue;
          }
          t.equal(mode, 0o600, path);
          if (status.uid !== 0) t.match(path, /\/(images\/[^/]*\.qcow2|generations\/\d+\/ram\.img)$/);
        }
        const vm = join(storePath, guestName);
        for (const path of [
          join(vm, "ownership"),
          `${storePath}.keys/${guestName}.key`,
          join(storePath, "../site.key"),
        ]) {
          t.ok(existsSync(path), path);
          t.notOk(canRead(path), `${path} stays the agent's`);
        }
        t.notOk(canRead(storePath), "folders cannot be listed");
      }
      const { findings } = await rig.verifyStores(sites);
      t.strictSame(findings, [], "the verifier finds nothing wrong");
    });
  },
);

t.test(
  "a VM that is taken back makes its own new images, as the user that it runs as",
  needsRoot,
  async (t) => {
    const disks = await bootConfined(t);
    const { rig } = disks;
    await disks.fill("a", "disk0", 0, MIB);
    const { end } = await handoverToReleased(t, undefined, async () => rig);
    await rig.site("b").kill();
    await rig.testbed.link("a", "b").cut();
    t.equal((await end).error?.reason, "inDoubt");
    await rig.idle("a");
    await rig.testbed.restartSite("b");
    await rig.testbed.link("a", "b").restore();
    await rig.untilAlive("a");
    await disks.fill("a", "disk0", 2 * MIB, MIB);
    t.strictSame(await disks.differences("a"), [], "it writes to them");
    const store = await disks.store("a");
    const { images } = await store.images.current();
    const path = store.images.pathOf(await store.images.read(images["disk0"] as string));
    t.match(path, /images\/disk0-.*\.qcow2$/, "over the operator's file");
    t.not(lstatSync(path).uid, 0);
    t.equal(lstatSync(path).mode & 0o777, 0o600);
  },
);

t.test("a folder that QEMU's user may not enter is named", needsRoot, async (t) => {
  const disks = await startConfined(t);
  chmodSync(disks.folder, 0o700);
  await t.rejects(disks.rig.site("a").ask("start", { vm: guestName }), {
    message: new RegExp(`Cannot run QEMU as ${user} on .*disk0\\.img: it may not enter ${disks.folder}`),
  });
  chmodSync(disks.folder, 0o711);
  chownSync(disks.filePath("disk0"), 0, 0);
  await t.rejects(disks.rig.site("a").ask("start", { vm: guestName }), {
    message: new RegExp(`it may not write to it; chown ${user}`),
  });
});

t.test("a VM that a site does not accept goes on where it is, and nothing of it is kept there", async (t) => {
  const rig = await Rig.boot(t, { accept: { machines: ["microvm-*"] } });
  const { error } = await rig.begin("a", "b");
  t.equal(error?.reason, "refused");
  t.match(error?.message, `its machine is "${testMachine}"; this site allows microvm-*`);
  await rig.untilAlive("a");
  t.notOk(existsSync(join(rig.site("b").storePath, guestName)));
  t.notOk(existsSync(join(`${rig.site("b").storePath}.keys`, `${guestName}.key`)));
});

/** A process that is confined, as /proc tells. 65534 is what Debian calls nobody. */
const confined = {
  Uid: /^(\d{3,})(\s+\1){3}$/,
  Gid: /^(\d{3,})(\s+\1){3}$/,
  Groups: /^\d{3,}$/,
  CapInh: "0000000000000000",
  CapPrm: "0000000000000000",
  CapEff: "0000000000000000",
  CapBnd: "0000000000000000",
  NoNewPrivs: "1",
  Seccomp: "2",
};

async function startConfined(t: Test): Promise<DiskRig> {
  const disks = await DiskRig.start(t, [{ id: "disk0", lengthBytes: 64 * MIB + 512, kind: "qcow2" }], {
    confinement: { user, sandbox: "on" },
    moreArguments: (_site, folder) => {
      // The test's own sockets lie there, and the sites' folders, which QEMU's user must be able to pass.
      chmodSync(folder, 0o1777);
      for (const name of ["run", ...sites]) {
        mkdirSync(join(folder, name), { recursive: true });
        chmodSync(join(folder, name), 0o711);
      }
      return [];
    },
  });
  chmodSync(disks.folder, 0o711);
  chownSync(disks.filePath("disk0"), ...userIds());
  return disks;
}

async function bootConfined(t: Test): Promise<DiskRig> {
  const disks = await startConfined(t);
  await disks.rig.site("a").ask("start", { vm: guestName });
  await disks.rig.onConsole("a", (guest) => guest.ready());
  t.match(statusOf((await disks.rig.qemuPid("a")) as number), confined, "a VM that was started afresh");
  return disks;
}

function statusOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, "utf8").split("\n");
  return Object.fromEntries(
    lines.map((line) => line.split(":").map((part) => part.trim()) as [string, string]),
  );
}

async function hostStatus({ rig }: DiskRig, site: string): Promise<Record<string, string>> {
  const folder = blockHostFolder(rig.site(site).runPath(guestName));
  return await waitFor(`a block host under its filter at ${site}`, async () => {
    const record = await findRecord(folder);
    const status = record && statusOf(record.pid);
    // It is known from its first moment on, when it is not yet what it will be.
    return status?.["Seccomp"] === "0" ? null : status;
  });
}

/** Digest keys and TLS keys occur in no log, no record of a process and no command line. */
function findSecrets(t: Test, { rig }: DiskRig, when: string): void {
  const secrets = sites.flatMap((site) => {
    const { storePath } = rig.site(site);
    const digestKey = readFileSync(`${storePath}.keys/${guestName}.key`, "utf8").trim();
    const tlsKey = readFileSync(join(storePath, "../site.key"), "utf8").split("\n");
    return [digestKey, ...tlsKey.filter((line) => line.length > 20 && !line.startsWith("-----"))];
  });
  t.ok(secrets.length >= 4, "there are secrets to look for");
  for (const site of sites) {
    const { log } = rig.site(site);
    t.match(log, /"leg"/, "the log has the leg");
    const texts = new Map([["its log", log]]);
    for (const [path, status] of tree(join(rig.site(site).options.socketFolder, site))) {
      if (status.isFile()) texts.set(path, unlessGone(() => readFileSync(path, "utf8")) ?? "");
    }
    for (const [what, text] of texts) {
      for (const secret of secrets)
        if (text.includes(secret)) t.fail(`${what} at ${site} has a secret ${when}`);
    }
  }
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    let line = "";
    try {
      line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    } catch {
      continue;
    }
    for (const secret of secrets) if (line.includes(secret)) t.fail(`a command line has a secret ${when}`);
  }
}

function canRead(path: string): boolean {
  const [uid, gid] = userIds();
  try {
    execFileSync("test", ["-r", path], { uid, gid });
    return true;
  } catch {
    return false;
  }
}

function userIds(): [uid: number, gid: number] {
  const [uid, gid] = ["-u", "-g"].map((option) => Number(execFileSync("id", [option, user])));
  return [uid as number, gid as number];
}

/** All that is below a folder. */
function tree(folder: string): [string, Stats][] {
  const found: [string, Stats][] = [];
  for (const name of unlessGone(() => readdirSync(folder)) ?? []) {
    const path = join(folder, name);
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (status === undefined) continue;
    found.push([path, status]);
    if (status.isDirectory()) found.push(...tree(path));
  }
  return found;
}

/** What `look` gives; null if what it looks at is not there, as agents may remove it meanwhile. */
function unlessGone<T>(look: () => T): T | null {
  try {
    return look();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}
