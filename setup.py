"""Build of the optional C extension; everything else is in pyproject.toml.

``WEBSOCK_SPEEDUPS`` decides, as it does at run time: ``skip`` builds without the
extension, ``require`` fails if it can't be built. Unset, a failure to compile is a
warning, and the package is installed without it.
"""

import os
import sys
import sysconfig

from setuptools import Extension, setup

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
    setup(
        ext_modules=[
            Extension(
                "websock._speedups",
                ["websock/_speedups.c"],
                define_macros=[("Py_LIMITED_API", "0x030B0000")] if limited else [],
                py_limited_api=limited,
                optional=not wanted,
            )
        ],
        options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited else {},
    )
