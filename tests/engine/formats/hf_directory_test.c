/* Checkpoint directories: keys and tensors as a GGUF file of the same model has them, and one clear
 * line for each way in which a directory can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "engine/base/dtype.h"
#include "engine/base/mem.h"
#include "engine/formats/model_file.h"
#include "engine/kernels/pack.h"
#include "tests/engine/formats/hf_build.h"

/* A llama of one layer: 4 heads of 4, 2 of keys and values, 16 wide, 24 in between, 10 tokens. */
#define CONFIG CONFIG_OF("llama")
#define LONGROPE(factors, original)                                                                \
    ",\"original_max_position_embeddings\":64,\"rope_scaling\":{\"type\":\"longrope\","            \
    "\"short_factor\":[1,1],\"long_factor\":" factors                                              \
    ",\"original_max_position_embeddings\":" original "}"
#define LATENT ",\"qk_nope_head_dim\":4,\"qk_rope_head_dim\":2,\"v_head_dim\":4"
#define CONFIG_OF(type)                                                                            \
    "\"model_type\":\"" type "\",\"num_hidden_layers\":1,\"max_position_embeddings\":128,"         \
    "\"hidden_size\":16,\"intermediate_size\":24,\"num_attention_heads\":4,"                       \
    "\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,\"vocab_size\":10"

static const struct {
    const char *name;
    const char *shape;
    size_t n;
} tensors[] = {
    {"model.embed_tokens.weight", "[10,16]", 160},
    {"model.layers.0.input_layernorm.weight", "[16]", 16},
    {"model.layers.0.self_attn.q_proj.weight", "[16,16]", 256},
    {"model.layers.0.self_attn.k_proj.weight", "[8,16]", 128},
    {"model.layers.0.self_attn.v_proj.weight", "[8,16]", 128},
    {"model.layers.0.self_attn.o_proj.weight", "[16,16]", 256},
    {"model.layers.0.post_attention_layernorm.weight", "[16]", 16},
    {"model.layers.0.mlp.gate_proj.weight", "[24,16]", 384},
    {"model.layers.0.mlp.up_proj.weight", "[24,16]", 384},
    {"model.layers.0.mlp.down_proj.weight", "[16,24]", 384},
    {"model.norm.weight", "[16]", 16},
    {"lm_head.weight", "[10,16]", 160},
};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], VALUES_MAX = 384 };

/* Value i of tensor t; distinct in the whole model, exact in F16 and BF16 up to 256. */
static float value_of(size_t t, size_t i)
{
    return (float)(int)(i % 256) - (float)t;
}

static void write_tensors(struct st_build *build, size_t first, size_t last, const char *omit)
{
    for (size_t t = first; t < last; t++) {
        float values[VALUES_MAX];
        for (size_t i = 0; i < tensors[t].n; i++)
            values[i] = value_of(t, i);
        if (!omit || strcmp(omit, tensors[t].name))
            st_tensor(build, tensors[t].name, "F32", tensors[t].shape, values, 4 * tensors[t].n);
    }
}

static void write_good(struct hf_dir *dir, const char *config)
{
    struct st_build build;
    hf_dir_make(dir);
    hf_dir_text(dir, "config.json", config);
    st_init(&build);
    write_tensors(&build, 0, N_TENSORS, NULL);
    st_write(&build, dir, "model.safetensors");
}

/* All of a tensor as floats. */
static void read_floats(const struct model_file *file, const char *name, float *out, size_t n)
{
    const struct tensor_info *tensor = model_file_tensor(file, name);
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, DTYPE_F32);
    assert_int_equal(tensor->bytes, 4 * n);
    assert_int_equal(model_file_read(file, tensor, 0, 4 * n, out, NULL), OK);
}

