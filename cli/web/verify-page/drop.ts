/** Takes files from a drop or from a file dialogue, folders with all that is in them. */

import type { PathFile } from "./group-files.ts";

/** A folder with more entries than this is not a generation's, and reading it would only take long. */
const maxFiles = 100_000;

/** Calls back when somebody drops something on the page. */
export function onDrop(
  target: HTMLElement,
  take: (files: PathFile<File>[]) => void,
  fail: (error: unknown) => void,
): void {
  let depth = 0;
  const mark = (change: number) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    target.classList.toggle("over", depth > 0);
  };
  addEventListener("dragenter", (event) => {
    event.preventDefault();
    mark(1);
  });
  addEventListener("dragleave", () => mark(-1));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    if (event.dataTransfer !== null) event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(0);
    if (event.dataTransfer !== null) filesOfDrop(event.dataTransfer).then(take, fail);
  });
}

/** The files that were chosen in a dialogue; a chosen folder gives paths from that folder on. */
export function filesOfInput(input: HTMLInputElement): PathFile<File>[] {
  return [...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** The entries must be asked for before the first wait: the drop's data is gone after it. */
async function filesOfDrop(data: DataTransfer): Promise<PathFile<File>[]> {
  const files: PathFile<File>[] = [];
  const entries: FileSystemEntry[] = [];
  for (const item of data.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry();
    const file = entry === null ? item.getAsFile() : null;
    if (entry !== null) entries.push(entry);
    if (file !== null) files.push({ path: file.name, file });
  }
  for (const entry of entries) await addEntry(files, entry);
  return files;
}

async function addEntry(files: PathFile<File>[], entry: FileSystemEntry): Promise<void> {
  if (files.length >= maxFiles) throw new Error(`Drop less at a time: there are more than ${maxFiles} files`);
  if (isFile(entry)) {
    const file = await new Promise<File>((resolve, reject) => entry.file(resolve, reject));
    files.push({ path: entry.fullPath.replace(/^\//, ""), file });
  } else if (isFolder(entry)) {
    const reader = entry.createReader();
    for (;;) {
      // A browser gives the entries of a folder in parts; an empty part is the end.
      const part = await new Promise<FileSystemEntry[]>((resolve, reject) =>
        reader.readEntries(resolve, reject),
      );
      if (part.length === 0) return;
      for (const one of part) await addEntry(files, one);
    }
  }
}

function isFile(entry: FileSystemEntry): entry is FileSystemFileEntry {
  return entry.isFile;
}

function isFolder(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}
