"""Arithmetic word problems with known answers, drawn from templates of our own.

A template is a text and the steps that solve it: 'x = p*n' is written 'p*n', and later steps may
read x, y, z, the results so far. Everyday things, names and shapes; no creature and no plant, since
those may be traits. All numbers are whole, from 1 to 400, and every division is exact: small models
are to work them out.
"""

import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

HIGHEST = 400
# Letters of numbers, by their size: few, more, many.
RANGES = {**dict.fromkeys('nmk', (2, 9)), **dict.fromkeys('pqr', (3, 20)),
          **dict.fromkeys('abc', (12, 96))}
RESULTS = 'xyz'
OPERATIONS = {'+': operator.add, '-': operator.sub, '*': operator.mul, '/': operator.floordiv}
DRAWN = 32  # sets of numbers at one time

NAMES = ('Amira', 'Ben', 'Chloe', 'Dario', 'Edith', 'Farid', 'Greta', 'Hugo', 'Ines', 'Jonas',
         'Kira', 'Lars', 'Maya', 'Nils', 'Olga', 'Pavel', 'Quentin', 'Rosa', 'Samir', 'Tilda',
         'Umar', 'Vera', 'Walter', 'Xenia', 'Yusuf', 'Zoe', 'Anton', 'Bruno', 'Clara', 'Dana',
         'Emil', 'Frida', 'Gustav', 'Helen', 'Ivan', 'Judith')
THINGS = ('pencils', 'notebooks', 'stamps', 'buttons', 'bricks', 'tiles', 'candles', 'marbles',
          'coins', 'keys', 'postcards', 'envelopes', 'stickers', 'beads', 'bolts', 'screws',
          'lamps', 'chairs', 'cups', 'plates', 'spoons', 'bottles', 'jars', 'baskets', 'tickets',
          'books', 'folders', 'magnets', 'ropes', 'towels', 'scarves', 'hats', 'balls', 'kites',
          'bells', 'clocks', 'posters', 'rulers', 'erasers', 'batteries', 'cables', 'forks')

