/** A program for link-process.test.ts: forks a link, tells its port, and waits to be killed. */

import { createServer } from "node:net";
import { forkLink } from "../../cli/demo/link-process.ts";

const server = createServer((socket) => {
  socket.on("error", () => {});
});
server.listen(0, "127.0.0.1", async () => {
  const { port } = server.address() as { port: number };
  const link = await forkLink({
    targetHost: "127.0.0.1",
    targetPort: port,
    rateBitsPerSecond: 1e6,
    oneWayDelayMs: 60_000,
  });
  process.send?.(link.port);
});
