/* Looking into a model; see engine_inspect.h.
 *
 * Two readings of the file. The first takes what the metadata say, for any architecture. The second
 * asks the engine's own parts in the order in which loading asks them (configuration, tensors,
 * tokenizer, template), stops before the weights are read, and keeps each part's error as a
 * problem: what `inspect` says is what the server would say. Memory comes from model_measure(),
 * which runs the plans that loading runs. */
#include "engine/engine_inspect.h"

#include <sys/stat.h>

#include "engine/base/mem.h"
#include "engine/engine_defaults.h"
#include "engine/engine_memory.h"
#include "engine/formats/model_file.h"
#include "engine/model/model.h"
#include "engine/template/chat_prompt.h"
#include "engine/template/reply.h"
#include "engine/tokenizer/tokenizer.h"

enum { KEY_BYTES = 200 };

/* ---- what the file says ---- */

static void copy_text(char out[INSPECT_TEXT_BYTES], const struct model_file *file, const char *key)
{
    struct text_view text;
    out[0] = '\0';
    if (!model_file_text(file, key, &text))
        return;
    size_t n = text.n_bytes < INSPECT_TEXT_BYTES - 1 ? text.n_bytes : INSPECT_TEXT_BYTES - 1;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        out[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    out[n] = '\0';
}

/* "<architecture>.<suffix>"; an array gives its first item. */
static uint64_t number(const struct model_file *file, const char *architecture, const char *suffix)
{
    char key[KEY_BYTES];
    uint64_t value = 0;
    int64_t item = 0;
    snprintf(key, sizeof key, "%s.%s", architecture, suffix);
    if (model_file_u64(file, key, &value))
        return value;
    return model_file_array_i64(file, key, 0, &item) && item > 0 ? (uint64_t)item : 0;
}

static void count_type(struct inspect_report *out, const struct tensor_info *tensor,
                       uint64_t n_elements)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    size_t i = 0;
    while (i < out->n_types && strcmp(out->types[i].name, info->name) != 0)
        i++;
    if (i == INSPECT_TYPES_MAX)
        return;
    if (i == out->n_types)
        out->types[out->n_types++] = (struct inspect_type){.name = info->name};
    out->types[i].n_tensors++;
    out->types[i].n_elements += n_elements;
    out->types[i].bytes += tensor->bytes;
}

static int compare_types(const void *a, const void *b)
{
    const struct inspect_type *left = a, *right = b;
    return left->bytes < right->bytes ? 1 : left->bytes > right->bytes ? -1 : 0;
}

static void read_tensors(struct inspect_report *out, const struct model_file *file)
{
    out->n_tensors = model_file_tensors(file);
    for (size_t i = 0; i < out->n_tensors; i++) {
        const struct tensor_info *tensor = model_file_tensor_at(file, i);
        uint64_t n_elements = 1;
        for (size_t d = 0; d < TENSOR_DIMS_MAX; d++)
            n_elements *= tensor->dims[d];
        count_type(out, tensor, n_elements);
        if (strncmp(tensor->name, "rope_", 5) != 0)
            out->n_parameters += n_elements;
    }
    qsort(out->types, out->n_types, sizeof out->types[0], compare_types);
}

/* Families of templates by what stands in their text. */
static const char *known_format(const char *source)
{
    static const struct {
        const char *marker, *format;
    } formats[] = {
        {"<|channel|>", "harmony (gpt-oss)"},
        {"<|start_header_id|>", "Llama 3"},
        {"<|im_start|>", "ChatML"},
        {"<|im_end|>", "ChatML"},
        {"<\xef\xbd\x9cUser\xef\xbd\x9c>", "DeepSeek"},
        {"<start_of_turn>", "Gemma"},
        {"<|im_middle|>", "Kimi"},
        {"[gMASK]", "GLM"},
        {"<|user|>", "Phi or Zephyr"},
        {"[INST]", "Llama 2 or Mistral"},
        {"<<SYS>>", "Llama 2"},
        {"<|START_OF_TURN_TOKEN|>", "Command R"},
        {"### Instruction", "Alpaca"},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strstr(source, formats[i].marker))
            return formats[i].format;
    }
    return NULL;
}

static void read_metadata(struct inspect_report *out, const struct model_file *file)
{
    char model[INSPECT_TEXT_BYTES], pre[INSPECT_TEXT_BYTES];
    copy_text(out->architecture, file, "general.architecture");
    copy_text(out->name, file, "general.name");
    const char *arch = out->architecture;
    out->n_layers = number(file, arch, "block_count");
    out->n_embd = number(file, arch, "embedding_length");
    out->n_heads = number(file, arch, "attention.head_count");
    out->n_kv_heads = number(file, arch, "attention.head_count_kv");
    out->n_experts = number(file, arch, "expert_count");
    out->n_experts_used = number(file, arch, "expert_used_count");
    out->ctx_train = number(file, arch, "context_length");
    size_t n_vocab = 0;
    (void)model_file_array(file, "tokenizer.ggml.tokens", &n_vocab);
    out->n_vocab = n_vocab;
    copy_text(model, file, "tokenizer.ggml.model");
    copy_text(pre, file, "tokenizer.ggml.pre");
    snprintf(out->tokenizer, sizeof out->tokenizer, "%.60s%s%.60s%s", model, pre[0] ? " (" : "",
             pre, pre[0] ? ")" : "");
    out->file_bytes = model_file_bytes(file);
    read_tensors(out, file);
}

