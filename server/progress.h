/* The progress of a download on stderr: a bar on a terminal, a line now and then elsewhere. */
#ifndef WICARA_SERVER_PROGRESS_H
#define WICARA_SERVER_PROGRESS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine_models.h"

struct progress {
    const sigset_t *signals;  // blocked ones whose arrival stops the download
    bool is_terminal;
    bool has_bar;  // the last line is a bar that has no line end yet
    bool was_waiting;
    size_t file_number;         // that was announced
    uint64_t start_bytes;       // there when the first file began
    int64_t start_ns, last_ns;  // of the first byte, of the last output
};

void progress_init(struct progress *progress, const sigset_t *signals);
/* For hub_pull_options.on_progress; `user` is the struct progress. False after a signal. */
bool progress_show(void *user, const struct hub_progress *now);
void progress_end(struct progress *progress);

#endif
