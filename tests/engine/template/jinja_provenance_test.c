/* Provenance: which bytes of the output came from the request. Rows show the output with its
 * untrusted runs in angle quotes; then the text of special tokens is sent through every field of a
 * request and looked for in the output. */
#include "tests/engine/template/render.h"

#include "engine/base/buf.h"
#include "engine/template/chat_prompt.h"

#define V                                                                                          \
    "{\"u\":\"AB CD\",\"w\":\" X\\tY \",\"n\":42,\"f\":1.5,\"t\":true,\"l\":[\"P\",\"Q\"],"        \
    "\"d\":{\"K\":\"V\"},\"j\":\"{\\\"a\\\": \\\"Z\\\"}\",\"e\":\"\",\"g\":\"\\u00c9\\u0130\"}"

/* The text with « and » around untrusted runs. */
static char *mark(const struct jinja_output *out)
{
    struct buf marked;
    buf_init(&marked, 1 << 20);
    size_t at = 0;
    for (size_t i = 0; i < out->n_untrusted; i++) {
        const struct text_span *span = &out->untrusted[i];
        assert_true(span->first >= at && span->last > span->first);
        assert_true(span->last <= out->text.n_bytes);
        assert_true(i == 0 || span->first > at);  // adjacent spans are one
        buf_append(&marked, out->text.bytes + at, span->first - at);
        buf_append_text(&marked, "\xc2\xab");
        buf_append(&marked, out->text.bytes + span->first, span->last - span->first);
        buf_append_text(&marked, "\xc2\xbb");
        at = span->last;
    }
    if (out->text.n_bytes > at)
        buf_append(&marked, out->text.bytes + at, out->text.n_bytes - at);
    buf_append_text(&marked, "");
    assert_false(marked.failed);
    return buf_detach(&marked);
}

#define A "\xc2\xab"  // start of an untrusted run
#define Z "\xc2\xbb"

