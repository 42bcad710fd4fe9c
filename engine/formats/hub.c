/* HTTP towards the hub through libcurl; see hub.h.
 *
 * The only file that includes curl's headers. libcurl is opened with dlopen() when something is
 * downloaded, because it brings some thirty libraries along: linking it made every start of the
 * server 2 to 5 ms slower. Redirects are followed here and not by libcurl, so that one line decides
 * who sees the token and a file's facts are taken before the hub hands over to its CDN. What is
 * retried: failures of transport, 408, 429 and 5xx, five times in a row at most; a download that
 * got further starts counting anew. Everything else is final and says so in one line. */
#include "engine/formats/hub.h"

#include <ctype.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/formats/hub_name.h"
#include "engine/formats/hub_settings.h"

#define CURL_FUNCTIONS(X)                                                                          \
    X(global_init)                                                                                 \
    X(easy_init)                                                                                   \
    X(easy_cleanup)                                                                                \
    X(easy_reset)                                                                                  \
    X(easy_setopt)                                                                                 \
    X(easy_getinfo)                                                                                \
    X(easy_perform)                                                                                \
    X(easy_strerror)                                                                               \
    X(slist_append)                                                                                \
    X(slist_free_all)

#undef curl_easy_setopt
#undef curl_easy_getinfo
struct curl_api {
#define X(name) __typeof__(curl_##name) *name;
    CURL_FUNCTIONS(X)
#undef X
};

static const uint64_t UNKNOWN = UINT64_MAX;
enum { URL_BYTES = 8192, WAIT_SLICE_MS = 50 };

/* One response head; reset at each status line, but for what the hub's own hops said. */
struct head {
    long status;
    uint64_t content_bytes, range_start, range_total;
    char etag[HUB_ETAG_BYTES];
    char error_code[32];
    uint64_t retry_after_s;
    char linked_etag[HUB_ETAG_BYTES];  // kept over redirects
    uint64_t linked_bytes;             // kept over redirects
};

struct hub_client {
    struct curl_api api;
    CURL *easy;
    struct hub_settings settings;
    bool (*go_on)(void *user);
    void *user;
    char curl_error[CURL_ERROR_SIZE];
    struct head head;
    bool body_begun;  // of the response under way
};

struct request {
    const char *path, *subject;
    bool is_head;
    int attempts_max;
    struct buf *body;       // of a GET that is kept in memory
    struct hub_sink *sink;  // of a download
    struct error *err;
    struct error failure;  // from inside the write callback
    struct hub_client *client;
};

static bool goes_on(const struct hub_client *client)
{
    return !client->go_on || client->go_on(client->user);
}

/* ---- callbacks ---- */

static bool header_is(const char *line, size_t n, const char *name, const char **value)
{
    size_t n_name = strlen(name);
    if (n <= n_name || strncasecmp(line, name, n_name) != 0 || line[n_name] != ':')
        return false;
    *value = line + n_name + 1;
    while (*value < line + n && (**value == ' ' || **value == '\t'))
        (*value)++;
    return true;
}

/* An entity tag without W/ and quotes; "" when it could not be a file's name. */
static void copy_etag(char out[HUB_ETAG_BYTES], const char *value)
{
    if (strncmp(value, "W/", 2) == 0)
        value += 2;
    if (*value == '"')
        value++;
    snprintf(out, HUB_ETAG_BYTES, "%.*s", (int)strcspn(value, "\"\r\n"), value);
    if (strcspn(value, "\"\r\n") >= HUB_ETAG_BYTES || !hub_word_is_safe(out, HUB_ETAG_BYTES - 1))
        out[0] = '\0';
}

