/* From the tensor names and layouts of checkpoints to GGUF's.
 *
 * Each stored tensor becomes one or two pieces: a GGUF name, the number of the expert it holds, and
 * a role (the weight itself, the scales of a quantised one, gate or up of a fused pair). Sorted by
 * name, role and number, the pieces of one GGUF tensor stand together; a tensor of the view is
 * built from each run, and its source says how its rows are read (tensor_source.h). Nothing is
 * copied.
 *
 * Sources: modelling code of transformers for names, shapes and layouts; the GGUF names and orders
 * of llama.cpp's converter. */
#include "engine/formats/hf_tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/formats/gguf.h"

enum { GGUF_NAME_BYTES = 256, EXPERTS_MAX = 4096, VECTORS_MAX = 2 };

/* What a stored tensor is for the GGUF tensor whose name it gets. */
enum role {
    ROLE_WEIGHT,  // all of it, or of the expert `part`
    ROLE_GATE,    // of a fused pair: the gate's half (or, interleaved, the even rows)
    ROLE_UP,      // the other
    ROLE_SCALES,  // scales of the weight: FP8 tiles or MXFP4 blocks
    ROLE_GATE_SCALES,
    ROLE_UP_SCALES,
};

/* Names without layer, suffix and wrapper. "%" stands for an expert's number. */
static const struct name_rule {
    const char *stored;
    const char *gguf;
    const char *second;  // of a fused pair: the name of the up half
} layer_rules[] = {
    {"input_layernorm", "attn_norm", NULL},
    {"post_attention_layernorm", "ffn_norm", NULL},
    {"self_attn.q_proj", "attn_q", NULL},
    {"self_attn.k_proj", "attn_k", NULL},
    {"self_attn.v_proj", "attn_v", NULL},
    {"self_attn.qkv_proj", "attn_qkv", NULL},
    {"self_attn.o_proj", "attn_output", NULL},
    {"self_attn.q_norm", "attn_q_norm", NULL},
    {"self_attn.k_norm", "attn_k_norm", NULL},
    {"self_attn.sinks", "attn_sinks", NULL},
    {"self_attn.q_a_proj", "attn_q_a", NULL},
    {"self_attn.q_a_layernorm", "attn_q_a_norm", NULL},
    {"self_attn.q_b_proj", "attn_q_b", NULL},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", NULL},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm", NULL},
    {"self_attn.kv_b_proj", "attn_kv_b", NULL},
    {"mlp.gate_proj", "ffn_gate", NULL},
    {"mlp.up_proj", "ffn_up", NULL},
    {"mlp.down_proj", "ffn_down", NULL},
    {"mlp.gate_up_proj", "ffn_up", NULL},
    {"mlp.gate", "ffn_gate_inp", NULL},
    {"mlp.router", "ffn_gate_inp", NULL},
    {"mlp.gate.e_score_correction", "exp_probs_b", NULL},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp", NULL},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp", NULL},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp", NULL},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp", NULL},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp", NULL},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp", NULL},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp", NULL},
    {"mlp.experts.%.gate_proj", "ffn_gate_exps", NULL},
    {"mlp.experts.%.up_proj", "ffn_up_exps", NULL},
    {"mlp.experts.%.down_proj", "ffn_down_exps", NULL},
    {"mlp.experts.gate_up_proj", "ffn_gate_exps", "ffn_up_exps"},
    {"mlp.experts.down_proj", "ffn_down_exps", NULL},
    {"block_sparse_moe.gate", "ffn_gate_inp", NULL},
    {"block_sparse_moe.experts.%.w1", "ffn_gate_exps", NULL},
    {"block_sparse_moe.experts.%.w2", "ffn_down_exps", NULL},
    {"block_sparse_moe.experts.%.w3", "ffn_up_exps", NULL},
};
static const struct name_rule model_rules[] = {
    {"embed_tokens", "token_embd", NULL},
    {"norm", "output_norm", NULL},
    {"lm_head", "output", NULL},
};

/* One stored tensor in its place. `name` comes first, for sorting. */
struct piece {
    char *name;  // GGUF's
    enum role role;
    uint32_t part;  // expert number, NO_PART for a tensor of its own
    const struct safetensors_entry *entry;
    uint32_t shard;
};
#define NO_PART UINT32_MAX

