"""The experiment: what its stages share, its stages in order, and its results."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from subliminal_jax.carriers import CARRIERS, carrier as find_carrier
from subliminal_jax.carriers.carrier import Carrier
from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import arms as tables, foreign, pairs, roll as rolls
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.defences import DEFENCES
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.starts import STARTS
from subliminal_jax.experiments.transmission.traits import TRAITS, Trait
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.runs import (
    UserError,
    Workdir,
    read_json,
    sha256_of,
    to_dict,
    unknown_name,
)


class Run(NamedTuple):
    """What the stages share.

    Attributes:
      config, workdir, world, trait: of the run.
      arms: in order.
      references: parameters by architecture, one a reference; empty before their stage.
      kit: what is measured (kit.Kit), once there are references.
      memory: what several arms read, by its name.
    """

    config: Any
    workdir: Workdir | None
    world: World
    trait: Trait
    arms: list[Arm]
    references: Mapping[str, list[Any]]
    kit: Any
    memory: dict[Any, Any]

    @property
    def together(self) -> bool:
        """Whether models are small enough to be read side by side."""
        return self.world.engine('all').together

    @property
    def log(self) -> Callable[..., None] | None:
        """What takes the rows of a training; None outside of a run's folder."""
        return None if self.workdir is None else self.workdir.log

    def remember(self, name: Any, make: Callable[[], Any]) -> Any:
        """What was made under a name, or is now."""
        if name not in self.memory:
            self.memory[name] = make()
        return self.memory[name]

    def carrier(self, arm: Arm | None = None) -> Carrier:
        """An arm's carrier: its own, the config's, or the world's."""
        name = (arm.carrier if arm else '') or self.config.carrier.name
        return carrier_of(self.config, name) if name else self.world.carrier

    def roll(self, kind: str) -> list[rolls.Teacher]:
        """All teachers of a kind."""
        return rolls.roll(self.config, self.world.traits, self.world.num_references, kind)

    def of(self, architecture: str) -> 'Run':
        """The run as models of an architecture read and write it: the same, or with the world of
        their tokenizer and what is measured in it."""
        world = self.world.dialects.get(architecture)
        if world is None or world is self.world:
            return self
        memory = self.remember(('memory', architecture), dict)
        run = self._replace(world=world, memory=memory)
        if self.kit is None:
            return run
        from subliminal_jax.experiments.transmission import kit as kits

        return run._replace(kit=run.remember('kit', lambda: kits.kit_of(run)))

    def rows(self, arm: Arm) -> int:
        """How many rows an arm's students see in a pass."""
        return arm.rows or self.config.student.rows

    def reads(self, *groups: str) -> dict[str, Any]:
        """The config fields that a stage depends on: these groups, and what every stage reads."""
        fields = to_dict(self.config)
        skipped = {'arms', 'curves', 'matrix', 'power', 'tried', 'allow_weak_teacher', 'save_every',
                   'teacher', 'carrier', 'student', 'gate'} - set(groups)
        return {**{name: value for name, value in fields.items() if name not in skipped},
                'weights': self.world.sha256}


def carrier_of(config: Any, name: str) -> Carrier:
    """A registered carrier; one that has problems, with those of the config's file if there is one.

    Raises:
      UserError: no such carrier, or a file that cannot be used.
    """
    found = find_carrier(name)
    if config.carrier.problems and found.with_problems:
        return found.with_problems(config.carrier.problems)
    return found


def prepare(config: Any, workdir: Workdir | None = None) -> Run:
    """Everything that is known before the first stage, checked.

    Raises:
      UserError: an arm, a trait, a context or a question that cannot be.
    """
    from subliminal_jax.experiments.transmission.worlds import WORLDS

    arms = checked_arms(config)
    trait, _ = TRAITS.find(config.trait)
    world = WORLDS.find(config.world)[0].make(config, arms)
    for arm in arms:
        check_architectures(world, arm)
    if trait.estimator == 'gamma' and len(world.traits) < 2:
        raise UserError("one trait only has no gamma, which compares a teacher's own trait with "
                        'the others; take two or more')
    run = Run(config, workdir, world, trait, arms, {}, None, {})
    for arm in arms:
        check_answers(run, arm)
        check_arm(run, arm)
    check_gate(config, trait, arms)
    check_problems(run)
    trait.check(run)
    return run


