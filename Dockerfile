# The orchestrator and the sample adapters, without root and without a shell of their own business.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --locked --release --workspace --bins \
    && mkdir /out && cp target/release/syncline target/release/syncline-bms target/release/syncline-oem /out/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/syncline syncline
COPY --from=build /out/ /usr/local/bin/
COPY config/ /etc/syncline/
USER syncline
WORKDIR /var/lib/syncline
EXPOSE 7171
ENTRYPOINT ["syncline"]
CMD ["run", "--config", "/etc/syncline/rabbitmq-mongodb.toml"]
