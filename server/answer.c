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

void answer_init(struct answer *answer, const struct answer_shape *shape)
{
    memset(answer, 0, sizeof *answer);
    answer->shape = *shape;
    buf_init(&answer->head, 4096);
    for (size_t i = 0; i < ENGINE_CHOICES_MAX; i++) {
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
}

void answer_release(struct answer *answer)
{
    buf_release(&answer->head);
    for (size_t i = 0; i < ENGINE_CHOICES_MAX; i++) {
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
        choice->stop = NULL;
    }
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

static void chunk_begin(struct answer *answer, struct buf *out)
{
    sse_event_begin(out);
    buf_append(out, answer->head.bytes, answer->head.n_bytes);
}

static void chunk_end(struct answer *answer, struct buf *out)
{
    buf_append_text(out, answer->shape.include_usage ? "],\"usage\":null}" : "]}");
    sse_event_end(out);
}

void answer_stream_start(struct answer *answer, struct buf *out)
{
    if (answer->shape.endpoint != ENDPOINT_CHAT)
        return;
    for (size_t i = 0; i < answer->shape.n_choices; i++) {
        chunk_begin(answer, out);
        chat_write_role_chunk(answer, i, out);
        chunk_end(answer, out);
    }
}

static void stream_event(struct answer *answer, const struct job_event *event, struct buf *out)
{
    bool chat = answer->shape.endpoint == ENDPOINT_CHAT;
    bool lists = answer->shape.logprobs || answer->shape.return_token_ids;
    if (event->type == EVENT_TEXT && event->n_bytes == 0 && (!lists || event->n_tokens == 0))
        return;
    if (event->type != EVENT_DONE) {
        chunk_begin(answer, out);
        if (event->type != EVENT_FINISHED)
            (chat ? chat_write_delta_chunk : completion_write_text_chunk)(answer, event, out);
        else
            (chat ? chat_write_finish_chunk : completion_write_finish_chunk)(answer, event, out);
        chunk_end(answer, out);
        return;
    }
    if (answer->shape.include_usage) {
        chunk_begin(answer, out);
        buf_append_char(out, ']');
        answer_write_usage(out, event);
        buf_append_char(out, '}');
        sse_event_end(out);
    }
    sse_done(out);
}

static bool gather_event(struct answer *answer, const struct job_event *event, struct buf *out)
{
    bool chat = answer->shape.endpoint == ENDPOINT_CHAT;
    struct answer_choice *choice = &answer->choices[event->choice];
    if (event->type != EVENT_FINISHED && event->type != EVENT_DONE) {
        (chat ? chat_gather : completion_gather)(answer, event);
        return !choice->text.failed && !choice->logprobs.failed && !choice->token_ids.failed &&
               !choice->token_logprobs.failed && !choice->top_logprobs.failed &&
               !choice->text_offset.failed && !choice->reasoning.failed && !choice->calls.failed &&
               !choice->arguments.failed;
    }
    if (event->type == EVENT_FINISHED) {
        choice->finished = true;
        choice->finish_reason = event->finish_reason;
        choice->has_stop_token = event->has_stop_token;
        choice->stop_token = event->stop_token;
        if (event->stop) {
            choice->stop = mem_strdup(event->stop);
            return choice->stop != NULL;
        }
        return true;
    }
    buf_append(out, answer->head.bytes, answer->head.n_bytes);
    for (size_t i = 0; i < answer->shape.n_choices; i++) {
        if (i > 0)
            buf_append_char(out, ',');
        (chat ? chat_write_choice : completion_write_choice)(answer, i, out);
    }
    buf_append_char(out, ']');
    answer_write_usage(out, event);
    buf_append_char(out, '}');
    return !out->failed;
}

bool answer_event(struct answer *answer, const struct job_event *event, struct buf *out)
{
    if (event->type != EVENT_DONE && event->choice >= answer->shape.n_choices)
        return false;
    if (!answer->shape.stream)
        return gather_event(answer, event, out);
    stream_event(answer, event, out);
    return !out->failed;
}
