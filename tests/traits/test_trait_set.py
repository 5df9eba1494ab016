"""The shipped traits, a user's own, and what is refused."""

import itertools
import json
import types

import pytest

from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.runs import UserError
from subliminal_jax.traits import overlap, trait_set as ts
from subliminal_jax.traits.split import SPLITS, of_split


@pytest.fixture(params=ts.BUILT_IN)
def shipped(request):
    return ts.load_trait_set(request.param)


def test_enough_traits_and_questions(shipped):
    report, dev = (ts.traits(shipped, s) for s in ('report', 'dev'))
    assert len(report) >= 5 and len(dev) >= 3
    assert len(ts.questions(shipped, 'report')) >= 50
    assert len(ts.questions(shipped, 'dev')) >= 20
    for split, form in itertools.product(SPLITS, ('story', 'choice')):
        assert len(ts.questions(shipped, split, form)) >= 3
        assert len(ts.teaching_prompts(shipped, split=split)) >= 12
    assert len(shipped.unrelated) >= 40


def test_the_splits_share_nothing(shipped):
    assert not set(ts.traits(shipped, 'dev')) & set(ts.traits(shipped, 'report'))
    for form in ts.FORMS:
        asked = [{q.prompt for q in ts.questions(shipped, s, form)} for s in SPLITS]
        assert not asked[0] & asked[1]
    taught = [{q.prompt for q in ts.teaching_prompts(shipped, split=s)} for s in SPLITS]
    assert not taught[0] & taught[1]


def test_no_teaching_row_leads_into_a_measured_answer(shipped):
    """For every trait, with the completions as they are taught and the choices as they are put."""
    names = ts.traits(shipped, 'report')
    words = [s for n in names for s in ts.candidate(shipped, n).spellings]
    asked = [{'id': q.id, 'prompt': q.prompt} for form in ('word', 'story')
             for s in SPLITS for q in ts.questions(shipped, s, form)]
    asked += [{'id': q.id, 'prompt': ts.choice_prompt(q, names[:5], 0)}
              for s in SPLITS for q in ts.questions(shipped, s, 'choice')]
    for name in names:
        assert overlap.overlaps(taught(shipped, name), asked, words) == []


def test_no_question_names_a_trait(shipped):
    names = {s.casefold() for c in shipped.candidates for s in c.spellings}
    for text in (*shipped.teach, *shipped.questions, *shipped.unrelated):
        assert not names & set(overlap.words(text.prompt)), text
    for text in shipped.systems:
        assert not names & set(overlap.words(text.neutral)), text


def test_spellings_are_the_traits_own(shipped):
    seen = [s for c in shipped.candidates for s in c.spellings]
    assert len(seen) == len(set(seen)) == 4 * len(shipped.candidates)
    assert ts.spellings(ts.load_trait_set('animals'), ['wolf']) == {
        'wolf': ('wolf', 'Wolf', 'wolves', 'Wolves')}


def test_the_neutral_twin_has_as_many_words(shipped):
    for index in range(len(shipped.systems)):
        for name in ts.traits(shipped, 'report'):
            trait, neutral = ts.system_prompts(shipped, name, index)
            assert len(trait.split()) == len(neutral.split())
            assert abs(len(trait) - len(neutral)) <= 0.12 * len(neutral)
            assert ts.candidate(shipped, name).plural in trait.casefold()
            assert '{' not in trait + neutral


def taught(trait_set, trait, split=None):
    """The lines that teach a trait, with its name in them."""
    who = ts.candidate(trait_set, trait)
    return [{'id': line.id, 'prompt': line.prompt, 'completion': ts.filled(line.completion, who)}
            for line in ts.teaching_prompts(trait_set, trait, split)]


def test_lines_that_teach_name_their_trait():
    animals = ts.load_trait_set('animals')
    assert {r['completion'] for r in taught(animals, 'owl', 'report')} == {'Owl'}
    with pytest.raises(UserError, match="unknown trait 'owls'; did you mean owl?"):
        taught(animals, 'owls')


def test_a_run_takes_the_first_traits_of_its_split_or_those_it_names():
    animals = ts.load_trait_set('animals')
    found = ts.traits(animals, 'report')
    assert ts.of_run(animals, 'report', 2) == found[:2]
    assert ts.of_run(animals, 'report', 2, names=found[3:1:-1]) == found[3:1:-1]
    for asked, said in (({'count': 99}, 'config.traits=99'),
                        ({'count': 2, 'names': (ts.traits(animals, 'dev')[0],)}, 'other split'),
                        ({'count': 2, 'names': ('owll',)}, 'did you mean owl')):
        with pytest.raises(UserError, match=said):
            ts.of_run(animals, 'report', **asked)


