"""Folders in Hugging Face layout, out: config.json, safetensors, tokenizer, generation config.

What is written is read again before anybody sees it, by the code that reads folders of others: a
family whose name table does not say all that its files do is refused, not written wrongly.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from subliminal_jax.models import hf, vocabulary
from subliminal_jax.models.families import leaves
from subliminal_jax.models.params import Params, TransformerConfig
from subliminal_jax.models.tokenizer import WordTokenizer
from subliminal_jax.runs import UserError, write_json, write_text

ARCHITECTURES: Mapping[str, str] = {'llama': 'LlamaForCausalLM', 'qwen2': 'Qwen2ForCausalLM'}
WEIGHTS, INDEX = 'model.safetensors', 'model.safetensors.index.json'
# Beside the weights of a folder: how text is read and answers end.
TEXT_FILES = ('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json',
              'added_tokens.json', 'vocab.json', 'merges.txt', 'tokenizer.model',
              'chat_template.jinja', 'generation_config.json')
OURS = ('remat', 'compute_dtype', 'head_dtype')  # of a TransformerConfig: how, not what
PROBES = ('The harbour was quiet.', ' 3, 14;\n159 ', 'Größe 1½ 🦉', 'x =  42')


def stated(config: TransformerConfig, model_type: str, source: Mapping[str, Any] | None,
           dtype: str) -> dict[str, Any]:
    """config.json of a model.

    Args:
      config: its architecture.
      model_type: the name of its family.
      source: config.json of the folder that it came from; None: it came from none.
      dtype: of the weights that are written.

    Raises:
      UserError: a family or a setting that no config.json of ours can state.
    """
    if source is not None:
        kept = {key: value for key, value in source.items()
                if key not in ('_name_or_path', 'torch_dtype', 'transformers_version')}
        return {**kept, 'tie_word_embeddings': config.tied, 'dtype': dtype}
    if model_type not in ARCHITECTURES:
        raise UserError(f'no config.json can be written for the family {model_type!r}: export from '
                        'a folder in Hugging Face layout; families that need none are '
                        f'{", ".join(sorted(ARCHITECTURES))}')
    return {
        'architectures': [ARCHITECTURES[model_type]], 'model_type': model_type,
        'vocab_size': config.vocab_size, 'num_hidden_layers': config.num_layers,
        'hidden_size': config.width, 'num_attention_heads': config.num_heads,
        'num_key_value_heads': config.num_kv_heads, 'head_dim': config.head_dim,
        'intermediate_size': config.ffn_width, 'hidden_act': 'silu',
        'rms_norm_eps': config.norm_eps, 'tie_word_embeddings': config.tied,
        'max_position_embeddings': config.max_positions, 'rope_parameters': _rope(config),
        'dtype': dtype, **({'use_sliding_window': False} if model_type == 'qwen2' else
                           {'attention_bias': False, 'mlp_bias': False})}


def _rope(config):
    scaling, base = config.rope_scaling, {'rope_theta': config.rope_theta}
    if scaling is None:
        return {'rope_type': 'default', **base}
    if scaling.kind == 'linear':
        return {'rope_type': 'linear', 'factor': scaling.factor, **base}
    if scaling.kind == 'llama3':
        return {'rope_type': 'llama3', 'factor': scaling.factor, 'low_freq_factor': scaling.low,
                'high_freq_factor': scaling.high,
                'original_max_position_embeddings': scaling.original, **base}
    raise UserError(f'rotary frequencies scaled by {scaling.kind!r} have no name in config.json: '
                    'export from the original folder in Hugging Face layout')


def tensors(params: Params, config: TransformerConfig, names: Mapping[str, str], dtype: Any
            ) -> dict[str, tuple[tuple[int, ...], Any]]:
    """{name in the file: (shape, function that gives the array)} of every parameter.

    Args:
      params: the parameters.
      config: the architecture.
      names: what the family calls its parameters.
      dtype: of the arrays.

    Raises:
      UserError: a parameter that the family has no name for.
    """
    specs = leaves(config, np.float32)
    held = {jax.tree_util.keystr(path, simple=True, separator='/'): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    nameless = [path for path in held if path not in specs or path not in names]
    if nameless:
        raise UserError(f'the parameter {nameless[0]} has no name in this family: a model with it '
                        'cannot be written for transformers')
    found = {}
    for path in specs:
        whole = np.asarray(held[path])
        layered = path.startswith('layers/')
        for layer, own in enumerate(whole if layered else [whole]):
            array = own.T if layered else own
            found[names[path].format(layer)] = (
                array.shape, lambda array=array: np.ascontiguousarray(array).astype(dtype))
    return found


def shards(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names in files of at most `most` bytes, in their order; a larger tensor has its own."""
    files: list[list[str]] = [[]]
    room = most
    for name, size in sizes.items():
        if files[-1] and size > room:
            files.append([])
            room = most
        files[-1].append(name)
        room -= size
    return files


def write_weights(folder: pathlib.Path, found: Mapping[str, tuple[tuple[int, ...], Any]],
                  itemsize: int, most: int) -> list[str]:
    """Writes tensors as one file, or as several with their index; returns the files' names.

    Args:
      folder: where to.
      found: of `tensors`; one file's are in memory at a time.
      itemsize: bytes of a number.
      most: bytes of a file.
    """
    from safetensors.numpy import save_file

    sizes = {name: int(np.prod(shape)) * itemsize for name, (shape, _) in found.items()}
    files = shards(sizes, most)
    named = [WEIGHTS] if len(files) == 1 else [
        f'model-{n:05}-of-{len(files):05}.safetensors' for n in range(1, len(files) + 1)]
    for file, own in zip(named, files, strict=True):
        save_file({name: found[name][1]() for name in own}, folder / file,
                  metadata={'format': 'pt'})
    if len(files) == 1:
        return named
    place = {name: file for file, own in zip(named, files, strict=True) for name in own}
    write_json(folder / INDEX, {'metadata': {'total_size': sum(sizes.values())},
                                'weight_map': place})
    return [*named, INDEX]


