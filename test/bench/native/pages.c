/* Zero test, compare, and the delta of a changed page: masks of the changed 8-byte words, and the new words. */
#include <string.h>

#include "twins.h"

#define GROUP_BYTES 64
#define MASKS_MAX 72

static int is_zero(const uint8_t *page) {
  for (size_t at = 0; at < PAGE_BYTES; at += GROUP_BYTES) {
    uint64_t words[8], any = 0;
    memcpy(words, page + at, GROUP_BYTES);
    for (int w = 0; w < 8; w++) any |= words[w];
    if (any) return 0;
  }
  return 1;
}

uint64_t zero_test(const inputs *in) {
  uint64_t found = 0;
  for (size_t at = 0; at < in->after.length; at += PAGE_BYTES) found += (uint64_t)is_zero(in->after.bytes + at);
  return found;
}

uint64_t compare(const inputs *in) {
  uint64_t equal = 0;
  for (size_t at = 0; at < in->after.length; at += PAGE_BYTES) {
    equal += memcmp(in->after.bytes + at, in->before.bytes + at, PAGE_BYTES) == 0;
  }
  return equal;
}

/* Returns bytes of masks | changed words << 8; 0 if the pages are equal. */
static uint32_t encode(const uint8_t *page, const uint8_t *base, uint8_t *masks_out, uint8_t *literals_out) {
  uint64_t top = 0;
  uint8_t *masks = masks_out + 8, *literals = literals_out;
  for (int group = 0; group < 64; group++, page += GROUP_BYTES, base += GROUP_BYTES) {
    uint64_t new[8], old[8], any = 0;
    memcpy(new, page, GROUP_BYTES);
    memcpy(old, base, GROUP_BYTES);
    for (int w = 0; w < 8; w++) any |= new[w] ^ old[w];
    if (!any) continue;
    uint32_t mask = 0;
    for (int w = 0; w < 8; w++) mask |= (uint32_t)(new[w] != old[w]) << w;
    top |= UINT64_C(1) << group;
    *masks++ = (uint8_t)mask;
    if (mask == 0xff) {
      memcpy(literals, page, GROUP_BYTES);
      literals += GROUP_BYTES;
    } else {
      for (; mask; mask &= mask - 1, literals += 8) memcpy(literals, page + 8 * __builtin_ctz(mask), 8);
    }
  }
  if (!top) return 0;
  memcpy(masks_out, &top, 8);
  return (uint32_t)(masks - masks_out) | (uint32_t)(literals - literals_out) << 5;
}

/* Returns bytes of masks | words << 8, or a negative number, with the page untouched, if the delta is broken. */
static int32_t apply(uint8_t *page, const uint8_t *masks, size_t masks_bytes, const uint8_t *literals, size_t literal_bytes) {
  if (masks_bytes < 8) return -1;
  uint64_t top = load64(masks);
  if (!top) return -5;
  const size_t groups = (size_t)__builtin_popcountll(top);
  if (masks_bytes - 8 < groups) return -1;
  size_t words = 0;
  for (size_t g = 0; g < groups; g++) {
    if (!masks[8 + g]) return -5;
    words += (size_t)__builtin_popcount(masks[8 + g]);
  }
  if (literal_bytes / 8 < words) return -1;
  for (const uint8_t *p = masks + 8; top; top &= top - 1) {
    uint8_t *group = page + GROUP_BYTES * __builtin_ctzll(top);
    uint32_t mask = *p++;
    if (mask == 0xff) {
      memcpy(group, literals, GROUP_BYTES);
      literals += GROUP_BYTES;
    } else {
      for (; mask; mask &= mask - 1, literals += 8) memcpy(group + 8 * __builtin_ctz(mask), literals, 8);
    }
  }
  return (int32_t)((8 + groups) | words << 8);
}

uint64_t delta_encode(const inputs *in) {
  uint64_t sum = 0;
  for (size_t i = 0; i < in->changed.length; i += 4) {
    const size_t at = (size_t)load32(in->changed.bytes + i) * PAGE_BYTES;
    sum += encode(in->after.bytes + at, in->before.bytes + at, in->scratch, in->scratch + MASKS_MAX);
  }
  return sum;
}

/* On whatever the scratch memory holds: the time does not depend on it, and applying twice does no harm. */
uint64_t delta_apply(const inputs *in) {
  uint64_t sum = 0;
  size_t mask = 0, literal = 0;
  for (size_t i = 0; i < in->changed.length; i += 4) {
    uint8_t *page = in->scratch + i / 4 * PAGE_BYTES;
    const int32_t used = apply(page, in->masks.bytes + mask, in->masks.length - mask, in->literals.bytes + literal,
                               in->literals.length - literal);
    if (used < 0) return 0;
    mask += used & 0xff;
    literal += (size_t)(used >> 8) * 8;
    sum += (uint64_t)used;
  }
  return sum;
}
