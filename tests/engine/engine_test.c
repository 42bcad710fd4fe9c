/* The whole engine over a tiny random model: the promise "same request, same bytes" under every
 * setting, then the ways in which requests and engines end.
 *
 * With WICARA_TEST_MODEL (a real chat model) one more test asks it a question. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/engine.h"
#include "engine/kernels/kernels.h"
#include "tests/engine/tiny_chat_model.h"

enum { TEXT_MAX = 8192, TOKENS_MAX = 600, N_PLAIN = 20, N_REQUESTS = 28 };

/* ---- requests ---- */

static const struct job_request DEFAULTS = {.kind = JOB_CHAT,
                                            .n_choices = 1,
                                            .temperature = 1,
                                            .top_p = 1,
                                            .repetition_penalty = 1,
                                            .top_logprobs = -1,
                                            .has_seed = true,
                                            .max_tokens = 20};

static const char *const STOPS[] = {"the", "\xef\xbf\xbd\xef\xbf\xbd", "zq"};
static char messages[N_REQUESTS][3000];

static struct job_request make_request(uint32_t i)
{
    uint32_t draw = 0;
#define BELOW(n) ((size_t)(rng_bits(11, i, 0, draw++) % (n)))
    char content[2000];
    size_t n_shared = BELOW(3) * 60, n = n_shared + 1 + BELOW(40);
    for (size_t k = 0; k < n; k++)
        content[k] = k < n_shared ? "the hen and her nest "[k % 21] : (char)('a' + BELOW(26));
    snprintf(messages[i], sizeof messages[i], "[{\"role\":\"user\",\"content\":\"%.*s\"}]", (int)n,
             content);
    struct job_request r = DEFAULTS;
    r.messages_json = messages[i];
    r.max_tokens = 1 + BELOW(240);
    r.n_choices = BELOW(4) == 0 ? 2 : 1;
    r.temperature = BELOW(2) == 0 ? 0 : 0.9f;
    r.top_p = BELOW(2) == 0 ? 1 : 0.95f;
    r.repetition_penalty = BELOW(3) == 0 ? 1.1f : 1;
    r.seed = i;
    r.ignore_eos = BELOW(2) == 0;
    r.stops = STOPS;
    r.n_stops = BELOW(4);
    r.top_logprobs = (int32_t)BELOW(3);
    r.tenant[0] = (uint8_t)BELOW(2);
    if (i < N_PLAIN)  // these repeat themselves, which speculation lives on
        return r;
    r.prompt_scores = BELOW(3) != 0;
    r.top_prompt_scores = 2;
    r.no_answer = r.prompt_scores && BELOW(3) == 0;
    r.penalty_window = BELOW(3) == 0 ? 20 : 0;
    r.typical_p = BELOW(4) == 0 ? 0.7f : 1;
    r.top_n_sigma = BELOW(4) == 0 ? 1.5f : 0;
    r.xtc_probability = BELOW(4) == 0 ? 0.5f : 0;
    r.xtc_threshold = 0.1f;
    r.dry_multiplier = BELOW(3) == 0 ? 0.8f : 0;
    r.dry_base = 1.75f;
    r.dry_allowed_length = 2;
    r.min_tokens = BELOW(3) == 0 ? 5 : 0;
    r.has_cache_salt = BELOW(4) == 0;
#undef BELOW
    return r;
}

struct answer {
    enum job_event_type end;
    struct error error;
    size_t prompt_tokens, cached_tokens, completion_tokens;
    uint64_t seed;
    struct {
        int32_t token;
        uint32_t rank;
        float logprob, best;
    } scores[TEXT_MAX];  // of the prompt
    size_t n_scores;
    struct {
        int32_t ids[TOKENS_MAX];
        float logprobs[TOKENS_MAX];
        size_t n_tokens;
        char text[TEXT_MAX];
        size_t n_bytes;
        enum finish_reason reason;
    } choices[2];
};

static void take_text(struct answer *answer, const struct job_event *event)
{
    assert_true(event->choice < 2);
    size_t n = answer->choices[event->choice].n_bytes;
    assert_true(n + event->n_bytes < TEXT_MAX);
    memcpy(answer->choices[event->choice].text + n, event->text, event->n_bytes);
    answer->choices[event->choice].n_bytes += event->n_bytes;
    for (size_t t = 0; t < event->n_tokens; t++) {
        n = answer->choices[event->choice].n_tokens++;
        assert_true(n < TOKENS_MAX);
        answer->choices[event->choice].ids[n] = event->tokens[t].token;
        answer->choices[event->choice].logprobs[n] = event->tokens[t].logprob;
    }
}

