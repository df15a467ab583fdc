"""The rules of the house that a machine can hold: the invariants of docs/design/style.md, one test each.

A rule that no test holds is not a rule; a test here that has never been seen to fail is not one either.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "headwater"
ENGINE = ROOT / "crates" / "headwater-log"

#: The exception from which each client library's others descend. What the engine itself raises is mapped in Rust.
BASES = {
    "RedisError", "AMQPError", "AMQPException", "AMQPConnectionError", "KafkaException", "KafkaError", "PulsarException", "ZMQError",
    "NNGException",
}  # fmt: skip


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the repository, as git knows them, and those not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return tuple(path for name in sorted(listed.split("\0")) if name and (path := ROOT / name).is_file())


def files(*suffixes: str, under: Path = ROOT) -> list[Path]:
    return [path for path in tracked() if path.suffix in suffixes and path.is_relative_to(under)]


def where(path: Path, line: int | None = None) -> str:
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def module_of(path: Path) -> list[str]:
    """python/headwater/a/b.py as [headwater, a, b]; nothing for a file outside of the package."""
    if not path.is_relative_to(PACKAGE):
        return []
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, wherever in the file, with relative names made absolute, and `from a import b` as a.b."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{stem}.{alias.name}", node.lineno


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def none(found: Iterable[str]) -> None:
    found = list(found)
    assert not found, "\n" + "\n".join(found)


# ------------------------------------------------------------------------------------------------------------ layers


def test_the_engine_knows_no_python() -> None:
    packages: list[dict[str, Any]] = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    needs = {package["name"]: {need.split()[0] for need in package.get("dependencies", [])} for package in packages}
    reached, todo = set[str](), {"headwater-log"}
    while todo:
        name = todo.pop()
        reached.add(name)
        todo |= needs[name] - reached
    none(name for name in reached if name.startswith("pyo3") or name == "headwater-python")
    assert "pyo3" in needs["headwater-python"], "this test looks at the wrong file"


def backends() -> list[str]:
    return sorted(path.name for path in (PACKAGE / "backends").iterdir() if (path / "__init__.py").exists())


def test_backends_never_import_each_other() -> None:
    assert {"local", "memory"} <= set(backends())
    for path in files(".py", under=PACKAGE / "backends"):
        parts = module_of(path)
        others = [f"headwater.backends.{name}" for name in backends() if len(parts) > 2 and name != parts[2]]
        none(f"{where(path, line)} imports {module}" for module, line in imports(path) if within(module, *others))


def test_patterns_import_the_contract_and_never_a_backend() -> None:
    """Only the connection, which a URL tells which one to load, may name them."""
    allowed = {PACKAGE / "connection.py", PACKAGE / "sync.py"}
    for path in files(".py", under=PACKAGE):
        if path in allowed or path.is_relative_to(PACKAGE / "backends") or path.is_relative_to(PACKAGE / "embedded"):
            continue
        none(f"{where(path, line)} imports {module}" for module, line in imports(path) if within(module, "headwater.backends", "headwater.embedded"))
    assert any(within(module, "headwater.abc") for path in files(".py", under=PACKAGE / "patterns") for module, _ in imports(path))


def test_native_exceptions_are_caught_in_errors_py_alone() -> None:
    for path in files(".py", under=PACKAGE):
        if path.is_relative_to(PACKAGE / "backends") and path.name == "errors.py":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and node.type:
                caught = {n.id if isinstance(n, ast.Name) else n.attr for n in ast.walk(node.type) if isinstance(n, ast.Name | ast.Attribute)}
                none(f"{where(path, node.lineno)} catches {name}" for name in caught & BASES)


@pytest.mark.parametrize("tool", ["cli", "bench", "demo", "console"])
def test_tools_use_the_public_api_alone(tool: str) -> None:
    """`headwater` itself, the tools, and what of the package's modules has a public name of its own."""
    private = [
        f"headwater.{name}" for name in ("_engine", "abc", "backends", "embedded", "patterns", "connection", "codec", "names", "url", "message")
    ]
    for path in files(".py", under=PACKAGE / tool):
        none(f"{where(path, line)} imports {module}" for module, line in imports(path) if within(module, *private))
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("hw", "headwater", "conn"):
                assert not node.attr.startswith("_") or node.attr.startswith("__"), f"{where(path, node.lineno)} uses {node.attr}"


def test_the_product_never_imports_what_is_for_tests() -> None:
    for path in files(".py", under=PACKAGE):
        if not path.is_relative_to(PACKAGE / "testing"):
            none(
                f"{where(path, line)} imports {module}"
                for module, line in imports(path)
                if within(module, "headwater.testing", "pytest", "hypothesis", "unittest")
            )


