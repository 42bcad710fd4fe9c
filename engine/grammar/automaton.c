/* States, rows and distances; see automaton.h.
 *
 * Terms without intersection, complement and multiples know the length of their shortest text, and
 * each of them that is not TERM_NONE accepts something. For the others a search in breadth finds
 * the nearest complete text; the states on the way there are marked with their distances, and when
 * nothing is found, all states that were seen are dead. */
#include "engine/grammar/automaton.h"

#include "engine/base/mem.h"

enum { SPELLED_BYTES_MAX = 512 };  // longer texts count one token a byte

struct search {
    int32_t state;
    uint32_t parent;  // index in the queue
    uint32_t depth;
};

bool automaton_init(struct automaton *automaton, struct terms *terms,
                    const struct vocabulary *vocabulary)
{
    *automaton =
        (struct automaton){.budget = terms->budget, .terms = terms, .vocabulary = vocabulary};
    if (!GROW(automaton->budget, automaton->buckets, automaton->buckets_capacity, 256) ||
        !GROW(automaton->budget, automaton->states, automaton->states_capacity, 64))
        return false;
    automaton->n_buckets = 256;
    automaton_clear(automaton);
    return true;
}

void automaton_release(struct automaton *automaton)
{
    if (automaton->budget == NULL)
        return;
    DROP(automaton->budget, automaton->states, automaton->states_capacity);
    DROP(automaton->budget, automaton->rows, automaton->rows_capacity);
    DROP(automaton->budget, automaton->buckets, automaton->buckets_capacity);
    DROP(automaton->budget, automaton->queue, automaton->queue_capacity);
    DROP(automaton->budget, automaton->marks, automaton->marks_capacity);
    DROP(automaton->budget, automaton->text, automaton->text_capacity);
    DROP(automaton->budget, automaton->spelling, automaton->spelling_capacity);
}

void automaton_clear(struct automaton *automaton)
{
    automaton->n_rows = 0;
    automaton->n_marks = 0;
    automaton->stamp = 0;
    automaton->n_states = 1;
    automaton->states[STATE_DEAD] = (struct automaton_state){
        .row = -1, .mask = -1, .long_mask = -1, .distance = DISTANCE_NONE, .tokens = DISTANCE_NONE};
    DROP(automaton->budget, automaton->rows, automaton->rows_capacity);
    for (size_t i = 0; i < automaton->n_buckets; i++)
        automaton->buckets[i] = -1;
}

static size_t bucket_of(const struct automaton *automaton, term t, uint16_t mode)
{
    uint64_t h = ((uint64_t)(uint32_t)t << 16 | mode) * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(h >> 32) & (automaton->n_buckets - 1);
}

static bool make_room(struct automaton *automaton)
{
    if (!GROW(automaton->budget, automaton->states, automaton->states_capacity,
              automaton->n_states + 1))
        return false;
    if (automaton->n_states >= STATES_MAX) {
        automaton->budget->failed = ERR_LIMIT;
        return false;
    }
    if (2 * (automaton->n_states + 1) <= automaton->n_buckets)
        return true;
    size_t wanted = 2 * automaton->n_buckets;
    if (!GROW(automaton->budget, automaton->buckets, automaton->buckets_capacity, wanted))
        return false;
    automaton->n_buckets = wanted;
    for (size_t i = 0; i < wanted; i++)
        automaton->buckets[i] = -1;
    for (size_t i = 1; i < automaton->n_states; i++) {
        size_t at = bucket_of(automaton, automaton->states[i].term, automaton->states[i].mode);
        while (automaton->buckets[at] >= 0)
            at = (at + 1) & (wanted - 1);
        automaton->buckets[at] = (int32_t)i;
    }
    return true;
}

int32_t automaton_state_of(struct automaton *automaton, term t, uint16_t mode)
{
    if (t == TERM_NONE || !make_room(automaton))
        return STATE_DEAD;
    size_t at = bucket_of(automaton, t, mode);
    for (; automaton->buckets[at] >= 0; at = (at + 1) & (automaton->n_buckets - 1)) {
        const struct automaton_state *have = &automaton->states[automaton->buckets[at]];
        if (have->term == t && have->mode == mode)
            return automaton->buckets[at];
    }
    const struct term_node *node = term_at(automaton->terms, t);
    automaton->buckets[at] = (int32_t)automaton->n_states;
    automaton->states[automaton->n_states] = (struct automaton_state){
        .term = t,
        .mode = mode,
        .is_nullable = node->is_nullable,
        .is_mixed = node->is_mixed,
        .row = -1,
        .mask = -1,
        .long_mask = -1,
        .distance = node->is_mixed ? DISTANCE_UNKNOWN : node->min_length,
        .tokens = DISTANCE_UNKNOWN,
    };
    return (int32_t)automaton->n_states++;
}

