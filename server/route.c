/* The route table and the checks in front of the handlers; see route.h.
 *
 * All refusals that the head allows are made before the body is read: 404, 405, 401, 415, 503 while
 * draining. The request struct lives in the exchange as its user pointer, from head to log line. */
#include "server/route.h"

#include <inttypes.h>
#include <strings.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

static const struct route table[] = {
    {"POST", "/v1/chat/completions", false, AUTH_KEY, api_chat},
    {"POST", "/v1/chat/completions/input_tokens", false, AUTH_KEY, api_count},
    {"POST", "/v1/completions", false, AUTH_KEY, api_completions},
    {"GET", "/v1/models", false, AUTH_KEY, api_models},
    {"GET", "/v1/models/", true, AUTH_KEY, api_model},
    {"POST", "/tokenize", false, AUTH_KEY, api_tokenize},
    {"POST", "/detokenize", false, AUTH_KEY, api_detokenize},
    {"POST", "/apply-template", false, AUTH_KEY, api_render},
    {"GET", "/openapi.json", false, AUTH_OPEN, api_openapi},
    {"GET", "/props", false, AUTH_KEY, api_props},
    {"GET", "/tokenizer_info", false, AUTH_KEY, api_tokenizer_info},
    {"GET", "/metrics", false, AUTH_KEY, api_metrics},
    {"GET", "/health", false, AUTH_OPEN, api_health},
    {"GET", "/readyz", false, AUTH_OPEN, api_health},
    {"GET", "/livez", false, AUTH_OPEN, api_live},
    {"GET", "/version", false, AUTH_OPEN, api_version},
    {"GET", "/", true, AUTH_OPEN, static_file},  // last: the page and its files
};

const struct route *route_table(size_t *n_routes)
{
    *n_routes = sizeof table / sizeof table[0];
    return table;
}

static bool path_matches(const struct route *route, const char *path)
{
    if (!route->prefix)
        return strcmp(route->path, path) == 0;
    return strncmp(route->path, path, strlen(route->path)) == 0;
}

/* Finds the route of a method; *allowed lists what the path knows ("" = no such path). */
static const struct route *find_route(const char *method, const char *path, char allowed[64])
{
    const struct route *found = NULL;
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    bool get = false, post = false, api = false;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct route *route = &table[i];
        bool page = route->handle == static_file;
        if (!path_matches(route, path) || (page && api))
            continue;
        api = api || !page;
        get = get || route->method[0] == 'G';
        post = post || route->method[0] == 'P';
        if (!found && strcmp(route->method, wanted) == 0)
            found = route;
    }
    snprintf(allowed, 64, "%s%s%sOPTIONS", get ? "GET, HEAD, " : "", post ? "POST" : "",
             post ? ", " : "");
    return found;
}

/* The client's id if it is harmless, else one of ours. */
static void set_request_id(struct request *request, const char *given)
{
    size_t n = given ? strlen(given) : 0;
    bool fit = n > 0 && n < sizeof request->id;
    for (size_t i = 0; fit && i < n; i++) {
        char c = given[i];
        fit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.';
    }
    if (fit)
        memcpy(request->id, given, n + 1);
    else
        snprintf(request->id, sizeof request->id, "req_%016" PRIx64, rng_seed_from_system());
}

void route_add_headers(struct request *request, struct http_exchange *exchange)
{
    const struct http_gate_result *facts = http_gate_facts(exchange);
    http_add_header(exchange, "X-Request-Id", request->id);
    http_add_header(exchange, "X-Content-Type-Options", "nosniff");
    if (facts->cors_origin) {
        http_add_header(exchange, "Access-Control-Allow-Origin", facts->cors_origin);
        http_add_header(exchange, "Access-Control-Expose-Headers",
                        "X-Request-Id, X-Ignored-Params, Retry-After");
    }
}

void reply_json(struct request *request, struct http_exchange *exchange, int http_status,
                struct buf *body_take)
{
    route_add_headers(request, exchange);
    http_add_header(exchange, "Cache-Control", "no-store");
    http_reply_take(exchange, http_status, "application/json", body_take);
}

void reply_error(struct request *request, struct http_exchange *exchange,
                 const struct api_error *error)
{
    struct buf body;
    buf_init(&body, 16384);
    api_error_write(&body, error);
    http_add_header(exchange, "X-Should-Retry", api_error_is_retryable(error) ? "true" : "false");
    if (error->retry_after_s > 0) {
        char text[32];
        snprintf(text, sizeof text, "%d", error->retry_after_s);
        http_add_header(exchange, "Retry-After", text);
        snprintf(text, sizeof text, "%d", error->retry_after_s * 1000);
        http_add_header(exchange, "Retry-After-Ms", text);
    }
    if (error->http_status == 401)
        http_add_header(exchange, "WWW-Authenticate", "Bearer");
    reply_json(request, exchange, error->http_status, &body);
}

/* Time after which the queue has probably moved: jobs before us over jobs at once, times the mean
 * length of one. */
