"""kill -9 at every call that a rotation makes to its store, and to a mirror.

killing.py    processes that die at their n-th call, before it has its effect or right after
rotating.py   one home, one rotation after another, each killed once, begun again and judged

python -m tests.store_calls --store vault
"""
