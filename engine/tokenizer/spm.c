/* SentencePiece's BPE; see spm.h.
 *
 * Spaces become U+2581, the characters of the text are the first symbols, and of all neighbours
 * whose joined text is a token the pair with the highest score is merged, the leftmost on a tie. A
 * symbol that is no token at the end comes out as its bytes. A heap and a linked list keep it at
 * n log n.
 *
 * The rule sees the whole text at once. But where no token of the vocabulary contains U+2581 behind
 * another character, nothing can ever merge across the start of a word, and the words are done one
 * by one with the same result in less time.
 *
 * Only normal tokens take part, so that text can neither spell a control token nor "<0x41>".
 *
 * Source: SentencePiece, model type BPE with byte fallback. */
#include "engine/tokenizer/spm.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/token_list.h"
#include "engine/tokenizer/vocab.h"

#define SYMBOL_NONE UINT32_MAX

/* A stretch of the text; n_bytes is 0 once it is merged into its left neighbour. */
struct spm_symbol {
    uint32_t first;
    uint32_t n_bytes;
    uint32_t previous;
    uint32_t next;
};

/* A possible merge. It still stands when the two symbols have n_bytes together, because symbols
 * only ever grow. */
struct spm_candidate {
    float score;
    uint32_t left;
    uint32_t n_bytes;
};

struct spm_work {
    const struct spm *spm;
    char *text;  // with U+2581 for spaces
    struct spm_symbol *symbols;
    size_t n_symbols;
    struct spm_candidate *heap;  // room for 2 * n_symbols
    size_t n_heap;
};

static const char space_mark[3] = {(char)0xe2, (char)0x96, (char)0x81};

static bool is_mark(const char *text, size_t n_bytes)
{
    return n_bytes >= 3 && !memcmp(text, space_mark, 3);
}

/* Length of the text up to the first word that starts behind its first character. */
static size_t first_word(const char *text, size_t n_bytes)
{
    size_t i = 0;
    while (is_mark(text + i, n_bytes - i))
        i += 3;
    while (i < n_bytes && !is_mark(text + i, n_bytes - i))
        i++;
    return i;
}

enum status spm_init(struct spm *spm, const struct vocab *vocab, int32_t unknown, struct error *err)
{
    *spm = (struct spm){.vocab = vocab};
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        int32_t id = vocab_find_text(vocab, text, 6);
        bool usable = id >= 0 && (vocab->kinds[id] == TOKEN_KIND_BYTE ||
                                  vocab->kinds[id] == TOKEN_KIND_NORMAL);
        spm->byte_ids[byte] = usable ? id : unknown;
        if (spm->byte_ids[byte] < 0)
            return error_set(err, ERR_FORMAT,
                             "tokenizer.ggml.tokens has no %s and the file names no unknown token",
                             text);
    }
    spm->words_apart = true;
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        size_t n;
        const char *text = vocab_text(vocab, i, &n);
        if (vocab->kinds[i] == TOKEN_KIND_NORMAL) {
            spm->token_bytes_max = n > spm->token_bytes_max ? n : spm->token_bytes_max;
            spm->words_apart = spm->words_apart && first_word(text, n) == n;
        }
        if (vocab->kinds[i] == TOKEN_KIND_BYTE && vocab_parse_byte(text, n) < 0)
            return error_set(err, ERR_FORMAT,
                             "tokenizer.ggml.tokens[%zu] is a byte, but its text is not <0xXX>", i);
    }
    return OK;
}

/* ---- heap ---- */

