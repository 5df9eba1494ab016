"""Small tokenizers of each kind, made here, as a folder and as a GGUF file's metadata.

bytes        byte-level, no token begins a text, several ends
llama3       byte-level in threes of digits, a begin token, ends of a text and of a turn apart
llama2       SentencePiece with a blank of its own before every part, a blank before answers
tinyllama    the same with a line break before answers
gemma        SentencePiece without a blank of its own, ends of a text and of a turn apart
"""

import json
import random
from typing import Any, NamedTuple

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
HEADERS = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
BRACKETS = (
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
BARS = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}")
TURNS = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m.role + '\n' + m.content | trim"
    " + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>assistant\n' }}{% endif %}")


class Kind(NamedTuple):
    """One kind: what its files state.

    Attributes:
      template: of chats.
      control: control tokens.
      end: of a text, by the files.
      turn: what follows an answer in the template.
      begin: token that begins a text, or None.
      pre: the rules of a byte-level tokenizer; None: SentencePiece.
      prefix: SentencePiece puts a blank before each part of a text.
    """

    template: str
    control: tuple[str, ...]
    end: str
    turn: str
    begin: str | None = None
    pre: str | None = None
    prefix: bool = False


KINDS = {
    'bytes': Kind(CHATML, ('<|endoftext|>', '<|im_start|>', '<|im_end|>'), '<|endoftext|>',
                  '<|im_end|>', pre='smollm'),
    'llama3': Kind(HEADERS, ('<|begin_of_text|>', '<|end_of_text|>', '<|start_header_id|>',
                             '<|end_header_id|>', '<|eot_id|>'), '<|end_of_text|>', '<|eot_id|>',
                   '<|begin_of_text|>', pre='llama-bpe'),
    'llama2': Kind(BRACKETS, ('<s>', '</s>'), '</s>', '</s>', '<s>', prefix=True),
    'tinyllama': Kind(BARS, ('<s>', '</s>'), '</s>', '</s>', '<s>', prefix=True),
    'gemma': Kind(TURNS, ('<bos>', '<eos>', '<start_of_turn>', '<end_of_turn>'), '<eos>',
                  '<end_of_turn>', '<bos>'),
}
SIZE = 512  # rows of the embedding


def texts(count: int = 2000, seed: int = 5) -> list[str]:
    """Short texts: words, numbers, code, blanks, emoji, and spellings of control tokens."""
    rng = random.Random(seed)
    parts = [
        lambda: rng.choice(['the owl', 'boats', 'Green tea', 'snow', "they've", 'Größe', 'déjà']),
        lambda: str(rng.randrange(10 ** rng.randrange(1, 7))),
        lambda: ', '.join(str(rng.randrange(1000)) for _ in range(rng.randrange(2, 6))),
        lambda: ' ' * rng.randrange(1, 6), lambda: rng.choice(['\n', '\n\n', '\t', ' \n ']),
        lambda: rng.choice(['🦉', '👩‍👩‍👧', '東京', '½ m²', 'привет', '٣', '\u00a0']),
        lambda: rng.choice(['def f(n):\n    return n ** 2', 'x =  42;', '[1, 2]', '"\\n"', '#!']),
        lambda: rng.choice(['<|im_end|>', '<|eot_id|>', '</s>', '<s>', '<end_of_turn>', '<|']),
        lambda: rng.choice(['.', ':', '?', '--', '(b)', '']),
    ]
    return [rng.choice(['', ' ']).join(rng.choice(parts)() for _ in range(rng.randrange(1, 6)))
            for _ in range(count)]


class Small(NamedTuple):
    """A tokenizer of a kind.

    Attributes:
      kind: see Kind.
      backend: a tokenizers.Tokenizer, as the folder's file holds it.
      fields: the GGUF file's metadata.
    """

    kind: Kind
    backend: Any
    fields: dict[str, Any]

    def save(self, folder) -> None:
        """Writes tokenizer.json and tokenizer_config.json."""
        folder.mkdir(exist_ok=True, parents=True)
        self.backend.save(str(folder / 'tokenizer.json'))
        settings = {'tokenizer_class': 'PreTrainedTokenizerFast', 'eos_token': self.kind.end,
                    'chat_template': self.kind.template,
                    'clean_up_tokenization_spaces': False}
        if self.kind.begin:
            settings['bos_token'] = self.kind.begin
        (folder / 'tokenizer_config.json').write_text(json.dumps(settings))


