/* The body of POST /v1/completions: the shared fields and the prompts: a text, token ids, or an
 * array of texts or of arrays of ids. Each prompt becomes a job of its own; the answers share one
 * reply, prompt by prompt, as OpenAI numbers them. */
#include "server/generation_request.h"

#include <cjson/cJSON.h>
#include <limits.h>

static enum status read_ids(struct generation_request *request, const cJSON *array,
                            const char *param, struct request_prompt *out, struct error *err)
{
    if (!array->child)
        return error_set_param(err, ERR_INVALID, "prompt", "'%s' must not be empty", param);
    return request_read_ids(&request->arena, array, param, &out->ids, &out->n_ids, err);
}

/* An array of prompts. */
static enum status read_batch(struct generation_request *request, const cJSON *array,
                              struct error *err)
{
    const cJSON *item;
    size_t i = 0;
    bool texts = cJSON_IsString(array->child);
    cJSON_ArrayForEach(item, array)
    {
        char param[ERROR_PARAM_BYTES];
        snprintf(param, sizeof param, "prompt[%zu]", i);
        struct request_prompt *prompt = &request->prompts[i++];
        if (texts ? !cJSON_IsString(item) : !cJSON_IsArray(item)) {
            return error_set_param(err, ERR_INVALID, "prompt",
                                   "'prompt' must hold only texts, only token ids or only arrays "
                                   "of token ids");
        }
        enum status status = OK;
        if (texts)
            *prompt =
                (struct request_prompt){item->valuestring, strlen(item->valuestring), NULL, 0};
        else
            status = read_ids(request, item, param, prompt, err);
        if (status != OK)
            return status;
    }
    return OK;
}

static enum status read_prompts(struct generation_request *request, struct error *err)
{
    const cJSON *prompt = request->params.prompt.node;
    if (!prompt)
        return error_set_param(err, ERR_INVALID, "prompt", "'prompt' is required");
    bool batch = cJSON_IsArray(prompt) && prompt->child && !cJSON_IsNumber(prompt->child);
    size_t n = batch ? (size_t)cJSON_GetArraySize(prompt) : 1;
    size_t n_answers = n * request->shape.n_choices;
    if (n > REQUEST_PROMPTS_MAX || n_answers > REQUEST_ANSWERS_MAX) {
        return error_set_param(err, ERR_INVALID, "prompt",
                               "%zu prompts with %zu answers each; the most is %d prompts and %d "
                               "answers in all",
                               n, request->shape.n_choices, REQUEST_PROMPTS_MAX,
                               REQUEST_ANSWERS_MAX);
    }
    request->prompts = arena_alloc(&request->arena, n * sizeof *request->prompts);
    if (!request->prompts)
        return error_set(err, ERR_MEMORY, "no memory for the prompts");
    request->shape.n_prompts = n;
    if (batch)
        return read_batch(request, prompt, err);
    if (cJSON_IsArray(prompt))
        return read_ids(request, prompt, "prompt", request->prompts, err);
    request->prompts[0] =
        (struct request_prompt){prompt->valuestring, strlen(prompt->valuestring), NULL, 0};
    return OK;
}

/* echo, logprobs, suffix and an answer of no tokens, which only make sense in some company. */
static enum status read_prompt_options(struct generation_request *request, struct error *err)
{
    const struct params *params = &request->params;
    struct job_request *job = &request->job;
    const cJSON *suffix = params->suffix.node;
    request->shape.echo = params->echo;
    job->echo_tokens = params->echo;
    job->no_answer = params->max_tokens == 0;
    if (params->legacy_logprobs >= 0) {
        request->shape.logprobs = true;
        request->shape.top_logprobs = job->top_logprobs = (int32_t)params->legacy_logprobs;
    }
    if (params->echo && params->legacy_logprobs >= 0) {
        job->prompt_scores = true;
        if (job->top_prompt_scores < job->top_logprobs)
            job->top_prompt_scores = job->top_logprobs;
    }
    if (!suffix || !suffix->valuestring[0])
        return OK;
    if (params->echo)
        return error_set_param(err, ERR_INVALID, "suffix", "'suffix' does not go with 'echo'");
    job->suffix = suffix->valuestring;
    job->suffix_bytes = strlen(suffix->valuestring);
    return OK;
}

enum status completion_request_parse(struct generation_request *request, const char *text,
                                     size_t n_bytes, const struct request_rules *rules,
                                     struct error *err)
{
    enum status status =
        generation_request_begin(request, ENDPOINT_COMPLETIONS, text, n_bytes, rules, err);
    if (status == OK)
        status = read_prompts(request, err);
    if (status == OK)
        status = read_prompt_options(request, err);
    if (status == OK)
        status = buf_status(&request->ignored, "the list of ignored fields", err);
    if (status != OK) {
        generation_request_release(request);
        return status;
    }
    request->job.kind = JOB_COMPLETION;
    return OK;
}
