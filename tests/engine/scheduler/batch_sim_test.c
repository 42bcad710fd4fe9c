/* The planner and the paged KV cache under simulated load, against a hash oracle.
 *
 * The real batch.c and the real cache run here; only the model is false. The "KV" of a token is a
 * hash of (cell before it, token, position, tenant), written into the K bytes of its block, and the
 * next token is a hash over all cells of the sequence as its block table shows them. So one stale,
 * foreign, missing or misplaced cell changes the output, which is compared with the output of the
 * same request computed alone (I5, I3, I10 of the invariants below).
 *
 * Guessed tokens come from that lone answer, some of them spoilt: right ones must shorten the way,
 * wrong ones must leave no trace in tokens or blocks.
 *
 * After every step: I1 the cache's references equal a recount, within the planner's account; I8 a
 * step's rows and sequences stay within the limits, and a planned step always finds its blocks; I7
 * the oldest unpaused job advances, and all ends within a bound of steps; I6 a cancelled job holds
 * nothing in the next plan. At the end: I9 each job had exactly one end, no block is lost. I12: a
 * seed gives the same trace twice.
 * WICARA_SIM_SEEDS sets the number of seeds, WICARA_SIM_FIRST the first one (to replay one). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/sequence.h"
#include "engine/scheduler/batch.h"

enum {
    JOBS_MAX = 24,
    PROMPT_MAX = 150,
    NEW_MAX = 120,
    TOKENS_MAX = PROMPT_MAX + NEW_MAX,
    CHOICES = 4,
    VOCAB = 300,
    DRAFTS_MAX = 8,
    END_TOKEN = 7,  // one draw in three hundred ends a choice early
};

struct sim_job {
    int32_t prompt[PROMPT_MAX];
    int32_t n_prompt, n_new_max, n_choices;
    uint8_t tenant;
    int32_t arrives, cancels, pauses, resumes;  // steps; 0 = never
    bool is_known, is_over;                     // arrived; its one end is past
    int32_t n_ends;
    struct sequence *sequences[CHOICES];
    int32_t tokens[CHOICES][TOKENS_MAX];
    int32_t n_tokens[CHOICES];
    int32_t answers[CHOICES][TOKENS_MAX];  // the same request alone
    int32_t n_answers[CHOICES];
    bool ended[CHOICES];
};

struct sim {
    uint64_t seed;
    uint32_t n_draws;
    struct batch batch;
    struct kv_cache *cache;
    struct sim_job jobs[JOBS_MAX];
    int32_t n_jobs, n_left, step;
    uint64_t trace;
    uint64_t n_preemptions, n_forked_preempted, n_matched, n_forks, n_rows, n_lost;
    uint64_t n_drafted, n_accepted;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9E3779B97F4A7C15u + b + 0x7F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 32;
    return x;
}

static int32_t below(struct sim *sim, int32_t n)
{
    return (int32_t)(rng_bits(sim->seed, 0, 0, sim->n_draws++) % (uint64_t)n);
}

/* ---- the false model ---- */

static uint64_t cell_of(uint64_t before, int32_t token, int32_t position, uint8_t tenant)
{
    return mix(mix(before, (uint64_t)token), (uint64_t)position << 8 | tenant);
}

static int32_t token_of(uint64_t digest, uint32_t choice)
{
    return (int32_t)(mix(digest, choice) % VOCAB);
}

static uint64_t *cell_at(const struct sim *sim, const struct sequence *sequence, int32_t position)
{
    size_t n_blocks;
    const int32_t *blocks = sequence_blocks(sequence, 0, &n_blocks);
    size_t i = (size_t)position / KV_TOKENS_PER_BLOCK;
    assert_true(i < n_blocks);
    uint64_t *cells = (uint64_t *)(void *)kv_cache_k(sim->cache, 0, blocks[i], 0, 0);
    return cells + position % KV_TOKENS_PER_BLOCK;
}