def check_architectures(world: Any, arm: Arm) -> None:
    """Raises UserError for an architecture that the world has not got."""
    for name in (arm.architecture, arm.students):
        if name == 'second' and name not in world.architectures:
            raise UserError(f'arm {arm.name}: architecture second is a second pretrained model: '
                            'name it, --config.second.name=')
        if name not in world.architectures:
            raise UserError(f'arm {arm.name}: ' + str(unknown_name(
                'architecture of this world', name, tuple(world.architectures))))


def checked_arms(config: Any) -> list[Arm]:
    """The arms of a config, checked beside its other fields.

    Raises:
      UserError: one that cannot be.
    """
    arms = tables.parse(config.arms)
    tables.check_kinds(arms, TRAITS.find(config.trait)[0].kinds)
    tables.check_foreign(arms, config.carrier.samples)
    foreign.check_units(config)
    student = config.student
    if student.batch_size % student.packed:
        raise UserError(
            f'config.student.batch_size={student.batch_size} is no multiple of '
            f'config.student.packed={student.packed}: a step reads whole packs; lower packed, or '
            'change the batch')
    if (student.batch_size // student.packed) % student.micro_batches:
        raise UserError(
            f'config.student.micro_batches={student.micro_batches} does not divide the '
            f'{student.batch_size // student.packed} packs of a step')
    pairs.check(config, arms)
    return arms


def check_gate(config: Any, trait: Trait, arms: list[Arm]) -> None:
    """Raises UserError for a gate without rows, or without twins, to read."""
    if trait.estimator != 'gamma' and config.carrier.link_rows:
        raise UserError(
            f'config.carrier.link_rows: the first link compares teachers of several traits, and '
            f'trait={trait.name} is one: set --config.carrier.link_rows=0')
    if trait.gated and all(arm.teachers != 'neutral' for arm in arms):
        raise UserError(f'trait={trait.name} has a gate, which compares its teachers with neutral '
                        'twins: add the first arm once more with teachers=neutral')
    if trait.gated or not (config.gate.asked or config.gate.only):
        return
    if not config.carrier.link_rows or all(arm.answers == 'random' for arm in arms):
        raise UserError(
            'config.gate reads rows that teachers write: set --config.carrier.link_rows=64 and '
            'give an arm sampled answers, or leave config.gate.asked and config.gate.only false')


def check_problems(run: Run) -> None:
    """Raises UserError for a file of problems that no carrier of the run would read."""
    path, main = run.config.carrier.problems, run.carrier().name
    names = {main, *(run.carrier(arm).name for arm in run.arms)}
    if path and not any(CARRIERS[name].with_problems for name in names if name in CARRIERS):
        raise UserError(f'config.carrier.problems={path}: the carrier {main} has no problems; take '
                        '--config.carrier.name=reasoning, or leave it empty')


def check_answers(run: Run, arm: Arm) -> None:
    """Raises UserError for a carrier that is not registered, or cannot constrain answers."""
    carrier = run.carrier(arm)
    if arm.answers == 'constrained' and carrier.grammar is None:
        raise UserError(f'arm {arm.name}: answers=constrained needs a grammar, and the carrier '
                        f'{carrier.name} has none: take answers=sampled, or another carrier')


def check_arm(run: Run, arm: Arm) -> None:
    """Raises UserError for teachers that the run cannot have, for what is done to its rows or in
    its training where that cannot be, and for a layer that the model has not got."""
    from subliminal_jax.experiments.transmission import paraphrase, picks

    TEACHER_KINDS.find(arm.made)[0].check(run, arm)
    for row, rest in (STARTS.find(arm.start), DEFENCES.find(arm.defence)):
        row.check(run, arm, rest)
    paraphrase.check(run, arm)
    picks.check(run, arm)
    check_tokens(run, arm)
    kind, _, number = arm.trainable.partition(':')
    if kind == 'layer':
        check_layer(run, arm, f'trainable={arm.trainable}', int(number))


def check_tokens(run: Run, arm: Arm) -> None:
    """Raises UserError where a teacher's probabilities, or choices among its tokens, would be read
    by students that have other tokens."""
    if arm.student and OBJECTIVES[arm.objective].target is None and arm.tokens == 'all' \
            and not OBJECTIVES[arm.objective].pairs:
        return
    own, theirs = (run.of(name).world.vocabulary for name in (arm.architecture, arm.students))
    if own != theirs:
        raise UserError(f'arm {arm.name}: {arm.architecture} and {arm.students} have other tokens, '
                        'and only text passes between them: use objective=sft with tokens=all')


def check_layer(run: Run, arm: Arm, asked: str, number: int) -> None:
    """Raises UserError for a layer that the arm's model has not got."""
    count = run.world.architectures[arm.students].num_layers
    if number >= count:
        raise UserError(f'arm {arm.name}: {asked}: the model has {count} layers, 0 to {count - 1}')


def run(config: Any, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    return finish(*results_of(config, workdir))


def results_of(config: Any, workdir: Workdir, check: Callable[[Run], None] = lambda run: None
               ) -> tuple[Run, dict[str, Any]]:
    """Runs every stage: (the run, its own part of results.json).

    Args:
      config: of the run.
      workdir: its folder.
      check: what else is asked of the run, before its first stage.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    from subliminal_jax.experiments.transmission import arm_stages, results

    prepared = prepare(config, workdir)
    check(prepared)
    with jax.default_matmul_precision('highest'):
        prepared, samples, texts, before = before_students(prepared)
        if config.gate.only:
            return prepared, results.gate_body(prepared, samples, before)
        trained = arm_stages.student_stages(prepared, samples, texts)
        predicted = arm_stages.geometry_stages(prepared)
    arm_stages.answers_stage(prepared, trained)
    arm_stages.free_stage(prepared, trained)
    return prepared, results.body(prepared, samples, trained, predicted, before)


def before_students(prepared: Run) -> tuple[Run, Mapping[str, Any], Mapping[str, Any],
                                            dict[str, Any]]:
    """Every stage up to the students: references, teachers, rows, and what is read of them.

    Returns:
      (the run with references and what is measured, rows by set, the references' texts by
      architecture, the entries `reference`, `first_link` and `gate` of results.json).

    Raises:
      UserError: a gate that is asked for and not passed, among all else.
    """
    from subliminal_jax.experiments.transmission import (
        first_link,
        gate,
        kit as kits,
        stages,
        teacher_stages,
    )

    config = prepared.config
    stages.context_stage(prepared)
    if config.carrier.targets:
        stages.check_targets(prepared)
    prepared = with_references(prepared)
    prepared = prepared._replace(kit=kits.kit_of(prepared))
    texts = stages.text_stages(prepared)
    before = {'reference': {name: facts for name in prepared.references if (
        facts := prepared.of(name).world.reference_facts(prepared.of(name), name, texts[name]))}}
    teacher_stages.teacher_stages(prepared)
    if prepared.trait.gated:
        before['broad'] = gate.broad(prepared)
        if config.gate.only:  # its figures are the teachers' own: nobody has to write a row
            return prepared, {}, texts, {**before, 'first_link': {}, 'gate': {}}
        if not config.allow_weak_teacher:
            gate.check_broad(before['broad'])
    samples = stages.row_stages(prepared)
    before['first_link'] = {name: first_link.entry(prepared, arrays) for name, arrays in
                            first_link.link_stages(prepared, samples).items()}
    before['gate'] = gate.entries(prepared, samples, before['first_link'])
    if config.gate.asked:
        gate.check(before['gate'])
    return prepared, samples, texts, before


def with_references(prepared: Run) -> Run:
    """The run with the references of every architecture that an arm has."""
    names = dict.fromkeys(name for arm in prepared.arms
                          for name in (arm.architecture, arm.students))
    return prepared._replace(references={
        name: prepared.of(name).world.references(prepared.of(name), name) for name in names})


def finish(prepared: Run, body: Mapping[str, Any],
           page: Callable[[pathlib.Path, dict[str, Any]], str] | None = None) -> str:
    """results.json, experiments.jsonl, the page (by default transmission's); returns the table."""
    from subliminal_jax.experiments.transmission import results
    from subliminal_jax.report import transmission as report

    config, workdir = prepared.config, prepared.workdir
    seeds = {'root': config.seed, 'split': config.split,
             'teachers': {t.name: t.seed for t in prepared.roll('trait')}}
    written = workdir.write_results(body, seeds=seeds, published=results.PUBLISHED)
    if config.split == 'report' and not config.gate.only:
        record(workdir, written)
    return (page or report.write)(workdir.path, read_json(workdir.path / 'results.json'))


def record(workdir: Workdir, results: dict[str, Any]) -> None:
    """Adds a report run to experiments.jsonl beside its folder; nothing is ever removed there."""
    entry = {'id': sha256_of([results['config_sha256'], results['headline']])[:16],
             'experiment': results['experiment'], 'config_sha256': results['config_sha256'],
             'command': results['command'], 'verdict': results['verdict'],
             'headline': results['headline']}
    place = workdir.path.parent / 'experiments.jsonl'
    if entry['id'] not in {row['id'] for row in files.finished(place)}:
        files.append(place, [entry])
