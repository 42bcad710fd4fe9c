/* The commands; see commands.h.
 *
 * What a command works on follows its name directly, then come the options of the one table, so
 * that environment and config file mean the same for a command as for the server. */
#include "server/commands.h"

#include <inttypes.h>

#include "engine/base/buf.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/engine_models.h"
#include "server/inspect.h"
#include "server/listener.h"
#include "server/model_choice.h"
#include "server/options.h"
#include "server/progress.h"

enum { EXIT_RUNTIME = 1, EXIT_USAGE = 2, ARGUMENTS_MAX = 200, OUTPUT_BYTES_MAX = 64 << 20 };

struct call {
    const struct options *options;
    const char *words[2];  // behind the command's name
    size_t n_words;
    bool json;
    const sigset_t *signals;
    struct buf *out;
};

struct command {
    const char *name;
    size_t words_min, words_max;
    enum status (*run)(struct call *call, struct error *err);
    bool has_json;
};

/* ---- pull ---- */

static enum status run_pull(struct call *call, struct error *err)
{
    struct progress progress;
    char *path;
    progress_init(&progress, call->signals);
    struct hub_pull_options options = {.file = call->options->hf_file,
                                       .offline = call->options->offline,
                                       .on_progress = progress_show,
                                       .user = &progress};
    enum status status = hub_pull(&path, call->words[0], &options, err);
    progress_end(&progress);
    if (status != OK)
        return status;
    buf_printf(call->out, "%s\n", path);
    mem_free(path);
    return OK;
}

/* ---- models ---- */

static void write_size(struct buf *out, uint64_t bytes)
{
    if (bytes >= UINT64_C(1000000000))
        buf_printf(out, "%7.1f GB", (double)bytes / 1e9);
    else
        buf_printf(out, "%7.1f MB", (double)bytes / 1e6);
}

static void write_models(const struct local_models *models, struct buf *out)
{
    size_t width = 4;
    for (size_t i = 0; i < models->n_models; i++) {
        size_t n = strlen(models->models[i].name);
        width = n > width && n <= 60 ? n : width;
    }
    if (models->n_models == 0) {
        buf_append_text(out, "no models on this machine; `wicara pull org/repo` fetches one\n");
        return;
    }
    buf_printf(out, "%-*s        SIZE  FROM       PATH\n", (int)width, "NAME");
    for (size_t i = 0; i < models->n_models; i++) {
        const struct local_model *model = &models->models[i];
        buf_printf(out, "%-*s  ", (int)width, model->name);
        write_size(out, model->bytes);
        buf_printf(out, "  %-9s  %s\n", model_source_text(model->source), model->path);
    }
}

static void write_models_json(const struct local_models *models, struct buf *out)
{
    buf_append_char(out, '[');
    for (size_t i = 0; i < models->n_models; i++) {
        const struct local_model *model = &models->models[i];
        buf_printf(out, "%s\n  {\"name\": ", i ? "," : "");
        buf_append_json(out, model->name, strlen(model->name));
        buf_printf(out, ", \"bytes\": %" PRIu64 ", \"from\": \"%s\", \"path\": ", model->bytes,
                   model_source_text(model->source));
        buf_append_json(out, model->path, strlen(model->path));
        buf_append_char(out, '}');
    }
    buf_append_text(out, models->n_models ? "\n]\n" : "]\n");
}

static enum status remove_model(const struct local_models *models, struct call *call,
                                struct error *err)
{
    uint64_t freed_bytes;
    const struct local_model *model = local_models_find(models, call->words[1]);
    if (!model || strcasecmp(model->name, call->words[1]) != 0) {
        return error_set(err, ERR_NOT_FOUND,
                         "no model is called exactly '%.100s'; `wicara models` "
                         "lists them",
                         call->words[1]);
    }
    enum status status = local_model_remove(model, &freed_bytes, err);
    if (status != OK)
        return status;
    buf_printf(call->out, "removed %s, %.1f MB are free again\n", model->name,
               (double)freed_bytes / 1e6);
    return OK;
}

static enum status run_models(struct call *call, struct error *err)
{
    bool removes = call->n_words == 2 && strcmp(call->words[0], "rm") == 0;
    if (call->n_words > 0 && !removes)
        return error_set(err, ERR_INVALID, "usage: wicara models, or wicara models rm NAME");
    struct local_models models;
    enum status status = local_models_read(&models, err);
    if (status == OK && removes)
        status = remove_model(&models, call, err);
    else if (status == OK && call->json)
        write_models_json(&models, call->out);
    else if (status == OK)
        write_models(&models, call->out);
    local_models_release(&models);
    return status;
}

/* ---- inspect ---- */

static enum status run_inspect(struct call *call, struct error *err)
{
    struct model_choice choice;
    struct inspect_report report;
    enum status status = model_find(&choice, call->words[0], err);
    if (status != OK)
        return status;
    struct engine_options options = model_engine_options(&choice, call->options);
    status = engine_inspect(&report, &options, err);
    if (status != OK)
        return status;
    if (call->json)
        inspect_write_json(&report, choice.path, call->out);
    else
        inspect_write_text(&report, choice.path, call->out);
    return OK;
}

