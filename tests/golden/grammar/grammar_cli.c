/* Compiles grammars and writes random texts that they allow, for comparison with validators.
 *
 *   grammar_cli MODEL.gguf
 *
 * Requests on standard input, each a line and then bytes:
 *   KIND STRICT SEED N_DOCS EXTRA TIMES N_BYTES\n<grammar>
 *     KIND: object, schema, regex, choice, gbnf. N_DOCS texts with a budget of the shortest + EXTRA
 *     tokens each. Answer: "ok MIN BYTES MICROSECONDS" or "error STATUS TEXT", then for each text
 *     "N_BYTES N_TOKENS IS_COMPLETE\n<text>\n" and with TIMES a line of TOKEN:NANOSECONDS a mask.
 *   match KIND STRICT N_BYTES N_TEXT\n<grammar><text>     Answer: "yes", "no" or an error line.
 *   tokens\n     Answer: "N_TOKENS END", then a line for each token: its bytes in hexadecimal. */
#include <stdio.h>
#include <time.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/formats/model_file.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/vocabulary.h"
#include "engine/tokenizer/tokenizer.h"

static int64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

enum { LINE_BYTES = 256, TEXT_BYTES_MAX = 1 << 24 };

static struct vocabulary *vocabulary;
static uint64_t *structural;  // tokens that hold JSON punctuation: without them strings never end
static uint64_t n_drawn;

static uint32_t draw(uint64_t seed, uint32_t n)
{
    double u = rng_uniform(seed, 0, (uint32_t)n_drawn++, 0);
    return (uint32_t)(u * n) % n;
}

static size_t count_bits(const uint64_t *bits, const uint64_t *also)
{
    size_t n = 0;
    for (size_t w = 0; w < vocabulary->n_words; w++)
        n += (size_t)__builtin_popcountll(bits[w] & (also == NULL ? UINT64_MAX : also[w]));
    return n;
}

static int32_t nth_bit(const uint64_t *bits, const uint64_t *also, size_t n)
{
    for (size_t w = 0; w < vocabulary->n_words; w++) {
        uint64_t word = bits[w] & (also == NULL ? UINT64_MAX : also[w]);
        size_t here = (size_t)__builtin_popcountll(word);
        if (n >= here) {
            n -= here;
            continue;
        }
        while (n-- > 0)
            word &= word - 1;
        return (int32_t)(w * 64) + __builtin_ctzll(word);
    }
    return -1;
}

static int32_t choose(const uint64_t *bits, uint64_t seed)
{
    size_t n = count_bits(bits, structural);
    if (n > 0 && draw(seed, 10) < 4)
        return nth_bit(bits, structural, draw(seed, (uint32_t)n));
    n = count_bits(bits, NULL);
    return n == 0 ? -1 : nth_bit(bits, NULL, draw(seed, (uint32_t)n));
}

static bool is_end(int32_t token)
{
    for (size_t i = 0; i < vocabulary->n_ends; i++)
        if (vocabulary->ends[i] == token)
            return true;
    return false;
}

static enum status write_text(struct grammar *grammar, size_t budget, uint64_t seed, bool times,
                              struct error *err)
{
    struct matcher *matcher;
    struct buf text, line;
    buf_init(&text, TEXT_BYTES_MAX);
    buf_init(&line, TEXT_BYTES_MAX);
    size_t n = 0;
    enum status status = matcher_create(&matcher, grammar, budget, err);
    while (status == OK && n < budget && !matcher_is_complete(matcher)) {
        const uint64_t *bits;
        int64_t start_ns = cpu_ns();
        status = matcher_mask(matcher, &bits, err);
        int64_t mask_ns = cpu_ns() - start_ns;
        int32_t token = status == OK ? choose(bits, seed) : -1;
        buf_printf(&line, "%d:%lld ", token, (long long)mask_ns);
        if (status == OK && token < 0)
            status =
                error_set(err, ERR_INTERNAL, "no token is allowed behind %zu bytes", text.n_bytes);
        if (status == OK)
            status = matcher_accept(matcher, token, err);
        n++;
        uint8_t bytes[TRIE_DEPTH_MAX + 1];
        if (status == OK && !is_end(token))
            buf_append(&text, bytes, vocabulary_token(vocabulary, token, bytes));
    }
    if (status == OK) {
        printf("%zu %zu %d\n", text.n_bytes, n, matcher_is_accepting(matcher));
        fwrite(text.bytes, 1, text.n_bytes, stdout);
        printf("\n%s%s", times ? line.bytes : "", times ? "\n" : "");
    }
    matcher_free(matcher);
    buf_release(&text);
    buf_release(&line);
    return status;
}

