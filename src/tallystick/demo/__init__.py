"""Both demos, and a local network; the command loads them by name."""
