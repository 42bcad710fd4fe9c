/* tokenizer.json: the ids of small tokenizers that the `tokenizers` library trained
 * (tests/golden/tokenizer/json), special ids and templates from the files beside it, and a clear
 * refusal of every part that is not understood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/stream_decoder.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/formats/hf_build.h"

#define CONFIG                                                                                     \
    "\"model_type\":\"llama\",\"num_hidden_layers\":1,\"max_position_embeddings\":128,"            \
    "\"hidden_size\":16,\"intermediate_size\":16,\"num_attention_heads\":1,\"rms_norm_eps\":1e-5"

static void *read_file(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *n_bytes = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*n_bytes + 1);
    assert_int_equal(fread(bytes, 1, *n_bytes, file), *n_bytes);
    bytes[*n_bytes] = '\0';
    fclose(file);
    return bytes;
}

/* A directory with a configuration, no tensors and the tokenizer. */
static void make_dir(struct hf_dir *dir, const char *config, const char *tokenizer)
{
    struct st_build build;
    hf_dir_make(dir);
    hf_dir_text(dir, "config.json", config);
    hf_dir_text(dir, "tokenizer.json", tokenizer);
    st_init(&build);
    st_write(&build, dir, "model.safetensors");
}

static enum status open_dir(const struct hf_dir *dir, struct model_file **file,
                            struct tokenizer **tokenizer, struct error *err)
{
    *tokenizer = NULL;
    enum status status = model_file_open(file, dir->path, err);
    if (!status)
        status = tokenizer_open(tokenizer, *file, err);
    return status;
}

static void check_text(const struct tokenizer *tokenizer, const char *text, size_t n_bytes,
                       const uint32_t *ids, size_t n_ids)
{
    struct prompt_text prompt = {.bytes = text, .n_bytes = n_bytes};
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, &prompt, false, 0, &list, NULL), OK);
    bool same = list.n_ids == n_ids && (n_ids == 0 || !memcmp(list.ids, ids, n_ids * sizeof *ids));
    if (!same)
        print_message("text \"%.*s\"\n", (int)n_bytes, text);
    assert_true(same);
    token_list_release(&list);
}

static void ids_are_the_library_s(void **state)
{
    (void)state;
    static const char *const names[] = {"bytes", "digits", "llama", "metaspace", "first"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        size_t n_json, n_bytes, n_texts = 0;
        struct hf_dir dir;
        struct model_file *file;
        struct tokenizer *tokenizer;
        struct error err = {0};
        snprintf(path, sizeof path, "tests/golden/tokenizer/json/%s/tokenizer.json", names[i]);
        char *json = read_file(path, &n_json);
        snprintf(path, sizeof path, "tests/golden/tokenizer/json/%s/ids.bin", names[i]);
        char *golden = read_file(path, &n_bytes);
        make_dir(&dir, "{" CONFIG "}", json);
        if (open_dir(&dir, &file, &tokenizer, &err))
            print_message("%s: %s\n", names[i], err.text);
        assert_int_equal(err.status, OK);
        for (size_t at = 0; at < n_bytes; n_texts++) {
            uint32_t n_text, n_ids;
            memcpy(&n_text, golden + at, 4);
            memcpy(&n_ids, golden + at + 4 + n_text, 4);
            uint32_t *ids = malloc(4 * n_ids + 4);
            memcpy(ids, golden + at + 8 + n_text, 4 * n_ids);
            check_text(tokenizer, golden + at + 4, n_text, ids, n_ids);
            free(ids);
            at += 8 + n_text + 4 * n_ids;
        }
        assert_true(n_texts > 200);
        tokenizer_close(tokenizer);
        model_file_close(file);
        hf_dir_remove(&dir);
        free(json);
        free(golden);
    }
}

/* Six tokens, a merge, sections as given. */
#define TOKENIZER(sections, added)                                                                 \
    "{\"added_tokens\":[" added "]," sections "\"model\":{\"type\":\"BPE\",\"unk_token\":null,"    \
    "\"vocab\":{\"a\":0,\"b\":1,\"\u0120\":2,\"ab\":3,\"\u0120ab\":4},"                            \
    "\"merges\":[\"a b\",[\"\u0120\",\"ab\"]]}}"
