/* Logits of every position of given token sequences, for comparison with other implementations, and
 * a quick timer of forward.
 *
 *   logits_cli MODEL.gguf TOKENS.i32 LOGITS.f32 [key=value ...]
 *     TOKENS: int32 n_sequences, then for each its length and its ids
 *     LOGITS: raw float32 [tokens of all sequences in order, vocabulary], or - to write nothing
 *   logits_cli MODEL.gguf bench [key=value ...]
 *
 * keys: chunk=512 (rows a step), threads=N, cpu=scalar|avx2|avx512, batch=0 (1: chunks of all
 * sequences share a step), sequences=1 prompt=512 decode=64 (bench), repeat=1, precise=0 (1: the
 * numerics class precise) */
#include <stdio.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/model/model.h"

struct options {
    size_t chunk, threads, sequences, prompt, decode, repeat, batch, precise;
    enum cpu_level level;
};

struct session {
    struct model_file *file;
    struct model *model;
    struct pool *pool;
    struct kv_cache *cache;
    struct options options;
    struct sequence **sequences;
    size_t n_sequences;
    float *logits;  // [chunk, n_vocab]
};

static int fail(const char *what, const struct error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    return 1;
}

static bool parse(struct options *options, int argc, char **argv)
{
    const struct {
        const char *name;
        size_t *value;
    } keys[] = {{"chunk", &options->chunk},         {"threads", &options->threads},
                {"sequences", &options->sequences}, {"prompt", &options->prompt},
                {"decode", &options->decode},       {"repeat", &options->repeat},
                {"batch", &options->batch},         {"precise", &options->precise}};
    for (int i = 0; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        bool known = false;
        if (!equals)
            return false;
        *equals = '\0';
        if (strcmp(argv[i], "cpu") == 0)
            known = kernels_level_parse(equals + 1, &options->level);
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            if (strcmp(argv[i], keys[k].name) == 0) {
                *keys[k].value = strtoul(equals + 1, NULL, 10);
                known = true;
            }
        }
        if (!known)
            return false;
    }
    return options->chunk > 0;
}

static int session_open(struct session *s, const char *path, size_t tokens_max)
{
    struct error err = {0};
    const struct kernels *kernels;
    static const uint8_t TENANT[32] = {0};
    if (kernels_get(s->options.level, &kernels, &err) != OK ||
        pool_create(&s->pool, s->options.threads, &err) != OK)
        return fail("start", &err);
    struct model_options options = {
        .kernels = kernels,
        .rows_max = s->options.chunk,
        .outputs_max = s->options.chunk,
        .is_precise = s->options.precise != 0,
    };
    int64_t start = clock_ns();
    if (model_file_open(&s->file, path, &err) != OK ||
        model_open(&s->model, s->file, &options, s->pool, &err) != OK)
        return fail(path, &err);
    const struct model_info *info = model_info(s->model);
    fprintf(stderr,
            "%s: %s, weights %.1f MB, scratch %.1f MB, opened in %.1f ms, %s, "
            "%zu threads\n",
            info->name, info->architecture, (double)info->weight_bytes / 1e6,
            (double)info->scratch_bytes / 1e6, (double)(clock_ns() - start) / 1e6, kernels->name,
            s->options.threads);
    uint8_t root[SHA256_BYTES];
    model_digest(s->model, root);
    size_t n_blocks[KV_GROUPS_MAX];
    for (size_t g = 0; g < KV_GROUPS_MAX; g++)
        n_blocks[g] = s->n_sequences * (tokens_max / 32 + 1);
    if (kv_cache_create(&s->cache, model_kv_layout(s->model), n_blocks, root, false, &err) != OK)
        return fail("cache", &err);
    s->sequences = mem_calloc(s->n_sequences, sizeof *s->sequences);
    s->logits = mem_map(s->options.chunk * info->n_vocab * sizeof *s->logits);
    for (size_t i = 0; i < s->n_sequences; i++)
        if (sequence_create(&s->sequences[i], s->cache, tokens_max, TENANT, &err) != OK)
            return fail("sequence", &err);
    return 0;
}

