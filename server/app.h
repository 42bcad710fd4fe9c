/* What the handlers share: the engine, the settings, the keys. Process lifetime, one per server;
 * immutable after start but for the atomics. */
#ifndef WICARA_SERVER_APP_H
#define WICARA_SERVER_APP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "server/auth.h"
#include "server/http.h"
#include "server/limits.h"
#include "server/options.h"

struct app {
    const struct options *options;
    struct engine *engine;
    struct http_server *http;
    struct auth auth;
    struct key_limits key_limits;
    const char *model_id;
    int64_t start_unix_s;
    atomic_bool draining;  // SIGTERM came: new work is refused
    int web_dir_fd;        // --web-dir, -1 = the embedded page
};

/* What routing learned about a request; the exchange's user pointer. */
struct request {
    struct app *app;
    const struct route *route;
    const char *argument;  // rest of the path behind a prefix route
    char id[72];           // X-Request-Id
    uint8_t tenant[SHA256_BYTES];
    int key;                                  // index of the API key, 0 without keys
    size_t prompt_tokens, completion_tokens;  // for the access log
};

/* The loading, draining and failed states as an error; OK when ready. */
enum status app_readiness(const struct app *app, struct error *err) MUST_CHECK;

#endif