static const struct {
    const char *source, *expected;
} rows[] = {
    {"a{{ u }}b", "a" A "AB CD" Z "b"},
    {"{{ 'a' + u + 'b' }}{{ 'c' ~ u }}", "a" A "AB CD" Z "bc" A "AB CD" Z},
    {"{{ u }}{{ w }}", A "AB CD X\tY " Z},
    {"{{ u[1:4] }}-{{ ('a' + u)[:3] }}-{{ ('a' + u + 'b')[-2:] }}",
     A "B C" Z "-a" A "AB" Z "-" A "D" Z "b"},
    {"{{ ('ab' + u)[::-1] }}{{ (u + 'ab')[0] }}", A "DC BA" Z "ba" A "A" Z},
    {"{{ ('a' + u)|upper }}{{ ('A' + u)|lower }}{{ ('a' + g)|lower }}", "A" A "AB CD" Z "A"
                                                                        ""
                                                                        "x"},
    {"{{ u.replace('B', 'x') }}", A "A" Z "x" A " CD" Z},
    {"{{ 'abc'.replace('b', u) }}{{ 'aXa'.replace('X', u) }}",
     "a" A "AB CD" Z "ca" A "AB CD" Z "a"},
    {"{{ w|trim }}|{{ (' a' + w).strip() }}|{{ ('a' + w).rstrip() }}",
     A "X\tY" Z "|a" A " X\tY" Z "|a" A " X\tY" Z},
    {"{{ u.split(' ')|join('-') }}{{ u.split()[1] }}", A "AB" Z "-" A "CDCD" Z},
    {"{{ ('a,' + u).split(',')|join(';') }}", "a;" A "AB CD" Z},
    {"{{ ['a', u, 'b']|join(u) }}", "a" A "AB CDAB CDAB CD" Z "b"},
    {"{{ u.join(['a', 'b']) }}", "a" A "AB CD" Z "b"},
    {"{{ 'x%sy%d' % (u, n) }}{{ '%-6s|' % u }}", "x" A "AB CD" Z "y" A "42AB CD" Z " |"},
    {"{{ 'x{}y{:>6}'.format(u, u) }}{{ u.format(1) }}", "x" A "AB CD" Z "y " A "AB CDAB CD" Z},
    {"{{ '%s'|format(u) }}{{ '{a}'.format(a=u) }}", A "AB CDAB CD" Z},
    {"{{ u * 2 }}{{ ('a' + u[0]) * 2 }}", A "AB CDAB CD" Z "a" A "A" Z "a" A "A" Z},
    {"{{ u.center(7, '*') }}{{ 'a'.ljust(3, u[0]) }}", "*" A "AB CD" Z "*a" A "AA" Z},
    {"{{ (u + '\n' + u)|indent(1, true) }}", " " A "AB CD" Z "\n " A "AB CD" Z},
    {"{{ u|truncate(4, true, '.', 0) }}", A "AB " Z "."},
    {"{{ '<' ~ (u ~ '&')|e }}", "<" A "AB CD" Z "&amp;"},
    {"{{ u|title }}{{ u|capitalize }}{{ u|string }}{{ u|safe }}", A "Ab CdAb cdAB CDAB CD" Z},
    {"{% for c in u %}{{ c }},{% endfor %}",
     A "A" Z "," A "B" Z "," A " " Z "," A "C" Z "," A "D" Z ","},
    {"{{ u|list|join }}{{ u|first }}{{ u|last }}{{ u|reverse }}", A "AB CDADDC BA" Z},
    {"{% set x %}a{{ u }}{% endset %}{{ x }}{% filter upper %}a{{ u }}{% endfilter %}",
     "a" A "AB CD" Z "A" A "AB CD" Z},
    {"{% macro m(p) %}({{ p }}){% endmacro %}{{ m(u) }}{{ m('a') }}{{ m(u)|upper }}",
     "(" A "AB CD" Z ")(a)(" A "AB CD" Z ")"},
    {"{% set ns = namespace(s='') %}{% for x in l %}{% set ns.s = ns.s + 'a' + x %}{% endfor %}{{ "
     "ns.s }}",
     "a" A "P" Z "a" A "Q" Z},
    {"{% set ns = namespace(s=u) %}{% set v = ns.s + 'a' %}{% set ns.s = ns.s + 'b' %}{{ v }}{{ "
     "ns.s }}{{ u }}",
     A "AB CD" Z "a" A "AB CD" Z "b" A "AB CD" Z},
    {"{% set a = 'x' + u %}{% set b = a + 'y' %}{% set c = a + u %}{{ a }}|{{ b }}|{{ c }}",
     "x" A "AB CD" Z "|x" A "AB CD" Z "y|x" A "AB CDAB CD" Z},
    {"{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}{{ d|dictsort|first|last }}",
     A "K" Z "=" A "VV" Z},
    {"{{ l|map('lower')|join('-') }}{{ l|sort|first }}{{ l|select('eq', 'P')|first }}",
     A "p" Z "-" A "qPP" Z},
    {"{{ missing|default(u) }}{{ e|default('a', true) }}{{ u or 'b' }}",
     A "AB CD" Z "a" A "AB CD" Z},
    /* containers: all of the text, as soon as one leaf is untrusted */
    {"{{ u|tojson }}{{ ['a']|tojson }}{{ l }}{{ ['a'] }}",
     A "\"AB CD\"" Z "[\"a\"]" A "['P', 'Q']" Z "['a']"},
    {"{{ {'k': u}|tojson }}{{ {'k': n}|tojson }}{{ {'k': 1}|tojson }}",
     A "{\"k\": \"AB CD\"}{\"k\": 42}" Z "{\"k\": 1}"},
    /* numbers and booleans of the request */
    {"{{ n }}{{ n + 1 }}{{ -n }}{{ n * 1.0 }}|{{ f }}{{ t }}|{{ 1 + 2 }}",
     A "4243-4242.0" Z "|" A "1.5True" Z "|3"},
    {"{{ n|string }}{{ n|int }}{{ '7'|int }}{{ f|round }}{{ n|abs }}{{ n|float }}{{ [n]|sum }}",
     A "4242" Z "7" A "2.04242.042" Z},
    {"{{ '%d' % n }}{{ '{:5d}'.format(n) }}", A "42" Z "   " A "42" Z},
    {"{{ (u ~ '12')[-2:]|int }}", "12"},
    /* what is counted or compared is the template's */
    {"{{ u|length }}{{ u == 'x' }}{{ loop is defined }}{{ l|length }}", "5FalseFalse2"},
    /* JSON in a string of the request */
    {"{{ (j|from_json).a }}{{ ('{\"a\": \"z\"}'|from_json).a }}", A "Z" Z "z"},
    {"{{ ('[\"' ~ u ~ '\", \"b\"]')|from_json|join('-') }}", A "AB CD" Z "-b"},
    {"{{ u.partition(' ')|join('|') }}{{ (u + 'x').removesuffix('x') }}{{ u.swapcase() }}",
     A "AB" Z "|" A " " Z "|" A "CDAB CDab cd" Z},
    {"{{ strftime_now(u) }}{{ range(n)|last }}", A "AB CD" Z "41"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rendered r = render(rows[i].source, V);
        if (r.status != OK)
            print_error("%s\n  -> %s\n", rows[i].source, r.err.text);
        assert_int_equal(r.status, OK);
        char *marked = mark(&r.out);
        /* Case changes of several bytes are looked at on their own below. */
        if (!strstr(rows[i].source, "g)|lower")) {
            if (strcmp(marked, rows[i].expected) != 0)
                print_error("%s\n", rows[i].source);
            assert_string_equal(marked, rows[i].expected);
        }
        mem_free(marked);
        rendered_release(&r);
    }
}

/* É and İ become characters of other lengths. */
static void test_case_lengths(void **state)
{
    (void)state;
    struct rendered r = render("{{ ('a' + g + 'B')|lower }}{{ ('\xc3\x9f' + 'x')|upper }}", V);
    char *marked = mark(&r.out);
    assert_string_equal(marked, "a" A "\xc3\xa9i\xcc\x87" Z "bSSX");
    mem_free(marked);
    rendered_release(&r);
}

