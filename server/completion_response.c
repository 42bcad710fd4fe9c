/* The shapes of legacy completions: text, and log-probabilities as four parallel lists.
 *
 * Token texts in these lists are strings without a bytes field; a token that is not valid UTF-8 on
 * its own is written as bytes:\xe2\x80, as OpenAI does, so that two such tokens stay different.
 * text_offset counts characters (code points) of `text`. Source: OpenAI's legacy reference. */
#include "server/answer.h"

#include <inttypes.h>

#include "engine/base/utf8.h"

static void write_token_text(struct buf *out, const char *bytes, size_t n_bytes)
{
    if (utf8_is_valid(bytes, n_bytes, NULL)) {
        buf_append_json(out, bytes, n_bytes);
        return;
    }
    buf_append_text(out, "\"bytes:");
    for (size_t i = 0; i < n_bytes; i++)
        buf_printf(out, "\\\\x%02x", (unsigned)(unsigned char)bytes[i]);
    buf_append_char(out, '"');
}

static size_t count_characters(const char *bytes, size_t n_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

/* {"token": logprob, ...}: the alternatives, and the token itself when it is not among them. */
static void write_top(struct buf *out, const struct job_token *token)
{
    bool among = false;
    buf_append_char(out, '{');
    for (size_t i = 0; i < token->n_top; i++) {
        if (i > 0)
            buf_append_char(out, ',');
        write_token_text(out, token->top[i].bytes, token->top[i].n_bytes);
        buf_append_char(out, ':');
        answer_write_float(out, token->top[i].logprob);
        among = among || token->top[i].token == token->token;
    }
    if (!among) {
        if (token->n_top > 0)
            buf_append_char(out, ',');
        write_token_text(out, token->bytes, token->n_bytes);
        buf_append_char(out, ':');
        answer_write_float(out, token->logprob);
    }
    buf_append_char(out, '}');
}

void completion_gather(struct answer *answer, const struct job_event *event)
{
    struct answer_choice *choice = &answer->choices[event->choice];
    size_t offset = choice->n_characters;
    buf_append(&choice->text, event->text, event->n_bytes);
    for (size_t i = 0; answer->shape.logprobs && i < event->n_tokens; i++) {
        const struct job_token *token = &event->tokens[i];
        if (choice->n_tokens + i > 0) {
            buf_append_char(&choice->logprobs, ',');
            buf_append_char(&choice->token_logprobs, ',');
            buf_append_char(&choice->top_logprobs, ',');
            buf_append_char(&choice->text_offset, ',');
        }
        write_token_text(&choice->logprobs, token->bytes, token->n_bytes);
        answer_write_float(&choice->token_logprobs, token->logprob);
        write_top(&choice->top_logprobs, token);
        buf_printf(&choice->text_offset, "%zu", offset);
        offset += count_characters(token->bytes, token->n_bytes);
    }
    if (answer->shape.return_token_ids) {
        answer_write_token_ids(&choice->token_ids, event->tokens, event->n_tokens,
                               choice->n_tokens > 0);
    }
    choice->n_tokens += event->n_tokens;
    choice->n_characters += count_characters(event->text, event->n_bytes);
}

static void append_list(struct buf *out, const char *name, const struct buf *items)
{
    buf_printf(out, "%s:[", name);
    buf_append(out, items->bytes, items->n_bytes);
    buf_append_char(out, ']');
}

static void write_logprobs(struct answer *answer, const struct answer_choice *choice,
                           struct buf *out)
{
    buf_append_text(out, ",\"logprobs\":");
    if (answer->shape.logprobs) {
        append_list(out, "{\"tokens\"", &choice->logprobs);
        append_list(out, ",\"token_logprobs\"", &choice->token_logprobs);
        append_list(out, ",\"top_logprobs\"", &choice->top_logprobs);
        append_list(out, ",\"text_offset\"", &choice->text_offset);
        buf_append_char(out, '}');
    } else {
        buf_append_text(out, "null");
    }
    if (answer->shape.return_token_ids)
        append_list(out, ",\"token_ids\"", &choice->token_ids);
}

void completion_write_text_chunk(struct answer *answer, const struct job_event *event,
                                 struct buf *out)
{
    struct answer_choice *choice = &answer->choices[event->choice];
    buf_clear(&choice->logprobs);
    buf_clear(&choice->token_logprobs);
    buf_clear(&choice->top_logprobs);
    buf_clear(&choice->text_offset);
    buf_clear(&choice->token_ids);
    choice->n_tokens = 0;  // of this chunk
    completion_gather(answer, event);
    buf_printf(out, "{\"index\":%" PRIu32 ",\"text\":", event->choice);
    buf_append_json(out, event->text, event->n_bytes);
    write_logprobs(answer, choice, out);
    buf_append_text(out, ",\"finish_reason\":null}");
}

void completion_write_finish_chunk(struct answer *answer, const struct job_event *event,
                                   struct buf *out)
{
    (void)answer;
    buf_printf(out,
               "{\"index\":%" PRIu32 ",\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"%s\"",
               event->choice, answer_finish_name(event->finish_reason));
    answer_write_stop_reason(out, event->stop, event->has_stop_token, event->stop_token);
    buf_append_char(out, '}');
}

void completion_write_choice(struct answer *answer, size_t index, struct buf *out)
{
    struct answer_choice *choice = &answer->choices[index];
    buf_printf(out, "{\"index\":%zu,\"text\":", index);
    buf_append_json(out, choice->text.bytes ? choice->text.bytes : "", choice->text.n_bytes);
    write_logprobs(answer, choice, out);
    buf_printf(out, ",\"finish_reason\":\"%s\"", answer_finish_name(choice->finish_reason));
    answer_write_stop_reason(out, choice->stop, choice->has_stop_token, choice->stop_token);
    buf_append_char(out, '}');
}
