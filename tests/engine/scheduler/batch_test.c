/* The planner's policy in small scenes: fairness, order, budget, forks, who gives way. That any of
 * it is safe under load is the business of batch_sim_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/scheduler/batch.h"

static struct batch batch;
static struct batch_plan plan;
static int32_t admitted[BATCH_SEQUENCES_MAX];

static void start(int32_t n_blocks, int32_t sequences_max, int32_t prefill_rows_max)
{
    struct batch_limits limits = {.n_blocks = n_blocks,
                                  .block_tokens = 32,
                                  .sequences_max = sequences_max,
                                  .prefill_rows_max = prefill_rows_max};
    batch_init(&batch, &limits);
}

static void apply(struct batch_event event)
{
    batch_apply(&batch, &event);
}

static void arrive(int32_t job, uint64_t tenant, int32_t n_prompt, int32_t n_choices)
{
    apply((struct batch_event){.type = BATCH_ARRIVE,
                               .job = job,
                               .tenant = tenant,
                               .n_tokens = n_prompt,
                               .n_choices = n_choices});
}

/* Runs one step; every sequence that samples gets one more token. */
static void step(void)
{
    (void)batch_admit(&batch, admitted);
    batch_plan(&batch, &plan);
    if (plan.n_items == 0)
        return;
    apply((struct batch_event){.type = BATCH_STEP_DONE, .n_tokens = plan.n_rows, .us = 1});
    for (int32_t i = 0; i < plan.n_items; i++)
        for (int32_t c = 0; c < BATCH_CHOICES_MAX; c++)
            if (plan.items[i].samples && c < batch.jobs[plan.items[i].job].n_choices &&
                (plan.items[i].forks || c == plan.items[i].choice))
                apply((struct batch_event){
                    .type = BATCH_SAMPLED, .job = plan.items[i].job, .choice = c});
}

static void end(int32_t job)
{
    apply((struct batch_event){.type = BATCH_CANCEL, .job = job});
}

static const struct batch_item *item_of(int32_t job, int32_t choice)
{
    for (int32_t i = 0; i < plan.n_items; i++)
        if (plan.items[i].job == job && plan.items[i].choice == choice)
            return &plan.items[i];
    return NULL;
}

static int32_t rows_of(int32_t job)
{
    const struct batch_item *item = item_of(job, 0);
    return item == NULL ? 0 : item->n_rows;
}

/* A job whose KV is being read back counts, but runs nothing; others go on. */
static void loading_holds_a_place_only(void **state)
{
    (void)state;
    start(20, 2, 64);
    arrive(1, 1, 300, 1);
    arrive(2, 1, 40, 1);
    arrive(3, 1, 40, 1);
    assert_int_equal(batch_admit(&batch, admitted), 2);
    apply((struct batch_event){.type = BATCH_LOADING, .job = 1});
    step();
    assert_int_equal(rows_of(1), 0);
    assert_int_equal(rows_of(2), 40);
    step();
    assert_int_equal(rows_of(1), 0);
    assert_int_equal(rows_of(2), 1);
    assert_int_equal(batch.jobs[3].phase, BATCH_WAITING);
    apply((struct batch_event){.type = BATCH_MATCHED, .job = 1, .n_tokens = 288});
    step();
    assert_int_equal(rows_of(1), 12);
    assert_int_equal(item_of(1, 0)->first, 288);
}

/* One key sends a hundred requests, another then sends five: they do not wait for the hundred. */
static void keys_are_served_fairly(void **state)
{
    (void)state;
    start(1000, 2, 512);
    for (int32_t i = 0; i < 100; i++)
        arrive(i, 1, 20, 1);
    for (int32_t i = 100; i < 105; i++)
        arrive(i, 2, 20, 1);
    int32_t order[105], n_order = 0;
    while (n_order < 30) {
        int32_t n = batch_admit(&batch, admitted);
        memcpy(order + n_order, admitted, (size_t)n * sizeof *order);
        n_order += n;
        for (int k = 0; k < 3; k++)
            step();
        end(order[n_order - 1]);
        if (n == 2)
            end(order[n_order - 2]);
    }
    int32_t last_of_second = 0, last[2] = {-1, 99};
    for (int32_t i = 0; i < n_order; i++) {
        if (order[i] >= 100)
            last_of_second = i;
        assert_int_equal(order[i], last[order[i] >= 100] + 1);  // first come, first served
        last[order[i] >= 100] = order[i];
    }
    assert_int_equal(last[1], 104);
    assert_true(last_of_second < 13);
}