static void shows_gguf_keys_and_tensors(void **state)
{
    (void)state;
    struct hf_dir dir;
    struct model_file *file;
    struct error err = {0};
    write_good(&dir, "{" CONFIG ",\"rope_theta\":500000.0}");
    assert_int_equal(model_file_open(&file, dir.path, &err), OK);
    uint64_t u = 0;
    double f = 0;
    struct text_view text;
    assert_true(model_file_text(file, "general.architecture", &text));
    assert_memory_equal(text.bytes, "llama", 5);
    assert_true(model_file_u64(file, "llama.attention.head_count_kv", &u));
    assert_int_equal(u, 2);
    assert_true(model_file_u64(file, "llama.attention.key_length", &u));
    assert_int_equal(u, 4);
    assert_true(model_file_f64(file, "llama.rope.freq_base", &f));
    assert_true(f == 500000);
    assert_true(model_file_f64(file, "llama.attention.layer_norm_rms_epsilon", &f));
    assert_true(f == 1e-5);
    assert_int_equal(model_file_tensors(file), N_TENSORS);
    float values[VALUES_MAX];
    read_floats(file, "token_embd.weight", values, 160);
    assert_true(values[159] == value_of(0, 159));
    read_floats(file, "blk.0.ffn_down.weight", values, 384);
    assert_true(values[383] == value_of(9, 383));
    const struct tensor_info *down = model_file_tensor(file, "blk.0.ffn_down.weight");
    assert_int_equal(down->dims[0], 24);
    assert_int_equal(down->dims[1], 16);
    assert_int_equal(model_file_tensor(file, "output_norm.weight")->n_dims, 1);
    model_file_close(file);
    hf_dir_remove(&dir);
}

/* Row 2i + j of a head in GGUF is row i + 2j of 4 here. */
static void interleaves_the_halves_of_q_and_k(void **state)
{
    (void)state;
    struct hf_dir dir;
    struct model_file *file;
    float values[VALUES_MAX];
    write_good(&dir, "{" CONFIG "}");
    assert_int_equal(model_file_open(&file, dir.path, NULL), OK);
    static const size_t stored[4] = {0, 2, 1, 3};
    read_floats(file, "blk.0.attn_k.weight", values, 128);
    for (size_t row = 0; row < 8; row++) {
        size_t from = row / 4 * 4 + stored[row % 4];
        for (size_t i = 0; i < 16; i++)
            assert_true(values[row * 16 + i] == value_of(3, from * 16 + i));
    }
    /* Any run of rows by itself. */
    const struct tensor_info *q = model_file_tensor(file, "blk.0.attn_q.weight");
    for (size_t first = 0; first < 16; first++) {
        for (size_t last = first + 1; last <= 16; last++) {
            struct error err = {0};
            assert_int_equal(
                model_file_read(file, q, first * 64, (last - first) * 64, values, &err), OK);
            for (size_t row = first; row < last; row++) {
                size_t from = row / 4 * 4 + stored[row % 4];
                assert_true(values[(row - first) * 16] == value_of(2, from * 16));
            }
        }
    }
    struct error err = {0};
    assert_int_equal(model_file_read(file, q, 4, 64, values, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "whole rows"));
    model_file_close(file);
    hf_dir_remove(&dir);
}

static void shards_go_by_the_index(void **state)
{
    (void)state;
    struct hf_dir dir;
    struct model_file *file;
    struct error err = {0};
    struct st_build build;
    struct buf index;
    hf_dir_make(&dir);
    hf_dir_text(&dir, "config.json", "{" CONFIG "}");
    buf_init(&index, 1 << 20);
    buf_append_text(&index, "{\"metadata\":{},\"weight_map\":{");
    for (size_t t = 0; t < N_TENSORS; t++)
        buf_printf(&index, "%s\"%s\":\"part-%d.safetensors\"", t ? "," : "", tensors[t].name,
                   t >= 5);
    buf_append_text(&index, "}}");
    hf_dir_write(&dir, "model.safetensors.index.json", index.bytes, index.n_bytes);
    buf_release(&index);
    st_init(&build);
    write_tensors(&build, 0, 5, NULL);
    st_write(&build, &dir, "part-0.safetensors");
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "part-1.safetensors: cannot open"));
    st_init(&build);
    write_tensors(&build, 5, N_TENSORS, "model.norm.weight");
    st_write(&build, &dir, "part-1.safetensors");
    err = (struct error){0};
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "tensor model.norm.weight is not in part-1.safetensors"));
    st_init(&build);
    write_tensors(&build, 5, N_TENSORS, NULL);
    st_write(&build, &dir, "part-1.safetensors");
    err = (struct error){0};
    assert_int_equal(model_file_open(&file, dir.path, &err), OK);
    assert_int_equal(model_file_tensors(file), N_TENSORS);
    float values[VALUES_MAX];
    read_floats(file, "output.weight", values, 160);
    assert_true(values[159] == value_of(11, 159));
    model_file_close(file);
    st_init(&build);
    write_tensors(&build, 4, N_TENSORS, NULL);  // one that the other shard has too
    st_write(&build, &dir, "part-1.safetensors");
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "another one is already"));
    hf_dir_remove(&dir);
}

