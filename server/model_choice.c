/* From the settings to the model's path; see model_choice.h.
 *
 * A download happens here, in the main thread, after the address is bound and before anything
 * answers on it: a port that is taken or a missing key must not show after an hour of downloading.
 * Root is still root, so that its cache can be written. */
#include "server/model_choice.h"

#include <errno.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/engine_models.h"
#include "server/progress.h"

static enum status copy(char *out, size_t n_bytes, const char *text, const char *what,
                        struct error *err)
{
    int n = snprintf(out, n_bytes, "%s", text);
    if (n >= 0 && (size_t)n < n_bytes)
        return OK;
    return error_set(err, ERR_LIMIT, "%s has %d bytes, the limit is %zu", what, n, n_bytes - 1);
}

/* A file's name without ".gguf", a folder's name. */
static void id_from_path(struct model_choice *out)
{
    const char *slash = strrchr(out->path, '/');
    const char *name = slash && slash[1] ? slash + 1 : out->path;
    size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
        n -= 5;
    snprintf(out->id, sizeof out->id, "%.*s", n < sizeof out->id ? (int)n : MODEL_ID_BYTES - 1,
             name);
}

enum status model_find(struct model_choice *out, const char *name, struct error *err)
{
    enum status status = copy(out->path, sizeof out->path, name, "the model's path", err);
    if (status != OK)
        return status;
    id_from_path(out);
    if (access(name, F_OK) == 0 || errno != ENOENT)
        return OK;
    struct local_models models;
    status = local_models_read(&models, err);
    if (status != OK)
        return status;
    const struct local_model *model = local_models_find(&models, name);
    if (!model) {
        status = error_set(err, ERR_NOT_FOUND,
                           "%s: no such file, and no model of that name is on this machine "
                           "(`wicara models` lists them, `wicara pull org/repo` fetches one)",
                           name);
    } else {
        status = copy(out->path, sizeof out->path, model->path, "the model's path", err);
        if (status == OK)
            status = copy(out->id, sizeof out->id, model->name, "the model's name", err);
    }
    local_models_release(&models);
    return status;
}

static enum status find_default(struct model_choice *out, struct error *err)
{
    static const char name[] = "SmolLM2-135M-Instruct.Q4_1.gguf";
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && *cache ? snprintf(out->path, sizeof out->path, "%s/wicara/%s", cache, name)
                            : snprintf(out->path, sizeof out->path, "%s/.cache/wicara/%s",
                                       home ? home : "", name);
    if (n < 0 || (size_t)n >= sizeof out->path)
        return error_set(err, ERR_LIMIT, "the cache folder's path is too long");
    id_from_path(out);
    if (access(out->path, F_OK) == 0 || errno != ENOENT)
        return OK;
    return error_set(
        err, ERR_INVALID,
        "no model: %.100s does not exist; name a .gguf file with --model, a repository "
        "with -hf, or let `make run` fetch the default one",
        out->path);
}

static enum status download(struct model_choice *out, const struct options *options,
                            const sigset_t *signals, struct error *err)
{
    struct progress progress;
    char *path;
    progress_init(&progress, signals);
    struct hub_pull_options pull = {.file = options->hf_file,
                                    .offline = options->offline,
                                    .on_progress = progress_show,
                                    .user = &progress};
    enum status status = hub_pull(&path, options->hf_repo, &pull, err);
    progress_end(&progress);
    if (status != OK)
        return status;
    status = copy(out->path, sizeof out->path, path, "the model's path", err);
    mem_free(path);
    return status == OK ? copy(out->id, sizeof out->id, options->hf_repo, "--hf-repo", err)
                        : status;
}

enum status model_choose(struct model_choice *out, const struct options_state *state,
                         const sigset_t *signals, struct error *err)
{
    const struct options *options = &state->values;
    bool from_hub = options->hf_repo != NULL;
    if (from_hub && options->model) {
        enum option_origin hub = options_origin(state, "hf-repo");
        enum option_origin model = options_origin(state, "model");
        if (hub == model)
            return error_set(err, ERR_INVALID,
                             "--model and --hf-repo name a model each; choose one");
        from_hub = hub > model;
    }
    if (from_hub)
        return download(out, options, signals, err);
    if (options->model)
        return model_find(out, options->model, err);
    if (options->hf_file)
        return error_set(err, ERR_INVALID, "--hf-file needs --hf-repo");
    return find_default(out, err);
}

struct engine_options model_engine_options(const struct model_choice *model,
                                           const struct options *options)
{
    return (struct engine_options){
        .model_path = model->path,
        .model_alias = model->id,
        .ctx_size = options->ctx_size,
        .parallel = options->parallel,
        .kv_bytes = options->kv_memory,
        .kv_dir = options->kv_dir,
        .kv_dir_bytes = options->kv_dir_size,
        .threads = options->threads,
        .cpu_level = options->cpu,
        .quantize = options->quantize,
        .sampling = options->sampling,
        .precise = strcmp(options->numerics, "precise") == 0,
        .queue_jobs_max = options->queue,
        .prefill_chunk = options->prefill_chunk,
        .no_prefix_cache = options->no_prefix_cache,
        .no_speculation = strcmp(options->speculation, "off") == 0,
    };
}
