/**
 * What a folder may hold after a power loss.
 *
 * The rules are the least that POSIX promises with `fsync`, read as pessimistically as file systems such as ext4 and XFS
 * allow between two of their journal's commits:
 *
 * - A change of a file (data, length) is durable once an `fsync` or `fdatasync` of that file, which began after the change
 *   had ended, has returned. Until then any subset of the changes may have reached the disk, in any order: none, some, all;
 *   of a write perhaps only the length, with zeroes for data, or some of its sectors.
 * - A change of a name (create, rename, unlink, mkdir, rmdir) is durable once the folder that has the name was synced in
 *   the same way. Until then any subset may have reached the disk. A rename is atomic: all of it or nothing.
 * - Syncing a file says nothing about its name, and syncing a folder nothing about the folder's own name in the one above.
 * - What is durable stays. The disk does what it says: its cache is flushed by a sync, and sectors of 512 bytes are atomic.
 *
 * Ordered journals keep more than this. A store that survives these rules does not depend on which file system it is on.
 */

import { createHash } from "node:crypto";
import {
  contentAfter,
  type DataChange,
  type EntryChange,
  isEntryChange,
  type NodeId,
  type Operation,
  ownerOf,
  rootNode,
  type Write,
} from "./operations.ts";

const sectorBytes = 512;

/** What became of a change that was not durable. */
export type Fate = "kept" | "lost" | "length" | "torn";

/** What one state has of the changes that were not durable, by their numbers; others are lost. */
export type Fates = ReadonlyMap<number, Fate>;

/** One file of a state. */
export interface StateFile {
  /** Equal contents have equal keys. */
  readonly key: string;
  readonly content: () => Uint8Array;
}

/** A state after a crash: paths relative to the watched folder; null for a folder. Folders come before what is in them. */
export type State = ReadonlyMap<string, StateFile | null>;

/** A numbered operation that changes something. */
export type Change = Operation & (EntryChange | DataChange);

/** All crashes of one recorded run. */
export class CrashModel {
  readonly operations: readonly Operation[];
  private readonly durableFrom: readonly number[];
  private readonly contents = new Map<string, { digest: string; bytes: Uint8Array }>();

  constructor(operations: readonly Operation[]) {
    this.operations = operations;
    this.durableFrom = operations.map((operation, i) => {
      const owner = ownerOf(operation);
      if (owner === null) return Number.POSITIVE_INFINITY;
      for (let j = i + 1; j < operations.length; j++) {
        const sync = operations[j];
        if (sync.kind === "sync" && sync.node === owner && sync.covers > operation.seq) return j;
      }
      return Number.POSITIVE_INFINITY;
    });
  }

  /** Changes that are not durable when the power fails after the first `count` operations. */
  pending(count: number): Change[] {
    return this.operations.filter(
      (operation, i): operation is Change =>
        i < count && ownerOf(operation) !== null && this.durableFrom[i] >= count,
    );
  }

  /** What is there after a power loss after the first `count` operations; "kept": if everything was kept. */
  state(count: number, fates: Fates | "kept"): State {
    const folders = new Map<NodeId, Map<string, NodeId>>([[rootNode, new Map()]]);
    const changes = new Map<NodeId, { parts: DataChange[]; key: string[] }>();
    for (const [i, operation] of this.operations.slice(0, count).entries()) {
      const owner = ownerOf(operation);
      if (owner === null) continue;
      const isKept = fates === "kept" || this.durableFrom[i] < count;
      const fate = isKept ? "kept" : (fates.get(operation.seq) ?? "lost");
      if (isEntryChange(operation)) {
        if (operation.kind === "enter" && operation.isFolder) folders.set(operation.node, new Map());
        if (fate !== "lost") applyEntry(entriesOf(folders, owner), operation);
      } else if (fate !== "lost") {
        const file = changes.get(owner) ?? { parts: [], key: [] };
        changes.set(owner, file);
        file.parts.push(...partsOf(operation as Change & DataChange, fate));
        file.key.push(`${operation.seq}${fate}`);
      }
    }
    const state = new Map<string, StateFile | null>();
    const walk = (folder: NodeId, path: string) => {
      for (const [name, node] of [...entriesOf(folders, folder)].sort(([a], [b]) => (a < b ? -1 : 1))) {
        const at = path === "" ? name : `${path}/${name}`;
        if (folders.has(node)) {
          state.set(at, null);
          walk(node, at);
        } else state.set(at, this.file(changes.get(node) ?? { parts: [], key: [] }, node));
      }
    };
    walk(rootNode, "");
    return state;
  }

