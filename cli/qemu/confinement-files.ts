/**
 * What a QEMU that runs as another user can get at: files and sockets are given to that user one by one, with mode 0600,
 * and folders on the way to them may be entered by anybody (0711) but neither listed nor written. Everything else in a
 * store stays ours alone. The one folder that QEMU may write to, since it makes sockets, has nothing else in it:
 *
 *     RUN/<vm>/          0711, ours    qemu.json, qemu.log, qemu.pid, out.sock
 *     RUN/<vm>/qemu/     0700, QEMU's  qmp.sock, in.sock, disks.sock, nbd.sock
 *
 * Nothing in QEMU's folder is read or written as a file by us: what it puts there could be a link.
 */

import { execFile } from "node:child_process";
import { chmod, lchown, lstat, mkdir, open, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { OperationError } from "../errors.ts";
import type { Confinement } from "./confinement.ts";
import type { QemuUser } from "./confinement-user.ts";
import { makePrivateFolder, qemuFolder } from "./unix-socket.ts";

/** Who a file belongs to. */
export type FileOwner = Pick<QemuUser, "uid" | "gid">;

/** Gives a file or a socket to the user that QEMU runs as. Nothing happens if that is us, or if we are not root. */
export async function giveFile(path: string, owner: FileOwner | null): Promise<void> {
  const own = process.geteuid?.();
  if (owner === null || own !== 0 || owner.uid === own) return;
  if ((await lstat(path)).uid !== owner.uid) await lchown(path, owner.uid, owner.gid);
}

/** The owner of a path; null if it is gone. */
export async function ownerOf(path: string): Promise<FileOwner | null> {
  const status = await stat(path).catch(() => null);
  return status && { uid: status.uid, gid: status.gid };
}

/** Lets others go through folders of ours, which are made if they are missing. Throws OperationError if one is not ours. */
export async function openFolders(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const status = await lstat(folder);
    const mode = status.mode & 0o777;
    if (!status.isDirectory() || status.uid !== process.geteuid?.() || (mode & 0o022) !== 0) {
      throw new OperationError(
        "failed",
        `Cannot use ${folder}: it must be a folder that only the agent's user can change`,
      );
    }
    if ((mode & 0o011) !== 0o011) await chmod(folder, mode | 0o011);
  }
}

/** Makes a QEMU's folder, with the one for its sockets. Throws OperationError if others could change it. */
export async function prepareRunFolder(runDir: string, user: QemuUser | null): Promise<void> {
  const sockets = qemuFolder(runDir);
  if (user === null) {
    await reclaim(runDir);
    await makePrivateFolder(runDir);
    await reclaim(sockets);
    await makePrivateFolder(sockets);
    return;
  }
  await openFolders([runDir]);
  await mkdir(sockets, { recursive: true, mode: 0o700 });
  await lchown(sockets, user.uid, user.gid);
  await chmod(sockets, 0o700);
  // QEMU writes to it and keeps it locked; it stays the same file, so that a second QEMU finds the lock.
  const pidFile = await open(join(runDir, "qemu.pid"), "a", 0o600);
  try {
    await pidFile.chown(user.uid, user.gid);
  } finally {
    await pidFile.close();
  }
}

/** A file that QEMU will open. */
export interface NeededFile {
  readonly path: string;
  readonly writable: boolean;
}

/** Throws OperationError, which says what is in the way, unless QEMU's user can open the files. */
export async function checkReach(confinement: Confinement, files: readonly NeededFile[]): Promise<void> {
  const { user, setpriv } = confinement;
  if (user === null || setpriv === null) return;
  const identity = [`--reuid=${user.uid}`, `--regid=${user.gid}`, `--groups=${user.groups.join(",")}`];
  const canDo = async (test: string, path: string) => {
    try {
      await promisify(execFile)(setpriv, [...identity, "--", "test", test, path]);
      return true;
    } catch {
      return false;
    }
  };
  await Promise.all(
    files.map(async ({ path, writable }) => {
      const isReachable = await canDo("-r", path);
      if (isReachable && (!writable || (await canDo("-w", path)))) return;
      const folders: string[] = [];
      for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder))
        folders.unshift(folder);
      for (const folder of folders) {
        if (await canDo("-x", folder)) continue;
        refuse(user, path, `it may not enter ${folder}; give that folder mode 0711, or move the files`);
      }
      refuse(user, path, `it may not ${isReachable ? "write to" : "read"} it; chown ${user.name} ${path}`);
    }),
  );
}

function refuse(user: QemuUser, path: string, why: string): never {
  throw new OperationError("failed", `Cannot run QEMU as ${user.name} on ${path}: ${why}`);
}

/** A folder that was another QEMU user's, before the configuration changed, is ours again. */
async function reclaim(folder: string): Promise<void> {
  const own = process.geteuid?.();
  const status = await lstat(folder).catch(() => null);
  if (own !== 0 || !status?.isDirectory()) return;
  if (status.uid !== own) await lchown(folder, own, process.getegid?.() ?? 0);
  if (status.uid !== own || (status.mode & 0o777) === 0o711) await chmod(folder, 0o700);
}
