/* A validated chat or completion request: what the engine needs, and how the answer is to look.
 *
 * Everything it points to lives in its arena or in the body's text, so it is valid while both are;
 * engine_submit() copies what the job needs, and `shape` is all that the answer needs afterwards.
 */
#ifndef WICARA_SERVER_GENERATION_REQUEST_H
#define WICARA_SERVER_GENERATION_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "server/params.h"

enum {
    REQUEST_MESSAGES_MAX = 16384,
    REQUEST_TOOLS_MAX = 128,
    FUNCTION_NAME_BYTES_MAX = 128,
    REQUEST_PROMPTS_MAX = 128,  // of one completion request, each is a job
    REQUEST_ANSWERS_MAX = 256,  // prompts times choices
    STOPS_MAX = ENGINE_STOPS_MAX
};

/* How the answer is written; plain data, copied into the response. */
struct answer_shape {
    enum endpoint endpoint;
    bool stream;
    bool include_usage;
    bool running_usage;       // stream: usage so far in each chunk
    bool progress;            // stream: how far the prompt is
    bool echo;                // completions: the prompt stands before each answer
    int32_t prompt_logprobs;  // vLLM's list, with so many alternatives; -1 = none
    int32_t top_logprobs;     // alternatives in the legacy lists
    bool return_token_ids;
    bool show_control;  // control tokens have text
    bool logprobs;      // chat: logprobs.content; completions: the legacy lists
    bool tools;         // chat: the model may call some
    size_t n_choices;   // to each prompt
    size_t n_prompts;   // completions: one job each
};

/* A prompt of a completion request: text, or token ids. */
struct request_prompt {
    const char *text;  // NULL = ids
    size_t n_bytes;
    const int32_t *ids;
    size_t n_ids;
};

/* What a chat body asks of the model's reasoning. */
struct reasoning_request {
    bool has_switch, is_on;
    const char *effort;  // a level, NULL = not given
    int64_t budget;      // tokens, -1 = not given
};

struct generation_request {
    struct request_body body;
    struct arena arena;
    struct params params;
    struct job_request job;
    struct answer_shape shape;
    struct reasoning_request reasoning;
    struct request_prompt *prompts;  // [shape.n_prompts] of completions
    struct buf ignored;              // value of x-ignored-params, "" when all was honoured
};

/* What bodies are read by. */
struct request_rules {
    const char *model_id;                    // a request for another one is ERR_NOT_FOUND
    bool strict;                             // unknown and ignored fields are errors
    const struct engine_sampling *sampling;  // defaults over the table's; NULL = none
};

/* Both parse and check a whole body. On failure the request is released.
 * Errors: ERR_INVALID, ERR_UNSUPPORTED, ERR_NOT_FOUND with err->param; ERR_MEMORY. */
enum status chat_request_parse(struct generation_request *request, const char *text, size_t n_bytes,
                               const struct request_rules *rules, struct error *err) MUST_CHECK;
enum status completion_request_parse(struct generation_request *request, const char *text,
                                     size_t n_bytes, const struct request_rules *rules,
                                     struct error *err) MUST_CHECK;
void generation_request_release(struct generation_request *request);

/* ---- shared by the two readers ---- */

/* Parses the body against the table of any endpoint and checks the model's name. */
enum status generation_request_open(struct generation_request *request, enum endpoint endpoint,
                                    const char *text, size_t n_bytes,
                                    const struct request_rules *rules,
                                    struct error *err) MUST_CHECK;
/* The same, and fills what the two generating endpoints share. */
enum status generation_request_begin(struct generation_request *request, enum endpoint endpoint,
                                     const char *text, size_t n_bytes,
                                     const struct request_rules *rules,
                                     struct error *err) MUST_CHECK;

/* "default", the id itself or nothing at all. */
bool model_name_matches(const char *name, const char *model_id);
/* ERR_NOT_FOUND when the body names another model. */
enum status request_check_model(const struct param_value *model, const char *model_id,
                                struct error *err) MUST_CHECK;

/* stop, stop_token_ids, logit_bias, bad_words, allowed_token_ids, dry_sequence_breakers,
 * cache_salt. */
enum status request_read_lists(struct generation_request *request, struct error *err) MUST_CHECK;

/* An array of token ids into the request's arena; elements that are none are refused naming
 * `param`. */
enum status request_read_ids(struct arena *arena, const struct cJSON *array, const char *param,
                             const int32_t **out, size_t *n_out, struct error *err) MUST_CHECK;

/* An integer that fits int64, from its text; false for 1.0, 1e3 or a larger one. */
bool int64_from_span(const struct json_span *span, int64_t *out);

#endif
