/* The planner: which sequences run which tokens in the next step, who is admitted, who gives way.
 *
 * Pure and plain: (state, events) -> plan. No pointers, clock, lock, allocation or randomness, so
 * the same object runs in the server and in the simulator (tests/engine/scheduler/batch_sim_test),
 * a run can be traced and replayed, and a plan can be sent to other ranks.
 *
 * A job is 1..BATCH_CHOICES_MAX sequences over one prompt. The first live one (the leader) computes
 * the prompt; then the others are forked from it, sharing its whole blocks. A sequence has n_tokens
 * known tokens of which n_stored are in the KV cache; n_tokens - n_stored is 1 in decode and more
 * in prefill, also when a preempted job recomputes what it had generated. In decode, tokens that
 * the caller guesses (speculate.h) may run behind the known one: what the step stores of them
 * counts only once they are sampled.
 *
 * Blocks are accounted as if only the choices of one job shared any: what the prefix cache shares
 * on top makes the pool emptier than the account, never fuller, so a planned step always fits. */
#ifndef WICARA_SCHEDULER_BATCH_H
#define WICARA_SCHEDULER_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/scheduler/step_cost.h"

enum {
    BATCH_JOBS_MAX = 1024,  // waiting and running
    BATCH_CHOICES_MAX = 32,
    BATCH_SEQUENCES_MAX = 256,  // running
};

struct batch_limits {
    int32_t n_blocks;  // that sequences may hold (of each KV group; a windowed one needs fewer)
    int32_t block_tokens;
    int32_t sequences_max;     // in one step, <= BATCH_SEQUENCES_MAX
    int32_t prefill_rows_max;  // rows of one step beside those in decode, >= 1
    int32_t headroom_blocks;   // kept free for each running sequence when another is admitted
    int32_t shared_step_us;    // least aim for steps that hold decode rows too; 0 = no aim
    int32_t draft_rows_max;    // rows of guessed tokens in one step, beside all others; 0 = none
};

enum batch_phase { BATCH_FREE, BATCH_WAITING, BATCH_RUNNING };

struct batch_choice {
    int32_t n_tokens;  // prompt and generated
    int32_t n_stored;  // of them in the KV cache
    int32_t n_rows;    // in the step under way
    int32_t n_drafts;  // guessed tokens: on offer, then of n_rows, then yet to be confirmed
    bool ended;
};

struct batch_job {
    uint8_t phase;  // enum batch_phase
    bool loading;   // its KV is being read back: gets no rows until BATCH_MATCHED
    bool paused;    // its reader is slow: keeps its blocks, gets no rows
    bool forked;    // the choices have their own sequences
    bool forking;   // ... will have, after the step under way
    uint8_t n_choices;
    uint16_t tenant;  // index into tenants
    uint32_t preemptions;
    uint64_t arrival;  // order of arrival
    uint64_t age;      // order of first admission, 0 = never admitted
    int32_t n_prompt;
    struct batch_choice choices[BATCH_CHOICES_MAX];
};

struct batch_tenant {
    uint64_t key;
    uint64_t served;  // rows, a virtual clock: the least served tenant is next
    uint32_t n_jobs;  // 0 = the entry is free
};

struct batch {
    struct batch_limits limits;
    struct batch_job jobs[BATCH_JOBS_MAX];  // indexed by the caller's slot
    struct batch_tenant tenants[BATCH_JOBS_MAX];
    int32_t n_slots;  // slots [n_slots, MAX) were never used
    uint64_t n_arrivals, n_admissions, n_preemptions;
    double prefill_row_us;  // what a row of prefill adds to a step, a moving average; 0 = not known
    struct step_cost decode_cost;  // of steps without prefill
    bool in_step;
    int32_t step_prefill_rows;  // of the step under way
};

enum batch_event_type {
    BATCH_ARRIVE,     // job, tenant, n_tokens = prompt, n_choices
    BATCH_LOADING,    // job; only right after admission: MATCHED comes later
    BATCH_MATCHED,    // job, n_tokens = found in the prefix cache; only before its first rows
    BATCH_PAUSE,      // job
    BATCH_RESUME,     // job
    BATCH_DRAFTED,    // job, choice in decode, n_tokens: so many are guessed; for the next plan
    BATCH_STEP_DONE,  // us: the planned rows of known tokens are stored, forks are made
    BATCH_STEP_LOST,  // nothing of the step is stored
    BATCH_SAMPLED,    // job, choice: one more token. n_tokens 1: it was guessed, and is stored
    BATCH_ENDED,      // job, choice: that choice is complete; with the last one the slot is free
    BATCH_CANCEL,     // job: all of it is gone, the slot is free
};

struct batch_event {
    enum batch_event_type type;
    int32_t job;
    int32_t choice;
    int32_t n_tokens;
    int32_t n_choices;
    uint64_t tenant;
    int64_t us;
};

struct batch_item {
    int32_t job;
    int32_t choice;
    int32_t first;  // position of the first row
    int32_t n_rows;
    int32_t n_drafts;  // of the rows, the last ones, are of guessed tokens
    bool samples;      // the last known token's row, and those of guessed ones, give logits. With
                       // `forks`: for all live choices
    bool forks;        // after the step, the other live choices are forked at n_prompt tokens
};

struct batch_plan {
    int32_t n_preempted;
    int32_t preempted[BATCH_SEQUENCES_MAX];  // jobs; their KV is to be released first
    int32_t n_items;
    struct batch_item items[BATCH_SEQUENCES_MAX];
    int32_t n_rows;
    int32_t n_decode_rows;  // items of one known token that sample, not the first time
    int32_t n_draft_rows;
};

void batch_init(struct batch *batch, const struct batch_limits *limits);

/* Most blocks that such a job can hold; more than limits.n_blocks means that it can never run. */
int64_t batch_blocks_worst(const struct batch_limits *limits, int64_t n_prompt, int64_t max_tokens,
                           int64_t n_choices);

void batch_apply(struct batch *batch, const struct batch_event *event);

/* Admits what fits: jobs become RUNNING and are listed. The caller may then report what the prefix
 * cache already holds (BATCH_MATCHED), and plans. Returns their number, at most sequences_max. */
int32_t batch_admit(struct batch *batch, int32_t admitted[BATCH_SEQUENCES_MAX]);

/* True when the choice will run its one pending token in the next step. */
bool batch_is_decoding(const struct batch *batch, int32_t job, int32_t choice);
/* The chance of being right from which a guessed token's row makes a step of n_decode_rows choices
 * in decode yield more tokens a second; above 1 = never. */
double batch_draft_chance(const struct batch *batch, int32_t n_decode_rows);

/* Plans a step. With items in the plan, the next event must be STEP_DONE or STEP_LOST. */
void batch_plan(struct batch *batch, struct batch_plan *out);

int32_t batch_blocks_used(const struct batch *batch);
/* The relations between the fields; for asserts and the simulator. */
bool batch_is_sane(const struct batch *batch);

#endif
