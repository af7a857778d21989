"""What every runtime must do here: say what a graph takes and gives, and run it on arrays."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from samlet.errors import CheckpointError, InputError

REMEDY = "export the model again with `samlet export`"

Arrays = dict[str, NDArray[Any]]
"""Arrays by the names of a graph's inputs or outputs."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: of the input or output.
        shape: its sizes, None where any will do.
        type: of its values, in numpy's words.
    """

    name: str
    shape: tuple[int | None, ...]
    type: str = "float32"

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.type} ({sizes})"

    def fits(self, wanted: Port) -> bool:
        """Whether this can be what is wanted: where both say a size, it must be the same."""
        if (self.name, self.type, len(self.shape)) != (wanted.name, wanted.type, len(wanted.shape)):
            return False
        return all(a == b or a is None or b is None for a, b in zip(self.shape, wanted.shape, strict=True))


@dataclass(frozen=True)
class Interface:
    """What a graph must take and give.

    Attributes:
        inputs: in order.
        outputs: in order; a graph may have more, which nobody asks for.
        optional: names of the inputs that a graph may lack.
        varying: axes of inputs whose sizes change from call to call; all others change with the image size alone.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    optional: frozenset[str] = frozenset()
    varying: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def check(self, session: Session, path: Path) -> None:
        """Compare with what a graph takes and gives.

        Raises:
            CheckpointError: they differ.
        """
        _compare(session.inputs, self.inputs, self.optional, "inputs", path)
        _compare(session.outputs, self.outputs, frozenset(), "outputs", path)


def _compare(found: Sequence[Port], wanted: Sequence[Port], optional: frozenset[str], kind: str, path: Path) -> None:
    present, known = {port.name: port for port in found}, {port.name: port for port in wanted}
    needed = [port for port in wanted if port.name not in optional]
    more = kind == "outputs"
    fits = all(port.fits(known[name]) if name in known else more for name, port in present.items())
    if not fits or any(port.name not in present for port in needed):
        has, expected = (", ".join(map(str, ports)) or "none" for ports in (found, needed))
        raise CheckpointError(f"{path} has the {kind} {has}; expected {expected}; {REMEDY}")


class Session(Protocol):
    """A graph that is ready to run, on the CPU.

    Attributes:
        inputs: what it takes.
        outputs: what it gives.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs of the graph; the arrays are the caller's own.

        Raises:
            CheckpointError: the graph cannot be run.
        """
        ...

    def close(self) -> None:
        """Give back what the runtime holds."""
        ...


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What runs the graphs of exported models. `samlet.runtimes.registry` finds it as `RUNTIME` in its module.

    Attributes:
        target: its name in `export.json` and for `samlet export --to`.
        suffix: of its graphs' files.
        weights_suffix: of the file that must lie beside each graph; '' where a graph holds its own weights.
        spare_suffix: added to a graph's name, of a file that may lie beside it; '' for none.
        open: a session from the path, the interface, CPU threads, and the precision of products, `f32` or `bf16`, for
            runtimes that choose it. Raises CheckpointError for a damaged file, InputError where it is not installed.
    """

    target: str
    suffix: str
    open: Callable[[Path, Interface, int, str], Session]
    weights_suffix: str = ""
    spare_suffix: str = ""

    def beside(self, graph: Path) -> Path | None:
        """The file that must lie beside a graph."""
        return graph.with_suffix(self.weights_suffix) if self.weights_suffix else None

    def files(self, graph: Path) -> tuple[Path, ...]:
        """A graph and all that lies beside it."""
        spare = [graph.with_name(graph.name + self.spare_suffix)] if self.spare_suffix else []
        beside = self.beside(graph)
        return (graph, *(path for path in (beside, *spare) if path is not None and path.is_file()))


def import_runtime(module: str, name: str, extra: str) -> Any:
    """A runtime's module, imported only when a graph needs it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"this exported model runs on {name}, which is not installed here; run: pip install 'samlet[{extra}]'"
        ) from error


def damaged(path: Path, kind: str, error: Exception) -> CheckpointError:
    """The error of a file that a runtime cannot open."""
    return CheckpointError(f"{path} is damaged or no {kind}: {first_line(error)}; copy it again, or {REMEDY}")


def cannot_run(path: Path, error: Exception) -> CheckpointError:
    """The error of a graph that a runtime cannot run."""
    return CheckpointError(f"{path} cannot be run: {first_line(error)}; {REMEDY}")


def first_line(error: Exception) -> str:
    """What a runtime says went wrong, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]
