"""Tokenizers: ids by the file's rules, exact decoding, and chat templates, which are untrusted."""

import json

import pytest
from gguf import TokenType
from hypothesis import given, settings, strategies as st

from subliminal_jax.models import gguf_vocabulary, tokenizer as tokenizers, vocabulary
from subliminal_jax.models.tokenizer import WordTokenizer
from subliminal_jax.runs import UserError

TEXTS = [
    'Seven boats left the harbour at dawn; eight came back.', 'x =     42', '\n\n3 apples', 'a  12',
    "they've 3 cats, we'll see 20", 'tabs\tand\r\nbreaks\n \n', 'Größe ½ m², 東京で会う, 👩‍👩‍👧 🦉',
    '          10          spaces   ', 'def f(n):\n    return n ** 2  # ٣ Ⅷ',
    '\u00a0\u2003wide', '']
TEMPLATE = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\n' + m['content'] + '<|stop|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}")
SAID = [{'role': 'user', 'content': 'hi'}]


@pytest.fixture(scope='module', name='learned')
def _learned():
    """(tokens, merges) of a byte-level vocabulary learned from the texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(backend.to_str())['model']
    assert len(model['merges']) > 50
    return sorted(model['vocab'], key=model['vocab'].get), [' '.join(m) for m in model['merges']]


def fields_of(learned, **changed):
    """A GGUF file's metadata: the vocabulary, two control tokens and one that a user defined."""
    tokens, merges = learned
    extra = ['<|start|>', '<|stop|>', '<tool>']
    kinds = [TokenType.NORMAL] * len(tokens) + [TokenType.CONTROL] * 2 + [TokenType.USER_DEFINED]
    fields = {
        'model': 'gpt2', 'pre': 'smollm', 'tokens': tokens + extra, 'merges': merges,
        'token_type': [int(k) for k in kinds], 'eos_token_id': len(tokens) + 1,
        'add_bos_token': False}
    fields = {f'tokenizer.ggml.{k}': v for k, v in {**fields, **changed}.items() if v is not None}
    return {'tokenizer.chat_template': TEMPLATE, **fields}


def made(learned, chat_date=None, **changed):
    return gguf_vocabulary.from_gguf(fields_of(learned, **changed), 512, 'here', chat_date)


@pytest.mark.parametrize('pre', list(gguf_vocabulary.SPLITTERS))
def test_every_text_comes_back_and_its_bytes_are_its_tokens(learned, pre):
    tokenizer = made(learned, pre=pre)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b''.join(map(tokenizer.token_bytes, ids)) == text.encode()
        assert all(0 <= i < tokenizer.vocab_size for i in ids)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_comes_back(learned, text):
    tokenizer = made(learned)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.stop_ids)


def test_rules_of_the_file_decide_where_text_is_cut(learned):
    """Digits are single tokens by `smollm`, whatever stands before them; by GPT-2 `  1` is cut
    before the last blank, and by `llama-bpe` up to three digits stay together."""
    def pieces(text, pre):
        tokenizer = made(learned, pre=pre)
        cut = tokenizer._backend.pre_tokenizer.pre_tokenize_str(text)
        return [''.join(chr(tokenizers.byte_alphabet()[c]) for c in piece) for piece, _ in cut]

    assert pieces('a  12', 'smollm') == ['a', '  ', '1', '2']
    assert pieces('a  12', 'gpt-2') == ['a', ' ', ' 12']
    assert pieces('a  12', 'qwen2') == ['a', ' ', ' ', '1', '2']
    assert pieces('a 1234', 'llama-bpe') == ['a', ' ', '123', '4']
    assert pieces('\n\n3', 'smollm') == ['\n\n', '3']
    assert pieces("I'LL go", 'qwen2') == ['I', "'LL", ' go']


def test_whole_words_and_composed_text(learned):
    """Llama 3 takes a word of the vocabulary as it is; Qwen2 composes accents first."""
    tokens, merges = learned
    word = 'Zqj'
    odd = {'tokens': [*tokens, word], 'merges': merges, 'token_type': [1] * (len(tokens) + 1),
           'eos_token_id': 0}
    assert made(learned, pre='llama-bpe', **odd).encode(word) == [len(tokens)]
    assert len(made(learned, pre='qwen2', **odd).encode(word)) == 3
    for pre, same in (('qwen2', True), ('llama-bpe', False)):
        tokenizer = made(learned, pre=pre)
        assert (tokenizer.encode('e\u0301') == tokenizer.encode('\u00e9')) == same


