/* The header of safetensors files: what is read, and that each wrong field is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/formats/safetensors.h"
#include "tests/engine/formats/hf_build.h"

static enum status read_bytes(struct safetensors *out, const struct buf *file, struct error *err)
{
    struct reader reader;
    reader_init_memory(&reader, file->bytes, file->n_bytes, err);
    return safetensors_read(out, &reader, err);
}

static void reads_tensors(void **state)
{
    (void)state;
    struct buf file;
    struct safetensors out;
    struct error err = {0};
    st_raw(&file,
           "{\"__metadata__\":{\"format\":\"pt\"},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[2,26]},"
           "\"a\":{\"data_offsets\":[0,2],\"shape\":[],\"dtype\":\"BF16\"},"
           "\"none\":{\"dtype\":\"I64\",\"shape\":[4,0],\"data_offsets\":[26,26]}}   ",
           26);
    assert_int_equal(read_bytes(&out, &file, &err), OK);
    assert_int_equal(out.n_entries, 3);
    assert_string_equal(out.entries[0].name, "a");
    assert_int_equal(out.entries[0].n_dims, 0);
    assert_int_equal(out.entries[0].bytes, 2);
    assert_string_equal(out.entries[1].name, "b");
    assert_int_equal(out.entries[1].type, SAFETENSORS_F32);
    assert_int_equal(out.entries[1].dims[0], 2);
    assert_int_equal(out.entries[1].dims[1], 3);
    assert_int_equal(out.entries[1].offset, file.n_bytes - 24);
    assert_int_equal(out.entries[2].bytes, 0);
    safetensors_release(&out);
    buf_release(&file);
}

#define GOOD_A "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}"

static void names_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        enum status status;
        const char *text;
    } cases[] = {
        {"[]", 0, ERR_FORMAT, "no JSON object"},
        {"{", 0, ERR_FORMAT, "invalid JSON"},
        {"{" GOOD_A "," GOOD_A "}", 4, ERR_FORMAT, "invalid JSON"},
        {"{\"a\":1}", 0, ERR_FORMAT, "tensor a: entry is no object"},
        {"{\"\":{}}", 0, ERR_FORMAT, "a name of 0 bytes"},
        {"{\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}}", 4, ERR_FORMAT, "dtype is no string"},
        {"{\"a\":{\"dtype\":\"F3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, ERR_UNSUPPORTED,
         "unknown dtype 'F3'"},
        {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,4]}}", 4, ERR_FORMAT, "shape is no array"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}}", 4, ERR_FORMAT,
         "whole numbers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4.0],\"data_offsets\":[0,4]}}", 4, ERR_FORMAT,
         "whole numbers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,4],\"data_offsets\":[0,4]}}", 4,
         ERR_LIMIT, "more than 8 dimensions"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1099511627777],\"data_offsets\":[0,4]}}", 4,
         ERR_LIMIT, "1099511627777"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[1099511627776,2097152],\"data_offsets\":[0,4]}}", 4,
         ERR_LIMIT, "overflows"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}", 4, ERR_FORMAT, "data_offsets are no two"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0]}}", 4, ERR_FORMAT,
         "data_offsets are no two"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,4]}}", 4, ERR_FORMAT,
         "data_offsets are no two"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]}}", 4, ERR_FORMAT,
         "data_offsets 4 to 0"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[1,5]}}", 4, ERR_FORMAT,
         "with 4 bytes of data"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,18446744073709551615]}}", 4,
         ERR_FORMAT, "with 4 bytes"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,4]}}", 4, ERR_FORMAT,
         "shape and dtype make 3"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"x\":1}}", 4, ERR_FORMAT,
         "other fields"},
        {"{" GOOD_A ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,7]}}", 7,
         ERR_FORMAT, "tensor b: data_offsets overlap"},
        {"{" GOOD_A ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
         ERR_FORMAT, "overlap"},
        {"{" GOOD_A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[5,6]}}", 6,
         ERR_FORMAT, "tensor b: data_offsets leave a gap"},
        {"{" GOOD_A "}", 5, ERR_FORMAT, "1 bytes behind the last tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf file;
        struct safetensors out;
        struct error err = {0};
        st_raw(&file, cases[i].header, cases[i].n_data);
        enum status status = read_bytes(&out, &file, &err);
        if (status != cases[i].status || !strstr(err.text, cases[i].text))
            print_message("%s\n -> %s\n", cases[i].header, err.text);
        assert_int_equal(status, cases[i].status);
        assert_non_null(strstr(err.text, cases[i].text));
        assert_null(out.entries);
        buf_release(&file);
    }
}

static void lengths_are_held_against_the_file(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        enum status status;
        const char *text;
    } cases[] = {
        {3, ERR_FORMAT, "2 are left"},
        {SAFETENSORS_HEADER_BYTES_MAX, ERR_FORMAT, "2 are left"},
        {SAFETENSORS_HEADER_BYTES_MAX + 1, ERR_LIMIT, "the limit is"},
        {UINT64_MAX, ERR_LIMIT, "the limit is"},
        {0, ERR_FORMAT, "invalid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf file;
        struct safetensors out;
        struct error err = {0};
        buf_init(&file, 100);
        buf_append(&file, &cases[i].length, 8);
        buf_append_text(&file, "{}");
        assert_int_equal(read_bytes(&out, &file, &err), cases[i].status);
        assert_non_null(strstr(err.text, cases[i].text));
        buf_truncate(&file, 7);
        assert_int_equal(read_bytes(&out, &file, NULL), ERR_FORMAT);
        buf_release(&file);
    }
}

static void names_have_a_limit(void **state)
{
    (void)state;
    for (size_t n = SAFETENSORS_NAME_BYTES_MAX; n <= SAFETENSORS_NAME_BYTES_MAX + 1; n++) {
        struct st_build build;
        struct buf file;
        struct safetensors out;
        char name[SAFETENSORS_NAME_BYTES_MAX + 2] = "";
        memset(name, 'n', n);
        st_init(&build);
        st_tensor(&build, name, "U8", "[1]", "x", 1);
        st_finish(&build, &file);
        assert_int_equal(read_bytes(&out, &file, NULL) == OK, n == SAFETENSORS_NAME_BYTES_MAX);
        safetensors_release(&out);
        buf_release(&file);
    }
}

static void failing_memory_is_an_error(void **state)
{
    (void)state;
    struct buf file;
    st_raw(&file, "{" GOOD_A "}", 4);
    enum status status = ERR_MEMORY;
    for (uint64_t nth = 1; nth < 20 && status != OK; nth++) {
        struct safetensors out;
        mem_fault_set(nth, false);
        status = read_bytes(&out, &file, NULL);
        mem_fault_set(0, false);
        assert_true(status == OK || status == ERR_MEMORY);
        safetensors_release(&out);
    }
    assert_int_equal(status, OK);
    buf_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(lengths_are_held_against_the_file),
        cmocka_unit_test(names_have_a_limit),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
