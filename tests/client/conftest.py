"""The node that the tests of the API have, too."""

from tests.api.conftest import doors

__all__ = ["doors"]
