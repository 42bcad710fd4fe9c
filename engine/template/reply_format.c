/* Which format a model's replies have, told by the text of its chat template.
 *
 * One table, the most telling words first: the first row whose words all stand in the template is
 * the format. A marker that is a token of the model's vocabulary is matched by its id from then on;
 * any other as text. A template that shows tools in a way that no row knows gets the generic
 * format: the tools are then described in the system text (chat_messages.c), and the model is asked
 * to answer as Hermes models do. reference: the templates of the models themselves. */
#include <string.h>

#include "engine/template/reply_internal.h"

#define DEEPSEEK_CALLS                                                                             \
    [MARK_CALLS_OPEN] = "<｜tool▁calls▁begin｜>", [MARK_CALLS_CLOSE] = "<｜tool▁calls▁end｜>",     \
    [MARK_CALL_OPEN] = "<｜tool▁call▁begin｜>", [MARK_CALL_CLOSE] = "<｜tool▁call▁end｜>",         \
    [MARK_HEAD_CLOSE] = "<｜tool▁sep｜>"
#define THINK     [MARK_THINK_OPEN] = "<think>", [MARK_THINK_CLOSE] = "</think>"
#define TOOL_CALL [MARK_CALL_OPEN] = "<tool_call>", [MARK_CALL_CLOSE] = "</tool_call>"
#define DSML_TAGS(calls)                                                                           \
    [MARK_CALLS_OPEN] = "<｜DSML｜" calls ">", [MARK_CALLS_CLOSE] = "</｜DSML｜" calls ">",        \
    [MARK_FUNCTION_OPEN] = "<｜DSML｜invoke name=\"", [MARK_FUNCTION_CLOSE] = "</｜DSML｜invoke>", \
    [MARK_KEY_OPEN] = "<｜DSML｜parameter name=\"", [MARK_VALUE_CLOSE] = "</｜DSML｜parameter>"

static const char stop_think[] = "\n</think>\n\n";

