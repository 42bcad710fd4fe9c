/* Fuzz target: JSON schemas, from bytes to documents.
 *
 * A schema is refused with a reason, or compiled within its budget. Documents drawn from it at the
 * shortest length + 0, + 1 and + 20 tokens come to their end, are JSON, are read again by the
 * grammar, and the checker of values (schema_check.c), which looks at schemas in another way, does
 * not find them invalid. python-jsonschema is the judge of tests/golden/grammar.
 *
 * fuzz-sources: engine/base engine/grammar engine/tokenizer/unicode.c
 *   engine/tokenizer/unicode_tables.c tests/fuzz/no_tokenizer.c
 * fuzz-libraries: -lcjson -lnettle -lm -lpthread */
#include <cjson/cJSON.h>

#include "engine/base/json_scan.h"
#include "engine/grammar/schema.h"
#include "tests/fuzz/grammar_fuzz.h"

static void check_document(const cJSON *schema_json, const struct buf *text)
{
    static const struct json_limits limits = {128, 1000000};
    const char *bytes = text->n_bytes == 0 ? "" : text->bytes;
    struct error err = {0};
    // A further property may be repeated, which the strict scan does not like.
    if (json_scan(bytes, text->n_bytes, &limits, &err) != OK)
        FUZZ_CHECK(strstr(err.text, "twice") != NULL || strstr(err.text, "duplicate") != NULL ||
                   strstr(err.text, "deep") != NULL);
    cJSON *value = cJSON_ParseWithLength(bytes, text->n_bytes);
    FUZZ_CHECK(value != NULL);
    struct budget budget = {.bytes_max = 64 << 20};
    struct terms terms;
    struct nodes nodes;
    struct automaton automaton;
    budget_start(&budget, 1 << 22);
    FUZZ_CHECK(terms_init(&terms, &budget, NULL) && nodes_init(&nodes, &terms) &&
               automaton_init(&automaton, &terms, fuzz_vocabulary));
    struct grammar_build build = {.budget = &budget,
                                  .terms = &terms,
                                  .nodes = &nodes,
                                  .automaton = &automaton,
                                  .json_free = chars_json_free(&terms),
                                  .json_any = chars_any(&terms, TEXT_JSON)};
    struct schema schema = {.build = &build, .root = schema_json, .err = &err};
    enum verdict verdict = schema_check(&schema, schema_json, value, 0);
    FUZZ_CHECK(verdict != VERDICT_NO || budget.failed != OK);
    automaton_release(&automaton);
    nodes_release(&nodes);
    terms_release(&terms);
    cJSON_Delete(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_make_vocabulary();
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    struct grammar *grammar = fuzz_compile(GRAMMAR_JSON_SCHEMA, text, size);
    if (grammar != NULL && grammar_tokens_min(grammar) < 2000) {
        static const size_t extras[] = {0, 1, 20};
        cJSON *schema = cJSON_ParseWithLength(text, size);
        uint32_t random = (uint32_t)size;
        struct buf document;
        buf_init(&document, 1 << 24);
        for (size_t i = 0; i < 3; i++) {
            buf_clear(&document);
            if (!fuzz_draw(grammar, extras[i], &random, &document))
                continue;
            FUZZ_CHECK(fuzz_accepts(grammar, document.bytes, document.n_bytes));
            check_document(schema, &document);
        }
        buf_release(&document);
        cJSON_Delete(schema);
    }
    grammar_unref(grammar);
    free(text);
    return 0;
}
