import { chmod, mkdir, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import {
  checkSocketPath,
  MAX_SOCKET_PATH_BYTES,
  makePrivateFolder,
  preparePrivateSocket,
} from "../../cli/qemu/unix-socket.ts";
import { temporaryFolder } from "./qemu-fixture.ts";

t.test("a path is as long as the kernel takes it, counted in bytes", async (t) => {
  checkSocketPath("x".repeat(MAX_SOCKET_PATH_BYTES));
  t.throws(() => checkSocketPath("x".repeat(MAX_SOCKET_PATH_BYTES + 1)), {
    name: "OperationError",
    message: /108 bytes/,
  });
  t.throws(() => checkSocketPath("ä".repeat(54)), { name: "OperationError", message: /108 bytes/ });
});

t.test("a socket's folder is made for us alone, and a shared one is refused", async (t) => {
  const folder = await temporaryFolder(t);
  await preparePrivateSocket(join(folder, "new", "s"));
  t.equal((await stat(join(folder, "new"))).mode & 0o777, 0o700);
  await mkdir(join(folder, "shared"));
  await chmod(join(folder, "shared"), 0o750);
  const refusal = { name: "OperationError", message: /others may enter this folder; set its mode to 0700/ };
  await t.rejects(makePrivateFolder(join(folder, "shared")), refusal);
  await symlink(join(folder, "new"), join(folder, "link"));
  await t.rejects(makePrivateFolder(join(folder, "link")), refusal, "nor a link that somebody may turn");
});
