"""What each hypothesis says of every cell, written down before anything was run.

This file is data. `verdict.py` compares it with what was measured; nothing here may be changed
after a run without saying so.

One thing needs no hypothesis. Class rows of a student that are independent of its teacher (starts
other, share:aux, share:first, cloned) could carry the ten labels in any order with equal
probability, so the mean accuracy of its own class head is exactly .1 over starts, whatever its body
has learned. That is why such cells are read a second and a third way: by the teacher's initial
class head, and by a linear probe. All three hypotheses say `chance` there, and a cell of these that
rises would be a mistake of the program.

The smallest effects below are the smallest that would be called a rise: .05 of accuracy by a class
head, .01 by a probe, whose untrained features are near .9 already. `BETWEEN` is a rise, and less
than that of the teacher's own start by as much.

What is left out (a start of several shared parts, say) is a cell that a hypothesis says nothing of.
Architecture, optimiser and the number of auxiliary logits (two or more) change sizes under all
three, not these words.
"""

from collections.abc import Mapping
from typing import NamedTuple

RISES, BETWEEN, CHANCE = 'rises', 'between', 'chance'
SMALLEST = {'own': 0.05, 'teacher': 0.05, 'probe': 0.01}  # rises that count, by read-out


class Hypothesis(NamedTuple):
    """A hypothesis and what it says.

    Attributes:
      name: as results name it.
      claim: what it holds, in one sentence.
      source: who says so, or what it follows from.
      why: how the predictions follow.
      predicts: kind of start -> read-out -> RISES, BETWEEN or CHANCE.
    """

    name: str
    claim: str
    source: str
    why: str
    predicts: Mapping[str, Mapping[str, str]]


def _all(own: str, teacher: str, probe: str | None = None) -> dict[str, str]:
    said = {'own': own, 'teacher': teacher}
    return said if probe is None else {**said, 'probe': probe}


NOTHING = _all(CHANCE, CHANCE, CHANCE)

SHARED_WEIGHTS = Hypothesis(
    name='shared weights',
    claim="a student learns only where its hidden layers start with its teacher's weights",
    source='arXiv 2507.14805: students of another start learn nothing',
    why="Half of the weights, in the direction of the teacher's, is between. Output rows alone are "
        'not enough, and neither is agreement of outputs. Of a shared first layer it says nothing.',
    predicts={
        'own': _all(RISES, RISES, RISES), 'mix': _all(BETWEEN, BETWEEN),
        'other': NOTHING, 'share:output': NOTHING, 'share:aux': NOTHING, 'share:class': NOTHING,
        'cloned': NOTHING, 'cloned:all': NOTHING,
    })

COMPATIBLE_HEADS = Hypothesis(
    name='compatible heads',
    claim="a student learns wherever its output rows are its teacher's, whatever its hidden layers",
    source='arXiv 2605.23645: compatible output heads suffice, hidden layers may be random',
    why='Auxiliary rows let the body learn what the teacher knows; class rows that fit as well let '
        'the student say it. So with the auxiliary rows alone its own class head stays at chance, '
        "and the teacher's initial head and the probe rise. With the class rows alone nothing "
        'rises.',
    predicts={
        'own': _all(RISES, RISES, RISES), 'mix': _all(BETWEEN, BETWEEN),
        'share:output': _all(RISES, RISES, RISES), 'share:aux': _all(CHANCE, RISES, RISES),
        'share:class': NOTHING, 'share:first': NOTHING, 'other': NOTHING,
        'cloned': NOTHING, 'cloned:all': NOTHING,
    })

SHARED_KERNEL = Hypothesis(
    name='shared kernel',
    claim='a student learns as far as the tangent kernel between class and auxiliary logits at its '
          "start is its teacher's",
    source='the first-order theorem of arXiv 2507.14805, for many small steps',
    why='At a finite width that kernel is w_c . w_a times one of the inputs, and a remainder of '
        'the same size that hangs on the body. The whole output layer keeps the first: between. '
        "So do auxiliary rows under the teacher's class head. Another body with other rows keeps "
        'nothing, and equal outputs at the start (cloned) do not make equal kernels. It speaks of '
        'outputs, not of what a probe could find in a body, but for the start that is shared.',
    predicts={
        'own': _all(RISES, RISES, RISES), 'mix': _all(BETWEEN, BETWEEN),
        'share:output': _all(BETWEEN, BETWEEN), 'share:aux': _all(CHANCE, BETWEEN),
        'share:class': _all(CHANCE, CHANCE), 'share:first': _all(CHANCE, CHANCE),
        'other': _all(CHANCE, CHANCE), 'cloned': _all(CHANCE, CHANCE),
        'cloned:all': _all(CHANCE, CHANCE),
    })

HYPOTHESES = (SHARED_WEIGHTS, COMPATIBLE_HEADS, SHARED_KERNEL)


def predicted(hypothesis: Hypothesis, kind: str, readout: str) -> str | None:
    """What a hypothesis says of a cell; None: nothing.

    Args:
      hypothesis: one of HYPOTHESES.
      kind: of the start (`starts.kind_of`).
      readout: own, teacher or probe.
    """
    return hypothesis.predicts.get(kind, {}).get(readout)
