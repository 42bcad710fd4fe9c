/* The event queue: order, joining of text, bounds, closing, the callback, and out of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/scheduler/event_queue.h"

static void count_call(void *user)
{
    (*(_Atomic int *)user)++;
}

static enum status push_text(struct event_queue *queue, uint32_t choice, const char *text)
{
    struct job_alternative top[2] = {{1, -0.5f, "one", 3}, {2, -1.5f, "two", 3}};
    struct job_token token = {.token = 7,
                              .logprob = -0.5f,
                              .bytes = text,
                              .n_bytes = strlen(text),
                              .top = top,
                              .n_top = 2};
    struct job_event event = {.type = EVENT_TEXT,
                              .choice = choice,
                              .text = text,
                              .n_bytes = strlen(text),
                              .tokens = &token,
                              .n_tokens = 1};
    return event_queue_push(queue, &event, NULL);
}

static void text_is_joined_per_choice(void **state)
{
    (void)state;
    _Atomic int calls = 0;
    struct event_queue queue;
    const struct job_event *event;
    bool drained;
    assert_int_equal(event_queue_init(&queue, count_call, &calls, NULL), OK);
    assert_false(event_queue_next(&queue, &event, &drained));
    struct job_event prepared = {.type = EVENT_PREPARED, .prompt_tokens = 3};
    assert_int_equal(event_queue_push(&queue, &prepared, NULL), OK);
    assert_int_equal(calls, 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(push_text(&queue, 0, "ab"), OK);
        assert_int_equal(push_text(&queue, 1, "xyz"), OK);
    }
    assert_int_equal(calls, 1);
    event_queue_push_last(&queue, &(struct job_event){.type = EVENT_DONE, .completion_tokens = 5});
    assert_int_equal(push_text(&queue, 0, "too late"), OK);
    assert_true(event_queue_next(&queue, &event, &drained));
    assert_int_equal(event->type, EVENT_PREPARED);
    for (uint32_t choice = 0; choice < 2; choice++) {
        assert_true(event_queue_next(&queue, &event, &drained));
        assert_int_equal(event->type, EVENT_TEXT);
        assert_int_equal(event->choice, choice);
        assert_int_equal(event->n_tokens, 20);
        assert_int_equal(event->n_bytes, choice == 0 ? 40 : 60);
        for (size_t i = 0; i < 20; i++) {
            assert_string_equal(event->tokens[i].bytes, choice == 0 ? "ab" : "xyz");
            assert_int_equal(event->tokens[i].n_top, 2);
            assert_string_equal(event->tokens[i].top[1].bytes, "two");
        }
    }
    assert_true(event_queue_next(&queue, &event, &drained));
    assert_int_equal(event->type, EVENT_DONE);
    assert_int_equal(event->completion_tokens, 5);
    assert_false(event_queue_next(&queue, &event, &drained));
    event_queue_release(&queue);
}

static void a_lazy_queue_tells_of_the_end_and_to_make_room(void **state)
{
    (void)state;
    _Atomic int calls = 0;
    struct event_queue queue;
    const struct job_event *event;
    bool drained;
    assert_int_equal(event_queue_init(&queue, count_call, &calls, NULL), OK);
    queue.lazy = true;
    struct job_event prepared = {.type = EVENT_PREPARED, .prompt_tokens = 3};
    assert_int_equal(event_queue_push(&queue, &prepared, NULL), OK);
    assert_int_equal(calls, 1);
    assert_true(event_queue_next(&queue, &event, &drained));
    assert_int_equal(push_text(&queue, 0, "ab"), OK);
    assert_int_equal(calls, 1);
    while (!event_queue_is_full(&queue)) {
        assert_int_equal(push_text(&queue, 0, "ab"), OK);
        assert_in_range(calls, 1, 2);
    }
    assert_int_equal(calls, 2);  // once, before it was full
    while (event_queue_next(&queue, &event, &drained))
        assert_int_equal(event->type, EVENT_TEXT);
    assert_int_equal(push_text(&queue, 0, "ab"), OK);
    assert_int_equal(calls, 2);
    event_queue_push_last(&queue, &(struct job_event){.type = EVENT_DONE});
    assert_int_equal(calls, 3);
    assert_true(event_queue_next(&queue, &event, &drained));
    assert_int_equal(event->n_bytes, 2);
    assert_true(event_queue_next(&queue, &event, &drained));
    assert_int_equal(event->type, EVENT_DONE);
    event_queue_release(&queue);
}

/* Events that come and go one by one are all whole, though their memory is used again. */
static void taken_events_are_used_again(void **state)
{
    (void)state;
    struct event_queue queue;
    const struct job_event *event;
    bool drained;
    char text[16];
    assert_int_equal(event_queue_init(&queue, NULL, NULL, NULL), OK);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "token %d", 7 * i % 13);
        assert_int_equal(push_text(&queue, 0, text), OK);
        assert_true(event_queue_next(&queue, &event, &drained));
        assert_int_equal(event->n_tokens, 1);
        assert_int_equal(event->n_bytes, strlen(text));
        assert_memory_equal(event->text, text, event->n_bytes);
        assert_string_equal(event->tokens[0].bytes, text);
        assert_string_equal(event->tokens[0].top[0].bytes, "one");
    }
    mem_fault_set(1, true);
    assert_int_equal(push_text(&queue, 0, "no memory needed"), OK);
    mem_fault_set(0, false);
    event_queue_release(&queue);
}

