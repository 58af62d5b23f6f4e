# docker build -t fastpubsub . && docker run --rm -p 8080:8080 fastpubsub
# tools/container-check.sh runs these same steps where no container engine is at hand.

FROM debian:trixie-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python3 -m venv /build \
    && /build/bin/pip wheel --no-cache-dir --wheel-dir /wheels . \
    && /build/bin/python tools/check_wheel.py /wheels/fastfan-*.whl
# The environment is made with the runtime's own interpreter path, and without pip: nothing in it can fetch anything.
RUN python3 -m venv --without-pip /opt/fastfan \
    && /build/bin/pip --python /opt/fastfan/bin/python install --no-cache-dir --no-index --find-links /wheels fastfan

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --shell /usr/sbin/nologin fastpubsub
COPY --from=build /opt/fastfan /opt/fastfan
ENV PATH=/opt/fastfan/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PUBSUB_ADDR=0.0.0.0:8080
USER fastpubsub
EXPOSE 8080
# SIGTERM drains: clients are told 1012 and the process is gone well before `docker stop` loses its patience (10 s).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["fastpubsub", "check"]
ENTRYPOINT ["fastpubsub"]
CMD ["serve"]