/* Runs the rows; digests[d] is of the cells up to the last known token and d guessed ones. */
static void run_rows(struct sim *sim, const struct sim_job *job, const struct batch_item *item,
                     uint64_t digests[1 + DRAFTS_MAX])
{
    int32_t choice = item->choice, first = item->first, n_rows = item->n_rows;
    const struct sequence *sequence = job->sequences[choice];
    for (int32_t p = first; p < first + n_rows; p++) {
        uint64_t before = p == 0 ? 0 : *cell_at(sim, sequence, p - 1);
        *cell_at(sim, sequence, p) = cell_of(before, job->tokens[choice][p], p, job->tenant);
    }
    uint64_t digest = 0;
    for (int32_t p = 0; p < first + n_rows; p++) {
        digest = mix(digest, *cell_at(sim, sequence, p));
        int32_t d = p - (first + n_rows - item->n_drafts - 1);
        if (d >= 0)
            digests[d] = digest;
    }
}

/* The same request alone: no blocks, no batch. */
static void answer_alone(struct sim_job *job, int32_t choice)
{
    int32_t n = job->n_prompt;
    int32_t *tokens = job->answers[choice];
    uint64_t cell = 0, digest = 0;
    memcpy(tokens, job->prompt, (size_t)n * sizeof *tokens);
    for (int32_t p = 0; p < n; p++) {
        cell = cell_of(cell, tokens[p], p, job->tenant);
        digest = mix(digest, cell);
        if (p + 1 < n)
            continue;
        tokens[n++] = token_of(digest, (uint32_t)choice);
        if (tokens[n - 1] == END_TOKEN || n == job->n_prompt + job->n_new_max)
            break;
    }
    job->n_answers[choice] = n;
}

static void check_alone(const struct sim_job *job, int32_t choice)
{
    int32_t n = job->n_answers[choice];
    assert_int_equal(n, job->n_tokens[choice]);
    assert_memory_equal(job->answers[choice], job->tokens[choice], (size_t)n * sizeof n);
}

/* ---- the load ---- */

static void make_job(struct sim *sim, struct sim_job *job)
{
    int32_t n_shared = below(sim, 3) > 0 ? below(sim, 40) : below(sim, PROMPT_MAX - 10);
    uint64_t family = (uint64_t)below(sim, 2);
    job->n_prompt = 1 + n_shared + below(sim, 9);
    for (int32_t i = 0; i < job->n_prompt; i++)
        job->prompt[i] =
            i < n_shared ? (int32_t)(mix(family, (uint64_t)i) % VOCAB) : below(sim, VOCAB);
    job->n_new_max = 1 + below(sim, below(sim, 2) == 0 ? 6 : NEW_MAX);
    job->n_choices = below(sim, 2) == 0 ? 1 + below(sim, CHOICES) : 1;
    if (job->n_choices > sim->batch.limits.sequences_max)
        job->n_choices = sim->batch.limits.sequences_max;
    job->tenant = (uint8_t)below(sim, 3);
    job->arrives = 1 + (below(sim, 2) == 0 ? 0 : below(sim, 150));
    if (below(sim, 4) == 0)
        job->cancels = job->arrives + below(sim, 60);
    if (below(sim, 5) == 0) {
        job->pauses = job->arrives + below(sim, 40);
        job->resumes = job->pauses + 1 + below(sim, 80);
    }
}

static void over(struct sim *sim, struct sim_job *job)
{
    assert_false(job->is_over);
    job->is_over = true;
    job->n_ends++;
    sim->n_left--;
    for (int32_t c = 0; c < CHOICES; c++) {
        sequence_free(job->sequences[c]);
        job->sequences[c] = NULL;
    }
}

static void apply(struct sim *sim, struct batch_event event)
{
    batch_apply(&sim->batch, &event);
    assert_true(batch_is_sane(&sim->batch));
}

static void arrive(struct sim *sim, int32_t slot)
{
    struct sim_job *job = &sim->jobs[slot];
    job->is_known = true;
    if (batch_blocks_worst(&sim->batch.limits, job->n_prompt, job->n_new_max, job->n_choices) >
        sim->batch.limits.n_blocks) {
        over(sim, job);  // refused at once
        return;
    }
    uint8_t tenant[32] = {job->tenant};
    for (int32_t c = 0; c < job->n_choices; c++) {
        memcpy(job->tokens[c], job->prompt, sizeof job->prompt);
        job->n_tokens[c] = job->n_prompt;
        answer_alone(job, c);
        assert_int_equal(sequence_create(&job->sequences[c], sim->cache, TOKENS_MAX, tenant, NULL),
                         OK);
    }
    apply(sim, (struct batch_event){.type = BATCH_ARRIVE,
                                    .job = slot,
                                    .n_tokens = job->n_prompt,
                                    .n_choices = job->n_choices,
                                    .tenant = job->tenant});
}

