# syntax=docker/dockerfile:1
# Build stage: compiler, headers and the page's tools. Runtime stage: the binary and its libraries.
FROM debian:bookworm AS build
WORKDIR /src
COPY config/setup/ config/setup/
RUN sh config/setup/packages.sh build
COPY . .
RUN make && strip build/release/wicara

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        libmicrohttpd12 libcjson1 libopenblas0-pthread libnettle8 libcurl4 ca-certificates \
        zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/release/wicara /usr/local/bin/wicara
COPY --from=build /src/LICENSE /usr/share/doc/wicara/LICENSE
USER 65532:65532
VOLUME /models
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["/usr/local/bin/wicara", "healthcheck"]
# A model is mounted at /models, or downloaded into it by `-hf org/repo:quant`; an API key comes in as
# WICARA_API_KEY, a token for the Hugging Face hub as HF_TOKEN.
ENV WICARA_HOST=0.0.0.0 WICARA_MODEL=/models/model.gguf HF_HOME=/models/hf
ENTRYPOINT ["/usr/local/bin/wicara"]
LABEL org.opencontainers.image.title="Wicara" \
      org.opencontainers.image.description="OpenAI-compatible chat server with its own CPU inference engine" \
      org.opencontainers.image.licenses="Apache-2.0"
