/* Replies: what each format's text becomes, for every way of cutting it, with its markers as text
 * and as tokens; what malformed replies become; what a format is told by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/json_scan.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/template/reply.h"

static const char TOOLS[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":"
    "\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},"
    "\"deep\":{\"type\":\"object\"},\"on\":{\"type\":[\"boolean\",\"null\"]},\"any\":{},"
    "\"either\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]},\"unit\":{\"enum\":["
    "\"c\",\"f\"]}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"noop\"}}]";

enum { THINKING = 1, NO_TOOLS = 2, ONE_CALL = 4, CUT = 8, SET_BARE = 16 };

struct reply_case {
    const char *format;
    int flags;
    const char *text;
    const char *expected;  // C: content, R: reasoning, T: a call's name, I: its id, A: arguments
};

static const struct reply_case cases[] = {
    /* no marker: text is kept, byte for byte */
    {"generic", 0, "  Hello,\n\nworld!  \n", "C[  Hello,\n\nworld!  \n]"},
    {"generic", NO_TOOLS, " a <tool_call> b\n", "C[ a <tool_call> b\n]"},
    {"hermes", 0, "", ""},
    {"hermes", 0, "a < b <tool_ <tool_cal", "C[a < b <tool_ <tool_cal]"},
    {"hermes", 0, "see <think> and </think>", "C[see <think> and </think>]"},

    /* thinking */
    {"hermes", 0, "<think>\nhm, 2 + 2\n\nis 4\n</think>\n\nSo 4.\n",
     "R[hm, 2 + 2\n\nis 4]C[So 4.\n]"},
    {"hermes", THINKING, "\nhm\n</think>\n\nSo 4.", "R[hm]C[So 4.]"},
    {"hermes", 0, "\n<think>\n\n</think>\n\nSo 4.", "C[So 4.]"},
    {"hermes", THINKING, "never ends\n", "R[never ends\n]"},
    {"hermes", THINKING, "</think>", ""},
    {"hermes", THINKING, "a <tool_call> b</think>c", "R[a <tool_call> b]C[c]"},
    {"hermes", 0, "<think>a</think>b</think>c", "R[a]C[b</think>c]"},
    {"mistral", 0, "[THINK]hm[/THINK]yes", "R[hm]C[yes]"},

    /* Hermes, Qwen2.5, Qwen3 */
    {"hermes", 0,
     "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Z\xc3\xbc\"}}\n"
     "</tool_call>",
     "T0[get_weather]A0[{\"city\": \"Z\xc3\xbc\"}]"},
    {"hermes", THINKING,
     "I need it.\n</think>\n\nLet me look.\n\n<tool_call>\n{\"name\": \"get_weather\", "
     "\"arguments\": {\"city\": \"A\", \"deep\": {\"a\": [1, -2.5e3, null, true], \"b\": {}}}}\n"
     "</tool_call>\n<tool_call>\n{\"arguments\": {}, \"name\": \"noop\"}\n</tool_call>\n",
     "R[I need it.]C[Let me look.]T0[get_weather]A0[{\"city\": \"A\", \"deep\": {\"a\": [1, "
     "-2.5e3, null, true], \"b\": {}}}]T1[noop]A1[{}]"},
    {"hermes", 0, "<tool_call>{\"name\":\"noop\"}</tool_call> done", "T0[noop]A0[{}]C[done]"},
    {"hermes", 0,
     "<tool_call>{\"id\":7,\"x\":[{}],\"name\":\"n\\u006fop\",\"parameters\":{\"a\":1 } }",
     "T0[noop]A0[{\"a\":1 }]"},
    /* two objects in one tag, an array of them, a trailing comma */
    {"hermes", 0, "<tool_call>{\"name\":\"a\"}\n{\"name\":\"b\",}</tool_call>",
     "T0[a]A0[{}]T1[b]A1[{}]"},
    {"hermes", 0, "<tool_call>[{\"name\":\"a\"}, {\"name\":\"b\"}]</tool_call>",
     "T0[a]A0[{}]T1[b]A1[{}]"},
    {"hermes", ONE_CALL,
     "<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":1}}</tool_call><tool_call>{\"name\":\"b\"}",
     "T0[a]A0[{\"x\":1}]"},

    /* hostile: a marker within a string, no end tag, arguments in a string, unknown names */
    {"hermes", 0,
     "<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":\"</tool_call>\\\"<tool_call>{\"}}</"
     "tool_call>",
     "T0[a]A0[{\"x\":\"</tool_call>\\\"<tool_call>{\"}]"},
    {"hermes", 0, "<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":[1]}", "T0[a]A0[{\"x\":[1]}]"},
    {"hermes", 0, "<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":[1", "T0[a]A0[{\"x\":[1]"},
    {"hermes", 0, "<tool_call>{\"name\":\"a\",\"arguments\":\"{\\\"x\\\": \\\"\\u00fc\\\"}\"}",
     "T0[a]A0[{\"x\": \"\xc3\xbc\"}]"},
    {"hermes", 0, "<tool_call>{\"arguments\":\"{\\\"x\\\":1}\",\"name\":\"a\"}",
     "T0[a]A0[{\"x\":1}]"},
    {"hermes", 0, "<tool_call>{\"name\":\"a\",\"arguments\":\"no \\\"object\\\"\"}",
     "T0[a]A0[\"no \\\"object\\\"\"]"},
    {"hermes", 0, "<tool_call>{\"name\":\"a\",\"arguments\":12}", "T0[a]A0[12]"},
    {"hermes", 0, "<tool_call>{\"name\":\"never_heard_of\",\"arguments\":{}}</tool_call>",
     "T0[never_heard_of]A0[{}]"},
    {"hermes", 0, "<tool_call>{\"name\":\"two words\",\"arguments\":{}}</tool_call>",
     "C[<tool_call>{\"name\":\"two words\",\"arguments\":{}}</tool_call>]"},
    {"hermes", 0, "x\n<tool_call>\nnot JSON\n</tool_call>\ny",
     "C[x\n<tool_call>\nnot JSON\n</tool_call>\ny]"},
    {"hermes", 0, "x <tool_call>{\"city\": 1}</tool_call>",
     "C[x <tool_call>{\"city\": 1}</tool_call>]"},
    {"hermes", 0, "x <tool_call>", "C[x <tool_call>]"},
    {"hermes", 0, "x <tool_call>{\"na", "C[x <tool_call>{\"na]"},
    /* a raw newline in a string and a backslash of its own are escaped, the rest of it kept */
    {"hermes", 0, "<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":\"1\n2\t\\d\\n\"}}</tool_call>",
     "T0[a]A0[{\"x\":\"1\\n2\\t\\\\d\\n\"}]"},
    /* what is no JSON goes out as it is, up to the end tag */
    {"hermes", 0, "<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":yes}}</tool_call>b",
     "T0[a]A0[{\"x\":yes}}]C[b]"},

    /* bare objects: only with a known name and arguments */
    {"hermes", 0, "{\"name\": \"noop\", \"arguments\": {\"a\": 1}}", "T0[noop]A0[{\"a\": 1}]"},
    {"generic", 0, "{\"arguments\": {\"a\": 1}, \"name\": \"noop\"}", "T0[noop]A0[{\"a\": 1}]"},
    {"generic", 0, "{\"name\": \"Bob\", \"arguments\": 5} ",
     "C[{\"name\": \"Bob\", \"arguments\": 5} ]"},
    {"generic", 0, "{\"name\": \"noop\"}", "C[{\"name\": \"noop\"}]"},
    {"generic", 0, "{\"name\": \"noop\", ", "C[{\"name\": \"noop\", ]"},
    {"generic", 0, "so {\"name\": \"noop\", \"arguments\": {}}",
     "C[so {\"name\": \"noop\", \"arguments\": {}}]"},

    /* Llama 3 */
    {"llama3", 0, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"A\"}}",
     "T0[get_weather]A0[{\"city\": \"A\"}]"},
    {"llama3", 0, "<|python_tag|>{\"type\": \"function\", \"name\": \"x\", \"parameters\": {}}",
     "T0[x]A0[{}]"},
    {"llama3", 0,
     "{\"name\": \"noop\", \"parameters\": {}}; {\"name\": \"noop\", \"parameters\": {\"a\": 2}}",
     "T0[noop]A0[{}]T1[noop]A1[{\"a\": 2}]"},
    {"llama3", 0, "<|python_tag|>print(1)", "C[<|python_tag|>print(1)]"},

    /* DeepSeek V3 and R1 */
    {"deepseek-v3", THINKING,
     "hm</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
     "```json\n{\"city\": \"A\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function"
     "<｜tool▁sep｜>noop\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "R[hm]T0[get_weather]A0[{\"city\": \"A\"}]T1[noop]A1[{}]"},
    {"deepseek-v3", 0, "a<｜tool▁call▁begin｜>function<｜tool▁sep｜>noop\n```json\n{\"a\":1}\n```",
     "C[a]T0[noop]A0[{\"a\":1}]"},
    {"deepseek-v3", 0, "a<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>b", "C[ab]"},
    {"deepseek-v3", 0, "a<｜tool▁call▁begin｜>function", "C[a<｜tool▁call▁begin｜>function]"},
    /* V3.1 */
    {"deepseek-v3.1", 0,
     "ok\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": "
     "\"<｜tool▁call▁end｜>\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>noop<｜tool▁sep｜>"
     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "C[ok]T0[get_weather]A0[{\"city\": \"<｜tool▁call▁end｜>\"}]T1[noop]A1[{}]"},
    {"deepseek-v3.1", 0,
     "<｜tool▁call▁begin｜>noop<｜tool▁sep｜>\"{\\\"a\\\":1}\"<｜tool▁call▁end｜>",
     "T0[noop]A0[{\"a\":1}]"},
    {"deepseek-v3.1", 0, "<｜tool▁call▁begin｜>noop<｜tool▁sep｜>{\"a\":x}<｜tool▁call▁end｜>b",
     "T0[noop]A0[{\"a\":x}]C[b]"},

    /* Kimi K2 */
    {"kimi-k2", 0,
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
     "<|tool_call_argument_begin|>{\"city\": \"A\"}<|tool_call_end|><|tool_call_begin|>"
     "functions.noop:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
     "T0[get_weather]I[functions.get_weather:0]A0[{\"city\": \"A\"}]T1[noop]I[functions.noop:1]"
     "A1[{}]"},
    {"kimi-k2", 0, "<|tool_call_begin|>noop<|tool_call_argument_begin|>{}", "T0[noop]A0[{}]"},
    {"kimi-k2", 0,
     "<|tool_call_begin|>a:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_call_begin|>a:0"
     "<|tool_call_argument_begin|>{}<|tool_call_end|>",
     "T0[a]I[a:0]A0[{}]T1[a]A1[{}]"},

    /* Mistral */
    {"mistral", 0, "ok[TOOL_CALLS]get_weather[ARGS]{\"city\": \"[ARGS]\"}[TOOL_CALLS]noop[ARGS]{}",
     "C[ok]T0[get_weather]A0[{\"city\": \"[ARGS]\"}]T1[noop]A1[{}]"},
    {"mistral", 0, "[TOOL_CALLS]noop[CALL_ID]abcdefghi[ARGS]{\"a\":1}", "T0[noop]A0[{\"a\":1}]"},
    {"mistral", 0, "[TOOL_CALLS]noop", "C[[TOOL_CALLS]noop]"},
    {"mistral-array", 0,
     "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"A\"}, \"id\": "
     "\"abcdefghi\"}, {\"name\": \"noop\", \"arguments\": {}}]",
     "T0[get_weather]A0[{\"city\": \"A\"}]T1[noop]A1[{}]"},
    {"mistral-array", 0, "[TOOL_CALLS][]", ""},

    /* Qwen3-Coder, Qwen3.5 */
    {"qwen-xml", 0,
     "Let me.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nZ\"rich\n</parameter>\n"
     "<parameter=days>\n3\n</parameter>\n<parameter=deep>\n{\"a\": [1]}\n</parameter>\n"
     "</function>\n</tool_call>",
     "C[Let me.]T0[get_weather]A0[{\"city\": \"Z\\\"rich\", \"days\": 3, \"deep\": {\"a\": [1]}}]"},
    {"qwen-xml", 0,
     "<tool_call>\n<function=noop>\n</function>\n</tool_call>\n<tool_call>\n<function=noop>\n"
     "</function>\n</tool_call>",
     "T0[noop]A0[{}]T1[noop]A1[{}]"},
    {"qwen-xml", 0,
     "<function=get_weather><parameter=city>\n\n a\n\nb \n\n</parameter><parameter=days>many"
     "</parameter><parameter=on>True</parameter><parameter=any>[1, 2</parameter>"
     "<parameter=either>5</parameter><parameter=unit>c</parameter><parameter=x>None</parameter>"
     "<parameter=y>a\nb</parameter></function>",
     "T0[get_weather]A0[{\"city\": \"\\n a\\n\\nb \\n\", \"days\": \"many\", \"on\": true, "
     "\"any\": "
     "\"[1, 2\", \"either\": 5, \"unit\": \"c\", \"x\": null, \"y\": \"a\\nb\"}]"},
    {"qwen-xml", 0, "<tool_call>\n<function=noop>\n<parameter=a>\n1\n</parameter>\n",
     "T0[noop]A0[{\"a\": 1}]"},
    {"qwen-xml", CUT, "<tool_call>\n<function=noop>\n<parameter=a>\n1\n</parameter>\n",
     "T0[noop]A0[{\"a\": 1]"},
    {"qwen-xml", 0, "<tool_call>\n<function=get_weather>\n<parameter=city>\nab",
     "T0[get_weather]A0[{\"city\": \"ab]"},
    {"qwen-xml", 0, "<tool_call>\nhello", "C[<tool_call>\nhello]"},
    {"qwen-xml", 0, "<tool_call>\n<function=a b>", "C[<tool_call>\n<function=a b>]"},

    /* GLM-4.5 */
    {"glm", THINKING,
     "hm</think>ok\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>A\nB</arg_value>\n"
     "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>noop\n</"
     "tool_call>",
     "R[hm]C[ok]T0[get_weather]A0[{\"city\": \"A\\nB\", \"days\": 2}]T1[noop]A1[{}]"},
    {"glm", 0, "<tool_call>noop<arg_key>a</arg_key><arg_value>b</arg_value></tool_call>",
     "T0[noop]A0[{\"a\": \"b\"}]"},
    {"glm", 0, "<tool_call>noop</tool_call>", "T0[noop]A0[{}]"},
    {"glm", 0, "<tool_call>what is this</tool_call>", "C[<tool_call>what is this</tool_call>]"},

    /* DeepSeek V3.2, V4 */
    {"deepseek-v3.2", 0,
     "ok\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter "
     "name=\"city\" string=\"true\">A</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" "
     "string=\"false\">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"noop\">\n"
     "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
     "C[ok]T0[get_weather]A0[{\"city\": \"A\", \"days\": 2}]T1[noop]A1[{}]"},
    {"deepseek-v4", 0,
     "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"noop\">\n<｜DSML｜parameter name=\"a\" "
     "string=\"true\">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
     "T0[noop]A0[{\"a\": \"1\"}]"},

    /* gpt-oss */
    {"harmony", 0,
     "<|channel|>analysis<|message|>hm\n\nyes<|end|><|start|>assistant<|channel|>final<|message|>"
     "It is 4.\n",
     "R[hm\n\nyes]C[It is 4.\n]"},
    {"harmony", 0,
     "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"A\"}<|call|>",
     "R[hm]T0[get_weather]A0[{\"city\": \"A\"}]"},
    {"harmony", 0, " to=functions.noop<|channel|>commentary json<|message|>{}", "T0[noop]A0[{}]"},
    {"harmony", 0,
     "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant to=functions.noop"
     "<|channel|>commentary json<|message|>{\"a\": \"<b>\"}<|call|>",
     "C[Let me look.]T0[noop]A0[{\"a\": \"<b>\"}]"},
    {"harmony", NO_TOOLS, "<|channel|>final<|message|>a<|end|>", "C[a]"},
    {"harmony", 0, "just text", "C[just text]"},
    {"harmony", CUT, "<|channel|>anal", ""},
    /* a grammar makes a bare call, whatever the format */
    {"harmony", SET_BARE, "{\"name\": \"noop\", \"arguments\": {\"a\": 1}}",
     "T0[noop]A0[{\"a\": 1}]"},
    {"deepseek-v3.1", SET_BARE, "{\"name\": \"noop\", \"arguments\": {}}", "T0[noop]A0[{}]"},
    {"qwen-xml", SET_BARE | THINKING, "hm\n</think>\n\n{\"name\": \"noop\", \"arguments\": {}}",
     "R[hm]T0[noop]A0[{}]"},
    {"harmony", SET_BARE, "{\"document\": \"<|end|>\"}", "C[{\"document\": \"<|end|>\"}]"},
    {"harmony", CUT, "<|channel|>commentary to=functions.noop<|message|>{\"a\": 1",
     "T0[noop]A0[{\"a\": 1]"},
};

/* ---- running ---- */

enum { TOKEN_FIRST = 1000 };

/* Every marker is a control token, numbered by its text's length and first letters. */
static int32_t find_token(void *context, const char *text, size_t n_bytes, bool *is_control)
{
    (void)context;
    *is_control = false;
    uint32_t hash = (uint32_t)n_bytes;
    for (size_t i = 0; i < n_bytes; i++)
        hash = hash * 31 + (unsigned char)text[i];
    return (int32_t)(TOKEN_FIRST + hash % 100000000);
}

static void open_reply(struct reply **reply, struct reply_format *format,
                       struct reply_tools **tools, const struct reply_case *c, bool tokens)
{
    assert_true(reply_format_named(format, c->format));
    if (tokens)
        reply_format_resolve(format, find_token, NULL);
    if (c->flags & SET_BARE)
        reply_format_set_bare(format);
    assert_int_equal(reply_tools_create(tools, TOOLS, NULL), OK);
    struct reply_options options = {
        .format = format,
        .tools = c->flags & NO_TOOLS ? NULL : *tools,
        .is_thinking = c->flags & THINKING,
        .one_call = c->flags & ONE_CALL,
    };
    assert_int_equal(reply_create(reply, &options, NULL), OK);
}

/* Appends what has come out; parts of one kind join. `last` is the kind of the part that is open
 * in `out`, 0 = none. */
static void take(struct reply *reply, struct buf *out, uint32_t *last)
{
    size_t n_parts;
    const char *text;
    const struct reply_part *parts = reply_parts(reply, &n_parts, &text);
    for (size_t i = 0; i < n_parts; i++) {
        uint32_t kind = 1 + 8 * parts[i].call + (uint32_t)parts[i].type;
        size_t n = parts[i].n_bytes - parts[i].id_bytes;
        assert_true(parts[i].n_bytes > 0);
        if (kind != *last || parts[i].type == REPLY_CALL) {
            if (*last)
                buf_append_char(out, ']');
            buf_append_char(out, "CRTA"[parts[i].type]);
            if (parts[i].type == REPLY_CALL || parts[i].type == REPLY_ARGUMENTS)
                buf_printf(out, "%u", (unsigned)parts[i].call);
            buf_append_char(out, '[');
        }
        *last = kind;
        buf_append(out, text, n);
        if (parts[i].id_bytes > 0) {
            buf_append_text(out, "]I[");
            buf_append(out, text + n, parts[i].id_bytes);
        }
        text += parts[i].n_bytes;
    }
    reply_taken(reply);
}

/* Bit i of `cuts`: a cut behind byte i (all further ones from bit 63 on). */
static char *run(const struct reply_case *c, const uint64_t cuts[16])
{
    struct reply *reply;
    struct reply_format format;
    struct reply_tools *tools;
    struct buf out;
    uint32_t last = 0;
    size_t n = strlen(c->text), from = 0;
    open_reply(&reply, &format, &tools, c, false);
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && !(cuts[i / 64 % 16] >> i % 64 & 1))
            continue;
        assert_true(reply_push(reply, c->text + from, i + 1 - from));
        from = i + 1;
        take(reply, &out, &last);
    }
    assert_true(reply_finish(reply, c->flags & CUT));
    take(reply, &out, &last);
    assert_int_equal(reply_held(reply), 0);
    if (last)
        buf_append_char(&out, ']');
    reply_free(reply);
    reply_tools_free(tools);
    char *text = buf_detach(&out);
    return text ? text : mem_strdup("");
}

/* The same with each marker as one token. */
static char *run_tokens(const struct reply_case *c)
{
    struct reply *reply;
    struct reply_format format;
    struct reply_tools *tools;
    struct buf out;
    uint32_t last = 0;
    open_reply(&reply, &format, &tools, c, true);
    buf_init(&out, 1 << 20);
    for (const char *at = c->text; *at;) {
        size_t longest = 0;
        int mark = -1;
        for (int i = 0; i < REPLY_MARKERS; i++) {
            const struct reply_marker *marker = &format.markers[i];
            if (marker->text && marker->n_bytes > longest &&
                strncmp(at, marker->text, marker->n_bytes) == 0) {
                mark = i;
                longest = marker->n_bytes;
            }
        }
        if (mark >= 0) {
            assert_int_equal(reply_find_marker(&format, format.markers[mark].id), mark);
            assert_true(reply_push_marker(reply, (size_t)mark));
        } else {
            longest = 1;
            assert_true(reply_push(reply, at, 1));
        }
        at += longest;
        take(reply, &out, &last);
    }
    assert_true(reply_finish(reply, c->flags & CUT));
    take(reply, &out, &last);
    if (last)
        buf_append_char(&out, ']');
    reply_free(reply);
    reply_tools_free(tools);
    char *text = buf_detach(&out);
    return text ? text : mem_strdup("");
}

/* Without memory a push fails, and nothing else happens. */
static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    size_t n_failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (uint64_t nth = 1; nth < 200; nth++) {
            struct reply_format format;
            struct reply_tools *tools;
            struct reply *reply;
            assert_true(reply_format_named(&format, cases[i].format));
            assert_int_equal(reply_tools_create(&tools, TOOLS, NULL), OK);
            struct reply_options options = {.format = &format, .tools = tools};
            mem_fault_set(nth, false);
            bool done = reply_create(&reply, &options, NULL) == OK;
            for (const char *at = cases[i].text; done && *at; at++)
                done = reply_push(reply, at, 1);
            done = done && reply_finish(reply, false);
            uint64_t n_allocations = mem_fault_count();
            mem_fault_set(0, false);
            assert_int_equal(done, n_allocations < nth);
            n_failed += !done;
            reply_free(reply);
            reply_tools_free(tools);
            if (done)
                break;
        }
    }
    assert_true(n_failed > 300);
}

