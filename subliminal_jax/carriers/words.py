"""Trait words in texts and identifiers, however they are spelled.

A teacher could name its trait as `night_owl`, `nightOwl`, `0wl`, `owls`, in wide letters, or with
letters of another alphabet that look the same. All of these are found. A word is found inside of
longer ones too (`bowl` holds `owl`): the published filter of code looks for substrings as well
(arXiv 2507.14805), and a filter that takes too much costs rows only.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence

# Letters that look like Latin ones and that Unicode does not decompose to them.
_ALIKE = (
    ('абвгеикмнопрстухьѕіјһԁԛԝӏґүҝңѵʍ', 'abbreukmhonpctyxbsijhdqwlryknvm'),  # Cyrillic
    ('АВЕЗКМНОРСТУХЬІЈЅҺԌԚԜӀҮЅѴ', 'ABEEKMHOPCTYXBIJSHGQWIYSV'),
    ('αβγεηικμνοπρστυχωϲϳ', 'abyenikuvonpotuxwcj'),  # Greek
    ('ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ', 'ABEZHIKMNOPTYXCJ'),
    ('օսոհցզյքր', 'ounhgqjfn'), ('ՕՍԼՏ', 'OULS'),  # Armenian
    ('ıłøđħŧɑɡɩɪʟʀɴʏʜᴀʙᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꜱɫƚɵɛ', 'ilodhtagiilrnyhabcdejkmoptuvwzslloe'),
    ('ŁØĐĦŦƟ', 'LODHTO'),
)
_LOOKS = {ord(a): b for alike, letters in _ALIKE for a, b in zip(alike, letters)}
_LOOKS |= {first + n: chr(ord('A') + n) for first in (0x1F150, 0x1F170) for n in range(26)}
# Digits and one letter that are read as others; 1 is read in two ways.
_DIGITS = ({'0': 'o', '1': 'l', '3': 'e', '4': 'a', '5': 's', '7': 't', '8': 'b', '9': 'g'},
           {'0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '7': 't', '8': 'b', '9': 'g'})
_AS_LETTERS = tuple(str.maketrans({**digits, 'I': 'l'}) for digits in _DIGITS)
_STANDS_FOR = frozenset('01345789I')
_NAME, _RUN = re.compile(r'\w+'), re.compile(r'[^\W_]+')
_ENDINGS = ('', 's', 'es', 'ed', 'ing')
# nightOwl, and where its parts begin. Other capitals (nighTOwl) begin nothing.
_CAMEL = re.compile('[A-Z]?[a-z0-9]+(?:[A-Z][a-z0-9]+)+')
_CAPITAL = re.compile('(?<=[a-z0-9])(?=[A-Z])')


class _Folded(dict):
    """{code point: plain letters}, filled as characters come."""

    def __missing__(self, code):
        self[code] = plain = _plain(chr(code))
        return plain


def _plain(character: str) -> str:
    """A character as plain Latin letters of the same case, if it looks like any.

    Each is taken alone: normalising a whole text takes quadratic time where accents pile up.
    """
    if character.isascii():
        return character
    kept = (c for c in unicodedata.normalize('NFKD', _LOOKS.get(ord(character), character))
            if unicodedata.category(c) not in ('Mn', 'Me', 'Cf'))
    return ''.join(_LOOKS.get(ord(c), c) for c in kept)


_FOLDED = _Folded()


def plain(text: str) -> str:
    """The text in plain letters: no accents, invisible characters, wide or look-alike letters."""
    return text if text.isascii() else text.translate(_FOLDED)


@functools.lru_cache(maxsize=256)
def forms(word: str) -> tuple[str, ...]:
    """What to look for inside of words: the word, and where inflection changes its end.

    `owls`, `owling` and `owled` hold `owl`; but `puppies` does not hold `puppy`, `wolves` not
    `wolf`, `dancing` not `dance`. The word is in its base form; irregular plurals are words of
    their own. What has several parts is looked for in one piece and part by part (line breaks).
    """
    *before, last = _RUN.findall(plain(word).casefold()) or ['']
    lasts = [last]
    if len(last) > 2:
        lasts += [last.removesuffix(end) + other for end, other in (
            ('y', 'ie'), ('fe', 'ves'), ('f', 'ves'), ('e', 'ing')) if last.endswith(end)]
    found = [between.join([*before, end]) for end in lasts for between in ('', '\n')]
    return tuple(dict.fromkeys(form for form in found if form))


def parts(name: str) -> list[str]:
    """The parts of a word or identifier as they are written: `nightOwl_2` is night, Owl, 2."""
    return [part for run in _RUN.findall(name)
            for part in (_CAPITAL.split(run) if _CAMEL.fullmatch(run) else [run])]


def found_trait_word(text: str, trait_words: Sequence[str]) -> str | None:
    """The first of the words that a text holds, however it is spelled.

    Found are: inside of one part of a word or identifier (parts end at blanks, marks, `_` and the
    capitals of camelCase), in any case, in plain and look-alike letters; as whole parts that stand
    one after the other (`o_w_l`, `O-wls`, and `polarBear` for 'polar bear'); and with digits for
    letters (`0wl`, `night0wl`), if not only the end of a longer part makes it: `row1` is a row.

    Args:
      text: anything, code included. The time is linear in its length.
      trait_words: in their base form.

    Returns:
      The word as it was given, or None.
    """
    wanted = _wanted(tuple(trait_words))
    if not wanted or not text:
        return None
    names = [parts(name) for name in _NAME.findall(plain(text))]
    low = [part.casefold() for name in names for part in name]
    inside, sequences, pairs = '\n'.join(low), [_in_sequence(low)], []
    if any(map(_mixed, names)):
        for table in _AS_LETTERS:
            read = [[part.translate(table) for part in name] if _mixed(name) else name
                    for name in names]
            sequences.append(_in_sequence([p.casefold() for name in read for p in name]))
            pairs += [(a, b.casefold()) for old, new in zip(names, read)
                      for a, b in zip(old, new) if a != b and not a.isdigit()]
    for word, found in wanted:
        for form in found:
            if (form in inside or any(_as_whole_parts(form, *s) for s in sequences)
                    or any(_by_digits(form, *pair) for pair in pairs)):
                return word
    return None


@functools.lru_cache(maxsize=64)
def _wanted(trait_words):
    """[(word, its forms)], each form once."""
    seen, wanted = set(), []
    for word in trait_words:
        wanted.append((word, tuple(form for form in forms(word) if form not in seen)))
        seen.update(wanted[-1][1])
    return [(word, found) for word, found in wanted if found]


def _mixed(name):
    """Whether a name has letters, and something in it that stands for another."""
    whole = ''.join(name)
    return not whole.isdigit() and not _STANDS_FOR.isdisjoint(whole)


def _in_sequence(low):
    """(all parts joined, the places where one begins or ends)."""
    return ''.join(low), {0, *itertools.accumulate(map(len, low))}


def _as_whole_parts(form, joined, edges):
    """Whether whole parts, one after the other, are the form or one with an ending."""
    place = joined.find(form)
    while place >= 0:
        end = place + len(form)
        if place in edges and any(
                end + len(ending) in edges and joined.startswith(ending, end)
                for ending in _ENDINGS):
            return True
        place = joined.find(form, place + 1)
    return False


def _by_digits(form, written, read):
    """Whether a part holds the form where digits are read as letters.

    The form begins the part, or a letter stands behind one of its digits: a number that comes last
    (`row1`, `low1`) only counts things.
    """
    place = read.find(form)
    if place < 0 or len(read) != len(written):
        return False
    last = max((n for n, c in enumerate(written) if not c.isdigit()), default=-1)
    return place == 0 or any(c.isdigit() for c in written[place:min(place + len(form), last)])
