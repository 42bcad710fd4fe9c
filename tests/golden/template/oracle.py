"""python-jinja2 set up as Hugging Face sets it up for chat templates, and the interpreter's renderer
as a process beside it. Written for jinja2 3.1."""

import datetime
import functools
import json
import subprocess

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1767225599  # 2025-12-31 23:59:59 UTC


class Generation(jinja2.ext.Extension):
    """{% generation %}: renders as its body, a frame of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_body")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Environment(ImmutableSandboxedEnvironment):
    """Two additions of ours are added here too: list.append and list.pop."""

    def is_safe_attribute(self, obj, attr, value):
        if isinstance(obj, list) and attr in ("append", "pop"):
            return True
        return super().is_safe_attribute(obj, attr, value)


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError("underscore")


def make_environment():
    env = Environment(trim_blocks=True, lstrip_blocks=True,
                      extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def strftime_now(form):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(
            tzinfo=None).strftime(form)

    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals.update(raise_exception=raise_exception, strftime_now=strftime_now,
                       namespace=Namespace, dict=lambda *a, **k: dict(*a, **k))
    return env


ENV = make_environment()
compiled = functools.lru_cache(maxsize=8)(ENV.from_string)


def reference(source, variables):
    """("OK", text) or ("error", message)."""
    try:
        return "OK", compiled(source).render(**json.loads(variables))
    except RecursionError as e:
        return "limit", str(e)
    except Exception as e:  # whatever a template provokes is a refusal
        return "error", f"{type(e).__name__}: {e}"


class Renderer:
    """The interpreter in a process of its own."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, source, variables):
        """(status, text or message, spans)."""
        source, variables = source.encode(), variables.encode()
        pipe = self.process.stdin
        pipe.write(b"J %d %d %d\n" % (len(source), len(variables), NOW))
        pipe.write(source + variables)
        pipe.flush()
        line = self.process.stdout.readline().split()
        if len(line) != 3:
            raise SystemExit(f"the renderer died: {self.process.wait()}")
        text = self.process.stdout.read(int(line[1])).decode()
        spans = [tuple(map(int, self.process.stdout.readline().split()))
                 for _ in range(int(line[2]))]
        return line[0].decode(), text, spans
