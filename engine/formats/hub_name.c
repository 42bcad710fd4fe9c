/* Names on the hub; see hub_name.h.
 *
 * The rules for repository names are the hub's own (huggingface_hub, validate_repo_id): because
 * "--" is not allowed in them, a cache folder's name leads back to one repository only. How a
 * quantisation finds its file follows llama.cpp's -hf, with one difference: a file whose label is
 * exactly what was asked for goes before files that merely contain it, so Q4_K_M does not
 * become UD-Q4_K_M because that sorts first. File names come from strangers: they are checked here
 * once and for all before they become paths or parts of a URL. */
#include "engine/formats/hub_name.h"

#include <ctype.h>
#include <strings.h>

#include "engine/base/utf8.h"

static const char SPLIT_FORM[] = "-00001-of-00002.gguf";

static bool is_word_char(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcasecmp(text + n - n_end, end) == 0;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* ---- the name ---- */

static bool part_is_valid(const char *part, size_t n)
{
    if (n < 1 || n > HUB_PART_BYTES_MAX || strchr("-.", part[0]) || strchr("-.", part[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_word_char(part[i]))
            return false;
        if (i > 0 && part[i] == part[i - 1] && (part[i] == '-' || part[i] == '.'))
            return false;
    }
    return true;
}

enum status hub_name_parse(struct hub_name *out, const char *text, struct error *err)
{
    size_t n_repo = strcspn(text, ":");
    const char *slash = memchr(text, '/', n_repo);
    size_t n_org = slash ? (size_t)(slash - text) : 0;
    *out = (struct hub_name){0};
    if (!slash || !part_is_valid(text, n_org) || !part_is_valid(slash + 1, n_repo - n_org - 1)) {
        return error_set(err, ERR_INVALID,
                         "'%.100s' does not name a repository of the hub: the form is "
                         "org/repo or org/repo:QUANT",
                         text);
    }
    memcpy(out->repo, text, n_repo);
    if (text[n_repo] == '\0')
        return OK;
    const char *quant = text + n_repo + 1;
    if (!hub_word_is_safe(quant, HUB_QUANT_BYTES_MAX)) {
        return error_set(err, ERR_INVALID,
                         "'%.70s' behind the colon of '%.100s' is no quantisation, as Q4_K_M is",
                         quant, text);
    }
    snprintf(out->quant, sizeof out->quant, "%s", quant);
    return OK;
}

/* ---- file names ---- */

bool hub_file_is_safe(const char *file)
{
    size_t n = strlen(file);
    if (n < 1 || n > HUB_FILE_BYTES_MAX || !utf8_is_valid(file, n, NULL))
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)file[i] < 0x20 || file[i] == 0x7f || file[i] == '\\')
            return false;
    }
    for (const char *part = file;; part++) {
        size_t n_part = strcspn(part, "/");
        if (n_part < 1 || n_part > 255 || (n_part == 1 && part[0] == '.') ||
            (n_part == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += n_part;
        if (*part == '\0')
            return true;
    }
}

bool hub_word_is_safe(const char *word, size_t n_bytes_max)
{
    size_t n = strlen(word);
    if (n < 1 || n > n_bytes_max || word[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_word_char(word[i]))
            return false;
    }
    return true;
}

void hub_append_encoded(struct buf *out, const char *path)
{
    for (; *path; path++) {
        if (is_word_char(*path) || *path == '/' || *path == '~')
            buf_append_char(out, *path);
        else
            buf_printf(out, "%%%02X", (unsigned char)*path);
    }
}

bool hub_split_numbers(const char *file, size_t *number, size_t *count)
{
    size_t n = strlen(file), n_form = sizeof SPLIT_FORM - 1;
    if (n <= n_form)
        return false;
    const char *end = file + n - n_form;
    for (size_t i = 0; i < n_form; i++) {
        bool is_digit = isdigit((unsigned char)SPLIT_FORM[i]);
        if (is_digit ? !isdigit((unsigned char)end[i]) : end[i] != SPLIT_FORM[i])
            return false;
    }
    *number = strtoul(end + 1, NULL, 10);
    *count = strtoul(end + 10, NULL, 10);
    return *number >= 1 && *number <= *count;
}

enum status hub_split_name(char out[FILE_PATH_BYTES], const char *first, size_t number,
                           struct error *err)
{
    size_t n = strlen(first), n_form = sizeof SPLIT_FORM - 1;
    return path_print(out, err, "%.*s-%05zu%s", (int)(n - n_form), first, number,
                      first + n - n_form + 6);
}

bool hub_file_is_model(const char *file)
{
    size_t number, count;
    const char *name = path_name(file);
    if (!ends_with(name, ".gguf") || strcasestr(name, "mmproj") || strcasestr(name, "imatrix") ||
        strncasecmp(name, "mtp-", 4) == 0)
        return false;
    return !hub_split_numbers(file, &number, &count) || number == 1;
}

/* The text starts as the name of a tensor type does: Q4, IQ2, TQ1, F16, BF16, MXFP4, NVFP4. */
static bool is_type_name(const char *text)
{
    static const char *const whole[] = {"F16", "F32", "BF16", "FP16", "MXFP4", "NVFP4"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (strncasecmp(text, whole[i], strlen(whole[i])) == 0)
            return true;
    }
    if (toupper((unsigned char)text[0]) == 'I' || toupper((unsigned char)text[0]) == 'T')
        text++;
    return toupper((unsigned char)text[0]) == 'Q' && isdigit((unsigned char)text[1]) &&
           (text[2] == '_' || text[2] == '\0' || text[2] == '.' || text[2] == '-');
}

void hub_quant_label(char out[HUB_QUANT_BYTES_MAX + 1], const char *file)
{
    const char *name = path_name(file), *label = NULL;
    for (const char *at = name; *at; at++) {
        if ((at == name || strchr("-._", at[-1])) && is_type_name(at))
            label = at[-(at > name)] == '_' && label ? label : at;
    }
    out[0] = '\0';
    if (!label)
        return;
    size_t n = 0;
    while (isalnum((unsigned char)label[n]) || label[n] == '_')
        n++;
    if (label - name >= 3 && strncasecmp(label - 3, "UD-", 3) == 0) {
        label -= 3;
        n += 3;
    }
    if (n <= HUB_QUANT_BYTES_MAX)
        snprintf(out, HUB_QUANT_BYTES_MAX + 1, "%.*s", (int)n, label);
}

/* The quantisation stands in the path as a word of its own. */
static bool contains_word(const char *file, const char *word)
{
    for (const char *at = file; (at = strcasestr(at, word)); at++) {
        char end = at[strlen(word)];
        if ((at == file || strchr("-._/", at[-1])) && (end == '\0' || strchr("-./", end)))
            return true;
    }
    return false;
}

/* ---- the choice ---- */

static const char *find_quant(const struct name_list *names, const char *quant)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < names->n_names; i++) {
            const char *file = names->names[i];
            char label[HUB_QUANT_BYTES_MAX + 1];
            if (!hub_file_is_model(file))
                continue;
            hub_quant_label(label, file);
            if (pass == 0 ? strcasecmp(label, quant) == 0 : contains_word(file, quant))
                return file;
        }
    }
    return NULL;
}

