"""The same hub and user as in the tests of the zoo."""

from tests.zoo.conftest import cache, hub_server

__all__ = ["cache", "hub_server"]
