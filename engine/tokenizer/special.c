/* Special tokens in text; see special.h.
 *
 * Leftmost, then longest, as the `tokenizers` library does with added tokens. The difference is
 * provenance: a control (or unknown) token counts only when none of its bytes came from a request,
 * so that nobody can open or close a turn by writing its marker into a message. Where a longer
 * token is barred for that reason, a shorter one at the same place still counts.
 *
 * Threads: immutable after special_init. */
#include "engine/tokenizer/special.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/tokenizer/vocab.h"

static bool is_special(enum token_kind kind)
{
    return kind == TOKEN_KIND_CONTROL || kind == TOKEN_KIND_USER_DEFINED ||
           kind == TOKEN_KIND_UNKNOWN;
}

/* The child of a node for a byte, 0 when there is none. */
static inline uint32_t child_of(const struct special *special, uint32_t node, unsigned char byte)
{
    uint32_t child = special->nodes[node].first_child;
    while (child && special->nodes[child].byte != byte)
        child = special->nodes[child].next;
    return child;
}

static uint32_t add_node(struct special *special, unsigned char byte)
{
    special->nodes[special->n_nodes] = (struct special_node){.id = -1, .byte = byte};
    return (uint32_t)special->n_nodes++;
}

static void add_token(struct special *special, int32_t id, const char *text, size_t n_bytes)
{
    uint32_t *root = &special->roots[(unsigned char)text[0]];
    if (!*root)
        *root = add_node(special, (unsigned char)text[0]);
    uint32_t node = *root;
    for (size_t i = 1; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t child = child_of(special, node, byte);
        if (!child) {
            child = add_node(special, byte);
            special->nodes[child].next = special->nodes[node].first_child;
            special->nodes[node].first_child = child;
        }
        node = child;
    }
    special->nodes[node].id = id;
}

enum status special_init(struct special *special, const struct vocab *vocab, const uint8_t *flags,
                         uint8_t mask, uint8_t wanted, struct error *err)
{
    size_t n_nodes_max = 1, n;
    *special = (struct special){.vocab = vocab};
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        if (!is_special(vocab->kinds[i]) || (flags[i] & mask) != wanted)
            continue;
        vocab_text(vocab, i, &n);
        n_nodes_max += n;
        if (n > SPECIAL_BYTES_MAX)
            return error_set(err, ERR_LIMIT,
                             "tokenizer.ggml.tokens[%zu] is a special token of %zu bytes, the "
                             "limit is %d",
                             i, n, SPECIAL_BYTES_MAX);
    }
    special->nodes = mem_alloc_array(n_nodes_max, sizeof *special->nodes);
    if (!special->nodes)
        return error_set(err, ERR_MEMORY, "no memory for the special tokens");
    add_node(special, 0);
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        const char *text = vocab_text(vocab, i, &n);
        if (is_special(vocab->kinds[i]) && (flags[i] & mask) == wanted && n > 0)
            add_token(special, (int32_t)i, text, n);
    }
    return OK;
}

void special_release(struct special *special)
{
    mem_free(special->nodes);
    *special = (struct special){0};
}

/* How far from `at` the bytes are trusted. */
static size_t trusted_until(const struct prompt_text *text, size_t at,
                            struct special_cursor *cursor)
{
    while (cursor->span < text->n_untrusted && text->untrusted[cursor->span].last <= at)
        cursor->span++;
    return cursor->span < text->n_untrusted ? text->untrusted[cursor->span].first : text->n_bytes;
}

/* The longest token at `at` that may stand there. */
static bool match_at(const struct special *special, const struct prompt_text *text, size_t at,
                     struct special_cursor *cursor, struct special_match *match)
{
    uint32_t node = special->roots[(unsigned char)text->bytes[at]];
    size_t trusted = 0;
    bool found = false;
    if (node)
        trusted = trusted_until(text, at, cursor);
    for (size_t last = at + 1; node; last++) {
        int32_t id = special->nodes[node].id;
        bool barred =
            id >= 0 && special->vocab->kinds[id] != TOKEN_KIND_USER_DEFINED && (last > trusted);
        if (id >= 0 && !barred) {
            *match = (struct special_match){at, last, id};
            found = true;
        }
        if (last == text->n_bytes)
            break;
        node = child_of(special, node, (unsigned char)text->bytes[last]);
    }
    return found;
}

bool special_next(const struct special *special, const struct prompt_text *text, size_t at,
                  struct special_cursor *cursor, struct special_match *match)
{
    for (; at < text->n_bytes; at++) {
        if (special->roots[(unsigned char)text->bytes[at]] &&
            match_at(special, text, at, cursor, match))
            return true;
    }
    return false;
}