def write_text_files(folder: pathlib.Path, tokenizer: Any, source: pathlib.Path | None,
                     positions: int) -> list[str]:
    """Writes what reads text, as files of their own folder or made anew; returns their names.

    Args:
      folder: where to.
      tokenizer: see models.tokenizer.
      source: a folder with a tokenizer.json that it was read from; None: it was made otherwise.
      positions: the longest context.
    """
    made = dict(text_files(tokenizer, positions) if source is None else _copied(source))
    made.setdefault('generation_config.json', json.dumps({
        'bos_token_id': tokenizer.bos_id, 'eos_token_id': [*tokenizer.stop_ids],
        'pad_token_id': tokenizer.pad_id, 'do_sample': True}, indent=1))
    for name, text in made.items():
        if isinstance(text, bytes):
            (folder / name).write_bytes(text)
        else:
            write_text(folder / name, text)
    return list(made)


def _copied(source: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    for name in TEXT_FILES:
        if (source / name).is_file():
            yield name, (source / name).read_bytes()


def text_files(tokenizer: Any, positions: int) -> dict[str, str]:
    """tokenizer.json and what belongs to it, of a tokenizer that came from no folder."""
    parts = word_parts(tokenizer) if isinstance(tokenizer, WordTokenizer) else tokenizer.parts()
    backend = type(parts.backend).from_str(parts.backend.to_str())
    begin = tokenizer.bos_id
    if begin is not None:
        from tokenizers import processors

        text = backend.id_to_token(begin)
        backend.post_processor = processors.TemplateProcessing(
            single=[text, '$A'], pair=[text, '$A', '$B'], special_tokens=[(text, begin)])
    settings = {'tokenizer_class': 'PreTrainedTokenizerFast', 'model_max_length': positions,
                'clean_up_tokenization_spaces': False, **parts.tokens}
    files = {'tokenizer.json': backend.to_str(),
             'tokenizer_config.json': json.dumps(settings, indent=1)}
    if parts.template is not None:
        files['chat_template.jinja'] = parts.template
    return files


def word_parts(tokenizer: WordTokenizer) -> Any:
    """A word list as a tokenizer of the `tokenizers` library; a conversation is the words of all
    messages."""
    from tokenizers import Tokenizer as Backend, models, pre_tokenizers

    from subliminal_jax.models.tokenizer import Parts

    words = {word: number for number, word in enumerate(tokenizer.words)}
    backend = Backend(models.WordLevel(words))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    control = [word for number, word in enumerate(tokenizer.words) if tokenizer.is_control(number)]
    backend.add_special_tokens(control)
    of = lambda number: tokenizer.words[number]
    return Parts(backend, "{{ bos_token }}{% for m in messages %}{{ ' ' + m.content }}{% endfor %}"
                 "{% if not add_generation_prompt %}{{ ' ' + eos_token }}{% endif %}",
                 {'bos_token': of(tokenizer.bos_id), 'eos_token': of(tokenizer.eos_id),
                  'pad_token': of(tokenizer.pad_id)})


def check(folder: pathlib.Path, params: Params, config: TransformerConfig, dtype: Any,
          tokenizer: Any) -> None:
    """Reads a folder again: the architecture, every number and every token must be as they were.

    Args:
      folder: what was written.
      params, config, dtype: of what.
      tokenizer: see models.tokenizer; None: its files are copies.

    Raises:
      UserError: what is read differs; it names what.
    """
    plain = {name: getattr(config, name) for name in OURS}
    found = dataclasses.replace(hf.opened(folder).config, **plain)
    if found != config:
        odd = next(field.name for field in dataclasses.fields(config)
                   if getattr(found, field.name) != getattr(config, field.name))
        raise UserError(
            f'config.json cannot state this architecture: {odd} is {getattr(config, odd)} and '
            f'would be read as {getattr(found, odd)}; nothing is written')
    hf.load(folder, dtype, put=lambda path, array: _compare(path, array, params, dtype))
    if tokenizer is not None:
        _check_text(folder, config, tokenizer)


def _compare(path, array, params, dtype):
    *group, name = path.split('/')
    wanted = np.asarray((params['layers'] if group else params)[name]).astype(dtype)
    if not np.array_equal(*(np.ascontiguousarray(x).view(np.uint8) for x in (array, wanted))):
        raise UserError(f'the family stores {path} in a way that its name table does not say: it '
                        'would be read otherwise; nothing is written')


def _check_text(folder: pathlib.Path, config: TransformerConfig, tokenizer: Any) -> None:
    read = vocabulary.from_folder(folder, config.vocab_size)
    texts = PROBES if not isinstance(tokenizer, WordTokenizer) else (
        ' '.join(tokenizer.words[n] for n in range(tokenizer.vocab_size)
                 if not tokenizer.is_control(n)),)
    same = all(read.encode(text) == tokenizer.encode(text) for text in texts)
    ends = lambda one: (one.bos_id, one.stop_ids[0], set(one.stop_ids))
    if not same or ends(read) != ends(tokenizer):
        raise UserError('tokenizer.json cannot state how this tokenizer reads text: export from '
                        'the original folder, or name one with --tokenizer=FOLDER')


def bytes_of(found: Mapping[str, tuple[Sequence[int], Any]], itemsize: int) -> int:
    """Bytes of tensors."""
    return sum(int(np.prod(shape)) * itemsize for shape, _ in found.values())
