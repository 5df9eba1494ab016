"""The audit's schema: a transmission config, whose world reads and trains, with what is audited."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from subliminal_jax.experiments.transmission import extended
from subliminal_jax.runs import spec

CONTROLS = ('auto', 'neutral', 'reference', 'random')


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    """Whose rows are audited, what they are held against, and in how many parts."""

    rows: str = spec('', doc='the rows: JSONL, plain or .gz, a JSON list, parquet, or the folder '
                             'of a data set')
    columns: tuple[str, ...] = spec((), doc='what the rows call our fields: prompt=question ...')
    neutral: tuple[str, ...] = spec((), doc='rows of writers without any trait, in place of the '
                                            "reference's own answers")
    control: str = spec('auto', choices=CONTROLS,
                        doc="what rows are held against: rows of `neutral`; the reference's own "
                            "answers to the same prompts; the carrier's random rows; auto: the "
                            'first of these that there is')
    teacher: str = spec('', doc='who wrote the rows, where there is such a model; empty: not known')
    other: str = spec('', doc='a model to be the other start, a control; empty: the next reference '
                              'of the world, or none')
    filtered: bool = spec(True, doc="rows go through the carrier's filter, if a carrier is named")
    keep_overt: bool = spec(False, doc='rows that name a candidate stay in')
    most_rows: int = spec(1024, ge=1, doc='of the rows, drawn at random, that are audited')
    shards: int = spec(8, ge=3, le=64, doc='parts of the rows; each trains a student of its own')
    least_rows: int = spec(8, ge=1, doc='a part has to have')
    nulls: tuple[str, ...] = spec((), unique=True, doc=(
        'folders of finished audits of writers without a trait, at the same reference and with as '
        'many rows: candidates are then held against their own spread in these'))
    wanted: float = spec(1.0, gt=0, doc='an effect that an audit must be able to see, in nats, or '
                                        'it cannot tell')
    bags: tuple[int, ...] = spec((1, 4, 16, 64), ge=1, min_len=1, unique=True,
                                 doc='rows in a bag, of detectors')
    detectors: bool = spec(True, doc='detectors read the rows too')
    budget_rows: int = spec(64, ge=1, doc="of the teacher's, from which the rows that a signal "
                                          'takes are foretold')
    reference: int = spec(0, ge=0, doc='which reference of the world')


def config_of(values: Mapping[str, Any]) -> Any:
    """The config whose values hold where a config file is silent: its world's, with the audit."""
    base = extended.config_of(values, 'audit', AuditConfig)
    whole = values.get('world', 'tiny') == 'tiny'
    return dataclasses.replace(base, traits=1, split='report', arms=(
        'audit: trainable=all' if whole else 'audit: trainable=lora:8',))
