# Stage 1 builds the executable. Node and npm bring Bun and the packages; Go builds the nats-server that goes inside.
FROM node:22-bookworm-slim AS node

FROM golang:1.26-bookworm AS build
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build

# Stage 2 is the executable and its configuration. It sets no BUN_* variable: BUN_OPTIONS and BUN_BE_BUN would change
# what the executable does, so do not pass them either.
FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data unibus && install -d -o unibus -g unibus -m 0700 /data
COPY --from=build /src/dist/unibus /usr/local/bin/unibus
COPY plugins.json /etc/unibus/plugins.json
# What the executable is made of and under which licences, for people and for scanners.
COPY --from=build /src/dist/LICENSES.txt /src/dist/unibus.cdx.json /usr/share/doc/unibus/
USER unibus
WORKDIR /data
VOLUME /data
EXPOSE 8470 4250 8480
ENTRYPOINT ["unibus"]
# A public address wants TLS: mount certificate and key and name them in UNIBUS_TLS_CERT and UNIBUS_TLS_KEY, or put a
# proxy in front and say so in UNIBUS_SET (http.trusted_proxies=[...], or http.allow_cleartext=true).
CMD ["serve", "--data", "/data", "--plugins", "/etc/unibus/plugins.json", "--http", "0.0.0.0:8470", "--nats", "0.0.0.0:4250", "--ws", "0.0.0.0:8480"]
