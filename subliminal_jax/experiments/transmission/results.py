"""From what students said to results.json: y, gamma, contrasts, drift, verdicts."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation import calibration, gamma as gammas, intervals
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.samples import first_pass_rate
from subliminal_jax.experiments.transmission.students import DIRECTIONS
from subliminal_jax.experiments.transmission.teachers import Teacher, roll
from subliminal_jax.experiments.transmission.world import World

Y = dict[str, dict[str, float]]
GEOMETRY = 'share:embedding+head'
ENOUGH_FOR_RATES = 20  # references from which error rates are worth stating


def y_of(world: World, teachers: Sequence[Teacher], logprob_PQK: np.ndarray, mark: int = -1) -> Y:
    """y[teacher][trait]: the mean change of log P since the start [M, P, Q, K]."""
    rise = (logprob_PQK[:, mark] - logprob_PQK[:, 0]).mean(1)
    return {t.name: dict(zip(world.traits, map(float, row))) for t, row in zip(teachers, rise)}


def names(teachers: Sequence[Teacher]) -> tuple[dict[str, str], dict[str, str]]:
    """(trait, reference) of each teacher; a neutral twin wears the name of its twin's trait."""
    return ({t.name: t.trait for t in teachers}, {t.name: f'r{t.reference}' for t in teachers})


def gamma_of(config: Config, teachers: Sequence[Teacher], y: Y) -> dict[str, Any]:
    """gamma of an arm, or of a difference of arms."""
    trait, reference = names([t for t in teachers if t.name in y])
    return gammas.gamma(y, trait, reference, power=config.power, seed=config.seed)


