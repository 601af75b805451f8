/* The kernels of the WASM core once more in C: what the machine can do. */
#ifndef TWINS_H
#define TWINS_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096
#define BLOCK_BYTES 65536
#define WINDOW_BYTES 262144

typedef struct {
  const uint8_t *bytes;
  size_t length;
} file;

/* What the benchmark wrote into files of these names. Numbers are u32. */
typedef struct {
  file before, after;    /* the same pages at two times */
  file changed;          /* numbers of the pages that differ */
  file masks, literals;  /* deltas of these pages, one after the other */
  file bitmap;
  file blocks;           /* each 64 KiB of `after` as LZ4 block: length, bytes */
  file linked;           /* each page of `after` as LZ4 block linked to those before it in its window: length, bytes */
  file key;              /* 32 bytes */
  uint8_t *scratch;      /* as large as `after` and 8 MiB more */
} inputs;

/* One pass of a kernel over its input; what it returns must be what the WASM kernel makes of the same input. */
typedef uint64_t kernel(const inputs *in);

kernel zero_test, compare, delta_encode, delta_apply, bitmap_count, bitmap_or, bitmap_runs;
kernel lz4_compress, lz4_decompress, lz4_compress_linked, lz4_decompress_linked;
kernel blake3_pages, blake3_stream;

static inline uint32_t load32(const uint8_t *p) {
  uint32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}

static inline uint64_t load64(const uint8_t *p) {
  uint64_t v;
  __builtin_memcpy(&v, p, 8);
  return v;
}

#endif
