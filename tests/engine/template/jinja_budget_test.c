/* Budgets at their limit and one past it; bounded depth on a small stack; failing allocations. */
#include <pthread.h>

#include "tests/engine/template/render.h"

#include "engine/template/chat_prompt.h"
#include "engine/template/jinja_eval.h"

static void expect(const char *source, const char *variables, enum status status,
                   const char *message)
{
    struct rendered r = render(source, variables);
    if (r.status != status)
        print_error("%.200s\n  -> %s: %s\n", source, status_name(r.status), r.err.text);
    assert_int_equal(r.status, status);
    if (message)
        assert_non_null(strstr(r.err.text, message));
    rendered_release(&r);
}

static void expect_format(enum status status, const char *message, const char *format, ...)
{
    char source[512];
    va_list args;
    va_start(args, format);
    vsnprintf(source, sizeof source, format, args);
    va_end(args);
    expect(source, "{\"s\": \"xyz\"}", status, message);
}

static void test_steps(void **state)
{
    (void)state;
    struct jinja *j = mem_calloc(1, sizeof *j);
    struct error err = {0};
    j->err = &err;
    j->steps_left = JINJA_STEPS_MAX;
    volatile int done = 0;
    if (!setjmp(j->fail_to)) {
        for (; done <= JINJA_STEPS_MAX; done++)
            jinja_step(j, 255);  // below 256 bytes: one step each
    }
    assert_int_equal(done, JINJA_STEPS_MAX);
    assert_int_equal(j->status, ERR_LIMIT);
    mem_free(j);
    /* In a template: a loop within a loop, under and over. */
    static const char loops[] = "{%% for i in range(1000) %%}{%% for k in range(%d) %%}"
                                "{%% endfor %%}{%% endfor %%}";
    expect_format(OK, NULL, loops, 1000);
    expect_format(ERR_LIMIT, "steps", loops, 6000);
    /* Work on long strings counts by its bytes. */
    expect_format(ERR_LIMIT, "steps",
                  "{%% set t = 'ab' * 4000000 %%}{%% for i in range(1000) %%}"
                  "{%% set x = t.replace('c', 'd') %%}{%% endfor %%}");
    expect_format(ERR_LIMIT, NULL,
                  "{%% set t = 'a ' * 1000000 %%}{%% for i in range(1000) %%}"
                  "{%% set x = t.split() %%}{%% endfor %%}");
}

/* Work that costs more than a step says so: each of these must end within a small budget, which it
 * would not for hours if the work in the loop were free. */
