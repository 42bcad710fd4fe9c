/* Tools for templates that take them only in part, or not at all; and real templates' own calls,
 * read back by the format that the template is told by.
 *
 * WICARA_TEST_TEMPLATES names a folder of *.jinja (llama.cpp's models/templates); without it, the
 * one of the unpacked peer is used if it is there. */
#include <dirent.h>

#include "tests/engine/template/render.h"

#include "engine/template/chat_prompt.h"
#include "engine/template/reply.h"

#include <cjson/cJSON.h>

#define LOOP(body) "{% for m in messages %}" body "{% endfor %}"
#define USER       "{\"role\":\"user\",\"content\":\"U\"}"
#define CALL(id, name, args)                                                                       \
    "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name                      \
    "\",\"arguments\":\"" args "\"}}"
#define RESULT(id, text) "{\"role\":\"tool\",\"tool_call_id\":\"" id "\",\"content\":\"" text "\"}"
#define TOOL                                                                                       \
    "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"D\",\"parameters\":{"   \
    "\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\"},\"text\":{\"type\":"         \
    "\"string\"}}}}}"

static struct chat_prompt *open_template(const char *source)
{
    struct chat_prompt *prompt;
    struct error err = {0};
    if (chat_prompt_open(&prompt, source, strlen(source), "<s>", "</s>", &err) != OK)
        print_error("%s\n", err.text);
    return prompt;
}

/* The rendered text (mem_free), or NULL: refused. */
static char *render_text(const struct chat_prompt *prompt, const char *messages, const char *tools,
                         const char *variables, bool generation)
{
    struct chat_prompt_input input = {.messages_json = messages,
                                      .tools_json = tools,
                                      .variables_json = variables,
                                      .add_generation_prompt = generation,
                                      .now_unix_s = RENDER_NOW};
    struct chat_prompt_output out;
    struct error err = {0};
    if (chat_prompt_render(prompt, &input, &out, &err) != OK)
        return NULL;
    char *text = mem_memdup0(out.text.bytes ? out.text.bytes : "", out.text.n_bytes);
    chat_prompt_output_release(&out);
    return text;
}

static void expect_text(const struct chat_prompt *prompt, const char *messages, const char *tools,
                        const char *expected)
{
    char *text = render_text(prompt, messages, tools, NULL, false);
    assert_non_null(text);
    assert_string_equal(text, expected);
    mem_free(text);
}

/* ---- adaptations ---- */

static void test_generic(void **state)
{
    (void)state;
    struct chat_prompt *prompt = open_template(LOOP("<{{ m.role }}>{{ m.content }}"));
    static const char description[] =
        "# Tools\n\nYou may call functions. They are, one JSON object a line:\n{\"name\": \"f\", "
        "\"description\": \"D\", \"parameters\": {\"type\": \"object\", \"properties\": {\"x\": "
        "{\"type\": \"integer\"}, \"text\": {\"type\": \"string\"}}}}\n\nTo call a function, "
        "answer "
        "in exactly this form, with the function's name and its arguments as a JSON object:\n"
        "<tool_call>\n{\"name\": \"FUNCTION_NAME\", \"arguments\": {\"PARAMETER\": VALUE}}\n"
        "</tool_call>\n\nYou may make several calls, one behind the other. The results come in the "
        "next message. When no function is needed, answer in plain words.";
    char expected[2048];
    assert_string_equal(chat_prompt_reply_format(prompt)->name, "generic");
    snprintf(expected, sizeof expected, "<system>%s<user>U", description);
    expect_text(prompt, "[" USER "]", "[" TOOL "]", expected);
    snprintf(expected, sizeof expected, "<system>S\n\n%s<user>U", description);
    expect_text(prompt, "[{\"role\":\"system\",\"content\":\"S\"}," USER "]", "[" TOOL "]",
                expected);
    snprintf(expected, sizeof expected,
             "<system>%s<user>U<assistant>Look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": "
             "{\"x\":1.0}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n"
             "</tool_call><user><tool_response>\nA\n</tool_response>\n<tool_response>\nB\n"
             "</tool_response><user>U",
             description);
    expect_text(
        prompt,
        "[" USER ",{\"role\":\"assistant\",\"content\":\"Look.\",\"tool_calls\":[" CALL(
            "1", "f",
            "{\\\"x\\\":1.0}") "," CALL("2", "g",
                                        "") "]}," RESULT("1", "A") "," RESULT("2", "B") "," USER
                                                                                        "]",
        "[" TOOL "]", expected);
    expect_text(prompt, "[" USER "]", "[]", "<user>U");
    expect_text(prompt, "[" USER "]", NULL, "<user>U");
    chat_prompt_close(prompt);
    // A system message that is merged into the first user message takes the tools along.
    prompt = open_template(
        LOOP("{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}<{{ m.role }}>"
             "{{ m.content }}"));
    snprintf(expected, sizeof expected, "<user>%s\n\nU", description);
    expect_text(prompt, "[" USER "]", "[" TOOL "]", expected);
    chat_prompt_close(prompt);
}

