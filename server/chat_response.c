/* The shapes of chat completions: chunks and the whole message, with log-probabilities.
 * Keys that OpenAI always sends (refusal, logprobs) are there as null, since typed clients expect
 * them. Source: OpenAI's reference, "chat completion object" and "chat completion chunk object". */
#include "server/answer.h"

#include <inttypes.h>

#include "engine/base/rng.h"

static void write_bytes(struct buf *out, const char *bytes, size_t n_bytes)
{
    buf_append_text(out, "\"token\":");
    buf_append_json(out, bytes, n_bytes);
    buf_append_text(out, ",\"bytes\":[");
    for (size_t i = 0; i < n_bytes; i++)
        buf_printf(out, "%s%u", i > 0 ? "," : "", (unsigned)(unsigned char)bytes[i]);
    buf_append_char(out, ']');
}

/* One item of logprobs.content. */
static void write_logprob(struct buf *out, const struct job_token *token)
{
    buf_append_char(out, '{');
    write_bytes(out, token->bytes, token->n_bytes);
    buf_append_text(out, ",\"logprob\":");
    answer_write_float(out, token->logprob);
    buf_append_text(out, ",\"top_logprobs\":[");
    for (size_t i = 0; i < token->n_top; i++) {
        buf_append_text(out, i > 0 ? ",{" : "{");
        write_bytes(out, token->top[i].bytes, token->top[i].n_bytes);
        buf_append_text(out, ",\"logprob\":");
        answer_write_float(out, token->top[i].logprob);
        buf_append_char(out, '}');
    }
    buf_append_text(out, "]}");
}

/* The id of a call: a function of the request, and another one in each turn of a conversation,
 * whose prompt grows. Ids that the model gave itself are kept. */
static void write_call_head(struct answer *answer, const struct job_event *event, struct buf *out)
{
    size_t n_name = event->n_bytes - event->id_bytes;
    buf_append_text(out, "\"id\":");
    if (event->id_bytes > 0) {
        buf_append_json(out, event->text + n_name, event->id_bytes);
    } else {
        uint64_t half[2];
        for (uint32_t i = 0; i < 2; i++)
            half[i] = rng_bits(answer->seed, event->choice, event->call,
                               2 * (uint32_t)answer->prompt_tokens + i) >>
                      16;
        buf_printf(out, "\"call_%012" PRIx64 "%012" PRIx64 "\"", half[0], half[1]);
    }
    buf_append_text(out, ",\"type\":\"function\",\"function\":{\"name\":");
    buf_append_json(out, event->text, n_name);
    buf_append_text(out, ",\"arguments\":");
}

/* null where calls may come instead of content: it is not known yet which. */
void chat_write_role_chunk(struct answer *answer, size_t choice, struct buf *out)
{
    buf_printf(out,
               "{\"index\":%zu,\"delta\":{\"role\":\"assistant\",\"content\":%s},"
               "\"logprobs\":null,\"finish_reason\":null}",
               choice, answer->shape.tools ? "null" : "\"\"");
}

/* As OpenAI: id, type and name once, with empty arguments; then the arguments' text. */
static void write_delta(struct answer *answer, const struct job_event *event, struct buf *out)
{
    switch (event->type) {
    case EVENT_REASONING:  // two names: DeepSeek's and llama.cpp's, and that of vLLM
        buf_append_text(out, "\"reasoning_content\":");
        buf_append_json(out, event->text, event->n_bytes);
        buf_append_text(out, ",\"reasoning\":");
        buf_append_json(out, event->text, event->n_bytes);
        break;
    case EVENT_TOOL_CALL:
        buf_printf(out, "\"tool_calls\":[{\"index\":%" PRIu32 ",", event->call);
        write_call_head(answer, event, out);
        buf_append_text(out, "\"\"}}]");
        break;
    case EVENT_TOOL_ARGUMENTS:
        buf_printf(out, "\"tool_calls\":[{\"index\":%" PRIu32 ",\"function\":{\"arguments\":",
                   event->call);
        buf_append_json(out, event->text, event->n_bytes);
        buf_append_text(out, "}}]");
        break;
    default:
        buf_append_text(out, "\"content\":");
        buf_append_json(out, event->text, event->n_bytes);
    }
}

