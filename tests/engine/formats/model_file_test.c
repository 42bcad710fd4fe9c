/* The view over a model on disk: getters, reading tensors, split sets and their inconsistencies,
 * and the real model when WICARA_TEST_MODEL names it. Files go to a directory of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/formats/model_file.h"
#include "tests/engine/formats/gguf_build.h"

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    const char *base = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%.40s/wicara-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

/* Writes what was built and releases it. */
static void save(struct gguf_build *build, const char *name)
{
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    if (build->n_bytes)
        assert_int_equal(fwrite(build->bytes, build->n_bytes, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    build_release(build);
}

static struct model_file *open_ok(const char *name)
{
    struct model_file *file;
    struct error err = {0};
    if (model_file_open(&file, path_of(name), &err))
        fail_msg("%s", err.text);
    return file;
}

static void expect_error(const char *name, enum status wanted, const char *part)
{
    struct model_file *file;
    struct error err = {0};
    enum status status = model_file_open(&file, path_of(name), &err);
    assert_null(file);
    if (status != wanted || !strstr(err.text, part))
        fail_msg("wanted %s with \"%s\", got %s: %s", status_name(wanted), part,
                 status_name(status), err.text);
}

/* ---- one file ---- */

static void test_getters(void **state)
{
    struct gguf_build build = {0};
    struct text_view text;
    uint64_t u;
    int64_t i;
    double f;
    bool yes;
    size_t n;
    uint32_t kind;
    (void)state;
    build_sample(&build, 3);
    size_t n_bytes = build.n_bytes;
    save(&build, "sample.gguf");
    struct model_file *file = open_ok("sample.gguf");
    assert_string_equal(model_file_path(file), path_of("sample.gguf"));
    assert_int_equal(model_file_bytes(file), n_bytes);
    assert_true(model_file_has(file, "k.u8") && !model_file_has(file, "k.u9"));
    assert_true(model_file_u64(file, "k.u8", &u) && u == 200);
    assert_false(model_file_u64(file, "k.i8", &u));
    assert_true(model_file_i64(file, "k.i8", &i) && i == -100);
    assert_false(model_file_i64(file, "k.i32s", &i));
    assert_true(model_file_f64(file, "k.f64", &f) && f == 0.1);
    assert_true(model_file_f64(file, "k.u16", &f) && f == 60000);
    assert_true(model_file_bool(file, "k.yes", &yes) && yes);
    assert_true(model_file_bool(file, "k.no", &yes) && !yes);
    assert_false(model_file_bool(file, "k.u8", &yes));
    assert_false(model_file_bool(file, "k.flags", &yes));
    assert_true(model_file_text(file, "general.architecture", &text) && text.n_bytes == 5);
    assert_memory_equal(text.bytes, "llama", 5);
    assert_false(model_file_text(file, "k.tokens", &text));
    assert_false(model_file_text(file, "k.u8", &text));
    assert_true(model_file_array(file, "k.tokens", &n) && n == 4);
    assert_true(model_file_array(file, "k.none", &n) && n == 0);
    assert_false(model_file_array(file, "k.u8", &n));
    assert_true(model_file_array_text(file, "k.tokens", 3, &text) && text.n_bytes == 4);
    assert_false(model_file_array_text(file, "k.tokens", 4, &text));
    assert_false(model_file_array_text(file, "k.i32s", 0, &text));
    assert_true(model_file_array_i64(file, "k.i32s", 2, &i) && i == 9);
    assert_false(model_file_array_i64(file, "k.i32s", 3, &i));
    assert_false(model_file_array_i64(file, "k.u8", 0, &i));
    assert_true(model_file_array_f64(file, "k.i32s", 1, &f) && f == -8);
    assert_true(model_file_array_f64(file, "k.f32s", 0, &f) && f == 0.25);
    assert_int_equal(model_file_keys(file), 18);
    assert_string_equal(model_file_key_at(file, 1, &kind), "k.u8");
    assert_int_equal(kind, GGUF_U8);
    assert_string_equal(model_file_key_at(file, 17, NULL), "k.flags");
    model_file_close(file);
    model_file_close(NULL);
}

static void test_require(void **state)
{
    static const struct {
        const char *key;
        uint64_t min, max;
        const char *text;  // NULL: right
    } cases[] = {
        {"k.u8", 200, 200, NULL},
        {"k.u8", 0, 199, "key k.u8 is 200, the limits are 0..199"},
        {"k.u8", 201, 300, "key k.u8 is 200, the limits are 201..300"},
        {"k.u64", 0, UINT64_MAX, NULL},
        {"k.i8", 0, 300, "key k.i8 is -100, the limits are 0..300"},
        {"k.gone", 0, 300, "key k.gone is missing"},
        {"k.f32", 0, 300, "key k.f32 is a 32-bit float, an integer is needed"},
        {"k.tokens", 0, 300, "key k.tokens is an array, an integer is needed"},
        {"k.i32s", 0, 300, "key k.i32s is an array, an integer is needed"},
        {"k.yes", 0, 300, "key k.yes is a truth value, an integer is needed"},
    };
    struct gguf_build build = {0};
    (void)state;
    build_sample(&build, 3);
    save(&build, "sample.gguf");
    struct model_file *file = open_ok("sample.gguf");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        uint64_t value = 12345;
        enum status status =
            model_file_require_u64(file, cases[i].key, cases[i].min, cases[i].max, &value, &err);
        assert_int_equal(status, cases[i].text ? ERR_FORMAT : OK);
        assert_string_equal(err.text, cases[i].text ? cases[i].text : "");
        assert_int_equal(value == 12345, cases[i].text != NULL);
    }
    model_file_close(file);
}

static void test_read(void **state)
{
    struct gguf_build build = {0};
    struct error err = {0};
    uint8_t data[288];
    (void)state;
    build_sample(&build, 3);
    save(&build, "sample.gguf");
    struct model_file *file = open_ok("sample.gguf");
    assert_int_equal(model_file_tensors(file), 3);
    const struct tensor_info *tensor = model_file_tensor(file, "blk.0.ffn_exps.weight");
    assert_ptr_equal(tensor, model_file_tensor_at(file, 2));
    assert_null(model_file_tensor(file, "blk.0.ffn_exps"));
    assert_int_equal(model_file_read(file, tensor, 0, 288, data, &err), OK);
    for (size_t i = 0; i < 288; i++)
        assert_int_equal(data[i], (256 + i) % 251);
    assert_int_equal(model_file_read(file, tensor, 287, 1, data, &err), OK);
    assert_int_equal(data[0], (256 + 287) % 251);
    assert_int_equal(model_file_read(file, tensor, 288, 0, data, &err), OK);
    assert_int_equal(model_file_read(file, tensor, 288, 1, data, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "blk.0.ffn_exps.weight"));
    assert_int_equal(model_file_read(file, tensor, UINT64_MAX, 2, data, NULL), ERR_LIMIT);
    assert_int_equal(model_file_read(file, tensor, 1, SIZE_MAX, data, NULL), ERR_LIMIT);
    /* The file is cut while it is open: an error that names the tensor. */
    assert_int_equal(truncate(path_of("sample.gguf"), (off_t)tensor->offset + 100), 0);
    err = (struct error){0};
    assert_int_equal(model_file_read(file, tensor, 0, 288, data, &err), ERR_IO);
    assert_non_null(strstr(err.text, "blk.0.ffn_exps.weight"));
    assert_int_equal(model_file_read(file, tensor, 0, 100, data, NULL), OK);
    model_file_close(file);
}

static void test_not_a_model(void **state)
{
    struct gguf_build build = {0};
    (void)state;
    expect_error("nothing.gguf", ERR_NOT_FOUND, "nothing.gguf: cannot open");
    expect_error("", ERR_NOT_FOUND, "a directory without config.json");
    assert_int_equal(mkfifo(path_of("pipe.gguf"), 0600), 0);
    expect_error("pipe.gguf", ERR_FORMAT, "pipe.gguf: a device or pipe");
    save(&build, "empty.gguf");
    expect_error("empty.gguf", ERR_FORMAT, "empty.gguf: the GGUF header");
    build_bytes(&build, "GGUF", 4);
    save(&build, "four.gguf");
    expect_error("four.gguf", ERR_FORMAT, "four.gguf: the GGUF header");
}

/* A sparse file has any size for free; its header may still not take more than the limit. */
static void test_header_limit(void **state)
{
    (void)state;
    for (uint64_t more = 0; more < 2; more++) {
        struct gguf_build build = {0};
        build_header(&build, 3, 0, 1);
        build_array(&build, "k", GGUF_U64, 0);
        uint64_t n_items = (GGUF_HEADER_BYTES_MAX - build.n_bytes) / 8 + more;
        build.n_bytes -= 8;
        build_u64(&build, n_items);
        save(&build, "sparse.gguf");
        assert_int_equal(truncate(path_of("sparse.gguf"), (off_t)1 << 36), 0);
        if (more)
            expect_error("sparse.gguf", ERR_FORMAT, "key k: an array of");
        else
            model_file_close(open_ok("sparse.gguf"));
    }
    unlink(path_of("sparse.gguf"));
}

/* ---- split sets ---- */

enum { SHARDS = 3 };

/* What to write into a split set; the default is right. */
struct split_set {
    uint64_t no[SHARDS], count[SHARDS];
    uint64_t n_tensors_announced;
    size_t without_key;         // shard that lacks split.no, SHARDS = none
    bool without_sum;           // no split.tensors.count
    const char *names[SHARDS];  // of the tensors
    const char *architecture[SHARDS];
};

static const struct split_set right_set = {
    {0, 1, 2}, {3, 3, 3}, 3, SHARDS, false, {"a", "b", "c"}, {"llama", NULL, "llama"}};

/* Shard i has i + 1 bytes of tensor data, all equal to i. */
static void save_shard(const struct split_set *set, size_t i, const char *name)
{
    struct gguf_build build = {0};
    uint64_t dims[] = {i + 1};
    size_t n_keys = 3 - (set->without_key == i) - set->without_sum + !!set->architecture[i];
    build_header(&build, 3, 1, n_keys);
    if (set->architecture[i])
        build_key_text(&build, "general.architecture", set->architecture[i]);
    if (set->without_key != i)
        build_key_int(&build, "split.no", GGUF_U16, set->no[i], 2);
    build_key_int(&build, "split.count", GGUF_U16, set->count[i], 2);
    if (!set->without_sum)
        build_key_int(&build, "split.tensors.count", GGUF_I32, set->n_tensors_announced, 4);
    build_tensor(&build, set->names[i], 1, dims, DTYPE_I8, 0);
    build_pad(&build, 32);
    for (size_t j = 0; j <= i; j++)
        build_int(&build, i, 1);
    save(&build, name);
}

static void save_set(const struct split_set *set)
{
    char name[64];
    for (size_t i = 0; i < SHARDS; i++) {
        snprintf(name, sizeof name, "m-%05zu-of-%05d.gguf", i + 1, SHARDS);
        save_shard(set, i, name);
    }
}

#define FIRST  "m-00001-of-00003.gguf"
#define SECOND "m-00002-of-00003.gguf"
#define THIRD  "m-00003-of-00003.gguf"

static void test_split_set(void **state)
{
    uint64_t n_bytes = 0;
    (void)state;
    save_set(&right_set);
    struct model_file *file = open_ok(FIRST);
    assert_int_equal(model_file_tensors(file), SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        const char name[] = {(char)('a' + i), '\0'};
        const struct tensor_info *tensor = model_file_tensor(file, name);
        uint8_t data[SHARDS];
        struct stat stat_of;
        char shard[64];
        assert_non_null(tensor);
        assert_int_equal(tensor->file, i);
        assert_int_equal(tensor->bytes, i + 1);
        assert_int_equal(model_file_read(file, tensor, 0, i + 1, data, NULL), OK);
        for (uint32_t j = 0; j <= i; j++)
            assert_int_equal(data[j], i);
        snprintf(shard, sizeof shard, "m-%05u-of-%05d.gguf", i + 1, SHARDS);
        assert_int_equal(stat(path_of(shard), &stat_of), 0);
        n_bytes += (uint64_t)stat_of.st_size;
    }
    assert_int_equal(model_file_bytes(file), n_bytes);
    model_file_close(file);
}

/* Changes one thing of a right set and opens it. */
#define WRONG_SET(change, status, text)                                                            \
    do {                                                                                           \
        struct split_set set = right_set;                                                          \
        change;                                                                                    \
        save_set(&set);                                                                            \
        expect_error(FIRST, status, text);                                                         \
    } while (0)

static void test_split_errors(void **state)
{
    (void)state;
    save_set(&right_set);
    expect_error(SECOND, ERR_INVALID, SECOND ": this is shard 2 of 3, open the first shard");
    WRONG_SET(set.no[0] = 3, ERR_FORMAT, "split.no is 3, but split.count is 3");
    WRONG_SET(set.count[0] = 2, ERR_FORMAT, "must have a name that ends in -00001-of-00002.gguf");
    WRONG_SET(set.count[0] = 1025, ERR_LIMIT, "key split.count is 1025, the limit is 1024");
    WRONG_SET(set.no[1] = 2, ERR_FORMAT, SECOND ": key split.no is 2, but its name says 1");
    WRONG_SET(set.no[2] = 1, ERR_FORMAT, THIRD ": key split.no is 1, but its name says 2");
    WRONG_SET(set.count[2] = 4, ERR_FORMAT,
              THIRD ": key split.count is 4, in the first shard it is 3");
    WRONG_SET(set.without_key = 1, ERR_FORMAT, SECOND ": key split.no is missing");
    WRONG_SET(set.without_sum = true, ERR_FORMAT, FIRST ": key split.tensors.count is missing");
    WRONG_SET(set.n_tensors_announced = 4, ERR_FORMAT,
              "split.tensors.count is 4, but the shards hold 3");
    WRONG_SET(set.names[2] = "a", ERR_FORMAT, "tensor a is in two shards");
    WRONG_SET(set.architecture[2] = "gemma", ERR_FORMAT,
              THIRD ": its general.architecture is not the first shard's");
    save_set(&right_set);
    assert_int_equal(truncate(path_of(THIRD), 40), 0);
    expect_error(FIRST, ERR_FORMAT, THIRD ": ");
    assert_int_equal(unlink(path_of(SECOND)), 0);
    expect_error(FIRST, ERR_NOT_FOUND, SECOND ": cannot open");
    save_shard(&right_set, 0, "renamed.gguf");
    expect_error("renamed.gguf", ERR_FORMAT, "ends in -00001-of-00003.gguf");
    save_shard(&right_set, 0, "-00001-of-00003.gguf");
    expect_error("-00001-of-00003.gguf", ERR_NOT_FOUND, "-00002-of-00003.gguf");
}

/* A set that was merged again keeps the keys with a count of 0; a set of one is a file. */
static void test_split_of_one(void **state)
{
    (void)state;
    for (uint64_t count = 0; count < 2; count++) {
        struct split_set set = right_set;
        set.count[0] = count;
        save_shard(&set, 0, "merged.gguf");
        struct model_file *file = open_ok("merged.gguf");
        assert_int_equal(model_file_tensors(file), 1);
        model_file_close(file);
    }
}

static void test_no_memory(void **state)
{
    size_t n_failed = 0;
    bool reached = true;
    (void)state;
    save_set(&right_set);
    for (uint64_t nth = 1; reached; nth++) {
        struct model_file *file;
        struct error err = {0};
        const char *path = path_of(FIRST);
        mem_fault_set(nth, false);
        enum status status = model_file_open(&file, path, &err);
        reached = mem_fault_count() >= nth;
        mem_fault_set(0, false);
        assert_true(reached ? status == ERR_MEMORY && !file : status == OK && file);
        n_failed += status != OK;
        model_file_close(file);
    }
    assert_true(n_failed > 20);
}

/* ---- figures and the real model ---- */

static double elapsed_ms(const struct timespec *since)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - since->tv_sec) * 1e3 +
           (double)(now.tv_nsec - since->tv_nsec) / 1e6;
}

