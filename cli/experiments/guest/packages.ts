/**
 * Debian's packages for a Linux guest, downloaded and unpacked without being installed: neither root nor room in the
 * system's folders is needed, only the network and the programs apt-get, apt-cache and dpkg.
 */

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { messageOf, OperationError } from "../../errors.ts";
import { packageClosure } from "./closure.ts";

const run = promisify(execFile);

/** Depends on the kernel's real package, whose name has its version. */
const kernelMetapackage = "linux-image-cloud-amd64";
const busyboxPackage = "busybox-static";
const kernelPackagePattern = /^\s*(?:Pre)?Depends: (linux-image-\d\S*)$/m;
const onlyNeeded = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
/** For one program; a slow mirror sends the kernel's 27 MB in this time. */
const timeoutMs = 600_000;
const maxOutputBytes = 16 << 20;

/** What to fetch beside a kernel and busybox. */
export interface WantedPackages {
  /** With all that they depend on. */
  readonly programs?: readonly string[];
  readonly signal?: AbortSignal;
}

/** Paths of what a guest is made from. */
export interface GuestPackages {
  /** Where all packages are unpacked. */
  readonly root: string;
  /** The kernel for `-kernel`. */
  readonly kernel: string;
  /** Unpacked `/lib/modules/VERSION`. */
  readonly modules: string;
  /** A program without libraries; also runs on the host. */
  readonly busybox: string;
}

/**
 * Downloads and unpacks the packages into an existing folder. Throws OperationError with the reason and what may help
 * when they cannot be had. `cacheVariable`: the environment variable that chooses where guests are kept.
 */
export async function fetchGuestPackages(
  folder: string,
  cacheVariable: string,
  wanted: WantedPackages = {},
): Promise<GuestPackages> {
  try {
    return await fetchPackages(folder, wanted);
  } catch (error) {
    wanted.signal?.throwIfAborted();
    throw new OperationError(
      "failed",
      `Cannot get Debian's packages for the Linux guest: ${messageOf(error)}; on a system without apt or without a network, ` +
        `let ${cacheVariable} name a folder that was filled elsewhere`,
      { cause: error },
    );
  }
}

async function fetchPackages(folder: string, wanted: WantedPackages): Promise<GuestPackages> {
  const { signal } = wanted;
  const debs = await download(folder, [], wanted).catch(async (error) => {
    signal?.throwIfAborted();
    // The system's package lists may be missing or too old. They are root's: use lists of our own.
    const { options, complaint } = await updatedLists(folder, signal);
    return await download(folder, options, wanted).catch((again) => {
      const reasons = [error, complaint, again].filter((reason) => reason !== null);
      throw new Error(reasons.map(messageOf).join("; then: "));
    });
  });
  const root = join(folder, "root");
  await mkdir(root);
  for (const deb of debs) {
    await runProgram("dpkg", ["-x", deb, root], { signal });
    await rm(deb);
  }
  return {
    root,
    kernel: await onlyEntry(root, ["boot"], /^vmlinuz-/),
    // From Debian 13 on, packages ship what was in /lib and /bin under /usr.
    modules: await onlyEntry(root, ["lib/modules", "usr/lib/modules"], /^\d/),
    busybox: await onlyEntry(root, ["bin", "usr/bin"], /^busybox$/),
  };
}

/** Puts the packages into a new folder in `folder` and gives back their paths; `options` are for apt. */
async function download(
  folder: string,
  options: readonly string[],
  { programs = [], signal }: WantedPackages,
): Promise<string[]> {
  const shown = await runProgram("apt-cache", [...options, "depends", kernelMetapackage], { signal });
  const kernelPackage = kernelPackagePattern.exec(shown)?.[1];
  if (kernelPackage === undefined) throw new Error(`apt knows no kernel behind ${kernelMetapackage}`);
  const kinds = onlyNeeded.map((kind) => `--no-${kind}`);
  const needed =
    programs.length === 0
      ? []
      : packageClosure(
          programs,
          await runProgram("apt-cache", [...options, "depends", "--recurse", ...kinds, ...programs], {
            signal,
          }),
        );
  const names = new Set([kernelPackage, busyboxPackage, ...needed]);
  const debs = await mkdtemp(join(folder, "debs-"));
  await runProgram("apt-get", [...options, "-qq", "download", ...names], { cwd: debs, signal });
  return (await readdir(debs)).filter((name) => name.endsWith(".deb")).map((name) => join(debs, name));
}

/**
 * Makes package lists in `folder` from the system's sources. Gives back options that make apt use them, and what went
 * wrong: one source of several may fail, and others have the packages.
 */
async function updatedLists(
  folder: string,
  signal: AbortSignal | undefined,
): Promise<{ options: string[]; complaint: unknown }> {
  const lists = join(folder, "lists");
  const cache = join(folder, "cache");
  await mkdir(join(lists, "partial"), { recursive: true });
  await mkdir(join(cache, "archives/partial"), { recursive: true });
  const options = ["-o", `Dir::State::Lists=${lists}`, "-o", `Dir::Cache=${cache}`];
  const complaint = await runProgram("apt-get", [...options, "-qq", "update"], { signal }).then(
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

async function runProgram(
  program: string,
  args: readonly string[],
  { cwd, signal }: { readonly cwd?: string; readonly signal?: AbortSignal | undefined } = {},
): Promise<string> {
  try {
    const options = {
      ...(cwd !== undefined && { cwd }),
      ...(signal !== undefined && { signal }),
      timeout: timeoutMs,
      maxBuffer: maxOutputBytes,
      env: { ...process.env, LC_ALL: "C" },
    };
    return (await run(program, args, options)).stdout;
  } catch (error) {
    throw new Error(messageOf(error).trim().replaceAll("\n", "; ").slice(0, 2000), { cause: error });
  }
}