/* Service is counted in rows: ten short requests for a long one. */
static void service_is_counted_in_rows(void **state)
{
    (void)state;
    start(1000, 1, 512);
    for (int32_t i = 0; i < 40; i++)
        arrive(i, i < 20 ? 1 : 2, i < 20 ? 400 : 40, 1);
    int32_t n_long = 0;
    for (int32_t i = 0; i < 20; i++) {
        assert_int_equal(batch_admit(&batch, admitted), 1);
        n_long += admitted[0] < 20;
        step();
        end(admitted[0]);
    }
    assert_true(n_long >= 2 && n_long <= 4);
}

/* A key that was idle does not save up a claim on the future. */
static void idling_is_not_rewarded(void **state)
{
    (void)state;
    start(1000, 1, 512);
    for (int32_t i = 0; i < 20; i++)
        arrive(i, 1, 50, 1);
    for (int32_t i = 0; i < 6; i++) {
        step();
        end(i);
    }
    for (int32_t i = 20; i < 40; i++)
        arrive(i, 2, 50, 1);
    int32_t n_first = 0;
    for (int32_t i = 0; i < 10; i++) {
        assert_int_equal(batch_admit(&batch, admitted), 1);
        n_first += admitted[0] < 20;
        step();
        end(admitted[0]);
    }
    assert_true(n_first >= 4);
}

static void a_big_job_is_not_overtaken(void **state)
{
    (void)state;
    start(10, 8, 512);
    arrive(0, 1, 160, 1);  // five blocks
    step();
    arrive(1, 1, 300, 1);  // ten blocks: has to wait
    arrive(2, 1, 10, 1);
    step();
    assert_int_equal(batch.jobs[1].phase, BATCH_WAITING);
    assert_int_equal(batch.jobs[2].phase, BATCH_WAITING);
    end(0);
    step();
    assert_int_equal(batch.jobs[1].phase, BATCH_RUNNING);
    assert_int_equal(rows_of(1), 300);
}

static void prefill_rides_along(void **state)
{
    (void)state;
    start(1000, 8, 64);
    arrive(0, 1, 10, 1);
    step();
    arrive(1, 1, 500, 1);
    arrive(2, 1, 25, 1);
    arrive(3, 1, 20, 1);
    step();
    assert_int_equal(rows_of(0), 1);   // decode
    assert_int_equal(rows_of(1), 32);  // the oldest in prefill gets its half
    assert_int_equal(rows_of(3), 20);  // the shortest prompt overtakes
    assert_int_equal(rows_of(2), 12);
    assert_int_equal(plan.n_rows, 65);
    assert_int_equal(plan.n_decode_rows, 1);
    assert_true(item_of(3, 0)->samples && !item_of(1, 0)->samples);
    step();
    assert_int_equal(item_of(1, 0)->first, 32);
    assert_int_equal(rows_of(2), 13);
    assert_int_equal(rows_of(1), 51);  // its half and what is left
}

/* Job 0 past its prompt of 400 tokens, whose prefill took so long; steps in company aim at 1 ms. */
static void start_in_decode(int64_t prefill_us)
{
    start(1000, 8, 512);
    batch.limits.shared_step_us = 1000;
    arrive(0, 1, 400, 1);
    (void)batch_admit(&batch, admitted);
    batch_plan(&batch, &plan);
    apply((struct batch_event){.type = BATCH_STEP_DONE, .n_tokens = 400, .us = prefill_us});
    apply((struct batch_event){.type = BATCH_SAMPLED, .job = 0});
}

static void company_shrinks_the_chunk(void **state)
{
    (void)state;
    start_in_decode(4000);
    arrive(1, 1, 500, 1);
    step();
    assert_int_equal(rows_of(1), 100);  // 10 us a row were measured, 1 ms is aimed at
    end(0);
    step();
    assert_int_equal(rows_of(1), 400);  // nobody waits: all of it
}

/* Four that wait for their first token beside one that has it: a whole chunk; three do not. */
static void a_crowd_in_prefill_gets_more(void **state)
{
    (void)state;
    start_in_decode(4000);
    for (int32_t job = 1; job <= 3; job++)
        arrive(job, 1, 500, 1);
    step();
    assert_int_equal(plan.n_decode_rows, 1);
    assert_int_equal(plan.n_rows - plan.n_decode_rows, 100);
    arrive(4, 1, 500, 1);
    step();
    assert_int_equal(plan.n_rows - plan.n_decode_rows, 512);
}

