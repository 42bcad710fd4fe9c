/* Documents made from the parameter table; see params_document.h.
 *
 * A refused field's schema is the list of values that change nothing, so that a body that fits the
 * schema is not refused for it. null fits everywhere, as in params.c.
 *
 * Which peer takes a field is said by their own documents (2026): llama.cpp's server README, vLLM's
 * OpenAI-compatible server, Ollama's OpenAI compatibility page. */
#include "server/params_document.h"

#include <inttypes.h>

static const char *const type_names[] = {"boolean", "integer", "number",
                                         "string",  "array",   "object"};

enum { N_TYPES = sizeof type_names / sizeof type_names[0] };

static void write_string(struct buf *out, const char *text)
{
    buf_append_json(out, text, strlen(text));
}

/* ---- JSON schema ---- */

static void write_types(struct buf *out, unsigned types)
{
    buf_append_text(out, "\"type\":[");
    for (size_t i = 0; i < N_TYPES; i++)
        if (types & 1u << i)
            buf_printf(out, "\"%s\",", type_names[i]);
    buf_append_text(out, "\"null\"]");
}

static void write_number(struct buf *out, const struct param *param)
{
    if (param->types == TYPE_BOOL) {
        buf_printf(out, ",\"default\":%s", param->default_number != 0 ? "true" : "false");
        return;
    }
    if (param->min <= param->max) {
        buf_printf(out, ",\"%s\":%.10g,\"maximum\":%.10g",
                   param->min_excluded ? "exclusiveMinimum" : "minimum", param->min, param->max);
    }
    // A default outside of the range stands for "not given".
    if (param->default_number >= param->min && param->default_number <= param->max)
        buf_printf(out, ",\"default\":%.10g", param->default_number);
}

static void write_neutral(struct buf *out, const char *neutral)
{
    buf_append_text(out, "\"enum\":[");
    for (const char *at = neutral; at && *at;) {
        size_t n = strcspn(at, "|");
        buf_append(out, at, n);
        buf_append_char(out, ',');
        at += n + (at[n] == '|');
    }
    buf_append_text(out, "null]");
}

static void write_property(struct buf *out, const struct param *param)
{
    static const char *const kinds[] = {"honoured", "refused", "ignored"};
    write_string(out, param->name);
    buf_append_text(out, ":{");
    if (param->kind == PARAM_REFUSED)
        write_neutral(out, param->neutral);
    else if (param->schema)
        buf_printf(out, "\"anyOf\":[%s,{\"type\":\"null\"}]", param->schema);
    else
        write_types(out, param->types);
    if (param->kind == PARAM_HONOURED && !param->is_node)
        write_number(out, param);
    buf_append_text(out, ",\"description\":");
    write_string(out, param->note);
    buf_printf(out, ",\"x-status\":\"%s\"}", kinds[param->kind]);
}

void params_write_schema(struct buf *out, enum endpoint endpoint)
{
    size_t n_params;
    const struct param *table = params_table(&n_params);
    const char *comma = "";
    buf_append_text(out, "{\"type\":\"object\",\"properties\":{");
    for (size_t i = 0; i < n_params; i++) {
        if (!(table[i].endpoints & (unsigned)endpoint))
            continue;
        buf_append_text(out, comma);
        write_property(out, &table[i]);
        comma = ",";
    }
    buf_append_char(out, '}');
    if (endpoint == ENDPOINT_CHAT)
        buf_append_text(out, ",\"required\":[\"messages\"]");
    else if (endpoint == ENDPOINT_COMPLETIONS)
        buf_append_text(out, ",\"required\":[\"prompt\"]");
    else if (endpoint == ENDPOINT_DETOKENIZE)
        buf_append_text(out, ",\"required\":[\"tokens\"]");
    buf_append_char(out, '}');
}

/* ---- Markdown ---- */