static void bounds_are_reached_and_left(void **state)
{
    (void)state;
    struct event_queue queue;
    const struct job_event *event;
    bool drained = false;
    char text[1001];
    memset(text, 'a', 1000);
    text[1000] = '\0';
    assert_int_equal(event_queue_init(&queue, NULL, NULL, NULL), OK);
    uint32_t n = 0;
    for (; !event_queue_is_full(&queue); n++)
        assert_int_equal(push_text(&queue, n, text), OK);
    assert_true(n > 15 && n < 64);
    size_t n_drained = 0, at = 0;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(event_queue_next(&queue, &event, &drained));
        n_drained += drained;
        at = drained ? i : at;
        assert_int_equal(drained || at > 0, event_queue_is_drained(&queue));
    }
    assert_int_equal(n_drained, 1);
    assert_true(at > n / 4 && at < 3 * n / 4);
    // Many small events are a full queue too.
    for (n = 0; !event_queue_is_full(&queue); n++) {
        struct job_event finished = {.type = EVENT_FINISHED, .choice = n};
        assert_int_equal(event_queue_push(&queue, &finished, NULL), OK);
    }
    assert_true(n <= EVENT_QUEUE_EVENTS_MAX && n > 50);
    event_queue_release(&queue);
}

static void a_closed_queue_is_silent(void **state)
{
    (void)state;
    _Atomic int calls = 0;
    struct event_queue queue;
    const struct job_event *event;
    bool drained;
    assert_int_equal(event_queue_init(&queue, count_call, &calls, NULL), OK);
    assert_int_equal(push_text(&queue, 0, "abc"), OK);
    assert_true(event_queue_next(&queue, &event, &drained));
    assert_int_equal(push_text(&queue, 0, "def"), OK);
    event_queue_close(&queue);
    assert_string_equal(event->text, "abc");  // what was taken stays valid
    assert_false(event_queue_next(&queue, &event, &drained));
    calls = 0;
    assert_int_equal(push_text(&queue, 0, "ghi"), OK);
    event_queue_push_last(&queue, &(struct job_event){.type = EVENT_DONE});
    assert_int_equal(calls, 0);
    assert_false(event_queue_next(&queue, &event, &drained));
    event_queue_release(&queue);
}

/* Each allocation fails once: the push reports it, earlier text is whole, the last event
 * arrives. */
static void no_memory_is_an_error(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct event_queue queue;
        const struct job_event *event;
        bool drained;
        assert_int_equal(event_queue_init(&queue, NULL, NULL, NULL), OK);
        assert_int_equal(push_text(&queue, 0, "whole"), OK);
        mem_fault_set(nth, true);
        char text[300];
        memset(text, 'b', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        enum status status = push_text(&queue, 0, text);
        if (status == OK)
            status = push_text(&queue, 1, "other");
        event_queue_push_last(&queue, &(struct job_event){.type = EVENT_FAILED});
        bool was_reached = mem_fault_count() >= nth;
        mem_fault_set(0, false);
        assert_int_equal(status == OK, !was_reached);
        assert_true(event_queue_next(&queue, &event, &drained));
        assert_memory_equal(event->text, "whole", 5);
        assert_int_equal(event->n_bytes == 5, event->n_tokens == 1);
        while (event_queue_next(&queue, &event, &drained) && event->type != EVENT_FAILED)
            ;
        assert_int_equal(event->type, EVENT_FAILED);
        event_queue_release(&queue);
        if (!was_reached)
            return;
    }
}

struct race {
    struct event_queue queue;
    _Atomic bool is_freed;
    _Atomic int calls;
};

static void slow_callback(void *user)
{
    struct race *race = user;
    usleep(2000);
    assert_false(race->is_freed);
    race->calls++;
}

static void *producer(void *context)
{
    struct race *race = context;
    struct job_event event = {.type = EVENT_PREPARED};
    assert_int_equal(event_queue_push(&race->queue, &event, NULL), OK);
    return NULL;
}

static void closing_waits_for_the_callback(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct race race = {0};
        pthread_t thread;
        assert_int_equal(event_queue_init(&race.queue, slow_callback, &race, NULL), OK);
        assert_int_equal(pthread_create(&thread, NULL, producer, &race), 0);
        usleep((useconds_t)(i * 150));
        event_queue_close(&race.queue);
        event_queue_wait_notified(&race.queue);
        race.is_freed = true;
        pthread_join(thread, NULL);
        event_queue_release(&race.queue);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_joined_per_choice),
        cmocka_unit_test(a_lazy_queue_tells_of_the_end_and_to_make_room),
        cmocka_unit_test(taken_events_are_used_again),
        cmocka_unit_test(bounds_are_reached_and_left),
        cmocka_unit_test(a_closed_queue_is_silent),
        cmocka_unit_test(no_memory_is_an_error),
        cmocka_unit_test(closing_waits_for_the_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
