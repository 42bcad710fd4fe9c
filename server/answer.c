/* What both shapes of answer share: head, usage, order of the parts; see answer.h.
 *
 * Everything up to "choices" is the same in all chunks of a stream, so it is written once. A chunk
 * then costs a copy of the head and the escaped text: no tree, no allocation in the steady state.
 */
#include "server/answer.h"

#include <inttypes.h>
#include <math.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "server/sse.h"

bool answer_init(struct answer *answer, const struct answer_shape *shape)
{
    memset(answer, 0, sizeof *answer);
    answer->shape = *shape;
    buf_init(&answer->head, 4096);
    size_t n_prompts = shape->n_prompts ? shape->n_prompts : 1;
    size_t n_choices = n_prompts * shape->n_choices;
    answer->choices = mem_calloc(n_choices, sizeof *answer->choices);
    answer->prompts = mem_calloc(n_prompts, sizeof *answer->prompts);
    if (!answer->choices || !answer->prompts)
        return false;
    answer->n_choices = n_choices;
    answer->n_prompts = n_prompts;
    for (size_t i = 0; i < n_choices; i++) {
        struct answer_choice *choice = &answer->choices[i];
        buf_init(&choice->text, ANSWER_BYTES_MAX);
        buf_init(&choice->reasoning, ANSWER_BYTES_MAX);
        buf_init(&choice->calls, ANSWER_BYTES_MAX);
        buf_init(&choice->arguments, ANSWER_BYTES_MAX);
        buf_init(&choice->logprobs, ANSWER_BYTES_MAX);
        buf_init(&choice->token_logprobs, ANSWER_BYTES_MAX);
        buf_init(&choice->top_logprobs, ANSWER_BYTES_MAX);
        buf_init(&choice->text_offset, ANSWER_BYTES_MAX);
        buf_init(&choice->token_ids, ANSWER_BYTES_MAX);
    }
    for (size_t i = 0; i < n_prompts; i++) {
        struct answer_prompt *prompt = &answer->prompts[i];
        buf_init(&prompt->text, ANSWER_BYTES_MAX);
        buf_init(&prompt->logprobs, ANSWER_BYTES_MAX);
        buf_init(&prompt->token_logprobs, ANSWER_BYTES_MAX);
        buf_init(&prompt->top_logprobs, ANSWER_BYTES_MAX);
        buf_init(&prompt->text_offset, ANSWER_BYTES_MAX);
        buf_init(&prompt->scores, ANSWER_BYTES_MAX);
    }
    return true;
}

void answer_release(struct answer *answer)
{
    buf_release(&answer->head);
    for (size_t i = 0; i < answer->n_choices; i++) {
        struct answer_choice *choice = &answer->choices[i];
        buf_release(&choice->text);
        buf_release(&choice->reasoning);
        buf_release(&choice->calls);
        buf_release(&choice->arguments);
        buf_release(&choice->logprobs);
        buf_release(&choice->token_logprobs);
        buf_release(&choice->top_logprobs);
        buf_release(&choice->text_offset);
        buf_release(&choice->token_ids);
        mem_free(choice->stop);
    }
    for (size_t i = 0; i < answer->n_prompts; i++) {
        struct answer_prompt *prompt = &answer->prompts[i];
        buf_release(&prompt->text);
        buf_release(&prompt->logprobs);
        buf_release(&prompt->token_logprobs);
        buf_release(&prompt->top_logprobs);
        buf_release(&prompt->text_offset);
        buf_release(&prompt->scores);
    }
    mem_free(answer->choices);
    mem_free(answer->prompts);
    answer->choices = NULL;
    answer->prompts = NULL;
    answer->n_choices = answer->n_prompts = 0;
}

bool answer_set_echo(struct answer *answer, size_t prompt, const char *text, size_t n_bytes)
{
    struct answer_prompt *to = &answer->prompts[prompt];
    to->is_text = true;
    return buf_append(&to->text, text, n_bytes);
}

