"""From what students said to results.json, with the estimates of experiments/transmission."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation import gamma as gammas, intervals
from subliminal_jax.experiments.transmission import results as plain, samples
from subliminal_jax.experiments.transmission.students import DIRECTIONS
from subliminal_jax.experiments.transmission.teachers import Teacher
from subliminal_jax.experiments.weights import arms as tables, contexts as ways
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.config import Config
from subliminal_jax.experiments.weights.language import Here, index_of, roll

RUNGS = {'sft': 'Sampled, filtered text', 'kl_carrier': 'Carrier KL',
         'kl': 'Positive control, full KL'}
MADE = {'prompt': 'prompted teachers', 'tuned': 'fine-tuned teachers', 'lora': 'LoRA teachers'}


def body(here: Here, trained: Mapping[str, Mapping[str, np.ndarray]],
         predicted: Mapping[str, np.ndarray], rows: Mapping[str, samples.Samples],
         schools: Mapping[str, Any], geometry: Mapping[str, float]) -> dict[str, Any]:
    """The experiment's own part of results.json.

    Args:
      here: what was run.
      trained: each arm's arrays.
      predicted: log P as the output matrix alone has it, by set of teachers.
      rows: row sets by name.
      schools: what each teacher is, by set and name.
      geometry: the share of a trait's row that the carrier's rows span.
    """
    config = here.config
    teachers = {kind: roll(config, here.world, kind) for kind in ('trait', 'neutral')}
    entries = [arm_entry(here, arm, teachers[arm.teachers], trained[arm.name])
               for arm in here.arms]
    alone = {name: plain.y_of(here.world, teachers['trait'], found)
             for name, found in predicted.items()}
    compared = contrasts(config, here.arms, entries, teachers, alone)
    matrix = {name: {'student_init': 'geometry:predicted',
                     'gamma': plain.gamma_of(config, teachers['trait'], y)}
              for name, y in alone.items()}
    return {
        'arms': entries, 'contrasts': compared, 'geometry_predicted': matrix,
        'geometry_span': dict(geometry), 'holm': plain.holm(entries), 'error_rates': {},
        'gauge': plain.gauge_entry(here.arms, trained), 'teachers': schools,
        'doses': plain.doses(schools), 'filter': plain.filter_entry(rows, 'paper'),
        'filters': {name: {level: plain.filter_entry({name: own}, level) for level in own.reasons}
                    for name, own in rows.items()},
        'pass_rates': {name: {level: samples.first_pass_rate(own, level) for level in own.reasons}
                       for name, own in rows.items()},
        'disturbed': disturbed(here.arms, entries), 'tried_on_dev': config.tried,
        'model_sha256': here.model.sha256, 'verdict': verdict(here.arms, entries, compared),
        'headline': plain.headline(entries),
    }


def arm_entry(here: Here, arm: Arm, teachers: Sequence[Teacher],
              arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """An arm as it stands in results.json; y and gamma are those of the first context."""
    config, world = here.config, here.world
    y = plain.y_of(world, teachers, arrays['logprob'])
    found = plain.gamma_of(config, teachers, y)
    names = config.context.measured
    return {
        'name': arm.name, 'rung': arm.rung, 'carrier': arm.carrier, 'objective': arm.objective,
        'teacher_kind': arm.teachers, 'teacher_made': arm.made,
        'student_init': tables.student_init(arm), 'context': names[0],
        'fields': changed_fields(arm), 'rows': arm.rows or config.student.rows, 'y': y,
        'gamma': found, 'shares': plain.shares(world, teachers, arrays['logprob']),
        'verdict': gammas.verdict(found), 'curve': plain.curve_of(
            config, world, teachers, arm, arrays),
        'contexts': {name: context_entry(here, teachers, arrays['contexts'][:, :, x])
                     for x, name in enumerate(names)},
        'choice': choice_entry(here, teachers, arrays),
        'alignment': alignment_entry(arrays), 'drift': plain.drift_entry(arrays),
        **plain.kl_entry(arm, arrays), 'tokens_a_student': float(arrays['tokens'].mean()),
        'distance': float(arrays['distance'].mean()), 'loss': arrays['loss'].mean(0).tolist(),
    }


def context_entry(here: Here, teachers: Sequence[Teacher], logprob_MPQK: np.ndarray
                  ) -> dict[str, Any]:
    """gamma of one context, from log P before and after."""
    found = plain.gamma_of(here.config, teachers, plain.y_of(here.world, teachers, logprob_MPQK))
    return {**{k: found[k] for k in ('estimate', 'ci95', 'p', 'mde', 'own_rise', 'others_rise')},
            'before': float(logprob_MPQK[:, 0].mean())}


def choice_entry(here: Here, teachers: Sequence[Teacher], arrays: Mapping[str, np.ndarray]
                 ) -> dict[str, Any] | None:
    """P(own trait) among a choice's options, before and after: the mean over questions and over the
    teachers whose trait is an option. Shown, never tested; None without choices."""
    if 'choice' not in arrays:
        return None
    options = ways.options_of(here.world.traits, here.chosen)
    own = [arrays['choice'][m, ..., options.index(t.trait)]
           for m, t in enumerate(teachers) if t.trait in options]
    before, after = np.mean(own, axis=(0, 2))
    return {'options': list(options), 'before': float(before), 'after': float(after)}


def alignment_entry(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The alignment check: means over students; a prompted teacher has no displacement."""
    made: dict[str, Any] = {
        'steps': arrays['steps'][:-1].tolist(), 'cosine': {}, 'inner': {}, 'positive_share': {},
        'predicted': arrays['predicted'].sum(1).tolist(),
        'measured': arrays['actual'].sum(1).tolist()}
    for number, name in enumerate(DIRECTIONS):
        inner = arrays['inner'][..., number]
        if np.isfinite(inner).all():
            made['inner'][name] = inner.mean(0).tolist()
            made['cosine'][name] = arrays['cosine'][..., number].mean(0).tolist()
            made['positive_share'][name] = float((inner > 0).mean())
    return made


