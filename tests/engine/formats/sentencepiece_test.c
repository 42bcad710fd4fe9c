/* The protocol buffer of a tokenizer.model: what is read, what is refused by name, and that every
 * cut of a file is an error and not a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/formats/sentencepiece.h"
#include "tests/engine/formats/spm_build.h"

static enum status parse(struct sentencepiece *model, const struct buf *file, struct error *err)
{
    *err = (struct error){0};
    return sentencepiece_parse(model, file->bytes, file->n_bytes, err);
}

static void pieces_and_settings_are_read(void **state)
{
    (void)state;
    struct buf file;
    struct sentencepiece model;
    struct error err;
    buf_init(&file, 1 << 16);
    spm_small(&file);
    assert_int_equal(parse(&model, &file, &err), OK);
    assert_int_equal(model.n_pieces, 8 + 256);
    assert_int_equal(model.kinds[0], 2);
    assert_int_equal(model.kinds[1], 3);
    assert_int_equal(model.kinds[8], 6);
    assert_memory_equal(model.bytes + model.starts[6], "ab", 2);
    assert_int_equal(model.starts[7] - model.starts[6], 2);
    assert_true(model.scores[6] == -6);
    assert_int_equal(model.unknown, 0);
    assert_int_equal(model.bos, 1);
    assert_int_equal(model.eos, 2);
    assert_true(model.adds_prefix);
    sentencepiece_release(&model);
    /* Of a setting that comes again the last one counts; -1 means none, as does an id that no piece
     * has; fields that are not known are passed over. */
    static const uint64_t trainer[][2] = {{3, 2},    {40, 7},  {41, UINT64_MAX},
                                          {42, 264}, {900, 5}, {0, 0}};
    static const uint64_t normalizer[][2] = {{4, 0}, {3, 0}, {0, 0}};
    spm_settings(&file, 2, trainer);
    spm_settings(&file, 3, normalizer);
    spm_bytes(&file, 77, "anything", 8);
    assert_int_equal(parse(&model, &file, &err), OK);
    assert_int_equal(model.unknown, 7);
    assert_int_equal(model.bos, -1);
    assert_int_equal(model.eos, -1);
    assert_false(model.adds_prefix);
    sentencepiece_release(&model);
    buf_release(&file);
}

static void what_is_not_done_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        unsigned field;
        uint64_t pairs[2][2];
        const char *text;
    } cases[] = {
        {2, {{3, 1}}, "model type Unigram is not supported (supported: BPE)"},
        {2, {{3, 4}}, "model type words or characters is not supported"},
        {2, {{24, 1}}, "treat_whitespace_as_suffix is not supported"},
        {3, {{4, 1}}, "remove_extra_whitespaces is not supported"},
        {3, {{5, 0}}, "escape_whitespaces = false is not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf file;
        struct sentencepiece model;
        struct error err;
        buf_init(&file, 1 << 16);
        spm_small(&file);
        spm_settings(&file, cases[i].field, cases[i].pairs);
        assert_int_equal(parse(&model, &file, &err), ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, cases[i].text));
        assert_null(model.bytes);
        buf_release(&file);
    }
    struct buf file;
    struct sentencepiece model;
    struct error err;
    buf_init(&file, 1 << 16);
    spm_small(&file);
    spm_bytes(&file, 3, "\x12\x01x", 3);  // a normaliser with a table
    assert_int_equal(parse(&model, &file, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "precompiled_charsmap"));
    buf_release(&file);
}

static void broken_files_are_errors(void **state)
{
    (void)state;
    struct buf file;
    struct sentencepiece model;
    struct error err;
    buf_init(&file, 1 << 16);
    assert_int_equal(parse(&model, &file, &err), ERR_FORMAT);
    spm_small(&file);
    size_t n_whole = file.n_bytes, n_good = 0;
    for (size_t n = 0; n < n_whole; n++) {
        struct buf cut;
        buf_init(&cut, 1 << 16);
        buf_append(&cut, file.bytes, n);  // of its own, so that reading past it is seen
        enum status status = parse(&model, &cut, &err);
        if (status == OK)
            n_good++;
        assert_true(status == OK || status == ERR_FORMAT || status == ERR_UNSUPPORTED);
        sentencepiece_release(&model);
        buf_release(&cut);
    }
    assert_int_equal(n_good, 0);  // before the settings are there it is no BPE
    static const struct {
        const char *bytes;
        size_t n_bytes;
    } cases[] = {
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},      // a length of 2^64 - 1
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},  // a number of 11 bytes
        {"\x0b", 1},                                               // a group
        {"\x0a\x02\x18\x07", 4},                                   // a piece of type 7
        {"\x0a\x02\x18\x00", 4},                                   // and of type 0
        {"\x15\x01\x02", 3},                                       // half of 32 bits
        {"GGUF", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(sentencepiece_parse(&model, cases[i].bytes, cases[i].n_bytes, NULL),
                         ERR_FORMAT);
    buf_release(&file);
}

static void failing_memory_is_an_error(void **state)
{
    (void)state;
    struct buf file;
    struct sentencepiece model;
    struct error err;
    buf_init(&file, 1 << 16);
    spm_small(&file);
    enum status status = ERR_MEMORY;
    uint64_t nth = 0;
    while (status == ERR_MEMORY && nth < 20) {
        mem_fault_set(++nth, false);
        status = parse(&model, &file, &err);
        mem_fault_set(0, false);
        sentencepiece_release(&model);
    }
    assert_int_equal(status, OK);
    assert_int_equal(nth, 5);
    buf_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_and_settings_are_read),
        cmocka_unit_test(what_is_not_done_is_refused_by_name),
        cmocka_unit_test(broken_files_are_errors),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("formats/sentencepiece", tests, NULL, NULL);
}
