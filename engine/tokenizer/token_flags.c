/* Which tokens end a generation, and other properties that GGUF files do not carry.
 *
 * A file names one eos token; chat models end their turns with others, so the known end markers are
 * found by their text. A marker that the file calls a normal token is made a control token: else a
 * message that contains it would end the turn.
 *
 * Source: generation configurations of the models; llama.cpp's list of end markers. */
#include <ctype.h>
#include <string.h>

#include "engine/formats/gguf.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/tokenizer_private.h"

static const char *const end_markers[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "[e~[",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
};

static int32_t find(const struct tokenizer *tokenizer, const char *text)
{
    return vocab_find_text(&tokenizer->vocab, text, strlen(text));
}

static void set_end(struct tokenizer *tokenizer, int32_t id)
{
    if (id >= 0)
        tokenizer->flags[id] |= TOKEN_ENDS;
}

/* A marker of the list that this vocabulary uses for something else. */
static bool is_no_end(const struct tokenizer *tokenizer, const char *marker, int32_t id)
{
    if (!strcmp(marker, "<|end|>"))  // gpt-oss ends a message with it, not the turn
        return (find(tokenizer, "<|call|>") >= 0 && find(tokenizer, "<|return|>") >= 0) ||
               (find(tokenizer, "<|calls|>") >= 0 && find(tokenizer, "<|flush|>") >= 0);
    if (!strcmp(marker, "</s>"))  // the HTML tag in the vocabularies of Qwen, Gemma, Phi-3
        return tokenizer->vocab.kinds[id] != TOKEN_KIND_CONTROL ||
               find(tokenizer, "<|tool_response>") >= 0;
    return false;
}

static bool is_glm(const struct tokenizer *tokenizer)
{
    const char *name = tokenizer->pretokenizer ? tokenizer->pretokenizer->name : "";
    return !strcmp(name, "chatglm-bpe") || !strcmp(name, "glm4") || !strcmp(name, "glm5");
}

/* generation_config.json names all ends. */
static void set_listed_ends(struct tokenizer *tokenizer, const struct model_file *file)
{
    static const char key[] = "tokenizer.huggingface.eos_token_ids";
    size_t n = 0;
    int64_t id;
    if (!model_file_array(file, key, &n))
        return;
    for (size_t i = 0; i < n; i++) {
        if (model_file_array_i64(file, key, i, &id) && id >= 0 &&
            (uint64_t)id < tokenizer->vocab.n_tokens)
            set_end(tokenizer, (int32_t)id);
    }
}

static void set_ends(struct tokenizer *tokenizer, const struct model_file *file)
{
    set_end(tokenizer, tokenizer->eos);
    set_end(tokenizer, tokenizer->eot);
    set_end(tokenizer, tokenizer->eom);
    set_listed_ends(tokenizer, file);
    for (size_t i = 0; i < sizeof end_markers / sizeof end_markers[0]; i++) {
        int32_t id = find(tokenizer, end_markers[i]);
        if (id < 0 || is_no_end(tokenizer, end_markers[i], id))
            continue;
        set_end(tokenizer, id);
        tokenizer->vocab.kinds[id] = TOKEN_KIND_CONTROL;
    }
    if (is_glm(tokenizer)) {
        set_end(tokenizer, find(tokenizer, "<|user|>"));
        set_end(tokenizer, find(tokenizer, "<|observation|>"));
    }
}

/* Phi-3's markers take the white space behind them; GGUF has no key for it. */
static bool is_phi3(const struct tokenizer *tokenizer, const struct model_file *file)
{
    struct text_view arch;
    return tokenizer->model == TOKENIZER_SPM &&
           model_file_text(file, "general.architecture", &arch) && arch.n_bytes == 4 &&
           !memcmp(arch.bytes, "phi3", 4);
}

void token_flags_set(struct tokenizer *tokenizer, const struct model_file *file)
{
    set_ends(tokenizer, file);
    if (!is_phi3(tokenizer, file))
        return;
    for (size_t i = 0; i < tokenizer->vocab.n_tokens; i++) {
        enum token_kind kind = tokenizer->vocab.kinds[i];
        if (kind == TOKEN_KIND_CONTROL || kind == TOKEN_KIND_USER_DEFINED)
            tokenizer->flags[i] |= TOKEN_STRIPS_RIGHT;
    }
    static const char *const plain[] = {"<unk>", "<s>", "<|endoftext|>"};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        int32_t id = find(tokenizer, plain[i]);
        if (id >= 0)
            tokenizer->flags[id] &= (uint8_t)~TOKEN_STRIPS_RIGHT;
    }
}

enum status token_flags_added(struct tokenizer *tokenizer, const struct model_file *file,
                              struct error *err)
{
    static const char key[] = "tokenizer.huggingface.token_flags";
    for (size_t i = 0; i < tokenizer->vocab.n_tokens; i++) {
        int64_t added = 0;
        if (!model_file_array_i64(file, key, i, &added) || added == 0)
            continue;
        size_t n;
        char quoted[GGUF_QUOTE_BYTES];
        const char *text = vocab_text(&tokenizer->vocab, i, &n);
        if (added & HF_TOKEN_SINGLE_WORD)
            return error_set(err, ERR_UNSUPPORTED,
                             "tokenizer.json: the added token '%s' with single_word is not "
                             "supported",
                             gguf_quote(quoted, text, n));
        if (added & HF_TOKEN_NORMALIZED && tokenizer->pipeline.prefix_normalized)
            return error_set(err, ERR_UNSUPPORTED,
                             "tokenizer.json: the added token '%s' with normalized beside the "
                             "normalizer Prepend is not supported",
                             gguf_quote(quoted, text, n));
        tokenizer->flags[i] |= added & HF_TOKEN_LSTRIP ? TOKEN_STRIPS_LEFT : 0;
        tokenizer->flags[i] |= added & HF_TOKEN_RSTRIP ? TOKEN_STRIPS_RIGHT : 0;
        tokenizer->flags[i] |= added & HF_TOKEN_NORMALIZED ? TOKEN_NORMALIZED : 0;
    }
    return OK;
}

void token_flags_find_fim(struct tokenizer *tokenizer)
{
    // Qwen and StarCoder, Granite, DeepSeek, CodeLlama, CodeGemma alike, GLM.
    static const char *const markers[][3] = {
        {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
        {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
        {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},
        {"<\xef\xbd\x9c"
         "fim\xe2\x96\x81"
         "begin\xef\xbd\x9c>",
         "<\xef\xbd\x9c"
         "fim\xe2\x96\x81"
         "hole\xef\xbd\x9c>",
         "<\xef\xbd\x9c"
         "fim\xe2\x96\x81"
         "end\xef\xbd\x9c>"},
        {"\xe2\x96\x81<PRE>", "\xe2\x96\x81<SUF>", "\xe2\x96\x81<MID>"},
        {"<PRE>", "<SUF>", "<MID>"},
        {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},
    };
    struct fim_tokens *fim = &tokenizer->fim;
    bool is_named = fim->prefix >= 0 && fim->suffix >= 0 && fim->middle >= 0;
    for (size_t i = 0; !is_named && i < sizeof markers / sizeof markers[0]; i++) {
        struct fim_tokens found = {find(tokenizer, markers[i][0]), find(tokenizer, markers[i][1]),
                                   find(tokenizer, markers[i][2])};
        if (found.prefix < 0 || found.suffix < 0 || found.middle < 0)
            continue;
        *fim = found;
        return;
    }
}
