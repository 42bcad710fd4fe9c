/* The tokenizer as a filter, for the scripts beside it that compare it with the reference.
 *
 *   tokenize_cli ids MODEL       frames of text -> frames of ids
 *   tokenize_cli text MODEL      frames of ids -> frames of text
 *   tokenize_cli pieces PRE      frames of text -> frames of lengths, by pre-tokenizer alone
 *   tokenize_cli bench MODEL FILE   MB/s of encoding and decoding the file
 *
 * A frame is a u32 count (bytes or ids) and a u32 of flags, then the data; answers have no flags.
 * All in the machine's byte order. Flag 1: the text is trusted, control tokens count. Flag 2: add
 * BOS and EOS as the file asks. */
#include <time.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/stream_decoder.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/unicode.h"

enum { FLAG_TRUSTED = 1, FLAG_ADD_SPECIAL = 2, OUT_BYTES_MAX = 1 << 30 };

static int fail(const char *what)
{
    fprintf(stderr, "tokenize_cli: %s\n", what);
    return 1;
}

/* Reads a frame of items into *data (grown as needed); false at the end of the input. */
static bool read_frame(uint32_t header[2], void **data, size_t item_bytes)
{
    if (fread(header, sizeof header[0], 2, stdin) != 2)
        return false;
    void *grown = mem_realloc_array(*data, (size_t)header[0] + 1, item_bytes);
    if (!grown)
        return false;
    *data = grown;
    return fread(*data, item_bytes, header[0], stdin) == header[0];
}

static void write_frame(const void *data, size_t n_items, size_t item_bytes)
{
    uint32_t count = (uint32_t)n_items;
    fwrite(&count, sizeof count, 1, stdout);
    if (n_items)
        fwrite(data, item_bytes, n_items, stdout);
    fflush(stdout);
}

static enum status encode(const struct tokenizer *tokenizer, const char *bytes, size_t n_bytes,
                          uint32_t flags, struct token_list *out, struct error *err)
{
    struct text_span all = {0, n_bytes};
    struct prompt_text text = {.bytes = bytes, .n_bytes = n_bytes};
    if (!(flags & FLAG_TRUSTED) && n_bytes) {
        text.untrusted = &all;
        text.n_untrusted = 1;
    }
    out->n_ids = 0;
    return tokenizer_encode(tokenizer, &text, flags & FLAG_ADD_SPECIAL, 0, out, err);
}

static int run_ids(const struct tokenizer *tokenizer)
{
    uint32_t header[2];
    void *text = NULL;
    struct token_list ids = {0};
    struct error err = {0};
    while (read_frame(header, &text, 1)) {
        if (encode(tokenizer, text, header[0], header[1], &ids, &err))
            return fail(err.text);
        write_frame(ids.ids, ids.n_ids, sizeof *ids.ids);
    }
    token_list_release(&ids);
    mem_free(text);
    return 0;
}

static int run_text(const struct tokenizer *tokenizer)
{
    uint32_t header[2];
    void *ids = NULL;
    struct buf out;
    buf_init(&out, OUT_BYTES_MAX);
    while (read_frame(header, &ids, sizeof(int32_t))) {
        struct stream_decoder decoder;
        stream_decoder_init(&decoder, tokenizer, true, true);
        buf_clear(&out);
        for (size_t i = 0; i < header[0]; i++)
            stream_decoder_push(&decoder, ((int32_t *)ids)[i], &out);
        if (!stream_decoder_finish(&decoder, &out))
            return fail("no memory");
        write_frame(out.bytes, out.n_bytes, 1);
    }
    buf_release(&out);
    mem_free(ids);
    return 0;
}

static int run_pieces(const char *pre)
{
    const struct pretokenizer *pretokenizer = pretokenizer_find(pre, strlen(pre));
    uint32_t header[2];
    void *text = NULL;
    if (!pretokenizer)
        return fail("no such pre-tokenizer");
    while (read_frame(header, &text, 1)) {
        uint32_t *units = mem_alloc_array(header[0], sizeof *units);
        uint32_t *lengths = mem_alloc_array(header[0], sizeof *lengths);
        if (!units || !lengths)
            return fail("no memory");
        struct piece_walk walk;
        size_t first, last, n = 0;
        piece_walk_init(&walk, pretokenizer, units, unicode_units(text, header[0], units));
        for (; piece_walk_next(&walk, &first, &last); n++) {
            lengths[n] = 0;
            for (size_t i = first; i < last; i++)
                lengths[n] += (uint32_t)unit_bytes(units[i]);
        }
        write_frame(lengths, n, sizeof *lengths);
        mem_free(units);
        mem_free(lengths);
    }
    mem_free(text);
    return 0;
}

static double best_ms(double best, int64_t start_ns)
{
    double ms = (double)(clock_ns() - start_ns) / 1e6;
    return best == 0 || ms < best ? ms : best;
}

static int run_bench(const struct tokenizer *tokenizer, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return fail("cannot open the text");
    char *text = mem_alloc(OUT_BYTES_MAX / 16);
    size_t n = text ? fread(text, 1, OUT_BYTES_MAX / 16, file) : 0;
    fclose(file);
    struct token_list ids = {0};
    struct error err = {0};
    struct buf out;
    double encode_ms = 0, decode_ms = 0;
    buf_init(&out, OUT_BYTES_MAX);
    for (int round = 0; round < 7; round++) {
        int64_t start = clock_ns();
        if (encode(tokenizer, text, n, FLAG_TRUSTED, &ids, &err))
            return fail(err.text);
        encode_ms = best_ms(encode_ms, start);
        struct stream_decoder decoder;
        stream_decoder_init(&decoder, tokenizer, true, true);
        buf_clear(&out);
        start = clock_ns();
        for (size_t i = 0; i < ids.n_ids; i++)
            stream_decoder_push(&decoder, ids.ids[i], &out);
        decode_ms = best_ms(decode_ms, start);
    }
    printf("%zu bytes, %zu tokens: encode %.2f ms, %.1f MB/s; decode %.2f ms, %.1f MB/s\n", n,
           ids.n_ids, encode_ms, (double)n / 1e3 / encode_ms, decode_ms,
           (double)n / 1e3 / decode_ms);
    token_list_release(&ids);
    buf_release(&out);
    mem_free(text);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "pieces"))
        return run_pieces(argv[2]);
    if (argc < 3)
        return fail("usage: tokenize_cli ids|text|bench MODEL [FILE], or pieces PRE");
    struct error err = {0};
    struct model_file *file = NULL;
    struct tokenizer *tokenizer = NULL;
    int64_t start = clock_ns();
    if (model_file_open(&file, argv[2], &err))
        return fail(err.text);
    double file_ms = best_ms(0, start);
    start = clock_ns();
    if (tokenizer_open(&tokenizer, file, &err))
        return fail(err.text);
    double open_ms = best_ms(0, start);
    model_file_close(file);
    int result = 1;
    if (!strcmp(argv[1], "ids"))
        result = run_ids(tokenizer);
    else if (!strcmp(argv[1], "text"))
        result = run_text(tokenizer);
    else if (!strcmp(argv[1], "bench") && argc == 4) {
        printf("file %.1f ms, tokenizer %.1f ms; ", file_ms, open_ms);
        result = run_bench(tokenizer, argv[3]);
    }
    tokenizer_close(tokenizer);
    return result;
}