bool answer_prepare(struct answer *answer, const char *model_id, const char *fingerprint,
                    uint64_t seed, size_t prompt_tokens)
{
    answer->seed = seed;
    answer->prompt_tokens = prompt_tokens;
    bool chat = answer->shape.endpoint == ENDPOINT_CHAT;
    const char *object = chat ? answer->shape.stream ? "chat.completion.chunk" : "chat.completion"
                              : "text_completion";
    snprintf(answer->id, sizeof answer->id, "%s-%016" PRIx64 "%08" PRIx64,
             chat ? "chatcmpl" : "cmpl", rng_seed_from_system(),
             rng_seed_from_system() & UINT64_C(0xffffffff));
    struct buf *head = &answer->head;
    buf_clear(head);
    buf_printf(head,
               "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", answer->id,
               object, clock_unix_s());
    buf_append_json(head, model_id, strlen(model_id));
    buf_append_text(head, ",\"system_fingerprint\":");
    buf_append_json(head, fingerprint, strlen(fingerprint));
    buf_printf(head, ",\"seed\":%" PRId64 ",\"choices\":[", (int64_t)seed);
    return !head->failed;
}

const char *answer_finish_name(enum finish_reason reason)
{
    static const char *const names[] = {
        [FINISH_STOP] = "stop", [FINISH_LENGTH] = "length", [FINISH_TOOL_CALLS] = "tool_calls"};
    return names[reason];
}

void answer_write_float(struct buf *out, float value)
{
    if (isfinite(value))
        buf_printf(out, "%.9g", (double)value);
    else
        buf_append_text(out, "-9999");
}

void answer_write_token_ids(struct buf *out, const struct job_token *tokens, size_t n_tokens,
                            bool more)
{
    for (size_t i = 0; i < n_tokens; i++)
        buf_printf(out, "%s%" PRId32, more || i > 0 ? "," : "", tokens[i].token);
}

void answer_write_stop_reason(struct buf *out, const char *stop, bool has_token, int32_t token)
{
    if (!stop && !has_token)
        return;
    buf_append_text(out, ",\"stop_reason\":");
    if (stop)
        buf_append_json(out, stop, strlen(stop));
    else
        buf_printf(out, "%" PRId32, token);
}

/* A phase's tokens and time under llama.cpp's names. */
static void write_phase(struct buf *out, const char *name, size_t n_tokens, double seconds)
{
    double n = (double)n_tokens;
    buf_printf(out,
               ",\"%s_n\":%zu,\"%s_ms\":%.3f,\"%s_per_token_ms\":%.3f,"
               "\"%s_per_second\":%.3f",
               name, n_tokens, name, seconds * 1e3, name, n > 0 ? seconds * 1e3 / n : 0, name,
               seconds > 0 ? n / seconds : 0);
}

void answer_write_usage(struct buf *out, const struct job_event *done)
{
    buf_printf(out,
               ",\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%zu},\"completion_tokens_details\":{"
               "\"reasoning_tokens\":%zu},\"prompt_cache_hit_tokens\":%zu,"
               "\"prompt_cache_miss_tokens\":%zu}",
               done->prompt_tokens, done->completion_tokens,
               done->prompt_tokens + done->completion_tokens, done->cached_tokens,
               done->reasoning_tokens, done->cached_tokens,
               done->prompt_tokens - done->cached_tokens);
    buf_printf(out, ",\"timings\":{\"cache_n\":%zu,\"queue_ms\":%.3f", done->cached_tokens,
               done->queue_s * 1e3);
    write_phase(out, "prompt", done->prompt_tokens - done->cached_tokens, done->prefill_s);
    write_phase(out, "predicted", done->completion_tokens, done->decode_s);
    buf_append_char(out, '}');
}

/* One item of vLLM's list: {"id":{"logprob":...,"rank":...,"decoded_token":...},...}, the token
 * itself first. */
static void write_score(struct buf *out, const struct job_token *token, size_t n_top)
{
    if (token->rank == 0) {
        buf_append_text(out, "null");
        return;
    }
    buf_printf(out, "{\"%" PRId32 "\":{\"logprob\":", token->token);
    answer_write_float(out, token->logprob);
    buf_printf(out, ",\"rank\":%" PRIu32 ",\"decoded_token\":", token->rank);
    buf_append_json(out, token->bytes, token->n_bytes);
    buf_append_char(out, '}');
    for (size_t i = 0; i < token->n_top && i < n_top; i++) {
        if (token->top[i].token == token->token)
            continue;
        buf_printf(out, ",\"%" PRId32 "\":{\"logprob\":", token->top[i].token);
        answer_write_float(out, token->top[i].logprob);
        buf_printf(out, ",\"rank\":%zu,\"decoded_token\":", i + 1);
        buf_append_json(out, token->top[i].bytes, token->top[i].n_bytes);
        buf_append_char(out, '}');
    }
    buf_append_char(out, '}');
}

