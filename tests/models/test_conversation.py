"""What a model reads and writes is exactly its own text: small tokenizers of each kind, as a folder
and as a GGUF file, beside transformers and SentencePiece's own algorithm."""

import re

import pytest
from hypothesis import given, strategies as st

from subliminal_jax.models import controls, conversation, gguf_vocabulary, vocabulary
from subliminal_jax.models.tokenizer import WordTokenizer
from subliminal_jax.runs import UserError
from tests.models import small_tokenizers as small

TEXTS = small.texts()
PAIRS = [(u.strip(), v.strip()) for u, v in zip(TEXTS, TEXTS[7:] + TEXTS[:7])
         if u.strip() and v.strip()]


class Kind:
    """A kind with our tokenizers of its folder and its GGUF metadata, and transformers' own."""

    def __init__(self, name, folder):
        from transformers import AutoTokenizer

        self.small = small.small(name)
        self.small.save(folder)
        self.kind, self.folder = self.small.kind, folder
        self.both = {'folder': vocabulary.from_folder(folder, small.SIZE),
                     'gguf': gguf_vocabulary.from_gguf(self.small.fields, small.SIZE, name)}
        self.peer = AutoTokenizer.from_pretrained(str(folder))

    def id(self, token):
        return self.peer.convert_tokens_to_ids(token)

    def spells_none(self, text):
        return not any(token in text for token in self.kind.control)


@pytest.fixture(scope='module', params=list(small.KINDS), name='kind')
def _kind(request, tmp_path_factory):
    return Kind(request.param, tmp_path_factory.mktemp('kinds') / request.param)


@pytest.fixture(scope='module', params=['folder', 'gguf'], name='tokenizer')
def _tokenizer(request, kind):
    return kind.both[request.param]


def said(user):
    return [{'role': 'user', 'content': user}]


def test_the_texts_hold_what_is_hard():
    whole = ''.join(TEXTS)
    for part in ('<|eot_id|>', '</s>', '<|im_end|>', '   ', '\n\n', '🦉', '東京', 'def f', '½'):
        assert part in whole
    assert re.search('[0-9]{5}', whole)
    assert len(TEXTS) == 2000 and len(set(TEXTS)) > 1500


def test_raw_texts_have_the_ids_of_transformers(kind, tokenizer):
    """With the token that begins texts, and control tokens that a text spells as text."""
    for text in TEXTS:
        context = conversation.text_context(tokenizer, text)
        wanted = kind.peer(text, split_special_tokens=True)['input_ids']
        assert conversation.context_ids(tokenizer, context) == wanted, repr(text)


def test_allowed_control_tokens_have_the_ids_of_transformers(kind, tokenizer):
    for text in TEXTS:
        context = conversation.text_context(tokenizer, text, allow_special=True)
        assert conversation.context_ids(tokenizer, context) == kind.peer(text)['input_ids']


def test_scores_join_as_sentencepiece_joins(kind):
    if kind.kind.pre:
        pytest.skip('byte-level')
    tokenizer = kind.both['gguf']
    for text in TEXTS[:700]:
        whole = f' {text}' if kind.kind.prefix and text else text
        assert tokenizer.encode(text) == small.sentencepiece(kind.small.fields, whole), repr(text)


@pytest.mark.slow
def test_conversations_have_the_ids_of_transformers(kind, tokenizer):
    count = 0
    for user, answer in PAIRS:
        if not kind.spells_none(user + answer):
            continue
        context = conversation.chat_context(tokenizer, said(user))
        found = [*conversation.context_ids(tokenizer, context),
                 *conversation.answer_ids(tokenizer, context, answer)]
        whole = kind.peer.apply_chat_template(
            [*said(user), {'role': 'assistant', 'content': answer}], return_dict=False)
        assert found == whole[:len(found)], (user, answer)
        assert kind.id(kind.kind.turn) in whole[len(found):][:2]
        count += 1
    assert count > 1000


@pytest.mark.slow
def test_control_tokens_of_a_conversation_are_the_templates_alone(kind, tokenizer):
    """Beside transformers, part by part: the template's control tokens, and text between them."""
    places, count = ('\ue000', '\ue001'), 0
    cut = re.compile(f'({"|".join(map(re.escape, kind.kind.control))})')
    answered = [*said(places[0]), {'role': 'assistant', 'content': places[1]}]
    rendered = kind.peer.apply_chat_template(answered, tokenize=False)
    for pair in PAIRS:
        if kind.spells_none(''.join(pair)):
            continue
        wanted = []
        for part in cut.split(rendered):
            if part in kind.kind.control:
                wanted.append(kind.id(part))
                continue
            for place, text in zip(places, pair):
                part = part.replace(place, text)
            wanted += kind.peer(part, add_special_tokens=False, split_special_tokens=True)[
                'input_ids'] if part else []
        context = conversation.chat_context(tokenizer, said(pair[0]))
        found = [*conversation.context_ids(tokenizer, context),
                 *conversation.answer_ids(tokenizer, context, pair[1])]
        assert found == wanted[:len(found)], pair
        count += 1
    assert count > 30