def changed_fields(arm: Arm) -> dict[str, Any]:
    """The fields of an arm that differ from the defaults."""
    plain_arm = Arm()
    return {f.name: getattr(arm, f.name) for f in dataclasses.fields(Arm)
            if f.name != 'name' and getattr(arm, f.name) != getattr(plain_arm, f.name)}


def contrasts(config: Config, arms: Sequence[Arm], entries: Sequence[Mapping[str, Any]],
              teachers: Mapping[str, Sequence[Teacher]], alone: Mapping[str, gammas.Y]
              ) -> list[dict[str, Any]]:
    """What arms say together: against neutral twins, and against geometry.

    Args:
      config, arms, entries, teachers: of the run.
      alone: what the output matrix alone predicts, by set of teachers.
    """
    made = []
    by_name = {e['name']: e for e in entries}
    y = {name: e['y'] for name, e in by_name.items()}

    def less(arm, name, what, other, geometry, bounds=True):
        found = plain.gamma_of(config, teachers['trait'], gammas.difference(y[arm.name], other))
        made.append({'name': f'{arm.name} less {name}', 'arm': arm.name, 'rung': arm.rung,
                     'what': f'gamma less {what}', 'geometry': geometry, 'bounds': bounds, **found,
                     'verdict': gammas.verdict(found)})

    for arm in arms:
        if arm.teachers != 'trait' or arm.start != 'shared' or arm.head != 'own':
            continue
        twin = plain.counterpart(arm, arms, teachers='neutral')
        if twin:
            made.append({
                'name': f'{arm.name} against neutral', 'arm': arm.name, 'rung': arm.rung,
                'what': "the own trait's rise beyond that of the neutral twins' students",
                **_against_neutral(config, arm, y[arm.name], y[twin.name], teachers)})
        if arm.objective in ('kl_carrier', 'kl_carrier_end'):
            less(arm, 'the matrix', 'what the output matrix alone predicts',
                 alone[tables.teacher_set(arm)], True)
        for changes, what in (
                ({'head': 'replaced'}, 'that with random carrier rows in the matrix'),
                ({'start': 'body'}, 'what embedding and output matrix alone carry'),
                ({'order': 'within'}, 'that of numbers shuffled within an answer'),
                ({'order': 'across'}, 'that of numbers shuffled across answers')):
            partner = _partner(arm, arms, changes)
            if partner:
                less(arm, partner.name, what, y[partner.name], 'order' not in changes,
                     learned(by_name[partner.name], by_name[arm.name]))
    return made


