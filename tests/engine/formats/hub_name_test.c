/* Names of repositories and files, quantisations, and the choice among a repository's files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/formats/hub_name.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text, *repo, *quant;
    } right[] = {
        {"org/repo", "org/repo", ""},
        {"a/b:Q4_K_M", "a/b", "Q4_K_M"},
        {"Org-1.x/Re_po.v2-GGUF:UD-Q4_K_XL", "Org-1.x/Re_po.v2-GGUF", "UD-Q4_K_XL"},
    };
    static const char *const wrong[] = {
        "",        "org",    "/repo",   "org/",    "org/a/b",   "org/..",       "../repo",
        "org/-a",  "org/a-", "org/.a",  "org/a.",  "o--g/a",    "org/a..b",     "org/a b",
        "org/a\n", "org/a:", "org/a:/", "org/a:.", "org/a:b:c", "org/\xc3\xa4", ":Q4_0",
    };
    (void)state;
    struct hub_name name;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        assert_int_equal(hub_name_parse(&name, right[i].text, NULL), OK);
        assert_string_equal(name.repo, right[i].repo);
        assert_string_equal(name.quant, right[i].quant);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct error err = {0};
        if (hub_name_parse(&name, wrong[i], &err) != ERR_INVALID)
            fail_msg("'%s' was taken", wrong[i]);
    }
    char part[HUB_PART_BYTES_MAX + 2], text[512];
    memset(part, 'a', sizeof part);
    part[HUB_PART_BYTES_MAX + 1] = '\0';
    snprintf(text, sizeof text, "%s/%s", part + 1, part + 1);
    assert_int_equal(hub_name_parse(&name, text, NULL), OK);
    snprintf(text, sizeof text, "%s/%s", part, part + 1);
    assert_int_equal(hub_name_parse(&name, text, NULL), ERR_INVALID);
    snprintf(text, sizeof text, "%s/%s", part + 1, part);
    assert_int_equal(hub_name_parse(&name, text, NULL), ERR_INVALID);
    snprintf(text, sizeof text, "a/b:%.*s", HUB_QUANT_BYTES_MAX, part);
    assert_int_equal(hub_name_parse(&name, text, NULL), OK);
    snprintf(text, sizeof text, "a/b:%.*s", HUB_QUANT_BYTES_MAX + 1, part);
    assert_int_equal(hub_name_parse(&name, text, NULL), ERR_INVALID);
}

static void test_safe_files(void **state)
{
    static const char *const safe[] = {"a", "a/b", ".hidden", "a b", "a..b/...", "\xc3\xa4.gguf"};
    static const char *const unsafe[] = {"",      "/a",   "a/",       "a//b",  ".",         "..",
                                         "../a",  "a/..", "a/../b",   "a/./b", "a\\b",      "a\x01",
                                         "a\x7f", "a\n",  "\xc3\x28", "./a",   "a/..\\b/.."};
    (void)state;
    for (size_t i = 0; i < sizeof safe / sizeof *safe; i++)
        assert_true(hub_file_is_safe(safe[i]));
    for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++)
        assert_false(hub_file_is_safe(unsafe[i]));
    char name[HUB_FILE_BYTES_MAX + 2];
    memset(name, 'a', sizeof name);
    for (size_t i = 100; i < sizeof name; i += 100)
        name[i] = '/';
    name[HUB_FILE_BYTES_MAX] = '\0';
    assert_true(hub_file_is_safe(name));
    name[HUB_FILE_BYTES_MAX] = 'a';
    name[HUB_FILE_BYTES_MAX + 1] = '\0';
    assert_false(hub_file_is_safe(name));
    memset(name, 'a', 256);
    name[255] = '\0';
    assert_true(hub_file_is_safe(name));
    name[255] = 'a';
    name[256] = '\0';
    assert_false(hub_file_is_safe(name));
}

static void test_encoding(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, 100);
    hub_append_encoded(&out, "a/B-1_.~/ %?#\xc3\xa4&+");
    assert_string_equal(out.bytes, "a/B-1_.~/%20%25%3F%23%C3%A4%26%2B");
    buf_release(&out);
}

static void test_labels(void **state)
{
    static const char *const cases[][2] = {
        {"model.Q4_K_M.gguf", "Q4_K_M"},
        {"Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"},
        {"Qwen3-8B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"},
        {"dir/Qwen3-30B-A3B-BF16-00001-of-00002.gguf", "BF16"},
        {"gpt-oss-20b-mxfp4.gguf", "mxfp4"},
        {"x-IQ2_XXS.gguf", "IQ2_XXS"},
        {"qwen2.5-0.5b-instruct-fp16.gguf", "fp16"},
        {"smollm2.Q8_0.gguf", "Q8_0"},
        {"model_q4_0.gguf", "q4_0"},
        {"QwQ-32B.gguf", ""},
        {"Q-model.gguf", ""},
        {"ggml-model-f32.gguf", "f32"},
        {"org_repo_model-TQ1_0.gguf", "TQ1_0"},
    };
    char label[HUB_QUANT_BYTES_MAX + 1];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hub_quant_label(label, cases[i][0]);
        assert_string_equal(label, cases[i][1]);
    }
}

static void test_splits(void **state)
{
    size_t number, count;
    char name[FILE_PATH_BYTES];
    (void)state;
    assert_true(hub_split_numbers("a-00002-of-00011.gguf", &number, &count));
    assert_int_equal(number, 2);
    assert_int_equal(count, 11);
    assert_false(hub_split_numbers("a-00012-of-00011.gguf", &number, &count));
    assert_false(hub_split_numbers("a-00000-of-00011.gguf", &number, &count));
    assert_false(hub_split_numbers("-00001-of-00011.gguf", &number, &count));
    assert_false(hub_split_numbers("a-0001-of-00011.gguf", &number, &count));
    assert_int_equal(hub_split_name(name, "d/a-00001-of-00011.gguf", 11, NULL), OK);
    assert_string_equal(name, "d/a-00011-of-00011.gguf");
}

/* What is chosen: names joined by a space, or the status when it is refused. */
static void check_choice(const char *const *files, size_t n_files, const char *name,
                         const char *file, const char *wanted)
{
    struct name_list names = {0};
    struct hub_name parsed;
    struct hub_choice choice;
    struct error err = {0};
    char found[1024] = "";
    size_t n = 0;
    for (size_t i = 0; i < n_files; i++)
        assert_int_equal(name_list_add(&names, files[i], NULL), OK);
    name_list_sort(&names);
    assert_int_equal(hub_name_parse(&parsed, name, NULL), OK);
    enum status status = hub_choose(&choice, &names, &parsed, file, &err);
    if (status != OK)
        snprintf(found, sizeof found, "%s", status_name(status));
    for (size_t i = 0; i < choice.files.n_names; i++)
        n += (size_t)snprintf(found + n, sizeof found - n, "%s%s", i ? " " : "",
                              choice.files.names[i]);
    assert_string_equal(found, wanted);
    hub_choice_release(&choice);
    name_list_release(&names);
}

