"""Privacy: budgets, the mechanisms that spend them, their accounting, private training, and the ledger of all of it.

What belongs here: what is promised to a patient, and its proof. What does not: attacks on what came out
(`evaluate/attacks/`), the gate (`release/`), and what a generator makes of noisy numbers (`generators/`).
"""