/* ---- what the engine says ---- */

static void add_problem(struct inspect_report *out, const char *what, const struct error *err)
{
    if (out->n_problems < INSPECT_PROBLEMS_MAX)
        snprintf(out->problems[out->n_problems++], ERROR_TEXT_BYTES, "%s%.200s", what, err->text);
}

static bool try_template(struct inspect_report *out, const struct model_file *file,
                         struct error *err)
{
    struct text_view source;
    struct chat_prompt *prompt = NULL;
    if (!model_file_text(file, "tokenizer.chat_template", &source)) {
        (void)!error_set(err, ERR_UNSUPPORTED, "the model has no chat template");
        return false;
    }
    char *text = mem_memdup0(source.bytes, source.n_bytes);
    out->template_bytes = source.n_bytes;
    out->template_format = text ? known_format(text) : NULL;
    mem_free(text);
    bool is_usable = chat_prompt_open(&prompt, source.bytes, source.n_bytes, "", "", err) == OK;
    if (is_usable) {
        const struct reply_format *format = chat_prompt_reply_format(prompt);
        snprintf(out->reply_format, sizeof out->reply_format, "%s", format->name);
        out->template_thinking = format->thinks;
        out->template_tools = chat_prompt_info(prompt)->tools;
    }
    chat_prompt_close(prompt);
    return is_usable;
}

static void measure_cache(struct inspect_report *out, const struct engine_options *options,
                          const struct kv_layout *layout)
{
    struct kv_demand demand = engine_kv_demand(options);
    size_t per_group[KV_GROUPS_MAX], limit;
    for (size_t g = 0; g < layout->n_groups; g++) {
        size_t block_bytes = kv_group_block_bytes(&layout->groups[g]);
        size_t most = kv_group_blocks_max(&layout->groups[g], demand.step_tokens);
        if (layout->groups[g].window == 0)
            out->kv_token_bytes += block_bytes / KV_TOKENS_PER_BLOCK;
        else
            out->kv_window_bytes += (uint64_t)most * block_bytes;
    }
    out->kv_sequence_bytes = kv_sequence_bytes(layout, out->ctx_size, demand.step_tokens);
    out->available_bytes = memory_available();
    size_t n_blocks =
        engine_kv_blocks(options, layout, out->ctx_size, (size_t)out->available_bytes, &limit);
    out->kv_pool_bytes = kv_pool_blocks(layout, &demand, n_blocks, per_group);
}

static void measure(struct inspect_report *out, const struct model_file *file,
                    const struct engine_options *options, struct error *err)
{
    const struct kernels *kernels;
    struct model_needs needs;
    struct engine_options filled = *options;
    enum cpu_level level = kernels_best_level();
    if (options->cpu_level && !kernels_level_parse(options->cpu_level, &level)) {
        (void)!error_set(err, ERR_INVALID, "there is no CPU level \"%s\"", options->cpu_level);
        return;
    }
    engine_fill_defaults(&filled);
    out->parallel = filled.parallel;
    out->threads = filled.threads;
    if (kernels_get(level, &kernels, err) != OK)
        return;
    struct model_options model = engine_model_options(&filled, kernels);
    if (model_measure(&needs, file, &model, out->threads, err) != OK)
        return;
    if (out->n_vocab && engine_check_vocab(needs.n_vocab, (size_t)out->n_vocab, err) != OK)
        return;
    out->has_memory = true;
    out->ctx_size = needs.ctx_size;
    out->weight_bytes = needs.weight_bytes;
    out->scratch_bytes = needs.scratch_bytes;
    measure_cache(out, &filled, &needs.kv_layout);
}

enum status engine_inspect(struct inspect_report *out, const struct engine_options *options,
                           struct error *err)
{
    struct stat info;
    struct model_file *file;
    struct error model = {0}, tokens = {0}, chat = {0};
    struct tokenizer *tokenizer = NULL;
    *out = (struct inspect_report){0};
    enum status status = model_file_open(&file, options->model_path, err);
    if (status == OK)
        status = engine_quantize_file(options, file, err);
    struct engine_sampling sampling;
    if (status == OK)
        status = engine_sampling_read(&sampling, file, options->sampling, err);
    if (status != OK) {
        model_file_close(file);
        return status;
    }
    out->is_folder = stat(options->model_path, &info) == 0 && S_ISDIR(info.st_mode);
    out->sampling = sampling;
    read_metadata(out, file);
    measure(out, file, options, &model);
    if (model.status != OK)
        add_problem(out, "", &model);
    if (tokenizer_open(&tokenizer, file, &tokens) != OK)
        add_problem(out, "tokenizer: ", &tokens);
    out->is_served = out->n_problems == 0;
    if (!try_template(out, file, &chat))
        add_problem(out, "chats are refused, completions work: ", &chat);
    tokenizer_close(tokenizer);
    model_file_close(file);
    return OK;
}