static void test_costly_work(void **state)
{
    (void)state;
    static const char *const work[] = {
        "{% set x = s[400000] %}",
        "{% set x = s.strip('x')|length %}",
        "{% set x = a.count('a') %}",
        "{% set x = a.endswith(t) %}",
        "{% set x = d[t] %}",
        "{% set x = d[a] %}",
        "{% set x = t in d %}",
        "{% set x = s is lower %}",
        "{% set x = s.isalpha() %}",
        "{% set x = [d]|map(attribute=a)|list %}",
        "{% set x = a.replace('a', '') %}",
        "{% set x = a.strip('xyza') %}",
        "{% set x = 'b' in a %}",
        "{% set x = l == m %}",
        "{% set x = 'y' in l %}",
        "{% set x = a|int %}",
        "{% set x = ns.x ~ '\xc3\xa9' %}",
    };
    int items = 50000;
    uint64_t steps = 150000;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    items = 10000;  // minutes otherwise
    steps = 40000;
#endif
    char set_up[256];
    int set_up_bytes = snprintf(set_up, sizeof set_up,
                                "{%% set t = ('x',) * %d %%}{%% set l = [1] * %d %%}"
                                "{%% set m = l + [] %%}{%% set ns = namespace(x=s) %%}",
                                items, items);
    char *json = mem_alloc(1 << 20);
    size_t at = (size_t)snprintf(json, 1 << 20, "{\"d\":{\"k\":1},\"s\":\"");
    for (int i = 0; i < 200000; i++)
        at += (size_t)snprintf(json + at, 8, "\xc3\xa9");
    at += (size_t)snprintf(json + at, 16, "\",\"a\":\"");
    memset(json + at, 'a', 400000);
    snprintf(json + at + 400000, 8, "\"}");
    struct rendered ready = render_within(set_up, (size_t)set_up_bytes, json, steps / 2);
    assert_int_equal(ready.status, OK);  // so the budget goes to the work below
    rendered_release(&ready);
    for (size_t i = 0; i < sizeof work / sizeof work[0]; i++) {
        char source[512];
        snprintf(source, sizeof source,
                 "%s{%% for i in range(100000) %%}{%% for k in range(1000) %%}%s{%% endfor %%}"
                 "{%% endfor %%}",
                 set_up, work[i]);
        struct rendered r = render_within(source, strlen(source), json, steps);
        if (r.status != ERR_LIMIT)
            print_error("%s\n", work[i]);
        assert_int_equal(r.status, ERR_LIMIT);
    }
    mem_free(json);
    /* A tuple of itself twice, fifty times over, is large though it is small. */
    expect("{% set ns = namespace(t=()) %}{% for i in range(50) %}{% set ns.t = (ns.t, ns.t) %}"
           "{% endfor %}{{ ns.t in {} }}",
           NULL, ERR_LIMIT, "steps");
    expect("{% set ns = namespace(t=()) %}{% for i in range(50) %}{% set ns.t = (ns.t, ns.t) %}"
           "{% endfor %}{{ ns.t|tojson }}",
           NULL, ERR_LIMIT, NULL);
}

static void test_arguments(void **state)
{
    (void)state;
    for (int n = JINJA_ARGUMENTS_MAX; n <= JINJA_ARGUMENTS_MAX + 1; n++) {
        char source[8192];
        size_t at = (size_t)snprintf(source, sizeof source, "{%% macro m(");
        for (int i = 0; i < n; i++)
            at += (size_t)snprintf(source + at, sizeof source - at, "%sp%d", i ? "," : "", i);
        snprintf(source + at, sizeof source - at, ") %%}{%% endmacro %%}");
        expect(source, NULL, n == JINJA_ARGUMENTS_MAX ? OK : ERR_LIMIT,
               n == JINJA_ARGUMENTS_MAX ? NULL : "255 parameters");
        at = (size_t)snprintf(source, sizeof source, "{{ dict(");
        for (int i = 0; i < n; i++)
            at += (size_t)snprintf(source + at, sizeof source - at, "%sp%d=1", i ? "," : "", i);
        snprintf(source + at, sizeof source - at, ")|length }}");
        expect(source, NULL, n == JINJA_ARGUMENTS_MAX ? OK : ERR_LIMIT,
               n == JINJA_ARGUMENTS_MAX ? NULL : "255 keyword arguments");
    }
}

static void test_range(void **state)
{
    (void)state;
    expect_format(OK, NULL, "{{ range(%d)|length }}", JINJA_RANGE_ITEMS_MAX);
    expect_format(ERR_LIMIT, "100000 items", "{{ range(%d) }}", JINJA_RANGE_ITEMS_MAX + 1);
    expect_format(OK, NULL, "{{ range(0, -%d, -1)|length }}", JINJA_RANGE_ITEMS_MAX);
    expect_format(ERR_LIMIT, "range", "{{ range(0, -%d, -1) }}", JINJA_RANGE_ITEMS_MAX + 1);
    expect("{{ range(-9223372036854775807, 9223372036854775807) }}", NULL, ERR_LIMIT, "range");
    expect("{{ range(0, 9223372036854775807, 9223372036854775807)|list }}", NULL, OK, NULL);
}

static void test_output(void **state)
{
    (void)state;
    static const char variables[] = "{\"s\": \"xyz\"}";
    size_t limit = JINJA_OUTPUT_FACTOR * (sizeof variables - 1) + JINJA_OUTPUT_SLACK_BYTES;
    expect_format(OK, NULL, "{{ 'x' * %zu }}", limit);
    expect_format(ERR_LIMIT, "writes more than", "{{ 'x' * %zu }}", limit + 1);
    expect_format(ERR_LIMIT, "writes more than",
                  "{%% for i in range(100000) %%}{{ 'x' * 20 }}{%% endfor %%}");
}

