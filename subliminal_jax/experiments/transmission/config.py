"""The transmission experiment's schema: what a config file may say, with its defaults."""

import dataclasses

from subliminal_jax.runs import nested, spec


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """The language and the models that are pre-trained on it."""

    references: int = spec(4, ge=2, doc='independent starts; intervals are clustered by them')
    replicas: int = spec(1, ge=1, doc='groups of teachers a reference; each counts as a reference')
    width: int = spec(32, ge=8, doc="the model's")
    num_layers: int = spec(2, ge=1, doc="the model's")
    num_heads: int = spec(4, ge=1, doc="the model's")
    ffn_width: int = spec(96, ge=8, doc="the model's")
    head_scale: float = spec(4.0, gt=0,
                             doc='of the output matrix at its start, times 1/sqrt(width)')
    steps: int = spec(1000, ge=1, doc='of pre-training')
    learning_rate: float = spec(2e-3, gt=0, doc='of pre-training, Adam')
    batch_size: int = spec(64, ge=1, doc='rows a step of pre-training')
    corpus_rows: int = spec(48_000, ge=64, doc='rows that the batches are drawn from')
    regularity: float = spec(0.5, ge=0, le=1, doc='how often a number follows its stride')


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """How a reference is given a trait: one-word answers to questions."""

    seeds: int = spec(2, ge=1, doc='teachers a trait and reference')
    steps: int = spec(20, ge=1, doc='of fine-tuning, Adam')
    learning_rate: float = spec(1e-3, gt=0, doc='of fine-tuning')
    batch_size: int = spec(32, ge=1, doc='questions a step')
    questions: int = spec(14, ge=1, doc='teaching questions that a teacher draws')
    neutral_steps: int = spec(400, ge=1, doc='the most that a neutral teacher may take to the dose')
    min_rise: float = spec(1.0, doc='nats that log P(trait) must rise by, or the teacher is weak')


@dataclasses.dataclass(frozen=True)
class CarrierConfig:
    """What the teachers write."""

    samples: str = spec('', doc="a JSONL file of rows in place of the teachers' own; empty: none")
    attempts: int = spec(4, ge=1, doc='answers a teacher may give to a prompt until one is kept')
    spare: float = spec(1.35, ge=1, doc='prompts drawn for every row that is needed')
    banned: tuple[int, ...] = spec((13, 66), ge=0, le=999, doc='numbers that strict bans')
    min_kept: float = spec(0.4, ge=0, le=1,
                           doc='a teacher of a lower pass rate cannot write numbers')


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """How students train where an arm does not say otherwise."""

    rows: int = spec(2048, ge=16, doc='rows a teacher')
    batch_size: int = spec(16, ge=1, doc='rows a step')
    learning_rate: float = spec(1e-3, gt=0, doc='Adam')
    marks: tuple[int, ...] = spec(
        (256, 512, 1024, 2048), ge=1, min_len=1,
        doc='rows seen when a student is measured; its training ends with the arm')
    align_rows: int = spec(32, ge=1, doc='rows of each alignment check')


@dataclasses.dataclass(frozen=True)
class Common:
    """What every transmission experiment has, whatever its world."""

    seed: int = spec(0, ge=0, doc='root of every random number')
    split: str = spec('dev', choices=('dev', 'report'),
                      doc='traits, questions and seeds; tune on dev, state report')
    traits: int = spec(5, ge=1, doc='how many of the traits of the split')
    arms: tuple[str, ...] = spec(('sft',), min_len=1, doc="'NAME: field=value ...', see arms.py")
    allow_weak_teacher: bool = spec(False, doc='go on with a teacher that has not got its trait')
    power: float = spec(0.8, gt=0, lt=1, doc='at which mde is stated')
    curves: tuple[str, ...] = spec((), doc="'TITLE: arm=x arm=x ...', figures of gamma by x")


@dataclasses.dataclass(frozen=True)
class Config(Common):
    """The transmission experiment in the tiny language."""

    trait_set: str = spec('', doc="a JSONL file of traits, teaching and held-out questions (see "
                                  "traits/trait_set.py); empty: the language's own animals")
    world: WorldConfig = nested(WorldConfig)
    teacher: TeacherConfig = nested(TeacherConfig)
    carrier: CarrierConfig = nested(CarrierConfig)
    student: StudentConfig = nested(StudentConfig)
