/* Byte-pair encoding; see bpe.h.
 *
 * The rule: of all neighbours that a merge names, the one of the lowest rank is merged first, the
 * leftmost on a tie, until none is left. Short pieces (nearly all) are done in place on the stack;
 * long ones with a linked list and a heap, so that a megabyte of one letter takes n log n.
 *
 * Most words are one token. Whether a token's own bytes come out as that token is found out once
 * and remembered, so that a word then costs one look-up. Tokens that are not normal text never
 * come out of here: user text must not be able to spell a control token.
 *
 * Source: Sennrich et al. 2016; order of merges as in the `tokenizers` library. */
#include "engine/tokenizer/bpe.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/base/utf8.h"
#include "engine/formats/gguf.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/token_list.h"
#include "engine/tokenizer/vocab.h"

enum { SHORT_MAX = 40, MERGES_MAX = 1 << 23 };
#define BPE_NO_RANK UINT32_MAX

enum whole_state { WHOLE_UNTRIED, WHOLE_ITSELF, WHOLE_SPLIT };

static const char key_merges[] = "tokenizer.ggml.merges";

/* ---- merges ---- */

static struct bpe_merge *merge_slot(const struct bpe *bpe, uint64_t pair)
{
    size_t slot = vocab_mix(bpe->seed, pair) & bpe->mask;
    while (bpe->merges[slot].rank != BPE_NO_RANK && bpe->merges[slot].pair != pair)
        slot = (slot + 1) & bpe->mask;
    return &bpe->merges[slot];
}

/* The rule for two neighbours; its rank is BPE_NO_RANK when there is none. */
static inline const struct bpe_merge *find_merge(const struct bpe *bpe, int32_t left, int32_t right)
{
    return merge_slot(bpe, (uint64_t)(uint32_t)left << 32 | (uint32_t)right);
}

static enum status bad_merge(size_t i, struct text_view text, const char *what, struct error *err)
{
    char quoted[GGUF_QUOTE_BYTES];
    return error_set(err, ERR_FORMAT, "%s[%zu] \"%s\": %s", key_merges, i,
                     gguf_quote(quoted, text.bytes, text.n_bytes), what);
}

/* The token of a merge's result. Vocabularies are mostly in the order of their merges, so the one
 * behind the last result is tried before the index. */
static int32_t find_merged(const struct vocab *vocab, int32_t guess, const char *text,
                           size_t n_bytes)
{
    if ((size_t)guess < vocab->n_tokens) {
        size_t n;
        const char *have = vocab_text(vocab, (size_t)guess, &n);
        if (n == n_bytes && !memcmp(have, text, n))
            return guess;
    }
    return vocab_find_text(vocab, text, n_bytes);
}

/* Reads "left right"; the text splits at the first space behind its first byte. *merged is the
 * result of the line before, then of this one. */
static enum status add_merge(struct bpe *bpe, size_t i, struct text_view text, char *joined,
                             int32_t *merged, struct error *err)
{
    const char *space = text.n_bytes > 2 ? memchr(text.bytes + 1, ' ', text.n_bytes - 1) : NULL;
    size_t n_left = space ? (size_t)(space - text.bytes) : 0;
    size_t n_right = space ? text.n_bytes - n_left - 1 : 0;
    if (n_right == 0)
        return bad_merge(i, text, "no two tokens with a space between them", err);
    if (n_left + n_right > VOCAB_TOKEN_BYTES_MAX)
        return bad_merge(i, text, "longer than a token can be", err);
    memcpy(joined, text.bytes, n_left);
    memcpy(joined + n_left, space + 1, n_right);
    int32_t left = vocab_find_text(bpe->vocab, joined, n_left);
    int32_t right = vocab_find_text(bpe->vocab, joined + n_left, n_right);
    *merged = find_merged(bpe->vocab, *merged + 1, joined, n_left + n_right);
    if (left < 0 || right < 0 || *merged < 0)
        return bad_merge(i, text,
                         left < 0    ? "the left part is no token"
                         : right < 0 ? "the right part is no token"
                                     : "the result is no token",
                         err);
    if (bpe->vocab->kinds[*merged] != TOKEN_KIND_NORMAL)
        return OK;  // never made from text
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    *merge_slot(bpe, pair) = (struct bpe_merge){pair, (uint32_t)i, *merged};
    return OK;
}