static void bad_indexes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        const char *text;
    } cases[] = {
        {"[]", "weight_map is missing"},
        {"{}", "weight_map is missing"},
        {"{\"weight_map\":[]}", "weight_map is no object"},
        {"{\"weight_map\":{}}", "weight_map is no object"},
        {"{\"weight_map\":{\"a\":1}}", "something else than file names"},
        {"{\"weight_map\":{\"a\":\"\"}}", "something else than file names"},
        {"{\"weight_map\":{\"a\":\"../model.safetensors\"}}", "no plain name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "no plain name"},
        {"{\"weight_map\":{\"a\":\"config.json\"}}", "no plain name"},
        {"{\"weight_map\":{\"a\":\"model.safetensors\",\"a\":\"x.safetensors\"}}", "invalid JSON"},
        {"{\"weight_map\":{\"a\":\"model.safetensors\"}}", "tensor a is not in model.safetensors"},
        {"{\"weight_map\":{\"a\":\"loop.safetensors\"}}",
         "loop.safetensors: cannot open: Too many"},
        {"{\"weight_map\":{\"a\":\"dir.safetensors\"}}",
         "dir.safetensors: a directory, not a file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hf_dir dir;
        struct model_file *file;
        struct error err = {0};
        char path[128];
        write_good(&dir, "{" CONFIG "}");
        snprintf(path, sizeof path, "%s/loop.safetensors", dir.path);
        assert_int_equal(symlink("loop.safetensors", path), 0);
        snprintf(path, sizeof path, "%s/dir.safetensors", dir.path);
        assert_int_equal(mkdir(path, 0700), 0);
        hf_dir_text(&dir, "model.safetensors.index.json", cases[i].index);
        assert_int_not_equal(model_file_open(&file, dir.path, &err), OK);
        if (!strstr(err.text, cases[i].text))
            print_message("%s\n -> %s\n", cases[i].index, err.text);
        assert_non_null(strstr(err.text, cases[i].text));
        assert_null(file);
        hf_dir_remove(&dir);
    }
}

static void bad_configurations_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        const char *text;
    } cases[] = {
        {"", "config.json: invalid JSON"},
        {"[]", "config.json: no JSON object"},
        {"{}", "model_type is missing"},
        {"{\"model_type\":7}", "model_type is no string"},
        {"{\"model_type\":\"bert\"}", "model_type 'bert' is not supported (supported: llama"},
        {"{\"model_type\":\"llama\"}", "num_hidden_layers is missing"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":NaN}", "invalid JSON"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":1.5}", "no whole number"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":-1}", "no whole number"},
        {"{" CONFIG ",\"head_dim\":\"x\"}", "head_dim is no whole number"},
        {"{" CONFIG ",\"head_dim\":100000}", "heads of 100000 dimensions"},
        {"{" CONFIG ",\"rope_theta\":0}", "rope_theta is 0"},
        {"{" CONFIG ",\"rope_scaling\":7}", "is no object"},
        {"{" CONFIG ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", "'dynamic' is not"},
        {"{" CONFIG ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":0.5}}", "factor 0.5"},
        {"{" CONFIG ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":0.5}}", "factor 0.5"},
        {"{" CONFIG ",\"partial_rotary_factor\":2}", "partial_rotary_factor is 2"},
        {"{" CONFIG ",\"hidden_act\":\"gelu\"}", "hidden_act 'gelu' is not supported"},
        {"{" CONFIG ",\"tie_word_embeddings\":1}", "tie_word_embeddings is no truth value"},
        {"{" CONFIG ",\"quantization_config\":{\"quant_method\":\"gptq\"}}", "'gptq' is not"},
        {"{" CONFIG ",\"quantization_config\":{\"quant_method\":\"fp8\"}}", "weight_block_size"},
        {"{" CONFIG ",\"attention_bias\":true}", "attention_bias is true, but tensors"},
        {"{" CONFIG ",\"mlp_bias\":true}", "mlp_bias is true, but tensors"},
        {"{" CONFIG ",\"layer_types\":[]}", "layer_types has not one item a layer"},
        {"{" CONFIG ",\"layer_types\":[\"chunked_attention\"]}", "layer_types[0] is neither"},
        {"{" CONFIG ",\"layer_types\":[\"sliding_attention\"]}", "there is no sliding_window"},
        {"{" CONFIG ",\"topk_group\":2}", "topk_group is 2 of n_group 1"},
        {"{" CONFIG_OF("gpt_oss") ",\"swiglu_limit\":8.5}", "swiglu_limit is 8.5 (supported for"},
        {"{" CONFIG_OF("deepseek_v3") LATENT ",\"rope_interleave\":false}", "rope_interleave is 0"},
        {"{" CONFIG_OF("deepseek_v3") LATENT ",\"head_dim\":5}", "head_dim or qk_head_dim does"},
        {"{" CONFIG_OF("glm4_moe_lite") LATENT ",\"mlp_layer_types\":[\"x\"]}",
         "mlp_layer_types[0]"},
        {"{" CONFIG_OF("phi3") LONGROPE("[1]", "64") "}", "long_factor has not 2 items"},
        {"{" CONFIG_OF("phi3") LONGROPE("[1,true]", "64") "}", "long_factor[1] is no number"},
        {"{" CONFIG_OF("phi3") LONGROPE("[1,2]", "65") "}", "is 64, and 65 in the rope scaling"},
        {"{" CONFIG LONGROPE("[1,2]", "64") "}", "longrope from 64 positions of llama is not"},
        {"{" CONFIG_OF("smollm3") ",\"no_rope_layers\":[]}", "no_rope_layers has not one item"},
        {"{" CONFIG_OF("smollm3") ",\"no_rope_layers\":[2]}", "no_rope_layers holds no 0 and 1"},
        {"{" CONFIG_OF("smollm3") ",\"no_rope_layer_interval\":0}", "or the interval is 0"},
        {"{" CONFIG_OF("smollm3") ",\"use_sliding_window\":true,\"sliding_window\":8}",
         "without layer_types"},
        {"{" CONFIG_OF("glm4_moe_lite") LATENT ",\"mlp_layer_types\":[]}", "not one item a layer"},
        {"{" CONFIG_OF("glm4_moe_lite") LATENT
         ",\"mlp_layer_types\":[\"dense\"],\"first_k_dense_replace\":0}",
         "mlp_layer_types has 1"},
        {"{" CONFIG_OF("deepseek_v2") LATENT ",\"topk_method\":\"greedy\",\"n_group\":4}",
         "topk_method is none of"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hf_dir dir;
        struct model_file *file;
        struct error err = {0};
        write_good(&dir, cases[i].config);
        assert_int_not_equal(model_file_open(&file, dir.path, &err), OK);
        if (!strstr(err.text, cases[i].text))
            print_message("%s\n -> %s\n", cases[i].config, err.text);
        assert_non_null(strstr(err.text, cases[i].text));
        hf_dir_remove(&dir);
    }
}

/* Layers with a window: as layer_types says, or Qwen's from max_window_layers on. */
static void windows_of_layers_become_a_pattern(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int windowed;  // of layer 0; -1 = no window
    } cases[] = {
        {"{" CONFIG_OF("qwen2") ",\"sliding_window\":8,\"max_window_layers\":0}", -1},
        {"{" CONFIG_OF("qwen2") ",\"sliding_window\":8,\"use_sliding_window\":true}", -1},
        {"{" CONFIG_OF("qwen2") ",\"sliding_window\":8,\"use_sliding_window\":true,"
                                "\"max_window_layers\":0}",
         1},
        {"{" CONFIG ",\"sliding_window\":8,\"layer_types\":[\"full_attention\"]}", -1},
        {"{" CONFIG ",\"sliding_window\":8,\"layer_types\":[\"sliding_attention\"]}", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hf_dir dir;
        struct model_file *file;
        struct error err = {0};
        write_good(&dir, cases[i].config);
        if (model_file_open(&file, dir.path, &err))
            fail_msg("%s: %s", cases[i].config, err.text);
        bool qwen = strstr(cases[i].config, "qwen2");
        char key[64];
        uint64_t window = 0;
        int64_t windowed = -1;
        snprintf(key, sizeof key, "%s.attention.sliding_window", qwen ? "qwen2" : "llama");
        assert_int_equal(model_file_u64(file, key, &window), cases[i].windowed >= 0);
        snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", qwen ? "qwen2" : "llama");
        (void)model_file_array_i64(file, key, 0, &windowed);
        assert_int_equal(windowed, cases[i].windowed);
        model_file_close(file);
        hf_dir_remove(&dir);
    }
}

static void ties_follow_the_configuration(void **state)
{
    (void)state;
    struct hf_dir dir;
    struct model_file *file;
    struct error err = {0};
    write_good(&dir, "{" CONFIG ",\"tie_word_embeddings\":true}");
    assert_int_equal(model_file_open(&file, dir.path, &err), OK);
    assert_null(model_file_tensor(file, "output.weight"));
    model_file_close(file);
    hf_dir_remove(&dir);
    hf_dir_make(&dir);
    hf_dir_text(&dir, "config.json", "{" CONFIG ",\"tie_word_embeddings\":false}");
    struct st_build build;
    st_init(&build);
    write_tensors(&build, 0, N_TENSORS, "lm_head.weight");
    st_write(&build, &dir, "model.safetensors");
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "lm_head.weight is missing"));
    hf_dir_remove(&dir);
}