static void test_memory(void **state)
{
    (void)state;
    size_t most = JINJA_MEMORY_BYTES_MAX;
    expect_format(OK, NULL, "{{ ('x' * %zu)|length }}", most - (1 << 16));
    expect_format(ERR_LIMIT, "bytes", "{{ ('x' * %zu)|length }}", most);
    expect_format(ERR_LIMIT, "larger than", "{{ ('x' * %zu)|length }}", most + 1);
    expect_format(ERR_LIMIT, "larger than", "{{ '-' * 10000000000 }}");
    expect_format(ERR_LIMIT, "too large", "{{ [1] * 100000000 }}");
    expect_format(ERR_LIMIT, "bytes",
                  "{%% set ns = namespace(s='x') %%}{%% for i in range(99) %%}"
                  "{%% set ns.s = ns.s + ns.s %%}{%% endfor %%}");
    expect_format(ERR_LIMIT, NULL, "{{ 'x'.center(100000000) }}");
    expect_format(ERR_LIMIT, NULL, "{{ '%%100000001d' %% 1 }}");
    expect_format(ERR_LIMIT, NULL, "{{ '{:100001}'.format('x') }}");
    expect_format(ERR_LIMIT, NULL, "{{ 'a'|indent(100000000) }}");
    expect_format(ERR_LIMIT, NULL, "{{ [1]|batch(100000000, 0)|list }}");
    expect_format(ERR_LIMIT, NULL, "{{ [1]|slice(100000000)|list }}");
    expect_format(ERR_LIMIT, NULL, "{{ '\\t'.expandtabs(100000000) }}");
    expect_format(ERR_LIMIT, NULL, "{{ '1'.zfill(100000000) }}");
    expect_format(ERR_LIMIT, NULL, "{{ [[[1]]]|tojson(indent=90000000) }}");
    /* Growing by appending costs the length, not its square. */
    expect("{% set ns = namespace(s='') %}{% for i in range(90000) %}"
           "{% set ns.s = ns.s + s + 'abcdefghij' %}{% endfor %}{{ ns.s|length }}",
           "{\"s\": \"u\"}", OK, NULL);
}

static void test_source(void **state)
{
    (void)state;
    char *source = mem_alloc(JINJA_SOURCE_BYTES_MAX + 1);
    memset(source, 'x', JINJA_SOURCE_BYTES_MAX + 1);
    struct rendered r = render_bytes(source, JINJA_SOURCE_BYTES_MAX, NULL);
    assert_int_equal(r.status, OK);
    assert_int_equal(r.out.text.n_bytes, JINJA_SOURCE_BYTES_MAX);
    rendered_release(&r);
    r = render_bytes(source, JINJA_SOURCE_BYTES_MAX + 1, NULL);
    assert_int_equal(r.status, ERR_LIMIT);
    mem_free(source);

    struct jinja_template *code;
    struct jinja_output out;
    struct jinja_render_input input = {
        .fill = render_fill, .context = (void *)"{}", .input_bytes = JINJA_INPUT_BYTES_MAX};
    assert_int_equal(jinja_open(&code, "a", 1, NULL), OK);
    assert_int_equal(jinja_render(code, &input, &out, NULL), OK);
    jinja_output_release(&out);
    input.input_bytes++;
    assert_int_equal(jinja_render(code, &input, &out, NULL), ERR_LIMIT);
    jinja_close(code);
}

/* head * n + middle + tail * n */
static enum status nested(const char *head, const char *middle, const char *tail, size_t n,
                          struct error *err)
{
    size_t each = strlen(head) + strlen(tail);
    char *source = mem_alloc(each * n + strlen(middle) + 1), *at = source;
    for (size_t i = 0; i < n; i++, at += strlen(head))
        memcpy(at, head, strlen(head));
    memcpy(at, middle, strlen(middle));
    at += strlen(middle);
    for (size_t i = 0; i < n; i++, at += strlen(tail))
        memcpy(at, tail, strlen(tail));
    struct rendered r = render_bytes(source, (size_t)(at - source), NULL);
    mem_free(source);
    if (err)
        *err = r.err;
    rendered_release(&r);
    return r.status;
}

