/* The reader of GGUF headers: right files, and each limit at its value and one past it.
 *
 * A wrong file is wrong in one thing only, and the message must name that thing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/formats/gguf.h"
#include "tests/engine/formats/gguf_build.h"

/* Reads what was built, releases both, and returns the status; err says why. */
static enum status try_build(struct gguf_build *build, struct error *err)
{
    struct gguf gguf;
    *err = (struct error){0};
    enum status status = build_read(&gguf, build->bytes, build->n_bytes, err);
    assert_int_equal(status, err->status);
    gguf_release(&gguf);
    build_release(build);
    return status;
}

static void expect_error(struct gguf_build *build, enum status wanted, const char *part)
{
    struct error err;
    enum status status = try_build(build, &err);
    if (status != wanted || !strstr(err.text, part))
        fail_msg("wanted %s with \"%s\", got %s: %s", status_name(wanted), part,
                 status_name(status), err.text);
}

static void expect_ok(struct gguf_build *build)
{
    struct error err;
    if (try_build(build, &err))
        fail_msg("wanted OK, got %s: %s", status_name(err.status), err.text);
}

/* ---- right files ---- */

static void check_sample_numbers(const struct gguf *gguf)
{
    static const struct {
        const char *key;
        int64_t value;
    } integers[] = {
        {"k.u8", 200},         {"k.i8", -100},         {"k.u16", 60000},     {"k.i16", -30000},
        {"k.u32", 4000000000}, {"k.i32", -2000000000}, {"k.i64", INT64_MIN},
    };
    uint64_t u;
    int64_t i;
    double f;
    for (size_t n = 0; n < sizeof integers / sizeof *integers; n++) {
        const struct gguf_entry *entry = gguf_find(gguf, integers[n].key);
        assert_non_null(entry);
        assert_true(gguf_item_i64(entry, 0, &i));
        assert_true(i == integers[n].value);
        assert_int_equal(gguf_item_u64(entry, 0, &u), integers[n].value >= 0);
        assert_int_equal(gguf_item_f64(entry, 0, &f), integers[n].value != INT64_MIN);
    }
    const struct gguf_entry *largest = gguf_find(gguf, "k.u64");
    assert_true(gguf_item_u64(largest, 0, &u) && u == UINT64_MAX);
    assert_false(gguf_item_i64(largest, 0, &i));
    assert_false(gguf_item_f64(largest, 0, &f));
    assert_true(gguf_item_f64(gguf_find(gguf, "k.f32"), 0, &f) && f == (double)1.5e-5f);
    assert_false(gguf_item_i64(gguf_find(gguf, "k.f32"), 0, &i));
    assert_true(gguf_item_f64(gguf_find(gguf, "k.f64"), 0, &f) && f == 0.1);
    assert_false(gguf_item_u64(gguf_find(gguf, "k.yes"), 0, &u));
    assert_int_equal(gguf_find(gguf, "k.yes")->number[0], 1);
    assert_int_equal(gguf_find(gguf, "k.no")->number[0], 0);
}

static void check_sample_arrays(const struct gguf *gguf)
{
    struct text_view text;
    int64_t i;
    double f;
    const struct gguf_entry *tokens = gguf_find(gguf, "k.tokens");
    assert_int_equal(tokens->n_items, 4);
    assert_true(gguf_item_text(tokens, 1, &text) && text.n_bytes == 0);
    assert_true(gguf_item_text(tokens, 2, &text) && text.n_bytes == 3);
    assert_memory_equal(text.bytes, "\xff\0b", 3);
    assert_true(gguf_item_text(tokens, 3, &text) && text.n_bytes == 4);
    assert_memory_equal(text.bytes, "last", 4);
    assert_false(gguf_item_i64(tokens, 0, &i));
    const struct gguf_entry *numbers = gguf_find(gguf, "k.i32s");
    assert_true(gguf_item_i64(numbers, 1, &i) && i == -8);
    assert_true(gguf_item_f64(gguf_find(gguf, "k.f32s"), 1, &f) && f == -2.0);
    assert_false(gguf_item_text(numbers, 0, &text));
    assert_int_equal(gguf_find(gguf, "k.none")->n_items, 0);
    assert_int_equal(gguf_find(gguf, "k.flags")->items[0], 1);
    assert_int_equal(gguf_find(gguf, "k.flags")->items[1], 0);
    assert_null(gguf_find(gguf, "k.tokenz"));
    assert_null(gguf_find(gguf, ""));
}

