"""What the command `tallystick` and `python -m tallystick` start with. The version costs next to nothing."""

import sys


def main() -> None:
    """Be the command."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from importlib.metadata import version  # noqa: PLC0415

        sys.stdout.write(f"tallystick {version('tallystick')}\n")  # noqa: TID251  # ours, and nothing else is loaded
        return
    from tallystick.cli.app import app  # noqa: PLC0415

    app(prog_name="tallystick")


if __name__ == "__main__":
    main()