/* A row without the check that its states are live. */
static bool make_raw_row(struct automaton *automaton, int32_t state)
{
    if (automaton->states[state].row >= 0)
        return true;
    term t = automaton->states[state].term;
    uint16_t mode = automaton->states[state].mode;
    uint8_t class_of[ROW_ENTRIES];
    int32_t next[ROW_ENTRIES];
    unsigned n_classes = term_first_classes(automaton->terms, t, class_of), n_known = 0;
    if (!budget_work(automaton->budget, n_classes))
        return false;
    for (unsigned b = 0; n_known < n_classes; b++) {
        if (class_of[b] != n_known)
            continue;  // numbers are not in order of first bytes, so look again below
        next[n_known++] = automaton_state_of(automaton, term_derive(automaton->terms, t, b), mode);
        b = UINT32_MAX;
    }
    if (automaton->budget->failed != OK ||
        !GROW(automaton->budget, automaton->rows, automaton->rows_capacity,
              (automaton->n_rows + 1) * ROW_ENTRIES))
        return false;
    int32_t *row = automaton->rows + automaton->n_rows * ROW_ENTRIES;
    for (unsigned b = 0; b < ROW_ENTRIES; b++)  // a complement accepts bytes that no text may hold
        row[b] = byte_set_has(&automaton->terms->usable, b) ? next[class_of[b]] : STATE_DEAD;
    automaton->states[state].row = (int32_t)automaton->n_rows++;
    automaton->states[state].is_ready = !automaton->states[state].is_mixed;
    return true;
}

/* ---- distances ---- */

static bool begin_search(struct automaton *automaton)
{
    automaton->stamp++;
    return automaton->stamp != 0;
}

/* True when the state was not seen by this search before; it is now. */
static bool mark(struct automaton *automaton, int32_t state)
{
    if (!GROW(automaton->budget, automaton->marks, automaton->marks_capacity, automaton->n_states))
        return false;
    for (; automaton->n_marks < automaton->n_states; automaton->n_marks++)
        automaton->marks[automaton->n_marks] = 0;
    if (automaton->marks[state] == automaton->stamp)
        return false;
    automaton->marks[state] = automaton->stamp;
    return true;
}

static bool enqueue(struct automaton *automaton, size_t *n, int32_t state, uint32_t parent,
                    uint32_t depth)
{
    if (!mark(automaton, state))
        return automaton->budget->failed == OK;
    if (!GROW(automaton->budget, automaton->queue, automaton->queue_capacity, *n + 1))
        return false;
    automaton->queue[(*n)++] = (struct search){state, parent, depth};
    return true;
}

/* The way from the search's start to queue[at], which is `distance` bytes from its end. */
static void set_distances(struct automaton *automaton, size_t at, uint32_t distance)
{
    for (;; at = automaton->queue[at].parent, distance++) {
        struct automaton_state *state = &automaton->states[automaton->queue[at].state];
        if (state->distance > distance)
            state->distance = distance;
        if (at == 0)
            return;
    }
}

/* The exact distance, so that it does not depend on what was searched before. */
static uint32_t search(struct automaton *automaton, int32_t start)
{
    size_t n = 0, nearest = 0;
    uint32_t best = DISTANCE_NONE, known_there = 0;
    if (!begin_search(automaton) || !enqueue(automaton, &n, start, 0, 0))
        return DISTANCE_UNKNOWN;
    for (size_t i = 0; i < n && automaton->queue[i].depth < best; i++) {
        struct search at = automaton->queue[i];
        struct automaton_state state = automaton->states[at.state];
        uint32_t known = state.is_nullable ? 0 : state.distance;
        if (known == DISTANCE_NONE)
            continue;
        if (known != DISTANCE_UNKNOWN) {
            if (at.depth + known < best) {
                best = at.depth + known;
                nearest = i;
                known_there = known;
            }
            continue;
        }
        if (!budget_work(automaton->budget, 16) || !make_raw_row(automaton, at.state))
            return DISTANCE_UNKNOWN;
        int32_t before = STATE_DEAD;
        for (unsigned b = 0; b < ROW_ENTRIES; b++) {
            int32_t next = automaton_next(automaton, at.state, b);
            if (next != before && next != STATE_DEAD &&
                !enqueue(automaton, &n, next, (uint32_t)i, at.depth + 1))
                return DISTANCE_UNKNOWN;
            before = next;
        }
    }
    if (best != DISTANCE_NONE) {
        set_distances(automaton, nearest, known_there);
        return best;
    }
    for (size_t i = 0; i < n; i++)
        automaton->states[automaton->queue[i].state].distance = DISTANCE_NONE;
    return DISTANCE_NONE;
}

uint32_t automaton_distance(struct automaton *automaton, int32_t state)
{
    uint32_t distance = automaton->states[state].distance;
    return distance != DISTANCE_UNKNOWN ? distance : search(automaton, state);
}

