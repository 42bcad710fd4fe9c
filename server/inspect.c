/* Writing a report; see inspect.h.
 *
 * Sizes in words are powers of 1024 as memory is counted everywhere; the JSON has bytes. A line
 * says one thing, so that a person finds it and a test can ask for it. */
#include "server/inspect.h"

#include <inttypes.h>

static const char *size_text(char out[32], uint64_t bytes)
{
    double size = (double)bytes;
    if (size >= 1024.0 * 1024 * 1024)
        snprintf(out, 32, "%.2f GiB", size / 1073741824);
    else if (size >= 1024.0 * 1024)
        snprintf(out, 32, "%.1f MiB", size / 1048576);
    else
        snprintf(out, 32, "%.1f KiB", size / 1024);
    return out;
}

static const char *count_text(char out[32], uint64_t n)
{
    if (n >= 1000000000)
        snprintf(out, 32, "%.2f billion", (double)n / 1e9);
    else
        snprintf(out, 32, "%.1f million", (double)n / 1e6);
    return out;
}

static void write_shape(const struct inspect_report *r, struct buf *out)
{
    buf_printf(out, "architecture  %s", r->architecture[0] ? r->architecture : "not said");
    const char *mark = ": ";
    const struct {
        uint64_t value;
        const char *text;
    } parts[] = {{r->n_layers, "layers"},
                 {r->n_embd, "wide"},
                 {r->n_heads, "heads"},
                 {r->n_kv_heads, "of them with keys and values"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].value == 0)
            continue;
        buf_printf(out, "%s%" PRIu64 " %s", mark, parts[i].value, parts[i].text);
        mark = ", ";
    }
    if (r->n_experts)
        buf_printf(out, "%s%" PRIu64 " experts, %" PRIu64 " of them for a token", mark,
                   r->n_experts, r->n_experts_used);
    buf_append_char(out, '\n');
}

static void write_types(const struct inspect_report *r, struct buf *out)
{
    char size[32];
    uint64_t all = 0;
    for (size_t i = 0; i < r->n_types; i++)
        all += r->types[i].bytes;
    buf_append_text(out, "types         ");
    for (size_t i = 0; i < r->n_types; i++) {
        const struct inspect_type *type = &r->types[i];
        buf_printf(out, "%s%s %.1f %% (%zu tensors, %s)", i ? ", " : "", type->name,
                   all ? 100.0 * (double)type->bytes / (double)all : 0, type->n_tensors,
                   size_text(size, type->bytes));
    }
    buf_append_char(out, '\n');
}

static void write_need(const struct inspect_report *r, size_t n_conversations, uint64_t kv_bytes,
                       struct buf *out)
{
    char size[32];
    uint64_t all = r->weight_bytes + r->scratch_bytes + kv_bytes;
    buf_printf(out, "              %s for %zu full conversation%s", size_text(size, all),
               n_conversations, n_conversations == 1 ? "" : "s");
    buf_printf(out, " (KV cache %s)\n", size_text(size, kv_bytes));
}

static void write_memory(const struct inspect_report *r, struct buf *out)
{
    char size[32];
    if (!r->has_memory)
        return;
    buf_printf(out, "memory        weights %s, ", size_text(size, r->weight_bytes));
    buf_printf(out, "scratch %s (%zu threads), ", size_text(size, r->scratch_bytes), r->threads);
    buf_printf(out, "KV cache %s a token", size_text(size, r->kv_token_bytes));
    if (r->kv_window_bytes)
        buf_printf(out, " and up to %s for the windows", size_text(size, r->kv_window_bytes));
    buf_printf(out, "; with a context of %zu tokens:\n", r->ctx_size);
    write_need(r, 1, r->kv_sequence_bytes, out);
    if (r->parallel > 1)
        write_need(r, r->parallel, r->kv_sequence_bytes * r->parallel, out);
    if (!r->available_bytes)
        return;
    buf_printf(out, "              %s are free here now: ", size_text(size, r->available_bytes));
    uint64_t least = r->weight_bytes + r->scratch_bytes;
    uint64_t left = r->available_bytes > least ? r->available_bytes - least : 0;
    uint64_t past = left > r->kv_window_bytes ? left - r->kv_window_bytes : 0;
    uint64_t fits = r->kv_sequence_bytes ? left / r->kv_sequence_bytes : 0;
    if (least >= r->available_bytes)
        buf_append_text(out, "the model does not fit\n");
    else if (fits == 0)
        buf_printf(out, "a conversation fits up to about %" PRIu64 " tokens (--ctx-size)\n",
                   r->kv_token_bytes ? past / r->kv_token_bytes : 0);
    else if (fits >= r->parallel)
        buf_append_text(out, "all of it fits\n");
    else
        buf_printf(out, "%" PRIu64 " full conversation%s at a time\n", fits,
                   fits == 1 ? " fits" : "s fit");
}

