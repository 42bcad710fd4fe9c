/* Finding and removing the models on this machine; see local_models.h.
 *
 * Each program's folder is read the way that program documents it: the hub cache's snapshots
 * (huggingface_hub), Ollama's manifests with their content-addressed blobs, plain GGUF files of
 * LM Studio and llama.cpp. Nothing is cached here: the folders are the truth and reading their
 * names takes milliseconds. */
#include "engine/formats/local_models.h"

#include <errno.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/files.h"
#include "engine/base/mem.h"
#include "engine/formats/hub_cache.h"
#include "engine/formats/hub_list.h"
#include "engine/formats/hub_name.h"

enum { GGUF_DEPTH_MAX = 4, NAME_BYTES = 600 };

const char *model_source_text(enum model_source source)
{
    static const char *const texts[] = {
#define X(name, text) text,
        MODEL_SOURCE_LIST(X)
#undef X
    };
    return texts[source];
}

static enum status add(struct local_models *out, const char *name, const char *path, uint64_t bytes,
                       enum model_source source, struct error *err)
{
    if (out->n_models == LOCAL_MODELS_MAX)
        return error_set(err, ERR_LIMIT, "more than %d models on this machine", LOCAL_MODELS_MAX);
    if (out->n_models == out->capacity) {
        size_t capacity = out->capacity ? 2 * out->capacity : 16;
        struct local_model *models = mem_realloc_array(out->models, capacity, sizeof *models);
        if (!models)
            return error_set(err, ERR_MEMORY, "no memory for the list of models");
        out->models = models;
        out->capacity = capacity;
    }
    struct local_model *model = &out->models[out->n_models];
    *model = (struct local_model){mem_strdup(name), mem_strdup(path), bytes, source};
    out->n_models++;
    if (model->name && model->path)
        return OK;
    return error_set(err, ERR_MEMORY, "no memory for the list of models");
}

static bool has_name(const struct local_models *models, const char *name)
{
    for (size_t i = 0; i < models->n_models; i++) {
        if (strcasecmp(models->models[i].name, name) == 0)
            return true;
    }
    return false;
}

static bool file_bytes(const char *path, uint64_t *out)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return false;
    *out = (uint64_t)info.st_size;
    return true;
}

/* Size of a GGUF file with the other parts of its set; false when one is missing. */
static bool set_bytes(const char *first, uint64_t *out)
{
    size_t number, count = 1;
    *out = 0;
    if (!hub_split_numbers(first, &number, &count))
        return file_bytes(first, out);
    for (size_t i = 1; i <= count && count <= HUB_SPLITS_MAX; i++) {
        char part[FILE_PATH_BYTES];
        uint64_t bytes;
        if (hub_split_name(part, first, i, NULL) != OK || !file_bytes(part, &bytes))
            return false;
        *out += bytes;
    }
    return true;
}

/* ---- the hub cache ---- */

static enum status add_snapshot(struct local_models *out, const char *repo, const char *root,
                                const struct name_list *files, struct error *err)
{
    uint64_t checkpoint_bytes = 0, bytes;
    bool has_config = false, has_weights = false;
    for (size_t i = 0; i < files->n_names; i++) {
        const char *file = files->names[i];
        char path[FILE_PATH_BYTES], label[HUB_QUANT_BYTES_MAX + 1], name[NAME_BYTES];
        if (path_print(path, NULL, "%s/%s", root, file) != OK)
            continue;
        size_t n = strlen(file);
        has_config |= strcmp(file, "config.json") == 0;
        has_weights |= n > 12 && strcmp(file + n - 12, ".safetensors") == 0;
        if (!hub_file_is_model(file)) {
            checkpoint_bytes += file_bytes(path, &bytes) ? bytes : 0;
            continue;
        }
        if (!set_bytes(path, &bytes))
            continue;
        hub_quant_label(label, file);
        snprintf(name, sizeof name, "%s:%s", repo, label);
        if (!label[0] || has_name(out, name))
            snprintf(name, sizeof name, "%s/%.300s", repo, file);
        enum status status = add(out, name, path, bytes, MODEL_FROM_HUB, err);
        if (status != OK)
            return status;
    }
    if (!has_config || !has_weights)
        return OK;
    return add(out, repo, root, checkpoint_bytes, MODEL_FROM_HUB, err);
}

/* The commit that "main" stands for, else any that is there. */
static bool find_commit(const struct hub_cache *cache, char commit[HUB_COMMIT_BYTES])
{
    char path[FILE_PATH_BYTES];
    struct name_list names;
    if (hub_cache_read_ref(cache, "main", commit, NULL) == OK)
        return true;
    if (path_print(path, NULL, "%s/%s/snapshots", cache->cache, cache->folder) != OK ||
        folder_read(&names, path, NULL) != OK)
        return false;
    bool found = names.n_names > 0 && hub_commit_is_valid(names.names[0]);
    if (found)
        snprintf(commit, HUB_COMMIT_BYTES, "%s", names.names[0]);
    name_list_release(&names);
    return found;
}

