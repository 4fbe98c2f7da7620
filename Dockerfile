# docker build -t symbolon .
# The base images are arguments, for registries of one's own: --build-arg RUST_IMAGE=…
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /symbolon
COPY Cargo.toml Cargo.lock ./
COPY crates/admission/Cargo.toml crates/admission/
COPY crates/balancer/Cargo.toml crates/balancer/
COPY crates/batcher/Cargo.toml crates/batcher/
COPY crates/partitioner/Cargo.toml crates/partitioner/
COPY crates/scaler/Cargo.toml crates/scaler/
COPY crates/simulator/Cargo.toml crates/simulator/
# Dependencies change less often than the source: their build is a layer of its own.
RUN for package in . crates/*; do mkdir "$package/src" && echo '' > "$package/src/lib.rs"; done \
    && echo 'fn main() {}' > src/main.rs && cargo build --release --locked && rm -rf src crates/*/src
COPY migrations migrations
COPY crates crates
COPY src src
RUN touch src/lib.rs src/main.rs crates/*/src/lib.rs && cargo build --release --locked

FROM ${RUNTIME_IMAGE}
RUN useradd --system --uid 10001 --no-create-home symbolon \
    && install --directory --owner=symbolon --group=symbolon --mode=0700 /data
COPY --from=build /symbolon/target/release/symbolon /usr/local/bin/symbolon
USER 10001:10001
ENV SYMBOLON_LISTEN=0.0.0.0:8080 SYMBOLON_DATA_DIR=/data SYMBOLON_LOG_FORMAT=json
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["symbolon", "healthcheck"]
ENTRYPOINT ["symbolon"]
CMD ["serve"]