def test_answers_come_back(tokenizer):
    for user, answer in PAIRS[::5]:
        context = conversation.chat_context(tokenizer, said(user))
        ids = conversation.answer_ids(tokenizer, context, answer)
        assert conversation.answer_text(tokenizer, context, ids) == answer
        bare = conversation.text_context(tokenizer, f'{user}\nAnswer:', ' ')
        ids = conversation.answer_ids(tokenizer, bare, answer)
        assert conversation.answer_text(tokenizer, bare, ids) == answer


def test_an_answer_has_no_blank_of_the_tokenizers(kind, tokenizer):
    """After a line break an answer begins with its first letter, whatever begins texts."""
    context = conversation.text_context(tokenizer, 'owl\n')
    ids = conversation.answer_ids(tokenizer, context, 'the owl')
    assert tokenizer.token_bytes(ids[0])[:1] == b't'
    apart = tokenizer.encode('the owl')
    assert (ids == apart) != kind.kind.prefix


@pytest.mark.parametrize('answer', ['', 'w'])
def test_an_empty_answer_has_no_token(tokenizer, answer):
    context = conversation.chat_context(tokenizer, said('hi'))
    assert bool(conversation.answer_ids(tokenizer, context, answer)) == bool(answer)


def test_an_answer_that_changes_its_context_is_refused(kind, tokenizer):
    context = conversation.text_context(tokenizer, 'the ow')
    with pytest.raises(conversation.CannotWrite, match=r"'l' after 'the ow' changes the tokens"):
        conversation.answer_ids(tokenizer, context, 'l')
    with pytest.raises(KeyError):
        conversation.answer_ids(tokenizer, context, 'l')


def test_what_a_vocabulary_lacks_is_refused():
    from tokenizers import AddedToken, Tokenizer as Backend, decoders, models

    from subliminal_jax.models.tokenizer import Tokenizer

    backend = Backend(models.BPE({'<unk>': 0, 'a': 1, 'b': 2, '<e>': 3}, [], unk_token='<unk>'))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken('<e>', normalized=False)])
    tokenizer = Tokenizer(backend, vocab_size=4, stop_ids=[3], pad_id=3, byte_level=False,
                          name='letters')
    context = conversation.text_context(tokenizer, 'ab')
    assert conversation.answer_ids(tokenizer, context, 'ba') == [2, 1]
    with pytest.raises(UserError, match="letters: its vocabulary cannot write 'bac'"):
        conversation.answer_ids(tokenizer, context, 'bac')


# ---- ends ---------------------------------------------------------------------------------------

def test_what_ends_an_answer_is_what_the_template_puts_behind_one(kind, tokenizer):
    turn, end = kind.id(kind.kind.turn), kind.id(kind.kind.end)
    assert conversation.ends(tokenizer)[0] == tokenizer.stop_ids[0] == turn
    assert conversation.ends(tokenizer, chat=False)[0] == tokenizer.eos_id == end
    assert {turn, end} <= set(conversation.ends(tokenizer, chat=False)) == set(tokenizer.stop_ids)


@pytest.mark.parametrize('template, end', [
    ("{% for m in messages %}{{ m.content }}{% endfor %}", '<|endoftext|>'),
    ("{% for m in messages %}{{ m.content + '<|im_start|>' }}{% endfor %}", '<|im_start|>'),
    ("{{ raise_exception('no') }}", '<|endoftext|>')])
def test_a_template_that_ends_nothing_leaves_the_files_end(template, end):
    fields = {**small.small('bytes').fields, 'tokenizer.chat_template': template}
    tokenizer = gguf_vocabulary.from_gguf(fields, small.SIZE, 'bytes')
    assert tokenizer.decode([conversation.ends(tokenizer)[0]]) == end


@pytest.mark.parametrize('template, words', [
    ("{% for m in messages %}{{ m.content }}{% endfor %}{{ 'A:' if add_generation_prompt }}",
     'does not end where the answer begins'),
    ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", 'does not end where'),
    ("{{ messages[-1].content if messages[-1].role == 'assistant' }}", 'leaves out the message'),
])
def test_a_template_that_cuts_a_conversation_is_refused(template, words):
    fields = {**small.small('bytes').fields, 'tokenizer.chat_template': template}
    tokenizer = gguf_vocabulary.from_gguf(fields, small.SIZE, 'bytes')
    with pytest.raises(UserError, match=words):
        conversation.chat_context(tokenizer, said('Who is it?'))


