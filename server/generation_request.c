/* What chat and completion requests share: the table's numbers, model, seed and stream_options into
 * a job_request; the lists are read in request_lists.c. Integers that must be exact (seed) are read
 * from the text, because a double loses them above 2^53. */
#include "server/generation_request.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "server/structured.h"

enum { ARENA_BYTES_MAX = 4 * REQUEST_BODY_BYTES_MAX };

bool model_name_matches(const char *name, const char *model_id)
{
    return name[0] == '\0' || strcmp(name, "default") == 0 || strcmp(name, model_id) == 0;
}

bool int64_from_span(const struct json_span *span, int64_t *out)
{
    char digits[24];
    if (span->n_bytes == 0 || span->n_bytes >= sizeof digits)
        return false;
    for (size_t i = 0; i < span->n_bytes; i++) {
        char c = span->text[i];
        if (!(c >= '0' && c <= '9') && !(i == 0 && c == '-'))
            return false;
    }
    memcpy(digits, span->text, span->n_bytes);
    digits[span->n_bytes] = '\0';
    errno = 0;
    char *end;
    long long value = strtoll(digits, &end, 10);
    if (errno != 0 || *end != '\0' || end == digits)
        return false;
    *out = value;
    return true;
}

enum status request_check_model(const struct param_value *model, const char *model_id,
                                struct error *err)
{
    if (!model->node || model_name_matches(model->node->valuestring, model_id))
        return OK;
    return error_set_param(err, ERR_NOT_FOUND, "model",
                           "The model '%.100s' does not exist; this server has '%.80s'",
                           model->node->valuestring, model_id);
}

static enum status read_stream_options(struct generation_request *request, struct error *err)
{
    const struct params *params = &request->params;
    const cJSON *option;
    if (!params->stream_options.node)
        return OK;
    if (!params->stream) {
        return error_set_param(err, ERR_INVALID, "stream_options",
                               "'stream_options' is only allowed with 'stream': true");
    }
    cJSON_ArrayForEach(option, params->stream_options.node)
    {
        if (cJSON_IsNull(option))
            continue;
        char path[ERROR_PARAM_BYTES];
        snprintf(path, sizeof path, "stream_options.%.40s", option->string);
        bool usage = strcmp(option->string, "include_usage") == 0;
        bool padding = strcmp(option->string, "include_obfuscation") == 0;
        bool running = strcmp(option->string, "continuous_usage_stats") == 0;
        if ((usage || padding || running) && !cJSON_IsBool(option))
            return error_set_param(err, ERR_INVALID, path, "'%s' must be a boolean", path);
        if (usage)
            request->shape.include_usage = cJSON_IsTrue(option);
        else if (running)
            request->shape.running_usage = cJSON_IsTrue(option);
        else
            params_ignored_add(&request->ignored, path);
    }
    return OK;
}

static enum status read_seed(struct generation_request *request, struct error *err)
{
    const struct param_value *seed = &request->params.seed;
    if (!seed->node)
        return OK;
    int64_t value;
    if (!int64_from_span(&seed->span, &value)) {
        return error_set_param(err, ERR_INVALID, "seed",
                               "'seed' must be an integer of 64 bits, written plainly");
    }
    request->job.has_seed = true;
    request->job.seed = (uint64_t)value;
    return OK;
}

/* A positive double may round to zero as a float; the sampler's ranges are open there. */
static float positive_float(double value)
{
    return value < 1e-6 ? 1e-6f : (float)value;
}

/* -1 = all is the engine's 0, 0 = off turns the feature off. */
static int32_t window_of(int64_t last_n, bool *is_off)
{
    *is_off = last_n == 0;
    return last_n < 0 ? 0 : (int32_t)last_n;
}

static void read_sampling(const struct params *params, struct job_request *job)
{
    bool no_penalties, no_dry;
    job->penalty_window = window_of(params->penalty_window, &no_penalties);
    if (no_penalties) {
        job->presence_penalty = job->frequency_penalty = 0;
        job->repetition_penalty = 1;
    }
    job->typical_p = (float)params->typical_p;
    job->top_n_sigma = params->top_n_sigma > 0 ? (float)params->top_n_sigma : 0;
    job->xtc_probability = (float)params->xtc_probability;
    job->xtc_threshold = (float)params->xtc_threshold;
    job->dry_window = window_of(params->dry_window, &no_dry);
    job->dry_multiplier = no_dry ? 0 : (float)params->dry_multiplier;
    job->dry_base = (float)params->dry_base;
    job->dry_allowed_length = (int32_t)params->dry_allowed_length;
    job->min_tokens = (size_t)params->min_tokens;
    job->include_stop = params->include_stop;
    job->show_control = !params->skip_special_tokens;
}

