/* Fuzz target: request bodies of chat and text completions, from bytes to a job for the engine.
 *
 * The first byte chooses endpoint and strict mode, the rest is the body. Either the body is refused
 * with a 4xx whose JSON has OpenAI's four keys, or every field of the job is inside its bounds and
 * says what the body says. The bounds are written down here again, and the body is looked at by
 * a cJSON tree of our own, so that the parameter table is not judged by itself. Two mutations of
 * three put another value into a field, most others would only break the JSON.
 *
 * fuzz-sources: engine/base server/params.c server/params_table.c server/json_members.c
 *   engine/engine_sampling.c tests/fuzz/no_model_file.c
 *   server/generation_request.c server/request_lists.c server/structured.c server/chat_request.c
 *   server/chat_tools.c server/chat_reasoning.c server/completion_request.c server/api_error.c
 * fuzz-libraries: -lcjson -lnettle -lm -lpthread */
#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

#include "engine/base/json_scan.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "server/api_error.h"
#include "server/generation_request.h"
#include "tests/fuzz/fuzz.h"

static const char model_id[] = "model-a";

static const cJSON *member(const cJSON *root, const char *name)
{
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(root, name);
    return cJSON_IsNull(node) ? NULL : node;
}

static void check_refusal(const struct error *err)
{
    struct buf body;
    FUZZ_CHECK(err->status != OK);
    FUZZ_CHECK(err->text[0]);
    FUZZ_CHECK(utf8_is_valid(err->text, strlen(err->text), NULL));
    struct api_error error = api_error_from(err);
    FUZZ_CHECK(error.http_status == 400 || error.http_status == 404);
    buf_init(&body, 1 << 16);
    api_error_write(&body, &error);
    FUZZ_CHECK(!body.failed);
    struct json_limits limits = {4, 20};
    FUZZ_CHECK(json_scan(body.bytes, body.n_bytes, &limits, NULL) == OK);
    cJSON *root = cJSON_Parse(body.bytes);
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(root, "error");
    FUZZ_CHECK(cJSON_GetArraySize(root) == 1 && cJSON_GetArraySize(object) == 4);
    FUZZ_CHECK(cJSON_IsString(cJSON_GetObjectItemCaseSensitive(object, "message")));
    FUZZ_CHECK(cJSON_IsString(cJSON_GetObjectItemCaseSensitive(object, "type")));
    FUZZ_CHECK(cJSON_HasObjectItem(object, "param") && cJSON_HasObjectItem(object, "code"));
    cJSON_Delete(root);
    buf_release(&body);
}

/* The value that a number must have: the body's, or the default. */
static double expected(const cJSON *root, const char *name, double fallback)
{
    const cJSON *node = member(root, name);
    FUZZ_CHECK(!node || cJSON_IsNumber(node));
    return node ? node->valuedouble : fallback;
}

static bool near_float(float value, double wanted)
{
    return value == (float)wanted || (wanted < 1e-6 && value == 1e-6f);
}

static void check_numbers(const cJSON *root, const struct job_request *job, bool chat)
{
    FUZZ_CHECK(job->temperature >= 0 && job->temperature <= 2);
    FUZZ_CHECK(job->top_p > 0 && job->top_p <= 1);
    FUZZ_CHECK(job->min_p >= 0 && job->min_p <= 1);
    FUZZ_CHECK(job->top_k >= 0);
    FUZZ_CHECK(fabsf(job->presence_penalty) <= 2 && fabsf(job->frequency_penalty) <= 2);
    FUZZ_CHECK(job->repetition_penalty > 0 && job->repetition_penalty <= 100);
    FUZZ_CHECK(job->n_choices >= 1 && job->n_choices <= ENGINE_CHOICES_MAX);
    FUZZ_CHECK(job->top_logprobs >= -1 && job->top_logprobs <= ENGINE_TOP_LOGPROBS_MAX);
    FUZZ_CHECK(job->max_tokens <= INT32_MAX && (chat || job->max_tokens > 0 || job->no_answer));
    FUZZ_CHECK(near_float(job->temperature, expected(root, "temperature", 0.8)));
    FUZZ_CHECK(near_float(job->top_p, expected(root, "top_p", 1)));
    FUZZ_CHECK(near_float(job->min_p, expected(root, "min_p", 0.05)) || job->min_p < 1e-6);
    FUZZ_CHECK(job->n_choices == (size_t)expected(root, "n", 1));
    double max_tokens = expected(root, "max_tokens", chat ? 0 : 16);
    if (chat)
        max_tokens = expected(root, "max_completion_tokens", max_tokens);
    FUZZ_CHECK((double)job->max_tokens == max_tokens);
}

