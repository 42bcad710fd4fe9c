/* From the command line to a clean exit: settings, socket, privileges, engine, HTTP, signals,
 * drain.
 *
 * The socket listens before the model is read, so that a supervisor sees 503 "loading" rather than
 * a refused connection. All threads are started with the signals blocked; the main thread takes
 * them with sigtimedwait() and is the only one that ever ends the process. Exit status: 0 after
 * SIGTERM or SIGINT, 1 when something failed at run time, 2 for wrong usage. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/pool.h"
#include "server/app.h"
#include "server/commands.h"
#include "server/listener.h"
#include "server/model_choice.h"
#include "server/notify.h"
#include "server/options.h"
#include "server/params_document.h"
#include "server/privileges.h"
#include "server/route.h"
#include "server/static_files.h"

enum {
    EXIT_RUNTIME = 1,
    EXIT_USAGE = 2,
    CONNECTIONS_MAX = 16384,
    FDS_RESERVED = 64,
    LIST_ITEMS_MAX = 64,
    POLL_MS = 20,
};

struct program {
    struct options_state state;
    struct listener listener;
    struct app app;
    sigset_t signals;
    struct model_choice model;
    const char *hosts[LIST_ITEMS_MAX], *origins[LIST_ITEMS_MAX];
    size_t n_hosts, n_origins;
    char *lists;  // the texts behind them
};

static void *json_alloc(size_t n_bytes)
{
    return mem_alloc(n_bytes);
}

/* "a,b" in place to pointers. */
static size_t split_list(char *text, const char *out[LIST_ITEMS_MAX])
{
    size_t n = 0;
    while (text && *text && n < LIST_ITEMS_MAX) {
        char *comma = strchr(text, ',');
        if (comma)
            *comma = '\0';
        out[n++] = text;
        text = comma ? comma + 1 : NULL;
    }
    return n;
}

static enum status read_lists(struct program *program, struct error *err)
{
    const struct options *options = &program->state.values;
    const char *hosts = options->allowed_host ? options->allowed_host : "";
    const char *origins = options->cors_origin ? options->cors_origin : "";
    size_t hosts_bytes = strlen(hosts) + 1;
    program->lists = mem_alloc(hosts_bytes + strlen(origins) + 1);
    if (!program->lists)
        return error_set(err, ERR_MEMORY, "no memory for the settings");
    memcpy(program->lists, hosts, hosts_bytes);
    memcpy(program->lists + hosts_bytes, origins, strlen(origins) + 1);
    program->n_hosts = split_list(program->lists, program->hosts);
    program->n_origins = split_list(program->lists + hosts_bytes, program->origins);
    return OK;
}

static enum status choose_model(struct program *program, struct error *err)
{
    enum status status = model_choose(&program->model, &program->state, &program->signals, err);
    if (status == OK && program->state.values.alias)
        snprintf(program->model.id, sizeof program->model.id, "%s", program->state.values.alias);
    return status;
}

/* After root was given up: the usual reasons why a model cannot be opened, in plain words. */
static enum status check_model(const struct program *program, struct error *err)
{
    int fd = open(program->model.path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return OK;
    }
    if (errno == EACCES) {
        return error_set(err, ERR_IO,
                         "%s may not be read by this user (uid %ld); put the model where that user "
                         "can read it, or choose another with --user",
                         program->model.path, (long)geteuid());
    }
    return error_set(err, ERR_IO, "%s: %s", program->model.path, strerror(errno));
}

static size_t raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256;
    rlim_t wanted = CONNECTIONS_MAX + FDS_RESERVED;
    if (limit.rlim_max != RLIM_INFINITY && wanted > limit.rlim_max)
        wanted = limit.rlim_max;
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted)
        wanted = limit.rlim_cur == RLIM_INFINITY ? wanted : limit.rlim_cur;
    limit.rlim_cur = wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
    size_t fds = (size_t)limit.rlim_cur;
    size_t connections = fds > 2 * FDS_RESERVED ? fds - FDS_RESERVED : fds / 2;
    return connections < CONNECTIONS_MAX ? connections : CONNECTIONS_MAX;
}

static enum status open_engine(struct program *program, struct error *err)
{
    struct engine_options engine = model_engine_options(&program->model, &program->state.values);
    return engine_open(&program->app.engine, &engine, err);
}

/* Streams of 16 readers on two cores cost 28 us of CPU a token with two threads and 22 with one:
 * each step wakes each of them, and they run where the engine computes. */
static size_t default_http_threads(void)
{
    return pool_cores_available() <= 4 ? 1 : 2;
}

