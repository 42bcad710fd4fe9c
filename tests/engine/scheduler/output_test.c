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

static const char *const PIECES[] = {
    "", "a", "b", "ab", "\xc3", "\xa9", "\xe4\xbd", "\xa0", "\xf0\x9f", "\x98", "\x80", " the", "S",
    "TO", "P", "STOP", "\xe4", "\xbd\xa0S",
    /* for replies */
    "<think>", "</think>", "<tool_call>", "</tool_call>", "\n", "{\"na", "me\":\"f\"",
    ",\"arguments\":{", "\"x\":", "\"", "}", "}}", "<tool", "_call>"};
enum { N_PIECES = 18, N_ALL_PIECES = sizeof PIECES / sizeof *PIECES, FIRST_MARKER = 18 };

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
    char all[32];
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
    struct buf text;  // of all parts, with a letter before each that differs from the last
    size_t n_bytes;   // of the parts
    size_t n_reasoning;
    uint32_t n_calls;
    char kind;
    int32_t ids[64];
    size_t n_ids;
    bool is_stopped;
};

static void take_parts(struct output *output, struct result *result)
{
    const char *text = output->part.bytes ? output->part.bytes : "";
    assert_true(utf8_is_valid(text, output->part.n_bytes, NULL));
    for (size_t i = 0; i < output->n_parts; i++) {
        const struct reply_part *part = &output->parts[i];
        char kind = "crta"[part->type];
        assert_true(part->n_bytes > 0);
        if (output->reply && (kind != result->kind || kind == 't'))
            buf_printf(&result->text, "[%c%u]", kind, (unsigned)part->call);
        result->kind = kind;
        buf_append(&result->text, text, part->n_bytes);
        text += part->n_bytes;
    }
    result->n_bytes += output->part.n_bytes;
    for (size_t i = 0; i < output->n_ready; i++)
        result->ids[result->n_ids++] = output->tokens[i].sample.token;
    if (!output->reply && output->n_ready > 0)
        assert_true(output->tokens[output->n_ready - 1].text_end <= result->n_bytes);
    output_sent(output);
    if (!output->reply && output->n_tokens > 0)
        assert_true(output->tokens[0].text_end > result->n_bytes);
}

