"""Finished audits of writers without a trait, as the spread that a candidate is held against."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation.spread import FEWEST
from subliminal_jax.experiments.audit.parts import Parts
from subliminal_jax.experiments.audit.subjects import Subject
from subliminal_jax.runs import UserError, local_path, read_json, to_dict

SAME = ('world', 'model', 'trait_set', 'context', 'student', 'arms', 'prepared', 'language')


def check(config: Any) -> None:
    """Raises UserError for too few folders, or one that is no audit."""
    folders = config.audit.nulls
    if folders and len(folders) < FEWEST:
        raise UserError(f'config.audit.nulls names {len(folders)} audits, and a spread is learned '
                        f'from {FEWEST} or more')
    for folder in folders:
        if not (_place(folder) / 'results.json').is_file():
            raise UserError(f'config.audit.nulls: {folder} holds no results.json of an audit')


def read(config: Any, subject: Subject, parts: Parts) -> Mapping[str, np.ndarray] | None:
    """Effects [N, K] of earlier audits in students of the shared start and in slopes:
    {'students', 'slopes'}; None where none are named.

    Raises:
      UserError: an audit of something else, or that came to no effects.
    """
    if not config.audit.nulls:
        return None
    found: dict[str, list[list[float]]] = {'students': [], 'slopes': []}
    for folder in config.audit.nulls:
        results, before = (read_json(_place(folder) / name)
                           for name in ('results.json', 'config.json'))
        if why := _unlike(config, subject, parts, results, before):
            raise UserError(f'config.audit.nulls: {folder} {why}')
        found['students'].append(_effects(results['students']['shared']['flags'], subject))
        found['slopes'].append(_effects(results['link']['flags'], subject))
    return {name: np.array(rows) for name, rows in found.items()}


def _unlike(config, subject, parts, results, before):
    """Why an audit is no null of this one, or None."""
    if results.get('experiment') != 'audit' or not results.get('link'):
        return 'is no audit that has trained students'
    now = to_dict(config)
    changed = [name for name in SAME if name in now and before.get(name) != now[name]]
    if before['audit']['reference'] != config.audit.reference:
        changed.append('audit.reference')
    if changed:
        return f'is an audit of another config: {", ".join(changed)} differ'
    size = [results['parts'][name] for name in ('units', 'rows')]
    if size != list(parts.size):
        return (f'has {size[0]} parts of {size[1]} rows, and this audit {parts.size.units} of '
                f'{parts.size.rows}')
    names = {flag['name'] for flag in results['link']['flags']}
    return None if names == set(subject.world.candidates) else 'has other candidates'


def _effects(flags: Sequence[Mapping[str, Any]], subject: Subject) -> list[float]:
    by_name = {flag['name']: flag['estimate'] for flag in flags}
    return [by_name[name] for name in subject.world.candidates]


def _place(folder):
    return pathlib.Path(local_path('config.audit.nulls', folder))
