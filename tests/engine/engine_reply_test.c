/* Replies through the whole engine: a model that is made to say a thought and a call, token by
 * token, and a thought that is ended by its budget.
 *
 * The words are forced by the sampler's own means: only the script's tokens are allowed, a bias
 * draws the first, and behind each of them every token but the next is banned. Everything else is
 * the real way: template, tokenizer, model, sampler, scheduler, parser, event queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#define TINY_CHAT_TEMPLATE                                                                         \
    "{{ bos_token }}{% for m in messages %}"                                                       \
    "{% if m['role'] == 'user' %}<|user|>{% else %}<|assistant|>{% endif %}{{ m['content'] }}"     \
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% if enable_thinking %}<think>"       \
    "{% endif %}{% endif %}"
#define TINY_CHAT_EXTRA_TOKENS                                                                     \
    "<think>", "</think>", "<tool_call>", "</tool_call>", "{\"name\": ", "\"f\"",                  \
        ", \"arguments\": ", "{\"x\": ", "\"a", "\"}}", "thought", "words"

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "tests/engine/tiny_chat_model.h"

enum {
    THINK = TINY_CHAT_EXTRA,
    THOUGHT,
    CALL,
    CALL_END,
    NAME,
    F,
    ARGUMENTS,
    X,
    A,
    END,
    TEXT,
    WORDS,
};

#define TOOLS "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"
#define USER  "[{\"role\":\"user\",\"content\":\"hello the and\"}]"

static char path[64];

struct answer {
    struct buf text;  // "[c]..." and so on, a mark before each part that differs from the last
    int32_t ids[512];
    float logprobs[512];
    size_t n_ids, reasoning_tokens, completion_tokens;
    enum finish_reason reason;
    enum job_event_type end, last;
};

static void take(struct answer *answer, const struct job_event *event)
{
    char mark = event->type == EVENT_TEXT        ? 'c'
                : event->type == EVENT_REASONING ? 'r'
                : event->type == EVENT_TOOL_CALL ? 't'
                                                 : 'a';
    if (event->n_bytes > 0 && (event->type != answer->last || mark == 't')) {
        buf_printf(&answer->text, "[%c]", mark);
        answer->last = event->type;
    }
    buf_append(&answer->text, event->text, event->n_bytes);
    for (size_t i = 0; i < event->n_tokens; i++) {
        answer->logprobs[answer->n_ids] = event->tokens[i].logprob;
        answer->ids[answer->n_ids++] = event->tokens[i].token;
    }
}

/* Choice 0 only is looked at. */
static void finish(struct job *job, struct answer *answer)
{
    const struct job_event *event;
    int64_t deadline = clock_ns() + (int64_t)60 * 1000000000;
    *answer = (struct answer){.end = EVENT_PREPARED, .last = EVENT_DONE};
    buf_init(&answer->text, 1 << 20);
    while (answer->end == EVENT_PREPARED) {
        assert_true(clock_ns() < deadline);
        if (!job_next_event(job, &event)) {
            usleep(200);
        } else if (event->type == EVENT_FINISHED) {
            if (event->choice == 0)
                answer->reason = event->finish_reason;
        } else if (event->type == EVENT_TEXT || event->type == EVENT_REASONING ||
                   event->type == EVENT_TOOL_CALL || event->type == EVENT_TOOL_ARGUMENTS) {
            if (event->choice == 0)
                take(answer, event);
        } else if (event->type != EVENT_PREPARED) {
            if (event->type != EVENT_DONE)
                print_error("%s\n", event->error.text);
            answer->end = event->type;
            answer->reasoning_tokens = event->reasoning_tokens;
            answer->completion_tokens = event->completion_tokens;
        }
    }
    job_release(job);
}

static struct engine *open_engine(bool no_speculation, size_t prefill_chunk)
{
    struct engine *engine;
    struct error err = {0};
    struct engine_options options = {.model_path = path,
                                     .threads = 2,
                                     .no_speculation = no_speculation,
                                     .prefill_chunk = prefill_chunk};
    if (engine_open(&engine, &options, &err) != OK || engine_wait(engine, &err) != OK)
        fail_msg("open: %s", err.text);
    return engine;
}

static struct job_request base_request(void)
{
    return (struct job_request){.kind = JOB_CHAT,
                                .messages_json = USER,
                                .max_tokens = 64,
                                .n_choices = 1,
                                .temperature = 1,
                                .top_p = 1,
                                .repetition_penalty = 1,
                                .typical_p = 1,
                                .has_seed = true,
                                .seed = 11,
                                .top_logprobs = 0};
}

