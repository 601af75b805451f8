import { readdirSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that holds package.json. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** The compiler's output folder. */
export const outputFolder = join(root, "dist");

/** The sources of the page that verifies in a browser, from the project's root; the compiler leaves them to a bundler. */
export const pageFolder = "cli/web/verify-page";

/** The entry point of an installed development tool, to be started with Node. */
export function toolEntry(packageName, path) {
  return join(root, "node_modules", packageName, path);
}

/** All files under `folder`, sorted, as paths relative to `base` with forward slashes; none if it is missing. */
export function filesUnder(folder, base = folder) {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
  return entries
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? filesUnder(path, base) : [relative(base, path).split(sep).join("/")];
    })
    .sort();
}
