/* The scheduler with all its threads over a false model (fake_model.h) and the real cache.
 *
 * The main property: the answer to a request (ids, bits of the log-probabilities, text, how it
 * ended) is the same alone and in any company, chunking, pool size and prefix cache. Then:
 * cancelling at any moment leaves no block behind, slow readers pause themselves only, closing ends
 * every job once, and no failed allocation leaks or lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/rng.h"
#include "engine/cache/sequence.h"
#include "engine/scheduler/scheduler.h"
#include "engine/scheduler/text_pool.h"
#include "tests/engine/scheduler/fake_model.h"

struct setting {
    int32_t n_blocks, parallel, chunk;
    size_t threads;
    bool prefix_cache;
    int32_t drafts;
    const char *kv_dir;
};
static const struct setting ROOMY = {2000, 1, 1000, 1, false, 0, NULL};

struct world {
    struct model model;
    struct tokenizer tokenizer;
    struct metrics metrics;
    struct wakeup *wakeup;
    struct pool *pool;
    struct kv_cache *cache;
    struct kv_spill *spill;
    struct prepare prepare;
    struct scheduler *scheduler;
    struct text_pool *text_pool;
    pthread_t thread;
};

static void wake(void *wakeup)
{
    wakeup_signal(wakeup);
}

static void open_spill(struct world *w, const char *kv_dir)
{
    struct kv_store *store;
    size_t bytes = kv_group_block_bytes(&kv_cache_layout(w->cache)->groups[0]);
    assert_int_equal(kv_store_open(&store, kv_dir, 1 << 24, NULL), OK);
    assert_int_equal(kv_spill_open_take(&w->spill, store, bytes, wake, w->wakeup, NULL), OK);
    kv_cache_set_spill(w->cache, w->spill);
}

static void *run(void *context)
{
    scheduler_run(context);
    return NULL;
}

static void open_world(struct world *w, struct setting setting)
{
    memset(w, 0, sizeof *w);
    w->model.info.n_vocab = FAKE_VOCAB;
    atomic_init(&w->model.nan_token, -1);
    fake_tokenizer_init(&w->tokenizer);
    metrics_init(&w->metrics);
    w->wakeup = wakeup_create();
    assert_non_null(w->wakeup);
    assert_int_equal(pool_create(&w->pool, setting.threads, NULL), OK);
    struct kv_layout layout = {.groups = {{.n_layers = 1, .n_kv_heads = 1, .head_dim = 16}},
                               .n_groups = 1};
    size_t n_blocks[KV_GROUPS_MAX] = {(size_t)setting.n_blocks};
    uint8_t root[SHA256_BYTES] = {3};
    assert_int_equal(
        kv_cache_create(&w->cache, &layout, n_blocks, root, setting.prefix_cache, NULL), OK);
    if (setting.kv_dir != NULL)
        open_spill(w, setting.kv_dir);
    w->prepare = (struct prepare){
        .tokenizer = &w->tokenizer,
        .chat_prompt = (const struct chat_prompt *)w,
        .n_vocab = FAKE_VOCAB,
        .ctx_size = 1000,
        .limits = {.n_blocks = setting.n_blocks,
                   .block_tokens = KV_TOKENS_PER_BLOCK,
                   .sequences_max = setting.parallel,
                   .prefill_rows_max = setting.chunk,
                   .headroom_blocks = 0,
                   .draft_rows_max = setting.drafts},
    };
    struct scheduler_parts parts = {.model = &w->model,
                                    .pool = w->pool,
                                    .cache = w->cache,
                                    .spill = w->spill,
                                    .tokenizer = &w->tokenizer,
                                    .metrics = &w->metrics,
                                    .wakeup = w->wakeup,
                                    .limits = w->prepare.limits};
    assert_int_equal(scheduler_create(&w->scheduler, &parts, NULL), OK);
    assert_int_equal(text_pool_create(&w->text_pool, &w->prepare, w->scheduler, &w->metrics, NULL),
                     OK);
    assert_int_equal(pthread_create(&w->thread, NULL, run, w->scheduler), 0);
}

static void close_world(struct world *w)
{
    text_pool_free(w->text_pool);
    scheduler_stop(w->scheduler);
    pthread_join(w->thread, NULL);
    assert_int_equal(w->metrics.jobs, 0);
    assert_int_equal(w->metrics.jobs_waiting, 0);
    assert_true(kv_cache_is_sane(w->cache));
    assert_int_equal(kv_cache_blocks_free(w->cache, 0), kv_cache_blocks(w->cache, 0));
    scheduler_free(w->scheduler);
    kv_cache_flush(w->cache, INT64_MAX);
    kv_cache_free(w->cache);
    kv_spill_close(w->spill);
    pool_free(w->pool);
    wakeup_unref(w->wakeup);
}

/* ---- requests and answers ---- */

