/** The unprivileged user that QEMU runs as when the agent is root. */

import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { promisify } from "node:util";
import { OperationError } from "../errors.ts";

const run = promisify(execFile);

/** A user by numbers. */
export interface QemuUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** All of its groups, with that of /dev/kvm where there is one. */
  readonly groups: readonly number[];
}

const known = new Map<string, Promise<QemuUser | null>>();

/**
 * Looks a user up, once. Null if we are that user already: then nothing changes. Throws OperationError "usage" if there is no
 * such user, if it is root, or if we cannot become it.
 */
export function resolveQemuUser(name: string): Promise<QemuUser | null> {
  const user = known.get(name) ?? lookUp(name);
  known.set(name, user);
  user.catch(() => known.delete(name));
  return user;
}

async function lookUp(name: string): Promise<QemuUser | null> {
  const uid = await idOf("-u", name);
  if (uid === 0) refuse(name, "it is root; name an unprivileged user");
  const own = process.geteuid?.();
  if (own === uid) return null;
  if (own !== 0) {
    refuse(
      name,
      "the agent does not run as root, and QEMU then runs as the agent's own user; leave qemu.user out",
    );
  }
  const gid = await idOf("-g", name);
  const { stdout } = await run("id", ["-G", name]);
  const groups = new Set([gid, ...stdout.trim().split(/\s+/).map(Number)]);
  const kvm = await kvmGroup();
  if (kvm !== null) groups.add(kvm);
  return { name, uid, gid, groups: [...groups] };
}

async function idOf(option: string, name: string): Promise<number> {
  try {
    return Number((await run("id", [option, name])).stdout);
  } catch {
    return refuse(name, "there is no such user");
  }
}

/** The group that may use /dev/kvm; null if only its owner may, or everybody. */
async function kvmGroup(): Promise<number | null> {
  const status = await stat("/dev/kvm").catch(() => null);
  return status !== null && status.gid !== 0 && (status.mode & 0o060) === 0o060 ? status.gid : null;
}

function refuse(name: string, why: string): never {
  throw new OperationError("usage", `Cannot run QEMU as ${name}: ${why}`);
}
