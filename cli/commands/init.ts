/** `bfmig init`: makes what a new site needs: a configuration, a key and a certificate. */

import { mkdir, open, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Command } from "@commander-js/extra-typings";
import { parseSiteConfig } from "../config/site-config.ts";
import { newSiteFile } from "../config/site-file.ts";
import { messageOf, OperationError } from "../errors.ts";
import { syncDirectory } from "../store/atomic-file.ts";
import { checkName } from "../store/vm-name.ts";
import { makeSiteCertificate } from "../wan/tls-certificate.ts";
import { jsonOption, print, printJson, runCommand } from "./output.ts";

/** The command. */
export function initCommand(): Command {
  return new Command("init")
    .description("make the configuration, the key and the certificate of a new site")
    .requiredOption("--site <name>", "its name")
    .requiredOption("--listen <host:port>", "where it will listen for peers, such as 0.0.0.0:7070")
    .option("--dir <folder>", "where to put them", ".")
    .addOption(jsonOption)
    .action((options) =>
      runCommand(options, async () => {
        const site = checkName(options.site, "the name of a site");
        const config = join(resolve(options.dir), "site.yaml");
        const text = newSiteFile(site, options.listen);
        parseSiteConfig(text, config);
        const { cert, key, fingerprint } = await makeSiteCertificate(site);
        await writeNew(resolve(options.dir), [
          { name: "site.key", content: key, mode: 0o600 },
          { name: "site.crt", content: cert, mode: 0o644 },
          { name: "site.yaml", content: text, mode: 0o600 },
        ]);
        if (options.json) return printJson({ event: "done", site, config, fingerprint });
        print(`made ${config}, with site.key and site.crt beside it`);
        print(`fingerprint of site ${site}: ${fingerprint}`);
        print(`next, here: bfmig peer add NAME --url wss://HOST:PORT --config ${config}`);
      }),
    ) as unknown as Command;
}

/** A file to be made. */
interface NewFile {
  readonly name: string;
  readonly content: string;
  readonly mode: number;
}

/** Makes all of the files or none, durably. Throws OperationError "usage" if one of them is there already. */
async function writeNew(folder: string, files: readonly NewFile[]): Promise<void> {
  const made: string[] = [];
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const { name, content, mode } of files) {
      const path = join(folder, name);
      const file = await open(path, "wx", mode);
      made.push(path);
      try {
        await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    await syncDirectory(folder);
  } catch (error) {
    for (const path of made) await rm(path, { force: true });
    if ((error as NodeJS.ErrnoException).code === "EEXIST") {
      throw new OperationError(
        "usage",
        `Cannot make a site in ${folder}: ${messageOf(error)}; nothing was changed; take another folder with --dir`,
      );
    }
    throw new OperationError("failed", `Cannot make a site in ${folder}: ${messageOf(error)}`);
  }
}
