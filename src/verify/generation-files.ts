/** The files of a generation, wherever they are. */

import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { decodeManifest, type Manifest, maxManifestBytes } from "../generation/manifest.ts";
import { type RandomAccess, readFully, SourceError } from "./random-access.ts";

/** A file in a generation's folder. */
export interface FileEntry {
  readonly sizeBytes: number;
  /** Why it is not read ("it is a symbolic link and was not followed"); null if it can be. */
  readonly obstacle: string | null;
}

/** A file that is open. */
export type OpenedFile = RandomAccess & { close(): void };

/** The folder of a generation, as a verifier gets at it. */
export interface GenerationFiles {
  /** Its name in findings. */
  readonly path: string;
  /** All that is in it. Looks into no file. */
  list(): ReadonlyMap<string, FileEntry>;
  /** Opens one of the files, whose entry has no obstacle. Close it. */
  open(name: string): OpenedFile;
}

/** A generation to be verified: what its folder has. */
export interface GenerationInput {
  /** Name of its folder, for findings' paths. */
  readonly name: string;
  /** `manifest.json`, `ram.img`, `digests`, `device` and, on a base, `delta`. */
  readonly files: ReadonlyMap<string, RandomAccess>;
}

/** The files that somebody else has opened, and closes. */
export function filesOfInput({ name, files }: GenerationInput): GenerationFiles {
  const entries = [...files].map(
    ([file, { sizeBytes }]) => [file, { sizeBytes, obstacle: null }] satisfies [string, FileEntry],
  );
  return {
    path: name,
    list: () => new Map(entries),
    open: (file) => {
      const input = files.get(file);
      if (input === undefined) throw new SourceError("the file is missing");
      const { readSync } = input;
      return {
        // A hasher may know a source of its own by more than what is read here.
        ...input,
        sizeBytes: input.sizeBytes,
        read: (target, at) => input.read(target, at),
        ...(readSync && { readSync: (target: Uint8Array, at: number) => readSync.call(input, target, at) }),
        close: () => {},
      };
    },
  };
}

/** Path of a file, for findings. */
export function pathIn(files: GenerationFiles, name: string): string {
  return `${files.path}/${name}`;
}

/** Opens a file, runs `use`, closes it. Throws SourceError if it cannot be opened. */
export async function withInput<T>(
  files: GenerationFiles,
  name: string,
  use: (input: RandomAccess) => Promise<T>,
): Promise<T> {
  const input = openInput(files, name);
  try {
    return await use(input);
  } finally {
    input.close();
  }
}

/** Opens a file. Throws FormatError or SourceError. */
export function openInput(files: GenerationFiles, name: string): OpenedFile {
  try {
    return files.open(name);
  } catch (cause) {
    if (cause instanceof FormatError || cause instanceof SourceError) throw cause;
    throw new SourceError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Reads the manifest. Throws FormatError or SourceError. */
export async function readManifestOf(core: Core, files: GenerationFiles): Promise<Manifest> {
  return await withInput(files, "manifest.json", (input) => readManifestFrom(core, input));
}

/** Reads a manifest from its file. Throws FormatError or SourceError. */
export async function readManifestFrom(core: Core, input: RandomAccess): Promise<Manifest> {
  if (input.sizeBytes > maxManifestBytes) {
    throw new FormatError("bad-length", `it has ${input.sizeBytes} bytes, too many`);
  }
  const bytes = new Uint8Array(input.sizeBytes);
  await readFully(input, bytes, 0);
  return decodeManifest(core, bytes);
}
