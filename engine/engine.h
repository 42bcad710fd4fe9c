/* The engine's only interface to the server: open, submit, cancel, observe.
 *
 * The server never sees a tensor and the engine never sees HTTP. Requests go in by engine_submit(),
 * which copies them and returns at once; answers come out of each job's own event queue. JSON
 * crosses this border as text, so that numbers keep their spelling.
 *
 * Threads: every function may be called from any thread unless it says otherwise. */
#ifndef WICARA_ENGINE_ENGINE_H
#define WICARA_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/histogram.h"
#include "engine/engine_sampling.h"

struct engine;
struct job;

enum {
    ENGINE_STOPS_MAX = 16,        // stop strings of one request
    ENGINE_STOP_BYTES_MAX = 256,  // bytes of one stop string
    ENGINE_CHOICES_MAX = 32,      // n
    ENGINE_LOGIT_BIAS_MAX = 1024,
    ENGINE_STOP_TOKENS_MAX = 64,
    ENGINE_BAD_WORDS_MAX = 128,   // texts of one request, each of at most
    ENGINE_WORD_BYTES_MAX = 256,  // so many bytes; also of text in logit_bias
    ENGINE_DRY_BREAKERS_MAX = 32,
    ENGINE_TOP_LOGPROBS_MAX = 20,
    ENGINE_TENANT_BYTES = 32,
};

struct engine_options {
    const char *model_path;   // .gguf file, or directory of a Hugging Face checkpoint
    const char *model_alias;  // id in the API; NULL = the file's base name without ".gguf"
    size_t ctx_size;          // tokens of one sequence; 0 = the model's training context
    size_t parallel;          // sequences in one step; 0 = 32
    size_t kv_bytes;          // of the KV pool; 0 = sized from free memory and ctx_size
    const char *kv_dir;       // what the prefix cache gives up is kept there; NULL = it is lost
    uint64_t kv_dir_bytes;    // most of its files; 0 = 10 GiB
    size_t threads;           // 0 = the cores that the cgroup grants
    const char *cpu_level;    // "scalar" "avx2" "avx512"; NULL = the best there is
    const char *quantize;     // "q8_0" "q4_k": matrices of floats are quantised; NULL = not
    size_t queue_jobs_max;    // jobs waiting for admission; 0 = 256
    size_t prefill_chunk;     // prompt tokens in one step; 0 = 512
    bool no_prefix_cache;
    bool no_speculation;
    const char *sampling;  // defaults of requests over the file's, see engine_sampling.h
    bool precise;  // numerics class: activations of quantised products to 15 bits instead of 8
};

enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_FAILED, ENGINE_DRAINING };

/* Checks the options and starts loading in the engine's own thread; returns at once.
 * Errors: ERR_INVALID naming the option, ERR_MEMORY. */
enum status engine_open(struct engine **out, const struct engine_options *options,
                        struct error *err) MUST_CHECK;
enum engine_state engine_state(const struct engine *engine);
/* Waits until loading ended; ERR_* of the load when it failed. */
enum status engine_wait(struct engine *engine, struct error *err) MUST_CHECK;
/* No new jobs (ERR_SHUTDOWN); running ones go on. */
void engine_drain(struct engine *engine);
size_t engine_jobs(const struct engine *engine);  // jobs that have not sent their last event
/* Cancels what runs, joins all threads, frees all. Jobs must have been released by the server
 * or are released later (job_release stays valid after close). */
void engine_close(struct engine *engine);