static enum status start_http(struct program *program, size_t connections_max, struct error *err)
{
    const struct options *options = &program->state.values;
    struct http_settings settings = {
        .listen_fd = program->listener.fd,
        .threads = options->http_threads ? options->http_threads : default_http_threads(),
        .connections_max = connections_max,
        .policy = {program->listener.loopback, program->hosts, program->n_hosts, program->origins,
                   program->n_origins},
        .head_ms = (int64_t)options->head_timeout_s * 1000,
        .body_ms = (int64_t)options->body_timeout_s * 1000,
        .idle_ms = 60000,
        .ping_ms = (int64_t)options->ping_s * 1000,
        .slow_reader_ms = (int64_t)options->slow_reader_s * 1000,
        .body_bytes_max = REQUEST_BODY_BYTES_MAX,
        .bodies_bytes_max = (size_t)256 << 20,
    };
    struct http_handlers handlers = {&program->app, route_on_head, route_on_request, route_on_done};
    return http_start(&program->app.http, &settings, &handlers, err);
}

/* URL, model, memory and a line to try: what somebody wants to see after a start. */
static void print_banner(const struct program *program)
{
    const struct options *options = &program->state.values;
    const struct engine_info *info = engine_info(program->app.engine);
    const char *host = options->host;
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        host = "127.0.0.1";
    const char *open = strchr(host, ':') ? "[" : "", *close = *open ? "]" : "";
    printf("wicara " WICARA_VERSION " is ready: http://%s%s%s:%u/\n", open, host, close,
           (unsigned)program->listener.port);
    printf("  model   %s (%s, %.0f M parameters), loaded in %.2f s\n", info->model_id,
           info->architecture, (double)info->n_parameters / 1e6, info->load_seconds);
    printf("  memory  %.0f MiB weights, %.0f MiB KV cache, %.0f MiB scratch\n",
           (double)info->weight_bytes / 1048576, (double)info->kv_bytes / 1048576,
           (double)info->scratch_bytes / 1048576);
    printf("  limits  %zu tokens a conversation, %zu conversations a step, %zu threads (%s)\n",
           info->ctx_size, info->parallel, info->threads, info->cpu_level);
    printf("  try     curl http://%s%s%s:%u/v1/chat/completions -H 'Content-Type: "
           "application/json' %s-d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]}'\n",
           open, host, close, (unsigned)program->listener.port,
           program->app.auth.n_keys > 0 ? "-H \"Authorization: Bearer $KEY\" " : "");
    fflush(stdout);
}

/* The number of a signal that arrived within the time, 0 = none. */
static int wait_signal(const struct program *program, int wait_ms)
{
    struct timespec limit = {wait_ms / 1000, (long)(wait_ms % 1000) * 1000000};
    int signal = sigtimedwait(&program->signals, NULL, &limit);
    return signal > 0 ? signal : 0;
}

/* True when a signal asked to end; false when the model could not be loaded. */
static bool serve(struct program *program)
{
    bool announced = false;
    for (;;) {
        enum engine_state state = engine_state(program->app.engine);
        if (state == ENGINE_FAILED) {
            struct error err = {OK, "", ""};
            if (engine_wait(program->app.engine, &err) != OK)
                log_error("%s", err.text);
            return false;
        }
        if (state == ENGINE_READY && !announced) {
            print_banner(program);
            notify_manager("READY=1");
            announced = true;
        }
        if (wait_signal(program, announced ? 1000 : POLL_MS))
            return true;
    }
}

/* Unready at once; running requests may end; what still runs at the deadline is told so. */
static void drain(struct program *program)
{
    struct app *app = &program->app;
    atomic_store(&app->draining, true);
    engine_drain(app->engine);
    notify_manager("STOPPING=1");
    int64_t deadline = clock_ns() + (int64_t)program->state.values.drain_s * 1000000000;
    struct http_stats stats;
    http_stats(app->http, &stats);
    log_info("stopping: %zu requests are running", stats.exchanges_waiting);
    bool interrupted = false;
    while (stats.exchanges_waiting + stats.replies_pending > 0) {
        if (wait_signal(program, POLL_MS)) {
            log_warn("second signal: exit now");
            _exit(EXIT_RUNTIME);
        }
        int64_t now = clock_ns();
        if (now >= deadline && !interrupted) {
            log_warn("%zu requests are cut off", stats.exchanges_waiting);
            http_interrupt(app->http);
            interrupted = true;
            deadline = now + 2000000000;  // for the last bytes to go out
        } else if (now >= deadline) {
            break;
        }
        http_stats(app->http, &stats);
    }
}

