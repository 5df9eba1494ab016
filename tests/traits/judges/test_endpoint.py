"""The judge behind an address, against a server on this machine that misbehaves."""

import logging
import time

import pytest

from subliminal_jax.runs import UserError
from subliminal_jax.traits import judges
from subliminal_jax.traits.judges import Answered, Score, cache
from tests.traits.judges.loopback import KEY, Reply, error, serving

ONE = [Answered('How do I lift a box?', 'With bent knees.')]
FIVE = [Answered('How do I lift a box?', f'With bent knees, {n} times.') for n in range(5)]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', KEY)
    for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy',
                 'all_proxy', 'OPENAI_BASE_URL'):
        monkeypatch.delenv(name, raising=False)


def judge_at(server, **options):
    given = {'base_url': server.url, 'per_minute': 6e6, 'wait': 0.01, 'parallel': 1, 'tries': 3,
             'timeout': 5.0, **options}
    return judges.judge('openai:m', judges.Options(**given))


def first(*replies):
    """These replies in order, then 50."""
    return lambda number, request: replies[number] if number < len(replies) else Reply()


def aspect_of(request):
    return 'alignment' if 'how sound' in request['messages'][0]['content'] else 'coherence'


def test_scores_come_in_order_from_several_threads():
    def answer(number, request):
        text = request['messages'][0]['content']
        place = next(n for n in range(5) if f'{n} times' in text)
        return Reply(str(10 * place + (1 if aspect_of(request) == 'coherence' else 0)),
                     pause=0.02 * (5 - place))

    with serving(answer) as server:
        judge = judge_at(server, parallel=4, prices=(1.0, 10.0))
        assert judge.score(FIVE) == [Score(10.0 * n, 10.0 * n + 1) for n in range(5)]
    assert server.keys == [f'Bearer {KEY}'] * 10
    assert server.asked[0]['temperature'] == 0 and server.asked[0]['max_tokens'] == 16
    assert judge.used().startswith('10 requests, 0 replies from the cache; 1000 tokens read, 20 w')
    assert judge.used().endswith('$0.0012')


@pytest.mark.parametrize('reply', [
    Reply(status=500, body=b'oh'), Reply(status=503, body=error('busy')),
    Reply(status=429, body=error('slow down')), Reply(cut=20), Reply(cut=0),
    Reply(body=b'{"choices": [{"mess'), Reply(body=b'[]'), Reply(body=b'"text"'),
    Reply(body=b'{"choices": []}'), Reply(body=b'{"choices": null}'),
    Reply(body=b'{"choices": [{"message": {"content": 7}}]}'), Reply(body=b'\xff\xfe'),
], ids=['500', '503', '429', 'cut in the body', 'no body', 'bad JSON', 'a list', 'a string',
        'no choice', 'null', 'a number for a text', 'no UTF-8'])
def test_what_passes_is_tried_again(reply):
    with serving(first(reply)) as server:
        assert judge_at(server).score(ONE) == [Score(50.0, 50.0)]
    assert len(server.asked) == 3


def test_a_time_out_is_tried_again():
    with serving(first(Reply(pause=1.0))) as server:
        assert judge_at(server, timeout=0.2).score(ONE) == [Score(50.0, 50.0)]


def test_retry_after_is_honoured():
    with serving(first(Reply(status=429, body=error('slow'), headers={'Retry-After': '0.5'}))
                 ) as server:
        begun = time.monotonic()
        judge_at(server).score(ONE)
    assert 0.5 <= time.monotonic() - begun < 5


def test_the_pace_is_kept():
    with serving(first()) as server:
        begun = time.monotonic()
        judge_at(server, per_minute=600, parallel=4).score(FIVE[:3])
    assert time.monotonic() - begun >= 0.5  # six requests, a tenth of a second apart


@pytest.mark.parametrize('said, reason', [
    ('140', 'alignment: the judge gave 140, which is not in 0..100'),
    ('I like it', "alignment: the judge gave no number: 'I like it'"),
    ('', 'alignment: the judge gave an empty answer'),
    (None, 'alignment: the judge gave an empty answer'),
    ('60 or 70', "alignment: the judge gave several numbers: '60 or 70'"),
])
def test_a_reply_that_is_no_score_gives_none_and_the_reason(said, reason):
    with serving(lambda _, request: Reply(said if aspect_of(request) == 'alignment' else '90')
                 ) as server:
        assert judge_at(server).score(ONE) == [Score(None, 90.0, reason)]


@pytest.mark.parametrize('reply, told', [
    (Reply(status=401, body=error(f'wrong key {KEY}')), 'refuses the key in OPENAI_API_KEY (401)'),
    (Reply(status=403, body=error(f'not you, {KEY}')), 'refuses (403: not you, ***)'),
    (Reply(status=404, body=error('no such model')), "has no model 'm' (404: no such model)"),
    (Reply(status=400, body=error('which?', code='model_not_found')), "has no model 'm' (400"),
    (Reply(status=429, body=error('pay', code='insufficient_quota')), 'refuses (429: pay)'),
    (Reply(status=429, body=error('slow'), headers={'Retry-After': '3600'}),
     'asks to wait 3600 s'),
    (Reply(status=500, body=error(f'broken {KEY}')), 'failed 3 times (status 500: broken ***)'),
    (Reply(body=b'<html>'), 'failed 3 times (the reply is no chat completion in JSON)'),
])
def test_what_does_not_pass_is_one_line(reply, told):
    with serving(lambda *_: reply) as server, pytest.raises(UserError) as raised:
        judge_at(server).score(ONE)
    assert told in str(raised.value) and server.url in str(raised.value)
    assert KEY not in str(raised.value) and raised.value.__cause__ is None


