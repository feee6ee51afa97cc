"""Proofs that outlive the network: their form, how they are made up, and verified offline (docs/proofs.md)."""