/* A vocabulary of the size of the largest models. The limit is far above what it takes (some
 * 10 ms), so that a busy machine or a sanitizer does not fail it but a quadratic loop does. */
static void test_large_vocabulary(void **state)
{
    enum { TOKENS = 150000 };
    struct gguf_build build = {0};
    struct timespec start;
    struct text_view text;
    char token[32];
    (void)state;
    build_header(&build, 3, 0, 3);
    build_array(&build, "tokenizer.ggml.tokens", GGUF_STRING, TOKENS);
    for (size_t i = 0; i < TOKENS; i++) {
        snprintf(token, sizeof token, "token%zu", i);
        build_text(&build, token);
    }
    build_array(&build, "tokenizer.ggml.scores", GGUF_F32, TOKENS);
    for (size_t i = 0; i < TOKENS; i++)
        build_f32(&build, (float)i);
    build_array(&build, "tokenizer.ggml.merges", GGUF_STRING, TOKENS);
    for (size_t i = 0; i < TOKENS; i++)
        build_text(&build, "ab cd");
    save(&build, "large.gguf");
    clock_gettime(CLOCK_MONOTONIC, &start);
    struct model_file *file = open_ok("large.gguf");
    double ms = elapsed_ms(&start);
    print_message("opened a vocabulary of %d tokens in %.1f ms\n", TOKENS, ms);
    assert_true(ms < 2000);
    assert_true(model_file_array_text(file, "tokenizer.ggml.tokens", TOKENS - 1, &text));
    assert_int_equal(text.n_bytes, strlen("token149999"));
    assert_memory_equal(text.bytes, "token149999", text.n_bytes);
    model_file_close(file);
}