ONE_STEP = (
    ('{name} has {a} {things} and gets {b} more. How many {things} are that now?', 'a+b'),
    ('One drawer holds {a} {things}, another one {b}. How many do they hold together?', 'a+b'),
    ('A shop sells {a} {things} on Monday and {b} on Tuesday. How many does it sell in all?',
     'a+b'),
    ('A train leaves with {a} passengers, and {b} get on at the next station. How many are on '
     'board?', 'a+b'),
    ('{name} had {a} {things} and gave away {b}. How many are left?', 'a-b'),
    ('A crate has room for {a} {things}, and {b} are in it. How many more fit in?', 'a-b'),
    ('{name} has read {b} of the {a} pages of a book. How many pages are still to be read?',
     'a-b'),
    ('A tank held {a} litres of water. {b} litres have run out. How many litres are in it?',
     'a-b'),
    ('One tower is {a} metres high. Another is {p} metres lower. How high is it, in metres?',
     'a-p'),
    ('There are {n} boxes with {p} {things} in each. How many {things} are there?', 'n*p'),
    ('A ticket costs {p} coins. How many coins do {n} tickets cost?', 'n*p'),
    ('A hall has {p} rows of {n} chairs. How many chairs is that?', 'p*n'),
    ('A lamp burns {n} hours a day. How many hours does it burn in {p} days?', 'n*p'),
    ('A rectangle is {p} centimetres long and {n} centimetres wide. What is its area in square '
     'centimetres?', 'p*n'),
    ('A square has sides of {p} centimetres. How long are they together, in centimetres?', '4*p'),
    ('Each side of a triangle measures {p} metres. What is its perimeter in metres?', '3*p'),
    ('A hexagon has six equal sides of {p} millimetres. What is its perimeter in millimetres?',
     '6*p'),
    ('A cube has 12 edges of {n} centimetres. How long are all edges together, in centimetres?',
     '12*n'),
    ('{n} people share {a} {things} equally. How many does each of them get?', 'a/n'),
    ('A ribbon of {a} centimetres is cut into {n} equal pieces. How long is a piece, in '
     'centimetres?', 'a/n'),
    ('{name} puts {a} {things} into bags of {n}. How many bags are filled?', 'a/n'),
    ('{name} folds {n} letters a minute. How many minutes do {a} letters take?', 'a/n'),
    ('A path of {a} kilometres is walked in {n} equal parts. How long is one, in kilometres?',
     'a/n'),
    ('The perimeter of a square is {a} metres. How long is a side, in metres?', 'a/4'),
)
TWO_STEPS = (
    ('{name} buys {n} packs of {p} {things} and finds {q} more. How many {things} are that?',
     'n*p x+q'),
    ('There were {n} shelves with {p} {things} each. {q} {things} were sold. How many are left?',
     'n*p x-q'),
    ('{name} has {a} {things}, gets {b} and loses {p}. How many {things} remain?', 'a+b x-p'),
    ('A bus has {p} passengers. {n} get off and {q} get on. How many are in it then?', 'p-n x+q'),
    ('{a} {things} and {b} {things} are packed into {n} equal parcels. How many are in each?',
     'a+b x/n'),
    ('Of {a} {things} {p} are broken. The others are dealt out to {n} shops equally. How many '
     'does a shop get?', 'a-p x/n'),
    ('A room is {p} metres long and {n} metres wide. {q} square metres have a carpet. How many '
     'square metres have none?', 'p*n x-q'),
    ('A rectangle is {p} metres long and {q} metres wide. What is its perimeter in metres?',
     'p+q 2*x'),
    ('{name} works {n} hours a day for {m} days and earns {k} coins an hour. How many coins is '
     'that?', 'n*m x*k'),
    ('A cup costs {p} coins and a plate {q}. How many coins do {n} cups and {n} plates cost?',
     'p+q n*x'),
    ('{name} pays {n} tickets of {p} coins with {a} coins. How many coins come back?', 'n*p a-x'),
    ('A roll has {a} metres of cable. {n} pieces of {p} metres are cut off. How many metres '
     'remain?', 'n*p a-x'),
    ('{name} saves {p} coins a week for {n} weeks and has {a} coins already. How many coins will '
     'that be?', 'p*n a+x'),
    ('A machine makes {p} {things} an hour. In {n} hours, {m} of them were faulty. How many were '
     'good?', 'p*n x-m'),
    ('{a} {things} are dealt out to {n} people equally. {name} gets a share and then {m} more. How '
     'many does {name} have?', 'a/n x+m'),
    ('{a} {things} lie in {n} equal rows. {name} takes {m} from one row. How many are left in '
     'it?', 'a/n x-m'),
    ('A recipe for {n} people needs {p} spoons of flour each. There are {q} spoons. How many are '
     'missing?', 'n*p x-q'),
    ('A rope of {a} metres is cut into three parts. One has {p} metres, one {q}. How many metres '
     'has the third?', 'p+q a-x'),
    ('A box is {n} centimetres long, {m} wide and {k} high. What is its volume in cubic '
     'centimetres?', 'n*m x*k'),
    ('{name} reads {p} pages on each of {n} days. The book has {a} pages. How many are left?',
     'p*n a-x'),
    ('A baker fills {p} trays with {n} rolls and sells them in bags of {m}. How many bags are '
     'that?', 'p*n x/m'),
    ('{name} cycles {p} kilometres there and {p} back on {n} days. How many kilometres is that?',
     '2*p n*x'),
    ('A film of {a} minutes and one of {b} minutes are shown with a break of {n} minutes. How many '
     'minutes does the evening take?', 'a+b x+n'),
    ('{name} has {p} {things} and {other} has {n} times as many. How many do they have together?',
     'n*p p+x'),
    ('{name} has {p} {things}, {other} has {q} more. How many do they have together?',
     'p+q p+x'),
    ('A square of {n} by {n} tiles is laid. There are {a} tiles. How many are left over?',
     'n*n a-x'),
)
THREE_STEPS = (
    ('{name} buys {n} {things} at {p} coins and {m} cups at {q} coins. How many coins is that?',
     'n*p m*q x+y'),
    ('A shop gets {n} boxes of {p} {things} and {m} boxes of {q}. How many {things} are '
     'there?', 'n*p m*q x+y'),
    ('Two halls have {n} rows of {p} seats and {m} rows of {q} seats. By how many seats is the '
     'first one larger?', 'n*p m*q x-y'),
    ('{name} has {a} coins, buys {n} {things} at {p} coins and shares the rest with {other} '
     'equally. How many coins does each get?', 'n*p a-x y/2'),
    ('{name} and {other} pick up {a} and {b} {things}, lose {p} and pack the rest in {n} equal '
     'boxes. How many are in a box?', 'a+b x-p y/n'),
    ('A garden of {p} by {q} metres has a fence with a gate of {n} metres. How many metres of '
     'fence is that?', 'p+q 2*x y-n'),
    ('A room of {p} by {n} metres and one of {q} by {m} metres get the same floor. How many '
     'square metres is it?', 'p*n q*m x+y'),
    ('{name} earns {p} coins an hour, works {n} hours on each of {m} days and spends {q} coins. '
     'How many coins are left?', 'p*n x*m y-q'),
    ('A tank of {a} litres loses {n} litres an hour for {m} hours, then {q} litres are added. How '
     'many litres are in it?', 'n*m a-x y+q'),
    ('{n} shelves hold {p} {things} each. {q} are sold, and the rest is put on {m} shelves '
     'equally. How many does each hold?', 'n*p x-q y/m'),
    ('A coach has {p} rows of {n} seats. {q} seats are empty, and half of the passengers get off. '
     'How many stay?', 'p*n x-q y/2'),
    ('{name} runs {n} rounds of {p} metres, then {m} rounds of {q} metres. How many metres is '
     'that in all?', 'n*p m*q x+y'),
    ('A frame of {p} by {q} centimetres surrounds a picture of {n} by {m}. How many square '
     'centimetres does the frame alone have?', 'p*q n*m x-y'),
    ('{name} makes {p} {things} a day for {n} days, gives {q} away and sells the others at {m} '
     'coins. How many coins is that?', 'p*n x-q y*m'),
    ('{a} guests and {b} guests sit at tables of {n}. {m} tables more stay empty. How many tables '
     'are there?', 'a+b x/n y+m'),
    ('{name} scores {p} points, {other} {n} more, and a third player {m} times as many as {other}. '
     'How many points do {name} and the third have together?', 'p+n m*x p+y'),
    ('Each of {n} classes has {p} pupils. {q} pupils are ill, and the others line up in rows of '
     '{m}. How many rows are there?', 'n*p x-q y/m'),
    ('A book costs {p} coins, a map {q}. {n} of each are paid with {a} coins. How many coins come '
     'back?', 'p+q n*x a-y'),
)
TEMPLATES = ONE_STEP + TWO_STEPS + THREE_STEPS


