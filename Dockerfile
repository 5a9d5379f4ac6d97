# Builds the service's image: `docker build -t handstamp .`. The image has no compiler and no source, and runs as a normal user.
FROM python:3.13-slim AS build
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "uv>=0.8"
WORKDIR /source
COPY pyproject.toml hatch_build.py uv.lock README.md LICENSE NOTICE ./
COPY src ./src
# Install the exact versions of uv.lock, and the package itself instead of a link to its source.
RUN uv venv /opt/handstamp \
 && UV_PROJECT_ENVIRONMENT=/opt/handstamp uv sync --locked --no-dev --extra server --extra postgres --no-editable --compile-bytecode

FROM python:3.13-slim
COPY --from=build /opt/handstamp /opt/handstamp
RUN useradd --system --uid 10001 --home-dir /var/lib/handstamp --create-home handstamp \
 && chmod 700 /var/lib/handstamp
USER 10001
WORKDIR /var/lib/handstamp
VOLUME /var/lib/handstamp
ENV PATH=/opt/handstamp/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", \
  "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["handstamp"]
CMD ["serve", "--host", "0.0.0.0"]