static void play_events(struct sim *sim)
{
    for (int32_t i = 0; i < sim->n_jobs; i++) {
        struct sim_job *job = &sim->jobs[i];
        if (job->arrives == sim->step)
            arrive(sim, i);
        if (!job->is_known || job->is_over)
            continue;
        if (job->cancels == sim->step) {
            apply(sim, (struct batch_event){.type = BATCH_CANCEL, .job = i});
            over(sim, job);
            continue;
        }
        if (job->pauses == sim->step || job->resumes == sim->step)
            apply(sim,
                  (struct batch_event){
                      .type = job->pauses == sim->step ? BATCH_PAUSE : BATCH_RESUME, .job = i});
    }
}

/* ---- one step, as the scheduler loop does it ---- */

static int32_t first_live(const struct sim_job *job)
{
    int32_t c = 0;
    while (job->ended[c])
        c++;
    return c;
}

static void admit(struct sim *sim)
{
    int32_t admitted[BATCH_SEQUENCES_MAX];
    int32_t n = batch_admit(&sim->batch, admitted);
    assert_true(n <= sim->batch.limits.sequences_max);
    for (int32_t i = 0; i < n; i++) {
        struct sim_job *job = &sim->jobs[admitted[i]];
        int32_t leader = first_live(job), live = 0;
        for (int32_t c = 0; c < job->n_choices; c++)
            live += !job->ended[c];
        size_t n_known = (size_t)(live > 1 ? job->n_prompt : job->n_tokens[leader]);
        size_t n_found =
            sequence_match_prefix(job->sequences[leader], job->tokens[leader], n_known);
        sim->n_matched += n_found;
        apply(sim, (struct batch_event){
                       .type = BATCH_MATCHED, .job = admitted[i], .n_tokens = (int32_t)n_found});
    }
}

/* Guesses what follows, half of the time, and spoils some of it. */
static void offer_drafts(struct sim *sim, int32_t slot, int32_t c)
{
    struct sim_job *job = &sim->jobs[slot];
    int32_t n = below(sim, 2 * DRAFTS_MAX),
            left = job->n_prompt + job->n_new_max - job->n_tokens[c];
    n = n < DRAFTS_MAX ? n : 0;
    n = n < left ? n : left - 1;
    if (n == 0)
        return;
    for (int32_t i = 0; i < n; i++) {
        int32_t at = job->n_tokens[c] + i;
        int32_t token = at < job->n_answers[c] ? job->answers[c][at] : 0;
        job->tokens[c][at] = below(sim, 6) == 0 ? below(sim, VOCAB) : token;
    }
    apply(sim,
          (struct batch_event){.type = BATCH_DRAFTED, .job = slot, .choice = c, .n_tokens = n});
}

static void offer_all_drafts(struct sim *sim)
{
    for (int32_t i = 0; i < sim->n_jobs; i++)
        for (int32_t c = 0; c < sim->jobs[i].n_choices; c++)
            if (sim->batch.limits.draft_rows_max > 0 && sim->jobs[i].is_known &&
                !sim->jobs[i].is_over && batch_is_decoding(&sim->batch, i, c))
                offer_drafts(sim, i, c);
}