struct mapping {
    struct model_file *file;
    const struct hf_facts *facts;
    struct piece *pieces;
    size_t n_pieces;
    size_t capacity;
    char *names;  // text of all the pieces' names
    size_t n_name_bytes;
    struct error *err;
    char quoted[GGUF_QUOTE_BYTES];
};

static const char *quote(struct mapping *mapping, const char *name)
{
    return gguf_quote(mapping->quoted, name, strlen(name));
}

/* ---- names ---- */

static bool starts_with(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

/* Cuts the wrappers that stand in front of a language model's names. */
static const char *without_wrapper(const char *name)
{
    static const char *const wrappers[] = {"model.language_model.model.", "model.language_model.",
                                           "language_model.model.", "language_model.", "model."};
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
        if (starts_with(name, wrappers[i]))
            return name + strlen(wrappers[i]);
    }
    return name;
}

/* Parts of a checkpoint that are not the language model, or are computed from the configuration. */
static bool is_left_out(const struct mapping *mapping, const char *name)
{
    static const char *const others[] = {
        "vision_tower.",       "multi_modal_projector.",       "visual.",       "vision_model.",
        "model.vision_tower.", "model.multi_modal_projector.", "model.visual.", "mtp."};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (starts_with(name, others[i]))
            return true;
    }
    if (strstr(name, "rotary_emb.inv_freq"))
        return true;
    const char *inner = without_wrapper(name);
    if (mapping->facts->ties == HF_TIED && !strcmp(inner, "lm_head.weight"))
        return true;
    /* Layers behind the last are for drafting (multi-token prediction). */
    return starts_with(inner, "layers.") &&
           strtoull(inner + strlen("layers."), NULL, 10) >= mapping->facts->n_layers;
}

/* Compares with '%' for a number; *number is NO_PART without one. */
static bool matches(const char *rule, const char *name, size_t n_bytes, uint32_t *number)
{
    const char *end = name + n_bytes;
    *number = NO_PART;
    for (; *rule; rule++) {
        if (*rule != '%') {
            if (name == end || *name++ != *rule)
                return false;
            continue;
        }
        uint32_t value = 0;
        const char *first = name;
        while (name < end && *name >= '0' && *name <= '9' && name - first < 7)
            value = 10 * value + (uint32_t)(*name++ - '0');
        if (name == first || value >= EXPERTS_MAX)
            return false;
        *number = value;
    }
    return name == end;
}

/* What stands behind a tensor's stem, and what it means. */
static const struct suffix {
    const char *stored;
    const char *gguf;
    bool is_scales;
} suffixes[] = {
    {".weight", ".weight", false},
    {".bias", ".bias", false},
    {".weight_scale_inv", ".weight", true},
    {"_blocks", ".weight", false},
    {"_scales", ".weight", true},
    {"_bias", ".bias", false},
    {"", ".weight", false},  // experts in one block, sinks
};

static bool add_piece(struct mapping *mapping, struct piece piece, const char *prefix,
                      const char *stem, const char *suffix)
{
    if (mapping->n_pieces == mapping->capacity)
        return false;
    piece.name = mapping->names + mapping->n_name_bytes;
    int n = snprintf(piece.name, GGUF_NAME_BYTES, "%s%s%s", prefix, stem, suffix);
    mapping->n_name_bytes += (size_t)n + 1;
    mapping->pieces[mapping->n_pieces++] = piece;
    return true;
}

