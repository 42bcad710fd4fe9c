/* The committed goldens: what jinja2 makes of a seeded sample of random templates, of templates of
 * our own over all conversations, and of the template in the default model's file, which is read
 * from there (WICARA_TEST_MODEL). Made by tests/golden/template/make_goldens.py. */
#include <cjson/cJSON.h>
#include <stdlib.h>

#include "tests/engine/template/render.h"

static const char cases_path[] = "tests/golden/template/cases.json";
enum { FILE_BYTES_MAX = 64 << 20 };

/* The first bytes of a file, with a NUL behind them; NULL when it cannot be read. */
static char *read_file(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    char *bytes = file ? mem_alloc(FILE_BYTES_MAX + 1) : NULL;
    if (bytes) {
        *n_bytes = fread(bytes, 1, FILE_BYTES_MAX, file);
        bytes[*n_bytes] = '\0';
    }
    if (file)
        fclose(file);
    return bytes;
}

/* The chat template of a GGUF file: the string behind its key. NULL when there is none. */
static char *model_template(const char *path)
{
    static const char key[] = "tokenizer.chat_template";
    size_t n;
    char *bytes = read_file(path, &n), *source = NULL;
    char *at = bytes ? memmem(bytes, n, key, sizeof key - 1) : NULL;
    if (at) {
        uint32_t kind;
        uint64_t length;
        at += sizeof key - 1;
        memcpy(&kind, at, sizeof kind);
        memcpy(&length, at + 4, sizeof length);
        if (kind == 8 && length < n - (size_t)(at - bytes) - 12)
            source = mem_memdup0(at + 12, length);
    }
    mem_free(bytes);
    return source;
}

static size_t run_cases(const cJSON *goldens, const char *model_source, bool of_model)
{
    const cJSON *templates = cJSON_GetObjectItemCaseSensitive(goldens, "templates");
    const cJSON *variables = cJSON_GetObjectItemCaseSensitive(goldens, "variables");
    const cJSON *row;
    size_t n = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(goldens, "cases"))
    {
        const cJSON *which = row->child, *index = which->next, *expected = index->next;
        bool model = cJSON_IsNumber(which) && which->valueint < 0;
        if (model != of_model)
            continue;
        const char *source = model ? model_source
                             : cJSON_IsString(which)
                                 ? which->valuestring
                                 : cJSON_GetArrayItem(templates, which->valueint)->valuestring;
        const char *json = cJSON_GetArrayItem(variables, index->valueint)->valuestring;
        struct rendered r = render(source, json);
        if (cJSON_IsString(expected)) {
            if (r.status != OK || strcmp(rendered_text(&r), expected->valuestring) != 0)
                print_error("%s\n%s\n  -> %s\n", source, json,
                            r.status ? r.err.text : rendered_text(&r));
            assert_int_equal(r.status, OK);
            assert_string_equal(rendered_text(&r), expected->valuestring);
        } else {
            if (r.status == OK)
                print_error("%s\n%s\n  rendered, although jinja2 refuses\n", source, json);
            assert_int_not_equal(r.status, OK);
        }
        rendered_release(&r);
        n++;
    }
    return n;
}

static cJSON *load(void)
{
    size_t n;
    char *text = read_file(cases_path, &n);
    assert_non_null(text);
    cJSON *goldens = cJSON_ParseWithLength(text, n);
    mem_free(text);
    assert_non_null(goldens);
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(goldens, "now")->valuedouble, RENDER_NOW);
    return goldens;
}

static void test_goldens(void **state)
{
    (void)state;
    cJSON *goldens = load();
    assert_true(run_cases(goldens, NULL, false) >= 500);
    cJSON_Delete(goldens);
}

static void test_default_model(void **state)
{
    (void)state;
    const char *path = getenv("WICARA_TEST_MODEL");
    if (!path) {
        print_message(
            "WICARA_TEST_MODEL is not set: the default model's template is not checked\n");
        skip();
    }
    char *source = model_template(path);
    assert_non_null(source);
    cJSON *goldens = load();
    assert_true(run_cases(goldens, source, true) >= 80);
    cJSON_Delete(goldens);
    mem_free(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_default_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
