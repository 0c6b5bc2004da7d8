"""Generators: models that learn from a cohort's training patients and draw synthetic ones.

One file per generator, read top to bottom: paper, config, network, fit, sample. `base.py` has the
interface that all share, `registry.py` their names.
"""
