/** What a platform's zstd must offer. */

/** A zstd that the platform, or a package, brings: `src/` can decompress by itself, but not compress. */
export interface Zstd {
  /** `plain` as one zstd frame with its length and without a checksum. `level` is zstd's, 1 to 19. */
  compress(plain: Uint8Array, level: number): Uint8Array;
  /** The content of a frame, at most `length` bytes. Throws an Error of any kind if there is none. */
  decompress(frame: Uint8Array, length: number): Uint8Array;
}