static bool is_given(const struct generation_request *request, const char *name)
{
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(request->body.root, name);
    return node && !cJSON_IsNull(node);
}

/* Defaults of the model's file or the command line, for fields that the request leaves out. */
static void apply_sampling(struct generation_request *request,
                           const struct engine_sampling *sampling)
{
    for (size_t i = 0; i < SAMPLING_FIELDS; i++) {
        const char *name = engine_sampling_name(i);
        bool other_name =
            strcmp(name, "repetition_penalty") == 0 && is_given(request, "repeat_penalty");
        if (sampling->fields[i].origin != SAMPLING_BUILT_IN && !other_name &&
            !is_given(request, name))
            params_set(request->shape.endpoint, &request->params, name, sampling->fields[i].value);
    }
}

/* Two names of one field must agree. */
static enum status read_repetition(struct generation_request *request, struct error *err)
{
    struct params *params = &request->params;
    if (params->repeat_penalty == 1 || params->repeat_penalty == params->repetition_penalty)
        return OK;
    if (params->repetition_penalty != 1) {
        return error_set_param(err, ERR_INVALID, "repeat_penalty",
                               "'repeat_penalty' and 'repetition_penalty' say different things");
    }
    params->repetition_penalty = params->repeat_penalty;
    return OK;
}

static enum status read_prompt_logprobs(struct generation_request *request, struct error *err)
{
    const struct params *params = &request->params;
    request->shape.prompt_logprobs = (int32_t)params->prompt_logprobs;
    request->shape.progress = params->return_progress && params->stream;
    request->job.progress = request->shape.progress;
    if (params->prompt_logprobs < 0)
        return OK;
    if (params->stream) {
        return error_set_param(err, ERR_INVALID, "prompt_logprobs",
                               "'prompt_logprobs' is not available with 'stream': true");
    }
    request->job.prompt_scores = true;
    request->job.top_prompt_scores = (int32_t)params->prompt_logprobs;
    return OK;
}

static void read_numbers(struct generation_request *request)
{
    const struct params *params = &request->params;
    struct job_request *job = &request->job;
    job->n_choices = (size_t)params->n;
    job->max_tokens = (size_t)(params->max_completion_tokens > 0 ? params->max_completion_tokens
                                                                 : params->max_tokens);
    job->temperature = (float)params->temperature;
    job->top_p = positive_float(params->top_p);
    job->min_p = (float)params->min_p;
    job->top_k = params->top_k < 0 ? 0 : (int32_t)params->top_k;
    job->presence_penalty = (float)params->presence_penalty;
    job->frequency_penalty = (float)params->frequency_penalty;
    job->repetition_penalty = positive_float(params->repetition_penalty);
    read_sampling(params, job);
    job->ignore_eos = params->ignore_eos;
    job->no_speculation = !params->speculation;
    job->top_logprobs = -1;
    request->shape.stream = params->stream;
    request->shape.return_token_ids = params->return_token_ids;
    request->shape.show_control = job->show_control;
    request->shape.n_choices = (size_t)params->n;
    request->shape.n_prompts = 1;
}

enum status generation_request_open(struct generation_request *request, enum endpoint endpoint,
                                    const char *text, size_t n_bytes,
                                    const struct request_rules *rules, struct error *err)
{
    memset(request, 0, sizeof *request);
    arena_init(&request->arena, ARENA_BYTES_MAX);
    buf_init(&request->ignored, 2 * IGNORED_BYTES_MAX);
    request->shape.endpoint = endpoint;
    enum status status = request_body_parse(&request->body, text, n_bytes, err);
    if (status == OK) {
        status = params_parse(endpoint, &request->body, rules->strict, &request->params,
                              &request->ignored, err);
    }
    return status == OK ? request_check_model(&request->params.model, rules->model_id, err)
                        : status;
}

enum status generation_request_begin(struct generation_request *request, enum endpoint endpoint,
                                     const char *text, size_t n_bytes,
                                     const struct request_rules *rules, struct error *err)
{
    enum status status = generation_request_open(request, endpoint, text, n_bytes, rules, err);
    if (status == OK && rules->sampling)
        apply_sampling(request, rules->sampling);
    if (status == OK)
        status = read_stream_options(request, err);
    if (status == OK)
        status = request_read_lists(request, err);
    if (status == OK)
        status = read_seed(request, err);
    if (status == OK)
        status = structured_read(request, err);
    if (status == OK)
        status = read_repetition(request, err);
    if (status == OK)
        status = read_prompt_logprobs(request, err);
    if (status == OK)
        read_numbers(request);
    return status;
}

void generation_request_release(struct generation_request *request)
{
    request_body_release(&request->body);
    arena_release(&request->arena);
    buf_release(&request->ignored);
}