/* A row without `words` is chosen by name only. */
static const struct format_row {
    const char *name;
    enum reply_kind kind;
    const char *words[3];  // all stand in the template
    const char *without;   // and this does not
    bool bare, value_lines, typed_head;
    const char *stop_thinking;
    const char *how_to_call;
    const char *markers[REPLY_MARKERS];
} rows[] = {
    {.name = "harmony",
     .kind = REPLY_HARMONY,
     .words = {"<|channel|>", "<|message|>"},
     .stop_thinking = "<|end|><|start|>assistant<|channel|>final<|message|>",
     .markers = {[MARK_START] = "<|start|>",
                 [MARK_CHANNEL] = "<|channel|>",
                 [MARK_CONSTRAIN] = "<|constrain|>",
                 [MARK_MESSAGE] = "<|message|>",
                 [MARK_END] = "<|end|>",
                 [MARK_CALL] = "<|call|>",
                 [MARK_RETURN] = "<|return|>"}},
    {.name = "deepseek-v4",
     .kind = REPLY_XML,
     .words = {"｜DSML｜", "tool_calls>"},
     .without = "function_calls>",
     .stop_thinking = stop_think,
     .markers = {THINK, DSML_TAGS("tool_calls")}},
    {.name = "deepseek-v3.2",
     .kind = REPLY_XML,
     .words = {"｜DSML｜"},
     .stop_thinking = stop_think,
     .markers = {THINK, DSML_TAGS("function_calls")}},
    {.name = "deepseek-v3",
     .kind = REPLY_NAMED,
     .words = {"<｜tool▁call▁begin｜>", "```json"},
     .typed_head = true,
     .stop_thinking = stop_think,
     .how_to_call =
         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>FUNCTION_NAME\n"
         "```json\n{\"PARAMETER\": VALUE}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     .markers = {THINK, DEEPSEEK_CALLS}},
    {.name = "deepseek-v3.1",
     .kind = REPLY_NAMED,
     .words = {"<｜tool▁call▁begin｜>"},
     .stop_thinking = stop_think,
     .how_to_call = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>FUNCTION_NAME<｜tool▁sep｜>"
                    "{\"PARAMETER\": VALUE}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     .markers = {THINK, DEEPSEEK_CALLS}},
    {.name = "kimi-k2",
     .kind = REPLY_NAMED,
     .words = {"<|tool_calls_section_begin|>"},
     .stop_thinking = stop_think,
     .markers = {THINK, [MARK_CALLS_OPEN] = "<|tool_calls_section_begin|>",
                 [MARK_CALLS_CLOSE] = "<|tool_calls_section_end|>",
                 [MARK_CALL_OPEN] = "<|tool_call_begin|>", [MARK_CALL_CLOSE] = "<|tool_call_end|>",
                 [MARK_HEAD_CLOSE] = "<|tool_call_argument_begin|>"}},
    {.name = "mistral",
     .kind = REPLY_NAMED,
     .words = {"[TOOL_CALLS]", "[ARGS]"},
     .stop_thinking = "[/THINK]",
     .markers = {[MARK_THINK_OPEN] = "[THINK]",
                 [MARK_THINK_CLOSE] = "[/THINK]",
                 [MARK_CALL_OPEN] = "[TOOL_CALLS]",
                 [MARK_ID] = "[CALL_ID]",
                 [MARK_HEAD_CLOSE] = "[ARGS]"}},
    {.name = "mistral-array",
     .kind = REPLY_TAGGED,
     .words = {"[TOOL_CALLS]"},
     .stop_thinking = "[/THINK]",
     .markers = {[MARK_THINK_OPEN] = "[THINK]",
                 [MARK_THINK_CLOSE] = "[/THINK]",
                 [MARK_CALLS_OPEN] = "[TOOL_CALLS]"}},
    {.name = "qwen-xml",
     .kind = REPLY_XML,
     .words = {"<tool_call>", "<function=", "<parameter="},
     .value_lines = true,
     .stop_thinking = stop_think,
     .markers =
         {THINK,
          TOOL_CALL, [MARK_FUNCTION_OPEN] = "<function=", [MARK_FUNCTION_CLOSE] = "</function>",
          [MARK_KEY_OPEN] = "<parameter=", [MARK_VALUE_CLOSE] = "</parameter>"}},
    {.name = "glm",
     .kind = REPLY_XML,
     .words = {"<tool_call>", "<arg_key>", "<arg_value>"},
     .stop_thinking = stop_think,
     .markers = {THINK, TOOL_CALL, [MARK_KEY_OPEN] = "<arg_key>", [MARK_KEY_CLOSE] = "</arg_key>",
                 [MARK_VALUE_OPEN] = "<arg_value>", [MARK_VALUE_CLOSE] = "</arg_value>"}},
    {.name = "seed-oss",
     .kind = REPLY_XML,
     .words = {"<seed:tool_call>", "<function=", "<parameter="},
     .stop_thinking = "\n</seed:think>\n\n",
     .markers = {[MARK_THINK_OPEN] = "<seed:think>",
                 [MARK_THINK_CLOSE] = "</seed:think>",
                 [MARK_CALL_OPEN] = "<seed:tool_call>",
                 [MARK_CALL_CLOSE] = "</seed:tool_call>",
                 [MARK_FUNCTION_OPEN] = "<function=",
                 [MARK_FUNCTION_CLOSE] = "</function>",
                 [MARK_KEY_OPEN] = "<parameter=",
                 [MARK_VALUE_CLOSE] = "</parameter>"}},
    {.name = "minimax-m2",
     .kind = REPLY_XML,
     .words = {"<minimax:tool_call>", "<invoke name="},
     .stop_thinking = stop_think,
     .markers = {THINK, [MARK_CALLS_OPEN] = "<minimax:tool_call>",
                 [MARK_CALLS_CLOSE] = "</minimax:tool_call>",
                 [MARK_FUNCTION_OPEN] = "<invoke name=\"", [MARK_FUNCTION_CLOSE] = "</invoke>",
                 [MARK_KEY_OPEN] = "<parameter name=\"", [MARK_VALUE_CLOSE] = "</parameter>"}},
    {.name = "nemotron-v2",
     .kind = REPLY_TAGGED,
     .words = {"<TOOLCALL>", "</TOOLCALL>"},
     .stop_thinking = stop_think,
     .markers = {THINK, [MARK_CALL_OPEN] = "<TOOLCALL>", [MARK_CALL_CLOSE] = "</TOOLCALL>"}},
    {.name = "apriel",
     .kind = REPLY_TAGGED,
     .words = {"<tool_calls>[", "]</tool_calls>", "arguments"},
     .stop_thinking = stop_think,
     .markers = {THINK, [MARK_CALL_OPEN] = "<tool_calls>", [MARK_CALL_CLOSE] = "</tool_calls>"}},
    {.name = "hermes",
     .kind = REPLY_TAGGED,
     .words = {"<tool_call>", "</tool_call>", "arguments"},
     .without = "<invoke name=",
     .bare = true,
     .stop_thinking = stop_think,
     .markers = {THINK, TOOL_CALL}},
    {.name = "llama3",
     .kind = REPLY_TAGGED,
     .words = {"<|start_header_id|>", "\"parameters\": "},
     .without = "<function=",
     .bare = true,
     .stop_thinking = stop_think,
     .markers = {THINK, [MARK_CALL_OPEN] = "<|python_tag|>"}},
};

/* What is asked of a model whose template knows no tools; chat_messages.c has the words. */
static const struct format_row generic = {
    .name = "generic",
    .kind = REPLY_TAGGED,
    .bare = true,
    .stop_thinking = stop_think,
    .how_to_call =
        "<tool_call>\n{\"name\": \"FUNCTION_NAME\", \"arguments\": {\"PARAMETER\": VALUE}}\n"
        "</tool_call>",
    .markers = {THINK, TOOL_CALL},
};

static const struct format_row *const thought_tags =
    &(const struct format_row){.stop_thinking = "\n<|end_of_thought|>\n\n<|begin_of_solution|>\n",
                               .markers = {[MARK_THINK_OPEN] = "<|begin_of_thought|>",
                                           [MARK_THINK_CLOSE] = "<|end_of_thought|>",
                                           [MARK_ANSWER_OPEN] = "<|begin_of_solution|>",
                                           [MARK_ANSWER_CLOSE] = "<|end_of_solution|>"}};

static void fill(struct reply_format *format, const struct format_row *row)
{
    *format = (struct reply_format){
        .name = row->name,
        .kind = row->kind,
        .bare = row->bare,
        .value_lines = row->value_lines,
        .typed_head = row->typed_head,
        .thinks = row->kind == REPLY_HARMONY,
        .stop_thinking = row->stop_thinking,
        .how_to_call = row->how_to_call,
        .rewrite_calls = row == &generic,
    };
    for (size_t i = 0; i < REPLY_MARKERS; i++) {
        struct reply_marker *marker = &format->markers[i];
        marker->id = -1;
        marker->text = row->markers[i];
        marker->n_bytes = marker->text ? strlen(marker->text) : 0;
    }
}

static const struct format_row *find_row(const char *template_text)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool all = !rows[i].without || !strstr(template_text, rows[i].without);
        for (size_t w = 0; w < 3 && rows[i].words[w]; w++)
            all = all && strstr(template_text, rows[i].words[w]);
        if (all)
            return &rows[i];
    }
    return &generic;
}

