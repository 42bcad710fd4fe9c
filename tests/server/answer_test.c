/* Answers: a stream and a whole answer of the same events say the same, however the text is cut;
 * the JSON is strict; floats read back as the same floats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>
#include <cjson/cJSON.h>
#include <math.h>

#include "engine/base/json_scan.h"
#include "engine/base/rng.h"
#include "server/answer.h"

static const char text[] = "Caf\xc3\xa9 \"quoted\"\n\tand \xf0\x9f\x8c\x8a </script> \x01 end";

static struct job_event text_event(const char *from, size_t n, const struct job_token *token)
{
    return (struct job_event){
        .type = EVENT_TEXT, .text = from, .n_bytes = n, .tokens = token, .n_tokens = token ? 1 : 0};
}

static const struct job_event finished = {
    .type = EVENT_FINISHED, .finish_reason = FINISH_LENGTH, .stop = NULL};
static const struct job_event prepared = {.type = EVENT_PREPARED, .prompt_tokens = 5};
static const struct job_event done = {
    .type = EVENT_DONE, .prompt_tokens = 5, .cached_tokens = 2, .completion_tokens = 3};

static cJSON *strict(const char *json, size_t n)
{
    struct json_limits limits = {16, 100000};
    struct error err = {OK, "", ""};
    if (json_scan(json, n, &limits, &err) != OK)
        fail_msg("%s in %.*s", err.text, (int)n, json);
    cJSON *root = cJSON_ParseWithLength(json, n);
    assert_non_null(root);
    return root;
}

static const cJSON *at(const cJSON *node, const char *name)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(node, name);
    assert_non_null(found);
    return found;
}

/* Plays the text in pieces that end where `cuts` has a bit; returns the joined text of the reply.
 */
static void play(enum endpoint endpoint, bool stream, uint64_t cuts, char *joined)
{
    struct answer_shape shape = {.endpoint = endpoint,
                                 .stream = stream,
                                 .include_usage = true,
                                 .n_choices = 1,
                                 .prompt_logprobs = -1};
    struct answer answer;
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(answer_init(&answer, &shape));
    assert_true(answer_prepare(&answer, "m\"x", "fp", 7, 0));
    assert_true(answer_event(&answer, 0, &prepared, &out));
    if (stream)
        answer_stream_start(&answer, &out);
    size_t from = 0;
    for (size_t i = 1; i < sizeof text; i++) {
        bool inside = ((unsigned char)text[i] & 0xc0) == 0x80;  // events hold whole characters
        if (i + 1 < sizeof text && (inside || !(cuts >> i & 1)))
            continue;
        struct job_event event = text_event(text + from, i - from, NULL);
        assert_true(answer_event(&answer, 0, &event, &out));
        from = i;
    }
    assert_true(answer_event(&answer, 0, &finished, &out));
    assert_true(answer_event(&answer, 0, &done, &out));
    joined[0] = '\0';
    bool chat = endpoint == ENDPOINT_CHAT;
    size_t n_finish = 0;
    for (char *line = out.bytes; line && *line;) {
        char *end = stream ? strstr(line, "\n\n") : out.bytes + out.n_bytes;
        assert_non_null(end);
        size_t n = (size_t)(end - line);
        const char *json = stream ? line + 6 : line;
        assert_true(!stream || (memcmp(line, "data: ", 6) == 0 && !memchr(line, '\n', n)));
        if (!stream || memcmp(json, "[DONE]", 6) != 0) {
            cJSON *root = strict(json, n - (size_t)(json - line));
            assert_string_equal(at(root, "model")->valuestring, "m\"x");
            const cJSON *choice = at(root, "choices")->child;
            if (choice) {
                const cJSON *holder = !chat ? choice : at(choice, stream ? "delta" : "message");
                const cJSON *piece =
                    cJSON_GetObjectItemCaseSensitive(holder, chat ? "content" : "text");
                if (piece)
                    snprintf(joined + strlen(joined), 1024 - strlen(joined), "%s",
                             piece->valuestring);
                n_finish += cJSON_IsString(at(choice, "finish_reason"));
                assert_true(cJSON_IsNull(at(choice, "logprobs")));
            } else {
                assert_int_equal((int)at(at(root, "usage"), "total_tokens")->valuedouble, 8);
            }
            cJSON_Delete(root);
        } else {
            assert_string_equal(json, "[DONE]\n\n");
        }
        line = stream ? end + 2 : NULL;
    }
    assert_int_equal(n_finish, 1);
    answer_release(&answer);
    buf_release(&out);
}

static void any_cut_says_the_same(void **state)
{
    (void)state;
    char joined[1024];
    for (uint32_t i = 0; i < 200; i++) {
        uint64_t cuts = i == 0 ? 0 : i == 1 ? UINT64_MAX : rng_bits(1, 0, i, 0);
        enum endpoint endpoint = i % 2 ? ENDPOINT_CHAT : ENDPOINT_COMPLETIONS;
        play(endpoint, true, cuts, joined);
        assert_string_equal(joined, text);
        play(endpoint, false, cuts, joined);
        assert_string_equal(joined, text);
    }
}

static void floats(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 16);
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t bits = (uint32_t)rng_bits(2, 0, i, 0);
        float value, back;
        memcpy(&value, &bits, sizeof value);
        buf_clear(&out);
        answer_write_float(&out, value);
        struct json_limits limits = {1, 1};
        assert_int_equal(json_scan(out.bytes, out.n_bytes, &limits, NULL), OK);
        back = strtof(out.bytes, NULL);
        if (isfinite(value))
            assert_memory_equal(&back, &value, sizeof value);
        else
            assert_true(back == -9999);
    }
    buf_release(&out);
}

