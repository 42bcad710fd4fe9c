/* SHA-256 through nettle; see sha256.h.
 *
 * The only file that includes nettle's headers, so that the library can be exchanged here; nettle
 * uses the SHA instructions where the CPU has them. */
#include "engine/base/sha256.h"

#include <nettle/sha2.h>

void sha256(uint8_t out[SHA256_BYTES], const void *a, size_t a_bytes, const void *b, size_t b_bytes,
            const void *c, size_t c_bytes)
{
    struct sha256_ctx context;
    sha256_init(&context);
    if (a_bytes)
        sha256_update(&context, a_bytes, a);
    if (b_bytes)
        sha256_update(&context, b_bytes, b);
    if (c_bytes)
        sha256_update(&context, c_bytes, c);
    sha256_digest(&context, SHA256_BYTES, out);
}