static void check_sample_tensors(const struct gguf *gguf, size_t file_bytes)
{
    static const struct tensor_info wanted[] = {
        {"output_norm.weight", DTYPE_F32, 1, {8, 1, 1, 1}, 0, 0, 32},
        {"blk.0.attn_q.weight", DTYPE_Q8_0, 2, {64, 3, 1, 1}, 0, 32, 204},
        {"blk.0.ffn_exps.weight", DTYPE_Q4_K, 3, {256, 1, 2, 1}, 0, 256, 288},
    };
    assert_int_equal(gguf->n_tensors, 3);
    assert_int_equal(gguf->data_offset % 32, 0);
    assert_int_equal(gguf->data_offset + 256 + 288, file_bytes);
    for (size_t i = 0; i < 3; i++) {
        const struct tensor_info *tensor = &gguf->tensors[i];
        assert_string_equal(tensor->name, wanted[i].name);
        assert_int_equal(tensor->dtype, wanted[i].dtype);
        assert_int_equal(tensor->n_dims, wanted[i].n_dims);
        assert_memory_equal(tensor->dims, wanted[i].dims, sizeof wanted[i].dims);
        assert_int_equal(tensor->offset, gguf->data_offset + wanted[i].offset);
        assert_int_equal(tensor->bytes, wanted[i].bytes);
    }
}

static void test_sample(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct gguf_build build = {0};
        struct gguf gguf;
        struct error err = {0};
        build_sample(&build, version);
        assert_int_equal(build_read(&gguf, build.bytes, build.n_bytes, &err), OK);
        assert_int_equal(gguf.version, version);
        assert_int_equal(gguf.alignment, 32);
        assert_int_equal(gguf.n_entries, 18);
        check_sample_numbers(&gguf);
        check_sample_arrays(&gguf);
        check_sample_tensors(&gguf, build.n_bytes);
        gguf_release(&gguf);
        build_release(&build);
    }
}

static void test_every_dtype(void **state)
{
    static const struct {
        uint32_t id;
        uint64_t elements, bytes;
    } types[] = {
#define X(name, id, elements, bytes) {id, elements, bytes},
        DTYPE_LIST(X)
#undef X
    };
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        uint64_t dims[] = {types[i].elements * 3, 2};
        struct gguf_build build = {0};
        build_header(&build, 3, 1, 0);
        build_tensor(&build, "t", 2, dims, types[i].id, 0);
        build_pad(&build, 32);
        build_data(&build, types[i].bytes * 6 - 1);
        struct gguf_build whole = {0};
        build_bytes(&whole, build.bytes, build.n_bytes);
        build_int(&whole, 0, 1);
        expect_error(&build, ERR_FORMAT, "tensor t");
        expect_ok(&whole);
    }
}

/* A vocabulary alone is a file without tensors that may end right behind its metadata. */
static void test_no_tensors(void **state)
{
    struct gguf_build build = {0};
    (void)state;
    build_header(&build, 3, 0, 1);
    build_key_text(&build, "general.architecture", "x");
    expect_ok(&build);
    build_header(&build, 3, 0, 0);
    expect_ok(&build);
}

/* ---- the header ---- */

static void test_header_errors(void **state)
{
    struct gguf_build build = {0};
    (void)state;
    expect_error(&build, ERR_FORMAT, "the GGUF header");
    build_bytes(&build, "GGUF", 4);
    expect_error(&build, ERR_FORMAT, "the GGUF header");
    build_bytes(&build, "version https://git-lfs.github.com", 34);
    expect_error(&build, ERR_FORMAT, "Git LFS");
    build_bytes(&build, "\x7f\x45LF\1\1\1\0\0\0\0\0", 12);
    expect_error(&build, ERR_FORMAT, "\\x7fELF");
    build_header(&build, 1, 0, 0);
    expect_error(&build, ERR_UNSUPPORTED, "version 1");
    build_header(&build, 4, 0, 0);
    expect_error(&build, ERR_UNSUPPORTED, "version 4");
    build_header(&build, 0, 0, 0);
    expect_error(&build, ERR_UNSUPPORTED, "version 0");
    build_header(&build, 0x03000000, 0, 0);
    expect_error(&build, ERR_UNSUPPORTED, "big-endian");
}