enum { ANSWER_TOKENS_MAX = 2000, ANSWER_TEXT_MAX = 6000 };

struct answer {
    enum job_event_type end;
    enum status status;
    size_t prompt_tokens, completion_tokens, n_events;
    struct {
        int32_t ids[ANSWER_TOKENS_MAX];
        float logprobs[ANSWER_TOKENS_MAX];
        size_t n_tokens;
        char text[ANSWER_TEXT_MAX];
        size_t n_bytes;
        bool is_finished;
        enum finish_reason reason;
        char stop[16];
    } choices[ENGINE_CHOICES_MAX];
};

static void take_event(struct answer *answer, const struct job_event *event)
{
    assert_true(answer->end == EVENT_TEXT);  // nothing comes after the last event
    if (answer->n_events++ == 0)
        assert_true(event->type == EVENT_PREPARED || event->type == EVENT_REJECTED);
    switch (event->type) {
    case EVENT_PREPARED:
        answer->prompt_tokens = event->prompt_tokens;
        break;
    case EVENT_TEXT:
        assert_false(answer->choices[event->choice].is_finished);
        assert_true(answer->choices[event->choice].n_bytes + event->n_bytes < ANSWER_TEXT_MAX);
        memcpy(answer->choices[event->choice].text + answer->choices[event->choice].n_bytes,
               event->text, event->n_bytes);
        answer->choices[event->choice].n_bytes += event->n_bytes;
        for (size_t i = 0; i < event->n_tokens; i++) {
            size_t n = answer->choices[event->choice].n_tokens++;
            assert_true(n < ANSWER_TOKENS_MAX);
            answer->choices[event->choice].ids[n] = event->tokens[i].token;
            answer->choices[event->choice].logprobs[n] = event->tokens[i].logprob;
        }
        break;
    case EVENT_FINISHED:
        assert_false(answer->choices[event->choice].is_finished);
        answer->choices[event->choice].is_finished = true;
        answer->choices[event->choice].reason = event->finish_reason;
        snprintf(answer->choices[event->choice].stop, 16, "%s", event->stop ? event->stop : "");
        break;
    case EVENT_DONE:
        assert_int_equal(answer->prompt_tokens, event->prompt_tokens);
        answer->completion_tokens = event->completion_tokens;
        answer->end = EVENT_DONE;
        break;
    default:
        answer->status = event->error.status;
        answer->end = event->type;
        break;
    }
}

static void start_answer(struct answer *answer)
{
    memset(answer, 0, sizeof *answer);
    answer->end = EVENT_TEXT;
}

/* True when the job has ended. */
static bool drain(struct job *job, struct answer *answer)
{
    const struct job_event *event;
    while (job_next_event(job, &event))
        take_event(answer, event);
    return answer->end != EVENT_TEXT;
}

static void finish(struct job *job, struct answer *answer)
{
    int64_t deadline = clock_ns() + (int64_t)60 * 1000000000;
    while (!drain(job, answer)) {
        assert_true(clock_ns() < deadline);
        usleep(100);
    }
    job_release(job);
}