static enum status load_merges(struct bpe *bpe, const struct model_file *file, struct error *err)
{
    size_t n_merges, n_slots = 16;
    if (!model_file_array(file, key_merges, &n_merges))
        return error_set(err, ERR_FORMAT, "key %s %s", key_merges,
                         model_file_has(file, key_merges) ? "is no array" : "is missing");
    if (n_merges > MERGES_MAX)
        return error_set(err, ERR_LIMIT, "%s has %zu items, the limit is %d", key_merges, n_merges,
                         MERGES_MAX);
    while (n_slots < 2 * n_merges)
        n_slots *= 2;
    bpe->merges = mem_alloc_array(n_slots, sizeof *bpe->merges);
    char *joined = mem_alloc(VOCAB_TOKEN_BYTES_MAX);
    enum status status = OK;
    if (!bpe->merges || !joined)
        status = error_set(err, ERR_MEMORY, "no memory for %zu merges", n_merges);
    for (size_t i = 0; i < n_slots && !status; i++)
        bpe->merges[i].rank = BPE_NO_RANK;
    bpe->mask = n_slots - 1;
    bpe->seed = rng_seed_from_system();
    int32_t merged = -1;
    for (size_t i = 0; i < n_merges && !status; i++) {
        struct text_view text;
        if (!model_file_array_text(file, key_merges, i, &text))
            status = error_set(err, ERR_FORMAT, "%s[%zu] is no text", key_merges, i);
        else
            status = add_merge(bpe, i, text, joined, &merged, err);
    }
    mem_free(joined);
    return status;
}

/* The normal token of that text, or -1. */
static int32_t find_normal(const struct vocab *vocab, const char *text, size_t n_bytes)
{
    int32_t id = vocab_find_text(vocab, text, n_bytes);
    return id >= 0 && vocab->kinds[id] == TOKEN_KIND_NORMAL ? id : -1;
}

/* In raw mode the token of an ASCII character, or else <0xXX>. */
static int32_t find_byte(const struct vocab *vocab, unsigned char byte, bool raw)
{
    char text[8];
    if (!raw)
        return find_normal(vocab, text, vocab_byte_text(byte, text));
    int32_t id = byte < 0x80 ? find_normal(vocab, (const char *)&byte, 1) : -1;
    if (id >= 0)
        return id;
    snprintf(text, sizeof text, "<0x%02X>", byte);
    id = vocab_find_text(vocab, text, 6);
    return id >= 0 && vocab->kinds[id] == TOKEN_KIND_BYTE ? id : -1;
}

enum status bpe_init(struct bpe *bpe, const struct vocab *vocab, const struct model_file *file,
                     bool ignore_merges, bool raw, struct error *err)
{
    bpe->vocab = vocab;
    bpe->ignore_merges = ignore_merges;
    bpe->raw = raw;
    bpe->unknown = -1;
    for (unsigned byte = 0; byte < 256; byte++)
        bpe->byte_ids[byte] = find_byte(vocab, (unsigned char)byte, raw);
    enum status status = load_merges(bpe, file, err);
    if (status)
        return status;
    bpe->whole = mem_calloc(vocab->n_tokens, sizeof *bpe->whole);
    return bpe->whole ? OK : error_set(err, ERR_MEMORY, "no memory for the tokenizer");
}

void bpe_release(struct bpe *bpe)
{
    mem_free(bpe->merges);
    mem_free((void *)bpe->whole);
    *bpe = (struct bpe){0};
}

static bool has_bytes(const struct bpe *bpe, const char *bytes, size_t n_bytes)
{
    bool all = true;
    for (size_t i = 0; i < n_bytes; i++)
        all = all && bpe->byte_ids[(unsigned char)bytes[i]] >= 0;
    return all;
}

