# The demo: CPU only, OpenVINO and no torch. `docker compose up`, then http://localhost:8501
FROM python:3.12-slim AS build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY . /source
RUN pip install --no-cache-dir "/source[demo]" \
    && find /venv -type d -name __pycache__ -prune -exec rm -r {} + \
    && pip uninstall --yes pip

FROM python:3.12-slim
COPY --from=build /venv /venv
RUN useradd --system --create-home --uid 10001 demo
USER demo
WORKDIR /home/demo
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8501/_stcore/health', timeout=4)"]
CMD ["fast-style", "demo", "--no-browser", "--host", "0.0.0.0", "--port", "8501"]
