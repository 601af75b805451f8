/** An agent inside the test, with its store and sockets in a folder of its own. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { Test } from "tap";
import { Agent } from "../../cli/agent/agent.ts";
import { acceptField } from "../../cli/config/confinement.ts";
import type { SiteConfig } from "../../cli/config/site-config.ts";

/** A folder with a path that is short enough for Unix sockets, removed after the test. */
export async function shortFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "bfmig-test-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** The configuration of a site in a folder, with its token file. */
export async function configIn(folder: string): Promise<SiteConfig> {
  await writeFile(join(folder, "token"), "a token for this test\n", { mode: 0o600 });
  return {
    site: "a",
    store: join(folder, "store"),
    keys: join(folder, "keys"),
    run: join(folder, "run"),
    control: join(folder, "agent.sock"),
    listen: { host: "127.0.0.1", port: 0 },
    tls: null,
    insecure: true,
    token: { file: join(folder, "token") },
    peers: {},
    qemu: { binary: "qemu-system-x86_64", args: [], sandbox: "auto" },
    accept: acceptField.parse(undefined),
    arrivals: {},
    keep: 2,
  };
}

/** An agent that listens nowhere yet. */
export async function openAgent(t: Test): Promise<Agent> {
  return await Agent.open(await configIn(await shortFolder(t)), pino({ level: "silent" }));
}
