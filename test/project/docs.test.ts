/** Holds README.md, docs/PROTOCOL.md, docs/ERRORS.md and docs/DEPENDENCIES.md against the code. */

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import t from "tap";
import { agentCommand } from "../../cli/commands/agent.ts";
import { benchCommand } from "../../cli/commands/bench.ts";
import { demoCommand } from "../../cli/commands/demo.ts";
import { diffCommand } from "../../cli/commands/diff.ts";
import { doctorCommand } from "../../cli/commands/doctor.ts";
import { exportCommand } from "../../cli/commands/export.ts";
import { generationCommands } from "../../cli/commands/generations.ts";
import { importCommand } from "../../cli/commands/import.ts";
import { initCommand } from "../../cli/commands/init.ts";
import { inspectCommand } from "../../cli/commands/inspect.ts";
import { migrateCommand } from "../../cli/commands/migrate.ts";
import { pageCommand } from "../../cli/commands/page.ts";
import { peerCommand } from "../../cli/commands/peer.ts";
import { predictCommand } from "../../cli/commands/predict.ts";
import { syncCommand } from "../../cli/commands/sync.ts";
import { verifyCommand } from "../../cli/commands/verify.ts";
import { vmCommands } from "../../cli/commands/vm.ts";
import { ExitCode } from "../../cli/errors.ts";
import {
  destinationTransitions,
  keeperTransitions,
  keepTransitions,
  sourceTransitions,
  type TransitionTable,
} from "../../cli/leg/state-machine.ts";
import { decodeMessage, protocolVersion } from "../../cli/wan/messages.ts";
import { projectFiles } from "./project-files.ts";

const readme = readFileSync("README.md", "utf8");
const protocol = readFileSync("docs/PROTOCOL.md", "utf8");
const errors = readFileSync("docs/ERRORS.md", "utf8");

t.test("README lists the commands of the program with their arguments and options", async (t) => {
  const groups = [peerCommand(), benchCommand()];
  const built = [
    initCommand(),
    ...groups.flatMap(({ commands }) => commands),
    agentCommand(),
    ...vmCommands(),
    migrateCommand(),
    predictCommand(),
    doctorCommand(),
    ...generationCommands(),
    syncCommand(),
    verifyCommand(),
    inspectCommand(),
    pageCommand(),
    diffCommand(),
    exportCommand(),
    importCommand(),
    demoCommand(),
  ];
  const inCode = built.map((command) => ({
    command: [
      ...groups.filter(({ commands }) => commands.includes(command)).map((group) => group.name()),
      command.name(),
      ...command.registeredArguments.map((one) => one.name().toUpperCase() + (one.variadic ? "…" : "")),
    ].join(" "),
    options: command.options.map(({ long }) => long ?? "").sort(),
  }));
  const inReadme = rowsOf(readme, "## Commands", "command").map(([command, , options]) => ({
    command: codeIn(command)[0],
    options: [...new Set(options.match(/--[a-z-]+/g))].sort(),
  }));
  t.strictSame(sorted(inReadme), sorted(inCode));
});

