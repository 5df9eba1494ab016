"""The stages up to the teachers' logits: contexts, starts, texts, teachers, rows, targets."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import samples, teachers as tiny_schools
from subliminal_jax.experiments.transmission.teachers import Teacher, seed_of
from subliminal_jax.experiments.weights import (
    arms as tables,
    contexts as ways,
    drift,
    programs,
    rows as lines,
    starts,
    targets,
    teachers as schools,
)
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.language import Here, asked_ids, placed, roll, system_of
from subliminal_jax.experiments.weights.rows import Lines
from subliminal_jax.experiments.weights.teachers import Kit
from subliminal_jax.runs import UserError, check_preempted, sha256_of, write_json
from subliminal_jax.training import checkpoints, tries as packing
from subliminal_jax.training.optimizers import OptimizerConfig
from subliminal_jax.traits import trait_set as sets

MOVING_ROWS = 64  # of the reference's own texts, on which a start is trained further
MOVING_PACK = 4


def context_stage(here: Here) -> None:
    """contexts.json: every context as the model reads it."""
    row = lines.random_rows(here, 1)[0]
    read = {f'the trait set {here.config.trait_set}': sets.digest(here.chosen),
            "the model's config, tokenizer or chat template": here.model.settings_sha256}
    here.workdir.stage('contexts', 'contexts.json', lambda path: write_json(path, ways.written_out(
        here.config, here.contexts, here.world.traits, here.chosen, here.world.measure,
        here.world.teach[0], row)), reads=here.reads('carrier'), inputs=read)


def text_stage(here: Here) -> list[dict]:
    """ordinary.jsonl: what the reference writes on prompts of ours."""
    moved = any(a.start.startswith('moved') for a in here.arms)
    count = drift.TEXTS + (MOVING_ROWS if moved else 0)
    path = here.workdir.stage('ordinary', 'ordinary.jsonl', lambda path: files.write(
        path, drift.ordinary_rows(here, count)), reads={**here.reads('carrier'), 'rows': count})
    return files.read(path)[0]


def start_of(here: Here, start: str) -> Any:
    """The parameters of a start; those moved on by training are a stage of their own."""
    kind, _, rest = start.partition(':')
    if kind != 'moved':
        return placed(here, starts.derived(
            here.config, here.model.params, here.model.config, start))

    def make(path):
        texts = moving_texts(files.read(here.workdir.path / 'ordinary.jsonl')[0])
        packs = lines.packs([asked_ids(here, r['prompt']) for r in texts],
                            [r['token_ids'] for r in texts], MOVING_PACK)
        tries = packing.pack(packs)
        program = programs.Program(here.model.config, 'sft', (), OptimizerConfig(
            learning_rate=here.config.teacher.learning_rate), 0)
        state = programs.begin(program, here.model.params)
        for step in range(int(rest)):
            check_preempted()
            index = np.array([step, step + len(packs) // 2]) % len(packs)
            state, _ = programs.trainer(program, False)(
                state, {'base': {}}, {'tries': packing.take(tries, index)})
        checkpoints.save_tree(path, state.trainable)

    name = start.replace(':', '-')
    path = here.workdir.stage(f'start/{name}', f'start/{name}.safetensors', make,
                              reads=here.reads('teacher'), inputs=['ordinary.jsonl'])
    return placed(here, checkpoints.load_tree(path, jax.eval_shape(lambda: here.model.params)))


def moving_texts(texts: Sequence[dict]) -> list[dict]:
    """The ordinary texts that a start is trained on: none of those that drift is measured on."""
    return [r for r in texts if r['kind'] == 'ordinary'][drift.TEXTS:]


def base_of(here: Here, arm: Arm) -> Any:
    """What an arm's teachers are made of: the reference, or the students' own start."""
    return start_of(here, arm.start) if arm.own else here.model.params


def teacher_stages(here: Here, kit: Kit) -> None:
    """Makes every teacher that an arm draws on: teacher/SET/NAME; a neutral one needs its twin."""
    odds: dict[str, Any] = {}
    for arm in here.arms:
        for kind in ('trait', 'neutral'):
            if kind == 'neutral' and arm.teachers == 'trait':
                continue
            one = dataclasses.replace(arm, teachers=kind)
            base = None
            for teacher in roll(here.config, here.world, kind):
                place = folder_of(one, teacher)
                if base is None and not (here.workdir.path / place).exists():
                    base = base_of(here, one)
                _teacher_stage(here, kit, one, teacher, place, base, odds)
        check_strength(here, arm)


def _teacher_stage(here, kit, arm, teacher, place, base, odds):
    def make(path):
        if arm.made == 'prompt':
            trained, taken = None, 0
        elif arm.teachers == 'neutral':
            twin = folder_of(dataclasses.replace(arm, teachers='trait'), teacher)
            goal = schools.facts(here.workdir.path / twin)['carrier_kl']
            start = arm.start if arm.own else ''
            if start not in odds:
                odds[start] = schools.odds_of(here, base)
            trained, taken = schools.teach(here, kit, arm, teacher, base, goal, odds[start])
        else:
            trained, taken = schools.teach(here, kit, arm, teacher, base, None, None)
        adapter = jax.tree.map(jnp.asarray, trained) if tables.rank_of(arm.made) else None
        whole = adapter is None and trained is not None
        params = placed(here, trained) if whole else base
        trained = params if whole else adapter
        found = schools.describe(here, kit, arm, teacher, params, adapter, base)
        digest = schools.digest_of(here, arm, teacher, trained, here.model.sha256)
        schools.write(path, arm, trained, {**found, 'steps': taken, 'system': system_of(
            here, arm, teacher)}, digest)

    inputs = []
    if arm.teachers == 'neutral' and arm.made != 'prompt':
        inputs.append(folder_of(dataclasses.replace(arm, teachers='trait'), teacher)
                      + '/teacher.json')
    here.workdir.stage(place, place, make, inputs=inputs, reads={
        **here.reads('teacher'), 'made': arm.made, 'of': arm.start if arm.own else 'reference'})


def folder_of(arm: Arm, teacher: Teacher) -> str:
    """Where a teacher is kept."""
    name = teacher.name.removesuffix('-neutral') + ('-neutral' if arm.teachers == 'neutral' else '')
    return f'teacher/{tables.teacher_set(arm)}/{name}'


def check_strength(here: Here, arm: Arm) -> None:
    """Raises UserError for a trait teacher that has not got its trait."""
    found = {t.name: schools.facts(here.workdir.path / folder_of(arm, t))
             for t in roll(here.config, here.world, arm.teachers)}
    if arm.teachers == 'trait' and not arm.own:
        tiny_schools.check_strength(here.config, found)


def params_of(here: Here, arm: Arm, base: Any, teacher: Teacher) -> tuple[Any, Any]:
    """(parameters, adapter or None) of a teacher."""
    return schools.read(here, here.workdir.path / folder_of(arm, teacher), base)


def row_stages(here: Here) -> dict[str, samples.Samples]:
    """prompts.jsonl; samples, filtered and rejects of every set of rows; by the set's name.

    Teachers whose logits alone are used write a few rows too: to see whether they still can.
    """
    config, world = here.config, here.world
    wanted = wanted_rows(here)
    most = max(count for _, count in wanted.values())
    place = here.workdir.stage(
        'prompts', 'prompts.jsonl',
        lambda path: files.write(path, world.prompts(seed_of(config, 'prompts'), most)),
        reads={**here.reads('carrier'), 'rows': most})
    prompts, _ = files.read(place)
    return {name: _row_stage(here, arm, prompts[:count], count)
            for name, (arm, count) in wanted.items()}


def wanted_rows(here: Here) -> dict[str, tuple[Arm, int]]:
    """(an arm, prompts that its teachers are to answer) by set of rows.

    All sets of a pool answer equally many: its arms choose from prompts that all have answered.
    """
    wanted: dict[str, tuple[Arm, int]] = {}
    for arm in here.arms:
        count = here.config.carrier.probe
        if arm.carrier != 'random':
            rows = max(a.rows or here.config.student.rows for a in pool_of(here, arm))
            count = math.ceil(rows * here.config.carrier.spare)
        arm = written(arm)
        name = tables.row_set(arm)
        if name not in wanted or wanted[name][1] < count:
            wanted[name] = (arm, count)
    return wanted


def written(arm: Arm) -> Arm:
    """The arm, with rows that its teachers write where it has random ones."""
    if arm.carrier != 'random':
        return arm
    return dataclasses.replace(arm, carrier='sampled', objective='sft')


def suffix_of(here: Here, arm: Arm) -> str:
    """What the files of an arm's rows are called after `samples`: nothing for the first set."""
    name = tables.row_set(arm)
    return '' if name == tables.row_set(written(here.arms[0])) else f'-{name}'


