/**
 * QEMU 10.0 beside the system's 7.2, for tests: the packages of Debian 12's backports, unpacked and not installed. apt
 * fetches them with lists of its own, so that the system's sources stay as they are, and checks Debian's signatures.
 *
 *     dist/qemu-10.0/bin/qemu-system-x86_64    starts the program below with the firmware that belongs to it
 *     dist/qemu-10.0/packages/                 what the packages have
 *     dist/qemu-10.0.missing                   why it could not be had the last time it was optional
 *
 * The folder is made elsewhere and renamed: if it is there, it is whole. Libraries are those of the system's QEMU.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Failure, say } from "./failure.mjs";
import { outputFolder } from "./project.mjs";

const SUITE = "bookworm-backports";
const PACKAGES = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEFAULT_MIRROR = "http://deb.debian.org/debian";
/** The network cards' firmware has no newer package: QEMU 7.2's is used. */
const SYSTEM_IPXE = "/usr/lib/ipxe/qemu";
/** What tests need of it: one type of its own, and one that both versions have. */
const MACHINES = ["pc-q35-10.0", "pc-i440fx-7.2"];
const TIMEOUT_MS = 600_000;

const PROGRAM = "bin/qemu-system-x86_64";
const SYSTEM_RELEASE = "/etc/os-release";
const folder = join(outputFolder, "qemu-10.0");

/** The program, if it is there. */
export const backportedQemu = join(folder, PROGRAM);

/** Whether it is there. */
export function backportedQemuReady() {
  return existsSync(backportedQemu);
}

/** Why it is not there, as a text for who reads a skipped test. */
export function whyNoBackportedQemu() {
  const file = reasonFile(folder);
  if (existsSync(file)) return readFileSync(file, "utf8");
  return "Run node .ci/setup.mjs --all-qemu: QEMU 10.0 was not unpacked";
}

/**
 * Fetches it and unpacks it to `target`; throws a Failure with the reason where that cannot be done. `release` is the
 * file that says which system this is.
 */
export function unpackBackportedQemu(target = folder, release = SYSTEM_RELEASE) {
  const unsupported = unsupportedReason(release);
  if (unsupported !== undefined) throw new Failure(unsupported);
  say("setup", "unpacking QEMU 10.0 of Debian's backports for tests");
  const work = `${target}.part`;
  rmSync(work, { recursive: true, force: true });
  try {
    const made = join(work, "made");
    mkdirSync(join(made, "bin"), { recursive: true });
    for (const deb of download(work))
      run("dpkg", ["-x", deb, join(made, "packages")], "Cannot unpack QEMU 10.0");
    writeFileSync(join(made, PROGRAM), starter(), { mode: 0o755 });
    check(join(made, PROGRAM));
    renameSync(made, target);
    rmSync(reasonFile(target), { force: true });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The same where tests can do without it: says why there is none, and keeps it for the tests that are skipped. */
export function tryToUnpackBackportedQemu(target = folder, release = SYSTEM_RELEASE) {
  try {
    unpackBackportedQemu(target, release);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say("setup", `${error.message}; tests with it are skipped`);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(reasonFile(target), error.message);
  }
}

function reasonFile(target) {
  return `${target}.missing`;
}

function unsupportedReason(release) {
  let system = "";
  try {
    system = readFileSync(release, "utf8");
  } catch {
    // Not a Linux of today.
  }
  if (/^ID="?debian"?$/m.test(system) && /^VERSION_ID="?12"?$/m.test(system)) return undefined;
  const name = /^PRETTY_NAME="?([^"\n]*)/m.exec(system)?.[1] ?? process.platform;
  return `Use Debian 12 for tests with QEMU 10.0: its packages come from there, and this is ${name}`;
}

/** Puts the packages into a folder of `work` and gives back their paths. */
function download(work) {
  const debs = join(work, "debs");
  for (const name of ["debs", "lists/partial", "cache/archives/partial"])
    mkdirSync(join(work, name), { recursive: true });
  const sources = join(work, "sources.list");
  writeFileSync(sources, `deb [signed-by=${KEYRING}] ${mirror()} ${SUITE} main\n`);
  const options = [
    `Dir::Etc::SourceList=${sources}`,
    "Dir::Etc::SourceParts=/dev/null",
    `Dir::State::Lists=${join(work, "lists")}`,
    `Dir::Cache=${join(work, "cache")}`,
    "Acquire::Languages=none",
    // A mirror that cannot be reached is told soon, and a suite that cannot be had is an error.
    "Acquire::http::Timeout=20",
    "Acquire::https::Timeout=20",
    "APT::Update::Error-Mode=any",
  ].flatMap((option) => ["-o", option]);
  const problem = `Cannot get QEMU 10.0 of ${SUITE}`;
  run("apt-get", [...options, "-qq", "update"], problem);
  const wanted = PACKAGES.map((name) => `${name}/${SUITE}`);
  run("apt-get", [...options, "-qq", "download", ...wanted], problem, debs);
  return readdirSync(debs)
    .filter((name) => name.endsWith(".deb"))
    .map((name) => join(debs, name));
}

/** The mirror that the system gets Debian 12 from. */
function mirror() {
  const format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
  const { stdout } = spawnSync("apt-get", ["indextargets", "--format", format], { encoding: "utf8" });
  return /^bookworm main (\S+)$/m.exec(stdout ?? "")?.[1] ?? DEFAULT_MIRROR;
}

/** A shell script that finds the rest from where it lies itself. */
function starter() {
  return `#!/bin/sh
root="\${0%/*}/../packages"
exec "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L ${SYSTEM_IPXE} "$@"
`;
}

function check(program) {
  const shown = run(program, ["-machine", "help"], "Cannot run QEMU 10.0 with the libraries of this system");
  const missing = MACHINES.filter((name) => !shown.split("\n").some((line) => line.startsWith(`${name} `)));
  if (missing.length > 0) throw new Failure(`Cannot use QEMU of ${SUITE}: it has no ${missing.join(", ")}`);
}

/** What a program prints; throws a Failure with what it says of what went wrong. */
function run(program, args, problem, cwd) {
  const env = { ...process.env, LC_ALL: "C" };
  const options = { cwd, env, encoding: "utf8", timeout: TIMEOUT_MS, maxBuffer: 1 << 24 };
  const { status, error, stdout, stderr } = spawnSync(program, args, options);
  if (status === 0) return stdout;
  const said = (stderr ?? "").trim().split("\n").slice(-3).join("; ");
  throw new Failure(`${problem}: ${program}: ${error?.message ?? (said || `it ended with ${status}`)}`);
}