/* Finds the rule for what stands behind the layer's number. */
static bool apply_rules(struct mapping *mapping, const struct name_rule *rules, size_t n_rules,
                        const char *prefix, const char *name, struct piece piece)
{
    for (size_t s = 0; s < sizeof suffixes / sizeof suffixes[0]; s++) {
        size_t n = strlen(name), n_suffix = strlen(suffixes[s].stored);
        if (n < n_suffix || strcmp(name + n - n_suffix, suffixes[s].stored))
            continue;
        for (size_t r = 0; r < n_rules; r++) {
            const struct name_rule *rule = &rules[r];
            if (!matches(rule->stored, name, n - n_suffix, &piece.part))
                continue;
            bool scales = suffixes[s].is_scales;
            const char *gguf = rule->gguf;
            bool is_gpt_oss = !strcmp(mapping->facts->arch, "gpt-oss");
            if (is_gpt_oss && !strcmp(gguf, "ffn_norm"))
                gguf = "post_attention_norm";
            piece.role = scales ? ROLE_SCALES : ROLE_WEIGHT;
            if (rule->second)
                piece.role = scales ? ROLE_GATE_SCALES : ROLE_GATE;
            bool added = add_piece(mapping, piece, prefix, gguf, suffixes[s].gguf);
            if (rule->second && added) {
                piece.role = scales ? ROLE_UP_SCALES : ROLE_UP;
                added = add_piece(mapping, piece, prefix, rule->second, suffixes[s].gguf);
            }
            return added;
        }
    }
    return false;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void map_entry(struct mapping *mapping, const struct safetensors_entry *entry,
                      uint32_t shard)
{
    struct piece piece = {.part = NO_PART, .entry = entry, .shard = shard};
    const char *name = without_wrapper(entry->name);
    char prefix[32];
    bool found;
    if (is_left_out(mapping, entry->name))
        return;
    if (starts_with(name, "layers.")) {
        char *end;
        unsigned long layer = strtoul(name + strlen("layers."), &end, 10);
        snprintf(prefix, sizeof prefix, "blk.%lu.", layer);
        found = *end == '.' &&
                apply_rules(mapping, layer_rules, COUNT(layer_rules), prefix, end + 1, piece);
    } else {
        found = apply_rules(mapping, model_rules, COUNT(model_rules), "", name, piece);
    }
    if (!found)
        add_piece(mapping, piece, "", entry->name, "");
}

static int by_place(const void *a, const void *b)
{
    const struct piece *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    if (order)
        return order;
    if (left->role != right->role)
        return left->role < right->role ? -1 : 1;
    return (left->part > right->part) - (left->part < right->part);
}

/* ---- building one tensor ---- */

static bool is_scales(enum role role)
{
    return role >= ROLE_SCALES;
}

/* The run of pieces of one tensor: first the weights, then their scales. */
struct run {
    const struct piece *pieces;
    size_t n_weights;
    size_t n_scales;
};

static bool stored_dtype(enum safetensors_type type, enum dtype *out)
{
    switch (type) {
    case SAFETENSORS_F32:
        *out = DTYPE_F32;
        return true;
    case SAFETENSORS_F16:
        *out = DTYPE_F16;
        return true;
    case SAFETENSORS_BF16:
        *out = DTYPE_BF16;
        return true;
    default:
        return false;
    }
}

static enum status bad_tensor(struct mapping *mapping, const struct piece *piece, const char *what)
{
    return error_set(mapping->err, ERR_FORMAT, "tensor %s %s", quote(mapping, piece->entry->name),
                     what);
}

/* All weights of a run are of one shape and type and numbered 0, 1, 2 ... */
static enum status check_run(struct mapping *mapping, const struct run *run)
{
    const struct piece *first = &run->pieces[0];
    if (run->n_weights == 0)
        return bad_tensor(mapping, first, "holds scales for a weight that is missing");
    if (run->n_scales && run->n_scales != run->n_weights)
        return bad_tensor(mapping, first, "and its like have not as many scales as weights");
    for (size_t i = 0; i < run->n_weights + run->n_scales; i++) {
        const struct piece *piece = &run->pieces[i];
        bool scales = i >= run->n_weights;
        const struct piece *like = &run->pieces[scales ? run->n_weights : 0];
        size_t number = i - (scales ? run->n_weights : 0);
        if (piece->part == NO_PART && number > 0)
            return bad_tensor(mapping, piece, "stands for a tensor that another one is already");
        if (piece->part != NO_PART && piece->part != number)
            return error_set(mapping->err, ERR_FORMAT,
                             "tensor %s: expert %zu is missing in its row",
                             quote(mapping, piece->entry->name), number);
        if (piece->entry->type != like->entry->type ||
            piece->entry->n_dims != like->entry->n_dims ||
            memcmp(piece->entry->dims, like->entry->dims, sizeof like->entry->dims))
            return error_set(mapping->err, ERR_FORMAT,
                             "tensor %s has not the shape and type of expert 0",
                             quote(mapping, piece->entry->name));
    }
    return OK;
}

/* The layout of a stored tensor as rows. */
struct layout {
    uint64_t n_columns, n_rows;  // of one part, as the view shows it
    uint64_t n_parts;
    uint64_t row_bytes;      // of a stored row
    uint64_t row_stride;     // from one row of the view to the next
    uint64_t column_stride;  // 0 = elements of a row lie side by side
    uint64_t first_bytes;    // from a part's start to its first row
    uint64_t part_bytes;
    uint32_t n_dims;
    bool is_vector;  // n_rows * n_columns elements of one row, in the view
    bool experts;    // its first dimension counts experts
};

/* Splits the rows of a fused pair: gpt-oss interleaves them, the others have one half behind the
 * other. */
static void split_pair(const struct mapping *mapping, enum role role, struct layout *layout)
{
    bool up = role == ROLE_UP || role == ROLE_UP_SCALES;
    layout->n_rows /= 2;
    if (!strcmp(mapping->facts->arch, "gpt-oss")) {
        layout->row_stride = 2 * layout->row_bytes;
        layout->first_bytes = up ? layout->row_bytes : 0;
    } else {
        layout->first_bytes = up ? layout->n_rows * layout->row_bytes : 0;
    }
}

static enum status read_layout(struct mapping *mapping, const struct piece *piece,
                               struct layout *layout)
{
    const struct safetensors_entry *entry = piece->entry;
    bool fused = piece->role == ROLE_GATE || piece->role == ROLE_UP;
    uint64_t element = safetensors_type_bytes(entry->type), dims[SAFETENSORS_DIMS_MAX];
    uint32_t n_dims = entry->n_dims;
    size_t n_name = strlen(piece->name);
    bool is_bias = n_name > 5 && !strcmp(piece->name + n_name - 5, ".bias");
    memcpy(dims, entry->dims, sizeof dims);
    if (n_dims < 1 || n_dims > TENSOR_DIMS_MAX || entry->bytes == 0)
        return bad_tensor(mapping, piece, "has no or too many dimensions, or one of size 0");
    bool blocks = n_dims == 4 && entry->type == SAFETENSORS_U8;
    if (blocks) {  // [experts, rows, blocks, 16]
        if (dims[3] != 16)
            return bad_tensor(mapping, piece, "holds no blocks of 16 bytes");
        n_dims = 3;
        dims[2] *= 16;
    }
    bool experts = n_dims == 3 || (n_dims == 2 && is_bias);
    *layout = (struct layout){.n_parts = experts ? dims[0] : 1,
                              .n_dims = n_dims,
                              .is_vector = is_bias || n_dims == 1,
                              .experts = experts};
    if (is_bias) {  // rows of one element, so that they can be reordered
        layout->n_columns = 1;
        layout->n_rows = dims[n_dims - 1];
    } else {
        layout->n_columns = dims[n_dims - 1];
        layout->n_rows = n_dims > 1 ? dims[n_dims - 2] : 1;
    }
    layout->row_bytes = layout->row_stride = layout->n_columns * element;
    layout->part_bytes = layout->row_bytes * layout->n_rows;
    if (blocks)
        layout->n_columns *= 2;
    if (n_dims == 3 && !blocks && !strcmp(mapping->facts->arch, "gpt-oss")) {
        layout->n_columns = dims[1];  // stored [experts, in, out]
        layout->n_rows = dims[2];
        layout->column_stride = dims[2] * element;
        layout->row_bytes = layout->row_stride = element;
    }
    if (n_dims > 3 || (fused && (layout->n_rows % 2 || !experts)))
        return bad_tensor(mapping, piece, "has not the shape of its kind");
    if (fused)
        split_pair(mapping, piece->role, layout);
    return OK;
}

/* Checks the scales against the weight and notes where they are. */
static enum status add_scales(struct mapping *mapping, const struct run *run,
                              const struct layout *layout, struct tensor_source *source)
{
    const struct piece *piece = &run->pieces[run->n_weights];
    const struct safetensors_entry *entry = piece->entry;
    enum role role = run->pieces[0].role;
    uint64_t part_bytes = entry->bytes / (run->n_weights > 1 ? 1 : layout->n_parts);
    uint64_t first = 0;
    if (source->form == TENSOR_FP8) {
        uint64_t rows = (layout->n_rows + FP8_TILE - 1) / FP8_TILE;
        uint64_t columns = (layout->n_columns + FP8_TILE - 1) / FP8_TILE;
        if (entry->n_dims != 2 || entry->dims[0] != rows || entry->dims[1] != columns)
            return bad_tensor(mapping, piece, "has not one scale a tile of 128 x 128");
        if (entry->type != SAFETENSORS_F32 && entry->type != SAFETENSORS_BF16 &&
            entry->type != SAFETENSORS_F8_E8M0)
            return bad_tensor(mapping, piece, "holds scales of no known type");
        source->scale_type = entry->type == SAFETENSORS_F32    ? SCALE_F32
                             : entry->type == SAFETENSORS_BF16 ? SCALE_BF16
                                                               : SCALE_E8M0;
    } else {
        uint64_t pair = role == ROLE_WEIGHT ? 1 : 2;
        if (entry->n_dims != 3 || entry->type != SAFETENSORS_U8 ||
            entry->dims[0] != layout->n_parts || entry->dims[1] != pair * layout->n_rows ||
            entry->dims[2] != layout->n_columns / 32)
            return bad_tensor(mapping, piece, "has not one scale a block of 32");
        source->scale_stride = pair * entry->dims[2];
        first = role == ROLE_UP ? entry->dims[2] : 0;
    }
    for (size_t i = 0; i < source->n_parts; i++) {
        const struct piece *from = &run->pieces[run->n_weights + (run->n_weights > 1 ? i : 0)];
        uint64_t number = run->n_weights > 1 ? 0 : i;
        source->parts[i].scale_file = from->shard;
        source->parts[i].scale_offset = from->entry->offset + number * part_bytes + first;
    }
    return OK;
}

/* Decides the form and the view's type. */
static enum status choose_form(struct mapping *mapping, const struct run *run,
                               struct tensor_source *source, enum dtype *dtype)
{
    const struct piece *piece = &run->pieces[0];
    enum safetensors_type type = piece->entry->type;
    if (run->n_scales && type == SAFETENSORS_F8_E4M3 && mapping->facts->quantized == HF_FP8) {
        source->form = TENSOR_FP8;
        *dtype = DTYPE_BF16;
        return OK;
    }
    if (run->n_scales && type == SAFETENSORS_U8 && mapping->facts->quantized == HF_MXFP4) {
        source->form = TENSOR_MXFP4;
        *dtype = DTYPE_MXFP4;
        return OK;
    }
    if (run->n_scales || !stored_dtype(type, &source->stored))
        return error_set(mapping->err, ERR_UNSUPPORTED,
                         "tensor %s is of type %s%s (supported: F32 F16 BF16, and F8_E4M3 or MXFP4 "
                         "as quantization_config says)",
                         quote(mapping, piece->entry->name), safetensors_type_name(type),
                         run->n_scales ? " with scales" : "");
    source->form = TENSOR_ROWS;
    *dtype = source->stored;
    return OK;
}

/* llama's q and k: GGUF has the two halves of each head's rotated rows interleaved. */
static enum status set_pairs(struct mapping *mapping, const struct piece *piece,
                             const struct layout *layout, struct tensor_source *source)
{
    const struct hf_facts *facts = mapping->facts;
    const char *name = strrchr(piece->name, '_');
    bool is_q = name && starts_with(name, "_q."), is_k = name && starts_with(name, "_k.");
    if (!facts->pairs_rope || !starts_with(piece->name, "blk.") || (!is_q && !is_k))
        return OK;
    if (layout->n_rows != (is_q ? facts->n_heads : facts->n_kv_heads) * facts->head_dim)
        return error_set(mapping->err, ERR_FORMAT,
                         "tensor %s has %llu rows, %llu heads of %llu were expected",
                         quote(mapping, piece->entry->name), (unsigned long long)layout->n_rows,
                         (unsigned long long)(is_q ? facts->n_heads : facts->n_kv_heads),
                         (unsigned long long)facts->head_dim);
    source->head_rows = facts->head_dim;
    source->pair_rows = facts->n_rot;
    return OK;
}

static enum status make_parts(struct mapping *mapping, const struct run *run,
                              const struct layout *layout, struct tensor_source *source)
{
    source->n_parts = run->n_weights > 1 ? run->n_weights : (size_t)layout->n_parts;
    if (source->n_parts > EXPERTS_MAX)
        return bad_tensor(mapping, &run->pieces[0], "has too many parts");
    source->parts = mem_calloc(source->n_parts, sizeof *source->parts);
    if (!source->parts)
        return error_set(mapping->err, ERR_MEMORY, "no memory for the table of tensors");
    for (size_t i = 0; i < source->n_parts; i++) {
        const struct piece *from = &run->pieces[run->n_weights > 1 ? i : 0];
        uint64_t number = run->n_weights > 1 ? 0 : i;
        source->parts[i].file = from->shard;
        source->parts[i].offset =
            from->entry->offset + number * layout->part_bytes + layout->first_bytes;
    }
    return OK;
}

static enum status check_size(struct mapping *mapping, const struct piece *piece,
                              struct tensor_info *tensor)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    uint64_t n = tensor->dims[0] / info->block_elements;
    if (tensor->dims[0] % info->block_elements)
        return bad_tensor(mapping, piece, "has rows that are no whole blocks");
    for (size_t i = 1; i < TENSOR_DIMS_MAX; i++) {
        if (__builtin_mul_overflow(n, tensor->dims[i], &n))
            return bad_tensor(mapping, piece, "is too large");
    }
    if (__builtin_mul_overflow(n, (uint64_t)info->block_bytes, &tensor->bytes))
        return bad_tensor(mapping, piece, "is too large");
    return OK;
}

