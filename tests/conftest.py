"""Shared fixtures: eight virtual CPU devices, a key, strict promotion, and the slow marker."""

import contextlib
import ctypes
import gc
import os
import pathlib

# Eight virtual devices. The other three cut the time of compiling to a third: the suite compiles
# some thousand programs, each of which runs for milliseconds. What is computed stays the same.
os.environ['XLA_FLAGS'] = ' '.join((
    os.environ.get('XLA_FLAGS', ''), '--xla_force_host_platform_device_count=8',
    '--xla_backend_optimization_level=0', '--xla_cpu_use_fusion_emitters=false',
    '--xla_cpu_parallel_codegen_split_count=1'))
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax  # noqa: E402
import pytest  # noqa: E402

from subliminal_jax.runs import use_compilation_cache  # noqa: E402

MOST_RESIDENT = 5 << 30  # bytes of a worker


def pytest_addoption(parser):
    parser.addoption('--runslow', action='store_true', help='run the tests marked slow too')


def pytest_configure(config):
    use_compilation_cache()


def pytest_collection_modifyitems(config, items):
    if config.getoption('--runslow'):
        return
    for item in items:
        if 'slow' in item.keywords:
            item.add_marker(pytest.mark.skip(reason='slow; run with --runslow'))


@pytest.fixture(scope='module', autouse=True)
def room_for_programs():
    """Lets go of compiled programs before a process has more memory maps than Linux allows.

    Each one holds several of the 65,530 (vm.max_map_count). Beyond that XLA ends in a segmentation
    fault, in whatever test comes next. And before it has so much memory that two workers of a whole
    suite do not fit beside each other.
    """
    yield
    maps, pages = pathlib.Path('/proc/self/maps'), pathlib.Path('/proc/self/statm')
    if not maps.exists():
        return
    resident = int(pages.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    if maps.read_bytes().count(b'\n') > 20_000 or resident > MOST_RESIDENT:
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # only glibc has it
            ctypes.CDLL('libc.so.6').malloc_trim(0)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def strict():
    """Around model and loss functions only: optax's adam does not run under strict promotion."""
    with jax.numpy_dtype_promotion('strict'), jax.numpy_rank_promotion('raise'):
        yield


@pytest.fixture(scope='session')
def smollm2():
    """SmolLM2, loaded once for all tests; they are skipped where its package is not installed."""
    from subliminal_jax import models
    from subliminal_jax.models import loading
    from subliminal_jax.runs import UserError

    name = 'package:smollm2-135m-instruct'
    try:
        loading.locate(name)
    except UserError as error:
        pytest.skip(str(error))
    return models.load(name)
