/** `bfmig peer`: whom a site trusts. The changes are in its configuration file. */

import { createInterface } from "node:readline/promises";
import { Command, Option } from "@commander-js/extra-typings";
import { readSiteConfig, type SiteConfig } from "../config/site-config.ts";
import { addPeer, removePeer } from "../config/site-file.ts";
import { OperationError } from "../errors.ts";
import { checkName } from "../store/vm-name.ts";
import { openChannel } from "../wan/channel.ts";
import { readTlsCredentials, type TlsCredentials } from "../wan/tls-credentials.ts";
import { parseFingerprint } from "../wan/tls-fingerprint.ts";
import { peerFingerprint } from "../wan/tls-peer.ts";
import { jsonOption, print, printJson, printTable, runCommand } from "./output.ts";

const answerTimeoutMs = 10_000;

const configOption = new Option("--config <file>", "the site's configuration").makeOptionMandatory();

/** The command. */
export function peerCommand(): Command {
  const peer = new Command("peer").description("say which sites this one trusts, and with which VMs");
  for (const command of [add(), list(), remove()]) peer.addCommand(command.exitOverride());
  return peer as unknown as Command;
}

function add(): Command {
  return new Command("add")
    .description("add a site to the peers: its certificate is pinned by its fingerprint")
    .argument("<name>", "the site's name")
    .requiredOption("--url <url>", "where it listens: wss://HOST:PORT")
    .addOption(configOption)
    .option("--fingerprint <fingerprint>", "of its certificate; else it is asked for, and you are asked")
    .option("--may-send <pattern...>", "VMs that it may send here: names, or patterns with * and ?")
    .option("--may-receive <pattern...>", "VMs that may go from here to it")
    .addOption(jsonOption)
    .action((name, options) =>
      runCommand(options, async () => {
        checkName(name, "the name of a site");
        const config = await readSiteConfig(options.config);
        const fingerprint = await fingerprintFor(name, config, options);
        await addPeer(options.config, name, {
          url: options.url,
          fingerprint,
          maySend: options.maySend ?? [],
          mayReceive: options.mayReceive ?? [],
        });
        if (options.json) printJson({ event: "done", site: config.site, peer: name, fingerprint });
        else {
          print(`added ${name}${fingerprint === null ? "" : ` with the certificate ${fingerprint}`}`);
          tellToRestart(config);
        }
      }),
    ) as unknown as Command;
}

function list(): Command {
  return new Command("list")
    .description("show this site's own fingerprint, and its peers")
    .addOption(configOption)
    .addOption(jsonOption)
    .action((options) =>
      runCommand(options, async () => {
        const config = await readSiteConfig(options.config);
        const own = config.tls && (await readTlsCredentials(config.tls));
        const fingerprint = own?.fingerprint ?? null;
        const peers = Object.entries(config.peers).map(([name, peer]) => ({ name, ...peer }));
        if (options.json) return printJson({ event: "done", site: config.site, fingerprint, peers });
        print(`fingerprint of site ${config.site}: ${fingerprint ?? "none, since it is insecure"}`);
        if (peers.length === 0) return print("no peers");
        printTable(
          ["PEER", "URL", "MAY SEND", "MAY RECEIVE", "FINGERPRINT"],
          peers.map((peer) => [
            peer.name,
            peer.url,
            peer.maySend.join(" ") || "-",
            peer.mayReceive.join(" ") || "-",
            peer.fingerprint ?? "-",
          ]),
        );
      }),
    ) as unknown as Command;
}

function remove(): Command {
  return new Command("remove")
    .description("take a site out of the peers")
    .argument("<name>", "the site's name")
    .addOption(configOption)
    .addOption(jsonOption)
    .action((name, options) =>
      runCommand(options, async () => {
        const config = await readSiteConfig(options.config);
        await removePeer(options.config, name);
        if (options.json) return printJson({ event: "done", site: config.site, peer: name });
        print(`removed ${name}`);
        tellToRestart(config);
      }),
    ) as unknown as Command;
}

function tellToRestart({ site }: SiteConfig): void {
  print(`an agent of site ${site} that runs knows nothing of it yet: restart it; its VMs run on meanwhile`);
}

/** The fingerprint to pin; null if there is none to pin: plain text, or an authority vouches for the peer. */
async function fingerprintFor(
  name: string,
  config: SiteConfig,
  options: { readonly url: string; readonly config: string; readonly fingerprint?: string | undefined },
): Promise<string | null> {
  if (options.fingerprint !== undefined) {
    const fingerprint = parseFingerprint(options.fingerprint);
    if (fingerprint !== null) return fingerprint;
    throw new OperationError(
      "usage",
      `Cannot use ${JSON.stringify(options.fingerprint.slice(0, 200))} as a fingerprint: ` +
        "write SHA256: and 64 hexadecimal digits, or base64",
    );
  }
  if (config.tls === null || config.tls.ca !== null) return null;
  const shown = await fingerprintAt(options.url, await readTlsCredentials(config.tls));
  const question = `${options.url} shows the certificate ${shown}`;
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    throw new OperationError(
      "usage",
      `Cannot add ${name} without your word: ${question}; if 'bfmig peer list' says the same at ${name}, run: ` +
        `bfmig peer add ${name} --url ${options.url} --fingerprint ${shown} --config ${options.config}`,
    );
  }
  print(question);
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const answer = await terminal.question(`Does 'bfmig peer list' say the same at ${name}? yes/no: `);
    if (answer.trim().toLowerCase() === "yes") return shown;
  } finally {
    terminal.close();
  }
  throw new OperationError("refused", `Cannot add ${name}: you did not confirm its fingerprint`);
}

/** What a site that is not trusted yet shows. Nothing is sent to it. */
async function fingerprintAt(url: string, credentials: TlsCredentials): Promise<string> {
  const { tls, transport } = await openChannel(url, credentials, answerTimeoutMs);
  try {
    const shown = tls && peerFingerprint(tls);
    if (shown) return shown;
    throw new OperationError("failed", `Cannot find out the fingerprint of ${url}: it shows no certificate`);
  } finally {
    transport.destroy();
  }
}
