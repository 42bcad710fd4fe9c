/* Loading: a table of the tensors that a model is made of, a check of each against the
 * configuration, then one parallel pass that reads and packs.
 *
 * The table (rules[]) is the only place that knows tensor names. A tensor of the file that no rule
 * asks for is an error: leaving it out would mean to compute something else than the model.
 *
 * Memory: each worker reads runs of panels through a staging buffer of STAGING_BYTES (or of one
 * panel, when that is larger) and packs straight into the final mapping, so loading needs no second
 * copy of a weight and starts under a memory limit just above the size of the file. A tied model
 * keeps one matrix for embedding and output.
 *
 * The digest covers names, types, shapes and all bytes: 64-bit hashes of the panels as they pass
 * through the staging buffer (20 GB/s; it tells models apart and is no defence against forgery),
 * then SHA-256 over those. */
#include "engine/model/weights.h"

#include <assert.h>
#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/kernels/pack.h"
#include "engine/model/rope.h"

enum { STAGING_BYTES = 1 << 18, TENSOR_NAME_BYTES = 64, MEMORY_ALIGN = 64 };

/* ---- the table of tensors ---- */

enum extent { NOTHING, EMBD, QUERY, KEY_VALUE, FEED_FORWARD, VOCAB, HEAD, ROTATED_PAIRS };
enum need { ALWAYS, MAY, QK_NORM, QKV_BIAS, OTHER_BIAS };

struct rule {
    const char *name;
    enum extent rows;  // NOTHING: a vector of `columns`
    enum extent columns;
    enum need need;
    size_t slot;  // offset of the struct weight or const float * that it fills
};

#define LAYER(field) offsetof(struct layer_weights, field)
static const struct rule layer_rules[] = {
    {"attn_norm.weight", NOTHING, EMBD, ALWAYS, LAYER(attn_norm)},
    {"attn_q.weight", QUERY, EMBD, ALWAYS, LAYER(q)},
    {"attn_k.weight", KEY_VALUE, EMBD, ALWAYS, LAYER(k)},
    {"attn_v.weight", KEY_VALUE, EMBD, ALWAYS, LAYER(v)},
    {"attn_output.weight", EMBD, QUERY, ALWAYS, LAYER(o)},
    {"ffn_norm.weight", NOTHING, EMBD, ALWAYS, LAYER(ffn_norm)},
    {"ffn_gate.weight", FEED_FORWARD, EMBD, ALWAYS, LAYER(gate)},
    {"ffn_up.weight", FEED_FORWARD, EMBD, ALWAYS, LAYER(up)},
    {"ffn_down.weight", EMBD, FEED_FORWARD, ALWAYS, LAYER(down)},
    {"attn_q_norm.weight", NOTHING, HEAD, QK_NORM, LAYER(q_norm)},
    {"attn_k_norm.weight", NOTHING, HEAD, QK_NORM, LAYER(k_norm)},
    {"attn_q.bias", NOTHING, QUERY, QKV_BIAS, LAYER(q_bias)},
    {"attn_k.bias", NOTHING, KEY_VALUE, QKV_BIAS, LAYER(k_bias)},
    {"attn_v.bias", NOTHING, KEY_VALUE, QKV_BIAS, LAYER(v_bias)},
    {"attn_output.bias", NOTHING, EMBD, OTHER_BIAS, LAYER(o_bias)},
    {"ffn_gate.bias", NOTHING, FEED_FORWARD, OTHER_BIAS, LAYER(gate_bias)},
    {"ffn_up.bias", NOTHING, FEED_FORWARD, OTHER_BIAS, LAYER(up_bias)},
    {"ffn_down.bias", NOTHING, EMBD, OTHER_BIAS, LAYER(down_bias)},
};
#define MODEL(field) offsetof(struct model_weights, field)
static const struct rule model_rules[] = {
    {"token_embd.weight", VOCAB, EMBD, ALWAYS, MODEL(embedding)},
    {"output.weight", VOCAB, EMBD, MAY, MODEL(output)},
    {"output_norm.weight", NOTHING, EMBD, ALWAYS, MODEL(output_norm)},
    {"rope_freqs.weight", NOTHING, ROTATED_PAIRS, MAY, MODEL(rope_divisors)},
};
enum {
    LAYER_RULES = sizeof layer_rules / sizeof layer_rules[0],
    MODEL_RULES = sizeof model_rules / sizeof model_rules[0],
};