void chat_write_delta_chunk(struct answer *answer, const struct job_event *event, struct buf *out)
{
    buf_append_text(out, "{\"index\":");
    buf_append_number(out, event->choice);
    buf_append_text(out, ",\"delta\":{");
    write_delta(answer, event, out);
    buf_append_text(out, "},\"logprobs\":");
    if (answer->shape.logprobs) {
        buf_append_text(out, "{\"content\":[");
        for (size_t i = 0; i < event->n_tokens; i++) {
            if (i > 0)
                buf_append_char(out, ',');
            write_logprob(out, &event->tokens[i]);
        }
        buf_append_text(out, "],\"refusal\":null}");
    } else {
        buf_append_text(out, "null");
    }
    if (answer->shape.return_token_ids) {
        buf_append_text(out, ",\"token_ids\":[");
        answer_write_token_ids(out, event->tokens, event->n_tokens, false);
        buf_append_char(out, ']');
    }
    buf_append_text(out, ",\"finish_reason\":null}");
}

void chat_write_finish_chunk(struct answer *answer, const struct job_event *event, struct buf *out)
{
    (void)answer;
    buf_printf(out,
               "{\"index\":%" PRIu32 ",\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"",
               event->choice, answer_finish_name(event->finish_reason));
    answer_write_stop_reason(out, event->stop, event->has_stop_token, event->stop_token);
    buf_append_char(out, '}');
}

static void end_open_call(struct answer_choice *choice)
{
    if (choice->n_calls == 0)
        return;
    const struct buf *arguments = &choice->arguments;
    buf_append_json(&choice->calls, arguments->bytes ? arguments->bytes : "", arguments->n_bytes);
    buf_append_text(&choice->calls, "}}");
    buf_clear(&choice->arguments);
}

static void gather_part(struct answer *answer, const struct job_event *event)
{
    struct answer_choice *choice = &answer->choices[event->choice];
    switch (event->type) {
    case EVENT_REASONING:
        buf_append(&choice->reasoning, event->text, event->n_bytes);
        break;
    case EVENT_TOOL_CALL:
        end_open_call(choice);
        buf_append_text(&choice->calls, choice->n_calls++ > 0 ? ",{" : "{");
        write_call_head(answer, event, &choice->calls);
        break;
    case EVENT_TOOL_ARGUMENTS:
        buf_append(&choice->arguments, event->text, event->n_bytes);
        break;
    default:
        buf_append(&choice->text, event->text, event->n_bytes);
    }
}

void chat_gather(struct answer *answer, const struct job_event *event)
{
    struct answer_choice *choice = &answer->choices[event->choice];
    gather_part(answer, event);
    for (size_t i = 0; answer->shape.logprobs && i < event->n_tokens; i++) {
        if (choice->n_tokens + i > 0)
            buf_append_char(&choice->logprobs, ',');
        write_logprob(&choice->logprobs, &event->tokens[i]);
    }
    if (answer->shape.return_token_ids) {
        answer_write_token_ids(&choice->token_ids, event->tokens, event->n_tokens,
                               choice->n_tokens > 0);
    }
    choice->n_tokens += event->n_tokens;
}

void chat_write_choice(struct answer *answer, size_t index, struct buf *out)
{
    struct answer_choice *choice = &answer->choices[index];
    buf_printf(out, "{\"index\":%zu,\"message\":{\"role\":\"assistant\",\"content\":", index);
    if (choice->n_calls > 0 && choice->text.n_bytes == 0)
        buf_append_text(out, "null");
    else
        buf_append_json(out, choice->text.bytes ? choice->text.bytes : "", choice->text.n_bytes);
    buf_append_text(out, ",\"refusal\":null");
    if (choice->reasoning.n_bytes > 0) {
        buf_append_text(out, ",\"reasoning_content\":");
        buf_append_json(out, choice->reasoning.bytes, choice->reasoning.n_bytes);
        buf_append_text(out, ",\"reasoning\":");
        buf_append_json(out, choice->reasoning.bytes, choice->reasoning.n_bytes);
    }
    if (choice->n_calls > 0) {
        end_open_call(choice);
        buf_append_text(out, ",\"tool_calls\":[");
        buf_append(out, choice->calls.bytes, choice->calls.n_bytes);
        buf_append_char(out, ']');
    }
    buf_append_text(out, "},\"logprobs\":");
    if (answer->shape.logprobs) {
        buf_append_text(out, "{\"content\":[");
        buf_append(out, choice->logprobs.bytes, choice->logprobs.n_bytes);
        buf_append_text(out, "],\"refusal\":null}");
    } else {
        buf_append_text(out, "null");
    }
    if (answer->shape.return_token_ids) {
        buf_append_text(out, ",\"token_ids\":[");
        buf_append(out, choice->token_ids.bytes, choice->token_ids.n_bytes);
        buf_append_char(out, ']');
    }
    buf_printf(out, ",\"finish_reason\":\"%s\"", answer_finish_name(choice->finish_reason));
    answer_write_stop_reason(out, choice->stop, choice->has_stop_token, choice->stop_token);
    buf_append_char(out, '}');
}
