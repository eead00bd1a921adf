"""Build of the optional C extension; everything else is in pyproject.toml.

``WEBSOCK_SPEEDUPS`` decides, as it does at run time: ``skip`` builds without the
extension, ``require`` fails if it can't be built. Unset, a failure to compile is a
warning, and the package is installed without it.
"""

import os
import sys
import sysconfig

from setuptools import Extension, setup

STACK = ["-fno-stack-clash-protection"]

wanted = os.environ.get("WEBSOCK_SPEEDUPS", "")
if wanted not in ("", "require", "skip"):
    raise SystemExit(
        f"WEBSOCK_SPEEDUPS must be 'require', 'skip' or unset, not {wanted!r}"
    )

# Calls from PyPy into C cost more than what they gain.
cpython = sys.implementation.name == "cpython"
if wanted == "skip" or (not wanted and not cpython):
    setup()
else:
    # One wheel for all versions from 3.11 on; builds without the GIL have no
    # limited API.
    limited = cpython and not sysconfig.get_config_var("Py_GIL_DISABLED")

    def extension(name: str, sources: list[str], depends: list[str]) -> Extension:
        """Describe one module."""
        return Extension(
            f"websock.{name}",
            [f"websock/{source}" for source in sources],
            depends=[f"websock/{header}" for header in depends],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if limited else [],
            py_limited_api=limited,
            # A thread that waits must not have touched the whole buffer of its read.
            extra_compile_args=STACK if name == "_link" else [],
            optional=not wanted,
        )

    extensions = [extension("_speedups", ["_speedups.c"], ["_payload.h"])]
    # It relies on what Linux alone does when a socket is shut down.
    if sys.platform == "linux":
        extensions.append(
            extension(
                "_link",
                ["_link.c", "_step.c", "_corks.c", "_gate.c", "_fan_out.c"],
                ["_link.h", "_payload.h"],
            )
        )
    setup(
        ext_modules=extensions,
        options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited else {},
    )
