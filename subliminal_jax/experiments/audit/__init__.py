"""Audit: do somebody's rows pass a trait on, to students of this reference?

One command reads rows, holds them against the reference's own answers to the same prompts, looks
for every candidate in them, trains students with their controls, and says which of four verdicts
(results.py) it comes to. The benchmark audits rows of known origin, to see how often it is right.
"""

import math
from typing import Any

from subliminal_jax.experiments.audit.config import config_of
from subliminal_jax.experiments.audit.run import check as check, run as run
from subliminal_jax.report import audit as report
from subliminal_jax.runs import UserError
from subliminal_jax.runs.experiment import Experiment
from subliminal_jax.runs.plan import Stage

TEMPLATE = 30  # tokens of a chat template around a prompt
LOOKED_AT = 64  # rows whose lengths are read
MEASURE = 20  # tokens of a question with its answers, once what they share is read once
BESIDE = 400  # bytes a weight of a small model that a step holds beside weights and moments
SMALL = 0.15  # of a large product's rate, as measured: the matrices of a tiny world are small


def plan(config: Any) -> list[Stage]:
    """What an audit would do, stage by stage; of a pretrained model its settings alone are read."""
    weights, tokens, efficiency = _sizes(config)
    audit = config.audit
    rows, parts = audit.most_rows, audit.shards
    candidates, questions = 12, getattr(getattr(config, 'context', None), 'questions', 40)
    forward, peak = 2 * weights * tokens, 12 * weights + min(BESIDE * weights, 2e9)
    starts = 2 if audit.other or config.world == 'tiny' else 1
    asked = 2 * weights * MEASURE * questions * 2 * parts
    stages = [
        Stage("the reference's own answers", 0 if audit.neutral else
              forward * rows * min(2, config.carrier.attempts), peak, efficiency / 2),
        Stage('link', 3 * forward * 2 * rows + 3 * candidates * asked / (2 * parts), peak,
              efficiency)]
    if audit.detectors:
        stages.append(Stage('detectors', forward * rows * 2 * 4, peak, efficiency))
    whole = config.arms[0].find('lora') < 0
    each = 3 if whole else 2.2  # an adapter needs no gradient of the weights
    return [*stages, *(Stage(f'students, {start} start', each * forward * 2 * rows + asked, peak,
                             efficiency) for start in ('shared', 'other')[:starts])]


def _sizes(config: Any) -> tuple[float, float, float]:
    """(weights, tokens of a row, efficiency)."""
    from subliminal_jax.models.params import count_params

    if config.world == 'tiny':
        from subliminal_jax.experiments.transmission.worlds import tiny

        return count_params(tiny.architecture(config.language, 'main')), 16.0, SMALL
    from subliminal_jax.models import loading

    found = loading.describe(config.model.name, config.model.chat_date or None,
                             config.model.tokenizer or None)
    return (count_params(found.config), _row_tokens(config, found.tokenizer), 1.0)


def _row_tokens(config, tokenizer):
    """Tokens of a row with its template, mean of the first that can be audited."""
    from subliminal_jax.data import rows as files, sources
    from subliminal_jax.experiments.audit import intake

    path, lengths, bad, odd = config.audit.rows, [], [], None
    for record, row, why in files.judged(sources.records(path), intake.trouble, repeats=True,
                                         columns=intake.columns_of(config)):
        odd = odd or row
        if why:
            bad = bad or [files.BadLine(record.number, why)]
            continue
        own = intake.single(row)
        lengths.append(sum(len(tokenizer.encode(own[k])) for k in ('prompt', 'completion')))
        if len(lengths) == LOOKED_AT:
            break
    files.check_any(path, len(lengths), bad, odd)
    if not lengths:
        raise UserError(f'{path} holds no row of one prompt and its answer; line {bad[0].line}: '
                        f'{bad[0].why}')
    return TEMPLATE + math.fsum(lengths) / len(lengths)


EXPERIMENT = Experiment(config_of, plan, run, report.write, check=check, estimate=plan)