static void take_scores(struct answer *answer, const struct job_event *event)
{
    for (size_t t = 0; t < event->n_tokens; t++) {
        assert_true(answer->n_scores < TEXT_MAX);
        const struct job_token *token = &event->tokens[t];
        assert_true((token->rank == 0) == (answer->n_scores == 0));
        answer->scores[answer->n_scores].token = token->token;
        answer->scores[answer->n_scores].rank = token->rank;
        answer->scores[answer->n_scores].logprob = token->logprob;
        answer->scores[answer->n_scores++].best = token->n_top > 0 ? token->top[0].logprob : 0;
    }
}

/* True when the job has ended. */
static bool drain(struct job *job, struct answer *answer)
{
    const struct job_event *event;
    while (job_next_event(job, &event)) {
        if (event->type == EVENT_TEXT) {
            take_text(answer, event);
        } else if (event->type == EVENT_PROMPT) {
            take_scores(answer, event);
        } else if (event->type == EVENT_FINISHED) {
            answer->choices[event->choice].reason = event->finish_reason;
        } else if (event->type != EVENT_PREPARED) {
            answer->end = event->type;
            answer->error = event->error;
            answer->seed = event->seed;
            answer->prompt_tokens = event->prompt_tokens;
            answer->cached_tokens = event->cached_tokens;
            answer->completion_tokens = event->completion_tokens;
        }
    }
    return answer->end != EVENT_PREPARED;
}

static void finish(struct job *job, struct answer *answer)
{
    memset(answer, 0, sizeof *answer);
    int64_t deadline = clock_ns() + (int64_t)120 * 1000000000;
    while (!drain(job, answer)) {
        assert_true(clock_ns() < deadline);
        usleep(200);
    }
    job_release(job);
}

static struct job *submit(struct engine *engine, const struct job_request *request)
{
    struct error err = {0};
    struct job *job;
    if (engine_submit(engine, request, &job, &err) != OK)
        fail_msg("submit: %s", err.text);
    return job;
}

static void ask(struct engine *engine, const struct job_request *request, struct answer *answer)
{
    finish(submit(engine, request), answer);
}

static bool same_answer(const struct answer *a, const struct answer *b)
{
    if (a->end != EVENT_DONE || b->end != EVENT_DONE)
        return false;
    for (size_t c = 0; c < 2; c++) {
        size_t n = a->choices[c].n_tokens;
        if (n != b->choices[c].n_tokens || a->choices[c].n_bytes != b->choices[c].n_bytes ||
            memcmp(a->choices[c].ids, b->choices[c].ids, n * sizeof(int32_t)) != 0 ||
            memcmp(a->choices[c].logprobs, b->choices[c].logprobs, n * sizeof(float)) != 0 ||
            memcmp(a->choices[c].text, b->choices[c].text, a->choices[c].n_bytes) != 0 ||
            a->choices[c].reason != b->choices[c].reason)
            return false;
    }
    return a->completion_tokens == b->completion_tokens && a->prompt_tokens == b->prompt_tokens &&
           a->n_scores == b->n_scores && (a->n_scores == 0 || a->n_scores == a->prompt_tokens) &&
           memcmp(a->scores, b->scores, a->n_scores * sizeof a->scores[0]) == 0;
}

/* ---- engines ---- */

enum { N_MODELS = 3, WINDOW = 40 };  // the last one has a layer with a window
static char paths[N_MODELS][64];
static const enum dtype DTYPES[N_MODELS] = {DTYPE_Q8_0, DTYPE_F16, DTYPE_F16};
static struct job_request requests[N_REQUESTS];
static struct answer alone[N_MODELS][N_REQUESTS], together[N_REQUESTS];

static struct engine *open_engine(struct engine_options options)
{
    struct engine *engine;
    struct error err = {0};
    if (options.model_path == NULL)
        options.model_path = paths[0];
    if (engine_open(&engine, &options, &err) != OK || engine_wait(engine, &err) != OK)
        fail_msg("open: %s", err.text);
    assert_int_equal(engine_state(engine), ENGINE_READY);
    return engine;
}

