/* The text pool; see text_pool.h. A first-in first-out list under one lock; a job is worked on
 * without it. A cancelled job is dropped where it is found: before the work, between rendering and
 * tokenizing (prepare.c), or by the scheduler. */
#include "engine/scheduler/text_pool.h"

#include <pthread.h>

#include "engine/scheduler/scheduler.h"

struct text_pool {
    const struct prepare *prepare;
    struct scheduler *scheduler;
    struct metrics *metrics;
    pthread_t threads[TEXT_POOL_THREADS];
    size_t n_threads;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    struct job *head, *tail; /* guarded by mu */
    bool is_stopping;        /* guarded by mu */
};

/* The job ends here. */
static void end_job(struct text_pool *pool, struct job *job)
{
    atomic_store(&job->phase, JOB_PHASE_ENDED);
    atomic_fetch_sub(&pool->metrics->jobs_waiting, 1);
    atomic_fetch_sub(&pool->metrics->jobs, 1);
    job_unref(job);
}

static void reject(struct text_pool *pool, struct job *job, const struct error *err)
{
    if (job_is_cancelled(job)) {
        metrics_count(&pool->metrics->finished_cancelled, 1);
    } else {
        struct job_event event = {
            .type = EVENT_REJECTED, .error = *err, .prompt_tokens = job->prompt.n_ids};
        event_queue_push_last(&job->events, &event);
        if (job_generates(job))
            metrics_count(&pool->metrics->finished_error, 1);
    }
    end_job(pool, job);
}

static void work_on(struct text_pool *pool, struct job *job)
{
    struct error err = {0};
    enum status status = ERR_CANCELLED;
    if (!job_is_cancelled(job))
        status = prepare_job(pool->prepare, job, &err);
    if (status != OK) {
        if (err.status == OK)
            (void)error_set(&err, status, "%s", status_text(status));
        reject(pool, job, &err);
    } else if (job_generates(job)) {
        scheduler_add_take(pool->scheduler, job);
    } else {
        end_job(pool, job);
    }
}

static void *thread_main(void *context)
{
    struct text_pool *pool = context;
    for (;;) {
        pthread_mutex_lock(&pool->mu);
        while (pool->head == NULL && !pool->is_stopping)
            pthread_cond_wait(&pool->changed, &pool->mu);
        struct job *job = pool->head;
        bool is_stopping = pool->is_stopping;
        if (job != NULL) {
            pool->head = job->next;
            if (pool->head == NULL)
                pool->tail = NULL;
        }
        pthread_mutex_unlock(&pool->mu);
        if (job == NULL)
            return NULL;
        job->next = NULL;
        if (is_stopping) {
            struct error err = {0};
            (void)error_set(&err, ERR_SHUTDOWN, "the server is shutting down");
            reject(pool, job, &err);
        } else {
            work_on(pool, job);
        }
    }
}

enum status text_pool_create(struct text_pool **out, const struct prepare *prepare,
                             struct scheduler *scheduler, struct metrics *metrics,
                             struct error *err)
{
    *out = NULL;
    struct text_pool *pool = mem_calloc(1, sizeof *pool);
    if (pool == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the text pool");
    pool->prepare = prepare;
    pool->scheduler = scheduler;
    pool->metrics = metrics;
    pthread_mutex_init(&pool->mu, NULL);
    pthread_cond_init(&pool->changed, NULL);
    for (; pool->n_threads < TEXT_POOL_THREADS; pool->n_threads++)
        if (pthread_create(&pool->threads[pool->n_threads], NULL, thread_main, pool) != 0) {
            text_pool_free(pool);
            return error_set(err, ERR_BUSY, "the system refuses a thread for the text pool");
        }
    *out = pool;
    return OK;
}

void text_pool_free(struct text_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->mu);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->mu);
    for (size_t i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->mu);
    mem_free(pool);
}

void text_pool_add_take(struct text_pool *pool, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&pool->mu);
    if (pool->tail != NULL)
        pool->tail->next = job;
    else
        pool->head = job;
    pool->tail = job;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->mu);
}