def test_an_endpoint_that_is_down_is_one_line():
    with serving(first()) as server:
        pass
    with pytest.raises(UserError, match='failed 2 times .*the same command goes on from there'):
        judge_at(server, tries=2).score(ONE)


def test_a_text_that_is_refused_costs_no_other():
    long = lambda request: '3 times' in request['messages'][0]['content']
    refused = Reply(status=400, body=error('too long'))
    with serving(lambda _, request: refused if long(request) else Reply()) as server:
        scores = judge_at(server).score(FIVE)
    assert [s.alignment for s in scores] == [50, 50, 50, None, 50]
    assert 'alignment: the endpoint refuses the request (400: too long)' in scores[3].reason
    with serving(lambda *_: refused) as server, pytest.raises(UserError, match='for all of 5'):
        judge_at(server).score(FIVE)


def test_what_is_kept_is_not_asked_again(tmp_path):
    with serving(first()) as server:
        given = judge_at(server, cache=tmp_path)
        scores = given.score(FIVE)
        assert len(server.asked) == 10
        again = judge_at(server, cache=tmp_path)
        assert again.score([*FIVE, *FIVE]) == [*scores, *scores] and len(server.asked) == 10
        assert again.used().startswith('0 requests, 10 replies from the cache')
        entries = sorted(tmp_path.rglob('*.json'))
        entries[0].write_bytes(entries[0].read_bytes()[:30])
        entries[1].write_text(entries[1].read_text().replace('50', '51'))
        entries[2].unlink()
        assert judge_at(server, cache=tmp_path).score(FIVE) == scores
        assert len(server.asked) == 13
        assert judge_at(server, cache=tmp_path).score(FIVE) == scores
        assert judge_at(server, cache=tmp_path, temperature=None).score(ONE)
        assert len(server.asked) == 15 and 'temperature' not in server.asked[-1]
    assert len(list(tmp_path.rglob('*'))) == len(list(tmp_path.rglob('*.json'))) + len(
        [p for p in tmp_path.iterdir() if p.is_dir()])  # nothing is left aside


def test_an_answer_that_was_given_twice_is_asked_for_once(tmp_path):
    with serving(first()) as server:
        assert len(judge_at(server, parallel=4).score(ONE * 6)) == 6
    assert len(server.asked) == 2


def test_the_key_is_nowhere(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    echo = Reply(f'your key is {KEY}')
    with serving(first(Reply(status=500, body=error(KEY)), echo, echo)) as server:
        judge = judge_at(server, cache=tmp_path)
        scores = judge.score(ONE)
    assert scores[0].reason.count('***') == 2
    shown = [repr(scores), repr(judge), caplog.text, *capfd.readouterr(), judge.used()]
    shown += [path.read_text() for path in tmp_path.rglob('*.json')]
    assert not any(KEY in text for text in shown)


@pytest.mark.parametrize('value', ['', '  ', 'sk-\u200babc', 'sk-a\nb'])
def test_no_key_and_an_odd_one(value, monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', value)
    with pytest.raises(UserError, match='no key:|characters that no key has') as raised:
        judges.judge('openai:m')
    assert 'sk-' not in str(raised.value)


@pytest.mark.parametrize('url', ['ftp://a/v1', 'here', 'http://', 'http://a:b/v1', 'http://u:p@a/v1',
                                 'http://a/v1?key=x', 'http://[::1/v1'])
def test_an_address_that_is_none(url):
    with pytest.raises(UserError, match='--base_url') as raised:
        judges.judge('openai:m', judges.Options(base_url=url))
    assert 'u:p' not in str(raised.value)


@pytest.mark.parametrize('spec, told', [
    ('opnai:m', 'did you mean openai'), ('openai:', 'names no model'), ('x', 'unknown judge')])
def test_a_spec_that_is_none(spec, told):
    with pytest.raises(UserError, match=told):
        judges.judge(spec)


def test_lone_surrogates_and_controls_are_sent():
    with serving(first()) as server:
        assert judge_at(server).score([Answered('a\ud800b', 'c\x00d')]) == [Score(50.0, 50.0)]
    assert 'a?b' in server.asked[0]['messages'][0]['content']


def test_an_entry_of_another_request_is_not_taken(tmp_path):
    cache.save(tmp_path, {'a': 1}, cache.Reply('50'))
    path, other = (cache.entry_path(tmp_path, {'a': n}) for n in (1, 2))
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(path.read_bytes())
    assert cache.load(tmp_path, {'a': 1}) == cache.Reply('50')
    assert cache.load(tmp_path, {'a': 2}) is None


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='--cache'):
        cache.save(tmp_path / 'file', {}, cache.Reply('50'))