static void check_nothing_is_held(struct engine *engine)
{
    struct engine_metrics m;
    for (int i = 0; i < 5000; i++) {  // the last cancellation may still be under way
        engine_metrics(engine, &m);
        if (engine_jobs(engine) == 0 && m.kv_blocks_free == m.kv_blocks)
            break;
        usleep(1000);
    }
    assert_int_equal(engine_jobs(engine), 0);
    assert_int_equal(m.kv_blocks_free, m.kv_blocks);
    assert_int_equal(m.jobs_waiting, 0);
}

static int set_up(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < N_REQUESTS; i++)
        requests[i] = make_request(i);
    for (size_t d = 0; d < N_MODELS; d++) {
        assert_true(tiny_chat_model_write(DTYPES[d], d == 2 ? WINDOW : 0, paths[d]));
        struct engine *engine = open_engine((struct engine_options){.model_path = paths[d],
                                                                    .threads = 1,
                                                                    .parallel = 2,
                                                                    .no_prefix_cache = true,
                                                                    .no_speculation = true});
        for (size_t i = 0; i < N_REQUESTS; i++) {
            ask(engine, &requests[i], &alone[d][i]);
            assert_int_equal(alone[d][i].end, EVENT_DONE);
        }
        check_nothing_is_held(engine);
        engine_close(engine);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t d = 0; d < N_MODELS; d++)
        unlink(paths[d]);
    return 0;
}

struct totals {
    uint64_t prefix_hits, drafts, drafts_right, spills, reloads;
};

/* All requests at once; each must be answered as it was alone. */
static void answer_together(struct engine_options options, size_t d, struct totals *totals)
{
    struct engine_metrics m;
    options.model_path = paths[d];
    struct engine *engine = open_engine(options);
    struct job *jobs[N_REQUESTS];
    for (size_t i = 0; i < N_REQUESTS; i++)
        jobs[i] = submit(engine, &requests[i]);
    for (size_t i = 0; i < N_REQUESTS; i++) {
        finish(jobs[i], &together[i]);
        if (!same_answer(&alone[d][i], &together[i]))
            fail_msg("%zu threads, %zu sequences, chunk %zu, %s, request %zu: another answer (%s)",
                     options.threads, options.parallel, options.prefill_chunk,
                     d == 2 ? "windowed" : dtype_info(DTYPES[d])->name, i, together[i].error.text);
    }
    check_nothing_is_held(engine);
    engine_metrics(engine, &m);
    totals->prefix_hits += m.prefix_hits;
    totals->drafts += m.draft_tokens;
    totals->drafts_right += m.draft_tokens_accepted;
    totals->spills += m.kv_blocks_spilled;
    totals->reloads += m.kv_blocks_reloaded;
    assert_true(!options.no_speculation || m.draft_tokens == 0);
    engine_close(engine);
}

static void same_request_same_bytes(void **state)
{
    (void)state;
    enum { BLOCK = 2 * 2 * 16 * 2 * 2 * 32 };  // layers, heads, dimensions, K and V, f16, tokens
    const struct engine_options settings[] = {
        {.threads = 1, .parallel = 16, .prefill_chunk = 512},
        {.threads = 2, .parallel = 8, .prefill_chunk = 16, .no_prefix_cache = true},
        {.threads = 3, .parallel = 20, .prefill_chunk = 64},
        {.threads = 1, .parallel = 2, .prefill_chunk = 512},
        {.threads = 2, .parallel = 4, .prefill_chunk = 64, .no_speculation = true},
        {.threads = 2, .parallel = 6, .prefill_chunk = 7, .kv_bytes = 21 * BLOCK},
        {.threads = 2,
         .parallel = 8,
         .prefill_chunk = 64,
         .kv_bytes = 21 * BLOCK,
         .no_prefix_cache = true},
    };
    struct totals totals = {0};
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++)
        for (size_t d = 0; d < N_MODELS; d++)
            answer_together(settings[k], d, &totals);
    assert_true(totals.prefix_hits > 0);
    // Whether guessing pays is measured, so a busy machine may want another round.
    for (int i = 0; i < 40 && (totals.drafts_right == 0 || totals.drafts == totals.drafts_right);
         i++)
        answer_together(settings[3], 0, &totals);
    assert_true(totals.drafts_right > 0 && totals.drafts > totals.drafts_right);
}

static void remove_folder(const char *folder)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* In a pool that spills, and after restarts: with windows too, whose last blocks must all be found.
 */
