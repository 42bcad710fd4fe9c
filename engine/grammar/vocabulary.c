/* The tree of a vocabulary and the table of its plain tokens; see vocabulary.h.
 *
 * Most tokens of a vocabulary are pieces of ordinary text, which any place inside a JSON string
 * takes alike: those masks are made here once, so that a string costs a copy and a walk over the
 * few tokens that hold a quote, a backslash, a control character or part of a character. */
#include "engine/grammar/vocabulary.h"

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"

/* Characters of a plain token, 0 when it is not one. */
static size_t plain_characters(const struct trie_item *item)
{
    size_t n = 0;
    for (size_t at = 0; at < item->n_bytes; n++) {
        uint32_t code_point;
        size_t length = utf8_decode(item->bytes + at, item->n_bytes - at, &code_point);
        if (length == 0 || code_point < 0x20 || code_point == '"' || code_point == '\\')
            return 0;
        at += length;
    }
    return n;
}

/* Bytes that a token stands for alone. */
static void find_bytes(struct vocabulary *v)
{
    const struct trie_node *nodes = v->all.nodes;
    for (size_t i = 0; i < v->all.n_nodes; i = nodes[i].end)
        if (nodes[i + 1].first_token > nodes[i].first_token)
            v->has_byte[nodes[i].byte] = true;
    v->missing = -1;
    for (int b = '~'; b >= ' '; b--)
        if (!v->has_byte[b])
            v->missing = b;
}

