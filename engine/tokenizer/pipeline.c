/* The sections normalizer, pre_tokenizer and decoder of a tokenizer.json; see pipeline.h.
 *
 * They are small languages of their own. What published models use of them comes down to a few
 * shapes: byte-level models cut by known expressions, and models on characters with U+2581 for a
 * space. Each part is either understood exactly or refused by name: a tokenizer that is nearly
 * right would give other ids without anybody noticing.
 *
 * Source: the `tokenizers` library, whose behaviour tests/golden/tokenizer compares. */
#include "engine/tokenizer/pipeline.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/formats/gguf.h"
#include "engine/formats/json_doc.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/pretokenize_shapes.h"

enum { NODES_MAX = 10000, REGEX_BYTES_MAX = 4096 };

static const char mark[] = "\xe2\x96\x81";

struct section {
    struct pipeline *out;
    struct json_doc doc;
    const char *name;
    struct error *err;
    size_t n_stages;
    bool byte_level;  // the last pre-tokenizer maps bytes
    bool marks;       // spaces become U+2581
    bool prefixed;
};

/* A part's kind that is not known, or not with these settings. */
static enum status refuse(const struct section *section, const struct json_node *type,
                          const char *detail)
{
    char quoted[GGUF_QUOTE_BYTES];
    return error_set(section->err, ERR_UNSUPPORTED, "tokenizer.json: %s '%s'%s is not supported",
                     section->name,
                     gguf_quote(quoted, type ? section->doc.text + type->first : "",
                                type ? type->last - type->first : 0),
                     detail);
}

static const struct json_node *field(const struct section *section, const struct json_node *part,
                                     const char *name)
{
    return json_find(&section->doc, part, name);
}

static bool field_is(const struct section *section, const struct json_node *part, const char *name,
                     const char *text)
{
    return json_equals(&section->doc, field(section, part, name), text);
}

static bool field_true(const struct section *section, const struct json_node *part,
                       const char *name)
{
    return json_is(field(section, part, name), JSON_TRUE);
}

typedef enum status read_part(struct section *section, const struct json_node *part,
                              const struct json_node *type);

/* Calls `read` for the part, or for each of a Sequence (whose list is called `list`). */
static enum status read_parts(struct section *section, const struct json_node *part,
                              const char *list, read_part *read)
{
    const struct json_node *type = field(section, part, "type");
    const struct json_node *parts = field(section, part, list);
    if (!json_equals(&section->doc, type, "Sequence"))
        return read(section, part, type);
    if (!json_is(parts, JSON_ARRAY))
        return refuse(section, type, " without a list");
    enum status status = OK;
    for (const struct json_node *one = json_first(parts); one && !status;
         one = json_next(parts, one)) {
        if (field_is(section, one, "type", "Sequence"))
            return refuse(section, type, " inside a Sequence");
        status = read(section, one, field(section, one, "type"));
    }
    return status;
}

/* ---- normalizer ---- */

static enum status read_normalizer(struct section *section, const struct json_node *part,
                                   const struct json_node *type)
{
    const struct json_doc *doc = &section->doc;
    if (json_equals(doc, type, "NFC")) {
        if (section->marks || section->prefixed)
            return refuse(section, type, " behind a Replace or Prepend");
        section->out->pretokenizer.nfc = true;
        return OK;
    }
    if (json_equals(doc, type, "Prepend") && field_is(section, part, "prepend", mark)) {
        section->prefixed = true;
        section->out->prefix = PREFIX_EACH;
        section->out->prefix_normalized = true;
        return OK;
    }
    if (json_equals(doc, type, "Replace")) {
        const struct json_node *pattern = field(section, part, "pattern");
        if (!field_is(section, pattern, "String", " ") || !field_is(section, part, "content", mark))
            return refuse(section, type, " of anything but a space by U+2581");
        section->marks = true;
        return OK;
    }
    return refuse(section, type, "");
}

/* ---- pre-tokenizer ---- */

static enum status add_stage(struct section *section, pretokenize_cut *cut)
{
    if (section->n_stages == PRETOKENIZE_STAGES_MAX)
        return error_set(section->err, ERR_LIMIT, "tokenizer.json: more than %d pre-tokenizers",
                         PRETOKENIZE_STAGES_MAX);
    section->out->stages[section->n_stages++] = cut;
    return OK;
}

/* Expressions are compared as written, but for line ends, which some files have as themselves. */
static size_t spell_out(const char *regex, size_t n_bytes, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        bool line_end = regex[i] == '\r' || regex[i] == '\n';
        if (line_end)
            out[n++] = '\\';
        out[n++] = regex[i] == '\r' ? 'r' : regex[i] == '\n' ? 'n' : regex[i];
    }
    return n;
}

static enum status read_split(struct section *section, const struct json_node *part,
                              const struct json_node *type)
{
    const struct json_node *pattern = field(section, part, "pattern");
    const struct json_node *regex = field(section, pattern, "Regex");
    bool invert = field_true(section, part, "invert");
    /* No space is left for it to find. */
    if (field_is(section, pattern, "String", " ") && section->marks)
        return OK;
    if (!json_is(regex, JSON_STRING))
        return refuse(section, type, " by a string");
    size_t n = regex->last - regex->first;
    if (n > REGEX_BYTES_MAX)
        return refuse(section, type, " by a very long expression");
    char *bytes = mem_alloc(3 * n + 1);
    if (!bytes)
        return error_set(section->err, ERR_MEMORY, "no memory for the tokenizer");
    size_t n_raw = json_string(&section->doc, regex, bytes);
    size_t n_spelled = spell_out(bytes, n_raw, bytes + n);
    const struct known_regex *known = pretokenize_regex(bytes + n, n_spelled);
    mem_free(bytes);
    if (!known)
        return refuse(section, regex, " (an expression that this program has no matcher for)");
    /* Where the expression matches everything, what lies between its matches is nothing. */
    bool isolated = field_is(section, part, "behavior", "Isolated") && !invert;
    bool kept = field_is(section, part, "behavior", "Removed") && invert && known->matches_all;
    if (!isolated && !kept)
        return refuse(section, type, " of that behavior");
    return add_stage(section, known->cut);
}

