"""The version of samlet."""

__version__ = "0.2.0"