/* Where each token stands in the tree, and the way back from there. */
static enum status find_nodes(struct vocabulary *v, struct error *err)
{
    v->token_nodes = mem_alloc_array(v->n_tokens + 1, sizeof *v->token_nodes);
    v->parents = mem_alloc_array(v->all.n_nodes + 1, sizeof *v->parents);
    if (v->token_nodes == NULL || v->parents == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the vocabulary's tables");
    for (size_t i = 0; i < v->n_tokens; i++)
        v->token_nodes[i] = NODE_OF_NO_TOKEN;
    const struct trie_node *nodes = v->all.nodes;
    uint32_t open[TRIE_DEPTH_MAX + 1];
    for (size_t i = 0; i < v->all.n_nodes; i++) {
        open[nodes[i].depth] = (uint32_t)i;
        v->parents[i] = nodes[i].depth == 0 ? NODE_OF_NO_TOKEN : open[nodes[i].depth - 1];
        for (uint32_t t = nodes[i].first_token; t < nodes[i + 1].first_token; t++)
            v->token_nodes[v->all.tokens[t]] = (uint32_t)i;
    }
    return OK;
}

/* Bytes that are missing to a whole character behind a node, -1 behind what is not UTF-8. */
static int missing_behind(const struct trie_node *nodes, size_t i, uint32_t parent, int missing)
{
    unsigned byte = nodes[i].byte, low, high;
    if (missing == 0)
        return byte < 0x80 ? 0 : utf8_follow(byte, &low, &high);
    (void)utf8_follow(parent == NODE_OF_NO_TOKEN ? 0 : nodes[parent].byte, &low, &high);
    bool is_first = parent != NODE_OF_NO_TOKEN && nodes[parent].byte >= 0xC0;
    if (!is_first)
        low = 0x80, high = 0xBF;
    return missing < 0 || byte < low || byte > high ? -1 : missing - 1;
}

/* What the walk of mask.c may take at once; needs the parents. */
static enum status find_chars(struct vocabulary *v, struct error *err)
{
    const struct trie_node *nodes = v->all.nodes;
    size_t n = v->all.n_nodes;
    int8_t *missing = mem_alloc_array(n + 1, sizeof *missing);
    v->chars = mem_calloc(n + 1, sizeof *v->chars);
    if (missing == NULL || v->chars == NULL) {
        mem_free(missing);
        return error_set(err, ERR_MEMORY, "no memory for the vocabulary's tables");
    }
    for (size_t i = 0; i < n; i++) {
        int before = v->parents[i] == NODE_OF_NO_TOKEN ? 0 : missing[v->parents[i]];
        missing[i] = (int8_t)missing_behind(nodes, i, v->parents[i], before);
        bool has_token = nodes[i + 1].first_token > nodes[i].first_token;
        bool is_odd = missing[i] < 0 || (has_token && missing[i] > 0) || nodes[i].byte < 2;
        char_bits_add(&v->chars[i], is_odd                 ? CHARS_ODD
                                    : nodes[i].byte < 0x80 ? nodes[i].byte
                                                           : CHARS_BEYOND_ASCII);
    }
    for (size_t i = n; i-- > 0;)
        if (v->parents[i] != NODE_OF_NO_TOKEN)
            for (size_t w = 0; w < 2; w++)
                v->chars[v->parents[i]].words[w] |= v->chars[i].words[w];
    for (size_t i = 0; i < n; i++)  // nodes that begin inside a character
        if (v->parents[i] != NODE_OF_NO_TOKEN && missing[v->parents[i]] != 0)
            char_bits_add(&v->chars[i], CHARS_ODD);
    mem_free(missing);
    return OK;
}

size_t vocabulary_token(const struct vocabulary *vocabulary, int32_t token,
                        uint8_t out[TRIE_DEPTH_MAX + 1])
{
    uint32_t at = vocabulary->token_nodes[token];
    if (at == NODE_OF_NO_TOKEN)
        return 0;
    const struct trie_node *nodes = vocabulary->all.nodes;
    size_t n_bytes = nodes[at].depth + 1u;
    for (; at != NODE_OF_NO_TOKEN; at = vocabulary->parents[at])
        out[nodes[at].depth] = nodes[at].byte;
    return n_bytes;
}

/* Tables from items that all have bytes and ids in range. */
static enum status fill(struct vocabulary *v, struct trie_item *items, size_t n_items,
                        struct error *err)
{
    v->plain = mem_calloc((VOCABULARY_PLAIN_MAX + 1) * v->n_words, sizeof *v->plain);
    struct trie_item *rest = mem_alloc_array(2 * n_items + 2, sizeof *rest);
    if (v->plain == NULL || rest == NULL) {
        mem_free(rest);
        return error_set(err, ERR_MEMORY, "no memory for the vocabulary's tables");
    }
    struct trie_item *longer = rest + n_items;
    size_t n_rest = 0, n_longer = 0;
    for (size_t i = 0; i < n_items; i++) {
        size_t n = plain_characters(&items[i]), token = (size_t)items[i].token;
        if (items[i].n_bytes > VOCABULARY_PLAIN_MAX)
            longer[n_longer++] = items[i];
        else if (n > 0)
            v->plain[n * v->n_words + token / 64] |= UINT64_C(1) << (token & 63);
        else
            rest[n_rest++] = items[i];
    }
    for (size_t i = v->n_words; i < (VOCABULARY_PLAIN_MAX + 1) * v->n_words; i++)
        v->plain[i] |= v->plain[i - v->n_words];
    enum status status = trie_build(&v->rest, rest, n_rest, err);
    if (status == OK)
        status = trie_build(&v->longer, longer, n_longer, err);
    mem_free(rest);
    if (status == OK)
        status = trie_build(&v->all, items, n_items, err);
    if (status == OK)
        status = find_nodes(v, err);
    if (status == OK)
        status = find_chars(v, err);
    if (status == OK)
        find_bytes(v);
    return status;
}

enum status vocabulary_from_items(struct vocabulary **out, struct trie_item *items, size_t n_items,
                                  size_t n_tokens, struct error *err)
{
    *out = NULL;
    struct vocabulary *v = mem_calloc(1, sizeof *v);
    if (v == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the vocabulary");
    v->n_tokens = n_tokens;
    v->n_words = (n_tokens + 63) / 64;
    v->ends = mem_alloc_array(n_items + 1, sizeof *v->ends);
    enum status status = OK;
    size_t n = 0;
    if (v->ends == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for the vocabulary");
    for (size_t i = 0; status == OK && i < n_items; i++) {
        if (items[i].token < 0)
            v->ends[v->n_ends++] = -1 - items[i].token;
        else if (items[i].n_bytes >= 1 && items[i].n_bytes <= TRIE_DEPTH_MAX)
            items[n++] = items[i];
    }
    if (status == OK)
        status = fill(v, items, n, err);
    if (status != OK) {
        vocabulary_free(v);
        return status;
    }
    *out = v;
    return OK;
}

/* The control tokens' texts with the byte before, one after the other. */
static char *copy_controls(const struct tokenizer *tokenizer, size_t n_tokens)
{
    size_t n_bytes = 1, n;
    for (size_t i = 0; i < n_tokens; i++)
        if (tokenizer_is_control(tokenizer, (int32_t)i)) {
            tokenizer_piece(tokenizer, (int32_t)i, &n);
            n_bytes += n + 1;
        }
    char *all = mem_alloc(n_bytes), *at = all;
    for (size_t i = 0; all != NULL && i < n_tokens; i++)
        if (tokenizer_is_control(tokenizer, (int32_t)i)) {
            const char *piece = tokenizer_piece(tokenizer, (int32_t)i, &n);
            *at++ = (char)VOCABULARY_CONTROL_BYTE;
            memcpy(at, piece, n);
            at += n;
        }
    return all;
}

enum status vocabulary_create(struct vocabulary **out, const struct tokenizer *tokenizer,
                              size_t n_tokens, struct error *err)
{
    *out = NULL;
    size_t n_ids = tokenizer_vocab(tokenizer);
    if (n_ids > n_tokens)
        n_ids = n_tokens;
    struct trie_item *items = mem_alloc_array(n_ids + 1, sizeof *items);
    char *controls = copy_controls(tokenizer, n_ids), *control = controls;
    if (items == NULL || controls == NULL) {
        mem_free(items);
        mem_free(controls);
        return error_set(err, ERR_MEMORY, "no memory for the vocabulary");
    }
    for (size_t i = 0; i < n_ids; i++) {
        int32_t id = (int32_t)i;
        size_t n;
        const char *piece = tokenizer_piece(tokenizer, id, &n);
        if (tokenizer_is_control(tokenizer, id)) {
            piece = control;
            control += ++n;
        }
        if (n > TRIE_DEPTH_MAX)
            n = 0;  // never allowed
        items[i] =
            (struct trie_item){piece, (uint32_t)n, tokenizer_is_eog(tokenizer, id) ? -1 - id : id};
    }
    enum status status = vocabulary_from_items(out, items, n_ids, n_tokens, err);
    mem_free(items);
    if (status == OK)
        (*out)->controls = controls;
    else
        mem_free(controls);
    return status;
}

void vocabulary_free(struct vocabulary *vocabulary)
{
    if (vocabulary == NULL)
        return;
    trie_release(&vocabulary->all);
    trie_release(&vocabulary->rest);
    trie_release(&vocabulary->longer);
    mem_free(vocabulary->token_nodes);
    mem_free(vocabulary->parents);
    mem_free(vocabulary->chars);
    mem_free(vocabulary->plain);
    mem_free(vocabulary->ends);
    mem_free(vocabulary->controls);
    mem_free(vocabulary);
}

/* From the end: fewest[i] tokens spell bytes [i, n), the first of them is first[i]. Of equals the
 * longest token is taken. */
size_t vocabulary_spell(const struct vocabulary *vocabulary, const char *bytes, size_t n_bytes,
                        uint32_t *scratch, int32_t *tokens)
{
    const struct trie_node *nodes = vocabulary->all.nodes;
    uint32_t *fewest = scratch, *first = scratch + n_bytes + 1;
    fewest[n_bytes] = 0;
    for (size_t i = n_bytes; i-- > 0;) {
        fewest[i] = UINT32_MAX;
        size_t node = 0, end = vocabulary->all.n_nodes;
        for (size_t at = i; at < n_bytes && node < end;) {
            if (nodes[node].byte != (uint8_t)bytes[at]) {
                node = nodes[node].end;
                continue;
            }
            at++;
            if (nodes[node + 1].first_token > nodes[node].first_token && fewest[at] != UINT32_MAX &&
                fewest[at] + 1 <= fewest[i]) {
                fewest[i] = fewest[at] + 1;
                first[i] = (uint32_t)node;
            }
            end = nodes[node].end;
            node++;
        }
    }
    if (fewest[0] == UINT32_MAX)
        return SIZE_MAX;
    size_t n = 0;
    for (size_t at = 0; tokens != NULL && at < n_bytes; at += nodes[first[at]].depth + 1u)
        tokens[n++] = vocabulary->all.tokens[nodes[first[at]].first_token];
    return fewest[0];
}
