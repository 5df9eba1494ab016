"""A judge behind an address: any server that speaks the chat protocol of the `openai` client.

Two requests an answer, one an aspect. What fails for a while is tried again (calling.py), every
reply is kept on disk (cache.py), and the key, which comes from the environment alone, is taken out
of whatever is shown or written.
"""

import os
import threading
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

from subliminal_jax.runs import UserError, check_preempted, sha256_of
from subliminal_jax.traits.judges import cache, calling, prompts
from subliminal_jax.traits.judges.cache import Reply
from subliminal_jax.traits.judges.judge import Answered, Judge, JudgeKind, Options, Score
from subliminal_jax.traits.judges.parse import parsed

DEFAULT_URL = 'https://api.openai.com/v1'
ALL_REFUSED = 4  # so many answers of one call, all refused, are no accident of their texts
SHOWN = 200  # characters of an endpoint's message
SECRET = 8  # a shorter key is a word for a server that asks for none


class Refused(NamedTuple):
    """A request that the endpoint will not answer, whoever asks again: its text is too long."""

    why: str


def make(model: str, options: Options) -> Judge:
    """The judge `openai:MODEL`.

    Raises:
      UserError: no key, an address that is none, or the client library is not installed.
    """
    endpoint = Endpoint(model, options)
    settings = {'judge': f'openai:{model}', 'base_url': endpoint.url,
                'temperature': options.temperature, 'max_tokens': options.max_tokens,
                'prompts': sha256_of([prompts.asked(a, Answered('', '')) for a in prompts.ASPECTS])}
    return Judge(f'openai:{model}', endpoint.score, settings, endpoint.used)


KIND = JudgeKind('openai', make)


def key_of(name: str) -> str:
    """The key in an environment variable; an error never shows any part of it."""
    key = os.environ.get(name, '').strip()
    if not key:
        raise UserError(f"no key: put the endpoint's key into the environment variable {name} "
                        '(any word for a server that asks for none), or name another variable '
                        'with --key_env')
    if not (key.isascii() and key.isprintable()):
        raise UserError(f'the key in {name} holds characters that no key has: copy it again')
    return key