static void wrong_paths_get_good_sentences(void **state)
{
    (void)state;
    struct hf_dir dir;
    struct model_file *file;
    struct error err = {0};
    hf_dir_make(&dir);
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "neither a GGUF file nor a Hugging Face checkpoint"));
    hf_dir_text(&dir, "small-q4.gguf", "x");
    err = (struct error){0};
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "to serve small-q4.gguf give the path of that file"));
    hf_dir_text(&dir, "config.json", "{" CONFIG "}");
    hf_dir_text(&dir, "pytorch_model.bin", "x");
    err = (struct error){0};
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "(only pytorch_model.bin)"));
    hf_dir_remove(&dir);
}

/* Two forms of the experts of one layer: one tensor an expert, and all in one with gate and up
 * fused. */
static void experts_become_one_tensor(void **state)
{
    (void)state;
    static const char config[] = "{" CONFIG ",\"num_experts\":3,\"tie_word_embeddings\":true}";
    struct hf_dir dir;
    struct model_file *file;
    struct st_build build;
    float values[3 * 8 * 4], read[3 * 4 * 4];
    for (int fused = 0; fused < 2; fused++) {
        hf_dir_make(&dir);
        hf_dir_text(&dir, "config.json", config);
        st_init(&build);
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
            values[i] = (float)i;
        if (fused)
            st_tensor(&build, "model.layers.0.mlp.experts.gate_up_proj", "F32", "[3,8,4]", values,
                      sizeof values);
        for (size_t e = 3; e-- > 0 && !fused;) {  // not in order
            char name[80];
            snprintf(name, sizeof name, "model.layers.0.mlp.experts.%zu.gate_proj.weight", e);
            st_tensor(&build, name, "F32", "[4,4]", values + e * 32, 64);
            snprintf(name, sizeof name, "model.layers.0.mlp.experts.%zu.up_proj.weight", e);
            st_tensor(&build, name, "F32", "[4,4]", values + e * 32 + 16, 64);
        }
        st_write(&build, &dir, "model.safetensors");
        struct error err = {0};
        assert_int_equal(model_file_open(&file, dir.path, &err), OK);
        const struct tensor_info *up = model_file_tensor(file, "blk.0.ffn_up_exps.weight");
        assert_int_equal(up->n_dims, 3);
        assert_int_equal(up->dims[0], 4);
        assert_int_equal(up->dims[1], 4);
        assert_int_equal(up->dims[2], 3);
        read_floats(file, "blk.0.ffn_up_exps.weight", read, 48);
        for (size_t i = 0; i < 48; i++)
            assert_true(read[i] == (float)(i / 16 * 32 + 16 + i % 16));
        read_floats(file, "blk.0.ffn_gate_exps.weight", read, 48);
        for (size_t i = 0; i < 48; i++)
            assert_true(read[i] == (float)(i / 16 * 32 + i % 16));
        model_file_close(file);
        hf_dir_remove(&dir);
    }
}

