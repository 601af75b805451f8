/** A guest that ran without any agent: saved, imported as a new VM, and run by an agent from there. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { stringify } from "yaml";
import { importCommand } from "../../cli/commands/import.ts";
import { bootImage } from "../../cli/demo/guest.ts";
import { GuestConsole } from "../../cli/demo/guest-console.ts";
import { SiteProcess } from "../../cli/demo/site-process.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { makeSiteCertificate } from "../../cli/wan/tls-certificate.ts";
import { launchTestQemu, MEMORY_BYTES, temporaryFolder } from "../qemu/qemu-fixture.ts";
import { endsAs } from "../store/operation-errors.ts";
import { runInTest } from "../verify/command-output.ts";

t.setTimeout(120_000);

const MiB = 1 << 20;

t.test("an imported VM belongs to nobody until it is recovered by force", async (t) => {
  const folder = await temporaryFolder(t);
  const [image, serial, saved] = ["guest.img", "tty", "saved"].map((name) => join(folder, name));
  writeFileSync(image, bootImage({ fillBytes: 4 * MiB, workingSetBytes: MiB, dirtyPagesPerTick: 1 }));
  const args = [
    ...["-drive", `file=${image},format=raw,if=floppy,readonly=on`],
    ...["-serial", `unix:${serial},server=on,wait=off`],
    ...["-nic", "none"],
  ];
  const onConsole = async (what: (guest: GuestConsole) => Promise<void>) => {
    const guest = await GuestConsole.connect(serial);
    try {
      await what(guest);
    } finally {
      guest.close();
    }
  };
  const qemu = await launchTestQemu(t, { extra: args });
  await onConsole((guest) => guest.ready());
  await qemu.qmp.execute("migrate", { uri: `exec:cat > ${saved}` });
  for (let status = ""; status !== "completed"; await sleep(20)) {
    ({ status } = await qemu.qmp.execute<{ status: string }>("query-migrate"));
    if (status === "failed") throw new Error("QEMU could not save the guest");
  }
  await qemu.kill();

  const definition = join(folder, "web1.yaml");
  const memory = `${MEMORY_BYTES / 1024}KiB`;
  writeFileSync(
    definition,
    stringify({ name: "web1", memory, machine: "pc-i440fx-7.2", accel: ["tcg"], args }),
  );
  const store = join(folder, "a", "store");
  const imported = await runInTest(
    t,
    importCommand(),
    ...["--store", store, "--vm", "web1", "--definition", definition, saved],
  );
  t.equal(imported.code, 0, imported.diagnostics);

  const site = await SiteProcess.start({
    name: "a",
    folder: join(folder, "a"),
    socketFolder: join(folder, "run"),
    port: 0,
    certificate: await makeSiteCertificate("a"),
    peers: {},
    arrivals: {},
  });
  t.teardown(() => site.stopWith("web1"));
  const busy = await runInTest(t, importCommand(), "--store", store, "--vm", "web1", saved);
  t.match(
    busy,
    { code: 1, diagnostics: /another agent has it/ },
    "nothing is imported while an agent has the store",
  );
  const recover = (force: boolean) =>
    site.ask("recover", { vm: "web1", generation: null, branch: null, force });
  await t.rejects(recover(false), endsAs("refused"));
  await t.rejects(recover(false), {
    message: /no site is known to own it; .*make sure that web1 runs nowhere else/,
  });
  t.match(await recover(true), { generation: 1, resumed: false });
  await onConsole(async (guest) => {
    await guest.ready();
    await guest.pause();
  });
  t.match(await site.ask("show", { vm: "web1" }), { running: true, ownership: "owned" });
  t.strictSame((await verifyPaths([store])).findings, []);
});