static void sample(struct sim *sim, int32_t slot, int32_t choice, int32_t token, bool was_guessed)
{
    struct sim_job *job = &sim->jobs[slot];
    job->tokens[choice][job->n_tokens[choice]++] = token;
    apply(sim, (struct batch_event){
                   .type = BATCH_SAMPLED, .job = slot, .choice = choice, .n_tokens = was_guessed});
    sim->trace = mix(sim->trace, mix((uint64_t)slot, (uint64_t)token));
    if (token != END_TOKEN && job->n_tokens[choice] < job->n_prompt + job->n_new_max)
        return;
    check_alone(job, choice);
    job->ended[choice] = true;
    sequence_free(job->sequences[choice]);
    job->sequences[choice] = NULL;
    apply(sim, (struct batch_event){.type = BATCH_ENDED, .job = slot, .choice = choice});
    bool all = true;
    for (int32_t c = 0; c < job->n_choices; c++)
        all &= job->ended[c];
    if (all)
        over(sim, job);
}

static bool is_paused(const struct sim *sim, int32_t slot)
{
    const struct sim_job *job = &sim->jobs[slot];
    return job->pauses > 0 && job->pauses <= sim->step && sim->step < job->resumes;
}

static void check_plan(struct sim *sim, const struct batch_plan *plan)
{
    const struct batch_limits *limits = &sim->batch.limits;
    assert_true(plan->n_items <= limits->sequences_max);
    assert_true(plan->n_rows - plan->n_decode_rows - plan->n_draft_rows <=
                limits->prefill_rows_max);
    assert_true(plan->n_draft_rows <= limits->draft_rows_max);
    int32_t n_rows = 0;
    for (int32_t i = 0; i < plan->n_items; i++) {
        const struct batch_item *item = &plan->items[i];
        const struct sim_job *job = &sim->jobs[item->job];
        assert_true(job->is_known && !job->is_over && !job->ended[item->choice]);
        assert_false(is_paused(sim, item->job));
        assert_true(item->n_rows >= 1);
        assert_int_equal(item->first, sequence_tokens(job->sequences[item->choice]));
        assert_true(item->n_drafts < item->n_rows && (item->n_drafts == 0 || item->samples));
        assert_int_equal(item->samples, item->first + item->n_rows - item->n_drafts ==
                                            job->n_tokens[item->choice]);
        n_rows += item->n_rows;
    }
    assert_int_equal(n_rows, plan->n_rows);
}

/* The known token's successor, then that of each guess that was right. */
static void finish_choice(struct sim *sim, const struct batch_item *item, int32_t c,
                          const uint64_t digests[1 + DRAFTS_MAX])
{
    struct sim_job *job = &sim->jobs[item->job];
    for (int32_t i = 0; i <= item->n_drafts && !job->ended[c]; i++) {
        int32_t token = token_of(digests[i], (uint32_t)c);
        bool was_guessed = i < item->n_drafts && job->tokens[c][job->n_tokens[c]] == token;
        sample(sim, item->job, c, token, was_guessed);
        sim->n_accepted += was_guessed;
        if (!was_guessed)
            break;
    }
    if (item->n_drafts == 0 || job->ended[c])
        return;
    sim->n_drafted += (uint64_t)item->n_drafts;
    sequence_commit(job->sequences[c], job->tokens[c], (size_t)job->n_tokens[c] - 1);
    sequence_truncate(job->sequences[c], (size_t)job->n_tokens[c] - 1);
}

static void finish_item(struct sim *sim, const struct batch_item *item,
                        const uint64_t digests[1 + DRAFTS_MAX])
{
    struct sim_job *job = &sim->jobs[item->job];
    int32_t n_choices = job->n_choices;
    for (int32_t c = 0; c < n_choices; c++)
        if (item->samples && !job->ended[c] && (item->forks || c == item->choice))
            finish_choice(sim, item, c, digests);
}

static void commit_item(struct sim *sim, const struct batch_item *item)
{
    struct sim_job *job = &sim->jobs[item->job];
    struct sequence *sequence = job->sequences[item->choice];
    sequence_commit(sequence, job->tokens[item->choice],
                    (size_t)(item->first + item->n_rows - item->n_drafts));
    for (int32_t c = 0; item->forks && c < job->n_choices; c++)
        if (c != item->choice && !job->ended[c]) {
            assert_int_equal(
                sequence_fork(job->sequences[c], sequence, (size_t)job->n_prompt, NULL), OK);
            sim->n_forks++;
        }
}