t.test("the program offers the commands that README lists", async (t) => {
  const { stdout } = spawnSync(process.execPath, ["dist/cli/main.js", "--help"], { encoding: "utf8" });
  const offered = [...stdout.matchAll(/^ {2}([a-z]+)(?: (?:\[|<)| {2,}[a-z])/gm)].map(([, name]) => name);
  const listed = rowsOf(readme, "## Commands", "command").map(
    ([command]) => codeIn(command)[0].split(" ")[0],
  );
  t.strictSame(offered.filter((name) => name !== "help").sort(), [...new Set(listed)].sort());
});

t.test("README has the exit codes", async (t) => {
  const rows = rowsOf(readme, "## Exit codes", "code").map(([code, name]) => [codeIn(name)[0], Number(code)]);
  t.strictSame(Object.fromEntries(rows), ExitCode);
});

t.test("PROTOCOL has every message, and no other", async (t) => {
  const source = readFileSync("cli/wan/messages.ts", "utf8");
  const inCode = [...source.matchAll(/type: z\.literal\("([a-z]+)"\)/g)].map(([, type]) => type);
  const inDoc = rowsOf(protocol, "## Messages", "message").map(([message]) => codeIn(message)[0]);
  t.strictSame([...inDoc].sort(), inCode.sort());
  for (const type of inDoc) {
    // A type that is known fails for its fields, or not at all.
    t.doesNotThrow(() => {
      try {
        decodeMessage(JSON.stringify({ type }));
      } catch (error) {
        if (String(error).includes("message: type:")) throw error;
      }
    }, type);
  }
});

t.test("PROTOCOL has the fields of each message", async (t) => {
  const source = readFileSync("cli/wan/messages.ts", "utf8");
  const schemas = source.slice(source.indexOf("const messageSchemas"), source.indexOf("const anyMessage"));
  const rows = new Map(rowsOf(protocol, "## Messages", "message").map(([name, , fields]) => [name, fields]));
  for (const [, type, body] of schemas.matchAll(/^ {2}([a-z]+): z\.strictObject\(\{([\s\S]*?)\}\),$/gm)) {
    const fields = [...body.matchAll(/([a-zA-Z]+): (?:z|name|hex32|generationId|travellingDefinition)\b/g)]
      .map(([, field]) => field)
      .filter((field) => field !== "type");
    const text = rows.get(`\`${type}\``) ?? "";
    t.strictSame(
      fields.filter((field) => !codeIn(text).includes(field)),
      [],
      `${type} lacks no field`,
    );
  }
});

t.test("PROTOCOL names the version of the protocol", async (t) => {
  t.match(protocol, `Version ${protocolVersion}.`);
  t.match(protocol, `\`protocol\` is ${protocolVersion}.`);
});

t.test("PROTOCOL has both state tables", async (t) => {
  const section = sectionOf(protocol, "## States");
  const [source, destination] = section.split("Destination (");
  t.strictSame(transitionsIn(source), plain(sourceTransitions));
  t.strictSame(transitionsIn(destination), plain(destinationTransitions));
});

t.test("CHECKPOINTS has both state tables", async (t) => {
  const section = sectionOf(readFileSync("docs/CHECKPOINTS.md", "utf8"), "## States");
  const [source, destination] = section.split("Destination (");
  t.strictSame(transitionsIn(source), plain(keepTransitions));
  t.strictSame(transitionsIn(destination), plain(keeperTransitions));
});

t.test("messages that ERRORS explains are in the code", async (t) => {
  const code = ["cli", "src"]
    .flatMap((folder) => projectFiles(folder))
    .filter((path) => path.endsWith(".ts"))
    .map((path) => readFileSync(path, "utf8"))
    .join("\n");
  const explained = rowsOf(errors, "## Errors and what to do", "message begins").flatMap(([first]) =>
    codeIn(first),
  );
  t.ok(explained.length > 0, "there are some");
  t.strictSame(
    explained.filter((part) => !code.includes(part)),
    [],
  );
});

t.test("DEPENDENCIES says of each dependency why it is there, and of no other", async (t) => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
  const text = readFileSync("docs/DEPENDENCIES.md", "utf8");
  const listed = text
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .flatMap((line) => codeIn(line.split("|")[1]));
  t.strictSame(listed.sort(), [...Object.keys(dependencies), ...Object.keys(devDependencies)].sort());
});

t.test("links between documents lead somewhere", async (t) => {
  const documents = [
    "README.md",
    "CHANGELOG.md",
    ...projectFiles("docs").filter((path) => path.endsWith(".md")),
  ];
  const broken = documents.flatMap((path) => {
    const links = [...readFileSync(path, "utf8").matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link);
    return links
      .filter((link) => !/^https?:/.test(link) && !leadsSomewhere(path, link))
      .map((link) => `${path}: ${link}`);
  });
  t.strictSame(broken, []);
});

function leadsSomewhere(from: string, link: string): boolean {
  const [file, anchor] = link.split("#");
  const target = file === "" ? from : posix.join(posix.dirname(from), file);
  if (!existsSync(target)) return false;
  if (anchor === undefined) return true;
  const headings = readFileSync(target, "utf8").match(/^#+ .*$/gm) ?? [];
  return headings.some((heading) => slugOf(heading) === anchor);
}

/** The anchor that GitHub gives a heading. */
function slugOf(heading: string): string {
  return heading
    .replace(/^#+ /, "")
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

/** A document from a heading to the next one of the same level. */
function sectionOf(document: string, heading: string): string {
  const from = document.indexOf(`\n${heading}\n`);
  if (from < 0) throw new Error(`There is no section ${heading}`);
  const level = heading.slice(0, heading.indexOf(" ") + 1);
  const end = document.indexOf(`\n${level}`, from + heading.length);
  return document.slice(from, end < 0 ? undefined : end);
}

/** The cells of the rows under the table head that begins with `first`, in a section. */
function rowsOf(document: string, heading: string, first: string): string[][] {
  const lines = sectionOf(document, heading).split("\n");
  const head = lines.findIndex((line) => line.startsWith(`| ${first} |`));
  if (head < 0) throw new Error(`There is no table ${first} in ${heading}`);
  const rows: string[][] = [];
  for (const line of lines.slice(head + 2)) {
    if (!line.startsWith("|")) break;
    rows.push(
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  }
  return rows;
}

function codeIn(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code.trim());
}

function transitionsIn(text: string): Record<string, string[]> {
  const rows = text.split("\n").filter((line) => line.startsWith("| `"));
  return Object.fromEntries(
    rows.map((row) => {
      const cells = row.split("|");
      return [codeIn(cells[1])[0], codeIn(cells[3])];
    }),
  );
}

function plain<State extends string>(table: TransitionTable<State>): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries<readonly string[]>(table).map(([state, next]) => [state, [...next]]),
  );
}

function sorted<T extends { readonly command: string | undefined }>(rows: readonly T[]): T[] {
  return [...rows].sort((a, b) => ((a.command ?? "") < (b.command ?? "") ? -1 : 1));
}