static enum status read_hub(struct local_models *out, struct error *err)
{
    char root[FILE_PATH_BYTES];
    struct name_list folders;
    enum status status = hub_cache_folder(root, err);
    if (status == OK)
        status = folder_read(&folders, root, err);
    if (status != OK)
        return status;
    for (size_t i = 0; status == OK && i < folders.n_names; i++) {
        static const char start[] = "models--";
        const char *folder = folders.names[i], *middle = strstr(folder + 1, "--");
        const char *owner = folder + sizeof start - 1;
        if (strncmp(folder, start, sizeof start - 1) != 0 || !(middle = strstr(owner, "--")))
            continue;
        char repo[NAME_BYTES / 2], commit[HUB_COMMIT_BYTES], path[FILE_PATH_BYTES];
        struct hub_name name;
        struct hub_cache cache;
        struct name_list files;
        snprintf(repo, sizeof repo, "%.*s/%s", (int)(middle - owner), owner, middle + 2);
        if (hub_name_parse(&name, repo, NULL) != OK ||
            hub_cache_init(&cache, name.repo, NULL) != OK || !find_commit(&cache, commit) ||
            hub_cache_snapshot_path(&cache, commit, NULL, path, NULL) != OK)
            continue;
        status = hub_cache_list(&cache, commit, &files, err);
        if (status == OK)
            status = add_snapshot(out, name.repo, path, &files, err);
        name_list_release(&files);
    }
    name_list_release(&folders);
    return status;
}

/* ---- Ollama ---- */

/* One tag: models/manifests/<registry>/<owner>/<model>/<tag>. */
static enum status add_manifest(struct local_models *out, const char *root, const char *inner,
                                const char *shown, struct error *err)
{
    char path[FILE_PATH_BYTES];
    struct ollama_model model;
    struct buf text;
    uint64_t bytes;
    buf_init(&text, OLLAMA_JSON_BYTES_MAX);
    enum status status = OK;
    if (path_print(path, NULL, "%s/manifests/%s", root, inner) == OK &&
        file_read(&text, path, NULL) == OK && text.n_bytes > 0 &&
        ollama_manifest_parse(&model, text.bytes, text.n_bytes, NULL) == OK &&
        path_print(path, NULL, "%s/blobs/%s", root, model.blob) == OK && file_bytes(path, &bytes))
        status = add(out, shown, path, bytes, MODEL_FROM_OLLAMA, err);
    buf_release(&text);
    return status;
}

/* Walks the four levels of manifests/; `inner` is the way so far, with a slash at its end. */
static enum status walk_manifests(struct local_models *out, const char *root, const char *inner,
                                  int depth, struct error *err)
{
    enum { TAG_DEPTH = 3 };
    char path[FILE_PATH_BYTES];
    struct name_list names;
    if (path_print(path, NULL, "%s/manifests/%s", root, inner) != OK)
        return OK;
    enum status status = folder_read(&names, path, err);
    for (size_t i = 0; status == OK && i < names.n_names; i++) {
        static const char usual[] = "registry.ollama.ai/", library[] = "library/";
        char next[NAME_BYTES];
        int n = snprintf(next, sizeof next, "%s%s%s", inner, names.names[i],
                         depth == TAG_DEPTH ? "" : "/");
        if (n < 0 || n >= NAME_BYTES)
            continue;
        if (depth < TAG_DEPTH) {
            status = walk_manifests(out, root, next, depth + 1, err);
            continue;
        }
        char shown[NAME_BYTES];
        const char *from = next;
        if (strncmp(from, usual, sizeof usual - 1) == 0)
            from += sizeof usual - 1;
        if (from != next && strncmp(from, library, sizeof library - 1) == 0)
            from += sizeof library - 1;
        snprintf(shown, sizeof shown, "%s", from);
        *strrchr(shown, '/') = ':';
        status = add_manifest(out, root, next, shown, err);
    }
    name_list_release(&names);
    return status;
}

/* ---- folders with GGUF files ---- */

static enum status read_gguf(struct local_models *out, const char *root, int depth,
                             enum model_source source, struct error *err)
{
    struct name_list names;
    enum status status = folder_read(&names, root, err);
    for (size_t i = 0; status == OK && i < names.n_names; i++) {
        char path[FILE_PATH_BYTES], name[NAME_BYTES];
        struct stat info;
        uint64_t bytes;
        if (path_print(path, NULL, "%s/%s", root, names.names[i]) != OK || stat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode) && depth > 0)
            status = read_gguf(out, path, depth - 1, source, err);
        if (!S_ISREG(info.st_mode) || !hub_file_is_model(path) || !set_bytes(path, &bytes))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(strlen(names.names[i]) - strlen(".gguf")),
                 names.names[i]);
        status = add(out, name, path, bytes, source, err);
    }
    name_list_release(&names);
    return status;
}

