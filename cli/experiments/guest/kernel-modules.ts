/**
 * Which kernel modules a module needs, and in which order to load them. Debian's package has no `modules.dep`
 * (depmod makes it at installation), so the modules are asked themselves: each has strings such as
 * `depends=virtio,virtio_ring` in its section `.modinfo`, separated by zeros.
 */

import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** No module is larger. */
const MAX_MODULE_BYTES = 64 << 20;

/** A module's name, with underscores as `lsmod` shows it, and its uncompressed file. */
export interface KernelModule {
  readonly name: string;
  readonly content: Buffer;
}

/**
 * Reads modules and all that they depend on from an unpacked `/lib/modules/VERSION`, in the order in which they
 * can be loaded. What is built into the kernel is left out. `busybox` decompresses where that is needed.
 */
export async function collectModules(
  folder: string,
  wanted: readonly string[],
  busybox: string,
): Promise<KernelModule[]> {
  const files = await findModules(folder);
  const builtIn = await readFile(join(folder, "modules.builtin"), "utf8");
  const builtInNames = new Set(builtIn.split("\n").map(moduleName));
  const ordered = new Map<string, KernelModule>();
  const visit = async (name: string): Promise<void> => {
    if (ordered.has(name) || builtInNames.has(name)) return;
    const path = files.get(name);
    if (path === undefined) throw new Error(`the kernel package has no module ${name}`);
    const content = await readModule(path, busybox);
    for (const dependency of dependencies(content)) await visit(dependency);
    ordered.set(name, { name, content });
  };
  for (const name of wanted) await visit(name);
  return [...ordered.values()];
}

async function findModules(folder: string): Promise<Map<string, string>> {
  const paths = await readdir(folder, { recursive: true });
  const modules = paths.filter((path) => /\.ko(\.\w+)?$/.test(path));
  return new Map(modules.map((path) => [moduleName(path), join(folder, path)]));
}

/** `kernel/lib/foo-bar.ko.xz` is the module foo_bar. */
function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  return file.replace(/\.ko(\.\w+)?$/, "").replaceAll("-", "_");
}

async function readModule(path: string, busybox: string): Promise<Buffer> {
  if (path.endsWith(".ko")) return await readFile(path);
  if (!path.endsWith(".xz")) throw new Error(`no program is known that decompresses ${path}`);
  const options = { encoding: "buffer", maxBuffer: MAX_MODULE_BYTES } as const;
  return (await run(busybox, ["xz", "-dc", path], options)).stdout;
}

/** Names of the modules that must be loaded before this one. */
function dependencies(content: Buffer): string[] {
  const strings = content.toString("latin1");
  const names = /\0depends=([^\0]*)\0/.exec(strings)?.[1] ?? "";
  return names
    .split(",")
    .filter((name) => name !== "")
    .map(moduleName);
}
