/**
 * Debian's kernel and busybox for a guest of tests, unpacked without being installed: neither root nor room in the
 * system's folders is needed, only the network and the programs apt-get, apt-cache and dpkg.
 */

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { messageOf } from "../../cli/errors.ts";

const run = promisify(execFile);

/** Depends on the kernel's real package, whose name has its version. */
const KERNEL_METAPACKAGE = "linux-image-cloud-amd64";
const BUSYBOX_PACKAGE = "busybox-static";
const KERNEL_PACKAGE_PATTERN = /^\s*(?:Pre)?Depends: (linux-image-\d\S*)$/m;
/** For one program; a slow mirror sends the kernel's 27 MB in this time. */
const TIMEOUT_MS = 600_000;
const MAX_OUTPUT_BYTES = 16 << 20;

/** Paths of what a guest is made from. */
export interface GuestPackages {
  /** The kernel for `-kernel`. */
  readonly kernel: string;
  /** Unpacked `/lib/modules/VERSION`. */
  readonly modules: string;
  /** A program without libraries; also runs on the host. */
  readonly busybox: string;
}

/**
 * Downloads and unpacks the packages into an existing folder. Rejects with the reason and what may help when
 * they cannot be had.
 */
export async function fetchGuestPackages(folder: string): Promise<GuestPackages> {
  try {
    return await fetchPackages(folder);
  } catch (error) {
    throw new Error(
      `Cannot get Debian's packages for the test guest: ${messageOf(error)}; on a system without apt or without a network, ` +
        "run these tests where BFMIG_TEST_CACHE names a folder that they have filled elsewhere",
      { cause: error },
    );
  }
}

async function fetchPackages(folder: string): Promise<GuestPackages> {
  const debs = await download(folder, []).catch(async (error) => {
    // The system's package lists may be missing or too old. They are root's: use lists of our own.
    const { options, complaint } = await updatedLists(folder);
    return await download(folder, options).catch((again) => {
      const reasons = [error, complaint, again].filter((reason) => reason !== null);
      throw new Error(reasons.map(messageOf).join("; then: "));
    });
  });
  const root = join(folder, "root");
  await mkdir(root);
  for (const deb of debs) await runProgram("dpkg", ["-x", deb, root]);
  return {
    kernel: await onlyEntry(root, ["boot"], /^vmlinuz-/),
    // From Debian 13 on, packages ship what was in /lib and /bin under /usr.
    modules: await onlyEntry(root, ["lib/modules", "usr/lib/modules"], /^\d/),
    busybox: await onlyEntry(root, ["bin", "usr/bin"], /^busybox$/),
  };
}

/** Puts the packages into a new folder in `folder` and gives back their paths; `options` are for apt. */
async function download(folder: string, options: readonly string[]): Promise<string[]> {
  const shown = await runProgram("apt-cache", [...options, "depends", KERNEL_METAPACKAGE]);
  const kernelPackage = KERNEL_PACKAGE_PATTERN.exec(shown)?.[1];
  if (kernelPackage === undefined) throw new Error(`apt knows no kernel behind ${KERNEL_METAPACKAGE}`);
  const debs = await mkdtemp(join(folder, "debs-"));
  await runProgram("apt-get", [...options, "-qq", "download", kernelPackage, BUSYBOX_PACKAGE], debs);
  return (await readdir(debs)).filter((name) => name.endsWith(".deb")).map((name) => join(debs, name));
}

/**
 * Makes package lists in `folder` from the system's sources. Gives back options that make apt use them, and what went
 * wrong: one source of several may fail, and others have the packages.
 */
async function updatedLists(folder: string): Promise<{ options: string[]; complaint: unknown }> {
  const lists = join(folder, "lists");
  const cache = join(folder, "cache");
  await mkdir(join(lists, "partial"), { recursive: true });
  await mkdir(join(cache, "archives/partial"), { recursive: true });
  const options = ["-o", `Dir::State::Lists=${lists}`, "-o", `Dir::Cache=${cache}`];
  const complaint = await runProgram("apt-get", [...options, "-qq", "update"]).then(
    () => null,
    (error: unknown) => error,
  );
  return { options, complaint };
}

/** The one entry with a matching name in the folders, which need not all exist. */
async function onlyEntry(root: string, folders: readonly string[], name: RegExp): Promise<string> {
  const found: string[] = [];
  for (const folder of folders) {
    const entries = await readdir(join(root, folder)).catch(() => []);
    found.push(...entries.filter((entry) => name.test(entry)).map((entry) => join(root, folder, entry)));
  }
  if (found.length === 1) return found[0] as string;
  throw new Error(`the packages have ${found.length} files ${name} in ${folders.join(" and ")}, not one`);
}

async function runProgram(program: string, args: readonly string[], cwd?: string): Promise<string> {
  try {
    const options = {
      cwd,
      timeout: TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT_BYTES,
      env: { ...process.env, LC_ALL: "C" },
    };
    return (await run(program, args, options)).stdout;
  } catch (error) {
    throw new Error(messageOf(error).trim().replaceAll("\n", "; "), { cause: error });
  }
}