#define BYTE_LEVEL                                                                                 \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"                       \
    "\"decoder\":{\"type\":\"ByteLevel\"},"
#define ADDED(id, text, special)                                                                   \
    "{\"id\":" id ",\"content\":\"" text "\",\"special\":" special ",\"lstrip\":false,"            \
    "\"rstrip\":false,\"single_word\":false,\"normalized\":false}"

static void unknown_parts_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *tokenizer;
        const char *text;
    } cases[] = {
        {"[]", "model is no object"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "model.type 'Unigram'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[]}}", "model.vocab is no object"},
        {"{\"model\":{\"vocab\":{}}}", "no tokens"},
        {"{\"model\":{\"vocab\":{\"a\":-1}}}", "no whole number"},
        {"{\"model\":{\"vocab\":{\"a\":4194304}}}", "ids must be below 4194304"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0}}}", "two tokens have the id 0"},
        {"{\"model\":{\"vocab\":{\"a\":0}}}", "model.merges is no array"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[1]}}", "model.merges[0]"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "model.merges[0]"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"end_of_word_suffix\":\"x\"}}", "end_of_word_suffix"},
        {TOKENIZER("", ""), "neither ByteLevel nor U+2581"},
        {TOKENIZER("\"normalizer\":{\"type\":\"NFKC\"},", ""), "normalizer 'NFKC'"},
        {TOKENIZER("\"normalizer\":{\"type\":\"Sequence\"},", ""), "without a list"},
        {TOKENIZER("\"pre_tokenizer\":{\"type\":\"Whitespace\"},", ""), "'Whitespace'"},
        {TOKENIZER("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-f]+\"},"
                   "\"behavior\":\"Isolated\",\"invert\":false},",
                   ""),
         "'[a-f]+' (an expression that this program has no matcher for)"},
        {TOKENIZER("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}\"},"
                   "\"behavior\":\"Removed\",\"invert\":false},",
                   ""),
         "of that behavior"},
        {TOKENIZER("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},", ""),
         "add_prefix_space"},
        {TOKENIZER("\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"CTC\"},",
                   ""),
         "decoder 'CTC'"},
        {TOKENIZER(BYTE_LEVEL, "{\"id\":5,\"content\":\"x\",\"single_word\":true}"),
         "'x' with single_word"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hf_dir dir;
        struct model_file *file;
        struct tokenizer *tokenizer;
        struct error err = {0};
        make_dir(&dir, "{" CONFIG "}", cases[i].tokenizer);
        assert_int_not_equal(open_dir(&dir, &file, &tokenizer, &err), OK);
        if (!strstr(err.text, cases[i].text))
            print_message("%s\n -> %s\n", cases[i].tokenizer, err.text);
        assert_non_null(strstr(err.text, cases[i].text));
        model_file_close(file);
        hf_dir_remove(&dir);
    }
}

static void files_beside_it_are_read(void **state)
{
    (void)state;
    struct hf_dir dir;
    struct model_file *file;
    struct tokenizer *tokenizer;
    struct error err = {0};
    make_dir(
        &dir, "{" CONFIG ",\"vocab_size\":12,\"eos_token_id\":[6]}",
        TOKENIZER(BYTE_LEVEL, ADDED("5", "<s>", "true") "," ADDED("6", "</s>", "true") "," ADDED(
                                  "7", "<e>", "true") "," ADDED("8", "<u>", "false")));
    hf_dir_text(&dir, "tokenizer_config.json",
                "{\"tokenizer_class\":\"LlamaTokenizerFast\",\"add_bos_token\":true,"
                "\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"</s>\","
                "\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"T\"},"
                "{\"name\":\"default\",\"template\":\"D\\n\"}]}");
    hf_dir_text(&dir, "generation_config.json", "{\"eos_token_id\":[7, 6]}");
    assert_int_equal(open_dir(&dir, &file, &tokenizer, &err), OK);
    assert_int_equal(tokenizer_vocab(tokenizer), 12);
    assert_int_equal(tokenizer_bos(tokenizer), 5);
    assert_int_equal(tokenizer_eos(tokenizer), 6);
    assert_true(tokenizer_adds_bos(tokenizer));
    assert_true(tokenizer_is_eog(tokenizer, 6) && tokenizer_is_eog(tokenizer, 7));
    assert_false(tokenizer_is_eog(tokenizer, 8) || tokenizer_is_eog(tokenizer, 0));
    assert_true(tokenizer_is_control(tokenizer, 7) && !tokenizer_is_control(tokenizer, 8));
    struct text_view template;
    assert_true(model_file_text(file, "tokenizer.chat_template", &template));
    assert_memory_equal(template.bytes, "D\n", 2);
    assert_true(model_file_text(file, "tokenizer.chat_template.tool_use", &template));
    size_t n;
    assert_memory_equal(tokenizer_token_text(tokenizer, 11, &n), "[PAD11]", 7);
    static const uint32_t ids[] = {4, 3, 6};
    check_text(tokenizer, " abab</s>", 9, ids, 3);
    tokenizer_close(tokenizer);
    model_file_close(file);
    hf_dir_text(&dir, "chat_template.jinja", "J");
    assert_int_equal(open_dir(&dir, &file, &tokenizer, &err), OK);
    assert_true(model_file_text(file, "tokenizer.chat_template", &template));
    assert_memory_equal(template.bytes, "J", 1);
    tokenizer_close(tokenizer);
    model_file_close(file);
    hf_dir_remove(&dir);
}

