/* The planner; see batch.h.
 *
 * Admission. Preempted jobs come back first, oldest first; then the head of the queue of the tenant
 * that has been served least, counted in rows (virtual token counters, Sheng et al. 2024, "Fairness
 * in serving large language models"; a tenant that was idle starts at the level of the others). A
 * head that does not fit waits and nobody overtakes it, so big jobs are not starved by small ones.
 *
 * A job whose KV is being read back is running and counted, but has no rows until that ends.
 *
 * A step. Every running sequence in decode gets its row; prefill rows ride along up to a budget,
 * which is smaller in company, because the others wait for the step: with prefill it aims at
 * SHARED_STEP times what it takes without (or shared_step_us, if that is more), but
 * a whole chunk while many are in prefill. Half of the budget belongs to the oldest job in
 * prefill, the rest goes to the shortest remainders first, so
 * short prompts overtake long ones without starving them. Chunks have any size: answers do not
 * depend on it (DESIGN, "Numbers").
 *
 * Guessed tokens come last and displace nobody: they get rows while there are blocks and
 * draft_rows_max lasts. Whether a guess pays depends on what a row adds to a step: a line fitted to
 * the measured times of steps without prefill tells.
 *
 * Blocks. When a row needs a block and none is left, a paused job gives way, else the youngest
 * running one that is younger than the one in need: released, and recomputed later. While a job
 * waits because it does not fit, a paused one gives way in each step: readers that do not read hold
 * up nobody but themselves, neither by their blocks nor by their number. The oldest
 * running job that is not paused can therefore take the whole pool, which suffices for it (the
 * caller refuses jobs whose worst case does not fit), so something always advances. */
#include "engine/scheduler/batch.h"

#include <assert.h>
#include <string.h>

static int32_t min32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

void batch_init(struct batch *batch, const struct batch_limits *limits)
{
    assert(limits->n_blocks >= 1 && limits->block_tokens >= 1 && limits->prefill_rows_max >= 1);
    assert(limits->sequences_max >= 1 && limits->sequences_max <= BATCH_SEQUENCES_MAX);
    memset(batch, 0, sizeof *batch);
    batch->limits = *limits;
}

/* ---- blocks ---- */

static int32_t blocks_of(const struct batch *batch, int32_t n_tokens)
{
    return (n_tokens + batch->limits.block_tokens - 1) / batch->limits.block_tokens;
}

int64_t batch_blocks_worst(const struct batch_limits *limits, int64_t n_prompt, int64_t max_tokens,
                           int64_t n_choices)
{
    int64_t size = limits->block_tokens;
    int64_t stored = n_prompt + (max_tokens > 0 ? max_tokens - 1 : 0);  // the last is never stored
    int64_t shared = n_choices > 1 ? n_prompt / size : 0;
    return shared + n_choices * ((stored + size - 1) / size - shared);
}

static int32_t n_live(const struct batch_job *job)
{
    int32_t n = 0;
    for (int32_t c = 0; c < job->n_choices; c++)
        n += !job->choices[c].ended;
    return n;
}

static int32_t leader_of(const struct batch_job *job)
{
    int32_t c = 0;
    while (job->choices[c].ended)
        c++;
    return c;
}

/* Whole blocks of the prompt that the choices share once they are forked. */
static int32_t shared_blocks(const struct batch *batch, const struct batch_job *job)
{
    return job->n_choices > 1 ? job->n_prompt / batch->limits.block_tokens : 0;
}

/* Blocks that the job holds when the step under way is done. */
static int32_t held_blocks(const struct batch *batch, const struct batch_job *job)
{
    if (job->phase != BATCH_RUNNING)
        return 0;
    const struct batch_choice *leader = &job->choices[leader_of(job)];
    if (n_live(job) > 1 && !job->forked && !job->forking)
        return blocks_of(batch, leader->n_stored + leader->n_rows);
    if (n_live(job) == 1 && !job->forked)
        return blocks_of(batch, leader->n_stored + leader->n_rows);
    int32_t shared = shared_blocks(batch, job), held = shared;
    for (int32_t c = 0; c < job->n_choices; c++) {
        const struct batch_choice *choice = &job->choices[c];
        if (!choice->ended)
            held +=
                blocks_of(batch, max32(choice->n_stored + choice->n_rows, job->n_prompt)) - shared;
    }
    return held;
}