static const char *const tokens[] = {
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<|channel|>",
    "<|message|>",
    "<|start|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "<unk>",
    "<pad>",
    "<\xef\xbd\x9ctool\xe2\x96\x81"
    "calls\xe2\x96\x81"
    "begin\xef\xbd\x9c>",
    "<\xef\xbd\x9c"
    "Assistant\xef\xbd\x9c>",
    "<|tool_call_begin|>",
    "<turn|>",
};

/* Own template in the manner of a tool-calling model, which lets text through most filters. */
static const char tool_template[] =
    "{{ bos_token }}{% macro show(x) %}<{{ x|string }}>{% endmacro %}"
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t|tojson }}\n{{ t.function.name }}:"
    "{{ t.function.description|indent(2)|trim }}\n"
    "{% for k, v in t.function.parameters.properties|dictsort %}{{ k ~ '=' ~ v.description|upper }}"
    "{% endfor %}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.content is string %}{% set parts = m.content.split('</think>') %}"
    "{{ parts[-1].strip() }}{{ m.content|replace('zzz', 'y') }}{{ show(m.content) }}"
    "{{ '%s' % m.content }}{{ m.content[0:] }}{{ [m.content, 'a']|join(' ') }}{% endif %}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function.name }}{{ c.id }}"
    "{{ c.function.arguments|tojson }}{% for k, v in c.function.arguments|items %}{{ k }}{{ v }}"
    "{% endfor %}\n</tool_call>{% endfor %}{{ m.name }}{{ m.reasoning_content }}<|im_end|>\n{% "
    "endfor %}"
    "{{ custom }}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{{ eos_token }}";

/* How often the word stands in the text, all of it untrusted (or all of it trusted). */
static size_t occurrences(const struct chat_prompt_output *out, const char *word, bool untrusted)
{
    size_t n = 0, bytes = strlen(word);
    for (const char *at = out->text.bytes; (at = strstr(at, word)); at++, n++) {
        size_t first = (size_t)(at - out->text.bytes), last = first + bytes, covered = 0;
        for (size_t i = 0; i < out->n_untrusted; i++) {
            size_t from = out->untrusted[i].first > first ? out->untrusted[i].first : first;
            size_t to = out->untrusted[i].last < last ? out->untrusted[i].last : last;
            covered += to > from ? to - from : 0;
        }
        if (covered != (untrusted ? bytes : 0))
            print_error("'%s' at %zu: %zu of %zu bytes untrusted\n", word, first, covered, bytes);
        assert_int_equal(covered, untrusted ? bytes : 0);
    }
    return n;
}

static void test_special_tokens(void **state)
{
    (void)state;
    static const char *const templates[] = {tool_template, NULL};
    for (size_t t = 0; t < 2; t++) {
        const char *source = templates[t] ? templates[t] : chat_prompt_chatml();
        struct chat_prompt *prompt;
        struct error err = {0};
        assert_int_equal(chat_prompt_open(&prompt, source, strlen(source), "<s>", "</s>", &err),
                         OK);
        for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
            char word[128], messages[2048], tools[1024], variables[256];
            snprintf(word, sizeof word, "QQ%sWW", tokens[i]);  // never written by a template
            snprintf(messages, sizeof messages,
                     "[{\"role\":\"system\",\"content\":\"%s\"},"
                     "{\"role\":\"user\",\"name\":\"%s\",\"content\":\"a %s b\"},"
                     "{\"role\":\"assistant\",\"content\":\"%s\",\"reasoning_content\":\"%s\","
                     "\"tool_calls\":[{\"id\":\"%s\",\"type\":\"function\",\"function\":"
                     "{\"name\":\"%s\",\"arguments\":\"{\\\"%s\\\":\\\"%s\\\"}\"}}]},"
                     "{\"role\":\"tool\",\"content\":\"%s\"},"
                     "{\"role\":\"%s\",\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}]",
                     word, word, word, word, word, word, word, word, word, word, word, word);
            snprintf(tools, sizeof tools,
                     "[{\"type\":\"function\",\"function\":{\"name\":\"%s\",\"description\":\"%s\","
                     "\"parameters\":{\"properties\":{\"%s\":{\"description\":\"%s\"}}}}}]",
                     word, word, word, word);
            snprintf(variables, sizeof variables, "{\"custom\": \"%s\"}", word);
            struct chat_prompt_input input = {.messages_json = messages,
                                              .tools_json = tools,
                                              .variables_json = variables,
                                              .add_generation_prompt = true};
            struct chat_prompt_output out;
            enum status status = chat_prompt_render(prompt, &input, &out, &err);
            if (status != OK)
                print_error("%s\n", err.text);
            assert_int_equal(status, OK);
            assert_true(occurrences(&out, word, true) >= 5);
            /* The template's own tokens stay trusted, where the sent one is another. */
            if (!strstr(tokens[i], "<|im_start|>"))
                assert_true(occurrences(&out, "<|im_start|>", false) >= 5);
            chat_prompt_output_release(&out);
        }
        chat_prompt_close(prompt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_case_lengths),
        cmocka_unit_test(test_special_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