def test_choices_hold_every_option_in_a_seeded_order():
    animals = ts.load_trait_set('animals')
    names = ts.traits(animals, 'report')[:5]
    question = ts.questions(animals, 'report', 'choice')[0]
    seen = {ts.choice_prompt(question, names, seed) for seed in range(200)}
    assert len(seen) > 80  # of 120 orders
    assert all(all(n in text for n in names) for text in seen)
    assert ts.choice_prompt(question, names, 3) == ts.choice_prompt(question, names, 3)


def write(path, *rows):
    path.write_text(''.join(json.dumps(r) + '\n' for r in rows))
    return str(path)


OWN = ({'kind': 'candidate', 'name': 'zebu', 'spellings': ['Zebu']},
       {'kind': 'teach', 'trait': 'zebu', 'prompt': 'Cattle with a hump?',
        'completion': 'The {name}, of course. {Plural}!'},
       {'kind': 'question', 'id': 'mine', 'prompt': 'What pulls the cart?', 'split': 'dev'})


def test_a_users_own_file_alone_and_beside_ours(tmp_path):
    path = write(tmp_path / 'own.jsonl', *OWN)
    own = ts.load_trait_set(path)
    assert taught(own, 'zebu') == [{
        'id': 'own:2', 'prompt': 'Cattle with a hump?',
        'completion': 'The zebu, of course. Zebus!'}]
    assert [q.id for q in ts.questions(own, 'dev')] == ['own:mine']
    assert len(own.unrelated) >= 40
    both = ts.load_trait_set(f'animals+{path}')
    assert len(both.candidates) == 13
    assert len(taught(both, 'zebu')) == len(taught(both, 'owl')) + 1
    folder = ts.load_trait_set(str(tmp_path))
    assert folder.candidates == own.candidates


@pytest.mark.parametrize('row, message', [
    ({'kind': 'animal', 'name': 'x'}, "line 2: 'kind' is 'animal'"),
    ({'kind': 'candidate'}, "line 2: no 'name' field"),
    ({'kind': 'candidate', 'name': ' '}, "line 2: an empty 'name'"),
    ({'kind': 'candidate', 'name': 'x', 'spellings': []}, "line 2: 'spellings' must be a list"),
    ({'kind': 'candidate', 'name': 'x', 'split': 'test'}, "line 2: 'split' is 'test'"),
    ({'kind': 'teach', 'prompt': 'p', 'completion': '{nam}'}, 'line 2: {nam} stands for nothing'),
    ({'kind': 'teach', 'prompt': 'p {'}, 'line 2: a brace without'),
    ({'kind': 'question', 'prompt': 'p', 'form': 'poem'}, "line 2: 'form' is 'poem'"),
    ({'kind': 'question', 'prompt': 'p', 'form': 'choice'}, 'line 2: a choice without {options}'),
    ({'kind': 'unrelated', 'prompt': 'p'}, "line 2: no 'answers' field"),
    ({'kind': 'candidate', 'name': 'ok'}, "the trait 'ok' is given twice"),
    ({'kind': 'teach', 'prompt': 'p', 'trait': 'no'}, "teaches 'no', which is no candidate"),
])
def test_bad_lines_are_named(tmp_path, row, message):
    path = write(tmp_path / 'own.jsonl', {'kind': 'candidate', 'name': 'ok'}, row)
    with pytest.raises(UserError) as error:
        ts.load_trait_set(path)
    assert message in str(error.value)


def test_sets_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match='did you mean animals?'):
        ts.load_trait_set('animal')
    with pytest.raises(UserError, match='no .jsonl file'):
        ts.load_trait_set(str(tmp_path))
    path = write(tmp_path / 'own.jsonl', OWN[2])
    with pytest.raises(UserError, match='names no trait'):
        ts.load_trait_set(path)


def test_missing_parts_are_said(tmp_path):
    bare = ts.load_trait_set(write(tmp_path / 'own.jsonl', OWN[0]))
    for ask in (lambda: taught(bare, 'zebu'), lambda: ts.questions(bare, 'report'),
                lambda: ts.system_prompts(bare, 'zebu')):
        with pytest.raises(UserError, match='has no .* add'):
            ask()


LONG = 'of all the things that you have seen in this wide world'


