/* Opening a model, from the file to the running parts, in dependency order; see engine_state.h.
 *
 * Cheap checks come before expensive work: the file's header, tokenizer and template are read
 * before the weights. The KV pools are sized after the weights are in memory, from what is left: a
 * quarter of it, and never more than all sequences at full length can use, windows considered. They
 * are committed lazily by the kernel, so an idle server does not pay for them. */
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/engine_defaults.h"
#include "engine/engine_memory.h"
#include "engine/engine_state.h"
#include "engine/kernels/kernels.h"
#include "engine/model/model.h"

static const int32_t SHARED_STEP_US = 25000;  // nobody reads 40 tokens a second

/* Markers that the model writes as one token: no text can be taken for them. */
static int32_t find_marker(void *context, const char *text, size_t n_bytes, bool *is_control)
{
    const struct tokenizer *tokenizer = context;
    int32_t id = tokenizer_find(tokenizer, text, n_bytes);
    if (id == TOKEN_NONE || !tokenizer_is_special(tokenizer, id))
        return -1;
    *is_control = tokenizer_is_control(tokenizer, id);
    return id;
}

static enum status copy_edge_texts(struct engine *e, struct error *err)
{
    int32_t ids[2] = {tokenizer_bos(e->tokenizer), tokenizer_eos(e->tokenizer)};
    for (size_t i = 0; i < 2; i++) {
        size_t n = 0;
        const char *text =
            ids[i] == TOKEN_NONE ? "" : tokenizer_token_text(e->tokenizer, ids[i], &n);
        e->edge_texts[i] = mem_memdup0(text, n);
        if (e->edge_texts[i] == NULL)
            return error_set(err, ERR_MEMORY, "no memory for the tokenizer");
    }
    return OK;
}

