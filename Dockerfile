# Kessoku in an image of its own, for NVIDIA GPUs; docs/containers.md says how to run it.
#
#     docker build -t kessoku .
#     docker build -t kessoku --build-arg SETUP="--gpu --cuda12" .    for drivers before 580
#     docker build -t kessoku --build-arg SETUP=--cpu .               for CPUs
#
# scripts/containers/kessoku.def does the same for Apptainer.
FROM debian:12-slim AS build
ARG SETUP=--gpu
WORKDIR /opt/kessoku
RUN apt-get update && apt-get install -y --no-install-recommends dpkg-dev file git
COPY . .
RUN scripts/setup.sh $SETUP
RUN scripts/containers/collect.sh /out

FROM debian:12-slim
COPY --from=build /out/kessoku.deb /tmp/kessoku.deb
RUN apt-get update && apt-get install -y --no-install-recommends /tmp/kessoku.deb openssh-client openssh-server && rm -rf /var/lib/apt/lists/* /tmp/kessoku.deb
COPY --from=build /out/lib /usr/lib/kessoku
# Hosts of one job reach each other by ssh as this user: scripts/kubernetes/mpijob.yaml.
RUN useradd --create-home --uid 1000 --password "*" kessoku && mkdir --mode 700 /home/kessoku/.ssh && chown kessoku: /home/kessoku/.ssh
COPY scripts/containers/sshd_config /home/kessoku/.sshd_config
COPY scripts/containers/ssh_config /etc/ssh/ssh_config.d/kessoku.conf
# What NVIDIA's container runtime lends of the host's driver.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER kessoku
WORKDIR /home/kessoku
CMD ["kessoku", "--help"]
