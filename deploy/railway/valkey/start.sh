#!/bin/sh
# The server with its certificate and users out of variables, for Railway mounts no files.
set -eu
umask 077
folder=$(mktemp -d)
printf '%s\n' "$TLS_CERTIFICATE" > "$folder/certificate.pem"
printf '%s\n' "$TLS_KEY" > "$folder/key.pem"
# As `python -m shared.redis_grants --passwords FILE` prints them.
printf '%s\n' "$USERS" > "$folder/users.acl"
unset TLS_CERTIFICATE TLS_KEY USERS
# The image's own start script goes on as this user.
[ "$(id -u)" -ne 0 ] || chown -R 999:999 "$folder"
# A write is in the log, and on the disk, before it is answered; nothing is ever evicted. Full, it refuses writes, which
# services wait out; beyond what the container may have it would be killed, again with each start.
exec docker-entrypoint.sh valkey-server --port 0 --tls-port 6379 --tls-auth-clients no \
    --tls-cert-file "$folder/certificate.pem" --tls-key-file "$folder/key.pem" --aclfile "$folder/users.acl" \
    --dir /data --appendonly yes --appendfsync always --save "" --maxmemory-policy noeviction \
    --maxmemory "${MAXMEMORY:-0}"
