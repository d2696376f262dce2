# Two stages: the program is built where Rust and cmake are, and runs where only glibc is.
#
#   docker build -t milvusdm .
#   docker run --rm --network host -v "$PWD:/work" milvusdm run job.yaml
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv \
    && python3 -m venv /opt/tools && /opt/tools/bin/pip install --quiet cmake==4.4.5
ENV CMAKE=/opt/tools/bin/cmake
WORKDIR /src
COPY . .
RUN cargo install --locked --profile dist --path . --root /out

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/bin/milvusdm /usr/local/bin/milvusdm
WORKDIR /work
ENTRYPOINT ["milvusdm"]
