/* Sampling parameters of a job; see job_sampling.h.
 *
 * Bad words are looked for as they stand and behind a space, since a word inside of a text is
 * mostly that and mostly other tokens then (vLLM takes the second form only where it has as many
 * tokens, and so misses some). Text in logit_bias gives its bias to each of its tokens, as in
 * llama.cpp. A DRY breaker is any token whose text holds one of the strings; strings that only two
 * tokens together make up do not break (llama.cpp follows those too). */
#include "engine/scheduler/job_sampling.h"

#include <assert.h>

_Static_assert(sizeof(struct logit_bias) == sizeof(struct job_logit_bias), "same layout");
_Static_assert((int)LOGIT_BIAS_MAX == (int)ENGINE_LOGIT_BIAS_MAX, "same limit");

static enum status check_token(const char *param, int32_t token, size_t n_vocab, struct error *err)
{
    if (token >= 0 && (size_t)token < n_vocab)
        return OK;
    return error_set_param(err, ERR_INVALID, param,
                           "token %d is not in the vocabulary of %zu tokens", (int)token, n_vocab);
}

static enum status check_tokens(const char *param, const int32_t *tokens, size_t n, size_t n_vocab,
                                struct error *err)
{
    enum status status = OK;
    for (size_t i = 0; status == OK && i < n; i++)
        status = check_token(param, tokens[i], n_vocab, err);
    return status;
}

static enum status no_memory(struct error *err)
{
    return error_set(err, ERR_MEMORY, "no memory for the sampling parameters");
}

/* Ids of a plain text; release `out`. */
static enum status encode_plain(const struct tokenizer *tokenizer, const char *text, size_t n_bytes,
                                struct token_list *out, struct error *err)
{
    struct text_span whole = {0, n_bytes};
    struct prompt_text prompt = {text, n_bytes, &whole, n_bytes > 0 ? 1 : 0};
    return tokenizer_encode(tokenizer, &prompt, false, 0, out, err);
}

/* ---- logit_bias ---- */

static enum status add_text_bias(const struct tokenizer *tokenizer,
                                 const struct job_text_bias *bias, struct logit_bias *list,
                                 size_t *n, struct error *err)
{
    struct token_list tokens = {0};
    enum status status = encode_plain(tokenizer, bias->text, strlen(bias->text), &tokens, err);
    for (size_t i = 0; status == OK && i < tokens.n_ids; i++) {
        if (*n == LOGIT_BIAS_MAX)
            status = error_set_param(err, ERR_LIMIT, "logit_bias", "more than %d tokens",
                                     LOGIT_BIAS_MAX);
        else
            list[(*n)++] = (struct logit_bias){tokens.ids[i], bias->bias};
    }
    token_list_release(&tokens);
    return status;
}

static enum status make_bias(struct job *job, const struct tokenizer *tokenizer, size_t n_vocab,
                             struct error *err)
{
    const struct job_request *r = &job->request;
    size_t n = r->n_logit_bias;
    for (size_t i = 0; i < n; i++) {
        enum status status = check_token("logit_bias", r->logit_bias[i].token, n_vocab, err);
        if (status != OK)
            return status;
    }
    if (r->n_text_bias == 0) {
        job->sampling.logit_bias = (const struct logit_bias *)(const void *)r->logit_bias;
        job->sampling.n_logit_bias = n;
        return OK;
    }
    struct logit_bias *list = arena_alloc(&job->arena, LOGIT_BIAS_MAX * sizeof *list);
    if (list == NULL)
        return no_memory(err);
    if (n > 0)
        memcpy(list, r->logit_bias, n * sizeof *list);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < r->n_text_bias; i++)
        status = add_text_bias(tokenizer, &r->text_bias[i], list, &n, err);
    job->sampling.logit_bias = list;
    job->sampling.n_logit_bias = n;
    return status;
}

/* ---- bad words ---- */

static enum status add_word(struct token_list *all, uint32_t *ends, size_t *n_words,
                            const struct token_list *word, struct error *err)
{
    size_t n = all->n_ids + word->n_ids;
    if (n > all->capacity) {
        int32_t *ids = mem_realloc_array(all->ids, 2 * n, sizeof *ids);
        if (ids == NULL)
            return no_memory(err);
        all->ids = ids;
        all->capacity = 2 * n;
    }
    memcpy(all->ids + all->n_ids, word->ids, word->n_ids * sizeof *all->ids);
    all->n_ids = n;
    ends[(*n_words)++] = (uint32_t)n;
    return OK;
}

static enum status add_bad_word(const struct tokenizer *tokenizer, const char *text,
                                struct token_list *all, uint32_t *ends, size_t *n_words,
                                struct error *err)
{
    char spaced[ENGINE_WORD_BYTES_MAX + 2] = " ";
    while (*text == ' ')
        text++;
    size_t n_bytes = strlen(text);
    if (n_bytes == 0)
        return error_set_param(err, ERR_INVALID, "bad_words", "a bad word must not be blank");
    assert(n_bytes <= ENGINE_WORD_BYTES_MAX);
    memcpy(spaced + 1, text, n_bytes);
    struct token_list plain = {0}, behind_space = {0};
    enum status status = encode_plain(tokenizer, text, n_bytes, &plain, err);
    if (status == OK)
        status = encode_plain(tokenizer, spaced, n_bytes + 1, &behind_space, err);
    if (status == OK && plain.n_ids > 0)
        status = add_word(all, ends, n_words, &plain, err);
    if (status == OK && behind_space.n_ids > 0)
        status = add_word(all, ends, n_words, &behind_space, err);
    token_list_release(&plain);
    token_list_release(&behind_space);
    return status;
}

