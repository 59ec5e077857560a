/*
 * SHA-256 (FIPS 180-4), to recognise a file that was seen before. Any thread.
 */
#ifndef VMM_BASE_SHA256_H
#define VMM_BASE_SHA256_H

#include <stddef.h>

/* The digest as 64 hex digits. */
void sha256_hex(const void *bytes, size_t len, char out[65]);

#endif