static size_t extent_of(const struct model_config *config, enum extent extent)
{
    switch (extent) {
    case NOTHING:
        return 1;
    case EMBD:
        return config->n_embd;
    case QUERY:
        return config->n_heads * config->head_dim;
    case KEY_VALUE:
        return config->n_kv_heads * config->head_dim;
    case FEED_FORWARD:
        return config->n_ff;
    case VOCAB:
        return config->n_vocab;
    case HEAD:
        return config->head_dim;
    case ROTATED_PAIRS:
        return config->rope.n_rot / 2;
    }
    return 0;
}

static enum presence presence_of(const struct arch *arch, enum need need)
{
    switch (need) {
    case ALWAYS:
        return REQUIRED;
    case MAY:
        return OPTIONAL;
    case QK_NORM:
        return arch->qk_norm ? REQUIRED : ABSENT;
    case QKV_BIAS:
        return arch->qkv_bias;
    case OTHER_BIAS:
        return arch->other_bias;
    }
    return ABSENT;
}

/* ---- the plan: which tensor goes where ---- */

/* One tensor on its way into the mapping. */
struct source {
    const struct tensor_info *tensor;
    void *slot;  // struct weight * or const float **
    bool is_matrix;
    size_t n_rows, n_columns;
    size_t offset;       // in the mapping
    size_t first_panel;  // number of its first panel among all panels
    size_t n_panels;     // 0 for a vector
    size_t panel_bytes;  // packed
    size_t row_bytes;    // as stored
};

struct plan {
    const struct model_file *file;
    const struct model_config *config;
    struct source *sources;  // [n_sources], matrices and vectors in file-independent order
    size_t n_sources;
    size_t n_panels;
    size_t bytes;
};

static enum status check_shape(const struct tensor_info *tensor, size_t n_rows, size_t n_columns,
                               bool is_matrix, struct error *err)
{
    bool fits = tensor->dims[0] == n_columns && tensor->dims[1] == n_rows;
    for (size_t i = 2; i < TENSOR_DIMS_MAX; i++)
        fits = fits && tensor->dims[i] == 1;
    if (fits)
        return OK;
    char expected[64];
    if (is_matrix)
        snprintf(expected, sizeof expected, "%zu x %zu", n_columns, n_rows);
    else
        snprintf(expected, sizeof expected, "%zu", n_columns);
    return error_set(err, ERR_FORMAT, "tensor '%s': shape %llu x %llu x %llu x %llu, expected %s",
                     tensor->name, (unsigned long long)tensor->dims[0],
                     (unsigned long long)tensor->dims[1], (unsigned long long)tensor->dims[2],
                     (unsigned long long)tensor->dims[3], expected);
}

/* Names of the types that a matrix may have, for a message. */
static void supported_types(char *text, size_t bytes_max)
{
    size_t n = 0;
    text[0] = '\0';
    for (uint32_t id = 0; id < 64; id++) {
        if (!dtype_info(id) || !pack_supports((enum dtype)id))
            continue;
        int added = snprintf(text + n, bytes_max - n, "%s%s", n ? " " : "", dtype_info(id)->name);
        if (added < 0 || (size_t)added >= bytes_max - n)
            return;
        n += (size_t)added;
    }
}

static enum status check_type(const struct tensor_info *tensor, bool is_matrix, struct error *err)
{
    enum dtype dtype = tensor->dtype;
    bool is_float = dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
    if (is_matrix ? pack_supports(dtype) : is_float)
        return OK;
    char types[200] = "F32 F16 BF16";
    if (is_matrix)
        supported_types(types, sizeof types);
    return error_set(err, ERR_UNSUPPORTED, "tensor '%s' is of type %s (supported: %s)",
                     tensor->name, dtype_info(dtype)->name, types);
}

static bool grow(size_t *total, size_t count, size_t bytes)
{
    size_t product;
    return size_mul(count, bytes, &product) && size_add(product, MEMORY_ALIGN - 1, &product) &&
           size_add(*total, product & ~(size_t)(MEMORY_ALIGN - 1), total);
}