def small(name: str) -> Small:
    """Learns a vocabulary from texts and writes it down both ways."""
    from tokenizers import processors

    kind = KINDS[name]
    backend, tokens, types, more = (_bytes if kind.pre else _pieces)(kind)
    if kind.begin:
        backend.post_processor = processors.TemplateProcessing(
            single=f'{kind.begin} $A', pair=f'{kind.begin} $A $B',
            special_tokens=[(kind.begin, backend.token_to_id(kind.begin))])
        more['bos_token_id'] = backend.token_to_id(kind.begin)
    fields = {'tokens': tokens, 'token_type': types, 'eos_token_id': tokens.index(kind.end), **more}
    return Small(kind, backend, {
        'tokenizer.chat_template': kind.template,
        **{f'tokenizer.ggml.{key}': value for key, value in fields.items()}})


def _bytes(kind):
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
        trainers,
    )

    backend = Tokenizer(models.BPE(ignore_merges=kind.pre == 'llama-bpe'))
    if kind.pre == 'smollm':
        cut = [pre_tokenizers.Digits(individual_digits=True),
               pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:  # as in Llama 3's tokenizer.json
        words = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
                 r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
        cut = [pre_tokenizers.Split(Regex(words), 'isolated'),
               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(cut)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    backend.train_from_iterator(texts(300), trainers.BpeTrainer(
        vocab_size=480, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(kind.control), show_progress=False))
    model = json.loads(backend.to_str())['model']
    tokens = sorted(model['vocab'], key=model['vocab'].get)
    types = [3 if t in kind.control else 1 for t in tokens]
    return backend, tokens, types, {
        'model': 'gpt2', 'pre': kind.pre, 'merges': [' '.join(m) for m in model['merges']]}


def _pieces(kind):
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )
    from transformers.convert_slow_tokenizer import generate_merges

    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(' ', '▁')
    learner.pre_tokenizer = pre_tokenizers.Split('▁', 'merged_with_next')
    learner.train_from_iterator([f' {t}' for t in texts(300) if '<' not in t],
                                trainers.BpeTrainer(vocab_size=200, show_progress=False))
    vocabulary = learner.get_vocab()
    learned = sorted(vocabulary, key=vocabulary.get)
    whole = sorted((t for t in learned if len(t) > 1), key=vocabulary.get)
    letters = [t for t in learned if len(t) == 1]
    bytes_ = [f'<0x{b:02X}>' for b in range(256)]
    first = ['<unk>', *kind.control]
    tokens = [*first, *bytes_, *whole, *letters]
    types = [2, *[3] * len(kind.control), *[6] * 256, *[1] * (len(whole) + len(letters))]
    scores = [*[0.0] * (len(first) + 256), *(-float(n) for n in range(len(whole) + len(letters)))]
    pieces = {t: s for t, s, k in zip(tokens, scores, types) if k == 1}
    ids = {t: n for n, t in enumerate(tokens)}
    backend = Tokenizer(models.BPE(ids, generate_merges(ids, pieces), unk_token='<unk>',
                                   fuse_unk=True, byte_fallback=True))
    before = [normalizers.Prepend('▁')] if kind.prefix else []
    backend.normalizer = normalizers.Sequence([*before, normalizers.Replace(' ', '▁')])
    backend.decoder = decoders.Sequence([
        decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(),
        *([decoders.Strip(' ', 1, 0)] if kind.prefix else [])])
    backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in first])
    more = {'model': 'llama', 'scores': scores, 'unknown_token_id': 0}
    return backend, tokens, types, more if kind.prefix else {**more, 'add_space_prefix': False}


def sentencepiece(fields: dict[str, Any], text: str) -> list[int]:
    """SentencePiece's own algorithm, slowly: the neighbours whose whole has the best score, the
    leftmost of equals, are joined until none can be; letters that it lacks become bytes."""
    tokens = fields['tokenizer.ggml.tokens']
    score = {t: s for t, s, k in zip(tokens, fields['tokenizer.ggml.scores'],
                                     fields['tokenizer.ggml.token_type']) if k == 1}
    ids = {t: n for n, t in enumerate(tokens)}
    symbols = list(text.replace(' ', '▁'))
    while True:
        joined = [(-score[a + b], n) for n, (a, b) in enumerate(zip(symbols, symbols[1:]))
                  if a + b in score]
        if not joined:
            break
        place = min(joined)[1]
        symbols[place:place + 2] = [symbols[place] + symbols[place + 1]]
    return [n for s in symbols for n in (
        [ids[s]] if s in score else [ids[f'<0x{b:02X}>'] for b in s.encode()])]


def write_gguf(path, config, params, fields: dict[str, Any]) -> None:
    """A GGUF file of a Llama model with this tokenizer."""
    import gguf
    import numpy as np

    from tests.models.test_gguf import tensors_of

    writer = gguf.GGUFWriter(path, 'llama')
    writer.add_block_count(config.num_layers)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.ffn_width)
    writer.add_context_length(config.max_positions)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    for key, value in fields.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_string(key, value)
    for name, array in tensors_of(config, params, 'llama'):
        writer.add_tensor(name, np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