/* The oldest running job that is not paused; it advances in every step and is never preempted. */
static int32_t oldest_running(const struct sim *sim)
{
    int32_t best = -1;
    for (int32_t i = 0; i < sim->n_jobs; i++)
        if (sim->batch.jobs[i].phase == BATCH_RUNNING && !is_paused(sim, i) &&
            (best < 0 || sim->batch.jobs[i].age < sim->batch.jobs[best].age))
            best = i;
    return best;
}

static void check_oldest(const struct sim *sim, const struct batch_plan *plan, int32_t oldest)
{
    bool advances = oldest < 0;
    for (int32_t i = 0; i < plan->n_items; i++)
        advances |= plan->items[i].job == oldest;
    for (int32_t i = 0; i < plan->n_preempted; i++)
        if (plan->preempted[i] == oldest)
            advances = false;
    if (!advances)
        fail_msg("seed %llu step %d: the oldest job does not advance",
                 (unsigned long long)sim->seed, (int)sim->step);
}

static void run_step(struct sim *sim)
{
    static struct batch_plan plan;
    static uint64_t digests[BATCH_SEQUENCES_MAX][1 + DRAFTS_MAX];
    play_events(sim);
    admit(sim);
    offer_all_drafts(sim);
    int32_t oldest = oldest_running(sim);
    batch_plan(&sim->batch, &plan);
    check_oldest(sim, &plan, oldest);
    for (int32_t i = 0; i < plan.n_preempted; i++) {
        const struct sim_job *job = &sim->jobs[plan.preempted[i]];
        sim->n_forked_preempted +=
            job->n_choices > 1 && job->n_tokens[first_live(job)] > job->n_prompt;
    }
    for (int32_t i = 0; i < plan.n_preempted; i++)
        for (int32_t c = 0; c < CHOICES; c++)
            if (sim->jobs[plan.preempted[i]].sequences[c] != NULL)
                sequence_truncate(sim->jobs[plan.preempted[i]].sequences[c], 0);
    sim->n_preemptions += (uint64_t)plan.n_preempted;
    check_plan(sim, &plan);
    if (plan.n_items == 0)
        return;
    for (int32_t i = 0; i < plan.n_items; i++) {
        const struct batch_item *item = &plan.items[i];
        struct sequence *sequence = sim->jobs[item->job].sequences[item->choice];
        if (sequence_reserve(sequence, (size_t)(item->first + item->n_rows), NULL) != OK)
            fail_msg("seed %llu step %d: a planned row found no block",
                     (unsigned long long)sim->seed, (int)sim->step);
    }
    for (int32_t i = 0; i < plan.n_items; i++)
        run_rows(sim, &sim->jobs[plan.items[i].job], &plan.items[i], digests[i]);
    if (below(sim, 40) == 0) {  // an abandoned step: written, but nothing of it counts
        sim->n_lost++;
        for (int32_t i = 0; i < plan.n_items; i++) {
            struct sequence *s = sim->jobs[plan.items[i].job].sequences[plan.items[i].choice];
            sequence_truncate(s, sequence_tokens(s));
        }
        apply(sim, (struct batch_event){.type = BATCH_STEP_LOST});
        return;
    }
    for (int32_t i = 0; i < plan.n_items; i++)
        commit_item(sim, &plan.items[i]);
    apply(sim, (struct batch_event){.type = BATCH_STEP_DONE,
                                    .n_tokens = plan.n_rows,
                                    .us = 100 + below(sim, 20000)});
    for (int32_t i = 0; i < plan.n_items; i++)
        finish_item(sim, &plan.items[i], digests[i]);
    sim->n_rows += (uint64_t)plan.n_rows;
    sim->trace = mix(sim->trace, (uint64_t)plan.n_rows << 8 | (uint64_t)plan.n_items);
}