bool automaton_make_row(struct automaton *automaton, int32_t state)
{
    if (automaton->states[state].is_ready)
        return true;
    if (!make_raw_row(automaton, state))
        return false;
    int32_t before = STATE_DEAD;
    bool is_live = false;
    for (unsigned b = 0; b < ROW_ENTRIES; b++) {
        int32_t next = automaton_next(automaton, state, b);
        if (next == STATE_DEAD)
            continue;
        if (next != before)
            is_live = automaton_distance(automaton, next) != DISTANCE_NONE;
        before = next;
        if (automaton->budget->failed != OK)
            return false;
        if (!is_live)
            automaton->rows[(size_t)automaton->states[state].row * ROW_ENTRIES + b] = STATE_DEAD;
    }
    automaton->states[state].is_ready = true;
    return true;
}

/* True when `n_bytes` bytes of UTF-8, the first of them in [low, high], lead back `home`. */
static bool leads_back(struct automaton *automaton, int32_t state, int n_bytes, unsigned low,
                       unsigned high, int32_t home)
{
    if (n_bytes == 0)
        return state == home;
    if (state == STATE_DEAD || !automaton_make_row(automaton, state))
        return false;
    for (unsigned b = low; b <= high; b++) {
        int32_t next = automaton_next(automaton, state, b);
        if ((b == low || next != automaton_next(automaton, state, b - 1)) &&
            !leads_back(automaton, next, n_bytes - 1, 0x80, 0xBF, home))
            return false;
    }
    return true;
}

static bool loops_beyond_ascii(struct automaton *automaton, int32_t state)
{
    for (unsigned lead = 0xC2; lead <= 0xF4; lead++) {
        unsigned low, high;
        int n_bytes = utf8_follow(lead, &low, &high);
        int32_t next = automaton_next(automaton, state, lead);
        bool is_known = lead != 0xC2 && lead != 0xE0 && lead != 0xED && lead != 0xF0 &&
                        lead != 0xF4 && next == automaton_next(automaton, state, lead - 1) &&
                        lead - 1 != 0xE0 && lead - 1 != 0xED && lead - 1 != 0xF0;
        if (!is_known && !leads_back(automaton, next, n_bytes, low, high, state))
            return false;
    }
    return true;
}

const struct char_bits *automaton_loops(struct automaton *automaton, int32_t state)
{
    if (automaton->states[state].has_loops)
        return &automaton->states[state].loops;
    if (!automaton_make_row(automaton, state))
        return NULL;
    struct char_bits loops = {{0}};
    for (unsigned b = 2; b < 0x80; b++)
        if (automaton_next(automaton, state, b) == state)
            char_bits_add(&loops, b);
    if (loops_beyond_ascii(automaton, state))
        char_bits_add(&loops, CHARS_BEYOND_ASCII);
    if (automaton->budget->failed != OK)
        return NULL;
    automaton->states[state].loops = loops;
    automaton->states[state].has_loops = true;
    return &automaton->states[state].loops;
}

bool automaton_shortest(struct automaton *automaton, int32_t state, char *out)
{
    if (!automaton->states[state].is_mixed)
        return term_shortest(automaton->terms, automaton->states[state].term, out);
    for (uint32_t left = automaton_distance(automaton, state); left > 0; left--) {
        if (left >= DISTANCE_NONE || !automaton_make_row(automaton, state))
            return false;
        int32_t found = STATE_DEAD, before = STATE_DEAD;
        for (unsigned b = 0; b < ROW_ENTRIES && found == STATE_DEAD; b++) {
            int32_t next = automaton_next(automaton, state, b);
            if (next != before && next != STATE_DEAD &&
                automaton->states[next].distance == left - 1) {
                found = next;
                *out++ = (char)b;
            }
            before = next;
        }
        if (found == STATE_DEAD)
            return false;
        state = found;
    }
    return true;
}

uint32_t automaton_tokens(struct automaton *automaton, int32_t state)
{
    if (automaton->states[state].tokens != DISTANCE_UNKNOWN)
        return automaton->states[state].tokens;
    uint32_t distance = automaton_distance(automaton, state), tokens = distance;
    if (distance <= SPELLED_BYTES_MAX && distance > 1) {
        if (!GROW(automaton->budget, automaton->text, automaton->text_capacity, distance) ||
            !GROW(automaton->budget, automaton->spelling, automaton->spelling_capacity,
                  2 * (size_t)distance + 2) ||
            !automaton_shortest(automaton, state, automaton->text))
            return DISTANCE_UNKNOWN;
        size_t n = vocabulary_spell(automaton->vocabulary, automaton->text, distance,
                                    automaton->spelling, NULL);
        tokens = n < distance ? (uint32_t)n : distance;
    }
    automaton->states[state].tokens = tokens;
    return tokens;
}
