import pytest
from tests.interop.judges import Judges, NoJudges, build_judges


@pytest.fixture(scope="session")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Judges:
    """Torchwood and formats; where they cannot be built, the test is skipped, and the summary says why."""
    try:
        return build_judges(tmp_path_factory.mktemp("judges"))
    except NoJudges as reason:
        pytest.skip(f"no judges of tlog-proofs: {reason}")
