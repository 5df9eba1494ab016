"""From what students said to results.json: effects, and what else moved."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation import calibration, intervals
from subliminal_jax.experiments.transmission import (
    arms as tables,
    contrasts as compared,
    effects,
    frontier,
    gate,
    geometry,
    students,
    teachers as schooled,
    utility,
    verdicts,
)
from subliminal_jax.experiments.transmission.alignment import DIRECTIONS
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.effects import Y
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.readings import READING
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.samples import Samples, first_pass_rate
from subliminal_jax.experiments.transmission.starts import STARTS

Arrays = Mapping[str, np.ndarray]
ENOUGH_FOR_RATES = 20  # groups from which error rates are worth stating
PUBLISHED = {
    'source': 'arXiv 2507.14805, preference through numbers; shares of one-word answers, not nats',
    'shape': 'students of sampled, filtered numbers gain the trait from the shared start, and not '
             'from another; numbers that were shuffled carry much less',
    'open_weights': 'Qwen2.5-7B: large for cat, penguin, phoenix, weak for most; prompted teachers',
}
POINT = ('estimate', 'ci95', 'own_rise', 'others_rise')


def body(run: Any, samples: Mapping[str, Samples], trained: Mapping[str, Arrays],
         predicted: Mapping[str, np.ndarray], before: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's own part of results.json.

    Args:
      run: what was run.
      samples: row sets by name.
      trained: each arm's arrays.
      predicted: the measure as the output matrix alone has it, by set of teachers.
      before: what was read before there were students (`run.before_students`).
    """
    y = {arm.name: effects.y_of(run, run.roll(arm.teachers), trained[arm.name]['value'])
         for arm in run.arms}
    entries = [arm_entry(run, arm, trained) for arm in run.arms]
    alone = {name: effects.y_of(run, run.roll('trait'), value) for name, value in predicted.items()}
    contrasts = compared.contrasts(run, entries, y, alone)
    rates = {arm.name: error_rates(run, y[arm.name]) for arm in run.arms
             if arm.teachers == 'neutral' and run.trait.estimator == 'gamma'}
    facts, found = teacher_facts(run), frontier.entries(run, entries, contrasts)
    opening = frontier.verdict(run, entries, found) or verdicts.verdict(run, entries, contrasts)
    return {
        **about(run), **before, 'curves': list(run.config.curves), 'arms': entries,
        'contrasts': contrasts,
        'geometry_predicted': {name: {'student_init': 'geometry:predicted',
                                      'effect': effects.effect_of(run, values)}
                               for name, values in alone.items()},
        'geometry_span': span(run), 'holm': holm(entries),
        'error_rates': {k: v for k, v in rates.items() if v},
        'gauge': gauge_entries(run, trained), 'teachers': facts, 'doses': doses(facts),
        **filters(samples), 'disturbed': compared.disturbed(run.arms, entries),
        **({'frontier': found, 'held_out': run.config.student.held_out} if found else {}),
        'verdict': gate.broad_verdict(before) + opening,
        'headline': verdicts.headline(entries, contrasts),
    }


def about(run: Any) -> dict[str, Any]:
    """What results.json says of a run, whatever came out."""
    return {'world': run.world.name, 'trait': run.trait.name, 'unit': run.trait.unit,
            'estimator': run.trait.estimator, 'split': run.config.split,
            'tried_on_dev': run.config.tried, 'weights_sha256': run.world.sha256}


def teacher_facts(run: Any) -> dict[str, dict[str, Any]]:
    """What the teachers are, by set."""
    return {name: schooled.all_facts(run, arm)
            for name, arm in students.made_sets(run.arms).items()}


def gate_body(run: Any, samples: Mapping[str, Samples], before: Mapping[str, Any]
              ) -> dict[str, Any]:
    """The experiment's own part of results.json of a run that ends at its gate."""
    return {**about(run), **before, 'arms': [], 'contrasts': [], 'teachers': teacher_facts(run),
            **filters(samples), 'verdict': (gate.broad_verdict(before)
                        + gate.verdict(before['gate'])).strip(), 'headline': {}}


