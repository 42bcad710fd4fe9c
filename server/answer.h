/* The answer to a chat or completion request: job events in, JSON out, whole or as a stream.
 *
 * A whole answer gathers each choice's text and lists until the last event; a stream writes each
 * event out at once and keeps nothing. Text is appended by hand (base/buf.h), never through a JSON
 * tree. One thread at a time. Source: OpenAI's reference of both endpoints; api.md section 1.1. */
#ifndef WICARA_SERVER_ANSWER_H
#define WICARA_SERVER_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "server/generation_request.h"

enum { ANSWER_BYTES_MAX = 64 << 20, ANSWER_ID_BYTES = 48 };

struct answer_choice {
    struct buf text;            // whole answers only
    struct buf reasoning;       // chat, whole answers
    struct buf calls;           // chat, whole answers: items of tool_calls; the last one is open
    struct buf arguments;       // of the open one
    struct buf logprobs;        // chat: the items of content; completions: of tokens
    struct buf token_logprobs;  // completions
    struct buf top_logprobs;    // completions
    struct buf text_offset;     // completions
    struct buf token_ids;
    size_t n_tokens;  // items in the lists
    size_t n_calls;
    size_t n_characters;  // code points of the tokens so far (completions: text_offset)
    bool started;         // its first event came; the echo is out
    bool finished;
    enum finish_reason finish_reason;
    char *stop;  // the stop string that matched, NULL = none
    bool has_stop_token;
    int32_t stop_token;
};

/* What is said about a prompt, and what stands before its answers when it is echoed. */
struct answer_prompt {
    struct buf text;      // echo: the prompt as text
    bool is_text;         // ... as the client sent it; else the tokens' texts are put together
    struct buf logprobs;  // echo with logprobs: the same lists as a choice's, for the prompt
    struct buf token_logprobs;
    struct buf top_logprobs;
    struct buf text_offset;
    struct buf scores;         // prompt_logprobs: the items of vLLM's list
    size_t n_tokens;           // items in the lists
    size_t n_characters;       // code points of the text, or of the tokens so far
    size_t completion_tokens;  // so far
};

struct answer {
    struct answer_shape shape;
    char id[ANSWER_ID_BYTES];
    struct buf head;  // {"id":...,"seed":..., : the same in every chunk
    uint64_t seed;
    size_t prompt_tokens;  // of the first prompt
    size_t n_choices, n_prompts;
    struct answer_choice *choices;  // [n_choices] prompt by prompt
    struct answer_prompt *prompts;  // [n_prompts]
    struct job_event total;         // usage and times of all prompts
    size_t n_done;                  // prompts whose choices have all ended
};

/* False without memory; release it all the same. */
bool answer_init(struct answer *answer, const struct answer_shape *shape) MUST_CHECK;
void answer_release(struct answer *answer);
/* echo: the prompt as the client sent it. */
bool answer_set_echo(struct answer *answer, size_t prompt, const char *text,
                     size_t n_bytes) MUST_CHECK;

/* The prompts were accepted: fixes id, time, model, seed. False without memory. */
bool answer_prepare(struct answer *answer, const char *model_id, const char *fingerprint,
                    uint64_t seed, size_t prompt_tokens) MUST_CHECK;
/* Stream: what comes before the first text. */
void answer_stream_start(struct answer *answer, struct buf *out);
/* An event behind EVENT_PREPARED (which tells the number of prompt tokens and may come too) of one
 * prompt's job. A stream appends SSE events; a whole answer gathers, and appends the JSON body at
 * the last EVENT_DONE. False when memory or a cap gave out. */
bool answer_event(struct answer *answer, size_t prompt, const struct job_event *event,
                  struct buf *out) MUST_CHECK;
/* All prompts are done. */
bool answer_is_done(const struct answer *answer);

/* ---- for the two writers of shapes ---- */

/* "stop", "length" or "tool_calls". */
const char *answer_finish_name(enum finish_reason reason);
/* A float that reads back as the same float; -inf (which JSON lacks) as -9999. */
void answer_write_float(struct buf *out, float value);
void answer_write_token_ids(struct buf *out, const struct job_token *tokens, size_t n_tokens,
                            bool more);
/* ,"stop_reason":...: the stop string or token that ended a choice; nothing without one. */
void answer_write_stop_reason(struct buf *out, const char *stop, bool has_token, int32_t token);
/* vLLM's list, without a comma before it: "prompt_logprobs":[...] */
void answer_write_prompt_logprobs(struct buf *out, const struct answer_prompt *prompt);
/* ,"usage":{...},"timings":{...} */
void answer_write_usage(struct buf *out, const struct job_event *done);

/* chat_response.c */
void chat_write_role_chunk(struct answer *answer, size_t choice, struct buf *out);
void chat_write_delta_chunk(struct answer *answer, const struct job_event *event, struct buf *out);
void chat_write_finish_chunk(struct answer *answer, const struct job_event *event, struct buf *out);
void chat_gather(struct answer *answer, const struct job_event *event);
void chat_write_choice(struct answer *answer, size_t choice, struct buf *out);

/* completion_response.c */
void completion_write_text_chunk(struct answer *answer, const struct job_event *event,
                                 struct buf *out);
void completion_write_finish_chunk(struct answer *answer, const struct job_event *event,
                                   struct buf *out);
void completion_gather(struct answer *answer, const struct job_event *event);
void completion_gather_prompt(struct answer *answer, struct answer_prompt *prompt,
                              const struct job_event *event);
void completion_write_echo_chunk(struct answer *answer, size_t choice, struct buf *out);
void completion_write_choice(struct answer *answer, size_t choice, struct buf *out);

#endif