void answer_write_prompt_logprobs(struct buf *out, const struct answer_prompt *prompt)
{
    buf_append_text(out, "\"prompt_logprobs\":[");
    buf_append(out, prompt->scores.bytes, prompt->scores.n_bytes);
    buf_append_char(out, ']');
}

static bool take_prompt(struct answer *answer, struct answer_prompt *prompt,
                        const struct job_event *event)
{
    for (size_t i = 0; answer->shape.prompt_logprobs >= 0 && i < event->n_tokens; i++) {
        if (prompt->n_tokens + i > 0)
            buf_append_char(&prompt->scores, ',');
        write_score(&prompt->scores, &event->tokens[i], (size_t)answer->shape.prompt_logprobs);
    }
    if (answer->shape.echo)
        completion_gather_prompt(answer, prompt, event);
    prompt->n_tokens += event->n_tokens;
    return !prompt->scores.failed && !prompt->text.failed && !prompt->logprobs.failed &&
           !prompt->token_logprobs.failed && !prompt->top_logprobs.failed &&
           !prompt->text_offset.failed;
}

static void add_done(struct answer *answer, const struct job_event *event)
{
    struct job_event *total = &answer->total;
    answer->n_done++;
    total->cached_tokens += event->cached_tokens;
    total->completion_tokens += event->completion_tokens;
    total->reasoning_tokens += event->reasoning_tokens;
    // Several prompts run side by side: the longest of each phase says how long it took.
    total->queue_s = fmax(total->queue_s, event->queue_s);
    total->prefill_s = fmax(total->prefill_s, event->prefill_s);
    total->decode_s = fmax(total->decode_s, event->decode_s);
}

bool answer_is_done(const struct answer *answer)
{
    return answer->n_done == answer->n_prompts;
}

static void chunk_begin(struct answer *answer, struct buf *out)
{
    sse_event_begin(out);
    buf_append(out, answer->head.bytes, answer->head.n_bytes);
}

/* Behind a choice, or behind no choice at all. */
static void chunk_end(struct answer *answer, struct buf *out)
{
    buf_append_char(out, ']');
    if (answer->shape.running_usage) {
        size_t n_prompt = answer->total.prompt_tokens, n_completion = 0;
        for (size_t i = 0; i < answer->n_prompts; i++)
            n_completion += answer->prompts[i].completion_tokens;
        buf_printf(out,
                   ",\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,"
                   "\"total_tokens\":%zu}",
                   n_prompt, n_completion, n_prompt + n_completion);
    } else if (answer->shape.include_usage) {
        buf_append_text(out, ",\"usage\":null");
    }
    buf_append_char(out, '}');
    sse_event_end(out);
}

void answer_stream_start(struct answer *answer, struct buf *out)
{
    if (answer->shape.endpoint != ENDPOINT_CHAT)
        return;
    for (size_t i = 0; i < answer->n_choices; i++) {
        chunk_begin(answer, out);
        chat_write_role_chunk(answer, i, out);
        chunk_end(answer, out);
    }
}

static void stream_progress(struct answer *answer, const struct job_event *event, struct buf *out)
{
    chunk_begin(answer, out);
    buf_printf(out,
               "],\"prompt_progress\":{\"total\":%zu,\"cache\":%zu,\"processed\":%zu,"
               "\"time_ms\":%.3f}}",
               event->prompt_tokens, event->cached_tokens, event->done_tokens,
               event->prefill_s * 1e3);
    sse_event_end(out);
}

static void stream_event(struct answer *answer, const struct job_event *event, struct buf *out)
{
    bool chat = answer->shape.endpoint == ENDPOINT_CHAT;
    bool lists = answer->shape.logprobs || answer->shape.return_token_ids;
    if (event->type == EVENT_TEXT && event->n_bytes == 0 && (!lists || event->n_tokens == 0))
        return;
    chunk_begin(answer, out);
    if (event->type != EVENT_FINISHED)
        (chat ? chat_write_delta_chunk : completion_write_text_chunk)(answer, event, out);
    else
        (chat ? chat_write_finish_chunk : completion_write_finish_chunk)(answer, event, out);
    chunk_end(answer, out);
}