/* One step of rows; all have logits when `all` is set, else the last of each sequence. */
static int run_step(struct session *s, struct step_row *rows, size_t n_rows)
{
    struct error err = {0};
    for (size_t i = 0; i < n_rows; i++)
        if (sequence_reserve(s->sequences[rows[i].sequence], (size_t)rows[i].position + 1, &err))
            return fail("reserve", &err);
    struct step step = {.rows = rows,
                        .n_rows = n_rows,
                        .sequences = (const struct sequence *const *)s->sequences,
                        .n_sequences = s->n_sequences,
                        .logits = s->logits};
    if (model_forward(s->model, s->pool, s->cache, &step) != OK)
        return fail("forward", &err);
    for (size_t i = 0; i < n_rows; i++)
        if (i + 1 == n_rows || rows[i + 1].sequence != rows[i].sequence)
            sequence_commit(s->sequences[rows[i].sequence], NULL, (size_t)rows[i].position + 1);
    return 0;
}

struct corpus {
    int32_t *words;       // the file
    const int32_t **ids;  // [n_sequences]
    size_t *lengths;      // [n_sequences]
    size_t *offsets;      // [n_sequences] first row in the output
    size_t n_sequences, n_tokens, longest;
};

static int corpus_read(struct corpus *corpus, const char *path)
{
    FILE *file = fopen(path, "rb");
    long bytes = -1;
    if (file && fseek(file, 0, SEEK_END) == 0)
        bytes = ftell(file);
    if (bytes < 4) {
        fprintf(stderr, "%s: cannot read\n", path);
        return 1;
    }
    rewind(file);
    size_t n_words = (size_t)bytes / 4, used = 1;
    corpus->words = mem_alloc_array(n_words, 4);
    bool whole = corpus->words && fread(corpus->words, 4, n_words, file) == n_words;
    fclose(file);
    size_t n = whole && corpus->words[0] > 0 ? (size_t)corpus->words[0] : 0;
    corpus->n_sequences = n;
    corpus->ids = mem_calloc(n, sizeof *corpus->ids);
    corpus->lengths = mem_calloc(n, sizeof *corpus->lengths);
    corpus->offsets = mem_calloc(n, sizeof *corpus->offsets);
    for (size_t i = 0; i < n; i++) {
        if (used >= n_words || corpus->words[used] < 1 ||
            (size_t)corpus->words[used] > n_words - used - 1) {
            fprintf(stderr, "%s: sequence %zu is cut off\n", path, i);
            return 1;
        }
        corpus->offsets[i] = corpus->n_tokens;
        corpus->lengths[i] = (size_t)corpus->words[used];
        corpus->ids[i] = corpus->words + used + 1;
        corpus->n_tokens += corpus->lengths[i];
        corpus->longest =
            corpus->lengths[i] > corpus->longest ? corpus->lengths[i] : corpus->longest;
        used += corpus->lengths[i] + 1;
    }
    return n == 0;
}

/* The next step: rows of the first unfinished sequence, or a share of each when batching. */
static size_t next_rows(const struct session *s, const struct corpus *corpus, struct step_row *rows)
{
    size_t n = 0, share = s->options.batch ? s->options.chunk / s->n_sequences : s->options.chunk;
    share = share ? share : 1;
    for (size_t i = 0; i < s->n_sequences; i++) {
        size_t first = sequence_tokens(s->sequences[i]);
        if (!s->options.batch && n > 0)
            break;
        for (size_t p = first; p < corpus->lengths[i] && p < first + share; p++) {
            if (n == s->options.chunk)
                return n;
            rows[n++] = (struct step_row){.sequence = (int32_t)i,
                                          .position = (int32_t)p,
                                          .token = corpus->ids[i][p],
                                          .outputs = ROW_LOGITS};
        }
    }
    return n;
}

static int write_logits(struct session *s, const struct corpus *corpus, const char *path)
{
    FILE *out = strcmp(path, "-") == 0 ? NULL : fopen(path, "wb");
    struct step_row *rows = mem_calloc(s->options.chunk, sizeof *rows);
    size_t n_vocab = model_info(s->model)->n_vocab, n;
    int64_t start = clock_ns();
    while ((n = next_rows(s, corpus, rows)) > 0) {
        if (run_step(s, rows, n))
            return 1;
        for (size_t i = 0; out && i < n; i++) {
            size_t row = corpus->offsets[rows[i].sequence] + (size_t)rows[i].position;
            if (fseek(out, (long)(row * n_vocab * sizeof(float)), SEEK_SET) != 0 ||
                fwrite(s->logits + i * n_vocab, sizeof(float), n_vocab, out) != n_vocab)
                return fail(path, &(struct error){.text = "cannot write"});
        }
    }
    fprintf(stderr, "%zu tokens in %.1f ms\n", corpus->n_tokens,
            (double)(clock_ns() - start) / 1e6);
    mem_free(rows);
    return out && fclose(out) != 0;
}