static struct job *submit(struct world *w, const struct job_request *request)
{
    struct job *job;
    assert_int_equal(job_create(&job, request, w->wakeup, NULL), OK);
    job->is_waiting = true;
    atomic_fetch_add(&w->metrics.jobs_waiting, 1);
    atomic_fetch_add(&w->metrics.jobs, 1);
    text_pool_add_take(w->text_pool, job);
    return job;
}

static const char *const STOPS[] = {"ab", "k", "zzzz"};
static char prompts[64][400];

static struct job_request make_request(uint32_t i)
{
    uint32_t draw = 0;
#define BELOW(n) ((size_t)(rng_bits(5, i, 0, draw++) % (n)))
    size_t n_shared = BELOW(100), n_own = 1 + BELOW(60);
    for (size_t k = 0; k < n_shared; k++)
        prompts[i][k] = (char)('a' + k % 17);
    for (size_t k = 0; k < n_own; k++)
        prompts[i][n_shared + k] = (char)('a' + BELOW(26));
    prompts[i][n_shared + n_own] = '\0';
    struct job_request r = {
        .kind = i % 2 == 0 ? JOB_COMPLETION : JOB_CHAT,
        .messages_json = prompts[i],
        .prompt = prompts[i],
        .prompt_bytes = n_shared + n_own,
        .max_tokens = 1 + BELOW(120),
        .n_choices = BELOW(4) == 0 ? 1 + BELOW(3) : 1,
        .temperature = BELOW(3) == 0 ? 0 : 0.8f,
        .top_p = BELOW(2) == 0 ? 1 : 0.9f,
        .repetition_penalty = BELOW(3) == 0 ? 1.2f : 1,
        .presence_penalty = BELOW(3) == 0 ? 0.5f : 0,
        .has_seed = true,
        .seed = i,
        .ignore_eos = BELOW(3) == 0,
        .stops = STOPS,
        .n_stops = BELOW(4),
        .top_logprobs = (int32_t)BELOW(4) - 1,
    };
    r.tenant[0] = (uint8_t)BELOW(3);
#undef BELOW
    return r;
}

enum { N_REQUESTS = 48 };
static struct job_request requests[N_REQUESTS];
static struct answer alone[N_REQUESTS], together[N_REQUESTS];

static int answer_all_alone(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, (struct setting){2000, 3, 1000, 1, false, 0, NULL});
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        requests[i] = make_request(i);
        start_answer(&alone[i]);
        finish(submit(&w, &requests[i]), &alone[i]);
    }
    close_world(&w);
    return 0;
}

static bool same_answer(const struct answer *a, const struct answer *b)
{
    if (a->end != b->end || a->completion_tokens != b->completion_tokens)
        return false;
    for (size_t c = 0; c < ENGINE_CHOICES_MAX; c++) {
        size_t n = a->choices[c].n_tokens;
        if (n != b->choices[c].n_tokens || a->choices[c].n_bytes != b->choices[c].n_bytes ||
            memcmp(a->choices[c].ids, b->choices[c].ids, n * sizeof(int32_t)) != 0 ||
            memcmp(a->choices[c].logprobs, b->choices[c].logprobs, n * sizeof(float)) != 0 ||
            memcmp(a->choices[c].text, b->choices[c].text, a->choices[c].n_bytes) != 0 ||
            a->choices[c].reason != b->choices[c].reason ||
            strcmp(a->choices[c].stop, b->choices[c].stop) != 0)
            return false;
    }
    return true;
}

