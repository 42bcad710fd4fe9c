/* The text of one choice; see output.h.
 *
 * While the decoder holds the first bytes of a character back, the tokens that gave them end one
 * byte past what is decoded so far: whatever completes the character shows at least that byte. */
#include "engine/scheduler/output.h"

#include "engine/base/mem.h"

enum { PART_BYTES_MAX = 1 << 26 };

enum status output_init(struct output *output, const struct tokenizer *tokenizer,
                        const char *const *stops, const size_t *stop_bytes, size_t n_stops,
                        const struct reply_options *reply, struct error *err)
{
    *output = (struct output){.format = reply ? reply->format : NULL};
    stream_decoder_init(&output->decoder, tokenizer, false, false);
    stop_matcher_init(&output->matcher, stops, stop_bytes, n_stops);
    buf_init(&output->decoded, PART_BYTES_MAX);
    buf_init(&output->part, PART_BYTES_MAX);
    return reply ? reply_create(&output->reply, reply, err) : OK;
}

void output_release(struct output *output)
{
    reply_free(output->reply);
    stop_matcher_release(&output->matcher);
    buf_release(&output->decoded);
    buf_release(&output->part);
    mem_free(output->parts);
    mem_free(output->tokens);
    output->reply = NULL;
    output->parts = NULL;
    output->tokens = NULL;
}

static bool room_for_token(struct output *output)
{
    if (output->n_tokens < output->n_tokens_max)
        return true;
    size_t wanted = output->n_tokens_max == 0 ? 4 : 2 * output->n_tokens_max;
    struct output_token *tokens = mem_realloc_array(output->tokens, wanted, sizeof *tokens);
    if (tokens == NULL)
        return false;
    output->tokens = tokens;
    output->n_tokens_max = wanted;
    return true;
}

static void count_ready(struct output *output)
{
    uint64_t held = output->n_hidden + (output->reply ? reply_held(output->reply) : 0);
    uint64_t n_shown = held < output->n_decoded ? output->n_decoded - held : 0;
    while (output->n_ready < output->n_tokens &&
           output->tokens[output->n_ready].text_end <= n_shown)
        output->n_ready++;
}

/* ---- parts ---- */

/* The text behind `before` bytes of `part` is one of these; deltas of one kind join. */
static bool add_part(struct output *output, const struct reply_part *shape, size_t before)
{
    struct reply_part *last = output->n_parts > 0 ? &output->parts[output->n_parts - 1] : NULL;
    size_t n_bytes = output->part.n_bytes - before;
    if (n_bytes == 0)
        return true;
    if (last && last->type == shape->type && last->call == shape->call &&
        shape->type != REPLY_CALL) {
        last->n_bytes += n_bytes;
        return true;
    }
    if (output->n_parts == output->n_parts_max) {
        size_t wanted = output->n_parts_max == 0 ? 4 : 2 * output->n_parts_max;
        struct reply_part *parts = mem_realloc_array(output->parts, wanted, sizeof *parts);
        if (parts == NULL)
            return false;
        output->parts = parts;
        output->n_parts_max = wanted;
    }
    output->parts[output->n_parts] = *shape;
    output->parts[output->n_parts++].n_bytes = n_bytes;
    return true;
}

static const struct reply_part content = {.type = REPLY_CONTENT};

static bool show_content(struct output *output, const char *text, size_t n_bytes)
{
    size_t before = output->part.n_bytes;
    bool done = output->may_stop ? stop_matcher_push(&output->matcher, text, n_bytes, &output->part)
                                 : buf_append(&output->part, text, n_bytes);
    output->n_hidden += n_bytes - (output->part.n_bytes - before);
    return done && add_part(output, &content, before);
}

/* Content ends here, or something else comes in between: no stop string spans that. */
static bool flush_content(struct output *output)
{
    size_t before = output->part.n_bytes;
    if (output->matcher.match != NULL)
        return true;
    bool done = stop_matcher_flush(&output->matcher, &output->part);
    output->n_hidden = 0;
    return done && add_part(output, &content, before);
}

static bool show_reply(struct output *output)
{
    size_t n_parts;
    const char *text;
    bool done = true;
    const struct reply_part *parts = reply_parts(output->reply, &n_parts, &text);
    for (size_t i = 0; i < n_parts && done; i++) {
        if (output->matcher.match == NULL && parts[i].type != REPLY_CONTENT) {
            done = flush_content(output);
            size_t before = output->part.n_bytes;
            done = done && buf_append(&output->part, text, parts[i].n_bytes) &&
                   add_part(output, &parts[i], before);
            output->n_calls += parts[i].type == REPLY_CALL;
        } else {
            done = show_content(output, text, parts[i].n_bytes);
        }
        text += parts[i].n_bytes;
    }
    reply_taken(output->reply);
    return done;
}

/* Moves what was decoded on. */
static bool show_decoded(struct output *output)
{
    struct buf *decoded = &output->decoded;
    bool done;
    output->n_decoded += decoded->n_bytes;
    if (decoded->n_bytes == 0)
        done = true;
    else if (output->reply)
        done = reply_push(output->reply, decoded->bytes, decoded->n_bytes) && show_reply(output);
    else
        done = show_content(output, decoded->bytes, decoded->n_bytes);
    buf_clear(decoded);
    return done;
}

/* ---- tokens ---- */

/* A marker of the reply's format is no text: what is half decoded ends before it. */
static bool push_marker(struct output *output, size_t marker)
{
    if (!stream_decoder_finish(&output->decoder, &output->decoded) || !show_decoded(output))
        return false;
    output->n_decoded += output->format->markers[marker].n_bytes;
    return reply_push_marker(output->reply, marker) && show_reply(output);
}

static bool push_token(struct output *output, int32_t token)
{
    int marker = output->reply ? reply_find_marker(output->format, token) : -1;
    if (marker >= 0)
        return push_marker(output, (size_t)marker);
    return stream_decoder_push(&output->decoder, token, &output->decoded) && show_decoded(output);
}

enum status output_push(struct output *output, const struct sample *sample, bool may_stop,
                        bool *stopped, struct error *err)
{
    output->may_stop = may_stop;
    bool was_thinking = output->reply && reply_is_thinking(output->reply);
    if (!room_for_token(output) || !push_token(output, sample->token))
        return error_set(err, ERR_MEMORY, "no memory for the answer's text");
    output->n_reasoning += was_thinking || (output->reply && reply_is_thinking(output->reply));
    output->tokens[output->n_tokens++] = (struct output_token){
        .sample = *sample,
        .text_end = output->n_decoded + (output->decoder.n_pending > 0 ? 1 : 0),
    };
    // Tokens before this one that waited for the rest of a character end where it ended.
    count_ready(output);
    *stopped = output->matcher.match != NULL || (output->reply && reply_is_over(output->reply));
    return OK;
}

enum status output_finish(struct output *output, bool is_cut, struct error *err)
{
    if (output->matcher.match != NULL)
        return OK;
    output->may_stop = true;
    if (!stream_decoder_finish(&output->decoder, &output->decoded) || !show_decoded(output) ||
        (output->reply && (!reply_finish(output->reply, is_cut) || !show_reply(output))) ||
        !flush_content(output))
        return error_set(err, ERR_MEMORY, "no memory for the answer's text");
    count_ready(output);
    return OK;
}

void output_sent(struct output *output)
{
    buf_clear(&output->part);
    output->n_parts = 0;
    memmove(output->tokens, output->tokens + output->n_ready,
            (output->n_tokens - output->n_ready) * sizeof *output->tokens);
    output->n_tokens -= output->n_ready;
    output->n_ready = 0;
}