static enum status open_text_parts(struct engine *e, struct error *err)
{
    enum status status = tokenizer_open(&e->tokenizer, e->file, err);
    if (status == OK)
        status = copy_edge_texts(e, err);
    if (status != OK)
        return status;
    struct text_view source = {0};
    if (!model_file_text(e->file, "tokenizer.chat_template", &source)) {
        (void)error_set(&e->prepare.template_error, ERR_UNSUPPORTED,
                        "the model has no chat template; use completions");
        e->chat_template = mem_strdup("");
        return e->chat_template != NULL ? OK : error_set(err, ERR_MEMORY, "no memory");
    }
    e->chat_template = mem_memdup0(source.bytes, source.n_bytes);
    if (e->chat_template == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the chat template");
    status = chat_prompt_open(&e->chat_prompt, source.bytes, source.n_bytes, e->edge_texts[0],
                              e->edge_texts[1], &e->prepare.template_error);
    if (e->chat_prompt != NULL) {
        e->prepare.reply_format = *chat_prompt_reply_format(e->chat_prompt);
        reply_format_resolve(&e->prepare.reply_format, find_marker, e->tokenizer);
        log_debug("replies: %s", e->prepare.reply_format.name);
    }
    if (e->chat_prompt != NULL || status == OK)
        return status;
    if (status == ERR_MEMORY)
        return error_set(err, ERR_MEMORY, "no memory for the chat template");
    // Completions still work; every chat is refused with this text.
    error_prefix(&e->prepare.template_error, "the model's chat template cannot be used");
    log_warn("%s", e->prepare.template_error.text);
    return OK;
}

static enum status open_model(struct engine *e, struct error *err)
{
    enum cpu_level level = kernels_best_level();
    if (e->options.cpu_level != NULL && !kernels_level_parse(e->options.cpu_level, &level))
        return error_set_param(err, ERR_INVALID, "cpu", "there is no level \"%s\"",
                               e->options.cpu_level);
    const struct kernels *kernels;
    enum status status = kernels_get(level, &kernels, err);
    if (status == OK)
        status = pool_create(&e->pool, e->options.threads, err);
    if (status != OK)
        return status;
    struct model_options options = engine_model_options(&e->options, kernels);
    options.account = &e->account;
    status = model_open(&e->model, e->file, &options, e->pool, err);
    if (status != OK)
        return status;
    status = engine_check_vocab(model_info(e->model)->n_vocab, tokenizer_vocab(e->tokenizer), err);
    if (status != OK)
        return status;
    e->info.cpu_level = kernels->name;
    return OK;
}

static void wake_scheduler(void *wakeup)
{
    wakeup_signal(wakeup);
}

/* A directory that cannot be used is a warning; one that must not be used is an error. */
static enum status open_spill(struct engine *e, struct error *err)
{
    if (e->options.kv_dir == NULL)
        return OK;
    struct kv_store *store;
    struct error reason = {0};
    enum status status = kv_store_open(&store, e->options.kv_dir, e->options.kv_dir_bytes, &reason);
    if (status == ERR_IO) {
        log_warn("prompts are not kept over a restart: %s", reason.text);
        return OK;
    }
    if (status != OK)
        return error_set_param(err, status, reason.param, "%s", reason.text);
    const struct kv_layout *layout = model_kv_layout(e->model);
    size_t block_bytes = 0;
    for (size_t g = 0; g < layout->n_groups; g++)
        if (kv_group_block_bytes(&layout->groups[g]) > block_bytes)
            block_bytes = kv_group_block_bytes(&layout->groups[g]);
    size_t bytes = kv_spill_bytes(block_bytes);
    status = account_reserve(&e->account, ACCOUNT_KV, bytes, err);
    if (status != OK) {
        kv_store_close(store);
        return status;
    }
    e->kv_account_bytes += bytes;
    status = kv_spill_open_take(&e->spill, store, block_bytes, wake_scheduler, e->wakeup, err);
    if (status == OK)
        kv_cache_set_spill(e->cache, e->spill);
    return status;
}

static enum status open_cache(struct engine *e, struct error *err)
{
    const struct kv_layout *layout = model_kv_layout(e->model);
    struct kv_demand demand = engine_kv_demand(&e->options);
    size_t per_group[KV_GROUPS_MAX], limit;
    e->kv_plan_blocks = engine_kv_blocks(&e->options, layout, model_info(e->model)->ctx_size,
                                         memory_available(), &limit);
    if (e->kv_plan_blocks == 0)
        return error_set_param(err, ERR_LIMIT, "kv_memory",
                               "%zu bytes of KV memory are less than one block of %zu bytes", limit,
                               kv_pool_blocks(layout, &demand, 1, per_group));
    size_t bytes = kv_pool_blocks(layout, &demand, e->kv_plan_blocks, per_group);
    enum status status = account_reserve(&e->account, ACCOUNT_KV, bytes, err);
    if (status != OK)
        return status;
    e->kv_account_bytes = e->info.kv_bytes = bytes;
    // With the version, since blocks may outlive the program that made them.
    uint8_t digest[SHA256_BYTES], root[SHA256_BYTES];
    model_digest(e->model, digest);
    sha256(root, digest, sizeof digest, WICARA_VERSION, strlen(WICARA_VERSION), NULL, 0);
    status = kv_cache_create(&e->cache, layout, per_group, root, !e->options.no_prefix_cache, err);
    if (status == OK)
        status = open_spill(e, err);
    if (status != OK)
        return status;
    e->info.kv_blocks = per_group[kv_layout_widest(layout)];
    e->info.kv_block_tokens = KV_TOKENS_PER_BLOCK;
    atomic_store(&e->metrics.kv_blocks, e->info.kv_blocks);
    atomic_store(&e->metrics.kv_blocks_free, e->info.kv_blocks);
    return OK;
}

static enum status start_parts(struct engine *e, struct error *err)
{
    const struct model_info *model = model_info(e->model);
    struct batch_limits limits = {
        .n_blocks = (int32_t)e->kv_plan_blocks,
        .block_tokens = KV_TOKENS_PER_BLOCK,
        .sequences_max = (int32_t)e->options.parallel,
        .prefill_rows_max = (int32_t)e->options.prefill_chunk,
        .headroom_blocks = 1,
        .shared_step_us = SHARED_STEP_US,
        .draft_rows_max = (int32_t)engine_draft_rows(&e->options),
    };
    e->prepare.tokenizer = e->tokenizer;
    e->prepare.chat_prompt = e->chat_prompt;
    e->prepare.n_vocab = model->n_vocab;
    e->prepare.ctx_size = model->ctx_size;
    e->prepare.limits = limits;
    enum status status = grammar_cache_create(&e->grammars, e->tokenizer, model->n_vocab, err);
    if (status != OK)
        return status;
    e->prepare.grammars = e->grammars;
    struct scheduler_parts parts = {
        .model = e->model,
        .pool = e->pool,
        .cache = e->cache,
        .spill = e->spill,
        .tokenizer = e->tokenizer,
        .metrics = &e->metrics,
        .wakeup = e->wakeup,
        .limits = limits,
    };
    status = scheduler_create(&e->scheduler, &parts, err);
    if (status != OK)
        return status;
    return text_pool_create(&e->text_pool, &e->prepare, e->scheduler, &e->metrics, err);
}

/* ---- facts ---- */

static char *make_model_id(const struct engine_options *options)
{
    if (options->model_alias != NULL)
        return mem_strdup(options->model_alias);
    const char *slash = strrchr(options->model_path, '/');
    const char *name = slash == NULL ? options->model_path : slash + 1;
    size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
        n -= 5;
    return mem_memdup0(name, n);
}

/* Changes exactly when answers could: with the weights, the arithmetic, what requests are sampled
 * with by default, or our version; names the numerics class. */
static void make_fingerprint(struct engine *e)
{
    uint8_t model[SHA256_BYTES], all[SHA256_BYTES];
    model_digest(e->model, model);
    char sampling[SAMPLING_TEXT_BYTES];
    engine_sampling_text(&e->info.sampling, sampling);
    sha256(all, model, sizeof model, WICARA_VERSION, strlen(WICARA_VERSION), sampling,
           strlen(sampling));
    int n = snprintf(e->fingerprint, sizeof e->fingerprint, "fp_");
    for (size_t i = 0; i < 8; i++)
        n += snprintf(e->fingerprint + n, sizeof e->fingerprint - (size_t)n, "%02x", all[i]);
    snprintf(e->fingerprint + n, sizeof e->fingerprint - (size_t)n, "_%s", e->info.numerics);
}

static enum status fill_info(struct engine *e, int64_t start_ns, struct error *err)
{
    const struct model_info *model = model_info(e->model);
    struct engine_info *info = &e->info;
    e->model_id = make_model_id(&e->options);
    if (e->model_id == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the model's name");
    info->numerics = e->options.precise ? "precise" : "fast";
    enum status status = engine_sampling_read(&info->sampling, e->file, e->options.sampling, err);
    if (status != OK)
        return status;
    make_fingerprint(e);
    info->model_id = e->model_id;
    info->architecture = model->architecture;
    info->model_name = model->name;
    info->fingerprint = e->fingerprint;
    info->chat_template = e->chat_template;
    info->bos_text = e->edge_texts[0];
    info->eos_text = e->edge_texts[1];
    info->reply_format = "";
    if (e->chat_prompt != NULL) {
        info->reply_format = e->prepare.reply_format.name;
        info->thinks = e->prepare.reply_format.thinks;
        info->thinking_switch = chat_prompt_info(e->chat_prompt)->thinking_switch;
        info->reasoning_effort = chat_prompt_info(e->chat_prompt)->reasoning_effort;
    }
    struct fim_tokens fim;
    info->fills_in = tokenizer_fim(e->tokenizer, &fim);
    info->n_parameters = model->n_parameters;
    info->n_vocab = model->n_vocab;
    info->ctx_train = model->ctx_train;
    info->ctx_size = model->ctx_size;
    info->parallel = e->options.parallel;
    info->threads = pool_threads(e->pool);
    info->weight_bytes = model->weight_bytes;
    info->scratch_bytes = model->scratch_bytes;
    info->load_seconds = (double)(clock_ns() - start_ns) * 1e-9;
    return OK;
}

enum status engine_load(struct engine *engine, struct error *err)
{
    int64_t start_ns = clock_ns();
    enum status status = model_file_open(&engine->file, engine->options.model_path, err);
    if (status == OK)
        status = engine_quantize_file(&engine->options, engine->file, err);
    if (status == OK)
        status = open_text_parts(engine, err);
    if (status == OK)
        status = open_model(engine, err);
    if (status == OK)
        status = open_cache(engine, err);
    if (status == OK)
        status = start_parts(engine, err);
    if (status == OK)
        status = fill_info(engine, start_ns, err);
    return status;
}

void engine_unload(struct engine *engine)
{
    text_pool_free(engine->text_pool);
    scheduler_free(engine->scheduler);
    grammar_cache_free(engine->grammars);
    kv_cache_free(engine->cache);
    kv_spill_close(engine->spill);
    account_release(&engine->account, ACCOUNT_KV, engine->kv_account_bytes);
    model_close(engine->model);
    pool_free(engine->pool);
    chat_prompt_close(engine->chat_prompt);
    tokenizer_close(engine->tokenizer);
    model_file_close(engine->file);
    mem_free(engine->chat_template);
    mem_free(engine->edge_texts[0]);
    mem_free(engine->edge_texts[1]);
    mem_free(engine->model_id);
    engine->text_pool = NULL;
    engine->scheduler = NULL;
    engine->grammars = NULL;
    engine->cache = NULL;
    engine->spill = NULL;
    engine->kv_account_bytes = 0;
    engine->model = NULL;
    engine->pool = NULL;
    engine->chat_prompt = NULL;
    engine->tokenizer = NULL;
    engine->file = NULL;
    engine->chat_template = engine->model_id = NULL;
    engine->edge_texts[0] = engine->edge_texts[1] = NULL;
}
