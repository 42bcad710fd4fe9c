/* Loading: what weights_plan.c has checked and placed is read and packed in one parallel pass.
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

#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/kernels/pack.h"
#include "engine/model/rope.h"
#include "engine/model/weights_plan.h"

enum { STAGING_BYTES = 1 << 18 };

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
    uint64_t *fingerprints;  // [plan->n_units]
    struct error *errors;    // [workers]
    atomic_bool failed;
};

/* The source that owns unit number `unit`. */
static const struct source *source_of(const struct plan *plan, size_t unit)
{
    size_t low = 0, high = plan->n_sources;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (plan->sources[middle].first_unit <= unit)
            low = middle;
        else
            high = middle;
    }
    assert(plan->sources[low].n_units > unit - plan->sources[low].first_unit);
    return &plan->sources[low];
}

/* Rows of the file in panels [panel, panel + n) of a matrix, the last of which may be short. */
static size_t rows_of(const struct source *source, size_t panel, size_t n)
{
    size_t left = source->n_rows - panel * PANEL_ROWS;
    return left < n * PANEL_ROWS ? left : n * PANEL_ROWS;
}

/* Packs panels [panel, panel + n) of one matrix from the staging buffer. */
static void pack_run(const struct loader *loader, const struct source *source, size_t matrix,
                     size_t panel, size_t n, const uint8_t *staging)
{
    uint8_t *to = loader->memory + source->offset + matrix * source->stride;
    uint64_t *fingerprints =
        loader->fingerprints + source->first_unit + matrix * source->matrix_panels;
    for (size_t p = 0; p < n; p++) {
        const void *rows[PANEL_ROWS] = {0};
        size_t n_rows = rows_of(source, panel + p, 1);
        const uint8_t *stored = staging + p * PANEL_ROWS * source->row_bytes;
        for (size_t r = 0; r < n_rows; r++)
            rows[r] = stored + r * source->row_bytes;
        pack_panel(source->dtype, source->n_columns, rows, to + (panel + p) * source->panel_bytes);
        fingerprints[panel + p] = fingerprint(stored, n_rows * source->row_bytes);
    }
}

static enum status read_rows(const struct loader *loader, const struct source *source,
                             size_t matrix, size_t row, size_t n_rows, void *out, struct error *err)
{
    size_t first = source->first_row + matrix * source->rows_apart + row;
    return model_file_read(loader->plan->file, source->tensor, (uint64_t)first * source->row_bytes,
                           n_rows * source->row_bytes, out, err);
}

/* ---- matrices that the file has the other way round ---- */

/* One float as a row of the type stores it. */
static void narrow(enum dtype dtype, float value, uint8_t *out)
{
    uint16_t half = dtype == DTYPE_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
    memcpy(out, dtype == DTYPE_F32 ? (void *)&value : (void *)&half,
           dtype == DTYPE_F32 ? sizeof value : sizeof half);
}

/* Rows of the file are columns in memory: [n_columns, n_rows] floats are turned row by row. */
static void pack_transposed(const struct source *source, const float *floats, uint8_t *row_bytes,
                            uint8_t *to)
{
    size_t element = source->dtype == DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
    size_t bytes = source->n_columns * element;
    for (size_t panel = 0; panel < source->matrix_panels; panel++) {
        const void *rows[PANEL_ROWS] = {0};
        for (size_t r = 0; r < rows_of(source, panel, 1); r++) {
            uint8_t *row = row_bytes + r * bytes;
            rows[r] = row;
            for (size_t column = 0; column < source->n_columns; column++)
                narrow(source->dtype, floats[column * source->n_rows + panel * PANEL_ROWS + r],
                       row + column * element);
        }
        pack_panel(source->dtype, source->n_columns, rows, to + panel * source->panel_bytes);
    }
}

static enum status load_transposed(const struct loader *loader, const struct source *source,
                                   size_t matrix, struct error *err)
{
    size_t n_in = source->n_columns, n_out = source->n_rows;
    uint8_t *stored = mem_alloc_array(n_in, source->row_bytes);
    float *floats = mem_alloc_array(n_in * n_out, sizeof *floats);
    uint8_t *rows = mem_alloc_array(PANEL_ROWS * n_in, sizeof(float));
    enum status status = OK;
    if (!stored || !floats || !rows)
        status = error_set(err, ERR_MEMORY, "no memory for tensor '%s'", source->tensor->name);
    if (status == OK)
        status = read_rows(loader, source, matrix, 0, n_in, stored, err);
    if (status == OK) {
        for (size_t i = 0; i < n_in; i++)
            dequantize_row(source->tensor->dtype, stored + i * source->row_bytes, n_out,
                           floats + i * n_out);
        pack_transposed(source, floats, rows,
                        loader->memory + source->offset + matrix * source->stride);
        loader->fingerprints[source->first_unit + matrix] =
            fingerprint(stored, n_in * source->row_bytes);
    }
    mem_free(stored);
    mem_free(floats);
    mem_free(rows);
    return status;
}

/* ---- all units ---- */

