"""The version of samlet."""

__version__ = "0.1.0"
