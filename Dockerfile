# The image of Formwork's server, as the chart charts/formwork runs it.
#   docker build --tag formwork:0.1.0 .
# Both stages are of one Debian: what is built in the first finds its libraries in the second.
ARG DEBIAN=bookworm

FROM rust:1.89.0-${DEBIAN} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY content-packs content-packs
COPY examples examples
RUN cargo build --locked --release --bin formwork
RUN strip --strip-unneeded target/release/formwork

FROM debian:${DEBIAN}-slim
# git receives pushes and fetches packs, ssh is for repositories, gpg for signatures, setcap for what follows.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates git gpg libcap2-bin openssh-client zlib1g && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 formwork && useradd --uid 10001 --gid 10001 --home-dir /var/lib/formwork --create-home --shell /usr/sbin/nologin formwork
COPY --from=build /src/target/release/formwork /usr/bin/formwork
# Ports below 1024 for a process that is not root's: a container gives such a process what the program's file has, and no more.
RUN setcap cap_net_bind_service=+ep /usr/bin/formwork && formwork --version
USER 10001:10001
WORKDIR /var/lib/formwork
ENTRYPOINT ["formwork"]
CMD ["serve"]
