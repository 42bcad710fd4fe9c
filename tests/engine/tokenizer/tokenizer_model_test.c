/* A directory with tokenizer.model alone: the ids of small models that the `sentencepiece` library
 * trained (tests/golden/tokenizer/spm), added tokens and settings of the files beside it, and that
 * tokenizer.json comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/formats/hf_build.h"
#include "tests/engine/formats/spm_build.h"

#define CONFIG(more)                                                                               \
    "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"max_position_embeddings\":128,"           \
    "\"hidden_size\":16,\"intermediate_size\":16,\"num_attention_heads\":1," more                  \
    "\"rms_norm_eps\":1e-5}"

struct opened {
    struct hf_dir dir;
    struct model_file *file;
    struct tokenizer *tokenizer;
};

static void make_dir(struct hf_dir *dir, const char *config, const void *model, size_t n_model)
{
    struct st_build build;
    hf_dir_make(dir);
    hf_dir_text(dir, "config.json", config);
    hf_dir_write(dir, "tokenizer.model", model, n_model);
    st_init(&build);
    st_write(&build, dir, "model.safetensors");
}

static enum status open_dir(struct opened *o, struct error *err)
{
    o->tokenizer = NULL;
    enum status status = model_file_open(&o->file, o->dir.path, err);
    return status ? status : tokenizer_open(&o->tokenizer, o->file, err);
}

static void open_small(struct opened *o, const char *settings, const char *added)
{
    struct buf model;
    struct error err = {0};
    buf_init(&model, 1 << 16);
    spm_small(&model);
    make_dir(&o->dir, CONFIG("\"vocab_size\":270,"), model.bytes, model.n_bytes);
    if (settings)
        hf_dir_text(&o->dir, "tokenizer_config.json", settings);
    if (added)
        hf_dir_text(&o->dir, "added_tokens.json", added);
    if (open_dir(o, &err))
        fail_msg("%s", err.text);
    buf_release(&model);
}

static void close_dir(struct opened *o)
{
    tokenizer_close(o->tokenizer);
    model_file_close(o->file);
    hf_dir_remove(&o->dir);
}

static void check(const struct opened *o, const char *text, bool add_special, const int32_t *ids,
                  size_t n_ids)
{
    struct prompt_text prompt = {.bytes = text, .n_bytes = strlen(text)};
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(o->tokenizer, &prompt, add_special, 0, &list, NULL), OK);
    if (list.n_ids != n_ids || memcmp(list.ids, ids, n_ids * sizeof *ids) != 0)
        fail_msg("other ids for \"%s\"", text);
    token_list_release(&list);
}
#define CHECK(o, text, add_special, ...)                                                           \
    check(o, text, add_special, (const int32_t[]){__VA_ARGS__},                                    \
          sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static char *read_file(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *n_bytes = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*n_bytes + 1);
    assert_int_equal(fread(bytes, 1, *n_bytes, file), *n_bytes);
    fclose(file);
    return bytes;
}

static void ids_are_the_library_s(void **state)
{
    (void)state;
    static const char *const names[] = {"prefix", "plain"};
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        size_t n_model, n_bytes, n_texts = 0;
        struct opened o;
        struct error err = {0};
        snprintf(path, sizeof path, "tests/golden/tokenizer/spm/%s/tokenizer.model", names[i]);
        char *model = read_file(path, &n_model);
        snprintf(path, sizeof path, "tests/golden/tokenizer/spm/%s/ids.bin", names[i]);
        char *golden = read_file(path, &n_bytes);
        make_dir(&o.dir, CONFIG(""), model, n_model);
        if (open_dir(&o, &err))
            fail_msg("%s: %s", names[i], err.text);
        for (size_t at = 0; at < n_bytes; n_texts++) {
            uint32_t n_text, n_ids;
            memcpy(&n_text, golden + at, 4);
            memcpy(&n_ids, golden + at + 4 + n_text, 4);
            struct text_span all = {0, n_text};
            struct prompt_text prompt = {golden + at + 4, n_text, &all, n_text > 0};
            struct token_list list = {0};
            assert_int_equal(tokenizer_encode(o.tokenizer, &prompt, false, 0, &list, NULL), OK);
            if (list.n_ids != n_ids ||
                (n_ids && memcmp(list.ids, golden + at + 8 + n_text, 4 * n_ids) != 0))
                fail_msg("%s: text %zu has other ids", names[i], n_texts);
            token_list_release(&list);
            at += 8 + n_text + 4 * n_ids;
        }
        assert_true(n_texts > 100);
        close_dir(&o);
        free(model);
        free(golden);
    }
}

static void the_model_alone(void **state)
{
    (void)state;
    struct opened o;
    open_small(&o, NULL, NULL);
    assert_int_equal(tokenizer_vocab(o.tokenizer), 270);  // unused ids up to the rows
    assert_int_equal(tokenizer_bos(o.tokenizer), 1);
    assert_int_equal(tokenizer_eos(o.tokenizer), 2);
    assert_true(tokenizer_adds_bos(o.tokenizer));
    assert_true(tokenizer_is_eog(o.tokenizer, 2));
    CHECK(&o, "ab", true, 1, 3, 6);   // the best score is that of ab
    CHECK(&o, "a", false, 7);         // U+2581 and a
    CHECK(&o, "</s>a", false, 2, 7);  // a space behind a special token too
    CHECK(&o, "[PAD269]", false, 3, 8 + '[', 8 + 'P', 8 + 'A', 8 + 'D', 8 + '2', 8 + '6', 8 + '9',
          8 + ']');
    close_dir(&o);
}

static void files_beside_it_are_read(void **state)
{
    (void)state;
    struct opened o;
    open_small(&o,
               "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"<|end|>\"},"
               "\"add_bos_token\":false,\"add_eos_token\":true,\"legacy\":false,"
               "\"chat_template\":\"{{ bos_token }}\",\"added_tokens_decoder\":{"
               "\"2\":{\"content\":\"</s>\",\"special\":true},"
               "\"264\":{\"content\":\"<|end|>\",\"special\":true,\"rstrip\":true},"
               "\"265\":{\"content\":\"<tool>\",\"special\":false}}}",
               "{\"<|end|>\":264,\"<more>\":266}");
    struct text_view text;
    assert_true(model_file_text(o.file, "tokenizer.chat_template", &text));
    assert_int_equal(tokenizer_vocab(o.tokenizer), 270);
    assert_int_equal(tokenizer_eos(o.tokenizer), 264);
    assert_false(tokenizer_adds_bos(o.tokenizer));
    assert_true(tokenizer_is_control(o.tokenizer, 264));
    assert_false(tokenizer_is_control(o.tokenizer, 265));
    assert_int_equal(tokenizer_find(o.tokenizer, "<more>", 6), 266);
    CHECK(&o, "a<|end|>  a", true, 7, 264, 4, 264);  // legacy: false puts no space behind it
    CHECK(&o, "<tool>a", false, 265, 4);
    close_dir(&o);
    open_small(&o, "{\"add_prefix_space\":false}", NULL);
    CHECK(&o, "a", false, 4);
    close_dir(&o);
}

static void wrong_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text, *message;
    } cases[] = {
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"a\"}}}",
         "tokenizer_config.json: an added token"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"300\":{}}}",
         "tokenizer_config.json: an added token"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"4194304\":{\"content\":\"a\"}}}",
         "tokenizer_config.json: an added token"},
        {"added_tokens.json", "{\"a\":\"b\"}", "added_tokens.json: an added token"},
        {"added_tokens.json", "[1]", "added_tokens.json: an added token"},
        {"tokenizer.model", "no model", "tokenizer.model: it is no SentencePiece model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct opened o;
        struct buf model;
        struct error err = {0};
        buf_init(&model, 1 << 16);
        spm_small(&model);
        make_dir(&o.dir, CONFIG(""), model.bytes, model.n_bytes);
        hf_dir_text(&o.dir, cases[i].file, cases[i].text);
        assert_int_equal(open_dir(&o, &err), ERR_FORMAT);
        if (!strstr(err.text, cases[i].message))
            fail_msg("%s", err.text);
        close_dir(&o);
        buf_release(&model);
    }
}

static void failing_memory_is_an_error(void **state)
{
    (void)state;
    struct opened o;
    open_small(&o, "{\"added_tokens_decoder\":{\"264\":{\"content\":\"<|end|>\"}}}", NULL);
    tokenizer_close(o.tokenizer);
    model_file_close(o.file);
    enum status status = ERR_MEMORY;
    for (uint64_t nth = 1; nth < 2000 && status != OK; nth++) {
        mem_fault_set(nth, false);
        status = open_dir(&o, NULL);
        mem_fault_set(0, false);
        assert_true(status == OK || status == ERR_MEMORY);
        tokenizer_close(o.tokenizer);
        model_file_close(o.file);
    }
    assert_int_equal(status, OK);
    hf_dir_remove(&o.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_the_library_s),      cmocka_unit_test(the_model_alone),
        cmocka_unit_test(files_beside_it_are_read),   cmocka_unit_test(wrong_files_are_named),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("tokenizer/tokenizer_model", tests, NULL, NULL);
}
