"""The campaign: many seeds, each a ledger under faults and Byzantine members, watched by checkers at every event.

`scenario` says what a seed decides, `byzantine` who misbehaves and how, `run` carries a scenario out, `watch` (with
`books` and `memory`) says what must hold, `mutants` breaks rules on purpose. docs/reliability.md tells it for people.
"""