/* n records of the given kind, in a file that has them all. */
static void build_many(struct gguf_build *build, size_t n_tensors, size_t n_keys)
{
    const uint64_t dims[] = {1};
    char name[32];
    build_header(build, 3, n_tensors, n_keys);
    for (size_t i = 0; i < n_keys; i++) {
        snprintf(name, sizeof name, "k%zu", i);
        build_key_int(build, name, GGUF_U8, i, 1);
    }
    for (size_t i = 0; i < n_tensors; i++) {
        snprintf(name, sizeof name, "t%zu", i * 7919 % n_tensors);
        build_tensor(build, name, 1, dims, DTYPE_I8, 32 * i);
    }
    build_pad(build, 32);
    build_data(build, 32 * n_tensors);
}

static void test_counts(void **state)
{
    static const uint64_t too_many[] = {UINT64_MAX, INT64_MAX, UINT64_C(1) << 32, 100001};
    struct gguf_build build = {0};
    (void)state;
    build_many(&build, GGUF_TENSORS_MAX, 0);
    expect_ok(&build);
    build_many(&build, 0, GGUF_KEYS_MAX);
    expect_ok(&build);
    build_many(&build, GGUF_TENSORS_MAX + 1, 0);
    expect_error(&build, ERR_LIMIT, "100001 tensors, the limit is 100000");
    build_many(&build, 0, GGUF_KEYS_MAX + 1);
    expect_error(&build, ERR_LIMIT, "100001 keys, the limit is 100000");
    for (size_t i = 0; i < sizeof too_many / sizeof *too_many; i++) {
        build_header(&build, 3, too_many[i], 0);
        expect_error(&build, ERR_LIMIT, "tensors");
        build_header(&build, 3, 0, too_many[i]);
        expect_error(&build, ERR_LIMIT, "keys");
    }
    build_header(&build, 3, 2, 0);
    build_data(&build, 2 * 33 - 1);
    expect_error(&build, ERR_FORMAT, "2 tensors do not fit");
    build_header(&build, 3, 0, 3);
    build_data(&build, 3 * 14 - 1);
    expect_error(&build, ERR_FORMAT, "3 keys do not fit");
}

/* ---- metadata ---- */

static void build_key_of(struct gguf_build *build, const char *bytes, size_t n_bytes)
{
    build_header(build, 3, 0, 1);
    build_text_n(build, bytes, n_bytes);
    build_u32(build, GGUF_U8);
    build_data(build, 8);
}

static void test_key_names(void **state)
{
    struct gguf_build build = {0};
    char *longest = calloc(1, GGUF_KEY_BYTES_MAX + 2);
    (void)state;
    memset(longest, 'x', GGUF_KEY_BYTES_MAX + 1);
    build_key_of(&build, longest, GGUF_KEY_BYTES_MAX);
    expect_ok(&build);
    build_key_of(&build, longest, GGUF_KEY_BYTES_MAX + 1);
    expect_error(&build, ERR_LIMIT, "key 0 of 1: a length of 65536 bytes, the limit is 65535");
    free(longest);
    build_key_of(&build, "", 0);
    expect_error(&build, ERR_FORMAT, "empty name");
    build_key_of(&build, "a\0b", 3);
    expect_error(&build, ERR_FORMAT, "NUL");
    build_key_of(&build, "ab\xc3(", 4);
    expect_error(&build, ERR_FORMAT, "not UTF-8 at byte 2");
    build_key_of(&build, "ab\xed\xa0\x80", 5);
    expect_error(&build, ERR_FORMAT, "not UTF-8 at byte 2");
    build_key_of(&build,
                 "g\xc3\xbc"
                 "f",
                 4);
    expect_ok(&build);
    build_header(&build, 3, 0, 2);
    build_key_u32(&build, "twice", 1);
    build_key_u32(&build, "twice", 1);
    expect_error(&build, ERR_FORMAT, "key twice is there twice");
    build_header(&build, 3, 0, 1);
    build_u64(&build, UINT64_MAX);
    build_data(&build, 64);
    expect_error(&build, ERR_LIMIT, "18446744073709551615");
}

