/* Writes the seed corpora: `make_seeds FOLDER` fills FOLDER/gguf, json and
 * safetensors.
 *
 * Seeds are made and not kept, because they follow from a few lines each: for GGUF every value
 * kind, every tensor type, alignments, split keys; for JSON texts that are right, wrong, or right
 * only by a hair. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/engine/formats/gguf_build.h"

static const char *folder;
static unsigned n_seeds;

static void save(const char *kind, const void *bytes, size_t n_bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, kind);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%03u", folder, kind, n_seeds++);
    FILE *file = fopen(path, "wb");
    if (!file || (n_bytes && fwrite(bytes, n_bytes, 1, file) != 1) || fclose(file) != 0) {
        fprintf(stderr, "%s: cannot be written\n", path);
        exit(1);
    }
}

static void save_build(struct gguf_build *build)
{
    save("gguf", build->bytes, build->n_bytes);
    build_release(build);
}

static void gguf_kinds(void)
{
    static const struct {
        uint32_t kind;
        size_t n_bytes;
    } kinds[] = {
#define X(name, id, bytes, text) {id, bytes},
        GGUF_KIND_LIST(X)
#undef X
    };
    struct gguf_build build = {0};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].kind == GGUF_ARRAY)
            continue;
        build_header(&build, 3, 0, 2);
        build_key(&build, "one", kinds[i].kind);
        build_int(&build, 1, 1);
        for (size_t j = 1; j < kinds[i].n_bytes + (kinds[i].kind == GGUF_STRING); j++)
            build_int(&build, 0, 1);
        build_array(&build, "many", kinds[i].kind, 2);
        for (size_t j = 0; j < 2 * kinds[i].n_bytes; j++)
            build_int(&build, 0, 1);
        save_build(&build);
    }
}

static void gguf_types(void)
{
    static const struct {
        uint32_t id;
        uint64_t elements, bytes;
    } types[] = {
#define X(name, id, elements, bytes) {id, elements, bytes},
        DTYPE_LIST(X)
#undef X
    };
    struct gguf_build build = {0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        uint64_t dims[] = {types[i].elements, 1 + i % 2, 1, 1};
        size_t bytes = types[i].bytes * dims[1], padded = (bytes + 31) / 32 * 32;
        build_header(&build, 2 + i % 2, 2, 0);
        build_tensor(&build, "a.weight", 1 + i % 4, dims, types[i].id, 0);
        build_tensor(&build, "b.weight", 2, dims, types[i].id, i % 4 ? padded : padded + 32);
        build_pad(&build, 32);
        build_data(&build, 2 * padded + 32);
        save_build(&build);
    }
}

static void gguf_others(void)
{
    const uint64_t dims[] = {32, 2};
    struct gguf_build build = {0};
    build_sample(&build, 2);
    save_build(&build);
    build_sample(&build, 3);
    save_build(&build);
    for (uint32_t alignment = 8; alignment <= 1024; alignment *= 2) {
        build_header(&build, 3, 1, 1);
        build_key_u32(&build, "general.alignment", alignment);
        build_tensor(&build, "t", 2, dims, DTYPE_F16, 0);
        build_pad(&build, alignment);
        build_data(&build, 128);
        save_build(&build);
    }
    for (uint64_t count = 0; count < 3; count++) {
        build_header(&build, 3, 1, 3);
        build_key_int(&build, "split.no", GGUF_U16, count / 2, 2);
        build_key_int(&build, "split.count", GGUF_U16, count, 2);
        build_key_int(&build, "split.tensors.count", GGUF_I32, 1, 4);
        build_tensor(&build, "t", 2, dims, DTYPE_I8, 0);
        build_pad(&build, 32);
        build_data(&build, 64);
        save_build(&build);
    }
    build_header(&build, 3, 0, 40);
    for (int i = 0; i < 40; i++) {
        char key[2] = {(char)('0' + i), '\0'};
        build_key_int(&build, key, GGUF_U8, (uint64_t)i, 1);
    }
    save_build(&build);
    build_header(&build, 3, 0, 0);
    save_build(&build);
}

static void json_texts(void)
{
    // clang-format off
    static const char *const texts[] = {
        "0", "-0", "1.5e10", "1e-400", "1e308", "1.7976931348623157e308", "true", "false", "null",
        "\"\"", "\"a\"", "[]", "{}", "[1,2,3]", "[[],[[]],{}]", "{\"a\":1}", "{\"a\":{\"a\":1}}",
        "{\"a\":1,\"b\":2}", "{\"a\":1,\"\\u0061b\":2}", "{\"\\u0062\":1,\"a\":2}",
        " [ 1 , 2 ] ", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0041\\u00e9\\u20ac\"",
        "\"\\ud83d\\ude00\"", "\"\\udbff\\udfff\"",
        "\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\"", "\"\xed\x9f\xbf\"",
        "\"\xee\x80\x80\"", "\"\xf4\x8f\xbf\xbf\"", "\"\xe0\xa0\x80\"", "\"\xf0\x90\x80\x80\"",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"seed\":42}",
        "[true,false,null,\"x\",0.25,{}]", "{\"\":0}", "[[[[[[[[]]]]]]]]", "[1e400]", "[01]",
        "[1,]", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "\"\\u0000\"", "\"\\ud800\"",
        "\"\\udc00\\ud800\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\xef\xbb\xbf{}", "{} x", "nul",
        "\"a\nb\"", "[1 2]", "{\"a\" 1}", "\"\\x\"", "-", "1.", ".5", "+1", "{\"a\":1,}", "[",
        "{\"a\":[{\"b\":[{\"c\":[{\"d\":[]}]}]}]}", "[0.1e+1,1E5,-1.25e-3]", "\"\x7f\"",
        "{\"/\":1,\"\\/b\":2,\"b\":3,\"\\u00fc\":4,\"\xc3\xa4\":5}",
    };
    // clang-format on
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        save("json", texts[i], strlen(texts[i]));
}

/* Headers of safetensors files, right ones and wrong ones; data bytes stand behind. */
static void safetensors_files(void)
{
    static const struct {
        const char *header;
        size_t n_data;
    } files[] = {
        {"{}", 0},
        {"{\"__metadata__\":{\"format\":\"pt\"}}  ", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[2,5]}}",
         5},
        {"{\"b\":{\"dtype\":\"I64\",\"shape\":[1,1,1],\"data_offsets\":[4,12]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
         12},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4,0],\"data_offsets\":[0,0]}}", 0},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,7]}}",
         7},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[1099511627776,2097152],\"data_offsets\":[0,0]}}", 0},
        {"{\"a\\u0062\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
         4},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct gguf_build build = {0};
        build_u64(&build, strlen(files[i].header));
        build_bytes(&build, files[i].header, strlen(files[i].header));
        for (size_t j = 0; j < files[i].n_data; j++)
            build_int(&build, j, 1);
        save("safetensors", build.bytes, build.n_bytes);
        build_release(&build);
    }
}

