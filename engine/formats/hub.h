/* Talking to the Hugging Face hub: requests with redirects, retries, and downloads that resume.
 *
 * The token goes to the hub's own origin (scheme, host and port) and to nobody else, and appears in
 * no message. A client is used by one thread. */
#ifndef WICARA_FORMATS_HUB_H
#define WICARA_FORMATS_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/digest.h"
#include "engine/base/error.h"
#include "engine/formats/hub_cache.h"

enum {
    HUB_ATTEMPTS_MAX = 5,        // in a row without a byte of progress
    HUB_REDIRECTS_MAX = 8,       // of one request
    HUB_FIRST_WAIT_MS = 250,     // before the second attempt, doubled each time
    HUB_RETRY_AFTER_S_MAX = 60,  // a server that asks for more ends the download
    HUB_CONNECT_TIMEOUT_S = 15,
};

struct hub_client;

/* Takes its settings from the environment (hub_settings.h). `go_on` (may be NULL) is asked
 * several times a second while the client waits; false ends the call with ERR_CANCELLED.
 * Errors: ERR_INVALID naming the variable, ERR_UNSUPPORTED when libcurl is not installed. */
enum status hub_client_open(struct hub_client **out, bool (*go_on)(void *user), void *user,
                            struct error *err) MUST_CHECK;
void hub_client_close(struct hub_client *client);

/* All calls: `path` starts with '/', is percent-encoded and lives on the hub; `subject` names the
 * thing in messages. Errors: ERR_NOT_FOUND, ERR_INVALID (401, 403), ERR_BUSY (429), ERR_IO
 * (network, 5xx, a size that is not what was announced), ERR_CANCELLED, ERR_MEMORY, ERR_LIMIT. */

/* `attempts_max` is HUB_ATTEMPTS_MAX, or less where the caller can do without the answer. */
enum status hub_client_get(struct hub_client *client, const char *path, const char *subject,
                           int attempts_max, struct buf *out, struct error *err) MUST_CHECK;

/* What the hub says about a file without sending it. */
struct hub_facts {
    char etag[HUB_ETAG_BYTES];  // SHA-256 of large files, git's SHA-1 of small ones; a safe word
    uint64_t bytes;
};
enum status hub_client_facts(struct hub_client *client, const char *path, const char *subject,
                             struct hub_facts *out, struct error *err) MUST_CHECK;

/* Where a download goes. The first `bytes` of `bytes_total` are in the file already and in the
 * digest; what arrives is written behind them. A server that cannot resume starts anew. */
struct hub_sink {
    int fd;
    uint64_t bytes, bytes_total;
    struct digest *digest;  // or NULL
};
enum status hub_client_download(struct hub_client *client, const char *path, const char *subject,
                                struct hub_sink *sink, struct error *err) MUST_CHECK;

#endif
