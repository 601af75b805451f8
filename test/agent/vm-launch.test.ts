import t from "tap";
import { checkDefinition } from "../../cli/agent/vm-launch.ts";
import { parseDefinition } from "../../cli/config/vm-definition.ts";
import { configIn, shortFolder } from "./agent-fixture.ts";

const definition = (args: string) =>
  parseDefinition(`{name: web1, memory: 64MiB, machine: pc-q35-7.2, args: ${args}}`, "web1.yaml");

t.test("arguments that the sandbox would make fail are refused when a VM is defined", async (t) => {
  const config = await configIn(await shortFolder(t));
  const withSandbox = (sandbox: "auto" | "on" | "off") => ({ ...config, qemu: { ...config.qemu, sandbox } });
  const tap = definition("[-nic, 'tap,ifname=tap0']");
  const refused = {
    name: "OperationError",
    reason: "usage",
    message: /scripts of a tap device.*qemu\.sandbox/,
  };
  await t.rejects(checkDefinition(withSandbox("auto"), tap), refused);
  await t.rejects(checkDefinition(withSandbox("on"), tap), refused);
  await checkDefinition(withSandbox("off"), tap);
  await checkDefinition(withSandbox("on"), definition("[-nic, 'tap,ifname=tap0,script=no,downscript=no']"));
  const own = { ...config, qemu: { ...config.qemu, args: ["-sandbox", "on"] } };
  await t.rejects(checkDefinition(own, definition("[]")), /use qemu\.sandbox of the site's configuration/);
});
