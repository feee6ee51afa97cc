"""Proofs that outlive the network: their form, and how they are verified offline (docs/proofs.md)."""
