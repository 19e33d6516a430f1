# Three images of one file: `--target service`, `--target worker` (with torch, for jobs that optimise)
# and, the last and so the default, the demo. compose.yaml puts them together.
FROM python:3.12-slim AS build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY . /source

FROM build AS build-demo
RUN pip install --no-cache-dir "/source[demo]" \
    && find /venv -type d -name __pycache__ -prune -exec rm -r {} + \
    && pip uninstall --yes pip

FROM build AS build-service
RUN pip install --no-cache-dir "/source[serve]" \
    && find /venv -type d -name __pycache__ -prune -exec rm -r {} + \
    && pip uninstall --yes pip

# PIP_EXTRA_INDEX_URL may name where torch's wheels for CPUs only are: they are far smaller.
FROM build AS build-worker
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir "/source[serve,optimize]" \
    && find /venv -type d -name __pycache__ -prune -exec rm -r {} + \
    && pip uninstall --yes pip

FROM python:3.12-slim AS base
RUN useradd --system --create-home --uid 10001 painter \
    && install --directory --owner painter /data
USER painter
WORKDIR /home/painter
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM base AS service
COPY --from=build-service /venv /venv
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/readyz', timeout=4)"]
CMD ["fast-style", "serve", "--host", "0.0.0.0", "--port", "8000", "--no-jobs"]

FROM base AS worker
COPY --from=build-worker /venv /venv
CMD ["fast-style", "worker", "--database", "sqlite:////data/jobs.sqlite", "--results", "/data/jobs"]

FROM base AS demo
COPY --from=build-demo /venv /venv
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8501/_stcore/health', timeout=4)"]
CMD ["fast-style", "demo", "--no-browser", "--host", "0.0.0.0", "--port", "8501"]