/* llama.cpp, vLLM, Ollama: y, n, p = partly or under another name. */
static const char *peers_of(const char *name)
{
    static const struct {
        const char *name, *peers;
    } known[] = {
        {"model", "yyy"},
        {"messages", "yyy"},
        {"prompt", "yyp"},
        {"stream", "yyy"},
        {"stream_options", "yyy"},
        {"n", "yyn"},
        {"max_tokens", "yyy"},
        {"max_completion_tokens", "yyn"},
        {"temperature", "yyy"},
        {"top_p", "yyy"},
        {"top_k", "yyn"},
        {"min_p", "yyn"},
        {"presence_penalty", "yyy"},
        {"frequency_penalty", "yyy"},
        {"repetition_penalty", "pyn"},
        {"repeat_penalty", "ypn"},
        {"repeat_last_n", "ynn"},
        {"dry_multiplier", "ynn"},
        {"dry_base", "ynn"},
        {"dry_allowed_length", "ynn"},
        {"dry_penalty_last_n", "ynn"},
        {"dry_sequence_breakers", "ynn"},
        {"typical_p", "ynn"},
        {"top_n_sigma", "ynn"},
        {"xtc_probability", "ynn"},
        {"xtc_threshold", "ynn"},
        {"min_tokens", "pyn"},
        {"ignore_eos", "yyn"},
        {"speculation", "pnn"},
        {"seed", "yyy"},
        {"stop", "yyy"},
        {"stop_token_ids", "nyn"},
        {"include_stop_str_in_output", "nyn"},
        {"logit_bias", "yyn"},
        {"bad_words", "nyn"},
        {"allowed_token_ids", "nyn"},
        {"logprobs", "yyy"},
        {"top_logprobs", "yyy"},
        {"prompt_logprobs", "nyn"},
        {"echo", "nyn"},
        {"suffix", "pny"},
        {"return_token_ids", "pyn"},
        {"return_progress", "ynn"},
        {"continue_final_message", "pyn"},
        {"add_generation_prompt", "yyn"},
        {"cache_salt", "nyn"},
        {"chat_template_kwargs", "yyn"},
        {"tools", "yyy"},
        {"tool_choice", "yyn"},
        {"parallel_tool_calls", "yyn"},
        {"response_format", "yyy"},
        {"structured_outputs", "nyn"},
        {"grammar", "ynn"},
        {"json_schema", "ynn"},
        {"reasoning_effort", "yyy"},
        {"thinking_token_budget", "pyn"},
        {"chat_template", "pyn"},
        {"documents", "pyn"},
        {"use_beam_search", "nyn"},
        {"best_of", "nnn"},
        {"mirostat", "ynn"},
        {"samplers", "ynn"},
        {"dynatemp_range", "ynn"},
        {"truncate_prompt_tokens", "nyn"},
        {"skip_special_tokens", "nyn"},
        {"lora", "ypn"},
        {"priority", "nyn"},
        {"cache_prompt", "ypn"},
        {"timings_per_token", "ynn"},
        {"content", "ynn"},
        {"add_special", "ynn"},
        {"add_special_tokens", "nyn"},
        {"parse_special", "ynn"},
        {"with_pieces", "ynn"},
        {"return_token_strs", "nyn"},
        {"tokens", "yyn"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].peers;
    return "???";
}

static void write_where(struct buf *out, unsigned endpoints)
{
    static const char *const names[] = {"chat", "text", "tok", "detok"};
    const char *comma = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!(endpoints & 1u << i))
            continue;
        buf_printf(out, "%s%s", comma, names[i]);
        comma = ", ";
    }
}

static void write_range(struct buf *out, const struct param *param)
{
    bool is_number = param->kind == PARAM_HONOURED && !param->is_node;
    if (!is_number) {
        const char *comma = "";
        for (size_t i = 0; param->types != TYPE_ANY && i < N_TYPES; i++) {
            if (!(param->types & 1u << i))
                continue;
            buf_printf(out, "%s%s", comma, type_names[i]);
            comma = ", ";
        }
        return;
    }
    if (param->types == TYPE_BOOL) {
        buf_printf(out, "%s", param->default_number != 0 ? "true" : "false");
        return;
    }
    bool open = param->max >= 2147483647.0;
    buf_printf(out, "%s%.10g", param->min_excluded ? "above " : "", param->min);
    if (open)
        buf_append_text(out, " and up");
    else
        buf_printf(out, "..%.10g", param->max);
    if (param->default_number >= param->min && param->default_number <= param->max)
        buf_printf(out, " (%.10g)", param->default_number);
}

static void write_row(struct buf *out, const struct param *param)
{
    static const char *const kinds[] = {"yes", "refused", "ignored"};
    const char *peers = peers_of(param->name);
    buf_printf(out, "| `%s` | ", param->name);
    write_where(out, param->endpoints);
    buf_printf(out, " | %s | ", kinds[param->kind]);
    write_range(out, param);
    buf_append_text(out, " | ");
    for (size_t i = 0; param->note[i]; i++)
        buf_append_text(out, param->note[i] == '|' ? "\\|" : (char[]){param->note[i], '\0'});
    buf_printf(out, " | %c | %c | %c |\n", peers[0], peers[1], peers[2]);
}

void params_write_markdown(struct buf *out)
{
    size_t n_params;
    const struct param *table = params_table(&n_params);
    buf_append_text(out, "| field | where | status | range (default) | what it does, or why not | "
                         "llama.cpp | vLLM | Ollama |\n|---|---|---|---|---|---|---|---|\n");
    for (int kind = PARAM_HONOURED; kind <= PARAM_IGNORED; kind++)
        for (size_t i = 0; i < n_params; i++)
            if ((int)table[i].kind == kind)
                write_row(out, &table[i]);
}