/* Blocks that it needs to have stored all tokens known now. */
static int32_t wanted_blocks(const struct batch *batch, const struct batch_job *job)
{
    int32_t shared = n_live(job) > 1 ? shared_blocks(batch, job) : 0, wanted = shared;
    for (int32_t c = 0; c < job->n_choices; c++)
        if (!job->choices[c].ended)
            wanted += blocks_of(batch, job->choices[c].n_tokens) - shared;
    return wanted;
}

int32_t batch_blocks_used(const struct batch *batch)
{
    int32_t used = 0;
    for (int32_t i = 0; i < batch->n_slots; i++)
        if (batch->jobs[i].phase == BATCH_RUNNING)
            used += held_blocks(batch, &batch->jobs[i]);
    return used;
}

/* ---- events ---- */

static uint16_t join_tenant(struct batch *batch, uint64_t key)
{
    size_t free_entry = BATCH_JOBS_MAX;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < BATCH_JOBS_MAX; i++) {
        struct batch_tenant *tenant = &batch->tenants[i];
        if (tenant->n_jobs > 0 && tenant->key == key) {
            tenant->n_jobs++;
            return (uint16_t)i;
        }
        if (tenant->n_jobs == 0 && free_entry == BATCH_JOBS_MAX)
            free_entry = i;
        if (tenant->n_jobs > 0 && tenant->served < least)
            least = tenant->served;
    }
    assert(free_entry < BATCH_JOBS_MAX);  // there are as many entries as jobs
    batch->tenants[free_entry] =
        (struct batch_tenant){.key = key, .served = least == UINT64_MAX ? 0 : least, .n_jobs = 1};
    return (uint16_t)free_entry;
}

static void arrive(struct batch *batch, const struct batch_event *event)
{
    struct batch_job *job = &batch->jobs[event->job];
    assert(job->phase == BATCH_FREE);
    assert(event->n_choices >= 1 && event->n_choices <= BATCH_CHOICES_MAX);
    assert(event->n_choices <= batch->limits.sequences_max && event->n_tokens >= 1);
    *job = (struct batch_job){
        .phase = BATCH_WAITING,
        .n_choices = (uint8_t)event->n_choices,
        .tenant = join_tenant(batch, event->tenant),
        .arrival = ++batch->n_arrivals,
        .n_prompt = event->n_tokens,
    };
    for (int32_t c = 0; c < event->n_choices; c++)
        job->choices[c].n_tokens = event->n_tokens;
    batch->n_slots = max32(batch->n_slots, event->job + 1);
}

static void leave(struct batch *batch, struct batch_job *job)
{
    assert(job->phase != BATCH_FREE);
    batch->tenants[job->tenant].n_jobs--;
    job->phase = BATCH_FREE;
}

static void matched(struct batch_job *job, int32_t n_tokens)
{
    struct batch_choice *leader = &job->choices[leader_of(job)];
    assert(job->phase == BATCH_RUNNING && leader->n_stored == 0);
    assert(n_tokens < leader->n_tokens && (n_live(job) == 1 || n_tokens < job->n_prompt));
    leader->n_stored = n_tokens;
    job->loading = false;
}

static void end_step(struct batch *batch, bool is_stored)
{
    assert(batch->in_step);
    batch->in_step = false;
    for (int32_t i = 0; i < batch->n_slots; i++) {
        struct batch_job *job = &batch->jobs[i];
        if (job->phase != BATCH_RUNNING)
            continue;
        for (int32_t c = 0; c < job->n_choices; c++) {
            struct batch_choice *choice = &job->choices[c];
            if (is_stored)
                choice->n_stored += choice->n_rows - choice->n_drafts;
            else
                choice->n_drafts = 0;
            choice->n_rows = 0;
            if (is_stored && job->forking && !choice->ended)
                choice->n_stored = job->n_prompt;
        }
        job->forked |= is_stored && job->forking;
        job->forking = false;
    }
}

/* What a guess costs beside its row: drawing, roll-back, the error of the estimate. */
static const double DRAFT_MARGIN = 1.15;
/* Readers see gaps this many times as long while a prompt arrives, which then takes
 * SHARED_STEP / (SHARED_STEP - 1) times as long as alone where arithmetic is what a step waits for.
 */
static const double SHARED_STEP = 2.5;
enum { PREFILL_ROWS_FOR_COST = 12, SHARED_PREFILL_ROWS_MIN = 8 };

