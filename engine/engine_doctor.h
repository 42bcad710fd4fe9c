/* What this machine is for the engine, in plain sentences: CPU, cores, memory, huge pages, the
 * cache, and the model if one is named. */
#ifndef WICARA_ENGINE_ENGINE_DOCTOR_H
#define WICARA_ENGINE_ENGINE_DOCTOR_H

#include <stddef.h>

#include "engine/base/error.h"
#include "engine/engine.h"

enum { DOCTOR_FINDINGS_MAX = 16, DOCTOR_TEXT_BYTES = 400 };

enum doctor_grade {
    DOCTOR_GOOD,
    DOCTOR_NOTE,  // works, and could be better
    DOCTOR_BAD,   // does not work
};

struct doctor_report {
    struct {
        enum doctor_grade grade;
        char text[DOCTOR_TEXT_BYTES];  // what is, and where it is not good what to do
    } findings[DOCTOR_FINDINGS_MAX];
    size_t n_findings;
};

/* options->model_path may be NULL; the other options are those that the engine would get. */
void engine_doctor(struct doctor_report *out, const struct engine_options *options);

#endif
