/* Attention kernels: every level against the scalar specification, bit for bit.
 *
 * Each case is a stack of rows over one tile, with a pattern of visible tokens. What a row must
 * become is computed by the scalar level for that row alone, on a copy of the tile in which every
 * token that the row does not see is NaN. So one comparison shows that a level equals the
 * specification, that a row in a stack equals the row alone, and that masked bytes do not matter.
 * Tokens that no row sees are NaN in the stack's own tile, too. K, V and all states lie against
 * unreadable pages. Whole sequences with splits and merges are held against float64.
 * `--bench` prints ns a tile and GFLOP/s. */
#include "engine/kernels/attention.h"
#include "tests/kernels/check.h"

enum { TOKENS = KV_BLOCK_TOKENS, DIM_MAX = 576, ROWS_MAX = 200, HALF_NAN = 0x7e01 };

/* Widths of keys and values; latent: values are the leading part of the keys. */
static const struct shape {
    size_t dim, value_dim;
    bool latent;
} shapes[] = {
    {16, 16, false},   {32, 32, false},   {48, 48, false},   {64, 64, false},   {80, 80, false},
    {96, 96, false},   {128, 128, false}, {256, 256, false}, {576, 576, false}, {32, 80, false},
    {192, 128, false}, {16, 16, true},    {48, 32, true},    {112, 96, true},   {576, 512, true},
};
static struct shape shape;  // of the running case
static const size_t row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 63, 64, 65, 192};

enum pattern { ALL, PARTIAL, CAUSAL, STEEP, WINDOW, HOLES, RANDOM_RANGE, DISJOINT, PATTERNS };
static const char *const pattern_names[PATTERNS] = {"all",    "partial", "causal", "steep",
                                                    "window", "holes",   "random", "disjoint"};

/* First visible token and number of them for a row. */
static void pattern_range(enum pattern pattern, size_t row, int32_t *first, int32_t *visible)
{
    uint64_t bits = rng_bits(3, (uint32_t)pattern, (uint32_t)row, 0);
    int32_t r = (int32_t)row;
    *first = 0;
    *visible = TOKENS;
    switch (pattern) {
    case PARTIAL:
        *visible = 17;
        break;
    case CAUSAL:
        *visible = 5 + r / 3 < TOKENS ? 5 + r / 3 : TOKENS;
        break;
    case STEEP:
        *visible = 1 + r < TOKENS ? 1 + r : TOKENS;
        break;
    case WINDOW:
        *first = r % 20, *visible = TOKENS - *first - r % 3;
        break;
    case HOLES:
        *visible = r % 3 == 1 ? 0 : TOKENS - r % 5;
        break;
    case RANDOM_RANGE:
        *first = (int32_t)(bits % TOKENS);
        *visible = (int32_t)(bits / TOKENS % (uint64_t)(TOKENS + 1 - *first));
        break;
    case DISJOINT:
        *first = r % 8 * 4, *visible = 4;
        break;
    default:
        break;
    }
}

static struct guarded k_buffer, v_buffer, q_buffer, o_buffer, m_buffer, l_buffer;
static const float *q_rows[ROWS_MAX];
static float *o_rows[ROWS_MAX];
static int32_t first[ROWS_MAX], visible[ROWS_MAX];
static float o_expected[ROWS_MAX * DIM_MAX], m_expected[ROWS_MAX], l_expected[ROWS_MAX];
static uint16_t k_clean[DIM_MAX * TOKENS], v_clean[DIM_MAX * TOKENS];

/* Values of a tile: K transposed [dim, 32], V [32, dim]. */
static void fill_halves(uint16_t *out, size_t n, enum fill fill, uint32_t stream)
{
    for (size_t i = 0; i < n; i++) {
        float value = fill_value(fill, stream, i);
        if (fill == FILL_DENORMALS)  // denormal as f16
            value = fill_value(FILL_RANDOM, stream, i) * 0x1p-17f;
        out[i] = f16_from_f32(value);
    }
}

/* The state a row starts from: every second one fresh, the others in the middle of a split. */
static void start_state(size_t row, size_t dim, float *m, float *l, float *o)
{
    *m = row % 2 ? fill_value(FILL_RANDOM, 21, row) : -INFINITY;
    *l = row % 2 ? 1.0f + (float)row : 0.0f;
    for (size_t d = 0; d < dim; d++)
        o[d] = row % 2 ? fill_value(FILL_RANDOM, 22, row * dim + d) : 0.0f;
}

