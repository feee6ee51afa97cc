"""Who may forge, and when a block is final."""
