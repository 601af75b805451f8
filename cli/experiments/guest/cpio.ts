/**
 * Writes cpio archives in the "newc" format, as the kernel unpacks them into its initial RAM file system
 * (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
 *
 *     archive = entry* trailer, filled with zeros to a multiple of 512
 *     entry   = header, name, 0, zeros to a multiple of 4, data, zeros to a multiple of 4
 *     header  = "070701", then 13 numbers of 8 hexadecimal digits each:
 *               ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
 *     trailer = an entry named "TRAILER!!!"
 *
 * `namesize` counts the zero after the name; `check` is 0 in this variant. All belongs to root, all times are 0:
 * the same content gives the same archive.
 */

const FOLDER_MODE = 0o040755;
const PROGRAM_MODE = 0o100755;
const ALIGNMENT = 4;
const ARCHIVE_ALIGNMENT = 512;

/** One file or folder: a path without a slash in front; folders come before what is in them. */
export interface CpioEntry {
  readonly path: string;
  /** Bytes of a file, which is made executable; null for a folder. */
  readonly content: Uint8Array | null;
}

/** Makes an archive. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap(({ path, content }, i) =>
    encodeEntry(i + 1, path, content === null ? FOLDER_MODE : PROGRAM_MODE, content ?? new Uint8Array()),
  );
  parts.push(...encodeEntry(0, "TRAILER!!!", 0, new Uint8Array()));
  return padded(Buffer.concat(parts), ARCHIVE_ALIGNMENT);
}

function encodeEntry(ino: number, path: string, mode: number, content: Uint8Array): Buffer[] {
  const name = Buffer.from(`${path}\0`);
  const linkCount = mode === FOLDER_MODE ? 2 : 1;
  const numbers = [ino, mode, 0, 0, linkCount, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const header = `070701${numbers.map((value) => value.toString(16).padStart(8, "0")).join("")}`;
  return [padded(Buffer.concat([Buffer.from(header), name]), ALIGNMENT), padded(content, ALIGNMENT)];
}

function padded(bytes: Uint8Array, alignment: number): Buffer {
  return Buffer.concat([bytes, new Uint8Array(-bytes.length & (alignment - 1))]);
}