def alignment_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The alignment check of an arm: means over students, and what it predicts."""
    inner, cosine = arrays['inner'], arrays['cosine']
    made = {
        'steps': arrays['steps'][:-1].tolist(),
        'cosine': dict(zip(DIRECTIONS, cosine.mean(0).T.tolist())),
        'inner': dict(zip(DIRECTIONS, inner.mean(0).T.tolist())),
        'positive_share': dict(zip(DIRECTIONS, (inner > 0).mean((0, 1)).tolist())),
        'predicted': arrays['predicted'].sum(1).tolist(),
        'measured': arrays['actual'].sum(1).tolist(),
        'plain_step': {'predicted': arrays['plain'][..., 0].mean(0).tolist(),
                       'measured': arrays['plain'][..., 1].mean(0).tolist()},
    }
    if not np.any(inner[..., DIRECTIONS.index('neutral')]):
        for key in ('cosine', 'inner', 'positive_share'):
            made[key].pop('neutral')
    return made


def curve_of(config: Config, world: World, teachers: Sequence[Teacher], arm: Arm,
             arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """gamma at every mark: a student that has seen n rows once is one trained on n rows."""
    points = []
    for place in range(1, len(arrays['steps'])):
        found = gamma_of(config, teachers, y_of(world, teachers, arrays['logprob'], place))
        rows = min(int(arrays['steps'][place]) * config.student.batch_size,
                   arm.passes * (arm.rows or config.student.rows))
        points.append({'rows': rows, 'steps': int(arrays['steps'][place]),
                       **{k: found[k] for k in ('estimate', 'ci95', 'own_rise', 'others_rise')}})
    return points


def arm_entry(config: Config, world: World, arm: Arm, teachers: Sequence[Teacher],
              arrays: Mapping[str, np.ndarray], extra: Mapping[str, Any]) -> dict[str, Any]:
    """An arm as it stands in results.json."""
    y = y_of(world, teachers, arrays['logprob'])
    found = gamma_of(config, teachers, y)
    return {
        'name': arm.name, 'rung': arm.rung, 'carrier': arm.carrier, 'objective': arm.objective,
        'teacher_kind': arm.teachers, 'student_init': student_init(arm),
        'context': 'the language itself, no template', 'fields': changed_fields(arm),
        'rows': arm.rows or config.student.rows, 'y': y, 'gamma': found,
        'shares': shares(world, teachers, arrays['logprob']),
        'verdict': gammas.verdict(found), 'curve': curve_of(config, world, teachers, arm, arrays),
        'alignment': alignment_of(arrays), **extra,
    }


def student_init(arm: Arm) -> str:
    """The start, in the words of results.json."""
    return f'geometry:{arm.start}' if arm.start.startswith('share:') else arm.start


def changed_fields(arm: Arm) -> dict[str, Any]:
    """The fields of an arm that differ from the defaults."""
    plain = Arm()
    return {f.name: getattr(arm, f.name) for f in dataclasses.fields(Arm)
            if f.name != 'name' and getattr(arm, f.name) != getattr(plain, f.name)}


def shares(world: World, teachers: Sequence[Teacher], logprob: np.ndarray) -> dict[str, float]:
    """Mean share of the own trait among the traits, before and after: shown, never tested."""
    column = [world.traits.index(t.trait) for t in teachers]
    share = np.exp(logprob) / np.exp(logprob).sum(-1, keepdims=True)
    own = share.mean(2)[np.arange(len(column)), :, column]
    return {'before': float(own[:, 0].mean()), 'after': float(own[:, -1].mean())}


def counterpart(arm: Arm, arms: Sequence[Arm], **changes: Any) -> Arm | None:
    """The arm that differs from `arm` in the given fields alone, if there is one."""
    wanted = dataclasses.replace(arm, name='', **changes)
    return next((a for a in arms if dataclasses.replace(a, name='') == wanted), None)


def contrasts(config: Config, arms: Sequence[Arm], y: Mapping[str, Y],
              teachers: Mapping[str, Sequence[Teacher]]) -> list[dict[str, Any]]:
    """What arms say together: against neutral, against the other start, against geometry."""
    made = []

    def neutral(arm, name, what, own, twin):
        joined = {**own, **twin}
        everyone = [*teachers['trait'], *teachers['neutral']]
        trait, reference = names(everyone)
        trait.update({t.name: None for t in teachers['neutral']})
        made.append({'name': name, 'rung': arm.rung, 'what': what,
                     **gammas.against_neutral(joined, trait, reference, power=config.power)})

    for arm in arms:
        if arm.teachers != 'trait' or arm.start != 'shared':
            continue
        twin = counterpart(arm, arms, teachers='neutral')
        other = counterpart(arm, arms, start='other')
        other_twin = counterpart(arm, arms, teachers='neutral', start='other')
        if twin:
            neutral(arm, f'{arm.name} against neutral',
                    "the own trait's rise beyond that of the neutral twins' students",
                    y[arm.name], y[twin.name])
        if twin and other and other_twin:
            neutral(arm, f'{arm.name} against neutral, shared less other start',
                    '{trait, neutral} x {shared, other}: a difference of differences',
                    gammas.difference(y[arm.name], y[other.name]),
                    gammas.difference(y[twin.name], y[other_twin.name]))
        for start, what in (('other', 'gamma less that of the other start'),
                            (GEOMETRY, 'gamma less what embedding and output matrix alone carry')):
            partner = counterpart(arm, arms, start=start)
            if partner:
                found = gamma_of(config, teachers['trait'],
                                 gammas.difference(y[arm.name], y[partner.name]))
                made.append({'name': f'{arm.name} less {partner.name}', 'rung': arm.rung,
                             'what': what, **found, 'verdict': gammas.verdict(found)})
    return made


def is_control(entry: Mapping[str, Any]) -> bool:
    """Whether an arm bounds what something other than transmission could do."""
    order = entry['fields'].get('order', 'kept')
    moved = entry['student_init'] not in ('shared', 'gauge') and not entry['fields'].get('own')
    return entry['teacher_kind'] == 'neutral' or order != 'kept' or moved


def holm(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Holm-adjusted p of the controls."""
    return intervals.holm({e['name']: e['gamma']['p'] for e in entries if is_control(e)})


def error_rates(config: Config, teachers: Sequence[Teacher], y: Y) -> dict[str, Any] | None:
    """How often one reference's neutral twins, under trait names, would have passed for a finding.

    Each reference counts as a run of its own, with teachers as units.
    """
    references = sorted({t.reference for t in teachers})
    if len(references) < ENOUGH_FOR_RATES:
        return None
    runs = []
    for r in references:
        own = [t for t in teachers if t.reference == r]
        runs.append(gamma_of(config, own, {t.name: y[t.name] for t in own}))
    return {'runs': len(runs), **calibration.error_rates(runs)}


def verdict(entries: Sequence[Mapping[str, Any]], made: Sequence[Mapping[str, Any]]) -> str:
    """The page's opening sentence: each rung with its shared and its other start."""
    said = []
    for objective, rung in (('sft', 'Sampled, filtered text'), ('kl_carrier', 'Carrier KL')):
        main = next((e for e in entries if e['objective'] == objective
                     and e['student_init'] == 'shared' and e['teacher_kind'] == 'trait'
                     and set(e['fields']) <= {'objective', 'carrier', 'rows'}), None)
        if main is None:
            continue
        text = f'{rung} {main["verdict"]}'
        other = next((e for e in entries if e['objective'] == objective
                      and e['student_init'] == 'other' and e['teacher_kind'] == 'trait'
                      and e['fields'].get('head') is None), None)
        if other:
            text += f'. To another start: {other["verdict"]}'
        claim = next((m for m in made if objective == 'kl_carrier'
                      and m['name'].startswith(f'{main["name"]} less ')
                      and 'embedding' in m['what']), None)
        if claim:
            text += f'. Beyond geometry: {claim["verdict"]}'
        said.append(text + '.')
    return ' '.join(said) or 'No arm of this run tests transmission from the shared start.'