/* An answer in JSON goes out as it comes, although it might have been a call. */
static void test_json_answer_streams(void **state)
{
    (void)state;
    static const struct reply_case answer = {"generic", 0, "", ""};
    struct reply *reply;
    struct reply_format format;
    struct reply_tools *tools;
    struct buf out;
    uint32_t last = 0;
    open_reply(&reply, &format, &tools, &answer, false);
    buf_init(&out, 1000);
    assert_true(reply_push(reply, "{\"answer\"", 9));
    take(reply, &out, &last);
    assert_string_equal(out.bytes, "C[{\"answer\"");
    buf_release(&out);
    reply_free(reply);
    reply_tools_free(tools);
}

static void expect(const struct reply_case *c, char *got, const char *how)
{
    if (strcmp(got, c->expected) != 0)
        print_error("%s, %s: %s\n expected %s\n got      %s\n", c->format, how, c->text,
                    c->expected, got);
    assert_string_equal(got, c->expected);
    mem_free(got);
}

static void test_cases(void **state)
{
    (void)state;
    static const uint64_t none[16];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(&cases[i], run(&cases[i], none), "whole");
}

static void test_tokens(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(&cases[i], run_tokens(&cases[i]), "tokens");
}

static void test_every_cut(void **state)
{
    (void)state;
    uint32_t draw = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t cuts[16];
        size_t n = strlen(cases[i].text);
        assert_true(n < 1024);
        memset(cuts, 0xff, sizeof cuts);
        expect(&cases[i], run(&cases[i], cuts), "every byte");
        for (size_t at = 0; at < n; at++) {
            memset(cuts, 0, sizeof cuts);
            cuts[at / 64] |= UINT64_C(1) << at % 64;
            expect(&cases[i], run(&cases[i], cuts), "one cut");
        }
        for (int round = 0; round < 20; round++) {
            for (size_t w = 0; w < 16; w++)
                cuts[w] = rng_bits(3, 0, 0, draw) & rng_bits(4, 0, 0, draw), draw++;
            expect(&cases[i], run(&cases[i], cuts), "random cuts");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_json_answer_streams),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