static void spilled_kv_changes_nothing(void **state)
{
    (void)state;
    enum { BLOCK = 2 * 2 * 16 * 2 * 2 * 32 };
    char folder[] = "/tmp/wicara-kv-XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (size_t d = 0; d < N_MODELS; d++) {
        struct engine_options options = {
            .threads = 2, .parallel = 6, .prefill_chunk = 64, .kv_dir = folder};
        struct totals totals = {0};
        options.kv_bytes = 24 * BLOCK;
        answer_together(options, d, &totals);
        assert_true(totals.spills > 0);
        options.kv_bytes = 0;
        answer_together(options, d, &totals);
        assert_true(totals.reloads > 0);
    }
    static struct answer first, second, other;
    struct job_request r = DEFAULTS;
    r.messages_json = "[{\"role\":\"user\",\"content\":\"words that no other request has, and "
                      "more of them than one block of thirty-two tokens will ever take\"}]";
    for (int round = 0; round < 2; round++) {
        struct engine *engine =
            open_engine((struct engine_options){.threads = 1, .kv_dir = folder});
        ask(engine, &r, round == 0 ? &first : &second);
        r.tenant[5] = 1;
        ask(engine, &r, &other);
        r.tenant[5] = 0;
        assert_int_equal(other.cached_tokens, round * second.cached_tokens);
        engine_close(engine);
    }
    assert_int_equal(first.cached_tokens, 0);
    assert_true(second.cached_tokens >= 32);
    assert_true(same_answer(&first, &second) && same_answer(&first, &other));
    remove_folder(folder);
}

/* A layer with a window takes what its window needs of 4,096 tokens, not a block for each 32. */
static void windows_make_the_pool_smaller(void **state)
{
    (void)state;
    struct engine *engine = open_engine((struct engine_options){
        .model_path = paths[2], .threads = 1, .parallel = 4, .prefill_chunk = 32});
    const struct engine_info *info = engine_info(engine);
    size_t layer_block_bytes = 2 * 16 * 2 * 2 * 32;  // heads, dimensions, K and V, f16, tokens
    size_t most = (WINDOW + 64 + 33) / 32 + 3;       // of one sequence, with 32 guesses in a step
    assert_int_equal(info->kv_blocks, 4 * 4096 / 32);
    assert_int_equal(info->kv_bytes, (info->kv_blocks + 2 * 4 * most) * layer_block_bytes);
    engine_close(engine);
}

static size_t blocks_worst(const struct job_request *r, size_t n_prompt)
{
    size_t shared = r->n_choices > 1 ? n_prompt / 32 : 0;
    return shared + r->n_choices * ((n_prompt + r->max_tokens + 30) / 32 - shared);
}

/* A queue of jobs in a pool that holds just the larger kind to its end: admission fills it, growth
 * overfills it. Whether it does depends on arrival times too, so there are several attempts. */
static void preemption_changes_nothing(void **state)
{
    (void)state;
    static struct answer want[2], got;
    struct job_request r[2] = {requests[0], requests[1]};
    struct engine *engine = open_engine((struct engine_options){.threads = 2});
    size_t n_blocks = 0;
    for (size_t i = 0; i < 2; i++) {
        r[i].max_tokens = 240;
        r[i].ignore_eos = true;
        r[i].n_stops = 0;
        r[i].n_choices = 1 + i;
        ask(engine, &r[i], &want[i]);
        size_t worst = blocks_worst(&r[i], want[i].prompt_tokens);
        n_blocks = worst > n_blocks ? worst : n_blocks;
    }
    size_t block_bytes = engine_info(engine)->kv_bytes / engine_info(engine)->kv_blocks;
    engine_close(engine);
    for (int prefix_cache = 0; prefix_cache < 2; prefix_cache++) {
        struct engine_metrics m = {0};
        engine = open_engine((struct engine_options){.threads = 2,
                                                     .prefill_chunk = 24,
                                                     .kv_bytes = n_blocks * block_bytes,
                                                     .no_prefix_cache = prefix_cache == 0});
        for (int attempt = 0; attempt < 20 && m.preemptions == 0; attempt++) {
            struct job *jobs[8];
            for (size_t i = 0; i < 8; i++)
                jobs[i] = submit(engine, &r[i % 2]);
            for (size_t i = 0; i < 8; i++) {
                finish(jobs[i], &got);
                if (!same_answer(&want[i % 2], &got))
                    fail_msg("job %zu: another answer (%s)", i, got.error.text);
            }
            engine_metrics(engine, &m);
        }
        assert_true(m.preemptions > 0);
        check_nothing_is_held(engine);
        engine_close(engine);
    }
}