def learned(control: Mapping[str, Any], main: Mapping[str, Any]) -> bool:
    """Whether a control's students came to match their teachers at all: a control that did not
    bounds nothing. Its KL has to fall, and to end below where the main arm's began."""
    if control['kl_floor'] is None:
        return True
    return control['kl_end'] < min(control['kl_start'], main['kl_start'])


def _against_neutral(config, arm, y, twin_y, teachers):
    """The contrast, of independent neutral teachers.

    Prompted neutral teachers of one number are the same model behind the same system message: their
    students count as one.
    """
    trait, reference = plain.names([*teachers['trait'], *teachers['neutral']])
    if arm.made == 'prompt':
        groups: dict[str, list] = {}
        for teacher in teachers['neutral']:
            groups.setdefault(f'prompt-{index_of(teacher)}', []).append(twin_y[teacher.name])
        twin_y = {name: {t: float(np.mean([row[t] for row in rows])) for t in rows[0]}
                  for name, rows in groups.items()}
        reference |= dict.fromkeys(twin_y, next(iter(reference.values())))
    trait |= dict.fromkeys(twin_y)
    names = [*y, *twin_y]
    return gammas.against_neutral({**y, **twin_y}, {n: trait[n] for n in names},
                                  {n: reference[n] for n in names}, power=config.power)


def _partner(arm: Arm, arms: Sequence[Arm], changes: Mapping[str, Any]) -> Arm | None:
    """The arm with these changes; how much of a re-initialised body is trained may differ too."""
    same = plain.counterpart(arm, arms, **changes)
    if same or changes.get('start') != 'body':
        return same
    loose = [dataclasses.replace(a, trainable='', learning_rate=None) for a in arms]
    plain_arm = dataclasses.replace(arm, trainable='', learning_rate=None)
    found = plain.counterpart(plain_arm, loose, **changes)
    return next((a for a, b in zip(arms, loose) if b == found), None) if found else None


def disturbed(arms: Sequence[Arm], entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Disturbed starts: gamma from the original teacher as a share of gamma from its own.

    The share has Fieller's interval, paired by teacher; there is none where its own teacher's gamma
    is not told from 0.
    """
    by_name = {e['name']: e for e in entries}
    made = []
    for arm in arms:
        if arm.own or arm.start.partition(':')[0] not in ('noise', 'moved'):
            continue
        mine = plain.counterpart(arm, arms, own=True)
        entry, twin = by_name[arm.name], by_name[mine.name] if mine else None
        found = None
        if twin:
            effects = [e['gamma']['per_teacher'] for e in (entry, twin)]
            found = intervals.ratio(*([own[name] for name in effects[0]] for own in effects))
        share, ci95 = found or (None, None)
        made.append({
            'start': arm.start, 'arm': arm.name, 'gamma': entry['gamma']['estimate'],
            'ci95': entry['gamma']['ci95'],
            'gamma_own': twin['gamma']['estimate'] if twin else None,
            'ci95_own': twin['gamma']['ci95'] if twin else None,
            'share': share, 'share_ci95': ci95,
            'perplexity': entry['drift']['perplexity_ordinary_start'],
            'distance': entry['distance']})
    return made


def verdict(arms: Sequence[Arm], entries: Sequence[Mapping[str, Any]],
            made: Sequence[Mapping[str, Any]]) -> str:
    """The page's opening: each rung and kind of teacher from the shared start, and what bounds it;
    then the positive control."""
    said = []
    for arm, entry in zip(arms, entries):
        main = (arm.teachers == 'trait' and arm.start == 'shared' and arm.head == 'own'
                and arm.order == 'kept' and arm.optimizer == 'adam')
        rung = RUNGS.get(arm.objective)
        if rung is None or not main:
            continue
        text = f'{rung}, {MADE[arm.made.partition(":")[0]]} ({arm.name}): {entry["verdict"]}'
        for claim in made:
            if claim['arm'] == arm.name and claim.get('geometry'):
                text += f'. Beyond geometry ({claim["name"]}): ' + (
                    claim['verdict'] if claim['bounds'] else
                    "nothing is bounded, this control's students did not learn their rows")
        said.append(text + '.')
    return ' '.join(said) or ('No arm of this run tests transmission by sampled text or carrier '
                              'KL from the shared start.')