/* gpt-oss: gate and up rows take turns, each block of 32 has a scale elsewhere. */
static void mxfp4_becomes_gguf_blocks(void **state)
{
    (void)state;
    enum { EXPERTS = 2, ROWS = 6, BLOCKS = 2, COLUMNS = 32 * BLOCKS };
    static const float levels[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                     -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    struct hf_dir dir;
    struct model_file *file;
    struct st_build build;
    struct error err = {0};
    uint8_t blocks[EXPERTS][ROWS][BLOCKS][16], scales[EXPERTS][ROWS][BLOCKS];
    float bias[EXPERTS][ROWS];
    for (size_t i = 0; i < sizeof blocks; i++)
        (&blocks[0][0][0][0])[i] = (uint8_t)(i * 37 + i / 16);
    for (size_t i = 0; i < sizeof scales; i++)
        (&scales[0][0][0])[i] = (uint8_t)(120 + i % 13);
    for (size_t i = 0; i < EXPERTS * ROWS; i++)
        (&bias[0][0])[i] = (float)i;
    hf_dir_make(&dir);
    hf_dir_text(&dir, "config.json",
                "{" CONFIG_OF("gpt_oss") ",\"quantization_config\":{\"quant_method\":\"mxfp4\"}}");
    st_init(&build);
    st_tensor(&build, "model.layers.0.mlp.experts.gate_up_proj_blocks", "U8", "[2,6,2,16]", blocks,
              sizeof blocks);
    st_tensor(&build, "model.layers.0.mlp.experts.gate_up_proj_scales", "U8", "[2,6,2]", scales,
              sizeof scales);
    st_tensor(&build, "model.layers.0.mlp.experts.gate_up_proj_bias", "F32", "[2,6]", bias,
              sizeof bias);
    st_write(&build, &dir, "model.safetensors");
    assert_int_equal(model_file_open(&file, dir.path, &err), OK);
    for (size_t up = 0; up < 2; up++) {
        uint8_t stored[EXPERTS * ROWS / 2 * BLOCKS * 17];
        float values[EXPERTS * ROWS / 2 * COLUMNS], read[EXPERTS * ROWS / 2];
        const struct tensor_info *tensor =
            model_file_tensor(file, up ? "blk.0.ffn_up_exps.weight" : "blk.0.ffn_gate_exps.weight");
        assert_int_equal(tensor->dtype, DTYPE_MXFP4);
        assert_int_equal(tensor->dims[0], COLUMNS);
        assert_int_equal(tensor->dims[1], ROWS / 2);
        assert_int_equal(tensor->dims[2], EXPERTS);
        assert_int_equal(tensor->bytes, sizeof stored);
        assert_int_equal(model_file_read(file, tensor, 0, sizeof stored, stored, NULL), OK);
        dequantize_row(DTYPE_MXFP4, stored, sizeof values / sizeof *values, values);
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            size_t column = i % COLUMNS, row = i / COLUMNS % (ROWS / 2),
                   e = i / COLUMNS / (ROWS / 2);
            uint8_t byte = blocks[e][2 * row + up][column / 32][column % 32 / 2];
            int scale = scales[e][2 * row + up][column / 32];
            float wanted = ldexpf(levels[column % 2 ? byte >> 4 : byte & 15], scale - 127);
            assert_true(values[i] == wanted);
        }
        read_floats(file, up ? "blk.0.ffn_up_exps.bias" : "blk.0.ffn_gate_exps.bias", read,
                    EXPERTS * ROWS / 2);
        for (size_t i = 0; i < EXPERTS * ROWS / 2; i++)
            assert_true(read[i] == bias[i / (ROWS / 2)][2 * (i % (ROWS / 2)) + up]);
    }
    model_file_close(file);
    hf_dir_remove(&dir);
}

