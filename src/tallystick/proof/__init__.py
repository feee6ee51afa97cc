"""Proofs that outlive the network: their form, how they are put together, and how they are verified offline (docs/proofs.md)."""