static const char *first_model(const struct name_list *names)
{
    for (size_t i = 0; i < names->n_names; i++) {
        if (hub_file_is_model(names->names[i]))
            return names->names[i];
    }
    return NULL;
}

static bool has_name(const struct name_list *names, const char *name)
{
    for (size_t i = 0; i < names->n_names; i++) {
        if (strcmp(names->names[i], name) == 0)
            return true;
    }
    return false;
}

static enum status refuse_quant(const struct name_list *names, const struct hub_name *name,
                                struct error *err)
{
    char known[120] = "";
    size_t n = 0;
    for (size_t i = 0; i < names->n_names && n < sizeof known - 24; i++) {
        char label[HUB_QUANT_BYTES_MAX + 1];
        hub_quant_label(label, names->names[i]);
        if (!hub_file_is_model(names->names[i]) || !label[0] || strlen(label) > 16)
            continue;
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", label);
    }
    if (!first_model(names)) {
        return error_set(err, ERR_NOT_FOUND,
                         "%s has no GGUF files, so there is no %s of it; leave ':%s' away to take "
                         "its safetensors",
                         name->repo, name->quant, name->quant);
    }
    return error_set(err, ERR_NOT_FOUND, "%s has no file with quantisation %s; it has: %s",
                     name->repo, name->quant, n ? known : "files without one");
}