static uint64_t parse_number(const char *text)
{
    uint64_t value = 0;
    if (!isdigit((unsigned char)*text))
        return UNKNOWN;
    for (; isdigit((unsigned char)*text); text++) {
        if (value > (UINT64_C(1) << 60))
            return UNKNOWN;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    return value;
}

/* "bytes 100-199/200" */
static void parse_range(struct head *head, const char *value)
{
    const char *slash = strchr(value, '/');
    if (strncmp(value, "bytes ", 6) != 0 || !slash)
        return;
    head->range_start = parse_number(value + 6);
    head->range_total = parse_number(slash + 1);
}

static size_t on_header(char *bytes, size_t size, size_t n, void *user)
{
    struct hub_client *client = ((struct request *)user)->client;
    struct head *head = &client->head;
    char line[512];
    const char *value;
    n *= size;
    snprintf(line, sizeof line, "%.*s", n < sizeof line ? (int)n : (int)sizeof line - 1, bytes);
    size_t n_line = strlen(line);
    if (strncmp(line, "HTTP/", 5) == 0) {
        const char *space = strchr(line, ' ');
        head->status = space ? (long)parse_number(space + 1) : 0;
        head->content_bytes = head->range_start = head->range_total = UNKNOWN;
        head->etag[0] = head->error_code[0] = '\0';
        head->retry_after_s = 0;
        client->body_begun = false;
    } else if (header_is(line, n_line, "content-length", &value)) {
        head->content_bytes = parse_number(value);
    } else if (header_is(line, n_line, "content-range", &value)) {
        parse_range(head, value);
    } else if (header_is(line, n_line, "etag", &value)) {
        copy_etag(head->etag, value);
    } else if (header_is(line, n_line, "x-linked-etag", &value)) {
        copy_etag(head->linked_etag, value);
    } else if (header_is(line, n_line, "x-linked-size", &value)) {
        head->linked_bytes = parse_number(value);
    } else if (header_is(line, n_line, "x-error-code", &value)) {
        snprintf(head->error_code, sizeof head->error_code, "%.*s", (int)strcspn(value, "\r\n"),
                 value);
    } else if (header_is(line, n_line, "retry-after", &value)) {
        head->retry_after_s = parse_number(value) == UNKNOWN ? 0 : parse_number(value);
    }
    return n;
}

/* The first bytes of a download have come: is this the file that was announced? */
static enum status begin_body(struct request *request)
{
    struct hub_sink *sink = request->sink;
    const struct head *head = &request->client->head;
    uint64_t total = head->content_bytes;
    if (head->status == 206) {
        total = head->range_total;
        if (head->range_start != sink->bytes)
            return error_set(&request->failure, ERR_IO,
                             "%s: asked for the part from byte %" PRIu64 ", got another",
                             request->subject, sink->bytes);
    }
    if (total != UNKNOWN && total != sink->bytes_total)
        return error_set(&request->failure, ERR_IO,
                         "%s: %" PRIu64 " bytes were announced, the server sends %" PRIu64,
                         request->subject, sink->bytes_total, total);
    if (head->status == 206 || sink->bytes == 0)
        return OK;
    sink->bytes = 0;
    if (sink->digest)
        digest_restart(sink->digest);
    if (ftruncate(sink->fd, 0) == 0 && lseek(sink->fd, 0, SEEK_SET) == 0)
        return OK;
    return error_set(&request->failure, ERR_IO, "%s: %s", request->subject, strerror(errno));
}

static enum status write_body(struct request *request, const char *bytes, size_t n)
{
    struct hub_sink *sink = request->sink;
    if (!request->client->body_begun) {
        request->client->body_begun = true;
        enum status status = begin_body(request);
        if (status != OK)
            return status;
    }
    if (n > sink->bytes_total - sink->bytes)
        return error_set(&request->failure, ERR_IO,
                         "%s: %" PRIu64 " bytes were announced, the server sends more",
                         request->subject, sink->bytes_total);
    while (n > 0) {
        ssize_t n_written = write(sink->fd, bytes, n);
        if (n_written < 0 && errno == EINTR)
            continue;
        if (n_written < 0)
            return error_set(&request->failure, ERR_IO,
                             "%s: cannot write: %s (%" PRIu64 " of %" PRIu64
                             " bytes are there; the same command goes on from them)",
                             request->subject, strerror(errno), sink->bytes, sink->bytes_total);
        if (sink->digest)
            digest_add(sink->digest, bytes, (size_t)n_written);
        sink->bytes += (uint64_t)n_written;
        bytes += n_written;
        n -= (size_t)n_written;
    }
    return OK;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    struct request *request = user;
    long status = request->client->head.status;
    n *= size;
    if (status != 200 && status != 206)
        return n;  // the text of an error or a redirect
    if (request->sink)
        return write_body(request, bytes, n) == OK ? n : 0;
    if (buf_append(request->body, bytes, n))
        return n;
    (void)!buf_status(request->body, request->subject, &request->failure);
    return 0;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return goes_on(user) ? 0 : 1;
}

/* ---- one response ---- */

/* Scheme, host and port are the hub's. */
static bool is_hub(const struct hub_client *client, const char *url)
{
    const char *host = strstr(client->settings.endpoint, "://") + 3;
    size_t n = (size_t)(host - client->settings.endpoint) + strcspn(host, "/");
    return strncasecmp(url, client->settings.endpoint, n) == 0 &&
           (url[n] == '/' || url[n] == '\0' || url[n] == '?');
}

static void set_options(struct request *request, const char *url, struct curl_slist *headers)
{
    struct hub_client *client = request->client;
    CURL *easy = client->easy;
#define SET(option, value) (void)client->api.easy_setopt(easy, CURLOPT_##option, value)
    client->api.easy_reset(easy);
    client->curl_error[0] = '\0';
    SET(URL, url);
    SET(PROTOCOLS_STR, "http,https");
    SET(FOLLOWLOCATION, 0L);
    SET(SUPPRESS_CONNECT_HEADERS, 1L);
    SET(NOSIGNAL, 1L);
    SET(CONNECTTIMEOUT, (long)HUB_CONNECT_TIMEOUT_S);
    SET(LOW_SPEED_LIMIT, 1L);
    SET(LOW_SPEED_TIME, client->settings.silence_s);
    SET(USERAGENT, "wicara/" WICARA_VERSION);
    SET(ERRORBUFFER, client->curl_error);
    SET(HTTPHEADER, headers);
    SET(HEADERFUNCTION, on_header);
    SET(HEADERDATA, request);
    SET(WRITEFUNCTION, on_body);
    SET(WRITEDATA, request);
    SET(NOPROGRESS, 0L);
    SET(XFERINFOFUNCTION, on_progress);
    SET(XFERINFODATA, client);
    if (request->is_head)
        SET(NOBODY, 1L);
#undef SET
}

static bool add_header(struct hub_client *client, struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = client->api.slist_append(*list, text);
    *list = longer ? longer : *list;
    return longer != NULL;
}

static CURLcode perform_hop(struct request *request, const char *url)
{
    struct hub_client *client = request->client;
    struct curl_slist *headers = NULL;
    bool ok = add_header(client, &headers, "Accept-Encoding: identity");
    if (ok && client->settings.authorization[0] && is_hub(client, url))
        ok = add_header(client, &headers, client->settings.authorization);
    if (ok && request->sink && request->sink->bytes > 0) {
        char range[64];
        snprintf(range, sizeof range, "Range: bytes=%" PRIu64 "-", request->sink->bytes);
        ok = add_header(client, &headers, range);
    }
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (ok) {
        set_options(request, url, headers);
        code = client->api.easy_perform(client->easy);
    }
    client->api.slist_free_all(headers);
    return code;
}

static bool is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* The request with its redirects. OK when a response came, whatever its status; *code otherwise
 * tells libcurl's reason, or is CURLE_OK for a redirect that may not be followed. */
static enum status perform(struct request *request, CURLcode *code)
{
    struct hub_client *client = request->client;
    char url[URL_BYTES];
    int n = snprintf(url, sizeof url, "%s%s", client->settings.endpoint, request->path);
    *code = CURLE_OK;
    client->head = (struct head){.linked_bytes = UNKNOWN};
    for (int hop = 0; n > 0 && (size_t)n < sizeof url && hop <= HUB_REDIRECTS_MAX; hop++) {
        const char *next = NULL;
        *code = perform_hop(request, url);
        if (*code != CURLE_OK)
            return ERR_IO;
        if (!is_redirect(client->head.status))
            return OK;
        client->api.easy_getinfo(client->easy, CURLINFO_REDIRECT_URL, &next);
        if (!next)
            return error_set(&request->failure, ERR_IO, "%s: a redirect without an address",
                             request->subject);
        if (request->is_head && !is_hub(client, next))
            return OK;  // what the hub says is complete; the CDN adds nothing
        if (strncasecmp(url, "https:", 6) == 0 && strncasecmp(next, "https:", 6) != 0)
            return error_set(&request->failure, ERR_IO,
                             "%s: the hub redirects from https to an open connection",
                             request->subject);
        n = snprintf(url, sizeof url, "%s", next);
    }
    return error_set(&request->failure, ERR_IO,
                     "%s: more than %d redirects, or too long an address", request->subject,
                     HUB_REDIRECTS_MAX);
}

/* ---- attempts ---- */

static enum status explain(const struct request *request)
{
    const struct hub_client *client = request->client;
    const struct head *head = &client->head;
    const char *subject = request->subject;
    switch (head->status) {
    case 401:
        return error_set(request->err, ERR_INVALID,
                         client->settings.authorization[0]
                             ? "%s: the hub does not accept the token (HTTP 401), or this does not "
                               "exist"
                             : "%s: the hub wants a token (HTTP 401): private, gated, or it does "
                               "not exist; set HF_TOKEN",
                         subject);
    case 403:
        return error_set(request->err, ERR_INVALID,
                         "%s: access is refused (HTTP 403): ask for it on the model's page, and "
                         "set HF_TOKEN",
                         subject);
    case 404:
        return error_set(request->err, ERR_NOT_FOUND, "%s: there is no such %s on %s (HTTP 404)",
                         subject,
                         strcmp(head->error_code, "EntryNotFound") == 0 ? "file" : "repository",
                         client->settings.endpoint);
    case 429:
        return error_set(request->err, ERR_BUSY,
                         "%s: the hub limits the number of requests (HTTP 429); try again in "
                         "%" PRIu64 " s%s",
                         subject, head->retry_after_s ? head->retry_after_s : 60,
                         client->settings.authorization[0] ? "" : " or set HF_TOKEN");
    default:
        return error_set(request->err, ERR_IO, "%s: the hub answers with HTTP %ld%s", subject,
                         head->status, head->status >= 500 ? "; try again later" : "");
    }
}

static bool is_temporary(long status)
{
    return status == 408 || status == 429 || status >= 500;
}

static enum status wait_ms(const struct request *request, uint64_t ms)
{
    for (uint64_t waited = 0; waited < ms; waited += WAIT_SLICE_MS) {
        if (!goes_on(request->client))
            return error_set(request->err, ERR_CANCELLED, "%s: stopped", request->subject);
        nanosleep(&(struct timespec){0, WAIT_SLICE_MS * 1000000L}, NULL);
    }
    return OK;
}

enum outcome { DONE, FAILED, RETRY };

/* Judges what perform() brought; FAILED has set the error. */
static enum outcome judge(struct request *request, enum status performed, CURLcode code,
                          bool is_last)
{
    const struct hub_client *client = request->client;
    const struct head *head = &client->head;
    if (request->failure.status != OK) {
        if (request->err && request->err->status == OK)
            *request->err = request->failure;
        return FAILED;
    }
    if (code == CURLE_ABORTED_BY_CALLBACK || !goes_on(client)) {
        (void)!error_set(request->err, ERR_CANCELLED, "%s: stopped", request->subject);
        return FAILED;
    }
    if (performed != OK) {
        if (!is_last)
            return RETRY;
        (void)!error_set(request->err, ERR_IO, "%s: %s%s", request->subject,
                         client->curl_error[0] ? client->curl_error
                                               : client->api.easy_strerror(code),
                         request->sink ? "; the same command goes on where it stopped" : "");
        return FAILED;
    }
    if (is_temporary(head->status) && !is_last && head->retry_after_s <= HUB_RETRY_AFTER_S_MAX)
        return RETRY;
    if (head->status == 416 && request->sink && request->sink->bytes > 0 && !is_last)
        return RETRY;
    bool is_ok = head->status == 200 || head->status == 206 ||
                 (request->is_head && is_redirect(head->status));
    if (!is_ok) {
        (void)!explain(request);
        return FAILED;
    }
    if (request->sink && request->sink->bytes < request->sink->bytes_total) {
        if (!is_last)
            return RETRY;
        (void)!error_set(request->err, ERR_IO,
                         "%s: %" PRIu64 " bytes were announced, the server ends after %" PRIu64,
                         request->subject, request->sink->bytes_total, request->sink->bytes);
        return FAILED;
    }
    return DONE;
}

static enum status run(struct request *request)
{
    struct hub_client *client = request->client;
    for (int attempt = 1;; attempt++) {
        uint64_t bytes_before = request->sink ? request->sink->bytes : 0;
        CURLcode code;
        if (request->body)
            buf_clear(request->body);
        enum status performed = perform(request, &code);
        bool got_further = request->sink && request->sink->bytes > bytes_before;
        if (got_further)
            attempt = 1;
        switch (judge(request, performed, code, attempt >= request->attempts_max)) {
        case DONE:
            return OK;
        case FAILED:
            return request->err ? request->err->status : ERR_IO;
        case RETRY:
            break;
        }
        if (client->head.status == 416) {  // the part that is here is not a part of what is there
            request->sink->bytes = 0;
            if (request->sink->digest)
                digest_restart(request->sink->digest);
            if (ftruncate(request->sink->fd, 0) != 0 || lseek(request->sink->fd, 0, SEEK_SET) != 0)
                return error_set(request->err, ERR_IO, "%s: %s", request->subject, strerror(errno));
        }
        uint64_t ms = (uint64_t)HUB_FIRST_WAIT_MS << (attempt - 1);
        if (performed == OK && client->head.retry_after_s * 1000 > ms)
            ms = client->head.retry_after_s * 1000;
        if (performed == OK)
            log_debug("%s: HTTP %ld, next attempt in %" PRIu64 " ms", request->subject,
                      client->head.status, ms);
        else
            log_debug("%s: %s, next attempt in %" PRIu64 " ms", request->subject,
                      client->api.easy_strerror(code), ms);
        enum status status = wait_ms(request, ms);
        if (status != OK)
            return status;
    }
}

/* ---- the interface ---- */

static enum status load_curl(struct curl_api *api, struct error *err)
{
    /* Never closed: the TLS library behind it does not survive that. */
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        library = dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return error_set(err, ERR_UNSUPPORTED,
                         "downloads need libcurl, which is not installed (Debian: libcurl4)");
#define X(name)                                                                                    \
    *(void **)&api->name = dlsym(library, "curl_" #name);                                          \
    if (!api->name)                                                                                \
        return error_set(err, ERR_UNSUPPORTED, "libcurl has no function curl_" #name);
    CURL_FUNCTIONS(X)
#undef X
    return OK;
}

enum status hub_client_open(struct hub_client **out, bool (*go_on)(void *user), void *user,
                            struct error *err)
{
    *out = NULL;
    struct hub_client *client = mem_calloc(1, sizeof *client);
    if (!client)
        return error_set(err, ERR_MEMORY, "no memory for the hub's client");
    client->go_on = go_on;
    client->user = user;
    enum status status = hub_settings_read(&client->settings, err);
    if (status == OK)
        status = load_curl(&client->api, err);
    if (status == OK && (client->api.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
                         !(client->easy = client->api.easy_init())))
        status = error_set(err, ERR_MEMORY, "libcurl cannot start");
    if (status != OK) {
        hub_client_close(client);
        return status;
    }
    if (client->settings.authorization[0] && strncmp(client->settings.endpoint, "http://", 7) == 0)
        log_warn("HF_ENDPOINT is not https: the token travels in the open");
    *out = client;
    return OK;
}

void hub_client_close(struct hub_client *client)
{
    if (!client)
        return;
    if (client->easy)
        client->api.easy_cleanup(client->easy);
    explicit_bzero(&client->settings, sizeof client->settings);
    mem_free(client);
}

enum status hub_client_get(struct hub_client *client, const char *path, const char *subject,
                           int attempts_max, struct buf *out, struct error *err)
{
    struct error own = {0};
    struct request request = {.client = client,
                              .path = path,
                              .subject = subject,
                              .attempts_max = attempts_max,
                              .body = out,
                              .err = err ? err : &own};
    return run(&request);
}

enum status hub_client_facts(struct hub_client *client, const char *path, const char *subject,
                             struct hub_facts *out, struct error *err)
{
    struct error own = {0};
    struct request request = {.client = client,
                              .path = path,
                              .subject = subject,
                              .attempts_max = HUB_ATTEMPTS_MAX,
                              .is_head = true,
                              .err = err ? err : &own};
    *out = (struct hub_facts){0};
    enum status status = run(&request);
    if (status != OK)
        return status;
    const struct head *head = &client->head;
    bool is_linked = head->linked_etag[0] != '\0';
    out->bytes = head->linked_bytes != UNKNOWN ? head->linked_bytes
                 : !is_redirect(head->status)  ? head->content_bytes
                                               : UNKNOWN;
    memcpy(out->etag, is_linked ? head->linked_etag : head->etag, sizeof out->etag);
    if (out->etag[0] == '\0')
        return error_set(err, ERR_FORMAT, "%s: the hub sends no usable ETag", subject);
    if (out->bytes == UNKNOWN)
        return error_set(err, ERR_FORMAT, "%s: the hub does not say how large it is", subject);
    return OK;
}

enum status hub_client_download(struct hub_client *client, const char *path, const char *subject,
                                struct hub_sink *sink, struct error *err)
{
    struct error own = {0};
    struct request request = {.client = client,
                              .path = path,
                              .subject = subject,
                              .attempts_max = HUB_ATTEMPTS_MAX,
                              .sink = sink,
                              .err = err ? err : &own};
    if (sink->bytes == sink->bytes_total)
        return OK;
    return run(&request);
}
