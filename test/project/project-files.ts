/** What tests of the project's own rules share: where the project is and which files it has. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The folder with package.json: tap starts every test there. */
export const projectRoot = process.cwd();

/** What git ignores, as far as these tests need it. */
const IGNORED = new Set([".git", ...readFileSync(".gitignore", "utf8").split("\n").map(trimSlash)]);

/** The names at the top level of the project, folders with a slash at the end. */
export function topLevelEntries(): string[] {
  return readdirSync(projectRoot, { withFileTypes: true })
    .filter((entry) => !IGNORED.has(entry.name))
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name));
}

/** All files of the project under `folder` (default: everywhere), as sorted paths from the project's root. */
export function projectFiles(folder = ""): string[] {
  return readdirSync(join(projectRoot, folder), { withFileTypes: true })
    .filter((entry) => !IGNORED.has(entry.name))
    .flatMap((entry) => {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      return entry.isDirectory() ? projectFiles(path) : [path];
    })
    .sort();
}

function trimSlash(line: string): string {
  return line.replace(/\/$/, "");
}
