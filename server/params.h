/* The one table of request parameters: what each field is, its range and default, where it applies
 * and what happens to it. Validation of all endpoints with a body runs off this table, and so do
 * the tests, the OpenAPI document and the reference in README.md.
 *
 * A field is honoured, refused (it would change the answer and we cannot do it: 400 naming it), or
 * ignored (harmless: its name goes into the header x-ignored-params). A name that is not in the
 * table is ignored too, or refused in strict mode. null means "not given" everywhere. */
#ifndef WICARA_SERVER_PARAMS_H
#define WICARA_SERVER_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "server/json_members.h"

struct cJSON;

enum endpoint {
    ENDPOINT_CHAT = 1,  // also /apply-template and the token count
    ENDPOINT_COMPLETIONS = 2,
    ENDPOINT_TOKENIZE = 4,
    ENDPOINT_DETOKENIZE = 8,
};

enum param_kind { PARAM_HONOURED, PARAM_REFUSED, PARAM_IGNORED };

/* JSON types that a field accepts, as a set. */
enum {
    TYPE_BOOL = 1,
    TYPE_INT = 2,  // a number without a fraction
    TYPE_NUMBER = 4,
    TYPE_STRING = 8,
    TYPE_ARRAY = 16,
    TYPE_OBJECT = 32,
    TYPE_ANY = 63,
};

/* A field whose shape needs more than a type and a range, for the reader of that field. */
struct param_value {
    const struct cJSON *node;  // NULL = not given
    struct json_span span;     // its text
};

/* What the table fills in. Numbers hold their defaults when the field was not given. */
struct params {
    struct param_value model, messages, prompt, stop, logit_bias, seed, stream_options, tools,
        tool_choice, chat_template_kwargs, content, tokens, add_special, add_special_tokens,
        stop_token_ids, bad_words, allowed_token_ids, dry_sequence_breakers, cache_salt, suffix,
        reasoning_effort, reasoning, thinking, enable_thinking, response_format, guided_json,
        guided_regex, guided_choice, guided_grammar, structured_outputs, grammar, json_schema;
    bool parallel_tool_calls, skip_special_tokens, stream, logprobs, ignore_eos, speculation,
        return_token_ids, parse_special, with_pieces, return_token_strs, include_stop, echo,
        add_generation_prompt, continue_final_message, return_progress;
    int64_t n, top_k, top_logprobs, legacy_logprobs, max_tokens, max_completion_tokens, min_tokens,
        thinking_token_budget, reasoning_budget, penalty_window, dry_allowed_length, dry_window,
        prompt_logprobs;
    double temperature, top_p, min_p, presence_penalty, frequency_penalty, repetition_penalty,
        repeat_penalty, typical_p, top_n_sigma, xtc_probability, xtc_threshold, dry_multiplier,
        dry_base;
};

struct param {
    const char *name;
    unsigned endpoints;  // set of enum endpoint
    enum param_kind kind;
    unsigned types;   // set of TYPE_*
    double min, max;  // numbers; min > max = no range
    bool min_excluded;
    bool is_node;           // honoured: kept as a struct param_value for its reader
    double default_number;  // honoured numbers and booleans
    size_t offset;          // honoured: of the field in struct params
    const char *neutral;    // refused, ignored: values that change nothing: "false|0|\"auto\""
    const char *schema;     // JSON schema of a node where its types do not say it; NULL
    const char *note;       // what it does, why it is refused or why ignoring it is harmless
};

const struct param *params_table(size_t *n_params);

/* Limits of a request body. */
enum {
    REQUEST_BODY_BYTES_MAX = 8 << 20,
    REQUEST_NODES_MAX = 300000,  // JSON values: 128 K token ids and room
    REQUEST_DEPTH_MAX = 64,
    REQUEST_MEMBERS_MAX = 256,  // fields at the top level
    IGNORED_BYTES_MAX = 1024,   // of the header x-ignored-params
};

/* A request body that passed the strict scan and is an object. */
struct request_body {
    const char *text;
    size_t n_bytes;
    struct cJSON *root;
};

/* Errors: ERR_INVALID (not strict JSON, not an object), ERR_MEMORY. */
enum status request_body_parse(struct request_body *body, const char *text, size_t n_bytes,
                               struct error *err) MUST_CHECK;
void request_body_release(struct request_body *body);

/* Checks every field of the body for `endpoint` and fills `out`. Names of ignored fields are
 * appended to `ignored`, separated by ", ". strict: they are errors instead.
 * Errors: ERR_INVALID / ERR_UNSUPPORTED with the field in err->param. */
enum status params_parse(enum endpoint endpoint, const struct request_body *body, bool strict,
                         struct params *out, struct buf *ignored, struct error *err) MUST_CHECK;

/* Gives a number of the table another value, which must be in its range; unknown names are left. */
void params_set(enum endpoint endpoint, struct params *out, const char *name, double value);

/* Adds a field's name to the list if it is fit for a header. */
void params_ignored_add(struct buf *ignored, const char *name);

#endif
