"""Which room of the package may import which: arrows point one way, and nowhere in a circle."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import samlet

ROOT = Path(samlet.__file__).parent
ROOMS = tuple(
    name
    for names in (
        "errors _version _moved registry precisions bounds settings io data labels reporting models checkpoints",
        "runtimes zoo inference baselines runs training labelling evaluation slimming distillation quantization export",
        "web serve publishing extending demo cli __init__ __main__",
    )
    for name in names.split()
)
"""From the ground up: a room may import those before it."""

LONGEST = 300  # lines of a module without a reason at its top


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path: Path, at_once: bool = False) -> set[str]:
    """Names, without `samlet.`, of what a module imports; with `at_once` only what is imported while it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        inside
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inside in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if at_once and node in late:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "samlet":
            base = node.module.removeprefix("samlet").lstrip(".")
            for alias in node.names:
                inside = f"{base}.{alias.name}".lstrip(".")
                found.add(inside if inside in MODULES else base)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("samlet.") for alias in node.names if alias.name.startswith("samlet.")}
    return found - {""}


MODULES = modules()


@pytest.mark.parametrize("name", MODULES)
def test_arrows_point_down(name):
    room = name.split(".")[0]
    assert room in ROOMS, f"{room} is no room; add it to the list, and to the map in CONTRIBUTING.md"
    for other in {found.split(".")[0] for found in imports(MODULES[name])} & set(ROOMS):
        assert ROOMS.index(other) <= ROOMS.index(room), f"{name} imports {other}"


def test_no_module_imports_itself_by_a_detour():
    known = MODULES
    edges = defaultdict(set)
    for name, path in known.items():
        edges[name] = {found for found in imports(path, at_once=True) if found in known and found != name}
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in edges[name]:
                visit(other, [*way, name])
            done.add(name)

    for name in known:
        visit(name, [])


@pytest.mark.parametrize("name", MODULES)
def test_long_modules_say_why(name):
    text = MODULES[name].read_text(encoding="utf-8")
    if len(text.splitlines()) > LONGEST:
        assert "One module, though long: " in (ast.get_docstring(ast.parse(text)) or ""), name
