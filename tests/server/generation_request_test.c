/* Requests: integers to the last digit; and each allocation of a request's way fails once, and all
 * from each one on: parsing, validation, settings and the answer end with ERR_MEMORY or a whole
 * result, never with a crash, a leak (run under the address sanitizer) or half a document. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>
#include <cjson/cJSON.h>

#include "engine/base/mem.h"
#include "server/answer.h"
#include "server/auth.h"
#include "server/generation_request.h"
#include "server/options.h"

static void *json_alloc(size_t n_bytes)
{
    return mem_alloc(n_bytes);
}

static enum status parse_once(void)
{
    static const char body[] =
        "{\"messages\":[{\"role\":\"developer\",\"content\":\"d\"},{\"role\":\"user\",\"content\":"
        "[{\"type\":\"text\",\"text\":\"x\"}]}],\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"5\":1},"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":"
        "\"none\","
        "\"chat_template_kwargs\":{\"a\":1.0},\"user\":\"u\",\"seed\":7,\"stream\":true}";
    static const char prompt[] = "{\"prompt\":[1,2,3],\"stop\":\"x\",\"seed\":1}";
    struct generation_request request;
    struct error err = {OK, "", ""};
    const struct request_rules rules = {.model_id = "m"};
    enum status status = chat_request_parse(&request, body, sizeof body - 1, &rules, &err);
    assert_int_equal(status, err.status);
    if (status != OK)
        return status;
    assert_int_equal(request.job.n_stops, 2);
    assert_int_equal(request.job.n_logit_bias, 1);
    assert_non_null(strstr(request.job.messages_json, "\"system\""));
    assert_string_equal(request.ignored.bytes, "user");  // never silently shorter
    generation_request_release(&request);
    status = completion_request_parse(&request, prompt, sizeof prompt - 1, &rules, &err);
    assert_int_equal(status, err.status);
    if (status == OK) {
        assert_int_equal(request.prompts[0].n_ids, 3);
        generation_request_release(&request);
    }
    return status;
}

static struct job_request read_with(const char *body, const struct engine_sampling *sampling)
{
    const struct request_rules rules = {.model_id = "m", .sampling = sampling};
    struct generation_request request;
    struct error err = {OK, "", ""};
    assert_int_equal(completion_request_parse(&request, body, strlen(body), &rules, &err), OK);
    struct job_request job = request.job;
    generation_request_release(&request);
    return job;
}

static void set(struct engine_sampling *sampling, const char *option)
{
    assert_int_equal(engine_sampling_read(sampling, NULL, option, NULL), OK);
}

/* The request wins, then what the model or the command line says, then the table. */
static void defaults_are_for_what_is_not_said(void **state)
{
    (void)state;
    struct engine_sampling sampling;
    set(&sampling, "temperature=0.25,top_k=7,repetition_penalty=1.5,repeat_last_n=64");
    struct job_request job = read_with("{\"prompt\":\"x\"}", &sampling);
    assert_true(job.temperature == 0.25f && job.top_k == 7 && job.repetition_penalty == 1.5f);
    assert_true(job.penalty_window == 64 && job.min_p == 0.05f && job.top_p == 1);
    job = read_with("{\"prompt\":\"x\",\"temperature\":0,\"top_k\":null,"
                    "\"repeat_penalty\":1.1}",
                    &sampling);
    assert_true(job.temperature == 0 && job.top_k == 7 && job.repetition_penalty == 1.1f);
    job = read_with("{\"prompt\":\"x\",\"repeat_penalty\":1}", &sampling);
    assert_true(job.repetition_penalty == 1);
    job = read_with("{\"prompt\":\"x\"}", NULL);
    assert_true(job.temperature == 0.8f && job.top_k == 0 && job.repetition_penalty == 1);
}

/* Each default may have just the values that a request may have. */
static void defaults_have_the_ranges_of_the_table(void **state)
{
    (void)state;
    size_t n_params, n_found = 0;
    const struct param *table = params_table(&n_params);
    for (size_t i = 0; i < n_params; i++)
        for (size_t field = 0; field < SAMPLING_FIELDS; field++) {
            const struct param *param = &table[i];
            if (strcmp(param->name, engine_sampling_name(field)) != 0)
                continue;
            n_found++;
            double step = param->types & TYPE_INT ? 1 : 0.001;
            const struct {
                double value;
                bool is_good;
            } cases[] = {{param->min, !param->min_excluded},
                         {param->min - step, false},
                         {param->min + step, true},
                         {param->max, true},
                         {param->max + step, false},
                         {param->min + step / 2, !(param->types & TYPE_INT)}};
            for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
                char option[80];
                struct engine_sampling sampling;
                snprintf(option, sizeof option, "%s=%.12g", param->name, cases[c].value);
                bool is_good = engine_sampling_read(&sampling, NULL, option, NULL) == OK;
                if (is_good != cases[c].is_good)
                    fail_msg("%s", option);
            }
        }
    assert_int_equal(n_found, SAMPLING_FIELDS);
}

