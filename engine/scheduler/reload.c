/* Jobs whose prompt begins with KV that has spilled to the directory: they wait, while others run,
 * until it is read back into the prefix cache, and then match it like any other.
 *
 * The spill thread reads into slots (cache/kv_spill.h); this thread copies what is ready into
 * cached blocks, a bounded number of bytes a turn, 0.1 ms a MB. The blocks belong to nobody
 * meanwhile, so the planner's account does not know of them, and whatever fails (a file that is
 * damaged or gone, a pool that fills up, a disk that does not answer) only means that less is found
 * and more computed.
 * Leaves are read before their parents, which keeps the order of the eviction lists.
 *
 * One job at a time: those behind it often want the same blocks, and find them in memory then. */
#include "engine/base/clock.h"
#include "engine/cache/kv_spill.h"
#include "engine/cache/sequence.h"
#include "engine/scheduler/scheduler_state.h"

static const int64_t STALL_NS = 5 * (int64_t)1000000000;  // a disk this slow is not waited for
static const size_t BYTES_A_TURN = (size_t)16 << 20;

/* Makes a list of what the job wants; false when there is nothing, or no memory for it. */
static bool list_blocks(struct scheduler *s, int32_t slot)
{
    struct reload *r = &s->reload;
    size_t n_known, n_max;
    struct job_choice *choice = scheduler_leader(s->slots[slot], &n_known);
    n_max = sequence_stored_max(choice->sequence);
    mem_free(r->blocks);
    r->blocks = mem_alloc_array(n_max, sizeof *r->blocks);
    r->n_blocks = r->n_asked = r->n_answered = 0;
    if (r->blocks != NULL && !r->is_stalled)
        r->n_blocks =
            sequence_list_stored(choice->sequence, choice->tokens, n_known, r->blocks, n_max);
    return r->n_blocks > 0;
}

static void ask(struct scheduler *s)
{
    struct reload *r = &s->reload;
    size_t n_known;
    struct job_choice *choice = scheduler_leader(s->slots[r->slots[0]], &n_known);
    while (r->n_asked < r->n_blocks &&
           sequence_ask_stored(choice->sequence, choice->tokens, &r->blocks[r->n_asked], r->ticket))
        r->n_asked++;
}

static void start(struct scheduler *s)
{
    s->reload.is_active = true;
    s->reload.ticket++;
    s->reload.progress_ns = clock_ns();
    ask(s);
}

static void drop(struct reload *r, size_t i)
{
    r->is_active = r->is_active && i > 0;
    r->n_slots--;
    memmove(r->slots + i, r->slots + i + 1, (r->n_slots - i) * sizeof *r->slots);
}

/* The first job goes on, and with it those behind it that find all they want in memory. */
static void end_first(struct scheduler *s)
{
    struct reload *r = &s->reload;
    do {
        int32_t slot = r->slots[0];
        drop(r, 0);
        scheduler_match_prefix(s, slot);
    } while (r->n_slots > 0 && !list_blocks(s, r->slots[0]));
    if (r->n_slots > 0)
        start(s);
}

bool scheduler_reload_begin(struct scheduler *s, int32_t slot)
{
    struct reload *r = &s->reload;
    size_t n_known;
    struct job_choice *choice = scheduler_leader(s->slots[slot], &n_known);
    // Behind others it makes its list when its turn comes: they may be reading what it wants.
    if (s->parts.spill == NULL || !sequence_has_stored(choice->sequence, choice->tokens, n_known) ||
        (r->n_slots == 0 && !list_blocks(s, slot)))
        return false;
    scheduler_apply(s, (struct batch_event){.type = BATCH_LOADING, .job = slot});
    r->slots[r->n_slots++] = slot;
    if (r->n_slots == 1)
        start(s);
    return true;
}

void scheduler_reload_forget(struct scheduler *s, int32_t slot)
{
    struct reload *r = &s->reload;
    for (size_t i = 0; i < r->n_slots; i++) {
        if (r->slots[i] != slot)
            continue;
        drop(r, i);
        return;
    }
}

/* Puts answers into the cache; false when the turn's bytes are used up before they are. */
static bool take_answers(struct scheduler *s)
{
    struct reload *r = &s->reload;
    struct kv_spill_answer answer;
    size_t n_bytes = 0;
    while (n_bytes < BYTES_A_TURN) {
        if (!kv_spill_answer(s->parts.spill, &answer))
            return true;
        r->is_stalled = false;
        if (r->is_active && answer.ticket == r->ticket) {
            size_t n_known;
            struct job_choice *choice = scheduler_leader(s->slots[r->slots[0]], &n_known);
            if (answer.status == OK && sequence_restore(choice->sequence, &answer))
                metrics_count(&s->parts.metrics->kv_blocks_reloaded, 1);
            r->n_answered++;
            r->progress_ns = clock_ns();
        }
        n_bytes += kv_group_block_bytes(&kv_cache_layout(s->parts.cache)->groups[answer.key.group]);
        kv_spill_done(s->parts.spill, &answer);
    }
    return false;
}

bool scheduler_reload_go_on(struct scheduler *s, int64_t *deadline_ns)
{
    struct reload *r = &s->reload;
    if (s->parts.spill == NULL)
        return false;
    bool is_empty = take_answers(s);
    // After a forgotten job the next one has not been looked at.
    while (!r->is_active && r->n_slots > 0) {
        if (list_blocks(s, r->slots[0]))
            start(s);
        else
            end_first(s);
    }
    if (!r->is_active)
        return !is_empty;
    ask(s);
    r->is_stalled = clock_ns() - r->progress_ns >= STALL_NS;
    if (r->n_answered == r->n_blocks || r->is_stalled)
        end_first(s);
    if (r->is_active && r->progress_ns + STALL_NS < *deadline_ns)
        *deadline_ns = r->progress_ns + STALL_NS;
    return !is_empty;
}
