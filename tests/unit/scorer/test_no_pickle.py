"""Nothing that the scorer imports of ours can run what a file says: no pickle, and nothing built on it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
FORBIDDEN = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
RUNNING = {"eval", "exec", "compile"}


def graph() -> dict[str, ast.Module]:
    """Every module of ours that is reached from the scorer's entry, imports inside of functions included."""
    found: dict[str, ast.Module] = {}
    waiting = ["services.scorer.__main__"]
    while waiting:
        name = waiting.pop()
        path = REPOSITORY / Path(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in found or not file.exists():
            continue
        found[name] = ast.parse(file.read_text())
        waiting += [wanted for wanted in imported(found[name]) if wanted.split(".")[0] in ("services", "shared")]
    return found


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_graph_reaches_what_reads_models() -> None:
    assert {
        "shared.deciding.onnx_model",
        "shared.model_artifact.registry",
        "shared.model_artifact.signing",
    } <= graph().keys()


def test_no_module_imports_anything_that_unpickles() -> None:
    for name, tree in graph().items():
        assert not {wanted.split(".")[0] for wanted in imported(tree)} & FORBIDDEN, name


def test_no_module_runs_text_or_lets_numpy_unpickle() -> None:
    for name, tree in graph().items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name):
                assert call.func.id not in RUNNING, name
            assert "allow_pickle" not in {keyword.arg for keyword in call.keywords}, name
            if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
                reads = (call.func.value.id, call.func.attr)
                assert reads not in {("yaml", "unsafe_load"), ("yaml", "full_load"), ("np", "load")}, name
                if reads == ("yaml", "load"):
                    assert _loader(call) in _safe_loaders(tree), name


def _loader(call: ast.Call) -> str:
    found = [call.args[1] if len(call.args) > 1 else None, *(k.value for k in call.keywords if k.arg == "Loader")]
    return next((ast.unparse(loader) for loader in found if loader is not None), "none")


def _safe_loaders(tree: ast.Module) -> set[str]:
    """yaml's own safe loader, and what the module makes of it."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases} for node in tree.body if isinstance(node, ast.ClassDef)
    }
    safe = {"yaml.SafeLoader", "yaml.CSafeLoader"}
    return safe | {name for name, above in bases.items() if above & safe}
