"""Judges what launch/release.sh has made; the rest of a release is in that script.

  python -m launch.release --audit=FILE     # what pip-audit --format=json wrote
  python -m launch.release --wheel=FILE     # whether a wheel holds every file of the package

An audit that did not run, or that left a package out, is an error, as a vulnerability is that it
found.
"""

import pathlib
import subprocess
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from absl import flags

from subliminal_jax.runs import UserError, local_path, read_json, run_program

AUDIT = flags.DEFINE_string('audit', None, 'the JSON of pip-audit')
WHEEL = flags.DEFINE_string('wheel', None, 'a wheel of this project')
ROOT = pathlib.Path(__file__).parents[1]
MOST = 20  # findings in one line
UNKNOWN = ('the audit of known vulnerabilities did not run, so nothing is known of any: its '
           'service must be reachable')


def audited(found: Mapping[str, Any]) -> str:
    """One line that says how many packages have no known vulnerability.

    Args:
      found: pip-audit's JSON: `dependencies`, each with `name`, `version` and `vulns`, or with
        `name` and `skip_reason`.

    Raises:
      UserError: a known vulnerability; a package that was left out; all of them, which is what an
        index without a list of vulnerabilities looks like; no package at all.
    """
    packages = found.get('dependencies') or []
    if not packages:
        raise UserError('the audit names no package, so it says nothing')
    known = [f'{p["name"]} {p["version"]}: {v["id"]}'
             + (f' (mended in {", ".join(v["fix_versions"])})' if v['fix_versions'] else '')
             for p in packages for v in p.get('vulns', [])]
    skipped = [f'{p["name"]} ({p["skip_reason"]})' for p in packages if 'skip_reason' in p]
    if len(skipped) == len(packages):  # an index without such a list says that it has no package
        raise UserError(f'{UNKNOWN} (it knows none of {len(packages)} packages)')
    for what, names in (('known vulnerabilities', known), ('not audited', skipped)):
        if names:
            more = f'; and {len(names) - MOST} more' if len(names) > MOST else ''
            raise UserError(f'{len(names)} {what}: {"; ".join(names[:MOST])}{more}')
    return f'{len(packages)} packages, none with a known vulnerability'


def missing(wheel: pathlib.Path, files: Iterable[str]) -> list[str]:
    """Those of the files that a wheel lacks."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            held = set(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f'{wheel} is no wheel: {error}') from None
    return sorted(set(files) - held)


def main(argv: list[str]) -> None:
    del argv
    if bool(AUDIT.value) == bool(WHEEL.value):
        raise UserError('pass one of --audit=FILE and --wheel=FILE')
    if AUDIT.value:
        path = pathlib.Path(local_path('audit', AUDIT.value))
        if not path.exists():
            raise UserError(UNKNOWN)
        print(audited(read_json(path)))
        return
    tracked = subprocess.run(['git', 'ls-files', 'subliminal_jax'], cwd=ROOT, check=True,
                             capture_output=True, text=True).stdout.split('\n')
    files = [name for name in tracked if name]
    if lacks := missing(pathlib.Path(local_path('wheel', WHEEL.value)), files):
        raise UserError(f'the wheel lacks {len(lacks)} files of the package: '
                        f'{", ".join(lacks[:5])}')
    print(f'the wheel holds all {len(files)} files of the package')


if __name__ == '__main__':
    run_program(main)
