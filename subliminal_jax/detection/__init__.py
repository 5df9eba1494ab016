"""Can anyone tell? Detectors of a trait in rows, beside nulls, a ceiling and positive controls.

Nothing here knows of a run. What is read of rows needs a reference (parameters and architecture)
and packed rows; what tells two writers apart needs two lists of rows and what was read of them.
"""
