/* Filters over a full ordering; see filters.h. All sums run in the order of the candidates, in
 * double, so the token is a function of the row and the parameters alone.
 *
 * Sources: top-n-sigma, Tang et al. 2024; locally typical sampling, Meister et al. 2022; XTC,
 * text-generation-webui #6335. */
#include "engine/sampling/filters.h"

#include <math.h>

#include "engine/base/mem.h"

struct candidates {
    rank_key *keys;   // best first
    double *weights;  // exp((logit - max) / temperature)
    size_t n;
    double total;
};

void filter_release(struct filter_state *state)
{
    mem_free(state->weights);
    mem_free(state->surprises);
    mem_free(state->order);
    *state = (struct filter_state){0};
}

bool filters_are_wanted(const struct sampling_params *p)
{
    return p->top_n_sigma > 0 || (p->typical_p > 0 && p->typical_p < 1) ||
           (p->xtc_probability > 0 && p->xtc_threshold <= 0.5f);
}

static bool make_room(struct filter_state *state, size_t n_vocab)
{
    if (state->weights == NULL)
        state->weights = mem_alloc_array(n_vocab, sizeof *state->weights);
    if (state->surprises == NULL)
        state->surprises = mem_alloc_array(n_vocab, sizeof *state->surprises);
    if (state->order == NULL)
        state->order = mem_alloc_array(2 * n_vocab, sizeof *state->order);
    return state->weights != NULL && state->surprises != NULL && state->order != NULL;
}

static double add_up(const struct candidates *c)
{
    double total = 0;
    for (size_t i = 0; i < c->n; i++)
        total += c->weights[i];
    return total;
}

/* Number of candidates with a logit of at least max - n standard deviations. */
static size_t within_sigma(const float *logits, const rank_key *keys, size_t n, float max,
                           float n_sigma)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++)
        mean += (double)logits[rank_token(keys[i])];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) {
        double distance = (double)logits[rank_token(keys[i])] - mean;
        variance += distance * distance;
    }
    double least = (double)max - (double)n_sigma * sqrt(variance / (double)n);
    size_t kept = 1;
    while (kept < n && (double)logits[rank_token(keys[kept])] >= least)
        kept++;
    return kept;
}

/* Sorts the candidates' numbers by ascending surprise, ties by rank: a merge sort, since qsort()
 * has no order for equal ones and no context. */
static uint32_t *sort_by_surprise(const double *surprises, size_t n, uint32_t *from, uint32_t *to)
{
    for (size_t i = 0; i < n; i++)
        from[i] = (uint32_t)i;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width) {
            size_t mid = low + width < n ? low + width : n;
            size_t high = low + 2 * width < n ? low + 2 * width : n;
            size_t a = low, b = mid;
            for (size_t k = low; k < high; k++) {
                bool left = a < mid && (b == high || surprises[from[a]] <= surprises[from[b]]);
                to[k] = left ? from[a++] : from[b++];
            }
        }
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* Keeps the tokens whose surprise is nearest to the expected one, up to a share of `p`. */
static void keep_typical(struct filter_state *state, struct candidates *c, double p)
{
    double entropy = 0;
    for (size_t i = 0; i < c->n; i++) {
        double share = c->weights[i] / c->total;
        state->surprises[i] = share > 0 ? -log(share) : INFINITY;
        entropy += share > 0 ? share * state->surprises[i] : 0;
    }
    for (size_t i = 0; i < c->n; i++)
        state->surprises[i] = fabs(state->surprises[i] - entropy);
    uint32_t *order = sort_by_surprise(state->surprises, c->n, state->order, state->order + c->n);
    double kept = 0;
    size_t n_kept = 0;
    while (n_kept < c->n && (n_kept == 0 || kept < p * c->total))
        kept += c->weights[order[n_kept++]];
    for (size_t i = 0; i < c->n; i++)
        state->surprises[i] = 0;
    for (size_t i = 0; i < n_kept; i++)
        state->surprises[order[i]] = 1;  // marks what stays
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (state->surprises[i] == 0)
            continue;
        c->keys[n] = c->keys[i];
        c->weights[n++] = c->weights[i];
    }
    c->n = n;
    c->total = add_up(c);
}

static void keep_top(struct candidates *c, const struct sampling_params *p)
{
    double limit = p->top_p < 1 ? (double)p->top_p * c->total : INFINITY, kept = 0;
    double least = (double)p->min_p * c->weights[0];
    size_t n = 0;
    while (n < c->n && (n == 0 || (kept < limit && c->weights[n] >= least && c->weights[n] > 0)))
        kept += c->weights[n++];
    c->n = n;
    c->total = kept;
}

/* Of the tokens at or above the threshold only the least probable one stays. */
static void exclude_top(struct candidates *c, double threshold)
{
    size_t n_above = 0;
    while (n_above < c->n && c->weights[n_above] >= threshold * c->total)
        n_above++;
    if (n_above < 2)
        return;
    c->keys += n_above - 1;
    c->weights += n_above - 1;
    c->n -= n_above - 1;
    c->total = add_up(c);
}

enum status filters_draw(struct filter_state *state, const struct sampling_params *p,
                         const float *logits, size_t n_vocab, float max, rank_key *keys, size_t n,
                         double u, double u_xtc, int32_t *token, struct error *err)
{
    if (!make_room(state, n_vocab))
        return error_set(err, ERR_MEMORY, "no memory to order %zu tokens", n_vocab);
    if (p->top_n_sigma > 0)
        n = within_sigma(logits, keys, n, max, p->top_n_sigma);
    if (p->top_k > 0 && (size_t)p->top_k < n)
        n = (size_t)p->top_k;
    struct candidates c = {.keys = keys, .weights = state->weights, .n = n};
    float scale = 1.0f / p->temperature;
    for (size_t i = 0; i < n; i++)
        c.weights[i] = (double)scan_exp((logits[rank_token(keys[i])] - max) * scale);
    c.total = add_up(&c);
    if (p->typical_p > 0 && p->typical_p < 1)
        keep_typical(state, &c, (double)p->typical_p);
    keep_top(&c, p);
    if (p->xtc_probability > 0 && u_xtc < (double)p->xtc_probability)
        exclude_top(&c, (double)p->xtc_threshold);
    double target = u * c.total, sum = 0;
    for (size_t i = 0; i < c.n; i++) {
        sum += c.weights[i];
        *token = rank_token(c.keys[i]);
        if (sum > target)
            break;
    }
    return OK;
}