static enum status match(struct grammar *grammar, const char *text, size_t n_bytes, bool *out,
                         struct error *err)
{
    uint32_t *scratch = mem_alloc_array(2 * n_bytes + 2, sizeof *scratch);
    int32_t *tokens = mem_alloc_array(n_bytes + 1, sizeof *tokens);
    struct matcher *matcher;
    enum status status = matcher_create(&matcher, grammar, SIZE_MAX / 2, err);
    size_t n = n_bytes == 0 ? 0 : vocabulary_spell(vocabulary, text, n_bytes, scratch, tokens);
    *out = status == OK && n != SIZE_MAX;
    for (size_t i = 0; *out && i < n; i++)
        *out = matcher_accept(matcher, tokens[i], NULL) == OK;
    *out = *out && (n > 0 ? matcher_is_accepting(matcher) : grammar_tokens_min(grammar) == 0);
    matcher_free(matcher);
    mem_free(scratch);
    mem_free(tokens);
    return status;
}

static bool read_kind(const char *name, enum grammar_kind *kind)
{
    static const char *const names[] = {"object", "schema", "regex", "choice", "gbnf"};
    for (size_t i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) {
            *kind = (enum grammar_kind)i;
            return true;
        }
    return false;
}

static void answer(const char *line)
{
    char kind[16];
    int strict = 0, times = 0, is_match = strncmp(line, "match ", 6) == 0;
    unsigned long long seed = 0;
    size_t n_docs = 0, extra = 0, n_bytes = 0, n_text = 0;
    struct grammar_source source = {0};
    int n = is_match ? sscanf(line + 6, "%15s %d %zu %zu", kind, &strict, &n_bytes, &n_text)
                     : sscanf(line, "%15s %d %llu %zu %zu %d %zu", kind, &strict, &seed, &n_docs,
                              &extra, &times, &n_bytes);
    char *bytes = mem_alloc(n_bytes + n_text + 1);
    if (n != (is_match ? 4 : 7) || !read_kind(kind, &source.kind) || bytes == NULL ||
        fread(bytes, 1, n_bytes + n_text, stdin) != n_bytes + n_text) {
        printf("error ERR_INVALID bad request line\n");
        mem_free(bytes);
        return;
    }
    source.text = bytes;
    source.n_bytes = n_bytes;
    source.is_strict = strict != 0;
    struct error err = {0};
    struct grammar *grammar;
    int64_t start_ns = cpu_ns();
    enum status status = grammar_compile(&grammar, vocabulary, &source, &err);
    bool matches = false;
    if (status == OK && is_match)
        status = match(grammar, bytes + n_bytes, n_text, &matches, &err);
    if (status == OK && is_match)
        printf("%s\n", matches ? "yes" : "no");
    else if (status == OK)
        printf("ok %zu %zu %lld\n", grammar_tokens_min(grammar), grammar_bytes(grammar),
               (long long)(cpu_ns() - start_ns) / 1000);
    n_drawn = 0;
    for (size_t i = 0; status == OK && i < n_docs; i++)
        status =
            write_text(grammar, grammar_tokens_min(grammar) + extra, seed + i, times != 0, &err);
    if (status != OK)
        printf("error %s %s\n", status_name(status), err.text);
    grammar_unref(grammar);
    mem_free(bytes);
}

/* For a peer that is to have the same vocabulary. */
static void write_tokens(void)
{
    printf("%zu %d\n", vocabulary->n_tokens, vocabulary->n_ends > 0 ? vocabulary->ends[0] : -1);
    for (size_t i = 0; i < vocabulary->n_tokens; i++) {
        uint8_t bytes[TRIE_DEPTH_MAX + 1];
        size_t n = vocabulary_token(vocabulary, (int32_t)i, bytes);
        for (size_t k = 0; k < n; k++)
            printf("%02x", bytes[k]);
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct model_file *file = NULL;
    struct tokenizer *tokenizer = NULL;
    enum status status = argc == 2 ? model_file_open(&file, argv[1], &err) : ERR_INVALID;
    if (status == OK)
        status = tokenizer_open(&tokenizer, file, &err);
    if (status == OK)
        status = vocabulary_create(&vocabulary, tokenizer, tokenizer_vocab(tokenizer), &err);
    if (status != OK) {
        fprintf(stderr, "grammar_cli MODEL.gguf: %s\n", err.text);
        return 1;
    }
    structural = mem_calloc(vocabulary->n_words, sizeof *structural);
    for (size_t i = 0; structural != NULL && i < vocabulary->n_tokens; i++) {
        uint8_t bytes[TRIE_DEPTH_MAX + 1];
        size_t n = vocabulary_token(vocabulary, (int32_t)i, bytes);
        for (size_t k = 0; k < n; k++)
            if (strchr("\"}],:0123456789", bytes[k]) != NULL && bytes[k] != 0)
                structural[i / 64] |= UINT64_C(1) << (i & 63);
    }
    char line[LINE_BYTES];
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "tokens\n") == 0)
            write_tokens();
        else
            answer(line);
        fflush(stdout);
    }
    mem_free(structural);
    vocabulary_free(vocabulary);
    tokenizer_close(tokenizer);
    model_file_close(file);
    return 0;
}
