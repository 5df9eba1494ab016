"""Renders untrusted chat templates in a process of its own, which can be killed and has limits.

Started by models/templates.py, never imported: it knows jinja2 and nothing of this project. Each
line of its input is a request as JSON; each line of its output is {'text'}, {'error'} or {'today'}.
"""

import contextlib
import datetime
import json
import resource
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

MEMORY = 1 << 30  # bytes of address space
SECONDS = 5  # of CPU time, a conversation
LONGEST = 1 << 24  # characters of a rendered conversation


class Today(Exception):
    """A template asks for today's date, and none is pinned."""


class Generation(jinja2.ext.Extension):
    """{% generation %}: what is in it is rendered, as if the tag were not there."""

    tags = {'generation'}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(['name:endgeneration'], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class Names(jinja2.utils.Namespace):
    """A namespace without names that begin with an underscore."""

    def __init__(*args, **kwargs):  # `self` may be a name of a template's
        for name in dict(*args[1:], **kwargs):
            _check_name(name)
        jinja2.utils.Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name, value):
        _check_name(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)


def _check_name(name):
    if isinstance(name, str) and name.startswith('_'):
        raise jinja2.exceptions.SecurityError(f'a namespace has no {name!r}')


class Mappings:
    """`dict`, without the attributes of a type."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


def environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """What chat templates are written for: the names that transformers gives them."""

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters['tojson'] = tojson
    made.globals.update(raise_exception=raise_exception, dict=Mappings(), namespace=Names)
    return made


def clock(date):
    """strftime_now, which knows the pinned date alone."""
    if date is None:
        def refuse(form):
            raise Today
        return refuse
    return datetime.datetime.strptime(date, '%Y-%m-%d').strftime


def rendered(made, templates, asked):
    """One conversation's text."""
    source = asked['template']
    if source not in templates:
        templates[source] = made.from_string(source)
    pieces, length = [], 0
    for piece in templates[source].generate(
            messages=asked['messages'], add_generation_prompt=asked['prompt'],
            strftime_now=clock(asked['date']), tools=None, documents=None, **asked['tokens']):
        length += len(piece)
        if length > LONGEST:
            raise ValueError(f'it renders more than {LONGEST} characters')
        pieces.append(piece)
    return ''.join(pieces)


def main():
    """Answers requests until the input ends."""
    for what, most in (('RLIMIT_AS', MEMORY), ('RLIMIT_FSIZE', 0), ('RLIMIT_CORE', 0)):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, what), (most, most))
    made, templates = environment(), {}
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        until = int(used.ru_utime + used.ru_stime) + 1 + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
        try:
            told = {'text': rendered(made, templates, json.loads(line))}
        except Today:
            told = {'today': True}
        except MemoryError:
            told = {'error': f'it takes more than {MEMORY >> 20} MiB'}
        except Exception as error:  # a template may raise anything
            told = {'error': ' '.join(str(error).split())[:300] or type(error).__name__}
        print(json.dumps(told), flush=True)


if __name__ == '__main__':
    main()
