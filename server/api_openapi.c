/* GET /openapi.json: what this server takes and answers, as OpenAPI 3.1. Bodies come from the one
 * table of parameters (params_table.c); answers are described as far as clients may rely on them.
 * The document depends on nothing but the build, so it is also served while a model loads. */
#include "server/params_document.h"
#include "server/route.h"

/* One path and method. */
struct operation {
    const char *path, *method, *summary, *answer, *id;
    unsigned endpoint;  // of the body; 0 = none
    bool streams;
};

#define USAGE                                                                                      \
    "\"usage\":{\"type\":\"object\",\"required\":[\"prompt_tokens\",\"completion_tokens\","        \
    "\"total_tokens\"]}"
#define ANSWER(object, choice)                                                                     \
    "{\"type\":\"object\",\"required\":[\"id\",\"object\",\"created\",\"model\",\"choices\","      \
    "\"usage\",\"system_fingerprint\"],\"properties\":{\"id\":{\"type\":\"string\"},\"object\":"   \
    "{\"const\":\"" object "\"},\"created\":{\"type\":\"integer\"},\"model\":{\"type\":"           \
    "\"string\"},\"system_fingerprint\":{\"type\":\"string\"},\"seed\":{\"type\":\"integer\"},"    \
    "\"choices\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\",\"required\":"  \
    "[\"index\",\"" choice "\",\"logprobs\",\"finish_reason\"]}}," USAGE "}}"

static const char chat_answer[] = ANSWER("chat.completion", "message");
static const char text_answer[] = ANSWER("text_completion", "text");
static const char models[] =
    "{\"type\":\"object\",\"required\":[\"object\",\"data\"],\"properties\":{\"object\":{\"const\":"
    "\"list\"},\"data\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"id\","
    "\"object\",\"created\",\"owned_by\"]}}}}";
static const char tokens[] =
    "{\"type\":\"object\",\"required\":[\"tokens\",\"count\",\"max_model_len\"],\"properties\":{"
    "\"tokens\":{\"type\":\"array\"},\"count\":{\"type\":\"integer\"}}}";
static const char text[] =
    "{\"type\":\"object\",\"required\":[\"content\",\"prompt\"],\"properties\":{\"content\":{"
    "\"type\":\"string\"},\"prompt\":{\"type\":\"string\"}}}";
static const char count[] =
    "{\"type\":\"object\",\"required\":[\"object\",\"input_tokens\"],\"properties\":{"
    "\"input_tokens\":{\"type\":\"integer\"}}}";
static const char object[] = "{\"type\":\"object\"}";

static const struct operation operations[] = {
    {"/v1/chat/completions", "post", "Answer a conversation", chat_answer, "chat", ENDPOINT_CHAT,
     true},
    {"/v1/completions", "post", "Continue texts, or score them", text_answer, "completion",
     ENDPOINT_COMPLETIONS, true},
    {"/v1/chat/completions/input_tokens", "post", "Count the tokens of a conversation", count,
     "count", ENDPOINT_CHAT, false},
    {"/tokenize", "post", "Text or conversation to tokens", tokens, "tokenize", ENDPOINT_TOKENIZE,
     false},
    {"/detokenize", "post", "Tokens to text", text, "detokenize", ENDPOINT_DETOKENIZE, false},
    {"/apply-template", "post", "Conversation to prompt", text, "render", ENDPOINT_CHAT, false},
    {"/v1/models", "get", "The served models", models, "models", 0, false},
    {"/props", "get", "Model, limits, defaults", object, "props", 0, false},
    {"/tokenizer_info", "get", "Texts of the tokens for beginning and end, template", object,
     "tokenizerInfo", 0, false},
    {"/health", "get", "Ready, loading or draining", object, "health", 0, false},
    {"/version", "get", "The server's version", object, "version", 0, false},
};

static void write_operation(struct buf *out, const struct operation *operation)
{
    buf_printf(out, "\"%s\":{\"operationId\":\"%s\",\"summary\":\"%s\"", operation->method,
               operation->id, operation->summary);
    if (operation->endpoint) {
        buf_append_text(out, ",\"requestBody\":{\"required\":true,\"content\":{"
                             "\"application/json\":{\"schema\":");
        params_write_schema(out, (enum endpoint)operation->endpoint);
        buf_append_text(out, "}}}");
    }
    buf_printf(out,
               ",\"responses\":{\"200\":{\"description\":\"The answer\",\"content\":{"
               "\"application/json\":{\"schema\":%s}",
               operation->answer);
    if (operation->streams)
        buf_append_text(out, ",\"text/event-stream\":{\"schema\":{\"type\":\"string\"}}");
    buf_append_text(out, "}},\"default\":{\"$ref\":\"#/components/responses/error\"}}}");
}

void api_openapi(struct request *request, struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_append_text(&body, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Wicara\",\"version\":"
                           "\"" WICARA_VERSION "\"},\"security\":[{},{\"key\":[]}],\"paths\":{");
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        buf_printf(&body, "%s\"%s\":{", i > 0 ? "," : "", operations[i].path);
        write_operation(&body, &operations[i]);
        buf_append_char(&body, '}');
    }
    buf_append_text(
        &body,
        "},\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}},"
        "\"responses\":{\"error\":{\"description\":\"What went wrong\",\"content\":{"
        "\"application/json\":{\"schema\":{\"type\":\"object\",\"required\":[\"error\"],"
        "\"properties\":{\"error\":{\"type\":\"object\",\"required\":[\"message\",\"type\","
        "\"param\",\"code\"],\"properties\":{\"message\":{\"type\":\"string\"},\"type\":{\"type\":"
        "\"string\"},\"param\":{\"type\":[\"string\",\"null\"]},\"code\":{\"type\":[\"string\","
        "\"null\"]}}}},\"additionalProperties\":false}}}}}}}");
    reply_json(request, exchange, 200, &body);
}
