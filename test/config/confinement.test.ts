import t from "tap";
import { z } from "zod";
import { acceptField, confinementFields } from "../../cli/config/confinement.ts";
import { parseYaml } from "../../cli/config/yaml-file.ts";

const schema = z.strictObject({ accept: acceptField, qemu: z.strictObject(confinementFields).prefault({}) });
const read = (text: string) => parseYaml(text, "site.yaml", schema);
const refused = (message: RegExp) => ({ name: "OperationError", reason: "usage", message });

t.test("what is left out has a safe default", async (t) => {
  t.strictSame(read("{}"), {
    accept: {
      machines: ["pc-i440fx-*", "pc-q35-*"],
      cpus: ["*"],
      maxMemory: null,
      maxDisks: 32,
      maxDiskSize: 2 ** 44,
      buses: ["virtio-blk", "virtio-scsi"],
      accelerators: ["kvm", "tcg"],
      overcommit: false,
    },
    qemu: { sandbox: "auto" },
  });
});

t.test("each field can be given, sizes with units", async (t) => {
  const { accept, qemu } = read(`
accept:
  machines: [pc-q35-7.2]
  cpus: [Skylake-*, +aes]
  maxMemory: 4GiB
  maxDisks: 0
  maxDiskSize: 1TiB
  buses: []
  accelerators: [kvm]
  overcommit: true
qemu: {sandbox: on, user: bfmig-qemu}
`);
  t.match(accept, { machines: ["pc-q35-7.2"], cpus: ["Skylake-*", "+aes"], maxDisks: 0, overcommit: true });
  t.equal(accept.maxMemory, 2 ** 32);
  t.equal(accept.maxDiskSize, 2 ** 40);
  t.strictSame(accept.buses, []);
  t.strictSame(qemu, { sandbox: "on", user: "bfmig-qemu" });
});

t.test("what makes no sense is refused with its line", async (t) => {
  t.throws(
    () => read("accept:\n  machines: ['pc,accel=kvm']"),
    refused(/site\.yaml:2: accept\.machines\.0: write/),
  );
  t.throws(() => read("accept: {cpus: [-aes]}"), refused(/accept\.cpus\.0: write/));
  t.throws(() => read("accept: {maxMemory: much}"), refused(/accept\.maxMemory/));
  t.throws(() => read("accept: {maxDisks: 33}"), refused(/accept\.maxDisks/));
  t.throws(() => read("accept: {args: []}"), refused(/args/));
  t.throws(() => read("qemu: {sandbox: yes}"), refused(/qemu\.sandbox/));
  t.throws(() => read("qemu: {user: '--reuid=0'}"), refused(/qemu\.user: write the name of a user/));
});
