"""The transmission experiment's schema: what a config file may say, with its defaults.

A world adds its own groups and defaults to `Config` (worlds/).
"""

import dataclasses

from subliminal_jax.runs import MOST_SEED, nested, spec


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """How a reference is given a trait: one-word answers to questions."""

    seeds: int = spec(2, ge=1, le=10_000, doc='teachers a trait and reference')
    steps: int = spec(20, ge=1, doc='of fine-tuning, Adam')
    learning_rate: float = spec(1e-3, gt=0, doc='of fine-tuning all weights')
    lora_rate: float = spec(1e-3, gt=0, doc='of fine-tuning an adapter')
    batch_size: int = spec(32, ge=1, doc='questions a step')
    packed: int = spec(1, ge=1, doc='questions that are packed together')
    questions: int = spec(14, ge=1, doc='teaching questions that a teacher draws')
    neutral_steps: int = spec(400, ge=1, doc='the most that a neutral teacher may take to the dose')
    permute_doses: bool = spec(False, doc='neutral teachers are taken to the dose of any trait '
                                          'teacher of their reference, not of their twin')
    min_rise: float = spec(1.0, doc='what its measure must rise by, or a trait teacher is weak')


@dataclasses.dataclass(frozen=True)
class CarrierConfig:
    """What the teachers write, and on what their logits are read."""

    name: str = spec('', doc="a registered carrier; empty: the world's")
    problems: str = spec('', doc='a file of rows with question and answer, in place of problems '
                                 'that a carrier draws; empty: its own')
    samples: str = spec('', doc="a JSONL file of rows in place of the teachers' own; empty: none")
    attempts: int = spec(4, ge=1, doc='tries at an answer until one is kept')
    per_prompt: int = spec(1, ge=1, doc='answers a teacher gives to each prompt')
    spare: float = spec(1.35, ge=1, doc='answers that are asked for, for every row needed')
    banned: tuple[int, ...] = spec((13, 66), ge=0, le=999, doc='numbers that strict bans')
    min_kept: float = spec(0.4, ge=0, le=1,
                           doc='a teacher of a lower pass rate cannot write the carrier')
    min_tokens: int = spec(4, ge=1, doc='predictions that a row keeps where rows are thinned')
    row_tokens: int = spec(0, ge=0, doc='predictions a row, in the mean, to which written rows are '
                                        "thinned in every arm; 0: to those of an arm's tersest "
                                        'teacher')
    probe: int = spec(64, ge=1, doc='rows a teacher writes where no arm needs more')
    dose_rows: int = spec(64, ge=16, doc='random rows, each of its own prompt, on which doses '
                                         'are measured')
    answers: int = spec(1, ge=1, doc='random answers a prompt')
    candidates: int = spec(8, ge=2, doc='answers of the reference, a place, among which teachers '
                                        'pick where an arm has answers=selected')
    link_rows: int = spec(0, ge=0, doc='rows a teacher on which the first link is read '
                                       '(first_link.py); 0: it is not')
    targets: str = spec('', doc="a folder of another run's cached teacher logits; empty: none")


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """How students train where an arm does not say otherwise."""

    seeds: int = spec(1, ge=1, le=10_000, doc='students a teacher')
    rows: int = spec(2048, ge=1, doc='rows a teacher')
    batch_size: int = spec(16, ge=1, doc='rows a step')
    packed: int = spec(1, ge=1, doc='rows that are packed together: what they share is read once')
    micro_batches: int = spec(1, ge=1, doc="parts in which a step's rows are read: less memory")
    learning_rate: float = spec(1e-3, gt=0, doc='of all weights')
    lora_rate: float = spec(1e-3, gt=0, doc='of an adapter')
    alpha: float | None = spec(None, gt=0, doc="an adapter's strength; none: its rank")
    schedule: str = spec('constant', choices=('constant', 'linear', 'cosine'), doc='of the rate')
    warmup_steps: int = spec(0, ge=0, doc='in which the rate rises')
    marks: tuple[int, ...] = spec((256, 512, 1024, 2048), ge=1, unique=True,
                                  doc='rows seen when a student is measured; it is at its end too')
    align_rows: int = spec(32, ge=1, doc='rows of each alignment check')
    at_once: int = spec(4, ge=1, doc='adapters trained in one program, where models are large')
    free_answers: int = spec(0, ge=0, doc='free answers at T = 1 to each measuring question, of '
                                          'each student and its start: free.jsonl, for a judge')
    free_tokens: int = spec(96, ge=1, doc='the most of such an answer')
    held_out: int = spec(0, ge=0, doc='rows a teacher, kept from all arms, on which what students '
                                      'learned is read (utility.py); 0: it is not')
    words: int = spec(16, ge=0, doc='tokens that a teacher moves most where its trait is asked '
                                    'for, which kl_words leaves out')
    top: int = spec(32, ge=0, doc='likeliest other tokens that a kl_top keeps')


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """What rows have to be before any student learns from them (gate.py)."""

    asked: bool = spec(False, doc='stop where a bound below is not kept')
    only: bool = spec(False, changes_nothing=True,
                      doc='end after the gate: no student is trained')
    min_kept: float = spec(0.6, ge=0, le=1, doc='share of first answers that the filter keeps')
    min_tokens: float = spec(20.0, ge=0, doc='predictions a row')
    min_nats: float = spec(0.1, ge=0, doc='that a row tells its teacher from one of another trait')
    min_broad: float = spec(0.1, ge=0, doc='of a trait that has such a gate (misalignment): by how '
                                           'much its teachers are beyond their neutral twins')


@dataclasses.dataclass(frozen=True)
class Config:
    """What every transmission experiment has, whatever its world."""

    world: str = spec('tiny', doc='where it happens: a registered world (tiny, pretrained)')
    seed: int = spec(0, ge=0, le=MOST_SEED, doc='root of every random number')
    split: str = spec('dev', choices=('dev', 'report'),
                      doc='traits, questions and seeds; tune on dev, state report')
    trait: str = spec('preference', doc='what is taught and measured: a registered trait')
    trait_set: str = spec('', doc="traits, teaching and held-out questions: a JSONL file, a known "
                                  "set (animals, trees), or several joined by +; empty: the "
                                  "language's own animals")
    traits: int = spec(5, ge=1, le=10_000, doc='how many of the traits of the split')
    names: tuple[str, ...] = spec((), unique=True,
                                  doc='these traits of the split, in place of the first')
    arms: tuple[str, ...] = spec(('sft',), min_len=1, doc="'NAME: field=value ...', see arms.py")
    curves: tuple[str, ...] = spec((), unique=True,
                                   doc="'TITLE: x=arm x=arm ...', figures of the effect by x")
    allow_weak_teacher: bool = spec(False, changes_nothing=True,
                                    doc='go on with a teacher that has not got its trait')
    power: float = spec(0.8, gt=0, lt=1, doc='at which mde is stated')
    tried: int = spec(0, ge=0, doc='configs tried on the split dev before this one, to be reported')
    save_every: float = spec(60.0, ge=0, changes_nothing=True,
                             doc='seconds between checkpoints inside of a training')
    teacher: TeacherConfig = nested(TeacherConfig)
    carrier: CarrierConfig = nested(CarrierConfig)
    student: StudentConfig = nested(StudentConfig)
    gate: GateConfig = nested(GateConfig)
