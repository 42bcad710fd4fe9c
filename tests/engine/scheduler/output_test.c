/* The text of a choice: whatever the tokens and however the parts are taken, parts and their
 * tokens, put together, are the same; no part ends inside a character; a token comes with the part
 * that holds its last byte. The decoder here is a plain one over pieces of UTF-8 text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/rng.h"
#include "engine/base/utf8.h"
#include "engine/scheduler/output.h"

static const char *const PIECES[] = {"",         "a",    "b",        "ab",   "\xc3", "\xa9",
                                     "\xe4\xbd", "\xa0", "\xf0\x9f", "\x98", "\x80", " the",
                                     "S",        "TO",   "P",        "STOP", "\xe4", "\xbd\xa0S"};
enum { N_PIECES = sizeof PIECES / sizeof *PIECES };

void stream_decoder_init(struct stream_decoder *decoder, const struct tokenizer *tokenizer,
                         bool show_control, bool at_start)
{
    *decoder = (struct stream_decoder){.tokenizer = tokenizer, .show_control = show_control};
    (void)at_start;
}

/* Whole characters go out; bytes that cannot become one go out as '?'. */
static bool decode(struct stream_decoder *decoder, const char *bytes, size_t n, bool is_end,
                   struct buf *out)
{
    char all[16];
    size_t n_all = decoder->n_pending, at = 0;
    memcpy(all, decoder->pending, n_all);
    memcpy(all + n_all, bytes, n);
    n_all += n;
    size_t complete = is_end ? n_all : utf8_complete_prefix(all, n_all);
    while (at < complete) {
        uint32_t code_point;
        size_t length = utf8_decode(all + at, n_all - at, &code_point);
        buf_append(out, length > 0 ? all + at : "?", length > 0 ? length : 1);
        at += length > 0 ? length : 1;
    }
    decoder->n_pending = n_all - complete;
    memcpy(decoder->pending, all + complete, decoder->n_pending);
    return !out->failed;
}

bool stream_decoder_push(struct stream_decoder *decoder, int32_t id, struct buf *out)
{
    return decode(decoder, PIECES[id], strlen(PIECES[id]), false, out);
}

bool stream_decoder_finish(struct stream_decoder *decoder, struct buf *out)
{
    return decode(decoder, "", 0, true, out);
}

static const char *const STOPS[] = {"STOP", "P the", "\xe4\xbd\xa0"};
static const size_t STOP_BYTES[] = {4, 5, 3};

struct result {
    struct buf text;
    int32_t ids[64];
    size_t n_ids;
    bool is_stopped;
};

static void take_part(struct output *output, struct result *result)
{
    assert_true(
        utf8_is_valid(output->part.bytes ? output->part.bytes : "", output->part.n_bytes, NULL));
    buf_append(&result->text, output->part.bytes, output->part.n_bytes);
    for (size_t i = 0; i < output->n_ready; i++) {
        result->ids[result->n_ids++] = output->tokens[i].sample.token;
        assert_true(output->tokens[i].text_end <= result->text.n_bytes);
    }
    output_sent(output);
    if (output->n_tokens > 0)
        assert_true(output->tokens[0].text_end > result->text.n_bytes);
}

/* take_mask: bit i = the part is taken after token i, as the scheduler does when there is text. */
static void run(const int32_t *ids, size_t n, size_t n_stops, uint64_t take_mask,
                struct result *result)
{
    struct output output;
    *result = (struct result){0};
    buf_init(&result->text, 1000);
    output_init(&output, NULL, STOPS, STOP_BYTES, n_stops);
    for (size_t i = 0; i < n && !result->is_stopped; i++) {
        struct sample sample = {.token = ids[i]};
        assert_int_equal(output_push(&output, &sample, true, &result->is_stopped, NULL), OK);
        if (take_mask >> i & 1)
            take_part(&output, result);
        if (output.decoder.n_pending > 0)  // this token's last byte is not shown yet
            assert_true(output.n_tokens > output.n_ready);
    }
    assert_int_equal(output_finish(&output, NULL), OK);
    take_part(&output, result);
    if (!result->is_stopped)
        assert_int_equal(output.n_tokens, 0);
    output_release(&output);
}

static void parts_add_up(void **state)
{
    (void)state;
    uint32_t draw = 0;
    size_t n_stopped = 0;
    for (int round = 0; round < 20000; round++) {
        int32_t ids[24];
        size_t n = 1 + rng_bits(2, 0, 0, draw++) % 24, n_stops = rng_bits(2, 0, 0, draw++) % 4;
        for (size_t i = 0; i < n; i++)
            ids[i] = (int32_t)(rng_bits(2, 0, 0, draw++) % N_PIECES);
        struct result whole, parts;
        run(ids, n, n_stops, 0, &whole);
        run(ids, n, n_stops, rng_bits(2, 0, 0, draw++), &parts);
        assert_int_equal(whole.text.n_bytes, parts.text.n_bytes);
        assert_memory_equal(whole.text.bytes, parts.text.bytes, whole.text.n_bytes);
        assert_int_equal(whole.n_ids, parts.n_ids);
        assert_memory_equal(whole.ids, parts.ids, whole.n_ids * sizeof *ids);
        assert_int_equal(whole.is_stopped, parts.is_stopped);
        assert_memory_equal(whole.ids, ids, whole.n_ids * sizeof *ids);
        if (!whole.is_stopped)
            assert_int_equal(whole.n_ids, n);
        for (size_t s = 0; s < n_stops; s++)
            assert_null(strstr(whole.text.bytes, STOPS[s]));
        n_stopped += whole.is_stopped;
        buf_release(&whole.text);
        buf_release(&parts.text);
    }
    assert_true(n_stopped > 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_add_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
