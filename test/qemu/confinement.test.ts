import { execFileSync } from "node:child_process";
import { chmod, chown, lstat, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createImage } from "../../cli/disk/image-creation.ts";
import {
  type Confinement,
  checkConfinement,
  confinedCommand,
  confinementOf,
  unconfined,
} from "../../cli/qemu/confinement.ts";
import { checkSandboxedArguments } from "../../cli/qemu/confinement-arguments.ts";
import { checkReach, giveFile, openFolders, prepareRunFolder } from "../../cli/qemu/confinement-files.ts";
import { resolveQemuUser } from "../../cli/qemu/confinement-user.ts";
import { probeQemu } from "../../cli/qemu/probe.ts";
import { launchQemu, type QemuProcess } from "../../cli/qemu/process.ts";
import { preparePrivateSocket, qemuFolder, qemuSocketPath } from "../../cli/qemu/unix-socket.ts";
import { QEMU_BINARY, temporaryFolder, testArguments } from "./qemu-fixture.ts";

const isRoot = process.geteuid?.() === 0;
const needsRoot = isRoot ? {} : { skip: "only root can become another user" };
const nobody = Number(execFileSync("id", ["-u", "nobody"]));
const modeOf = async (path: string) => (await lstat(path)).mode & 0o777;
const uidOf = async (path: string) => (await lstat(path)).uid;

/** A program that says that it is QEMU, and does not know `-sandbox`. */
async function oldQemu(t: Test): Promise<string> {
  const path = join(await temporaryFolder(t), "qemu");
  const text = 'case "$*" in *sandbox*) exit 1;; esac; echo QEMU emulator version 7.2.0';
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
  return path;
}

async function launchConfined(t: Test, confinement: Confinement, extra: string[]): Promise<QemuProcess> {
  const folder = await temporaryFolder(t);
  await chmod(folder, 0o711);
  const runDir = join(folder, "vm");
  const args = testArguments(runDir, { extra });
  const qemu = await launchQemu(QEMU_BINARY, args, { runDir, name: "confined", confinement });
  t.teardown(() => qemu.kill());
  return qemu;
}

async function statusOf({ pid }: QemuProcess): Promise<string> {
  return await readFile(`/proc/${pid}/status`, "utf8");
}

t.test("a sandbox is used where QEMU has one, and must be there only if it is asked for", async (t) => {
  const binary = await oldQemu(t);
  t.match(await confinementOf({ binary: QEMU_BINARY, sandbox: "auto" }), { sandboxed: true, user: null });
  t.match(await confinementOf({ binary: QEMU_BINARY, sandbox: "on" }), { sandboxed: true });
  t.match(await confinementOf({ binary: QEMU_BINARY, sandbox: "off" }), {
    sandboxed: false,
    noNewPrivileges: false,
  });
  t.match(await confinementOf({ binary, sandbox: "auto" }), { sandboxed: false });
  await t.rejects(confinementOf({ binary, sandbox: "on" }), {
    name: "OperationError",
    reason: "failed",
    message: /Cannot use qemu\.sandbox: .*has no -sandbox that works .*auto/,
  });
  await t.rejects(checkConfinement({ binary, sandbox: "on" }), /Cannot use qemu\.sandbox/);
  t.match((await probeQemu(binary)).sandbox, false);
});

t.test("the command becomes another user with no capabilities, and only then QEMU", async (t) => {
  t.strictSame(confinedCommand("/bin/qemu", ["-S"], unconfined), {
    command: "/bin/qemu",
    prefix: [],
    args: ["-S"],
  });
  const user = { name: "vm", uid: 7, gid: 8, groups: [8, 9] };
  const confinement = { sandboxed: true, setpriv: "/bin/setpriv", noNewPrivileges: true, user };
  const { command, prefix, args } = confinedCommand("/bin/qemu", ["-S"], confinement);
  t.equal(command, "/bin/setpriv");
  t.strictSame(prefix, [
    ...["--no-new-privs", "--reuid=7", "--regid=8", "--groups=8,9"],
    ...["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--", "/bin/qemu"],
  ]);
  t.strictSame(args.slice(0, 1), ["-sandbox"]);
  t.match(args[1], /^on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny$/);
  t.equal(args[2], "-S");
  const off = { ...confinement, sandboxed: false, noNewPrivileges: false };
  t.strictSame(confinedCommand("q", [], { ...off, user: null }), { command: "q", prefix: [], args: [] });
  t.equal(confinedCommand("q", [], off).prefix[0], "--reuid=7");
});

t.test("a user that does not exist, or is root, is refused", async (t) => {
  const refused = (message: RegExp) => ({ name: "OperationError", reason: "usage", message });
  await t.rejects(
    resolveQemuUser("no-such-user"),
    refused(/Cannot run QEMU as no-such-user: there is no such user/),
  );
  await t.rejects(resolveQemuUser("root"), refused(/Cannot run QEMU as root: it is root/));
});

t.test("an agent that is root says so, unless it runs QEMU as somebody else", needsRoot, async (t) => {
  t.match(await checkConfinement({ binary: "/none", sandbox: "auto" }), /QEMU runs as root.*qemu\.user/);
  t.equal(await checkConfinement({ binary: QEMU_BINARY, sandbox: "auto", user: "nobody" }), null);
});

t.test("an agent that is not root cannot name another user, and may name itself", needsRoot, async (t) => {
  const moduleUrl = new URL("../../cli/qemu/confinement-user.js", import.meta.url).href;
  // Imported as root: the program's own files need not be readable for that user.
  const script = `
    const { resolveQemuUser } = await import(${JSON.stringify(moduleUrl)});
    process.setegid(${nobody});
    process.seteuid(${nobody});
    console.log(await resolveQemuUser("nobody"));
    await resolveQemuUser("daemon").catch((error) => console.log(error.reason, error.message));
    process.seteuid(0);
    process.setegid(0);
  `;
  const said = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  t.match(said, /^null\nusage Cannot run QEMU as daemon: the agent does not run as root/);
});