/* The kernels' scalar specification gives the bytes of the best level that this CPU has. It is
 * slow, so it gets one short request. */
static void every_level_gives_the_same_bytes(void **state)
{
    (void)state;
    static struct answer best, other;
    struct job_request r = DEFAULTS;
    r.messages_json = "[{\"role\":\"user\",\"content\":\"the hen\"}]";
    r.top_logprobs = 5;
    r.max_tokens = 8;
    r.ignore_eos = true;
    for (size_t d = 0; d < 2; d++)
        for (int level = kernels_best_level(); level >= 0; level--) {
            if (!kernels_level_available((enum cpu_level)level))
                continue;
            struct engine *engine = open_engine(
                (struct engine_options){.model_path = paths[d],
                                        .threads = 2,
                                        .cpu_level = kernels_level_name((enum cpu_level)level)});
            assert_string_equal(engine_info(engine)->cpu_level,
                                kernels_level_name((enum cpu_level)level));
            ask(engine, &r, &other);
            if (level == (int)kernels_best_level())
                best = other;
            if (!same_answer(&best, &other))
                fail_msg("%s at %s: other bytes", dtype_info(DTYPES[d])->name,
                         kernels_level_name((enum cpu_level)level));
            engine_close(engine);
        }
}

/* Each numerics class has answers and a fingerprint of its own, which names it. */
static void numerics_classes(void **state)
{
    (void)state;
    static struct answer answers[2];
    char fingerprints[2][64];
    struct job_request r = DEFAULTS;
    r.messages_json = "[{\"role\":\"user\",\"content\":\"the hen\"}]";
    r.top_logprobs = 5;
    r.max_tokens = 8;
    r.ignore_eos = true;
    for (size_t precise = 0; precise < 2; precise++) {
        struct engine *engine =
            open_engine((struct engine_options){.model_path = paths[0], .precise = precise});
        const struct engine_info *info = engine_info(engine);
        assert_string_equal(info->numerics, precise ? "precise" : "fast");
        snprintf(fingerprints[precise], sizeof fingerprints[precise], "%s", info->fingerprint);
        size_t n = strlen(info->fingerprint), n_name = strlen(info->numerics);
        assert_true(n == 3 + 16 + 1 + n_name);
        assert_string_equal(info->fingerprint + n - n_name, info->numerics);
        ask(engine, &r, &answers[precise]);
        engine_close(engine);
    }
    assert_memory_not_equal(fingerprints[0], fingerprints[1], 3 + 16);
    assert_false(same_answer(&answers[0], &answers[1]));
}

static void usage_and_reasons_are_right(void **state)
{
    (void)state;
    size_t stopped = 0, by_length = 0;
    for (size_t i = 0; i < N_REQUESTS; i++) {
        const struct answer *a = &alone[0][i];
        size_t n = 0;
        for (size_t c = 0; c < requests[i].n_choices; c++) {
            n += a->choices[c].n_tokens;
            stopped += a->choices[c].reason == FINISH_STOP;
            by_length += a->choices[c].reason == FINISH_LENGTH;
            if (a->choices[c].reason == FINISH_LENGTH)
                assert_int_equal(a->choices[c].n_tokens,
                                 requests[i].no_answer ? 0 : requests[i].max_tokens);
            for (size_t s = 0; requests[i].min_tokens == 0 && s < requests[i].n_stops; s++)
                assert_null(strstr(a->choices[c].text, STOPS[s]));
        }
        assert_true(a->completion_tokens >= n && a->completion_tokens <= n + 40);
        assert_int_equal(a->seed, i);
    }
    assert_true(stopped > 2 && by_length > 2);
}

