# The sidecar: beside Frigate, with its config and media mounted read-only. See docs/install-sidecar.md.
FROM python:3.13-slim-bookworm AS build
WORKDIR /build
COPY requirements/runtime.txt requirements.txt
RUN python -m venv /opt/mirror \
    && /opt/mirror/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN site=$(/opt/mirror/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && cp -R src/frigate_s3_mirror "$site/" \
    && rm -rf "$site/frigate_s3_mirror/demo" "$site"/pip "$site"/pip-* /opt/mirror/bin/pip* \
    && printf '#!/opt/mirror/bin/python\nfrom frigate_s3_mirror.cli import main\nmain()\n' > /opt/mirror/bin/frigate-s3-mirror \
    && chmod a+x /opt/mirror/bin/frigate-s3-mirror

FROM python:3.13-slim-bookworm
COPY --from=build /opt/mirror /opt/mirror
COPY deploy/healthcheck.sh /opt/mirror/healthcheck.sh
# A user of its own; the root file system may be read-only, only the volume is written.
RUN useradd --system --uid 10001 --home-dir /state --create-home --shell /usr/sbin/nologin mirror
USER 10001
ENV PATH=/opt/mirror/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 S3_STATE_DIR=/state
VOLUME /state
STOPSIGNAL SIGTERM
# Fails when the service hangs or cannot see Frigate; a degraded one waits for S3 and must not be restarted.
HEALTHCHECK --interval=60s --timeout=15s --start-period=60s --retries=3 CMD ["sh", "/opt/mirror/healthcheck.sh"]
ENTRYPOINT ["frigate-s3-mirror"]
CMD ["run"]