static struct job *submit(struct engine *engine, const struct job_request *request)
{
    struct error err = {0};
    struct job *job = NULL;
    if (engine_submit(engine, request, &job, &err) != OK)
        fail_msg("submit: %s", err.text);
    return job;
}

static void ask(struct engine *engine, const struct job_request *request, struct answer *answer)
{
    finish(submit(engine, request), answer);
}

/* ---- a script ---- */

enum { SCRIPT_MAX = 16, WORDS_MAX = SCRIPT_MAX * SCRIPT_MAX };

/* The prompt ends in <think>; the script's tokens are all different. */
static void say(struct engine *engine, const int32_t *script, size_t n, bool one_call,
                struct answer *answer)
{
    static char texts[WORDS_MAX][64];
    static const char *bad_words[WORDS_MAX];
    int32_t allowed[SCRIPT_MAX];
    size_t n_bad = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            if (k == i + 1)
                continue;
            snprintf(texts[n_bad], sizeof texts[0], "%s%s",
                     tiny_chat_extra[script[i] - TINY_CHAT_EXTRA],
                     tiny_chat_extra[script[k] - TINY_CHAT_EXTRA]);
            bad_words[n_bad] = texts[n_bad];
            n_bad++;
        }
    }
    struct job_logit_bias first = {script[0], 100};
    memcpy(allowed, script, n * sizeof *script);
    allowed[n] = TINY_CHAT_EOS;
    struct job_request request = base_request();
    request.tools_json = TOOLS;
    request.template_variables_json = "{\"enable_thinking\":true}";
    request.one_tool_call = one_call;
    request.allowed_tokens = allowed;
    request.n_allowed_tokens = n + 1;
    request.bad_words = bad_words;
    request.n_bad_words = n_bad;
    request.min_tokens = n;
    request.logit_bias = &first;
    request.n_logit_bias = 1;
    ask(engine, &request, answer);
}

/* A thought, content, and a call whose string holds a marker and that lacks its end tag. */
static const int32_t SCRIPT[] = {TEXT,      THOUGHT, WORDS, CALL,     NAME, F,
                                 ARGUMENTS, X,       A,     CALL_END, END};
enum { N_SCRIPT = sizeof SCRIPT / sizeof *SCRIPT };

static void a_call_is_read(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 3; chunk += 2) {
        struct engine *engine = open_engine(chunk == 0, chunk);
        struct answer answer;
        say(engine, SCRIPT, N_SCRIPT, false, &answer);
        assert_int_equal(answer.end, EVENT_DONE);
        assert_string_equal(answer.text.bytes,
                            "[r]thought[c]words[t]f[a]{\"x\": \"a</tool_call>\"}");
        assert_int_equal(answer.reason, FINISH_TOOL_CALLS);
        assert_int_equal(answer.reasoning_tokens, 2);
        assert_int_equal(answer.completion_tokens, N_SCRIPT + 1);
        assert_int_equal(answer.n_ids, N_SCRIPT);
        assert_memory_equal(answer.ids, SCRIPT, sizeof SCRIPT);
        buf_release(&answer.text);
        say(engine, SCRIPT, N_SCRIPT, true, &answer);  // ends with the object, not with the turn
        assert_int_equal(answer.reason, FINISH_TOOL_CALLS);
        assert_int_equal(answer.completion_tokens, N_SCRIPT);
        buf_release(&answer.text);
        engine_close(engine);
    }
}

/* ---- a budget ---- */

/* The thought has the budget's tokens and those that end it, and the answer goes on; without the
 * forced tokens it is what the model says anyway; guesses and company change nothing. */
