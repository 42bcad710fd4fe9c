/* Status names and error texts; see error.h.
 *
 * Texts may quote bytes of a hostile file or request: control characters and what is no
 * UTF-8 are replaced, so that a text can go into a log line or a JSON answer. */
#include "engine/base/error.h"

#include <stdarg.h>

#include "engine/base/utf8.h"

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

/* Makes printable UTF-8 of it, never longer: a control character and each run of bytes that are no
 * UTF-8 (a quoted value that a format's precision cut, say) become a question mark; a character
 * that the end cuts off is dropped. */
static void text_clean(char *text)
{
    size_t n = strlen(text), n_kept = 0;
    bool was_bad = false;
    for (size_t at = 0; at < n;) {
        uint32_t c;
        size_t length = utf8_decode(text + at, n - at, &c);
        if (length == 0 && utf8_complete_prefix(text + at, n - at) == 0)
            break;
        bool is_bad = length == 0;
        if (is_bad || c < 0x20 || c == 0x7f) {
            if (!is_bad || !was_bad)
                text[n_kept++] = '?';
            length = 1;
        } else {
            memmove(text + n_kept, text + at, length);
            n_kept += length;
        }
        was_bad = is_bad;
        at += length;
    }
    text[n_kept] = '\0';
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