/* Facts for /v1/models, /props and the start banner; valid from ENGINE_READY until close. */
struct engine_info {
    const char *model_id;
    const char *architecture;
    const char *model_name;
    const char *fingerprint;  // "fp_..." : changes exactly when answers could
    const char *cpu_level;
    const char *numerics;  // "fast" "precise"
    struct engine_sampling sampling;
    const char *chat_template;        // source text, "" when the model has none
    const char *bos_text, *eos_text;  // of these tokens, "" without one
    const char *reply_format;         // how its replies are read ("hermes"), "" without a template
    bool thinks;                      // its replies may have a thought
    bool thinking_switch, reasoning_effort;  // variables that its template has a use for
    bool fills_in;                           // completions may have a suffix
    uint64_t n_parameters;
    size_t n_vocab;
    size_t ctx_train;
    size_t ctx_size;
    size_t parallel;
    size_t threads;
    size_t weight_bytes, kv_bytes, scratch_bytes;
    size_t kv_blocks, kv_block_tokens;
    double load_seconds;
};
const struct engine_info *engine_info(const struct engine *engine);

/* ---- jobs ---- */

enum job_kind {
    JOB_CHAT,        // messages_json -> text
    JOB_COMPLETION,  // prompt -> text
    JOB_RENDER,      // messages_json -> prompt text, no generation
    JOB_TOKENIZE,    // prompt or messages_json -> ids
    JOB_DETOKENIZE,  // prompt_tokens -> text
};

struct job_logit_bias {
    int32_t token;
    float bias;
};

/* The bias of every token of a text. */
struct job_text_bias {
    const char *text;
    float bias;
};

/* What an answer must look like. Masks allow only tokens that keep to it; with the budget of
 * max_tokens (or the room that is left) the text always comes to its end. */
enum constraint_kind {
    CONSTRAINT_NONE,
    CONSTRAINT_JSON_OBJECT,  // any JSON object; no text
    CONSTRAINT_JSON_SCHEMA,
    CONSTRAINT_REGEX,   // the whole answer matches
    CONSTRAINT_CHOICE,  // a JSON array of strings, one of which is the answer
    CONSTRAINT_GBNF,
};

struct job_constraint {
    enum constraint_kind kind;
    const char *text;   // NUL-terminated
    bool is_strict;     // JSON_SCHEMA: absent additionalProperties means false
    const char *param;  // request field that errors name
    // The answer is free up to and with this text (the end of the model's thinking); NULL = not
    const char *free_until;
};

/* All pointers are borrowed for the duration of engine_submit() only. Ranges were checked by the
 * server's parameter table; the engine checks what depends on the model (token ids, context). */
struct job_request {
    enum job_kind kind;
    uint8_t tenant[ENGINE_TENANT_BYTES];  // digest of the API key, zeros without one
    bool has_cache_salt;                  // shares cached prefixes with requests of equal salt only
    uint8_t cache_salt[ENGINE_TENANT_BYTES];
    int64_t arrival_unix_s;  // the date that a template may ask for

    const char *messages_json;            // CHAT, RENDER: JSON array
    const char *tools_json;               // JSON array or NULL
    const char *template_variables_json;  // JSON object or NULL
    bool no_generation_prompt;
    bool one_tool_call;  // CHAT: the reply ends with its first call
    // CHAT: JSON Schema that each call of the reply keeps to, all the rest is free; NULL = none.
    // No effect beside a constraint, nor where the model's calls are no JSON objects with a name.
    const char *calls_schema;
    bool forced_call;  // CHAT: the constraint makes the reply a call {"name", "arguments"}
    /* CHAT: tokens of a thought after which it is ended, by tokens that are not drawn. */
    bool has_thinking_budget;
    size_t thinking_budget;
    /* Content of the last message, which the answer goes on with: the prompt ends behind it. NULL =
     * the answer is a new message. */
    const char *continue_text;

    const char *prompt;  // COMPLETION, TOKENIZE: UTF-8 text
    size_t prompt_bytes;
    bool no_special;               // TOKENIZE: without BOS
    bool parse_special;            // COMPLETION, TOKENIZE: text of control tokens becomes them
    const int32_t *prompt_tokens;  // DETOKENIZE; COMPLETION instead of text
    size_t n_prompt_tokens;
    const char *suffix;  // COMPLETION: the answer goes between prompt and this; NULL = none
    size_t suffix_bytes;

