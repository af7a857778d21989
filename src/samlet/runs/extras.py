"""What training needs beyond inference: the extra `train`."""

from __future__ import annotations

import importlib.util

from samlet.errors import InputError

_NEEDED = {"lightning_fabric": "lightning-fabric", "tensorboardX": "tensorboardX"}


def need_training(what: str = "training") -> None:
    """See whether the packages are there that run and log a training.

    Args:
        what: needs them, for the message.

    Raises:
        InputError: one is not installed.
    """
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"{what} needs {' and '.join(missing)}, not installed here; run: pip install 'samlet[train]'")
