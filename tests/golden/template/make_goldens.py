"""Writes tests/golden/template/cases.json: templates, variables and what jinja2 makes of them.

    python3 tests/golden/template/make_goldens.py MODEL.gguf > tests/golden/template/cases.json

A seeded sample of fuzz_compare.py's templates, templates of our own over all conversations, and the
template in the default model's file, which is not copied here: the test reads it from the file."""

import json
import random
import struct
import sys
import warnings

import jinja2

from conversations import variables
from fuzz_compare import VARIABLES, Generator, clean
from oracle import NOW, reference

FUZZ_CASES, FUZZ_BYTES_MAX, REFUSED_SHARE = 260, 420, 0.2

OWN = [
    # turns, in the manner of ChatML, with thinking cut from earlier answers
    """{%- set ns = namespace(last=-1) -%}
{%- for m in messages[::-1] -%}
    {%- set i = (messages|length - 1) - loop.index0 -%}
    {%- if ns.last < 0 and m.role == 'user' -%}{%- set ns.last = i -%}{%- endif -%}
{%- endfor -%}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role == 'assistant' and '</think>' in content and loop.index0 < ns.last %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + m.role + '\\n' + content }}
    {%- if m.content is iterable and m.content is not string %}
        {%- for p in m.content if p.type == 'text' %}{{ p.text }}{{ '|' if not loop.last }}{% endfor %}
    {%- endif %}
    {%- if not loop.last or m.role != 'assistant' %}{{ '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}""",
    # tools: declared as a type, called as XML, results grouped
    """{{ bos_token }}
{%- macro type_of(p, depth=0) -%}
    {%- if p.enum is defined -%}{{ p.enum|map('tojson')|join(' | ') }}
    {%- elif p.type == 'array' -%}{{ type_of(p['items'], depth + 1) }}[]
    {%- elif p.type == 'object' -%}{ {%- for k, v in p.get('properties', {}).items() %} {{ k }}{{ '?' if k not in p.required|default([]) }}: {{ type_of(v, depth + 1) }}{{ ',' if not loop.last }}{% endfor %} }
    {%- elif p.type is string -%}{{ {'integer': 'number'}.get(p.type, p.type) }}
    {%- else -%}{{ p.type|join(' or ') }}{%- endif -%}
{%- endmacro %}
{%- if messages and messages[0].role in ['system', 'developer'] -%}
    {%- set system, rest = messages[0].content|trim, messages[1:] -%}
{%- else -%}
    {%- set system, rest = '', messages -%}
{%- endif -%}
{%- if system or tools %}
[SYSTEM]{{ system }}
{%- for tool in tools or [] %}
  {%- set f = tool.function %}

// {{ f.description|replace('\\n', '\\n// ') }}
type {{ f.name }} = {{ type_of(f.parameters) }};
  {%- for name, p in f.parameters.properties|dictsort if p.description is defined %}

//   {{ '%-6s' % name }} {{ p.description|upper }}{% if p.default is defined %} (default {{ p.default|tojson }}){% endif %}
  {%- endfor %}
{%- endfor %}
[/SYSTEM]
{% endif %}
{%- for m in rest %}
    {%- if m.role == 'tool' %}
        {%- if loop.first or loop.previtem.role != 'tool' %}[RESULTS]{% endif %}
        {{- {'id': m.tool_call_id, 'content': m.content}|tojson }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}[/RESULTS]{% else %}, {% endif %}
    {%- elif m.tool_calls %}
        {{- m.content or '' }}
        {%- for c in m.tool_calls %}
            {%- set args = c.function.arguments %}<call name="{{ c.function.name }}">
            {%- if args is mapping %}
                {%- for k, v in args|items %}<{{ k }}>{{ v if v is string else v|tojson }}</{{ k }}>{% endfor %}
            {%- else %}{{ args }}{% endif %}</call>
        {%- endfor %}{{ eos_token }}
    {%- elif m.role not in ('user', 'assistant') %}
        {{- raise_exception('Unknown role: ' + m.role) }}
    {%- else %}
        {{- '[%s]%s' % (m.role|upper, m.content) }}{{ eos_token if m.role == 'assistant' }}
    {%- endif %}
{%- endfor %}
{{- '[ASSISTANT]' if add_generation_prompt }}""",
    # dates, documents, filters over messages
    """{% set users = messages|selectattr('role', 'equalto', 'user')|list %}
{% filter indent(2) %}
{{ strftime_now('%d %B %Y') }}: {{ users|length }} of {{ messages|map(attribute='role')|unique|sort|join(', ') }}
{% endfilter %}
{% set head %}
  {% for d in documents or [] %}
{{ loop.index }}. {{ d.title|default('untitled')|title }}{{ ': ' ~ d.text|string|truncate(12, true, '..', 0) }}
  {% endfor %}
{% endset %}
{{ head }}{% for role, group in messages|groupby('role') %}{{ role }}={{ group|length }};{% endfor %}
{% for m in messages recursive %}{% if loop.index > 3 %}{% break %}{% endif %}
{% generation %}{{ m.content|string|wordcount }}/{{ (m.content|string)[:4]|e }}{% endgeneration %}
{% endfor %}
{{ date_string|d('no date') }} {{ (tools or [])|tojson(indent=2) }}""",
]


def model_template(path):
    """The value of tokenizer.chat_template in a GGUF file."""
    data = open(path, "rb").read(64 << 20)
    key = b"tokenizer.chat_template"
    at = data.index(struct.pack("<Q", len(key)) + key) + 8 + len(key)
    kind, length = struct.unpack_from("<IQ", data, at)
    assert kind == 8
    return data[at + 12:at + 12 + length].decode()


def main(model):
    warnings.simplefilter("ignore")
    texts = [json.dumps(VARIABLES, ensure_ascii=False)] + [v for _, v in variables()]
    cases, refused = [], 0
    seed = 0
    while len(cases) < FUZZ_CASES:
        seed += 1
        source = Generator(random.Random(seed)).template()
        if len(source.encode()) > FUZZ_BYTES_MAX:
            continue
        kind, text = reference(source, texts[0])
        if kind != "OK":
            if refused >= REFUSED_SHARE * FUZZ_CASES:
                continue
            refused += 1
        elif clean(text) or len(text.encode()) > 2 * FUZZ_BYTES_MAX or not text.strip():
            continue
        cases.append([source, 0, text if kind == "OK" else None])
    default = model_template(model)
    for index in range(1, len(texts)):
        for source in OWN + [None]:
            kind, text = reference(source or default, texts[index])
            cases.append([OWN.index(source) if source else -1, index, text if kind == "OK" else None])
    versions = f"jinja2 {jinja2.__version__}, Python {sys.version.split()[0]}"
    dump = lambda x: json.dumps(x, ensure_ascii=False)
    print("{" + f'"made_with": {dump(versions)}, "now": {NOW},')
    print('"templates": [\n' + ",\n".join(dump(t) for t in OWN) + "],")
    print('"variables": [\n' + ",\n".join(dump(t) for t in texts) + "],")
    print('"cases": [\n' + ",\n".join(dump(c) for c in cases) + "]}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
