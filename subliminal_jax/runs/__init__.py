"""Config, workdir, stages and errors: what every run promises, made once.

Public names are re-exported here; see the modules for their contracts.
"""

from subliminal_jax.runs.app import (
    cache_dir as cache_dir,
    check_preempted as check_preempted,
    parse_flags as parse_flags,
    preemption_asked as preemption_asked,
    run_program as run_program,
    unknown_name as unknown_name,
    use_compilation_cache as use_compilation_cache,
)
from subliminal_jax.runs.errors import Preempted as Preempted, UserError as UserError