/* A hostile name cannot forge a log line or flood it. */
static void test_names_in_messages(void **state)
{
    struct gguf_build build = {0};
    struct error err;
    char name[200];
    (void)state;
    memset(name, 'y', sizeof name);
    build_header(&build, 3, 0, 1);
    build_text_n(&build, "a\nb\x1b[31m\xe2\x80\xae", 11);
    build_u32(&build, 77);
    build_data(&build, 8);
    expect_error(&build, ERR_FORMAT, "key a\\x0ab\\x1b[31m\\xe2\\x80\\xae is of unknown kind 77");
    build_header(&build, 3, 0, 1);
    build_text_n(&build, name, sizeof name);
    build_u32(&build, 77);
    build_data(&build, 8);
    assert_int_equal(try_build(&build, &err), ERR_FORMAT);
    assert_true(strlen(err.text) < 130);
    assert_non_null(strstr(err.text, "yyy... is of unknown kind 77"));
}

static void test_kinds(void **state)
{
    struct gguf_build build = {0};
    (void)state;
    for (uint32_t kind = 13; kind < 16; kind++) {
        build_header(&build, 3, 0, 1);
        build_key(&build, "k", kind);
        build_data(&build, 16);
        expect_error(&build, ERR_FORMAT, "unknown kind");
        build_header(&build, 3, 0, 1);
        build_array(&build, "k", kind, 1);
        build_data(&build, 16);
        expect_error(&build, ERR_FORMAT, "array of unknown kind");
    }
    build_header(&build, 3, 0, 1);
    build_array(&build, "k", GGUF_ARRAY, 1);
    build_u32(&build, GGUF_U8);
    build_u64(&build, 1);
    build_data(&build, 16);
    expect_error(&build, ERR_UNSUPPORTED, "array of arrays");
    build_header(&build, 3, 0, 1);
    build_key_int(&build, "b", GGUF_BOOL, 2, 1);
    expect_error(&build, ERR_FORMAT, "key b: truth value 2 at item 0");
    build_header(&build, 3, 0, 1);
    build_array(&build, "b", GGUF_BOOL, 3);
    build_int(&build, 0xff0100, 3);
    expect_error(&build, ERR_FORMAT, "key b: truth value 255 at item 2");
}

/* Array lengths at the bytes that are left, one more, and where the product would wrap. */
static void test_array_lengths(void **state)
{
    static const struct {
        uint32_t kind;
        size_t item_bytes;
    } kinds[] = {
#define X(name, id, bytes, text) {id, bytes},
        GGUF_KIND_LIST(X)
#undef X
    };
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const size_t item_bytes = kinds[i].item_bytes;
        const uint64_t wraps = (UINT64_MAX / 2 + 1) / item_bytes * 2;  // 2^64 / item_bytes
        const uint64_t lengths[] = {5, wraps, wraps + 1, UINT64_MAX, UINT64_C(1) << 61};
        struct gguf_build build = {0};
        if (kinds[i].kind == GGUF_ARRAY)
            continue;
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
            if (lengths[j] < 5)  // items of one byte cannot wrap
                continue;
            build_header(&build, 3, 0, 1);
            build_array(&build, "k", kinds[i].kind, lengths[j]);
            for (size_t n = 0; n < (j ? 8 : 5) * item_bytes - 1; n++)
                build_int(&build, 0, 1);
            expect_error(&build, ERR_FORMAT, "key k: an array of");
        }
        build_header(&build, 3, 0, 1);
        build_array(&build, "k", kinds[i].kind, 5);
        for (size_t n = 0; n < 5 * item_bytes; n++)
            build_int(&build, 0, 1);
        expect_ok(&build);
    }
}

static void test_string_lengths(void **state)
{
    static const uint64_t wild[] = {UINT64_MAX, UINT64_MAX - 7, GGUF_STRING_BYTES_MAX + 1};
    struct gguf_build build = {0};
    char *longest = calloc(1, GGUF_STRING_BYTES_MAX + 1);
    (void)state;
    build_header(&build, 3, 0, 1);
    build_key(&build, "k", GGUF_STRING);
    build_text_n(&build, longest, GGUF_STRING_BYTES_MAX);
    expect_ok(&build);
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        build_header(&build, 3, 0, 1);
        build_key(&build, "k", GGUF_STRING);
        build_u64(&build, wild[i]);
        build_bytes(&build, longest, GGUF_STRING_BYTES_MAX + 1);
        expect_error(&build, ERR_LIMIT, "key k: a length of");
        build_header(&build, 3, 0, 1);
        build_array(&build, "k", GGUF_STRING, 2);
        build_text(&build, "");
        build_u64(&build, wild[i]);
        build_bytes(&build, longest, GGUF_STRING_BYTES_MAX + 1);
        expect_error(&build, ERR_LIMIT, "item 1: key k: a length of");
    }
    free(longest);
    build_header(&build, 3, 0, 1);
    build_key(&build, "k", GGUF_STRING);
    build_u64(&build, 6);
    build_data(&build, 5);
    expect_error(&build, ERR_FORMAT, "key k: a length of 6 bytes, 5 are left");
}

