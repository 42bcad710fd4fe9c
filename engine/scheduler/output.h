/* The text of one choice: token ids to parts (content, reasoning, calls), stop strings, and which
 * tokens the parts carry. Stop strings are looked for in content only.
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
#include "engine/template/reply.h"
#include "engine/tokenizer/stream_decoder.h"

struct output_token {
    struct sample sample;
    uint64_t text_end;  // shown bytes of the choice at which this token is complete
};

struct output {
    struct stream_decoder decoder;
    const struct reply_format *format;  // NULL: all text is content
    struct reply *reply;                // with a format
    struct stop_matcher matcher;
    bool may_stop;             // content is searched for stop strings
    struct buf decoded;        // scratch: what one token completes
    struct buf part;           // text of the parts to be sent, one behind the other
    struct reply_part *parts;  // [n_parts_max] of them n_parts
    size_t n_parts, n_parts_max;
    struct output_token *tokens;  // [n_tokens_max] not yet sent, oldest first
    size_t n_tokens, n_tokens_max;
    size_t n_ready;      // of them, complete in `part`
    uint64_t n_decoded;  // bytes since the start of the choice
    uint64_t n_hidden;   // of them, in the stop matcher or swallowed by it
    size_t n_reasoning;  // tokens of thoughts
    uint32_t n_calls;
};

/* `reply` NULL: plain text; else its format, which must outlive the output. ERR_MEMORY. */
enum status output_init(struct output *output, const struct tokenizer *tokenizer,
                        const char *const *stops, const size_t *stop_bytes, size_t n_stops,
                        const struct reply_options *reply, struct error *err) MUST_CHECK;
void output_release(struct output *output);

/* Adds a sampled token. True in *stopped when a stop string, or the one call, is complete; without
 * `may_stop` its text is not searched. ERR_MEMORY. */
enum status output_push(struct output *output, const struct sample *sample, bool may_stop,
                        bool *stopped, struct error *err) MUST_CHECK;
/* The choice ends (is_cut: by its length): what was held back joins the parts, unless a stop string
 * matched. */
enum status output_finish(struct output *output, bool is_cut, struct error *err) MUST_CHECK;
/* The parts were sent: forgets them and their tokens. */
void output_sent(struct output *output);

#endif