static void set_dims(const struct run *run, const struct layout *layout, struct tensor_info *tensor,
                     size_t n_parts)
{
    uint32_t n = 0;
    for (size_t i = 0; i < TENSOR_DIMS_MAX; i++)
        tensor->dims[i] = 1;
    tensor->dims[n++] = layout->n_columns * (layout->is_vector ? layout->n_rows : 1);
    if (!layout->is_vector)
        tensor->dims[n++] = layout->n_rows;
    if (run->n_weights > 1 || run->pieces[0].part != NO_PART || layout->experts)
        tensor->dims[n++] = n_parts;
    tensor->n_dims = n;
}

static enum status build_tensor(struct mapping *mapping, const struct run *run,
                                struct tensor_info *tensor, struct tensor_source *source)
{
    const struct piece *piece = &run->pieces[0];
    struct layout layout = {0};
    enum status status = check_run(mapping, run);
    if (!status)
        status = choose_form(mapping, run, source, &tensor->dtype);
    if (!status)
        status = read_layout(mapping, piece, &layout);
    if (!status && run->n_weights > 1 && layout.n_dims != 2)
        status = bad_tensor(mapping, piece, "is no matrix of an expert");
    if (!status)
        status = make_parts(mapping, run, &layout, source);
    if (status)
        return status;
    source->n_columns = layout.n_columns;
    source->part_rows = layout.n_rows;
    source->row_stride = layout.row_stride;
    source->column_stride = layout.column_stride;
    tensor->name = piece->name;
    tensor->file = piece->shard;
    set_dims(run, &layout, tensor, source->n_parts);
    status = check_size(mapping, piece, tensor);
    if (!status && run->n_scales)
        status = add_scales(mapping, run, &layout, source);
    return status ? status : set_pairs(mapping, piece, &layout, source);
}