static bool sees(size_t row, size_t token)
{
    return (int32_t)token >= first[row] && (int32_t)token < first[row] + visible[row];
}

/* The clean tile with NaN wherever `row` (or, for row = n_rows, no row at all) looks. */
static void poison_tile(uint16_t *k, uint16_t *v, size_t dim, size_t row, size_t n_rows)
{
    memcpy(k, k_clean, dim * TOKENS * sizeof *k);
    memcpy(v, v_clean, shape.value_dim * TOKENS * sizeof *v);
    for (size_t t = 0; t < TOKENS; t++) {
        bool seen = row < n_rows && sees(row, t);
        for (size_t i = 0; row == n_rows && i < n_rows; i++)
            seen |= sees(i, t);
        for (size_t d = 0; d < dim && !seen; d++)
            k[d * TOKENS + t] = HALF_NAN;
        for (size_t d = 0; d < shape.value_dim && !seen; d++)
            v[t * shape.value_dim + d] = HALF_NAN;
    }
}

static struct attention_tile make_tile(const uint16_t *k, const uint16_t *v, size_t dim, size_t row,
                                       size_t n_rows, float *m, float *l)
{
    return (struct attention_tile){
        .k = k,
        .v = shape.latent ? NULL : v,
        .next_k = n_rows % 2 ? k : NULL,  // only a hint
        .head_dim = dim,
        .value_dim = shape.value_dim,
        .n_rows = n_rows,
        .q = q_rows + row,
        .n_visible = visible + row,
        .n_first = first + row,
        .m = m,
        .l = l,
        .o = o_rows + row,
    };
}

/* Fills o_expected, m_expected and l_expected by the scalar level, row by row. */
static void expect(const struct kernels *spec, size_t dim, size_t n_rows)
{
    static uint16_t k[DIM_MAX * TOKENS], v[DIM_MAX * TOKENS];
    for (size_t row = 0; row < n_rows; row++) {
        o_rows[row] = o_expected + row * shape.value_dim;
        start_state(row, shape.value_dim, &m_expected[row], &l_expected[row], o_rows[row]);
        poison_tile(k, v, dim, row, n_rows);
        struct attention_tile tile =
            make_tile(k, v, dim, row, 1, &m_expected[row], &l_expected[row]);
        spec->attention_tile(&tile);
    }
}

static void check_case(const struct kernels *tables[CPU_LEVELS], size_t n_rows,
                       enum pattern pattern, enum fill fill)
{
    size_t dim = shape.dim, value_dim = shape.value_dim;
    float *q = guarded_place(&q_buffer, n_rows * dim * sizeof(float));
    fill_floats(q, n_rows * dim, fill, 11);
    fill_halves(k_clean, dim * TOKENS, fill, 12);
    fill_halves(v_clean, value_dim * TOKENS, fill, 13);
    for (size_t row = 0; row < n_rows; row++) {
        q_rows[row] = q + row * dim;
        pattern_range(pattern, row, &first[row], &visible[row]);
    }
    expect(tables[CPU_SCALAR], dim, n_rows);
    uint16_t *k = guarded_place(&k_buffer, dim * TOKENS * sizeof *k);
    uint16_t *v = guarded_place(&v_buffer, value_dim * TOKENS * sizeof *v);
    poison_tile(k, v, dim, n_rows, n_rows);
    for (int level = 0; level < CPU_LEVELS; level++) {
        if (!tables[level])
            continue;
        check_begin(
            "attention_tile %s head_dim %zu values %zu latent %d rows %zu visible %s fill %s",
            tables[level]->name, dim, value_dim, shape.latent, n_rows, pattern_names[pattern],
            fill_names[fill]);
        float *o = guarded_place(&o_buffer, n_rows * value_dim * sizeof(float));
        float *m = guarded_place(&m_buffer, n_rows * sizeof(float));
        float *l = guarded_place(&l_buffer, n_rows * sizeof(float));
        for (size_t row = 0; row < n_rows; row++) {
            o_rows[row] = o + row * value_dim;
            start_state(row, value_dim, &m[row], &l[row], o_rows[row]);
        }
        struct attention_tile tile = make_tile(k, v, dim, 0, n_rows, m, l);
        tables[level]->attention_tile(&tile);
        check_floats(m_expected, m, n_rows, "m");
        check_floats(l_expected, l, n_rows, "l");
        check_floats(o_expected, o, n_rows * value_dim, "o");
        guarded_check(&o_buffer, "o");
        guarded_check(&m_buffer, "m");
        guarded_check(&l_buffer, "l");
    }
}