/* The largest n that renders; one more is ERR_LIMIT, and so are a great many more. */
static size_t deepest(const char *head, const char *middle, const char *tail)
{
    size_t n = 0;
    struct error err;
    while (n < 3000 && nested(head, middle, tail, n + 1, &err) == OK)
        n++;
    if (n < 3000) {
        assert_int_equal(err.status, ERR_LIMIT);
        assert_int_equal(nested(head, middle, tail, 20000, NULL), ERR_LIMIT);
    }
    return n;
}

static void test_nesting(void **state)
{
    (void)state;
    assert_int_equal(deepest("{% if 1 %}", "x", "{% endif %}"), JINJA_NESTING_MAX);
    assert_int_equal(deepest("{% for i in [1] %}", "x", "{% endfor %}"), JINJA_NESTING_MAX);
    assert_int_equal(deepest("{% set x %}", "x", "{% endset %}"), JINJA_NESTING_MAX);
    assert_int_equal(deepest("", "{{ 1 }}", ""), 3000);
    assert_int_equal(nested("{{ ", "1", "}}", 1, NULL), OK);
    static const struct {
        const char *head, *tail;
    } forms[] = {{"(", ")"}, {"[", "]"},           {"{1:", "}"},    {"not ", ""},
                 {"-", ""},  {"1 if 1 else ", ""}, {"range(", ")"}, {"x[", "]"}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        for (size_t n = JINJA_NESTING_MAX; n <= JINJA_NESTING_MAX + 1; n++) {
            char source[2048] = "{% if false %}{{ ";
            size_t at = strlen(source);
            for (size_t k = 0; k < n; k++)
                at += (size_t)snprintf(source + at, sizeof source - at, "%s", forms[i].head);
            at += (size_t)snprintf(source + at, sizeof source - at, "1");
            for (size_t k = 0; k < n; k++)
                at += (size_t)snprintf(source + at, sizeof source - at, "%s", forms[i].tail);
            snprintf(source + at, sizeof source - at, " }}{%% endif %%}");
            /* The block around it is a level as well. */
            expect(source, NULL, n < JINJA_NESTING_MAX ? OK : ERR_LIMIT, NULL);
            memmove(source, source + 14, sizeof source - 14);
            source[strlen(source) - 11] = '\0';
            expect(strstr(source, "range") || strstr(source, "x[") ? "ok" : source, NULL,
                   n <= JINJA_NESTING_MAX || strstr(source, "range") || strstr(source, "x[")
                       ? OK
                       : ERR_LIMIT,
                   NULL);
        }
    }
    /* Chains do not nest, but long ones of postfix operators are high. */
    char source[JINJA_HEIGHT_MAX * 8 + 64] = "{{ 'a'";
    size_t fits = JINJA_HEIGHT_MAX - 3;  // body, output, constant
    for (size_t n = fits; n <= fits + 1; n++) {
        size_t at = 6;
        for (size_t k = 0; k < n; k++)
            at += (size_t)snprintf(source + at, sizeof source - at, "|trim");
        snprintf(source + at, sizeof source - at, " }}");
        expect(source, NULL, n == fits ? OK : ERR_LIMIT, n == fits ? NULL : "levels high");
    }
    char *sum = mem_alloc(200000);
    size_t at = (size_t)snprintf(sum, 200000, "{{ 0");
    for (int i = 0; i < 20000; i++)
        at += (size_t)snprintf(sum + at, 200000 - at, "+1");
    snprintf(sum + at, 200000 - at, " }}");
    struct rendered r = render(sum, NULL);
    assert_string_equal(rendered_text(&r), "20000");
    rendered_release(&r);
    mem_free(sum);
}