/* take_mask: bit i = the part is taken after token i, as the scheduler does when there is text. */
static void run(const int32_t *ids, size_t n, size_t n_stops, uint64_t take_mask,
                const struct reply_options *reply, struct result *result)
{
    struct output output;
    *result = (struct result){0};
    buf_init(&result->text, 4000);
    buf_append_text(&result->text, "");
    assert_int_equal(output_init(&output, NULL, STOPS, STOP_BYTES, n_stops, reply, NULL), OK);
    for (size_t i = 0; i < n && !result->is_stopped; i++) {
        struct sample sample = {.token = ids[i]};
        assert_int_equal(output_push(&output, &sample, true, &result->is_stopped, NULL), OK);
        if (take_mask >> i & 1)
            take_parts(&output, result);
        if (!reply && output.decoder.n_pending > 0)  // this token's last byte is not shown yet
            assert_true(output.n_tokens > output.n_ready);
    }
    assert_int_equal(output_finish(&output, false, NULL), OK);
    take_parts(&output, result);
    result->is_stopped = output.matcher.match != NULL || result->is_stopped;
    result->n_reasoning = output.n_reasoning;
    result->n_calls = output.n_calls;
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
        run(ids, n, n_stops, 0, NULL, &whole);
        run(ids, n, n_stops, rng_bits(2, 0, 0, draw++), NULL, &parts);
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

/* ---- replies ---- */

static int32_t find_marker(void *context, const char *text, size_t n_bytes, bool *is_control)
{
    (void)context, (void)n_bytes;
    for (int32_t id = FIRST_MARKER; id < FIRST_MARKER + 4; id++) {
        *is_control = id > FIRST_MARKER + 1;  // the thought's markers are visible tokens
        if (strcmp(PIECES[id], text) == 0)
            return id;
    }
    return -1;
}

struct fixture {
    struct reply_format format;
    struct reply_tools *tools;
    struct reply_options options;
};

static void open_fixture(struct fixture *f, bool one_call)
{
    assert_true(reply_format_named(&f->format, "hermes"));
    reply_format_resolve(&f->format, find_marker, NULL);
    assert_int_equal(reply_tools_create(&f->tools,
                                        "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]",
                                        NULL),
                     OK);
    f->options =
        (struct reply_options){.format = &f->format, .tools = f->tools, .one_call = one_call};
}

enum {
    A = 1,
    B = 2,
    HALF = 4,
    S = 12,
    STOP = 15,
    THINK = FIRST_MARKER,
    THOUGHT,
    CALL,
    CALL_END,
    NL,
    NA,
    ME,
    ARGS,
    X,
    QUOTE,
    END,
    END2,
    TOOL_TEXT,
    CALL_TEXT
};

static void expect(const int32_t *ids, size_t n, bool one_call, const char *text, size_t n_ids,
                   size_t n_reasoning, bool is_stopped)
{
    struct fixture f;
    open_fixture(&f, one_call);
    for (uint64_t mask = 0; mask < 2; mask++) {
        struct result result;
        run(ids, n, 3, mask ? UINT64_MAX : 0, &f.options, &result);
        assert_string_equal(result.text.bytes ? result.text.bytes : "", text);
        assert_int_equal(result.n_ids, n_ids);
        assert_memory_equal(result.ids, ids, n_ids * sizeof *ids);
        assert_int_equal(result.n_reasoning, n_reasoning);
        assert_int_equal(result.is_stopped, is_stopped);
        buf_release(&result.text);
    }
    reply_tools_free(f.tools);
}

#define EXPECT(one_call, text, n_ids, n_reasoning, stopped, ...)                                   \
    do {                                                                                           \
        static const int32_t ids[] = {__VA_ARGS__};                                                \
        expect(ids, sizeof ids / sizeof *ids, one_call, text, n_ids, n_reasoning, stopped);        \
    } while (0)

static void replies(void **state)
{
    (void)state;
    EXPECT(false, "[r0]ab[c0]a[t0]f[a0]{}[c0]b", 15, 5, false, THINK, NL, A, B, THOUGHT, A, NL,
           CALL, NA, ME, ARGS, END2, CALL_END, NL, B);
    // A stop string ends content, not a thought and not arguments.
    EXPECT(false, "[r0]STOP[t0]f[a0]{\"x\":\"STOP\"}", 12, 3, false, THINK, STOP, THOUGHT, CALL, NA,
           ME, ARGS, X, QUOTE, STOP, QUOTE, END2);
    EXPECT(false, "[r0]a[c0]b", 4, 3, true, THINK, A, THOUGHT, B, STOP);
    EXPECT(false, "[c0]S[t0]f[a0]{}", 5, 0, false, S, CALL, NA, ME, END);
    // Text is no marker, a marker in a string is text, and it ends half a character.
    EXPECT(false, "[c0]<tool_call>{\"na", 3, 0, false, TOOL_TEXT, CALL_TEXT, NA);
    EXPECT(false, "[t0]f[a0]{\"x\":\"</tool_call>\"}", 9, 0, false, CALL, NA, ME, ARGS, X, QUOTE,
           CALL_END, QUOTE, END2);
    EXPECT(false, "[c0]?[t0]f[a0]{}", 5, 0, false, HALF, CALL, NA, ME, END);
    EXPECT(true, "[c0]a[t0]f[a0]{}", 6, 0, true, A, CALL, NA, ME, ARGS, END2, CALL, NA, ME, END);
}

/* Any tokens, any moments of taking: the same parts and tokens. */
static void replies_add_up(void **state)
{
    (void)state;
    uint32_t draw = 0;
    size_t n_calls = 0, n_thoughts = 0, n_stopped = 0;
    struct fixture f;
    open_fixture(&f, false);
    for (int round = 0; round < 20000; round++) {
        static const int32_t opening[] = {CALL, NA, ME, ARGS};
        int32_t ids[24];
        size_t n = 0, n_stops = rng_bits(5, 0, 0, draw++) % 4;
        while (n < 12) {
            uint64_t bits = rng_bits(5, 0, 0, draw++);
            for (size_t i = 0; bits % 16 == 0 && i < 4; i++)
                ids[n++] = opening[i];
            ids[n++] = (int32_t)(bits >> 8) % N_ALL_PIECES;
            ids[n - 1] = ids[n - 1] < 0 ? -ids[n - 1] : ids[n - 1];
        }
        struct result whole, parts;
        run(ids, n, n_stops, 0, &f.options, &whole);
        run(ids, n, n_stops, rng_bits(5, 0, 0, draw++), &f.options, &parts);
        assert_int_equal(whole.text.n_bytes, parts.text.n_bytes);
        if (whole.text.n_bytes > 0)
            assert_memory_equal(whole.text.bytes, parts.text.bytes, whole.text.n_bytes);
        assert_int_equal(whole.n_ids, parts.n_ids);
        assert_memory_equal(whole.ids, parts.ids, whole.n_ids * sizeof *ids);
        assert_memory_equal(whole.ids, ids, whole.n_ids * sizeof *ids);
        assert_int_equal(whole.is_stopped, parts.is_stopped);
        assert_int_equal(whole.n_reasoning, parts.n_reasoning);
        if (!whole.is_stopped)
            assert_int_equal(whole.n_ids, n);
        n_calls += whole.n_calls;
        n_thoughts += whole.n_reasoning > 0;
        n_stopped += whole.is_stopped;
        buf_release(&whole.text);
        buf_release(&parts.text);
    }
    assert_true(n_calls > 1000 && n_thoughts > 300 && n_stopped > 1000);
    reply_tools_free(f.tools);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_add_up), cmocka_unit_test(replies),
                                       cmocka_unit_test(replies_add_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
