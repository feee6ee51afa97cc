"""What a node does: it takes events and returns actions, and touches neither clock nor network nor disk."""
