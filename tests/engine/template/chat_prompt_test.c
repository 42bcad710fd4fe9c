/* chat_prompt: the default model's template, what the probes find out, how messages are adapted,
 * and which field an error names. */
#include <pthread.h>

#include "tests/engine/template/render.h"

#include "engine/template/chat_prompt.h"

/* The manner of the default model's template: a system message of its own, any role printed. */
static const char default_like[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe good<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] "
    "+ "
    "'\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

static struct chat_prompt *open_template(const char *source)
{
    struct chat_prompt *prompt;
    struct error err = {0};
    if (chat_prompt_open(&prompt, source, strlen(source), "<s>", "</s>", &err) != OK)
        print_error("%s\n", err.text);
    assert_non_null(prompt);
    return prompt;
}

/* Renders through an opened template; the caller releases. */
static enum status render_chat(const struct chat_prompt *prompt, const char *messages,
                               const char *tools, const char *variables,
                               struct chat_prompt_output *out, struct error *err)
{
    struct chat_prompt_input input = {.messages_json = messages,
                                      .tools_json = tools,
                                      .variables_json = variables,
                                      .now_unix_s = RENDER_NOW};
    *err = (struct error){0};
    return chat_prompt_render(prompt, &input, out, err);
}

static void expect_text(const struct chat_prompt *prompt, const char *messages,
                        const char *expected)
{
    struct chat_prompt_output out;
    struct error err;
    if (render_chat(prompt, messages, NULL, NULL, &out, &err) != OK)
        print_error("%s\n  -> %s\n", messages, err.text);
    assert_non_null(out.text.bytes);
    assert_string_equal(out.text.bytes, expected);
    chat_prompt_output_release(&out);
}

static void test_default_like(void **state)
{
    (void)state;
    struct chat_prompt *prompt = open_template(default_like);
    struct chat_prompt_output out;
    struct error err = {0};
    struct chat_prompt_input input = {
        .messages_json = "[{\"role\":\"user\",\"content\":\"h\\u00e9 <|im_end|>\"}]",
        .add_generation_prompt = true,
    };
    assert_int_equal(chat_prompt_render(prompt, &input, &out, &err), OK);
    static const char expected[] =
        "<|im_start|>system\nBe good<|im_end|>\n<|im_start|>user\nh\xc3\xa9 <|im_end|><|im_end|>\n"
        "<|im_start|>assistant\n";
    assert_string_equal(out.text.bytes, expected);
    assert_int_equal(out.text.n_bytes, sizeof expected - 1);
    /* The role and the content, nothing else. */
    size_t role = (size_t)(strstr(expected, "user\n") - expected);
    assert_int_equal(out.n_untrusted, 2);
    assert_int_equal(out.untrusted[0].first, role);
    assert_int_equal(out.untrusted[0].last, role + 4);
    assert_int_equal(out.untrusted[1].first, role + 5);
    assert_int_equal(out.untrusted[1].last, role + 5 + strlen("h\xc3\xa9 <|im_end|>"));
    chat_prompt_output_release(&out);

    const struct chat_prompt_info *info = chat_prompt_info(prompt);
    assert_true(info->system_role && info->tool_role);
    assert_false(info->tools || info->tool_calls || info->developer_role || info->content_parts);
    chat_prompt_close(prompt);
}

static void test_variables(void **state)
{
    (void)state;
    struct chat_prompt *prompt = open_template(
        "{{ bos_token }}|{{ eos_token }}|{{ tools is none }}|{{ documents }}|{{ x }}|"
        "{{ add_generation_prompt }}|{{ strftime_now('%d %b %Y') }}|{{ messages|length }}");
    struct chat_prompt_output out;
    struct error err;
    assert_int_equal(render_chat(prompt, "[]", NULL, "{\"x\": [1.0, 2e2]}", &out, &err), OK);
    assert_string_equal(out.text.bytes, "<s>|</s>|True|None|[1.0, 200.0]|False|31 Dec 2025|0");
    assert_int_equal(out.n_untrusted, 1);
    chat_prompt_output_release(&out);
    assert_int_equal(render_chat(prompt, "[]", "[]", "{\"documents\": [{\"t\": 1}]}", &out, &err),
                     OK);
    assert_string_equal(out.text.bytes, "<s>|</s>|False|[{'t': 1}]||False|31 Dec 2025|0");
    chat_prompt_output_release(&out);
    chat_prompt_close(prompt);
}

