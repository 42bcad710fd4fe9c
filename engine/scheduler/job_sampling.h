/* From a request's fields to sampling parameters: what needs the tokenizer or the vocabulary is
 * looked up here, in the text pool, once for all choices. */
#ifndef WICARA_SCHEDULER_JOB_SAMPLING_H
#define WICARA_SCHEDULER_JOB_SAMPLING_H

#include "engine/scheduler/job.h"

/* Fills job->sampling from job->request, in the job's arena. Errors: ERR_INVALID and ERR_LIMIT with
 * `param`, ERR_MEMORY. */
enum status job_sampling_make(struct job *job, const struct tokenizer *tokenizer, size_t n_vocab,
                              struct error *err) MUST_CHECK;

#endif
