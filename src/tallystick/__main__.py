"""`python -m tallystick` is the command `tallystick`."""

from tallystick.cli import app

if __name__ == "__main__":
    app(prog_name="tallystick")
