"""Getting the Autobahn test suite, and starting its ``wstest``.

The suite is a program for Python 2.7. Its packages are pinned by hash in the lock
files beside this module; they are fetched by the pip of *this* Python, unpacked into
a cache folder, and reused. Python 2.7 is looked for, or unpacked there from the
packages of Debian 11. Where neither works, Docker and the image of the suite do.

Layer: test tool. May import: nothing of the project.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping

__all__ = ["Suite", "Unavailable", "find_suite"]

HERE = pathlib.Path(__file__).resolve().parent
IMAGE = "crossbario/autobahn-testsuite:25.10.1"
TARGET = [
    *("--python-version", "27", "--implementation", "cp"),
    *("--abi", "cp27mu", "--abi", "none", "--platform", "any"),
    *("--platform", "manylinux2010_x86_64", "--platform", "manylinux1_x86_64"),
]
IS_TARGET = (
    "import sys; sys.exit(sys.version_info[:2] != (2, 7) or sys.maxunicode < 65536)"
)
DEBIAN = ["python2.7-minimal", "libpython2.7-minimal", "libpython2.7-stdlib"]
# The headers, to compile the suite's accelerator.
DEBIAN_HEADERS = "libpython2.7-dev"
LAUNCHER = """\
import os, site
site.addsitedir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "site"))
from autobahntestsuite.wstest import run
run()
"""


class Unavailable(Exception):
    """The suite can't be had here; the message says what is missing."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """A way to start ``wstest``."""

    prefix: tuple[str, ...]
    """Command before the name of the specification file."""

    def command(self, spec: pathlib.Path) -> list[str]:
        """Command that runs the fuzzing client on a specification file."""
        here = str(spec.parent)
        return [part.replace("{here}", here) for part in self.prefix] + [str(spec)]


def find_suite() -> Suite:
    """Find the suite, or fetch it.

    Raises:
        Unavailable: If that's impossible here.

    """
    reasons = []
    for way in (native_suite, docker_suite):
        try:
            return way()
        except Unavailable as exc:
            reasons.append(f"- {exc}")
    raise Unavailable(
        "\n".join(
            [
                "The Autobahn test suite can't be had:",
                *reasons,
                "Say where Python 2.7 is, with PYTHON2=..., or start Docker.",
            ]
        )
    )


def docker_suite() -> Suite:
    """Use the suite's image; the container shares the network of the host."""
    if shutil.which("docker") is None:
        raise Unavailable("there is no Docker to run the suite's image")
    try:
        run(["docker", "version"], timeout=30)
        if not succeeds(["docker", "image", "inspect", IMAGE]):
            run(["docker", "pull", "--quiet", IMAGE], timeout=600)
    except Unavailable as exc:
        raise Unavailable(f"Docker can't run {IMAGE}: {exc}") from exc
    user = f"{os.getuid()}:{os.getgid()}"
    return Suite(
        (
            *("docker", "run", "--rm", "--init", "--network=host", f"--user={user}"),
            *("--volume={here}:{here}", "--workdir={here}", IMAGE),
            *("wstest", "-m", "fuzzingclient", "-s"),
        )
    )