/* Reads <value of variable>, or <base>/<inner> when it is not set. */
struct place {
    const char *variable;  // or NULL
    const char *base;      // "HOME", "XDG_CACHE_HOME" or NULL for an absolute path
    const char *inner;
    enum model_source source;
};

static bool place_path(const struct place *place, char out[FILE_PATH_BYTES])
{
    const char *value = place->variable ? getenv(place->variable) : NULL;
    if (value && *value)
        return path_print(out, NULL, "%s", value) == OK;
    if (!place->base)
        return path_print(out, NULL, "%s", place->inner) == OK;
    const char *home = getenv("HOME"), *base = getenv(place->base);
    if (base && *base)
        return path_print(out, NULL, "%s/%s", base, place->inner) == OK;
    return home && *home && path_print(out, NULL, "%s/.cache/%s", home, place->inner) == OK;
}

static enum status read_places(struct local_models *out, struct error *err)
{
    static const struct place places[] = {
        {NULL, "XDG_CACHE_HOME", "wicara", MODEL_FROM_WICARA},
        {NULL, NULL, "/var/cache/wicara", MODEL_FROM_WICARA},
        {"OLLAMA_MODELS", "HOME", ".ollama/models", MODEL_FROM_OLLAMA},
        {NULL, NULL, "/usr/share/ollama/.ollama/models", MODEL_FROM_OLLAMA},
        {NULL, "HOME", ".lmstudio/models", MODEL_FROM_LM_STUDIO},
        {NULL, "XDG_CACHE_HOME", "lm-studio/models", MODEL_FROM_LM_STUDIO},
        {"LLAMA_CACHE", "XDG_CACHE_HOME", "llama.cpp", MODEL_FROM_LLAMA_CPP},
    };
    enum status status = OK;
    for (size_t i = 0; status == OK && i < sizeof places / sizeof *places; i++) {
        char path[FILE_PATH_BYTES];
        const struct place *place = &places[i];
        if (!place_path(place, path))
            continue;
        if (place->source == MODEL_FROM_OLLAMA)
            status = walk_manifests(out, path, "", 0, err);
        else
            status = read_gguf(out, path, place->source == MODEL_FROM_WICARA ? 0 : GGUF_DEPTH_MAX,
                               place->source, err);
    }
    return status;
}

enum status local_models_read(struct local_models *out, struct error *err)
{
    *out = (struct local_models){0};
    enum status status = read_hub(out, err);
    if (status == OK)
        status = read_places(out, err);
    if (status != OK)
        local_models_release(out);
    return status;
}

void local_models_release(struct local_models *models)
{
    for (size_t i = 0; i < models->n_models; i++) {
        mem_free(models->models[i].name);
        mem_free(models->models[i].path);
    }
    mem_free(models->models);
    *models = (struct local_models){0};
}

const struct local_model *local_models_find(const struct local_models *models, const char *name)
{
    static const char *const forms[] = {"%s", "%s:latest", "%s:Q4_K_M", "%s:Q8_0"};
    size_t n = strlen(name);
    for (size_t form = 0; form < sizeof forms / sizeof *forms; form++) {
        char wanted[NAME_BYTES];
        (void)snprintf(wanted, sizeof wanted, "%.*s%s", (int)n, name, forms[form] + 2);
        for (size_t i = 0; i < models->n_models; i++) {
            if (strcasecmp(models->models[i].name, wanted) == 0)
                return &models->models[i];
        }
    }
    for (size_t i = 0; i < models->n_models; i++) {
        const char *found = models->models[i].name;
        if (strncasecmp(found, name, n) == 0 && found[n] == ':')
            return &models->models[i];
    }
    return NULL;
}

/* ---- removal ---- */

/* True when some snapshot of the repository still links to the blob. */
static bool blob_is_used(const char *snapshots, const char *blob, int depth)
{
    struct name_list names;
    bool used = false;
    if (folder_read(&names, snapshots, NULL) != OK)
        return true;
    for (size_t i = 0; !used && i < names.n_names; i++) {
        char path[FILE_PATH_BYTES], target[FILE_PATH_BYTES];
        struct stat info;
        if (path_print(path, NULL, "%s/%s", snapshots, names.names[i]) != OK ||
            lstat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode) && depth < 10)
            used = blob_is_used(path, blob, depth + 1);
        ssize_t n = S_ISLNK(info.st_mode) ? readlink(path, target, sizeof target - 1) : 0;
        target[n > 0 ? n : 0] = '\0';
        used |= n > 0 && strcmp(path_name(target), blob) == 0;
    }
    name_list_release(&names);
    return used;
}