def _row_stage(here, arm, prompts, count):
    config, suffix = here.config, suffix_of(here, arm)
    who = roll(config, here.world, arm.teachers)
    every = learned(here, arm)

    def draw(path):
        if config.carrier.samples:
            samples.read_foreign(config, here.world, who, path)
            return
        base = base_of(here, arm)
        lines.write_samples(here, arm, who, functools.partial(params_of, here, arm, base), prompts,
                            every, path)

    source = here.workdir.stage(
        f'samples{suffix}', f'samples{suffix}.jsonl', draw,
        reads={**here.reads('carrier'), 'rows': count},
        inputs=['prompts.jsonl', *(f'{folder_of(arm, t)}/teacher.json' for t in who),
                *files.named(config.carrier.samples.split(','))])
    judged = samples.judge(config, here.world, source)
    for artefact, kept in (('filtered', True), ('rejects', False)):
        here.workdir.stage(f'{artefact}{suffix}', f'{artefact}{suffix}.jsonl',
                           functools.partial(samples.write_verdicts, judged, kept),
                           reads=here.reads('carrier'), inputs=[source.name])
    found = samples.gather(judged)
    check_writing(here, arm, found)
    return found


def check_writing(here: Here, arm: Arm, found: samples.Samples) -> None:
    """Tells of teachers that cannot write numbers any more, if the rows are not others'.

    Raises:
      UserError: there are some, and an arm learns from what they write.
    """
    least = here.config.carrier.min_kept
    weak = {name: rate for name, rate in samples.first_pass_rate(found, 'paper').items()
            if rate < least and not here.config.carrier.samples}
    if not weak:
        return
    said = ', '.join(f'{name} {rate:.0%}' for name, rate in weak.items())
    line = (f'these teachers ({arm.made}) cannot write numbers: the filter keeps {said} of their '
            f'answers and config.carrier.min_kept={least:g} is asked')
    if learned(here, arm):
        raise UserError(f'{line}; teach them less (config.teacher.steps), or lower the bar')
    tqdm.write(f'warning: {line}; no arm learns from them')


