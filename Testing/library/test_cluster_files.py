"""The containers and the descriptor of the BIDS App, as far as they can be checked without a builder.

``make container`` builds and runs the image.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from MRI2PETLib.cli import build_parser

REPOSITORY = Path(__file__).resolve().parents[2]
CLUSTER = REPOSITORY / "Cluster"
DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (CLUSTER / "apptainer.def").read_text(encoding="utf-8")


def needed() -> set[str]:
    """What the wheel is made of, and the constraints of its dependencies."""
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    project, hatch = content["project"], content["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    return {
        *("pyproject.toml", "constraints.txt", project["readme"], hatch["version"]["path"]),
        *project["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }


def test_both_containers_hold_all_that_the_wheel_is_made_of() -> None:
    files = re.findall(r"^    (\S+) /source/(\S+)$", APPTAINER.partition("%post")[0], re.M)
    assert files and all(source == target and (REPOSITORY / source).exists() for source, target in files)
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert "COPY . ." in DOCKERFILE
    for path in needed():
        assert (REPOSITORY / path).exists(), path
        assert any(path == name or path.startswith(f"{name}/") for name, _ in files), path
        parts = Path(path).parts
        assert not any(fnmatch(parts[0], pattern) for pattern in ignored if "/" not in pattern), path


@pytest.mark.parametrize("text", [DOCKERFILE, APPTAINER], ids=["Dockerfile", "apptainer.def"])
def test_a_container_has_the_versions_of_the_tests(text: str) -> None:
    """PyTorch is the CPU build of the constraints; everything else is held by them."""
    constraints = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    (torch,) = set(re.findall(r"torch==\S+", text))
    assert torch in constraints.split() and "download.pytorch.org/whl/cpu" in text
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert all("-c constraints.txt" in line or "--index-url" in line for line in installs)
    # A builder may round the times of files, by which bytecode is else known to be of its source.
    assert len(installs) == 2 and all("--no-compile" in line for line in installs)
    assert re.search(r"compileall .*--invalidation-mode unchecked-hash /opt/mri2pet/lib", text)
    (version,) = set(re.findall(r"python:(3\.\d+)-slim", text))
    assert f"Python {version}" in constraints.splitlines()[0]


def test_the_image_is_no_root_and_installs_nothing_when_it_runs() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2].splitlines()
    user = next(n for n, line in enumerate(final) if line.startswith("USER "))
    assert final[user].split()[1] not in ("root", "0")
    assert not [line for line in final[user:] if line.startswith(("RUN", "COPY", "ADD", "USER root"))]
    assert not [line for line in final if "pip" in line], "what comes from a network belongs to the build"
    assert 'ENTRYPOINT ["mri2pet", "bids"]' in final and 'exec mri2pet bids "$@"' in APPTAINER


def descriptor() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((CLUSTER / "mri2pet.boutiques.json").read_text(encoding="utf-8"))
    return content


def test_the_boutiques_descriptor_lists_the_options_as_they_are() -> None:
    spec = importlib.util.spec_from_file_location("boutiques_of_bids", CLUSTER / "boutiques.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert descriptor() == json.loads(json.dumps(module.descriptor())), "run python Cluster/boutiques.py"


def value_of(entry: dict[str, Any]) -> list[str]:
    """What Boutiques puts for an input of such a kind, as separate words."""
    if entry["type"] == "Flag":
        return []
    value = entry.get("value-choices", ["2" if entry["type"] == "Number" else "x"])[-1]
    return [value] * int(entry.get("min-list-entries", 2 if entry.get("list") else 1))


def test_a_line_that_boutiques_writes_is_one_of_the_command() -> None:
    """Every input once, in the order and with the flags that the descriptor states."""
    content = descriptor()
    by_key = {entry["value-key"]: entry for entry in content["inputs"]}
    words: list[str] = []
    for word in content["command-line"].split():
        entry = by_key.pop(word, None)
        if entry is None:
            words.append(word)
        else:
            words += filter(None, [entry.get("command-line-flag"), *value_of(entry)])
    assert not by_key and words[:2] == ["mri2pet", "bids"]
    args = vars(build_parser().parse_args(words[1:]))
    for entry in content["inputs"]:
        read = args[entry["id"]]
        read = list(read) if isinstance(read, (list, tuple)) else [read]
        if entry["type"] == "Number":
            assert [float(value) for value in read] == [float(word) for word in value_of(entry)], entry["id"]
        else:
            assert list(map(str, read)) == (value_of(entry) or ["True"]), entry["id"]


def test_what_follows_an_image_in_its_comments_is_a_line_of_the_command() -> None:
    pattern = r"^#   (?:docker|apptainer) run .*?mri2pet(?:\.sif)? (/.*)$"
    lines = re.findall(pattern, f"{DOCKERFILE}\n{APPTAINER}", re.M)
    assert len(lines) == 2
    for line in lines:
        assert build_parser().parse_args(["bids", *shlex.split(line)]).level == "participant"