/* Deletes one file of a snapshot, and its blob when that was the last link. */
static enum status remove_file(const char *repo, const char *path, uint64_t *freed_bytes,
                               struct error *err)
{
    char target[FILE_PATH_BYTES], snapshots[FILE_PATH_BYTES], blob[FILE_PATH_BYTES];
    uint64_t bytes = 0;
    (void)file_bytes(path, &bytes);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (unlink(path) != 0)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (n < 0) {
        *freed_bytes += bytes;
        return OK;
    }
    target[n] = '\0';
    enum status status = path_print(snapshots, err, "%s/snapshots", repo);
    if (status == OK)
        status = path_print(blob, err, "%s/blobs/%s", repo, path_name(target));
    if (status != OK || blob_is_used(snapshots, path_name(target), 0))
        return status;
    if (unlink(blob) == 0)
        *freed_bytes += bytes;
    else if (errno != ENOENT)
        return error_set(err, ERR_IO, "%s: %s", blob, strerror(errno));
    return OK;
}

/* Removes folders that have become empty, from `path` up to the repository's; a repository without
 * snapshots goes as a whole. */
static void remove_empty(const char *repo, char *path)
{
    while (strlen(path) > strlen(repo) && rmdir(path) == 0)
        *strrchr(path, '/') = '\0';
    if (strlen(path) > strlen(repo))
        return;
    static const char *const inner[] = {"refs/main", "refs", "blobs", ".no_exist"};
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
        char name[FILE_PATH_BYTES];
        if (path_print(name, NULL, "%s/%s", repo, inner[i]) == OK && unlink(name) != 0)
            (void)rmdir(name);
    }
    (void)rmdir(repo);
}

static enum status remove_set(const char *repo, const char *first, uint64_t *freed_bytes,
                              struct error *err)
{
    size_t number, count = 1;
    bool is_split = hub_split_numbers(first, &number, &count);
    enum status status = remove_file(repo, first, freed_bytes, err);
    for (size_t i = 2; status == OK && is_split && i <= count; i++) {
        char part[FILE_PATH_BYTES];
        status = hub_split_name(part, first, i, err);
        if (status == OK)
            status = remove_file(repo, part, freed_bytes, err);
    }
    return status;
}

static enum status remove_checkpoint(const char *repo, const char *folder, uint64_t *freed_bytes,
                                     struct error *err)
{
    struct name_list names;
    enum status status = folder_read(&names, folder, err);
    for (size_t i = 0; status == OK && i < names.n_names; i++) {
        char path[FILE_PATH_BYTES];
        struct stat info;
        status = path_print(path, err, "%s/%s", folder, names.names[i]);
        if (status != OK || stat(path, &info) != 0 || !S_ISREG(info.st_mode) ||
            hub_file_is_model(path))
            continue;
        status = remove_file(repo, path, freed_bytes, err);
    }
    name_list_release(&names);
    return status;
}

enum status local_model_remove(const struct local_model *model, uint64_t *freed_bytes,
                               struct error *err)
{
    *freed_bytes = 0;
    if (model->source == MODEL_FROM_WICARA) {
        char marker[FILE_PATH_BYTES];
        enum status status = path_print(marker, err, "%s.ok", model->path);
        if (status == OK && unlink(model->path) != 0)
            status = error_set(err, ERR_IO, "%s: %s", model->path, strerror(errno));
        if (status == OK)
            *freed_bytes = model->bytes;
        unlink(marker);
        return status;
    }
    if (model->source != MODEL_FROM_HUB) {
        return error_set(err, ERR_UNSUPPORTED, "%s belongs to %s: remove it there", model->name,
                         model_source_text(model->source));
    }
    char repo[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    enum status status = path_print(repo, err, "%s", model->path);
    if (status == OK)
        status = path_print(path, err, "%s", model->path);
    char *snapshots = status == OK ? strstr(repo, "/snapshots/") : NULL;
    for (char *next; snapshots && (next = strstr(snapshots + 1, "/snapshots/"));)
        snapshots = next;
    if (!snapshots)
        return error_set(err, ERR_INTERNAL, "%s is not in a snapshot", model->path);
    *snapshots = '\0';
    struct stat info;
    bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    status = is_folder ? remove_checkpoint(repo, path, freed_bytes, err)
                       : remove_set(repo, path, freed_bytes, err);
    if (!is_folder)
        *strrchr(path, '/') = '\0';
    if (status == OK)
        remove_empty(repo, path);
    return status;
}