static void the_prefix_cache_is_reported(void **state)
{
    (void)state;
    struct engine *engine = open_engine((struct engine_options){.threads = 1});
    static struct answer first, second, other;
    struct job_request r = DEFAULTS;
    r.messages_json = "[{\"role\":\"user\",\"content\":\"a long enough prompt for more than one "
                      "block of thirty-two tokens, which it surely is by now\"}]";
    r.temperature = 0;
    ask(engine, &r, &first);
    ask(engine, &r, &second);
    assert_int_equal(first.cached_tokens, 0);
    assert_true(second.cached_tokens >= 32 && second.cached_tokens % 32 == 0);
    assert_true(second.cached_tokens < second.prompt_tokens);
    assert_true(same_answer(&first, &second));
    r.tenant[5] = 1;  // another API key does not see it
    ask(engine, &r, &other);
    assert_int_equal(other.cached_tokens, 0);
    assert_true(same_answer(&first, &other));
    engine_close(engine);
}

static void texts_and_ids(void **state)
{
    (void)state;
    struct engine *engine = open_engine((struct engine_options){.threads = 1});
    const struct job_event *event;
    struct job_request r = {.kind = JOB_RENDER,
                            .messages_json = "[{\"role\":\"user\",\"content\":\"hello </s>\"}]"};
    struct job *job = submit(engine, &r);
    while (!job_next_event(job, &event))
        usleep(100);
    assert_int_equal(event->type, EVENT_RENDERED);
    assert_string_equal(event->text, "<s><|user|>hello </s><|assistant|>");
    job_release(job);
    int32_t ids[64];
    size_t n_ids = 0;
    r = (struct job_request){.kind = JOB_TOKENIZE, .prompt = "hello\n</s>", .prompt_bytes = 10};
    for (int parse = 0; parse < 2; parse++) {
        r.parse_special = parse;
        job = submit(engine, &r);
        while (!job_next_event(job, &event))
            usleep(100);
        assert_int_equal(event->type, EVENT_TOKENS);
        n_ids = event->n_tokens;
        assert_true(n_ids > 2 && n_ids < 64);
        for (size_t i = 0; i < n_ids; i++)
            ids[i] = event->tokens[i].token;
        assert_int_equal(ids[0], TINY_CHAT_BOS);
        assert_int_equal(ids[n_ids - 1] == TINY_CHAT_EOS, parse);
        job_release(job);
    }
    r = (struct job_request){
        .kind = JOB_DETOKENIZE, .prompt_tokens = ids + 1, .n_prompt_tokens = n_ids - 2};
    job = submit(engine, &r);
    while (!job_next_event(job, &event))
        usleep(100);
    assert_int_equal(event->type, EVENT_RENDERED);
    assert_string_equal(event->text, "hello\n");
    job_release(job);
    engine_close(engine);
}

static void a_prompt_beyond_the_context_is_refused(void **state)
{
    (void)state;
    static struct answer answer;
    static char text[3000];
    struct engine *engine = open_engine((struct engine_options){.threads = 1, .ctx_size = 64});
    assert_int_equal(engine_info(engine)->ctx_size, 64);
    memset(text, 'q', sizeof text - 1);
    struct job_request r = DEFAULTS;
    r.kind = JOB_COMPLETION;
    r.prompt = text;
    r.prompt_bytes = sizeof text - 1;
    ask(engine, &r, &answer);
    assert_int_equal(answer.end, EVENT_REJECTED);
    assert_int_equal(answer.error.status, ERR_CONTEXT);
    assert_true(answer.prompt_tokens >= 3000);
    assert_non_null(strstr(answer.error.text, "64"));
    r.prompt_bytes = 30;
    r.max_tokens = 0;
    r.ignore_eos = true;
    ask(engine, &r, &answer);
    assert_int_equal(answer.end, EVENT_DONE);
    assert_int_equal(answer.prompt_tokens + answer.completion_tokens, 64);
    r.max_tokens = 64 - answer.prompt_tokens + 1;
    ask(engine, &r, &answer);
    assert_int_equal(answer.error.status, ERR_CONTEXT);
    assert_string_equal(answer.error.param, "max_tokens");
    engine_close(engine);
}