static void check_lists(const cJSON *root, const struct job_request *job)
{
    const cJSON *stop = member(root, "stop");
    size_t wanted = !stop ? 0 : cJSON_IsString(stop) ? 1 : (size_t)cJSON_GetArraySize(stop);
    FUZZ_CHECK(job->n_stops == wanted && wanted <= ENGINE_STOPS_MAX);
    for (size_t i = 0; i < job->n_stops; i++) {
        size_t n = strlen(job->stops[i]);
        FUZZ_CHECK(n >= 1 && n <= ENGINE_STOP_BYTES_MAX);
    }
    const cJSON *bias = member(root, "logit_bias");
    FUZZ_CHECK(job->n_logit_bias + job->n_text_bias ==
               (size_t)(bias ? cJSON_GetArraySize(bias) : 0));
    FUZZ_CHECK(job->n_logit_bias + job->n_text_bias <= ENGINE_LOGIT_BIAS_MAX);
    for (size_t i = 0; i < job->n_text_bias; i++)
        FUZZ_CHECK(strlen(job->text_bias[i].text) <= ENGINE_WORD_BYTES_MAX);
    FUZZ_CHECK(job->n_bad_words <= ENGINE_BAD_WORDS_MAX);
    FUZZ_CHECK(job->n_stop_tokens <= ENGINE_STOP_TOKENS_MAX);
    FUZZ_CHECK(job->n_dry_breakers <= ENGINE_DRY_BREAKERS_MAX);
    FUZZ_CHECK(!member(root, "allowed_token_ids") == (job->n_allowed_tokens == 0));
    for (size_t i = 0; i < job->n_allowed_tokens; i++)
        FUZZ_CHECK(job->allowed_tokens[i] >= 0);
    for (size_t i = 0; i < job->n_logit_bias; i++) {
        FUZZ_CHECK(job->logit_bias[i].token >= 0);
        FUZZ_CHECK(job->logit_bias[i].bias >= -100 && job->logit_bias[i].bias <= 100);
    }
}

/* Compares the seed with its digits in long double, which holds every int64 exactly. */
static void check_seed(const cJSON *root, const struct job_request *job)
{
    const cJSON *seed = member(root, "seed");
    FUZZ_CHECK(job->has_seed == (seed != NULL));
    if (seed) {
        FUZZ_CHECK(seed->valuedouble == (double)(int64_t)job->seed);
        FUZZ_CHECK(seed->valuedouble >= -0x1p63 && seed->valuedouble <= 0x1p63);
        FUZZ_CHECK(seed->valuedouble < 0x1p63 || (int64_t)job->seed > INT64_MAX - 1024);
    }
}

/* Fields that would change the answer and that nobody honours must not have come this far. */
static void check_nothing_silent(const cJSON *root, bool chat, const struct buf *ignored)
{
    static const char *const refused[] = {"functions", "audio",      "prediction", "best_of",
                                          "mirostat",  "modalities", "verbosity"};
    static const bool chat_only[] = {true, true, true, false, false, true, true};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const cJSON *node = member(root, refused[i]);
        if (!node || (chat_only[i] && !chat))
            continue;
        bool nothing = (cJSON_IsArray(node) && cJSON_GetArraySize(node) <= 1) ||
                       (cJSON_IsNumber(node) && fabs(node->valuedouble - 0.5) == 0.5) ||
                       (cJSON_IsString(node) &&
                        (!node->valuestring[0] || strcmp(node->valuestring, "medium") == 0));
        FUZZ_CHECK(nothing);
    }
    for (size_t i = 0; i < ignored->n_bytes; i++)
        FUZZ_CHECK(ignored->bytes[i] >= 0x20 && ignored->bytes[i] < 0x7f);
    FUZZ_CHECK(ignored->n_bytes <= IGNORED_BYTES_MAX);
}

