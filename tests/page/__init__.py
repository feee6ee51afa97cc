"""The page that verifies: its modules under Node, and all of it in a real Chromium."""