t.test("a sandboxed QEMU has user networking, but starts no programs", async (t) => {
  const confinement = await confinementOf({ binary: QEMU_BINARY, sandbox: "on" });
  const qemu = await launchConfined(t, confinement, ["-nic", "user,model=e1000"]);
  t.match(await statusOf(qemu), /^Seccomp:\t2$/m);
  t.match(await statusOf(qemu), /^NoNewPrivs:\t1$/m);
  await t.rejects(qemu.qmp.execute("migrate", { uri: "exec:cat" }), "a migration to a program fails");
});

t.test("arguments that would start a program are refused in plain words", async (t) => {
  const refused = { name: "OperationError", reason: "usage", message: /qemu\.sandbox denies.*script=no/ };
  for (const value of [
    "tap,id=n",
    "tap,id=n,script=no",
    "tap,id=n,helper=/x",
    "bridge,id=n,br=br0",
    "bridge",
  ]) {
    t.throws(() => checkSandboxedArguments(["-S", "-netdev", value]), refused, value);
    t.throws(() => checkSandboxedArguments(["--nic", value]), refused, value);
  }
  t.throws(() => checkSandboxedArguments(["-netdev", "user,id=n,smb=/srv"]), refused);
  t.throws(() => checkSandboxedArguments(["-nic", "user,guestfwd=tcp:10.0.2.100:1-cmd:cat"]), refused);
  checkSandboxedArguments([
    ...["-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no"],
    ...["-netdev", "tap,fd=3,id=m", "-nic", "none", "-nic", "user,hostfwd=tcp::22-:22", "-name", "tap"],
  ]);
});

t.test("a QEMU of another user can use its folder, and what it is given", needsRoot, async (t) => {
  const confinement = await confinementOf({ binary: QEMU_BINARY, sandbox: "on", user: "nobody" });
  const qemu = await launchConfined(t, confinement, ["-nic", "none"]);
  t.match(await statusOf(qemu), new RegExp(`^Uid:(\\t${nobody}){4}$`, "m"));
  t.match(await statusOf(qemu), /^CapBnd:\t0+$/m);
  t.equal(qemu.qmp.owner?.uid, nobody);
  const { runDir } = qemu;
  t.equal(await modeOf(runDir), 0o711);
  for (const name of ["qemu.json", "qemu.log"]) {
    t.equal(await modeOf(join(runDir, name)), 0o600);
    t.equal(await uidOf(join(runDir, name)), 0, `${name} is out of its reach`);
  }
  t.equal(await modeOf(join(runDir, "qemu.pid")), 0o600);
  t.equal(await modeOf(qemuFolder(runDir)), 0o700);
  t.equal(await uidOf(qemuFolder(runDir)), nobody);

  const path = join(runDir, "new.qcow2");
  await createImage(qemu.qmp, { path, lengthBytes: 1 << 20, backing: null, bitmap: null });
  t.equal(await uidOf(path), nobody, "a new image is its");
  t.equal(await modeOf(path), 0o600);
  await preparePrivateSocket(join(runDir, "out.sock"));
  await preparePrivateSocket(qemuSocketPath(runDir, "in.sock"));
  await qemu.quit();
  await prepareRunFolder(runDir, null);
  t.equal(await modeOf(runDir), 0o700, "without a user, the folder is the agent's alone again");
  t.equal(await uidOf(qemuFolder(runDir)), 0);
});

t.test("folders are opened only if nobody else can change them", async (t) => {
  const folder = await temporaryFolder(t);
  await openFolders([join(folder, "store"), join(folder, "store", "web1")]);
  t.equal(await modeOf(join(folder, "store", "web1")), 0o711);
  const refused = { name: "OperationError", message: /only the agent's user can change/ };
  await chmod(join(folder, "store"), 0o777);
  await t.rejects(openFolders([join(folder, "store")]), refused);
  await symlink(join(folder, "store"), join(folder, "link"));
  await t.rejects(openFolders([join(folder, "link")]), refused);
});

t.test("a link is not followed when a file is given away", needsRoot, async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "file"), "", { mode: 0o600 });
  await symlink(join(folder, "file"), join(folder, "link"));
  await giveFile(join(folder, "link"), { uid: nobody, gid: nobody });
  t.equal(await uidOf(join(folder, "file")), 0);
  await giveFile(join(folder, "file"), null);
  t.equal(await uidOf(join(folder, "file")), 0);
  await giveFile(join(folder, "file"), { uid: nobody, gid: nobody });
  t.equal(await uidOf(join(folder, "file")), nobody);
});

t.test("what is in the way of QEMU's user is named", needsRoot, async (t) => {
  const folder = await temporaryFolder(t);
  const confinement = await confinementOf({ binary: QEMU_BINARY, sandbox: "off", user: "nobody" });
  const path = join(folder, "inner", "disk.img");
  await mkdir(join(folder, "inner"), { mode: 0o711 });
  await writeFile(path, "", { mode: 0o644 });
  const check = (writable: boolean) => checkReach(confinement, [{ path, writable }]);
  await t.rejects(check(false), { message: new RegExp(`it may not enter ${folder};`) });
  await chmod(folder, 0o711);
  await check(false);
  await t.rejects(check(true), { message: /it may not write to it; chown nobody/ });
  await chown(path, nobody, nobody);
  await check(true);
  await checkReach(unconfined, [{ path: "/nowhere", writable: true }]);
});