static int predicted_wait_s(const struct engine *engine)
{
    struct engine_metrics metrics;
    memset(&metrics, 0, sizeof metrics);
    engine_metrics(engine, &metrics);
    const struct histogram *e2e = metrics.e2e_s;
    uint64_t n = 0;
    for (size_t i = 0; e2e && i <= e2e->n_bounds; i++)
        n += atomic_load_explicit(&e2e->counts[i], memory_order_relaxed);
    double mean = n ? atomic_load_explicit(&e2e->sum, memory_order_relaxed) / (double)n : 1;
    double running = metrics.jobs_running ? (double)metrics.jobs_running : 1;
    double wait = mean * ((double)metrics.jobs_waiting + 1) / running;
    return wait < 1 ? 1 : wait > 120 ? 120 : (int)wait;
}

void reply_failure(struct request *request, struct http_exchange *exchange, const struct error *err)
{
    struct api_error error = api_error_from(err);
    if (err->status == ERR_BUSY)
        error.retry_after_s = predicted_wait_s(request->app->engine);
    if (err->status == ERR_NOT_FOUND && strcmp(err->param, "model") == 0)
        error.code = "model_not_found";
    if (err->status == ERR_SHUTDOWN)
        http_close_after(exchange);
    reply_error(request, exchange, &error);
}

enum status app_readiness(const struct app *app, struct error *err)
{
    if (atomic_load(&app->draining))
        return error_set(err, ERR_SHUTDOWN, "the server is shutting down");
    switch (engine_state(app->engine)) {
    case ENGINE_READY:
        return OK;
    case ENGINE_LOADING:
        return error_set(err, ERR_LOADING, "Loading model");
    case ENGINE_DRAINING:
        return error_set(err, ERR_SHUTDOWN, "the server is shutting down");
    case ENGINE_FAILED:
        break;
    }
    return error_set(err, ERR_INTERNAL, "the model could not be loaded");
}

static void refuse(struct request *request, struct http_exchange *exchange, int http_status,
                   const char *message)
{
    struct api_error error = api_error_http(http_status, message);
    reply_error(request, exchange, &error);
}

static void reply_options(struct request *request, struct http_exchange *exchange,
                          const char *allowed)
{
    http_add_header(exchange, "Allow", allowed);
    if (http_gate_facts(exchange)->cors_origin) {
        http_add_header(exchange, "Access-Control-Allow-Methods", allowed);
        http_add_header(exchange, "Access-Control-Allow-Headers",
                        "Authorization, Content-Type, X-Api-Key, X-Request-Id");
        http_add_header(exchange, "Access-Control-Max-Age", "600");
    }
    route_add_headers(request, exchange);
    http_reply_static(exchange, 204, NULL, "", 0);
}

static bool is_json(const char *media_type)
{
    static const char json[] = "application/json";
    return media_type && strncasecmp(media_type, json, sizeof json - 1) == 0 &&
           strchr("; \t", media_type[sizeof json - 1]);  // the NUL counts as found
}

static bool check_key(struct request *request, struct http_exchange *exchange)
{
    const struct auth *auth = &request->app->auth;
    int key = auth_check(auth, http_request_header(exchange, "Authorization"),
                         http_request_header(exchange, "X-Api-Key"), request->tenant);
    request->key = key;
    if (key >= 0)
        return true;
    refuse(request, exchange, 401,
           key == AUTH_NO_KEY
               ? "You did not provide an API key; send it as \"Authorization: Bearer KEY\""
               : "Incorrect API key provided");
    return false;
}

void route_on_head(void *user, struct http_exchange *exchange)
{
    struct request *request = mem_calloc(1, sizeof *request);
    if (!request) {
        http_reply_static(exchange, 503, NULL, "", 0);
        return;
    }
    request->app = user;
    http_exchange_set_user(exchange, request);
    set_request_id(request, http_request_header(exchange, "X-Request-Id"));
    const char *method = http_method(exchange), *path = http_path(exchange);
    char allowed[64];
    request->route = find_route(method, path, allowed);
    if (strcmp(method, "OPTIONS") == 0) {
        reply_options(request, exchange,
                      strcmp(path, "*") == 0 ? "GET, HEAD, POST, OPTIONS" : allowed);
        return;
    }
    if (!request->route) {
        http_add_header(exchange, "Allow", allowed);
        refuse(request, exchange, 405, "this path does not take that method");
        return;
    }
    request->argument = path + strlen(request->route->path);
    if (request->route->auth == AUTH_KEY && !check_key(request, exchange))
        return;
    if (request->route->method[0] == 'P' &&
        !is_json(http_request_header(exchange, "Content-Type"))) {
        refuse(request, exchange, 415, "send the body as Content-Type: application/json");
    }
}

void route_on_request(void *user, struct http_exchange *exchange)
{
    (void)user;
    struct request *request = http_exchange_user(exchange);
    request->route->handle(request, exchange);
}

void route_on_done(void *user, struct http_exchange *exchange, int http_status, double seconds)
{
    (void)user;
    struct request *request = http_exchange_user(exchange);
    if (!request)
        return;  // refused by the gate
    bool work = request->route && request->route->method[0] == 'P';
    log_write(work ? LOG_INFO : LOG_DEBUG, "%s %s %s %d %.1f ms, %zu + %zu tokens", request->id,
              http_method(exchange), http_path(exchange), http_status, seconds * 1e3,
              request->prompt_tokens, request->completion_tokens);
    mem_free(request);
}