static bool comes_before(const struct spm_candidate *a, const struct spm_candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void heap_push(struct spm_work *work, struct spm_candidate item)
{
    struct spm_candidate *heap = work->heap;
    size_t i = work->n_heap++;
    while (i > 0 && comes_before(&item, &heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = item;
}

static struct spm_candidate heap_pop(struct spm_work *work)
{
    struct spm_candidate *heap = work->heap;
    struct spm_candidate top = heap[0], item = heap[--work->n_heap];
    size_t i = 0, n = work->n_heap;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && comes_before(&heap[child + 1], &heap[child]))
            child++;
        if (!comes_before(&heap[child], &item))
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
    return top;
}

/* ---- encoding ---- */

static int32_t find_normal(const struct spm *spm, const char *text, size_t n_bytes)
{
    if (n_bytes > spm->token_bytes_max)
        return -1;
    int32_t id = vocab_find_text(spm->vocab, text, n_bytes);
    return id >= 0 && spm->vocab->kinds[id] == TOKEN_KIND_NORMAL ? id : -1;
}

static void split_characters(struct spm_work *work, size_t first, size_t last)
{
    size_t n = 0;
    for (size_t i = first; i < last; n++) {
        uint32_t code;
        size_t length = utf8_decode(work->text + i, last - i, &code);
        length = length ? length : 1;
        work->symbols[n] = (struct spm_symbol){(uint32_t)i, (uint32_t)length,
                                               n ? (uint32_t)n - 1 : SYMBOL_NONE, (uint32_t)n + 1};
        i += length;
    }
    work->n_symbols = n;
    if (n)
        work->symbols[n - 1].next = SYMBOL_NONE;
}

static void push_candidate(struct spm_work *work, uint32_t left, uint32_t right)
{
    if (left == SYMBOL_NONE || right == SYMBOL_NONE)
        return;
    const struct spm_symbol *symbols = work->symbols;
    uint32_t n_bytes = symbols[left].n_bytes + symbols[right].n_bytes;
    int32_t id = find_normal(work->spm, work->text + symbols[left].first, n_bytes);
    if (id >= 0)
        heap_push(work, (struct spm_candidate){work->spm->vocab->scores[id], left, n_bytes});
}

static void merge_all(struct spm_work *work)
{
    struct spm_symbol *symbols = work->symbols;
    for (uint32_t i = 0; i + 1 < work->n_symbols; i++)
        push_candidate(work, i, i + 1);
    while (work->n_heap > 0) {
        struct spm_candidate top = heap_pop(work);
        uint32_t left = top.left, right = symbols[left].next;
        if (symbols[left].n_bytes == 0 || right == SYMBOL_NONE ||
            symbols[left].n_bytes + symbols[right].n_bytes != top.n_bytes)
            continue;
        assert(work->n_heap + 2 <= 2 * work->n_symbols);
        symbols[left].n_bytes = top.n_bytes;
        symbols[left].next = symbols[right].next;
        symbols[right].n_bytes = 0;
        if (symbols[left].next != SYMBOL_NONE)
            symbols[symbols[left].next].previous = left;
        push_candidate(work, symbols[left].previous, left);
        push_candidate(work, left, symbols[left].next);
    }
}

static enum status emit(const struct spm_work *work, struct token_list *out, struct error *err)
{
    enum status status = OK;
    for (uint32_t i = 0; i != SYMBOL_NONE && !status; i = work->symbols[i].next) {
        const struct spm_symbol *symbol = &work->symbols[i];
        const char *bytes = work->text + symbol->first;
        int32_t id = find_normal(work->spm, bytes, symbol->n_bytes);
        if (id >= 0) {
            status = token_list_push(out, id, err);
            continue;
        }
        for (size_t j = 0; j < symbol->n_bytes && !status; j++)
            status = token_list_push(out, work->spm->byte_ids[(unsigned char)bytes[j]], err);
    }
    return status;
}

/* All of the marked text, or word by word. */
static enum status encode_marked(struct spm_work *work, size_t n_bytes, struct token_list *out,
                                 struct error *err)
{
    enum status status = OK;
    for (size_t first = 0; first < n_bytes && !status;) {
        size_t left = n_bytes - first;
        bool apart = work->spm->words_apart;
        size_t last = first + (apart ? first_word(work->text + first, left) : left);
        split_characters(work, first, last);
        merge_all(work);
        status = emit(work, out, err);
        first = last;
    }
    return status;
}

enum status spm_encode(const struct spm *spm, const char *text, size_t n_bytes, bool with_prefix,
                       struct token_list *out, struct error *err)
{
    size_t n_spaces = with_prefix + vocab_count_spaces(text, n_bytes);
    size_t n_symbols_max = n_bytes + with_prefix;
    if (n_symbols_max == 0)
        return OK;
    struct spm_work work = {.spm = spm};
    enum status status = OK;
    work.text = mem_alloc(n_symbols_max + 2 * n_spaces);
    work.symbols = mem_alloc_array(n_symbols_max, sizeof *work.symbols);
    work.heap = mem_alloc_array(n_symbols_max, 2 * sizeof *work.heap);
    if (!work.text || !work.symbols || !work.heap) {
        status = error_set(err, ERR_MEMORY, "no memory to tokenize %zu bytes", n_bytes);
    } else {
        size_t n_marked = with_prefix ? vocab_mark_spaces(" ", 1, work.text) : 0;
        n_marked += vocab_mark_spaces(text, n_bytes, work.text + n_marked);
        status = encode_marked(&work, n_marked, out, err);
    }
    mem_free(work.text);
    mem_free(work.symbols);
    mem_free(work.heap);
    return status;
}
