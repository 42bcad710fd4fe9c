/* The heap seam: checked products, failing the n-th allocation, mappings, arenas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/mem.h"

static void test_sizes(void **state)
{
    size_t out;
    (void)state;
    assert_true(size_mul(SIZE_MAX / 2, 2, &out) && out == SIZE_MAX - 1);
    assert_false(size_mul(SIZE_MAX / 2 + 1, 2, &out));
    assert_true(size_add(SIZE_MAX, 0, &out) && out == SIZE_MAX);
    assert_false(size_add(SIZE_MAX, 1, &out));
    assert_null(mem_alloc_array(SIZE_MAX / 8 + 2, 8));
    assert_null(mem_calloc(SIZE_MAX / 8 + 2, 8));
    assert_null(mem_realloc_array(NULL, SIZE_MAX / 8 + 2, 8));
    assert_null(mem_memdup0("x", SIZE_MAX));
}

static void test_zero_bytes(void **state)
{
    void *memory[] = {mem_alloc(0), mem_calloc(0, 8), mem_alloc_array(0, 8),
                      mem_realloc_array(NULL, 0, 8), mem_memdup0(NULL, 0)};
    (void)state;
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) {
        assert_non_null(memory[i]);
        mem_free(memory[i]);
    }
    mem_free(NULL);
    mem_unmap(NULL, 4096);
}

static void test_copies(void **state)
{
    char *copy = mem_memdup0("a\0b", 3);
    (void)state;
    assert_memory_equal(copy, "a\0b\0", 4);
    mem_free(copy);
    copy = mem_strdup("text");
    assert_string_equal(copy, "text");
    mem_free(copy);
}

/* A failed realloc leaves the old block usable. */
static void test_realloc_failure(void **state)
{
    char *memory = mem_strdup("kept");
    (void)state;
    mem_fault_set(1, false);
    assert_null(mem_realloc_array(memory, 1000, 1));
    mem_fault_set(0, false);
    assert_string_equal(memory, "kept");
    mem_free(memory);
}

/* Each way to get memory is counted and can be failed, once or from then on. */
static void *one_allocation(size_t which)
{
    struct arena arena;
    void *memory;
    switch (which) {
    case 0:
        return mem_alloc(8);
    case 1:
        return mem_calloc(2, 8);
    case 2:
        return mem_alloc_array(2, 8);
    case 3:
        return mem_realloc_array(NULL, 2, 8);
    case 4:
        return mem_strdup("x");
    case 5:
        return mem_memdup0("x", 1);
    case 6:
        memory = mem_map(4096);
        mem_unmap(memory, 4096);
        return memory ? mem_alloc(1) : NULL;
    case 7:
        arena_init(&arena, 1000);
        memory = arena_alloc(&arena, 8);
        arena_release(&arena);
        return memory ? mem_alloc(1) : NULL;
    }
    return NULL;
}

static void test_faults(void **state)
{
    (void)state;
    for (size_t which = 0; which < 8; which++) {
        mem_fault_set(1, false);
        assert_null(one_allocation(which));
        assert_int_equal(mem_fault_count(), 1);
        mem_free(one_allocation(which));
        mem_fault_set(1, true);
        assert_null(one_allocation(which));
        assert_null(one_allocation(which));
        mem_fault_set(0, false);
        void *memory = one_allocation(which);
        assert_non_null(memory);
        mem_free(memory);
    }
    for (uint64_t nth = 1; nth <= 5; nth++) {
        mem_fault_set(nth, false);
        for (uint64_t i = 1; i <= 6; i++) {
            void *memory = mem_alloc(1);
            assert_int_equal(memory == NULL, i == nth);
            mem_free(memory);
        }
        mem_fault_set(nth, true);
        for (uint64_t i = 1; i <= 6; i++) {
            void *memory = mem_alloc(1);
            assert_int_equal(memory == NULL, i >= nth);
            mem_free(memory);
        }
        mem_fault_set(0, false);
    }
}

/* An allocation under the guard ends the process; in a child, so that we live to see it. */
static void test_guard(void **state)
{
    (void)state;
    for (int guarded = 0; guarded < 2; guarded++) {
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            if (!freopen("/dev/null", "w", stderr))
                _exit(3);
            mem_guard_enter();
            mem_guard_enter();
            mem_guard_leave();
            if (!guarded)
                mem_guard_leave();
            signal(SIGABRT, SIG_DFL);
            mem_free(mem_alloc(1));
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(WIFEXITED(status) && WEXITSTATUS(status) == 0, !guarded);
    }
}

static void test_map(void **state)
{
    const size_t bytes = (5 << 20) + 123;
    unsigned char *memory = mem_map(bytes);
    (void)state;
    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % 64, 0);
    for (size_t i = 0; i < bytes; i += 4093)
        assert_int_equal(memory[i], 0);
    memset(memory, 0xa5, bytes);
    mem_unmap(memory, bytes);
}

static void test_arena(void **state)
{
    enum { BLOCKS = 300 };
    struct arena arena;
    unsigned char *blocks[BLOCKS];
    (void)state;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t bytes = i * 17 % 500 + (i % 50 == 49 ? 20000 : 0);
        blocks[i] = arena_alloc(&arena, bytes);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t j = 0; j < bytes; j++)
            assert_int_equal(blocks[i][j], 0);
        memset(blocks[i], (int)i + 1, bytes);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t bytes = i * 17 % 500 + (i % 50 == 49 ? 20000 : 0);
        for (size_t j = 0; j < bytes; j++)
            assert_int_equal(blocks[i][j], (unsigned char)(i + 1));
    }
    char *copy = arena_memdup0(&arena, "a\0b", 3);
    assert_memory_equal(copy, "a\0b\0", 4);
    arena_release(&arena);
    arena_release(&arena);
}

static void test_arena_cap(void **state)
{
    struct arena arena;
    (void)state;
    arena_init(&arena, 160);
    for (size_t i = 0; i < 10; i++)
        assert_non_null(arena_alloc(&arena, 16));
    assert_null(arena_alloc(&arena, 1));
    assert_int_equal(arena.bytes, 160);
    arena_release(&arena);
    arena_init(&arena, SIZE_MAX);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_memdup0(&arena, "x", SIZE_MAX));
    assert_non_null(arena_alloc(&arena, 1));
    arena_release(&arena);
}

static void test_arena_reset(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    unsigned char *first = arena_alloc(&arena, 100);
    assert_non_null(first);
    memset(first, 0xff, 100);
    assert_non_null(arena_alloc(&arena, 300000));  // a chunk of its own
    arena_reset(&arena);
    assert_int_equal(arena.bytes, 0);
    mem_fault_set(1, true);
    unsigned char *again = arena_alloc(&arena, 100);
    mem_fault_set(0, false);
    assert_ptr_equal(again, first);
    for (int i = 0; i < 100; i++)
        assert_int_equal(again[i], 0);
    arena_release(&arena);
    arena_reset(&arena);  // of nothing
    assert_null(arena.chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_zero_bytes),
        cmocka_unit_test(test_copies),    cmocka_unit_test(test_realloc_failure),
        cmocka_unit_test(test_faults),    cmocka_unit_test(test_guard),
        cmocka_unit_test(test_map),       cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arena_cap), cmocka_unit_test(test_arena_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
