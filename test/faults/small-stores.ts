/** Stores that are file systems of their own, so that one can be full while all else goes on. */

import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Teardown } from "../integration/rig.ts";

const roomyBytes = 2 ** 30;
const mostTries = 50;

/** Small file systems can be mounted by root alone. */
export const canMount = process.getuid?.() === 0;

/** The stores of two sites. */
export class SmallStores {
  /** Where the sites' folders are. */
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Mounts them. Throws unless root runs this. */
  static async mount(test: Teardown, sites: readonly string[]): Promise<SmallStores> {
    const folder = await mkdtemp(join(tmpdir(), "bfmig-stores-"));
    test.teardown(() => rm(folder, { recursive: true, force: true }));
    const stores = new SmallStores(folder);
    for (const site of sites) {
      const path = stores.pathOf(site);
      await mkdir(path, { recursive: true, mode: 0o700 });
      mount(path, `size=${roomyBytes},mode=700`);
      const unmount = () => execFileSync("umount", ["--lazy", path], { stdio: "pipe" });
      // A run that is interrupted leaves by this way.
      process.once("exit", unmount);
      test.teardown(() => {
        process.off("exit", unmount);
        unmount();
      });
    }
    return stores;
  }

  /** Takes all free space of a site's store. */
  async fill(site: string): Promise<void> {
    const path = this.pathOf(site);
    for (let tries = 1; ; tries++) {
      const { bsize, blocks, bfree } = await statfs(path);
      try {
        mount(path, `remount,size=${(blocks - bfree) * bsize}`);
        return;
      } catch (error) {
        // Somebody has written since: the size would be below what is used.
        if (tries === mostTries) throw error;
      }
    }
  }

  /** Gives it back. */
  free(site: string): void {
    mount(this.pathOf(site), `remount,size=${roomyBytes}`);
  }

  private pathOf(site: string): string {
    return join(this.folder, site, "store");
  }
}

function mount(path: string, options: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "none", path], { stdio: "pipe" });
}
