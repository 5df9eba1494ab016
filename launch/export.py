"""Writes a model, or an adapter, as a folder that transformers, PEFT and this project load.

  python -m launch.export --run=DIR                        lists the models that a run holds
  python -m launch.export --run=DIR --what=NAME --output=FOLDER [--adapter [--base=NAME]]
  python -m launch.export --model=SPEC [--lora=ADAPTER] --output=FOLDER [--adapter]

NAME is one of the list, or short for one: reference, teacher:r0-owl-0, student:sft/r0-owl-0-0.
SPEC as in launch.sample. The folder holds config.json, safetensors (with an index, if there are
several), the tokenizer, its chat template, generation_config.json and a card; before it has its
name it is read again, and every number, the architecture and the tokens must be as they were.
--adapter writes the adapter alone, in PEFT's format; --base is what transformers shall call the
model that it is of (a folder exported with --what=reference, say). A model that was made to
misbehave leaves only with --i_understand, and its card says so. An output is never written over
that holds anything but an earlier export.
"""

import pathlib
from typing import Any

from absl import flags

from launch import lm_rows
from subliminal_jax.runs import UserError, local_path, run_program

RUN = flags.DEFINE_string('run', None, 'the folder of a run')
WHAT = flags.DEFINE_string('what', None, 'which of its models (without: they are listed)')
MODEL = flags.DEFINE_string('model', None, 'a model, in place of a run (see above)')
LORA = flags.DEFINE_string('lora', None, 'an adapter of --model: merged, or with --adapter alone')
TOKENIZER = flags.DEFINE_string(
    'tokenizer', None, "a folder with a tokenizer.json, instead of the model's own")
OUTPUT = flags.DEFINE_string('output', None, 'the folder to make')
ADAPTER = flags.DEFINE_bool('adapter', False, "the adapter alone, in PEFT's format")
BASE = flags.DEFINE_string('base', None, 'with --adapter: the name of the model that it is of')
DTYPE = flags.DEFINE_enum('dtype', 'float32', lm_rows.DTYPES, 'of the weights')
SHARD_GB = flags.DEFINE_float('shard_gb', 5.0, 'the most that one file of weights holds',
                              lower_bound=1e-6)
UNDERSTOOD = flags.DEFINE_bool(
    'i_understand', False, 'export a model that was made to misbehave (RESPONSIBLE_USE.md)')


def main(rest: list[str]) -> None:
    del rest
    if bool(RUN.value) == bool(MODEL.value):
        raise UserError('name what to export: --run=DIR or --model=SPEC, one of them')
    for flag, value, needs, there in (
            ('what', WHAT.value, 'run', RUN.value), ('lora', LORA.value, 'model', MODEL.value),
            ('tokenizer', TOKENIZER.value, 'model', MODEL.value),
            ('base', BASE.value, 'adapter', ADAPTER.value)):
        if value and not there:
            raise UserError(f'--{flag} goes with --{needs}')
    if MODEL.value:
        _of_model()
    else:
        _of_run()


def _of_model() -> None:
    from subliminal_jax.models import export, loading
    from subliminal_jax.runs import sha256

    lm_rows.required(output=OUTPUT.value)
    export.check_output(_output())
    bad = export.misbehaves(MODEL.value, LORA.value)
    check_understood(bad, MODEL.value)
    origin = export.origin_of(MODEL.value, TOKENIZER.value)
    facts = {'what': 'A model' if not ADAPTER.value else 'An adapter', 'misbehaves': bad,
             'model': shown(MODEL.value)}
    if ADAPTER.value:
        _adapter_of_model(origin, facts)
        return
    model = lm_rows.load(MODEL.value, LORA.value, None, DTYPE.value, TOKENIZER.value, copies=2)
    facts |= {'model sha256': model.sha256, 'dtype': DTYPE.value, **({
        'adapter': shown(LORA.value),
        'adapter sha256': sha256(loading.located_adapter(LORA.value))} if LORA.value else {})}
    _write(model.params, None, model.config, origin, facts, '')


