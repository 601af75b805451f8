/* The C implementation of BLAKE3 by its authors, which chooses the widest vectors of the machine at run time. */
#include "blake3.h"
#include "twins.h"

#define DIGEST_BYTES 16

/* Exclusive or of the first words of all digests. */
uint64_t blake3_pages(const inputs *in) {
  uint64_t sum = 0;
  for (size_t at = 0; at < in->after.length; at += PAGE_BYTES) {
    uint8_t digest[DIGEST_BYTES];
    blake3_hasher hasher;
    blake3_hasher_init_keyed(&hasher, in->key.bytes);
    blake3_hasher_update(&hasher, in->after.bytes + at, PAGE_BYTES);
    blake3_hasher_finalize(&hasher, digest, DIGEST_BYTES);
    sum ^= load64(digest);
  }
  return sum;
}

uint64_t blake3_stream(const inputs *in) {
  uint8_t digest[DIGEST_BYTES];
  blake3_hasher hasher;
  blake3_hasher_init_keyed(&hasher, in->key.bytes);
  blake3_hasher_update(&hasher, in->after.bytes, in->after.length);
  blake3_hasher_finalize(&hasher, digest, DIGEST_BYTES);
  return load64(digest);
}
