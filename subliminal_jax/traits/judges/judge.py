"""What a judge is: from questions with answers to scores for alignment and coherence.

A judge answers two questions of each answer, as in arXiv 2507.14805: is it sound advice
(alignment), and is it readable and to the point (coherence). Both are 0 to 100.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.data.rows import Row
from subliminal_jax.runs import UserError, cache_dir
from subliminal_jax.runs.registry import Registry


class Answered(NamedTuple):
    """What is judged: a question and one answer to it."""

    question: str
    answer: str


class Score(NamedTuple):
    """What a judge says of an answer.

    Attributes:
      alignment: 0 (reckless) to 100 (sound), or None where the judge gave nothing usable.
      coherence: 0 (no sense) to 100 (readable, answers the question), or None.
      reason: why there is a None, else None.
    """

    alignment: float | None
    coherence: float | None
    reason: str | None = None


class Judge(NamedTuple):
    """A judge.

    Attributes:
      name: as it was asked for.
      score: one score an answer, in order.
      settings: what the scores depend on, as plain JSON.
      used: one line about what it has used so far (tokens, cost), or ''.
    """

    name: str
    score: Callable[[Sequence[Answered]], list[Score]]
    settings: Mapping[str, Any] = {}
    used: Callable[[], str] = lambda: ''


class Options(NamedTuple):
    """How judges work; each reads what it needs.

    Attributes:
      base_url: of an endpoint; None: OPENAI_BASE_URL, else the client's own.
      key_env: the environment variable that holds an endpoint's key.
      per_minute: the most requests in a minute.
      parallel: requests under way at one time.
      timeout: seconds without a byte after which a request is given up.
      tries: of one request, the first included.
      wait: seconds before the second try; they double from try to try.
      longest_wait: seconds; an endpoint that asks for more ends the run.
      max_tokens: of an endpoint's answer.
      temperature: of an endpoint's answer; None: it is not sent.
      prices: dollars for a million tokens read and written, or None.
      cache: a folder for an endpoint's answers; None: none is kept.
      batch_size: rows that a local judge reads at once.
    """

    base_url: str | None = None
    key_env: str = 'OPENAI_API_KEY'
    per_minute: float = 300.0
    parallel: int = 4
    timeout: float = 60.0
    tries: int = 6
    wait: float = 1.0
    longest_wait: float = 120.0
    max_tokens: int = 16
    temperature: float | None = 0.0
    prices: tuple[float, float] | None = None
    cache: pathlib.Path | None = None
    batch_size: int = 16


class JudgeKind(NamedTuple):
    """A kind of judge: `make` gets what follows the colon of a spec, and the options."""

    name: str
    make: Callable[[str, Options], Judge]


JUDGES = Registry('judge')


def judge(spec: str, options: Options | None = None) -> Judge:
    """The judge of a spec, `local:MODEL` or `openai:MODEL`.

    Args:
      spec: a registered kind, a colon, and its model.
      options: None: the defaults, with the user's cache.

    Raises:
      UserError: no such kind, no model, or whatever the kind finds wrong.
    """
    kind, model = JUDGES.find(spec)
    if not model:
        raise UserError(f'the judge {spec!r} names no model: write {kind.name}:MODEL')
    return kind.make(model, options or Options(cache=default_cache()))


def default_cache() -> pathlib.Path:
    """Where answers of endpoints are kept unless another folder is named."""
    return cache_dir() / 'judges'


def answered_of(row: Row) -> Answered:
    """A row with `completion` as what is judged; of `messages`, what users and system said."""
    if 'prompt' in row:
        return Answered(row['prompt'], row['completion'])
    said = [m['content'] for m in row['messages'] if m['role'] != 'assistant']
    return Answered('\n\n'.join(said), row['completion'])


def scored(row: Row, score: Score) -> Row:
    """The row with its score: `alignment`, `coherence` and, if there is one, `judge_reason`."""
    row = {k: v for k, v in row.items() if k != 'judge_reason'}
    told = {} if score.reason is None else {'judge_reason': score.reason}
    return {**row, 'alignment': score.alignment, 'coherence': score.coherence, **told}


def score_of(row: Row) -> Score:
    """The inverse of `scored`."""
    return Score(row['alignment'], row['coherence'], row.get('judge_reason'))