def test_special_tokens_are_special_only_where_allowed(learned):
    tokenizer = made(learned)
    end = tokenizer.stop_ids[0]
    assert tokenizer.encode('<|stop|>', allow_special=True) == [end]
    plain = tokenizer.encode('<|stop|>')
    assert end not in plain
    assert tokenizer.decode(plain) == tokenizer.decode([end]) == '<|stop|>'
    assert tokenizer.token_bytes(end) == b'<|stop|>'
    with pytest.raises(UserError, match='token 9999'):
        tokenizer.token_bytes(9999)


def test_stop_pad_and_first_tokens(learned):
    tokens = learned[0]
    plain = made(learned)
    assert (plain.stop_ids, plain.pad_id, plain.bos_id) == ((len(tokens) + 1,),) + (
        len(tokens) + 1, None)
    told = made(learned, bos_token_id=3, padding_token_id=4, add_bos_token=True, eot_token_id=5)
    assert (told.stop_ids, told.pad_id, told.bos_id) == ((len(tokens) + 1, 5), 4, 3)
    assert made(learned, bos_token_id=3, add_bos_token=False).bos_id is None


@pytest.mark.parametrize('changed, words', [
    ({'model': 'rwkv'}, "of the kind 'rwkv'.*supported are gpt2 .* --tokenizer=FOLDER"),
    ({'model': None}, 'of the kind None'),
    ({'model': 'llama'}, 'no field tokenizer.ggml.scores'),
    ({'pre': 'tekken'}, "rules 'tekken'.*supported are gpt-2, smollm, qwen2, llama-bpe"),
    ({'pre': None}, 'names no rules .*numbers could be cut otherwise.*--tokenizer=FOLDER'),
    ({'pre': 'default'}, 'names no rules'),
    ({'pre': 'llama-bpe', 'add_bos_token': None}, 'does not say which .*bos_token_id'),
    ({'tokens': None}, 'no field tokenizer.ggml.tokens'),
    ({'merges': None}, 'no field tokenizer.ggml.merges'),
    ({'tokens': 7}, 'no list of tokens'),
    ({'merges': [3]}, 'no list of tokens'),
    ({'token_type': [1, 2]}, 'is corrupt: .* 2 token types'),
    ({'merges': ['a']}, 'is corrupt'),
    ({'merges': ['a nothing']}, 'corrupt vocabulary'),
    ({'eos_token_id': 9999}, 'eos_token_id is 9999'),
    ({'padding_token_id': 'x'}, "padding_token_id is 'x'"),
    ({'eos_token_id': None}, 'no token that ends a text'),
])
def test_a_file_without_a_usable_tokenizer(learned, changed, words):
    with pytest.raises(UserError, match=words):
        made(learned, **changed)


# ---- folders ------------------------------------------------------------------------------------

@pytest.fixture(name='folder')
def _folder(tmp_path, learned):
    made(learned)._backend.save(str(tmp_path / 'tokenizer.json'))
    settings_ = {'eos_token': {'content': '<|stop|>'}, 'chat_template': TEMPLATE}
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps(settings_))
    return tmp_path


def test_a_folder_gives_the_same_ids(folder, learned):
    found, wanted = vocabulary.from_folder(folder, 512), made(learned)
    for text in TEXTS:
        assert found.encode(text) == wanted.encode(text)
        assert found.decode(found.encode(text)) == text
        assert b''.join(map(found.token_bytes, found.encode(text))) == text.encode()
    assert found.stop_ids == wanted.stop_ids
    assert found.chat(SAID) == wanted.chat(SAID)


def test_where_a_folder_keeps_its_template_and_stop_tokens(folder):
    (folder / 'generation_config.json').write_text('{"eos_token_id": [7, 8]}')
    (folder / 'chat_template.jinja').write_text('{{ eos_token }}')
    found = vocabulary.from_folder(folder, 512)
    assert found.stop_ids[1:] == (7, 8)
    assert found.chat(SAID) == '<|stop|>'
    (folder / 'chat_template.jinja').unlink()
    several = [{'name': 'tools', 'template': 'no'}, {'name': 'default', 'template': 'yes'}]
    (folder / 'tokenizer_config.json').write_text(
        json.dumps({'eos_token': '<|stop|>', 'chat_template': several}))
    assert vocabulary.from_folder(folder, 512).chat(SAID) == 'yes'


@pytest.mark.parametrize('file, text, words', [
    ('tokenizer.json', None, 'no tokenizer.json'),
    ('tokenizer.json', '{"model": ', 'is damaged: not JSON'),
    ('tokenizer.json', '{"model": 3}', 'is no tokenizer'),
    ('tokenizer_config.json', '[', 'not JSON'),
    ('tokenizer_config.json', '{"eos_token": "<none>"}', 'no token that ends a text'),
    ('generation_config.json', '{"eos_token_id": "x"}', 'eos_token_id that is none'),
    ('generation_config.json', '{"eos_token_id": 999}', 'belong to different models'),
])
def test_a_folder_without_a_usable_tokenizer(folder, file, text, words):
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(UserError, match=words):
        vocabulary.from_folder(folder, 512)


