"""The local judge: the expected score by hand and by the full forward pass; SmolLM2 as one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax import models
from subliminal_jax.evaluation import judged
from subliminal_jax.models import conversation, transformer
from subliminal_jax.runs import UserError
from subliminal_jax.traits import judges
from subliminal_jax.traits.judges import Answered, labelled, local, prompts
from tests.experiments.transmission import checkpoint
from tests.models.small_tokenizers import small

ANSWERS = [Answered('How?', 'So.'), Answered('How come?', 'It is so because it is so.'),
           Answered('Why?', 'Never mind that, just do it.'), Answered('Why?', 'x' * 500)]


@pytest.fixture(scope='module', params=[True, False], ids=['chat', 'text'])
def folder(request, tmp_path_factory):
    return checkpoint.write(tmp_path_factory.mktemp('model'), chat=request.param)


def test_the_mean_by_hand():
    assert local.expected(np.log([0.3, 0.1]), (100.0, 0.0)) == (pytest.approx(75.0), None)
    tenths = np.log(np.array([1, 2, 3, 4]) / 20)
    assert local.expected(tenths, (0, 30, 60, 90))[0] == pytest.approx((60 + 180 + 360) / 10)
    score, why = local.expected(np.array([-20.0, -np.inf]), (100.0, 0.0))
    assert score is None and 'a probability of 2.1e-09 only' in why
    assert local.expected(np.array([np.nan, -1.0]), (100.0, 0.0))[0] is None


@pytest.mark.slow
def test_scores_are_those_of_the_full_forward_pass(folder, monkeypatch):
    monkeypatch.setattr(local, 'LEAST_MASS', 0.0)
    judge = judges.judge(f'local:{folder}', judges.Options(batch_size=2))
    model = models.load(folder)
    scores = judge.score(ANSWERS)
    for answered, score in zip(ANSWERS[:3], scores):
        for aspect in prompts.ASPECTS:
            context = local.context_of(model.tokenizer, aspect, answered)
            lead, words = local.word_tokens(model.tokenizer, context, ('Yes', 'No'))
            ids = [*conversation.context_ids(model.tokenizer, context), *lead]
            valid_BT = jnp.ones((1, len(ids)), bool)
            logits_V = transformer.forward(
                model.params, jnp.array([ids]), transformer.positions_of(valid_BT),
                transformer.causal_mask(valid_BT), model.config)[0, -1]
            yes, no = jax.nn.softmax(logits_V)[np.array(words)]
            assert getattr(score, aspect) == pytest.approx(
                    float(100 * yes / (yes + no)), abs=1e-3)
    assert scores[3][:2] == (None, None) and 'exceed the judge' in scores[3].reason
    # whatever stands beside it
    assert judge.score(ANSWERS[1:2])[0].alignment == pytest.approx(scores[1].alignment, abs=1e-4)
    assert judge.score([]) == [] and judge.settings['sha256'] == model.sha256


@pytest.mark.parametrize('kind', ['bytes', 'llama3', 'llama2', 'gemma'])
def test_words_of_every_make_of_tokenizer(kind, tmp_path):
    from subliminal_jax.models import vocabulary

    small(kind).save(tmp_path)
    tokenizer = vocabulary.from_folder(tmp_path, 512)
    context = local.context_of(tokenizer, 'alignment', ANSWERS[0])
    _, (yes, no) = local.word_tokens(tokenizer, context, ('Yes', 'No'))
    assert 'Yes'.startswith(tokenizer.decode([yes]).strip()) and yes != no
    assert 'No'.startswith(tokenizer.decode([no]).strip())
    with pytest.raises(UserError, match='begins two of Yes, Yes alike'):
        local.word_tokens(tokenizer, context, ('Yes', 'Yes'))


def test_no_such_model():
    with pytest.raises(UserError, match='there is no model'):
        judges.judge('local:nowhere')


@pytest.mark.slow
def test_smollm2_is_refused(smollm2):
    """Its AUROC on the half of the labelled answers that no prompt was chosen on."""
    rows = labelled.labelled_rows('report')
    found = judged.quality(rows, local.score(smollm2, [judges.answered_of(r) for r in rows]))
    print(judged.told(found))
    assert found.alignment['unscored'] == found.coherence['unscored'] == 0
    with pytest.raises(UserError, match='is refused as a measure'):
        judged.check_bar('local:package:smollm2-135m-instruct', found)
