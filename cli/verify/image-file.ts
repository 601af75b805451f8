/** A file of a chain of images, whose damage names its path: of a chain alone one could not tell. */

import { type DiskImage, type ImageFormat, openImage } from "../../src/disk/index.ts";
import { readQcow2Header } from "../../src/disk/qcow2-header.ts";
import { Qcow2Map } from "../../src/disk/qcow2-map.ts";
import { FormatError } from "../../src/errors.ts";
import { nodeDecompressors, openFileSource } from "../disk/file-source.ts";
import { messageOf } from "../errors.ts";
import { isDamage } from "./damage.ts";

/** What is wrong with an image's file where a position of the disk was looked up. */
export class ImageDamage extends FormatError {
  readonly path: string;
  /** Position in the disk that was asked for. */
  readonly diskOffset: number;

  constructor(path: string, diskOffset: number, cause: unknown) {
    const { code, offset } =
      cause instanceof FormatError ? cause : { code: "bad-value" as const, offset: undefined };
    super(code, messageOf(cause).replace(/ \(at byte \d+\)$/, ""), offset);
    this.path = path;
    this.diskOffset = diskOffset;
  }
}

/** An image that is open for reading. Its methods throw ImageDamage. */
export interface ImageFile extends DiskImage {
  readonly path: string;
  readonly format: ImageFormat;
  /** False for a file that the operator gave: it may be named by a link. */
  readonly isOwn: boolean;
}

/** Opens an image's file. Throws what says that it is damaged, or cannot be opened; see `openProblem`. */
export function openImageFile(path: string, format: ImageFormat, isOwn: boolean): ImageFile {
  const source = openFileSource(path, { followLink: !isOwn });
  let image: DiskImage;
  try {
    image = openImage(source, format, nodeDecompressors);
  } catch (error) {
    source.close();
    throw error;
  }
  const guarded = <T>(at: number, look: () => T): T => {
    try {
      return look();
    } catch (error) {
      throw isDamage(error) ? new ImageDamage(path, at, error) : error;
    }
  };
  return {
    path,
    format,
    isOwn,
    lengthBytes: image.lengthBytes,
    backing: image.backing,
    status: (at, length) => guarded(at, () => image.status(at, length)),
    read: (memory, target, length, at) => guarded(at, () => image.read(memory, target, length, at)),
    close: () => image.close(),
  };
}

/** Why a file could not be opened, for findings. */
export function openProblem(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return "the file is missing";
  if (code === "ELOOP") return "it is a symbolic link and was not followed";
  return messageOf(error);
}

/** Where in the file a position of the disk stands; undefined if that cannot be told. */
export function fileOffsetOf({ path, format, isOwn }: ImageFile, diskOffset: number): number | undefined {
  if (format === "raw") return diskOffset;
  const source = openFileSource(path, { followLink: !isOwn });
  try {
    const map = new Qcow2Map(source, readQcow2Header(source));
    map.locate(diskOffset, 1);
    return map.kind === "data" || map.kind === "compressed" ? map.fileAt : undefined;
  } catch (error) {
    if (!isDamage(error)) throw error;
    return undefined;
  } finally {
    source.close();
  }
}