static enum status answer_once(void)
{
    struct job_alternative top = {1, -1, "y", 1};
    struct job_token token = {1, -0.5f, "x", 1, &top, 1, false, 0};
    struct job_event events[] = {
        {.type = EVENT_TEXT, .text = "x", .n_bytes = 1, .tokens = &token, .n_tokens = 1},
        {.type = EVENT_FINISHED, .stop = "s"},
        {.type = EVENT_DONE}};
    bool whole = true;
    for (int way = 0; way < 4; way++) {
        struct answer_shape shape = {.endpoint = way & 1 ? ENDPOINT_CHAT : ENDPOINT_COMPLETIONS,
                                     .stream = way & 2,
                                     .logprobs = true,
                                     .return_token_ids = true,
                                     .n_choices = 1};
        struct answer answer;
        struct buf out;
        buf_init(&out, 1 << 16);
        bool ok = answer_init(&answer, &shape) && answer_prepare(&answer, "m", "fp", 1, 0);
        for (size_t i = 0; i < 3 && ok; i++)
            ok = answer_event(&answer, 0, &events[i], &out);
        whole = whole && ok;
        if (ok && !shape.stream) {
            cJSON *root = cJSON_ParseWithLength(out.bytes, out.n_bytes);
            assert_true(root || mem_fault_count() > 0);
            cJSON_Delete(root);
        }
        answer_release(&answer);
        buf_release(&out);
    }
    return whole ? OK : ERR_MEMORY;
}

static enum status settings_once(void)
{
    struct options_state state;
    struct auth auth;
    struct error err = {OK, "", ""};
    char name[] = "wicara", flag[] = "--host=::1";
    char *argv[] = {name, flag};
    enum status status = options_read(&state, 2, argv, &err);
    if (status != OK)
        return status;
    options_release(&state);
    status = auth_init(&auth, "a,b,c", NULL, &err);
    if (status == OK)
        auth_release(&auth);
    return status;
}

static void torture(enum status (*once)(void))
{
    assert_int_equal(once(), OK);
    for (int from_then_on = 0; from_then_on < 2; from_then_on++) {
        uint64_t n = 1;
        bool reached = true;
        for (; reached; n++) {
            mem_fault_set(n, from_then_on);
            enum status status = once();
            reached = mem_fault_count() >= n;
            mem_fault_set(0, false);
            assert_true(status == ERR_MEMORY || (status == OK && !reached) ||
                        (status == OK && !from_then_on));
        }
        assert_true(n > 5);  // the seam was there at all
    }
    assert_int_equal(once(), OK);
}

/* ---- integers that a double would lose ---- */

static void exact_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool fits;
        int64_t value;
    } cases[] = {{"0", true, 0},
                 {"-1", true, -1},
                 {"9007199254740993", true, 9007199254740993},
                 {"9223372036854775807", true, INT64_MAX},
                 {"-9223372036854775808", true, INT64_MIN},
                 {"9223372036854775808", false, 0},
                 {"-9223372036854775809", false, 0},
                 {"1.0", false, 0},
                 {"1e3", false, 0},
                 {"-", false, 0},
                 {"", false, 0},
                 {" 1", false, 0},
                 {"99999999999999999999999999", false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = 0;
        struct json_span span = {cases[i].text, strlen(cases[i].text)};
        assert_int_equal(int64_from_span(&span, &value), cases[i].fits);
        if (cases[i].fits)
            assert_true(value == cases[i].value);
    }
}

static void parsing(void **state)
{
    (void)state;
    torture(parse_once);
}
static void answering(void **state)
{
    (void)state;
    torture(answer_once);
}
static void settings(void **state)
{
    (void)state;
    torture(settings_once);
}

int main(void)
{
    cJSON_Hooks hooks = {json_alloc, mem_free};
    cJSON_InitHooks(&hooks);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_integers),
        cmocka_unit_test(defaults_are_for_what_is_not_said),
        cmocka_unit_test(defaults_have_the_ranges_of_the_table),
        cmocka_unit_test(parsing),
        cmocka_unit_test(answering),
        cmocka_unit_test(settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
