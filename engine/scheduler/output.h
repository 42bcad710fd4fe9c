/* The text of one choice: token ids to text parts, stop strings, and which tokens a part carries.
 *
 * A token belongs to the part in which its last byte of text is shown. So text and tokens of the
 * parts, put together, are the same however the parts were cut. Tokens whose text was swallowed by
 * a stop string are never reported. */
#ifndef WICARA_SCHEDULER_OUTPUT_H
#define WICARA_SCHEDULER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/sampling/sampler.h"
#include "engine/scheduler/stop_matcher.h"
#include "engine/tokenizer/stream_decoder.h"

struct output_token {
    struct sample sample;
    uint64_t text_end;  // shown bytes of the choice at which this token is complete
};

struct output {
    struct stream_decoder decoder;
    struct stop_matcher matcher;
    struct buf decoded;           // scratch: what one token completes
    struct buf part;              // text to be sent
    struct output_token *tokens;  // [n_tokens_max] not yet sent, oldest first
    size_t n_tokens, n_tokens_max;
    size_t n_ready;               // of them, complete in `part`
    uint64_t n_decoded, n_shown;  // bytes since the start of the choice
};

void output_init(struct output *output, const struct tokenizer *tokenizer, const char *const *stops,
                 const size_t *stop_bytes, size_t n_stops);
void output_release(struct output *output);

/* Adds a sampled token. True in *stopped when a stop string is complete; without `may_stop` its
 * text is not searched. ERR_MEMORY. */
enum status output_push(struct output *output, const struct sample *sample, bool may_stop,
                        bool *stopped, struct error *err) MUST_CHECK;
/* The choice ends: what was held back joins the part, unless a stop string matched. */
enum status output_finish(struct output *output, struct error *err) MUST_CHECK;
/* The part was sent: forgets it and its tokens. */
void output_sent(struct output *output);

#endif