static void test_calls(void **state)
{
    (void)state;
    static const char macro[] =
        "{%% macro m(n) %%}{%% if n > 1 %%}{{ m(n - 1) }}{%% endif %%}{%% endmacro %%}{{ m(%d) }}";
    expect_format(OK, NULL, macro, JINJA_CALL_DEPTH_MAX);
    expect_format(ERR_LIMIT, "64 calls", macro, JINJA_CALL_DEPTH_MAX + 1);
    expect("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", NULL, ERR_LIMIT, "calls");
    expect("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", NULL, ERR_LIMIT, "calls");
    expect("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", NULL, ERR_LIMIT, "nested");
    expect("{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}", NULL, ERR_LIMIT, "nested");
    expect("{% set l = [] %}{% set _ = l.append(l) %}{% set m = [] %}{% set _ = m.append(m) %}"
           "{{ l == m }}{{ l < m }}",
           NULL, ERR_LIMIT, "nested");
    expect("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", NULL, ERR_LIMIT, "nested");
}

/* Generators stacked by a loop: as deep as evaluations may be, and no deeper. */
static void test_eval_depth(void **state)
{
    (void)state;
    static const char stack[] =
        "{%% set ns = namespace(g=[1]) %%}{%% for i in range(%d) %%}"
        "{%% set ns.g = ns.g|map('string') %%}{%% endfor %%}{{ ns.g|list }}";
    int fits = 0;
    for (int n = JINJA_EVAL_DEPTH_MAX - 20; n <= JINJA_EVAL_DEPTH_MAX; n++) {
        char source[256];
        snprintf(source, sizeof source, stack, n);
        struct rendered r = render(source, NULL);
        if (r.status == OK) {
            assert_true(fits == n - 1 || fits == 0);
            fits = n;
        } else {
            assert_int_equal(r.status, ERR_LIMIT);
            assert_non_null(strstr(r.err.text, "evaluations within each other"));
        }
        rendered_release(&r);
    }
    assert_in_range(fits, JINJA_EVAL_DEPTH_MAX - 19, JINJA_EVAL_DEPTH_MAX - 1);
    expect_format(ERR_LIMIT, "evaluations", stack, 90000);
}

/* The deepest that the limits allow, on a thread of 1 MiB (8 MiB with sanitizers). */
static void *deep_thread(void *unused)
{
    (void)unused;
    static const char stack[] =
        "{%% set ns = namespace(g=[1]) %%}{%% for i in range(%d) %%}"
        "{%% set ns.g = ns.g|map('string') %%}{%% endfor %%}{{ ns.g|list }}";
    char source[4096];
    snprintf(source, sizeof source, stack, JINJA_EVAL_DEPTH_MAX + 9);
    struct rendered r = render(source, NULL);
    assert_int_equal(r.status, ERR_LIMIT);
    /* Macros in macros, each through a tower of brackets, lists and calls. */
    size_t at = (size_t)snprintf(source, sizeof source, "{%% macro m(n) %%}{{ ");
    for (int i = 0; i < 15; i++)
        at += (size_t)snprintf(source + at, sizeof source - at, "([1 if 1 == 2 else 'x' ~ ");
    at += (size_t)snprintf(source + at, sizeof source - at, "m(n)");
    for (int i = 0; i < 15; i++)
        at += (size_t)snprintf(source + at, sizeof source - at, "|upper + ''][0:1])[0]");
    snprintf(source + at, sizeof source - at, " }}{%% endmacro %%}{{ m(1) }}");
    r = render(source, NULL);
    assert_int_equal(r.status, ERR_LIMIT);
    return NULL;
}

