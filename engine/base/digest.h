/* Digests of bytes that arrive in parts, as downloads do: SHA-256 and git's SHA-1 of a blob. */
#ifndef WICARA_BASE_DIGEST_H
#define WICARA_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum digest_kind { DIGEST_SHA256, DIGEST_GIT_SHA1 };
enum { DIGEST_HEX_BYTES = 65 };  // with the NUL

struct digest;

/* NULL when memory is out. `bytes` is the length of the whole blob, which git hashes first;
 * SHA-256 does not look at it. */
struct digest *digest_create(enum digest_kind kind, uint64_t bytes) MUST_CHECK;
void digest_restart(struct digest *digest);
void digest_add(struct digest *digest, const void *bytes, size_t n_bytes);
/* Lower-case hexadecimal text; the digest starts anew afterwards. */
void digest_hex(struct digest *digest, char out[DIGEST_HEX_BYTES]);
void digest_free(struct digest *digest);

#endif
