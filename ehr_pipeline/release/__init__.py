"""Release: the gate, the signed bundle, and the check that a bundle is what was signed.

What belongs here: what must hold before anything leaves the institution, and what leaves it. What does not: any
verdict (`sanity/`, `evaluate/`), any spend (`privacy/ledger.py`), and the internal report (`report/`).
"""