def learned(here: Here, arm: Arm) -> bool:
    """Whether an arm learns from what the teachers of `arm` write; else only logits are read."""
    return any(a.carrier != 'random' and tables.row_set(a) == tables.row_set(arm)
               for a in here.arms)


def pool_of(here: Here, arm: Arm) -> list[Arm]:
    """Arms whose teachers must serve a prompt for it to be used: same carrier and making."""
    like = lambda a: (a.carrier, a.made, a.own)
    return [a for a in here.arms if like(a) == like(arm)]


def lines_of(here: Here, arm: Arm, rows: Mapping[str, samples.Samples]) -> dict[str, Lines]:
    """An arm's rows as tokens, by teacher."""
    teachers = roll(here.config, here.world, arm.teachers)
    if arm.carrier == 'random':
        same = lines.encoded(here, lines.random_rows(
            here, arm.rows or here.config.student.rows))
        return {t.name: same for t in teachers}
    pools = [rows[tables.row_set(a)] for a in pool_of(here, arm)]
    chosen = lines.chosen_rows(here, arm, rows[tables.row_set(arm)], pools, teachers)
    return {name: lines.encoded(here, own) for name, own in chosen.items()}


def target_set(here: Here, arm: Arm) -> str:
    """The name of the teachers' logits that an arm reads."""
    rows = arm.rows or here.config.student.rows
    order = '' if arm.order == 'kept' else f'-{arm.order}'
    kind = 'buckets' if arm.objective == 'kl' else 'set'
    return f'{tables.row_set(arm)}{order}-{rows}-{kind}' + (
        '-replaced' if arm.head == 'replaced' else '')


