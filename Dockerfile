# Builds the service's image: `docker build -t handstamp .`. The image has no compiler and no source, and runs as a normal user.
FROM python:3.13.14-slim-trixie AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /source
COPY pyproject.toml hatch_build.py uv.lock README.md LICENSE NOTICE ./
COPY src ./src
# Install the exact versions of uv.lock, and the package itself instead of a link to its source.
RUN uv venv /opt/handstamp \
 && UV_PROJECT_ENVIRONMENT=/opt/handstamp uv sync --locked --no-dev --extra server --extra postgres --extra otel --no-editable --compile-bytecode

FROM python:3.13.14-slim-trixie
COPY --from=build /opt/handstamp /opt/handstamp
RUN useradd --system --uid 10001 --home-dir /var/lib/handstamp --create-home handstamp \
 && chmod 700 /var/lib/handstamp
USER 10001
WORKDIR /var/lib/handstamp
VOLUME /var/lib/handstamp
ENV PATH=/opt/handstamp/bin:$PATH PYTHONUNBUFFERED=1 HANDSTAMP_HOST=0.0.0.0
EXPOSE 8000
# Follows HANDSTAMP_PORT, HANDSTAMP_TLS_CERT and the options of `serve`.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["handstamp", "healthcheck"]
ENTRYPOINT ["handstamp"]
CMD ["serve"]