static void measure(struct batch *batch, int32_t n_rows, double us)
{
    int32_t n_prefill = batch->step_prefill_rows, n_decode = n_rows - n_prefill;
    if (us <= 0 || n_rows <= 0)
        return;
    if (n_prefill == 0) {
        step_cost_add(&batch->decode_cost, n_rows, us);
        return;
    }
    if (n_prefill < PREFILL_ROWS_FOR_COST)
        return;
    struct step_line line = step_cost_line(&batch->decode_cost);
    double least = us / n_rows / 2;
    double row_us = (us - (n_decode > 0 ? line.fixed_us + line.row_us * n_decode : 0)) / n_prefill;
    row_us = row_us > least ? row_us : least;
    double *average = &batch->prefill_row_us;
    *average = *average == 0 ? row_us : *average + (row_us - *average) / 8;
}

double batch_draft_chance(const struct batch *batch, int32_t n_decode_rows)
{
    struct step_line line = step_cost_line(&batch->decode_cost);
    if (batch->decode_cost.n == 0)
        line = (struct step_line){1, step_cost_prior()};
    return DRAFT_MARGIN * line.row_us * n_decode_rows /
           (line.fixed_us + line.row_us * n_decode_rows);
}

void batch_apply(struct batch *batch, const struct batch_event *event)
{
    assert(event->job >= 0 && event->job < BATCH_JOBS_MAX);
    struct batch_job *job = &batch->jobs[event->job];
    struct batch_choice *choice = &job->choices[event->choice];
    switch (event->type) {
    case BATCH_ARRIVE:
        arrive(batch, event);
        break;
    case BATCH_LOADING:
        assert(job->phase == BATCH_RUNNING && job->choices[leader_of(job)].n_stored == 0);
        job->loading = true;
        break;
    case BATCH_MATCHED:
        matched(job, event->n_tokens);
        break;
    case BATCH_PAUSE:
    case BATCH_RESUME:
        job->paused = event->type == BATCH_PAUSE;
        break;
    case BATCH_DRAFTED:
        assert(!batch->in_step && batch_is_decoding(batch, event->job, event->choice));
        choice->n_drafts = event->n_tokens;
        break;
    case BATCH_STEP_DONE:
        measure(batch, event->n_tokens, (double)event->us);
        end_step(batch, true);
        break;
    case BATCH_STEP_LOST:
        end_step(batch, false);
        break;
    case BATCH_SAMPLED:
        assert(!choice->ended && choice->n_stored == choice->n_tokens);
        assert(event->n_tokens <= choice->n_drafts);
        choice->n_tokens++;
        choice->n_stored += event->n_tokens;
        choice->n_drafts = event->n_tokens > 0 ? choice->n_drafts - 1 : 0;
        break;
    case BATCH_ENDED:
        assert(job->phase == BATCH_RUNNING && !choice->ended);
        choice->ended = true;
        if (n_live(job) == 0)
            leave(batch, job);
        break;
    case BATCH_CANCEL:
        assert(!batch->in_step);
        leave(batch, job);
        break;
    }
}

/* ---- admission ---- */

static int32_t next_preempted(const struct batch *batch)
{
    int32_t best = -1;
    for (int32_t i = 0; i < batch->n_slots; i++) {
        const struct batch_job *job = &batch->jobs[i];
        if (job->phase == BATCH_WAITING && job->age > 0 && !job->paused &&
            (best < 0 || job->age < batch->jobs[best].age))
            best = i;
    }
    return best;
}

static int32_t next_arrived(const struct batch *batch)
{
    int32_t best = -1;
    uint64_t best_served = 0;
    for (int32_t i = 0; i < batch->n_slots; i++) {
        const struct batch_job *job = &batch->jobs[i];
        if (job->phase != BATCH_WAITING || job->age > 0)
            continue;
        uint64_t served = batch->tenants[job->tenant].served;
        if (best < 0 || served < best_served ||
            (served == best_served && job->arrival < batch->jobs[best].arrival)) {
            best = i;
            best_served = served;
        }
    }
    return best;
}

