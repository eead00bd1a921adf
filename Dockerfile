# The chat of examples/chat: its page and its WebSocket on port 8467.
#
#     docker build -t websock-chat .
#     docker run --rm -p 8467:8467 websock-chat
#
# It works with a read-only root (--read-only) and without any capability
# (--cap-drop=ALL). Nothing here needs BuildKit.

# Pinned to Python's patch level and Debian's release. A tag may still be built anew, with
# newer packages of Debian; to pin every byte, name the digest that this prints:
#
#     docker buildx imagetools inspect python:3.11.16-slim-bookworm
#     docker build --build-arg BASE=python:3.11.16-slim-bookworm@sha256:... .
ARG BASE=python:3.11.16-slim-bookworm

FROM ${BASE} AS build
# The compiler is for the C twin of the core, which falls back to pure Python without.
ARG BUILD_PACKAGES="gcc libc6-dev"
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && apt-get install -y --no-install-recommends ${BUILD_PACKAGES} \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY websock websock
RUN python -m pip wheel --no-cache-dir --wheel-dir /wheels .

FROM ${BASE}
LABEL org.opencontainers.image.title="websock-chat" \
      org.opencontainers.image.licenses="MIT"
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8467
COPY --from=build /wheels /tmp/wheels
RUN python -m pip install --no-cache-dir --no-index --root-user-action=ignore \
      /tmp/wheels/*.whl \
    && rm -r /tmp/wheels
WORKDIR /app
COPY examples/chat .
# A number, so that orchestrators see that it isn't root; it needs no entry and no home.
USER 10001:10001
EXPOSE 8467
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]
# The exec form: SIGTERM must reach Python, which then says 1001 to its clients.
ENTRYPOINT ["python", "server.py"]
