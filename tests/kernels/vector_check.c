/* Element-wise kernels: every level against the scalar specification, bit for bit, for all lengths
 * around a vector, every kind of value, in place and not, with unreadable pages behind the buffers;
 * the specification itself against float64. `--bench` prints ns a call.
 *
 * The scalar level runs through the same comparison, which shows at least that it repeats. */
#include "engine/kernels/attention.h"
#include "tests/kernels/check.h"

enum { N_MAX = 4096 };

static const size_t sizes[] = {0,  1,  2,  7,  8,  9,  15,  16,  17,
                               31, 32, 33, 48, 64, 65, 576, 577, 1536};
static struct guarded x_buffer, y_buffer, out_buffer;
static float expected[N_MAX];

#define EACH(i, array)                                                                             \
    size_t i = 0;                                                                                  \
    i < sizeof(array) / sizeof(array)[0];                                                          \
    i++

static void check_rms_norm(const struct kernels *spec, const struct kernels *k, size_t n,
                           enum fill fill, bool weighted)
{
    check_begin("rms_norm %s n %zu fill %s weight %d", k->name, n, fill_names[fill], weighted);
    float *x = guarded_place(&x_buffer, n * sizeof(float));
    float *weight = guarded_place(&y_buffer, n * sizeof(float));
    float *out = guarded_place(&out_buffer, n * sizeof(float));
    fill_floats(x, n, fill, 1);
    fill_floats(weight, n, FILL_RANDOM, 2);
    spec->rms_norm(x, weighted ? weight : NULL, n, 1e-5f, expected);
    k->rms_norm(x, weighted ? weight : NULL, n, 1e-5f, out);
    check_floats(expected, out, n, "out");
    k->rms_norm(x, weighted ? weight : NULL, n, 1e-5f, x);
    check_floats(expected, x, n, "out in place");
    guarded_check(&out_buffer, "out");
    guarded_check(&x_buffer, "x");
    if (fill != FILL_RANDOM || k != spec)
        return;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += pow(fill_value(fill, 1, i), 2);
    for (size_t i = 0; i < n; i++) {
        double value = fill_value(fill, 1, i) / sqrt(sum / (double)n + 1e-5);
        value *= weighted ? weight[i] : 1.0f;
        if (fabs(out[i] - value) > 4e-7 * fabs(value))
            check_fail("[%zu] is %g, float64 says %g", i, (double)out[i], value);
    }
}

static void check_add(const struct kernels *spec, const struct kernels *k, size_t n, enum fill fill)
{
    check_begin("add %s n %zu fill %s", k->name, n, fill_names[fill]);
    float *x = guarded_place(&x_buffer, n * sizeof(float));
    float *y = guarded_place(&y_buffer, n * sizeof(float));
    fill_floats(x, n, fill, 3);
    fill_floats(y, n, fill, 4);
    fill_floats(expected, n, fill, 3);
    spec->add(expected, y, n);
    k->add(x, y, n);
    check_floats(expected, x, n, "x");
    guarded_check(&x_buffer, "x");
}

static void check_silu_mul(const struct kernels *spec, const struct kernels *k, size_t n,
                           enum fill fill)
{
    check_begin("silu_mul %s n %zu fill %s", k->name, n, fill_names[fill]);
    float *gate = guarded_place(&x_buffer, n * sizeof(float));
    float *up = guarded_place(&y_buffer, n * sizeof(float));
    float *out = guarded_place(&out_buffer, n * sizeof(float));
    fill_floats(gate, n, fill, 5);
    fill_floats(up, n, fill, 6);
    spec->silu_mul(gate, up, n, expected);
    k->silu_mul(gate, up, n, out);
    check_floats(expected, out, n, "out");
    guarded_check(&out_buffer, "out");
    for (size_t i = 0; i < n && fill == FILL_RANDOM && k == spec; i++) {
        double value = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
        if (fabs(out[i] - value) > 4e-7 * fabs(value))
            check_fail("[%zu] is %g, float64 says %g", i, (double)out[i], value);
    }
    k->silu_mul(gate, up, n, gate);
    check_floats(expected, gate, n, "out in place of gate");
}

static void check_swiglu_clamped(const struct kernels *spec, const struct kernels *k, size_t n,
                                 enum fill fill)
{
    check_begin("swiglu_clamped %s n %zu fill %s", k->name, n, fill_names[fill]);
    float *gate = guarded_place(&x_buffer, n * sizeof(float));
    float *up = guarded_place(&y_buffer, n * sizeof(float));
    float *out = guarded_place(&out_buffer, n * sizeof(float));
    fill_floats(gate, n, fill, 5);
    fill_floats(up, n, fill, 6);
    for (size_t i = 0; i < n && fill == FILL_RANDOM; i++)  // past both limits
        gate[i] *= 6, up[i] *= 6;
    spec->swiglu_clamped(gate, up, n, expected);
    k->swiglu_clamped(gate, up, n, out);
    check_floats(expected, out, n, "out");
    guarded_check(&out_buffer, "out");
    for (size_t i = 0; i < n && fill == FILL_RANDOM && k == spec; i++) {
        double g = fmin(gate[i], 7), u = fmax(fmin(up[i], 7), -7);
        double value = (u + 1) * g / (1 + exp(-1.702 * g));
        if (fabs(out[i] - value) > 2e-6 * (fabs(value) + 0.1))
            check_fail("[%zu] is %g, float64 says %g", i, (double)out[i], value);
    }
    k->swiglu_clamped(gate, up, n, gate);
    check_floats(expected, gate, n, "out in place of gate");
}