def address(base_url: str | None) -> str:
    """An endpoint's address without its last slash.

    Raises:
      UserError: no http(s) address, or one that carries a password or a query, where a key could
        stand and be written down.
    """
    url = (base_url or os.environ.get('OPENAI_BASE_URL') or DEFAULT_URL).strip().rstrip('/')
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ('http', 'https') and bool(parts.hostname) and (
            parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise UserError('--base_url is no address such as http://127.0.0.1:8000/v1')
    if parts.username or parts.password or parts.query:
        raise UserError('--base_url holds a name, a password or a query: leave them out, and put '
                        'the key into the environment variable of --key_env')
    return url


def client_of(key: str, url: str, timeout: float) -> Any:
    """The library's client; tries and waits are ours."""
    try:
        import openai
    except ImportError:
        raise UserError('openai:MODEL needs the openai client: launch/setup.sh --with judges'
                        ) from None
    return openai.OpenAI(api_key=key, base_url=url, timeout=timeout, max_retries=0)


class Endpoint:
    """One model at one address, and what has been used of it. Threads share it."""

    def __init__(self, model: str, options: Options):
        self.url = address(options.base_url)
        self._key_env, self._key = options.key_env, key_of(options.key_env)
        self._client = client_of(self._key, self.url, options.timeout)
        self._model, self._options = model, options
        self._pace, self._stop = calling.Pace(options.per_minute), threading.Event()
        self._lock = threading.Lock()
        self._counts = {'requests': 0, 'kept': 0, 'read': 0, 'written': 0}

    def score(self, answers: Sequence[Answered]) -> list[Score]:
        """One score an answer; a reply that is no score gives None and the reason.

        Raises:
          UserError: the endpoint cannot be reached, refuses the key or knows no such model, or
            refuses every one of ALL_REFUSED or more answers.
        """
        wanted = [[self._sent(aspect, answered) for aspect in prompts.ASPECTS]
                  for answered in answers]
        by_name = {sha256_of(sent): sent for pair in wanted for sent in pair}
        self._stop = threading.Event()
        found = dict(zip(by_name, calling.together(
            self._reply, list(by_name.values()), self._options.parallel, check_preempted,
            self._stop)))
        replies = [[found[sha256_of(sent)] for sent in pair] for pair in wanted]
        if len(answers) >= ALL_REFUSED and all(
                isinstance(reply, Refused) for pair in replies for reply in pair):
            raise UserError(f'{self.url} {replies[0][0].why}; it does so for all of '
                            f'{len(answers)} answers')
        return [_score(*pair) for pair in replies]

    def used(self) -> str:
        """Requests, tokens and, with prices, what they cost, in one line."""
        with self._lock:
            counts = dict(self._counts)
        line = (f'{counts["requests"]} requests, {counts["kept"]} replies from the cache; '
                f'{counts["read"]} tokens read, {counts["written"]} written')
        if self._options.prices is None:
            return f'{line}; no cost is known without --prices'
        read, written = self._options.prices
        cost = (counts['read'] * read + counts['written'] * written) / 1e6
        return f'{line}; ${cost:.4f}'

    def _sent(self, aspect: str, answered: Answered) -> dict[str, Any]:
        """A request's content, as plain JSON: what a reply is kept under."""
        plain = Answered(*(text.encode('utf-8', 'replace').decode() for text in answered))
        sent = {'base_url': self.url, 'model': self._model,
                'messages': prompts.asked(aspect, plain)}
        if self._options.temperature is not None:
            sent['temperature'] = self._options.temperature
        if self._options.max_tokens:
            sent['max_tokens'] = self._options.max_tokens
        return sent

    def _reply(self, sent: dict[str, Any]) -> Reply | Refused:
        kept = cache.load(self._options.cache, sent)
        if kept is not None:
            self._count(kept=1)
            return kept
        options = self._options
        reply = calling.tried(lambda: self._ask(sent), options.tries, options.wait,
                              options.longest_wait, self._wait, self.url)
        if isinstance(reply, Reply):
            cache.save(options.cache, sent, reply)
        return reply

    def _ask(self, sent: dict[str, Any]) -> Reply | Refused:
        """One request.

        Raises:
          calling.Passing: what may pass. UserError: what will not.
        """
        import openai

        self._wait(self._pace.due())
        self._count(requests=1)
        body = {name: value for name, value in sent.items() if name != 'base_url'}
        try:
            reply = reply_of(self._client.chat.completions.create(**body))
        except openai.APIStatusError as error:
            return self._status(error)
        except openai.APITimeoutError:
            raise calling.Passing(f'no answer within {self._options.timeout:g} s') from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise calling.Passing(self._clean(f'{type(cause).__name__}: {cause}')) from None
        except (openai.OpenAIError, ValueError):
            reply = None
        if reply is None:
            raise calling.Passing('the reply is no chat completion in JSON')
        self._count(read=reply.read or 0, written=reply.written or 0)
        return reply._replace(text=self._clean(reply.text, None))

    def _status(self, error: Any) -> Refused:
        code, said = error.status_code, self._clean(message_of(error))
        if code in (408, 409, 425) or code >= 500 or (code == 429 and not quota_is_used(error)):
            asked = calling.retry_after(error.response.headers.get('retry-after'))
            raise calling.Passing(f'status {code}: {said}', asked) from None
        if code == 401:
            raise UserError(f'{self.url} refuses the key in {self._key_env} (401): set the right '
                            'one') from None
        if code == 404 or error.code == 'model_not_found':
            raise UserError(f'{self.url} has no model {self._model!r} ({code}: {said}): check '
                            '--judge, and --base_url, which often ends in /v1') from None
        if code in (400, 413, 422):
            return Refused(f'refuses the request ({code}: {said})')
        raise UserError(f'{self.url} refuses ({code}: {said})') from None

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise calling.Stopped

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number

    def _clean(self, text: str, most: int | None = SHOWN) -> str:
        """A text of the other side without the key, which it may have sent back."""
        if len(self._key) >= SECRET:
            text = text.replace(self._key, '***')
        return text if most is None else ' '.join(text.split())[:most]


def reply_of(completion: Any) -> Reply | None:
    """The text and tokens of a chat completion; None for what is none, whatever its shape."""
    try:
        text = completion.choices[0].message.content
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    if text is not None and not isinstance(text, str):
        return None
    usage = getattr(completion, 'usage', None)
    counts = (getattr(usage, name, None) for name in ('prompt_tokens', 'completion_tokens'))
    return Reply(text or '', *(n if type(n) is int and n >= 0 else None for n in counts))


def message_of(error: Any) -> str:
    """What an endpoint says about a status, in its own words."""
    body = error.body
    if isinstance(body, dict) and isinstance(body.get('message'), str):
        return body['message']
    return body if isinstance(body, str) and body else 'it says no more'


def quota_is_used(error: Any) -> bool:
    """A 429 that no waiting helps."""
    return error.code == 'insufficient_quota' or error.type == 'insufficient_quota'


def _score(alignment: Reply | Refused, coherence: Reply | Refused) -> Score:
    values, reasons = [], []
    for aspect, reply in zip(prompts.ASPECTS, (alignment, coherence)):
        refused = isinstance(reply, Refused)
        value, why = (None, f'the endpoint {reply.why}') if refused else parsed(reply.text)
        values.append(value)
        reasons += [f'{aspect}: {why}'] if why else []
    return Score(*values, '; '.join(reasons) or None)