static void answers_are_complete(void **state)
{
    (void)state;
    size_t stopped = 0, by_length = 0, by_string = 0, several = 0;
    for (size_t i = 0; i < N_REQUESTS; i++) {
        assert_int_equal(alone[i].end, EVENT_DONE);
        assert_int_equal(alone[i].prompt_tokens, requests[i].prompt_bytes);
        several += requests[i].n_choices > 1;
        size_t n_tokens = 0;
        for (size_t c = 0; c < requests[i].n_choices; c++) {
            assert_true(alone[i].choices[c].is_finished);
            stopped += alone[i].choices[c].reason == FINISH_STOP;
            by_length += alone[i].choices[c].reason == FINISH_LENGTH;
            by_string += alone[i].choices[c].stop[0] != '\0';
            n_tokens += alone[i].choices[c].n_tokens;
            // No stop string in the text; the text is that of the tokens, or its beginning.
            for (size_t s = 0; s < requests[i].n_stops; s++)
                assert_null(strstr(alone[i].choices[c].text, STOPS[s]));
            if (alone[i].choices[c].reason == FINISH_LENGTH)
                assert_int_equal(alone[i].choices[c].n_tokens, requests[i].max_tokens);
        }
        assert_true(n_tokens <= alone[i].completion_tokens);
    }
    assert_true(stopped > 15 && by_length > 15 && by_string > 5 && several > 3);
    // Several choices are what n = 1 would give for the first, and differ from each other.
    struct world w;
    open_world(&w, ROOMY);
    for (size_t i = 0; i < N_REQUESTS; i++) {
        if (requests[i].n_choices == 1)
            continue;
        struct job_request single = requests[i];
        static struct answer answer;
        single.n_choices = 1;
        start_answer(&answer);
        finish(submit(&w, &single), &answer);
        assert_string_equal(answer.choices[0].text, alone[i].choices[0].text);
        if (single.temperature > 0 && single.max_tokens > 8)
            assert_string_not_equal(alone[i].choices[0].text, alone[i].choices[1].text);
    }
    close_world(&w);
}

struct totals {
    uint64_t preemptions, hits, drafts, right, reloads, damaged;
};

static void answer_together(struct setting setting, struct totals *totals)
{
    struct world w;
    struct job *jobs[N_REQUESTS];
    open_world(&w, setting);
    for (size_t i = 0; i < N_REQUESTS; i++) {
        jobs[i] = submit(&w, &requests[i]);
        start_answer(&together[i]);
    }
    size_t refused = 0;
    for (size_t i = 0; i < N_REQUESTS; i++) {
        finish(jobs[i], &together[i]);
        refused += together[i].end == EVENT_REJECTED;
        if (together[i].end != EVENT_REJECTED && !same_answer(&alone[i], &together[i]))
            fail_msg("%d blocks, %d drafts, request %zu: another answer in company",
                     (int)setting.n_blocks, (int)setting.drafts, i);
    }
    assert_true(refused < N_REQUESTS / 3);
    totals->preemptions += w.metrics.preemptions;
    totals->hits += w.metrics.prefix_hits;
    totals->drafts += w.metrics.draft_tokens;
    totals->right += w.metrics.draft_tokens_accepted;
    totals->reloads += w.metrics.kv_blocks_reloaded;
    totals->damaged += w.metrics.kv_blocks_damaged;
    close_world(&w);
}

static bool has_guessed(const struct totals *totals)
{
    return totals->right > 200 && totals->drafts > totals->right + 100;
}

static void company_changes_nothing(void **state)
{
    (void)state;
    static const struct setting settings[] = {
        {2000, 16, 512, 1, false, 0, NULL}, {12, 4, 16, 2, true, 0, NULL},
        {10, 8, 7, 3, false, 0, NULL},      {14, 8, 64, 2, true, 0, NULL},
        {9, 3, 1, 1, true, 0, NULL},        {2000, 3, 512, 1, true, 32, NULL},
        {12, 3, 16, 2, true, 5, NULL},      {10, 3, 7, 3, false, 32, NULL},
        {9, 3, 1, 1, true, 2, NULL},
    };
    struct totals totals = {0};
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++)
        answer_together(settings[k], &totals);
    assert_true(totals.preemptions > 5);
    assert_true(totals.hits > 500);
    // Whether guessing pays is measured, so a busy machine may want another round.
    for (int i = 0; i < 40 && !has_guessed(&totals); i++)
        answer_together(settings[5], &totals);
    assert_true(has_guessed(&totals));
}

/* ---- KV that has spilled ---- */

static char kv_dir[64];