static void check_add_scaled(const struct kernels *spec, const struct kernels *k, size_t n,
                             enum fill fill)
{
    check_begin("add_scaled %s n %zu fill %s", k->name, n, fill_names[fill]);
    float *x = guarded_place(&x_buffer, n * sizeof(float));
    float *y = guarded_place(&y_buffer, n * sizeof(float));
    fill_floats(x, n, fill, 3);
    fill_floats(y, n, fill, 4);
    fill_floats(expected, n, fill, 3);
    spec->add_scaled(expected, y, 0.37f, n);
    k->add_scaled(x, y, 0.37f, n);
    check_floats(expected, x, n, "x");
    guarded_check(&x_buffer, "x");
    for (size_t i = 0; i < n && fill == FILL_RANDOM && k == spec; i++) {
        double value = (double)fill_value(fill, 3, i) + (double)0.37f * (double)y[i];
        if (fabs((double)x[i] - value) > 1e-6)
            check_fail("[%zu] is %g, float64 says %g", i, (double)x[i], value);
    }
}

static void check_rope(const struct kernels *spec, const struct kernels *k, size_t n,
                       enum fill fill, bool neox)
{
    n = n / 2 * 2;
    check_begin("rope %s n_rot %zu fill %s neox %d", k->name, n, fill_names[fill], neox);
    float *head = guarded_place(&x_buffer, n * sizeof(float));
    float *cos_sin = guarded_place(&y_buffer, n * sizeof(float));
    for (size_t i = 0; i < n / 2; i++) {
        cos_sin[2 * i] = cosf((float)i * 1.7f);
        cos_sin[2 * i + 1] = sinf((float)i * 1.7f);
    }
    fill_floats(head, n, fill, 8);
    fill_floats(expected, n, fill, 8);
    spec->rope(expected, cos_sin, n, neox);
    k->rope(head, cos_sin, n, neox);
    check_floats(expected, head, n, "head");
    guarded_check(&x_buffer, "head");
    for (size_t i = 0; i < n / 2 && fill == FILL_RANDOM && k == spec; i++) {
        size_t a = neox ? i : 2 * i, b = neox ? i + n / 2 : 2 * i + 1;
        double c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        double x = fill_value(fill, 8, a), y = fill_value(fill, 8, b);
        if (fabs(head[a] - (x * c - y * s)) > 1e-6 || fabs(head[b] - (y * c + x * s)) > 1e-6)
            check_fail("pair %zu is off from float64", i);
    }
}

static void check_f16(const struct kernels *spec, const struct kernels *k, size_t n, enum fill fill)
{
    check_begin("f32_to_f16 %s n %zu fill %s", k->name, n, fill_names[fill]);
    float *x = guarded_place(&x_buffer, n * sizeof(float));
    uint16_t *out = guarded_place(&out_buffer, n * sizeof(uint16_t));
    uint16_t want[N_MAX];
    fill_floats(x, n, fill, 9);
    spec->f32_to_f16(x, n, want);
    k->f32_to_f16(x, n, out);
    if (n && memcmp(want, out, n * sizeof(uint16_t)) != 0)
        check_fail("halves differ");
    guarded_check(&out_buffer, "out");
}

/* Floats by their bits in even steps over the whole range, both signs, NaN included: rounding to
 * f16 and silu (that is, exp) at every level. */
static void check_sweep(const struct kernels *spec, const struct kernels *k, uint32_t stride)
{
    static float x[N_MAX], one[N_MAX], got[N_MAX];
    static uint16_t half[N_MAX], want[N_MAX];
    check_begin("sweep over all floats %s", k->name);
    for (size_t i = 0; i < N_MAX; i++)
        one[i] = 1.0f;
    for (uint64_t bits = 0; bits <= UINT32_MAX;) {
        size_t n = 0;
        for (; n < N_MAX && bits <= UINT32_MAX; n++, bits += stride)
            x[n] = f32_from_bits((uint32_t)bits);
        spec->silu_mul(x, one, n, expected);
        k->silu_mul(x, one, n, got);
        check_floats(expected, got, n, "silu");
        spec->f32_to_f16(x, n, want);
        k->f32_to_f16(x, n, half);
        for (size_t i = 0; i < n; i++) {
            if (want[i] != half[i])
                check_fail("f16 of %a is %04x, must be %04x", (double)x[i], half[i], want[i]);
        }
    }
}

