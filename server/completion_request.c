/* The body of POST /v1/completions: the shared fields and the prompt, as text or as token ids.
 * A batch of prompts is refused by name, since it would be several answers in one. An array of one
 * string is taken, because clients wrap single prompts so. */
#include "server/generation_request.h"

#include <cjson/cJSON.h>
#include <limits.h>

enum { COMPLETION_MAX_TOKENS = 16 };  // OpenAI's default for this endpoint

static enum status read_token_prompt(struct generation_request *request, const cJSON *array,
                                     struct error *err)
{
    size_t n_tokens = (size_t)cJSON_GetArraySize(array);
    int32_t *tokens = arena_alloc(&request->arena, n_tokens * sizeof *tokens);
    if (!tokens)
        return error_set(err, ERR_MEMORY, "no memory for the prompt");
    size_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        double id = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (id < 0 || id > INT32_MAX || id != (double)(int32_t)id) {
            return error_set_param(err, ERR_INVALID, "prompt",
                                   "'prompt[%zu]' is not a token id; a batch of prompts is not "
                                   "supported, send one request for each",
                                   n);
        }
        tokens[n++] = (int32_t)id;
    }
    request->job.prompt_tokens = tokens;
    request->job.n_prompt_tokens = n_tokens;
    return OK;
}

static enum status read_prompt(struct generation_request *request, struct error *err)
{
    const cJSON *prompt = request->params.prompt.node;
    if (!prompt)
        return error_set_param(err, ERR_INVALID, "prompt", "'prompt' is required");
    if (cJSON_IsArray(prompt)) {
        if (!prompt->child) {
            return error_set_param(err, ERR_INVALID, "prompt", "'prompt' must not be empty");
        }
        bool single = cJSON_IsString(prompt->child) && !prompt->child->next;
        if (!single)
            return read_token_prompt(request, prompt, err);
        prompt = prompt->child;
    }
    request->job.prompt = prompt->valuestring;
    request->job.prompt_bytes = strlen(prompt->valuestring);
    return OK;
}

enum status completion_request_parse(struct generation_request *request, const char *text,
                                     size_t n_bytes, const char *model_id, bool strict,
                                     struct error *err)
{
    enum status status = generation_request_begin(request, ENDPOINT_COMPLETIONS, text, n_bytes,
                                                  model_id, strict, err);
    if (status == OK)
        status = read_prompt(request, err);
    if (status == OK)
        status = buf_status(&request->ignored, "the list of ignored fields", err);
    if (status != OK) {
        generation_request_release(request);
        return status;
    }
    request->job.kind = JOB_COMPLETION;
    if (request->job.max_tokens == 0)
        request->job.max_tokens = COMPLETION_MAX_TOKENS;
    if (request->params.legacy_logprobs >= 0) {
        request->shape.logprobs = true;
        request->job.top_logprobs = (int32_t)request->params.legacy_logprobs;
    }
    return OK;
}
