/* Strings: length, pattern, format; see schema.h.
 *
 * A string without pattern and format may spell a character in any way that JSON allows. With one,
 * each character has one spelling, since a pattern is about characters and a term about bytes.
 * minLength and maxLength count characters and cost a counter, not states.
 *
 * Formats that JSON Schema defines and that are regular are kept; others of its list are refused.
 * A format that it does not define ("int32", "password") says nothing about the text. */
#include <cjson/cJSON.h>
#include <math.h>

#include "engine/base/mem.h"
#include "engine/grammar/schema.h"

#define DAY                                                                                        \
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|"                \
    "02-(0[1-9]|1[0-9]|2[0-8]))"
#define LEAP "[12][0-9](0[48]|[2468][048]|[13579][26])|(1[26]|2[048])00"
#define DATE "([12][0-9]{3}-" DAY "|(" LEAP ")-02-29)"
#define TIME                                                                                       \
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]" \
    ")"
#define BYTE  "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4  BYTE "(\\." BYTE "){3}"
#define HEX4  "[0-9a-fA-F]{1,4}"
#define LABEL "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
#define HOST  LABEL "(\\." LABEL "){0,8}"
#define ATEXT "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,16}"
#define PCHAR "([a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})"
#define PATH  "(/" PCHAR "*)*"
#define TAIL  "(\\?(" PCHAR "|[/?])*)?(#(" PCHAR "|[/?])*)?"
#define URI   "[a-zA-Z][a-zA-Z0-9+.-]*:(//" HOST "(:[0-9]{1,5})?" PATH "|/?" PCHAR "+" PATH ")" TAIL

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "T" TIME},
    {"duration", "P([0-9]{1,9}W|[0-9]{1,9}Y([0-9]{1,9}M([0-9]{1,9}D)?)?|[0-9]{1,9}M([0-9]{1,9}D)?|"
                 "[0-9]{1,9}D)|P([0-9]{1,9}D)?T([0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?|"
                 "[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S)"},
    {"email", ATEXT "(\\." ATEXT "){0,3}@" HOST},
    {"hostname", HOST},
    {"ipv4", IPV4},
    {"ipv6", "(" HEX4 ":){7}" HEX4 "|(" HEX4 ":){1,6}:" HEX4 "|(" HEX4 ":){1,5}(:" HEX4 "){2}|"
             "(" HEX4 ":){1,4}(:" HEX4 "){3}|(" HEX4 ":){1,3}(:" HEX4 "){4}|(" HEX4 ":){1,2}(:" HEX4
             "){5}|" HEX4 ":(:" HEX4 "){6}|:(:" HEX4 "){1,7}|(" HEX4 ":){1,7}:|::|"
             "(" HEX4 ":){6}" IPV4 "|::([fF]{4}:)?" IPV4},
    {"uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
    {"uri", URI},
    {"uri-reference", URI "|" PATH TAIL},
    {"iri", URI},
    {"iri-reference", URI "|" PATH TAIL},
    {"json-pointer", "(/([^/~\\x00]|~[01])*)*"},
    {"relative-json-pointer", "(0|[1-9][0-9]{0,8})(#|(/([^/~\\x00]|~[01])*)*)"},
    {"idn-email", ATEXT "@" HOST},
    {"idn-hostname", HOST},
};

static const char *const refused_formats[] = {"uri-template", "regex"};

static const char *format_pattern(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(name, formats[i].name) == 0)
            return formats[i].pattern;
    return NULL;
}

bool schema_format_is_known(const char *name)
{
    for (size_t i = 0; i < sizeof refused_formats / sizeof *refused_formats; i++)
        if (strcmp(name, refused_formats[i]) == 0)
            return true;
    return format_pattern(name) != NULL;
}

enum status schema_pattern(struct schema *schema, const cJSON *at, const char *keyword,
                           const char *pattern, struct regex *out)
{
    struct regex_options options = {.form = TEXT_JSON, .is_search = true};
    struct error err = {0};
    enum status status =
        regex_parse(schema->build->terms, pattern, strlen(pattern), &options, out, &err);
    return status == OK ? OK : schema_fail(schema, status, at, keyword, err.text);
}

