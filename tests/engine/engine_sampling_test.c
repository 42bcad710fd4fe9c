/* Sampling defaults: what a file's keys and the option come to, and what is not taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
// cmocka needs the four above.
#include <cmocka.h>

#include <math.h>

#include "engine/engine.h"
#include "engine/formats/model_file.h"
#include "tests/engine/formats/gguf_build.h"

static struct model_file *open_built(struct gguf_build *build)
{
    char path[] = "/tmp/wicara_sampling_XXXXXX";
    struct model_file *file;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, build->bytes, build->n_bytes) == (ssize_t)build->n_bytes);
    close(fd);
    struct error err = {0};
    if (model_file_open(&file, path, &err) != OK)
        fail_msg("%s", err.text);
    unlink(path);
    build_release(build);
    return file;
}

static void build_float(struct gguf_build *build, const char *key, float value)
{
    build_key(build, key, GGUF_F32);
    build_f32(build, value);
}

static void expect(const struct model_file *file, const char *option, const char *wanted)
{
    struct engine_sampling sampling;
    char text[SAMPLING_TEXT_BYTES];
    assert_int_equal(engine_sampling_read(&sampling, file, option, NULL), OK);
    engine_sampling_text(&sampling, text);
    assert_string_equal(text, wanted);
}

static void file_and_option(void **state)
{
    (void)state;
    struct gguf_build build = {0};
    build_header(&build, 3, 0, 7);
    build_key_text(&build, "general.architecture", "llama");
    build_float(&build, "general.sampling.temp", 0.6f);
    build_key_int(&build, "general.sampling.top_k", GGUF_I32, 20, 4);
    build_float(&build, "general.sampling.top_p", 0.95f);
    build_float(&build, "general.sampling.min_p", 1.5f);            // out of range
    build_float(&build, "general.sampling.penalty_repeat", NAN);    // no number
    build_key_text(&build, "general.sampling.xtc_threshold", "1");  // another kind
    struct model_file *file = open_built(&build);
    expect(file, NULL, "temperature=0.6,top_p=0.95,top_k=20");
    expect(file, "", "temperature=0.6,top_p=0.95,top_k=20");
    expect(file, "top_p=1,min_p=0", "temperature=0.6,top_p=1,top_k=20,min_p=0");
    expect(file, "builtin", "");
    expect(file, "builtin,temperature=0.3", "temperature=0.3");
    expect(NULL, "repetition_penalty=1.1", "repetition_penalty=1.1");
    struct engine_sampling sampling;
    assert_int_equal(engine_sampling_read(&sampling, file, "top_k=5", NULL), OK);
    assert_true(sampling.fields[0].origin == SAMPLING_FROM_MODEL);
    assert_true(sampling.fields[2].origin == SAMPLING_FROM_OPTION);
    assert_true(sampling.fields[3].origin == SAMPLING_BUILT_IN);
    model_file_close(file);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    static const char *const wrong[] = {"temperature",
                                        "temperature=",
                                        "temperature=hot",
                                        "temperature=3",
                                        "temperature=nan",
                                        "top_k=1.5",
                                        "top_k=-2",
                                        "seed=5",
                                        "temperature=1 ",
                                        "min_p=0,builtin",
                                        "=1",
                                        ",",
                                        "builtins",
                                        "repetition_penalty=0"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct engine_sampling sampling;
        struct error err = {0};
        if (engine_sampling_read(&sampling, NULL, wrong[i], &err) != ERR_INVALID)
            fail_msg("'%s' passed", wrong[i]);
        assert_string_equal(err.param, "sampling");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(file_and_option),
                                       cmocka_unit_test(wrong_options_are_named)};
    return cmocka_run_group_tests_name("sampling defaults", tests, NULL, NULL);
}