void reply_format_detect(struct reply_format *format, const char *template_text, bool shows_tools,
                         bool shows_calls)
{
    const struct format_row *row = find_row(template_text), *calls = row;
    // DeepSeek's templates write calls but declare no tools: then they are declared here.
    if (!shows_tools && row->kind != REPLY_HARMONY && !(row->how_to_call && shows_calls))
        calls = &generic;
    fill(format, calls);
    if (shows_tools && calls != &generic)
        format->how_to_call = NULL;
    if (row != calls) {
        format->stop_thinking = row->stop_thinking;
        for (size_t i = MARK_THINK_OPEN; i <= MARK_ANSWER_CLOSE; i++) {
            const char *text = row->markers[i];
            format->markers[i] = (struct reply_marker){text, text ? strlen(text) : 0, -1, false};
        }
    }
    for (size_t i = MARK_THINK_OPEN; i <= MARK_THINK_CLOSE && !format->thinks; i++)
        format->thinks =
            format->markers[i].text && strstr(template_text, format->markers[i].text) != NULL;
}

void reply_format_resolve(struct reply_format *format, reply_find_token_fn *find, void *context)
{
    for (size_t i = 0; i < REPLY_MARKERS; i++) {
        struct reply_marker *marker = &format->markers[i];
        if (!marker->text)
            continue;
        marker->id = find(context, marker->text, marker->n_bytes, &marker->is_control);
        if (i == MARK_THINK_OPEN && marker->id >= 0 && format->kind != REPLY_HARMONY)
            format->thinks = true;
    }
    if (format->thinks)
        return;
    format->stop_thinking = NULL;
    format->markers[MARK_THINK_OPEN] = format->markers[MARK_THINK_CLOSE] =
        (struct reply_marker){.id = -1};
}

