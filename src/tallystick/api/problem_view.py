"""A problem as it is told: the same over HTTP and by a command under `--json`."""

from tallystick.api import views
from tallystick.ledger.errors import Refused
from tallystick.problems import DamagedStore, Problem, RefusedInput


def problem_view(problem: Problem | Refused) -> views.Problem:
    """With its code, exit code, HTTP status, and the rule that was broken, if one was."""
    if isinstance(problem, Refused):
        problem = RefusedInput(problem)
    told = getattr(problem, "told", None)
    if isinstance(told, views.Problem):  # a node told it so
        return told
    refused = problem.refused if isinstance(problem, RefusedInput | DamagedStore) else None
    return views.Problem(
        type=f"urn:tallystick:problem:{problem.code}",
        title=(type(problem).__doc__ or "").strip().split("\n")[0],
        status=problem.http_status,
        detail=str(problem),
        code=problem.code,
        exit_code=int(problem.exit_code),
        rule=refused.rule.name if refused else None,
    )
