"""results.json of detection: AUROC of every detector beside its nulls, its control, and what the
same rows transmit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.detection import areas as measures, pairs as pairing
from subliminal_jax.detection.areas import Areas, Beside
from subliminal_jax.detection.detectors import DETECTORS
from subliminal_jax.detection.pairs import TASKS, Pair, Writer
from subliminal_jax.evaluation import intervals
from subliminal_jax.experiments.detection.kinds import OVERT, Kind
from subliminal_jax.experiments.transmission import results as transmitted

PUBLISHED = {
    'source': 'arXiv 2507.14805 (first two); a public rerun (third and fourth); the page of '
              'Distill2Detect (last)',
    'prompted': 'which of two answers is of the animal\'s teacher: 47.5-53.3 %, chance 50 %',
    'in_context': 'up to 10,000 rows in the context: no transfer',
    'detector': 'AUROC .568 on one sequence, .810 on a bag of 16',
    'gradient': 'beats difficulty baselines by at most .009 AUROC (7B)',
    'trained_prefix': 'detection rises from 13-37 % to 70-100 %',
}
ALL = 'all'
Found = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, float | None]]]]]


def body(run: Any, own: Any, kinds: Sequence[Kind], writers: Mapping[str, Sequence[Writer]],
         found: Found, trained: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's own part of results.json.

    Args:
      run: the transmission run that made teachers, rows and students.
      own: the config's `detection`.
      kinds: whose rows were told apart.
      writers: of each kind, by name.
      found: AUROC by kind, task, detector, bag and pair (`stages.detector_stages`).
      trained: what students said, by arm.
      before: what was read before there were students.
    """
    arms = {arm.name: transmitted.arm_entry(run, arm, trained) for arm in run.arms}
    pairs = {kind: pairing.paired(own_writers) for kind, own_writers in writers.items()}
    entries = [entry for kind in kinds for task in found[kind.name]
               for entry in _entries(kind, task, pairs[kind.name][task], found[kind.name][task],
                                     transmission_of(kind, pairs[kind.name][task], arms),
                                     own.verdict_bag)]
    said = {kind.name: {task: verdicts_of(pairs[kind.name][task], found[kind.name][task],
                                          found[OVERT].get(task, {}), own.verdict_bag)
                        for task in found[kind.name]}
            for kind in kinds if not kind.overt}
    return {
        **transmitted.about(run), 'bags': list(own.bags), 'verdict_bag': own.verdict_bag,
        'transmission': [_short(entry) for entry in arms.values()], 'detectors': entries,
        'verdicts': said, 'gate': before.get('gate', {}),
        'rows': {kind.name: run.rows(kind.arm) for kind in kinds},
        'teachers': transmitted.teacher_facts(run),
        'verdict': verdict(kinds, said, entries, arms, own.verdict_bag),
        'headline': headline(kinds, entries, own.verdict_bag)}


def _short(entry):
    keep = ('name', 'teacher_kind', 'rung', 'rows', 'verdict', 'fields')
    effect = entry['effect']
    return {**{name: entry[name] for name in keep}, **{name: effect[name] for name in (
        'estimate', 'ci95', 'p', 'unit', 'per_teacher')}}


def of_bag(areas: Mapping[str, Mapping[str, Mapping[str, float | None]]], name: str, bag: int
           ) -> Areas:
    """A detector's AUROC by pair at a bag, of pairs in which it was able."""
    return {pair: value for pair, value in areas.get(name, {}).get(str(bag), {}).items()
            if value is not None}


def beside_nulls(areas: Mapping[str, Any], name: str, bag: int, unit: Mapping[str, str],
                 only: Sequence[str] | None = None) -> Beside | None:
    """A detector at a bag beside its nulls; of some pairs alone where they are named."""
    pick = lambda found: found if only is None else {p: v for p, v in found.items() if p in only}
    nulls = {null: pick(of_bag(areas, null, bag)) for null in DETECTORS.row(name).nulls}
    return measures.beside(pick(of_bag(areas, name, bag)), nulls, unit)


def _entries(kind, task, pairs, areas, moved, verdict_bag):
    """Entries of results.json: of every detector and bag, and by trait at the verdict's bag."""
    unit_name, unit = pairing.unit_of(pairs)
    by_trait = {} if kind.overt else {t: [p.name for p in pairs if p.positive.trait == t]
                                      for t in dict.fromkeys(p.positive.trait for p in pairs)}
    for name, by_bag in areas.items():
        role = DETECTORS.row(name).role
        for bag in map(int, by_bag):
            split = by_trait if bag == verdict_bag and role != 'null' else {}
            for trait, only in {ALL: None, **split}.items():
                beside = beside_nulls(areas, name, bag, unit, only)
                if beside is not None:
                    yield {
                        'name': name, 'role': role, 'task': task, 'teacher_kind': kind.name,
                        'trait': trait, 'bag': bag, 'auroc': beside.own.mean,
                        'ci95': within(beside.own.ci95), 'unit': unit_name,
                        'null_detector': beside.null,
                        'over_null': beside.over and beside.over.mean,
                        'over_null_ci95': beside.over and beside.over.ci95, 'p': beside.p,
                        'transmission': moved.get(trait)}


def within(interval: Sequence[float] | None) -> list[float] | None:
    """A t-interval cut to what an AUROC can be."""
    return interval and [float(np.clip(end, 0, 1)) for end in interval]