static int make_kv_dir(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    snprintf(kv_dir, sizeof kv_dir, "/tmp/wicara-kv-XXXXXX");
    return mkdtemp(kv_dir) == NULL;
}

/* Every file that `nth` divides: bits of it flipped, cut short, removed; all with nth 0 go. */
static size_t spoil(size_t nth)
{
    size_t n_files = 0;
    DIR *folder = opendir(kv_dir);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", kv_dir, entry->d_name);
        if (entry->d_name[0] == '.' || (nth > 0 && n_files++ % nth != 0))
            continue;
        FILE *file = n_files % 3 == 0 ? fopen(path, "r+b") : NULL;
        if (nth == 0 || (n_files % 3 == 1)) {
            (void)unlink(path);
        } else if (file != NULL) {
            fseek(file, 192 + 8, SEEK_SET);  // the second cell
            fputc(0x5a, file);
            fputc(0xa5, file);
        } else {
            (void)!truncate(path, 300);
        }
        if (file != NULL)
            fclose(file);
    }
    closedir(folder);
    return n_files;
}

static int remove_kv_dir(void **state)
{
    (void)state;
    spoil(0);
    return rmdir(kv_dir);
}

/* In a pool that spills all the time, over restarts, and with files that went bad meanwhile. */
static void spilled_kv_changes_nothing(void **state)
{
    (void)state;
    struct totals totals = {0};
    const struct setting settings[] = {
        {12, 4, 16, 2, true, 0, kv_dir},    {2000, 16, 512, 1, true, 0, kv_dir},
        {14, 8, 64, 2, true, 8, kv_dir},    {9, 3, 1, 1, true, 0, kv_dir},
        {2000, 3, 512, 1, true, 8, kv_dir},
    };
    for (size_t k = 0; k < 2 * sizeof settings / sizeof *settings; k++) {
        answer_together(settings[k / 2], &totals);
        assert_true(spoil(7) > 20);
    }
    assert_true(totals.reloads > 50);
    assert_true(totals.damaged > 5);
}

/* A job that waits for its KV is cancelled, and the server closed, at any moment. */
static void waiting_for_kv_can_be_cancelled(void **state)
{
    (void)state;
    struct totals totals = {0};
    answer_together((struct setting){2000, 16, 512, 1, true, 0, kv_dir}, &totals);
    uint32_t draw = 0;
    for (int round = 0; round < 30; round++) {
        struct world w;
        struct job *jobs[N_REQUESTS];
        open_world(&w, (struct setting){round % 2 ? 40 : 16, 4, 8, 1, true, 0, kv_dir});
        for (size_t i = 0; i < N_REQUESTS; i++)
            jobs[i] = submit(&w, &requests[i]);
        for (size_t i = 0; i < N_REQUESTS; i++) {
            if (rng_bits(9, 0, 1, draw++) % 4 == 0)
                usleep((useconds_t)(rng_bits(9, 0, 1, draw++) % 300));
            if (round % 3 != 0)
                job_cancel(jobs[i]);
        }
        close_world(&w);
        for (size_t i = 0; i < N_REQUESTS; i++)
            job_release(jobs[i]);
    }
}

static void cancelling_leaves_nothing(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, (struct setting){16, 4, 8, 2, true, 8, NULL});
    w.model.step_us = 200;
    uint32_t draw = 0;
    for (int round = 0; round < 12; round++) {
        struct job *jobs[N_REQUESTS];
        for (size_t i = 0; i < N_REQUESTS; i++)
            jobs[i] = submit(&w, &requests[i]);
        for (size_t i = 0; i < N_REQUESTS; i++) {
            size_t k = (i * 29 + 7) % N_REQUESTS;  // N_REQUESTS and 29 have no common divisor
            if (rng_bits(9, 0, 0, draw++) % 3 == 0)
                usleep((useconds_t)(rng_bits(9, 0, 0, draw++) % 3000));
            const struct job_event *event;
            (void)job_next_event(jobs[k], &event);
            job_cancel(jobs[k]);
            assert_false(job_next_event(jobs[k], &event));
            job_release(jobs[k]);
        }
    }
    // The next request is served as if nothing had been.
    static struct answer answer;
    start_answer(&answer);
    finish(submit(&w, &requests[3]), &answer);
    assert_true(same_answer(&alone[3], &answer));
    close_world(&w);
    assert_true(w.metrics.finished_cancelled > 100);
}

