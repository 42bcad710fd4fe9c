/* API keys; see auth.h. A key is hashed as it arrives and never kept, logged or compared as text.
 * Files are read once, at start. All digests are compared, each in full, whatever the outcome, so
 * the time tells nothing (the class of CVE-2025-59425, reference reliability.md V12). */
#include "server/auth.h"

#include <errno.h>
#include <strings.h>

#include "engine/base/mem.h"

static enum status add_key(struct auth *auth, const char *key, size_t n_bytes, struct error *err)
{
    if (n_bytes == 0)
        return OK;
    if (n_bytes > AUTH_KEY_BYTES_MAX || auth->n_keys == AUTH_KEYS_MAX) {
        return error_set(err, ERR_INVALID, "API keys: at most %d, of at most %d bytes",
                         AUTH_KEYS_MAX, AUTH_KEY_BYTES_MAX);
    }
    for (size_t i = 0; i < n_bytes; i++) {
        if ((unsigned char)key[i] <= 0x20 || (unsigned char)key[i] >= 0x7f)
            return error_set(err, ERR_INVALID, "an API key holds a blank or a control character");
    }
    void *digests = mem_realloc_array(auth->digests, auth->n_keys + 1, SHA256_BYTES);
    if (!digests)
        return error_set(err, ERR_MEMORY, "no memory for API keys");
    auth->digests = digests;
    sha256(auth->digests[auth->n_keys++], key, n_bytes, NULL, 0, NULL, 0);
    return OK;
}

static enum status add_file(struct auth *auth, const char *path, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    char line[AUTH_KEY_BYTES_MAX + 64];
    enum status status = OK;
    while (status == OK && fgets(line, sizeof line, file)) {
        size_t first = strspn(line, " \t");
        size_t n = strcspn(line + first, " \t\r\n");
        if (line[first] != '#')
            status = add_key(auth, line + first, n, err);
    }
    if (status == OK && ferror(file))
        status = error_set(err, ERR_IO, "%s: cannot be read", path);
    fclose(file);
    explicit_bzero(line, sizeof line);
    return status;
}

enum status auth_init(struct auth *auth, const char *keys, const char *path, struct error *err)
{
    *auth = (struct auth){.n_keys = 0};
    enum status status = OK;
    for (const char *key = keys; key && *key && status == OK;) {
        size_t n = strcspn(key, ",");
        status = add_key(auth, key, n, err);
        key += n + (key[n] == ',');
    }
    if (status == OK && path)
        status = add_file(auth, path, err);
    if (status == OK && auth->n_keys == 0 && ((keys && *keys) || path))
        status = error_set(err, ERR_INVALID, "API keys were asked for, but none is given");
    if (status != OK)
        auth_release(auth);
    return status;
}

void auth_release(struct auth *auth)
{
    mem_free(auth->digests);
    *auth = (struct auth){.n_keys = 0};
}

static bool digest_equal(const uint8_t *a, const uint8_t *b)
{
    volatile uint8_t differs = 0;
    for (size_t i = 0; i < SHA256_BYTES; i++)
        differs = (uint8_t)(differs | (a[i] ^ b[i]));
    return differs == 0;
}

int auth_check(const struct auth *auth, const char *authorization, const char *x_api_key,
               uint8_t tenant[SHA256_BYTES])
{
    memset(tenant, 0, SHA256_BYTES);
    if (auth->n_keys == 0)
        return 0;
    const char *key = x_api_key;
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        key = authorization + 7 + strspn(authorization + 7, " ");
    if (!key || !*key)
        return AUTH_NO_KEY;
    uint8_t digest[SHA256_BYTES];
    sha256(digest, key, strnlen(key, AUTH_KEY_BYTES_MAX + 1), NULL, 0, NULL, 0);
    int found = AUTH_BAD_KEY;
    for (size_t i = 0; i < auth->n_keys; i++) {
        if (digest_equal(digest, auth->digests[i]))
            found = (int)i;
    }
    if (found >= 0)
        memcpy(tenant, digest, SHA256_BYTES);
    return found;
}
