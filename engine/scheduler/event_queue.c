/* The event queue; see event_queue.h.
 *
 * A node owns copies of everything its event points to. Token bytes and alternatives lie in the
 * node's arena, whose memory does not move, so joining text only has to regrow the flat token
 * array. A taken node is used again for the next event, so that a token of a stream costs no
 * allocation. The callback runs without the lock; `notifying` lets job_release() wait for it, after
 * which the consumer's context may be freed. */
#include "engine/scheduler/event_queue.h"

#include <assert.h>

#include "engine/base/mem.h"

enum { NODE_BYTES_MAX = 1 << 30, SPARE_BYTES_MAX = 16384 };

struct event_node {
    struct event_node *next;
    struct job_event event;
    struct buf text;
    struct job_token *tokens;  // [capacity], n_tokens in use
    size_t n_tokens, capacity;
    struct arena arena;  // bytes and alternatives of the tokens
    size_t bytes;        // counted against the queue
};

static void node_free(struct event_node *node)
{
    if (node == NULL)
        return;
    buf_release(&node->text);
    mem_free(node->tokens);
    arena_release(&node->arena);
    mem_free(node);
}

static struct event_node *node_create(void)
{
    struct event_node *node = mem_calloc(1, sizeof *node);
    if (node != NULL) {
        buf_init(&node->text, NODE_BYTES_MAX);
        arena_init(&node->arena, NODE_BYTES_MAX);
    }
    return node;
}

/* For the next event, if it is not so large that keeping it would cost more. */
static bool node_reset(struct event_node *node)
{
    if (node->text.capacity + node->capacity * sizeof *node->tokens > SPARE_BYTES_MAX)
        return false;
    buf_clear(&node->text);
    arena_reset(&node->arena);
    node->n_tokens = 0;
    return true;
}

enum status event_queue_init(struct event_queue *queue, void (*on_ready)(void *user), void *user,
                             struct error *err)
{
    *queue = (struct event_queue){.on_ready = on_ready, .user = user};
    queue->last = node_create();
    if (queue->last == NULL)
        return error_set(err, ERR_MEMORY, "no memory for a job's events");
    pthread_mutex_init(&queue->mu, NULL);
    pthread_cond_init(&queue->notified, NULL);
    return OK;
}

static void drop_events(struct event_queue *queue)
{
    while (queue->head != NULL) {
        struct event_node *node = queue->head;
        queue->head = node->next;
        node_free(node);
    }
    queue->tail = NULL;
    queue->n_events = queue->n_bytes = 0;
}

void event_queue_release(struct event_queue *queue)
{
    drop_events(queue);
    node_free(queue->taken);
    node_free(queue->spare);
    node_free(queue->last);
    pthread_cond_destroy(&queue->notified);
    pthread_mutex_destroy(&queue->mu);
}

/* ---- filling a node ---- */

static bool node_room(struct event_node *node, size_t n_tokens)
{
    size_t wanted = node->n_tokens + n_tokens;
    if (wanted <= node->capacity)
        return true;
    size_t capacity = wanted > 2 * node->capacity ? wanted : 2 * node->capacity;
    struct job_token *tokens = mem_realloc_array(node->tokens, capacity, sizeof *tokens);
    if (tokens == NULL)
        return false;
    node->tokens = tokens;
    node->capacity = capacity;
    return true;
}

static bool copy_token(struct event_node *node, const struct job_token *token)
{
    struct job_token copy = *token;
    copy.bytes = arena_memdup0(&node->arena, token->bytes, token->n_bytes);
    if (copy.bytes == NULL)
        return false;
    if (token->n_top > 0) {
        struct job_alternative *top = arena_alloc(&node->arena, token->n_top * sizeof *top);
        if (top == NULL)
            return false;
        for (size_t i = 0; i < token->n_top; i++) {
            top[i] = token->top[i];
            top[i].bytes = arena_memdup0(&node->arena, token->top[i].bytes, token->top[i].n_bytes);
            if (top[i].bytes == NULL)
                return false;
        }
        copy.top = top;
    }
    node->tokens[node->n_tokens++] = copy;
    return true;
}

/* Appends the event's text and tokens; on failure the node is as before (but for its arena). */
static bool node_append(struct event_node *node, const struct job_event *event)
{
    size_t n_before = node->n_tokens, text_before = node->text.n_bytes;
    bool done = node_room(node, event->n_tokens);
    for (size_t i = 0; done && i < event->n_tokens; i++)
        done = copy_token(node, &event->tokens[i]);
    done = done && buf_append(&node->text, event->text, event->n_bytes);
    if (!done) {
        node->n_tokens = n_before;
        buf_truncate(&node->text, text_before);
    }
    return done;
}

static size_t node_bytes(const struct event_node *node)
{
    return sizeof *node + node->text.n_bytes + node->n_tokens * sizeof *node->tokens +
           node->arena.bytes;
}

/* ---- producer ---- */

static bool is_half_full(const struct event_queue *queue)
{
    return queue->n_events > EVENT_QUEUE_EVENTS_MAX / 2 ||
           queue->n_bytes > EVENT_QUEUE_BYTES_MAX / 2;
}

/* Whether the consumer is to be told of the event, which is in. */
static bool is_due(struct event_queue *queue, enum job_event_type type, bool was_empty)
{
    if (!queue->lazy)
        return was_empty;
    bool is_part = type == EVENT_TEXT || type == EVENT_REASONING || type == EVENT_TOOL_CALL ||
                   type == EVENT_TOOL_ARGUMENTS || type == EVENT_FINISHED;
    bool due = !queue->announced && (!is_part || is_half_full(queue));
    queue->announced = queue->announced || due;
    return due;
}

