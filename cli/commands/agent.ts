/** `bfmig agent`: runs a site until it is told to end. VMs go on without it. */

import { Command } from "@commander-js/extra-typings";
import { pino } from "pino";
import { Agent } from "../agent/agent.ts";
import { startControlServer } from "../agent/control-server.ts";
import { findAgain } from "../agent/lifecycle.ts";
import { servePeer } from "../agent/peer-service.ts";
import { readSiteConfig } from "../config/site-config.ts";
import { listen } from "../wan/handshake.ts";
import { jsonOption, print, printJson, runCommand } from "./output.ts";

/** The command. */
export function agentCommand(): Command {
  return new Command("agent")
    .description("run a site: its store, its VMs, its end of the WAN")
    .requiredOption("--config <file>", "the site's configuration (YAML)")
    .addOption(jsonOption)
    .action((options) =>
      runCommand(options, async () => {
        const config = await readSiteConfig(options.config);
        const log = pino({ base: { site: config.site } }, pino.destination({ fd: 2, sync: true }));
        const agent = await Agent.open(config, log);
        const control = await startControlServer(agent);
        await findAgain(agent);
        const { host, port } = config.listen;
        const listener = await listen(
          host,
          port,
          agent.identity,
          new Set(Object.keys(config.peers)),
          (connection) => void servePeer(agent, connection),
          (address, reason) => log.warn({ address, reason }, "refused a connection"),
        );
        for (const site of Object.keys(config.peers)) agent.peers.keep(site);
        const ready = {
          event: "ready",
          site: config.site,
          port: listener.address.port,
          control: config.control,
        };
        if (options.json) printJson(ready);
        else
          print(
            `site ${config.site} listens on ${host}:${listener.address.port}, control socket ${config.control}`,
          );
        await untilSignal();
        agent.stop();
        control.close();
        control.closeIdleConnections();
        await listener.close();
        await idle(agent);
        control.closeAllConnections();
        // QEMU processes outlive the agent; nothing else is worth waiting for.
        process.exit(0);
      }),
    ) as unknown as Command;
}

/** Waits until what was cancelled has ended, at most some seconds. */
async function idle(agent: Agent): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (Date.now() < deadline && agent.list().some((vm) => vm.activity !== null)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
}
