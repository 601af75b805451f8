/**
 * What a program did to a folder, in the order in which it took effect. Files and folders are nodes with numbers, so
 * that a rename does not change what later operations speak of.
 */

/** A file or folder; 0 is the folder that was watched. */
export type NodeId = number;

/** The watched folder itself: there before anything else, durably. */
export const rootNode: NodeId = 0;

/** Says what the store must hold at this point; not an operation of the file system. */
export interface Mark {
  readonly kind: "mark";
  /** JSON that the watched program wrote. */
  readonly text: string;
}

/** A name in a folder begins to mean a node. */
export interface Enter {
  readonly kind: "enter";
  readonly folder: NodeId;
  readonly name: string;
  readonly node: NodeId;
  readonly isFolder: boolean;
}

/** A name in a folder means nothing any more. */
export interface Leave {
  readonly kind: "leave";
  readonly folder: NodeId;
  readonly name: string;
}

/** A node gets another name in the same folder, in place of what had that name. */
export interface Rename {
  readonly kind: "rename";
  readonly folder: NodeId;
  readonly from: string;
  readonly to: string;
  readonly node: NodeId;
}

/** Bytes of a file change; the file grows if they reach beyond its end. */
export interface Write {
  readonly kind: "write";
  readonly node: NodeId;
  readonly at: number;
  readonly data: Uint8Array;
}

/** A file gets a length. */
export interface Resize {
  readonly kind: "resize";
  readonly node: NodeId;
  readonly size: number;
}

/** `fsync` or `fdatasync` of a node has returned: what had ended before the call with `seq < covers` is durable. */
export interface Sync {
  readonly kind: "sync";
  readonly node: NodeId;
  readonly covers: number;
}

/** What changes names in a folder. */
export type EntryChange = Enter | Leave | Rename;
/** What changes the content of a file. */
export type DataChange = Write | Resize;

/** One operation. */
export type Operation = (EntryChange | DataChange | Sync | Mark) & {
  /** Its number; gaps are allowed. */
  readonly seq: number;
  /** Path in the watched folder, for reading; of a mark empty. */
  readonly path: string;
};

/** The node that must be synced to make an operation durable; null for what is no change. */
export function ownerOf(operation: Operation): NodeId | null {
  if (operation.kind === "write" || operation.kind === "resize") return operation.node;
  if (operation.kind === "enter" || operation.kind === "leave" || operation.kind === "rename") {
    return operation.folder;
  }
  return null;
}

/** True for changes of names. */
export function isEntryChange(operation: Operation): operation is Operation & EntryChange {
  return operation.kind === "enter" || operation.kind === "leave" || operation.kind === "rename";
}

/** The content of a file after changes, which are applied in their order to an empty file. */
export function contentAfter(changes: Iterable<DataChange>): Uint8Array {
  let bytes = new Uint8Array(0);
  let size = 0;
  const grow = (length: number) => {
    if (length > bytes.length) {
      const larger = new Uint8Array(Math.max(length, 2 * bytes.length));
      larger.set(bytes.subarray(0, size));
      bytes = larger;
    }
    size = Math.max(size, length);
  };
  for (const change of changes) {
    if (change.kind === "write") {
      grow(change.at + change.data.length);
      bytes.set(change.data, change.at);
    } else {
      grow(change.size);
      bytes.fill(0, change.size, size);
      size = change.size;
    }
  }
  return bytes.subarray(0, size);
}

/** In words, for reports. */
export function describeOperation(operation: Operation): string {
  const { kind, path, seq } = operation;
  if (kind === "write") {
    return `${seq} write ${path} [${operation.at}, ${operation.at + operation.data.length})`;
  }
  if (kind === "rename") return `${seq} rename ${path} to ${operation.to}`;
  if (kind === "resize") return `${seq} resize ${path} to ${operation.size}`;
  return `${seq} ${kind} ${path}`;
}