/* A message that spells a control token stays text, normalised or not. */
static void untrusted_bytes_stay_text(void **state)
{
    (void)state;
    struct hf_dir dir;
    struct model_file *file;
    struct tokenizer *tokenizer;
    size_t n_json;
    char *json = read_file("tests/golden/tokenizer/json/bytes/tokenizer.json", &n_json);
    make_dir(&dir, "{" CONFIG "}", json);
    assert_int_equal(open_dir(&dir, &file, &tokenizer, NULL), OK);
    int32_t s = tokenizer_find(tokenizer, "<|s|>", 5), n = tokenizer_find(tokenizer, "<|n|>", 5);
    assert_true(tokenizer_adds_bos(tokenizer));  // as the post_processor says
    assert_int_equal(tokenizer_bos(tokenizer), s);
    static const char text[] = "<|n|>e\xcc\x81<|n|>e\xcc\x81<|s|><|s|>";  // 5 3 5 3 5 5
    const struct text_span untrusted[] = {{5, 16}, {21, 26}};
    struct prompt_text prompt = {text, sizeof text - 1, untrusted, 2};
    struct token_list list = {0};
    size_t n_n = 0, n_s = 0;
    assert_int_equal(tokenizer_encode(tokenizer, &prompt, false, 0, &list, NULL), OK);
    for (size_t i = 0; i < list.n_ids; i++) {
        n_n += list.ids[i] == n;
        n_s += list.ids[i] == s;
    }
    assert_int_equal(n_n, 1);
    assert_int_equal(n_s, 1);
    assert_int_equal(list.ids[0], n);
    token_list_release(&list);
    tokenizer_close(tokenizer);
    model_file_close(file);
    hf_dir_remove(&dir);
    free(json);
}

static void failing_memory_is_an_error(void **state)
{
    (void)state;
    struct hf_dir dir;
    size_t n_json;
    char *json = read_file("tests/golden/tokenizer/json/bytes/tokenizer.json", &n_json);
    make_dir(&dir, "{" CONFIG "}", json);
    free(json);
    enum status status = ERR_MEMORY;
    for (uint64_t nth = 1; nth < 2000 && status != OK; nth++) {
        struct model_file *file;
        struct tokenizer *tokenizer;
        struct token_list list = {0};
        static const char text[] = "a <|s|> e\xcc\x81 <|n|> b";
        struct prompt_text prompt = {.bytes = text, .n_bytes = sizeof text - 1};
        mem_fault_set(nth, false);
        status = open_dir(&dir, &file, &tokenizer, NULL);
        if (!status)
            status = tokenizer_encode(tokenizer, &prompt, true, 0, &list, NULL);
        mem_fault_set(0, false);
        assert_true(status == OK || status == ERR_MEMORY);
        token_list_release(&list);
        tokenizer_close(tokenizer);
        model_file_close(file);
    }
    assert_int_equal(status, OK);
    hf_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_the_library_s),
        cmocka_unit_test(unknown_parts_are_refused_by_name),
        cmocka_unit_test(files_beside_it_are_read),
        cmocka_unit_test(untrusted_bytes_stay_text),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
