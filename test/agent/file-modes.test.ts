import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import t from "tap";
import { Agent } from "../../cli/agent/agent.ts";
import { launchFresh } from "../../cli/agent/vm-launch.ts";
import { parseDefinition } from "../../cli/config/vm-definition.ts";
import { createImage } from "../../cli/disk/image-creation.ts";
import { firstMemory, ModelStore, nextMemory } from "../store/model-store.ts";
import { configIn, shortFolder } from "./agent-fixture.ts";

// This process is the whole test: whatever does not say its mode is open to everybody.
process.umask(0);

t.test("store, keys and run files are for their owner alone, whatever the mask", async (t) => {
  const folder = await shortFolder(t);
  const config = await configIn(folder);
  const agent = await Agent.open(config, pino({ level: "silent" }));
  const definition = parseDefinition(
    "{name: web1, memory: 65528KiB, machine: pc-i440fx-7.2, accel: [tcg], args: ['-nic', none], disks: []}",
    join(folder, "web1.yaml"),
  );
  const vm = await agent.define(definition);
  await agent.ownership.write({ ...(await agent.ownership.read("web1")), state: "owned", epoch: 1 });
  const model = await ModelStore.open(folder);
  const memory = firstMemory(model.memoryBytes);
  const first = await model.add(memory);
  await model.compact(await model.add(nextMemory(memory, 1), first));

  const qemu = await launchFresh(config, vm);
  t.teardown(() => qemu.kill());
  const path = join(vm.store.images.path, "root-00000001.qcow2");
  await createImage(qemu.qmp, { path, lengthBytes: 1 << 20, backing: null, bitmap: null });

  const seen = new Set<string>();
  for (const root of [config.store, config.keys, config.run]) {
    for (const name of [".", ...readdirSync(root, { recursive: true, encoding: "utf8" })]) {
      const status = lstatSync(join(root, name));
      seen.add(name);
      t.equal((status.mode & 0o077).toString(8), "0", join(root, name));
    }
  }
  for (const name of [
    "web1/vm.yaml",
    "web1/ownership",
    "web1.key",
    "web1/qemu.json",
    "web1/qemu.log",
    "web1/qemu.pid",
  ])
    t.ok(seen.has(name), name);
  t.ok(seen.has("web1/qemu/qmp.sock"));
  t.ok(seen.has("web1/generations/2/ram.img"));
});