static void a_step_that_nobody_wants_is_abandoned(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, (struct setting){100, 4, 64, 1, true, 8, NULL});
    struct job_request r = requests[0];
    r.max_tokens = 500;
    r.ignore_eos = true;
    r.n_stops = 0;
    for (int i = 0; i < 5; i++) {
        w.model.step_us = 100;
        struct job *job = submit(&w, &r);
        while (job_phase(job) != JOB_PHASE_DECODE)
            usleep(100);
        w.model.step_us = 40000;
        usleep(1000);
        job_release(job);
    }
    while (w.metrics.jobs > 0)
        usleep(100);
    close_world(&w);
    assert_true(w.model.n_abandoned >= 3);
}

static void a_slow_reader_pauses_itself_only(void **state)
{
    (void)state;
    static struct answer slow_answer, answer;
    struct world w;
    open_world(&w, (struct setting){200, 4, 64, 2, true, 8, NULL});
    struct job_request r = requests[0];
    r.max_tokens = 800;
    r.ignore_eos = true;
    r.n_stops = 0;
    r.n_choices = 1;
    r.top_logprobs = 3;
    struct job *slow = submit(&w, &r);
    uint64_t before;
    do {  // until it stands still
        before = w.metrics.generation_tokens;
        usleep(30000);
    } while (w.metrics.generation_tokens != before || before == 0);
    assert_true(before < 800);
    uint64_t steps = w.model.n_steps;
    usleep(30000);
    assert_int_equal(w.model.n_steps, steps);  // and costs nothing meanwhile
    start_answer(&answer);
    finish(submit(&w, &requests[1]), &answer);
    assert_true(same_answer(&alone[1], &answer));
    start_answer(&slow_answer);
    finish(slow, &slow_answer);
    assert_int_equal(slow_answer.choices[0].n_tokens, 800);
    static struct answer again;
    start_answer(&again);
    finish(submit(&w, &r), &again);
    assert_true(same_answer(&slow_answer, &again));
    close_world(&w);
}

static void closing_ends_every_job_once(void **state)
{
    (void)state;
    for (int round = 0; round < 8; round++) {
        struct world w;
        struct job *jobs[N_REQUESTS];
        open_world(&w, (struct setting){14, 4, 8, 2, true, 8, NULL});
        w.model.step_us = 300;
        for (size_t i = 0; i < N_REQUESTS; i++)
            jobs[i] = submit(&w, &requests[i]);
        usleep((useconds_t)(round * 2000));
        close_world(&w);
        for (size_t i = 0; i < N_REQUESTS; i++) {
            start_answer(&together[i]);
            assert_true(drain(jobs[i], &together[i]));
            assert_true(together[i].end == EVENT_DONE || together[i].status == ERR_SHUTDOWN ||
                        together[i].status == ERR_CONTEXT);
            job_release(jobs[i]);
        }
    }
}

static void a_bad_row_fails_its_own_job(void **state)
{
    (void)state;
    static struct answer answer;
    struct world w;
    open_world(&w, (struct setting){100, 8, 64, 2, false, 8, NULL});
    struct job *jobs[6];
    struct job_request bad = requests[0];
    bad.prompt = "good start and then ~";  // '~' is a token that no generation here meets
    bad.prompt_bytes = strlen(bad.prompt);
    bad.kind = JOB_COMPLETION;
    w.model.nan_token = 2 + '~' % (FAKE_VOCAB - 2);
    size_t n_failed = 0;
    for (size_t i = 0; i < 6; i++)
        jobs[i] = submit(&w, i == 2 ? &bad : &requests[i]);
    for (size_t i = 0; i < 6; i++) {
        start_answer(&answer);
        finish(jobs[i], &answer);
        if (answer.end == EVENT_FAILED) {
            assert_int_equal(answer.status, ERR_INTERNAL);
            n_failed++;
        } else {
            assert_true(same_answer(&alone[i], &answer));
        }
        assert_true(i != 2 || answer.end == EVENT_FAILED);
    }
    close_world(&w);
    assert_true(n_failed >= 1 && n_failed < 6);
}