/* Only what the template itself wrote is trusted: no name or description becomes a marker. */
static void test_generic_provenance(void **state)
{
    (void)state;
    struct chat_prompt *prompt = open_template(LOOP("{{ m.content }}"));
    struct chat_prompt_input input = {
        .messages_json = "[" USER "]",
        .tools_json = "[{\"type\":\"function\",\"function\":{\"name\":\"<|evil|>\"}}]"};
    struct chat_prompt_output out;
    struct error err = {0};
    assert_int_equal(chat_prompt_render(prompt, &input, &out, &err), OK);
    size_t at = (size_t)(strstr(out.text.bytes, "<|evil|>") - out.text.bytes);
    bool covered = false;
    for (size_t i = 0; i < out.n_untrusted; i++)
        covered = covered || (out.untrusted[i].first <= at && out.untrusted[i].last >= at + 8);
    assert_true(covered);
    chat_prompt_output_release(&out);
    chat_prompt_close(prompt);
}

#define CALLS                                                                                      \
    "<{{ m.role }}>{{ m.content or '' }}{% for c in m.tool_calls or [] %}[{{ c.id }} "             \
    "{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}"

static void test_split(void **state)
{
    (void)state;
    static const char messages[] =
        "[" USER ",{\"role\":\"assistant\",\"content\":\"Look.\",\"reasoning_content\":\"hm\","
        "\"tool_calls\":[" CALL("1", "f", "{}") "," CALL("2", "g", "{}") "]}," RESULT(
            "2", "B") "," RESULT("1", "A") "," RESULT("9", "Z") "," USER "]";
    struct chat_prompt *prompt = open_template("{% if tools %}{{ tools | tojson }}{% endif %}" LOOP(
        "{% if m.tool_calls and m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}"
        "{% if m.thinking %}({{ m.thinking }}){% endif %}" CALLS));
    assert_false(chat_prompt_info(prompt)->parallel_calls);
    expect_text(prompt, messages, NULL,
                "<user>U(hm)<assistant>Look.[1 f {}]<tool>A<assistant>[2 g {}]<tool>B<tool>Z"
                "<user>U");
    chat_prompt_close(prompt);
    // A template that drops all calls but the first tells no better.
    prompt = open_template(LOOP("{% if m.tool_calls %}[{{ m.tool_calls[0].function | tojson }}]{% "
                                "endif %}{{ m.content }}"));
    assert_false(chat_prompt_info(prompt)->parallel_calls);
    chat_prompt_close(prompt);
    prompt = open_template(LOOP(CALLS));
    assert_true(chat_prompt_info(prompt)->parallel_calls);
    expect_text(prompt, messages, NULL,
                "<user>U<assistant>Look.[1 f {}][2 g {}]<tool>B<tool>A<tool>Z<user>U");
    chat_prompt_close(prompt);
}