/* ---- all tensors ---- */

static enum status build_all(struct mapping *mapping)
{
    struct model_file *file = mapping->file;
    for (size_t i = 0; i < mapping->n_pieces;) {
        struct run run = {.pieces = &mapping->pieces[i]};
        for (; i < mapping->n_pieces && !strcmp(mapping->pieces[i].name, run.pieces[0].name); i++)
            *(is_scales(mapping->pieces[i].role) ? &run.n_scales : &run.n_weights) += 1;
        size_t t = file->n_tensors++;
        enum status status = build_tensor(mapping, &run, &file->tensors[t], &file->sources[t]);
        if (status)
            return status;
    }
    return OK;
}

/* A vector that a converted file carries as a tensor and a checkpoint in its configuration. */
static enum status add_vector(struct mapping *mapping, const char *name, const float *values)
{
    struct model_file *file = mapping->file;
    size_t n = (size_t)mapping->facts->n_rot / 2, t = file->n_tensors++;
    file->sources[t] = (struct tensor_source){.form = TENSOR_MEMORY, .stored = DTYPE_F32};
    file->tensors[t] = (struct tensor_info){.name = name,
                                            .dtype = DTYPE_F32,
                                            .n_dims = 1,
                                            .dims = {n, 1, 1, 1},
                                            .bytes = n * sizeof(float)};
    file->sources[t].memory = mem_memdup0(values, n * sizeof(float));
    return file->sources[t].memory
               ? OK
               : error_set(mapping->err, ERR_MEMORY, "no memory for the table of tensors");
}