static void stream_end(struct answer *answer, struct buf *out)
{
    if (answer->shape.include_usage) {
        chunk_begin(answer, out);
        buf_append_char(out, ']');
        answer_write_usage(out, &answer->total);
        buf_append_char(out, '}');
        sse_event_end(out);
    }
    sse_done(out);
}

static bool gather_event(struct answer *answer, const struct job_event *event)
{
    bool chat = answer->shape.endpoint == ENDPOINT_CHAT;
    struct answer_choice *choice = &answer->choices[event->choice];
    if (event->type != EVENT_FINISHED) {
        (chat ? chat_gather : completion_gather)(answer, event);
        return !choice->text.failed && !choice->logprobs.failed && !choice->token_ids.failed &&
               !choice->token_logprobs.failed && !choice->top_logprobs.failed &&
               !choice->text_offset.failed && !choice->reasoning.failed && !choice->calls.failed &&
               !choice->arguments.failed;
    }
    choice->finished = true;
    choice->finish_reason = event->finish_reason;
    choice->has_stop_token = event->has_stop_token;
    choice->stop_token = event->stop_token;
    choice->stop = event->stop ? mem_strdup(event->stop) : NULL;
    return !event->stop || choice->stop;
}

static void write_whole(struct answer *answer, struct buf *out)
{
    bool chat = answer->shape.endpoint == ENDPOINT_CHAT;
    buf_append(out, answer->head.bytes, answer->head.n_bytes);
    for (size_t i = 0; i < answer->n_choices; i++) {
        if (i > 0)
            buf_append_char(out, ',');
        (chat ? chat_write_choice : completion_write_choice)(answer, i, out);
    }
    buf_append_char(out, ']');
    if (chat && answer->shape.prompt_logprobs >= 0) {
        buf_append_char(out, ',');
        answer_write_prompt_logprobs(out, &answer->prompts[0]);
    }
    answer_write_usage(out, &answer->total);
    buf_append_char(out, '}');
}

/* Before a choice's first event: its prompt. */
static void start_choice(struct answer *answer, size_t prompt, size_t index, struct buf *out)
{
    struct answer_choice *choice = &answer->choices[index];
    if (choice->started)
        return;
    choice->started = true;
    if (!answer->shape.echo)
        return;
    choice->n_characters = answer->prompts[prompt].n_characters;
    if (!answer->shape.stream)
        return;
    chunk_begin(answer, out);
    completion_write_echo_chunk(answer, index, out);
    chunk_end(answer, out);
}

static bool take_choice_event(struct answer *answer, size_t prompt, const struct job_event *event,
                              struct buf *out)
{
    if (event->choice >= answer->shape.n_choices)
        return false;
    struct job_event numbered = *event;
    numbered.choice += (uint32_t)(prompt * answer->shape.n_choices);
    answer->prompts[prompt].completion_tokens = event->completion_tokens;
    start_choice(answer, prompt, numbered.choice, out);
    if (!answer->shape.stream)
        return gather_event(answer, &numbered);
    stream_event(answer, &numbered, out);
    return true;
}

bool answer_event(struct answer *answer, size_t prompt, const struct job_event *event,
                  struct buf *out)
{
    struct answer_prompt *about = &answer->prompts[prompt];
    bool stream = answer->shape.stream, done = true;
    switch (event->type) {
    case EVENT_PREPARED:
        answer->total.prompt_tokens += event->prompt_tokens;
        break;
    case EVENT_PROMPT:
        done = take_prompt(answer, about, event);
        break;
    case EVENT_PROGRESS:
        if (stream)
            stream_progress(answer, event, out);
        break;
    case EVENT_TEXT:
    case EVENT_REASONING:
    case EVENT_TOOL_CALL:
    case EVENT_TOOL_ARGUMENTS:
    case EVENT_FINISHED:
        done = take_choice_event(answer, prompt, event, out);
        break;
    case EVENT_DONE:
        add_done(answer, event);
        about->completion_tokens = event->completion_tokens;
        if (answer_is_done(answer))
            (stream ? stream_end : write_whole)(answer, out);
        break;
    default:
        break;
    }
    return done && !out->failed;
}
