import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import t from "tap";
import { collectModules } from "../../../cli/experiments/guest/kernel-modules.ts";

/** A folder of modules, by their paths, with what they depend on. */
async function modulesFolder(modules: Record<string, string>, builtIn: readonly string[]): Promise<string> {
  const folder = t.testdir();
  for (const [path, depends] of Object.entries(modules)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), `code\0license=GPL\0depends=${depends}\0name=x\0code`);
  }
  await writeFile(join(folder, "modules.builtin"), builtIn.map((path) => `${path}\n`).join(""));
  return folder;
}

t.test("modules come after what they depend on, each once, under the names of lsmod", async (t) => {
  const folder = await modulesFolder(
    {
      "kernel/fs/ext4.ko": "mbcache,crc-sixteen,built-in",
      "kernel/fs/mbcache.ko": "",
      "kernel/lib/crc-sixteen.ko": "mbcache",
      "kernel/drivers/other.ko": "",
    },
    ["kernel/lib/built-in.ko"],
  );
  const found = await collectModules(folder, ["ext4", "mbcache"], "busybox");
  t.strictSame(
    found.map(({ name }) => name),
    ["mbcache", "crc_sixteen", "ext4"],
  );
  t.match(found[0]?.content.toString(), /^code\0license/);
});

t.test("a module that there is not is named", async (t) => {
  const folder = await modulesFolder({ "kernel/a.ko": "gone" }, []);
  await t.rejects(collectModules(folder, ["a"], "busybox"), { message: /no module gone/ });
  const compressed = await modulesFolder({ "kernel/a.ko.zst": "" }, []);
  await t.rejects(collectModules(compressed, ["a"], "busybox"), { message: /no program is known/ });
});