/* tokenizer.json files of each kind, and configurations with a small one. */
static void checkpoint_files(void)
{
    static const char *const files[] = {
        "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
        "{\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true,\"lstrip\":true,"
        "\"rstrip\":true,\"normalized\":true}],\"normalizer\":{\"type\":\"NFC\"},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
        "\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
        "{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]},\"decoder\":{\"type\":\"ByteLevel\"},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"e\":3},"
        "\"merges\":[[\"a\",\"b\"]]}}",
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
        "\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":"
        "\"\xe2\x96\x81\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},\"model\":{\"type\":"
        "\"BPE\",\"unk_token\":\"u\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"u\":0,"
        "\"<0x41>\":1,\"\xe2\x96\x81\":2,\"a\":3,\"\xe2\x96\x81"
        "a\":4},\"merges\":[\"\xe2\x96\x81 a\"]}}",
        "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\","
        "\"prepend_scheme\":\"first\",\"split\":true},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}"
        "}",
        "{\"model_type\":\"qwen2\",\"num_hidden_layers\":2,\"max_position_embeddings\":64,"
        "\"hidden_size\":32,\"intermediate_size\":16,\"num_attention_heads\":2,\"vocab_size\":8,"
        "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":16}}"
        "\n---\n{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
        "{\"text_config\":{\"model_type\":\"llama\",\"num_hidden_layers\":1,"
        "\"max_position_embeddings\":64,\"hidden_size\":32,\"intermediate_size\":16,"
        "\"num_attention_heads\":2,\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,"
        "\"rope_theta\":500000.0,\"original_max_position_embeddings\":16}}}\n---\n{}",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        save("hf", files[i], strlen(files[i]));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    mkdir(folder, 0777);
    gguf_kinds();
    gguf_types();
    gguf_others();
    json_texts();
    safetensors_files();
    checkpoint_files();
    printf("%u seeds in %s\n", n_seeds, folder);
    return 0;
}