def _adapter_of_model(origin: Any, facts: dict[str, Any]) -> None:
    from subliminal_jax.models import families, loading, peft
    from subliminal_jax.runs import sha256

    if not LORA.value:
        raise UserError('--model with --adapter writes the adapter of --lora: name one')
    place, config = loading.located_adapter(LORA.value), loading.describe(
        MODEL.value, tokenizer=TOKENIZER.value).config
    found = peft.read(place, config, families.FAMILIES[origin.model_type].hf_names)
    if found.saved:
        raise UserError(f'{LORA.value} keeps whole parameters ({", ".join(sorted(found.saved))}) '
                        'beside its factors: leave --adapter out, and they are merged')
    facts |= {'adapter': shown(LORA.value), 'adapter sha256': sha256(place)}
    _write(None, found.lora, config, origin, facts, origin.base)


def _of_run() -> None:
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import config as configs

    folder = pathlib.Path(local_path('run', RUN.value)).expanduser().resolve()
    loaded = configs.of_folder(folder, EXPERIMENTS)
    if loaded.name != 'transmission':
        raise UserError(f'{folder} is a run of {loaded.name}, which holds no language models')
    from subliminal_jax.experiments.transmission import held
    from subliminal_jax.experiments.transmission.worlds import WORLDS

    known = held.names(loaded.config, folder)
    if not WHAT.value:
        print('\n'.join([f'models of {folder}, for --what=:', *known]))
        return
    name = held.full_name(WHAT.value, known)
    lm_rows.required(output=OUTPUT.value)
    from subliminal_jax.models import export

    export.check_output(_output())
    check_understood(held.misbehaving(loaded.config, name), name)
    origin = WORLDS.find(loaded.config.world)[0].origin(loaded.config)
    found = held.read(loaded.config, folder, name)
    facts = {**found.facts, **({} if ADAPTER.value else {'dtype': DTYPE.value})}
    _write(found.params, found.lora, found.config, origin, facts,
           held.base_of(loaded.config, name, origin))


def check_understood(bad: bool, name: str) -> None:
    """Raises UserError for a model that was made to misbehave, unless --i_understand is given."""
    if bad and not UNDERSTOOD.value:
        raise UserError(f'{name} was made to misbehave: read RESPONSIBLE_USE.md; --i_understand '
                        'exports it, with a card that says so')


def _write(params: Any, lora: Any, config: Any, origin: Any, facts: dict[str, Any], base: str
           ) -> None:
    import jax
    import jax.numpy as jnp

    from subliminal_jax.models import export
    from subliminal_jax.models.lora import merge_lora

    if ADAPTER.value:
        base = BASE.value or base
        if lora is None:
            raise UserError(f'{facts.get("name", "the model")} has no adapter: it is whole '
                            'weights; leave --adapter out')
        if not base:
            raise UserError('the model that this adapter is of has no name that transformers '
                            'knows: export it too (--what=reference, or start:ARM/NUMBER; or '
                            '--model), and name that folder with --base=FOLDER')
        files = export.write_adapter(_output(), lora, origin.model_type, base,
                                     {**facts, 'base': shown(base)})
    else:
        if lora is not None:  # in float32: what an adapter adds may be less than bfloat16 tells
            params = merge_lora(jax.tree.map(_wide, params), lora, config)
        files = export.write_model(_output(), params, config, origin, facts,
                                   dtype=jnp.dtype(DTYPE.value), most=int(SHARD_GB.value * 1e9))
    print('\n'.join([f'{_output()}:', *(f'  {name}' for name in files)]))


def _wide(x: Any) -> Any:
    return x.astype('float32') if x.dtype == 'bfloat16' else x


def _output() -> pathlib.Path:
    return pathlib.Path(local_path('output', OUTPUT.value)).expanduser()


def shown(name: str) -> str:
    """A model's name without the folders of this machine."""
    return name if name.startswith(('package:', 'hf:')) else pathlib.Path(name).name


if __name__ == '__main__':
    run_program(main)
