/* The rows of the one table of request parameters; see params.h.
 *
 * Validation, /openapi.json, the reference in README.md (`wicara --print-parameters`) and the tests
 * are all made from these rows, so a field that is added here is checked, documented and tested.
 *
 * Rows follow OpenAI's reference and the extensions of vLLM, llama.cpp and DeepSeek that clients
 * really send; api.md sections 1.2, 1.3 and 1.11 say which field changes an answer. */
#include "server/params.h"

enum { BOTH = ENDPOINT_CHAT | ENDPOINT_COMPLETIONS };

#define CHAT             ENDPOINT_CHAT
#define COMPLETIONS      ENDPOINT_COMPLETIONS
#define TOKENIZE         ENDPOINT_TOKENIZE
#define DETOKENIZE       ENDPOINT_DETOKENIZE
#define ALL              (BOTH | TOKENIZE | DETOKENIZE)
#define ANY_RANGE        1, 0
#define RANGE(low, high) low, high
#define INT_MAX_RANGE    2147483647.0
#define AT(field)        offsetof(struct params, field)

/* Numbers and booleans, stored in struct params. */
#define HONOUR(name, where, types, range, excluded, fallback, field, note)                         \
    {                                                                                              \
        name, where, PARAM_HONOURED, types, range, excluded, false, fallback, AT(field), NULL,     \
            NULL, note                                                                             \
    }
/* Everything else, kept as a node for its reader. `schema`: JSON schema, NULL = by type alone. */
#define VALUE(name, where, types, field, schema, note)                                             \
    {                                                                                              \
        name, where, PARAM_HONOURED, types, ANY_RANGE, false, true, 0, AT(field), NULL, schema,    \
            note                                                                                   \
    }
#define REFUSE(name, where, types, neutral, note)                                                  \
    {                                                                                              \
        name, where, PARAM_REFUSED, types, ANY_RANGE, false, false, 0, 0, neutral, NULL, note      \
    }
/* `neutral`: values that say what happens anyway; they are not listed as ignored. */
#define IGNORE(name, where, types, neutral, note)                                                  \
    {                                                                                              \
        name, where, PARAM_IGNORED, types, ANY_RANGE, false, false, 0, 0, neutral, NULL, note      \
    }

#define STRINGS "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"
#define IDS                                                                                        \
    "{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":2147483647}}"
#define PARTS                                                                                      \
    "{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\",\"required\":[\"type\","    \
    "\"text\"],\"properties\":{\"type\":{\"const\":\"text\"},\"text\":{\"type\":\"string\"}}}}"
#define CONTENT "\"content\":{\"anyOf\":[{\"type\":\"string\"}," PARTS "]}"
#define MESSAGES                                                                                   \
    "{\"type\":\"array\",\"minItems\":1,\"items\":{\"anyOf\":[{\"type\":\"object\",\"required\":"  \
    "[\"role\",\"content\"],\"properties\":{\"role\":{\"enum\":[\"system\",\"developer\","         \
    "\"user\","                                                                                    \
    "\"assistant\"]}," CONTENT "},\"not\":{\"anyOf\":[{\"required\":[\"tool_calls\"]},"            \
    "{\"required\":[\"prefix\"]}]}},{\"type\":\"object\",\"required\":[\"role\",\"content\","      \
    "\"tool_call_id\"],\"properties\":{\"role\":{\"const\":\"tool\"},\"tool_call_id\":{\"type\":"  \
    "\"string\"}," CONTENT "},\"not\":{\"anyOf\":[{\"required\":[\"tool_calls\"]},{\"required\":"  \
    "[\"prefix\"]}]}},{\"type\":\"object\",\"required\":[\"role\"],\"anyOf\":[{\"required\":"      \
    "[\"tool_calls\"]},{\"required\":[\"prefix\"]}],\"properties\":{\"role\":{\"const\":"          \
    "\"assistant\"},\"prefix\":{\"type\":\"boolean\"},\"tool_calls\":{\"type\":\"array\"}}}]}}"