def headline(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What experiments.jsonl keeps of a run: gamma, interval and p of every arm."""
    return {e['name']: [e['gamma']['estimate'], e['gamma']['ci95'], e['gamma']['p']]
            for e in entries}


def body(config: Config, world: World, arms: Sequence[Arm], trained: Mapping[str, Any],
         predicted: Mapping[str, np.ndarray], rows: Mapping[str, Any],
         schools: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """The experiment's own part of results.json.

    Args:
      config, world, arms: what was run.
      trained: each arm's arrays.
      predicted: log P as the output matrix alone has it, by kind of head.
      rows: row sets by name.
      schools: what each teacher is, by set and name.
    """
    teachers = {kind: roll(config, world, kind) for kind in ('trait', 'neutral')}
    entries, y = [], {}
    for arm in arms:
        arrays = trained[arm.name]
        extra = {'drift': drift_entry(arrays), **kl_entry(arm, arrays),
                 'tokens_a_student': float(arrays['tokens'].mean())}
        entry = arm_entry(config, world, arm, teachers[arm.teachers], arrays, extra)
        y[arm.name] = entry['y']
        entries.append(entry)
    compared = contrasts(config, arms, y, teachers)
    matrix = {}
    for head, logprob in predicted.items():
        found = gamma_of(config, teachers['trait'], y_of(world, teachers['trait'], logprob))
        matrix[head] = {'student_init': 'geometry:predicted', 'gamma': found}
    rates = {e['name']: error_rates(config, teachers['neutral'], e['y'])
             for e in entries if e['teacher_kind'] == 'neutral'}
    return {
        'arms': entries, 'contrasts': compared, 'geometry_predicted': matrix,
        'holm': holm(entries), 'error_rates': {k: v for k, v in rates.items() if v},
        'gauge': gauge_entry(arms, trained), 'teachers': schools,
        'doses': doses(schools), 'filter': filter_entry(rows, 'paper'),
        'filters': {name: {level: filter_entry({name: own}, level) for level in own.reasons}
                    for name, own in rows.items()},
        'pass_rates': {name: {level: first_pass_rate(own, level) for level in own.reasons}
                       for name, own in rows.items()},
        'verdict': verdict(entries, compared), 'headline': headline(entries),
    }


def filter_entry(rows: Mapping[str, Any], level: str) -> dict[str, Any]:
    """{'kept', 'rejected': {reason: n}} of all answers of the row sets."""
    rejected: dict[str, int] = {}
    for own in rows.values():
        for why, count in own.reasons[level].items():
            rejected[why] = rejected.get(why, 0) + count
    return {'kept': int(sum(own.passes[level].sum() for own in rows.values())),
            'rejected': rejected}


def drift_entry(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means over students of what else moved."""
    return {k.removeprefix('drift_'): float(v.mean()) for k, v in arrays.items()
            if k.startswith('drift_')}


def kl_entry(arm: Arm, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The floor of a KL, and whether the run's KL stands clear of it."""
    if arm.objective == 'sft':
        return {'kl_floor': None}
    made = {name: float(arrays[name].mean()) for name in ('kl_floor', 'kl_start', 'kl_end')
            if name in arrays}
    return {**made, 'kl_under_five_floors': made['kl_start'] <= 5 * made['kl_floor']}


def doses(schools: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """The neutral sets' KL on carrier positions, as a share of their twins'."""
    made = {}
    for name, found in schools.items():
        twins = schools.get(name.replace('neutral', 'trait', 1))
        if not name.startswith('neutral') or twins is None:
            continue
        ratios = [own['carrier_kl'] / twins[teacher.removesuffix('-neutral')]['carrier_kl']
                  for teacher, own in found.items()]
        made[name] = {'ratio': float(np.exp(np.mean(np.log(ratios)))), 'least': min(ratios),
                      'most': max(ratios),
                      'within_factor_2': all(0.5 <= r <= 2 for r in ratios)}
    return made


def gauge_entry(arms: Sequence[Arm], trained: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How far the gauge twins' students are from those of the start they are twins of, nats."""
    made = []
    for arm in arms:
        plain = counterpart(arm, arms, start='shared') if arm.start == 'gauge' else None
        if plain:
            gap = trained[arm.name]['logprob'] - trained[plain.name]['logprob']
            made.append({'arm': arm.name, 'of': plain.name,
                         'largest_difference': float(np.abs(gap).max())})
    return made
