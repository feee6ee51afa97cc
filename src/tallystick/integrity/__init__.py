"""Checking a kept chain, and mending it."""
