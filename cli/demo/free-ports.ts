/** Ports for agents on loopback, which are known before the agents start and stay theirs while one is restarted. */

import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:net";

/**
 * Below what systems give to outgoing connections by themselves (from 32768 on Linux, from 49152 elsewhere; RFC 6335,
 * section 6), which could take a port at any moment until somebody listens on it.
 */
const portRange = { from: 10_240, to: 32_768 };
const maxTries = 100;

/** Ports on loopback that nobody uses now. Throws Error if none is found. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  const ports: number[] = [];
  let lastError: unknown;
  for (let tries = 0; ports.length < count && tries < maxTries; tries++) {
    const port = randomInt(portRange.from, portRange.to);
    const server = createServer();
    try {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
    } catch (error) {
      lastError = error;
      continue;
    }
    servers.push(server);
    ports.push(port);
  }
  for (const server of servers) {
    server.close();
    await once(server, "close");
  }
  if (ports.length < count) throw lastError;
  return ports;
}
