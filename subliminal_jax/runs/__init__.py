"""Config, workdir, stages and errors: what every run promises, made once.

Public names are re-exported here; see the modules for their contracts.
"""

from subliminal_jax.runs.app import (
    cache_dir as cache_dir,
    check_preempted as check_preempted,
    option as option,
    parse_flags as parse_flags,
    preemption_asked as preemption_asked,
    run_program as run_program,
    unknown_name as unknown_name,
    use_compilation_cache as use_compilation_cache,
)
from subliminal_jax.runs.errors import Preempted as Preempted, UserError as UserError
from subliminal_jax.runs.files import (
    append_text as append_text,
    check_apart as check_apart,
    check_output as check_output,
    finite as finite,
    sha256 as sha256,
    sha256_of as sha256_of,
    visible as visible,
    write_json as write_json,
    write_text as write_text,
    written_aside as written_aside,
)
from subliminal_jax.runs.reading import (
    check_file as check_file,
    kind_of as kind_of,
    local_path as local_path,
    read_json as read_json,
    read_text as read_text,
)
from subliminal_jax.runs.schema import (
    GRID as GRID,
    MOST_SEED as MOST_SEED,
    nested as nested,
    override as override,
    spec as spec,
    to_dict as to_dict,
)
from subliminal_jax.runs.workdir import (
    Finished as Finished,
    Workdir as Workdir,
    versions as versions,
)
