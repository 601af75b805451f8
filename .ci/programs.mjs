import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { Failure, say } from "./failure.mjs";

/** Names of systems, in the order of the package names below. apt-get installs those of the first. */
const SYSTEMS = ["Debian or Ubuntu", "Fedora", "Arch", "Homebrew"];

/** QEMU, which runs the virtual machines. */
export const qemu = {
  program: "qemu-system-x86_64",
  packages: ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86", "qemu"],
};

/** What the model of the handover is checked with. The C compiler is of use only with the C library's headers. */
export const modelPrograms = [
  { program: "spin", packages: ["spin", "spin", "spin", "spin"] },
  { program: "gcc", packages: ["gcc libc6-dev", "gcc glibc-devel", "gcc", "gcc"] },
];

/** Independent implementations that tests hold ours against, and what tests watch programs with. */
export const testPrograms = [
  { program: "lz4", packages: ["lz4", "lz4", "lz4", "lz4"] },
  { program: "as", packages: ["binutils", "binutils", "binutils", "binutils"] },
  { program: "qemu-img", packages: ["qemu-utils", "qemu-img", "qemu-img", "qemu"] },
  { program: "nbdcopy", packages: ["libnbd-bin", "libnbd", "libnbd", "libnbd"] },
  { program: "mkfs.ext4", packages: ["e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"] },
  { program: "chromium", packages: ["chromium", "chromium", "chromium", "chromium"] },
  { program: "strace", packages: ["strace", "strace", "strace", "strace"] },
  { program: "python3", packages: ["python3", "python3", "python", "python"] },
  ...modelPrograms,
];

/** Those of `programs` that are not on PATH. */
export function missingPrograms(programs) {
  return programs.filter(({ program }) => !onPath(program));
}

/** Installs the packages of `programs` with apt-get where that can be done unattended; else says what to install. */
export function installPrograms(programs) {
  const prefix = aptPrefix();
  if (prefix === undefined) throw new Failure(advice(programs));
  const packages = packagesFor(0, programs);
  say("setup", `installing ${packages.join(", ")} with apt-get`);
  const install = ["install", "-y", "-qq", "--no-install-recommends", ...packages];
  // A fresh container has no package lists, an old one has stale lists: both show as a failed installation.
  if (!aptGet(prefix, install)) {
    say("setup", "updating apt's package lists");
    aptGet(prefix, ["update", "-qq"]);
    if (!aptGet(prefix, install)) throw new Failure(`${advice(programs)}, apt-get failed, see above`);
  }
  const missing = missingPrograms(programs);
  if (missing.length > 0) throw new Failure(advice(missing));
}

function advice(programs) {
  const names = programs.map(({ program }) => program).join(", ");
  const packages = SYSTEMS.map((name, system) => `${name}: ${packagesFor(system, programs).join(" ")}`);
  return `Install ${names} first: not found on PATH (packages for ${packages.join("; ")})`;
}

function packagesFor(system, programs) {
  return programs.flatMap(({ packages }) => packages[system].split(" "));
}

/** What goes before apt-get on the command line; undefined where apt-get does not serve or would ask for a password. */
function aptPrefix() {
  if (!isDebianLike() || !onPath("apt-get")) return undefined;
  const setting = ["env", "DEBIAN_FRONTEND=noninteractive"];
  if (process.getuid() === 0) return setting;
  const sudo = onPath("sudo") && spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status === 0;
  return sudo ? ["sudo", "-n", ...setting] : undefined;
}

function isDebianLike() {
  try {
    return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync("/etc/os-release", "utf8"));
  } catch {
    return false;
  }
}

function aptGet(prefix, args) {
  const [command, ...rest] = [...prefix, "apt-get", "-o", "DPkg::Lock::Timeout=300", ...args];
  return spawnSync(command, rest, { stdio: ["ignore", 2, 2] }).status === 0;
}

/** Debian keeps programs of file systems where only root's PATH leads. */
const systemFolders = ["/usr/sbin", "/sbin"];

function onPath(program) {
  return [...(process.env.PATH ?? "").split(delimiter), ...systemFolders].some((folder) => {
    if (folder === "") return false;
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
