/** A folder as a running program sees it, with all that was ever done to it. */

import {
  contentAfter,
  type DataChange,
  type EntryChange,
  type Mark,
  type NodeId,
  type Operation,
  rootNode,
  type Sync,
} from "./operations.ts";

interface Node {
  /** Null for a file. */
  readonly entries: Map<string, NodeId> | null;
  readonly changes: DataChange[];
  /** Where it was last seen, in the watched folder. */
  path: string;
}

/** Files and folders by paths relative to the watched folder, `a/b`; the folder itself is the empty path. */
export class WatchedTree {
  readonly operations: Operation[] = [];
  private readonly nodes: Node[] = [{ entries: new Map(), changes: [], path: "" }];

  /** The node at a path; null if there is none. */
  find(path: string): NodeId | null {
    let node = rootNode;
    for (const name of path.split("/")) {
      if (name === "") continue;
      const next = this.nodes[node].entries?.get(name);
      if (next === undefined) return null;
      node = next;
    }
    return node;
  }

  /** A new file or empty folder. */
  make(path: string, isFolder: boolean): NodeId {
    const { folder, name, entries } = this.place(path);
    if (entries.has(name)) throw new Error(`${path} is made twice`);
    const node = this.nodes.push({ entries: isFolder ? new Map() : null, changes: [], path }) - 1;
    entries.set(name, node);
    this.add({ kind: "enter", folder, name, node, isFolder }, path);
    return node;
  }

  /** A name goes; what is open stays open. */
  remove(path: string): void {
    const { folder, name, entries } = this.place(path);
    if (!entries.delete(name)) throw new Error(`${path} is removed, but was never made`);
    this.add({ kind: "leave", folder, name }, path);
  }

  /** A node gets another name in its folder. */
  rename(from: string, to: string): void {
    const source = this.place(from);
    const target = this.place(to);
    // Two folders would have to be synced, and what one of them alone makes durable differs between file systems.
    if (source.folder !== target.folder)
      throw new Error("a rename from one folder to another is not modelled");
    const node = source.entries.get(source.name);
    if (node === undefined) throw new Error(`${from} is renamed, but was never made`);
    source.entries.delete(source.name);
    source.entries.set(target.name, node);
    this.add({ kind: "rename", folder: source.folder, from: source.name, to: target.name, node }, from);
    this.nodes[node].path = to;
  }

  write(node: NodeId, at: number, data: Uint8Array): void {
    this.change(node, { kind: "write", node, at, data });
  }

  resize(node: NodeId, size: number): void {
    this.change(node, { kind: "resize", node, size });
  }

  /** `covered`: how many operations had been done when the sync began. */
  sync(node: NodeId, covered: number): void {
    const { path } = this.nodes[node];
    this.add({ kind: "sync", node, covers: (this.operations[covered - 1]?.seq ?? -1) + 1 }, path);
  }

  mark(text: string): void {
    this.add({ kind: "mark", text }, "");
  }

  content(node: NodeId): Uint8Array {
    return contentAfter(this.nodes[node].changes);
  }

  private change(node: NodeId, change: DataChange): void {
    const { entries, changes, path } = this.nodes[node];
    if (entries !== null) throw new Error(`${path} is a folder`);
    changes.push(change);
    this.add(change, path);
  }

  private place(path: string): { folder: NodeId; name: string; entries: Map<string, NodeId> } {
    const slash = path.lastIndexOf("/");
    const folder = this.find(path.slice(0, Math.max(0, slash)));
    const entries = folder === null ? null : this.nodes[folder].entries;
    if (folder === null || !entries || path === "") throw new Error(`${path} has no folder`);
    return { folder, name: path.slice(slash + 1), entries };
  }

  private add(change: EntryChange | DataChange | Sync | Mark, path: string): void {
    this.operations.push({ ...change, seq: this.operations.length, path });
  }
}