static void cancelling_in_every_phase(void **state)
{
    (void)state;
    struct engine *engine =
        open_engine((struct engine_options){.threads = 2, .parallel = 4, .prefill_chunk = 16});
    static char long_messages[1200];
    struct job_request r = DEFAULTS;
    memset(long_messages, 'x', sizeof long_messages - 1);
    memcpy(long_messages, "[{\"role\":\"user\",\"content\":\"", 27);
    memcpy(long_messages + 450, "\"}]", 4);
    r.messages_json = long_messages;
    r.max_tokens = 60;
    r.ignore_eos = true;
    size_t seen[4] = {0};
    for (int i = 0; i < 120; i++) {
        struct job *jobs[6];
        for (size_t k = 0; k < 6; k++)
            jobs[k] = submit(engine, &r);
        usleep((useconds_t)(i * 37 % 1000));
        while ((int)job_phase(jobs[0]) < i % 3)  // queued, prefill, decode
            usleep(50);
        for (size_t k = 0; k < 6; k++) {
            seen[job_phase(jobs[k])]++;
            if (k % 2 == 0)
                job_cancel(jobs[k]);
            job_release(jobs[k]);
        }
    }
    check_nothing_is_held(engine);
    engine_close(engine);
    print_message("  cancelled: %zu queued, %zu in prefill, %zu in decode, %zu ended\n", seen[0],
                  seen[1], seen[2], seen[3]);
    assert_true(seen[JOB_PHASE_QUEUED] > 0 && seen[JOB_PHASE_PREFILL] > 0 &&
                seen[JOB_PHASE_DECODE] > 0);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    struct engine *engine =
        open_engine((struct engine_options){.threads = 1, .parallel = 1, .queue_jobs_max = 3});
    struct job_request r = DEFAULTS;
    r.messages_json = messages[0];
    r.max_tokens = 400;
    r.ignore_eos = true;
    static struct job *jobs[500];
    size_t n_jobs = 0;
    enum status status = OK;
    struct error err = {0};
    struct engine_metrics m;
    while (n_jobs < 500 && status == OK) {
        if ((status = engine_submit(engine, &r, &jobs[n_jobs], &err)) == OK)
            n_jobs++;
        engine_metrics(engine, &m);
        assert_true(m.jobs_waiting <= 3);
    }
    assert_int_equal(status, ERR_BUSY);
    assert_true(n_jobs >= 3);
    for (size_t i = 0; i < n_jobs; i++)
        job_release(jobs[i]);
    check_nothing_is_held(engine);
    engine_close(engine);
}

static void draining_and_closing(void **state)
{
    (void)state;
    static struct answer answer;
    for (int round = 0; round < 6; round++) {
        struct engine *engine = open_engine((struct engine_options){.threads = 2, .parallel = 3});
        struct job *jobs[N_REQUESTS], *late;
        struct error err = {0};
        for (size_t i = 0; i < N_REQUESTS; i++)
            jobs[i] = submit(engine, &requests[i]);
        usleep((useconds_t)(round * 1500));
        engine_drain(engine);
        assert_int_equal(engine_state(engine), ENGINE_DRAINING);
        assert_int_equal(engine_submit(engine, &requests[0], &late, &err), ERR_SHUTDOWN);
        if (round % 2 == 0)  // what runs goes on
            for (size_t i = 0; i < N_REQUESTS; i++) {
                finish(jobs[i], &answer);
                assert_true(same_answer(&alone[0][i], &answer));
            }
        engine_close(engine);
        for (size_t i = 0; i < N_REQUESTS && round % 2 == 1; i++) {
            memset(&answer, 0, sizeof answer);
            assert_true(drain(jobs[i], &answer));
            assert_true(answer.end == EVENT_DONE || answer.error.status == ERR_SHUTDOWN);
            job_release(jobs[i]);
        }
    }
}

static void opening_can_fail(void **state)
{
    (void)state;
    struct engine *engine;
    struct job *job;
    struct error err = {0};
    assert_int_equal(engine_open(&engine, &(struct engine_options){0}, &err), ERR_INVALID);
    assert_string_equal(err.param, "model");
    struct engine_options options = {.model_path = "/nonexistent.gguf", .parallel = 1000000};
    err = (struct error){0};
    assert_int_equal(engine_open(&engine, &options, &err), ERR_INVALID);
    assert_string_equal(err.param, "parallel");
    options.parallel = 0;
    err = (struct error){0};
    assert_int_equal(engine_open(&engine, &options, &err), OK);
    assert_int_equal(engine_wait(engine, &err), ERR_NOT_FOUND);
    assert_int_equal(engine_state(engine), ENGINE_FAILED);
    assert_non_null(strstr(err.text, "/nonexistent.gguf"));
    err = (struct error){0};
    assert_int_equal(engine_submit(engine, &requests[0], &job, &err), ERR_NOT_FOUND);
    engine_close(engine);
    options.model_path = paths[0];
    options.kv_bytes = 100;
    err = (struct error){0};
    assert_int_equal(engine_open(&engine, &options, &err), OK);
    assert_int_equal(engine_wait(engine, &err), ERR_LIMIT);
    assert_string_equal(err.param, "kv_memory");
    engine_close(engine);
    options.kv_bytes = 0;
    options.kv_dir = paths[0];
    err = (struct error){0};
    assert_int_equal(engine_open(&engine, &options, &err), OK);
    assert_int_equal(engine_wait(engine, &err), ERR_INVALID);
    assert_string_equal(err.param, "kv_dir");
    engine_close(engine);
    options.no_prefix_cache = true;
    err = (struct error){0};
    assert_int_equal(engine_open(&engine, &options, &err), ERR_INVALID);
    assert_string_equal(err.param, "kv_dir");
    options.kv_dir = NULL;
    for (int i = 0; i < 10; i++) {  // closed while it loads
        assert_int_equal(engine_open(&engine, &options, &err), OK);
        usleep((useconds_t)(i * 300));
        engine_close(engine);
    }
}