static void test_choice(void **state)
{
    static const char *const many[] = {"m-UD-Q4_K_M.gguf",
                                       "m-Q4_K_M.gguf",
                                       "m-Q8_0.gguf",
                                       "m-Q4_0.gguf",
                                       "mmproj-Q4_K_M.gguf",
                                       "imatrix.gguf",
                                       "README.md",
                                       "B/m-BF16-00001-of-00002.gguf",
                                       "B/m-BF16-00002-of-00002.gguf",
                                       "m-Q6_K-00001-of-00002.gguf"};
    static const char *const plain[] = {"model.gguf", "config.json", "model.safetensors"};
    static const char *const checkpoint[] = {"config.json",
                                             "model-00001-of-00001.safetensors",
                                             "consolidated.safetensors",
                                             "tokenizer.json",
                                             "model.safetensors.index.json",
                                             "pytorch_model.bin",
                                             "x/config.json",
                                             "tokenizer.model",
                                             "onnx/tokenizer.json"};
    static const char *const nothing[] = {"model.bin", "config.json"};
    (void)state;
    check_choice(many, 10, "a/b", NULL, "m-Q4_K_M.gguf");
    check_choice(many, 10, "a/b:ud-q4_k_m", NULL, "m-UD-Q4_K_M.gguf");
    check_choice(many, 10, "a/b:BF16", NULL,
                 "B/m-BF16-00001-of-00002.gguf B/m-BF16-00002-of-00002.gguf");
    check_choice(many, 10, "a/b:Q6_K", NULL, "ERR_NOT_FOUND");  // a part is missing
    check_choice(many, 10, "a/b:Q4_K", NULL, "ERR_NOT_FOUND");
    check_choice(many, 10, "a/b", "m-Q4_0.gguf", "m-Q4_0.gguf");
    check_choice(many, 10, "a/b", "README.md", "ERR_NOT_FOUND");
    check_choice(many + 2, 2, "a/b", NULL, "m-Q8_0.gguf");
    check_choice(many + 3, 1, "a/b", NULL, "m-Q4_0.gguf");
    check_choice(plain, 3, "a/b", NULL, "model.gguf");
    check_choice(checkpoint, 9, "a/b", NULL,
                 "config.json model-00001-of-00001.safetensors model.safetensors.index.json "
                 "tokenizer.json tokenizer.model");
    check_choice(checkpoint, 9, "a/b:Q4_0", NULL, "ERR_NOT_FOUND");
    check_choice(nothing, 2, "a/b", NULL, "ERR_NOT_FOUND");
    check_choice(nothing, 0, "a/b", NULL, "ERR_NOT_FOUND");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),    cmocka_unit_test(test_safe_files),
        cmocka_unit_test(test_encoding), cmocka_unit_test(test_labels),
        cmocka_unit_test(test_splits),   cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
