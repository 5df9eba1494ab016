"""What a compiled program computes, moves and sends, read from its text (HLO).

XLA's own count takes a loop's body once and says nothing of GPUs; here loops count in full. Counted
are, on one device:
  FLOPs      2 a multiply-add of every matrix product and convolution, by the operands' type
  bytes      that operations read from the device's memory and write to it; what lies in a TPU's
             fast memory (S(1) in a layout) costs nothing, and a slice of an array its own size
  sent       bytes that leave the device in collectives, on a ring
"""

import functools
import json
import math
import re
from collections import Counter
from typing import NamedTuple

import numpy as np

from subliminal_jax.runs.hlo_text import attribute, branches, group, modules

_CALLED = re.compile(r'(?:calls|to_apply|body|condition)=%([\w.\-]+)')
_CUBLAS = re.compile(r'custom_call_target="__cublas\$')
_FREE = {'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'iota',
         'partition-id', 'replica-id', 'opt-barrier'}
_SENT = {'all-gather': lambda g, read, made: (g - 1) / g * made,
         'all-reduce': lambda g, read, made: 2 * (g - 1) / g * read,
         'reduce-scatter': lambda g, read, made: (g - 1) / g * read,
         'all-to-all': lambda g, read, made: (g - 1) / g * read,
         'ragged-all-to-all': lambda g, read, made: (g - 1) / g * read,
         'collective-permute': lambda g, read, made: read}
_FULL = {'f64': 'float64', 'f32': 'float32'}  # types whose products have a rate of their own
_HALF = 'bfloat16'  # the rate of all others


class Cost(NamedTuple):
    """What one device does.

    Attributes:
      flops: by the type that has a rate: bfloat16, float32, float64.
      moved: bytes to and from its memory.
      sent: bytes that leave it.
      collectives: how many of each kind, loops in full.
    """

    flops: Counter
    moved: float
    sent: float
    collectives: Counter

    def plus(self, other: 'Cost', times: float = 1) -> 'Cost':
        """It and so many of another."""
        flops, collectives = Counter(self.flops), Counter(self.collectives)
        for kind, value in other.flops.items():
            flops[kind] += times * value
        for kind, value in other.collectives.items():
            collectives[kind] += times * value
        return Cost(flops, self.moved + times * other.moved, self.sent + times * other.sent,
                    collectives)


NOTHING = Cost(Counter(), 0.0, 0.0, Counter())


class Costs(NamedTuple):
    """A program's cost: what it does once, and one turn of its loops whose turns are data."""

    once: Cost
    turn: Cost

    def whole(self, turns: int) -> Cost:
        """With so many turns."""
        return self.once.plus(self.turn, turns)


def costs(text: str, turns: int | None = None) -> Costs:
    """The cost of a program.

    Args:
      text: HLO, as `compiled.as_text()` gives it.
      turns: of every loop, in place of its own number; for comparison with XLA's count.
    """
    devices = re.search(r'^HloModule .*num_partitions=(\d+)', text)
    reader = _Reader(modules(text), turns, int(devices[1]) if devices else 1)
    return reader.of(reader.entry)


