/**
 * Turns system calls into operations on a watched folder. It follows descriptors and positions itself, and refuses what
 * it does not know: a call that changes a watched file must not be left out in silence.
 *
 * Left out on purpose: modes, owners and times, on which nothing in a store depends after a power loss, and locks.
 */

import { posix } from "node:path";
import type { NodeId, Operation } from "./operations.ts";
import { bytesOf, type Call, type CallEvent, type Descent, descriptorOf, textOf } from "./strace-output.ts";
import { WatchedTree } from "./watched-tree.ts";

interface OpenFile {
  /** Null outside of the watched folder. */
  readonly node: NodeId | null;
  position: number;
}

interface Entered {
  /** What its descriptor means: that may be something else when the call is left. */
  readonly file: OpenFile | null;
  /** Number of operations before it. */
  readonly covered: number;
}

/** Calls that change nothing that is modelled. */
const harmless = new Set(
  (
    "stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat statfs fstatfs getcwd chdir " +
    "execve fcntl chmod fchmod fchmodat utimensat chown fchown fchownat getxattr lgetxattr inotify_add_watch " +
    "mmap connect bind sync_file_range"
  ).split(" "),
);

/** Calls whose first argument is a descriptor that is worked on. */
const onDescriptor = new Set(
  (
    "write pwrite64 writev pwritev ftruncate fallocate fsync fdatasync lseek close dup dup2 dup3 fcntl ioctl " +
    "copy_file_range sendfile"
  ).split(" "),
);

/** What strace is asked for: all calls with paths, and all that change something through a descriptor. */
export const tracedCalls = [
  ...["%file", "clone", "clone3", "fork", "vfork", "write", "pwrite64", "writev", "pwritev", "pwritev2"],
  ...["ftruncate", "fallocate", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "sendfile"],
  ...[
    "copy_file_range",
    "splice",
    "vmsplice",
    "fchmod",
    "fchown",
    "fsetxattr",
    "ioctl",
    "dup",
    "dup2",
    "dup3",
  ],
  ...["fcntl", "lseek", "close", "mmap", "msync", "io_submit"],
];

/** Follows a traced program, its threads and its children. */
export class TracedFiles {
  private readonly tree = new WatchedTree();
  private readonly root: string;
  private readonly marksPath: string;
  private readonly descents: ReadonlyMap<number, Descent>;
  /** Open files by process and descriptor. */
  private readonly open = new Map<number, Map<number, OpenFile>>();
  private readonly entered = new Map<number, Entered>();

  /** `root` was empty when the program began; `marksPath` is a file outside of it, to which marks are written. */
  constructor(root: string, marksPath: string, descents: ReadonlyMap<number, Descent>) {
    this.root = root;
    this.marksPath = marksPath;
    this.descents = descents;
  }

  get operations(): readonly Operation[] {
    return this.tree.operations;
  }