/* ---- tensors ---- */

struct tensor_case {
    uint32_t n_dims;
    uint64_t dims[5];
    uint32_t type;
    uint64_t offset;
    size_t data_bytes;
    enum status status;
    const char *text;
};

static const struct tensor_case tensor_cases[] = {
    {1, {8}, DTYPE_F32, 0, 32, OK, ""},
    {1, {8}, DTYPE_F32, 0, 31, ERR_FORMAT, "tensor t: 32 bytes at offset"},
    {4, {2, 2, 2, 2}, DTYPE_F16, 0, 32, OK, ""},
    {4, {2, 2, 2, 2}, DTYPE_F16, 32, 64, OK, ""},
    {4, {2, 2, 2, 2}, DTYPE_F16, 32, 63, ERR_FORMAT, "tensor t"},
    {0, {0}, DTYPE_F32, 0, 64, ERR_FORMAT, "0 dimensions"},
    {5, {1, 1, 1, 1, 1}, DTYPE_F32, 0, 64, ERR_FORMAT, "5 dimensions"},
    {2, {8, 0}, DTYPE_F32, 0, 64, ERR_FORMAT, "dimension 1 is 0"},
    {1, {0}, DTYPE_F32, 0, 64, ERR_FORMAT, "dimension 0 is 0"},
    {1, {GGUF_DIM_MAX}, DTYPE_I8, 0, 64, ERR_FORMAT, "1099511627776 bytes at offset"},
    {1, {GGUF_DIM_MAX + 1}, DTYPE_I8, 0, 64, ERR_FORMAT, "dimension 0 is 1099511627777"},
    {1, {UINT64_MAX}, DTYPE_I8, 0, 64, ERR_FORMAT, "dimension 0"},
    /* Products that wrap to something small: 2^40 * 2^24 = 2^64, and 2^62 elements of 4 bytes. */
    {2, {GGUF_DIM_MAX, UINT64_C(1) << 24}, DTYPE_I8, 0, 64, ERR_LIMIT, "overflows"},
    {2, {GGUF_DIM_MAX, UINT64_C(1) << 22}, DTYPE_F32, 0, 64, ERR_LIMIT, "overflows"},
    {4, {GGUF_DIM_MAX, GGUF_DIM_MAX, GGUF_DIM_MAX, GGUF_DIM_MAX}, DTYPE_F32, 0, 64, ERR_LIMIT, ""},
    {2, {GGUF_DIM_MAX, (UINT64_C(1) << 24) - 1}, DTYPE_I8, 0, 64, ERR_FORMAT, "tensor t"},
    {1, {31}, DTYPE_Q8_0, 0, 64, ERR_FORMAT, "no multiple of 32"},
    {1, {33}, DTYPE_Q4_0, 0, 64, ERR_FORMAT, "no multiple of 32"},
    {2, {128, 2}, DTYPE_Q4_K, 0, 999, ERR_FORMAT, "no multiple of 256, the block of Q4_K"},
    {1, {8}, 4, 0, 64, ERR_UNSUPPORTED, "unknown type 4"},
    {1, {8}, 41, 0, 64, ERR_UNSUPPORTED, "unknown type 41"},
    {1, {8}, UINT32_MAX, 0, 64, ERR_UNSUPPORTED, "unknown type 4294967295"},
    {1, {8}, DTYPE_F32, 16, 64, ERR_FORMAT, "offset 16 is no multiple of 32"},
    {1, {8}, DTYPE_F32, 64, 64, ERR_FORMAT, "tensor t: 32 bytes"},
    {1, {8}, DTYPE_F32, UINT64_MAX - 31, 64, ERR_FORMAT, "tensor t"},
    {1, {8}, DTYPE_F32, UINT64_MAX - 63, 64, ERR_FORMAT, "tensor t"},
    {1, {8}, DTYPE_F32, UINT64_C(1) << 63, 64, ERR_FORMAT, "tensor t"},
};