  private file({ parts, key }: { parts: DataChange[]; key: string[] }, node: NodeId): StateFile {
    const name = `${node}:${key.join()}`;
    let known = this.contents.get(name);
    if (!known) {
      const bytes = contentAfter(parts);
      known = { bytes, digest: createHash("sha256").update(bytes).digest("hex") };
      this.contents.set(name, known);
    }
    const { bytes, digest } = known;
    return { key: digest, content: () => bytes };
  }
}

/**
 * The fates to try for what is pending: all lost; all kept; names without data, with lengths only, or with torn data; data
 * without names; each change alone lost; then all subsets where they are at most `samples`, else that many at random.
 */
export function* fatesOf(
  pending: readonly Change[],
  random: () => number,
  samples: number,
): Generator<Fates> {
  const all = (choose: (change: Change) => Fate): Fates =>
    new Map(pending.map((change) => [change.seq, choose(change)]));
  const data = (fate: Fate) => all((change) => (isEntryChange(change) ? "kept" : fate));
  yield new Map();
  if (pending.length === 0) return;
  yield all(() => "kept");
  yield data("lost");
  yield data("length");
  yield data("torn");
  yield all((change) => (isEntryChange(change) ? "lost" : "kept"));
  if (pending.length <= 16 || 2 ** pending.length <= samples) {
    for (const one of pending) yield all((change) => (change === one ? "lost" : "kept"));
  }
  if (2 ** pending.length <= samples) {
    for (let bits = 0; bits < 2 ** pending.length; bits++) {
      yield new Map(pending.map(({ seq }, i) => [seq, (bits >> i) & 1 ? "kept" : "lost"]));
    }
    return;
  }
  const fates = ["kept", "kept", "lost", "lost", "length", "torn"] as const;
  for (let i = 0; i < samples; i++) {
    yield all((change) => {
      const fate = fates[Math.floor(random() * fates.length)];
      return isEntryChange(change) && (fate === "length" || fate === "torn") ? "kept" : fate;
    });
  }
}

/** Numbers from 0 to 1 that are the same every time. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function entriesOf(folders: Map<NodeId, Map<string, NodeId>>, folder: NodeId): Map<string, NodeId> {
  const entries = folders.get(folder);
  if (!entries) throw new Error(`node ${folder} is no folder`);
  return entries;
}

function applyEntry(entries: Map<string, NodeId>, change: EntryChange): void {
  if (change.kind === "enter") entries.set(change.name, change.node);
  else if (change.kind === "leave") entries.delete(change.name);
  else {
    // Its old name may never have reached the disk.
    if (entries.get(change.from) === change.node) entries.delete(change.from);
    entries.set(change.to, change.node);
  }
}

/** What a change has done to the content, with a fate other than lost. */
function partsOf(change: Change & DataChange, fate: Fate): DataChange[] {
  if (fate === "kept" || change.kind === "resize") return [change];
  const end = change.at + change.data.length;
  // A file does not get shorter by it: a write of nothing at the end makes it as long as the whole write would.
  const length: Write = { kind: "write", node: change.node, at: end, data: new Uint8Array(0) };
  if (fate === "length") return [length];
  // Every other run of three sectors: neither a beginning, nor an end, nor whole pages.
  const parts: DataChange[] = [length];
  for (let at = change.at; at < end; at = nextSector(at)) {
    const sector = Math.floor(at / sectorBytes);
    if (Math.floor(sector / 3) % 2 === change.seq % 2) continue;
    const data = change.data.subarray(at - change.at, Math.min(nextSector(at), end) - change.at);
    parts.push({ kind: "write", node: change.node, at, data });
  }
  return parts;
}

function nextSector(at: number): number {
  return (Math.floor(at / sectorBytes) + 1) * sectorBytes;
}