static const struct {
    const char *messages, *tools, *variables;
    enum status status;
    const char *param, *message;
} errors[] = {
    {"[", NULL, NULL, ERR_INVALID, "messages", "at byte"},
    {"{}", NULL, NULL, ERR_INVALID, "messages", "must be an array"},
    {"[1]", NULL, NULL, ERR_INVALID, "messages[0]", "must be an object"},
    {"[]", "{}", NULL, ERR_INVALID, "tools", "must be an array"},
    {"[]", "[nul]", NULL, ERR_INVALID, "tools", "at byte 1"},
    {"[]", NULL, "[]", ERR_INVALID, "chat_template_kwargs", "must be an object"},
    {"[]", NULL, "{\"messages\": []}", ERR_INVALID, "chat_template_kwargs", "'messages'"},
    {"[]", NULL, "{\"tools\": 1}", ERR_INVALID, "chat_template_kwargs", "'tools'"},
    {"[]", NULL, "{\"add_generation_prompt\": 1}", ERR_INVALID, "chat_template_kwargs", "'add_gen"},
    {"[]", NULL, "{\"bos_token\": \"x\"}", ERR_INVALID, "chat_template_kwargs", "'bos_token'"},
    {"[]", NULL, "{\"eos_token\": \"x\"}", ERR_INVALID, "chat_template_kwargs", "'eos_token'"},
    {"[]", NULL, "{\"raise_exception\": 1}", ERR_INVALID, "chat_template_kwargs", "'raise_exc"},
    {"[]", NULL, "{\"range\": 1}", ERR_INVALID, "chat_template_kwargs", "'range'"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", NULL, NULL, ERR_INVALID,
     "messages[0]", "text content only"},
    {"[{\"role\":\"user\",\"content\":\"no\"}]", NULL, NULL, ERR_INVALID, "messages",
     "line 1: refused: no"},
};

static void test_errors(void **state)
{
    (void)state;
    struct chat_prompt *prompt = open_template("{% for m in messages %}{% if m.content == 'no' "
                                               "%}{{ raise_exception('refused: ' + m.content) }}"
                                               "{% endif %}{{ m.content + '' }}{% endfor %}");
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct chat_prompt_output out;
        struct error err;
        enum status status = render_chat(prompt, errors[i].messages, errors[i].tools,
                                         errors[i].variables, &out, &err);
        if (status != errors[i].status || !strstr(err.text, errors[i].message) ||
            strcmp(err.param, errors[i].param) != 0)
            print_error("case %zu: %s: %s (%s)\n", i, status_name(status), err.text, err.param);
        assert_int_equal(status, errors[i].status);
        assert_non_null(strstr(err.text, errors[i].message));
        assert_string_equal(err.param, errors[i].param);
        assert_null(out.text.bytes);
    }
    chat_prompt_close(prompt);

    struct error err = {0};
    assert_int_equal(chat_prompt_open(&prompt, "\n{% if %}", 9, "", "", &err), ERR_FORMAT);
    assert_null(prompt);
    assert_non_null(strstr(err.text, "line 2"));
    err = (struct error){0};
    assert_int_equal(chat_prompt_open(&prompt, "{% include 'x' %}", 17, NULL, NULL, &err),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "include"));
}

/* ---- probes ---- */

#define LOOP(body) "{% for m in messages %}" body "{% endfor %}"

static void test_probe_system(void **state)
{
    (void)state;
    static const char *const refusing[] = {
        /* raises, drops, only knows two roles */
        LOOP("{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% "
             "endif %}"
             "<{{ m.role }}>{{ m.content }}"),
        LOOP("{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endif %}"),
    };
    for (size_t i = 0; i < 2; i++) {
        struct chat_prompt *prompt = open_template(refusing[i]);
        assert_false(chat_prompt_info(prompt)->system_role);
        expect_text(
            prompt,
            "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"U\"}]",
            "<user>S\n\nU");
        expect_text(prompt, "[{\"role\":\"system\",\"content\":\"S\"}]", "<user>S");
        expect_text(
            prompt,
            "[{\"role\":\"developer\",\"content\":\"S\"},{\"role\":\"assistant\",\"content\":"
            "\"A\"},{\"role\":\"user\",\"content\":\"\"}]",
            "<assistant>A<user>S");
        expect_text(prompt,
                    "[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"S\"}]},"
                    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"U\"}]}]",
                    "<user>S\n\nU");
        chat_prompt_close(prompt);
    }
    struct chat_prompt *prompt = open_template(LOOP("<{{ m.role }}>{{ m.content }}"));
    assert_true(chat_prompt_info(prompt)->system_role);
    expect_text(prompt,
                "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"U\"}]",
                "<system>S<user>U");
    chat_prompt_close(prompt);
}

