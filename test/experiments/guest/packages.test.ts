import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { fetchGuestPackages } from "../../../cli/experiments/guest/packages.ts";

/** Runs with a folder of programs and nothing else. */
async function withPrograms<T>(
  programs: Record<string, string>,
  work: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = t.testdir();
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(folder, name), 0o755);
  }
  const path = process.env["PATH"];
  process.env["PATH"] = folder;
  try {
    return await work(folder);
  } finally {
    process.env["PATH"] = path;
  }
}

const kernel = 'echo "  Depends: linux-image-6.1.0-1-amd64"';

t.test("without apt it is said what to do", async (t) => {
  const failure = withPrograms({}, (folder) => fetchGuestPackages(folder, "SOME_VARIABLE"));
  await t.rejects(failure, {
    name: "OperationError",
    reason: "failed",
    message:
      /^Cannot get Debian's packages for the Linux guest: .*apt-cache.*; on a system without apt.*SOME_VARIABLE/,
  });
});

t.test("without a network the reason is in the message", async (t) => {
  const apt = { "apt-cache": kernel, "apt-get": 'echo "E: Could not resolve deb.example" >&2; exit 100' };
  const failure = withPrograms(apt, (folder) => fetchGuestPackages(folder, "SOME_VARIABLE"));
  await t.rejects(failure, { reason: "failed", message: /Could not resolve deb\.example/ });
});

t.test("a package that there is not is named", async (t) => {
  const apt = {
    "apt-cache": `case "$*" in *recurse*) echo other ;; *) ${kernel} ;; esac`,
    "apt-get": "exit 0",
  };
  const failure = withPrograms(apt, (folder) =>
    fetchGuestPackages(folder, "SOME_VARIABLE", { programs: ["redis-server"] }),
  );
  await t.rejects(failure, { reason: "failed", message: /apt knows no package redis-server/ });
});

t.test("an interrupted fetch ends with the signal's reason", async (t) => {
  const signal = AbortSignal.abort(new Error("interrupted"));
  const failure = withPrograms({ "apt-cache": kernel }, (folder) =>
    fetchGuestPackages(folder, "SOME_VARIABLE", { signal }),
  );
  await t.rejects(failure, { message: "interrupted" });
});
