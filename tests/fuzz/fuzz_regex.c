/* Fuzz target: regular expressions (even first byte) and GBNF grammars (odd), then texts of them.
 *
 * A pattern is refused with a reason, or compiled within its budget; then texts drawn from it at
 * the shortest length + 0, + 1 and + 12 tokens come to their end, are UTF-8, and are read again.
 * What patterns accept is compared with Python's re by tests/golden/grammar.
 *
 * fuzz-sources: engine/base engine/grammar engine/tokenizer/unicode.c
 *   engine/tokenizer/unicode_tables.c tests/fuzz/no_tokenizer.c
 * fuzz-libraries: -lcjson -lnettle -lm -lpthread */
#include "tests/fuzz/grammar_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_make_vocabulary();
    if (size < 1)
        return 0;
    enum grammar_kind kind = data[0] & 1 ? GRAMMAR_GBNF : GRAMMAR_REGEX;
    struct grammar *grammar = fuzz_compile(kind, (const char *)data + 1, size - 1);
    if (grammar != NULL && grammar_tokens_min(grammar) < 2000) {
        static const size_t extras[] = {0, 1, 12};
        uint32_t random = (uint32_t)size;
        struct buf text;
        buf_init(&text, 1 << 24);
        for (size_t i = 0; i < 3; i++) {
            buf_clear(&text);
            if (!fuzz_draw(grammar, extras[i], &random, &text))
                continue;
            FUZZ_CHECK(utf8_is_valid(text.n_bytes == 0 ? "" : text.bytes, text.n_bytes, NULL));
            FUZZ_CHECK(fuzz_accepts(grammar, text.bytes, text.n_bytes));
        }
        buf_release(&text);
    }
    grammar_unref(grammar);
    return 0;
}
