/** A disk that is full in the middle of a leg. One that is too small from the beginning is refused, unless told otherwise. */

import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { bootForFault, checkDiskAftermath, routes } from "./disk-fault.ts";

const MIB = 1 << 20;
/** Less than a leg needs, and more than it needs to begin. */
const freeBytes = 8 * MIB;

/** Small file systems can be mounted by root alone. */
const needsRoot = process.getuid?.() === 0 ? {} : { skip: "only root can mount a small file system" };

for (const where of ["destination", "source"] as const) {
  for (const route of routes) {
    t.test(`a full disk at the ${where} in the middle of a ${route.leg} leg`, needsRoot, async (t) => {
      const site = where === "source" ? route.from : route.to;
      const { folder, resize } = await smallFileSystem(t, site);
      const disks = await bootForFault(t, route, { keepFolder: folder, accept: { overcommit: true } });
      const { bsize, blocks, bfree } = await statfs(join(folder, site));
      await resize((blocks - bfree) * bsize + freeBytes);
      const { error } = await disks.rig.begin(route.from, route.to);
      t.equal(error?.reason, "aborted");
      t.match(error?.message, /disk is full/);
      await resize(1024 * MIB);
      await checkDiskAftermath(t, disks, route, route.leg);
    });
  }
}

/** A folder for stores, of which one site's is a file system of its own. */
async function smallFileSystem(
  t: Test,
  site: string,
): Promise<{ readonly folder: string; readonly resize: (bytes: number) => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "bfmig-full-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, site);
  await mkdir(path);
  const mount = (options: string) =>
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "none", path], { stdio: "pipe" });
  mount("size=1g,mode=700");
  t.teardown(() => execFileSync("umount", ["--lazy", path]));
  return { folder, resize: async (bytes) => void mount(`remount,size=${Math.ceil(bytes / 1024)}k`) };
}