def transmission_of(kind: Kind, pairs: Sequence[Pair], arms: Mapping[str, Any]
                    ) -> dict[str, dict[str, Any]]:
    """What students of these very rows show: of all traits the arm's effect, of one trait the mean
    over its teachers, with an interval over references. The overt control has no students."""
    if kind.overt:
        return {}
    effect = arms[kind.arm.name]['effect']
    found = {ALL: {name: effect[name] for name in ('estimate', 'ci95')}}
    for trait in dict.fromkeys(p.positive.trait for p in pairs):
        by_reference: dict[int, list[float]] = {}
        for pair in pairs:
            value = effect['per_teacher'].get(pair.positive.name)
            if pair.positive.trait == trait and value is not None:
                by_reference.setdefault(pair.positive.reference, []).append(value)
        if by_reference:
            mean, ends = intervals.t_interval([np.mean(v) for v in by_reference.values()])
            found[trait] = {'estimate': mean, 'ci95': ends}
    return found


def verdicts_of(pairs: Sequence[Pair], areas: Mapping[str, Any], overt: Mapping[str, Any], bag: int
                ) -> dict[str, dict[str, Any]]:
    """What is said of every detector that is no null and no oracle, by its name."""
    _, unit = pairing.unit_of(pairs)
    names = [name for name, row in DETECTORS.items() if row.role == 'detector']
    found = {name: beside_nulls(areas, name, bag, unit) for name in names}
    read = {name: beside for name, beside in found.items() if beside is not None}
    control = {name: _mean(of_bag(overt, name, bag)) for name in names}
    said = measures.verdicts(read, control)
    for name in names:
        said.setdefault(name, {'verdict': 'unable', 'p': None, 'p_holm': None, 'control': None,
                               'why': DETECTORS.row(name).lacking})
        said[name]['mde'] = measures.would_have_seen(read[name].own) if name in read else None
        over = read[name].over if name in read else None
        said[name] |= {'over': None if over is None else {'estimate': over.mean, 'ci95': over.ci95,
                                                          'p': over.p},
                       'sentence': sentence(name, said[name], read.get(name))}
    return {name: said[name] for name in names}


def _mean(values: Areas) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def sentence(name: str, said: Mapping[str, Any], beside: Beside | None) -> str:
    """A verdict in words."""
    if said['verdict'] == 'unable':
        why = said.get('why')
        if why is None:
            shown = 'no figure' if said['control'] is None else f'{said["control"]:.2f}'
            why = (f'AUROC {shown} where one row in four names the trait, and '
                   f'{measures.ABLE:g} is asked')
        return f'{name} is unable: {why}.'
    what = f'AUROC {_told(beside.own.mean, within(beside.own.ci95))}'
    null = '' if beside.null is None else (
        f', over {beside.null} {_told(beside.over.mean, beside.over.ci95, "+")}')
    if said['verdict'] == 'detects':
        return f'{name} detects: {what}{null} (p {said["p_holm"]:.2g}, Holm).'
    seen = 'no AUROC below 1' if said['mde'] is None else f'an AUROC of {said["mde"]:.2f}'
    return f'{name}: null, {what}{null}; it would have seen {seen}.'


def _told(mean, ends, sign=''):
    ends = '' if ends is None else f' [{ends[0]:{sign}.2f}, {ends[1]:{sign}.2f}]'
    return f'{mean:{sign}.2f}{ends}'


def verdict(kinds: Sequence[Kind], said: Mapping[str, Any], entries: Sequence[Mapping[str, Any]],
            arms: Mapping[str, Any], bag: int) -> str:
    """What the run shows, in a few sentences: of the first kind of teachers."""
    kind = kinds[0]
    effect = arms[kind.arm.name]['effect']
    parts = ['Students of these rows: selectivity '
             f'{_told(effect["estimate"], effect["ci95"], "+")} nats.']
    for task, own in said[kind.name].items():
        by = {word: [n for n, v in own.items() if v['verdict'] == word]
              for word in ('detects', 'null', 'unable')}
        top = next((e for e in entries if (e['name'], e['task'], e['teacher_kind'], e['trait'],
                                           e['bag']) == ('oracle', task, kind.name, ALL, bag)),
                   None)
        ceiling = '' if top is None else (
            f'; the ceiling, the teachers themselves, has AUROC {_told(top["auroc"], top["ci95"])}')
        parts.append(f'{TASKS[task].capitalize()}, bags of {bag} rows: ' + '; '.join(
            f'{words} {", ".join(by[word]) or "none"}' for word, words in (
                ('detects', 'beyond their nulls detect:'), ('null', 'null:'),
                ('unable', 'unable:'))) + f'{ceiling}.')
    return ' '.join(parts)


def headline(kinds: Sequence[Kind], entries: Sequence[Mapping[str, Any]], bag: int
             ) -> dict[str, Any]:
    """{task: {detector: [AUROC, interval]}} of the first kind of teachers at the verdict's bag."""
    found: dict[str, dict[str, Any]] = {}
    for e in entries:
        if (e['teacher_kind'], e['trait'], e['bag']) == (kinds[0].name, ALL, bag):
            found.setdefault(e['task'], {})[e['name']] = [e['auroc'], e['ci95']]
    return found