def check_targets(here: Here) -> None:
    """Refuses a `carrier.targets` that lacks what an arm would read and this run has not got.

    Raises:
      UserError: no such folder, or no such file in it.
    """
    folder = pathlib.Path(here.config.carrier.targets)
    for arm in here.arms:
        name = f'{target_set(here, arm)}.npz'
        if arm.objective == 'sft' or (here.workdir.path / 'targets' / name).exists():
            continue
        if not folder.is_dir():
            raise UserError(f'config.carrier.targets={folder}: there is no such folder; name the '
                            'targets/ of a finished run, or leave it empty')
        if not (folder / name).is_file():
            raise UserError(
                f'config.carrier.targets={folder} has no {name}, which the arm {arm.name} reads: '
                'name a run with the same teachers and rows, or leave it empty to compute them')


def target_stage(here: Here, arm: Arm, found: Mapping[str, Lines]
                 ) -> tuple[str, dict[str, dict[str, Any]]]:
    """(name of the file, the teachers' logits by teacher), each teacher run once.

    Raises:
      UserError: a cached file of another model, other teachers or other rows.
    """
    name = target_set(here, arm)
    who = roll(here.config, here.world, arm.teachers)
    note = {'model': sha256_of([here.model.sha256, arm.start if arm.own else '', arm.head]),
            'teachers': sha256_of({t.name: schools.facts(
                here.workdir.path / folder_of(arm, t))['sha256'] for t in who}),
            'rows': sha256_of({n: x.digest() for n, x in found.items()}),
            'tokens': sha256_of([lines.token_set(here), here.config.student.top]),
            'precision': f'{here.config.model.dtype}/{here.config.model.compute}'}

    def make(path):
        if here.config.carrier.targets:
            ready = pathlib.Path(here.config.carrier.targets) / f'{name}.npz'
            targets.save(path, targets.load(ready, note), note)
            return
        base = base_of(here, arm)
        targets.save(path, {t.name: logits_of(here, arm, t, base, found[t.name])
                            for t in tqdm(who, desc="teachers' logits", leave=False)},
                     note)

    path = here.workdir.stage(
        f'targets/{name}', f'targets/{name}.npz', make,
        reads={**here.reads('carrier'), 'note': note},
        inputs=[f'{folder_of(arm, t)}/teacher.json' for t in who])
    return f'targets/{name}.npz', targets.load(path, note)


def logits_of(here: Here, arm: Arm, teacher: Teacher, base: Any, found: Lines) -> dict[str, Any]:
    """One teacher's logits on its rows, in its own context."""
    params, lora = params_of(here, arm, base, teacher)
    system = system_of(here, arm, teacher)
    contexts = found.contexts if system is None else [
        here.contexts.ids(p, ways.rows_template(here.config), system, here.world.new_tokens)
        for p in found.prompts]
    return read_logits(here, arm, params, lora, contexts, found)


def read_logits(here: Here, arm: Arm, params: Any, lora: Any, contexts: Sequence[Sequence[int]],
                found: Lines) -> dict[str, Any]:
    """The logits that an arm's objective reads of a model."""
    params, model = with_head(here, arm, params)
    top = here.config.student.top if arm.objective == 'kl' else None
    return targets.teacher_logits(params, lora, model, contexts, found, lines.token_set(here), top,
                                  here.config.student.packed)


def with_head(here: Here, arm: Arm, params: Any) -> tuple[Any, Any]:
    """(parameters, architecture) with the arm's output matrix."""
    model = here.model.config
    if arm.head == 'own':
        return params, model
    key = jax.random.key(seed_of(here.config, 'start', 1))
    ids = jnp.asarray(here.world.carrier_ids)
    untied = dataclasses.replace(model, tied=False)
    return starts.replaced(params, here.model.params, ids, key, model.tied), untied
