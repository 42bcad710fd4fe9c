/* Finding out what a template can take, by rendering small conversations when it is opened.
 *
 * Templates do not say what they expect: some want the arguments of a tool call as an object,
 * others concatenate a string; some refuse a system message, some drop it. Each probe renders a
 * conversation made of words that occur nowhere else and looks whether they come out. A render that
 * fails is the answer "no", unless memory ran out. All probes run on the messages as they are, with
 * every kind of adaptation switched off, or with those switched on that earlier probes have
 * settled. */
#include "engine/template/chat_prompt_internal.h"

#define USER "{\"role\":\"user\",\"content\":\"PROBEASK\"}"
#define CALL(id, name)                                                                             \
    "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name                      \
    "\",\"arguments\":%s}}"
#define CALL_HEAD                                                                                  \
    "{\"role\":\"assistant\",\"content\":%s,\"tool_calls\":[" CALL("call00001",                    \
                                                                   "probefunction") "]}"
#define RESULT                                                                                     \
    "{\"role\":\"tool\",\"tool_call_id\":\"call00001\",\"name\":\"probefunction\","                \
    "\"content\":\"PROBERESULT\"}"
#define OBJECT "{\"probekey\":\"probevalue\"}"
#define STRING "\"{\\\"probekey\\\": \\\"probevalue\\\"}\""
#define TOOLS                                                                                      \
    "[{\"type\":\"function\",\"function\":{\"name\":\"probefunction\",\"description\":"            \
    "\"PROBEDOC\","                                                                                \
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"probekey\":{\"type\":\"string\","       \
    "\"description\":\"d\"}},\"required\":[\"probekey\"]}}}]"

/* A probe takes a few thousand steps; a hostile template must not hold up the opening for long. */
enum { PROBE_BYTES_MAX = 1024, PROBE_STEPS_MAX = 200000 };

/* One conversation: rendered or refused, and its text. */
struct probe {
    struct chat_prompt *prompt;
    struct chat_prompt_output out;
    bool rendered;
    enum status status;  // ERR_MEMORY ends the probing
};

static bool probe_run_with(struct probe *probe, const char *messages, const char *tools,
                           const char *variables)
{
    struct error err = {0};
    struct chat_prompt_input input = {.messages_json = messages,
                                      .tools_json = tools,
                                      .variables_json = variables,
                                      .add_generation_prompt = variables != NULL,
                                      .now_unix_s = 1700000000};
    chat_prompt_output_release(&probe->out);
    probe->rendered = false;
    if (probe->status != OK)
        return false;
    enum status status =
        chat_prompt_render_within(probe->prompt, &input, PROBE_STEPS_MAX, &probe->out, &err);
    if (status == ERR_MEMORY)
        probe->status = status;
    probe->rendered = status == OK;
    return probe->rendered;
}

static bool probe_run(struct probe *probe, const char *messages, const char *tools)
{
    return probe_run_with(probe, messages, tools, NULL);
}

static bool shows(const struct probe *probe, const char *word)
{
    return probe->rendered && probe->out.text.bytes && strstr(probe->out.text.bytes, word);
}

/* The same with one printf argument list for the assistant's call; `tail` follows it. */
static bool probe_call(struct probe *probe, const char *content, const char *arguments,
                       const char *tail)
{
    char messages[PROBE_BYTES_MAX];
    snprintf(messages, sizeof messages, "[" USER "," CALL_HEAD "%s]", content, arguments, tail);
    return probe_run(probe, messages, TOOLS);
}

/* Content as a string, as an array of parts. */
static void probe_content(struct probe *probe, struct chat_prompt_info *info)
{
    bool text = probe_run(probe, "[" USER "]", NULL) && shows(probe, "PROBEASK");
    bool parts = probe_run(probe,
                           "[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                           "\"text\":\"PROBEPART\"}]}]",
                           NULL) &&
                 shows(probe, "PROBEPART") && !shows(probe, "'type'") && !shows(probe, "\"type\"");
    info->content_parts = parts;
    info->content_needs_parts = parts && !text;
}

static void probe_roles(struct probe *probe, struct chat_prompt_info *info)
{
    info->system_role = true;
    bool asks = probe_run(probe, "[" USER "]", NULL);
    bool system =
        probe_run(probe, "[{\"role\":\"system\",\"content\":\"PROBESYSTEM\"}," USER "]", NULL) &&
        shows(probe, "PROBESYSTEM");
    info->system_role = system || !asks;  // a template that refuses both tells nothing
    info->developer_role = true;
    info->developer_role =
        jinja_mentions(probe->prompt->code, "developer") &&
        probe_run(probe, "[{\"role\":\"developer\",\"content\":\"PROBEDEVELOPER\"}," USER "]",
                  NULL) &&
        shows(probe, "PROBEDEVELOPER");
}

/* Good: the key came out, and neither within a string literal nor as Python prints a dict. */
static bool arguments_shown(const struct probe *probe)
{
    return shows(probe, "probekey") && !shows(probe, "\\\"probekey") && !shows(probe, "'probekey'");
}