void inspect_write_text(const struct inspect_report *r, const char *path, struct buf *out)
{
    char size[32], count[32];
    buf_printf(out, "%s\n", r->name[0] ? r->name : "a model without a name");
    buf_printf(out, "path          %s\n", path);
    buf_printf(out, "format        %s, %s, %zu tensors\n",
               r->is_folder ? "Hugging Face checkpoint" : "GGUF", size_text(size, r->file_bytes),
               r->n_tensors);
    write_shape(r, out);
    buf_printf(out, "parameters    %s\n", count_text(count, r->n_parameters));
    write_types(r, out);
    if (r->ctx_train)
        buf_printf(out, "context       trained for %" PRIu64 " tokens\n", r->ctx_train);
    buf_printf(out, "tokenizer     %s, %" PRIu64 " tokens\n",
               r->tokenizer[0] ? r->tokenizer : "none", r->n_vocab);
    if (r->template_bytes)
        buf_printf(out, "template      %s, %zu bytes%s\n",
                   r->template_format ? r->template_format : "a form of its own", r->template_bytes,
                   r->template_tools ? ", shows tools" : "");
    else
        buf_append_text(out, "template      none\n");
    if (r->reply_format[0])
        buf_printf(out, "replies       read as %s%s\n", r->reply_format,
                   r->template_thinking ? ", with thinking" : "");
    char sampling[SAMPLING_TEXT_BYTES];
    engine_sampling_text(&r->sampling, sampling);
    if (sampling[0])
        buf_printf(out, "sampling      %s\n", sampling);
    buf_printf(out, "served        %s\n", r->is_served ? "yes" : "no");
    for (size_t i = 0; i < r->n_problems; i++)
        buf_printf(out, "missing       %s\n", r->problems[i]);
    write_memory(r, out);
}

/* ---- JSON ---- */

static void write_string(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "  \"%s\": ", name);
    if (value)
        buf_append_json(out, value, strlen(value));
    else
        buf_append_text(out, "null");
    buf_append_text(out, ",\n");
}

static void write_number(struct buf *out, const char *name, uint64_t value)
{
    buf_printf(out, "  \"%s\": %" PRIu64 ",\n", name, value);
}

void inspect_write_json(const struct inspect_report *r, const char *path, struct buf *out)
{
    buf_append_text(out, "{\n");
    write_string(out, "path", path);
    write_string(out, "name", r->name);
    write_string(out, "architecture", r->architecture);
    write_string(out, "format", r->is_folder ? "huggingface" : "gguf");
    write_number(out, "file_bytes", r->file_bytes);
    write_number(out, "parameters", r->n_parameters);
    write_number(out, "tensors", r->n_tensors);
    write_number(out, "layers", r->n_layers);
    write_number(out, "embedding", r->n_embd);
    write_number(out, "heads", r->n_heads);
    write_number(out, "kv_heads", r->n_kv_heads);
    write_number(out, "experts", r->n_experts);
    write_number(out, "experts_used", r->n_experts_used);
    write_number(out, "vocabulary", r->n_vocab);
    write_number(out, "context_trained", r->ctx_train);
    write_string(out, "tokenizer", r->tokenizer);
    write_number(out, "template_bytes", r->template_bytes);
    write_string(out, "template_format", r->template_format);
    write_string(out, "reply_format", r->reply_format);
    buf_printf(out, "  \"template_tools\": %s,\n  \"template_thinking\": %s,\n",
               r->template_tools ? "true" : "false", r->template_thinking ? "true" : "false");
    buf_append_text(out, "  \"sampling\": {");
    const char *separator = "";
    for (size_t i = 0; i < SAMPLING_FIELDS; i++) {
        if (r->sampling.fields[i].origin == SAMPLING_BUILT_IN)
            continue;
        buf_printf(out, "%s\"%s\": %.10g", separator, engine_sampling_name(i),
                   r->sampling.fields[i].value);
        separator = ", ";
    }
    buf_append_text(out, "},\n  \"types\": [");
    for (size_t i = 0; i < r->n_types; i++) {
        const struct inspect_type *type = &r->types[i];
        buf_printf(out,
                   "%s{\"type\": \"%s\", \"tensors\": %zu, \"elements\": %" PRIu64
                   ", \"bytes\": %" PRIu64 "}",
                   i ? ", " : "", type->name, type->n_tensors, type->n_elements, type->bytes);
    }
    buf_append_text(out, "],\n  \"problems\": [");
    for (size_t i = 0; i < r->n_problems; i++) {
        buf_append_text(out, i ? ", " : "");
        buf_append_json(out, r->problems[i], strlen(r->problems[i]));
    }
    buf_append_text(out, "],\n  \"memory\": ");
    if (!r->has_memory) {
        buf_append_text(out, "null");
    } else {
        buf_printf(out, "{\"ctx_size\": %zu, \"parallel\": %zu, \"threads\": %zu, ", r->ctx_size,
                   r->parallel, r->threads);
        buf_printf(out, "\"weight_bytes\": %" PRIu64 ", \"scratch_bytes\": %" PRIu64 ", ",
                   r->weight_bytes, r->scratch_bytes);
        buf_printf(out,
                   "\"kv_bytes_per_token\": %" PRIu64 ", \"kv_bytes_per_conversation\": %" PRIu64
                   ", \"kv_window_bytes\": %" PRIu64 ", ",
                   r->kv_token_bytes, r->kv_sequence_bytes, r->kv_window_bytes);
        buf_printf(out, "\"kv_pool_bytes\": %" PRIu64 ", \"available_bytes\": %" PRIu64 "}",
                   r->kv_pool_bytes, r->available_bytes);
    }
    buf_printf(out, ",\n  \"served\": %s\n}\n", r->is_served ? "true" : "false");
}