    bool prompt_scores;         // EVENT_PROMPT with log-probabilities of the prompt's tokens and
    int32_t top_prompt_scores;  // 0..ENGINE_TOP_LOGPROBS_MAX alternatives at each
    bool echo_tokens;           // EVENT_PROMPT also without them
    bool no_answer;             // only the prompt is computed
    bool progress;              // EVENT_PROGRESS after each step of the prompt

    size_t max_tokens;  // 0 = up to the context
    size_t n_choices;   // 1..ENGINE_CHOICES_MAX
    float temperature, top_p, min_p;
    int32_t top_k;
    float presence_penalty, frequency_penalty, repetition_penalty;
    bool has_seed;
    uint64_t seed;  // used when has_seed; else the engine picks one
    bool ignore_eos;
    bool no_speculation;       // guess no tokens, also where the engine does
    const char *const *stops;  // NUL-terminated
    size_t n_stops;
    const struct job_logit_bias *logit_bias;
    size_t n_logit_bias;
    int32_t top_logprobs;  // -1 = none, else 0..ENGINE_TOP_LOGPROBS_MAX

    /* Zero turns each of these off. */
    bool include_stop;  // the stop string, or the text of the stop token, is shown
    bool show_control;  // control tokens have text, but for the answer's end and a reply's markers
    const int32_t *stop_tokens;
    size_t n_stop_tokens;
    size_t min_tokens;       // no end of the answer and no stop before
    int32_t penalty_window;  // last tokens that the penalties look at
    float typical_p, top_n_sigma, xtc_probability, xtc_threshold;
    float dry_multiplier, dry_base;
    int32_t dry_allowed_length, dry_window;
    const char *const *dry_breakers;  // texts; a token that holds one ends a repetition
    size_t n_dry_breakers;
    const struct job_text_bias *text_bias;
    size_t n_text_bias;
    const char *const *bad_words;
    size_t n_bad_words;
    const int32_t *allowed_tokens;
    size_t n_allowed_tokens;

    struct job_constraint constraint;

    /* Called when the job's event queue becomes non-empty, from an engine thread and without any
     * lock held: copy a flag and return, never block, never call back into the job. */
    void (*on_ready)(void *user);
    void *user;
    bool lazy_ready;  // no call for parts of the answer: only before, at its end, or to make room
};

enum finish_reason { FINISH_STOP, FINISH_LENGTH, FINISH_TOOL_CALLS };

struct job_alternative {
    int32_t token;
    float logprob;
    const char *bytes;  // the token's bytes
    size_t n_bytes;
};

struct job_token {
    int32_t token;
    float logprob;  // when asked
    const char *bytes;
    size_t n_bytes;
    const struct job_alternative *top;
    size_t n_top;
    bool is_control;  // its bytes are no text of the answer
    uint32_t rank;    // EVENT_PROMPT: 1 = the most probable; 0 = nothing comes before this token
};

enum job_event_type {
    EVENT_PREPARED,  // the prompt is accepted: every 4xx is decided. First event of CHAT/COMPLETION
    EVENT_REJECTED,  // instead of it: error. Last event
    EVENT_PROMPT,    // the next tokens of the prompt; all of them come before the first TEXT
    EVENT_PROGRESS,  // of the prompt: prompt_tokens, cached_tokens, done_tokens, prefill_s
    EVENT_TEXT,      // part of a choice's text
    EVENT_REASONING,  // CHAT: part of its thought
    EVENT_TOOL_CALL,  // CHAT: a call begins; its name, then id_bytes of an id that the model gave
    EVENT_TOOL_ARGUMENTS,  // CHAT: part of the call's arguments, which join to JSON text
    EVENT_FINISHED,        // a choice has ended
    EVENT_DONE,            // all choices have ended. Last event
    EVENT_FAILED,          // error after PREPARED. Last event
    EVENT_RENDERED,        // RENDER: text; DETOKENIZE: text. Last event
    EVENT_TOKENS,          // TOKENIZE: tokens (ids and bytes). Last event
};

