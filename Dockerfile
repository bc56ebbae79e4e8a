# keyman in a container: the daemon by default, any other command of keyman's as well.
#
#     docker build -t keyman .
#     docker run --rm keyman demo
#
# docs/deploying.md says what to mount where. Packages come as wheels, by the versions and hashes of
# LOCK. PYTHON is a tag of the official image; a site that pins by digest gives TAG@sha256:… there.

ARG PYTHON=3.11-slim-bookworm


FROM python:${PYTHON} AS build
ARG LOCK=requirements/daemon.lock
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/keyman
COPY ${LOCK} packages.lock
RUN /opt/keyman/bin/pip install --only-binary :all: --require-hashes -r packages.lock
COPY . .
RUN /opt/keyman/bin/python -m hatchling build -t wheel -d dist \
 && /opt/keyman/bin/pip install --no-index --no-deps dist/*.whl
# Nine tenths of Oracle's SDK are services that keyman never calls; the last three are imported by the
# SDK itself.
RUN cd /opt/keyman/lib/python3.*/site-packages/oci \
 && for models in */models; do \
      case ${models%/*} in \
        generative_ai|secrets|vault|dns|object_storage|work_requests) ;; \
        *) rm -rf ${models%/*} ;; \
      esac; \
    done
# What makes wheels and installs them has done its work.
RUN /opt/keyman/bin/pip uninstall --yes hatchling packaging pathspec pluggy tomlkit trove-classifiers \
 && /opt/keyman/bin/pip uninstall --yes setuptools pip


FROM python:${PYTHON}
RUN python -m pip uninstall --yes --root-user-action ignore wheel setuptools pip \
 && groupadd --gid 10001 keyman \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/keyman --shell /usr/sbin/nologin keyman \
 && install -d -o keyman -g keyman -m 0700 /var/lib/keyman \
 && install -d -o keyman -g keyman -m 0755 /run/keyman \
 && install -d -m 0755 /etc/keyman
COPY --from=build /opt/keyman /opt/keyman
# The home lies inside of what is mounted: whoever mounts a volume makes its top folder, and keyman
# works in none that another user made.
ENV PATH=/opt/keyman/bin:/usr/local/bin:/usr/bin:/bin \
    KEYMAN_CONFIG=/etc/keyman/config.yaml \
    KEYMAN_HOME=/var/lib/keyman/home \
    KEYMAN_SOCKET=/run/keyman/agent.sock \
    KEYMAN__AGENT__SOCKET=/run/keyman/agent.sock
WORKDIR /
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-P", "-m", "keyman.probe", "/healthz"]
ENTRYPOINT ["keyman"]
CMD ["daemon"]