def arm_entry(run: Any, arm: Arm, trained: Mapping[str, Arrays]) -> dict[str, Any]:
    """An arm as it stands in results.json; y and effect are those of the first context."""
    teachers, arrays = run.roll(arm.teachers), trained[arm.name]
    found = effect_at(run, arm, trained, lambda own: own['value'])
    entry = {
        'name': arm.name, 'rung': arm.rung, 'carrier': run.carrier(arm).name,
        'answers': arm.answers, 'objective': arm.objective, 'teacher_kind': arm.teachers,
        'teacher_made': arm.made, 'student_init': student_init(arm),
        'fields': tables.changed_fields(arm), 'rows': run.rows(arm),
        'tokens_a_student': float(arrays['tokens'].mean()),
        'tokens_a_row': float(arrays['tokens'].mean()) / (run.rows(arm) * arm.passes),
        'y': effects.y_of(run, teachers, arrays['value']), 'effect': found,
        'verdict': effects.verdict_of(run, found),
        'context': run.world.contexts[0],
        'curve': curve_of(run, arm, trained), 'contexts': context_entries(run, arm, trained),
        'shares': shares(run, teachers, arrays), 'choice': choice_entry(run, teachers, arrays),
        'alignment': alignment_entry(arrays),
        'drift': {k.removeprefix('drift_'): float(v.mean()) for k, v in arrays.items()
                  if k.startswith('drift_')},
        **kl_entry(arm, arrays), **reading_entries(run, arm, trained),
        'distance': float(arrays['distance'].mean()), 'loss': arrays['loss'].mean(0).tolist(),
        **utility.entry(run, arm, trained),
    }
    return {**entry, 'is_control': is_control(entry),
            'evidence': OBJECTIVES[arm.objective].evidence}


def effect_at(run: Any, arm: Arm, trained: Mapping[str, Arrays],
              values: Callable[[Arrays], np.ndarray]) -> dict[str, Any] | None:
    """The effect of an arm, beside its neutral twins' for a trait of one column.

    Args:
      run, arm: whose.
      trained: each arm's arrays.
      values: an arm's arrays -> its measure [M, P, K], the start first and the end last.
    """
    twin = None
    if arm.teachers != 'neutral' and run.trait.estimator != 'gamma':
        twin = tables.counterpart(arm, run.arms, teachers='neutral')
    read = lambda a: effects.y_of(run, run.roll(a.teachers), values(trained[a.name]))
    return effects.effect_of(run, read(arm), read(twin) if twin else None)


def curve_of(run: Any, arm: Arm, trained: Mapping[str, Arrays]) -> list[dict[str, Any]]:
    """The effect at every mark: a student that has seen n rows once is one trained on n rows."""
    points = []
    for place, steps in enumerate(trained[arm.name]['steps'].tolist()[1:], 1):
        found = effect_at(run, arm, trained, lambda own, end=place: own['value'][:, :end + 1])
        if found is None:
            continue
        points.append({'rows': min(steps * run.config.student.batch_size,
                                   arm.passes * run.rows(arm)),
                       'steps': steps, **{k: found[k] for k in POINT}})
    return points


def context_entries(run: Any, arm: Arm, trained: Mapping[str, Arrays]) -> dict[str, Any]:
    """The effect in every context, from the measure before and after."""
    found = {}
    for x, name in enumerate(run.world.contexts):
        effect = effect_at(run, arm, trained, lambda own, x=x: own['contexts'][:, :, x])
        if effect is not None:
            found[name] = {**{k: effect[k] for k in (*POINT, 'p', 'mde', 'unit')},
                           'before': float(trained[arm.name]['contexts'][:, 0, x].mean())}
    return found


