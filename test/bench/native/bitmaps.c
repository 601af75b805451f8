/* Bitmaps: count, or, list of runs. Bit i is bit (i & 7) of byte (i >> 3); these have whole words. */
#include "twins.h"

uint64_t bitmap_count(const inputs *in) {
  uint64_t count = 0;
  for (size_t at = 0; at < in->bitmap.length; at += 8) {
    count += (uint64_t)__builtin_popcountll(load64(in->bitmap.bytes + at));
  }
  return count;
}

/* Into the scratch memory, from the first pages of `after`. */
uint64_t bitmap_or(const inputs *in) {
  for (size_t at = 0; at < in->bitmap.length; at += 8) {
    const uint64_t word = load64(in->scratch + at) | load64(in->after.bytes + at);
    __builtin_memcpy(in->scratch + at, &word, 8);
  }
  return in->bitmap.length;
}

static uint32_t next(const uint8_t *bitmap, uint32_t bits, uint32_t from, uint64_t flip) {
  if (from >= bits) return bits;
  size_t at = from / 64;
  uint64_t word = (load64(bitmap + 8 * at) ^ flip) & (~UINT64_C(0) << from % 64);
  while (!word) {
    if (++at == bits / 64) return bits;
    word = load64(bitmap + 8 * at) ^ flip;
  }
  return (uint32_t)at * 64 + (uint32_t)__builtin_ctzll(word);
}

/* Writes pairs of first bit and count; returns their number. */
uint64_t bitmap_runs(const inputs *in) {
  const uint32_t bits = (uint32_t)in->bitmap.length * 8;
  uint32_t *out = (uint32_t *)in->scratch;
  uint32_t end;
  for (uint32_t from = next(in->bitmap.bytes, bits, 0, 0); from < bits; from = next(in->bitmap.bytes, bits, end, 0)) {
    end = next(in->bitmap.bytes, bits, from, ~UINT64_C(0));
    *out++ = from;
    *out++ = end - from;
  }
  return (uint64_t)(out - (uint32_t *)in->scratch) / 2;
}
