"""Chat templates, which are untrusted: rendered by a process with limits (template_worker.py)."""

import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from subliminal_jax.runs import UserError, option

WORKER = pathlib.Path(__file__).with_name('template_worker.py')


class _Renderer:
    """The process, started when it is first asked, and again after a template has killed it.

    It imports jinja2 alone, in a quarter of a second; a conversation then takes a tenth of a
    millisecond beside the rendering.
    """

    def __init__(self):
        self.process, self.lock = None, threading.Lock()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request; {'error'} where the process dies of it."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(
                    [sys.executable, '-I', str(WORKER)], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
            process, answer = self.process, b''
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(request).encode() + b'\n')
                    process.stdin.flush()
                    answer = process.stdout.readline()
            except BaseException:  # stopped in the middle: the next answer would be this one's
                process.kill()
                raise
            if answer:
                return json.loads(answer)
            if process.wait() == -signal.SIGXCPU:
                return {'error': 'it takes too much time'}
            return {'error': f'it ends the process that renders it ({process.returncode})'}


_RENDERER = _Renderer()


def render(template: str, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool,
           date: str | None, tokens: Mapping[str, str]) -> str:
    """A conversation's text.

    Args:
      template: a Jinja template, untrusted.
      messages: {'role', 'content'} each.
      add_generation_prompt: end where the assistant's answer begins.
      date: YYYY-MM-DD, or None: a template that asks for today's is refused.
      tokens: names that the template may use, such as bos_token, with their text.

    Raises:
      UserError: the template fails, takes more time, memory or text than it may, or asks for
        today's date.
    """
    told = _RENDERER.ask({'template': template, 'messages': [dict(m) for m in messages],
                          'prompt': add_generation_prompt, 'date': date, 'tokens': dict(tokens)})
    if told.get('today'):
        raise UserError("the chat template puts today's date into the context, which would change "
                        'results from day to day: pin it with '
                        f'{option("chat_date", "model.chat_date")}=YYYY-MM-DD')
    if 'error' in told:
        raise UserError(f'the chat template refuses this conversation: {told["error"]}')
    try:
        told['text'].encode()
    except UnicodeEncodeError:
        raise UserError('the chat template refuses this conversation: it renders half a character '
                        '(a lone surrogate)') from None
    return told['text']
