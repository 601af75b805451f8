/**
 * Sorts dropped files: which make a generation, which stand by themselves, which are keys.
 *
 *   web1/generations/2/delta   ->  generation "web1/generations/2", in the chain "web1/generations"
 *   manifest.json, ram.img, …  ->  one generation, if they were dropped without a folder
 *   delta                      ->  a loose file
 *   web1.key                   ->  a key
 */

/** A file with its path as it was dropped, parts divided by `/`. */
export interface PathFile<Content> {
  readonly path: string;
  readonly file: Content;
}

/** Files of one generation. */
export interface GenerationFolder<Content> {
  /** Path of the folder; empty for files that were dropped without one. */
  readonly name: string;
  readonly files: ReadonlyMap<string, Content>;
}

/** Generations whose folders lie in the same folder: those of one VM, or its branches. */
export interface Chain<Content> {
  /** Path of that folder; may be empty. */
  readonly name: string;
  /** In the order of their folders' names, numbers by value. */
  readonly generations: readonly GenerationFolder<Content>[];
}

/** What was dropped. */
export interface Grouped<Content> {
  readonly chains: readonly Chain<Content>[];
  readonly looseFiles: readonly PathFile<Content>[];
  readonly keys: readonly PathFile<Content>[];
  /** Files that have no part in a verification. */
  readonly ignored: number;
}

const generationFiles: readonly string[] = ["manifest.json", "ram.img", "digests", "device", "delta"];
/** What can be checked without the rest of its generation. */
const looseNames: readonly string[] = ["manifest.json", "device", "delta"];

/** Sorts files. What never was a complete generation (`.partial-…`) is ignored. */
export function groupFiles<Content>(dropped: readonly PathFile<Content>[]): Grouped<Content> {
  const folders = new Map<string, Map<string, Content>>();
  const keys: PathFile<Content>[] = [];
  const others: PathFile<Content>[] = [];
  for (const one of dropped) {
    const { folder, name } = splitPath(one.path);
    if (name.endsWith(".key")) keys.push(one);
    else if (!generationFiles.includes(name) || one.path.includes(".partial-")) others.push(one);
    else folders.set(folder, (folders.get(folder) ?? new Map<string, Content>()).set(name, one.file));
  }
  const looseFiles: PathFile<Content>[] = [];
  const chains = new Map<string, GenerationFolder<Content>[]>();
  let ignored = 0;
  for (const [name, files] of folders) {
    if (isGeneration(name, files)) {
      const { folder } = splitPath(name);
      chains.set(folder, [...(chains.get(folder) ?? []), { name, files }]);
      continue;
    }
    for (const [fileName, file] of files) {
      if (looseNames.includes(fileName)) looseFiles.push({ path: join(name, fileName), file });
      else ignored++;
    }
  }
  // A file with a name of its own, dropped without a folder, is there because it shall be looked at.
  for (const other of others) {
    if (other.path.includes("/")) ignored++;
    else looseFiles.push(other);
  }
  const sorted = [...chains].map(([name, generations]) => ({
    name,
    generations: generations.sort((a, b) => compareNumbered(a.name, b.name)),
  }));
  sorted.sort((a, b) => compareNumbered(a.name, b.name));
  return { chains: sorted, looseFiles, keys, ignored };
}

/** A folder is one with a manifest, or with a part that means nothing by itself; files without a folder need two. */
function isGeneration(folder: string, files: ReadonlyMap<string, unknown>): boolean {
  const needsOthers = files.has("ram.img") || files.has("digests");
  if (folder === "") return files.has("manifest.json") ? files.size > 1 : needsOthers && files.size > 2;
  return files.has("manifest.json") || needsOthers;
}

function splitPath(path: string): { readonly folder: string; readonly name: string } {
  const at = path.lastIndexOf("/");
  return { folder: path.slice(0, Math.max(at, 0)), name: path.slice(at + 1) };
}

function join(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

function compareNumbered(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}