/* Levels without attention code of their own run that of the level below: not checked again. */
static void drop_repeated_levels(const struct kernels *tables[CPU_LEVELS])
{
    for (int level = CPU_LEVELS - 1; level > 0; level--) {
        const struct kernels *below = tables[level - 1];
        if (tables[level] && below && tables[level]->attention_tile == below->attention_tile) {
            printf("%s runs the attention of %s\n", tables[level]->name, below->name);
            tables[level] = NULL;
        } else if (tables[level]) {
            printf("checked: %s\n", tables[level]->name);
        }
    }
}

/* Guards against a specification that is itself poisoned: finite input must give finite output. */
static void check_finite(size_t n, const float *values, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            check_fail("%s[%zu] of the specification is %g", what, i, (double)values[i]);
            return;
        }
    }
}

static void check_tiles(const struct kernels *tables[CPU_LEVELS])
{
    for (size_t d = 0; d < sizeof shapes / sizeof shapes[0]; d++) {
        for (size_t r = 0; r < sizeof row_counts / sizeof row_counts[0]; r++) {
            shape = shapes[d];
            if (shape.dim * row_counts[r] > (shape.dim < 512 ? 4200 : 9300))
                continue;  // the scalar level would take seconds
            for (int pattern = 0; pattern < PATTERNS; pattern++) {
                int fill = (int)(d + r) % FILLS;  // every fill meets every pattern
                check_case(tables, row_counts[r], (enum pattern)pattern, (enum fill)fill);
                if (fill == FILL_RANDOM)
                    check_finite(row_counts[r] * shape.value_dim, o_expected, "o");
            }
        }
    }
}

enum { LENGTH = 700, HEADS = 3, SEQ_DIM = 64 };
static uint16_t seq_k[LENGTH / TOKENS + 1][SEQ_DIM * TOKENS];
static uint16_t seq_v[LENGTH / TOKENS + 1][SEQ_DIM * TOKENS];
static float seq_q[LENGTH * HEADS][SEQ_DIM];

/* Queries of positions [from, to) of one kv head over everything before them, as the model does
 * it: tiles ascending, a new state each 256 tokens, merged; out [(to - from) * HEADS, SEQ_DIM]. */
static void attend(const struct kernels *k, size_t from, size_t to, float *out)
{
    static float o[ROWS_MAX][SEQ_DIM], total[ROWS_MAX][SEQ_DIM], m[ROWS_MAX], l[ROWS_MAX];
    static float m_total[ROWS_MAX], l_total[ROWS_MAX];
    size_t n_rows = (to - from) * HEADS;
    shape = (struct shape){SEQ_DIM, SEQ_DIM, false};
    memset(first, 0, sizeof first);
    for (size_t row = 0; row < n_rows; row++) {
        q_rows[row] = seq_q[from * HEADS + row];
        o_rows[row] = o[row];
        m_total[row] = -INFINITY;
        l_total[row] = 0;
        memset(total[row], 0, sizeof total[row]);
    }
    for (size_t split = 0; split < to; split += ATTENTION_SPLIT_TOKENS) {
        for (size_t row = 0; row < n_rows; row++) {
            m[row] = -INFINITY;
            l[row] = 0;
            memset(o[row], 0, sizeof o[row]);
        }
        for (size_t base = split; base < to && base < split + ATTENTION_SPLIT_TOKENS;
             base += TOKENS) {
            for (size_t row = 0; row < n_rows; row++) {
                int64_t n = (int64_t)(from + row / HEADS + 1) - (int64_t)base;
                visible[row] = n < 0 ? 0 : n > TOKENS ? TOKENS : (int32_t)n;
            }
            struct attention_tile tile =
                make_tile(seq_k[base / TOKENS], seq_v[base / TOKENS], SEQ_DIM, 0, n_rows, m, l);
            k->attention_tile(&tile);
        }
        for (size_t row = 0; row < n_rows; row++)
            attention_merge(&m_total[row], &l_total[row], total[row], m[row], l[row], o[row],
                            SEQ_DIM);
    }
    for (size_t row = 0; row < n_rows; row++)
        attention_finish(total[row], l_total[row], out + row * SEQ_DIM, SEQ_DIM);
}