class _Reader:
    """Adds up a module's computations, each once."""

    def __init__(self, modules, turns, everyone):
        self.entry = modules.pop('')
        self.modules, self.turns, self.everyone = modules, turns, everyone
        self.by_name = {name: {op.name: op for op in ops} for name, ops in modules.items()}
        self.of = functools.cache(self._of)
        self.inside = functools.cache(self._inside)

    def _of(self, name):
        """A computation that runs operation by operation."""
        once, turn = NOTHING, NOTHING
        for op in self.modules[name]:
            if op.code == 'while':
                body = self.of(attribute(op, 'body'))
                times = self.turns if self.turns is not None else self._trips(op)
                if times is None:
                    turn = turn.plus(body.once)
                else:
                    once, turn = once.plus(body.once, times), turn.plus(body.turn, times)
                continue
            if op.code == 'conditional':
                bodies = [self.of(b) for b in branches(op)]
                most = max(bodies, key=lambda c: (c.once.moved, sum(c.once.flops.values())))
                once, turn = once.plus(most.once), turn.plus(most.turn)
                continue
            if op.code in ('call', 'async-start'):
                for called in _CALLED.findall(op.rest):
                    more = self.of(called)
                    once, turn = once.plus(more.once), turn.plus(more.turn)
                continue
            flops, sent, kinds = self._computes(name, op)
            once = once.plus(Cost(flops, self._moves(name, op), sent, kinds))
        return Costs(once, turn)

    def _computes(self, name, op):
        """(FLOPs, bytes sent, collectives) of an operation, of those that it fuses too."""
        read = [self.by_name[name][o] for o in op.operands if o in self.by_name[name]]
        if op.code == 'fusion':
            return self.inside(attribute(op, 'calls'))
        flops, kinds = Counter(), Counter()
        if products := _products(op, read):
            flops[_rate(read)] += products
        kind = op.code.removesuffix('-start')
        if kind not in _SENT:
            return flops, 0.0, kinds
        kinds[kind] += 1
        taken = sum(a.bytes for o in read for a in o.result)
        made = sum(a.bytes for a in op.result) - (taken if op.code != kind else 0)
        return flops, _SENT[kind](group(op, self.everyone), taken, made), kinds

    def _inside(self, name):
        flops, sent, kinds = Counter(), 0.0, Counter()
        for op in self.modules[name]:
            more, out, found = self._computes(name, op)
            flops, sent, kinds = flops + more, sent + out, kinds + found
        return flops, sent, kinds

    def _moves(self, name, op):
        """Bytes between the device and its memory."""
        code = op.code
        if code in _FREE or code.endswith('-done') or code.removesuffix('-start') in _SENT:
            return 0.0
        read = [self.by_name[name][o] for o in op.operands if o in self.by_name[name]]
        made = sum(a.moved for a in op.result)
        if code == 'custom-call' and _CUBLAS.search(op.rest):
            made = op.result[0].moved  # the second is scratch
        if code == 'copy-start':
            return op.result[0].moved + op.result[1].moved
        if code.endswith('slice-start'):
            return op.result[1].moved + op.result[1].bytes * op.result[0].in_memory
        if code == 'custom-call' and 'AllocateBuffer' in op.rest:
            return 0.0
        if code in ('dynamic-slice', 'slice', 'gather'):
            return 2 * made if read and read[0].result[0].in_memory else made
        if code in ('dynamic-update-slice', 'scatter'):
            return 2 * sum(a.moved for o in read[1:] for a in o.result)
        taken = [sum(a.moved for a in o.result) for o in read]
        if code == 'fusion':
            taken, made = self._fused(attribute(op, 'calls'), taken, made)
        return sum(taken) + made

    def _fused(self, called, taken, made):
        """The same where an operand is sliced, or written to in place, within a fusion."""
        ops = self.modules[called]
        users = {}
        for op in ops:
            for operand in op.operands:
                users.setdefault(operand, []).append(op)
        taken = list(taken)
        root = next(op for op in ops if op.root)
        for op in ops:
            if op.code != 'parameter' or not op.operands[0].isdigit():
                continue
            number = int(op.operands[0])
            own = self._users(op, users)
            if number < len(taken) and own and all(
                    u.code in ('dynamic-slice', 'slice', 'gather', 'dynamic-update-slice')
                    and u.operands[0] in seen for u, seen in own):
                size = sum(0 if u.code == 'dynamic-update-slice' else sum(
                    a.bytes for a in u.result) for u, _ in own)
                taken[number] = min(taken[number], size)
        for writer in self._written(root, called):
            if writer.code == 'dynamic-update-slice':
                update = self.by_name[called].get(writer.operands[1])
                whole = sum(a.moved for a in writer.result)
                part = sum(a.bytes for a in update.result) if update else whole
                made -= max(0.0, min(whole, made) - part)
        return taken, max(made, 0.0)

    @staticmethod
    def _users(op, users):
        """Who reads a value, through what only names it anew: (user, the names it goes by)."""
        names, waiting, found = {op.name}, [op.name], []
        while waiting:
            for user in users.get(waiting.pop(), ()):
                if user.code in ('bitcast', 'reshape', 'copy', 'convert'):
                    names.add(user.name)
                    waiting.append(user.name)
                else:
                    found.append(user)
        return [(user, names) for user in found]

    def _written(self, root, called):
        """The operations whose results a fusion writes."""
        if root.code == 'tuple':
            return [self._origin(self.by_name[called][o], called) for o in root.operands]
        return [self._origin(root, called)]

    def _origin(self, op, called):
        while op.code in ('bitcast', 'reshape', 'copy', 'convert') and op.operands:
            op = self.by_name[called].get(op.operands[0], op)
            if op.code == 'parameter':
                break
        return op

    def _trips(self, op):
        """Turns of a loop, or None where they are data."""
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', op.rest):
            return int(known[1])
        ops = self.modules[attribute(op, 'condition')]
        root = next(o for o in ops if o.root)
        if root.code == 'fusion':
            ops = [*ops, *self.modules[attribute(root, 'calls')]]
            root = next(o for o in self.modules[attribute(root, 'calls')] if o.root)
        if root.code != 'compare' or 'direction=LT' not in root.rest:
            return None
        bounds = [int(o.operands[0]) for o in ops if o.code == 'constant' and o.operands
                  and re.fullmatch(r'-?\d+', o.operands[0])]
        return bounds[0] if len(bounds) == 1 else None