static void test_stack(void **state)
{
    (void)state;
    pthread_attr_t attr;
    pthread_t thread;
    size_t bytes = 1 << 20;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    bytes = 8 << 20;
#endif
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, bytes), 0);
    assert_int_equal(pthread_create(&thread, &attr, deep_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
}

static void test_json_depth(void **state)
{
    (void)state;
    char json[512];
    for (int n = JSON_VALUE_DEPTH_MAX - 1; n <= JSON_VALUE_DEPTH_MAX; n++) {
        /* The object around it is a level too. */
        size_t at = (size_t)snprintf(json, sizeof json, "{\"x\":");
        memset(json + at, '[', (size_t)n);
        memset(json + at + n, ']', (size_t)n);
        snprintf(json + at + 2 * n, sizeof json - at - 2 * (size_t)n, "}");
        expect("{{ x|tojson }}{{ x }}{{ x == x }}", json, n < JSON_VALUE_DEPTH_MAX ? OK : ERR_LIMIT,
               NULL);
    }
}

/* Names of an object that would collide without a seed, and many of them: time stays linear. */
static void test_many_names(void **state)
{
    (void)state;
    size_t n = 50000, at = 1;
    char *json = mem_alloc(n * 20 + 16);
    json[0] = '{';
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(json + at, 20, "%s\"%08zx\":1", i ? "," : "", i);
    snprintf(json + at, 8, "}");
    struct rendered r = render("{{ self is defined }}", json);
    assert_int_equal(r.status, OK);
    rendered_release(&r);
    mem_free(json);
}

static const char chat_template[] =
    "{% macro part(p) %}{{ p.text if p is mapping else p }}{% endmacro %}"
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{{ '<|' ~ m.role ~ '|>' }}{% if m.content is string %}{{ m.content|trim|upper }}{% else %}"
    "{% for p in m.content %}{{ part(p) }}{% endfor %}{% endif %}"
    "{% for t in m.tool_calls or [] %}{{ t.function.arguments|tojson(indent=1) }}{% endfor %}"
    "{% endfor %}{% for t in tools or [] %}{{ t|tojson }}{% endfor %}"
    "{{ messages|map(attribute='role')|sort|join(',') }}{{ 'a b c'.split()|join }}{{ ns.n }}";

static enum status open_and_render(struct chat_prompt_output *out, struct error *err)
{
    struct chat_prompt *prompt;
    enum status status =
        chat_prompt_open(&prompt, chat_template, sizeof chat_template - 1, "<s>", "</s>", err);
    if (status != OK)
        return status;
    struct chat_prompt_input input = {
        .messages_json = "[{\"role\":\"user\",\"content\":\"h\\u00e9\\n <|x|>\"},"
                         "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":"
                         "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": [1, 2]}\"}}]},"
                         "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"q\"}]}]",
        .tools_json = "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]",
        .variables_json = "{\"x\": 1}",
        .add_generation_prompt = true,
    };
    status = chat_prompt_render(prompt, &input, out, err);
    chat_prompt_close(prompt);
    return status;
}

/* Every allocation of open and render fails once, then from there on; nothing leaks (sanitizers),
 * the answer is ERR_MEMORY or, where the failure was not felt, the right text. */
static void test_failing_memory(void **state)
{
    (void)state;
    struct chat_prompt_output whole;
    assert_int_equal(open_and_render(&whole, NULL), OK);
    for (int stays = 0; stays <= 1; stays++) {
        uint64_t n = 1;
        for (;; n++) {
            struct chat_prompt_output out = {0};
            struct error err = {0};
            mem_fault_set(n, stays);
            enum status status = open_and_render(&out, &err);
            uint64_t calls = mem_fault_count();
            mem_fault_set(0, false);
            if (status == OK) {
                assert_string_equal(out.text.bytes, whole.text.bytes);
                chat_prompt_output_release(&out);
                if (calls < n)
                    break;
            } else {
                assert_int_equal(status, ERR_MEMORY);
                assert_true(err.text[0] != '\0');
                assert_null(out.text.bytes);
            }
        }
        assert_true(n > 30);
    }
    chat_prompt_output_release(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),      cmocka_unit_test(test_costly_work),
        cmocka_unit_test(test_arguments),  cmocka_unit_test(test_range),
        cmocka_unit_test(test_output),     cmocka_unit_test(test_memory),
        cmocka_unit_test(test_source),     cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_calls),      cmocka_unit_test(test_eval_depth),
        cmocka_unit_test(test_stack),      cmocka_unit_test(test_json_depth),
        cmocka_unit_test(test_many_names), cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
