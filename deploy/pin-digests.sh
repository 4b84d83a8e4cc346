#!/bin/sh
# Asks the registries for the digest of each foreign image of docker-compose.yml, and writes them into deploy/.env, in
# place of those that stand there; its other lines stay. Compose reads the file by itself, and from then on pulls those
# bytes and no others.
set -eu
folder=$(dirname "$0")
digests=$(mktemp)
trap 'rm -f "$digests"' EXIT
sed -n 's/^ *image: \([^$]*\)\${\([A-Z]*_DIGEST\):-}$/\1 \2/p' "$folder/docker-compose.yml" | while read -r image variable; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    case "$digest" in
        sha256:*) echo "$variable=@$digest" ;;
        *) echo "$image: no digest in '$digest'" >&2 && exit 1 ;;
    esac
done > "$digests"
if [ -e "$folder/.env" ]; then grep -v '^[A-Z]*_DIGEST=' "$folder/.env" > "$folder/.env.new" || true; fi
cat "$digests" >> "$folder/.env.new"
mv "$folder/.env.new" "$folder/.env"
