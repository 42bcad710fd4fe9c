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

/* An alternative before this one has the same text, so that its key is taken. */
static bool is_taken(const struct job_token *token, size_t n, const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n; i++)
        if (token->top[i].n_bytes == n_bytes && memcmp(token->top[i].bytes, bytes, n_bytes) == 0)
            return true;
    return false;
}

/* {"token": logprob, ...}: n_top alternatives, and the token itself when it is not among them. */
static void write_top(struct buf *out, const struct job_token *token, size_t n_top)
{
    bool among = false;
    buf_append_char(out, '{');
    for (size_t i = 0; i < n_top; i++) {
        if (is_taken(token, i, token->top[i].bytes, token->top[i].n_bytes))
            continue;
        if (i > 0)
            buf_append_char(out, ',');
        write_token_text(out, token->top[i].bytes, token->top[i].n_bytes);
        buf_append_char(out, ':');
        answer_write_float(out, token->top[i].logprob);
        among = among || token->top[i].token == token->token;
    }
    if (!among && !is_taken(token, n_top, token->bytes, token->n_bytes)) {
        if (n_top > 0)
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
        write_top(&choice->top_logprobs, token, token->n_top);
        buf_printf(&choice->text_offset, "%zu", choice->n_characters);
        if (!token->is_control || answer->shape.show_control)
            choice->n_characters += count_characters(token->bytes, token->n_bytes);
    }
    if (answer->shape.return_token_ids) {
        answer_write_token_ids(&choice->token_ids, event->tokens, event->n_tokens,
                               choice->n_tokens > 0);
    }
    choice->n_tokens += event->n_tokens;
}

void completion_gather_prompt(struct answer *answer, struct answer_prompt *prompt,
                              const struct job_event *event)
{
    for (size_t i = 0; i < event->n_tokens; i++) {
        const struct job_token *token = &event->tokens[i];
        // A text shows no control tokens (beginning-of-text was added to it); ids show all.
        bool shown = !(prompt->is_text && token->is_control);
        if (!prompt->is_text)
            buf_append(&prompt->text, token->bytes, token->n_bytes);
        if (answer->shape.logprobs) {
            const char *comma = prompt->n_tokens + i > 0 ? "," : "";
            buf_append_text(&prompt->logprobs, comma);
            write_token_text(&prompt->logprobs, token->bytes, token->n_bytes);
            buf_append_text(&prompt->token_logprobs, comma);
            buf_append_text(&prompt->top_logprobs, comma);
            if (token->rank == 0) {
                buf_append_text(&prompt->token_logprobs, "null");
                buf_append_text(&prompt->top_logprobs, "null");
            } else {
                size_t n_top = (size_t)answer->shape.top_logprobs;
                answer_write_float(&prompt->token_logprobs, token->logprob);
                write_top(&prompt->top_logprobs, token,
                          n_top < token->n_top ? n_top : token->n_top);
            }
            buf_printf(&prompt->text_offset, "%s%zu", comma, prompt->n_characters);
        }
        prompt->n_characters += shown ? count_characters(token->bytes, token->n_bytes) : 0;
    }
}

static void write_token_ids(struct answer *answer, const struct answer_choice *choice,
                            struct buf *out)
{
    if (!answer->shape.return_token_ids)
        return;
    buf_append_text(out, ",\"token_ids\":[");
    buf_append(out, choice->token_ids.bytes, choice->token_ids.n_bytes);
    buf_append_char(out, ']');
}

/* A list of the prompt and, behind it, one of the answer; either may be NULL. */
static void append_lists(struct buf *out, const char *name, const struct buf *prompt,
                         const struct buf *answer)
{
    buf_printf(out, "%s:[", name);
    if (prompt)
        buf_append(out, prompt->bytes, prompt->n_bytes);
    if (prompt && answer && prompt->n_bytes > 0 && answer->n_bytes > 0)
        buf_append_char(out, ',');
    if (answer)
        buf_append(out, answer->bytes, answer->n_bytes);
    buf_append_char(out, ']');
}