  /** Takes the next event. Throws Error about a call that it does not understand. */
  take({ moment, call }: CallEvent): void {
    try {
      if (moment === "entered") this.enter(call);
      else this.leave(call);
    } catch (error) {
      const args = call.args.map((argument) => readable(argument).slice(0, 100)).join(", ");
      throw new Error(`Cannot follow ${call.name}(${args}) = ${call.result}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  private enter({ name, args, pid }: Call): void {
    const covered = this.operations.length;
    const file = onDescriptor.has(name) ? this.fileOf(pid, args[0]) : null;
    this.entered.set(pid, { file, covered });
    // From now on another thread may get the same number.
    if (name === "close") this.filesOf(pid).delete(descriptorOf(args[0]).number);
  }

  private leave(call: Call): void {
    const { name, args, pid } = call;
    const entered = this.entered.get(pid) as Entered;
    this.entered.delete(pid);
    const result = call.result ?? "?";
    if (!/^\d/.test(result)) {
      if (/^f(data)?sync$/.test(name) || result.startsWith("?")) throw new Error("it did not succeed");
      return;
    }
    const count = Number.parseInt(result, 10);
    const { file, covered } = entered;
    if (name === "close") return;
    if (name === "openat" || name === "open" || name === "creat") this.opened(call);
    else if (/^dup[23]?$/.test(name) || (name === "fcntl" && args[1].startsWith("F_DUPFD"))) {
      if (file) this.filesOf(pid).set(count, file);
    } else if (name === "mmap") this.mapped(call);
    else if (name === "ioctl") this.controlled(call, file);
    else if (harmless.has(name)) return;
    else if (name === "mkdir") this.tree.make(this.inside(textOf(args[0])), true);
    else if (name === "unlink" || name === "rmdir") this.tree.remove(this.inside(textOf(args[0])));
    else if (name === "unlinkat") this.tree.remove(this.inside(pathOf(args[0], args[1])));
    else if (name === "rename") this.tree.rename(this.inside(textOf(args[0])), this.inside(textOf(args[1])));
    else if (name === "copy_file_range") this.copied(pid, args, [0, 1, 2, 3], count);
    else if (name === "sendfile") this.copied(pid, args, [1, 2, 0, null], count);
    else if (file === null) throw new Error("this call is not known");
    else if (file.node === null) this.outside(call, count);
    else this.onFile(call, file, file.node, count, covered);
  }

  private onFile({ name, args }: Call, file: OpenFile, node: NodeId, count: number, covered: number): void {
    if (name === "lseek") file.position = count;
    else if (name === "fsync" || name === "fdatasync") this.tree.sync(node, covered);
    else if (name === "ftruncate") this.tree.resize(node, Number(args[1]));
    else if (name === "fallocate") this.allocated(node, args);
    else if (name === "write" || name === "writev") {
      this.tree.write(node, file.position, dataOf(args[1]).subarray(0, count));
      file.position += count;
    } else if (name === "pwrite64" || name === "pwritev") {
      this.tree.write(node, Number(args.at(-1)), dataOf(args[1]).subarray(0, count));
    } else throw new Error("this call is not known");
  }

  private outside({ name, args }: Call, count: number): void {
    if (name !== "write" || descriptorOf(args[0]).path !== this.marksPath) return;
    this.tree.mark(Buffer.from(dataOf(args[1]).subarray(0, count)).toString("utf8"));
  }

  private opened({ name, args, pid, result }: Call): void {
    const [path, flags] =
      name === "openat" ? [pathOf(args[0], args[1]), args[2]] : [textOf(args[0]), args[1]];
    const inside = this.isInside(path) ? this.inside(path) : null;
    let node = inside === null ? null : this.tree.find(inside);
    if (inside !== null) {
      if (/O_APPEND|O_TMPFILE/.test(flags)) throw new Error("this way of opening is not modelled");
      if (node === null) {
        if (!flags.includes("O_CREAT")) throw new Error("it was never made");
        node = this.tree.make(inside, false);
      } else if (flags.includes("O_TRUNC") && this.tree.content(node).length > 0) this.tree.resize(node, 0);
    }
    this.filesOf(pid).set(descriptorOf(result ?? "").number, { node, position: 0 });
  }

  private mapped({ args, pid }: Call): void {
    const writes = args[2].includes("PROT_WRITE") && args[3].includes("MAP_SHARED");
    if (writes && args[4] !== "-1" && this.fileOf(pid, args[4])?.node != null) {
      throw new Error("writes through a mapping cannot be seen");
    }
  }

  /** Of the calls to drivers only the one that makes a file share another one's blocks changes anything. */
  private controlled({ args, pid }: Call, file: OpenFile | null): void {
    if (!/FICLONE|DEDUPE/.test(args[1])) return;
    const source = this.filesOf(pid).get(Number(args[2]))?.node ?? null;
    if (!args[1].endsWith("FICLONE") || source === null || file?.node == null) {
      throw new Error("this way of sharing blocks is not modelled");
    }
    this.tree.resize(file.node, 0);
    this.tree.write(file.node, 0, this.tree.content(source));
  }

  private allocated(node: NodeId, [, mode, offset, length]: readonly string[]): void {
    const [at, end] = [Number(offset), Number(offset) + Number(length)];
    const size = this.tree.content(node).length;
    if (/COLLAPSE|INSERT|UNSHARE/.test(mode)) throw new Error("this allocation is not modelled");
    const clears = /PUNCH_HOLE|ZERO_RANGE/.test(mode);
    if (clears && at < size) this.tree.write(node, at, new Uint8Array(Math.min(end, size) - at));
    if (!mode.includes("KEEP_SIZE") && end > size) this.tree.resize(node, end);
  }

  /** `order`: where the arguments have source, its offset, target, its offset. */
  private copied(
    pid: number,
    args: readonly string[],
    [source, from, target, to]: readonly [number, number, number, number | null],
    count: number,
  ): void {
    const read = this.fileOf(pid, args[source]);
    const written = this.fileOf(pid, args[target]);
    if (written?.node == null) return;
    if (read?.node == null) throw new Error("the source was not watched");
    const fromAt = offsetOf(args[from]) ?? read.position;
    const toAt = (to === null ? null : offsetOf(args[to])) ?? written.position;
    this.tree.write(written.node, toAt, this.tree.content(read.node).slice(fromAt, fromAt + count));
    if (offsetOf(args[from]) === null) read.position += count;
    if (to === null || offsetOf(args[to]) === null) written.position += count;
  }

  private fileOf(pid: number, argument: string): OpenFile | null {
    const { number, path } = descriptorOf(argument);
    const file = this.filesOf(pid).get(number);
    if (file) return file;
    if (path !== null && this.isInside(path)) throw new Error(`it is not known how ${path} was opened`);
    // A socket, say, over which a watched path is told.
    return path === null ? null : { node: null, position: 0 };
  }

  /** Open files of the process that a thread belongs to. A child starts with none: what it gets is closed on `execve`. */
  private filesOf(pid: number): Map<number, OpenFile> {
    const descent = this.descents.get(pid);
    if (descent?.sharesFiles) return this.filesOf(descent.parent);
    const files = this.open.get(pid) ?? new Map<number, OpenFile>();
    this.open.set(pid, files);
    return files;
  }

  private isInside(path: string): boolean {
    return path === this.root || path.startsWith(`${this.root}/`);
  }

  private inside(path: string): string {
    const normal = posix.normalize(path);
    if (!this.isInside(normal)) throw new Error(`${path} is not in the watched folder`);
    return posix.relative(this.root, normal);
  }
}

function pathOf(folder: string, path: string): string {
  const text = textOf(path);
  return text.startsWith("/") ? text : posix.join(descriptorOf(folder).path ?? "?", text);
}

/** The bytes of a string, or of a list `[{iov_base="…", iov_len=n}, …]`. */
function dataOf(argument: string): Uint8Array {
  if (argument.startsWith('"')) return bytesOf(argument);
  const parts = [...argument.matchAll(/iov_base=("[^"]*"), iov_len=(\d+)/g)];
  if (parts.length !== argument.split("iov_base").length - 1) throw new Error("its data is not understood");
  return Buffer.concat(
    parts.map(([, text, length]) => {
      const bytes = bytesOf(text);
      if (bytes.length !== Number(length)) throw new Error("its data is cut short");
      return bytes;
    }),
  );
}

function offsetOf(argument: string): number | null {
  return argument === "NULL" ? null : Number.parseInt(argument.replace("[", ""), 10);
}

function readable(argument: string): string {
  return argument.replace(/(\\x[0-9a-f]{2})+/g, (hex) =>
    Buffer.from(hex.replaceAll("\\x", ""), "hex").toString("latin1"),
  );
}
