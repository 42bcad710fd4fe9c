/* The several spellings of constrained output, as one constraint; see structured.h.
 *
 * OpenAI's response_format, llama.cpp's grammar and json_schema, vLLM's guided_* and their newer
 * form structured_outputs mean the same few things. Schemas go down as the text that the client
 * wrote. A request may ask in one way only: of two, one would have to be dropped. */
#include "server/structured.h"

#include <cjson/cJSON.h>

struct asked {
    struct generation_request *request;
    const char *field;  // that asked first, NULL = none
    struct error *err;
};

static const char *copy(struct generation_request *request, const struct json_span *span)
{
    return arena_memdup0(&request->arena, span->text, span->n_bytes);
}

static enum status ask(struct asked *asked, const char *field, enum constraint_kind kind,
                       const char *text)
{
    if (asked->field != NULL)
        return error_set_param(asked->err, ERR_INVALID, field,
                               "'%s' and '%s' both ask for a form of the answer; give one of them",
                               asked->field, field);
    if (text == NULL)
        return error_set(asked->err, ERR_MEMORY, "no memory for the request");
    asked->field = field;
    asked->request->job.constraint =
        (struct job_constraint){.kind = kind, .text = text, .param = field};
    return OK;
}

/* A value that may be a JSON object, or a string that holds one. */
static enum status ask_json(struct asked *asked, const char *field, const struct param_value *value)
{
    const char *text =
        cJSON_IsString(value->node) ? value->node->valuestring : copy(asked->request, &value->span);
    return ask(asked, field, CONSTRAINT_JSON_SCHEMA, text);
}

static enum status wrong(const struct asked *asked, const char *field, const char *what)
{
    return error_set_param(asked->err, ERR_INVALID, field, "'%s' %s", field, what);
}

/* A member of an object with its text. */
static struct param_value member(const struct param_value *object, const char *name)
{
    struct param_value found = {.node = cJSON_GetObjectItemCaseSensitive(object->node, name)};
    if (found.node == NULL || cJSON_IsNull(found.node))
        return (struct param_value){.node = NULL};
    struct json_cursor cursor;
    json_cursor_init(&cursor, object->span.text, object->span.n_bytes);
    const cJSON *node;
    cJSON_ArrayForEach(node, object->node)
    {
        if (!json_cursor_next(&cursor, NULL, &found.span) || node == found.node)
            break;
    }
    return found;
}

static enum status read_json_schema(struct asked *asked, const struct param_value *format)
{
    static const char field[] = "response_format";
    struct param_value inner = member(format, "json_schema");
    if (!cJSON_IsObject(inner.node))
        return wrong(asked, field, "needs 'json_schema', an object with 'schema'");
    struct param_value schema = member(&inner, "schema"), strict = member(&inner, "strict");
    struct param_value name = member(&inner, "name");
    if (!cJSON_IsObject(schema.node))
        return wrong(asked, field, "needs 'json_schema.schema', a JSON schema");
    if (strict.node != NULL && !cJSON_IsBool(strict.node))
        return wrong(asked, field, "has a 'json_schema.strict' that is not a boolean");
    if (name.node != NULL && !cJSON_IsString(name.node))
        return wrong(asked, field, "has a 'json_schema.name' that is not a string");
    enum status status = ask_json(asked, field, &schema);
    asked->request->job.constraint.is_strict = cJSON_IsTrue(strict.node);
    return status;
}

static enum status read_response_format(struct asked *asked, const struct param_value *format)
{
    static const char field[] = "response_format";
    struct param_value type = member(format, "type"), schema = member(format, "schema");
    const char *name = cJSON_IsString(type.node) ? type.node->valuestring : "";
    if (strcmp(name, "text") == 0)
        return OK;
    if (strcmp(name, "json_schema") == 0)
        return schema.node != NULL && member(format, "json_schema").node == NULL
                   ? ask_json(asked, field, &schema)
                   : read_json_schema(asked, format);
    if (strcmp(name, "json_object") != 0)
        return wrong(asked, field,
                     "must have a 'type' of \"text\", \"json_object\" or \"json_schema\"");
    if (schema.node == NULL)
        return ask(asked, field, CONSTRAINT_JSON_OBJECT, "");
    if (!cJSON_IsObject(schema.node))
        return wrong(asked, field, "has a 'schema' that is not an object");
    return ask_json(asked, field, &schema);
}