static void test_probe_developer(void **state)
{
    (void)state;
    static const char messages[] = "[{\"role\":\"developer\",\"content\":\"D\"}]";
    struct chat_prompt *prompt = open_template(LOOP("<{{ m.role }}>{{ m.content }}"));
    assert_false(chat_prompt_info(prompt)->developer_role);
    expect_text(prompt, messages, "<system>D");
    chat_prompt_close(prompt);
    prompt = open_template(
        LOOP("{% if m.role == 'developer' %}DEV {% endif %}<{{ m.role }}>{{ m.content }}"));
    assert_true(chat_prompt_info(prompt)->developer_role);
    expect_text(prompt, messages, "DEV <developer>D");
    chat_prompt_close(prompt);
    prompt = open_template(LOOP(
        "{% if m.role == 'developer' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}"));
    assert_false(chat_prompt_info(prompt)->developer_role);
    chat_prompt_close(prompt);
}

#define CALLS(show)                                                                                \
    LOOP("<{{ m.role }}>{{ m.content }}"                                                           \
         "{% for c in m.tool_calls or [] %}" show "{% endfor %}")
#define ONE_CALL(content, arguments)                                                               \
    "[{\"role\":\"assistant\",\"content\":" content ",\"tool_calls\":[{\"id\":\"1\",\"type\":"     \
    "\"function\",\"function\":{\"name\":\"f\",\"arguments\":" arguments "}}]}]"

