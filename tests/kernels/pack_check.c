/* Formats and panels: dequantize_row() against values of gguf-py (tests/golden/dequantize), bit for
 * bit; unpack_row() of a packed panel against dequantize_row() of its source, for each lane, from
 * odd addresses, with unreadable pages behind the rows and the panel. Run from the repository's
 * root. */
#include "tests/kernels/weights.h"

enum { COLS_MAX = 2048, FILE_BYTES_MAX = 1 << 16 };

static struct guarded row_buffer, panel_buffer, out_buffer;
static float expected[COLS_MAX];

static void check_golden(enum dtype dtype)
{
    const struct dtype_info *info = dtype_info(dtype);
    static uint8_t bytes[FILE_BYTES_MAX];
    char path[100];
    snprintf(path, sizeof path, "tests/golden/dequantize/%s.bin", info->name);
    check_begin("dequantize_row %s against %s", info->name, path);
    FILE *file = fopen(path, "rb");
    size_t n_bytes = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file)
        fclose(file);
    uint32_t n_cols = 0;
    memcpy(&n_cols, bytes, sizeof n_cols);
    size_t row_bytes = n_cols / info->block_elements * info->block_bytes;
    if (n_cols == 0 || n_cols > COLS_MAX || n_bytes != 4 + row_bytes + n_cols * sizeof(float)) {
        check_fail("cannot be read or has the wrong size");
        return;
    }
    uint8_t *row = guarded_place(&row_buffer, row_bytes);
    memcpy(row, bytes + 4, row_bytes);
    memcpy(expected, bytes + 4 + row_bytes, n_cols * sizeof(float));
    float *out = guarded_place(&out_buffer, n_cols * sizeof(float));
    dequantize_row(dtype, row, n_cols, out);
    check_floats(expected, out, n_cols, "value");
    guarded_check(&out_buffer, "out");
}

/* Bytes of a panel without padding: as many as in the file but for the types whose sub-scales or
 * codes are written out (panel_layout.h), in bits a weight times 256. */
static size_t panel_bytes_of(enum dtype dtype, size_t n_cols)
{
    static const struct {
        enum dtype dtype;
        size_t bits;
    } wider[] = {
        {DTYPE_Q3_K, 16 + 3 * 256 + 16 * 8},   {DTYPE_IQ4_XS, 16 + 4 * 256 + 8 * 8},
        {DTYPE_IQ3_XXS, 16 + 4 * 256 + 8 * 8}, {DTYPE_IQ3_S, 16 + 4 * 256 + 8 * 8},
        {DTYPE_IQ2_XXS, 16 + 3 * 256 + 8 * 8}, {DTYPE_IQ2_XS, 16 + 3 * 256 + 16 * 8},
        {DTYPE_IQ2_S, 16 + 3 * 256 + 16 * 8},  {DTYPE_IQ1_S, 16 + 3 * 256 + 8 * 8},
        {DTYPE_IQ1_M, 16 + 3 * 256 + 16 * 8},  {DTYPE_TQ1_0, 16 + 2 * 256},
    };
    const struct dtype_info *info = dtype_info(dtype);
    for (EACH(i, wider)) {
        if (wider[i].dtype == dtype)
            return n_cols / 256 * PANEL_ROWS * wider[i].bits / 8;
    }
    return n_cols / info->block_elements * info->block_bytes * PANEL_ROWS;
}

