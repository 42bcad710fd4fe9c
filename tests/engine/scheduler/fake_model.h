/* A false model, tokenizer and template for tests of the scheduler: they replace the modules'
 * symbols in the test program.
 *
 * The model writes a hash of (cell before, token, position) into the K bytes of each token and
 * makes logits from a hash over all cells of the row's sequence, so every stale, foreign or missing
 * cell shows in the answer; seven times in eight it prefers a token that depends on the last one.
 * Token t >= 2 has the text of the letter 'a' + t % 26 or of a syllable; 0 ends a generation and 1
 * is a silent control token. */
#ifndef TESTS_FAKE_MODEL_H
#define TESTS_FAKE_MODEL_H

#include <stdatomic.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/cache/kv_cache.h"
#include "engine/model/model.h"
#include "engine/template/chat_prompt.h"
#include "engine/tokenizer/stream_decoder.h"
#include "engine/tokenizer/tokenizer.h"

enum { FAKE_VOCAB = 80, FAKE_EOG = 0, FAKE_CONTROL = 1 };

struct model {
    struct model_info info;
    _Atomic int step_us;  // how long a step takes
    _Atomic uint64_t n_steps, n_abandoned;
    _Atomic bool has_no_habits;
    _Atomic int nan_token;  // rows of this token have logits that are no numbers; -1 = none
};

static uint64_t fake_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9E3779B97F4A7C15u + b + 0x7F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    return x ^ x >> 32;
}

static uint64_t *fake_cell(const struct kv_cache *cache, const struct sequence *sequence,
                           int32_t position)
{
    size_t n_blocks;
    const int32_t *blocks = sequence_blocks(sequence, 0, &n_blocks);
    size_t i = (size_t)position / KV_TOKENS_PER_BLOCK;
    assert_true(i < n_blocks);
    uint64_t *cells = (uint64_t *)(void *)kv_cache_k(cache, 0, blocks[i], 0, 0);
    return cells + position % KV_TOKENS_PER_BLOCK;
}

const struct model_info *model_info(const struct model *model)
{
    return &model->info;
}

enum status model_forward(struct model *model, struct pool *pool, const struct kv_cache *cache,
                          const struct step *step)
{
    (void)pool;
    atomic_fetch_add(&model->n_steps, 1);
    float *logits = step->logits;
    for (size_t i = 0; i < step->n_rows; i++) {
        const struct step_row *row = &step->rows[i];
        const struct sequence *sequence = step->sequences[row->sequence];
        uint64_t before = row->position == 0 ? 0 : *fake_cell(cache, sequence, row->position - 1);
        *fake_cell(cache, sequence, row->position) =
            fake_mix(fake_mix(before, (uint64_t)row->token), (uint64_t)row->position);
        if (!(row->outputs & ROW_LOGITS))
            continue;
        uint64_t digest = 0;
        for (int32_t p = 0; p <= row->position; p++)
            digest = fake_mix(digest, *fake_cell(cache, sequence, p));
        for (size_t t = 0; t < FAKE_VOCAB; t++)
            logits[t] = (float)(fake_mix(digest, t) % 10000) * 5e-4f;
        if (digest % 8 != 0 && !atomic_load(&model->has_no_habits))  // what repeats can be guessed
            logits[2 + (row->token * 5 + 7) % 13 * 6] += 6;
        if (row->token == atomic_load(&model->nan_token))
            logits[7] = (float)(0.0 / 0.0);
        logits += FAKE_VOCAB;
    }
    for (int layer = 0; layer < 4; layer++) {
        int step_us = atomic_load(&model->step_us);
        if (step_us > 0)
            usleep((useconds_t)(step_us / 4));
        if (step->abandoned != NULL && step->abandoned(step->context)) {
            atomic_fetch_add(&model->n_abandoned, 1);
            return ERR_CANCELLED;
        }
    }
    return OK;
}

/* ---- tokenizer ---- */

struct tokenizer {
    char pieces[FAKE_VOCAB][4];
};

static void fake_tokenizer_init(struct tokenizer *tokenizer)
{
    for (int t = 0; t < FAKE_VOCAB; t++) {
        tokenizer->pieces[t][0] = (char)('a' + t % 26);
        if (t % 3 == 0)
            tokenizer->pieces[t][1] = (char)('a' + t / 26);
    }
}

size_t tokenizer_vocab(const struct tokenizer *tokenizer)
{
    (void)tokenizer;
    return FAKE_VOCAB;
}

int32_t tokenizer_bos(const struct tokenizer *tokenizer)
{
    (void)tokenizer;
    return TOKEN_NONE;
}

bool tokenizer_adds_bos(const struct tokenizer *tokenizer)
{
    (void)tokenizer;
    return false;
}

bool tokenizer_fim(const struct tokenizer *tokenizer, struct fim_tokens *out)
{
    (void)tokenizer;
    *out = (struct fim_tokens){2, 3, 4};
    return true;
}

bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id)
{
    (void)tokenizer;
    return id <= FAKE_CONTROL;
}

bool tokenizer_is_eog(const struct tokenizer *tokenizer, int32_t id)
{
    (void)tokenizer;
    return id == FAKE_EOG;
}

const char *tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, size_t *n_bytes)
{
    assert_true(id >= 0 && id < FAKE_VOCAB);
    *n_bytes = strlen(tokenizer->pieces[id]);
    return tokenizer->pieces[id];
}

void token_list_release(struct token_list *list)
{
    mem_free(list->ids);
    *list = (struct token_list){0};
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const struct prompt_text *text,
                             bool add_special, size_t tokens_max, struct token_list *out,
                             struct error *err)
{
    (void)tokenizer, (void)add_special, (void)tokens_max;
    out->ids = mem_alloc_array(text->n_bytes + 1, sizeof *out->ids);
    if (out->ids == NULL)
        return error_set(err, ERR_MEMORY, "no memory");
    out->n_ids = out->capacity = text->n_bytes;
    for (size_t i = 0; i < text->n_bytes; i++)
        out->ids[i] = 2 + (unsigned char)text->bytes[i] % (FAKE_VOCAB - 2);
    return OK;
}

void stream_decoder_init(struct stream_decoder *decoder, const struct tokenizer *tokenizer,
                         bool show_control, bool at_start)
{
    *decoder = (struct stream_decoder){.tokenizer = tokenizer, .show_control = show_control};
    (void)at_start;
}

bool stream_decoder_push(struct stream_decoder *decoder, int32_t id, struct buf *out)
{
    if (id <= FAKE_CONTROL && !decoder->show_control)
        return true;
    return buf_append_text(out, decoder->tokenizer->pieces[id]);
}

bool stream_decoder_finish(struct stream_decoder *decoder, struct buf *out)
{
    (void)decoder;
    return !out->failed;
}

/* ---- template ---- */

enum status chat_prompt_render(const struct chat_prompt *prompt,
                               const struct chat_prompt_input *input,
                               struct chat_prompt_output *out, struct error *err)
{
    (void)prompt;
    buf_init(&out->text, 100000);
    buf_append_text(&out->text, input->messages_json);
    return buf_status(&out->text, "prompt", err);
}

void chat_prompt_output_release(struct chat_prompt_output *out)
{
    buf_release(&out->text);
}

#endif