static enum status plan_tensor(struct plan *plan, const struct rule *rule, const char *name,
                               void *base, struct error *err)
{
    enum presence presence = presence_of(plan->config->arch, rule->need);
    const struct tensor_info *tensor = model_file_tensor(plan->file, name);
    if (presence == ABSENT || (!tensor && presence == OPTIONAL))
        return OK;
    if (!tensor)
        return error_set(err, ERR_FORMAT, "tensor '%s' is missing", name);
    struct source *source = &plan->sources[plan->n_sources];
    *source = (struct source){
        .tensor = tensor,
        .slot = (char *)base + rule->slot,
        .is_matrix = rule->rows != NOTHING,
        .n_rows = extent_of(plan->config, rule->rows),
        .n_columns = extent_of(plan->config, rule->columns),
        .offset = plan->bytes,
        .first_panel = plan->n_panels,
    };
    enum status status =
        check_shape(tensor, source->n_rows, source->n_columns, source->is_matrix, err);
    if (status == OK)
        status = check_type(tensor, source->is_matrix, err);
    if (status != OK)
        return status;
    bool fits;
    source->row_bytes = (size_t)(tensor->bytes / source->n_rows);
    if (source->is_matrix) {
        source->n_panels = (source->n_rows + PANEL_ROWS - 1) / PANEL_ROWS;
        source->panel_bytes = pack_panel_bytes(tensor->dtype, source->n_columns);
        if (source->panel_bytes == 0)
            return error_set(err, ERR_FORMAT, "tensor '%s': %zu columns do not suit type %s", name,
                             source->n_columns, dtype_info(tensor->dtype)->name);
        fits = grow(&plan->bytes, source->n_panels, source->panel_bytes);
    } else {
        fits = grow(&plan->bytes, source->n_columns, sizeof(float));
    }
    if (!fits)
        return error_set(err, ERR_LIMIT, "tensor '%s' is too large", name);
    plan->n_panels += source->n_panels;
    plan->n_sources++;
    return OK;
}

/* Every tensor of the file must have a place. */
static enum status check_all_used(const struct plan *plan, struct error *err)
{
    size_t n_tensors = model_file_tensors(plan->file);
    if (n_tensors == plan->n_sources)
        return OK;
    for (size_t i = 0; i < n_tensors; i++) {
        const struct tensor_info *tensor = model_file_tensor_at(plan->file, i);
        bool used = false;
        for (size_t s = 0; s < plan->n_sources && !used; s++)
            used = plan->sources[s].tensor == tensor;
        if (!used)
            return error_set(err, ERR_UNSUPPORTED,
                             "tensor '%s' has no place in architecture %s as it is supported here",
                             tensor->name, plan->config->arch->name);
    }
    return OK;
}

static enum status plan_all(struct plan *plan, struct model_weights *weights, struct error *err)
{
    enum status status = OK;
    for (size_t r = 0; r < MODEL_RULES && status == OK; r++)
        status = plan_tensor(plan, &model_rules[r], model_rules[r].name, weights, err);
    for (size_t layer = 0; layer < weights->n_layers; layer++) {
        for (size_t r = 0; r < LAYER_RULES && status == OK; r++) {
            char name[TENSOR_NAME_BYTES];
            snprintf(name, sizeof name, "blk.%zu.%s", layer, layer_rules[r].name);
            status = plan_tensor(plan, &layer_rules[r], name, &weights->layers[layer], err);
        }
    }
    return status == OK ? check_all_used(plan, err) : status;
}

/* ---- reading ---- */

/* Four lanes of xor and multiply, each step a bijection of its lane: any changed word changes the
 * result. */
static uint64_t fingerprint(const uint8_t *bytes, size_t n_bytes)
{
    static const uint64_t FACTOR = 0x9e3779b97f4a7c15u;
    uint64_t lane[4] = {1, 2, 3, n_bytes};
    size_t i = 0;
    for (; i + 32 <= n_bytes; i += 32) {
        uint64_t word[4];
        memcpy(word, bytes + i, sizeof word);
        for (size_t l = 0; l < 4; l++) {
            lane[l] = (lane[l] ^ word[l]) * FACTOR;
            lane[l] ^= lane[l] >> 32;
        }
    }
    for (; i < n_bytes; i++)
        lane[i & 3] = (lane[i & 3] ^ bytes[i]) * FACTOR;
    uint64_t sum = 0;
    for (size_t l = 0; l < 4; l++) {
        sum = (sum ^ lane[l]) * FACTOR;
        sum ^= sum >> 29;
    }
    return sum;
}

struct loader {
    const struct plan *plan;
    uint8_t *memory;
    uint8_t *staging;  // [workers, staging_bytes]
    size_t staging_bytes;
    uint64_t *fingerprints;  // [plan->n_panels]
    struct error *errors;    // [workers]
    atomic_bool failed;
};

/* The matrix that owns panel number `panel`. */
static const struct source *source_of(const struct plan *plan, size_t panel)
{
    size_t low = 0, high = plan->n_sources;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (plan->sources[middle].first_panel <= panel)
            low = middle;
        else
            high = middle;
    }
    assert(plan->sources[low].n_panels > panel - plan->sources[low].first_panel);
    return &plan->sources[low];
}