/* Slow decode steps may take two and a half times as long with prefill beside them, not more. */
static void company_waits_in_proportion(void **state)
{
    (void)state;
    start_in_decode(40000);
    for (int i = 0; i < 20; i++) {
        batch_plan(&batch, &plan);
        apply((struct batch_event){.type = BATCH_STEP_DONE, .n_tokens = 1, .us = 6000});
        apply((struct batch_event){.type = BATCH_SAMPLED, .job = 0});
    }
    arrive(1, 1, 500, 1);
    step();
    assert_int_equal(rows_of(1), 90);  // (2.5 - 1) * 6 ms at 100 us a row
    assert_int_equal(rows_of(0), 1);
}

/* What a guess must promise rises with the rows in decode and with what a row costs. */
static void guesses_pay_where_rows_are_cheap(void **state)
{
    (void)state;
    start(1000, 40, 512);
    assert_true(batch_draft_chance(&batch, 1) < 0.3 && batch_draft_chance(&batch, 32) > 0.9);
    for (int i = 0; i < 100; i++) {
        int32_t rows = 1 + i % 5;
        batch.in_step = true;  // steps of 5 ms and 100 us a row
        apply((struct batch_event){
            .type = BATCH_STEP_DONE, .n_tokens = rows, .us = 5000 + 100 * rows});
    }
    double one = batch_draft_chance(&batch, 1), many = batch_draft_chance(&batch, 32);
    assert_true(one > 0.015 && one < 0.03);
    assert_true(many > 0.4 && many < 0.5);
}

/* Guessed tokens get rows from what is left, never from somebody's room. */
static void guesses_take_what_is_left(void **state)
{
    (void)state;
    start(4, 4, 512);
    batch.limits.draft_rows_max = 20;
    arrive(0, 1, 60, 1);
    arrive(1, 1, 30, 1);
    step();
    assert_true(batch_is_decoding(&batch, 0, 0) && batch_is_decoding(&batch, 1, 0));
    apply((struct batch_event){.type = BATCH_DRAFTED, .job = 0, .n_tokens = 16});
    apply((struct batch_event){.type = BATCH_DRAFTED, .job = 1, .n_tokens = 16});
    batch_plan(&batch, &plan);
    assert_int_equal(rows_of(0), 1 + 16);  // 60 + 1 + 16 tokens: the third block
    assert_int_equal(item_of(0, 0)->n_drafts, 16);
    assert_int_equal(rows_of(1), 1 + 1);  // 30 + 1 + 1 tokens: no block is left for more
    assert_int_equal(plan.n_preempted, 0);
    apply((struct batch_event){.type = BATCH_STEP_DONE, .n_tokens = plan.n_rows, .us = 1});
    apply((struct batch_event){.type = BATCH_SAMPLED, .job = 0, .n_tokens = 1});
    apply((struct batch_event){.type = BATCH_SAMPLED, .job = 0});
    apply((struct batch_event){.type = BATCH_SAMPLED, .job = 1});
    assert_int_equal(batch.jobs[0].choices[0].n_stored, 62);
    assert_int_equal(batch.jobs[0].choices[0].n_tokens, 63);
    assert_int_equal(batch.jobs[1].choices[0].n_stored, 31);
    step();
    assert_int_equal(rows_of(0), 1);  // an offer holds for one step
}

static void choices_share_the_prompt(void **state)
{
    (void)state;
    struct batch_limits limits = {
        .n_blocks = 14, .block_tokens = 32, .sequences_max = 4, .prefill_rows_max = 512};
    batch_init(&batch, &limits);
    assert_int_equal(batch_blocks_worst(&limits, 100, 61, 1), 5);
    assert_int_equal(batch_blocks_worst(&limits, 100, 61, 3), 3 + 3 * 2);
    assert_int_equal(batch_blocks_worst(&limits, 96, 1, 3), 3);
    arrive(0, 1, 100, 3);
    step();
    assert_int_equal(plan.n_items, 1);
    assert_true(item_of(0, 0)->forks && item_of(0, 0)->samples);
    assert_int_equal(batch_blocks_used(&batch), 3 + 3);
    step();
    assert_int_equal(plan.n_items, 3);
    assert_int_equal(plan.n_decode_rows, 3);
    assert_null(item_of(0, 3));
}