#define RESPONSE_FORMAT                                                                            \
    "{\"type\":\"object\",\"required\":[\"type\"],\"properties\":{\"type\":{\"enum\":[\"text\","   \
    "\"json_object\",\"json_schema\"]},\"schema\":{\"type\":\"object\"},\"json_schema\":{"         \
    "\"type\":"                                                                                    \
    "\"object\",\"required\":[\"schema\"],\"properties\":{\"name\":{\"type\":\"string\"},"         \
    "\"description\":{\"type\":\"string\"},\"schema\":{\"type\":\"object\"},\"strict\":{"          \
    "\"type\":[\"boolean\",\"null\"]}}}}}"
#define STRUCTURED_OUTPUTS                                                                         \
    "{\"type\":\"object\",\"properties\":{\"json\":{\"type\":[\"object\",\"string\"]},"            \
    "\"json_object\":{\"type\":\"boolean\"},\"regex\":{\"type\":\"string\"},\"choice\":{"          \
    "\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"grammar\":{\"type\":\"string\"}}}"

static const char no_tools[] = "use tools and tool_choice";
static const char no_audio[] = "this model makes text only";
static const char no_sampler[] = "this sampling method is not available";

static const struct param table[] = {
    VALUE("model", ALL, TYPE_STRING, model, NULL, "the served model's id, or \"default\""),
    VALUE("messages", CHAT | TOKENIZE, TYPE_ARRAY, messages, MESSAGES,
          "the conversation; content is text or an array of text parts"),
    VALUE("prompt", COMPLETIONS, TYPE_STRING | TYPE_ARRAY, prompt,
          "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":"
          "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"integer\",\"minimum\":0},{\"type\":"
          "\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0}}]}}]}",
          "a text, token ids, or an array of texts or of arrays of ids: one answer each"),
    HONOUR("stream", BOTH, TYPE_BOOL, ANY_RANGE, false, 0, stream,
           "send server-sent events as the text is made"),
    VALUE("stream_options", BOTH, TYPE_OBJECT, stream_options,
          "{\"type\":\"object\",\"properties\":{\"include_usage\":{\"type\":\"boolean\"},"
          "\"continuous_usage_stats\":{\"type\":\"boolean\"},"
          "\"include_obfuscation\":{\"type\":\"boolean\"}}}",
          "include_usage: a last chunk with usage; continuous_usage_stats: usage in each chunk"),
    HONOUR("n", BOTH, TYPE_INT, RANGE(1, 32), false, 1, n, "answers to the same prompt"),
    HONOUR("max_tokens", CHAT, TYPE_INT, RANGE(1, INT_MAX_RANGE), false, 0, max_tokens,
           "most tokens of the answer; without it the answer may fill the context"),
    HONOUR("max_tokens", COMPLETIONS, TYPE_INT, RANGE(0, INT_MAX_RANGE), false, 16, max_tokens,
           "most tokens of the answer; 0: only the prompt is looked at (echo, logprobs)"),
    HONOUR("max_completion_tokens", CHAT, TYPE_INT, RANGE(1, INT_MAX_RANGE), false, 0,
           max_completion_tokens, "the newer name of max_tokens, wins over it"),
    HONOUR("temperature", BOTH, TYPE_NUMBER, RANGE(0, 2), false, 0.8, temperature,
           "0 takes the most probable token"),
    HONOUR("top_p", BOTH, TYPE_NUMBER, RANGE(0, 1), false, 1, top_p,
           "the most probable tokens up to this share"),
    HONOUR("top_k", BOTH, TYPE_INT, RANGE(-1, INT_MAX_RANGE), false, 0, top_k,
           "the k most probable tokens; 0 or -1: all"),
    HONOUR("min_p", BOTH, TYPE_NUMBER, RANGE(0, 1), false, 0.05, min_p,
           "tokens of at least this share of the best one's probability"),
    HONOUR("presence_penalty", BOTH, TYPE_NUMBER, RANGE(-2, 2), false, 0, presence_penalty,
           "taken from tokens that the answer has"),
    HONOUR("frequency_penalty", BOTH, TYPE_NUMBER, RANGE(-2, 2), false, 0, frequency_penalty,
           "taken from tokens for each time that the answer has them"),
    HONOUR("repetition_penalty", BOTH, TYPE_NUMBER, RANGE(0, 100), true, 1, repetition_penalty,
           "divides the logit of tokens that the prompt or the answer has"),
    HONOUR("repeat_penalty", BOTH, TYPE_NUMBER, RANGE(0, 100), true, 1, repeat_penalty,
           "llama.cpp's name of repetition_penalty; not beside another value of it"),
    HONOUR("repeat_last_n", BOTH, TYPE_INT, RANGE(-1, INT_MAX_RANGE), false, -1, penalty_window,
           "last tokens that the penalties look at; -1: all (llama.cpp: 64), 0: no penalties"),
    HONOUR("dry_multiplier", BOTH, TYPE_NUMBER, RANGE(0, 100), false, 0, dry_multiplier,
           "DRY: strength of the penalty on word for word repetitions; 0: off"),
    HONOUR("dry_base", BOTH, TYPE_NUMBER, RANGE(1, 100), false, 1.75, dry_base,
           "DRY: growth of the penalty with each token of the repetition"),
    HONOUR("dry_allowed_length", BOTH, TYPE_INT, RANGE(0, INT_MAX_RANGE), false, 2,
           dry_allowed_length, "DRY: repetitions shorter than this are free"),
    HONOUR("dry_penalty_last_n", BOTH, TYPE_INT, RANGE(-1, INT_MAX_RANGE), false, -1, dry_window,
           "DRY: last tokens that count; -1: all, 0: off"),
    VALUE("dry_sequence_breakers", BOTH, TYPE_ARRAY, dry_sequence_breakers,
          "{\"type\":\"array\",\"maxItems\":32,\"items\":{\"type\":\"string\","
          "\"minLength\":1}}",
          "DRY: no repetition reaches over a token that holds one of these; default: newline, "
          "colon, quote, asterisk"),
    HONOUR("typical_p", BOTH, TYPE_NUMBER, RANGE(0, 1), false, 1, typical_p,
           "locally typical sampling, this share; 0 or 1: off"),
    HONOUR("top_n_sigma", BOTH, TYPE_NUMBER, RANGE(-1, 100), false, -1, top_n_sigma,
           "logits within this many standard deviations of the highest; 0 or less: off"),
    HONOUR("xtc_probability", BOTH, TYPE_NUMBER, RANGE(0, 1), false, 0, xtc_probability,
           "XTC: how often all but the least of the likely tokens are left out"),
    HONOUR("xtc_threshold", BOTH, TYPE_NUMBER, RANGE(0, 1), false, 0.1, xtc_threshold,
           "XTC: the probability of a likely token; above 0.5: off"),
    HONOUR("min_tokens", BOTH, TYPE_INT, RANGE(0, INT_MAX_RANGE), false, 0, min_tokens,
           "the answer does not end and no stop counts before so many tokens"),
    VALUE("stop_token_ids", BOTH, TYPE_ARRAY, stop_token_ids, IDS,
          "up to 64 tokens that end the answer"),
    HONOUR("include_stop_str_in_output", BOTH, TYPE_BOOL, ANY_RANGE, false, 0, include_stop,
           "show what stopped the answer"),
    VALUE("bad_words", BOTH, TYPE_ARRAY, bad_words, STRINGS,
          "up to 128 texts that the answer must not contain"),
    VALUE("allowed_token_ids", BOTH, TYPE_ARRAY, allowed_token_ids, IDS,
          "the answer is made of these tokens only"),
    VALUE("cache_salt", BOTH, TYPE_STRING, cache_salt, NULL,
          "cached prefixes are shared among requests with the same salt only"),
    VALUE("seed", BOTH, TYPE_INT, seed, NULL, "64 bits; the answer says which one was used"),
    VALUE("stop", BOTH, TYPE_STRING | TYPE_ARRAY, stop,
          "{\"oneOf\":[{\"type\":\"string\",\"minLength\":1,\"maxLength\":256},{\"type\":\"array\","
          "\"maxItems\":16,\"items\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":256}}]}",
          "up to 16 texts that end the answer; they are not shown"),
    VALUE("logit_bias", BOTH, TYPE_OBJECT | TYPE_ARRAY, logit_bias,
          "{\"oneOf\":[{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[0-9]+$\"},"
          "\"additionalProperties\":{\"type\":\"number\",\"minimum\":-100,\"maximum\":100}},{"
          "\"type\":\"array\",\"items\":{\"type\":"
          "\"array\",\"minItems\":2,\"maxItems\":2,\"items\":{\"oneOf\":[{\"type\":\"string\"},"
          "{\"type\":\"number\"},{\"type\":\"boolean\"}]}}}]}",
          "token id to a number that is added to its logit, -100 bans; or llama.cpp's pairs "
          "[id or text, number or false]"),
    HONOUR("logprobs", CHAT, TYPE_BOOL, ANY_RANGE, false, 0, logprobs,
           "log-probabilities of the answer's tokens"),
    HONOUR("top_logprobs", CHAT, TYPE_INT, RANGE(0, 20), false, -1, top_logprobs,
           "alternatives at each token; needs logprobs"),
    HONOUR("logprobs", COMPLETIONS, TYPE_INT, RANGE(0, 20), false, -1, legacy_logprobs,
           "log-probabilities and this many alternatives at each token; with echo of the prompt's "
           "too"),
    HONOUR("echo", COMPLETIONS, TYPE_BOOL, ANY_RANGE, false, 0, echo,
           "the prompt stands before each answer"),
    VALUE("suffix", COMPLETIONS, TYPE_STRING, suffix, NULL,
          "fill in the middle: the answer goes between prompt and suffix (models trained for it)"),
    HONOUR(
        "prompt_logprobs", BOTH, TYPE_INT, RANGE(0, 20), false, -1, prompt_logprobs,
        "adds log-probabilities of the prompt's tokens and this many alternatives; not streamed"),
    HONOUR("return_progress", BOTH, TYPE_BOOL, ANY_RANGE, false, 0, return_progress,
           "streams tell how far the prompt is (prompt_progress, as llama.cpp)"),
    HONOUR("continue_final_message", CHAT | TOKENIZE, TYPE_BOOL, ANY_RANGE, false, 0,
           continue_final_message,
           "the answer goes on with the last message, which must be the assistant's; so does "
           "\"prefix\": true in that message"),
    HONOUR("add_generation_prompt", CHAT | TOKENIZE, TYPE_BOOL, ANY_RANGE, false, 1,
           add_generation_prompt, "false: the prompt ends with the last message"),
    HONOUR("speculation", BOTH, TYPE_BOOL, ANY_RANGE, false, 1, speculation,
           "false: no token of this answer is guessed ahead; the answer is the same"),
    HONOUR("ignore_eos", BOTH, TYPE_BOOL, ANY_RANGE, false, 0, ignore_eos,
           "go on after the model's end of the answer"),
    HONOUR("return_token_ids", BOTH, TYPE_BOOL, ANY_RANGE, false, 0, return_token_ids,
           "adds token_ids to each choice"),
    VALUE("chat_template_kwargs", CHAT | TOKENIZE, TYPE_OBJECT, chat_template_kwargs, NULL,
          "variables for the model's template"),
    VALUE("tools", CHAT | TOKENIZE, TYPE_ARRAY, tools,
          "{\"type\":\"array\",\"items\":{\"type\":\"object\"}}", "functions that may be called"),
    VALUE("tool_choice", CHAT, TYPE_STRING | TYPE_OBJECT, tool_choice, NULL,
          "none, auto, required, {\"type\":\"function\",...} or {\"type\":\"allowed_tools\",...}"),
    HONOUR("parallel_tool_calls", CHAT, TYPE_BOOL, ANY_RANGE, false, 1, parallel_tool_calls,
           "false: the answer ends with its first call"),
    VALUE("reasoning_effort", CHAT, TYPE_STRING, reasoning_effort,
          "{\"enum\":[\"none\",\"minimal\",\"low\",\"medium\",\"high\",\"xhigh\",\"max\"]}",
          "how much a reasoning model thinks; none switches thinking off where the model can"),
    VALUE("reasoning", CHAT, TYPE_OBJECT, reasoning, NULL,
          "{effort, enabled, max_tokens}: reasoning_effort, enable_thinking and "
          "thinking_token_budget by other names"),
    VALUE("thinking", CHAT, TYPE_OBJECT, thinking, NULL,
          "{\"type\":\"enabled\"} or {\"type\":\"disabled\"}: enable_thinking by another name; "
          "budget_tokens: thinking_token_budget"),
    HONOUR("thinking_token_budget", CHAT, TYPE_INT, RANGE(0, INT_MAX_RANGE), false, -1,
           thinking_token_budget, "tokens of a thought after which it is brought to its end"),
    HONOUR("reasoning_budget", CHAT, TYPE_INT, RANGE(-1, INT_MAX_RANGE), false, -1,
           reasoning_budget, "llama.cpp's name of it; -1: none"),
    VALUE("enable_thinking", CHAT, TYPE_BOOL, enable_thinking, NULL,
          "whether a model that can think does"),

    VALUE("content", TOKENIZE, TYPE_STRING, content, NULL,
          "llama.cpp's name of the text; no beginning-of-text token unless add_special"),
    VALUE("prompt", TOKENIZE, TYPE_STRING, prompt, NULL,
          "vLLM's name of the text; with a beginning-of-text token unless add_special_tokens is "
          "false"),
    VALUE("add_special", TOKENIZE, TYPE_BOOL, add_special, NULL,
          "add what the model puts around a text (beginning-of-text)"),
    VALUE("add_special_tokens", TOKENIZE, TYPE_BOOL, add_special_tokens, NULL,
          "the same, by vLLM's name"),
    HONOUR("parse_special", TOKENIZE, TYPE_BOOL, ANY_RANGE, false, 1, parse_special,
           "text of control tokens becomes them"),
    HONOUR("with_pieces", TOKENIZE, TYPE_BOOL, ANY_RANGE, false, 0, with_pieces,
           "tokens as {id, piece}"),
    HONOUR("return_token_strs", TOKENIZE, TYPE_BOOL, ANY_RANGE, false, 0, return_token_strs,
           "adds token_strs, the tokens' texts"),
    VALUE("tokens", DETOKENIZE, TYPE_ARRAY, tokens, IDS, "token ids"),

    REFUSE("functions", CHAT, TYPE_ARRAY, "[]", no_tools),
    REFUSE("function_call", CHAT, TYPE_STRING | TYPE_OBJECT, "\"none\"|\"auto\"", no_tools),
    VALUE("response_format", BOTH, TYPE_OBJECT, response_format, RESPONSE_FORMAT,
          "text, json_object (any JSON object; with `schema` as llama.cpp has it) or json_schema; "
          "the "
          "answer always keeps to it and always comes to its end within max_tokens"),
    VALUE("guided_json", BOTH, TYPE_OBJECT | TYPE_STRING, guided_json, NULL,
          "JSON schema of the answer (vLLM)"),
    VALUE("guided_regex", BOTH, TYPE_STRING, guided_regex, NULL,
          "regular expression that the whole answer matches (vLLM)"),
    VALUE("guided_choice", BOTH, TYPE_ARRAY, guided_choice, STRINGS,
          "texts, one of which is the answer (vLLM)"),
    VALUE("guided_grammar", BOTH, TYPE_STRING, guided_grammar, NULL, "GBNF grammar (vLLM's name)"),
    VALUE("structured_outputs", BOTH, TYPE_OBJECT, structured_outputs, STRUCTURED_OUTPUTS,
          "one of json, json_object, regex, choice, grammar (vLLM)"),
    VALUE("grammar", BOTH, TYPE_STRING, grammar, NULL, "GBNF grammar of the answer (llama.cpp)"),
    VALUE("json_schema", BOTH, TYPE_OBJECT, json_schema, NULL,
          "JSON schema of the answer (llama.cpp)"),
    REFUSE("modalities", CHAT, TYPE_ARRAY, "[\"text\"]", no_audio),
    REFUSE("audio", CHAT, TYPE_OBJECT, NULL, no_audio),
    REFUSE("prediction", CHAT, TYPE_OBJECT, NULL, "predicted outputs are not available"),
    REFUSE("web_search_options", CHAT, TYPE_OBJECT, NULL, "this server does not search the web"),
    REFUSE("verbosity", CHAT, TYPE_STRING, "\"medium\"", "the models here know no verbosity"),
    REFUSE("documents", CHAT, TYPE_ARRAY, "[]", "documents are not available"),
    REFUSE("chat_template", CHAT | TOKENIZE, TYPE_STRING, NULL,
           "the model's own template is always used"),
    REFUSE("echo", CHAT, TYPE_BOOL, "false", "the answer holds new text only"),
    REFUSE("best_of", BOTH, TYPE_INT, "1", "use n and choose among the answers"),
    REFUSE("use_beam_search", BOTH, TYPE_BOOL, "false", "beam search is not available"),
    REFUSE("stop_regex", BOTH, TYPE_STRING | TYPE_ARRAY, "\"\"|[]", "use stop strings"),
    HONOUR("skip_special_tokens", BOTH, TYPE_BOOL, ANY_RANGE, false, 1, skip_special_tokens,
           "false: control tokens have text, but for the end of the answer and the markers of "
           "thoughts and calls"),
    REFUSE("logits_processors", BOTH, TYPE_ANY, "[]", no_sampler),
    REFUSE("tfs_z", BOTH, TYPE_NUMBER, "1", no_sampler),
    REFUSE("top_a", BOTH, TYPE_NUMBER, "0", no_sampler),
    REFUSE("dynatemp_range", BOTH, TYPE_NUMBER, "0", no_sampler),
    REFUSE("mirostat", BOTH, TYPE_INT, "0", no_sampler),
    REFUSE("samplers", BOTH, TYPE_ANY, NULL, "the order of the samplers is fixed"),
    REFUSE("length_penalty", BOTH, TYPE_NUMBER, "1", "beam search is not available"),
    REFUSE("truncate_prompt_tokens", BOTH, TYPE_INT, "-1", "a prompt is never cut silently"),
    REFUSE("lora", BOTH, TYPE_ANY, "[]", "adapters are not available"),

    IGNORE("user", BOTH, TYPE_STRING, NULL, "no account is kept of users"),
    IGNORE("safety_identifier", CHAT, TYPE_STRING, NULL, "no account is kept of users"),
    IGNORE("metadata", CHAT, TYPE_OBJECT, NULL, "nothing is stored that it could describe"),
    IGNORE("store", CHAT, TYPE_BOOL, "false", "chat completions are not stored"),
    IGNORE("service_tier", CHAT, TYPE_STRING, "\"auto\"|\"default\"", "there is one tier"),
    IGNORE("prompt_cache_key", CHAT, TYPE_STRING, NULL,
           "equal prefixes are always found; cache_salt separates them"),
    IGNORE("prompt_cache_retention", CHAT, TYPE_STRING, NULL,
           "the cache keeps what it has room for"),
    IGNORE("cache_prompt", BOTH, TYPE_BOOL, "true", "prefixes are always cached"),
    IGNORE("priority", BOTH, TYPE_INT, "0", "the queue is fair among API keys"),
    IGNORE("request_id", BOTH, TYPE_STRING, NULL, "the header X-Request-Id names a request"),
    IGNORE("timings_per_token", BOTH, TYPE_BOOL, "false", "timings come with usage, at the end"),
};

const struct param *params_table(size_t *n_params)
{
    *n_params = sizeof table / sizeof table[0];
    return table;
}