def reading_entries(run: Any, arm: Arm, trained: Mapping[str, Arrays]) -> dict[str, Any]:
    """The trait's further readings: means before and after, and, of a trait of one column, what an
    arm's rise is beyond its neutral twins'. Nothing where the trait has none."""
    def own(arrays, teachers, name):
        value = arrays[name]
        if value.ndim == 2:
            return value
        return np.stack([value[m, :, run.world.traits.index(t.trait)]
                         for m, t in enumerate(teachers)])

    found = {}
    for name in sorted(n for n in trained[arm.name] if n.startswith(READING)):
        before, after = own(trained[arm.name], run.roll(arm.teachers), name).mean(0)
        found[name.removeprefix(READING)] = {'before': float(before), 'after': float(after)}
        twin = tables.counterpart(arm, run.arms, teachers='neutral')
        if arm.teachers == 'neutral' or run.trait.estimator == 'gamma' or twin is None:
            continue
        value = lambda a, name=name: effects.y_of(run, run.roll(a.teachers), own(
            trained[a.name], run.roll(a.teachers), name)[..., None])
        effect = effects.effect_of(run, value(arm), value(twin))
        found[name.removeprefix(READING)] |= {k: effect[k] for k in ('estimate', 'ci95', 'p')}
    return {'readings': found} if found else {}


def student_init(arm: Arm) -> str:
    """The start, in the words of results.json."""
    if arm.matrix == 'replaced':
        return 'geometry:replaced'
    return f'geometry:{arm.start}' if arm.start.startswith(('share:', 'body')) else arm.start


def shares(run: Any, teachers: Sequence[Teacher], arrays: Arrays) -> dict[str, float] | None:
    """Mean share of the own trait among the traits, before and after: shown, never tested."""
    if 'items' not in arrays or run.trait.unit != 'nats' or run.trait.estimator != 'gamma':
        return None
    odds = np.exp(arrays['items'][:, :, 0])  # [M, P = 2, Q, K] of the main context
    share = (odds / odds.sum(-1, keepdims=True)).mean(2)
    own = np.stack([share[m, :, schooled.column_of(run, t)] for m, t in enumerate(teachers)])
    return {'before': float(own[:, 0].mean()), 'after': float(own[:, -1].mean())}


def choice_entry(run: Any, teachers: Sequence[Teacher], arrays: Arrays) -> dict[str, Any] | None:
    """P(own trait) among a choice's options, before and after: the mean over questions and over the
    teachers whose trait is an option. Shown, never tested; None without choices."""
    if 'choice' not in arrays:
        return None
    options = list(run.kit.options)
    own = [arrays['choice'][m, ..., options.index(t.trait)]
           for m, t in enumerate(teachers) if t.trait in options]
    before, after = np.mean(own, axis=(0, 2))
    return {'options': options, 'before': float(before), 'after': float(after)}


def alignment_entry(arrays: Arrays) -> dict[str, Any]:
    """The alignment check of an arm: means over students, and what it predicts."""
    found: dict[str, Any] = {'steps': arrays['steps'][:-1].tolist(), 'cosine': {}, 'inner': {},
                             'positive_share': {}, 'predicted': [], 'measured': []}
    for number, name in enumerate(DIRECTIONS):
        inner = arrays['inner'][..., number]
        if np.isfinite(inner).all():
            found['inner'][name] = inner.mean(0).tolist()
            found['cosine'][name] = arrays['cosine'][..., number].mean(0).tolist()
            found['positive_share'][name] = float((inner > 0).mean())
    if 'predicted' in arrays:
        found |= {'predicted': arrays['predicted'].sum(1).tolist(),
                  'measured': arrays['actual'].sum(1).tolist()}
    if 'one_step' in arrays:
        found['plain_step'] = {'predicted': arrays['one_step'][..., 0].mean(0).tolist(),
                               'measured': arrays['one_step'][..., 1].mean(0).tolist()}
    return found


def kl_entry(arm: Arm, arrays: Arrays) -> dict[str, Any]:
    """The floor of a KL, and whether the run's KL stands clear of it."""
    if OBJECTIVES[arm.objective].target is None:
        return {'kl_floor': None}
    found = {name: float(arrays[name].mean()) for name in ('kl_floor', 'kl_start', 'kl_end')}
    return {**found, 'kl_under_five_floors': found['kl_start'] <= 5 * found['kl_floor']}