/* Packs panels [first, first + n) of one matrix from the staging buffer. */
static void pack_run(const struct loader *loader, const struct source *source, size_t first,
                     size_t n, const uint8_t *staging)
{
    for (size_t p = 0; p < n; p++) {
        const void *rows[PANEL_ROWS] = {0};
        size_t n_rows = source->n_rows - (first + p) * PANEL_ROWS;
        n_rows = n_rows < PANEL_ROWS ? n_rows : PANEL_ROWS;
        const uint8_t *stored = staging + p * PANEL_ROWS * source->row_bytes;
        for (size_t r = 0; r < n_rows; r++)
            rows[r] = stored + r * source->row_bytes;
        pack_panel(source->tensor->dtype, source->n_columns, rows,
                   loader->memory + source->offset + (first + p) * source->panel_bytes);
        loader->fingerprints[source->first_panel + first + p] =
            fingerprint(stored, n_rows * source->row_bytes);
    }
}

static void load_panels(void *context, size_t first, size_t last, size_t worker)
{
    struct loader *loader = context;
    uint8_t *staging = loader->staging + worker * loader->staging_bytes;
    while (first < last && !atomic_load_explicit(&loader->failed, memory_order_relaxed)) {
        const struct source *source = source_of(loader->plan, first);
        size_t panel = first - source->first_panel;
        size_t n = loader->staging_bytes / (PANEL_ROWS * source->row_bytes);
        n = n < last - first ? n : last - first;
        n = n < source->n_panels - panel ? n : source->n_panels - panel;
        size_t n_rows = source->n_rows - panel * PANEL_ROWS;
        n_rows = n_rows < n * PANEL_ROWS ? n_rows : n * PANEL_ROWS;
        if (model_file_read(loader->plan->file, source->tensor,
                            (uint64_t)panel * PANEL_ROWS * source->row_bytes,
                            n_rows * source->row_bytes, staging, &loader->errors[worker]) != OK) {
            atomic_store(&loader->failed, true);
            return;
        }
        pack_run(loader, source, panel, n, staging);
        first += n;
    }
}

static enum status load_vector(const struct source *source, const struct model_file *file,
                               void *memory, uint64_t *hash, struct error *err)
{
    void *stored = mem_alloc((size_t)source->tensor->bytes);
    if (!stored)
        return error_set(err, ERR_MEMORY, "no memory for tensor '%s'", source->tensor->name);
    enum status status =
        model_file_read(file, source->tensor, 0, (size_t)source->tensor->bytes, stored, err);
    if (status == OK) {
        dequantize_row(source->tensor->dtype, stored, source->n_columns, memory);
        *hash = fingerprint(stored, (size_t)source->tensor->bytes);
    }
    mem_free(stored);
    return status;
}

/* Points the model at what lies in the mapping. */
static void attach(const struct source *source, uint8_t *memory)
{
    if (!source->is_matrix) {
        *(const float **)source->slot = (const float *)(const void *)(memory + source->offset);
        return;
    }
    *(struct weight *)source->slot = (struct weight){
        .dtype = source->tensor->dtype,
        .n_rows = source->n_rows,
        .n_cols = source->n_columns,
        .n_panels = source->n_panels,
        .panel_bytes = source->panel_bytes,
        .panels = memory + source->offset,
    };
}

/* Chains one tensor's identity and content into the digest. */
static void digest_tensor(uint8_t digest[SHA256_BYTES], const struct source *source,
                          const uint64_t *fingerprints, size_t n_fingerprints)
{
    char text[160];
    const struct tensor_info *tensor = source->tensor;
    int n = snprintf(text, sizeof text, "%s|%u|%llu|%llu|", tensor->name, (unsigned)tensor->dtype,
                     (unsigned long long)tensor->dims[0], (unsigned long long)tensor->dims[1]);
    size_t n_text = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    sha256(digest, digest, SHA256_BYTES, text, n_text, fingerprints,
           n_fingerprints * sizeof *fingerprints);
}