static enum status add_gguf(struct hub_choice *out, const struct name_list *names,
                            const char *first, struct error *err)
{
    size_t number, count = 1;
    bool is_split = hub_split_numbers(first, &number, &count);
    if (is_split && (number != 1 || count > HUB_SPLITS_MAX))
        return error_set(err, ERR_INVALID, "%s is not the first part of a split model", first);
    enum status status = name_list_add(&out->files, first, err);
    for (size_t i = 2; status == OK && is_split && i <= count; i++) {
        char part[FILE_PATH_BYTES];
        status = hub_split_name(part, first, i, err);
        if (status == OK && !has_name(names, part))
            status = error_set(err, ERR_NOT_FOUND, "the split model %s has no part %zu of %zu",
                               first, i, count);
        if (status == OK)
            status = name_list_add(&out->files, part, err);
    }
    out->is_gguf = true;
    return status;
}

/* Text files of a checkpoint that a server needs: configuration, tokenizer, chat template. */
static bool is_checkpoint_text(const char *file)
{
    static const char *const whole[] = {
        "config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (strcmp(file, whole[i]) == 0)
            return true;
    }
    return !strchr(file, '/') && starts_with(file, "tokenizer");
}

static bool is_weights(const char *file, const char *start)
{
    return !strchr(file, '/') && starts_with(file, start) &&
           (ends_with(file, ".safetensors") || ends_with(file, ".safetensors.index.json"));
}

static enum status add_checkpoint(struct hub_choice *out, const struct name_list *names,
                                  const struct hub_name *name, struct error *err)
{
    size_t n_named = 0, n_weights = 0;  // files "model*", and all
    for (size_t i = 0; i < names->n_names; i++) {
        n_named += is_weights(names->names[i], "model");
        n_weights += is_weights(names->names[i], "");
    }
    if (n_weights == 0 || !has_name(names, "config.json"))
        return error_set(err, ERR_NOT_FOUND,
                         "%s has no GGUF file and no safetensors checkpoint with a config.json",
                         name->repo);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < names->n_names; i++) {
        const char *file = names->names[i];
        if (is_checkpoint_text(file) || is_weights(file, n_named ? "model" : ""))
            status = name_list_add(&out->files, file, err);
    }
    return status;
}

enum status hub_choose(struct hub_choice *out, const struct name_list *names,
                       const struct hub_name *name, const char *file, struct error *err)
{
    *out = (struct hub_choice){0};
    const char *first = NULL;
    enum status status;
    if (file) {
        if (!ends_with(file, ".gguf") || !has_name(names, file))
            return error_set(err, ERR_NOT_FOUND, "%s has no GGUF file '%.120s'", name->repo, file);
        first = file;
    } else if (name->quant[0]) {
        first = find_quant(names, name->quant);
        if (!first)
            return refuse_quant(names, name, err);
    } else {
        first = find_quant(names, "Q4_K_M");
        if (!first)
            first = find_quant(names, "Q8_0");
        if (!first)
            first = first_model(names);
    }
    status = first ? add_gguf(out, names, first, err) : add_checkpoint(out, names, name, err);
    if (status != OK)
        hub_choice_release(out);
    return status;
}

void hub_choice_release(struct hub_choice *choice)
{
    name_list_release(&choice->files);
}
