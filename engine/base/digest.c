/* Streaming digests through nettle; see digest.h.
 *
 * Beside sha256.c the only file that includes nettle's headers. The state is an object on the heap,
 * so that no header needs to know nettle's types. Source of the git form: "blob <length>\0" in
 * front of the contents (Pro Git, "Git Objects"). */
#include "engine/base/digest.h"

#include <inttypes.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>

#include "engine/base/mem.h"

struct digest {
    enum digest_kind kind;
    uint64_t bytes;
    struct sha256_ctx sha256;
    struct sha1_ctx sha1;
};

void digest_restart(struct digest *digest)
{
    if (digest->kind == DIGEST_SHA256) {
        sha256_init(&digest->sha256);
        return;
    }
    char head[32];
    int n = snprintf(head, sizeof head, "blob %" PRIu64, digest->bytes);
    sha1_init(&digest->sha1);
    sha1_update(&digest->sha1, (size_t)n + 1, (const uint8_t *)head);
}

struct digest *digest_create(enum digest_kind kind, uint64_t bytes)
{
    struct digest *digest = mem_calloc(1, sizeof *digest);
    if (digest == NULL)
        return NULL;
    digest->kind = kind;
    digest->bytes = bytes;
    digest_restart(digest);
    return digest;
}

void digest_add(struct digest *digest, const void *bytes, size_t n_bytes)
{
    if (n_bytes == 0)
        return;
    if (digest->kind == DIGEST_SHA256)
        sha256_update(&digest->sha256, n_bytes, bytes);
    else
        sha1_update(&digest->sha1, n_bytes, bytes);
}

void digest_hex(struct digest *digest, char out[DIGEST_HEX_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t raw[SHA256_DIGEST_SIZE];
    size_t n = digest->kind == DIGEST_SHA256 ? SHA256_DIGEST_SIZE : SHA1_DIGEST_SIZE;
    if (digest->kind == DIGEST_SHA256)
        sha256_digest(&digest->sha256, n, raw);
    else
        sha1_digest(&digest->sha1, n, raw);
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[raw[i] >> 4];
        out[2 * i + 1] = hex[raw[i] & 15];
    }
    out[2 * n] = '\0';
    digest_restart(digest);
}

void digest_free(struct digest *digest)
{
    mem_free(digest);
}
