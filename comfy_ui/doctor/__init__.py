"""Check this machine, its servers and models, and advise what to do.

:mod:`.inspect_machine` and :mod:`.gpu_probe` collect facts, :mod:`.machine_checks` judges them
without I/O, and :mod:`.doctor_report` prints the results without secrets. Add a check: a fact in
:mod:`.machine`, where it comes from in :mod:`.inspect_machine`, and a rule in
:mod:`.machine_checks`.
"""