static enum status load_all(struct loader *loader, struct model_weights *weights, struct pool *pool,
                            struct error *err)
{
    const struct plan *plan = loader->plan;
    enum { PANELS_AT_ONCE = 32 };  // a slice of some hundred kilobytes
    pool_run(pool, plan->n_panels, PANELS_AT_ONCE, load_panels, loader);
    for (size_t w = 0; w < pool_threads(pool); w++) {
        if (loader->errors[w].status != OK)
            return error_set(err, loader->errors[w].status, "%s", loader->errors[w].text);
    }
    for (size_t s = 0; s < plan->n_sources; s++) {
        const struct source *source = &plan->sources[s];
        uint64_t hash;
        const uint64_t *hashes = &loader->fingerprints[source->first_panel];
        if (!source->is_matrix) {
            enum status status =
                load_vector(source, plan->file, loader->memory + source->offset, &hash, err);
            if (status != OK)
                return status;
            hashes = &hash;
        }
        attach(source, loader->memory);
        digest_tensor(weights->digest, source, hashes, source->is_matrix ? source->n_panels : 1);
        weights->n_parameters += (uint64_t)source->n_rows * source->n_columns;
        weights->has_f32 |= source->is_matrix && source->tensor->dtype == DTYPE_F32;
    }
    return OK;
}

static enum status read_and_pack(struct model_weights *weights, const struct plan *plan,
                                 struct pool *pool, struct error *err)
{
    size_t n_workers = pool_threads(pool), staging_total;
    struct loader loader = {
        .plan = plan, .memory = weights->memory, .staging_bytes = STAGING_BYTES};
    for (size_t s = 0; s < plan->n_sources; s++) {
        size_t panel = PANEL_ROWS * plan->sources[s].row_bytes;
        if (plan->sources[s].is_matrix && panel > loader.staging_bytes)
            loader.staging_bytes = panel;
    }
    loader.staging_bytes = (loader.staging_bytes + 63) & ~(size_t)63;
    bool fits = size_mul(n_workers, loader.staging_bytes, &staging_total);
    loader.staging = fits ? mem_alloc(staging_total) : NULL;
    loader.fingerprints = mem_alloc_array(plan->n_panels, sizeof *loader.fingerprints);
    loader.errors = mem_calloc(n_workers, sizeof *loader.errors);
    enum status status = OK;
    if (!loader.staging || !loader.fingerprints || !loader.errors)
        status = error_set(err, ERR_MEMORY, "no memory to read the weights");
    if (status == OK)
        status = load_all(&loader, weights, pool, err);
    mem_free(loader.staging);
    mem_free(loader.fingerprints);
    mem_free(loader.errors);
    return status;
}

/* A divisor of zero or NaN would poison every position. */
static enum status check_divisors(const struct model_weights *weights, size_t n_pairs,
                                  struct error *err)
{
    for (size_t i = 0; weights->rope_divisors && i < n_pairs; i++) {
        float divisor = weights->rope_divisors[i];
        if (!(divisor >= ROPE_DIVISOR_MIN && divisor <= 3e38f))
            return error_set(err, ERR_FORMAT, "tensor 'rope_freqs.weight': value %zu is %g", i,
                             (double)divisor);
    }
    return OK;
}

enum status weights_load(struct model_weights *out, const struct model_file *file,
                         const struct model_config *config, struct account *account,
                         struct pool *pool, struct error *err)
{
    *out = (struct model_weights){.n_layers = config->n_layers};
    struct plan plan = {.file = file, .config = config};
    out->layers = mem_calloc(config->n_layers, sizeof *out->layers);
    plan.sources = mem_calloc(MODEL_RULES + config->n_layers * LAYER_RULES, sizeof *plan.sources);
    enum status status = OK;
    if (!out->layers || !plan.sources)
        status = error_set(err, ERR_MEMORY, "no memory for the table of weights");
    if (status == OK)
        status = plan_all(&plan, out, err);
    if (status == OK && !pool) {
        out->bytes = plan.bytes;
        mem_free(plan.sources);
        return OK;
    }
    if (status == OK && account)
        status = account_reserve(account, ACCOUNT_WEIGHTS, plan.bytes, err);
    if (status == OK) {
        out->account = account;
        out->bytes = plan.bytes;
        out->memory = mem_map(plan.bytes);
        if (!out->memory)
            status = error_set(err, ERR_MEMORY, "no memory for %zu bytes of weights", plan.bytes);
    }
    if (status == OK)
        status = read_and_pack(out, &plan, pool, err);
    if (status == OK)
        status = check_divisors(out, config->rope.n_rot / 2, err);
    if (status == OK && !out->output.panels)
        out->output = out->embedding;
    mem_free(plan.sources);
    if (status != OK)
        weights_release(out);
    return status;
}

void weights_release(struct model_weights *weights)
{
    mem_unmap(weights->memory, weights->bytes);
    if (weights->account)
        account_release(weights->account, ACCOUNT_WEIGHTS, weights->bytes);
    mem_free(weights->layers);
    *weights = (struct model_weights){0};
}
