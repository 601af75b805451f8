/** The portable checks under every runtime, from the package as it would be published and from source. */
import { readFileSync } from "node:fs";
import t, { type Test } from "tap";
import * as api from "../../src/index.ts";
import { runPortableChecks } from "../portable/checks.ts";
import { blake3Vectors, streamBytes, streamEvents } from "../portable/published.ts";
import { CHECKS_SCRIPT, installPackage } from "./package-folder.ts";
import { allRuntimes, deno, newestNode } from "./runtimes.ts";

/** Fewer passed checks mean that some were not run. */
const CHECKS_MIN = 20;

function allPassed(t: Test, { passed, failures }: { passed: number; failures: string[] }): void {
  t.strictSame(failures, []);
  t.ok(passed >= CHECKS_MIN, `${passed} checks`);
}

t.test("the checks pass in this process", async (t) => {
  allPassed(t, await runPortableChecks(api));
});

t.test("the package passes the checks in each runtime", async (t) => {
  const folder = t.testdir({});
  installPackage(folder);
  for (const runtime of allRuntimes) {
    t.test(runtime.name, async (t) => allPassed(t, JSON.parse(runtime.run(folder, CHECKS_SCRIPT))));
  }
});

t.test("the sources pass the checks where a runtime reads TypeScript", async (t) => {
  for (const runtime of [deno, newestNode]) {
    t.test(runtime.name, async (t) => {
      allPassed(t, JSON.parse(runtime.run(process.cwd(), "test/portable/from-source.ts")));
    });
  }
});

t.test("the checks notice what is wrong", async (t) => {
  const toHex = (bytes: Uint8Array) => api.toHex(bytes).replace(/^af/, "00");
  const { passed, failures } = await runPortableChecks({ ...api, toHex });
  t.ok(passed > 0);
  t.strictSame(
    failures.map((failure) => failure.split(":")[0]),
    ["BLAKE3 has the published digests, also of pages"],
  );
});

t.test("the vectors of the checks are the published ones", async (t) => {
  const blake3 = readFileSync("test/vectors/blake3.md", "utf8");
  for (const row of blake3Vectors) t.match(blake3, `\n| ${row.join(" | ")} |\n`);
  const stream = readFileSync("test/vectors/qemu-stream.md", "utf8");
  t.match(
    stream,
    `## A whole stream\n\n\`\`\`bytes\n${streamBytes}\`\`\`\n\n\`\`\`events\n${streamEvents}\`\`\`\n`,
  );
});