static void run_seed(struct sim *sim, uint64_t seed)
{
    memset(sim, 0, sizeof *sim);
    sim->seed = seed;
    struct batch_limits limits = {.block_tokens = KV_TOKENS_PER_BLOCK};
    limits.n_blocks = below(sim, 3) > 0 ? 8 + below(sim, 20) : 2 + below(sim, 12);
    limits.sequences_max = 1 + below(sim, 9);
    limits.prefill_rows_max = below(sim, 2) == 0 ? 1 + below(sim, 20) : 100;
    limits.headroom_blocks = below(sim, 2);
    limits.shared_step_us = below(sim, 2) * 1000;
    limits.draft_rows_max = below(sim, 2) * (1 + below(sim, 3 * DRAFTS_MAX));
    batch_init(&sim->batch, &limits);
    struct kv_layout layout = {.groups = {{.n_layers = 1, .n_kv_heads = 1, .head_dim = 16}},
                               .n_groups = 1};
    size_t n_blocks[KV_GROUPS_MAX] = {(size_t)limits.n_blocks};
    uint8_t root[SHA256_BYTES] = {1};
    bool prefix_cache = below(sim, 3) > 0;
    assert_int_equal(kv_cache_create(&sim->cache, &layout, n_blocks, root, prefix_cache, NULL), OK);
    sim->n_jobs = sim->n_left = 1 + below(sim, JOBS_MAX);
    for (int32_t i = 0; i < sim->n_jobs; i++)
        make_job(sim, &sim->jobs[i]);
    // Far above what any schedule needs: each token computed alone, ten times, and all waiting.
    int32_t steps_max = 400 + 10 * JOBS_MAX * (PROMPT_MAX + CHOICES * NEW_MAX);
    for (sim->step = 1; sim->n_left > 0; sim->step++) {
        if (sim->step > steps_max)
            fail_msg("seed %llu: no end after %d steps", (unsigned long long)seed, (int)steps_max);
        run_step(sim);
        assert_true(kv_cache_is_sane(sim->cache));
        // The planner's account is an upper bound of what is really held.
        size_t n_held = kv_cache_blocks(sim->cache, 0) - kv_cache_blocks_free(sim->cache, 0);
        assert_true(n_held <= (size_t)batch_blocks_used(&sim->batch));
    }
    for (int32_t i = 0; i < sim->n_jobs; i++)
        assert_int_equal(sim->jobs[i].n_ends, 1);
    assert_int_equal(batch_blocks_used(&sim->batch), 0);
    assert_int_equal(kv_cache_blocks_free(sim->cache, 0), limits.n_blocks);
    kv_cache_free(sim->cache);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static struct sim sim;

static void invariants_hold(void **state)
{
    (void)state;
#ifdef WICARA_DEBUG
    const uint64_t n_usual = 1000;  // sanitizers are slow
#else
    const uint64_t n_usual = 3000;
#endif
    uint64_t n_seeds = setting("WICARA_SIM_SEEDS", n_usual), first = setting("WICARA_SIM_FIRST", 1);
    uint64_t steps = 0, preemptions = 0, forked = 0, matched = 0, forks = 0, lost = 0, rows = 0;
    uint64_t drafted = 0, accepted = 0;
    for (uint64_t seed = first; seed < first + n_seeds; seed++) {
        run_seed(&sim, seed);
        steps += (uint64_t)sim.step;
        preemptions += sim.n_preemptions;
        forked += sim.n_forked_preempted;
        matched += sim.n_matched;
        forks += sim.n_forks;
        lost += sim.n_lost;
        rows += sim.n_rows;
        drafted += sim.n_drafted;
        accepted += sim.n_accepted;
        if (seed % 50 == 0) {
            uint64_t trace = sim.trace;
            run_seed(&sim, seed);
            assert_true(trace == sim.trace);
        }
    }
    print_message("  %llu seeds, %llu steps, %llu rows, %llu preemptions (%llu of forked jobs), "
                  "%llu forks, %llu cached "
                  "tokens, %llu lost steps, %llu of %llu guessed tokens right\n",
                  (unsigned long long)n_seeds, (unsigned long long)steps, (unsigned long long)rows,
                  (unsigned long long)preemptions, (unsigned long long)forked,
                  (unsigned long long)forks, (unsigned long long)matched, (unsigned long long)lost,
                  (unsigned long long)accepted, (unsigned long long)drafted);
    // The load must reach what it is meant to test.
    assert_true(n_seeds < 1000 || (preemptions > 100 && forked > 30 && forks > 1000 &&
                                   matched > 10000 && accepted > 10000 && drafted > accepted));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(invariants_hold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