static void logprobs(void **state)
{
    (void)state;
    struct job_alternative top[] = {{1, -0.5f, "a", 1}, {2, -INFINITY, "\xff\x80", 2}};
    struct job_token tokens[] = {{1, -0.5f, "\xc3\xa9", 2, top, 2, false, 0},
                                 {9, -2.25f, "\xc3", 1, top, 2, false, 0}};
    struct answer_shape shape = {.endpoint = ENDPOINT_CHAT,
                                 .n_choices = 1,
                                 .logprobs = true,
                                 .return_token_ids = true,
                                 .prompt_logprobs = -1};
    for (int chat = 0; chat < 2; chat++) {
        struct answer answer;
        struct buf out;
        buf_init(&out, 1 << 16);
        shape.endpoint = chat ? ENDPOINT_CHAT : ENDPOINT_COMPLETIONS;
        assert_true(answer_init(&answer, &shape));
        assert_true(answer_prepare(&answer, "m", "fp", 0, 0));
        struct job_event event = {.type = EVENT_TEXT,
                                  .text = "\xc3\xa9\xef\xbf\xbd",
                                  .n_bytes = 5,
                                  .tokens = tokens,
                                  .n_tokens = 2};
        assert_true(answer_event(&answer, 0, &event, &out));
        assert_true(answer_event(&answer, 0, &finished, &out));
        assert_true(answer_event(&answer, 0, &done, &out));
        cJSON *root = strict(out.bytes, out.n_bytes);
        const cJSON *choice = at(root, "choices")->child, *lists = at(choice, "logprobs");
        assert_int_equal(cJSON_GetArraySize(at(choice, "token_ids")), 2);
        if (chat) {
            const cJSON *item = at(lists, "content")->child->next;
            assert_string_equal(at(item, "token")->valuestring, "\xef\xbf\xbd");
            assert_int_equal(at(item, "bytes")->child->valueint, 0xc3);
            assert_int_equal(at(item, "top_logprobs")->child->next->valueint, 0);
            assert_true(at(at(item, "top_logprobs")->child->next, "logprob")->valuedouble == -9999);
        } else {
            assert_string_equal(at(lists, "tokens")->child->next->valuestring, "bytes:\\xc3");
            const cJSON *pairs = at(lists, "top_logprobs")->child->next;
            assert_int_equal(cJSON_GetArraySize(pairs), 3);  // the token itself is not among two
            assert_true(at(pairs, "bytes:\\xc3")->valuedouble == -2.25);
            assert_int_equal(at(lists, "text_offset")->child->next->valueint, 1);
        }
        cJSON_Delete(root);
        answer_release(&answer);
        buf_release(&out);
    }
}

/* The space of " \xf0\x9f" is text before its token is: offsets go by tokens, however it is cut. */
static void offsets_of_a_split_character(void **state)
{
    (void)state;
    static const char *const pieces[] = {" \xf0\x9f", "\x8c", "\x8a", "x"};
    static const int expected[] = {0, 2, 2, 2};
    struct job_token tokens[4];
    for (int i = 0; i < 4; i++)
        tokens[i] = (struct job_token){
            .token = i, .logprob = -1, .bytes = pieces[i], .n_bytes = strlen(pieces[i])};
    struct job_event cuts[2][3] = {
        {{.type = EVENT_TEXT,
          .text = " \xf0\x9f\x8c\x8ax",
          .n_bytes = 6,
          .tokens = tokens,
          .n_tokens = 4}},
        {{.type = EVENT_TEXT, .text = " ", .n_bytes = 1},
         {.type = EVENT_TEXT,
          .text = "\xf0\x9f\x8c\x8a",
          .n_bytes = 4,
          .tokens = tokens,
          .n_tokens = 3},
         {.type = EVENT_TEXT, .text = "x", .n_bytes = 1, .tokens = tokens + 3, .n_tokens = 1}}};
    struct answer_shape shape = {
        .endpoint = ENDPOINT_COMPLETIONS, .n_choices = 1, .logprobs = true, .prompt_logprobs = -1};
    for (int cut = 0; cut < 2; cut++) {
        struct answer answer;
        struct buf out;
        buf_init(&out, 1 << 16);
        assert_true(answer_init(&answer, &shape));
        assert_true(answer_prepare(&answer, "m", "fp", 0, 0));
        for (int i = 0; i < (cut ? 3 : 1); i++)
            assert_true(answer_event(&answer, 0, &cuts[cut][i], &out));
        assert_true(answer_event(&answer, 0, &finished, &out));
        assert_true(answer_event(&answer, 0, &done, &out));
        cJSON *root = strict(out.bytes, out.n_bytes);
        const cJSON *offset = at(at(at(root, "choices")->child, "logprobs"), "text_offset")->child;
        for (int i = 0; i < 4; i++, offset = offset->next)
            assert_int_equal(offset->valueint, expected[i]);
        cJSON_Delete(root);
        answer_release(&answer);
        buf_release(&out);
    }
}

static void strange_choices_are_refused(void **state)
{
    (void)state;
    struct answer_shape shape = {.endpoint = ENDPOINT_CHAT, .n_choices = 2, .prompt_logprobs = -1};
    struct answer answer;
    struct buf out;
    buf_init(&out, 4096);
    assert_true(answer_init(&answer, &shape));
    struct job_event event = text_event("x", 1, NULL);
    event.choice = 1;
    assert_true(answer_event(&answer, 0, &event, &out));
    event.choice = 2;
    assert_false(answer_event(&answer, 0, &event, &out));
    answer_release(&answer);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_says_the_same),
        cmocka_unit_test(floats),
        cmocka_unit_test(logprobs),
        cmocka_unit_test(offsets_of_a_split_character),
        cmocka_unit_test(strange_choices_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
