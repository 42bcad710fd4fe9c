/* The default model's vocabulary against the reference: 2,000 committed texts with their ids, and
 * back to the text. Needs the model file, named by WICARA_TEST_MODEL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/stream_decoder.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/tokenizer/golden_records.h"

static int open_model(void **state)
{
    struct error err = {0};
    struct model_file *file;
    const char *path = getenv("WICARA_TEST_MODEL");
    *state = NULL;
    if (!path || !*path) {
        print_message("WICARA_TEST_MODEL is not set: goldens of the default model skipped\n");
        return 0;
    }
    if (model_file_open(&file, path, &err) ||
        tokenizer_open((struct tokenizer **)state, file, &err)) {
        print_message("%s\n", err.text);
        return 1;
    }
    model_file_close(file);
    return 0;
}

static int close_model(void **state)
{
    tokenizer_close(*state);
    return 0;
}

/* Bytes that the vocabulary has no token for; they are left out of the ids. */
static bool has_lost_byte(const struct golden_field *text)
{
    for (size_t i = 0; i < text->count; i++) {
        if (text->bytes[i] && strchr("\x04\x06\x13\x14\x16\x1d\xf1\xf2", text->bytes[i]))
            return true;
    }
    return false;
}

static void check_text(const struct tokenizer *tokenizer, const struct token_list *ids,
                       const struct golden_field *text)
{
    struct stream_decoder decoder;
    struct buf out;
    buf_init(&out, 4096);
    stream_decoder_init(&decoder, tokenizer, true, true);
    for (size_t i = 0; i < ids->n_ids; i++)
        assert_true(stream_decoder_push(&decoder, ids->ids[i], &out));
    assert_true(stream_decoder_finish(&decoder, &out));
    assert_int_equal(out.n_bytes, text->count);
    assert_memory_equal(out.bytes, text->bytes, text->count);
    buf_release(&out);
}

static void test_ids(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct golden_file file;
    struct golden_field flag, text = {0}, wanted = {0};
    struct token_list ids = {0};
    size_t n_records = 0, n_round_trips = 0;
    if (!tokenizer)
        skip();
    assert_true(golden_open(&file, "tests/golden/tokenizer/smollm.bin.gz"));
    while (golden_next(&file, 1, &flag)) {
        struct error err = {0};
        assert_true(golden_next(&file, 1, &text) && golden_next(&file, 4, &wanted));
        struct text_span all = {0, text.count};
        struct prompt_text prompt = {text.bytes, text.count, &all, flag.bytes[0] ? 0 : 1};
        ids.n_ids = 0;
        assert_int_equal(tokenizer_encode(tokenizer, &prompt, false, 0, &ids, &err), OK);
        if (ids.n_ids != wanted.count ||
            memcmp(ids.ids, wanted.numbers, ids.n_ids * sizeof *ids.ids) != 0)
            fail_msg("record %zu \"%.*s\" has other ids", n_records, (int)text.count, text.bytes);
        if (!has_lost_byte(&text)) {
            check_text(tokenizer, &ids, &text);
            n_round_trips++;
        }
        n_records++;
    }
    assert_int_equal(file.at, file.n_bytes);
    assert_int_equal(n_records, 2000);
    assert_true(n_round_trips > 1500);
    token_list_release(&ids);
    golden_close(&file);
}

/* V17: the text of each special token, as user text, gives no special token. */
static void test_no_injection(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct token_list ids = {0};
    size_t n_control = 0;
    if (!tokenizer)
        skip();
    for (int32_t id = 0; (size_t)id < tokenizer_vocab(tokenizer); id++) {
        size_t n;
        struct error err = {0};
        const char *text = tokenizer_token_text(tokenizer, id, &n);
        if (!tokenizer_is_control(tokenizer, id))
            continue;
        struct text_span all = {0, n};
        struct prompt_text user = {text, n, &all, 1}, own = {text, n, NULL, 0};
        ids.n_ids = 0;
        assert_int_equal(tokenizer_encode(tokenizer, &user, false, 0, &ids, &err), OK);
        assert_true(ids.n_ids > 1);
        for (size_t i = 0; i < ids.n_ids; i++)
            assert_false(tokenizer_is_control(tokenizer, ids.ids[i]));
        ids.n_ids = 0;
        assert_int_equal(tokenizer_encode(tokenizer, &own, false, 0, &ids, &err), OK);
        assert_int_equal(ids.n_ids, 1);
        assert_int_equal(ids.ids[0], id);
        n_control++;
    }
    assert_int_equal(n_control, 17);
    token_list_release(&ids);
}

static void test_facts(void **state)
{
    const struct tokenizer *tokenizer = *state;
    if (!tokenizer)
        skip();
    assert_int_equal(tokenizer_vocab(tokenizer), 49152);
    assert_int_equal(tokenizer_bos(tokenizer), 1);
    assert_int_equal(tokenizer_eos(tokenizer), 2);
    assert_false(tokenizer_adds_bos(tokenizer));
    assert_int_equal(tokenizer_find(tokenizer, "<|im_end|>", 10), 2);
    assert_true(tokenizer_is_eog(tokenizer, 2));   // <|im_end|>
    assert_true(tokenizer_is_eog(tokenizer, 0));   // <|endoftext|>
    assert_false(tokenizer_is_eog(tokenizer, 1));  // <|im_start|>
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_no_injection),
        cmocka_unit_test(test_facts),
    };
    return cmocka_run_group_tests_name("tokenizer goldens", tests, open_model, close_model);
}