int32_t batch_admit(struct batch *batch, int32_t admitted[BATCH_SEQUENCES_MAX])
{
    assert(!batch->in_step);
    int32_t n_admitted = 0, sequences = 0, blocks = 0;
    for (int32_t i = 0; i < batch->n_slots; i++)
        if (batch->jobs[i].phase == BATCH_RUNNING) {
            sequences += n_live(&batch->jobs[i]);
            blocks +=
                max32(held_blocks(batch, &batch->jobs[i]), wanted_blocks(batch, &batch->jobs[i]));
        }
    for (;;) {
        int32_t next = next_preempted(batch);
        if (next < 0)
            next = next_arrived(batch);
        if (next < 0)
            return n_admitted;
        struct batch_job *job = &batch->jobs[next];
        int32_t live = n_live(job), wanted = wanted_blocks(batch, job);
        if (sequences + live > batch->limits.sequences_max)
            return n_admitted;
        // Without headroom for the growth of all, the newcomer would soon be preempted again.
        int32_t headroom = batch->limits.headroom_blocks * (sequences + live);
        if (sequences > 0 && blocks + wanted + headroom > batch->limits.n_blocks)
            return n_admitted;
        assert(wanted <= batch->limits.n_blocks);
        job->phase = BATCH_RUNNING;
        if (job->age == 0)
            job->age = ++batch->n_admissions;
        // Counted now, so that one tenant's burst is not admitted in one go before the others'.
        batch->tenants[job->tenant].served += (uint64_t)live;
        sequences += live;
        blocks += wanted;
        admitted[n_admitted++] = next;
    }
}

/* ---- the step ---- */