/* gpt-oss with experts of floats: stored [experts, in, out], gate and up columns take turns. */
static void turned_experts_become_rows(void **state)
{
    (void)state;
    enum { EXPERTS = 2, IN = 160, OUT = 300 };
    static uint16_t pair[EXPERTS][IN][2 * OUT], down[EXPERTS][OUT][IN];
    struct hf_dir dir;
    struct model_file *file;
    struct st_build build;
    struct error err = {0};
    for (size_t i = 0; i < sizeof pair / 2; i++)
        (&pair[0][0][0])[i] = bf16_from_f32((float)(i * 7 % 251));
    for (size_t i = 0; i < sizeof down / 2; i++)
        (&down[0][0][0])[i] = bf16_from_f32((float)(i * 11 % 241));
    hf_dir_make(&dir);
    hf_dir_text(&dir, "config.json", "{" CONFIG_OF("gpt_oss") "}");
    st_init(&build);
    st_tensor(&build, "model.layers.0.mlp.experts.gate_up_proj", "BF16", "[2,160,600]", pair,
              sizeof pair);
    st_tensor(&build, "model.layers.0.mlp.experts.down_proj", "BF16", "[2,300,160]", down,
              sizeof down);
    st_write(&build, &dir, "model.safetensors");
    assert_int_equal(model_file_open(&file, dir.path, &err), OK);
    static const char *const names[] = {"blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"};
    static uint16_t halves[EXPERTS * OUT * IN];
    for (size_t up = 0; up < 2; up++) {
        const struct tensor_info *tensor = model_file_tensor(file, names[up]);
        assert_int_equal(tensor->dims[0], IN);
        assert_int_equal(tensor->dims[1], OUT);
        assert_int_equal(tensor->dims[2], EXPERTS);
        assert_int_equal(model_file_read(file, tensor, 0, sizeof halves, halves, NULL), OK);
        for (size_t i = 0; i < EXPERTS * OUT * IN; i++)
            assert_int_equal(halves[i], pair[i / IN / OUT][i % IN][2 * (i / IN % OUT) + up]);
        /* Rows from the middle alone. */
        assert_int_equal(model_file_read(file, tensor, 299 * IN * 2, 2 * IN * 2, halves, NULL), OK);
        assert_int_equal(halves[3], pair[0][3][2 * 299 + up]);
        assert_int_equal(halves[IN + 3], pair[1][3][up]);
    }
    const struct tensor_info *tensor = model_file_tensor(file, "blk.0.ffn_down_exps.weight");
    assert_int_equal(tensor->dims[0], OUT);
    assert_int_equal(tensor->dims[1], IN);
    assert_int_equal(model_file_read(file, tensor, 0, sizeof halves, halves, NULL), OK);
    for (size_t i = 0; i < EXPERTS * OUT * IN; i++)
        assert_int_equal(halves[i], down[i / OUT / IN][i % OUT][i / OUT % IN]);
    model_file_close(file);
    hf_dir_remove(&dir);
}

