"""Long checks of correctness, each a command; a short form of each is a test.

    python -m checks.contract    every response matches the OpenAPI document (minutes)
    python -m checks.fuzz        broken and hostile images do no harm (a minute)
    python -m checks.identity    each response belongs to its request (10 minutes)
    python -m checks.swaps       model swaps under load lose and mix nothing (5 to 10 minutes)

Each exits with 1 if it found a fault. They start a service of their own, and need Linux.
"""
