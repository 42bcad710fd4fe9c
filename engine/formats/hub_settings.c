/* What the environment says about the hub; see hub_settings.h.
 *
 * The names and their order are huggingface_hub's, so that a machine that is set up for it is set
 * up for us. A token is read once, goes into one header and is never part of a message. */
#include "engine/formats/hub_settings.h"

#include <ctype.h>
#include <strings.h>

#include "engine/base/buf.h"
#include "engine/formats/hub_cache.h"

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

bool hub_is_offline(void)
{
    static const char *const names[] = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"};
    for (size_t i = 0; i < 2; i++) {
        const char *value = variable(names[i]);
        if (value && (strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0 ||
                      strcasecmp(value, "yes") == 0 || strcasecmp(value, "on") == 0))
            return true;
    }
    return false;
}

/* Printable text without spaces, so that it cannot break out of a header or a URL. */
static bool is_plain(const char *text)
{
    for (; *text; text++) {
        if (*text <= ' ' || *text > '~')
            return false;
    }
    return true;
}

static enum status read_endpoint(struct hub_settings *out, struct error *err)
{
    const char *text = variable("HF_ENDPOINT");
    if (!text)
        text = "https://huggingface.co";
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '/')
        n--;
    bool has_scheme = strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0;
    if (!has_scheme || n > HUB_ENDPOINT_BYTES_MAX || !is_plain(text) || strpbrk(text, "@?#"))
        return error_set(err, ERR_INVALID, "HF_ENDPOINT must be an http:// or https:// address");
    snprintf(out->endpoint, sizeof out->endpoint, "%.*s", (int)n, text);
    return OK;
}

static enum status set_token(struct hub_settings *out, const char *token, const char *source,
                             struct error *err)
{
    size_t n = strlen(token);
    while (n > 0 && isspace((unsigned char)token[n - 1]))
        n--;
    if (n == 0)
        return OK;
    if (n > HUB_TOKEN_BYTES_MAX)
        return error_set(err, ERR_INVALID, "the token in %s is longer than %d bytes", source,
                         HUB_TOKEN_BYTES_MAX);
    snprintf(out->authorization, sizeof out->authorization, "Authorization: Bearer %.*s", (int)n,
             token);
    if (!is_plain(out->authorization + strlen("Authorization: Bearer ")))
        return error_set(err, ERR_INVALID, "the token in %s is no token", source);
    return OK;
}

static enum status read_token(struct hub_settings *out, struct error *err)
{
    const char *token = variable("HF_TOKEN"), *token_path = variable("HF_TOKEN_PATH");
    if (token)
        return set_token(out, token, "HF_TOKEN", err);
    char home[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    enum status status = hub_home_folder(home, err);
    if (status == OK && token_path)
        status = path_print(path, err, "%s", token_path);
    else if (status == OK)
        status = path_print(path, err, "%.4000s/token", home);
    if (status != OK)
        return status;
    struct buf text;
    struct error ignored = {0};
    buf_init(&text, 2 * HUB_TOKEN_BYTES_MAX);
    if (file_read(&text, path, &ignored) == OK && text.bytes)
        status = set_token(out, text.bytes, path, err);
    buf_release(&text);
    return status;
}

enum status hub_settings_read(struct hub_settings *out, struct error *err)
{
    *out = (struct hub_settings){.silence_s = HUB_SILENCE_S_DEFAULT};
    const char *silence = variable("HF_HUB_DOWNLOAD_TIMEOUT");
    if (silence) {
        char *end;
        out->silence_s = strtol(silence, &end, 10);
        if (*end || out->silence_s < 1 || out->silence_s > 86400)
            return error_set(err, ERR_INVALID,
                             "HF_HUB_DOWNLOAD_TIMEOUT must be a number of seconds, 1 to 86400");
    }
    enum status status = read_endpoint(out, err);
    return status == OK ? read_token(out, err) : status;
}
