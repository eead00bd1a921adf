"""Speed and memory of websock beside other servers, in one run.

Start it with ``python -m benchmarks`` from the root of the repository; README.md in
this folder tells how to read what it prints.
"""
