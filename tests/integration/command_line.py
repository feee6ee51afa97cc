"""Calling the command as a person does, without a process of its own."""

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from tallystick.cli.app import app
from tallystick.cli.output import speak_json

REPORT = b"The bridge is sound.\n" * 100
USUAL = Path(".local/share/tallystick")
"""The data folder in a home, where none is named."""
PASSPHRASE = "correct horse battery staple"


def cli(*args: str, cwd: Path, expect: int = 0, given: str | None = None, **env: str) -> Result:
    """Run a command without a process of its own; `given` is typed at a terminal that is none."""
    unset = dict.fromkeys(("TALLYSTICK_DATA", "TALLYSTICK_PASSPHRASE", "CREDENTIALS_DIRECTORY"))
    environment = {**unset, "NO_COLOR": "1", "COLUMNS": "6000", "HOME": str(cwd), **env}
    with chdir(cwd):
        result = CliRunner(env=environment).invoke(app, args, input=given)
    speak_json(False)  # a process is one command, and this one goes on
    assert result.exit_code == expect, (args, result.exit_code, result.output)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def called(*args: object, expect: int = 0) -> Result:
    """The same in the folder and with the home that the tests run in, for commands that are told all their paths."""
    return cli(*map(str, args), cwd=Path.cwd(), expect=expect, HOME=str(Path.home()))


def in_json(*args: str, cwd: Path, expect: int = 0, **env: str) -> Any:
    return json.loads(cli(*args, "--json", cwd=cwd, expect=expect, **env).stdout)
