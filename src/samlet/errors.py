"""The errors that samlet raises on purpose.

Every message says the value that was found, what was expected, and what to do about it.
"""


class SamletError(Exception):
    """Base of every error that samlet raises on purpose: something failed. The command line exits with 1."""


class InputError(SamletError, ValueError):
    """Something the caller passed cannot be used: a path, a number, a name. The command line exits with 2."""


class CheckpointError(InputError):
    """A checkpoint file or model folder that cannot be read as what it claims to be."""


class NothingLeftError(InputError):
    """Every input was tried and none could be used; the message has the first reason. The command line exits with 1."""
