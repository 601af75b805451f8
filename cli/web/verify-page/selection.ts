/** What was dropped so far, and the keys: shows both, and says what can be verified with it. */

import { counted, elementOf, make } from "./element.ts";
import { type Grouped, groupFiles, type PathFile } from "./group-files.ts";
import { maxKeyFileBytes, parseKey } from "./key-text.ts";
import type { Assignment } from "./messages.ts";
import { describeBytes } from "./time-left.ts";

/** Files and keys that the person gave. */
export class Selection {
  private readonly files = new Map<string, File>();
  private grouped: Grouped<File> = groupFiles([]);
  private readonly list = elementOf("selection", HTMLUListElement);
  private readonly keyField = elementOf("key", HTMLTextAreaElement);
  private readonly keyState = elementOf("key-state", HTMLElement);
  private readonly quick = elementOf("quick", HTMLInputElement);

  get isEmpty(): boolean {
    return this.files.size === 0;
  }

  /** What the person must do before it can begin; null if it can. */
  get missing(): string | null {
    const { chains, looseFiles } = this.grouped;
    if (chains.length === 0 && looseFiles.length === 0) return "Drop a generation's files first.";
    const { keys, isWrong } = this.keys();
    if (isWrong) return "Correct the key: it has 64 hexadecimal digits.";
    if (chains.length > 0 && keys.length === 0)
      return "Give the VM's key: pages can only be checked with it.";
    return null;
  }

  /** Adds files; one with the path of an earlier one takes its place. Throws Error if a key file has no key. */
  async add(files: readonly PathFile<File>[]): Promise<void> {
    const { keys } = groupFiles(files);
    await this.addKeys(keys);
    for (const { path, file } of files)
      if (!keys.some((key) => key.file === file)) this.files.set(path, file);
    this.show();
  }

  /** Adds keys from files. Throws Error if one is no key. */
  async addKeys(files: readonly PathFile<File>[]): Promise<void> {
    for (const { path, file } of files) await this.addKey(path, file);
  }

  clear(): void {
    this.files.clear();
    this.show();
  }

  assignment(): Assignment {
    const { chains, looseFiles } = this.grouped;
    return { chains, looseFiles, keys: this.keys().keys, quick: this.quick.checked };
  }

  /** Shows what the key field holds. */
  showKey(): void {
    const { keys, isWrong } = this.keys();
    this.keyField.setAttribute("aria-invalid", String(isWrong));
    this.keyState.textContent = isWrong
      ? "A key has 64 hexadecimal digits."
      : keys.length === 0
        ? ""
        : keys.length === 1
          ? "It has the form of a key."
          : `These are ${keys.length} keys: each VM is verified with the one that fits.`;
  }

  private async addKey(path: string, file: File): Promise<void> {
    if (file.size > maxKeyFileBytes) throw new Error(`Cannot use ${path}: it is too long for a key`);
    const text = (await file.text()).trim();
    if (parseKey(text) === null)
      throw new Error(`Cannot use ${path}: it is not a key of 64 hexadecimal digits`);
    const lines = this.keyField.value.split(/\s+/).filter((line) => line !== "");
    if (!lines.includes(text)) this.keyField.value = [...lines, text].join("\n");
    this.showKey();
  }

  private keys(): { readonly keys: Uint8Array[]; readonly isWrong: boolean } {
    const words = this.keyField.value.split(/\s+/).filter((word) => word !== "");
    const keys = words.map(parseKey).filter((key) => key !== null);
    return { keys, isWrong: keys.length < words.length };
  }

  private show(): void {
    this.grouped = groupFiles([...this.files].map(([path, file]) => ({ path, file })));
    const { chains, looseFiles, ignored } = this.grouped;
    const items = chains.flatMap(({ generations }) =>
      generations.map(({ name, files }) => {
        const bytes = [...files.values()].reduce((sum, { size }) => sum + size, 0);
        const what = `${counted(files.size, "file")}, ${describeBytes(bytes)}`;
        return make("li", {}, make("strong", { text: name || "Files without a folder" }), ` ${what}`);
      }),
    );
    for (const { path, file } of looseFiles) {
      const what = `${describeBytes(file.size)}, by itself: structure and checksums only`;
      items.push(make("li", {}, make("strong", { text: path }), ` ${what}`));
    }
    if (ignored > 0)
      items.push(make("li", { class: "quiet", text: `${counted(ignored, "other file")}, left out` }));
    this.list.replaceChildren(...items);
    this.list.hidden = items.length === 0;
  }
}