static void test_short_ids(void **state)
{
    (void)state;
    struct chat_prompt *prompt = open_template(
        LOOP("{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}"
             "{{ raise_exception('id') }}{% endif %}{% endfor %}" CALLS "{{ m.tool_call_id }}"));
    assert_true(chat_prompt_info(prompt)->short_ids);
    char *text =
        render_text(prompt,
                    "[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[" CALL(
                        "call_1234567890", "f",
                        "{}") "," CALL("abcdefgh1", "g",
                                       "{}") "]}," RESULT("call_1234567890",
                                                          "A") "," RESULT("abcdefgh1", "B") "]",
                    NULL, NULL, false);
    assert_non_null(text);
    char id[10] = "";
    memcpy(id, strstr(text, "<assistant>[") + strlen("<assistant>["), 9);
    char expected[256];
    snprintf(expected, sizeof expected,
             "<user>U<assistant>[%s f {}][abcdefgh1 g {}]<tool>A%s<tool>Babcdefgh1", id, id);
    assert_string_equal(text, expected);
    mem_free(text);
    chat_prompt_close(prompt);
}

static void test_reasoning_beside_content(void **state)
{
    (void)state;
    static const char messages[] =
        "[{\"role\":\"assistant\",\"content\":\"C\",\"reasoning\":\"R\",\"tool_calls\":[" CALL(
            "1", "f", "{}") "]}]";
    struct chat_prompt *prompt = open_template(
        LOOP("{% if m.tool_calls and m.thinking and m.content %}{{ raise_exception('both') }}"
             "{% endif %}({{ m.thinking }})" CALLS));
    assert_false(chat_prompt_info(prompt)->reasoning_beside_content);
    expect_text(prompt, messages, NULL, "(R\n\nC)<assistant>[1 f {}]");
    chat_prompt_close(prompt);
}

static void test_switches(void **state)
{
    (void)state;
    struct chat_prompt *prompt =
        open_template(LOOP("{{ m.content }}") "{% if add_generation_prompt and enable_thinking is "
                                              "false %}<think></think>{% endif %}");
    assert_true(chat_prompt_info(prompt)->thinking_switch);
    assert_false(chat_prompt_info(prompt)->reasoning_effort);
    chat_prompt_close(prompt);
    prompt = open_template("{{ reasoning_effort }}" LOOP("{{ m.content }}"));
    assert_false(chat_prompt_info(prompt)->thinking_switch);
    assert_true(chat_prompt_info(prompt)->reasoning_effort);
    chat_prompt_close(prompt);
}

/* ---- real templates ---- */

