/** `bfmig agent`: runs a site until it is told to end. VMs go on without it. */

import { Command } from "@commander-js/extra-typings";
import { pino } from "pino";
import { Agent } from "../agent/agent.ts";
import { startControlServer } from "../agent/control-server.ts";
import { findAgain } from "../agent/lifecycle.ts";
import { watchMemory } from "../agent/memory-watch.ts";
import { servePeer } from "../agent/peer-service.ts";
import { readSiteConfig } from "../config/site-config.ts";
import { checkConfinement } from "../qemu/confinement.ts";
import { probeQemu } from "../qemu/probe.ts";
import { lockStore } from "../store/store-lock.ts";
import { type Listener, listen } from "../wan/listener.ts";
import { jsonOption, print, printJson, runCommand } from "./output.ts";

/** The command. */
export function agentCommand(): Command {
  return new Command("agent")
    .description("run a site: its store, its VMs, its end of the WAN")
    .requiredOption("--config <file>", "the site's configuration (YAML)")
    .addOption(jsonOption)
    .action(async (options) => {
      await runCommand(options, async () => {
        // Whatever makes a file or a socket without saying its mode: it is ours alone.
        process.umask(0o077);
        const config = await readSiteConfig(options.config);
        const log = pino({ base: { site: config.site } }, pino.destination({ fd: 2, sync: true }));
        const warning = await checkConfinement(config.qemu);
        if (warning !== null) log.warn(warning);
        const lock = await lockStore(config.store);
        const agent = await Agent.open(config, log);
        const control = await startControlServer(agent);
        try {
          await agent.sweep();
          await findAgain(agent);
          const listener = await listenForPeers(agent);
          agent.background("Looking at memory", () => watchMemory(agent));
          announce(agent, listener, options.json ?? false);
          await untilSignal();
          agent.stop();
          control.close();
          control.closeIdleConnections();
          await listener.close();
          await idle(agent);
        } finally {
          control.close();
          control.closeAllConnections();
          lock.release();
        }
      });
      // QEMU processes outlive the agent, also one that failed to start; what is connected to them must not keep it.
      process.exit();
    }) as unknown as Command;
}

async function listenForPeers(agent: Agent): Promise<Listener> {
  const { config, identity, log } = agent;
  const { host, port } = config.listen;
  const sites = Object.keys(config.peers);
  const listener = await listen({
    host,
    port,
    identity,
    peers: config.peers,
    onPeer: (connection) => {
      agent.peers.met(connection.site);
      void servePeer(agent, connection);
    },
    onRefused: (address, reason) => log.warn({ address, reason }, "refused a connection"),
  });
  for (const site of sites) agent.peers.keep(site);
  // It takes some tenths of a second, for which the first leg would wait. Who needs the answer asks again, and is told.
  probeQemu(config.qemu.binary).catch(() => {});
  return listener;
}

function announce({ config }: Agent, { address }: Listener, json: boolean): void {
  const { site, control, listen } = config;
  if (json) printJson({ event: "ready", site, port: address.port, control });
  else print(`site ${site} listens on ${listen.host}:${address.port}, control socket ${control}`);
}

/** Waits until what was cancelled has ended, at most some seconds. */
async function idle(agent: Agent): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (Date.now() < deadline && agent.list().some((vm) => vm.isBusy)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
}