/* The symbols that merging starts from; at most n_bytes. */
static size_t first_ids(const struct bpe *bpe, const char *piece, size_t n_bytes, int32_t *ids)
{
    size_t n = 0, length;
    for (size_t i = 0; i < n_bytes; i += length) {
        uint32_t code;
        length = bpe->raw ? utf8_decode(piece + i, n_bytes - i, &code) : 1;
        length = length ? length : 1;
        int32_t id = length > 1 ? find_normal(bpe->vocab, piece + i, length) : -1;
        if (id >= 0)
            ids[n++] = id;
        if (id < 0 && bpe->unknown >= 0 && !has_bytes(bpe, piece + i, length)) {
            if (!bpe->fuse_unknown || n == 0 || ids[n - 1] != bpe->unknown)
                ids[n++] = bpe->unknown;
            continue;
        }
        for (size_t j = i; j < i + length && id < 0; j++) {
            int32_t byte_id = bpe->byte_ids[(unsigned char)piece[j]];
            if (byte_id >= 0)
                ids[n++] = byte_id;
        }
    }
    return n;
}

/* ---- short pieces ---- */

/* Merges ids[0, n) in place; returns how many are left. */
static size_t merge_short(const struct bpe *bpe, int32_t *ids, size_t n)
{
    const struct bpe_merge *rules[SHORT_MAX];
    for (size_t i = 0; i + 1 < n; i++)
        rules[i] = find_merge(bpe, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = rules[i]->rank < rules[best]->rank ? i : best;
        if (rules[best]->rank == BPE_NO_RANK)
            break;
        ids[best] = rules[best]->merged;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        if (best + 1 < n) {
            memmove(rules + best + 1, rules + best + 2, (n - best - 2) * sizeof *rules);
            rules[best] = find_merge(bpe, ids[best], ids[best + 1]);
        }
        if (best > 0)
            rules[best - 1] = find_merge(bpe, ids[best - 1], ids[best]);
    }
    return n;
}

/* ---- long pieces ---- */

/* A token in the making. Dead nodes (merged into their left neighbour) have id -1. */
struct bpe_node {
    int32_t id;
    uint32_t previous;  // NODE_NONE at the ends
    uint32_t next;
};
enum { NODE_NONE = UINT32_MAX };

/* A possible merge of a node and its right neighbour as they were when it was found. Ids tell
 * whether it still stands, because a node's text only ever grows. */
struct bpe_candidate {
    uint64_t order;  // rank << 32 | node: the smallest first
    int32_t left;
    int32_t right;
    int32_t merged;
};

static void heap_push(struct bpe_candidate *heap, size_t *n_heap, struct bpe_candidate item)
{
    size_t i = (*n_heap)++;
    while (i > 0 && heap[(i - 1) / 2].order > item.order) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = item;
}

static struct bpe_candidate heap_pop(struct bpe_candidate *heap, size_t *n_heap)
{
    struct bpe_candidate top = heap[0], item = heap[--*n_heap];
    size_t i = 0, n = *n_heap;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1].order < heap[child].order)
            child++;
        if (heap[child].order >= item.order)
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
    return top;
}

static enum status scratch_reserve(struct bpe_scratch *scratch, size_t n, struct error *err)
{
    if (n <= scratch->capacity)
        return OK;
    bpe_scratch_release(scratch);
    /* n - 1 candidates at first; a merge takes one out and puts at most two in. */
    scratch->ids = mem_alloc_array(n, sizeof *scratch->ids);
    scratch->nodes = mem_alloc_array(n, sizeof *scratch->nodes);
    scratch->heap = mem_alloc_array(n, 2 * sizeof *scratch->heap);
    if (!scratch->ids || !scratch->nodes || !scratch->heap) {
        bpe_scratch_release(scratch);
        return error_set(err, ERR_MEMORY, "no memory to tokenize a word of %zu bytes", n);
    }
    scratch->capacity = n;
    return OK;
}

void bpe_scratch_release(struct bpe_scratch *scratch)
{
    mem_free(scratch->ids);
    mem_free(scratch->nodes);
    mem_free(scratch->heap);
    *scratch = (struct bpe_scratch){0};
}

