# The service and its dependencies, nothing else: no torch, no compiler, no pip cache.
#
#   docker build -t simvae:cpu .
#   docker build -t simvae:gpu --build-arg RUNTIME=gpu .
#   docker build -t simvae:cpu --build-arg EXTRAS=search .      with collections

FROM python:3.13-slim-trixie AS build
ARG RUNTIME=cpu
ARG EXTRAS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/simvae
WORKDIR /src

# Dependencies come first, from the project's metadata alone, so that a change of code does not fetch them again.
COPY pyproject.toml constraints.txt LICENSE ./
RUN touch README.md \
    && /opt/simvae/bin/python -m pip install -q -c constraints.txt ".[${RUNTIME}${EXTRAS:+,${EXTRAS}}]" \
    && /opt/simvae/bin/python -m pip uninstall -q -y simvae

# Only service/ is copied, so only service/ is installed; the commands of the other packages would not start, and pip
# and its files have no work at run time.
COPY service service
RUN /opt/simvae/bin/python -m pip install -q --no-deps . \
    && rm /opt/simvae/bin/simvae-train /opt/simvae/bin/simvae-evaluate /opt/simvae/bin/simvae-export \
    && /opt/simvae/bin/python -m pip uninstall -q -y pip


FROM python:3.13-slim-trixie
ARG RUNTIME=cpu
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="simvae" \
      org.opencontainers.image.description="Image embeddings, reconstructions and similarities from a SimVAE, over HTTP (${RUNTIME})" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

COPY --from=build /opt/simvae /opt/simvae
COPY models /models

# The root file system may be read-only: Python writes no bytecode (pip compiled it above), and CUDA caches in /tmp.
ENV PATH=/opt/simvae/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CUDA_CACHE_PATH=/tmp/cuda \
    ORT_DISABLE_TELEMETRY=1 \
    SIMVAE_HOST=0.0.0.0 \
    SIMVAE_PORT=8000 \
    SIMVAE_MODELS=/models

# A number, so that Kubernetes can see that it is not root without reading /etc/passwd.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['SIMVAE_PORT']), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["simvae-serve"]