/* FP8: 200 x 150 elements under 2 x 2 scales, shown as BF16, and quantised from the exact value. */
static void fp8_tiles_are_widened(void **state)
{
    (void)state;
    enum { ROWS = 200, COLUMNS = 160 };
    static uint8_t stored[ROWS * COLUMNS];
    static uint16_t read[ROWS * COLUMNS];
    static const float scales[4] = {0.5f, 0.0123f, 3, 1e-4f};
    struct hf_dir dir;
    struct model_file *file;
    struct st_build build;
    struct error err = {0};
    for (size_t i = 0; i < sizeof stored; i++)
        stored[i] = (uint8_t)(i * 31 % 255 == 0x7f ? 0 : i * 31 % 255);
    hf_dir_make(&dir);
    hf_dir_text(&dir, "config.json",
                "{" CONFIG ",\"quantization_config\":{\"quant_method\":\"fp8\","
                "\"weight_block_size\":[128,128]}}");
    st_init(&build);
    st_tensor(&build, "model.layers.0.mlp.up_proj.weight", "F8_E4M3", "[200,160]", stored,
              sizeof stored);
    st_tensor(&build, "model.layers.0.mlp.up_proj.weight_scale_inv", "F32", "[2,2]", scales,
              sizeof scales);
    st_write(&build, &dir, "model.safetensors");
    assert_int_equal(model_file_open(&file, dir.path, &err), OK);
    const struct tensor_info *tensor = model_file_tensor(file, "blk.0.ffn_up.weight");
    assert_int_equal(tensor->dtype, DTYPE_BF16);
    assert_int_equal(model_file_read(file, tensor, 0, sizeof read, read, NULL), OK);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        size_t row = i / COLUMNS, column = i % COLUMNS;
        int exponent = stored[i] >> 3 & 15, mantissa = stored[i] & 7;
        float value = exponent ? ldexpf(1 + (float)mantissa / 8, exponent - 7)
                               : ldexpf((float)mantissa / 8, -6);
        value = (stored[i] & 0x80 ? -value : value) * scales[row / 128 * 2 + column / 128];
        assert_int_equal(read[i], bf16_from_f32(value));
    }
    model_file_close(file);
    hf_dir_text(&dir, "config.json", "{" CONFIG "}");  // nothing says that it is FP8
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "up_proj.weight is of type F8_E4M3 with scales"));
    hf_dir_remove(&dir);
}

