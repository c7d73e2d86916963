"""All faults at once on a whole deployment, drawn from a seed, and every message counted after.

``python -m tests.torture --minutes 30 --seed 7 --json OUT``, or ``make torture``. A fault is a line
in :mod:`tests.torture.faults`; what is compared at the end is in :mod:`tests.torture.audit`.
"""
