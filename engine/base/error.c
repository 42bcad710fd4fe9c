/* Status names and error texts; see error.h.
 *
 * Texts may quote bytes of a hostile file or request: control characters are replaced and a cut
 * never leaves half a UTF-8 character, so that a text can go into a log line or a JSON answer. */
#include "engine/base/error.h"

#include <stdarg.h>

static const char *const status_names[] = {
#define X(name, text) #name,
    STATUS_LIST(X)
#undef X
};
static const char *const status_texts[] = {
#define X(name, text) text,
    STATUS_LIST(X)
#undef X
};

const char *status_name(enum status status)
{
    return status_names[status];
}

const char *status_text(enum status status)
{
    return status_texts[status];
}

/* Replaces control characters and drops a cut-off UTF-8 character at the end. */
static void text_clean(char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    }
    size_t start = n;
    while (start > 0 && n - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t wanted = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (wanted > n - start + 1)
        text[start - 1] = '\0';
}

static enum status error_record(struct error *err, enum status status, const char *param,
                                const char *format, va_list args)
{
    if (!err || err->status != OK)
        return status;
    err->status = status;
    vsnprintf(err->text, sizeof err->text, format, args);
    text_clean(err->text);
    snprintf(err->param, sizeof err->param, "%s", param);
    return status;
}

enum status error_set(struct error *err, enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_record(err, status, "", format, args);
    va_end(args);
    return status;
}

enum status error_set_param(struct error *err, enum status status, const char *param,
                            const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_record(err, status, param, format, args);
    va_end(args);
    return status;
}

void error_prefix(struct error *err, const char *format, ...)
{
    if (!err || err->status == OK)
        return;
    /* The text is worth more than the prefix: a long one is cut, but never to less than a third. */
    enum { PREFIX_BYTES_MIN = ERROR_TEXT_BYTES / 3 };
    char prefix[ERROR_TEXT_BYTES], old[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    memcpy(old, err->text, sizeof old);
    size_t n_old = strlen(old), n = strlen(prefix);
    size_t room = sizeof old - sizeof ": ";
    size_t n_max = room > n_old + PREFIX_BYTES_MIN ? room - n_old : PREFIX_BYTES_MIN;
    if (n > n_max) {
        prefix[n_max] = '\0';
        text_clean(prefix);
        n = strlen(prefix);
    }
    if (n_old > room - n)
        n_old = room - n;
    memcpy(err->text, prefix, n);
    memcpy(err->text + n, ": ", 2);
    memcpy(err->text + n + 2, old, n_old);
    err->text[n + 2 + n_old] = '\0';
    text_clean(err->text);
}
