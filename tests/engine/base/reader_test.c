/* The bounded cursor over memory and over a file: equal results, the first failure kept, zeros
 * afterwards, and a file that is shorter than it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/reader.h"

/* An unlinked file with the bytes; the caller closes it. */
static int file_of(const void *bytes, size_t n_bytes)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    if (n_bytes)
        assert_int_equal(fwrite(bytes, n_bytes, 1, file), 1);
    assert_int_equal(fflush(file), 0);
    int fd = dup(fileno(file));
    assert_true(fd >= 0);
    fclose(file);
    return fd;
}

static const uint8_t numbers[] = {0x01, 0x02, 0x83, 0x04, 0x05, 0x06, 0x87, 0x08, 0x09,
                                  0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x8f, 0x00, 0x00, 0xc0,
                                  0x3f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0xc0};

static void check_numbers(struct reader *reader)
{
    assert_int_equal(reader_left(reader), sizeof numbers);
    assert_int_equal(reader_u8(reader, "a"), 0x01);
    assert_int_equal(reader_u16(reader, "b"), 0x8302);
    assert_int_equal(reader_u32(reader, "c"), 0x87060504);
    assert_true(reader_u64(reader, "d") == 0x8f0e0d0c0b0a0908);
    assert_true(reader_f32(reader, "e") == 1.5f);
    assert_true(reader_f64(reader, "f") == -2.5);
    assert_int_equal(reader_left(reader), 0);
    assert_false(reader->failed);
    assert_true(reader_skip(reader, 0, "nothing"));
    assert_int_equal(reader_u8(reader, "one more"), 0);
    assert_true(reader->failed);
    assert_int_equal(reader->err->status, ERR_FORMAT);
    assert_non_null(strstr(reader->err->text, "one more"));
    assert_non_null(strstr(reader->err->text, "27"));
}

static void test_numbers(void **state)
{
    struct error err = {0};
    struct reader reader;
    (void)state;
    reader_init_memory(&reader, numbers, sizeof numbers, &err);
    check_numbers(&reader);
    int fd = file_of(numbers, sizeof numbers);
    err = (struct error){0};
    assert_int_equal(reader_init_file(&reader, fd, sizeof numbers, &err), OK);
    check_numbers(&reader);
    reader_release(&reader);
    close(fd);
}

/* After a failure everything reads as zero, outputs included, and the first text stays. */
static void test_failure_sticks(void **state)
{
    struct error err = {0};
    struct reader reader;
    char out[4] = "xyz";
    (void)state;
    reader_init_memory(&reader, numbers, 6, &err);
    assert_int_equal(reader_u32(&reader, "first"), 0x04830201);
    assert_int_equal(reader_u32(&reader, "second"), 0);
    assert_int_equal(reader_u8(&reader, "third"), 0);
    assert_false(reader_bytes(&reader, out, 4, "fourth"));
    assert_memory_equal(out, "\0\0\0\0", 4);
    assert_false(reader_skip(&reader, 0, "fifth"));
    assert_int_equal(reader_left(&reader), 0);
    assert_non_null(strstr(err.text, "second at byte 4"));
    reader_init_memory(&reader, numbers, 6, NULL);
    assert_false(reader_skip(&reader, UINT64_MAX, "skip"));
    assert_true(reader.failed);
    reader_init_memory(&reader, NULL, 0, NULL);
    assert_true(reader_bytes(&reader, NULL, 0, "nothing"));
    assert_int_equal(reader_u8(&reader, "a"), 0);
}

/* Random mixtures of reads and skips give the same bytes from memory and from a file that is
 * several windows long. */
static void test_file_equals_memory(void **state)
{
    enum { BYTES = 5 * READER_WINDOW_BYTES + 77 };
    uint8_t *bytes = malloc(BYTES), *a = malloc(BYTES), *b = malloc(BYTES);
    uint32_t random = 12345;
    (void)state;
    for (size_t i = 0; i < BYTES; i++) {
        random = random * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(random >> 24);
    }
    int fd = file_of(bytes, BYTES);
    for (int round = 0; round < 40; round++) {
        struct reader memory, file;
        struct error err = {0};
        reader_init_memory(&memory, bytes, BYTES, &err);
        assert_int_equal(reader_init_file(&file, fd, BYTES, &err), OK);
        while (reader_left(&memory)) {
            random = random * 1664525 + 1013904223;
            uint64_t n = (random >> 8) % (round % 4 == 0 ? 3 * READER_WINDOW_BYTES : 9000);
            if (n > reader_left(&memory))
                n = reader_left(&memory);
            if (random >> 31) {
                assert_true(reader_skip(&memory, n, "skip") && reader_skip(&file, n, "skip"));
                continue;
            }
            assert_true(reader_bytes(&memory, a, n, "read") && reader_bytes(&file, b, n, "read"));
            assert_memory_equal(a, b, n);
        }
        assert_int_equal(reader_left(&file), 0);
        assert_int_equal(reader_u8(&file, "end"), 0);
        assert_int_equal(err.status, ERR_FORMAT);
        reader_release(&file);
    }
    close(fd);
    free(bytes);
    free(a);
    free(b);
}

/* The file is shorter than `bytes` says: an I/O error, for small and for large reads. */
static void test_short_file(void **state)
{
    static char large[READER_WINDOW_BYTES * 2];
    int fd = file_of(numbers, 10);
    (void)state;
    for (int use_large = 0; use_large < 2; use_large++) {
        struct error err = {0};
        struct reader reader;
        assert_int_equal(reader_init_file(&reader, fd, sizeof large + 50, &err), OK);
        memset(large, 'x', sizeof large);
        size_t n = use_large ? sizeof large : 100;
        assert_false(reader_bytes(&reader, large, n, "tensor"));
        assert_int_equal(err.status, ERR_IO);
        assert_non_null(strstr(err.text, "tensor"));
        assert_int_equal(large[n - 1], 0);
        assert_true(reader.failed);
        reader_release(&reader);
    }
    struct error err = {0};
    assert_int_equal(read_exactly(fd, large, 10, 0, "all", &err), OK);
    assert_memory_equal(large, numbers, 10);
    assert_int_equal(read_exactly(fd, large, 0, 99, "none", &err), OK);
    assert_int_equal(read_exactly(fd, large, 11, 0, "more", &err), ERR_IO);
    assert_int_equal(read_exactly(fd, large, 1, UINT64_MAX, "far", NULL), ERR_IO);
    close(fd);
    err = (struct error){0};
    assert_int_equal(read_exactly(-1, large, 1, 0, "closed", &err), ERR_IO);
    assert_non_null(strstr(err.text, "closed"));
}

static void test_no_memory(void **state)
{
    struct error err = {0};
    struct reader reader;
    (void)state;
    mem_fault_set(1, false);
    assert_int_equal(reader_init_file(&reader, 0, 10, &err), ERR_MEMORY);
    mem_fault_set(0, false);
    assert_int_equal(reader_u8(&reader, "a"), 0);
    reader_release(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_failure_sticks),
        cmocka_unit_test(test_file_equals_memory),
        cmocka_unit_test(test_short_file),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
