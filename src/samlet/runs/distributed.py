"""Where a run computes: one process or many, CPU or GPU, float32 or bfloat16. Lightning Fabric does the work.

`torchrun` starts the processes; samlet finds them by the environment that it sets.
"""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from samlet.errors import InputError
from samlet.precisions import Arithmetic
from samlet.runs.extras import need_training
from samlet.runs.precision import chosen_precision

if TYPE_CHECKING:
    from lightning_fabric.wrappers import _FabricModule

T = TypeVar("T")


class DistributedContext:
    """The processes of a run and the device of this one.

    Attributes:
        device: of this process.
        rank: number of this process.
        world: number of processes.
        precision: `fp32` or `bf16`.

    Args:
        device: `cpu`, `cuda`, `cuda:1`; under torchrun every process takes the GPU of its local rank.
        precision: see `runs.precision.PRECISIONS`.

    Raises:
        InputError: torchrun was asked for GPUs by number, bfloat16 would be emulated, or the extra `train` is not
            installed.
    """

    def __init__(self, device: str | torch.device = "cpu", precision: Arithmetic = "fp32") -> None:
        need_training("training, or sharing work under torchrun,")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lightning_fabric import Fabric
        for name in ("lightning.fabric", "lightning_fabric"):  # after the import, which sets them
            logging.getLogger(name).setLevel(logging.WARNING)
        wanted = torch.device(device)
        self.precision = chosen_precision(precision, wanted)
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
        distributed = local * nodes > 1
        if distributed and wanted.index is not None:
            raise InputError(f"device {device} names one GPU of {local} processes; expected cuda, without a number")
        devices = [wanted.index or 0] if wanted.type == "cuda" and not distributed else local
        self._fabric = Fabric(
            accelerator=wanted.type,
            devices=devices,
            num_nodes=nodes,
            strategy="ddp" if distributed else "auto",
            precision="bf16-mixed" if self.precision == "bf16" else "32-true",
        )
        self._fabric.launch()
        self.device: torch.device = self._fabric.device
        self.rank: int = self._fabric.global_rank
        self.world: int = self._fabric.world_size

    @property
    def is_main(self) -> bool:
        """Whether this process writes, prints and shows progress."""
        return self.rank == 0

    def set_up(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Model and optimizer as the strategy wants them; weights are those of process 0."""
        wrapped, optimizer = self._fabric.setup(model, optimizer)
        return wrapped, optimizer

    def compute(self) -> AbstractContextManager:
        """The precision of forward passes that do not go through a model that was set up."""
        return self._fabric.autocast()

    def backward(self, model: nn.Module, loss: Tensor, last: bool) -> None:
        """Add gradients; between processes they are averaged with the last micro-batch of a step."""
        with self._fabric.no_backward_sync(cast("_FabricModule", model), enabled=not last and self.world > 1):
            self._fabric.backward(loss)

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, on the value's device."""
        if self.world == 1:
            return value
        total = cast(Tensor, self._fabric.all_reduce(value.to(self.device), reduce_op="sum"))
        return total.to(value.device)

    def from_main(self, value: T) -> T:
        """What process 0 has, in every process; anything that can be pickled."""
        return value if self.world == 1 else self._fabric.broadcast(value)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            self._fabric.barrier()