/* Every allocation of open, submit and one chat fails once, in strides to keep the test short;
 * WICARA_FULL=1 takes each. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    static struct answer answer;
    size_t n_failed = 0, n_clean = 0;
    char folder[] = "/tmp/wicara-kv-XXXXXX";
    assert_non_null(mkdtemp(folder));
    uint64_t stride = getenv("WICARA_FULL") != NULL ? 1 : 13;
    struct job_request r = requests[0];
    for (uint64_t nth = 1; n_clean < 2; nth += nth < 60 ? 1 : stride) {
        struct engine_options options = {
            .model_path = paths[0], .threads = 1, .parallel = 2, .kv_dir = folder};
        struct engine *engine = NULL;
        struct job *job = NULL;
        struct error err = {0};
        mem_fault_set(nth, false);
        enum status status = engine_open(&engine, &options, &err);
        if (status == OK)
            status = engine_wait(engine, &err);
        if (status == OK)
            status = engine_submit(engine, &r, &job, &err);
        if (status == OK) {
            finish(job, &answer);
            status = answer.error.status;
            if (answer.end == EVENT_DONE)
                assert_true(same_answer(&alone[0][0], &answer));
        }
        bool was_reached = mem_fault_count() >= nth;
        mem_fault_set(0, false);
        engine_close(engine);
        if (status != OK && status != ERR_MEMORY)
            fail_msg("allocation %llu: %s (%s)", (unsigned long long)nth, status_name(status),
                     err.text[0] != '\0' ? err.text : answer.error.text);
        n_failed += status != OK;
        n_clean += !was_reached;
    }
    remove_folder(folder);
    assert_true(n_failed > 50);
}

static void a_real_model_answers(void **state)
{
    (void)state;
    static struct answer answer, again;
    const char *path = getenv("WICARA_TEST_MODEL");
    if (path == NULL) {
        print_message("  skipped: WICARA_TEST_MODEL does not name a chat model\n");
        skip();
    }
    struct engine *engine = open_engine((struct engine_options){.model_path = path});
    struct job_request r = DEFAULTS;
    r.messages_json = "[{\"role\":\"user\",\"content\":\"Name the capital of France.\"}]";
    r.temperature = 0;
    r.max_tokens = 24;
    ask(engine, &r, &answer);
    print_message("  %s: %s\n", engine_info(engine)->model_id, answer.choices[0].text);
    assert_int_equal(answer.end, EVENT_DONE);
    assert_non_null(strstr(answer.choices[0].text, "Paris"));
    ask(engine, &r, &again);
    assert_true(same_answer(&answer, &again));
    engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_request_same_bytes),
        cmocka_unit_test(spilled_kv_changes_nothing),
        cmocka_unit_test(windows_make_the_pool_smaller),
        cmocka_unit_test(preemption_changes_nothing),
        cmocka_unit_test(every_level_gives_the_same_bytes),
        cmocka_unit_test(numerics_classes),
        cmocka_unit_test(usage_and_reasons_are_right),
        cmocka_unit_test(the_prefix_cache_is_reported),
        cmocka_unit_test(texts_and_ids),
        cmocka_unit_test(a_prompt_beyond_the_context_is_refused),
        cmocka_unit_test(cancelling_in_every_phase),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(draining_and_closing),
        cmocka_unit_test(opening_can_fail),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_real_model_answers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