static void test_real_model(void **state)
{
    const char *path = getenv("WICARA_TEST_MODEL");
    struct model_file *file;
    struct error err = {0};
    struct text_view text;
    struct timespec start;
    uint64_t n_layers, n_vocab, sum = 0;
    size_t n_tokens;
    (void)state;
    if (!path) {
        print_message("skipped: WICARA_TEST_MODEL names no .gguf file\n");
        skip();
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (model_file_open(&file, path, &err))
        fail_msg("%s", err.text);
    print_message("opened %s in %.1f ms\n", path, elapsed_ms(&start));
    assert_true(model_file_text(file, "general.architecture", &text));
    assert_int_equal(text.n_bytes, 5);
    assert_memory_equal(text.bytes, "llama", 5);
    assert_int_equal(model_file_require_u64(file, "llama.block_count", 1, 1000, &n_layers, &err),
                     OK);
    assert_true(model_file_array(file, "tokenizer.ggml.tokens", &n_tokens));
    assert_true(model_file_u64(file, "llama.vocab_size", &n_vocab));
    assert_int_equal(n_tokens, n_vocab);
    for (size_t i = 0; i < model_file_tensors(file); i++) {
        const struct tensor_info *tensor = model_file_tensor_at(file, i);
        uint8_t last;
        sum += tensor->bytes;
        assert_ptr_equal(model_file_tensor(file, tensor->name), tensor);
        assert_int_equal(model_file_read(file, tensor, tensor->bytes - 1, 1, &last, &err), OK);
    }
    assert_true(sum < model_file_bytes(file) && sum > model_file_bytes(file) / 2);
    const struct tensor_info *embedding = model_file_tensor(file, "token_embd.weight");
    assert_non_null(embedding);
    assert_int_equal(embedding->dims[1], n_vocab);
    model_file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getters),      cmocka_unit_test(test_require),
        cmocka_unit_test(test_read),         cmocka_unit_test(test_not_a_model),
        cmocka_unit_test(test_header_limit), cmocka_unit_test(test_split_set),
        cmocka_unit_test(test_split_errors), cmocka_unit_test(test_split_of_one),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_large_vocabulary),
        cmocka_unit_test(test_real_model),
    };
    alarm(120);  // a FIFO that is opened to wait would hang here
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