/* ---- doctor ---- */

static enum status run_doctor(struct call *call, struct error *err)
{
    static const char *const words[] = {"ok  ", "note", "bad "};
    struct model_choice choice = {.path = ""};
    struct doctor_report report;
    size_t n_bad = 0;
    enum status status = OK;
    if (call->n_words > 0)
        status = model_find(&choice, call->words[0], err);
    if (status != OK)
        return status;
    struct engine_options options = model_engine_options(&choice, call->options);
    if (call->n_words == 0)
        options.model_path = NULL;
    engine_doctor(&report, &options);
    for (size_t i = 0; i < report.n_findings; i++) {
        buf_printf(call->out, "%s  %s\n", words[report.findings[i].grade], report.findings[i].text);
        n_bad += report.findings[i].grade == DOCTOR_BAD;
    }
    if (n_bad == 0)
        return OK;
    return error_set(err, ERR_UNSUPPORTED, "%zu thing%s to mend", n_bad, n_bad == 1 ? "" : "s");
}

/* ---- healthcheck ---- */

static enum status run_healthcheck(struct call *call, struct error *err)
{
    return health_probe(call->options->host, (uint16_t)call->options->port, err);
}

/* ---- the table ---- */

static const struct command commands[] = {
    {"pull", 1, 1, run_pull, false},
    {"models", 0, 2, run_models, true},
    {"inspect", 1, 1, run_inspect, true},
    {"doctor", 0, 1, run_doctor, false},
    {"healthcheck", 0, 0, run_healthcheck, false},
};

const char *commands_help(void)
{
    return "       wicara pull ORG/REPO[:QUANT]      download a model from the Hugging Face hub\n"
           "       wicara models [--json]            list the models on this machine\n"
           "       wicara models rm NAME             delete one\n"
           "       wicara inspect MODEL [--json]     what it is and the memory it takes "
           "(--ctx-size, "
           "--parallel)\n"
           "       wicara doctor [MODEL]             what this machine is for the engine\n"
           "       wicara healthcheck [OPTION...]    exit 0 when a server is ready\n";
}

static const struct command *find_command(int argc, char *const *argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, argv[1]) == 0)
            return &commands[i];
    }
    return NULL;
}

bool commands_is(int argc, char *const *argv)
{
    return find_command(argc, argv) != NULL;
}

/* Takes the command's own words and --json out of the arguments; the rest is for the option table.
 * False when there are too few words or too many. */
static bool split_arguments(const struct command *command, int argc, char *const *argv,
                            struct call *call, int *n_rest, char *rest[ARGUMENTS_MAX])
{
    int at = 2;
    while (at < argc && argv[at][0] != '-' && call->n_words < command->words_max)
        call->words[call->n_words++] = argv[at++];
    *n_rest = 0;
    rest[(*n_rest)++] = argv[0];
    for (; at < argc && *n_rest < ARGUMENTS_MAX; at++) {
        if (command->has_json && strcmp(argv[at], "--json") == 0)
            call->json = true;
        else
            rest[(*n_rest)++] = argv[at];
    }
    return call->n_words >= command->words_min && at == argc;
}

static int fail(const struct command *command, const struct error *err)
{
    fprintf(stderr, "wicara %s: %s\n", command->name, err->text);
    return err->status == ERR_INVALID ? EXIT_USAGE : EXIT_RUNTIME;
}

int commands_run(int argc, char *const *argv, const sigset_t *signals)
{
    const struct command *command = find_command(argc, argv);
    static struct options_state state;  // some kilobytes; zeroed
    struct call call = {.options = &state.values, .signals = signals};
    struct error err = {OK, "", ""};
    char *rest[ARGUMENTS_MAX];
    int n_rest;
    struct buf out;
    enum log_level level = LOG_WARN;
    if (!split_arguments(command, argc, argv, &call, &n_rest, rest)) {
        (void)!error_set(&err, ERR_INVALID, "the name of a model is missing; see --help");
        return fail(command, &err);
    }
    if (options_read(&state, n_rest, rest, &err) != OK)
        return fail(command, &err);
    if (options_origin(&state, "log-level") != FROM_DEFAULT)
        (void)log_level_parse(state.values.log_level, &level);
    log_set_level(level);
    buf_init(&out, OUTPUT_BYTES_MAX);
    call.out = &out;
    int exit_status = 0;
    if (state.values.help)
        options_write_help(&out);
    else if (command->run(&call, &err) != OK)
        exit_status = fail(command, &err);
    if (out.failed || fwrite(out.bytes ? out.bytes : "", 1, out.n_bytes, stdout) != out.n_bytes ||
        fflush(stdout) != 0)
        exit_status = EXIT_RUNTIME;
    buf_release(&out);
    options_release(&state);
    return exit_status;
}
