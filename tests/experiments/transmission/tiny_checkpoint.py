"""A model of the tiny language as a folder in Hugging Face layout: words are its tokens."""

import json
import pathlib
from typing import Any

from subliminal_jax.data import tiny_language as tiny
from tests.experiments.transmission import checkpoint

# <bos> and the texts with single blanks, the last one where an answer begins.
TEMPLATE = "<bos> {% for m in messages %}{{ m['content'] }} {% endfor %}"


def write(folder: pathlib.Path, params: Any, config: Any) -> str:
    """Writes one model and returns the folder's name.

    Args:
      folder: made if need be.
      params: of one model.
      config: its TransformerConfig.
    """
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    checkpoint.save(folder, params, config, 'llama', tiny.IDS[tiny.END])
    # what is no word reads as <pad>, which no text says: an answer with it is refused
    backend = Tokenizer(models.WordLevel(dict(tiny.IDS), unk_token=tiny.PAD))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(
        [AddedToken(word, special=True) for word in (tiny.PAD, tiny.BOS, tiny.END)])
    backend.post_processor = processors.TemplateProcessing(  # tells that texts begin with <bos>
        single=f'{tiny.BOS} $A', special_tokens=[(tiny.BOS, tiny.IDS[tiny.BOS])])
    backend.save(str(folder / 'tokenizer.json'))
    (folder / 'tokenizer_config.json').write_text(json.dumps({
        'eos_token': tiny.END, 'pad_token': tiny.PAD, 'bos_token': tiny.BOS,
        'tokenizer_class': 'PreTrainedTokenizerFast', 'chat_template': TEMPLATE}))
    return str(folder)