static int run(struct program *program)
{
    struct app *app = &program->app;
    const struct options *options = &program->state.values;
    struct error err = {OK, "", ""};
    bool usage = true;  // failures up to the bind are the caller's
    size_t connections_max = raise_fd_limit();
    int exit_status = EXIT_RUNTIME;
    app->options = options;
    app->web_dir_fd = -1;
    app->model_id = program->model.id;
    app->start_unix_s = clock_unix_s();
    if (auth_init(&app->auth, options->api_key, options->api_key_file, &err) != OK ||
        read_lists(program, &err) != OK ||
        key_limits_init(&app->key_limits, app->auth.n_keys, options->key_jobs, &err) != OK)
        goto fail;
    if (options->web_dir && (app->web_dir_fd = static_files_open_dir(options->web_dir, &err)) < 0)
        goto fail;
    usage = false;
    if (listener_open(&program->listener, options->host, (uint16_t)options->port, &err) != OK)
        goto fail;
    if (!program->listener.loopback && app->auth.n_keys == 0 && !options->insecure) {
        usage = true;
        enum status status =
            error_set(&err, ERR_INVALID,
                      "%s can be reached from other machines: set --api-key (or --api-key-file), "
                      "or say --insecure if anybody there may use this server",
                      options->host);
        (void)status;
        goto fail;
    }
    if (!program->listener.loopback && app->auth.n_keys == 0)
        log_warn("no API key is set: everybody who reaches %s may use this server", options->host);
    if (choose_model(program, &err) != OK) {
        usage = err.status == ERR_INVALID;
        goto fail;
    }
    if (privileges_drop(options->user, &err) != OK || check_model(program, &err) != OK ||
        open_engine(program, &err) != OK)
        goto fail;
    if (start_http(program, connections_max, &err) != OK)
        goto fail;
    program->listener.fd = -1;  // the HTTP server's now
    log_info("listening on %s port %u, loading %s", options->host, (unsigned)program->listener.port,
             program->model.path);
    if (serve(program)) {
        drain(program);
        exit_status = 0;
    }
    http_stop(app->http);
    goto out;
fail:
    log_error("%s", err.text);
    exit_status = usage ? EXIT_USAGE : EXIT_RUNTIME;
out:
    if (app->engine)
        engine_close(app->engine);
    http_free(app->http);
    if (program->listener.fd >= 0)
        close(program->listener.fd);
    if (app->web_dir_fd >= 0)
        close(app->web_dir_fd);
    key_limits_release(&app->key_limits);
    auth_release(&app->auth);
    mem_free(program->lists);
    return exit_status;
}

static int print(struct buf *text)
{
    int exit_status = text->failed ? EXIT_RUNTIME : 0;
    if (text->n_bytes > 0 && fwrite(text->bytes, 1, text->n_bytes, stdout) != text->n_bytes)
        exit_status = EXIT_RUNTIME;
    buf_release(text);
    return exit_status;
}

static int command(struct program *program)
{
    const struct options *options = &program->state.values;
    struct buf text;
    buf_init(&text, 1 << 20);
    if (options->help) {
        options_write_help(&text);
        return print(&text);
    }
    if (options->version) {
        buf_append_text(&text, "wicara " WICARA_VERSION "\n");
        return print(&text);
    }
    if (options->print_config) {
        options_write_config(&program->state, &text);
        return print(&text);
    }
    if (options->print_parameters) {
        params_write_markdown(&text);
        return print(&text);
    }
    enum log_level level;
    if (!log_level_parse(options->log_level, &level)) {
        log_error("--log-level: error, warn, info or debug, not '%s'", options->log_level);
        return EXIT_USAGE;
    }
    log_set_level(level);
    if (strcmp(options->speculation, "off") != 0 && strcmp(options->speculation, "ngram") != 0) {
        log_error("--speculation: ngram or off, not '%s'", options->speculation);
        return EXIT_USAGE;
    }
    if (strcmp(options->numerics, "fast") != 0 && strcmp(options->numerics, "precise") != 0) {
        log_error("--numerics: fast or precise, not '%s'", options->numerics);
        return EXIT_USAGE;
    }
    struct engine_sampling sampling;
    struct error err = {OK, "", ""};
    if (engine_sampling_read(&sampling, NULL, options->sampling, &err) != OK) {
        log_error("%s", err.text);
        return EXIT_USAGE;
    }
    return run(program);
}

int main(int argc, char **argv)
{
    static struct program program;  // some kilobytes; zeroed
    struct error err = {OK, "", ""};
    cJSON_Hooks hooks = {json_alloc, mem_free};
    cJSON_InitHooks(&hooks);
    program.listener.fd = -1;
    sigemptyset(&program.signals);
    sigaddset(&program.signals, SIGTERM);
    sigaddset(&program.signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &program.signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of the write
    if (commands_is(argc, argv))
        return commands_run(argc, argv, &program.signals);
    if (options_read(&program.state, argc, argv, &err) != OK) {
        log_error("%s", err.text);
        return EXIT_USAGE;
    }
    int exit_status = command(&program);
    options_release(&program.state);
    return exit_status;
}