/* The exp itself against the C library's in double. */
static void check_exp(uint32_t stride)
{
    double worst = 0;
    float worst_at = 0;
    check_begin("kernel_exp against float64");
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride) {
        float x = f32_from_bits((uint32_t)bits), got = kernel_exp(x);
        double want = exp((double)x);
        if (x < -87.3366f ? got != 0 : x > 88.7229f ? got != INFINITY : x != x && got == got)
            check_fail("exp(%a) is %a", (double)x, (double)got);
        if (!(x >= -87.33f && x <= 88.72f))
            continue;
        double ulp = ldexp(1.0, ilogb(want) - 23), error = fabs(got - want) / ulp;
        if (error > worst)
            worst = error, worst_at = x;
    }
    if (worst >= 1.0)
        check_fail("error of %.3f ulp at %a", worst, (double)worst_at);
    if (kernel_exp(0.0f) != 1.0f || kernel_exp(-0.0f) != 1.0f || kernel_exp(-INFINITY) != 0.0f ||
        kernel_exp(INFINITY) != INFINITY || kernel_exp(NAN) == kernel_exp(NAN))
        check_fail("a value that must be exact is not");
    printf("kernel_exp: at most %.3f ulp from float64\n", worst);
}

static void check_level(const struct kernels *spec, const struct kernels *k)
{
    for (EACH(i, sizes)) {
        for (int fill = 0; fill < FILLS; fill++) {
            for (int flag = 0; flag < 2; flag++) {
                check_rms_norm(spec, k, sizes[i], (enum fill)fill, flag);
                check_rope(spec, k, sizes[i], (enum fill)fill, flag);
            }
            check_add(spec, k, sizes[i], (enum fill)fill);
            check_silu_mul(spec, k, sizes[i], (enum fill)fill);
            check_swiglu_clamped(spec, k, sizes[i], (enum fill)fill);
            check_add_scaled(spec, k, sizes[i], (enum fill)fill);
            check_f16(spec, k, sizes[i], (enum fill)fill);
        }
    }
}

/* Levels without code of their own run that of the level below: not checked again. */
static void drop_repeated_levels(const struct kernels *tables[CPU_LEVELS])
{
    for (int level = CPU_LEVELS - 1; level > 0; level--) {
        const struct kernels *k = tables[level], *below = tables[level - 1];
        if (k && below && k->rms_norm == below->rms_norm && k->silu_mul == below->silu_mul) {
            printf("%s runs the element-wise kernels of %s\n", k->name, below->name);
            tables[level] = NULL;
        }
    }
}

static void bench_one(const struct kernels *k, int slot, size_t n)
{
    static const char *const names[] = {"rms_norm",  "add",        "silu_mul",
                                        "rope neox", "rope pairs", "f32_to_f16"};
    static const int bytes[] = {12, 12, 12, 12, 12, 6};
    static float x[N_MAX], y[N_MAX], out[N_MAX];
    static uint16_t half[N_MAX];
    double best = INFINITY;
    for (int repeat = 0; repeat < 7; repeat++) {
        fill_floats(x, n, FILL_RANDOM, 1);
        fill_floats(y, n, FILL_RANDOM, 2);
        for (size_t i = 0; (slot == 3 || slot == 4) && i < n; i += 2)  // a rotation keeps lengths
            y[i] = 0.6f, y[i + 1] = 0.8f;
        int loops = k->level == CPU_SCALAR ? 50 : 2000;
        double start = now_ns();
        for (int i = 0; i < loops; i++) {
            switch (slot) {
            case 0:
                k->rms_norm(x, y, n, 1e-5f, out);
                break;
            case 1:
                k->add(out, y, n);
                break;
            case 2:
                k->silu_mul(x, y, n, out);
                break;
            case 3:
                k->rope(out, y, n, true);
                break;
            case 4:
                k->rope(out, y, n, false);
                break;
            default:
                k->f32_to_f16(x, n, half);
                break;
            }
        }
        double ns = (now_ns() - start) / loops;
        best = ns < best ? ns : best;
        fill_floats(out, n, FILL_RANDOM, 3);
    }
    printf("%-7s %-10s n %5zu %9.1f ns %7.2f GB/s\n", k->name, names[slot], n, best,
           (double)n * bytes[slot] / best);
}

int main(int argc, char **argv)
{
    const struct kernels *tables[CPU_LEVELS];
    check_levels(tables);
    drop_repeated_levels(tables);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        static const size_t lengths[] = {64, 576, 1536, 4096};
        for (int slot = 0; slot < 6; slot++) {
            for (EACH(i, lengths)) {
                for (int level = 0; level < CPU_LEVELS; level++) {
                    if (tables[level])
                        bench_one(tables[level], slot, lengths[i]);
                }
            }
        }
        return 0;
    }
    guarded_open(&x_buffer, N_MAX * sizeof(float));
    guarded_open(&y_buffer, N_MAX * sizeof(float));
    guarded_open(&out_buffer, N_MAX * sizeof(float));
    check_exp(2003);
    for (int level = 0; level < CPU_LEVELS; level++) {
        if (!tables[level])
            continue;
        check_level(tables[CPU_SCALAR], tables[level]);
        check_sweep(tables[CPU_SCALAR], tables[level], 4999);
        printf("checked: %s\n", tables[level]->name);
    }
    guarded_close(&x_buffer);
    guarded_close(&y_buffer);
    guarded_close(&out_buffer);
    return check_end("vector_check");
}
