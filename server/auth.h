/* API keys: which are valid, and whose request this is.
 *
 * Keys are kept as SHA-256 digests and compared in constant time, all of them each time, so timing
 * tells neither which key nor how much of it was right. The digest is also the tenant. */
#ifndef WICARA_SERVER_AUTH_H
#define WICARA_SERVER_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/sha256.h"

enum { AUTH_KEYS_MAX = 4096, AUTH_KEY_BYTES_MAX = 512 };

struct auth {
    uint8_t (*digests)[SHA256_BYTES];  // [n_keys]
    size_t n_keys;                     // 0 = everybody may come in
};

/* keys: one or several, separated by commas; NULL = none. path: a file with one key a line, #
 * starts a comment; NULL = none. Errors: ERR_INVALID, ERR_IO, ERR_MEMORY. */
enum status auth_init(struct auth *auth, const char *keys, const char *path,
                      struct error *err) MUST_CHECK;
void auth_release(struct auth *auth);

enum { AUTH_NO_KEY = -1, AUTH_BAD_KEY = -2 };

/* authorization: value of the header of that name, x_api_key likewise; both may be NULL. Returns
 * the key's index with its digest in tenant, 0 and zeros when no keys are set up, or AUTH_*. */
int auth_check(const struct auth *auth, const char *authorization, const char *x_api_key,
               uint8_t tenant[SHA256_BYTES]);

#endif