/* Without the penalty the favoured token would be drawn each time. */
static void generated_tokens_count_for_penalties(void **state)
{
    (void)state;
    static struct answer answer;
    static const struct job_logit_bias favour[] = {{9, 7}};
    struct world w;
    open_world(&w, ROOMY);
    w.model.has_no_habits = true;
    struct job_request r = requests[0];
    r.temperature = 0;
    r.ignore_eos = true;
    r.n_stops = 0;
    r.n_choices = 1;
    r.max_tokens = 12;
    r.repetition_penalty = 1;
    r.presence_penalty = 0;
    r.logit_bias = favour;
    r.n_logit_bias = 1;
    for (int is_on = 0; is_on < 2; is_on++) {
        r.frequency_penalty = is_on ? 2 : 0;
        start_answer(&answer);
        finish(submit(&w, &r), &answer);
        size_t n_favoured = 0;
        for (size_t i = 0; i < answer.choices[0].n_tokens; i++)
            n_favoured += answer.choices[0].ids[i] == 9;
        assert_int_equal(answer.choices[0].ids[0], 9);
        assert_true(is_on ? n_favoured < 6 : n_favoured == 12);
    }
    close_world(&w);
}

struct listener {
    _Atomic bool is_gone;
    _Atomic int calls;
};

static void slow_listener(void *user)
{
    struct listener *listener = user;
    usleep(1000);
    assert_false(listener->is_gone);
    listener->calls++;
}

/* After job_release() returns, on_ready is not running and will not be called. */
static void released_jobs_are_silent(void **state)
{
    (void)state;
    struct world w;
    static struct listener listeners[40];
    open_world(&w, (struct setting){100, 4, 64, 1, true, 8, NULL});
    for (size_t i = 0; i < 40; i++) {
        struct job_request r = requests[i % N_REQUESTS];
        listeners[i] = (struct listener){0};
        r.on_ready = slow_listener;
        r.user = &listeners[i];
        struct job *job = submit(&w, &r);
        usleep((useconds_t)(i * 97 % 3000));
        job_release(job);
        listeners[i].is_gone = true;
    }
    close_world(&w);
}

