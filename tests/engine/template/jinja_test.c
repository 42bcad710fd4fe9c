/* The language: each feature as a row of template, variables and expected text. The expectations
 * were checked against jinja2 by tests/golden/template; here they stay readable one by one. */
#include "tests/engine/template/render.h"

#define V                                                                                          \
    "{\"s\":\"Hello World\",\"n\":7,\"f\":-2.5,\"b\":true,\"z\":null,\"xs\":[3,1,2],"              \
    "\"ds\":[{\"r\":\"user\",\"c\":\"a\"},{\"r\":\"tool\",\"c\":\"b\"}],"                          \
    "\"d\":{\"b\":1,\"a\":[1,\"\\u00e9\",null],\"items\":\"own\"},\"u\":\"\xc3\xa9t\xc3\xa9 "      \
    "\xf0\x9f\x98\x80\",\"big\":123456789012345678901234567890,\"fl\":1.0,\"e\":1e2}"

struct row {
    const char *source, *expected;
};

static const struct row rows[] = {
    /* text, white space control */
    {"plain", "plain"},
    {"a\n", "a"},
    {"a\n\n", "a\n"},
    {"a\r\nb\rc", "a\nb\nc"},
    {"{% if b %}\nx\n{% endif %}\ny", "x\ny"},
    {"  {% if b %}\n  x\n  {% endif %}\ny", "  x\ny"},
    {"a  {% if b %}x{% endif %}", "a  x"},
    {"  {%+ if b %}x{% endif %}", "  x"},
    {"{% if b +%}\nx{% endif %}", "\nx"},
    {"a \n {%- if b -%} \n x {%- endif %}", "ax"},
    {"a {{- s -}} b", "aHello Worldb"},
    {"  {{ n }}", "  7"},
    {"a\n  {# c #}\nb", "a\nb"},
    {"a {#- c -#} b", "ab"},
    {"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
    {"{%- raw -%}  {% if %}  {%- endraw -%} y", "{% if %}y"},
    {"{{ '}}' ~ '%}' }}", "}}%}"},
    {"{{ {'a': {'b': 1}}.a.b }}", "1"},
    /* statements */
    {"{% if n > 7 %}a{% elif n == 7 %}b{% else %}c{% endif %}", "b"},
    {"{% for x in xs %}{{ x }},{% endfor %}", "3,1,2,"},
    {"{% for x in [] %}x{% else %}none{% endfor %}", "none"},
    {"{% for x in [1] %}{% break %}{% else %}e{% endfor %}", "e"},
    {"{% for x in xs if x > 1 %}{{ loop.index }}{{ x }}{{ loop.length }} {% endfor %}", "132 222 "},
    {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
     "b=1;a=[1, '\xc3\xa9', None];items=own;"},
    {"{% for x in xs %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}"
     "{% endif %}{% endfor %}",
     "32"},
    {"{% for x in xs %}{{ loop.first }}{{ loop.last }}{{ loop.index0 }}{{ loop.revindex }}"
     "{{ loop.previtem }}{{ loop.nextitem }}|{% endfor %}",
     "TrueFalse031|FalseFalse1232|FalseTrue211|"},
    {"{% for x in [[1, [2]], [3]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}",
     "123"},
    {"{% set x = 1 %}{% for i in xs %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "3121"},
    {"{% if b %}{% set x = 5 %}{% endif %}{{ x }}", "5"},
    {"{% set ns = namespace(t=0) %}{% for x in xs %}{% set ns.t = ns.t + x %}{% endfor %}{{ ns.t "
     "}}",
     "6"},
    {"{% set a, (c, d) = 1, [2, 3] %}{{ a }}{{ c }}{{ d }}", "123"},
    {"{% set x %}a{{ n }}{% endset %}{{ x }}{{ x is string }}", "a7True"},
    {"{% set x | upper | trim %} ab {% endset %}{{ x }}", "AB"},
    {"{% filter upper %}ab{{ s }}{% endfilter %}", "ABHELLO WORLD"},
    {"{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}{{ x }}", "3"},
    {"{% generation %}a{% set q = 1 %}{% endgeneration %}{{ q }}", "a"},
    {"{% macro m(a, b='x', c=b) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}"
     "{{ m(b=2, a=1) }}",
     "1xx1x3122"},
    {"{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, q=4) }}",
     "1(2, 3){'q': 4}"},
    {"{% macro m(a) %}[{{ caller(a) }}]{% endmacro %}{% call(x) m(5) %}<{{ x }}>{% endcall %}",
     "[<5>]"},
    {"{% macro fact(k) %}{{ 1 if k < 2 else k * fact(k - 1)|int }}{% endmacro %}{{ fact(5) }}",
     "120"},
    {"{% set y = 1 %}{% macro m() %}{{ y }}{% endmacro %}{% set y = 2 %}{{ m() }}", "2"},
    {"{% for i in xs %}{{ n }}{% endfor %}{% set n = 5 %}{{ n }}", "5"},
    {"{% print 1, 'a' %}", "1a"},
    /* expressions */
    {"{{ 1 + 2 * 3 - 4 // 3 % 5 }}", "6"},
    {"{{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ -2 ** 2 }} {{ 2 ** -1 }}",
     "3.5 -4 2 1024 4 0.5"},
    {"{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 == true }}", "True False True"},
    {"{{ z or 'x' }} {{ n and 'y' }} {{ not z }}", "x y True"},
    {"{{ 'a' if z else 'b' }}{{ 'c' if z }}", "b"},
    {"{{ 'a' 'b' ~ 1 ~ none ~ 1.0 }}", "ab1None1.0"},
    {"{{ 'x' in 'axb' }} {{ 4 not in xs }} {{ 'b' in d }}", "True True True"},
    {"{{ s[0] }}{{ s[-1] }}{{ s[1:4] }}{{ s[::-1] }}{{ s[:-6] }}{{ s[99:] }}",
     "HdelldlroW olleHHello"},
    {"{{ u[1] }}{{ u[-1] }}{{ u|length }}{{ u[::-1] }}", "t\xf0\x9f\x98\x80"
                                                         "5\xf0\x9f\x98\x80 \xc3\xa9t\xc3\xa9"},
    {"{{ xs[1:] + [9] }} {{ (1,) * 2 }} {{ (1, 2)[::-1] }}", "[1, 2, 9] (1, 1) (2, 1)"},
    {"{{ d['items'] }} {{ d.items is callable }} {{ d.b }} {{ d['zz'] is defined }}",
     "own True 1 False"},
    {"{{ ds.0.r }} {{ ds[1]['c'] }}", "user b"},
    {"{{ 'a\\n\\t\\'\\\"\\x41\\u00e9\\\\' }}", "a\n\t'\"A\xc3\xa9\\"},
    {"{{ 0x1f + 0b11 + 0o7 + 1_000 }} {{ 1.5e3 }}", "1041 1500.0"},
    {"{{ true }}{{ False }}{{ none }}{{ None is none }}", "TrueFalseNoneTrue"},
    {"{{ {'a': 1, 2: 'b'} }} {{ [] }} {{ () }} {{ (1,) }}", "{'a': 1, 2: 'b'} [] () (1,)"},
    {"{{ dict(a=1, **{'b': 2}) }} {{ [*1] if false }}", NULL},
    {"{{ missing }}{{ missing is defined }}{{ missing|default('d') }}{{ d.zz }}", "Falsed"},
    {"{{ z|default('x') }}{{ z|default('x', true) }}", "Nonex"},
    {"{{ missing or 'x' }}{{ missing == nothing }}{{ missing|length }}{{ [missing] }}",
     "xTrue0[Undefined]"},
    /* numbers */
    {"{{ big }} {{ fl }} {{ e }} {{ f }}", "123456789012345678901234567890 1.0 100.0 -2.5"},
    {"{{ 1e16 }} {{ 1e15 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 0.0001 }} {{ -0.0 }}",
     "1e+16 1000000000000000.0 0.30000000000000004 1e-05 0.0001 -0.0"},
    {"{{ '42'|int }} {{ '4.7'|int }} {{ 'x'|int(9) }} {{ 'ff'|int(base=16) }} {{ '1e3'|float }}",
     "42 4 9 255 1000.0"},
    {"{{ 2.5|round }} {{ 3.5|round|int }} {{ 2.345|round(2) }} {{ 2.1|round(method='ceil') }}",
     "2.0 4 2.35 3.0"},
    /* filters */
    {"{{ '  a '|trim }}{{ 'xax'|trim('x') }}{{ 'aB'|upper }}{{ 'aB'|lower }}{{ 'ab cd'|title }}"
     "{{ 'aB'|capitalize }}",
     "aaABabAb CdAb"},
    {"{{ xs|join(', ') }} {{ ds|join('|', attribute='r') }} {{ 'abc'|join('-') }}",
     "3, 1, 2 user|tool a-b-c"},
    {"{{ xs|sort }} {{ xs|sort(reverse=true) }} {{ xs|first }}{{ xs|last }} {{ xs|sum }} {{ xs|min "
     "}}"
     "{{ xs|max }}",
     "[1, 2, 3] [3, 2, 1] 32 6 13"},
    {"{{ ds|map(attribute='r')|list }} {{ ['a']|map('upper')|join }} {{ xs|map('string')|list }}",
     "['user', 'tool'] A ['3', '1', '2']"},
    {"{{ ds|selectattr('r', 'equalto', 'tool')|list|length }}{{ ds|rejectattr('r', 'eq', "
     "'x')|list|length }}"
     "{{ xs|select('odd')|list }}{{ xs|reject('gt', 1)|list }}{{ [0, 1]|select|list }}",
     "12[3, 1][1][1]"},
    {"{{ d|dictsort }} {{ d|items|list|length }} {{ ['b', 'A', 'a']|sort }} {{ [1, 1, "
     "2]|unique|list }}",
     "[('a', [1, '\xc3\xa9', None]), ('b', 1), ('items', 'own')] 3 ['A', 'a', 'b'] [1, 2]"},
    {"{{ ['b', 'A', 'a']|unique|list }} {{ ds|groupby('r')|list|length }} {{ xs|reverse|list }}"
     " {{ xs|batch(2)|list }} {{ xs|slice(2)|list }}",
     "['b', 'A'] 2 [2, 1, 3] [[3, 1], [2]] [[3, 1], [2]]"},
    {"{{ 'a\nb\n\nc'|indent(2) }}|{{ 'a\nb'|indent('> ', first=true) }}", "a\n  b\n\n  c|> a\n> b"},
    {"{{ 'aXbX'|replace('X', '-') }}{{ 'aXbX'|replace('X', '-', 1) }}", "a-b-a-bX"},
    {"{{ '<a>'|e }} {{ '<a>'|safe }} {{ ('<a>'|safe) + '<' }} {{ ('<a>'|safe) ~ '<' }}",
     "&lt;a&gt; <a> <a>&lt; <a><"},
    {"{{ '%s-%d-%.2f' % ('a', 3, 1.5) }} {{ '%s'|format(z) }} {{ '{} {a!r:>5}'.format(1, a='x') }}",
     "a-3-1.50 None 1   'x'"},
    {"{{ 'abc def ghi'|truncate(9, leeway=0) }} {{ 'a b'|wordcount }} {{ 'ab'|center(6) }}|",
     "abc... 2   ab  |"},
    /* tojson as json.dumps */
    {"{{ d|tojson }}", "{\"b\": 1, \"a\": [1, \"\xc3\xa9\", null], \"items\": \"own\"}"},
    {"{{ d|tojson(ensure_ascii=true, separators=(',', ':')) }}",
     "{\"b\":1,\"a\":[1,\"\\u00e9\",null],\"items\":\"own\"}"},
    {"{{ d|tojson(indent=2, sort_keys=true) }}",
     "{\n  \"a\": [\n    1,\n    \"\xc3\xa9\",\n    null\n  ],\n  \"b\": 1,\n  \"items\": "
     "\"own\"\n}"},
    {"{{ '<>&\\'\"\n\\x7f\\x01'|tojson }}{{ [1.0, big, true, 1e100]|tojson }}",
     "\"<>&'\\\"\\n\x7f\\u0001\"[1.0, 123456789012345678901234567890, true, 1e+100]"},
    {"{{ '{\"a\": [1, 2.50]}'|from_json }}", "{'a': [1, 2.5]}"},
    /* tests */
    {"{{ s is string }}{{ n is number }}{{ n is integer }}{{ f is float }}{{ b is boolean }}"
     "{{ d is mapping }}{{ xs is sequence }}{{ s is iterable }}{{ z is none }}{{ n is odd }}",
     "TrueTrueTrueTrueTrueTrueTrueTrueTrueTrue"},
    {"{{ n is divisibleby 7 }}{{ n is in [7] }}{{ n is not defined }}{{ b is true }}{{ b is sameas "
     "true }}"
     "{{ n is eq(7) }}",
     "TrueTrueFalseTrueTrueTrue"},
    /* methods */
    {"{{ 'a,b,c'.split(',') }}{{ 'a,b,c'.split(',', 1) }}{{ ' a  b '.split() }}{{ "
     "'a-b'.rsplit('-')[-1] }}",
     "['a', 'b', 'c']['a', 'b,c']['a', 'b']b"},
    {"{{ '\\u2003 a\\xa0'.strip() }}|{{ 'xyx'.strip('x') }}|{{ ' a'.lstrip() }}|{{ 'a '.rstrip() "
     "}}|",
     "a|y|a|a|"},
    {"{{ s.startswith('He') }}{{ s.endswith(('x', 'ld')) }}{{ s.find('o') }}{{ s.count('l') }}"
     "{{ s.replace('l', 'L', 1) }}{{ s.upper() }}{{ s.title() }}",
     "TrueTrue43HeLlo WorldHELLO WORLDHello World"},
    {"{{ d.get('b') }}{{ d.get('zz') }}{{ d.get('zz', 3) }}{{ d.keys()|list }}",
     "1None3['b', 'a', 'items']"},
    {"{% set l = [1] %}{% set _ = l.append(2) %}{{ l }}{{ l.pop(0) }}{{ l }}", "[1, 2]1[2]"},
    {"{{ '\xce\xa3\xce\x91\xce\xa3'.lower() }}{{ 'stra\xc3\x9f\x65'.upper() }}",
     "\xcf\x83\xce\xb1\xcf\x82STRASSE"},
    /* globals */
    {"{{ range(3)|list }}{{ range(5, 0, -2)|list }}{{ range(3) }}",
     "[0, 1, 2][5, 3, 1]range(0, 3)"},
    {"{{ strftime_now('%Y-%m-%d %H:%M:%S %d %b %Y %B %A %j %%') }}",
     "2025-12-31 23:59:59 31 Dec 2025 December Wednesday 365 %"},
    {"{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
     "abab"},
    {"{% set j = joiner('-') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}", "3-1-2"},
    /* generators run once */
    {"{% set g = xs|map('string') %}{{ g|list }}{{ g|list }}", "['3', '1', '2'][]"},
    {"{% set l = [1] %}{% set g = l|map('string') %}{{ g|list }}{% set _ = l.append(2) %}{{ g|list "
     "}}",
     "['1'][]"},
    {"{{ 'a'[] is defined }}", "False"},
    /* a filter nobody knows, in a branch that is not reached */
    {"{% if false %}{{ s|nosuch }}{% endif %}ok", "ok"},
};

static void test_language(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rendered r = render(rows[i].source, V);
        if (rows[i].expected == NULL) {
            assert_int_not_equal(r.status, OK);
        } else {
            if (r.status != OK || strcmp(rendered_text(&r), rows[i].expected) != 0)
                print_error("%s\n  -> %s\n", rows[i].source,
                            r.status ? r.err.text : rendered_text(&r));
            assert_int_equal(r.status, OK);
            assert_string_equal(rendered_text(&r), rows[i].expected);
        }
        rendered_release(&r);
    }
}

static const struct {
    const char *source;
    enum status status;
    const char *message;  // part of it
} failures[] = {
    /* at open, with the line */
    {"{{ 1 +", ERR_FORMAT, "line 1: unexpected end of template"},
    {"a\n{% if x %}\nb", ERR_FORMAT, "'endif' is missing"},
    {"\n\n{% endfor %}", ERR_FORMAT, "line 3: unknown tag 'endfor'"},
    {"{% frobnicate %}", ERR_FORMAT, "unknown tag 'frobnicate'"},
    {"{{ 'abc }}", ERR_FORMAT, "not closed"},
    {"{# abc", ERR_FORMAT, "end of comment"},
    {"{% raw %}abc", ERR_FORMAT, "end of raw"},
    {"{{ (1 }}", ERR_FORMAT, "bracket"},
    {"{{ }}", ERR_FORMAT, "expected an expression"},
    {"{{ a ? b }}", ERR_FORMAT, "unexpected character '?'"},
    {"{% set 1 = 2 %}", ERR_FORMAT, "cannot assign"},
    {"{% break %}", ERR_FORMAT, "outside of a loop"},
    {"{% for loop in x %}{% endfor %}", ERR_FORMAT, "'loop'"},
    {"{% macro none() %}{% endmacro %}", ERR_FORMAT, "cannot assign to 'none'"},
    {"{% macro m(a, a) %}{% endmacro %}", ERR_FORMAT, "repeated"},
    {"{{ f(a=1, a=2) }}", ERR_FORMAT, "repeated"},
    {"{{ 1 "
     "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97"
     "\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5 }}",
     ERR_FORMAT,
     "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97"
     "\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5'"},
    {"{{ f(a=1, 2) }}", ERR_FORMAT, "positional argument follows"},
    {"\n{% include 'x' %}", ERR_UNSUPPORTED, "line 2: tag 'include' is not supported"},
    {"{% import 'x' as y %}", ERR_UNSUPPORTED, "'import'"},
    {"{% from 'x' import y %}", ERR_UNSUPPORTED, "'from'"},
    {"{% extends 'x' %}", ERR_UNSUPPORTED, "'extends'"},
    {"{% block x %}{% endblock %}", ERR_UNSUPPORTED, "'block'"},
    {"{% autoescape true %}{% endautoescape %}", ERR_UNSUPPORTED, "'autoescape'"},
    {"{% do x.append(1) %}", ERR_UNSUPPORTED, "'do'"},
    {"{{ x|urlize }}", ERR_UNSUPPORTED, "filter 'urlize'"},
    {"{{ x|nosuch }}", ERR_UNSUPPORTED, "unknown filter 'nosuch'"},
    {"{{ x is nosuch }}", ERR_UNSUPPORTED, "unknown test 'nosuch'"},
    {"{{ lipsum() }}", ERR_UNSUPPORTED, "function 'lipsum'"},
    {"{{ x.encode() }}", ERR_UNSUPPORTED, "method 'encode'"},
    /* at render */
    {"\n{{ missing.x }}", ERR_INVALID, "line 2: 'missing' is undefined"},
    {"{{ d.zz.y }}", ERR_INVALID, "'dict' has no attribute 'zz'"},
    {"{{ missing + 1 }}", ERR_INVALID, "'missing' is undefined"},
    {"{{ missing() }}", ERR_INVALID, "'missing' is undefined"},
    {"{{ missing < 1 }}", ERR_INVALID, "'missing' is undefined"},
    {"{{ missing|tojson }}", ERR_INVALID, "no JSON form"},
    {"{{ raise_exception('No ' ~ n) }}", ERR_INVALID, "No 7"},
    {"{{ 'a' + 1 }}", ERR_INVALID, "unsupported operand types for +: 'str' and 'int'"},
    {"{{ 1 / 0 }}", ERR_INVALID, "division by zero"},
    {"{{ 1 < 'a' }}", ERR_INVALID, "'<' not supported between 'int' and 'str'"},
    {"{% for x in 5 %}{% endfor %}", ERR_INVALID, "'int' object is not iterable"},
    {"{% set a, c = [1] %}", ERR_INVALID, "cannot unpack"},
    {"{% set d.x = 1 %}", ERR_INVALID, "non-namespace"},
    {"{{ {[]: 1} }}", ERR_INVALID, "unhashable type: 'list'"},
    {"{{ s.nosuch() }}", ERR_INVALID, "'str' has no attribute 'nosuch'"},
    {"{{ s() }}", ERR_INVALID, "'str' object is not callable"},
    {"{{ s.strip(1) }}", ERR_INVALID, "a string is expected"},
    {"{{ s|trim(chars='x', q=1) }}", ERR_INVALID, "unexpected keyword"},
    {"{{ xs.insert(0, 1) }}", ERR_INVALID, "not allowed"},
    {"{{ d.update({}) }}", ERR_INVALID, "not allowed"},
    {"{{ s.__class__.__mro__ }}", ERR_INVALID, "not allowed"},
    {"{% set ns = namespace() %}{% set ns.__x = 1 %}", ERR_INVALID, "__x"},
    {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", ERR_INVALID, "not more than 1"},
    {"{% macro m(a) %}{% endmacro %}{{ m(q=2) }}", ERR_INVALID, "no keyword argument 'q'"},
    {"{{ 9223372036854775807 + 1 }}", ERR_LIMIT, "64 bits"},
    {"{{ big + 1 }}", ERR_LIMIT, "64 bits"},
    {"{{ xs|map('nosuch')|list }}", ERR_UNSUPPORTED, "unknown filter 'nosuch'"},
    {"{% if true %}{{ s|nosuch }}{% endif %}", ERR_UNSUPPORTED, "unknown filter 'nosuch'"},
};

static void test_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        struct rendered r = render(failures[i].source, V);
        if (r.status != failures[i].status || !strstr(r.err.text, failures[i].message))
            print_error("%s\n  -> %s: %s\n", failures[i].source, status_name(r.status), r.err.text);
        assert_int_equal(r.status, failures[i].status);
        assert_non_null(strstr(r.err.text, failures[i].message));
        rendered_release(&r);
    }
}