/* A whole number 0.. as a count; larger than any count means no bound. */
static enum status read_count(struct schema *schema, const cJSON *at, const char *keyword,
                              uint32_t *out, bool *is_given)
{
    const cJSON *value = schema_get(at, keyword);
    *is_given = value != NULL;
    if (value == NULL)
        return OK;
    double v = cJSON_IsNumber(value) ? value->valuedouble : -1;
    if (v < 0 || v != floor(v))
        return schema_fail(schema, ERR_INVALID, at, keyword, "must be a whole number, 0 or more");
    *out = v > REGEX_COUNT_MAX ? REGEX_COUNT_MAX + 1u : (uint32_t)v;
    return OK;
}

static enum status add_format(struct schema *schema, const cJSON *at, term *contents,
                              bool *has_pattern)
{
    const cJSON *format = schema_get(at, "format");
    if (format == NULL)
        return OK;
    if (!cJSON_IsString(format))
        return schema_fail(schema, ERR_INVALID, at, "format", "must be a string");
    const char *pattern = format_pattern(format->valuestring);
    if (pattern == NULL)
        return schema_format_is_known(format->valuestring)
                   ? schema_fail(schema, ERR_UNSUPPORTED, at, "format",
                                 "this format is not supported")
                   : OK;
    struct regex_options options = {.form = TEXT_JSON};
    struct regex regex;
    enum status status =
        regex_parse(schema->build->terms, pattern, strlen(pattern), &options, &regex, schema->err);
    *contents = *has_pattern ? term_and(schema->build->terms, *contents, regex.term) : regex.term;
    *has_pattern = true;
    return status;
}

enum status schema_string(struct schema *schema, const struct conjunction *c, bool contents_only,
                          term *out)
{
    struct terms *terms = schema->build->terms;
    uint32_t min = 0, max = TERM_ENDLESS;
    uint32_t chars_min = 0, chars_max = TERM_ENDLESS;  // that the patterns say
    term contents = TERM_NONE;
    bool has_pattern = false;
    *out = TERM_NONE;
    for (size_t i = 0; i < c->n; i++) {
        const cJSON *at = c->items[i].at, *pattern = schema_get(at, "pattern");
        uint32_t n = 0;
        bool is_given;
        enum status status = read_count(schema, at, "minLength", &n, &is_given);
        if (status == OK && is_given && n > min)
            min = n;
        if (status == OK)
            status = read_count(schema, at, "maxLength", &n, &is_given);
        if (status == OK && is_given && n < max && n <= REGEX_COUNT_MAX)
            max = n;
        if (status == OK && pattern != NULL && !cJSON_IsString(pattern))
            status = schema_fail(schema, ERR_INVALID, at, "pattern", "must be a string");
        if (status == OK && pattern != NULL) {
            struct regex regex;
            status = schema_pattern(schema, at, "pattern", pattern->valuestring, &regex);
            if (status == OK) {
                contents = has_pattern ? term_and(terms, contents, regex.term) : regex.term;
                chars_min = regex.chars_min > chars_min ? regex.chars_min : chars_min;
                chars_max = regex.chars_max < chars_max ? regex.chars_max : chars_max;
                has_pattern = true;
            }
        }
        if (status == OK)
            status = add_format(schema, at, &contents, &has_pattern);
        if (status != OK)
            return status;
    }
    if (min > REGEX_COUNT_MAX)
        return schema_fail(schema, ERR_LIMIT, c->items[0].at, "minLength", "is above 1000000");
    if (min > max)
        return OK;
    if (!has_pattern) {
        contents = term_repeat(
            terms, contents_only ? schema->build->json_any : schema->build->json_free, min, max);
    } else if (chars_min < min || chars_max > max) {
        if (min > 0 || max != TERM_ENDLESS)
            contents =
                term_and(terms, contents, term_repeat(terms, schema->build->json_any, min, max));
    }
    *out = contents_only ? contents : schema_quoted(schema, contents);
    return OK;
}