bool reply_format_named(struct reply_format *format, const char *name)
{
    const struct format_row *found = strcmp(name, generic.name) == 0 ? &generic : NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0)
            found = &rows[i];
    if (!found)
        return false;
    fill(format, found);
    format->thinks = true;
    return true;
}

void reply_format_add_thought_tags(struct reply_format *format)
{
    if (format->kind == REPLY_HARMONY)
        return;
    for (size_t i = MARK_THINK_OPEN; i <= MARK_ANSWER_CLOSE; i++) {
        const char *text = thought_tags->markers[i];
        format->markers[i] = (struct reply_marker){.text = text, .n_bytes = strlen(text), .id = -1};
    }
    format->thinks = true;
    format->stop_thinking = thought_tags->stop_thinking;
}

const char *reply_format_thought_end(const struct reply_format *format)
{
    bool is_tagged = format->kind != REPLY_HARMONY;  // there a thought is a message of its own
    return format->thinks && is_tagged ? format->markers[MARK_THINK_CLOSE].text : NULL;
}

bool reply_format_call_markers(const struct reply_format *format, const char **open,
                               const char **close, const char **thought_open,
                               const char **thought_close)
{
    const struct reply_marker *markers = format->markers;
    bool is_list = markers[MARK_CALL_OPEN].text == NULL;
    *open = markers[is_list ? MARK_CALLS_OPEN : MARK_CALL_OPEN].text;
    *close = is_list ? NULL : markers[MARK_CALL_CLOSE].text;
    bool thinks = format->thinks && markers[MARK_THINK_CLOSE].text != NULL;
    *thought_open = thinks ? markers[MARK_THINK_OPEN].text : NULL;
    *thought_close = thinks ? markers[MARK_THINK_CLOSE].text : NULL;
    return format->name != NULL && format->kind == REPLY_TAGGED && *open != NULL;
}

void reply_format_set_bare(struct reply_format *format)
{
    bool has_tags = format->kind != REPLY_HARMONY;
    for (size_t i = has_tags ? MARK_CALLS_OPEN : 0; i < REPLY_MARKERS; i++)
        format->markers[i] = (struct reply_marker){.id = -1};
    format->kind = REPLY_TAGGED;
    format->bare = true;
    format->thinks = format->thinks && has_tags;
}

bool reply_prompt_is_thinking(const struct reply_format *format, const char *prompt, size_t n_bytes)
{
    const struct reply_marker *open = &format->markers[MARK_THINK_OPEN];
    if (!format->thinks || !open->text || format->kind == REPLY_HARMONY)
        return false;
    while (n_bytes > 0 && reply_is_blank(prompt[n_bytes - 1]))
        n_bytes--;
    return n_bytes >= open->n_bytes &&
           memcmp(prompt + n_bytes - open->n_bytes, open->text, open->n_bytes) == 0;
}

int reply_find_marker(const struct reply_format *format, int32_t token)
{
    for (int i = 0; i < REPLY_MARKERS; i++)
        if (format->markers[i].text && format->markers[i].id == token)
            return i;
    return -1;
}
