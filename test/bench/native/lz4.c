/* liblz4 as distributions ship it. Its declarations stand here, so that the library without its headers is enough. */
#include <string.h>

#include "twins.h"

typedef union LZ4_stream_u LZ4_stream_t;
int LZ4_compress_default(const char *src, char *dst, int src_bytes, int dst_capacity);
int LZ4_decompress_safe(const char *src, char *dst, int src_bytes, int dst_capacity);
int LZ4_decompress_safe_usingDict(const char *src, char *dst, int src_bytes, int dst_capacity, const char *dict, int dict_bytes);
LZ4_stream_t *LZ4_createStream(void);
void LZ4_resetStream_fast(LZ4_stream_t *stream);
int LZ4_compress_fast_continue(LZ4_stream_t *stream, const char *src, char *dst, int src_bytes, int dst_capacity, int acceleration);

#define DISTANCE_MAX 65536

/* Its blocks are others than ours: what comes back is how many bytes they take. */
uint64_t lz4_compress(const inputs *in) {
  uint64_t total = 0;
  for (size_t at = 0; at < in->after.length; at += BLOCK_BYTES) {
    const char *src = (const char *)in->after.bytes + at;
    total += (uint64_t)LZ4_compress_default(src, (char *)in->scratch + total, BLOCK_BYTES, 2 * BLOCK_BYTES);
  }
  return total;
}

uint64_t lz4_compress_linked(const inputs *in) {
  static LZ4_stream_t *stream;
  if (!stream) stream = LZ4_createStream();
  uint64_t total = 0;
  for (size_t at = 0; at < in->after.length; at += PAGE_BYTES) {
    if (at % WINDOW_BYTES == 0) LZ4_resetStream_fast(stream);
    const char *src = (const char *)in->after.bytes + at;
    total += (uint64_t)LZ4_compress_fast_continue(stream, src, (char *)in->scratch + total, PAGE_BYTES, 2 * PAGE_BYTES, 1);
  }
  return total;
}

uint64_t lz4_decompress(const inputs *in) {
  size_t out = 0;
  for (size_t at = 0; at < in->blocks.length;) {
    const uint32_t length = load32(in->blocks.bytes + at);
    const char *src = (const char *)in->blocks.bytes + at + 4;
    if (LZ4_decompress_safe(src, (char *)in->scratch + out, (int)length, BLOCK_BYTES) != BLOCK_BYTES) return 0;
    out += BLOCK_BYTES;
    at += 4 + length;
  }
  return out;
}

uint64_t lz4_decompress_linked(const inputs *in) {
  size_t out = 0;
  for (size_t at = 0; at < in->linked.length;) {
    const uint32_t length = load32(in->linked.bytes + at);
    const char *src = (const char *)in->linked.bytes + at + 4;
    size_t before = out % WINDOW_BYTES;
    if (before > DISTANCE_MAX) before = DISTANCE_MAX;
    char *dst = (char *)in->scratch + out;
    if (LZ4_decompress_safe_usingDict(src, dst, (int)length, PAGE_BYTES, dst - before, (int)before) != PAGE_BYTES) return 0;
    out += PAGE_BYTES;
    at += 4 + length;
  }
  return out;
}
