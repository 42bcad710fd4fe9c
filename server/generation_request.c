/* What chat and completion requests share: the table's numbers, model, stop, seed, logit_bias and
 * stream_options into a job_request. Integers that must be exact (seed, token ids) are read from
 * the text, because a double loses them above 2^53. */
#include "server/generation_request.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>

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
        else if (running && cJSON_IsTrue(option))
            return error_set_param(err, ERR_UNSUPPORTED, path, "'%s' is not supported", path);
        else
            params_ignored_add(&request->ignored, path);
    }
    return OK;
}

static enum status read_stop(struct generation_request *request, struct error *err)
{
    const cJSON *node = request->params.stop.node;
    if (!node)
        return OK;
    size_t n_stops = cJSON_IsString(node) ? 1 : (size_t)cJSON_GetArraySize(node);
    if (n_stops > STOPS_MAX) {
        return error_set_param(err, ERR_INVALID, "stop", "'stop' has %zu strings, the most is %d",
                               n_stops, STOPS_MAX);
    }
    const char **stops = arena_alloc(&request->arena, STOPS_MAX * sizeof *stops);
    if (!stops)
        return error_set(err, ERR_MEMORY, "no memory for the stop strings");
    const cJSON *item = cJSON_IsString(node) ? node : node->child;
    size_t n = 0;
    for (; item && n < n_stops; item = item->next) {
        if (!cJSON_IsString(item))
            return error_set_param(err, ERR_INVALID, "stop", "'stop' must hold strings only");
        size_t bytes = strlen(item->valuestring);
        if (bytes == 0 || bytes > ENGINE_STOP_BYTES_MAX) {
            return error_set_param(err, ERR_INVALID, "stop",
                                   "a stop string must have 1 to %d bytes, not %zu",
                                   ENGINE_STOP_BYTES_MAX, bytes);
        }
        stops[n++] = item->valuestring;
    }
    request->job.stops = stops;
    request->job.n_stops = n;
    return OK;
}

static enum status read_logit_bias(struct generation_request *request, struct error *err)
{
    const cJSON *node = request->params.logit_bias.node;
    if (!node)
        return OK;
    size_t n_items = (size_t)cJSON_GetArraySize(node);
    if (n_items > ENGINE_LOGIT_BIAS_MAX) {
        return error_set_param(err, ERR_INVALID, "logit_bias",
                               "'logit_bias' has %zu entries, the most is %d", n_items,
                               ENGINE_LOGIT_BIAS_MAX);
    }
    struct job_logit_bias *list = arena_alloc(&request->arena, (n_items + 1) * sizeof *list);
    if (!list)
        return error_set(err, ERR_MEMORY, "no memory for logit_bias");
    size_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, node)
    {
        int64_t id = -1;
        struct json_span key = {item->string, strlen(item->string)};
        if (!int64_from_span(&key, &id) || id < 0 || id > INT32_MAX) {
            return error_set_param(err, ERR_INVALID, "logit_bias",
                                   "'%.40s' in 'logit_bias' is not a token id", item->string);
        }
        if (!cJSON_IsNumber(item) || item->valuedouble < -100 || item->valuedouble > 100) {
            return error_set_param(
                err, ERR_INVALID, "logit_bias",
                "'logit_bias': the bias of token %" PRId64 " must be a number in -100..100", id);
        }
        list[n++] = (struct job_logit_bias){(int32_t)id, (float)item->valuedouble};
    }
    request->job.logit_bias = list;
    request->job.n_logit_bias = n;
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
    job->ignore_eos = params->ignore_eos;
    job->top_logprobs = -1;
    request->shape.stream = params->stream;
    request->shape.return_token_ids = params->return_token_ids;
    request->shape.n_choices = (size_t)params->n;
}

enum status generation_request_begin(struct generation_request *request, enum endpoint endpoint,
                                     const char *text, size_t n_bytes, const char *model_id,
                                     bool strict, struct error *err)
{
    memset(request, 0, sizeof *request);
    arena_init(&request->arena, ARENA_BYTES_MAX);
    buf_init(&request->ignored, 2 * IGNORED_BYTES_MAX);
    request->shape.endpoint = endpoint;
    enum status status = request_body_parse(&request->body, text, n_bytes, err);
    if (status == OK) {
        status = params_parse(endpoint, &request->body, strict, &request->params, &request->ignored,
                              err);
    }
    if (status == OK)
        status = request_check_model(&request->params.model, model_id, err);
    if (status == OK)
        status = read_stream_options(request, err);
    if (status == OK)
        status = read_stop(request, err);
    if (status == OK)
        status = read_logit_bias(request, err);
    if (status == OK)
        status = read_seed(request, err);
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