/* Prefill of each sequence in chunks (logits of the last row), then decode of all together. */
static int bench(struct session *s)
{
    const struct options *o = &s->options;
    size_t n_vocab = model_info(s->model)->n_vocab;
    struct step_row *rows = mem_calloc(o->chunk, sizeof *rows);
    int64_t start = clock_ns();
    for (size_t i = 0; i < s->n_sequences; i++) {
        for (size_t first = 0, n; first < o->prompt; first += n) {
            n = o->prompt - first < o->chunk ? o->prompt - first : o->chunk;
            for (size_t r = 0; r < n; r++)
                rows[r] = (struct step_row){.sequence = (int32_t)i,
                                            .position = (int32_t)(first + r),
                                            .token = (int32_t)((first + r) * 7919 % n_vocab),
                                            .outputs =
                                                first + r + 1 == o->prompt ? ROW_LOGITS : ROW_NONE};
            if (run_step(s, rows, n))
                return 1;
        }
    }
    double prefill_s = (double)(clock_ns() - start) / 1e9;
    start = clock_ns();
    for (size_t d = 0; d < o->decode; d++) {
        for (size_t i = 0; i < s->n_sequences; i++)
            rows[i] = (struct step_row){.sequence = (int32_t)i,
                                        .position = (int32_t)(o->prompt + d),
                                        .token = (int32_t)((d * 104729 + i) % n_vocab),
                                        .outputs = ROW_LOGITS};
        if (run_step(s, rows, s->n_sequences))
            return 1;
    }
    double decode_s = (double)(clock_ns() - start) / 1e9;
    printf("prefill %zu x %zu: %.0f tokens/s   decode %zu sequences: %.1f tokens/s (%.2f ms)\n",
           s->n_sequences, o->prompt, (double)(s->n_sequences * o->prompt) / prefill_s,
           s->n_sequences, (double)(s->n_sequences * o->decode) / decode_s,
           decode_s / (double)o->decode * 1e3);
    mem_free(rows);
    return 0;
}

static void session_close(struct session *s)
{
    for (size_t i = 0; s->sequences && i < s->n_sequences; i++)
        sequence_free(s->sequences[i]);
    mem_free(s->sequences);
    mem_unmap(s->logits,
              s->options.chunk * (s->model ? model_info(s->model)->n_vocab : 0) * sizeof(float));
    kv_cache_free(s->cache);
    model_close(s->model);
    model_file_close(s->file);
    pool_free(s->pool);
}

int main(int argc, char **argv)
{
    struct session s = {.options = {.chunk = 512,
                                    .threads = pool_cores_available(),
                                    .sequences = 1,
                                    .prompt = 512,
                                    .decode = 64,
                                    .repeat = 1,
                                    .level = kernels_best_level()}};
    struct corpus corpus = {0};
    bool is_bench = argc > 2 && strcmp(argv[2], "bench") == 0;
    int first_key = is_bench ? 3 : 4;
    if (argc < first_key || !parse(&s.options, argc - first_key, argv + first_key)) {
        fprintf(stderr, "usage: see the head of logits_cli.c\n");
        return 2;
    }
    int failed = 0;
    s.n_sequences = s.options.sequences;
    if (!is_bench) {
        failed = corpus_read(&corpus, argv[2]);
        s.n_sequences = corpus.n_sequences;
    }
    size_t longest = is_bench ? s.options.prompt + s.options.decode : corpus.longest;
    if (is_bench && s.options.chunk < s.n_sequences)
        s.options.chunk = s.n_sequences;
    failed = failed || session_open(&s, argv[1], longest);
    for (size_t r = 0; !failed && r < s.options.repeat; r++) {
        failed = is_bench ? bench(&s) : write_logits(&s, &corpus, argv[3]);
        for (size_t i = 0; i < s.n_sequences; i++)
            sequence_truncate(s.sequences[i], 0);
    }
    session_close(&s);
    mem_free(corpus.words);
    mem_free(corpus.ids);
    mem_free(corpus.lengths);
    mem_free(corpus.offsets);
    return failed;
}