def test_abilities_are_written_in_capabilities_alone() -> None:
    written: dict[str, int] = {}
    for path in files(".py", under=PACKAGE):
        inside = path.is_relative_to(PACKAGE / "backends")
        for node in ast.walk(tree(path)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            if any(isinstance(target, ast.Name) and target.id == "CAPABILITIES" for target in targets):
                assert inside, f"{where(path)} writes CAPABILITIES"
                written[module_of(path)[2]] = written.get(module_of(path)[2], 0) + 1
            stated = isinstance(node, ast.Attribute) and ast.unparse(node) in ("Support.native", "Support.emulated")
            assert inside or not stated or path == PACKAGE / "capabilities.py", f"{where(path)} states what an engine can do"
    assert all(count == 1 for count in written.values()), f"more than one CAPABILITIES in a backend: {written}"
    assert "local" in written


# ------------------------------------------------------------------------------------------------------- code as text

CODE = (".py", ".pyi", ".rs", ".sh", ".c")


def test_no_file_is_long_without_a_reason() -> None:
    """Split it, or say at its top `Over 500 lines: <the reason>`."""
    read = {path: path.read_text().splitlines() for path in files(*CODE)}
    none(
        f"{where(path)} has {len(lines)} lines"
        for path, lines in read.items()
        if len(lines) > 500 and not any("over 500 lines:" in line.lower() for line in lines[:20])
    )


def test_no_pickle() -> None:
    """A message is data, not code."""
    for path in [*files(".py", under=PACKAGE), *files(".py", under=ROOT / "examples")]:
        none(
            f"{where(path, line)} imports {module}"
            for module, line in imports(path)
            if within(module, "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "copyreg")
        )


def test_nothing_is_left_to_do() -> None:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|\b(to" + r"do|unimple" + r"mented|db" + r"g)!\(")
    for path in files(*CODE, ".md", ".toml", ".yml", ".json"):
        none(f"{where(path, n)}: {line.strip()}" for n, line in enumerate(path.read_text().splitlines(), 1) if words.search(line))


def test_no_test_is_skipped_and_nothing_is_mocked() -> None:
    for path in [*files(".py", under=ROOT / "tests"), *files(".py", under=PACKAGE / "testing")]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("skip", "skipif", "xfail", "importorskip"), f"{where(path, node.lineno)}: {node.attr}"
        none(f"{where(path, line)} imports {module}" for module, line in imports(path) if within(module, "unittest.mock", "mock"))
    for path in files(".rs"):
        none(f"{where(path, n)}: an ignored test" for n, line in enumerate(path.read_text().splitlines(), 1) if line.strip().startswith("#[ignore"))


EXCEPTION = re.compile(r"#\s*(?:noqa(?::\s*[A-Z0-9, ]+)?|type:\s*ignore(?:\[[^\]]*\])?|pyright:\s*ignore(?:\[[^\]]*\])?)(?P<rest>.*)")


def test_a_lint_exception_carries_its_reason() -> None:
    """Behind it on the line, or in a comment right above (which may speak for several lines in a row)."""
    bare = list[str]()
    for path in files(".py"):
        if path.is_relative_to(ROOT / "tests" / "typing") or path == Path(__file__):
            continue
        testing, spoken_for = path.is_relative_to(ROOT / "tests") or path.is_relative_to(PACKAGE / "testing"), False
        for n, line in enumerate(path.read_text().splitlines(), 1):
            # What a test gets wrong on purpose, it gets wrong under the eyes of its assertions.
            wrong_on_purpose = testing and "ignore" in line
            if (found := EXCEPTION.search(line)) and not wrong_on_purpose:
                reason = re.sub(r"[#\s,:;.—-]", "", EXCEPTION.sub(r"\g<rest>", found["rest"]))
                spoken_for = spoken_for or len(reason) > 5
                bare += [] if spoken_for else [f"{where(path, n)}: {line.strip()}"]
            else:
                spoken_for = line.strip().startswith("#")
    for path in files(".rs"):
        lines = path.read_text().splitlines()
        for n, line in enumerate(lines, 1):
            if re.search(r"#!?\[(allow|expect)\(", line):
                near = lines[n - 2] if n > 1 else ""
                after = line.split("]", 1)[-1]
                if not ("reason" in line or "//" in after or "/*" in after or near.strip().startswith("//")):
                    bare.append(f"{where(path, n)}: {line.strip()}")
    none(bare)


def test_every_module_says_what_it_is() -> None:
    for path in [*files(".py", under=PACKAGE), *files(".py", under=ROOT / "examples"), *files(".py", under=ROOT / "benchmarks")]:
        assert path.read_text().strip() == "" or ast.get_docstring(tree(path)), f"{where(path)} has no docstring"
    for path in files(".rs", under=ROOT / "crates"):
        if "fuzz_targets" not in path.parts:
            first = next((line for line in path.read_text().splitlines() if line.strip()), "")
            assert first.startswith(("//!", "// ")), f"{where(path)} does not begin with `//! what it is`"


# -------------------------------------------------------------------------------------------------------------- pages


def test_every_decision_has_a_date_and_a_reason() -> None:
    numbers = dict[str, Path]()
    for path in files(".md", under=ROOT / "docs" / "decisions"):
        if path.name == "README.md":
            continue
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name), f"{where(path)}: NNNN-words-of-the-title.md"
        number, text = path.name[:4], path.read_text()
        assert number not in numbers, f"{where(path)} and {where(numbers[number])} have one number"
        numbers[number] = path
        assert re.match(rf"# {number}: \S.*\n", text), f"{where(path)} must begin with `# {number}: title`"
        assert re.search(r"^Date: 20\d\d-\d\d-\d\d$", text, re.MULTILINE), f"{where(path)} has no line `Date: YYYY-MM-DD`"
        body = re.split(r"^Date: .*$", text, maxsplit=1, flags=re.MULTILINE)[1]
        assert len(body.split()) >= 25, f"{where(path)} gives no reason"
    assert numbers


def test_every_decision_that_is_cited_is_there() -> None:
    numbers = {path.name[:4] for path in files(".md", under=ROOT / "docs" / "decisions")}
    for path in files(*CODE, ".md", ".toml"):
        cited = set(re.findall(r"decisions/(\d{4})", path.read_text()))
        none(f"{where(path)} cites decision {number}, which is not there" for number in cited - numbers)


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def test_links_between_pages_lead_somewhere() -> None:
    for path in files(".md"):
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        for target in LINK.findall(text):
            if not re.match(r"[a-z]+:|#", target):
                goal = (path.parent / unquote(target.split("#")[0])).resolve()
                assert goal.exists(), f"{where(path)} links to {target}, which is not there"


def test_the_map_of_the_architecture_is_true() -> None:
    """Every place it names is there, and every folder of the two halves is named."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text[text.index("## The map") : text.index("## The way")]
    places = [cell for row in table.splitlines() if row.startswith("| `") for cell in re.findall(r"`([^`]+)`", row.split("|")[1])]
    named = set[Path]()
    for place in places:
        whole = place.replace("…", "crates/headwater-log")
        stem, _, choices = whole.partition("{")
        names = [f"{stem}{choice}{choices.partition('}')[2]}" for choice in choices.partition("}")[0].split(",")] if choices else [whole]
        none(f"the map names {name}, which is not there" for name in names if not (ROOT / name).exists())
        named |= {ROOT / name for name in names}
    for half in (ENGINE / "src", PACKAGE):
        folders = [path for path in half.iterdir() if path.is_dir() and path.name not in ("__pycache__", "backends")]
        none(f"{where(path)}/ is not on the map" for path in folders if not any(each.is_relative_to(path) for each in named))


def test_every_page_is_in_the_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text()
    for path in files(".md", under=ROOT / "docs"):
        name = path.relative_to(ROOT / "docs").as_posix()
        if not name.startswith("decisions/"):
            assert name in contents, f"docs/{name} is not in mkdocs.yml"
    for name in re.findall(r":\s*(\S+\.md)\s*$", contents, re.MULTILINE):
        assert (ROOT / "docs" / name).exists(), f"mkdocs.yml names {name}"


# ------------------------------------------------------------------------------------------------------------ project


def test_lock_files_name_the_public_registries() -> None:
    locked: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    for package in locked:
        source = package["source"]
        assert source in ({"registry": "https://pypi.org/simple"}, {"editable": "."}), f"{package['name']}: {source}"
        for archive in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]:
            assert archive["url"].startswith("https://files.pythonhosted.org/"), archive["url"]
    crates: list[dict[str, Any]] = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    none(
        f"{crate['name']}: {crate['source']}"
        for crate in crates
        if "source" in crate and crate["source"] != "registry+https://github.com/rust-lang/crates.io-index"
    )


def test_the_lock_files_are_those_of_the_manifests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    ours = next(package for package in locked if package["name"] == "headwater")["metadata"]
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    wanted = {re.split(r"[><=\[]", need)[0] for need in [*project["project"]["dependencies"], *(n for needs in extras.values() for n in needs)]}
    assert {need["name"] for need in ours["requires-dist"]} == wanted
    for group, needs in project["dependency-groups"].items():
        assert {need["name"] for need in ours["requires-dev"][group]} == {re.split(r"[><=\[]", need)[0] for need in needs}


def test_there_is_one_version() -> None:
    import headwater

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert project == workspace == headwater.__version__
    assert f"## {project}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_license_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