static bool says(const cJSON *node, const char *word)
{
    return cJSON_IsString(node) && strcmp(node->valuestring, word) == 0;
}

/* The job has the body's tools as written, unless none may be called; a forced call has a
 * schema. */
static void check_tools(const cJSON *root, const struct job_request *job)
{
    const cJSON *tools = member(root, "tools"), *choice = member(root, "tool_choice");
    const cJSON *parallel = member(root, "parallel_tool_calls");
    bool any = cJSON_GetArraySize(tools) > 0, none = says(choice, "none");
    FUZZ_CHECK(!choice || none || says(choice, "auto") ||
               (any && (cJSON_IsObject(choice) || says(choice, "required"))));
    FUZZ_CHECK(!job->forced_call || job->constraint.kind == CONSTRAINT_JSON_SCHEMA);
    FUZZ_CHECK(job->forced_call || !says(choice, "required"));
    if (!any || none)
        FUZZ_CHECK(!job->tools_json);
    FUZZ_CHECK(!job->one_tool_call || cJSON_IsFalse(parallel));
    if (!job->tools_json)
        return;
    cJSON *list = cJSON_Parse(job->tools_json);
    const cJSON *tool, *other;
    FUZZ_CHECK(cJSON_IsArray(list) && cJSON_GetArraySize(list) <= REQUEST_TOOLS_MAX);
    if (!cJSON_IsObject(choice))
        FUZZ_CHECK(cJSON_Compare(list, tools, true));
    cJSON_ArrayForEach(tool, list)
    {
        bool found = false;
        cJSON_ArrayForEach(other, tools) found = found || cJSON_Compare(tool, other, true);
        FUZZ_CHECK(found);
        const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(function, "name");
        FUZZ_CHECK(cJSON_IsString(name) && strlen(name->valuestring) <= 128);
        for (const char *at = name->valuestring; *at; at++)
            FUZZ_CHECK(*at > ' ' && *at < 0x7f && *at != '"');
    }
    cJSON_Delete(list);
}

/* What the template sees: an object, with the client's own variables in it. */
static void check_variables(const cJSON *root, const struct job_request *job)
{
    const cJSON *own = member(root, "chat_template_kwargs"), *node;
    struct json_limits limits = {REQUEST_DEPTH_MAX, REQUEST_NODES_MAX};
    const char *text = job->template_variables_json;
    if (!text) {
        FUZZ_CHECK(!own && !member(root, "enable_thinking") && !member(root, "thinking"));
        return;
    }
    FUZZ_CHECK(json_scan(text, strlen(text), &limits, NULL) == OK);
    cJSON *object = cJSON_Parse(text);
    FUZZ_CHECK(cJSON_IsObject(object));
    cJSON_ArrayForEach(node, own) FUZZ_CHECK(
        cJSON_Compare(node, cJSON_GetObjectItemCaseSensitive(object, node->string), true));
    cJSON_Delete(object);
}

static void check_messages(const cJSON *root, const struct job_request *job)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    struct json_limits limits = {REQUEST_DEPTH_MAX, REQUEST_NODES_MAX};
    FUZZ_CHECK(json_scan(job->messages_json, strlen(job->messages_json), &limits, NULL) == OK);
    cJSON *list = cJSON_Parse(job->messages_json);
    FUZZ_CHECK(cJSON_IsArray(list) && cJSON_GetArraySize(list) > 0);
    FUZZ_CHECK(cJSON_GetArraySize(list) == cJSON_GetArraySize(member(root, "messages")));
    const cJSON *message, *given = member(root, "messages")->child;
    cJSON_ArrayForEach(message, list)
    {
        const cJSON *role = cJSON_GetObjectItemCaseSensitive(message, "role");
        const cJSON *content = cJSON_GetObjectItemCaseSensitive(message, "content");
        bool known = false;
        for (size_t i = 0; i < 4; i++)
            known = known || (cJSON_IsString(role) && strcmp(role->valuestring, roles[i]) == 0);
        FUZZ_CHECK(known);
        bool calls = cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(message, "tool_calls")) ||
                     cJSON_HasObjectItem(message, "reasoning_content") ||
                     cJSON_HasObjectItem(message, "reasoning");
        FUZZ_CHECK(cJSON_IsString(content) || cJSON_IsArray(content) || calls);
        const cJSON *before = cJSON_GetObjectItemCaseSensitive(given, "content");
        FUZZ_CHECK(!content || cJSON_IsArray(content) || cJSON_Compare(content, before, true));
        given = given->next;
    }
    cJSON_Delete(list);
}