/* The younger job gives way; when it comes back, its prompt is computed once, then the choices'. */
static void the_youngest_gives_way_and_returns(void **state)
{
    (void)state;
    start(8, 4, 512);
    arrive(0, 1, 64, 1);
    step();
    arrive(1, 1, 62, 2);
    step();
    assert_int_equal(batch.jobs[1].phase, BATCH_RUNNING);
    int32_t n_steps = 0;
    while (batch.n_preemptions == 0) {
        assert_true(n_steps++ < 200);
        step();
    }
    assert_int_equal(plan.n_preempted, 1);
    assert_int_equal(plan.preempted[0], 1);
    assert_int_equal(rows_of(0), 1);
    assert_int_equal(batch_blocks_used(&batch), (65 + n_steps + 31) / 32);
    int32_t n_tokens = batch.jobs[1].choices[0].n_tokens;
    arrive(2, 1, 10, 1);  // fits, but the preempted job is first
    step();
    assert_int_equal(batch.jobs[2].phase, BATCH_WAITING);
    end(0);
    step();
    assert_int_equal(item_of(1, 0)->first, 0);
    assert_int_equal(item_of(1, 0)->n_rows, 62);
    assert_true(item_of(1, 0)->forks && !item_of(1, 0)->samples);
    assert_null(item_of(1, 1));
    step();
    for (int32_t c = 0; c < 2; c++) {
        assert_int_equal(item_of(1, c)->first, 62);
        assert_int_equal(item_of(1, c)->n_rows, n_tokens - 62);
        assert_true(item_of(1, c)->samples && !item_of(1, c)->forks);
    }
}

static void a_paused_job_gives_way_first(void **state)
{
    (void)state;
    start(9, 4, 512);
    arrive(2, 1, 64, 1);
    arrive(1, 1, 64, 1);
    arrive(0, 1, 32, 1);
    step();
    apply((struct batch_event){.type = BATCH_PAUSE, .job = 2});
    int32_t n_steps = 0;
    while (batch.n_preemptions == 0) {
        assert_true(n_steps++ < 200);
        step();
        assert_int_equal(rows_of(2), 0);
    }
    assert_int_equal(plan.n_preempted, 1);
    assert_int_equal(plan.preempted[0], 2);
    step();
    assert_int_equal(batch.jobs[2].phase, BATCH_WAITING);
    assert_int_equal(batch.jobs[0].phase, BATCH_RUNNING);
    end(1);
    end(0);
    step();
    assert_int_equal(batch.jobs[2].phase, BATCH_WAITING);  // nobody reads it
    apply((struct batch_event){.type = BATCH_RESUME, .job = 2});
    step();
    assert_int_equal(rows_of(2), 65);
}

/* Jobs that nobody reads, holding all blocks or all places, must not keep others out. */
static void paused_jobs_keep_nobody_out(void **state)
{
    (void)state;
    for (int scene = 0; scene < 2; scene++) {
        start(scene == 0 ? 6 : 100, scene == 0 ? 9 : 2, 512);
        arrive(0, 1, 64, 1);
        arrive(1, 2, 64, 1);
        step();
        apply((struct batch_event){.type = BATCH_PAUSE, .job = 0});
        apply((struct batch_event){.type = BATCH_PAUSE, .job = 1});
        arrive(2, 3, 96, 1);
        for (int i = 0; i < 3; i++)
            step();
        assert_int_equal(batch.jobs[2].phase, BATCH_RUNNING);
        assert_true(batch.jobs[2].choices[0].n_tokens > 96);
        end(2);
        apply((struct batch_event){.type = BATCH_RESUME, .job = 0});
        apply((struct batch_event){.type = BATCH_RESUME, .job = 1});
        for (int i = 0; i < 2; i++)
            step();
        assert_true(rows_of(0) > 0 && rows_of(1) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_holds_a_place_only),
        cmocka_unit_test(keys_are_served_fairly),
        cmocka_unit_test(service_is_counted_in_rows),
        cmocka_unit_test(idling_is_not_rewarded),
        cmocka_unit_test(a_big_job_is_not_overtaken),
        cmocka_unit_test(prefill_rides_along),
        cmocka_unit_test(company_shrinks_the_chunk),
        cmocka_unit_test(a_crowd_in_prefill_gets_more),
        cmocka_unit_test(company_waits_in_proportion),
        cmocka_unit_test(guesses_pay_where_rows_are_cheap),
        cmocka_unit_test(guesses_take_what_is_left),
        cmocka_unit_test(choices_share_the_prompt),
        cmocka_unit_test(the_youngest_gives_way_and_returns),
        cmocka_unit_test(a_paused_job_gives_way_first),
        cmocka_unit_test(paused_jobs_keep_nobody_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