static void a_missing_expert_is_named(void **state)
{
    (void)state;
    struct hf_dir dir;
    struct model_file *file;
    struct st_build build;
    struct error err = {0};
    float values[16] = {0};
    hf_dir_make(&dir);
    hf_dir_text(&dir, "config.json", "{" CONFIG "}");
    st_init(&build);
    st_tensor(&build, "model.layers.0.mlp.experts.0.up_proj.weight", "F32", "[4,4]", values, 64);
    st_tensor(&build, "model.layers.0.mlp.experts.2.up_proj.weight", "F32", "[4,4]", values, 64);
    st_write(&build, &dir, "model.safetensors");
    assert_int_equal(model_file_open(&file, dir.path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "expert 1 is missing"));
    hf_dir_remove(&dir);
}

static void failing_memory_is_an_error(void **state)
{
    (void)state;
    struct hf_dir dir;
    write_good(&dir, "{" CONFIG "}");
    enum status status = ERR_MEMORY;
    for (uint64_t nth = 1; nth < 500 && status != OK; nth++) {
        struct model_file *file;
        mem_fault_set(nth, false);
        status = model_file_open(&file, dir.path, NULL);
        mem_fault_set(0, false);
        assert_true(status == OK || status == ERR_MEMORY);
        model_file_close(file);
    }
    assert_int_equal(status, OK);
    hf_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_gguf_keys_and_tensors),
        cmocka_unit_test(interleaves_the_halves_of_q_and_k),
        cmocka_unit_test(shards_go_by_the_index),
        cmocka_unit_test(bad_indexes_are_named),
        cmocka_unit_test(bad_configurations_are_named),
        cmocka_unit_test(windows_of_layers_become_a_pattern),
        cmocka_unit_test(ties_follow_the_configuration),
        cmocka_unit_test(wrong_paths_get_good_sentences),
        cmocka_unit_test(experts_become_one_tensor),
        cmocka_unit_test(mxfp4_becomes_gguf_blocks),
        cmocka_unit_test(turned_experts_become_rows),
        cmocka_unit_test(fp8_tiles_are_widened),
        cmocka_unit_test(a_missing_expert_is_named),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
