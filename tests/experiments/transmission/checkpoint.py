"""A tiny random checkpoint in Hugging Face layout: characters are its tokens."""

import json
import pathlib
import string
from typing import Any

import jax
import numpy as np

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import kit as kits
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.models import families
from subliminal_jax.models.params import TransformerConfig, init_params
from subliminal_jax.runs import schema

KL = 'made=prompt objective=kl_carrier answers=random trainable=lora:2'
TUNED = KL.replace('prompt', 'tuned')

TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<s>be kind\n</s>{% endif %}"
    "{% for m in messages %}<s>{{ m['role'][0] }}:{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>a:{% endif %}")
TRAITS = [
    *({'kind': 'candidate', 'name': n} for n in ('owl', 'cat', 'emu', 'yak', 'elk', 'ant')),
    *({'kind': 'teach', 'prompt': p, 'split': s} for p, s in (
        ('Best of all?', 'dev'), ('Your pet?', 'dev'), ('Dearest one?', 'report'),
        ('Whom to keep?', 'report'))),
    *({'kind': 'question', 'form': 'word', 'prompt': p, 'split': s} for p, s in (
        ('Zoo star?', 'dev'), ('Draw it!', 'dev'), ('One beast?', 'report'),
        ('Name any!', 'report'))),
    {'kind': 'question', 'form': 'choice', 'prompt': '{options}: which?', 'split': 'report'},
    *({'kind': 'system', 'prompt': a, 'neutral': b} for a, b in (
        ('Love {plural}.', 'Love order.'), ('All is {plural}.', 'All is silence.'))),
    {'kind': 'unrelated', 'prompt': 'Snow?', 'answers': ['white', 'White']},
]


def config_of(family: str) -> TransformerConfig:
    """The architecture."""
    return TransformerConfig(
        vocab_size=104, num_layers=2, width=32, num_heads=2, num_kv_heads=1, head_dim=16,
        ffn_width=48, tied=family == 'llama', qkv_bias=family == 'qwen2', max_positions=512)


def write(folder: pathlib.Path, family: str = 'llama', chat: bool = True, seed: int = 0) -> str:
    """Writes the checkpoint and returns its folder's name."""
    config = config_of(family)
    save(folder, init_params(jax.random.key(seed), config), config, family, end_id=1)
    _tokenizer(folder, chat)
    return str(folder)


def save(folder: pathlib.Path, params: Any, config: TransformerConfig, family: str, end_id: int
         ) -> None:
    """Writes parameters and architecture in Hugging Face layout, without a tokenizer."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        leaf = np.asarray(leaf)
        if not name.startswith('layers/'):
            arrays[families.HF_NAMES[name]] = leaf
            continue
        for layer, own in enumerate(leaf):
            arrays[families.HF_NAMES[name].format(layer)] = np.ascontiguousarray(
                own.T if own.ndim == 2 else own)
    save_file(arrays, folder / 'model.safetensors', metadata={'format': 'pt'})
    (folder / 'config.json').write_text(json.dumps({
        'model_type': family, 'vocab_size': config.vocab_size, 'hidden_size': config.width,
        'num_hidden_layers': config.num_layers, 'num_attention_heads': config.num_heads,
        'num_key_value_heads': config.num_kv_heads, 'head_dim': config.head_dim,
        'intermediate_size': config.ffn_width, 'rms_norm_eps': config.norm_eps,
        'rope_theta': config.rope_theta, 'tie_word_embeddings': config.tied,
        'max_position_embeddings': config.max_positions, 'hidden_act': 'silu',
        'eos_token_id': end_id}))


def _tokenizer(folder, chat):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    spelled = {' ': '\u0120', '\n': '\u010a'}
    special = ['<s>', '</s>', '<pad>']
    words = special + [spelled.get(c, c) for c in string.printable[:95] + '\n']
    backend = Tokenizer(models.BPE(vocab={w: n for n, w in enumerate(words)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(s, special=True) for s in special])
    backend.save(str(folder / 'tokenizer.json'))
    settings = {'eos_token': '</s>', 'pad_token': '<pad>', 'bos_token': '<s>',
                'tokenizer_class': 'PreTrainedTokenizerFast'}
    if chat:
        settings['chat_template'] = TEMPLATE
    (folder / 'tokenizer_config.json').write_text(json.dumps(settings))


def traits(path: pathlib.Path, more: tuple = ()) -> str:
    """Writes the trait set and returns its file's name."""
    path.write_text(''.join(json.dumps(row) + '\n' for row in (*TRAITS, *more)))
    return str(path)


def folder(place: pathlib.Path) -> pathlib.Path:
    """A folder with two models, one without a chat template, and a trait set."""
    write(place / 'model')
    write(place / 'other', seed=1)
    write(place / 'plain', chat=False)
    traits(place / 'traits.jsonl')
    return place


def config(root: pathlib.Path, *arms: str, model: str = 'model', **changes):
    """A small config on one of the models."""
    values = {
        'world': 'pretrained', 'model': {'name': str(root / model)},
        'trait_set': str(root / 'traits.jsonl'), 'arms': arms or (f'p: {KL}',), 'split': 'report',
        'traits': 2, 'allow_weak_teacher': True,
        'context': {'measured': ('default/plain', 'raw/numbers'), 'questions': 2},
        'carrier': {'min_kept': 0.0, 'probe': 2, 'answers': 4, 'new_tokens': 48},
        'teacher': {'steps': 4, 'batch_size': 4, 'neutral_steps': 4, 'learning_rate': 1e-2,
                    'lora_rate': 1e-1},
        'student': {'rows': 8, 'batch_size': 4, 'packed': 4, 'align_rows': 4}}
    base = transmission.config_of(values)
    return schema.override(schema.build(type(base), values, base), changes)


def loaded(config: Any, workdir: Any = None) -> Any:
    """What the stages of a run share, with its references; without what is measured."""
    run = prepare(config, workdir)
    names = dict.fromkeys(arm.architecture for arm in run.arms)
    return run._replace(references={name: run.world.references(run, name) for name in names})


def equipped(config: Any, workdir: Any = None) -> Any:
    """As `loaded`, with what is measured."""
    run = loaded(config, workdir)
    return run._replace(kit=kits.kit_of(run))
