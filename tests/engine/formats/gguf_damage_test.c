/* The reader of GGUF headers on damaged input: cut at every byte, every bit flipped, and with the
 * n-th allocation failing, for every n.
 *
 * A damaged file must either be refused with a text or be opened as something that keeps every
 * promise of gguf.h; the sanitizers watch the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/formats/gguf.h"
#include "tests/engine/formats/gguf_build.h"

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct gguf_build build = {0};
        build_sample(&build, version);
        for (size_t n = 0; n < build.n_bytes; n++) {
            struct gguf gguf;
            struct error err = {0};
            enum status status = build_read(&gguf, build.bytes, n, &err);
            if (status != ERR_FORMAT || err.text[0] == '\0')
                fail_msg("cut at %zu: %s %s", n, status_name(status), err.text);
        }
        build_release(&build);
    }
}

/* Asserts what a reader may rely on when a file was accepted. */
static void check_accepted(const struct gguf *gguf, size_t file_bytes)
{
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const struct tensor_info *tensor = &gguf->tensors[i];
        assert_non_null(dtype_info(tensor->dtype));
        assert_true(tensor->bytes > 0 && tensor->offset >= gguf->data_offset);
        assert_true(tensor->offset <= file_bytes && tensor->bytes <= file_bytes - tensor->offset);
    }
    for (size_t i = 0; i < gguf->n_entries; i++) {
        const struct gguf_entry *entry = &gguf->entries[i];
        struct text_view text;
        assert_ptr_equal(gguf_find(gguf, entry->key), entry);
        for (size_t j = 0; j < entry->n_items && gguf_item_text(entry, j, &text); j++)
            assert_true(text.n_bytes <= file_bytes);
    }
}

static void test_flip_every_bit(void **state)
{
    struct gguf_build build = {0};
    size_t n_opened = 0, n_refused = 0;
    (void)state;
    build_sample(&build, 3);
    for (size_t bit = 0; bit < 8 * build.n_bytes; bit++) {
        struct gguf gguf;
        struct error err = {0};
        build.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum status status = build_read(&gguf, build.bytes, build.n_bytes, &err);
        assert_int_equal(status, err.status);
        if (status == OK)
            check_accepted(&gguf, build.n_bytes);
        else
            assert_true(err.text[0] != '\0');
        n_opened += status == OK;
        n_refused += status != OK;
        gguf_release(&gguf);
        build.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(n_opened > 1000 && n_refused > 1000);
    build_release(&build);
}

/* The n-th allocation fails, for every n: an error, or (trimming a blob) nothing worse than a
 * larger block; nothing leaks. */
static void test_no_memory(void **state)
{
    struct gguf_build build = {0};
    size_t n_failed = 0;
    bool reached = true;
    (void)state;
    build_sample(&build, 3);
    for (uint64_t nth = 1; reached; nth++) {
        struct gguf gguf;
        struct error err = {0};
        mem_fault_set(nth, false);
        enum status status = build_read(&gguf, build.bytes, build.n_bytes, &err);
        reached = mem_fault_count() >= nth;
        mem_fault_set(0, false);
        assert_true(status == OK || status == ERR_MEMORY);
        n_failed += status != OK;
        if (status == OK)
            check_accepted(&gguf, build.n_bytes);
        gguf_release(&gguf);
    }
    assert_true(n_failed > 30);
    build_release(&build);
}

/* A reader without an error struct still fails with the right status. */
static void test_error_may_be_null(void **state)
{
    struct gguf gguf;
    struct reader reader;
    (void)state;
    reader_init_memory(&reader, "GGUF", 4, NULL);
    assert_int_equal(gguf_read(&gguf, &reader, NULL), ERR_FORMAT);
    reader_init_memory(&reader, "GGUF\1\0\0\0", 8, NULL);
    assert_int_equal(gguf_read(&gguf, &reader, NULL), ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_flip_every_bit),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_error_may_be_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
