"""The store: one SQLite file for the chain, its snapshots and its payloads."""
