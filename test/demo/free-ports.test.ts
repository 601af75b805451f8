import { once } from "node:events";
import { createServer } from "node:net";
import t from "tap";
import { freePorts } from "../../cli/demo/free-ports.ts";

t.test(
  "free ports are distinct, can be listened on, and are none that a connection gets by itself",
  async (t) => {
    const ports = await freePorts(20);
    t.equal(new Set(ports).size, 20);
    for (const port of ports) {
      t.ok(port >= 10_240 && port < 32_768, `${port}`);
      const server = createServer().listen(port, "127.0.0.1");
      await once(server, "listening");
      server.close();
    }
  },
);
