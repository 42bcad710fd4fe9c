/* The hub's answer and Ollama's manifests: what is taken, what is refused and how the message names
 * it, the limit of files, failing memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/formats/hub_list.h"
#include "engine/formats/hub_name.h"

#define SHA           "0123456789abcdef0123456789abcdef01234567"
#define LIST(files)   "{\"sha\": \"" SHA "\", \"siblings\": [" files "]}"
#define FILE_OF(name) "{\"rfilename\": \"" name "\"}"

static void test_list(void **state)
{
    static const char text[] = LIST(FILE_OF("b") "," FILE_OF("a/c") "," FILE_OF("a"));
    struct hub_list list;
    (void)state;
    assert_int_equal(hub_list_parse(&list, text, strlen(text), NULL), OK);
    assert_string_equal(list.commit, SHA);
    assert_int_equal(list.files.n_names, 3);
    assert_string_equal(list.files.names[0], "a");
    assert_string_equal(list.files.names[1], "a/c");
    assert_string_equal(list.files.names[2], "b");
    hub_list_release(&list);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", "JSON"},
        {"[]", "object"},
        {"{}", "'sha'"},
        {"{\"sha\": 1}", "'sha'"},
        {"{\"sha\": \"" SHA "\"}", "'siblings'"},
        {"{\"sha\": \"" SHA "0\", \"siblings\": []}", "'sha'"},
        {"{\"sha\": \"X" SHA "\", \"siblings\": []}", "'sha'"},
        {"{\"sha\": \"..\", \"siblings\": []}", "'sha'"},
        {LIST("1"), "rfilename"},
        {LIST("{\"rfilename\": null}"), "rfilename"},
        {LIST(FILE_OF("../a")), "unsafe"},
        {LIST(FILE_OF("a\\\\b")), "unsafe"},
        {LIST(FILE_OF("a") "," FILE_OF("a")), "twice"},
        {LIST(FILE_OF("a")) "x", "hub's answer"},
        {LIST("{\"rfilename\": \"a\", \"rfilename\": \"b\"}"), "hub's answer"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hub_list list;
        struct error err = {0};
        assert_int_equal(hub_list_parse(&list, cases[i].text, strlen(cases[i].text), &err),
                         ERR_FORMAT);
        assert_int_equal(err.status, ERR_FORMAT);
        assert_null(list.files.names);
        if (!strstr(err.text, cases[i].word))
            fail_msg("case %zu: '%s' does not say '%s'", i, err.text, cases[i].word);
    }
}

static enum status parse_many(size_t n_files)
{
    struct buf text;
    struct hub_list list;
    buf_init(&text, HUB_JSON_BYTES_MAX);
    buf_append_text(&text, "{\"sha\": \"" SHA "\", \"siblings\": [");
    for (size_t i = 0; i < n_files; i++)
        buf_printf(&text, "%s{\"rfilename\": \"f%zu\"}", i ? "," : "", i);
    buf_append_text(&text, "]}");
    assert_false(text.failed);
    enum status status = hub_list_parse(&list, text.bytes, text.n_bytes, NULL);
    hub_list_release(&list);
    buf_release(&text);
    return status;
}

static void test_limit(void **state)
{
    (void)state;
    assert_int_equal(parse_many(HUB_FILES_MAX), OK);
    assert_int_equal(parse_many(HUB_FILES_MAX + 1), ERR_LIMIT);
}

static void test_manifest(void **state)
{
#define LAYER(type, digest)                                                                        \
    "{\"layers\": [{\"mediaType\": \"application/vnd.ollama.image." type "\", \"digest\": "        \
    "\"sha256:" digest "\", \"size\": 5}]}"
#define HEX SHA "0123456789abcdef01234567"
    static const char right[] = LAYER("model", HEX), other[] = LAYER("template", HEX),
                      wrong[] = LAYER("model", "../" HEX);
    struct ollama_model model;
    (void)state;
    assert_int_equal(ollama_manifest_parse(&model, right, strlen(right), NULL), OK);
    assert_string_equal(model.blob, "sha256-" HEX);
    assert_int_equal(model.bytes, 5);
    assert_int_equal(ollama_manifest_parse(&model, other, strlen(other), NULL), ERR_NOT_FOUND);
    assert_int_equal(ollama_manifest_parse(&model, wrong, strlen(wrong), NULL), ERR_FORMAT);
    assert_int_equal(ollama_manifest_parse(&model, "{}", 2, NULL), ERR_NOT_FOUND);
    assert_int_equal(ollama_manifest_parse(&model, "{", 1, NULL), ERR_FORMAT);
}

/* Parsing and choosing with the n-th allocation failing, for every n: ERR_MEMORY and no leak. */
static void test_memory(void **state)
{
    static const char text[] = LIST(FILE_OF("m-Q4_K_M-00001-of-00003.gguf") "," FILE_OF(
        "m-Q4_K_M-00002-of-00003.gguf") "," FILE_OF("m-Q4_K_M-00003-of-00003.gguf"));
    struct hub_name name;
    (void)state;
    assert_int_equal(hub_name_parse(&name, "a/b", NULL), OK);
    for (uint64_t nth = 1;; nth++) {
        struct hub_list list = {0};
        struct hub_choice choice = {0};
        mem_fault_set(nth, false);
        enum status status = hub_list_parse(&list, text, strlen(text), NULL);
        if (status == OK)
            status = hub_choose(&choice, &list.files, &name, NULL, NULL);
        bool reached = mem_fault_count() >= nth;
        mem_fault_set(0, false);
        assert_int_equal(status, reached ? ERR_MEMORY : OK);
        hub_choice_release(&choice);
        hub_list_release(&list);
        if (!reached)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limit),  cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
