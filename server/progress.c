/* Showing a download; see progress.h.
 *
 * A bar is rewritten ten times a second and cut to the terminal's width. Without a terminal each
 * file gets a line at its start and one every ten seconds, so that a log stays readable. Speed is
 * the mean since the start, of bytes that came over the wire in this run. */
#include "server/progress.h"

#include <inttypes.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"

enum { BAR_CHARS = 24, LINE_BYTES = 400, BAR_MS = 100, LINE_MS = 10000 };

void progress_init(struct progress *progress, const sigset_t *signals)
{
    *progress = (struct progress){.signals = signals, .is_terminal = isatty(STDERR_FILENO)};
}

static const char *size_text(char out[24], uint64_t bytes)
{
    if (bytes >= UINT64_C(1000000000))
        snprintf(out, 24, "%.2f GB", (double)bytes / 1e9);
    else if (bytes >= 1000000)
        snprintf(out, 24, "%.1f MB", (double)bytes / 1e6);
    else
        snprintf(out, 24, "%.1f kB", (double)bytes / 1e3);
    return out;
}

/* "45 %  1.20 of 2.40 GB, 35.0 MB/s, 0:35 left" */
static void rate_text(const struct progress *progress, const struct hub_progress *now,
                      char out[LINE_BYTES])
{
    char done[24], total[24], rate[24];
    double seconds = (double)(clock_ns() - progress->start_ns) * 1e-9;
    double speed = (double)(now->bytes - progress->start_bytes) / (seconds > 0.1 ? seconds : 0.1);
    int n = snprintf(out, LINE_BYTES, "%3.0f %%  %s of %s",
                     now->bytes_total ? 100.0 * (double)now->bytes / (double)now->bytes_total : 0,
                     size_text(done, now->bytes), size_text(total, now->bytes_total));
    if (seconds < 1 || speed < 1)
        return;
    uint64_t left = (uint64_t)((double)(now->bytes_total - now->bytes) / speed);
    snprintf(out + n, LINE_BYTES - (size_t)n, ", %s/s, %" PRIu64 ":%02u left",
             size_text(rate, (uint64_t)speed), left / 60, (unsigned)(left % 60));
}

static size_t terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static void show_bar(struct progress *progress, const struct hub_progress *now)
{
    char line[2 * LINE_BYTES], rate[LINE_BYTES], bar[BAR_CHARS + 1];
    size_t full = now->bytes_total
                      ? (size_t)((double)BAR_CHARS * (double)now->bytes / (double)now->bytes_total)
                      : 0;
    for (size_t i = 0; i < BAR_CHARS; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_CHARS] = '\0';
    rate_text(progress, now, rate);
    snprintf(line, sizeof line, "[%s] %s  %zu/%zu %s", bar, rate, now->file_number, now->n_files,
             now->file);
    fprintf(stderr, "\r%.*s\x1b[K", (int)terminal_columns() - 1, line);
    fflush(stderr);
    progress->has_bar = true;
}

static void announce(struct progress *progress, const struct hub_progress *now)
{
    char size[24];
    if (progress->file_number == 0) {
        progress->start_ns = clock_ns();
        progress->start_bytes = now->bytes;
    }
    progress->file_number = now->file_number;
    progress->last_ns = clock_ns();
    if (!progress->is_terminal)
        fprintf(stderr, "downloading %s (%s, file %zu of %zu)\n", now->file,
                size_text(size, now->file_bytes_total), now->file_number, now->n_files);
}

bool progress_show(void *user, const struct hub_progress *now)
{
    struct progress *progress = user;
    struct timespec at_once = {0, 0};
    if (progress->signals && sigtimedwait(progress->signals, NULL, &at_once) > 0)
        return false;
    if (!now->file)
        return true;
    if (now->is_waiting && !progress->was_waiting) {
        progress_end(progress);
        fprintf(stderr, "waiting: another process downloads %s\n", now->file);
    }
    progress->was_waiting = now->is_waiting;
    if (now->is_waiting)
        return true;
    if (now->file_number != progress->file_number)
        announce(progress, now);
    int64_t passed_ms = (clock_ns() - progress->last_ns) / 1000000;
    bool is_done = now->bytes == now->bytes_total;
    if (progress->is_terminal && (passed_ms >= BAR_MS || is_done || !progress->has_bar)) {
        show_bar(progress, now);
        progress->last_ns = clock_ns();
    } else if (!progress->is_terminal && passed_ms >= LINE_MS) {
        char rate[LINE_BYTES];
        rate_text(progress, now, rate);
        fprintf(stderr, "%s  %s\n", now->file, rate);
        progress->last_ns = clock_ns();
    }
    return true;
}

void progress_end(struct progress *progress)
{
    if (progress->has_bar)
        fputs("\n", stderr);
    progress->has_bar = false;
}