static void write_logprobs(struct answer *answer, const struct answer_prompt *prompt,
                           const struct answer_choice *choice, struct buf *out)
{
    buf_append_text(out, ",\"logprobs\":");
    if (!answer->shape.logprobs) {
        buf_append_text(out, "null");
        return;
    }
    append_lists(out, "{\"tokens\"", prompt ? &prompt->logprobs : NULL,
                 choice ? &choice->logprobs : NULL);
    append_lists(out, ",\"token_logprobs\"", prompt ? &prompt->token_logprobs : NULL,
                 choice ? &choice->token_logprobs : NULL);
    append_lists(out, ",\"top_logprobs\"", prompt ? &prompt->top_logprobs : NULL,
                 choice ? &choice->top_logprobs : NULL);
    append_lists(out, ",\"text_offset\"", prompt ? &prompt->text_offset : NULL,
                 choice ? &choice->text_offset : NULL);
    buf_append_char(out, '}');
}

void completion_write_echo_chunk(struct answer *answer, size_t index, struct buf *out)
{
    const struct answer_prompt *prompt = &answer->prompts[index / answer->shape.n_choices];
    buf_printf(out, "{\"index\":%zu,\"text\":", index);
    buf_append_json(out, prompt->text.bytes ? prompt->text.bytes : "", prompt->text.n_bytes);
    write_logprobs(answer, prompt, NULL, out);
    buf_append_text(out, ",\"finish_reason\":null}");
}

void completion_write_text_chunk(struct answer *answer, const struct job_event *event,
                                 struct buf *out)
{
    struct answer_choice *choice = &answer->choices[event->choice];
    buf_clear(&choice->text);
    buf_clear(&choice->logprobs);
    buf_clear(&choice->token_logprobs);
    buf_clear(&choice->top_logprobs);
    buf_clear(&choice->text_offset);
    buf_clear(&choice->token_ids);
    choice->n_tokens = 0;  // of this chunk
    completion_gather(answer, event);
    buf_append_text(out, "{\"index\":");
    buf_append_number(out, event->choice);
    buf_append_text(out, ",\"text\":");
    buf_append_json(out, event->text, event->n_bytes);
    write_logprobs(answer, NULL, choice, out);
    write_token_ids(answer, choice, out);
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

/* The prompt's text, if it is echoed, and the answer's as one JSON string. */
static void write_whole_text(struct buf *out, const struct buf *prompt, const struct buf *answer)
{
    struct buf whole;
    buf_init(&whole, 2 * (size_t)ANSWER_BYTES_MAX);
    if (prompt)
        buf_append(&whole, prompt->bytes, prompt->n_bytes);
    buf_append(&whole, answer->bytes, answer->n_bytes);
    buf_append_json(out, whole.bytes ? whole.bytes : "", whole.n_bytes);
    out->failed = out->failed || whole.failed;
    buf_release(&whole);
}

void completion_write_choice(struct answer *answer, size_t index, struct buf *out)
{
    struct answer_choice *choice = &answer->choices[index];
    buf_printf(out, "{\"index\":%zu,\"text\":", index);
    struct answer_prompt *prompt = &answer->prompts[index / answer->shape.n_choices];
    write_whole_text(out, answer->shape.echo ? &prompt->text : NULL, &choice->text);
    write_logprobs(answer, answer->shape.echo ? prompt : NULL, choice, out);
    write_token_ids(answer, choice, out);
    if (answer->shape.prompt_logprobs >= 0) {
        buf_append_char(out, ',');
        answer_write_prompt_logprobs(out, prompt);
    }
    buf_printf(out, ",\"finish_reason\":\"%s\"", answer_finish_name(choice->finish_reason));
    answer_write_stop_reason(out, choice->stop, choice->has_stop_token, choice->stop_token);
    buf_append_char(out, '}');
}