static void test_probe_arguments(void **state)
{
    (void)state;
    static const char messages[] = ONE_CALL("\"\"", "\"{\\\"a\\\":  1.50}\"");
    static const struct {
        const char *source;
        bool text;
        const char *expected;
    } kinds[] = {
        {CALLS("{{ c.function.arguments|tojson }}"), false, "<assistant>{\"a\": 1.5}"},
        {CALLS("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}"), false,
         "<assistant>a=1.5"},
        {CALLS("{{ '' + c.function.arguments }}"), true, "<assistant>{\"a\":  1.50}"},
        {CALLS("{{ c.function.arguments }}"), true, "<assistant>{\"a\":  1.50}"},
        {CALLS("{{ c.function.arguments if c.function.arguments is string else "
               "c.function.arguments|tojson }}"),
         false, "<assistant>{\"a\": 1.5}"},
        {CALLS("{{ c.function|tojson }}"), false,
         "<assistant>{\"name\": \"f\", \"arguments\": {\"a\": 1.5}}"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct chat_prompt *prompt = open_template(kinds[i].source);
        assert_int_equal(chat_prompt_info(prompt)->arguments_text, kinds[i].text);
        assert_true(chat_prompt_info(prompt)->tool_calls);
        expect_text(prompt, messages, kinds[i].expected);
        chat_prompt_close(prompt);
    }
    struct chat_prompt *prompt = open_template(kinds[0].source);
    /* no arguments at all, text that is no JSON, an object already */
    expect_text(prompt, ONE_CALL("\"\"", "\" \""), "<assistant>{}");
    expect_text(prompt, ONE_CALL("\"\"", "\"{oops\""), "<assistant>\"{oops\"");
    expect_text(prompt, ONE_CALL("\"\"", "{\"q\": 2}"), "<assistant>{\"q\": 2}");
    chat_prompt_close(prompt);
    prompt = open_template(kinds[2].source);
    expect_text(prompt, ONE_CALL("\"\"", "{\"q\": 2}"), "<assistant>{\"q\": 2}");
    chat_prompt_close(prompt);
}

static void test_probe_content(void **state)
{
    (void)state;
    static const char parts[] =
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"b\"}]}]";
    static const char text[] = "[{\"role\":\"user\",\"content\":\"a\"}]";
    struct chat_prompt *prompt = open_template(LOOP("{{ m.content }}"));
    assert_false(chat_prompt_info(prompt)->content_parts);
    expect_text(prompt, parts, "ab");
    expect_text(prompt, text, "a");
    chat_prompt_close(prompt);
    prompt = open_template(LOOP("{% if m.content is string %}{{ m.content }}{% else %}"
                                "{% for p in m.content %}({{ p.text }}){% endfor %}{% endif %}"));
    assert_true(chat_prompt_info(prompt)->content_parts);
    assert_false(chat_prompt_info(prompt)->content_needs_parts);
    expect_text(prompt, parts, "(a)(b)");
    expect_text(prompt, text, "a");
    chat_prompt_close(prompt);
    prompt = open_template(LOOP("{% for p in m.content %}{% if p.type == 'text' %}({{ p.text }})"
                                "{% endif %}{% endfor %}"));
    assert_true(chat_prompt_info(prompt)->content_needs_parts);
    expect_text(prompt, parts, "(a)(b)");
    expect_text(prompt, text, "(a)");
    chat_prompt_close(prompt);
}

static void test_probe_null(void **state)
{
    (void)state;
    static const char plain[] =
        "[{\"role\":\"assistant\",\"content\":null},{\"role\":\"assistant\"}]";
    struct chat_prompt *prompt = open_template(LOOP("<{{ m.content }}>"));
    assert_false(chat_prompt_info(prompt)->null_without_calls);
    assert_false(chat_prompt_info(prompt)->null_with_calls);
    expect_text(prompt, plain, "<><>");
    expect_text(prompt, ONE_CALL("null", "\"{}\""),
                "<<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>>");
    chat_prompt_close(prompt);
    prompt = open_template(LOOP("<{{ m.content + '' }}>"));
    assert_false(chat_prompt_info(prompt)->null_without_calls);
    expect_text(prompt, plain, "<><>");
    chat_prompt_close(prompt);
    prompt = open_template(LOOP("<{{ 'null' if m.content is none else m.content }}>"));
    assert_true(chat_prompt_info(prompt)->null_without_calls);
    assert_true(chat_prompt_info(prompt)->null_with_calls);
    expect_text(prompt, plain, "<null><>");
    chat_prompt_close(prompt);
}

#define CALL_TEXT   "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"
#define RESULT_TEXT "<tool_response>\nR\n</tool_response>"

static void test_probe_tool_role(void **state)
{
    (void)state;
    static const char messages[] =
        "[{\"role\":\"user\",\"content\":\"U\"},{\"role\":\"assistant\",\"content\":\"\","
        "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"R\"}]";
    struct chat_prompt *prompt = open_template(
        LOOP("{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
             "<{{ m.role }}>{{ m.content }}"));
    assert_false(chat_prompt_info(prompt)->tool_role);
    expect_text(prompt, messages, "<user>U<assistant>" CALL_TEXT "<user>" RESULT_TEXT);
    chat_prompt_close(prompt);
    prompt = open_template(LOOP("<{{ m.role }}>{{ m.content }}"));
    assert_true(chat_prompt_info(prompt)->tool_role);
    expect_text(prompt, messages, "<user>U<assistant>" CALL_TEXT "<user>" RESULT_TEXT);
    chat_prompt_close(prompt);
    prompt = open_template("{% if tools %}{{ tools|tojson }}{% endif %}" LOOP("{{ m.content }}"));
    assert_true(chat_prompt_info(prompt)->tools);
    chat_prompt_close(prompt);
}

static void test_reasoning(void **state)
{
    (void)state;
    struct chat_prompt *prompt =
        open_template(LOOP("{{ m.reasoning_content }}/{{ m.thinking }}/{{ m.content }};"));
    expect_text(prompt,
                "[{\"role\":\"assistant\",\"content\":\"c\",\"reasoning\":\"r\"},"
                "{\"role\":\"assistant\",\"content\":\"c\",\"reasoning_content\":\"r\"},"
                "{\"role\":\"assistant\",\"content\":\"c\",\"thinking\":\"r\"},"
                "{\"role\":\"assistant\",\"content\":\"c\"}]",
                "r/r/c;r/r/c;r/r/c;//c;");
    chat_prompt_close(prompt);
}

static void test_chatml(void **state)
{
    (void)state;
    struct chat_prompt *prompt = open_template(chat_prompt_chatml());
    expect_text(prompt,
                "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"U\"}]",
                "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n");
    chat_prompt_close(prompt);
}

/* ---- one prompt in several threads ---- */

static void *render_many(void *context)
{
    for (int i = 0; i < 200; i++) {
        struct chat_prompt_output out;
        struct error err;
        assert_int_equal(render_chat(context, "[{\"role\":\"user\",\"content\":\"\\u00e9\"}]", NULL,
                                     NULL, &out, &err),
                         OK);
        assert_non_null(strstr(out.text.bytes, "user\n\xc3\xa9"));
        chat_prompt_output_release(&out);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct chat_prompt *prompt = open_template(default_like);
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, render_many, prompt), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    chat_prompt_close(prompt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_like),    cmocka_unit_test(test_variables),
        cmocka_unit_test(test_errors),          cmocka_unit_test(test_probe_system),
        cmocka_unit_test(test_probe_developer), cmocka_unit_test(test_probe_arguments),
        cmocka_unit_test(test_probe_content),   cmocka_unit_test(test_probe_null),
        cmocka_unit_test(test_probe_tool_role), cmocka_unit_test(test_reasoning),
        cmocka_unit_test(test_chatml),          cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
