"""Mutated proofs, notes, policies and their parts: parsers refuse them, or read what is written the same again."""