static void push_candidate(const struct bpe *bpe, struct bpe_scratch *scratch, size_t *n_heap,
                           uint32_t left, uint32_t right)
{
    if (left == NODE_NONE || right == NODE_NONE)
        return;
    const struct bpe_node *nodes = scratch->nodes;
    const struct bpe_merge *rule = find_merge(bpe, nodes[left].id, nodes[right].id);
    if (rule->rank == BPE_NO_RANK)
        return;
    heap_push(scratch->heap, n_heap,
              (struct bpe_candidate){(uint64_t)rule->rank << 32 | left, nodes[left].id,
                                     nodes[right].id, rule->merged});
}

static void merge_long(const struct bpe *bpe, struct bpe_scratch *scratch, size_t n)
{
    struct bpe_node *nodes = scratch->nodes;
    size_t n_heap = 0;
    for (uint32_t i = 0; i + 1 < n; i++)
        push_candidate(bpe, scratch, &n_heap, i, i + 1);
    while (n_heap > 0) {
        struct bpe_candidate top = heap_pop(scratch->heap, &n_heap);
        uint32_t left = (uint32_t)top.order, right = nodes[left].next;
        if (nodes[left].id != top.left || right == NODE_NONE || nodes[right].id != top.right)
            continue;
        assert(n_heap + 2 <= 2 * scratch->capacity);
        nodes[left].id = top.merged;
        nodes[left].next = nodes[right].next;
        nodes[right].id = -1;
        if (nodes[left].next != NODE_NONE)
            nodes[nodes[left].next].previous = left;
        push_candidate(bpe, scratch, &n_heap, nodes[left].previous, left);
        push_candidate(bpe, scratch, &n_heap, left, nodes[left].next);
    }
}

static enum status encode_long(const struct bpe *bpe, const char *piece, size_t n_bytes,
                               struct bpe_scratch *scratch, struct token_list *out,
                               struct error *err)
{
    enum status status = scratch_reserve(scratch, n_bytes, err);
    if (status)
        return status;
    struct bpe_node *nodes = scratch->nodes;
    size_t n = first_ids(bpe, piece, n_bytes, scratch->ids);
    for (uint32_t i = 0; i < n; i++)
        nodes[i] = (struct bpe_node){scratch->ids[i], i ? i - 1 : NODE_NONE, i + 1};
    if (n == 0)
        return OK;
    nodes[n - 1].next = NODE_NONE;
    merge_long(bpe, scratch, n);
    for (uint32_t i = 0; i != NODE_NONE && !status; i = nodes[i].next)
        status = token_list_push(out, nodes[i].id, err);
    return status;
}

/* ---- any piece ---- */

static enum status encode_short(const struct bpe *bpe, const char *piece, size_t n_bytes,
                                int32_t whole, struct token_list *out, struct error *err)
{
    int32_t ids[SHORT_MAX];
    size_t n = merge_short(bpe, ids, first_ids(bpe, piece, n_bytes, ids));
    if (whole >= 0)
        atomic_store_explicit(&bpe->whole[whole],
                              n == 1 && ids[0] == whole ? WHOLE_ITSELF : WHOLE_SPLIT,
                              memory_order_relaxed);
    enum status status = OK;
    for (size_t i = 0; i < n && !status; i++)
        status = token_list_push(out, ids[i], err);
    return status;
}

enum status bpe_encode(const struct bpe *bpe, const char *piece, size_t n_bytes,
                       struct bpe_scratch *scratch, struct token_list *out, struct error *err)
{
    int32_t whole = vocab_find_piece(bpe->vocab, piece, n_bytes);
    if (whole >= 0 &&
        (bpe->ignore_merges ||
         atomic_load_explicit(&bpe->whole[whole], memory_order_relaxed) == WHOLE_ITSELF))
        return token_list_push(out, whole, err);
    if (n_bytes <= SHORT_MAX)
        return encode_short(bpe, piece, n_bytes, whole, out, err);
    return encode_long(bpe, piece, n_bytes, scratch, out, err);
}
