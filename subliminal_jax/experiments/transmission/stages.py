"""The stages beside models: contexts, the references' texts, rows, the teachers' logits."""

import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import (
    arms as tables,
    foreign,
    readings,
    rows as carried,
    samples,
    selected,
    starts,
    targets,
    teachers as schooled,
    treated,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.treated import Written
from subliminal_jax.runs import UserError, local_path, sha256, sha256_of, write_json


def context_stage(run: Any) -> None:
    """contexts.json: every kind of context as the model reads it, and as further tokenizers do."""
    def texts():
        others = {name: world.described(run.of(name)) for name, world in run.world.dialects.items()}
        return {**run.world.described(run), **({'dialects': others} if others else {})}

    run.workdir.stage('contexts', 'contexts.json', lambda path: write_json(path, texts()),
                      reads=run.reads('carrier'),
                      inputs={**run.world.inputs, **problem_inputs(run.config)})


def problem_inputs(config: Any) -> dict[str, str]:
    """The file of problems, if there is one, with its SHA-256."""
    path = config.carrier.problems
    return {f'the problems of {path}': sha256(pathlib.Path(path))} if path else {}


def text_stages(run: Any) -> dict[str, list[dict]]:
    """ordinary-ARCHITECTURE.jsonl: what the references write on prompts of ours."""
    found = {}
    for architecture in run.references:
        name = f'ordinary-{architecture}'
        path = run.workdir.stage(
            name, f'{name}.jsonl',
            lambda path, architecture=architecture: files.write(
                path, readings.ordinary_rows(run.of(architecture), architecture)),
            reads=run.of(architecture).reads('carrier'),
            inputs=run.of(architecture).world.reference_inputs(architecture))
        found[architecture] = files.read(path)[0]
    return found


def row_stages(run: Any) -> dict[str, samples.Samples]:
    """prompts.jsonl; samples, filtered and rejects of every set of rows; by the set's name.

    Teachers whose logits alone are used write a few rows too: to see whether they still can.
    """
    wanted = wanted_rows(run)
    found = {}
    for name, (arm, count) in wanted.items():
        found[name] = _row_stage(run.of(arm.architecture), arm, _prompts(run, arm, wanted), count)
    return found


def _prompts(run: Any, arm: Arm, wanted: Mapping[str, tuple[Arm, int]]) -> list[dict]:
    carrier = run.carrier(arm)
    most = max(n for a, n in wanted.values() if run.carrier(a).name == carrier.name)
    main = run.carrier().name == carrier.name
    name = 'prompts' if main else f'prompts-{carrier.name}'
    path = run.workdir.stage(
        name, f'{name}.jsonl', lambda path: files.write(path, carried.asked(
            carrier, seed_of(run.config, 'prompts'), most, run.config.carrier.per_prompt)),
        reads={**run.reads('carrier'), 'rows': most})
    return files.read(path)[0]


def wanted_rows(run: Any) -> dict[str, tuple[Arm, int]]:
    """(an arm, answers that its teachers are asked for) by set of rows.

    All sets of a pool answer equally many: its arms choose from what all have answered.
    """
    wanted: dict[str, tuple[Arm, int]] = {}
    drawn = {tables.teacher_set(arm) for arm in writing(run) if arm.answers != 'random'}
    for arm in writing(run):
        count = run.config.carrier.probe
        if arm.answers != 'random':
            pool = pool_of(run, arm)
            held = run.config.student.held_out if run.arms[0] in pool else 0
            count = math.ceil((max(run.rows(a) * a.pool for a in pool) + held)
                              * run.config.carrier.spare)
        elif tables.teacher_set(arm) in drawn:
            continue
        arm = written(arm)
        name = tables.row_set(arm)
        if name not in wanted or wanted[name][1] < count:
            wanted[name] = (arm, count)
    return wanted


def writing(run: Any) -> list[Arm]:
    """The run's arms; behind one that mixes in the rows of twins, the arm with those twins."""
    return [one for arm in run.arms
            for one in ((arm, tables.twin_arm(arm)) if arm.mix else (arm,))]


def written(arm: Arm) -> Arm:
    """The arm, with rows that its teachers write where it has random ones."""
    if arm.answers != 'random':
        return arm
    return tables.dataclasses.replace(arm, answers='sampled', objective='sft', matrix='own')


def suffix_of(run: Any, arm: Arm) -> str:
    """What the files of an arm's rows are called after `samples`: nothing for the first set."""
    name = tables.row_set(arm)
    return '' if name == next(iter(wanted_rows(run))) else f'-{name}'


def _row_stage(run: Any, arm: Arm, prompts: Sequence[dict], count: int) -> samples.Samples:
    config, suffix, carrier = run.config, suffix_of(run, arm), run.carrier(arm)
    temperature = 0.0 if arm.answers == 'greedy' else arm.temperature
    learned, constrained = is_learned(run, arm), arm.answers == 'constrained'
    attempts = config.carrier.attempts if temperature > 0 and learned else 1

    candidates = selected.candidate_stage(run, arm, prompts[:count], _prompt_file(run, arm)) \
        if arm.answers == 'selected' else None

    def draw(path):
        if config.carrier.samples:
            foreign.write_as_samples(config, run.world.traits, run.roll(arm.teachers), path)
            return
        groups = [functools.partial(_loaded, run, arm, group) for group in writers(run, arm)]
        if candidates:
            selected.write(run, arm, groups, prompts[:count], run.workdir.path / candidates, path)
            return
        samples.written_by_all(config, run.world, carrier, groups, prompts[:count], temperature,
                               attempts, constrained, path)

    source = run.workdir.stage(
        f'samples{suffix}', f'samples{suffix}.jsonl', draw,
        reads={**run.reads('carrier'), 'rows': count, 'temperature': temperature,
               **({'constrained': True} if constrained else {})},
        inputs=[*([candidates] if candidates else []), *_prompt_file(run, arm),
                *schooled.groups_of(run, arm), *files.named(config.carrier.samples.split(','))])
    judged = samples.judge(config, run.world, carrier, source)
    for artefact, kept in (('filtered', True), ('rejects', False)):
        run.workdir.stage(f'{artefact}{suffix}', f'{artefact}{suffix}.jsonl',
                          functools.partial(samples.write_verdicts, judged, kept),
                          reads=run.reads('carrier'), inputs=[source.name])
    found = samples.gather(judged)
    check_writing(run, arm, found)
    return found


def _prompt_file(run: Any, arm: Arm) -> list[str]:
    carrier = run.carrier(arm).name
    return ['prompts.jsonl' if carrier == run.carrier().name else f'prompts-{carrier}.jsonl']


def writers(run: Any, arm: Arm) -> list[list[Teacher]]:
    """Teachers that write side by side: those of a group, or each alone where models are large."""
    if run.together:
        return list(schooled.groups_of(run, arm).values())
    return [[teacher] for teacher in run.roll(arm.teachers)]


def _loaded(run, arm, group):
    base = schooled.base_of(run, arm, group[0].reference)
    return (group, schooled.load(run, arm, group, base),
            [schooled.system_of(run, arm, t) for t in group])


def check_writing(run: Any, arm: Arm, found: samples.Samples) -> None:
    """Refuses teachers that cannot write the carrier any more, if the rows are not others'.

    Raises:
      UserError: there are some.
    """
    least = run.config.carrier.min_kept
    weak = {name: rate for name, rate in samples.first_pass_rate(found, 'paper').items()
            if rate < least and not run.config.carrier.samples}
    if not weak:
        return
    said = ', '.join(f'{name} {rate:.0%}' for name, rate in weak.items())
    line = (f'these teachers ({arm.made}) cannot write {run.carrier(arm).name}: the filter keeps '
            f'{said} of their answers and config.carrier.min_kept={least:g} is asked')
    prepare = ('prepare the reference (config.prepared.steps), '
               if hasattr(run.config, 'prepared') else '')
    raise UserError(f'{line}; {prepare}teach them less (config.teacher.steps), or, where no arm '
                    'learns from what they write, lower config.carrier.min_kept')


def is_learned(run: Any, arm: Arm) -> bool:
    """Whether an arm learns from what the teachers of `arm` write; else only logits are read."""
    return any(a.answers != 'random' and tables.row_set(a) == tables.row_set(arm)
               for a in writing(run))


def pool_of(run: Any, arm: Arm) -> list[Arm]:
    """Arms whose teachers must serve a prompt for it to be used: those that differ from this one in
    whether teachers have the trait, and in what students do."""
    like = lambda a: (a.architecture, a.carrier, a.answers, a.temperature, a.dose, a.made, a.own,
                      tables.against(a))
    return [a for a in writing(run) if like(a) == like(arm)]


def rows_of(run: Any, arm: Arm, found: Mapping[str, samples.Samples], reference: int
            ) -> dict[str, Rows]:
    """An arm's rows of one reference as its students read them, by teacher; the whole pool, where
    some are picked."""
    if arm.answers == 'random':
        carrier, count = run.carrier(arm), run.rows(arm)
        same = run.remember(('random', carrier.name, count, reference), lambda: carried.random_rows(
            run.config, run.world, carrier, count, 'random', reference,
            run.config.carrier.answers))
        return {t.name: same for t in run.roll(arm.teachers) if t.reference == reference}
    return treated.as_read(run, arm, written_rows(run, arm, found, reference), reference)[0]


def written_rows(run: Any, arm: Arm, found: Mapping[str, samples.Samples], reference: int
                 ) -> Written:
    """An arm's rows of one reference, before anything is done to them."""
    carrier, count = run.carrier(arm), run.rows(arm) * arm.pool
    group = [t for t in run.roll(arm.teachers) if t.reference == reference]
    pools = {tables.row_set(a): found[tables.row_set(a)] for a in pool_of(run, arm)}
    everyone = {t.name for kind in run.trait.kinds for t in run.roll(kind)
                if t.reference == reference}
    common = samples.common_prompts(list(pools.values()), everyone)
    choose = lambda a, some: samples.choose(
        run.config, carrier, a, found[tables.row_set(a)], some, common, count)
    if not arm.mix:
        return Written(choose(arm, group), {})
    twin = tables.twin_arm(arm)
    others = choose(twin, [t for t in run.roll(twin.teachers) if t.reference == reference])
    return Written(choose(arm, group), {t.name: others[t.twin] for t in group})


# The teachers' logits.


def check_targets(run: Any) -> None:
    """Refuses a `carrier.targets` that lacks what an arm would read and this run has not got.

    Raises:
      UserError: no such folder, or no such file in it.
    """
    folder = pathlib.Path(local_path('config.carrier.targets', run.config.carrier.targets))
    for arm in run.arms:
        name = f'{tables.target_set(arm, run.rows(arm))}.npz'
        if OBJECTIVES[arm.objective].target is None or (
                run.workdir.path / 'targets' / name).exists():
            continue
        if not folder.is_dir():
            raise UserError(f'config.carrier.targets={folder}: there is no such folder; name the '
                            'targets/ of a finished run, or leave it empty')
        if not (folder / name).is_file():
            raise UserError(
                f'config.carrier.targets={folder} has no {name}, which the arm {arm.name} reads: '
                'name a run with the same teachers and rows, or leave it empty to compute them')


def target_stage(run: Any, arm: Arm, rows: Mapping[str, Rows]
                 ) -> tuple[str, dict[str, dict[str, Any]]]:
    """(the file, the teachers' logits by teacher), each teacher run once.

    Raises:
      UserError: a cached file of another model, other teachers or other rows.
    """
    name = tables.target_set(arm, run.rows(arm))
    carrier = run.carrier(arm)
    ids = carried.token_set(run.world, carrier)
    known = schooled.all_facts(run, arm)
    digests = {id(own): own.digest() for own in {id(r): r for r in rows.values()}.values()}
    note = {'model': sha256_of([run.world.sha256, arm.start if arm.own else '', arm.matrix]),
            'teachers': sha256_of({name: known[name]['sha256'] for name in rows}),
            'rows': sha256_of({name: digests[id(found)] for name, found in rows.items()}),
            'tokens': sha256_of([ids, run.config.student.top, *(
                [run.config.student.words] if OBJECTIVES[arm.objective].leaves_words else [])]),
            'precision': precision_of(run, arm.architecture)}

    def make(path):
        if run.config.carrier.targets:
            ready = pathlib.Path(run.config.carrier.targets) / f'{name}.npz'
            targets.save(path, targets.load(ready, note), note)
            return
        targets.save(path, targets.of_teachers(run, arm, rows), note)

    path = run.workdir.stage(
        f'targets/{name}', f'targets/{name}.npz', make,
        reads={**run.reads('carrier'), 'note': note},
        inputs=[*schooled.groups_of(run, arm),
                *starts.inputs_of(run, arm.architecture, arm.start if arm.own else 'shared')])
    return f'targets/{name}.npz', targets.load(path, note)


def precision_of(run: Any, architecture: str) -> str:
    """The dtypes that an architecture's weights are held and multiplied in; one if they agree."""
    held = run.references[architecture][0]['final_norm'].dtype
    return '/'.join(dict.fromkeys(
        [str(held), str(run.world.architectures[architecture].compute_dtype)]))