/* A row in one lane, others around it; a missing row is zeros. */
static void check_lane(enum dtype dtype, size_t n_cols, enum fill fill, size_t lane)
{
    const struct dtype_info *info = dtype_info(dtype);
    size_t row_bytes = n_cols / info->block_elements * info->block_bytes;
    check_begin("pack %s cols %zu fill %s lane %zu", info->name, n_cols, fill_names[fill], lane);
    uint8_t *row = guarded_place(&row_buffer, row_bytes);
    make_row(dtype, n_cols, fill, (uint32_t)lane, row);
    static uint8_t other[COLS_MAX * sizeof(float)];
    make_row(dtype, n_cols, FILL_RANDOM, 77, other);
    const void *rows[PANEL_ROWS];
    for (size_t i = 0; i < PANEL_ROWS; i++)
        rows[i] = i == lane ? row : i % 3 == 1 ? NULL : other;
    size_t panel_bytes = pack_panel_bytes(dtype, n_cols);
    if (panel_bytes % 64 != 0 || panel_bytes < panel_bytes_of(dtype, n_cols) ||
        panel_bytes - panel_bytes_of(dtype, n_cols) >= 64) {
        check_fail("a panel of %zu bytes for rows of %zu", panel_bytes, row_bytes);
        return;
    }
    uint8_t *panel = guarded_place(&panel_buffer, panel_bytes);
    pack_panel(dtype, n_cols, rows, panel);
    for (size_t i = 0; i < PANEL_ROWS; i++) {
        float *out = guarded_place(&out_buffer, n_cols * sizeof(float));
        unpack_row(dtype, n_cols, panel, i, out);
        if (rows[i]) {
            dequantize_row(dtype, rows[i], n_cols, expected);
            check_floats(expected, out, n_cols, i == lane ? "value" : "value of another lane");
        }
        for (size_t col = 0; !rows[i] && col < n_cols; col++) {
            if (out[col] != 0.0f) {
                check_fail("a missing row has %g at %zu", (double)out[col], col);
                break;
            }
        }
        guarded_check(&out_buffer, "out");
    }
    guarded_check(&panel_buffer, "panel");
}

static void check_sizes(void)
{
    static const struct {
        enum dtype dtype;
        size_t n_cols, bytes;
    } cases[] = {
        {DTYPE_Q4_0, 0, 0},        {DTYPE_Q4_0, 31, 0},      {DTYPE_Q4_0, 33, 0},
        {DTYPE_Q4_0, 32, 320},     {DTYPE_Q4_1, 32, 320},    {DTYPE_Q4_K, 32, 0},
        {DTYPE_Q4_K, 256, 2304},   {DTYPE_Q6_K, 256, 3392},  {DTYPE_Q8_0, 64, 1088},
        {DTYPE_F16, 1, 64},        {DTYPE_F32, 3, 192},      {DTYPE_IQ2_XS, 255, 0},
        {DTYPE_I8, 256, 0},        {DTYPE_I32, 32, 0},       {DTYPE_F64, 32, 0},
        {(enum dtype)9999, 32, 0}, {DTYPE_F32, SIZE_MAX, 0}, {DTYPE_Q8_0, SIZE_MAX / 32 * 32, 0},
    };
    for (EACH(i, cases)) {
        check_begin("pack_panel_bytes case %zu", i);
        size_t bytes = pack_panel_bytes(cases[i].dtype, cases[i].n_cols);
        if (bytes != cases[i].bytes)
            check_fail("%zu bytes, must be %zu", bytes, cases[i].bytes);
    }
}

int main(void)
{
    const struct kernels *tables[CPU_LEVELS];
    check_levels(tables);
    guarded_open(&row_buffer, COLS_MAX * sizeof(float));
    guarded_open(&panel_buffer, PANEL_ROWS * COLS_MAX * sizeof(float));
    guarded_open(&out_buffer, COLS_MAX * sizeof(float));
    check_sizes();
    for (EACH(t, product_types)) {
        enum dtype dtype = product_types[t];
        size_t unit = dtype_info(dtype)->block_elements;
        const size_t cols[] = {unit, 3 * unit, unit > 1 ? 1536 : 97};
        check_golden(dtype);
        for (EACH(c, cols)) {
            for (int fill = 0; fill < FILLS; fill++) {
                for (size_t lane = 0; lane < PANEL_ROWS; lane += c == 2 ? 5 : 1)
                    check_lane(dtype, cols[c], (enum fill)fill, lane);
            }
        }
    }
    return check_end("pack_check");
}