static void load_units(void *context, size_t first, size_t last, size_t worker)
{
    struct loader *loader = context;
    uint8_t *staging = loader->staging + worker * loader->staging_bytes;
    struct error *err = &loader->errors[worker];
    while (first < last && !atomic_load_explicit(&loader->failed, memory_order_relaxed)) {
        const struct source *source = source_of(loader->plan, first);
        size_t unit = first - source->first_unit, n = 1;
        enum status status;
        if (source->form == SOURCE_TRANSPOSED) {
            status = load_transposed(loader, source, unit, err);
        } else {
            size_t matrix = unit / source->matrix_panels, panel = unit % source->matrix_panels;
            n = loader->staging_bytes / (PANEL_ROWS * source->row_bytes);
            n = n < last - first ? n : last - first;
            n = n < source->matrix_panels - panel ? n : source->matrix_panels - panel;
            status = read_rows(loader, source, matrix, panel * PANEL_ROWS,
                               rows_of(source, panel, n), staging, err);
            if (status == OK)
                pack_run(loader, source, matrix, panel, n, staging);
        }
        if (status != OK) {
            atomic_store(&loader->failed, true);
            return;
        }
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
    if (!source->slot)
        return;
    if (source->form == SOURCE_VECTOR) {
        *(const float **)source->slot = (const float *)(const void *)(memory + source->offset);
        return;
    }
    struct weight weight = {
        .dtype = source->dtype,
        .n_rows = source->n_rows,
        .n_cols = source->n_columns,
        .n_panels = source->matrix_panels,
        .panel_bytes = source->panel_bytes,
        .panels = memory + source->offset,
    };
    if (source->form == SOURCE_MATRIX)
        *(struct weight *)source->slot = weight;
    else
        *(struct weight_stack *)source->slot =
            (struct weight_stack){weight, source->n_stacked, source->stride};
}

/* Chains one tensor's identity and content into the digest. */
static void digest_tensor(uint8_t digest[SHA256_BYTES], const struct source *source,
                          const uint64_t *fingerprints, size_t n_fingerprints)
{
    char text[160];
    const struct tensor_info *tensor = source->tensor;
    int n = snprintf(text, sizeof text, "%s|%u|%llu|%llu|%llu|", tensor->name,
                     (unsigned)tensor->dtype, (unsigned long long)tensor->dims[0],
                     (unsigned long long)tensor->dims[1], (unsigned long long)tensor->dims[2]);
    size_t n_text = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    sha256(digest, digest, SHA256_BYTES, text, n_text, fingerprints,
           n_fingerprints * sizeof *fingerprints);
}

static enum status load_all(struct loader *loader, struct model_weights *weights, struct pool *pool,
                            struct error *err)
{
    const struct plan *plan = loader->plan;
    enum { PANELS_AT_ONCE = 32 };  // a slice of some hundred kilobytes
    pool_run(pool, plan->n_units, PANELS_AT_ONCE, load_units, loader);
    for (size_t w = 0; w < pool_threads(pool); w++) {
        if (loader->errors[w].status != OK)
            return error_set(err, loader->errors[w].status, "%s", loader->errors[w].text);
    }
    for (size_t s = 0; s < plan->n_sources; s++) {
        const struct source *source = &plan->sources[s];
        bool vector = source->form == SOURCE_VECTOR;
        uint64_t hash;
        const uint64_t *hashes = &loader->fingerprints[source->first_unit];
        if (vector) {
            enum status status =
                load_vector(source, plan->file, loader->memory + source->offset, &hash, err);
            if (status != OK)
                return status;
            hashes = &hash;
        }
        attach(source, loader->memory);
        digest_tensor(weights->digest, source, hashes, vector ? 1 : source->n_units);
        weights->n_parameters +=
            (uint64_t)source->n_rows * source->n_columns * (vector ? 1 : source->n_matrices);
        weights->has_f32 |= !vector && source->dtype == DTYPE_F32;
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
        if (panel > loader.staging_bytes)
            loader.staging_bytes = panel;
    }
    loader.staging_bytes = (loader.staging_bytes + 63) & ~(size_t)63;
    bool fits = size_mul(n_workers, loader.staging_bytes, &staging_total);
    loader.staging = fits ? mem_alloc(staging_total) : NULL;
    loader.fingerprints = mem_alloc_array(plan->n_units, sizeof *loader.fingerprints);
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
    const struct {
        const char *name;
        const float *divisors;
    } sets[] = {{"rope_freqs", weights->rope_divisors},
                {"rope_factors_long", weights->rope_long},
                {"rope_factors_short", weights->rope_short}};
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        for (size_t i = 0; sets[s].divisors && i < n_pairs; i++) {
            float divisor = sets[s].divisors[i];
            if (!(divisor >= ROPE_DIVISOR_MIN && divisor <= 3e38f))
                return error_set(err, ERR_FORMAT, "tensor '%s.weight': value %zu is %g",
                                 sets[s].name, i, (double)divisor);
        }
    }
    return OK;
}

enum status weights_load(struct model_weights *out, const struct model_file *file,
                         const struct model_config *config, struct account *account,
                         struct pool *pool, struct error *err)
{
    *out = (struct model_weights){.n_layers = config->n_layers};
    struct plan plan = {0};
    out->layers = mem_calloc(config->n_layers, sizeof *out->layers);
    enum status status = OK;
    if (!out->layers)
        status = error_set(err, ERR_MEMORY, "no memory for the table of weights");
    if (status == OK)
        status = plan_init(&plan, out, file, config, err);
    if (status == OK && !pool) {
        out->bytes = plan.bytes;
        plan_release(&plan);
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
    plan_release(&plan);
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