static void reference_row(size_t position, const float *q, double out[SEQ_DIM])
{
    static double weight[LENGTH];
    double maximum = -INFINITY, sum = 0;
    for (size_t t = 0; t <= position; t++) {
        weight[t] = 0;
        for (size_t d = 0; d < SEQ_DIM; d++)
            weight[t] += q[d] * (double)f32_from_f16(seq_k[t / TOKENS][d * TOKENS + t % TOKENS]);
        maximum = fmax(maximum, weight[t]);
    }
    memset(out, 0, SEQ_DIM * sizeof *out);
    for (size_t t = 0; t <= position; t++) {
        double p = exp(weight[t] - maximum);
        sum += p;
        for (size_t d = 0; d < SEQ_DIM; d++)
            out[d] += p * f32_from_f16(seq_v[t / TOKENS][t % TOKENS * SEQ_DIM + d]);
    }
    for (size_t d = 0; d < SEQ_DIM; d++)
        out[d] /= sum;
}

/* A whole sequence: in chunks of any size the same bits as one position at a time, for every
 * level, and close to float64. */
static void check_sequence(const struct kernels *tables[CPU_LEVELS])
{
    static float one[LENGTH * HEADS][SEQ_DIM], got[ROWS_MAX][SEQ_DIM];
    static const size_t chunks[] = {1, 2, 5, 32, 61, 64};
    for (size_t tile = 0; tile < LENGTH / TOKENS + 1; tile++) {
        fill_halves(seq_k[tile], SEQ_DIM * TOKENS, FILL_RANDOM, (uint32_t)(100 + tile));
        fill_halves(seq_v[tile], SEQ_DIM * TOKENS, FILL_RANDOM, (uint32_t)(200 + tile));
    }
    for (size_t row = 0; row < LENGTH * HEADS; row++) {
        fill_floats(seq_q[row], SEQ_DIM, FILL_RANDOM, (uint32_t)(300 + row));
        for (size_t d = 0; d < SEQ_DIM; d++)
            seq_q[row][d] *= 0.125f;
    }
    for (size_t position = 0; position < LENGTH; position++)
        attend(tables[CPU_SCALAR], position, position + 1, one[position * HEADS]);
    check_begin("attention over a sequence against float64");
    double worst = 0;
    for (size_t row = 0; row < LENGTH * HEADS; row += 7) {
        double want[SEQ_DIM];
        reference_row(row / HEADS, seq_q[row], want);
        for (size_t d = 0; d < SEQ_DIM; d++)
            worst = fmax(worst, fabs(want[d] - one[row][d]));
    }
    printf("attention over %d tokens: at most %.2e from float64 (values up to 4)\n", LENGTH, worst);
    if (!(worst < 4e-5))
        check_fail("error %.2e", worst);
    for (int level = 0; level < CPU_LEVELS; level++) {
        for (size_t c = 0; tables[level] && c < sizeof chunks / sizeof chunks[0]; c++) {
            if (level == CPU_SCALAR && chunks[c] != 61)
                continue;  // it goes row by row whatever the chunk, and takes half a second
            check_begin("sequence %s in chunks of %zu", tables[level]->name, chunks[c]);
            for (size_t from = 0; from < LENGTH; from += chunks[c]) {
                size_t to = from + chunks[c] < LENGTH ? from + chunks[c] : LENGTH;
                attend(tables[level], from, to, got[0]);
                check_floats(one[from * HEADS], got[0], (to - from) * HEADS * SEQ_DIM, "out");
            }
        }
    }
}