static void check_prompts(const cJSON *root, const struct generation_request *request)
{
    const cJSON *given = member(root, "prompt");
    bool batch = cJSON_IsArray(given) && !cJSON_IsNumber(given->child);
    FUZZ_CHECK(request->shape.n_prompts == (size_t)(batch ? cJSON_GetArraySize(given) : 1));
    FUZZ_CHECK(request->shape.n_prompts * request->shape.n_choices <= REQUEST_ANSWERS_MAX);
    for (size_t i = 0; i < request->shape.n_prompts; i++) {
        const struct request_prompt *prompt = &request->prompts[i];
        FUZZ_CHECK((prompt->text != NULL) != (prompt->n_ids > 0));
        for (size_t k = 0; k < prompt->n_ids; k++)
            FUZZ_CHECK(prompt->ids[k] >= 0);
    }
    FUZZ_CHECK(request->job.no_answer == (expected(root, "max_tokens", 16) == 0));
    FUZZ_CHECK(!request->job.suffix || !request->shape.echo);
}

/* ---- a mutator that knows objects: one field gets another value, or a new field comes in ---- */

static const char *const values[] = {
    "true",
    "false",
    "null",
    "0",
    "1",
    "-1",
    "8",
    "9",
    "2",
    "0.5",
    "-0.0",
    "1e-300",
    "1e300",
    "20",
    "21",
    "2147483647",
    "2147483648",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "\"\"",
    "\"none\"",
    "\"auto\"",
    "\"required\"",
    "\"medium\"",
    "\"model-a\"",
    "\"default\"",
    "[]",
    "{}",
    "[\"text\"]",
    "[1,2]",
    "[-1]",
    "[\"a\",\"b\"]",
    "[\"\"]",
    "{\"-1\":1}",
    "{\"5\":-100}",
    "{\"5\":101}",
    "{\"2147483648\":1}",
    "{\"type\":\"text\"}",
    "{\"include_usage\":true}",
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]",
    "[{\"role\":\"user\",\"content\":\"x\"}]",
    "[{\"role\":\"developer\",\"content\":\"x\"}]",
    "[{\"role\":\"developer\",\"content\":\"x\"},{\"role\":\"user\",\"content\":[]}]",
    "{\"tools\":[]}",
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]",
    "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":[{\"type\":"
    "\"function\",\"function\":{\"name\":\"f\"}}]}}",
    "{\"type\":\"enabled\"}",
    "{\"effort\":\"low\",\"enabled\":false,\"summary\":\"auto\"}",
    "{\"enable_thinking\":true,\"a\":1.0}",
    "[[5,1],[\"a\",false]]",
    "[[5]]",
    "[[1,2],[3]]",
    "[[1],\"a\"]"};

static void write_value(struct buf *out, uint32_t *random)
{
    if (fuzz_random(random, 8)) {
        buf_append_text(out, values[fuzz_random(random, sizeof values / sizeof values[0])]);
        return;
    }
    // A string about as long as a stop string may be.
    size_t n = ENGINE_STOP_BYTES_MAX - 2 + fuzz_random(random, 5);
    buf_append_char(out, '"');
    for (size_t i = 0; i < n; i++)
        buf_append_char(out, 'x');
    buf_append_char(out, '"');
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint32_t random = seed;
    struct json_limits limits = {REQUEST_DEPTH_MAX, 10000};
    static const char plain[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"prompt\":\"hi\"}";
    if (fuzz_random(&random, 3) == 0 || size < 3)
        return fuzz_mutate(data, size, max_size);
    bool start_again = fuzz_random(&random, 3) == 0;  // most of the corpus is refused already
    const char *text = start_again ? plain : (const char *)data + 1;
    size_t n_text = start_again ? sizeof plain - 1 : size - 1;
    if (json_scan(text, n_text, &limits, NULL) != OK || !memchr(text, '{', n_text))
        return fuzz_mutate(data, size, max_size);
    size_t n_params;
    const struct param *table = params_table(&n_params);
    struct json_cursor cursor;
    struct json_span name, value;
    struct buf out;
    buf_init(&out, max_size);
    static const char *const odd[] = {"invented", "two words", "x\\ny", "\\u0041", "x:y", ""};
    size_t row = fuzz_random(&random, (uint32_t)n_params);
    if (table[row].kind != PARAM_HONOURED)  // those that do something come twice as often
        row = fuzz_random(&random, (uint32_t)n_params);
    const char *fresh = fuzz_random(&random, 8) ? table[row].name : odd[fuzz_random(&random, 6)];
    uint32_t chosen = fuzz_random(&random, 6);
    buf_append_char(&out, (char)(fuzz_random(&random, 8) ? data[0] : data[0] ^ 1));
    buf_append_char(&out, '{');
    json_cursor_init(&cursor, text, n_text);
    for (uint32_t i = 0; json_cursor_next(&cursor, &name, &value); i++) {
        if (name.n_bytes == strlen(fresh) && memcmp(name.text, fresh, name.n_bytes) == 0)
            continue;
        buf_printf(&out, "\"%.*s\":", (int)name.n_bytes, name.text);
        if (i == chosen)
            write_value(&out, &random);
        else
            buf_append(&out, value.text, value.n_bytes);
        buf_append_char(&out, ',');
    }
    buf_printf(&out, "\"%s\":", fresh);
    write_value(&out, &random);
    buf_append_char(&out, '}');
    size_t n = out.failed ? fuzz_mutate(data, size, max_size) : out.n_bytes;
    if (!out.failed)
        memcpy(data, out.bytes, n);
    buf_release(&out);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool chat = data[0] & 1, strict = data[0] & 2;
    char *text = mem_memdup0(data + 1, size - 1);
    struct generation_request request;
    struct error err = {OK, "", ""};
    const struct request_rules rules = {.model_id = model_id, .strict = strict};
    enum status status = (chat ? chat_request_parse
                               : completion_request_parse)(&request, text, size - 1, &rules, &err);
    FUZZ_CHECK(status == err.status);
    if (status != OK) {
        check_refusal(&err);
        mem_free(text);
        return 0;
    }
    cJSON *root = cJSON_Parse(text);
    FUZZ_CHECK(cJSON_IsObject(root));
    FUZZ_CHECK(request.job.kind == (chat ? JOB_CHAT : JOB_COMPLETION));
    check_numbers(root, &request.job, chat);
    check_lists(root, &request.job);
    check_seed(root, &request.job);
    if (!request.ignored.bytes)
        buf_append_text(&request.ignored, "");
    check_nothing_silent(root, chat, &request.ignored);
    FUZZ_CHECK(!strict || request.ignored.n_bytes == 0 ||
               strstr(request.ignored.bytes, "reasoning.") ||
               strstr(request.ignored.bytes, "stream_options."));
    if (chat) {
        check_messages(root, &request.job);
        check_tools(root, &request.job);
        check_variables(root, &request.job);
    } else
        check_prompts(root, &request);
    const cJSON *stream = member(root, "stream");
    FUZZ_CHECK(request.shape.stream == (stream && cJSON_IsTrue(stream)));
    FUZZ_CHECK(!request.shape.include_usage || request.shape.stream);
    FUZZ_CHECK(request.shape.logprobs == (request.job.top_logprobs >= 0));
    cJSON_Delete(root);
    generation_request_release(&request);
    mem_free(text);
    return 0;
}