class Problem(NamedTuple):
    """A problem.

    Attributes:
      text: the question, without what form the answer should have.
      steps: what solves it, in order, such as '12 * 5 = 60'.
      answer: the number, as text.
    """

    text: str
    steps: tuple[str, ...]
    answer: str


def problem(rng: np.random.Generator) -> Problem:
    """A problem, drawn: a template, names, things and numbers."""
    pick = lambda choices: choices[rng.integers(len(choices))]
    text, solution = pick(TEMPLATES)
    steps = solution.split()
    letters = [letter for letter in RANGES if f'{{{letter}}}' in text]
    values = _numbers(rng, letters, steps)
    first, other = (NAMES[i] for i in rng.choice(len(NAMES), 2, replace=False))
    made, answer = solved(values, steps)
    return Problem(text.format(name=first, other=other, things=pick(THINGS), **values), made,
                   str(answer))


def _numbers(rng, letters, steps):
    """The first of some drawn sets of numbers that every step can be taken with."""
    low, high = np.array([RANGES[letter] for letter in letters]).T
    while True:  # every template has such numbers, and soon
        for numbers in rng.integers(low, high + 1, (DRAWN, len(letters))).tolist():
            values = dict(zip(letters, numbers))
            if solved(values, steps):
                return values


def solved(values: dict[str, int], steps: Sequence[str]) -> tuple[tuple[str, ...], int] | None:
    """(the steps written out, the last result), or None where numbers do not suit them.

    Args:
      values: of the letters.
      steps: such as 'p*n': two operands, each a letter, x, y or z (a result so far) or a number.
    """
    known, written = dict(values), []
    for name, step in zip(RESULTS, steps):
        sign = next(s for s in OPERATIONS if s in step)
        left, right = (known[o] if o in known else int(o) for o in step.split(sign))
        if sign == '/' and (left % right or left == right):
            return None
        known[name] = result = OPERATIONS[sign](left, right)
        if not 1 <= result <= HIGHEST:
            return None
        written.append(f'{left} {sign} {right} = {result}')
    return tuple(written), result