static void a_thought_ends_at_its_budget(void **state)
{
    (void)state;
    struct engine *plain = open_engine(true, 0), *guessing = open_engine(false, 3);
    struct job_request request = base_request();
    request.template_variables_json = "{\"enable_thinking\":true}";
    request.ignore_eos = true;
    request.max_tokens = 300;
    static const int32_t few[] = {TEXT, WORDS, A};  // it repeats itself, so guesses are right
    request.allowed_tokens = few;
    request.n_allowed_tokens = 3;
    request.temperature = 0;
    struct answer free_run;
    ask(plain, &request, &free_run);
    assert_int_equal(free_run.end, EVENT_DONE);
    assert_int_equal(free_run.reasoning_tokens, request.max_tokens);
    for (size_t budget = 0; budget < 280; budget += 67) {
        struct answer one, other;
        request.has_thinking_budget = true;
        request.thinking_budget = budget;
        ask(plain, &request, &one);
        assert_int_equal(one.end, EVENT_DONE);
        assert_int_equal(one.n_ids, request.max_tokens);
        size_t at = budget;
        while (one.ids[at] != THOUGHT)
            at++;
        assert_true(at <= budget + 2);  // newline, with or without a space in front
        assert_int_equal(one.reasoning_tokens, at + 1);
        assert_memory_equal(one.ids, free_run.ids, budget * sizeof one.ids[0]);
        assert_non_null(strstr(one.text.bytes, "[c]"));
        for (size_t i = 0; i < one.n_ids; i++)
            assert_true(one.logprobs[i] < 0 && one.logprobs[i] > -1000);
        struct job_request two = request;
        two.n_choices = 2;
        struct job *company = submit(guessing, &two);
        ask(guessing, &request, &other);
        assert_string_equal(one.text.bytes, other.text.bytes);
        assert_memory_equal(one.ids, other.ids, one.n_ids * sizeof one.ids[0]);
        assert_memory_equal(one.logprobs, other.logprobs, one.n_ids * sizeof one.logprobs[0]);
        buf_release(&other.text);
        finish(company, &other);
        assert_string_equal(one.text.bytes, other.text.bytes);  // choice 0 equals n = 1
        buf_release(&other.text);
        buf_release(&one.text);
    }
    struct engine_metrics metrics;
    engine_metrics(guessing, &metrics);
    assert_true(metrics.draft_tokens_accepted > 20);
    buf_release(&free_run.text);
    engine_close(plain);
    engine_close(guessing);
}

/* A character that has begun gets its bytes, but no more than it may need. */
static void a_budget_waits_for_a_character(void **state)
{
    (void)state;
    struct engine *engine = open_engine(false, 0);
    const int32_t lead = TINY_CHAT_BYTES + 0xe4;  // never becomes whole
    struct job_request request = base_request();
    request.template_variables_json = "{\"enable_thinking\":true}";
    request.allowed_tokens = &lead;
    request.n_allowed_tokens = 1;
    request.has_thinking_budget = true;
    request.thinking_budget = 4;
    struct answer answer;
    ask(engine, &request, &answer);
    assert_int_equal(answer.end, EVENT_DONE);
    size_t at = 0;
    while (answer.ids[at] == lead)
        at++;
    assert_int_equal(at, 4 + 3);
    buf_release(&answer.text);
    engine_close(engine);
}

/* A thought that is free until its budget ends it, then a call that a grammar forces. */
static void a_call_is_forced_behind_a_thought(void **state)
{
    (void)state;
    struct engine *engine = open_engine(false, 0);
    struct job_request request = base_request();
    request.tools_json = TOOLS;
    request.template_variables_json = "{\"enable_thinking\":true}";
    request.max_tokens = 150;
    request.has_thinking_budget = true;
    request.thinking_budget = 9;
    request.forced_call = true;
    request.constraint = (struct job_constraint){
        .kind = CONSTRAINT_JSON_SCHEMA,
        .text = "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"name\":{\"const\":\"f\"},"
                "\"arguments\":{\"type\":\"object\",\"properties\":{\"x\":{\"enum\":[7]}},"
                "\"required\":[\"x\"],\"additionalProperties\":false}},\"required\":[\"name\","
                "\"arguments\"],\"additionalProperties\":false}]}",
        .param = "tools"};
    struct answer answer;
    ask(engine, &request, &answer);
    assert_int_equal(answer.end, EVENT_DONE);
    assert_int_equal(answer.reason, FINISH_TOOL_CALLS);
    assert_true(answer.reasoning_tokens >= 11 && answer.reasoning_tokens <= 15);
    const char *call = strstr(answer.text.bytes, "[t]f[a]{");
    assert_non_null(call);
    assert_memory_equal(answer.text.bytes, "[r]", 3);
    assert_null(strstr(answer.text.bytes, "[c]"));
    assert_non_null(strstr(call, "\"x\""));
    assert_non_null(strstr(call, "7"));
    buf_release(&answer.text);
    engine_close(engine);
}

static int set_up(void **state)
{
    (void)state;
    return tiny_chat_model_write(DTYPE_F16, 0, path) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_call_is_read),
                                       cmocka_unit_test(a_thought_ends_at_its_budget),
                                       cmocka_unit_test(a_budget_waits_for_a_character),
                                       cmocka_unit_test(a_call_is_forced_behind_a_thought)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