static enum status make_bad_words(struct job *job, const struct tokenizer *tokenizer,
                                  struct error *err)
{
    const struct job_request *r = &job->request;
    if (r->n_bad_words == 0)
        return OK;
    struct token_list all = {0};
    uint32_t *ends = arena_alloc(&job->arena, 2 * r->n_bad_words * sizeof *ends);
    size_t n_words = 0;
    enum status status = ends != NULL ? OK : no_memory(err);
    for (size_t i = 0; status == OK && i < r->n_bad_words; i++)
        status = add_bad_word(tokenizer, r->bad_words[i], &all, ends, &n_words, err);
    const void *ids = NULL;
    if (status == OK && all.n_ids > 0) {
        ids = arena_memdup0(&job->arena, all.ids, all.n_ids * sizeof *all.ids);
        status = ids != NULL ? OK : no_memory(err);
    }
    job->sampling.bad_words = (struct token_lists){ids, ends, n_words};
    token_list_release(&all);
    return status;
}

/* ---- DRY, min_tokens ---- */

static bool holds_any(const char *piece, size_t n_bytes, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memmem(piece, n_bytes, texts[i], strlen(texts[i])) != NULL)
            return true;
    return false;
}

static enum status make_dry(struct job *job, const struct tokenizer *tokenizer, size_t n_vocab,
                            struct error *err)
{
    const struct job_request *r = &job->request;
    if (!(r->dry_multiplier > 0))
        return OK;
    uint8_t *breakers = arena_alloc(&job->arena, n_vocab / 8 + 1);
    if (breakers == NULL)
        return no_memory(err);
    for (size_t token = 0; token < tokenizer_vocab(tokenizer) && token < n_vocab; token++) {
        size_t n_bytes;
        const char *piece = tokenizer_piece(tokenizer, (int32_t)token, &n_bytes);
        if (holds_any(piece, n_bytes, r->dry_breakers, r->n_dry_breakers))
            breakers[token / 8] |= (uint8_t)(1u << token % 8);
    }
    job->sampling.dry = (struct dry_params){
        .multiplier = r->dry_multiplier,
        .base = r->dry_base,
        .allowed_length = r->dry_allowed_length,
        .window = r->dry_window,
        .breakers = breakers,
    };
    return OK;
}

/* What may not come before min_tokens: whatever would end the answer. */
static enum status make_late(struct job *job, const struct tokenizer *tokenizer, struct error *err)
{
    const struct job_request *r = &job->request;
    if (r->min_tokens == 0)
        return OK;
    size_t n_vocab = tokenizer_vocab(tokenizer), n = 0;
    for (size_t token = 0; !r->ignore_eos && token < n_vocab; token++)
        n += tokenizer_is_eog(tokenizer, (int32_t)token);
    int32_t *late = arena_alloc(&job->arena, (n + r->n_stop_tokens + 1) * sizeof *late);
    if (late == NULL)
        return no_memory(err);
    n = 0;
    for (size_t token = 0; !r->ignore_eos && token < n_vocab; token++)
        if (tokenizer_is_eog(tokenizer, (int32_t)token))
            late[n++] = (int32_t)token;
    for (size_t i = 0; i < r->n_stop_tokens; i++)
        late[n++] = r->stop_tokens[i];
    job->sampling.late = late;
    job->sampling.n_late = n;
    job->sampling.min_tokens = r->min_tokens;
    return OK;
}

enum status job_sampling_make(struct job *job, const struct tokenizer *tokenizer, size_t n_vocab,
                              struct error *err)
{
    const struct job_request *r = &job->request;
    job->sampling = (struct sampling_params){
        .temperature = r->temperature,
        .top_p = r->top_p,
        .top_k = r->top_k,
        .min_p = r->min_p,
        .presence_penalty = r->presence_penalty,
        .frequency_penalty = r->frequency_penalty,
        .repetition_penalty = r->repetition_penalty,
        .seed = job->seed,
        .top_logprobs = r->top_logprobs,
        .penalty_window = r->penalty_window,
        .top_n_sigma = r->top_n_sigma,
        .typical_p = r->typical_p,
        .xtc_probability = r->xtc_probability,
        .xtc_threshold = r->xtc_threshold,
        .allowed = r->allowed_tokens,
        .n_allowed = r->n_allowed_tokens,
    };
    enum status status =
        check_tokens("allowed_token_ids", r->allowed_tokens, r->n_allowed_tokens, n_vocab, err);
    if (status == OK)
        status = check_tokens("stop_token_ids", r->stop_tokens, r->n_stop_tokens, n_vocab, err);
    if (status == OK)
        status = make_bias(job, tokenizer, n_vocab, err);
    if (status == OK)
        status = make_bad_words(job, tokenizer, err);
    if (status == OK)
        status = make_dry(job, tokenizer, n_vocab, err);
    return status == OK ? make_late(job, tokenizer, err) : status;
}
