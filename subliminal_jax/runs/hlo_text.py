"""A compiled program's text (HLO) as data: computations, their instructions, arrays."""

import math
import re
from typing import Any, NamedTuple

_WIDTH = {'pred': 1, 's4': 0.5, 'u4': 0.5, 'bf16': 2, 'c64': 8, 'c128': 16}
_SHAPE = re.compile(r'([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?')
_LINE = re.compile(r'^\s+(ROOT )?%([\w.\-]+) = ')
_HEAD = re.compile(r'^(ENTRY )?%([\w.\-]+) \(.*\{$')


class Array(NamedTuple):
    """An array's type, sides, and whether it lies in the device's memory."""

    kind: str
    sides: tuple[int, ...]
    in_memory: bool

    @property
    def bytes(self) -> float:
        """Its size."""
        width = _WIDTH.get(self.kind)
        if width is None:
            digits = re.search(r'\d+', self.kind)
            width = int(digits[0]) / 8 if digits else 0  # a token has none
        return math.prod(self.sides) * width

    @property
    def moved(self) -> float:
        """What passes between the device and its memory where it is read or written."""
        return self.bytes if self.in_memory else 0.0


class Op(NamedTuple):
    """An instruction: name, result, operation, operands' names, and all that follows them."""

    name: str
    result: tuple[Array, ...]
    code: str
    operands: tuple[str, ...]
    rest: str
    root: bool


def modules(text: str) -> dict[str, Any]:
    """{computation: its instructions}, and the entry's name under ''."""
    found, current = {}, None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = found.setdefault(head[2], [])
            if head[1]:
                found[''] = head[2]
        elif current is not None and (begin := _LINE.match(line)):
            current.append(_op(line[begin.end():], begin[2], bool(begin[1])))
    return found


def _op(text, name, root):
    end = _closing(text, 0) if text[0] == '(' else text.index(' ')
    result, text = text[:end], text[end:].lstrip()
    code, _, text = text.partition('(')
    close = _closing('(' + text, 0) - 1
    inside = text[:close - 1]
    operands = tuple(re.findall(r'%([\w.\-]+)', inside)) or ((inside,) if inside else ())
    return Op(name, tuple(_arrays(result)), code, operands, text[close:], root)


def _closing(text, start):
    """The place behind the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == '(') - (text[place] == ')')
        if not depth:
            return place + 1
    return len(text)


def _arrays(text):
    for kind, sides, layout in _SHAPE.findall(text):
        yield Array(kind, tuple(int(s) for s in sides.split(',') if s),
                    not re.search(r'S\([1-9]', layout or ''))


def attribute(op: Op, name: str) -> str:
    """The computation that an instruction names so."""
    return re.search(rf'{name}=%([\w.\-]+)', op.rest)[1]


def branches(op: Op) -> list[str]:
    """The computations of a conditional."""
    listed = re.search(r'branch_computations=\{([^}]*)\}', op.rest)
    found = listed[1] if listed else ' '.join(
        re.findall(r'(?:true|false)_computation=(%[\w.\-]+)', op.rest))
    return re.findall(r'%([\w.\-]+)', found)


def group(op: Op, everyone: int) -> int:
    """Devices of a collective's group, of `everyone` in all."""
    if iota := re.search(r'replica_groups=\[(\d+),(\d+)\]', op.rest):
        return int(iota[2])
    if listed := re.search(r'replica_groups=\{\{([\d,]*)\}', op.rest):
        return len(listed[1].split(','))
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", op.rest):
        sides = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        return math.prod(int(part or sides[axis]) for axis, part in re.findall(
            r"'(\w+)'(?::\(\d+\)(\d+))?", named[2]))
    return everyone
