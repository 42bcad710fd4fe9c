/* Paths at their limit, folders, small files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/files.h"

static void test_paths(void **state)
{
    char long_text[FILE_PATH_BYTES + 1], path[FILE_PATH_BYTES];
    struct error err = {0};
    (void)state;
    memset(long_text, 'a', sizeof long_text);
    long_text[FILE_PATH_BYTES] = '\0';
    assert_int_equal(path_print(path, &err, "%s", long_text + 1), OK);
    assert_int_equal(path_print(path, &err, "%s", long_text), ERR_LIMIT);
    assert_string_equal(path_name("a/b"), "b");
    assert_string_equal(path_name("b"), "b");
    assert_string_equal(path_name("a/"), "");
}

static void test_files(void **state)
{
    char root[] = "/tmp/wicara-files-XXXXXX", path[FILE_PATH_BYTES], file[FILE_PATH_BYTES];
    struct name_list names;
    struct buf text;
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_int_equal(path_print(path, NULL, "%s/b/c", root), OK);
    assert_int_equal(folder_make(path, NULL), OK);
    assert_int_equal(folder_make(path, NULL), OK);
    assert_int_equal(path_print(file, NULL, "%s/a", root), OK);
    assert_int_equal(file_write(file, "one", NULL), OK);
    assert_int_equal(file_write(file, "two", NULL), OK);
    buf_init(&text, 3);
    assert_int_equal(file_read(&text, file, NULL), OK);
    assert_string_equal(text.bytes, "two");
    buf_release(&text);
    buf_init(&text, 2);
    assert_int_equal(file_read(&text, file, NULL), ERR_LIMIT);
    buf_release(&text);
    assert_int_equal(folder_read(&names, root, NULL), OK);
    assert_int_equal(names.n_names, 2);
    assert_string_equal(names.names[0], "a");
    assert_string_equal(names.names[1], "b");
    name_list_release(&names);
    struct error err = {0};
    assert_int_equal(path_print(path, NULL, "%s/a/x", root), OK);
    assert_int_equal(folder_make(path, &err), ERR_IO);  // a file is in the way
    assert_int_equal(file_read(&text, path, NULL), ERR_NOT_FOUND);
    assert_int_equal(folder_read(&names, path, NULL), OK);
    assert_int_equal(names.n_names, 0);
    assert_int_equal(path_print(path, NULL, "%s/b/c", root), OK);
    rmdir(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    unlink(file);
    assert_int_equal(rmdir(root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths), cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
