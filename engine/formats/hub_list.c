/* Parsing of the hub's and Ollama's JSON; see hub_list.h.
 *
 * The strict scan runs before cJSON, and what leaves here has been checked for good: a commit is
 * hexadecimal, a file name stays below its folder, a blob is a digest. The callers make paths of
 * them without looking again. Fuzzed by tests/fuzz/fuzz_hub.c. */
#include "engine/formats/hub_list.h"

#include <cjson/cJSON.h>
#include <math.h>

#include "engine/base/json_scan.h"
#include "engine/formats/hub_name.h"

static const struct json_limits LIMITS = {64, 1000000};

static enum status parse(cJSON **out, const char *text, size_t n_bytes, const char *what,
                         struct error *err)
{
    *out = NULL;
    enum status status = json_scan(text, n_bytes, &LIMITS, err);
    if (status == OK) {
        *out = cJSON_ParseWithLength(text, n_bytes);
        if (!*out)
            status = error_set(err, ERR_MEMORY, "no memory for the JSON text");
    } else if (status == ERR_INVALID) {
        status = ERR_FORMAT;
        if (err)
            err->status = ERR_FORMAT;
    }
    if (status == OK && !cJSON_IsObject(*out))
        status = error_set(err, ERR_FORMAT, "no JSON object");
    if (status == OK)
        return OK;
    error_prefix(err, "%s", what);
    cJSON_Delete(*out);
    *out = NULL;
    return status;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(value) ? value->valuestring : NULL;
}

static bool is_hex(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

bool hub_commit_is_valid(const char *commit)
{
    return is_hex(commit, 40) || is_hex(commit, 64);
}

/* ---- the hub ---- */

static enum status add_files(struct hub_list *out, const cJSON *siblings, struct error *err)
{
    const cJSON *sibling;
    cJSON_ArrayForEach(sibling, siblings)
    {
        const char *name = text_of(sibling, "rfilename");
        if (!name)
            return error_set(err, ERR_FORMAT, "the hub's answer: a file without 'rfilename'");
        if (!hub_file_is_safe(name)) {
            return error_set(err, ERR_FORMAT,
                             "the repository lists a file with an unsafe name: '%.100s'", name);
        }
        if (out->files.n_names == HUB_FILES_MAX)
            return error_set(err, ERR_LIMIT, "the repository has more than %d files",
                             HUB_FILES_MAX);
        enum status status = name_list_add(&out->files, name, err);
        if (status != OK)
            return status;
    }
    name_list_sort(&out->files);
    for (size_t i = 1; i < out->files.n_names; i++) {
        if (strcmp(out->files.names[i - 1], out->files.names[i]) == 0)
            return error_set(err, ERR_FORMAT, "the hub's answer lists '%.100s' twice",
                             out->files.names[i]);
    }
    return OK;
}

enum status hub_list_parse(struct hub_list *out, const char *text, size_t n_bytes,
                           struct error *err)
{
    *out = (struct hub_list){0};
    cJSON *root;
    enum status status = parse(&root, text, n_bytes, "the hub's answer", err);
    if (status != OK)
        return status;
    const char *commit = text_of(root, "sha");
    const cJSON *siblings = cJSON_GetObjectItemCaseSensitive(root, "siblings");
    if (!commit || !hub_commit_is_valid(commit))
        status = error_set(err, ERR_FORMAT, "the hub's answer: 'sha' is no commit");
    else if (!cJSON_IsArray(siblings))
        status = error_set(err, ERR_FORMAT, "the hub's answer: 'siblings' is no list");
    if (status == OK) {
        snprintf(out->commit, sizeof out->commit, "%s", commit);
        status = add_files(out, siblings, err);
    }
    cJSON_Delete(root);
    if (status != OK)
        hub_list_release(out);
    return status;
}

void hub_list_release(struct hub_list *list)
{
    name_list_release(&list->files);
    list->commit[0] = '\0';
}

/* ---- Ollama ---- */

enum status ollama_manifest_parse(struct ollama_model *out, const char *text, size_t n_bytes,
                                  struct error *err)
{
    *out = (struct ollama_model){0};
    cJSON *root;
    enum status status = parse(&root, text, n_bytes, "the manifest", err);
    if (status != OK)
        return status;
    status = ERR_NOT_FOUND;
    const cJSON *layer;
    cJSON_ArrayForEach(layer, cJSON_GetObjectItemCaseSensitive(root, "layers"))
    {
        const char *type = text_of(layer, "mediaType"), *digest = text_of(layer, "digest");
        const cJSON *size = cJSON_GetObjectItemCaseSensitive(layer, "size");
        if (!type || strcmp(type, "application/vnd.ollama.image.model") != 0)
            continue;
        if (!digest || strncmp(digest, "sha256:", 7) != 0 || !is_hex(digest + 7, 64)) {
            status = error_set(err, ERR_FORMAT, "the manifest: 'digest' is no SHA-256");
            break;
        }
        snprintf(out->blob, sizeof out->blob, "sha256-%s", digest + 7);
        if (cJSON_IsNumber(size) && size->valuedouble >= 0 && size->valuedouble < 9e15)
            out->bytes = (uint64_t)size->valuedouble;
        status = OK;
        break;
    }
    cJSON_Delete(root);
    if (status == ERR_NOT_FOUND)
        return error_set(err, ERR_NOT_FOUND, "the manifest has no model layer");
    return status;
}