static const struct {
    const char *file, *format;
} known[] = {
    {"Apertus-8B-Instruct", "generic"},
    {"Apriel-1.6-15b-Thinker-fixed", "apriel"},
    {"Bielik-11B-v3.0-Instruct", "hermes"},
    {"ByteDance-Seed-OSS", "seed-oss"},
    {"Cohere2MoE", "generic"},
    {"CohereForAI-c4ai-command-r-plus-tool_use", "generic"},
    {"CohereForAI-c4ai-command-r7b-12-2024-tool_use", "generic"},
    {"GLM-4.6", "glm"},
    {"GLM-4.7-Flash", "glm"},
    {"GigaChat3-10B-A1.8B", "generic"},
    {"GigaChat3.1-10B-A1.8B", "generic"},
    {"HuggingFaceTB-SmolLM3-3B", "generic"},
    {"Kimi-K2-Instruct", "kimi-k2"},
    {"Kimi-K2-Thinking", "kimi-k2"},
    {"Kimi-K3", "generic"},
    {"LFM2-8B-A1B", "generic"},
    {"LFM2.5-8B-A1B", "generic"},
    {"LFM2.5-Instruct", "generic"},
    {"MiMo-VL", "hermes"},
    {"MiniMax-M1", "generic"},
    {"MiniMax-M2", "minimax-m2"},
    {"MiniMax-M3", "generic"},
    {"Mistral-Small-3.2-24B-Instruct-2506", "mistral"},
    {"NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "qwen-xml"},
    {"NVIDIA-Nemotron-Nano-v2", "nemotron-v2"},
    {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "hermes"},
    {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes"},
    {"Qwen-QwQ-32B", "hermes"},
    {"Qwen-Qwen2.5-7B-Instruct", "hermes"},
    {"Qwen-Qwen3-0.6B", "hermes"},
    {"Qwen3-Coder", "qwen-xml"},
    {"Qwen3.5-4B", "qwen-xml"},
    {"Reka-Edge", "hermes"},
    {"Spark2.5", "glm"},
    {"StepFun3.5-Flash", "qwen-xml"},
    {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-v3"},
    {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-v3"},
    {"deepseek-ai-DeepSeek-V3.1", "deepseek-v3.1"},
    {"deepseek-ai-DeepSeek-V3.2", "deepseek-v3.2"},
    {"deepseek-ai-DeepSeek-V4-Flash-0731", "deepseek-v4"},
    {"deepseek-ai-DeepSeek-V4", "deepseek-v4"},
    {"fireworks-ai-llama-3-firefunction-v2", "generic"},
    {"google-gemma-2-2b-it", "generic"},
    {"google-gemma-4-31B-it-interleaved", "generic"},
    {"google-gemma-4-31B-it", "generic"},
    {"ibm-granite-granite-3.3-2B-Instruct", "generic"},
    {"ibm-granite-granite-4.0", "hermes"},
    {"ibm-granite-granite-4.1", "hermes"},
    {"inclusionai-ling-3.0-flash", "glm"},
    {"llama-cpp-deepseek-r1", "generic"},
    {"llama-cpp-rwkv-world", "generic"},
    {"meetkai-functionary-medium-v3.1", "generic"},
    {"meetkai-functionary-medium-v3.2", "generic"},
    {"meta-llama-Llama-3.1-8B-Instruct", "llama3"},
    {"meta-llama-Llama-3.2-3B-Instruct", "llama3"},
    {"meta-llama-Llama-3.3-70B-Instruct", "llama3"},
    {"microsoft-Phi-3.5-mini-instruct", "generic"},
    {"mistralai-Ministral-3-14B-Reasoning-2512", "mistral"},
    {"mistralai-Mistral-Nemo-Instruct-2407", "mistral-array"},
    {"moonshotai-Kimi-K2", "kimi-k2"},
    {"muse-glimmer", "generic"},
    {"openai-gpt-oss-120b", "harmony"},
    {"openbmb-MiniCPM5-1B", "generic"},
    {"poolside-Laguna-S-2.1", "glm"},
    {"poolside-Laguna-XS-2.1", "glm"},
    {"poolside-Laguna-XS.2", "glm"},
    {"tencent-Hy3", "generic"},
    {"unsloth-Apriel-1.5", "apriel"},
    {"unsloth-mistral-Devstral-Small-2507", "mistral"},
    {"upstage-Solar-Open-100B", "generic"},
};

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    char *text = mem_calloc(1 << 20, 1);
    size_t n = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    text[n] = '\0';
    return text;
}

/* The reply's calls as JSON [[name, arguments], ...], thought and content. */
struct read_back {
    struct buf calls, reasoning, content;
};

static void read_reply(struct read_back *out, const struct reply_format *format, const char *text,
                       bool is_thinking, size_t step)
{
    struct reply *reply;
    struct reply_tools *tools;
    size_t n_parts, n = strlen(text);
    const char *shown;
    assert_int_equal(reply_tools_create(&tools, "[" TOOL "]", NULL), OK);
    struct reply_options options = {format, tools, is_thinking, false};
    assert_int_equal(reply_create(&reply, &options, NULL), OK);
    for (size_t at = 0; at < n; at += step)
        assert_true(reply_push(reply, text + at, n - at < step ? n - at : step));
    assert_true(reply_finish(reply, false));
    buf_init(&out->calls, 1 << 20);
    buf_init(&out->reasoning, 1 << 20);
    buf_init(&out->content, 1 << 20);
    const struct reply_part *parts = reply_parts(reply, &n_parts, &shown);
    for (size_t i = 0; i < n_parts; i++) {
        struct buf *to = parts[i].type == REPLY_CONTENT     ? &out->content
                         : parts[i].type == REPLY_REASONING ? &out->reasoning
                                                            : &out->calls;
        if (parts[i].type == REPLY_CALL)
            buf_append_text(to, parts[i].call > 0 ? "|" : "");
        buf_append(to, shown, parts[i].n_bytes - parts[i].id_bytes);
        if (parts[i].type == REPLY_CALL)
            buf_append_text(to, " ");
        shown += parts[i].n_bytes;
    }
    reply_free(reply);
    reply_tools_free(tools);
}

static void release(struct read_back *got)
{
    buf_release(&got->calls);
    buf_release(&got->reasoning);
    buf_release(&got->content);
}

static bool same_json(const char *a, size_t n, const char *b)
{
    cJSON *one = cJSON_ParseWithLength(a, n), *other = cJSON_Parse(b);
    bool same = one && cJSON_Compare(one, other, true);
    cJSON_Delete(one);
    cJSON_Delete(other);
    return same;
}

static const char ARGUMENTS[] = "{\"x\": 12, \"text\": \"a \\\"b\\\"\\n <c> </tool_call>\"}";
#define ARGUMENTS_TEXT                                                                             \
    "{\\\"x\\\": 12, \\\"text\\\": \\\"a \\\\\\\"b\\\\\\\"\\\\n <c> </tool_call>\\\"}"

/* Renders a call and reads it back. The reply begins where the generation prompt ends, or, where
 * the template writes history in another way, where the two texts part. */
static void round_trip(const struct chat_prompt *prompt, const char *name)
{
    struct reply_format format = *chat_prompt_reply_format(prompt);
    const char *tools = format.how_to_call && !format.rewrite_calls ? NULL : "[" TOOL "]";
    char *before = render_text(prompt, "[" USER "]", tools, NULL, true);
    char *after =
        render_text(prompt,
                    "[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[" CALL(
                        "abcdefgh1", "f", ARGUMENTS_TEXT) "]}]",
                    tools, NULL, false);
    // Templates that want tools or a date of their own, which nobody sends.
    static const char *const others[] = {"CohereForAI-c4ai-command-r-plus-tool_use",
                                         "fireworks-ai-llama-3-firefunction-v2"};
    for (size_t i = 0; i < 2; i++)
        if (!before && strcmp(name, others[i]) == 0)
            return;
    if (!before || !after)
        fail_msg("%s does not render", name);
    size_t same = 0;
    while (before[same] && before[same] == after[same])
        same++;
    if (before[same])  // back to the start of a marker that both share
        while (same > 0 && before[same] != '<' && before[same] != '[')
            same--;
    bool is_thinking = !before[same] && reply_prompt_is_thinking(&format, before, strlen(before));
    for (size_t step = 1; step < 100; step += 37) {
        struct read_back got;
        read_reply(&got, &format, after + same, is_thinking, step);
        const char *calls = got.calls.bytes ? got.calls.bytes : "";
        size_t n = strlen(calls);
        if (strncmp(calls, "f ", 2) != 0 || !same_json(calls + 2, n - 2, ARGUMENTS)) {
            print_error("%s (%s): %s\n -> %s\n", name, format.name, after + same, calls);
            fail();
        }
        release(&got);
    }
    mem_free(before);
    mem_free(after);
}

static const char *templates_folder(void)
{
    const char *folder = getenv("WICARA_TEST_TEMPLATES");
    return folder ? folder : "build/peers/source/vendor/llama.cpp/models/templates";
}

static void test_real_templates(void **state)
{
    (void)state;
    size_t n_read = 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s.jinja", templates_folder(), known[i].file);
        char *source = read_file(path);
        if (!source)
            continue;
        n_read++;
        struct chat_prompt *prompt = open_template(source);
        assert_non_null(prompt);
        const struct reply_format *format = chat_prompt_reply_format(prompt);
        if (strcmp(format->name, known[i].format) != 0)
            print_error("%s: %s\n", known[i].file, format->name);
        assert_string_equal(format->name, known[i].format);
        round_trip(prompt, known[i].file);
        chat_prompt_close(prompt);
        mem_free(source);
    }
    if (n_read == 0) {
        print_message("no templates in %s\n", templates_folder());
        skip();
    }
    assert_int_equal(n_read, sizeof known / sizeof known[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generic),
        cmocka_unit_test(test_generic_provenance),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_short_ids),
        cmocka_unit_test(test_reasoning_beside_content),
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_real_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