static enum status read_metaspace(struct section *section, const struct json_node *part,
                                  const struct json_node *type)
{
    const struct json_node *scheme = field(section, part, "prepend_scheme");
    bool always = !scheme || json_equals(&section->doc, scheme, "always");
    if (!field_is(section, part, "replacement", mark))
        return refuse(section, type, " with another replacement than U+2581");
    if (section->prefixed)
        return refuse(section, type, " behind a Prepend");
    section->marks = true;
    if (json_is(field(section, part, "add_prefix_space"), JSON_FALSE) && !scheme)
        always = false;
    if (always)
        section->out->prefix = PREFIX_EACH_UNMARKED;
    else if (json_equals(&section->doc, scheme, "first"))
        section->out->prefix = PREFIX_FIRST;
    const struct json_node *split = field(section, part, "split");
    return json_is(split, JSON_FALSE) ? OK : add_stage(section, pretokenize_cut_marks);
}

static enum status read_pre_tokenizer(struct section *section, const struct json_node *part,
                                      const struct json_node *type)
{
    const struct json_doc *doc = &section->doc;
    if (section->byte_level)
        return refuse(section, type, " behind ByteLevel");
    if (json_equals(doc, type, "Split"))
        return read_split(section, part, type);
    if (json_equals(doc, type, "Metaspace"))
        return read_metaspace(section, part, type);
    if (json_equals(doc, type, "Digits"))
        return add_stage(section, field_true(section, part, "individual_digits")
                                      ? pretokenize_cut_digit
                                      : pretokenize_cut_digits);
    if (!json_equals(doc, type, "ByteLevel"))
        return refuse(section, type, "");
    if (field_true(section, part, "add_prefix_space"))
        return refuse(section, type, " with add_prefix_space");
    section->byte_level = true;
    bool splits = !json_is(field(section, part, "use_regex"), JSON_FALSE);
    return splits ? add_stage(section, pretokenize_cut_gpt2) : OK;
}

/* ---- decoder ---- */

static enum status read_decoder(struct section *section, const struct json_node *part,
                                const struct json_node *type)
{
    const struct json_doc *doc = &section->doc;
    bool known = section->byte_level
                     ? json_equals(doc, type, "ByteLevel")
                     : json_equals(doc, type, "Replace") ||
                           json_equals(doc, type, "ByteFallback") ||
                           json_equals(doc, type, "Fuse") || json_equals(doc, type, "Strip") ||
                           json_equals(doc, type, "Metaspace");
    if (!known)
        return refuse(section, type, "");
    if (json_equals(doc, type, "Replace") &&
        (!field_is(section, field(section, part, "pattern"), "String", mark) ||
         !field_is(section, part, "content", " ")))
        return refuse(section, type, " of anything but U+2581 by a space");
    uint64_t start = 0, stop = 0;
    if (json_equals(doc, type, "Strip")) {
        if (!field_is(section, part, "content", " ") ||
            !json_u64(doc, field(section, part, "start"), &start) ||
            !json_u64(doc, field(section, part, "stop"), &stop) || start > 1 || stop > 0)
            return refuse(section, type, " of anything but one space in front");
        section->out->strips_space = start == 1;
    }
    if (json_equals(doc, type, "Metaspace"))
        section->out->strips_space = !field_is(section, part, "prepend_scheme", "never");
    return OK;
}

/* ---- all ---- */

static enum status read_section(struct section *section, const struct model_file *file,
                                const char *name, const char *list, read_part *read)
{
    char key[64];
    struct text_view text;
    section->name = name;
    snprintf(key, sizeof key, "tokenizer.huggingface.%s", name);
    if (!model_file_text(file, key, &text))
        return OK;
    enum status status =
        json_doc_parse(&section->doc, text.bytes, text.n_bytes, NODES_MAX, section->err);
    if (!status)
        status = read_parts(section, section->doc.nodes, list, read);
    json_doc_release(&section->doc);
    return status;
}

enum status pipeline_read(struct pipeline *pipeline, const struct model_file *file,
                          struct error *err)
{
    *pipeline = (struct pipeline){.pretokenizer = {.name = "huggingface"}};
    struct section section = {.out = pipeline, .err = err};
    enum status status = read_section(&section, file, "normalizer", "normalizers", read_normalizer);
    if (!status)
        status = read_section(&section, file, "pre_tokenizer", "pretokenizers", read_pre_tokenizer);
    if (!status && section.byte_level == section.marks)
        status = error_set(err, ERR_UNSUPPORTED,
                           "tokenizer.json: neither ByteLevel nor U+2581 for spaces (or both) is "
                           "not supported");
    if (!status && section.prefixed && !section.marks)
        status = error_set(err, ERR_UNSUPPORTED,
                           "tokenizer.json: normalizer 'Prepend' without Replace is not supported");
    if (!status)
        status = read_section(&section, file, "decoder", "decoders", read_decoder);
    if (status)
        return status;
    if (section.n_stages == 0)
        pipeline->stages[section.n_stages++] = pretokenize_cut_nowhere;
    pipeline->pretokenizer.raw = section.marks;
    (void)model_file_bool(file, "tokenizer.huggingface.ignore_merges",
                          &pipeline->pretokenizer.ignore_merges);
    return OK;
}