/* The frequencies' divisors of the scalings llama3 and longrope. */
static enum status add_divisors(struct mapping *mapping)
{
    const struct hf_facts *facts = mapping->facts;
    if (facts->has_divisors)
        return add_vector(mapping, "rope_freqs.weight", facts->divisors);
    if (!facts->has_longrope)
        return OK;
    enum status status = add_vector(mapping, "rope_factors_long.weight", facts->long_factors);
    return status ? status : add_vector(mapping, "rope_factors_short.weight", facts->short_factors);
}

/* A checkpoint says whether its output matrix is the embedding; a missing one is no hint. */
static enum status check_ties(const struct mapping *mapping)
{
    if (mapping->facts->ties != HF_UNTIED)
        return OK;
    for (size_t i = 0; i < mapping->file->n_tensors; i++) {
        if (!strcmp(mapping->file->tensors[i].name, "output.weight"))
            return OK;
    }
    return error_set(mapping->err, ERR_FORMAT,
                     "tensor lm_head.weight is missing, and tie_word_embeddings is false");
}

/* The biases of attention or of dense layers are there when the configuration says so. */
static enum status check_bias(const struct mapping *mapping, enum hf_said said, const char *name,
                              const char *part)
{
    bool found = false;
    for (size_t i = 0; i < mapping->file->n_tensors && said != HF_UNSAID; i++) {
        const char *tensor = mapping->file->tensors[i].name;
        size_t n = strlen(tensor);
        found |= starts_with(tensor, "blk.") && strstr(tensor, part) &&
                 !strcmp(tensor + (n < 5 ? 0 : n - 5), ".bias");
    }
    if (said == HF_UNSAID || found == (said == HF_YES))
        return OK;
    return error_set(mapping->err, ERR_FORMAT, "%s is %s, but tensors of that kind are %s", name,
                     found ? "false" : "true", found ? "there" : "missing");
}