/* Every prefix of a template is refused or rendered, never more (sanitizers watch). */
static void test_prefixes(void **state)
{
    (void)state;
    static const char source[] =
        "{%- macro m(a, b='x') -%}{{ a|default(b) ~ caller() }}{% endmacro %}{# c #}\n"
        "{% for k, v in d.items() if k is not none recursive %}{% raw %}{{{% endraw %}"
        "{{ loop.index if v[1:-1:2] else {'a': [1.5e3, 0x1f, 'q\\u00e9']}['a'] }}{% break %}"
        "{% endfor %}{% call m(*[1], **{'b': 2}) %}z{% endcall %}";
    for (size_t n = 0; n < sizeof source; n++) {
        struct rendered r = render_bytes(source, n, V);
        assert_true(r.status == OK || r.err.text[0]);
        rendered_release(&r);
    }
}

static void test_mentions(void **state)
{
    (void)state;
    struct jinja_template *code;
    static const char source[] = "{% if m['role'] == 'a developer' or x.tool_calls %}{% endif %}";
    assert_int_equal(jinja_open(&code, source, sizeof source - 1, NULL), OK);
    assert_true(jinja_mentions(code, "developer"));
    assert_true(jinja_mentions(code, "tool_calls"));
    assert_true(jinja_mentions(code, "m"));
    assert_false(jinja_mentions(code, "system"));
    jinja_close(code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_language),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_mentions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
