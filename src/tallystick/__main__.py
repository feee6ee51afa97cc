"""`python -m tallystick` is the command `tallystick`."""

from tallystick.cli.entry import main

if __name__ == "__main__":
    main()