enum status hf_tensors_map(struct model_file *file, const struct safetensors *shards,
                           const struct hf_facts *facts, struct error *err)
{
    struct mapping mapping = {.file = file, .facts = facts, .err = err};
    size_t n_entries = 0;
    for (size_t i = 0; i < file->n_shards; i++)
        n_entries += shards[i].n_entries;
    mapping.capacity = 2 * n_entries;
    file->tensors = mem_calloc(mapping.capacity + VECTORS_MAX, sizeof *file->tensors);
    file->sources = mem_calloc(mapping.capacity + VECTORS_MAX, sizeof *file->sources);
    mapping.pieces = mem_calloc(mapping.capacity + 1, sizeof *mapping.pieces);
    size_t name_bytes;
    if (size_mul(mapping.capacity + 1, GGUF_NAME_BYTES, &name_bytes))
        file->tensor_names = mapping.names = mem_alloc(name_bytes);
    if (!file->tensors || !file->sources || !mapping.pieces || !mapping.names) {
        mem_free(mapping.pieces);
        return error_set(err, ERR_MEMORY, "no memory for %zu tensors", n_entries);
    }
    for (size_t i = 0; i < file->n_shards; i++) {
        for (size_t j = 0; j < shards[i].n_entries; j++)
            map_entry(&mapping, &shards[i].entries[j], (uint32_t)i);
    }
    qsort(mapping.pieces, mapping.n_pieces, sizeof *mapping.pieces, by_place);
    enum status status = build_all(&mapping);
    if (!status)
        status = add_divisors(&mapping);
    if (!status)
        status = check_ties(&mapping);
    if (!status)
        status = check_bias(&mapping, facts->attention_bias, "attention_bias", ".attn_");
    if (!status)
        status = check_bias(&mapping, facts->mlp_bias, "mlp_bias", ".ffn_");
    mem_free(mapping.pieces);
    return status;
}
