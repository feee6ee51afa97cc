"""The command line."""

from tallystick.cli.app import app

__all__ = ["app"]