static void test_tensors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tensor_cases / sizeof *tensor_cases; i++) {
        const struct tensor_case *c = &tensor_cases[i];
        struct gguf_build build = {0};
        build_header(&build, 3, 1, 0);
        build_tensor(&build, "t", c->n_dims, c->dims, c->type, c->offset);
        build_pad(&build, 32);
        build_data(&build, c->data_bytes);
        if (c->status == OK)
            expect_ok(&build);
        else
            expect_error(&build, c->status, c->text);
    }
}

/* Two tensors of 32 bytes each: side by side, or sharing bytes. */
static void test_two_tensors(void **state)
{
    static const struct {
        const char *names[2];
        uint64_t sizes[2], offsets[2];
        const char *text;  // NULL: right
    } cases[] = {
        {{"a", "b"}, {32, 32}, {0, 32}, NULL},
        {{"a", "b"}, {32, 32}, {32, 0}, NULL},
        {{"a", "b"}, {32, 32}, {0, 96}, NULL},
        {{"a", "b"}, {33, 32}, {0, 32}, "tensor a overlaps tensor b"},
        {{"a", "b"}, {32, 33}, {32, 0}, "tensor b overlaps tensor a"},
        {{"a", "b"}, {32, 32}, {0, 0}, "overlaps"},
        {{"a", "b"}, {128, 1}, {0, 64}, "tensor a overlaps tensor b"},
        {{"a", "a"}, {32, 32}, {0, 32}, "tensor a is there twice"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gguf_build build = {0};
        build_header(&build, 3, 2, 0);
        for (size_t j = 0; j < 2; j++)
            build_tensor(&build, cases[i].names[j], 1, &cases[i].sizes[j], DTYPE_I8,
                         cases[i].offsets[j]);
        build_pad(&build, 32);
        build_data(&build, 128);
        if (cases[i].text)
            expect_error(&build, ERR_FORMAT, cases[i].text);
        else
            expect_ok(&build);
    }
}

static void test_tensor_names(void **state)
{
    const uint64_t dims[] = {32};
    struct gguf_build build = {0};
    char name[GGUF_TENSOR_NAME_BYTES_MAX + 2];
    (void)state;
    for (size_t n = GGUF_TENSOR_NAME_BYTES_MAX; n <= GGUF_TENSOR_NAME_BYTES_MAX + 1; n++) {
        memset(name, 'n', sizeof name);
        name[n] = '\0';
        build_header(&build, 3, 1, 0);
        build_tensor(&build, name, 1, dims, DTYPE_I8, 0);
        build_pad(&build, 32);
        build_data(&build, 32);
        if (n == GGUF_TENSOR_NAME_BYTES_MAX)
            expect_ok(&build);
        else
            expect_error(&build, ERR_LIMIT, "tensor 0 of 1: a length of 256 bytes");
    }
}

static void test_alignment(void **state)
{
    const uint64_t dims[] = {1};
    (void)state;
    for (uint64_t alignment = 0; alignment <= 131072; alignment = alignment ? 2 * alignment : 1) {
        for (int more = 0; more < 2; more++) {
            struct gguf_build build = {0};
            bool right = alignment >= 8 && alignment <= 65536 && !more;
            build_header(&build, 3, 1, 1);
            build_key_u32(&build, "general.alignment", (uint32_t)alignment + (uint32_t)more);
            build_tensor(&build, "t", 1, dims, DTYPE_I8, 0);
            build_pad(&build, right ? alignment : 32);
            build_data(&build, 1);
            if (right)
                expect_ok(&build);
            else if (alignment != 0 || more)
                expect_error(&build, ERR_FORMAT, "general.alignment");
            else
                expect_error(&build, ERR_FORMAT, "general.alignment is 0");
        }
    }
    struct gguf_build build = {0};
    build_header(&build, 3, 0, 1);
    build_key_int(&build, "general.alignment", GGUF_U64, 32, 8);
    expect_error(&build, ERR_FORMAT, "general.alignment is a 64-bit unsigned integer");
    build_header(&build, 3, 0, 1);
    build_key_text(&build, "general.alignment", "32");
    expect_error(&build, ERR_FORMAT, "general.alignment is a string");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_every_dtype),
        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_header_errors),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_key_names),
        cmocka_unit_test(test_names_in_messages),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_array_lengths),
        cmocka_unit_test(test_string_lengths),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_two_tensors),
        cmocka_unit_test(test_tensor_names),
        cmocka_unit_test(test_alignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
