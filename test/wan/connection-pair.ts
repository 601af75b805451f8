/** Two ends of a real connection over loopback, past the handshake. */

import type { Test } from "tap";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { dial, listen } from "../../cli/wan/handshake.ts";

const token = new TextEncoder().encode("the token of both sites");

/** Site b listening, and how site a reaches it. */
export interface PeerB {
  /** A new connection: site a's end and site b's end. */
  connect(): Promise<{ a: PeerConnection; b: PeerConnection }>;
}

/** Starts site b for a test. */
export async function listeningPeer(t: Test): Promise<PeerB> {
  const arrived: PeerConnection[] = [];
  const waiting: ((connection: PeerConnection) => void)[] = [];
  const onPeer = (connection: PeerConnection) => {
    const take = waiting.shift();
    if (take) take(connection);
    else arrived.push(connection);
  };
  const listener = await listen("127.0.0.1", 0, { site: "b", token }, new Set(["a"]), onPeer, () => {});
  t.teardown(() => listener.close());
  const next = () =>
    new Promise<PeerConnection>((resolve) => {
      const connection = arrived.shift();
      if (connection) resolve(connection);
      else waiting.push(resolve);
    });
  return {
    connect: async () => {
      const url = `ws://127.0.0.1:${listener.address.port}`;
      const [a, b] = await Promise.all([dial(url, "b", { site: "a", token }), next()]);
      return { a, b };
    },
  };
}

/** One connection for a test. */
export async function connectionPair(t: Test): Promise<{ a: PeerConnection; b: PeerConnection }> {
  return await (await listeningPeer(t)).connect();
}