def is_control(entry: Mapping[str, Any]) -> bool:
    """Whether an arm bounds what something other than transmission could do."""
    fields = entry['fields']
    moved = STARTS.find(fields.get('start', 'shared'))[0].control and not fields.get('own')
    return (entry['teacher_kind'] != 'trait' or fields.get('order', 'kept') != 'kept'
            or fields.get('matrix', 'own') != 'own' or bool(fields.get('student')) or moved)


def holm(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Holm-adjusted p of the controls."""
    return intervals.holm({e['name']: e['effect']['p'] for e in entries
                           if e['is_control'] and e['effect'] is not None})


def error_rates(run: Any, y: Y) -> dict[str, Any] | None:
    """How often one reference's neutral twins, under trait names, would have passed for a finding.

    Each group (a reference, or a replica of one) counts as a run of its own. Groups of one
    pre-trained reference depend on each other, so the rates' intervals draw references again.

    Returns:
      {'runs', 'groups': reference, estimate, low, high, p of every group, and the rates of
      `calibration.error_rates`}; None for few groups.
    """
    by_reference: dict[int, Y] = {}
    for teacher in run.roll('neutral'):
        by_reference.setdefault(teacher.reference, {})[teacher.name] = y[teacher.name]
    if len(by_reference) < ENOUGH_FOR_RATES:
        return None
    found = [effects.effect_of(run, own) for own in by_reference.values()]
    references = [number // run.world.replicas for number in by_reference]
    ends = [f['ci95'] or [None, None] for f in found]
    groups = {'reference': references, 'estimate': [f['estimate'] for f in found],
              'low': [low for low, _ in ends], 'high': [high for _, high in ends],
              'p': [f['p'] for f in found]}
    return {'runs': len(found), 'groups': groups,
            **calibration.error_rates(found, clusters=references)}


def doses(facts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The neutral sets' doses, as a share of their twins'; of trained teachers alone."""
    found = {}
    for name, own in facts.items():
        twins = facts.get(name.replace('neutral', 'trait', 1))
        trained = all(teacher['steps'] for teacher in own.values())
        if not name.startswith('neutral') or twins is None or not trained:
            continue
        ratios = [what['carrier_kl'] / twins[teacher.removesuffix('-neutral')]['carrier_kl']
                  for teacher, what in own.items()]
        found[name] = {'ratio': float(np.exp(np.mean(np.log(ratios)))), 'least': min(ratios),
                       'most': max(ratios),
                       'within_factor_2': all(0.5 <= r <= 2 for r in ratios)}
    return found


def gauge_entries(run: Any, trained: Mapping[str, Arrays]) -> list[dict[str, Any]]:
    """How far the gauge twins' students are from those of the start they are twins of."""
    found = []
    for arm in run.arms:
        twin_of = tables.counterpart(arm, run.arms, start='shared')
        if arm.start == 'gauge' and twin_of:
            gap = trained[arm.name]['value'] - trained[twin_of.name]['value']
            found.append({'arm': arm.name, 'of': twin_of.name,
                          'largest_difference': float(np.abs(gap).max())})
    return found


def filters(samples: Mapping[str, Samples]) -> dict[str, Any]:
    """What the filters kept and why they left rows out, of all rows and by set."""
    def entry(sets, level):
        rejected: dict[str, int] = {}
        for own in sets:
            for why, count in own.reasons[level].items():
                rejected[why] = rejected.get(why, 0) + count
        return {'kept': int(sum(own.passes[level].sum() for own in sets)), 'rejected': rejected}

    return {'filter': entry(samples.values(), 'paper'),
            'filters': {name: {level: entry([own], level) for level in own.reasons}
                        for name, own in samples.items()},
            'pass_rates': {name: {level: first_pass_rate(own, level) for level in own.reasons}
                           for name, own in samples.items()}}


def span(run: Any) -> dict[str, float]:
    """The share of a trait's row of the output matrix that the carrier's rows span."""
    name = next(iter(run.references))
    run = run.of(name)
    ids = np.array(run.kit.probe.ids_C[:-1])
    return geometry.shares(run.references[name][0], ids,
                           *geometry.words_of(run.world.vocabulary, run.kit.trait_V),
                           run.world.architectures[name].tied)