def native_suite() -> Suite:
    """Use Python 2.7 and the locked packages, in the cache folder."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable("the locked packages are for Linux on x86_64")
    packages = HERE / "requirements-min.lock"
    accelerator = HERE / "requirements-wsaccel.lock"
    recipe = packages.read_bytes() + accelerator.read_bytes() + LAUNCHER.encode()
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    base = pathlib.Path(cache, "websock-tools", "autobahn")
    folder = base / hashlib.sha256(recipe).hexdigest()[:12]
    launcher = folder / "wstest.py"
    base.mkdir(parents=True, exist_ok=True)
    with locked(base / "lock"):
        python = find_python2(base)
        # The launcher is written last: with it, everything is there.
        if not launcher.exists():
            shutil.rmtree(folder, ignore_errors=True)
            site = folder / "site"
            fetch(packages, site)
            if shutil.which("gcc") is not None:
                # Without it, the suite takes two to four times longer.
                with contextlib.suppress(Unavailable):
                    compile_accelerator(accelerator, python, site)
            shutil.rmtree(folder / "source")
            launcher.write_text(LAUNCHER, encoding="utf-8")
    return Suite(
        (str(python), "-E", "-u", str(launcher), "-m", "fuzzingclient", "-s"),
    )


def find_python2(base: pathlib.Path) -> pathlib.Path:
    """Find CPython 2.7 in the environment or a pyenv, or get that of Debian 11."""
    unpacked = base / "python27"
    candidates = [os.environ.get("PYTHON2"), shutil.which("python2.7")]
    with contextlib.suppress(Unavailable):
        versions = pathlib.Path(run(["pyenv", "root"]).strip(), "versions")
        candidates += sorted(map(str, versions.glob("2.7.*/bin/python2.7")))
    candidates.append(str(unpacked / "usr" / "bin" / "python2.7"))
    for candidate in candidates:
        if candidate and succeeds([candidate, "-c", IS_TARGET]):
            return pathlib.Path(candidate)
    # Under its name, the folder is complete.
    part = unpacked.with_suffix(".part")
    unpack_debian(part)
    shutil.rmtree(unpacked, ignore_errors=True)
    part.rename(unpacked)
    python = unpacked / "usr" / "bin" / "python2.7"
    run([str(python), "-c", IS_TARGET])
    return python


def unpack_debian(folder: pathlib.Path) -> None:
    """Unpack Python 2.7 of Debian 11 into ``folder``; nothing is installed.

    The machine's own sources are used, with the name of the release replaced.
    """
    release = dict(
        line.split("=", 1)
        for line in pathlib.Path("/etc/os-release").read_text("utf-8").splitlines()
        if "=" in line
    )
    if release.get("ID", "").strip('"') != "debian":
        raise Unavailable("there is no Python 2.7")
    codename = release.get("VERSION_CODENAME", "").strip('"')
    shutil.rmtree(folder, ignore_errors=True)
    parts = folder / "apt" / "sources"
    for name in ("apt/sources", "apt/lists/partial", "apt/cache", "apt/debs"):
        (folder / name).mkdir(parents=True)
    etc = pathlib.Path("/etc/apt")
    for path in [etc / "sources.list", *(etc / "sources.list.d").glob("*")]:
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text("utf-8").replace(codename, "bullseye")
            (parts / path.name).write_text(text, encoding="utf-8")
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(parts),
        "Dir::State::lists": str(folder / "apt" / "lists"),
        "Dir::Cache": str(folder / "apt" / "cache"),
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "-qq"]
    for key, value in options.items():
        apt += ["-o", f"{key}={value}"]
    debs = folder / "apt" / "debs"
    run([*apt, "update"], cwd=debs, timeout=300)
    run([*apt, "download", *DEBIAN, DEBIAN_HEADERS], cwd=debs, timeout=300)
    for deb in debs.glob("*.deb"):
        run(["dpkg-deb", "-x", str(deb), str(folder)])
    shutil.rmtree(folder / "apt")


def fetch(lock: pathlib.Path, site: pathlib.Path) -> None:
    """Fetch the packages of a lock file, and unpack them into ``site``."""
    archives = site.parent / "archives"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    pip += ["--disable-pip-version-check", "--require-hashes", *TARGET]
    run([*pip, "--dest", str(archives), "--requirement", str(lock)], timeout=600)
    for archive in archives.iterdir():
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(site)
        else:
            unpack_source(archive, site)
    shutil.rmtree(archives)


def unpack_source(archive: pathlib.Path, site: pathlib.Path) -> None:
    """Take the package, which is named as its archive, out of a source archive."""
    with tarfile.open(archive) as source:
        source.extractall(site.parent / "source", filter="data")
    root = site.parent / "source" / archive.name.removesuffix(".tar.gz")
    name = archive.name.partition("-")[0]
    shutil.copytree(root / name, site / name)


def compile_accelerator(
    lock: pathlib.Path, python: pathlib.Path, site: pathlib.Path
) -> None:
    """Compile the optional accelerator of the suite's own WebSocket package."""
    fetch(lock, site)
    (source,) = (site.parent / "source").glob("wsaccel-*")
    include = python.parent.parent / "include"
    env = {
        "PYTHONPATH": str(site),
        "CPATH": os.pathsep.join([str(include), str(include / "python2.7")]),
    }
    build = ["-q", "build_ext", "--build-lib", str(site)]
    run([str(python), "setup.py", *build], cwd=source, env=env)


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Keep other processes from building in the same folder."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def succeeds(command: list[str]) -> bool:
    """Tell whether a command exists and ends with status 0."""
    try:
        run(command)
    except Unavailable:
        return False
    return True


def run(
    command: list[str],
    *,
    cwd: pathlib.Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> str:
    """Run a command, and return what it prints.

    Raises:
        Unavailable: If it can't be started, fails, or takes longer than ``timeout``
            seconds.

    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(f"{command[0]}: {exc}") from exc
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise Unavailable(f"{' '.join(command[:4])} failed: {tail}")
    return done.stdout
