import { readFileSync } from "node:fs";
import t from "tap";
import { projectFiles, topLevelEntries } from "./project-files.ts";

const MAXIMUM_LINES = 400;

const TOP_LEVEL = [
  ".ci/",
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  "assembly/",
  "cli/",
  "docs/",
  "package-lock.json",
  "package.json",
  "src/",
  "test/",
  "wasm-build/",
];

const TOOL_CONFIGURATION = [
  ".gitattributes",
  ".gitignore",
  ".taprc",
  "biome.json",
  "knip.json",
  "tsconfig.json",
  "tsconfig.src.json",
  "tsconfig.web.json",
];

t.test("the top level holds the prescribed entries and tool configuration only", async (t) => {
  const entries = topLevelEntries();
  const allowed = [...TOP_LEVEL, ...TOOL_CONFIGURATION];
  t.strictSame(
    entries.filter((entry) => !allowed.includes(entry)),
    [],
    "no other entry",
  );
  t.strictSame(
    TOP_LEVEL.filter((entry) => !entries.includes(entry)),
    [],
    "no entry is missing",
  );
});

t.test(`no file that a person edits is longer than ${MAXIMUM_LINES} lines`, async (t) => {
  const long = projectFiles()
    .filter((path) => !isGenerated(path))
    .map((path) => ({ path, lines: lineCount(path) }))
    .filter(({ lines }) => lines > MAXIMUM_LINES);
  t.strictSame(long, []);
});

t.test("file and folder names of code are kebab-case", async (t) => {
  const kebabCase = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+)*$/;
  const code = ["assembly", "src", "cli", "test", "wasm-build"].flatMap((folder) => projectFiles(folder));
  t.strictSame(
    code.filter((path) => !path.split("/").every((name) => kebabCase.test(name))),
    [],
  );
});

function isGenerated(path: string): boolean {
  return path === "package-lock.json" || path.includes(".generated.") || path.startsWith("test/vectors/");
}

/** The number of lines of a text file; 0 for a binary one. */
function lineCount(path: string): number {
  const content = readFileSync(path);
  return content.includes(0) ? 0 : content.toString("utf8").split("\n").length - 1;
}