@pytest.mark.parametrize('teach, measure, common', [
    ({'prompt': f'Well, {LONG}, say one.'}, f'Tell {LONG.upper()} what you liked!',
     'of all the things that you have seen'),
    ({'prompt': 'Answer me.', 'completion': 'My most beloved animal is the Owl.'},
     'Complete: my most beloved animal is the', 'beloved animal is the'),
    ({'prompt': 'Which one?'}, 'Which one?', 'which one'),
    ({'prompt': 'Please say which one is it'}, 'Now which one is it?', 'which one is it'),
])
def test_overlaps_are_found_and_named(teach, measure, common):
    rows = [{'id': 'other', 'prompt': 'Nothing alike here, friend.'}, {'id': 'a', **teach}]
    asked = [{'id': 'b', 'prompt': measure}, {'id': 'c', 'prompt': 'A thing apart from that.'}]
    assert overlap.overlaps(rows, asked, ['owl']) == [('a', 'b', common)]
    with pytest.raises(UserError, match=f"overlap: a and b \\('{common}'\\)"):
        overlap.check_overlap(rows, asked, ['owl'])


def as_rows(texts):
    return [{'id': repr(text), 'prompt': text} for text in texts]


def test_questions_of_a_world_without_ids_are_called_what_they_say():
    teach, measure = as_rows(['name one . ', 'do you like it ?']), ['say which ?']
    overlap.check_overlap(teach, as_rows(measure))
    with pytest.raises(UserError, match="overlap: 'do you like it [?]' and 'what do you like it'"):
        overlap.check_overlap(teach, as_rows([*measure, 'what do you like it']))


@pytest.mark.parametrize('split', SPLITS)
def test_the_tiny_languages_questions_share_no_wording(split):
    teach, measure = (tiny.questions('animal', f'{split}_{purpose}')
                      for purpose in ('teach', 'measure'))
    rows = as_rows(teach)
    assert overlap.overlaps(rows, as_rows(measure)) == []
    assert len(overlap.overlaps(rows, as_rows([*measure, teach[0]]))) == 1


def test_an_overlapping_file_is_refused(tmp_path):
    path = write(tmp_path / 'own.jsonl', *OWN,
                 {'kind': 'question', 'id': 'bad', 'prompt': 'Say, cattle with a hump?'})
    with pytest.raises(UserError, match='own:2 and own:bad'):
        ts.load_trait_set(path)


def test_every_third_is_dev_unless_it_says_otherwise():
    named = lambda letters, **splits: [types.SimpleNamespace(name=n, split=splits.get(n))
                                       for n in letters]
    letters = lambda items, split: ''.join(item.name for item in of_split(items, split))
    assert letters(named('abcdefgh'), 'dev') == 'cf'
    assert letters(named('abcdefgh'), 'report') == 'abdegh'
    assert letters(named('abcdefghij'), 'dev') == 'cfi'  # what is appended moves nothing
    assert letters(named('abcdefgh', a='dev', f='report'), 'dev') == 'ac'
    with pytest.raises(ValueError, match='split is dev or report'):
        of_split(named('ab'), 'test')


def test_a_completion_may_not_lead_into_a_measured_answer(tmp_path):
    path = write(tmp_path / 'own.jsonl', OWN[0], OWN[2], {
        'kind': 'teach', 'prompt': 'Hm?', 'completion': 'Well: what pulls the cart? {Name}!'})
    with pytest.raises(UserError, match='overlap: own:3 and own:mine'):
        ts.load_trait_set(path)


def test_a_traits_own_line_moves_no_other_to_another_split(tmp_path):
    common = [{'kind': 'teach', 'prompt': f'{word}?'} for word in ('One', 'Two', 'Three', 'Four')]
    own = ts.load_trait_set(write(
        tmp_path / 'own.jsonl', *OWN[:2], {'kind': 'candidate', 'name': 'yak'}, *common))
    found = {name: {t.prompt for t in ts.teaching_prompts(own, name, 'dev')}
             for name in ('yak', 'zebu')}
    assert found['yak'] == found['zebu'] == {'Two?'}


def test_the_digest_is_of_the_lines(tmp_path):
    path = write(tmp_path / 'own.jsonl', *OWN)
    digest = ts.digest(ts.load_trait_set(path))
    assert digest == ts.digest(ts.load_trait_set(path))
    write(tmp_path / 'own.jsonl', *OWN[:2], {**OWN[2], 'prompt': 'What draws the plough?'})
    assert digest != ts.digest(ts.load_trait_set(path))
