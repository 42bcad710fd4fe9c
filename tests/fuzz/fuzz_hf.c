/* Fuzz target: config.json and tokenizer.json of a checkpoint directory.
 *
 * The input is both files, cut at the first line that is "---"; without one it is a tokenizer.json
 * beside a good configuration. They are written into a directory with no tensors and opened: the
 * view, then the tokenizer, then some texts are encoded and decoded. Beyond "no crash" it asks:
 *   - a refused directory has a status and a text of printable characters;
 *   - of an accepted one every key is found again, every token's text is the token's, and encoding
 *     gives ids of the vocabulary, no control token from untrusted text, and valid UTF-8 back;
 *   - opened twice, it gives the same ids.
 *
 * fuzz-sources: engine/base engine/tokenizer engine/formats/gguf.c engine/formats/gguf_value.c
 *               engine/formats/gguf_set.c engine/formats/hf_config.c engine/formats/hf_rope.c
 *               engine/formats/hf_directory.c engine/formats/hf_tensors.c
 *               engine/formats/hf_tokenizer.c engine/formats/hf_sentencepiece.c
 *               engine/formats/sentencepiece.c engine/formats/json_doc.c
 *               engine/formats/metadata.c engine/formats/model_file.c engine/formats/name_index.c
 *               engine/formats/quantize.c engine/formats/safetensors.c
 *               engine/formats/tensor_source.c
 * fuzz-libraries: -lnettle -lm -lpthread */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/utf8.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/stream_decoder.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static const char good_config[] =
    "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"max_position_embeddings\":128,"
    "\"hidden_size\":16,\"intermediate_size\":16,\"num_attention_heads\":1}";
static const char no_tensors[] = "\2\0\0\0\0\0\0\0{}";

static char directory[64];

static void write_file(const char *name, const void *bytes, size_t n_bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, bytes, n_bytes) == (ssize_t)n_bytes);
    close(fd);
}

static void make_directory(void)
{
    if (directory[0])
        return;
    snprintf(directory, sizeof directory, "/dev/shm/wicara-fuzz-XXXXXX");
    FUZZ_CHECK(mkdtemp(directory));
    write_file("model.safetensors", no_tensors, sizeof no_tensors - 1);
}

static void check_error(enum status status, const struct error *err)
{
    FUZZ_CHECK(status == err->status && err->text[0] != '\0');
    for (const unsigned char *c = (const unsigned char *)err->text; *c; c++)
        FUZZ_CHECK(*c >= 0x20 && *c != 0x7f);
}

/* Encodes as untrusted text; the ids' sum tells two runs apart. */
static uint64_t check_text(const struct tokenizer *tokenizer, const char *text, size_t n_bytes)
{
    struct text_span all = {0, n_bytes};
    struct prompt_text prompt = {text, n_bytes, &all, n_bytes > 0};
    struct token_list list = {0};
    struct stream_decoder decoder;
    struct buf out;
    uint64_t sum = 0;
    FUZZ_CHECK(tokenizer_encode(tokenizer, &prompt, false, 0, &list, NULL) == OK);
    buf_init(&out, 1 << 24);
    stream_decoder_init(&decoder, tokenizer, true, true);
    for (size_t i = 0; i < list.n_ids; i++) {
        FUZZ_CHECK(list.ids[i] >= 0 && (size_t)list.ids[i] < tokenizer_vocab(tokenizer));
        stream_decoder_push(&decoder, list.ids[i], &out);
        sum = sum * 31 + (uint64_t)list.ids[i] + 1;
    }
    stream_decoder_finish(&decoder, &out);
    FUZZ_CHECK(out.n_bytes == 0 || utf8_is_valid(out.bytes, out.n_bytes, NULL));
    buf_release(&out);
    token_list_release(&list);
    return sum;
}

static uint64_t check_tokenizer(const struct tokenizer *tokenizer)
{
    static const char text[] =
        "a b  ab \xe2\x96\x81x e\xcc\x81 <s></s>\n12 \xff\xe4\xbd\xa0 <0x41>";
    uint64_t sum = check_text(tokenizer, text, sizeof text - 1) + check_text(tokenizer, "", 0);
    for (size_t id = 0; id < tokenizer_vocab(tokenizer) && id < 50; id++) {
        size_t n;
        const char *token = tokenizer_token_text(tokenizer, (int32_t)id, &n);
        FUZZ_CHECK(n == 0 || tokenizer_find(tokenizer, token, n) == (int32_t)id);
        sum += check_text(tokenizer, token, n);
    }
    return sum;
}

/* Opens all; 0 when it was refused. */
static uint64_t open_all(void)
{
    struct model_file *file;
    struct tokenizer *tokenizer = NULL;
    struct error err = {0};
    uint64_t sum = 0;
    enum status status = model_file_open(&file, directory, &err);
    if (!status) {
        for (size_t i = 0; i < model_file_keys(file); i++)
            FUZZ_CHECK(model_file_has(file, model_file_key_at(file, i, NULL)));
        status = tokenizer_open(&tokenizer, file, &err);
    }
    if (status)
        check_error(status, &err);
    else
        sum = check_tokenizer(tokenizer) + 1;
    tokenizer_close(tokenizer);
    model_file_close(file);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = memmem(data, size, "\n---\n", 5);
    make_directory();
    if (cut) {
        write_file("config.json", data, (size_t)(cut - data));
        write_file("tokenizer.json", cut + 5, size - (size_t)(cut - data) - 5);
    } else {
        write_file("config.json", good_config, sizeof good_config - 1);
        write_file("tokenizer.json", data, size);
    }
    uint64_t sum = open_all();
    FUZZ_CHECK(sum == 0 || open_all() == sum);
    return 0;
}
