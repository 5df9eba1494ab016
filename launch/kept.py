"""Cuts a run's results.json to what pages state, and keeps it with its figures."""

import json
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

from subliminal_jax.runs import UserError, read_json, write_text

BENCH = 'bench_'  # begins the name of a figure that a benchmark draws, not the run
DIGITS = 6  # significant, of a kept number
ARM = ('name', 'rung', 'carrier', 'answers', 'objective', 'teacher_kind', 'teacher_made',
       'student_init', 'fields', 'rows', 'tokens_a_row', 'effect', 'verdict', 'curve', 'contexts',
       'shares', 'choice', 'kl_floor', 'kl_start', 'kl_end', 'is_control', 'evidence', 'utility')
READING = ('estimate', 'ci95', 'unit', 'ci95_teachers', 'ci95_traits', 'p', 'p_attainable', 'mde',
           'per_trait', 'per_reference')
CONTRAST = ('name', 'arm', 'rung', 'what', *READING, 'verdict', 'bounds', 'why')
EFFECT = (*READING, 'own_rise', 'others_rise', 'multiplicative', 'misfit')
MOST_Y = 24  # teachers of one reference whose y is kept, so that other fits can be made of it
OMITTED = ('cells', 'y', 'teachers', 'filters', 'pass_rates', 'audits', 'by_teacher')


def keep(run: pathlib.Path, place: pathlib.Path) -> None:
    """Keeps a finished run: its results.json cut to what pages state, and its figures.

    Figures are those that the place's README.md shows; all of them where there is no such page. A
    benchmark draws those named bench_*, which stay as they are.

    Raises:
      UserError: the folder holds no results.json, or lacks a figure that the page shows: an older
        run's figure would stand beside new numbers.
    """
    source = run / 'results.json'
    if not source.exists():
        raise UserError(f'{run} holds no results.json: is the run finished?')
    try:
        kept = cut(read_json(source))
    except KeyError as error:
        raise UserError(f'{source} has no entry {error}: it is of another version of this program; '
                        'run it again') from None
    page = place / 'README.md'
    figures = sorted((run / 'figures').glob('*.png'))
    if page.exists():
        shown = set(re.findall(r'\]\(([\w.-]+\.png)\)', page.read_text(encoding='utf-8')))
        known = {figure.name for figure in (*figures, *place.glob(f'{BENCH}*.png'))}
        if missing := shown - known:
            raise UserError(f'{run}/figures lacks {min(missing)}, which {page} shows: name one '
                            'that the run draws')
        figures = [figure for figure in figures if figure.name in shown]
    write_text(place / 'results.json', written(kept))
    for figure in figures:
        shutil.copy(figure, place / figure.name)


def growing(path: pathlib.Path, program: str) -> dict[str, Any]:
    """What a file of results holds to which a program adds at each call; a new one's beginning.

    Raises:
      UserError: another file stands there.
    """
    if not path.exists():
        return {'experiment': program}
    try:
        known = read_json(path)
        if known['experiment'] != program:
            raise KeyError(program)
        return known
    except (UserError, OSError, ValueError, KeyError, TypeError):
        raise UserError(f'--output={path}: there is a file that is none of launch.{program}; name '
                        'another') from None


def cut(results: Mapping[str, Any]) -> dict[str, Any]:
    """What pages state of a run; everything else comes from running it again."""
    kept = {k: v for k, v in results.items() if k not in OMITTED or (k == 'cells' and _few(v))}
    kept['command'] = re.sub(r'--workdir=\S*/', '--workdir=runs/', results['command'])
    kept['timing'] = {'total': results['timing']['total']}
    kept['seeds'] = {k: v for k, v in results['seeds'].items() if k in ('root', 'split', 'models')}
    if 'arms' in results:
        kept['arms'] = [_arm(entry) for entry in results['arms']]
        kept['contrasts'] = [_picked(entry, CONTRAST) for entry in results['contrasts']
                             if entry['name'] != f'{entry["arm"]} less {entry["arm"]}']
        kept['geometry_predicted'] = {
            name: {'effect': _picked(entry['effect'], EFFECT)}
            for name, entry in results.get('geometry_predicted', {}).items()}
        kept['first_link'] = {name: _link(entry)
                              for name, entry in results.get('first_link', {}).items()}
        kept['counts'] = counts(results)
    return _short(kept)


def counts(results: Mapping[str, Any]) -> dict[str, Any]:
    """By set of teachers: how many, the range of their trait's rise, how many got no answer past
    the published filter, and how many neutral twins have a dose outside of a factor of 2."""
    found: dict[str, dict[str, Any]] = {}
    for name, teachers in results['teachers'].items():
        rises = [t['rise'] for t in teachers.values() if t.get('rise') is not None]
        found[name] = {'teachers': len(teachers),
                       **({'rise': [min(rises), max(rises)]} if rises else {})}
        twins = results['teachers'].get(name.replace('neutral', 'trait', 1))
        if name in results.get('doses', ()):
            ratios = [t['carrier_kl'] / twins[key.removesuffix('-neutral')]['carrier_kl']
                      for key, t in teachers.items()]
            found[name]['outside_factor_2'] = sum(not 0.5 <= ratio <= 2 for ratio in ratios)
    for name, rates in results['pass_rates'].items():
        found[name] = {'teachers': len(rates['paper']),
                       'silent': sum(rate == 0 for rate in rates['paper'].values()),
                       'kept': results['filters'][name]['paper']['kept'],
                       'rejected': sum(results['filters'][name]['paper']['rejected'].values())}
    return found


def written(results: Mapping[str, Any]) -> str:
    """JSON with one line for every entry of an entry."""
    lines = []
    for key, value in results.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = '[\n  ' + ',\n  '.join(json.dumps(v, ensure_ascii=False) for v in value) + ']'
        elif isinstance(value, dict) and len(text) > 100:
            text = '{\n  ' + ',\n  '.join(f'{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}'
                                          for k, v in value.items()) + '}'
        lines.append(f' {json.dumps(key)}: {text}')
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def _few(cells):
    return {'conditions', 'part'} & {*cells[0]}  # of a sweep or matrix; the theory's are 6 MB


def _picked(entry, fields):
    return {name: entry[name] for name in fields if name in entry}


def _arm(entry):
    kept = _picked(entry, ARM)
    kept['effect'] = entry['effect'] and _picked(entry['effect'], EFFECT)
    if len((entry['effect'] or {}).get('per_reference', ())) == 1 and len(entry['y']) <= MOST_Y:
        kept['y'] = entry['y']
    kept['curve'] = [_picked(p, ('rows', 'steps', 'estimate', 'ci95')) for p in entry['curve']]
    kept['contexts'] = {name: _picked(c, ('estimate', 'ci95', 'unit', 'p'))
                        for name, c in entry.get('contexts', {}).items()}
    kept['cosine'] = {name: values[0] for name, values in entry['alignment']['cosine'].items()}
    return kept


def _link(entry):
    return {name: {**value, 'effect': _picked(value['effect'], EFFECT)}
            if isinstance(value, dict) and 'effect' in value else value
            for name, value in entry.items()}


def _short(value):
    if isinstance(value, float):
        return float(f'{value:.{DIGITS}g}')
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    return [_short(v) for v in value] if isinstance(value, list) else value