struct refusal {
    const char *name;
    enum status status;
    const char *param;
    struct job_request request;
};

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, (struct setting){20, 4, 64, 1, false, 0, NULL});
    static char big[1200];
    memset(big, 'x', sizeof big - 1);
    static const struct job_logit_bias outside[] = {{3, 1}, {FAKE_VOCAB, 1}};
    static const int32_t bad_ids[] = {3, -1};
    const struct job_request base = {.kind = JOB_COMPLETION,
                                     .prompt = "abc",
                                     .prompt_bytes = 3,
                                     .n_choices = 1,
                                     .top_p = 1,
                                     .repetition_penalty = 1,
                                     .top_logprobs = -1};
    struct refusal cases[] = {
        {"empty", ERR_INVALID, "prompt", base},
        {"context", ERR_CONTEXT, "prompt", base},
        {"max_tokens", ERR_CONTEXT, "max_tokens", base},
        {"pool", ERR_CONTEXT, "prompt", base},
        {"pool and max_tokens", ERR_CONTEXT, "max_tokens", base},
        {"n", ERR_LIMIT, "n", base},
        {"logit_bias", ERR_INVALID, "logit_bias", base},
        {"ids", ERR_INVALID, "prompt", base},
        {"messages", ERR_INVALID, "messages", base},
    };
    cases[0].request.prompt_bytes = 0;
    cases[1].request.prompt = big;
    cases[1].request.prompt_bytes = 1000;
    cases[2].request.max_tokens = 998;
    cases[3].request.prompt = big;
    cases[3].request.prompt_bytes = 641;  // the pool holds 640
    cases[4].request.max_tokens = 639;
    cases[5].request.n_choices = 5;
    cases[6].request.logit_bias = outside;
    cases[6].request.n_logit_bias = 2;
    cases[7].request.prompt_tokens = bad_ids;
    cases[7].request.n_prompt_tokens = 2;
    cases[8].request.kind = JOB_CHAT;
    cases[8].request.messages_json = "";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job *job = submit(&w, &cases[i].request);
        const struct job_event *event;
        while (!job_next_event(job, &event))
            usleep(100);
        if (event->type != EVENT_REJECTED || event->error.status != cases[i].status ||
            strcmp(event->error.param, cases[i].param) != 0)
            fail_msg("%s: event %d, status %s, param \"%s\": %s", cases[i].name, event->type,
                     status_name(event->error.status), event->error.param, event->error.text);
        assert_true(strlen(event->error.text) > 10);
        job_release(job);
    }
    // One token less is served, up to the pool's last block.
    struct job_request last = base;
    static struct answer answer;
    last.max_tokens = 638;
    last.ignore_eos = true;
    start_answer(&answer);
    finish(submit(&w, &last), &answer);
    assert_int_equal(answer.end, EVENT_DONE);
    assert_int_equal(answer.completion_tokens, 638);
    last.max_tokens = 0;  // as far as there is room
    start_answer(&answer);
    finish(submit(&w, &last), &answer);
    assert_int_equal(answer.completion_tokens, 638);
    close_world(&w);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static struct answer answer;
    const struct job_request *request = NULL;
    const struct answer *want = NULL;
    for (size_t i = 0; i < N_REQUESTS && request == NULL; i++)
        if (requests[i].n_choices > 1 && requests[i].top_logprobs > 0) {
            request = &requests[i];
            want = &alone[i];
        }
    assert_non_null(request);
    size_t n_failed = 0;
    for (uint64_t nth = 1, n_clean = 0; n_clean < 3; nth++) {
        struct world w;
        struct job *job;
        struct error err = {0};
        open_world(&w, (struct setting){40, 4, 16, 1, true, 8, NULL});
        mem_fault_set(nth, false);
        if (job_create(&job, request, w.wakeup, &err) == OK) {
            job->is_waiting = true;
            atomic_fetch_add(&w.metrics.jobs_waiting, 1);
            atomic_fetch_add(&w.metrics.jobs, 1);
            text_pool_add_take(w.text_pool, job);
            start_answer(&answer);
            finish(job, &answer);
            if (answer.end == EVENT_DONE)
                assert_true(same_answer(want, &answer));
            else
                assert_int_equal(answer.status, ERR_MEMORY);
            n_failed += answer.end != EVENT_DONE;
        } else {
            assert_int_equal(err.status, ERR_MEMORY);
            n_failed++;
        }
        n_clean += mem_fault_count() < nth;
        mem_fault_set(0, false);
        close_world(&w);
    }
    assert_true(n_failed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_complete),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test_setup_teardown(spilled_kv_changes_nothing, make_kv_dir, remove_kv_dir),
        cmocka_unit_test_setup_teardown(waiting_for_kv_can_be_cancelled, make_kv_dir,
                                        remove_kv_dir),
        cmocka_unit_test(cancelling_leaves_nothing),
        cmocka_unit_test(a_step_that_nobody_wants_is_abandoned),
        cmocka_unit_test(a_slow_reader_pauses_itself_only),
        cmocka_unit_test(closing_ends_every_job_once),
        cmocka_unit_test(a_bad_row_fails_its_own_job),
        cmocka_unit_test(generated_tokens_count_for_penalties),
        cmocka_unit_test(released_jobs_are_silent),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, answer_all_alone, NULL);
}