/* Called with the lock held, returns without it. */
static void notify_and_unlock(struct event_queue *queue, bool is_due)
{
    bool call = is_due && queue->on_ready != NULL;
    queue->notifying = call;
    pthread_mutex_unlock(&queue->mu);
    if (!call)
        return;
    queue->on_ready(queue->user);
    pthread_mutex_lock(&queue->mu);
    queue->notifying = false;
    pthread_cond_broadcast(&queue->notified);
    pthread_mutex_unlock(&queue->mu);
}

static void append(struct event_queue *queue, struct event_node *node)
{
    node->next = NULL;
    if (queue->tail != NULL)
        queue->tail->next = node;
    else
        queue->head = node;
    queue->tail = node;
    queue->n_events++;
    node->bytes = node_bytes(node);
    queue->n_bytes += node->bytes;
}

/* The order of events of different choices means nothing, so the text may join the last event of
 * its own choice, if that is of its kind. */
static struct event_node *find_same(const struct event_queue *queue, const struct job_event *event)
{
    struct event_node *last = NULL;
    if (event->type != EVENT_TEXT && event->type != EVENT_REASONING &&
        event->type != EVENT_TOOL_ARGUMENTS)
        return NULL;
    for (struct event_node *node = queue->head; node != NULL; node = node->next)
        if (node->event.choice == event->choice)
            last = node;
    return last != NULL && last->event.type == event->type && last->event.call == event->call
               ? last
               : NULL;
}

enum status event_queue_push(struct event_queue *queue, const struct job_event *event,
                             struct error *err)
{
    pthread_mutex_lock(&queue->mu);
    if (queue->closed || queue->ended) {
        pthread_mutex_unlock(&queue->mu);
        return OK;
    }
    bool done = true, was_empty = queue->head == NULL;
    struct event_node *node = find_same(queue, event);
    if (node != NULL) {
        done = node_append(node, event);
        node->event.completion_tokens = event->completion_tokens;
        queue->n_bytes -= node->bytes;
        node->bytes = node_bytes(node);
        queue->n_bytes += node->bytes;
    } else {
        node = queue->spare != NULL ? queue->spare : node_create();
        queue->spare = NULL;
        done = node != NULL && node_append(node, event);
        if (done) {
            node->event = *event;
            append(queue, node);
        } else {
            node_free(node);
        }
    }
    notify_and_unlock(queue, done && is_due(queue, event->type, was_empty));
    return done ? OK : error_set(err, ERR_MEMORY, "no memory for the answer's text");
}

void event_queue_push_last(struct event_queue *queue, const struct job_event *event)
{
    assert(event->n_tokens == 0 && event->n_bytes == 0);
    pthread_mutex_lock(&queue->mu);
    if (queue->closed || queue->ended) {
        pthread_mutex_unlock(&queue->mu);
        return;
    }
    bool was_empty = queue->head == NULL;
    queue->last->event = *event;
    append(queue, queue->last);
    queue->last = NULL;
    queue->ended = true;
    notify_and_unlock(queue, is_due(queue, event->type, was_empty));
}

bool event_queue_is_full(struct event_queue *queue)
{
    pthread_mutex_lock(&queue->mu);
    bool full =
        queue->n_events >= EVENT_QUEUE_EVENTS_MAX || queue->n_bytes >= EVENT_QUEUE_BYTES_MAX;
    pthread_mutex_unlock(&queue->mu);
    return full;
}

bool event_queue_is_drained(struct event_queue *queue)
{
    pthread_mutex_lock(&queue->mu);
    bool drained = !is_half_full(queue);
    pthread_mutex_unlock(&queue->mu);
    return drained;
}

/* ---- consumer ---- */

bool event_queue_next(struct event_queue *queue, const struct job_event **out, bool *drained)
{
    *drained = false;
    struct event_node *old = queue->taken;
    bool is_reusable = old != NULL && node_reset(old);
    pthread_mutex_lock(&queue->mu);
    struct event_node *node = queue->closed ? NULL : queue->head;
    queue->taken = node;
    if (is_reusable && queue->spare == NULL) {
        queue->spare = old;
        old = NULL;
    }
    if (node != NULL) {
        queue->head = node->next;
        bool was_large = is_half_full(queue);
        queue->n_events--;
        queue->n_bytes -= node->bytes;
        *drained = was_large && !is_half_full(queue);
    }
    if (queue->head == NULL) {
        queue->tail = NULL;
        queue->announced = false;
    }
    pthread_mutex_unlock(&queue->mu);
    node_free(old);
    if (node == NULL)
        return false;
    node->event.text = node->text.bytes != NULL ? node->text.bytes : "";
    node->event.n_bytes = node->text.n_bytes;
    node->event.tokens = node->tokens;
    node->event.n_tokens = node->n_tokens;
    *out = &node->event;
    return true;
}

void event_queue_close(struct event_queue *queue)
{
    pthread_mutex_lock(&queue->mu);
    queue->closed = true;
    drop_events(queue);
    pthread_mutex_unlock(&queue->mu);
}

void event_queue_wait_notified(struct event_queue *queue)
{
    pthread_mutex_lock(&queue->mu);
    while (queue->notifying)
        pthread_cond_wait(&queue->notified, &queue->mu);
    pthread_mutex_unlock(&queue->mu);
}