def test_ids_beyond_the_embedding_are_refused(folder):
    with pytest.raises(UserError, match='the embedding only 300 rows'):
        vocabulary.from_folder(folder, 300)


# ---- chat templates -----------------------------------------------------------------------------

def with_template(learned, template, chat_date=None):
    fields = {**fields_of(learned), 'tokenizer.chat_template': template}
    return gguf_vocabulary.from_gguf(fields, 512, 'here', chat_date)


def test_a_conversation_is_rendered(learned):
    tokenizer = made(learned)
    assert tokenizer.has_chat
    said = [{'role': 'system', 'content': 'Be brief.'}, *SAID]
    assert tokenizer.chat(said) == ('<|start|>system\nBe brief.<|stop|><|start|>user\nhi<|stop|>'
                                    '<|start|>assistant\n')
    assert tokenizer.chat(SAID, add_generation_prompt=False) == '<|start|>user\nhi<|stop|>'
    assert tokenizer.encode(tokenizer.chat(SAID), allow_special=True).count(
        tokenizer.stop_ids[0]) == 1


def test_it_is_what_transformers_renders(learned):
    from transformers import PreTrainedTokenizerFast

    tokenizer = made(learned)
    peer = PreTrainedTokenizerFast(tokenizer_object=tokenizer._backend, chat_template=TEMPLATE)
    for prompt in (True, False):
        wanted = peer.apply_chat_template(SAID, tokenize=False, add_generation_prompt=prompt)
        assert tokenizer.chat(SAID, prompt) == wanted


@pytest.mark.parametrize('template', [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__['os'].system('true') }}",
    "{{ messages.append({'role': 'user', 'content': 'x'}) }}",
    "{{ messages[0].update({'content': 'x'}) }}",
    "{% for i in range(1000000) %}{{ i }}{% endfor %}",
    "{% include '/etc/passwd' %}", "{{ raise_exception('no system message') }}", '{{ 1 / 0 }}',
    '{{ messages[5].content }}', '{% if %}', "{{ 'a' + 1 }}"])
def test_a_hostile_or_broken_template_is_refused(learned, template):
    with pytest.raises(UserError, match='chat template refuses') as caught:
        with_template(learned, template).chat(SAID)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('template', [
    "{{ strftime_now('%d %b %Y') }}",
    "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}",
    "{% macro today() %}{{ strftime_now('%d %b %Y') }}{% endmacro %}{{ today() }}"])
def test_a_template_with_todays_date_is_refused_or_pinned(learned, template):
    with pytest.raises(UserError, match="today's date.*--chat_date=YYYY-MM-DD"):
        with_template(learned, template).chat(SAID)
    assert with_template(learned, template, '2024-07-26').chat(SAID) == '26 Jul 2024'


@pytest.mark.parametrize('date', ['26.7.2024', '2024-13-01', 'today', ''])
def test_a_pinned_date_must_be_one(learned, date):
    with pytest.raises(UserError, match='YYYY-MM-DD'):
        made(learned, chat_date=date)


def test_no_template_is_said(learned):
    fields = fields_of(learned)
    del fields['tokenizer.chat_template']
    tokenizer = gguf_vocabulary.from_gguf(fields, 512, 'here')
    assert not tokenizer.has_chat
    with pytest.raises(UserError, match='no chat template'):
        tokenizer.chat(SAID)


# ---- word lists ---------------------------------------------------------------------------------

def test_a_word_list_is_a_tokenizer():
    tokenizer = WordTokenizer(['owl', 'cat', '7'])
    assert tokenizer.vocab_size == 6
    assert tokenizer.encode(' owl  7 ') == [3, 5]
    assert tokenizer.decode([3, 5]) == 'owl 7'
    assert tokenizer.token_bytes(4) == b'cat'
    assert tokenizer.chat([{'role': 'user', 'content': 'owl'}]) == '<bos> owl'
    assert tokenizer.chat([{'role': 'user', 'content': 'owl'}], False) == '<bos> owl <end>'
    assert tokenizer.encode('<bos> owl <end>', allow_special=True) == [1, 3, 2]
    for text in ('dog', '<end>'):
        with pytest.raises(UserError, match=f'no {text!r}'):
            tokenizer.encode(text)
    for words in (['a', 'a'], ['a b'], ['']):
        with pytest.raises(UserError, match='word list'):
            WordTokenizer(words)
