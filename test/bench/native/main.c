/*
 * Runs kernels when it is told to, so that the benchmark can let contenders take turns.
 *
 *   main FOLDER      reads the inputs; then for each line on stdin
 *   NAME PASSES      runs the kernel so often, and writes a line
 *   NANOSECONDS RESULT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "twins.h"

#define SCRATCH_MORE (8 << 20)

static const struct {
  const char *name;
  kernel *run;
} kernels[] = {
    {"zero_test", zero_test},       {"compare", compare},     {"delta_encode", delta_encode}, {"delta_apply", delta_apply},
    {"bitmap_count", bitmap_count}, {"bitmap_or", bitmap_or}, {"bitmap_runs", bitmap_runs},
#ifdef WITH_LZ4
    {"lz4_compress", lz4_compress},
    {"lz4_decompress", lz4_decompress},
    {"lz4_compress_linked", lz4_compress_linked},
    {"lz4_decompress_linked", lz4_decompress_linked},
#endif
#ifdef WITH_BLAKE3
    {"blake3_pages", blake3_pages},
    {"blake3_stream", blake3_stream},
#endif
};

static file read_file(const char *folder, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *stream = fopen(path, "rb");
  if (!stream || fseek(stream, 0, SEEK_END) != 0) {
    perror(path);
    exit(1);
  }
  const size_t length = (size_t)ftell(stream);
  rewind(stream);
  uint8_t *bytes = aligned_alloc(PAGE_BYTES, (length + PAGE_BYTES) / PAGE_BYTES * PAGE_BYTES);
  if (!bytes || fread(bytes, 1, length, stream) != length) {
    perror(path);
    exit(1);
  }
  fclose(stream);
  return (file){bytes, length};
}

/* CPU time: other programs' turns on our processor do not count. */
static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  const char *folder = arguments[1];
  inputs in = {
      read_file(folder, "before"), read_file(folder, "after"),    read_file(folder, "changed"),
      read_file(folder, "masks"),  read_file(folder, "literals"), read_file(folder, "bitmap"),
      read_file(folder, "blocks"), read_file(folder, "linked"),   read_file(folder, "key"),
      NULL,
  };
  const size_t scratch_bytes = in.after.length + SCRATCH_MORE;
  in.scratch = aligned_alloc(PAGE_BYTES, scratch_bytes);
  if (!in.scratch) return 1;
  memset(in.scratch, 0, scratch_bytes);
  char name[64];
  unsigned passes;
  while (scanf("%63s %u", name, &passes) == 2) {
    size_t k = 0;
    while (k < sizeof kernels / sizeof *kernels && strcmp(kernels[k].name, name) != 0) k++;
    if (k == sizeof kernels / sizeof *kernels) return 2;
    uint64_t result = 0;
    const uint64_t before = now();
    for (unsigned pass = 0; pass < passes; pass++) {
      result = kernels[k].run(&in);
      __asm__ volatile("" ::: "memory");
    }
    printf("%llu %llu\n", (unsigned long long)(now() - before), (unsigned long long)result);
    fflush(stdout);
  }
  return 0;
}
