/** A QMP server that says what a test wants. */

import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { type Teardown, temporaryFolder } from "./qemu-fixture.ts";

const GREETING = `${JSON.stringify({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 1 } }, capabilities: [] } })}\r\n`;

/** Greets, answers qmp_capabilities and hands every other line to `serve`; resolves to its path. */
export async function fakeQmpServer(
  test: Teardown,
  serve: (line: string, socket: Socket) => void,
  greeting = GREETING,
) {
  const path = join(await temporaryFolder(test), "q");
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(greeting);
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const { execute, id } = JSON.parse(line);
        if (execute === "qmp_capabilities") socket.write(`${JSON.stringify({ return: {}, id })}\n`);
        else serve(line, socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  test.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return path;
}

/** The id of a command. */
export const idOf = (line: string): number => JSON.parse(line).id;