static void check_merge(void)
{
    float m_a = -INFINITY, l_a = 0, m_b = 2, l_b = 3, o_a[16] = {0}, o_b[16], out[16];
    fill_floats(o_b, 16, FILL_RANDOM, 31);
    check_begin("merge into an empty split copies");
    attention_merge(&m_a, &l_a, o_a, m_b, l_b, o_b, 16);
    check_floats(o_b, o_a, 16, "o");
    if (m_a != 2 || l_a != 3)
        check_fail("m %g l %g", (double)m_a, (double)l_a);
    check_begin("merge of an empty split changes nothing");
    attention_merge(&m_a, &l_a, o_a, -INFINITY, 0, (const float[16]){NAN}, 16);
    check_floats(o_b, o_a, 16, "o");
    check_begin("a sink is a split without values");
    attention_merge(&m_a, &l_a, o_a, 4, 1, (const float[16]){0}, 16);
    for (size_t i = 0; i < 16; i++) {
        if (fabs(o_a[i] - o_b[i] * exp(-2)) > 1e-6)
            check_fail("o[%zu] is %g", i, (double)o_a[i]);
    }
    if (m_a != 4 || fabs(l_a - (3 * exp(-2) + 1)) > 1e-6)
        check_fail("m %g l %g", (double)m_a, (double)l_a);
    check_begin("finish divides, and gives zeros where nothing was seen");
    attention_finish(o_b, 3, out, 16);
    for (size_t i = 0; i < 16; i++) {
        if (out[i] != o_b[i] / 3)
            check_fail("out[%zu] is %g", i, (double)out[i]);
    }
    attention_finish(o_b, 0, out, 16);
    check_floats((const float[16]){0}, out, 16, "out");
}

enum { BENCH_TILES = 128 };

/* Rows over BENCH_TILES tiles one after the other; caches hold what they hold in a real step. */
static void bench_one(const struct kernels *k, struct shape widths, size_t n_rows,
                      enum pattern pattern)
{
    static uint16_t keys[BENCH_TILES * DIM_MAX * TOKENS], values[BENCH_TILES * DIM_MAX * TOKENS];
    static float q[ROWS_MAX * DIM_MAX], o[ROWS_MAX * DIM_MAX], m[ROWS_MAX], l[ROWS_MAX];
    size_t pairs = 0, dim = widths.dim, value_dim = widths.value_dim;
    shape = widths;
    fill_halves(keys, BENCH_TILES * dim * TOKENS, FILL_RANDOM, 1);
    memcpy(values, keys, sizeof values);
    for (size_t row = 0; row < n_rows; row++) {
        fill_floats(q + row * dim, dim, FILL_RANDOM, (uint32_t)row);
        q_rows[row] = q + row * dim;
        o_rows[row] = o + row * value_dim;
        m[row] = -INFINITY;
        l[row] = 0;
        pattern_range(pattern, row, &first[row], &visible[row]);
        pairs += (size_t)visible[row];
    }
    double best = INFINITY;
    for (int repeat = 0; repeat < (k->level == CPU_SCALAR ? 1 : 15); repeat++) {
        double start = now_ns();
        for (size_t t = 0; t < BENCH_TILES; t++) {
            struct attention_tile tile = make_tile(
                keys + t * dim * TOKENS, values + t * value_dim * TOKENS, dim, 0, n_rows, m, l);
            k->attention_tile(&tile);
        }
        double ns = (now_ns() - start) / BENCH_TILES;
        best = ns < best ? ns : best;
    }
    size_t n_stored = dim + (widths.latent ? 0 : value_dim);
    printf("%-7s head_dim %3zu %-6s rows %3zu %-7s %10.0f ns/tile %8.1f GFLOP/s %6.1f GB/s of K "
           "and V\n",
           k->name, dim, widths.latent ? "latent" : "", n_rows, pattern_names[pattern], best,
           2.0 * (double)(pairs * (dim + value_dim)) / best,
           (double)(n_stored * TOKENS * 2) / best);
}

static void bench(const struct kernels *tables[CPU_LEVELS])
{
    static const size_t rows[] = {1, 3, 4, 7, 8, 12, 16, 24, 64, 192};
    static const struct shape widths[] = {{64, 64, false}, {128, 128, false}, {576, 512, true}};
    for (size_t d = 0; d < sizeof widths / sizeof widths[0]; d++) {
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
            for (int level = 0; level < CPU_LEVELS; level++) {
                if (!tables[level])
                    continue;
                bench_one(tables[level], widths[d], rows[r], ALL);
                if (rows[r] == 192)
                    bench_one(tables[level], widths[d], rows[r], CAUSAL);
            }
        }
    }
}

int main(int argc, char **argv)
{
    const struct kernels *tables[CPU_LEVELS];
    check_levels(tables);
    drop_repeated_levels(tables);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench(tables);
        return 0;
    }
    struct guarded *buffers[] = {&k_buffer, &v_buffer, &q_buffer, &o_buffer, &m_buffer, &l_buffer};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        guarded_open(buffers[i], ROWS_MAX * DIM_MAX * sizeof(float));
    check_merge();
    check_tiles(tables);
    check_sequence(tables);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        guarded_close(buffers[i]);
    return check_end("attention_check");
}