struct job_event {
    enum job_event_type type;
    uint32_t choice;   // TEXT, REASONING, TOOL_*, FINISHED
    uint32_t call;     // TOOL_*: which, from 0
    const char *text;  // TEXT, REASONING, TOOL_*, RENDERED: valid UTF-8
    size_t n_bytes;
    size_t id_bytes;  // TOOL_CALL: at the end of the text
    // TEXT, REASONING, TOOL_*: tokens whose text ends in this part or before it; TOKENS; PROMPT
    const struct job_token *tokens;
    size_t n_tokens;
    enum finish_reason finish_reason;
    const char *stop;     // FINISHED: the stop string that matched, or NULL
    bool has_stop_token;  // FINISHED: one of stop_tokens ended it:
    int32_t stop_token;
    struct error error;                   // REJECTED, FAILED
    uint64_t seed;                        // PREPARED, DONE
    size_t prompt_tokens;                 // PREPARED, DONE
    size_t done_tokens;                   // PROGRESS: cached ones too
    size_t cached_tokens;                 // DONE: prompt tokens that came from the prefix cache
    size_t completion_tokens;             // parts, FINISHED: so far; DONE: of all choices
    size_t reasoning_tokens;              // DONE: of them, in thoughts
    double queue_s, prefill_s, decode_s;  // DONE
};

/* Errors: ERR_BUSY queue full, ERR_LOADING, ERR_SHUTDOWN, ERR_MEMORY, ERR_LIMIT. Everything that
 * depends on the text comes as EVENT_REJECTED. */
enum status engine_submit(struct engine *engine, const struct job_request *request,
                          struct job **out, struct error *err) MUST_CHECK;

/* Takes the next event if there is one. The event and what it points to stay valid until the next
 * call on this job or job_release(). One consumer thread at a time. A consumer that stops taking
 * events pauses its job at a bounded queue, never the batch. */
bool job_next_event(struct job *job, const struct job_event **out);

/* Stops the job at the next layer or phase border; job_next_event() finds nothing any more and no
 * on_ready call begins. Idempotent, safe at any time before job_release(). */
void job_cancel(struct job *job);
/* Gives up the caller's reference (cancels a job that still runs). Waits for an on_ready call under
 * way, so that `user` may be freed afterwards: hold no lock that on_ready takes. */
void job_release(struct job *job);

enum job_phase { JOB_PHASE_QUEUED, JOB_PHASE_PREFILL, JOB_PHASE_DECODE, JOB_PHASE_ENDED };
enum job_phase job_phase(const struct job *job);

/* ---- observation ---- */

struct engine_metrics {
    size_t jobs_running, jobs_waiting;
    size_t jobs_decoding;  // of the running ones, past their first token
    size_t kv_blocks, kv_blocks_free, kv_blocks_cached;
    uint64_t prompt_tokens, generation_tokens;
    uint64_t prefix_queries, prefix_hits;  // tokens
    /* Of the directory: blocks written to it, read back, found damaged, not written for lack of
     * time or room. */
    uint64_t kv_blocks_spilled, kv_blocks_reloaded, kv_blocks_damaged, kv_blocks_dropped;
    uint64_t kv_bytes_spilled, kv_bytes_reloaded;
    uint64_t kv_dir_bytes;  // in it now
    uint64_t preemptions;
    uint64_t steps, decode_rows, prefill_rows,
        decode_steps;                               // decode_steps: steps with decode rows
    uint64_t draft_tokens, draft_tokens_accepted;   // guessed and computed; of them, right
    uint64_t forward_us, sampling_us, delivery_us;  // of steps: model, draws, text and events
    uint64_t finished_stop, finished_length, finished_cancelled, finished_error;
    const struct histogram *time_to_first_token_s, *inter_token_s, *e2e_s, *queue_s, *prefill_s,
        *decode_s, *step_rows, *decode_batch, *prompt_length, *generation_length;
};
void engine_metrics(const struct engine *engine, struct engine_metrics *out);

#endif