static enum status ask_choice(struct asked *asked, const char *field,
                              const struct param_value *value)
{
    const cJSON *one;
    if (!cJSON_IsArray(value->node) || value->node->child == NULL)
        return wrong(asked, field, "must be a non-empty array of strings");
    cJSON_ArrayForEach(one, value->node)
    {
        if (!cJSON_IsString(one) || one->valuestring[0] == '\0')
            return wrong(asked, field, "must hold non-empty strings only");
    }
    return ask(asked, field, CONSTRAINT_CHOICE, copy(asked->request, &value->span));
}

static enum status read_structured_outputs(struct asked *asked, const struct param_value *value)
{
    static const char field[] = "structured_outputs";
    struct param_value json = member(value, "json"), any = member(value, "json_object");
    struct param_value regex = member(value, "regex"), choice = member(value, "choice");
    struct param_value grammar = member(value, "grammar");
    enum status status = OK;
    const cJSON *one;
    cJSON_ArrayForEach(one, value->node)
    {
        static const char *const known[] = {"json", "json_object", "regex", "choice", "grammar"};
        size_t i = 0;
        while (i < 5 && strcmp(known[i], one->string) != 0)
            i++;
        if (i == 5 && !cJSON_IsNull(one) && !cJSON_IsFalse(one))
            return error_set_param(asked->err, ERR_UNSUPPORTED, field,
                                   "'structured_outputs.%.40s' is not supported", one->string);
    }
    if (json.node != NULL)
        status = cJSON_IsObject(json.node) || cJSON_IsString(json.node)
                     ? ask_json(asked, field, &json)
                     : wrong(asked, field, "has a 'json' that is no schema");
    if (status == OK && any.node != NULL && !cJSON_IsBool(any.node))
        status = wrong(asked, field, "has a 'json_object' that is not a boolean");
    if (status == OK && cJSON_IsTrue(any.node))
        status = ask(asked, field, CONSTRAINT_JSON_OBJECT, "");
    if (status == OK && regex.node != NULL)
        status = cJSON_IsString(regex.node)
                     ? ask(asked, field, CONSTRAINT_REGEX, regex.node->valuestring)
                     : wrong(asked, field, "has a 'regex' that is not a string");
    if (status == OK && choice.node != NULL)
        status = ask_choice(asked, field, &choice);
    if (status == OK && grammar.node != NULL)
        status = cJSON_IsString(grammar.node)
                     ? ask(asked, field, CONSTRAINT_GBNF, grammar.node->valuestring)
                     : wrong(asked, field, "has a 'grammar' that is not a string");
    return status;
}

enum status structured_read(struct generation_request *request, struct error *err)
{
    const struct params *p = &request->params;
    struct asked asked = {.request = request, .err = err};
    enum status status = OK;
    if (p->response_format.node != NULL)
        status = read_response_format(&asked, &p->response_format);
    if (status == OK && p->structured_outputs.node != NULL)
        status = read_structured_outputs(&asked, &p->structured_outputs);
    if (status == OK && p->guided_json.node != NULL)
        status = ask_json(&asked, "guided_json", &p->guided_json);
    if (status == OK && p->json_schema.node != NULL)
        status = ask_json(&asked, "json_schema", &p->json_schema);
    if (status == OK && p->guided_regex.node != NULL)
        status = ask(&asked, "guided_regex", CONSTRAINT_REGEX, p->guided_regex.node->valuestring);
    if (status == OK && p->guided_choice.node != NULL)
        status = ask_choice(&asked, "guided_choice", &p->guided_choice);
    if (status == OK && p->guided_grammar.node != NULL)
        status =
            ask(&asked, "guided_grammar", CONSTRAINT_GBNF, p->guided_grammar.node->valuestring);
    if (status == OK && p->grammar.node != NULL && p->grammar.node->valuestring[0] != '\0')
        status = ask(&asked, "grammar", CONSTRAINT_GBNF, p->grammar.node->valuestring);
    return status;
}