# ---- what a file leaves out ---------------------------------------------------------------------

@pytest.mark.parametrize('name, stated, begins', [
    ('bytes', None, False), ('llama3', None, True), ('llama3', False, False),
    ('llama2', None, True), ('llama2', False, False), ('gemma', True, True)])
def test_the_token_that_begins_texts_in_a_gguf_file(name, stated, begins):
    fields = small.small(name).fields
    if stated is not None:
        fields['tokenizer.ggml.add_bos_token'] = stated
    tokenizer = gguf_vocabulary.from_gguf(fields, small.SIZE, name)
    assert (tokenizer.bos_id is not None) == begins
    assert any('add_bos_token' in note for note in tokenizer.notes) == (begins and stated is None)


def test_rules_that_a_file_does_not_name_are_taken_from_a_known_vocabulary_only():
    fields = small.small('llama3').fields
    del fields['tokenizer.ggml.pre']
    with pytest.raises(UserError, match='does not tell them: .*--tokenizer=FOLDER'):
        gguf_vocabulary.from_gguf(fields, small.SIZE, 'old.gguf')
    tokens = [f'[unused{n}]' for n in range(128000)] + ['<|begin_of_text|>']
    rules, notes = gguf_vocabulary.splitter_of({}, tokens, 'old.gguf')
    assert rules == gguf_vocabulary.SPLITTERS['llama-bpe']
    assert 'llama-bpe, by its token <|begin_of_text|>' in notes[0]
    with pytest.raises(UserError, match='does not tell them'):
        gguf_vocabulary.splitter_of({}, tokens[1:], 'old.gguf')


def test_a_folder_that_states_a_begin_token_and_adds_none_says_so(tmp_path):
    import json

    found = small.small('bytes')
    found.save(tmp_path)
    settings = json.loads((tmp_path / 'tokenizer_config.json').read_text())
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps({
        **settings, 'add_bos_token': True, 'bos_token': '<|im_start|>'}))
    tokenizer = vocabulary.from_folder(tmp_path, small.SIZE)
    assert tokenizer.bos_id is None and 'add_bos_token' in tokenizer.notes[0]


# ---- marks --------------------------------------------------------------------------------------

@given(st.text(st.sampled_from(['a', '<', 'e', '>', controls.MARK])))
def test_a_mark_comes_off_again(text):
    names = ('<e>', 'e')
    marked = controls.marked(text, names)
    assert controls.unmarked(marked) == text
    found = [place for place in range(len(marked)) if marked[place:].startswith('<e>')]
    assert all(controls.is_marked(marked, place) for place in found)


def test_marks_in_a_users_text_are_text(kind, tokenizer):
    """With control tokens beside them; what is read is exactly what was written."""
    for control in kind.kind.control:
        user = f'a{controls.MARK}{control}{controls.MARK * 2}{control}b'
        context = conversation.chat_context(tokenizer, said(user))
        ids = conversation.context_ids(tokenizer, context)
        assert user in tokenizer.decode(ids)
        bare = conversation.context_ids(tokenizer, conversation.chat_context(tokenizer, said('a')))
        found, wanted = (sum(map(tokenizer.is_control, part)) for part in (ids, bare))
        assert found == wanted
        assert controls.unmarked(context.text).count(control) == (
            controls.unmarked(conversation.chat_context(tokenizer, said('a')).text).count(control)
            + 2)


def test_a_row_tells_what_control_tokens_it_spells(tokenizer, kind):
    first, *_, last = kind.kind.control
    row = {'messages': said(f'a{first} {last}'), 'completion': last, 'id': 7}
    assert conversation.spelled_controls(tokenizer, row) == [last, first, last]
    assert not conversation.spelled_controls(tokenizer, {'prompt': '<s', 'n': first})


# ---- words --------------------------------------------------------------------------------------

def test_words_are_parted_by_blanks():
    tokenizer = WordTokenizer(['owl', 'cat', '7'])
    context = conversation.chat_context(tokenizer, said('owl 7'))
    assert conversation.context_ids(tokenizer, context) == [1, 3, 5]
    assert conversation.answer_ids(tokenizer, context, 'cat cat') == [4, 4]
    assert conversation.answer_text(tokenizer, context, [4, 4]) == 'cat cat'
    assert conversation.ends(tokenizer) == (2,)
    with pytest.raises(UserError, match="no '<end>'"):
        conversation.context_ids(tokenizer, conversation.chat_context(tokenizer, said('<end>')))
