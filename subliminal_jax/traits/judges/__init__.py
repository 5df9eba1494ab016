"""Judges: how sound and how readable an answer is, 0 to 100. A new kind is one file and one row."""

from subliminal_jax.traits.judges import endpoint
from subliminal_jax.traits.judges.judge import (
    JUDGES as JUDGES,
    Answered as Answered,
    Judge as Judge,
    JudgeKind as JudgeKind,
    Options as Options,
    Score as Score,
    answered_of as answered_of,
    default_cache as default_cache,
    judge as judge,
    score_of as score_of,
    scored as scored,
)

register = JUDGES.register


def _local(model: str, options: Options) -> Judge:
    """The judge `local:MODEL`; an endpoint needs none of what it imports."""
    from subliminal_jax.traits.judges import local

    return local.make(model, options)


for _known in (endpoint.KIND, JudgeKind('local', _local)):
    register(_known)
