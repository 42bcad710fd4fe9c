/* The text of one choice; see output.h.
 *
 * While the decoder holds the first bytes of a character back, the tokens that gave them end one
 * byte past what is decoded so far: whatever completes the character shows at least that byte. */
#include "engine/scheduler/output.h"

#include "engine/base/mem.h"

enum { PART_BYTES_MAX = 1 << 26 };

void output_init(struct output *output, const struct tokenizer *tokenizer, const char *const *stops,
                 const size_t *stop_bytes, size_t n_stops)
{
    *output = (struct output){0};
    stream_decoder_init(&output->decoder, tokenizer, false, false);
    stop_matcher_init(&output->matcher, stops, stop_bytes, n_stops);
    buf_init(&output->decoded, PART_BYTES_MAX);
    buf_init(&output->part, PART_BYTES_MAX);
}

void output_release(struct output *output)
{
    stop_matcher_release(&output->matcher);
    buf_release(&output->decoded);
    buf_release(&output->part);
    mem_free(output->tokens);
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
    while (output->n_ready < output->n_tokens &&
           output->tokens[output->n_ready].text_end <= output->n_shown)
        output->n_ready++;
}

/* Moves what was decoded through the stop matcher into the part. */
static bool show_decoded(struct output *output, bool may_stop)
{
    size_t before = output->part.n_bytes;
    const struct buf *decoded = &output->decoded;
    output->n_decoded += decoded->n_bytes;
    bool done = may_stop ? stop_matcher_push(&output->matcher, decoded->bytes, decoded->n_bytes,
                                             &output->part)
                         : buf_append(&output->part, decoded->bytes, decoded->n_bytes);
    output->n_shown += output->part.n_bytes - before;
    buf_clear(&output->decoded);
    return done;
}

enum status output_push(struct output *output, const struct sample *sample, bool may_stop,
                        bool *stopped, struct error *err)
{
    if (!room_for_token(output) ||
        !stream_decoder_push(&output->decoder, sample->token, &output->decoded) ||
        !show_decoded(output, may_stop))
        return error_set(err, ERR_MEMORY, "no memory for the answer's text");
    output->tokens[output->n_tokens++] = (struct output_token){
        .sample = *sample,
        .text_end = output->n_decoded + (output->decoder.n_pending > 0 ? 1 : 0),
    };
    // Tokens before this one that waited for the rest of a character end where it ended.
    count_ready(output);
    *stopped = output->matcher.match != NULL;
    return OK;
}

enum status output_finish(struct output *output, struct error *err)
{
    if (output->matcher.match != NULL)
        return OK;
    size_t before = output->part.n_bytes;
    if (!stream_decoder_finish(&output->decoder, &output->decoded) || !show_decoded(output, true))
        return error_set(err, ERR_MEMORY, "no memory for the answer's text");
    before = output->part.n_bytes;
    if (!stop_matcher_flush(&output->matcher, &output->part))
        return error_set(err, ERR_MEMORY, "no memory for the answer's text");
    output->n_shown += output->part.n_bytes - before;
    count_ready(output);
    return OK;
}

void output_sent(struct output *output)
{
    buf_clear(&output->part);
    memmove(output->tokens, output->tokens + output->n_ready,
            (output->n_tokens - output->n_ready) * sizeof *output->tokens);
    output->n_tokens -= output->n_ready;
    output->n_ready = 0;
}