def _rate(read):
    """The type whose rate a product has: of its operands, the widest."""
    kinds = {a.kind for op in read[:2] for a in op.result[:1]}
    return next((_FULL[k] for k in _FULL if k in kinds), _HALF)


def _products(op, read):
    """FLOPs of an operation's matrix products."""
    if op.code == 'dot':
        contract = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', op.rest)[1]
        left = read[0].result[0].sides
        return 2.0 * math.prod(op.result[0].sides) * math.prod(
            left[int(d)] for d in contract.split(',') if d)
    if op.code == 'convolution':
        return _convolved(op, read)
    if op.code == 'custom-call' and _CUBLAS.search(op.rest):
        config = json.loads(re.search(r'backend_config=(\{.*\})', op.rest)[1])
        numbers = config['gemm_backend_config']['dot_dimension_numbers']
        left = read[0].result[0].sides
        return 2.0 * math.prod(op.result[0].sides) * math.prod(
            left[int(d)] for d in numbers['lhs_contracting_dimensions'])
    return 0.0


def _convolved(op, read):
    """FLOPs of a convolution: products with padding or between dilated places do not count."""
    left, right, out = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', op.rest).groups()
    sides = lambda array, labels: dict(zip(labels, array.sides))
    x, w, y = (sides(a, labels) for a, labels in (
        (read[0].result[0], left), (read[1].result[0], right), (op.result[0], out)))
    window = dict(re.findall(r'(\w+)=([^ }]+)', (
        re.search(r'window=\{([^}]*)\}', op.rest) or ['', ''])[1]))
    total = 2.0 * y['b'] * y['f'] * w['i']
    for place, label in enumerate(sorted(label for label in out if label.isdigit())):
        at = lambda name, other, place=place: window[name].split('x')[place] \
            if name in window else other
        low = int(at('pad', '0_0').split('_')[0])
        stride, apart, holes = (int(at(n, 1)) for n in ('stride', 'rhs_dilate', 'lhs_dilate'))
        index = (np.arange(y[label])[:, None] * stride - low
                 + np.arange(w[label])[None] * apart)
        real = (index >= 0) & (index <= (x[label] - 1) * holes) & (index % holes == 0)
        total *= int(real.sum())
    return total
