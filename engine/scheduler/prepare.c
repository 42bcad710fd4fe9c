/* The text pool's work; see prepare.h.
 *
 * A chat template carries its own BOS text, so chat prompts are tokenized without added special
 * tokens, as transformers' apply_chat_template does; plain prompts get what the file asks for. Text
 * from a request is untrusted as a whole unless parse_special was asked for: only template text may
 * become control tokens.
 *
 * Context: as OpenAI does, a prompt plus an explicit max_tokens beyond the context is refused; an
 * absent max_tokens means whatever room is left, of the context and of the KV pool. */
#include "engine/scheduler/prepare.h"

#include "engine/scheduler/job_sampling.h"
#include "engine/tokenizer/stream_decoder.h"

enum { TEXT_BYTES_MAX = 1 << 28 };

static enum status encode(const struct prepare *prepare, const struct prompt_text *text,
                          bool add_special, struct job *job, struct error *err)
{
    return tokenizer_encode(prepare->tokenizer, text, add_special, 0, &job->prompt, err);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Ends the rendered text behind the last place where `content` stands in it. Templates trim content
 * or leave it; white space at its end stays where the template left it. Source: transformers'
 * continue_final_message. On an error `out` is released. */
static enum status cut_behind(struct chat_prompt_output *out, const char *content,
                              struct error *err)
{
    while (is_space(*content))
        content++;
    size_t n_whole = strlen(content), n = n_whole;
    while (n > 0 && is_space(content[n - 1]))
        n--;
    const char *text = out->text.bytes, *found = NULL;
    for (size_t at = out->text.n_bytes; n > 0 && at >= n && !found; at--)
        if (memcmp(text + at - n, content, n) == 0)
            found = text + at - n;
    if (!found) {
        chat_prompt_output_release(out);
        return error_set_param(err, ERR_INVALID, "messages",
                               n == 0 ? "the last message has no text to continue"
                                      : "the model's template does not show the last message as it "
                                        "is, so it cannot be continued");
    }
    size_t first = (size_t)(found - text), left = out->text.n_bytes - first;
    bool is_whole = left >= n_whole && memcmp(found, content, n_whole) == 0;
    size_t end = first + (is_whole ? n_whole : n);
    buf_truncate(&out->text, end);
    while (out->n_untrusted > 0 && out->untrusted[out->n_untrusted - 1].first >= end)
        out->n_untrusted--;
    if (out->n_untrusted > 0 && out->untrusted[out->n_untrusted - 1].last > end)
        out->untrusted[out->n_untrusted - 1].last = end;
    return OK;
}

static enum status render(const struct prepare *prepare, const struct job *job,
                          struct chat_prompt_output *out, struct error *err)
{
    const struct job_request *request = &job->request;
    if (prepare->chat_prompt == NULL)
        return error_set_param(err, prepare->template_error.status, "messages", "%s",
                               prepare->template_error.text);
    struct chat_prompt_input input = {
        .messages_json = request->messages_json,
        .tools_json = request->tools_json,
        .variables_json = request->template_variables_json,
        .add_generation_prompt = !request->no_generation_prompt && request->continue_text == NULL,
        .now_unix_s = request->arrival_unix_s,
    };
    enum status status = chat_prompt_render(prepare->chat_prompt, &input, out, err);
    return status == OK && request->continue_text != NULL
               ? cut_behind(out, request->continue_text, err)
               : status;
}

/* How this reply is to be read, which the prompt decides in part. */
static enum status prepare_reply(const struct prepare *prepare, struct job *job,
                                 const struct buf *prompt, struct error *err)
{
    job->reply_format = prepare->reply_format;
    if (job->reply_format.name == NULL)
        return OK;
    const char *text = prompt->bytes != NULL ? prompt->bytes : "";
    if (!job->reply_format.thinks && strstr(text, "<|begin_of_thought|>") != NULL)
        reply_format_add_thought_tags(&job->reply_format);
    bool is_constrained = job->request.constraint.kind != CONSTRAINT_NONE;
    if (job->request.forced_call || (is_constrained && job->reply_format.kind == REPLY_HARMONY))
        reply_format_set_bare(&job->reply_format);
    job->is_thinking = reply_prompt_is_thinking(&job->reply_format, text, prompt->n_bytes);
    const char *stop = job->reply_format.stop_thinking;
    enum status status = OK;
    if (job->request.has_thinking_budget && stop != NULL) {
        struct prompt_text all_trusted = {.bytes = stop, .n_bytes = strlen(stop)};
        const char *end = reply_format_thought_end(&job->reply_format);
        const char *found = is_constrained && end != NULL ? strstr(stop, end) : NULL;
        if (found != NULL)  // the rest is the grammar's
            all_trusted.n_bytes = (size_t)(found - stop) + strlen(end);
        status =
            tokenizer_encode(prepare->tokenizer, &all_trusted, false, 0, &job->stop_thinking, err);
    }
    if (status == OK && job->request.tools_json != NULL)
        status = reply_tools_create(&job->reply_tools, job->request.tools_json, err);
    return status;
}

static enum status tokenize_messages(const struct prepare *prepare, struct job *job,
                                     struct error *err)
{
    struct chat_prompt_output rendered = {0};
    enum status status = render(prepare, job, &rendered, err);
    if (status != OK)
        return status;
    struct prompt_text text = {
        .bytes = rendered.text.bytes,
        .n_bytes = rendered.text.n_bytes,
        .untrusted = rendered.untrusted,
        .n_untrusted = rendered.n_untrusted,
    };
    status = job_is_cancelled(job) ? ERR_CANCELLED : encode(prepare, &text, false, job, err);
    if (status == OK)
        status = prepare_reply(prepare, job, &rendered.text, err);
    chat_prompt_output_release(&rendered);
    return status;
}

static enum status tokenize_text(const struct prepare *prepare, struct job *job, struct error *err)
{
    const struct job_request *request = &job->request;
    struct text_span whole = {0, request->prompt_bytes};
    struct prompt_text text = {
        .bytes = request->prompt,
        .n_bytes = request->prompt_bytes,
        .untrusted = &whole,
        .n_untrusted = request->parse_special || request->prompt_bytes == 0 ? 0 : 1,
    };
    return encode(prepare, &text, !request->no_special, job, err);
}

static enum status check_ids(const struct job_request *request, size_t n_vocab, const char *param,
                             struct error *err)
{
    for (size_t i = 0; i < request->n_prompt_tokens; i++)
        if (request->prompt_tokens[i] < 0 || (size_t)request->prompt_tokens[i] >= n_vocab)
            return error_set_param(err, ERR_INVALID, param,
                                   "token %d (number %zu) is not in the vocabulary of %zu tokens",
                                   (int)request->prompt_tokens[i], i, n_vocab);
    return OK;
}

static enum status take_ids(const struct prepare *prepare, struct job *job, struct error *err)
{
    const struct job_request *request = &job->request;
    enum status status = check_ids(request, prepare->n_vocab, "prompt", err);
    if (status != OK)
        return status;
    job->prompt.ids = mem_alloc_array(request->n_prompt_tokens, sizeof *job->prompt.ids);
    if (job->prompt.ids == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the prompt");
    memcpy(job->prompt.ids, request->prompt_tokens,
           request->n_prompt_tokens * sizeof *job->prompt.ids);
    job->prompt.n_ids = job->prompt.capacity = request->n_prompt_tokens;
    return OK;
}

static enum status append_id(struct token_list *list, int32_t id, struct error *err)
{
    if (list->n_ids == list->capacity) {
        int32_t *ids = mem_realloc_array(list->ids, 2 * list->n_ids + 8, sizeof *ids);
        if (ids == NULL)
            return error_set(err, ERR_MEMORY, "no memory for the prompt");
        list->ids = ids;
        list->capacity = 2 * list->n_ids + 8;
    }
    list->ids[list->n_ids++] = id;
    return OK;
}

/* Fill in the middle, as the model was trained for it: <prefix> text <suffix> text <middle>, behind
 * the beginning-of-text token where there is one. */
static enum status fill_in(const struct prepare *prepare, struct job *job, struct error *err)
{
    const struct job_request *request = &job->request;
    const struct tokenizer *tokenizer = prepare->tokenizer;
    struct fim_tokens fim;
    if (!tokenizer_fim(tokenizer, &fim))
        return error_set_param(err, ERR_UNSUPPORTED, "suffix",
                               "this model has no tokens for filling in the middle");
    if (request->n_prompt_tokens > 0)
        return error_set_param(err, ERR_UNSUPPORTED, "suffix",
                               "'suffix' needs a prompt of text, not of token ids");
    struct text_span before = {0, request->prompt_bytes}, behind = {0, request->suffix_bytes};
    struct prompt_text prefix = {request->prompt, request->prompt_bytes, &before,
                                 request->prompt_bytes > 0};
    struct prompt_text suffix = {request->suffix, request->suffix_bytes, &behind,
                                 request->suffix_bytes > 0};
    struct token_list *out = &job->prompt;
    enum status status = OK;
    if (tokenizer_adds_bos(tokenizer) && tokenizer_bos(tokenizer) != TOKEN_NONE)
        status = append_id(out, tokenizer_bos(tokenizer), err);
    if (status == OK)
        status = append_id(out, fim.prefix, err);
    if (status == OK)
        status = encode(prepare, &prefix, false, job, err);
    if (status == OK)
        status = append_id(out, fim.suffix, err);
    if (status == OK)
        status = encode(prepare, &suffix, false, job, err);
    return status == OK ? append_id(out, fim.middle, err) : status;
}

static const char *prompt_param(const struct job *job)
{
    return job->request.kind == JOB_CHAT ? "messages" : "prompt";
}

static enum status make_prompt(const struct prepare *prepare, struct job *job, struct error *err)
{
    enum status status;
    if (job->request.kind == JOB_CHAT)
        status = tokenize_messages(prepare, job, err);
    else if (job->request.suffix != NULL)
        status = fill_in(prepare, job, err);
    else if (job->request.n_prompt_tokens > 0)
        status = take_ids(prepare, job, err);
    else
        status = tokenize_text(prepare, job, err);
    if (status == OK && job->prompt.n_ids == 0)
        return error_set_param(err, ERR_INVALID, prompt_param(job), "the prompt is empty");
    return status;
}

/* Most tokens that each choice can generate when the job has the KV pool to itself. */
static size_t pool_room(const struct prepare *prepare, size_t n_prompt, size_t n_choices)
{
    const struct batch_limits *limits = &prepare->limits;
    size_t size = (size_t)limits->block_tokens, n_blocks = (size_t)limits->n_blocks;
    size_t shared = n_choices > 1 ? n_prompt / size : 0;
    if (shared > n_blocks)
        return 0;
    size_t stored_max = (shared + (n_blocks - shared) / n_choices) * size;
    return stored_max >= n_prompt ? stored_max - n_prompt + 1 : 0;
}

static enum status check_room(const struct prepare *prepare, struct job *job, struct error *err)
{
    size_t n_prompt = job->prompt.n_ids, ctx = prepare->ctx_size, n = job->request.n_choices;
    bool no_answer = job->request.no_answer;
    size_t asked = no_answer ? 0 : job->request.max_tokens;
    if (no_answer ? n_prompt > ctx : n_prompt >= ctx)
        return error_set_param(err, ERR_CONTEXT, prompt_param(job),
                               "the prompt has %zu tokens, which leaves no room for an answer in "
                               "the context of %zu tokens",
                               n_prompt, ctx);
    if (asked > ctx - n_prompt)
        return error_set_param(err, ERR_CONTEXT, "max_tokens",
                               "%zu tokens of prompt and %zu of max_tokens are more than the "
                               "context of %zu tokens",
                               n_prompt, asked, ctx);
    if (n > (size_t)prepare->limits.sequences_max)
        return error_set_param(err, ERR_LIMIT, "n",
                               "%zu choices, but the server runs at most %d sequences at once", n,
                               (int)prepare->limits.sequences_max);
    size_t room = pool_room(prepare, n_prompt, n);
    if (room == 0 || asked > room)
        return error_set_param(
            err, ERR_CONTEXT, asked > 0 && room > 0 ? "max_tokens" : prompt_param(job),
            "%zu choices of %zu tokens of prompt and %zu of answer do not fit "
            "the KV cache of %zu tokens",
            n, n_prompt, asked > 0 ? asked : 1,
            (size_t)prepare->limits.n_blocks * (size_t)prepare->limits.block_tokens);
    if (no_answer)
        room = 0;
    job->max_tokens = asked > 0 ? asked : room < ctx - n_prompt ? room : ctx - n_prompt;
    return OK;
}

/* The first n tokens of the prompt as an event. */
static enum status push_tokens(const struct prepare *prepare, struct job *job,
                               enum job_event_type type, size_t n, struct error *err)
{
    struct job_token *tokens = mem_calloc(n + 1, sizeof *tokens);
    if (tokens == NULL)
        return error_set(err, ERR_MEMORY, "no memory for %zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        tokens[i].token = job->prompt.ids[i];
        tokens[i].bytes =
            tokenizer_piece(prepare->tokenizer, job->prompt.ids[i], &tokens[i].n_bytes);
        tokens[i].is_control = tokenizer_is_control(prepare->tokenizer, job->prompt.ids[i]);
    }
    struct job_event event = {.type = type, .tokens = tokens, .n_tokens = n};
    enum status status = event_queue_push(&job->events, &event, err);
    mem_free(tokens);
    return status;
}

/* Under a free reply, the grammar of its calls. It needs no room: there may be no call. */
static enum status make_calls_grammar(const struct prepare *prepare, struct job *job,
                                      struct grammar_calls *calls, struct error *err)
{
    const char *schema = job->request.calls_schema;
    calls->is_bare = job->reply_format.bare;
    calls->is_thinking = job->is_thinking;
    struct grammar_source source = {
        .kind = GRAMMAR_JSON_SCHEMA,
        .text = schema,
        .n_bytes = strlen(schema),
        .is_strict = true,
        .calls = calls,
    };
    if (job->request.ignore_eos)
        return error_set_param(err, ERR_INVALID, "ignore_eos",
                               "'ignore_eos' and strict 'tools' exclude each other");
    struct error cause = {0};
    enum status status = grammar_cache_get(prepare->grammars, &source, &job->grammar, &cause);
    return status == OK ? OK : error_set_param(err, status, "tools", "'tools': %s", cause.text);
}

/* The constraint's grammar, and whether its shortest text fits. */
static enum status make_grammar(const struct prepare *prepare, struct job *job, struct error *err)
{
    const struct job_constraint *c = &job->request.constraint;
    static const enum grammar_kind kinds[] = {
        [CONSTRAINT_JSON_OBJECT] = GRAMMAR_JSON_OBJECT,
        [CONSTRAINT_JSON_SCHEMA] = GRAMMAR_JSON_SCHEMA,
        [CONSTRAINT_REGEX] = GRAMMAR_REGEX,
        [CONSTRAINT_CHOICE] = GRAMMAR_CHOICE,
        [CONSTRAINT_GBNF] = GRAMMAR_GBNF,
    };
    struct grammar_calls calls = {0};
    bool has_calls = c->kind == CONSTRAINT_NONE && job->request.calls_schema != NULL &&
                     reply_format_call_markers(&job->reply_format, &calls.open, &calls.close,
                                               &calls.thought_open, &calls.thought_close);
    if (has_calls)
        return make_calls_grammar(prepare, job, &calls, err);
    if (c->kind == CONSTRAINT_NONE)
        return OK;
    const char *param = c->param != NULL ? c->param : "";
    struct grammar_source source = {
        .kind = kinds[c->kind],
        .text = c->text != NULL ? c->text : "",
        .n_bytes = c->text != NULL ? strlen(c->text) : 0,
        .is_strict = c->is_strict,
        .free_until = c->free_until != NULL || !job->is_thinking
                          ? c->free_until  // a thought that the prompt has opened is left free
                          : reply_format_thought_end(&job->reply_format),
    };
    if (job->request.ignore_eos)
        return error_set_param(err, ERR_INVALID, "ignore_eos",
                               "'ignore_eos' and '%s' exclude each other", param);
    struct error cause = {0};
    enum status status = grammar_cache_get(prepare->grammars, &source, &job->grammar, &cause);
    if (status != OK)
        return error_set_param(err, status, param, "'%s': %s", param, cause.text);
    size_t needed = grammar_tokens_min(job->grammar);
    if (needed <= job->max_tokens)
        return OK;
    if (job->request.max_tokens > 0)
        return error_set_param(err, ERR_INVALID, "max_tokens",
                               "the shortest answer that satisfies '%s' needs %zu tokens, but "
                               "max_tokens is %zu",
                               param, needed, job->max_tokens);
    return error_set_param(err, ERR_CONTEXT, prompt_param(job),
                           "the shortest answer that satisfies '%s' needs %zu tokens, but the "
                           "prompt leaves room for %zu",
                           param, needed, job->max_tokens);
}

static enum status prepare_generation(const struct prepare *prepare, struct job *job,
                                      struct error *err)
{
    enum status status = make_prompt(prepare, job, err);
    if (status == OK)
        status = check_room(prepare, job, err);
    if (status == OK)
        status = job_sampling_make(job, prepare->tokenizer, prepare->n_vocab, err);
    if (status == OK)
        status = make_grammar(prepare, job, err);
    if (status != OK)
        return status;
    struct job_event event = {
        .type = EVENT_PREPARED, .seed = job->seed, .prompt_tokens = job->prompt.n_ids};
    status = event_queue_push(&job->events, &event, err);
    job->n_scored = 1;
    if (status == OK && job->request.prompt_scores)
        status = push_tokens(prepare, job, EVENT_PROMPT, 1, err);  // the scheduler sends the rest
    else if (status == OK && job->request.echo_tokens)
        status = push_tokens(prepare, job, EVENT_PROMPT, job->prompt.n_ids, err);
    return status;
}

static enum status answer_render(const struct prepare *prepare, struct job *job, struct error *err)
{
    struct chat_prompt_output rendered = {0};
    enum status status = render(prepare, job, &rendered, err);
    if (status != OK)
        return status;
    struct job_event event = {
        .type = EVENT_RENDERED, .text = rendered.text.bytes, .n_bytes = rendered.text.n_bytes};
    status = event_queue_push(&job->events, &event, err);
    chat_prompt_output_release(&rendered);
    return status;
}

static enum status answer_tokenize(const struct prepare *prepare, struct job *job,
                                   struct error *err)
{
    enum status status = job->request.messages_json != NULL ? tokenize_messages(prepare, job, err)
                                                            : tokenize_text(prepare, job, err);
    return status == OK ? push_tokens(prepare, job, EVENT_TOKENS, job->prompt.n_ids, err) : status;
}

static enum status answer_detokenize(const struct prepare *prepare, struct job *job,
                                     struct error *err)
{
    const struct job_request *request = &job->request;
    enum status status = check_ids(request, tokenizer_vocab(prepare->tokenizer), "tokens", err);
    if (status != OK)
        return status;
    struct stream_decoder decoder;
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    stream_decoder_init(&decoder, prepare->tokenizer, true, true);
    for (size_t i = 0; i < request->n_prompt_tokens; i++)
        if (!stream_decoder_push(&decoder, request->prompt_tokens[i], &text))
            break;
    stream_decoder_finish(&decoder, &text);
    status = buf_status(&text, "the text", err);
    struct job_event event = {.type = EVENT_RENDERED, .text = text.bytes, .n_bytes = text.n_bytes};
    if (status == OK)
        status = event_queue_push(&job->events, &event, err);
    buf_release(&text);
    return status;
}

enum status prepare_job(const struct prepare *prepare, struct job *job, struct error *err)
{
    switch (job->request.kind) {
    case JOB_CHAT:
    case JOB_COMPLETION:
        return prepare_generation(prepare, job, err);
    case JOB_RENDER:
        return answer_render(prepare, job, err);
    case JOB_TOKENIZE:
        return answer_tokenize(prepare, job, err);
    case JOB_DETOKENIZE:
        return answer_detokenize(prepare, job, err);
    }
    return error_set(err, ERR_INVALID, "unknown kind of job");
}