static int32_t running_by_age(const struct batch *batch, int32_t order[BATCH_SEQUENCES_MAX])
{
    int32_t n = 0;
    for (int32_t i = 0; i < batch->n_slots; i++) {
        if (batch->jobs[i].phase != BATCH_RUNNING)
            continue;
        int32_t at = n++;
        for (; at > 0 && batch->jobs[order[at - 1]].age > batch->jobs[i].age; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return n;
}

static void preempt(struct batch *batch, struct batch_plan *plan, int32_t victim)
{
    struct batch_job *job = &batch->jobs[victim];
    job->phase = BATCH_WAITING;
    job->forked = job->forking = job->loading = false;
    job->preemptions++;
    batch->n_preemptions++;
    for (int32_t c = 0; c < job->n_choices; c++)
        job->choices[c].n_stored = job->choices[c].n_rows = job->choices[c].n_drafts = 0;
    plan->preempted[plan->n_preempted++] = victim;
}

/* The paused job, else the job younger than `needy`, that came last; -1 when there is none. */
static int32_t find_victim(const struct batch *batch, int32_t needy)
{
    int32_t best = -1;
    for (int32_t i = 0; i < batch->n_slots; i++) {
        const struct batch_job *job = &batch->jobs[i];
        if (i == needy || job->phase != BATCH_RUNNING || held_blocks(batch, job) == 0)
            continue;
        if (!job->paused && job->age < batch->jobs[needy].age)
            continue;
        const struct batch_job *old = best < 0 ? NULL : &batch->jobs[best];
        if (old == NULL || (job->paused && !old->paused) ||
            (job->paused == old->paused && job->age > old->age))
            best = i;
    }
    return best;
}

/* Admission came just before, so who still waits and is read did not fit. */
static void make_way(struct batch *batch, struct batch_plan *plan)
{
    int32_t idlest = -1;
    bool somebody_waits = false;
    for (int32_t i = 0; i < batch->n_slots; i++) {
        const struct batch_job *job = &batch->jobs[i];
        somebody_waits |= job->phase == BATCH_WAITING && !job->paused;
        if (job->phase == BATCH_RUNNING && job->paused &&
            (idlest < 0 || job->age > batch->jobs[idlest].age))
            idlest = i;
    }
    if (somebody_waits && idlest >= 0)
        preempt(batch, plan, idlest);
}

/* Gives the choice as many of n_rows more rows as there are blocks for. */
static int32_t fit_rows(struct batch *batch, int32_t slot, int32_t c, int32_t n_rows)
{
    struct batch_job *job = &batch->jobs[slot];
    struct batch_choice *choice = &job->choices[c];
    bool unforked = n_live(job) > 1 && !job->forked;
    int32_t given = choice->n_rows;
    int32_t others = batch_blocks_used(batch) - held_blocks(batch, job);
    for (int32_t rows = n_rows; rows >= 1;) {
        choice->n_rows = given + rows;
        job->forking = unforked && choice->n_stored + choice->n_rows == job->n_prompt;
        int32_t excess = others + held_blocks(batch, job) - batch->limits.n_blocks;
        if (excess <= 0)
            return rows;
        rows -= (excess - 1) * batch->limits.block_tokens + 1;
    }
    choice->n_rows = given;
    job->forking = false;
    return 0;
}

/* The same, making room for at least one. */
static int32_t take_rows(struct batch *batch, struct batch_plan *plan, int32_t slot, int32_t c,
                         int32_t n_rows)
{
    for (;;) {
        int32_t rows = fit_rows(batch, slot, c, n_rows);
        if (rows > 0)
            return rows;
        int32_t victim = find_victim(batch, slot);
        if (victim < 0)
            return 0;
        preempt(batch, plan, victim);
    }
}

/* Tokens that the choice may run now: all that are known, but only up to the fork before it. */
static int32_t pending(const struct batch_job *job, int32_t c)
{
    const struct batch_choice *choice = &job->choices[c];
    if (job->phase != BATCH_RUNNING || job->paused || job->loading || choice->ended)
        return 0;
    int32_t known = choice->n_tokens;
    if (n_live(job) > 1 && !job->forked) {
        if (c != leader_of(job))
            return 0;
        known = job->n_prompt;
    }
    return known - choice->n_stored - choice->n_rows;
}

static bool in_decode(const struct batch_job *job, int32_t c)
{
    return job->choices[c].n_tokens > job->n_prompt && job->choices[c].n_rows == 0 &&
           job->choices[c].n_stored == job->choices[c].n_tokens - 1 && pending(job, c) == 1;
}

bool batch_is_decoding(const struct batch *batch, int32_t job, int32_t choice)
{
    return in_decode(&batch->jobs[job], choice);
}

struct part {
    int32_t slot;
    int32_t choice;
    int32_t pending;
};

/* Prefill parts: the oldest first, the others by what is left, shortest first (ties: by age). */
static int32_t list_parts(const struct batch *batch, const int32_t *order, int32_t n_order,
                          struct part parts[BATCH_SEQUENCES_MAX])
{
    int32_t n = 0;
    for (int32_t i = 0; i < n_order; i++) {
        const struct batch_job *job = &batch->jobs[order[i]];
        for (int32_t c = 0; c < job->n_choices; c++) {
            int32_t left = pending(job, c);
            if (left == 0)
                continue;
            int32_t at = n++;
            for (; at > 1 && parts[at - 1].pending > left; at--)
                parts[at] = parts[at - 1];
            parts[at] = (struct part){order[i], c, left};
        }
    }
    return n;
}

/* Where many wait for their first token (n_parts sequences in prefill, at least a quarter of those
 * in decode) they get the whole chunk: the batch fills, which serves all of them sooner. */
enum { CROWD = 4 };

static int32_t prefill_budget(const struct batch *batch, int32_t n_decode_rows, int32_t n_parts)
{
    const struct batch_limits *limits = &batch->limits;
    bool is_crowd = n_parts >= CROWD && n_parts * 4 >= n_decode_rows;
    if (n_decode_rows == 0 || is_crowd || limits->shared_step_us == 0 || batch->prefill_row_us == 0)
        return limits->prefill_rows_max;
    struct step_line line = step_cost_line(&batch->decode_cost);
    double decode_us = line.fixed_us + line.row_us * n_decode_rows;
    double aim_us = SHARED_STEP * decode_us;
    aim_us = aim_us > limits->shared_step_us ? aim_us : limits->shared_step_us;
    double rows = (aim_us - decode_us) / batch->prefill_row_us;
    int32_t least = min32(SHARED_PREFILL_ROWS_MIN, limits->prefill_rows_max);
    return rows < least                      ? least
           : rows < limits->prefill_rows_max ? (int32_t)rows
                                             : limits->prefill_rows_max;
}

static void plan_decode(struct batch *batch, struct batch_plan *plan, const int32_t *order,
                        int32_t n_order)
{
    for (int32_t i = 0; i < n_order; i++)
        for (int32_t c = 0; c < batch->jobs[order[i]].n_choices; c++)
            if (in_decode(&batch->jobs[order[i]], c))
                plan->n_decode_rows += take_rows(batch, plan, order[i], c, 1);
}

static void plan_prefill(struct batch *batch, struct batch_plan *plan, const int32_t *order,
                         int32_t n_order)
{
    struct part parts[BATCH_SEQUENCES_MAX];
    int32_t n_parts = list_parts(batch, order, n_order, parts);
    int32_t budget = prefill_budget(batch, plan->n_decode_rows, n_parts);
    int32_t oldest_share = n_parts > 1 ? (budget + 1) / 2 : budget;
    // The last turn is the oldest job's again, for what the others left.
    for (int32_t turn = 0; turn <= n_parts && n_parts > 0 && budget > 0; turn++) {
        struct part *part = &parts[turn < n_parts ? turn : 0];
        int32_t left = pending(&batch->jobs[part->slot], part->choice);
        if (left == 0)  // done, or preempted by an older one
            continue;
        int32_t rows = min32(left, turn == 0 ? oldest_share : budget);
        budget -= take_rows(batch, plan, part->slot, part->choice, rows);
    }
}

/* Guessed tokens run behind their choice's known one, which has its row by now. */
static void plan_drafts(struct batch *batch, struct batch_plan *plan, const int32_t *order,
                        int32_t n_order)
{
    int32_t budget = batch->limits.draft_rows_max;
    for (int32_t i = 0; i < n_order; i++) {
        struct batch_job *job = &batch->jobs[order[i]];
        for (int32_t c = 0; c < job->n_choices; c++) {
            struct batch_choice *choice = &job->choices[c];
            int32_t n = min32(choice->n_drafts, budget);
            choice->n_drafts = 0;
            if (n > 0 && choice->n_rows == 1 && choice->n_stored + 1 == choice->n_tokens)
                choice->n_drafts = fit_rows(batch, order[i], c, n);
            budget -= choice->n_drafts;
            plan->n_draft_rows += choice->n_drafts;
        }
    }
}

static void list_items(struct batch *batch, struct batch_plan *plan, const int32_t *order,
                       int32_t n_order)
{
    plan->n_decode_rows = 0;
    for (int32_t i = 0; i < n_order; i++) {
        struct batch_job *job = &batch->jobs[order[i]];
        for (int32_t c = 0; c < job->n_choices; c++) {
            struct batch_choice *choice = &job->choices[c];
            if (job->phase != BATCH_RUNNING || choice->n_rows == 0)
                continue;
            int32_t n_known = choice->n_rows - choice->n_drafts;
            bool samples = choice->n_stored + n_known == choice->n_tokens;
            plan->items[plan->n_items++] = (struct batch_item){
                .job = order[i],
                .choice = c,
                .first = choice->n_stored,
                .n_rows = choice->n_rows,
                .n_drafts = choice->n_drafts,
                .samples = samples,
                .forks = job->forking,
            };
            plan->n_rows += choice->n_rows;
            plan->n_decode_rows += samples && n_known == 1 && choice->n_tokens > job->n_prompt;
            batch->tenants[job->tenant].served += (uint64_t)choice->n_rows;
        }
    }
}

void batch_plan(struct batch *batch, struct batch_plan *out)
{
    assert(!batch->in_step);
    out->n_preempted = out->n_items = out->n_rows = out->n_decode_rows = out->n_draft_rows = 0;
    make_way(batch, out);
    int32_t order[BATCH_SEQUENCES_MAX];
    int32_t n_order = running_by_age(batch, order);
    plan_decode(batch, out, order, n_order);
    plan_prefill(batch, out, order, n_order);
    plan_drafts(batch, out, order, n_order);
    list_items(batch, out, order, n_order);
    batch->in_step = out->n_items > 0;
    batch->step_prefill_rows = out->n_rows - out->n_decode_rows - out->n_draft_rows;
    assert(batch_is_sane(batch));
}

/* ---- checks ---- */

static bool job_is_sane(const struct batch *batch, const struct batch_job *job)
{
    if (job->phase == BATCH_FREE)
        return true;
    if (n_live(job) == 0 || batch->tenants[job->tenant].n_jobs == 0)
        return false;
    for (int32_t c = 0; c < job->n_choices; c++) {
        const struct batch_choice *choice = &job->choices[c];
        if (choice->ended)
            continue;
        if (choice->n_tokens < job->n_prompt || choice->n_rows < 0 || choice->n_drafts < 0)
            return false;
        if (choice->n_stored + choice->n_rows > choice->n_tokens + choice->n_drafts)
            return false;
        bool has_kv = choice->n_stored > 0 || choice->n_rows > 0;
        if (has_kv && (job->phase == BATCH_WAITING || job->loading))
            return false;
    }
    return true;
}

bool batch_is_sane(const struct batch *batch)
{
    int32_t sequences = 0;
    uint32_t n_jobs = 0, n_joined = 0;
    for (int32_t i = 0; i < batch->n_slots; i++) {
        const struct batch_job *job = &batch->jobs[i];
        if (!job_is_sane(batch, job))
            return false;
        n_jobs += job->phase != BATCH_FREE;
        if (job->phase == BATCH_RUNNING)
            sequences += n_live(job);
    }
    for (size_t i = 0; i < BATCH_JOBS_MAX; i++)
        n_joined += batch->tenants[i].n_jobs;
    return n_jobs == n_joined && sequences <= batch->limits.sequences_max &&
           batch_blocks_used(batch) <= batch->limits.n_blocks;
}