static void probe_calls(struct probe *probe, struct chat_prompt_info *info)
{
    /* Some templates take calls only with empty content, some only with null. */
    static const char *const contents[] = {"\"\"", "null"};
    bool object = false, string = false, object_renders = false, string_renders = false;
    info->null_with_calls = true;
    for (size_t i = 0; i < 2; i++) {
        info->arguments_text = false;
        object_renders = probe_call(probe, contents[i], OBJECT, "") || object_renders;
        object = arguments_shown(probe) || object;
        info->arguments_text = true;
        string_renders = probe_call(probe, contents[i], STRING, "") || string_renders;
        string = arguments_shown(probe) || string;
    }
    info->arguments_text = !object && (string || (string_renders && !object_renders));
    info->tool_calls = object || string;
    const char *arguments = info->arguments_text ? STRING : OBJECT;

    bool empty = probe_call(probe, "\"\"", arguments, "");
    bool none = shows(probe, "None");  // whatever prints that, it is not the content
    info->null_with_calls =
        probe_call(probe, "null", arguments, "") && (none || !shows(probe, "None"));

    info->tool_role = true;
    const char *content = empty ? "\"\"" : "null";
    bool calls = probe_call(probe, content, arguments, "");
    bool result = probe_call(probe, content, arguments, "," RESULT) && shows(probe, "PROBERESULT");
    if (!calls)
        result = probe_run(probe, "[" USER "," RESULT "]", NULL) && shows(probe, "PROBERESULT");
    info->tool_role = result;
}

/* What only matters where calls are shown. */
static void probe_call_details(struct probe *probe, struct chat_prompt_info *info)
{
    const char *arguments = info->arguments_text ? STRING : OBJECT;
    char messages[PROBE_BYTES_MAX];
    static const char *const contents[] = {"\"\"", "null"};
    const char *content = contents[0];
    info->parallel_calls = info->reasoning_beside_content = true;
    if (!info->tool_calls)
        return;
    if (!probe_call(probe, content, arguments, "") || !shows(probe, "probekey")) {
        content = contents[1];
        info->calls_need_null =
            probe_call(probe, content, arguments, "") && shows(probe, "probekey");
    }
    snprintf(messages, sizeof messages,
             "[" USER ",{\"role\":\"assistant\",\"content\":%s,\"tool_calls\":[" CALL(
                 "call00001", "probefunction") "," CALL("call00002", "probesecond") "]}]",
             content, arguments, arguments);
    info->parallel_calls = probe_run(probe, messages, TOOLS) && shows(probe, "probefunction") &&
                           shows(probe, "probesecond");
    snprintf(messages, sizeof messages,
             "[" USER ",{\"role\":\"assistant\",\"content\":%s,\"tool_calls\":[" CALL(
                 "call_0123456789", "probefunction") "]},"
                                                     "{\"role\":\"tool\",\"tool_call_id\":\"call_"
                                                     "0123456789\",\"content\":\"x\"}]",
             content, arguments);
    bool any_id = probe_run(probe, messages, TOOLS);
    info->short_ids = !any_id && probe_call(probe, content, arguments, "," RESULT);
    snprintf(messages, sizeof messages,
             "[" USER ",{\"role\":\"assistant\",\"content\":\"PROBECONTENT\",\"reasoning_content\":"
             "\"PROBETHOUGHT\",\"tool_calls\":[" CALL("call00001", "probefunction") "]}]",
             arguments);
    bool both = probe_run(probe, messages, TOOLS);
    info->reasoning_beside_content = both || !probe_call(probe, "\"a\"", arguments, "");
}

/* The prompt is another one under the second set of variables. */
static bool probe_differs(struct probe *probe, const char *one, const char *other)
{
    static const char messages[] = "[" USER "]";
    if (!probe_run_with(probe, messages, NULL, one) || !probe->out.text.bytes)
        return false;
    char *first = mem_strdup(probe->out.text.bytes);
    if (!first) {
        probe->status = ERR_MEMORY;
        return false;
    }
    bool differs = probe_run_with(probe, messages, NULL, other) && probe->out.text.bytes &&
                   strcmp(first, probe->out.text.bytes) != 0;
    mem_free(first);
    return differs;
}

static void probe_variables(struct probe *probe, struct chat_prompt_info *info)
{
    info->thinking_switch = probe_differs(probe, "{\"enable_thinking\":true,\"thinking\":true}",
                                          "{\"enable_thinking\":false,\"thinking\":false}");
    info->reasoning_effort =
        probe_differs(probe, "{\"reasoning_effort\":\"low\"}", "{\"reasoning_effort\":\"high\"}");
}

static void probe_rest(struct probe *probe, struct chat_prompt_info *info)
{
    info->null_without_calls = true;
    info->null_without_calls =
        probe_run(probe, "[" USER ",{\"role\":\"assistant\",\"content\":null}," USER "]", NULL) &&
        !shows(probe, "None");
    info->tools = probe_run(probe, "[" USER "]", TOOLS) && shows(probe, "probefunction");
}

/* The format is told by the template's text; a probe must not describe tools by itself. */
static enum status detect_format(struct chat_prompt *prompt, const char *source, size_t n_bytes,
                                 struct error *err)
{
    char *text = mem_memdup0(source, n_bytes);
    if (!text)
        return error_set(err, ERR_MEMORY, "chat template: out of memory");
    reply_format_detect(&prompt->reply, text, prompt->info.tools, prompt->info.tool_calls);
    mem_free(text);
    return OK;
}

enum status chat_probe(struct chat_prompt *prompt, const char *source, size_t n_bytes,
                       struct error *err)
{
    struct probe probe = {.prompt = prompt};
    struct chat_prompt_info *info = &prompt->info;
    *info = (struct chat_prompt_info){.system_role = true,
                                      .tool_role = true,
                                      .content_parts = true,
                                      .arguments_text = true,
                                      .parallel_calls = true,
                                      .reasoning_beside_content = true};
    probe_content(&probe, info);
    probe_roles(&probe, info);
    probe_calls(&probe, info);
    probe_rest(&probe, info);
    probe_call_details(&probe, info);
    probe_variables(&probe, info);
    chat_prompt_output_release(&probe.out);
    if (probe.status != OK)
        return error_set(err, probe.status, "chat template: out of memory");
    return detect_format(prompt, source, n_bytes, err);
}
