import pytest
from tests.interop.judges import Fsck, Judges, NoJudges, build_judges, install_fsck


@pytest.fixture(scope="session")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Judges:
    """Torchwood and formats; where they cannot be built, the test is skipped, and the summary says why."""
    try:
        return build_judges(tmp_path_factory.mktemp("judges"))
    except NoJudges as reason:
        pytest.skip(f"no judges of tlog-proofs: {reason}")


@pytest.fixture(scope="session")
def fsck(tmp_path_factory: pytest.TempPathFactory) -> Fsck:
    """Tessera's; where it cannot be installed, the test is skipped, and the summary says why."""
    try:
        return install_fsck(tmp_path_factory.mktemp("fsck"))
    except NoJudges as reason:
        pytest.skip(f"no judge of whole logs: {reason}")
