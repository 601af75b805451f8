/** Two ends of a real connection over loopback, past the handshake. */

import type { Test } from "tap";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { dial } from "../../cli/wan/handshake.ts";
import { listen } from "../../cli/wan/listener.ts";
import { makeIdentity, trustIn } from "./identities.ts";

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
  const [a, b] = [await makeIdentity("a"), await makeIdentity("b")];
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    identity: b,
    peers: { a: trustIn(a) },
    onPeer,
    onRefused: () => {},
  });
  t.teardown(() => listener.close());
  const next = () =>
    new Promise<PeerConnection>((resolve) => {
      const connection = arrived.shift();
      if (connection) resolve(connection);
      else waiting.push(resolve);
    });
  return {
    connect: async () => {
      const address = { url: `wss://127.0.0.1:${listener.address.port}`, ...trustIn(b) };
      const [toB, fromA] = await Promise.all([dial("b", address, a), next()]);
      return { a: toB, b: fromA };
    },
  };
}

/** One connection for a test. */
export async function connectionPair(t: Test): Promise<{ a: PeerConnection; b: PeerConnection }> {
  return await (await listeningPeer(t)).connect();
}
