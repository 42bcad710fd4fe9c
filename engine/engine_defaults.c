/* The engine's defaults; see engine_defaults.h.
 *
 * In a file of its own because it is needed without an engine, and because a server that is linked
 * with a scripted engine has its own engine.c. */
#include "engine/engine_defaults.h"

#include <strings.h>

#include "engine/base/pool.h"

enum {
    PARALLEL_DEFAULT = 32,
    PREFILL_CHUNK_DEFAULT = 512,
    QUEUE_JOBS_DEFAULT = 256,
    DRAFT_ROWS_MAX = 32,  // more do not pay: the step is bound by arithmetic by then
};

static const uint64_t KV_DIR_BYTES_DEFAULT = UINT64_C(10) << 30;

static size_t or_default(size_t value, size_t otherwise)
{
    return value != 0 ? value : otherwise;
}

void engine_fill_defaults(struct engine_options *options)
{
    options->parallel = or_default(options->parallel, PARALLEL_DEFAULT);
    options->prefill_chunk = or_default(options->prefill_chunk, PREFILL_CHUNK_DEFAULT);
    options->queue_jobs_max = or_default(options->queue_jobs_max, QUEUE_JOBS_DEFAULT);
    options->kv_dir_bytes =
        options->kv_dir_bytes != 0 ? options->kv_dir_bytes : KV_DIR_BYTES_DEFAULT;
    options->threads = or_default(options->threads, pool_cores_available());
    if (options->threads > POOL_THREADS_MAX)
        options->threads = POOL_THREADS_MAX;
}

size_t engine_draft_rows(const struct engine_options *options)
{
    return options->no_speculation ? 0 : DRAFT_ROWS_MAX;
}

struct model_options engine_model_options(const struct engine_options *options,
                                          const struct kernels *kernels)
{
    size_t n_drafts = engine_draft_rows(options);
    return (struct model_options){
        .kernels = kernels,
        .rows_max = options->parallel + options->prefill_chunk + n_drafts,
        .outputs_max = options->parallel + n_drafts,
        .ctx_size = options->ctx_size,
        .is_precise = options->precise,
    };
}

struct kv_demand engine_kv_demand(const struct engine_options *options)
{
    size_t n_drafts = engine_draft_rows(options);
    return (struct kv_demand){
        .sequences_max = options->parallel,
        .step_tokens = n_drafts < options->prefill_chunk ? options->prefill_chunk : n_drafts + 1,
    };
}

size_t engine_kv_blocks(const struct engine_options *options, const struct kv_layout *layout,
                        size_t ctx_size, size_t available, size_t *bytes)
{
    struct kv_demand demand = engine_kv_demand(options);
    size_t n_max = options->parallel * ((ctx_size + KV_TOKENS_PER_BLOCK - 1) / KV_TOKENS_PER_BLOCK);
    *bytes = options->kv_bytes ? options->kv_bytes : available ? available / 4 : SIZE_MAX;
    return kv_pool_fit(layout, &demand, *bytes, n_max < INT32_MAX / 2 ? n_max : INT32_MAX / 2);
}

enum status engine_check_vocab(size_t n_vocab, size_t n_tokens, struct error *err)
{
    if (n_vocab == n_tokens)
        return OK;
    return error_set(err, ERR_FORMAT, "the tokenizer has %zu tokens, the embedding %zu rows",
                     n_tokens, n_vocab);
}

enum status engine_quantize_file(const struct engine_options *options, struct model_file *file,
                                 struct error *err)
{
    const char *type = options->quantize;
    if (type == NULL)
        return OK;
    bool q8 = strcasecmp(type, "q8_0") == 0, q4 = strcasecmp(type, "q4_k") == 0;
    if (!q8 && !q4)
        return error_set_param(err, ERR_INVALID, "quantize",
                               "there is no type \"%s\" to quantise to (q8_0, q4_k)", type);
    return model_file_quantize(file, q8 ? DTYPE_Q8_0 : DTYPE_Q4_K, err);
}
