"""The schema of transmission on real weights: what a config file may say, with its defaults."""

import dataclasses

from subliminal_jax.experiments.transmission import config as shared
from subliminal_jax.runs import nested, spec

TEMPLATES = ('default', 'empty', 'raw')
CONTEXTS = tuple(f'{t}/{q}' for t in TEMPLATES for q in ('plain', 'numbers'))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model that all of it is about."""

    name: str = spec('package:smollm2-135m-instruct',
                     doc='package:NAME, hf:OWNER/NAME, a folder, or a .gguf file')
    chat_date: str = spec('', doc="YYYY-MM-DD, for a chat template that asks for today's date")
    dtype: str = spec('float32', choices=('float32', 'bfloat16'), doc='of frozen weights')
    compute: str = spec('float32', choices=('float32', 'bfloat16'),
                        doc="of the layers' products; final norm, head and softmax are float32")
    devices: int = spec(1, ge=1, doc='that share the weights, cut over them')
    remat: bool = spec(False, doc='recompute layers in the backward pass: less memory, more time')


@dataclasses.dataclass(frozen=True)
class ContextConfig:
    """How texts reach the model; all of it is written out in contexts.json."""

    student: str = spec('default', choices=TEMPLATES,
                        doc="the students' rows: the chat template with its default system message,"
                            ' with an empty one, or raw text')
    measured: tuple[str, ...] = spec(CONTEXTS, choices=CONTEXTS, min_len=1,
                                     doc='in which students answer; gamma is of the first')
    questions: int = spec(12, ge=1, doc='held-out questions, the first of the split')
    unrelated: int = spec(8, ge=1, doc='questions on which drift is measured')


@dataclasses.dataclass(frozen=True)
class TeacherConfig(shared.TeacherConfig):
    """How a model is given a trait, where that is not a system prompt."""

    steps: int = spec(16, ge=1, doc='of fine-tuning, Adam')
    learning_rate: float = spec(2e-5, gt=0, doc='of fine-tuning all weights')
    lora_rate: float = spec(1e-3, gt=0, doc='of fine-tuning an adapter')
    batch_size: int = spec(16, ge=1, doc='questions a step')
    questions: int = spec(16, ge=1, doc='teaching questions that a teacher draws')
    neutral_steps: int = spec(40, ge=1, doc='the most that a neutral teacher may take to the dose')


@dataclasses.dataclass(frozen=True)
class CarrierConfig(shared.CarrierConfig):
    """What the teachers write, and on what their logits are read."""

    form: str = spec('request', choices=('request', 'turn', 'list'),
                     doc="a row is a request in the students' template; or, for models that do not "
                         "write numbers when asked, a list to go on with: begun in the answer's "
                         'turn of the chat template, or bare')
    new_tokens: int = spec(44, ge=2, doc='the most that an answer takes, its end included')
    answers: int = spec(8, ge=1, doc='random answers a prompt')
    probe: int = spec(8, ge=1, doc='rows a teacher writes where no arm needs more')
    targets: str = spec('', doc="a folder of another run's cached teacher logits; empty: none")


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """How students train where an arm does not say otherwise."""

    seeds: int = spec(1, ge=1, doc='students a teacher')
    rows: int = spec(256, ge=1, doc='rows a teacher')
    batch_size: int = spec(16, ge=1, doc='rows a step')
    packed: int = spec(8, ge=1, doc='rows that are packed together: what they share is read once')
    lora_rate: float = spec(5e-4, gt=0, doc='of an adapter')
    learning_rate: float = spec(2e-5, gt=0, doc='of all weights')
    alpha: float | None = spec(None, gt=0, doc="an adapter's strength; none: its rank")
    schedule: str = spec('constant', choices=('constant', 'linear', 'cosine'), doc='of the rate')
    warmup_steps: int = spec(0, ge=0, doc='in which the rate rises')
    marks: tuple[int, ...] = spec((), ge=1, doc='rows seen when a student is measured')
    align_rows: int = spec(16, ge=1, doc='rows of an alignment check')
    at_once: int = spec(4, ge=1, doc='adapters trained in one program')
    top: int = spec(32, ge=0, doc='likeliest other tokens that a cached full KL keeps')


@dataclasses.dataclass(frozen=True)
class Config(shared.Common):
    """Transmission on real weights."""

    traits: int = spec(2, ge=1, doc='how many of the traits of the split')
    names: tuple[str, ...] = spec((), doc='these traits of the split, in place of the first')
    trait_set: str = spec('animals', doc='animals, trees, a JSONL file, or several joined by +')
    arms: tuple[str, ...] = spec(('kl_carrier: objective=kl_carrier carrier=random',), min_len=1,
                                 doc="'NAME: field=value ...', see arms.py")
    model: ModelConfig = nested(ModelConfig)
    context: ContextConfig = nested(ContextConfig)
    teacher: TeacherConfig = nested(TeacherConfig)
    carrier: CarrierConfig = nested(CarrierConfig)
    student: StudentConfig = nested(StudentConfig)
    tried: int = spec(0, ge=0, doc='configs tried on the split dev before this one, to be reported')
